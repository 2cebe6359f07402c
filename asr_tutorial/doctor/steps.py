"""A few real training steps with a validation between them, on a copy of the model: modes, rates, gradients."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from asr_tutorial.config import ScheduleConfig
from asr_tutorial.dataset import Batch, collate
from asr_tutorial.doctor.case import Case
from asr_tutorial.doctor.report import Finding, NotApplicable
from asr_tutorial.modes import evaluating
from asr_tutorial.recognizer import decode_batch
from asr_tutorial.training.diagnose import examine, part_of
from asr_tutorial.training.loss import Sizes
from asr_tutorial.training.step import Stepper

STEPS = 3
BATCHES = 2
"""In a step: whether something counts batches or steps shows only where they differ."""
WARMUP = 100


@dataclass
class _Record:
    """What was seen of some steps."""

    evaluating: list[list[str]] = field(default_factory=list)
    """Of each step, the modules that were in evaluation mode."""
    after_validation: list[str] = field(default_factory=list)
    """Modules in evaluation mode after the validation behind the first step."""
    rates: list[float] = field(default_factory=list)
    """Learning rate of each step as a share of the peak."""


def modes(case: Case) -> Iterator[Finding]:
    """Training mode in each step, evaluation mode in between, and recognition without chance."""
    record = _steps(case)
    for number, modules in enumerate(record.evaluating):
        if modules:
            when = "after the validation" if number else "from the start"
            yield Finding(
                "eval_mode_not_restored",
                f"training step {number + 1}, {when}, is made with {len(modules)} modules in evaluation mode "
                f"({modules[0]}, ...)",
            )
            break
    else:
        if record.after_validation:
            yield Finding(
                "eval_mode_not_restored",
                f"{len(record.after_validation)} modules are left in evaluation mode by recognition or validation",
            )
    model, batch = copy.deepcopy(case.model), case.batch
    outputs = []
    for seed in range(2):
        model.train()
        torch.manual_seed(seed)
        with evaluating(model):
            outputs.append(model(*model.training_inputs(batch)))
    first, second = outputs
    moved = float((first.ctc_log_probs - second.ctc_log_probs).detach().abs().max())
    if first.logits is not None and second.logits is not None:
        moved = max(moved, float((first.logits - second.logits).abs().max()))
    if not moved < 1e-4:
        yield Finding(
            "dropout_in_evaluation", f"evaluated twice, the same batch gives outputs that differ by {moved:.2g}"
        )


def schedule(case: Case) -> Iterator[Finding]:
    """The learning rate of the first steps of a warm-up, with two batches to a step."""
    rates = _steps(case).rates
    expected = [(step + 1) / WARMUP for step in range(STEPS)]
    if all(abs(rate - right) < 0.01 * right for rate, right in zip(rates, expected, strict=True)):
        return
    shown = ", ".join(f"{rate:.3g}" for rate in rates)
    doubled = [BATCHES * (step + 1) / WARMUP for step in range(STEPS)]
    counts = rates[-1] > rates[0] and all(
        abs(rate - right) <= 1.1 / WARMUP for rate, right in zip(rates, doubled, strict=True)
    )
    yield Finding(
        "scheduler_counts_batches" if counts else "schedule_differs",
        f"with {BATCHES} batches to a step and a warm-up of {WARMUP} steps, the first steps have {shown} of the peak "
        f"rate; it should be {', '.join(f'{rate:.3g}' for rate in expected)}",
    )


def gradients(case: Case) -> Iterator[Finding]:
    """One step with everything watched: all finite, and a gradient for each part of the model."""
    stepper = _stepper(case)
    found = examine(stepper, [case.batch]).finding
    if found is not None:
        yield Finding("not_finite", f"{found.place}: {found.text} ({found.advice})")
        return
    model = stepper.model.train()
    stepper.seed(0)
    stepper.criterion.mean(stepper.totals(case.batch), Sizes.of([case.batch])).backward()
    learns: dict[str, bool] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            moved = parameter.grad is not None and bool(parameter.grad.any())
            learns[part_of(name)] = learns.get(part_of(name), False) or moved
    weight = case.config.training.ctc_weight
    unused = ("ctc_head",) if weight == 0 else ("decoder",) if weight == 1 else ()
    asleep = [part for part, moved in learns.items() if not moved and not part.startswith(unused or ("-",))]
    if asleep:
        yield Finding("no_gradient", f"no gradient reaches {', '.join(asleep[:5])}")


def _stepper(case: Case) -> Stepper:
    schedule = ScheduleConfig(kind="linear", warmup_steps=WARMUP)
    config = replace(case.config, training=replace(case.config.training, schedule=schedule))
    return Stepper(config, case.tokenizer, copy.deepcopy(case.model).train(), total_steps=10 * WARMUP)


def _steps(case: Case) -> _Record:
    stepper, small, record = _stepper(case), _small(case), _Record()
    names = {module: name or "model" for name, module in stepper.model.named_modules()}
    for step in range(STEPS):
        asleep: dict[str, None] = {}

        def note(module: nn.Module, inputs: Any, asleep: dict[str, None] = asleep) -> None:
            if not module.training:
                asleep[names[module]] = None

        with ExitStack() as hooks:
            for module in names:
                hooks.callback(module.register_forward_pre_hook(note).remove)
            stepper.step([small] * BATCHES, step)
        record.evaluating.append(list(asleep))
        group = stepper.optimizer.param_groups[0]
        record.rates.append(group["lr"] / group["peak_lr"])
        if step == 0:
            with evaluating(stepper.model):
                stepper.totals(small)
            decode_batch(stepper.model, case.tokenizer, small, "ctc")
            record.after_validation = [name for module, name in names.items() if not module.training]
    return record


def _small(case: Case) -> Batch:
    """The two shortest utterances of the batch."""
    dataset, config = case.data.train.dataset, case.config.data
    ids = case.batch.ids[:2]
    examples = [dataset.example(index) for index, item in enumerate(dataset.utterances) if item.id in ids]
    if not examples:
        raise NotApplicable("no utterance to take a step with")
    return collate(examples, case.tokenizer, config.frame_multiple, config.length_multiple)
