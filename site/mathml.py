"""Formulas as MathML, made when the site is built: browsers draw it without a script and without a network."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging

# Names of functions that the converter lacks: it would print them with their backslash.
UNKNOWN = re.compile(r"\\(arg)(?![A-Za-z])")
logger = logging.getLogger(__name__)


def mathml(latex: str, display: str) -> str:
    """The MathML of a formula; its source stays with it, for screen readers and for whoever copies it."""
    text = convert(UNKNOWN.sub(r"\\operatorname{\1}", latex.strip()), display=display)
    return text.replace("<math ", f'<math alttext="{escape(" ".join(latex.split()), quote=True)}" ', 1)


def _rendered(node: nodes.Node, display: str) -> str:
    try:
        return mathml(node.astext(), display)
    except Exception as error:  # whatever the parser meets: it becomes a warning, and a warning ends the build
        logger.warning("a formula cannot be read (%r): %s", error, node.astext(), location=node)
        return f"<code>{escape(node.astext())}</code>"


def visit_inline(translator: Any, node: nodes.math) -> None:
    """A formula within a sentence."""
    translator.body.append(_rendered(node, "inline"))
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.math_block) -> None:
    """A formula on a line of its own."""
    translator.body.append(f'<div class="math-block">{_rendered(node, "block")}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
