"""For courses with a class: one file to hand in, and a table of what is right in many of them.

Grading trusts nothing in a submission but the cells: each is checked anew, in a process of its own, with the tests of
the course that grades. What a submission's own results say is not read. A cell is a program, and grading runs it: the
checker limits its time and memory, not what it may read. Grade on a machine, or in a container, where that is fine.
"""

from __future__ import annotations

import csv
import io
import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from asr_tutorial.course.checker import CHECKER
from asr_tutorial.course.manifest import all_exercises
from asr_tutorial.course.source import started
from asr_tutorial.course.workspace import Workspace
from asr_tutorial.errors import CourseError

FORMAT = "asr_tutorial submission 1"


@dataclass
class Answer:
    """One answered exercise: the cell, and what the learner's own check said."""

    cell: str
    status: str


@dataclass
class Submission:
    """What a learner hands in."""

    name: str
    created: str
    versions: dict[str, str]
    answers: dict[str, Answer] = field(default_factory=dict)
    format: str = FORMAT

    @property
    def right(self) -> int:
        """Answers that the learner's own checks passed."""
        return sum(answer.status == "right" for answer in self.answers.values())

    def write(self, path: Path) -> None:
        """Write it as JSON.

        Raises:
            CourseError: the file cannot be written.
        """
        try:
            path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise CourseError(f"cannot write {path}: {error.strerror}") from error

    @classmethod
    def read(cls, path: Path) -> Submission:
        """Read a submission.

        Raises:
            CourseError: the file is not one.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"its format is {content['format']!r}, not {FORMAT!r}")
            answers = {number: Answer(**answer) for number, answer in content["answers"].items()}
            if not all(isinstance(answer.cell, str) for answer in answers.values()):
                raise ValueError("a cell is no text")
            return cls(**{**content, "answers": answers})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CourseError(f"{path} is not a submission: {error}") from error


def make_submission(workspace: Workspace, name: str, on_progress: Callable[[str], None]) -> Submission:
    """Check whatever has been started in a workspace and put it together.

    Raises:
        CourseError: nothing has been started.
    """
    submission = Submission(name, datetime.now(UTC).isoformat(timespec="seconds"), _versions())
    for exercise in all_exercises():
        if not workspace.holds(exercise):  # a chapter that came after the workspace: nothing can be started there
            continue
        cell = workspace.cell(exercise)
        if started(exercise, cell):
            feedback = CHECKER.check(exercise, cell)
            workspace.record(feedback, cell)
            submission.answers[exercise.id] = Answer(cell, feedback.status)
            on_progress(f"{exercise.id} {exercise.title}: {feedback.status}")
    if not submission.answers:
        raise CourseError(f"nothing to hand in: no exercise in {workspace.folder} has been started")
    return submission


def grade_folder(folder: Path, on_progress: Callable[[str], None]) -> list[dict[str, Any]]:
    """Check every answer of every submission (``*.json``) in a folder.

    Returns:
        A row each: file, name, core and all exercises that are right, then a column for each exercise with ``right``,
        ``wrong``, the name of a known mistake, or nothing where it was not answered. A file that is no submission gets
        a row that says so.

    Raises:
        CourseError: no JSON file there.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise CourseError(f"no submissions (*.json) in {folder}")
    rows = []
    for file in files:
        row: dict[str, Any] = {"file": file.name, "name": "", "core_right": 0, "all_right": 0, "problem": ""}
        try:
            submission = Submission.read(file)
        except CourseError as error:
            rows.append(row | {"problem": str(error)})
            continue
        row["name"] = submission.name
        for exercise in all_exercises():
            if exercise.id not in submission.answers:
                row[exercise.id] = ""
                continue
            feedback = CHECKER.check(exercise, submission.answers[exercise.id].cell)
            row[exercise.id] = f"wrong: {feedback.mistake}" if feedback.mistake else feedback.status
            row["all_right"] += feedback.right
            row["core_right"] += feedback.right and exercise.core
        on_progress(f"{file.name}: {row['core_right']} core, {row['all_right']} in all")
        rows.append(row)
    return rows


def write_csv(rows: list[dict[str, Any]], path: Path | None) -> str:
    """The rows as CSV text, also written to a file if one is named."""
    text = io.StringIO()
    columns = ["file", "name", "core_right", "all_right", *(e.id for e in all_exercises()), "problem"]
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _harmless(value) for key, value in row.items()} for row in rows)
    if path is not None:
        try:
            path.write_text(text.getvalue(), encoding="utf-8")
        except OSError as error:
            raise CourseError(f"cannot write {path}: {error.strerror}") from error
    return text.getvalue()


def _harmless(value: Any) -> Any:
    """A name that a spreadsheet would take for a formula, as text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("asr-tutorial", "torch", "numpy")}
    return {"python": platform.python_version(), "system": platform.platform(), **packages}
