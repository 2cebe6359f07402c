"""The run folder: everything that a training run leaves behind.

runs/<timestamp>_<name>/
    config.yaml      every setting
    train.log        what was printed
    metrics.json     figures of each validation, and of the test sets at the end
    results.csv      the same, one line a validation, for a spreadsheet
    samples.txt      sample transcripts of each validation
    plots/           attention maps, learning curves
    checkpoints/     best/ (a recogniser), latest/ (training state), candidates/ (weights to average)
    events.out...    TensorBoard
"""

from __future__ import annotations

import csv
import json
import logging
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import yaml

from asr_tutorial.config import Config, load_config, to_yaml
from asr_tutorial.errors import CheckpointError, ConfigError, UserError
from asr_tutorial.files import write_whole
from asr_tutorial.training.distributed import Ranks, job

logger = logging.getLogger("asr_tutorial")


class RunFolder:
    """Writes and reads the files of one run; made by :meth:`create` and :meth:`reopen`.

    Args:
        path: the folder; made when it does not exist.
        config: the run's configuration.
    """

    writes = True
    read_config: Any = staticmethod(load_config)
    """How ``config.yaml`` is read; what kind of configuration it is depends on what is trained."""

    def __init__(self, path: Path, config: Any) -> None:
        self.path = path
        self.config = config
        self.metrics: dict[str, Any] = {"validations": []}
        # First of all: when the package is missing, nothing has been made yet.
        self._wandb = _start_wandb(path, config) if config.training.wandb else None
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        (path / "plots").mkdir(exist_ok=True)
        self._file_handler = logging.FileHandler(path / "train.log", encoding="utf-8")
        self._file_handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        logger.addHandler(self._file_handler)
        logger.setLevel(logging.INFO)
        # Imported here: TensorBoard takes a second to load, and only a run needs it.
        from torch.utils.tensorboard import SummaryWriter

        self._events = SummaryWriter(str(path))

    @classmethod
    def create(cls, config: Any, path: str | Path | None = None) -> RunFolder:
        """A new run, in ``runs/<timestamp>_<name>`` unless a folder is given.

        Raises:
            ConfigError: the folder already holds a run.
        """
        if path is None:
            base = Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}_{config.name}"
            path = base
            for number in range(2, 1000):
                if not path.exists():
                    break
                path = Path(f"{base}-{number}")
        path = Path(path)
        if (path / "config.yaml").exists():
            raise ConfigError(f"{path} already holds a run: resume it with --resume {path}, or give another folder")
        run = cls(path, config)
        (path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
        run.metrics["environment"] = environment(Ranks.from_environment().device(config.training.device))
        return run

    @classmethod
    def reopen(cls, path: str | Path) -> RunFolder:
        """An existing run, to go on with.

        Raises:
            CheckpointError: the folder holds no run.
        """
        path = Path(path)
        if not (path / "config.yaml").exists():
            raise CheckpointError(f"{path} is not a run folder: it has no config.yaml")
        run = cls(path, cls.read_config(path / "config.yaml"))
        if (path / "metrics.json").exists():
            run.metrics = json.loads((path / "metrics.json").read_text(encoding="utf-8"))
        return run

    @classmethod
    def restart(cls, path: str | Path) -> RunFolder:
        """A run that stopped before it had saved a state, to begin it again in its folder."""
        run = cls.reopen(path)
        run.metrics = {"validations": [], "environment": run.metrics.get("environment", {})}
        return run

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def state(self) -> Path:
        return self.checkpoints / "latest" / "state.pt"

    def forget_after(self, step: int) -> None:
        """Drop figures of validations later than a step: a resumed run will make them again."""
        kept = [validation for validation in self.metrics["validations"] if validation["step"] <= step]
        self.metrics["validations"] = kept
        self.metrics.pop("test", None)

    def log_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Send figures to TensorBoard and, if asked for, to Weights & Biases."""
        for name, value in values.items():
            self._events.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(dict(values), step=step)

    def log_figure(self, name: str, figure: Any, step: int) -> None:
        """Keep a picture as ``plots/<name>_<step>.png`` and in TensorBoard."""
        figure.savefig(self.path / "plots" / f"{name}_{step:06d}.png")
        self._events.add_figure(name, figure, step)

    def log_samples(self, title: str, samples: list[tuple[str, str, str]]) -> None:
        """Append (id, reference, hypothesis) triples to ``samples.txt``."""
        with (self.path / "samples.txt").open("a", encoding="utf-8") as file:
            file.write(f"== {title}\n")
            for name, reference, hypothesis in samples:
                file.write(f"{name}\n  said  {reference}\n  heard {hypothesis}\n")

    def add_validation(self, record: dict[str, Any]) -> None:
        """Add the figures of a validation and write ``metrics.json`` and ``results.csv``."""
        self.metrics["validations"].append(record)
        self.write_metrics()
        rows = [_flatten(validation) for validation in self.metrics["validations"]]
        with (self.path / "results.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[-1]), extrasaction="ignore", restval="")
            writer.writeheader()
            writer.writerows(rows)

    def write_metrics(self) -> None:
        """Write ``metrics.json``, all or nothing."""
        write_whole(self.path / "metrics.json", json.dumps(self.metrics, indent=1) + "\n")

    def close(self) -> None:
        """Flush and release the log, TensorBoard and Weights & Biases."""
        self._events.close()
        if self._wandb is not None:
            self._wandb.finish()
        logger.removeHandler(self._file_handler)
        self._file_handler.close()


class SilentRun(RunFolder):
    """The run as the processes beside the first one see it: they read its files, and write none."""

    writes = False

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config
        self.metrics = {"validations": []}

    def log_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Nothing."""

    def log_figure(self, name: str, figure: Any, step: int) -> None:
        """Nothing."""

    def log_samples(self, title: str, samples: list[tuple[str, str, str]]) -> None:
        """Nothing."""

    def add_validation(self, record: dict[str, Any]) -> None:
        """Nothing."""

    def write_metrics(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def open_run(
    config: Config | None, path: str | Path | None, resume: str | Path | None, go_on: bool, ranks: Ranks
) -> tuple[RunFolder, bool]:
    """The folder of a run, new or found, and whether there is a state in it to go on from.

    The first of several processes decides, and the others do as it says.

    Args:
        config: of a new run.
        path: where a new run goes; a folder named after time and configuration when not given.
        resume: the folder of a run to go on with, in the place of both.
        go_on: a run of the same configuration in ``path`` is gone on with, not refused. Without a path, the run that
            the same torchrun began.
        ranks: the processes.

    Raises:
        ConfigError: the folder holds a run of other settings, or one that was not to be gone on with.
        CheckpointError: there is no run to resume.
    """
    if not ranks.first:
        decided: Any = ranks.gather(list[Any]())[0]
        if isinstance(decided, UserError):
            raise decided
        folder, resuming = decided
        return SilentRun(folder, load_config(folder / "config.yaml")), resuming
    try:
        run, resuming = _decide(config, path, resume, go_on)
    except UserError as error:
        ranks.gather([error])
        raise
    ranks.gather([(run.path.resolve(), resuming)])
    return run, resuming


def _decide(
    config: Config | None, path: str | Path | None, resume: str | Path | None, go_on: bool
) -> tuple[RunFolder, bool]:
    if resume is not None:
        return RunFolder.reopen(resume), True
    assert config is not None
    found = (Path(path) if path is not None else _run_of_this_job()) if go_on else None
    if found is None or not (found / "config.yaml").exists():
        return RunFolder.create(config, path), False
    saved = load_config(found / "config.yaml")
    if saved != config:
        ours, theirs = (_flatten(yaml.safe_load(to_yaml(settings))) for settings in (config, saved))
        names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
        raise ConfigError(
            f"{found} holds a run with another {', '.join(names[:5])}: give the settings that it began with, or "
            "another --run-dir"
        )
    run = RunFolder.reopen(found)
    if run.state.exists():
        return run, True
    run.close()
    return RunFolder.restart(found), False


def _run_of_this_job() -> Path | None:
    """The newest run below ``runs`` that the torchrun which started this process has begun."""
    found = []
    for path in Path("runs").glob("*/metrics.json"):
        origin = json.loads(path.read_text(encoding="utf-8")).get("environment", {})
        if job() and origin.get("job") == job():
            found.append(path)
    return max(found, key=lambda path: path.stat().st_mtime).parent if found else None


def environment(device: torch.device | None = None) -> dict[str, Any]:
    """What a recorded figure needs beside it: command, date, machine, versions, commit.

    Args:
        device: what computes; the CPU when not given.
    """
    return {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": f"{datetime.now():%Y-%m-%d %H:%M}",
        "device": device_name(device),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit(),
        **({"job": job(), "processes": Ranks.from_environment().world_size} if job() else {}),
    }


def device_name(device: torch.device | None = None) -> str:
    """The model name of a GPU or of this machine's processor."""
    if device is not None and device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str:
    """The commit of the source tree this package runs from, ``+`` when it was changed since; empty outside git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _flatten(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _start_wandb(path: Path, config: Any) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise ConfigError(
            "training.wandb is true but the package is not installed: pip install 'asr-tutorial[wandb]', "
            "or set --training.wandb=false"
        ) from error
    path.mkdir(parents=True, exist_ok=True)
    return wandb.init(project="asr-tutorial", name=path.name, dir=str(path), config=yaml.safe_load(to_yaml(config)))
