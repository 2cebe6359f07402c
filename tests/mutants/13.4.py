# %% mutant leftover_seen
# What is left over at the end shows up as an embedding although it is no token. A position beyond the number of tokens must be zero:
# no shares where padding_mask(counts) is False.
def cif(frames, alphas, max_tokens=None):
    counts = token_counts(alphas)
    if max_tokens is None:
        max_tokens = max(int(counts.max()), 1)
    alphas = alphas.double()
    after = alphas.cumsum(dim=1)[:, None]
    before = after - alphas[:, None]
    start = torch.arange(max_tokens, device=alphas.device)[:, None]
    upper = torch.where(after >= start + 1, start + 1, after)
    lower = torch.where(before >= start, before, start)
    overlap = (after >= start) & (before < start + 1)
    shares = torch.where(overlap, upper - lower, 0.0)
    return shares.to(frames.dtype) @ frames, counts


# %% rewritten leftover_seen
def cif(frames, alphas, max_tokens=None):
    counts = token_counts(alphas)
    size = max(int(counts.max()), 1) if max_tokens is None else max_tokens
    ends = alphas.double().cumsum(1)
    begins = ends - alphas.double()
    tokens = []
    for u in range(size):
        share = (ends - u).clamp(0, 1) - (begins - u).clamp(0, 1)
        tokens.append(torch.einsum("bt,btd->bd", share.to(frames.dtype), frames))
    return torch.stack(tokens, dim=1), counts


# %% mutant tail_lost
# The last, incomplete token is missing: the sum is rounded down. After scaling the sum is a little below the number of tokens as
# often as above it, and the last token of every other utterance is zero. token_counts knows how many there are.
def cif(frames, alphas, max_tokens=None):
    counts = alphas.double().sum(dim=1).nan_to_num(0.0, 0.0, 0.0).floor().clamp(min=0).long()
    if max_tokens is None:
        max_tokens = max(int(counts.max()), 1)
    alphas = alphas.double()
    after = alphas.cumsum(dim=1)[:, None]
    before = after - alphas[:, None]
    start = torch.arange(max_tokens, device=alphas.device)[:, None]
    upper = torch.where(after >= start + 1, start + 1, after)
    lower = torch.where(before >= start, before, start)
    overlap = (after >= start) & (before < start + 1) & padding_mask(counts, max_tokens)[..., None]
    shares = torch.where(overlap, upper - lower, 0.0)
    return shares.to(frames.dtype) @ frames, counts


# %% rewritten tail_lost
def cif(frames, alphas, max_tokens=None):
    ends = alphas.double().cumsum(1)
    begins = ends - alphas.double()
    counts = ends[:, -1].nan_to_num(0.0, 0.0, 0.0).long()
    size = max(int(counts.max()), 1) if max_tokens is None else max_tokens
    tokens = []
    for u in range(size):
        share = ((ends - u).clamp(0, 1) - (begins - u).clamp(0, 1)) * (u < counts)[:, None]
        tokens.append(torch.einsum("bt,btd->bd", share.to(frames.dtype), frames))
    return torch.stack(tokens, dim=1), counts


# %% mutant frame_not_split
# A frame belongs whole to the token in which it begins. The frame at a boundary lies in two tokens: its share of each is the length
# of the overlap, not its weight.
def cif(frames, alphas, max_tokens=None):
    counts = token_counts(alphas)
    if max_tokens is None:
        max_tokens = max(int(counts.max()), 1)
    alphas = alphas.double()
    after = alphas.cumsum(dim=1)[:, None]
    before = after - alphas[:, None]
    start = torch.arange(max_tokens, device=alphas.device)[:, None]
    mine = (before >= start) & (before < start + 1) & padding_mask(counts, max_tokens)[..., None]
    shares = torch.where(mine, alphas[:, None], 0.0)
    return shares.to(frames.dtype) @ frames, counts


# %% rewritten frame_not_split
def cif(frames, alphas, max_tokens=None):
    counts = token_counts(alphas)
    size = max(int(counts.max()), 1) if max_tokens is None else max_tokens
    weights = alphas.double()
    begins = weights.cumsum(1) - weights
    tokens = []
    for u in range(size):
        share = weights * (begins.floor() == u) * (u < counts)[:, None]
        tokens.append(torch.einsum("bt,btd->bd", share.to(frames.dtype), frames))
    return torch.stack(tokens, dim=1), counts


