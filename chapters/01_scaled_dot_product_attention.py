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
# # 01 · Scaled dot-product attention
#
# In this chapter you write the operation that gives the Transformer its reach: a row of vectors asks another row of
# vectors for what it needs, and gets a mixture of them in reply. It is a handful of lines. Every layer of the
# [encoder](../docs/glossary.md#encoder) runs it once, every layer of the [decoder](../docs/glossary.md#decoder) twice, and
# from the end of this chapter on they run yours.
#
# **You need** matrices, a little PyTorch, and chapter 00 (an utterance is a matrix of frames by mel bins).
# **Time**: about 2.5 hours without the optional exercises; the core ones take one of them.
#
# | exercise | what you write | minutes | difficulty | |
# |---|---|---|---|---|
# | 1.1 | the scores: how well each query fits each key | 10 | 1 | core |
# | 1.2 | the weights: a softmax that obeys a mask | 30 | 3 | core |
# | 1.3 | attention, put together | 20 | 2 | core |
# | 1.4 | softmax with its backward pass, in NumPy | 25 | 3 | optional |
# | 1.5 | a linear layer with its backward pass | 20 | 2 | optional |
# | 1.6 | attention with its backward pass | 40 | 4 | optional |

# %%
# The course comes first: from here on the library has what you wrote in earlier chapters.
from asr_tutorial.course import check, exercise, here, show

here("01")

# %%
import math

import torch
from IPython.display import Audio
from matplotlib import pyplot as plt
from torch import Tensor
from torch.nn import functional as F

from asr_tutorial import plots
from asr_tutorial.audio import read_audio
from asr_tutorial.corpus import read_corpus
from asr_tutorial.features import log_mel

# %% [markdown]
# ## Why speech needs it
#
# A frame of speech covers 25 milliseconds. A letter is spread over five to twenty of them, and what it sounds like
# depends on its neighbours: the *k* of KEY and the *k* of COO are made at different places in the mouth. So a frame on
# its own says little. To know what it belongs to, it has to look at other frames, and which ones is different for each
# frame of each utterance.
#
# Writing has the same need from the other side. A decoder that is about to write the F of FOUR has to find the
# few frames where that F was spoken. They lie early in one utterance and late in the next.
#
# A convolution looks at fixed distances: three frames back, three frames on. A recurrent network carries a summary
# along and hopes that the right thing is still in it. [Attention](../docs/glossary.md#attention) looks anywhere in one
# step, and *what the vectors contain* decides where it looks.

# %% [markdown]
# ## A soft dictionary
#
# You know lookup from Python's dictionaries. Three things take part in `{"a": 10, "b": 20}["b"]`:
#
# - the [query](../docs/glossary.md#query), what you ask for: `"b"`;
# - the [keys](../docs/glossary.md#key), what each entry is found by: `"a"` and `"b"`;
# - the [values](../docs/glossary.md#value), what each entry gives: `10` and `20`.
#
# The query is compared with every key, and the value of the one that is equal comes back. Attention differs in two
# ways. Query and keys are vectors, so that a comparison gives a number, a better or worse fit, instead of yes or no.
# And what comes back is a mixture of *all* values, each weighted by how well its key fitted. That makes the lookup
# smooth: move the query a little and the answer moves a little, so it has a gradient and can be learnt.

# %% [markdown]
# ## The equation
#
# Let there be $n$ queries, and $m$ keys with their values.
#
# | symbol | shape | meaning |
# |---|---|---|
# | $Q$ | $(n, d)$ | the queries, one a row; $d$ is their width |
# | $K$ | $(m, d)$ | the keys, as wide as the queries, for the two are compared |
# | $V$ | $(m, d_v)$ | the values, one for each key; their width $d_v$ is free |
# | $S$ | $(n, m)$ | the scores: $S_{ij}$ says how well query $i$ fits key $j$ |
# | $W$ | $(n, m)$ | the [weights](../docs/glossary.md#attention-weights): $W_{ij}$ is the share of value $j$ in answer $i$ |
# | $C$ | $(n, d_v)$ | the answers, called [context](../docs/glossary.md#context): one row for each query |
#
# Three steps lead from $Q$, $K$ and $V$ to $C$:
#
# $$S = \frac{Q K^\top}{\sqrt{d}}, \qquad
# W_{ij} = \frac{e^{S_{ij}}}{\sum_{k=1}^{m} e^{S_{ik}}}, \qquad
# C = W V .$$
#
# **Scores.** The entry $(i, j)$ of $Q K^\top$ is the dot product of query $i$ and key $j$: large where the two
# point the same way, zero where they are at right angles, negative where they are opposed. Why it is divided by
# $\sqrt{d}$ you will see in an experiment below. Until then take it as a matter of keeping numbers moderate.
#
# **Weights.** The middle step is the [softmax](../docs/glossary.md#softmax). It shares out 1 among the keys, separately
# for each query: exponentials are never negative, and dividing by their sum makes each row of $W$ sum to 1. A score
# that is higher by 1 gets a share that is $e \approx 2.7$ times as large. Only differences count: add the same number
# to all scores of a row, and the shares stay as they are.
#
# **Context.** Row $i$ of $C$ is the mean of the values, weighted by row $i$ of $W$.
#
# In code these steps work on the last two axes. Any axes before them (a batch, later the heads) come along
# unchanged. Shapes are therefore written `(..., queries, d)`.

# %% [markdown]
# ## By hand
#
# Two queries, three keys, $d = 4$ and so $\sqrt{d} = 2$, values of width 2:
#
# $$Q = \begin{pmatrix} 2 & 0 & 0 & 0 \\ 0 & 2 & 0 & 0 \end{pmatrix} \quad
# K = \begin{pmatrix} 1 & 0 & 0 & 1 \\ 0 & 2 & 0 & 0 \\ 1 & 1 & 1 & 1 \end{pmatrix} \quad
# V = \begin{pmatrix} 1 & 0 \\ 0 & 1 \\ 2 & 2 \end{pmatrix}$$
#
# *Scores.* The first query with the three keys: $2 \cdot 1 = 2$, then $0$, then $2 \cdot 1 = 2$. The second: $0$, $2 \cdot 2 = 4$,
# $2$. Halve them:
#
# $$S = \begin{pmatrix} 1 & 0 & 1 \\ 0 & 2 & 1 \end{pmatrix}$$
#
# *Weights.* With $e^0 = 1$, $e^1 = 2.718$ and $e^2 = 7.389$, the first row becomes $(2.718, 1, 2.718)$, which sums to
# $6.437$. The second becomes $(1, 7.389, 2.718)$, sum $11.107$. Divide each row by its sum:
#
# $$W = \begin{pmatrix} 0.422 & 0.155 & 0.422 \\ 0.090 & 0.665 & 0.245 \end{pmatrix}$$
#
# *Context.* The first answer is $0.422 \cdot (1, 0) + 0.155 \cdot (0, 1) + 0.422 \cdot (2, 2) = (1.267, 1.000)$.
# Work out the second yourself before you look at the end of exercise 1.3.
#
# Here are the three matrices as tensors:

# %%
Q = torch.tensor([[2.0, 0, 0, 0], [0, 2, 0, 0]])  # (2 queries, d = 4)
K = torch.tensor([[1.0, 0, 0, 1], [0, 2, 0, 0], [1, 1, 1, 1]])  # (3 keys, d = 4)
V = torch.tensor([[1.0, 0], [0, 1], [2, 2]])  # (3 keys, d_v = 2)

