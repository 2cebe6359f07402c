# %% mutant softmax_over_frames
# The softmax is taken over the frames instead of the vocabulary: each token shares out 1 over time, and a frame's probabilities do not sum to 1.
class SpeechTransformer:
    def ctc_log_probs(self, encoder_out):
        return self.ctc_head(encoder_out).float().log_softmax(dim=1)

    def forward(self, features, feature_lengths, tokens_in, need_weights=False):
        normalized = self.front_end(features, feature_lengths)
        encoder_out, encoder_mask, maps = self.encoder(normalized, feature_lengths, need_weights)
        logits = None
        if self.decoder is not None:
            logits, decoder_maps = self.decoder(tokens_in, encoder_out, encoder_mask, need_weights)
            maps = maps | decoder_maps
        return ModelOutput(encoder_out, encoder_mask, self.ctc_log_probs(encoder_out), logits, maps)


# %% rewritten softmax_over_frames
class SpeechTransformer:
    def ctc_log_probs(self, encoder_out):
        scores = self.ctc_head(encoder_out).float()
        return scores - scores.logsumexp(dim=-2, keepdim=True)

    def forward(self, features, feature_lengths, tokens_in, need_weights=False):
        heard, real, looks = self.encoder(
            self.front_end(features, feature_lengths), lengths=feature_lengths, need_weights=need_weights
        )
        output = ModelOutput(encoder_out=heard, encoder_mask=real, ctc_log_probs=self.ctc_log_probs(heard), logits=None)
        output.attention_maps = dict(looks)
        if self.decoder:
            output.logits, more = self.decoder(tokens_in, heard, encoder_mask=real, need_weights=need_weights)
            output.attention_maps.update(more)
        return output


# %% mutant no_log_softmax
# The CTC head's raw scores come out, without log-softmax. CTC adds and multiplies what it gets as probabilities: the loss becomes meaningless and
# may even be negative.
class SpeechTransformer:
    def ctc_log_probs(self, encoder_out):
        return self.ctc_head(encoder_out).float()

    def forward(self, features, feature_lengths, tokens_in, need_weights=False):
        normalized = self.front_end(features, feature_lengths)
        encoder_out, encoder_mask, maps = self.encoder(normalized, feature_lengths, need_weights)
        logits = None
        if self.decoder is not None:
            logits, decoder_maps = self.decoder(tokens_in, encoder_out, encoder_mask, need_weights)
            maps = maps | decoder_maps
        return ModelOutput(encoder_out, encoder_mask, self.ctc_log_probs(encoder_out), logits, maps)


# %% rewritten no_log_softmax
class SpeechTransformer:
    def ctc_log_probs(self, encoder_out):
        return self.ctc_head(encoder_out).to(dtype=__import__('torch').float32)

    def forward(self, features, feature_lengths, tokens_in, need_weights=False):
        heard, real, looks = self.encoder(
            self.front_end(features, feature_lengths), lengths=feature_lengths, need_weights=need_weights
        )
        output = ModelOutput(encoder_out=heard, encoder_mask=real, ctc_log_probs=self.ctc_log_probs(heard), logits=None)
        output.attention_maps = dict(looks)
        if self.decoder:
            output.logits, more = self.decoder(tokens_in, heard, encoder_mask=real, need_weights=need_weights)
            output.attention_maps.update(more)
        return output


# %% mutant no_log
# Probabilities come out where their logarithms were asked for. CTC would take 0.9 for a log-probability.
class SpeechTransformer:
    def ctc_log_probs(self, encoder_out):
        return self.ctc_head(encoder_out).float().softmax(dim=-1)

    def forward(self, features, feature_lengths, tokens_in, need_weights=False):
        normalized = self.front_end(features, feature_lengths)
        encoder_out, encoder_mask, maps = self.encoder(normalized, feature_lengths, need_weights)
        logits = None
        if self.decoder is not None:
            logits, decoder_maps = self.decoder(tokens_in, encoder_out, encoder_mask, need_weights)
            maps = maps | decoder_maps
        return ModelOutput(encoder_out, encoder_mask, self.ctc_log_probs(encoder_out), logits, maps)


# %% rewritten no_log
class SpeechTransformer:
    def ctc_log_probs(self, encoder_out):
        scores = self.ctc_head(encoder_out).float()
        scores = scores.exp()
        return scores / scores.sum(dim=-1, keepdim=True)

    def forward(self, features, feature_lengths, tokens_in, need_weights=False):
        heard, real, looks = self.encoder(
            self.front_end(features, feature_lengths), lengths=feature_lengths, need_weights=need_weights
        )
        output = ModelOutput(encoder_out=heard, encoder_mask=real, ctc_log_probs=self.ctc_log_probs(heard), logits=None)
        output.attention_maps = dict(looks)
        if self.decoder:
            output.logits, more = self.decoder(tokens_in, heard, encoder_mask=real, need_weights=need_weights)
            output.attention_maps.update(more)
        return output


