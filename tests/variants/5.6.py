# %% pooled_mask
class PoolSubsampling:
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        real = padding_mask(lengths, features.shape[1]).to(features.dtype)[:, None]  # (batch, 1, time)
        x = self.out(features).relu().transpose(1, 2) * real  # (batch, d_model, time)
        heard = F.avg_pool1d(x, self.factor, ceil_mode=True)
        share = F.avg_pool1d(real, self.factor, ceil_mode=True)
        mean = heard / share.masked_fill(share == 0, 1)
        return mean.transpose(1, 2), -(-lengths // self.factor)


# %% window_by_window
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
        return torch.stack(frames, dim=1), -(-lengths // self.factor)
