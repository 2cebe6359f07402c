# %% comparisons
class LanguageModelLayer:
    def forward(self, x, mask, cache=None):
        kept = None if cache is None else cache.self_attention
        h = self.norm1(x)
        x = self.dropout(self.self_attention(h, h, h, mask, False, kept)[0]) + x
        h = self.norm3(x)
        return self.dropout(self.feed_forward(h)) + x


class TransformerLM:
    def forward(self, tokens, cache=None, sentences=None):
        self._check_tokens(tokens)
        n = tokens.shape[1]
        seen = 0 if cache is None else cache.length
        h = self.dropout(self.positional(self.embedding(tokens).mul(self.scale), seen))
        keys = torch.arange(seen + n, device=tokens.device)
        visible = keys[None, :] <= keys[seen:, None]
        if sentences is not None:
            visible = visible[None] & sentences.unsqueeze(2).eq(sentences.unsqueeze(1))
        caches = [None] * len(self.layers) if cache is None else cache.layers
        for layer, kept in zip(self.layers, caches, strict=True):
            h = layer(h, visible, kept)
        if cache is not None:
            cache.length = seen + n
        return self.out(self.norm(h))
