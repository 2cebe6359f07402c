# %% clamped_sums
def cif(frames, alphas, max_tokens=None):
    counts = token_counts(alphas)
    size = max(int(counts.max()), 1) if max_tokens is None else max_tokens
    weights = alphas.double()[:, None]  # (batch, 1, frames)
    token = torch.arange(size, device=alphas.device, dtype=torch.float64)[None, :, None]
    after = weights.cumsum(-1) - token
    before = after - weights
    shares = after.clamp(0, 1) - before.clamp(0, 1)  # (batch, tokens, frames)
    shares = shares * padding_mask(counts, size)[..., None]
    return torch.bmm(shares.to(frames.dtype), frames), counts


# %% interval_overlap
def cif(frames, alphas, max_tokens=None):
    counts = token_counts(alphas)
    size = max_tokens or max(int(counts.max()), 1)
    after = torch.cumsum(alphas.double(), dim=1)
    before = after - alphas.double()
    start = torch.arange(size, device=alphas.device).double()
    right = torch.minimum(after[:, None, :], (start + 1)[None, :, None])
    left = torch.maximum(before[:, None, :], start[None, :, None])
    shares = torch.relu(right - left).masked_fill(~padding_mask(counts, size)[:, :, None], 0.0)
    return torch.einsum("but,btd->bud", shares.to(frames.dtype), frames), counts
