"""Make the TinySpeech corpus: sentences of our grammar, spoken by flite and espeak-ng, in LibriSpeech's layout.

    python data/tinyspeech/generate.py --out DIR      make the corpus (needs flite, espeak-ng and opusenc)
    python data/tinyspeech/generate.py --check        compare the transcripts with the grammar (needs none of them)

Sentences, voices, levels and pauses are drawn from fixed seeds. With the versions named in README.md the files
come out the same byte for byte.
"""

import argparse
import functools
import random
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from grammar import draw_sentences, transcript

SEED = 2024
SAMPLE_RATE = 16000
BITRATE_KBPS = 16
SPEECH_LEVEL_DB = (-27.0, -19.0)  # RMS of the whole utterance below full scale, drawn per utterance
# Below the speech. Without it pauses would be digital silence, which no microphone gives.
ROOM_NOISE_DB = (-62.0, -54.0)
PAUSE_SECONDS = (0.1, 0.2)  # left before and after the speech


@dataclass(frozen=True)
class Voice:
    """A speaker: a synthesiser's voice with its own pitch and pace.

    Attributes:
        split: train, dev or test.
        engine: flite or espeak-ng.
        name: Voice name as the engine takes it; for espeak-ng accent+variant.
        pitch: flite: mean F0 in Hz; espeak-ng: its 0-99 scale, 50 is the variant's own.
        pace: flite: duration stretch, above 1 is slower; espeak-ng: words per minute.
    """

    split: str
    engine: str
    name: str
    pitch: int
    pace: float

    def command(self, sentence: str, wav: Path) -> list[str]:
        if self.engine == "flite":
            settings = ["--setf", f"int_f0_target_mean={self.pitch}", "--setf", f"duration_stretch={self.pace}"]
            return ["flite", "-voice", self.name, *settings, "-t", sentence, "-o", str(wav)]
        return ["espeak-ng", "-v", self.name, "-p", str(self.pitch), "-s", str(self.pace), "-w", str(wav), sentence]


