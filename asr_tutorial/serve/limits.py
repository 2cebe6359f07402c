"""What is refused before it costs anything: bodies, recordings and features of impossible sizes and contents.

A service is talked to by programs with mistakes and by people with bad intentions. Whatever comes is checked where it
is still cheap: the size of a body while it is read, the length of a recording from its header, features before they are
tensors. Each check says what is allowed and what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_tutorial.audio import audio_info
from asr_tutorial.errors import AudioError
from asr_tutorial.serve.errors import ServiceError, from_user_error

LARGEST_LOG_MEL = 100.0
"""Log-mel values of sound lie between -16 and some 30; beyond this bound lie mistakes and attacks on the arithmetic."""
SAMPLE_RATES = (1_000, 192_000)
MOST_CHANNELS = 8
NUMBERS = {float, int}


def too_large(limit: int) -> ServiceError:
    return ServiceError(
        413,
        "too_large",
        f"the body is larger than {limit} bytes",
        "send a shorter recording, or a compressed one (FLAC, Ogg)",
    )


def too_long(seconds: float, limit: float) -> ServiceError:
    return ServiceError(
        413, "too_long", f"{seconds:.4g} s are too long: at most {limit:g} s", "cut the recording and send the parts"
    )


def too_many_frames(frames: int, limit: int) -> ServiceError:
    return ServiceError(
        413,
        "too_long",
        f"features have {frames} frames, at most {limit} are taken",
        "send the recording as a file, which is split at its pauses, or split it yourself",
    )


def bad_features(n_mels: int) -> Callable[[str], ServiceError]:
    """What makes a refusal of features from a sentence that says what is wrong with them."""

    def refusal(message: str) -> ServiceError:
        remedy = f"send log-mel frames, one list of {n_mels} finite numbers each"
        return ServiceError(422, "bad_features", message, remedy)

    return refusal


def check_features(rows: Any, n_mels: int, max_frames: int) -> NDArray[np.float32]:
    """Log-mel features as they come out of JSON, if they are what the recogniser takes.

    Args:
        rows: anything; should be a list of lists of numbers.
        n_mels: numbers of each row.
        max_frames: most rows; more are refused before they are looked at.

    Returns:
        (frames, n_mels) float32.

    Raises:
        ServiceError: 413 ``too_long`` for too many rows; 422 ``bad_features`` for anything else, with the number of the
            first frame that is wrong.
    """
    wrong = bad_features(n_mels)
    if not isinstance(rows, list) or not rows:
        raise wrong("features must be a list of at least one frame")
    if len(rows) > max_frames:
        raise too_many_frames(len(rows), max_frames)
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != n_mels:
            found = f"{len(row)} values" if isinstance(row, list) else type(row).__name__
            raise wrong(f"frame {number} of the features must be a list of {n_mels} numbers, got {found}")
        if not set(map(type, row)) <= NUMBERS:
            raise wrong(f"frame {number} of the features holds something that is not a number")
    try:
        with np.errstate(over="ignore"):  # what becomes infinite is found below
            features = np.array(rows, dtype=np.float32)
    except OverflowError:  # an integer of hundreds of digits
        raise wrong("the features hold a number that is too large") from None
    return check_range(features, wrong)


def check_range(features: NDArray[np.float32], wrong: Callable[[str], ServiceError]) -> NDArray[np.float32]:
    """Features (frames, n_mels) without NaN, infinities, and numbers that sound cannot give.

    Raises:
        ServiceError: what ``wrong`` makes of a sentence about the first value that is none of sound's.
    """
    sound = np.abs(features) <= LARGEST_LOG_MEL  # NaN is not
    if not sound.all():
        frame, place = np.argwhere(~sound)[0]
        raise wrong(
            f"frame {frame} of the features holds {features[frame, place]:g} at place {place}: log-mel values are "
            f"finite and between -{LARGEST_LOG_MEL:g} and {LARGEST_LOG_MEL:g}"
        )
    return features


def check_recording(path: Path, max_seconds: float) -> float:
    """The length of a recording in seconds, if its header promises what can be decoded within bounds.

    A few bytes of FLAC hold hours of silence, and a header may claim anything: so the header is looked at first.

    Raises:
        ServiceError: 422 for what is no audio, or has too many channels or an odd sample rate; 413 if it is too long.
    """
    try:
        seconds, rate, channels = audio_info(path)
    except AudioError as error:
        raise bad_audio(error, path) from error
    if not SAMPLE_RATES[0] <= rate <= SAMPLE_RATES[1] or channels > MOST_CHANNELS:
        raise ServiceError(
            422,
            "bad_audio",
            f"the recording has {channels} channels at {rate} Hz: taken are 1 to {MOST_CHANNELS} channels at "
            f"{SAMPLE_RATES[0]} to {SAMPLE_RATES[1]} Hz",
            "convert it to mono at 16 kHz",
        )
    if seconds > max_seconds:
        raise too_long(seconds, max_seconds)
    return seconds


def bad_audio(error: AudioError, path: Path) -> ServiceError:
    """The library's message, without the name of our temporary file."""
    mended = AudioError(str(error).replace(str(path), "the file"))
    return from_user_error(mended, 422, "bad_audio")
