# %% einsum
def fast_gradient(weights, keys, values, rates):
    w0, w1, w2 = weights
    a = torch.einsum("bhtd,zhmd->bhtm", keys, w0) if w0.shape[0] == 1 else torch.einsum("bhtd,bhmd->bhtm", keys, w0)
    b = torch.einsum("bhtd,zhmd->bhtm", keys, w2) if w2.shape[0] == 1 else torch.einsum("bhtd,bhmd->bhtm", keys, w2)
    g = torch.einsum("bhtd,zhdm->bhtm", values, w1) if w1.shape[0] == 1 else torch.einsum("bhtd,bhdm->bhtm", values, w1)
    s = 1 / (1 + torch.exp(-a))
    slope = s + a * s * (1 - s)
    return FastWeights(
        torch.einsum("bht,bhtm,bhtd->bhmd", rates[0], g * b * slope, keys),
        torch.einsum("bht,bhtd,bhtm->bhdm", rates[1], values, a * s * b),
        torch.einsum("bht,bhtm,bhtd->bhmd", rates[2], g * a * s, keys),
    )


# %% rates_on_the_right
def fast_gradient(weights, keys, values, rates):
    columns, answers = keys.transpose(-1, -2), values.transpose(-1, -2)  # (batch, heads, d_head, frames)
    a, b, g = weights.w0 @ columns, weights.w2 @ columns, weights.w1.transpose(-1, -2) @ answers
    s = torch.sigmoid(a)
    silu = F.silu(a)
    rate = rates.unsqueeze(-1)
    return FastWeights(
        w0=(g * b * (s + silu * (1 - s))) @ (rate[0] * keys),
        w1=answers @ (rate[1] * (silu * b).transpose(-1, -2)),
        w2=(g * silu) @ (rate[2] * keys),
    )
