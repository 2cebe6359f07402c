"""What all benchmarks share: systems that take turns, medians and ratios, a table, a record.

A benchmark gives each system as a function without arguments that does the whole work once. In each round every system
runs, in a changing order, so that a busy or throttled machine troubles all of them alike; what counts is the ratio of
medians within one run. Two clocks run: the wall's, and the processor time of this process, which does not count the
time that other programs take from it. A peer that is not installed, or that fails, is named with the reason, and the
others go on.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from asr_tutorial.training.run import environment

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "data" / "results" / "benchmarks"
PEERS = Path("~/.cache/asr_tutorial/peers").expanduser()
"""The peers' environment, made by ``peers.py``."""
OURS = "asr_tutorial"
INSIDE = "ASR_TUTORIAL_PEERS"
"""Environment variable that says that a benchmark already runs in the peers' environment."""
LEAST_ROUNDS = 5
LEAST_SECONDS = 0.05
"""A shorter piece of work is repeated within a round until it takes about this long."""

Work = Callable[[], Any]


@dataclass
class Table:
    """Systems that do the same work, and what came of it.

    Attributes:
        title: what the work is.
        baseline: the system that the ratios refer to.
        columns: further columns of the printed table, by the name under which ``facts`` holds them.
        times: seconds of one piece of work, one value per round, by system.
        processor: the same in seconds of processor time.
        outputs: what each system's first run returned.
        absent: why a system was not measured.
        facts: other figures by system: parameters, agreement of results.
    """

    title: str
    baseline: str = OURS
    columns: tuple[str, ...] = ()
    systems: dict[str, Work] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)
    processor: dict[str, list[float]] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, name: str, make: Callable[[], Work]) -> None:
        """Add a system; ``make`` imports and builds it and returns its work."""
        try:
            self.systems[name] = make()
        except Exception as error:
            self._leave_out(name, error)

    def measure(self, rounds: int, warmup: int = 1, least_seconds: float = LEAST_SECONDS) -> None:
        """Run all systems in turns.

        Args:
            rounds: timed rounds, at least 5.
            warmup: rounds before them, at least 1: kernels are built, and results kept in ``outputs``.
            least_seconds: shorter work is repeated within a round for about this long.
        """
        loops = {}
        for _ in range(max(warmup, 1)):
            for name in list(self.systems):
                try:
                    seconds, _, output = timed(self.systems[name], 1)
                except Exception as error:
                    self._leave_out(name, error)
                    del self.systems[name]
                    continue
                self.outputs.setdefault(name, output)
                loops[name] = max(1, math.ceil(least_seconds / max(seconds, 1e-9)))
        names = list(self.systems)
        self.times, self.processor = {name: [] for name in names}, {name: [] for name in names}
        for number in range(max(rounds, LEAST_ROUNDS)):
            first = number % max(len(names), 1)
            for name in names[first:] + names[:first]:
                seconds, processor_seconds, _ = timed(self.systems[name], loops[name])
                self.times[name].append(seconds)
                self.processor[name].append(processor_seconds)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary for each measured system: times in seconds, and ``ratio``, its time over the baseline's.

        ``ratio_quartiles`` are those of the ratios of single rounds: how much one round differed from the next.
        ``processor_ratio`` is the ratio of the medians of processor time.
        """
        rows = []
        base = self.times.get(self.baseline)
        for name, values in self.times.items():
            row: dict[str, Any] = {
                "system": name,
                "median": significant(statistics.median(values)),
                "min": significant(min(values)),
                "max": significant(max(values)),
            }
            if base is not None:
                row["ratio"] = significant(statistics.median(values) / statistics.median(base))
                ratios = [value / of_base for value, of_base in zip(values, base, strict=True)]
                low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
                row["ratio_quartiles"] = [significant(low), significant(high)]
                row["processor_ratio"] = significant(
                    statistics.median(self.processor[name]) / statistics.median(self.processor[self.baseline])
                )
            rows.append(row | self.facts.get(name, {}))
        return rows

    def record(self) -> dict[str, Any]:
        """What goes into the JSON."""
        return {
            "title": self.title,
            "rounds": max((len(values) for values in self.times.values()), default=0),
            "rows": self.rows(),
            "absent": self.absent,
        }

    def __str__(self) -> str:
        rows = self.rows()
        width = max([len(name) for name in [*self.times, *self.absent]] + [6])
        head = (
            f"{'system':<{width}}{'median ms':>12}{'min':>10}{'max':>10}{'ratio':>9}{'quartiles':>15}{'cpu ratio':>11}"
        )
        lines = [self.title, head + "".join(f"  {column}" for column in self.columns)]
        for row in rows:
            low, high = row.get("ratio_quartiles", (math.nan, math.nan))
            line = f"{row['system']:<{width}}" + "".join(
                f"{1000 * row[key]:>{size}.{decimals(1000 * row['median'])}f}"
                for key, size in (("median", 12), ("min", 10), ("max", 10))
            )
            line += f"{row.get('ratio', math.nan):>9.2f}{f'{low:.2f}-{high:.2f}':>15}"
            line += f"{row.get('processor_ratio', math.nan):>11.2f}"
            line += "".join(f"  {row.get(column, '')!s:>{len(column)}}" for column in self.columns)
            lines.append(line)
        lines += [f"{name:<{width}}  not measured: {reason}" for name, reason in self.absent.items()]
        return "\n".join(lines)

    def _leave_out(self, name: str, error: Exception) -> None:
        if name == self.baseline:
            raise error
        self.absent[name] = reason(error)


def timed(work: Work, loops: int) -> tuple[float, float, Any]:
    """Seconds and seconds of processor time of one piece of work, means over ``loops``, and what the last returned."""
    output = None
    start, start_processor = time.perf_counter(), time.process_time()
    for _ in range(loops):
        output = work()
    processor_seconds = time.process_time() - start_processor
    return (time.perf_counter() - start) / loops, processor_seconds / loops, output


def reason(error: Exception) -> str:
    """A line that says what went wrong with a peer, and what to do about it."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed (python benchmarks/peers.py installs all peers)"
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


