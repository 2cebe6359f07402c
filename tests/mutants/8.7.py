# %% mutant largest_width_never
# The largest width itself never occurs: a draw below 1 times the width, rounded down, stays below it.
def random_stretches(extents, max_widths, count, size):
    draws = torch.rand(2, extents.shape[0], count, device=extents.device)
    widest = max_widths.floor().unsqueeze(1)
    widths = (draws[0] * widest).floor()
    last = extents.unsqueeze(1) - widths
    starts = torch.minimum((draws[1] * (last + 1)).floor(), last)
    positions = torch.arange(size, device=extents.device)
    inside = (positions >= starts.unsqueeze(2)) & (positions < (starts + widths).unsqueeze(2))
    return inside.any(dim=1)


class SpecAugment:
    def forward(self, features, lengths):
        if not self.training:
            return features
        lengths = lengths.to(features.device)
        frames, n_mels = features.shape[1:]
        bins = torch.full_like(lengths, n_mels)
        freq_width = (self._strength * min(self.config.freq_width, n_mels)) * torch.ones(
            len(lengths), device=features.device
        )
        time_width = self._strength * self.config.time_width * lengths
        in_band = random_stretches(bins, freq_width, self.config.freq_masks, n_mels)
        in_stretch = random_stretches(lengths, time_width, self.config.time_masks, frames)
        hidden = in_band.unsqueeze(1) | in_stretch.unsqueeze(2)
        return features.masked_fill((hidden) & padding_mask(lengths, frames).unsqueeze(2), 0.0)


# %% rewritten largest_width_never
def random_stretches(extents, max_widths, count, size):
    chosen = torch.zeros(len(extents), size, dtype=torch.bool, device=extents.device)
    for row, (extent, most) in enumerate(zip(extents.tolist(), map(int, max_widths.tolist()), strict=True)):
        for _ in range(count):
            width = int(torch.randint(0, max(most, 1), ()))
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


# %% mutant hanging_over_the_end
# A start may be any position, whether the stretch fits behind it or not. Near the end it hangs over, into the padding, and what is
# left of it is shorter than was drawn.
def random_stretches(extents, max_widths, count, size):
    draws = torch.rand(2, extents.shape[0], count, device=extents.device)
    widest = max_widths.floor().unsqueeze(1)
    widths = torch.minimum((draws[0] * (widest + 1)).floor(), widest)
    last = extents.unsqueeze(1) - 1 + 0 * widths
    starts = torch.minimum((draws[1] * (last + 1)).floor(), last)
    positions = torch.arange(size, device=extents.device)
    inside = (positions >= starts.unsqueeze(2)) & (positions < (starts + widths).unsqueeze(2))
    return inside.any(dim=1)


class SpecAugment:
    def forward(self, features, lengths):
        if not self.training:
            return features
        lengths = lengths.to(features.device)
        frames, n_mels = features.shape[1:]
        bins = torch.full_like(lengths, n_mels)
        freq_width = (self._strength * min(self.config.freq_width, n_mels)) * torch.ones(
            len(lengths), device=features.device
        )
        time_width = self._strength * self.config.time_width * lengths
        in_band = random_stretches(bins, freq_width, self.config.freq_masks, n_mels)
        in_stretch = random_stretches(lengths, time_width, self.config.time_masks, frames)
        hidden = in_band.unsqueeze(1) | in_stretch.unsqueeze(2)
        return features.masked_fill((hidden) & padding_mask(lengths, frames).unsqueeze(2), 0.0)


# %% rewritten hanging_over_the_end
def random_stretches(extents, max_widths, count, size):
    chosen = torch.zeros(len(extents), size, dtype=torch.bool, device=extents.device)
    for row, (extent, most) in enumerate(zip(extents.tolist(), map(int, max_widths.tolist()), strict=True)):
        for _ in range(count):
            width = int(torch.randint(0, most + 1, ()))
            start = int(torch.randint(0, extent, ()))
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


# %% mutant one_mask_for_all
# All utterances of a batch get the same stretches. The masks should be other ones for each, or a batch learns one mask by heart.
def random_stretches(extents, max_widths, count, size):
    draws = torch.rand(2, 1, count, device=extents.device).expand(2, extents.shape[0], count)
    widest = max_widths.floor().unsqueeze(1)
    widths = torch.minimum((draws[0] * (widest + 1)).floor(), widest)
    last = extents.unsqueeze(1) - widths
    starts = torch.minimum((draws[1] * (last + 1)).floor(), last)
    positions = torch.arange(size, device=extents.device)
    inside = (positions >= starts.unsqueeze(2)) & (positions < (starts + widths).unsqueeze(2))
    return inside.any(dim=1)


