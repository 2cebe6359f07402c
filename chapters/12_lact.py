# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 12 · LaCT: layers that learn while they listen
#
# Self-attention keeps all that it has heard and looks through all of it for every frame. In this chapter you replace it by a
# small network that *learns* what it hears, by gradient descent, while the utterance goes on, and forgets it afterwards. You
# write its gradient by hand, decide how far its weights go in a step, and in which order it reads and answers. Then you
# measure what it remembers, what it costs, and what a recogniser made of it learns.
#
# **You need** chapters [05](05_encoder.ipynb) (the encoder) and [03](03_masks_padding_batches.ipynb) (padding). Some patience with
# the chain rule helps; the deep dive of chapter 01 has more of it. **Time**: about 3 hours; the core exercises take half of them.
#
# | exercise | what you write | minutes | difficulty | |
# |---|---|---|---|---|
# | 12.1 | the memory's network | 10 | 2 | core |
# | 12.2 | its gradient, by hand | 25 | 4 | core |
# | 12.3 | how fast each frame is learnt | 15 | 2 | core |
# | 12.4 | Muon: all directions alike | 15 | 3 | optional |
# | 12.5 | one step of the memory | 20 | 3 | core |
# | 12.6 | two orders: learn first, or answer first | 20 | 4 | core |

# %%
from asr_tutorial.course import check, exercise, here, show

here("12")

# %%
import json
import math
import time

import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.nn import functional as F

from asr_tutorial import plots
from asr_tutorial.config import FeaturesConfig, LactConfig, ModelConfig, load_config
from asr_tutorial.corpus import read_corpus, select
from asr_tutorial.corpus.read import REPOSITORY
from asr_tutorial.ctc import best_path
from asr_tutorial.dataset import FeatureStore, SpeechDataset, SpeechLoader
from asr_tutorial.encoder import Encoder, EncoderLayer
from asr_tutorial.features import MVN
from asr_tutorial.lact import FastWeights, LactEncoder, LactLayer, l2_norm, row_norms
from asr_tutorial.masks import padding_mask
from asr_tutorial.metrics import cer
from asr_tutorial.model import build_model
from asr_tutorial.tokenizer import CharTokenizer

RESULTS = REPOSITORY / "data" / "results"

# %% [markdown]
# ## What attention pays for its memory
#
# For $T$ frames each head of [self-attention](../docs/glossary.md#self-attention) computes $T \times T$ scores. A sentence of
# 6 s has 150 encoder frames of 40 ms, and $150^2 = 22\,500$ scores: nothing. A lecture of one hour has 90,000 frames, and
# 8,100,000,000 scores per head and layer. The reason is that attention keeps every [key](../docs/glossary.md#key) and every
# [value](../docs/glossary.md#value) and compares each [query](../docs/glossary.md#query) with all of them.
#
# Suppose that you may keep only one matrix $W$, of the size $d \times d$, however long the recording is. How do you put pairs
# of a key $k$ and a value $v$ into it, so that $W k$ gives $v$ back? The oldest answer is to add up outer products:
#
# $$W \leftarrow W + v\,k^\top.$$
#
# **By hand**, with $d = 2$. Store $k_1 = (1, 0)$, $v_1 = (3, 1)$ and $k_2 = (0, 1)$, $v_2 = (-1, 2)$:
#
# $$W = v_1 k_1^\top + v_2 k_2^\top = \begin{pmatrix} 3 & -1 \\ 1 & 2 \end{pmatrix}, \qquad W k_1 = (3, 1) = v_1.$$
#
# It works because $k_1^\top k_2 = 0$. With $k_2 = (0.6, 0.8)$ in its place, $W k_1 = v_1 + 0.6\, v_2 = (2.4, 2.2)$: what was
# stored under one key sounds in the answer to another. In $d$ dimensions there is room for $d$ keys at right angles, and no more.
#
# Two things make this worth a chapter. First, the formula is a step of gradient descent. Take as loss of a pair
#
# $$\mathcal{L} = -\,v^\top (W k), \qquad \text{so} \qquad -\frac{\partial \mathcal{L}}{\partial W} = v\,k^\top:$$
#
# the better the answer points the way of the value, the lower the loss. *To store is to learn.* Second, then, nothing forces
# us to learn a matrix. Any network $f$ will do, with the loss $-v^\top f(k)$, and a larger one remembers more. Its
# weights are called [fast weights](../docs/glossary.md#fast-weights): they change with every utterance, while ordinary, slow weights change with training. A layer
# with such a memory is a [test-time-training](../docs/glossary.md#test-time-training) layer, since it goes on learning when it is used.
#
# The memory of this chapter is that of LaCT (Zhang et al. 2025). The *large chunks* of its name are the third idea: a step after
# every frame would be thousands of tiny matrix products, one after the other. A step for a [chunk](../docs/glossary.md#chunk) of many frames at once is a few
# large products, which is what processors are good at.
#
# ## The memory's network
#
# For a row $x$, the network is a [SwiGLU](../docs/glossary.md#swiglu):
#
# $$f(x) = W_1\,\bigl(\mathrm{silu}(W_0\,x) \odot W_2\,x\bigr), \qquad \mathrm{silu}(a) = a\,\sigma(a) = \frac{a}{1 + e^{-a}},$$
#
# where $\odot$ multiplies element by element. With $d$ the width of a head and $m$ hidden units, $W_0$ and $W_2$ have the shape
# $(m, d)$ and $W_1$ has $(d, m)$. Each hidden unit has two halves: the *gate* $a = W_0 x$ decides how much comes through, and
# $b = W_2 x$ is what comes through. It has no biases.
#
# **By hand.** One hidden unit, $W_0 = (1, 0)$, $W_2 = (0, 2)$, $W_1 = (1, -1)^\top$, and $x = (1, 3)$. Then $a = 1$, $b = 6$,
# $\sigma(1) = 0.7311$, the hidden unit is $h = 0.7311 \cdot 6 = 4.3864$, and $f(x) = (4.3864, -4.3864)$. With $x = (0, 3)$
# the gate is shut, and the answer is $(0, 0)$.
#
# Every head has a network of its own. Attention has many narrow heads; a memory has few wide ones, because what it can hold
# grows with the *square* of its width: $3\,d\,m$ weights.
#
# **Exercise 12.1** · 10 minutes · difficulty 2 of 5 · core
#
# Write `swiglu`. `F` is known in the function.

# %%
show("lact.fast_weights.FastWeights")


# %%
@exercise("12.1")
def swiglu(weights: FastWeights, x: Tensor) -> Tensor:
    """What the network answers: ``W1 (silu(W0 x) * W2 x)`` for each row x (Shazeer 2020).

    Args:
        weights: of each head.
        x: (batch, heads, frames, d_head), one row a frame.

    Returns:
        (batch, heads, frames, d_head).
    """
    raise NotImplementedError("exercise 12.1")


# %%
swiglu = check("12.1")

# %% [markdown]
# Stuck? `asr-tutorial hint 12.1` in a terminal, one hint at a time.
#
# **Try it** on the numbers from above.

# %%
tiny = FastWeights(*(torch.tensor(rows)[None, None] for rows in ([[1.0, 0.0]], [[1.0], [-1.0]], [[0.0, 2.0]])))
for row in ([1.0, 3.0], [0.0, 3.0], [-3.0, 3.0]):
    answer = swiglu(tiny, torch.tensor(row)[None, None, None])[0, 0, 0]
    print(f"f({row}) = ({answer[0]:.3f}, {answer[1]:.3f})")

