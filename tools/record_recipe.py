"""Record a finished recipe: its results into ``data/results``, its best recogniser and language model as fp16.

    python tools/record_recipe.py runs/mini mini_librispeech [--limit N]

Copies ``runs/mini/results`` to ``data/results/NAME`` and writes ``data/pretrained/NAME``, whose ``search.yaml`` holds
the weights that were found, and ``data/pretrained/NAME_lm``. Then both are measured as ``asr-tutorial evaluate`` would,
and what came of it is put beside the recipe's own figure in ``evaluation.json``: they must agree to 0.2 points.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from pathlib import Path
from typing import Any

import asr_tutorial
from asr_tutorial.config import read_yaml
from asr_tutorial.corpus import read_corpus
from asr_tutorial.language_model import NGram, load_language_model, save_ngram, save_transformer_lm
from asr_tutorial.recipe import RecipeConfig, load_recipe

DATA = Path(__file__).resolve().parents[1] / "data"
TOLERANCE = 0.002


def recommended(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the recipe found for each search of its best recogniser, as a checkpoint recommends it."""
    best, found = record["best"], {}
    _, _, lm = best["search"].partition("+")
    for name, tuning in record["tunings"].items():
        stage, _, search = name.partition("/")
        kind, plus, model = search.partition("+")
        if stage == best["stage"] and (not plus or model == lm):
            found[f"{kind}+lm" if plus else kind] = tuning["recommended"]
    return found


def write_models(run: Path, name: str, record: dict[str, Any], pretrained: Path) -> tuple[Path, Path | None]:
    """The best recogniser and its language model, fp16; the second is None where the best search had none."""
    best = record["best"]
    recognizer = asr_tutorial.load(run / best["stage"], device="cpu")
    recognizer.recommended = recommended(record)
    recognizer.save(pretrained / name, half=True)
    lm = best["search"].partition("+")[2]
    if not lm:
        return pretrained / name, None
    loaded = load_language_model(run / lm)
    if isinstance(loaded.model, NGram):
        save_ngram(pretrained / f"{name}_lm", loaded.model, read_yaml(run / lm / "config.yaml"))
    else:
        assert loaded.tokenizer is not None
        assert loaded.config is not None
        save_transformer_lm(pretrained / f"{name}_lm", loaded.model, loaded.tokenizer, loaded.config, half=True)
    return pretrained / name, pretrained / f"{name}_lm"


def leave_out_what_was_said(path: Path) -> None:
    """Transcripts stay with the corpus and its licence; what was heard instead, and why, is ours."""
    format = {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "escapechar": "\\"}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, **format))
    names = [name for name in rows[0] if name != "said"] if rows else ["id"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore", **format)
        writer.writeheader()
        writer.writerows(rows)


def reproduce(
    recipe: RecipeConfig, record: dict[str, Any], model: Path, lm: Path | None, limit: int | None
) -> list[dict[str, Any]]:
    """Error rates of what was written, beside those of the recipe."""
    best = record["best"]
    recognizer = asr_tutorial.load(model, device="cpu", language_model=lm)
    rows = []
    for path in recipe.measure.corpora:
        corpus = read_corpus(path, root=recipe.measure.root)
        found = recognizer.evaluate(corpus, best["search"].partition("+")[0], limit)
        same = {"stage": best["stage"], "search": best["search"], "corpus": corpus.name}
        (row,) = [row for row in record["figures"] if same.items() <= row.items()]
        rows.append({**same, "wer": found.wer, "cer": found.cer, "recipe_wer": row["wer"], "recipe_cer": row["cer"]})
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="what --out was")
    parser.add_argument("name", help="name under data/results and data/pretrained")
    parser.add_argument("--recipe", default="mini-librispeech", help="the recipe (%(default)s)")
    parser.add_argument("--limit", type=int, help="measure only the first so many utterances")
    parser.add_argument("--data", type=Path, default=DATA, help="in the place of the repository's data")
    options = parser.parse_args(arguments)
    record = json.loads((options.run / "results" / "evaluation.json").read_text(encoding="utf-8"))
    results = options.data / "results" / options.name
    shutil.copytree(options.run / "results", results, dirs_exist_ok=True)
    leave_out_what_was_said(results / "worst.tsv")
    model, lm = write_models(options.run, options.name, record, options.data / "pretrained")
    rows = reproduce(load_recipe(options.recipe), record, model, lm, options.limit)
    record["reproduced"] = rows
    (results / "evaluation.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for row in rows:
        print(
            f"{row['corpus']}: WER {100 * row['wer']:.2f} %, CER {100 * row['cer']:.2f} %; the recipe has "
            f"{100 * row['recipe_wer']:.2f} and {100 * row['recipe_cer']:.2f}"
        )
    if options.limit is None and any(abs(row["wer"] - row["recipe_wer"]) > TOLERANCE for row in rows):
        raise SystemExit("the fp16 models do not reproduce the recipe's figures to 0.2 points")


if __name__ == "__main__":
    main()
