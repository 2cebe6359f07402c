"""Transformer, LaCT and Paraformer on the bundled speech, in equal time and of equal size: what each hears afterwards.

    python benchmarks/architectures.py [--minutes 12] [--out runs/architectures] [--section.key=value ...]

Each is trained for the same processor time: the cost of a step is measured first, and as many steps are made as fit;
the learning rate's course and the warm-up are laid out over them. Sizes are within a few per cent of each other: LaCT
has a decoder as the Transformer's, and the convolutions of its encoder layers, or one layer more without them. Of the
two Paraformers one learns from CTC where letters are. Then each is measured on the test set by all searches that it
has, and the searches are timed against each other on the same utterances, in turns, from the sound on and from the
encoder's states on. Written to data/results/architectures_tinyspeech.json; what has been trained is not trained again.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from ablation import SHARE_OF_WARMUP, VALIDATIONS, counted, plan
from common import ROOT, Table, significant
from torch import Tensor

from asr_tutorial.config import load_config
from asr_tutorial.corpus import Corpus, read_corpus
from asr_tutorial.recognizer import Recognizer, decode_batch, load
from asr_tutorial.training import train
from asr_tutorial.training.run import environment

CORPUS = "tinyspeech/test"
DECODER = ["model.decoder_layers=2", "training.ctc_weight=0.5"]
ARCHITECTURES: dict[str, tuple[str, list[str]]] = {
    "Transformer": ("tinyspeech", []),
    "LaCT": ("lact_tiny", [*DECODER, "model.conv_kernel=9", "training.optimizer.lr=3.0e-3"]),
    "LaCT, no convolution": ("lact_tiny", [*DECODER, "model.encoder_layers=7"]),
    "Paraformer": ("paraformer_tiny", []),
    "Paraformer, aligned": ("paraformer_tiny", ["training.alignment_weight=2.0"]),
}
SEARCHES = ("ctc", "greedy", "parallel", "attention", "joint")
TIMED = 20
"""Utterances that the searches are timed on."""


def trained(name: str, budget: float, overrides: list[str], out: Path) -> dict[str, Any]:
    """Train one architecture; what came of a former call is read."""
    run = out / name.replace(",", "").replace(" ", "_").lower()
    record = run / "trained.json"
    if record.is_file():
        return json.loads(record.read_text(encoding="utf-8"))
    shutil.rmtree(run, ignore_errors=True)
    config, settings = ARCHITECTURES[name]
    settings = [*settings, "data.test=[]", *overrides]
    planned = plan(load_config(config, settings), budget)
    steps = planned["steps"]
    settings += [
        f"training.max_steps={steps}",
        f"training.validate_every={max(1, -(-steps // VALIDATIONS))}",
        f"training.schedule.warmup_steps={max(1, round(SHARE_OF_WARMUP * steps))}",
        "training.sample_every=0",
        "training.checkpoint_every=0",
    ]
    with counted() as spent:
        result = train(load_config(config, settings), run)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    values = {
        "architecture": name,
        "config": config,
        "settings": ARCHITECTURES[name][1],
        "checkpoint": str(result.checkpoint),
        **planned,
        "commit": metrics["environment"]["commit"],
        "train_seconds": significant(sum(spent)),
        "epochs": round(metrics["validations"][-1]["epoch"], 2),
        "train_loss": significant(metrics["validations"][-1]["train"]["loss"]),
        "curve": [
            {"step": v["step"], "cer": significant(next(iter(v["dev"].values()))["cer"])}
            for v in metrics["validations"]
        ],
    }
    record.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return values


def work(recognizer: Recognizer, corpus: Corpus, search: str) -> Callable[[], Any]:
    """Decode some utterances one after the other, as they come in use, from the sound to the text."""
    paths = [utterance.audio for utterance in corpus.utterances[:TIMED]]

    def run() -> list[str]:
        return [recognizer.transcribe(path, search=search).text for path in paths]  # type: ignore[arg-type]

    return run


def search_alone(recognizer: Recognizer, corpus: Corpus, search: str) -> Callable[[], Any]:
    """The same without what all searches have in common: from the encoder's states, computed before, to the text."""
    model, encode, seen = recognizer.model, recognizer.model.encode, []

    def note(features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        states = encode(features, lengths)
        seen.append((SimpleNamespace(features=features, feature_lengths=lengths), states))
        return states

    with mock.patch.object(model, "encode", note):
        work(recognizer, corpus, search)()

    def run() -> None:
        for batch, states in seen:
            with mock.patch.object(model, "encode", return_value=states):
                decode_batch(model, recognizer.tokenizer, batch, search)  # type: ignore[arg-type]

    return run


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=12.0, help="of the processor for each (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds of the searches (%(default)s)")
    parser.add_argument("--only", nargs="+", default=list(ARCHITECTURES), help="of these alone")
    parser.add_argument("--train-only", action="store_true", help="train, and measure in a later call")
    parser.add_argument("--out", type=Path, default=Path("runs/architectures"), help="where runs go (%(default)s)")
    parser.add_argument(
        "--json", type=Path, default=ROOT / "data/results/architectures_tinyspeech.json", help="(%(default)s)"
    )
    options, overrides = parser.parse_known_args(arguments)
    overrides = [override.removeprefix("--") for override in overrides]
    torch.set_num_threads(1)
    made = [trained(name, 60 * options.minutes, overrides, options.out) for name in options.only]
    if options.train_only:
        return
    corpus = read_corpus(CORPUS)
    baseline = "Paraformer, parallel"
    timing = Table(f"{TIMED} utterances of {CORPUS}, one by one", baseline)
    searching = Table("the same, from the encoder's states on", baseline)
    rows = []
    for values in made:
        recognizer = load(values.pop("checkpoint"), "cpu")
        for search in SEARCHES:
            if search not in recognizer.model.searches:
                continue
            found = recognizer.evaluate(corpus, search)  # type: ignore[arg-type]
            rows.append(
                {
                    "architecture": values["architecture"],
                    "parameters": values["parameters"],
                    "train_seconds": values["train_seconds"],
                    "search": search,
                    "wer": significant(found.wer),
                    "cer": significant(found.cer),
                    "rtf": significant(found.rtf),
                }
            )
            name = f"{values['architecture']}, {search}"
            timing.add(name, partial(work, recognizer, corpus, search))
            searching.add(name, partial(search_alone, recognizer, corpus, search))
    timing.measure(options.rounds)
    searching.measure(options.rounds)
    about = environment()
    record = {
        "environment": {**about, "command": f"python benchmarks/{about['command']}"},
        "corpus": CORPUS,
        "budget_seconds": 60 * options.minutes,
        "trainings": made,
        "rows": rows,
        "timing": timing.record(),
        "search_alone": searching.record(),
    }
    options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(
            f"{row['architecture']:14} {row['parameters'] / 1e6:5.2f}M {row['train_seconds']:6.0f} s "
            f" {row['search']:9} WER {100 * row['wer']:5.1f} %  CER {100 * row['cer']:5.1f} %  RTF {row['rtf']:.4f}"
        )
    print(timing)
    print(searching)


if __name__ == "__main__":
    main()