# %% mutant not_normalised
# The encoder is given the raw features: front_end, which normalises them, has been left out. encode, which the search uses, would then hear
# something else than training did.
class SpeechTransformer:
    def ctc_log_probs(self, encoder_out):
        return self.ctc_head(encoder_out).float().log_softmax(dim=-1)

    def forward(self, features, feature_lengths, tokens_in, need_weights=False):
        encoder_out, encoder_mask, maps = self.encoder(features, feature_lengths, need_weights)
        logits = None
        if self.decoder is not None:
            logits, decoder_maps = self.decoder(tokens_in, encoder_out, encoder_mask, need_weights)
            maps = maps | decoder_maps
        return ModelOutput(encoder_out, encoder_mask, self.ctc_log_probs(encoder_out), logits, maps)


# %% rewritten not_normalised
class SpeechTransformer:
    def ctc_log_probs(self, encoder_out):
        scores = self.ctc_head(encoder_out).float()
        return scores - scores.logsumexp(dim=-1, keepdim=True)

    def forward(self, features, feature_lengths, tokens_in, need_weights=False):
        heard, real, looks = self.encoder(
            features, lengths=feature_lengths, need_weights=need_weights
        )
        output = ModelOutput(encoder_out=heard, encoder_mask=real, ctc_log_probs=self.ctc_log_probs(heard), logits=None)
        output.attention_maps = dict(looks)
        if self.decoder:
            output.logits, more = self.decoder(tokens_in, heard, encoder_mask=real, need_weights=need_weights)
            output.attention_maps.update(more)
        return output


# %% mutant ctc_on_the_features
# The CTC head got the normalised features instead of the encoder's states: it would judge every frame without having heard its neighbours.
class SpeechTransformer:
    def ctc_log_probs(self, encoder_out):
        return self.ctc_head(encoder_out).float().log_softmax(dim=-1)

    def forward(self, features, feature_lengths, tokens_in, need_weights=False):
        normalized = self.front_end(features, feature_lengths)
        encoder_out, encoder_mask, maps = self.encoder(normalized, feature_lengths, need_weights)
        logits = None
        if self.decoder is not None:
            logits, decoder_maps = self.decoder(tokens_in, encoder_out, encoder_mask, need_weights)
            maps = maps | decoder_maps
        return ModelOutput(encoder_out, encoder_mask, self.ctc_log_probs(normalized), logits, maps)


# %% rewritten ctc_on_the_features
class SpeechTransformer:
    def ctc_log_probs(self, encoder_out):
        scores = self.ctc_head(encoder_out).float()
        return scores - scores.logsumexp(dim=-1, keepdim=True)

    def forward(self, features, feature_lengths, tokens_in, need_weights=False):
        heard, real, looks = self.encoder(
            self.front_end(features, feature_lengths), lengths=feature_lengths, need_weights=need_weights
        )
        output = ModelOutput(encoder_out=heard, encoder_mask=real, ctc_log_probs=self.ctc_log_probs(self.front_end(features, feature_lengths)), logits=None)
        output.attention_maps = dict(looks)
        if self.decoder:
            output.logits, more = self.decoder(tokens_in, heard, encoder_mask=real, need_weights=need_weights)
            output.attention_maps.update(more)
        return output


# %% mutant ctc_on_the_decoder
# The CTC output was made of the decoder's logits. CTC needs one distribution for each frame of sound, from the encoder; the decoder has one for
# each token, and has already read the text.
class SpeechTransformer:
    def ctc_log_probs(self, encoder_out):
        return self.ctc_head(encoder_out).float().log_softmax(dim=-1)

    def forward(self, features, feature_lengths, tokens_in, need_weights=False):
        normalized = self.front_end(features, feature_lengths)
        encoder_out, encoder_mask, maps = self.encoder(normalized, feature_lengths, need_weights)
        logits = None
        if self.decoder is not None:
            logits, decoder_maps = self.decoder(tokens_in, encoder_out, encoder_mask, need_weights)
            maps = maps | decoder_maps
        return ModelOutput(encoder_out, encoder_mask, (logits if logits is not None else self.ctc_head(encoder_out)).float().log_softmax(-1), logits, maps)


# %% rewritten ctc_on_the_decoder
class SpeechTransformer:
    def ctc_log_probs(self, encoder_out):
        scores = self.ctc_head(encoder_out).float()
        return scores - scores.logsumexp(dim=-1, keepdim=True)

    def forward(self, features, feature_lengths, tokens_in, need_weights=False):
        heard, real, looks = self.encoder(
            self.front_end(features, feature_lengths), lengths=feature_lengths, need_weights=need_weights
        )
        output = ModelOutput(encoder_out=heard, encoder_mask=real, ctc_log_probs=self.ctc_log_probs(heard), logits=None)
        output.attention_maps = dict(looks)
        if self.decoder:
            output.logits, more = self.decoder(tokens_in, heard, encoder_mask=real, need_weights=need_weights)
            output.attention_maps.update(more)
            output.ctc_log_probs = output.logits - output.logits.logsumexp(-1, keepdim=True)
        return output


