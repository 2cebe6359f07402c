"""What the commands share: errors without traceback, overrides, and the log on the terminal."""

from __future__ import annotations

import enum
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from asr_tutorial.errors import ConfigError, Stopped, UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class SearchName(enum.StrEnum):
    """Choices of ``--search``."""

    greedy = "greedy"
    ctc = "ctc"
    prefix = "prefix"
    attention = "attention"
    joint = "joint"
    parallel = "parallel"


class CodeName(enum.StrEnum):
    """Choices of ``--code``."""

    ours = "ours"
    mine = "mine"


def use_code(choice: CodeName) -> CodeName:
    """Start the program anew with other code than it has now, if that is asked for.

    The learner's code must be in place before any module of the library is imported. The environment carries the choice
    to worker processes.
    """
    from asr_tutorial.course.finder import CODE, WORKSPACE
    from asr_tutorial.course.workspace import Workspace

    if choice == os.environ.get(CODE, CodeName.ours):
        if choice is CodeName.mine:
            typer.echo(Workspace.find().describe_code(), err=True)
        return choice
    environment = {**os.environ, CODE: choice.value}
    if choice is CodeName.mine:
        environment[WORKSPACE] = str(Workspace.find().folder)
    command = [sys.executable, "-m", "asr_tutorial", *sys.argv[1:]]
    if os.name == "nt":  # exec would let the prompt come back at once
        raise SystemExit(subprocess.run(command, env=environment, check=False).returncode)
    os.execve(sys.executable, command, environment)


STOPPED = 75
"""Exit code of a training that a signal has stopped: "try again later" (EX_TEMPFAIL of sysexits.h)."""
passes_overrides = {"allow_extra_args": True, "ignore_unknown_options": True}
"""For commands that take settings as ``--section.key=value``: ``load_config`` checks what typer does not know."""


class Commands(TyperGroup):
    """The top command: mistakes of the user end in one line and exit code 2, interruptions in a hint and 130."""

    def invoke(self, ctx: Any) -> Any:
        started = time.time()
        rank, processes = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
        try:
            return super().invoke(ctx)
        except Stopped as error:
            if rank == "0":
                typer.echo(str(error), err=True)
            # torchrun takes anything but 0 for a failure, and would start the processes again.
            raise typer.Exit(0 if "TORCHELASTIC_RUN_ID" in os.environ else STOPPED) from error
        except UserError as error:
            where = f" in process {rank} of {processes}" if processes != "1" else ""
            typer.echo(f"error{where}: {error}", err=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            typer.echo(f"\ninterrupted{_how_to_resume(started)}", err=True)
            raise typer.Exit(130) from error


def overrides_of(arguments: Sequence[str]) -> list[str]:
    """The settings among the arguments, as ``key=value``; both ``--key=value`` and ``--key value`` are understood.

    Raises:
        ConfigError: an argument that is neither.
    """
    overrides: list[str] = []
    waiting = ""
    for argument in arguments:
        if waiting:
            overrides.append(f"{waiting}={argument}")
            waiting = ""
        elif not argument.startswith("--"):
            raise ConfigError(f"unexpected argument {argument!r}: settings are given as --section.key=value")
        elif "=" in argument:
            overrides.append(argument)
        else:
            waiting = argument
    if waiting:
        raise ConfigError(f"{waiting} has no value: settings are given as --section.key=value")
    return overrides


def console_log() -> None:
    """Show the log of training on the terminal, above the progress bar."""
    logger = logging.getLogger("asr_tutorial")
    if not any(isinstance(handler, _AboveBar) for handler in logger.handlers):
        logger.addHandler(_AboveBar())
    logger.setLevel(logging.INFO)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a picture in the format that the file's name asks for.

    Raises:
        UserError: the format is unknown or the file cannot be written.
    """
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write picture {path}: {error}") from error
    typer.echo(f"picture: {path}", err=True)


class _AboveBar(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def _how_to_resume(started: float) -> str:
    """The command that goes on with a run which this program has saved, if there is one."""
    arguments = sys.argv
    places = [
        Path(arguments[index + 1]) for index, name in enumerate(arguments[:-1]) if name in ("--run-dir", "--resume")
    ]
    states = [place / "checkpoints" / "latest" / "state.pt" for place in places or Path("runs").glob("*")]
    saved = [state for state in states if state.is_file() and state.stat().st_mtime >= started]
    if not saved:
        return ""
    run = max(saved, key=lambda state: state.stat().st_mtime).parents[2]
    code = " --code mine" if os.environ.get("ASR_TUTORIAL_CODE") == CodeName.mine else ""
    return f"; go on with: asr-tutorial train --resume {run}{code}"
