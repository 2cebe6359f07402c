"""Whole progressive trainings of tiny models: what each stage changes, what it keeps, and resuming in any of them."""

import shutil
import subprocess
import sys

import pytest
import torch
from test_distributed import losses, torchrun
from test_resume import TRAIN, Killed, state_of, validations
from tiny import sound_corpus
from tiny_training import TEXTS, differing, read_metrics, training_config, weights

import asr_tutorial
from asr_tutorial.checkpoint import read_info
from asr_tutorial.config import load_config, to_yaml
from asr_tutorial.training import loop, train
from asr_tutorial.training.diagnose import diagnose
from asr_tutorial.training.run import RunFolder
from asr_tutorial.training.state import load_state

STAGES = """--progressive.stages=[
    {encoder_layers: 1, decoder_layers: 1, steps: 3, data: 0.5, order: short, dropout: 0.0, spec_augment: 0.5},
    {encoder_layers: 2, steps: 4, freeze: ['^encoder\\.layers\\.0\\.', '^encoder\\.subsampling'], dropout: 0.2,
     label_smoothing: 0.3, teacher_forcing: 0.5},
    {encoder_layers: 3, decoder_layers: 2, data: 1.0, freeze: [], spec_augment: 1.0}]"""
SETTINGS = [
    "--progressive.kind=stages",
    STAGES.replace("\n", " "),
    "--progressive.rewarm_steps=2",
    "--model.encoder_layers=3",
    "--model.decoder_layers=2",
    "--model.conv_kernel=3",
    "--augment.speeds=[0.9, 1.0]",
    "--training.max_steps=12",
    "--training.ema_decay=0.9",
    "--training.validate_every=5",
    "--training.checkpoint_every=2",
    "--training.log_every=1",
    "--data.batch_seconds=3",
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return sound_corpus(tmp_path_factory.mktemp("stages") / "tiny", TEXTS)


@pytest.fixture(scope="module")
def watched(corpus):
    """A run, and what its steps were made of: a record for each, with the weights before and after it."""
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        step = loop.Stepper.step

        def noting(self, batches, number):
            before = {name: p.detach().clone() for name, p in self.model.named_parameters()}
            result = step(self, batches, number)
            steps.append(
                {
                    "before": before,
                    "after": {name: p.detach().clone() for name, p in self.model.named_parameters()},
                    "ids": [name for batch in batches for name in batch.ids],
                    "dropout": self.model.encoder.layers[-1].feed_forward.dropout.p,
                    "smoothing": self.criterion.label_smoothing,
                    "strength": self.model.spec_augment.strength,
                    "share": float(self.sampling.share),
                    "rates": {
                        name: group["lr"]
                        for group in self.optimizer.param_groups
                        for name, p in self.model.named_parameters()
                        if any(p is member for member in group["params"])
                    },
                    "counts": {
                        name: int(self.optimizer.state[p]["step"])
                        for name, p in self.model.named_parameters()
                        if "step" in self.optimizer.state[p]
                    },
                }
            )
            return result

        patch.setattr(loop.Stepper, "step", noting)
        train(training_config(corpus, *SETTINGS), corpus.parent / "reference", progress=False)
    return corpus.parent / "reference", steps


def test_depth_step_by_step(watched):
    _, steps = watched
    parts = ("encoder", "decoder")
    depths = [
        tuple(len({n.split(".")[2] for n in s["after"] if n.startswith(f"{part}.layers.")}) for part in parts)
        for s in steps
    ]
    assert depths == [(1, 1)] * 3 + [(2, 1)] * 4 + [(3, 2)] * 5


def test_each_stage_has_its_own_settings(watched):
    _, steps = watched
    assert [s["dropout"] for s in steps] == [0.0] * 3 + [0.2] * 9
    assert [s["smoothing"] for s in steps] == [0.1] * 3 + [0.3] * 9
    assert [s["strength"] for s in steps] == [0.5] * 7 + [1.0] * 5
    assert [s["share"] for s in steps] == [1.0] * 3 + [0.5] * 9


def test_short_utterances_come_first(watched):
    _, steps = watched
    assert {name for s in steps[:7] for name in s["ids"]} == {"1-2-0000", "1-2-0001", "1-2-0002"}
    assert {name for s in steps[7:] for name in s["ids"]} > {"1-2-0004", "1-2-0005"}


def test_what_is_frozen_does_not_move_and_what_is_not_does(watched):
    _, steps = watched

    def moved(first, last):
        before, after = steps[first]["before"], steps[last]["after"]
        return {n for n in before if not torch.equal(before[n], after[n]) and "k_proj.bias" not in n}

    def rests(name):
        return name.startswith(("encoder.layers.0.", "encoder.subsampling."))

    names = {n for n in steps[3]["before"] if "k_proj.bias" not in n}
    assert moved(3, 6) == {name for name in names if not rests(name)}
    assert any(rests(name) for name in names)
    assert moved(7, 11) == {n for n in steps[7]["before"] if "k_proj.bias" not in n}


def test_growing_keeps_the_old_parameters_and_what_adam_knows_of_them(watched):
    _, steps = watched
    for last, first in ((2, 3), (6, 7)):
        old, new = steps[last]["after"], steps[first]["before"]
        assert old.keys() < new.keys()
        assert all(torch.equal(old[name], new[name]) for name in old)
        assert all(float(new[f"encoder.layers.{1 if first == 3 else 2}.{part}"].abs().sum()) == 0
                   for part in ("conv.project.weight", "feed_forward.linear2.bias"))  # fmt: skip
    counts = [s["counts"] for s in steps]
    assert [c["ctc_head.weight"] for c in counts] == list(range(1, 13))
    rested = "encoder.layers.0.norm1.weight"
    assert [c[rested] for c in counts] == [1, 2, 3, 3, 3, 3, 3, 4, 5, 6, 7, 8]
    assert counts[11]["encoder.layers.1.norm1.weight"] == 9
    assert counts[11]["decoder.layers.1.norm1.weight"] == 5


def test_new_layers_are_warmed_up_by_themselves(watched):
    _, steps = watched
    old, first, second = "ctc_head.weight", "encoder.layers.1.norm1.weight", "decoder.layers.1.norm1.weight"
    ratios = [s["rates"][first] / s["rates"][old] for s in steps[3:]]
    assert ratios == pytest.approx([0.5, 1.0] + [1.0] * 7)
    assert [s["rates"][second] / s["rates"][old] for s in steps[7:]] == pytest.approx([0.5] + [1.0] * 4)


def test_records_say_the_stage(watched):
    run, _ = watched
    records = read_metrics(run)["validations"]
    assert [(r["step"], r["stage"], r["encoder_layers"], r["decoder_layers"]) for r in records] == [
        (5, 2, 2, 1), (10, 3, 3, 2), (12, 3, 3, 2)
    ]  # fmt: skip
    assert "stage 2 of 3: 2 + 1 layers" in (run / "train.log").read_text(encoding="utf-8")


def test_a_checkpoint_has_the_depth_of_its_stage_and_can_be_the_best(corpus, tmp_path):
    run, rates = tmp_path / "run", iter([0.2, 0.5, 0.6])
    with pytest.MonkeyPatch.context() as patch:
        measure = loop.Trainer._measure
        patch.setattr(loop.Trainer, "_measure", lambda self, *a: measure(self, *a) | {"cer": next(rates, 0.3)})
        train(training_config(corpus, *SETTINGS), run, progress=False)  # the test set is measured with two layers
    recognizer = asr_tutorial.load(run, "cpu")
    assert (recognizer.config.model.encoder_layers, recognizer.config.model.decoder_layers) == (2, 1)
    assert len(recognizer.model.encoder.layers) == 2
    assert recognizer.config.progressive.kind == "none"
    assert read_info(run)["stage"] == 2
    assert isinstance(recognizer.transcribe(str(next(corpus.rglob("*.flac")))).text, str)
    assert load_config(run / "config.yaml").model.encoder_layers == 3
    assert diagnose(checkpoint=run, batches=1, progress=False).finding is None


def test_self_paced_stages_move_on_when_dev_stops_improving(corpus, tmp_path):
    stages = (
        "--progressive.stages=[{encoder_layers: 1, patience: 2}, {encoder_layers: 2, patience: 1}, {encoder_layers: 3}]"
    )
    config = training_config(
        corpus, "--progressive.kind=stages", stages, "--model.encoder_layers=3", "--training.validate_every=1",
        "--training.max_steps=9",
    )  # fmt: skip
    rates = iter([0.9, 0.7, 0.8, 0.7, 0.9, 0.8, 0.8, 0.5, 0.5])
    with pytest.MonkeyPatch.context() as patch:
        measure = loop.Trainer._measure
        patch.setattr(loop.Trainer, "_measure", lambda self, *a: measure(self, *a) | {"cer": next(rates, 0.5)})
        train(config, tmp_path / "run", progress=False)
    records = read_metrics(tmp_path / "run")["validations"]
    # A stage that begins has no best yet: 0.9 after growing is not held against it.
    assert [record["stage"] for record in records] == [1, 1, 1, 1, 2, 2, 2, 3, 3]


def assert_same_end(run, reference):
    assert differing(state_of(run), state_of(reference)) == []
    assert validations(run) == validations(reference)
    assert read_metrics(run)["test"] == read_metrics(reference)["test"]


def test_killed_by_the_system_in_the_middle_of_a_stage(corpus, watched, tmp_path):
    (tmp_path / "config.yaml").write_text(to_yaml(training_config(corpus, *SETTINGS)), encoding="utf-8")
    run = tmp_path / "killed"
    command = [sys.executable, "-c", TRAIN, tmp_path / "config.yaml", run, torch.get_num_threads(), 5]
    pipe = subprocess.PIPE
    process = subprocess.Popen(list(map(str, command)), stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    process.kill()  # kill -9
    process.communicate()
    assert load_state(run / "checkpoints" / "latest" / "state.pt")["progress"]["step"] == 5
    train(resume=run, progress=False)
    assert_same_end(run, watched[0])


@pytest.mark.parametrize("place", ["top", "between"])
def test_killed_at_any_step_of_any_stage(corpus, watched, tmp_path, monkeypatch, place):
    """One run, killed before each of its steps, and resumed each time from a state of every second step."""
    config, run, reference = (
        training_config(corpus, *SETTINGS, f"--progressive.place={place}"),
        tmp_path / "run",
        watched[0],
    )
    if place == "between":
        reference = tmp_path / "reference"
        train(config, reference, progress=False)
    step = loop.Stepper.step
    for moment in range(2, 12):

        def dying(self, batches, number, moment=moment):
            if number == moment:
                raise Killed
            return step(self, batches, number)

        monkeypatch.setattr(loop.Stepper, "step", dying)
        with pytest.raises(Killed):
            train(**({"resume": run} if run.exists() else {"config": config, "run_folder": run}), progress=False)
    monkeypatch.setattr(loop.Stepper, "step", step)
    train(resume=run, progress=False)
    assert_same_end(run, reference)


def test_resuming_a_finished_run_changes_nothing(watched, tmp_path):
    run = shutil.copytree(watched[0], tmp_path / "copy")
    train(resume=run, progress=False)
    assert_same_end(run, watched[0])


def test_averages_are_of_one_depth(corpus, tmp_path):
    settings = [*SETTINGS, "--training.ema_decay=0", "--training.average=3", "--training.validate_every=2"]
    train(training_config(corpus, *settings), tmp_path / "run", progress=False)
    files = sorted(int(path.stem.rpartition("_")[2]) for path in (tmp_path / "run").glob("checkpoints/candidates/*.pt"))
    assert len(files) == 3
    assert min(files) > 7  # the last stage begins after step 7


def test_the_average_of_a_grown_model_begins_with_it(corpus, tmp_path):
    run = RunFolder.create(training_config(corpus, *SETTINGS, "--progressive.place=between"), tmp_path / "run")
    trainer = loop.Trainer(run, progress=False)
    stepper = trainer.stepper
    for number in range(3):
        stepper.step([next(trainer.data.train.batches(0))], number)
    old = dict(stepper.ema.average)
    trainer._next_stage()
    run.close()
    average = stepper.ema.average
    assert list(average) == [name for name, _ in stepper.model.named_parameters()]
    assert average["encoder.layers.0.norm1.weight"] is old["encoder.layers.0.norm1.weight"]
    copied = average["encoder.layers.1.norm1.weight"]
    assert torch.equal(copied, stepper.model.encoder.layers[1].norm1.weight)
    stepper.step([next(trainer.data.train.batches(0))], 3)


def test_teacher_forcing_falls_over_epochs_in_a_plain_training(corpus, tmp_path, monkeypatch):
    shares, step = [], loop.Stepper.step
    monkeypatch.setattr(
        loop.Stepper, "step", lambda self, *a: (shares.append(float(self.sampling.share)), step(self, *a))[1]
    )
    config = training_config(
        corpus, "--training.teacher_forcing=0.5", "--training.teacher_forcing_epochs=[1, 3]",
        "--training.max_steps=8", "--data.batch_seconds=6",
    )  # fmt: skip
    train(config, tmp_path / "run", progress=False)
    per_epoch = read_metrics(tmp_path / "run")["validations"][0]["step"]
    expected = [min(1.0, max(0.5, 1 - 0.25 * (number / per_epoch - 1))) for number in range(8)]
    assert 0.5 < min(shares) < 1
    assert shares == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_two_processes_grow_as_one_does(corpus, tmp_path):
    settings = [
        "--progressive.kind=stages",
        "--progressive.stages=[{encoder_layers: 1, steps: 3, freeze: [subsampling]}, {encoder_layers: 2, freeze: []}]",
        "--model.encoder_layers=2", "--model.dropout=0", "--augment.freq_warp=0", "--augment.freq_masks=0",
        "--augment.time_masks=0", "--training.max_steps=8", "--training.validate_every=2", "--data.batch_seconds=5",
        "--training.optimizer.lr=1e-3", "--training.optimizer.clip=0.5", "--training.ctc_weight=0.5",
    ]  # fmt: skip
    config = training_config(corpus, *settings)
    train(config, tmp_path / "one", progress=False)
    (tmp_path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    result = torchrun(2, "train", "--config", tmp_path / "config.yaml", "--run-dir", tmp_path / "two")
    assert result.returncode == 0, result.stderr
    for ours, theirs in zip(losses(tmp_path / "two"), losses(tmp_path / "one"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-5)
    ours, theirs = weights(tmp_path / "two"), weights(tmp_path / "one")
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) < 1e-4
