# %% mutant signed
# The loss has a sign. Minimising it does not bring the sum to the number of tokens but lets it grow without end: take the absolute
# value.
def quantity_loss(alphas, target_lengths):
    return target_lengths - alphas.float().sum(dim=1)


def scale_alphas(alphas, target_lengths, encoder_mask):
    total = alphas.double().sum(dim=1, keepdim=True)
    evenly = encoder_mask / encoder_mask.sum(dim=1, keepdim=True).clamp(min=1)
    shares = torch.where(total > LEAST, alphas / total.clamp(min=LEAST), evenly)
    return (shares * target_lengths[:, None]).float()


# %% rewritten signed
def quantity_loss(alphas, target_lengths):
    return -(alphas.sum(-1) - target_lengths)


def scale_alphas(alphas, target_lengths, encoder_mask):
    total = alphas.double().sum(-1)[:, None]
    real = encoder_mask.double()
    factor = target_lengths[:, None] / total.clamp(min=LEAST)
    even = target_lengths[:, None] * real / real.sum(-1, keepdim=True)
    return torch.where(total > LEAST, alphas * factor, even).float()


# %% mutant mean_of_the_batch
# The sum is compared over the whole batch. Ten tokens too many in one utterance and ten too few in another one cancel, and the loss
# is zero where both are wrong: there is one loss for each utterance.
def quantity_loss(alphas, target_lengths):
    return (target_lengths.float().mean() - alphas.float().sum(dim=1).mean()).abs()


def scale_alphas(alphas, target_lengths, encoder_mask):
    total = alphas.double().sum(dim=1, keepdim=True)
    evenly = encoder_mask / encoder_mask.sum(dim=1, keepdim=True).clamp(min=1)
    shares = torch.where(total > LEAST, alphas / total.clamp(min=LEAST), evenly)
    return (shares * target_lengths[:, None]).float()


# %% rewritten mean_of_the_batch
def quantity_loss(alphas, target_lengths):
    return (alphas.sum() - target_lengths.sum()).abs() / len(alphas)


def scale_alphas(alphas, target_lengths, encoder_mask):
    total = alphas.double().sum(-1)[:, None]
    real = encoder_mask.double()
    factor = target_lengths[:, None] / total.clamp(min=LEAST)
    even = target_lengths[:, None] * real / real.sum(-1, keepdim=True)
    return torch.where(total > LEAST, alphas * factor, even).float()


# %% mutant scaled_by_the_batch
# The weights are divided by the sum of the whole batch. Each utterance needs a factor of its own: its number of tokens over the sum
# of its own weights.
def quantity_loss(alphas, target_lengths):
    return (target_lengths - alphas.float().sum(dim=1)).abs()


def scale_alphas(alphas, target_lengths, encoder_mask):
    total = alphas.double().sum()
    evenly = encoder_mask / encoder_mask.sum(dim=1, keepdim=True).clamp(min=1)
    shares = torch.where(total > LEAST, alphas / total.clamp(min=LEAST), evenly)
    return (shares * target_lengths[:, None]).float()


# %% rewritten scaled_by_the_batch
def quantity_loss(alphas, target_lengths):
    return torch.abs(alphas.sum(-1) - target_lengths)


def scale_alphas(alphas, target_lengths, encoder_mask):
    total = alphas.double().flatten().sum(0)
    real = encoder_mask.double()
    even = target_lengths[:, None] * real / real.sum(-1, keepdim=True)
    if total <= LEAST:
        return even.float()
    return (alphas * (target_lengths[:, None] / total)).float()


# %% mutant spread_over_padding
# Where the weights add up to nothing, the tokens are spread over all frames of the batch, padding included. Only real frames have
# something to say: equal shares of encoder_mask.
def quantity_loss(alphas, target_lengths):
    return (target_lengths - alphas.float().sum(dim=1)).abs()


def scale_alphas(alphas, target_lengths, encoder_mask):
    total = alphas.double().sum(dim=1, keepdim=True)
    shares = torch.where(total > LEAST, alphas / total.clamp(min=LEAST), 1 / alphas.shape[1])
    return (shares * target_lengths[:, None]).float()


# %% rewritten spread_over_padding
def quantity_loss(alphas, target_lengths):
    return torch.abs(alphas.sum(-1) - target_lengths)


def scale_alphas(alphas, target_lengths, encoder_mask):
    total = alphas.double().sum(-1)[:, None]
    factor = target_lengths[:, None] / total.clamp(min=LEAST)
    even = (target_lengths[:, None].double() / encoder_mask.shape[1]).expand(alphas.shape)
    return torch.where(total > LEAST, alphas * factor, even).float()


# %% mutant division_by_zero
# A sum of zero is divided by. An utterance in which the predictor hears nothing, as it may in the first steps, makes NaN of the
# weights, and of the whole model one step later.
def quantity_loss(alphas, target_lengths):
    return (target_lengths - alphas.float().sum(dim=1)).abs()


def scale_alphas(alphas, target_lengths, encoder_mask):
    total = alphas.double().sum(dim=1, keepdim=True)
    return (alphas * target_lengths[:, None] / total).float()


# %% rewritten division_by_zero
def quantity_loss(alphas, target_lengths):
    return torch.abs(alphas.sum(-1) - target_lengths)


def scale_alphas(alphas, target_lengths, encoder_mask):
    rows = [row * (count / row.double().sum()) for row, count in zip(alphas, target_lengths, strict=True)]
    return torch.stack(rows).float()


# %% mutant sum_cut_off
# The sum is detached. The scaled weights are right, but their gradient is not: in n a / (a + b) the weights stand in the denominator
# as well, and more weight on one frame means less on all the others.
def quantity_loss(alphas, target_lengths):
    return (target_lengths - alphas.float().sum(dim=1)).abs()


def scale_alphas(alphas, target_lengths, encoder_mask):
    total = alphas.detach().double().sum(dim=1, keepdim=True)
    evenly = encoder_mask / encoder_mask.sum(dim=1, keepdim=True).clamp(min=1)
    shares = torch.where(total > LEAST, alphas / total.clamp(min=LEAST), evenly)
    return (shares * target_lengths[:, None]).float()


# %% rewritten sum_cut_off
def quantity_loss(alphas, target_lengths):
    return torch.abs(alphas.sum(-1) - target_lengths)


def scale_alphas(alphas, target_lengths, encoder_mask):
    with torch.no_grad():
        total = alphas.double().sum(-1)[:, None]
        factor = target_lengths[:, None] / total.clamp(min=LEAST)
        real = encoder_mask.double()
        even = target_lengths[:, None] * real / real.sum(-1, keepdim=True)
    return torch.where(total > LEAST, alphas * factor, even).float()
