# %% mutant uphill
# The sign is that of the gradient. The loss is -<f(k), v>, and what is returned is added to the weights: it has to be minus the gradient of
# the loss, or with each frame the memory answers less like the value.
def fast_gradient(weights, keys, values, rates):
    a, b = keys @ weights.w0.mT, keys @ weights.w2.mT
    s = a.sigmoid()
    g = -(values @ weights.w1)
    rate0, rate1, rate2 = rates[..., None]
    return FastWeights(
        (g * b * s * (1 + a * (1 - s)) * rate0).mT @ keys,
        -(values * rate1).mT @ (a * s * b),
        (g * a * s * rate2).mT @ keys,
    )


# %% rewritten uphill
def fast_gradient(weights, keys, values, rates):
    a, b, g = keys @ weights.w0.mT, keys @ weights.w2.mT, values @ weights.w1
    s = torch.sigmoid(a)
    ways = (g * b * (s + a * s * (1 - s)), values, g * F.silu(a))
    right = (keys, F.silu(a) * b, keys)
    return FastWeights(*(torch.einsum("bht,bhti,bhtj->bhij", -r, x, y) for r, x, y in zip(rates, ways, right)))


# %% mutant slope_of_the_sigmoid
# The derivative of silu is taken for that of the sigmoid, s (1 - s). silu(a) = a s has two factors that depend on a, and so two terms:
# s + a s (1 - s) = s (1 + a (1 - s)).
def fast_gradient(weights, keys, values, rates):
    a, b = keys @ weights.w0.mT, keys @ weights.w2.mT
    s = a.sigmoid()
    g = values @ weights.w1
    rate0, rate1, rate2 = rates[..., None]
    return FastWeights(
        (g * b * s * (1 - s) * rate0).mT @ keys, (values * rate1).mT @ (a * s * b), (g * a * s * rate2).mT @ keys
    )


# %% rewritten slope_of_the_sigmoid
def fast_gradient(weights, keys, values, rates):
    a, b, g = keys @ weights.w0.mT, keys @ weights.w2.mT, values @ weights.w1
    s = torch.sigmoid(a)
    ways = (g * b * (s - s.square()), values, g * F.silu(a))
    right = (keys, F.silu(a) * b, keys)
    return FastWeights(*(torch.einsum("bht,bhti,bhtj->bhij", r, x, y) for r, x, y in zip(rates, ways, right)))


# %% mutant no_slope
# The way back through the gate has no derivative of silu: W0 gets what belongs to a gate without a bend. By the chain rule the factor
# silu'(a) stands between g b and k.
def fast_gradient(weights, keys, values, rates):
    a, b = keys @ weights.w0.mT, keys @ weights.w2.mT
    g = values @ weights.w1
    rate0, rate1, rate2 = rates[..., None]
    return FastWeights(
        (g * b * rate0).mT @ keys, (values * rate1).mT @ (F.silu(a) * b), (g * F.silu(a) * rate2).mT @ keys
    )


# %% rewritten no_slope
def fast_gradient(weights, keys, values, rates):
    a, b, g = keys @ weights.w0.mT, keys @ weights.w2.mT, values @ weights.w1
    ways = (g * b, values, g * F.silu(a))
    right = (keys, F.silu(a) * b, keys)
    return FastWeights(*(torch.einsum("bht,bhti,bhtj->bhij", r, x, y) for r, x, y in zip(rates, ways, right)))


# %% mutant halves_mixed_up
# The two halves of the hidden unit are mixed up on the way back: the gate is multiplied by silu(a) and its partner by b silu'(a). Each half
# is multiplied by the OTHER one: W0 gets b, W2 gets silu(a).
def fast_gradient(weights, keys, values, rates):
    a, b = keys @ weights.w0.mT, keys @ weights.w2.mT
    s = a.sigmoid()
    g = values @ weights.w1
    rate0, rate1, rate2 = rates[..., None]
    return FastWeights(
        (g * a * s * rate0).mT @ keys,
        (values * rate1).mT @ (a * s * b),
        (g * b * s * (1 + a * (1 - s)) * rate2).mT @ keys,
    )


# %% rewritten halves_mixed_up
def fast_gradient(weights, keys, values, rates):
    a, b, g = keys @ weights.w0.mT, keys @ weights.w2.mT, values @ weights.w1
    s = torch.sigmoid(a)
    ways = (g * F.silu(a), values, g * b * (s + a * s * (1 - s)))
    right = (keys, F.silu(a) * b, keys)
    return FastWeights(*(torch.einsum("bht,bhti,bhtj->bhij", r, x, y) for r, x, y in zip(rates, ways, right)))


# %% mutant mean_of_frames
# The frames are averaged, where they should be summed: the rates of the frames say already how much each of them counts. With a mean, a
# long utterance would learn as little as a short one, and padding would change what an utterance learns.
def fast_gradient(weights, keys, values, rates):
    a, b = keys @ weights.w0.mT, keys @ weights.w2.mT
    s = a.sigmoid()
    g = values @ weights.w1
    rate0, rate1, rate2 = rates[..., None] / keys.shape[-2]
    return FastWeights(
        (g * b * s * (1 + a * (1 - s)) * rate0).mT @ keys,
        (values * rate1).mT @ (a * s * b),
        (g * a * s * rate2).mT @ keys,
    )


