"""Sound files: reading, resampling, and cutting long recordings at pauses."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from asr_tutorial.errors import AudioError

Samples = NDArray[np.float32]
UNKNOWN_SIZE = 0x7FFF0000
"""A WAV header that promises this many bytes or more was written by a program that did not know the size."""
MOST_SAMPLES = 2**40
"""Two years of sound; libsndfile gives 2**63 - 1 where a header does not tell the length."""


def read_audio(path: str | Path, sample_rate: int = 16_000) -> Samples:
    """Read a sound file as mono at one sample rate.

    Any format that libsndfile knows is read (WAV, FLAC, Ogg Vorbis and Opus, MP3, ...). Several channels are averaged
    to one, and any other rate is resampled: both are what a recogniser wants, so neither is a reason to complain.
    An Ogg file that was cut off reads as a shorter recording, for its header does not tell the length.

    Args:
        path: the file.
        sample_rate: samples per second of the result.

    Returns:
        ``(samples,)`` float32, full scale is [-1, 1].

    Raises:
        AudioError: the file is missing, empty, not audio, damaged, incomplete, or holds NaN or infinite samples.
    """
    with _open(path) as file:
        try:
            samples = file.read(dtype="float32", always_2d=True)  # (samples, channels)
        except (soundfile.SoundFileError, MemoryError) as error:
            raise AudioError(f"{path} is damaged, it cannot be decoded ({error}): replace the file") from error
        if len(samples) != file.frames:
            raise AudioError(
                f"{path} is incomplete, its header promises {file.frames} samples and {len(samples)} could be decoded: "
                "copy or download it again"
            )
        rate = file.samplerate
    mono = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    if not np.isfinite(mono).all():
        raise AudioError(f"{path} holds samples that are NaN or infinite: export the recording again")
    return resample(mono, rate, sample_rate)


def audio_info(path: str | Path) -> tuple[float, int, int]:
    """Length in seconds, samples per second and number of channels, from the file's header alone.

    Raises:
        AudioError: the file is missing, empty or not audio.
    """
    with _open(path) as file:
        return file.frames / file.samplerate, file.samplerate, file.channels


def _open(path: str | Path) -> soundfile.SoundFile:
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"no audio file at {path}: check the path" + (" (it is a folder)" if path.is_dir() else ""))
    if path.stat().st_size == 0:
        raise AudioError(f"{path} is empty (0 bytes): copy or download it again")
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(
            f"{path} cannot be read as audio ({error}): give WAV, FLAC, Ogg, MP3 or another format of libsndfile"
        ) from error
    problem = ""
    # libsndfile takes what is there of a WAV file that was cut off, and says so only in its log. Programs that write
    # to a pipe promise 2 GiB or more because they do not know better: that is no damage.
    cut_off = re.search(r"^data : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if cut_off and int(cut_off[2]) < int(cut_off[1]) < UNKNOWN_SIZE:
        problem = (
            f"is incomplete, its header promises {cut_off[1]} bytes of sound and {cut_off[2]} are there: "
            "copy or download it again"
        )
    elif file.frames == 0:
        problem = "holds no samples: record it again or leave it out"
    elif file.frames > MOST_SAMPLES:
        problem = "does not say how long it is, as FLAC written to a pipe: write it anew (ffmpeg -i OLD.flac NEW.flac)"
    if problem:
        file.close()
        raise AudioError(f"{path} {problem}")
    return file


def resample(samples: Samples, from_rate: float, to_rate: float) -> Samples:
    """Convert ``(samples,)`` from one sample rate to another (libsoxr, high quality); equal rates copy nothing."""
    if from_rate == to_rate:
        return samples
    return soxr.resample(samples, from_rate, to_rate)


def split_at_pauses(samples: Samples, sample_rate: int, max_seconds: float) -> list[tuple[int, int]]:
    """Cut a long recording into pieces that a recogniser can take, where somebody is likely to draw breath.

    The method looks at energy alone. The next cut must lie in the second half of the longest allowed piece, and so that
    what follows is no scrap shorter than a quarter of one. There the quietest third of a second is found; from it the
    quiet stretch is widened as long as the energy stays within 3 dB, and the cut is made in its middle. In speech
    without pauses, or in steady noise, the cut falls at the weakest point and may split a word.

    Args:
        samples: ``(samples,)``.
        sample_rate: samples per second.
        max_seconds: longest piece in seconds.

    Returns:
        ``(start, end)`` in samples, in order, without gap or overlap, together the whole recording.

    Raises:
        ValueError: ``max_seconds`` is below one second.
    """
    if max_seconds < 1:
        raise ValueError(f"max_seconds must be at least 1, not {max_seconds}")
    longest = int(max_seconds * sample_rate)
    if len(samples) <= longest:
        return [(0, len(samples))]
    step = max(sample_rate // 100, 1)  # energy is measured every 10 ms
    blocks = samples[: len(samples) // step * step].reshape(-1, step)  # (samples,) -> (blocks, step)
    power = np.einsum("bs,bs->b", blocks, blocks)  # (blocks,)
    smooth = np.convolve(power, np.full(33, 1 / 33), mode="same")  # over a third of a second
    pieces, start = [], 0
    while len(samples) - start > longest:
        latest = min(longest, len(samples) - start - longest // 4)
        first, last = (start + longest // 2) // step + 1, (start + latest) // step
        window = smooth[first:last]
        quietest = int(window.argmin())
        loud = np.flatnonzero(window > 2 * window[quietest])  # more than 3 dB above it
        left = int(loud[loud < quietest].max(initial=-1)) + 1
        right = int(loud[loud > quietest].min(initial=len(window)))
        cut = (first + (left + right) // 2) * step
        pieces.append((start, cut))
        start = cut
    return [*pieces, (start, len(samples))]
