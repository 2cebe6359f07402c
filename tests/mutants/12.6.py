# %% mutant sees_its_own_chunk
# In the causal order each chunk is learnt first and answered afterwards, so that its frames are answered by weights that have seen them, and
# later frames of their chunk: the model looks into the future. Apply first, then update.
def update_then_apply(weights, queries, keys, values, rates, momentum, chunk, muon):
    if momentum is not None:
        following = F.pad(momentum[..., 1:], (0, 1), value=1.0)
        kept = following.flip(-1).cumprod(-1).flip(-1)
        rates = rates * kept.repeat_interleave(chunk, dim=-1)[..., : rates.shape[-1]]
    gradient = fast_gradient(weights, keys, values, rates)
    weights, _ = chunk_update(weights, gradient, row_norms(weights), muon=muon)
    return swiglu(weights, queries)


def apply_then_update(weights, queries, keys, values, rates, momentum, chunk, muon):
    norms, velocity, answers = row_norms(weights), None, []
    for number, start in enumerate(range(0, keys.shape[2], chunk)):
        part = slice(start, start + chunk)
        gradient = fast_gradient(weights, keys[:, :, part], values[:, :, part], rates[..., part])
        kept = None if momentum is None else momentum[..., number]
        weights, velocity = chunk_update(weights, gradient, norms, velocity, kept, muon)
        answers.append(swiglu(weights, queries[:, :, part]))
    return torch.cat(answers, dim=2)


# %% rewritten sees_its_own_chunk
def update_then_apply(weights, queries, keys, values, rates, momentum, chunk, muon):
    pieces = list(zip(keys.split(chunk, 2), values.split(chunk, 2), rates.split(chunk, 3)))
    total = None
    for number, (key, value, rate) in enumerate(pieces):
        new = fast_gradient(weights, key, value, rate)
        if total is not None:
            share = 1.0 if momentum is None else momentum[..., number][..., None, None]
            new = FastWeights(*(share * old + fresh for old, fresh in zip(total, new)))
        total = new
    learnt, _ = chunk_update(weights, total, row_norms(weights), muon=muon)
    return swiglu(learnt, queries)


def apply_then_update(weights, queries, keys, values, rates, momentum, chunk, muon):
    lengths, speed, now = row_norms(weights), None, weights
    pieces = zip(queries.split(chunk, 2), keys.split(chunk, 2), values.split(chunk, 2), rates.split(chunk, 3))
    said = []
    for number, (query, key, value, rate) in enumerate(pieces):
        new = fast_gradient(now, key, value, rate)
        share = momentum[..., number] if momentum is not None else None
        now, speed = chunk_update(now, new, lengths, velocity=speed, momentum=share, muon=muon)
        said += [swiglu(now, query)]
    return torch.cat(said, -2)


# %% mutant learns_nothing
# The causal order keeps answering with the first weights: what chunk_update gives back is not used for the next chunk.
def update_then_apply(weights, queries, keys, values, rates, momentum, chunk, muon):
    if momentum is not None:
        following = F.pad(momentum[..., 1:], (0, 1), value=1.0)
        kept = following.flip(-1).cumprod(-1).flip(-1)
        rates = rates * kept.repeat_interleave(chunk, dim=-1)[..., : rates.shape[-1]]
    gradient = fast_gradient(weights, keys, values, rates)
    weights, _ = chunk_update(weights, gradient, row_norms(weights), muon=muon)
    return swiglu(weights, queries)


def apply_then_update(weights, queries, keys, values, rates, momentum, chunk, muon):
    norms, velocity, answers = row_norms(weights), None, []
    for number, start in enumerate(range(0, keys.shape[2], chunk)):
        part = slice(start, start + chunk)
        answers.append(swiglu(weights, queries[:, :, part]))
        gradient = fast_gradient(weights, keys[:, :, part], values[:, :, part], rates[..., part])
        kept = None if momentum is None else momentum[..., number]
        _, velocity = chunk_update(weights, gradient, norms, velocity, kept, muon)
    return torch.cat(answers, dim=2)


