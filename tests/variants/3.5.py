# %% expand_and_reshape
def to_torch_key_padding_mask(padding):
    return torch.logical_not(padding)


def to_torch_attention_mask(mask, num_heads):
    ignored = torch.logical_not(mask)
    if ignored.dim() == 2:
        return ignored
    batch, queries, keys = ignored.shape
    return ignored.unsqueeze(1).expand(batch, num_heads, queries, keys).reshape(batch * num_heads, queries, keys)


# %% loop
def to_torch_key_padding_mask(padding):
    return padding ^ True


def to_torch_attention_mask(mask, num_heads):
    if mask.dim() == 2:
        return mask ^ True
    return torch.stack([table ^ True for table in mask for _ in range(num_heads)])
