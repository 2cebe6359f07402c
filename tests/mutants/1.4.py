# %% mutant overflow
# The exponentials are taken of the numbers as they come. exp(710) is already more than a double holds, and a
# score of 1000 becomes inf / inf = NaN; the same numbers with a constant taken off all of them have the same
# softmax.
class Softmax:
    def forward(self, x):
        exponentials = np.exp(x)
        self.p = exponentials / exponentials.sum(axis=self.axis, keepdims=True)
        return self.p

    def backward(self, gradient):
        return self.p * (gradient - (gradient * self.p).sum(axis=self.axis, keepdims=True))


# %% rewritten overflow
class Softmax:
    def forward(self, x):
        x = np.moveaxis(x, self.axis, -1)
        total = np.exp(x) @ np.ones((x.shape[-1], 1))
        self.p = np.moveaxis(np.exp(x) / total, -1, self.axis)
        return self.p

    def backward(self, gradient):
        weighted = self.p * gradient
        return weighted - self.p * np.sum(weighted, self.axis, keepdims=True)


# %% mutant diagonal_only
# The backward pass takes each output to depend on its own input alone, as if softmax were a sigmoid: only the
# diagonal of the Jacobian is there. All outputs share one denominator, so every input moves every output.
class Softmax:
    def forward(self, x):
        largest = x.max(axis=self.axis, keepdims=True)
        exponentials = np.exp(x - np.where(largest == -np.inf, 0.0, largest))
        total = exponentials.sum(axis=self.axis, keepdims=True)
        self.p = exponentials / np.where(total == 0.0, 1.0, total)
        return self.p

    def backward(self, gradient):
        return gradient * self.p * (1 - self.p)


# %% rewritten diagonal_only
class Softmax:
    def forward(self, x):
        top = np.max(x, axis=self.axis, keepdims=True)
        top[np.isinf(top)] = 0
        self.p = np.exp(x - top)
        self.p /= np.maximum(self.p.sum(self.axis, keepdims=True), 1e-300)
        return self.p

    def backward(self, gradient):
        diagonal = self.p - self.p**2
        return diagonal * gradient


# %% mutant last_axis
# The sums always run along the last axis, whatever `axis` the layer was made with. Along the axis that was
# asked for, the probabilities do not sum to 1.
class Softmax:
    def forward(self, x):
        largest = x.max(axis=-1, keepdims=True)
        exponentials = np.exp(x - np.where(largest == -np.inf, 0.0, largest))
        total = exponentials.sum(axis=-1, keepdims=True)
        self.p = exponentials / np.where(total == 0.0, 1.0, total)
        return self.p

    def backward(self, gradient):
        return self.p * (gradient - (gradient * self.p).sum(axis=-1, keepdims=True))


# %% rewritten last_axis
class Softmax:
    def forward(self, x):
        rows = []
        for row in x.reshape(-1, x.shape[-1]):
            if (row == -np.inf).all():
                rows.append(np.zeros_like(row))
            else:
                exponentials = np.exp(row - row.max())
                rows.append(exponentials / exponentials.sum())
        self.p = np.array(rows).reshape(x.shape)
        return self.p

    def backward(self, gradient):
        inner = np.einsum("...i,...i->...", self.p, gradient)
        return self.p * gradient - self.p * inner[..., None]


# %% mutant empty_row
# A row that is minus infinity throughout comes out as NaN: the largest number is -inf, and -inf - (-inf) is
# not a number. Such rows stand for a query that may attend to nothing, and one of them makes the loss of the
# whole batch NaN.
class Softmax:
    def forward(self, x):
        exponentials = np.exp(x - x.max(axis=self.axis, keepdims=True))
        self.p = exponentials / exponentials.sum(axis=self.axis, keepdims=True)
        return self.p

    def backward(self, gradient):
        return self.p * (gradient - (gradient * self.p).sum(axis=self.axis, keepdims=True))


# %% rewritten empty_row
class Softmax:
    def forward(self, x):
        logarithm = np.logaddexp.reduce(x, axis=self.axis, keepdims=True)
        self.p = np.exp(x - logarithm)
        return self.p

    def backward(self, gradient):
        weighted = self.p * gradient
        return weighted - self.p * np.sum(weighted, self.axis, keepdims=True)


# %% mutant plain_mean
# The backward pass takes off the plain mean of the gradient. The sum in dL/dx_j = sum_i g_i dp_i/dx_j weighs
# each g_i with its probability p_i; a likely output counts for more.
class Softmax:
    def forward(self, x):
        largest = x.max(axis=self.axis, keepdims=True)
        exponentials = np.exp(x - np.where(largest == -np.inf, 0.0, largest))
        total = exponentials.sum(axis=self.axis, keepdims=True)
        self.p = exponentials / np.where(total == 0.0, 1.0, total)
        return self.p

    def backward(self, gradient):
        return self.p * (gradient - gradient.mean(axis=self.axis, keepdims=True))


# %% rewritten plain_mean
class Softmax:
    def forward(self, x):
        top = np.max(x, axis=self.axis, keepdims=True)
        top[np.isinf(top)] = 0
        self.p = np.exp(x - top)
        self.p /= np.maximum(self.p.sum(self.axis, keepdims=True), 1e-300)
        return self.p

    def backward(self, gradient):
        size = gradient.shape[self.axis]
        return self.p * gradient - self.p * np.sum(gradient, self.axis, keepdims=True) / size
