"""N-gram language models: the probability of a word after the last few words, from counts.

Interpolated modified Kneser-Ney smoothing (Kneser and Ney 1995, "Improved backing-off for M-gram language modeling";
Chen and Goodman 1998, "An empirical study of smoothing techniques for language modeling", section 3), counted with
NumPy: twenty million words take about a minute. Read :func:`discounts`, :func:`continuation_counts` and
:func:`interpolate` first.

The n-grams of order k are the rows of a table. A row is named by the row of its first k - 1 words in the table below
(its history) and its last word, together one integer, and rows are sorted by it: the words that may follow a history
are neighbours.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from asr_tutorial.errors import ConfigError, TextError

Array: TypeAlias = NDArray[Any]

UNK, BOS, EOS = "<unk>", "<s>", "</s>"
SPECIAL = (UNK, BOS, EOS)
UNK_ID, BOS_ID, EOS_ID = range(len(SPECIAL))
NEVER = -99.0
"""What stands for the logarithm of 0, in the files too."""
SPELLING_ORDER = 5


@dataclass
class Table:
    """The n-grams of one order, sorted by ``keys``.

    Attributes:
        keys: (n,) int64, ``row of the history * vocabulary + word``; of order 1 the word alone.
        log_prob: (n,) float32, nats, of the last word after the others.
        backoff: (n,) float32, nats: what is left, after this n-gram, for words that were not seen behind it.
        counts: (n,) int64, how often each was seen; None where that is not known, as in files.
    """

    keys: Array
    log_prob: Array
    backoff: Array
    counts: Array | None = None

    def find(self, keys: Array) -> Array:
        """Rows of some keys (n,), -1 where there is none."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        rows = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return np.where(self.keys[rows] == keys, rows, -1)


def discounts(counts: Array) -> Array:
    """What is taken off each count, to be given to what was never seen (Chen and Goodman 1998, equation 26).

    With ``n_i`` the number of n-grams that have count i, and ``Y = n_1 / (n_1 + 2 n_2)``: ``D_1 = 1 - 2 Y n_2 / n_1``,
    ``D_2 = 2 - 3 Y n_3 / n_2``, ``D_3 = 3 - 4 Y n_4 / n_3``, the last one for counts of 3 and more. Where the data
    are too few for that (an ``n_i`` is 0, or a discount is not between 0 and its count) 0.5, 1 and 1.5 are taken.

    Args:
        counts: (n,) of n-grams; those that are 0 do not matter.

    Returns:
        (4,) float64: discounts for counts 0 (no discount), 1, 2, and 3 or more.
    """
    n1, n2, n3, n4 = (int((counts == i).sum()) for i in range(1, 5))
    if min(n1, n2, n3, n4) > 0:
        y = n1 / (n1 + 2 * n2)
        found = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
        if (found[1:] > 0).all() and (found[1:] < [1, 2, 3]).all():
            return found
    return np.array([0.0, 0.5, 1.0, 1.5])


def continuation_counts(counts: Array, suffix: Array, begins: Array) -> Array:
    """How many different words each n-gram was seen behind, in the place of how often it was seen.

    What counts for a lower order is whether a word turns up behind many others: FRANCISCO is frequent, but only behind
    SAN. An n-gram at the beginning of a sentence has nothing before it, and keeps its count.

    Args:
        counts: (n,) how often each n-gram of order k was seen.
        suffix: (m,) for each different n-gram of order k + 1 the row of its last k words.
        begins: (n,) boolean, which of order k begin with the beginning of a sentence.

    Returns:
        (n,) int64.
    """
    return np.where(begins, counts, np.bincount(suffix, minlength=len(counts)))


