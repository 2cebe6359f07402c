# %% mutant skips_between_equals
# A skip is allowed between equal tokens too. Then A A may be said without a blank between, but frames A A are merged to one A: paths
# of another text are counted.
def extend_targets(targets, target_lengths, blank):
    batch, length = targets.shape
    real = torch.arange(length, device=targets.device) < target_lengths[:, None]
    states = torch.full((batch, 2 * length + 1), blank, dtype=torch.long, device=targets.device)
    states[:, 1::2] = targets.masked_fill(~real, blank)
    may_skip = torch.zeros_like(states, dtype=torch.bool)
    may_skip[:, 3::2] = real[:, 1:]
    return states, may_skip


# %% rewritten skips_between_equals
def extend_targets(targets, target_lengths, blank):
    rows, skips = [], []
    for row, count in zip(targets.tolist(), target_lengths.tolist(), strict=True):
        states, may = [blank], [False]
        for place, token in enumerate(row):
            states += [token if place < count else blank, blank]
            may += [0 < place < count, False]
        rows.append(states)
        skips.append(may)
    return torch.tensor(rows), torch.tensor(skips)


# %% mutant skips_to_blanks
# Blanks can be skipped to as well, so that a path may leave out a whole token. A skip leaves out a blank, never a token: it leads from
# a token to a token.
def extend_targets(targets, target_lengths, blank):
    batch, length = targets.shape
    real = torch.arange(length, device=targets.device) < target_lengths[:, None]
    states = torch.full((batch, 2 * length + 1), blank, dtype=torch.long, device=targets.device)
    states[:, 1::2] = targets.masked_fill(~real, blank)
    may_skip = torch.zeros_like(states, dtype=torch.bool)
    may_skip[:, 3::2] = (targets[:, 1:] != targets[:, :-1]) & real[:, 1:]
    may_skip[:, 2::2] = real
    return states, may_skip


# %% rewritten skips_to_blanks
def extend_targets(targets, target_lengths, blank):
    rows, skips = [], []
    for row, count in zip(targets.tolist(), target_lengths.tolist(), strict=True):
        states, may = [blank], [False]
        for place, token in enumerate(row):
            inside = place < count
            states += [token if inside else blank, blank]
            may += [inside and place > 0 and row[place - 1] != token, inside]
        rows.append(states)
        skips.append(may)
    return torch.tensor(rows), torch.tensor(skips)


# %% mutant padding_is_text
# The padding of the targets is taken for text. It may hold anything, even ids that do not exist: whatever stands behind an
# utterance's own tokens becomes blank, and cannot be skipped to.
def extend_targets(targets, target_lengths, blank):
    batch, length = targets.shape
    states = torch.full((batch, 2 * length + 1), blank, dtype=torch.long, device=targets.device)
    states[:, 1::2] = targets
    may_skip = torch.zeros_like(states, dtype=torch.bool)
    may_skip[:, 3::2] = targets[:, 1:] != targets[:, :-1]
    return states, may_skip


# %% rewritten padding_is_text
def extend_targets(targets, target_lengths, blank):
    blanks = torch.full_like(targets, blank)
    states = torch.stack([blanks, targets], dim=2).flatten(1)
    states = torch.cat([states, torch.full_like(states[:, :1], blank)], dim=1)
    may_skip = torch.zeros(states.shape, dtype=torch.bool)
    for place in range(3, states.shape[1], 2):
        may_skip[:, place] = states[:, place] != states[:, place - 2]
    return states, may_skip


# %% mutant no_last_blank
# The last blank is missing: a path could only end in the last token, though most of the silence lies behind it. There are 2 * length + 1
# states.
def extend_targets(targets, target_lengths, blank):
    batch, length = targets.shape
    real = torch.arange(length, device=targets.device) < target_lengths[:, None]
    states = torch.full((batch, 2 * length), blank, dtype=torch.long, device=targets.device)
    states[:, 1::2] = targets.masked_fill(~real, blank)
    may_skip = torch.zeros_like(states, dtype=torch.bool)
    may_skip[:, 3::2] = (targets[:, 1:] != targets[:, :-1]) & real[:, 1:]
    return states, may_skip


# %% rewritten no_last_blank
def extend_targets(targets, target_lengths, blank):
    rows, skips = [], []
    for row, count in zip(targets.tolist(), target_lengths.tolist(), strict=True):
        states, may = [], []
        for place, token in enumerate(row):
            states += [blank, token if place < count else blank]
            may += [False, 0 < place < count and row[place - 1] != token]
        rows.append(states)
        skips.append(may)
    return torch.tensor(rows), torch.tensor(skips)


# %% mutant blank_is_zero
# The blanks are zeros. Which id blank has is the tokenizer's business; it is handed to you as `blank`.
def extend_targets(targets, target_lengths, blank):
    batch, length = targets.shape
    real = torch.arange(length, device=targets.device) < target_lengths[:, None]
    states = torch.zeros((batch, 2 * length + 1), dtype=torch.long, device=targets.device)
    states[:, 1::2] = targets * real
    may_skip = torch.zeros_like(states, dtype=torch.bool)
    may_skip[:, 3::2] = (targets[:, 1:] != targets[:, :-1]) & real[:, 1:]
    return states, may_skip


# %% rewritten blank_is_zero
def extend_targets(targets, target_lengths, blank):
    rows, skips = [], []
    for row, count in zip(targets.tolist(), target_lengths.tolist(), strict=True):
        states, may = [0], [False]
        for place, token in enumerate(row):
            states += [token if place < count else 0, 0]
            may += [0 < place < count and row[place - 1] != token, False]
        rows.append(states)
        skips.append(may)
    return torch.tensor(rows), torch.tensor(skips)
