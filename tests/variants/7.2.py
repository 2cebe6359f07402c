# %% interleaved
def extend_targets(targets, target_lengths, blank):
    place = torch.arange(targets.shape[1], device=targets.device)
    real = place[None] < target_lengths[:, None]
    tokens = torch.where(real, targets, torch.full_like(targets, blank))
    pairs = torch.stack([tokens, torch.full_like(tokens, blank)], dim=-1)  # (batch, length, 2)
    first = torch.full((len(targets), 1), blank, dtype=tokens.dtype, device=tokens.device)
    states = torch.cat([first, pairs.flatten(1)], dim=1).long()
    new = torch.zeros_like(real)
    new[:, 1:] = tokens[:, 1:].ne(tokens[:, :-1]) & real[:, 1:]
    return states, F.pad(torch.stack([new, torch.zeros_like(new)], dim=-1).flatten(1), (1, 0))


# %% loops
def extend_targets(targets, target_lengths, blank):
    batch, length = targets.shape
    states = torch.full((batch, 2 * length + 1), blank, dtype=torch.long)
    may_skip = torch.zeros(batch, 2 * length + 1, dtype=torch.bool)
    for row in range(batch):
        for place in range(int(target_lengths[row])):
            states[row, 2 * place + 1] = targets[row, place]
            if place > 0:
                may_skip[row, 2 * place + 1] = targets[row, place] != targets[row, place - 1]
    return states, may_skip
