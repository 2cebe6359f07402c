# %% mutant no_scale
# The embeddings are not multiplied by self.scale. They start about sqrt(d_model) times smaller than the positions that are added to them, which
# then drown what the tokens say.
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        offset = cache.length if cache is not None else 0
        x = self.dropout(self.positional(self.embedding(tokens), offset))
        self_mask = causal_mask(offset + tokens.shape[1], tokens.device)[offset:]
        cross_mask = key_mask(encoder_mask)
        maps = {}
        for index, layer in enumerate(self.layers):
            layer_cache = cache.layers[index] if cache is not None else None
            x, self_weights, cross_weights = layer(x, encoder_out, self_mask, cross_mask, need_weights, layer_cache)
            if need_weights:
                maps[f"decoder.{index}.self_attention"] = self_weights
                maps[f"decoder.{index}.cross_attention"] = cross_weights
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(self.norm(x)), maps


# %% rewritten no_scale
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        length = tokens.shape[1]
        seen = 0 if cache is None else cache.length
        vectors = self.embedding(tokens)
        hidden = self.dropout(self.positional(vectors, offset=seen))
        queries = torch.arange(seen, seen + length, device=tokens.device)
        keys = torch.arange(seen + length, device=tokens.device)
        earlier = keys[None, :] <= queries[:, None]
        real = encoder_mask.unsqueeze(1)
        caches = [None] * len(self.layers) if cache is None else cache.layers
        found = {}
        for number, (layer, kept) in enumerate(zip(self.layers, caches)):
            hidden, text, sound = layer(
                hidden, encoder_out, self_mask=earlier, cross_mask=real, need_weights=need_weights, cache=kept
            )
            if need_weights:
                found.update({f"decoder.{number}.self_attention": text, f"decoder.{number}.cross_attention": sound})
        if cache is not None:
            cache.length = seen + length
        hidden = self.norm(hidden)
        return self.out(hidden), found


# %% mutant positions_from_zero
# The positions do not start at the offset. With a cache every new token is told that it is the first one; without a cache all is well, so only
# the search goes wrong.
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        offset = cache.length if cache is not None else 0
        x = self.dropout(self.positional(self.embedding(tokens) * self.scale))
        self_mask = causal_mask(offset + tokens.shape[1], tokens.device)[offset:]
        cross_mask = key_mask(encoder_mask)
        maps = {}
        for index, layer in enumerate(self.layers):
            layer_cache = cache.layers[index] if cache is not None else None
            x, self_weights, cross_weights = layer(x, encoder_out, self_mask, cross_mask, need_weights, layer_cache)
            if need_weights:
                maps[f"decoder.{index}.self_attention"] = self_weights
                maps[f"decoder.{index}.cross_attention"] = cross_weights
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(self.norm(x)), maps


# %% rewritten positions_from_zero
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        length = tokens.shape[1]
        seen = 0 if cache is None else cache.length
        vectors = self.scale * self.embedding(tokens)
        hidden = self.dropout(self.positional(vectors))
        queries = torch.arange(seen, seen + length, device=tokens.device)
        keys = torch.arange(seen + length, device=tokens.device)
        earlier = keys[None, :] <= queries[:, None]
        real = encoder_mask.unsqueeze(1)
        caches = [None] * len(self.layers) if cache is None else cache.layers
        found = {}
        for number, (layer, kept) in enumerate(zip(self.layers, caches)):
            hidden, text, sound = layer(
                hidden, encoder_out, self_mask=earlier, cross_mask=real, need_weights=need_weights, cache=kept
            )
            if need_weights:
                found.update({f"decoder.{number}.self_attention": text, f"decoder.{number}.cross_attention": sound})
        if cache is not None:
            cache.length = seen + length
        hidden = self.norm(hidden)
        return self.out(hidden), found