# %% rewritten learns_nothing
def update_then_apply(weights, queries, keys, values, rates, momentum, chunk, muon):
    pieces = list(zip(keys.split(chunk, 2), values.split(chunk, 2), rates.split(chunk, 3)))
    total = None
    for number, (key, value, rate) in enumerate(pieces):
        new = fast_gradient(weights, key, value, rate)
        if total is not None:
            share = 1.0 if momentum is None else momentum[..., number][..., None, None]
            new = FastWeights(*(share * old + fresh for old, fresh in zip(total, new)))
        total = new
    learnt, _ = chunk_update(weights, total, row_norms(weights), muon=muon)
    return swiglu(learnt, queries)


def apply_then_update(weights, queries, keys, values, rates, momentum, chunk, muon):
    lengths, speed, now = row_norms(weights), None, weights
    pieces = zip(queries.split(chunk, 2), keys.split(chunk, 2), values.split(chunk, 2), rates.split(chunk, 3))
    said = []
    for number, (query, key, value, rate) in enumerate(pieces):
        said += [swiglu(weights, query)]
        new = fast_gradient(now, key, value, rate)
        share = momentum[..., number] if momentum is not None else None
        now, speed = chunk_update(now, new, lengths, velocity=speed, momentum=share, muon=muon)
    return torch.cat(said, -2)


# %% mutant gradients_at_the_first_weights
# In the causal order the gradient of every chunk is taken at the first weights. It has to be taken where the weights are by then: what has been
# learnt already should not be learnt once more.
def update_then_apply(weights, queries, keys, values, rates, momentum, chunk, muon):
    if momentum is not None:
        following = F.pad(momentum[..., 1:], (0, 1), value=1.0)
        kept = following.flip(-1).cumprod(-1).flip(-1)
        rates = rates * kept.repeat_interleave(chunk, dim=-1)[..., : rates.shape[-1]]
    gradient = fast_gradient(weights, keys, values, rates)
    weights, _ = chunk_update(weights, gradient, row_norms(weights), muon=muon)
    return swiglu(weights, queries)


def apply_then_update(weights, queries, keys, values, rates, momentum, chunk, muon):
    norms, velocity, answers, first = row_norms(weights), None, [], weights
    for number, start in enumerate(range(0, keys.shape[2], chunk)):
        part = slice(start, start + chunk)
        answers.append(swiglu(weights, queries[:, :, part]))
        gradient = fast_gradient(first, keys[:, :, part], values[:, :, part], rates[..., part])
        kept = None if momentum is None else momentum[..., number]
        weights, velocity = chunk_update(weights, gradient, norms, velocity, kept, muon)
    return torch.cat(answers, dim=2)


# %% rewritten gradients_at_the_first_weights
def update_then_apply(weights, queries, keys, values, rates, momentum, chunk, muon):
    pieces = list(zip(keys.split(chunk, 2), values.split(chunk, 2), rates.split(chunk, 3)))
    total = None
    for number, (key, value, rate) in enumerate(pieces):
        new = fast_gradient(weights, key, value, rate)
        if total is not None:
            share = 1.0 if momentum is None else momentum[..., number][..., None, None]
            new = FastWeights(*(share * old + fresh for old, fresh in zip(total, new)))
        total = new
    learnt, _ = chunk_update(weights, total, row_norms(weights), muon=muon)
    return swiglu(learnt, queries)


def apply_then_update(weights, queries, keys, values, rates, momentum, chunk, muon):
    lengths, speed, now = row_norms(weights), None, weights
    pieces = zip(queries.split(chunk, 2), keys.split(chunk, 2), values.split(chunk, 2), rates.split(chunk, 3))
    said = []
    for number, (query, key, value, rate) in enumerate(pieces):
        said += [swiglu(now, query)]
        new = fast_gradient(weights, key, value, rate)
        share = momentum[..., number] if momentum is not None else None
        now, speed = chunk_update(now, new, lengths, velocity=speed, momentum=share, muon=muon)
    return torch.cat(said, -2)


