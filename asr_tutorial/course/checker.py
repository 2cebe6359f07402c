"""Asks the worker for a check and says in words what came of it."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import textwrap
import threading
from dataclasses import dataclass, field
from typing import Any

from asr_tutorial.course.finder import CODE
from asr_tutorial.course.manifest import Exercise
from asr_tutorial.course.source import CellError, splice, started
from asr_tutorial.errors import CourseError

TIME_LIMIT = 20.0
"""Seconds for the tests of one exercise; right answers take a small part of one."""
WIDTH = 88
"""Columns that feedback is folded to."""
MOST_FAILURES = 2
"""Failures that are shown: the first says most."""


@dataclass
class Feedback:
    """What a check found.

    Attributes:
        exercise: which exercise.
        status: ``right``, ``wrong`` or ``not started``.
        passed: what was verified.
        failures: expected, got and why, one text a failed test.
        mistake: name of the known mistake that the answer is.
        sentence: what a learner should read about it.
        printed: what the learner's code printed meanwhile.
    """

    exercise: Exercise
    status: str
    passed: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    mistake: str = ""
    sentence: str = ""
    printed: str = ""

    @property
    def right(self) -> bool:
        return self.status == "right"

    def __str__(self) -> str:
        exercise = self.exercise
        head = f"Exercise {exercise.id}, {exercise.title}: "
        if self.status == "not started":
            return head + f"NOT STARTED. The notebook goes on with our version of {', '.join(exercise.objects)}."
        if self.right:
            lines = [head + "right. Verified:", *(f"  - {title}" for title in dict.fromkeys(self.passed))]
        else:
            lines = [head + "NOT RIGHT YET. The notebook goes on with our version."]
            if self.sentence:
                lines.append(_wrapped(f"A known mistake. {self.sentence}", 2, 2))
            for failure in self.failures[:MOST_FAILURES]:
                lines += ["", *(_wrapped(line, 2, 12) for line in failure.splitlines())]
            if len(self.failures) > MOST_FAILURES:
                lines += ["", f"  ... and {len(self.failures) - MOST_FAILURES} more that may have the same cause"]
            lines += ["", f"  Stuck? asr-tutorial hint {exercise.id}"]
        if self.printed:
            lines += ["", "  Your code printed:", textwrap.indent(self.printed.rstrip(), "  | ")]
        return "\n".join(lines)


def _wrapped(line: str, indent: int, hanging: int) -> str:
    if len(line) <= WIDTH:
        return " " * indent + line
    hang = " " * hanging
    # A word with a hyphen, "log-probabilities" say, stays whole: who searches for it finds it.
    return textwrap.fill(line, WIDTH, initial_indent=" " * indent, subsequent_indent=hang, break_on_hyphens=False)


class Checker:
    """A worker process and the conversation with it; one is enough for a program."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._ready = False

    def start(self) -> None:
        """Start the worker, which takes a second or two, without waiting for it."""
        with self._lock:
            self._start()

    def check(self, exercise: Exercise, cell: str, always_name: bool = False) -> Feedback:
        """Run the exercise's tests on a cell.

        Args:
            exercise: whose tests.
            cell: source text.
            always_name: see :func:`asr_tutorial.course.worker.run_check`.
        """
        if not started(exercise, cell):
            return Feedback(exercise, "not started")
        try:
            splice(exercise.path.read_text(encoding="utf-8"), {exercise: cell})
        except CellError as error:
            return Feedback(exercise, "wrong", failures=[str(error)])
        request = {"exercise": exercise.id, "cell": cell, "timeout": TIME_LIMIT, "always_name": always_name}
        result = self._ask(request)
        right = bool(result["passed"]) and not result["failures"]
        mistake = result["mistake"] or {"name": "", "sentence": ""}
        return Feedback(
            exercise,
            "right" if right else "wrong",
            result["passed"],
            result["failures"] or ([] if right else ["no test ran"]),
            mistake["name"],
            mistake["sentence"],
            result["printed"],
        )

    def close(self) -> None:
        """End the worker."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process, self._ready = None, False

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        # The worker splices in what it is told to: the learner's other code must not come in by the environment.
        environment = {name: value for name, value in os.environ.items() if name != CODE}
        environment |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "asr_tutorial.course.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._ready = False
        atexit.register(self.close)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            for _ in range(2):  # a worker that died since the last check is replaced once
                self._start()
                assert self._process is not None
                assert self._process.stdin is not None
                assert self._process.stdout is not None
                try:
                    self._process.stdin.write(json.dumps(request) + "\n")
                    self._process.stdin.flush()
                    if not self._ready:
                        self._ready = "ready" in self._process.stdout.readline()
                    answer = self._process.stdout.readline()
                except OSError:
                    answer = ""
                if answer:
                    return json.loads(answer)
                self.close()
        raise CourseError("the process that runs checks does not start: try asr-tutorial check in a terminal")


CHECKER = Checker()
"""This program's."""
