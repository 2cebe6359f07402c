"""A memory that learns while it reads: fast weights, their gradient by hand, the step, and the two orders.

The order in which to read: :class:`FastWeights` and :func:`swiglu`, the network; :func:`fast_gradient`, which way its
weights should go; :func:`orthogonalise` and :func:`chunk_update`, how far they go; :func:`update_then_apply` and
:func:`apply_then_update`, the two orders; :class:`Memory`, all of this as a module.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr_tutorial.config import ModelConfig

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of a polynomial that brings singular values up to 1 close to 1 in five steps (Jordan 2024, "Muon")."""
QUIET = 0.1
"""What the answers are multiplied by before anything has been learnt. They are noise then, of a mean square of 1, and
at full strength they would drown what attention over the window says."""


# ------------------------------------------------------------------------------------------------ the network


class FastWeights(NamedTuple):
    """The three matrices of each head's network, or something of their shapes: a gradient, an update."""

    w0: Tensor
    """The gate: (batch or 1, heads, hidden, d_head)."""
    w1: Tensor
    """The way out: (batch or 1, heads, d_head, hidden)."""
    w2: Tensor
    """What the gate lets through: (batch or 1, heads, hidden, d_head)."""


def l2_norm(x: Tensor, dim: int | tuple[int, ...] = -1, eps: float = 1e-12) -> Tensor:
    """Euclidean length along ``dim``, which stays as an axis of size 1.

    ``eps`` stands inside the root: the derivative of the root is infinite at 0, and a row of zeros would get NaN as its
    gradient, even where it counts for nothing.
    """
    return (x.square().sum(dim, keepdim=True) + eps).sqrt()


def swiglu(weights: FastWeights, x: Tensor) -> Tensor:
    """What the network answers: ``W1 (silu(W0 x) * W2 x)`` for each row x (Shazeer 2020).

    Args:
        weights: of each head.
        x: (batch, heads, frames, d_head), one row a frame.

    Returns:
        (batch, heads, frames, d_head).
    """
    hidden = F.silu(x @ weights.w0.mT) * (x @ weights.w2.mT)  # (batch, heads, frames, hidden)
    return hidden @ weights.w1.mT


def fast_gradient(weights: FastWeights, keys: Tensor, values: Tensor, rates: Tensor) -> FastWeights:
    """The way in which the weights should go: down the loss ``-<f(key), value>`` of each frame.

    The gradients are written by hand. As plain matrix products they can themselves be differentiated, which training
    does: it asks how the first values of the weights, the keys, the values and the rates should change so that what is
    learnt in the utterance helps. With ``a = W0 k``, ``b = W2 k``, ``h = silu(a) * b`` and ``f = W1 h`` the negative
    gradients of the loss are ``v h^T`` for W1 and, with ``g = W1^T v``, ``(g * b * silu'(a)) k^T`` for W0 and
    ``(g * silu(a)) k^T`` for W2, where ``silu'(a) = s (1 + a (1 - s))`` and s is the sigmoid of a.

    Args:
        weights: where the gradient is taken.
        keys: (batch, heads, frames, d_head).
        values: the same.
        rates: (3, batch, heads, frames), the learning rate of each frame for W0, W1 and W2; 0 where a frame is not to
            be learnt.

    Returns:
        For each matrix the sum over the frames of rate times negative gradient: what is added to the weights.
    """
    gate, through = keys @ weights.w0.mT, keys @ weights.w2.mT  # (batch, heads, frames, hidden) each: a and b
    sigmoid = gate.sigmoid()
    opened = gate * sigmoid  # silu(a)
    hidden = opened * through
    back = values @ weights.w1  # (batch, heads, frames, hidden): g
    to_gate = back * through * sigmoid * (1 + gate * (1 - sigmoid))
    to_through = back * opened
    rate0, rate1, rate2 = rates[..., None]  # (batch, heads, frames, 1) each
    return FastWeights(
        (to_gate * rate0).mT @ keys,  # (batch, heads, hidden, d_head)
        (values * rate1).mT @ hidden,  # (batch, heads, d_head, hidden)
        (to_through * rate2).mT @ keys,
    )


# ------------------------------------------------------------------------------------------------ a step


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Muon: bring all singular values of a matrix to about 1 and keep its singular vectors (Jordan 2024).

    A sum of many products ``v k^T`` is dominated by what most frames have in common; afterwards all its directions
    count alike. Newton-Schulz iteration: ``X <- a X + (b A + c A^2) X`` with ``A = X X^T``. The size of the matrix
    plays no part any more, so of learning rates only their ratio from frame to frame does.

    Args:
        matrix: (..., rows, columns); zeros stay zeros.
        steps: of the iteration.

    Returns:
        The same shape; singular values between about 0.7 and 1.2, where they were not tiny beside the largest.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    x = x / l2_norm(x, dim=(-2, -1))  # no singular value is larger than this length
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * (square @ square)) @ x
    return x.mT if tall else x


