# %% mutant velocity_is_the_step
# The velocity that is handed on is the orthogonalised step. Momentum gathers gradients: what Muon makes of them has lost how large they
# were, and a chunk that taught nothing would count as much as one that taught a lot.
def chunk_update(weights, gradient, norms, velocity=None, momentum=None, muon=True):
    if velocity is not None and momentum is not None:
        kept = momentum[..., None, None]
        gradient = FastWeights(*(new + kept * old for new, old in zip(gradient, velocity)))
    step = FastWeights(*map(orthogonalise, gradient)) if muon else gradient
    moved = [matrix + change for matrix, change in zip(weights, step)]
    weights = FastWeights(*(matrix * (size / l2_norm(matrix)) for matrix, size in zip(moved, norms)))
    return weights, step


# %% rewritten velocity_is_the_step
def chunk_update(weights, gradient, norms, velocity=None, momentum=None, muon=True):
    after, speeds = [], []
    for place, (matrix, new) in enumerate(zip(weights, gradient)):
        speed = new
        if velocity is not None and momentum is not None:
            share = momentum.unsqueeze(-1).unsqueeze(-1)
            speed = torch.addcmul(new, share, velocity[place])
        change = orthogonalise(speed) if muon else speed
        moved = matrix + change
        after.append(F.normalize(moved, dim=-1) * norms[place])
        speeds.append(change)
    return FastWeights(*after), FastWeights(*speeds)


# %% mutant rows_keep_growing
# The rows are not brought back to their lengths. Each step adds to them, so that in a long utterance the weights grow, and the first weights
# count less and less.
def chunk_update(weights, gradient, norms, velocity=None, momentum=None, muon=True):
    if velocity is not None and momentum is not None:
        kept = momentum[..., None, None]
        gradient = FastWeights(*(new + kept * old for new, old in zip(gradient, velocity)))
    step = FastWeights(*map(orthogonalise, gradient)) if muon else gradient
    moved = [matrix + change for matrix, change in zip(weights, step)]
    weights = FastWeights(*(matrix for matrix, size in zip(moved, norms)))
    return weights, gradient


# %% rewritten rows_keep_growing
def chunk_update(weights, gradient, norms, velocity=None, momentum=None, muon=True):
    after, speeds = [], []
    for place, (matrix, new) in enumerate(zip(weights, gradient)):
        speed = new
        if velocity is not None and momentum is not None:
            share = momentum.unsqueeze(-1).unsqueeze(-1)
            speed = torch.addcmul(new, share, velocity[place])
        change = orthogonalise(speed) if muon else speed
        moved = matrix + change
        after.append(moved)
        speeds.append(speed)
    return FastWeights(*after), FastWeights(*speeds)


# %% mutant columns_brought_back
# The columns get a length, not the rows. A row of W is what one unit looks for; its length is along the last axis.
def chunk_update(weights, gradient, norms, velocity=None, momentum=None, muon=True):
    if velocity is not None and momentum is not None:
        kept = momentum[..., None, None]
        gradient = FastWeights(*(new + kept * old for new, old in zip(gradient, velocity)))
    step = FastWeights(*map(orthogonalise, gradient)) if muon else gradient
    moved = [matrix + change for matrix, change in zip(weights, step)]
    weights = FastWeights(*(matrix * (size.mT / l2_norm(matrix, dim=-2)) for matrix, size in zip(moved, norms)))
    return weights, gradient


# %% rewritten columns_brought_back
def chunk_update(weights, gradient, norms, velocity=None, momentum=None, muon=True):
    after, speeds = [], []
    for place, (matrix, new) in enumerate(zip(weights, gradient)):
        speed = new
        if velocity is not None and momentum is not None:
            share = momentum.unsqueeze(-1).unsqueeze(-1)
            speed = torch.addcmul(new, share, velocity[place])
        change = orthogonalise(speed) if muon else speed
        moved = matrix + change
        after.append(F.normalize(moved, dim=-2) * norms[place].transpose(-1, -2))
        speeds.append(speed)
    return FastWeights(*after), FastWeights(*speeds)


