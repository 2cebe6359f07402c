# %% generator
def combine(weights, log_probs):
    used = [weight * scores for weight, scores in zip(weights, log_probs, strict=True) if weight != 0]
    return used[0] + sum(used[1:]) if len(used) > 1 else used[0].clone()


# %% stacked
def combine(weights, log_probs):
    stacked = torch.stack(list(log_probs))
    factors = torch.tensor(list(weights), dtype=stacked.dtype, device=stacked.device).view(
        -1, *[1] * log_probs[0].dim()
    )
    return torch.where(factors > 0, factors * stacked, 0.0).sum(dim=0)