# %% mutant first_rows_of_the_mask
# The causal mask's first rows are taken instead of those from the offset on. With a cache, a new token may then look at the first token only.
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        offset = cache.length if cache is not None else 0
        x = self.dropout(self.positional(self.embedding(tokens) * self.scale, offset))
        self_mask = causal_mask(offset + tokens.shape[1], tokens.device)[: tokens.shape[1]]
        cross_mask = key_mask(encoder_mask)
        maps = {}
        for index, layer in enumerate(self.layers):
            layer_cache = cache.layers[index] if cache is not None else None
            x, self_weights, cross_weights = layer(x, encoder_out, self_mask, cross_mask, need_weights, layer_cache)
            if need_weights:
                maps[f"decoder.{index}.self_attention"] = self_weights
                maps[f"decoder.{index}.cross_attention"] = cross_weights
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(self.norm(x)), maps


# %% rewritten first_rows_of_the_mask
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        length = tokens.shape[1]
        seen = 0 if cache is None else cache.length
        vectors = self.scale * self.embedding(tokens)
        hidden = self.dropout(self.positional(vectors, offset=seen))
        queries = torch.arange(length, device=tokens.device)
        keys = torch.arange(seen + length, device=tokens.device)
        earlier = keys[None, :] <= queries[:, None]
        real = encoder_mask.unsqueeze(1)
        caches = [None] * len(self.layers) if cache is None else cache.layers
        found = {}
        for number, (layer, kept) in enumerate(zip(self.layers, caches)):
            hidden, text, sound = layer(
                hidden, encoder_out, self_mask=earlier, cross_mask=real, need_weights=need_weights, cache=kept
            )
            if need_weights:
                found.update({f"decoder.{number}.self_attention": text, f"decoder.{number}.cross_attention": sound})
        if cache is not None:
            cache.length = seen + length
        hidden = self.norm(hidden)
        return self.out(hidden), found


# %% mutant no_causal_mask
# No causal mask reaches the layers: each position sees the tokens behind it, its answer among them. The loss in training looks wonderful, and
# in a search the model is lost.
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        offset = cache.length if cache is not None else 0
        x = self.dropout(self.positional(self.embedding(tokens) * self.scale, offset))
        self_mask = causal_mask(offset + tokens.shape[1], tokens.device)[offset:]
        cross_mask = key_mask(encoder_mask)
        maps = {}
        for index, layer in enumerate(self.layers):
            layer_cache = cache.layers[index] if cache is not None else None
            x, self_weights, cross_weights = layer(x, encoder_out, None, cross_mask, need_weights, layer_cache)
            if need_weights:
                maps[f"decoder.{index}.self_attention"] = self_weights
                maps[f"decoder.{index}.cross_attention"] = cross_weights
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(self.norm(x)), maps


# %% rewritten no_causal_mask
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        length = tokens.shape[1]
        seen = 0 if cache is None else cache.length
        vectors = self.scale * self.embedding(tokens)
        hidden = self.dropout(self.positional(vectors, offset=seen))
        queries = torch.arange(seen, seen + length, device=tokens.device)
        keys = torch.arange(seen + length, device=tokens.device)
        earlier = torch.ones(length, seen + length, dtype=torch.bool)
        real = encoder_mask.unsqueeze(1)
        caches = [None] * len(self.layers) if cache is None else cache.layers
        found = {}
        for number, (layer, kept) in enumerate(zip(self.layers, caches)):
            hidden, text, sound = layer(
                hidden, encoder_out, self_mask=earlier, cross_mask=real, need_weights=need_weights, cache=kept
            )
            if need_weights:
                found.update({f"decoder.{number}.self_attention": text, f"decoder.{number}.cross_attention": sound})
        if cache is not None:
            cache.length = seen + length
        hidden = self.norm(hidden)
        return self.out(hidden), found


# %% mutant mask_shifted
# The causal mask hides the position itself as well. The token that was read last is then invisible, and the first position sees nothing at all.
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        offset = cache.length if cache is not None else 0
        x = self.dropout(self.positional(self.embedding(tokens) * self.scale, offset))
        self_mask = causal_mask(offset + tokens.shape[1], tokens.device).tril(-1)[offset:]
        cross_mask = key_mask(encoder_mask)
        maps = {}
        for index, layer in enumerate(self.layers):
            layer_cache = cache.layers[index] if cache is not None else None
            x, self_weights, cross_weights = layer(x, encoder_out, self_mask, cross_mask, need_weights, layer_cache)
            if need_weights:
                maps[f"decoder.{index}.self_attention"] = self_weights
                maps[f"decoder.{index}.cross_attention"] = cross_weights
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(self.norm(x)), maps


