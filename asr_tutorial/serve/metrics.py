"""What the service counts, for Prometheus: a registry of its own for each application."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LATENCIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters, histograms and gauges of one service.

    Args:
        queue_depth: called for the number of requests that wait.
    """

    def __init__(self, queue_depth: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "asr_requests", "Requests by route and status", ["route", "status"], registry=self.registry
        )
        self.latency = Histogram(
            "asr_request_seconds", "Time from arrival to answer", ["route"], buckets=LATENCIES, registry=self.registry
        )
        self.compute = Histogram(
            "asr_compute_seconds", "Time of a request's batch", buckets=LATENCIES, registry=self.registry
        )
        self.waits = Histogram("asr_queue_seconds", "Time in the queue", buckets=LATENCIES, registry=self.registry)
        self.batch_size = Histogram("asr_batch_size", "Requests in a batch", buckets=SIZES, registry=self.registry)
        self.audio = Counter("asr_audio_seconds", "Sound that was recognised", registry=self.registry)
        self.depth = Gauge("asr_queue_depth", "Requests that wait", registry=self.registry)
        self.depth.set_function(queue_depth)

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry)
