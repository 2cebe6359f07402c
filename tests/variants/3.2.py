# %% compare_positions
def causal_mask(size, device=None):
    positions = torch.arange(size, device=device)
    return positions[None, :] <= positions[:, None]


# %% loop
def causal_mask(size, device=None):
    mask = torch.zeros((size, size), dtype=torch.bool, device=device)
    for query in range(size):
        mask[query, : query + 1] = True
    return mask
