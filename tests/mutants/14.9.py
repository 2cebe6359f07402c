# %% mutant raw_logits
# The language model's raw logits are added. They are no log-probabilities: where the scale begins is arbitrary, and they may be
# positive, so that each further letter raises a hypothesis and texts do not end. Normalise them over the vocabulary: log_softmax.
def lm_scores(lm, prefixes):
    return lm(prefixes)[:, -1]


# %% rewritten raw_logits
def lm_scores(lm, prefixes):
    everything = lm(prefixes)
    return everything.select(1, prefixes.shape[1] - 1).clone()


# %% mutant probabilities
# Probabilities are added to log-probabilities. All of them lie between 0 and 1, so that a token that the language model holds to be
# impossible loses one nat at most: it has hardly any say. Take their logarithm: log_softmax instead of softmax.
def lm_scores(lm, prefixes):
    return lm(prefixes)[:, -1].softmax(dim=-1)


# %% rewritten probabilities
def lm_scores(lm, prefixes):
    powers = lm(prefixes)[:, -1].exp()
    return powers / powers.sum(dim=1, keepdim=True)


# %% mutant largest_subtracted
# The largest logit was subtracted. Nothing is positive any more, but the best token now costs nothing at all, however unsure the
# language model is: the probabilities have to add up to 1. log_softmax subtracts the logarithm of their sum.
def lm_scores(lm, prefixes):
    logits = lm(prefixes)[:, -1]
    return logits - logits.amax(dim=-1, keepdim=True)


# %% rewritten largest_subtracted
def lm_scores(lm, prefixes):
    logits = lm(prefixes)[:, -1, :]
    best, _ = logits.max(dim=1)
    return logits - best[:, None]
