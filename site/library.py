"""References to the library by the names that one imports, though each is documented where it is defined."""

from __future__ import annotations

import importlib
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import GoogleDocstring


def _definition(target: str) -> str:
    """The full name under which an object is documented, for any name that leads to it; ``""`` where there is none."""
    parts = target.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for place, name in enumerate(parts[length:], start=length):
            if not hasattr(value, name):
                return ""
            value = getattr(value, name)
            if isinstance(value, type):
                return ".".join([value.__module__, value.__qualname__, *parts[place + 1 :]])
        return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else ""
    return ""


def find_definition(app: Sphinx, env: BuildEnvironment, node: Any, content: nodes.Element) -> nodes.Element | None:
    """Called by Sphinx for a reference without a target."""
    if node.get("refdomain") != "py" or not node["reftarget"].startswith("asr_tutorial."):
        return None
    name = _definition(node["reftarget"])
    domain = env.domains.python_domain
    if not name or name not in domain.objects:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], name, node, content)


def _whole_text(docstring: Any) -> tuple[str, list[str]]:
    """The docstring of an attribute as it is: Napoleon would take what stands before a colon for its type."""
    lines = docstring._dedent(docstring._consume_to_end())
    return "", docstring.__class__(lines, docstring._config).lines()


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    GoogleDocstring._consume_inline_attribute = _whole_text  # type: ignore[method-assign]
    app.connect("missing-reference", find_definition)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
