# %% einsum, and the row sum taken from the context
class ScaledDotProductAttention:
    def forward(self, query, key, value, mask=None):
        self.q, self.k, self.v = query * query.shape[-1] ** -0.25, key * query.shape[-1] ** -0.25, value
        self.side = query.shape[-1] ** -0.25
        scores = np.einsum("...qd,...kd->...qk", self.q, self.k)
        if mask is not None:
            scores += np.where(mask, 0.0, -np.inf)
        self.p = self.softmax.forward(scores)
        self.context = np.einsum("...qk,...kv->...qv", self.p, value)
        return self.context

    def backward(self, gradient):
        mean = (gradient * self.context).sum(-1, keepdims=True)
        d_scores = self.p * (np.einsum("...qv,...kv->...qk", gradient, self.v) - mean)
        d_query = np.einsum("...qk,...kd->...qd", d_scores, self.k) * self.side
        d_key = np.einsum("...qk,...qd->...kd", d_scores, self.q) * self.side
        return d_query, d_key, np.einsum("...qk,...qv->...kv", self.p, gradient)


# %% one query after the other
class ScaledDotProductAttention:
    def forward(self, query, key, value, mask=None):
        self.inputs = query, key, value
        shape = (*query.shape[:-1], key.shape[-2])
        self.mask = np.broadcast_to(True if mask is None else mask, shape)
        self.p = np.zeros(shape)
        context = np.zeros((*query.shape[:-1], value.shape[-1]))
        for place in np.ndindex(*query.shape[:-1]):
            allowed = self.mask[place]
            if not allowed.any():
                continue
            scores = key[place[:-1]][allowed] @ query[place] / math.sqrt(query.shape[-1])
            exponentials = np.exp(scores - scores.max())
            self.p[place][allowed] = exponentials / exponentials.sum()
            context[place] = self.p[place] @ value[place[:-1]]
        return context

    def backward(self, gradient):
        query, key, value = self.inputs
        d_query, d_key, d_value = np.zeros(query.shape), np.zeros(key.shape), np.zeros(value.shape)
        for place in np.ndindex(*query.shape[:-1]):
            front, p, g = place[:-1], self.p[place], gradient[place]
            d_value[front] += np.outer(p, g)
            d_p = value[front] @ g
            d_scores = (np.diag(p) - np.outer(p, p)) @ d_p / math.sqrt(query.shape[-1])
            d_query[place] = d_scores @ key[front]
            d_key[front] += np.outer(d_scores, query[place])
        return d_query, d_key, d_value
