"""What a run's files say: figures of its validations, its log and its sample transcripts."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from asr_tutorial.config import Config
from asr_tutorial.doctor.report import Finding, NotApplicable
from asr_tutorial.errors import CheckpointError
from asr_tutorial.training.optimizer import Schedule

YOUNG = 400
"""Steps, or the warm-up where that is longer, before which nothing is said about curves and transcripts: empty texts,
loops and a loss that seems to stand still are what the first steps of a healthy training look like."""
STILL = 0.02
"""Share by which the loss must have fallen over the second half of the log."""
JUMPS = 0.2
"""Mean change of the loss from one line of the log to the next, as a share of it."""
WORSE = 1.15
"""Factor on the lowest dev loss, or on the lowest train loss."""
LOG_LINE = re.compile(r"step (\d+) loss (\S+) .* norm (\S+) lr (\S+)")
HIGH = 0.8
"""CER of a model that has learnt next to nothing."""


@dataclass
class Records:
    """The files of a run; what is not there is empty."""

    config: Config
    metrics: dict[str, Any] = field(default_factory=dict)
    log: list[tuple[int, float, float]] = field(default_factory=list)
    """Step, loss and learning rate of each line of the log."""
    totals: dict[int, int] = field(default_factory=dict)
    """Steps that the run was to make in all, by the step that it stood at: a resumed run may have been given others."""
    samples: list[tuple[str, str]] = field(default_factory=list)
    """What was said and what was heard, of the last validation."""

    @property
    def validations(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.metrics.get("validations", [])
        return found

    @property
    def steps(self) -> int:
        """Steps that the run is known to have made."""
        return max([step for step, _, _ in self.log] + [v["step"] for v in self.validations], default=0)

    def last_dev(self) -> dict[str, float]:
        """Figures of the last validation on the first dev corpus."""
        return next(iter(self.validations[-1]["dev"].values())) if self.validations else {}

    def total_at(self, step: int) -> int:
        """Steps that the run was to make in all when it made this one; 0 where the log does not say."""
        return self.totals[max(known)] if (known := [start for start in self.totals if start < step]) else 0


def read_records(folder: Path, config: Config) -> Records:
    """Read what a run has written so far.

    Raises:
        CheckpointError: ``metrics.json`` is damaged.
    """
    records = Records(config)
    if (folder / "metrics.json").is_file():
        try:
            records.metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise CheckpointError(f"{folder / 'metrics.json'} is no JSON ({error}): take it out of the run") from error
    if (folder / "train.log").is_file():
        for line in (folder / "train.log").read_text(encoding="utf-8", errors="replace").splitlines():
            if match := LOG_LINE.search(line):
                records.log.append((int(match[1]), float(match[2]), float(match[4])))
            elif match := re.search(r"parameters, .* (\d+) steps$", line):
                total = int(match[1])
                records.totals[0] = records.totals.get(0, total)
            elif match := re.search(r"resumed at step (\d+) of (\d+)$", line):
                records.totals[int(match[1])] = int(match[2])
    if (folder / "samples.txt").is_file():
        parts = re.split(r"^== ", (folder / "samples.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)
        blocks = [part for part in parts if part and ", sample, " not in part.splitlines()[0]]
        if blocks:
            records.samples = re.findall(r"^  said  (.*)\n  heard ?(.*)$", blocks[-1], re.MULTILINE)
    return records


def finite(records: Records) -> Iterator[Finding]:
    """No NaN, and no steps that were lost."""
    losses = [loss for _, loss, _ in records.log]
    bad = [step for step, loss, _ in records.log if not math.isfinite(loss)]
    bad += [v["step"] for v in records.validations if not math.isfinite(v["train"]["loss"])]
    if bad:
        yield Finding("nan_in_run", f"the loss is not finite at step {min(bad)}")
    skipped = records.metrics.get("skipped_updates", 0)
    if skipped > 0.05 * max(records.steps, 1):
        yield Finding("nan_in_run", f"{skipped} of {records.steps} steps had no finite gradient and were not applied")
    if not losses and not records.validations:
        raise NotApplicable("the run has no figures yet")


def rates(records: Records) -> Iterator[Finding]:
    """The recorded learning rates against the schedule, by steps and by batches."""
    config = records.config.training
    known = {step: rate for step, _, rate in records.log} | {v["step"]: v["lr"] for v in records.validations}
    known = {step: rate for step, rate in known.items() if records.total_at(step)}
    if not known or config.schedule.kind == "plateau":
        raise NotApplicable("no recorded learning rates to compare with a schedule")
    peak = max(known.values())

    def distance(per_step: int) -> float:
        """Mean difference of the shares; the scale is free, for groups may have rates of their own."""
        shares = {step: Schedule(config.schedule, records.total_at(step)).factor(per_step * step - 1) for step in known}
        top = max(shares.values())
        return statistics.mean(abs(known[step] / peak - shares[step] / max(top, 1e-9)) for step in known)

    by_step, by_batch = distance(1), distance(config.accumulate)
    if by_step > 0.03 and len(known) > 1:
        counts = config.accumulate > 1 and by_batch < 0.5 * by_step
        yield Finding(
            "scheduler_counts_batches" if counts else "schedule_differs",
            f"{len(known)} recorded rates are {100 * by_step:.0f} % of the peak off on average"
            + (f", {100 * by_batch:.0f} % if batches are counted, {config.accumulate} to a step" if counts else ""),
        )


def curves(records: Records) -> Iterator[Finding]:
    """Plateau, divergence, oscillation, and dev against train."""
    _grown(records)
    losses = [loss for step, loss, _ in records.log if math.isfinite(loss)]
    dev = [next(iter(v["dev"].values())) for v in records.validations]
    cer = records.last_dev().get("cer", math.nan)
    if len(losses) >= 6:
        half = losses[len(losses) // 2 :]
        before, after = statistics.mean(half[:2]), statistics.mean(half[-2:])
        lowest = min(statistics.mean(pair) for pair in pairwise(losses))
        if after > WORSE * lowest and after > losses[0] * 0.5:
            yield Finding("diverged", f"the loss was {lowest:.2f} and is {after:.2f}")
        elif after > (1 - STILL) * before and not cer < HIGH:
            yield Finding(
                "plateau", f"loss {before:.2f} at half the log, {after:.2f} at its end; CER {100 * cer:.0f} %"
            )
        changes = [abs(right - left) / max(left, 1e-9) for left, right in pairwise(half)]
        turns = [(b - a) * (c - b) < 0 for a, b, c in zip(half, half[1:], half[2:], strict=False)]
        if statistics.mean(changes) > JUMPS and statistics.mean(turns) > 0.5:
            yield Finding(
                "oscillation", f"from line to line the loss changes by {100 * statistics.mean(changes):.0f} %"
            )
    # A Paraformer's decoder is shown true tokens in training: only its CTC losses can be compared.
    key = "ctc" if records.config.model.architecture == "paraformer" else "loss"
    heights = [figures[key] for figures in dev]
    trained = [v["train"][key] for v in records.validations]
    if len(heights) >= 3 and heights[-1] > WORSE * min(heights) and trained[-1] < trained[heights.index(min(heights))]:
        yield Finding(
            "dev_gap",
            f"dev loss {min(heights):.2f} at best, {heights[-1]:.2f} now; train has fallen to {trained[-1]:.2f}",
        )


def texts(records: Records) -> Iterator[Finding]:
    """Error rates and transcripts of the last validation."""
    _grown(records)
    figures = records.last_dev()
    if not figures:
        raise NotApplicable("no validation yet")
    if figures["cer"] > 1:
        yield Finding("cer_above_100", f"CER {100 * figures['cer']:.0f} % at step {records.validations[-1]['step']}")
    by_ear = records.config.training.validation_search in ("ctc", "prefix")
    if not by_ear and figures.get("token_accuracy", 0) > 0.8 and figures["cer"] > 0.4:
        yield Finding(
            "good_loss_bad_wer",
            f"{100 * figures['token_accuracy']:.0f} % of the tokens are right under teacher forcing, CER "
            f"{100 * figures['cer']:.0f} % in recognition",
        )
    heard = [text for _, text in records.samples]
    empty = sum(not text.strip() for text in heard)
    if empty > len(heard) / 2:
        yield Finding("empty_output", f"{empty} of {len(heard)} sample transcripts are empty")
    looping = [text for said, text in records.samples if len(text) > 1.3 * len(said) and _loops(text)]
    if len(looping) > len(heard) / 2:
        yield Finding("loops", f"{len(looping)} of {len(heard)} sample transcripts, such as {looping[0][:60]!r}")


def _loops(text: str) -> bool:
    """Whether some piece of four letters makes up a third of a text."""
    pieces = Counter(text[at : at + 4] for at in range(len(text) - 3))
    return bool(pieces) and 4 * pieces.most_common(1)[0][1] > len(text) / 3


def _grown(records: Records) -> None:
    needed = max(YOUNG, records.config.training.schedule.warmup_steps)
    if records.steps < needed:
        raise NotApplicable(f"after {records.steps} steps it is too early to judge (from {needed} on)")
