"""Augmentation: changes to training speech that do not change what is said.

:func:`speed_perturb` changes the sound itself, once, before features are computed. :class:`FrequencyWarp` and
:class:`SpecAugment` change the features of each batch anew, on the device, and only in training mode.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asr_tutorial.audio import resample
from asr_tutorial.config import AugmentConfig
from asr_tutorial.masks import padding_mask


class FrequencyWarp(nn.Module):
    """Stretch or squeeze the mel axis of each utterance in training: a shorter or longer vocal tract, another speaker.

    Jaitly and Hinton, "Vocal tract length perturbation improves speech recognition", ICML workshop 2013; here by linear
    interpolation between the mel bins of finished features. With few speakers to learn from, each sounds like many.
    """

    def __init__(self, width: float) -> None:
        super().__init__()
        self.width = width

    def forward(self, features: Tensor) -> Tensor:
        """Warp ``(batch, frames, n_mels)`` by a factor per utterance, uniform in ``1 - width .. 1 + width``."""
        if not self.training or self.width == 0:
            return features
        batch, _, n_mels = features.shape
        factors = 1 + self.width * (2 * torch.rand(batch, 1, device=features.device) - 1)
        bins = torch.arange(n_mels, device=features.device)
        sources = (bins * factors).clamp(max=n_mels - 1)  # (batch, n_mels): where new bin j is read
        # Linear interpolation as a matrix: bin i counts for new bin j by how near it is, nothing from one bin away.
        weights = (1 - (bins[:, None] - sources[:, None, :]).abs()).clamp(min=0)  # (batch, n_mels, n_mels)
        with torch.autocast(features.device.type, enabled=False):  # bf16 products would cost two digits
            return features @ weights.to(features.dtype)


def random_stretches(extents: Tensor, max_widths: Tensor, count: int, size: int) -> Tensor:
    """Choose ``count`` random stretches of each row; they may overlap.

    A width is uniform over the whole numbers from 0 to ``max_widths``, a start uniform over the places at which the
    stretch fits into the first ``extents`` positions.

    Args:
        extents: ``(batch,)`` positions of each row that may be chosen from.
        max_widths: ``(batch,)`` largest width of a stretch; its fraction does not count.
        count: stretches in a row.
        size: length of the rows.

    Returns:
        ``(batch, size)`` boolean, True within a stretch.
    """
    draws = torch.rand(2, extents.shape[0], count, device=extents.device)
    widest = max_widths.floor().unsqueeze(1)  # (batch, 1)
    # minimum: the product of a draw just below 1 may round up to the bound itself.
    widths = torch.minimum((draws[0] * (widest + 1)).floor(), widest)  # (batch, count)
    last_start = extents.unsqueeze(1) - widths
    starts = torch.minimum((draws[1] * (last_start + 1)).floor(), last_start)
    positions = torch.arange(size, device=extents.device)
    # (batch, count, 1) against (size,) -> (batch, count, size) -> (batch, size)
    inside = (positions >= starts.unsqueeze(2)) & (positions < (starts + widths).unsqueeze(2))
    return inside.any(dim=1)


class SpecAugment(nn.Module):
    """Hide random bands of frequency and stretches of time in training, so that no single cue can be relied on.

    Park et al., "SpecAugment: a simple data augmentation method for automatic speech recognition", Interspeech 2019,
    section 2, without its time warping, and with time masks as shares of the utterance (Park et al. 2020, "SpecAugment
    on large scale datasets"). Masked values become 0, which after :class:`MVN` is the mean. In evaluation mode, and
    with ``strength`` 0, features pass unchanged.
    """

    _strength: Tensor

    def __init__(self, config: AugmentConfig) -> None:
        super().__init__()
        self.config = config
        self.limit = 1.0
        """What a strength of 1 is multiplied by: a stage of progressive training may want narrower masks."""
        # A tensor, since a Python number that changes while training would make torch.compile start again.
        self.register_buffer("_strength", torch.ones(()), persistent=False)

    @property
    def strength(self) -> float:
        """Factor in [0, 1] on the largest width of all masks; it is set as a share of ``limit``."""
        return float(self._strength)

    @strength.setter
    def strength(self, value: float) -> None:
        if not 0 <= value <= 1:
            raise ValueError(f"strength must lie in [0, 1], not {value}")
        self._strength.fill_(value * self.limit)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Hide bands and stretches of each utterance, other ones for each.

        There are ``config.freq_masks`` bands of at most ``config.freq_width`` mel bins (and never more than there are),
        and ``config.time_masks`` stretches of at most ``config.time_width`` times the utterance's own length; both
        largest widths are multiplied by the strength. In evaluation mode nothing happens.

        Args:
            features: ``(batch, frames, n_mels)`` normalised.
            lengths: ``(batch,)`` real frames; padding behind them is never written to.

        Returns:
            The features with 0 in the hidden places.
        """
        if not self.training:
            return features
        lengths = lengths.to(features.device)
        frames, n_mels = features.shape[1:]
        bins = torch.full_like(lengths, n_mels)
        freq_width = self._strength * min(self.config.freq_width, n_mels)
        time_width = self._strength * self.config.time_width * lengths
        in_band = random_stretches(bins, freq_width.expand_as(bins), self.config.freq_masks, n_mels)
        in_stretch = random_stretches(lengths, time_width, self.config.time_masks, frames)
        hidden = in_band.unsqueeze(1) | in_stretch.unsqueeze(2)  # (batch, 1, n_mels) | (batch, frames, 1)
        return features.masked_fill(hidden & padding_mask(lengths, frames).unsqueeze(2), 0.0)


def speed_perturb(samples: NDArray[np.float32], speed: float, sample_rate: int) -> NDArray[np.float32]:
    """Play a recording faster or slower, as a tape would: tempo and pitch both change by the factor ``speed``.

    Ko et al., "Audio augmentation for speech recognition", Interspeech 2015, section 2.

    Args:
        samples: ``(samples,)`` float32.
        speed: above 1 is faster and higher.
        sample_rate: samples per second.

    Returns:
        ``(round(samples / speed),)`` float32.

    Raises:
        ValueError: the speed is not positive.
    """
    if not speed > 0:
        raise ValueError(f"speed must be positive, not {speed}")
    if speed == 1:
        return samples
    # What was recorded at sample_rate is taken to be speed times as fast, then brought back to sample_rate.
    perturbed = resample(samples, sample_rate * speed, sample_rate)
    length = round(len(samples) / speed)
    return np.pad(perturbed[:length], (0, max(length - len(perturbed), 0)))  # the resampler may be a sample off
