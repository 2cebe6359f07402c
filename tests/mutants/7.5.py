# %% mutant no_blank_needed
# The last token may follow itself from all paths. From those that end in it already, the same token once more is no
# second one: the frames are merged. AA needs a path that ends in a blank.
def prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank):
    either = np.logaddexp(blank_end, token_end)
    stay_blank = either + log_probs[blank]
    stay_token = token_end + log_probs[last]
    grown = np.repeat(either[:, None], len(tokens), axis=1) + log_probs[tokens]
    for child in np.flatnonzero(parent >= 0):
        mother, token = parent[child], last[child]
        before = either[mother]
        stay_token[child] = np.logaddexp(stay_token[child], before + log_probs[token])
        grown[mother, tokens == token] = NEVER
    return stay_blank, stay_token, grown


# %% rewritten no_blank_needed
import math


def prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank):
    def add(*scores):
        highest = max(scores)
        return highest if highest == NEVER else highest + math.log(sum(math.exp(score - highest) for score in scores))

    n = len(last)
    arriving = [NEVER] * n
    grown = np.full((n, len(tokens)), NEVER)
    home = {(int(parent[i]), int(last[i])): i for i in range(n) if parent[i] >= 0}
    for i in range(n):
        for column, token in enumerate(tokens):
            source = add(blank_end[i], token_end[i])
            grown[i, column] = NEVER if (i, int(token)) in home else source + log_probs[token]
    for (mother, token), child in home.items():
        arriving[child] = add(blank_end[mother], token_end[mother]) + log_probs[token]
    stay_blank = np.array([add(blank_end[i], token_end[i]) + log_probs[blank] for i in range(n)])
    stay_token = np.array([add(token_end[i] + log_probs[last[i]], arriving[i]) for i in range(n)])
    return stay_blank, stay_token, grown


# %% mutant no_double_letters
# A prefix cannot grow by its own last token at all. Behind a blank it can: that is how LL in HELLO is said.
def prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank):
    either = np.logaddexp(blank_end, token_end)
    stay_blank = either + log_probs[blank]
    stay_token = token_end + log_probs[last]
    grown = np.where(last[:, None] == tokens, NEVER, either[:, None]) + log_probs[tokens]
    for child in np.flatnonzero(parent >= 0):
        mother, token = parent[child], last[child]
        before = NEVER if last[mother] == token else either[mother]
        stay_token[child] = np.logaddexp(stay_token[child], before + log_probs[token])
        grown[mother, tokens == token] = NEVER
    return stay_blank, stay_token, grown


# %% rewritten no_double_letters
import math


def prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank):
    def add(*scores):
        highest = max(scores)
        return highest if highest == NEVER else highest + math.log(sum(math.exp(score - highest) for score in scores))

    n = len(last)
    arriving = [NEVER] * n
    grown = np.full((n, len(tokens)), NEVER)
    home = {(int(parent[i]), int(last[i])): i for i in range(n) if parent[i] >= 0}
    for i in range(n):
        for column, token in enumerate(tokens):
            source = NEVER if token == last[i] else add(blank_end[i], token_end[i])
            grown[i, column] = NEVER if (i, int(token)) in home else source + log_probs[token]
    for (mother, token), child in home.items():
        if token != last[mother]:
            arriving[child] = add(blank_end[mother], token_end[mother]) + log_probs[token]
    stay_blank = np.array([add(blank_end[i], token_end[i]) + log_probs[blank] for i in range(n)])
    stay_token = np.array([add(token_end[i] + log_probs[last[i]], arriving[i]) for i in range(n)])
    return stay_blank, stay_token, grown


# %% mutant not_joined
# A prefix that grows into one that is in the beam already is not joined with it. The same text then stands in the beam
# twice, each with a part of its probability.
def prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank):
    either = np.logaddexp(blank_end, token_end)
    stay_blank = either + log_probs[blank]
    stay_token = token_end + log_probs[last]
    grown = np.where(last[:, None] == tokens, blank_end[:, None], either[:, None]) + log_probs[tokens]
    return stay_blank, stay_token, grown


# %% rewritten not_joined
import math


def prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank):
    def add(*scores):
        highest = max(scores)
        return highest if highest == NEVER else highest + math.log(sum(math.exp(score - highest) for score in scores))

    n = len(last)
    arriving = [NEVER] * n
    grown = np.full((n, len(tokens)), NEVER)
    home = {(int(parent[i]), int(last[i])): i for i in range(n) if parent[i] >= 0}
    for i in range(n):
        for column, token in enumerate(tokens):
            source = blank_end[i] if token == last[i] else add(blank_end[i], token_end[i])
            grown[i, column] = source + log_probs[token]
    stay_blank = np.array([add(blank_end[i], token_end[i]) + log_probs[blank] for i in range(n)])
    stay_token = np.array([add(token_end[i] + log_probs[last[i]], arriving[i]) for i in range(n)])
    return stay_blank, stay_token, grown


