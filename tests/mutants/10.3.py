# %% mutant sees_the_future
# Nothing hides what comes later. In training the model reads the answer, and its loss falls far below what is possible; in
# a search, where there is no future to read, it says nonsense.
class LanguageModelLayer:
    def forward(self, x, mask, cache=None):
        normed = self.norm1(x)
        attended, _ = self.self_attention(normed, normed, normed, mask, cache=cache.self_attention if cache is not None else None)
        x = x + self.dropout(attended)
        return x + self.dropout(self.feed_forward(self.norm3(x)))


class TransformerLM:
    def forward(self, tokens, cache=None, sentences=None):
        self._check_tokens(tokens)
        offset = cache.length if cache is not None else 0
        x = self.dropout(self.positional(self.embedding(tokens) * self.scale, offset))
        mask = torch.ones(tokens.shape[1], offset + tokens.shape[1], dtype=torch.bool, device=tokens.device)
        if sentences is not None:
            mask = mask & (sentences[:, :, None] == sentences[:, None, :])
        for index, layer in enumerate(self.layers):
            x = layer(x, mask, cache.layers[index] if cache is not None else None)
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(self.norm(x))


# %% rewritten sees_the_future
class LanguageModelLayer:
    def forward(self, x, mask, cache=None):
        normed = self.norm1(x)
        attended, _ = self.self_attention(normed, normed, normed, mask, cache=cache.self_attention if cache is not None else None)
        x = x + self.dropout(attended)
        return x + self.dropout(self.feed_forward(self.norm3(x)))


class TransformerLM:
    def forward(self, tokens, cache=None, sentences=None):
        self._check_tokens(tokens)
        start = 0 if cache is None else cache.length
        h = self.dropout(self.positional(self.scale * self.embedding(tokens), start))
        n = tokens.shape[1]
        if sentences is None:
            visible = torch.full((n, start + n), True, device=tokens.device)
        else:
            visible = sentences.unsqueeze(2).eq(sentences.unsqueeze(1))
        caches = [None] * len(self.layers) if cache is None else cache.layers
        for layer, kept in zip(self.layers, caches):
            h = layer(h, visible, kept)
        if cache is not None:
            cache.length = start + n
        return self.out(self.norm(h))


# %% mutant positions_begin_again
# With a cache, the positions of the new tokens begin at 0 again. The model takes each new letter for the first one of a
# sentence, and what it generates turns to noise after one token.
class LanguageModelLayer:
    def forward(self, x, mask, cache=None):
        normed = self.norm1(x)
        attended, _ = self.self_attention(normed, normed, normed, mask, cache=cache.self_attention if cache is not None else None)
        x = x + self.dropout(attended)
        return x + self.dropout(self.feed_forward(self.norm3(x)))


class TransformerLM:
    def forward(self, tokens, cache=None, sentences=None):
        self._check_tokens(tokens)
        offset = cache.length if cache is not None else 0
        x = self.dropout(self.positional(self.embedding(tokens) * self.scale))
        mask = causal_mask(offset + tokens.shape[1], tokens.device)[offset:]
        if sentences is not None:
            mask = mask & (sentences[:, :, None] == sentences[:, None, :])
        for index, layer in enumerate(self.layers):
            x = layer(x, mask, cache.layers[index] if cache is not None else None)
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(self.norm(x))


# %% rewritten positions_begin_again
class LanguageModelLayer:
    def forward(self, x, mask, cache=None):
        normed = self.norm1(x)
        attended, _ = self.self_attention(normed, normed, normed, mask, cache=cache.self_attention if cache is not None else None)
        x = x + self.dropout(attended)
        return x + self.dropout(self.feed_forward(self.norm3(x)))


class TransformerLM:
    def forward(self, tokens, cache=None, sentences=None):
        self._check_tokens(tokens)
        n = tokens.shape[1]
        seen = 0 if cache is None else cache.length
        h = self.dropout(self.positional(self.embedding(tokens).mul(self.scale), 0))
        keys = torch.arange(seen + n, device=tokens.device)
        mask = keys[None, :] <= keys[seen:, None]
        if sentences is not None:
            mask = mask[None] & sentences.unsqueeze(2).eq(sentences.unsqueeze(1))
        for i in range(len(self.layers)):
            h = self.layers[i](h, mask, None if cache is None else cache.layers[i])
        if cache is not None:
            cache.length = seen + n
        return self.out(self.norm(h))


