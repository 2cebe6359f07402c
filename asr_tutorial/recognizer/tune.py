"""Choosing the weights of a search on a development set.

Decoding anew for each of some hundred settings would take hours. Instead the set is decoded twice, with and without the
language model, all texts of both n-best lists are scored exactly by each model, and for each setting the best text of
each list is looked up. What is in no list cannot be found this way, so that the best settings are decoded in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from asr_tutorial import metrics
from asr_tutorial.corpus import Corpus
from asr_tutorial.ctc import prefix_beam_search
from asr_tutorial.errors import ConfigError, CorpusError
from asr_tutorial.modes import evaluating
from asr_tutorial.recognizer.decoding import FeatureBatch, check_search
from asr_tutorial.recognizer.inputs import batches
from asr_tutorial.recognizer.recognizer import Recognizer
from asr_tutorial.recognizer.results import Search
from asr_tutorial.search import Candidate, SearchOptions, TokenModel, joint_search
from asr_tutorial.search.rescore import score_candidates


@dataclass(frozen=True)
class Row:
    """One setting and its error rates.

    Attributes:
        ctc_weight: share of CTC.
        lm_weight: of the language model.
        token_bonus: nats for each token.
        wer: word error rate of the texts that the setting prefers, as a share.
        cer: character error rate.
        decoded_wer: that of a search with this setting; None where it was not decoded.
        decoded_cer: the same.
    """

    ctc_weight: float
    lm_weight: float
    token_bonus: float
    wer: float
    cer: float
    decoded_wer: float | None = None
    decoded_cer: float | None = None


@dataclass(frozen=True)
class Tuning:
    """What came of trying settings.

    Attributes:
        search: which search.
        corpus: name of the development set.
        utterances: how many of it were used.
        options: of the searches that made the lists.
        rows: all settings, the best first.
        oracle_wer: word error rate if the best text of each list were always chosen: no weights can do better.
        with_lm: whether there was a language model.
    """

    search: Search
    corpus: str
    utterances: int
    options: SearchOptions
    rows: list[Row]
    oracle_wer: float
    with_lm: bool

    @property
    def best(self) -> Row:
        """The best setting: of those that were decoded, if any were."""
        return self.rows[0]

    @property
    def name(self) -> str:
        """How a checkpoint names what it recommends, ``joint+lm`` for example."""
        return f"{self.search}+lm" if self.with_lm else self.search

    def recommended(self) -> dict[str, Any]:
        """The settings of the best row, as :func:`~asr_tutorial.recognizer.fusing.write_recommended` takes them."""
        values: dict[str, Any] = {"beam_size": self.options.beam_size, "token_bonus": self.best.token_bonus}
        if self.search == "joint":
            values["ctc_weight"] = self.best.ctc_weight
        if self.with_lm:
            values["lm_weight"] = self.best.lm_weight
        if self.options.length_penalty:
            values["length_penalty"] = self.options.length_penalty
        return values

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "search": self.search,
            "corpus": self.corpus,
            "utterances": self.utterances,
            "options": asdict(self.options),
            "oracle_wer": self.oracle_wer,
            "recommended": self.recommended(),
            "rows": [asdict(row) for row in self.rows],
        }

    def text(self, shown: int = 10) -> str:
        """The best rows as a table."""
        lines = [
            f"{self.corpus}, {self.utterances} utterances, search {self.search}; the best texts of all lists would "
            f"have a WER of {100 * self.oracle_wer:.2f} %",
            f"{'ctc_weight':>10} {'lm_weight':>10} {'token_bonus':>12} {'WER %':>8} {'CER %':>8} "
            f"{'decoded: WER %':>15} {'CER %':>8}",
        ]
        for row in self.rows[:shown]:
            decoded = ""
            if row.decoded_wer is not None and row.decoded_cer is not None:
                decoded = f" {100 * row.decoded_wer:15.2f} {100 * row.decoded_cer:8.2f}"
            lines.append(
                f"{row.ctc_weight:10.2f} {row.lm_weight:10.2f} {row.token_bonus:12.2f} {100 * row.wer:8.2f} "
                f"{100 * row.cer:8.2f}{decoded}"
            )
        return "\n".join(lines)


def tune(
    recognizer: Recognizer,
    corpus: Corpus,
    search: Search = "joint",
    options: SearchOptions | None = None,
    lm_weights: Sequence[float] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2),
    token_bonuses: Sequence[float] = (0.0, 0.5, 1.0, 1.5, 2.0),
    ctc_weights: Sequence[float] = (0.2, 0.3, 0.4, 0.5, 0.6),
    confirm: int = 1,
    limit: int | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> Tuning:
    """Try all combinations of weights on a corpus.

    Args:
        recognizer: with the language model that it is to be used with, or with none.
        corpus: a development set; what is tuned on a test set is no result.
        search: ``joint``, ``attention`` or ``prefix``; the last two have no ``ctc_weight``.
        options: of the searches that make the lists, whose whole beams are kept; None: as
            :meth:`Recognizer.search_options` says.
        lm_weights: to try; without a language model there is nothing to try.
        token_bonuses: to try.
        ctc_weights: to try.
        confirm: decode with so many of the best settings, and choose by that; 0: choose by the lists.
        limit: only the first so many utterances.
        on_progress: called with the number of utterances after each batch.

    Raises:
        ConfigError: a search without weights, or a weight outside its range.
        CorpusError: no utterance can be used.
    """
    check_search(recognizer.model, search, options)
    options = options or recognizer.search_options(search)
    if options is None:
        raise ConfigError(f"search {search!r} has no weights to tune: use 'joint', 'attention' or 'prefix'")
    options = replace(options, n_best=options.beam_size)
    with_lm = recognizer.language_model is not None
    shares = {"joint": list(ctc_weights), "attention": [0.0], "prefix": [1.0]}[search]
    settings = [
        replace(options, ctc_weight=ctc, lm_weight=lm, token_bonus=bonus)
        for ctc, lm, bonus in product(shares, lm_weights if with_lm else [0.0], token_bonuses)
    ]
    lists = collect(recognizer, corpus, search, replace(options, ctc_weight=_middle(shares)), limit, on_progress)
    if not lists:
        raise CorpusError(f"no utterance of {corpus.path} can be tuned on: they need transcripts")

    errors = [_Errors.of(reference, candidates) for reference, candidates in lists]
    words, characters = sum(each.words for each in errors), sum(each.characters for each in errors)
    rows = []
    for setting in settings:
        chosen = [each.best(setting) for each in errors]
        rows.append(
            Row(
                setting.ctc_weight,
                setting.lm_weight,
                setting.token_bonus,
                wer=sum(word_errors for word_errors, _ in chosen) / max(words, 1),
                cer=sum(character_errors for _, character_errors in chosen) / max(characters, 1),
            )
        )
    rows.sort(key=lambda row: (row.wer, row.cer))
    for place in range(min(confirm, len(rows))):
        row = rows[place]
        weights = {name: getattr(row, name) for name in ("ctc_weight", "lm_weight", "token_bonus")}
        result = recognizer.evaluate(corpus, search, limit, options=replace(options, n_best=1, **weights))
        rows[place] = replace(row, decoded_wer=result.wer, decoded_cer=result.cer)
    rows[:confirm] = sorted(rows[:confirm], key=lambda row: (row.decoded_wer, row.decoded_cer))
    oracle = sum(min(word_errors for word_errors, _ in each.errors) for each in errors) / max(words, 1)
    return Tuning(search, corpus.name, len(lists), options, rows, oracle, with_lm)


def collect(
    recognizer: Recognizer,
    corpus: Corpus,
    search: Search,
    options: SearchOptions,
    limit: int | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> list[tuple[str, list[Candidate]]]:
    """N-best lists of a corpus: for each utterance what was said, and texts with the score of each model.

    Args:
        recognizer: with or without a language model.
        corpus: utterances without transcript, and those so long that they would be split, are left out.
        search: a beam search.
        options: of the search; all ``n_best`` texts are kept, of a search with and of one without the language model.
        limit: only the first so many utterances.
        on_progress: called with the number of utterances after each batch.
    """
    utterances = [utterance for utterance in corpus.utterances[:limit] if utterance.text is not None]
    found: dict[int, list[Candidate]] = {}
    for group in batches([utterance.seconds for utterance in utterances], recognizer.config.data.batch_seconds):
        pieces = {index: recognizer._read(utterances[index]) for index in group}
        whole = [index for index in group if len(pieces[index]) == 1]
        if whole:
            batch = recognizer._collate([pieces[index][0] for index in whole])
            found.update(zip(whole, _candidates(recognizer, batch, search, options), strict=True))
        if on_progress is not None:
            on_progress(len(group))
    return [(recognizer.tokenizer.normalize(utterances[index].text or ""), found[index]) for index in sorted(found)]


def _candidates(
    recognizer: Recognizer, batch: FeatureBatch, search: Search, options: SearchOptions
) -> list[list[Candidate]]:
    model, tokenizer, lm = recognizer.model, recognizer.tokenizer, recognizer.language_model
    models: list[TokenModel | None] = [lm, None] if lm is not None and options.lm_weight > 0 else [None]
    with evaluating(model):
        encoder_out, encoder_mask = model.encode(batch.features, batch.feature_lengths)
        texts: list[list[list[int]]] = [[] for _ in range(len(encoder_out))]
        for each in models:
            for known, hypotheses in zip(
                texts, _beams(recognizer, encoder_out, encoder_mask, search, options, each), strict=True
            ):
                known += hypotheses
        return score_candidates(model, tokenizer, encoder_out, encoder_mask, texts, lm)


def _beams(
    recognizer: Recognizer,
    encoder_out: Any,
    encoder_mask: Any,
    search: Search,
    options: SearchOptions,
    lm: TokenModel | None,
) -> list[list[list[int]]]:
    """Token ids of all finished hypotheses of each utterance."""
    model, tokenizer = recognizer.model, recognizer.tokenizer
    blank, sos, eos = tokenizer.blank_id, tokenizer.sos_id, tokenizer.eos_id
    if search == "prefix":
        beams = prefix_beam_search(
            model.ctc_log_probs(encoder_out),
            encoder_mask.sum(dim=1),
            blank,
            options.beam_size,
            options.n_best,
            lm=lm.of_prefixes() if lm is not None else None,
            lm_weight=options.lm_weight,
            token_bonus=options.token_bonus,
            eos=eos,
        )
        return [[hypothesis.tokens for hypothesis in beam] for beam in beams]
    forbidden = (blank, tokenizer.pad_id, sos)
    found = joint_search(model, encoder_out, encoder_mask, sos, eos, blank, forbidden, options, lm)
    return [[hypothesis.tokens for hypothesis in beam if hypothesis.finished] for beam in found]


@dataclass(frozen=True)
class _Errors:
    """The candidates of an utterance and how many errors each makes."""

    words: int
    characters: int
    candidates: list[Candidate]
    errors: list[tuple[int, int]]
    """Word and character errors of each candidate."""

    @classmethod
    def of(cls, reference: str, candidates: list[Candidate]) -> _Errors:
        candidates = candidates or [Candidate([], "", 0.0, 0.0)]
        counts = [
            [metrics.error_counts([reference], [candidate.text], unit) for candidate in candidates]
            for unit in ("word", "char")
        ]
        pairs = [(word.errors, char.errors) for word, char in zip(*counts, strict=True)]
        return cls(counts[0][0].reference, counts[1][0].reference, candidates, pairs)

    def best(self, options: SearchOptions) -> tuple[int, int]:
        """Errors of the candidate that a search with these options would prefer."""
        scores = [candidate.score(options) for candidate in self.candidates]
        return self.errors[scores.index(max(scores))]


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
