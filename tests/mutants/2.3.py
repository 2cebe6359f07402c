# %% mutant no_output_projection
# The merged heads are returned as they are, without out_proj. The heads then lie side by side and nothing combines what they
# found; out_proj gets no gradient and never learns.
class MultiHeadAttention:
    def project_keys_and_values(self, key, value):
        return self.split_heads(self.k_proj(key)), self.split_heads(self.v_proj(value))

    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        queries = self.split_heads(self.q_proj(query))
        keys, values = self._keys_and_values(key, value, cache)
        if mask is not None and mask.dim() == 3:
            mask = mask.unsqueeze(1)
        dropout = self.dropout if self.training else 0.0
        context, weights = scaled_dot_product_attention(queries, keys, values, mask, dropout)
        output = self.merge_heads(context)
        return output, weights if need_weights else None


# %% rewritten no_output_projection
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        allowed = mask[:, None] if mask is not None and mask.ndim == 3 else mask
        q = self.q_proj(query).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k, v = self._keys_and_values(key, value, cache)
        weights = attention_weights(attention_scores(q, k), allowed)
        dropped = F.dropout(weights, self.dropout, self.training)
        output = (dropped @ v).transpose(1, 2).flatten(2)
        if not need_weights:
            weights = None
        return output, weights

    def project_keys_and_values(self, key, value):
        keys, values = self.k_proj(key), self.v_proj(value)
        return self.split_heads(keys), self.split_heads(values)


# %% mutant values_from_the_keys_projection
# The values go through k_proj, the projection of the keys. What a position answers to and what it has to say are then the same
# thing, and v_proj never learns.
class MultiHeadAttention:
    def project_keys_and_values(self, key, value):
        return self.split_heads(self.k_proj(key)), self.split_heads(self.k_proj(value))

    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        queries = self.split_heads(self.q_proj(query))
        keys, values = self._keys_and_values(key, value, cache)
        if mask is not None and mask.dim() == 3:
            mask = mask.unsqueeze(1)
        dropout = self.dropout if self.training else 0.0
        context, weights = scaled_dot_product_attention(queries, keys, values, mask, dropout)
        output = self.out_proj(self.merge_heads(context))
        return output, weights if need_weights else None


# %% rewritten values_from_the_keys_projection
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        allowed = mask[:, None] if mask is not None and mask.ndim == 3 else mask
        q = self.q_proj(query).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k, v = self._keys_and_values(key, value, cache)
        weights = attention_weights(attention_scores(q, k), allowed)
        dropped = F.dropout(weights, self.dropout, self.training)
        output = self.out_proj((dropped @ v).transpose(1, 2).flatten(2))
        if not need_weights:
            weights = None
        return output, weights

    def project_keys_and_values(self, key, value):
        both = self.k_proj(torch.cat([key, value]))  # (2 * batch, keys, d_model)
        return self.split_heads(both).chunk(2)


# %% mutant keys_and_values_swapped
# The projections of keys and values are exchanged: keys go through v_proj and values through k_proj. A model trained from
# nothing would not mind, but no checkpoint fits it.
class MultiHeadAttention:
    def project_keys_and_values(self, key, value):
        return self.split_heads(self.v_proj(key)), self.split_heads(self.k_proj(value))

    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        queries = self.split_heads(self.q_proj(query))
        keys, values = self._keys_and_values(key, value, cache)
        if mask is not None and mask.dim() == 3:
            mask = mask.unsqueeze(1)
        dropout = self.dropout if self.training else 0.0
        context, weights = scaled_dot_product_attention(queries, keys, values, mask, dropout)
        output = self.out_proj(self.merge_heads(context))
        return output, weights if need_weights else None


# %% rewritten keys_and_values_swapped
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        allowed = mask[:, None] if mask is not None and mask.ndim == 3 else mask
        q = self.q_proj(query).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k, v = self._keys_and_values(key, value, cache)
        weights = attention_weights(attention_scores(q, k), allowed)
        dropped = F.dropout(weights, self.dropout, self.training)
        output = self.out_proj((dropped @ v).transpose(1, 2).flatten(2))
        if not need_weights:
            weights = None
        return output, weights

    def project_keys_and_values(self, key, value):
        values, keys = self.k_proj(value), self.v_proj(key)
        return tuple(map(self.split_heads, (keys, values)))


