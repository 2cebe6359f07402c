"""Watching a model while it computes: what is finite, forward and backward, and what autograd keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Finding:
    """Something that is not finite, or does not fit: where, and what to do."""

    place: str
    """``features``, ``weights``, ``forward``, ``loss``, ``backward``, ``update`` or ``memory``."""
    module: str
    """Name of the module or parameter as in ``model.named_modules()``; the utterances for ``features`` and ``loss``."""
    text: str
    advice: str


@dataclass
class _Event:
    """A gradient that the backward pass has come by: at a module's input, at its output, or of a parameter."""

    module: str
    kind: str
    finite: bool


class Watch:
    """Hooks on all modules of a model: what is finite, and what autograd keeps."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.names = {module: name or "model" for name, module in model.named_modules()}
        self.stack: list[str] = []
        """The modules that are being computed, the innermost last."""
        self.bad_output: Finding | None = None
        self.events: list[_Event] = []
        self.saved: dict[str, int] = {}
        """Bytes by module."""
        self._seen = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
        self._kept: list[Tensor] = []

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Within, the model is watched."""
        with ExitStack() as stack:
            for module, name in self.names.items():
                for handle in (
                    module.register_forward_pre_hook(self._enter),
                    module.register_forward_hook(self._leave, always_call=False),
                ):
                    stack.callback(handle.remove)
                for parameter in module.parameters(recurse=False):
                    if parameter.requires_grad:
                        handle = parameter.register_post_accumulate_grad_hook(self._gradient_of(name))
                        stack.callback(handle.remove)
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor))
            yield
        self._kept.clear()

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        self.stack.append(self.names[module])
        self._watch_gradients(inputs, "input")

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        name = self.names[module]
        self._watch_gradients(output, "output")
        self.stack.pop()
        if self.bad_output is not None:
            return
        for tensor in _tensors(output):
            if not finite(tensor):
                wrong = int((~torch.isfinite(tensor)).sum())
                largest = max(
                    (float(given.detach().abs().max()) for given in _tensors(inputs) if given.numel()), default=0.0
                )
                self.bad_output = Finding(
                    "forward", name,
                    f"{name} ({type(module).__name__}) is the first module whose output is not finite: {wrong} of "
                    f"{tensor.numel()} values, dtype {str(tensor.dtype).removeprefix('torch.')}; its inputs are "
                    f"finite and not above {largest:.3g}",
                    "values beyond 65504 do not fit into fp16: training.precision=bf16 or fp32; otherwise look for a "
                    "division by zero, a logarithm or a root of 0, or a row of a mask that allows nothing",
                )  # fmt: skip
                return

    def _watch_gradients(self, values: Any, kind: str) -> None:
        name = self.stack[-1]
        for tensor in _tensors(values):
            if tensor.requires_grad:
                tensor.register_hook(lambda grad: self.events.append(_Event(name, kind, finite(grad))))

    def _gradient_of(self, name: str) -> Any:
        def note(parameter: Tensor) -> None:
            assert parameter.grad is not None
            self.events.append(_Event(name, "parameter", finite(parameter.grad)))

        return note

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            # The storage is kept until the end, or its address might be used again by another one.
            self._seen.add(storage.data_ptr())
            self._kept.append(tensor.detach())
            name = self.stack[-1] if self.stack else "loss"
            self.saved[name] = self.saved.get(name, 0) + storage.nbytes()
        return tensor

    def bad_gradient(self) -> Finding | None:
        """The module that turns a finite gradient into one that is not: the innermost, the first on the way back."""
        bad = [event for event in self.events if not event.finite]
        if not bad:
            return None
        spoilt = {event.module for event in bad if event.kind == "output"}
        watched = {event.module for event in self.events if event.kind == "output"}
        suspects = [event.module for event in bad if event.kind != "output" and event.module in watched - spoilt]
        inner = [name for name in suspects if not any(_within(other, name) for other in suspects)]
        advice = (
            "a gradient may be infinite where the value is not: the root or the logarithm of 0, a norm of zeros, 0 "
            "times infinity behind torch.where; clamp the argument before the function, not the result after it"
        )
        if inner:
            kind = type(self.model.get_submodule("" if inner[0] == "model" else inner[0])).__name__
            text = f"{inner[0]} ({kind}) is the first module that makes a gradient that is not finite of a finite one"
            return Finding("backward", inner[0], text, advice)
        first = bad[0]
        where = f"the gradient at the {first.kind} of {first.module}"
        text = f"{where} is the first that is not finite: it comes from behind it"
        return Finding("backward", first.module, text, advice)


def _within(name: str, outer: str) -> bool:
    return name != outer and (outer == "model" or name.startswith(f"{outer}."))


def _tensors(values: Any) -> Iterator[Tensor]:
    """The floating-point tensors in nested containers and dataclasses."""
    if isinstance(values, Tensor):
        if values.is_floating_point():
            yield values
    elif isinstance(values, dict):
        for value in values.values():
            yield from _tensors(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)
    elif dataclasses.is_dataclass(values) and not isinstance(values, type):
        for item in dataclasses.fields(values):
            yield from _tensors(getattr(values, item.name))


def finite(tensor: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity."""
    return bool(torch.isfinite(tensor.detach()).all())
