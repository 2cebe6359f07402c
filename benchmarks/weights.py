"""Our decoder inside the peers' searches: their modules with our weights.

With equal weights and the same encoder output, what a search finds and how long it takes can be compared. Layer
normalisations get our epsilon, the only constant that differs.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from asr_tutorial.decoder import Decoder


def sizes_of(decoder: Decoder) -> tuple[int, int, int, int, int]:
    """Vocabulary, width, heads, hidden width and layers of a decoder."""
    layer: Any = decoder.layers[0]
    attention = layer.self_attention
    return (
        decoder.vocab_size,
        attention.d_model,
        attention.num_heads,
        layer.feed_forward.linear1.out_features,
        len(decoder.layers),
    )


def new_espnet_decoder(vocab: int, d_model: int, heads: int, d_ff: int, layers: int, dropout: float) -> Any:
    """ESPnet's Transformer decoder."""
    from espnet2.asr.decoder.transformer_decoder import TransformerDecoder

    return TransformerDecoder(
        vocab_size=vocab,
        encoder_output_size=d_model,
        attention_heads=heads,
        linear_units=d_ff,
        num_blocks=layers,
        dropout_rate=dropout,
        positional_dropout_rate=dropout,
        self_attention_dropout_rate=dropout,
        src_attention_dropout_rate=dropout,
    )


def new_speechbrain_transformer(
    vocab: int,
    d_model: int,
    heads: int,
    d_ff: int,
    layers: int,
    dropout: float,
    encoder_layers: int = 1,
    input_size: int = 80,
) -> Any:
    """SpeechBrain's ``TransformerASR``; where only its decoder is wanted, the encoder is as small as it can be."""
    from speechbrain.lobes.models.transformer.TransformerASR import TransformerASR

    return TransformerASR(
        tgt_vocab=vocab,
        input_size=input_size,
        d_model=d_model,
        nhead=heads,
        num_encoder_layers=encoder_layers,
        num_decoder_layers=layers,
        d_ffn=d_ff,
        dropout=dropout,
        activation=nn.ReLU,
        normalize_before=True,
        attention_type="regularMHA",
        causal=False,
    )


def espnet_decoder(decoder: Decoder) -> Any:
    """ESPnet's Transformer decoder with our weights."""
    theirs = new_espnet_decoder(*sizes_of(decoder), dropout=0.0)
    names = {
        "embedding.": "embed.0.",
        "layers.": "decoders.",
        "self_attention.": "self_attn.",
        "cross_attention.": "src_attn.",
        "q_proj.": "linear_q.",
        "k_proj.": "linear_k.",
        "v_proj.": "linear_v.",
        "out_proj.": "linear_out.",
        "feed_forward.linear1.": "feed_forward.w_1.",
        "feed_forward.linear2.": "feed_forward.w_2.",
    }
    ends = {"norm.": "after_norm.", "out.": "output_layer."}
    return _load(theirs, _renamed(decoder, names, ends))


def speechbrain_linear(ours: nn.Linear) -> Any:
    """SpeechBrain's linear layer with the weights of ours."""
    from speechbrain.nnet.linear import Linear

    theirs = Linear(n_neurons=ours.out_features, input_size=ours.in_features)
    theirs.w.load_state_dict(ours.state_dict())
    return theirs.eval()


def speechbrain_transformer(decoder: Decoder) -> tuple[Any, Any]:
    """SpeechBrain's Transformer with our decoder's weights, and the output layer, which is apart there."""
    theirs = new_speechbrain_transformer(*sizes_of(decoder), dropout=0.0)
    state = {}
    names = {
        "embedding.": "custom_tgt_module.layers.0.emb.Embedding.",
        "self_attention.": "self_attn.att.",
        "cross_attention.": "multihead_attn.att.",
        "feed_forward.linear1.": "pos_ffn.ffn.0.",
        "feed_forward.linear2.": "pos_ffn.ffn.3.",
        "norm1.": "norm1.norm.",
        "norm2.": "norm2.norm.",
        "norm3.": "norm3.norm.",
    }
    for name, tensor in _renamed(decoder, names, {"norm.": "decoder.norm.norm."}).items():
        if name.startswith("layers."):
            name = f"decoder.{name}"
        if not name.startswith("out."):
            state[name] = tensor
    for name in [name for name in state if "q_proj." in name]:  # one stacked projection there
        parts = [state.pop(name.replace("q_proj", projection)) for projection in ("q_proj", "k_proj", "v_proj")]
        state[name.replace("q_proj.", "in_proj_")] = torch.cat(parts)
    return _load(theirs, state, partly=True), speechbrain_linear(decoder.out)


