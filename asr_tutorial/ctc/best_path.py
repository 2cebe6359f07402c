"""Best path decoding: what the best token of each frame says."""

from __future__ import annotations

import torch
from torch import Tensor


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
