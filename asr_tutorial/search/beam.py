"""Beam search: many hypotheses of many utterances, side by side.

Read :func:`expand` and :func:`split_finished` first: one step is these two, and the rest is bookkeeping.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from asr_tutorial.search.fusion import Fusion
from asr_tutorial.search.hypothesis import Hypothesis, SearchOptions, best_possible, length_normalised
from asr_tutorial.search.scorers import Scorer, StepScorer

HEARD = 0.1
"""A frame to which a hypothesis has given this much attention in all counts as heard."""


def expand(scores: Tensor, log_probs: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best ways to make hypotheses one token longer.

    All hypotheses of an utterance compete with each other: a good one may go on in several ways, a bad one in none.
    Utterances do not compete.

    Args:
        scores: (batch, beam) log-probability of each hypothesis; minus infinity where there is none.
        log_probs: (batch, beam, vocab) of its next token.
        count: candidates wanted for each utterance; fewer come back if there are fewer than that.

    Returns:
        For the candidates of each utterance, best first: log-probability, the hypothesis that is extended (0 to beam -
        1), and the token that it is extended by; (batch, count) each.
    """
    totals = (scores[..., None] + log_probs).flatten(1)  # (batch, beam * vocab)
    best, index = totals.topk(min(count, totals.shape[1]), dim=1)  # (batch, count)
    vocab = log_probs.shape[2]
    return best, index // vocab, index % vocab


def split_finished(tokens: Tensor, eos: int, beam_size: int) -> tuple[Tensor, Tensor]:
    """Set candidates that end now apart from those that go on.

    An end counts if it is among the ``beam_size`` best candidates, finished or not: that is what a beam of this size
    keeps. It then leaves the beam, and the best candidates that do not end take all of its places. With twice
    ``beam_size`` candidates there are always enough of them, since a hypothesis can end in one way only.

    Args:
        tokens: (batch, candidates) the token that each candidate is extended by, best candidate first.
        eos: id that ends a hypothesis.
        beam_size: hypotheses that go on.

    Returns:
        (batch, candidates) which of them end now; and (batch, beam_size) which go on, as indices, best first.
    """
    is_end = tokens == eos
    rank = torch.arange(tokens.shape[1], device=tokens.device)
    going_on = is_end.byte().argsort(dim=1, stable=True)[:, :beam_size]  # those that do not end first, in their order
    return is_end & (rank < beam_size), going_on


def combine(weights: Sequence[float], log_probs: Sequence[Tensor]) -> Tensor:
    """The weighted sum of what several scorers say of the same tokens (log-linear combination).

    A token that one scorer holds to be impossible, with minus infinity, is impossible, whatever the others say. A
    scorer with a weight of 0 has no say at all: 0 times minus infinity would be no number.

    Args:
        weights: of each scorer, 0 or more, at least one above 0.
        log_probs: of each scorer, all of one shape, such as (batch, beam, vocab).

    Returns:
        A new tensor of the same shape.
    """
    total = torch.zeros_like(log_probs[0])
    for weight, scores in zip(weights, log_probs, strict=True):
        if weight > 0:
            total = total + weight * scores
    return total


