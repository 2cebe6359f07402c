# %% mutant oldest_waits
# The batch is made of the shortest that wait, and the oldest need not be among them: a recording of unusual length may wait for
# ever while others overtake it.
def select(waiting, max_batch):
    oldest = waiting[0]
    fitting = [
        job
        for job in waiting[1:]
        if job.kind == oldest.kind and max(job.size, oldest.size) <= SIMILAR * min(job.size, oldest.size)
    ]
    fitting.sort(key=lambda job: abs(job.size - oldest.size))
    return sorted([oldest, *fitting], key=lambda job: job.size)[:max_batch]


class DynamicBatcher:
    async def gather(self):
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


# %% rewritten oldest_waits
def select(waiting, max_batch):
    first = waiting[0]
    able = [j for j in waiting if j.kind == first.kind and first.size / 2 <= j.size <= 2 * first.size]
    able.sort(key=lambda j: j.size)
    return able[:max_batch]


class DynamicBatcher:
    async def gather(self):
        while True:
            self._forget()
            if self.stopping:
                return []
            if self.waiting and (
                len(self.waiting) >= self.max_batch or time.monotonic() - self.waiting[0].arrived >= self.max_wait
            ):
                break
            if self.waiting:
                waited = time.monotonic() - self.waiting[0].arrived
                await self._next_arrival(self.max_wait - waited)
            else:
                await self._next_arrival(None)
        going = select(self.waiting, self.max_batch)
        for job in going:
            self.waiting.remove(job)
        return going


# %% mutant in_order_of_arrival
# Those who came first go with the oldest, whatever their length. A batch is as long as its longest, and what is nearest in length
# to the oldest wastes least on padding.
def select(waiting, max_batch):
    oldest = waiting[0]
    fitting = [
        job
        for job in waiting[1:]
        if job.kind == oldest.kind and max(job.size, oldest.size) <= SIMILAR * min(job.size, oldest.size)
    ]
    return [oldest, *fitting[: max_batch - 1]]


class DynamicBatcher:
    async def gather(self):
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


# %% rewritten in_order_of_arrival
def select(waiting, max_batch):
    first, *others = waiting
    able = [j for j in others if j.kind == first.kind and 1 / SIMILAR <= j.size / first.size <= SIMILAR]
    return [first] + able[: max_batch - 1]


class DynamicBatcher:
    async def gather(self):
        while True:
            self._forget()
            if self.stopping:
                return []
            if self.waiting and (
                len(self.waiting) >= self.max_batch or time.monotonic() - self.waiting[0].arrived >= self.max_wait
            ):
                break
            if self.waiting:
                waited = time.monotonic() - self.waiting[0].arrived
                await self._next_arrival(self.max_wait - waited)
            else:
                await self._next_arrival(None)
        going = select(self.waiting, self.max_batch)
        for job in going:
            self.waiting.remove(job)
        return going


# %% mutant kinds_mixed
# Requests for different searches get into one batch. The model is called once for a batch, with one search: the others get
# answers to a question that they did not ask.
def select(waiting, max_batch):
    oldest = waiting[0]
    fitting = [job for job in waiting[1:] if max(job.size, oldest.size) <= SIMILAR * min(job.size, oldest.size)]
    fitting.sort(key=lambda job: abs(job.size - oldest.size))
    return [oldest, *fitting[: max_batch - 1]]


class DynamicBatcher:
    async def gather(self):
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


# %% rewritten kinds_mixed
def select(waiting, max_batch):
    first, *others = waiting
    able = [j for j in others if 1 / SIMILAR <= j.size / first.size <= SIMILAR]
    return [first] + sorted(able, key=lambda j: abs(j.size - first.size))[: max_batch - 1]


class DynamicBatcher:
    async def gather(self):
        while True:
            self._forget()
            if self.stopping:
                return []
            if self.waiting and (
                len(self.waiting) >= self.max_batch or time.monotonic() - self.waiting[0].arrived >= self.max_wait
            ):
                break
            if self.waiting:
                waited = time.monotonic() - self.waiting[0].arrived
                await self._next_arrival(self.max_wait - waited)
            else:
                await self._next_arrival(None)
        going = select(self.waiting, self.max_batch)
        for job in going:
            self.waiting.remove(job)
        return going


# %% mutant lengths_mixed
# Recordings of any length go together: a recording of one second beside one of thirty is computed as if it lasted thirty.
def select(waiting, max_batch):
    oldest = waiting[0]
    fitting = [job for job in waiting[1:] if job.kind == oldest.kind]
    fitting.sort(key=lambda job: abs(job.size - oldest.size))
    return [oldest, *fitting[: max_batch - 1]]


