# %% stack and concatenate
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None):
        self.layers = self.q_proj, self.k_proj, self.v_proj
        projected = [layer.forward(x) for layer, x in zip(self.layers, (query, key, value))]
        heads = [np.stack(np.split(x, self.num_heads, axis=-1), axis=1) for x in projected]
        if mask is not None and mask.ndim == 3:
            mask = np.expand_dims(mask, 1)
        context = self.attention.forward(*heads, mask)
        return self.out_proj.forward(np.concatenate([context[:, head] for head in range(self.num_heads)], axis=-1))

    def backward(self, gradient):
        d_merged = self.out_proj.backward(gradient)
        d_heads = self.attention.backward(np.stack(np.split(d_merged, self.num_heads, axis=-1), axis=1))
        answers = []
        for layer, d in zip(self.layers, d_heads):
            answers.append(layer.backward(np.concatenate([d[:, head] for head in range(self.num_heads)], axis=-1)))
        return tuple(answers)


# %% each head with an attention of its own
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None):
        q, k, v = self.q_proj.forward(query), self.k_proj.forward(key), self.v_proj.forward(value)
        width = self.d_model // self.num_heads
        self.columns = [slice(head * width, (head + 1) * width) for head in range(self.num_heads)]
        self.heads = [ScaledDotProductAttention() for _ in self.columns]
        merged = np.zeros(q.shape)
        for head, (columns, attention) in enumerate(zip(self.columns, self.heads)):
            mine = mask
            if mask is not None and mask.ndim == 4:
                mine = mask[:, head if mask.shape[1] > 1 else 0]
            merged[..., columns] = attention.forward(q[..., columns], k[..., columns], v[..., columns], mine)
        self.lengths = query.shape, key.shape, value.shape
        return self.out_proj.forward(merged)

    def backward(self, gradient):
        d_merged = self.out_proj.backward(gradient)
        d_q, d_k, d_v = (np.zeros(shape) for shape in self.lengths)
        for columns, attention in zip(self.columns, self.heads):
            d_q[..., columns], d_k[..., columns], d_v[..., columns] = attention.backward(d_merged[..., columns])
        return self.q_proj.backward(d_q), self.k_proj.backward(d_k), self.v_proj.backward(d_v)
