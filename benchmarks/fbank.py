"""Log-mel features: our extractor beside kaldi-native-fbank, one thread each, on 8 waveforms of 10 seconds.

    python benchmarks/fbank.py [--json data/results/fbank.json] [--corpus FOLDER] [--rounds 15]

The systems take turns in each round, so that a busy machine troubles all of them alike; medians are compared.
kaldi-native-fbank is timed twice: as a Python program uses it (frames collected into an array), and without that
collecting, which is unfair to us. Without ``--corpus`` the waveforms are noise with a slowly changing level.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kaldi_native_fbank
import numpy as np
import torch

from asr_tutorial.audio import read_audio
from asr_tutorial.config import FeaturesConfig
from asr_tutorial.features import FeatureExtractor, mel_filterbank

SAMPLE_RATE, BATCH, SECONDS = 16_000, 8, 10


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


def kaldi(batch: np.ndarray, options: Any, collect: bool) -> list[np.ndarray]:
    result = []
    for waveform in batch:
        fbank = kaldi_native_fbank.OnlineFbank(options)
        fbank.accept_waveform(SAMPLE_RATE, waveform)
        fbank.input_finished()
        if collect:
            result.append(np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)]))
    return result


def processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor()


def commit() -> str:
    call = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return call.stdout.strip() or "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--corpus", help="folder with speech to measure on")
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds, at least 5")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    batch = waveforms(arguments.corpus)
    tensor, scaled = torch.from_numpy(batch), batch * 32768
    extractor = FeatureExtractor(FeaturesConfig())
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = 80

    systems: dict[str, Callable[[], Any]] = {
        "asr_tutorial": lambda: extractor(tensor),
        "kaldi-native-fbank": lambda: kaldi(scaled, options, collect=True),
        "kaldi-native-fbank, frames not collected": lambda: kaldi(scaled, options, collect=False),
    }
    times: dict[str, list[float]] = {name: [] for name in systems}
    for round_number in range(max(arguments.rounds, 5) + 2):
        for name, system in systems.items():
            start = time.perf_counter()
            system()
            if round_number >= 2:  # the first two warm caches
                times[name].append(time.perf_counter() - start)
    ours, theirs, reference = extractor(tensor)[0].numpy(), np.stack(kaldi(scaled, options, True)), exact(batch)
    pairs = {
        "asr_tutorial - kaldi-native-fbank": ours - theirs,
        "asr_tutorial - float64": ours - reference,
        "kaldi-native-fbank - float64": theirs - reference,
    }
    differences = [
        {
            "between": name,
            "max": float(f"{np.abs(values).max():.2g}"),
            "mean": float(f"{np.abs(values).mean():.2g}"),
            "above_1e-3": int((np.abs(values) > 1e-3).sum()),
            "values": values.size,
        }
        for name, values in pairs.items()
    ]

    rows = [
        {
            "system": name,
            "median_ms": round(1000 * statistics.median(values), 2),
            "min_ms": round(1000 * min(values), 2),
            "max_ms": round(1000 * max(values), 2),
            "audio_seconds_per_second": round(BATCH * SECONDS / statistics.median(values)),
        }
        for name, values in times.items()
    ]
    print(f"{BATCH} x {SECONDS} s at {SAMPLE_RATE} Hz, one thread, {len(times['asr_tutorial'])} rounds")
    print(f"{'system':<42}{'median ms':>10}{'min':>9}{'max':>9}{'x real time':>13}")
    for row in rows:
        print(
            f"{row['system']:<42}{row['median_ms']:>10}{row['min_ms']:>9}{row['max_ms']:>9}"
            f"{row['audio_seconds_per_second']:>13}"
        )
    print(f"{'absolute difference of log-mel values':<42}{'max':>10}{'mean':>9}{'above 1e-3':>12}")
    for row in differences:
        print(f"{row['between']:<42}{row['max']:>10}{row['mean']:>9}{row['above_1e-3']:>5} of {row['values']}")
    if arguments.json:
        record = {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "commit": commit(),
            "machine": f"{processor()}, {platform.system()} {platform.machine()}",
            "versions": {
                "python": platform.python_version(),
                **{name: importlib.metadata.version(name) for name in ("torch", "numpy", "kaldi-native-fbank")},
            },
            "input": "noise" if arguments.corpus is None else Path(arguments.corpus).name,
            "threads": 1,
            "rounds": len(times["asr_tutorial"]),
            "results": rows,
            "differences": differences,
        }
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
