# %% mutant wrong_places_only
# Only wrongly guessed positions are filled. Then the decoder sees its own uncertain places replaced and never learns them from the
# others: how many are shown follows from the mistakes, but which ones is drawn from all real positions.
def glance(acoustic, embedded, guesses, targets, token_mask, share):
    wrong = (guesses != targets) & token_mask
    shown = (share * wrong.sum(dim=1).double() + 1e-9).floor()
    draws = torch.rand(token_mask.shape, device=token_mask.device).masked_fill(~wrong, 2.0)
    rank = draws.argsort(dim=1).argsort(dim=1)
    chosen = rank < shown[:, None]
    return torch.where(chosen[..., None], embedded, acoustic)


# %% rewritten wrong_places_only
def glance(acoustic, embedded, guesses, targets, token_mask, share):
    mixed = acoustic.clone()
    for row in range(len(acoustic)):
        places = ((guesses[row] != targets[row]) & token_mask[row]).nonzero()[:, 0]
        number = int(share * len(places) + 1e-9)
        places = places[torch.randperm(len(places))[:number]]
        mixed[row, places] = embedded[row, places]
    return mixed


# %% mutant share_of_all
# The share is taken of all tokens, not of the wrong ones. Then as many true tokens are shown at the end of a training, when hardly any
# are needed, as at its beginning; and in a search none are shown at all.
def glance(acoustic, embedded, guesses, targets, token_mask, share):
    shown = (share * token_mask.sum(dim=1).double() + 1e-9).floor()
    draws = torch.rand(token_mask.shape, device=token_mask.device).masked_fill(~token_mask, 2.0)
    rank = draws.argsort(dim=1).argsort(dim=1)
    chosen = rank < shown[:, None]
    return torch.where(chosen[..., None], embedded, acoustic)


# %% rewritten share_of_all
def glance(acoustic, embedded, guesses, targets, token_mask, share):
    mixed = acoustic.clone()
    for row in range(len(acoustic)):
        places = token_mask[row].nonzero()[:, 0]
        number = int(share * len(places) + 1e-9)
        places = places[torch.randperm(len(places))[:number]]
        mixed[row, places] = embedded[row, places]
    return mixed


# %% mutant padding_counted
# What stands in the padding counts as a wrong guess. A short utterance in a batch with a long one is shown more true tokens than it
# has mistakes: count where token_mask is True.
def glance(acoustic, embedded, guesses, targets, token_mask, share):
    wrong = (guesses != targets).sum(dim=1)
    shown = (share * wrong.double() + 1e-9).floor()
    draws = torch.rand(token_mask.shape, device=token_mask.device).masked_fill(~token_mask, 2.0)
    rank = draws.argsort(dim=1).argsort(dim=1)
    chosen = rank < shown[:, None]
    return torch.where(chosen[..., None] & token_mask[..., None], embedded, acoustic)


# %% rewritten padding_counted
def glance(acoustic, embedded, guesses, targets, token_mask, share):
    mixed = acoustic.clone()
    for row in range(len(acoustic)):
        number = int(share * int((guesses[row] != targets[row]).sum()) + 1e-9)
        places = token_mask[row].nonzero()[:, 0]
        places = places[torch.randperm(len(places))[:number]]
        mixed[row, places] = embedded[row, places]
    return mixed


# %% mutant padding_shown
# True tokens are shown in the padding too, where nobody looks. The shorter an utterance is beside the others of its batch, the fewer
# are shown where it matters: make the random numbers of padding the largest.
def glance(acoustic, embedded, guesses, targets, token_mask, share):
    wrong = ((guesses != targets) & token_mask).sum(dim=1)
    shown = (share * wrong.double() + 1e-9).floor()
    draws = torch.rand(token_mask.shape, device=token_mask.device)
    rank = draws.argsort(dim=1).argsort(dim=1)
    chosen = rank < shown[:, None]
    return torch.where(chosen[..., None], embedded, acoustic)


# %% rewritten padding_shown
def glance(acoustic, embedded, guesses, targets, token_mask, share):
    mixed = acoustic.clone()
    for row in range(len(acoustic)):
        number = int(share * int((guesses[row] != targets[row])[token_mask[row]].sum()) + 1e-9)
        places = torch.randperm(acoustic.shape[1])[:number]
        mixed[row, places] = embedded[row, places]
    return mixed


# %% mutant first_places
# The first positions are shown, always the same ones. The beginning of a text is then never practised, and its end never gets help:
# draw the positions anew at each call.
def glance(acoustic, embedded, guesses, targets, token_mask, share):
    wrong = ((guesses != targets) & token_mask).sum(dim=1)
    shown = (share * wrong.double() + 1e-9).floor()
    chosen = torch.arange(token_mask.shape[1], device=token_mask.device)[None] < shown[:, None]
    return torch.where(chosen[..., None], embedded, acoustic)


# %% rewritten first_places
def glance(acoustic, embedded, guesses, targets, token_mask, share):
    mixed = acoustic.clone()
    for row in range(len(acoustic)):
        number = int(share * int((guesses[row] != targets[row])[token_mask[row]].sum()) + 1e-9)
        mixed[row, :number] = embedded[row, :number]
    return mixed


# %% mutant exchanged
# True tokens stand where the sound should, and the sound where true tokens should. A decoder that sees nearly all of the truth learns
# to copy it, and has nothing to copy from in a search.
def glance(acoustic, embedded, guesses, targets, token_mask, share):
    wrong = ((guesses != targets) & token_mask).sum(dim=1)
    shown = (share * wrong.double() + 1e-9).floor()
    draws = torch.rand(token_mask.shape, device=token_mask.device).masked_fill(~token_mask, 2.0)
    rank = draws.argsort(dim=1).argsort(dim=1)
    chosen = rank < shown[:, None]
    return torch.where(chosen[..., None], acoustic, embedded)


# %% rewritten exchanged
def glance(acoustic, embedded, guesses, targets, token_mask, share):
    mixed = embedded.clone()
    for row in range(len(acoustic)):
        number = int(share * int((guesses[row] != targets[row])[token_mask[row]].sum()) + 1e-9)
        places = token_mask[row].nonzero()[:, 0]
        places = places[torch.randperm(len(places))[:number]]
        mixed[row, places] = acoustic[row, places]
    return mixed
