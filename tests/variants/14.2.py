# %% sum_over_count
def text_loss(logits, answered, tokenizer):
    log_probs = logits.log_softmax(dim=-1)  # (batch, length, vocab)
    of_answers = log_probs.gather(2, answered.unsqueeze(2)).squeeze(2)
    real = (answered != tokenizer.pad_id).to(log_probs.dtype)
    return -(of_answers * real).sum() / real.sum()


# %% picked
def text_loss(logits, answered, tokenizer):
    real = answered.ne(tokenizer.pad_id)
    return F.cross_entropy(logits[real], answered[real])
