# %% ranked
def split_finished(tokens, eos, beam_size):
    going = tokens != eos
    place = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    key = torch.where(going, place, place + tokens.shape[1])
    going_on = key.topk(beam_size, dim=1, largest=False, sorted=True).indices
    return ~going & (place < beam_size), going_on


# %% loop
def split_finished(tokens, eos, beam_size):
    ends = torch.zeros(tokens.shape, dtype=torch.bool, device=tokens.device)
    going_on = torch.zeros(len(tokens), beam_size, dtype=torch.long, device=tokens.device)
    for row in range(len(tokens)):
        filled = 0
        for place in range(tokens.shape[1]):
            if int(tokens[row, place]) == eos:
                ends[row, place] = place < beam_size
            elif filled < beam_size:
                going_on[row, filled] = place
                filled += 1
    return ends, going_on
