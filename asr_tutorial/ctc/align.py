"""Forced alignment: when was each token said? The best of all paths that say a transcript, or all of them together.

:func:`viterbi` finds the best path through the states of :func:`asr_tutorial.ctc.loss.extend_targets`.
:func:`forced_align` reads from it which frames say which token, and :func:`token_spans` does so for a batch.
:func:`frame_posteriors` gives the probability of each token in each frame, over all paths, where the best path only
says yes or no.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr_tutorial.ctc.loss import (
    NEVER,
    backward_scores,
    extend_targets,
    forward_scores,
    log_likelihood,
    state_posteriors,
)
from asr_tutorial.dataset import frames_needed


@dataclass
class Alignment:
    """Which frames say which token.

    Attributes:
        states: (time,) for each frame, the index into the targets that it says, or -1 for blank.
        spans: for each target token, its first frame and the one after its last.
        scores: for each target token, its mean log-probability over its span.
        score: log-probability of the whole path.
    """

    states: Tensor
    spans: list[tuple[int, int]]
    scores: list[float]
    score: float


def viterbi(emissions: Tensor, may_skip: Tensor) -> tuple[Tensor, float]:
    """The most probable path through the states of one utterance (the recursion for alpha, max in place of sum).

    It begins in the first blank or the first token, stays, moves on by one state or skips one, and ends in the last
    token or the last blank.

    Args:
        emissions: (time, states) log-probability of what each state says, in each frame.
        may_skip: (states,) where a state can be reached from two states before.

    Returns:
        The state of each frame (time,), and the path's log-probability; minus infinity when no path is long enough.
    """
    time, states = emissions.shape
    best = torch.full((states,), NEVER, dtype=emissions.dtype)
    best[:2] = emissions[0, :2]
    steps = torch.zeros(time, states, dtype=torch.long)  # how far the best path came in this frame: 0, 1 or 2 states
    for frame in range(1, time):
        arriving = best.new_full((3, states), NEVER)
        arriving[0] = best
        arriving[1, 1:] = best[:-1]
        arriving[2, 2:] = best[:-2]
        arriving[2, ~may_skip] = NEVER
        best, steps[frame] = arriving.max(dim=0)
        best = best + emissions[frame]

    state = max(range(max(states - 2, 0), states), key=lambda final: float(best[final]))
    score = float(best[state])
    path = torch.empty(time, dtype=torch.long)
    for frame in range(time - 1, -1, -1):
        path[frame] = state
        state -= int(steps[frame, state])
    return path, score


def forced_align(log_probs: Tensor, targets: Tensor, blank: int) -> Alignment:
    """When each token of a text was said: the most probable path that says it.

    Args:
        log_probs: (time, vocab).
        targets: (length,) ids without blank.
        blank: id of the blank.

    Returns:
        The path, with the span and the score of each token.

    Raises:
        ValueError: the targets need more frames than there are.
    """
    _check_fits(log_probs, targets)
    emissions, _, may_skip = _trellis(log_probs, targets, blank)
    path, score = viterbi(emissions, may_skip)
    said = torch.where(path % 2 == 1, path // 2, -1)  # every second state is a token
    spans, scores = [], []
    for index in range(len(targets)):
        frames = (said == index).nonzero()[:, 0]
        first, last = int(frames[0]), int(frames[-1]) + 1
        spans.append((first, last))
        scores.append(float(emissions[first:last, 2 * index + 1].mean()))
    return Alignment(said, spans, scores, score)


def token_spans(
    log_probs: Tensor, lengths: Sequence[int], targets: Sequence[Sequence[int]], blank: int
) -> list[list[tuple[int, int]] | None]:
    """The spans of :func:`forced_align` for a batch, all in one walk through the frames.

    Args:
        log_probs: (batch, time, vocab).
        lengths: real frames of each utterance.
        targets: ids of each utterance's text, without blank.
        blank: id of the blank.

    Returns:
        For each utterance the first frame of each token and the one after its last; None where the text needs more
        frames than there are.
    """
    rows = np.arange(len(targets))
    sizes, ends = np.array([len(text) for text in targets]), np.array(lengths)
    padded = torch.full((len(targets), max(int(sizes.max()), 1)), blank)
    for row, text in zip(padded, targets, strict=True):
        row[: len(text)] = torch.tensor(text, dtype=torch.long)
    states, may_skip = extend_targets(padded, torch.from_numpy(sizes), blank)
    on_processor = _on_processor(log_probs)
    emissions = on_processor.gather(2, states[:, None].expand(-1, on_processor.shape[1], -1)).numpy()
    no_skip = ~may_skip.numpy()[:, 2:]

    time = emissions.shape[1]
    best = np.full(states.shape, NEVER, dtype=emissions.dtype)  # (batch, states)
    best[:, :2] = emissions[:, 0, :2]
    steps = np.zeros((time, *states.shape), dtype=np.int8)
    for frame in range(1, time):
        arriving = np.full((3, *states.shape), NEVER, dtype=emissions.dtype)
        arriving[0] = best
        arriving[1, :, 1:] = best[:, :-1]
        arriving[2, :, 2:] = np.where(no_skip, NEVER, best[:, :-2])
        going_on = (frame < ends)[:, None]  # behind its last frame a path stays where it is
        steps[frame] = np.where(going_on, arriving.argmax(axis=0), 0)
        best = np.where(going_on, arriving.max(axis=0) + emissions[:, frame], best)

    state = np.where((sizes > 0) & (best[rows, 2 * sizes - 1] >= best[rows, 2 * sizes]), 2 * sizes - 1, 2 * sizes)
    paths = np.empty((len(targets), time), dtype=np.int64)
    for frame in range(time - 1, -1, -1):
        paths[:, frame] = state
        state = state - steps[frame, rows, state]
    spans: list[list[tuple[int, int]] | None] = []
    for path, end, size, text in zip(paths, lengths, sizes, targets, strict=True):
        said = 2 * np.arange(size) + 1  # a path never goes back, so that its states are sorted
        first, last = np.searchsorted(path[:end], said, "left"), np.searchsorted(path[:end], said, "right")
        fits = end >= max(frames_needed(text), 1)
        spans.append(list(zip(first.tolist(), last.tolist(), strict=True)) if fits else None)
    return spans


def frame_posteriors(log_probs: Tensor, targets: Tensor, blank: int) -> Tensor:
    """How probable each token is in each frame, over all paths that say the targets.

    Args:
        log_probs: (time, vocab).
        targets: (length,) ids without blank.
        blank: id of the blank.

    Returns:
        (time, length + 1): for each frame the probability of each token of the text in turn, and last of a blank, any
        of them; rows sum to 1.

    Raises:
        ValueError: the targets need more frames than there are.
    """
    _check_fits(log_probs, targets)
    frames, length = torch.tensor([len(log_probs)]), torch.tensor([len(targets)])
    posteriors = path_posteriors(_on_processor(log_probs)[None], targets.cpu()[None], frames, length, blank)[0]
    return torch.cat([posteriors[:, 1::2], posteriors[:, ::2].sum(dim=1, keepdim=True)], dim=1)


def path_posteriors(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int
) -> Tensor:
    """How probable each state is in each frame, over all paths that say the targets, for a batch.

    Args:
        log_probs: (batch, time, vocab), fp32 or fp64.
        targets: (batch, length) ids without blank, padded with anything.
        input_lengths: (batch,) real frames, at least 1.
        target_lengths: (batch,) real tokens.
        blank: id of the blank.

    Returns:
        (batch, time, 2 * length + 1), tokens at the odd places; zero where there is no path, anything in the padding.
    """
    states, may_skip = extend_targets(targets, target_lengths, blank)
    emissions = log_probs.gather(2, states[:, None].expand(-1, log_probs.shape[1], -1))  # (batch, time, states)
    alphas = forward_scores(emissions, may_skip)
    betas = backward_scores(emissions, may_skip, input_lengths, target_lengths)
    return state_posteriors(alphas, betas, emissions, log_likelihood(alphas, input_lengths, target_lengths))


def _on_processor(log_probs: Tensor) -> Tensor:
    log_probs = log_probs.detach().cpu()
    return log_probs if log_probs.dtype == torch.float64 else log_probs.float()


def _trellis(log_probs: Tensor, targets: Tensor, blank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Emissions (time, states), states (states,) and skips (states,) of one utterance, on the processor."""
    log_probs = _on_processor(log_probs)
    states, may_skip = extend_targets(targets.cpu()[None], torch.tensor([len(targets)]), blank)
    return log_probs[:, states[0]], states[0], may_skip[0]


def _check_fits(log_probs: Tensor, targets: Tensor) -> None:
    time, needed = len(log_probs), max(frames_needed(targets.tolist()), 1)
    if time < needed:
        raise ValueError(f"{len(targets)} tokens need at least {needed} frames for a CTC path, got {time}")
