# %% mutant not_divided_first
# The matrix is not divided by its length first. The polynomial brings singular values up to 1 close to 1; larger ones grow with their fifth
# power at each step.
def orthogonalise(matrix, steps=5):
    a, b, c = NEWTON_SCHULZ
    x = matrix
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * (square @ square)) @ x
    return x


# %% rewritten not_divided_first
def orthogonalise(matrix, steps=5):
    a, b, c = NEWTON_SCHULZ
    for _ in range(steps):
        cube = matrix @ matrix.mT @ matrix
        matrix = a * matrix + b * cube + c * (matrix @ matrix.mT @ cube)
    return matrix


# %% mutant rows_divided
# Each row is divided by its own length. That changes the directions in which the matrix stretches, and a matrix of several such rows can
# still have singular values above 1. The whole matrix has one length.
def orthogonalise(matrix, steps=5):
    a, b, c = NEWTON_SCHULZ
    x = matrix / l2_norm(matrix, dim=-1)
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * (square @ square)) @ x
    return x


# %% rewritten rows_divided
def orthogonalise(matrix, steps=5):
    a, b, c = NEWTON_SCHULZ
    matrix = F.normalize(matrix, dim=-1)
    for _ in range(steps):
        cube = matrix @ matrix.mT @ matrix
        matrix = a * matrix + b * cube + c * (matrix @ matrix.mT @ cube)
    return matrix


# %% mutant all_heads_divided_together
# The length is taken over the whole tensor, all heads and utterances together. Each matrix has its own length; with a common one, what an
# utterance learns depends on the others of its batch.
def orthogonalise(matrix, steps=5):
    a, b, c = NEWTON_SCHULZ
    x = matrix / (matrix.square().sum() + 1e-12).sqrt()
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * (square @ square)) @ x
    return x


# %% rewritten all_heads_divided_together
def orthogonalise(matrix, steps=5):
    a, b, c = NEWTON_SCHULZ
    matrix = F.normalize(matrix.flatten(), dim=0).view_as(matrix)
    for _ in range(steps):
        cube = matrix @ matrix.mT @ matrix
        matrix = a * matrix + b * cube + c * (matrix @ matrix.mT @ cube)
    return matrix


# %% mutant nan_at_zero
# A matrix of zeros becomes NaN: 0 / 0. There are such matrices, wherever all frames of a chunk are padding, and one NaN spoils the weights
# of the whole utterance. l2_norm has an eps inside its root.
def orthogonalise(matrix, steps=5):
    a, b, c = NEWTON_SCHULZ
    x = matrix / matrix.norm(dim=(-2, -1), keepdim=True)
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * (square @ square)) @ x
    return x


# %% rewritten nan_at_zero
def orthogonalise(matrix, steps=5):
    a, b, c = NEWTON_SCHULZ
    matrix = matrix / matrix.square().sum((-2, -1), keepdim=True).sqrt()
    for _ in range(steps):
        cube = matrix @ matrix.mT @ matrix
        matrix = a * matrix + b * cube + c * (matrix @ matrix.mT @ cube)
    return matrix


# %% mutant no_fifth_power
# The term with c is missing. a and b alone turn large singular values negative and let them grow; the three coefficients belong together.
def orthogonalise(matrix, steps=5):
    a, b, _ = NEWTON_SCHULZ
    x = matrix / l2_norm(matrix, dim=(-2, -1))
    for _ in range(steps):
        x = a * x + b * (x @ x.mT) @ x
    return x


# %% rewritten no_fifth_power
def orthogonalise(matrix, steps=5):
    x = matrix / l2_norm(matrix, dim=(-2, -1))
    for _ in range(steps):
        x = NEWTON_SCHULZ[0] * x + NEWTON_SCHULZ[1] * x @ (x.mT @ x)
    return x


# %% mutant always_one_step
# The line is computed once, whatever `steps` says. One step more than triples the small singular values and leaves them small; it takes
# about five until all of them are near 1.
def orthogonalise(matrix, steps=5):
    a, b, c = NEWTON_SCHULZ
    x = matrix / l2_norm(matrix, dim=(-2, -1))
    square = x @ x.mT
    return a * x + (b * square + c * (square @ square)) @ x


# %% rewritten always_one_step
def orthogonalise(matrix, steps=5):
    a, b, c = NEWTON_SCHULZ
    x = F.normalize(matrix.flatten(-2), dim=-1).view_as(matrix)
    cube = x @ x.mT @ x
    return a * x + b * cube + c * (x @ x.mT @ cube)


# %% mutant not_transposed_back
# A matrix with more rows than columns comes back lying on its side. What was transposed for cheaper products has to be transposed back.
def orthogonalise(matrix, steps=5):
    a, b, c = NEWTON_SCHULZ
    x = matrix.mT if matrix.shape[-2] > matrix.shape[-1] else matrix
    x = x / l2_norm(x, dim=(-2, -1))
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * (square @ square)) @ x
    return x


# %% rewritten not_transposed_back
def orthogonalise(matrix, steps=5):
    a, b, c = NEWTON_SCHULZ
    x = F.normalize(matrix.flatten(-2), dim=-1).view_as(matrix)
    for _ in range(steps):
        cube = x @ x.mT @ x
        x = a * x + b * cube + c * (x @ x.mT @ cube)
    return x.transpose(-1, -2) if x.size(-2) > x.size(-1) else x