# %% mutant mask_without_head_axis
# A mask (batch, queries, keys) has no axis for the heads yet, and is used as it is. Broadcasting lines axes up from the right, so
# that the batch of the mask falls on the heads: an error, or, with as many heads as utterances, the wrong mask without one.
class MultiHeadAttention:
    def project_keys_and_values(self, key, value):
        return self.split_heads(self.k_proj(key)), self.split_heads(self.v_proj(value))

    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        queries = self.split_heads(self.q_proj(query))
        keys, values = self._keys_and_values(key, value, cache)
        dropout = self.dropout if self.training else 0.0
        context, weights = scaled_dot_product_attention(queries, keys, values, mask, dropout)
        output = self.out_proj(self.merge_heads(context))
        return output, weights if need_weights else None


# %% rewritten mask_without_head_axis
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        q = self.q_proj(query).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k, v = self._keys_and_values(key, value, cache)
        weights = attention_weights(attention_scores(q, k), mask)
        dropped = F.dropout(weights, self.dropout, self.training)
        output = self.out_proj((dropped @ v).transpose(1, 2).flatten(2))
        if not need_weights:
            weights = None
        return output, weights

    def project_keys_and_values(self, key, value):
        keys, values = self.k_proj(key), self.v_proj(value)
        return self.split_heads(keys), self.split_heads(values)


# %% mutant mask_inverted
# The mask is inverted: what it allows is hidden and what it forbids is attended. In this library True means "may be attended";
# nn.MultiheadAttention has it the other way round.
class MultiHeadAttention:
    def project_keys_and_values(self, key, value):
        return self.split_heads(self.k_proj(key)), self.split_heads(self.v_proj(value))

    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        queries = self.split_heads(self.q_proj(query))
        keys, values = self._keys_and_values(key, value, cache)
        if mask is not None:
            mask = ~(mask if mask.dim() != 3 else mask[:, None])
        dropout = self.dropout if self.training else 0.0
        context, weights = scaled_dot_product_attention(queries, keys, values, mask, dropout)
        output = self.out_proj(self.merge_heads(context))
        return output, weights if need_weights else None


# %% rewritten mask_inverted
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        allowed = None if mask is None else torch.logical_not(mask)
        if allowed is not None and allowed.ndim == 3:
            allowed = allowed.unsqueeze(1)
        q = self.q_proj(query).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k, v = self._keys_and_values(key, value, cache)
        weights = attention_weights(attention_scores(q, k), allowed)
        dropped = F.dropout(weights, self.dropout, self.training)
        output = self.out_proj((dropped @ v).transpose(1, 2).flatten(2))
        if not need_weights:
            weights = None
        return output, weights

    def project_keys_and_values(self, key, value):
        keys, values = self.k_proj(key), self.v_proj(value)
        return self.split_heads(keys), self.split_heads(values)


# %% mutant dropout_at_evaluation
# Weights are dropped in evaluation too. The same utterance gives another result each time, and a worse one.
class MultiHeadAttention:
    def project_keys_and_values(self, key, value):
        return self.split_heads(self.k_proj(key)), self.split_heads(self.v_proj(value))

    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        queries = self.split_heads(self.q_proj(query))
        keys, values = self._keys_and_values(key, value, cache)
        if mask is not None and mask.dim() == 3:
            mask = mask.unsqueeze(1)
        dropout = self.dropout
        context, weights = scaled_dot_product_attention(queries, keys, values, mask, dropout)
        output = self.out_proj(self.merge_heads(context))
        return output, weights if need_weights else None


# %% rewritten dropout_at_evaluation
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        allowed = mask[:, None] if mask is not None and mask.ndim == 3 else mask
        q = self.q_proj(query).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k, v = self._keys_and_values(key, value, cache)
        weights = attention_weights(attention_scores(q, k), allowed)
        dropped = F.dropout(weights, p=self.dropout)
        output = self.out_proj((dropped @ v).transpose(1, 2).flatten(2))
        if not need_weights:
            weights = None
        return output, weights

    def project_keys_and_values(self, key, value):
        keys, values = self.k_proj(key), self.v_proj(value)
        return self.split_heads(keys), self.split_heads(values)


