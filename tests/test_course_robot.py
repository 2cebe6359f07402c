"""A robot goes through the course: opens notebooks, answers exercises in its own way, trains what it has built."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient

from asr_tutorial.corpus import read_corpus
from asr_tutorial.course.manifest import REPOSITORY, find_exercise, load_course
from asr_tutorial.course.versions import mutants, variants

LAST_WHOLE = 6
"""Up to this chapter the robot runs every cell with its own answers. Later ones have long trainings: there it runs
exercises and checks alone. With our answers all cells are run by ``pytest --nbval solutions``."""
LONG_TRAINING = {"05": (r"^STEPS, SECONDS = \d+, ", "STEPS, SECONDS = 60, ")}
"""Trainings that the robot shortens: here each cell has to run on what the robot wrote. That they end well is what
``pytest --nbval solutions`` shows."""
MARK = re.compile(r'^@exercise\("(\d+\.\d+)"\)', re.MULTILINE)
CHAPTERS = load_course()
each_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.id)
COUNTER = '''
"""Counts calls, in whichever process, and writes the counts down at its end."""
import atexit, collections, json, os
calls = collections.Counter()
def count(name):
    calls[name] += 1
def write():
    if "ROBOT_COUNTS" in os.environ and calls:
        with open(os.environ["ROBOT_COUNTS"], "w") as file:
            json.dump(calls, file)
atexit.register(write)
'''
# What a training of a plain Transformer on characters does not come by: conversions to PyTorch's masks, gradients by
# hand, rotations, other encoders, searches other than greedy. And some masks: its layers make their own.
NOT_IN_TRAINING = {
    *("1.4", "1.5", "1.6", "2.5", "3.2", "3.3", "3.5", "4.3", "4.4", "5.5", "5.6", "7.1", "7.4", "7.5", "7.7"),
    *("9.1", "9.3", "9.4", "9.5", "9.6", "9.7", "9.8"),
}
WITH_TEXT = {"10.2", "10.3", "10.4", "10.5", "10.6", "10.7"}
"""What language models are made of and used with; the pieces of 10.1 are for learning, real ones come of a library."""
WHERE_IT_GROWS = {"11.1", "11.2", "11.3", "11.4", "11.5", "11.6", "11.7"}
WHERE_IT_REMEMBERS = {"12.1", "12.2", "12.3", "12.4", "12.5", "12.6"}
"""An encoder that learns while it reads; a training of a Transformer comes by none of it."""
LACT = [
    "--model.architecture=lact",
    "--model.lact.heads=2",
    "--model.lact.chunk=16",
    "--model.lact.momentum=0.5",
    "--model.lact.causal=true",
    "--model.decoder_layers=0",
    "--training.ctc_weight=1",
    "--training.max_steps=10",
    "--training.validate_every=10",
    "--training.validation_search=ctc",
    "--training.log_every=2",
]
WITH_PARAFORMER = {"13.2", "13.3", "13.4", "13.5", "13.6"}
"""The loop of 13.1 is the definition; training and search add up by prefix sums."""
PARAFORMER = ["--model.architecture=paraformer", "--training.validation_search=parallel"]
IN_THE_CLINIC = {f"14.{number}" for number in range(1, 13)}
"""Scripts of their own, repaired for the practice."""
IN_A_SERVICE = {"15.1", "15.2", "15.3", "15.4", "15.5"}
SERVICE = """
import sys
from pathlib import Path
import asr_tutorial
from asr_tutorial.audio import read_audio
from asr_tutorial.corpus import read_corpus
from asr_tutorial.serve.app import create_app
from asr_tutorial.serve.settings import Settings
from fastapi.testclient import TestClient
sound = Path(sys.argv[2])
app = create_app(Settings(checkpoint=Path(sys.argv[1])))
with TestClient(app) as client:
    assert client.post("/transcribe", json={"features": [[0.0] * 79]}).status_code == 422
    offline = client.post("/transcribe", files={"file": sound.read_bytes()}).json()["text"]
    with client.websocket_connect("/stream") as socket:
        socket.send_json({"sample_rate": 16_000})
        socket.send_bytes(read_audio(sound).astype("<f4").tobytes())
        socket.send_json({"end": True})
        messages = [socket.receive_json()]
        while messages[-1]["type"] == "partial":
            messages.append(socket.receive_json())
