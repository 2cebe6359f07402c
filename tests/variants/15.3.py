# %% loop_with_a_break
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
        for job in going:
            self.waiting.remove(job)
        return going


# %% deadline_of_the_oldest
def select(waiting, max_batch):
    batch = [waiting[0]]
    rest = sorted(waiting[1:], key=lambda job: abs(job.size - batch[0].size))
    for job in rest:
        small, large = sorted((job.size, batch[0].size))
        if len(batch) < max_batch and job.kind == batch[0].kind and large <= SIMILAR * small:
            batch.append(job)
    return batch


class DynamicBatcher:
    async def gather(self):
        while True:
            self._forget()
            if self.stopping:
                return []
            timeout = None
            if self.waiting:
                deadline = min(job.arrived for job in self.waiting) + self.max_wait
                timeout = deadline - time.monotonic()
                if timeout <= 0 or len(self.waiting) >= self.max_batch:
                    batch = select(self.waiting, self.max_batch)
                    chosen = {id(job) for job in batch}
                    self.waiting = [job for job in self.waiting if id(job) not in chosen]
                    return batch
            await self._next_arrival(timeout)
