"""Positional encoding: attention does not know order, so order is added to what it sees."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class SinusoidalPositionalEncoding(nn.Module):
    """Sines and cosines of geometrically spaced wavelengths (Vaswani et al. 2017, section 3.5).

    ``PE[t, 2i] = sin(t / 10000^(2i / d_model))`` and ``PE[t, 2i + 1] = cos(t / 10000^(2i / d_model))``.

    Args:
        d_model: width of the encoding; must be even.
        max_length: number of positions in the table.
    """

    def __init__(self, d_model: int, max_length: int = 5000) -> None:
        super().__init__()
        if d_model % 2:
            raise ValueError(f"d_model must be even, sines and cosines come in pairs; got {d_model}")
        self.register_buffer("table", self.make_table(d_model, max_length), persistent=False)
        self.table: Tensor

    @staticmethod
    def make_table(d_model: int, max_length: int) -> Tensor:
        """The encodings of positions 0 to max_length - 1: (max_length, d_model)."""
        position = torch.arange(max_length, dtype=torch.float32)[:, None]  # (max_length, 1)
        frequency = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10_000.0) / d_model))  # (d_model / 2,)
        angle = position * frequency  # (max_length, d_model / 2)
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)  # (max_length, d_model)

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Add the encodings of positions ``offset, offset + 1, ...`` to ``x`` (batch, length, d_model).

        Raises:
            ValueError: a position beyond ``max_length``.
        """
        return x + _rows(self.table, x.shape[1], offset)


class LearnedPositionalEncoding(nn.Module):
    """One trainable vector for each position (Gehring et al. 2017, section 3.1)."""

    def __init__(self, d_model: int, max_length: int = 5000) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(max_length, d_model) * 0.02)

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Add the vectors of positions ``offset, offset + 1, ...`` to ``x`` (batch, length, d_model).

        Raises:
            ValueError: a position beyond ``max_length``.
        """
        return x + _rows(self.table, x.shape[1], offset)


class NoPositionalEncoding(nn.Module):
    """Leaves the input as it is, for experiments on what order is worth."""

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        return x


def positional_encoding(kind: str, d_model: int, max_length: int) -> nn.Module:
    """The encoding that a configuration names: sinusoidal, learned or none."""
    if kind == "none":
        return NoPositionalEncoding()
    return {"sinusoidal": SinusoidalPositionalEncoding, "learned": LearnedPositionalEncoding}[kind](d_model, max_length)


def _rows(table: Tensor, length: int, offset: int) -> Tensor:
    if offset + length > table.shape[0]:
        raise ValueError(
            f"position {offset + length - 1} lies beyond the {table.shape[0]} positions of this encoding: "
            "raise model.max_length, or split the input"
        )
    return table[offset : offset + length]
