"""CTC probabilities of beginnings: what a search needs that writes a transcript token by token.

For each hypothesis two log-probabilities are kept for every number of frames ``t``: of all paths of the first ``t``
frames that say exactly the prefix and end in its last token, and of those that end in a blank (Graves 2008, section
7.4; Watanabe et al. 2017, "Hybrid CTC/attention architecture for end-to-end speech recognition", algorithm 2). Two
things make it fast without a loop over time:

- the score of *every* next token is one matrix product. The transcript starts with prefix and token ``c`` if some
  frame is the first to say ``c`` after the prefix, and that can be one frame only: a sum over frames of "the prefix has
  been said so far" times "this frame says ``c``";
- the state of a longer prefix obeys ``r[t] = p[t] * (r[t - 1] + before[t - 1])``, a linear recurrence of first order.
  Divided by the running product of ``p`` it is a running sum: ``cumsum`` and ``logcumsumexp`` solve it at once.

The running product of 250 probabilities is far below what a float can hold, so its logarithm is taken, in float64:
sums of some thousands of nats are then exact to ten digits behind the point.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEAST = -1e4
"""Log-probabilities are not taken lower than this, so that their running sums are finite: exp(-10000) is zero."""


@dataclass
class PrefixState:
    """What :class:`PrefixScorer` keeps of ``n`` hypotheses of each utterance.

    Attributes:
        token: (batch, n, time + 1) log-probability, for each number of frames from 0 on, of all paths of so many frames
            that say the prefix and end in its last token.
        blank: the same for paths that end in a blank.
        last: (batch, n) last token of each prefix; -1 for empty ones.
        score: (batch, n) log-probability that the transcript starts with the prefix.
    """

    token: Tensor
    blank: Tensor
    last: Tensor
    score: Tensor


class PrefixScorer:
    """How likely is it that the transcript *starts* with a prefix, for many hypotheses of many utterances at once?

    Args:
        log_probs: (batch, time, vocab).
        lengths: (batch,) real frames.
        blank: id of the blank.
        eos: id whose column holds the probability that the transcript *is* the prefix.
    """

    def __init__(self, log_probs: Tensor, lengths: Tensor, blank: int, eos: int) -> None:
        self.blank, self.eos = blank, eos
        self.lengths = lengths.to(log_probs.device)
        past_end = torch.arange(log_probs.shape[1], device=log_probs.device) >= self.lengths[:, None]
        # Behind the end every path says blank with certainty: no probability changes there.
        log_probs = log_probs if log_probs.dtype == torch.float64 else log_probs.float()
        log_probs = log_probs.clamp(min=LEAST).masked_fill(past_end[..., None], LEAST)
        log_probs[..., blank] = log_probs[..., blank].masked_fill(past_end, 0.0)
        # A row of time for each token: a search picks tokens, and takes their rows.
        self.log_probs = log_probs.transpose(1, 2).contiguous()  # (batch, vocab, time)
        self.probs = self.log_probs.double().exp()

    def initial_state(self, n: int = 1) -> PrefixState:
        """The state of ``n`` empty prefixes for each utterance."""
        blank = start_with(0.0, self.log_probs[:, self.blank].double().cumsum(dim=-1))  # (batch, time + 1)
        blank = blank[:, None].expand(-1, n, -1)
        return PrefixState(
            token=torch.full_like(blank, float("-inf")),
            blank=blank,
            last=torch.full(blank.shape[:2], -1, device=blank.device),
            score=torch.zeros_like(blank[..., 0]),
        )

    def score(self, state: PrefixState) -> Tensor:
        """Score every token after every prefix.

        Returns:
            (batch, n, vocab), float64: the log-probability that the transcript starts with prefix and token, in column
            ``eos`` that it is the prefix; minus infinity where that is impossible, and for the blank.
        """
        either = torch.logaddexp(state.token, state.blank)  # (batch, n, time + 1): all paths that say the prefix
        scores = next_token_scores(either, state.blank, state.last, self.probs)
        ends = self.lengths[:, None, None].expand(-1, either.shape[1], 1)
        scores[..., self.eos] = either.gather(2, ends)[..., 0]
        scores[..., self.blank] = float("-inf")
        return scores

    def extend(self, state: PrefixState, parents: Tensor, tokens: Tensor, scores: Tensor) -> PrefixState:
        """The state of chosen longer prefixes.

        Args:
            state: of n prefixes of each utterance.
            parents: (batch, m) which of them each of the m new ones extends.
            tokens: (batch, m) with which token; not the blank.
            scores: (batch, n, vocab) of ``state``, from :meth:`score`.
        """
        rows = torch.arange(parents.shape[0], device=parents.device)[:, None]
        token, blank, last = state.token[rows, parents], state.blank[rows, parents], state.last[rows, parents]
        # The same token again needs a blank between.
        before = torch.where((tokens == last)[..., None], blank, torch.logaddexp(token, blank))
        own, silence = self.log_probs[rows, tokens].double(), self.log_probs[:, self.blank, None].double()
        token, blank = extend_states(before, own, silence)
        return PrefixState(token, blank, tokens, scores[rows, parents, tokens])

    def keep(self, state: PrefixState, rows: Tensor) -> PrefixState:
        """Go on with some of the utterances: (new_batch,) indices."""
        self.lengths, self.log_probs, self.probs = self.lengths[rows], self.log_probs[rows], self.probs[rows]
        return PrefixState(state.token[rows], state.blank[rows], state.last[rows], state.score[rows])


def next_token_scores(either: Tensor, blank: Tensor, last: Tensor, probs: Tensor) -> Tensor:
    """Log-probability that a transcript starts with a prefix and one more token, for all tokens.

    The sum over frames t of ``either[t] * probs[t]``: the first t frames have said the prefix, and frame t (counted
    from 0) is the first that says the token. If the prefix ends in this very token, a blank must have come between, so
    that ``blank`` takes the place of ``either``. Each prefix is scaled by its largest entry before exp, so that what is
    lost by underflow is e^-700 times smaller.

    Args:
        either: (batch, n, time + 1) log-probability, for each number of frames from 0 on, of all paths of so many
            frames that say the prefix.
        blank: (batch, n, time + 1) the same, only of paths that end in a blank.
        last: (batch, n) last token of each prefix; -1 for empty ones.
        probs: (batch, vocab, time) probabilities, not logarithms.

    Returns:
        (batch, n, vocab).
    """
    peak = either.amax(dim=-1, keepdim=True).clamp(min=torch.finfo(either.dtype).min)  # (batch, n, 1)
    sums = (either[..., :-1] - peak).exp() @ probs.transpose(1, 2)  # (batch, n, vocab)
    last = last.clamp(min=0)  # an empty prefix has no token paths: either is blank, whatever column is chosen
    rows = torch.arange(len(last), device=last.device)[:, None]
    again = ((blank[..., :-1] - peak).exp() * probs[rows, last]).sum(dim=-1, keepdim=True)  # (batch, n, 1)
    return sums.scatter(2, last[..., None], again).log() + peak


def extend_states(before: Tensor, token: Tensor, blank: Tensor) -> tuple[Tensor, Tensor]:
    """Paths that say a longer prefix, for each number of frames, by the two recurrences of CTC.

    A path that ends in the new token either stays in it or comes to it from ``before``; one that ends in a blank stays
    there or comes from the token: ``r_token[t + 1] = token[t] * (r_token[t] + before[t])`` and
    ``r_blank[t + 1] = blank[t] * (r_blank[t] + r_token[t])``.

    Args:
        before: (..., time + 1) log-probability of the paths from which the new token may be said.
        token: (..., time) log-probabilities of the new token.
        blank: (..., time) log-probabilities of the blank.

    Returns:
        ``r_token`` and ``r_blank``, (..., time + 1) log-probabilities.
    """
    ends_in_token = linear_recurrence(before, token)
    return ends_in_token, linear_recurrence(ends_in_token, blank)


def linear_recurrence(arrivals: Tensor, log_probs: Tensor) -> Tensor:
    """Solve ``r[t + 1] = p[t] * (r[t] + arrivals[t])`` from ``r[0] = 0``, all in logarithms.

    With P[t] = p[0] ... p[t], the quotient r[t + 1] / P[t] grows by arrivals[t] * p[t] / P[t] at each step.

    Args:
        arrivals: (..., time + 1) log-probabilities; the last is not used.
        log_probs: (..., time), finite.

    Returns:
        (..., time + 1).
    """
    product = log_probs.cumsum(dim=-1)
    quotient = torch.logcumsumexp(arrivals[..., :-1] + log_probs - product, dim=-1)
    return start_with(float("-inf"), product + quotient)


def start_with(value: float, x: Tensor) -> Tensor:
    """Put a value in front of the last axis: (..., time) -> (..., time + 1)."""
    return torch.nn.functional.pad(x, (1, 0), value=value)
