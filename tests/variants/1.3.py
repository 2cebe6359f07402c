# %% einsum
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    shares = attention_weights(attention_scores(query, key), mask=mask)
    if dropout:
        keep = 1.0 - dropout
        shares = shares * torch.empty_like(shares).bernoulli_(keep).div_(keep)
    return torch.einsum("...qk,...kv->...qv", shares, value), shares


# %% map_before_dropout
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    # The weights are returned as they were before dropout, as a map of where the model looks.
    weights = attention_weights(attention_scores(query, key), mask)
    return torch.matmul(F.dropout(weights, p=dropout, training=dropout > 0), value), weights


# %% query_by_query
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    contexts, maps = [], []
    for i in range(query.shape[-2]):
        row = None
        if mask is not None:
            row = mask if mask.shape[-2] == 1 else mask[..., i : i + 1, :]
        weights = torch.dropout(attention_weights(attention_scores(query[..., i : i + 1, :], key), row), dropout, True)
        contexts.append((weights.transpose(-2, -1) * value).sum(dim=-2, keepdim=True))
        maps.append(weights)
    return torch.cat(contexts, dim=-2), torch.cat(maps, dim=-2)
