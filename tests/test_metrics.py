"""Error rates: counts by hand, empty texts, and the order of the worst utterances."""

import pytest

from asr_tutorial import metrics
from asr_tutorial.metrics import UtteranceResult


def test_counts_are_those_found_by_hand():
    counts = metrics.error_counts(["THE CAT SAT", "GOOD DAY"], ["THE BAT SAT DOWN", "DAY"])
    assert (counts.substitutions, counts.insertions, counts.deletions, counts.reference) == (1, 1, 1, 5)
    assert counts.rate == pytest.approx(3 / 5)


def test_corpus_rate_weighs_utterances_by_length():
    references, hypotheses = ["A", "B C D E F G H I J"], ["X", "B C D E F G H I J"]
    assert metrics.wer(references, hypotheses) == pytest.approx(0.1)  # the mean of 100 % and 0 % would be 50 %


def test_character_rate_counts_spaces():
    assert metrics.cer(["AB CD"], ["ABCD"]) == pytest.approx(1 / 5)


@pytest.mark.parametrize(
    ("references", "hypotheses", "expected"),
    [([""], [""], 0.0), ([""], ["TWO WORDS"], 2.0), (["", "A B"], ["X", "A B"], 0.5), ([], [], 0.0)],
)
def test_empty_references(references, hypotheses, expected):
    assert metrics.wer(references, hypotheses) == pytest.approx(expected)


def test_empty_hypothesis_deletes_every_word():
    counts = metrics.error_counts(["A B C"], [""])
    assert (counts.deletions, counts.rate) == (3, 1.0)


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="2 references but 1 hypotheses"):
        metrics.error_counts(["A", "B"], ["A"])


def test_real_time_factor():
    assert metrics.real_time_factor(2.0, 8.0) == 0.25
    assert metrics.real_time_factor(2.0, 0.0) == 0.0


def test_worst_first():
    results = [
        UtteranceResult("right", "A B", "A B"),
        UtteranceResult("half", "A B", "A X"),
        UtteranceResult("wrong", "A B", "X Y Z"),
    ]
    assert [r.id for r in metrics.worst(results, 2)] == ["wrong", "half"]
    assert results[1].characters.rate == pytest.approx(1 / 3)


def test_differences_give_back_both_texts():
    parts = metrics.differences("THE CAT SAT ON THE MAT", "A CAT SAT THE MAT NOW")
    assert [p.kind for p in parts] == ["substitute", "equal", "delete", "equal", "insert"]
    assert " ".join(p.reference for p in parts if p.reference) == "THE CAT SAT ON THE MAT"
    assert " ".join(p.hypothesis for p in parts if p.hypothesis) == "A CAT SAT THE MAT NOW"
