# %% mask_by_comparison
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        start, length = (cache.length if cache else 0), tokens.shape[1]
        x = self.embedding(tokens).mul(self.scale)
        x = self.dropout(self.positional(x, start))
        places = torch.arange(start + length, device=tokens.device)
        self_mask = places <= places[start:, None]
        maps = {}
        for number, layer in enumerate(self.layers):
            x, own, cross = layer(
                x,
                encoder_out,
                self_mask,
                encoder_mask[:, None],
                need_weights=need_weights,
                cache=cache.layers[number] if cache else None,
            )
            if need_weights:
                maps |= {f"decoder.{number}.self_attention": own, f"decoder.{number}.cross_attention": cross}
        if cache:
            cache.length = start + length
        return self.out(self.norm(x)), maps


# %% token_by_token_mask
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        batch, length = tokens.shape
        first = 0
        caches = [None for _ in self.layers]
        if cache is not None:
            first = cache.length
            caches = cache.layers
            cache.length = first + length
        allowed = torch.zeros(batch, length, first + length, dtype=torch.bool, device=tokens.device)
        for query in range(length):
            allowed[:, query, : first + query + 1] = True
        x = self.dropout(self.positional(self.embedding.weight[tokens] * math.sqrt(encoder_out.shape[-1]), first))
        names, maps = ("self_attention", "cross_attention"), {}
        for index in range(len(self.layers)):
            x, *weights = self.layers[index](
                x, encoder_out, allowed, key_mask(encoder_mask), need_weights, caches[index]
            )
            maps.update({f"decoder.{index}.{name}": w for name, w in zip(names, weights) if w is not None})
        return self.out(self.norm(x)), maps
