"""Pruning: which n-grams a model can do without, since backing off predicts nearly the same.

After Stolcke 1998, "Entropy-based pruning of backoff language models": what an n-gram is worth is how much perplexity
rises when it alone is removed and its history's backoff weight is made to fit. That depends on how probable the history
is, so that what is rarely met goes first, and on how far backing off is from the n-gram's own probability. Read
:func:`relative_changes` first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asr_tutorial.errors import ConfigError
from asr_tutorial.language_model.ngram import BOS_ID, EOS_ID, NEVER, Array, NGram, Table

LEAST = 1e-12
"""What is left for unseen words, at least: rounding may leave less than nothing."""
LETTERS = 10.0
"""Factor on the threshold of a model of spelling: of a hundred words about one is unknown and has some ten letters, so
that letters are a tenth of what is predicted."""


def pruned(model: NGram, threshold: float) -> NGram:
    """A model without the n-grams whose removal raises perplexity by less than a threshold.

    Words all stay, and so do n-grams with which a longer one begins that is kept. Backoff weights are computed anew, so
    that the probabilities after each history sum to 1; probabilities of n-grams stay as they are. The model of spelling
    is pruned too, with a threshold :data:`LETTERS` times as high.

    Args:
        model: a model of any order.
        threshold: the relative change, such as 1e-8; 0 removes nothing.

    Raises:
        ConfigError: a threshold below 0.
    """
    if threshold < 0:
        raise ConfigError(f"the threshold of pruning must be 0 or more, such as 1e-8, got {threshold}")
    if threshold == 0:
        return model
    size = len(model.words)
    kept = [np.ones(len(table.keys), dtype=bool) for table in model.tables]
    for order in range(model.order, 1, -1):
        kept[order - 1] = relative_changes(model, order) >= threshold
        if order < model.order:
            kept[order - 1][model.tables[order].keys[kept[order]] // size] = True  # a longer one begins with them
    tables = _choose(model.tables, kept, size)
    spelling = pruned(model.spelling, LETTERS * threshold) if model.spelling is not None else None
    return NGram(model.words, normalized(model.words, tables), spelling)


def relative_changes(model: NGram, order: int) -> Array:
    """The relative change of perplexity if an n-gram alone were removed, for each of one order.

    With ``a(h)`` the backoff weight, ``a'(h)`` what it becomes without the n-gram ``h w``, ``h'`` the history without
    its first word, and u(h) the probability of all words that were not seen behind h (Stolcke 1998, section 3) ::

        D = -p(h) (p(w|h) (log p(w|h') + log a'(h) - log p(w|h)) + u(h) (log a'(h) - log a(h)))
        change = exp(D) - 1

    Args:
        model: a model whose order is at least ``order``.
        order: from 2.

    Returns:
        (n,) float64, 0 or more.
    """
    table, below = model.tables[order - 1], model.tables[order - 2]
    history = table.keys // len(model.words)
    log_prob = table.log_prob.astype(np.float64)
    shorter = shorter_log_probs(model.words, model.tables, order)
    prob, shorter_prob = np.exp(log_prob), np.exp(shorter)
    unseen, unseen_shorter = (_unseen(history, values, len(below.keys)) for values in (prob, shorter_prob))
    weight = below.backoff[history].astype(np.float64)
    new_weight = np.log(unseen[history] + prob) - np.log(unseen_shorter[history] + shorter_prob)
    gained = prob * (shorter + new_weight - log_prob) + unseen[history] * (new_weight - weight)
    return np.expm1(np.maximum(-history_probs(model, order - 1)[history] * gained, 0.0))


def history_probs(model: NGram, order: int) -> Array:
    """How probable it is to meet each n-gram of an order: its share of the text where the model has counted one.

    Otherwise it is the product of its words' probabilities, as in Stolcke 1998. That is worse after Kneser-Ney, whose
    shorter n-grams have the probabilities that they need behind a longer history, not those of being met (Chelba et al.
    2010, "Study on interaction between entropy pruning and Kneser-Ney smoothing").

    Returns:
        (n,) float64.
    """
    counts, words = model.tables[order - 1].counts, model.tables[0].counts
    if counts is not None and words is not None:
        return counts / words.sum()
    joint = np.exp(model.tables[0].log_prob.astype(np.float64))
    joint[BOS_ID] = joint[EOS_ID]  # there are as many beginnings as ends
    for table in model.tables[1:order]:
        joint = joint[table.keys // len(model.words)] * np.exp(table.log_prob)
    return joint


def shorter_log_probs(words: Sequence[str], tables: Sequence[Table], order: int) -> Array:
    """What the last word of each n-gram of an order has after a history without its first word.

    Returns:
        (n,) float64, ``log p(w | h')``, with backoff weights where ``h' w`` is no n-gram.
    """
    keys = tables[order - 1].keys
    columns: list[Array] = []
    for below in reversed(tables[: order - 1]):
        history, word = np.divmod(keys, len(words))
        columns.insert(0, word)
        keys = below.keys[history]
    stream = np.stack(columns, axis=1)  # (n, order - 1)
    position = np.tile(np.arange(order - 1), len(stream))
    values = NGram(words, tables[: order - 1]).stream_log_probs(stream.ravel(), position)
    return values[order - 2 :: order - 1]


def normalized(words: Sequence[str], tables: Sequence[Table]) -> list[Table]:
    """The same n-grams with backoff weights such that the probabilities after each history sum to 1.

    ``a(h) = (1 - sum of p(w|h)) / (1 - sum of p(w|h'))``, both over the words w that were seen behind h. Those of
    shorter histories come first, since the others are computed with them.
    """
    result = [Table(table.keys, table.log_prob, np.zeros_like(table.backoff), table.counts) for table in tables]
    for order in range(2, len(tables) + 1):
        table, below = result[order - 1], result[order - 2]
        history = table.keys // len(words)
        unseen = _unseen(history, np.exp(table.log_prob.astype(np.float64)), len(below.keys))
        unseen_shorter = _unseen(history, np.exp(shorter_log_probs(words, result, order)), len(below.keys))
        below.backoff[:] = np.clip(np.log(unseen) - np.log(unseen_shorter), NEVER, -NEVER)
    return result


def _unseen(history: Array, probs: Array, histories: int) -> Array:
    """What the words that were not seen behind each history (histories,) have together, given those (n,) that were."""
    return np.maximum(1 - np.bincount(history, probs, histories), LEAST)


def _choose(tables: Sequence[Table], kept: Sequence[Array], size: int) -> list[Table]:
    """The n-grams that are kept (of each order a boolean array); histories get the numbers of their new rows."""
    chosen = []
    rows = np.zeros(1, dtype=np.int64)  # new ones, of the order below
    for table, mask in zip(tables, kept, strict=True):
        history, word = np.divmod(table.keys[mask], size)
        counts = table.counts[mask] if table.counts is not None else None
        chosen.append(Table(rows[history] * size + word, table.log_prob[mask], table.backoff[mask], counts))
        rows = np.cumsum(mask) - 1
    return chosen
