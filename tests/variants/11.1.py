# %% by_name
@torch.no_grad()
def make_identity(layer):
    for name, parameter in layer.named_parameters():
        *_, owner, _ = ("", *name.split("."))
        if owner in OUTPUTS.values():
            parameter.fill_(0.0)
    return layer


# %% apply
@torch.no_grad()
def make_identity(layer):
    def silence(module):
        name = next((attribute for kind, attribute in OUTPUTS.items() if isinstance(module, kind)), None)
        if name is not None:
            for parameter in getattr(module, name).parameters():
                nn.init.zeros_(parameter)

    return layer.apply(silence)