# %% mutant one_late
# The tokens are numbered from 1, but the first one covers the sum from 0 to 1, not from 1 to 2. All are one token late, and what
# the first one said is lost.
def cif(frames, alphas, max_tokens=None):
    counts = token_counts(alphas)
    if max_tokens is None:
        max_tokens = max(int(counts.max()), 1)
    alphas = alphas.double()
    after = alphas.cumsum(dim=1)[:, None]
    before = after - alphas[:, None]
    start = torch.arange(1, max_tokens + 1, device=alphas.device)[:, None]
    upper = torch.where(after >= start + 1, start + 1, after)
    lower = torch.where(before >= start, before, start)
    overlap = (after >= start) & (before < start + 1) & padding_mask(counts, max_tokens)[..., None]
    shares = torch.where(overlap, upper - lower, 0.0)
    return shares.to(frames.dtype) @ frames, counts


# %% rewritten one_late
def cif(frames, alphas, max_tokens=None):
    counts = token_counts(alphas)
    size = max(int(counts.max()), 1) if max_tokens is None else max_tokens
    ends = alphas.double().cumsum(1)
    begins = ends - alphas.double()
    tokens = []
    for u in range(1, size + 1):
        share = ((ends - u).clamp(0, 1) - (begins - u).clamp(0, 1)) * (u <= counts)[:, None]
        tokens.append(torch.einsum("bt,btd->bd", share.to(frames.dtype), frames))
    return torch.stack(tokens, dim=1), counts


# %% mutant means_not_sums
# Each embedding is divided by the sum of its shares. That changes nothing for complete tokens, but the incomplete one at the end
# looks as loud as the others, and weights that should grow get no gradient to do so.
def cif(frames, alphas, max_tokens=None):
    counts = token_counts(alphas)
    if max_tokens is None:
        max_tokens = max(int(counts.max()), 1)
    alphas = alphas.double()
    after = alphas.cumsum(dim=1)[:, None]
    before = after - alphas[:, None]
    start = torch.arange(max_tokens, device=alphas.device)[:, None]
    upper = torch.where(after >= start + 1, start + 1, after)
    lower = torch.where(before >= start, before, start)
    overlap = (after >= start) & (before < start + 1) & padding_mask(counts, max_tokens)[..., None]
    shares = torch.where(overlap, upper - lower, 0.0)
    shares = shares / shares.sum(dim=-1, keepdim=True).clamp(min=1e-6)
    return shares.to(frames.dtype) @ frames, counts


# %% rewritten means_not_sums
def cif(frames, alphas, max_tokens=None):
    counts = token_counts(alphas)
    size = max(int(counts.max()), 1) if max_tokens is None else max_tokens
    ends = alphas.double().cumsum(1)
    begins = ends - alphas.double()
    tokens = []
    for u in range(size):
        share = ((ends - u).clamp(0, 1) - (begins - u).clamp(0, 1)) * (u < counts)[:, None]
        mean = torch.einsum("bt,btd->bd", share, frames.double()) / share.sum(1, keepdim=True).clamp(min=1e-6)
        tokens.append(mean.to(frames.dtype))
    return torch.stack(tokens, dim=1), counts


# %% mutant weights_cut_off
# The shares are computed without a gradient (detach, no_grad, or whole numbers where they should be weights). The embeddings are
# right, and the predictor learns nothing from what the decoder makes of them.
def cif(frames, alphas, max_tokens=None):
    counts = token_counts(alphas)
    if max_tokens is None:
        max_tokens = max(int(counts.max()), 1)
    alphas = alphas.detach().double()
    after = alphas.cumsum(dim=1)[:, None]
    before = after - alphas[:, None]
    start = torch.arange(max_tokens, device=alphas.device)[:, None]
    upper = torch.where(after >= start + 1, start + 1, after)
    lower = torch.where(before >= start, before, start)
    overlap = (after >= start) & (before < start + 1) & padding_mask(counts, max_tokens)[..., None]
    shares = torch.where(overlap, upper - lower, 0.0)
    return shares.to(frames.dtype) @ frames, counts


# %% rewritten weights_cut_off
def cif(frames, alphas, max_tokens=None):
    counts = token_counts(alphas)
    size = max(int(counts.max()), 1) if max_tokens is None else max_tokens
    with torch.no_grad():
        ends = alphas.double().cumsum(1)
        begins = ends - alphas.double()
        rows = [((ends - u).clamp(0, 1) - (begins - u).clamp(0, 1)) * (u < counts)[:, None] for u in range(size)]
    return torch.bmm(torch.stack(rows, dim=1).to(frames.dtype), frames), counts
