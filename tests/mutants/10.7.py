# %% mutant keeps_plain_counts
# The lower order keeps the plain counts. FRANCISCO stays likely behind any word that was never seen before it, since it is
# frequent; that it was met behind SAN alone is forgotten. This is the whole idea of Kneser and Ney.
def continuation_counts(counts, suffix, begins):
    return counts.copy()


def interpolate(counts, history, kept, lower, histories):
    totals = np.bincount(history, weights=counts, minlength=histories)
    taken = discounts(counts)[np.minimum(counts, 3)]
    freed = np.bincount(history, weights=np.where(kept, taken, counts), minlength=histories)
    weights = np.divide(freed, totals, out=np.ones(histories), where=totals > 0)
    own = np.divide(counts - taken, totals[history], out=np.zeros(len(counts)), where=totals[history] > 0)
    return (own + weights[history] * lower, weights)


# %% rewritten keeps_plain_counts
def continuation_counts(counts, suffix, begins):
    return np.array([int(count) for count in counts], dtype=np.int64)


def interpolate(counts, history, kept, lower, histories):
    totals = np.bincount(history, weights=counts, minlength=histories)
    taken = discounts(counts)[np.minimum(counts, 3)]
    freed = np.bincount(history, weights=np.where(kept, taken, counts), minlength=histories)
    weights = np.divide(freed, totals, out=np.ones(histories), where=totals > 0)
    own = np.divide(counts - taken, totals[history], out=np.zeros(len(counts)), where=totals[history] > 0)
    return (own + weights[history] * lower, weights)


# %% mutant beginnings_are_lost
# N-grams at the beginning of a sentence get continuation counts too. Nothing ever stands before them, so these are 0, and
# the model knows nothing about how sentences begin.
def continuation_counts(counts, suffix, begins):
    return np.bincount(suffix, minlength=len(counts))


def interpolate(counts, history, kept, lower, histories):
    totals = np.bincount(history, weights=counts, minlength=histories)
    taken = discounts(counts)[np.minimum(counts, 3)]
    freed = np.bincount(history, weights=np.where(kept, taken, counts), minlength=histories)
    weights = np.divide(freed, totals, out=np.ones(histories), where=totals > 0)
    own = np.divide(counts - taken, totals[history], out=np.zeros(len(counts)), where=totals[history] > 0)
    return (own + weights[history] * lower, weights)


# %% rewritten beginnings_are_lost
def continuation_counts(counts, suffix, begins):
    found = np.zeros(len(counts), dtype=np.int64)
    np.add.at(found, suffix, 1)
    return found


def interpolate(counts, history, kept, lower, histories):
    totals = np.bincount(history, weights=counts, minlength=histories)
    taken = discounts(counts)[np.minimum(counts, 3)]
    freed = np.bincount(history, weights=np.where(kept, taken, counts), minlength=histories)
    weights = np.divide(freed, totals, out=np.ones(histories), where=totals > 0)
    own = np.divide(counts - taken, totals[history], out=np.zeros(len(counts)), where=totals[history] > 0)
    return (own + weights[history] * lower, weights)


# %% mutant gives_nothing_to_the_shorter_history
# The probability of the shorter history is not added. Each history keeps what it discounts, and its probabilities sum to
# less than 1.
def continuation_counts(counts, suffix, begins):
    return np.where(begins, counts, np.bincount(suffix, minlength=len(counts)))


def interpolate(counts, history, kept, lower, histories):
    totals = np.bincount(history, weights=counts, minlength=histories)
    taken = discounts(counts)[np.minimum(counts, 3)]
    freed = np.bincount(history, weights=np.where(kept, taken, counts), minlength=histories)
    weights = np.divide(freed, totals, out=np.ones(histories), where=totals > 0)
    own = np.divide(counts - taken, totals[history], out=np.zeros(len(counts)), where=totals[history] > 0)
    return own, weights


# %% rewritten gives_nothing_to_the_shorter_history
def continuation_counts(counts, suffix, begins):
    return np.where(begins, counts, np.bincount(suffix, minlength=len(counts)))


def interpolate(counts, history, kept, lower, histories):
    taken = discounts(counts)[np.minimum(counts, 3)]
    probs, weights = np.zeros(len(counts)), np.ones(histories)
    for row in range(histories):
        here = np.flatnonzero(history == row)
        total = counts[here].sum()
        if total > 0:
            probs[here] = (counts[here] - taken[here]) / total
            weights[row] = sum(taken[i] if kept[i] else counts[i] for i in here) / total
    return probs, weights


# %% mutant the_left_out_keep_theirs
# An n-gram that is left out gives away its discount only. The rest of its count goes to nobody, and what follows the history
# sums to less than 1.
def continuation_counts(counts, suffix, begins):
    return np.where(begins, counts, np.bincount(suffix, minlength=len(counts)))


def interpolate(counts, history, kept, lower, histories):
    totals = np.bincount(history, weights=counts, minlength=histories)
    taken = discounts(counts)[np.minimum(counts, 3)]
    freed = np.bincount(history, weights=taken, minlength=histories)
    weights = np.divide(freed, totals, out=np.ones(histories), where=totals > 0)
    own = np.divide(counts - taken, totals[history], out=np.zeros(len(counts)), where=totals[history] > 0)
    return own + weights[history] * lower, weights


# %% rewritten the_left_out_keep_theirs
def continuation_counts(counts, suffix, begins):
    return np.where(begins, counts, np.bincount(suffix, minlength=len(counts)))


def interpolate(counts, history, kept, lower, histories):
    taken = discounts(counts)[np.minimum(counts, 3)]
    probs, weights = np.zeros(len(counts)), np.ones(histories)
    for row in range(histories):
        here = np.flatnonzero(history == row)
        total = counts[here].sum()
        if total > 0:
            weights[row] = taken[here].sum() / total
            probs[here] = (counts[here] - taken[here]) / total
        probs[here] += weights[row] * lower[here]
    return probs, weights


# %% mutant nothing_follows_nothing
# A history behind which nothing was seen gives nothing to the shorter one: weight 0 in the place of 1. All words behind it
# are impossible.
def continuation_counts(counts, suffix, begins):
    return np.where(begins, counts, np.bincount(suffix, minlength=len(counts)))


def interpolate(counts, history, kept, lower, histories):
    totals = np.bincount(history, weights=counts, minlength=histories)
    taken = discounts(counts)[np.minimum(counts, 3)]
    freed = np.bincount(history, weights=np.where(kept, taken, counts), minlength=histories)
    weights = np.divide(freed, totals, out=np.zeros(histories), where=totals > 0)
    own = np.divide(counts - taken, totals[history], out=np.zeros(len(counts)), where=totals[history] > 0)
    return own + weights[history] * lower, weights


# %% rewritten nothing_follows_nothing
def continuation_counts(counts, suffix, begins):
    return np.where(begins, counts, np.bincount(suffix, minlength=len(counts)))


def interpolate(counts, history, kept, lower, histories):
    taken = discounts(counts)[np.minimum(counts, 3)]
    probs, weights = np.zeros(len(counts)), np.zeros(histories)
    for row in sorted(set(history.tolist())):
        here = np.flatnonzero(history == row)
        total = counts[here].sum()
        if total > 0:
            weights[row] = sum(taken[i] if kept[i] else counts[i] for i in here) / total
            probs[here] = (counts[here] - taken[here]) / total
        probs[here] += weights[row] * lower[here]
    return probs, weights
