"""Runs checks: a warm process that forks one child for each, so that nothing a learner writes can harm anything.

``python -m asr_tutorial.course.worker`` reads one JSON request a line and answers each with one JSON line. The packages
that the library needs are imported once; each child imports the library itself, with the learner's cell spliced into
its module, and runs the exercise's tests under pytest. A child that takes too long is killed. Where there is no fork
(Windows), each check gets a process of its own.

The learner's code never runs in this process, only in the children.
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from asr_tutorial.course import mistakes
from asr_tutorial.course.finder import install
from asr_tutorial.course.manifest import REPOSITORY, Exercise, all_exercises, find_exercise

TESTS = REPOSITORY / "tests" / "exercises"
WARM = ("torch", "torch.nn.functional", "torch.utils.data", "numpy", "soundfile", "soxr", "sentencepiece", "tqdm")
"""What the library needs, imported once."""
IDLE = 0.3
"""Seconds without a request after which there is time to prepare for the next ones."""
PLUMBING = "asr_tutorial.config"
"""A module of the library that holds no exercise, and takes longest to import."""
MOST_PRINTED = 600
"""Characters of the learner's own printing that are handed back."""
MEMORY = 3 << 30
"""Bytes that a child may allocate."""


class Bounded(io.StringIO):
    """Keeps the beginning of what is printed; a flood is let go."""

    def write(self, text: str) -> int:
        if self.tell() < MOST_PRINTED:
            super().write(text[: MOST_PRINTED - self.tell()])
        return len(text)


class Collector:
    """A pytest plugin: picks the tests of one exercise and notes how each ends."""

    def __init__(self, exercise: Exercise, module_file: Path) -> None:
        self.exercise = exercise
        self.module_file = str(module_file)
        self.printed = Bounded()
        self.passed: list[str] = []
        self.failures: list[str] = []

    def pytest_configure(self, config: Any) -> None:
        config.option.tbstyle = "native"  # pytest's own style looks for source lines, which nobody reads here

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [
            item for item in items if self.exercise.id in (mark.args[0] for mark in item.iter_markers("exercise"))
        ]

    def pytest_runtest_setup(self, item: Any) -> None:
        import torch

        torch.manual_seed(0)
        sys.stdout = self.printed

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call":
            sys.stdout = sys.__stdout__

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        if call.excinfo is None:
            if call.when == "call":
                self.passed.append(_title(item))
            return
        message = self._explain(call.excinfo.value)
        if message not in self.failures:
            self.failures.append(message)

    def pytest_collectreport(self, report: Any) -> None:
        # An error while the test file is imported: the learner's cell fails as soon as the module is executed.
        if report.failed:
            self.failures.append(str(report.longrepr).strip().splitlines()[-1])

    def _explain(self, error: BaseException) -> str:
        if isinstance(error, AssertionError) and str(error).startswith("expected:"):
            return str(error)
        return f"{type(error).__name__}: {error}{self._place(error)}{_remedy(error, self.exercise)}"

    def _place(self, error: BaseException) -> str:
        mine = [entry for entry in traceback.extract_tb(error.__traceback__) if entry.filename == self.module_file]
        return f"\n      in: {mine[-1].line}" if mine and mine[-1].line else ""


def _title(item: Any) -> str:
    documentation = (item.function.__doc__ or "").strip().splitlines()
    return documentation[0].rstrip(".") if documentation else item.originalname.removeprefix("test_").replace("_", " ")


def _remedy(error: BaseException, exercise: Exercise) -> str:
    if isinstance(error, NameError):
        return (
            f"\n    note: your cell runs inside {exercise.module}, which knows only its own imports and what the cell "
            "itself defines: import what you need at the top of the cell"
        )
    if isinstance(error, NotImplementedError):
        return "\n    note: a part of the exercise is still the stub"
    return ""


def run_check(exercise: Exercise, cell: str, folder: Path, always_name: bool = False) -> dict[str, Any]:
    """Run an exercise's tests on a cell, in this process; only a process that is thrown away afterwards may do so.

    Args:
        exercise: whose tests.
        cell: the learner's cell, or any other version of it.
        folder: for the spliced module.
        always_name: look for a known mistake even when the tests pass, to prove that no right answer is accused.

    Returns:
        ``passed`` (titles of tests), ``failures`` (messages), ``mistake`` (name and sentence of a known one, or None)
        and ``printed``.
    """
    import pytest

    files = install({exercise: cell}, folder)
    collector = Collector(exercise, files[exercise.module])
    mark = f'exercise("{exercise.id}")'
    tests = [str(path) for path in sorted(TESTS.glob("test_*.py")) if mark in path.read_text(encoding="utf-8")]
    if not tests:
        return {"passed": [], "failures": [f"no test is marked {mark}"], "mistake": None, "printed": ""}
    status = pytest.main([*_pytest_options(), *tests], plugins=[collector])
    sys.stdout = sys.__stdout__
    if status != 0 and not collector.failures:
        collector.failures.append(f"the tests did not run to their end (pytest's exit code {int(status)})")
    mistake = None
    if collector.failures or always_name:
        mistake = mistakes.recognise(exercise, importlib.import_module(exercise.module))
    return {
        "passed": collector.passed,
        "failures": collector.failures,
        "mistake": mistake,
        "printed": collector.printed.getvalue(),
    }


