"""Error rates and speed of all five searches, with our trained models on their development and test sets.

    python benchmarks/searches.py [--corpus NAME] [--limit N] [--json data/results/searches.json]

Writes the record and, beside it, a table in Markdown. With ``--corpus`` that corpus alone is measured, and its rows are
added to those of an existing record.

Greedy search, CTC's best path, CTC prefix beam, the decoder's beam and the joint beam of both heads, each with its
default options (beams of 10), as ``asr-tutorial evaluate`` runs them, on one thread: word and character error rate, and
the real-time factor, which includes reading, features and the encoder, by the wall's clock and by processor time (which
does not count what other programs take). LibriSpeech is looked for where
``ASR_TUTORIAL_DATA`` says, or in ``../shared/data``; corpora that are missing are named and left out.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any, get_args

import torch
from common import ROOT, significant
from speech import checkpoint

from asr_tutorial.config import PLAIN_SEARCHES
from asr_tutorial.corpus import read_corpus
from asr_tutorial.errors import CorpusError
from asr_tutorial.recognizer import Search, default_options
from asr_tutorial.training.run import environment

PAIRS = [
    ("tinyspeech", "tinyspeech/test"),
    ("mini_librispeech", "dev-218spk"),
    ("mini_librispeech", "dev-4spk"),
]
"""Models of ``data/pretrained`` and the corpora that they are measured on."""
NOTE = (
    "Rows of mini_librispeech that were measured before 2026-11-26 06:00 are of the model that data/results/"
    "mini_librispeech is about. Its decoder, trained for 8.7 passes over 5.3 hours, has hardly begun to listen: it "
    "writes fluent text of its own, and loops, which makes more than 100 % errors; in its joint search CTC carries it. "
    "The model that is in data/pretrained now came of the recipe: data/results/mini_librispeech_recipe."
)


def measure(model: str, corpus: str, limit: int | None) -> list[dict[str, Any]]:
    """One row for each search.

    Raises:
        CorpusError: there is no such corpus.
    """
    recognizer = checkpoint(model)
    utterances = read_corpus(corpus)
    recognizer.evaluate(utterances, limit=4)  # the first call is slower
    rows = []
    made = environment()
    for search in recognizer.model.searches:
        start = time.process_time()
        result = recognizer.evaluate(utterances, search, limit)
        processor_seconds = time.process_time() - start
        row = {
            "model": model,
            "corpus": utterances.name,
            "search": search,
            "wer": significant(result.wer),
            "cer": significant(result.cer),
            "rtf": significant(result.rtf, 3),
            "processor_rtf": significant(processor_seconds / result.audio_seconds, 3),
            "utterances": result.utterances,
            "audio_seconds": round(result.audio_seconds, 1),
            "measured": f"{made['date']}, {made['commit']}",
        }
        rows.append(row)
        print(
            f"{model:18}{utterances.name:14}{search:11}{100 * result.wer:7.2f}{100 * result.cer:8.2f}"
            f"{result.rtf:10.4f}{row['processor_rtf']:10.4f}",
            flush=True,
        )
    return rows


def write(path: Path, rows: list[dict[str, Any]], missing: dict[str, str]) -> None:
    """The record, with what is needed to judge it."""
    made = environment()
    record = {
        "environment": {**made, "command": f"python benchmarks/{made['command']}", "load": os.getloadavg()[0]},
        "options": {
            search: vars(default_options(search)) for search in get_args(Search) if search not in PLAIN_SEARCHES
        },
        "missing": missing,
        "rows": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(table(record), encoding="utf-8")


def table(record: dict[str, Any]) -> str:
    """The record as a table in Markdown."""
    made = record["environment"]
    lines = [
        f"Made by `{made['command']}` (the last call) on {made['device']}, one thread, torch {made['torch']}. "
        "Beams of 10. RTF is processor time over the length of the audio, reading, features and encoder included.",
        "",
        "| model | corpus | utterances | search | WER % | CER % | RTF | date, commit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['model']} | {row['corpus']} | {row['utterances']} | {row['search']} | {100 * row['wer']:.1f} | "
        f"{100 * row['cer']:.1f} | {row['processor_rtf']:.4f} | {row['measured']} |"
        for row in record["rows"]
    ]
    return "\n".join([*lines, "", NOTE]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, help="only the first so many utterances of each corpus")
    parser.add_argument("--json", type=Path, default=ROOT / "data" / "results" / "searches.json", help="(%(default)s)")
    parser.add_argument("--corpus", choices=[corpus for _, corpus in PAIRS], help="this one alone")
    options = parser.parse_args()
    if "ASR_TUTORIAL_DATA" not in os.environ and (data := ROOT.parent / "shared" / "data").is_dir():
        os.environ["ASR_TUTORIAL_DATA"] = str(data)
    torch.set_num_threads(1)
    print(f"{'model':18}{'corpus':14}{'search':11}{'WER %':>7}{'CER %':>8}{'RTF':>10}{'cpu RTF':>10}")
    rows: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    if options.corpus and options.json.exists():
        rows = [
            row
            for row in json.loads(options.json.read_text(encoding="utf-8"))["rows"]
            if row["corpus"] != Path(options.corpus).name
        ]
    for model, corpus in PAIRS:
        if options.corpus not in (None, corpus):
            continue
        try:
            rows += measure(model, corpus, options.limit)
        except CorpusError as error:
            missing[corpus] = str(error)
            print(f"{model:18}{corpus:14}left out: {error}")
        write(options.json, rows, missing)  # after each corpus: the whole takes a while


if __name__ == "__main__":
    main()
