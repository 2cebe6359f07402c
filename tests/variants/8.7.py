# %% gathered
def random_stretches(extents, max_widths, count, size):
    most = max_widths.long()[:, None].expand(-1, count)
    widths = torch.minimum((torch.rand(most.shape, device=extents.device) * (most + 1)).long(), most)
    room = extents.long()[:, None] - widths
    starts = torch.minimum((torch.rand(most.shape, device=extents.device) * (room + 1)).long(), room)
    # +1 where a stretch begins, -1 where it has ended: the running sum is above 0 within.
    edges = torch.zeros(len(extents), size + 1, dtype=torch.long, device=extents.device)
    edges.scatter_add_(1, starts, torch.ones_like(starts))
    edges.scatter_add_(1, starts + widths, -torch.ones_like(starts))
    return edges.cumsum(dim=1)[:, :size] > 0


class SpecAugment:
    def forward(self, features, lengths):
        if not self.training:
            return features
        batch, frames, n_mels = features.shape
        lengths = lengths.to(features.device)
        share = float(self._strength)
        bins = torch.full((batch,), n_mels, device=features.device)
        bands = random_stretches(
            bins,
            bins * 0.0 + float(self._strength) * min(self.config.freq_width, n_mels),
            self.config.freq_masks,
            n_mels,
        )
        reach = lengths
        times = random_stretches(reach, share * self.config.time_width * reach, self.config.time_masks, frames)
        kept = ~bands[:, None, :] & ~times[:, :, None]
        kept = kept | ~padding_mask(lengths, frames)[:, :, None]
        return torch.where(kept, features, torch.zeros_like(features))


# %% loops
def random_stretches(extents, max_widths, count, size):
    chosen = torch.zeros(len(extents), size, dtype=torch.bool, device=extents.device)
    for row, (extent, most) in enumerate(zip(extents.tolist(), map(int, max_widths.tolist()), strict=True)):
        for _ in range(count):
            width = int(torch.randint(0, most + 1, ()))
            start = int(torch.randint(0, extent - width + 1, ()))
            chosen[row, start : start + width] = True
    return chosen


class SpecAugment:
    def forward(self, features, lengths):
        if not self.training:
            return features
        batch, frames, n_mels = features.shape
        lengths = lengths.to(features.device)
        share = float(self._strength)
        bins = torch.full((batch,), n_mels, device=features.device)
        bands = random_stretches(
            bins,
            bins * 0.0 + float(self._strength) * min(self.config.freq_width, n_mels),
            self.config.freq_masks,
            n_mels,
        )
        reach = lengths
        times = random_stretches(reach, share * self.config.time_width * reach, self.config.time_masks, frames)
        kept = ~bands[:, None, :] & ~times[:, :, None]
        kept = kept | ~padding_mask(lengths, frames)[:, :, None]
        return torch.where(kept, features, torch.zeros_like(features))