print(offline == messages[-1]["text"], len(messages), offline)
"""
GROWING = [
    "--training.max_steps=12",
    "--training.teacher_forcing_epochs=[0,0.1]",
    "--progressive.kind=stages",
    "--progressive.stages=[{encoder_layers: 1, dropout: 0.1, data: 0.5, freeze: [ctc_head], steps: 6, patience: 1},"
    " {encoder_layers: 2, data: 1, freeze: [], teacher_forcing: 0.5}]",
]
OUTPUTS = """
import sys, torch, asr_tutorial
from asr_tutorial.audio import read_audio
from asr_tutorial.corpus import read_corpus
from asr_tutorial.features import FeatureExtractor
recognizer = asr_tutorial.load(sys.argv[1], "cpu")
samples = torch.from_numpy(read_audio(read_corpus("few.tsv").utterances[0].audio))[None]
features, lengths = FeatureExtractor(recognizer.config.features)(samples)
tokens = torch.tensor([[recognizer.tokenizer.sos_id, *recognizer.tokenizer.encode("A NEW DAY")]])
with torch.inference_mode():
    output = recognizer.model(features, lengths, tokens)
torch.save({"ctc": output.ctc_log_probs, "logits": output.logits}, sys.argv[2])
"""
PRETRAINED = REPOSITORY / "data" / "pretrained" / "tinyspeech"
SMALL = [
    "--training.max_steps=50",
    "--training.precision=fp32",
    "--training.device=cpu",
    "--training.log_every=10",
    "--training.validate_every=50",
    "--training.validation_search=greedy",
    "--training.schedule.warmup_steps=10",
    "--training.optimizer.lr=1e-3",
    "--training.ema_decay=0",
    "--data.batch_seconds=20",
    "--data.train=[tinyspeech/dev]",
    "--data.dev=[few.tsv]",
    "--data.test=[]",
    "--model.d_model=48",
    "--model.d_ff=96",
    "--model.encoder_layers=2",
    "--model.decoder_layers=1",
    "--model.conv_kernel=0",
    # The robot draws its random numbers in another way than we do.
    "--model.dropout=0",
    "--augment.freq_masks=0",
    "--augment.time_masks=0",
    "--model.subsampling_channels=8",
]


def counting(code: str, number: str) -> str:
    """The code with a call of the counter at the start of each function."""
    tree = ast.parse(code)
    count = ast.parse(f"__import__('robot_counter').count('{number}')").body
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            at = 1 if ast.get_docstring(node) is not None else 0
            node.body[at:at] = count
    return ast.unparse(tree)


def answered(code: str, number: str) -> str:
    """An answer as it stands in a cell: marked above its first definition."""
    return re.sub(r"^(?=def |class )", f'@exercise("{number}")\n', code, count=1, flags=re.MULTILINE)


def fill(notebook: nbformat.NotebookNode, answers: dict[str, str]) -> None:
    for cell in notebook.cells:
        mark = MARK.search(cell.source)
        if cell.cell_type == "code" and mark and mark[1] in answers:
            cell.source = answered(answers[mark[1]], mark[1])


def attempted(statement: ast.stmt) -> str:
    """An import that may fail: a chapter also imports files of its own, from a path that another statement adds."""
    return f"try:\n    {ast.unparse(statement)}\nexcept ModuleNotFoundError:\n    pass"


def keep_exercises(notebook: nbformat.NotebookNode) -> None:
    """Leave out what is neither an import, nor an exercise, nor its check."""
    kept = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        if not MARK.search(cell.source) and " = check(" not in cell.source:
            statements = ast.parse(cell.source).body
            cell.source = "\n".join(
                attempted(line) for line in statements if isinstance(line, ast.Import | ast.ImportFrom)
            )
        if cell.source:
            kept.append(cell)
    notebook.cells = kept


def shorten(notebook: nbformat.NotebookNode, written: str, instead: str) -> None:
    """Make a chapter's training take fewer steps."""
    changed = 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source, found = re.subn(written, instead, cell.source, flags=re.MULTILINE)
            changed += found
    assert changed == 1, f"{written} stands in {changed} places"