# %% mutant counted_twice
# Paths that grow into a prefix of the beam are added to it, and stay behind as a new prefix as well: they are counted
# twice.
def prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank):
    either = np.logaddexp(blank_end, token_end)
    stay_blank = either + log_probs[blank]
    stay_token = token_end + log_probs[last]
    grown = np.where(last[:, None] == tokens, blank_end[:, None], either[:, None]) + log_probs[tokens]
    for child in np.flatnonzero(parent >= 0):
        mother, token = parent[child], last[child]
        before = blank_end[mother] if last[mother] == token else either[mother]
        stay_token[child] = np.logaddexp(stay_token[child], before + log_probs[token])
    return stay_blank, stay_token, grown


# %% rewritten counted_twice
import math


def prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank):
    def add(*scores):
        highest = max(scores)
        return highest if highest == NEVER else highest + math.log(sum(math.exp(score - highest) for score in scores))

    n = len(last)
    arriving = [NEVER] * n
    grown = np.full((n, len(tokens)), NEVER)
    home = {(int(parent[i]), int(last[i])): i for i in range(n) if parent[i] >= 0}
    for i in range(n):
        for column, token in enumerate(tokens):
            source = blank_end[i] if token == last[i] else add(blank_end[i], token_end[i])
            grown[i, column] = source + log_probs[token]
    for (mother, token), child in home.items():
        source = blank_end[mother] if token == last[mother] else add(blank_end[mother], token_end[mother])
        arriving[child] = source + log_probs[token]
    stay_blank = np.array([add(blank_end[i], token_end[i]) + log_probs[blank] for i in range(n)])
    stay_token = np.array([add(token_end[i] + log_probs[last[i]], arriving[i]) for i in range(n)])
    return stay_blank, stay_token, grown


# %% mutant lost
# Paths that grow into a prefix of the beam are taken out of the new ones, but never added to that prefix: their
# probability is lost.
def prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank):
    either = np.logaddexp(blank_end, token_end)
    stay_blank = either + log_probs[blank]
    stay_token = token_end + log_probs[last]
    grown = np.where(last[:, None] == tokens, blank_end[:, None], either[:, None]) + log_probs[tokens]
    for child in np.flatnonzero(parent >= 0):
        mother, token = parent[child], last[child]
        grown[mother, tokens == token] = NEVER
    return stay_blank, stay_token, grown


# %% rewritten lost
import math


def prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank):
    def add(*scores):
        highest = max(scores)
        return highest if highest == NEVER else highest + math.log(sum(math.exp(score - highest) for score in scores))

    n = len(last)
    arriving = [NEVER] * n
    grown = np.full((n, len(tokens)), NEVER)
    home = {(int(parent[i]), int(last[i])): i for i in range(n) if parent[i] >= 0}
    for i in range(n):
        for column, token in enumerate(tokens):
            source = blank_end[i] if token == last[i] else add(blank_end[i], token_end[i])
            grown[i, column] = NEVER if (i, int(token)) in home else source + log_probs[token]
    stay_blank = np.array([add(blank_end[i], token_end[i]) + log_probs[blank] for i in range(n)])
    stay_token = np.array([add(token_end[i] + log_probs[last[i]], arriving[i]) for i in range(n)])
    return stay_blank, stay_token, grown


# %% mutant blank_after_blank_only
# A blank is read only by paths that end in a blank. It can follow a token just as well.
def prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank):
    either = np.logaddexp(blank_end, token_end)
    stay_blank = blank_end + log_probs[blank]
    stay_token = token_end + log_probs[last]
    grown = np.where(last[:, None] == tokens, blank_end[:, None], either[:, None]) + log_probs[tokens]
    for child in np.flatnonzero(parent >= 0):
        mother, token = parent[child], last[child]
        before = blank_end[mother] if last[mother] == token else either[mother]
        stay_token[child] = np.logaddexp(stay_token[child], before + log_probs[token])
        grown[mother, tokens == token] = NEVER
    return stay_blank, stay_token, grown


# %% rewritten blank_after_blank_only
import math


def prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank):
    def add(*scores):
        highest = max(scores)
        return highest if highest == NEVER else highest + math.log(sum(math.exp(score - highest) for score in scores))

    n = len(last)
    arriving = [NEVER] * n
    grown = np.full((n, len(tokens)), NEVER)
    home = {(int(parent[i]), int(last[i])): i for i in range(n) if parent[i] >= 0}
    for i in range(n):
        for column, token in enumerate(tokens):
            source = blank_end[i] if token == last[i] else add(blank_end[i], token_end[i])
            grown[i, column] = NEVER if (i, int(token)) in home else source + log_probs[token]
    for (mother, token), child in home.items():
        source = blank_end[mother] if token == last[mother] else add(blank_end[mother], token_end[mother])
        arriving[child] = source + log_probs[token]
    stay_blank = np.array([blank_end[i] + log_probs[blank] for i in range(n)])
    stay_token = np.array([add(token_end[i] + log_probs[last[i]], arriving[i]) for i in range(n)])
    return stay_blank, stay_token, grown