# %% [markdown]
# ## Scores
#
# **Exercise 1.1** · 10 minutes · difficulty 1 of 5 · core
#
# Write the first of the three steps. Two things to keep in mind: there may be axes before the last two, so transpose
# those two and no others; and $d$ is the width of a query, not their number. `math` and `torch` are at hand.


# %%
@exercise("1.1")
def attention_scores(query: Tensor, key: Tensor) -> Tensor:
    """How well each query fits each key: ``query key^T / sqrt(d)`` (Vaswani et al. 2017, section 3.2.1).

    Without the division, scores of random vectors have a variance of d, and the softmax would almost always choose one
    key with certainty.

    Args:
        query: (..., queries, d).
        key: (..., keys, d).

    Returns:
        (..., queries, keys).
    """
    raise NotImplementedError("exercise 1.1")


# %%
attention_scores = check("1.1")

# %% [markdown]
# Stuck? `asr-tutorial hint 1.1` in a terminal, one hint at a time.
#
# Try it on the example. Then on a batch of 8 utterances, in each of which 5 letters look at 200 frames:

# %%
print(attention_scores(Q, K))
print(tuple(attention_scores(torch.zeros(8, 5, 64), torch.zeros(8, 200, 64)).shape))

# %% [markdown]
# ## Weights, and a mask that forbids
#
# Sometimes a query must not look at a key. Utterances of a batch are padded to the same length, and nobody should
# listen to padding. A decoder in training must not look at the letter that it is about to write. A
# [mask](../docs/glossary.md#mask) says what is allowed: a boolean tensor with an entry for each pair of query and key,
# and throughout this course
#
# > **True means: may be attended.**
#
# Other libraries mean the opposite by it (`nn.MultiheadAttention` does), which is behind more lost days than any
# other line in this chapter. Chapter 03 makes masks; here you obey them.
#
# A forbidden key gets the weight 0, and the *allowed* ones share out the whole of 1. In the example, forbid the
# third key to the first query: scores $1$ and $0$ remain, exponentials $2.718$ and $1$, hence weights $(0.731, 0.269, 0)$.
#
# What should happen in a row where *nothing* is allowed? There is nobody to share 1 with. It sounds like a corner
# case, but it happens in every batch: a query that is itself padding, an utterance too short to leave a frame. In this
# course such a row is **all zeros**: no weights, hence a context of zeros, hence no gradient.
#
# The obvious way to forbid a key is a score of minus infinity, for $e^{-\infty} = 0$. Look what it does to such a row:

# %%
nothing_allowed = torch.full((3,), -math.inf)
print("weights:", torch.softmax(nothing_allowed, dim=0))

losses = torch.ones(1000)  # the losses of a large batch...
losses[123] = math.nan  # ...one of which came from that row
print("loss of the batch:", losses.mean())

# %% [markdown]
# $0/0$ is not a number, and NaN spreads: one row in one utterance makes the loss NaN, its gradient NaN, and after one
# step of the optimiser all parameters NaN. Nor is it enough to sweep it away afterwards: a NaN that was hidden in the
# result can come back in the gradient.
#
# **Exercise 1.2** · 30 minutes · difficulty 3 of 5 · core
#
# Write the softmax over the keys with a mask. Where the mask forbids, the weight is 0. The rest of the row sums to 1.
# A row without an allowed key is all zeros, its gradient too, and nothing is ever NaN. The mask may have
# fewer axes than the scores or axes of size 1 (the same mask for all queries, say), so it has to broadcast.
# `torch.softmax` may be used; it is safe with large scores, which an `exp` of your own would not be by itself.