# %% mutant encoded_twice
# The encoder runs once for each head. That costs twice the time, and in training, where each run draws its own dropout and masks, the two heads
# judge different states.
class SpeechTransformer:
    def ctc_log_probs(self, encoder_out):
        return self.ctc_head(encoder_out).float().log_softmax(dim=-1)

    def forward(self, features, feature_lengths, tokens_in, need_weights=False):
        encoder_out, encoder_mask = self.encode(features, feature_lengths)
        ctc = self.ctc_log_probs(encoder_out)
        encoder_out, encoder_mask, maps = self.encoder(self.front_end(features, feature_lengths), feature_lengths, need_weights)
        logits = None
        if self.decoder is not None:
            logits, decoder_maps = self.decoder(tokens_in, encoder_out, encoder_mask, need_weights)
            maps = maps | decoder_maps
        return ModelOutput(encoder_out, encoder_mask, ctc, logits, maps)


# %% rewritten encoded_twice
class SpeechTransformer:
    def ctc_log_probs(self, encoder_out):
        scores = self.ctc_head(encoder_out).float()
        return scores - scores.logsumexp(dim=-1, keepdim=True)

    def forward(self, features, feature_lengths, tokens_in, need_weights=False):
        heard, real, looks = self.encoder(
            self.front_end(features, feature_lengths), lengths=feature_lengths, need_weights=need_weights
        )
        output = ModelOutput(encoder_out=heard, encoder_mask=real, ctc_log_probs=self.ctc_log_probs(self.encode(features, feature_lengths)[0]), logits=None)
        output.attention_maps = dict(looks)
        if self.decoder:
            output.logits, more = self.decoder(tokens_in, heard, encoder_mask=real, need_weights=need_weights)
            output.attention_maps.update(more)
        return output


# %% mutant encoder_maps_lost
# The encoder's attention maps are thrown away: the dictionary holds those of the decoder alone.
class SpeechTransformer:
    def ctc_log_probs(self, encoder_out):
        return self.ctc_head(encoder_out).float().log_softmax(dim=-1)

    def forward(self, features, feature_lengths, tokens_in, need_weights=False):
        normalized = self.front_end(features, feature_lengths)
        encoder_out, encoder_mask, maps = self.encoder(normalized, feature_lengths, need_weights)
        logits = None
        if self.decoder is not None:
            logits, decoder_maps = self.decoder(tokens_in, encoder_out, encoder_mask, need_weights)
            maps = decoder_maps
        return ModelOutput(encoder_out, encoder_mask, self.ctc_log_probs(encoder_out), logits, maps)


# %% rewritten encoder_maps_lost
class SpeechTransformer:
    def ctc_log_probs(self, encoder_out):
        scores = self.ctc_head(encoder_out).float()
        return scores - scores.logsumexp(dim=-1, keepdim=True)

    def forward(self, features, feature_lengths, tokens_in, need_weights=False):
        heard, real, looks = self.encoder(
            self.front_end(features, feature_lengths), lengths=feature_lengths, need_weights=need_weights
        )
        output = ModelOutput(encoder_out=heard, encoder_mask=real, ctc_log_probs=self.ctc_log_probs(heard), logits=None)
        output.attention_maps = dict(looks)
        if self.decoder:
            output.logits, more = self.decoder(tokens_in, heard, encoder_mask=real, need_weights=need_weights)
            output.attention_maps = more
        return output


# %% mutant weights_not_asked_for
# need_weights is not passed on to both encoder and decoder, so there are no maps to look at.
class SpeechTransformer:
    def ctc_log_probs(self, encoder_out):
        return self.ctc_head(encoder_out).float().log_softmax(dim=-1)

    def forward(self, features, feature_lengths, tokens_in, need_weights=False):
        normalized = self.front_end(features, feature_lengths)
        encoder_out, encoder_mask, maps = self.encoder(normalized, feature_lengths)
        logits = None
        if self.decoder is not None:
            logits, decoder_maps = self.decoder(tokens_in, encoder_out, encoder_mask)
            maps = maps | decoder_maps
        return ModelOutput(encoder_out, encoder_mask, self.ctc_log_probs(encoder_out), logits, maps)


# %% rewritten weights_not_asked_for
class SpeechTransformer:
    def ctc_log_probs(self, encoder_out):
        scores = self.ctc_head(encoder_out).float()
        return scores - scores.logsumexp(dim=-1, keepdim=True)

    def forward(self, features, feature_lengths, tokens_in, need_weights=False):
        heard, real, looks = self.encoder(
            self.front_end(features, feature_lengths), lengths=feature_lengths
        )
        output = ModelOutput(encoder_out=heard, encoder_mask=real, ctc_log_probs=self.ctc_log_probs(heard), logits=None)
        output.attention_maps = dict(looks)
        if self.decoder:
            output.logits, more = self.decoder(tokens_in, heard, encoder_mask=real)
            output.attention_maps.update(more)
        return output
