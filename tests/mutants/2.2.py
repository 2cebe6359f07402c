# %% mutant bare_reshape
# The heads are not moved behind the length before the last two axes are joined. The shape is right, but a position then gets
# results that one head computed for several positions: time and features are mixed.
class MultiHeadAttention:
    def merge_heads(self, x):
        batch, _, length, _ = x.shape
        return x.reshape(batch, length, self.d_model)


# %% rewritten bare_reshape
class MultiHeadAttention:
    def merge_heads(self, x):
        rows = [one.flatten().split(self.d_model) for one in x]
        return torch.stack([torch.stack(row) for row in rows])


# %% mutant interleaved
# The numbers of the heads are dealt out in turn: first number of head 0, first of head 1, and so on. This does not undo
# split_heads, in which each head has a run of neighbouring features.
class MultiHeadAttention:
    def merge_heads(self, x):
        batch, _, length, _ = x.shape
        return x.permute(0, 2, 3, 1).reshape(batch, length, self.d_model)


# %% rewritten interleaved
class MultiHeadAttention:
    def merge_heads(self, x):
        return torch.stack(x.unbind(dim=1), dim=-1).flatten(2)


# %% mutant heads_behind_each_other
# The heads were joined along time: all positions of head 0, then all of head 1. They belong side by side in the features of
# each position.
class MultiHeadAttention:
    def merge_heads(self, x):
        return x.flatten(1, 2)


# %% rewritten heads_behind_each_other
class MultiHeadAttention:
    def merge_heads(self, x):
        return torch.cat([x[:, head] for head in range(x.shape[1])], dim=1)


# %% mutant summed
# The heads were added up. What they found at different places can then no longer be told apart, and the width is d_head
# instead of d_model.
class MultiHeadAttention:
    def merge_heads(self, x):
        return x.sum(dim=1)


# %% rewritten summed
class MultiHeadAttention:
    def merge_heads(self, x):
        return torch.einsum("bhld->bld", x)


# %% mutant wrong_axes
# The wrong pair of axes was exchanged: length and d_head, instead of heads and length. The shape is right after the reshape,
# but the numbers of a position are scattered over all positions.
class MultiHeadAttention:
    def merge_heads(self, x):
        batch, _, length, _ = x.shape
        return x.transpose(2, 3).reshape(batch, length, self.d_model)


# %% rewritten wrong_axes
class MultiHeadAttention:
    def merge_heads(self, x):
        flat = torch.cat([x[..., feature] for feature in range(x.shape[3])], dim=2)  # per head, feature by feature
        return flat.flatten(1).unflatten(1, (x.shape[2], self.d_model))
