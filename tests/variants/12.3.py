# %% chunked
class Memory:
    def learning_rates(self, x, padding):
        head = self.rate_head
        said = x.to(torch.float32) @ head.weight.to(torch.float32).T + head.bias.to(torch.float32)
        rates = torch.nn.functional.softplus(said + self.base_rate)
        each = torch.stack(rates.chunk(3, dim=-1))  # (3, batch, frames, heads)
        return each.masked_fill(~padding[None, :, :, None], 0.0).transpose(-1, -2)


# %% logaddexp
class Memory:
    def learning_rates(self, x, padding):
        weight, bias = self.rate_head.weight.float(), self.rate_head.bias.float()
        said = torch.einsum("btd,nd->nbt", x.float(), weight) + bias[:, None, None] + self.base_rate
        rates = torch.logaddexp(said, torch.zeros_like(said))  # log(1 + exp(said))
        rates = torch.where(padding, rates, torch.zeros_like(rates))
        return rates.unflatten(0, (3, self.heads)).transpose(1, 2)
