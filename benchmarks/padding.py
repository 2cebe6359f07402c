"""Padding: the share of a batch that is no speech, ours beside lhotse's DynamicBucketingSampler.

    python benchmarks/padding.py [--corpus FOLDER] [--json FILE] [--peers DIR]

One epoch, batches of at most as many seconds as the configuration says, padding counted in, which is how lhotse counts
``max_duration`` too when it is given ``quadratic_duration=None`` and drops nothing. Ours is counted twice: as it is,
padded to a multiple of 64 frames so that few shapes occur, and with frames of any number. The lengths are those of a
corpus, and those of train-clean-100 as ``training.py`` makes them. The time is that of planning an epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from common import OURS, Table, command_line, enter, finish
from training import SyntheticSpeech

from asr_tutorial.config import load_config
from asr_tutorial.corpus import read_corpus
from asr_tutorial.dataset import BucketBatchSampler

FRAMES_PER_SECOND = 100
BUCKETS = 30
"""lhotse's own recipes take 30."""


def share(batches: Sequence[Sequence[float]]) -> float:
    """Share of padding of batches of durations, each padded to its longest."""
    padded = sum(len(batch) * max(batch) for batch in batches)
    return 1 - sum(map(sum, batches)) / padded


def ours(lengths: np.ndarray, batch_seconds: float, multiple: int) -> Callable[[], tuple[float, int]]:
    def work() -> tuple[float, int]:
        sampler = BucketBatchSampler(lengths, int(batch_seconds * FRAMES_PER_SECOND), multiple)
        return sampler.padding_share(), len(sampler)

    return work


def lhotse(lengths: np.ndarray, batch_seconds: float) -> Callable[[], tuple[float, int]]:
    """lhotse's sampler over cuts of these lengths; nothing is read from a disk."""
    from lhotse import CutSet, MonoCut
    from lhotse.dataset import DynamicBucketingSampler
    from lhotse.testing.dummies import dummy_recording

    recording = dummy_recording(0, duration=60.0)
    cuts = CutSet.from_cuts(
        MonoCut(
            f"cut-{number}",
            start=0.0,
            duration=round(float(length) / FRAMES_PER_SECOND, 2),
            channel=0,
            recording=recording,
        )
        for number, length in enumerate(lengths)
    ).to_eager()

    def work() -> tuple[float, int]:
        sampler = DynamicBucketingSampler(
            cuts, max_duration=batch_seconds, num_buckets=BUCKETS, shuffle=True, drop_last=False, seed=1
        )
        batches = [[cut.duration for cut in batch] for batch in sampler]
        assert sum(map(len, batches)) == len(lengths)
        return share(batches), len(batches)

    return work


def compare(title: str, lengths: np.ndarray, batch_seconds: float, rounds: int) -> Table:
    """Measure both."""
    table = Table(
        f"padding of an epoch, {title}: {len(lengths)} utterances, {lengths.mean() / FRAMES_PER_SECOND:.1f} s on "
        f"average, batches of {batch_seconds:g} s",
        columns=("padding", "batches"),
    )
    table.add(OURS, lambda: ours(lengths, batch_seconds, 64))
    table.add(f"{OURS}, any length", lambda: ours(lengths, batch_seconds, 1))
    table.add("lhotse", lambda: lhotse(lengths, batch_seconds))
    table.measure(rounds)
    for name, (padding, batches) in table.outputs.items():
        table.facts[name] = {"padding": f"{100 * padding:.2f}%", "padding_share": padding, "batches": batches}
    return table


def main() -> None:
    parser = command_line(__doc__, "padding", rounds=5)
    parser.add_argument("--corpus", help="folder whose lengths are taken too, such as LibriSpeech/train-clean-5")
    options = parser.parse_args()
    enter(options.peers)
    config = load_config("librispeech_100h")
    tables = []
    if options.corpus:
        seconds = np.array([utterance.seconds for utterance in read_corpus(options.corpus).utterances])
        lengths = np.ceil(seconds[seconds <= config.data.max_seconds] * FRAMES_PER_SECOND).astype(int)
        small = load_config("mini_librispeech").data.batch_seconds
        tables.append(compare(Path(options.corpus).name, lengths, small, options.rounds))
    lengths = SyntheticSpeech(config).lengths
    tables.append(compare("lengths as in train-clean-100", lengths, config.data.batch_seconds, options.rounds))
    finish(options.json, tables, ["lhotse"])


if __name__ == "__main__":
    main()
