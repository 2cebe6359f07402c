"""The page of the command line: what `asr-tutorial COMMAND --help` says, of every command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer.main

from asr_tutorial.cli import app


def commands(command: Any = None, name: str = "asr-tutorial") -> Iterator[tuple[str, Any]]:
    """Each command that does something, by its full name."""
    command = command or typer.main.get_command(app)
    if not hasattr(command, "commands"):
        yield name, command
    for word, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{name} {word}")


def page() -> str:
    """The page as Markdown."""
    text = [
        "# The command line\n",
        "Everything that `asr-tutorial` does; `asr-tutorial COMMAND --help` prints the same. Where a command takes "
        "settings, any of them is given as `--section.key=value`.\n",
    ]
    for name, command in commands():
        text += [f"## {name}\n", _described(command.help or ""), _parameters(command.params), ""]
    return "\n".join(text)


def _described(help_text: str) -> str:
    """Help as Markdown: what stands below "Example:" is code."""
    help_text = re.sub(r"\[bold\](.*?)\[/bold\]", r"`\1`", help_text).replace("\\[", "[")
    parts = re.split(r"\n*Examples?:\n", help_text, maxsplit=1)
    prose, examples = parts if len(parts) == 2 else (help_text, "")
    prose = re.sub(r"(?<![`\w])(<\w+>|--[\w-]+(?:[.=][\w.=]+)?)", r"`\1`", prose)
    lines = [line.strip() for line in examples.splitlines() if line.strip()]
    return "\n".join([prose, "", *(["```sh", *lines, "```", ""] if lines else [])])


def _parameters(parameters: list[Any]) -> str:
    rows = []
    for parameter in parameters:
        is_option = parameter.opts[0].startswith("-")
        name = (
            ", ".join(f"`{option}`" for option in parameter.opts)
            if is_option
            else f"`{parameter.metavar or parameter.name.upper()}`"
        )
        what = parameter.help or ""
        if parameter.required:
            what += " Required."
        elif parameter.default not in (None, False, "") and "default" not in what:
            what += f" Default: {getattr(parameter.default, 'value', parameter.default)}."
        cells = [cell.replace("|", r"\|").replace("*", r"\*") for cell in (name, what)]
        rows.append(f"| {cells[0]} | {cells[1]} |")
    return "\n".join(["| | |", "|---|---|", *rows, ""]) if rows else ""
