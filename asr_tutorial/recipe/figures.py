"""Measuring what a recipe has trained: error rates of every search, perplexities, and what went wrong at the worst."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asr_tutorial import metrics
from asr_tutorial.config import PLAIN_SEARCHES
from asr_tutorial.corpus import Corpus, Utterance, read_corpus
from asr_tutorial.language_model import evaluate_text, load_language_model
from asr_tutorial.modes import evaluating
from asr_tutorial.recipe.plan import RecipeConfig
from asr_tutorial.recipe.stages import write_json
from asr_tutorial.recognizer import Recognizer, Search, SearchOptions, load
from asr_tutorial.recognizer.tune import tune
from asr_tutorial.search.rescore import score_candidates

logger = logging.getLogger("asr_tutorial")


@dataclass
class Figures:
    """All that was measured, as plain values.

    Attributes:
        rows: one for each recogniser, search and corpus: ``stage``, ``title``, ``search``, ``corpus``, ``wer``,
            ``cer``, ``rtf``, ``options`` ...
        tunings: what :meth:`~asr_tutorial.recognizer.tune.Tuning.to_dict` gives, by ``STAGE/SEARCH``.
        perplexities: one row for each language model and corpus.
        folder: where the single records lie.
    """

    rows: list[dict[str, Any]]
    tunings: dict[str, dict[str, Any]]
    perplexities: list[dict[str, Any]]
    folder: Path

    @property
    def best(self) -> dict[str, Any]:
        """The row with the lowest word error rate on the first corpus."""
        first = self.rows[0]["corpus"]
        return min((row for row in self.rows if row["corpus"] == first), key=lambda row: (row["wer"], row["cer"]))

    def record(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The whole record of a row, transcripts included."""
        return json.loads((self.folder / record_name(row)).read_text(encoding="utf-8"))


def record_name(row: Mapping[str, Any]) -> str:
    """The file in which the transcripts of a row are kept."""
    return f"{row['stage']}_{row['search']}_{row['corpus']}.json"


def measure(recipe: RecipeConfig, folders: Mapping[str, Path], folder: Path, device: str = "auto") -> Figures:
    """Measure everything; what has been measured by a former call is read.

    The weights of each search are chosen on the first corpus, for each recogniser and language model anew.

    Args:
        recipe: what to measure.
        folders: of the models, from :func:`~asr_tutorial.recipe.stages.do_stages`.
        folder: where records are kept.
        device: where to compute.
    """
    settings = recipe.measure
    limit = settings.limit or None
    corpora = [read_corpus(path, root=settings.root) for path in settings.corpora]
    figures = Figures([], {}, [], folder)
    for name, stage in recipe.stages.items():
        if not stage.measure:
            continue
        if stage.kind != "recogniser":
            figures.perplexities += [_perplexity(name, stage.title or name, folders[name], each) for each in corpora]
            continue
        recognizer = load(folders[name], device)
        for search in settings.searches:
            kind, _, lm = search.partition("+")
            if kind not in recognizer.model.searches:
                continue
            recognizer.use_language_model(folders[lm] if lm else None)
            options = None
            if kind not in PLAIN_SEARCHES:
                tuning = _tuning(recipe, recognizer, corpora[0], kind, folder / f"tuning_{name}_{search}.json")
                figures.tunings[f"{name}/{search}"] = tuning
                options = recognizer.search_options(kind, **tuning["recommended"])
            for corpus in corpora:
                row = {"stage": name, "title": stage.title or name, "search": search, "corpus": corpus.name}
                record = folder / record_name(row)
                if not record.is_file():
                    result = recognizer.evaluate(corpus, kind, limit, options=options)
                    write_json(record, {**row, **result.to_dict(), "search": search})
                values = json.loads(record.read_text(encoding="utf-8"))
                figures.rows.append({key: value for key, value in values.items() if key not in ("results", "skipped")})
                logger.info(
                    "%s, %s, %s: WER %.1f%% CER %.1f%%", name, search, corpus.name, 100 * values["wer"],
                    100 * values["cer"],
                )  # fmt: skip
    return figures


def _tuning(recipe: RecipeConfig, recognizer: Recognizer, corpus: Corpus, search: str, path: Path) -> dict[str, Any]:
    if not path.is_file():
        settings = recipe.measure
        tuning = tune(
            recognizer,
            corpus,
            search,  # type: ignore[arg-type]
            recognizer.search_options(search, beam_size=settings.beam_size),  # type: ignore[arg-type]
            settings.lm_weights,
            settings.token_bonuses,
            settings.ctc_weights,
            confirm=1,
            limit=settings.limit or None,
        )
        write_json(path, tuning.to_dict())
    return json.loads(path.read_text(encoding="utf-8"))


