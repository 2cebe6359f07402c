"""Log-mel filterbank features.

A waveform is cut into short overlapping frames (:func:`frame`), each frame becomes a power spectrum
(:func:`power_spectrum`), the spectrum is pooled into a few bands as wide as the ear's (:func:`mel_filterbank`), and the
logarithm makes loudness additive (:func:`log_mel`). The numbers agree with Kaldi's ``compute-fbank-feats``, so models
and features of Kaldi, icefall, WeNet and ESPnet can be compared with ours.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from asr_tutorial.config import FeaturesConfig
from asr_tutorial.errors import AudioError, ConfigError
from asr_tutorial.masks import padding_mask

FULL_SCALE = 2.0**15
"""Kaldi computes features of 16-bit integers; our waveforms lie in [-1, 1]."""
ENERGY_FLOOR = 1.1920929e-07
"""Smallest mel energy before the logarithm, Kaldi's: the float32 machine epsilon. Its logarithm is -15.94."""
FRAMES_IN_CACHE = 512
"""Frames that a processor transforms at a time."""

WindowName = Literal["povey", "hann", "hamming", "rectangular"]


def num_frames(samples: int, frame_length: int, frame_shift: int) -> int:
    """How many whole frames fit in a waveform (Kaldi's ``snip_edges``): none that would hang over its end.

    Args:
        samples: length of the waveform, perhaps less than one frame.
        frame_length: samples in a frame.
        frame_shift: samples from the start of one frame to the start of the next.
    """
    return 1 + (samples - frame_length) // frame_shift if samples >= frame_length else 0


def frame(waveform: Tensor, frame_length: int, frame_shift: int) -> Tensor:
    """Cut waveforms into overlapping frames.

    Args:
        waveform: ``(..., samples)``.
        frame_length: samples in a frame.
        frame_shift: samples from the start of one frame to the start of the next.

    Returns:
        ``(..., frames, frame_length)``, whole frames only.

    Raises:
        AudioError: the waveform is shorter than one frame.
    """
    _check_samples(waveform.shape[-1], frame_length)
    # A view, no sample is copied: (..., samples) -> (..., frames, frame_length)
    return waveform.unfold(-1, frame_length, frame_shift)


def _check_samples(samples: int, frame_length: int) -> None:
    if samples < frame_length:
        raise AudioError(
            f"the waveform has {samples} samples, one frame needs {frame_length}: "
            "leave out recordings this short (data.min_seconds), or pad them with silence"
        )


def window_function(name: WindowName, length: int) -> Tensor:
    """The weights ``(length,)`` that fade a frame in and out, so that its cut edges do not smear the spectrum.

    Povey's window, Kaldi's default, is Hann's to the power 0.85.

    Raises:
        ConfigError: no window has this name, or fewer than two samples are asked for.
    """
    if length < 2:
        raise ConfigError(f"a frame must hold at least 2 samples, not {length}: raise features.frame_length_ms")
    phase = torch.arange(length, dtype=torch.float64) * (2 * math.pi / (length - 1))
    match name:
        case "povey":
            window = (0.5 - 0.5 * phase.cos()) ** 0.85
        case "hann":
            window = 0.5 - 0.5 * phase.cos()
        case "hamming":
            window = 0.54 - 0.46 * phase.cos()
        case "rectangular":
            window = torch.ones_like(phase)
        case _:
            raise ConfigError(f"no window called {name!r}: give povey, hann, hamming or rectangular")
    return window.float()


def hertz_to_mel(hertz: Tensor) -> Tensor:
    """The mel scale, on which equal steps sound equally far apart (O'Shaughnessy 1987; the variant used by HTK).

    ``1127 * ln(1 + hertz / 700)``, elementwise: 1000 Hz are 1000 mel.
    """
    return 1127.0 * torch.log1p(hertz / 700.0)


