# %% mutant base_outside
# The base rate is added behind softplus. Where the linear layer says 0, softplus alone gives 0.69: every frame would be learnt at that rate
# at least, seventy times as fast as asked for. self.base_rate belongs inside.
class Memory:
    def learning_rates(self, x, padding):
        raw = F.linear(x.float(), self.rate_head.weight.float(), self.rate_head.bias.float())
        rates = (F.softplus(raw) + math.log1p(math.exp(self.base_rate))) * padding[..., None]
        return rates.view(*x.shape[:2], 3, self.heads).permute(2, 0, 3, 1)


# %% rewritten base_outside
class Memory:
    def learning_rates(self, x, padding):
        raw = x.float() @ self.rate_head.weight.float().mT + self.rate_head.bias.float()
        base = F.softplus(torch.tensor(self.base_rate))
        rates = torch.log1p(raw.exp()) + base
        rates = torch.stack(rates.chunk(3, -1)).mT
        return rates * padding[None, :, None]


# %% mutant base_forgotten
# self.base_rate is not added. The rates begin at softplus(0) = 0.69, whatever base_lr says.
class Memory:
    def learning_rates(self, x, padding):
        raw = F.linear(x.float(), self.rate_head.weight.float(), self.rate_head.bias.float())
        rates = F.softplus(raw) * padding[..., None]
        return rates.view(*x.shape[:2], 3, self.heads).permute(2, 0, 3, 1)


# %% rewritten base_forgotten
class Memory:
    def learning_rates(self, x, padding):
        raw = x.float() @ self.rate_head.weight.float().mT + self.rate_head.bias.float()
        return torch.stack(F.softplus(raw).chunk(3, -1)).mT * padding[None, :, None]


# %% mutant padding_forgotten
# Padding gets a rate too, so that it is learnt like speech: what an utterance is taken for depends on the length of its batch.
class Memory:
    def learning_rates(self, x, padding):
        raw = F.linear(x.float(), self.rate_head.weight.float(), self.rate_head.bias.float())
        rates = F.softplus(raw + self.base_rate)
        return rates.view(*x.shape[:2], 3, self.heads).permute(2, 0, 3, 1)


# %% rewritten padding_forgotten
class Memory:
    def learning_rates(self, x, padding):
        raw = x.float() @ self.rate_head.weight.float().mT + self.rate_head.bias.float() + self.base_rate
        return torch.stack(F.softplus(raw).chunk(3, -1)).mT


# %% mutant padding_before_softplus
# Padding is set to 0 before softplus, and softplus of what is left is the base rate, not 0. Multiply last.
class Memory:
    def learning_rates(self, x, padding):
        raw = F.linear(x.float(), self.rate_head.weight.float(), self.rate_head.bias.float())
        rates = F.softplus(raw * padding[..., None] + self.base_rate)
        return rates.view(*x.shape[:2], 3, self.heads).permute(2, 0, 3, 1)


# %% rewritten padding_before_softplus
class Memory:
    def learning_rates(self, x, padding):
        raw = x.float() @ self.rate_head.weight.float().mT + self.rate_head.bias.float()
        raw = raw.masked_fill(~padding[..., None], 0.0)
        return torch.stack(F.softplus(raw + self.base_rate).chunk(3, -1)).mT


# %% mutant heads_first
# The outputs of the linear layer are read as three rates for each head. The layout is the other way round: first one rate for each head of
# W0, then those of W1, then those of W2, so that they are viewed as (3, heads). Models that were trained with it would read their rates
# from the wrong places.
class Memory:
    def learning_rates(self, x, padding):
        raw = F.linear(x.float(), self.rate_head.weight.float(), self.rate_head.bias.float())
        rates = F.softplus(raw + self.base_rate) * padding[..., None]
        return rates.view(*x.shape[:2], self.heads, 3).permute(3, 0, 2, 1)


# %% rewritten heads_first
class Memory:
    def learning_rates(self, x, padding):
        raw = x.float() @ self.rate_head.weight.float().mT + self.rate_head.bias.float() + self.base_rate
        rates = F.softplus(raw) * padding[..., None]
        return torch.stack([rates[..., which::3] for which in range(3)]).mT


# %% mutant stays_in_16_bits
# The rates are computed with as many bits as the model has. In 16 bits a step adds a small number to a large one and often changes nothing:
# make x, weight and bias float32 first.
class Memory:
    def learning_rates(self, x, padding):
        rates = F.softplus(self.rate_head(x) + self.base_rate) * padding[..., None]
        return rates.view(*x.shape[:2], 3, self.heads).permute(2, 0, 3, 1)


# %% rewritten stays_in_16_bits
class Memory:
    def learning_rates(self, x, padding):
        raw = F.linear(x, self.rate_head.weight, self.rate_head.bias) + self.base_rate
        return torch.stack(F.softplus(raw).chunk(3, -1)).mT * padding[None, :, None]


# %% mutant exponential
# The rate is an exponential, not a softplus. It is positive too, but where the linear layer says 5, it is 150 times the base rate: large
# numbers make it explode, where softplus grows in a straight line. And exp(self.base_rate) is not base_lr.
class Memory:
    def learning_rates(self, x, padding):
        raw = F.linear(x.float(), self.rate_head.weight.float(), self.rate_head.bias.float())
        rates = torch.exp(raw + self.base_rate) * padding[..., None]
        return rates.view(*x.shape[:2], 3, self.heads).permute(2, 0, 3, 1)


# %% rewritten exponential
class Memory:
    def learning_rates(self, x, padding):
        raw = x.float() @ self.rate_head.weight.float().mT + self.rate_head.bias.float()
        rates = raw.exp() * math.exp(self.base_rate)
        return torch.stack(rates.chunk(3, -1)).mT * padding[None, :, None]
