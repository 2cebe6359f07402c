"""What a path says, and best path decoding: what the most probable token of each frame says."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from torch import Tensor


def collapse(path: Iterable[int], blank: int) -> list[int]:
    """What a path says: tokens that repeat from frame to frame are merged, then blanks are dropped.

    This is the map B of Graves et al. 2006, section 3.1.

    Args:
        path: a token or blank for each frame.
        blank: id of the blank.

    Returns:
        The transcript's ids.
    """
    return [token for token, _ in groupby(path) if token != blank]


def best_path(log_probs: Tensor, lengths: Tensor, blank: int) -> list[list[int]]:
    """Decode by what the best token of each frame says.

    Args:
        log_probs: (batch, time, vocab).
        lengths: (batch,) real frames.
        blank: id of the blank.

    Returns:
        One list of token ids for each utterance.
    """
    paths = log_probs.argmax(dim=-1).tolist()  # (batch, time)
    return [collapse(path[:length], blank) for path, length in zip(paths, lengths.tolist(), strict=True)]