# %% mutant velocity_not_handed_on
# In the causal order the velocity of a chunk is not handed on to the next one, so that momentum has nothing to keep.
def update_then_apply(weights, queries, keys, values, rates, momentum, chunk, muon):
    if momentum is not None:
        following = F.pad(momentum[..., 1:], (0, 1), value=1.0)
        kept = following.flip(-1).cumprod(-1).flip(-1)
        rates = rates * kept.repeat_interleave(chunk, dim=-1)[..., : rates.shape[-1]]
    gradient = fast_gradient(weights, keys, values, rates)
    weights, _ = chunk_update(weights, gradient, row_norms(weights), muon=muon)
    return swiglu(weights, queries)


def apply_then_update(weights, queries, keys, values, rates, momentum, chunk, muon):
    norms, velocity, answers = row_norms(weights), None, []
    for number, start in enumerate(range(0, keys.shape[2], chunk)):
        part = slice(start, start + chunk)
        answers.append(swiglu(weights, queries[:, :, part]))
        gradient = fast_gradient(weights, keys[:, :, part], values[:, :, part], rates[..., part])
        kept = None if momentum is None else momentum[..., number]
        weights, _ = chunk_update(weights, gradient, norms, velocity, kept, muon)
    return torch.cat(answers, dim=2)


# %% rewritten velocity_not_handed_on
def update_then_apply(weights, queries, keys, values, rates, momentum, chunk, muon):
    pieces = list(zip(keys.split(chunk, 2), values.split(chunk, 2), rates.split(chunk, 3)))
    total = None
    for number, (key, value, rate) in enumerate(pieces):
        new = fast_gradient(weights, key, value, rate)
        if total is not None:
            share = 1.0 if momentum is None else momentum[..., number][..., None, None]
            new = FastWeights(*(share * old + fresh for old, fresh in zip(total, new)))
        total = new
    learnt, _ = chunk_update(weights, total, row_norms(weights), muon=muon)
    return swiglu(learnt, queries)


def apply_then_update(weights, queries, keys, values, rates, momentum, chunk, muon):
    lengths, speed, now = row_norms(weights), None, weights
    pieces = zip(queries.split(chunk, 2), keys.split(chunk, 2), values.split(chunk, 2), rates.split(chunk, 3))
    said = []
    for number, (query, key, value, rate) in enumerate(pieces):
        said += [swiglu(now, query)]
        new = fast_gradient(now, key, value, rate)
        share = momentum[..., number] if momentum is not None else None
        now, speed = chunk_update(now, new, lengths, velocity=None, momentum=share, muon=muon)
    return torch.cat(said, -2)


# %% mutant one_step_after_another
# In both directions the weights are changed after every chunk, and the next gradient is taken at what came out. Then the order of the chunks
# counts, and their size. All gradients belong to the first weights, and there is one step.
def update_then_apply(weights, queries, keys, values, rates, momentum, chunk, muon):
    norms, velocity = row_norms(weights), None
    for number, start in enumerate(range(0, keys.shape[2], chunk)):
        part = slice(start, start + chunk)
        gradient = fast_gradient(weights, keys[:, :, part], values[:, :, part], rates[..., part])
        kept = None if momentum is None else momentum[..., number]
        weights, velocity = chunk_update(weights, gradient, norms, velocity, kept, muon)
    return swiglu(weights, queries)


def apply_then_update(weights, queries, keys, values, rates, momentum, chunk, muon):
    norms, velocity, answers = row_norms(weights), None, []
    for number, start in enumerate(range(0, keys.shape[2], chunk)):
        part = slice(start, start + chunk)
        answers.append(swiglu(weights, queries[:, :, part]))
        gradient = fast_gradient(weights, keys[:, :, part], values[:, :, part], rates[..., part])
        kept = None if momentum is None else momentum[..., number]
        weights, velocity = chunk_update(weights, gradient, norms, velocity, kept, muon)
    return torch.cat(answers, dim=2)


# %% rewritten one_step_after_another
def update_then_apply(weights, queries, keys, values, rates, momentum, chunk, muon):
    now, speed, lengths = weights, None, row_norms(weights)
    for number, (key, value, rate) in enumerate(zip(keys.split(chunk, 2), values.split(chunk, 2), rates.split(chunk, 3))):
        share = momentum[..., number] if momentum is not None else None
        now, speed = chunk_update(now, fast_gradient(now, key, value, rate), lengths, speed, share, muon=muon)
    return swiglu(now, queries)


