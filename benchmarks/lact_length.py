"""What length costs: one encoder layer forward and backward, LaCT beside full attention, 500 to 16,000 frames.

    python benchmarks/lact_length.py [--lengths 500 1000 2000 4000 8000 16000] [--rounds 5] [--json FILE]

One utterance, d = 256, 4 heads, feed-forward block included, fp32, one thread. Full attention is measured twice: as our
layer trains on a CPU, with a matrix of all weights, and with PyTorch's kernel, which makes the weights anew in the
backward pass and never holds all of them. Memory is what the process needs for one pass beyond what it had before: the
peak of its resident set, in a new process for each figure. A layer that would take more than half of the memory that is
free is left out, and the table says so. The record holds the curves too, ready to be plotted.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import Table, command_line, finish, forget_peak, significant, status
from torch import nn
from torch.nn import functional as F

import asr_tutorial.attention
from asr_tutorial.config import LactConfig, ModelConfig
from asr_tutorial.encoder import EncoderLayer
from asr_tutorial.lact import LactLayer

FULL, KERNEL, BOTH, CAUSAL = "full attention", "full attention, PyTorch's kernel", "LaCT", "LaCT, causal"
SYSTEMS = (FULL, KERNEL, BOTH, CAUSAL)
LENGTHS = (500, 1000, 2000, 4000, 8000, 16000)
SIZES: dict[str, Any] = {"d_model": 256, "num_heads": 4, "d_ff": 1024, "dropout": 0.0}
LACT: dict[str, Any] = {"heads": 4, "chunk": 64, "window": 64}
MATRICES = 5
"""Matrices of all pairs of frames, for each head, that full attention has at once at the worst moment."""
WARM = 64
"""Frames of the pass before the one whose memory is measured."""


def build(system: str) -> nn.Module:
    """One layer with random weights, always the same ones."""
    torch.manual_seed(0)
    if system in (FULL, KERNEL):
        return EncoderLayer(ModelConfig(**SIZES))
    lact = LactConfig(**LACT, causal=system == CAUSAL)
    return LactLayer(ModelConfig(architecture="lact", lact=lact, **SIZES))


def one_pass(system: str, frames: int) -> Callable[[], None]:
    """Forward and backward of one utterance, as work to be measured."""
    layer = build(system).train()
    x = torch.randn(1, frames, SIZES["d_model"], generator=torch.Generator().manual_seed(frames), requires_grad=True)
    padding = torch.ones(1, frames, dtype=torch.bool)
    ours = asr_tutorial.attention.fused_attention
    attention = torch_kernel if system == KERNEL else ours

    def work() -> None:
        asr_tutorial.attention.fused_attention = attention
        try:
            layer(x, padding)[0].sum().backward()
        finally:
            asr_tutorial.attention.fused_attention = ours
        layer.zero_grad()
        x.grad = None

    return work


def torch_kernel(query: Any, key: Any, value: Any, mask: Any = None, dropout: float = 0.0) -> Any:
    """Attention by PyTorch's kernel in training too."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)


def measure_memory(system: str, frames: int) -> int:
    """Peak of the resident set in one pass, less what was there before it; in a process of its own."""
    one_pass(system, WARM)()
    work = one_pass(system, frames)
    before = status("VmRSS")
    forget_peak()
    work()
    return status("VmHWM") - before


def memory_of(system: str, frames: int) -> int:
    """:func:`measure_memory` in a new process."""
    command = [sys.executable, __file__, "--child", system, "--lengths", str(frames)]
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=settings)
    return int(result.stdout.split()[-1])


def too_large(system: str, frames: int) -> str:
    """Why a layer is not measured at this length; empty where it is."""
    needed = MATRICES * 4 * SIZES["num_heads"] * frames**2 if system == FULL else 0
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed <= free / 2:
        return ""
    return f"weights of all pairs of frames would take about {needed / 1e9:.0f} GB, {free / 1e9:.0f} GB are free"


def compare(frames: int, rounds: int) -> Table:
    """Measure all systems at one length."""
    title = f"encoder layer forward + backward, 1 x {frames} frames, d = {SIZES['d_model']}, fp32, one thread"
    table = Table(title, baseline=BOTH, columns=("MB",))
    for system in SYSTEMS:
        if reason := too_large(system, frames):
            table.absent[system] = reason
            continue
        table.add(system, lambda system=system: one_pass(system, frames))  # type: ignore[misc]
        if Path("/proc/self/clear_refs").exists():
            needed = memory_of(system, frames)
            table.facts[system] = {"bytes": needed, "MB": significant(needed / 1e6, 3)}
    table.measure(rounds)
    return table


def curves(tables: dict[int, Table]) -> dict[str, Any]:
    """By system: lengths in frames, median seconds of the processor, and bytes (none where they were not measured)."""
    found: dict[str, Any] = {}
    for frames, table in tables.items():
        for system, times in table.processor.items():
            curve = found.setdefault(system, {"frames": [], "seconds": [], "bytes": []})
            curve["frames"].append(frames)
            curve["seconds"].append(significant(statistics.median(times)))
            curve["bytes"].append(table.facts.get(system, {}).get("bytes"))
    return found


def overtakes(found: dict[str, Any]) -> list[dict[str, Any]]:
    """From which length on LaCT needs less than full attention.

    Args:
        found: from :func:`curves`.

    Returns:
        For each pair of systems, for seconds and for bytes: ``frames``, on a straight line in logarithms between the
        two lengths where it happens; 0 where it needs less at all lengths that were measured, None where at none.
    """
    rows = []
    for one in (BOTH, CAUSAL):
        for other in (FULL, KERNEL):
            for what in ("seconds", "bytes"):
                if one in found and other in found:
                    crossing = _crossing(found[one], found[other], what)
                    rows.append({"system": one, "other": other, "what": what, "frames": crossing})
    return rows


def _crossing(one: dict[str, Any], other: dict[str, Any], what: str) -> float | None:
    theirs = dict(zip(other["frames"], other[what], strict=True))
    both = [(frames, mine, theirs.get(frames)) for frames, mine in zip(one["frames"], one[what], strict=True)]
    points = [(frames, math.log(mine / their)) for frames, mine, their in both if mine and their]
    if points and points[0][1] <= 0:
        return 0
    for (start, before), (end, after) in itertools.pairwise(points):
        if before > 0 >= after:
            return significant(math.exp(math.log(start) + before / (before - after) * math.log(end / start)), 2)
    return None


def main(arguments: list[str] | None = None) -> None:
    parser = command_line(__doc__, "lact_length", rounds=5)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="frames of the utterance")
    parser.add_argument("--child", choices=SYSTEMS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.child:
        print(measure_memory(options.child, options.lengths[0]))
        return
    tables = {frames: compare(frames, options.rounds) for frames in options.lengths}
    found = curves(tables)
    sizes = {**SIZES, "lact": LACT}
    finish(options.json, list(tables.values()), sizes=sizes, curves=found, overtakes=overtakes(found))


if __name__ == "__main__":
    main()