def row_norms(weights: FastWeights) -> FastWeights:
    """The length of each row of each matrix: (batch or 1, heads, rows, 1)."""
    return FastWeights(*(l2_norm(matrix) for matrix in weights))


def chunk_update(
    weights: FastWeights,
    gradient: FastWeights,
    norms: FastWeights,
    velocity: FastWeights | None = None,
    momentum: Tensor | None = None,
    muon: bool = True,
) -> tuple[FastWeights, FastWeights]:
    """One step of the fast weights, for one chunk.

    Momentum first: ``velocity <- gradient + momentum * velocity``. The velocity, orthogonalised if ``muon``, is added
    to the weights, and then each row is brought back to the length that it began with, so that the weights of a long
    utterance do not grow.

    Args:
        weights: before the step.
        gradient: from :func:`fast_gradient`.
        norms: of the rows of the first weights, from :func:`row_norms`.
        velocity: of the chunk before; None for the first chunk.
        momentum: (batch, heads), the share of the old velocity that is kept; None: nothing of it.
        muon: orthogonalise the step (:func:`orthogonalise`).

    Returns:
        The weights after the step, and the velocity, which is never orthogonalised.
    """
    if velocity is not None and momentum is not None:
        kept = momentum[..., None, None]  # (batch, heads, 1, 1)
        gradient = FastWeights(*(new + kept * old for new, old in zip(gradient, velocity, strict=True)))
    step = FastWeights(*map(orthogonalise, gradient)) if muon else gradient
    moved = [matrix + change for matrix, change in zip(weights, step, strict=True)]
    weights = FastWeights(*(matrix * (size / l2_norm(matrix)) for matrix, size in zip(moved, norms, strict=True)))
    return weights, gradient


# ------------------------------------------------------------------------------------------------ the two orders


def update_then_apply(
    weights: FastWeights,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    rates: Tensor,
    momentum: Tensor | None,
    chunk: int,
    muon: bool,
) -> Tensor:
    """Both directions: learn from all frames of an utterance, then answer all of them.

    Every chunk's gradient is taken at the first weights, and there is one step, made of all of them. So without
    momentum neither the size of the chunks nor their order makes a difference. With momentum the velocity after the
    last chunk is what counts: the gradient of an earlier one has been multiplied by the momentum of all that followed.

    Args:
        weights: at the beginning of the utterance.
        queries: (batch, heads, frames, d_head).
        keys: the same.
        values: the same.
        rates: (3, batch, heads, frames).
        momentum: (batch, heads, chunks), or None.
        chunk: frames of a chunk; the last one may be shorter.
        muon: orthogonalise the step.

    Returns:
        (batch, heads, frames, d_head).
    """
    if momentum is not None:
        following = F.pad(momentum[..., 1:], (0, 1), value=1.0)  # (batch, heads, chunks): after the last there is none
        kept = following.flip(-1).cumprod(-1).flip(-1)
        rates = rates * kept.repeat_interleave(chunk, dim=-1)[..., : rates.shape[-1]]
    gradient = fast_gradient(weights, keys, values, rates)
    weights, _ = chunk_update(weights, gradient, row_norms(weights), muon=muon)
    return swiglu(weights, queries)


def apply_then_update(
    weights: FastWeights,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    rates: Tensor,
    momentum: Tensor | None,
    chunk: int,
    muon: bool,
) -> Tensor:
    """Causal: answer the frames of a chunk with what the chunks before it have taught, then learn from it.

    A frame is never answered by weights that have seen it, or another frame of its chunk. So the first chunk, and with
    it the whole of an utterance that fits into one chunk, is answered by the first weights: a plain feed-forward
    network, which learns nothing while it reads. Chunks have to be much shorter than utterances.

    Arguments and result are those of :func:`update_then_apply`.
    """
    norms, velocity = row_norms(weights), None
    pieces = list(zip(*(x.split(chunk, -2) for x in (queries, keys, values)), rates.split(chunk, -1), strict=True))
    answers = []
    for number, (query, key, value, rate) in enumerate(pieces):
        answers.append(swiglu(weights, query))
        if number + 1 < len(pieces):  # nobody asks what the last chunk teaches
            gradient = fast_gradient(weights, key, value, rate)
            kept = momentum[..., number] if momentum is not None else None
            weights, velocity = chunk_update(weights, gradient, norms, velocity, kept, muon)
    return torch.cat(answers, dim=-2)


# ------------------------------------------------------------------------------------------------ the modules


