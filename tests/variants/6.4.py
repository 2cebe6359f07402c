# %% through_the_functional_interface
class SpeechTransformer:
    def ctc_log_probs(self, encoder_out):
        return nn.functional.log_softmax(self.ctc_head(encoder_out).float(), dim=2)

    def forward(self, features, feature_lengths, tokens_in, need_weights=False):
        x = self.front_end(features, feature_lengths)
        states, real, maps = self.encoder(x, feature_lengths, need_weights=need_weights)
        output = ModelOutput(states, real, self.ctc_log_probs(states), None, dict(maps))
        if self.decoder is not None:
            output.logits, own = self.decoder(tokens_in, states, real, need_weights=need_weights)
            output.attention_maps.update(own)
        return output


# %% by_logsumexp
class SpeechTransformer:
    def ctc_log_probs(self, encoder_out):
        scores = self.ctc_head(encoder_out).float()
        return scores - scores.logsumexp(dim=-1, keepdim=True)

    def forward(self, features, feature_lengths, tokens_in, need_weights=False):
        encoded = self.encoder(self.front_end(features, feature_lengths), feature_lengths, need_weights)
        decoded = (None, {}) if self.decoder is None else self.decoder(tokens_in, *encoded[:2], need_weights)
        return ModelOutput(
            encoder_out=encoded[0],
            encoder_mask=encoded[1],
            ctc_log_probs=self.ctc_log_probs(encoded[0]),
            logits=decoded[0],
            attention_maps={**encoded[2], **decoded[1]},
        )
