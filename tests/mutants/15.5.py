# %% mutant a_look_for_each_piece
# A look is taken for each piece of sound that comes in. With packets of 20 ms the same second is recognised fifty times, and the
# text depends on how the sound was cut.
class StreamingRecognizer:
    def feed(self, samples):
        self._buffer[self._filled : self._filled + len(samples)] = samples
        self._filled += len(samples)
        return [self.look()] if len(samples) else []

    def look(self):
        if self._filled > self.window_seconds * self.sample_rate:
            self._cut()
        unstable = self.stable.update(self.listen(self._buffer[: self._filled].copy()).split())
        return Partial(" ".join([*self._closed, *self.stable.words]), " ".join(unstable), self.seconds)


# %% rewritten a_look_for_each_piece
class StreamingRecognizer:
    def feed(self, samples):
        if len(samples) == 0:
            return []
        end = self._filled + len(samples)
        self._buffer[self._filled : end] = samples
        self._filled = end
        return [self.look()]

    def look(self):
        most = self.window_seconds * self.sample_rate
        if most < self._filled:
            self._cut()
        words = self.listen(np.array(self._buffer[: self._filled])).split()
        rest = self.stable.update(words)
        return Partial(" ".join(self._closed + self.stable.words), " ".join(rest), self.seconds)


# %% mutant one_look_at_most
# A piece that is long enough for several looks gets one, at its end: what the others would have agreed on is never committed, and
# the text depends on how the sound was cut.
class StreamingRecognizer:
    def feed(self, samples):
        self._buffer[self._filled : self._filled + len(samples)] = samples
        self._filled += len(samples)
        self._fresh += len(samples)
        if self._fresh < self.step:
            return []
        self._fresh = 0
        return [self.look()]

    def look(self):
        if self._filled > self.window_seconds * self.sample_rate:
            self._cut()
        unstable = self.stable.update(self.listen(self._buffer[: self._filled].copy()).split())
        return Partial(" ".join([*self._closed, *self.stable.words]), " ".join(unstable), self.seconds)


# %% rewritten one_look_at_most
class StreamingRecognizer:
    def feed(self, samples):
        for sample in samples:
            self._buffer[self._filled] = sample
            self._filled += 1
        self._fresh = self._fresh + len(samples)
        if self._fresh >= self.step:
            self._fresh = 0
            return [self.look()]
        return []

    def look(self):
        most = self.window_seconds * self.sample_rate
        if most < self._filled:
            self._cut()
        words = self.listen(np.array(self._buffer[: self._filled])).split()
        rest = self.stable.update(words)
        return Partial(" ".join(self._closed + self.stable.words), " ".join(rest), self.seconds)


