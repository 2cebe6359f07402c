# %% batch_first
class Predictor:
    def forward(self, encoder_out: Tensor, encoder_mask: Tensor) -> Tensor:
        padding = ~encoder_mask[..., None]
        hidden = encoder_out.masked_fill(padding, 0.0)
        for layer in self.convs:
            hidden = layer(hidden.permute(0, 2, 1)).permute(0, 2, 1)  # (batch, frames, hidden)
            hidden = torch.relu(hidden).masked_fill(padding, 0.0)
        with torch.autocast(hidden.device.type, enabled=False):
            weights = torch.sigmoid(self.out(hidden.float()).squeeze(-1)) * self.smooth - self.noise
            return weights.clamp(min=0, max=1).masked_fill(~encoder_mask, 0.0)


# %% relu_and_minimum
class Predictor:
    def forward(self, encoder_out: Tensor, encoder_mask: Tensor) -> Tensor:
        keep = encoder_mask.unsqueeze(1).float()
        x = encoder_out.mT
        for conv in self.convs:
            x = conv(torch.where(keep.bool(), x, 0.0)).relu()
        with torch.autocast(x.device.type, enabled=False):
            logit = F.linear((x.float() * keep).mT, self.out.weight, self.out.bias)[:, :, 0]
            alphas = F.relu(self.smooth * logit.sigmoid() - self.noise)
            return torch.minimum(alphas, torch.ones_like(alphas)) * keep[:, 0]
