"""The ablation: arms of equal compute, each with one thing changed, resumable, with a table."""

import importlib
import json
import sys
from pathlib import Path

import pytest
from tiny import MODEL, sound_corpus
from tiny_training import TEXTS, training_config

from asr_tutorial.config import load_config, to_yaml
from asr_tutorial.progressive import plan_stages

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def ablation(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("ablation")


def test_steps_within_a_budget(ablation):
    assert ablation.steps_within(10.0, [0.5], []) == 20
    assert ablation.steps_within(10.0, [0.1, 0.2, 0.5], [10, 20]) == 10 + 20 + 10, "1 s and 4 s, and 5 s are left"
    assert ablation.steps_within(2.0, [0.1, 0.2], [50]) == 20, "the budget ends in the first stage"
    assert ablation.steps_within(0.01, [0.5], []) == 1


def test_cheap_stages_leave_time_for_more_steps(ablation):
    """One and two encoder layers cost less than four: a growing model makes more steps for the same compute."""

    def cost(config):
        return config.model.encoder_layers * 0.1, 10, 1000

    settings = [f"model.{key}={value}" for key, value in MODEL.items()]
    plain = load_config("tinyspeech", [*settings, "model.encoder_layers=4"])
    growing = load_config("tinyspeech", [*settings, "model.encoder_layers=4", *ablation.GROWING])
    assert ablation.plan(plain, 40.0, cost)["steps"] == 100
    found = ablation.plan(growing, 40.0, cost)
    assert found["seconds_per_step"] == [0.1, 0.2, 0.4]
    assert found["steps"] == 10 + 10 + round((40 - 1 - 2) / 0.4 - 0.5)


def test_each_arm_differs_from_another_in_one_thing(ablation):
    for name, arm in ablation.ARMS.items():
        settings = ablation.settings_of(arm, "/lm", 200, 3, 10)
        config = load_config("mini_librispeech", settings)
        assert (config.training.max_steps, config.training.schedule.warmup_steps, config.training.seed) == (200, 20, 3)
        assert arm.against in ablation.ARMS or name == "ctc"
    full = load_config("mini_librispeech", ablation.settings_of(ablation.ARMS["specaugment"], "", 200, 1, 10))
    speed = load_config("mini_librispeech", ablation.settings_of(ablation.ARMS["speed"], "", 200, 1, 10))
    assert (full.augment.speeds, speed.augment.speeds) == ([0.9, 1.0, 1.1], [0.9, 1.0, 1.1])
    assert full.augment.time_masks > speed.augment.time_masks == 0
    both = plan_stages(load_config("mini_librispeech", ablation.settings_of(ablation.ARMS["both"], "/lm", 200, 1, 10)))
    assert [stage.encoder_layers for stage in both] == [1, 2, 4, 8, 10]
    assert {stage.decoder_layers for stage in both} == {2}, "the language model's layers are all there"


def test_two_arms_and_a_second_seed(ablation, tmp_path, monkeypatch, capsys):
    """A budget of a few steps; the second call trains nothing."""
    corpus = sound_corpus(tmp_path / "corpus", TEXTS)
    monkeypatch.setattr(ablation, "cost_of_step", lambda config: (0.1, 3, 1234))
    monkeypatch.setattr(
        ablation, "plan", lambda config, budget: {"steps": 3, "seconds_per_step": [0.1], "parameters": 9}
    )
    config = tmp_path / "small.yaml"
    config.write_text(to_yaml(training_config(corpus, "--data.test=[]")))
    options = ["--config", str(config), "--minutes", "0.1", "--arms", "ctc", "joint", "--second-seed", "1"]
    options += ["--device", "cpu", "--out", str(tmp_path / "out"), "--json", str(tmp_path / "a.json")]
    ablation.main(options)
    record = json.loads((tmp_path / "a.json").read_text())
    assert [(row["arm"], row["seed"]) for row in record["rows"][:2]] == [("ctc", 1), ("joint", 1)]
    assert record["rows"][2]["seed"] == 2
    ctc, joint = record["rows"][:2]
    assert list(ctc["dev"]) == ["corpus ctc"]
    assert list(joint["dev"]) == ["corpus ctc", "corpus joint"]
    assert all(row["step_seconds"] >= 0 and len(row["curve"]) >= 1 for row in record["rows"])
    text = (tmp_path / "a.md").read_text()
    assert text.count("\n| ") == 1 + 3, "a head and three rows"
    assert " against ctc |" in text
    monkeypatch.setattr(ablation, "train", lambda *arguments: pytest.fail("trained again"))
    ablation.main(options)
    assert json.loads((tmp_path / "a.json").read_text())["rows"] == record["rows"]
    with pytest.raises(SystemExit):
        ablation.main(["--arms", "lm"])
    assert "the arms lm need --lm" in capsys.readouterr().err
    assert "ablation" in sys.modules