# No training voice has the accent, variant (the part after +) and pitch of a dev or test voice together: those are new
# speakers of a kind that training knows, since each accent and each variant alone is heard there.
VOICES = [
    Voice("train", "flite", "slt", 172, 1.08),
    Voice("train", "flite", "rms", 96, 1.0),
    Voice("train", "flite", "awb", 124, 1.03),
    Voice("train", "flite", "kal16", 108, 1.03),
    Voice("train", "espeak-ng", "en-us+m1", 52, 146),
    Voice("train", "espeak-ng", "en-us+m3", 54, 143),
    Voice("train", "espeak-ng", "en-us+m4", 44, 145),
    Voice("train", "espeak-ng", "en-us+m5", 53, 143),
    Voice("train", "espeak-ng", "en-us+m7", 58, 148),
    Voice("train", "espeak-ng", "en-us+f1", 43, 144),
    Voice("train", "espeak-ng", "en-us+f2", 55, 155),
    Voice("train", "espeak-ng", "en-us+f4", 44, 149),
    Voice("train", "espeak-ng", "en-gb+m1", 44, 155),
    Voice("train", "espeak-ng", "en-gb+m2", 43, 145),
    Voice("train", "espeak-ng", "en-gb+m4", 49, 143),
    Voice("train", "espeak-ng", "en-gb+m5", 54, 143),
    Voice("train", "espeak-ng", "en-gb+m6", 49, 143),
    Voice("train", "espeak-ng", "en-gb+f1", 46, 151),
    Voice("train", "espeak-ng", "en-gb+f2", 55, 146),
    Voice("train", "espeak-ng", "en-gb+f3", 45, 151),
    Voice("train", "espeak-ng", "en-gb+f4", 47, 145),
    Voice("train", "espeak-ng", "en-gb+f5", 48, 153),
    Voice("train", "espeak-ng", "en-gb-x-rp+m1", 45, 144),
    Voice("train", "espeak-ng", "en-gb-x-rp+m2", 43, 148),
    Voice("train", "espeak-ng", "en-gb-x-rp+m3", 57, 155),
    Voice("train", "espeak-ng", "en-gb-x-rp+m4", 52, 156),
    Voice("train", "espeak-ng", "en-gb-x-rp+m5", 56, 153),
    Voice("train", "espeak-ng", "en-gb-x-rp+m6", 51, 149),
    Voice("train", "espeak-ng", "en-gb-x-rp+m7", 47, 149),
    Voice("train", "espeak-ng", "en-gb-x-rp+f1", 44, 151),
    Voice("train", "espeak-ng", "en-gb-x-rp+f3", 58, 157),
    Voice("train", "espeak-ng", "en-gb-x-rp+f4", 52, 156),
    Voice("train", "espeak-ng", "en-gb-x-rp+f5", 51, 144),
    Voice("train", "espeak-ng", "en-gb-scotland+m2", 45, 158),
    Voice("train", "espeak-ng", "en-gb-scotland+m3", 55, 147),
    Voice("train", "espeak-ng", "en-gb-scotland+m4", 52, 146),
    Voice("train", "espeak-ng", "en-gb-scotland+m5", 57, 155),
    Voice("train", "espeak-ng", "en-gb-scotland+m6", 43, 144),
    Voice("train", "espeak-ng", "en-gb-scotland+m7", 52, 152),
    Voice("train", "espeak-ng", "en-gb-scotland+f1", 53, 157),
    Voice("train", "espeak-ng", "en-gb-scotland+f3", 56, 144),
    Voice("train", "espeak-ng", "en-gb-scotland+f4", 44, 150),
    Voice("train", "espeak-ng", "en-gb-scotland+f5", 57, 144),
    Voice("train", "espeak-ng", "en-us+Mike", 43, 151),
    Voice("train", "espeak-ng", "en-us+belinda", 56, 151),
    Voice("train", "espeak-ng", "en-us+max", 54, 153),
    Voice("train", "espeak-ng", "en-gb+Michael", 42, 156),
    Voice("train", "espeak-ng", "en-gb-x-rp+Denis", 53, 147),
    Voice("train", "espeak-ng", "en-gb-scotland+Mike", 45, 157),
    Voice("train", "espeak-ng", "en-gb+belinda", 43, 148),
    Voice("dev", "espeak-ng", "en-us+m6", 50, 150),
    Voice("dev", "espeak-ng", "en-us+f5", 52, 148),
    Voice("dev", "espeak-ng", "en-gb+m3", 50, 152),
    Voice("dev", "espeak-ng", "en-gb-scotland+f2", 52, 148),
    Voice("test", "espeak-ng", "en-us+m2", 50, 152),
    Voice("test", "espeak-ng", "en-us+f3", 48, 148),
    Voice("test", "espeak-ng", "en-gb+m7", 52, 150),
    Voice("test", "espeak-ng", "en-gb-x-rp+f2", 50, 150),
    Voice("test", "espeak-ng", "en-gb-scotland+m1", 48, 146),
]
UTTERANCES_PER_VOICE = {"train": 25, "dev": 32, "test": 26}


@dataclass(frozen=True)
class PlannedUtterance:
    split: str
    speaker: int
    chapter: int
    index: int
    voice: Voice
    sentence: str

    @property
    def id(self) -> str:
        return f"{self.speaker}-{self.chapter}-{self.index:04d}"

    @property
    def folder(self) -> Path:
        return Path(self.split, str(self.speaker), str(self.chapter))


@functools.cache
def plan() -> list[PlannedUtterance]:
    """Who says what: the whole corpus but the sound."""
    numbers = {split: count * sum(v.split == split for v in VOICES) for split, count in UTTERANCES_PER_VOICE.items()}
    taken: set[str] = set()
    sentences: dict[str, list[str]] = {}
    # Test and dev are plain samples of the grammar; train is drawn last, evenly over the words, leaving theirs out.
    for offset, (split, candidates) in enumerate([("test", 1), ("dev", 1), ("train", 30)]):
        rng = random.Random(SEED + offset)
        sentences[split] = draw_sentences(numbers[split], rng, exclude=taken, candidates=candidates)
        taken |= {transcript(sentence) for sentence in sentences[split]}
    utterances = []
    for split in ("train", "dev", "test"):
        voices = [(number, voice) for number, voice in enumerate(VOICES) if voice.split == split]
        for position, (number, voice) in enumerate(voices):
            # Topics take turns in the list: every n-th sentence would give a voice few of them, a run gives it all.
            count = UTTERANCES_PER_VOICE[split]
            own = sentences[split][position * count : (position + 1) * count]
            speaker = 101 + number
            for index, sentence in enumerate(own):
                utterances.append(PlannedUtterance(split, speaker, 1000 + speaker, index, voice, sentence))
    return utterances


