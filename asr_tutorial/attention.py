"""Scaled dot-product attention, and attention with many heads (Vaswani et al. 2017, section 3.2).

Two paths compute the same thing. The explicit one is a few lines that can be read, and returns the attention weights.
The fast one, :func:`fused_attention`, takes whatever is quickest on the machine at hand: it is the one that trains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr_tutorial.dropout import dropout as fast_dropout

MASKED = -1e4
"""Added to the score of a key that may not be attended: its weight is then exp(-10000), which is zero."""


def attention_scores(query: Tensor, key: Tensor) -> Tensor:
    """How well each query fits each key: ``query key^T / sqrt(d)`` (Vaswani et al. 2017, section 3.2.1).

    Without the division, scores of random vectors have a variance of d, and the softmax would almost always choose one
    key with certainty.

    Args:
        query: (..., queries, d).
        key: (..., keys, d).

    Returns:
        (..., queries, keys).
    """
    return query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])  # (..., queries, keys)


def attention_weights(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Share out 1 over the keys of each query: a softmax over the keys that may be attended.

    Args:
        scores: (..., queries, keys).
        mask: boolean, broadcastable to ``scores``, True = may be attended.

    Returns:
        (..., queries, keys): rows sum to 1, forbidden keys get 0. A row in which nothing may be attended is all zeros,
        with zero gradients.
    """
    if mask is None:
        return torch.softmax(scores, dim=-1)
    # The lowest finite number, not minus infinity: the softmax of a row of those would be 0/0.
    weights = torch.softmax(scores.masked_fill(~mask, torch.finfo(scores.dtype).min), dim=-1)
    # A row without a single allowed key has come out uniform: make it zero, and its gradient too.
    return weights.masked_fill(~mask, 0.0)


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, dropout: float = 0.0
) -> tuple[Tensor, Tensor]:
    """``softmax(query key^T / sqrt(d)) value``, step by step (Vaswani et al. 2017, equation 1).

    Args:
        query: (..., queries, d).
        key: (..., keys, d).
        value: (..., keys, d_value).
        mask: boolean, broadcastable to (..., queries, keys), True = may be attended.
        dropout: probability with which a weight is set to zero (pass 0 outside training).

    Returns:
        The context, (..., queries, d_value), and the weights, (..., queries, keys), whose rows sum to 1 (without
        dropout). A row in which nothing may be attended gives zeros, with zero gradients.

    Raises:
        ValueError: the shapes of query, key and value do not fit together.
    """
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            f"query and key must have the same last dimension d, got {query.shape[-1]} and {key.shape[-1]}"
        )
    if key.shape[-2] != value.shape[-2]:
        raise ValueError(
            f"key and value must have the same number of positions, got {key.shape[-2]} and {value.shape[-2]}"
        )
    weights = attention_weights(attention_scores(query, key), mask)  # (..., queries, keys)
    if dropout > 0.0:
        weights = F.dropout(weights, dropout)
    return weights @ value, weights


def fused_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """The context of :func:`scaled_dot_product_attention`, as fast as it can be had, without the weights.

    PyTorch's kernel, except when training on a CPU: there plain matrix products, with the mask as a bias that
    is made once for all heads, have the faster backward pass at the lengths of speech.
    """
    if query.device.type != "cpu" or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    # The queries are scaled, not the scores, of which there are more.
    scores = query * (1 / math.sqrt(query.shape[-1])) @ key.transpose(-2, -1)  # (..., queries, keys)
    if mask is None:
        weights = scores.softmax(dim=-1)
    else:
        bias = torch.zeros(mask.shape, dtype=scores.dtype).masked_fill_(~mask, MASKED)
        weights = (scores + bias).softmax(dim=-1)
    context = fast_dropout(weights, dropout) @ value
    # Where nothing may be attended all keys got the same bias, which changes nothing: such a row is set to zero here.
    return context if mask is None else context * mask.any(dim=-1, keepdim=True)


