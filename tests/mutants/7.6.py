# %% mutant emission_counted_twice
# Alpha and beta both hold the emission of the frame in which they meet. It belongs to each path once: take it out again.
def state_posteriors(alphas, betas, emissions, total):
    through = alphas + betas - total[:, None, None]
    return through.nan_to_num(nan=NEVER, posinf=NEVER, neginf=NEVER).exp()


# %% rewritten emission_counted_twice
def state_posteriors(alphas, betas, emissions, total):
    through = torch.exp(alphas + betas - total.reshape(-1, 1, 1))
    return torch.where(torch.isfinite(through), through, torch.zeros_like(through))


# %% mutant not_divided
# This is the probability of the paths through a state, not the share that they have of all paths. Divide by the total, which is a
# subtraction here.
def state_posteriors(alphas, betas, emissions, total):
    through = alphas + betas - emissions
    return through.nan_to_num(nan=NEVER, posinf=NEVER, neginf=NEVER).exp()


# %% rewritten not_divided
def state_posteriors(alphas, betas, emissions, total):
    through = torch.exp(alphas + (betas - emissions))
    return torch.where(torch.isfinite(through), through, torch.zeros_like(through))


# %% mutant still_a_logarithm
# The result is still a logarithm. A posterior is a probability: 0 where no path can be, 1 where all are.
def state_posteriors(alphas, betas, emissions, total):
    through = alphas + betas - emissions - total[:, None, None]
    return through.nan_to_num(nan=NEVER, posinf=NEVER, neginf=NEVER)


# %% rewritten still_a_logarithm
def state_posteriors(alphas, betas, emissions, total):
    through = alphas - total.reshape(-1, 1, 1) + (betas - emissions)
    return torch.where(torch.isfinite(through), through, torch.full_like(through, float("-inf")))


# %% mutant underflow
# The logarithms are given up too early: alpha and beta of a few hundred frames are 0 as floats, and the posterior with
# them. Add and subtract logarithms first, and take exp of what is left.
def state_posteriors(alphas, betas, emissions, total):
    through = alphas.exp() * betas.exp() / (emissions.exp() * total.exp()[:, None, None])
    return through.nan_to_num(nan=0.0, posinf=0.0)


# %% rewritten underflow
def state_posteriors(alphas, betas, emissions, total):
    paths = torch.exp(alphas + betas)
    share = paths / emissions.exp() / total.exp().reshape(-1, 1, 1)
    return torch.where(torch.isfinite(share), share, torch.zeros_like(share))


# %% mutant no_number
# Minus infinity minus minus infinity is no number. Where alpha and the emission are impossible, or no path exists at all, the
# posterior is 0, not NaN: one NaN in the gradient ends the training.
def state_posteriors(alphas, betas, emissions, total):
    return torch.exp(alphas + betas - emissions - total[:, None, None])


# %% rewritten no_number
def state_posteriors(alphas, betas, emissions, total):
    return (alphas + betas - (emissions + total.reshape(-1, 1, 1))).exp()