def apply_then_update(weights, queries, keys, values, rates, momentum, chunk, muon):
    lengths, speed, now = row_norms(weights), None, weights
    pieces = zip(queries.split(chunk, 2), keys.split(chunk, 2), values.split(chunk, 2), rates.split(chunk, 3))
    said = []
    for number, (query, key, value, rate) in enumerate(pieces):
        said += [swiglu(now, query)]
        new = fast_gradient(now, key, value, rate)
        share = momentum[..., number] if momentum is not None else None
        now, speed = chunk_update(now, new, lengths, velocity=speed, momentum=share, muon=muon)
    return torch.cat(said, -2)


# %% mutant momentum_ignored_in_both_directions
# In both directions momentum is not used: every chunk counts fully, also the first of a long utterance.
def update_then_apply(weights, queries, keys, values, rates, momentum, chunk, muon):
    gradient = fast_gradient(weights, keys, values, rates)
    weights, _ = chunk_update(weights, gradient, row_norms(weights), muon=muon)
    return swiglu(weights, queries)


def apply_then_update(weights, queries, keys, values, rates, momentum, chunk, muon):
    norms, velocity, answers = row_norms(weights), None, []
    for number, start in enumerate(range(0, keys.shape[2], chunk)):
        part = slice(start, start + chunk)
        answers.append(swiglu(weights, queries[:, :, part]))
        gradient = fast_gradient(weights, keys[:, :, part], values[:, :, part], rates[..., part])
        kept = None if momentum is None else momentum[..., number]
        weights, velocity = chunk_update(weights, gradient, norms, velocity, kept, muon)
    return torch.cat(answers, dim=2)


# %% rewritten momentum_ignored_in_both_directions
def update_then_apply(weights, queries, keys, values, rates, momentum, chunk, muon):
    pieces = list(zip(keys.split(chunk, 2), values.split(chunk, 2), rates.split(chunk, 3)))
    total = None
    for number, (key, value, rate) in enumerate(pieces):
        new = fast_gradient(weights, key, value, rate)
        if total is not None:
            share = 1.0
            new = FastWeights(*(share * old + fresh for old, fresh in zip(total, new)))
        total = new
    learnt, _ = chunk_update(weights, total, row_norms(weights), muon=muon)
    return swiglu(learnt, queries)


def apply_then_update(weights, queries, keys, values, rates, momentum, chunk, muon):
    lengths, speed, now = row_norms(weights), None, weights
    pieces = zip(queries.split(chunk, 2), keys.split(chunk, 2), values.split(chunk, 2), rates.split(chunk, 3))
    said = []
    for number, (query, key, value, rate) in enumerate(pieces):
        said += [swiglu(now, query)]
        new = fast_gradient(now, key, value, rate)
        share = momentum[..., number] if momentum is not None else None
        now, speed = chunk_update(now, new, lengths, velocity=speed, momentum=share, muon=muon)
    return torch.cat(said, -2)


# %% mutant momentum_one_chunk_late
# In both directions the momentum of a chunk multiplies its own gradient too. It says how much is kept of what was there BEFORE: the gradient of
# chunk c is multiplied by the momenta of chunks c + 1, c + 2 and so on, and that of the last chunk by none.
def update_then_apply(weights, queries, keys, values, rates, momentum, chunk, muon):
    if momentum is not None:
        kept = momentum.flip(-1).cumprod(-1).flip(-1)
        rates = rates * kept.repeat_interleave(chunk, dim=-1)[..., : rates.shape[-1]]
    gradient = fast_gradient(weights, keys, values, rates)
    weights, _ = chunk_update(weights, gradient, row_norms(weights), muon=muon)
    return swiglu(weights, queries)


