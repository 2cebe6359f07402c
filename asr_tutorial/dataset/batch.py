"""A batch: several utterances padded to one shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from asr_tutorial.tokenizer import Tokenizer


@dataclass(frozen=True)
class Example:
    """One utterance as a model sees it."""

    id: str
    text: str
    features: Tensor
    """``(frames, n_mels)`` float32."""
    tokens: list[int]
    """The transcript's token ids, without SOS and EOS."""


@dataclass
class Batch:
    """Utterances padded to one shape.

    Attributes:
        ids: utterance ids.
        texts: transcripts as the corpus has them.
        features: ``(batch, time, n_mels)`` float32, raw log-mel, zero behind each utterance's end.
        feature_lengths: ``(batch,)`` int64, real frames.
        targets: ``(batch, length)`` int64, transcripts without SOS and EOS, filled up with PAD: what CTC is trained on.
        target_lengths: ``(batch,)`` int64, real tokens.
        tokens_in: ``(batch, length + 1)``, SOS + transcript, filled up with PAD: the decoder's input ("shifted").
        tokens_out: ``(batch, length + 1)``, transcript + EOS, filled up with PAD: what the decoder must say ("golden").
    """

    ids: list[str]
    texts: list[str]
    features: Tensor
    feature_lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    tokens_in: Tensor
    tokens_out: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> Batch:
        """The batch with its tensors on another device."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self) if field.type == "Tensor"}
        return replace(self, **{name: value.to(device, non_blocking=True) for name, value in tensors.items()})

    @property
    def padding_share(self) -> float:
        """Share of the frames that are padding."""
        return 1 - int(self.feature_lengths.sum()) / (self.features.shape[0] * self.features.shape[1])


def collate(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    frame_multiple: int = 1,
    length_multiple: int = 1,
    min_frames: int = 0,
) -> Batch:
    """Pad examples into a batch.

    Args:
        examples: at least one.
        tokenizer: gives the ids of SOS, EOS and PAD.
        frame_multiple: the time axis is rounded up to a multiple of it.
        length_multiple: the token axis of ``tokens_in`` and ``tokens_out`` is rounded up to a multiple of it.
        min_frames: least length of the time axis.

    Returns:
        The batch; ``targets`` is one token shorter than ``tokens_in``.
    """
    size = len(examples)
    n_mels = examples[0].features.shape[1]
    frames = [len(example.features) for example in examples]
    time = round_up(max(min_frames, *frames), frame_multiple)
    features = torch.zeros(size, time, n_mels)
    length = round_up(max(len(example.tokens) for example in examples) + 1, length_multiple)
    tokens_in = torch.full((size, length), tokenizer.pad_id)
    tokens_out = torch.full((size, length), tokenizer.pad_id)
    targets = torch.full((size, length - 1), tokenizer.pad_id)
    for row, example in enumerate(examples):
        features[row, : frames[row]] = example.features
        count = len(example.tokens)
        transcript = torch.tensor(example.tokens, dtype=torch.long)
        targets[row, :count] = transcript
        tokens_in[row, 0] = tokenizer.sos_id
        tokens_in[row, 1 : count + 1] = transcript
        tokens_out[row, :count] = transcript
        tokens_out[row, count] = tokenizer.eos_id
    return Batch(
        ids=[example.id for example in examples],
        texts=[example.text for example in examples],
        features=features,
        feature_lengths=torch.tensor(frames),
        targets=targets,
        target_lengths=torch.tensor([len(example.tokens) for example in examples]),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
    )


def round_up(number: int, multiple: int) -> int:
    """The smallest multiple that is not below the number."""
    return -(-number // multiple) * multiple
