# %% mutant swapped
# The two results are returned in the wrong order: the context comes first, then the weights.
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    weights = attention_weights(attention_scores(query, key), mask)
    if dropout > 0.0:
        weights = F.dropout(weights, dropout)
    return weights, weights @ value


# %% rewritten swapped
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    shares = F.dropout(attention_weights(attention_scores(query, key), mask), dropout)
    context = torch.einsum("...qk,...kv->...qv", shares, value)
    return shares, context


# %% mutant scores_for_weights
# The values are mixed by the scores, not by the weights. Scores do not sum to 1 and know nothing of the mask: the weights
# are computed, returned and not used.
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    scores = attention_scores(query, key)
    weights = attention_weights(scores, mask)
    if dropout > 0.0:
        scores = F.dropout(scores, dropout)
    return scores @ value, weights


# %% rewritten scores_for_weights
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    fit = attention_scores(query, key)
    shares = attention_weights(fit, mask)
    return torch.einsum("...qk,...kv->...qv", F.dropout(fit, dropout), value), shares


# %% mutant mask_forgotten
# The mask is not passed on: without it every query looks at everything, padding and future included.
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    weights = attention_weights(attention_scores(query, key))
    if dropout > 0.0:
        weights = F.dropout(weights, dropout)
    return weights @ value, weights


# %% rewritten mask_forgotten
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    shares = F.dropout(torch.softmax(attention_scores(query, key), dim=-1), p=dropout)
    return torch.einsum("...qk,...kv->...qv", shares, value), shares


# %% mutant scaled_twice
# The scores are divided by the square root of d a second time; attention_scores has done that already. The weights come out
# flatter than they should be.
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    scores = attention_scores(query, key) / math.sqrt(query.shape[-1])
    weights = attention_weights(scores, mask)
    if dropout > 0.0:
        weights = F.dropout(weights, dropout)
    return weights @ value, weights


# %% rewritten scaled_twice
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    smaller = query * query.size(-1) ** -0.5
    shares = F.dropout(attention_weights(attention_scores(smaller, key), mask), dropout)
    return torch.einsum("...qk,...kv->...qv", shares, value), shares


# %% mutant weights_transposed
# The matrix of weights is transposed before it meets the values: each value is handed out by the weights of one query to all
# keys, where each query should collect from all values. It fails where there are more keys than queries, and is quietly wrong where
# there are as many.
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    weights = attention_weights(attention_scores(query, key), mask)
    if dropout > 0.0:
        weights = F.dropout(weights, dropout)
    return weights.transpose(-2, -1) @ value, weights


# %% rewritten weights_transposed
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    shares = F.dropout(attention_weights(attention_scores(query, key), mask), dropout)
    return torch.einsum("...kq,...kv->...qv", shares, value), shares


# %% mutant dropout_forgotten
# Dropout is asked for and nothing is dropped. No error, only a model that leans on single keys and does worse on speech
# that it has not heard.
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    weights = attention_weights(attention_scores(query, key), mask)
    return weights @ value, weights


# %% rewritten dropout_forgotten
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    shares = attention_weights(attention_scores(query, key), mask)
    F.dropout(shares, dropout)  # the result is thrown away
    return torch.einsum("...qk,...kv->...qv", shares, value), shares


# %% mutant dropout_on_the_context
# Dropout falls on the context instead of the weights: single numbers of an answer vanish, where whole keys should be
# overlooked.
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    weights = attention_weights(attention_scores(query, key), mask)
    context = weights @ value
    if dropout > 0.0:
        context = F.dropout(context, dropout)
    return context, weights


# %% rewritten dropout_on_the_context
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    shares = attention_weights(attention_scores(query, key), mask)
    context = torch.einsum("...qk,...kv->...qv", shares, value)
    kept = (torch.rand_like(context) >= dropout).to(context.dtype)
    return context * kept / (1 - dropout), shares


# %% mutant dropout_unscaled
# Weights are dropped, but the surviving ones are not divided by 1 - p. In training all answers are then too small, and in use, when
# nothing is dropped, too large for what the next layer has learnt.
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    weights = attention_weights(attention_scores(query, key), mask)
    if dropout > 0.0:
        weights = weights * (torch.rand_like(weights) >= dropout)
    return weights @ value, weights


# %% rewritten dropout_unscaled
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    shares = F.dropout(attention_weights(attention_scores(query, key), mask), dropout) * (1 - dropout)
    return torch.einsum("...qk,...kv->...qv", shares, value), shares


# %% mutant dropout_always
# Weights are dropped although dropout is 0. The same utterance would be recognised differently each time; F.dropout without
# a probability takes one half.
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    weights = F.dropout(attention_weights(attention_scores(query, key), mask))
    return weights @ value, weights


# %% rewritten dropout_always
def scaled_dot_product_attention(query, key, value, mask=None, dropout=0.0):
    shares = attention_weights(attention_scores(query, key), mask)
    shares = shares * (torch.rand_like(shares) < 0.5) * 2
    return torch.einsum("...qk,...kv->...qv", shares, value), shares
