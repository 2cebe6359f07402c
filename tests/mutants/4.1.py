# %% mutant blocks
# Your table has all the sines in its left half and all the cosines in its right half. The formula puts the sine and the
# cosine of one angle side by side, in dimensions 2i and 2i + 1. A model trained with one order cannot use the other.
def frequencies(d_model):
    return torch.exp(torch.arange(0, d_model, 2) * (-math.log(10_000.0) / d_model))


class SinusoidalPositionalEncoding:
    @staticmethod
    def make_table(d_model, max_length):
        angle = torch.arange(max_length)[:, None] * frequencies(d_model)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)


# %% rewritten blocks
def frequencies(d_model):
    return 10_000.0 ** (-torch.arange(0, d_model, 2) / d_model)


class SinusoidalPositionalEncoding:
    @staticmethod
    def make_table(d_model, max_length):
        half = d_model // 2
        table = torch.zeros(max_length, d_model)
        for i, w in enumerate(frequencies(d_model)):
            table[:, i] = torch.sin(torch.arange(max_length) * w)
            table[:, half + i] = torch.cos(torch.arange(max_length) * w)
        return table


# %% mutant exponent_i
# Your exponent counts pairs (i = 0, 1, 2, ...) where it should count dimensions (2i = 0, 2, 4, ...). All frequencies stay
# too high: the slowest hand of the clock goes round about a hundred times faster than it should, and far positions look alike.
def frequencies(d_model):
    return 10_000.0 ** (-torch.arange(d_model // 2) / d_model)


class SinusoidalPositionalEncoding:
    @staticmethod
    def make_table(d_model, max_length):
        angle = torch.arange(max_length)[:, None] * frequencies(d_model)
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


# %% rewritten exponent_i
def frequencies(d_model):
    return torch.tensor([math.exp(-math.log(10_000.0) * i / d_model) for i in range(d_model // 2)])


class SinusoidalPositionalEncoding:
    @staticmethod
    def make_table(d_model, max_length):
        table = torch.empty(max_length, d_model)
        angle = torch.outer(torch.arange(max_length).float(), frequencies(d_model))
        table[:, 0::2] = angle.sin()
        table[:, 1::2] = angle.cos()
        return table


# %% mutant wrong_logarithm
# The logarithm does not match the exponential: exp() undoes the natural logarithm, not the one to base 10. Your
# frequencies belong to a base of about 55 instead of 10000, so all hands of the clock are fast.
def frequencies(d_model):
    return torch.exp(torch.arange(0, d_model, 2) * (-math.log10(10_000.0) / d_model))


class SinusoidalPositionalEncoding:
    @staticmethod
    def make_table(d_model, max_length):
        angle = torch.arange(max_length)[:, None] * frequencies(d_model)
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


# %% rewritten wrong_logarithm
def frequencies(d_model):
    base = math.e**4
    return torch.tensor([1 / base ** (2 * i / d_model) for i in range(d_model // 2)])


class SinusoidalPositionalEncoding:
    @staticmethod
    def make_table(d_model, max_length):
        table = torch.empty(max_length, d_model)
        angle = torch.outer(torch.arange(max_length).float(), frequencies(d_model))
        table[:, 0::2] = angle.sin()
        table[:, 1::2] = angle.cos()
        return table


# %% mutant sine_only
# Both dimensions of each pair hold the sine. A sine alone does not say where you are on the circle: it takes the same
# value twice in each turn, and only with its cosine does a shift in time become a rotation.
def frequencies(d_model):
    return torch.exp(torch.arange(0, d_model, 2) * (-math.log(10_000.0) / d_model))


class SinusoidalPositionalEncoding:
    @staticmethod
    def make_table(d_model, max_length):
        angle = torch.arange(max_length)[:, None] * frequencies(d_model)
        return angle.repeat_interleave(2, dim=-1).sin()


# %% rewritten sine_only
def frequencies(d_model):
    return 10_000.0 ** (-torch.arange(0, d_model, 2) / d_model)


class SinusoidalPositionalEncoding:
    @staticmethod
    def make_table(d_model, max_length):
        table = torch.empty(max_length, d_model)
        w = frequencies(d_model)
        for t in range(max_length):
            table[t, 0::2] = torch.sin(t * w)
            table[t, 1::2] = torch.sin(t * w)
        return table


# %% mutant positions_from_1
# Your positions count from 1. The first position must be 0, whose encoding is 0, 1, 0, 1, ...; a model trained with the
# usual count would find every frame one step too late.
def frequencies(d_model):
    return torch.exp(torch.arange(0, d_model, 2) * (-math.log(10_000.0) / d_model))


class SinusoidalPositionalEncoding:
    @staticmethod
    def make_table(d_model, max_length):
        angle = torch.arange(1, max_length + 1)[:, None] * frequencies(d_model)
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


# %% rewritten positions_from_1
def frequencies(d_model):
    return 10_000.0 ** (-torch.arange(0, d_model, 2) / d_model)


class SinusoidalPositionalEncoding:
    @staticmethod
    def make_table(d_model, max_length):
        table = torch.empty(max_length, d_model)
        w = frequencies(d_model)
        for t in range(max_length):
            table[t, 0::2] = torch.sin((t + 1) * w)
            table[t, 1::2] = torch.cos((t + 1) * w)
        return table


# %% mutant unpaired
# Each dimension of your table has a frequency of its own, so the cosine in 2i + 1 belongs to another angle than the sine
# in 2i. The two must share one frequency: only then is the pair a point on a circle.
def frequencies(d_model):
    return torch.exp(torch.arange(0, d_model, 2) * (-math.log(10_000.0) / d_model))


class SinusoidalPositionalEncoding:
    @staticmethod
    def make_table(d_model, max_length):
        angle = torch.arange(max_length)[:, None] / 10_000.0 ** (torch.arange(d_model) / d_model)
        even = torch.arange(d_model) % 2 == 0
        return torch.where(even, angle.sin(), angle.cos())


# %% rewritten unpaired
def frequencies(d_model):
    return 10_000.0 ** (-torch.arange(0, d_model, 2) / d_model)


class SinusoidalPositionalEncoding:
    @staticmethod
    def make_table(d_model, max_length):
        table = torch.empty(max_length, d_model)
        for j in range(d_model):
            wave = torch.cos if j % 2 else torch.sin
            table[:, j] = wave(torch.arange(max_length) * math.exp(-math.log(10_000.0) * j / d_model))
        return table
