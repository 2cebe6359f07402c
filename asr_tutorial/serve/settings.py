"""What can be set about a service, and how much it takes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from asr_tutorial.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """How a service listens, gathers and refuses.

    Attributes:
        checkpoint: folder of the recogniser, or a run folder.
        host: address to listen on; 127.0.0.1 is this machine alone, 0.0.0.0 every network that it is in.
        port: TCP port; 0 takes a free one.
        device: ``auto``, ``cpu``, ``cuda`` ...
        lm: folder of a language model that the beam searches ask too.
        max_batch: most requests that are recognised together.
        max_wait_ms: how long the first request of a batch waits for others, in milliseconds.
        queue: most requests that wait; further ones are refused with 429.
        timeout: seconds from a request's arrival to its answer; 504 afterwards.
        max_seconds: longest recording in seconds.
        max_bytes: largest body of a request in bytes.
        max_streams: most people who speak to it at a time, by ``/stream``.
        grace: seconds that a service which is told to stop may take for what it is doing.

    Raises:
        ConfigError: a value outside its range.
    """

    checkpoint: Path
    host: str = "127.0.0.1"
    port: int = 8000
    device: str = "auto"
    lm: Path | None = None
    max_batch: int = 16
    max_wait_ms: float = 10.0
    queue: int = 64
    timeout: float = 30.0
    max_seconds: float = 60.0
    max_bytes: int = 16 * 2**20
    max_streams: int = 8
    grace: float = 10.0

    def __post_init__(self) -> None:
        _check("--port", self.port, 0, 65_535)
        _check("--max-batch", self.max_batch, 1, 1_024)
        _check("--max-wait-ms", self.max_wait_ms, 0, 10_000)
        _check("--queue", self.queue, 1, 100_000)
        _check("--timeout", self.timeout, 0.1, 3_600)
        _check("--max-seconds", self.max_seconds, 1, 3_600)
        _check("--max-bytes", self.max_bytes, 1_000, 2**30)
        _check("--max-streams", self.max_streams, 1, 256)
        _check("--grace", self.grace, 0, 3_600)


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # NaN is in no range
        raise ConfigError(f"{name} must be between {low:g} and {high:g}, got {value:g}")
