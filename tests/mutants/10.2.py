# %% mutant learns_the_next_sentence_mark
# SOS is left among the answers. It follows every EOS, so the model is always right there, and the loss looks better than
# the model is: the shorter the sentences, the more.
def row_targets(rows, sos, pad):
    tokens_in, targets = rows[:, :-1], rows[:, 1:]
    return tokens_in, targets, (tokens_in == sos).cumsum(dim=1)


# %% rewritten learns_the_next_sentence_mark
def row_targets(rows, sos, pad):
    length = rows.shape[1] - 1
    tokens_in = rows.narrow(1, 0, length)
    numbers = torch.stack([(tokens_in[:, : t + 1] == sos).sum(dim=1) for t in range(length)], dim=1)
    return tokens_in, rows.narrow(1, 1, length).clone(), numbers


# %% mutant hides_the_question
# PAD is put where SOS is *read*, in the place of where it is the answer. Now the first word of each sentence is never
# learnt, and the useless answer behind EOS still is.
def row_targets(rows, sos, pad):
    tokens_in, targets = rows[:, :-1], rows[:, 1:]
    return tokens_in, targets.masked_fill(tokens_in == sos, pad), (tokens_in == sos).cumsum(dim=1)


# %% rewritten hides_the_question
def row_targets(rows, sos, pad):
    before, after = rows[:, :-1], rows[:, 1:]
    after = torch.where(before.eq(sos), torch.full_like(after, pad), after)
    return before, after, torch.cumsum(before.eq(sos).long(), dim=1)


# %% mutant no_shift
# Input and answer are the same tokens. The model learns to copy what it has just read, its loss goes to 0, and it can
# predict nothing.
def row_targets(rows, sos, pad):
    tokens_in = rows[:, :-1]
    return tokens_in, tokens_in.masked_fill(tokens_in == sos, pad), (tokens_in == sos).cumsum(dim=1)


# %% rewritten no_shift
def row_targets(rows, sos, pad):
    tokens_in = rows[:, : rows.shape[1] - 1]
    answers = torch.where(tokens_in == sos, pad, tokens_in)
    return tokens_in, answers, torch.cumsum((tokens_in == sos).int(), 1)


# %% mutant sentences_end_at_eos
# The sentence's number goes up where EOS is read, and so EOS belongs to the next sentence: it no longer sees the words that
# it ends, and the next sentence sees it.
def row_targets(rows, sos, pad):
    tokens_in, tokens_out = rows[:, :-1], rows[:, 1:]
    targets = tokens_out.masked_fill(tokens_out == sos, pad)
    return tokens_in, targets, 1 + (tokens_out == sos).cumsum(dim=1)


# %% rewritten sentences_end_at_eos
def row_targets(rows, sos, pad):
    tokens_in, tokens_out = rows[:, :-1], rows[:, 1:]
    targets = torch.where(tokens_out == sos, pad, tokens_out)
    numbers = torch.ones_like(tokens_in)
    for place in range(tokens_in.shape[1]):
        numbers[:, place:] += (tokens_out[:, place] == sos).long()[:, None]
    return tokens_in, targets, numbers


# %% mutant writes_into_the_rows
# PAD is written into the rows themselves. The next epoch reads rows in which no sentence but the first begins.
def row_targets(rows, sos, pad):
    tokens_in, targets = rows[:, :-1], rows[:, 1:]
    numbers = (tokens_in == sos).cumsum(dim=1)
    tokens_in = tokens_in.clone()
    targets[targets == sos] = pad
    return tokens_in, targets, numbers


# %% rewritten writes_into_the_rows
def row_targets(rows, sos, pad):
    before = rows[:, :-1].clone()
    after = rows[:, 1:].masked_fill_(rows[:, 1:] == sos, pad)
    return before, after, before.eq(sos).cumsum(1)
