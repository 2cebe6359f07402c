# %% logsumexp
class Softmax:
    def forward(self, x):
        total = np.logaddexp.reduce(x, axis=self.axis, keepdims=True)
        total[total == -np.inf] = 0.0
        self.output = np.exp(x - total)
        return self.output

    def backward(self, gradient):
        weighted = self.output * gradient
        return weighted - self.output * np.sum(weighted, self.axis, keepdims=True)


# %% the whole Jacobian, row by row
class Softmax:
    def forward(self, x):
        def one(row):
            if np.all(np.isneginf(row)):
                return np.zeros_like(row)
            exponentials = np.exp(row - max(row))
            return exponentials / sum(exponentials)

        self.output = np.apply_along_axis(one, self.axis, x)
        return self.output

    def backward(self, gradient):
        p = np.moveaxis(self.output, self.axis, -1)
        g = np.moveaxis(gradient, self.axis, -1)
        jacobian = p[..., :, None] * (np.eye(p.shape[-1]) - p[..., None, :])  # (..., outputs, inputs)
        return np.moveaxis((g[..., None, :] @ jacobian)[..., 0, :], -1, self.axis)