# %% mutant the_rest_is_dropped
# What a piece holds behind the last look that it made due is dropped: these samples are never heard, neither by later looks nor
# by the final result.
class StreamingRecognizer:
    def feed(self, samples):
        partials = []
        while len(samples) > 0 and (self._fresh + len(samples) >= self.step or not partials):
            due = self.step - self._fresh
            piece, samples = samples[:due], samples[due:]
            self._buffer[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            self._fresh += len(piece)
            if self._fresh == self.step:
                self._fresh = 0
                partials.append(self.look())
        return partials

    def look(self):
        if self._filled > self.window_seconds * self.sample_rate:
            self._cut()
        unstable = self.stable.update(self.listen(self._buffer[: self._filled].copy()).split())
        return Partial(" ".join([*self._closed, *self.stable.words]), " ".join(unstable), self.seconds)


# %% rewritten the_rest_is_dropped
class StreamingRecognizer:
    def feed(self, samples):
        found, place = [], 0
        while place < len(samples):
            count = min(self.step - self._fresh, len(samples) - place)
            if found and count < self.step:
                break
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


# %% mutant written_over
# Each piece is written to the beginning of the buffer, over what was there: a look hears the latest piece, and behind it whatever
# lies in the buffer.
class StreamingRecognizer:
    def feed(self, samples):
        partials = []
        while len(samples) > 0:
            due = self.step - self._fresh
            piece, samples = samples[:due], samples[due:]
            self._buffer[: len(piece)] = piece
            self._filled += len(piece)
            self._fresh += len(piece)
            if self._fresh == self.step:
                self._fresh = 0
                partials.append(self.look())
        return partials

    def look(self):
        if self._filled > self.window_seconds * self.sample_rate:
            self._cut()
        unstable = self.stable.update(self.listen(self._buffer[: self._filled].copy()).split())
        return Partial(" ".join([*self._closed, *self.stable.words]), " ".join(unstable), self.seconds)


# %% rewritten written_over
class StreamingRecognizer:
    def feed(self, samples):
        found, place = [], 0
        while place < len(samples):
            count = min(self.step - self._fresh, len(samples) - place)
            end = self._filled + count
            self._buffer[0:count] = samples[place : place + count]
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


# %% mutant whole_buffer_heard
# A look hears the whole buffer, also the part that holds nothing yet, or old sound: the model writes down what nobody has said.
class StreamingRecognizer:
    def feed(self, samples):
        partials = []
        while len(samples) > 0:
            due = self.step - self._fresh
            piece, samples = samples[:due], samples[due:]
            self._buffer[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            self._fresh += len(piece)
            if self._fresh == self.step:
                self._fresh = 0
                partials.append(self.look())
        return partials

    def look(self):
        if self._filled > self.window_seconds * self.sample_rate:
            self._cut()
        unstable = self.stable.update(self.listen(self._buffer.copy()).split())
        return Partial(" ".join([*self._closed, *self.stable.words]), " ".join(unstable), self.seconds)


# %% rewritten whole_buffer_heard
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
        words = self.listen(np.array(self._buffer)).split()
        rest = self.stable.update(words)
        return Partial(" ".join(self._closed + self.stable.words), " ".join(rest), self.seconds)


# %% mutant never_cut
# The window is never cut. It grows until the buffer is full, and then there is no place for the next piece.
class StreamingRecognizer:
    def feed(self, samples):
        partials = []
        while len(samples) > 0:
            due = self.step - self._fresh
            piece, samples = samples[:due], samples[due:]
            self._buffer[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            self._fresh += len(piece)
            if self._fresh == self.step:
                self._fresh = 0
                partials.append(self.look())
        return partials

    def look(self):
        unstable = self.stable.update(self.listen(self._buffer[: self._filled].copy()).split())
        return Partial(" ".join([*self._closed, *self.stable.words]), " ".join(unstable), self.seconds)


# %% rewritten never_cut
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
        words = self.listen(np.array(self._buffer[: self._filled])).split()
        rest = self.stable.update(words)
        return Partial(" ".join(self._closed + self.stable.words), " ".join(rest), self.seconds)


# %% mutant closed_forgotten
# The stable text holds the words of this window alone. At each cut all that was committed before it vanishes from the screen.
class StreamingRecognizer:
    def feed(self, samples):
        partials = []
        while len(samples) > 0:
            due = self.step - self._fresh
            piece, samples = samples[:due], samples[due:]
            self._buffer[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            self._fresh += len(piece)
            if self._fresh == self.step:
                self._fresh = 0
                partials.append(self.look())
        return partials

    def look(self):
        if self._filled > self.window_seconds * self.sample_rate:
            self._cut()
        unstable = self.stable.update(self.listen(self._buffer[: self._filled].copy()).split())
        return Partial(" ".join(self.stable.words), " ".join(unstable), self.seconds)


# %% rewritten closed_forgotten
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
        return Partial(" ".join(word for word in self.stable.words), " ".join(rest), self.seconds)


# %% mutant no_copy
# A look hands out the buffer itself instead of a copy. When the window is cut the buffer is overwritten, while whoever was given
# it may still be reading.
class StreamingRecognizer:
    def feed(self, samples):
        partials = []
        while len(samples) > 0:
            due = self.step - self._fresh
            piece, samples = samples[:due], samples[due:]
            self._buffer[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            self._fresh += len(piece)
            if self._fresh == self.step:
                self._fresh = 0
                partials.append(self.look())
        return partials

    def look(self):
        if self._filled > self.window_seconds * self.sample_rate:
            self._cut()
        unstable = self.stable.update(self.listen(self._buffer[: self._filled]).split())
        return Partial(" ".join([*self._closed, *self.stable.words]), " ".join(unstable), self.seconds)


# %% rewritten no_copy
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
        words = self.listen(np.asarray(self._buffer[: self._filled])).split()
        rest = self.stable.update(words)
        return Partial(" ".join(self._closed + self.stable.words), " ".join(rest), self.seconds)