# %% mutant sentences_replace_the_future
# The mask of the sentences takes the place of the causal mask, where the two have to hold together. Within its sentence
# every token now sees the ones after it.
class LanguageModelLayer:
    def forward(self, x, mask, cache=None):
        normed = self.norm1(x)
        attended, _ = self.self_attention(normed, normed, normed, mask, cache=cache.self_attention if cache is not None else None)
        x = x + self.dropout(attended)
        return x + self.dropout(self.feed_forward(self.norm3(x)))


class TransformerLM:
    def forward(self, tokens, cache=None, sentences=None):
        self._check_tokens(tokens)
        offset = cache.length if cache is not None else 0
        x = self.dropout(self.positional(self.embedding(tokens) * self.scale, offset))
        mask = causal_mask(offset + tokens.shape[1], tokens.device)[offset:]
        if sentences is not None:
            mask = sentences[:, :, None] == sentences[:, None, :]
        for index, layer in enumerate(self.layers):
            x = layer(x, mask, cache.layers[index] if cache is not None else None)
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(self.norm(x))


# %% rewritten sentences_replace_the_future
class LanguageModelLayer:
    def forward(self, x, mask, cache=None):
        normed = self.norm1(x)
        attended, _ = self.self_attention(normed, normed, normed, mask, cache=cache.self_attention if cache is not None else None)
        x = x + self.dropout(attended)
        return x + self.dropout(self.feed_forward(self.norm3(x)))


class TransformerLM:
    def forward(self, tokens, cache=None, sentences=None):
        self._check_tokens(tokens)
        n, seen = tokens.shape[1], 0 if cache is None else cache.length
        h = self.dropout(self.positional(self.embedding(tokens) * self.scale, seen))
        if sentences is None:
            keys = torch.arange(seen + n, device=tokens.device)
            mask = keys[None, :] <= keys[seen:, None]
        else:
            mask = sentences.unsqueeze(1).eq(sentences.unsqueeze(2))
        for i, layer in enumerate(self.layers):
            h = layer(h, mask, cache.layers[i] if cache else None)
        if cache is not None:
            cache.length = seen + n
        return self.out(self.norm(h))


# %% mutant no_scale
# The embedding is not multiplied by self.scale, the square root of d_model. Positions, whose numbers are about 1, drown the
# tokens; and a decoder that begins with these weights expects the other size.
class LanguageModelLayer:
    def forward(self, x, mask, cache=None):
        normed = self.norm1(x)
        attended, _ = self.self_attention(normed, normed, normed, mask, cache=cache.self_attention if cache is not None else None)
        x = x + self.dropout(attended)
        return x + self.dropout(self.feed_forward(self.norm3(x)))


class TransformerLM:
    def forward(self, tokens, cache=None, sentences=None):
        self._check_tokens(tokens)
        offset = cache.length if cache is not None else 0
        x = self.dropout(self.positional(self.embedding(tokens), offset))
        mask = causal_mask(offset + tokens.shape[1], tokens.device)[offset:]
        if sentences is not None:
            mask = mask & (sentences[:, :, None] == sentences[:, None, :])
        for index, layer in enumerate(self.layers):
            x = layer(x, mask, cache.layers[index] if cache is not None else None)
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(self.norm(x))


# %% rewritten no_scale
class LanguageModelLayer:
    def forward(self, x, mask, cache=None):
        normed = self.norm1(x)
        attended, _ = self.self_attention(normed, normed, normed, mask, cache=cache.self_attention if cache is not None else None)
        x = x + self.dropout(attended)
        return x + self.dropout(self.feed_forward(self.norm3(x)))


class TransformerLM:
    def forward(self, tokens, cache=None, sentences=None):
        self._check_tokens(tokens)
        n, seen = tokens.shape[1], 0 if cache is None else cache.length
        h = self.embedding(tokens)
        h = self.positional(h, seen)
        h = self.dropout(h)
        keys = torch.arange(seen + n, device=tokens.device)
        mask = keys[None, :] <= keys[seen:, None]
        if sentences is not None:
            mask = mask[None] & sentences.unsqueeze(2).eq(sentences.unsqueeze(1))
        for i in range(len(self.layers)):
            h = self.layers[i](h, mask, None if cache is None else cache.layers[i])
        if cache is not None:
            cache.length = seen + n
        return self.out(self.norm(h))


