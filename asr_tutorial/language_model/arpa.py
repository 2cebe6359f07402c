"""ARPA files: the text format in which n-gram models are passed round (SRILM, KenLM, Kaldi).

A section for each order, a line for each n-gram: log10 of its probability, its words, and log10 of its backoff weight
where longer n-grams begin with it.
"""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from asr_tutorial.errors import TextError
from asr_tutorial.language_model.ngram import BOS, EOS, NEVER, SPECIAL, UNK, NGram, Table

LN10 = math.log(10)


def write_arpa(model: NGram, path: str | Path) -> None:
    """Write a model; compressed where the name ends in ``.gz``."""
    path = Path(path)
    names = np.array(model.words, dtype=object)
    size = len(model.words)
    with _open(path, "wt") as file:
        file.write("\\data\\\n")
        for order, table in enumerate(model.tables, start=1):
            file.write(f"ngram {order}={len(table.keys)}\n")
        texts = names  # of the n-grams of the order below
        for order, table in enumerate(model.tables, start=1):
            if order > 1:
                history, word = np.divmod(table.keys, size)
                texts = texts[history] + " " + names[word]
            file.write(f"\n\\{order}-grams:\n")
            probs = np.maximum(table.log_prob / LN10, NEVER).tolist()
            if order == len(model.tables):
                file.writelines(f"{prob:.6g}\t{text}\n" for prob, text in zip(probs, texts, strict=True))
            else:
                backoffs = (table.backoff / LN10).tolist()
                file.writelines(
                    f"{prob:.6g}\t{text}\t{backoff:.6g}\n"
                    for prob, text, backoff in zip(probs, texts, backoffs, strict=True)
                )
        file.write("\n\\end\\\n")


def read_arpa(path: str | Path) -> NGram:
    """Read a model, from any program that writes ARPA files.

    Raises:
        TextError: the file cannot be read, is cut short or is no ARPA file; or an n-gram's beginning is not in the
            section before it.
    """
    path = Path(path)
    try:
        with _open(path, "rt") as file:
            lines = iter(file)
            expected = _read_header(lines, path)
            words: list[str] = []
            tables: list[Table] = []
            rows: dict[str, int] = {}
            for order, count in enumerate(expected, start=1):
                texts, probs, backoffs = _read_section(lines, order, count, path)
                if order == 1:
                    texts, probs, backoffs = _with_special(texts, probs, backoffs)
                    order_of = sorted(range(len(texts)), key=lambda row: (texts[row] not in SPECIAL, texts[row]))
                    special = [row for name in SPECIAL for row in order_of[: len(SPECIAL)] if texts[row] == name]
                    place = np.array(special + order_of[len(SPECIAL) :])
                    words = [texts[row] for row in place]
                    keys = np.arange(len(words))
                    ids = {word: row for row, word in enumerate(words)}
                    rows = ids
                else:
                    pairs = [text.rpartition(" ") for text in texts]
                    try:
                        keys = np.array(
                            [rows[history] * len(words) + ids[word] for history, _, word in pairs], dtype=np.int64
                        )
                    except KeyError as error:
                        raise TextError(
                            f"{path}: the {order}-grams hold {error.args[0]!r}, which is not among the n-grams before "
                            "them: the file is damaged, write it again"
                        ) from error
                    place = np.argsort(keys, kind="stable")
                    keys = keys[place]
                log_prob = np.array(probs, dtype=np.float32)[place] * np.float32(LN10)
                backoff = np.array(backoffs, dtype=np.float32)[place] * np.float32(LN10)
                tables.append(Table(keys, log_prob, backoff))
                if 1 < order < len(expected):
                    rows = {texts[old]: row for row, old in enumerate(place.tolist())}
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise TextError(f"cannot read {path}: {error}") from error
    return NGram(words, tables)


def _open(path: Path, mode: str) -> IO[Any]:
    if path.suffix == ".gz":
        # Level 3 takes a third of the time of the default and makes files a tenth larger.
        return cast(IO[Any], gzip.open(path, mode, compresslevel=3, encoding="utf-8"))
    return path.open(mode, encoding="utf-8")


def _read_header(lines: Iterator[str], path: Path) -> list[int]:
    counts = []
    for line in lines:
        line = line.strip()
        if match := re.match(r"ngram\s+(\d+)\s*=\s*(\d+)$", line):
            counts.append(int(match[2]))
        elif counts and not line:
            return counts
    raise TextError(f"{path} is no ARPA file: it has no header of lines such as 'ngram 1=1000'")


def _read_section(
    lines: Iterator[str], order: int, count: int, path: Path
) -> tuple[list[str], list[float], list[float]]:
    """Words, log10 probabilities and log10 backoff weights of one order."""
    texts, probs, backoffs = [], [], []
    for line in lines:
        if line.strip() == f"\\{order}-grams:":
            break
    for line in lines:
        line = line.rstrip("\n")
        if not line.strip():
            break
        parts = line.split("\t") if "\t" in line else _split_at_spaces(line, order)
        try:
            probs.append(float(parts[0]))
            backoffs.append(float(parts[2]) if len(parts) > 2 and parts[2] else 0.0)
            texts.append(parts[1])
        except (ValueError, IndexError) as error:
            raise TextError(f"{path}: {line!r} is no line of {order}-grams") from error
        if len(texts) == count:
            break
    if len(texts) != count:
        raise TextError(f"{path} is cut short: {len(texts)} of {count} {order}-grams are there")
    return texts, probs, backoffs


def _split_at_spaces(line: str, order: int) -> list[str]:
    parts = line.split()
    return [parts[0], " ".join(parts[1 : order + 1]), *parts[order + 1 :]]


def _with_special(
    texts: list[str], probs: list[float], backoffs: list[float]
) -> tuple[list[str], list[float], list[float]]:
    """Some programs write ``<UNK>``, or leave out what a model of a closed vocabulary lacks."""
    texts = [UNK if text == "<UNK>" else text for text in texts]
    missing = [name for name in (UNK, BOS, EOS) if name not in texts]
    return [*texts, *missing], [*probs, *[NEVER] * len(missing)], [*backoffs, *[0.0] * len(missing)]
