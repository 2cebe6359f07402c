# %% mutant probabilities_summed
# Probabilities are added instead of their logarithms. Then one enthusiastic scorer is enough, and none can forbid
# anything: what CTC holds to be impossible stays possible.
def combine(weights, log_probs):
    return sum(weight * scores.exp() for weight, scores in zip(weights, log_probs, strict=True)).log()


# %% rewritten probabilities_summed
def combine(weights, log_probs):
    parts = torch.stack([scores + torch.tensor(float(weight)).log() for weight, scores in zip(weights, log_probs)])
    return torch.logsumexp(parts, dim=0)


# %% mutant weights_ignored
# The scores are added without their weights: every scorer has the same say.
def combine(weights, log_probs):
    total = torch.zeros_like(log_probs[0])
    for weight, scores in zip(weights, log_probs, strict=True):
        if weight > 0:
            total = total + scores
    return total


# %% rewritten weights_ignored
def combine(weights, log_probs):
    return torch.stack([scores for weight, scores in zip(weights, log_probs) if weight]).sum(dim=0)


# %% mutant zero_times_infinity
# A scorer with a weight of 0 is multiplied and added like the others. Where it says minus infinity, 0 times that is NaN,
# and NaN wins every comparison of topk.
def combine(weights, log_probs):
    total = torch.zeros_like(log_probs[0])
    for weight, scores in zip(weights, log_probs, strict=True):
        total = total + weight * scores
    return total


# %% rewritten zero_times_infinity
def combine(weights, log_probs):
    factors = torch.tensor([float(weight) for weight in weights])
    stacked = torch.stack(list(log_probs), dim=-1)
    return (stacked * factors).sum(dim=-1)


# %% mutant written_into
# The sum is collected in the first scorer's own tensor. The CTC scorer still needs its scores for the states of the
# chosen hypotheses: it would find something else there.
def combine(weights, log_probs):
    total = None
    for weight, scores in zip(weights, log_probs, strict=True):
        if weight > 0:
            total = scores.mul_(weight) if total is None else total + weight * scores
    return total


# %% rewritten written_into
def combine(weights, log_probs):
    used = [(w, s) for w, s in zip(weights, log_probs) if w > 0]
    first_weight, first = used[0]
    first *= first_weight
    result = first.clone()
    for w, s in used[1:]:
        result += w * s
    return result
