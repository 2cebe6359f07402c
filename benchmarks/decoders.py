"""A decoder in five searches: ours, Hugging Face's generate, ESPnet's and SpeechBrain's, all with our weights.

Each function builds a system and returns its work: the best hypothesis of each utterance, ids without SOS and EOS.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
import weights
from torch import Tensor

from asr_tutorial.model import SpeechTransformer
from asr_tutorial.search import SearchOptions, joint_search
from asr_tutorial.tokenizer import Tokenizer

Found = list[list[int]]
BLANK, SOS, EOS, PAD = Tokenizer.blank_id, Tokenizer.sos_id, Tokenizer.eos_id, Tokenizer.pad_id
FORBIDDEN = (BLANK, SOS, PAD)


def ours(
    model: SpeechTransformer, encoder_out: Tensor, mask: Tensor, beam: int, ctc_weight: float, steps: int | None = None
) -> Callable[[], Found]:
    """asr_tutorial: all hypotheses of all utterances together."""
    options = SearchOptions(beam_size=beam, ctc_weight=ctc_weight, max_length=steps)

    def work() -> Found:
        found = joint_search(model, encoder_out, mask, SOS, EOS, BLANK, FORBIDDEN, options)
        return [hypotheses[0].tokens for hypotheses in found]

    return work


def hugging_face(model: SpeechTransformer, encoder_out: Tensor, mask: Tensor, beam: int, steps: int) -> Any:
    """Hugging Face's ``generate``, with its key/value cache; decoder alone."""
    from transformers import logging as transformers_logging
    from transformers.modeling_outputs import BaseModelOutput

    transformers_logging.set_verbosity_error()
    assert model.decoder is not None
    theirs = weights.pegasus(model.decoder, SOS, EOS, PAD)

    def next_token(tokens: Tensor, encoder_out: Tensor) -> Tensor:
        output = theirs(encoder_outputs=BaseModelOutput(last_hidden_state=encoder_out), decoder_input_ids=tokens)
        return output.logits[:, -1].log_softmax(dim=-1)

    weights.check_decoder(model.decoder, next_token)

    @torch.inference_mode()
    def work() -> Found:
        found = theirs.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoder_out.clone()),
            attention_mask=mask.long(),
            num_beams=beam,
            max_new_tokens=steps,
            length_penalty=0.0,
            do_sample=False,
        )
        return [until_end(row[1:]) for row in found.tolist()]

    return work


def espnet(
    model: SpeechTransformer,
    encoder_out: Tensor,
    mask: Tensor,
    beam: int,
    ctc_weight: float,
    steps: int | None = None,
    pre_beam: bool = True,
) -> Callable[[], Found]:
    """ESPnet's ``BatchBeamSearch``, as its recognition command sets it up: one utterance after the other.

    With ``pre_beam``, its default, the CTC head is asked only about the ``1.5 * beam`` tokens that the decoder finds
    best after each hypothesis; without, about all, as ours is.
    """
    from espnet.nets.batch_beam_search import BatchBeamSearch
    from espnet.nets.scorers.ctc import CTCPrefixScorer
    from espnet2.asr.ctc import CTC

    logging.getLogger("espnet").setLevel(logging.ERROR)
    assert model.decoder is not None
    decoder = weights.espnet_decoder(model.decoder)
    weights.check_decoder(model.decoder, lambda tokens, out: decoder.batch_score(tokens, [None] * len(tokens), out)[0])
    scorers: dict[str, Any] = {"decoder": decoder}
    if ctc_weight > 0:
        ctc = CTC(odim=model.ctc_head.out_features, encoder_output_size=model.ctc_head.in_features)
        ctc.ctc_lo.load_state_dict(model.ctc_head.state_dict())
        scorers["ctc"] = CTCPrefixScorer(ctc=ctc.eval(), eos=EOS)
    search = BatchBeamSearch(
        beam_size=beam,
        weights={"decoder": 1 - ctc_weight, "ctc": ctc_weight},
        scorers=scorers,
        sos=SOS,
        eos=EOS,
        vocab_size=model.ctc_head.out_features,
        pre_beam_score_key="full" if pre_beam else None,
    ).eval()
    pieces = [row[kept] for row, kept in zip(encoder_out, mask, strict=True)]

    @torch.inference_mode()
    def work() -> Found:
        ratio = 0.0 if steps is None else -float(steps)
        found = [search(piece, maxlenratio=ratio)[0].yseq.tolist() for piece in pieces]
        return [until_end(tokens[1:]) for tokens in found]

    return work


def speechbrain(
    model: SpeechTransformer, encoder_out: Tensor, mask: Tensor, beam: int, ctc_weight: float, steps: int | None = None
) -> Callable[[], Found]:
    """SpeechBrain's ``S2STransformerBeamSearcher`` with its CTC scorer, batched over utterances."""
    from speechbrain.decoders.scorer import CTCScorer, ScorerBuilder
    from speechbrain.decoders.seq2seq import S2STransformerBeamSearcher

    assert model.decoder is not None
    transformer, out = weights.speechbrain_transformer(model.decoder)
    weights.check_decoder(
        model.decoder, lambda tokens, memory: out(transformer.decode(tokens, memory)[0])[:, -1].log_softmax(dim=-1)
    )
    scorer = None
    if ctc_weight > 0:
        head = CTCScorer(ctc_fc=weights.speechbrain_linear(model.ctc_head), blank_index=BLANK, eos_index=EOS)
        scorer = ScorerBuilder(full_scorers=[head], weights={"ctc": ctc_weight})
    search = S2STransformerBeamSearcher(
        modules=[transformer, out],
        bos_index=SOS,
        eos_index=EOS,
        min_decode_ratio=0.0,
        max_decode_ratio=1.0 if steps is None else (steps + 0.5) / encoder_out.shape[1],
        beam_size=beam,
        scorer=scorer,
        using_eos_threshold=False,
        length_normalization=False,
    )
    longest = int(mask.sum(dim=1).max())  # padding that all share is an error there
    encoder_out, mask = encoder_out[:, :longest], mask[:, :longest]
    relative = mask.sum(dim=1) / longest

    @torch.inference_mode()
    def work() -> Found:
        found = search(encoder_out.clone(), relative)[0]
        return [until_end(row) for row in found]

    return work


def until_end(tokens: Any) -> list[int]:
    """What stands before EOS or padding."""
    result = []
    for token in [int(token) for token in tokens]:
        if token in (EOS, PAD):
            break
        result.append(token)
    return result
