# %% mutant merged_without_transpose
# On the way back the heads are merged by a reshape alone. In (batch, heads, length, d_head) the numbers of
# one position do not lie side by side; without moving the axis of heads behind that of length first,
# positions and heads are mixed up.
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None):
        queries = self.split_heads(self.q_proj.forward(query))
        keys = self.split_heads(self.k_proj.forward(key))
        values = self.split_heads(self.v_proj.forward(value))
        if mask is not None and mask.ndim == 3:
            mask = mask[:, None]
        context = self.attention.forward(queries, keys, values, mask)
        return self.out_proj.forward(self.merge_heads(context))

    def backward(self, gradient):
        d_context = self.split_heads(self.out_proj.backward(gradient))
        d_queries, d_keys, d_values = self.attention.backward(d_context)
        batch, queries, _ = gradient.shape
        return (
            self.q_proj.backward(d_queries.reshape(batch, queries, self.d_model)),
            self.k_proj.backward(d_keys.reshape(batch, -1, self.d_model)),
            self.v_proj.backward(d_values.reshape(batch, -1, self.d_model)),
        )


# %% rewritten merged_without_transpose
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None):
        self.layers = self.q_proj, self.k_proj, self.v_proj
        projected = [layer.forward(x) for layer, x in zip(self.layers, (query, key, value))]
        if mask is not None and mask.ndim == 3:
            mask = np.expand_dims(mask, 1)
        context = self.attention.forward(*map(self.split_heads, projected), mask)
        return self.out_proj.forward(np.concatenate([context[:, head] for head in range(self.num_heads)], axis=-1))

    def backward(self, gradient):
        heads = np.stack(np.split(self.out_proj.backward(gradient), self.num_heads, axis=-1), axis=1)
        answers = []
        for layer, d in zip(self.layers, self.attention.backward(heads)):
            answers.append(layer.backward(np.ravel(d).reshape(len(d), d.shape[2], d.shape[1] * d.shape[3])))
        return tuple(answers)


# %% mutant out_proj_skipped
# The way back begins at the heads. The last step forward was out_proj, so the first step back is its
# backward: without it the gradient is that of another output, and out_proj never learns.
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None):
        queries = self.split_heads(self.q_proj.forward(query))
        keys = self.split_heads(self.k_proj.forward(key))
        values = self.split_heads(self.v_proj.forward(value))
        if mask is not None and mask.ndim == 3:
            mask = mask[:, None]
        context = self.attention.forward(queries, keys, values, mask)
        return self.out_proj.forward(self.merge_heads(context))

    def backward(self, gradient):
        d_queries, d_keys, d_values = self.attention.backward(self.split_heads(gradient))
        return (
            self.q_proj.backward(self.merge_heads(d_queries)),
            self.k_proj.backward(self.merge_heads(d_keys)),
            self.v_proj.backward(self.merge_heads(d_values)),
        )


# %% rewritten out_proj_skipped
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None):
        self.layers = self.q_proj, self.k_proj, self.v_proj
        projected = [layer.forward(x) for layer, x in zip(self.layers, (query, key, value))]
        if mask is not None and mask.ndim == 3:
            mask = np.expand_dims(mask, 1)
        context = self.attention.forward(*map(self.split_heads, projected), mask)
        return self.out_proj.forward(np.concatenate([context[:, head] for head in range(self.num_heads)], axis=-1))

    def backward(self, gradient):
        heads = np.stack(np.split(gradient, self.num_heads, axis=-1), axis=1)
        answers = []
        for layer, d in zip(self.layers, self.attention.backward(heads)):
            answers.append(layer.backward(np.concatenate([d[:, head] for head in range(self.num_heads)], axis=-1)))
        return tuple(answers)


# %% mutant projections_skipped
# What comes back are the gradients of the projected queries, keys and values. One step is missing on each of
# the three paths: through the projection, whose backward also stores the gradients of its weight and bias.
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None):
        queries = self.split_heads(self.q_proj.forward(query))
        keys = self.split_heads(self.k_proj.forward(key))
        values = self.split_heads(self.v_proj.forward(value))
        if mask is not None and mask.ndim == 3:
            mask = mask[:, None]
        context = self.attention.forward(queries, keys, values, mask)
        return self.out_proj.forward(self.merge_heads(context))

    def backward(self, gradient):
        d_context = self.split_heads(self.out_proj.backward(gradient))
        d_queries, d_keys, d_values = self.attention.backward(d_context)
        return self.merge_heads(d_queries), self.merge_heads(d_keys), self.merge_heads(d_values)


