# %% one_walk
def collapse(path, blank):
    said, before = [], None
    for token in path:
        if token not in (before, blank):
            said.append(token)
        before = token
    return said


# %% pairs
def collapse(path, blank):
    path = list(path)
    return [now for now, before in zip(path, [None, *path], strict=False) if now != before and now != blank]