def pegasus(decoder: Decoder, sos: int, eos: int, pad: int) -> Any:
    """The Transformer of Hugging Face that is built like ours (pre-norm, an output bias), with our decoder's weights.

    Its encoder is not used: ``generate`` is given the encoder's output.
    """
    from transformers import PegasusConfig, PegasusForConditionalGeneration

    vocab, d_model, heads, d_ff, layers = sizes_of(decoder)
    config = PegasusConfig(
        vocab_size=vocab,
        d_model=d_model,
        encoder_layers=1,
        decoder_layers=layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=d_ff,
        decoder_ffn_dim=d_ff,
        activation_function="relu",
        dropout=0.0,
        scale_embedding=True,
        tie_word_embeddings=False,
        pad_token_id=pad,
        bos_token_id=sos,
        eos_token_id=eos,
        decoder_start_token_id=sos,
        forced_eos_token_id=None,
    )
    theirs = PegasusForConditionalGeneration(config)
    names = {
        "embedding.": "embed_tokens.",
        "self_attention.": "self_attn.",
        "cross_attention.": "encoder_attn.",
        "feed_forward.linear1.": "fc1.",
        "feed_forward.linear2.": "fc2.",
        "norm1.": "self_attn_layer_norm.",
        "norm2.": "encoder_attn_layer_norm.",
        "norm3.": "final_layer_norm.",
    }
    state = {
        f"model.decoder.{name}": tensor
        for name, tensor in _renamed(decoder, names, {"norm.": "layer_norm."}).items()
        if not name.startswith("out.")
    }
    state["lm_head.weight"] = decoder.out.weight
    state["final_logits_bias"] = decoder.out.bias[None]
    positions: Tensor = decoder.positional.table  # type: ignore[assignment]
    table = theirs.model.decoder.embed_positions.weight
    state["model.decoder.embed_positions.weight"] = positions[: len(table)]
    return _load(theirs, state, partly=True)


def _renamed(decoder: Decoder, names: dict[str, str], ends: dict[str, str]) -> dict[str, Tensor]:
    """Our state under other names: ``names`` holds parts of names, ``ends`` the beginnings of those of no layer."""
    state = {}
    for name, tensor in decoder.state_dict().items():
        for ours, theirs in ends.items():
            if name.startswith(ours):
                name = theirs + name.removeprefix(ours)
        if name.startswith(("layers.", "embedding.")):
            for ours, theirs in names.items():
                name = name.replace(ours, theirs)
        state[name] = tensor
    return state


def _load(theirs: Any, state: dict[str, Tensor], partly: bool = False) -> Any:
    """Load the state, all of it; ``partly``: the module has weights that it does not name, such as an encoder."""
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    left = [name for name in missing if "decoder" in name or not partly]
    if unexpected or any("embed_positions" not in name and not name.endswith(".pe") for name in left):
        raise ValueError(f"weights do not fit: missing {left[:3]}, unexpected {list(unexpected)[:3]}")
    for module in theirs.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = nn.LayerNorm(1).eps
    return theirs.eval()


def check_decoder(decoder: Decoder, step: Any, tolerance: float = 1e-3) -> None:
    """Raise unless a peer's decoder says what ours says.

    Args:
        decoder: ours.
        step: takes tokens (batch, length) and encoder output (batch, frames, d_model), and returns log-probabilities
            (batch, vocab) of the next token.
        tolerance: largest difference of a log-probability.
    """
    generator = torch.Generator().manual_seed(0)
    vocab, d_model, *_ = sizes_of(decoder)
    tokens = torch.randint(5, vocab, (2, 7), generator=generator)
    encoder_out = torch.randn(2, 20, d_model, generator=generator)
    with torch.no_grad():
        logits, _ = decoder(tokens, encoder_out, torch.ones(2, 20, dtype=torch.bool))
        ours = logits[:, -1].log_softmax(dim=-1)
        theirs = step(tokens, encoder_out)
    likely = ours > math.log(1e-20)
    difference = float((ours - theirs)[likely].abs().max())
    if difference > tolerance:
        raise ValueError(f"the transplanted decoder differs from ours by {difference:.2g}")
