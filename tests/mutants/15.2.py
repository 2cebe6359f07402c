# %% mutant one_too_many
# With as many in the queue as may wait there is no place left: the next one is one too many, so the comparison is >= and not >.
class DynamicBatcher:
    def admit(self):
        waiting = sum(not job.answer.done() for job in self.waiting)
        if self.stopping:
            raise stopping()
        if waiting > self.queue:
            raise queue_full(waiting)


# %% rewritten one_too_many
class DynamicBatcher:
    def admit(self):
        if self.stopping:
            raise stopping()
        here = [job for job in self.waiting if not job.answer.done()]
        if len(here) - 1 >= self.queue:
            raise queue_full(len(here))


# %% mutant stopping_forgotten
# A service that stops still lets people in. They wait in a queue that nobody works on any more, until their time is over.
class DynamicBatcher:
    def admit(self):
        waiting = sum(not job.answer.done() for job in self.waiting)
        if waiting >= self.queue:
            raise queue_full(waiting)


# %% rewritten stopping_forgotten
class DynamicBatcher:
    def admit(self):
        places = self.queue
        for job in self.waiting:
            if not job.answer.done():
                places -= 1
        if places <= 0:
            raise queue_full(len(self.waiting))


# %% mutant full_before_stopping
# Where the queue is full and the service stops, the caller is told to come again in a second, to a service that will be gone by then.
class DynamicBatcher:
    def admit(self):
        waiting = sum(not job.answer.done() for job in self.waiting)
        if waiting >= self.queue:
            raise queue_full(waiting)
        if self.stopping:
            raise stopping()


# %% rewritten full_before_stopping
class DynamicBatcher:
    def admit(self):
        here = len([job for job in self.waiting if not job.answer.done()])
        if here < self.queue and self.stopping:
            raise stopping()
        if here >= self.queue:
            raise queue_full(here)


# %% mutant the_gone_count
# Everybody in the list is counted, also those who have given up: ten people who reload the page keep ten places that nobody sits on.
class DynamicBatcher:
    def admit(self):
        if self.stopping:
            raise stopping()
        if len(self.waiting) >= self.queue:
            raise queue_full(len(self.waiting))


# %% rewritten the_gone_count
class DynamicBatcher:
    def admit(self):
        error = stopping() if self.stopping else queue_full(self.queue)
        if self.stopping or not len(self.waiting) < self.queue:
            raise error


# %% mutant running_count
# Those whose batch is being recognised do not wait any more. Counted as waiting, they keep the queue full just when there is work
# going on.
class DynamicBatcher:
    def admit(self):
        waiting = sum(not job.answer.done() for job in self.waiting) + self.running
        if self.stopping:
            raise stopping()
        if waiting >= self.queue:
            raise queue_full(waiting)


# %% rewritten running_count
class DynamicBatcher:
    def admit(self):
        if self.stopping:
            raise stopping()
        free = self.queue - self.running - len([job for job in self.waiting if not job.answer.done()])
        if free < 1:
            raise queue_full(self.queue)
