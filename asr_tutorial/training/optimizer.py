"""Parameter groups and learning-rate schedules. Schedules count optimiser steps, never batches."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from asr_tutorial.config import OptimizerConfig, ScheduleConfig
from asr_tutorial.errors import ConfigError


@dataclass(frozen=True)
class Inherited:
    """A parameter whose first value comes from another model: how it takes part in a training.

    Kept at the parameter itself (``parameter.inherited``), so that it outlasts a change of the model around it.
    """

    lr: float = 1.0
    """Factor on its learning rate."""
    rests_until: int = 0
    """Step of the training, counted from 0, from which on it learns."""


def parameter_groups(model: nn.Module, config: OptimizerConfig, young: Collection[str] = ()) -> list[dict[str, object]]:
    """Sort trainable parameters into groups that share a learning rate and a weight decay.

    Matrices decay; biases, normalisations, embeddings and positions do not. ``config.groups`` multiplies the rate of
    the parameters whose names match, ``config.layer_decay`` that of lower layers, where the front end and the embedding
    count as the layer below the first. Parameters whose names are in ``young`` get groups of their own, marked
    ``"young": True``, so that their rate can be warmed up by itself (:func:`warm_up_young`), and so do those that are
    :class:`Inherited`, marked with ``"rests_until"``.

    Raises:
        ConfigError: a pattern that is no regular expression, or that matches no parameter.
    """
    unused = set(config.groups)
    names = [name for name, _ in model.named_parameters()]
    depths: dict[str, tuple[str, int]] = {}  # stack ("encoder.") and number of the layer, -1 for what lies below
    tops: dict[str, int] = {}
    for name in names:
        if match := re.match(r"(.*?\b)(?:layers\.(\d+)|subsampling|embedding|positional)\.", name):
            stack, depth = match[1], int(match[2] or -1)
            depths[name] = (stack, depth)
            tops[stack] = max(tops.get(stack, -1), depth)
    groups: dict[tuple[float, float, bool, Inherited | None], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        factor = 1.0
        for pattern, multiplier in config.groups.items():
            if _search(pattern, name):
                factor *= multiplier
                unused.discard(pattern)
        if name in depths:
            stack, depth = depths[name]
            factor *= config.layer_decay ** (tops[stack] - depth)
        inherited: Inherited | None = getattr(parameter, "inherited", None)
        factor *= inherited.lr if inherited is not None else 1.0
        decays = parameter.dim() > 1 and not re.search(r"embedding|positional", name)
        key = (factor, config.weight_decay if decays else 0.0, name in young, inherited)
        groups.setdefault(key, []).append(parameter)
    if unused:
        raise ConfigError(
            f"training.optimizer.groups: no parameter name matches {', '.join(sorted(unused))}; "
            f"names are such as {names[0]} and {names[-1]}"
        )
    return [
        {
            "params": parameters,
            "lr": config.lr * factor,
            "peak_lr": config.lr * factor,
            "weight_decay": decay,
            **({"young": True, "full_peak_lr": config.lr * factor} if is_young else {}),
            **({"rests_until": inherited.rests_until} if inherited is not None else {}),
        }
        for (factor, decay, is_young, inherited), parameters in groups.items()
    ]


def build_optimizer(model: nn.Module, config: OptimizerConfig, young: Collection[str] = ()) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019) over :func:`parameter_groups`, one fused kernel per step.

    Groups that rest (:func:`freeze`) are left as they are, weights and moments.
    """
    groups = parameter_groups(model, config, young)
    optimizer = torch.optim.AdamW(groups, betas=config.betas, eps=config.eps, fused=True)
    optimizer.register_step_pre_hook(_leave_resting)
    return optimizer


def freeze(optimizer: torch.optim.Optimizer, step: int) -> None:
    """Before step number ``step``: let the groups rest whose time has not come, and the others learn.

    A group that rests loses its gradients right before the optimiser would use them. They are still computed, so that
    several processes, which wait for each other's gradients, need not know.

    Args:
        optimizer: from :func:`build_optimizer`.
        step: of the training, from 0.
    """
    for group in optimizer.param_groups:
        if "rests_until" in group:
            group["rests"] = step < group["rests_until"]


