# %% one_matrix_at_a_time
def chunk_update(weights, gradient, norms, velocity=None, momentum=None, muon=True):
    after, gathered = [], []
    for place in range(3):
        speed = gradient[place]
        if momentum is not None and velocity is not None:
            speed = speed + velocity[place] * momentum.unsqueeze(-1).unsqueeze(-1)
        moved = weights[place] + (orthogonalise(speed) if muon else speed)
        after.append(norms[place] * torch.nn.functional.normalize(moved, dim=-1))
        gathered.append(speed)
    return FastWeights(*after), FastWeights(*gathered)


# %% einsum
def chunk_update(weights, gradient, norms, velocity=None, momentum=None, muon=True):
    if velocity is None or momentum is None:
        speed = gradient
    else:
        momentum = momentum.expand(velocity.w0.shape[0], -1)
        speed = FastWeights(*[torch.einsum("bh,bhij->bhij", momentum, v) + g for g, v in zip(gradient, velocity)])

    def one(matrix, change, size):
        moved = torch.add(matrix, change)
        return moved * size * (moved.square().sum(-1, keepdim=True) + 1e-12).rsqrt()

    changes = [orthogonalise(part, 5) for part in speed] if muon else speed
    return FastWeights(*map(one, weights, changes, norms)), speed
