# %% mutant probabilities_not_logs
# The products are formed as probabilities. Over 300 frames they are 0 for a computer, and 0 divided by 0 is NaN: stay in
# logarithms, where a product is a sum.
def linear_recurrence(arrivals, log_probs):
    product = log_probs.exp().cumprod(dim=-1)
    quotient = ((arrivals[..., :-1] + log_probs).exp() / product).cumsum(dim=-1)
    return start_with(float("-inf"), (product * quotient).log())


def extend_states(before, token, blank):
    ends_in_token = linear_recurrence(before, token)
    return ends_in_token, linear_recurrence(ends_in_token, blank)


# %% rewritten probabilities_not_logs
def linear_recurrence(arrivals, log_probs):
    p = torch.cumprod(torch.exp(log_probs), -1)
    total = p * torch.cumsum(torch.exp(arrivals[..., :-1]) * torch.exp(log_probs) / p, -1)
    front = torch.full_like(total[..., :1], float("-inf"))
    return torch.cat([front, torch.log(total)], dim=-1)


def extend_states(before, token, blank):
    first = linear_recurrence(before, token)
    return first, linear_recurrence(first, blank)


# %% mutant no_decay
# The arrivals are only summed up: what arrived earlier must go on being multiplied by the probability of every frame that
# follows, or a path would get its later frames for nothing.
def linear_recurrence(arrivals, log_probs):
    return start_with(float("-inf"), torch.logcumsumexp(arrivals[..., :-1] + log_probs, dim=-1))


def extend_states(before, token, blank):
    ends_in_token = linear_recurrence(before, token)
    return ends_in_token, linear_recurrence(ends_in_token, blank)


# %% rewritten no_decay
def linear_recurrence(arrivals, log_probs):
    r = [torch.full_like(arrivals[..., 0], float("-inf"))]
    for t in range(log_probs.shape[-1]):
        r.append(torch.logaddexp(r[-1], log_probs[..., t] + arrivals[..., t]))
    return torch.stack(r, dim=-1)


def extend_states(before, token, blank):
    first = linear_recurrence(before, token)
    return first, linear_recurrence(first, blank)


# %% mutant arrives_for_free
# What arrives in a frame is not multiplied by that frame's probability: the token's first frame would cost nothing.
def linear_recurrence(arrivals, log_probs):
    product = log_probs.cumsum(dim=-1)
    return start_with(float("-inf"), product + torch.logcumsumexp(arrivals[..., :-1] - product, dim=-1))


def extend_states(before, token, blank):
    ends_in_token = linear_recurrence(before, token)
    return ends_in_token, linear_recurrence(ends_in_token, blank)


# %% rewritten arrives_for_free
def linear_recurrence(arrivals, log_probs):
    r = [torch.full_like(arrivals[..., 0], float("-inf"))]
    for t in range(log_probs.shape[-1]):
        r.append(torch.logaddexp(log_probs[..., t] + r[-1], arrivals[..., t]))
    return torch.stack(r, dim=-1)


def extend_states(before, token, blank):
    first = linear_recurrence(before, token)
    return first, linear_recurrence(first, blank)


# %% mutant blank_from_before
# Paths that end in a blank come from those that end in the *new* token. Here they come from the shorter prefix: they have
# not said the token at all.
def linear_recurrence(arrivals, log_probs):
    product = log_probs.cumsum(dim=-1)
    quotient = torch.logcumsumexp(arrivals[..., :-1] + log_probs - product, dim=-1)
    return start_with(float("-inf"), product + quotient)


def extend_states(before, token, blank):
    return linear_recurrence(before, token), linear_recurrence(before, blank)


# %% rewritten blank_from_before
def linear_recurrence(arrivals, log_probs):
    r = [torch.full_like(arrivals[..., 0], float("-inf"))]
    for t in range(log_probs.shape[-1]):
        r.append(log_probs[..., t] + torch.logaddexp(r[-1], arrivals[..., t]))
    return torch.stack(r, dim=-1)


def extend_states(before, token, blank):
    return tuple(linear_recurrence(before, own) for own in (token, blank))
