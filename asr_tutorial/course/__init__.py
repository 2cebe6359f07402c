"""The course engine: exercises, their checks, a learner's progress, and the learner's own build of the library.

The library is the source of all code. An exercise names functions of it (``chapters/course.toml``, read by
``manifest``). ``source`` cuts stubs and solutions out of the library and splices a learner's definitions into it;
``finder`` serves the spliced modules to Python; ``worker`` runs an exercise's tests on them in a process of its own,
``mistakes`` names what went wrong, and ``checker`` talks to the worker; ``workspace`` keeps what is the learner's;
``notebook`` is what a notebook imports.

In a notebook::

    from asr_tutorial.course import check, exercise, here, show
"""

from __future__ import annotations

from typing import Any

__all__ = ["admit", "check", "exercise", "here", "show"]


def __getattr__(name: str) -> Any:
    # On first use: the finder is imported with the package itself and must cost nothing.
    if name in __all__:
        from asr_tutorial.course import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
