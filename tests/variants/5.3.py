# %% two_named_sums
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        query = self.norm1(x)
        found, weights = self.self_attention(query, query, query, mask=padding.unsqueeze(1), need_weights=need_weights)
        with_context = self.dropout(found) + x
        thought = self.feed_forward(self.norm2(with_context))
        return self.dropout(thought) + with_context, weights


# %% list_of_sublayers
class EncoderLayer:
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        import torch

        kept = []

        def attend(y):
            mask = torch.zeros_like(padding)[:, None].expand(-1, y.shape[1], -1) | padding[:, None]
            output, weights = self.self_attention(y, y, y, mask, need_weights)
            kept.append(weights)
            return output

        for norm, sublayer in ((self.norm1, attend), (self.norm2, self.feed_forward)):
            x = torch.stack([x, self.dropout(sublayer(norm(x)))]).sum(0)
        return x, kept[0]
