# %% mutant mean_over_the_batch
# The loss is the mean over the real positions of this batch. A sum is wanted: it is divided later, by the tokens of the whole
# step, or batches with few tokens would weigh as much as those with many.
def label_smoothed_cross_entropy(logits, targets, pad, smoothing=0.0):
    log_probs = logits.float().log_softmax(dim=-1)
    of_target = log_probs.gather(-1, targets[..., None])[..., 0]
    losses = -(1 - smoothing) * of_target - smoothing * log_probs.mean(dim=-1)
    return losses[targets != pad].mean()


# %% rewritten mean_over_the_batch
def label_smoothed_cross_entropy(logits, targets, pad, smoothing=0.0):
    return torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), ignore_index=pad, label_smoothing=smoothing
    )


# %% mutant pad_counts
# Positions that hold PAD are trained on. Behind short texts there are many of them, and the model learns that PAD is what
# usually follows.
def label_smoothed_cross_entropy(logits, targets, pad, smoothing=0.0):
    log_probs = logits.float().log_softmax(dim=-1)
    of_target = log_probs.gather(-1, targets[..., None])[..., 0]
    return (-(1 - smoothing) * of_target - smoothing * log_probs.mean(dim=-1)).sum()


# %% rewritten pad_counts
def label_smoothed_cross_entropy(logits, targets, pad, smoothing=0.0):
    return torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), label_smoothing=smoothing, reduction="sum"
    )


# %% mutant shares_exchanged
# The shares are exchanged: the right token gets `smoothing`, and everything else the rest. With a smoothing of 0.1 the model is
# taught to be undecided.
def label_smoothed_cross_entropy(logits, targets, pad, smoothing=0.0):
    log_probs = logits.float().log_softmax(dim=-1)
    of_target = log_probs.gather(-1, targets[..., None])[..., 0]
    losses = -smoothing * of_target - (1 - smoothing) * log_probs.mean(dim=-1)
    return losses.masked_fill(targets == pad, 0.0).sum()


# %% rewritten shares_exchanged
def label_smoothed_cross_entropy(logits, targets, pad, smoothing=0.0):
    vocab = logits.shape[-1]
    goal = torch.full(logits.shape, (1 - smoothing) / vocab)
    goal += smoothing * torch.nn.functional.one_hot(targets, vocab)
    losses = -(goal * torch.log_softmax(logits.float(), -1)).sum(-1)
    return (losses * (targets != pad)).sum()


# %% mutant only_the_others
# The smoothing is spread over the wrong tokens alone. By the definition used here (and in torch) it is spread over all tokens, the
# right one too: its target is a little above 1 - smoothing.
def label_smoothed_cross_entropy(logits, targets, pad, smoothing=0.0):
    log_probs = logits.float().log_softmax(dim=-1)
    of_target = log_probs.gather(-1, targets[..., None])[..., 0]
    others = (log_probs.sum(dim=-1) - of_target) / (logits.shape[-1] - 1)
    losses = -(1 - smoothing) * of_target - smoothing * others
    return losses.masked_fill(targets == pad, 0.0).sum()


# %% rewritten only_the_others
def label_smoothed_cross_entropy(logits, targets, pad, smoothing=0.0):
    vocab = logits.shape[-1]
    right = torch.nn.functional.one_hot(targets, vocab).bool()
    goal = torch.where(right, 1 - smoothing, smoothing / (vocab - 1))
    losses = -(goal * torch.log_softmax(logits.float(), -1)).sum(-1)
    return losses[targets != pad].sum()


# %% mutant summed_over_the_vocabulary
# The smoothing part is the sum over all tokens instead of their mean, so it is as many times too large as there are tokens: with
# 1000 of them the target itself hardly counts.
def label_smoothed_cross_entropy(logits, targets, pad, smoothing=0.0):
    log_probs = logits.float().log_softmax(dim=-1)
    of_target = log_probs.gather(-1, targets[..., None])[..., 0]
    losses = -(1 - smoothing) * of_target - smoothing * log_probs.sum(dim=-1)
    return losses.masked_fill(targets == pad, 0.0).sum()


# %% rewritten summed_over_the_vocabulary
def label_smoothed_cross_entropy(logits, targets, pad, smoothing=0.0):
    log_probs = torch.log_softmax(logits.float(), -1)
    goal = (1 - smoothing) * torch.nn.functional.one_hot(targets, logits.shape[-1]) + smoothing
    return -(goal * log_probs * (targets != pad)[..., None]).sum()
