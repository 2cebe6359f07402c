"""Rows for language models: whole sentences, one after the other, in rows of one length.

A language model learns from every position of a row, so that rows should be full; and rows of one length are computed
with the same kernels over and over. Read :func:`pack` and :func:`row_targets` first.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import logging
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr_tutorial.config import TextConfig
from asr_tutorial.dataset import text_files
from asr_tutorial.dataset.text_files import find_text, read_text
from asr_tutorial.errors import TextError
from asr_tutorial.tokenizer import Tokenizer

logger = logging.getLogger("asr_tutorial")

OPEN_ROWS = 32
"""Rows that are filled at the same time where the order of the sentences does not matter."""


def pack(sentences: Iterable[Sequence[int]], size: int, sos: int, eos: int, open_rows: int = 1) -> Iterator[list[int]]:
    """Put sentences into rows of at most ``size`` tokens, as ``SOS tokens EOS SOS tokens EOS ...``.

    A sentence goes into the fullest of the open rows that still has room for the whole of it. Where none has, the
    fullest is given out and a new one begun. With one open row the sentences keep their order; with more, rows are
    fuller. A sentence that is longer than a row is cut, and has no EOS then: it does not end there.

    Args:
        sentences: token ids of each, without SOS and EOS.
        size: largest number of tokens of a row, SOS and EOS among them.
        sos: id that begins a sentence.
        eos: id that ends it.
        open_rows: rows that are filled at the same time.

    Yields:
        Rows of 1 to ``size`` ids; each begins with SOS.
    """
    rows: list[list[int]] = []
    for sentence in sentences:
        tokens = [sos, *sentence, eos][:size]
        fitting = [row for row in rows if len(row) + len(tokens) <= size]
        if fitting:
            max(fitting, key=len).extend(tokens)
            continue
        if len(rows) == open_rows:
            fullest = max(range(len(rows)), key=lambda index: len(rows[index]))
            yield rows.pop(fullest)
        rows.append(tokens)
    yield from rows


def row_targets(rows: Tensor, sos: int, pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """What a language model reads, what it must answer, and which sentence each position belongs to.

    Each position answers with the token after it. Two answers are no part of the language and are not learnt: PAD, and
    the SOS that a row has behind each EOS, which would always be right and flatter the loss.

    Args:
        rows: (batch, context + 1) ids, packed sentences filled up with PAD.
        sos: id that begins a sentence.
        pad: id of PAD.

    Returns:
        Three (batch, context) int64 tensors: input tokens; target tokens, PAD where there is nothing to learn; and the
        number of the sentence in its row, from 1.
    """
    tokens_in, tokens_out = rows[:, :-1], rows[:, 1:]
    targets = tokens_out.masked_fill(tokens_out == sos, pad)
    return tokens_in, targets, (tokens_in == sos).cumsum(dim=1)


@dataclass
class PackedText:
    """Rows of a text, kept on the disk and read where they are needed.

    Attributes:
        rows: (rows, context + 1) ids, 2 bytes each where the vocabulary allows it; usually a read-only memory map.
        sentences: how many sentences are in the rows.
        tokens: targets that are learnt from, EOS among them.
        cut: sentences that were longer than a row.
    """

    rows: NDArray[np.unsignedinteger]
    sentences: int
    tokens: int
    cut: int
    tokenizer: Tokenizer

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def padding_share(self) -> float:
        """Share of the positions that nothing is learnt from."""
        return 1 - self.tokens / (self.rows.shape[0] * (self.rows.shape[1] - 1))

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Some rows as :func:`row_targets` gives them, (len(indices), context) int64 each."""
        rows = torch.from_numpy(self.rows[np.asarray(indices)].astype(np.int64))
        return row_targets(rows, self.tokenizer.sos_id, self.tokenizer.pad_id)

    def epoch(self, batch_rows: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
        """Which rows each batch of an epoch has; depends on ``(seed, epoch)`` alone.

        All batches are of one size. The few rows that are left over wait for another epoch.
        """
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        batch_rows = min(batch_rows, len(order))
        return list(order[: len(order) // batch_rows * batch_rows].reshape(-1, batch_rows))

    @classmethod
    def of(
        cls,
        sentences: Iterable[str],
        tokenizer: Tokenizer,
        context: int,
        separate: bool = True,
        file: Path | None = None,
    ) -> PackedText:
        """Encode and pack sentences.

        Args:
            sentences: text; what holds no token is left out.
            tokenizer: turns it into ids.
            context: length of a row as the model sees it; rows hold one token more.
            separate: the order of the sentences may change, which makes fuller rows.
            file: write the rows there (``.npy``) instead of keeping them in memory.

        Raises:
            TextError: no text at all.
        """
        dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
        counts = {"sentences": 0, "tokens": 0, "cut": 0}

        def encoded() -> Iterator[list[int]]:
            for sentence in sentences:
                tokens = tokenizer.encode(sentence)
                if tokens:
                    counts["sentences"] += 1
                    counts["cut"] += len(tokens) + 1 > context
                    counts["tokens"] += min(len(tokens) + 1, context)
                    yield tokens

        rows = pack(encoded(), context + 1, tokenizer.sos_id, tokenizer.eos_id, OPEN_ROWS if separate else 1)
        blocks = _blocks(rows, context + 1, dtype, tokenizer.pad_id)
        if file is None:
            found = list(blocks)
            array = np.concatenate(found) if found else np.empty((0, context + 1), dtype)
        else:
            array = _write_rows(file, blocks, context + 1, dtype)
        if not len(array):
            raise TextError("a language model needs at least one sentence to learn from, and the text has none")
        return cls(array, tokenizer=tokenizer, **counts)


def packed_text(config: TextConfig, paths: Sequence[str], tokenizer: Tokenizer) -> PackedText:
    """The packed rows of some texts, taken from the cache or made and put there.

    An entry of the cache depends on the files (size and time of change), the vocabulary and the settings.

    Args:
        config: form, context and cache.
        paths: texts, as :func:`~asr_tutorial.dataset.text_files.find_text` takes them.
        tokenizer: turns text into ids.

    Raises:
        TextError: a text that cannot be read, no text, or a cache folder that cannot take the rows.
    """
    folder = Path(config.cache or os.environ.get("ASR_TUTORIAL_CACHE", "") or "~/.cache/asr_tutorial").expanduser()
    file = folder / "text" / f"{_key(config, paths, tokenizer)}.npy"
    facts = file.with_suffix(".json")
    if not facts.exists():
        temporary = file.with_name(f"unfinished-{uuid.uuid4().hex}.npy")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            sentences = (sentence for path in paths for sentence in read_text(path, config.root, config.form))
            packed = PackedText.of(sentences, tokenizer, config.context, config.separate, temporary)
            values = {"sentences": packed.sentences, "tokens": packed.tokens, "cut": packed.cut}
            temporary.replace(file)
            facts.write_text(json.dumps(values) + "\n", encoding="utf-8")
        except OSError as error:
            raise TextError(
                f"encoded text cannot be kept in {file.parent}: {error.strerror or error}. Free some space, or name "
                "another folder with text.cache or ASR_TUTORIAL_CACHE"
            ) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    values = json.loads(facts.read_text(encoding="utf-8"))
    packed = PackedText(np.load(file, mmap_mode="r"), tokenizer=tokenizer, **values)
    logger.info(
        "%s: %d sentences, %.2fM tokens, %d rows of %d, padding %.1f%%, %d sentences cut",
        ", ".join(paths),
        packed.sentences,
        packed.tokens / 1e6,
        len(packed),
        config.context,
        100 * packed.padding_share,
        packed.cut,
    )
    return packed


def _key(config: TextConfig, paths: Sequence[str], tokenizer: Tokenizer) -> str:
    code = [inspect.getsource(source) for source in (pack, PackedText.of, type(tokenizer), text_files)]
    parts: list[object] = [tokenizer.tokens, config.context, config.separate, config.form, *code]
    for path in paths:
        place = find_text(path, config.root)
        file = next(part for part in (place, *place.parents) if part.exists())  # the archive, of a file inside one
        files = sorted(place.rglob("*.txt")) if place.is_dir() else [file]
        parts += [[str(place), str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _blocks(rows: Iterable[list[int]], size: int, dtype: type, pad: int, length: int = 4096) -> Iterator[np.ndarray]:
    """Rows as arrays (up to ``length``, size), filled up with PAD."""
    block: np.ndarray = np.full((length, size), pad, dtype=dtype)
    filled = 0
    for row in rows:
        block[filled, : len(row)] = row
        filled += 1
        if filled == length:
            yield block
            block, filled = np.full((length, size), pad, dtype=dtype), 0
    if filled:
        yield block[:filled]


def _write_rows(file: Path, blocks: Iterable[np.ndarray], size: int, dtype: type) -> np.ndarray:
    """Write blocks as one ``.npy`` file, whose header is written when the number of rows is known.

    Plain writes, not a writable memory map: on a full disk a write raises OSError, a memory map kills the process.
    """
    header_size = 128
    rows = 0
    with file.open("wb") as output:
        output.write(b" " * header_size)
        for block in blocks:
            output.write(np.ascontiguousarray(block).tobytes())
            rows += len(block)
        output.seek(0)
        header = f"{{'descr': '{np.dtype(dtype).str}', 'fortran_order': False, 'shape': ({rows}, {size}), }}"
        length = header_size - 10
        output.write(b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + header.ljust(length - 1).encode() + b"\n")
    return np.load(file, mmap_mode="r") if rows else np.empty((0, size), dtype)
