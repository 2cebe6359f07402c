"""Beam search with a model: its decoder, its CTC head, or both, and a language model beside them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from asr_tutorial.model import SpeechTransformer
from asr_tutorial.search.beam import search
from asr_tutorial.search.fusion import Fusion
from asr_tutorial.search.greedy import text_limits
from asr_tutorial.search.hypothesis import Hypothesis, SearchOptions
from asr_tutorial.search.scorers import CTCScorer, DecoderScorer, Scorer
from asr_tutorial.search.token_model import TokenModel


@torch.inference_mode()
def joint_search(
    model: SpeechTransformer,
    encoder_out: Tensor,
    encoder_mask: Tensor,
    sos: int,
    eos: int,
    blank: int,
    forbidden: Sequence[int] = (),
    options: SearchOptions | None = None,
    language_model: TokenModel | None = None,
) -> list[list[Hypothesis]]:
    """Beam search on ``ctc_weight * CTC + (1 - ctc_weight) * attention`` (Hori et al. 2017; Watanabe et al. 2017).

    The two heads make different mistakes. The decoder knows words but may say one twice or stop too early; CTC has to
    account for every frame, once and in order, but spells by ear. A hypothesis must please both. With a
    ``ctc_weight`` of 0 this is the decoder's beam search, and with 1 CTC's own, token by token.

    A language model adds ``lm_weight`` times its log-probability (:func:`~asr_tutorial.search.fusion.shallow_fusion`).

    A hypothesis is the same alone and in any batch: its length limit is its utterance's own, and an utterance that is
    done is dropped.

    Args:
        model: a recogniser with a decoder.
        encoder_out: (batch, frames, d_model).
        encoder_mask: (batch, frames), True = real.
        sos: id that every hypothesis starts from.
        eos: id that ends one.
        blank: id of CTC's blank.
        forbidden: ids that are never chosen: blank, PAD, SOS.
        options: how to search.
        language_model: of the recogniser's tokens; None: none.

    Returns:
        For each utterance its n-best list, best first; ``log_prob`` of a hypothesis is the weighted sum of both heads,
        ``lm_score`` what language model and bonus add.
    """
    options = options or SearchOptions()
    weight, beam = options.ctc_weight, options.beam_size
    scorers: list[tuple[float, Scorer]] = []
    if weight < 1 or options.coverage_penalty:
        decoder = DecoderScorer(
            model,
            encoder_out,
            encoder_mask,
            sos,
            beam,
            options.temperature,
            options.repeat_penalty,
            need_attention=options.coverage_penalty > 0,
        )
        scorers.append((1 - weight, decoder))
    if weight > 0:
        frames = encoder_mask.sum(dim=1)
        scorers.append((weight, CTCScorer(model.ctc_log_probs(encoder_out), frames, blank, eos, beam)))
    fusion = None
    if (language_model is not None and options.lm_weight > 0) or options.token_bonus:
        lm = language_model.scorer(len(encoder_out), beam, encoder_out.device) if language_model is not None else None
        fusion = Fusion(lm, options.lm_weight, options.token_bonus, eos)
    limits = text_limits(encoder_mask, options.max_length)
    return search(scorers, limits, eos, options, forbidden, encoder_mask, fusion=fusion)
