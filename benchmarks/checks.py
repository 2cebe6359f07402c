"""How long a learner waits for a check: in a running notebook, and from a terminal that starts from nothing.

    python benchmarks/checks.py [--json data/results/checks.json] [--rounds 5]

Every exercise is checked in one notebook, with our answers, as often as there are rounds; then some of them from the
command line. The first check of a notebook may still wait for the worker that its first cell has started.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from asr_tutorial.course.manifest import Exercise, all_exercises
from asr_tutorial.course.source import solution
from asr_tutorial.course.workspace import Workspace
from asr_tutorial.training.run import environment

TIMED = """
import contextlib, io, time
begin = time.perf_counter()
with contextlib.redirect_stdout(io.StringIO()):
    check("{number}")
print(time.perf_counter() - begin)
"""
IMPORTS = """
from asr_tutorial.course import check, exercise
import torch
from torch import Tensor
"""


def in_a_notebook(exercises: list[Exercise], rounds: int) -> dict[str, list[float]]:
    """Seconds of each check of each exercise."""
    cells = [nbformat.v4.new_code_cell("from __future__ import annotations"), nbformat.v4.new_code_cell(IMPORTS)]
    for exercise in exercises:
        cells.append(nbformat.v4.new_code_cell(f"from {exercise.module} import *"))  # what signatures name
        cells.append(nbformat.v4.new_code_cell(solution(exercise, exercise.path.read_text(encoding="utf-8"))))
    timed = [(e.id, nbformat.v4.new_code_cell(TIMED.format(number=e.id))) for _ in range(rounds) for e in exercises]
    with tempfile.TemporaryDirectory() as folder:
        notebook = nbformat.v4.new_notebook(cells=[*cells, *(cell for _, cell in timed)])
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": folder}}).execute()
    seconds: dict[str, list[float]] = {}
    for number, cell in timed:
        seconds.setdefault(number, []).append(float(cell.outputs[0].text))
    return seconds


def from_a_terminal(exercises: list[Exercise], rounds: int) -> dict[str, list[float]]:
    """Seconds of ``asr-tutorial check`` as a new process."""
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        workspace.start()
        for exercise in exercises:
            workspace.write_cell(exercise, solution(exercise, exercise.path.read_text(encoding="utf-8")))
            for _ in range(rounds):
                begin = time.perf_counter()
                command = [sys.executable, "-m", "asr_tutorial", "check", exercise.id]
                subprocess.run(command, cwd=folder, check=True, capture_output=True)
                seconds.setdefault(exercise.id, []).append(time.perf_counter() - begin)
    return seconds


def summary(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Median over all checks, and the exercise that takes longest."""
    medians = {number: statistics.median(values) for number, values in seconds.items()}
    slowest = max(medians, key=medians.__getitem__)
    everything = [value for values in seconds.values() for value in values]
    return {
        "checks": len(everything),
        "median_seconds": round(statistics.median(everything), 2),
        "slowest_exercise": slowest,
        "slowest_median_seconds": round(medians[slowest], 2),
        "largest_seconds": round(max(everything), 2),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    exercises = all_exercises()
    record = {
        "environment": environment(),
        "notebook": summary(in_a_notebook(exercises, options.rounds)),
        "terminal": summary(from_a_terminal(exercises[::8], options.rounds)),
    }
    for place in ("notebook", "terminal"):
        print(place, record[place])
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
