# %% unsqueeze_and_multiply
def key_mask(padding):
    return padding.unsqueeze(1)


def combine_masks(padding, causal):
    return padding.unsqueeze(1).logical_and(causal)


# %% loop
def key_mask(padding):
    batch, keys = padding.shape
    return padding.reshape(batch, 1, keys)


def combine_masks(padding, causal):
    tables = []
    for real in padding:
        table = causal.clone()
        table[:, ~real] = False
        tables.append(table)
    return torch.stack(tables)
