# %% mutant floor_lengths
# Lengths are rounded down. A convolution of stride 2 with padding 1 makes three outputs of five frames: the last one now counts as
# padding, the end of every odd utterance is never heard, and an utterance of one frame has no frames left.
def halve(lengths: Tensor) -> Tensor:
    return lengths // 2


class ConvSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = features[:, None]
        for conv in self.convs:
            x = F.relu(conv(x))
            lengths = halve(lengths)
            x = x * padding_mask(lengths, x.shape[2])[:, None, :, None]
        return self.out(x.transpose(1, 2).flatten(2)), lengths


# %% rewritten floor_lengths
def halve(lengths: Tensor) -> Tensor:
    return (lengths / 2).long()


class ConvSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = features.unsqueeze(1)
        for conv in self.convs:
            x = conv(x).relu()
            lengths = halve(lengths)
            x = x.masked_fill(~padding_mask(lengths, x.size(2))[:, None, :, None], 0.0)
        batch, channels, time, mels = x.shape
        return self.out(x.permute(0, 2, 1, 3).reshape(batch, time, channels * mels)), lengths


# %% mutant lengths_not_subsampled
# The features have become fewer, but the lengths that come back are the old ones. Every mask that is made of them covers too
# much: padding counts as speech, or the mask does not fit at all.
def halve(lengths: Tensor) -> Tensor:
    return (lengths + 1) // 2


class ConvSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x, shorter = features[:, None], lengths
        for conv in self.convs:
            x = F.relu(conv(x))
            shorter = halve(shorter)
            x = x * padding_mask(shorter, x.shape[2])[:, None, :, None]
        return self.out(x.transpose(1, 2).flatten(2)), lengths


# %% rewritten lengths_not_subsampled
def halve(lengths: Tensor) -> Tensor:
    return lengths - lengths // 2


class ConvSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        real = padding_mask(lengths, features.shape[1])
        x = features.unsqueeze(1)
        for conv in self.convs:
            real = real[:, ::2]
            x = conv(x).relu().masked_fill(~real[:, None, :, None], 0.0)
        batch, channels, time, mels = x.shape
        return self.out(x.permute(0, 2, 1, 3).reshape(batch, time, channels * mels)), lengths


# %% mutant padding_not_masked
# Padding is not set back to zero between the convolutions. The bias has made something of it, and the next kernel reads one frame
# beyond the end: the last frame of an utterance depends on what it shares a batch with.
def halve(lengths: Tensor) -> Tensor:
    return (lengths + 1) // 2


class ConvSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = features[:, None]
        for conv in self.convs:
            x = F.relu(conv(x))
            lengths = halve(lengths)
        return self.out(x.transpose(1, 2).flatten(2)), lengths


# %% rewritten padding_not_masked
def halve(lengths: Tensor) -> Tensor:
    return lengths - lengths // 2


class ConvSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        from torch import relu

        x = features.unsqueeze(1)
        for conv in list(self.convs):
            x, lengths = relu(conv(x)), halve(lengths)
        batch, channels, time, mels = x.shape
        return self.out(x.permute(0, 2, 1, 3).reshape(batch, time, channels * mels)), lengths


# %% mutant no_relu
# There is no ReLU between the convolutions. Two linear maps one after the other are one linear map: the front end can then compute no more
# than a single convolution.
def halve(lengths: Tensor) -> Tensor:
    return (lengths + 1) // 2


class ConvSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = features[:, None]
        for conv in self.convs:
            x = conv(x)
            lengths = halve(lengths)
            x = x * padding_mask(lengths, x.shape[2])[:, None, :, None]
        return self.out(x.transpose(1, 2).flatten(2)), lengths


# %% rewritten no_relu
def halve(lengths: Tensor) -> Tensor:
    return lengths - lengths // 2


class ConvSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = features.unsqueeze(1)
        for conv in self.convs:
            lengths = halve(lengths)
            x = conv(x)
            x = x.masked_fill(~padding_mask(lengths, x.size(2))[:, None, :, None], 0.0)
        batch, channels, time, mels = x.shape
        return self.out(x.permute(0, 2, 1, 3).reshape(batch, time, channels * mels)), lengths


# %% mutant relu_at_the_end
# A ReLU stands behind the last projection too. Half of what the encoder could know of each frame is cut off before the first layer sees it.
def halve(lengths: Tensor) -> Tensor:
    return (lengths + 1) // 2


class ConvSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = features[:, None]
        for conv in self.convs:
            x = F.relu(conv(x))
            lengths = halve(lengths)
            x = x * padding_mask(lengths, x.shape[2])[:, None, :, None]
        return F.relu(self.out(x.transpose(1, 2).flatten(2))), lengths


# %% rewritten relu_at_the_end
def halve(lengths: Tensor) -> Tensor:
    return lengths - lengths // 2


class ConvSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = features.unsqueeze(1)
        for conv in self.convs:
            lengths = halve(lengths)
            x = conv(x).clamp(min=0)
            x = x.masked_fill(~padding_mask(lengths, x.size(2))[:, None, :, None], 0.0)
        batch, channels, time, mels = x.shape
        return self.out(x.permute(0, 2, 1, 3).reshape(batch, time, channels * mels)).clamp(min=0), lengths


# %% mutant reshaped_without_transpose
# The channel axis still stands before the time axis when channels and mels are laid side by side. The shape is right, but the numbers of
# one output frame now come from different times.
def halve(lengths: Tensor) -> Tensor:
    return (lengths + 1) // 2


class ConvSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = features[:, None]
        for conv in self.convs:
            x = F.relu(conv(x))
            lengths = halve(lengths)
            x = x * padding_mask(lengths, x.shape[2])[:, None, :, None]
        batch, channels, time, mels = x.shape
        return self.out(x.reshape(batch, time, channels * mels)), lengths


# %% rewritten reshaped_without_transpose
def halve(lengths: Tensor) -> Tensor:
    return lengths - lengths // 2


class ConvSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = features.unsqueeze(1)
        for conv in self.convs:
            lengths = halve(lengths)
            x = conv(x).relu()
            x = x.masked_fill(~padding_mask(lengths, x.size(2))[:, None, :, None], 0.0)
        x = x.flatten(1).unflatten(1, (x.size(2), -1))
        return self.out(x), lengths


# %% mutant mels_before_channels
# Mels and channels are laid side by side in the other order: for each mel its channels, where it should be for each channel its mels.
# Such a model trains as well, but weights trained with the order of the library do not fit it.
def halve(lengths: Tensor) -> Tensor:
    return (lengths + 1) // 2


class ConvSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = features[:, None]
        for conv in self.convs:
            x = F.relu(conv(x))
            lengths = halve(lengths)
            x = x * padding_mask(lengths, x.shape[2])[:, None, :, None]
        return self.out(x.permute(0, 2, 3, 1).flatten(2)), lengths


# %% rewritten mels_before_channels
def halve(lengths: Tensor) -> Tensor:
    return lengths - lengths // 2


class ConvSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = features.unsqueeze(1)
        for conv in self.convs:
            lengths = halve(lengths)
            x = conv(x).relu()
            x = x.masked_fill(~padding_mask(lengths, x.size(2))[:, None, :, None], 0.0)
        x = x.transpose(1, 3)  # (batch, mels, time, channels)
        x = x.transpose(1, 2)
        return self.out(x.reshape(x.shape[0], x.shape[1], -1)), lengths
