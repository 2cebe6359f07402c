# %% einsum
def swiglu(weights, x):
    first, out, second = weights
    gate = torch.einsum("...td,...md->...tm", x, first)
    through = torch.einsum("...td,...md->...tm", x, second)
    return torch.einsum("...tm,...dm->...td", gate * torch.sigmoid(gate) * through, out)


# %% columns
def swiglu(weights, x):
    columns = x.transpose(-1, -2)  # (batch, heads, d_head, frames)
    hidden = torch.matmul(weights.w2, columns) * F.silu(torch.matmul(weights.w0, columns))
    return torch.matmul(weights.w1, hidden).transpose(-1, -2)
