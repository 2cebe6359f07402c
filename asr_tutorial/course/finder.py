"""Serves the library with the learner's definitions in it: what ``ASR_TUTORIAL_CODE=mine`` switches on.

Only the learner's cells are stored. Each time Python starts they are spliced into today's library, so that they stay
right when the library is updated. The spliced text is kept as a file, named by its hash: tracebacks, debuggers and
``inspect`` show it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from asr_tutorial.course.manifest import Exercise, all_exercises
from asr_tutorial.course.source import splice
from asr_tutorial.errors import CourseError

CODE = "ASR_TUTORIAL_CODE"
"""Environment variable: ``ours`` (default) or ``mine``."""
WORKSPACE = "ASR_TUTORIAL_WORKSPACE"
"""Environment variable: the learner's folder."""
STATE_FILE = ".course.json"
"""Marks a folder as a workspace."""


class Finder:
    """A meta-path finder that takes some modules from other files than the package's."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.files = dict(files)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.files:
            return None
        return importlib.util.spec_from_file_location(fullname, self.files[fullname])


def install(cells: Mapping[Exercise, str], folder: Path) -> dict[str, Path]:
    """Serve the modules of some exercises with the given cells in them, from now on.

    Args:
        cells: cell text by exercise.
        folder: where the spliced files are kept.

    Returns:
        The file of each module.

    Raises:
        CourseError: a module was imported already, or a cell cannot be spliced.
    """
    by_module: dict[str, dict[Exercise, str]] = defaultdict(dict)
    for exercise, cell in cells.items():
        by_module[exercise.module][exercise] = cell
    late = sorted(by_module.keys() & sys.modules.keys())
    if late:
        raise CourseError(f"{', '.join(late)} was imported before the learner's code could be put in")
    files = {module: write_spliced(module, cells, folder) for module, cells in by_module.items()}
    sys.meta_path.insert(0, Finder(files))
    return files


def write_spliced(module: str, cells: Mapping[Exercise, str], folder: Path) -> Path:
    """The file with a module's spliced source, written if it is not there yet."""
    library = next(iter(cells)).path.read_text(encoding="utf-8")
    text = splice(library, cells)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = folder / f"{module.rpartition('.')[2]}_{digest}.py"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.partial")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    return path


def find_workspace(start: Path | None = None) -> Path | None:
    """The workspace that the environment names, else the one that a folder (default: the current one) lies in."""
    if os.environ.get(WORKSPACE):
        return Path(os.environ[WORKSPACE]).expanduser()
    start = (start or Path.cwd()).resolve()
    return next((folder for folder in (start, *start.parents) if (folder / STATE_FILE).is_file()), None)


def kept_cells(workspace: Path) -> dict[Exercise, str]:
    """The learner's cells that passed their checks, by exercise, in the order of the course."""
    files = {path.stem: path for path in (workspace / "mine").glob("*.py")}
    return {e: files[e.id].read_text(encoding="utf-8") for e in all_exercises() if e.id in files}


def install_mine() -> None:
    """What ``ASR_TUTORIAL_CODE=mine`` asks for; called when the package is imported.

    Raises:
        CourseError: the variable has another value, or no workspace is found.
    """
    choice = os.environ.get(CODE, "ours")
    if choice == "ours":
        return
    if choice != "mine":
        raise CourseError(f"{CODE} must be ours or mine, not {choice!r}")
    workspace = find_workspace() or find_workspace(Path.cwd() / "workspace")
    if workspace is None:
        raise CourseError(
            f"no workspace in or above {Path.cwd()}: run asr-tutorial start first, or name its folder in {WORKSPACE}"
        )
    os.environ[WORKSPACE] = str(workspace)  # for worker processes, wherever they run
    install(kept_cells(workspace), workspace / ".spliced")