@torch.inference_mode()
def beam_search(
    step: Callable[[Tensor], Any],
    prefix: Sequence[int] | Tensor,
    beam_size: int,
    max_length: int,
    eos: int,
    temperature: float = 1.0,
    repeat_penalty: float = 1.0,
    length_penalty: float = 0.0,
    coverage_penalty: float = 0.0,
    n_best: int | None = None,
    forbidden: Sequence[int] = (),
) -> Any:
    """The most probable continuations of a prefix, for any model that can say what comes next.

    At each step every hypothesis is extended by every token and the ``beam_size`` best are kept. Finished ones are kept
    apart and never extended. The search ends when no hypothesis can beat the ``n_best`` finished ones any more
    (:func:`best_possible`). A beam of one without a length penalty is greedy search, except that a hypothesis of
    ``max_length`` tokens may still say EOS.

    Args:
        step: prefixes (n, length) to log-probabilities (n, vocab), none above 0; or to a pair of these and attention
            (n, frames), which a coverage penalty needs. n is batch * beam_size, the hypotheses of an utterance next to
            each other; while there are fewer than ``beam_size`` different ones, some are asked for twice.
        prefix: (length,) ids to start from, SOS for example, or (batch, length).
        beam_size: hypotheses that are kept.
        max_length: most tokens after the prefix, EOS not counted.
        eos: id that ends a hypothesis.
        temperature: the distribution is taken to the power of 1 / temperature and made to sum to 1 again.
        repeat_penalty: log-probabilities of tokens already said (after the prefix) are multiplied by it.
        length_penalty: scores are divided by ``tokens ** length_penalty``, EOS counted.
        coverage_penalty: nats taken off for each frame that no token has listened to.
        n_best: hypotheses wanted; ``beam_size`` when not given.
        forbidden: ids that are never chosen.

    Returns:
        For a prefix (length,), a list of hypotheses, best first; for (batch, length), such a list for each. Hypotheses
        that ran into ``max_length`` come last, and only where fewer than ``n_best`` have finished.

    Raises:
        ConfigError: a setting outside its range.
        ValueError: a coverage penalty, but ``step`` returns no attention.
    """
    options = SearchOptions(
        beam_size=beam_size,
        n_best=beam_size if n_best is None else n_best,
        temperature=temperature,
        repeat_penalty=repeat_penalty,
        length_penalty=length_penalty,
        coverage_penalty=coverage_penalty,
        max_length=max_length,
    )
    start = torch.as_tensor(prefix)
    single = start.dim() == 1
    start = start[None] if single else start
    scorer = StepScorer(step, start, beam_size, temperature, repeat_penalty)
    limits = torch.full((len(start),), max_length, device=start.device)
    found = search([(1.0, scorer)], limits, eos, options, forbidden, drop_utterances=False)
    return found[0] if single else found