# %% [markdown]
# ## Its gradient, by hand
#
# For one frame with key $k$ and value $v$ the loss is $-v^\top f(k)$. We want minus its gradient by each of the three matrices.
# Forward, in small steps:
#
# $$a = W_0 k, \quad b = W_2 k, \quad h = \mathrm{silu}(a) \odot b, \quad f = W_1 h.$$
#
# And back. $v^\top W_1 h$ is linear in $W_1$, so that its part is an outer product, as for the plain matrix; and $W_1$ sends the
# value back to the hidden units:
#
# $$W_1:\; v\,h^\top, \qquad\qquad g = W_1^\top v.$$
#
# A hidden unit is a product, and the derivative of a product by one half is the *other* half. Then comes the bend of the gate,
# and last the key, which both halves were made of:
#
# $$W_2:\; \bigl(g \odot \mathrm{silu}(a)\bigr)\,k^\top, \qquad W_0:\; \bigl(g \odot b \odot \mathrm{silu}'(a)\bigr)\,k^\top.$$
#
# The derivative of $\mathrm{silu}(a) = a\,s$, with $s = \sigma(a)$ and $s' = s(1 - s)$, has two terms:
#
# $$\mathrm{silu}'(a) = s + a\,s\,(1 - s) = s\,\bigl(1 + a\,(1 - s)\bigr).$$
#
# **By hand**, with the network from above, $k = (1, 3)$ and $v = (1, 0)$: $a = 1$, $b = 6$, $h = 4.3864$ and
# $g = W_1^\top v = 1$. So $W_1$ gets $v h^\top = (4.3864, 0)^\top$; $W_2$ gets $0.7311 \cdot (1, 3) = (0.7311, 2.1932)$;
# $\mathrm{silu}'(1) = 0.7311 \cdot (1 + 0.2689) = 0.9277$, and $W_0$ gets $6 \cdot 0.9277 \cdot (1, 3) = (5.566, 16.698)$.
#
# Over the frames of a chunk these are summed, each with a learning rate $\eta_t$ of its own, one for each of the matrices. A sum
# of outer products is one matrix product: $\sum_t \eta_t\, l_t\, r_t^\top = L^\top R$, with $\eta_t\, l_t$ in the rows of
# $L$ and $r_t$ in those of $R$. No loop over frames is needed.
#
# Why not leave it to autograd? Because there are two trainings, one inside the other. The inner one changes the fast weights
# while an utterance is read, in recognition too, where autograd is switched off. The outer one is ordinary training: it asks how
# the keys, the values, the rates and the *first* fast weights should change, so that what the inner one learns is of use. It
# differentiates *through* the inner step, which is easy if that is a handful of matrix products.
#
# **Exercise 12.2** · 25 minutes · difficulty 4 of 5 · core
#
# Write `fast_gradient`. What it returns is added to the weights, so there is no minus sign left in it.


# %%
@exercise("12.2")
def fast_gradient(weights: FastWeights, keys: Tensor, values: Tensor, rates: Tensor) -> FastWeights:
    """The way in which the weights should go: down the loss ``-<f(key), value>`` of each frame.

    The gradients are written by hand. As plain matrix products they can themselves be differentiated, which training
    does: it asks how the first values of the weights, the keys, the values and the rates should change so that what is
    learnt in the utterance helps. With ``a = W0 k``, ``b = W2 k``, ``h = silu(a) * b`` and ``f = W1 h`` the negative
    gradients of the loss are ``v h^T`` for W1 and, with ``g = W1^T v``, ``(g * b * silu'(a)) k^T`` for W0 and
    ``(g * silu(a)) k^T`` for W2, where ``silu'(a) = s (1 + a (1 - s))`` and s is the sigmoid of a.

    Args:
        weights: where the gradient is taken.
        keys: (batch, heads, frames, d_head).
        values: the same.
        rates: (3, batch, heads, frames), the learning rate of each frame for W0, W1 and W2; 0 where a frame is not to
            be learnt.

    Returns:
        For each matrix the sum over the frames of rate times negative gradient: what is added to the weights.
    """
    raise NotImplementedError("exercise 12.2")


# %%
fast_gradient = check("12.2")

# %% [markdown]
# Stuck? `asr-tutorial hint 12.2` in a terminal, one hint at a time.
#
# **Try it.** `first_weights` makes a random memory; `random_pairs` makes keys and values of length 1. One step in the direction
# of your gradient must lower the loss, and the opposite step must raise it.


# %%
def first_weights(width: int, seed: int = 1) -> FastWeights:
    """One head with as many hidden units as its width; rows of length about 1."""
    generator = torch.Generator().manual_seed(seed)
    return FastWeights(*(torch.randn(1, 1, width, width, generator=generator) / math.sqrt(width) for _ in range(3)))


def random_pairs(count: int, width: int = 32, batch: int = 8) -> tuple[Tensor, Tensor]:
    """Keys and values (batch, 1, count, width), each of length 1."""
    generator = torch.Generator().manual_seed(count)
    keys, values = torch.randn(2, batch, 1, count, width, generator=generator)
    return F.normalize(keys, dim=-1), F.normalize(values, dim=-1)


weights, (keys, values) = first_weights(32), random_pairs(16)
gradient = fast_gradient(weights, keys, values, torch.ones(3, 8, 1, 16))
for size in (-1.0, 0.0, 1.0):
    moved = FastWeights(*(matrix + size * change for matrix, change in zip(weights, gradient, strict=True)))
    loss = -(swiglu(moved, keys) * values).sum(-1).mean()
    print(f"step {size:4.1f} times the gradient: mean loss {loss:.3f}")

# %% [markdown]
# ## How fast to learn
#
# Not every frame is worth remembering: silence teaches nothing, and [padding](../docs/glossary.md#padding) must not teach at all.
# The rates are therefore computed from the frames, by a linear layer on the stream $x$ with three outputs for each head:
#
# $$\eta = \mathrm{softplus}\bigl(\mathrm{linear}(x) + c\bigr), \qquad \mathrm{softplus}(z) = \ln(1 + e^z).$$
#
# Softplus is positive everywhere and a straight line for large $z$. The constant $c$ is chosen so that the rate is the configured
# one, `base_lr`, where the linear layer says 0: $c = \ln(e^{\eta_0} - 1)$, the inverse of softplus.
#
# **By hand**, for $\eta_0 = 0.01$: $e^{0.01} - 1 = 0.01005$, $c = \ln 0.01005 = -4.600$. And back: $\ln(1 + 0.01005) = 0.01$. If
# the linear layer says 2, then $z = -2.6$ and the rate is $0.0717$: about $e^2$ times as fast.
#
# Two details matter. Rates of padding are 0 *exactly*, so they are set after softplus: $\mathrm{softplus}(0) = 0.69$. And all of
# the memory is computed with 32 bits, also where the rest of the model has 16: bfloat16 has 8 binary digits, and $1 + 0.003$ is 1
# in it.
#
# **Exercise 12.3** · 15 minutes · difficulty 2 of 5 · core
#
# Write `Memory.learning_rates`. The linear layer is `self.rate_head`, $c$ is `self.base_rate`. Of its outputs the first
# `self.heads` belong to $W_0$, the next ones to $W_1$, the last to $W_2$.

# %%
show("lact.fast_weights.Memory.__init__")