class Memory(nn.Module):
    """Fast weights that read an utterance: few heads, each a network of its own.

    The first weights are parameters, as are the two heads that say, from each frame, how fast to learn and how much of
    the velocity to keep. All of it is computed in fp32, under autocast too: a step adds small numbers to larger ones,
    and bf16 would lose them.

    Args:
        config: ``d_model`` and ``lact`` are used.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        settings = config.lact
        self.heads, self.chunk, self.muon, self.causal = settings.heads, settings.chunk, settings.muon, settings.causal
        d_head = config.d_model // self.heads
        hidden = settings.expansion * d_head
        self.w0 = nn.Parameter(torch.randn(self.heads, hidden, d_head) / math.sqrt(d_head))
        self.w1 = nn.Parameter(torch.randn(self.heads, d_head, hidden) / math.sqrt(hidden))
        self.w2 = nn.Parameter(torch.randn(self.heads, hidden, d_head) / math.sqrt(d_head))
        self.rate_head = nn.Linear(config.d_model, 3 * self.heads)
        nn.init.zeros_(self.rate_head.bias)
        self.base_rate = settings.base_lr + math.log(-math.expm1(-settings.base_lr))  # softplus of this is base_lr
        self.momentum_head = nn.Linear(config.d_model, self.heads) if settings.momentum else None
        if self.momentum_head is not None:
            nn.init.constant_(self.momentum_head.bias, math.log(settings.momentum / (1 - settings.momentum)))
        self.scale = nn.Parameter(torch.full((config.d_model,), QUIET))

    def learning_rates(self, x: Tensor, padding: Tensor) -> Tensor:
        """How fast each frame is learnt: ``softplus(linear(x) + softplus^-1(base_lr))``, in fp32.

        A rate is positive whatever the linear layer says, and ``base_lr`` where it says nothing (``self.base_rate`` is
        the number whose softplus that is). Padding is never learnt: its rate is 0.

        Args:
            x: (batch, frames, d_model).
            padding: (batch, frames) boolean, True = real.

        Returns:
            (3, batch, heads, frames): for W0, W1 and W2.
        """
        raw = F.linear(x.float(), self.rate_head.weight.float(), self.rate_head.bias.float())
        rates = F.softplus(raw + self.base_rate) * padding[..., None]  # (batch, frames, 3 * heads)
        batch, frames, _ = rates.shape
        return rates.view(batch, frames, 3, self.heads).permute(2, 0, 3, 1)

    def chunk_momentum(self, x: Tensor, padding: Tensor) -> Tensor | None:
        """How much of the velocity each chunk keeps: the mean of a sigmoid over its real frames.

        Args:
            x: (batch, frames, d_model).
            padding: (batch, frames) boolean, True = real.

        Returns:
            (batch, heads, chunks), 1 for a chunk of padding, which changes nothing; None without momentum.
        """
        if self.momentum_head is None:
            return None
        raw = F.linear(x.float(), self.momentum_head.weight.float(), self.momentum_head.bias.float())
        kept = raw.sigmoid() * padding[..., None]  # (batch, frames, heads)
        extra = -x.shape[1] % self.chunk
        kept = F.pad(kept, (0, 0, 0, extra)).unflatten(1, (-1, self.chunk)).sum(2)  # (batch, chunks, heads)
        count = F.pad(padding, (0, extra)).unflatten(1, (-1, self.chunk)).sum(2)[..., None]  # (batch, chunks, 1)
        return torch.where(count > 0, kept / count.clamp(min=1), 1.0).transpose(1, 2)

    def forward(self, x: Tensor, queries: Tensor, keys: Tensor, values: Tensor, padding: Tensor) -> Tensor:
        """Read an utterance and answer its queries.

        Args:
            x: (batch, frames, d_model), what learning rates and momentum are made of.
            queries: (batch, frames, d_model), projections of x as attention has them, heads side by side.
            keys: the same.
            values: the same.
            padding: (batch, frames) boolean, True = real.

        Returns:
            (batch, frames, d_model), fp32; each head's answer has a mean square of 1 before the learnt scale.
        """
        with torch.autocast(x.device.type, enabled=False):
            parts = (part.float().unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (queries, keys, values))
            queries, keys, values = map(F.silu, parts)  # (batch, heads, frames, d_head) each
            queries, keys = (part / l2_norm(part, eps=1e-6) for part in (queries, keys))
            weights = FastWeights(*(matrix.float()[None] for matrix in (self.w0, self.w1, self.w2)))
            rates, momentum = self.learning_rates(x, padding), self.chunk_momentum(x, padding)
            read = apply_then_update if self.causal else update_then_apply
            answers = read(weights, queries, keys, values, rates, momentum, self.chunk, self.muon)
            answers = F.rms_norm(answers, answers.shape[-1:], eps=1e-8)  # of each head; answers begin near 0.003
            # What one causal chunk teaches is never used. DistributedDataParallel waits for its gradient all the same.
            unused = rates.sum() + (momentum.sum() if momentum is not None else 0)
            return answers.transpose(1, 2).flatten(2) * self.scale + 0 * unused
