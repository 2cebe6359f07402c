"""Dropout (Srivastava et al. 2014) that is not the slowest part of training on a CPU.

PyTorch's CPU kernel draws one random number for each element, on one thread. One random byte is enough to decide with
a probability of k/256, and a 64-bit draw gives eight of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INT64_MIN = -(2**63)


def dropout(x: Tensor, p: float) -> Tensor:
    """What :class:`Dropout` does in training mode, as a function."""
    if p == 0.0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p)
    threshold = min(round(p * 256), 255)
    # The full range of 64 bits: random_() alone leaves the sign bit, and with it every eighth byte, too small.
    draws = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(INT64_MIN, None)
    kept = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= threshold
    # This operator is "multiply by a mask and a number" in one pass over memory, and has a derivative of its own.
    return torch.ops.aten.native_dropout_backward(x, kept, 256 / (256 - threshold))


class Dropout(nn.Module):
    """Set elements to zero with probability ``p`` in training mode and scale the rest by ``1 / (1 - p)``.

    On the CPU ``p`` is rounded to the nearest multiple of 1/256 below 1, and the scale with it, so that the mean is
    kept.

    Raises:
        ValueError: ``p`` is negative, or not less than 1.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout must be at least 0 and less than 1, got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p) if self.training else x

    def extra_repr(self) -> str:
        return f"p={self.p}"
