"""Requests of many callers, recognised together.

A recogniser takes hardly longer for sixteen utterances than for one, as long as most of its time goes into starting
operations rather than into arithmetic. But callers come one by one. A :class:`DynamicBatcher` lets the first wait a few
milliseconds for others (:meth:`~DynamicBatcher.gather`), takes those that go well together (:func:`select`), runs them
as one batch in the one thread that has the model, and gives each caller its own answer. While a batch runs others
arrive, so that under load batches are full and nobody waits for company.

The queue is bounded (:meth:`~DynamicBatcher.admit`): a service that accepts more than it can answer answers nobody in
time. So is the wait of each request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from asr_tutorial.serve.errors import queue_full, stopping, too_late

Run = Callable[[Hashable, list[Any]], Sequence[Any]]
"""Items of one kind to their results, in the same order. It runs in the batcher's thread, one batch at a time."""
SIMILAR = 2.0
"""Lengths that differ by more than this factor are not batched: the shorter one would be mostly padding."""


@dataclass(eq=False)
class Job:
    """A request that waits for its answer.

    Attributes:
        item: what is handed to ``run``.
        kind: jobs of one kind can be run together.
        size: its length, in any unit.
        arrived: when it came, on the monotonic clock.
        deadline: when its answer is no longer wanted.
        answer: where the answer goes.
    """

    item: Any
    kind: Hashable
    size: float
    arrived: float
    deadline: float
    answer: asyncio.Future[Answer]


@dataclass(frozen=True)
class Answer:
    """A result and what it took: seconds in the queue, seconds of its batch, and how many were in it."""

    result: Any
    queue_seconds: float
    compute_seconds: float
    batch_size: int


def select(waiting: Sequence[Job], max_batch: int) -> list[Job]:
    """Which of the waiting jobs go into the next batch.

    The oldest always does, so that none waits for ever. Of the others those of its kind, of similar length, nearest in
    length first: a batch is as long as its longest, and the rest of it is padding.

    Args:
        waiting: at least one job, the oldest first.
        max_batch: most jobs of a batch.
    """
    oldest = waiting[0]
    fitting = [
        job
        for job in waiting[1:]
        if job.kind == oldest.kind and max(job.size, oldest.size) <= SIMILAR * min(job.size, oldest.size)
    ]
    fitting.sort(key=lambda job: abs(job.size - oldest.size))  # of equal ones the older comes first: sorting is stable
    return [oldest, *fitting[: max_batch - 1]]


class DynamicBatcher:
    """Gathers jobs into batches and runs them in a thread of its own.

    Args:
        run: does the work.
        max_batch: most jobs of a batch.
        max_wait: seconds that the oldest job waits for others when nothing else is to be done.
        queue: most jobs that wait.
        on_batch: called with the size of each batch, for metrics.
    """

    def __init__(
        self,
        run: Run,
        max_batch: int = 16,
        max_wait: float = 0.01,
        queue: int = 64,
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        self.run, self.max_batch, self.max_wait, self.queue, self.on_batch = run, max_batch, max_wait, queue, on_batch
        self.waiting: list[Job] = []
        self.stopping = False
        self.batch: list[Job] = []
        self._arrival = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recogniser")
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> int:
        """Jobs in the batch that the thread works on."""
        return len(self.batch)

    def start(self) -> None:
        """Begin to work, in the event loop that is running."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Take no more, tell those who wait, and come back when the batch that runs is finished."""
        self.refuse()
        if self._task is not None:
            self._arrival.set()
            await asyncio.shield(self._task)  # a caller that waits no longer does not break off what runs
        self._thread.shutdown()

    def refuse(self) -> None:
        """From now on nobody is admitted, and those who wait are told so; the batch that runs is not disturbed."""
        self.stopping = True
        _send_away(self.waiting)
        self.waiting.clear()
        self._arrival.set()

    def give_up(self) -> None:
        """There is no time left: those whose batch runs get no answer either."""
        self.refuse()
        _send_away(self.batch)

    def admit(self) -> None:
        """Refuse a request while that is cheap: before its body is read, and again before it is put in the queue.

        Whoever has given up waiting, so that the answer is done, takes nobody's place.

        Raises:
            ServiceError: 503 when the service stops, 429 when as many wait as may.
        """
        waiting = sum(not job.answer.done() for job in self.waiting)
        if self.stopping:
            raise stopping()
        if waiting >= self.queue:
            raise queue_full(waiting)

    async def submit(self, item: Any, kind: Hashable, size: float, timeout: float) -> Answer:
        """Wait for the answer to one item.

        Args:
            item: for ``run``.
            kind: of the items that it can be run with.
            size: its length.
            timeout: seconds to wait at most.

        Raises:
            ServiceError: not admitted; 504 after the timeout; or what ``run`` raised.
        """
        self.admit()
        now = time.monotonic()
        job = Job(item, kind, size, now, now + timeout, asyncio.get_running_loop().create_future())
        self.waiting.append(job)
        self._arrival.set()
        try:
            async with asyncio.timeout(timeout):
                return await job.answer  # a caller who gives up cancels it, and it is not run any more
        except TimeoutError:
            raise too_late(timeout) from None

    async def gather(self) -> list[Job]:
        """The next batch: wait for a first job, then until ``max_batch`` wait or the first has waited ``max_wait``.

        Returns:
            Jobs that are taken out of the queue; none when the batcher stops.
        """
        while not self.stopping:
            self._forget()
            if not self.waiting:
                await self._next_arrival(None)
                continue
            left = self.waiting[0].arrived + self.max_wait - time.monotonic()
            if left <= 0 or len(self.waiting) >= self.max_batch:
                batch = select(self.waiting, self.max_batch)
                self.waiting = [job for job in self.waiting if job not in batch]
                return batch
            await self._next_arrival(left)
        return []

    def _forget(self) -> None:
        """Take out the jobs that nobody waits for any more."""
        self.waiting = [job for job in self.waiting if not job.answer.done()]

    async def _next_arrival(self, timeout: float | None) -> None:
        """Come back when a job has arrived or the batcher stops, after ``timeout`` seconds at the latest."""
        self._arrival.clear()
        try:
            async with asyncio.timeout(timeout):
                await self._arrival.wait()
        except TimeoutError:
            pass

    async def _work(self) -> None:
        while not self.stopping:
            batch = await self.gather()
            if batch:
                await self._run_batch(batch)

    async def _run_batch(self, batch: list[Job]) -> None:
        loop = asyncio.get_running_loop()
        self.batch = batch
        self.on_batch(len(batch))
        started = time.monotonic()
        try:
            results = await loop.run_in_executor(self._thread, self.run, batch[0].kind, [job.item for job in batch])
            answered = list(zip(batch, results, strict=True))
        except Exception as error:
            if len(batch) > 1:  # one caller's bad input must not be the others' error
                for job in batch:
                    await self._run_batch([job])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        finally:
            self.batch = []
        seconds = time.monotonic() - started
        for job, result in answered:
            if not job.answer.done():
                job.answer.set_result(Answer(result, started - job.arrived, seconds, len(batch)))


def _send_away(jobs: Sequence[Job]) -> None:
    for job in jobs:
        if not job.answer.done():
            job.answer.set_exception(stopping())
