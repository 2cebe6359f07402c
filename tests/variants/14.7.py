# %% rolled
def next_token_loss(model, batch, tokens, pad):
    logits = model(batch.features, batch.feature_lengths, tokens).logits
    answers = tokens.roll(-1, dims=1)
    answers[:, -1] = pad  # nothing is known to follow the last token of a row
    return F.cross_entropy(logits.flatten(0, 1), answers.flatten(), ignore_index=pad)
