"""Paraformer on made-up features: how well it counts and names tokens, how long it trains, what memory it takes.

    python benchmarks/paraformer_synthetic.py [--out runs/paraformer_synthetic] [--section.key=value ...]

The corpus is that of `asr-tutorial data synthetic`, the training that of `--config paraformer_synthetic`, on all cores.
Training and recognition each run in a process of their own. Its memory is the peak of its resident set; that of Python,
torch and the library, before there is a model, is given beside it. What comes of it is put into
data/results/paraformer_synthetic: the run's configuration, its metrics and curves, and `measured.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import ROOT, forget_peak, significant, status

from asr_tutorial import plots
from asr_tutorial.config import load_config
from asr_tutorial.corpus import read_corpus
from asr_tutorial.model import count_parameters
from asr_tutorial.recognizer import load
from asr_tutorial.synthetic import SyntheticTask
from asr_tutorial.training import train
from asr_tutorial.training.run import environment

SPLITS = {"train": 4000, "dev": 200, "test": 200}
"""Utterances of each part; their seeds are 1, 2 and 3."""


def training(folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Train; seconds from the first to the last step, validations included."""
    config = load_config("paraformer_synthetic", [f"data.root={folder / 'data'}", *overrides])
    shutil.rmtree(folder / "run", ignore_errors=True)
    start = time.perf_counter()
    train(config, folder / "run")
    return {"seconds": significant(time.perf_counter() - start)}


def recognition(folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Recognise the test set; the figures are those of the texts."""
    recognizer = load(folder / "run", "cpu")
    found = recognizer.evaluate(read_corpus(folder / "data" / "synthetic" / "test"))
    whole = sum(result.hypothesis == result.reference for result in found.results)
    return {
        "parameters": count_parameters(recognizer.model),
        "utterances": len(found.results),
        "wer": significant(found.wer),
        "cer": significant(found.cer),
        "sequence_accuracy": significant(whole / len(found.results)),
        "length_error": significant(
            sum(abs(len(r.hypothesis) - len(r.reference)) for r in found.results) / len(found.results)
        ),
        "rtf": significant(found.rtf),
    }


PARTS = {"training": training, "recognition": recognition}


def measured(part: str, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Run one part, in this process, and note the memory that it takes."""
    forget_peak()
    before = status("VmHWM")
    values = PARTS[part](folder, overrides)
    return {**values, "bytes": status("VmHWM"), "bytes_before": before}


def in_process(part: str, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """:func:`measured` in a new process."""
    command = [sys.executable, __file__, "--part", part, "--out", str(folder), *overrides]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path})
    return json.loads((folder / f"{part}.json").read_text(encoding="utf-8"))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/paraformer_synthetic"), help="(%(default)s)")
    parser.add_argument(
        "--results", type=Path, default=ROOT / "data/results/paraformer_synthetic", help="the record (%(default)s)"
    )
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options, overrides = parser.parse_known_args(arguments)
    folder = options.out.resolve()
    if options.part:
        values = measured(options.part, folder, [override.removeprefix("--") for override in overrides])
        (folder / f"{options.part}.json").write_text(json.dumps(values) + "\n", encoding="utf-8")
        return
    shutil.rmtree(folder / "data", ignore_errors=True)
    for seed, (split, count) in enumerate(SPLITS.items(), start=1):
        SyntheticTask().write_corpus(folder / "data" / "synthetic" / split, count, seed)
    record: dict[str, Any] = {part: in_process(part, folder, overrides) for part in PARTS}
    about = environment()
    record["environment"] = {**about, "command": f"python benchmarks/{about['command']}"}
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "measured.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for file in ("config.yaml", "metrics.json"):
        text = (folder / "run" / file).read_text(encoding="utf-8")
        # A folder of one machine means nothing on another.
        text = text.replace(str(folder / "data"), "data").replace(str(folder), str(options.out))
        (options.results / file).write_text(text, encoding="utf-8")
    plots.learning_curves(folder / "run").savefig(options.results / "curves.png", dpi=120)
    last = json.loads((options.results / "metrics.json").read_text(encoding="utf-8"))["validations"][-1]["dev"]
    for name in ("token_accuracy", "sequence_accuracy", "length_error"):
        print(f"dev {name.replace('_', ' ')}: {next(iter(last.values()))[name]:.4f}")
    for part in PARTS:
        print(f"{part}: {record[part]}")


if __name__ == "__main__":
    main()
