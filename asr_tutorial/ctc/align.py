"""Forced alignment: the best of all paths that say a transcript."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

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


def forced_align(log_probs: Tensor, targets: Tensor, blank: int) -> Alignment:
    """The most probable path that says ``targets`` (Viterbi over the CTC states; Graves et al. 2006, section 4.1).

    The states are blank, first token, blank, second token, ..., blank. From one frame to the next a path stays, moves
    on by one state, or skips a blank between two different tokens.

    Args:
        log_probs: (time, vocab).
        targets: (length,) ids without blank.
        blank: id of the blank.

    Returns:
        The path, with the span and the score of each token.

    Raises:
        ValueError: the targets need more frames than there are.
    """
    time, length = log_probs.shape[0], int(targets.shape[0])
    needed = max(frames_needed(targets.tolist()), 1)
    if time < needed:
        raise ValueError(f"{length} tokens need at least {needed} frames for a CTC path, got {time}")
    log_probs, targets = log_probs.detach().float().cpu(), targets.cpu()
    states = torch.full((2 * length + 1,), blank, dtype=torch.long)
    states[1::2] = targets
    may_skip = torch.zeros(len(states), dtype=torch.bool)
    may_skip[3::2] = targets[1:] != targets[:-1]

    emissions = log_probs[:, states]  # (time, states)
    never = torch.tensor(float("-inf"))
    best = torch.full((len(states),), float("-inf"))
    best[:2] = emissions[0, :2]
    came_from = torch.zeros(time, len(states), dtype=torch.long)  # how many states the path moved on: 0, 1 or 2
    for frame in range(1, time):
        move = F.pad(best[:-1], (1, 0), value=float("-inf"))
        skip = torch.where(may_skip, F.pad(best[:-2], (2, 0), value=float("-inf"))[: len(states)], never)
        best, came_from[frame] = torch.stack([best, move, skip]).max(dim=0)
        best = best + emissions[frame]

    state = len(states) - 1
    if length and best[-2] > best[-1]:
        state = len(states) - 2
    score = float(best[state])
    path = torch.empty(time, dtype=torch.long)
    for frame in range(time - 1, -1, -1):
        path[frame] = state
        state -= int(came_from[frame, state])

    said = torch.where(path % 2 == 1, path // 2, -1)
    spans, scores = [], []
    for index, token in enumerate(targets.tolist()):
        frames = (said == index).nonzero()[:, 0]
        first, last = int(frames[0]), int(frames[-1]) + 1
        spans.append((first, last))
        scores.append(float(log_probs[first:last, token].mean()))
    return Alignment(said, spans, scores, score)
