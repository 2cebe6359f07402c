# %% mutant bias_forgotten
# The weights of the last projections are zero, their biases are not. A bias is added at every position, so the layer still
# shifts the residual stream, and the loss jumps when the layer comes in.
@torch.no_grad()
def make_identity(layer):
    for module in layer.modules():
        for kind, name in OUTPUTS.items():
            if isinstance(module, kind):
                getattr(module, name).weight.zero_()
    return layer


# %% rewritten bias_forgotten
@torch.no_grad()
def make_identity(layer):
    endings = tuple(f"{name}.weight" for name in OUTPUTS.values())
    for name, parameter in layer.named_parameters():
        if name.endswith(endings):
            parameter.mul_(0)
    return layer


# %% mutant everything_zero
# All weights of the layer are zero. It does pass on what it gets, but it cannot learn: the gradient of each projection is
# a product with what comes out of the others, and that is zero as well, at this step and at every later one. Only the last
# biases ever move.
@torch.no_grad()
def make_identity(layer):
    for parameter in layer.parameters():
        parameter.zero_()
    return layer


# %% rewritten everything_zero
@torch.no_grad()
def make_identity(layer):
    layer.load_state_dict({name: torch.zeros_like(value) for name, value in layer.state_dict().items()})
    return layer


# %% mutant only_attention
# Only the attention gives zero. Every sublayer adds its output to the stream, the feed-forward block and the convolution
# too: look at all that OUTPUTS names.
@torch.no_grad()
def make_identity(layer):
    for module in layer.modules():
        if isinstance(module, MultiHeadAttention):
            nn.init.zeros_(module.out_proj.weight)
            if module.out_proj.bias is not None:
                nn.init.zeros_(module.out_proj.bias)
    return layer


# %% rewritten only_attention
@torch.no_grad()
def make_identity(layer):
    for name, parameter in layer.named_parameters():
        if ".out_proj." in f".{name}":
            parameter.fill_(0.0)
    return layer


# %% mutant convolution_forgotten
# The convolution of a ConvEncoderLayer still speaks. It is a third sublayer between the other two, and its last projection
# is called project.
@torch.no_grad()
def make_identity(layer):
    for module in layer.modules():
        projection = None
        if isinstance(module, MultiHeadAttention):
            projection = module.out_proj
        elif isinstance(module, FeedForward):
            projection = module.linear2
        if projection is not None:
            projection.weight.zero_()
            if projection.bias is not None:
                projection.bias.zero_()
    return layer


# %% rewritten convolution_forgotten
@torch.no_grad()
def make_identity(layer):
    for name, parameter in layer.named_parameters():
        if "out_proj" in name or "linear2" in name:
            parameter.fill_(0.0)
    return layer


# %% mutant frozen_zero
# The projections are zero and are frozen as well. A new layer begins as the identity, but it must be able to become
# something else: what rests never will.
@torch.no_grad()
def make_identity(layer):
    for module in layer.modules():
        for kind, name in OUTPUTS.items():
            if isinstance(module, kind):
                for parameter in getattr(module, name).parameters():
                    parameter.requires_grad_(False).zero_()
    return layer


# %% rewritten frozen_zero
@torch.no_grad()
def make_identity(layer):
    for name, parameter in layer.named_parameters():
        if name.rpartition(".")[0].rpartition(".")[2] in OUTPUTS.values():
            parameter.fill_(0)
            parameter.requires_grad = False
    return layer
