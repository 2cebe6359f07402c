"""One optimiser step: everything that has to do with losses, gradients, precision and weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from asr_tutorial.config import Config
from asr_tutorial.dataset import Batch
from asr_tutorial.model import SpeechTransformer
from asr_tutorial.recognizer import pick_device
from asr_tutorial.tokenizer import Tokenizer
from asr_tutorial.training.loss import JointLoss, LossTotals, Sizes
from asr_tutorial.training.optimizer import Schedule, build_optimizer
from asr_tutorial.training.state import Ema


@dataclass
class StepResult:
    """Figures of one optimiser step: losses in nats per token."""

    loss: float
    ctc: float
    attention: float
    grad_norm: float
    token_accuracy: float
    applied: bool


@dataclass
class RunningMeans:
    """Sums over the steps since the last line of the log, or since the last validation.

    A step whose gradient was not finite counts for the throughput alone: its losses may be NaN.
    """

    steps: int = 0
    loss: float = 0.0
    ctc: float = 0.0
    attention: float = 0.0
    token_accuracy: float = 0.0
    grad_norm: float = 0.0
    audio_seconds: float = 0.0
    padded_seconds: float = 0.0
    seconds: float = 0.0

    def add(self, result: StepResult, batches: list[Batch], seconds: float, frame_seconds: float) -> None:
        """Count a step that took ``seconds``."""
        if result.applied:
            self.steps += 1
            self.loss += result.loss
            self.ctc += result.ctc
            self.attention += result.attention
            self.token_accuracy += result.token_accuracy
            self.grad_norm += result.grad_norm
        self.audio_seconds += frame_seconds * sum(int(batch.feature_lengths.sum()) for batch in batches)
        self.padded_seconds += frame_seconds * sum(batch.features[..., 0].numel() for batch in batches)
        self.seconds += seconds

    def means(self) -> dict[str, float]:
        """Means per step; throughput counts real audio, not padding."""
        steps = max(self.steps, 1)
        names = ("loss", "ctc", "attention", "token_accuracy", "grad_norm")
        values = {name: getattr(self, name) / steps for name in names}
        values["audio_seconds_per_second"] = self.audio_seconds / max(self.seconds, 1e-9)
        values["padding"] = 1 - self.audio_seconds / max(self.padded_seconds, 1e-9)
        return values


class Stepper:
    """Batches in, weights changed. Owns everything that has to do with gradients."""

    def __init__(self, config: Config, tokenizer: Tokenizer, model: SpeechTransformer, total_steps: int) -> None:
        self.config = config.training
        self.device = pick_device(self.config.device)
        self.precision = pick_precision(self.config.precision, self.device)
        self.model = model.to(self.device)
        self.forward = torch.compile(self.model) if self.config.compile else self.model
        self.criterion = JointLoss(
            self.config.ctc_weight, self.config.label_smoothing, tokenizer.blank_id, tokenizer.pad_id
        )
        self.optimizer = build_optimizer(self.model, self.config.optimizer)
        self.schedule = Schedule(self.config.schedule, total_steps)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.ema = Ema(self.model, self.config.ema_decay) if self.config.ema_decay else None
        self.ramp = (config.augment.ramp_start * total_steps, config.augment.ramp_end * total_steps)

    def autocast(self) -> AbstractContextManager[Any]:
        """Matrix products in half precision where the configuration says so."""
        if self.precision == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)

    def totals(self, batch: Batch) -> LossTotals:
        """Forward pass and summed losses of one batch."""
        batch = batch.to(self.device)
        tokens_in = self._with_noise(batch.tokens_in) if self.model.training else batch.tokens_in
        with self.autocast():
            output = self.forward(batch.features, batch.feature_lengths, tokens_in)
        return self.criterion.totals(output, batch)

    def _with_noise(self, tokens_in: Tensor) -> Tensor:
        """Replace a share of the decoder's input (batch, length), not SOS or PAD, by others of the batch."""
        if self.config.token_noise == 0:
            return tokens_in
        text = tokens_in[:, 1:]
        real = text != self.criterion.pad
        # Drawn from the batch itself, noise is as frequent as real text, and never a special token.
        pool = text[real]
        others = pool[torch.randint(len(pool), text.shape, device=text.device)]
        replaced = real & (torch.rand(text.shape, device=text.device) < self.config.token_noise)
        return torch.cat([tokens_in[:, :1], torch.where(replaced, others, text)], dim=1)

    def step(self, batches: list[Batch], step: int) -> StepResult:
        """One optimiser step over accumulated batches, equal to a step over one large batch.

        Each batch's loss is divided by the number of tokens of *all* of them, so that a batch with few tokens does not
        weigh as much as one with many. A gradient that is not finite is not applied.

        Args:
            batches: the batches whose gradients are summed.
            step: number of the step, from 0: sets the learning rate, the augmentation and the random numbers.
        """
        torch.manual_seed(self.config.seed * 1_000_003 + step)
        self.schedule.apply(self.optimizer, step)
        self.model.spec_augment.strength = ramp(step, *self.ramp)
        self.model.train()
        sizes = Sizes.of(batches)
        loss = ctc = attention = correct = torch.zeros((), device=self.device)
        for batch in batches:
            totals = self.totals(batch)
            part = self.criterion.mean(totals, sizes)
            self.scaler.scale(part).backward()
            loss, ctc = loss + part.detach(), ctc + totals.ctc.detach()
            attention, correct = attention + totals.attention.detach(), correct + totals.correct_tokens

        self.scaler.unscale_(self.optimizer)
        limit = self.config.optimizer.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit, foreach=True)
        applied = bool(torch.isfinite(norm))
        if applied or self.precision == "fp16":
            # With fp16 the scaler skips the step by itself, and has to see the overflow to lower its scale.
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if applied and self.ema is not None:
            self.ema.update(self.model, step)
        return StepResult(
            loss=float(loss),
            ctc=float(ctc) / sizes.ctc_tokens,
            attention=float(attention) / sizes.attention_tokens,
            grad_norm=float(norm),
            token_accuracy=float(correct) / sizes.attention_tokens,
            applied=applied,
        )

    @contextlib.contextmanager
    def smoothed(self) -> Iterator[None]:
        """Within, the model has its averaged weights, where the run keeps an average."""
        if self.ema is not None:
            self.ema.swap(self.model)
        try:
            yield
        finally:
            if self.ema is not None:
                self.ema.swap(self.model)

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser, schedule, scaler and average."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.average if self.ema is not None else None,
            "precision": self.precision,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        # The precision that the run began with, also where "auto" would choose another on this machine.
        self.precision = state["precision"]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.average = {name: tensor.to(self.device) for name, tensor in state["ema"].items()}


def ramp(step: int, start: float, end: float) -> float:
    """0 before ``start``, 1 from ``end`` on, linear between."""
    if step >= end:
        return 1.0
    return 0.0 if step <= start else (step - start) / (end - start)


def pick_precision(precision: str, device: torch.device) -> str:
    """What ``auto`` means on this machine: bf16 where it is fast, else fp32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    fast = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if device.type == "cpu" and fast else "fp32"
