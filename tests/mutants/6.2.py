# %% mutant cross_swapped
# Queries and keys of the cross-attention have changed places: the sound asks and the text answers. It is the text that wants to know
# something, one query for each token; keys and values come from the encoder.
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        normed = self.norm1(x)
        attended, self_weights = self.self_attention(
            normed, normed, normed, self_mask, need_weights, cache.self_attention if cache else None
        )
        x = x + self.dropout(attended)
        normed = self.norm2(x)
        attended, cross_weights = self.cross_attention(
            encoder_out, normed, normed, cross_mask, need_weights, cache.cross_attention if cache else None
        )
        x = x + self.dropout(attended)
        x = x + self.dropout(self.feed_forward(self.norm3(x)))
        return x, self_weights, cross_weights


# %% rewritten cross_swapped
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        own = None if cache is None else cache.self_attention
        sound = None if cache is None else cache.cross_attention
        query = self.norm1(x)
        seen, self_weights = self.self_attention(
            query=query, key=query, value=query, mask=self_mask, need_weights=need_weights, cache=own
        )
        first = x + self.dropout(seen)
        heard, cross_weights = self.cross_attention(
            query=encoder_out, key=self.norm2(first), value=self.norm2(first), mask=cross_mask, need_weights=need_weights, cache=sound
        )
        second = first + self.dropout(heard)
        third = second + self.dropout(self.feed_forward(self.norm3(second)))
        return third, self_weights, cross_weights


# %% mutant cross_reads_itself
# The cross-attention takes its keys and values from the decoder's own states, so the layer never hears the sound: it is a language model.
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        normed = self.norm1(x)
        attended, self_weights = self.self_attention(
            normed, normed, normed, self_mask, need_weights, cache.self_attention if cache else None
        )
        x = x + self.dropout(attended)
        normed = self.norm2(x)
        attended, cross_weights = self.cross_attention(
            normed, normed, normed, self_mask, need_weights, cache.cross_attention if cache else None
        )
        x = x + self.dropout(attended)
        x = x + self.dropout(self.feed_forward(self.norm3(x)))
        return x, self_weights, cross_weights


# %% rewritten cross_reads_itself
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        own = None if cache is None else cache.self_attention
        sound = None if cache is None else cache.cross_attention
        query = self.norm1(x)
        seen, self_weights = self.self_attention(
            query=query, key=query, value=query, mask=self_mask, need_weights=need_weights, cache=own
        )
        first = x + self.dropout(seen)
        heard, cross_weights = self.cross_attention(
            query=self.norm2(first), key=self.norm2(first), value=self.norm2(first), mask=self_mask, need_weights=need_weights, cache=sound
        )
        second = first + self.dropout(heard)
        third = second + self.dropout(self.feed_forward(self.norm3(second)))
        return third, self_weights, cross_weights


# %% mutant no_cross_mask
# The cross-attention gets no mask. Queries then share out weight over padded frames too, and an utterance's result depends on how long the
# others of its batch are.
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        normed = self.norm1(x)
        attended, self_weights = self.self_attention(
            normed, normed, normed, self_mask, need_weights, cache.self_attention if cache else None
        )
        x = x + self.dropout(attended)
        attended, cross_weights = self.cross_attention(
            self.norm2(x), encoder_out, encoder_out, None, need_weights, cache.cross_attention if cache else None
        )
        x = x + self.dropout(attended)
        x = x + self.dropout(self.feed_forward(self.norm3(x)))
        return x, self_weights, cross_weights


# %% rewritten no_cross_mask
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        own = None if cache is None else cache.self_attention
        sound = None if cache is None else cache.cross_attention
        query = self.norm1(x)
        seen, self_weights = self.self_attention(
            query=query, key=query, value=query, mask=self_mask, need_weights=need_weights, cache=own
        )
        first = x + self.dropout(seen)
        heard, cross_weights = self.cross_attention(
            query=self.norm2(first), key=encoder_out, value=encoder_out, mask=torch.ones_like(cross_mask), need_weights=need_weights, cache=sound
        )
        second = first + self.dropout(heard)
        third = second + self.dropout(self.feed_forward(self.norm3(second)))
        return third, self_weights, cross_weights


