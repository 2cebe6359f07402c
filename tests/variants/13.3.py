# %% factor
def quantity_loss(alphas, target_lengths):
    error = alphas.float().sum(-1) - target_lengths
    return torch.maximum(error, -error)


def scale_alphas(alphas, target_lengths, encoder_mask):
    total = alphas.double().sum(-1)[:, None]
    real = encoder_mask.double()
    factor = target_lengths[:, None] / total.clamp(min=LEAST)
    even = target_lengths[:, None] * real / real.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(total > LEAST, alphas.double() * factor, even).float()


# %% row_by_row
def quantity_loss(alphas, target_lengths):
    return torch.stack([(count - row.float().sum()).abs() for row, count in zip(alphas, target_lengths, strict=True)])


def scale_alphas(alphas, target_lengths, encoder_mask):
    rows = []
    for row, count, real in zip(alphas.double(), target_lengths, encoder_mask, strict=True):
        total = row.sum()
        if total > LEAST:
            rows.append(row / total * count)
        else:
            rows.append(real.double() / max(int(real.sum()), 1) * count + 0 * row)
    return torch.stack(rows).float()