# %% rewritten mean_of_frames
def fast_gradient(weights, keys, values, rates):
    a, b, g = keys @ weights.w0.mT, keys @ weights.w2.mT, values @ weights.w1
    s = torch.sigmoid(a)
    ways = (g * b * (s + a * s * (1 - s)), values, g * F.silu(a))
    right = (keys, F.silu(a) * b, keys)
    every = (r[..., None, None] * x[..., :, None] * y[..., None, :] for r, x, y in zip(rates, ways, right))
    return FastWeights(*(outer.mean(2) for outer in every))


# %% mutant one_rate_for_all
# The first rates are used for all three matrices. rates has three rows: the first belongs to W0, the second to W1, the third to W2.
def fast_gradient(weights, keys, values, rates):
    a, b = keys @ weights.w0.mT, keys @ weights.w2.mT
    s = a.sigmoid()
    g = values @ weights.w1
    rate = rates[0][..., None]
    return FastWeights(
        (g * b * s * (1 + a * (1 - s)) * rate).mT @ keys, (values * rate).mT @ (a * s * b), (g * a * s * rate).mT @ keys
    )


# %% rewritten one_rate_for_all
def fast_gradient(weights, keys, values, rates):
    a, b, g = keys @ weights.w0.mT, keys @ weights.w2.mT, values @ weights.w1
    s = torch.sigmoid(a)
    ways = (g * b * (s + a * s * (1 - s)), values, g * F.silu(a))
    right = (keys, F.silu(a) * b, keys)
    return FastWeights(*(torch.einsum("bht,bhti,bhtj->bhij", rates[0], x, y) for x, y in zip(ways, right)))


# %% mutant rates_in_another_order
# The rates of W1 and W2 are exchanged. W1 is the way out and stands in the middle: rates[1] is its rate, rates[2] that of W2.
def fast_gradient(weights, keys, values, rates):
    a, b = keys @ weights.w0.mT, keys @ weights.w2.mT
    s = a.sigmoid()
    g = values @ weights.w1
    rate0, rate2, rate1 = rates[..., None]
    return FastWeights(
        (g * b * s * (1 + a * (1 - s)) * rate0).mT @ keys,
        (values * rate1).mT @ (a * s * b),
        (g * a * s * rate2).mT @ keys,
    )


# %% rewritten rates_in_another_order
def fast_gradient(weights, keys, values, rates):
    a, b, g = keys @ weights.w0.mT, keys @ weights.w2.mT, values @ weights.w1
    s = torch.sigmoid(a)
    ways = (g * b * (s + a * s * (1 - s)), values, g * F.silu(a))
    right = (keys, F.silu(a) * b, keys)
    order = (rates[0], rates[2], rates[1])
    return FastWeights(*(torch.einsum("bht,bhti,bhtj->bhij", r, x, y) for r, x, y in zip(order, ways, right)))


# %% mutant cut_off
# The update is cut off from what it was made of. The numbers are right, and the model trains, but nothing tells it how to make keys, values
# and rates that are worth learning: training has to differentiate this function.
@torch.no_grad()
def fast_gradient(weights, keys, values, rates):
    a, b = keys @ weights.w0.mT, keys @ weights.w2.mT
    s = a.sigmoid()
    g = values @ weights.w1
    rate0, rate1, rate2 = rates[..., None]
    return FastWeights(
        (g * b * s * (1 + a * (1 - s)) * rate0).mT @ keys,
        (values * rate1).mT @ (a * s * b),
        (g * a * s * rate2).mT @ keys,
    )


# %% rewritten cut_off
def fast_gradient(weights, keys, values, rates):
    w0, w1, w2 = (matrix.detach() for matrix in weights)
    keys, values, rates = keys.detach(), values.detach(), rates.detach()
    a, b, g = keys @ w0.mT, keys @ w2.mT, values @ w1
    s = torch.sigmoid(a)
    ways = (g * b * (s + a * s * (1 - s)), values, g * F.silu(a))
    right = (keys, F.silu(a) * b, keys)
    return FastWeights(*(torch.einsum("bht,bhti,bhtj->bhij", r, x, y) for r, x, y in zip(rates, ways, right)))


# %% mutant left_to_autograd
# Autograd computes the gradient. That works in training, but a recogniser runs in inference mode, where there is no autograd, and the memory
# has to learn there too. Write the products down; autograd is for checking them.
def fast_gradient(weights, keys, values, rates):
    found = []
    for which in range(3):
        leaves = [matrix.expand(keys.shape[0], *matrix.shape[1:]) * 1 for matrix in weights]
        if not leaves[which].requires_grad:
            leaves[which].requires_grad_()
        w0, w1, w2 = leaves
        said = (F.silu(keys @ w0.mT) * (keys @ w2.mT)) @ w1.mT
        gain = (rates[which] * (said * values).sum(-1)).sum()
        found += torch.autograd.grad(gain, leaves[which], create_graph=True)
    return FastWeights(*found)


# %% rewritten left_to_autograd
def fast_gradient(weights, keys, values, rates):
    def loss(rate, matrices):
        a = torch.einsum("bhtd,bhmd->bhtm", keys, matrices[0])
        b = torch.einsum("bhtd,bhmd->bhtm", keys, matrices[2])
        return -(rate[..., None] * values * torch.einsum("bhtm,bhdm->bhtd", F.silu(a) * b, matrices[1])).sum()

    ups = []
    for number, rate in enumerate(rates):
        copies = [w.repeat(len(keys) // len(w), 1, 1, 1) for w in weights]
        copies = [copy if copy.requires_grad else copy.requires_grad_() for copy in copies]
        ups.append(-torch.autograd.grad(loss(rate, copies), copies, create_graph=True)[number])
    return FastWeights(*ups)