def significant(value: float, digits: int = 4) -> float:
    """The value rounded to so many digits."""
    return float(f"{value:.{digits}g}")


def status(name: str) -> int:
    """Bytes that the kernel counts for this process, such as VmRSS; Linux alone has them."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def forget_peak() -> None:
    """From now on VmHWM, the peak of this process's resident set, counts anew; Linux alone."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def decimals(value: float) -> int:
    """How many decimals to print of milliseconds."""
    return 0 if value >= 1000 else 1 if value >= 10 else 3


def agreement(ours: Sequence[Any], theirs: Sequence[Any]) -> dict[str, Any]:
    """How many of two systems' results are equal: ``{"same": "98 of 100", "same_share": 0.98}``."""
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    return {"same": f"{same} of {len(ours)}", "same_share": significant(same / max(len(ours), 1))}


def largest_difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest absolute difference of two tensors."""
    return float(f"{float((ours - theirs).abs().max()):.2g}")


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of the installed ones among the packages."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def command_line(doc: str | None, name: str, rounds: int) -> argparse.ArgumentParser:
    """The options that all benchmarks have.

    Args:
        doc: docstring of the benchmark.
        name: of the record in ``data/results/benchmarks``.
        rounds: timed rounds unless ``--rounds`` is given.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"timed rounds, at least {LEAST_ROUNDS}")
    parser.add_argument("--peers", type=Path, default=PEERS, help="environment of the peers (%(default)s)")
    parser.add_argument("--json", type=Path, default=RESULTS / f"{name}.json", help="where the record goes")
    return parser


def enter(peers: Path) -> None:
    """Go on in the peers' environment where there is one, on one thread.

    The command starts again with that environment's Python, and with our package from this source tree.
    """
    python = peers.expanduser() / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if INSIDE not in os.environ and python.exists():
        settings = dict(os.environ)
        # Where a machine names a kernel for old builds of OpenBLAS, a current numpy is slower for it.
        settings.pop("OPENBLAS_CORETYPE", None)
        settings.pop("OPENBLAS_L2_SIZE", None)
        path = os.pathsep.join(filter(None, [str(ROOT), settings.get("PYTHONPATH", "")]))
        settings |= {INSIDE: "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}
        sys.stdout.flush()
        os.execve(python, [str(python), *sys.argv], settings)
    if INSIDE not in os.environ:
        print(f"no peers in {peers}: python benchmarks/peers.py installs them", file=sys.stderr)
    torch.set_num_threads(1)


def finish(path: Path, tables: Sequence[Table], packages: Sequence[str] = (), **extra: Any) -> None:
    """Print the tables and write the record.

    Args:
        path: the JSON file.
        tables: measured.
        packages: whose versions are recorded.
        extra: further entries of the record.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan
    for table in tables:
        print(table, end="\n\n")
    made = environment()
    made["command"] = f"python benchmarks/{made['command']}"
    record: Mapping[str, Any] = {
        "environment": {
            **made,
            "machine": f"{platform.system()} {platform.machine()}",
            "load": significant(load, 3),
            "versions": versions(["numpy", *packages]),
        },
        **extra,
        "tables": [table.record() for table in tables],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
