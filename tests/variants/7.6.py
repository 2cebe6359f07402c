# %% masked
def state_posteriors(alphas, betas, emissions, total):
    possible = torch.isfinite(alphas) & torch.isfinite(betas) & torch.isfinite(total)[:, None, None]
    share = alphas + (betas - emissions) - total[:, None, None]
    return torch.where(possible, share, torch.full_like(share, NEVER)).exp()


# %% row_by_row
def state_posteriors(alphas, betas, emissions, total):
    result = torch.zeros_like(alphas)
    for row in range(len(alphas)):
        if torch.isinf(total[row]):
            continue
        share = torch.exp(alphas[row] + betas[row] - emissions[row] - total[row])
        result[row] = torch.where(torch.isnan(share), torch.zeros_like(share), share)
    return result
