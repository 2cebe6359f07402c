"""n-gram models in small files that are read in no time: four bytes for an n-gram of the highest order.

A folder holds::

    model.safetensors    for each order k, in the order of the n-grams:
        k.log_prob       fp16, of every n-gram
        k.word           of every n-gram its last word, in the smallest type; not of order 1, where it is the row
        k.is_history     a bit for every n-gram, whether longer ones begin with it; not of the highest order
        k.followers      of those for which it is set: how many
        k.backoff        of those for which it is set: fp16; the others need none, since nothing was seen behind them
    words.txt.gz         the vocabulary, a word a line, without ``<unk>``, ``<s>`` and ``</s>``
    letters.txt.gz       that of the model of spelling, whose arrays have names that begin with ``spelling.``

The history of an n-gram is not written: n-grams are sorted by it, and ``followers`` says where the next one begins.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save as serialize

from asr_tutorial.checkpoint import WEIGHTS, read_weights
from asr_tutorial.errors import CheckpointError
from asr_tutorial.language_model.ngram import NEVER, SPECIAL, Array, NGram, Table

WORDS, LETTERS = "words.txt.gz", "letters.txt.gz"
SPELLING = "spelling."
AGAIN = "copy the folder again or write it again with `asr-tutorial lm ngram`"


def write_packed(folder: Path, model: NGram) -> None:
    """Write the files of a model into a folder, which must exist."""
    arrays = _pack(model)
    _write_words(folder / WORDS, model)
    if model.spelling is not None:
        arrays |= {SPELLING + name: array for name, array in _pack(model.spelling).items()}
        _write_words(folder / LETTERS, model.spelling)
    (folder / WEIGHTS).write_bytes(serialize(arrays))


def read_packed(folder: Path) -> NGram:
    """Read what :func:`write_packed` wrote.

    Raises:
        CheckpointError: a file is missing, corrupt or cut short, or they do not belong together.
    """
    arrays = {name: tensor.numpy() for name, tensor in read_weights(folder / WEIGHTS).items()}
    spelling = {name.removeprefix(SPELLING): array for name, array in arrays.items() if name.startswith(SPELLING)}
    model = _unpack({name: arrays[name] for name in arrays if not name.startswith(SPELLING)}, folder / WORDS)
    if spelling:
        model.spelling = _unpack(spelling, folder / LETTERS)
    return model


def _pack(model: NGram) -> dict[str, Array]:
    size = len(model.words)
    arrays = {}
    for order, table in enumerate(model.tables, start=1):
        arrays[f"{order}.log_prob"] = _half(table.log_prob)
        if order > 1:
            arrays[f"{order}.word"] = (table.keys % size).astype(np.min_scalar_type(size - 1))
        if order < model.order:
            followers = np.bincount(model.tables[order].keys // size, minlength=len(table.keys))
            is_history = followers > 0
            arrays[f"{order}.is_history"] = np.packbits(is_history)
            arrays[f"{order}.followers"] = followers[is_history].astype(np.min_scalar_type(followers.max(initial=0)))
            arrays[f"{order}.backoff"] = _half(table.backoff[is_history])
    return arrays


def _unpack(arrays: Mapping[str, Array], words_file: Path) -> NGram:
    words = [*SPECIAL, *_read_words(words_file)]
    size, order = len(words), sum(name.endswith(".log_prob") for name in arrays)
    tables = []
    histories, followers = np.zeros(1, dtype=np.int64), np.array([size])  # all words follow the empty history
    try:
        for k in range(1, order + 1):
            log_prob = arrays[f"{k}.log_prob"]
            word = np.arange(size) if k == 1 else arrays[f"{k}.word"].astype(np.int64)
            keys = np.repeat(histories, followers) * size + word
            backoff = np.zeros(len(keys), dtype=np.float32)
            if k < order:
                is_history = np.unpackbits(arrays[f"{k}.is_history"], count=len(keys)).astype(bool)
                histories, followers = np.flatnonzero(is_history), arrays[f"{k}.followers"].astype(np.int64)
                backoff[is_history] = arrays[f"{k}.backoff"]
            if len(log_prob) != len(keys) or (np.diff(keys) <= 0).any() or word.max(initial=0) >= size:
                raise ValueError(f"its {k}-grams are in disorder")
            if not (np.isfinite(log_prob).all() and np.isfinite(backoff).all()):
                raise ValueError(f"its {k}-grams have probabilities that are no numbers")
            tables.append(Table(keys, log_prob, backoff))
        if words != [*SPECIAL, *sorted(words[len(SPECIAL) :])] or not tables:
            raise ValueError("words are in disorder")
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"{words_file.parent / WEIGHTS} is damaged or does not belong to {words_file.name} ({error}): {AGAIN}"
        ) from error
    return NGram(words, tables)


def _half(values: Array) -> Array:
    return np.clip(values, NEVER, -NEVER).astype(np.float16)  # no infinities: ARPA files may hold -inf


def _write_words(path: Path, model: NGram) -> None:
    text = "".join(f"{word}\n" for word in model.words[len(SPECIAL) :])
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def _read_words(path: Path) -> list[str]:
    try:
        return gzip.decompress(path.read_bytes()).decode().split("\n")[:-1]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"n-gram model {path.parent}: {path.name} is missing, corrupt or cut short ({error}): {AGAIN}"
        ) from error
