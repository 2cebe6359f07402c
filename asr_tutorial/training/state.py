"""Training state: everything that a run needs to go on exactly where it stopped.

It is one file, ``state.pt``, written to a temporary name, flushed and renamed, so that whatever kills the run leaves a
whole file behind. It holds tensors and plain values only and is read with ``weights_only=True``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from asr_tutorial.errors import CheckpointError


@dataclass
class Progress:
    """Where a run stands.

    Randomness needs no state: the order of an epoch depends on (seed, epoch), dropout and SpecAugment on (seed, step).

    Attributes:
        step: optimiser steps done.
        epoch: epoch in progress, from 0.
        batch: batches of that epoch already used.
        best: lowest error of a validation so far.
        best_step: step of that validation.
        skipped_updates: steps whose gradient was not finite and was not applied.
        seconds: training time so far, validation left out.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: float = float("inf")
    best_step: int = 0
    skipped_updates: int = 0
    seconds: float = 0.0


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write atomically: whatever happens, ``path`` holds the former state as a whole, or the new one as a whole.

    Missing folders are made. The content is on the disk (``os.fsync``) before it gets its name, and no temporary file
    is left behind.

    Args:
        path: the file.
        state: tensors and plain values.

    Raises:
        CheckpointError: "the disk is full", or the folder cannot be written; the former state is untouched.
    """
    temporary = path.with_name(f".{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        # torch.save turns a full disk into a RuntimeError of its zip writer.
        temporary.unlink(missing_ok=True)
        full = isinstance(error, RuntimeError) or error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else "it failed"
        raise CheckpointError(
            f"cannot write training state {path}: {reason} ({error}). The former state is untouched; "
            "free some space and resume with --resume"
        ) from error


def load_state(path: Path) -> dict[str, Any]:
    """Read a state, all tensors on the CPU.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    if not path.exists():
        raise CheckpointError(
            f"nothing to resume from: {path} does not exist (the run stopped before its first "
            "state): start it again in another folder"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__  # torch goes on about options of torch.load
        raise CheckpointError(f"training state {path} cannot be read ({reason}): start a new run") from error


@contextmanager
def taking_up(path: Path, data: str) -> Iterator[dict[str, Any]]:
    """The state of an earlier process, for a block that takes it up.

    Args:
        path: the file.
        data: what the run has learnt from, for the message.

    Raises:
        CheckpointError: there is no state, it cannot be read, or the block finds that it does not fit.
    """
    state = load_state(path)
    try:
        yield state
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} does not fit the run's config.yaml and {data} ({error}). Bring back what the run began with, or "
            "start a new run"
        ) from error


class Ema:
    """Exponential moving average of the weights: ``average <- decay * average + (1 - decay) * weights``.

    The decay starts small, ``(1 + step) / (10 + step)``, so that the random initial weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.average: dict[str, torch.Tensor] = {}
        self._parameters: list[nn.Parameter] = []
        self.follow(model)

    def follow(self, model: nn.Module) -> None:
        """Take up parameters that the model has got since: their average begins with what they are now.

        The others are known by themselves, not by their names, which change where layers are put between others.
        """
        known = dict(zip(map(id, self._parameters), self.average.values(), strict=True))
        parameters = dict(model.named_parameters())
        self.average = {
            name: known[id(parameter)] if id(parameter) in known else parameter.detach().clone()
            for name, parameter in parameters.items()
        }
        self._parameters = list(parameters.values())

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the average towards the weights after optimiser step ``step``."""
        decay = min(self.decay, (1 + step) / (10 + step))
        weights = [parameter.detach() for parameter in model.parameters()]
        torch._foreach_lerp_(list(self.average.values()), weights, 1 - decay)

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchange the model's weights and the average; a second call undoes it."""
        for name, parameter in model.named_parameters():
            held = parameter.detach().clone()
            parameter.copy_(self.average[name])
            self.average[name].copy_(held)


def keep_candidate(folder: Path, model: nn.Module, error: float, step: int, most: int) -> None:
    """Keep the weights of the best few validations, for averaging at the end.

    Args:
        folder: of the candidates; names of files in it sort as the error rates do.
        model: its weights now.
        error: of this validation, lower is better.
        step: of this validation.
        most: candidates to keep; worse ones are deleted.

    Raises:
        CheckpointError: the disk is full, or the folder cannot be written.
    """
    weights = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    save_state(folder / f"{error:010.6f}_{step:07d}.pt", weights)
    for worse in sorted(folder.glob("*.pt"))[most:]:
        worse.unlink()


@torch.no_grad()
def average_weights(states: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Mean of the same weights at several points of a run (Vaswani et al. 2017, section 6.1).

    Args:
        states: state dicts with the same names and shapes; integers are taken from the first.
    """
    return {
        name: torch.stack([state[name].float() for state in states]).mean(0) if tensor.is_floating_point() else tensor
        for name, tensor in states[0].items()
    }