# %% mutant no_causal_mask
# The self-attention gets no mask, so a position sees the tokens behind it, its own answer among them. Training looks wonderful, and in a
# search, where the future does not exist yet, the model is lost.
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        normed = self.norm1(x)
        attended, self_weights = self.self_attention(
            normed, normed, normed, None, need_weights, cache.self_attention if cache else None
        )
        x = x + self.dropout(attended)
        attended, cross_weights = self.cross_attention(
            self.norm2(x), encoder_out, encoder_out, cross_mask, need_weights, cache.cross_attention if cache else None
        )
        x = x + self.dropout(attended)
        x = x + self.dropout(self.feed_forward(self.norm3(x)))
        return x, self_weights, cross_weights


# %% rewritten no_causal_mask
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        own = None if cache is None else cache.self_attention
        sound = None if cache is None else cache.cross_attention
        query = self.norm1(x)
        seen, self_weights = self.self_attention(
            query=query, key=query, value=query, need_weights=need_weights, cache=own
        )
        first = x + self.dropout(seen)
        heard, cross_weights = self.cross_attention(
            query=self.norm2(first), key=encoder_out, value=encoder_out, mask=cross_mask, need_weights=need_weights, cache=sound
        )
        second = first + self.dropout(heard)
        third = second + self.dropout(self.feed_forward(self.norm3(second)))
        return third, self_weights, cross_weights


# %% mutant no_residual
# What a sublayer says replaces x instead of being added to it: each layer forgets what it was given, and gradients lose their direct way down.
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        normed = self.norm1(x)
        attended, self_weights = self.self_attention(
            normed, normed, normed, self_mask, need_weights, cache.self_attention if cache else None
        )
        x = self.dropout(attended)
        attended, cross_weights = self.cross_attention(
            self.norm2(x), encoder_out, encoder_out, cross_mask, need_weights, cache.cross_attention if cache else None
        )
        x = self.dropout(attended)
        x = self.dropout(self.feed_forward(self.norm3(x)))
        return x, self_weights, cross_weights


# %% rewritten no_residual
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        own = None if cache is None else cache.self_attention
        sound = None if cache is None else cache.cross_attention
        query = self.norm1(x)
        seen, self_weights = self.self_attention(
            query=query, key=query, value=query, mask=self_mask, need_weights=need_weights, cache=own
        )
        first = self.dropout(seen)
        heard, cross_weights = self.cross_attention(
            query=self.norm2(first), key=encoder_out, value=encoder_out, mask=cross_mask, need_weights=need_weights, cache=sound
        )
        second = self.dropout(heard)
        third = self.dropout(self.feed_forward(self.norm3(second)))
        return third, self_weights, cross_weights


# %% mutant no_cross_residual
# What the cross-attention says replaces x instead of being added to it. The layer then knows what it hears and no longer what it has read.
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        normed = self.norm1(x)
        attended, self_weights = self.self_attention(
            normed, normed, normed, self_mask, need_weights, cache.self_attention if cache else None
        )
        x = x + self.dropout(attended)
        attended, cross_weights = self.cross_attention(
            self.norm2(x), encoder_out, encoder_out, cross_mask, need_weights, cache.cross_attention if cache else None
        )
        x = self.dropout(attended)
        x = x + self.dropout(self.feed_forward(self.norm3(x)))
        return x, self_weights, cross_weights


# %% rewritten no_cross_residual
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        own = None if cache is None else cache.self_attention
        sound = None if cache is None else cache.cross_attention
        query = self.norm1(x)
        seen, self_weights = self.self_attention(
            query=query, key=query, value=query, mask=self_mask, need_weights=need_weights, cache=own
        )
        first = x + self.dropout(seen)
        heard, cross_weights = self.cross_attention(
            query=self.norm2(first), key=encoder_out, value=encoder_out, mask=cross_mask, need_weights=need_weights, cache=sound
        )
        second = self.dropout(heard)
        third = second + self.dropout(self.feed_forward(self.norm3(second)))
        return third, self_weights, cross_weights


# %% mutant post_norm
# Each norm comes after its residual sum ("post-norm", as in the first Transformer) instead of before its sublayer. It can be trained, with care
# and a long warm-up, but our weights and the encoder of chapter 05 are pre-norm.
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        attended, self_weights = self.self_attention(
            x, x, x, self_mask, need_weights, cache.self_attention if cache else None
        )
        x = self.norm1(x + self.dropout(attended))
        attended, cross_weights = self.cross_attention(
            x, encoder_out, encoder_out, cross_mask, need_weights, cache.cross_attention if cache else None
        )
        x = self.norm2(x + self.dropout(attended))
        x = self.norm3(x + self.dropout(self.feed_forward(x)))
        return x, self_weights, cross_weights


