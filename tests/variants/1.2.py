# %% additive
def attention_weights(scores, mask=None):
    if mask is None:
        return F.softmax(scores, dim=-1)
    some_allowed = mask.any(dim=-1, keepdim=True)
    # Where nothing is allowed, pretend that everything is, and take it back afterwards.
    bias = torch.zeros(mask.shape, dtype=scores.dtype, device=scores.device)
    bias = bias.masked_fill(~(mask | ~some_allowed), float("-inf"))
    return F.softmax(scores + bias, dim=-1) * some_allowed


# %% own_exponentials
def attention_weights(scores, mask=None):
    allowed = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.expand_as(scores)
    highest = torch.where(allowed, scores, torch.full_like(scores, -1e30)).amax(dim=-1, keepdim=True).detach()
    shifted = torch.where(allowed, scores - highest, torch.full_like(scores, -1e30))
    exponentials = torch.exp(shifted) * allowed
    return exponentials / exponentials.sum(dim=-1, keepdim=True).clamp(min=1e-20)


# %% row_by_row
def attention_weights(scores, mask=None):
    allowed = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.expand_as(scores)
    rows, allowed_rows = scores.reshape(-1, scores.shape[-1]), allowed.reshape(-1, scores.shape[-1])
    result = []
    for row, may in zip(rows, allowed_rows, strict=True):
        places = may.nonzero()[:, 0]
        if len(places) == 0:
            result.append(row * 0.0)
        else:
            result.append(torch.zeros_like(row).index_put((places,), torch.softmax(row[places], dim=0)))
    return torch.stack(result).reshape(scores.shape)
