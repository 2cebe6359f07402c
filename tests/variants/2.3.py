# %% fast
class MultiHeadAttention:
    def project_keys_and_values(self, key, value):
        shape = (self.num_heads, self.d_model // self.num_heads)
        keys = self.k_proj(key).unflatten(-1, shape).transpose(1, 2)
        values = self.v_proj(value).unflatten(-1, shape).transpose(1, 2)
        return keys, values

    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        if mask is not None and mask.ndim == 3:
            mask = mask.unsqueeze(1)
        keys, values = self._keys_and_values(key, value, cache)
        queries = self.split_heads(self.q_proj(query))
        p = self.dropout * self.training
        if need_weights or not self.fused:
            heads, weights = scaled_dot_product_attention(queries, keys, values, mask, p)
            merged = self.out_proj(self.merge_heads(heads))
            return (merged, weights) if need_weights else (merged, None)
        return self.out_proj(self.merge_heads(fused_attention(queries, keys, values, mask, p))), None


# %% heads_one_by_one
class MultiHeadAttention:
    def project_keys_and_values(self, key, value):
        d_head = self.d_model // self.num_heads
        keys, values = [], []
        for head in range(self.num_heads):
            part = slice(head * d_head, (head + 1) * d_head)
            keys.append(
                F.linear(key, self.k_proj.weight[part], None if self.k_proj.bias is None else self.k_proj.bias[part])
            )
            values.append(
                F.linear(value, self.v_proj.weight[part], None if self.v_proj.bias is None else self.v_proj.bias[part])
            )
        return torch.stack(keys, dim=1), torch.stack(values, dim=1)

    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        keys, values = self._keys_and_values(key, value, cache)
        queries = self.split_heads(self.q_proj(query))
        if mask is not None:
            while mask.dim() < 4:
                mask = mask.unsqueeze(-3) if mask.dim() == 3 else mask.unsqueeze(0)
            mask = mask.expand(-1, self.num_heads, -1, -1)
        contexts, maps = [], []
        for head in range(self.num_heads):
            scores = queries[:, head] @ keys[:, head].mT / (queries.shape[-1] ** 0.5)
            weights = attention_weights(scores, None if mask is None else mask[:, head])
            maps.append(weights)
            contexts.append(F.dropout(weights, self.dropout, training=self.training) @ values[:, head])
        output = self.out_proj(torch.cat(contexts, dim=-1))
        return output, torch.stack(maps, dim=1) if need_weights else None


# %% einsum
class MultiHeadAttention:
    def project_keys_and_values(self, key, value):
        keys, values = self.split_heads(torch.stack([self.k_proj(key), self.v_proj(value)]).flatten(0, 1)).chunk(2)
        return keys, values

    def forward(self, query, key, value, mask=None, need_weights=False, cache=None):
        self._check_inputs(query, key, value, mask, cache)
        q = self.split_heads(self.q_proj(query)) * (self.d_model // self.num_heads) ** -0.5
        k, v = self._keys_and_values(key, value, cache)
        scores = torch.einsum("bhqd,bhkd->bhqk", q, k)
        if mask is not None:
            allowed = mask[:, None] if mask.dim() == 3 else mask
            scores = scores.masked_fill(allowed.logical_not(), -1e9)
        weights = scores.softmax(dim=-1)
        if self.training and self.dropout:
            dropped = F.dropout(weights, self.dropout)
        else:
            dropped = weights
        context = torch.einsum("bhqk,bhkd->bqhd", dropped, v).flatten(2)
        return self.out_proj(context), weights if need_weights else None
