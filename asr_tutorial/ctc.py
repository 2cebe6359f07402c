"""Connectionist temporal classification (Graves et al. 2006): loss, best path and forced alignment.

CTC lets every frame say a token or *blank*. A path says a transcript when repeats are merged and blanks are dropped:
``h h _ e _ l l _ l o`` says "hello". The loss sums over all paths of a transcript; the alignment is the best of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from asr_tutorial.dataset import frames_needed


def ctc_loss(log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int) -> Tensor:
    """Negative log-likelihood of each transcript, summed over all its paths.

    The sum is taken by PyTorch's kernel, in fp32 (its CPU version knows no other type).

    Args:
        log_probs: (batch, time, vocab), log-softmax output.
        targets: (batch, length) ids without blank, SOS and EOS, padded with anything.
        input_lengths: (batch,) real frames.
        target_lengths: (batch,) real tokens.
        blank: id of the blank.

    Returns:
        (batch,) losses in nats; infinite where a transcript needs more frames than there are.
    """
    return F.ctc_loss(
        log_probs.float().transpose(0, 1),  # (time, batch, vocab)
        targets,
        input_lengths,
        target_lengths,
        blank=blank,
        reduction="none",
    )


def best_path(log_probs: Tensor, lengths: Tensor, blank: int) -> list[list[int]]:
    """Decode by taking the best token of each frame, merging repeats and dropping blanks.

    Args:
        log_probs: (batch, time, vocab).
        lengths: (batch,) real frames.
        blank: id of the blank.

    Returns:
        One list of token ids for each utterance.
    """
    tokens = log_probs.argmax(dim=-1)  # (batch, time)
    changed = torch.ones_like(tokens, dtype=torch.bool)
    changed[:, 1:] = tokens[:, 1:] != tokens[:, :-1]
    real = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
    keep = changed & real & (tokens != blank)
    return [row[kept].tolist() for row, kept in zip(tokens, keep, strict=True)]


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


class PrefixScorer:
    """CTC probabilities of beginnings: how likely is it that the transcript *starts* with a prefix?

    For each hypothesis two log-probabilities are kept for every frame ``t``: of all paths of frames ``0..t`` that say
    exactly the prefix and end in its last token, and of those that end in a blank. From them follow, for every next
    token at once, the probability of the longer prefix (Watanabe et al. 2017, "Hybrid CTC/attention architecture for
    end-to-end speech recognition", algorithm 2; Graves 2008, section 7.4).

    Args:
        log_probs: (batch, time, vocab).
        lengths: (batch,) real frames.
        blank: id of the blank.
        eos: id whose column holds the probability that the transcript *is* the prefix.
    """

    def __init__(self, log_probs: Tensor, lengths: Tensor, blank: int, eos: int) -> None:
        self.blank, self.eos = blank, eos
        past_end = torch.arange(log_probs.shape[1], device=log_probs.device) >= lengths[:, None]
        # Behind the end every path says blank with certainty: no probability changes there.
        self.log_probs = log_probs.float().masked_fill(past_end[..., None], float("-inf"))
        self.log_probs[..., blank] = self.log_probs[..., blank].masked_fill(past_end, 0.0)

    def initial_state(self) -> Tensor:
        """State of the empty prefix, one row for each utterance: (batch, time, 2), token and blank endings."""
        blanks = self.log_probs[..., self.blank].cumsum(dim=1)  # (batch, time)
        return torch.stack([torch.full_like(blanks, float("-inf")), blanks], dim=-1)

    def extend(self, state: Tensor, last: Tensor | None, utterances: Tensor) -> tuple[Tensor, Tensor]:
        """Score every token after every prefix.

        Args:
            state: (n, time, 2) of n prefixes.
            last: (n,) last token of each prefix; None for empty prefixes.
            utterances: (n,) row of ``log_probs`` that each prefix belongs to.

        Returns:
            scores (n, vocab): log-probability that the transcript starts with prefix and token, in column ``eos`` that
            it is the prefix; and the states (n, time, 2, vocab) of the longer prefixes, of which a search keeps a few.
        """
        log_probs = self.log_probs[utterances]  # (n, time, vocab)
        time = log_probs.shape[1]
        either = torch.logsumexp(state, dim=-1)  # (n, time): all paths that say the prefix
        before = either[..., None].expand(-1, -1, log_probs.shape[2]).clone()  # (n, time, vocab)
        if last is not None:
            # The same token again needs a blank between.
            before.scatter_(2, last[:, None, None].expand(-1, time, 1), state[..., 1:])
        none = torch.full_like(log_probs[:, 0], float("-inf"))  # (n, vocab)
        token_end = log_probs[:, 0] if last is None else none
        blank_end, scores = none, token_end
        states = [torch.stack([token_end, blank_end], dim=1)]
        for frame in range(1, time):
            arrives = before[:, frame - 1] + log_probs[:, frame]  # the token begins in this frame
            blank_end = torch.logaddexp(token_end, blank_end) + log_probs[:, frame, self.blank, None]
            token_end = torch.logaddexp(token_end + log_probs[:, frame], arrives)
            scores = torch.logaddexp(scores, arrives)
            states.append(torch.stack([token_end, blank_end], dim=1))
        scores[:, self.eos] = either[:, -1]
        scores[:, self.blank] = float("-inf")
        return scores, torch.stack(states, dim=1)
