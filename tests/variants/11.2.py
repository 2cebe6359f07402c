# %% insert
def places_of_new(old, depth, place="top"):
    if place == "top":
        return [*range(old, depth)]
    places, added = [], depth - old
    for k in range(added):
        behind = (k * old) // added
        places.append(behind + 1 + k)
    return places


def grow_stack(layers, depth, make, place="top"):
    stack = [*layers]
    for index in places_of_new(len(stack), depth, place):
        source = make() if place == "top" else copy.deepcopy(stack[index - 1])
        stack.insert(index, make_identity(source))
    return nn.ModuleList(stack)


# %% by_old_layer
def places_of_new(old, depth, place="top"):
    added = depth - old
    followers = [0] * old
    for k in range(added):
        followers[old - 1 if place == "top" else k * old // added] += 1
    kinds = [new for count in followers for new in [False] + [True] * count]
    return [index for index, new in enumerate(kinds) if new]


def grow_stack(layers, depth, make, place="top"):
    new, remaining, result = set(places_of_new(len(layers), depth, place)), list(layers)[::-1], []
    while len(result) < depth:
        if len(result) not in new:
            result.append(remaining.pop())
        elif place == "top":
            result.append(make_identity(make()))
        else:
            result.append(make_identity(copy.deepcopy(result[-1])))
    return nn.ModuleList(result)
