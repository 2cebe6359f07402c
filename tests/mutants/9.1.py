# %% mutant multiplied
# The logits are multiplied by the temperature. Then a high temperature sharpens and a low one flattens, the wrong way
# round: divide.
def next_token_log_probs(logits, temperature=1.0, top_k=0, top_p=1.0):
    log_probs = (logits.float() * temperature).log_softmax(dim=-1)
    if 0 < top_k < log_probs.shape[-1]:
        keep = torch.zeros_like(log_probs, dtype=torch.bool)
        keep.scatter_(-1, log_probs.topk(top_k, dim=-1).indices, True)
        log_probs = log_probs.masked_fill(~keep, float("-inf")).log_softmax(dim=-1)
    if top_p < 1.0:
        ordered, order = log_probs.sort(dim=-1, descending=True)
        kept = ordered.exp().cumsum(dim=-1) - ordered.exp() < top_p
        kept[..., 0] = True
        keep = torch.zeros_like(kept).scatter(-1, order, kept)
        log_probs = log_probs.masked_fill(~keep, float("-inf")).log_softmax(dim=-1)
    return log_probs


# %% rewritten multiplied
def next_token_log_probs(logits, temperature=1.0, top_k=0, top_p=1.0):
    probs = torch.softmax(logits * temperature, dim=-1)
    if top_k:
        least = probs.topk(min(top_k, probs.shape[-1]), dim=-1).values[..., -1:]
        probs = torch.where(probs >= least, probs, 0.0)
        probs = probs / probs.sum(dim=-1, keepdim=True)
    if top_p < 1:
        larger = (probs[..., None, :] > probs[..., :, None]).to(probs.dtype) @ probs[..., None]
        probs = torch.where(larger[..., 0] < top_p, probs, 0.0)
        probs = probs / probs.sum(dim=-1, keepdim=True)
    return probs.log()


# %% mutant not_renormalised
# What the filters leave does not sum to 1: after tokens have been taken away, the others must share their probability, or
# top_p looks at a sum that can never be reached.
def next_token_log_probs(logits, temperature=1.0, top_k=0, top_p=1.0):
    log_probs = (logits.float() / temperature).log_softmax(dim=-1)
    if 0 < top_k < log_probs.shape[-1]:
        keep = torch.zeros_like(log_probs, dtype=torch.bool)
        keep.scatter_(-1, log_probs.topk(top_k, dim=-1).indices, True)
        log_probs = log_probs.masked_fill(~keep, float("-inf"))
    if top_p < 1.0:
        ordered, order = log_probs.sort(dim=-1, descending=True)
        kept = ordered.exp().cumsum(dim=-1) - ordered.exp() < top_p
        kept[..., 0] = True
        keep = torch.zeros_like(kept).scatter(-1, order, kept)
        log_probs = log_probs.masked_fill(~keep, float("-inf"))
    return log_probs


# %% rewritten not_renormalised
def next_token_log_probs(logits, temperature=1.0, top_k=0, top_p=1.0):
    probs = torch.softmax(logits / temperature, dim=-1)
    if top_k:
        least = probs.topk(min(top_k, probs.shape[-1]), dim=-1).values[..., -1:]
        probs = probs * (probs >= least)
    if top_p < 1:
        larger = ((probs[..., None, :] > probs[..., :, None]) * probs[..., None, :]).sum(dim=-1)
        probs = probs * (larger < top_p)
    return probs.log()


# %% mutant one_too_few
# The nucleus is one token too small: the token with which the sum reaches top_p belongs to it. What counts is the
# probability of all tokens *before* it.
def next_token_log_probs(logits, temperature=1.0, top_k=0, top_p=1.0):
    log_probs = (logits.float() / temperature).log_softmax(dim=-1)
    if 0 < top_k < log_probs.shape[-1]:
        keep = torch.zeros_like(log_probs, dtype=torch.bool)
        keep.scatter_(-1, log_probs.topk(top_k, dim=-1).indices, True)
        log_probs = log_probs.masked_fill(~keep, float("-inf")).log_softmax(dim=-1)
    if top_p < 1.0:
        ordered, order = log_probs.sort(dim=-1, descending=True)
        kept = ordered.exp().cumsum(dim=-1) < top_p
        kept[..., 0] = True
        keep = torch.zeros_like(kept).scatter(-1, order, kept)
        log_probs = log_probs.masked_fill(~keep, float("-inf")).log_softmax(dim=-1)
    return log_probs


# %% rewritten one_too_few
def next_token_log_probs(logits, temperature=1.0, top_k=0, top_p=1.0):
    probs = torch.softmax(logits / temperature, dim=-1)
    if top_k:
        least = probs.topk(min(top_k, probs.shape[-1]), dim=-1).values[..., -1:]
        probs = torch.where(probs >= least, probs, 0.0)
        probs = probs / probs.sum(dim=-1, keepdim=True)
    if top_p < 1:
        so_far = ((probs[..., None, :] >= probs[..., :, None]) * probs[..., None, :]).sum(dim=-1)
        probs = torch.where((so_far < top_p) | (probs == probs.amax(dim=-1, keepdim=True)), probs, 0.0)
        probs = probs / probs.sum(dim=-1, keepdim=True)
    return probs.log()


# %% mutant order_forgotten
# The nucleus was found among the sorted tokens, and its mask used for the unsorted ones: it says which *ranks* stay, not
# which tokens. It has to be scattered back to the tokens' own places.
def next_token_log_probs(logits, temperature=1.0, top_k=0, top_p=1.0):
    log_probs = (logits.float() / temperature).log_softmax(dim=-1)
    if 0 < top_k < log_probs.shape[-1]:
        keep = torch.zeros_like(log_probs, dtype=torch.bool)
        keep.scatter_(-1, log_probs.topk(top_k, dim=-1).indices, True)
        log_probs = log_probs.masked_fill(~keep, float("-inf")).log_softmax(dim=-1)
    if top_p < 1.0:
        ordered = log_probs.sort(dim=-1, descending=True).values
        kept = ordered.exp().cumsum(dim=-1) - ordered.exp() < top_p
        kept[..., 0] = True
        log_probs = log_probs.masked_fill(~kept, float("-inf")).log_softmax(dim=-1)
    return log_probs


# %% rewritten order_forgotten
def next_token_log_probs(logits, temperature=1.0, top_k=0, top_p=1.0):
    probs = torch.softmax(logits / temperature, dim=-1)
    if top_k:
        least = probs.topk(min(top_k, probs.shape[-1]), dim=-1).values[..., -1:]
        probs = torch.where(probs >= least, probs, 0.0)
        probs = probs / probs.sum(dim=-1, keepdim=True)
    if top_p < 1:
        down = probs.sort(dim=-1, descending=True).values
        count = (down.cumsum(dim=-1) - down < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
        probs = torch.where(torch.arange(probs.shape[-1]) < count, probs, 0.0)
        probs = probs / probs.sum(dim=-1, keepdim=True)
    return probs.log()