# %%
@exercise("1.2")
def attention_weights(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Share out 1 over the keys of each query: a softmax over the keys that may be attended.

    Args:
        scores: (..., queries, keys).
        mask: boolean, broadcastable to ``scores``, True = may be attended.

    Returns:
        (..., queries, keys): rows sum to 1, forbidden keys get 0. A row in which nothing may be attended is all zeros,
        with zero gradients.
    """
    raise NotImplementedError("exercise 1.2")


# %%
attention_weights = check("1.2")

# %% [markdown]
# Stuck? `asr-tutorial hint 1.2` in a terminal, one hint at a time.
#
# Try it: the example without a mask; then with the third key forbidden to the first query, and everything
# forbidden to the second.

# %%
mask = torch.tensor([[True, True, False], [False, False, False]])
scores = attention_scores(Q, K).requires_grad_()
print("no mask:\n", attention_weights(scores).detach())
print("masked:\n", attention_weights(scores, mask).detach())

# How does the first weight of each row change with the scores? The row of zeros must not push anything.
attention_weights(scores, mask)[:, 0].sum().backward()
print("gradient:\n", scores.grad)

# %% [markdown]
# Read the first row of the gradient: raising the first score raises its own weight, and raising the second takes
# just as much away from it. The entries of such a row always sum to zero, because the weights sum to 1 whatever the
# scores are: to attend more to one key is to attend less to others.

# %% [markdown]
# ## Put together
#
# What is missing is the mixture of values, and [dropout](../docs/glossary.md#dropout) on the weights. In training,
# Transformers set some weights to zero at random (each with probability $p$), so that no answer hangs on a
# single key, and divide the surviving ones by $1 - p$, which keeps their mean. In a row of eight equal weights
# of $1/8$ and $p = 1/2$, about four become 0 and the others $1/4$. `F.dropout(x, p)` does this to a tensor `x`.
#
# Outside training the caller passes `dropout=0.0`, and nothing is dropped.
#
# **Exercise 1.3** · 20 minutes · difficulty 2 of 5 · core
#
# Write the whole of attention, from the two functions above and what you have just read. Return the context *and* the
# weights, in this order. The two `if`s that complain about shapes are given; leave them in place. `F`
# (`torch.nn.functional`) is at hand.


# %%
@exercise("1.3")
def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, dropout: float = 0.0
) -> tuple[Tensor, Tensor]:
    """``softmax(query key^T / sqrt(d)) value``, step by step (Vaswani et al. 2017, equation 1).

    Args:
        query: (..., queries, d).
        key: (..., keys, d).
        value: (..., keys, d_value).
        mask: boolean, broadcastable to (..., queries, keys), True = may be attended.
        dropout: probability with which a weight is set to zero (pass 0 outside training).

    Returns:
        The context, (..., queries, d_value), and the weights, (..., queries, keys), whose rows sum to 1 (without
        dropout). A row in which nothing may be attended gives zeros, with zero gradients.

    Raises:
        ValueError: the shapes of query, key and value do not fit together.
    """
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            f"query and key must have the same last dimension d, got {query.shape[-1]} and {key.shape[-1]}"
        )
    if key.shape[-2] != value.shape[-2]:
        raise ValueError(
            f"key and value must have the same number of positions, got {key.shape[-2]} and {value.shape[-2]}"
        )
    raise NotImplementedError("exercise 1.3")


# %%
scaled_dot_product_attention = check("1.3")

# %% [markdown]
# Stuck? `asr-tutorial hint 1.3` in a terminal, one hint at a time.
#
# Try it. The first row is the one worked by hand; was your second row right? PyTorch has the same function, written
# for speed and without the weights. The two should agree.

# %%
context, weights = scaled_dot_product_attention(Q, K, V)
print("weights:\n", weights)
print("context:\n", context)
print("PyTorch agrees:", torch.allclose(context, F.scaled_dot_product_attention(Q, K, V), atol=1e-6))

# %% [markdown]
# From now on your lines are what runs when the library attends: in this notebook, and in training with `--code mine`.
# The fused kernel that the library would choose for speed is then switched off, so that it really is your code that
# learns.

# %% [markdown]
# ## How to read an attention map
#
# Weights are looked at as a picture, an attention map. It is read like this:
#
# - **A row is one query.** It sums to 1. Put a finger on a row and look along it: where it is dark, there it looks.
# - **A column is one key.** A column that is dark all the way down is a key that everyone looks at.
# - **Grey is weight**, from white (none) to black. The scale ends at the largest weights of *this* picture, so two
#   pictures compare by their pattern and not by their darkness. With more keys, each gets less.
# - **Time** runs to the right and downwards, so that the diagonal is where a frame looks at itself.
#
# Four patterns that you will meet again, made here from scores written by hand:

# %%
n = 24
at = torch.arange(n)
patterns = {
    "Diagonal: looks nearby": -0.25 * (at[:, None] - at[None, :]) ** 2,
    "Column: all look at key 8": 4.0 * (at[None, :] == 8).expand(n, n),
    "Blocks: looks at its own kind": 3.0 * (at[:, None] // 6 % 2 == at[None, :] // 6 % 2),
    "Flat: looks everywhere alike": torch.zeros(n, n),
}
with plots.style():
    figure, axes = plt.subplots(1, 4, figsize=(10, 2.9), layout="constrained")
    for ax, (title, made) in zip(axes, patterns.items(), strict=True):
        ax.imshow(attention_weights(made.float()), cmap=plots.WEIGHTS, vmin=0, aspect="equal")
        ax.set_title(title, fontsize=8.5)
        ax.set(xlabel="key", xticks=[0, 8, 16], yticks=[0, 8, 16])
    axes[0].set_ylabel("query")
plt.show()

# %% [markdown]
# The flat one comes out black because its scale ends at its largest weight, 1/24, which is all it has. When a map
# looks dramatic, look at the numbers beside the grey bar before you believe it.

# %% [markdown]
# ## Experiment 1: looking up letters through noise
#
# Take a dictionary of 26 entries. Each key is a random vector of width 32, each value says which letter it stands for
# (a row with a single 1). Then spell a word by its keys, but add noise to each query, so that no query equals any key.
# A Python dictionary would find nothing.
#
# **Predict first.** The keys have entries of size about 1. With noise of size 1, as large as the key itself: how many
# of the nine letters of ATTENTION will still be found? And with noise three times as large?

# %%
letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
word = "ATTENTION"
generator = torch.Generator().manual_seed(3)
keys = torch.randn(26, 32, generator=generator)  # (letters, d)
values = torch.eye(26)  # (letters, letters)
spelled = keys[[letters.index(letter) for letter in word]]  # (9, d)

with plots.style():
    figure, axes = plt.subplots(3, 1, figsize=(8, 7), layout="constrained")
for ax, noise in zip(axes, (0.0, 1.0, 3.0), strict=True):
    queries = spelled + noise * torch.randn(spelled.shape, generator=generator)
    context, weights = scaled_dot_product_attention(queries, keys, values)
    read = "".join(letters[i] for i in context.argmax(-1))
    plots.attention_map(weights, list(word), list(letters), f"Noise {noise:.0f}: reads {read}", axes=ax)
    ax.set(xlabel="key", ylabel="query")
plt.show()

# %% [markdown]
# Noise as large as the signal does no harm. A dot product adds up 32 agreements: the key's own part grows with $d$,
# while noise, right as often as wrong, grows only with $\sqrt d$. Width is what makes a lookup robust. At three times the
# signal most letters are lost, and see *how*: the row turns grey and spreads its 1 over several letters, or settles
# on a wrong one. Attention never says "not found". It always shares out 1, whether or not anything fits.

# %% [markdown]
# ## Experiment 2: what the square root is for
#
# Take queries and keys of random numbers with mean 0 and variance 1. Their dot product is a sum of $d$ products, each
# with mean 0 and variance 1, so it has variance $d$ and a standard deviation of $\sqrt d$. Dividing by $\sqrt d$ brings it
# back to 1, whatever $d$ is:

# %%
generator = torch.Generator().manual_seed(1)
for d in (4, 64, 1024):
    queries, keys = (torch.randn(500, d, generator=generator) for _ in range(2))
    scaled = attention_scores(queries, keys)
    unscaled = scaled * math.sqrt(d)
    print(f"d = {d:4}: standard deviation of scores {unscaled.std():5.1f} unscaled, {scaled.std():.1f} scaled")

# %% [markdown]
# Does that matter? A softmax looks at differences of scores. Two things can be measured. The
# [entropy](../docs/glossary.md#entropy) of a row, $-\sum_j W_{ij} \ln W_{ij}$, says how widely it looks: $\ln 32 \approx 3.5$ when it shares 1 equally
# among 32 keys, 0 when one key gets everything. And the gradient that comes back through the softmax says how much
# training can still change where it looks.
#
# **Predict first.** As $d$ grows from 4 to 1024, what happens to the two, with the division and without it? By what
# factor do you expect the gradient to differ at the end: 2, 10, more?

# %%
widths = [4, 8, 16, 32, 64, 128, 256, 512, 1024]
entropies: dict[str, list[float]] = {"with 1/√d": [], "without": []}
slopes: dict[str, list[float]] = {"with 1/√d": [], "without": []}
generator = torch.Generator().manual_seed(1)
for d in widths:
    queries, keys = torch.randn(256, d, generator=generator), torch.randn(32, d, generator=generator)
    wished = torch.randn(256, 32, generator=generator)  # the gradient that arrives from above
    for name, factor in (("with 1/√d", 1.0), ("without", math.sqrt(d))):
        scores = (factor * attention_scores(queries, keys)).requires_grad_()
        weights = attention_weights(scores)
        (weights * wished).sum().backward()
        entropies[name].append(float(-(weights * weights.clamp(min=1e-12).log()).sum(-1).mean().detach()))
        slopes[name].append(float(scores.grad.norm(dim=-1).median()))

with plots.style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for i, name in enumerate(entropies):
        look = {"color": plots.COLORS[i], "linestyle": plots.DASHES[i], "marker": "o", "markersize": 3, "label": name}
        left.plot(widths, entropies[name], **look)
        right.plot(widths, slopes[name], **look)
    left.axhline(math.log(32), color="#bbbbbb", linewidth=1)
    left.text(1024, math.log(32) - 0.06, "all 32 keys alike", ha="right", va="top", fontsize=8, color="#777777")
    left.set(title="Unscaled, one key gets everything", ylabel="entropy of a row (nats)", ylim=(0, 3.7))
    right.set(title="...and hardly any gradient comes back", ylabel="median gradient norm by the scores", yscale="log")
    for ax in (left, right):
        ax.set_xscale("log", base=2)
        ax.set(xlabel="width d", xticks=widths, xticklabels=widths)
        ax.grid(axis="y")
        ax.legend(loc="lower left")
plt.show()
print(
    "gradients at d = 1024 differ by more than a factor of 1000:",
    slopes["with 1/√d"][-1] > 1000 * slopes["without"][-1],
)

# %% [markdown]
# With the division, nothing depends on $d$. Without it, the softmax is [saturated](../docs/glossary.md#saturation) at a
# few hundred dimensions: the best of 32 keys leads the second by so much that it takes all but a trace. A weight close to 1
# cannot rise, one close to 0 hardly moves, so no gradient comes back. The choice is made at random, before
# any learning, and it cannot be unmade.
#
# "Cannot be unmade" is a claim about learning, so let us watch some. There are 32 keys, and 32 queries, random at first, that
# should learn to find one key each, by plain gradient descent. Perhaps a larger learning rate makes up for the small
# gradient? Try eight of them, over four orders of magnitude.


# %%
def share_found(d: int, factor: float, rate: float) -> float:
    """Train 32 queries for 200 steps; the share that then looks most at its own key."""
    generator = torch.Generator().manual_seed(1)
    queries, keys = torch.randn(32, d, generator=generator), torch.randn(32, d, generator=generator)
    for _ in range(200):
        queries.requires_grad_()
        weights = attention_weights(factor * attention_scores(queries, keys))
        loss = (weights - torch.eye(32)).square().sum(-1).mean()
        (gradient,) = torch.autograd.grad(loss, queries)
        queries = (queries - rate * gradient).detach()
    return float((weights.argmax(-1) == torch.arange(32)).float().mean())


rates = [0.01, 0.1, 0.3, 1, 3, 10, 30, 100]
with plots.style():
    figure, axes = plt.subplots(1, 2, figsize=(9, 2.9), sharey=True, layout="constrained")
    for ax, d in zip(axes, (16, 256), strict=True):
        for i, (name, factor) in enumerate((("with 1/√d", 1.0), ("without", math.sqrt(d)))):
            found = [100 * share_found(d, factor, rate) for rate in rates]
            ax.plot(
                rates, found, color=plots.COLORS[i], linestyle=plots.DASHES[i], marker="o", markersize=3, label=name
            )
        ax.set(title=f"d = {d}", xlabel="learning rate", xscale="log", ylim=(0, 105))
        ax.grid(axis="y")
        ax.legend(loc="upper left")
    axes[0].set_ylabel("queries that found their key (%)")
plt.show()

# %% [markdown]
# At $d = 16$ both learn, given a good rate. At $d = 256$ no learning rate rescues the unscaled version. Small steps
# do not move it, and large ones throw a query from one wrong certainty into the next. One division, and the
# same rates work at both widths.

# %% [markdown]
# ## Experiment 3: an utterance looks at itself
#
# Now real frames, of a synthetic voice from TinySpeech. Let the frames be queries, keys and values all at once: each
# asks "who sounds like me?". That is [self-attention](../docs/glossary.md#self-attention), and nothing in it is learnt yet. Listen first:

# %% tags=["nbval-ignore-output"]
utterance = next(u for u in read_corpus("tinyspeech/test").utterances if u.id == "156-1156-0003")
samples = torch.from_numpy(read_audio(utterance.audio))
features = log_mel(samples, 16_000)  # (frames, 80), a frame every 10 ms
print(utterance.text, tuple(features.shape))
Audio(samples.numpy(), rate=16_000)

# %% [markdown]
# The word times below were marked by eye in this picture. In chapter 07 a machine finds such times.

# %% tags=["nbval-ignore-output"]
words = [("LUCY", 0.14, 0.53), ("HAS", 0.56, 0.76), ("FOUR", 0.78, 1.06), ("BROTHERS", 1.07, 1.54)]
words += [("AND", 1.66, 1.88), ("FOUR", 1.93, 2.19), ("SISTERS", 2.2, 2.82)]  # seconds

with plots.style():
    figure, ax = plt.subplots(figsize=(8, 2.4), layout="constrained")
    plots.mel(features, title="The word FOUR is said twice", axes=ax)
    ax.set_title(ax.get_title(loc="left"), pad=14)
    for text, start, end in words:
        ax.text((start + end) / 2, 82, text, ha="center", fontsize=7)
        for edge in (start, end):
            ax.axvline(edge, color="white", linewidth=0.8)
plt.show()

# %% [markdown]
# **Predict first.** Where in the map do you expect dark places, besides the diagonal? Think of the repeated word, of
# the sound S, of the silence at both ends. Then look at what the raw features do:

# %% tags=["nbval-ignore-output"]
_, weights = scaled_dot_product_attention(features, features, features)
figure = plots.attention_map(weights, 0.01, 0.01, "Raw log-mel: almost everyone looks at the same few frames")
figure.axes[0].images[0].set_clim(0, 1)
plt.show()

favourite = int(weights.mean(0).argmax())
lengths = features.norm(dim=-1)
print(f"the frame at {favourite / 100:.2f} s gets {100 * weights[:, favourite].mean():.0f} % of all attention;")
print(f"it is number {1 + int((lengths > lengths[favourite]).sum())} of {len(lengths)} in length as a vector")

# %% [markdown]
# A disappointment, and an instructive one. Raw log-mel values are nearly all large and positive, so the frames point in much
# the same direction, and the dot product measures mostly how *long* the key is, that is, how loud the frame. A column:
# everybody looks at the loudest place. Attention measures what the vectors make large, not what you meant.
#
# So take away what all frames share: subtract the mean of each mel bin over the utterance, and divide by its standard
# deviation, as in chapter 00. What is left in a frame is how it differs from the others.

# %% tags=["nbval-ignore-output"]
normalised = (features - features.mean(0)) / features.std(0)
_, weights = scaled_dot_product_attention(normalised, normalised, normalised)

with plots.style():
    figure, ax = plt.subplots(figsize=(7.5, 6.5), layout="constrained")
    plots.attention_map(weights, 0.01, 0.01, "Normalised log-mel: sounds find their like", axes=ax)
    ax.images[0].set_clim(0, 0.03)  # black from 0.03 on, so that faint places show
    ax.set_title(ax.get_title(loc="left"), pad=14)
    for text, start, end in words:
        ax.text((start + end) / 2, -0.02, text, ha="center", fontsize=7)
        ax.text(2.99, (start + end) / 2, text, va="center", fontsize=7)
    # The two places where one FOUR looks at the other.
    for row, column in ((words[2], words[5]), (words[5], words[2])):
        width, height = column[2] - column[1], row[2] - row[1]
        ax.add_patch(plt.Rectangle((column[1], row[1]), width, height, fill=False, color=plots.COLORS[1]))
plt.show()

first, second = slice(78, 106), slice(193, 219)  # frames of the two FOURs
among, even = weights[first, second].sum(-1).mean(), 26 / len(weights)
print(
    f"{100 * among:.0f} % of the attention of the first FOUR goes to the second; spread evenly it would be {100 * even:.0f} %"
)

# %% [markdown]
# Now it can be read:
#
# - **The diagonal.** A frame is like itself and its neighbours; a sound that lasts makes a dark square on it.
# - **The boxes.** One FOUR looks at the other, more than a second away. Inside a box there is a small diagonal of its own: the
#   beginning of the word finds the beginning, the end finds the end.
# - **Dark places off the diagonal elsewhere.** From such a place go left to the word that looks and up to the word that is
#   looked at, and you have two sounds that are alike: the S of LUCY and each S of SISTERS, the last syllables of BROTHERS
#   and SISTERS. The silences at both ends look at each other, and so does every quiet moment in between.
# - **Pale rows.** A frame that resembles many others a little shares out its 1 widely.
#
# All this without a single learnt number. What is missing is a choice of what to compare. Here a frame finds frames
# that *sound* alike, although it might rather need the vowel after it, or the same letter from another mouth. In the
# next chapter learnt matrices turn frames into queries, keys and values, and then *what is alike* can be learnt.

# %% [markdown]
# ## Experiment 4: attention does not hear order
#
# Cut the utterance into pieces of a tenth of a second and shuffle them. Listen:

# %% tags=["nbval-ignore-output"]
whole = len(features) // 10 * 10  # frames in whole pieces
order = torch.randperm(whole // 10, generator=torch.Generator().manual_seed(2))
pieces = samples[: whole * 160].view(-1, 1600)  # a piece of 10 frames is 1600 samples
Audio(pieces[order].flatten().numpy(), rate=16_000)

# %% [markdown]
# **Predict first.** Take one frame of the first FOUR as query, and let it attend to the frames in order, then to the
# shuffled frames. How far will the two contexts be apart?

# %%
frames = normalised[:whole]
shuffled = frames.view(-1, 10, 80)[order].flatten(0, 1)  # (frames, 80)
query = normalised[100:101]  # (1, 80)

in_order, _ = scaled_dot_product_attention(query, frames, frames)
out_of_order, _ = scaled_dot_product_attention(query, shuffled, shuffled)
print("the same context:", torch.allclose(in_order, out_of_order, atol=1e-4))

# %% [markdown]
# No difference. You could not understand a word, and attention did not notice. Nothing in the equation knows that key
# 5 comes after key 4: the mixture is a sum, and a sum does not care in which order it is added up. For speech, where
# order is nearly everything, that has to be mended, and chapter 04 does so.

# %% [markdown]
# ## Experiment 5: what it costs
#
# Every query meets every key: $n$ frames make $n^2$ scores. Each score is a sum of $d$ products, and mixing the values costs as
# many again, so $2 n^2 d$ multiplications in all. Count them for $d = 64$, and the memory for one matrix of
# weights in 4-byte numbers.
#
# **Predict first.** From 10 seconds of speech to 30, by what does the memory grow?


# %%
def cost(seconds: int, frames_per_second: int, d: int = 64) -> str:
    n = seconds * frames_per_second
    return f"{n:5,} frames, weights {4 * n * n / 1000:9,.0f} kB, {2 * n * n * d / 1e6:7,.1f} million multiplications"


for seconds in (1, 10, 30):
    print(f"{seconds:2} s at 10 ms a frame: {cost(seconds, 100)}")
    print(f"{seconds:2} s at 40 ms a frame: {cost(seconds, 25)}")

# %% [markdown]
# Three times the speech costs nine times as much, for each utterance, each layer and (from the next chapter on) each head, and training
# keeps all those matrices for the backward pass. This is why recognisers make frames coarser before they attend: four times
# fewer frames cost sixteen times less (chapter 05). And it is why fused kernels exist that never store the
# matrix of weights; they compute the same function as yours, in pieces.

# %% [markdown]
# ## Deep dive: the backward pass by hand
#
# Optional: exercises 1.4 to 1.6, about an hour and a half. Until now PyTorch found the gradients. Here you find them
# yourself, with a pencil and NumPy, for three layers: softmax, linear, attention. Nothing later needs them. But
# afterwards you know what a saturated softmax does to learning, where NaN gradients come from, and what training has to
# keep in memory.
#
# Two letters change. So far $W$ was the matrix of attention weights. In this section the weights are $P$, for they are
# probabilities, and $W$ is what it is everywhere else: the weight matrix of a linear layer.
#
# ### What a backward pass is asked
#
# A layer computes $y$ from $x$. What comes after it turns $y$ into a single number, the loss $L$. On the way back
# somebody hands the layer the gradient $g$, with $g_i = \partial L / \partial y_i$: how much $L$ changes for a small
# change of each number of $y$. It has the shape of $y$. The layer answers the same question about its input:
#
# $$\frac{\partial L}{\partial x_j} = \sum_i g_i \, \frac{\partial y_i}{\partial x_j}$$
#
# Each $y_i$ that $x_j$ touches is a path from $x_j$ to the loss, and the paths add up.
#
# The numbers $\partial y_i / \partial x_j$ make a matrix, the [Jacobian](../docs/glossary.md#jacobian) of the layer,
# with a row for each output and a column for each input. The softmax over one row of 1000 scores has a Jacobian of a
# million numbers. Nobody builds it. *Deriving a backward pass* means simplifying the sum on paper until what is left
# costs no more than the forward pass did.
#
# Three facts help you all the way:
#
# - **Shapes.** The gradient of a thing has the shape of the thing.
# - **Sharing.** What is used several times, such as a bias that is added to every row, gets the sum over all its uses.
# - **No influence, no gradient.** What cannot change $L$ gets 0.
#
# ### The referee
#
# A gradient can also be found by trial: move one number of $x$ up by a small step, then down, and see what $L$ does. It
# is slow and only approximate, but it cannot share a mistake in your derivation. The library has it:

# %%
import numpy as np

from asr_tutorial.by_hand import Array, numerical_gradient

np.set_printoptions(precision=3, suppress=True)
show("by_hand.numerical_gradient")

# %% [markdown]
# The sum of cubes has the gradient $3 x^2$, which is $3, 12, 27$ at $1, 2, 3$:

# %%
print(numerical_gradient(lambda x: (x**3).sum(), np.array([1.0, 2.0, 3.0])))

# %% [markdown]
# ### Softmax
#
# Let $x$ have $n$ numbers and $p_i = e^{x_i} / Z$ with $Z = \sum_k e^{x_k}$. The numerator of $p_i$ knows only $x_i$,
# the denominator knows every $x_j$. So there are two cases. With the quotient rule,
#
# $$i = j: \quad \frac{\partial p_i}{\partial x_i} = \frac{e^{x_i} Z - e^{x_i} e^{x_i}}{Z^2} = p_i (1 - p_i), \qquad
# i \ne j: \quad \frac{\partial p_i}{\partial x_j} = \frac{0 - e^{x_i} e^{x_j}}{Z^2} = - p_i p_j .$$
#
# With numbers: $x = (0, \ln 3)$ has the exponentials $1$ and $3$, hence $p = (\frac14, \frac34)$ and the Jacobian
#
# $$\frac{1}{16} \begin{pmatrix} 3 & -3 \\ -3 & 3 \end{pmatrix}.$$
#
# Let the gradient that arrives be $g = (5, 1)$. Then
# $\partial L / \partial x_1 = 5 \cdot \frac{3}{16} - 1 \cdot \frac{3}{16} = \frac34$, and
# $\partial L / \partial x_2 = - \frac34$.
#
# Now for any length, and without the Jacobian: put both cases into $\sum_i g_i \, \partial p_i / \partial x_j$ and
# simplify. One sum will be left, the same for every $j$. Do it on paper before you unfold this:
#
# <details><summary>The derivation</summary>
#
# One term of the sum has $i = j$, the others have not:
#
# $$g_j p_j (1 - p_j) - \sum_{i \ne j} g_i p_i p_j = g_j p_j - \sum_i g_i p_i p_j = p_j \Big( g_j - \sum_i p_i g_i \Big)$$
#
# The term $- g_j p_j p_j$ is just the one that the sum lacked. What is left is the mean of $g$ under $p$: an input
# whose output has a gradient above the mean gets a positive gradient, one below it a negative one. With the numbers
# above, the mean is $\frac54 + \frac34 = 2$, and $\frac14 (5 - 2) = \frac34$, $\frac34 (1 - 2) = -\frac34$.
#
# </details>
#
# The forward pass has to be more careful than the formula. $e^{710}$ is more than a double holds, and scores can be
# larger than that; but a softmax sees only differences, so some number may be taken off all of them first. And minus
# infinity marks what may not be attended. It gets probability 0, and where *all* numbers are minus infinity, all get 0.
# By the formula such a row is $0 / 0$. Look at the derivation to see what NaN in $p$ would do to the gradient, even
# where $g$ is 0: that is how NaN gradients begin.
#
# **Exercise 1.4** · 25 minutes · difficulty 3 of 5 · optional
#
# Write both passes, along any axis: `self.axis` says which, and NumPy's `max` and `sum` take `axis=` and
# `keepdims=True`. `forward` may keep whatever it likes as attributes of `self`; `backward` finds them there. The array
# `x` has any shape. `np` is at hand.


# %%
@exercise("1.4")
class Softmax:  # these methods become part of asr_tutorial.by_hand.Softmax
    def forward(self, x: Array) -> Array:
        """Numbers of any size to probabilities that sum to 1 along ``axis``, of the same shape.

        Large numbers do not overflow. Minus infinity gets 0; where all are minus infinity, all get 0.
        """
        raise NotImplementedError("exercise 1.4")

    def backward(self, gradient: Array) -> Array:
        """dL/dp -> dL/dx, both of the shape of x."""
        raise NotImplementedError("exercise 1.4")


# %%
Softmax = check("1.4")

# %% [markdown]
# Stuck? `asr-tutorial hint 1.4` in a terminal, one hint at a time.
#
# Try it: the example, then a comparison with PyTorch along the first axis of an array of three axes.

# %%
layer = Softmax()
print("p:     ", layer.forward(np.array([0.0, np.log(3)])))
print("dL/dx: ", layer.backward(np.array([5.0, 1.0])))

random = np.random.default_rng(0)
x, g = random.normal(size=(2, 3, 4)), random.normal(size=(2, 3, 4))
theirs = torch.tensor(x, requires_grad=True)
theirs.softmax(dim=0).backward(torch.tensor(g))

layer = Softmax(axis=0)
layer.forward(x)
print("as autograd:", np.allclose(layer.backward(g), theirs.grad))

# %% [markdown]
# **Experiment: the Jacobian of a softmax that is too sure.** For once, look at the Jacobian itself. Row $i$ is what
# `backward` returns for a gradient of 1 on output $i$ and 0 elsewhere, so one call with such a gradient in each row
# gives it all.
#
# Five scores, multiplied by 1, by 4 and by 16. **Predict first:** with the factor, do the numbers of the Jacobian grow
# or shrink?

# %%
scores = np.array([0.3, -0.2, 1.0, 0.1, -0.5])

with plots.style():
    figure, axes = plt.subplots(1, 3, figsize=(9.2, 3.4), layout="constrained")
    for ax, factor in zip(axes, (1, 4, 16), strict=True):
        layer = Softmax()
        p = layer.forward(np.tile(factor * scores, (5, 1)))  # the same five scores in each of 5 rows
        jacobian = layer.backward(np.eye(5))  # (outputs, inputs)
        image = ax.imshow(np.abs(jacobian), cmap=plots.WEIGHTS, vmin=0, vmax=0.25, aspect="equal")
        for i, j in np.ndindex(5, 5):
            number = f"{jacobian[i, j]:+.2f}".replace("-", "−") if abs(jacobian[i, j]) >= 0.005 else "0"
            shade = "white" if abs(jacobian[i, j]) > 0.12 else "black"
            ax.text(j, i, number, ha="center", va="center", fontsize=7, color=shade)
        ax.set(
            title=f"scores × {factor}: largest p = {p.max():.2f}", xlabel="input j", xticks=range(5), yticks=range(5)
        )
    axes[0].set_ylabel("output i")
    figure.suptitle("The surer the softmax, the emptier its Jacobian", x=0.005, ha="left", weight="bold")
    figure.colorbar(image, ax=axes, label=r"size of $\partial p_i / \partial x_j$", pad=0.01)
plt.show()

# %% [markdown]
# The surer the softmax, the paler its Jacobian, until nothing is left. Every entry has a factor $p_i$, and either $p_j$
# or $1 - p_i$; when one $p$ is nearly 1 and the others nearly 0, each entry has a factor near 0. Whatever gradient $g$
# arrives is multiplied by this. It is the blow that experiment 2 dealt to attention without $\sqrt d$, seen from
# inside. Note also that each row and each column sums to 0: a softmax can only redistribute.

# %% [markdown]
# ### Linear
#
# A linear layer turns each row $x$ of its input, with $n$ numbers, into a row $y = W x + b$ with $m$ numbers. $W$ is
# $(m, n)$:
#
# $$y_o = \sum_i W_{oi} x_i + b_o$$
#
# Three things can change the loss here, so three gradients are asked for. Take them one at a time, for one row, and ask
# of each number *which $y_o$ does it touch, and with what factor?*
#
# - $x_i$ touches every $y_o$, with the factor $W_{oi}$.
# - $W_{oi}$ touches $y_o$ alone, with the factor $x_i$.
# - $b_o$ touches $y_o$ alone, with the factor $1$.
#
# With numbers, let
#
# $$W = \begin{pmatrix} 1 & 2 \\ 0 & 1 \\ -1 & 1 \end{pmatrix}, \quad b = \begin{pmatrix} 0 \\ 0 \\ 10 \end{pmatrix}, \quad
# x = \begin{pmatrix} 3 \\ 4 \end{pmatrix}, \quad y = \begin{pmatrix} 11 \\ 4 \\ 11 \end{pmatrix}, \quad g = \begin{pmatrix} 1 \\ 0 \\ 2 \end{pmatrix}.$$
#
# $\partial L / \partial x_1 = 1 \cdot 1 + 0 \cdot 0 + 2 \cdot (-1) = -1$, and in the same way
# $\partial L / \partial x_2 = 4$. $W_{32}$ has the gradient $g_3 x_2 = 2 \cdot 4 = 8$, and the bias has $g$ itself.
#
# A real input has many rows: all frames of all utterances. Each row has an $x$, a $y$ and a $g$ of its own, but they
# all use the same $W$ and $b$. You know what that means from the three facts above.
#
# <details><summary>The derivation</summary>
#
# For one row, the sums $\partial L / \partial x_i = \sum_o g_o W_{oi}$ are the product $W^\top g$. The products
# $g_o x_i$ make the matrix $g x^\top$, which has the shape of $W$. For many rows, lay the $x$ below each other as a
# matrix $X$ (rows, inputs), and the $g$ as $G$ (rows, outputs). The gradient of the input, row by row, is $G W$. That
# of $W$ is the sum of all $g x^\top$, which is the matrix product $G^\top X$, and that of $b$ is the sum of the rows of
# $G$.
#
# </details>
#
# **Exercise 1.5** · 20 minutes · difficulty 2 of 5 · optional
#
# Write both passes. The input has any number of axes in front: `(batch, time, inputs)`, say. `self.weight` and
# `self.bias` (an array or None) are there already. `backward` returns the gradient of the input, and stores the other
# two as `self.weight_gradient` and `self.bias_gradient`.


# %%
@exercise("1.5")
class Linear:  # these methods become part of asr_tutorial.by_hand.Linear
    def forward(self, x: Array) -> Array:
        """(..., inputs) -> (..., outputs), with any number of axes in front."""
        raise NotImplementedError("exercise 1.5")

    def backward(self, gradient: Array) -> Array:
        """dL/dy, (..., outputs) -> dL/dx, (..., inputs).

        Stores dL/dW as ``weight_gradient`` and, where there is a bias, dL/db as ``bias_gradient``, anew in each call.
        """
        raise NotImplementedError("exercise 1.5")


# %%
Linear = check("1.5")

# %% [markdown]
# Stuck? `asr-tutorial hint 1.5` in a terminal, one hint at a time.
#
# Try it on a batch of 2 utterances with 3 frames of 5 numbers each:

# %%
theirs = torch.nn.Linear(5, 4).double()
layer = Linear(theirs.weight.detach().numpy(), theirs.bias.detach().numpy())
x, g = random.normal(size=(2, 3, 5)), random.normal(size=(2, 3, 4))

their_x = torch.tensor(x, requires_grad=True)
theirs(their_x).backward(torch.tensor(g))
layer.forward(x)
print("input: ", np.allclose(layer.backward(g), their_x.grad))
print("weight:", np.allclose(layer.weight_gradient, theirs.weight.grad), layer.weight_gradient.shape)
print("bias:  ", np.allclose(layer.bias_gradient, theirs.bias.grad), layer.bias_gradient.shape)

# %% [markdown]
# ### Attention
#
# Now you have all the parts. Forward, attention takes three steps (a mask comes in between):
#
# $$S = \frac{Q K^\top}{\sqrt d}, \qquad P = \mathrm{softmax}(S), \qquad C = P V .$$
#
# Two of them are products of matrices, $Y = A B$. A product is a linear layer for either factor while the other one
# stands still, so you have derived its gradients already. Write $\mathrm{d}Y$ for $\partial L / \partial Y$, of the
# shape of $Y$:
#
# $$\mathrm{d}A = \mathrm{d}Y \, B^\top, \qquad \mathrm{d}B = A^\top \, \mathrm{d}Y .$$
#
# If you forget on which side the transpose goes, ask the shapes: $A$ is $(n, m)$, $B$ is $(m, k)$, $\mathrm{d}Y$ is
# $(n, k)$, and only one product of $\mathrm{d}Y$ with $B$ is $(n, m)$.
#
# **By hand**, with the $Q$, $K$ and $V$ of the beginning. Let the loss be the first number of the first answer,
# $L = C_{11} = 1.267$. So $\mathrm{d}C$ has a 1 there and 0 elsewhere, and everything that belongs to the second query
# stays 0. The rest, from the last step to the first, all for the first query:
#
# - $C_{11} = \sum_j P_{1j} V_{j1}$. The values' first numbers have the gradients $P_1 = (0.422, 0.155, 0.422)$, and the
#   weights have $\mathrm{d}P_1 = (V_{11}, V_{21}, V_{31}) = (1, 0, 2)$: to raise the answer, look where the value is
#   large.
# - Softmax: the mean of $\mathrm{d}P_1$ under $P_1$ is $0.422 \cdot 1 + 0.422 \cdot 2 = 1.267$. So
#   $\mathrm{d}S_1 = (0.422 \, (1 - 1.267), \; 0.155 \, (0 - 1.267), \; 0.422 \, (2 - 1.267)) = (-0.113, -0.197, 0.310)$.
#   Look more at the third key; less at the second, but less at the first, too, for its value of 1 is below what the
#   query gets already.
# - Scores: $S_{1j} = Q_1 \cdot K_j / 2$. So
#   $\mathrm{d}Q_1 = (-0.113 \, K_1 - 0.197 \, K_2 + 0.310 \, K_3) / 2 = (0.098, -0.042, 0.155, 0.098)$, and each key
#   gets its share of the query, $\mathrm{d}K_j = \mathrm{d}S_{1j} \, Q_1 / 2$; for the third, $(0.310, 0, 0, 0)$.
#
# The mean was $1.267$, and so was $C_{11}$. That is no coincidence, and you meet it again below.
#
# And the mask? A forbidden key has the score minus infinity, which does not depend on $Q$ or $K$, and a weight of 0.
# Before you write a line for it in `backward`, look what $P_{ij} = 0$ does to $\mathrm{d}S_{ij}$ and to
# $\mathrm{d}V_j$.
#
# <details><summary>All steps back</summary>
#
# $$\mathrm{d}V = P^\top \mathrm{d}C, \qquad \mathrm{d}P = \mathrm{d}C \, V^\top, \qquad
# \mathrm{d}S = P \odot \big(\mathrm{d}P - \mathrm{rowsum}(P \odot \mathrm{d}P)\big), \qquad
# \mathrm{d}Q = \frac{\mathrm{d}S \, K}{\sqrt d}, \qquad \mathrm{d}K = \frac{\mathrm{d}S^\top Q}{\sqrt d}$$
#
# Here $\odot$ multiplies entry by entry. The formula of $\mathrm{d}S$ is your `Softmax.backward`. Where $P_{ij} = 0$ it
# gives $\mathrm{d}S_{ij} = 0$ all by itself, so the mask needs nothing more on the way back.
#
# </details>
#
# **Exercise 1.6** · 40 minutes · difficulty 4 of 5 · optional
#
# Write both passes. Any axes in front come along, so transpose with `x.swapaxes(-2, -1)`. `self.softmax` is a `Softmax`
# along the last axis (yours, if it passed). A query that may attend to nothing gives zeros and gets zeros. `np` and
# `math` are at hand.


# %%
@exercise("1.6")
class ScaledDotProductAttention:  # these methods become part of asr_tutorial.by_hand.ScaledDotProductAttention
    def forward(self, query: Array, key: Array, value: Array, mask: Array | None = None) -> Array:
        """Attend from every query to the keys.

        Args:
            query: (..., queries, d).
            key: (..., keys, d).
            value: (..., keys, d_value).
            mask: boolean, broadcastable to (..., queries, keys), True = may be attended.

        Returns:
            The context, (..., queries, d_value). A query that may attend to nothing gets zeros.

        Raises:
            ValueError: the shapes do not fit together, or the mask is not boolean.
        """
        self._check_inputs(query, key, value, mask)
        raise NotImplementedError("exercise 1.6")

    def backward(self, gradient: Array) -> tuple[Array, Array, Array]:
        """dL/dC, (..., queries, d_value) -> dL/dQ, dL/dK and dL/dV, each of the shape of its input.

        A query that may attend to nothing gets zeros, and so does a key that nobody may attend to, and its value.
        """
        raise NotImplementedError("exercise 1.6")


# %%
ScaledDotProductAttention = check("1.6")

# %% [markdown]
# Stuck? `asr-tutorial hint 1.6` in a terminal, one hint at a time.
#
# Try it. First the numbers from above. Then 4 queries and 6 keys with two axes in front and a mask, against autograd
# through the function that you wrote in 1.3; the first query may attend to nothing.

# %%
layer = ScaledDotProductAttention()
context = layer.forward(Q.double().numpy(), K.double().numpy(), V.double().numpy())
d_query, d_key, d_value = layer.backward(np.array([[1.0, 0], [0, 0]]))
print("C:\n", context)
print("dQ:\n", d_query)
print("dK:\n", d_key)
print("dV:\n", d_value)

# %%
inputs = [random.normal(size=(2, 3, length, 8)) for length in (4, 6, 6)]
g = random.normal(size=(2, 3, 4, 8))
mask = np.tril(np.ones((4, 6), dtype=bool), -1)  # (queries, keys)

tensors = [torch.tensor(array, requires_grad=True) for array in inputs]
their_context, _ = scaled_dot_product_attention(*tensors, torch.tensor(mask))
their_context.backward(torch.tensor(g))

layer = ScaledDotProductAttention()
context = layer.forward(*inputs, mask)
print("context:", np.allclose(context, their_context.detach()))
for name, got, tensor in zip(("query", "key", "value"), layer.backward(g), tensors, strict=True):
    print(f"{name}:", np.allclose(got, tensor.grad), got.shape)

# %% [markdown]
# **What has to be kept.** The way back needs $Q$, $K$, $V$ and $P$. So $P$ waits in memory from the forward pass of its
# layer until the backward pass comes back to it, and $P$ is the matrix of experiment 5, the one that grows with the
# square of the length. It is one reason why training takes so much more memory than recognition.
#
# **How fused kernels do without.** The mean of $\mathrm{d}P_i$ under $P_i$ came out as $C_{11}$. In general
# $\sum_j P_{ij} \, \mathrm{d}P_{ij} = \sum_j P_{ij} \, (\mathrm{d}C_i \cdot V_j) = \mathrm{d}C_i \cdot \sum_j P_{ij} V_j = \mathrm{d}C_i \cdot C_i$:
# the row sum over all keys is a dot product of two short vectors. Fused kernels use this. They never store $P$, and
# compute it again on the way back, piece by piece, from $Q$ and $K$. A sum over a whole row would need all pieces at
# once; they get it from $C$ instead, which is small.
#
# **Experiment: how small a step?** The referee has a weakness. **Predict first:** the formula
# $(L(x + h) - L(x - h)) / 2h$ is exact as $h$ goes to 0. So is $h = 10^{-12}$ better than $h = 10^{-5}$? And what if
# $L$ is computed in single precision, as models are?

# %%
query, key, value = (array[0, 0] for array in inputs)  # (4, 8), (6, 8), (6, 8)
direction = g[0, 0]  # the loss is the sum of context * direction, so this is its gradient by the context


def loss(query: Array) -> float:
    arrays = (array.astype(query.dtype) for array in (key, value))
    return (ScaledDotProductAttention().forward(query, *arrays) * direction.astype(query.dtype)).sum()


layer = ScaledDotProductAttention()
layer.forward(query, key, value)
exact, *_ = layer.backward(direction)

steps = np.logspace(-13, 0, 27)
errors = {
    "L in double precision": [np.abs(numerical_gradient(loss, query, h) - exact).max() for h in steps],
    "L in single precision": [
        np.abs(numerical_gradient(lambda q: loss(q.astype(np.float32)), query, h) - exact).max() for h in steps
    ],
}
with plots.style():
    figure, ax = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
    for i, (name, curve) in enumerate(errors.items()):
        ax.loglog(steps, curve, color=plots.COLORS[i], linestyle=plots.DASHES[i], marker="o", markersize=3, label=name)
    ax.set(title="The best step is neither small nor large", xlabel="step h", ylabel="largest error of the gradient")
    ax.grid()
    ax.legend()
plt.show()

# %% [markdown]
# Read each curve from the right. First the error falls with $h^2$, a hundredfold for a tenth of the step: the formula
# takes a chord for a tangent, and the chord gets shorter. Then the error rises again, with $1 / h$. $L(x + h)$ and
# $L(x - h)$ become so alike that their difference is mostly rounding, and the division by $2h$ magnifies it. Where the
# curve for single precision is flat, at the left, $x + h$ has been rounded to $x$, and the gradient comes out as 0.
#
# The best step lies between, near the cube root of the precision: some $10^{-5}$ in double and $10^{-2}$ in single. So
# check gradients in double precision. There an error of $10^{-4}$ is not rounding, it is a mistake. In single
# precision, with a step of $10^{-5}$, rounding alone makes errors of a few hundredths, and you cannot tell the two apart.

# %% [markdown]
# ## The usual mistakes
#
# | mistake | what you see |
# |---|---|
# | no division by $\sqrt d$ | no error; training starts slowly or not at all, the more so the wider the heads; maps are black and white from the first step |
# | division by $d$, or by the root of the number of keys | no error; weights are nearly flat, every answer is nearly the mean of all values |
# | softmax over the queries (`dim=-2`) | columns sum to 1 instead of rows; with one query, as in decoding, every weight is 1 |
# | mask inverted | loss falls suspiciously well in training (the model sees what it should predict), decoding is nonsense; or only padding is attended. Public threads: [SpeechBrain 2276](https://github.com/speechbrain/speechbrain/issues/2276), [x-transformers 160](https://github.com/lucidrains/x-transformers/issues/160), [PyTorch 114083](https://github.com/pytorch/pytorch/issues/114083) |
# | forbidden scores set to 0 instead of very low | 0 is a perfectly ordinary score: padding is attended, and results depend on the batch |
# | weights set to 0 after the softmax, without sharing out anew | rows sum to less than 1; outputs shrink with the amount of padding |
# | minus infinity, and a row with nothing allowed | NaN after some thousand steps, when the first such batch comes ([PyTorch 41508](https://github.com/pytorch/pytorch/issues/41508)) |
# | a very low score, and nothing more | a row with nothing allowed attends *evenly* to what is forbidden; it learns from padding |
# | `key.T` with a batch axis | a shape error if you are lucky |
# | returning `(weights, context)` | a shape error if you are lucky: with as many keys as value entries there is none |

# %% [markdown]
# ## Quiz
#
# **1.** A query is a vector of zeros. What are its weights and its context, without a mask?
#
# <details><summary>Answer</summary>
#
# All its scores are 0, so the keys share 1 equally, and the context is the plain mean of the values. Attention includes
# mean pooling as the case of a query that asks for nothing.
#
# </details>
#
# **2.** You add the same vector $c$ to every key. What changes? And if you add it to every query instead?
#
# <details><summary>Answer</summary>
#
# To every key: all scores of row $i$ rise by the same number, $q_i \cdot c / \sqrt d$, and a softmax sees only differences. Nothing
# changes. To every query: the scores of column $j$ rise by $c \cdot k_j / \sqrt d$, which is different for each key, so keys that point
# along $c$ win everywhere. That was the dark column of experiment 3: the mean that all *queries* shared made it.
#
# </details>
#
# **3.** Two utterances of 300 and 400 frames share a batch, the shorter one padded. Somebody masks the *rows* of the padding
# (no padded query may look anywhere) and leaves the columns alone. What goes wrong?
#
# <details><summary>Answer</summary>
#
# Real frames still look at padded keys. A padded frame is a vector like any other; if it is zero its score is 0, and $e^0 = 1$
# is a real share. The output for the shorter utterance then depends on how long its neighbour is. It is the
# columns that matter: what lies in padded *rows* comes out as padding and can be ignored.
#
# </details>

# %% [markdown]
# ## Where this goes next
#
# In [chapter 02](02_multi_head_attention.ipynb) learnt matrices make queries, keys and values out of the same frames, and several attentions look
# at different things side by side. Chapter 03 makes the masks, chapter 04 brings back the order.
#
# ## References
#
# - A. Vaswani et al., [Attention is all you need](https://arxiv.org/abs/1706.03762), 2017: section 3.2.1 is this chapter, with the
#   reason for the scale in a footnote.
# - D. Bahdanau, K. Cho and Y. Bengio, [Neural machine translation by jointly learning to align and translate](https://arxiv.org/abs/1409.0473),
#   2014: where attention came from, with a small network in place of the dot product.
# - J. Chorowski et al., [Attention-based models for speech recognition](https://arxiv.org/abs/1506.07503), 2015: attention meets speech, and the
#   trouble with repeated sounds that you saw in experiment 3.
# - T. Dao et al., [FlashAttention](https://arxiv.org/abs/2205.14135), 2022: the same function without storing the matrix of weights.
