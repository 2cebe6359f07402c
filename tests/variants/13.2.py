# %% whole_and_rest
def token_counts(alphas):
    total = torch.nan_to_num(alphas.double().sum(1), nan=0.0, posinf=0.0, neginf=0.0).clamp(min=0)
    whole = total.long()
    return whole + (total - whole >= TAIL).long()


# %% where_finite
def token_counts(alphas):
    total = alphas.to(torch.float64).sum(-1)
    good = torch.isfinite(total)
    rounded = torch.floor(torch.where(good, total, torch.zeros_like(total)) + (1 - TAIL))
    return torch.maximum(rounded, torch.zeros_like(rounded)).to(torch.int64)
