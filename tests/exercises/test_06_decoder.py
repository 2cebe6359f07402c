"""Chapter 06: what a decoder reads and must answer, its layer, the whole decoder, and both heads on one encoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from teaching import expect, same
from torch import Tensor, nn

from asr_tutorial.config import Config, ModelConfig, from_dict
from asr_tutorial.dataset.batch import shifted_and_golden
from asr_tutorial.decoder import Decoder, DecoderCache, DecoderLayer
from asr_tutorial.masks import causal_mask, key_mask, padding_mask
from asr_tutorial.model import SpeechTransformer

BLANK, SOS, EOS, UNK, PAD = 0, 91, 92, 93, 94
TOKENIZER: Any = SimpleNamespace(blank_id=BLANK, sos_id=SOS, eos_id=EOS, unk_id=UNK, pad_id=PAD)
"""Not the numbers of the library's tokenizers: only the tokenizer may know them."""

BATCH, LENGTH, FRAMES, WIDTH, VOCAB = 2, 5, 7, 8, 11
MASK = padding_mask(torch.tensor([7, 4]))


def randomise(module: nn.Module) -> None:
    """Random weights everywhere, the same at each call: fresh normalisations are all alike, and hide a mix-up."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
        for name, parameter in module.named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1.0)


def model_config(**changes: Any) -> ModelConfig:
    sizes = {"d_model": WIDTH, "num_heads": 2, "d_ff": 12, "encoder_layers": 1, "decoder_layers": 2, "max_length": 40}
    return ModelConfig(**{**sizes, "subsampling_channels": 2, "dropout": 0.0, **changes})


def make_layer(layer_class: type[DecoderLayer]) -> DecoderLayer:
    layer = layer_class(model_config()).eval()
    randomise(layer)
    return layer


def make_decoder(decoder_class: type[Decoder], **changes: Any) -> Decoder:
    decoder = decoder_class(model_config(**changes), VOCAB).eval()
    randomise(decoder)
    return decoder


def make_model(model_class: type[SpeechTransformer], **changes: Any) -> SpeechTransformer:
    """As many mel bins as the model is wide, so that a head on the features has no wrong shape to give it away."""
    sizes = {**model_config().__dict__, "decoder_layers": 1, **changes}
    training = {"ctc_weight": 1.0, "validation_search": "ctc"} if sizes["decoder_layers"] == 0 else {}
    model_sizes = {name: value for name, value in sizes.items() if not name.startswith("__")}
    config = from_dict(Config, {"features": {"n_mels": WIDTH}, "model": model_sizes, "training": training})
    model = model_class(config, VOCAB).eval()
    randomise(model)
    model.normalize.mean.fill_(3.0)
    model.normalize.inverse_std.fill_(0.5)
    return model


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def attempt(function: Callable[[], Any]) -> Any:
    """What comes, or the kind of exception: a mistake that stops with an error is recognised by it."""
    try:
        return function()
    except Exception as error:
        return type(error).__name__


# ------------------------------------------------------------------------------------------------------------------ 6.1


@pytest.mark.exercise("6.1")
def test_one_sentence():
    """SOS + text is read, text + EOS is answered."""
    shifted, golden = shifted_and_golden([[11, 12, 13]], 4, TOKENIZER)
    same(
        shifted,
        [[SOS, 11, 12, 13]],
        f"the decoder reads SOS ({SOS} here) and then the text: at position t it knows the tokens before t, no more",
    )
    same(
        golden,
        [[11, 12, 13, EOS]],
        f"it answers with the text and then EOS ({EOS} here): without EOS it would never learn to stop",
    )


@pytest.mark.exercise("6.1")
def test_two_sentences_of_different_length():
    """PAD stands behind the end of shorter texts."""
    shifted, golden = shifted_and_golden([[11, 12, 13], [21]], 4, TOKENIZER)
    same(shifted, [[SOS, 11, 12, 13], [SOS, 21, PAD, PAD]], f"PAD ({PAD} here) fills up the end of shorter rows")
    same(
        golden,
        [[11, 12, 13, EOS], [21, EOS, PAD, PAD]],
        "EOS follows the last token of its own text at once; only then comes PAD, which no loss looks at",
    )


@pytest.mark.exercise("6.1")
def test_each_answer_is_the_next_input():
    """Each answer is the next input, shifted by one."""
    texts = [[11, 12, 13, 14, 15], [21, 22], [31, 32, 33]]
    shifted, golden = shifted_and_golden(texts, 6, TOKENIZER)
    for row, text in enumerate(texts):
        same(
            golden[row, : len(text)],
            shifted[row, 1 : len(text) + 1],
            "the answer at position t is what is read at position t + 1: shifted by one, neither more nor less. Where "
            "both are the same token, the model copies its input and learns nothing; two apart, it skips tokens",
        )


@pytest.mark.exercise("6.1")
def test_more_room_than_needed_and_an_empty_text():
    """More room than needed is filled with PAD, an empty text is SOS and EOS."""
    shifted, golden = shifted_and_golden([[11, 12], []], 5, TOKENIZER)
    same(shifted, [[SOS, 11, 12, PAD, PAD], [SOS, PAD, PAD, PAD, PAD]], "the token axis has the length asked for")
    same(golden, [[11, 12, EOS, PAD, PAD], [EOS, PAD, PAD, PAD, PAD]], "silence is a text too: it ends at once")


@pytest.mark.exercise("6.1")
def test_ids_are_int64_and_the_texts_stay_as_they_were():
    """Ids are int64 and the given texts stay as they were."""
    texts = [[11, 12], [21]]
    shifted, golden = shifted_and_golden(texts, 3, TOKENIZER)
    kinds = (shifted.dtype, golden.dtype)
    why = "an embedding and a loss take ids as 64-bit integers"
    expect(kinds == (torch.int64, torch.int64), "two int64 tensors", f"{kinds[0]} and {kinds[1]}", why)
    why = (
        "the same lists become the CTC targets, which hold neither SOS nor EOS: make new ones instead of changing them"
    )
    expect(texts == [[11, 12], [21]], "the given texts unchanged, [[11, 12], [21]]", texts, why)


def probe_shifted_and_golden(m: ModuleType) -> Iterator[Any]:
    for texts, length in ([[11, 12, 13]], 4), ([[11, 12, 13], [21]], 5), ([[31, 31], []], 3):
        given = [list(text) for text in texts]
        pair = attempt(lambda given=given, length=length: m.shifted_and_golden(given, length, TOKENIZER))
        yield from pair if isinstance(pair, tuple) else [pair]
        yield str(given)


# ------------------------------------------------------------------------------------------------------------------ 6.2


def layer_inputs(length: int = LENGTH, frames: int = FRAMES) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    mask = padding_mask(torch.tensor([frames, frames // 2 + 1]))
    return random(BATCH, length, WIDTH), random(BATCH, frames, WIDTH, seed=2), causal_mask(length), key_mask(mask)


def silence(*modules: nn.Module) -> None:
    """Zero the last linear layer of a sublayer, so that it adds nothing and another one can be seen alone."""
    with torch.no_grad():
        for module in modules:
            for parameter in module.parameters():
                parameter.zero_()


@pytest.mark.exercise("6.2")
def test_shapes_of_a_layer():
    """One vector for each token; weights only when asked for."""
    layer = make_layer(DecoderLayer)
    output, self_weights, cross_weights = layer(*layer_inputs())
    same(output.shape, (BATCH, LENGTH, WIDTH), "what comes out is the text again: one vector for each token, not frame")
    expect(
        self_weights is None and cross_weights is None,
        "None for both weights when need_weights is False",
        f"{type(self_weights).__name__} and {type(cross_weights).__name__}",
        "without weights the attention may take its fast path",
    )
    _, self_weights, cross_weights = layer(*layer_inputs(), need_weights=True)
    expect(
        self_weights is not None and cross_weights is not None,
        "both weights with need_weights=True",
        "None",
        "pass need_weights on to both attentions",
    )
    same(self_weights.shape, (BATCH, 2, LENGTH, LENGTH), "self-attention: a row per token, a column per token")
    same(cross_weights.shape, (BATCH, 2, LENGTH, FRAMES), "cross-attention: a row per token, a column per frame")


@pytest.mark.exercise("6.2")
def test_cross_attention_alone():
    """Cross-attention: queries from the text, keys and values from the sound, padding masked."""
    layer = make_layer(DecoderLayer)
    silence(layer.self_attention.out_proj, layer.feed_forward.linear2)
    x, encoder_out, self_mask, cross_mask = layer_inputs()
    output = layer(x, encoder_out, self_mask, cross_mask)[0]
    heard, _ = layer.cross_attention(layer.norm2(x), encoder_out, encoder_out, cross_mask)
    same(
        output,
        x + heard,
        "with the other two sublayers silenced, the layer is x + cross_attention: queries are the normalised text "
        "(norm2), keys and values the encoder's states as they are (the encoder has normalised them), and padded "
        "frames are masked",
    )


@pytest.mark.exercise("6.2")
def test_self_attention_alone():
    """Self-attention does not look ahead."""
    layer = make_layer(DecoderLayer)
    silence(layer.cross_attention.out_proj, layer.feed_forward.linear2)
    x, encoder_out, self_mask, cross_mask = layer_inputs()
    normed = layer.norm1(x)
    seen, _ = layer.self_attention(normed, normed, normed, self_mask)
    output = layer(x, encoder_out, self_mask, cross_mask)[0]
    why = "with the other two sublayers silenced, the layer is x + self_attention of norm1(x), under self_mask"
    same(output, x + seen, why)
    changed = x.clone()
    changed[:, -1] += 1
    ahead = layer(changed, encoder_out, self_mask, cross_mask)[0]
    same(ahead[:, :-1], output[:, :-1], "changing the last token must not change what comes before: no look ahead")


@pytest.mark.exercise("6.2")
def test_feed_forward_alone_and_nothing_at_all():
    """The feed-forward block has its own norm, and every sublayer its residual."""
    layer = make_layer(DecoderLayer)
    silence(layer.self_attention.out_proj, layer.cross_attention.out_proj)
    inputs = layer_inputs()
    x = inputs[0]
    why = "with both attentions silenced, the layer is x + feed_forward(norm3(x)): each sublayer has its own norm"
    same(layer(*inputs)[0], x + layer.feed_forward(layer.norm3(x)), why)
    layer = make_layer(DecoderLayer)
    layer.dropout = nn.Threshold(math.inf, 0.0)  # drops everything
    why = "what a sublayer says goes through self.dropout and is added to x: if all of it is dropped, x is left"
    same(layer(*inputs)[0], x, why)


@pytest.mark.exercise("6.2")
def test_three_sublayers_in_order():
    """Three sublayers in their order."""
    layer = make_layer(DecoderLayer)
    x, encoder_out, self_mask, cross_mask = layer_inputs()
    inputs = (x, encoder_out, self_mask, cross_mask)
    seen = layer.norm1(x)
    expected = x + layer.self_attention(seen, seen, seen, self_mask)[0]
    expected = expected + layer.cross_attention(layer.norm2(expected), encoder_out, encoder_out, cross_mask)[0]
    expected = expected + layer.feed_forward(layer.norm3(expected))
    why = "first the text looks at itself, then at the sound, then each position thinks, each on what the last one left"
    same(layer(*inputs)[0], expected, why)


@pytest.mark.exercise("6.2")
def test_a_layer_with_its_caches():
    """Token by token with the two caches is the same as all at once."""
    layer = make_layer(DecoderLayer)
    x, encoder_out, self_mask, cross_mask = layer_inputs()
    expected = layer(x, encoder_out, self_mask, cross_mask)[0]
    cache = DecoderCache(1).layers[0]
    steps = []
    for t in range(LENGTH):
        mask = self_mask[t : t + 1, : t + 1]  # one query, t + 1 keys
        steps.append(layer(x[:, t : t + 1], encoder_out, mask, cross_mask, cache=cache)[0])
    why = "token by token with the caches, or all at once: the same. Each of the two attentions has a cache of its own"
    same(torch.cat(steps, dim=1), expected, why)
    kept = [None if part.keys is None else part.keys.shape[2] for part in (cache.self_attention, cache.cross_attention)]
    why = "the self-attention's cache grows by each token, the cross-attention's holds the sound, once"
    expect(kept == [LENGTH, FRAMES], f"keys in the two caches: {[LENGTH, FRAMES]}", kept, why)


def probe_layer(m: ModuleType) -> Iterator[Any]:
    layer = make_layer(m.DecoderLayer)
    for sizes in ((LENGTH, FRAMES), (6, 6), (1, 1)):
        x, encoder_out, self_mask, cross_mask = layer_inputs(*sizes)
        inputs = (x, encoder_out, self_mask, cross_mask)
        outputs = attempt(lambda inputs=inputs: layer(*inputs, need_weights=True))
        yield from outputs if isinstance(outputs, tuple) else [outputs]
        cache = m.DecoderCache(1).layers[0]
        steps: list[Tensor] = []
        try:
            for t in range(sizes[0]):
                mask = self_mask[t : t + 1, : t + 1]
                steps.append(layer(x[:, t : t + 1], encoder_out, mask, cross_mask, cache=cache)[0])
        except Exception as error:
            yield type(error).__name__
        yield from steps
        for part in (cache.self_attention, cache.cross_attention):
            yield str(None if part.keys is None else part.keys.shape[2])
    layer.dropout = nn.Threshold(math.inf, 0.0)
    yield attempt(lambda: layer(*layer_inputs())[0])


# ------------------------------------------------------------------------------------------------------------------ 6.3


def decoder_inputs() -> tuple[Tensor, Tensor, Tensor]:
    tokens = torch.tensor([[1, 6, 7, 6, 10], [1, 9, 9, 5, 4]])
    return tokens, random(BATCH, FRAMES, WIDTH, seed=2), MASK


@pytest.mark.exercise("6.3")
def test_shapes_and_maps_of_a_decoder():
    """Logits for each position, and the maps by name."""
    decoder = make_decoder(Decoder)
    logits, maps = decoder(*decoder_inputs())
    same(logits.shape, (BATCH, LENGTH, VOCAB), "for each token read, a score for each token that could come next")
    expect(maps == {}, "no maps, {}, unless need_weights=True", sorted(maps), "weights take the slower path")
    again, maps = decoder(*decoder_inputs(), need_weights=True)
    names = [f"decoder.{layer}.{kind}_attention" for layer in (0, 1) for kind in ("self", "cross")]
    expect(sorted(maps) == sorted(names), f"maps called {names}", sorted(maps), "plots find a layer by its name")
    same(maps["decoder.1.cross_attention"].shape, (BATCH, 2, LENGTH, FRAMES), "(batch, heads, tokens, frames)")
    same(maps["decoder.0.self_attention"].shape, (BATCH, 2, LENGTH, LENGTH), "(batch, heads, tokens, tokens)")
    same(again, logits, "looking at the weights must not change the logits")


@pytest.mark.exercise("6.3")
def test_what_goes_into_the_first_layer():
    """Embeddings are scaled, then positions are added."""
    decoder = make_decoder(Decoder)
    seen: list[Tensor] = []
    decoder.layers[0].register_forward_pre_hook(lambda layer, given: seen.append(given[0].detach()))
    tokens = decoder_inputs()[0]
    decoder(*decoder_inputs())
    expected = decoder.embedding(tokens) * math.sqrt(WIDTH) + decoder.positional.table[:LENGTH]
    expect(seen, "the first layer is called, with x as its first argument", "no call", "each layer has its turn")
    same(
        seen[0],
        expected,
        "the embeddings start with a deviation of 1 / sqrt(d_model): times self.scale they are as large as the sines "
        "of the positions that are added to them, which would drown them otherwise",
    )


@pytest.mark.exercise("6.3")
def test_what_comes_after_the_last_layer():
    """Layers one after the other, a last norm, then the output layer."""
    decoder = make_decoder(Decoder)
    read: list[Tensor] = []
    seen: list[Tensor] = []
    for layer in decoder.layers:
        layer.register_forward_pre_hook(lambda layer, given: read.append(given[0].detach()))
        layer.register_forward_hook(lambda layer, given, output: seen.insert(0, output[0].detach()))
    logits, _ = decoder(*decoder_inputs())
    expect(len(seen) == 2, "each of the 2 layers is called once", f"{len(seen)} calls", "each layer has its turn")
    same(read[1], seen[1], "the second layer goes on with what the first one has made")
    why = "pre-norm layers leave their sum unnormalised: one last norm, then the output layer. Logits, no softmax"
    same(logits, decoder.out(decoder.norm(seen[0])), why)


@pytest.mark.exercise("6.3")
def test_no_look_ahead_and_no_padded_frames():
    """A token sees itself and what came before; padded frames change nothing."""
    decoder = make_decoder(Decoder)
    tokens, encoder_out, mask = decoder_inputs()
    logits, maps = decoder(tokens, encoder_out, mask, need_weights=True)
    looks = (maps["decoder.0.self_attention"] > 0).all(dim=0).all(dim=0)  # (length, length)
    why = "each token looks at itself and at all before it: row i, column j is 1 where token i sees token j"
    same(looks.int(), causal_mask(LENGTH).int(), why)
    for position in range(1, LENGTH):
        changed = tokens.clone()
        changed[:, position] = (changed[:, position] + 1) % VOCAB
        ahead, _ = decoder(changed, encoder_out, mask)
        why = f"token {position} is the answer to position {position - 1}: who sees it copies instead of listening"
        same(ahead[:, :position], logits[:, :position], why)
    noisy = encoder_out.masked_fill(~mask[..., None], 30.0)
    why = "what lies in the padding of the sound must not matter: key_mask(encoder_mask) hides it"
    same(decoder(tokens, noisy, mask)[0], logits, why)


@pytest.mark.exercise("6.3")
@pytest.mark.parametrize("pieces", [[1] * LENGTH, [2, 3]])
def test_step_by_step_is_all_at_once(pieces):
    """Step by step with a cache is the same as all at once."""
    decoder = make_decoder(Decoder)
    tokens, encoder_out, mask = decoder_inputs()
    expected, _ = decoder(tokens, encoder_out, mask)
    cache, steps = DecoderCache(2), []
    for piece in tokens.split(pieces, dim=1):
        steps.append(decoder(piece, encoder_out, mask, cache=cache)[0])
    expect(
        cache.length == LENGTH,
        f"cache.length {LENGTH} after {LENGTH} tokens",
        cache.length,
        "the cache counts what it has seen: the next token's position is that number",
    )
    same(
        torch.cat(steps, dim=1),
        expected,
        f"in pieces of {pieces} tokens with a cache, or all at once: the same. A token's position is its place in the "
        "whole text, and its row of the causal mask is that of this position",
    )


def probe_decoder(m: ModuleType) -> Iterator[Any]:
    decoder = make_decoder(m.Decoder)
    tokens, encoder_out, mask = decoder_inputs()
    outputs = attempt(lambda: decoder(tokens, encoder_out, mask, need_weights=True))
    if isinstance(outputs, tuple):
        yield outputs[0]
        yield ", ".join(sorted(outputs[1]))
        for name in sorted(outputs[1]):
            yield outputs[1][name]
    else:
        yield outputs
    yield attempt(lambda: decoder(tokens[:, :1], encoder_out, mask)[0])
    yield attempt(lambda: ", ".join(sorted(decoder(tokens, encoder_out, mask)[1])))
    for pieces in ([1] * LENGTH, [2, 3]):
        cache = m.DecoderCache(2)
        for piece in tokens.split(pieces, dim=1):
            yield attempt(lambda piece=piece, cache=cache: decoder(piece, encoder_out, mask, cache=cache)[0])
        yield cache.length


# ------------------------------------------------------------------------------------------------------------------ 6.4


def model_inputs() -> tuple[Tensor, Tensor, Tensor]:
    features = 3 + 2 * random(BATCH, 22, WIDTH)
    features[1, 13:] = 0
    return features, torch.tensor([22, 13]), decoder_inputs()[0]


@pytest.mark.exercise("6.4")
def test_ctc_log_probs_by_hand():
    """CTC log-probabilities worked by hand."""
    model = make_model(SpeechTransformer)
    probabilities = torch.arange(1, VOCAB + 1) / 66.0  # they sum to 1
    with torch.no_grad():
        model.ctc_head.weight.zero_()
        model.ctc_head.bias.copy_(probabilities.log() + 7)
    log_probs = model.ctc_log_probs(random(BATCH, 3, WIDTH))
    why = (
        "softmax over the vocabulary does not see a constant 7 in the scores: log-probabilities are left, in each frame"
    )
    same(log_probs, probabilities.log().expand(BATCH, 3, VOCAB), why)


@pytest.mark.exercise("6.4")
def test_ctc_log_probs_of_every_frame():
    """Each frame's probabilities sum to 1, in single precision."""
    model = make_model(SpeechTransformer)
    log_probs = model.ctc_log_probs(random(BATCH, FRAMES, WIDTH))
    same(log_probs.shape, (BATCH, FRAMES, VOCAB), "a distribution over the vocabulary for each encoder frame")
    why = "each frame shares out 1 over the vocabulary (the last axis), not over frames; CTC takes logarithms"
    same(log_probs.exp().sum(dim=-1), torch.ones(BATCH, FRAMES), why)
    with torch.autocast("cpu", torch.bfloat16):
        kind = model.ctc_log_probs(random(BATCH, FRAMES, WIDTH)).dtype
    why = "CTC adds up very many small numbers: .float() before the softmax keeps them exact under autocast"
    expect(kind == torch.float32, "torch.float32 under autocast too", kind, why)