def mel_filterbank(
    n_mels: int, fft_size: int, sample_rate: int, low_freq: float = 20.0, high_freq: float = 0.0
) -> Tensor:
    """Triangular filters that pool the bins of a power spectrum into mel bands.

    The triangles are straight on the mel scale; each rises from its left neighbour's peak to its own and falls to its
    right neighbour's peak.

    Args:
        n_mels: number of filters.
        fft_size: length of the Fourier transform in samples.
        sample_rate: samples per second.
        low_freq: left foot of the first filter in Hz.
        high_freq: right foot of the last filter in Hz; zero or less counts down from the Nyquist frequency.

    Returns:
        ``(fft_size // 2 + 1, n_mels)``, so that ``power @ filterbank`` gives mel energies.

    Raises:
        ConfigError: impossible frequencies, or so many filters that one of them holds no bin.
    """
    _check_frequencies(sample_rate, low_freq, high_freq)
    high = high_freq if high_freq > 0 else sample_rate / 2 + high_freq
    limits = hertz_to_mel(torch.tensor([low_freq, high], dtype=torch.float64))
    # Feet and peaks together: filter m stands on points m, m + 1, m + 2.
    points = torch.linspace(float(limits[0]), float(limits[1]), n_mels + 2, dtype=torch.float64)
    left, peak, right = points[:-2], points[1:-1], points[2:]  # (n_mels,) each
    bins = hertz_to_mel(torch.arange(fft_size // 2 + 1, dtype=torch.float64) * (sample_rate / fft_size)).unsqueeze(1)
    rising, falling = (bins - left) / (peak - left), (right - bins) / (right - peak)  # (bins, n_mels) each
    filters = torch.minimum(rising, falling).clamp(min=0.0)
    _check_filters(filters, fft_size)
    return filters.float()


def _check_frequencies(sample_rate: int, low_freq: float, high_freq: float) -> None:
    nyquist = sample_rate / 2
    high = high_freq if high_freq > 0 else nyquist + high_freq
    if not 0 <= low_freq < high <= nyquist:
        raise ConfigError(
            f"mel filters from {low_freq:g} to {high:g} Hz are impossible at {sample_rate} samples per second: "
            f"choose 0 <= features.low_freq < features.high_freq <= {nyquist:g}"
        )


def _check_filters(filters: Tensor, fft_size: int) -> None:
    empty = (filters.sum(dim=0) == 0).nonzero().flatten().tolist()
    if empty:
        raise ConfigError(
            f"{len(empty)} of {filters.shape[1]} mel filters, the first is number {empty[0]}, are so narrow that no "
            f"frequency of the {fft_size}-point spectrum falls into them: use a smaller features.n_mels or a longer "
            "features.frame_length_ms"
        )


def power_spectrum(frames: Tensor, window: Tensor, preemphasis: float, fft_size: int) -> Tensor:
    """Power of each frequency in each frame.

    Four steps, within each frame: subtract its mean, pre-emphasise, multiply by the window, and take the squared
    magnitude of the Fourier transform.

    Args:
        frames: ``(..., frames, frame_length)``.
        window: ``(frame_length,)``.
        preemphasis: share of the previous sample that is subtracted from each sample; speech is weak in high
            frequencies, and this lifts them. The first sample of a frame counts as its own predecessor.
        fft_size: length of the Fourier transform; frames are padded to it with zeros.

    Returns:
        ``(..., frames, fft_size // 2 + 1)``; entry k belongs to ``k * sample_rate / fft_size`` Hz.
    """
    centred = frames - frames.mean(dim=-1, keepdim=True)  # a constant offset carries no sound
    # The sample before the frame is not at hand here; Kaldi does without it too.
    first = centred[..., :1] * (1 - preemphasis)
    others = centred[..., 1:] - preemphasis * centred[..., :-1]
    windowed = torch.cat([first, others], dim=-1) * window
    # Between harmonics a bin may hold a millionth of its neighbours' energy: a transform in float32, whose errors go
    # by the strongest bin, would double the error there.
    if windowed.device.type != "mps":  # Apple's GPUs have no float64
        windowed = windowed.double()
    spectrum = torch.fft.rfft(windowed, n=fft_size)
    return (spectrum.real.square() + spectrum.imag.square()).float()


@lru_cache(maxsize=16)
def _tables(
    frame_length: int,
    fft_size: int,
    sample_rate: int,
    n_mels: int,
    low_freq: float,
    high_freq: float,
    window: WindowName,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Window and filterbank, built once per setting and device."""
    with torch.inference_mode(False):  # else the first caller's mode would stick to the cached tensors
        filterbank = mel_filterbank(n_mels, fft_size, sample_rate, low_freq, high_freq)
        return window_function(window, frame_length).to(device), filterbank.to(device)


def _milliseconds(milliseconds: float, sample_rate: int) -> int:
    """Whole samples in a time."""
    return int(sample_rate * milliseconds / 1000)


def log_mel(
    waveform: Tensor,
    sample_rate: int = 16_000,
    *,
    n_mels: int = 80,
    frame_length_ms: float = 25.0,
    frame_shift_ms: float = 10.0,
    low_freq: float = 20.0,
    high_freq: float = 0.0,
    window: WindowName = "povey",
    preemphasis: float = 0.97,
    dither: float = 0.0,
) -> Tensor:
    """Log-mel features as Kaldi's ``compute-fbank-feats`` computes them, on any device, in float32.

    Args:
        waveform: ``(samples,)`` or ``(batch, samples)``, floating point in [-1, 1].
        sample_rate: samples per second.
        n_mels: number of mel bins.
        frame_length_ms: length of a frame in milliseconds.
        frame_shift_ms: step between frames in milliseconds.
        low_freq: lower edge of the lowest mel filter in Hz.
        high_freq: upper edge of the highest in Hz; zero or less counts down from the Nyquist frequency.
        window: povey, hann, hamming or rectangular.
        preemphasis: see :func:`power_spectrum`.
        dither: standard deviation of noise added to each sample of each frame, in units of 16-bit integers.

    Returns:
        ``(frames, n_mels)`` or ``(batch, frames, n_mels)``, natural logarithms, never below -15.95.

    Raises:
        AudioError: fewer samples than one frame, integers, or a shape with another number of axes.
        ConfigError: options that contradict each other.
    """
    if waveform.dim() not in (1, 2) or not waveform.is_floating_point():
        raise AudioError(
            "a waveform must be a floating-point tensor (samples,) or (batch, samples) in [-1, 1], not "
            f"{waveform.dtype} of shape {tuple(waveform.shape)}; divide 16-bit integers by 32768"
        )
    frame_length, frame_shift = _milliseconds(frame_length_ms, sample_rate), _milliseconds(frame_shift_ms, sample_rate)
    if frame_shift < 1:
        raise ConfigError(f"features.frame_shift_ms={frame_shift_ms:g} is less than one sample: raise it")
    fft_size = 1 << max(frame_length - 1, 1).bit_length()  # the next power of two, where the transform is fastest
    weights, filterbank = _tables(
        frame_length, fft_size, sample_rate, n_mels, low_freq, high_freq, window, waveform.device
    )
    with torch.autocast(waveform.device.type, enabled=False):  # bf16 products would cost two digits
        frames = frame(waveform.float() * FULL_SCALE, frame_length, frame_shift)
        if dither > 0:
            frames = frames + dither * torch.randn_like(frames)
        # A processor works on what fits in its cache, twice as fast and in constant memory; a GPU wants all at once.
        batch, total = math.prod(frames.shape[:-2]), frames.shape[-2]
        block = max(FRAMES_IN_CACHE // batch, 1) if frames.device.type == "cpu" else total
        energies = [
            power_spectrum(part, weights, preemphasis, fft_size) @ filterbank for part in frames.split(block, dim=-2)
        ]
        return torch.cat(energies, dim=-2).clamp(min=ENERGY_FLOOR).log()


class FeatureExtractor:
    """Log-mel features of padded batches with the settings of a :class:`FeaturesConfig`."""

    def __init__(self, config: FeaturesConfig) -> None:
        self.config = config
        self.options = asdict(config)
        del self.options["normalize"]  # the model's part, see MVN
        self.frame_length = _milliseconds(config.frame_length_ms, config.sample_rate)
        self.frame_shift = _milliseconds(config.frame_shift_ms, config.sample_rate)

    def num_frames(self, samples: int) -> int:
        """Frames of a waveform of so many samples; 0 where it is shorter than one frame."""
        return num_frames(samples, self.frame_length, self.frame_shift)

    def __call__(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features of a batch; an utterance's frames do not depend on what it is padded or batched with.

        Args:
            waveforms: ``(batch, samples)`` in [-1, 1], padded at the end with anything.
            lengths: ``(batch,)`` real samples of each; None where nothing is padding.

        Returns:
            features ``(batch, frames, n_mels)``, zero behind each utterance's last frame, and the number of real frames
            ``(batch,)`` of each.

        Raises:
            AudioError: an utterance is shorter than one frame.
        """
        if lengths is None:
            lengths = torch.full((waveforms.shape[0],), waveforms.shape[-1], device=waveforms.device)
        shortest = int(lengths.min())
        if shortest < self.frame_length:
            raise AudioError(
                f"utterance {int(lengths.argmin())} of the batch has {shortest} samples, one frame needs "
                f"{self.frame_length}: leave it out (data.min_seconds), or pad it with silence"
            )
        features = log_mel(waveforms, **self.options)
        frame_lengths = (1 + (lengths - self.frame_length) // self.frame_shift).to(features.device)
        real = padding_mask(frame_lengths, features.shape[1])
        return features.masked_fill(~real.unsqueeze(-1), 0.0), frame_lengths
