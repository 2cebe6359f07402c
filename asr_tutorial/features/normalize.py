"""Mean and variance normalisation: features that a network likes, whatever the microphone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from asr_tutorial.errors import CorpusError
from asr_tutorial.masks import padding_mask

VARIANCE_FLOOR = 1e-3
"""Smallest variance that features are divided by; a band that never changes must not become infinite."""


class MVN(nn.Module):
    """Mean and variance normalisation of each mel bin; lives in the model, so that its statistics travel with it.

    Args:
        kind: ``global`` uses the training set's statistics (:meth:`fit`), ``utterance`` those of each utterance, which
            takes out the recording's loudness and colour; ``none`` leaves features as they are.
        n_mels: number of mel bins.
    """

    mean: Tensor
    inverse_std: Tensor

    def __init__(self, kind: Literal["global", "utterance", "none"], n_mels: int) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("mean", torch.zeros(n_mels))
        self.register_buffer("inverse_std", torch.ones(n_mels))

    def fit(self, utterances: Iterable[ArrayLike]) -> None:
        """Measure mean and variance over utterances ``(frames, n_mels)``; kinds other than ``global`` measure nothing.

        Raises:
            CorpusError: no frames at all, another number of mel bins, or values that are not finite.
        """
        if self.kind != "global":
            return
        n_mels = len(self.mean)
        frames, total, squares = 0, np.zeros(n_mels), np.zeros(n_mels)  # float64: millions of frames are added up
        for index, utterance in enumerate(utterances):
            features = np.asarray(utterance, dtype=np.float64)
            _check_features(index, features, n_mels)
            frames += len(features)
            total += features.sum(axis=0)
            squares += np.square(features).sum(axis=0)
        if frames == 0:
            raise CorpusError("no frames to measure mean and variance on: the training corpus is empty")
        mean = total / frames
        variance = np.maximum(squares / frames - np.square(mean), VARIANCE_FLOOR)
        self.mean.copy_(torch.from_numpy(mean))
        self.inverse_std.copy_(torch.from_numpy(1 / np.sqrt(variance)))

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Subtract the mean and divide by the standard deviation of each mel bin.

        Kind ``global`` takes both from :meth:`fit`. Kind ``utterance`` takes both over the real frames of each
        utterance, the variance as the mean of squared deviations and never below ``VARIANCE_FLOOR``.

        Args:
            features: ``(batch, frames, n_mels)``, padded at the end with anything.
            lengths: ``(batch,)`` real frames of each utterance, at least 1.

        Returns:
            ``(batch, frames, n_mels)`` in the type of ``features``; padding comes out as 0.
        """
        real = padding_mask(lengths.to(features.device), features.shape[1]).unsqueeze(-1)  # (batch, frames, 1)
        # NaN or infinity behind an utterance's end must not survive a multiplication by 0, hence masked_fill.
        values = features.float().masked_fill(~real, 0.0)
        if self.kind == "global":
            values = (values - self.mean) * self.inverse_std
        elif self.kind == "utterance":
            count = lengths.to(features.device).clamp(min=1).view(-1, 1, 1)  # (batch,) -> (batch, 1, 1)
            centred = (values - values.sum(dim=1, keepdim=True) / count).masked_fill(~real, 0.0)
            variance = centred.square().sum(dim=1, keepdim=True) / count
            values = centred * variance.clamp(min=VARIANCE_FLOOR).rsqrt()
        return values.masked_fill(~real, 0.0).to(features.dtype)

    def extra_repr(self) -> str:
        return f"{self.kind!r}, n_mels={len(self.mean)}"


def _check_features(index: int, features: NDArray[np.float64], n_mels: int) -> None:
    if features.ndim != 2 or features.shape[1] != n_mels:
        raise CorpusError(
            f"utterance {index} has features of shape {features.shape}, (frames, {n_mels}) is needed: "
            "set features.n_mels to what the corpus holds"
        )
    if not np.isfinite(features).all():
        raise CorpusError(f"utterance {index} holds NaN or infinite features: remove it from the corpus")
