# %% mutant never_unfrozen
# What matches rests, but what no longer matches is not told to learn again. An unfreezing that does nothing goes unnoticed:
# the loss falls, because the rest of the model learns.
def freeze(model, patterns):
    frozen = []
    for name, parameter in model.named_parameters():
        if any(re.search(pattern, name) for pattern in patterns):
            parameter.requires_grad_(False)
            frozen.append(name)
    return frozen


# %% rewritten never_unfrozen
def freeze(model, patterns):
    named = dict(model.named_parameters())
    frozen = [name for name in named if re.search("|".join(patterns) or "(?!)", name)]
    for name in frozen:
        named[name].requires_grad = False
    return frozen


# %% mutant inverted
# It is the other way round: what matches learns, and everything else rests. requires_grad True means "learns".
def freeze(model, patterns):
    frozen = []
    for name, parameter in model.named_parameters():
        matches = any(re.search(pattern, name) for pattern in patterns)
        parameter.requires_grad_(matches)
        if matches:
            frozen.append(name)
    return frozen


# %% rewritten inverted
def freeze(model, patterns):
    found = [name for name, _ in model.named_parameters() if [1 for pattern in patterns if re.search(pattern, name)]]
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name in found
    return found


# %% mutant from_the_beginning
# A pattern is only found at the beginning of a name (re.match). Names begin with encoder or decoder, so norm1 or embedding
# match nothing. re.search finds a pattern anywhere; whoever wants the beginning writes ^.
def freeze(model, patterns):
    frozen = []
    for name, parameter in model.named_parameters():
        rests = any(re.match(pattern, name) for pattern in patterns)
        parameter.requires_grad_(not rests)
        if rests:
            frozen.append(name)
    return frozen


# %% rewritten from_the_beginning
def freeze(model, patterns):
    names = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad = True
        for pattern in patterns:
            found = re.search(pattern, name)
            if found and found.start() == 0:
                parameter.requires_grad = False
        if not parameter.requires_grad:
            names.append(name)
    return names


# %% mutant all_patterns
# A parameter rests only if all patterns match its name. Each pattern names a group of its own: one that matches is enough.
# And with no pattern at all, "all of none" is true: everything rests.
def freeze(model, patterns):
    frozen = []
    for name, parameter in model.named_parameters():
        rests = all(re.search(pattern, name) for pattern in patterns)
        parameter.requires_grad_(not rests)
        if rests:
            frozen.append(name)
    return frozen


# %% rewritten all_patterns
def freeze(model, patterns):
    frozen = []
    for name, parameter in model.named_parameters():
        learns = False
        for pattern in patterns:
            if not re.search(pattern, name):
                learns = True
        parameter.requires_grad = learns
        frozen += [] if learns else [name]
    return frozen


# %% mutant nothing_returned
# The names of what rests are not returned, so neither the log nor a test can say what this stage trains.
def freeze(model, patterns):
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(re.search(pattern, name) for pattern in patterns))


# %% rewritten nothing_returned
def freeze(model, patterns):
    rests = re.compile("|".join(f"(?:{pattern})" for pattern in patterns) or "(?!)")
    for name, parameter in model.named_parameters():
        parameter.requires_grad = rests.search(name) is None