@pytest.mark.exercise("6.4")
def test_two_heads_on_one_encoder():
    """Both heads listen to the states that encode gives."""
    model = make_model(SpeechTransformer)
    features, lengths, tokens = model_inputs()
    output = model(features, lengths, tokens)
    encoder_out, mask = model.encode(features, lengths)
    same(
        output.encoder_out, encoder_out, "forward hears what encode hears: front_end first, it normalises the features"
    )
    same(output.encoder_mask, mask, "real encoder frames are True")
    why = "the CTC head sits on the encoder: one distribution for each encoder frame, 22 feature frames give 6"
    same(output.ctc_log_probs, model.ctc_log_probs(encoder_out), why)
    why = "the decoder reads tokens_in and listens to the same encoder states, padding masked"
    same(output.logits, model.decode(tokens, encoder_out, mask), why)


@pytest.mark.exercise("6.4")
def test_the_encoder_runs_once():
    """The encoder runs once."""
    model = make_model(SpeechTransformer)
    calls: list[int] = []
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    model(*model_inputs())
    why = (
        "in training each pass draws its own masks and dropout: both heads must judge the same states, at half the cost"
    )
    expect(len(calls) == 1, "1 call of the encoder", f"{len(calls)} calls", why)


@pytest.mark.exercise("6.4")
def test_maps_of_encoder_and_decoder():
    """The maps of encoder and decoder in one dictionary."""
    model = make_model(SpeechTransformer)
    maps = model(*model_inputs(), need_weights=True).attention_maps
    names = ["decoder.0.cross_attention", "decoder.0.self_attention", "encoder.0.self_attention"]
    expect(sorted(maps) == names, f"{names}", sorted(maps), "one dictionary holds the maps of both halves")
    maps = model(*model_inputs()).attention_maps
    expect(maps == {}, "no maps unless asked for", sorted(maps), "weights take the slower path")


