"""A 2-D convolution that is not the slowest part of training on a CPU.

The front end's tensors are the largest of the model: with 256 channels, a batch of 8 x 10 s has 41 million numbers
after the first convolution. How they lie in memory decides what they cost. PyTorch's kernels for the output and for the
gradient of the input are about twice as fast when the channels of a position lie side by side ("channels last"), while
the one for the gradient of the weights is four times slower then. Autograd takes one layout for all three;
:class:`Conv2d` takes the better one for each.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

LAST = torch.channels_last


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` with the same parameters and results, quicker on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, time, mels) -> (batch, out_channels, new_time, new_mels)."""
        if x.device.type != "cpu" or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
            return super().forward(x)
        if torch.is_grad_enabled():
            return _Convolution.apply(x, self.weight, self.bias, self.stride, self.padding)
        return F.conv2d(x.to(memory_format=LAST), self.weight, self.bias, self.stride, self.padding)


class _Convolution(torch.autograd.Function):
    """One convolution, three kernels, each in the layout that suits it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: Any, padding: Any) -> Tensor:
        x = x.to(memory_format=LAST)
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight.to(memory_format=LAST), bias, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _gradients(grad.to(memory_format=LAST), x, weight.to(memory_format=LAST), ctx, (True, False))[0]
        if ctx.needs_input_grad[1]:
            if x.shape[1] > 1:  # of a single channel there is nothing to lay side by side
                grad, x = grad.contiguous(), x.contiguous()
            of_weight = _gradients(grad, x, weight, ctx, (False, True))[1]
        if ctx.needs_input_grad[2]:
            of_bias = grad.sum(dim=(0, 2, 3))
        return of_x, of_weight, of_bias, None, None


def _gradients(grad: Tensor, x: Tensor, weight: Tensor, ctx: Any, wanted: tuple[bool, bool]) -> Any:
    """PyTorch's own backward kernels: the gradients of input and weight, those that are wanted."""
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, ctx.stride, ctx.padding, (1, 1), False, (0, 0), 1, (*wanted, False)
    )


class _MaskedReLU(torch.autograd.Function):
    """``relu(x) * real``: where the result is zero so is the gradient, for whichever of the two reasons."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, real: Tensor) -> Tensor:
        y = (x * real).relu_()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(grad, y, 0.0), None


def masked_relu(x: Tensor, real: Tensor) -> Tensor:
    """``relu(x) * real`` in fewer passes over memory.

    Args:
        x: any shape; where no gradient is wanted it is changed in place.
        real: boolean, broadcastable to ``x``, True = kept.

    Returns:
        The shape of ``x``.
    """
    kept = real.to(x.dtype)
    if torch.compiler.is_compiling():
        return F.relu(x) * kept
    if not torch.is_grad_enabled():
        return x.mul_(kept).relu_()  # in place: of tensors this large a new one costs more than the arithmetic
    return _MaskedReLU.apply(x, kept)
