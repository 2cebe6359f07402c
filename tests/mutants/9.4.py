# %% mutant extended_after_eos
# Finished candidates stay among those that go on, and are extended behind their EOS. They fill the beam with texts that
# are long over, and push out those that are not.
def split_finished(tokens, eos, beam_size):
    rank = torch.arange(tokens.shape[1], device=tokens.device)
    return (tokens == eos) & (rank < beam_size), rank[:beam_size].expand(len(tokens), -1)


# %% rewritten extended_after_eos
def split_finished(tokens, eos, beam_size):
    ends = tokens.eq(eos).clone()
    ends[:, beam_size:] = False
    going_on = [list(range(beam_size)) for _ in range(tokens.size(0))]
    return ends, torch.tensor(going_on)


# %% mutant every_end_counts
# Every candidate with an EOS ends, also those that the beam would not have kept. A beam of K keeps the K best candidates,
# and an end must be one of them; otherwise each hypothesis ends at each step, and early ends win.
def split_finished(tokens, eos, beam_size):
    is_end = tokens == eos
    return is_end, is_end.byte().argsort(dim=1, stable=True)[:, :beam_size]


# %% rewritten every_end_counts
def split_finished(tokens, eos, beam_size):
    going_on = [[place for place, token in enumerate(row) if token != eos][:beam_size] for row in tokens.tolist()]
    return tokens.eq(eos), torch.tensor(going_on)


# %% mutant order_lost
# The candidates that go on are no longer the best ones: after sorting by "ends or not" those with equal answers must keep
# their order, best first. Here the last come first.
def split_finished(tokens, eos, beam_size):
    is_end = tokens == eos
    rank = torch.arange(tokens.shape[1], device=tokens.device)
    order = (is_end * 1000 - rank).argsort(dim=1)
    return is_end & (rank < beam_size), order[:, :beam_size]


# %% rewritten order_lost
def split_finished(tokens, eos, beam_size):
    ends = tokens.eq(eos).clone()
    ends[:, beam_size:] = False
    going_on = [[place for place, token in enumerate(row) if token != eos][::-1][:beam_size] for row in tokens.tolist()]
    return ends, torch.tensor(going_on)


# %% mutant beam_shrinks
# The places of those that have ended go to nobody sensible: only the first candidates are looked at, and the last places
# repeat the best one that goes on. The beam gets narrower with every end, just when the search comes to its point.
def split_finished(tokens, eos, beam_size):
    first = tokens[:, :beam_size]
    rank = torch.arange(tokens.shape[1], device=tokens.device)
    is_end = first == eos
    order = is_end.byte().argsort(dim=1, stable=True)
    kept = torch.where(is_end.gather(1, order), order[:, :1], order)
    return (tokens == eos) & (rank < beam_size), kept


# %% rewritten beam_shrinks
def split_finished(tokens, eos, beam_size):
    ends = tokens.eq(eos).clone()
    ends[:, beam_size:] = False
    rows = []
    for row in tokens.tolist():
        left = [place for place in range(beam_size) if row[place] != eos] or [0]
        rows.append(left + [left[0]] * (beam_size - len(left)))
    return ends, torch.tensor(rows)
