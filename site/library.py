"""References to the library by the names that one imports, though each is documented where it is defined."""

from __future__ import annotations

import importlib
from types import FunctionType
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import GoogleDocstring


def _find(target: str) -> tuple[Any, str]:
    """The object that a name leads to, and the full name under which it is documented.

    Raises:
        AttributeError: there is none.
    """
    parts = target.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        prefix = ".".join(parts[:length])
        for name in parts[length:]:
            value = getattr(value, name)
            own = getattr(value, "__qualname__", "")
            prefix = f"{value.__module__}.{own}" if own else f"{prefix}.{name}"
        return value, prefix
    raise AttributeError(target)


def find_definition(app: Sphinx, env: BuildEnvironment, node: Any, content: nodes.Element) -> nodes.Element | None:
    """Called by Sphinx for a reference without a target."""
    if node.get("refdomain") != "py" or not node["reftarget"].startswith("asr_tutorial."):
        return None
    try:
        value, name = _find(node["reftarget"])
    except AttributeError:
        return None
    domain = env.domains.python_domain
    if name in domain.objects:
        return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], name, node, content)
    # Type variables, names for types, and what is private have no entry: their name stands there without a link.
    is_private = any(part.startswith("_") for part in name.split("."))
    return content if is_private or not isinstance(value, type | FunctionType) else None


def _whole_text(docstring: Any) -> tuple[str, list[str]]:
    """The docstring of an attribute as it is: Napoleon would take what stands before a colon for its type."""
    lines = docstring._dedent(docstring._consume_to_end())
    return "", docstring.__class__(lines, docstring._config).lines()


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    GoogleDocstring._consume_inline_attribute = _whole_text  # type: ignore[method-assign]
    app.connect("missing-reference", find_definition)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