def interpolate(counts: Array, history: Array, kept: Array, lower: Array, histories: int) -> tuple[Array, Array]:
    """Probabilities of one order, made of its counts and the order below.

    ``p(w | h) = max(c(h w) - D, 0) / c(h) + g(h) p(w | h')``, where D is that of :func:`discounts`, ``c(h)`` the sum of
    the counts of all words after h, ``h'`` the history without its first word, and ``g(h)`` such that the
    probabilities after h sum to 1: what was discounted, and the counts of n-grams that are not kept, over ``c(h)``.

    Args:
        counts: (n,) of n-grams, continuation counts where the order is not the highest.
        history: (n,) row of each n-gram's history.
        kept: (n,) boolean; the others are forgotten once they have been counted.
        lower: (n,) ``p(w | h')``.
        histories: number of histories there are.

    Returns:
        (n,) float64 probabilities, which mean something where ``kept``, and (histories,) float64 ``g``, 1 for a history
        behind which nothing was seen.
    """
    totals = np.bincount(history, weights=counts, minlength=histories)
    taken = discounts(counts)[np.minimum(counts, 3)]
    freed = np.bincount(history, weights=np.where(kept, taken, counts), minlength=histories)
    weights = np.divide(freed, totals, out=np.ones(histories), where=totals > 0)
    own = np.divide(counts - taken, totals[history], out=np.zeros(len(counts)), where=totals[history] > 0)
    return own + weights[history] * lower, weights


