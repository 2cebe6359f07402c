"""The command line: what each command prints, how settings are passed, and how mistakes are told."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from tiny import OVERRIDES, sound, sound_corpus, tiny_recognizer
from typer.testing import CliRunner

from asr_tutorial.checkpoint import load_checkpoint
from asr_tutorial.cli import app, common
from asr_tutorial.training import loop

TEXTS = ["HELLO WORLD", "GOOD DAY", "IT IS LATE"]


@pytest.fixture
def run():
    runner = CliRunner()

    def invoke(*arguments, code=0):
        result = runner.invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
        return result

    return invoke


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "best"
    tiny_recognizer().save(folder)
    return folder


@pytest.fixture
def corpus(tmp_path):
    return sound_corpus(tmp_path / "corpus", TEXTS)


def small_training(corpus, tmp_path):
    splits = [f"--data.{split}=[{corpus}]" for split in ("train", "dev", "test")]
    return [*OVERRIDES, *splits, f"--data.cache={tmp_path / 'cache'}", "--training.precision=fp32"]


def test_help_is_there_at_once_and_names_every_command():
    out = subprocess.run([sys.executable, "-m", "asr_tutorial", "--help"], capture_output=True, text=True, check=True)
    for command in ("train", "overfit", "evaluate", "transcribe", "align", "demo", "config", "data"):
        assert f" {command} " in out.stdout
    # What takes long to import is left to the commands: --help answers in some 0.4 s.
    code = "import sys, asr_tutorial.cli; print({'torch', 'matplotlib', 'pydantic'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "command", [["train"], ["overfit"], ["evaluate"], ["transcribe"], ["align"], ["demo"], ["config"]]
    + [["data", name] for name in ("download", "stats", "subset", "manifest")],
    ids=" ".join,
)  # fmt: skip
def test_each_command_explains_itself_with_an_example(run, command):
    output = run(*command, "--help").output
    assert "Example" in output
    assert f"asr-tutorial {' '.join(command)}" in output


def test_brackets_in_examples_are_not_taken_for_markup(run):
    assert "--data.train='[my/train.tsv]'" in run("train", "--help").output


def test_config_prints_every_key_with_overrides_applied(run):
    values = yaml.safe_load(run("config", "tinyspeech", "--model.d_model=64", "--training.max_steps", "7").output)
    assert values["model"]["d_model"] == 64
    assert values["training"]["max_steps"] == 7
    assert values["features"]["n_mels"] == 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["config", "nothing"], "no configuration called 'nothing'"),
        (["config", "--model.d_modell=64"], "did you mean 'd_model'"),
        (["config", "tinyspeech", "stray"], "unexpected argument 'stray'"),
        (["config", "tinyspeech", "--model.d_model"], "--model.d_model has no value"),
        (["train", "--confg=x"], "unknown key 'confg'"),
        (["train", "--resume", "/nowhere"], "/nowhere is not a run folder"),
        (["train", "--resume", "/nowhere", "--training.seed=2"], "give --resume alone"),
        (["transcribe", "-m", "/nowhere", "a.wav"], "no checkpoint at /nowhere"),
        (["data", "stats", "/no/corpus"], "/no/corpus"),
        (["data", "download", "everything"], "everything"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_end_in_one_message_and_code_2(run, arguments, message):
    result = run(*arguments, code=2)
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_program_prints_no_traceback(checkpoint):
    command = [sys.executable, "-m", "asr_tutorial", "transcribe", "-m", checkpoint, "/no/file.wav"]
    out = subprocess.run(command, capture_output=True, text=True)
    assert out.returncode == 2
    assert out.stderr.startswith("error: no audio file at /no/file.wav")
    assert "Traceback" not in out.stderr


def test_transcribe_one_file_and_several(run, checkpoint, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([sound(1.0, 1, 8000)] * 2, axis=1), 8000)
    soundfile.write(tmp_path / "b.flac", sound(2.0, 2), 16_000)
    one = run("transcribe", "--checkpoint", checkpoint, tmp_path / "a.wav").stdout
    both = run("transcribe", "-m", checkpoint, tmp_path / "a.wav", tmp_path / "b.flac").stdout.splitlines()
    assert both[0] == f"{tmp_path / 'a.wav'}\t{one.strip(chr(10))}"
    as_json = run("transcribe", "-m", checkpoint, "--json", "--search", "ctc", tmp_path / "b.flac").stdout
    (record,) = json.loads(as_json)
    assert record["seconds"] == pytest.approx(2.0)
    assert {"file", "text", "score"} <= record.keys()


def test_beam_searches_take_options_and_return_alternatives(run, checkpoint, corpus, tmp_path):
    soundfile.write(tmp_path / "a.wav", sound(1.0, 1), 16_000)
    options = ("--search", "joint", "--beam-size", 4, "--nbest", 3, "--ctc-weight", 0.5, "--length-penalty", 0.2)
    (record,) = json.loads(run("transcribe", "-m", checkpoint, "--json", *options, tmp_path / "a.wav").stdout)
    assert record["n_best"][0]["text"] == record["text"]
    assert 1 < len(record["n_best"]) <= 3
    assert {"text", "confidence"} == record["tokens"][0].keys()
    run("evaluate", "-m", checkpoint, "--corpus", corpus, "--limit", 1, *options, "--json", tmp_path / "figures.json")
    (result,) = json.loads((tmp_path / "figures.json").read_text())["results"]
    assert result["n_best"][0]["text"] == result["hypothesis"]
    assert {"words", "score"} <= result.keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--search", "ctc", "--nbest", 2), "--nbest is not for --search ctc: use --search prefix, attention, joint"),
        (("--search", "attention", "--ctc-weight", 0.5), "--ctc-weight is not for --search attention: use"),
        (("--search", "joint", "--beam-size", 0), "beam_size must be 1 or more; got 0"),
        (("--search", "joint", "--nbest", 11), "n_best must be 1 to beam_size, 10"),
    ],
)
def test_search_options_that_do_not_fit_are_named(run, checkpoint, options, message):
    assert message in run("transcribe", "-m", checkpoint, *options, "a.wav", code=2).stderr


def test_evaluate_prints_and_writes_figures(run, checkpoint, corpus, tmp_path):
    result = run(
        "evaluate", "-m", checkpoint, "--corpus", corpus, "--limit", 2, "--search", "ctc", "--worst", 1,
        "--json", tmp_path / "figures.json",
    )  # fmt: skip
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["utterances"] == 2
    assert figures["audio_seconds"] == pytest.approx(2.25)
    assert {"wer", "cer", "rtf"} <= figures.keys()
    assert f"WER {100 * figures['wer']:6.2f} %" in result.output
    assert "said   " in result.output
    unwritable = run("evaluate", "-m", checkpoint, "--corpus", corpus, "--json", tmp_path / "no" / "x.json", code=2)
    assert "cannot write" in unwritable.stderr


def test_evaluate_names_what_it_skips(run, checkpoint, corpus):
    (corpus / "1" / "2" / "1-2-0001.flac").write_bytes(b"not audio")
    result = run("evaluate", "-m", checkpoint, "--corpus", corpus)
    assert "skipped 1-2-0001" in result.stderr
    assert "1 skipped" in result.stdout


def test_align_prints_times_and_draws(run, checkpoint, tmp_path):
    soundfile.write(tmp_path / "a.wav", sound(2.0), 16_000)
    result = run("align", "-m", checkpoint, tmp_path / "a.wav", "--text", "good day", "--plot", tmp_path / "words.png")
    words = [line.split()[2] for line in result.stdout.splitlines()]
    starts = [float(line.split()[0]) for line in result.stdout.splitlines()]
    assert words == ["GOOD", "DAY"]
    assert 0 <= starts[0] < starts[1] < 2
    assert (tmp_path / "words.png").stat().st_size > 5000
    wrong = run("align", "-m", checkpoint, tmp_path / "a.wav", "--text", "A", "--plot", tmp_path / "x.nope", code=2)
    assert "cannot write picture" in wrong.stderr


def test_train_then_resume(run, corpus, tmp_path):
    folder = tmp_path / "run"
    settings = small_training(corpus, tmp_path)
    result = run("train", "--run-dir", folder, "--training.max_steps", 2, *settings)
    assert "WER" in result.output
    assert f"recogniser: {folder}" in result.output
    config = load_checkpoint(folder)[2]
    assert config.training.max_steps == 2
    again = run("train", "--run-dir", folder, *settings, code=2)
    assert f"--resume {folder}" in again.stderr
    assert "recogniser" in run("train", "--resume", folder).output


def test_an_interrupted_training_says_how_to_go_on(run, corpus, tmp_path, monkeypatch):
    folder = tmp_path / "run"

    def stop(trainer, *arguments, **options):
        trainer._save_state()
        raise KeyboardInterrupt

    monkeypatch.setattr(loop.Trainer, "_after_step", stop)
    arguments = ["train", "--run-dir", str(folder), *small_training(corpus, tmp_path)]
    monkeypatch.setattr(sys, "argv", ["asr-tutorial", *arguments])
    result = run(*arguments, code=130)
    assert f"interrupted; go on with: asr-tutorial train --resume {folder}" in result.stderr


def test_an_interruption_with_nothing_saved_promises_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["asr-tutorial", "train"])
    old = tmp_path / "runs" / "old" / "checkpoints" / "latest" / "state.pt"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"")
    os.utime(old, (0, 0))
    assert common._how_to_resume(time.time()) == ""


def test_overfit_tells_whether_the_loss_falls(run, corpus, tmp_path):
    settings = [*small_training(corpus, tmp_path), "--training.optimizer.lr=0.01", "--training.schedule.warmup_steps=1"]
    failed = run("overfit", "--steps", 2, *settings, code=1)
    assert "has not fallen" in failed.stderr
    lines = [line for line in failed.stdout.splitlines() if line.startswith("step")]
    assert len(lines) == 2


def test_data_stats_counts_the_corpus(run, corpus, tmp_path):
    output = run("data", "stats", corpus, "--plot", tmp_path / "lengths.png").output
    assert "0.00 h" in output
    assert "7 (7 different)" in output
    assert "char tokens" in output
    assert (tmp_path / "lengths.png").exists()


def test_data_manifest_and_subset(run, corpus, tmp_path):
    run("data", "manifest", corpus, "--out", tmp_path / "m.tsv")
    assert "7 (7 different)" in run("data", "stats", tmp_path / "m.tsv").output
    (tmp_path / "ids.txt").write_text("1-2-0001\n")
    run("data", "subset", "--ids", tmp_path / "ids.txt", "--corpus", corpus, "--out", tmp_path / "part")
    assert (tmp_path / "part" / "1" / "2" / "1-2.trans.txt").read_text() == "1-2-0001 GOOD DAY\n"


def test_data_download_lists_the_catalogue(run):
    output = run("data", "download").output
    assert "mini-librispeech" in output
    assert "test-other" in output


def test_data_goes_where_the_environment_says(monkeypatch):
    from asr_tutorial.cli.data import _data_root

    monkeypatch.setenv("ASR_TUTORIAL_DATA", "/somewhere")
    assert _data_root() == Path("/somewhere")
    monkeypatch.delenv("ASR_TUTORIAL_DATA")
    assert _data_root().name == "data"
