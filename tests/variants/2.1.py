# %% chunks
class MultiHeadAttention:
    def split_heads(self, x):
        return torch.stack(x.chunk(self.num_heads, dim=-1), dim=1)


# %% slices
class MultiHeadAttention:
    def split_heads(self, x):
        d_head = self.d_model // self.num_heads
        heads = []
        for head in range(self.num_heads):
            heads.append(x[..., head * d_head : head * d_head + d_head].unsqueeze(1))
        return torch.cat(heads, dim=1)
