# %% mutant pad_counts
# PAD is trained on: the mean is over all positions, and most of them are padding, which is easy. The loss looks splendid while
# the letters have hardly begun: leave PAD out, and divide by what is left.
def text_loss(logits, answered, tokenizer):
    return F.cross_entropy(logits.transpose(1, 2), answered)


# %% rewritten pad_counts
def text_loss(logits, answered, tokenizer):
    log_probs = logits.log_softmax(dim=-1)
    return -log_probs.gather(2, answered[:, :, None]).mean()


# %% mutant pad_divides
# The losses of PAD are set to 0, but still divided by: the mean is over all positions. The loss is as small as there is much
# padding, and so are the gradients of the letters: divide by the number of tokens that are no PAD.
def text_loss(logits, answered, tokenizer):
    losses = F.cross_entropy(logits.transpose(1, 2), answered, reduction="none")
    return losses.masked_fill(answered == tokenizer.pad_id, 0.0).mean()


# %% rewritten pad_divides
def text_loss(logits, answered, tokenizer):
    total = F.cross_entropy(logits.flatten(0, 1), answered.flatten(), ignore_index=tokenizer.pad_id, reduction="sum")
    return total / (answered.shape[0] * answered.shape[1])


# %% mutant end_left_out_too
# PAD is left out, and EOS with it. The end of a text is part of it: without its loss the decoder never learns to stop.
def text_loss(logits, answered, tokenizer):
    real = (answered != tokenizer.pad_id) & (answered != tokenizer.eos_id)
    return F.cross_entropy(logits[real], answered[real])


# %% rewritten end_left_out_too
def text_loss(logits, answered, tokenizer):
    targets = answered.masked_fill(answered == tokenizer.eos_id, tokenizer.pad_id)
    return F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=tokenizer.pad_id)
