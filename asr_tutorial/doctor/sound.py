"""Sound: whether files are taken at their own sample rate, and whether text, sound and features fit each other."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch

from asr_tutorial.audio import read_audio
from asr_tutorial.corpus import Corpus
from asr_tutorial.doctor.case import Case
from asr_tutorial.doctor.report import Finding, NotApplicable
from asr_tutorial.features import FeatureExtractor
from asr_tutorial.recognizer.inputs import waveform

TONE = 500.0
"""Hertz; below half of any sample rate."""
SPECTRA = 12
"""Utterances whose spectra are averaged."""
NOTHING = 1e-8
"""Power, as a share of the strongest band's, below which there is nothing but rounding."""
PACE = (1.0, 40.0)
"""Characters a second that people can say, in any writing."""


def sample_rate(case: Case) -> Iterator[Finding]:
    """A tone, written at other sample rates, must come back with its length and its pitch."""
    rate = case.config.features.sample_rate
    with tempfile.TemporaryDirectory() as folder:
        for other in (rate // 2, 3 * rate // 2):
            wave = (0.3 * np.sin(2 * np.pi * TONE * np.arange(other) / other)).astype(np.float32)
            path = Path(folder) / f"{other}.wav"
            soundfile.write(path, wave, other)
            readings = {"a file": read_audio(path, rate), "an array": waveform(wave, other, rate)}
            for kind, samples in readings.items():
                seconds, pitch = len(samples) / rate, _pitch(samples, rate)
                if abs(seconds - 1) > 0.02 or abs(pitch - TONE) > 0.03 * TONE:
                    yield Finding(
                        "sample_rate_ignored",
                        f"{kind} of 1.00 s with a tone of {TONE:.0f} Hz at {other} samples a second is taken for "
                        f"{seconds:.2f} s with {pitch:.0f} Hz",
                    )
                    return
    extractor = FeatureExtractor(case.config.features)
    wave = (0.3 * np.sin(2 * np.pi * TONE * np.arange(rate) / rate)).astype(np.float32)
    loudest = int(extractor(torch.from_numpy(wave)[None])[0][0].mean(dim=0).argmax())
    expected = _mel_bin(case, TONE)
    if abs(loudest - expected) > 2:
        yield Finding(
            "sample_rate_ignored",
            f"a tone of {TONE:.0f} Hz is loudest in mel bin {loudest}, it belongs to bin {expected:.0f}",
        )


def durations(case: Case) -> Iterator[Finding]:
    """Features of the corpus must be as long as the sound, and text as fast as people speak."""
    dataset = case.data.train.dataset
    shift = case.config.features.frame_shift_ms / 1000
    window = case.config.features.frame_length_ms / 1000
    if dataset.store.speeds[0] == 1:
        ratios = [
            ((dataset.store.frames(item.id, 1.0) - 1) * shift + window) / item.seconds
            for item in dataset.utterances
            if not item.has_features
        ]
        if ratios and abs(statistics.median(ratios) - 1) > 0.05:
            yield Finding(
                "sample_rate_ignored",
                f"features last {statistics.median(ratios):.2f} times as long as the files say (median of "
                f"{len(ratios)} utterances)",
            )
    paces = [len(item.text or "") / item.seconds for item in case.corpus]
    pace = statistics.median(paces)
    if not PACE[0] < pace < PACE[1]:
        yield Finding("text_does_not_fit", f"a median of {pace:.1f} characters a second")


def bandwidth(case: Case) -> Iterator[Finding]:
    """The highest frequencies at which there is anything at all, in training and in dev speech."""
    if any(item.has_features for item in [*case.corpus, *case.dev]):
        raise NotApplicable("the corpus holds features, not sound")
    rate = case.config.features.sample_rate
    highest = [_highest(corpus, rate) for corpus in (case.corpus, case.dev)]
    if max(highest) > 1.4 * min(highest):
        yield Finding(
            "bands_differ", f"training speech goes up to {highest[0]:.0f} Hz, dev speech up to {highest[1]:.0f} Hz"
        )


def _highest(corpus: Corpus, rate: int) -> float:
    total = np.zeros(513)
    for item in corpus.utterances[:SPECTRA]:
        samples = read_audio(item.audio, rate)
        blocks = samples[: len(samples) // 1024 * 1024].reshape(-1, 1024) * np.hanning(1024)
        total += np.square(np.abs(np.fft.rfft(blocks, axis=1))).sum(axis=0)
    return float(np.flatnonzero(total > NOTHING * total.max()).max(initial=0) * rate / 1024)


def _pitch(samples: np.ndarray, rate: int) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / max(len(samples), 1))


def _mel_bin(case: Case, hertz: float) -> float:
    """Where a tone belongs: triangular filters, evenly spaced in mel, 1127 ln(1 + f / 700)."""
    features = case.config.features
    top = features.high_freq if features.high_freq > 0 else features.sample_rate / 2 + features.high_freq
    low, high, place = (1127 * np.log1p(f / 700) for f in (features.low_freq, top, hertz))
    return float((place - low) / (high - low) * (features.n_mels + 1) - 1)