class NGram:
    """A model of words: ``p(word | the words before it)``, at most ``order - 1`` of them.

    Args:
        words: the vocabulary, ``<unk>``, ``<s>`` and ``</s>`` first, the others sorted.
        tables: one for each order, from 1.
        spelling: a model of the letters of unknown words, itself an :class:`NGram` whose words are letters.
    """

    def __init__(self, words: Sequence[str], tables: Sequence[Table], spelling: NGram | None = None) -> None:
        self.words = list(words)
        self.tables = list(tables)
        self.spelling = spelling
        self._ids = {word: row for row, word in enumerate(self.words)}
        self.unigrams = np.exp(self.tables[0].log_prob.astype(np.float64))
        self.unigrams[BOS_ID] = 0.0

    @property
    def order(self) -> int:
        """Words of the longest n-grams."""
        return len(self.tables)

    def __contains__(self, word: object) -> bool:
        return word in self._ids and word not in SPECIAL

    def row(self, word: str) -> int:
        """Where a word stands in the vocabulary: that of ``<unk>`` for one that it lacks."""
        return self._ids.get(word, UNK_ID)

    @classmethod
    def train(
        cls,
        sentences: Iterable[str | Sequence[str]],
        order: int = 3,
        min_counts: Sequence[int] = (1, 1, 2),
        spelling: bool = True,
    ) -> NGram:
        """Count n-grams and smooth them.

        Args:
            sentences: texts, whose words are what stands between spaces, or lists of words.
            order: words of the longest n-grams.
            min_counts: n-grams of each order that were seen less often are left out; the last one is that of all higher
                orders. Words that are left out become ``<unk>`` before anything longer is counted, so that the first
                number, which limits the vocabulary, may be larger than the others.
            spelling: also learn how unknown words are spelt, from those that are left out, or seen once.

        Raises:
            ConfigError: order below 1, or minimum counts that fall from one order to the next, from 2-grams on.
            TextError: no words, or one that has a meaning of its own here (``<s>``, ``</s>``).
        """
        limits = [*min_counts, *[min_counts[-1]] * order][:order]
        if order < 1 or min(limits) < 1 or limits[1:] != sorted(limits[1:]):
            raise ConfigError(
                "order must be 1 or more, and min_counts 1 or more and never falling from that of 2-grams on, got "
                f"{order} and {list(min_counts)}"
            )
        words, stream, word_counts = _encode(sentences, limits[0])
        tables = _smooth(*_count(stream, len(words), order), limits, len(words))
        model = cls(words, tables)
        if spelling:
            rare = [word for word, count in word_counts.items() if count < max(limits[0], 2)] or list(word_counts)
            model.spelling = cls.train([list(word) for word in sorted(rare)], SPELLING_ORDER, (1,), spelling=False)
        return model

    def score(self, history: tuple[str, ...], word: str) -> float:
        """Log-probability of a word in nats.

        Args:
            history: the words of the sentence so far, from its beginning.
            word: the next one, ``</s>`` for the end; one that is not in the vocabulary counts as ``<unk>``.
        """
        before = [BOS_ID, *self._encode_words(history)][-(self.order - 1) :] if self.order > 1 else []
        stream = np.array([*before, self.row(word)])
        return float(self.stream_log_probs(stream, np.arange(len(stream)))[-1])

    def word_log_probs(self, sentences: Sequence[str], spell: bool = False) -> list[list[float]]:
        """Log-probabilities of the words of sentences, in nats, and of their ends.

        Args:
            sentences: texts.
            spell: an unknown word has the probability of ``<unk>`` times that of its letters, so that it can be
                compared with that of a model of letters; otherwise that of ``<unk>`` alone, as if all unknown words
                were one.

        Returns:
            For each sentence its number of words + 1 values.
        """
        texts = [sentence.split() for sentence in sentences]
        encoded = [[BOS_ID, *self._encode_words(words), EOS_ID] for words in texts]
        stream = np.array([word for sentence in encoded for word in sentence], dtype=np.int64)
        lengths = np.array([len(sentence) for sentence in encoded])
        starts = np.cumsum(lengths) - lengths
        values = self.stream_log_probs(stream, np.arange(len(stream)) - np.repeat(starts, lengths)).tolist()
        rows = []
        for start, words in zip(starts.tolist(), texts, strict=True):
            row = values[start + 1 : start + len(words) + 2]
            if spell:
                for place, word in enumerate(words):
                    if word not in self:
                        row[place] += self.spell(word)
            rows.append(row)
        return rows

    def spell(self, word: str) -> float:
        """Log-probability of the letters of a word, given that it is unknown; 0 without a model of spelling."""
        return sum(self.spelling.word_log_probs([" ".join(word)])[0]) if self.spelling is not None else 0.0

    def distribution(self, history: tuple[str, ...]) -> Array:
        """Probabilities (vocabulary,) float64 of all words after a history, the words of the sentence so far."""
        probs = self.unigrams.copy()
        for backoff, words, seen in self.seen_behind(history):
            probs *= backoff
            probs[words] = seen
        return probs

    def seen_behind(self, history: tuple[str, ...]) -> Iterator[tuple[float, Array, Array]]:
        """What distinguishes the words after a history from words in general, from its last word to longer endings.

        Yields:
            For each ending of the history that was seen: the factor on the probabilities of all words so far, then rows
            (n,) in the vocabulary, ascending, of the words that were seen behind it, and the probabilities (n,) that
            take the place of theirs.
        """
        before = [BOS_ID, *self._encode_words(history)]
        size = len(self.words)
        for length in range(1, min(self.order, len(before) + 1)):
            row = self._row(before[-length:])
            if row < 0:
                return
            above = self.tables[length]
            first, last = np.searchsorted(above.keys, [row * size, (row + 1) * size])
            yield (
                math.exp(self.tables[length - 1].backoff[row]),
                above.keys[first:last] % size,
                np.exp(above.log_prob[first:last].astype(np.float64)),
            )

    def stream_log_probs(self, stream: Array, position: Array) -> Array:
        """Log-probabilities of many words at once.

        Args:
            stream: (n,) rows in the vocabulary, of words that follow each other.
            position: (n,) how many of the words before each one belong to it: 0 where something new begins.

        Returns:
            (n,) float64, nats.
        """
        values = self.tables[0].log_prob[stream].astype(np.float64)
        rows = stream  # of the n-gram that ends at each place, of the order below
        for length, (below, table) in enumerate(zip(self.tables, self.tables[1:], strict=False), start=1):
            before = np.where(position >= length, np.roll(rows, 1), -1)
            keys = np.where(before >= 0, before * len(self.words) + stream, -1)
            rows = table.find(keys)
            shorter = values + np.where(before >= 0, below.backoff[before], 0.0)
            values = np.where(rows >= 0, table.log_prob[rows] if len(table.keys) else 0.0, shorter)
        return values

    def _encode_words(self, words: Iterable[str]) -> list[int]:
        return [self.row(word) for word in words]

    def _row(self, words: Sequence[int]) -> int:
        """The row of an n-gram in the table of its order, -1 where it has none."""
        row = words[0]
        for table, word in zip(self.tables[1:], words[1:], strict=False):
            row = int(table.find(np.array([row * len(self.words) + word]))[0])
            if row < 0:
                break
        return row


