# %% add_at
def continuation_counts(counts, suffix, begins):
    found = np.zeros(len(counts), dtype=np.int64)
    np.add.at(found, suffix, 1)
    found[begins] = counts[begins]
    return found


def interpolate(counts, history, kept, lower, histories):
    table = discounts(counts)
    taken = np.where(counts >= 3, table[3], np.where(counts == 2, table[2], np.where(counts == 1, table[1], 0.0)))
    totals, given = np.zeros(histories), np.zeros(histories)
    np.add.at(totals, history, counts)
    np.add.at(given, history, np.where(kept, taken, counts))
    weights = np.where(totals > 0, given / np.maximum(totals, 1), 1.0)
    own = np.where(totals[history] > 0, (counts - taken) / np.maximum(totals[history], 1), 0.0)
    return own + weights[history] * lower, weights


# %% loop
def continuation_counts(counts, suffix, begins):
    contexts = [0] * len(counts)
    for row in suffix.tolist():
        contexts[row] += 1
    return np.array([int(c) if b else n for c, b, n in zip(counts, begins, contexts)])


def interpolate(counts, history, kept, lower, histories):
    taken = discounts(counts)[np.minimum(counts, 3)]
    order = np.argsort(history, kind="stable")
    edges = np.searchsorted(history[order], np.arange(histories + 1))
    probs, weights = np.zeros(len(counts)), np.ones(histories)
    for row in range(histories):
        here = order[edges[row] : edges[row + 1]]
        total = counts[here].sum()
        if total > 0:
            weights[row] = (taken[here] * kept[here] + counts[here] * ~kept[here]).sum() / total
            probs[here] = (counts[here] - taken[here]) / total
        probs[here] += weights[row] * lower[here]
    return probs, weights
