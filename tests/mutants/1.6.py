# %% mutant scale_only_forward
# The scores are divided by the square root of d on the way forward, but their gradient is not on the way
# back. The gradients of query and key come out too large by that factor: the model still learns, with a wrong
# learning rate for two of its three paths.
class ScaledDotProductAttention:
    def forward(self, query, key, value, mask=None):
        self.query, self.key, self.value = query, key, value
        scores = query @ key.swapaxes(-2, -1) / math.sqrt(query.shape[-1])
        if mask is not None:
            scores = np.where(mask, scores, -np.inf)
        self.weights = self.softmax.forward(scores)
        return self.weights @ value

    def backward(self, gradient):
        d_value = self.weights.swapaxes(-2, -1) @ gradient
        d_scores = self.softmax.backward(gradient @ self.value.swapaxes(-2, -1))
        return d_scores @ self.key, d_scores.swapaxes(-2, -1) @ self.query, d_value


# %% rewritten scale_only_forward
class ScaledDotProductAttention:
    def forward(self, query, key, value, mask=None):
        self.kept = query, key, value
        scores = np.einsum("...qd,...kd->...qk", query * query.shape[-1] ** -0.5, key)
        if mask is not None:
            scores[~np.broadcast_to(mask, scores.shape)] = -np.inf
        self.p = self.softmax.forward(scores)
        return np.einsum("...qk,...kv->...qv", self.p, value)

    def backward(self, gradient):
        query, key, value = self.kept
        d_p = np.einsum("...qv,...kv->...qk", gradient, value)
        d_scores = self.p * (d_p - (self.p * d_p).sum(-1, keepdims=True))
        d_query = np.einsum("...qk,...kd->...qd", d_scores, key)
        d_key = np.einsum("...qk,...qd->...kd", d_scores, query)
        return d_query, d_key, np.einsum("...qk,...qv->...kv", self.p, gradient)


# %% mutant softmax_skipped
# The gradient of the weights is handed on as that of the scores. Between the two lies the softmax: its
# backward pass is missing.
class ScaledDotProductAttention:
    def forward(self, query, key, value, mask=None):
        self.query, self.key, self.value = query, key, value
        scores = query @ key.swapaxes(-2, -1) / math.sqrt(query.shape[-1])
        if mask is not None:
            scores = np.where(mask, scores, -np.inf)
        self.weights = self.softmax.forward(scores)
        return self.weights @ value

    def backward(self, gradient):
        d_value = self.weights.swapaxes(-2, -1) @ gradient
        d_scores = gradient @ self.value.swapaxes(-2, -1) / math.sqrt(self.query.shape[-1])
        return d_scores @ self.key, d_scores.swapaxes(-2, -1) @ self.query, d_value


# %% rewritten softmax_skipped
class ScaledDotProductAttention:
    def forward(self, query, key, value, mask=None):
        self.kept = query, key, value, query.shape[-1] ** -0.5
        scores = np.einsum("...qd,...kd->...qk", query * query.shape[-1] ** -0.5, key)
        if mask is not None:
            scores[~np.broadcast_to(mask, scores.shape)] = -np.inf
        self.p = self.softmax.forward(scores)
        return np.einsum("...qk,...kv->...qv", self.p, value)

    def backward(self, gradient):
        query, key, value, scale = self.kept
        d_query = np.einsum("...qv,...kv,...kd->...qd", gradient, value, key) * scale
        d_key = np.einsum("...qv,...kv,...qd->...kd", gradient, value, query) * scale
        return d_query, d_key, np.einsum("...qk,...qv->...kv", self.p, gradient)


# %% mutant not_transposed
# The gradients of key and value lack a transpose. A key collects from the queries that looked at it, down a
# column of the weights; this sums along a row. With as many queries as keys the shapes fit all the same.
class ScaledDotProductAttention:
    def forward(self, query, key, value, mask=None):
        self.query, self.key, self.value = query, key, value
        scores = query @ key.swapaxes(-2, -1) / math.sqrt(query.shape[-1])
        if mask is not None:
            scores = np.where(mask, scores, -np.inf)
        self.weights = self.softmax.forward(scores)
        return self.weights @ value

    def backward(self, gradient):
        d_value = self.weights @ gradient
        d_scores = self.softmax.backward(gradient @ self.value.swapaxes(-2, -1)) / math.sqrt(self.query.shape[-1])
        return d_scores @ self.key, d_scores @ self.query, d_value


