"""What a recipe leaves behind: tables in Markdown and JSON, pictures, and the ten worst utterances."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr_tutorial import plots
from asr_tutorial.corpus import Corpus, read_corpus
from asr_tutorial.recipe.figures import Figures, record_name, search_of, worst_utterances
from asr_tutorial.recipe.plan import RecipeConfig
from asr_tutorial.recognizer import MAX_SECONDS, Recognizer, load
from asr_tutorial.training.run import environment

PICTURED_SECONDS = 4.0
"""About how long the utterance is that is drawn."""


def write_report(recipe: RecipeConfig, folders: Mapping[str, Path], figures: Figures, out: Path) -> Path:
    """Write everything into a folder.

    ``results.md`` and ``evaluation.json``; the best recogniser's ``config.yaml``, ``metrics.json`` and ``results.csv``;
    ``curves.png``, ``sweep_SEARCH.png``, ``alignment.png``, ``attention.png``; ``worst.tsv``, and
    ``hypotheses_CORPUS_SEARCH.tsv`` of the best recogniser (what was said stays with the corpus and its licence).

    Args:
        recipe: the recipe.
        folders: of the models.
        figures: what was measured.
        out: where to.

    Returns:
        ``results.md``.
    """
    out.mkdir(parents=True, exist_ok=True)
    best = figures.best
    recognizer = _load(folders, best)
    corpus = read_corpus(recipe.measure.corpora[0], root=recipe.measure.root)
    known = {word for path in _training_corpora(recognizer) for text in path.texts for word in text.split()}
    kind = search_of(best)
    options = recognizer.search_options(kind, **best.get("options", {})) if "options" in best else None
    worst = worst_utterances(recognizer, corpus, figures.record(best), known, options, recipe.measure.worst)
    with (out / "worst.tsv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(
            file, list(worst[0]) if worst else ["id"], delimiter="\t", quoting=csv.QUOTE_NONE, escapechar="\\"
        )
        writer.writeheader()
        writer.writerows(worst)

    run = folders[best["stage"]].parents[1]
    for name in ("config.yaml", "metrics.json", "results.csv"):
        if (run / name).is_file():
            shutil.copyfile(run / name, out / name)
    for row in figures.rows:
        if row["stage"] == best["stage"]:
            results = json.loads((figures.folder / record_name(row)).read_text(encoding="utf-8"))["results"]
            lines = [f"{result['id']}\t{result['hypothesis']}\n" for result in results]
            (out / f"hypotheses_{row['corpus']}_{row['search']}.tsv").write_text("".join(lines), encoding="utf-8")
    pictures = _draw(recipe, folders, figures, recognizer, corpus, out)
    record = {
        "recipe": recipe.name,
        "environment": environment(),
        "best": {key: best[key] for key in ("stage", "search", "corpus", "wer", "cer")},
        "trainings": _trainings(recipe, folders),
        "figures": figures.rows,
        "perplexities": figures.perplexities,
        "tunings": {
            name: {key: value for key, value in each.items() if key != "rows"} for name, each in figures.tunings.items()
        },
    }
    (out / "evaluation.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = out / "results.md"
    page.write_text(_page(recipe, figures, record, worst, pictures), encoding="utf-8")
    return page


def _load(folders: Mapping[str, Path], row: Mapping[str, Any]) -> Recognizer:
    lm = row["search"].partition("+")[2]
    return load(folders[row["stage"]], language_model=folders[lm] if lm else None)


def _training_corpora(recognizer: Recognizer) -> list[Corpus]:
    data = recognizer.config.data
    return [read_corpus(path, root=data.root) for path in data.train]


def _trainings(recipe: RecipeConfig, folders: Mapping[str, Path]) -> list[dict[str, Any]]:
    """What each stage took: processor time of the recipe itself, and the clock of a training's steps, which may have
    been made elsewhere, by torchrun for example."""
    rows = []
    for name, stage in recipe.stages.items():
        place = folders[name] if stage.kind == "ngram" else folders[name].parents[1]
        done = json.loads((place / "done.json").read_text(encoding="utf-8"))
        row = {"stage": name, "title": stage.title or name, "kind": stage.kind}
        row["processor_seconds"] = done["processor_seconds"]
        if (place / "metrics.json").is_file():
            metrics = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
            row["train_seconds"] = metrics.get("train_seconds", 0.0)
        rows.append(row)
    return rows


def _draw(
    recipe: RecipeConfig,
    folders: Mapping[str, Path],
    figures: Figures,
    recognizer: Recognizer,
    corpus: Corpus,
    out: Path,
) -> list[tuple[str, str]]:
    """Pictures: file and what it shows."""
    runs = {
        stage.title or name: json.loads((folders[name].parents[1] / "metrics.json").read_text(encoding="utf-8"))
        for name, stage in recipe.stages.items()
        if stage.kind == "recogniser"
    }
    drawn = [("curves.png", "Character error rate on the first dev set while training", plots.compare_runs(runs))]
    best = figures.best
    for name, tuning in figures.tunings.items():
        stage, _, search = name.partition("/")
        if stage == best["stage"] and "+" in search:
            title = f"{search}: the weight of the language model, by rescoring n-best lists"
            drawn.append((f"sweep_{search}.png", title, plots.weight_sweep(tuning["rows"])))
    drawable = [u for u in corpus if u.text and u.seconds <= MAX_SECONDS and not u.has_features]
    if drawable:
        pictured = min(drawable, key=lambda utterance: abs(utterance.seconds - PICTURED_SECONDS))
        from asr_tutorial.demo.page import alignment_figure

        audio = str(pictured.audio)
        aligned = recognizer.align(audio, recognizer.tokenizer.normalize(pictured.text or ""))
        figure = alignment_figure(recognizer, audio, aligned)
        drawn.append(("alignment.png", f"{pictured.id}: where CTC heard each word", figure))
        if recognizer.model.decoder is not None:
            tokens, maps = recognizer.attention_maps(audio, aligned.text)
            name = [key for key in maps if key.endswith("cross_attention")][-1]
            weights = maps[name].mean(dim=0)
            figure = plots.attention_map(weights, tokens, recognizer.encoder_frame_seconds, title=f"{name}, all heads")
            drawn.append(("attention.png", f"{pictured.id}: where the decoder looks", figure))
    for file, _, figure in drawn:
        figure.savefig(out / file, dpi=110)
        plots.close(figure)
    return [(file, title) for file, title, _ in drawn]


def _page(
    recipe: RecipeConfig,
    figures: Figures,
    record: Mapping[str, Any],
    worst: list[dict[str, Any]],
    pictures: list[tuple[str, str]],
) -> str:
    made, best = record["environment"], record["best"]
    corpora = list(dict.fromkeys(row["corpus"] for row in figures.rows))
    lines = [
        f"# {recipe.name}",
        "",
        f"Best on {best['corpus']}: {best['stage']}, search {best['search']}, WER {100 * best['wer']:.1f} %, CER "
        f"{100 * best['cer']:.1f} %.",
        "",
        f"Made by `{made['command']}` on {made['date']}, {made['device']}, {made['threads']} threads, torch "
        f"{made['torch']}, commit {made['commit']}. Weights were chosen on {corpora[0]}; RTF is the real-time factor.",
        "",
        "## Error rates",
        "",
        "| recogniser | search | " + " | ".join(f"{name} WER % | CER % | RTF" for name in corpora) + " |",
        "|---|---|" + "---|" * (3 * len(corpora)),
    ]
    by_line: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in figures.rows:
        by_line.setdefault((row["title"], row["search"]), {})[row["corpus"]] = row
    for (title, search), found in by_line.items():
        cells = [
            f"{100 * found[name]['wer']:.1f} | {100 * found[name]['cer']:.1f} | {found[name]['rtf']:.3f}"
            for name in corpora
        ]
        lines.append(f"| {title} | {search} | " + " | ".join(cells) + " |")
    lines += ["", "## Trainings", "", "| stage | what | minutes |", "|---|---|---|"]
    lines += [
        f"| {row['stage']} | {row['title']} ({row['kind']}) | "
        f"{row.get('train_seconds', row['processor_seconds']) / 60:.1f} |"
        for row in record["trainings"]
    ]
    if figures.perplexities:
        lines += ["", "## Language models", "", "| model | text | perplexity per word | of known words | unknown % |"]
        lines += ["|---|---|---|---|---|"]
        lines += [
            f"| {row['title']} | {row['corpus']} | {row['per_word']:.1f} | {row['per_known_word']:.1f} | "
            f"{100 * row['unknown_share']:.2f} |"
            for row in figures.perplexities
        ]
    lines += ["", "## Pictures", ""]
    lines += [f"{title}:\n\n![{title}]({file})\n" for file, title in pictures]
    lines += [f"## The {len(worst)} worst utterances", ""]
    for row in worst:
        lines += [
            f"**{row['id']}** ({row['seconds']} s, WER {100 * row['wer']:.0f} %)", "",
            f"- heard: {row['heard']}", f"- {row['what']}", "",
        ]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n"
