# %% mutant offset_ignored
# The offset is not used: each piece starts again at position 0. With a cache, new keys would be turned as if they came first.
def rotate_by_position(x, offset=0):
    angle = torch.arange(x.shape[-2])[:, None] * frequencies(x.shape[-1])
    even, odd = x[..., 0::2], x[..., 1::2]
    first = even * angle.cos() - odd * angle.sin()
    second = even * angle.sin() + odd * angle.cos()
    return torch.stack([first, second], dim=-1).flatten(-2)


# %% rewritten offset_ignored
def rotate_by_position(x, offset=0):
    angle = torch.outer(torch.arange(x.shape[-2]).float(), frequencies(x.shape[-1]))
    points = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(points * torch.polar(torch.ones_like(angle), angle)).flatten(-2)


# %% mutant no_minus
# The minus sign is missing. What you apply is not a rotation: it changes the length of vectors, and with it the scores.
def rotate_by_position(x, offset=0):
    angle = torch.arange(offset, offset + x.shape[-2])[:, None] * frequencies(x.shape[-1])
    even, odd = x[..., 0::2], x[..., 1::2]
    first = even * angle.cos() + odd * angle.sin()
    second = even * angle.sin() + odd * angle.cos()
    return torch.stack([first, second], dim=-1).flatten(-2)


# %% rewritten no_minus
def rotate_by_position(x, offset=0):
    out = torch.empty_like(x)
    for t in range(x.shape[-2]):
        for i, w in enumerate(frequencies(x.shape[-1]).tolist()):
            c, s = math.cos(w * (t + offset)), math.sin(w * (t + offset))
            block = torch.tensor([[c, s], [s, c]])
            out[..., t, 2 * i : 2 * i + 2] = x[..., t, 2 * i : 2 * i + 2] @ block
    return out


# %% mutant backwards
# Your pairs turn the other way round. Dot products of queries and keys stay right as long as both turn alike, but a model
# trained with the usual direction could not be loaded.
def rotate_by_position(x, offset=0):
    angle = torch.arange(offset, offset + x.shape[-2])[:, None] * frequencies(x.shape[-1])
    even, odd = x[..., 0::2], x[..., 1::2]
    first = even * angle.cos() + odd * angle.sin()
    second = odd * angle.cos() - even * angle.sin()
    return torch.stack([first, second], dim=-1).flatten(-2)


# %% rewritten backwards
def rotate_by_position(x, offset=0):
    rows = [x[..., t, :] @ shift_matrix(x.shape[-1], t + offset).T for t in range(x.shape[-2])]
    return torch.stack(rows, dim=-2)


# %% mutant halves
# You turn dimension i together with dimension i + d / 2. Some models do that, but here partners are neighbours, 2i and
# 2i + 1. Weights trained with one layout are useless in the other.
def rotate_by_position(x, offset=0):
    angle = torch.arange(offset, offset + x.shape[-2])[:, None] * frequencies(x.shape[-1])
    left, right = x.chunk(2, dim=-1)
    first = left * angle.cos() - right * angle.sin()
    second = left * angle.sin() + right * angle.cos()
    return torch.cat([first, second], dim=-1)


# %% rewritten halves
def rotate_by_position(x, offset=0):
    half = x.shape[-1] // 2
    angle = torch.outer(torch.arange(x.shape[-2]) + offset, frequencies(x.shape[-1])).repeat(1, 2)
    partner = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * angle.cos() + partner * angle.sin()


# %% mutant wrong_axis
# The positions are counted along the wrong axis. In (batch, heads, length, d_head) the time is the axis before the last; you
# turn each head, or each utterance, by its number.
def rotate_by_position(x, offset=0):
    angle = torch.arange(offset, offset + x.shape[-3])[:, None, None] * frequencies(x.shape[-1])
    even, odd = x[..., 0::2], x[..., 1::2]
    first = even * angle.cos() - odd * angle.sin()
    second = even * angle.sin() + odd * angle.cos()
    return torch.stack([first, second], dim=-1).flatten(-2)


# %% rewritten wrong_axis
def rotate_by_position(x, offset=0):
    out = torch.empty_like(x)
    for n in range(x.shape[-3]):
        for i, w in enumerate(frequencies(x.shape[-1]).tolist()):
            c, s = math.cos(w * (n + offset)), math.sin(w * (n + offset))
            out[..., n, :, 2 * i] = x[..., n, :, 2 * i] * c - x[..., n, :, 2 * i + 1] * s
            out[..., n, :, 2 * i + 1] = x[..., n, :, 2 * i] * s + x[..., n, :, 2 * i + 1] * c
    return out
