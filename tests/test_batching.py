"""The batcher: who goes together, who waits how long, who is sent away, and that everybody gets their own answer."""

import asyncio
import random
import threading
import time

import pytest

from asr_tutorial.serve.batching import DynamicBatcher, Job, select
from asr_tutorial.serve.errors import ServiceError

FOREVER = 60.0


class Doubler:
    """Work that can be held up, and that remembers its batches."""

    def __init__(self, held: bool = False) -> None:
        self.batches = []
        self.begun, self.gate = threading.Event(), threading.Event()
        if not held:
            self.gate.set()

    def __call__(self, kind, items):
        self.batches.append((kind, list(items)))
        self.begun.set()
        assert self.gate.wait(FOREVER)
        if "bad" in items:
            raise ValueError("bad item")
        return [2 * item for item in items]


def run(scenario, work, **options):
    """Run ``scenario(batcher)`` while a batcher works."""

    async def main():
        batcher = DynamicBatcher(work, **{"max_wait": 0.005, **options})
        batcher.start()
        try:
            async with asyncio.timeout(FOREVER):
                return await scenario(batcher)
        finally:
            work.gate.set()
            await batcher.stop()

    return asyncio.run(main())


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


def job(size, kind="a"):
    return Job(None, kind, size, 0.0, 1.0, None)


class TestSelect:
    def test_the_oldest_goes_even_if_it_is_unlike_all_others(self):
        waiting = [job(100.0, "b"), *(job(1.0) for _ in range(5))]
        assert select(waiting, 4) == [waiting[0]]

    def test_one_kind_at_a_time(self):
        waiting = [job(1.0), job(1.0, "b"), job(1.0)]
        assert select(waiting, 4) == [waiting[0], waiting[2]]

    def test_the_nearest_in_length_go_along(self):
        waiting = [job(4.0), job(7.0), job(4.2), job(3.0), job(4.1)]
        assert select(waiting, 3) == [waiting[0], waiting[4], waiting[2]]

    def test_lengths_that_differ_by_more_than_twice_stay_apart(self):
        waiting = [job(4.0), job(8.1), job(1.9), job(8.0), job(2.0)]
        assert set(map(id, select(waiting, 9))) == {id(waiting[0]), id(waiting[3]), id(waiting[4])}

    def test_of_equal_ones_the_older_goes(self):
        waiting = [job(1.0) for _ in range(4)]
        assert select(waiting, 2) == waiting[:2]


def test_a_full_batch_does_not_wait():
    work = Doubler()

    async def scenario(batcher):
        return await asyncio.gather(*(batcher.submit(number, "a", 1.0, FOREVER) for number in range(3)))

    answers = run(scenario, work, max_batch=3, max_wait=FOREVER)
    assert [answer.result for answer in answers] == [0, 2, 4]
    assert work.batches == [("a", [0, 1, 2])]
    assert {answer.batch_size for answer in answers} == {3}


def test_a_lonely_request_waits_no_longer_than_it_must():
    async def scenario(batcher):
        return await batcher.submit(1, "a", 1.0, FOREVER)

    answer = run(scenario, Doubler(), max_batch=8, max_wait=0.1)
    assert answer.batch_size == 1
    assert 0.1 <= answer.queue_seconds < FOREVER / 2


def test_what_came_while_a_batch_ran_goes_at_once_and_together():
    work = Doubler(held=True)

    async def scenario(batcher):
        first = asyncio.create_task(batcher.submit(0, "a", 1.0, FOREVER))
        await until(work.begun.is_set)
        others = [asyncio.create_task(batcher.submit(number, "a", 1.0, FOREVER)) for number in (1, 2, 3)]
        await until(lambda: len(batcher.waiting) == 3)
        assert batcher.running == 1
        work.gate.set()
        return [task.result() for task in (await asyncio.wait([first, *others]))[0]]

    answers = run(scenario, work, max_batch=8)
    assert sorted(answer.batch_size for answer in answers) == [1, 3, 3, 3]