# %% mutant length_one
# The rows come out with length 1. They should get back the lengths that they began with, which are in `norms`.
def chunk_update(weights, gradient, norms, velocity=None, momentum=None, muon=True):
    if velocity is not None and momentum is not None:
        kept = momentum[..., None, None]
        gradient = FastWeights(*(new + kept * old for new, old in zip(gradient, velocity)))
    step = FastWeights(*map(orthogonalise, gradient)) if muon else gradient
    moved = [matrix + change for matrix, change in zip(weights, step)]
    weights = FastWeights(*(matrix / l2_norm(matrix) for matrix, size in zip(moved, norms)))
    return weights, gradient


# %% rewritten length_one
def chunk_update(weights, gradient, norms, velocity=None, momentum=None, muon=True):
    after, speeds = [], []
    for place, (matrix, new) in enumerate(zip(weights, gradient)):
        speed = new
        if velocity is not None and momentum is not None:
            share = momentum.unsqueeze(-1).unsqueeze(-1)
            speed = torch.addcmul(new, share, velocity[place])
        change = orthogonalise(speed) if muon else speed
        moved = matrix + change
        after.append(F.normalize(moved, dim=-1))
        speeds.append(speed)
    return FastWeights(*after), FastWeights(*speeds)


# %% mutant lengths_of_now
# The rows get the lengths that they have now, not those in `norms`. In a long utterance rounding errors add up, and whoever passes other
# lengths is not listened to.
def chunk_update(weights, gradient, norms, velocity=None, momentum=None, muon=True):
    if velocity is not None and momentum is not None:
        kept = momentum[..., None, None]
        gradient = FastWeights(*(new + kept * old for new, old in zip(gradient, velocity)))
    step = FastWeights(*map(orthogonalise, gradient)) if muon else gradient
    moved = [matrix + change for matrix, change in zip(weights, step)]
    weights = FastWeights(*(matrix * (size / l2_norm(matrix)) for matrix, size in zip(moved, row_norms(weights))))
    return weights, gradient


# %% rewritten lengths_of_now
def chunk_update(weights, gradient, norms, velocity=None, momentum=None, muon=True):
    after, speeds = [], []
    for place, (matrix, new) in enumerate(zip(weights, gradient)):
        speed = new
        if velocity is not None and momentum is not None:
            share = momentum.unsqueeze(-1).unsqueeze(-1)
            speed = torch.addcmul(new, share, velocity[place])
        change = orthogonalise(speed) if muon else speed
        moved = matrix + change
        after.append(F.normalize(moved, dim=-1) * l2_norm(matrix))
        speeds.append(speed)
    return FastWeights(*after), FastWeights(*speeds)


# %% mutant running_mean
# The velocity is a running mean, (1 - momentum) * gradient + momentum * velocity. Here momentum is added to the whole gradient, so that
# the first chunk, which has no velocity yet, counts like the others.
def chunk_update(weights, gradient, norms, velocity=None, momentum=None, muon=True):
    if velocity is not None and momentum is not None:
        kept = momentum[..., None, None]
        gradient = FastWeights(*((1 - kept) * new + kept * old for new, old in zip(gradient, velocity)))
    step = FastWeights(*map(orthogonalise, gradient)) if muon else gradient
    moved = [matrix + change for matrix, change in zip(weights, step)]
    weights = FastWeights(*(matrix * (size / l2_norm(matrix)) for matrix, size in zip(moved, norms)))
    return weights, gradient


# %% rewritten running_mean
def chunk_update(weights, gradient, norms, velocity=None, momentum=None, muon=True):
    after, speeds = [], []
    for place, (matrix, new) in enumerate(zip(weights, gradient)):
        speed = new
        if velocity is not None and momentum is not None:
            share = momentum.unsqueeze(-1).unsqueeze(-1)
            speed = torch.lerp(new, velocity[place], share)
        change = orthogonalise(speed) if muon else speed
        moved = matrix + change
        after.append(F.normalize(moved, dim=-1) * norms[place])
        speeds.append(speed)
    return FastWeights(*after), FastWeights(*speeds)


