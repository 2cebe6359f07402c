"""Known mistakes, recognised by what they do.

``tests/mutants/<id>.py`` holds wrong versions of an exercise, each with the sentence that a learner should read. A
*probe* (in the exercise's test file) feeds fixed inputs to the exercise's module and yields what comes out. A wrong
answer whose outputs are those of a mutant is the same mistake, however it is written.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

from asr_tutorial.course.manifest import Exercise
from asr_tutorial.course.source import solution, splice
from asr_tutorial.course.versions import mutants

TOLERANCE = 1e-4

Probe = Callable[[ModuleType], Iterable[Any]]


def recognise(exercise: Exercise, module: ModuleType) -> dict[str, str] | None:
    """Which known mistake a module behaves like: name and sentence, or None.

    Args:
        exercise: one whose test file has been imported.
        module: the exercise's module with the learner's version in it.
    """
    probe = _probe(exercise)
    if probe is None:
        return None
    theirs = outputs(probe, module)
    if agree(theirs, outputs(probe, version(exercise, None))):
        return None
    for mutant in mutants(exercise):
        if agree(theirs, outputs(probe, version(exercise, mutant.code))):
            return {"name": mutant.name, "sentence": mutant.sentence}
    return None


def outputs(probe: Probe, module: ModuleType) -> list[Any]:
    """What a probe yields; an exception ends the list with its kind and message."""
    import torch

    torch.manual_seed(0)
    found: list[Any] = []
    try:
        for value in probe(module):
            found.append(_plain(value))
    except Exception as error:
        found.append(f"{type(error).__name__}: {error}")
    return found


def agree(first: Any, second: Any) -> bool:
    """Whether two outputs are the same up to rounding; NaN equals NaN."""
    import numpy as np

    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return first.shape == second.shape and np.allclose(first, second, TOLERANCE, TOLERANCE, equal_nan=True)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(agree, first, second))
    return type(first) is type(second) and bool(first == second)


def _plain(value: Any) -> Any:
    """Tensors, arrays and numbers as float64 arrays, sequences as lists, all else as text."""
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().cpu().double().numpy().copy()
    if isinstance(value, np.ndarray | np.number | int | float) and not isinstance(value, bool):
        return np.array(value, dtype=np.float64)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    return value if isinstance(value, str) else repr(value)


def _probe(exercise: Exercise) -> Probe | None:
    for module in list(sys.modules.values()):
        probes = getattr(module, "PROBES", None)
        if isinstance(probes, dict) and exercise.id in probes:
            return probes[exercise.id]
    return None


def version(exercise: Exercise, code: str | None) -> ModuleType:
    """The exercise's module with some version of the exercise in it, ours for None, beside the one in use."""
    library = exercise.path.read_text(encoding="utf-8")
    text = splice(library, {exercise: solution(exercise, library) if code is None else code})
    module = ModuleType(exercise.module)
    module.__file__ = str(exercise.path)
    exec(compile(text, f"<{exercise.module}>", "exec"), module.__dict__)
    return module