# %% rewritten mask_shifted
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        length = tokens.shape[1]
        seen = 0 if cache is None else cache.length
        vectors = self.scale * self.embedding(tokens)
        hidden = self.dropout(self.positional(vectors, offset=seen))
        queries = torch.arange(seen, seen + length, device=tokens.device)
        keys = torch.arange(seen + length, device=tokens.device)
        earlier = keys[None, :] < queries[:, None]
        real = encoder_mask.unsqueeze(1)
        caches = [None] * len(self.layers) if cache is None else cache.layers
        found = {}
        for number, (layer, kept) in enumerate(zip(self.layers, caches)):
            hidden, text, sound = layer(
                hidden, encoder_out, self_mask=earlier, cross_mask=real, need_weights=need_weights, cache=kept
            )
            if need_weights:
                found.update({f"decoder.{number}.self_attention": text, f"decoder.{number}.cross_attention": sound})
        if cache is not None:
            cache.length = seen + length
        hidden = self.norm(hidden)
        return self.out(hidden), found


# %% mutant no_padding_mask
# The layers are told that all frames are real. Padded frames then take part, and an utterance's result depends on how long the others of its
# batch are.
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        offset = cache.length if cache is not None else 0
        x = self.dropout(self.positional(self.embedding(tokens) * self.scale, offset))
        self_mask = causal_mask(offset + tokens.shape[1], tokens.device)[offset:]
        cross_mask = key_mask(torch.ones_like(encoder_mask))
        maps = {}
        for index, layer in enumerate(self.layers):
            layer_cache = cache.layers[index] if cache is not None else None
            x, self_weights, cross_weights = layer(x, encoder_out, self_mask, cross_mask, need_weights, layer_cache)
            if need_weights:
                maps[f"decoder.{index}.self_attention"] = self_weights
                maps[f"decoder.{index}.cross_attention"] = cross_weights
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(self.norm(x)), maps


# %% rewritten no_padding_mask
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        length = tokens.shape[1]
        seen = 0 if cache is None else cache.length
        vectors = self.scale * self.embedding(tokens)
        hidden = self.dropout(self.positional(vectors, offset=seen))
        queries = torch.arange(seen, seen + length, device=tokens.device)
        keys = torch.arange(seen + length, device=tokens.device)
        earlier = keys[None, :] <= queries[:, None]
        real = encoder_mask.unsqueeze(1) | True
        caches = [None] * len(self.layers) if cache is None else cache.layers
        found = {}
        for number, (layer, kept) in enumerate(zip(self.layers, caches)):
            hidden, text, sound = layer(
                hidden, encoder_out, self_mask=earlier, cross_mask=real, need_weights=need_weights, cache=kept
            )
            if need_weights:
                found.update({f"decoder.{number}.self_attention": text, f"decoder.{number}.cross_attention": sound})
        if cache is not None:
            cache.length = seen + length
        hidden = self.norm(hidden)
        return self.out(hidden), found


# %% mutant no_last_norm
# The last norm is missing. Pre-norm layers add to x and never normalise the sum, so the output layer gets vectors of any size.
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        offset = cache.length if cache is not None else 0
        x = self.dropout(self.positional(self.embedding(tokens) * self.scale, offset))
        self_mask = causal_mask(offset + tokens.shape[1], tokens.device)[offset:]
        cross_mask = key_mask(encoder_mask)
        maps = {}
        for index, layer in enumerate(self.layers):
            layer_cache = cache.layers[index] if cache is not None else None
            x, self_weights, cross_weights = layer(x, encoder_out, self_mask, cross_mask, need_weights, layer_cache)
            if need_weights:
                maps[f"decoder.{index}.self_attention"] = self_weights
                maps[f"decoder.{index}.cross_attention"] = cross_weights
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(x), maps