# %% mutant no_dropout
# self.dropout is never used: in training no weight is dropped, so that the setting of the configuration does nothing.
class MultiHeadAttention:
    def project_keys_and_values(self, key, value):
        return self.split_heads(self.k_proj(key)), self.split_heads(self.v_proj(value))

    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        queries = self.split_heads(self.q_proj(query))
        keys, values = self._keys_and_values(key, value, cache)
        if mask is not None and mask.dim() == 3:
            mask = mask.unsqueeze(1)
        context, weights = scaled_dot_product_attention(queries, keys, values, mask)
        output = self.out_proj(self.merge_heads(context))
        return output, weights if need_weights else None


# %% rewritten no_dropout
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        allowed = mask[:, None] if mask is not None and mask.ndim == 3 else mask
        q = self.q_proj(query).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k, v = self._keys_and_values(key, value, cache)
        weights = attention_weights(attention_scores(q, k), allowed)
        dropped = weights
        output = self.out_proj((dropped @ v).transpose(1, 2).flatten(2))
        if not need_weights:
            weights = None
        return output, weights

    def project_keys_and_values(self, key, value):
        keys, values = self.k_proj(key), self.v_proj(value)
        return self.split_heads(keys), self.split_heads(values)


# %% mutant weights_averaged
# The weights returned are the mean over the heads. One map for each head was asked for, (batch, heads, queries, keys): the mean
# hides what each of them looks at.
class MultiHeadAttention:
    def project_keys_and_values(self, key, value):
        return self.split_heads(self.k_proj(key)), self.split_heads(self.v_proj(value))

    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        queries = self.split_heads(self.q_proj(query))
        keys, values = self._keys_and_values(key, value, cache)
        if mask is not None and mask.dim() == 3:
            mask = mask.unsqueeze(1)
        dropout = self.dropout if self.training else 0.0
        context, weights = scaled_dot_product_attention(queries, keys, values, mask, dropout)
        output = self.out_proj(self.merge_heads(context))
        return output, weights.mean(dim=1) if need_weights else None


# %% rewritten weights_averaged
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        allowed = mask[:, None] if mask is not None and mask.ndim == 3 else mask
        q = self.q_proj(query).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k, v = self._keys_and_values(key, value, cache)
        weights = attention_weights(attention_scores(q, k), allowed)
        dropped = F.dropout(weights, self.dropout, self.training)
        output = self.out_proj((dropped @ v).transpose(1, 2).flatten(2))
        weights = weights.sum(1) / self.num_heads
        return (output, weights) if need_weights else (output, None)

    def project_keys_and_values(self, key, value):
        keys, values = self.k_proj(key), self.v_proj(value)
        return self.split_heads(keys), self.split_heads(values)


# %% mutant cache_ignored
# The cache is not used: each call sees only the keys that it is given. A decoder that feeds one token at a time then forgets
# all the earlier ones. self._keys_and_values takes the cache into account.
class MultiHeadAttention:
    def project_keys_and_values(self, key, value):
        return self.split_heads(self.k_proj(key)), self.split_heads(self.v_proj(value))

    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        queries = self.split_heads(self.q_proj(query))
        keys, values = self.project_keys_and_values(key, value)
        if mask is not None and mask.dim() == 3:
            mask = mask.unsqueeze(1)
        dropout = self.dropout if self.training else 0.0
        context, weights = scaled_dot_product_attention(queries, keys, values, mask, dropout)
        output = self.out_proj(self.merge_heads(context))
        return output, weights if need_weights else None


# %% rewritten cache_ignored
class MultiHeadAttention:
    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        allowed = mask[:, None] if mask is not None and mask.ndim == 3 else mask
        q = self.q_proj(query).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k, v = self.split_heads(self.k_proj(key)), self.split_heads(self.v_proj(value))
        weights = attention_weights(attention_scores(q, k), allowed)
        dropped = F.dropout(weights, self.dropout, self.training)
        output = self.out_proj((dropped @ v).transpose(1, 2).flatten(2))
        if not need_weights:
            weights = None
        return output, weights

    def project_keys_and_values(self, key, value):
        keys, values = self.k_proj(key), self.v_proj(value)
        return self.split_heads(keys), self.split_heads(values)
