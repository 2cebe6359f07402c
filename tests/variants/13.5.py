# %% permutations
def glance(acoustic, embedded, guesses, targets, token_mask, share):
    chosen = torch.zeros_like(token_mask)
    for row in range(len(acoustic)):
        real = token_mask[row].nonzero()[:, 0]
        wrong = int((guesses[row] != targets[row])[real].sum())
        order = torch.randperm(len(real), device=real.device)
        chosen[row, real[order[: int(share * wrong + 1e-9)]]] = True
    return torch.where(chosen.unsqueeze(-1), embedded, acoustic)


# %% threshold
def glance(acoustic, embedded, guesses, targets, token_mask, share):
    wrong = (guesses.ne(targets) * token_mask).sum(-1)
    number = (wrong.double() * share + 1e-9).long()
    draws = torch.where(token_mask, torch.rand(token_mask.shape, device=token_mask.device), 1.5)
    ordered = torch.cat([draws.sort(dim=-1).values, torch.full_like(draws[:, :1], 1.5)], dim=-1)
    limit = ordered.gather(-1, number[:, None])  # the first draw that is not chosen any more
    chosen = (draws < limit)[..., None].to(acoustic.dtype)
    return chosen * embedded + (1 - chosen) * acoustic
