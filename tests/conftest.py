"""Fixtures that several test files use."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Keep computed features out of the user's cache."""
    monkeypatch.setenv("ASR_TUTORIAL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def real_data() -> Path:
    """The folder that holds ``LibriSpeech/train-clean-5`` and so on; skips where there is none."""
    for folder in (os.environ.get("ASR_TUTORIAL_DATA", ""), REPOSITORY.parent / "shared" / "data"):
        if folder and (Path(folder) / "LibriSpeech").is_dir():
            return Path(folder)
    pytest.skip("no real speech: set ASR_TUTORIAL_DATA to a folder with LibriSpeech/train-clean-5")


@pytest.fixture
def write_tone() -> Callable[..., Path]:
    """A function that writes a sound file: a tone with some noise."""

    def write(path: Path, seconds: float = 1.0, frequency: float = 440.0, sample_rate: int = 16_000) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        time = np.arange(round(seconds * sample_rate)) / sample_rate
        noise = np.random.default_rng(int(frequency)).normal(size=len(time))
        opus = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
        soundfile.write(path, 0.3 * np.sin(2 * np.pi * frequency * time) + 0.01 * noise, sample_rate, **opus)
        return path

    return write


@pytest.fixture
def tiny_corpus(tmp_path, write_tone) -> Path:
    """A corpus of tones in LibriSpeech's layout: 2 speakers, 6 utterances of 1.0 to 2.5 s, flac, wav and opus."""
    folder = tmp_path / "tiny"
    texts = ["ONE", "TWO WORDS", "THREE SMALL WORDS", "FOUR", "IT'S FIVE", "SIX"]
    for number, (text, suffix) in enumerate(zip(texts, ["flac", "wav", "opus"] * 2, strict=True)):
        speaker = 10 + number // 3
        chapter = folder / str(speaker) / "7"
        name = f"{speaker}-7-{number % 3:04}"
        write_tone(chapter / f"{name}.{suffix}", 1.0 + 0.3 * number, 300 + 100 * number)
        with (chapter / f"{speaker}-7.trans.txt").open("a") as file:
            file.write(f"{name} {text}\n")
    return folder
