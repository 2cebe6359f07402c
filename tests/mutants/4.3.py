# %% mutant transposed
# Your rotation turns the wrong way: it takes position t to t - offset. That is the transpose of the right matrix. Write
# out sin(a + b) and cos(a + b), and read the two rows of the block from them; the sine comes first in a pair.
def shift_matrix(d_model, offset):
    angle = offset * frequencies(d_model)
    blocks = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=-1).view(-1, 2, 2)
    return torch.block_diag(*blocks)


# %% rewritten transposed
def shift_matrix(d_model, offset):
    matrix = torch.zeros(d_model, d_model)
    for i, w in enumerate(frequencies(d_model).tolist()):
        c, s = math.cos(-w * offset), math.sin(-w * offset)
        matrix[2 * i, 2 * i] = matrix[2 * i + 1, 2 * i + 1] = c
        matrix[2 * i, 2 * i + 1] = s
        matrix[2 * i + 1, 2 * i] = -s
    return matrix


# %% mutant no_minus
# Both sines in your blocks have the same sign. cos(a + b) = cos a cos b - sin a sin b has a minus, and without it the matrix
# does not rotate: it stretches some vectors and shrinks others.
def shift_matrix(d_model, offset):
    angle = offset * frequencies(d_model)
    blocks = torch.stack([angle.cos(), angle.sin(), angle.sin(), angle.cos()], dim=-1).view(-1, 2, 2)
    return torch.block_diag(*blocks)


# %% rewritten no_minus
def shift_matrix(d_model, offset):
    angle = offset * frequencies(d_model)
    even = torch.arange(0, d_model, 2)
    matrix = torch.diag(angle.cos().repeat_interleave(2))
    matrix[even, even + 1] = angle.sin()
    matrix[even + 1, even] = angle.sin()
    return matrix


# %% mutant halves
# Your matrix turns dimension i together with dimension i + d_model / 2. In our table the partners are neighbours,
# dimensions 2i and 2i + 1, so the blocks lie on the diagonal.
def shift_matrix(d_model, offset):
    angle = offset * frequencies(d_model)
    cos, sin = torch.diag(angle.cos()), torch.diag(angle.sin())
    return torch.cat([torch.cat([cos, sin], dim=1), torch.cat([-sin, cos], dim=1)], dim=0)


# %% rewritten halves
def shift_matrix(d_model, offset):
    half = d_model // 2
    matrix = torch.zeros(d_model, d_model)
    for i, w in enumerate(frequencies(d_model).tolist()):
        c, s = math.cos(w * offset), math.sin(w * offset)
        matrix[i, i] = matrix[half + i, half + i] = c
        matrix[i, half + i] = s
        matrix[half + i, i] = -s
    return matrix


# %% mutant sine_and_cosine_swapped
# Sine and cosine have changed places: with offset 0 nothing may move, and cos 0 = 1 belongs on the diagonal.
def shift_matrix(d_model, offset):
    angle = offset * frequencies(d_model)
    blocks = torch.stack([angle.sin(), angle.cos(), -angle.cos(), angle.sin()], dim=-1).view(-1, 2, 2)
    return torch.block_diag(*blocks)


# %% rewritten sine_and_cosine_swapped
def shift_matrix(d_model, offset):
    matrix = torch.zeros(d_model, d_model)
    for i, w in enumerate(frequencies(d_model).tolist()):
        s, c = math.sin(w * offset), math.cos(w * offset)
        matrix[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = torch.tensor([[s, c], [-c, s]])
    return matrix


# %% mutant one_angle
# Every pair turns by the same angle. Each pair has a frequency of its own, so in one step the fast hands turn far and the
# slow ones hardly move.
def shift_matrix(d_model, offset):
    angle = torch.full((d_model // 2,), float(offset))
    blocks = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()], dim=-1).view(-1, 2, 2)
    return torch.block_diag(*blocks)


# %% rewritten one_angle
def shift_matrix(d_model, offset):
    c, s = math.cos(offset), math.sin(offset)
    return torch.kron(torch.eye(d_model // 2), torch.tensor([[c, s], [-s, c]]))
