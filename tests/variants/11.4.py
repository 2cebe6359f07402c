# %% one_pattern
def freeze(model, patterns):
    rests = re.compile("|".join(f"(?:{pattern})" for pattern in patterns) or "(?!)")
    named = dict(model.named_parameters())
    for name, parameter in named.items():
        parameter.requires_grad = rests.search(name) is None
    return [name for name, parameter in named.items() if not parameter.requires_grad]


# %% two_passes
def freeze(model, patterns):
    model.requires_grad_(True)
    names = [name for name, _ in model.named_parameters()]
    matching = {name for pattern in patterns for name in names if re.search(pattern, name)}
    for name in matching:
        model.get_parameter(name).requires_grad = False
    return [name for name in names if name in matching]
