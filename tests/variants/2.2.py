# %% concatenation
class MultiHeadAttention:
    def merge_heads(self, x):
        return torch.cat(x.unbind(dim=1), dim=-1)


# %% loop
class MultiHeadAttention:
    def merge_heads(self, x):
        batch, heads, length, d_head = x.shape
        merged = x.new_zeros(batch, length, heads * d_head)
        for head in range(heads):
            merged[:, :, head * d_head : (head + 1) * d_head] = x[:, head]
        return merged
