"""Text alone: the training data of language models."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from asr_tutorial.dataset.batch import round_up, shifted_and_golden
from asr_tutorial.dataset.sampler import BucketBatchSampler
from asr_tutorial.errors import TextError
from asr_tutorial.tokenizer import Tokenizer


@dataclass
class TextBatch:
    """Lines of text padded to one length.

    Attributes:
        tokens_in: ``(batch, length)`` int64, SOS + line, filled up with PAD ("shifted").
        tokens_out: ``(batch, length)`` int64, line + EOS, filled up with PAD ("golden").
        lengths: ``(batch,)`` int64, real tokens of either.
    """

    tokens_in: Tensor
    tokens_out: Tensor
    lengths: Tensor

    def to(self, device: torch.device | str) -> TextBatch:
        """The batch on another device."""
        return TextBatch(self.tokens_in.to(device), self.tokens_out.to(device), self.lengths.to(device))


def read_lines(path: str | Path) -> Iterator[str]:
    """Lines of a text file that are not blank; ``.gz`` and ``.xz`` are unpacked while reading."""
    path = Path(path)
    unpack: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open}
    try:
        with unpack.get(path.suffix, open)(path, "rt", encoding="utf-8") as file:
            for line in file:
                if line.strip():
                    yield line.strip()
    except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError) as error:
        raise TextError(f"cannot read text from {path}: {error}") from error


class TextDataset(Dataset[list[int]]):
    """Lines of text as token ids, held in one array: 2 bytes a token.

    Args:
        lines: the text; blank lines are ignored.
        tokenizer: turns lines into ids.
        max_tokens: longer lines are cut into pieces of at most this many tokens.

    Raises:
        TextError: no text at all.
    """

    def __init__(self, lines: Iterable[str], tokenizer: Tokenizer, max_tokens: int = 512) -> None:
        self.tokenizer = tokenizer
        dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
        pieces: list[np.ndarray] = []
        for line in lines:
            tokens = np.array(tokenizer.encode(line), dtype=dtype)
            pieces.extend(tokens[start : start + max_tokens] for start in range(0, len(tokens), max_tokens))
        if not pieces:
            raise TextError("a text dataset needs at least one line that is not blank")
        self.lengths = np.array([len(piece) for piece in pieces])
        self._starts = np.cumsum(self.lengths) - self.lengths
        self._tokens = np.concatenate(pieces)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> list[int]:
        """Token ids of a line, without SOS and EOS."""
        start = self._starts[index]
        return self._tokens[start : start + self.lengths[index]].tolist()

    def batches(
        self, batch_tokens: int, length_multiple: int = 16, seed: int = 1, epoch: int = 0, start: int = 0
    ) -> Iterator[TextBatch]:
        """Batches of lines of similar length, in an order that depends on ``(seed, epoch)`` alone.

        Args:
            batch_tokens: most tokens in a batch, SOS and padding included.
            length_multiple: the token axis is a multiple of this.
            seed: decides composition and order.
            epoch: the same.
            start: number of the first batch.
        """
        sampler = BucketBatchSampler(self.lengths + 1, batch_tokens, length_multiple, seed)  # + 1: SOS or EOS
        sampler.set_epoch(epoch)
        for plan in sampler.plans()[start:]:
            yield self._batch(plan.indices, round_up(plan.frames, length_multiple))

    def _batch(self, indices: list[int], length: int) -> TextBatch:
        tokens_in, tokens_out = shifted_and_golden([self[index] for index in indices], length, self.tokenizer)
        return TextBatch(tokens_in, tokens_out, torch.from_numpy(self.lengths[indices] + 1))

    def sample_prompts(self, n: int, length: int, seed: int = 1) -> Tensor:
        """Beginnings of random lines, for a model to continue.

        Args:
            n: number of prompts.
            length: tokens of each, SOS included.
            seed: decides which lines.

        Returns:
            ``(n, length)`` int64.

        Raises:
            TextError: fewer than ``n`` lines are long enough.
        """
        long_enough = np.flatnonzero(self.lengths >= length - 1)
        if len(long_enough) < n:
            raise TextError(f"{n} prompts of {length} tokens asked for, but only {len(long_enough)} lines are as long")
        chosen = np.random.default_rng(seed).choice(long_enough, size=n, replace=False)
        return torch.tensor([[self.tokenizer.sos_id, *self[index][: length - 1]] for index in chosen])
