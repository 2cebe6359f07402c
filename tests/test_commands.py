"""Every command that the README, the site and the chapters quote is run, or dry-run for a reason that is named here.

Commands of ``asr-tutorial`` run as they are written, in a folder that holds what they name: a workspace, a manifest,
recordings, runs, and small corpora with the names of the large ones. Trainings get ``CHEAP`` settings. A command that
nobody here knows fails its test.
"""

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import soundfile
import typer.main
from tiny import OVERRIDES, sound_corpus
from torch.distributed.run import get_args_parser
from typer.testing import CliRunner

from asr_tutorial.cli import app
from asr_tutorial.config import available_configs
from asr_tutorial.course.manifest import find_exercise
from asr_tutorial.course.source import solution
from asr_tutorial.course.workspace import Workspace
from asr_tutorial.download import CATALOGUE

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "site"))

import commands  # noqa: E402
import gather  # noqa: E402

PROGRAMS = ("asr-tutorial", "bash", "cd", "curl", "git", "make", "mypy", "pip", "py", "pytest", "python", "python3")
PROGRAMS += ("python3.11", "ruff", "sbatch", "source", "torchrun")
SHELLS = ("sh", "bash", "console", "ipython")
TEXTS = ["ONE", "TWO WORDS", "THREE SMALL WORDS"]
CORPORA = ("dev-clean", "dev-clean-2", "dev-218spk", "dev-4spk", "test-clean", "test-other", "CORPUS", "features/test")
RUN = "runs/MY_RUN"
RECORDINGS = ("talk.wav", "interview.mp3", "speech.flac", "recordings/monday.wav", "recordings/tuesday.flac")

# A command of asr-tutorial that begins like this is understood by the real parser, with its configuration and settings,
# and not run, for this reason.
DRY = {
    "data download": "downloads",
    "demo": "takes minutes; test_demo.py runs it",
    "recipe": "takes minutes; test_recipe.py runs it",
    "serve": "runs until it is stopped; the tests of the service run it",
    "watch": "runs until it is stopped; test_course_workspace.py runs it",
    "tune": "test_recognizer.py and test_recipe.py tune",
    "lm": "needs hours or a corpus that is downloaded; test_lm_training.py and test_ngram.py run each",
    "data synthetic": "test_synthetic.py makes one",
}
# So does one that holds one of these words.
DRY_WORDS = {
    "librispeech_100h": "needs a GPU and a corpus that is downloaded",
    "librispeech_360h": "needs a GPU and a corpus that is downloaded",
    "librispeech_960h": "needs GPUs and a corpus that is downloaded",
    "lact_base": "needs a GPU",
    "lact_mini_librispeech": "starts from weights that are no part of the repository",
    "paraformer_mini_librispeech": "starts from weights that are no part of the repository",
    "--code": "starts the program anew; test_course_robot.py trains with answers",
    "STAGE.yaml": "a stage of a recipe; test_recipe.py runs each",
    "NAME": "stands for any configuration",
}
# What keeps a training short. Sizes are left out where the configuration's own name says another architecture.
CHEAP = ["--training.max_steps=2", "--training.device=cpu", "--training.precision=fp32", "--training.validate_every=0"]
SMALL = {
    "doctor": CHEAP[1:3],
    "train": CHEAP,
    "overfit": ["--steps=2", *CHEAP[1:3]],
    "diagnose": ["--batches=1", *CHEAP[1:3]],
}
# Mentions of a command's beginning in a sentence, which are none by themselves.
MENTIONS = {"pip install", "pip install -e", "make TARGET"}


