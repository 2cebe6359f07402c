# %% mutant no_scale
# The scores are not divided by the square root of d. The wider the vectors, the larger the scores; the softmax then gives
# everything to one key, and almost no gradient comes back.
def attention_scores(query, key):
    return query @ key.transpose(-2, -1)


# %% rewritten no_scale
def attention_scores(query, key):
    return torch.einsum("...qd,...kd->...qk", query, key)


# %% mutant scale_by_d
# The scores are divided by d itself, not by its square root. Their spread then shrinks as vectors get wider, and the
# softmax shares out nearly evenly: no query can look at anything in particular.
def attention_scores(query, key):
    return query @ key.transpose(-2, -1) / query.shape[-1]


# %% rewritten scale_by_d
def attention_scores(query, key):
    products = query.unsqueeze(-2) * key.unsqueeze(-3)
    return products.mean(dim=-1)


# %% mutant scale_by_keys
# The scores are divided by the square root of the number of keys, not of the width d. The same query and key
# would fit better in a short utterance than in a long one.
def attention_scores(query, key):
    return query @ key.transpose(-2, -1) / math.sqrt(key.shape[-2])


# %% rewritten scale_by_keys
def attention_scores(query, key):
    num_keys = key.size(-2)
    return torch.einsum("...id,...jd->...ij", query * num_keys**-0.5, key)


# %% mutant scale_by_queries
# The scores are divided by the square root of the number of queries, not of the width d. What one query sees would
# depend on how many others ask at the same time.
def attention_scores(query, key):
    return query @ key.transpose(-2, -1) / math.sqrt(query.shape[-2])


# %% rewritten scale_by_queries
def attention_scores(query, key):
    factor = 1 / query.size(-2) ** 0.5
    return torch.matmul(factor * query, key.mT)


# %% mutant keys_by_queries
# Rows and columns are exchanged: the result is (keys, queries). A row must hold the scores of one query, for along
# that row 1 will be shared out.
def attention_scores(query, key):
    return key @ query.transpose(-2, -1) / math.sqrt(query.shape[-1])


# %% rewritten keys_by_queries
def attention_scores(query, key):
    return torch.einsum("...qd,...kd->...kq", query, key) * key.shape[-1] ** -0.5


# %% mutant multiplied
# The scores are multiplied by the square root of d where they should be divided by it: the softmax saturates even sooner than without
# any scale.
def attention_scores(query, key):
    return query @ key.transpose(-2, -1) * math.sqrt(query.shape[-1])


# %% rewritten multiplied
def attention_scores(query, key):
    return torch.einsum("...qd,...kd->...qk", query, key) / query.shape[-1] ** -0.5


# %% mutant cosine
# The vectors are brought to length 1, so that scores are cosines. Their length then says nothing, no score exceeds
# 1, and the softmax can never look sharply at one key among many.
def attention_scores(query, key):
    return F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).transpose(-2, -1)


# %% rewritten cosine
def attention_scores(query, key):
    products = torch.einsum("...qd,...kd->...qk", query, key)
    lengths = query.norm(dim=-1).unsqueeze(-1) * key.norm(dim=-1).unsqueeze(-2)
    return products / lengths.clamp(min=1e-12)
