# %% sorted_python
def choose_utterances(lengths, share, order, seed):
    numbers = range(len(lengths))
    keys = lengths if order == "short" else np.random.default_rng(seed).random(len(lengths))
    ranked = sorted(numbers, key=lambda number: keys[number])
    return sorted(ranked[: math.ceil(share * len(lengths))])


# %% mask
def choose_utterances(lengths, share, order, seed):
    n = len(lengths)
    keys = np.asarray(lengths, dtype=float) if order == "short" else np.random.default_rng([seed, 7]).normal(size=n)
    rank = np.empty(n, dtype=int)
    rank[np.argsort(keys, kind="stable")] = np.arange(n)
    return np.flatnonzero(rank < math.ceil(share * n)).tolist()