# %%
@exercise("12.3")
class Memory:  # these methods become part of asr_tutorial.lact.fast_weights.Memory
    def learning_rates(self, x: Tensor, padding: Tensor) -> Tensor:
        """How fast each frame is learnt: ``softplus(linear(x) + softplus^-1(base_lr))``, in fp32.

        A rate is positive whatever the linear layer says, and ``base_lr`` where it says nothing (``self.base_rate`` is
        the number whose softplus that is). Padding is never learnt: its rate is 0.

        Args:
            x: (batch, frames, d_model).
            padding: (batch, frames) boolean, True = real.

        Returns:
            (3, batch, heads, frames): for W0, W1 and W2.
        """
        raise NotImplementedError("exercise 12.3")


# %%
Memory = check("12.3")

# %% [markdown]
# Stuck? `asr-tutorial hint 12.3` in a terminal, one hint at a time.
#
# **Try it**: before training, rates lie around the base rate.

# %%
torch.manual_seed(0)
memory = Memory(ModelConfig(d_model=64, lact=LactConfig(heads=2, base_lr=0.01)))
rates = memory.learning_rates(torch.randn(2, 50, 64), padding_mask(torch.tensor([50, 30])))
print(f"rates {tuple(rates.shape)}: matrices, utterances, heads, frames")
print(f"of real frames {rates[:, 0].min():.3f} to {rates[:, 0].max():.3f}, of padding {rates[:, 1, :, 30:].max():.0f}")

# %% [markdown]
# ## Muon: all directions alike
#
# The sum of a chunk's outer products has a weakness. Neighbouring frames of speech resemble each other, and all frames have
# something in common: the voice, the microphone, the mean of the features. That common part is added up frame after frame and
# towers above what tells the frames apart. A step in its direction teaches the memory one thing, over and over.
#
# To see it, take the singular value decomposition of the gradient, $G = U\,\mathrm{diag}(\sigma)\,V^\top$. Each pair of
# singular vectors is a direction in which the step changes the memory, and the singular value $\sigma_i$ says how far. [Muon](../docs/glossary.md#muon)
# (Jordan 2024) keeps the directions and makes all $\sigma_i$ about 1. It needs no decomposition, only matrix products. With
# $A = X X^\top$, a step of the *Newton-Schulz iteration* is
#
# $$X \leftarrow a\,X + (b\,A + c\,A^2)\,X, \qquad (a, b, c) = (3.4445, -4.7750, 2.0315).$$
#
# Put $X = U\,\mathrm{diag}(s)\,V^\top$ into it: $U$ and $V$ pass unchanged, and every singular value goes its own way,
#
# $$s \leftarrow a\,s + b\,s^3 + c\,s^5.$$
#
# The polynomial was chosen so that five rounds take whatever lies between some hundredths and 1 close to 1. It must not be fed
# with more than that, so $G$ is first divided by its length $\lVert G \rVert = \sqrt{\sum_i \sigma_i^2}$, which no singular value
# exceeds.
#
# **By hand.** $G = \mathrm{diag}(3, 4)$ has length 5, and $X = \mathrm{diag}(0.6, 0.8)$. One round makes of 0.6
#
# $$3.4445 \cdot 0.6 - 4.775 \cdot 0.216 + 2.0315 \cdot 0.0778 = 1.193,$$
#
# and of 0.8 it makes 0.976. A thousandfold gradient has a thousandfold length, and comes to the same $X$: *the size of the step no
# longer depends on the learning rate*, only on how the rates of different frames compare.
#
# **Exercise 12.4** · 15 minutes · difficulty 3 of 5 · optional
#
# Write `orthogonalise`. `NEWTON_SCHULZ` and `l2_norm` are known in the function. If you skip it, the library's version is used
# below.


