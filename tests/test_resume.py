"""A run that was killed, wherever it was, ends with the weights that it would have ended with anyway."""

import csv
import shutil
import subprocess
import sys

import pytest
import torch
from tiny import sound_corpus
from tiny_training import TEXTS, differing, read_metrics, training_config

from asr_tutorial import load
from asr_tutorial.config import to_yaml
from asr_tutorial.errors import CheckpointError, ConfigError
from asr_tutorial.training import loop, train
from asr_tutorial.training.run import RunFolder
from asr_tutorial.training.state import load_state, save_state

SETTINGS = [
    "--augment.speeds=[0.9, 1.0, 1.1]",
    "--augment.ramp_end=0.5",
    "--model.dropout=0.1",
    "--training.max_steps=14",
    "--training.accumulate=2",
    "--training.ema_decay=0.9",
    "--training.validate_every=5",
    "--training.checkpoint_every=3",
    "--training.log_every=1",
    "--training.schedule.kind=plateau",
    "--training.schedule.patience=1",
]

TRAIN = """
import sys, torch
torch.set_num_threads(int(sys.argv[3]))
from asr_tutorial.config import load_config
from asr_tutorial.training import loop

step = loop.Stepper.step

def waiting(self, batches, number):
    if number == int(sys.argv[4]):
        print("ready", flush=True)
        sys.stdin.read()
    return step(self, batches, number)

loop.Stepper.step = waiting
loop.train(load_config(sys.argv[1]), sys.argv[2])
"""
"""A training in a process of its own, which waits at a step to be killed."""


class Killed(BaseException):
    """Ends a run at once, as a kill would: no handler of the library knows it."""


def validations(run):
    """The validations of a run, without what depends on the clock."""
    records = read_metrics(run)["validations"]
    for record in records:
        del record["train_seconds"], record["train"]["audio_seconds_per_second"]
    return records


def state_of(run):
    """The state at the end of a run, without what depends on the clock."""
    state = load_state(run / "checkpoints" / "latest" / "state.pt")
    for part in ("progress", "since_log", "since_validation"):
        del state[part]["seconds"]
    return state


