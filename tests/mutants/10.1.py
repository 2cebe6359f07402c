# %% mutant words_count_once
# Each word is counted once, however often it occurs. Pairs of rare words then weigh as much as those of THE, and the
# pieces that are learnt fit the dictionary, not the text.
def count_pairs(words):
    pairs = Counter()
    for pieces in words:
        for pair in zip(pieces, pieces[1:], strict=False):
            pairs[pair] += 1
    return pairs


def merge_pair(pieces, pair):
    merged: list[str] = []
    place = 0
    while place < len(pieces):
        if tuple(pieces[place:place + 2]) == pair:
            merged.append(pair[0] + pair[1])
            place += 2
        else:
            merged.append(pieces[place])
            place += 1
    return tuple(merged)


# %% rewritten words_count_once
def count_pairs(words):
    return Counter((p[i], p[i + 1]) for p in words for i in range(len(p) - 1))


def merge_pair(pieces, pair):
    merged: list[str] = []
    place = 0
    while place < len(pieces):
        if tuple(pieces[place:place + 2]) == pair:
            merged.append(pair[0] + pair[1])
            place += 2
        else:
            merged.append(pieces[place])
            place += 1
    return tuple(merged)


# %% mutant once_in_a_word
# A pair that stands twice in a word is counted once. Merging it gets rid of both, so both have to count.
def count_pairs(words):
    pairs = Counter()
    for pieces, count in words.items():
        for pair in set(zip(pieces, pieces[1:], strict=False)):
            pairs[pair] += count
    return pairs


def merge_pair(pieces, pair):
    merged: list[str] = []
    place = 0
    while place < len(pieces):
        if tuple(pieces[place:place + 2]) == pair:
            merged.append(pair[0] + pair[1])
            place += 2
        else:
            merged.append(pieces[place])
            place += 1
    return tuple(merged)


# %% rewritten once_in_a_word
def count_pairs(words):
    found = Counter()
    for pieces, count in words.items():
        seen = []
        for i in range(1, len(pieces)):
            pair = (pieces[i - 1], pieces[i])
            if pair not in seen:
                seen.append(pair)
                found[pair] = found[pair] + count
    return found


def merge_pair(pieces, pair):
    merged: list[str] = []
    place = 0
    while place < len(pieces):
        if tuple(pieces[place:place + 2]) == pair:
            merged.append(pair[0] + pair[1])
            place += 2
        else:
            merged.append(pieces[place])
            place += 1
    return tuple(merged)


# %% mutant merges_only_the_first
# Only the first place where the pair stands is merged. The rest of the word keeps the two pieces, and the same pair is the
# most frequent one again.
def count_pairs(words):
    pairs: Counter[Pair] = Counter()
    for pieces, count in words.items():
        for pair in zip(pieces, pieces[1:], strict=False):
            pairs[pair] += count
    return pairs


def merge_pair(pieces, pair):
    pieces = list(pieces)
    for place in range(len(pieces) - 1):
        if (pieces[place], pieces[place + 1]) == pair:
            return tuple(pieces[:place] + [pair[0] + pair[1]] + pieces[place + 2 :])
    return tuple(pieces)


# %% rewritten merges_only_the_first
def count_pairs(words):
    pairs: Counter[Pair] = Counter()
    for pieces, count in words.items():
        for pair in zip(pieces, pieces[1:], strict=False):
            pairs[pair] += count
    return pairs


def merge_pair(pieces, pair):
    merged, done, place = [], False, 0
    while place < len(pieces):
        if not done and place + 1 < len(pieces) and pieces[place] == pair[0] and pieces[place + 1] == pair[1]:
            merged.append("".join(pair))
            done = True
            place += 1
        else:
            merged.append(pieces[place])
        place += 1
    return tuple(merged)


# %% mutant uses_a_piece_twice
# A piece that has been merged is looked at again as the first of the next pair. In A A A the middle letter is used for two
# pieces, and the word has become longer than it was.
def count_pairs(words):
    pairs: Counter[Pair] = Counter()
    for pieces, count in words.items():
        for pair in zip(pieces, pieces[1:], strict=False):
            pairs[pair] += count
    return pairs


def merge_pair(pieces, pair):
    merged = []
    for place in range(len(pieces)):
        if tuple(pieces[place : place + 2]) == pair:
            merged.append(pair[0] + pair[1])
        elif place == 0 or tuple(pieces[place - 1 : place + 1]) != pair:
            merged.append(pieces[place])
    return tuple(merged)


# %% rewritten uses_a_piece_twice
def count_pairs(words):
    pairs: Counter[Pair] = Counter()
    for pieces, count in words.items():
        for pair in zip(pieces, pieces[1:], strict=False):
            pairs[pair] += count
    return pairs


def merge_pair(pieces, pair):
    n = len(pieces)
    hits = [i for i in range(n - 1) if pieces[i] == pair[0] and pieces[i + 1] == pair[1]]
    swallowed = {i + 1 for i in hits} - set(hits)
    return tuple("".join(pair) if i in hits else pieces[i] for i in range(n) if i not in swallowed)


# %% mutant loses_the_last_piece
# The loop ends one place too early, as it does where only pairs are looked at. A last piece that is not part of a pair is
# lost, and with it a letter of the text.
def count_pairs(words):
    pairs: Counter[Pair] = Counter()
    for pieces, count in words.items():
        for pair in zip(pieces, pieces[1:], strict=False):
            pairs[pair] += count
    return pairs


def merge_pair(pieces, pair):
    merged, place = [], 0
    while place < len(pieces) - 1:
        if tuple(pieces[place : place + 2]) == pair:
            merged.append(pair[0] + pair[1])
            place += 2
        else:
            merged.append(pieces[place])
            place += 1
    return tuple(merged)


# %% rewritten loses_the_last_piece
def count_pairs(words):
    pairs: Counter[Pair] = Counter()
    for pieces, count in words.items():
        for pair in zip(pieces, pieces[1:], strict=False):
            pairs[pair] += count
    return pairs


def merge_pair(pieces, pair):
    merged = []
    skip = False
    for left, right in zip(pieces, pieces[1:]):
        if skip:
            skip = False
        elif (left, right) == pair:
            merged.append(left + right)
            skip = True
        else:
            merged.append(left)
    return tuple(merged)


# %% mutant merges_inside_pieces
# The word is searched as a string with gaps. There the pair A B is also found at the end of XA and the beginning of BY: parts
# of pieces are merged that never were that pair.
def count_pairs(words):
    pairs: Counter[Pair] = Counter()
    for pieces, count in words.items():
        for pair in zip(pieces, pieces[1:], strict=False):
            pairs[pair] += count
    return pairs


def merge_pair(pieces, pair):
    return tuple(" ".join(pieces).replace(" ".join(pair), "".join(pair)).split(" "))


# %% rewritten merges_inside_pieces
def count_pairs(words):
    pairs: Counter[Pair] = Counter()
    for pieces, count in words.items():
        for pair in zip(pieces, pieces[1:], strict=False):
            pairs[pair] += count
    return pairs


def merge_pair(pieces, pair):
    import re

    return tuple(re.sub(re.escape(f"{pair[0]} {pair[1]}"), lambda found: found.group().replace(" ", ""), " ".join(pieces)).split())
