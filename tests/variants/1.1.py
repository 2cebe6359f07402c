# %% einsum
def attention_scores(query, key):
    width = query.size(-1)
    return torch.einsum("...qd,...kd->...qk", query * width**-0.5, key)


# %% loop
def attention_scores(query, key):
    columns = []
    for j in range(key.shape[-2]):
        one_key = key[..., j : j + 1, :]  # (..., 1, d)
        columns.append((query * one_key).sum(dim=-1))
    return torch.stack(columns, dim=-1) / query.shape[-1] ** 0.5


# %% share_the_root
def attention_scores(query, key):
    # The fourth root of d on either side: smaller numbers in half precision.
    root = query.shape[-1] ** 0.25
    return torch.matmul(query / root, (key / root).mT)