def unfreeze(optimizer: torch.optim.Optimizer) -> None:
    """All groups learn from now on."""
    for group in optimizer.param_groups:
        if "rests_until" in group:
            group["rests_until"], group["rests"] = 0, False


def _leave_resting(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    """AdamW passes over a parameter without gradient: no update, no weight decay, no moments."""
    for group in optimizer.param_groups:
        if group.get("rests"):
            for parameter in group["params"]:
                parameter.grad = None


def warm_up_young(optimizer: torch.optim.Optimizer, steps: int, warmup_steps: int) -> None:
    """Let the peak rate of young parameters rise evenly: the schedule's share is taken of it.

    Args:
        optimizer: its groups that are marked young are changed.
        steps: optimiser steps that the parameters have made.
        warmup_steps: steps until they have the whole rate; 0: at once.
    """
    for group in optimizer.param_groups:
        if group.get("young"):
            group["peak_lr"] = group["full_peak_lr"] * min(1.0, (steps + 1) / max(warmup_steps, 1))


class Schedule:
    """The learning rate as a share of its peak.

    After ``warmup_steps`` of linear rise: linear, cosine or exponential fall to ``final`` at ``total_steps``
    (exponential, which never gets to 0, to 0.001 at least); Noam's ``1 / sqrt(step)`` (Vaswani et al. 2017, section
    5.3, scaled to peak at 1); constant; or constant until dev stops improving (plateau). All but plateau are functions
    of the step alone.
    """

    def __init__(self, config: ScheduleConfig, total_steps: int) -> None:
        self.config = config
        self.total_steps = total_steps
        self.plateau_factor = 1.0
        self.best = math.inf
        self.bad_validations = 0

    def factor(self, step: int) -> float:
        """Share of the peak rate for optimiser step ``step``, counted from 0.

        In the first ``warmup_steps`` steps the share rises evenly; the first step has a share of ``1 / warmup_steps``
        already, the last of them the whole. After them ``progress`` runs from 0 to 1, which it reaches at
        ``total_steps`` and keeps; the share is, by ``config.kind``:

        - linear: falls evenly from 1 to ``config.final``;
        - cosine: falls from 1 to ``config.final`` along half a cosine;
        - exponential: ``max(config.final, 1e-3) ** progress``;
        - noam: ``sqrt(warmup_steps / (step + 1))`` (1 at least under the root for no warm-up at all);
        - plateau: ``self.plateau_factor``; constant: 1.
        """
        config = self.config
        warmup = max(config.warmup_steps, 1)
        if step < config.warmup_steps:
            return (step + 1) / warmup
        progress = min(1.0, (step - config.warmup_steps) / max(1, self.total_steps - config.warmup_steps))
        match config.kind:
            case "linear":
                return 1 - (1 - config.final) * progress
            case "cosine":
                return config.final + (1 - config.final) * (1 + math.cos(math.pi * progress)) / 2
            case "exponential":
                return max(config.final, 1e-3) ** progress
            case "noam":
                return math.sqrt(warmup / (step + 1))
            case "plateau":
                return self.plateau_factor
            case _:
                return 1.0

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set every group's rate, ``lr``, for the step to come: a share of its own ``peak_lr``."""
        factor = self.factor(step)
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor

    def after_validation(self, metric: float) -> None:
        """Tell a plateau schedule how dev went (lower is better); the others do not listen."""
        if self.config.kind != "plateau":
            return
        if metric < self.best:
            self.best, self.bad_validations = metric, 0
            return
        self.bad_validations += 1
        if self.bad_validations >= self.config.patience:
            self.plateau_factor = max(self.config.final, self.plateau_factor * self.config.factor)
            self.bad_validations = 0

    def state_dict(self) -> dict[str, float]:
        """What a resumed run needs to go on as before."""
        return {"plateau_factor": self.plateau_factor, "best": self.best, "bad_validations": self.bad_validations}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.plateau_factor, self.best = state["plateau_factor"], state["best"]
        self.bad_validations = int(state["bad_validations"])


def _search(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error as error:
        raise ConfigError(f"training.optimizer.groups: {pattern!r} is not a regular expression ({error})") from error