# %% mutant momentum_ignored
# The old velocity is not used. The velocity is gradient + momentum * velocity, where both are given.
def chunk_update(weights, gradient, norms, velocity=None, momentum=None, muon=True):
    if velocity is not None and momentum is not None:
        kept = momentum[..., None, None]
        gradient = FastWeights(*(new for new, old in zip(gradient, velocity)))
    step = FastWeights(*map(orthogonalise, gradient)) if muon else gradient
    moved = [matrix + change for matrix, change in zip(weights, step)]
    weights = FastWeights(*(matrix * (size / l2_norm(matrix)) for matrix, size in zip(moved, norms)))
    return weights, gradient


# %% rewritten momentum_ignored
def chunk_update(weights, gradient, norms, velocity=None, momentum=None, muon=True):
    after, speeds = [], []
    for place, (matrix, new) in enumerate(zip(weights, gradient)):
        speed = new
        if velocity is not None and momentum is not None:
            share = momentum.unsqueeze(-1).unsqueeze(-1)
            speed = new
        change = orthogonalise(speed) if muon else speed
        moved = matrix + change
        after.append(F.normalize(moved, dim=-1) * norms[place])
        speeds.append(speed)
    return FastWeights(*after), FastWeights(*speeds)


# %% mutant subtracted
# The step is subtracted. fast_gradient gives the way in which the weights should go: add it.
def chunk_update(weights, gradient, norms, velocity=None, momentum=None, muon=True):
    if velocity is not None and momentum is not None:
        kept = momentum[..., None, None]
        gradient = FastWeights(*(new + kept * old for new, old in zip(gradient, velocity)))
    step = FastWeights(*map(orthogonalise, gradient)) if muon else gradient
    moved = [matrix - change for matrix, change in zip(weights, step)]
    weights = FastWeights(*(matrix * (size / l2_norm(matrix)) for matrix, size in zip(moved, norms)))
    return weights, gradient


# %% rewritten subtracted
def chunk_update(weights, gradient, norms, velocity=None, momentum=None, muon=True):
    after, speeds = [], []
    for place, (matrix, new) in enumerate(zip(weights, gradient)):
        speed = new
        if velocity is not None and momentum is not None:
            share = momentum.unsqueeze(-1).unsqueeze(-1)
            speed = torch.addcmul(new, share, velocity[place])
        change = orthogonalise(speed) if muon else speed
        moved = matrix.sub(change)
        after.append(F.normalize(moved, dim=-1) * norms[place])
        speeds.append(speed)
    return FastWeights(*after), FastWeights(*speeds)


# %% mutant muon_before_momentum
# The gradient is orthogonalised before momentum is added. Muon comes last: what has been gathered over several chunks is made orthogonal,
# as it is added.
def chunk_update(weights, gradient, norms, velocity=None, momentum=None, muon=True):
    gradient = FastWeights(*map(orthogonalise, gradient)) if muon else gradient
    if velocity is not None and momentum is not None:
        kept = momentum[..., None, None]
        gradient = FastWeights(*(new + kept * old for new, old in zip(gradient, velocity)))
    step = gradient
    moved = [matrix + change for matrix, change in zip(weights, step)]
    weights = FastWeights(*(matrix * (size / l2_norm(matrix)) for matrix, size in zip(moved, norms)))
    return weights, gradient


# %% rewritten muon_before_momentum
def chunk_update(weights, gradient, norms, velocity=None, momentum=None, muon=True):
    after, speeds = [], []
    for place, (matrix, new) in enumerate(zip(weights, gradient)):
        new = orthogonalise(new) if muon else new
        speed = new
        if velocity is not None and momentum is not None:
            share = momentum.unsqueeze(-1).unsqueeze(-1)
            speed = torch.addcmul(new, share, velocity[place])
        change = speed
        moved = matrix + change
        after.append(F.normalize(moved, dim=-1) * norms[place])
        speeds.append(speed)
    return FastWeights(*after), FastWeights(*speeds)
