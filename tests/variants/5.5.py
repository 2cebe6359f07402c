# %% written_out
class ConvModule:
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        import torch

        left, right = self.expand(x).chunk(2, dim=-1)
        x = left * torch.sigmoid(right)
        x = torch.where(padding.unsqueeze(-1), x, torch.zeros(()))
        x = self.depthwise(x.mT).mT
        x = self.norm(x)
        x = self.project(x * torch.sigmoid(x))
        return self.dropout(x)


# %% sum_over_the_kernel
class ConvModule:
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        import torch

        size = self.depthwise.weight.shape[-1]
        signal, gate = self.expand(x).split(x.shape[-1], dim=-1)
        x = (signal * gate.sigmoid()).masked_fill(~padding[..., None], 0)
        around = F.pad(x, (0, 0, size // 2, size // 2)).unfold(1, size, 1)  # (batch, time, d_model, kernel)
        x = torch.einsum("btdk,dk->btd", around, self.depthwise.weight.squeeze(1)) + self.depthwise.bias
        x = self.norm(x)
        return F.dropout(self.project(x * x.sigmoid()), self.dropout.p, self.training)
