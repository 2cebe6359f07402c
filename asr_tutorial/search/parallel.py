"""Search with a decoder that writes all tokens at once: there is nothing to search for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from asr_tutorial.model import SpeechTransformer
from asr_tutorial.paraformer import Paraformer
from asr_tutorial.search.hypothesis import Hypothesis


@torch.inference_mode()
def parallel_search(
    model: SpeechTransformer, encoder_out: Tensor, encoder_mask: Tensor, forbidden: Sequence[int] = ()
) -> list[Hypothesis]:
    """The most probable token at each place, all places in one pass (Gao et al. 2022).

    How many places there are is the predictor's decision: the sum of its weights, rounded. Tokens are chosen
    independently of each other, so that the probability of one is its confidence, and that of the text their product.

    Args:
        model: a Paraformer.
        encoder_out: (batch, frames, d_model).
        encoder_mask: (batch, frames), True = real.
        forbidden: ids that are never chosen: blank, PAD, SOS, EOS.

    Returns:
        One hypothesis for each utterance, the same alone and in any batch; without tokens where nothing fires.
    """
    logits, counts = cast(Paraformer, model).write(encoder_out, encoder_mask)
    log_probs = logits.float().log_softmax(dim=-1)  # (batch, length, vocab)
    log_probs[..., list(forbidden)] = float("-inf")
    best, said = log_probs.max(dim=-1)  # (batch, length)
    return [
        Hypothesis(tokens[:count], sum(scores[:count]), True, sum(scores[:count]), scores[:count])
        for tokens, scores, count in zip(said.tolist(), best.tolist(), counts.tolist(), strict=True)
    ]
