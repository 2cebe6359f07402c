# %% mutant bias_not_summed
# The gradient of the bias is that of each row, side by side. All rows add the same b: its gradient is a
# single vector, of the shape of b, to which each row adds its part.
class Linear:
    def forward(self, x):
        self.x = x
        y = x @ self.weight.T
        return y if self.bias is None else y + self.bias

    def backward(self, gradient):
        x, g = self.x.reshape(-1, self.x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        self.weight_gradient = g.T @ x
        if self.bias is not None:
            self.bias_gradient = gradient
        return gradient @ self.weight


# %% rewritten bias_not_summed
class Linear:
    def forward(self, x):
        self.given = x
        y = np.einsum("oi,...i->...o", self.weight, x)
        if self.bias is not None:
            y = y + self.bias
        return y

    def backward(self, gradient):
        front = tuple(range(gradient.ndim - 1))
        self.weight_gradient = np.tensordot(gradient, self.given, axes=(front, front))
        self.bias_gradient = None if self.bias is None else gradient * np.ones_like(self.bias)
        return np.einsum("...o,oi->...i", gradient, self.weight)


# %% mutant weight_transposed
# The gradient of the weight comes out as (inputs, outputs). It must lie as the weight does, (outputs,
# inputs), so that it can be subtracted from it; where both sizes are equal, nothing else would tell you.
class Linear:
    def forward(self, x):
        self.x = x
        y = x @ self.weight.T
        return y if self.bias is None else y + self.bias

    def backward(self, gradient):
        x, g = self.x.reshape(-1, self.x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        self.weight_gradient = x.T @ g
        if self.bias is not None:
            self.bias_gradient = g.sum(axis=0)
        return gradient @ self.weight


# %% rewritten weight_transposed
class Linear:
    def forward(self, x):
        self.given = x
        y = np.einsum("oi,...i->...o", self.weight, x)
        if self.bias is not None:
            y = y + self.bias
        return y

    def backward(self, gradient):
        outputs, inputs = self.weight.shape
        total = np.zeros((inputs, outputs))
        for row, g in zip(self.given.reshape(-1, inputs), gradient.reshape(-1, outputs)):
            total += np.outer(row, g)
        self.weight_gradient = total
        if self.bias is not None:
            self.bias_gradient = gradient.reshape(-1, outputs).T @ np.ones(gradient.size // outputs)
        return np.einsum("...o,oi->...i", gradient, self.weight)


# %% mutant batch_axis_left
# With an axis for the batch and one for time, the gradients of the parameters are summed over time alone:
# each utterance keeps one of its own. All utterances use the same W and b, so every axis in front has to be
# summed away.
class Linear:
    def forward(self, x):
        self.x = x
        y = x @ self.weight.T
        return y if self.bias is None else y + self.bias

    def backward(self, gradient):
        self.weight_gradient = gradient.swapaxes(-2, -1) @ self.x
        if self.bias is not None:
            self.bias_gradient = gradient.sum(axis=-2)
        return gradient @ self.weight


# %% rewritten batch_axis_left
class Linear:
    def forward(self, x):
        self.given = x
        y = np.einsum("oi,...i->...o", self.weight, x)
        if self.bias is not None:
            y = y + self.bias
        return y

    def backward(self, gradient):
        self.weight_gradient = np.einsum("...to,...ti->...oi", gradient, self.given)
        if self.bias is not None:
            self.bias_gradient = np.einsum("...to->...o", gradient)
        return np.einsum("...o,oi->...i", gradient, self.weight)


# %% mutant mean_of_rows
# The gradients of the parameters are means over the rows. If the loss is a mean, that division stands in the
# loss, and so already in the gradient that backward is given: here it is made twice.
class Linear:
    def forward(self, x):
        self.x = x
        y = x @ self.weight.T
        return y if self.bias is None else y + self.bias

    def backward(self, gradient):
        x, g = self.x.reshape(-1, self.x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        self.weight_gradient = g.T @ x / len(x)
        if self.bias is not None:
            self.bias_gradient = g.mean(axis=0)
        return gradient @ self.weight


# %% rewritten mean_of_rows
class Linear:
    def forward(self, x):
        self.given = x
        y = np.einsum("oi,...i->...o", self.weight, x)
        if self.bias is not None:
            y = y + self.bias
        return y

    def backward(self, gradient):
        outputs, inputs = self.weight.shape
        products = gradient[..., :, None] * self.given[..., None, :]
        self.weight_gradient = products.reshape(-1, outputs, inputs).mean(axis=0)
        if self.bias is not None:
            self.bias_gradient = np.average(gradient, axis=tuple(range(gradient.ndim - 1)))
        return np.einsum("...o,oi->...i", gradient, self.weight)


# %% mutant adds_up
# Each call of backward adds to the gradients of the calls before. PyTorch does so too, and asks for
# zero_grad() in return; here backward stores them anew, as its docstring says.
class Linear:
    def forward(self, x):
        self.x = x
        y = x @ self.weight.T
        return y if self.bias is None else y + self.bias

    def backward(self, gradient):
        x, g = self.x.reshape(-1, self.x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        self.weight_gradient = self.weight_gradient + g.T @ x
        if self.bias is not None:
            self.bias_gradient = self.bias_gradient + g.sum(axis=0)
        return gradient @ self.weight


# %% rewritten adds_up
class Linear:
    def forward(self, x):
        self.given = x
        y = np.einsum("oi,...i->...o", self.weight, x)
        if self.bias is not None:
            y = y + self.bias
        return y

    def backward(self, gradient):
        outputs, inputs = self.weight.shape
        for row, g in zip(self.given.reshape(-1, inputs), gradient.reshape(-1, outputs)):
            self.weight_gradient += np.outer(g, row)
            if self.bias is not None:
                self.bias_gradient += g
        return np.einsum("...o,oi->...i", gradient, self.weight)
