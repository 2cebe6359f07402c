# %% bernoulli
def mix_guesses(tokens_in, logits, share, pad, special):
    scores = logits.detach().clone()
    scores[..., list(special)] = -torch.inf
    mixed = tokens_in.clone()
    keep = torch.bernoulli(torch.full(mixed[:, 1:].shape, float(share), device=mixed.device)).bool()
    keep |= mixed[:, 1:] == pad
    mixed[:, 1:] = torch.where(keep, mixed[:, 1:], scores[:, :-1].max(dim=-1).indices)
    return mixed


# %% loop
def mix_guesses(tokens_in, logits, share, pad, special):
    mixed = tokens_in.clone()
    allowed = torch.tensor([token for token in range(logits.shape[-1]) if token not in set(special)])
    for row in range(mixed.shape[0]):
        for place in range(1, mixed.shape[1]):
            if int(tokens_in[row, place]) == pad or float(torch.rand(())) < share:
                continue
            mixed[row, place] = allowed[logits[row, place - 1, allowed].argmax()]
    return mixed
