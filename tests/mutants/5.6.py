# %% mutant divided_by_the_factor
# Sums are divided by the factor, also in a last window that is only partly real: its zeros pull the mean down.
class PoolSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        batch, time, _ = features.shape
        real = padding_mask(lengths, time)
        x = F.relu(self.out(features)) * real[..., None]
        extra = -time % self.factor
        x = F.pad(x, (0, 0, 0, extra)).view(batch, -1, self.factor, x.shape[-1])
        count = F.pad(real, (0, extra)).view(batch, -1, self.factor).sum(-1)
        mean = x.mean(2)
        return mean, (lengths + self.factor - 1) // self.factor


# %% rewritten divided_by_the_factor
class PoolSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        real = padding_mask(lengths, features.shape[1])
        x = torch.relu(self.out(features))
        x = torch.where(real[:, :, None], x, torch.zeros(()))
        frames = []
        for start in range(0, features.shape[1], self.factor):
            end = min(start + self.factor, features.shape[1])
            count = torch.full_like(lengths, self.factor)
            frames.append(x[:, start:end].sum(1) / count[:, None])
        return torch.stack(frames, dim=1), -(-lengths // self.factor)


# %% mutant padding_not_masked
# What `out` and the ReLU make of the padding (its bias) is added to the last window of an utterance.
class PoolSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        batch, time, _ = features.shape
        real = padding_mask(lengths, time)
        x = F.relu(self.out(features))
        extra = -time % self.factor
        x = F.pad(x, (0, 0, 0, extra)).view(batch, -1, self.factor, x.shape[-1])
        count = F.pad(real, (0, extra)).view(batch, -1, self.factor).sum(-1)
        mean = x.sum(2) / count.clamp(min=1)[..., None]
        return mean, (lengths + self.factor - 1) // self.factor


# %% rewritten padding_not_masked
class PoolSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        real = padding_mask(lengths, features.shape[1])
        x = torch.relu(self.out(features))
        x = torch.where(torch.ones_like(real)[:, :, None], x, torch.zeros(()))
        frames = []
        for start in range(0, features.shape[1], self.factor):
            end = min(start + self.factor, features.shape[1])
            count = real.narrow(1, start, end - start).sum(1).clamp(min=1)
            frames.append(x[:, start:end].sum(1) / count[:, None])
        return torch.stack(frames, dim=1), -(-lengths // self.factor)


# %% mutant padding_counts
# Padding is left in, and counted as if it were speech: the last window of an utterance depends on how far it is padded.
class PoolSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        batch, time, _ = features.shape
        real = padding_mask(lengths * 0 + time, time)
        x = F.relu(self.out(features))
        extra = -time % self.factor
        x = F.pad(x, (0, 0, 0, extra)).view(batch, -1, self.factor, x.shape[-1])
        count = F.pad(real, (0, extra)).view(batch, -1, self.factor).sum(-1)
        mean = x.sum(2) / count.clamp(min=1)[..., None]
        return mean, (lengths + self.factor - 1) // self.factor


# %% rewritten padding_counts
class PoolSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        real = padding_mask(lengths, features.shape[1])
        x = torch.relu(self.out(features))
        x = torch.where(torch.ones_like(real)[:, :, None], x, torch.zeros(()))
        frames = []
        for start in range(0, features.shape[1], self.factor):
            end = min(start + self.factor, features.shape[1])
            count = torch.full_like(lengths, end - start)
            frames.append(x[:, start:end].sum(1) / count[:, None])
        return torch.stack(frames, dim=1), -(-lengths // self.factor)


# %% mutant floor_lengths
# Lengths are rounded down: the last, incomplete window counts as padding, and the end of the utterance is never heard.
class PoolSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        batch, time, _ = features.shape
        real = padding_mask(lengths, time)
        x = F.relu(self.out(features)) * real[..., None]
        extra = -time % self.factor
        x = F.pad(x, (0, 0, 0, extra)).view(batch, -1, self.factor, x.shape[-1])
        count = F.pad(real, (0, extra)).view(batch, -1, self.factor).sum(-1)
        mean = x.sum(2) / count.clamp(min=1)[..., None]
        return mean, lengths // self.factor


# %% rewritten floor_lengths
class PoolSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        real = padding_mask(lengths, features.shape[1])
        x = torch.relu(self.out(features))
        x = torch.where(real[:, :, None], x, torch.zeros(()))
        frames = []
        for start in range(0, features.shape[1], self.factor):
            end = min(start + self.factor, features.shape[1])
            count = real.narrow(1, start, end - start).sum(1).clamp(min=1)
            frames.append(x[:, start:end].sum(1) / count[:, None])
        return torch.stack(frames, dim=1), (lengths / self.factor).long()


# %% mutant no_relu
# There is no ReLU before the mean.
class PoolSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        batch, time, _ = features.shape
        real = padding_mask(lengths, time)
        x = self.out(features) * real[..., None]
        extra = -time % self.factor
        x = F.pad(x, (0, 0, 0, extra)).view(batch, -1, self.factor, x.shape[-1])
        count = F.pad(real, (0, extra)).view(batch, -1, self.factor).sum(-1)
        mean = x.sum(2) / count.clamp(min=1)[..., None]
        return mean, (lengths + self.factor - 1) // self.factor


# %% rewritten no_relu
class PoolSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        real = padding_mask(lengths, features.shape[1])
        x = self.out(features)
        x = torch.where(real[:, :, None], x, torch.zeros(()))
        frames = []
        for start in range(0, features.shape[1], self.factor):
            end = min(start + self.factor, features.shape[1])
            count = real.narrow(1, start, end - start).sum(1).clamp(min=1)
            frames.append(x[:, start:end].sum(1) / count[:, None])
        return torch.stack(frames, dim=1), -(-lengths // self.factor)


# %% mutant relu_after_the_mean
# The ReLU stands behind the mean, not before it. Mean and `out` are both linear: the window is then averaged before anything is decided.
class PoolSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        batch, time, _ = features.shape
        real = padding_mask(lengths, time)
        x = self.out(features) * real[..., None]
        extra = -time % self.factor
        x = F.pad(x, (0, 0, 0, extra)).view(batch, -1, self.factor, x.shape[-1])
        count = F.pad(real, (0, extra)).view(batch, -1, self.factor).sum(-1)
        mean = F.relu(x.sum(2) / count.clamp(min=1)[..., None])
        return mean, (lengths + self.factor - 1) // self.factor


# %% rewritten relu_after_the_mean
class PoolSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        real = padding_mask(lengths, features.shape[1])
        x = self.out(features)
        x = torch.where(real[:, :, None], x, torch.zeros(()))
        frames = []
        for start in range(0, features.shape[1], self.factor):
            end = min(start + self.factor, features.shape[1])
            count = real.narrow(1, start, end - start).sum(1).clamp(min=1)
            frames.append((x[:, start:end].sum(1) / count[:, None]).clamp(min=0))
        return torch.stack(frames, dim=1), -(-lengths // self.factor)


# %% mutant division_by_zero
# A window without a single real frame is divided by its count, 0: NaN in the padding, and NaN in every gradient.
class PoolSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        batch, time, _ = features.shape
        real = padding_mask(lengths, time)
        x = F.relu(self.out(features)) * real[..., None]
        extra = -time % self.factor
        x = F.pad(x, (0, 0, 0, extra)).view(batch, -1, self.factor, x.shape[-1])
        count = F.pad(real, (0, extra)).view(batch, -1, self.factor).sum(-1)
        mean = x.sum(2) / count[..., None]
        return mean, (lengths + self.factor - 1) // self.factor


# %% rewritten division_by_zero
class PoolSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        real = padding_mask(lengths, features.shape[1])
        x = torch.relu(self.out(features))
        x = torch.where(real[:, :, None], x, torch.zeros(()))
        frames = []
        for start in range(0, features.shape[1], self.factor):
            end = min(start + self.factor, features.shape[1])
            count = real.narrow(1, start, end - start).sum(1)
            frames.append(x[:, start:end].sum(1) / count[:, None])
        return torch.stack(frames, dim=1), -(-lengths // self.factor)
