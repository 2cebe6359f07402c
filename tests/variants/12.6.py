# %% chunk_by_chunk
def update_then_apply(weights, queries, keys, values, rates, momentum, chunk, muon):
    norms, velocity = row_norms(weights), None
    for number, start in enumerate(range(0, keys.shape[2], chunk)):
        part = slice(start, start + chunk)
        new = fast_gradient(weights, keys[:, :, part], values[:, :, part], rates[..., part])
        if velocity is None:
            velocity = new
        elif momentum is None:
            velocity = FastWeights(*(a + b for a, b in zip(velocity, new)))
        else:
            share = momentum[:, :, number, None, None]
            velocity = FastWeights(*(a * share + b for a, b in zip(velocity, new)))
    learnt, _ = chunk_update(weights, velocity, norms, muon=muon)
    return swiglu(learnt, queries)


def apply_then_update(weights, queries, keys, values, rates, momentum, chunk, muon):
    norms, velocity, out = row_norms(weights), None, torch.zeros_like(values)
    for number, start in enumerate(range(0, keys.shape[2], chunk)):
        part = slice(start, start + chunk)
        out = torch.cat([out[:, :, :start], swiglu(weights, queries[:, :, part]), out[:, :, start + chunk :]], dim=2)
        new = fast_gradient(weights, keys[:, :, part], values[:, :, part], rates[..., part])
        share = None if momentum is None else momentum[:, :, number]
        weights, velocity = chunk_update(weights, new, norms, velocity, share, muon)
    return out


# %% recursive
def update_then_apply(weights, queries, keys, values, rates, momentum, chunk, muon):
    count = keys.shape[2]
    share = torch.ones_like(rates)
    if momentum is not None:
        for number in range(1, momentum.shape[-1]):
            share[..., : min(number * chunk, count)] = share[..., : min(number * chunk, count)] * momentum[None, :, :, number, None]
    step = fast_gradient(weights, keys, values, rates * share)
    return swiglu(chunk_update(weights, step, row_norms(weights), None, None, muon)[0], queries)


def apply_then_update(weights, queries, keys, values, rates, momentum, chunk, muon):
    first = row_norms(weights)

    def go_on(weights, velocity, start, number):
        end = start + chunk
        said = swiglu(weights, queries[:, :, start:end])
        if end >= keys.shape[2]:
            return [said]
        taught = fast_gradient(weights, keys[:, :, start:end], values[:, :, start:end], rates[..., start:end])
        share = momentum[..., number] if momentum is not None else None
        return [said, *go_on(*chunk_update(weights, taught, first, velocity, share, muon), end, number + 1)]

    return torch.cat(go_on(weights, None, 0, 0), dim=2)