class SpecAugment:
    def forward(self, features, lengths):
        if not self.training:
            return features
        lengths = lengths.to(features.device)
        frames, n_mels = features.shape[1:]
        bins = torch.full_like(lengths, n_mels)
        freq_width = (self._strength * min(self.config.freq_width, n_mels)) * torch.ones(
            len(lengths), device=features.device
        )
        time_width = self._strength * self.config.time_width * lengths
        in_band = random_stretches(bins, freq_width, self.config.freq_masks, n_mels)
        in_stretch = random_stretches(lengths, time_width, self.config.time_masks, frames)
        hidden = in_band.unsqueeze(1) | in_stretch.unsqueeze(2)
        return features.masked_fill((hidden) & padding_mask(lengths, frames).unsqueeze(2), 0.0)


# %% rewritten one_mask_for_all
def random_stretches(extents, max_widths, count, size):
    chosen = torch.zeros(len(extents), size, dtype=torch.bool, device=extents.device)
    extent, most = int(extents.min()), int(max_widths.min())
    for _ in range(count):
        width = int(torch.randint(0, most + 1, ()))
        start = int(torch.randint(0, extent - width + 1, ()))
        chosen[:, start : start + width] = True
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


# %% mutant of_the_padded_length
# Time masks are shares of the padded length, and may lie in the padding. How much of an utterance is hidden then depends on the
# longest one of its batch.
def random_stretches(extents, max_widths, count, size):
    draws = torch.rand(2, extents.shape[0], count, device=extents.device)
    widest = max_widths.floor().unsqueeze(1)
    widths = torch.minimum((draws[0] * (widest + 1)).floor(), widest)
    last = extents.unsqueeze(1) - widths
    starts = torch.minimum((draws[1] * (last + 1)).floor(), last)
    positions = torch.arange(size, device=extents.device)
    inside = (positions >= starts.unsqueeze(2)) & (positions < (starts + widths).unsqueeze(2))
    return inside.any(dim=1)


class SpecAugment:
    def forward(self, features, lengths):
        if not self.training:
            return features
        lengths = lengths.to(features.device)
        frames, n_mels = features.shape[1:]
        bins = torch.full_like(lengths, n_mels)
        freq_width = (self._strength * min(self.config.freq_width, n_mels)) * torch.ones(
            len(lengths), device=features.device
        )
        time_width = self._strength * self.config.time_width * torch.full_like(lengths, frames)
        in_band = random_stretches(bins, freq_width, self.config.freq_masks, n_mels)
        in_stretch = random_stretches(torch.full_like(lengths, frames), time_width, self.config.time_masks, frames)
        hidden = in_band.unsqueeze(1) | in_stretch.unsqueeze(2)
        return features.masked_fill((hidden), 0.0)


# %% rewritten of_the_padded_length
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
        reach = torch.full_like(lengths, frames)
        times = random_stretches(reach, share * self.config.time_width * reach, self.config.time_masks, frames)
        kept = ~bands[:, None, :] & ~times[:, :, None]
        return torch.where(kept, features, torch.zeros_like(features))


# %% mutant in_evaluation_too
# The masks are there in evaluation mode as well: validation and recognition hear speech with holes.
def random_stretches(extents, max_widths, count, size):
    draws = torch.rand(2, extents.shape[0], count, device=extents.device)
    widest = max_widths.floor().unsqueeze(1)
    widths = torch.minimum((draws[0] * (widest + 1)).floor(), widest)
    last = extents.unsqueeze(1) - widths
    starts = torch.minimum((draws[1] * (last + 1)).floor(), last)
    positions = torch.arange(size, device=extents.device)
    inside = (positions >= starts.unsqueeze(2)) & (positions < (starts + widths).unsqueeze(2))
    return inside.any(dim=1)