def search(
    scorers: Sequence[tuple[float, Scorer]],
    limits: Tensor,
    eos: int,
    options: SearchOptions,
    forbidden: Sequence[int] = (),
    frames: Tensor | None = None,
    drop_utterances: bool = True,
    fusion: Fusion | None = None,
) -> list[list[Hypothesis]]:
    """Beam search with the weighted sum of some scorers.

    Args:
        scorers: weight and scorer; the first one tells where a hypothesis listens.
        limits: (batch,) most tokens of a hypothesis of each utterance, EOS not counted.
        eos: id that ends a hypothesis.
        options: beam size, penalties and so on; the scorers know of temperature and repeat penalty.
        forbidden: ids that are never chosen.
        frames: (batch, frames) which frames of the sound are real, for a coverage penalty; None: all.
        drop_utterances: go on without utterances that are done; else the scorers always see all.
        fusion: a language model and a bonus for tokens, which rank but do not tell what was heard.

    Returns:
        For each utterance its ``options.n_best`` best hypotheses, the best first.
    """
    batch, beam, device = len(limits), options.beam_size, limits.device
    results: list[list[Hypothesis]] = [[] for _ in range(batch)]
    utterances = list(range(batch))  # those still searched
    scores = torch.full((batch, beam), float("-inf"), device=device)
    scores[:, 0] = 0.0  # all start alike: one is enough
    heard = torch.zeros(batch, beam, device=device)  # the scores without language model and bonus
    tokens = torch.zeros(batch, beam, 0, dtype=torch.long, device=device)
    parts = torch.zeros(batch, beam, 0, device=device)  # the log-probability of each token
    banned = torch.tensor([*forbidden], dtype=torch.long, device=device)
    coverage = _Coverage(options.coverage_penalty, frames)
    finished = _Finished(batch, options.n_best, device)
    length = 0  # of all hypotheses
    followers: list[Any] = [*(scorer for _, scorer in scorers), *([fusion] if fusion is not None else [])]
    while utterances:
        rows = torch.arange(len(utterances), device=device)[:, None]
        log_probs = combine([weight for weight, _ in scorers], [scorer.log_probs() for _, scorer in scorers])
        log_probs[..., banned] = float("-inf")
        penalty = coverage.penalty(scorers[0][1].attention, scores)  # (batch, beam)
        fused = log_probs if fusion is None else fusion.add(log_probs)
        ranks, parents, chosen = expand(scores - penalty, fused, 2 * beam)
        totals = ranks + penalty[rows, parents]
        heard_totals = totals if fusion is None else heard[rows, parents] + log_probs[rows, parents, chosen]
        ends, going_on = split_finished(chosen, eos, beam)

        normalised = length_normalised(totals, length + 1, options.length_penalty) - penalty[rows, parents]
        normalised = normalised.masked_fill(~ends, float("-inf"))
        finished.add(normalised, totals, heard_totals, tokens[rows, parents], parts[rows, parents])

        unfinished = (scores, heard, tokens, parts, penalty)
        scores, heard = totals[rows, going_on], heard_totals[rows, going_on]
        parents, chosen = parents[rows, going_on], chosen[rows, going_on]
        # Where there are fewer hypotheses than places, the first one stands in, with the score of an impossible one.
        missing = scores.isinf()
        parents, chosen = parents.where(~missing, parents[:, :1]), chosen.where(~missing, chosen[:, :1])
        tokens = torch.cat([tokens[rows, parents], chosen[..., None]], dim=2)
        parts = torch.cat([parts[rows, parents], log_probs[rows, parents, chosen][..., None]], dim=2)
        length += 1

        hope = _hope(scores.amax(dim=1), length, limits, options.length_penalty, fusion)
        done = (finished.scores[:, -1] >= hope) | (length > limits)
        if bool(done.any() if drop_utterances else done.all()):  # here, once a step, the host waits for the device
            for row in done.nonzero()[:, 0].tolist():
                results[utterances[row]] = _hypotheses(row, finished, unfinished, options)
            if not drop_utterances:
                break
            left = (~done).nonzero()[:, 0]
            utterances = [utterances[row] for row in left.tolist()]
            scores, heard, tokens, parts = scores[left], heard[left], tokens[left], parts[left]
            parents, chosen, limits = parents[left], chosen[left], limits[left]
            coverage.select(left)
            finished.select(left)
            for scorer in followers:
                scorer.select(left)
            if not utterances:
                break
        coverage.follow(parents)
        for scorer in followers:
            scorer.follow(parents, chosen)
    return results


def _hope(best: Tensor, length: int, limits: Tensor, length_penalty: float, fusion: Fusion | None) -> Tensor:
    """What the best unfinished hypothesis of each utterance (batch,) may still get to: :func:`best_possible`.

    With a bonus for tokens a score may rise, and even be positive: then a positive sum is best divided by the number
    that is worst for a negative one.
    """
    if fusion is None or fusion.token_bonus <= 0:
        return best_possible(best, length, limits, length_penalty)
    best = best + fusion.still_to_win(limits - length)
    negative = best_possible(best.clamp(max=0), length, limits, length_penalty)
    positive = length_normalised(best, length + 1 if length_penalty > 0 else limits + 1, length_penalty)
    return torch.where(best > 0, positive, negative)


class _Coverage:
    """How many frames each hypothesis has not listened to yet (after Chorowski and Jaitly 2017, section 3.2).

    A hypothesis that skips a piece of the sound leaves frames unheard; one that says a piece twice gains nothing.
    """

    def __init__(self, weight: float, frames: Tensor | None) -> None:
        self.weight, self.frames = weight, frames
        self.heard: Tensor | None = None  # (batch, beam, frames) attention so far

    def penalty(self, attention: Tensor | None, scores: Tensor) -> Tensor:
        """(batch, beam) nats to take off, with the step's attention counted."""
        if self.weight == 0:
            return torch.zeros_like(scores)
        if attention is None:
            raise ValueError("a coverage penalty needs a step that returns (log_probs, attention)")
        self.heard = attention if self.heard is None else self.heard + attention
        unheard = self.heard < HEARD
        if self.frames is not None:
            unheard = unheard & self.frames[:, None]
        return self.weight * unheard.sum(dim=2)

    def follow(self, parents: Tensor) -> None:
        if self.heard is not None:
            self.heard = self.heard[torch.arange(len(parents), device=parents.device)[:, None], parents]

    def select(self, rows: Tensor) -> None:
        self.heard = None if self.heard is None else self.heard[rows]
        self.frames = None if self.frames is None else self.frames[rows]


