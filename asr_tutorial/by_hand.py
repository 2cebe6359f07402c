"""Attention and its backward pass without autograd: NumPy only, every gradient derived by hand.

A layer computes y from x. Further on, y decides a number, the loss L. Backpropagation walks the same way back: each
layer is handed ``gradient``, which is dL/dy and has the shape of y, and answers with dL/dx, of the shape of x:

    dL/dx_j = sum_i dL/dy_i dy_i/dx_j

This is a product of a vector, dL/dy, with the layer's Jacobian, dy_i/dx_j, which is never built: it has a row for every
output and a column for every input. To derive a backward pass is to find a short way to the product.

``forward`` keeps what the way back needs; ``backward`` returns the gradients of the inputs of the last ``forward`` and
stores those of the parameters. Sections are those of Vaswani et al. 2017, names those of asr_tutorial.attention.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")


class Linear:
    """``y = W x + b`` for each row x of the input: y_o = sum_i W_oi x_i + b_o. For one row, with g = dL/dy:

        dL/dx_i  = sum_o g_o W_oi,  that is  W^T g
        dL/dW_oi = g_o x_i,         that is  g x^T
        dL/db_o  = g_o

    All rows share W and b: each adds its part to the loss, and so to the last two gradients.

    Args:
        weight: W, (outputs, inputs), the layout of ``torch.nn.Linear``.
        bias: b, (outputs,), or None for none.
    """

    def __init__(self, weight: Array, bias: Array | None = None) -> None:
        self.weight = weight
        self.bias = bias
        self.weight_gradient = np.zeros_like(weight)  # until the first backward
        self.bias_gradient = None if bias is None else np.zeros_like(bias)

    def forward(self, x: Array) -> Array:
        """(..., inputs) -> (..., outputs), with any number of axes in front."""
        self.x = x
        y = x @ self.weight.T
        return y if self.bias is None else y + self.bias

    def backward(self, gradient: Array) -> Array:
        """dL/dy, (..., outputs) -> dL/dx, (..., inputs).

        Stores dL/dW as ``weight_gradient`` and, where there is a bias, dL/db as ``bias_gradient``, anew in each call.
        """
        x = self.x.reshape(-1, self.x.shape[-1])  # (rows, inputs)
        g = gradient.reshape(-1, gradient.shape[-1])  # (rows, outputs)
        self.weight_gradient = g.T @ x  # the sum of g x^T over the rows
        if self.bias is not None:
            self.bias_gradient = g.sum(axis=0)
        return gradient @ self.weight


class Softmax:
    """``p_i = exp(x_i) / sum_k exp(x_k)`` along one axis.

    The numerator of p_i depends on x_i alone, its denominator on every x_j. The quotient rule gives

        dp_i/dx_j = p_i (1 - p_i) where i = j,  -p_i p_j elsewhere

    and with g = dL/dp the sum over i becomes

        dL/dx_j = p_j g_j - sum_i g_i p_i p_j = p_j (g_j - sum_i p_i g_i)

    The last sum is the mean of g under p: only what sets g apart from it counts. A constant added to all of x, or to
    all of g, changes nothing.
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Array) -> Array:
        """Numbers of any size to probabilities that sum to 1 along ``axis``, of the same shape.

        Large numbers do not overflow. Minus infinity gets 0; where all are minus infinity, all get 0.
        """
        largest = x.max(axis=self.axis, keepdims=True)
        # Shifting x changes nothing (above). With the largest number at zero, exp never exceeds 1.
        exponentials = np.exp(x - np.where(largest == -np.inf, 0.0, largest))
        total = exponentials.sum(axis=self.axis, keepdims=True)
        self.probabilities = exponentials / np.where(total == 0.0, 1.0, total)
        return self.probabilities

    def backward(self, gradient: Array) -> Array:
        """dL/dp -> dL/dx, both of the shape of x."""
        p = self.probabilities
        mean = (p * gradient).sum(axis=self.axis, keepdims=True)
        return p * (gradient - mean)


class ScaledDotProductAttention:
    """``C = softmax(Q K^T / sqrt(d)) V`` (section 3.2.1, equation 1).

    In steps: S = Q K^T / sqrt(d), P = softmax(S), C = P V. Both factors of a matrix product Y = A B have the gradient
    that :class:`Linear` found, dA = dY B^T and dB = A^T dY, with dX short for dL/dX. From the last step to the first:

        dV = P^T dC            dP = dC V^T
        dS = P * (dP - rowsum(P * dP))
        dQ = dS K / sqrt(d)    dK = dS^T Q / sqrt(d)

    A forbidden key has the score minus infinity and so P = 0, which makes its dS and its share of dV zero: the mask
    needs no line on the way back.
    """

    def __init__(self) -> None:
        self.softmax = Softmax(axis=-1)

    def forward(self, query: Array, key: Array, value: Array, mask: Array | None = None) -> Array:
        """Attend from every query to the keys.

        Args:
            query: (..., queries, d).
            key: (..., keys, d).
            value: (..., keys, d_value).
            mask: boolean, broadcastable to (..., queries, keys), True = may be attended.

        Returns:
            The context, (..., queries, d_value). A query that may attend to nothing gets zeros.

        Raises:
            ValueError: the shapes do not fit together, or the mask is not boolean.
        """
        self._check_inputs(query, key, value, mask)
        self.query, self.key, self.value = query, key, value
        scores = query @ key.swapaxes(-2, -1) / math.sqrt(query.shape[-1])  # (..., queries, keys)
        if mask is not None:
            scores = np.where(mask, scores, -np.inf)
        self.weights = self.softmax.forward(scores)
        return self.weights @ value

    def backward(self, gradient: Array) -> tuple[Array, Array, Array]:
        """dL/dC, (..., queries, d_value) -> dL/dQ, dL/dK and dL/dV, each of the shape of its input.

        A query that may attend to nothing gets zeros, and so does a key that nobody may attend to, and its value.
        """
        d_value = self.weights.swapaxes(-2, -1) @ gradient  # (..., keys, d_value)
        d_weights = gradient @ self.value.swapaxes(-2, -1)  # (..., queries, keys)
        d_products = self.softmax.backward(d_weights) / math.sqrt(self.query.shape[-1])  # by Q K^T, before the scale
        return d_products @ self.key, d_products.swapaxes(-2, -1) @ self.query, d_value

    @staticmethod
    def _check_inputs(query: Array, key: Array, value: Array, mask: Array | None) -> None:
        if query.shape[-1] != key.shape[-1] or key.shape[:-1] != value.shape[:-1] or query.shape[:-2] != key.shape[:-2]:
            raise ValueError(
                "query, key and value must be (..., queries, d), (..., keys, d) and (..., keys, d_value), the same "
                f"axes in front; got {query.shape}, {key.shape} and {value.shape}"
            )
        if mask is not None and mask.dtype != bool:
            raise ValueError(f"mask must be boolean with True = may be attended, got {mask.dtype}")


