# %% complex_numbers
def rotate_by_position(x, offset=0):
    *rest, length, d = x.shape
    angle = torch.outer(torch.arange(length, device=x.device) + offset, frequencies(d).to(x.device))
    points = torch.view_as_complex(x.reshape(*rest, length, d // 2, 2))
    return torch.view_as_real(points * torch.polar(torch.ones_like(angle), angle)).reshape(x.shape)


# %% one_matrix_for_each_position
def rotate_by_position(x, offset=0):
    turns = torch.stack([shift_matrix(x.shape[-1], -(offset + t)) for t in range(x.shape[-2])])
    return torch.einsum("tij,...tj->...ti", turns, x)


# %% partner_trick
def rotate_by_position(x, offset=0):
    angle = (offset + torch.arange(x.shape[-2])[:, None]) * frequencies(x.shape[-1]).repeat_interleave(2)
    partner = torch.empty_like(x)
    partner[..., 0::2] = -x[..., 1::2]
    partner[..., 1::2] = x[..., 0::2]
    return x * torch.cos(angle) + partner * torch.sin(angle)
