"""From sound to the pictures that a recogniser looks at.

Read in this order: ``fbank`` (frames, spectra, mel bands, logarithm), ``normalize`` (mean and variance), ``augment``
(speed, frequency warp, SpecAugment). The last two are applied inside the model, so that a checkpoint holds them.
"""

from asr_tutorial.features.augment import FrequencyWarp, SpecAugment, speed_perturb
from asr_tutorial.features.fbank import (
    ENERGY_FLOOR,
    FULL_SCALE,
    FeatureExtractor,
    frame,
    hertz_to_mel,
    log_mel,
    mel_filterbank,
    num_frames,
    power_spectrum,
    window_function,
)
from asr_tutorial.features.normalize import MVN

__all__ = [
    "ENERGY_FLOOR",
    "FULL_SCALE",
    "MVN",
    "FeatureExtractor",
    "FrequencyWarp",
    "SpecAugment",
    "frame",
    "hertz_to_mel",
    "log_mel",
    "mel_filterbank",
    "num_frames",
    "power_spectrum",
    "speed_perturb",
    "window_function",
]
