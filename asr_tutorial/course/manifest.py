"""What the course consists of: ``chapters/course.toml`` as objects."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from asr_tutorial.errors import CourseError

REPOSITORY = Path(__file__).resolve().parents[2]
CHAPTERS = REPOSITORY / "chapters"
PACKAGE = REPOSITORY / "asr_tutorial"


@dataclass(frozen=True)
class Exercise:
    """One exercise: the functions and methods of one library module that the learner writes.

    Attributes:
        id: chapter and number, such as ``2.1``.
        title: a few words.
        module: full name of the library module.
        names: functions, or methods as ``Class.method``.
        minutes: what a learner needs, about.
        difficulty: 1 to 5.
        core: whether it belongs to the chapter's core.
        planted: for something to be repaired: the mutant of this name stands in the cell instead of a blank.
        append: a line put at the end of the module when the learner's version is in use.
        imports: modules that its tests need and that take long to import; a worker has them before it checks.
        hints: from a nudge to nearly the answer.
        chapter: the chapter's id, such as ``02``.
    """

    id: str
    title: str
    module: str
    names: tuple[str, ...]
    minutes: int
    difficulty: int
    core: bool = True
    planted: str = ""
    append: str = ""
    imports: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    chapter: str = ""

    @property
    def objects(self) -> list[str]:
        """Top-level names that a check hands back, each once and in order: functions, and classes of methods."""
        return list(dict.fromkeys(name.split(".")[0] for name in self.names))

    @property
    def path(self) -> Path:
        """The library's file of the module."""
        return REPOSITORY / Path(*self.module.split(".")).with_suffix(".py")


@dataclass(frozen=True)
class Chapter:
    """One chapter: ``chapters/<name>.py`` and what is to be written in it."""

    id: str
    name: str
    title: str
    hours: float
    exercises: tuple[Exercise, ...] = ()


@cache
def load_course() -> tuple[Chapter, ...]:
    """The chapters in order.

    Raises:
        CourseError: the course's files are not there: the package was installed without its repository.
    """
    path = CHAPTERS / "course.toml"
    if not path.is_file():
        raise CourseError(
            f"no course at {CHAPTERS}: exercises need a clone of the repository, installed with pip install -e ."
        )
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["chapter"]
    return tuple(_chapter(**row) for row in rows)


def _chapter(exercise: list[dict[str, Any]] | None = None, **row: Any) -> Chapter:
    exercises = tuple(
        Exercise(**entry | {key: tuple(entry.get(key, ())) for key in ("names", "imports", "hints")}, chapter=row["id"])
        for entry in exercise or ()
    )
    return Chapter(**row, exercises=exercises)


def all_exercises() -> list[Exercise]:
    """Every exercise of the course, in order."""
    return [exercise for chapter in load_course() for exercise in chapter.exercises]


def find_exercise(number: str) -> Exercise:
    """The exercise with an id.

    Raises:
        CourseError: there is none.
    """
    exercises = {exercise.id: exercise for exercise in all_exercises()}
    if number not in exercises:
        raise CourseError(f"no exercise {number!r}: choose one of {', '.join(exercises)}")
    return exercises[number]
