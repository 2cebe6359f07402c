# %% mutant gate_and_content_swapped
# W2 stands in the gate, and W0 in what it lets through. W0 is the gate: silu belongs around W0 x. The network can still learn, but weights
# that were trained the other way round, and the gradient that you derive next, do not fit it.
def swiglu(weights, x):
    hidden = F.silu(x @ weights.w2.mT) * (x @ weights.w0.mT)
    return hidden @ weights.w1.mT


# %% rewritten gate_and_content_swapped
def swiglu(weights, x):
    columns = x.mT
    b = weights.w2 @ columns
    return (weights.w1 @ (b * b.sigmoid() * (weights.w0 @ columns))).mT


# %% mutant sigmoid_gate
# The gate is a sigmoid. silu(a) is a times sigmoid(a): what you have is a plain gated linear unit, whose gate never says more than 1 and
# is half open where it should be shut, at 0.
def swiglu(weights, x):
    hidden = torch.sigmoid(x @ weights.w0.mT) * (x @ weights.w2.mT)
    return hidden @ weights.w1.mT


# %% rewritten sigmoid_gate
def swiglu(weights, x):
    both = torch.cat([x @ weights.w2.mT, x @ weights.w0.mT], dim=-1)
    return F.glu(both, dim=-1) @ weights.w1.mT


# %% mutant no_product
# W2 is not used: silu(W0 x) alone goes on to W1. The product of the two halves is what makes the unit a gated one.
def swiglu(weights, x):
    return F.silu(x @ weights.w0.mT) @ weights.w1.mT


# %% rewritten no_product
def swiglu(weights, x):
    a = weights.w0 @ x.mT
    return (weights.w1 @ (a / (1 + torch.exp(-a)))).mT


# %% mutant silu_of_the_product
# silu is taken of the product of both halves. It belongs to W0 x alone; W2 x passes as it is, with its sign.
def swiglu(weights, x):
    return F.silu((x @ weights.w0.mT) * (x @ weights.w2.mT)) @ weights.w1.mT


# %% rewritten silu_of_the_product
def swiglu(weights, x):
    a, b = (torch.einsum("...td,...md->...tm", x, matrix) for matrix in (weights.w0, weights.w2))
    product = a * b
    return (weights.w1 @ (product * product.sigmoid()).mT).mT


# %% mutant not_transposed
# The matrices are multiplied from the wrong side: x @ W for a row x computes W^T x. It runs as long as the hidden layer is as wide as a
# head, and W0 x of a row is x @ W0.mT.
def swiglu(weights, x):
    hidden = F.silu(x @ weights.w0) * (x @ weights.w2)
    return hidden @ weights.w1


# %% rewritten not_transposed
def swiglu(weights, x):
    a, b = (torch.einsum("...td,...dm->...tm", x, matrix) for matrix in (weights.w0, weights.w2))
    return torch.einsum("...tm,...md->...td", F.silu(a) * b, weights.w1)


# %% mutant residual
# The input is added to the answer. In a layer of the encoder somebody else does that; the memory must answer a key with its value, and
# not with the key.
def swiglu(weights, x):
    return x + (F.silu(x @ weights.w0.mT) * (x @ weights.w2.mT)) @ weights.w1.mT


# %% rewritten residual
def swiglu(weights, x):
    columns = x.mT
    hidden = F.silu(weights.w0 @ columns) * (weights.w2 @ columns)
    return (columns + weights.w1 @ hidden).mT
