"""Record a finished run: figures, curves and hypotheses into ``data/results``, weights into ``data/pretrained``.

    python tools/record_run.py runs/20260101-120000_mini_librispeech mini_librispeech \
        --corpus LibriSpeech/dev-218spk --corpus LibriSpeech/dev-4spk

Writes ``data/results/NAME/``: the run's ``config.yaml``, ``metrics.json`` and ``results.csv``, ``curves.png``,
``evaluation.json`` (error rates for each corpus and search, with command, date, machine and commit) and
``hypotheses_CORPUS_SEARCH.tsv`` (id and what was recognised; what was said stays with the corpus and its licence). And
``data/pretrained/NAME/``: the best checkpoint with fp16 weights. The figures are those of the fp16 checkpoint. With
``--no-weights`` the checkpoint goes beside the run's others, and the repository does not grow.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import get_args

import asr_tutorial
from asr_tutorial import plots
from asr_tutorial.corpus import read_corpus
from asr_tutorial.recognizer import Search
from asr_tutorial.training.run import environment

DATA = Path(__file__).resolve().parents[1] / "data"


def portable(text: str, run: Path, root: str) -> str:
    """Without the folders of one machine: where the run is, and the root of its corpora."""
    if root:
        text = text.replace(f"root: {root}\n", "root: ''\n").replace(root, "DATA")
    return text.replace(str(run.resolve()), f"runs/{run.name}").replace(str(run), f"runs/{run.name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("name", help="name under data/results and data/pretrained")
    parser.add_argument("--corpus", action="append", required=True, help="corpus to evaluate on; may be repeated")
    parser.add_argument("--search", action="append", choices=get_args(Search), help="may be repeated; default: all")
    parser.add_argument("--no-weights", action="store_true", help="leave the checkpoint in the run folder")
    arguments = parser.parse_args()

    kept = arguments.run / "checkpoints" / "half" if arguments.no_weights else DATA / "pretrained" / arguments.name
    asr_tutorial.load(arguments.run, device="cpu").save(kept, half=True)
    recognizer = asr_tutorial.load(kept)

    results = DATA / "results" / arguments.name
    results.mkdir(parents=True, exist_ok=True)
    for file in ("config.yaml", "metrics.json", "results.csv"):
        text = (arguments.run / file).read_text(encoding="utf-8")
        (results / file).write_text(portable(text, arguments.run, recognizer.config.data.root), encoding="utf-8")
    figure = plots.learning_curves(arguments.run)
    figure.savefig(results / "curves.png", dpi=120)

    figures = []
    for path in arguments.corpus:
        corpus = read_corpus(path)
        for search in arguments.search or recognizer.model.searches:
            evaluation = recognizer.evaluate(corpus, search)
            values = evaluation.to_dict()
            lines = [f"{result['id']}\t{result['hypothesis']}\n" for result in values.pop("results")]
            (results / f"hypotheses_{corpus.name}_{search}.tsv").write_text("".join(lines), encoding="utf-8")
            figures.append({"corpus": corpus.name, **values})
            print(f"{corpus.name} {search}: WER {100 * evaluation.wer:.1f}% CER {100 * evaluation.cer:.1f}%")
    checkpoint = "" if arguments.no_weights else f"data/pretrained/{arguments.name}"
    about = environment()
    about["command"] = portable(about["command"], arguments.run, recognizer.config.data.root)
    record = {"checkpoint": checkpoint, "environment": about, "figures": figures}
    (results / "evaluation.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
