"""A model with all that it takes to hear: sound of any kind in, batches of features out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from asr_tutorial.audio import Samples, split_at_pauses
from asr_tutorial.config import Config
from asr_tutorial.corpus import Utterance
from asr_tutorial.errors import AudioError, TextError
from asr_tutorial.features import FeatureExtractor
from asr_tutorial.model import SpeechTransformer
from asr_tutorial.recognizer.decoding import FeatureBatch
from asr_tutorial.recognizer.inputs import MAX_SECONDS, Audio, read_features, waveform
from asr_tutorial.tokenizer import Tokenizer


class Listener:
    """A model with its tokenizer and feature extractor.

    Args:
        model: from :func:`asr_tutorial.model.build_model`.
        tokenizer: the one that the model was trained with.
        config: the configuration that the model was built from.
    """

    def __init__(self, model: nn.Module, tokenizer: Tokenizer, config: Config) -> None:
        self.model = cast(SpeechTransformer, model)
        self.tokenizer = tokenizer
        self.config = config
        # Dither is for training: recognition gives the same text each time.
        self._extractor = FeatureExtractor(replace(config.features, dither=0.0))

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def sample_rate(self) -> int:
        """Samples per second that the model works with; other rates are resampled to it."""
        return self.config.features.sample_rate

    @property
    def frame_seconds(self) -> float:
        """Seconds from one frame of the features to the next."""
        return self.config.features.frame_shift_ms / 1000

    @property
    def encoder_frame_seconds(self) -> float:
        """Seconds from one frame of the encoder to the next."""
        return self.frame_seconds * self.model.subsampling_factor

    @property
    def encoder_start_seconds(self) -> float:
        """Where the first frame of the encoder begins, if each is as long as the step from one to the next.

        Its middle is that of what it looks at. The middle of a feature frame is half a window behind its start. A
        convolution of stride 2 lies around every other frame, the first one to begin with; pooling and LSTMs take
        frames in groups.
        """
        first = 0.0 if self.config.model.subsampling == "conv" else (self.model.subsampling_factor - 1) / 2
        middle = self.config.features.frame_length_ms / 2000 + first * self.frame_seconds
        return middle - self.encoder_frame_seconds / 2

    def _encode(self, text: str) -> list[int]:
        if unknown := self.tokenizer.unknown_characters([text]):
            raise TextError(f"the model does not know {', '.join(map(repr, unknown))}: leave them out of the text")
        return self.tokenizer.encode(text)

    def _waveform(self, audio: Audio, sample_rate: int | None) -> Samples:
        return waveform(audio, sample_rate or self.sample_rate, self.sample_rate)

    def _features(self, samples: Samples) -> list[Tensor]:
        """Features (frames, n_mels) of each piece of a recording."""
        pieces = split_at_pauses(samples, self.sample_rate, MAX_SECONDS)
        return [self._extract(samples[start:end]) for start, end in pieces]

    def _extract(self, samples: Samples) -> Tensor:
        """(samples,) -> (frames, n_mels) on the model's device."""
        return self._extractor(torch.from_numpy(samples)[None].to(self.device))[0][0]

    def _read(self, utterance: Utterance) -> list[Tensor]:
        """Features of each piece of an utterance, computed from its audio or read as they lie."""
        if utterance.has_features:
            return [torch.from_numpy(read_features(utterance, self.config.features.n_mels))]
        return self._features(self._waveform(utterance.audio, None))

    def _one_piece(self, audio: Audio, sample_rate: int | None) -> Tensor:
        """Features (frames, n_mels) of audio that must not be split."""
        samples = self._waveform(audio, sample_rate)
        seconds = len(samples) / self.sample_rate
        if seconds > MAX_SECONDS:
            raise AudioError(f"{seconds:.1f} s of audio are too long for a picture: at most {MAX_SECONDS:g} s")
        return self._extract(samples)

    def _collate(self, pieces: Sequence[Tensor]) -> FeatureBatch:
        """Pad (frames, n_mels) pieces to one of a few lengths, since kernels are built anew for each new shape."""
        lengths = torch.tensor([len(piece) for piece in pieces], device=self.device)
        multiple = self.config.data.frame_multiple
        time = -(-int(lengths.max()) // multiple) * multiple
        features = torch.zeros(len(pieces), time, pieces[0].shape[1], device=self.device)
        for row, piece in zip(features, pieces, strict=True):
            row[: len(piece)] = piece
        return FeatureBatch(features, lengths)
