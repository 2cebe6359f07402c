# %% never_transposed
def orthogonalise(matrix, steps=5):
    a, b, c = NEWTON_SCHULZ
    x = matrix / (matrix.square().sum((-2, -1), keepdim=True) + 1e-12).sqrt()
    for _ in range(steps):
        cube = x @ x.transpose(-1, -2) @ x
        fifth = x @ x.transpose(-1, -2) @ cube
        x = a * x + b * cube + c * fifth
    return x


# %% from_the_right
def orthogonalise(matrix, steps=5):
    if matrix.shape[-1] > matrix.shape[-2]:
        return orthogonalise(matrix.mT, steps).mT
    first, third, fifth = NEWTON_SCHULZ
    x = torch.nn.functional.normalize(matrix.flatten(-2), dim=-1).view_as(matrix)
    eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    for _ in range(steps):
        gram = x.mT @ x
        x = x @ (first * eye + third * gram + fifth * gram @ gram)
    return x
