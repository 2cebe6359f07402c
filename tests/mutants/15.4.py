# %% mutant agreed_anywhere
# Words on which the hypotheses agree are taken wherever they stand, also behind a difference. A prefix ends at the first difference:
# what follows it cannot be shown, for the word before it is not known.
def agreed_prefix(hypotheses):
    return [words[0] for words in zip(*hypotheses, strict=False) if len(set(words)) == 1]


class StablePrefix:
    def update(self, hypothesis):
        self._recent.append(list(hypothesis))
        if len(self._recent) == self._recent.maxlen:
            self.words += agreed_prefix(self._recent)[len(self.words) :]
        return list(hypothesis[len(self.words) :])


# %% rewritten agreed_anywhere
def agreed_prefix(hypotheses):
    if not hypotheses:
        return []
    shortest = min(len(words) for words in hypotheses)
    first = hypotheses[0]
    return [first[i] for i in range(shortest) if all(words[i] == first[i] for words in hypotheses)]


class StablePrefix:
    def update(self, hypothesis):
        self._recent.append([*hypothesis])
        if len(self._recent) >= self._recent.maxlen:
            self.words.extend(agreed_prefix(list(self._recent))[len(self.words) :])
        return [*hypothesis][len(self.words) :]


# %% mutant taken_back
# What is committed is set to what the latest hypotheses agree on, so that it shrinks and changes. Somebody has read these words
# already: committed words stand, and only what lies behind them is added.
def agreed_prefix(hypotheses):
    agreed = []
    for words in zip(*hypotheses, strict=False):
        if len(set(words)) > 1:
            break
        agreed.append(words[0])
    return agreed


class StablePrefix:
    def update(self, hypothesis):
        self._recent.append(list(hypothesis))
        if len(self._recent) == self._recent.maxlen:
            self.words = agreed_prefix(self._recent)
        return list(hypothesis[len(self.words) :])


# %% rewritten taken_back
def agreed_prefix(hypotheses):
    if not hypotheses:
        return []
    length = 0
    while all(length < len(words) and words[length] == hypotheses[0][length] for words in hypotheses):
        length += 1
    return list(hypotheses[0][:length])


class StablePrefix:
    def update(self, hypothesis):
        self._recent.append([*hypothesis])
        if len(self._recent) >= self._recent.maxlen:
            self.words[:] = agreed_prefix(list(self._recent))
        return [*hypothesis][len(self.words) :]


# %% mutant first_commits
# The first hypothesis is committed at once: with nothing to compare it to, it agrees with itself. Commit only when as many hypotheses
# are there as must agree.
def agreed_prefix(hypotheses):
    agreed = []
    for words in zip(*hypotheses, strict=False):
        if len(set(words)) > 1:
            break
        agreed.append(words[0])
    return agreed


class StablePrefix:
    def update(self, hypothesis):
        self._recent.append(list(hypothesis))
        self.words += agreed_prefix(self._recent)[len(self.words) :]
        return list(hypothesis[len(self.words) :])


# %% rewritten first_commits
def agreed_prefix(hypotheses):
    if not hypotheses:
        return []
    length = 0
    while all(length < len(words) and words[length] == hypotheses[0][length] for words in hypotheses):
        length += 1
    return list(hypotheses[0][:length])


class StablePrefix:
    def update(self, hypothesis):
        self._recent.append([*hypothesis])
        agreed = agreed_prefix([*self._recent])
        for word in agreed[len(self.words) :]:
            self.words.append(word)
        return [*hypothesis][len(self.words) :]


# %% mutant compared_with_committed
# New words are committed only if the hypotheses still begin with the committed ones. One word that is spelt otherwise now, and nothing
# is ever committed again: count the committed words instead of comparing them.
def agreed_prefix(hypotheses):
    agreed = []
    for words in zip(*hypotheses, strict=False):
        if len(set(words)) > 1:
            break
        agreed.append(words[0])
    return agreed


class StablePrefix:
    def update(self, hypothesis):
        self._recent.append(list(hypothesis))
        if len(self._recent) == self._recent.maxlen:
            agreed = agreed_prefix(self._recent)
            if agreed[: len(self.words)] == self.words:
                self.words = agreed
        return list(hypothesis[len(self.words) :])


# %% rewritten compared_with_committed
def agreed_prefix(hypotheses):
    if not hypotheses:
        return []
    length = 0
    while all(length < len(words) and words[length] == hypotheses[0][length] for words in hypotheses):
        length += 1
    return list(hypotheses[0][:length])


class StablePrefix:
    def update(self, hypothesis):
        self._recent.append([*hypothesis])
        if len(self._recent) >= self._recent.maxlen:
            known, agreed = len(self.words), agreed_prefix([*self._recent])
            same = len(agreed) >= known and all(a == b for a, b in zip(agreed, self.words, strict=False))
            self.words += agreed[known:] if same else []
        return [*hypothesis][len(self.words) :]


# %% mutant whole_rest
# The whole hypothesis is returned as the unstable rest, so that the committed words are shown twice. The rest is what lies behind them.
def agreed_prefix(hypotheses):
    agreed = []
    for words in zip(*hypotheses, strict=False):
        if len(set(words)) > 1:
            break
        agreed.append(words[0])
    return agreed


class StablePrefix:
    def update(self, hypothesis):
        self._recent.append(list(hypothesis))
        if len(self._recent) == self._recent.maxlen:
            self.words += agreed_prefix(self._recent)[len(self.words) :]
        return list(hypothesis)


# %% rewritten whole_rest
def agreed_prefix(hypotheses):
    if not hypotheses:
        return []
    length = 0
    while all(length < len(words) and words[length] == hypotheses[0][length] for words in hypotheses):
        length += 1
    return list(hypotheses[0][:length])


class StablePrefix:
    def update(self, hypothesis):
        latest = [word for word in hypothesis]
        self._recent.append(latest)
        if len(self._recent) >= self._recent.maxlen:
            self.words.extend(agreed_prefix([*self._recent])[len(self.words) :])
        return latest[:]