# %% mutant best_in_place_of_sum
# The better of two ways is taken where their sum belongs. The search is then for a single path, and what makes a prefix
# beam better than the best path is lost.
def prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank):
    either = np.maximum(blank_end, token_end)
    stay_blank = either + log_probs[blank]
    stay_token = token_end + log_probs[last]
    grown = np.where(last[:, None] == tokens, blank_end[:, None], either[:, None]) + log_probs[tokens]
    for child in np.flatnonzero(parent >= 0):
        mother, token = parent[child], last[child]
        before = blank_end[mother] if last[mother] == token else either[mother]
        stay_token[child] = max(stay_token[child], before + log_probs[token])
        grown[mother, tokens == token] = NEVER
    return stay_blank, stay_token, grown


# %% rewritten best_in_place_of_sum
import math


def prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank):
    def add(*scores):
        highest = max(scores)
        return highest if highest == NEVER else highest

    n = len(last)
    arriving = [NEVER] * n
    grown = np.full((n, len(tokens)), NEVER)
    home = {(int(parent[i]), int(last[i])): i for i in range(n) if parent[i] >= 0}
    for i in range(n):
        for column, token in enumerate(tokens):
            source = blank_end[i] if token == last[i] else add(blank_end[i], token_end[i])
            grown[i, column] = NEVER if (i, int(token)) in home else source + log_probs[token]
    for (mother, token), child in home.items():
        source = blank_end[mother] if token == last[mother] else add(blank_end[mother], token_end[mother])
        arriving[child] = source + log_probs[token]
    stay_blank = np.array([add(blank_end[i], token_end[i]) + log_probs[blank] for i in range(n)])
    stay_token = np.array([add(token_end[i] + log_probs[last[i]], arriving[i]) for i in range(n)])
    return stay_blank, stay_token, grown


# %% mutant reads_what_it_has_written
# The numbers of a prefix are overwritten before longer prefixes have read them: what a prefix hands on is what it had *before* this frame.
# Keep old and new apart.
def prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank):
    either = np.logaddexp(blank_end, token_end)
    grown = np.where(last[:, None] == tokens, blank_end[:, None], either[:, None]) + log_probs[tokens]
    blank_end = either + log_probs[blank]
    token_end = token_end + log_probs[last]
    for child in np.flatnonzero(parent >= 0):
        mother, token = parent[child], last[child]
        before = blank_end[mother] if last[mother] == token else either[mother]
        token_end[child] = np.logaddexp(token_end[child], before + log_probs[token])
        grown[mother, tokens == token] = NEVER
    return blank_end, token_end, grown


# %% rewritten reads_what_it_has_written
import math


def prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank):
    def add(*scores):
        highest = max(scores)
        return highest if highest == NEVER else highest + math.log(sum(math.exp(score - highest) for score in scores))

    n = len(last)
    either = [add(blank_end[i], token_end[i]) for i in range(n)]
    grown = np.full((n, len(tokens)), NEVER)
    home = {(int(parent[i]), int(last[i])): i for i in range(n) if parent[i] >= 0}
    for i in range(n):
        for column, token in enumerate(tokens):
            source = blank_end[i] if token == last[i] else either[i]
            grown[i, column] = NEVER if (i, int(token)) in home else source + log_probs[token]
    for i in range(n):
        blank_end[i] = either[i] + log_probs[blank]
        token_end[i] += log_probs[last[i]]
    for (mother, token), child in home.items():
        source = blank_end[mother] if token == last[mother] else either[mother]
        token_end[child] = add(token_end[child], source + log_probs[token])
    return blank_end, token_end, grown


# %% mutant joined_only_where_tried
# Prefixes of the beam are joined only by the tokens that are tried in this frame. A prefix that is in the beam already gets its share from
# the one before it in each frame, whether its last token is among `tokens` or not.
def prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank):
    either = np.logaddexp(blank_end, token_end)
    stay_blank = either + log_probs[blank]
    stay_token = token_end + log_probs[last]
    grown = np.where(last[:, None] == tokens, blank_end[:, None], either[:, None]) + log_probs[tokens]
    for child in np.flatnonzero(parent >= 0):
        for column in np.flatnonzero(tokens == last[child]):
            stay_token[child] = np.logaddexp(stay_token[child], grown[parent[child], column])
            grown[parent[child], column] = NEVER
    return stay_blank, stay_token, grown


# %% rewritten joined_only_where_tried
import math


def prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank):
    def add(*scores):
        highest = max(scores)
        return highest if highest == NEVER else highest + math.log(sum(math.exp(score - highest) for score in scores))

    n = len(last)
    stay_token = np.array([token_end[i] + log_probs[last[i]] for i in range(n)])
    grown = np.full((n, len(tokens)), NEVER)
    home = {(int(parent[i]), int(last[i])): i for i in range(n) if parent[i] >= 0}
    for i in range(n):
        for column, token in enumerate(tokens):
            source = blank_end[i] if token == last[i] else add(blank_end[i], token_end[i])
            child = home.get((i, int(token)))
            if child is None:
                grown[i, column] = source + log_probs[token]
            else:
                stay_token[child] = add(stay_token[child], source + log_probs[token])
    stay_blank = np.array([add(blank_end[i], token_end[i]) + log_probs[blank] for i in range(n)])
    return stay_blank, stay_token, grown
