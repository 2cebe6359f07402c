# %% mutant last_token_is_blank
# The loss takes the last token of the vocabulary for the blank, as other toolkits have it; here the last token is a letter. What is
# learnt between the letters is then that letter: both the loss and the search ask the tokenizer, tokenizer.blank_id.
def alignment_loss(log_probs, frames, batch, tokenizer):
    time_first = log_probs.transpose(0, 1)  # (time, batch, vocab)
    blank = log_probs.shape[-1] - 1
    return F.ctc_loss(time_first, batch.targets, frames, batch.target_lengths, blank=blank)


def read_out(log_probs, frames, tokenizer):
    return [tokenizer.decode(tokens) for tokens in best_path(log_probs, frames, tokenizer.blank_id)]


# %% rewritten last_token_is_blank
def alignment_loss(log_probs, frames, batch, tokenizer):
    ctc = torch.nn.CTCLoss(blank=tokenizer.vocab_size - 1)
    return ctc(log_probs.permute(1, 0, 2), batch.targets, frames, batch.target_lengths)


def read_out(log_probs, frames, tokenizer):
    texts = []
    for path, length in zip(log_probs.argmax(2).tolist(), frames.tolist(), strict=True):
        path = path[:length]
        changes = [token for at, token in enumerate(path) if at == 0 or token != path[at - 1]]
        texts.append(tokenizer.decode([token for token in changes if token != tokenizer.blank_id]))
    return texts


# %% mutant both_wrong
# Loss and search agree now, on a letter: it is dropped wherever it was said, since it is what the search takes for nothing. The
# blank has an id of its own, tokenizer.blank_id, and both must use that.
def alignment_loss(log_probs, frames, batch, tokenizer):
    time_first = log_probs.transpose(0, 1)  # (time, batch, vocab)
    blank = log_probs.shape[-1] - 1
    return F.ctc_loss(time_first, batch.targets, frames, batch.target_lengths, blank=blank)


def read_out(log_probs, frames, tokenizer):
    return [tokenizer.decode(tokens) for tokens in best_path(log_probs, frames, log_probs.shape[-1] - 1)]


# %% rewritten both_wrong
def alignment_loss(log_probs, frames, batch, tokenizer):
    ctc = torch.nn.CTCLoss(blank=tokenizer.vocab_size - 1)
    return ctc(log_probs.permute(1, 0, 2), batch.targets, frames, batch.target_lengths)


def read_out(log_probs, frames, tokenizer):
    nothing, texts = tokenizer.vocab_size - 1, []
    for path, length in zip(log_probs.argmax(2).tolist(), frames.tolist(), strict=True):
        path = path[:length]
        changes = [token for at, token in enumerate(path) if at == 0 or token != path[at - 1]]
        texts.append(tokenizer.decode([token for token in changes if token != nothing]))
    return texts


# %% mutant not_merged
# The loss is right, and the search drops blanks without merging what repeats: a letter that lasts three frames is written three
# times. First repetitions are merged, then blanks are dropped, as best_path does.
def alignment_loss(log_probs, frames, batch, tokenizer):
    time_first = log_probs.transpose(0, 1)  # (time, batch, vocab)
    return F.ctc_loss(time_first, batch.targets, frames, batch.target_lengths, blank=tokenizer.blank_id)


def read_out(log_probs, frames, tokenizer):
    texts = []
    for path, length in zip(log_probs.argmax(2).tolist(), frames.tolist(), strict=True):
        texts.append(tokenizer.decode([token for token in path[:length] if token != tokenizer.blank_id]))
    return texts


# %% rewritten not_merged
def alignment_loss(log_probs, frames, batch, tokenizer):
    ctc = torch.nn.CTCLoss(blank=tokenizer.blank_id)
    return ctc(log_probs.permute(1, 0, 2), batch.targets, frames, batch.target_lengths)


def read_out(log_probs, frames, tokenizer):
    paths = [row[:length].argmax(1) for row, length in zip(log_probs, frames.tolist(), strict=True)]
    return [tokenizer.decode(path[path != tokenizer.blank_id].tolist()) for path in paths]
