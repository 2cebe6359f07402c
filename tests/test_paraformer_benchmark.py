"""The benchmark on made-up features: every figure that it promises is there, and none is of another place."""

import importlib
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SMALL = ["--training.max_steps=4", "--training.validate_every=4", "--training.schedule.warmup_steps=2"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel counts memory per process on Linux alone")
def test_a_short_training_is_recorded(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    benchmark = importlib.import_module("paraformer_synthetic")
    monkeypatch.setattr(benchmark, "SPLITS", {"train": 40, "dev": 5, "test": 5})
    benchmark.main(["--out", str(tmp_path / "out"), "--results", str(tmp_path / "results"), *SMALL])
    record = json.loads((tmp_path / "results" / "measured.json").read_text())
    assert record["training"]["seconds"] > 0
    assert record["recognition"]["utterances"] == 5
    assert 200_000 < record["recognition"]["parameters"] < 300_000
    for part in ("training", "recognition"):
        assert record[part]["bytes"] > record[part]["bytes_before"] > 1e8
    for file in ("config.yaml", "metrics.json"):
        assert str(tmp_path / "out" / "data") not in (tmp_path / "results" / file).read_text()
    (figures,) = json.loads((tmp_path / "results" / "metrics.json").read_text())["validations"][-1]["dev"].values()
    assert {"token_accuracy", "sequence_accuracy", "length_error"} <= set(figures)
    assert (tmp_path / "results" / "curves.png").is_file()
    assert "dev token accuracy" in capsys.readouterr().out