# %%
@exercise("12.4")
def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Muon: bring all singular values of a matrix to about 1 and keep its singular vectors (Jordan 2024).

    A sum of many products ``v k^T`` is dominated by what most frames have in common; afterwards all its directions
    count alike. Newton-Schulz iteration: ``X <- a X + (b A + c A^2) X`` with ``A = X X^T``. The size of the matrix
    plays no part any more, so of learning rates only their ratio from frame to frame does.

    Args:
        matrix: (..., rows, columns); zeros stay zeros.
        steps: of the iteration.

    Returns:
        The same shape; singular values between about 0.7 and 1.2, where they were not tiny beside the largest.
    """
    raise NotImplementedError("exercise 12.4")


# %%
orthogonalise = check("12.4")

# %% [markdown]
# Stuck? `asr-tutorial hint 12.4` in a terminal, one hint at a time.
#
# **Try it** on speech. The keys are the features of one utterance, four frames together; the values are the features a fifth of a
# second later. **Predict**: how many of the 80 singular values of the gradient for $W_1$ are larger than a tenth of the largest?

# %%
dev = read_corpus("tinyspeech/dev")
dev_store = FeatureStore.build(dev, FeaturesConfig(), progress=False)
by_speaker: dict[str, list[Tensor]] = {}
for utterance in dev:
    features = torch.as_tensor(dev_store.get(utterance.id))
    whole = features[: len(features) // 4 * 4].unflatten(0, (-1, 4)).mean(1)  # 40 ms a frame
    by_speaker.setdefault(utterance.speaker, []).append(whole)
everything = torch.cat([features for parts in by_speaker.values() for features in parts])
sound = {speaker: (torch.cat(parts) - everything.mean(0)) / everything.std(0) for speaker, parts in by_speaker.items()}
print({speaker: f"{0.04 * len(features):.0f} s" for speaker, features in sound.items()})

some = next(iter(sound.values()))[None, None, :105]
keys, values = F.normalize(some[:, :, :100], dim=-1), some[:, :, 5:]
gradient = fast_gradient(first_weights(80), keys, values, torch.full((3, 1, 1, 100), 0.01))
spectra = [torch.linalg.svdvals(matrix)[0, 0] for matrix in (gradient.w1, orthogonalise(gradient.w1))]
print(f"larger than a tenth of the largest: {[int((values > values.max() / 10).sum()) for values in spectra]} of 80")
with plots.style():
    figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
    for place, (label, values) in enumerate(zip(("the gradient", "after Muon"), spectra, strict=True)):
        axes.semilogy(
            range(1, 81), values, color=plots.COLORS[place], linestyle=plots.DASHES[place], marker="os"[place],
            markersize=2.5, label=label,
        )  # fmt: skip
    axes.set(
        title="A gradient of speech has few strong directions", xlabel="singular value, by size", ylabel="its size"
    )
    axes.grid(axis="y")
    axes.legend()
plt.show()

# %% [markdown]
# The gradient falls off steeply; after Muon the strong half of the directions is nearly level. The weakest stay behind: five rounds
# multiply a tiny value by $3.4445^5$, some 480, and no more.
#
# ## One step
#
# Now the weights move. For each matrix $W$ with gradient $G$ (already multiplied by the rates), a step does four things:
#
# 1. **Momentum**, if there is any: $V \leftarrow G + \mu V$, with $V$ the *velocity* of the chunk before and $\mu$ between 0 and
#    1, learnt like the rates. The first chunk has $V = G$.
# 2. **Muon**, if it is wanted: the step is the orthogonalised $V$. The velocity itself is kept as it is; it gathers gradients.
# 3. **The sum**: $W \leftarrow W + \text{step}$.
# 4. **The rows** of $W$ get back the lengths that they had at the beginning of the utterance.
#
# The last one stands in for the forgetting that other memories have. A row that may not grow can only *turn*: what is new pushes
# aside some of what is old.
#
# **By hand.** A row $(3, 4)$ of length 5 gets the step $(5, -4)$. The sum $(8, 0)$ has length 8; brought back to length 5 it is
# $(5, 0)$. With the step $(3, 4)$ nothing happens at all: $(6, 8)$ points the same way.
#
# **Exercise 12.5** · 20 minutes · difficulty 3 of 5 · core
#
# Write `chunk_update`. `orthogonalise` and `l2_norm` are known in the function.


# %%
@exercise("12.5")
def chunk_update(
    weights: FastWeights,
    gradient: FastWeights,
    norms: FastWeights,
    velocity: FastWeights | None = None,
    momentum: Tensor | None = None,
    muon: bool = True,
) -> tuple[FastWeights, FastWeights]:
    """One step of the fast weights, for one chunk.

    Momentum first: ``velocity <- gradient + momentum * velocity``. The velocity, orthogonalised if ``muon``, is added
    to the weights, and then each row is brought back to the length that it began with, so that the weights of a long
    utterance do not grow.

    Args:
        weights: before the step.
        gradient: from :func:`fast_gradient`.
        norms: of the rows of the first weights, from :func:`row_norms`.
        velocity: of the chunk before; None for the first chunk.
        momentum: (batch, heads), the share of the old velocity that is kept; None: nothing of it.
        muon: orthogonalise the step (:func:`orthogonalise`).

    Returns:
        The weights after the step, and the velocity, which is never orthogonalised.
    """
    raise NotImplementedError("exercise 12.5")


# %%
chunk_update = check("12.5")

# %% [markdown]
# Stuck? `asr-tutorial hint 12.5` in a terminal, one hint at a time.
#
# **Try it.** How far do the weights turn, with rates that differ by a factor of a thousand? The figure is the cosine between the
# rows before the step and after it, as a mean.

# %%
weights, (keys, values) = first_weights(32), random_pairs(16)
print("base rate   cosine without Muon   with Muon")
for rate in (0.01, 0.1, 1.0, 10.0):
    gradient = fast_gradient(weights, keys, values, torch.full((3, 8, 1, 16), rate))
    turned = [chunk_update(weights, gradient, row_norms(weights), muon=muon)[0].w1 for muon in (False, True)]
    cosines = [F.cosine_similarity(matrix, weights.w1, dim=-1).mean() for matrix in turned]
    print(f"{rate:9} {cosines[0]:21.3f} {cosines[1]:11.3f}")

# %% [markdown]
# ## Two orders
#
# The parts are there; what is left is who goes first. There are two ways to read an utterance that was cut into chunks.
#
# **Update, then apply.** Learn from *all* chunks, then answer all queries. Every frame has learnt from every other, before and
# behind it, as in self-attention without a mask. This is the order for an encoder that has the whole utterance. All gradients are
# taken at the first weights and added, and there is a single step. So without momentum the cuts make no difference: a sum does
# not care where it is cut. With momentum, chunks are weighed. If there are three, with momenta $\mu_0, \mu_1, \mu_2$, the
# velocity after the last one is
#
# $$V = G_2 + \mu_2\,(G_1 + \mu_1\,G_0) = G_2 + \mu_2\,G_1 + \mu_2\,\mu_1\,G_0.$$
#
# (The velocity before the first chunk is nothing, so $\mu_0$ plays no part.) Either walk through the chunks, or multiply the
# *rates* of each chunk by the $\mu$ of all chunks behind it: the gradient is linear in the rates.
#
# **Apply, then update.** Answer the queries of a chunk with the weights that the chunks *before* it have left, then learn from
# this one. No answer depends on a later frame, nor on its own chunk: this order is causal, as a live transcription needs it. What
# the chunk itself has to say is left to attention over a [window](../docs/glossary.md#window), which you will see below.
#
# | | chunk 0 | chunk 1 | chunk 2 |
# |---|---|---|---|
# | weights that answer | $W^{(0)}$ | $W^{(1)}$ | $W^{(2)}$ |
# | gradient is taken at | $W^{(0)}$ | $W^{(1)}$ | nobody asks any more |
# | weights afterwards | $W^{(1)}$ | $W^{(2)}$ | |
#
# Look at the first column: chunk 0 is answered by $W^{(0)}$. An utterance that fits into one causal chunk is read by a plain
# feed-forward network, and nothing says so. The paper has chunks of 2,000 tokens and more; a spoken sentence has 100 frames.
# Chunks have to be shorter than what they are to help with.
#
# **Exercise 12.6** · 20 minutes · difficulty 4 of 5 · core
#
# Write `update_then_apply` and `apply_then_update`. The last chunk may be shorter.


# %%
@exercise("12.6")
def update_then_apply(
    weights: FastWeights,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    rates: Tensor,
    momentum: Tensor | None,
    chunk: int,
    muon: bool,
) -> Tensor:
    """Both directions: learn from all frames of an utterance, then answer all of them.

    Every chunk's gradient is taken at the first weights, and there is one step, made of all of them. So without
    momentum neither the size of the chunks nor their order makes a difference. With momentum the velocity after the
    last chunk is what counts: the gradient of an earlier one has been multiplied by the momentum of all that followed.

    Args:
        weights: at the beginning of the utterance.
        queries: (batch, heads, frames, d_head).
        keys: the same.
        values: the same.
        rates: (3, batch, heads, frames).
        momentum: (batch, heads, chunks), or None.
        chunk: frames of a chunk; the last one may be shorter.
        muon: orthogonalise the step.

    Returns:
        (batch, heads, frames, d_head).
    """
    raise NotImplementedError("exercise 12.6")


def apply_then_update(
    weights: FastWeights,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    rates: Tensor,
    momentum: Tensor | None,
    chunk: int,
    muon: bool,
) -> Tensor:
    """Causal: answer the frames of a chunk with what the chunks before it have taught, then learn from it.

    A frame is never answered by weights that have seen it, or another frame of its chunk. So the first chunk, and with
    it the whole of an utterance that fits into one chunk, is answered by the first weights: a plain feed-forward
    network, which learns nothing while it reads. Chunks have to be much shorter than utterances.

    Arguments and result are those of :func:`update_then_apply`.
    """
    raise NotImplementedError("exercise 12.6")


# %%
update_then_apply, apply_then_update = check("12.6")

# %% [markdown]
# Stuck? `asr-tutorial hint 12.6` in a terminal, one hint at a time.
#
# ### Four promises
#
# A memory of this kind is easily wrong in ways that no shape shows. **Predict** for each line whether the two answers are equal
# or differ, for the bidirectional memory and for the causal one. Then run the cell: it prints the largest difference, where
# answers are about 1.


# %%
def answers_of(x: Tensor, lengths: list[int], **settings: object) -> Tensor:
    """What a memory makes of x (batch, time, 48), with the same first weights each time."""
    torch.manual_seed(0)
    memory = Memory(ModelConfig(d_model=48, lact=LactConfig(heads=2, **{"chunk": 8, **settings})))
    with torch.inference_mode():
        return memory(x, x, x, x, padding_mask(torch.tensor(lengths), x.shape[1]))


torch.manual_seed(3)
x = torch.randn(1, 40, 48)
longer = torch.cat([x, 9.0 * torch.randn(1, 24, 48)], dim=1)
other_end = torch.cat([x[:, :30], torch.randn(1, 10, 48)], dim=1)
print(f"{'':52}bidirectional   causal")
for name, one, two in (
    ("loud padding behind it", lambda **o: answers_of(x, [40], **o), lambda **o: answers_of(longer, [40], **o)[:, :40]),
    ("first 30 frames, when those after them change", lambda **o: answers_of(x, [40], **o)[:, :30],
     lambda **o: answers_of(other_end, [40], **o)[:, :30]),
    ("chunks of 8 against chunks of 13", lambda **o: answers_of(x, [40], **o), lambda **o: answers_of(x, [40], chunk=13, **o)),
    ("the same with momentum", lambda **o: answers_of(x, [40], momentum=0.5, **o),
     lambda **o: answers_of(x, [40], momentum=0.5, chunk=13, **o)),
    ("base rate of 0.0001 against 0.01, without Muon", lambda **o: answers_of(x, [40], base_lr=1e-4, muon=False, **o),
     lambda **o: answers_of(x, [40], base_lr=0.01, muon=False, **o)),
    ("base rate of 0.0001 against 0.01, with Muon", lambda **o: answers_of(x, [40], base_lr=1e-4, **o),
     lambda **o: answers_of(x, [40], base_lr=0.01, **o)),
):  # fmt: skip
    gaps = [float((one(causal=causal) - two(causal=causal)).abs().max()) for causal in (False, True)]
    print(f"{name:52}{gaps[0]:13.2f}{gaps[1]:9.2f}")

# %% [markdown]
# Padding never counts. The causal memory does not see the future, the other one does. The size of the chunks makes no difference
# in the bidirectional order without momentum. And with Muon a hundredfold base rate makes hardly any, because only the *ratios*
# of the rates are left. (Those are not quite the same for every base rate: where rates are small, softplus is an exponential, and
# the linear layer multiplies; near 1 it is almost a straight line, and the linear layer adds. Try 1 in the place of 0.01.)
#
# ## Experiment: how much does it remember?
#
# [Associative recall](../docs/glossary.md#associative-recall): write $n$ random pairs into a memory of width 32, then ask every key again. An answer counts as right if,
# of all $n$ values, it points most nearly to its own. Guessing is right once in $n$ times; attention that keeps all pairs can be
# right always.
#
# **Predict** two things. (a) With a single update: how many pairs can it tell apart? A plain matrix has room for 32 keys at right
# angles. (b) The same pairs are read again and again, up to 32 times. Does it get better each time?


# %%
def recalled(answers: Tensor, values: Tensor) -> float:
    """Share of the answers (batch, 1, n, width) that are nearest to their own value."""
    likeness = F.normalize(answers, dim=-1) @ values.mT
    return float((likeness.argmax(-1) == torch.arange(values.shape[2])).float().mean())


def recall_after(count: int, passes: int, rate: float, muon: bool) -> list[float]:
    """Recall before the first reading of the pairs, after it, and so on; each reading is one chunk."""
    keys, values = random_pairs(count)
    several = [part.repeat(1, 1, passes + 1, 1) for part in (keys, keys, values)]
    rates = torch.full((3, 8, 1, count * (passes + 1)), rate)
    with torch.inference_mode():
        answers = apply_then_update(first_weights(32), *several, rates, None, chunk=count, muon=muon)
    return [recalled(part, values) for part in answers.split(count, 2)]


ways = {"rate 0.1": (0.1, False), "rate 1": (1.0, False), "rate 10": (10.0, False), "Muon, any rate": (1.0, True)}
counts = (4, 8, 16, 32, 64, 128, 256)
by_count = {name: [recall_after(count, 1, *way)[1] for count in counts] for name, way in ways.items()}
by_pass = {name: recall_after(64, 32, *way) for name, way in ways.items()}

with plots.style():
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.2), layout="constrained", sharey=True)
    for place, name in enumerate(ways):
        look = {"color": plots.COLORS[place], "linestyle": plots.DASHES[place], "label": name, "markersize": 3.5}
        axes[0].plot(counts, [100 * share for share in by_count[name]], marker="os^D"[place], **look)
        axes[1].plot(range(33), [100 * share for share in by_pass[name]], marker="os^D"[place], markevery=4, **look)
    axes[0].plot(counts, [100 / count for count in counts], color="#999999", linewidth=0.8, label="guessing")
    axes[0].set_xscale("log", base=2)
    axes[0].set_xticks(counts, [str(count) for count in counts])
    axes[0].set(title="One update", xlabel="pairs (width 32)", ylabel="recalled (%)", ylim=(0, 103))
    axes[1].set(title="64 pairs, read again and again", xlabel="updates")
    for panel in axes:
        panel.grid(axis="y")
        panel.legend()
plt.show()
print(f"{'pairs':16}" + "".join(f"{count:6}" for count in counts))
for name, shares in by_count.items():
    print(f"{name:16}" + "".join(f"{100 * share:5.0f}%" for share in shares))
print(f"\n{'updates':16}" + "".join(f"{number:6}" for number in (0, 1, 2, 4, 8, 16, 32)))
for name, shares in by_pass.items():
    print(f"{name:16}" + "".join(f"{100 * shares[number]:5.0f}%" for number in (0, 1, 2, 4, 8, 16, 32)))

# %% [markdown]
# Left: after a single update with Muon most of 32 pairs can be told apart, as many as the width; then recall falls, gradually. A
# memory does not overflow, it becomes uncertain. Without Muon the step must have the right size, and a small one achieves
# nothing. Even the best of these rates is behind Muon where there are many pairs: Muon keeps what they have in common from
# drowning the rest.
#
# Right: learning more does not mean remembering more. Some further readings help; then recall falls again and levels off. A small
# rate is only later. A likely reason: the loss $-v^\top f(k)$ has no bottom. It is not content when the answer *is* the value, it
# wants it ever longer. Muon's steps do not get smaller either, and since the rows cannot grow, each step pushes aside some of
# what was there. Squared error would stop by itself; its gradient costs more. In a recogniser each chunk is read once, and
# training chooses the rates.
#
# ## The layer
#
# A LaCT layer is the encoder layer of chapter 05 with another way to mix frames. What is near is left to attention over a window
# of some frames to either side, since neighbours must be told apart exactly. What is far goes through the memory. Both share the
# projections of queries, keys and values, and their sum goes through the last projection. The memory takes silu of all three and
# brings queries and keys to length 1; its answers are normalised (each head to mean square 1), because a fresh memory answers
# with tiny numbers, and scaled by learnt weights. These begin at 0.1: before training the answers are noise, and at full strength
# they would drown what the window says.

# %%
show("lact.encoder.LactLayer.mix")

# %% [markdown]
# **Who hears whom?** The derivative of each output frame by each input frame, for an attention layer and for both LaCT layers,
# with random weights. The window is 4 frames, a chunk has 12. **Predict** the three pictures.


# %%
def influence(layer: nn.Module, frames: int = 48) -> Tensor:
    """(output frame, input frame): how much a change of the input changes the output; largest of each row 1."""
    x = torch.randn(1, frames, 32, generator=torch.Generator().manual_seed(5)).requires_grad_()
    out, _ = layer(x, torch.ones(1, frames, dtype=torch.bool))
    direction = torch.randn(32, generator=torch.Generator().manual_seed(6))
    rows = [torch.autograd.grad(out[0, t] @ direction, x, retain_graph=True)[0][0].norm(dim=-1) for t in range(frames)]
    picture = torch.stack(rows)
    return picture / picture.amax(-1, keepdim=True)


pictures = {}
for name, lact in (("full attention", None), ("LaCT", False), ("LaCT, causal", True)):
    torch.manual_seed(2)
    sizes = {"d_model": 32, "num_heads": 2, "d_ff": 64, "dropout": 0.0}
    settings = LactConfig(heads=1, window=4, chunk=12, causal=bool(lact), base_lr=0.1)
    kind = EncoderLayer if lact is None else LactLayer
    pictures[name] = influence(kind(ModelConfig(**sizes, lact=settings)).eval())

with plots.style():
    figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.2), layout="constrained", sharey=True)
    for panel, (name, picture) in zip(axes, pictures.items(), strict=True):
        image = panel.imshow(
            picture.clamp(min=1e-3).log10(), cmap=plots.WEIGHTS, vmin=-3, vmax=0, extent=(0, 48, 48, 0)
        )
        panel.set(title=name, xlabel="input frame", xticks=range(0, 49, 12), yticks=range(0, 49, 12))
    axes[0].set_ylabel("output frame")
    figure.colorbar(image, ax=axes, label="influence (powers of 10)", pad=0.01)
plt.show()

# %% [markdown]
# The dark diagonal is the frame itself, through the residual stream, and in both LaCT layers the band around it is the window. The
# bidirectional memory hears everything, about evenly. In the causal layer the staircase is what the chunks before have taught.
# White is exactly 0: the future, and those frames of the own chunk that the window does not reach. With chunks longer than the
# window there is always such a gap.
#
# ## Experiment: a voice that it gets used to
#
# Does such a memory learn anything about *speech*? Here is the simplest test: a memory with random first weights, untrained,
# reads speech in chunks of 10 frames (0.4 s), causally and with Muon. The key is a frame of features, brought to length 1, and
# the value is either the same frame, or the one a fifth of a second later: repeat what you hear, or guess what comes. Nobody can
# guess words from that. What can be learnt is how this voice and this recording sound. The error is 1 minus the cosine between
# answer and value: 0 is perfect, 1 is a right angle. Each chunk is answered before it is learnt from.
#
# A sequence is 6.4 s of one of the four voices in `dev`, then 3.2 s of another one. The control goes on with another passage of
# the *same* voice: a jump at the change could come from new words alone. **Predict** both curves, and that of a memory that does
# not learn.


# %%
BEFORE, AFTER, CHUNK = 160, 80, 10


def sequences(same: bool, ahead: int) -> tuple[Tensor, Tensor]:
    """Keys and values (sequences, 1, frames, 80): a voice, and from frame BEFORE on the same or another, other words."""
    rows = []
    for speaker in sound:
        for other in [speaker] if same else [name for name in sound if name != speaker]:
            for start in (0, 400, 800):
                second = sound[other][1200 + start :][: AFTER + ahead]
                rows.append(torch.cat([sound[speaker][start : start + BEFORE], second]))
    x = torch.stack(rows)[:, None]
    return F.normalize(x[:, :, : BEFORE + AFTER], dim=-1), x[:, :, ahead:]


def errors_of(keys: Tensor, values: Tensor, rate: float) -> Tensor:
    """Error of each chunk: (sequences, chunks)."""
    weights, rates = first_weights(80), torch.full((3, *keys.shape[:3]), rate)
    with torch.inference_mode():
        if rate:
            answers = apply_then_update(weights, keys, keys, values, rates, None, CHUNK, True)
        else:
            answers = swiglu(weights, keys)
        errors = 1 - F.cosine_similarity(answers, values, dim=-1)  # (sequences, 1, frames)
        return errors[:, 0].unflatten(1, (-1, CHUNK)).mean(-1)


tasks = {"repeat the frame": 0, "guess the frame 0.2 s later": 5}
ways = {"another voice": (False, 1.0), "the same voice, other words": (True, 1.0), "nothing is learnt": (False, 0.0)}
change = BEFORE // CHUNK
seconds = [0.04 * CHUNK * (number + 0.5) for number in range((BEFORE + AFTER) // CHUNK)]
print(f"{'':30}{'':30}   first  before  change   later   (chunks; 4 and 4 of them as means)")
with plots.style():
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.4), layout="constrained", sharey=True)
    for panel, (task, ahead) in zip(axes, tasks.items(), strict=True):
        for place, (name, (same, rate)) in enumerate(ways.items()):
            errors = errors_of(*sequences(same, ahead), rate)
            look = {"color": plots.COLORS[place], "linestyle": plots.DASHES[place], "marker": "os^"[place]}
            panel.plot(seconds, errors.mean(0), **look, markersize=3, label=name)
            parts = [errors[:, 0], errors[:, change - 4 : change], errors[:, change], errors[:, -4:]]
            means = "".join(f"{part.mean():8.2f}" for part in parts)
            print(f"{task:30}{name:30}{means}   {len(errors)} sequences")
        panel.axvline(0.04 * BEFORE, color="#888888", linewidth=1)
        panel.set(
            title=f"{task[0].upper()}{task[1:]}", xlabel="time (s); the voice changes at the line", ylim=(0, 1.25)
        )
        panel.grid(axis="y")
    axes[0].set_ylabel("error (1 - cosine)")
    axes[0].legend(loc="lower left")
plt.show()

# %% [markdown]
# The error falls while one voice goes on. With another passage of the same voice it goes on nearly as before; with another voice
# it jumps, and falls again as the memory gets used to that one. A memory that does not learn stays at a right angle. So it does
# pick up the voice, from a few seconds and without any training, and not just the words: the control has new words too. To guess
# what comes is harder than to repeat, and less can be learnt about it; the voice still shows. (There the last frames before the
# line are asked for frames behind it already.)
#
# What the pictures do not show: they are means. A chunk of 0.4 s has other sounds each time, and the dents that both curves share
# before the line are there because the sequences share their first halves. There are four voices, all of speech synthesisers, and
# three passages of each. And it is no proof that a *recogniser* gains from it: there the first weights, the keys and the values
# are trained, and decide themselves what is worth remembering.

# %% [markdown]
# ## What length costs
#
# Count the products of one layer for $T$ frames of width $d$. Full attention: $T^2 d$ for the scores and as much for the weighted
# means. The memory: a fixed number of products of a $T \times d$ with a $d \times d$ matrix, hence $T d^2$ times a constant, and
# with Muon some $d^3$ for every update. Equal where $T$ is some multiple of $d$; where exactly is a matter of the machine.
# Measure it here, for lengths up to 1,000 frames (40 s):


# %% tags=["nbval-ignore-output"]
def seconds_of(layer: nn.Module, frames: int, rounds: int = 2) -> float:
    """Seconds of processor time forward and backward, the best of some rounds."""
    x, padding = torch.randn(1, frames, 64), torch.ones(1, frames, dtype=torch.bool)
    found = []
    for _ in range(rounds):
        start = time.process_time()
        layer(x, padding)[0].sum().backward()
        found.append(time.process_time() - start)
    return min(found)


sizes = {"d_model": 64, "num_heads": 4, "d_ff": 256, "dropout": 0.0}
torch.manual_seed(0)
layers = {
    "full attention": EncoderLayer(ModelConfig(**sizes)),
    "LaCT": LactLayer(ModelConfig(**sizes, lact=LactConfig(heads=2, window=32, chunk=64))),
    "LaCT, causal": LactLayer(ModelConfig(**sizes, lact=LactConfig(heads=2, window=32, chunk=64, causal=True))),
}
print(f"{'frames':16}" + "".join(f"{frames:>10}" for frames in (125, 250, 500, 1000)))
for name, layer in layers.items():
    taken = [seconds_of(layer, frames) for frames in (125, 250, 500, 1000)]
    print(f"{name:16}" + "".join(f"{1000 * seconds:7.1f} ms" for seconds in taken))

# %% [markdown]
# Double the length: the attention layer takes up to four times as long, the memory twice. For longer recordings and a wider layer
# ($d = 256$, 4 heads), `python benchmarks/lact_length.py` measures time and memory up to 16,000 frames, ten minutes of sound.
# Full attention is there twice: with a matrix of all weights, and with PyTorch's kernel, which never holds all of them at once.

# %% tags=["nbval-ignore-output"]
path = RESULTS / "benchmarks" / "lact_length.json"
if path.is_file():
    record = json.loads(path.read_text(encoding="utf-8"))
    curves = record["curves"]
    with plots.style():
        figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.4), layout="constrained")
        for panel, what, scale, label in zip(
            axes, ("seconds", "bytes"), (1, 1e6), ("seconds", "megabytes"), strict=True
        ):
            for place, (name, curve) in enumerate(curves.items()):
                points = [(f, v / scale) for f, v in zip(curve["frames"], curve[what], strict=True) if v]
                if points:
                    panel.loglog(
                        *zip(*points, strict=True), color=plots.COLORS[place], linestyle=plots.DASHES[place],
                        marker="os^D"[place], markersize=3.5, label=name,
                    )  # fmt: skip
            panel.set(title=f"One layer, forward and backward: {label}", xlabel="frames (40 ms each)", ylabel=label)
            panel.grid(which="major")
        axes[0].legend()
    plt.show()
    for row in record["overtakes"]:
        frames = row["frames"]
        where = "at none of the lengths" if frames is None else f"from {frames:.0f} frames on ({0.04 * frames:.0f} s)"
        where = where if frames != 0 else "at every length that was measured"
        print(f"{row['system']:13} needs fewer {row['what']:7} than {row['other']:33} {where}")
    print(f"recorded on {record['environment']['date']}, {record['environment']['machine']}, one thread")
else:
    print(f"not recorded yet: {path.relative_to(REPOSITORY)} (python benchmarks/lact_length.py makes it)")

# %% [markdown]
# Do not conclude that a recogniser of sentences gets faster. What is saved is saved on long recordings; a sentence of 6 s has 150
# frames, and there an attention layer of moderate width is the cheaper one.
#
# ## How large are they?
#
# Four configurations come with the library. Their names in the recipe that the three larger ones follow promise 100, 200 and 500
# million parameters. Width squared times depth grows as 1 : 2.7 : 8 from one to the next, so the promises cannot all be kept.
# Count:

# %%
print(
    f"{'configuration':15}{'width':>6}{'layers':>8}{'memories':>10}{'parameters':>13}{'called':>8}{'in the memories':>17}"
)
for name, called in (("lact_tiny", ""), ("lact_base", "100M"), ("lact_improved", "200M"), ("lact_large", "500M")):
    config = load_config(name)
    vocabulary = config.tokenizer.vocab_size if config.tokenizer.kind != "char" else 33
    with torch.device("meta"):  # sizes without numbers
        model = build_model(config, vocabulary)
    total = sum(parameter.numel() for parameter in model.parameters())
    inside = sum(p.numel() for key, p in model.named_parameters() if ".memory." in key)
    sizes = f"{config.model.d_model:6}{config.model.encoder_layers:8}{config.model.lact.heads:10}"
    print(f"{name:15}{sizes}{total / 1e6:12.2f}M{called:>8}{inside / total:17.0%}")

# %% [markdown]
# ## A small recogniser
#
# Now the comparison with what you have: the encoder of chapter 05, plain layers without a convolution, against a LaCT encoder of
# the same width and depth. The task is small: sentences of TinySpeech that name a number, at most 3 s long. Same steps, same
# batches, same optimiser, CTC on top, one seed. It is a first look, not a result: some seconds of training. **Predict** which of
# the two leaves the plateau of blanks first. Remember that windows tell a layer from the start that neighbours belong together.

# %%
NUMBERS = {"ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE", "TEN", "ELEVEN", "TWELVE"}
NUMBERS |= {"TWENTY", "THIRTY", "FORTY", "FIFTY"}


def short_with_numbers(name: str):
    corpus = read_corpus(f"tinyspeech/{name}")
    return select(corpus, [u.id for u in corpus if NUMBERS & set(u.text.split()) and u.seconds < 3])


train, unseen = short_with_numbers("train"), short_with_numbers("dev")
tokenizer = CharTokenizer.train(train.texts)
store = FeatureStore.build(train, FeaturesConfig(), progress=False)
batches = SpeechLoader(SpeechDataset(train, store, tokenizer), shuffle=True, batch_seconds=24)
test_batches = SpeechLoader(SpeechDataset(unseen, dev_store, tokenizer, training=False), shuffle=False)
normalise = MVN("global", n_mels=80)
normalise.fit(store)
print(
    f"training: {len(train)} sentences, {train.seconds / 60:.1f} minutes; unseen: {len(unseen)} sentences, other voices"
)

# %% tags=["nbval-ignore-output"]
STEPS, SECONDS = 120, 90


def recogniser(lact: bool) -> nn.ModuleList:
    torch.manual_seed(1)
    settings = LactConfig(heads=2, chunk=16, window=8, audio_dropout=0.0)
    sizes = {"d_model": 96, "num_heads": 4, "d_ff": 288, "encoder_layers": 3, "subsampling_channels": 8, "dropout": 0.0}
    config = ModelConfig(**sizes, lact=settings)
    return nn.ModuleList([(LactEncoder if lact else Encoder)(config, 80), nn.Linear(96, tokenizer.vocab_size)])


def log_probs_of(model: nn.ModuleList, batch) -> tuple[Tensor, Tensor]:
    encoder, head = model
    encoder_out, mask, _ = encoder(normalise(batch.features, batch.feature_lengths), batch.feature_lengths)
    return head(encoder_out).log_softmax(-1), mask.sum(1)


def learn(model: nn.ModuleList) -> tuple[list[float], list[str]]:
    """The loss of each step, and what is heard in the unseen sentences afterwards."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 3e-3, total_steps=STEPS, pct_start=0.1, anneal_strategy="linear"
    )
    losses, epoch, end = [], 0, time.monotonic() + SECONDS
    while len(losses) < STEPS and time.monotonic() < end:
        for batch in batches.batches(epoch):
            log_probs, lengths = log_probs_of(model, batch)
            loss = F.ctc_loss(
                log_probs.transpose(0, 1), batch.targets, lengths, batch.target_lengths, blank=tokenizer.blank_id
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            if len(losses) == STEPS or time.monotonic() >= end:
                break
        epoch += 1
    heard = {}
    with torch.inference_mode():
        for batch in test_batches.batches(0):
            paths = best_path(*log_probs_of(model.eval(), batch), blank=tokenizer.blank_id)
            heard |= {name: tokenizer.decode(path) for name, path in zip(batch.ids, paths, strict=True)}
    return losses, [heard[utterance.id] for utterance in unseen]


trained = {}
for name, lact in (("Transformer", False), ("LaCT", True)):
    model, start = recogniser(lact), time.process_time()
    trained[name] = learn(model)
    losses, heard = trained[name]
    print(
        f"{name:12} {sum(p.numel() for p in model.parameters()):8,} parameters, {len(losses)} steps, "
        f"{time.process_time() - start:.0f} s of processor time: loss {sum(losses[-20:]) / 20:.2f} (mean of the last 20), "
        f"CER {100 * cer(unseen.texts, heard):.0f} %"
    )
    if len(losses) < STEPS:
        print(f"   (this machine did {len(losses)} of {STEPS} steps in {SECONDS} seconds: raise SECONDS)")
for index in range(2):
    print(f"\nsaid         {unseen.texts[index]}")
    for name, (_, heard) in trained.items():
        print(f"{name:12} {heard[index] or '(nothing: blanks only)'}")

with plots.style():
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    for place, (name, (losses, _)) in enumerate(trained.items()):
        smooth = torch.tensor(losses).unfold(0, min(10, len(losses)), 1).mean(-1)
        axes.plot(
            range(1, len(smooth) + 1), smooth, color=plots.COLORS[place], linestyle=plots.DASHES[place], label=name
        )
    axes.set(
        title="Equal steps, equal width: mean loss of 10 steps", xlabel="step", ylabel="CTC loss (nats per letter)",
        ylim=(0, 6),
    )  # fmt: skip
    axes.grid(axis="y")
    axes.legend()
plt.show()

# %% [markdown]
# Read it with care. Both encoders are far from done after so few steps, and which of the two is ahead at this moment says when it
# leaves the plateau of blanks, not how good it becomes. The LaCT encoder has somewhat more parameters, those of its memories, and
# a step of it takes longer at these lengths. Set `STEPS` to 1,000 and `SECONDS` to 900, and go for a walk, if you want to see
# words.
#
# The comparison that counts gives each architecture the same time and about the same size, and trains to the end. It is recorded
# in the repository: the Transformer, LaCT, and the Paraformer of chapter 13, on the whole of TinySpeech, 12 minutes of a core each.
# Error rates are those of test sentences by voices that were not trained on; RTF is the time that recognition takes for a second
# of sound.

# %% tags=["nbval-ignore-output"]
path = RESULTS / "architectures_tinyspeech.json"
if path.is_file():
    record = json.loads(path.read_text(encoding="utf-8"))
    rows = record["rows"]
    print(f"{'architecture':22}{'search':10}{'parameters':>12}{'training':>12}{'WER':>9}{'CER':>9}{'RTF':>9}")
    for row in rows:
        sizes = f"{row['parameters']:12,}{row['train_seconds']:10.0f} s"
        errors = f"{100 * row['wer']:7.1f} %{100 * row['cer']:7.1f} %{row['rtf']:9.3f}"
        print(f"{row['architecture']:22}{row['search']:10}{sizes}{errors}")
else:
    print(f"not recorded yet: {path.relative_to(REPOSITORY)}")

# %% [markdown]
# There are two kinds of LaCT. One has the convolutions that the encoder layers of the Transformer and the Paraformer have too
# (`model.conv_kernel`), the other is the layer of this chapter alone, with one layer more in their place: a window of attention could
# do what they do, but it has to learn it, and an hour of speech is little. Even with them LaCT is behind the Transformer. In the same
# time it made less than half as many steps, for Muon costs the cube of a memory's width, in 32 bits, for each of many short
# utterances; and of 100 frames nothing is so far away that a window and a few layers of convolutions would not bring it.
#
# And on real speech? `mini_librispeech_recipe` is the recogniser of chapter 11, trained on five hours. `lact_mini_librispeech` began
# as its encoder. Then of the full attention in each of its ten layers a window of 1.3 s to either side was left, with a fresh memory
# beside it, and it was trained for a little more than one pass over the same five hours, by CTC alone.

# %% tags=["nbval-ignore-output"]
print(f"{'run':28}{'measured on':14}{'search':10}{'WER':>9}{'CER':>9}")
for name in ("mini_librispeech_recipe", "lact_mini_librispeech"):
    path = RESULTS / name / "evaluation.json"
    for row in json.loads(path.read_text(encoding="utf-8"))["figures"] if path.is_file() else ():
        if row["search"] in ("ctc", "prefix"):
            errors = f"{100 * row['wer']:7.1f} %{100 * row['cer']:7.1f} %"
            print(f"{name:28}{row['corpus']:14}{row['search']:10}{errors}")

# %% [markdown]
# ## Experiments of your own
#
# - `asr-tutorial train --config lact_tiny` trains a whole recogniser on the bundled speech, and `--model.lact.causal=true` its
#   causal sister. What does not seeing the future cost?
# - In the experiment with voices, train the first weights: make them parameters, take as loss the mean error of all chunks, and
#   let autograd go through `apply_then_update` for some steps. How far does the error fall in the first chunk, how far in the
#   tenth?
# - Give the memory a momentum in the recall experiment. Does it help against too many updates?
# - Write `window_attention` of `asr_tutorial/lact/encoder.py` yourself, without a mask over all pairs of frames.
#   `tests/test_lact.py` has tests for it.

# %% [markdown]
# ## The usual mistakes
#
# | mistake | what you see |
# |---|---|
# | the sign of the gradient | everything runs, and recall is below that of the first weights |
# | the derivative of silu taken for that of the sigmoid | everything runs, a little worse; only a comparison with autograd shows it |
# | the inner step without a graph (`no_grad`, `detach`) | trains, but keys, values and rates never learn what they are for |
# | padding with a rate above 0 | results depend on what shares a batch |
# | the step before the answer in the causal order | wonderful training losses, and live recognition that does not work |
# | an utterance that fits into one causal chunk | the memory never learns anything; no warning |
# | eps outside the root when keys are normalised | NaN in the gradient from a row of zeros, often after hours |
# | fast weights in 16 bits | small steps vanish |
# | `base_lr` tuned with Muon switched on | days of runs that differ by nothing but noise |
# | speed measured on sentences | attention wins; the comparison is about long recordings |

# %% [markdown]
# ## Three questions
#
# **1.** A causal LaCT encoder has chunks of 64 frames of 40 ms. What does the memory contribute to an utterance of 2.5 s?
#
# <details><summary>Answer</summary>
#
# 2.5 s are 63 frames, one chunk. It is answered by the first weights, which training has learnt: a feed-forward network that has
# seen nothing of this utterance. Attention over the window is all that mixes frames.
#
# </details>
#
# **2.** In the bidirectional order without momentum, may the frames of an utterance be shuffled before the memory reads them
# (queries, keys, values and rates alike)?
#
# <details><summary>Answer</summary>
#
# Yes: the update is a sum over frames, and each query is answered by itself. The answers come out shuffled in the same way. Like
# attention, the memory knows order only from positions in the stream, or from the window attention and the convolutions before
# it.
#
# </details>
#
# **3.** All rates of an utterance are doubled. What changes with Muon, and what without?
#
# <details><summary>Answer</summary>
#
# The gradient is doubled. Muon divides it by its length, so that nothing changes, up to rounding. Without Muon the rows turn
# about twice as far, if the step is small; if it is large beside the weights, they point where the gradient points already and
# hardly turn further.
#
# </details>

# %% [markdown]
# ## Where this goes next
#
# - Chapter 13 gives up another habit: writing one token after the other. A Paraformer finds out how many tokens there are, and
#   writes all of them at once.
# - [docs/lact.md](../docs/lact.md) says how the larger configurations are trained, and what to try when it does not go well.
#
# ## References
#
# - T. Zhang et al., [Test-time training done right](https://arxiv.org/abs/2505.23884), 2025: LaCT; section 3 has the equations of
#   this chapter.
# - Y. Sun et al., [Learning to (learn at test time): RNNs with expressive hidden states](https://arxiv.org/abs/2407.04620), 2024:
#   layers whose state is a model that is trained.
# - I. Schlag, K. Irie and J. Schmidhuber, [Linear Transformers are secretly fast weight
#   programmers](https://arxiv.org/abs/2102.11174), 2021: sums of outer products, and where the idea comes from.
# - N. Shazeer, [GLU variants improve Transformer](https://arxiv.org/abs/2002.05202), 2020: SwiGLU.
# - K. Jordan, [Muon: an optimizer for hidden layers in neural networks](https://kellerjordan.github.io/posts/muon/), 2024: the
#   iteration and its coefficients.
