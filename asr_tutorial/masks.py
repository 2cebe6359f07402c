"""Masks: which positions are real, and which may be attended.

One convention everywhere: boolean, **True = real / may be attended**, as ``F.scaled_dot_product_attention`` has it.
``nn.MultiheadAttention`` means the opposite; :func:`to_torch_key_padding_mask` and :func:`to_torch_attention_mask`
convert, so that no other place ever negates a mask.
"""

from __future__ import annotations

import torch
from torch import Tensor


def padding_mask(lengths: Tensor, max_length: int | None = None) -> Tensor:
    """Which positions of a padded batch are real.

    Args:
        lengths: (batch,) number of real positions of each sequence.
        max_length: size of the time axis; the longest length when not given.

    Returns:
        (batch, max_length) boolean, True = real.

    Raises:
        ValueError: a length is larger than ``max_length``.
    """
    _check_fit(lengths, max_length)
    if max_length is None:
        max_length = int(lengths.max())
    positions = torch.arange(max_length, device=lengths.device)
    return positions[None, :] < lengths[:, None]


def _check_fit(lengths: Tensor, max_length: int | None) -> None:
    # Only looked at on the CPU: on a GPU the comparison would make the host wait for the device.
    if max_length is None or lengths.device.type != "cpu" or torch.compiler.is_compiling():
        return
    if int(lengths.max()) > max_length:
        raise ValueError(f"a sequence of length {int(lengths.max())} does not fit in max_length={max_length}")


def causal_mask(size: int, device: torch.device | str | None = None) -> Tensor:
    """Position ``i`` may attend to positions ``0..i`` (Vaswani et al. 2017, section 3.2.3).

    Returns:
        (size, size) boolean, rows = queries, columns = keys, True on and below the diagonal.
    """
    return torch.ones(size, size, dtype=torch.bool, device=device).tril()


def key_mask(padding: Tensor) -> Tensor:
    """Every query may attend to every real key: encoder self-attention and cross-attention.

    Args:
        padding: (batch, keys) boolean, True = real.

    Returns:
        (batch, 1, keys), which broadcasts over the queries.
    """
    return padding[:, None, :]


def combine_masks(padding: Tensor, causal: Tensor) -> Tensor:
    """Real keys that do not lie in the future: decoder self-attention.

    Args:
        padding: (batch, keys) boolean, True = real.
        causal: (queries, keys) boolean.

    Returns:
        (batch, queries, keys) boolean.
    """
    return key_mask(padding) & causal[None, :, :]


def to_torch_key_padding_mask(padding: Tensor) -> Tensor:
    """``key_padding_mask`` of ``nn.MultiheadAttention``: (batch, keys), True = **ignore**."""
    return ~padding


def to_torch_attention_mask(mask: Tensor, num_heads: int) -> Tensor:
    """``attn_mask`` of ``nn.MultiheadAttention``, True = **ignore**.

    Args:
        mask: (queries, keys), or (batch, queries, keys), True = may be attended.
        num_heads: heads of the module that receives the mask.

    Returns:
        (queries, keys), or (batch * num_heads, queries, keys).
    """
    if mask.dim() == 2:
        return ~mask
    return ~mask.repeat_interleave(num_heads, dim=0)