def text_files() -> dict[Path, str]:
    """Relative path -> content of the files that hold text: the transcripts and `speakers.tsv`."""
    files: dict[Path, str] = {}
    speakers = ["speaker\tsplit\tengine\tvoice\tpitch\tpace"]
    for utterance in plan():
        path = utterance.folder / f"{utterance.speaker}-{utterance.chapter}.trans.txt"
        if path not in files:
            v = utterance.voice
            speakers.append(f"{utterance.speaker}\t{v.split}\t{v.engine}\t{v.name}\t{v.pitch}\t{v.pace}")
        files[path] = files.get(path, "") + f"{utterance.id} {transcript(utterance.sentence)}\n"
    files[Path("speakers.tsv")] = "\n".join(speakers) + "\n"
    return files


def trim_silence(samples: np.ndarray, pauses: tuple[float, float]) -> np.ndarray:
    """Cut or pad so that `pauses` seconds lie around the speech: the 10 ms frames within 40 dB of the loudest."""
    frame = SAMPLE_RATE // 100
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)  # (frames, 160)
    energy = (frames**2).mean(axis=1)
    loud = np.flatnonzero(energy > energy.max() * 1e-4)
    before, after = (int(seconds * SAMPLE_RATE) for seconds in pauses)
    start, end = loud[0] * frame, (loud[-1] + 1) * frame
    padded = np.pad(samples, (before, after))
    return padded[start : end + before + after]


def record(utterance: PlannedUtterance, out: Path) -> None:
    """Speak one utterance and write its Opus file."""
    chance = random.Random(f"{SEED} {utterance.id}")

    def between(low: float, high: float) -> float:
        return low + (high - low) * chance.random()

    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder, "speech.wav")
        subprocess.run(utterance.voice.command(utterance.sentence, wav), check=True, capture_output=True)
        samples, rate = soundfile.read(wav, dtype="float64")
        samples = trim_silence(
            soxr.resample(samples, rate, SAMPLE_RATE, quality="VHQ"), (between(*PAUSE_SECONDS), between(*PAUSE_SECONDS))
        )
        samples *= 10 ** (between(*SPEECH_LEVEL_DB) / 20) / np.sqrt((samples**2).mean())
        noise = np.random.default_rng(utterance.speaker * 10000 + utterance.index).standard_normal(len(samples))
        samples += noise * np.sqrt((samples**2).mean()) * 10 ** (between(*ROOM_NOISE_DB) / 20)
        samples *= min(1.0, 0.95 / np.abs(samples).max())
        soundfile.write(wav, samples, SAMPLE_RATE, subtype="PCM_16")
        opus = out / utterance.folder / f"{utterance.id}.opus"
        # The serial number is random unless given; padding is room for tags that nobody will write.
        stream = ["--serial", str(utterance.speaker * 10000 + utterance.index), "--padding", "0", "--discard-comments"]
        quality = ["--bitrate", str(BITRATE_KBPS), "--vbr", "--speech", "--framesize", "40"]
        subprocess.run(["opusenc", "--quiet", *quality, *stream, wav, opus], check=True, capture_output=True)


def make_corpus(out: Path) -> None:
    """Write the corpus below `out`; folders of an earlier one are replaced."""
    missing = [tool for tool in ("flite", "espeak-ng", "opusenc") if shutil.which(tool) is None]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}. On Debian or Ubuntu: apt-get install flite espeak-ng opus-tools")
    for split in UTTERANCES_PER_VOICE:
        shutil.rmtree(out / split, ignore_errors=True)
    for path, text in text_files().items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text(text)
    with ThreadPoolExecutor(2) as pool:
        for number, _ in enumerate(pool.map(lambda utterance: record(utterance, out), plan()), start=1):
            if number % 100 == 0:
                print(f"{number} of {len(plan())} utterances", flush=True)


def differences(folder: Path) -> list[str]:
    """Text files below `folder` that are not what the grammar gives."""
    expected = text_files()
    found = {path.relative_to(folder) for path in folder.rglob("*.trans.txt")}
    found |= {path for path in expected if (folder / path).exists()}
    same = {path for path in found & expected.keys() if (folder / path).read_text() == expected[path]}
    return sorted(str(path) for path in (found | expected.keys()) - same)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder (default: this file's)")
    parser.add_argument("--check", action="store_true", help="only compare the text files in --out with the grammar")
    arguments = parser.parse_args()
    if not arguments.check:
        make_corpus(arguments.out)
    elif wrong := differences(arguments.out):
        sys.exit("not what the grammar gives: " + ", ".join(wrong))
    else:
        print(f"{len(plan())} transcripts are what the grammar gives")


if __name__ == "__main__":
    main()
