# %% mutant positions_forgotten
# Positions are not added. Attention does not know order: beyond what the convolutions see, the encoder hears a bag of frames.
class Encoder:
    def forward(
        self, features: Tensor, lengths: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        x, lengths = self.subsampling(features, lengths)
        padding = padding_mask(lengths, x.shape[1])
        x = self.dropout(x)
        maps = {}
        for index, layer in enumerate(self.layers):
            x, weights = layer(x, padding, need_weights)
            if weights is not None:
                maps[f"encoder.{index}.self_attention"] = weights
        return self.norm(x), padding, maps


# %% rewritten positions_forgotten
class Encoder:
    def forward(
        self, features: Tensor, lengths: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        x, shorter = self.subsampling(features, lengths)
        real = padding_mask(shorter, x.size(1))
        x = self.dropout(x)
        weights = []
        for layer in self.layers:
            x, found = layer(x, real, need_weights=need_weights)
            weights.append(found)
        return self.norm(x), real, {f"encoder.{n}.self_attention": w for n, w in enumerate(weights) if w is not None}


# %% mutant positions_in_each_layer
# Positions are added again before each layer. They are in the residual stream already, which carries them to all layers; added again and
# again they drown what was heard.
class Encoder:
    def forward(
        self, features: Tensor, lengths: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        x, lengths = self.subsampling(features, lengths)
        padding = padding_mask(lengths, x.shape[1])
        x = self.dropout(x)
        maps = {}
        for index, layer in enumerate(self.layers):
            x = self.positional(x)
            x, weights = layer(x, padding, need_weights)
            if weights is not None:
                maps[f"encoder.{index}.self_attention"] = weights
        return self.norm(x), padding, maps


# %% rewritten positions_in_each_layer
class Encoder:
    def forward(
        self, features: Tensor, lengths: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        x, shorter = self.subsampling(features, lengths)
        real = padding_mask(shorter, x.size(1))
        x = self.dropout(x)
        weights = []
        for layer in self.layers:
            x, found = layer(self.positional(x), real, need_weights=need_weights)
            weights.append(found)
        return self.norm(x), real, {f"encoder.{n}.self_attention": w for n, w in enumerate(weights) if w is not None}


# %% mutant positions_twice
# Positions are added twice, and so are twice as loud as they should be.
class Encoder:
    def forward(
        self, features: Tensor, lengths: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        x, lengths = self.subsampling(features, lengths)
        padding = padding_mask(lengths, x.shape[1])
        x = self.dropout(self.positional(self.positional(x)))
        maps = {}
        for index, layer in enumerate(self.layers):
            x, weights = layer(x, padding, need_weights)
            if weights is not None:
                maps[f"encoder.{index}.self_attention"] = weights
        return self.norm(x), padding, maps


# %% rewritten positions_twice
class Encoder:
    def forward(
        self, features: Tensor, lengths: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        x, shorter = self.subsampling(features, lengths)
        real = padding_mask(shorter, x.size(1))
        order = self.positional(x) - x
        x = self.dropout(x + 2 * order)
        weights = []
        for layer in self.layers:
            x, found = layer(x, real, need_weights=need_weights)
            weights.append(found)
        return self.norm(x), real, {f"encoder.{n}.self_attention": w for n, w in enumerate(weights) if w is not None}


# %% mutant last_norm_forgotten
# The last norm is missing. Pre-norm layers never normalise the stream itself, and it grows with each of them: decoder and CTC get numbers of any size.
class Encoder:
    def forward(
        self, features: Tensor, lengths: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        x, lengths = self.subsampling(features, lengths)
        padding = padding_mask(lengths, x.shape[1])
        x = self.dropout(self.positional(x))
        maps = {}
        for index, layer in enumerate(self.layers):
            x, weights = layer(x, padding, need_weights)
            if weights is not None:
                maps[f"encoder.{index}.self_attention"] = weights
        return x, padding, maps


# %% rewritten last_norm_forgotten
class Encoder:
    def forward(
        self, features: Tensor, lengths: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        x, shorter = self.subsampling(features, lengths)
        real = padding_mask(shorter, x.size(1))
        x = self.dropout(self.positional(x))
        weights = []
        for layer in self.layers:
            x, found = layer(x, real, need_weights=need_weights)
            weights.append(found)
        return x, real, {f"encoder.{n}.self_attention": w for n, w in enumerate(weights) if w is not None}


# %% mutant dropout_forgotten
# Nothing is dropped before the first layer in training mode.
class Encoder:
    def forward(
        self, features: Tensor, lengths: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        x, lengths = self.subsampling(features, lengths)
        padding = padding_mask(lengths, x.shape[1])
        x = self.positional(x)
        maps = {}
        for index, layer in enumerate(self.layers):
            x, weights = layer(x, padding, need_weights)
            if weights is not None:
                maps[f"encoder.{index}.self_attention"] = weights
        return self.norm(x), padding, maps


# %% rewritten dropout_forgotten
class Encoder:
    def forward(
        self, features: Tensor, lengths: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        x, shorter = self.subsampling(features, lengths)
        real = padding_mask(shorter, x.size(1))
        x = self.positional(x)
        weights = []
        for layer in self.layers:
            x, found = layer(x, real, need_weights=need_weights)
            weights.append(found)
        return self.norm(x), real, {f"encoder.{n}.self_attention": w for n, w in enumerate(weights) if w is not None}


# %% mutant layers_not_chained
# Each layer gets the subsampled features, not what the layer before it made: only the last layer counts, and a deep encoder is no better than one of
# a single layer.
class Encoder:
    def forward(
        self, features: Tensor, lengths: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        x, lengths = self.subsampling(features, lengths)
        padding = padding_mask(lengths, x.shape[1])
        x = self.dropout(self.positional(x))
        start, maps = x, {}
        for index, layer in enumerate(self.layers):
            x, weights = layer(start, padding, need_weights)
            if weights is not None:
                maps[f"encoder.{index}.self_attention"] = weights
        return self.norm(x), padding, maps


# %% rewritten layers_not_chained
class Encoder:
    def forward(
        self, features: Tensor, lengths: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        x, shorter = self.subsampling(features, lengths)
        real = padding_mask(shorter, x.size(1))
        x = self.dropout(self.positional(x))
        weights = []
        for layer in self.layers:
            last, found = layer(x, real, need_weights=need_weights)
            weights.append(found)
        return self.norm(last if len(self.layers) else x), real, {f"encoder.{n}.self_attention": w for n, w in enumerate(weights) if w is not None}


# %% mutant mask_of_the_old_lengths
# The mask is made of the lengths before subsampling. The features have become fewer since: nearly every frame, padding included, counts as real.
class Encoder:
    def forward(
        self, features: Tensor, lengths: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        x, _ = self.subsampling(features, lengths)
        padding = padding_mask(lengths, features.shape[1])[:, : x.shape[1]]
        x = self.dropout(self.positional(x))
        maps = {}
        for index, layer in enumerate(self.layers):
            x, weights = layer(x, padding, need_weights)
            if weights is not None:
                maps[f"encoder.{index}.self_attention"] = weights
        return self.norm(x), padding, maps


# %% rewritten mask_of_the_old_lengths
class Encoder:
    def forward(
        self, features: Tensor, lengths: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        x, _ = self.subsampling(features, lengths)
        real = padding_mask(lengths.clamp(max=x.size(1)), x.size(1))
        x = self.dropout(self.positional(x))
        weights = []
        for layer in self.layers:
            x, found = layer(x, real, need_weights=need_weights)
            weights.append(found)
        return self.norm(x), real, {f"encoder.{n}.self_attention": w for n, w in enumerate(weights) if w is not None}


# %% mutant layers_without_mask
# The mask is returned, but the layers do not get it: they take everything for real, and listen to padding.
class Encoder:
    def forward(
        self, features: Tensor, lengths: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        x, lengths = self.subsampling(features, lengths)
        padding = padding_mask(lengths, x.shape[1])
        x = self.dropout(self.positional(x))
        maps = {}
        for index, layer in enumerate(self.layers):
            x, weights = layer(x, padding | True, need_weights)
            if weights is not None:
                maps[f"encoder.{index}.self_attention"] = weights
        return self.norm(x), padding, maps


# %% rewritten layers_without_mask
class Encoder:
    def forward(
        self, features: Tensor, lengths: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        x, shorter = self.subsampling(features, lengths)
        real = padding_mask(shorter, x.size(1))
        x = self.dropout(self.positional(x))
        weights = []
        for layer in self.layers:
            x, found = layer(x, real.new_ones(real.shape), need_weights=need_weights)
            weights.append(found)
        return self.norm(x), real, {f"encoder.{n}.self_attention": w for n, w in enumerate(weights) if w is not None}
