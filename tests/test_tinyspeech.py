"""The bundled corpus: what a course may rely on. Needs no speech synthesiser."""

import importlib.util
import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parents[1] / "data" / "tinyspeech"
SPLITS = ("train", "dev", "test")
HOURS = {"train": (0.9, 1.1), "dev": (5 / 60, 8 / 60), "test": (5 / 60, 8 / 60)}


def read_transcripts(split: str) -> dict[str, str]:
    lines = [line for path in (ROOT / split).rglob("*.trans.txt") for line in path.read_text().splitlines()]
    return dict(line.split(" ", 1) for line in lines)


@pytest.fixture(scope="module")
def transcripts() -> dict[str, dict[str, str]]:
    return {split: read_transcripts(split) for split in SPLITS}


@pytest.fixture(scope="module")
def speakers() -> list[dict[str, str]]:
    header, *rows = [line.split("\t") for line in (ROOT / "speakers.tsv").read_text().splitlines()]
    return [dict(zip(header, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """`data/tinyspeech/generate.py`, which is a script and lies in no package."""
    sys.path.insert(0, str(ROOT))
    try:
        spec = importlib.util.spec_from_file_location("tinyspeech_generate", ROOT / "generate.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up by name
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT))
    return module


@pytest.mark.parametrize("split", SPLITS)
def test_layout_is_librispeechs(split: str, transcripts: dict[str, dict[str, str]]) -> None:
    recordings = sorted((ROOT / split).rglob("*.opus"))
    assert {path.stem for path in recordings} == transcripts[split].keys()
    for path in recordings:
        speaker, chapter, index = path.stem.split("-")
        assert path.relative_to(ROOT / split).parts == (speaker, chapter, path.name)
        assert re.fullmatch(r"\d{4}", index)


@pytest.mark.parametrize("split", SPLITS)
def test_recordings_are_16_khz_mono_of_the_promised_hours(split: str) -> None:
    seconds = []
    for path in (ROOT / split).rglob("*.opus"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels) == (16000, 1), path
        seconds.append(info.duration)
    low, high = HOURS[split]
    assert low <= sum(seconds) / 3600 <= high
    assert min(seconds) >= 1.3
    assert max(seconds) <= 6.1


def test_recordings_hold_speech_without_clipping() -> None:
    for path in sorted(ROOT.rglob("*-0007.opus")):  # one of every speaker
        samples, _ = soundfile.read(path, dtype="float32")
        level = 20 * np.log10(np.sqrt(np.mean(samples**2)))
        assert -29 < level < -18, path
        assert np.abs(samples).max() < 1.0, path


def test_alphabet_is_librispeechs(transcripts: dict[str, dict[str, str]]) -> None:
    texts = [text for split in SPLITS for text in transcripts[split].values()]
    assert all(re.fullmatch(r"[A-Z']+( [A-Z']+)*", text) for text in texts)
    assert set("".join(texts)) == set("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")


def test_sentences_differ_within_and_between_splits(transcripts: dict[str, dict[str, str]]) -> None:
    texts = [text for split in SPLITS for text in transcripts[split].values()]
    assert len(texts) == len(set(texts))


def test_speakers_are_those_of_the_table(speakers: list[dict[str, str]]) -> None:
    assert len({row["speaker"] for row in speakers}) == len(speakers)
    for split in SPLITS:
        assert {row["speaker"] for row in speakers if row["split"] == split} == {
            path.name for path in (ROOT / split).iterdir()
        }
    assert Counter((row["split"], row["engine"]) for row in speakers) == {
        ("train", "flite"): 4,
        ("train", "espeak-ng"): 46,
        ("dev", "espeak-ng"): 4,
        ("test", "espeak-ng"): 5,
    }


def test_held_out_voices_are_new_combinations_of_known_parts(speakers: list[dict[str, str]]) -> None:
    """An espeak-ng voice is accent+variant. The pair is what is new: another pitch alone would be no other speaker."""
    voices = {split: [row["voice"] for row in speakers if row["split"] == split] for split in SPLITS}
    everyone = [voice for split in SPLITS for voice in voices[split]]
    assert len(everyone) == len(set(everyone)), "a voice speaks under two numbers"
    known = {part for voice in voices["train"] for part in voice.split("+")}
    for voice in voices["dev"] + voices["test"]:
        accent, variant = voice.split("+")
        assert {accent, variant} <= known, voice


def test_every_word_is_learnable_from_train(transcripts: dict[str, dict[str, str]]) -> None:
    counts = {split: Counter(" ".join(transcripts[split].values()).split()) for split in SPLITS}
    assert counts["train"].keys() >= counts["dev"].keys() | counts["test"].keys()
    assert min(counts["train"].values()) >= 9
    assert len(counts["train"]) == 306


def test_corpus_is_small() -> None:
    files = [path for path in ROOT.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) <= 10_000_000


def test_generator_gives_the_committed_text(generator: ModuleType, transcripts: dict[str, dict[str, str]]) -> None:
    assert generator.differences(ROOT) == []
    words = {word for texts in transcripts.values() for text in texts.values() for word in text.split()}
    assert words == sys.modules["grammar"].vocabulary()


def test_check_names_what_differs(generator: ModuleType, tmp_path: Path) -> None:
    for path, text in generator.text_files().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert generator.differences(tmp_path) == []
    (changed,) = (tmp_path / "test" / "155").rglob("*.trans.txt")
    changed.write_text(changed.read_text().replace(" THE ", " TEH ", 1))
    (tmp_path / "train" / "999").mkdir()
    (tmp_path / "train" / "999" / "999-1.trans.txt").write_text("999-1-0000 HELLO\n")
    assert generator.differences(tmp_path) == [
        str(changed.relative_to(tmp_path)),
        str(Path("train", "999", "999-1.trans.txt")),
    ]


def test_silence_is_trimmed_to_the_asked_pauses(generator: ModuleType) -> None:
    speech = np.sin(np.arange(16000) * 0.3)
    samples = np.concatenate([np.zeros(8000), speech, np.zeros(4800)])
    trimmed = generator.trim_silence(samples, (0.1, 0.2))
    assert len(trimmed) == 1600 + 16000 + 3200
    assert np.flatnonzero(trimmed)[0] == pytest.approx(1600, abs=1)
    # Speech up to the very edge is padded rather than cut.
    assert len(generator.trim_silence(speech, (0.1, 0.2))) == 1600 + 16000 + 3200
