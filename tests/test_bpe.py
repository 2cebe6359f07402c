"""Byte-pair encoding: the algorithm by hand, and against SentencePiece on real text."""

import pytest

from asr_tutorial.bpe import BytePairEncoding, apply_merges, count_pairs, count_words, learn_merges, merge_pair
from asr_tutorial.corpus import read_corpus
from asr_tutorial.errors import TextError
from asr_tutorial.tokenizer import SPECIAL_TOKENS, SentencePieceTokenizer


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [utterance.text or "" for utterance in read_corpus("tinyspeech/train")]


def test_by_hand() -> None:
    words = count_words(["LOW LOW LOWER", "NEWER  NEWER"])
    assert words == {("▁", *"LOW"): 2, ("▁", *"LOWER"): 1, ("▁", *"NEWER"): 2}
    pairs = count_pairs(words)
    assert (pairs["L", "O"], pairs["W", "E"], pairs["E", "R"], pairs["▁", "N"]) == (3, 3, 3, 2)
    # Four pairs occur three times and have two letters: E comes first in the alphabet, and R next to it.
    assert learn_merges(words, 3) == [("E", "R"), ("L", "O"), ("LO", "W")]
    assert apply_merges("LOWEST", learn_merges(words, 3)) == ("▁", "LOW", "E", "S", "T")


def test_pairs_count_as_often_as_their_words() -> None:
    assert count_pairs({("▁", "A", "B", "A", "B"): 5}) == {("▁", "A"): 5, ("A", "B"): 10, ("B", "A"): 5}


def test_merging_goes_from_left_to_right() -> None:
    assert merge_pair("AAA", ("A", "A")) == ("AA", "A")
    assert merge_pair("ABAB", ("A", "B")) == ("AB", "AB")
    assert merge_pair("BA", ("A", "B")) == ("B", "A")


def test_merges_are_applied_in_the_order_in_which_they_were_learnt() -> None:
    assert apply_merges("ABC", [("B", "C"), ("A", "B")]) == ("▁", "A", "BC")
    assert apply_merges("ABC", [("A", "B"), ("B", "C")]) == ("▁", "AB", "C")


def test_it_ends_where_no_pair_is_left() -> None:
    assert learn_merges({("▁", "A"): 3}, 10) == [("▁", "A")]


@pytest.mark.parametrize("size", [60, 100, 150])
def test_the_same_pieces_as_sentencepiece(texts: list[str], size: int) -> None:
    """Without apostrophes: SentencePiece has no piece of letters and other marks, we know no such rule."""
    letters = [text.replace("'", "") for text in texts]
    ours = BytePairEncoding.train(letters, size)
    theirs = SentencePieceTokenizer.train(letters, "bpe", size + len(SPECIAL_TOKENS))
    learnt = theirs.tokens[len(SPECIAL_TOKENS) :]
    assert learnt[: len(ours.merges)] == [first + second for first, second in ours.merges]
    assert set(learnt) == set(ours.pieces)
    assert [ours.tokenize(text) for text in letters] == [theirs.tokenize(text) for text in letters]


def test_nearly_the_same_later_on(texts: list[str]) -> None:
    """SentencePiece counts anew only pairs that were frequent a while ago, so that ties end otherwise at times."""
    letters = [text.replace("'", "") for text in texts]
    ours = BytePairEncoding.train(letters, 300).pieces
    theirs = SentencePieceTokenizer.train(letters, "bpe", 300 + len(SPECIAL_TOKENS)).tokens[len(SPECIAL_TOKENS) :]
    assert len(set(ours) & set(theirs)) >= 290


def test_the_one_difference_is_the_apostrophe(texts: list[str]) -> None:
    ours = BytePairEncoding.train(texts, 200)
    theirs = SentencePieceTokenizer.train(texts, "bpe", 200 + len(SPECIAL_TOKENS)).tokens[len(SPECIAL_TOKENS) :]
    assert {piece for piece in ours.pieces if "'" in piece} > {"'", "'S"}
    assert {piece for piece in theirs if "'" in piece} == {"'"}


def test_pieces_joined_are_the_text(texts: list[str]) -> None:
    tokenizer = BytePairEncoding.train(texts, 150)
    assert len(tokenizer.pieces) == 150
    for text in [*texts[:50], "NEVER SEEN  QUIZ"]:
        assert "".join(tokenizer.tokenize(text)).replace("▁", " ").split() == text.split()


def test_what_cannot_be_learnt() -> None:
    with pytest.raises(TextError, match="hold no characters"):
        BytePairEncoding.train([" "], 10)
    with pytest.raises(TextError, match="5 different characters already"):
        BytePairEncoding.train(["ABCD"], 4)