# %% rewritten no_last_norm
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        length = tokens.shape[1]
        seen = 0 if cache is None else cache.length
        vectors = self.scale * self.embedding(tokens)
        hidden = self.dropout(self.positional(vectors, offset=seen))
        queries = torch.arange(seen, seen + length, device=tokens.device)
        keys = torch.arange(seen + length, device=tokens.device)
        earlier = keys[None, :] <= queries[:, None]
        real = encoder_mask.unsqueeze(1)
        caches = [None] * len(self.layers) if cache is None else cache.layers
        found = {}
        for number, (layer, kept) in enumerate(zip(self.layers, caches)):
            hidden, text, sound = layer(
                hidden, encoder_out, self_mask=earlier, cross_mask=real, need_weights=need_weights, cache=kept
            )
            if need_weights:
                found.update({f"decoder.{number}.self_attention": text, f"decoder.{number}.cross_attention": sound})
        if cache is not None:
            cache.length = seen + length
        return self.out(hidden), found


# %% mutant softmax_in_the_decoder
# Log-probabilities come out where logits were asked for. The loss takes the softmax itself, and a later temperature or label smoothing would act
# on the wrong numbers.
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        offset = cache.length if cache is not None else 0
        x = self.dropout(self.positional(self.embedding(tokens) * self.scale, offset))
        self_mask = causal_mask(offset + tokens.shape[1], tokens.device)[offset:]
        cross_mask = key_mask(encoder_mask)
        maps = {}
        for index, layer in enumerate(self.layers):
            layer_cache = cache.layers[index] if cache is not None else None
            x, self_weights, cross_weights = layer(x, encoder_out, self_mask, cross_mask, need_weights, layer_cache)
            if need_weights:
                maps[f"decoder.{index}.self_attention"] = self_weights
                maps[f"decoder.{index}.cross_attention"] = cross_weights
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(self.norm(x)).log_softmax(dim=-1), maps


# %% rewritten softmax_in_the_decoder
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        length = tokens.shape[1]
        seen = 0 if cache is None else cache.length
        vectors = self.scale * self.embedding(tokens)
        hidden = self.dropout(self.positional(vectors, offset=seen))
        queries = torch.arange(seen, seen + length, device=tokens.device)
        keys = torch.arange(seen + length, device=tokens.device)
        earlier = keys[None, :] <= queries[:, None]
        real = encoder_mask.unsqueeze(1)
        caches = [None] * len(self.layers) if cache is None else cache.layers
        found = {}
        for number, (layer, kept) in enumerate(zip(self.layers, caches)):
            hidden, text, sound = layer(
                hidden, encoder_out, self_mask=earlier, cross_mask=real, need_weights=need_weights, cache=kept
            )
            if need_weights:
                found.update({f"decoder.{number}.self_attention": text, f"decoder.{number}.cross_attention": sound})
        if cache is not None:
            cache.length = seen + length
        hidden = self.norm(hidden)
        scores = self.out(hidden)
        return scores - scores.logsumexp(-1, keepdim=True), found


# %% mutant length_not_counted
# cache.length is never raised, so each step takes itself for the first one: position 0, and a mask with a single column.
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        offset = cache.length if cache is not None else 0
        x = self.dropout(self.positional(self.embedding(tokens) * self.scale, offset))
        self_mask = causal_mask(offset + tokens.shape[1], tokens.device)[offset:]
        cross_mask = key_mask(encoder_mask)
        maps = {}
        for index, layer in enumerate(self.layers):
            layer_cache = cache.layers[index] if cache is not None else None
            x, self_weights, cross_weights = layer(x, encoder_out, self_mask, cross_mask, need_weights, layer_cache)
            if need_weights:
                maps[f"decoder.{index}.self_attention"] = self_weights
                maps[f"decoder.{index}.cross_attention"] = cross_weights
        return self.out(self.norm(x)), maps


