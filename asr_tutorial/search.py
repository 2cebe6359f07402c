"""Search: from a model's probabilities to token sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr_tutorial.model import SpeechTransformer


@dataclass
class Hypothesis:
    """A token sequence that a search found.

    Attributes:
        tokens: ids without SOS and EOS.
        score: log-probability in nats, the EOS included.
        finished: False when the search ran into its length limit before EOS.
    """

    tokens: list[int]
    score: float
    finished: bool


@torch.inference_mode()
def greedy_search(
    model: SpeechTransformer,
    encoder_out: Tensor,
    encoder_mask: Tensor,
    sos: int,
    eos: int,
    forbidden: Sequence[int] = (),
    max_length: int | None = None,
) -> list[Hypothesis]:
    """Take the most probable token at each step, for a whole batch at once.

    An utterance that has said EOS is closed: nothing is added to it or to its score. The limit is per utterance, so that
    a hypothesis is the same alone and in any batch.

    Args:
        model: a recogniser with a decoder.
        encoder_out: (batch, frames, d_model).
        encoder_mask: (batch, frames), True = real.
        sos: id that every hypothesis starts from.
        eos: id that ends one.
        forbidden: ids that are never chosen: blank, PAD, SOS.
        max_length: most tokens of a hypothesis; an utterance's number of encoder frames when not given.

    Returns:
        One hypothesis for each utterance.
    """
    batch = encoder_out.shape[0]
    limits = encoder_mask.sum(dim=1) if max_length is None else torch.full((batch,), max_length)
    limits = limits.to(encoder_out.device)
    tokens = torch.full((batch, 1), sos, dtype=torch.long, device=encoder_out.device)
    chosen: list[Tensor] = []
    scores = torch.zeros(batch, device=encoder_out.device)
    lengths = torch.zeros_like(limits)  # tokens before EOS
    open_ = limits > 0
    cache = model.new_cache()
    while bool(open_.any()):
        logits = model.decode(tokens, encoder_out, encoder_mask, cache)[:, -1].float()  # (batch, vocab)
        log_probs = logits.log_softmax(dim=-1)
        log_probs[:, list(forbidden)] = float("-inf")
        best, index = log_probs.max(dim=-1)  # (batch,)
        scores = scores + torch.where(open_, best, 0.0)
        open_ = open_ & (index != eos)
        chosen.append(index)
        lengths = lengths + open_
        finished_now = lengths >= limits
        open_ = open_ & ~finished_now
        tokens = index[:, None]
    sequences = torch.stack(chosen, dim=1) if chosen else tokens[:, :0]  # (batch, steps)
    ended = lengths < limits
    return [
        Hypothesis(row[:length].tolist(), float(score), bool(end))
        for row, length, score, end in zip(sequences, lengths.tolist(), scores, ended, strict=True)
    ]
