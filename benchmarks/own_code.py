"""TinySpeech trained with a learner's own code and with ours, in the same number of steps: what each hears afterwards.

    python benchmarks/own_code.py [--section.key=value ...]

The learner is the robot of the tests: each exercise is answered by the first of ``tests/variants``, which was written
without looking at ours. Its training runs all of them: explicit attention, a CTC of its own, its own optimiser groups,
buckets and masks. Both trainings end with the same evaluation of the test set by joint search, each with its own code.
Written to data/results/own_code_tinyspeech.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import ROOT, significant

from asr_tutorial.course.manifest import load_course
from asr_tutorial.course.versions import variants
from asr_tutorial.training.run import environment

CORPUS = "tinyspeech/test"
BAR = 0.02
"""The learner's WER is to be at most so much above ours."""


def asr_tutorial(folder: Path, *arguments: str) -> None:
    """A command in a folder, in which the workspace lies."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    variables = {key: value for key, value in os.environ.items() if not key.startswith("ASR_TUTORIAL_")}
    command = [sys.executable, "-m", "asr_tutorial", *arguments]
    subprocess.run(command, cwd=folder, env={**variables, "PYTHONPATH": path}, check=True)


def answer_everything(workspace: Path) -> int:
    """Keep the robot's answer to each exercise, as a check that it passes would; returns how many there are."""
    (workspace / "mine").mkdir(exist_ok=True)
    exercises = [exercise for chapter in load_course() for exercise in chapter.exercises]
    for exercise in exercises:
        (workspace / "mine" / f"{exercise.id}.py").write_text(variants(exercise)[0].code, encoding="utf-8")
    return len(exercises)


def train_and_measure(folder: Path, code: str, overrides: list[str]) -> dict[str, Any]:
    """One training from the start, and error rates of the test set."""
    run, figures = folder / f"run_{code}", folder / f"{code}.json"
    asr_tutorial(folder, "train", "--config", "tinyspeech", "--code", code, "--run-dir", str(run), *overrides)
    asr_tutorial(
        folder, "evaluate", "-m", str(run), "--corpus", CORPUS, "--search", "joint", "--code", code,
        "--json", str(figures),
    )  # fmt: skip
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    found = json.loads(figures.read_text(encoding="utf-8"))
    return {
        "code": code,
        "steps": metrics["validations"][-1]["step"],
        "train_seconds": round(metrics["train_seconds"], 1),
        "wer": significant(found["wer"]),
        "cer": significant(found["cer"]),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--json", type=Path, default=ROOT / "data/results/own_code_tinyspeech.json", help="(%(default)s)"
    )
    options, overrides = parser.parse_known_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asr_tutorial(folder, "start", "workspace")
        exercises = answer_everything(folder / "workspace")
        rows = [train_and_measure(folder, code, overrides) for code in ("mine", "ours")]
    made = environment()
    record = {
        "environment": {**made, "command": f"python benchmarks/{made['command']}"},
        "corpus": CORPUS,
        "search": "joint",
        "exercises": exercises,
        "rows": rows,
    }
    options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(f"{row['code']}: {row['steps']} steps, WER {100 * row['wer']:.1f} %, CER {100 * row['cer']:.1f} %")
    if rows[0]["wer"] - rows[1]["wer"] > BAR:
        raise SystemExit("the learner's code is more than 2 points behind")


if __name__ == "__main__":
    main()
