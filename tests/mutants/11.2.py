# %% mutant always_on_top
# New layers go to the top whatever was asked for. For "between" they stand behind the old layers that they are spread over.
def places_of_new(old, depth, place="top"):
    return list(range(old, depth))


def grow_stack(layers, depth, make, place="top"):
    grown = nn.ModuleList(list(layers))
    while len(grown) < depth:
        grown.append(make_identity(make() if place == "top" else copy.deepcopy(grown[-1])))
    return grown


# %% rewritten always_on_top
def places_of_new(old, depth, place="top"):
    return [old + k for k in range(depth - old)]


def grow_stack(layers, depth, make, place="top"):
    stack = [*layers]
    for _ in range(depth - len(stack)):
        new = make() if place == "top" else copy.deepcopy(stack[-1])
        stack += [make_identity(new)]
    return nn.ModuleList(stack)


# %% mutant old_ones_copied
# The old layers of the grown stack are copies. Their weights are the same, so nothing is seen at first; but the optimiser
# holds the parameters of the originals, and from now on trains layers that are no longer in the model.
def places_of_new(old, depth, place="top"):
    new = depth - old
    return list(range(old, depth)) if place == "top" else [k * old // new + k + 1 for k in range(new)]


def grow_stack(layers, depth, make, place="top"):
    old = iter(copy.deepcopy(layers))
    new = places_of_new(len(layers), depth, place)
    grown = nn.ModuleList()
    for index in range(depth):
        if index in new:
            grown.append(make_identity(make() if place == "top" else copy.deepcopy(grown[-1])))
        else:
            grown.append(next(old))
    return grown


# %% rewritten old_ones_copied
def places_of_new(old, depth, place="top"):
    if place == "top":
        return [*range(old, depth)]
    return [k + 1 + (k * old) // (depth - old) for k in range(depth - old)]


def grow_stack(layers, depth, make, place="top"):
    stack = [copy.deepcopy(layer) for layer in layers]
    for index in places_of_new(len(layers), depth, place):
        stack.insert(index, make_identity(make() if place == "top" else copy.deepcopy(stack[index - 1])))
    return nn.ModuleList(stack)


# %% mutant same_layer_twice
# Between the old layers stands not a copy but the same layer again. Both places then share their weights, the identity
# wipes out what the old layer had learnt, and each step trains it twice.
def places_of_new(old, depth, place="top"):
    new = depth - old
    return list(range(old, depth)) if place == "top" else [k * old // new + k + 1 for k in range(new)]


def grow_stack(layers, depth, make, place="top"):
    old = iter(layers)
    new = places_of_new(len(layers), depth, place)
    grown = nn.ModuleList()
    for index in range(depth):
        if index in new:
            grown.append(make_identity(make() if place == "top" else grown[-1]))
        else:
            grown.append(next(old))
    return grown


# %% rewritten same_layer_twice
def places_of_new(old, depth, place="top"):
    if place == "top":
        return [*range(old, depth)]
    return [k + 1 + (k * old) // (depth - old) for k in range(depth - old)]


def grow_stack(layers, depth, make, place="top"):
    stack = [*layers]
    for index in places_of_new(len(layers), depth, place):
        stack.insert(index, make_identity(make() if place == "top" else stack[index - 1]))
    return nn.ModuleList(stack)


# %% mutant no_identity
# New layers come in as they are. A random layer in a trained stack garbles what the layers above it have learnt to read:
# the loss jumps, and part of what was learnt is lost before it comes down again.
def places_of_new(old, depth, place="top"):
    new = depth - old
    return list(range(old, depth)) if place == "top" else [k * old // new + k + 1 for k in range(new)]


def grow_stack(layers, depth, make, place="top"):
    old = iter(layers)
    new = places_of_new(len(layers), depth, place)
    grown = nn.ModuleList()
    for index in range(depth):
        if index in new:
            grown.append(make() if place == "top" else copy.deepcopy(grown[-1]))
        else:
            grown.append(next(old))
    return grown


# %% rewritten no_identity
def places_of_new(old, depth, place="top"):
    if place == "top":
        return [*range(old, depth)]
    return [k + 1 + (k * old) // (depth - old) for k in range(depth - old)]


def grow_stack(layers, depth, make, place="top"):
    stack = [*layers]
    for index in places_of_new(len(layers), depth, place):
        stack.insert(index, make() if place == "top" else copy.deepcopy(stack[index - 1]))
    return nn.ModuleList(stack)


# %% mutant identity_for_all
# The whole stack becomes the identity, the old layers with it: all that they had learnt is gone.
def places_of_new(old, depth, place="top"):
    new = depth - old
    return list(range(old, depth)) if place == "top" else [k * old // new + k + 1 for k in range(new)]


def grow_stack(layers, depth, make, place="top"):
    old = iter(layers)
    new = places_of_new(len(layers), depth, place)
    grown = nn.ModuleList()
    for index in range(depth):
        if index in new:
            grown.append(make() if place == "top" else copy.deepcopy(grown[-1]))
        else:
            grown.append(next(old))
    make_identity(grown)
    return grown


# %% rewritten identity_for_all
def places_of_new(old, depth, place="top"):
    if place == "top":
        return [*range(old, depth)]
    return [k + 1 + (k * old) // (depth - old) for k in range(depth - old)]


def grow_stack(layers, depth, make, place="top"):
    stack = [*layers]
    for index in places_of_new(len(layers), depth, place):
        stack.insert(index, make() if place == "top" else copy.deepcopy(stack[index - 1]))
    return nn.ModuleList(make_identity(layer) for layer in stack)