class DynamicBatcher:
    async def gather(self):
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


# %% rewritten lengths_mixed
def select(waiting, max_batch):
    first, *others = waiting
    able = [j for j in others if j.kind == first.kind]
    return [first] + sorted(able, key=lambda j: abs(j.size - first.size))[: max_batch - 1]


class DynamicBatcher:
    async def gather(self):
        while True:
            self._forget()
            if self.stopping:
                return []
            if self.waiting and (
                len(self.waiting) >= self.max_batch or time.monotonic() - self.waiting[0].arrived >= self.max_wait
            ):
                break
            if self.waiting:
                waited = time.monotonic() - self.waiting[0].arrived
                await self._next_arrival(self.max_wait - waited)
            else:
                await self._next_arrival(None)
        going = select(self.waiting, self.max_batch)
        for job in going:
            self.waiting.remove(job)
        return going


# %% mutant clock_starts_anew
# Whoever arrives makes the oldest wait longer: the wait is counted from the latest arrival. Under a steady trickle of requests
# the oldest waits until the batch is full.
def select(waiting, max_batch):
    oldest = waiting[0]
    fitting = [
        job
        for job in waiting[1:]
        if job.kind == oldest.kind and max(job.size, oldest.size) <= SIMILAR * min(job.size, oldest.size)
    ]
    fitting.sort(key=lambda job: abs(job.size - oldest.size))
    return [oldest, *fitting[: max_batch - 1]]


class DynamicBatcher:
    async def gather(self):
        while not self.stopping:
            self._forget()
            if not self.waiting:
                await self._next_arrival(None)
                continue
            left = self.waiting[-1].arrived + self.max_wait - time.monotonic()
            if left <= 0 or len(self.waiting) >= self.max_batch:
                batch = select(self.waiting, self.max_batch)
                self.waiting = [job for job in self.waiting if job not in batch]
                return batch
            await self._next_arrival(left)
        return []


# %% rewritten clock_starts_anew
def select(waiting, max_batch):
    first, *others = waiting
    able = [j for j in others if j.kind == first.kind and 1 / SIMILAR <= j.size / first.size <= SIMILAR]
    return [first] + sorted(able, key=lambda j: abs(j.size - first.size))[: max_batch - 1]


class DynamicBatcher:
    async def gather(self):
        while True:
            self._forget()
            if self.stopping:
                return []
            if self.waiting and (
                len(self.waiting) >= self.max_batch
                or time.monotonic() - max(j.arrived for j in self.waiting) >= self.max_wait
            ):
                break
            if self.waiting:
                waited = time.monotonic() - max(j.arrived for j in self.waiting)
                await self._next_arrival(self.max_wait - waited)
            else:
                await self._next_arrival(None)
        going = select(self.waiting, self.max_batch)
        for job in going:
            self.waiting.remove(job)
        return going


# %% mutant full_batch_waits
# A full batch waits on although nobody else fits in. All of them wait for max_wait in vain.
def select(waiting, max_batch):
    oldest = waiting[0]
    fitting = [
        job
        for job in waiting[1:]
        if job.kind == oldest.kind and max(job.size, oldest.size) <= SIMILAR * min(job.size, oldest.size)
    ]
    fitting.sort(key=lambda job: abs(job.size - oldest.size))
    return [oldest, *fitting[: max_batch - 1]]


class DynamicBatcher:
    async def gather(self):
        while not self.stopping:
            self._forget()
            if not self.waiting:
                await self._next_arrival(None)
                continue
            left = self.waiting[0].arrived + self.max_wait - time.monotonic()
            if left <= 0:
                batch = select(self.waiting, self.max_batch)
                self.waiting = [job for job in self.waiting if job not in batch]
                return batch
            await self._next_arrival(left)
        return []


# %% rewritten full_batch_waits
def select(waiting, max_batch):
    first, *others = waiting
    able = [j for j in others if j.kind == first.kind and 1 / SIMILAR <= j.size / first.size <= SIMILAR]
    return [first] + sorted(able, key=lambda j: abs(j.size - first.size))[: max_batch - 1]


class DynamicBatcher:
    async def gather(self):
        while True:
            self._forget()
            if self.stopping:
                return []
            if self.waiting and (time.monotonic() - self.waiting[0].arrived >= self.max_wait):
                break
            if self.waiting:
                waited = time.monotonic() - self.waiting[0].arrived
                await self._next_arrival(self.max_wait - waited)
            else:
                await self._next_arrival(None)
        going = select(self.waiting, self.max_batch)
        for job in going:
            self.waiting.remove(job)
        return going


