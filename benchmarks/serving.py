"""The service under load: throughput and latency with batches and one by one, errors, and whose answer is whose.

    python benchmarks/serving.py [--seconds 60] [--clients 64] [--device cuda] [--json FILE]

For each search two services run in turns on the loopback device, one that gathers requests into batches and one that
recognises one by one (``--max-batch 1``). Clients each keep one connection open and send TinySpeech's test recordings,
as features in JSON, one after the other: the next when the last is answered. Each answer is compared with what the
recogniser says of that recording alone. The seconds are those of each service, in two halves; before them some are not
counted. Clients are coroutines of this process and share the machine with the service, whose processor time is read
from the kernel, so that a busy machine does not spoil the ratio of processor time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, ROOT, significant

from asr_tutorial.audio import read_audio
from asr_tutorial.recognizer import load as load_recognizer
from asr_tutorial.serve.engine import Engine, Recording
from asr_tutorial.training.run import environment

CHECKPOINT = ROOT / "data" / "pretrained" / "tinyspeech"
SPEECH = ROOT / "data" / "tinyspeech" / "test"
DECIMALS = 3
"""Of the features that are sent; the answers alone are of the same rounded features."""
WARM_SECONDS = 3.0
BACK_PRESSURE = (429, 503)


@dataclass(frozen=True)
class Asked:
    """A request, ready to be sent, and the text that must come back."""

    request: bytes
    text: str
    seconds: float


@dataclass
class Outcome:
    """What came of a load.

    Attributes:
        seconds: how long requests were sent.
        statuses: answers by HTTP status; 0 stands for a connection that broke.
        wrong: answers with another text than the recording has alone.
        mixed_up: those of them that are the text of another recording.
        latencies: seconds of the answers with status 200.
        batch_sizes: of the same.
        audio_seconds: recognised.
        processor_seconds: of the service.
    """

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    mixed_up: int = 0
    latencies: list[float] = field(default_factory=list)
    batch_sizes: list[int] = field(default_factory=list)
    audio_seconds: float = 0.0
    processor_seconds: float = 0.0

    def add(self, other: Outcome) -> None:
        """Put two halves together."""
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def row(self) -> dict[str, Any]:
        """Figures for the record."""
        answered = self.statuses[200]
        cuts = statistics.quantiles(self.latencies, n=100, method="inclusive") if answered > 1 else [float("nan")] * 99
        return {
            "seconds": significant(self.seconds),
            "answered": answered,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "errors": sum(n for status, n in self.statuses.items() if status not in (200, *BACK_PRESSURE)),
            "wrong": self.wrong,
            "mixed_up": self.mixed_up,
            "per_second": significant(answered / self.seconds),
            "audio_seconds_per_second": significant(self.audio_seconds / self.seconds),
            "p50_ms": significant(1000 * cuts[49]),
            "p95_ms": significant(1000 * cuts[94]),
            "max_ms": significant(1000 * max(self.latencies, default=float("nan"))),
            "mean_batch": significant(statistics.fmean(self.batch_sizes or [0])),
            "processor_ms": significant(1000 * self.processor_seconds / max(answered, 1)),
        }


async def load(host: str, port: int, asked: Sequence[Asked], clients: int, seconds: float) -> Outcome:
    """Send requests for so many seconds; what is under way then is waited for and counted.

    Args:
        host: of the service.
        port: of the service.
        asked: sent in turn, from a different place on by each client.
        clients: connections at a time.
        seconds: to send.
    """
    outcome = Outcome()
    texts = {each.text for each in asked}
    started = time.perf_counter()

    async def client(number: int) -> None:
        turn = number * len(asked) // clients
        while time.perf_counter() - started < seconds:
            try:
                reader, writer = await asyncio.open_connection(host, port, limit=2**20)
                try:
                    while time.perf_counter() - started < seconds:
                        each = asked[turn % len(asked)]
                        turn += 1
                        await one(reader, writer, each)
                finally:
                    writer.close()
            except (OSError, asyncio.IncompleteReadError):
                outcome.statuses[0] += 1

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, each: Asked) -> None:
        sent = time.perf_counter()
        writer.write(each.request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
        body = await reader.readexactly(int(length[1]) if length else 0)
        status = int(head.split()[1])
        outcome.statuses[status] += 1
        if status != 200:
            wait = re.search(r"retry-after: (\d+)", head, re.IGNORECASE)
            await asyncio.sleep(int(wait[1]) if wait else 0)
            return
        answer = json.loads(body)
        outcome.latencies.append(time.perf_counter() - sent)
        outcome.batch_sizes.append(answer["timing"]["batch_size"])
        outcome.audio_seconds += each.seconds
        if answer["text"] != each.text:
            outcome.wrong += 1
            outcome.mixed_up += answer["text"] in texts

    await asyncio.gather(*(client(number) for number in range(clients)))
    outcome.seconds = time.perf_counter() - started
    return outcome


def recordings(engine: Engine, limit: int) -> list[Recording]:
    """TinySpeech's test recordings, as features with few decimals.

    Every n-th of them, so that all speakers are among them.
    """
    paths = sorted(SPEECH.rglob("*.opus"))
    found = []
    for path in paths[:: max(len(paths) // limit, 1)][:limit]:
        recording = engine.from_samples(read_audio(path, engine.recognizer.sample_rate))
        rounded = [piece.double().mul(10**DECIMALS).round().div(10**DECIMALS).float() for piece in recording.pieces]
        found.append(Recording(rounded, recording.starts, recording.seconds))
    return found


def requests(engine: Engine, spoken: Sequence[Recording], search: str) -> list[Asked]:
    """A request for each recording, with what the recogniser says of it alone."""
    asked = []
    for recording in spoken:
        rows = [[round(value, DECIMALS) for value in row] for row in recording.pieces[0].double().tolist()]
        body = json.dumps({"features": rows, "search": search}, separators=(",", ":")).encode()
        head = f"POST /transcribe HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        heard = engine.recognise(engine.question(search), [recording])[0]  # type: ignore[arg-type]
        asked.append(Asked(head.encode() + b"\r\n\r\n" + body, heard.decoded.text, recording.seconds))
    return asked


@contextmanager
def service(threads: int, *options: str) -> Iterator[tuple[int, int]]:
    """A service as a process; gives its port and its process id."""
    command = [sys.executable, "-m", "asr_tutorial", "serve", "-m", str(CHECKPOINT), "--port", "0", *options]
    settings = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=settings, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
            if found is None:
                raise SystemExit("the service did not start")
            yield int(found[1]), process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def processor_seconds(pid: int) -> float:
    """Processor time of a process, of all its threads; Linux alone has it."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(
    asked: Sequence[Asked], services: dict[str, tuple[int, int]], clients: int, seconds: float
) -> dict[str, Outcome]:
    """Load services in turns, in two halves; the second in the opposite order."""
    outcomes = {name: Outcome() for name in services}
    for port, _ in services.values():
        asyncio.run(load("127.0.0.1", port, asked, clients, WARM_SECONDS))
    names = list(services)
    for name in [*names, *reversed(names)]:
        port, pid = services[name]
        before = processor_seconds(pid)
        outcome = asyncio.run(load("127.0.0.1", port, asked, clients, seconds / 2))
        outcome.processor_seconds = processor_seconds(pid) - before
        outcomes[name].add(outcome)
    return outcomes


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of load for each service (%(default)g)")
    parser.add_argument("--clients", type=int, default=64, help="at a time (%(default)s)")
    parser.add_argument("--searches", nargs="+", default=["greedy", "ctc", "joint"], help="%(default)s")
    parser.add_argument("--recordings", type=int, default=128, help="different ones (%(default)s)")
    parser.add_argument("--max-batch", type=int, default=16, help="of the service with batches (%(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the service (%(default)s)")
    parser.add_argument("--device", default="cpu", help="of the service (%(default)s)")
    parser.add_argument("--json", type=Path, default=RESULTS / "serving.json", help="where the record goes")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    engine = Engine(load_recognizer(CHECKPOINT, given.device), 60.0)
    spoken = recordings(engine, given.recordings)
    rows, ratios = [], {}
    common = ["--device", given.device, "--queue", str(2 * given.clients)]
    with (
        service(given.threads, *common, "--max-batch", str(given.max_batch)) as batched,
        service(given.threads, *common, "--max-batch", "1") as single,
    ):
        for search in given.searches:
            asked = requests(engine, spoken, search)
            outcomes = measure(asked, {"batches": batched, "one by one": single}, given.clients, given.seconds)
            for name, outcome in outcomes.items():
                rows.append({"search": search, "service": name, **outcome.row()})
                print(json.dumps(rows[-1]), flush=True)
            together, alone = rows[-2], rows[-1]
            ratios[search] = {
                "throughput": significant(together["per_second"] / alone["per_second"]),
                "processor": significant(alone["processor_ms"] / together["processor_ms"]),
            }
            print(f"{search}: {ratios[search]}", flush=True)
    made = environment(engine.recognizer.device)
    made |= {"command": f"python benchmarks/{made['command']}", "threads": given.threads}
    record = {
        "environment": {**made, "load": significant(os.getloadavg()[0], 3)},
        "clients": given.clients,
        "recordings": len(spoken),
        "audio_seconds_mean": significant(statistics.fmean(each.seconds for each in spoken)),
        "max_batch": given.max_batch,
        "rows": rows,
        "ratios": ratios,
    }
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