def split(text: str) -> Iterator[tuple[str, bool]]:
    """The commands in a Markdown text, each with whether it stands in a code block."""
    blocks = re.findall(r"^```([\w{}-]*)[^\n]*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    for language, block in blocks:
        lines = [line.strip() for line in block.replace("\\\n", " ").splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        if not lines or (language not in SHELLS and (language or not is_command(lines[0]))):
            continue
        if language == "ipython":
            lines = [line.removeprefix("!") for line in lines if line[0] in "!%"]
        if language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        for line in lines:
            # A list of commands with a description beside each has two spaces before it.
            line = re.split(r"\s+#\s|\s{2,}(?=\w)" if line.startswith("make ") else r"\s+#\s", line)[0]
            yield from ((part.strip(), True) for part in line.split("&&"))
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    yield from ((span.strip().removeprefix("!"), False) for span in spans if is_command(span) and " " in span.strip())


def is_command(text: str) -> bool:
    words = re.sub(r"^(\w+=\S+ +)+", "", text.strip().removeprefix("!").removeprefix("$ ")).split()
    return bool(words) and (words[0] in PROGRAMS or words[0].startswith((".venv", "%env")))


def quoted() -> dict[str, bool]:
    """Every command once, with whether it is whole: it stands in a code block somewhere."""
    texts = [(ROOT / page).read_text(encoding="utf-8") for page in gather.pages()]
    for chapter in sorted((ROOT / "chapters").glob("*.py")):
        lines = chapter.read_text(encoding="utf-8").splitlines()
        texts.append(
            "\n".join(line.removeprefix("#").removeprefix(" ") if line.startswith("#") else "" for line in lines)
        )
    found: dict[str, bool] = {}
    for text in texts:
        for command, whole in split(text):
            found[command] = found.get(command, False) or whole
    return found


QUOTED = quoted()
EXAMPLES = sorted({command for command, _ in split(commands.page())} - {"asr-tutorial COMMAND --help"})


def words_of(command: str) -> list[str]:
    command = command.replace("\\", "/")  # Windows' paths
    return shlex.split(re.sub(r"\s>\s*\S+$", "", re.sub(r"<[\w ]+>", "PLACE", command)))


def parse(arguments: list[str], whole: bool = True) -> tuple[str, Any]:
    """What the command line makes of arguments: the command's name, and its context; nothing is run."""
    command: Any = typer.main.get_command(app)
    name = []
    while hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        assert arguments[0] in command.commands, f"no command {arguments[0]}"
        name.append(arguments[0])
        command, arguments = command.commands[arguments[0]], arguments[1:]
    for parameter in command.params:
        if parameter.name == "code":  # its callback would start the program anew
            parameter.callback = None
    try:
        context = command.make_context(" ".join(name), list(arguments))
    except Exception as error:
        # Known by their names, since typer has copies of click's exceptions. `Exit` is what --help ends with; in a
        # sentence, a part of a command may stand for it.
        if type(error).__name__ != "Exit" and (whole or type(error).__name__ != "MissingParameter"):
            raise AssertionError(f"{' '.join(name)}: {error!r}") from error
        context = None
    return " ".join(name), context


def check_settings(arguments: list[str]) -> None:
    """The configuration that a command names exists, and takes the settings that it gives."""
    name, context = parse(arguments, whole=False)
    if context is None or not context.command.context_settings.get("allow_extra_args"):
        return
    config = context.params.get("config") or context.params.get("name") or ""
    if not name.startswith("lm") and config in available_configs():
        said = CliRunner().invoke(app, ["config", config, *context.args])
        assert said.exit_code == 0, said.output


def reason_not_to_run(arguments: list[str]) -> str:
    text = " ".join(arguments)
    reasons = [reason for start, reason in DRY.items() if f"{text} ".startswith(f"{start} ")]
    return next(
        iter(reasons + [reason for word, reason in DRY_WORDS.items() if word in arguments or f"={word}" in text]), ""
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder where the commands find what they name."""
    folder = tmp_path_factory.mktemp("world")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    patch.setenv("ASR_TUTORIAL_DATA", str(folder / "corpora"))
    patch.setenv("ASR_TUTORIAL_CACHE", str(folder / "cache"))
    patch.delenv("ASR_TUTORIAL_WORKSPACE", raising=False)
    for name in CORPORA:
        sound_corpus(folder / "corpora" / name, TEXTS)
    (folder / "data").mkdir()
    for path in (ROOT / "data").iterdir():
        (folder / "data" / path.name).symlink_to(path)
    speech = sorted((ROOT / "data" / "tinyspeech" / "test").rglob("*.opus"))
    for place, name in enumerate(RECORDINGS):
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(folder / name, *soundfile.read(speech[place]))
    for name in ("mine", "mine_dev"):
        rows = [f"r{n}\t{name}\t{text}\n" for n, (name, text) in enumerate(zip(RECORDINGS, TEXTS, strict=False))]
        (folder / f"{name}.tsv").write_text("id\taudio\ttext\n" + "".join(rows), encoding="utf-8")
    run("start")
    answer_an_exercise(folder)
    run("submit", "--out", "FOLDER.json")
    for name in ("FOLDER", "submissions"):
        (folder / name).mkdir()
        (folder / name / "one.json").write_bytes((folder / "FOLDER.json").read_bytes())
    (folder / "mine.yaml").write_text(run("config", "tinyspeech", *OVERRIDES), encoding="utf-8")
    run("train", "--run-dir", RUN, *small(["train"]), *OVERRIDES)
    (folder / "runs" / "TIME_tinyspeech").symlink_to(ROOT / "data" / "pretrained" / "tinyspeech")
    for name in ("runs/TIME_mini_librispeech", "RUN"):
        (folder / name).symlink_to(folder / RUN)
    yield folder
    patch.undo()


def answer_an_exercise(folder: Path) -> None:
    exercise = find_exercise("0.1")
    answer = solution(exercise, exercise.path.read_text(encoding="utf-8"))
    Workspace(folder / "workspace").write_cell(exercise, answer)


def run(*arguments: str, allowed: tuple[int, ...] = (0,)) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code in allowed, f"{' '.join(arguments)}\n{result.output[-2000:]}\n{result.exception!r}"
    return result.stdout


def small(arguments: list[str]) -> list[str]:
    """Settings that make a training short, and let it learn from what there is."""
    if arguments[0] not in SMALL or any(word in ("--resume", "--checkpoint", RUN) for word in arguments):
        return []
    splits = [f"--data.{name}=[mine.tsv]" for name in ("train", "dev", "test")]
    settings = [*SMALL[arguments[0]], *(split for split in splits if split.split("=")[0] not in " ".join(arguments))]
    return settings if any("lact" in word for word in arguments) else [*settings, *OVERRIDES]


CLI = sorted(command for command in QUOTED if command.startswith("asr-tutorial "))


class TestAsrTutorial:
    done: set[str] = set()  # noqa: RUF012

    @pytest.mark.slow
    @pytest.mark.parametrize("command", CLI)
    def test_it_runs(self, command: str, world: Path) -> None:
        arguments = [re.sub(r"^runs/\d{8}-\d{6}_\w+$", RUN, word) for word in words_of(command)[1:]]
        arguments = [str(world / "drive") if word.startswith(("/content", "/kaggle")) else word for word in arguments]
        name, context = parse(arguments, QUOTED[command])
        if reason_not_to_run(arguments) or (context is None and "--help" not in arguments):
            check_settings(arguments)
            if name == "data download" and len(arguments) > 2:
                assert arguments[2] in CATALOGUE
            return
        if name in ("start", "reset", "solution") and "drive" in str(arguments):
            arguments = arguments[:2]
        if name == "submit":
            answer_an_exercise(world)  # a `reset` may have come before
        # Exit code 1 says that an exercise is not right yet, that two steps have learnt little, that a run is ill.
        run(*arguments, *small(arguments), allowed=(0, 1) if name in ("check", "doctor", "overfit") else (0,))

    @pytest.mark.parametrize("command", EXAMPLES)
    def test_an_example_of_its_help_is_understood(self, command: str) -> None:
        if command.startswith("torchrun"):
            check_torchrun(words_of(command)[1:])
        else:
            parse(words_of(command)[1:], whole=" " in command.removeprefix("asr-tutorial lm").strip())
            check_settings(words_of(command)[1:])

    def test_each_reason_is_still_needed(self) -> None:
        said = [words_of(command)[1:] for command in CLI]
        used = {reason_not_to_run(arguments) for arguments in said}
        assert set(DRY) <= {start for start in DRY for words in said if " ".join(words).startswith(start)}
        assert "downloads" in used


def check_torchrun(words: list[str]) -> None:
    """Several processes: torch's own parser takes the options, and ours the program's."""
    options = get_args_parser().parse_args(words)
    assert options.module
    assert options.training_script == "asr_tutorial"
    parse(options.training_script_args)
    check_settings(options.training_script_args)


def check_python(words: list[str]) -> None:
    """A program of the repository: it is there, and knows the options."""
    if words[0] == "-m":
        assert words[1] in ("venv",)
        return
    script = ROOT / words[0]
    assert script.is_file(), f"no {words[0]}"
    sources = [script.read_text(encoding="utf-8"), (ROOT / "benchmarks" / "common.py").read_text(encoding="utf-8")]
    known = {node.value for text in sources for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
    for word in words[1:]:
        if word.startswith("--") and "." not in word.split("=")[0]:
            assert word.split("=")[0] in known, f"{words[0]} has no option {word}"


def check_pip(words: list[str]) -> None:
    """What is to be installed is here; nothing is downloaded."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert words[0] in ("install", "freeze")
    for option, value in pairwise(words):
        if option == "-c":
            assert (ROOT / value).is_file()
        if option == "-e":
            place, _, named = value.rstrip("]").partition("[")
            assert place in (".", "/content/asr_tutorial", "/kaggle/working/asr_tutorial")
            assert not named or set(named.split(",")) <= set(extras)


def check_other(command: str, world_of_make: dict[str, str]) -> None:
    words = words_of(re.sub(r"^(\w+=\S+ +)+", "", command))
    program, rest = Path(words[0]).name, words[1:]
    if program == "make":
        target = rest[0] if rest and "=" not in rest[0] else "help"
        if target not in world_of_make:
            planned = subprocess.run(
                ["make", "-n", "-B", target], cwd=ROOT, capture_output=True, text=True, check=False
            )
            assert planned.returncode == 0, planned.stderr
            world_of_make[target] = planned.stdout
        assert all(re.fullmatch(r"(PYTHON|TORCH_INDEX|WORKERS|VENV)=\S+", word) for word in rest[1:])
    elif program.startswith("python") or program == "py":
        check_python(rest)
    elif program == "pip":
        check_pip(rest)
    elif program == "torchrun":
        check_torchrun(rest)
    elif program == "sbatch":
        scripts = [word for word in rest if not word.startswith("-")]
        assert all((ROOT / script).is_file() for script in scripts)  # test_slurm.py looks into them
        assert all(re.match(r"--(partition|account|export|time|gpus)\b", word) for word in rest if word not in scripts)
    elif program == "git":
        assert rest[0] in ("clone", "pull", "rev-parse", "check-ignore")
    elif program in ("pytest", "ruff", "mypy"):
        module = [sys.executable, "-m", program, "--version"]
        assert subprocess.run(module, capture_output=True, check=False).returncode == 0
        assert program == "mypy" or not rest or rest[0] in ("--nbval", "check", "format", "tests", "-q")
    elif program == "bash":
        assert subprocess.run(["bash", "-n", *rest], cwd=ROOT, check=False).returncode == 0
    elif program == "curl":
        served = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "asr_tutorial" / "serve").rglob("*.py"))
        (address,) = [word for word in rest if "://" in word or word.startswith(("localhost", "127.0.0.1"))]
        assert f'"/{address.rstrip("/").rpartition("/")[2]}"' in served
    elif program == "%env":
        name = rest[0].split("=")[0]
        assert any(name in path.read_text(encoding="utf-8") for path in (ROOT / "asr_tutorial").rglob("*.py"))
    else:
        assert (program in ("source", "cd") and rest) or program == "activate", f"nobody knows {command!r}"


@pytest.fixture(scope="module")
def world_of_make() -> dict[str, str]:
    """What make would do for a target, each asked for once."""
    return {}


@pytest.mark.parametrize("command", sorted(set(QUOTED) - set(CLI) - MENTIONS))
def test_it_would_run(command: str, world_of_make: dict[str, str]) -> None:
    """Other programs than ours install, download, submit or take long: they are looked at, not run."""
    check_other(command, world_of_make)


def test_commands_were_found_everywhere() -> None:
    for command in ("make demo", "make site", "asr-tutorial hint 13.6", "sbatch docs/slurm/train.sbatch"):
        assert command in QUOTED
    assert len(CLI) > 100
    assert len(EXAMPLES) > 30


UNKNOWN = ["asr-tutorial trian", "make nothing_here", "python tools/none.py", "rm -rf x", "pip uninstall torch"]


@pytest.mark.parametrize("command", UNKNOWN)
def test_a_command_that_does_not_exist_is_found(command: str, world_of_make: dict[str, str]) -> None:
    with pytest.raises(AssertionError):
        parse(words_of(command)[1:]) if command.startswith("asr") else check_other(command, world_of_make)