def run(notebook: nbformat.NotebookNode, folder: Path) -> dict[str, str]:
    """Execute a notebook; returns what each check printed."""
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    printed = {}
    for cell in notebook.cells:
        if cell.cell_type == "code" and (check := re.search(r' = check\("(\d+\.\d+)"\)$', cell.source, re.MULTILINE)):
            printed[check[1]] = "".join(output.get("text", "") for output in cell.outputs)
    return printed


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with a new workspace, and an environment that knows it."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "robot_counter.py").write_text(COUNTER, encoding="utf-8")
    patch = pytest.MonkeyPatch()
    patch.delenv("ASR_TUTORIAL_CODE", raising=False)
    patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # counting lines would make the robot slower
    patch.delenv("ASR_TUTORIAL_WORKSPACE", raising=False)
    patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(REPOSITORY)]))  # this tree, whatever is installed
    patch.setenv("ASR_TUTORIAL_CACHE", str(folder / "cache"))
    terminal(folder, "start", "workspace")
    yield folder
    patch.undo()


def terminal(folder: Path, *arguments: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "asr_tutorial", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout + result.stderr


def losses(run_folder: Path) -> list[float]:
    log = (run_folder / "train.log").read_text(encoding="utf-8")
    return [float(number) for number in re.findall(r"step \d+ loss (\d+\.\d+)", log)]


@pytest.mark.slow
class TestLearner:
    """In order: each test goes on where the one before has left the workspace."""

    @each_chapter
    def test_the_exercises_of_a_chapter_as_shipped_are_not_started(self, desk, chapter):
        """That the whole chapter runs to its end is what ``pytest --nbval chapters`` shows."""
        notebook = nbformat.read(desk / "workspace" / f"{chapter.name}.ipynb", as_version=4)
        keep_exercises(notebook)
        printed = run(notebook, desk / "workspace")
        assert printed.keys() == {exercise.id for exercise in chapter.exercises}
        for number, text in printed.items():
            assert "NOT STARTED" in text, f"{number} says loudly that nothing is there yet"

    @each_chapter
    def test_a_chapter_answered_in_another_way_than_ours(self, desk, chapter):
        path = desk / "workspace" / f"{chapter.name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        fill(notebook, {e.id: counting(variants(e)[0].code, e.id) for e in chapter.exercises})
        nbformat.write(notebook, path)
        if int(chapter.id) > LAST_WHOLE:
            keep_exercises(notebook)
        elif chapter.id in LONG_TRAINING:
            shorten(notebook, *LONG_TRAINING[chapter.id])
        printed = run(notebook, desk / "workspace")
        for number, text in printed.items():
            assert "right. Verified:" in text, text
            assert f"Kept in workspace/mine/{number}.py" in text, text

    def test_everything_is_mine(self, desk):
        text = terminal(desk, "status", COLUMNS="160")
        exercises = [exercise for chapter in CHAPTERS for exercise in chapter.exercises]
        assert re.search(rf"│ all +│ .*│ +{len(exercises)} │ +0 │ +0 │", text), text
        assert "every exercise is yours" in terminal(desk, "next")

    def test_training_runs_the_learners_functions(self, desk):
        terminal(desk, "data", "manifest", "tinyspeech/test", "--out", "all.tsv")
        lines = (desk / "all.tsv").read_text(encoding="utf-8").splitlines()
        (desk / "few.tsv").write_text("\n".join(lines[:5]) + "\n", encoding="utf-8")
        counts = desk / "counts.json"
        text = terminal(desk, "train", "--code", "mine", *SMALL, "--run-dir", "run_mine", ROBOT_COUNTS=str(counts))
        assert "code: mine" in text
        assert "borrowed  nothing" in text
        called = json.loads(counts.read_text(encoding="utf-8"))
        every = {exercise.id for chapter in CHAPTERS for exercise in chapter.exercises}
        elsewhere = NOT_IN_TRAINING | WITH_TEXT | WHERE_IT_GROWS | WHERE_IT_REMEMBERS | WITH_PARAFORMER
        elsewhere |= IN_THE_CLINIC | IN_A_SERVICE
        wanted = every - elsewhere - {"10.1", "13.1"}
        assert wanted <= called.keys(), f"not called: {wanted - called.keys()}"
        assert called["1.1"] >= 50 * 4, "attention is the learner's own, not the fused kernel: four calls a step"

    def test_growing_runs_the_learners_functions(self, desk):
        counts = desk / "counts_growing.json"
        options = ["--code", "mine", *SMALL, *GROWING, "--run-dir", "run_growing"]
        terminal(desk, "train", *options, ROBOT_COUNTS=str(counts))
        called = json.loads(counts.read_text(encoding="utf-8"))
        assert called.keys() >= WHERE_IT_GROWS, f"not called: {WHERE_IT_GROWS - called.keys()}"

    def test_memories_run_the_learners_functions_and_learn_as_ours_do(self, desk):
        counts, found = desk / "counts_memory.json", {}
        # The robot shuffles in another way than we do; its buckets and its losses were compared above.
        buckets = desk / "workspace" / "mine" / "8.8.py"
        aside = buckets.rename(desk / "8.8.py")
        for code in ("mine", "ours"):
            options = ["--code", code, *SMALL, *LACT, "--run-dir", f"run_memory_{code}"]
            terminal(desk, "train", *options, **({"ROBOT_COUNTS": str(counts)} if code == "mine" else {}))
            found[code] = losses(desk / f"run_memory_{code}")
        aside.rename(buckets)
        called = json.loads(counts.read_text(encoding="utf-8"))
        assert called.keys() >= WHERE_IT_REMEMBERS, f"not called: {WHERE_IT_REMEMBERS - called.keys()}"
        assert max(abs(a - b) for a, b in zip(found["mine"], found["ours"], strict=True)) <= 1e-3, found

    def test_a_paraformer_runs_the_learners_functions(self, desk):
        counts = desk / "counts_paraformer.json"
        options = ["--code", "mine", *SMALL, *PARAFORMER, "--training.max_steps=12", "--run-dir", "run_paraformer"]
        terminal(desk, "train", *options, ROBOT_COUNTS=str(counts))
        called = json.loads(counts.read_text(encoding="utf-8"))
        assert called.keys() >= WITH_PARAFORMER, f"not called: {WITH_PARAFORMER - called.keys()}"

    def test_a_service_runs_the_learners_functions(self, desk):
        counts, sound = desk / "counts_service.json", read_corpus("tinyspeech/test").utterances[1]
        command = [sys.executable, "-c", SERVICE, str(PRETRAINED), str(sound.audio)]
        environment = {**os.environ, "ASR_TUTORIAL_CODE": "mine", "ROBOT_COUNTS": str(counts)}
        done = subprocess.run(
            command, cwd=desk, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.stdout.startswith("True 7 EMMA PUT SUGAR"), done.stdout + done.stderr[-3000:]
        called = json.loads(counts.read_text(encoding="utf-8"))
        assert called.keys() >= IN_A_SERVICE, f"not called: {IN_A_SERVICE - called.keys()}"

    def test_language_models_run_the_learners_functions(self, desk):
        steps = ["--training.max_steps=4", "--training.validate_every=4"]
        tokenizer = f"--tokenizer.folder={PRETRAINED}"
        weights = ["--lm-weights", "0 0.2", "--token-bonuses", "0", "--ctc-weights", "0.3", "--beam-size", "3"]
        called = set()
        for number, command in enumerate(
            [
                ["lm", "train", "--code", "mine", tokenizer, *steps, "--run-dir", "run_lm"],
                ["lm", "ngram", "words", "--text", "tinyspeech/train"],
                ["tune", "-m", str(PRETRAINED), "--corpus", "few.tsv", "--lm", "run_lm", *weights, "--code", "mine"],
            ]
        ):
            counts = desk / f"counts_text_{number}.json"
            terminal(desk, *command, ROBOT_COUNTS=str(counts), ASR_TUTORIAL_CODE="mine")
            called |= json.loads(counts.read_text(encoding="utf-8")).keys()
        assert called >= WITH_TEXT, f"not called: {WITH_TEXT - called}"

    def test_training_agrees_with_the_library(self, desk):
        # The robot's buckets are as good as ours, but its shuffling is another.
        buckets = desk / "workspace" / "mine" / "8.8.py"
        aside = buckets.rename(desk / "8.8.py")
        terminal(desk, "train", "--code", "mine", *SMALL, "--run-dir", "run_same_batches")
        aside.rename(buckets)
        terminal(desk, "train", *SMALL, "--run-dir", "run_ours")
        mine, ours = losses(desk / "run_same_batches"), losses(desk / "run_ours")
        assert len(ours) == 5
        assert max(abs(a - b) for a, b in zip(mine, ours, strict=True)) <= 1e-3, (mine, ours)

    @pytest.mark.parametrize("checkpoint", ["run_mine", "run_ours"])
    def test_checkpoints_load_under_either_code(self, desk, checkpoint):
        outputs = []
        for code in ("mine", "ours"):
            environment = {**os.environ, "ASR_TUTORIAL_CODE": code}
            command = [sys.executable, "-c", OUTPUTS, checkpoint, f"{code}.pt"]
            subprocess.run(command, cwd=desk, env=environment, check=True, timeout=120)
            outputs.append(torch.load(desk / f"{code}.pt"))
        for name, mine in outputs[0].items():
            # Features are logarithms: where the energy is near nothing, the order of additions shows.
            torch.testing.assert_close(mine, outputs[1][name], rtol=1e-3, atol=1e-3)

    def test_a_trained_recogniser_writes_the_same_under_either_code(self, desk):
        texts = []
        for code in ("mine", "ours"):
            out = desk / f"{code}.json"
            terminal(desk, "evaluate", "-m", str(PRETRAINED), "--corpus", "few.tsv", "--code", code, "--json", str(out))
            texts.append([result["hypothesis"] for result in json.loads(out.read_text(encoding="utf-8"))["results"]])
        assert texts[0] == texts[1]
        assert all(len(text.split()) > 3 for text in texts[0])


@pytest.mark.slow
class TestBeginner:
    @each_chapter
    def test_wrong_answers_are_told_which_mistake_they_are(self, desk, chapter, tmp_path):
        workspace = tmp_path / "workspace"
        terminal(tmp_path, "start", "workspace")
        notebook = nbformat.read(workspace / f"{chapter.name}.ipynb", as_version=4)
        keep_exercises(notebook)
        wrong = {exercise.id: mutants(exercise, "rewritten")[0] for exercise in chapter.exercises}
        fill(notebook, {number: cell.code for number, cell in wrong.items()})
        for number, text in run(notebook, workspace).items():
            sentences = {m.name: m.sentence for m in mutants(find_exercise(number))}
            assert "NOT RIGHT YET" in text, text
            assert sentences[wrong[number].name] in " ".join(text.split()), text
        assert not list((workspace / "mine").glob("*")), "a wrong answer is not kept"