@pytest.mark.exercise("6.4")
def test_a_model_without_decoder():
    """A model without decoder has no logits."""
    model = make_model(SpeechTransformer, decoder_layers=0)
    output = model(*model_inputs())
    why = "decoder_layers=0 makes self.decoder None: chapter 05's model, which CTC alone trains"
    expect(output.logits is None, "logits None", type(output.logits).__name__, why)
    same(output.ctc_log_probs.shape, (BATCH, 6, VOCAB), "CTC needs no decoder")


def probe_model(m: ModuleType) -> Iterator[Any]:
    model = make_model(m.SpeechTransformer)
    yield attempt(lambda: model.ctc_log_probs(random(BATCH, 3, WIDTH)))
    calls: list[int] = []
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    output = attempt(lambda: model(*model_inputs(), need_weights=True))
    if isinstance(output, str):
        yield output
    else:
        yield from (output.encoder_out, output.encoder_mask, output.ctc_log_probs, output.logits)
        yield ", ".join(sorted(output.attention_maps))
    yield len(calls)
    other = make_model(m.SpeechTransformer, decoder_layers=0)
    yield attempt(lambda: str(other(*model_inputs()).logits))


PROBES = {
    "6.1": probe_shifted_and_golden,
    "6.2": probe_layer,
    "6.3": probe_decoder,
    "6.4": probe_model,
}
