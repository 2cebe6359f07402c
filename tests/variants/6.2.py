# %% by_name
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        text_cache, sound_cache = (None, None) if cache is None else (cache.self_attention, cache.cross_attention)
        text = self.norm1(x)
        seen, own = self.self_attention(text, text, text, mask=self_mask, need_weights=need_weights, cache=text_cache)
        x = self.dropout(seen) + x
        heard, cross = self.cross_attention(
            key=encoder_out,
            value=encoder_out,
            query=self.norm2(x),
            mask=cross_mask,
            need_weights=need_weights,
            cache=sound_cache,
        )
        x = self.dropout(heard) + x
        return self.dropout(self.feed_forward(self.norm3(x))) + x, own, cross


# %% closure
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        weights = []

        def look(attention, query, keys, mask, kept):
            output, found = attention(query, keys, keys, mask, need_weights, kept)
            weights.append(found)
            return output

        def add(x, norm, sublayer):
            return x + self.dropout(sublayer(norm(x)))

        caches = (cache.self_attention, cache.cross_attention) if cache is not None else (None, None)
        x = add(x, self.norm1, lambda y: look(self.self_attention, y, y, self_mask, caches[0]))
        x = add(x, self.norm2, lambda y: look(self.cross_attention, y, encoder_out, cross_mask, caches[1]))
        x = add(x, self.norm3, self.feed_forward)
        return x, weights[0], weights[1]
