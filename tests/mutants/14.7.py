# %% mutant answer_is_read
# The decoder reads the very token that it is asked for: what is read and what is to be answered are the same row. It learns to copy,
# for which it needs neither the sound nor what came before. Let it read all but the last token, and ask for all but the first.
def next_token_loss(model, batch, tokens, pad):
    logits = model(batch.features, batch.feature_lengths, tokens).logits
    return F.cross_entropy(logits.transpose(1, 2), tokens, ignore_index=pad)


# %% rewritten answer_is_read
def next_token_loss(model, batch, tokens, pad):
    scores = model(batch.features, batch.feature_lengths, tokens).logits.log_softmax(dim=-1)
    right = scores.gather(2, tokens[..., None]).squeeze(-1)
    real = tokens != pad
    return -(right * real).sum() / real.sum()


# %% mutant both_cut
# The last token was dropped from both rows. They are shorter now and still the same: the answer at each position is the token that is
# read there. The row of answers loses its first token instead, so that each position is asked for what follows.
def next_token_loss(model, batch, tokens, pad):
    tokens = tokens[:, :-1]
    logits = model(batch.features, batch.feature_lengths, tokens).logits
    return F.cross_entropy(logits.transpose(1, 2), tokens, ignore_index=pad)


# %% rewritten both_cut
def next_token_loss(model, batch, tokens, pad):
    length = tokens.shape[1] - 1
    scores = model(batch.features, batch.feature_lengths, tokens[:, :length]).logits.log_softmax(dim=-1)
    asked = tokens[:, :length]
    real = asked != pad
    return -scores.gather(2, asked[..., None])[..., 0][real].mean()


# %% mutant shifted_backwards
# The rows are shifted against each other in the wrong direction: the decoder reads a letter and is asked for the one before it, which
# it has just read. The loss is good again without any listening. It must be asked for the token that comes after.
def next_token_loss(model, batch, tokens, pad):
    logits = model(batch.features, batch.feature_lengths, tokens[:, 1:]).logits
    return F.cross_entropy(logits.transpose(1, 2), tokens[:, :-1], ignore_index=pad)


# %% rewritten shifted_backwards
def next_token_loss(model, batch, tokens, pad):
    scores = model(batch.features, batch.feature_lengths, tokens[:, 1:]).logits.log_softmax(dim=-1)
    asked = tokens[:, :-1]
    right = scores.gather(2, asked.unsqueeze(2)).squeeze(2)
    real = (asked != pad).float()
    return -(right * real).sum() / real.sum()
