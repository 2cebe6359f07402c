"""The job files for SLURM: the shell can read them, and the program understands the commands in them."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main

from asr_tutorial.cli import app
from asr_tutorial.cli.common import STOPPED
from asr_tutorial.config import available_configs

JOBS = sorted((Path(__file__).resolve().parents[1] / "docs" / "slurm").glob("*.sbatch"))


def commands(job: Path) -> list[list[str]]:
    """The arguments of each ``asr-tutorial`` in a job file; variables become a word."""
    text = job.read_text(encoding="utf-8").replace("\\\n", " ")
    text = re.sub(r"\$\{?search\}?", "ctc", text)
    lines = [line.strip() for line in text.splitlines()]
    found = [re.search(r"(?:^|exec )asr-tutorial (.*)", line) for line in lines if not line.startswith("#")]
    return [shlex.split(re.sub(r"\$\{?\w+\}?", "WORD", match[1])) for match in found if match]


def parse(arguments: list[str]) -> Any:
    """What the command line makes of arguments, without running anything."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert arguments[0] in command.commands, f"no command {arguments[0]}"
        command, arguments = command.commands[arguments[0]], arguments[1:]
    return command.make_context(command.name, list(arguments))


def test_there_are_three():
    assert [job.stem for job in JOBS] == ["download", "evaluate", "train"]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.stem)
def test_the_shell_reads_it(job):
    result = subprocess.run(["bash", "-n", str(job)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    lines = job.read_text(encoding="utf-8").splitlines()
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert lines[0] == "#!/bin/bash"
    assert "#SBATCH --requeue" in lines[:first_command], "SLURM reads its options up to the first command only"
    assert not any(line.startswith("#SBATCH") for line in lines[first_command:])


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.stem)
def test_the_program_understands_its_commands(job):
    found = commands(job)
    assert found
    for arguments in found:
        context = parse(arguments)
        assert not context.args, f"not understood: {context.args}"
        config = context.params.get("config")
        assert config in (None, "WORD")
    assert "librispeech_100h" in available_configs()


def test_training_is_requeued_by_its_exit_code():
    text = (JOBS[0].parent / "train.sbatch").read_text(encoding="utf-8")
    assert f'"$code" -eq {STOPPED}' in text
    assert "--resume auto" in text
    assert "#SBATCH --signal=USR1@" in text  # without B: it goes to the processes, not to the shell


def test_a_mistake_would_be_seen():
    with pytest.raises(Exception, match="--chekpoint"):
        parse(["evaluate", "--chekpoint", "x", "--corpus", "y"])
    with pytest.raises(AssertionError, match="no command"):
        parse(["trian"])