def _pytest_options() -> list[str]:
    # unraisableexception would collect garbage ten times over, which takes longer than the tests.
    needless = ("cacheprovider", "terminal", "capture", "unraisableexception", "threadexception")
    no_plugins = [option for name in needless for option in ("-p", f"no:{name}")]
    return ["-c", os.devnull, "--rootdir", str(TESTS), "--noconftest", "-W", "ignore", *no_plugins]


def _warm_up() -> None:
    """Import what every child needs; pytest imports most of itself when it first runs."""
    import pytest

    for name in (*WARM, PLUMBING):
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        pytest.main([*_pytest_options(), folder])
    # What is there now stays: children need not look through it for garbage, which would copy their memory, too.
    gc.collect()
    gc.freeze()


def _child(request: dict[str, Any], answer: Path) -> None:
    """One check from request to answer file."""
    _limit_memory()
    exercise = find_exercise(request["exercise"])
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = run_check(exercise, request["cell"], Path(folder), request.get("always_name", False))
        except Exception as error:
            place = "".join(traceback.format_exception_only(error)).strip()
            result = {"passed": [], "failures": [place], "mistake": None, "printed": ""}
        temporary = answer.with_suffix(".partial")
        temporary.write_text(json.dumps(result), encoding="utf-8")
        temporary.replace(answer)


def _limit_memory() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    except (ImportError, ValueError, OSError):
        pass  # no such limit on this system: the time limit is left


def _run_forked(request: dict[str, Any], answer: Path) -> str:
    """Run a check in a fork; returns why there is no answer, or ``""``."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            os.setsid()  # so that whatever the learner's code starts is killed with it
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
            _child(request, answer)
            code = 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + request["timeout"]
    pause = 0.005
    while True:
        finished, status = os.waitpid(process, os.WNOHANG)
        if finished:
            break
        if answer.exists() and time.monotonic() > deadline - request["timeout"] + 2:
            deadline = time.monotonic()  # answered, but held up by threads or exit handlers of the learner's code
        if time.monotonic() > deadline:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return "" if answer.exists() else f"stopped after {request['timeout']:g} s: does a loop never end?"
        time.sleep(pause)
    if answer.exists():
        return ""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"your code made the process crash ({signal.Signals(-code).name})"
    return "your code ended the process before the tests were through (exit, or out of memory)"


def _run_spawned(request: dict[str, Any], answer: Path) -> str:
    """The same in a new interpreter, for systems without fork."""
    command = [sys.executable, "-m", "asr_tutorial.course.worker", "--once", str(answer)]
    try:
        subprocess.run(
            command,
            input=json.dumps(request),
            text=True,
            timeout=request["timeout"] + 15,  # the imports take their time
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"stopped after {request['timeout']:g} s: does a loop never end?"
    return "" if answer.exists() else "your code ended the process before the tests were through"


def serve() -> None:
    """Answer requests until the input ends."""
    if hasattr(os, "fork"):
        _warm_up()
    run = _run_forked if hasattr(os, "fork") else _run_spawned
    # Answers go out by a copy of the descriptor; whatever else is printed here must not mix with them.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        exercise = find_exercise(request["exercise"])
        if hasattr(os, "fork"):
            _import(exercise.imports)  # here, once, they are there for all the children that follow
        with tempfile.TemporaryDirectory() as folder:
            answer = Path(folder) / "answer.json"
            problem = run(request, answer)
            result = json.loads(answer.read_text(encoding="utf-8")) if answer.exists() else {}
        if problem or not result:
            result = {"passed": [], "failures": [problem], "mistake": None, "printed": ""}
        print(json.dumps(result), file=answers, flush=True)
        soon = [name for other in all_exercises() if other.chapter == exercise.chapter for name in other.imports]
        if hasattr(os, "fork") and soon and _idle():  # the learner reads: nobody has to wait for them later
            _import(soon)


def _import(modules: Iterable[str]) -> None:
    for module in modules:
        importlib.import_module(module)


def _idle() -> bool:
    """Whether no request comes for a moment."""
    return not select.select([sys.stdin], [], [], IDLE)[0]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--once"]:
        _child(json.loads(sys.stdin.read()), Path(sys.argv[2]))
    else:
        serve()
