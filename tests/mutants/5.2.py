# %% mutant no_relu
# There is no ReLU between the two layers. Two linear maps one after the other are a single linear map, and no number of layers makes more of it.
class FeedForward:
    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.linear1(x)))


# %% rewritten no_relu
class FeedForward:
    def forward(self, x: Tensor) -> Tensor:
        hidden = x @ self.linear1.weight.T + self.linear1.bias
        return self.dropout(hidden) @ self.linear2.weight.T + self.linear2.bias


# %% mutant relu_at_the_end
# The ReLU stands behind the second layer. What the block adds to the residual stream can then never be negative, and the two linear
# maps are still one.
class FeedForward:
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear2(self.dropout(self.linear1(x))))


# %% rewritten relu_at_the_end
class FeedForward:
    def forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(self.linear1(x))
        return self.linear2(hidden).clamp(min=0)


# %% mutant relu_twice
# A second ReLU stands behind the second layer. What the block adds to the residual stream can then never be negative.
class FeedForward:
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear2(self.dropout(F.relu(self.linear1(x)))))


# %% rewritten relu_twice
class FeedForward:
    def forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(self.linear1(x).clamp(min=0))
        return self.linear2(hidden).clamp(min=0)


# %% mutant dropout_forgotten
# Nothing is dropped in training mode. The model learns the training speech by heart sooner, and does worse on the rest.
class FeedForward:
    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(F.relu(self.linear1(x)))


# %% rewritten dropout_forgotten
class FeedForward:
    def forward(self, x: Tensor) -> Tensor:
        hidden = (x @ self.linear1.weight.T + self.linear1.bias).clamp(min=0)
        return hidden @ self.linear2.weight.T + self.linear2.bias


# %% mutant dropout_on_the_output
# Dropout acts on the output in place of the hidden units. The encoder layer drops the output already: it would happen twice there, and
# never inside.
class FeedForward:
    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.linear2(F.relu(self.linear1(x))))


# %% rewritten dropout_on_the_output
class FeedForward:
    def forward(self, x: Tensor) -> Tensor:
        hidden = (x @ self.linear1.weight.T + self.linear1.bias).clamp(min=0)
        output = hidden @ self.linear2.weight.T + self.linear2.bias
        return F.dropout(output, self.dropout.p, self.training)


# %% mutant dropout_at_evaluation
# Hidden units are dropped in evaluation mode too: F.dropout does so unless it is told the mode. The same sound then gives another text each time.
class FeedForward:
    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(F.dropout(F.relu(self.linear1(x)), self.dropout.p))


# %% rewritten dropout_at_evaluation
class FeedForward:
    def forward(self, x: Tensor) -> Tensor:
        import torch

        hidden = self.linear1(x).clamp(min=0)
        kept = torch.rand_like(hidden) >= self.dropout.p
        return self.linear2(hidden * kept / (1 - self.dropout.p))


# %% mutant residual_inside
# The input is added to the output here. The encoder layer adds it as well, so that the stream would double with each block.
class FeedForward:
    def forward(self, x: Tensor) -> Tensor:
        return x + self.linear2(self.dropout(F.relu(self.linear1(x))))


# %% rewritten residual_inside
class FeedForward:
    def forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(self.linear1(x).clamp(min=0))
        output = hidden @ self.linear2.weight.T + self.linear2.bias
        output += x
        return output
