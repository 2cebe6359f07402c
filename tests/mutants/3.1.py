# %% mutant inverted
# True stands on the padding and False on the speech: the opposite of this course's convention (and what
# nn.MultiheadAttention calls a key_padding_mask). The shape is right and nothing crashes, but attention then sees padding alone.
def padding_mask(lengths, max_length=None):
    if max_length is None:
        max_length = int(lengths.max())
    return torch.arange(max_length, device=lengths.device)[None, :] >= lengths[:, None]


# %% rewritten inverted
def padding_mask(lengths, max_length=None):
    size = int(lengths.max()) if max_length is None else max_length
    real = torch.arange(size, device=lengths.device).expand(len(lengths), size) < lengths.unsqueeze(1)
    return torch.logical_not(real)


# %% mutant off_by_one
# One position too many is called real. Positions are counted from 0: of 3 real ones the last has the number 2, and
# position 3 is padding. One padded frame of each utterance leaks in.
def padding_mask(lengths, max_length=None):
    if max_length is None:
        max_length = int(lengths.max())
    return torch.arange(max_length, device=lengths.device)[None, :] <= lengths[:, None]


# %% rewritten off_by_one
def padding_mask(lengths, max_length=None):
    size = int(lengths.max()) if max_length is None else max_length
    left = lengths.unsqueeze(1) + 1 - torch.arange(size, device=lengths.device).unsqueeze(0)
    return left > 0


# %% mutant float_mask
# The mask holds 1.0 and 0.0 instead of True and False. F.scaled_dot_product_attention *adds* a float mask to the scores:
# padding is then hardly less welcome than speech, and no error says so.
def padding_mask(lengths, max_length=None):
    if max_length is None:
        max_length = int(lengths.max())
    return (torch.arange(max_length, device=lengths.device)[None, :] < lengths[:, None]).float()


# %% rewritten float_mask
def padding_mask(lengths, max_length=None):
    size = int(lengths.max()) if max_length is None else max_length
    positions = torch.arange(size, device=lengths.device)
    real = positions.unsqueeze(0) < lengths.unsqueeze(1)
    return torch.where(real, torch.tensor(1.0, device=lengths.device), torch.tensor(0.0, device=lengths.device))


# %% mutant ignores_max_length
# The mask is always as long as the longest utterance, whatever max_length asks for. Batches are often padded further
# than that, and then the mask does not fit the scores.
def padding_mask(lengths, max_length=None):
    positions = torch.arange(int(lengths.max()), device=lengths.device)
    return positions[None, :] < lengths[:, None]


# %% rewritten ignores_max_length
def padding_mask(lengths, max_length=None):
    rows = [torch.arange(int(lengths.max())) < int(length) for length in lengths]
    return torch.stack(rows)


# %% mutant front
# The real positions stand at the end of each row, as if the padding came first. Here utterances start at time 0 and the padding
# follows them: this mask hides the beginning of the speech and shows padding.
def padding_mask(lengths, max_length=None):
    if max_length is None:
        max_length = int(lengths.max())
    return torch.arange(max_length, device=lengths.device)[None, :] >= max_length - lengths[:, None]


# %% rewritten front
def padding_mask(lengths, max_length=None):
    size = int(lengths.max()) if max_length is None else max_length
    positions = torch.arange(size, device=lengths.device)
    return (positions < lengths.unsqueeze(1)).flip(1)
