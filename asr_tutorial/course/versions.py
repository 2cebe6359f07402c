"""Other versions of an exercise than the library's: known mistakes, and right answers written independently.

They stand in ``tests/mutants/<id>.py`` and ``tests/variants/<id>.py``, several to a file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from asr_tutorial.course.manifest import REPOSITORY, Exercise
from asr_tutorial.errors import CourseError

MUTANTS = REPOSITORY / "tests" / "mutants"
VARIANTS = REPOSITORY / "tests" / "variants"


@dataclass(frozen=True)
class Cell:
    """One version of an exercise from a file of several: ``# %% kind name``, a comment, and the code."""

    kind: str
    name: str
    sentence: str
    code: str


def read_cells(path: Path) -> list[Cell]:
    """The cells of a file of mutants or variants; none where there is no file."""
    if not path.is_file():
        return []
    cells = []
    for block in re.split(r"^# %% *", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        head, *lines = block.splitlines()
        kind, _, name = head.strip().partition(" ")
        comment = []
        while lines and lines[0].startswith("#"):
            comment.append(lines.pop(0).lstrip("# ").rstrip())
        cells.append(Cell(kind, name or kind, " ".join(comment), "\n".join(lines).strip() + "\n"))
    return cells


def mutants(exercise: Exercise, kind: str = "mutant") -> list[Cell]:
    """The wrong versions of an exercise; kind ``rewritten`` gives the second copy of each."""
    return [cell for cell in read_cells(MUTANTS / f"{exercise.id}.py") if cell.kind == kind]


def variants(exercise: Exercise) -> list[Cell]:
    """Right answers that were written independently of the library."""
    return read_cells(VARIANTS / f"{exercise.id}.py")


def planted(exercise: Exercise) -> Cell:
    """The known mistake that the exercise's cell begins with.

    Raises:
        CourseError: no mutant of that name.
    """
    for cell in mutants(exercise):
        if cell.name == exercise.planted:
            return cell
    raise CourseError(f"exercise {exercise.id}: {MUTANTS / f'{exercise.id}.py'} has no mutant {exercise.planted!r}")
