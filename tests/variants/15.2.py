# %% places_left
class DynamicBatcher:
    def admit(self):
        if self.stopping:
            raise stopping()
        places = self.queue
        for job in self.waiting:
            if not job.answer.done():
                places -= 1
        if places <= 0:
            raise queue_full(self.queue)


# %% listed
class DynamicBatcher:
    def admit(self):
        here = [job for job in self.waiting if not job.answer.done()]
        refusal = stopping() if self.stopping else queue_full(len(here)) if len(here) >= self.queue else None
        if refusal is not None:
            raise refusal
