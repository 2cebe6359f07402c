"""What is wrong with a training step: where the first NaN or infinity arises, and what takes the memory.

A few batches of the training set go through the model as in training, watched from within: hooks see what each module
gets and gives, forward and backward, and what autograd keeps for the way back. The step is real, so the weights change;
nothing is written.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from asr_tutorial.checkpoint import CONFIG, find_checkpoint, load_checkpoint
from asr_tutorial.config import Config, load_config
from asr_tutorial.dataset import Batch
from asr_tutorial.errors import CheckpointError, TrainingError
from asr_tutorial.training.loss import Sizes
from asr_tutorial.training.setup import prepare
from asr_tutorial.training.stages import Stages
from asr_tutorial.training.state import load_state
from asr_tutorial.training.step import Stepper
from asr_tutorial.training.watch import Finding, Watch, finite

MEGABYTE = 1e6
ROOM = 0.85
"""Share of the memory to plan for: the rest is the allocator's slack and what the backward pass needs for a moment."""


@dataclass
class Memory:
    """Bytes that belong to one part of the model."""

    parameters: int = 0
    gradients: int = 0
    optimizer: int = 0
    """State of the optimiser, and the average of the weights."""
    activations: int = 0
    """Kept by autograd from the forward to the backward pass."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.parameters + self.gradients + self.optimizer + self.activations


@dataclass
class Report:
    """What :func:`diagnose` found."""

    finding: Finding | None = None
    """The first thing that is wrong; None where all is well."""
    batches: int = 0
    batch_seconds: float = 0.0
    """Audio of the largest batch that was looked at, with its padding."""
    memory: dict[str, Memory] = field(default_factory=dict)
    """By part of the model, for the largest batch; ``loss`` is what the losses keep."""
    allocated: dict[str, int] = field(default_factory=dict)
    """On a GPU, the allocator's bytes at the end of each phase, and ``peak``."""
    available: int = 0
    """Bytes that the device has."""

    def text(self) -> str:
        """The report as a person reads it."""
        return "\n".join([*self._health(), "", *self._table(), "", *self._advice()])

    def _health(self) -> list[str]:
        if self.finding is None:
            return [f"{self.batches} batches: features, outputs, losses, gradients and weights are all finite"]
        found = self.finding
        return [f"{found.place}: {found.text}", f"what to do: {found.advice}"]

    def _table(self) -> list[str]:
        names = [name.name for name in dataclasses.fields(Memory)]
        lines = [f"{'memory in MB':28}" + "".join(f"{name:>13}" for name in [*names, "total"])]
        total = Memory(*(sum(getattr(part, name) for part in self.memory.values()) for name in names))
        for module, part in [*self.memory.items(), ("all", total)]:
            values = [getattr(part, name) for name in names] + [part.total]
            lines.append(f"{module:28}" + "".join(f"{value / MEGABYTE:13.2f}" for value in values))
        for phase, size in self.allocated.items():
            lines.append(f"allocator, {phase:17}{size / MEGABYTE:13.2f}")
        return lines

    def _advice(self) -> list[str]:
        activations = sum(part.activations for part in self.memory.values())
        if not activations or not self.batch_seconds:
            return []
        fixed = sum(part.total - part.activations for part in self.memory.values())
        rate = activations / self.batch_seconds
        lines = [
            f"activations: {rate / MEGABYTE:.2f} MB for each second of a batch, padding included; this one has "
            f"{self.batch_seconds:.0f} s. The rest, {fixed / MEGABYTE:.0f} MB, is the same for any batch"
        ]
        room = ROOM * self.available - fixed
        if room > 0:
            lines.append(
                f"{self.available / 1e9:.1f} GB hold batches of about {room / rate:.0f} s (data.batch_seconds)"
            )
        lines.append(
            "less memory for the same step: halve data.batch_seconds and double training.accumulate; "
            "training.precision=bf16; a lower data.max_seconds for the longest utterances"
        )
        return lines


