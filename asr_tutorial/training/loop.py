"""The training loop.

``train(config)`` reads the corpora, builds tokenizer and model, checks what can be checked before the first step, and
then repeats: a few batches forward and backward, one optimiser step; now and then a validation over the whole dev set.
A run that was killed goes on with ``train(resume=folder)`` and ends with the same weights, bit for bit on a CPU.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from asr_tutorial import metrics
from asr_tutorial.checkpoint import load_checkpoint, save_checkpoint
from asr_tutorial.config import Config, load_config
from asr_tutorial.dataset import Batch, SpeechLoader
from asr_tutorial.errors import ConfigError, Stopped, TrainingError
from asr_tutorial.model import count_parameters
from asr_tutorial.recognizer import decode_batch, evaluating
from asr_tutorial.training.distributed import ALONE, Ranks, StopRequest, restart_count
from asr_tutorial.training.loss import Sizes, check_feasible
from asr_tutorial.training.optimizer import freeze
from asr_tutorial.training.pictures import draw_attention, draw_learning_curves
from asr_tutorial.training.run import RunFolder, open_run
from asr_tutorial.training.setup import prepare
from asr_tutorial.training.stages import Stages
from asr_tutorial.training.state import Progress, average_weights, keep_candidate, load_state, save_state, taking_up
from asr_tutorial.training.step import RunningMeans, Stepper

logger = logging.getLogger("asr_tutorial")

MAX_BAD_STEPS = 20
"""Steps in a row without a finite gradient after which a run gives up."""
SAMPLES = 5
"""Transcripts of each validation that are written down."""


@dataclass
class TrainingResult:
    """Where a run left its files, and its figures on the test sets."""

    run_folder: Path
    checkpoint: Path
    test: dict[str, dict[str, float]] = field(default_factory=dict)


def train(
    config: Config | None = None,
    run_folder: str | Path | None = None,
    resume: str | Path | None = None,
    progress: bool = True,
    go_on: bool = False,
) -> TrainingResult:
    """Train a recogniser, in this process alone or as one of those that torchrun has started.

    Args:
        config: what to train; not needed when resuming.
        run_folder: where to; ``runs/<timestamp>_<name>`` when not given.
        resume: the folder of a run to go on with.
        progress: show a progress bar, where standard error is a terminal or a notebook.
        go_on: where ``run_folder`` holds a run of this configuration already, go on with it. So it is, without being
            asked for, after torchrun has restarted the processes.

    Raises:
        UserError: the configuration, a corpus or the training itself does not work; the message says why.
        Stopped: a signal (SIGTERM, SIGUSR1) came; the state is saved.
    """
    if (config is None) == (resume is None):
        raise ConfigError("give either a configuration to train, or the folder of a run to resume")
    ranks = Ranks.from_environment()
    if not ranks.first:
        logger.setLevel(logging.WARNING)
    with ranks.joined(ranks.device(_device_name(config, resume))):
        run, resuming = open_run(config, run_folder, resume, go_on or restart_count() > 0, ranks)
        try:
            run.write_metrics()  # at once: a run that is killed before its first validation keeps its origin
            trainer = Trainer(run, progress, ranks)
            if resuming:
                trainer.resume()
            return trainer.run_to_end()
        except OSError as error:
            raise TrainingError(
                f"the run in {run.path} cannot go on: {error}. Free some space or mend what is named there, "
                f"then resume with --resume {run.path}"
            ) from error
        finally:
            run.close()


def _device_name(config: Config | None, resume: str | Path | None) -> str:
    """``training.device`` of a run that begins or goes on."""
    if config is None and resume is not None and (Path(resume) / "config.yaml").exists():
        config = load_config(Path(resume) / "config.yaml")
    return config.training.device if config is not None else "auto"


class Trainer:
    """Runs steps, validations and checkpoints until the last step."""

    def __init__(self, run: RunFolder, progress: bool = True, ranks: Ranks = ALONE) -> None:
        self.run = run
        self.config = run.config
        self.ranks = ranks
        self.show = show_progress(progress) and ranks.first
        self.stages = Stages(self.config)
        self.data, model = prepare(self.stages.config, progress and ranks.first, ranks)
        self.total_steps = self._total_steps()
        self.stepper = Stepper(self.config, self.data.tokenizer, model, self.total_steps, ranks)
        self.stages.enter(self.stepper, self.data.train)
        self.progress = Progress()
        self.since_log = RunningMeans()
        self.since_validation = RunningMeans()
        logger.info(
            "%s: %.2fM parameters, %d tokens, %s on %s%s, %d steps",
            self.config.name,
            count_parameters(model) / 1e6,
            self.data.tokenizer.vocab_size,
            self.stepper.precision,
            self.stepper.device,
            "" if ranks.alone else f" and {ranks.world_size - 1} more",
            self.total_steps,
        )

    def resume(self) -> None:
        """Take up the state of an earlier process.

        Raises:
            CheckpointError: there is no state, it cannot be read, or it is that of another model.
        """
        with taking_up(self.run.state, "training data") as state:
            self.stages.resume(state.get("stages", {}), self.stepper, self.data.train)
            self.stepper.load_state_dict(state["stepper"])
            self.progress = Progress(**state["progress"])
            self.since_log = RunningMeans(**state["since_log"]).part(self.ranks)
            self.since_validation = RunningMeans(**state["since_validation"]).part(self.ranks)
        self.run.forget_after(self.progress.step)
        logger.info("resumed at step %d of %d", self.progress.step, self.total_steps)

    def run_to_end(self) -> TrainingResult:
        """Train to the last step, then measure the best checkpoint on the test sets.

        Raises:
            TrainingError: too many steps in a row without a finite gradient.
            Stopped: a signal asked for it; the state was saved after the step in progress.
        """
        # Only now: before there is something to save, and after the last step, a signal ends the process as usual.
        with StopRequest() as stop:
            self._run_steps(stop)
        return self._finish()

    def _run_steps(self, stop: StopRequest) -> None:
        config, progress = self.config.training, self.progress
        bar = tqdm(
            total=self.total_steps, initial=progress.step, desc=self.config.name, unit="step", disable=not self.show
        )
        bad_steps = 0
        started = time.perf_counter()
        while progress.step < self.total_steps:
            if self._stage_is_over():
                self._next_stage()
            in_epoch = self.data.train.num_batches(progress.epoch)
            for batches in self._steps_of_epoch():
                self.stages.before_step(self.stepper, progress, progress.epoch + progress.batch / in_epoch)
                freeze(self.stepper.optimizer, progress.step)
                result = self.stepper.step(batches, progress.step)
                check_feasible(result.ctc, batches, self.stepper.model.subsampling_factor)
                elapsed = time.perf_counter() - started  # waiting for data included
                progress.seconds += elapsed
                progress.step += 1
                progress.batch = min(progress.batch + config.accumulate, in_epoch)
                progress.skipped_updates += not result.applied
                bad_steps = 0 if result.applied else bad_steps + 1
                if bad_steps >= MAX_BAD_STEPS:
                    raise TrainingError(
                        f"no finite gradient in {bad_steps} steps up to step {progress.step}, last utterances: "
                        f"{', '.join(batches[-1].ids[:5])}. Lower training.optimizer.lr, or set "
                        "training.precision=fp32 and look at the features of these utterances; "
                        f"asr-tutorial diagnose --checkpoint {self.run.path} says where it begins"
                    )
                measures = self.stepper.take_measures()
                for means in (self.since_log, self.since_validation):
                    means.add(result, batches, elapsed, self.config.features.frame_shift_ms / 1000, measures)
                bar.update()
                bar.set_postfix(loss=f"{result.loss:.2f}", refresh=False)
                if progress.step % config.log_every == 0:
                    self._log_means()
                self._after_step(end_of_epoch=progress.batch >= in_epoch)
                self._stop_if_asked(stop)
                started = time.perf_counter()
                if progress.step >= self.total_steps or self._stage_is_over():
                    break
            else:
                progress.epoch, progress.batch = progress.epoch + 1, 0
        bar.close()

    def _total_steps(self) -> int:
        config = self.config.training
        per_epoch = math.ceil(len(self.data.train) / config.accumulate)
        return config.max_steps or per_epoch * config.max_epochs

    def _steps_of_epoch(self) -> Iterator[list[Batch]]:
        """This rank's batches of each step that the current epoch still has to make."""
        progress = self.progress
        return self.data.train.steps(progress.epoch, progress.batch, self.config.training.accumulate)

    def _stage_is_over(self) -> bool:
        return self.stages.is_over(self.progress, self.data.train.num_batches(self.progress.epoch))

    def _next_stage(self) -> None:
        before = self.stages.config
        self.stages.advance(self.stepper, self.data.train, self.progress)
        if self.run.writes and self.stages.config != before:  # weights of another depth cannot be averaged
            for candidate in self.run.checkpoints.glob("candidates/*.pt"):
                candidate.unlink()

    def _stop_if_asked(self, stop: StopRequest) -> None:
        # A signal reaches the ranks at different moments; all have to stop after the same step.
        if not self.ranks.sum([bool(stop.name)])[0]:
            return
        self._save_state()
        self.ranks.wait()  # a process that ends early may take the others with it: first the state must be on disk
        raise Stopped(
            f"stopped by {stop.name or 'a signal'} after step {self.progress.step} of {self.total_steps}, the state is "
            f"saved; go on with: asr-tutorial train --resume {self.run.path}"
        )

    def _after_step(self, end_of_epoch: bool) -> None:
        """Sample, validate and save the state where it is time to."""
        config, step = self.config.training, self.progress.step
        if config.sample_every and step % config.sample_every == 0:
            self._sample()
        last = step == self.total_steps
        due = step % config.validate_every == 0 if config.validate_every else end_of_epoch
        if due or last:
            self._validate()
        if due or last or (config.checkpoint_every and step % config.checkpoint_every == 0):
            self._save_state()

    def _log_means(self) -> None:
        """A line of the log, and TensorBoard: the steps since the last one."""
        means = self.since_log.total(self.ranks).means()
        rate = self.stepper.optimizer.param_groups[0]["lr"]
        logger.info(
            "step %d loss %.3f ctc %.3f attention %.3f accuracy %.3f%s norm %.2f lr %.2e | %.0f s/s, padding %.1f%%",
            self.progress.step,
            means["loss"],
            means["ctc"],
            means["attention"],
            means["token_accuracy"],
            "".join(f" {name} {means[name]:.3f}" for name in self.stepper.model.measures if name in means),
            means["grad_norm"],
            rate,
            means["audio_seconds_per_second"],
            100 * means["padding"],
        )
        scalars = {f"train/{name}": value for name, value in means.items()} | {"lr": rate}
        self.run.log_scalars(scalars, self.progress.step)
        self.since_log = RunningMeans()

    def _sample(self) -> None:
        """What the model makes of one dev utterance by now; the other ranks go on and wait in the next step."""
        if not self.run.writes:
            return
        batch, step, search = self.data.sample, self.progress.step, self.config.training.validation_search
        with self.stepper.smoothed(), self.stepper.autocast():
            text = decode_batch(self.stepper.model, self.data.tokenizer, batch, search)[0].text
        self.run.log_samples(f"step {step}, sample, {search}", [(batch.ids[0], batch.texts[0], text)])
        logger.info("step %d sample: said %r heard %r", step, batch.texts[0], text)

    def _validate(self) -> None:
        """Measure the dev sets, write the figures down, and keep the best weights."""
        progress, config = self.progress, self.config.training
        figures: dict[str, dict[str, float]] = {}
        with self.stepper.smoothed():
            for name, loader in self.data.dev.items():
                figures[name] = self._measure(name, loader)
            first = next(iter(figures.values()))
            self.stepper.schedule.after_validation(first["cer"])
            self.stages.after_validation(first["cer"])
            if first["cer"] < progress.best:
                progress.best, progress.best_step = first["cer"], progress.step
                self._save_recognizer("best", first)
            if config.average and self.run.writes:
                folder = self.run.checkpoints / "candidates"
                keep_candidate(folder, self.stepper.model, first["cer"], progress.step, config.average)
            draw_attention(self.run, self.stepper, self.data, progress.step)
        record: dict[str, Any] = {
            "step": progress.step,
            "epoch": progress.epoch + progress.batch / self.data.train.num_batches(progress.epoch),
            **self.stages.facts(),
            "train_seconds": round(progress.seconds, 1),
            "lr": self.stepper.optimizer.param_groups[0]["lr"],
            "train": self.since_validation.total(self.ranks).means(),
            "dev": figures,
        }
        self.run.add_validation(record)
        self.since_validation = RunningMeans()
        for name, values in figures.items():
            self.run.log_scalars({f"{name}/{key}": value for key, value in values.items()}, progress.step)
            logger.info(
                "step %d %s: WER %.1f%% CER %.1f%% loss %.3f (best CER %.1f%% at step %d)",
                progress.step,
                name,
                100 * values["wer"],
                100 * values["cer"],
                values["loss"],
                100 * progress.best,
                progress.best_step,
            )

    def _measure(self, name: str, loader: SpeechLoader) -> dict[str, float]:
        """Losses and error rates of a whole corpus; each rank measures its share."""
        stepper, search = self.stepper, self.config.training.validation_search
        names = list(stepper.model.measures)
        sums = [0.0] * (4 + len(names))
        batches: list[Batch] = []
        results: list[tuple[str, str, str]] = []  # id, reference, hypothesis
        with evaluating(stepper.model):
            for batch in tqdm(loader, desc=name, leave=False, disable=not self.show):
                totals = stepper.totals(batch)
                values = [totals.ctc, totals.attention, totals.correct_tokens, totals.correct_sequences]
                for index, value in enumerate([*values, *(totals.measures[name] for name in names)]):
                    sums[index] += float(value)
                with stepper.autocast():
                    decoded = decode_batch(stepper.model, self.data.tokenizer, batch, search)
                texts = [hypothesis.text for hypothesis in decoded]
                results += zip(batch.ids, batch.texts, texts, strict=True)
                batches.append(dataclasses.replace(batch, features=batch.features[:0]))
        sizes = Sizes.of(batches, self.ranks)
        ctc, attention, tokens, sequences, *own = self.ranks.sum(sums)
        measures = dict(zip(names, own, strict=True))
        results = sorted(self.ranks.gather(results))
        stride = max(1, len(results) // SAMPLES)
        self.run.log_samples(f"step {self.progress.step}, {name}, {search}", results[::stride][:SAMPLES])
        # In the tokenizer's letter case: a transcript in lower case is not a wrong one.
        references = [self.data.tokenizer.normalize(text) for _, text, _ in results]
        hypotheses = [text for _, _, text in results]
        weight = self.config.training.ctc_weight
        ctc, attention = ctc / sizes.ctc_tokens, attention / sizes.attention_tokens
        measures = {name: value / sizes.utterances for name, value in measures.items()}
        weighted = sum(stepper.model.measures[name] * value for name, value in measures.items())
        return {
            "wer": metrics.wer(references, hypotheses),
            "cer": metrics.cer(references, hypotheses),
            "loss": weight * ctc + (1 - weight) * attention + weighted,
            "ctc": ctc,
            "attention": attention,
            **measures,
            "token_accuracy": tokens / sizes.attention_tokens,
            "sequence_accuracy": sequences / sizes.utterances,
        }

    def _save_recognizer(self, name: str, figures: dict[str, float]) -> None:
        if not self.run.writes:
            return
        facts = {"step": self.progress.step, "dev": figures, **self.stages.facts()}
        folder, config = self.run.checkpoints / name, self.stages.config
        save_checkpoint(folder, self.stepper.model, self.data.tokenizer, config, extra=facts)

    def _save_state(self) -> None:
        state = {
            "stepper": self.stepper.state_dict(),
            "stages": self.stages.state_dict(),
            "progress": dataclasses.asdict(self.progress),
            "since_log": dataclasses.asdict(self.since_log.total(self.ranks)),
            "since_validation": dataclasses.asdict(self.since_validation.total(self.ranks)),
        }
        if self.run.writes:
            save_state(self.run.state, state)

    def _finish(self) -> TrainingResult:
        """Average if asked for, then measure the best weights on the test sets."""
        best = self.run.checkpoints / "best"
        self.ranks.wait()  # until the first rank has written what all read
        if self.config.training.average:
            files = sorted((self.run.checkpoints / "candidates").glob("*.pt"))
            self.stepper.model.load_state_dict(average_weights([load_state(file) for file in files]))
            name, loader = next(iter(self.data.dev.items()))
            figures = self._measure(name, loader)
            logger.info("average of %d checkpoints, %s: CER %.1f%%", len(files), name, 100 * figures["cer"])
            if figures["cer"] < self.progress.best:
                self._save_recognizer("best", figures)
        self.ranks.wait()
        self.stepper.replace_model(load_checkpoint(best)[0])  # it may be of an earlier stage, with fewer layers
        test = {name: self._measure(name, loader) for name, loader in self.data.test.items()}
        first = next(iter(test.values()), None)
        self.run.metrics["test"] = {"wer": first["wer"], "cer": first["cer"], "corpora": test} if first else {}
        self.run.metrics["train_seconds"] = round(self.progress.seconds, 1)
        self.run.metrics["skipped_updates"] = self.progress.skipped_updates
        self.run.write_metrics()
        draw_learning_curves(self.run, self.progress.step)
        for name, values in test.items():
            logger.info("test %s: WER %.1f%% CER %.1f%%", name, 100 * values["wer"], 100 * values["cer"])
        logger.info("finished: %s", self.run.path)
        return TrainingResult(self.run.path, best, test)


def show_progress(progress: bool) -> bool:
    """Whether a progress bar would be seen by a person."""
    return progress and (sys.stderr.isatty() or "ipykernel" in sys.modules)
