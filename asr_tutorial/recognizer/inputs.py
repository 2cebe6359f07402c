"""Audio as users have it, brought into the form that a model takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from asr_tutorial.audio import Samples, audio_info, read_audio, resample
from asr_tutorial.corpus import Utterance, feature_shape
from asr_tutorial.errors import AudioError, CorpusError

Audio: TypeAlias = str | Path | NDArray[Any] | Tensor
"""A file, or samples (samples,), (samples, channels) or (channels, samples): floats in [-1, 1] or integers."""

MAX_SECONDS = 30.0
"""Longest piece of audio that a model gets at once; longer audio is split at pauses."""
MIN_SECONDS = 0.1
"""Shorter audio holds no word."""


def duration(audio: Audio, sample_rate: int) -> float:
    """Seconds of a file, or of samples at ``sample_rate``."""
    if isinstance(audio, str | Path):
        return audio_info(audio)[0]
    return max(audio.shape, default=0) / sample_rate


def waveform(audio: Audio, sample_rate: int, model_rate: int) -> Samples:
    """Any audio as (samples,) mono at ``model_rate``; ``sample_rate`` is that of samples, files know theirs.

    Raises:
        AudioError: a file is missing or corrupt, or the audio is empty, too short or not finite.
    """
    if isinstance(audio, str | Path):
        name, samples = str(audio), read_audio(audio, model_rate)
    else:
        name, samples = "the array of samples", resample(_mono(audio), sample_rate, model_rate)
    seconds = len(samples) / model_rate
    if seconds < MIN_SECONDS:
        raise AudioError(f"{name} lasts {seconds:.3f} s: at least {MIN_SECONDS:g} s of audio are needed")
    return samples


def read_features(utterance: Utterance, n_mels: int) -> NDArray[np.float32]:
    """The precomputed features (frames, n_mels) of an utterance.

    Raises:
        CorpusError: the file holds something else, another number of mel bins, or NaN.
    """
    shape = feature_shape(utterance.audio)
    if shape[1] != n_mels:
        raise CorpusError(f"{utterance.audio} has {shape[1]} mel bins, the model takes {n_mels}")
    features = np.load(utterance.audio, allow_pickle=False).astype(np.float32)
    if not np.isfinite(features).all():
        raise CorpusError(f"{utterance.audio} holds NaN or infinite features: compute them again")
    return features


def batches(seconds: Sequence[float], budget: float) -> Iterator[list[int]]:
    """Indices in batches, longest first, each of at most ``budget`` seconds with its padding (or one item)."""
    order = sorted(range(len(seconds)), key=lambda index: seconds[index], reverse=True)
    while order:
        size = max(1, int(budget // max(seconds[order[0]], 1e-3)))
        yield order[:size]
        order = order[size:]


def _mono(audio: NDArray[Any] | Tensor) -> Samples:
    """Samples of any type and layout as (samples,) float32 in [-1, 1]."""
    samples = np.asarray(audio.detach().cpu() if isinstance(audio, Tensor) else audio)
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise AudioError(
            f"audio samples must be (samples,), (samples, channels) or (channels, samples), got {samples.shape}"
        )
    if np.issubdtype(samples.dtype, np.integer):
        low, high = (int(bound) for bound in (np.iinfo(samples.dtype).min, np.iinfo(samples.dtype).max))
        middle, half = (high + low + 1) / 2, (high - low + 1) / 2  # 0 and 32768 for 16 bits
        samples = (samples - middle) / half
    if samples.ndim == 2:
        samples = samples.mean(axis=int(np.argmin(samples.shape)))  # the shorter axis is that of the channels
    if not np.isfinite(samples).all():
        raise AudioError("audio samples must be finite: the array holds NaN or infinite values")
    return np.ascontiguousarray(samples, dtype=np.float32)
