# %% mutant post_norm
# The norms stand behind the sums (post-norm, as in the first Transformer), not before the sublayers. Gradients then have to pass every norm
# on their way down, and a deep stack does not train without a long warm-up.
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        attended, weights = self.self_attention(x, x, x, key_mask(padding), need_weights)
        x = self.norm1(x + self.dropout(attended))
        x = self.norm2(x + self.dropout(self.feed_forward(x)))
        return x, weights


# %% rewritten post_norm
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        found, weights = self.self_attention(query=x, key=x, value=x, mask=padding.unsqueeze(1), need_weights=need_weights)
        found = self.norm1(self.dropout(found) + x)
        return self.norm2(self.dropout(self.feed_forward(found)) + found), weights


# %% mutant residual_forgotten
# The sublayers' outputs replace the stream, where they should be added to it. What the layer before knew is lost, and so is the
# direct way of the gradient.
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        normed = self.norm1(x)
        attended, weights = self.self_attention(normed, normed, normed, key_mask(padding), need_weights)
        x = self.dropout(attended)
        x = self.dropout(self.feed_forward(self.norm2(x)))
        return x, weights


# %% rewritten residual_forgotten
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        y = self.norm1(x)
        found, weights = self.self_attention(y, y, y, mask=padding.unsqueeze(1), need_weights=need_weights)
        y = self.norm2(self.dropout(found))
        return self.dropout(self.feed_forward(y)), weights


# %% mutant second_residual_forgotten
# What the feed-forward block says replaces the stream, where it should be added to it.
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        normed = self.norm1(x)
        attended, weights = self.self_attention(normed, normed, normed, key_mask(padding), need_weights)
        x = x + self.dropout(attended)
        x = self.dropout(self.feed_forward(self.norm2(x)))
        return x, weights


# %% rewritten second_residual_forgotten
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        y = self.norm1(x)
        found, weights = self.self_attention(y, y, y, mask=padding.unsqueeze(1), need_weights=need_weights)
        return self.dropout(self.feed_forward(self.norm2(self.dropout(found) + x))), weights


# %% mutant residual_from_normed
# What is added up is the normalised input, not the input itself. The stream is then normalised at each step after all, and nothing passes
# the layer unchanged.
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        x = self.norm1(x)
        attended, weights = self.self_attention(x, x, x, key_mask(padding), need_weights)
        x = x + self.dropout(attended)
        x = self.norm2(x)
        x = x + self.dropout(self.feed_forward(x))
        return x, weights


# %% rewritten residual_from_normed
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        y = self.norm1(x)
        found, weights = self.self_attention(query=y, key=y, value=y, mask=padding.unsqueeze(1), need_weights=need_weights)
        y = self.norm2(y.add(self.dropout(found)))
        return self.dropout(self.feed_forward(y)).add(y), weights


# %% mutant norm1_for_both
# norm1 stands before both sublayers, and norm2 is never used. Its weights get no gradient, and each half has to live with the scale that the
# other one wants.
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        normed = self.norm1(x)
        attended, weights = self.self_attention(normed, normed, normed, key_mask(padding), need_weights)
        x = x + self.dropout(attended)
        x = x + self.dropout(self.feed_forward(self.norm1(x)))
        return x, weights


# %% rewritten norm1_for_both
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        norm = self.norm1
        y = norm(x)
        found, weights = self.self_attention(y, y, y, mask=padding.unsqueeze(1), need_weights=need_weights)
        stream = self.dropout(found) + x
        return self.dropout(self.feed_forward(norm(stream))) + stream, weights


# %% mutant second_norm_forgotten
# The feed-forward block reads the stream as it is, without norm2. The stream grows from layer to layer, and with it what the block has to
# cope with.
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        normed = self.norm1(x)
        attended, weights = self.self_attention(normed, normed, normed, key_mask(padding), need_weights)
        x = x + self.dropout(attended)
        x = x + self.dropout(self.feed_forward(x))
        return x, weights


# %% rewritten second_norm_forgotten
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        y = self.norm1(x)
        found, weights = self.self_attention(y, y, y, mask=padding.unsqueeze(1), need_weights=need_weights)
        stream = self.dropout(found) + x
        return self.dropout(self.feed_forward(stream)) + stream, weights


# %% mutant mask_missing
# Attention gets no mask, so that real frames listen to padding: what an utterance becomes depends on what it shares a batch with.
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        normed = self.norm1(x)
        attended, weights = self.self_attention(normed, normed, normed, None, need_weights)
        x = x + self.dropout(attended)
        x = x + self.dropout(self.feed_forward(self.norm2(x)))
        return x, weights


# %% rewritten mask_missing
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        y = self.norm1(x)
        found, weights = self.self_attention(y, y, y, need_weights=need_weights)
        stream = self.dropout(found) + x
        return self.dropout(self.feed_forward(self.norm2(stream))) + stream, weights


# %% mutant mask_on_queries
# The mask lies on the queries, (batch, time, 1), not on the keys, (batch, 1, time). Padding then attends to nothing, which nobody asked for,
# while real frames still listen to padding.
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        normed = self.norm1(x)
        attended, weights = self.self_attention(normed, normed, normed, padding[:, :, None], need_weights)
        x = x + self.dropout(attended)
        x = x + self.dropout(self.feed_forward(self.norm2(x)))
        return x, weights


# %% rewritten mask_on_queries
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        y = self.norm1(x)
        mask = key_mask(padding).transpose(1, 2)
        found, weights = self.self_attention(query=y, key=y, value=y, mask=mask, need_weights=need_weights)
        stream = self.dropout(found) + x
        return self.dropout(self.feed_forward(self.norm2(stream))) + stream, weights


# %% mutant mask_inverted
# The mask is inverted: attention listens to the padding alone. Here True means "may be attended"; nn.MultiheadAttention has it the other way.
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        normed = self.norm1(x)
        attended, weights = self.self_attention(normed, normed, normed, key_mask(~padding), need_weights)
        x = x + self.dropout(attended)
        x = x + self.dropout(self.feed_forward(self.norm2(x)))
        return x, weights


# %% rewritten mask_inverted
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        y = self.norm1(x)
        found, weights = self.self_attention(y, y, y, mask=padding.logical_not().unsqueeze(1), need_weights=need_weights)
        stream = self.dropout(found) + x
        return self.dropout(self.feed_forward(self.norm2(stream))) + stream, weights


# %% mutant dropout_forgotten
# What the sublayers say is added without dropout. The model learns the training speech by heart sooner.
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        normed = self.norm1(x)
        attended, weights = self.self_attention(normed, normed, normed, key_mask(padding), need_weights)
        x = x + attended
        x = x + self.feed_forward(self.norm2(x))
        return x, weights


# %% rewritten dropout_forgotten
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        y = self.norm1(x)
        found, weights = self.self_attention(y, y, y, mask=padding.unsqueeze(1), need_weights=need_weights)
        stream = found + x
        return self.feed_forward(self.norm2(stream)) + stream, weights


# %% mutant halves_side_by_side
# The feed-forward block reads the layer's input, not the sum of it and what attention found. It never hears what attention said in this layer.
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        normed = self.norm1(x)
        attended, weights = self.self_attention(normed, normed, normed, key_mask(padding), need_weights)
        x = x + self.dropout(attended) + self.dropout(self.feed_forward(self.norm2(x)))
        return x, weights


# %% rewritten halves_side_by_side
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        y = self.norm1(x)
        found, weights = self.self_attention(y, y, y, mask=padding.unsqueeze(1), need_weights=need_weights)
        said = self.feed_forward(self.norm2(x))
        return self.dropout(said) + (self.dropout(found) + x), weights
