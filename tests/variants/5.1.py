# %% mask_that_shrinks
def halve(lengths: Tensor) -> Tensor:
    return -(-lengths // 2)


class ConvSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        real = padding_mask(lengths, features.shape[1])
        x = features.unsqueeze(1)
        for conv in self.convs:
            real, lengths = real[:, ::2], halve(lengths)
            x = conv(x).relu().masked_fill(~real[:, None, :, None], 0)
        batch, channels, time, mels = x.shape
        return self.out(x.permute(0, 2, 1, 3).reshape(batch, time, channels * mels)), lengths


# %% masked_before_each_convolution
def halve(lengths: Tensor) -> Tensor:
    return lengths - lengths // 2


class ConvSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        x = features[:, None]
        for conv in self.convs:
            positions = torch.arange(x.shape[2])
            x = torch.where((positions < lengths[:, None])[:, None, :, None], x, torch.zeros(()))
            x = torch.clamp(conv(x), min=0)
            lengths = halve(lengths)
        channels = [x[:, channel] for channel in range(x.shape[1])]
        return self.out(torch.cat(channels, dim=-1)), lengths


# %% sum_of_shifted_frames
def halve(lengths: Tensor) -> Tensor:
    import torch

    return torch.ceil(lengths / 2).long()


class ConvSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        x = features[:, None]
        for conv in self.convs:
            x = F.pad(x, (1, 1, 1, 1))
            rows = []
            for start in range(0, x.shape[2] - 2, 2):
                # One output frame sees three input frames: a convolution over the mels that is summed over time.
                rows.append(F.conv2d(x[:, :, start : start + 3], conv.weight, conv.bias, stride=2))
            x = F.relu(torch.cat(rows, dim=2))
            lengths = halve(lengths)
            for row, length in enumerate(lengths.tolist()):
                x = torch.cat([x[:row], F.pad(x[row : row + 1, :, :length], (0, 0, 0, x.shape[2] - length)), x[row + 1 :]])
        return self.out(torch.stack([frame.flatten(1) for frame in x.unbind(2)], dim=1)), lengths