# %% rewritten length_not_counted
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        length = tokens.shape[1]
        seen = 0 if cache is None else cache.length
        vectors = self.scale * self.embedding(tokens)
        hidden = self.dropout(self.positional(vectors, offset=seen))
        queries = torch.arange(seen, seen + length, device=tokens.device)
        keys = torch.arange(seen + length, device=tokens.device)
        earlier = keys[None, :] <= queries[:, None]
        real = encoder_mask.unsqueeze(1)
        caches = [None] * len(self.layers) if cache is None else cache.layers
        found = {}
        for number, (layer, kept) in enumerate(zip(self.layers, caches)):
            hidden, text, sound = layer(
                hidden, encoder_out, self_mask=earlier, cross_mask=real, need_weights=need_weights, cache=kept
            )
            if need_weights:
                found.update({f"decoder.{number}.self_attention": text, f"decoder.{number}.cross_attention": sound})
        hidden = self.norm(hidden)
        return self.out(hidden), found


# %% mutant one_cache_for_all_layers
# All layers share the first layer's cache, so keys of different layers end up in one list. Each layer has its own, cache.layers[index].
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        offset = cache.length if cache is not None else 0
        x = self.dropout(self.positional(self.embedding(tokens) * self.scale, offset))
        self_mask = causal_mask(offset + tokens.shape[1], tokens.device)[offset:]
        cross_mask = key_mask(encoder_mask)
        maps = {}
        for index, layer in enumerate(self.layers):
            layer_cache = cache.layers[0] if cache is not None else None
            x, self_weights, cross_weights = layer(x, encoder_out, self_mask, cross_mask, need_weights, layer_cache)
            if need_weights:
                maps[f"decoder.{index}.self_attention"] = self_weights
                maps[f"decoder.{index}.cross_attention"] = cross_weights
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(self.norm(x)), maps


# %% rewritten one_cache_for_all_layers
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        length = tokens.shape[1]
        seen = 0 if cache is None else cache.length
        vectors = self.scale * self.embedding(tokens)
        hidden = self.dropout(self.positional(vectors, offset=seen))
        queries = torch.arange(seen, seen + length, device=tokens.device)
        keys = torch.arange(seen + length, device=tokens.device)
        earlier = keys[None, :] <= queries[:, None]
        real = encoder_mask.unsqueeze(1)
        caches = [None] * len(self.layers) if cache is None else [cache.layers[0]] * len(self.layers)
        found = {}
        for number, (layer, kept) in enumerate(zip(self.layers, caches)):
            hidden, text, sound = layer(
                hidden, encoder_out, self_mask=earlier, cross_mask=real, need_weights=need_weights, cache=kept
            )
            if need_weights:
                found.update({f"decoder.{number}.self_attention": text, f"decoder.{number}.cross_attention": sound})
        if cache is not None:
            cache.length = seen + length
        hidden = self.norm(hidden)
        return self.out(hidden), found


# %% mutant cache_not_passed
# The layers do not get their caches. Step by step each token then sees itself alone, and nothing that was said before.
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        offset = cache.length if cache is not None else 0
        x = self.dropout(self.positional(self.embedding(tokens) * self.scale, offset))
        self_mask = causal_mask(offset + tokens.shape[1], tokens.device)[offset:]
        cross_mask = key_mask(encoder_mask)
        maps = {}
        for index, layer in enumerate(self.layers):
            layer_cache = cache.layers[index] if cache is not None else None
            x, self_weights, cross_weights = layer(x, encoder_out, self_mask, cross_mask, need_weights)
            if need_weights:
                maps[f"decoder.{index}.self_attention"] = self_weights
                maps[f"decoder.{index}.cross_attention"] = cross_weights
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(self.norm(x)), maps


# %% rewritten cache_not_passed
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        length = tokens.shape[1]
        seen = 0 if cache is None else cache.length
        vectors = self.scale * self.embedding(tokens)
        hidden = self.dropout(self.positional(vectors, offset=seen))
        queries = torch.arange(seen, seen + length, device=tokens.device)
        keys = torch.arange(seen + length, device=tokens.device)
        earlier = keys[None, :] <= queries[:, None]
        real = encoder_mask.unsqueeze(1)
        caches = [None] * len(self.layers) if cache is None else cache.layers
        found = {}
        for number, (layer, kept) in enumerate(zip(self.layers, caches)):
            hidden, text, sound = layer(
                hidden, encoder_out, self_mask=earlier, cross_mask=real, need_weights=need_weights
            )
            if need_weights:
                found.update({f"decoder.{number}.self_attention": text, f"decoder.{number}.cross_attention": sound})
        if cache is not None:
            cache.length = seen + length
        hidden = self.norm(hidden)
        return self.out(hidden), found


