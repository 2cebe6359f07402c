"""Reading sound files, good and bad; resampling; cutting at pauses."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_tutorial.audio import audio_info, read_audio, resample, split_at_pauses
from asr_tutorial.errors import AudioError

RATE = 16_000


def sine(frequency: float, seconds: float, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def noise(seconds: float, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(int(seconds * RATE))).astype(np.float32)


def peak_frequency(samples: np.ndarray, rate: int = RATE) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


@pytest.mark.parametrize(("name", "options"), [("a.wav", {}), ("a.flac", {}), ("a.wav", {"subtype": "FLOAT"})])
def test_reads_what_was_written(tmp_path: Path, name: str, options: dict[str, str]) -> None:
    samples = noise(0.5)
    soundfile.write(tmp_path / name, samples, RATE, **options)
    read = read_audio(tmp_path / name)
    assert read.dtype == np.float32
    assert read.shape == samples.shape
    np.testing.assert_allclose(read, samples, atol=1 / 32768)


@pytest.mark.parametrize("options", [{"format": "OGG", "subtype": "OPUS"}, {"format": "OGG", "subtype": "VORBIS"}])
def test_reads_lossy_formats(tmp_path: Path, options: dict[str, str]) -> None:
    soundfile.write(tmp_path / "a.ogg", sine(440, 1), RATE, **options)
    read = read_audio(str(tmp_path / "a.ogg"))
    assert len(read) == RATE
    assert peak_frequency(read) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_any_rate_is_resampled(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", sine(440, 1, rate), rate)
    read = read_audio(tmp_path / "a.wav")
    assert abs(len(read) - RATE) <= 1
    assert peak_frequency(read) == pytest.approx(440, abs=2)
    np.testing.assert_allclose(read[1000:15000], sine(440, 1)[1000:15000], atol=2e-3)


def test_resampling_to_a_lower_rate_does_not_alias() -> None:
    # 6 kHz cannot exist at 8,000 samples per second; without a low-pass filter it would fold to 2 kHz.
    low = resample(sine(6000, 1), RATE, 8000)
    assert np.abs(low[200:-200]).max() < 1e-3


def test_equal_rates_copy_nothing() -> None:
    samples = noise(0.1)
    assert resample(samples, RATE, RATE) is samples


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = noise(0.2, seed=1), noise(0.2, seed=2)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "stereo.wav"), (left + right) / 2, atol=1e-6)


def test_info(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.zeros((4000, 2)), 8000)
    assert audio_info(tmp_path / "a.flac") == (0.5, 8000, 2)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def make_bad_file(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.wav"
    match kind:
        case "folder":
            path.mkdir()
        case "empty":
            path.touch()
        case "no-samples":
            soundfile.write(path, np.zeros(0), RATE)
        case "text":
            path.write_text("this is not sound\n" * 50)
        case "cut-wav":
            soundfile.write(path, noise(1), RATE)
            cut_in_half(path)
        case "nan" | "infinite":
            samples = noise(1)
            samples[777] = np.nan if kind == "nan" else np.inf
            soundfile.write(path, samples, RATE, subtype="FLOAT")
        case "cut-flac":
            path = folder / "cut.flac"
            soundfile.write(path, noise(2), RATE)
            cut_in_half(path)
        case "overwritten-ogg":
            path = folder / "overwritten.ogg"
            soundfile.write(path, noise(3), RATE, format="OGG", subtype="VORBIS")
            data = bytearray(path.read_bytes())
            data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
            path.write_bytes(data)
        case "piped-flac":
            path = folder / "piped.flac"
            soundfile.write(path, noise(1), RATE)
            data = bytearray(path.read_bytes())
            # The 36 bits of STREAMINFO that hold the number of samples (RFC 9639, section 8.2); 0 means unknown.
            data[21] &= 0xF0
            data[22:26] = bytes(4)
            path.write_bytes(data)
    return path


BAD_FILES = {
    "missing": "no audio file at",
    "folder": "it is a folder",
    "empty": r"is empty \(0 bytes\)",
    "no-samples": "holds no samples",
    "text": "cannot be read as audio",
    "cut-wav": "is incomplete",
    "nan": "NaN or infinite",
    "infinite": "NaN or infinite",
    "cut-flac": "is damaged|is incomplete",
    "overwritten-ogg": "is damaged|is incomplete",
    "piped-flac": "does not say how long",
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_file_is_an_error_that_names_path_and_remedy(kind: str, tmp_path: Path) -> None:
    path = make_bad_file(kind, tmp_path)
    with pytest.raises(AudioError, match=BAD_FILES[kind]) as caught:
        read_audio(path)
    message = str(caught.value)
    assert str(path) in message
    assert any(verb in message for verb in ("check", "copy", "record", "give", "replace", "export", "write"))


@pytest.mark.parametrize("kind", ["missing", "empty", "no-samples", "text", "cut-wav", "piped-flac"])
def test_info_refuses_what_the_header_gives_away(kind: str, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=BAD_FILES[kind]):
        audio_info(make_bad_file(kind, tmp_path))


def test_a_wav_written_to_a_pipe_is_good(tmp_path: Path) -> None:
    samples = noise(0.5)
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"  # what ffmpeg writes when it cannot go back to the header
    (tmp_path / "a.wav").write_bytes(data)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), samples, atol=1 / 32768)


def with_pauses(spoken: list[float], pause: float) -> np.ndarray:
    """Noise for each of these times, with nearly silent pauses between them."""
    parts = [noise(spoken[0])]
    for index, seconds in enumerate(spoken[1:]):
        parts += [noise(pause, level=1e-3, seed=index), noise(seconds, seed=index)]
    return np.concatenate(parts)


def test_short_recording_stays_whole() -> None:
    assert split_at_pauses(noise(10), RATE, 10) == [(0, 10 * RATE)]
    assert split_at_pauses(noise(0.001), RATE, 10) == [(0, 16)]


def test_cuts_lie_in_the_middle_of_pauses() -> None:
    # Pauses at 7-8, 16-17 and 24-25 s.
    samples = with_pauses([7, 8, 7, 6], pause=1)
    pieces = split_at_pauses(samples, RATE, 10)
    cuts = [start / RATE for start, _ in pieces[1:]]
    np.testing.assert_allclose(cuts, [7.5, 16.5, 24.5], atol=0.06)


@pytest.mark.parametrize("seconds", [10.01, 11, 12.4, 12.6, 19.9, 35, 61.7])
@pytest.mark.parametrize("kind", ["steady", "silent", "constant"])
def test_pieces_are_complete_and_within_bounds(seconds: float, kind: str) -> None:
    samples = {
        "steady": noise(seconds),
        "silent": np.zeros(int(seconds * RATE), np.float32),
        "constant": np.full(int(seconds * RATE), 0.3, np.float32),
    }[kind]
    pieces = split_at_pauses(samples, RATE, 10)
    assert pieces[0][0] == 0
    assert pieces[-1][1] == len(samples)
    for (_, end), (start, _) in pairwise(pieces):
        assert end == start
    lengths = [(end - start) / RATE for start, end in pieces]
    assert max(lengths) <= 10
    assert min(lengths) >= 2.5  # no scraps


def test_no_scrap_is_left_behind_a_late_pause() -> None:
    samples = noise(10.5)
    samples[int(9.4 * RATE) : int(9.9 * RATE)] = 0
    [(_, cut), _] = split_at_pauses(samples, RATE, 10)
    assert cut <= 8 * RATE


def test_pieces_below_a_second_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        split_at_pauses(noise(3), RATE, 0.5)
