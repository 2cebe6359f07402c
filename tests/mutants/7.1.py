# %% mutant blanks_first
# The blanks are dropped before repeats are merged. Then a blank can no longer keep two equal letters apart: A _ A becomes A A
# and is merged to A, and no word with a double letter can be written.
def collapse(path, blank):
    return [token for token, _ in groupby(token for token in path if token != blank)]


# %% rewritten blanks_first
def collapse(path, blank):
    said = []
    for token in path:
        if token == blank:
            continue
        if not said or said[-1] != token:
            said.append(token)
    return said


# %% mutant not_merged
# Repeats are not merged. A letter lasts for several frames, and each of them writes it again.
def collapse(path, blank):
    return [token for token in path if token != blank]


# %% rewritten not_merged
def collapse(path, blank):
    said = []
    for token in path:
        if token == blank:
            continue
        said.append(token)
    return said


# %% mutant blanks_kept
# The blanks are still there. A blank is no token of the text, it says that a frame adds nothing.
def collapse(path, blank):
    return [token for token, _ in groupby(path)]


# %% rewritten blanks_kept
def collapse(path, blank):
    path = list(path)
    return [token for place, token in enumerate(path) if place == 0 or token != path[place - 1]]


# %% mutant each_token_once
# A token that was said before never comes again, wherever it stands. Only neighbours are merged: A B A says ABA.
def collapse(path, blank):
    return list(dict.fromkeys(token for token in path if token != blank))


# %% rewritten each_token_once
def collapse(path, blank):
    said = []
    for token in path:
        if token not in said and token != blank:
            said.append(token)
    return said


# %% mutant blank_is_zero
# Blank is taken to be 0. Which id it has is the tokenizer's business; it is handed to you as `blank`.
def collapse(path, blank):
    return [token for token, _ in groupby(path) if token != 0]


# %% rewritten blank_is_zero
def collapse(path, blank):
    path = list(path)
    return [token for place, token in enumerate(path) if token and (place == 0 or token != path[place - 1])]
