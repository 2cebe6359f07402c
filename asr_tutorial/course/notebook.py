"""What a chapter's notebook imports: ``exercise``, ``check``, ``here``, ``show`` and ``admit``."""

from __future__ import annotations

import importlib
import linecache
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from asr_tutorial.course.checker import CHECKER
from asr_tutorial.course.finder import find_workspace, install, kept_cells
from asr_tutorial.course.manifest import CHAPTERS, PACKAGE, REPOSITORY, Exercise, find_exercise
from asr_tutorial.course.mistakes import version
from asr_tutorial.course.source import find_source, parts, solution
from asr_tutorial.course.versions import planted
from asr_tutorial.course.workspace import Workspace
from asr_tutorial.errors import CourseError

_cells: dict[str, str] = {}
_adopted: dict[str, str] = {}  # exercise: the cell whose definitions this process's library has


def exercise(number: str) -> Callable[[Any], Any]:
    """Mark a cell as the learner's answer to an exercise: ``@exercise("2.1")`` above its first definition.

    A function is left as it is. A class of methods is joined to the library's class, so that the cells below can try it
    at once.
    """
    found = find_exercise(number)
    frame = sys._getframe(1)
    _cells[number] = _cell_text(frame.f_code.co_filename, frame.f_lineno)

    def mark(definition: Any) -> Any:
        if isinstance(definition, type):
            library_class = getattr(importlib.import_module(found.module), definition.__name__)
            methods = {
                name: value for name, value in vars(definition).items() if name not in ("__dict__", "__weakref__")
            }
            return type(definition.__name__, (library_class,), methods | {"__doc__": library_class.__doc__})
        return definition

    return mark


def check(number: str) -> Any:
    """Check the answer to an exercise, say what came of it, and hand back what the notebook goes on with.

    Returns:
        The learner's function or class where it is right, else the library's; a tuple where there are several.
    """
    found = find_exercise(number)
    if number not in _cells:
        print(f"Exercise {number}: run the cell above that begins with @exercise({number!r}) first.")
    else:
        feedback = CHECKER.check(found, _cells[number])
        print(feedback)
        workspace = _workspace()
        if workspace is not None:
            for line in workspace.record(feedback, _cells[number]):
                print(line)
        if feedback.right:
            adopt(found, _cells[number])
        elif found.id in _adopted:
            adopt(found, solution(found, found.path.read_text(encoding="utf-8")))
    module = importlib.import_module(found.module)
    objects = tuple(getattr(module, name) for name in found.objects)
    return objects[0] if len(objects) == 1 else objects


def admit(number: str) -> ModuleType:
    """The script of an exercise as it came in, with the planted mistake, beside the library's own.

    Raises:
        CourseError: nothing is planted in this exercise.
    """
    found = find_exercise(number)
    return version(found, planted(found).code)


def show(name: str) -> None:
    """Print the library's source of something: ``show("attention.MultiHeadAttention.__init__")``."""
    parts = name.removeprefix("asr_tutorial.").split(".")
    for end in range(len(parts), 0, -1):
        path = PACKAGE.joinpath(*parts[:end])
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            print(find_source(text, ".".join(parts[end:])) if parts[end:] else text)
            return
    raise CourseError(f"no asr_tutorial.{name}")


def here(chapter: str) -> None:
    """Draw the whole recogniser with the parts of one chapter marked."""
    from IPython.display import SVG, display

    picture = (REPOSITORY / "docs" / "model.svg").read_text(encoding="utf-8")
    marked = (
        f".ch{chapter} .box {{ fill-opacity: .45; stroke-width: 3; }} .ch{chapter} .badge {{ fill: var(--accent); }} "
        f".ch{chapter} .number {{ fill: var(--paper); }} .ch{chapter} text {{ font-weight: bold; }}"
    )
    display(SVG(picture.replace("</style>", f"{marked}\n</style>", 1)))


def adopt(found: Exercise, cell: str) -> None:
    """Put a cell's definitions into the library of this very process.

    Functions are replaced wherever a module of the package has imported them; methods in their class, so that objects
    that exist already use them too.
    """
    module = importlib.import_module(found.module)
    filename = f"<exercise {found.id}>"
    linecache.cache[filename] = (len(cell), None, cell.splitlines(keepends=True), filename)
    helpers, definitions = parts(found, cell)
    exec(compile(helpers, filename, "exec"), module.__dict__)
    new: dict[str, Any] = {}
    exec(compile(definitions, filename, "exec"), module.__dict__, new)
    for name in found.objects:
        old = getattr(module, name)
        if isinstance(old, type):
            for key, method in vars(new[name]).items():
                if isinstance(method, FunctionType | staticmethod | classmethod):
                    setattr(old, key, _bound_to(old, method))
            continue
        for other in [m for n, m in list(sys.modules.items()) if n.startswith("asr_tutorial.")]:
            for key in [key for key, value in vars(other).items() if value is old]:
                setattr(other, key, new[name])
    exec(found.append, module.__dict__)
    _adopted[found.id] = cell


def _bound_to(owner: type, method: Any) -> Any:
    """A method whose ``super()`` looks at the class that it is moved to."""
    function = getattr(method, "__func__", method)
    function.__qualname__ = f"{owner.__qualname__}.{function.__name__}"
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if name == "__class__":
            cell.cell_contents = owner
    return method


def _cell_text(filename: str, line: int) -> str:
    """The text of the notebook cell, or of the percent cell of a script, that a line belongs to."""
    lines = "".join(linecache.getlines(filename)).splitlines()
    if not lines:
        raise CourseError("the text of this cell cannot be found: run it in Jupyter, or in an editor's notebook view")
    marks = [index for index, text in enumerate(lines) if re.match(r"# ?%%", text)]
    first = max((index + 1 for index in marks if index < line), default=0)
    after = min((index for index in marks if index >= line), default=len(lines))
    return "\n".join(lines[first:after]).strip() + "\n"


def _workspace() -> Workspace | None:
    """The learner's workspace; none for the course's own notebooks, which must not touch it."""
    if Path.cwd().resolve() in (CHAPTERS, REPOSITORY / "solutions"):
        return None
    folder = find_workspace()
    return Workspace(folder) if folder is not None else None


def _begin() -> None:
    """Start the worker, and let the library have what the learner has finished before."""
    CHECKER.start()
    workspace = _workspace()
    if workspace is None:
        return
    kept = kept_cells(workspace.folder)
    late = {e: cell for e, cell in kept.items() if e.module in sys.modules}
    install({e: cell for e, cell in kept.items() if e not in late}, workspace.folder / ".spliced")
    for found, cell in late.items():
        adopt(found, cell)
    _adopted.update({found.id: cell for found, cell in kept.items()})


_begin()
