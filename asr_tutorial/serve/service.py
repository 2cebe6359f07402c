"""What the routes share: the recogniser, its batcher, the metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, cast

from asr_tutorial.recognizer import Recognizer
from asr_tutorial.serve.batching import Answer, DynamicBatcher
from asr_tutorial.serve.engine import Engine, Heard, Question, Recording
from asr_tutorial.serve.errors import queue_full
from asr_tutorial.serve.explain import explain
from asr_tutorial.serve.metrics import Metrics
from asr_tutorial.serve.settings import Settings

PREPARING = 2
"""Threads that read sound and JSON while the batcher's thread has the model."""


class Service:
    """A recogniser at work for many callers.

    Args:
        recognizer: loaded.
        settings: of the service.
    """

    def __init__(self, recognizer: Recognizer, settings: Settings) -> None:
        self.recognizer, self.settings = recognizer, settings
        self.engine = Engine(recognizer, settings.max_seconds)
        self.batcher = DynamicBatcher(
            self.run,
            settings.max_batch,
            settings.max_wait_ms / 1000,
            settings.queue,
            on_batch=lambda size: self.metrics.batch_size.observe(size),
        )
        self.metrics = Metrics(lambda: len(self.batcher.waiting))
        self.executor = ThreadPoolExecutor(PREPARING, thread_name_prefix="prepare")
        self.reading = 0
        self.gave_up = False
        self._leave_at: float | None = None

    @property
    def stopping(self) -> bool:
        return self.batcher.stopping

    def run(self, question: Hashable, recordings: list[Recording]) -> list[tuple[Heard, dict[str, Any]]]:
        """Answer a question about recordings: what was heard, and what explains it, if that is asked for."""
        assert isinstance(question, Question)
        heard = self.engine.recognise(question, recordings)
        if not question.explain:
            return [(found, {}) for found in heard]
        return [
            (found, explain(self.engine, recording, found.decoded.text))
            for found, recording in zip(heard, recordings, strict=True)
        ]

    async def answer(self, question: Question, recording: Recording, timeout: float) -> Answer:
        """The batcher's answer to a question about a recording, counted.

        Raises:
            ServiceError: 429, 503 or 504.
        """
        answer = await self.batcher.submit(recording, question, recording.seconds, timeout)
        self.metrics.waits.observe(answer.queue_seconds)
        self.metrics.compute.observe(answer.compute_seconds)
        self.metrics.audio.inc(recording.seconds)
        return answer

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Keep a place for a request while its body is read: bodies take memory, and their number is bounded too.

        Raises:
            ServiceError: 429 or 503, see :meth:`~asr_tutorial.serve.batching.DynamicBatcher.admit`.
        """
        self.batcher.admit()
        if self.reading >= self.settings.queue:
            raise queue_full(self.reading)
        self.reading += 1
        try:
            yield
        finally:
            self.reading -= 1

    def begin_to_stop(self) -> None:
        """Refuse from now on, and give up after the time of grace; the batch that runs may finish until then."""
        if self._leave_at is None:
            self._leave_at = time.monotonic() + self.settings.grace
            self.batcher.refuse()
            asyncio.get_running_loop().call_later(self.settings.grace, self.batcher.give_up)

    async def close(self) -> None:
        """Wait for the batch that runs, until the time of grace is over."""
        self.begin_to_stop()
        assert self._leave_at is not None
        try:
            async with asyncio.timeout(max(self._leave_at - time.monotonic(), 0)):
                await self.batcher.stop()
        except TimeoutError:
            self.gave_up = True
        self.executor.shutdown(wait=False, cancel_futures=True)


def transcription(search: str, seconds: float, answer: Answer, arrived: float) -> dict[str, Any]:
    """The answer as plain values; ``vars`` and not a model, for it is ours and needs no check."""
    heard, explanation = cast(tuple[Heard, dict[str, Any]], answer.result)
    return {
        "text": heard.decoded.text,
        "confidence": heard.confidence,
        "words": [vars(word) for word in heard.words],
        "duration": seconds,
        "search": search,
        "nbest": [vars(alternative) for alternative in heard.decoded.n_best],
        "timing": {
            "queue_ms": round(1000 * answer.queue_seconds, 3),
            "compute_ms": round(1000 * answer.compute_seconds, 3),
            "total_ms": round(1000 * (time.monotonic() - arrived), 3),
            "batch_size": answer.batch_size,
        },
        **explanation,
    }