@dataclass
class KeyValueCache:
    """Projected keys and values that a decoder keeps from one step to the next.

    Self-attention appends the keys of each new token; cross-attention (``fixed``) projects the encoder's output once.
    Both tensors are (batch, heads, keys, d_head).
    """

    fixed: bool = False
    keys: Tensor | None = None
    values: Tensor | None = None

    def update(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values of new positions and return all of them."""
        if self.keys is not None and self.values is not None:
            keys = torch.cat([self.keys, keys], dim=2)
            values = torch.cat([self.values, values], dim=2)
        self.keys, self.values = keys, values
        return keys, values

    def select(self, rows: Tensor) -> None:
        """Keep the given rows of the batch, in that order: (new_batch,) indices."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[rows], self.values[rows]


class MultiHeadAttention(nn.Module):
    """Attention in ``num_heads`` subspaces of size ``d_model / num_heads`` side by side.

    Args:
        d_model: width of queries, keys, values and output.
        num_heads: number of heads; must divide ``d_model``.
        dropout: probability on the attention weights.
        bias: whether the four projections have a bias.

    Raises:
        ValueError: ``num_heads`` does not divide ``d_model``.
    """

    fused = True
    """Take the fast path where no weights are asked for; False always takes the explicit one."""

    def __init__(self, d_model: int, num_heads: int, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        if d_model % num_heads:
            raise ValueError(f"num_heads ({num_heads}) must divide d_model ({d_model})")
        self.d_model = d_model
        self.num_heads = num_heads
        self.dropout = dropout
        self.q_proj = nn.Linear(d_model, d_model, bias=bias)
        self.k_proj = nn.Linear(d_model, d_model, bias=bias)
        self.v_proj = nn.Linear(d_model, d_model, bias=bias)
        self.out_proj = nn.Linear(d_model, d_model, bias=bias)
        for projection in (self.q_proj, self.k_proj, self.v_proj, self.out_proj):
            nn.init.xavier_uniform_(projection.weight)
            if bias:
                nn.init.zeros_(projection.bias)

    def split_heads(self, x: Tensor) -> Tensor:
        """(batch, length, d_model) -> (batch, heads, length, d_head).

        Head h gets the features from h * d_head up to (h + 1) * d_head of every position.
        """
        batch, length, _ = x.shape
        return x.view(batch, length, self.num_heads, -1).transpose(1, 2)

    def merge_heads(self, x: Tensor) -> Tensor:
        """(batch, heads, length, d_head) -> (batch, length, d_model), the inverse of :meth:`split_heads`."""
        batch, _, length, _ = x.shape
        return x.transpose(1, 2).reshape(batch, length, self.d_model)

    def project_keys_and_values(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Project keys and values and split them into heads.

        Args:
            key: (batch, keys, d_model).
            value: (batch, keys, d_model).

        Returns:
            The keys and the values of the heads, (batch, heads, keys, d_head) each.
        """
        return self.split_heads(self.k_proj(key)), self.split_heads(self.v_proj(value))

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        need_weights: bool = False,
        cache: KeyValueCache | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from every query to the keys.

        Args:
            query: (batch, queries, d_model).
            key: (batch, keys, d_model).
            value: (batch, keys, d_model).
            mask: (queries, keys), (batch, queries or 1, keys) or (batch, heads or 1, queries or 1, keys), boolean,
                True = may be attended.
            need_weights: return the weights too; takes the explicit path.
            cache: keys and values of earlier calls, extended by this one.

        Returns:
            The output, (batch, queries, d_model), and the weights, (batch, heads, queries, keys), or None.

        Raises:
            ValueError: an input is not (batch, length, d_model), their sizes do not fit together, or the mask is not
                boolean or does not fit.
        """
        self._check_inputs(query, key, value, mask, cache)
        queries = self.split_heads(self.q_proj(query))  # (batch, heads, queries, d_head)
        keys, values = self._keys_and_values(key, value, cache)  # (batch, heads, keys, d_head)
        if mask is not None and mask.dim() == 3:
            mask = mask[:, None]  # (batch, 1, queries or 1, keys): the same for all heads

        dropout = self.dropout if self.training else 0.0
        weights: Tensor | None = None
        if self.fused and not need_weights:
            context = fused_attention(queries, keys, values, mask, dropout)
        else:
            context, weights = scaled_dot_product_attention(queries, keys, values, mask, dropout)
        output = self.out_proj(self.merge_heads(context))
        return output, weights if need_weights else None

    def _keys_and_values(self, key: Tensor, value: Tensor, cache: KeyValueCache | None) -> tuple[Tensor, Tensor]:
        """Project keys and values, or take them from the cache: (batch, heads, keys, d_head) each."""
        if cache is None:
            return self.project_keys_and_values(key, value)
        if cache.fixed and cache.keys is not None and cache.values is not None:
            return cache.keys, cache.values
        return cache.update(*self.project_keys_and_values(key, value))

    def _check_inputs(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, cache: KeyValueCache | None
    ) -> None:
        """Raise ValueError unless the inputs of :meth:`forward` fit together."""
        for name, tensor in (("query", query), ("key", key), ("value", value)):
            if tensor.dim() != 3 or tensor.shape[-1] != self.d_model:
                raise ValueError(f"{name} must be (batch, length, {self.d_model}), got {tuple(tensor.shape)}")
        if key.shape != value.shape or key.shape[0] != query.shape[0]:
            raise ValueError(
                "query, key and value must have the same batch, and key and value the same length, got "
                f"{tuple(query.shape)}, {tuple(key.shape)} and {tuple(value.shape)}"
            )
        if mask is None:
            return
        if mask.dtype != torch.bool:
            raise ValueError(f"mask must be boolean with True = may be attended, got {mask.dtype}")
        keys = key.shape[1]
        if cache is not None and cache.keys is not None:
            keys = cache.keys.shape[2] + (0 if cache.fixed else keys)
        wanted = (query.shape[0], self.num_heads, query.shape[1], keys)
        shape = mask.shape if mask.dim() != 3 else (mask.shape[0], 1, *mask.shape[1:])
        for size, allowed in zip(reversed(shape), reversed(wanted), strict=False):
            if size not in (1, allowed):
                raise ValueError(
                    f"mask of shape {tuple(mask.shape)} does not fit (batch, heads, queries, keys) {wanted}"
                )
