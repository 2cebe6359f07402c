# %% running_sums
def linear_recurrence(arrivals, log_probs):
    running = torch.cumsum(log_probs, -1)
    shifted = torch.cat([torch.zeros_like(running[..., :1]), running[..., :-1]], dim=-1)
    summed = torch.logcumsumexp(arrivals[..., :-1] - shifted, -1)
    front = torch.full_like(summed[..., :1], float("-inf"))
    return torch.cat([front, summed + running], dim=-1)


def extend_states(before, token, blank):
    said = linear_recurrence(before, token)
    return said, linear_recurrence(said, blank)


# %% loop
def linear_recurrence(arrivals, log_probs):
    r = [torch.full_like(arrivals[..., 0], float("-inf"))]
    for t in range(log_probs.shape[-1]):
        r.append(log_probs[..., t] + torch.logaddexp(r[-1], arrivals[..., t]))
    return torch.stack(r, dim=-1)


def extend_states(before, token, blank):
    blank = blank.expand_as(token)
    r_token = [torch.full_like(before[..., 0], float("-inf"))]
    r_blank = [torch.full_like(before[..., 0], float("-inf"))]
    for t in range(token.shape[-1]):
        r_blank.append(blank[..., t] + torch.logaddexp(r_blank[t], r_token[t]))
        r_token.append(token[..., t] + torch.logaddexp(r_token[t], before[..., t]))
    return torch.stack(r_token, dim=-1), torch.stack(r_blank, dim=-1)
