"""Log-mel features: ours beside kaldi-native-fbank, torchaudio and SpeechBrain, on 8 waveforms of 10 seconds.

    python benchmarks/fbank.py [--corpus FOLDER] [--rounds 15] [--json FILE] [--peers DIR]

kaldi-native-fbank is timed twice: as a Python program uses it (frames collected into an array), and without that
collecting, which is unfair to us. torchaudio is its Kaldi-compatible function, one waveform after the other, and its
batched mel spectrogram, which like SpeechBrain's features is not Kaldi's and is only timed. Without ``--corpus`` the
waveforms are noise with a slowly changing level.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import OURS, Table, Work, command_line, enter, finish
from torch import Tensor

from asr_tutorial.audio import read_audio
from asr_tutorial.config import FeaturesConfig
from asr_tutorial.features import FeatureExtractor, mel_filterbank

SAMPLE_RATE, BATCH, SECONDS = 16_000, 8, 10
TOLERANCE = 1e-3
KALDI = "kaldi-native-fbank"


def waveforms(corpus: str | None) -> np.ndarray:
    """``(BATCH, SECONDS * SAMPLE_RATE)`` float32: the corpus's first recordings end to end, or noise."""
    samples = BATCH * SECONDS * SAMPLE_RATE
    if corpus is None:
        rng = np.random.default_rng(0)
        level = 0.1 + 0.09 * np.sin(np.linspace(0, 200, samples))
        return (level * rng.standard_normal(samples)).astype(np.float32).reshape(BATCH, -1)
    pieces: list[np.ndarray] = []
    paths = (path for path in sorted(Path(corpus).rglob("*")) if path.suffix in (".opus", ".flac", ".wav", ".ogg"))
    while sum(map(len, pieces)) < samples:
        pieces.append(read_audio(next(paths)))
    return np.concatenate(pieces)[:samples].reshape(BATCH, -1)


def exact(batch: np.ndarray) -> np.ndarray:
    """The same features in float64 throughout, slowly: tells whose rounding a difference is."""
    frames = np.lib.stride_tricks.sliding_window_view(batch * np.float64(32768), 400, axis=1)[:, ::160]
    centred = frames - frames.mean(axis=-1, keepdims=True)
    emphasised = centred - 0.97 * np.concatenate([centred[..., :1], centred[..., :-1]], axis=-1)
    spectrum = np.fft.rfft(emphasised * np.hanning(400) ** 0.85, n=512)
    energies = np.abs(spectrum) ** 2 @ mel_filterbank(80, 512, SAMPLE_RATE).double().numpy()
    return np.log(np.maximum(energies, np.finfo(np.float32).eps))


def kaldi(batch: np.ndarray, collect: bool) -> Work:
    """kaldi-native-fbank, one waveform after the other."""
    import kaldi_native_fbank

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = 80
    scaled = batch * 32768

    def work() -> np.ndarray | None:
        result = []
        for waveform in scaled:
            fbank = kaldi_native_fbank.OnlineFbank(options)
            fbank.accept_waveform(SAMPLE_RATE, waveform)
            fbank.input_finished()
            if collect:
                result.append(np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)]))
        return np.stack(result) if collect else None

    return work


def torchaudio_kaldi(waveforms: Tensor) -> Work:
    """torchaudio's ``compliance.kaldi.fbank``, which takes one waveform at a time."""
    from torchaudio.compliance.kaldi import fbank

    settings: dict[str, Any] = {"num_mel_bins": 80, "dither": 0.0, "sample_frequency": SAMPLE_RATE}
    scaled = waveforms * 32768
    return lambda: np.stack([fbank(waveform[None], **settings).numpy() for waveform in scaled])


def torchaudio_mel(waveforms: Tensor) -> Work:
    """torchaudio's ``MelSpectrogram``, batched, with frames of the same length and shift."""
    from torchaudio.transforms import MelSpectrogram

    transform = MelSpectrogram(SAMPLE_RATE, n_fft=512, win_length=400, hop_length=160, n_mels=80)
    return lambda: transform(waveforms).clamp(min=1e-10).log()


def speechbrain(waveforms: Tensor) -> Work:
    """SpeechBrain's ``Fbank``, batched."""
    from speechbrain.lobes.features import Fbank

    transform = Fbank(sample_rate=SAMPLE_RATE, n_fft=512, win_length=25, hop_length=10, n_mels=80)
    return lambda: transform(waveforms)


def compare(corpus: str | None, rounds: int) -> tuple[Table, list[dict[str, Any]]]:
    """Measure all systems; and how far the Kaldi-compatible ones are apart."""
    batch = waveforms(corpus)
    tensor = torch.from_numpy(batch)
    extractor = FeatureExtractor(FeaturesConfig())
    table = Table(f"log-mel features, {BATCH} x {SECONDS} s at {SAMPLE_RATE} Hz, one thread", columns=("x real time",))
    table.add(OURS, lambda: lambda: extractor(tensor)[0].numpy())
    table.add(KALDI, lambda: kaldi(batch, collect=True))
    table.add(f"{KALDI}, frames not collected", lambda: kaldi(batch, collect=False))
    table.add("torchaudio kaldi.fbank", lambda: torchaudio_kaldi(tensor))
    table.add("torchaudio MelSpectrogram", lambda: torchaudio_mel(tensor))
    table.add("SpeechBrain Fbank", lambda: speechbrain(tensor))
    table.measure(rounds, warmup=2)
    for row in table.rows():
        table.facts[row["system"]] = {"x real time": round(BATCH * SECONDS / row["median"])}
    values = {name: table.outputs[name] for name in (OURS, KALDI, "torchaudio kaldi.fbank") if name in table.outputs}
    values["float64"] = exact(batch)
    names = list(values)
    pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    return table, [difference(a, b, values[a] - values[b]) for a, b in pairs]


def difference(first: str, second: str, values: np.ndarray) -> dict[str, Any]:
    """Size of the differences between two systems' features."""
    return {
        "between": f"{first} - {second}",
        "max": float(f"{np.abs(values).max():.2g}"),
        "mean": float(f"{np.abs(values).mean():.2g}"),
        f"above_{TOLERANCE:g}": int((np.abs(values) > TOLERANCE).sum()),
        "values": values.size,
    }


def main() -> None:
    parser = command_line(__doc__, "fbank", rounds=15)
    parser.add_argument("--corpus", help="folder with speech to measure on")
    options = parser.parse_args()
    enter(options.peers)
    table, differences = compare(options.corpus, options.rounds)
    source = "noise" if options.corpus is None else Path(options.corpus).name
    packages = [KALDI, "torchaudio", "speechbrain"]
    finish(options.json, [table], packages, input=source, differences=differences)
    for row in differences:
        print(f"{row['between']:<48} largest {row['max']:<9} mean {row['mean']}")


if __name__ == "__main__":
    main()
