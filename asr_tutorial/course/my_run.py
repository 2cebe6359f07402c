"""The learner's own long run, launched, gone on with and watched from a notebook, beside one that was recorded.

::

    mine = plan_run()  # what this machine and the data on it allow; nothing is started
    mine.launch()      # begin it, or go on with it, in the background
    show_run(mine)     # how far it is, and its curve beside that of a recorded run
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from asr_tutorial import plots
from asr_tutorial.corpus.read import REPOSITORY, resolve
from asr_tutorial.course.workspace import Workspace
from asr_tutorial.errors import CorpusError, CourseError

RESULTS = REPOSITORY / "data" / "results"
WORST = 10
"""Utterances of a recorded run that are shown."""
TEXTS = ("said", "heard", "what")
"""Columns of ``worst*.tsv`` that get a line of their own."""


@dataclass
class RecordedRun:
    """What the repository holds of a run.

    Attributes:
        name: of its folder in ``data/results``.
        metrics: ``metrics.json`` of the run, or of the arm of a recipe that did best; empty where there is none.
        figures: one record for each corpus and search of ``evaluation.json``: wer, cer, rtf, ...
        worst: rows of ``worst*.tsv``, the utterances with most errors, by column name.
    """

    name: str
    metrics: dict[str, Any] = field(default_factory=dict)
    figures: list[dict[str, Any]] = field(default_factory=list)
    worst: list[dict[str, str]] = field(default_factory=list)

    def table(self) -> str:
        """Error rates by corpus, model (where there are several) and search, a line each."""
        width = max((len(row["title"]) + 2 for row in self.figures if "title" in row), default=0)
        model = "model" if width else ""
        lines = [f"{'corpus':14}{model:{width}}{'search':12}{'WER %':>8}{'CER %':>8}{'RTF':>9}"]
        for row in sorted(self.figures, key=lambda row: (row["corpus"], row.get("title", ""), -row["wer"])):
            name = f"{row['corpus']:14}{row.get('title', ''):{width}}{row['search']:12}"
            rtf = f"{row['rtf']:9.4f}" if "rtf" in row else ""
            lines.append(f"{name}{100 * row['wer']:8.1f}{100 * row['cer']:8.1f}{rtf}")
        return "\n".join(lines)

    def worst_text(self, count: int = WORST) -> str:
        """The utterances that went worst, or a sentence that says that none are recorded."""
        lines = []
        for row in self.worst[:count]:
            lines.append(", ".join(f"{name}: {value}" for name, value in row.items() if name not in TEXTS))
            lines += [f"  {name + ':':7}{row[name]}" for name in TEXTS if name in row]
        return "\n".join(lines) or f"data/results/{self.name} holds no list of the worst utterances"


def recorded_run(name: str, results: Path = RESULTS) -> RecordedRun:
    """Read a recorded run; what it does not hold is empty.

    Raises:
        CourseError: there is no such folder.
    """
    folder = results / name
    if not folder.is_dir():
        known = ", ".join(sorted(path.parent.name for path in results.glob("*/evaluation.json")))
        raise CourseError(f"no recorded run {name!r} in {results}: there are {known}")
    run = RecordedRun(
        name, read_json(folder / "metrics.json"), read_json(folder / "evaluation.json").get("figures", [])
    )
    for path in sorted(folder.glob("worst*.tsv"))[:1]:
        with path.open(encoding="utf-8", newline="") as file:
            run.worst = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, escapechar="\\"))
    return run


@dataclass
class RunPlan:
    """A training that this machine can do, in a folder of its own.

    Attributes:
        config: name of the configuration.
        folder: of the run; one that exists is gone on with.
        reason: why this configuration.
        overrides: settings to change, ``--section.key=value``.
        code: ``mine``: the learner's own answers where they are right; ``ours``.
    """

    config: str
    folder: Path
    reason: str
    overrides: Sequence[str] = ()
    code: str = "mine"

    @property
    def command(self) -> list[str]:
        """What begins the run, or goes on with it: the same line does both."""
        options = ["--code", self.code, "--config", self.config, "--run-dir", str(self.folder), "--resume", "auto"]
        return [sys.executable, "-m", "asr_tutorial", "train", *options, *self.overrides]

    def __str__(self) -> str:
        options = " ".join(self.command[4:])
        return f"{self.reason}\nasr-tutorial train {options}\n{self.state()}"

    def metrics(self) -> dict[str, Any]:
        """What the run has measured so far."""
        return read_json(self.folder / "metrics.json")

    def running(self) -> bool:
        """Whether the process that :meth:`launch` has started is still there."""
        try:
            number = int(self._note.read_text(encoding="utf-8"))
            finished, _ = os.waitpid(number, os.WNOHANG)  # of a child that has ended, only its number is left
            return finished == 0
        except ChildProcessError:
            return _alive(number)
        except (OSError, ValueError):
            return False

    def finished(self) -> bool:
        """Whether the run has made its last step and measured its test sets."""
        return "test" in self.metrics() and not self.running()

    def state(self) -> str:
        """How far the run is, in a sentence."""
        metrics = self.metrics()
        done = metrics.get("validations", [])
        last = f", last validation after step {done[-1]['step']}" if done else ""
        if self.running():
            return f"running{last}"
        if "test" in metrics:
            return f"finished{last}"
        if self.folder.exists() or self._log.exists():
            return f"stopped{last}: launch() goes on with it; {self._log} says how it ended"
        return "not started"

    def launch(self) -> None:
        """Begin the run or go on with it, in a process that lives on when the notebook is closed; ``*.log`` is its log.

        Raises:
            CourseError: it is running already.
        """
        if self.running():
            raise CourseError(f"the run in {self.folder} is running already: look at it with show_run")
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self._note.write_text(str(process.pid), encoding="utf-8")

    @property
    def _log(self) -> Path:
        """What the process prints."""
        return self.folder.with_suffix(".log")

    @property
    def _note(self) -> Path:
        """The number of the process."""
        return self.folder.with_suffix(".pid")


def plan_run(folder: str | Path | None = None, config: str = "", overrides: Sequence[str] = ()) -> RunPlan:
    """The largest of our recipes that this machine and the data on it allow; nothing is started.

    100 hours of LibriSpeech where there is a GPU, 5 hours on a processor, and the bundled synthetic speech where
    nothing has been downloaded.

    Args:
        folder: of the run; default: ``runs/my_CONFIG`` in the workspace, or here where there is no workspace.
        config: a configuration to use instead.
        overrides: settings to change, ``--section.key=value``.
    """
    if config:
        reason = f"{config}, as asked for"
    elif torch.cuda.is_available() and _exists("train-clean-100"):
        config, reason = "librispeech_100h", f"train-clean-100 and a GPU ({torch.cuda.get_device_name()})"
    elif _exists("train-clean-5"):
        config, reason = "mini_librispeech", f"train-clean-5 is here; {os.cpu_count()} processor cores"
    else:
        config = "tinyspeech"
        reason = "no LibriSpeech here (asr-tutorial data download mini-librispeech brings it): the bundled speech"
    if folder is None:
        try:
            top = Workspace.find().folder
        except CourseError:
            top = Path()
        folder = top / "runs" / f"my_{config}"
    return RunPlan(config, Path(folder), reason, overrides)


def show_run(mine: RunPlan, recorded: RecordedRun | None = None) -> Figure:
    """Character error rate of the first dev set over optimiser steps: one's own run and a recorded one.

    Args:
        mine: one's own run.
        recorded: what to put beside it; None: the recorded run of the same configuration, and where there is none that
            of mini_librispeech.
    """
    if recorded is None:
        recorded = recorded_run(mine.config if (RESULTS / mine.config).is_dir() else "mini_librispeech")
    runs = {"mine": mine.metrics(), f"recorded: {recorded.name}": recorded.metrics}
    runs = {name: metrics for name, metrics in runs.items() if metrics.get("validations")}
    return plots.compare_runs(runs, by="step", title=f"My run ({mine.config}) is {mine.state().split(':')[0]}")


def read_json(path: Path) -> dict[str, Any]:
    """What a file holds; nothing where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _alive(number: int) -> bool:
    try:
        os.kill(number, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except PermissionError:  # it is there, and somebody else's
        return True
    return True


def _exists(corpus: str) -> bool:
    try:
        resolve(corpus)
    except CorpusError:
        return False
    return True
