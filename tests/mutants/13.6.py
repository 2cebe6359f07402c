# %% mutant padding_heard
# The convolutions read what lies in the padding. The last frames of an utterance then depend on what else is in its batch, and so
# may the number of its tokens: make it zero before each convolution, for the bias of the one before has filled it again.
class Predictor:
    def forward(self, encoder_out: Tensor, encoder_mask: Tensor) -> Tensor:
        x = encoder_out.transpose(1, 2)
        for conv in self.convs:
            x = F.relu(conv(x))
        with torch.autocast(x.device.type, enabled=False):
            share = self.out(x.transpose(1, 2).float())[..., 0].sigmoid()
            return (self.smooth * share - self.noise).clamp(0, 1) * encoder_mask


# %% rewritten padding_heard
class Predictor:
    def forward(self, encoder_out: Tensor, encoder_mask: Tensor) -> Tensor:
        hidden = encoder_out.permute(0, 2, 1)
        for layer in self.convs:
            hidden = layer(hidden).clamp(min=0)
        hidden = hidden.permute(0, 2, 1).float()
        with torch.autocast("cpu", enabled=False):
            weights = torch.sigmoid(self.out(hidden).squeeze(-1)) * self.smooth - self.noise
        return weights.clamp(min=0, max=1).masked_fill(~encoder_mask, 0.0)


# %% mutant padding_weighs
# Padding has weights too. They are added up with the others and counted as tokens, the more the longer the other utterances of the
# batch are: zero on padding.
class Predictor:
    def forward(self, encoder_out: Tensor, encoder_mask: Tensor) -> Tensor:
        real = encoder_mask[:, None]
        x = encoder_out.transpose(1, 2) * real
        for conv in self.convs:
            x = F.relu(conv(x)) * real
        with torch.autocast(x.device.type, enabled=False):
            share = self.out(x.transpose(1, 2).float())[..., 0].sigmoid()
            return (self.smooth * share - self.noise).clamp(0, 1)


# %% rewritten padding_weighs
class Predictor:
    def forward(self, encoder_out: Tensor, encoder_mask: Tensor) -> Tensor:
        hidden = encoder_out.masked_fill(~encoder_mask[..., None], 0.0)
        for layer in self.convs:
            hidden = layer(hidden.permute(0, 2, 1)).permute(0, 2, 1)
            hidden = torch.relu(hidden).masked_fill(~encoder_mask[..., None], 0.0)
        with torch.autocast("cpu", enabled=False):
            weights = torch.sigmoid(self.out(hidden.float()).squeeze(-1)) * self.smooth - self.noise
        return weights.clamp(min=0, max=1)


# %% mutant not_clamped
# Weights may be negative, or above 1. With a negative weight the sum goes down again, and one token would be fired twice; take what
# lies below 0 as 0, and what lies above 1 as 1.
class Predictor:
    def forward(self, encoder_out: Tensor, encoder_mask: Tensor) -> Tensor:
        real = encoder_mask[:, None]
        x = encoder_out.transpose(1, 2) * real
        for conv in self.convs:
            x = F.relu(conv(x)) * real
        with torch.autocast(x.device.type, enabled=False):
            share = self.out(x.transpose(1, 2).float())[..., 0].sigmoid()
            return (self.smooth * share - self.noise) * encoder_mask


# %% rewritten not_clamped
class Predictor:
    def forward(self, encoder_out: Tensor, encoder_mask: Tensor) -> Tensor:
        hidden = encoder_out.masked_fill(~encoder_mask[..., None], 0.0)
        for layer in self.convs:
            hidden = layer(hidden.permute(0, 2, 1)).permute(0, 2, 1)
            hidden = torch.relu(hidden).masked_fill(~encoder_mask[..., None], 0.0)
        with torch.autocast("cpu", enabled=False):
            weights = torch.sigmoid(self.out(hidden.float()).squeeze(-1)) * self.smooth - self.noise
        return weights.masked_fill(~encoder_mask, 0.0)


# %% mutant no_relu
# There is no ReLU behind the convolutions. Two of them are then one, and whether a frame is an end of something cannot be told from
# whether it is a beginning.
class Predictor:
    def forward(self, encoder_out: Tensor, encoder_mask: Tensor) -> Tensor:
        real = encoder_mask[:, None]
        x = encoder_out.transpose(1, 2) * real
        for conv in self.convs:
            x = conv(x) * real
        with torch.autocast(x.device.type, enabled=False):
            share = self.out(x.transpose(1, 2).float())[..., 0].sigmoid()
            return (self.smooth * share - self.noise).clamp(0, 1) * encoder_mask


# %% rewritten no_relu
class Predictor:
    def forward(self, encoder_out: Tensor, encoder_mask: Tensor) -> Tensor:
        hidden = encoder_out.masked_fill(~encoder_mask[..., None], 0.0)
        for layer in self.convs:
            hidden = layer(hidden.permute(0, 2, 1)).permute(0, 2, 1)
            hidden = hidden.masked_fill(~encoder_mask[..., None], 0.0)
        with torch.autocast("cpu", enabled=False):
            weights = torch.sigmoid(self.out(hidden.float()).squeeze(-1)) * self.smooth - self.noise
        return weights.clamp(min=0, max=1).masked_fill(~encoder_mask, 0.0)


# %% mutant noise_scaled
# The noise is taken off before the factor is applied. It is smooth * sigmoid - noise: otherwise a change of smooth also changes from
# where on a frame weighs something.
class Predictor:
    def forward(self, encoder_out: Tensor, encoder_mask: Tensor) -> Tensor:
        real = encoder_mask[:, None]
        x = encoder_out.transpose(1, 2) * real
        for conv in self.convs:
            x = F.relu(conv(x)) * real
        with torch.autocast(x.device.type, enabled=False):
            share = self.out(x.transpose(1, 2).float())[..., 0].sigmoid()
            return (self.smooth * (share - self.noise)).clamp(0, 1) * encoder_mask


# %% rewritten noise_scaled
class Predictor:
    def forward(self, encoder_out: Tensor, encoder_mask: Tensor) -> Tensor:
        hidden = encoder_out.masked_fill(~encoder_mask[..., None], 0.0)
        for layer in self.convs:
            hidden = layer(hidden.permute(0, 2, 1)).permute(0, 2, 1)
            hidden = torch.relu(hidden).masked_fill(~encoder_mask[..., None], 0.0)
        with torch.autocast("cpu", enabled=False):
            weights = (torch.sigmoid(self.out(hidden.float()).squeeze(-1)) - self.noise) * self.smooth
        return weights.clamp(min=0, max=1).masked_fill(~encoder_mask, 0.0)
