"""A model of words as one of tokens, which has an opinion on each letter and not only when a word is complete.

A recogniser builds words out of tokens, and a search that hears of a word's probability only at its end has by then
thrown away the right beginnings. So the probability of a word is handed out while it is being spelled (language-model
look-ahead, Ortmanns, Ney and Eiden 1996, "Language-model look-ahead for large vocabulary speech recognition"): after
the letters TH, the token E gets the probability of all words that begin with THE over that of all that begin with TH.

With the vocabulary sorted, the words with a common beginning are neighbours, and one cumulative sum over the
probabilities of all words answers every such question with a difference.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from asr_tutorial.language_model.ngram import EOS, EOS_ID, SPECIAL, UNK_ID, NGram
from asr_tutorial.tokenizer import SPACE, Tokenizer

Value = TypeVar("Value")

IMPOSSIBLE = -100.0
"""Log-probability of what cannot be: finite, since 0 times infinity is no number."""
LAST = "\U0010ffff"
"""Behind every letter, so that ``[letters, letters + LAST]`` encloses all words that begin with the letters."""
HISTORIES = 20_000
"""Histories whose cumulative sums are kept."""
SPELLINGS = 20_000
"""Beginnings of words whose places in the vocabulary are kept."""


def spelled(ngram: NGram, tokenizer: Tokenizer) -> SpelledNGram:
    """A word n-gram model as a language model of tokens with look-ahead.

    Args:
        ngram: a model of words in the tokenizer's letter case.
        tokenizer: characters, or pieces of words that begin with a mark.

    Returns:
        A callable that takes prefixes (a list of n tuples of token ids, without SOS) and gives (n, vocab) float64
        log-probabilities of the next token, EOS among them: what
        :func:`~asr_tutorial.ctc.prefix_beam_search` and the scorers of :mod:`asr_tutorial.search` take as ``lm``.
    """
    return SpelledNGram(ngram, tokenizer)


@dataclass(frozen=True)
class _State:
    """Where in a text a prefix stands."""

    words: tuple[str, ...]
    """Complete words, as many as the model looks back."""
    letters: str
    """Of the word that is being spelled."""
    after_space: bool
    """A space has been said, and no letter since: the text cannot end here."""


class SpelledNGram:
    """See :func:`spelled`.

    Over the tokens of a vocabulary of characters the probabilities sum to 1, but for the little that the model of
    spelling gives to an unknown word without letters. Pieces overlap (THE is also TH and E), so
    that a row of theirs sums to more than 1; but however a word is cut into pieces, the product is its probability.
    """

    def __init__(self, ngram: NGram, tokenizer: Tokenizer) -> None:
        self.ngram, self.tokenizer = ngram, tokenizer
        self._sorted = ngram.words[len(SPECIAL) :]
        tokens = [tokenizer.id_to_token(token) for token in range(tokenizer.vocab_size)]
        usable = np.array([token not in tokenizer.special_ids for token in range(tokenizer.vocab_size)])
        self._begins = usable & np.array([token.startswith(SPACE) for token in tokens])
        """Tokens that end the word before them."""
        self._goes_on = usable & ~self._begins
        self._space = usable & np.array([token == SPACE for token in tokens])
        """Tokens that end a word and are nothing else."""
        self._pieces = bool((self._begins & ~self._space).any())
        """Whether a space belongs to the word behind it, so that a text begins with one."""
        self._texts = [token.replace(SPACE, "") for token in tokens]
        self._written = ["" if token in tokenizer.special_ids else text for token, text in enumerate(tokens)]
        self._sums: _Cache[_Sums] = _Cache(HISTORIES)
        self._unigrams = _Sums(np.concatenate([[0.0], np.cumsum(ngram.unigrams)]))
        self._spellings: _Cache[_Spelling] = _Cache(SPELLINGS)
        self._letters: _Cache[NDArray[np.float64]] = _Cache(SPELLINGS)
        known = ngram.spelling.words if ngram.spelling is not None else []
        self._unseen = max(1, len(set("".join(self._texts[token] for token in np.flatnonzero(usable))) - set(known)))

    def __call__(self, prefixes: list[tuple[int, ...]]) -> NDArray[np.float64]:
        return np.stack([self._row(self._state(prefix)) for prefix in prefixes])

    def _state(self, prefix: tuple[int, ...]) -> _State:
        text = "".join([self._written[token] for token in prefix]).replace(SPACE, " ")
        words = text.split()
        after_space = text.endswith(" ") and (bool(words) or self._pieces)
        letters = words.pop() if words and not after_space else ""
        return _State(tuple(words), letters, after_space)

    def _row(self, state: _State) -> NDArray[np.float64]:
        """Log-probabilities (vocab,) of the next token."""
        probs = np.zeros(len(self._texts))
        mass = self._masses(state.words, state.letters)
        # What is possible at all: where a space has been said, the text does not end.
        total = mass.begun if state.letters else 1.0 - mass.end * state.after_space
        if total <= 0:
            return np.full(len(probs), IMPOSSIBLE)
        # Letters that go on with the word, or begin it.
        going_on = self._goes_on if state.letters or state.after_space else self._goes_on | self._begins & ~self._space
        probs[going_on] = mass.longer[going_on] / total
        if state.letters:
            # The word is complete, and another begins or the text ends.
            complete = mass.word / total
            behind = self._masses((*state.words, state.letters), "")
            probs[self._begins] = complete * behind.longer[self._begins]
            probs[self._space] = complete * (1 - behind.end)
            probs[self.tokenizer.eos_id] = complete * behind.end
        elif not state.after_space:
            probs[self.tokenizer.eos_id] = mass.end
            if self._pieces:
                probs[self._space] = 1 - mass.end
        with np.errstate(divide="ignore"):
            return np.maximum(np.log(probs), IMPOSSIBLE)

    def _cumulative(self, words: tuple[str, ...]) -> _Sums:
        """The probabilities after a history, summed up along the vocabulary."""
        kept = words[-(self.ngram.order - 1) :] if self.ngram.order > 1 else ()
        at_start = len(kept) == len(words)  # the beginning of the sentence is part of the history too
        return self._sums.get((kept, at_start), lambda: self._sum(kept if at_start else words[-self.ngram.order :]))

    def _sum(self, words: tuple[str, ...]) -> _Sums:
        sums = self._unigrams
        for backoff, rows, probs in self.ngram.seen_behind(words):
            more = probs - backoff * (sums[rows + 1] - sums[rows])
            sums = _Sums(sums, backoff, rows, np.concatenate([[0.0], np.cumsum(more)]))
        return sums

    def _spelling(self, letters: str) -> _Spelling:
        return self._spellings.get(letters, lambda: self._look_up(letters))

    def _look_up(self, letters: str) -> _Spelling:
        """Where in the vocabulary the words are that begin with the letters, and with the letters and each token."""
        offset = len(SPECIAL)
        low = bisect_left(self._sorted, letters)
        high = bisect_right(self._sorted, letters + LAST)
        longer = [letters + text for text in self._texts]
        lows = [bisect_left(self._sorted, text, low, high) + offset for text in longer]
        highs = [bisect_right(self._sorted, text + LAST, low, high) + offset for text in longer]
        exact = offset + low if low < high and self._sorted[low] == letters else 0
        places = [*lows, *highs, low + offset, high + offset, exact, exact + bool(exact)]
        unknown, unknown_longer = self._unknown_beginnings(letters)
        unknown_word = unknown * (self._letter(letters, EOS) if letters and self.ngram.spelling is not None else 0.0)
        return _Spelling(
            np.array([*places, UNK_ID, UNK_ID + 1, EOS_ID, EOS_ID + 1]), unknown, unknown_longer, unknown_word
        )

    def _masses(self, words: tuple[str, ...], letters: str) -> _Masses:
        """What the words behind a history have in common, looked up in its sums all at once."""
        spelling = self._spelling(letters)
        sums = self._cumulative(words)[spelling.places]
        n = len(self._texts)
        begun, exact, unknown, end = (sums[2 * n + 1 :: 2] - sums[2 * n :: 2]).tolist()
        return _Masses(
            sums[n : 2 * n] - sums[:n] + unknown * spelling.unknown_longer,
            begun + unknown * spelling.unknown,
            exact + unknown * spelling.unknown_word,
            end,
        )

    def _unknown_beginnings(self, letters: str) -> tuple[float, NDArray[np.float64]]:
        """Probability that an unknown word begins with the letters, and with the letters and each token (vocab,)."""
        longer = np.zeros(len(self._texts))
        if self.ngram.spelling is None:
            return 0.0, longer
        begins = math.prod(self._letter(letters[:place], letter) for place, letter in enumerate(letters))
        for token in np.flatnonzero(self._goes_on | self._begins):
            text = letters + self._texts[token]
            longer[token] = begins * math.prod(self._letter(text[:i], text[i]) for i in range(len(letters), len(text)))
        return begins, longer

    def _letter(self, before: str, letter: str) -> float:
        """Probability of a letter of an unknown word; those that were never seen share what unknown letters have."""
        spelling = self.ngram.spelling
        assert spelling is not None
        context = before[-(spelling.order - 1) :]
        key = (context, len(context) == len(before))
        probs = self._letters.get(key, lambda: spelling.distribution(tuple(before[-spelling.order :])))
        row = spelling.row(letter)
        return float(probs[row]) / (self._unseen if row == UNK_ID else 1)


@dataclass(frozen=True)
class _Sums:
    """Entry i is the probability of the first i words of the vocabulary, i from 0 to all of them.

    Behind a history most words have what they have behind a shorter one, times a factor. Only what differs is kept:
    that of the few words that were seen there.
    """

    below: NDArray[np.float64] | _Sums
    """All sums themselves, or those behind the shorter history."""
    factor: float = 1.0
    rows: NDArray[np.int64] | None = None
    """Words that were seen, ascending."""
    more: NDArray[np.float64] | None = None
    """Entry i is what the first i of them have more than their share."""

    def __getitem__(self, places: Any) -> Any:
        sums = self.below[places]
        if self.rows is None or self.more is None:
            return sums
        return self.factor * sums + self.more[self.rows.searchsorted(places)]


@dataclass(frozen=True)
class _Spelling:
    """The beginning of a word, and where in the vocabulary the words are that it can become."""

    places: NDArray[np.int64]
    """The first row of the words that begin with the letters and each token, then the row behind the last of them; and
    four such pairs: of the words that begin with the letters, of the word that has just these letters (0, 0 where there
    is none), of ``<unk>`` and of the end."""
    unknown: float
    """Probability that an unknown word begins with the letters,"""
    unknown_longer: NDArray[np.float64]
    """with the letters and each token,"""
    unknown_word: float
    """and that it has just these letters."""


@dataclass(frozen=True)
class _Masses:
    """Probabilities of the next word behind a history."""

    longer: NDArray[np.float64]
    """(vocab,) that it begins with the letters and each token."""
    begun: float
    """That it begins with the letters."""
    word: float
    """That it has just these letters."""
    end: float
    """That there is none."""


class _Cache(OrderedDict[Hashable, Value]):
    """The values that were used last."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:  # type: ignore[override]
        if key in self:
            self.move_to_end(key)
            return self[key]
        value = self[key] = make()
        if len(self) > self.size:
            self.popitem(last=False)
        return value