def test_everybody_gets_their_own_answer():
    work = Doubler()
    rng = random.Random(0)

    async def scenario(batcher):
        async def caller(number):
            await asyncio.sleep(rng.random() / 20)
            answer = await batcher.submit(number, number % 3, rng.uniform(1, 5), FOREVER)
            return answer.result == 2 * number

        return await asyncio.gather(*(caller(number) for number in range(200)))

    assert all(run(scenario, work, max_batch=8, queue=200))
    assert all(len({item % 3 for item in items} | {kind}) == 1 for kind, items in work.batches)
    assert max(len(items) for _, items in work.batches) > 1
    assert sum(len(items) for _, items in work.batches) == 200


def test_a_full_queue_sends_newcomers_away():
    work = Doubler(held=True)

    async def scenario(batcher):
        tasks = [asyncio.create_task(batcher.submit(0, "a", 1.0, FOREVER))]
        await until(work.begun.is_set)
        tasks += [asyncio.create_task(batcher.submit(number, "a", 1.0, FOREVER)) for number in (1, 2)]
        await until(lambda: len(batcher.waiting) == 2)
        with pytest.raises(ServiceError) as refused:
            await batcher.submit(3, "a", 1.0, FOREVER)
        work.gate.set()
        return refused.value, await asyncio.gather(*tasks)

    refused, answers = run(scenario, work, queue=2)
    assert (refused.status, refused.code, refused.headers) == (429, "queue_full", {"Retry-After": "1"})
    assert [answer.result for answer in answers] == [0, 2, 4]


def test_nobody_waits_longer_than_they_want_and_nothing_is_done_for_them_afterwards():
    work = Doubler(held=True)

    async def scenario(batcher):
        first = asyncio.create_task(batcher.submit(0, "a", 1.0, FOREVER))
        await until(work.begun.is_set)
        started = time.monotonic()
        with pytest.raises(ServiceError) as late:
            await batcher.submit(1, "a", 1.0, 0.05)
        assert time.monotonic() - started < FOREVER / 2
        gone = asyncio.create_task(batcher.submit(2, "a", 1.0, FOREVER))
        await until(lambda: any(job.item == 2 for job in batcher.waiting))
        gone.cancel()
        work.gate.set()
        await first
        await batcher.submit(3, "a", 1.0, FOREVER)
        return late.value

    assert run(scenario, work).status == 504
    assert [items for _, items in work.batches] == [[0], [3]]


def test_one_bad_item_is_not_the_error_of_the_others():
    async def scenario(batcher):
        tasks = [batcher.submit(item, "a", 1.0, FOREVER) for item in (1, "bad", 3)]
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, bad, third = run(scenario, Doubler(), max_batch=3, max_wait=FOREVER)
    assert (first.result, third.result) == (2, 6)
    assert isinstance(bad, ValueError)


def test_stopping_finishes_what_runs_and_tells_the_others():
    work = Doubler(held=True)

    async def scenario(batcher):
        running = asyncio.create_task(batcher.submit(1, "a", 1.0, FOREVER))
        await until(work.begun.is_set)
        waiting = asyncio.create_task(batcher.submit(2, "a", 1.0, FOREVER))
        await until(lambda: len(batcher.waiting) == 1)
        batcher.refuse()
        with pytest.raises(ServiceError) as told:
            await waiting
        with pytest.raises(ServiceError) as refused:
            await batcher.submit(3, "a", 1.0, FOREVER)
        work.gate.set()
        await batcher.stop()
        return told.value, refused.value, await running

    told, refused, finished = run(scenario, work)
    assert (told.status, refused.status) == (503, 503)
    assert told.headers["Retry-After"]
    assert finished.result == 2


def test_giving_up_tells_those_whose_batch_runs():
    work = Doubler(held=True)

    async def scenario(batcher):
        running = asyncio.create_task(batcher.submit(1, "a", 1.0, FOREVER))
        await until(work.begun.is_set)
        batcher.give_up()
        with pytest.raises(ServiceError) as told:
            await running
        return told.value

    assert run(scenario, work).status == 503