# %% rewritten projections_skipped
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None):
        self.layers = self.q_proj, self.k_proj, self.v_proj
        projected = [layer.forward(x) for layer, x in zip(self.layers, (query, key, value))]
        if mask is not None and mask.ndim == 3:
            mask = np.expand_dims(mask, 1)
        context = self.attention.forward(*map(self.split_heads, projected), mask)
        return self.out_proj.forward(np.concatenate([context[:, head] for head in range(self.num_heads)], axis=-1))

    def backward(self, gradient):
        heads = np.stack(np.split(self.out_proj.backward(gradient), self.num_heads, axis=-1), axis=1)
        moved = [np.einsum("bhld->blhd", d) for d in self.attention.backward(heads)]
        return tuple(d.reshape(*d.shape[:2], -1) for d in moved)


# %% mutant keys_and_values_swapped
# The gradients of keys and values have changed places: those of the values go through k_proj, those of the
# keys through v_proj. The shapes agree, so nothing complains. ScaledDotProductAttention.backward returns
# query, key, value, in this order.
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None):
        queries = self.split_heads(self.q_proj.forward(query))
        keys = self.split_heads(self.k_proj.forward(key))
        values = self.split_heads(self.v_proj.forward(value))
        if mask is not None and mask.ndim == 3:
            mask = mask[:, None]
        context = self.attention.forward(queries, keys, values, mask)
        return self.out_proj.forward(self.merge_heads(context))

    def backward(self, gradient):
        d_context = self.split_heads(self.out_proj.backward(gradient))
        d_queries, d_values, d_keys = self.attention.backward(d_context)
        return (
            self.q_proj.backward(self.merge_heads(d_queries)),
            self.k_proj.backward(self.merge_heads(d_keys)),
            self.v_proj.backward(self.merge_heads(d_values)),
        )


# %% rewritten keys_and_values_swapped
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None):
        projected = [self.q_proj.forward(query), self.k_proj.forward(key), self.v_proj.forward(value)]
        if mask is not None and mask.ndim == 3:
            mask = np.expand_dims(mask, 1)
        context = self.attention.forward(*map(self.split_heads, projected), mask)
        return self.out_proj.forward(np.concatenate([context[:, head] for head in range(self.num_heads)], axis=-1))

    def backward(self, gradient):
        heads = np.stack(np.split(self.out_proj.backward(gradient), self.num_heads, axis=-1), axis=1)
        merged = [
            np.concatenate([d[:, head] for head in range(self.num_heads)], axis=-1)
            for d in self.attention.backward(heads)
        ]
        d_key = self.k_proj.backward(merged[2])
        d_value = self.v_proj.backward(merged[1])
        return self.q_proj.backward(merged[0]), d_key, d_value


# %% mutant mask_without_heads
# A mask of three axes, (batch, queries, keys), meets scores of four, (batch, heads, queries, keys). Lined up
# from the right, its axis for the batch lands on the heads: each head gets the mask of another utterance, and
# where there are as many heads as utterances nothing complains.
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None):
        queries = self.split_heads(self.q_proj.forward(query))
        keys = self.split_heads(self.k_proj.forward(key))
        values = self.split_heads(self.v_proj.forward(value))
        context = self.attention.forward(queries, keys, values, mask)
        return self.out_proj.forward(self.merge_heads(context))

    def backward(self, gradient):
        d_context = self.split_heads(self.out_proj.backward(gradient))
        d_queries, d_keys, d_values = self.attention.backward(d_context)
        return (
            self.q_proj.backward(self.merge_heads(d_queries)),
            self.k_proj.backward(self.merge_heads(d_keys)),
            self.v_proj.backward(self.merge_heads(d_values)),
        )


# %% rewritten mask_without_heads
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None):
        self.layers = self.q_proj, self.k_proj, self.v_proj
        projected = [layer.forward(x) for layer, x in zip(self.layers, (query, key, value))]
        context = self.attention.forward(*map(self.split_heads, projected), mask)
        return self.out_proj.forward(np.concatenate([context[:, head] for head in range(self.num_heads)], axis=-1))

    def backward(self, gradient):
        heads = np.stack(np.split(self.out_proj.backward(gradient), self.num_heads, axis=-1), axis=1)
        answers = []
        for layer, d in zip(self.layers, self.attention.backward(heads)):
            answers.append(layer.backward(np.concatenate([d[:, head] for head in range(self.num_heads)], axis=-1)))
        return tuple(answers)