class _Numbers(dict[str, int]):
    """Numbers words in the order in which they are met."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number


def _encode(sentences: Iterable[str | Sequence[str]], min_count: int) -> tuple[list[str], Array, Counter[str]]:
    """The vocabulary, all sentences one after the other as rows of it, each in <s> and </s>, and how often each word
    was seen."""
    numbers = _Numbers({word: number for number, word in enumerate(SPECIAL)})
    stream = array("i")
    for sentence in sentences:
        words = sentence.split() if isinstance(sentence, str) else sentence
        if words:
            stream.append(BOS_ID)
            stream.extend(map(numbers.__getitem__, words))
            stream.append(EOS_ID)
    if not stream:
        raise TextError("an n-gram model needs at least one word to count, and the text has none")
    met = np.frombuffer(stream, dtype=np.int32)
    counts = np.bincount(met, minlength=len(numbers))
    if (
        counts[BOS_ID] != counts[EOS_ID]
        or (np.flatnonzero(met == BOS_ID)[1:] - 1 != np.flatnonzero(met == EOS_ID)[:-1]).any()
    ):
        raise TextError("the text holds <s> or </s>, which mark the ends of a sentence here: take them out")
    word_counts = Counter({word: int(counts[number]) for word, number in numbers.items() if word not in SPECIAL})
    words = [*SPECIAL, *sorted(word for word, count in word_counts.items() if count >= min_count)]
    rows = {word: row for row, word in enumerate(words)}
    place = np.array([rows.get(word, UNK_ID) for word in numbers], dtype=np.int32)
    return words, place[met], word_counts


def _count(stream: Array, size: int, order: int) -> tuple[list[Array], list[Array], list[Array]]:
    """For each order: keys of the different n-grams, sorted; how often each was seen; the row of its last words in the
    table below (of order 1: nothing)."""
    keys, counts, suffixes = [np.arange(size)], [np.bincount(stream, minlength=size)], [np.zeros(size, dtype=np.int64)]
    rows = stream  # of the n-gram that ends at each place, -1 where one would begin before its sentence
    inside = stream[1:] != BOS_ID
    for _ in range(1, order):
        places = 1 + np.flatnonzero((rows[:-1] >= 0) & inside)
        found, inverse, seen = np.unique(
            rows[places - 1].astype(np.int64) * size + stream[places], return_inverse=True, return_counts=True
        )
        suffix = np.zeros(len(found), dtype=np.int64)
        suffix[inverse] = rows[places]
        rows = np.full(len(stream), -1, dtype=np.int32)  # the text would not fit into memory before this overflows
        rows[places] = inverse
        keys.append(found)
        counts.append(seen)
        suffixes.append(suffix)
    return keys, counts, suffixes


def _smooth(
    keys: list[Array], counts: list[Array], suffixes: list[Array], limits: Sequence[int], size: int
) -> list[Table]:
    """Kneser-Ney probabilities of all orders, from counts of all n-grams; those seen too rarely are left out."""
    tables: list[Table] = []
    begins = np.arange(size) == BOS_ID
    probs = np.empty(0)
    new_rows = np.empty(0, dtype=np.int64)  # of the n-grams of the order below, in their table; -1: left out
    for order, (key, count, suffix) in enumerate(zip(keys, counts, suffixes, strict=True), start=1):
        history, word = np.divmod(key, size)
        begins = begins if order == 1 else begins[history]
        adjusted = count if order == len(keys) else continuation_counts(count, suffixes[order], begins)
        if order == 1:
            adjusted = np.where(begins, 0, adjusted)
            kept = np.ones(size, dtype=bool)
            lower = np.full(size, 1 / (size - 1))  # every word but <s>, which never follows anything
        else:
            kept = count >= limits[order - 1]
            lower = probs[suffix]
        probs, weights = interpolate(adjusted, history, kept, lower, 1 if order == 1 else len(new_rows))
        if order == 1:
            probs[BOS_ID] = 0.0
        else:
            below = tables[-1]
            below.backoff[new_rows[new_rows >= 0]] = np.log(weights[new_rows >= 0])
            key = new_rows[history] * size + word
        with np.errstate(divide="ignore"):
            log_prob = np.maximum(np.log(probs[kept]), NEVER).astype(np.float32)
        tables.append(Table(key[kept], log_prob, np.zeros(len(log_prob), dtype=np.float32), count[kept]))
        new_rows = np.where(kept, np.cumsum(kept) - 1, -1)
    return tables
