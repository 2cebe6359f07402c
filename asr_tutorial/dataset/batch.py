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
        spare: True for a batch that only keeps a process in step with the others; losses and sizes leave it out.
    """

    ids: list[str]
    texts: list[str]
    features: Tensor
    feature_lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    tokens_in: Tensor
    tokens_out: Tensor
    spare: bool = False

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


def pad_features(features: Sequence[Tensor], time: int) -> Tensor:
    """Stack utterances of different lengths, with zeros behind their ends.

    Args:
        features: one ``(frames, n_mels)`` for each utterance, none longer than ``time``.
        time: length of the common time axis.

    Returns:
        ``(batch, time, n_mels)``.
    """
    padded = features[0].new_zeros(len(features), time, features[0].shape[1])
    for row, utterance in enumerate(features):
        padded[row, : len(utterance)] = utterance
    return padded


def pad_tokens(sequences: Sequence[Sequence[int]], length: int, pad: int) -> Tensor:
    """Stack token sequences of different lengths, filled up with PAD.

    Args:
        sequences: token ids, none longer than ``length``.
        length: length of the common token axis.
        pad: id of PAD.

    Returns:
        ``(batch, length)`` int64.
    """
    padded = torch.full((len(sequences), length), pad)
    for row, tokens in enumerate(sequences):
        padded[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
    return padded


def shifted_and_golden(sequences: Sequence[Sequence[int]], length: int, tokenizer: Tokenizer) -> tuple[Tensor, Tensor]:
    """What a decoder reads and what it must answer, position by position (teacher forcing).

    Args:
        sequences: token ids of each text, without SOS and EOS.
        length: length of the common token axis; one more than the longest text at least.
        tokenizer: gives the ids of SOS, EOS and PAD.

    Returns:
        Two ``(batch, length)`` int64 tensors, filled up with PAD: SOS + text ("shifted"), and text + EOS ("golden").
    """
    shifted = [[tokenizer.sos_id, *tokens] for tokens in sequences]
    golden = [[*tokens, tokenizer.eos_id] for tokens in sequences]
    return pad_tokens(shifted, length, tokenizer.pad_id), pad_tokens(golden, length, tokenizer.pad_id)


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
    frames = [len(example.features) for example in examples]
    time = round_up(max(min_frames, *frames), frame_multiple)
    transcripts = [example.tokens for example in examples]
    target_lengths = [len(tokens) for tokens in transcripts]
    length = round_up(max(target_lengths) + 1, length_multiple)
    tokens_in, tokens_out = shifted_and_golden(transcripts, length, tokenizer)
    return Batch(
        ids=[example.id for example in examples],
        texts=[example.text for example in examples],
        features=pad_features([example.features for example in examples], time),
        feature_lengths=torch.tensor(frames),
        targets=pad_tokens(transcripts, length - 1, tokenizer.pad_id),
        target_lengths=torch.tensor(target_lengths),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
    )


def round_up(number: int, multiple: int) -> int:
    """The smallest multiple that is not below the number."""
    return -(-number // multiple) * multiple
