# %% mutant padding_not_masked
# Padding is not set to zero before the convolution, which reads beyond the end of an utterance: its last frames depend on what it shares a batch with.
class ConvModule:
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        x = F.glu(self.expand(x), dim=-1)
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return self.dropout(self.project(F.silu(self.norm(x))))


# %% rewritten padding_not_masked
class ConvModule:
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        import torch

        left, right = self.expand(x).chunk(2, dim=-1)
        x = left * torch.sigmoid(right)
        x = self.depthwise(x.mT).mT
        x = self.norm(x)
        x = self.project(x * torch.sigmoid(x))
        return self.dropout(x)


# %% mutant input_masked_only
# The input is masked, but `expand` adds its bias after that: what the convolution reads beyond the end is still not zero.
class ConvModule:
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        x = x * padding[..., None]
        x = F.glu(self.expand(x), dim=-1)
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return self.dropout(self.project(F.silu(self.norm(x))))


# %% rewritten input_masked_only
class ConvModule:
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        import torch

        x = torch.where(padding.unsqueeze(-1), x, torch.zeros(()))
        left, right = self.expand(x).chunk(2, dim=-1)
        x = left * torch.sigmoid(right)
        x = self.depthwise(x.mT).mT
        x = self.norm(x)
        x = self.project(x * torch.sigmoid(x))
        return self.dropout(x)


# %% mutant masked_too_late
# The mask is applied behind the convolution. By then the last real frames have already taken up what lies in the padding.
class ConvModule:
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        x = F.glu(self.expand(x), dim=-1)
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2) * padding[..., None]
        return self.dropout(self.project(F.silu(self.norm(x))))


# %% rewritten masked_too_late
class ConvModule:
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        import torch

        left, right = self.expand(x).chunk(2, dim=-1)
        x = left * torch.sigmoid(right)
        x = self.depthwise(x.mT).mT
        x = torch.where(padding.unsqueeze(-1), x, torch.zeros(()))
        x = self.norm(x)
        x = self.project(x * torch.sigmoid(x))
        return self.dropout(x)


# %% mutant halves_swapped
# The gate is the wrong half: the sigmoid belongs to the second half of what `expand` makes (as F.glu has it), not to the first.
class ConvModule:
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        x = F.glu(self.expand(x).roll(x.shape[-1], dims=-1), dim=-1) * padding[..., None].to(x.dtype)
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return self.dropout(self.project(F.silu(self.norm(x))))


# %% rewritten halves_swapped
class ConvModule:
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        import torch

        left, right = self.expand(x).chunk(2, dim=-1)
        x = torch.sigmoid(left) * right
        x = torch.where(padding.unsqueeze(-1), x, torch.zeros(()))
        x = self.depthwise(x.mT).mT
        x = self.norm(x)
        x = self.project(x * torch.sigmoid(x))
        return self.dropout(x)


# %% mutant no_gate
# The two halves are multiplied without the sigmoid. A gate lies between 0 and 1; a plain product can grow without bound.
class ConvModule:
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        x = self.expand(x)[..., : x.shape[-1]] * self.expand(x)[..., x.shape[-1] :] * padding[..., None].to(x.dtype)
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return self.dropout(self.project(F.silu(self.norm(x))))


# %% rewritten no_gate
class ConvModule:
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        import torch

        left, right = self.expand(x).chunk(2, dim=-1)
        x = left * right
        x = torch.where(padding.unsqueeze(-1), x, torch.zeros(()))
        x = self.depthwise(x.mT).mT
        x = self.norm(x)
        x = self.project(x * torch.sigmoid(x))
        return self.dropout(x)


# %% mutant norm_forgotten
# The normalisation behind the convolution is missing.
class ConvModule:
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        x = F.glu(self.expand(x), dim=-1) * padding[..., None].to(x.dtype)
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return self.dropout(self.project(F.silu(x)))


# %% rewritten norm_forgotten
class ConvModule:
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        import torch

        left, right = self.expand(x).chunk(2, dim=-1)
        x = left * torch.sigmoid(right)
        x = torch.where(padding.unsqueeze(-1), x, torch.zeros(()))
        x = self.depthwise(x.mT).mT
        x = self.project(x * torch.sigmoid(x))
        return self.dropout(x)


# %% mutant activation_forgotten
# The activation (SiLU) behind the norm is missing.
class ConvModule:
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        x = F.glu(self.expand(x), dim=-1) * padding[..., None].to(x.dtype)
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return self.dropout(self.project(self.norm(x)))


# %% rewritten activation_forgotten
class ConvModule:
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        import torch

        left, right = self.expand(x).chunk(2, dim=-1)
        x = left * torch.sigmoid(right)
        x = torch.where(padding.unsqueeze(-1), x, torch.zeros(()))
        x = self.depthwise(x.mT).mT
        x = self.norm(x)
        x = self.project(x)
        return self.dropout(x)


# %% mutant relu_for_silu
# The activation is a ReLU, not SiLU (x times its sigmoid).
class ConvModule:
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        x = F.glu(self.expand(x), dim=-1) * padding[..., None].to(x.dtype)
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return self.dropout(self.project(F.relu(self.norm(x))))


# %% rewritten relu_for_silu
class ConvModule:
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        import torch

        left, right = self.expand(x).chunk(2, dim=-1)
        x = left * torch.sigmoid(right)
        x = torch.where(padding.unsqueeze(-1), x, torch.zeros(()))
        x = self.depthwise(x.mT).mT
        x = self.norm(x)
        x = self.project(x.clamp(min=0))
        return self.dropout(x)


# %% mutant dropout_forgotten
# Nothing is dropped in training mode.
class ConvModule:
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        x = F.glu(self.expand(x), dim=-1) * padding[..., None].to(x.dtype)
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return self.project(F.silu(self.norm(x)))


# %% rewritten dropout_forgotten
class ConvModule:
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        import torch

        left, right = self.expand(x).chunk(2, dim=-1)
        x = left * torch.sigmoid(right)
        x = torch.where(padding.unsqueeze(-1), x, torch.zeros(()))
        x = self.depthwise(x.mT).mT
        x = self.norm(x)
        x = self.project(x * torch.sigmoid(x))
        return x