def diagnose(
    config: Config | None = None,
    checkpoint: str | Path | None = None,
    overrides: Iterable[str] = (),
    batches: int = 3,
    memory: float | None = None,
    progress: bool = True,
) -> Report:
    """Take some steps of a training and look into them.

    Args:
        config: what to train, from its first step on.
        checkpoint: in its place, a run folder, whose latest state is looked at, or the folder of a checkpoint.
        overrides: settings to change in the checkpoint's configuration.
        batches: how many to look at: that with the most frames first, since it needs most memory, then the others as
            they come.
        memory: gigabytes to plan for; what the device has when not given.
        progress: show a progress bar while features are computed.

    Raises:
        UserError: the configuration, the data or the checkpoint cannot be used.
    """
    if (config is None) == (checkpoint is None):
        raise TrainingError("diagnose either a configuration or a checkpoint: give one of the two")
    folder = Path(checkpoint) if checkpoint is not None else None
    state = folder / "checkpoints" / "latest" / "state.pt" if folder is not None else None
    if folder is not None and state is not None:
        if not state.is_file():
            folder, state = find_checkpoint(folder), None
        config = load_config(folder / CONFIG, overrides)
    assert config is not None
    # Compiled code has no modules to look into.
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, compile=False))
    stages = Stages(config)
    data, model = prepare(stages.config, progress)
    if folder is not None and state is None:
        _load(model, folder)
    stepper = Stepper(config, data.tokenizer, model, total_steps=max(config.training.max_steps, batches))
    stages.enter(stepper, data.train)
    if state is not None:
        try:
            saved = load_state(state)
            stages.resume(saved.get("stages", {}), stepper, data.train)
            stepper.load_state_dict(saved["stepper"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(f"{state} does not fit config.yaml and training data ({error})") from error
    plans = data.train.plans()
    largest = max(range(len(plans)), key=lambda index: plans[index].frames * len(plans[index].indices))
    chosen = [next(data.train.batches(start=largest))]
    chosen += islice(data.train.batches(), batches - 1)
    available = int(memory * 1e9) if memory else _available(stepper.device)
    return examine(stepper, chosen, config.features.frame_shift_ms / 1000, available)


def examine(stepper: Stepper, batches: Iterable[Batch], frame_seconds: float = 0.01, available: int = 0) -> Report:
    """The same for a model and batches that are there already; the first batch is the one whose memory is counted."""
    report = Report(available=available)
    for number, batch in enumerate(batches):
        report.batches += 1
        if number == 0:
            report.batch_seconds = frame_seconds * batch.features[..., 0].numel()
        report.finding = _examine(stepper, batch, number, report)
        if report.finding is not None:
            break
    return report


def _examine(stepper: Stepper, batch: Batch, step: int, report: Report) -> Finding | None:
    """One step; None where all is finite. The first step fills in the memory."""
    model, device = stepper.model, stepper.device
    bad = [name for name, features in zip(batch.ids, batch.features, strict=True) if not finite(features)]
    if bad:
        return Finding(
            "features", ", ".join(bad), f"the features of {', '.join(bad)} are not finite",
            "look at these files; leave the utterances out of the manifest, or compute the features anew",
        )  # fmt: skip
    if finding := _bad_weights(model):
        return finding
    stepper.seed(step)
    stepper.schedule.apply(stepper.optimizer, step)
    model.train()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    watch = Watch(model)
    try:
        with watch.hooks():
            loss = stepper.criterion.mean(stepper.totals(batch), Sizes.of([batch]))
            _note_allocated(report, step, device, "forward")
            if finding := watch.bad_output:
                return finding
            if not finite(loss):
                raise TrainingError(f"the loss is {float(loss)} though all outputs of the model are finite")
            stepper.scaler.scale(loss).backward()
            _note_allocated(report, step, device, "backward")
        if step == 0:
            report.memory = _memory(stepper, watch)
        if finding := watch.bad_gradient():
            return finding
        stepper.update(step)
        if step == 0:
            for name, part in _optimizer_memory(stepper).items():
                report.memory.setdefault(name, Memory()).optimizer = part
            _note_allocated(report, step, device, "update", peak=True)
        if finding := _bad_weights(model):
            return dataclasses.replace(
                finding, place="update", text=f"after one update {finding.text}",
                advice="lower training.optimizer.lr, or raise training.optimizer.eps",
            )  # fmt: skip
    except TrainingError as error:
        return Finding("loss", ", ".join(batch.ids), str(error), "look at the utterances and their transcripts")
    except torch.OutOfMemoryError as error:
        report.memory = report.memory or _memory(stepper, watch)
        place = watch.stack[-1] if watch.stack else "backward pass or update"
        return Finding(
            "memory", place, f"out of memory in {place} ({str(error).partition('. ')[0]})",
            "halve data.batch_seconds and double training.accumulate, which makes the same step; then try "
            "training.precision=bf16, and a lower data.max_seconds",
        )  # fmt: skip
    finally:
        model.zero_grad(set_to_none=True)
    return None


def _bad_weights(model: nn.Module) -> Finding | None:
    bad = [name for name, tensor in [*model.named_parameters(), *model.named_buffers()] if not finite(tensor)]
    if not bad:
        return None
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    return Finding(
        "weights", bad[0], f"{bad[0]}{more} holds values that are not finite",
        "an update has spoilt the weights: go back to an earlier checkpoint, with a lower training.optimizer.lr",
    )  # fmt: skip


def part_of(name: str) -> str:
    """The part of the model that a module is counted for: a layer, or a block of the first two levels."""
    parts = name.split(".")
    for index, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[: index + 1])
    return ".".join(parts[:2])


def _memory(stepper: Stepper, watch: Watch) -> dict[str, Memory]:
    parts: dict[str, Memory] = {}
    for name, module in stepper.model.named_modules():
        for parameter in module.parameters(recurse=False):
            part = parts.setdefault(part_of(name) or "model", Memory())
            part.parameters += parameter.nbytes
            part.gradients += parameter.grad.nbytes if parameter.grad is not None else 0
    for name, size in watch.saved.items():
        parts.setdefault(part_of(name), Memory()).activations += size
    return parts


def _optimizer_memory(stepper: Stepper) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for name, parameter in stepper.model.named_parameters():
        part = part_of(name.rpartition(".")[0])
        state = [value for value in stepper.optimizer.state.get(parameter, {}).values() if isinstance(value, Tensor)]
        average = [stepper.ema.average[name]] if stepper.ema is not None else []
        sizes[part] = sizes.get(part, 0) + sum(tensor.nbytes for tensor in [*state, *average])
    return sizes


def _load(model: nn.Module, folder: Path) -> None:
    weights = load_checkpoint(folder)[0].state_dict()
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"the checkpoint {folder} does not fit its training data ({str(error).splitlines()[-1].strip()}): name the "
            "corpora it was trained on with --data.train, or where they lie with --data.root"
        ) from error


def _note_allocated(report: Report, step: int, device: torch.device, phase: str, peak: bool = False) -> None:
    if device.type == "cuda" and step == 0:
        report.allocated[f"after {phase}"] = torch.cuda.memory_allocated(device)
        if peak:
            report.allocated["peak"] = torch.cuda.max_memory_allocated(device)


def _available(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
