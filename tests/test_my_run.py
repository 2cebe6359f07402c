"""The learner's own run: planned, launched, watched, and put beside a recorded one."""

import json
import time

import pytest
from tiny import sound_corpus
from tiny_training import TEXTS, training_config

from asr_tutorial.config import to_yaml
from asr_tutorial.course.my_run import RecordedRun, RunPlan, plan_run, recorded_run, show_run
from asr_tutorial.errors import CourseError


@pytest.mark.parametrize("name", ["mini_librispeech", "tinyspeech"])
def test_a_recorded_run_shows_what_is_there(name):
    run = recorded_run(name)
    assert run.metrics["validations"]
    lines = run.table().splitlines()
    assert len(lines) == len(run.figures) + 1 > 2
    assert all(f"{100 * row['wer']:.1f}" in run.table() for row in run.figures)
    assert run.worst_text()


def test_worst_utterances_come_from_a_table(tmp_path):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "worst_dev.tsv").write_text("id\tsaid\theard\n1-2-3\tA B\tC\n", encoding="utf-8")
    assert recorded_run("some", tmp_path).worst_text() == "id: 1-2-3\n  said:  A B\n  heard: C"
    with pytest.raises(CourseError, match="no recorded run 'other'"):
        recorded_run("other", tmp_path)


def test_the_plan_fits_data_and_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASR_TUTORIAL_DATA", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert plan_run().config == "tinyspeech"
    (tmp_path / "LibriSpeech" / "train-clean-5").mkdir(parents=True)
    (tmp_path / "LibriSpeech" / "train-clean-100").mkdir()
    assert plan_run().config == "mini_librispeech"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a GPU")
    plan = plan_run()
    assert (plan.config, plan.folder.name) == ("librispeech_100h", "my_librispeech_100h")
    assert plan.command[3:] == [
        "train", "--code", "mine", "--config", "librispeech_100h", "--run-dir", str(plan.folder), "--resume", "auto"
    ]  # fmt: skip
    assert "not started" in str(plan)
    assert plan_run(config="tinyspeech", overrides=["--training.seed=2"]).command[-1] == "--training.seed=2"


def test_a_run_that_has_not_begun_leaves_the_recorded_one_alone(tmp_path):
    figure = show_run(plan_run(tmp_path / "none", config="tinyspeech"), recorded_run("tinyspeech"))
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["recorded: tinyspeech"]
    assert "is not started" in axes.get_title(loc="left")


def test_the_recorded_run_beside_mine_is_of_the_same_configuration(tmp_path):
    for config, beside in (("tinyspeech", "tinyspeech"), ("librispeech_100h", "mini_librispeech")):
        (axes,) = show_run(plan_run(tmp_path / "none", config=config)).axes
        assert [line.get_label() for line in axes.lines] == [f"recorded: {beside}"]


def test_the_table_of_a_recipe_names_the_models():
    row = {"corpus": "dev", "search": "ctc", "wer": 0.5, "cer": 0.25, "rtf": 0.01}
    figures = [{**row, "title": title} for title in ("from scratch", "CTC")]
    lines = RecordedRun("some", figures=figures).table().splitlines()
    assert [line.split("ctc")[0].strip() for line in lines[1:]] == ["dev           CTC", "dev           from scratch"]


def test_a_run_that_failed_at_once_says_where_to_look(tmp_path):
    plan = plan_run(tmp_path / "none", config="tinyspeech")
    (tmp_path / "none.log").write_text("no such corpus", encoding="utf-8")
    assert plan.state() == f"stopped: launch() goes on with it; {tmp_path / 'none.log'} says how it ended"
    assert not plan.finished()


@pytest.mark.slow
def test_a_run_is_launched_in_the_background_and_gone_on_with(tmp_path):
    corpus = sound_corpus(tmp_path / "tiny", TEXTS)
    (tmp_path / "config.yaml").write_text(to_yaml(training_config(corpus)), encoding="utf-8")
    plan = RunPlan(str(tmp_path / "config.yaml"), tmp_path / "runs" / "mine", "a test", code="ours")
    assert plan.state() == "not started"
    plan.launch()
    with pytest.raises(CourseError, match="is running already"):
        plan.launch()
    end = time.monotonic() + 300
    while plan.running() and time.monotonic() < end:
        time.sleep(0.2)
    assert plan.state() == "finished, last validation after step 4", (tmp_path / "runs" / "mine.log").read_text()
    assert plan.finished()
    figure = show_run(plan, RecordedRun("recorded", json.loads((plan.folder / "metrics.json").read_text())))
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["mine", "recorded: recorded"]
    metrics = plan.metrics()
    del metrics["test"]
    (plan.folder / "metrics.json").write_text(json.dumps(metrics))
    assert plan.state().startswith("stopped, last validation after step 4: launch() goes on")
