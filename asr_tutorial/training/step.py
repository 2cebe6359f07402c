"""One optimiser step: everything that has to do with losses, gradients, precision and weights."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from asr_tutorial.config import Config, LoopConfig
from asr_tutorial.dataset import Batch
from asr_tutorial.model import SpeechTransformer
from asr_tutorial.tokenizer import Tokenizer
from asr_tutorial.training.distributed import ALONE, Ranks
from asr_tutorial.training.loss import LossTotals, Sizes, build_criterion
from asr_tutorial.training.optimizer import Schedule, build_optimizer
from asr_tutorial.training.sampling import ScheduledSampling
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
    utterances: int = 0
    measures: dict[str, float] = field(default_factory=dict)
    """Sums over the utterances of what the architecture measures beside the losses."""

    def add(
        self,
        result: StepResult,
        batches: list[Batch],
        seconds: float,
        frame_seconds: float,
        measures: Mapping[str, float] | None = None,
    ) -> None:
        """Count a step that took ``seconds``; ``batches`` and the sums ``measures`` are those of this process."""
        batches = [batch for batch in batches if not batch.spare]
        if result.applied:
            self.steps += 1
            self.loss += result.loss
            self.ctc += result.ctc
            self.attention += result.attention
            self.token_accuracy += result.token_accuracy
            self.grad_norm += result.grad_norm
            self.utterances += sum(len(batch) for batch in batches)
            for name, value in (measures or {}).items():
                self.measures[name] = self.measures.get(name, 0.0) + value
        self.audio_seconds += frame_seconds * sum(int(batch.feature_lengths.sum()) for batch in batches)
        self.padded_seconds += frame_seconds * sum(batch.features[..., 0].numel() for batch in batches)
        self.seconds += seconds

    def total(self, ranks: Ranks) -> RunningMeans:
        """The same with the audio and the measures of all ranks."""
        names = sorted(self.measures)
        audio, padded, utterances, *sums = ranks.sum(
            [self.audio_seconds, self.padded_seconds, self.utterances, *(self.measures[name] for name in names)]
        )
        measures = dict(zip(names, sums, strict=True))
        return dataclasses.replace(
            self, audio_seconds=audio, padded_seconds=padded, utterances=int(utterances), measures=measures
        )

    def part(self, ranks: Ranks) -> RunningMeans:
        """What one rank goes on with after :meth:`total`: its part of the audio; the first has all utterances."""
        share = 1 / ranks.world_size
        return dataclasses.replace(
            self,
            audio_seconds=self.audio_seconds * share,
            padded_seconds=self.padded_seconds * share,
            utterances=self.utterances if ranks.first else 0,
            measures={name: value if ranks.first else 0.0 for name, value in self.measures.items()},
        )

    def means(self) -> dict[str, float]:
        """Means per step; throughput counts real audio, not padding."""
        steps = max(self.steps, 1)
        names = ("loss", "ctc", "attention", "token_accuracy", "grad_norm")
        values = {name: getattr(self, name) / steps for name in names}
        values |= {name: value / max(self.utterances, 1) for name, value in self.measures.items()}
        values["audio_seconds_per_second"] = self.audio_seconds / max(self.seconds, 1e-9)
        values["padding"] = 1 - self.audio_seconds / max(self.padded_seconds, 1e-9)
        return values


class Stepper:
    """Batches in, weights changed. Owns everything that has to do with gradients."""

    def __init__(
        self,
        config: Config,
        tokenizer: Tokenizer,
        model: SpeechTransformer,
        total_steps: int,
        ranks: Ranks = ALONE,
    ) -> None:
        self.criterion = build_criterion(config.training, tokenizer, model)
        self.measured: dict[str, Tensor] = {}
        self.ramp = (config.augment.ramp_start * total_steps, config.augment.ramp_end * total_steps)
        if not ranks.alone and config.training.ctc_weight == 0:
            # Its gradient never comes, and the other ranks would wait for it. (The optimiser skips it either way.)
            model.ctc_head.requires_grad_(False)
        self.config = config.training
        self.model = model
        self.sampling = self._scheduled_sampling(config, tokenizer)
        self.set_up(config.training, model, total_steps, ranks)

    def set_up(self, config: LoopConfig, model: nn.Module, total_steps: int, ranks: Ranks) -> None:
        """What every training needs, a language model's too: device, precision, optimiser, schedule, average."""
        self.ranks = ranks
        self.device = ranks.device(config.device)
        self.precision = pick_precision(config.precision, self.device)
        model.to(self.device)
        self.optimizer = build_optimizer(model, config.optimizer)
        self.schedule = Schedule(config.schedule, total_steps)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.ema = Ema(model, config.ema_decay) if config.ema_decay else None
        self.wrap(model, config.compile)

    def wrap(self, model: nn.Module, compiled: bool) -> None:
        """Put what sums gradients over the ranks, and what compiles, around a model as it is now.

        Both look at the model once, so it takes a new wrapping when parameters have come, rest or learn again.
        """
        self.parallel: nn.Module = model  # the former wrapping is gone before the new one is made
        self.forward: Any = model
        self.parallel = self.ranks.parallel(model)
        if compiled:
            torch.compiler.reset()
        self.forward = torch.compile(self.parallel) if compiled else self.parallel

    def renew_optimizer(self, young: Collection[str] = ()) -> None:
        """Make an optimiser, and an average, of the parameters that the model has now.

        Parameters that were there before keep what the optimiser and the average know of them; Adam counts the steps of
        each parameter by itself, so that new ones begin like those of a new training.

        Args:
            young: names of parameters that get groups of their own, see
                :func:`~asr_tutorial.training.optimizer.parameter_groups`.
        """
        known = self.optimizer.state
        self.optimizer = build_optimizer(self.model, self.config.optimizer, young)
        for group in self.optimizer.param_groups:
            self.optimizer.state.update({tensor: known[tensor] for tensor in group["params"] if tensor in known})
        if self.ema is not None:
            self.ema.follow(self.model)

    def replace_model(self, model: nn.Module) -> None:
        """Measure with another model from now on, such as the best of a run; no more steps are made."""
        assert isinstance(model, SpeechTransformer)
        self.model = model.to(self.device)
        self.parallel = self.forward = self.model

    def _scheduled_sampling(self, config: Config, tokenizer: Tokenizer) -> ScheduledSampling | None:
        shares = [config.training.teacher_forcing, *(stage.teacher_forcing for stage in config.progressive.stages)]
        if self.model.decoder is None or all(share in (None, 1.0) for share in shares):
            return None
        special = [tokenizer.blank_id, tokenizer.sos_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.pad_id]
        return ScheduledSampling(self.model.decoder, tokenizer.pad_id, special)

    def autocast(self) -> AbstractContextManager[Any]:
        """A context in which matrix products are computed in ``self.precision`` on ``self.device``.

        Weights stay fp32 and so does what comes out of sums and softmaxes: ``torch.autocast`` knows which operators may
        be computed in 16 bits. With fp32 nothing is changed.
        """
        if self.precision == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)

    def totals(self, batch: Batch) -> LossTotals:
        """Forward pass and summed losses of one batch."""
        batch = batch.to(self.device)
        if self.model.training:
            batch = dataclasses.replace(batch, tokens_in=self._with_noise(batch.tokens_in))
        with self.autocast():
            # Ranks wait for each other in training only: in validation one may have more batches than another.
            forward = self.forward if self.model.training or self.ranks.alone else self.model
            output = forward(*self.model.training_inputs(batch))
        totals = self.criterion.totals(output, batch)
        if self.model.training and not batch.spare:
            for name, value in totals.measures.items():
                self.measured[name] = self.measured.get(name, 0) + value.detach()
        return totals

    def take_measures(self) -> dict[str, float]:
        """Sums of the architecture's own measures over this process's utterances of the steps since the last call.

        All names are there, also for a process that had spare batches only: the others sum over the same names.
        """
        measured, self.measured = self.measured, {}
        return {name: float(measured.get(name, 0.0)) for name in self.model.measures}

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

        Random numbers, learning rate and masks are those of step number ``step``; the model is put into training mode;
        gradients are summed over the batches; the weights are changed.

        Args:
            batches: the batches whose gradients are summed; in a training of several processes, this one's.
            step: number of the step, from 0.
        """
        self.seed(step)
        self.schedule.apply(self.optimizer, step)
        self.model.spec_augment.strength = ramp(step, *self.ramp)
        self.model.train()
        sizes = Sizes.of(batches, self.ranks)
        sums = self.accumulate(batches, sizes)
        norm, applied = self.update(step)
        loss, ctc, attention, correct = sums.tolist()
        return StepResult(
            loss=loss,
            ctc=ctc / sizes.ctc_tokens,
            attention=attention / sizes.attention_tokens,
            grad_norm=norm,
            token_accuracy=correct / sizes.attention_tokens,
            applied=applied,
        )

    def seed(self, step: int) -> None:
        """Set the random numbers of a step: a resumed run draws what it would have drawn, each rank its own."""
        torch.manual_seed(self.config.seed * 1_000_003 + step + self.ranks.rank * 0x9E3779B1)

    def accumulate(self, batches: list[Batch], sizes: Sizes) -> Tensor:
        """Add up the gradients of a step's batches.

        Each batch's loss is divided by the number of tokens of *all* of them, so that a batch with few tokens does not
        weigh as much as one with many. Under fp16 the gradients are scaled up, see ``torch.amp.GradScaler``.

        Args:
            batches: this process's batches.
            sizes: counts of the whole step, all processes together.

        Returns:
            ``(4,)``: the loss in nats per token, and the sums of CTC loss, cross-entropy and right tokens, all
            processes together.
        """
        sums = torch.zeros(4, device=self.device)
        for number, batch in enumerate(batches):
            last = number == len(batches) - 1
            with nullcontext() if last else self._without_summing():
                totals = self.totals(batch)
                part = self.criterion.mean(totals, sizes) * (not batch.spare)
                # DDP takes the mean over the ranks. Ours is a sum: each part is divided by the size of the whole.
                self.scaler.scale(part * self.ranks.world_size).backward()
            if not batch.spare:
                sums += torch.stack([part, totals.ctc, totals.attention, totals.correct_tokens]).detach()
        return self.ranks.sum_tensor(sums)

    def _without_summing(self) -> AbstractContextManager[Any]:
        """Keep the gradients of a backward pass here: they are sent to the other ranks once, with the last one's."""
        return self.parallel.no_sync() if isinstance(self.parallel, DistributedDataParallel) else nullcontext()

    def update(self, step: int) -> tuple[float, bool]:
        """Change the weights by the gradients that have been summed, then forget the gradients.

        The norm of all gradients together is clipped to ``optimizer.clip`` (0: not at all). A gradient that is not
        finite changes nothing, neither weights nor their average; but under fp16 the scaler sees it all the same, and
        lowers its factor.

        Args:
            step: number of the step, from 0.

        Returns:
            The norm before clipping, and whether the gradient was finite.
        """
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
        return float(norm), applied

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
        """Everything that later steps depend on, as tensors and plain values.

        Returns:
            ``model``, ``optimizer``, ``schedule`` and ``scaler``: their own state dicts; ``ema``: the averaged weights
            by name, None where there is no average; ``precision``: what ``auto`` became.
        """
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.average if self.ema is not None else None,
            "precision": self.precision,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of :meth:`state_dict`: the steps that follow are those that would have followed there.

        The precision is the one that the run began with, also where ``auto`` would choose another on this machine; the
        scaler of fp16 is made anew to fit it.

        Args:
            state: tensors on the CPU, as :func:`~asr_tutorial.training.state.load_state` reads them.
        """
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
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


def cpu_multiplies_bf16() -> bool:
    """Whether this processor has instructions for bf16 matrix products (AVX512-BF16)."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def pick_precision(precision: str, device: torch.device) -> str:
    """What ``auto`` means on this machine.

    On a GPU bf16 where its hardware has it (``torch.cuda.is_bf16_supported(including_emulation=False)``), else fp16; on
    a CPU bf16 where :func:`cpu_multiplies_bf16`, else fp32; on anything else fp32.

    Args:
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``; what was asked for is what one gets.
        device: where the model is computed.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if device.type == "cpu" and cpu_multiplies_bf16() else "fp32"