# %% rewritten post_norm
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        own = None if cache is None else cache.self_attention
        sound = None if cache is None else cache.cross_attention
        query = x
        seen, self_weights = self.self_attention(
            query=query, key=query, value=query, mask=self_mask, need_weights=need_weights, cache=own
        )
        first = self.norm1(self.dropout(seen) + x)
        heard, cross_weights = self.cross_attention(
            query=first, key=encoder_out, value=encoder_out, mask=cross_mask, need_weights=need_weights, cache=sound
        )
        second = self.norm2(self.dropout(heard) + first)
        third = self.norm3(self.dropout(self.feed_forward(second)) + second)
        return third, self_weights, cross_weights


# %% mutant norms_mixed_up
# The second and the third norm have changed places. Fresh ones are all alike, so nothing shows until training has made them different, and then
# a checkpoint of right code fails: norm2 belongs to the cross-attention, norm3 to the feed-forward block.
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        normed = self.norm1(x)
        attended, self_weights = self.self_attention(
            normed, normed, normed, self_mask, need_weights, cache.self_attention if cache else None
        )
        x = x + self.dropout(attended)
        attended, cross_weights = self.cross_attention(
            self.norm3(x), encoder_out, encoder_out, cross_mask, need_weights, cache.cross_attention if cache else None
        )
        x = x + self.dropout(attended)
        x = x + self.dropout(self.feed_forward(self.norm2(x)))
        return x, self_weights, cross_weights


# %% rewritten norms_mixed_up
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        own = None if cache is None else cache.self_attention
        sound = None if cache is None else cache.cross_attention
        query = self.norm1(x)
        seen, self_weights = self.self_attention(
            query=query, key=query, value=query, mask=self_mask, need_weights=need_weights, cache=own
        )
        first = x + self.dropout(seen)
        heard, cross_weights = self.cross_attention(
            query=self.norm3(first), key=encoder_out, value=encoder_out, mask=cross_mask, need_weights=need_weights, cache=sound
        )
        second = first + self.dropout(heard)
        third = second + self.dropout(self.feed_forward(self.norm2(second)))
        return third, self_weights, cross_weights


# %% mutant sound_normalised_again
# The encoder's states go through the decoder's norm2 before they become keys and values. The encoder's own last norm has scaled them already,
# and norm2 is fitted to the text.
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        normed = self.norm1(x)
        attended, self_weights = self.self_attention(
            normed, normed, normed, self_mask, need_weights, cache.self_attention if cache else None
        )
        x = x + self.dropout(attended)
        sound = self.norm2(encoder_out)
        attended, cross_weights = self.cross_attention(
            self.norm2(x), sound, sound, cross_mask, need_weights, cache.cross_attention if cache else None
        )
        x = x + self.dropout(attended)
        x = x + self.dropout(self.feed_forward(self.norm3(x)))
        return x, self_weights, cross_weights


# %% rewritten sound_normalised_again
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        own = None if cache is None else cache.self_attention
        sound = None if cache is None else cache.cross_attention
        query = self.norm1(x)
        seen, self_weights = self.self_attention(
            query=query, key=query, value=query, mask=self_mask, need_weights=need_weights, cache=own
        )
        first = x + self.dropout(seen)
        heard, cross_weights = self.cross_attention(
            query=self.norm2(first), key=self.norm2(encoder_out), value=self.norm2(encoder_out), mask=cross_mask, need_weights=need_weights, cache=sound
        )
        second = first + self.dropout(heard)
        third = second + self.dropout(self.feed_forward(self.norm3(second)))
        return third, self_weights, cross_weights


# %% mutant self_attention_not_normalised
# The self-attention works on x itself: its norm is missing. The sums grow from layer to layer, and so do the scores.
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        normed = x
        attended, self_weights = self.self_attention(
            normed, normed, normed, self_mask, need_weights, cache.self_attention if cache else None
        )
        x = x + self.dropout(attended)
        attended, cross_weights = self.cross_attention(
            self.norm2(x), encoder_out, encoder_out, cross_mask, need_weights, cache.cross_attention if cache else None
        )
        x = x + self.dropout(attended)
        x = x + self.dropout(self.feed_forward(self.norm3(x)))
        return x, self_weights, cross_weights


