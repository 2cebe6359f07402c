"""Positional encoding: attention does not know order, so order is added to what it sees."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def frequencies(d_model: int) -> Tensor:
    """How far each pair of dimensions turns from one position to the next (Vaswani et al. 2017, section 3.5).

    ``w_i = 1 / 10000^(2i / d_model)`` for pair ``i = 0 ... d_model / 2 - 1``.

    Args:
        d_model: width of the encoding; must be even.

    Returns:
        (d_model / 2,) radians per position, from 1 down to nearly 1 / 10000.

    Raises:
        ValueError: ``d_model`` is odd.
    """
    if d_model % 2:
        raise ValueError(f"d_model must be even, sines and cosines come in pairs; got {d_model}")
    return torch.exp(torch.arange(0, d_model, 2) * (-math.log(10_000.0) / d_model))  # (d_model / 2,)


class SinusoidalPositionalEncoding(nn.Module):
    """Sines and cosines of geometrically spaced wavelengths (Vaswani et al. 2017, section 3.5).

    ``PE[t, 2i] = sin(t / 10000^(2i / d_model))`` and ``PE[t, 2i + 1] = cos(t / 10000^(2i / d_model))``.

    Args:
        d_model: width of the encoding; must be even.
        max_length: number of positions in the table.
    """

    def __init__(self, d_model: int, max_length: int = 5000) -> None:
        super().__init__()
        self.register_buffer("table", self.make_table(d_model, max_length), persistent=False)
        self.table: Tensor

    @staticmethod
    def make_table(d_model: int, max_length: int) -> Tensor:
        """The encodings of positions 0 to max_length - 1: (max_length, d_model), float32.

        Row ``t`` is ``sin(w_0 t), cos(w_0 t), sin(w_1 t), cos(w_1 t), ...`` with ``w = frequencies(d_model)``.
        """
        position = torch.arange(max_length, dtype=torch.float32)[:, None]  # (max_length, 1)
        angle = position * frequencies(d_model)  # (max_length, d_model / 2)
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)  # (max_length, d_model)

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Add the encodings of positions ``offset, offset + 1, ...`` to ``x`` (batch, length, d_model).

        Raises:
            ValueError: a position beyond ``max_length``.
        """
        return x + encodings_at(self.table, x.shape[1], offset)


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
        return x + encodings_at(self.table, x.shape[1], offset)


class NoPositionalEncoding(nn.Module):
    """Leaves the input as it is, for experiments on what order is worth."""

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        return x


def positional_encoding(kind: str, d_model: int, max_length: int) -> nn.Module:
    """The encoding that a configuration names: sinusoidal, learned or none."""
    if kind == "none":
        return NoPositionalEncoding()
    return {"sinusoidal": SinusoidalPositionalEncoding, "learned": LearnedPositionalEncoding}[kind](d_model, max_length)


def encodings_at(table: Tensor, length: int, offset: int) -> Tensor:
    """The encodings of positions ``offset`` to ``offset + length - 1``.

    Args:
        table: (max_length, d_model), one row for each position from 0 on.
        length: how many positions.
        offset: the first of them.

    Returns:
        (length, d_model).

    Raises:
        ValueError: a position beyond the table. To repeat the last row, or to add fewer rows, would hide the mistake.
    """
    if offset + length > table.shape[0]:
        raise ValueError(
            f"position {offset + length - 1} lies beyond the {table.shape[0]} positions of this encoding: "
            "raise model.max_length, or split the input"
        )
    return table[offset : offset + length]


def shift_matrix(d_model: int, offset: int) -> Tensor:
    """The rotation that moves any sinusoidal encoding by ``offset`` positions (Vaswani et al. 2017, section 3.5).

    ``table[t + offset] = shift_matrix(d_model, offset) @ table[t]`` for every position ``t``: the matrix depends on how
    far apart two positions are, not on where they are.

    Args:
        d_model: width of the encoding; must be even.
        offset: how many positions further; negative looks back.

    Returns:
        (d_model, d_model), float32, zero outside the 2 x 2 blocks on the diagonal.

    Raises:
        ValueError: ``d_model`` is odd.
    """
    angle = offset * frequencies(d_model)  # (d_model / 2,)
    blocks = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()], dim=-1)  # (d_model / 2, 4)
    return torch.block_diag(*blocks.view(-1, 2, 2))  # (d_model, d_model)


def rotate_by_position(x: Tensor, offset: int = 0) -> Tensor:
    """Turn each pair of dimensions by an angle that grows with the position (RoPE, Su et al. 2021, section 3.2.2).

    Applied to queries and keys instead of adding anything to the input: the dot product of a query and a key then
    depends on how far apart they are, not on where they are. With ``a = w_i t`` and ``w = frequencies(d)``, position
    ``t`` of the result holds ``x[t, 2i] cos(a) - x[t, 2i + 1] sin(a)`` at ``2i`` and
    ``x[t, 2i] sin(a) + x[t, 2i + 1] cos(a)`` at ``2i + 1``.

    Args:
        x: (..., length, d), the positions in the last axis but one; ``d`` must be even.
        offset: the position of the first row.

    Returns:
        (..., length, d), each row as long as before.

    Raises:
        ValueError: ``d`` is odd.
    """
    position = torch.arange(offset, offset + x.shape[-2], device=x.device)[:, None]  # (length, 1)
    angle = position * frequencies(x.shape[-1]).to(x.device)  # (length, d / 2)
    cos, sin = angle.cos(), angle.sin()
    even, odd = x[..., 0::2], x[..., 1::2]  # (..., length, d / 2) each
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)  # (..., length, d)