# %% mutant nobody_waits
# The first request goes at once, alone. Requests that come a millisecond later have to wait until its batch is through: without a
# wait there is little to batch.
def select(waiting, max_batch):
    oldest = waiting[0]
    fitting = [
        job
        for job in waiting[1:]
        if job.kind == oldest.kind and max(job.size, oldest.size) <= SIMILAR * min(job.size, oldest.size)
    ]
    fitting.sort(key=lambda job: abs(job.size - oldest.size))
    return [oldest, *fitting[: max_batch - 1]]


class DynamicBatcher:
    async def gather(self):
        while not self.stopping:
            self._forget()
            if not self.waiting:
                await self._next_arrival(None)
                continue
            left = self.waiting[0].arrived + self.max_wait - time.monotonic()
            if self.waiting:
                batch = select(self.waiting, self.max_batch)
                self.waiting = [job for job in self.waiting if job not in batch]
                return batch
            await self._next_arrival(left)
        return []


# %% rewritten nobody_waits
def select(waiting, max_batch):
    first, *others = waiting
    able = [j for j in others if j.kind == first.kind and 1 / SIMILAR <= j.size / first.size <= SIMILAR]
    return [first] + sorted(able, key=lambda j: abs(j.size - first.size))[: max_batch - 1]


class DynamicBatcher:
    async def gather(self):
        while not self.stopping:
            self._forget()
            if self.waiting:
                going = select(self.waiting, self.max_batch)
                self.waiting = [job for job in self.waiting if job not in going]
                return going
            await self._next_arrival(None)
        return []


# %% mutant left_in_the_queue
# The jobs that go are still in the queue afterwards: the next batch is the same one again, and its answers come twice.
def select(waiting, max_batch):
    oldest = waiting[0]
    fitting = [
        job
        for job in waiting[1:]
        if job.kind == oldest.kind and max(job.size, oldest.size) <= SIMILAR * min(job.size, oldest.size)
    ]
    fitting.sort(key=lambda job: abs(job.size - oldest.size))
    return [oldest, *fitting[: max_batch - 1]]


class DynamicBatcher:
    async def gather(self):
        while not self.stopping:
            self._forget()
            if not self.waiting:
                await self._next_arrival(None)
                continue
            left = self.waiting[0].arrived + self.max_wait - time.monotonic()
            if left <= 0 or len(self.waiting) >= self.max_batch:
                return select(self.waiting, self.max_batch)
            await self._next_arrival(left)
        return []


# %% rewritten left_in_the_queue
def select(waiting, max_batch):
    first, *others = waiting
    able = [j for j in others if j.kind == first.kind and 1 / SIMILAR <= j.size / first.size <= SIMILAR]
    return [first] + sorted(able, key=lambda j: abs(j.size - first.size))[: max_batch - 1]


class DynamicBatcher:
    async def gather(self):
        while True:
            self._forget()
            if self.stopping:
                return []
            if self.waiting and (
                len(self.waiting) >= self.max_batch or time.monotonic() - self.waiting[0].arrived >= self.max_wait
            ):
                break
            if self.waiting:
                waited = time.monotonic() - self.waiting[0].arrived
                await self._next_arrival(self.max_wait - waited)
            else:
                await self._next_arrival(None)
        going = select(self.waiting, self.max_batch)
        return going


# %% mutant works_for_the_gone
# Jobs whose callers have given up are not taken out: the recogniser works for nobody, and under load, when many give up, it works
# for nobody most of the time.
def select(waiting, max_batch):
    oldest = waiting[0]
    fitting = [
        job
        for job in waiting[1:]
        if job.kind == oldest.kind and max(job.size, oldest.size) <= SIMILAR * min(job.size, oldest.size)
    ]
    fitting.sort(key=lambda job: abs(job.size - oldest.size))
    return [oldest, *fitting[: max_batch - 1]]


class DynamicBatcher:
    async def gather(self):
        while not self.stopping:
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


# %% rewritten works_for_the_gone
def select(waiting, max_batch):
    first, *others = waiting
    able = [j for j in others if j.kind == first.kind and 1 / SIMILAR <= j.size / first.size <= SIMILAR]
    return [first] + sorted(able, key=lambda j: abs(j.size - first.size))[: max_batch - 1]


class DynamicBatcher:
    async def gather(self):
        while True:
            if self.stopping:
                return []
            if self.waiting and (
                len(self.waiting) >= self.max_batch or time.monotonic() - self.waiting[0].arrived >= self.max_wait
            ):
                break
            if self.waiting:
                waited = time.monotonic() - self.waiting[0].arrived
                await self._next_arrival(self.max_wait - waited)
            else:
                await self._next_arrival(None)
        going = select(self.waiting, self.max_batch)
        for job in going:
            self.waiting.remove(job)
        return going