class MultiHeadAttention:
    """Attention in ``num_heads`` subspaces side by side (section 3.2.2).

    Forward: three projections, split, attend, merge, a fourth projection. Back: the same steps in the opposite order.
    Splitting moves numbers and changes none, so its gradient is the move undone, merging; and the other way round.

    Args:
        d_model: width of queries, keys, values and output.
        num_heads: number of heads; must divide ``d_model``.
        parameters: arrays by name, such as the ``state_dict()`` of :class:`asr_tutorial.attention.MultiHeadAttention`:
            ``q_proj.weight`` (d_model, d_model), ``q_proj.bias`` (d_model,), which may be missing, and so on. Copied.

    Raises:
        ValueError: a size does not fit.
    """

    def __init__(self, d_model: int, num_heads: int, parameters: Mapping[str, Any]) -> None:
        if d_model % num_heads:
            raise ValueError(f"num_heads ({num_heads}) must divide d_model ({d_model})")
        self.d_model = d_model
        self.num_heads = num_heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            _projection(name, parameters, d_model) for name in PROJECTIONS
        )
        self.attention = ScaledDotProductAttention()

    def split_heads(self, x: Array) -> Array:
        """(batch, length, d_model) -> (batch, heads, length, d_head)."""
        return x.reshape(*x.shape[:2], self.num_heads, -1).swapaxes(1, 2)

    def merge_heads(self, x: Array) -> Array:
        """(batch, heads, length, d_head) -> (batch, length, d_model)."""
        return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], self.d_model)

    def forward(self, query: Array, key: Array, value: Array, mask: Array | None = None) -> Array:
        """(batch, queries, d_model), (batch, keys, d_model) twice -> (batch, queries, d_model).

        The mask is boolean, True = may be attended: (queries, keys), (batch, queries or 1, keys) or
        (batch, heads or 1, queries or 1, keys).
        """
        queries = self.split_heads(self.q_proj.forward(query))
        keys = self.split_heads(self.k_proj.forward(key))
        values = self.split_heads(self.v_proj.forward(value))
        if mask is not None and mask.ndim == 3:
            mask = mask[:, None]  # an axis for the heads
        context = self.attention.forward(queries, keys, values, mask)  # (batch, heads, queries, d_head)
        return self.out_proj.forward(self.merge_heads(context))

    def backward(self, gradient: Array) -> tuple[Array, Array, Array]:
        """From the gradient of the output, (batch, queries, d_model), to those of query, key and value.

        Those of the parameters are stored in the four projections, see :meth:`gradients`. In self-attention query, key
        and value are one array, and its gradient is the sum of the three.
        """
        d_context = self.split_heads(self.out_proj.backward(gradient))  # (batch, heads, queries, d_head)
        d_queries, d_keys, d_values = (self.merge_heads(d) for d in self.attention.backward(d_context))
        return self.q_proj.backward(d_queries), self.k_proj.backward(d_keys), self.v_proj.backward(d_values)

    def gradients(self) -> dict[str, Array]:
        """Gradients of the parameters, under the names of the parameters."""
        found = {}
        for name, layer in zip(PROJECTIONS, (self.q_proj, self.k_proj, self.v_proj, self.out_proj), strict=True):
            found[f"{name}.weight"] = layer.weight_gradient
            if layer.bias_gradient is not None:
                found[f"{name}.bias"] = layer.bias_gradient
        return found


def numerical_gradient(function: Callable[[Array], Any], x: Array, step: float = 1e-5) -> Array:
    """The gradient of L = ``function(x)`` by trial: (L(x + step) - L(x - step)) / (2 step) for each number of x."""
    x, gradient = np.array(x, dtype=np.float64), np.zeros(np.shape(x))
    for index in np.ndindex(x.shape):
        here = x[index]
        x[index] = here + step
        above = function(x)
        x[index] = here - step
        gradient[index] = (above - function(x)) / (2 * step)
        x[index] = here
    return gradient


def _projection(name: str, parameters: Mapping[str, Any], d_model: int) -> Linear:
    weight, bias = np.asarray(parameters[f"{name}.weight"]).copy(), parameters.get(f"{name}.bias")
    if weight.shape != (d_model, d_model):
        raise ValueError(f"{name}.weight must be ({d_model}, {d_model}), got {weight.shape}")
    return Linear(weight, None if bias is None else np.asarray(bias).copy())
