# %% by_places
class StreamingRecognizer:
    def feed(self, samples):
        found, place = [], 0
        while place < len(samples):
            count = min(self.step - self._fresh, len(samples) - place)
            end = self._filled + count
            self._buffer[self._filled : end] = samples[place : place + count]
            self._filled, self._fresh, place = end, self._fresh + count, place + count
            if self._fresh >= self.step:
                found.append(self.look())
                self._fresh = 0
        return found

    def look(self):
        most = self.window_seconds * self.sample_rate
        if most < self._filled:
            self._cut()
        words = self.listen(np.array(self._buffer[: self._filled])).split()
        rest = self.stable.update(words)
        return Partial(" ".join(self._closed + self.stable.words), " ".join(rest), self.seconds)


# %% sample_by_sample
class StreamingRecognizer:
    def feed(self, samples):
        partials = []
        for sample in np.asarray(samples, dtype=np.float32):
            self._buffer[self._filled] = sample
            self._filled += 1
            self._fresh += 1
            if self._fresh == self.step:
                partials.append(self.look())
                self._fresh = 0
        return partials

    def look(self):
        full = self._filled / self.sample_rate > self.window_seconds
        if full:
            self._cut()
        window = np.concatenate([self._buffer[: self._filled]])
        rest = self.stable.update(self.listen(window).split())
        stable = list(self._closed)
        stable.extend(self.stable.words)
        return Partial(stable=" ".join(stable), unstable=" ".join(rest), seconds=self.seconds)
