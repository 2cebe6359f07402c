# %% mutant variance_not_rooted
# The utterance's features are divided by their variance, not by its square root, the standard deviation. The wider a
# bin spreads, the narrower it comes out: bins that should weigh the same do not.
class MVN:
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        real = padding_mask(lengths, features.shape[1]).unsqueeze(-1)
        values = features.float().masked_fill(~real, 0.0)
        if self.kind == "global":
            values = (values - self.mean) * self.inverse_std
        elif self.kind == "utterance":
            count = lengths.view(-1, 1, 1)
            centred = (values - values.sum(dim=1, keepdim=True) / count).masked_fill(~real, 0.0)
            variance = centred.square().sum(dim=1, keepdim=True) / count
            values = centred / variance.clamp(min=VARIANCE_FLOOR)
        return values.masked_fill(~real, 0.0).to(features.dtype)


# %% rewritten variance_not_rooted
class MVN:
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        out = torch.zeros_like(features)
        for i, n in enumerate(lengths.tolist()):
            x = features[i, :n].float()
            if self.kind == "global":
                x = (x - self.mean) * self.inverse_std
            if self.kind == "utterance":
                x = (x - x.mean(0)) / x.var(0, correction=0).clamp(min=VARIANCE_FLOOR)
            out[i, :n] = x.to(features.dtype)
        return out


# %% mutant padding_counted
# The statistics of an utterance are taken over all frames, padding included. The result then depends on how long the
# longest neighbour in the batch happens to be: the same sound gives other features, and other words, in another batch.
class MVN:
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        real = padding_mask(lengths, features.shape[1]).unsqueeze(-1)
        values = features.float()
        if self.kind == "global":
            values = (values - self.mean) * self.inverse_std
        elif self.kind == "utterance":
            variance = values.var(dim=1, keepdim=True, correction=0)
            values = (values - values.mean(dim=1, keepdim=True)) * variance.clamp(min=VARIANCE_FLOOR).rsqrt()
        return values.masked_fill(~real, 0.0).to(features.dtype)


# %% rewritten padding_counted
class MVN:
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        out = torch.zeros_like(features)
        for i, n in enumerate(lengths.tolist()):
            x = features[i].float()
            if self.kind == "global":
                x = (x - self.mean) * self.inverse_std
            if self.kind == "utterance":
                x = x - x.mean(0)
                x = x / x.square().mean(0).clamp(min=VARIANCE_FLOOR).sqrt()
            out[i, :n] = x[:n].to(features.dtype)
        return out


# %% mutant padding_left
# Padding is not set back to 0. Behind the end of each shorter utterance stands minus mean over standard deviation, a
# steady tone that the first convolutions of the encoder hear as sound.
class MVN:
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        real = padding_mask(lengths, features.shape[1]).unsqueeze(-1)
        values = features.float()
        if self.kind == "global":
            values = (values - self.mean) * self.inverse_std
        elif self.kind == "utterance":
            count = lengths.view(-1, 1, 1)
            mean = values.masked_fill(~real, 0.0).sum(dim=1, keepdim=True) / count
            centred = values - mean
            variance = centred.masked_fill(~real, 0.0).square().sum(dim=1, keepdim=True) / count
            values = centred * variance.clamp(min=VARIANCE_FLOOR).rsqrt()
        return values.to(features.dtype)


# %% rewritten padding_left
class MVN:
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        if self.kind == "none":
            return features
        rows = []
        for x, n in zip(features.float(), lengths.tolist()):
            mean, scale = self.mean, self.inverse_std
            if self.kind == "utterance":
                mean = x[:n].mean(0)
                scale = 1 / x[:n].var(0, correction=0).clamp(min=VARIANCE_FLOOR).sqrt()
            rows.append((x - mean) * scale)
        return torch.stack(rows).to(features.dtype)


# %% mutant over_mels
# Mean and variance run along the mel bins of each frame instead of along time. Every frame is then equally loud, so
# that pauses and vowels look alike, and the colour of the microphone stays.
class MVN:
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        real = padding_mask(lengths, features.shape[1]).unsqueeze(-1)
        values = features.float()
        if self.kind == "global":
            values = (values - self.mean) * self.inverse_std
        elif self.kind == "utterance":
            variance = values.var(dim=-1, keepdim=True, correction=0)
            values = (values - values.mean(dim=-1, keepdim=True)) * variance.clamp(min=VARIANCE_FLOOR).rsqrt()
        return values.masked_fill(~real, 0.0).to(features.dtype)


# %% rewritten over_mels
class MVN:
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        out = torch.zeros_like(features)
        for i, n in enumerate(lengths.tolist()):
            x = features[i, :n].float()
            if self.kind == "global":
                x = (x - self.mean) * self.inverse_std
            if self.kind == "utterance":
                y = x.T - x.mean(1)
                x = (y / y.square().mean(0).clamp(min=VARIANCE_FLOOR).sqrt()).T
            out[i, :n] = x.to(features.dtype)
        return out


# %% mutant over_batch
# One mean and one variance for the whole batch instead of one for each utterance. A loud speaker makes the others
# quiet, and what comes out depends on who else is in the batch.
class MVN:
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        real = padding_mask(lengths, features.shape[1]).unsqueeze(-1)
        values = features.float().masked_fill(~real, 0.0)
        if self.kind == "global":
            values = (values - self.mean) * self.inverse_std
        elif self.kind == "utterance":
            count = lengths.sum()
            centred = (values - values.sum(dim=(0, 1)) / count).masked_fill(~real, 0.0)
            variance = centred.square().sum(dim=(0, 1)) / count
            values = centred * variance.clamp(min=VARIANCE_FLOOR).rsqrt()
        return values.masked_fill(~real, 0.0).to(features.dtype)


# %% rewritten over_batch
class MVN:
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        mean, scale = self.mean, self.inverse_std
        if self.kind == "utterance":
            frames = torch.cat([x[:n] for x, n in zip(features.float(), lengths.tolist())])
            mean, scale = frames.mean(0), 1 / frames.var(0, correction=0).clamp(min=VARIANCE_FLOOR).sqrt()
        out = torch.zeros_like(features)
        for i, n in enumerate(lengths.tolist()):
            x = features[i, :n].float()
            out[i, :n] = (x if self.kind == "none" else (x - mean) * scale).to(features.dtype)
        return out


# %% mutant unbiased
# The squared deviations are divided by the number of frames less one, which is what torch.var and torch.std do unless
# told otherwise. The docstring asks for their mean; for an utterance of one frame, the difference is a division by 0.
class MVN:
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        real = padding_mask(lengths, features.shape[1]).unsqueeze(-1)
        values = features.float().masked_fill(~real, 0.0)
        if self.kind == "global":
            values = (values - self.mean) * self.inverse_std
        elif self.kind == "utterance":
            count = lengths.view(-1, 1, 1)
            centred = (values - values.sum(dim=1, keepdim=True) / count).masked_fill(~real, 0.0)
            variance = centred.square().sum(dim=1, keepdim=True) / (count - 1)
            values = centred * variance.clamp(min=VARIANCE_FLOOR).rsqrt()
        return values.masked_fill(~real, 0.0).to(features.dtype)


# %% rewritten unbiased
class MVN:
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        out = torch.zeros_like(features)
        for i, n in enumerate(lengths.tolist()):
            x = features[i, :n].float()
            if self.kind == "global":
                x = (x - self.mean) * self.inverse_std
            if self.kind == "utterance":
                x = (x - x.mean(0)) / x.var(0).clamp(min=VARIANCE_FLOOR).sqrt()
            out[i, :n] = x.to(features.dtype)
        return out
