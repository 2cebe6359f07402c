# %% diagonals
def shift_matrix(d_model, offset):
    angle = frequencies(d_model) * offset
    cos = angle.cos().repeat_interleave(2)  # each twice, on the diagonal
    sin = torch.zeros(d_model)
    sin[0::2] = angle.sin()
    sin = sin[:-1]  # above the diagonal, only inside the blocks
    return torch.diag(cos) + torch.diag(sin, 1) - torch.diag(sin, -1)


# %% loop_over_pairs
def shift_matrix(d_model, offset):
    matrix = torch.eye(d_model)
    for i in range(d_model // 2):
        angle = offset / 10_000 ** (2 * i / d_model)
        matrix[2 * i, 2 * i : 2 * i + 2] = torch.tensor([math.cos(angle), math.sin(angle)])
        matrix[2 * i + 1, 2 * i : 2 * i + 2] = torch.tensor([-math.sin(angle), math.cos(angle)])
    return matrix


# %% matrix_exponential
def shift_matrix(d_model, offset):
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    generator = torch.kron(torch.diag(frequencies(d_model).double()), turn)
    return torch.linalg.matrix_exp(offset * generator).float()