def assert_same_end(run, reference):
    assert differing(state_of(run), state_of(reference)) == []
    assert validations(run) == validations(reference)
    assert read_metrics(run)["test"] == read_metrics(reference)["test"]
    best, expected = (load(folder, "cpu").model.state_dict() for folder in (run, reference))
    assert differing(best, expected) == []
    with (run / "results.csv").open(encoding="utf-8", newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [5, 10, 14]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return sound_corpus(tmp_path_factory.mktemp("resume") / "tiny", TEXTS)


@pytest.fixture
def config(corpus):
    return training_config(corpus, *SETTINGS)


@pytest.fixture(scope="module")
def reference(corpus):
    """The same run, never interrupted."""
    train(training_config(corpus, *SETTINGS), corpus.parent / "reference", progress=False)
    return corpus.parent / "reference"


def test_killed_by_the_system(config, reference, tmp_path):
    (tmp_path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    run = tmp_path / "killed"
    command = [sys.executable, "-c", TRAIN, tmp_path / "config.yaml", run, torch.get_num_threads(), 8]
    pipe = subprocess.PIPE
    process = subprocess.Popen(list(map(str, command)), stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    process.kill()  # kill -9
    process.communicate()
    assert process.returncode != 0
    assert load_state(run / "checkpoints" / "latest" / "state.pt")["progress"]["step"] == 6  # steps 7 and 8 are lost
    train(resume=run, progress=False)
    assert "resumed at step 6 of 14" in (run / "train.log").read_text(encoding="utf-8")
    assert_same_end(run, reference)


def test_killed_at_the_awkward_moments(config, reference, tmp_path, monkeypatch):
    """One run, killed again and again: in a step, within a validation, and between the files that follow it."""

    running = []
    run = tmp_path / "killed"
    trainer_init = loop.Trainer.__init__

    def starting(self, *arguments):
        running.append(self)
        trainer_init(self, *arguments)

    def kill_at(patch, target, name, step, after):
        original = getattr(target, name)

        def wrapper(*arguments, **options):
            trainer = running[-1]
            if not after and trainer.progress.step == step:
                raise Killed
            result = original(*arguments, **options)
            if after and trainer.progress.step == step:
                raise Killed
            return result

        patch.setattr(target, name, wrapper)

    monkeypatch.setattr(loop.Trainer, "__init__", starting)
    moments = [
        (loop.Stepper, "step", 3, True),  # after the weights changed, before the step was counted
        (loop, "decode_batch", 5, False),  # within the first validation, with averaged weights in the model
        (loop, "save_checkpoint", 5, True),  # best is written, metrics.json is not
        (RunFolder, "add_validation", 5, True),  # metrics.json is written, the state is not
        (loop, "save_state", 6, False),
        (loop, "save_state", 9, True),
        (RunFolder, "add_validation", 10, True),
        (RunFolder, "add_validation", 14, True),  # after the last step
        (loop, "load_checkpoint", 14, False),  # before the test sets are measured
    ]
    for moment in moments:
        what = {"resume": run} if running else {"config": config, "run_folder": run}
        with monkeypatch.context() as patch:
            kill_at(patch, *moment)
            with pytest.raises(Killed):
                train(**what, progress=False)
    train(resume=run, progress=False)
    assert_same_end(run, reference)


def test_resuming_a_finished_run_measures_it_again_and_changes_nothing(reference, tmp_path):
    run = shutil.copytree(reference, tmp_path / "copy")
    result = train(resume=run, progress=False)
    assert read_metrics(run) == read_metrics(reference)
    assert differing(state_of(run), state_of(reference)) == []
    assert next(iter(result.test.values()))["wer"] == read_metrics(reference)["test"]["wer"]


def test_a_run_that_was_stopped_goes_on_where_its_log_says(config, tmp_path, caplog):
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        stop = loop.Trainer._after_step

        def stopping(self, end_of_epoch):
            stop(self, end_of_epoch)
            if self.progress.step == 7:
                raise KeyboardInterrupt

        patch.setattr(loop.Trainer, "_after_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(config, run, progress=False)
    seconds = load_state(run / "checkpoints" / "latest" / "state.pt")["progress"]["seconds"]
    with caplog.at_level("INFO", "asr_tutorial"):
        train(resume=run, progress=False)
    assert "resumed at step 6 of 14" in caplog.text
    assert read_metrics(run)["train_seconds"] > seconds > 0


def test_what_cannot_be_resumed_is_told(config, tmp_path):
    with pytest.raises(CheckpointError, match=r"is not a run folder: it has no config\.yaml"):
        train(resume=tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="is not a run folder"):
        train(resume=tmp_path / "empty")
    RunFolder.create(config, tmp_path / "run").close()
    with pytest.raises(CheckpointError, match="nothing to resume from"):
        train(resume=tmp_path / "run", progress=False)
    (tmp_path / "run" / "checkpoints" / "latest").mkdir(exist_ok=True)
    (tmp_path / "run" / "checkpoints" / "latest" / "state.pt").write_bytes(b"corrupt")
    with pytest.raises(CheckpointError, match=r"state\.pt cannot be read"):
        train(resume=tmp_path / "run", progress=False)


def test_a_state_of_another_model_is_told(reference, tmp_path):
    run = shutil.copytree(reference, tmp_path / "copy")
    path = run / "checkpoints" / "latest" / "state.pt"
    state = load_state(path)
    state["stepper"]["model"].pop("ctc_head.bias")
    save_state(path, state)
    with pytest.raises(CheckpointError, match=r"state\.pt does not fit"):
        train(resume=run, progress=False)


def test_a_new_run_does_not_overwrite_another(config, tmp_path):
    RunFolder.create(config, tmp_path / "run").close()
    with pytest.raises(ConfigError, match="already holds a run: resume it with --resume"):
        train(config, tmp_path / "run")


def test_either_a_configuration_or_a_run(config, tmp_path):
    for arguments in ({}, {"config": config, "resume": tmp_path}):
        with pytest.raises(ConfigError, match="either a configuration to train, or the folder of a run"):
            train(**arguments)