# %% rewritten self_attention_not_normalised
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        own = None if cache is None else cache.self_attention
        sound = None if cache is None else cache.cross_attention
        query = x
        seen, self_weights = self.self_attention(
            query=query, key=query, value=query, mask=self_mask, need_weights=need_weights, cache=own
        )
        first = x + self.dropout(seen)
        heard, cross_weights = self.cross_attention(
            query=self.norm2(first), key=encoder_out, value=encoder_out, mask=cross_mask, need_weights=need_weights, cache=sound
        )
        second = first + self.dropout(heard)
        third = second + self.dropout(self.feed_forward(self.norm3(second)))
        return third, self_weights, cross_weights


# %% mutant one_cache_for_both
# Both attentions got the self-attention's cache, so frames are put in the same list as tokens. Text and sound have a cache each.
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        normed = self.norm1(x)
        attended, self_weights = self.self_attention(
            normed, normed, normed, self_mask, need_weights, cache.self_attention if cache else None
        )
        x = x + self.dropout(attended)
        attended, cross_weights = self.cross_attention(
            self.norm2(x), encoder_out, encoder_out, cross_mask, need_weights, cache.self_attention if cache else None
        )
        x = x + self.dropout(attended)
        x = x + self.dropout(self.feed_forward(self.norm3(x)))
        return x, self_weights, cross_weights


# %% rewritten one_cache_for_both
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        own = None if cache is None else cache.self_attention
        sound = None if cache is None else cache.cross_attention
        query = self.norm1(x)
        seen, self_weights = self.self_attention(
            query=query, key=query, value=query, mask=self_mask, need_weights=need_weights, cache=own
        )
        first = x + self.dropout(seen)
        heard, cross_weights = self.cross_attention(
            query=self.norm2(first), key=encoder_out, value=encoder_out, mask=cross_mask, need_weights=need_weights, cache=own
        )
        second = first + self.dropout(heard)
        third = second + self.dropout(self.feed_forward(self.norm3(second)))
        return third, self_weights, cross_weights


# %% mutant cache_not_passed
# The self-attention does not get its cache, so in a step-by-step search each new token sees itself alone and nothing that was said before.
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        normed = self.norm1(x)
        attended, self_weights = self.self_attention(
            normed, normed, normed, self_mask, need_weights
        )
        x = x + self.dropout(attended)
        attended, cross_weights = self.cross_attention(
            self.norm2(x), encoder_out, encoder_out, cross_mask, need_weights, cache.cross_attention if cache else None
        )
        x = x + self.dropout(attended)
        x = x + self.dropout(self.feed_forward(self.norm3(x)))
        return x, self_weights, cross_weights


# %% rewritten cache_not_passed
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        own = None if cache is None else cache.self_attention
        sound = None if cache is None else cache.cross_attention
        query = self.norm1(x)
        seen, self_weights = self.self_attention(
            query=query, key=query, value=query, mask=self_mask, need_weights=need_weights
        )
        first = x + self.dropout(seen)
        heard, cross_weights = self.cross_attention(
            query=self.norm2(first), key=encoder_out, value=encoder_out, mask=cross_mask, need_weights=need_weights, cache=sound
        )
        second = first + self.dropout(heard)
        third = second + self.dropout(self.feed_forward(self.norm3(second)))
        return third, self_weights, cross_weights


# %% mutant dropout_missing
# What the sublayers say is added without going through self.dropout. Nothing shows in evaluation; in training the model memorises sooner.
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        normed = self.norm1(x)
        attended, self_weights = self.self_attention(
            normed, normed, normed, self_mask, need_weights, cache.self_attention if cache else None
        )
        x = x + attended
        attended, cross_weights = self.cross_attention(
            self.norm2(x), encoder_out, encoder_out, cross_mask, need_weights, cache.cross_attention if cache else None
        )
        x = x + attended
        x = x + self.feed_forward(self.norm3(x))
        return x, self_weights, cross_weights


# %% rewritten dropout_missing
class DecoderLayer:
    def forward(self, x, encoder_out, self_mask, cross_mask, need_weights=False, cache=None):
        own = None if cache is None else cache.self_attention
        sound = None if cache is None else cache.cross_attention
        query = self.norm1(x)
        seen, self_weights = self.self_attention(
            query=query, key=query, value=query, mask=self_mask, need_weights=need_weights, cache=own
        )
        first = x + seen
        heard, cross_weights = self.cross_attention(
            query=self.norm2(first), key=encoder_out, value=encoder_out, mask=cross_mask, need_weights=need_weights, cache=sound
        )
        second = first + heard
        third = self.feed_forward(self.norm3(second)) + second
        return third, self_weights, cross_weights
