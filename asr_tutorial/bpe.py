"""Byte-pair encoding, step by step: how sub-word pieces are learnt, and how a text is cut into them.

SentencePiece does the same in C++ for real vocabularies (:class:`~asr_tutorial.tokenizer.SentencePieceTokenizer`);
this is the algorithm to read (Sennrich, Haddow and Birch 2016, "Neural machine translation of rare words with subword
units", algorithm 1). A word begins with the mark ``▁``, so that the pieces of a text, joined, give the text back.

    word counts -> learn_merges -> merges, a list of pairs in the order in which they were learnt
    word, merges -> apply_merges -> pieces
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

from asr_tutorial.errors import TextError
from asr_tutorial.tokenizer import SPACE, normalize_text

Pair: TypeAlias = tuple[str, str]
Pieces: TypeAlias = tuple[str, ...]


def count_words(texts: Iterable[str]) -> Counter[Pieces]:
    """How often each word occurs, as the letters that it is made of.

    Args:
        texts: any number of sentences; white space separates words.

    Returns:
        Letters of each word, the mark ``▁`` first, with the number of times that the word occurs.
    """
    words = Counter(word for text in texts for word in normalize_text(text).split())
    return Counter({(SPACE, *word): count for word, count in words.items()})


def count_pairs(words: Mapping[Pieces, int]) -> Counter[Pair]:
    """How often each pair of pieces stands side by side in a text.

    Args:
        words: pieces of each word, and how often the word occurs: a pair in a word that occurs ten times counts ten
            times, and twice that if the word holds it twice.

    Returns:
        The count of each pair, first piece and second.
    """
    pairs: Counter[Pair] = Counter()
    for pieces, count in words.items():
        for pair in pairwise(pieces):
            pairs[pair] += count
    return pairs


def merge_pair(pieces: Sequence[str], pair: Pair) -> Pieces:
    """A word with a pair of pieces made one, wherever it stands, from left to right.

    ``A A A`` with the pair ``A A`` becomes ``AA A``: the first two are one piece by the time the third is looked at.

    Args:
        pieces: of a word.
        pair: two pieces.
    """
    merged: list[str] = []
    place = 0
    while place < len(pieces):
        if tuple(pieces[place : place + 2]) == pair:
            merged.append(pair[0] + pair[1])
            place += 2
        else:
            merged.append(pieces[place])
            place += 1
    return tuple(merged)


def learn_merges(words: Mapping[Pieces, int], count: int) -> list[Pair]:
    """Make the most frequent pair one piece, count again, and so on.

    Among pairs that are equally frequent the shorter piece wins, and among these the one that comes first in the
    alphabet (which pairs are tied is nothing that the data say; any rule will do as long as it is always the same).

    Args:
        words: letters of each word, and how often it occurs: :func:`count_words`.
        count: number of merges; fewer are made where no pair is left.

    Returns:
        The pairs, in the order in which they were made one.
    """
    current = dict(words)
    merges: list[Pair] = []
    while len(merges) < count:
        pairs = count_pairs(current)
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], len(pair[0] + pair[1]), pair))
        merges.append(best)
        # Words stay different: their letters, joined, are what they were.
        current = {merge_pair(pieces, best): number for pieces, number in current.items()}
    return merges


def apply_merges(word: str, merges: Sequence[Pair]) -> Pieces:
    """The pieces of a word: the merges that were learnt, done in the order in which they were learnt.

    The order matters. A pair that was learnt late may use the letters that an earlier pair needs.

    Args:
        word: without the mark.
        merges: what :func:`learn_merges` gave.

    Returns:
        The pieces; the first begins with ``▁``.
    """
    pieces: Pieces = (SPACE, *word)
    for pair in merges:
        pieces = merge_pair(pieces, pair)
    return pieces


class BytePairEncoding:
    """Pieces learnt from texts.

    Args:
        alphabet: single characters, the mark ``▁`` among them.
        merges: pairs in the order in which they were learnt.
    """

    def __init__(self, alphabet: Iterable[str], merges: Sequence[Pair]) -> None:
        self.merges = list(merges)
        self.pieces = [*sorted(set(alphabet)), *(first + second for first, second in merges)]
        self._known: dict[str, Pieces] = {}

    @classmethod
    def train(cls, texts: Iterable[str], pieces: int) -> BytePairEncoding:
        """Learn a number of pieces, single characters included.

        Raises:
            TextError: texts without characters, or with more different ones than that.
        """
        words = count_words(texts)
        alphabet = {letter for word in words for letter in word}
        if not alphabet:
            raise TextError("cannot learn pieces: the texts hold no characters")
        if pieces < len(alphabet):
            raise TextError(f"{pieces} pieces are too few: the texts have {len(alphabet)} different characters already")
        return cls(alphabet, learn_merges(words, pieces - len(alphabet)))

    def tokenize(self, text: str) -> list[str]:
        """The pieces of a text; joined, with ``▁`` for a space, they are the text."""
        found: list[str] = []
        for word in normalize_text(text).split():
            if word not in self._known:
                self._known[word] = apply_merges(word, self.merges)
            found += self._known[word]
        return found