# %% rewritten not_transposed
class ScaledDotProductAttention:
    def forward(self, query, key, value, mask=None):
        self.kept = query, key, value, query.shape[-1] ** -0.5
        scores = np.einsum("...qd,...kd->...qk", query * query.shape[-1] ** -0.5, key)
        if mask is not None:
            scores[~np.broadcast_to(mask, scores.shape)] = -np.inf
        self.p = self.softmax.forward(scores)
        return np.einsum("...qk,...kv->...qv", self.p, value)

    def backward(self, gradient):
        query, key, value, scale = self.kept
        d_p = np.einsum("...qv,...kv->...qk", gradient, value)
        d_scores = scale * self.p * (d_p - (self.p * d_p).sum(-1, keepdims=True))
        d_query = np.einsum("...ij,...jd->...id", d_scores, key)
        d_key = np.einsum("...ij,...jd->...id", d_scores, query)
        return d_query, d_key, np.einsum("...ij,...jd->...id", self.p, gradient)


# %% mutant masked_after_softmax
# The mask sets weights to zero after the softmax. What is left no longer sums to 1, and the scores of
# forbidden keys still stand in the denominator: they change the context, and gradients flow into keys that
# nobody may see.
class ScaledDotProductAttention:
    def forward(self, query, key, value, mask=None):
        self.query, self.key, self.value, self.mask = query, key, value, mask
        self.weights = self.softmax.forward(query @ key.swapaxes(-2, -1) / math.sqrt(query.shape[-1]))
        if mask is not None:
            self.weights = np.where(mask, self.weights, 0.0)
        return self.weights @ value

    def backward(self, gradient):
        d_value = self.weights.swapaxes(-2, -1) @ gradient
        d_weights = gradient @ self.value.swapaxes(-2, -1)
        if self.mask is not None:
            d_weights = np.where(self.mask, d_weights, 0.0)
        d_scores = self.softmax.backward(d_weights) / math.sqrt(self.query.shape[-1])
        return d_scores @ self.key, d_scores.swapaxes(-2, -1) @ self.query, d_value


# %% rewritten masked_after_softmax
class ScaledDotProductAttention:
    def forward(self, query, key, value, mask=None):
        self.kept = query, key, value, query.shape[-1] ** -0.5
        scores = np.einsum("...qd,...kd->...qk", query * query.shape[-1] ** -0.5, key)
        self.p = self.softmax.forward(scores)
        self.allowed = 1.0 if mask is None else mask.astype(float)
        return np.einsum("...qk,...kv->...qv", self.p * self.allowed, value)

    def backward(self, gradient):
        query, key, value, scale = self.kept
        d_p = np.einsum("...qv,...kv->...qk", gradient, value) * self.allowed
        d_scores = scale * self.p * (d_p - (self.p * d_p).sum(-1, keepdims=True))
        d_query = np.einsum("...qk,...kd->...qd", d_scores, key)
        d_key = np.einsum("...qk,...qd->...kd", d_scores, query)
        return d_query, d_key, np.einsum("...qk,...qv->...kv", self.p * self.allowed, gradient)


# %% mutant finite_mask
# Forbidden scores get a very low finite number. A softmax looks only at differences: where all scores of a
# row are equally low, its keys share 1 equally, and a query that may attend to nothing gets the mean of all
# that it may not see.
class ScaledDotProductAttention:
    def forward(self, query, key, value, mask=None):
        self.query, self.key, self.value = query, key, value
        scores = query @ key.swapaxes(-2, -1) / math.sqrt(query.shape[-1])
        if mask is not None:
            scores = np.where(mask, scores, -1e9)
        self.weights = self.softmax.forward(scores)
        return self.weights @ value

    def backward(self, gradient):
        d_value = self.weights.swapaxes(-2, -1) @ gradient
        d_scores = self.softmax.backward(gradient @ self.value.swapaxes(-2, -1)) / math.sqrt(self.query.shape[-1])
        return d_scores @ self.key, d_scores.swapaxes(-2, -1) @ self.query, d_value


# %% rewritten finite_mask
class ScaledDotProductAttention:
    def forward(self, query, key, value, mask=None):
        self.kept = query, key, value, query.shape[-1] ** -0.5
        scores = np.einsum("...qd,...kd->...qk", query * query.shape[-1] ** -0.5, key)
        if mask is not None:
            scores[~np.broadcast_to(mask, scores.shape)] = np.finfo(float).min / 2
        self.p = self.softmax.forward(scores)
        return np.einsum("...qk,...kv->...qv", self.p, value)

    def backward(self, gradient):
        query, key, value, scale = self.kept
        d_p = np.einsum("...qv,...kv->...qk", gradient, value)
        d_scores = scale * self.p * (d_p - (self.p * d_p).sum(-1, keepdims=True))
        d_query = np.einsum("...qk,...kd->...qd", d_scores, key)
        d_key = np.einsum("...qk,...qd->...kd", d_scores, query)
        return d_query, d_key, np.einsum("...qk,...qv->...kv", self.p, gradient)
