"""The table of all searches: one row for each, a record, and a corpus that is missing named."""

import importlib
import json
import sys
from pathlib import Path

import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_each_search_is_measured_on_each_corpus(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    searches = importlib.import_module("searches")
    monkeypatch.setattr(searches, "PAIRS", [("tinyspeech", "tinyspeech/test"), ("tinyspeech", "no/such/corpus")])
    monkeypatch.setattr(sys, "argv", ["searches.py", "--limit", "2", "--json", str(tmp_path / "out" / "searches.json")])
    threads = torch.get_num_threads()
    try:
        searches.main()
    finally:
        torch.set_num_threads(threads)
    record = json.loads((tmp_path / "out" / "searches.json").read_text(encoding="utf-8"))
    assert [row["search"] for row in record["rows"]] == ["greedy", "ctc", "prefix", "attention", "joint"]
    assert all(row["utterances"] == 2 and row["wer"] <= 0.5 and row["processor_rtf"] > 0 for row in record["rows"])
    assert list(record["missing"]) == ["no/such/corpus"]
    assert record["options"]["attention"]["length_penalty"] == 1.0
    assert {"command", "date", "torch", "commit"} <= record["environment"].keys()
    assert "left out: " in capsys.readouterr().out
    table = (tmp_path / "out" / "searches.md").read_text(encoding="utf-8")
    assert "| tinyspeech | test | 2 | joint |" in table
