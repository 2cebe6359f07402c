# %% mutant first_ones
# The first utterances of the corpus are taken. A corpus is sorted by speaker, so these are the first few speakers: the model
# learns their voices, and the dev set has others.
def choose_utterances(lengths, share, order, seed):
    count = math.ceil(share * len(lengths))
    if order == "short":
        return sorted(np.argsort(lengths, kind="stable")[:count].tolist())
    return list(range(count))


# %% rewritten first_ones
def choose_utterances(lengths, share, order, seed):
    numbers = list(range(len(lengths)))
    if order == "short":
        numbers.sort(key=lengths.__getitem__)
    return sorted(numbers[: math.ceil(len(numbers) * share)])


# %% mutant longest
# The longest utterances come first, not the shortest. They are the hardest, and the alignment has to be found in them.
def choose_utterances(lengths, share, order, seed):
    count = math.ceil(share * len(lengths))
    if order == "short":
        ranked = np.argsort(-np.asarray(lengths), kind="stable")
    else:
        ranked = np.random.default_rng(seed).permutation(len(lengths))
    return sorted(ranked[:count].tolist())


# %% rewritten longest
def choose_utterances(lengths, share, order, seed):
    count = math.ceil(len(lengths) * share)
    if order == "short":
        ranked = sorted(range(len(lengths)), key=lambda number: (-lengths[number], number))
    else:
        ranked = np.random.default_rng(seed).permutation(len(lengths)).tolist()
    return sorted(ranked[:count])


# %% mutant seed_ignored
# The choice does not depend on the seed. Each call draws other utterances, so a run that was interrupted goes on with
# other data, and a later stage exchanges data where it should add some.
def choose_utterances(lengths, share, order, seed):
    count = math.ceil(share * len(lengths))
    if order == "short":
        ranked = np.argsort(np.asarray(lengths), kind="stable")
    else:
        ranked = np.random.default_rng(0).permutation(len(lengths))
    return sorted(ranked[:count].tolist())


# %% rewritten seed_ignored
def choose_utterances(lengths, share, order, seed):
    ranked = np.random.default_rng(0).permutation(len(lengths)).tolist()
    if order == "short":
        ranked = sorted(range(len(lengths)), key=lengths.__getitem__)
    return sorted(ranked[: math.ceil(len(lengths) * share)])


# %% mutant rounded_down
# The number of utterances is rounded down. A small share of a small corpus is then none at all, and an epoch without
# batches never ends.
def choose_utterances(lengths, share, order, seed):
    count = int(share * len(lengths))
    if order == "short":
        ranked = np.argsort(np.asarray(lengths), kind="stable")
    else:
        ranked = np.random.default_rng(seed).permutation(len(lengths))
    return sorted(ranked[:count].tolist())


# %% rewritten rounded_down
def choose_utterances(lengths, share, order, seed):
    count = math.floor(len(lengths) * share)
    if order == "short":
        ranked = sorted(range(len(lengths)), key=lengths.__getitem__)
    else:
        ranked = list(np.random.default_rng(seed).permutation(len(lengths)))
    return sorted(int(number) for number in ranked[:count])


# %% mutant order_of_choice
# The numbers come in the order of the ranking. They say which utterances are used, not in which order: the sampler makes
# the batches, and whoever compares two choices wants them in one order.
def choose_utterances(lengths, share, order, seed):
    count = math.ceil(share * len(lengths))
    if order == "short":
        ranked = np.argsort(np.asarray(lengths), kind="stable")
    else:
        ranked = np.random.default_rng(seed).permutation(len(lengths))
    return ranked[:count].tolist()


# %% rewritten order_of_choice
def choose_utterances(lengths, share, order, seed):
    if order == "short":
        ranked = sorted(range(len(lengths)), key=lengths.__getitem__)
    else:
        ranked = np.random.default_rng(seed).permutation(len(lengths))
    return [int(number) for number in ranked[: math.ceil(len(lengths) * share)]]
