# %% mutant bare_reshape
# The numbers are cut into heads in the order in which they lie in memory, without a transpose. The shape is right, but a
# head then holds whole features of some positions and nothing of the others, so that attention compares the wrong things.
class MultiHeadAttention:
    def split_heads(self, x):
        batch, length, d_model = x.shape
        return x.reshape(batch, self.num_heads, length, d_model // self.num_heads)


# %% rewritten bare_reshape
class MultiHeadAttention:
    def split_heads(self, x):
        d_head = x.size(-1) // self.num_heads
        pieces = x.flatten(1).split(x.size(1) * d_head, dim=1)
        return torch.stack([piece.unflatten(1, (x.size(1), d_head)) for piece in pieces], dim=1)


# %% mutant heads_behind_length
# The features are cut into heads, but the axis of the heads stays behind that of the length. Attention works on the last
# two axes: it would let the heads of one position attend to each other, instead of positions within a head.
class MultiHeadAttention:
    def split_heads(self, x):
        batch, length, d_model = x.shape
        return x.view(batch, length, self.num_heads, d_model // self.num_heads)


# %% rewritten heads_behind_length
class MultiHeadAttention:
    def split_heads(self, x):
        return torch.stack(x.chunk(self.num_heads, dim=-1), dim=2)


# %% mutant split_along_time
# The utterance is cut along time: each head gets some of the positions, with all their features. Heads share out the
# features of a position, not the positions: every head must see the whole utterance.
class MultiHeadAttention:
    def split_heads(self, x):
        batch, length, d_model = x.shape
        return x.view(batch, self.num_heads, length // self.num_heads, d_model)


# %% rewritten split_along_time
class MultiHeadAttention:
    def split_heads(self, x):
        return torch.stack(x.tensor_split(self.num_heads, dim=1), dim=1)


# %% mutant interleaved
# The last axis is read as (d_head, heads): head 0 gets features 0, h, 2h and so on, like cards dealt to players. Such a model
# could learn, but it does not fit the weights of any other: each head must get a run of neighbouring features.
class MultiHeadAttention:
    def split_heads(self, x):
        batch, length, d_model = x.shape
        return x.view(batch, length, d_model // self.num_heads, self.num_heads).permute(0, 3, 1, 2)


# %% rewritten interleaved
class MultiHeadAttention:
    def split_heads(self, x):
        return torch.stack([x[:, :, head :: self.num_heads] for head in range(self.num_heads)], dim=1)


# %% mutant heads_in_batch
# The heads were folded into the axis of the batch. Attention itself would run, but masks and merge_heads expect four axes:
# batch and heads must stay apart.
class MultiHeadAttention:
    def split_heads(self, x):
        batch, length, _ = x.shape
        x = x.view(batch, length, self.num_heads, -1).transpose(1, 2)
        return x.reshape(batch * self.num_heads, length, -1)


# %% rewritten heads_in_batch
class MultiHeadAttention:
    def split_heads(self, x):
        return torch.cat([part for one in x for part in one[None].chunk(self.num_heads, dim=2)], dim=0)