# %% mutant layers_do_not_build_on_each_other
# Every layer is given the embeddings instead of what the layer below made of them, so only the last layer counts.
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        offset = cache.length if cache is not None else 0
        start = self.dropout(self.positional(self.embedding(tokens) * self.scale, offset))
        self_mask = causal_mask(offset + tokens.shape[1], tokens.device)[offset:]
        cross_mask = key_mask(encoder_mask)
        maps = {}
        for index, layer in enumerate(self.layers):
            layer_cache = cache.layers[index] if cache is not None else None
            x, self_weights, cross_weights = layer(start, encoder_out, self_mask, cross_mask, need_weights, layer_cache)
            if need_weights:
                maps[f"decoder.{index}.self_attention"] = self_weights
                maps[f"decoder.{index}.cross_attention"] = cross_weights
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(self.norm(x)), maps


# %% rewritten layers_do_not_build_on_each_other
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        length = tokens.shape[1]
        seen = 0 if cache is None else cache.length
        vectors = self.scale * self.embedding(tokens)
        vectors = self.dropout(self.positional(vectors, offset=seen))
        queries = torch.arange(seen, seen + length, device=tokens.device)
        keys = torch.arange(seen + length, device=tokens.device)
        earlier = keys[None, :] <= queries[:, None]
        real = encoder_mask.unsqueeze(1)
        caches = [None] * len(self.layers) if cache is None else cache.layers
        found = {}
        for number, (layer, kept) in enumerate(zip(self.layers, caches)):
            hidden, text, sound = layer(
                vectors, encoder_out, self_mask=earlier, cross_mask=real, need_weights=need_weights, cache=kept
            )
            if need_weights:
                found.update({f"decoder.{number}.self_attention": text, f"decoder.{number}.cross_attention": sound})
        if cache is not None:
            cache.length = seen + length
        hidden = self.norm(hidden)
        return self.out(hidden), found


# %% mutant maps_always
# The attention maps are put into the dictionary although nobody asked for them, with None as their values: plots and summaries then trip over them.
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        offset = cache.length if cache is not None else 0
        x = self.dropout(self.positional(self.embedding(tokens) * self.scale, offset))
        self_mask = causal_mask(offset + tokens.shape[1], tokens.device)[offset:]
        cross_mask = key_mask(encoder_mask)
        maps = {}
        for index, layer in enumerate(self.layers):
            layer_cache = cache.layers[index] if cache is not None else None
            x, self_weights, cross_weights = layer(x, encoder_out, self_mask, cross_mask, need_weights, layer_cache)
            maps[f"decoder.{index}.self_attention"] = self_weights
            maps[f"decoder.{index}.cross_attention"] = cross_weights
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(self.norm(x)), maps


# %% rewritten maps_always
class Decoder:
    def forward(self, tokens, encoder_out, encoder_mask, need_weights=False, cache=None):
        self._check_tokens(tokens, encoder_out)
        length = tokens.shape[1]
        seen = 0 if cache is None else cache.length
        vectors = self.scale * self.embedding(tokens)
        hidden = self.dropout(self.positional(vectors, offset=seen))
        queries = torch.arange(seen, seen + length, device=tokens.device)
        keys = torch.arange(seen + length, device=tokens.device)
        earlier = keys[None, :] <= queries[:, None]
        real = encoder_mask.unsqueeze(1)
        caches = [None] * len(self.layers) if cache is None else cache.layers
        found = {}
        for number, (layer, kept) in enumerate(zip(self.layers, caches)):
            hidden, text, sound = layer(
                hidden, encoder_out, self_mask=earlier, cross_mask=real, need_weights=need_weights, cache=kept
            )
            found.update({f"decoder.{number}.self_attention": text, f"decoder.{number}.cross_attention": sound})
        if cache is not None:
            cache.length = seen + length
        hidden = self.norm(hidden)
        return self.out(hidden), found
