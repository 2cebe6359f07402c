"""What torch.compile brings and costs: training steps of the tinyspeech model with ``training.compile`` and without.

    python benchmarks/torch_compile.py [--rounds 8] [--json FILE]

Bundled speech, batches of 20 s, fp32, one thread. The first step of the compiled model, and its first one with another
length of the batch, are timed apart from the others: kernels are built in them. Takes minutes. Needs a C++ compiler.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable

import torch
from common import Table, command_line, finish, significant
from torch.nn import functional as F

from asr_tutorial.config import load_config
from asr_tutorial.dataset import Batch
from asr_tutorial.model import build_model
from asr_tutorial.training.setup import prepare
from asr_tutorial.training.step import Stepper

PLAIN, COMPILED = "as it is", "torch.compile"
DATA = ["--data.train=[tinyspeech/dev]", "--data.test=[]", "--data.batch_seconds=20"]
LONGER = 64
"""Frames more in a batch of another length: two buckets."""


def compare(rounds: int) -> Table:
    """Measure a step of both."""
    settings = [*DATA, "--training.device=cpu", "--training.precision=fp32"]
    data, _ = prepare(load_config("tinyspeech", settings), progress=False)
    batch = next(data.train.batches())
    other = Batch(**{**vars(batch), "features": F.pad(batch.features, (0, 0, 0, LONGER))})
    table = Table(
        f"training step, tinyspeech model, {len(batch)} x {batch.features.shape[1] / 100:g} s, fp32, one thread",
        baseline=PLAIN,
        columns=("first step s", "new length s"),
    )

    def make(name: str) -> Callable[[], float]:
        torch.manual_seed(0)
        config = load_config("tinyspeech", [*settings, f"--training.compile={str(name == COMPILED).lower()}"])
        stepper = Stepper(config, data.tokenizer, build_model(config, data.tokenizer.vocab_size), total_steps=1_000_000)

        def seconds(of: Batch) -> float:
            started = time.perf_counter()
            stepper.step([of], 0)
            return significant(time.perf_counter() - started, 3)

        # Each of the shapes once more, so that what is timed later has all its kernels.
        table.facts[name] = {"first step s": seconds(batch), "new length s": seconds(other)}
        table.facts[name]["another length s"] = statistics.median(seconds(other) for _ in range(3))
        return lambda: stepper.step([batch], 0).loss

    for name in (PLAIN, COMPILED):
        table.add(name, lambda name=name: make(name))  # type: ignore[misc]
    table.measure(rounds, warmup=2)
    return table


def main() -> None:
    options = command_line(__doc__, "torch_compile", rounds=8).parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as empty:  # kernels of an earlier run would be found again
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = empty
        finish(options.json, [compare(options.rounds)])


if __name__ == "__main__":
    main()