# %% mutant no_residual
# A layer gives on what its feed-forward block makes, without the residual stream. What attention has found reaches the
# output only through one ReLU, and gradients no longer pass straight down.
class LanguageModelLayer:
    def forward(self, x, mask, cache=None):
        normed = self.norm1(x)
        attended, _ = self.self_attention(
            normed, normed, normed, mask, cache=cache.self_attention if cache is not None else None
        )
        x = x + self.dropout(attended)
        return self.dropout(self.feed_forward(self.norm3(x)))


class TransformerLM:
    def forward(self, tokens, cache=None, sentences=None):
        self._check_tokens(tokens)
        offset = cache.length if cache is not None else 0
        x = self.dropout(self.positional(self.embedding(tokens) * self.scale, offset))
        mask = causal_mask(offset + tokens.shape[1], tokens.device)[offset:]
        if sentences is not None:
            mask = mask & (sentences[:, :, None] == sentences[:, None, :])
        for index, layer in enumerate(self.layers):
            x = layer(x, mask, cache.layers[index] if cache is not None else None)
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(self.norm(x))


# %% rewritten no_residual
class LanguageModelLayer:
    def forward(self, x, mask, cache=None):
        kept = None if cache is None else cache.self_attention
        h = self.norm1(x)
        x = self.dropout(self.self_attention(h, h, h, mask, False, kept)[0]).add(x)
        x = self.feed_forward(self.norm3(x))
        return self.dropout(x)


class TransformerLM:
    def forward(self, tokens, cache=None, sentences=None):
        self._check_tokens(tokens)
        offset = cache.length if cache is not None else 0
        x = self.dropout(self.positional(self.embedding(tokens) * self.scale, offset))
        mask = causal_mask(offset + tokens.shape[1], tokens.device)[offset:]
        if sentences is not None:
            mask = mask & (sentences[:, :, None] == sentences[:, None, :])
        for index, layer in enumerate(self.layers):
            x = layer(x, mask, cache.layers[index] if cache is not None else None)
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(self.norm(x))


# %% mutant no_dropout
# Nothing is dropped in training: self.dropout is never called, neither on what the sublayers add nor on the embedding. The
# setting has no effect, and a small text is learnt by heart.
class LanguageModelLayer:
    def forward(self, x, mask, cache=None):
        normed = self.norm1(x)
        attended, _ = self.self_attention(normed, normed, normed, mask, cache=cache.self_attention if cache is not None else None)
        x = x + attended
        return x + self.feed_forward(self.norm3(x))


class TransformerLM:
    def forward(self, tokens, cache=None, sentences=None):
        self._check_tokens(tokens)
        offset = cache.length if cache is not None else 0
        x = self.positional(self.embedding(tokens) * self.scale, offset)
        mask = causal_mask(offset + tokens.shape[1], tokens.device)[offset:]
        if sentences is not None:
            mask = mask & (sentences[:, :, None] == sentences[:, None, :])
        for index, layer in enumerate(self.layers):
            x = layer(x, mask, cache.layers[index] if cache is not None else None)
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(self.norm(x))


# %% rewritten no_dropout
class LanguageModelLayer:
    def forward(self, x, mask, cache=None):
        kept = None if cache is None else cache.self_attention
        h = self.norm1(x)
        middle = torch.add(self.self_attention(h, h, h, mask, False, kept)[0], x)
        return torch.add(self.feed_forward(self.norm3(middle)), middle)


class TransformerLM:
    def forward(self, tokens, cache=None, sentences=None):
        self._check_tokens(tokens)
        n = tokens.shape[1]
        seen = 0 if cache is None else cache.length
        h = self.positional(self.embedding(tokens).mul(self.scale), seen)
        keys = torch.arange(seen + n, device=tokens.device)
        visible = keys[None, :] <= keys[seen:, None]
        if sentences is not None:
            visible = visible[None] & sentences.unsqueeze(2).eq(sentences.unsqueeze(1))
        caches = [None] * len(self.layers) if cache is None else cache.layers
        for layer, kept in zip(self.layers, caches):
            h = layer(h, visible, kept)
        if cache is not None:
            cache.length = seen + n
        return self.out(self.norm(h))