class _Finished:
    """The best finished hypotheses of each utterance so far, best first; minus infinity where there is none yet."""

    def __init__(self, batch: int, n_best: int, device: torch.device) -> None:
        self.n_best = n_best
        self.scores = torch.full((batch, n_best), float("-inf"), device=device)
        self.totals = torch.zeros(batch, n_best, device=device)
        self.log_probs = torch.zeros(batch, n_best, device=device)
        self.lengths = torch.zeros(batch, n_best, dtype=torch.long, device=device)
        self.tokens = torch.zeros(batch, n_best, 0, dtype=torch.long, device=device)
        self.parts = torch.zeros(batch, n_best, 0, device=device)

    def add(self, scores: Tensor, totals: Tensor, log_probs: Tensor, tokens: Tensor, parts: Tensor) -> None:
        """Take in candidates: (batch, m) scores, what these are made of with and without a language model, (batch, m,
        length) tokens and their shares.
        """
        rows = torch.arange(len(scores), device=scores.device)[:, None]
        self.scores, best = torch.cat([self.scores, scores], dim=1).topk(self.n_best, dim=1)
        length = tokens.shape[2]
        room = (0, length - self.tokens.shape[2])  # those that finished earlier are shorter
        pad = torch.nn.functional.pad
        self.totals = torch.cat([self.totals, totals], dim=1)[rows, best]
        self.log_probs = torch.cat([self.log_probs, log_probs], dim=1)[rows, best]
        lengths = torch.full_like(scores, length, dtype=torch.long)
        self.lengths = torch.cat([self.lengths, lengths], dim=1)[rows, best]
        self.tokens = torch.cat([pad(self.tokens, room), tokens], dim=1)[rows, best]
        self.parts = torch.cat([pad(self.parts, room), parts], dim=1)[rows, best]

    def select(self, rows: Tensor) -> None:
        self.scores, self.totals, self.log_probs = self.scores[rows], self.totals[rows], self.log_probs[rows]
        self.lengths, self.tokens, self.parts = self.lengths[rows], self.tokens[rows], self.parts[rows]


def _hypotheses(
    row: int, finished: _Finished, unfinished: tuple[Tensor, ...], options: SearchOptions
) -> list[Hypothesis]:
    """The n-best list of one utterance, filled up with hypotheses that had no room to finish."""
    hypotheses = [
        Hypothesis(tokens[:length], score, True, log_prob, parts[:length], total - log_prob)
        for tokens, score, total, log_prob, parts, length in zip(
            finished.tokens[row].tolist(),
            finished.scores[row].tolist(),
            finished.totals[row].tolist(),
            finished.log_probs[row].tolist(),
            finished.parts[row].tolist(),
            finished.lengths[row].tolist(),
            strict=True,
        )
        if score > float("-inf")
    ]
    missing = options.n_best - len(hypotheses)
    if missing:
        totals, log_probs, tokens, parts, penalty = (tensor[row] for tensor in unfinished)
        scores = length_normalised(totals, max(tokens.shape[1], 1), options.length_penalty) - penalty
        hypotheses += [
            Hypothesis(
                tokens[place].tolist(),
                float(scores[place]),
                False,
                float(log_probs[place]),
                parts[place].tolist(),
                float(totals[place] - log_probs[place]),
            )
            for place in scores.argsort(descending=True)[:missing].tolist()
            if float(scores[place]) > float("-inf")
        ]
    return hypotheses
