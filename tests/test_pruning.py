"""Entropy pruning of n-gram models: the measure against sums by hand, and what is left sums to 1."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from asr_tutorial.corpus import read_corpus
from asr_tutorial.errors import ConfigError
from asr_tutorial.language_model import NGram, pruned, read_arpa, write_arpa
from asr_tutorial.language_model.ngram import BOS, BOS_ID, EOS, NEVER, SPECIAL, Table
from asr_tutorial.language_model.pruning import history_probs, normalized, relative_changes

SENTENCES = ["THE CAT SAT", "THE HAT", "A CAT ATE THE THEN", "THEM THAT", "THE CAT ATE A HAT", "A CAT SAT"]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [utterance.text or "" for utterance in read_corpus("tinyspeech/train")][:400]


@pytest.fixture
def by_hand() -> NGram:
    """A, B and the end have 0.5, 0.3 and 0.2; behind A, B has 0.6, which leaves 0.4 for what elsewhere has 0.7."""
    a = len(SPECIAL)
    logs = np.log([1, 1, 0.2, 0.5, 0.3]).astype(np.float32)
    logs[:2] = NEVER
    backoff = np.array([0, 0, 0, math.log(0.4 / 0.7), 0], dtype=np.float32)
    pair = Table(np.array([a * 5 + a + 1]), np.log(np.array([0.6], dtype=np.float32)), np.zeros(1, dtype=np.float32))
    return NGram([*SPECIAL, "A", "B"], [Table(np.arange(5), logs, backoff), pair])


def ngrams(model: NGram, order: int) -> list[tuple[str, ...]]:
    """The words of the n-grams of an order."""
    rows = [(word,) for word in model.words]
    for table in model.tables[1:order]:
        rows = [(*rows[key // len(model.words)], model.words[key % len(model.words)]) for key in table.keys.tolist()]
    return rows


def histories(model: NGram) -> list[tuple[str, ...]]:
    """All histories, as the words of a sentence so far."""
    found = []
    for order in range(1, model.order):
        rows = ngrams(model, order)
        words = [rows[row] for row in set((model.tables[order].keys // len(model.words)).tolist())]
        found += [each[1:] if each[0] == BOS else ("<other>", *each) for each in words]
    return found


def perplexity(model: NGram, texts: list[str]) -> float:
    rows = model.word_log_probs(texts)
    return math.exp(-sum(map(sum, rows)) / sum(map(len, rows)))


def test_the_change_by_hand(by_hand: NGram) -> None:
    # Without A B, what follows A has its probabilities of elsewhere: B half of before, the others 7/4 times as much.
    divergence = 0.5 * (0.6 * math.log(0.6 / 0.3) + 0.4 * math.log(4 / 7))
    assert relative_changes(by_hand, 2) == pytest.approx([math.exp(divergence) - 1], rel=1e-5)
    assert math.exp(divergence) - 1 == pytest.approx(0.1008, abs=1e-4)
    assert len(pruned(by_hand, 0.10).tables[1].keys) == 1
    without = pruned(by_hand, 0.11)
    assert len(without.tables[1].keys) == 0
    assert without.score(("A",), "B") == pytest.approx(math.log(0.3), abs=1e-6)


@pytest.mark.parametrize("order", [2, 3])
def test_the_change_is_the_divergence_of_two_models(order: int) -> None:
    """Each n-gram of the highest order is taken out, and all that follows its history compared, word by word."""
    model = NGram.train(SENTENCES, order, (1,), spelling=False)
    table, probs = model.tables[-1], history_probs(model, order - 1)
    for place, (words, change) in enumerate(zip(ngrams(model, order), relative_changes(model, order), strict=True)):
        kept = np.arange(len(table.keys)) != place
        last = Table(table.keys[kept], table.log_prob[kept], table.backoff[kept])
        other = NGram(model.words, normalized(model.words, [*model.tables[:-1], last]))
        history = words[words[0] == BOS : -1]
        before, after = (each.distribution(history) for each in (model, other))
        seen = before > 0
        divergence = (before[seen] * np.log(before[seen] / after[seen])).sum()
        expected = math.expm1(probs[table.keys[place] // len(model.words)] * divergence)
        assert change == pytest.approx(expected, rel=1e-3, abs=1e-8), words


def test_histories_are_as_probable_as_the_text_says(texts: list[str], by_hand: NGram) -> None:
    model = NGram.train(texts, 3)
    words = [word for text in texts for word in [BOS, *text.split(), EOS]]
    the, pairs = words.count("THE"), list(itertools.pairwise(words))
    assert history_probs(model, 1)[model.row("THE")] == pytest.approx(the / len(words))
    row = int(model.tables[1].find(np.array([BOS_ID * len(model.words) + model.row("THE")]))[0])
    assert history_probs(model, 2)[row] == pytest.approx(pairs.count((BOS, "THE")) / len(words))
    # From a file, that has no counts: of the words' own probabilities, and <s> as often as </s>.
    assert history_probs(by_hand, 1) == pytest.approx([0, 0.2, 0.2, 0.5, 0.3], abs=1e-6)
    assert history_probs(by_hand, 2) == pytest.approx([0.3])


@pytest.mark.parametrize(("order", "threshold"), [(2, 1e-4), (3, 1e-5), (3, 1e-4), (3, 1.0), (4, 1e-4)])
def test_probabilities_sum_to_one(texts: list[str], order: int, threshold: float) -> None:
    model = NGram.train(texts, order)
    small = pruned(model, threshold)
    sizes, before = ([len(table.keys) for table in each.tables] for each in (small, model))
    assert sizes[0] == before[0], "words all stay"
    assert sizes < before
    assert sizes[1] > 0 or threshold == 1.0
    for history in histories(small):
        assert small.distribution(history).sum() == pytest.approx(1, abs=1e-5), history
    assert small.spelling is not None
    assert small.spelling.distribution(("C", "A")).sum() == pytest.approx(1, abs=1e-5)


def test_what_is_kept_keeps_its_probability_and_its_beginning(texts: list[str]) -> None:
    model = NGram.train(texts, 3)
    small = pruned(model, 1e-4)
    size = len(model.words)
    rows = model.tables[1].find(small.tables[1].keys)
    assert (rows >= 0).all()
    np.testing.assert_array_equal(small.tables[1].log_prob, model.tables[1].log_prob[rows])
    history, word = np.divmod(small.tables[2].keys, size)
    rows = model.tables[2].find(rows[history] * size + word)
    assert (rows >= 0).all()
    np.testing.assert_array_equal(small.tables[2].log_prob, model.tables[2].log_prob[rows])


def test_next_to_nothing_changes_next_to_nothing(texts: list[str]) -> None:
    model = NGram.train(texts, 3)
    assert pruned(model, 0) is model
    for before, after in zip(
        model.word_log_probs(texts[:50]), pruned(model, 1e-30).word_log_probs(texts[:50]), strict=True
    ):
        assert after == pytest.approx(before, abs=1e-3)


def test_perplexity_rises_with_the_threshold(texts: list[str]) -> None:
    model = NGram.train(texts, 3, (1,))
    values = [perplexity(pruned(model, threshold), texts) for threshold in (0, 1e-5, 3e-5, 1e-4, 1e-3, 1e-2)]
    assert values == sorted(values)
    assert values[0] < 0.8 * values[-1]


def test_a_model_from_a_file_can_be_pruned(texts: list[str], tmp_path: Path) -> None:
    model = NGram.train(texts, 3)
    write_arpa(model, tmp_path / "lm.arpa")
    small = pruned(read_arpa(tmp_path / "lm.arpa"), 1e-4)
    assert 0 < len(small.tables[2].keys) < len(model.tables[2].keys)
    assert all(small.distribution(history).sum() == pytest.approx(1, abs=1e-4) for history in histories(small))


def test_a_negative_threshold(by_hand: NGram) -> None:
    with pytest.raises(ConfigError, match="0 or more, such as 1e-8, got -1"):
        pruned(by_hand, -1)
