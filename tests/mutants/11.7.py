# %% mutant not_shifted
# The guess at a position is what the decoder says after reading that position, one too late. It is the guess for the next
# one: position u reads what was guessed after position u - 1.
def mix_guesses(tokens_in, logits, share, pad, special):
    logits = logits.index_fill(-1, torch.tensor(special, device=logits.device), -torch.inf)
    guesses = logits[:, 1:].argmax(dim=-1)
    text = tokens_in[:, 1:]
    replaced = (torch.rand(text.shape, device=text.device) >= share) & (text != pad)
    return torch.cat([tokens_in[:, :1], torch.where(replaced, guesses, text)], dim=1)


# %% rewritten not_shifted
def mix_guesses(tokens_in, logits, share, pad, special):
    scores = logits.clone()
    scores[..., list(special)] = -torch.inf
    guesses = scores.max(dim=-1).indices
    keep = torch.rand(tokens_in.shape, device=tokens_in.device) < share
    keep |= tokens_in == pad
    keep[:, 0] = True
    return torch.where(keep, tokens_in, guesses)


# %% mutant inverted_share
# The share counts the guesses, not the true tokens. A training that should begin with the true text begins with guesses of
# a decoder that knows nothing yet.
def mix_guesses(tokens_in, logits, share, pad, special):
    logits = logits.index_fill(-1, torch.tensor(special, device=logits.device), -torch.inf)
    guesses = logits[:, :-1].argmax(dim=-1)
    text = tokens_in[:, 1:]
    replaced = (torch.rand(text.shape, device=text.device) < share) & (text != pad)
    return torch.cat([tokens_in[:, :1], torch.where(replaced, guesses, text)], dim=1)


# %% rewritten inverted_share
def mix_guesses(tokens_in, logits, share, pad, special):
    scores = logits.clone()
    scores[..., list(special)] = -torch.inf
    shifted = torch.cat([tokens_in[:, :1], scores.max(dim=-1).indices[:, :-1]], dim=1)
    keep = torch.rand(tokens_in.shape, device=tokens_in.device) >= share
    keep |= tokens_in == pad
    keep[:, 0] = True
    return torch.where(keep, tokens_in, shifted)


# %% mutant special_read
# Special tokens can be guesses. The decoder then reads EOS or the blank in the middle of a text, which never happens in a
# search, and learns to go on after the end.
def mix_guesses(tokens_in, logits, share, pad, special):
    guesses = logits[:, :-1].argmax(dim=-1)
    text = tokens_in[:, 1:]
    replaced = (torch.rand(text.shape, device=text.device) >= share) & (text != pad)
    return torch.cat([tokens_in[:, :1], torch.where(replaced, guesses, text)], dim=1)


# %% rewritten special_read
def mix_guesses(tokens_in, logits, share, pad, special):
    shifted = torch.cat([tokens_in[:, :1], logits.max(dim=-1).indices[:, :-1]], dim=1)
    keep = torch.rand(tokens_in.shape, device=tokens_in.device) < share
    keep |= tokens_in == pad
    keep[:, 0] = True
    return torch.where(keep, tokens_in, shifted)


# %% mutant padding_replaced
# Padding is replaced as well. Tokens now stand behind the end of each text. The loss leaves these positions out, but they
# are no longer PAD, and whatever counts real tokens by them counts wrong.
def mix_guesses(tokens_in, logits, share, pad, special):
    logits = logits.index_fill(-1, torch.tensor(special, device=logits.device), -torch.inf)
    guesses = logits[:, :-1].argmax(dim=-1)
    text = tokens_in[:, 1:]
    replaced = torch.rand(text.shape, device=text.device) >= share
    return torch.cat([tokens_in[:, :1], torch.where(replaced, guesses, text)], dim=1)


# %% rewritten padding_replaced
def mix_guesses(tokens_in, logits, share, pad, special):
    scores = logits.clone()
    scores[..., list(special)] = -torch.inf
    shifted = torch.cat([tokens_in[:, :1], scores.max(dim=-1).indices[:, :-1]], dim=1)
    keep = torch.rand(tokens_in.shape, device=tokens_in.device) < share
    keep[:, 0] = True
    return torch.where(keep, tokens_in, shifted)


# %% mutant whole_texts
# One draw decides for a whole text: it is read as it is, or all of it is guessed. After its first guesses the decoder no
# longer sees where it is, while mixed by position it always has true tokens near a wrong one.
def mix_guesses(tokens_in, logits, share, pad, special):
    logits = logits.index_fill(-1, torch.tensor(special, device=logits.device), -torch.inf)
    guesses = logits[:, :-1].argmax(dim=-1)
    text = tokens_in[:, 1:]
    replaced = (torch.rand(len(text), 1, device=text.device) >= share) & (text != pad)
    return torch.cat([tokens_in[:, :1], torch.where(replaced, guesses, text)], dim=1)


# %% rewritten whole_texts
def mix_guesses(tokens_in, logits, share, pad, special):
    scores = logits.clone()
    scores[..., list(special)] = -torch.inf
    shifted = torch.cat([tokens_in[:, :1], scores.max(dim=-1).indices[:, :-1]], dim=1)
    rows = []
    for row in range(len(tokens_in)):
        guessed = bool(torch.rand(()) >= share)
        rows.append(torch.where(tokens_in[row] == pad, tokens_in[row], shifted[row]) if guessed else tokens_in[row])
    return torch.stack(rows)
