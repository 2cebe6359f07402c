# %% slices
def count_pairs(words):
    pairs = Counter()
    for pieces, count in words.items():
        for left in range(len(pieces) - 1):
            pairs.update({tuple(pieces[left : left + 2]): count})
    return pairs


def merge_pair(pieces, pair):
    out = []
    waiting = list(pieces)
    while waiting:
        first = waiting.pop(0)
        if waiting and first == pair[0] and waiting[0] == pair[1]:
            first += waiting.pop(0)
        out.append(first)
    return tuple(out)


# %% recursion
def count_pairs(words):
    total = Counter()
    for pieces, count in words.items():
        own = Counter(zip(pieces[:-1], pieces[1:]))
        total += Counter({pair: n * count for pair, n in own.items()})
    return total


def merge_pair(pieces, pair):
    pieces = tuple(pieces)
    if len(pieces) < 2:
        return pieces
    if pieces[:2] == tuple(pair):
        return ("".join(pair), *merge_pair(pieces[2:], pair))
    return (pieces[0], *merge_pair(pieces[1:], pair))