def _perplexity(name: str, title: str, folder: Path, corpus: Corpus) -> dict[str, Any]:
    found = evaluate_text(load_language_model(folder), corpus.texts)
    return {
        "stage": name,
        "title": title,
        "corpus": corpus.name,
        "per_word": found.per_word,
        "per_known_word": found.per_known_word,
        "unknown_share": found.unknown_share,
    }


# ------------------------------------------------------------------------------------------------ the worst


def worst_utterances(
    recognizer: Recognizer,
    corpus: Corpus,
    record: Mapping[str, Any],
    known_words: set[str],
    options: SearchOptions | None = None,
    count: int = 10,
) -> list[dict[str, Any]]:
    """What went wrong in the utterances with the highest word error rate.

    The text that was said is scored as the one that was heard was. If it scores better, the search has missed it: a
    wider beam would have found it. If not, the models prefer what they heard; and then it is their separate scores that
    tell which of them.

    Args:
        recognizer: with the language model that was used.
        corpus: what the record is about.
        record: of an evaluation, :meth:`~asr_tutorial.recognizer.Evaluation.to_dict`.
        known_words: of the training transcripts.
        options: of the search; None for one without.
        count: how many.

    Returns:
        For each, worst first: id, error rates, both texts, and ``what``, a sentence.
    """
    results = [metrics.UtteranceResult(row["id"], row["reference"], row["hypothesis"]) for row in record["results"]]
    utterances = {utterance.id: utterance for utterance in corpus}
    rows = []
    for result in metrics.worst(results, count):
        utterance = utterances[result.id]
        rows.append(
            {
                "id": result.id,
                "wer": round(result.words.rate, 4),
                "cer": round(result.characters.rate, 4),
                "seconds": round(utterance.seconds, 2),
                "said": result.reference,
                "heard": result.hypothesis,
                "what": "; ".join(_reasons(recognizer, utterance, result, known_words, options)),
            }
        )
    return rows


def _reasons(
    recognizer: Recognizer,
    utterance: Utterance,
    result: metrics.UtteranceResult,
    known_words: set[str],
    options: SearchOptions | None,
) -> list[str]:
    counts = result.words
    said = result.reference.split()
    reasons = [f"{counts.substitutions} words replaced, {counts.deletions} left out, {counts.insertions} put in"]
    unknown = [word for word in dict.fromkeys(said) if word not in known_words]
    if unknown:
        reasons.append(f"not in the training transcripts: {' '.join(unknown[:6])}")
    if len(said) <= 5:
        reasons.append(f"only {len(said)} words: one error is {100 / max(len(said), 1):.0f} %")
    rate = len(result.reference) / max(utterance.seconds, 0.1)
    if rate > 20 or rate < 9:
        reasons.append(f"{'fast' if rate > 20 else 'slow'} speech, {rate:.0f} characters a second")
    reasons += _who(recognizer, utterance, result, options)
    return reasons


def _who(
    recognizer: Recognizer, utterance: Utterance, result: metrics.UtteranceResult, options: SearchOptions | None
) -> list[str]:
    """Whether the search or a model is to blame, by the scores of what was said and of what was heard."""
    tokenizer = recognizer.tokenizer
    pieces = recognizer._read(utterance)
    texts = [tokenizer.encode(text) for text in (result.reference, result.hypothesis)]
    if len(pieces) > 1 or texts[0] == texts[1]:
        return []
    batch = recognizer._collate(pieces)
    with evaluating(recognizer.model):
        states = recognizer.model.encode(batch.features, batch.feature_lengths)
        (scored,) = score_candidates(recognizer.model, tokenizer, *states, [texts], recognizer.language_model)
    if len(scored) < 2:
        return []
    true, heard = scored
    if options is not None:
        weights = options if recognizer.model.decoder is not None else replace(options, ctc_weight=1.0)
        if true.score(weights) > heard.score(weights):
            return ["the search missed it: what was said scores better than what was heard"]
    behind = {"CTC": heard.ctc - true.ctc}
    if recognizer.model.decoder is not None:
        behind["the decoder"] = heard.attention - true.attention
    if recognizer.language_model is not None:
        behind["the language model"] = heard.lm - true.lm
    against = [f"{name} by {value:.0f} nats" for name, value in behind.items() if value > 0]
    agree = [name for name, value in behind.items() if value <= 0]
    sentence = f"preferred what was heard: {', '.join(against)}" if against else "the models prefer what was said"
    return [sentence + (f"; not so {' and '.join(agree)}" if against and agree else "")]


def search_of(row: Mapping[str, Any]) -> Search:
    """The search of a row without its language model."""
    return row["search"].partition("+")[0]
