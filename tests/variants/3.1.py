# %% running_count
def padding_mask(lengths, max_length=None):
    size = lengths.max().item() if max_length is None else max_length
    counted_from_one = torch.ones(lengths.shape[0], size, dtype=lengths.dtype, device=lengths.device).cumsum(dim=1)
    return torch.ge(lengths.unsqueeze(-1), counted_from_one)


# %% loop
def padding_mask(lengths, max_length=None):
    sizes = lengths.tolist()
    mask = torch.zeros(len(sizes), max(sizes) if max_length is None else max_length, dtype=torch.bool)
    for row, size in enumerate(sizes):
        mask[row, :size] = True
    return mask.to(lengths.device)
