# %% mutant strictly_below
# A position may see the past but not itself. The first position then sees nothing at all, and every other one does not
# know which token it stands on.
def causal_mask(size, device=None):
    return torch.ones(size, size, dtype=torch.bool, device=device).tril(-1)


# %% rewritten strictly_below
def causal_mask(size, device=None):
    positions = torch.arange(size, device=device)
    return positions.unsqueeze(0) < positions.unsqueeze(1)


# %% mutant flipped
# Rows and columns are swapped: each position sees itself and the *future*. Row = the position that looks, column = the
# position that is looked at.
def causal_mask(size, device=None):
    return torch.ones(size, size, dtype=torch.bool, device=device).triu()


# %% rewritten flipped
def causal_mask(size, device=None):
    positions = torch.arange(size, device=device)
    return positions[None, :] >= positions[:, None]


# %% mutant inverted
# True stands on the future: this is the mask that nn.MultiheadAttention wants (True = ignore). Under this course's convention
# a position sees only what it must predict, and the last one sees nothing.
def causal_mask(size, device=None):
    return torch.ones(size, size, dtype=torch.bool, device=device).triu(1)


# %% rewritten inverted
def causal_mask(size, device=None):
    positions = torch.arange(size, device=device)
    return ~(positions[:, None] >= positions[None, :])


# %% mutant sees_the_next
# A position sees one token too many: the next one, which is exactly what it should predict. The training loss falls to
# nothing within minutes, and decoding produces nonsense.
def causal_mask(size, device=None):
    return torch.ones(size, size, dtype=torch.bool, device=device).tril(1)


# %% rewritten sees_the_next
def causal_mask(size, device=None):
    mask = torch.zeros(size, size, dtype=torch.bool, device=device)
    for query in range(size):
        mask[query, : query + 2] = True
    return mask


# %% mutant float_mask
# The mask holds 1.0 and 0.0 instead of True and False. F.scaled_dot_product_attention adds a float mask to the scores, so
# that the future stays visible, and no error says so.
def causal_mask(size, device=None):
    return torch.tril(torch.ones(size, size, device=device))


# %% rewritten float_mask
def causal_mask(size, device=None):
    positions = torch.arange(size, device=device)
    return (positions[:, None] >= positions[None, :]).to(torch.float32)
