"""The learner's folder: copies of the chapters, the cells that passed, and what the course remembers.

::

    workspace/
        01_scaled_dot_product_attention.ipynb    what the learner edits, in Jupyter ...
        01_scaled_dot_product_attention.py       ... or as a percent script, in an editor
        mine/1.1.py                              cells that passed their checks
        backups/20260131-101500/                 what was there before the course changed a file
        .course.json                             which version of a chapter was copied, hints seen, results

Nothing here is ever overwritten without a backup, and a notebook that the learner has touched only when asked to.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

from asr_tutorial.course.checker import Feedback
from asr_tutorial.course.finder import STATE_FILE, find_workspace, kept_cells
from asr_tutorial.course.manifest import (
    CHAPTERS,
    REPOSITORY,
    Exercise,
    all_exercises,
    find_exercise,
    load_course,
)
from asr_tutorial.course.source import same_bodies, same_code, solution, splice, started, stub
from asr_tutorial.errors import CourseError

SUFFIXES = (".ipynb", ".py")


class Workspace:
    """A workspace folder.

    Args:
        folder: where it is, or will be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mine = folder / "mine"

    @classmethod
    def find(cls) -> Workspace:
        """The workspace that the environment names, that the current folder lies in, or ``workspace`` beneath it.

        Raises:
            CourseError: there is none.
        """
        for start in (Path.cwd(), Path.cwd() / "workspace", REPOSITORY / "workspace"):
            if (folder := find_workspace(start)) is not None:
                return cls(folder)
        raise CourseError(f"no workspace in or above {Path.cwd()}: make one with asr-tutorial start")

    # -------------------------------------------------------------------------------------------- copying chapters

    def start(self) -> list[str]:
        """Copy what is missing, renew what the learner has not touched; returns what was done, a line each."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shipped = self._state().get("shipped", {})
        done = []
        for chapter in load_course():
            for suffix in SUFFIXES:
                source = CHAPTERS / f"{chapter.name}{suffix}"
                if not source.is_file():
                    continue
                target, new = self.folder / source.name, _digest(source)
                if not target.exists():
                    shutil.copyfile(source, target)
                    done.append(f"added   {source.name}")
                elif shipped.get(source.name) == new:
                    continue
                elif _digest(target) in (shipped.get(source.name), new):
                    backup = self.backup(target)
                    shutil.copyfile(source, target)
                    done.append(f"renewed {source.name}, untouched by you (the old one: {self._short(backup)})")
                else:
                    done.append(
                        f"kept    {source.name} with your work; the course has a newer text: "
                        f"asr-tutorial reset {chapter.id} takes it, after a backup"
                    )
                    continue
                shipped[source.name] = new
        self._update({"shipped": shipped})
        return done or ["everything is there already"]

    def backup(self, file: Path) -> Path:
        """Copy a file into a new place in ``backups``."""
        folder = self.folder / "backups" / time.strftime("%Y%m%d-%H%M%S")
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / file.name
        count = 1
        while target.exists():
            target = folder / f"{file.stem}_{count}{file.suffix}"
            count += 1
        shutil.copy2(file, target)
        return target

    # -------------------------------------------------------------------------------------------------- reading cells

    def holds(self, exercise: Exercise) -> bool:
        """Whether the chapter of an exercise is here."""
        return bool(self._files(exercise))

    def cell(self, exercise: Exercise) -> str:
        """The learner's cell of an exercise: from the notebook or the script, whichever was worked on.

        Raises:
            CourseError: no file of the chapter here, the cell is gone, or both were worked on and differ.
        """
        found = {path: text for path in self._files(exercise) if (text := _read_cell(path, exercise)) is not None}
        if not found:
            names = " or ".join(path.name for path in self._files(exercise)) or f"chapter {exercise.chapter}"
            raise CourseError(
                f'no cell with @exercise("{exercise.id}") in {self.folder / names}: asr-tutorial start copies what is '
                f"missing, asr-tutorial reset {exercise.chapter} brings a chapter's text back after a backup"
            )
        touched = {path: text for path, text in found.items() if started(exercise, text)}
        texts = list((touched or found).values())
        if any(not same_code(texts[0], text) for text in texts[1:]):
            names = " and in ".join(path.name for path in touched)
            raise CourseError(
                f"exercise {exercise.id} was changed in {names}, in different ways: keep one "
                "and copy its cell into the other, or delete the file that you do not use"
            )
        return texts[0]

    def write_cell(self, exercise: Exercise, text: str) -> list[Path]:
        """Put a text in the place of an exercise's cell, in each file of the chapter, after a backup of each.

        Returns:
            The backups.
        """
        backups = []
        for path in self._files(exercise):
            if _read_cell(path, exercise) is not None:
                backups.append(self.backup(path))
                _write_cell(path, exercise, text)
        return backups

    def _files(self, exercise: Exercise) -> list[Path]:
        name = next(chapter.name for chapter in load_course() if chapter.id == exercise.chapter)
        return [path for suffix in SUFFIXES if (path := self.folder / f"{name}{suffix}").is_file()]

    # ------------------------------------------------------------------------------------------- progress and results

    def record(self, feedback: Feedback, cell: str) -> list[str]:
        """Remember a result, and keep the cell if it is right; returns what a learner should know, a line each."""
        exercise = feedback.exercise
        self._update({"results": self._state().get("results", {}) | {exercise.id: feedback.status}})
        if not feedback.right:
            return []
        others = {e: text for e, text in kept_cells(self.folder).items() if e.module == exercise.module}
        try:
            splice(exercise.path.read_text(encoding="utf-8"), others | {exercise: cell})
        except CourseError as error:
            return [f"  It is not kept: beside your other exercises of {exercise.module}, {error}"]
        self.mine.mkdir(parents=True, exist_ok=True)
        path = self.mine / f"{exercise.id}.py"
        if path.is_file() and path.read_text(encoding="utf-8") != cell:
            self.backup(path)
        path.write_text(cell, encoding="utf-8")
        return [f"  Kept in {self._short(path)}."]

    def status(self, exercise: Exercise) -> str:
        """``mine``, ``borrowed`` (worked on, but ours is used, or ours pasted in) or ``not started``."""
        path = self.mine / f"{exercise.id}.py"
        if path.is_file():
            ours = solution(exercise, exercise.path.read_text(encoding="utf-8"))
            return "borrowed" if same_bodies(path.read_text(encoding="utf-8"), ours) else "mine"
        result = self._state().get("results", {}).get(exercise.id, "not started")
        return result if result == "not started" else "borrowed"

    def describe_code(self) -> str:
        """Which parts of the library are the learner's, and which are borrowed, for the head of a training."""
        kept = kept_cells(self.folder)
        mine = [f"{exercise.id} {', '.join(exercise.names)}" for exercise in kept]
        borrowed = [exercise.id for exercise in all_exercises() if exercise not in kept]
        lines = [f"code: mine, from {self.folder}", *(f"  mine      {line}" for line in mine)]
        return "\n".join([*lines, f"  borrowed  {', '.join(borrowed) or 'nothing'}"])

    def reset(self, name: str) -> list[str]:
        """Bring back the stub of an exercise, or the text of a whole chapter; backs up first and returns what was done.

        Raises:
            CourseError: no exercise or chapter of this name.
        """
        chapters = {chapter.id: chapter for chapter in load_course()}
        done = []
        if name in chapters:
            for path in [self.folder / f"{chapters[name].name}{suffix}" for suffix in SUFFIXES]:
                if path.is_file():
                    done.append(f"your {path.name} is kept as {self._short(self.backup(path))}")
                    path.unlink()
            exercises = list(chapters[name].exercises)
            self.start()
        else:
            exercise = find_exercise(name)
            text = stub(exercise, exercise.path.read_text(encoding="utf-8"))
            backups = self.write_cell(exercise, text)
            done += [f"your {backup.name} is kept as {self._short(backup)}" for backup in backups]
            exercises = [exercise]
        for exercise in exercises:
            kept = self.mine / f"{exercise.id}.py"
            if kept.is_file():
                done.append(f"your answer to {exercise.id} is kept as {self._short(self.backup(kept))}")
                kept.unlink()
        results = self._state().get("results", {})
        self._update(
            {"results": {key: value for key, value in results.items() if key not in {e.id for e in exercises}}}
        )
        return done or [f"nothing of {name} was there to reset"]

    def next_hint(self, exercise: Exercise) -> tuple[int, str]:
        """The next hint of an exercise, the last one again when all were seen; its number and text."""
        seen = self._state().get("hints", {})
        number = min(seen.get(exercise.id, 0) + 1, len(exercise.hints))
        self._update({"hints": seen | {exercise.id: number}})
        return number, exercise.hints[number - 1]

    def _state(self) -> dict[str, Any]:
        path = self.folder / STATE_FILE
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            # What is in it can be found out again, the learner's work is elsewhere.
            path.replace(path.with_name(f"{STATE_FILE}.damaged"))
            return {}

    def _update(self, changes: dict[str, Any]) -> None:
        path = self.folder / STATE_FILE
        temporary = path.with_name(f"{STATE_FILE}.partial")
        temporary.write_text(json.dumps(self._state() | changes, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)

    def _short(self, path: Path) -> str:
        return str(path.relative_to(self.folder.parent))


def code_cells(path: Path) -> list[str]:
    """Texts of the code cells of a notebook or a percent script.

    Raises:
        CourseError: a file that cannot be read as one.
    """
    return [cell.source for cell in _open(path).cells if cell.cell_type == "code"]


def _open(path: Path) -> Any:
    import jupytext

    try:
        return jupytext.read(path)
    except Exception as error:  # whatever a damaged file makes of its readers
        reason = str(error).strip().split("\n")[0][:200]
        raise CourseError(
            f"{path} is not a notebook ({reason}): take it from {path.parent / 'backups'}, or delete it and start again"
        ) from error


def _is_marked(text: str, exercise: Exercise) -> bool:
    return re.search(rf"""^@exercise\(["']{re.escape(exercise.id)}["']\)""", text, re.MULTILINE) is not None


def _read_cell(path: Path, exercise: Exercise) -> str | None:
    return next((text.strip() + "\n" for text in code_cells(path) if _is_marked(text, exercise)), None)


def _write_cell(path: Path, exercise: Exercise, new: str) -> None:
    import jupytext

    notebook = _open(path)
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code" and _is_marked(cell.source, exercise))
    cell.source, cell.outputs, cell.execution_count = new.strip(), [], None
    temporary = path.with_name(f"{path.name}.partial")
    temporary.write_text(
        jupytext.writes(notebook, "ipynb" if path.suffix == ".ipynb" else "py:percent"), encoding="utf-8"
    )
    temporary.replace(path)


def _digest(path: Path) -> str:
    """Hash of what a person wrote in a chapter's file: sources, not outputs or metadata."""
    cells = [(cell.cell_type, cell.source.strip()) for cell in _open(path).cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()[:16]
