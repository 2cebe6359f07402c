"""The benchmark of architectures: equal budgets, every search that a model has, all of them timed in turns."""

import importlib
import json
from pathlib import Path

import pytest
from tiny import sound_corpus
from tiny_training import TEXTS, training_config

from asr_tutorial.config import load_config, to_yaml
from asr_tutorial.model import build_model, count_parameters

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def architectures(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("architectures")


def test_what_is_compared_has_about_the_same_size(architectures):
    sizes = {}
    for name, (config, settings) in architectures.ARCHITECTURES.items():
        sizes[name] = count_parameters(build_model(load_config(config, settings), 33))
    assert max(sizes.values()) < 1.05 * min(sizes.values()), sizes


def test_two_architectures_of_a_few_steps(architectures, tmp_path, monkeypatch, capsys):
    corpus = sound_corpus(tmp_path / "corpus", TEXTS)
    config = tmp_path / "small.yaml"
    config.write_text(to_yaml(training_config(corpus, "--data.test=[]")))
    monkeypatch.setattr(
        architectures,
        "ARCHITECTURES",
        {
            "Transformer": (str(config), []),
            "Paraformer": (str(config), ["model.architecture=paraformer", "training.validation_search=parallel"]),
        },
    )
    monkeypatch.setattr(architectures, "CORPUS", str(corpus))
    planned = {"steps": 3, "seconds_per_step": [0.1], "parameters": 9}
    monkeypatch.setattr(architectures, "plan", lambda config, budget: dict(planned))
    options = ["--out", str(tmp_path / "out"), "--json", str(tmp_path / "a.json"), "--rounds", "5"]
    options += ["--only", "Transformer", "Paraformer"]
    architectures.main([*options, "--train-only"])
    assert not (tmp_path / "a.json").exists()
    monkeypatch.setattr(architectures, "train", lambda *arguments: pytest.fail("trained again"))
    architectures.main(options)
    record = json.loads((tmp_path / "a.json").read_text())
    found = [(row["architecture"], row["search"]) for row in record["rows"]]
    assert found == [
        *(("Transformer", search) for search in ("ctc", "greedy", "attention", "joint")),
        *(("Paraformer", search) for search in ("ctc", "parallel")),
    ]
    assert all(row["train_seconds"] > 0 and row["rtf"] > 0 for row in record["rows"])
    for table in ("timing", "search_alone"):
        assert {row["system"] for row in record[table]["rows"]} == {f"{name}, {search}" for name, search in found}
    assert "Paraformer, parallel" in capsys.readouterr().out
