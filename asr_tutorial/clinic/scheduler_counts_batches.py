"""Patient 11: gradients of four small batches make one step; learning stops after a quarter of the training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from asr_tutorial.clinic.visit import N_MELS, Visit, heard, small_model
from asr_tutorial.config import ScheduleConfig
from asr_tutorial.ctc import training_loss
from asr_tutorial.dataset import Batch
from asr_tutorial.synthetic import SyntheticTask
from asr_tutorial.training.optimizer import Schedule

STEPS, ACCUMULATE, WARMUP, PEAK = 40, 4, 10, 2e-2
"""Optimiser steps, batches for each of them, steps until the peak is reached, and the rate there."""


def train(
    loss_of: Callable[[Batch], Tensor],
    batches: Sequence[Batch],
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    accumulate: int,
) -> tuple[list[float], list[float]]:
    """Go through the batches once; the gradients of ``accumulate`` batches are added up for each step.

    Args:
        loss_of: mean loss of a batch.
        batches: a multiple of ``accumulate``.
        optimizer: its groups hold their ``peak_lr``; gradients are none yet.
        schedule: ``schedule.apply(optimizer, step)`` sets the rate for optimiser step ``step``, counted from 0.
        accumulate: batches for one step, which is that of their mean loss.

    Returns:
        For each step, the loss and the learning rate that it was made with.
    """
    losses, rates, total = [], [], 0.0
    for number, batch in enumerate(batches):
        loss = loss_of(batch) / accumulate
        loss.backward()
        total += loss.item()
        if (number + 1) % accumulate == 0:
            schedule.apply(optimizer, number // accumulate)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(total)
            rates.append(optimizer.param_groups[0]["lr"])
            total = 0.0
    return losses, rates


def run(seed: int = 0) -> Visit:
    """Train for 40 steps of four batches each, by a schedule made for 40 steps, and recognise a dev set."""
    task = SyntheticTask(letters=6, n_mels=N_MELS, min_length=3, max_length=5, min_frames=4, max_frames=6, noise=0.5)
    some = list(task.batches(24, size=4, seed=3))
    batches = [some[number % len(some)] for number in range(STEPS * ACCUMULATE)]
    model = small_model(task.tokenizer, seed, decoder_layers=0, subsampling_factor=2)
    optimizer = torch.optim.Adam([{"params": list(model.parameters()), "lr": PEAK, "peak_lr": PEAK}])
    schedule = Schedule(ScheduleConfig(kind="cosine", warmup_steps=WARMUP, final=0.0), STEPS)

    def loss_of(batch: Batch) -> Tensor:
        output = model(batch.features, batch.feature_lengths, batch.tokens_in)
        frames, lengths = output.encoder_mask.sum(dim=1), batch.target_lengths
        losses = training_loss(output.ctc_log_probs, batch.targets, frames, lengths, task.tokenizer.blank_id)
        return losses.sum() / lengths.sum()

    losses, rates = train(loss_of, batches, optimizer, schedule, ACCUMULATE)
    return Visit(
        losses={"training": losses},
        rates=rates,
        transcripts=heard(model, task.batch(24, seed=4), task.tokenizer),
        measures={
            "step with the highest rate": float(max(range(len(rates)), key=rates.__getitem__) + 1),
            "rate in the middle, share of the peak": rates[len(rates) // 2] / PEAK,
            "fall of the loss in the second half": losses[len(losses) // 2] - losses[-1],
        },
    )
