# %% names_from_a_list
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
        return self.norm(x), real, {f"encoder.{n}.self_attention": w for n, w in enumerate(weights) if w is not None}


# %% modules_in_a_row
class Encoder:
    def forward(
        self, features: Tensor, lengths: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        import torch

        subsampled = self.subsampling(features, lengths)
        states = [self.dropout(self.positional(subsampled[0]))]
        real = torch.stack([torch.arange(states[0].shape[1]) < length for length in subsampled[1]])
        maps = {}
        for name, layer in self.layers.named_children():
            output, weights = layer(states[-1], real, need_weights)
            states.append(output)
            if need_weights:
                maps["encoder." + name + ".self_attention"] = weights
        return F.layer_norm(states[-1], (self.d_model,), self.norm.weight, self.norm.bias, self.norm.eps), real, maps
