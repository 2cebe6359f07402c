"""Shallow fusion: a language model has a say at each step of a search.

A hypothesis is ranked by ``log p(text | sound) + lm_weight * log p(text) + token_bonus * tokens`` (Gulcehre et al.
2015, "On using monolingual corpora in neural machine translation", section 4.1; Kannan et al. 2018, "An analysis of
incorporating an external language model into a sequence-to-sequence model"). The recogniser has learnt a language model
of its own from the transcripts, and a text's probability falls with each token of either; the bonus makes up for that.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

BONUS_AHEAD = 20
"""A search that gives a bonus for tokens stops when the rest could win only by the bonus of more tokens than this, all
of them certain. Without such a limit it would have to go on to its last step, for bonuses may make up for anything."""


class LMScorer(Protocol):
    """What a search needs to know of a language model: see :class:`asr_tutorial.search.scorers.Scorer`."""

    def log_probs(self) -> Tensor:
        """Log-probabilities (batch, beam, vocab) of the next token."""
        ...

    def follow(self, parents: Tensor, tokens: Tensor) -> None:
        """Which hypotheses go on, and with which token."""
        ...

    def select(self, rows: Tensor) -> None:
        """Go on with some of the utterances."""
        ...


def shallow_fusion(
    log_probs: Tensor, lm_log_probs: Tensor | None, lm_weight: float, token_bonus: float, eos: int
) -> Tensor:
    """What each next token adds to the rank of a hypothesis.

    The recogniser's log-probability, ``lm_weight`` times the language model's, and a bonus for each token of the text.
    The end of the text is weighed by the language model like any token, for it knows where sentences end; but it is no
    token that a bonus could make up for, and gets none.

    Args:
        log_probs: (..., vocab) of the recogniser: log-probabilities, or a weighted sum of such.
        lm_log_probs: (..., vocab) of the language model. Log-probabilities, never logits. None: no language model.
        lm_weight: 0 or more; 0 is no language model, even where that holds a token to be impossible.
        token_bonus: nats.
        eos: id that ends a text.

    Returns:
        A new tensor of the shape of ``log_probs``. What either holds to be impossible, with minus infinity, is so.
    """
    bonus = torch.full_like(log_probs[..., :1], token_bonus).expand_as(log_probs).clone()
    bonus[..., eos] = 0.0
    fused = log_probs + bonus
    if lm_log_probs is not None and lm_weight > 0:
        fused = fused + lm_weight * lm_log_probs
    return fused


class Fusion:
    """A language model and a bonus in a running search.

    Args:
        scorer: the language model; None: the bonus alone.
        lm_weight: of the language model.
        token_bonus: nats for each token.
        eos: id that ends a text.
    """

    def __init__(self, scorer: LMScorer | None, lm_weight: float, token_bonus: float, eos: int) -> None:
        self.scorer = scorer if lm_weight > 0 else None
        self.lm_weight, self.token_bonus, self.eos = lm_weight, token_bonus, eos

    def add(self, log_probs: Tensor) -> Tensor:
        """:func:`shallow_fusion` with what the language model says of the hypotheses of this step."""
        if self.scorer is None and self.token_bonus == 0:
            return log_probs
        lm_log_probs = self.scorer.log_probs() if self.scorer is not None else None
        return shallow_fusion(log_probs, lm_log_probs, self.lm_weight, self.token_bonus, self.eos)

    def still_to_win(self, room: Tensor) -> Tensor:
        """The most that bonuses may still add to hypotheses with room for so many tokens (batch,)."""
        return max(self.token_bonus, 0.0) * room.clamp(min=0, max=BONUS_AHEAD)

    def follow(self, parents: Tensor, tokens: Tensor) -> None:
        if self.scorer is not None:
            self.scorer.follow(parents, tokens)

    def select(self, rows: Tensor) -> None:
        if self.scorer is not None:
            self.scorer.select(rows)
