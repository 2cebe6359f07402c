# %% mutant masks_queries
# The new axis stands on the wrong side: (batch, keys, 1) broadcasts over the keys, so that a padded *query* is silenced while
# every real query still sees padded keys. It is the keys that must be hidden.
def key_mask(padding):
    return padding[:, :, None]


def combine_masks(padding, causal):
    return key_mask(padding) & causal[None, :, :]


# %% rewritten masks_queries
def key_mask(padding):
    return padding.unsqueeze(-1)


def combine_masks(padding, causal):
    return torch.logical_and(causal, padding.unsqueeze(dim=2))


# %% mutant either
# The two masks are joined with "or": a key is allowed when it is real *or* lies in the past. Both must hold. So the future
# of a real token is visible, and so is padding in the past.
def key_mask(padding):
    return padding[:, None, :]


def combine_masks(padding, causal):
    return key_mask(padding) | causal[None, :, :]


# %% rewritten either
def key_mask(padding):
    return padding.unsqueeze(1)


def combine_masks(padding, causal):
    # Adding booleans is "or"; multiplying them is "and".
    return padding.unsqueeze(1) + causal


# %% mutant queries_too
# Padded queries are silenced as well as padded keys. What a padded query computes is thrown away anyway; forbidding it everything
# makes rows without any allowed key (NaN in PyTorch's explicit attention), and the mask no longer fits other queries than the keys.
def key_mask(padding):
    return padding[:, None, :] & padding[:, :, None]


def combine_masks(padding, causal):
    return key_mask(padding) & causal[None, :, :]


# %% rewritten queries_too
def key_mask(padding):
    real = padding.float()
    return torch.einsum("bq,bk->bqk", real, real) > 0


def combine_masks(padding, causal):
    return torch.stack([torch.outer(row, row) & causal for row in padding])


# %% mutant causal_swapped
# The causal mask is transposed on the way: real keys of the future are allowed and those of the past are not. Rows are
# queries and columns are keys in the causal mask already.
def key_mask(padding):
    return padding[:, None, :]


def combine_masks(padding, causal):
    return key_mask(padding) & causal.transpose(0, 1)[None]


# %% rewritten causal_swapped
def key_mask(padding):
    return padding.unsqueeze(1)


def combine_masks(padding, causal):
    return torch.einsum("bk,kq->bqk", padding.int(), causal.int()).bool()


# %% mutant forgets_padding
# Only the future is forbidden: the combined mask is the causal mask, copied for each utterance. Padded keys stay visible
# to every query that comes after them.
def key_mask(padding):
    return padding[:, None, :]


def combine_masks(padding, causal):
    return causal[None].expand(len(padding), -1, -1)


# %% rewritten forgets_padding
def key_mask(padding):
    return padding.unsqueeze(1)


def combine_masks(padding, causal):
    return torch.stack([causal for _ in padding])
