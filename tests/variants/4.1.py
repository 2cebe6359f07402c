# %% powers_and_slices
def frequencies(d_model):
    return 10_000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float32) / d_model)


class SinusoidalPositionalEncoding:
    @staticmethod
    def make_table(d_model, max_length):
        table = torch.empty(max_length, d_model)
        angle = torch.outer(torch.arange(max_length).float(), frequencies(d_model))
        table[:, 0::2] = torch.sin(angle)
        table[:, 1::2] = torch.cos(angle)
        return table


# %% points_on_the_complex_circle
def frequencies(d_model):
    step = 10_000.0 ** (-2 / d_model)
    return torch.full((d_model // 2,), step).cumprod(0) / step


class SinusoidalPositionalEncoding:
    @staticmethod
    def make_table(d_model, max_length):
        angle = torch.einsum("t,i->ti", torch.arange(max_length).float(), frequencies(d_model))
        circle = torch.view_as_real(torch.polar(torch.ones_like(angle), angle))  # cosine first, then sine
        return circle.flip(-1).reshape(max_length, d_model)


# %% loops
def frequencies(d_model):
    return torch.tensor([1 / 10_000 ** (2 * i / d_model) for i in range(d_model // 2)])


class SinusoidalPositionalEncoding:
    @staticmethod
    def make_table(d_model, max_length):
        rows = []
        for t in range(max_length):
            row = []
            for i in range(d_model // 2):
                angle = t / 10_000 ** (2 * i / d_model)
                row += [math.sin(angle), math.cos(angle)]
            rows.append(row)
        return torch.tensor(rows, dtype=torch.float32)