def apply_then_update(weights, queries, keys, values, rates, momentum, chunk, muon):
    norms, velocity, answers = row_norms(weights), None, []
    for number, start in enumerate(range(0, keys.shape[2], chunk)):
        part = slice(start, start + chunk)
        answers.append(swiglu(weights, queries[:, :, part]))
        gradient = fast_gradient(weights, keys[:, :, part], values[:, :, part], rates[..., part])
        kept = None if momentum is None else momentum[..., number]
        weights, velocity = chunk_update(weights, gradient, norms, velocity, kept, muon)
    return torch.cat(answers, dim=2)


# %% rewritten momentum_one_chunk_late
def update_then_apply(weights, queries, keys, values, rates, momentum, chunk, muon):
    pieces = list(zip(keys.split(chunk, 2), values.split(chunk, 2), rates.split(chunk, 3)))
    total = None
    for number, (key, value, rate) in enumerate(pieces):
        new = fast_gradient(weights, key, value, rate)
        total = total or [0.0 * part for part in new]
        share = 1.0 if momentum is None else momentum[..., number][..., None, None]
        new = FastWeights(*(share * (old + fresh) for old, fresh in zip(total, new)))
        total = new
    learnt, _ = chunk_update(weights, total, row_norms(weights), muon=muon)
    return swiglu(learnt, queries)


def apply_then_update(weights, queries, keys, values, rates, momentum, chunk, muon):
    lengths, speed, now = row_norms(weights), None, weights
    pieces = zip(queries.split(chunk, 2), keys.split(chunk, 2), values.split(chunk, 2), rates.split(chunk, 3))
    said = []
    for number, (query, key, value, rate) in enumerate(pieces):
        said += [swiglu(now, query)]
        new = fast_gradient(now, key, value, rate)
        share = momentum[..., number] if momentum is not None else None
        now, speed = chunk_update(now, new, lengths, velocity=speed, momentum=share, muon=muon)
    return torch.cat(said, -2)


# %% mutant only_the_last_chunk
# In both directions only the last chunk has been learnt when the queries are answered: the gradients of all chunks belong into the step.
def update_then_apply(weights, queries, keys, values, rates, momentum, chunk, muon):
    last = (keys.shape[2] - 1) // chunk * chunk
    gradient = fast_gradient(weights, keys[:, :, last:], values[:, :, last:], rates[..., last:])
    weights, _ = chunk_update(weights, gradient, row_norms(weights), muon=muon)
    return swiglu(weights, queries)


def apply_then_update(weights, queries, keys, values, rates, momentum, chunk, muon):
    norms, velocity, answers = row_norms(weights), None, []
    for number, start in enumerate(range(0, keys.shape[2], chunk)):
        part = slice(start, start + chunk)
        answers.append(swiglu(weights, queries[:, :, part]))
        gradient = fast_gradient(weights, keys[:, :, part], values[:, :, part], rates[..., part])
        kept = None if momentum is None else momentum[..., number]
        weights, velocity = chunk_update(weights, gradient, norms, velocity, kept, muon)
    return torch.cat(answers, dim=2)


# %% rewritten only_the_last_chunk
def update_then_apply(weights, queries, keys, values, rates, momentum, chunk, muon):
    pieces = list(zip(keys.split(chunk, 2), values.split(chunk, 2), rates.split(chunk, 3)))
    total = None
    for number, (key, value, rate) in enumerate(pieces):
        new = fast_gradient(weights, key, value, rate)
        total = new
    learnt, _ = chunk_update(weights, total, row_norms(weights), muon=muon)
    return swiglu(learnt, queries)


def apply_then_update(weights, queries, keys, values, rates, momentum, chunk, muon):
    lengths, speed, now = row_norms(weights), None, weights
    pieces = zip(queries.split(chunk, 2), keys.split(chunk, 2), values.split(chunk, 2), rates.split(chunk, 3))
    said = []
    for number, (query, key, value, rate) in enumerate(pieces):
        said += [swiglu(now, query)]
        new = fast_gradient(now, key, value, rate)
        share = momentum[..., number] if momentum is not None else None
        now, speed = chunk_update(now, new, lengths, velocity=speed, momentum=share, muon=muon)
    return torch.cat(said, -2)
