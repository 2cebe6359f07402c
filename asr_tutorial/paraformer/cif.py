"""Continuous integrate-and-fire: from frames to tokens by adding up weights (Dong and Xu 2020, "CIF").

Each frame has a weight ``alpha`` of 0 or more, its share of a token. From left to right the weights are added up. When
the sum reaches 1, a token fires: its embedding is the sum of the frames so far, each times its weight. The frame at
which that happens is split: the part that was lacking belongs to this token, the rest of it to the next.

Worked by hand, with weights 0.6, 0.8, 0.4, 0.5 for the frames h1 ... h4: after h2 the sum is 1.4, so that token 1 is
``0.6 h1 + 0.4 h2``, and 0.4 of h2 is left; h3 makes it 0.8; with h4 it is 1.3, so that token 2 is
``0.4 h2 + 0.4 h3 + 0.2 h4``. What is left at the end, 0.3, is less than :data:`TAIL` and no token.

Sums are kept in double precision. That alone would not do: after weights have been scaled to add up to 7, they add up
to 7 - 1e-15 as often as to 7 + 1e-15, and a seventh token that waits for the sum to reach 7 is lost half of the time.
What makes the number of tokens certain is that the end of the utterance rounds it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from asr_tutorial.ctc import path_posteriors
from asr_tutorial.masks import padding_mask

TAIL = 0.5
"""Weight left over behind the last frame that makes one more token. With 0.5 the number of tokens is the sum of the
weights, rounded: in training, where the sum is a whole number but for rounding errors, always the right one."""

LEAST = 1e-6
"""A sum of weights below this is nothing that could be scaled."""


def token_counts(alphas: Tensor) -> Tensor:
    """How many tokens the weights make: their sum, rounded.

    Args:
        alphas: (batch, frames), 0 on padding. Weights that are not finite make no tokens.

    Returns:
        (batch,) int64.
    """
    total = alphas.double().sum(dim=1).nan_to_num(0.0, 0.0, 0.0)
    return (total + 1 - TAIL).floor().clamp(min=0).long()


def quantity_loss(alphas: Tensor, target_lengths: Tensor) -> Tensor:
    """By how many tokens the predictor is wrong: ``|N - sum(alpha)|`` (Gao et al. 2022, section 3.2).

    It is measured before the weights are scaled; afterwards there would be nothing to see.

    Args:
        alphas: (batch, frames), 0 on padding.
        target_lengths: (batch,) tokens of each transcript.

    Returns:
        (batch,) fp32, one loss for each utterance.
    """
    return (target_lengths - alphas.float().sum(dim=1)).abs()


def ctc_alphas(log_probs: Tensor, targets: Tensor, encoder_mask: Tensor, target_lengths: Tensor, blank: int) -> Tensor:
    """Weights as CTC would have them: each token has a weight of 1, spread over the frames in which CTC hears it.

    Over all paths that say the transcript, a token is in a frame with some probability; of these, over the frames, it
    gets its shares. Heads of CTC are sure of themselves, so that most of a token's weight lies in a single frame.

    Args:
        log_probs: (batch, frames, vocab) of the CTC head.
        targets: (batch, length) ids, padded with anything.
        encoder_mask: (batch, frames) boolean, True = real.
        target_lengths: (batch,) real tokens.
        blank: id of the blank.

    Returns:
        (batch, frames) without gradient; sums to the number of tokens, or to 0 where there are too few frames for them.
    """
    with torch.no_grad():
        frames = encoder_mask.sum(dim=1)
        posteriors = path_posteriors(log_probs.float(), targets, frames, target_lengths, blank)
        real = encoder_mask[..., None] & padding_mask(target_lengths, targets.shape[1])[:, None]
        said = posteriors[..., 1::2].where(real, 0.0)  # (batch, frames, length): every second state is a token
        return (said / said.sum(dim=1, keepdim=True).clamp(min=LEAST)).sum(dim=2)


def alignment_loss(alphas: Tensor, aligned: Tensor, target_lengths: Tensor) -> Tensor:
    """How far the weights lie from where CTC hears the tokens, after Yu et al. 2021 (arXiv 2104.04702).

    The quantity loss asks for a sum alone: weights that are the same everywhere fulfil it. Then the cross-entropy has
    to find out where tokens end, from embeddings that, in the middle of a long utterance, are off by some tokens.

    Args:
        alphas: (batch, frames), not scaled.
        aligned: (batch, frames) from :func:`ctc_alphas`.
        target_lengths: (batch,) tokens of each transcript.

    Returns:
        (batch,) fp32: squared differences, summed over the frames, per token; 0 where CTC has no path.
    """
    distance = (alphas.float() - aligned).square().sum(dim=1)  # (batch,)
    return (distance / target_lengths.clamp(min=1)).where(aligned.sum(dim=1) > LEAST, 0.0)


def scale_alphas(alphas: Tensor, target_lengths: Tensor, encoder_mask: Tensor) -> Tensor:
    """Weights that add up to the length of the transcript: training needs as many embeddings as it has tokens.

    Where the weights add up to nothing, each frame gets the same share, so that there is a token for each target and
    no division by zero.

    Args:
        alphas: (batch, frames), 0 on padding.
        target_lengths: (batch,) tokens of each transcript.
        encoder_mask: (batch, frames) boolean, True = real.

    Returns:
        (batch, frames) fp32, 0 on padding: ``alphas * target_lengths / alphas.sum()`` for each utterance.
    """
    total = alphas.double().sum(dim=1, keepdim=True)  # (batch, 1)
    evenly = encoder_mask / encoder_mask.sum(dim=1, keepdim=True).clamp(min=1)
    shares = torch.where(total > LEAST, alphas / total.clamp(min=LEAST), evenly)  # (batch, frames), in double
    return (shares * target_lengths[:, None]).float()


def cif_loop(frames: Tensor, alphas: Tensor) -> Tensor:
    """Integrate and fire, frame by frame, for one utterance: the definition, to be read.

    A frame whose weight is above 1 may fire several times.

    Args:
        frames: (frames, d_model) encoder states of one utterance, no padding.
        alphas: (frames,) weights, 0 or more.

    Returns:
        (tokens, d_model): the embedding of each token; the last one may be incomplete, with a weight of :data:`TAIL`
        or more.
    """
    tokens = []
    embedding = torch.zeros_like(frames[0])
    level = alphas.new_zeros((), dtype=torch.float64)
    for frame, alpha in zip(frames, alphas.double(), strict=True):
        while level + alpha >= 1:
            lacking = 1 - level
            tokens.append(embedding + lacking * frame)
            alpha = alpha - lacking
            embedding = torch.zeros_like(frame)
            level = torch.zeros_like(level)
        embedding = embedding + alpha * frame
        level = level + alpha
    if level >= TAIL:
        tokens.append(embedding)
    return torch.stack(tokens) if tokens else frames.new_zeros(0, frames.shape[1])


def cif(frames: Tensor, alphas: Tensor, max_tokens: int | None = None) -> tuple[Tensor, Tensor]:
    """Integrate and fire by prefix sums, for a whole batch at once: what :func:`cif_loop` does, without a loop.

    Frame t takes the sum of the weights from ``before[t]`` to ``after[t]``, and token u (from 0) is made while the sum
    goes from u to u + 1. So the share of frame t in token u is how far these two intervals overlap, and the embeddings
    are one product of matrices, (tokens, frames) times (frames, d_model).

    Args:
        frames: (batch, frames, d_model).
        alphas: (batch, frames), 0 or more, and 0 on padding.
        max_tokens: size of the result's token axis; the most tokens of an utterance, and 1 at least, when not given.

    Returns:
        Embeddings (batch, max_tokens, d_model), zero where an utterance has no more tokens, and the number of tokens of
        each (batch,).

    Raises:
        ValueError: an utterance has more tokens than ``max_tokens`` (looked at on the CPU).
    """
    counts = token_counts(alphas)
    if max_tokens is None:
        max_tokens = max(int(counts.max()), 1)
    alphas = alphas.double()
    after = alphas.cumsum(dim=1)[:, None]  # (batch, 1, frames)
    before = after - alphas[:, None]
    start = torch.arange(max_tokens, device=alphas.device)[:, None]  # (tokens, 1)
    # Where two ends coincide, minimum and maximum would halve the gradient; the loop sends all of it one way.
    upper = torch.where(after >= start + 1, start + 1, after)  # (batch, tokens, frames)
    lower = torch.where(before >= start, before, start)
    overlap = (after >= start) & (before < start + 1) & padding_mask(counts, max_tokens)[..., None]
    shares = torch.where(overlap, upper - lower, 0.0)
    return shares.to(frames.dtype) @ frames, counts


def fire_times(alphas: Tensor) -> Tensor:
    """Where each token of one utterance fires, for a picture.

    Args:
        alphas: (frames,) weights, no padding.

    Returns:
        (tokens,) fp32, in frames from the start of the first: 2.25 is a quarter of the way through the third frame.
        A token that only the end of the utterance completes fires there.
    """
    alphas = alphas.detach().double().cpu()
    after = alphas.cumsum(dim=0)
    level = torch.arange(1, int(token_counts(alphas[None])) + 1, dtype=torch.float64)
    frame = torch.searchsorted(after, level).clamp(max=len(alphas) - 1)  # the first one that reaches the level
    part = (level - (after - alphas)[frame]) / alphas[frame]
    return (frame + part.clamp(max=1)).float()
