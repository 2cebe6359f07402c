"""Training a language model: rows of text in, one step after the other, perplexity on dev text now and then.

The step is a recogniser's without the sound: optimiser, schedule, precision, average, state and run folder are the
same. A run that was killed goes on with ``train_language_model(resume=folder)`` and ends with the same weights, bit for
bit on a CPU.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from asr_tutorial.config import LanguageModelConfig, load_lm_config
from asr_tutorial.dataset.packing import PackedText, packed_text
from asr_tutorial.dataset.text_files import read_text
from asr_tutorial.errors import ConfigError, Stopped, TextError, TrainingError
from asr_tutorial.language_model import LanguageModel, TransformerLM, evaluate_text, save_transformer_lm
from asr_tutorial.model import count_parameters
from asr_tutorial.search.generate import generate
from asr_tutorial.tokenizer import Tokenizer, train_tokenizer
from asr_tutorial.training.distributed import ALONE, Ranks, StopRequest
from asr_tutorial.training.loop import MAX_BAD_STEPS, show_progress
from asr_tutorial.training.run import RunFolder
from asr_tutorial.training.state import Progress, save_state, taking_up
from asr_tutorial.training.step import Stepper

logger = logging.getLogger("asr_tutorial")

SAMPLES = 3
"""Texts of each validation that the model makes up."""


class LanguageModelRun(RunFolder):
    """The run folder of a language model."""

    read_config = staticmethod(load_lm_config)


@dataclass
class LanguageModelResult:
    """Where a run left its files, and the best perplexity per word on each dev text."""

    run_folder: Path
    checkpoint: Path
    dev: dict[str, float]


def train_language_model(
    config: LanguageModelConfig | None = None,
    run_folder: str | Path | None = None,
    resume: str | Path | None = None,
    progress: bool = True,
) -> LanguageModelResult:
    """Train a Transformer language model, in one process.

    Args:
        config: what to train; not needed when resuming.
        run_folder: where to; ``runs/<timestamp>_<name>`` when not given.
        resume: the folder of a run to go on with.
        progress: show a progress bar, where standard error is a terminal or a notebook.

    Raises:
        UserError: the configuration, a text or the training itself does not work; the message says why.
        Stopped: a signal (SIGTERM, SIGUSR1) came; the state is saved.
    """
    if (config is None) == (resume is None):
        raise ConfigError("give either a configuration to train, or the folder of a run to resume")
    if not Ranks.from_environment().alone:
        raise ConfigError("a language model is trained in one process: start it without torchrun")
    run = LanguageModelRun.reopen(resume) if resume is not None else LanguageModelRun.create(config, run_folder)
    try:
        run.write_metrics()
        trainer = LanguageModelTrainer(run, progress)
        if resume is not None:
            trainer.resume()
        return trainer.run_to_end()
    except OSError as error:
        raise TrainingError(
            f"the run in {run.path} cannot go on: {error}. Free some space or mend what is named there, "
            f"then resume with --resume {run.path}"
        ) from error
    finally:
        run.close()


class LanguageModelStepper(Stepper):
    """Rows in, weights changed: a :class:`Stepper` whose loss is the cross-entropy of the next token."""

    model: TransformerLM  # type: ignore[assignment]

    def __init__(
        self, config: LanguageModelConfig, tokenizer: Tokenizer, model: TransformerLM, total_steps: int
    ) -> None:
        self.config = config.training  # type: ignore[assignment]
        self.model = model
        self.separate = config.text.separate
        self.pad = tokenizer.pad_id
        self.set_up(config.training, model, total_steps, ALONE)

    def rows_step(self, batches: list[tuple[Tensor, Tensor, Tensor]], step: int) -> tuple[float, float, bool]:
        """One optimiser step over accumulated batches, equal to a step over one large batch.

        Args:
            batches: input tokens, targets and sentence numbers, (batch, context) each.
            step: number of the step, from 0.

        Returns:
            Loss in nats per token, norm of the gradient before clipping, and whether it was finite.
        """
        self.seed(step)
        self.schedule.apply(self.optimizer, step)
        self.model.train()
        tokens = sum(int((targets != self.pad).sum()) for _, targets, _ in batches)
        loss = torch.zeros((), device=self.device)
        for batch in batches:
            tokens_in, targets, sentences = (part.to(self.device, non_blocking=True) for part in batch)
            with self.autocast():
                logits = self.forward(tokens_in, None, sentences if self.separate else None)
            part = next_token_loss(logits, targets, self.pad) / tokens
            self.scaler.scale(part).backward()
            loss += part.detach()
        norm, applied = self.update(step)
        return float(loss), norm, applied


def next_token_loss(logits: Tensor, targets: Tensor, pad: int) -> Tensor:
    """Cross-entropy of the next tokens, summed over all that are not PAD; computed in fp32.

    Args:
        logits: (batch, length, vocab).
        targets: (batch, length), PAD where there is nothing to learn.
        pad: id of PAD.

    Returns:
        A scalar, in nats.
    """
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=pad, reduction="sum")


class LanguageModelTrainer:
    """Runs steps, validations and checkpoints until the last step."""

    def __init__(self, run: RunFolder, progress: bool = True) -> None:
        self.run = run
        self.config: LanguageModelConfig = run.config
        self.show = show_progress(progress)
        self.tokenizer, self.train, self.dev = self._read_text()
        self.batch_rows = min(max(1, self.config.text.batch_tokens // self.config.text.context), len(self.train))
        self.batches_per_epoch = len(self.train) // self.batch_rows
        self.total_steps = self._total_steps()
        torch.manual_seed(self.config.training.seed)
        model = TransformerLM(self.config.model, self.tokenizer.vocab_size)
        self.stepper = LanguageModelStepper(self.config, self.tokenizer, model, self.total_steps)
        self.progress = Progress()
        self.window = {"steps": 0.0, "loss": 0.0, "norm": 0.0, "seconds": 0.0}
        logger.info(
            "%s: %.2fM parameters, %d tokens, %s on %s, %d steps of %d tokens, %.1f epochs",
            self.config.name,
            count_parameters(model) / 1e6,
            self.tokenizer.vocab_size,
            self.stepper.precision,
            self.stepper.device,
            self.total_steps,
            self.batch_rows * self.config.text.context * self.config.training.accumulate,
            self.total_steps * self.config.training.accumulate / self.batches_per_epoch,
        )

    def resume(self) -> None:
        """Take up the state of an earlier process.

        Raises:
            CheckpointError: there is no state, it cannot be read, or it is that of another model.
        """
        with taking_up(self.run.state, "text") as state:
            self.stepper.load_state_dict(state["stepper"])
            self.progress = Progress(**state["progress"])
            self.window = state["window"]
        self.run.forget_after(self.progress.step)
        logger.info("resumed at step %d of %d", self.progress.step, self.total_steps)

    def run_to_end(self) -> LanguageModelResult:
        """Train to the last step.

        Raises:
            TrainingError: too many steps in a row without a finite gradient.
            Stopped: a signal asked for it; the state was saved after the step in progress.
        """
        with StopRequest() as stop:
            self._run_steps(stop)
        best = next(v for v in self.run.metrics["validations"] if v["step"] == self.progress.best_step)
        self.run.metrics["train_seconds"] = round(self.progress.seconds, 1)
        self.run.metrics["best_step"] = self.progress.best_step
        self.run.write_metrics()
        logger.info("finished: %s", self.run.path)
        dev = {name: figures["perplexity_per_word"] for name, figures in best["dev"].items()}
        return LanguageModelResult(self.run.path, self.run.checkpoints / "best", dev)

    def _read_text(self) -> tuple[Tokenizer, PackedText, dict[str, list[str]]]:
        text = self.config.text
        if not text.train or not text.dev:
            raise ConfigError("text.train and text.dev must each name at least one text")
        dev = {path: list(read_text(path, text.root, text.form)) for path in text.dev}
        if empty := [path for path, sentences in dev.items() if not sentences]:
            raise TextError(f"no sentence in {', '.join(empty)}: there is nothing to validate on")
        saved = self.run.path / "tokenizer"  # learnt once: a resumed run must not learn another
        settings = self.config.tokenizer
        if saved.is_dir():
            settings = dataclasses.replace(settings, folder=str(saved))
        sentences = (sentence for path in text.train for sentence in read_text(path, text.root, text.form))
        tokenizer = train_tokenizer(settings, sentences)
        if not saved.is_dir():
            saved.mkdir()
            tokenizer.save(saved)
        self._check_alphabet(tokenizer, dev)
        return tokenizer, packed_text(text, text.train, tokenizer), dev

    def _check_alphabet(self, tokenizer: Tokenizer, dev: dict[str, list[str]]) -> None:
        """Say it when dev text has characters that the vocabulary lacks: usually text of another form."""
        for name, sentences in dev.items():
            if unknown := tokenizer.unknown_characters(sentences):
                named = ", ".join(f"{char!r} ({count})" for char, count in unknown.most_common(10))
                logger.warning("%s: characters that the tokenizer does not know: %s; see text.form", name, named)

    def _total_steps(self) -> int:
        config = self.config.training
        return config.max_steps or math.ceil(self.batches_per_epoch / config.accumulate) * config.max_epochs

    def _next_batches(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """The batches of the next step; moves on to the next epoch where one ends."""
        progress, seed = self.progress, self.config.training.seed
        batches = []
        for _ in range(self.config.training.accumulate):
            if progress.batch >= self.batches_per_epoch:
                progress.epoch, progress.batch = progress.epoch + 1, 0
            if self._plan_of != progress.epoch:
                self._plan, self._plan_of = self.train.epoch(self.batch_rows, seed, progress.epoch), progress.epoch
            batches.append(self.train.batch(self._plan[progress.batch]))
            progress.batch += 1
        return batches

    _plan_of = -1

    def _run_steps(self, stop: StopRequest) -> None:
        config, progress, window = self.config.training, self.progress, self.window
        bar = tqdm(
            total=self.total_steps, initial=progress.step, desc=self.config.name, unit="step", disable=not self.show
        )
        bad_steps = 0
        while progress.step < self.total_steps:
            started = time.perf_counter()
            loss, norm, applied = self.stepper.rows_step(self._next_batches(), progress.step)
            elapsed = time.perf_counter() - started
            progress.seconds += elapsed
            progress.step += 1
            progress.skipped_updates += not applied
            bad_steps = 0 if applied else bad_steps + 1
            if bad_steps >= MAX_BAD_STEPS:
                raise TrainingError(
                    f"no finite gradient in {bad_steps} steps up to step {progress.step}: lower "
                    "training.optimizer.lr, or set training.precision=fp32"
                )
            for name, value in (("steps", 1), ("loss", loss), ("norm", norm), ("seconds", elapsed)):
                window[name] += value
            bar.update()
            bar.set_postfix(loss=f"{loss:.2f}", refresh=False)
            if progress.step % config.log_every == 0:
                self._log_window()
            self._after_step()
            if stop.name:
                self._save_state()
                raise Stopped(
                    f"stopped by {stop.name} after step {progress.step} of {self.total_steps}, the state is saved; go "
                    f"on with: asr-tutorial lm train --resume {self.run.path}"
                )
        bar.close()

    def _after_step(self) -> None:
        config, step = self.config.training, self.progress.step
        every = config.validate_every or math.ceil(self.batches_per_epoch / config.accumulate)
        due = step % every == 0 or step == self.total_steps
        if due:
            self._validate()
        if due or (config.checkpoint_every and step % config.checkpoint_every == 0):
            self._save_state()

    def _log_window(self) -> None:
        window = self.window
        loss = window["loss"] / window["steps"]
        tokens = self.batch_rows * self.config.text.context * self.config.training.accumulate * window["steps"]
        rate = self.stepper.optimizer.param_groups[0]["lr"]
        speed = tokens / window["seconds"]
        logger.info(
            "step %d loss %.3f (%.2f bits per token) norm %.2f lr %.2e | %.0f tokens/s",
            self.progress.step,
            loss,
            loss / math.log(2),
            window["norm"] / window["steps"],
            rate,
            speed,
        )
        scalars = {"train/loss": loss, "train/tokens_per_second": speed, "lr": rate}
        self.run.log_scalars(scalars, self.progress.step)
        window.update(dict.fromkeys(window, 0.0))

    def _validate(self) -> None:
        """Perplexity on the dev texts; keeps the best weights."""
        progress, stepper = self.progress, self.stepper
        figures: dict[str, dict[str, float]] = {}
        model = LanguageModel("transformer", stepper.model, self.tokenizer, self.config)
        with stepper.smoothed():
            for name, sentences in self.dev.items():
                with stepper.autocast():
                    result = evaluate_text(model, sentences)
                figures[name] = {
                    "perplexity_per_word": result.per_word,
                    "perplexity_per_token": result.per_token,
                    "loss": -result.log_prob / result.tokens,
                }
            first = next(iter(figures.values()))["perplexity_per_word"]
            if not math.isfinite(first):
                raise TrainingError(
                    f"the model's log-probabilities are not finite at step {progress.step}: lower "
                    "training.optimizer.lr, or set training.precision=fp32"
                )
            stepper.schedule.after_validation(first)
            if first < progress.best:
                progress.best, progress.best_step = first, progress.step
                facts = {"step": progress.step, "dev": figures}
                save_transformer_lm(
                    self.run.checkpoints / "best", stepper.model, self.tokenizer, self.config, extra=facts
                )
            self._write_samples()
        record: dict[str, Any] = {
            "step": progress.step,
            "epoch": progress.epoch + progress.batch / self.batches_per_epoch,
            "train_seconds": round(progress.seconds, 1),
            "lr": stepper.optimizer.param_groups[0]["lr"],
            "dev": figures,
        }
        self.run.add_validation(record)
        for name, values in figures.items():
            self.run.log_scalars({f"{name}/{key}": value for key, value in values.items()}, progress.step)
            logger.info(
                "step %d %s: perplexity %.1f per word, %.2f per token (best %.1f at step %d)",
                progress.step,
                name,
                values["perplexity_per_word"],
                values["perplexity_per_token"],
                progress.best,
                progress.best_step,
            )

    def _write_samples(self) -> None:
        """Texts that the model makes up, for ``samples.txt``."""
        tokenizer, device = self.tokenizer, self.stepper.device
        prompts = torch.full((SAMPLES, 1), tokenizer.sos_id)
        generator = torch.Generator(device).manual_seed(self.config.training.seed)
        texts = generate(
            self.stepper.model,
            prompts,
            tokenizer.eos_id,
            max_tokens=min(200, self.config.text.context - 1),
            forbidden=(tokenizer.blank_id, tokenizer.pad_id, tokenizer.sos_id, tokenizer.unk_id),
            generator=generator,
        )
        with (self.run.path / "samples.txt").open("a", encoding="utf-8") as file:
            file.write(f"== step {self.progress.step}\n")
            file.writelines(f"{tokenizer.decode(text)}\n" for text in texts)

    def _save_state(self) -> None:
        state = {
            "stepper": self.stepper.state_dict(),
            "progress": dataclasses.asdict(self.progress),
            "window": self.window,
        }
        save_state(self.run.state, state)