class SpecAugment:
    def forward(self, features, lengths):
        lengths = lengths.to(features.device)
        frames, n_mels = features.shape[1:]
        bins = torch.full_like(lengths, n_mels)
        freq_width = (self._strength * min(self.config.freq_width, n_mels)) * torch.ones(
            len(lengths), device=features.device
        )
        time_width = self._strength * self.config.time_width * lengths
        in_band = random_stretches(bins, freq_width, self.config.freq_masks, n_mels)
        in_stretch = random_stretches(lengths, time_width, self.config.time_masks, frames)
        hidden = in_band.unsqueeze(1) | in_stretch.unsqueeze(2)
        return features.masked_fill((hidden) & padding_mask(lengths, frames).unsqueeze(2), 0.0)


# %% rewritten in_evaluation_too
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


# %% mutant strength_ignored
# The strength is ignored: masks have their full width from the first step on, whatever the ramp says.
def random_stretches(extents, max_widths, count, size):
    draws = torch.rand(2, extents.shape[0], count, device=extents.device)
    widest = max_widths.floor().unsqueeze(1)
    widths = torch.minimum((draws[0] * (widest + 1)).floor(), widest)
    last = extents.unsqueeze(1) - widths
    starts = torch.minimum((draws[1] * (last + 1)).floor(), last)
    positions = torch.arange(size, device=extents.device)
    inside = (positions >= starts.unsqueeze(2)) & (positions < (starts + widths).unsqueeze(2))
    return inside.any(dim=1)


class SpecAugment:
    def forward(self, features, lengths):
        if not self.training:
            return features
        lengths = lengths.to(features.device)
        frames, n_mels = features.shape[1:]
        bins = torch.full_like(lengths, n_mels)
        freq_width = (min(self.config.freq_width, n_mels)) * torch.ones(len(lengths), device=features.device)
        time_width = self.config.time_width * lengths
        in_band = random_stretches(bins, freq_width, self.config.freq_masks, n_mels)
        in_stretch = random_stretches(lengths, time_width, self.config.time_masks, frames)
        hidden = in_band.unsqueeze(1) | in_stretch.unsqueeze(2)
        return features.masked_fill((hidden) & padding_mask(lengths, frames).unsqueeze(2), 0.0)


# %% rewritten strength_ignored
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
        share = 1.0
        bins = torch.full((batch,), n_mels, device=features.device)
        bands = random_stretches(
            bins, bins * 0.0 + 1.0 * min(self.config.freq_width, n_mels), self.config.freq_masks, n_mels
        )
        reach = lengths
        times = random_stretches(reach, share * self.config.time_width * reach, self.config.time_masks, frames)
        kept = ~bands[:, None, :] & ~times[:, :, None]
        kept = kept | ~padding_mask(lengths, frames)[:, :, None]
        return torch.where(kept, features, torch.zeros_like(features))


# %% mutant axes_exchanged
# The axes are exchanged where the masks meet: only places that lie in a band *and* in a stretch are hidden, small rectangles instead
# of whole bands and stretches.
def random_stretches(extents, max_widths, count, size):
    draws = torch.rand(2, extents.shape[0], count, device=extents.device)
    widest = max_widths.floor().unsqueeze(1)
    widths = torch.minimum((draws[0] * (widest + 1)).floor(), widest)
    last = extents.unsqueeze(1) - widths
    starts = torch.minimum((draws[1] * (last + 1)).floor(), last)
    positions = torch.arange(size, device=extents.device)
    inside = (positions >= starts.unsqueeze(2)) & (positions < (starts + widths).unsqueeze(2))
    return inside.any(dim=1)


class SpecAugment:
    def forward(self, features, lengths):
        if not self.training:
            return features
        lengths = lengths.to(features.device)
        frames, n_mels = features.shape[1:]
        bins = torch.full_like(lengths, n_mels)
        freq_width = (self._strength * min(self.config.freq_width, n_mels)) * torch.ones(
            len(lengths), device=features.device
        )
        time_width = self._strength * self.config.time_width * lengths
        in_band = random_stretches(bins, freq_width, self.config.freq_masks, n_mels)
        in_stretch = random_stretches(lengths, time_width, self.config.time_masks, frames)
        hidden = in_band.unsqueeze(1) & in_stretch.unsqueeze(2)
        return features.masked_fill((hidden) & padding_mask(lengths, frames).unsqueeze(2), 0.0)


# %% rewritten axes_exchanged
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
        kept = ~bands[:, None, :] | ~times[:, :, None]
        kept = kept | ~padding_mask(lengths, frames)[:, :, None]
        return torch.where(kept, features, torch.zeros_like(features))
