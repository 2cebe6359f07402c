# %% weights
class MVN:
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        lengths = lengths.to(features.device)
        real = padding_mask(lengths, features.shape[1])
        x = torch.where(real[..., None], features.float(), torch.zeros((), device=features.device))
        mean, scale = torch.zeros_like(self.mean), torch.ones_like(self.mean)
        if self.kind == "global":
            mean, scale = self.mean, self.inverse_std
        if self.kind == "utterance":
            # Each real frame counts 1 / length, padding nothing.
            weight = real.float() / lengths.clamp(min=1)[:, None]
            mean = torch.einsum("bt,btm->bm", weight, x)[:, None]
            variance = torch.einsum("bt,btm->bm", weight, (x - mean) ** 2)[:, None]
            scale = 1 / torch.sqrt(torch.clamp(variance, min=VARIANCE_FLOOR))
        return ((x - mean) * scale * real[..., None]).to(features.dtype)


# %% one_by_one
class MVN:
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        rows = []
        for row, length in zip(features, lengths.tolist()):
            x = row[:length].float()
            if self.kind == "global":
                x = (x - self.mean) * self.inverse_std
            elif self.kind == "utterance":
                variance = x.var(dim=0, correction=0)
                x = (x - x.mean(dim=0)) / variance.clamp(min=VARIANCE_FLOOR).sqrt()
            rows.append(torch.nn.functional.pad(x, (0, 0, 0, features.shape[1] - length)))
        return torch.stack(rows).to(features.dtype)
