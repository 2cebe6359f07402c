# %% shortest_first
def agreed_prefix(hypotheses):
    prefix = []
    shortest = min(map(len, hypotheses), default=0)
    for place in range(shortest):
        words = {hypothesis[place] for hypothesis in hypotheses}
        if len(words) != 1:
            return prefix
        prefix.append(words.pop())
    return prefix


class StablePrefix:
    def update(self, hypothesis):
        latest = list(hypothesis)
        self._recent.append(latest)
        enough = len(self._recent) >= self._recent.maxlen
        agreed = agreed_prefix(list(self._recent)) if enough else []
        while len(self.words) < len(agreed):
            self.words.append(agreed[len(self.words)])
        return latest[len(self.words) :]


# %% pairwise
def agreed_prefix(hypotheses):
    if len(hypotheses) == 0:
        return []
    agreed = list(hypotheses[0])
    for other in hypotheses:
        length = 0
        for mine, theirs in zip(agreed, other, strict=False):
            if mine != theirs:
                break
            length += 1
        agreed = agreed[:length]
    return agreed


class StablePrefix:
    def update(self, hypothesis):
        self._recent.append(tuple(hypothesis))
        if len(self._recent) == self._recent.maxlen:
            self.words.extend(agreed_prefix(self._recent)[len(self.words) :])
        return [word for place, word in enumerate(hypothesis) if place >= len(self.words)]
