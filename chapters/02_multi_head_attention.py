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
# # 02 · Multi-head attention
#
# In chapter 01 a query shared out one unit of attention over all keys. One sharing-out is one look. In this chapter you
# give the layer several looks at once: `MultiHeadAttention`, the block that every layer of the recogniser is made of.
# From the end of this chapter on, every encoder and decoder layer in your kernel runs your code.
#
# **You need** chapter 01 (scores, weights, `scaled_dot_product_attention`) and PyTorch's `view`, `transpose` and
# `reshape`. **Time**: about 2.5 hours without the optional exercises; the core ones take one of them.
#
# | exercise | what you write | minutes | difficulty | |
# |---|---|---|---|---|
# | 2.1 | `split_heads`: from features to heads | 10 | 2 | core |
# | 2.2 | `merge_heads`: and back | 10 | 2 | core |
# | 2.3 | `project_keys_and_values` and `forward`: the whole layer | 35 | 3 | core |
# | 2.4 | `KeyValueCache`: what a decoder need not compute twice | 20 | 2 | optional |
# | 2.5 | multi-head attention with its backward pass, in NumPy | 50 | 5 | optional |

# %%
# The course comes first: from here on the library has what you wrote in earlier chapters.
from asr_tutorial.course import check, exercise, here, show

here("02")

# %%
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.nn import functional as F

from asr_tutorial import load, plots
from asr_tutorial.attention import (
    KeyValueCache,
    MultiHeadAttention,
    fused_attention,
    scaled_dot_product_attention,
)
from asr_tutorial.audio import read_audio
from asr_tutorial.corpus import read_corpus
from asr_tutorial.corpus.read import REPOSITORY
from asr_tutorial.ctc import best_path
from asr_tutorial.features import log_mel
from asr_tutorial.masks import causal_mask
from asr_tutorial.metrics import cer

# %% [markdown]
# ## Why one attention map is not enough
#
# Take two positions with values of two features each, $v_1 = (4, 2)$ and $v_2 = (8, 6)$. A query needs the *first*
# feature of position 2 and the *second* feature of position 1: it needs $(8, 2)$.
#
# One attention map gives position 1 some weight $w$ and position 2 the rest, $1 - w$. The same two weights multiply all
# features, so the answer is
#
# $$w \cdot (4, 2) + (1 - w) \cdot (8, 6) = (8 - 4w,\; 6 - 4w).$$
#
# To have 8 in the first place, $w$ must be 0, and then the second place holds 6. To have 2 in the second, $w$ must be
# 1, and then the first holds 4. No $w$ gives $(8, 2)$: one map can only *average* whole positions.
#
# Now cut the two features apart and give each its own map, with its own weights. The first takes $w = 0$ and gives 8,
# the second takes $w = 1$ and gives 2. Side by side they are $(8, 2)$. Each such map, with the slice of features that
# it works on, is a [head](../docs/glossary.md#attention-head).
#
# Speech has this need everywhere. To tell what a frame belongs to, a layer may want a bit of the frame just before (is
# a sound beginning or ending?) and a bit of a frame far away (how does this voice say its vowels?), at the same time,
# and it must know which is which.

# %% [markdown]
# ## The equation
#
# Let $B$ utterances come together in a batch. The layer takes queries $X_q$ of shape $(B, L_q, d)$ and keys and values
# $X_k, X_v$ of shape $(B, L_k, d)$. $L_q$ and $L_k$ are the numbers of positions, and $d$ is the width of the model,
# `d_model` in the code. It has $H$ heads; $H$ must divide $d$, and $d_h = d / H$ is the width of a head.
#
# **Project.** Three learnt matrices $W_Q, W_K, W_V$ of shape $(d, d)$ and biases $b_Q, b_K, b_V$ of $d$ numbers make
#
# $$Q = X_q W_Q^\top + b_Q, \qquad K = X_k W_K^\top + b_K, \qquad V = X_v W_V^\top + b_V.$$
#
# **Split.** Head $h$ (counted from 0) gets the features $h d_h$ up to, but not including, $(h + 1) d_h$ of each: $Q_h$
# of shape $(B, L_q, d_h)$, $K_h$ and $V_h$ of shape $(B, L_k, d_h)$.
#
# **Attend** in each head on its own, with the function of chapter 01. Note the $\sqrt{d_h}$: the width of the *head*. The
# attention weights, $W$ in chapter 01, are called $A_h$ here, for $W$ now stands for the learnt matrices.
#
# $$A_h = \mathrm{softmax}\left(\frac{Q_h K_h^\top}{\sqrt{d_h}}\right) \text{ of shape } (B, L_q, L_k), \qquad C_h = A_h V_h \text{ of shape } (B, L_q, d_h).$$
#
# **Merge and project.** The contexts of the heads are laid side by side, and one more learnt matrix $W_O$, $(d, d)$,
# with its bias $b_O$ combines what they found:
#
# $$\mathrm{output} = [\,C_0, C_1, \dots, C_{H-1}\,]\, W_O^\top + b_O \quad\text{of shape } (B, L_q, d).$$

# %% [markdown]
# ### Projections are learnt views
#
# Without the projections a head would compare features 0 to $d_h - 1$ of one position with the same features of
# another, whatever they happen to hold. With them, *every* number of $Q_h$ is a weighted sum of *all* $d$ features. The
# rows of $W_Q$ and $W_K$ that belong to head $h$ choose what this head compares. The rows of $W_V$ choose what it
# fetches, which may be something else: a head can look for "a frame where a vowel begins" and bring back "how high the
# voice is there".
#
# A [projection](../docs/glossary.md#projection) of width $d$ that is cut into $H$ pieces is the same as $H$ narrow
# projections side by side. One large matrix product is faster than $H$ small ones, so everybody writes it that way.
#
# The picture follows the shapes for one utterance of 5 queries and 7 keys with $d = 6$ and $H = 3$. A box is as high as
# its tensor has rows and as wide as it has columns. Each shade of colour is one head.


# %% tags=["hide-input"]
def box(axes, left, middle, rows, columns, color, label="", edge="white"):
    """A tensor (rows, columns), centred on a height, with a grid of its numbers."""
    bottom = middle - rows / 2
    for row in range(rows):
        for column in range(columns):
            axes.add_patch(plt.Rectangle((left + column, bottom + row), 1, 1, facecolor=color, edgecolor=edge, lw=0.7))
    axes.text(left + columns / 2, bottom + rows + 0.35, label, ha="center", va="bottom", fontsize=7.5)


with plots.style():
    figure, axes = plt.subplots(figsize=(9.4, 5.0))
    shades = ("#1b4f72", "#d35400", "#8fc6bf")
    for name, middle, rows in (("Q", 20, 5), ("K", 10, 7), ("V", 0, 7)):
        box(axes, 0, middle, rows, 6, "#bbbbbb", f"$X_{{{name.lower()}}}$  ({rows}, 6)")
        for head in range(3):
            box(axes, 9 + 2 * head, middle, rows, 2, shades[head], f"${name}$  ({rows}, 6)" if head == 1 else "")
            box(axes, 18 + 3 * head, middle, rows, 2, shades[head], f"${name}_{head}$")
        axes.annotate("", (8.8, middle), (6.3, middle), arrowprops={"arrowstyle": "->", "color": "#444444"})
        axes.annotate("", (17.8, middle), (15.3, middle), arrowprops={"arrowstyle": "->", "color": "#444444"})
    for head in range(3):
        middle = 20 - 10 * head
        box(axes, 30, middle, 5, 7, shades[head], f"$A_{head}$  (5, 7)")
        box(axes, 40, middle, 5, 2, shades[head], f"$C_{head}$  (5, 2)")
        axes.annotate("", (29.8, middle), (27, 10), arrowprops={"arrowstyle": "->", "color": "#444444"})
        axes.annotate("", (39.8, middle), (37.2, middle), arrowprops={"arrowstyle": "->", "color": "#444444"})
        axes.annotate("", (45.8, 10), (42.3, middle), arrowprops={"arrowstyle": "->", "color": "#444444"})
        box(axes, 46 + 2 * head, 10, 5, 2, shades[head], "merged  (5, 6)" if head == 1 else "")
    axes.annotate("", (54.8, 10), (52.3, 10), arrowprops={"arrowstyle": "->", "color": "#444444"})
    box(axes, 55, 10, 5, 6, "#bbbbbb", "output  (5, 6)")
    for left, text in ((7.5, "project"), (16.5, "split"), (33.5, "attend"), (44, "merge"), (53.5, "project")):
        axes.text(left, 26.5, text, ha="center", fontsize=9, fontweight="bold")
    axes.set(xlim=(-1, 62), ylim=(-5, 28), aspect="equal", title="The features are shared out; the positions are not")
    axes.axis("off")
    plt.show()

# %% [markdown]
# Every head sees every position: the boxes of $Q_0$ are as high as that of $Q$. Each head has a map $A_h$ of its own,
# over all 7 keys.

# %% [markdown]
# ## Split into heads
#
# First by hand. One utterance of two positions with four features each, `d_model = 4`:
#
# $$x = \begin{pmatrix} 10 & 11 & 12 & 13 \\ 20 & 21 & 22 & 23 \end{pmatrix}$$
#
# With two heads, $d_h = 2$. Head 0 gets the left half of each row, head 1 the right half:
#
# $$x_0 = \begin{pmatrix} 10 & 11 \\ 20 & 21 \end{pmatrix}, \qquad x_1 = \begin{pmatrix} 12 & 13 \\ 22 & 23 \end{pmatrix}$$
#
# The tensor that holds both has the heads as an axis *before* the positions: `(batch, heads, length, d_head)`.
# Attention is two matrix products over the last two axes, and treats all axes before them as a batch. Put the heads
# there, and the code of chapter 01 handles all of them at once without a change.
#
# These are the attributes that your methods can use:

# %%
show("attention.MultiHeadAttention.__init__")

# %% [markdown]
# **Exercise 2.1** · 10 minutes · difficulty 2 of 5 · core
#
# Write `split_heads`. It takes `x` of shape `(batch, length, d_model)` and gives `(batch, heads, length, d_head)`. It
# works for any batch and any length. There is no attribute for $d_h$: it follows from `self.d_model` and
# `self.num_heads`.
#
# Think about the order in which the numbers are read: row by row, the last axis fastest. `view` and `reshape` never change
# that order; they only say anew where an axis begins. `transpose` changes which axis is which, and with it the order.


# %%
@exercise("2.1")
class MultiHeadAttention:  # these methods become part of asr_tutorial.attention.MultiHeadAttention
    def split_heads(self, x: Tensor) -> Tensor:
        """(batch, length, d_model) -> (batch, heads, length, d_head).

        Head h gets the features from h * d_head up to (h + 1) * d_head of every position.
        """
        raise NotImplementedError("exercise 2.1")


# %%
MultiHeadAttention = check("2.1")

# %% [markdown]
# Stuck? `asr-tutorial hint 2.1` in a terminal, one hint at a time.
#
# Try it on the example above. The function of chapter 01 takes what comes out as it is, and attends in both heads at
# once:

# %%
x = torch.tensor([[[10, 11, 12, 13], [20, 21, 22, 23]]])
two_heads = MultiHeadAttention(d_model=4, num_heads=2)
for head, part in enumerate(two_heads.split_heads(x)[0]):
    print(f"head {head}:", part.tolist())

q = k = v = two_heads.split_heads(x.float())
context, weights = scaled_dot_product_attention(q, k, v)
print("context:", tuple(context.shape), " weights:", tuple(weights.shape), "(batch, heads, ...)")

# %% [markdown]
# ## And back
#
# After attention the contexts lie in `(batch, heads, length, d_head)`. The layer's output must have the shape of its
# input again, so that layers can be stacked: at each position the result of head 0, then that of head 1, and so on, $d$
# numbers in all.
#
# By hand, with two heads of two features at two positions:
#
# $$c_0 = \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix},\; c_1 = \begin{pmatrix} 5 & 6 \\ 7 & 8 \end{pmatrix}
# \quad\longrightarrow\quad \begin{pmatrix} 1 & 2 & 5 & 6 \\ 3 & 4 & 7 & 8 \end{pmatrix}$$
#
# In memory $c_0$ comes first as a whole: 1 2 3 4 5 6 7 8. The result reads 1 2 5 6 3 4 7 8. The numbers have to move.
#
# **Exercise 2.2** · 10 minutes · difficulty 2 of 5 · core
#
# Write `merge_heads`, the inverse of `split_heads`.


# %%
@exercise("2.2")
class MultiHeadAttention:  # these methods become part of asr_tutorial.attention.MultiHeadAttention
    def merge_heads(self, x: Tensor) -> Tensor:
        """(batch, heads, length, d_head) -> (batch, length, d_model), the inverse of :meth:`split_heads`."""
        raise NotImplementedError("exercise 2.2")


# %%
MultiHeadAttention = check("2.2")

# %% [markdown]
# Stuck? `asr-tutorial hint 2.2` in a terminal, one hint at a time.

# %%
contexts = torch.tensor([[[[1, 2], [3, 4]], [[5, 6], [7, 8]]]])  # (batch 1, heads 2, length 2, d_head 2)
print(two_heads.merge_heads(contexts)[0].tolist())
print("there and back:", torch.equal(two_heads.merge_heads(two_heads.split_heads(x)), x))

# %% [markdown]
# ## The whole layer
#
# Now put it together. One small case by hand first: $d = 2$ and two heads, so each head has a single feature and
# $\sqrt{d_h} = 1$. Let all four projections be the identity with zero biases. One query and two keys with their values:
#
# $$q = (1, 0), \qquad k_1 = (\ln 4, 3),\; k_2 = (0, 9), \qquad v_1 = (10, 2),\; v_2 = (20, 6)$$
#
# - Head 0 sees the first feature. Its scores are $1 \cdot \ln 4 = \ln 4$ and $1 \cdot 0 = 0$. Their exponentials are 4
#   and 1, so the weights are 0.8 and 0.2, and the context is $0.8 \cdot 10 + 0.2 \cdot 20 = 12$.
# - Head 1 sees the second. Its scores are $0 \cdot 3$ and $0 \cdot 9$, both 0. The weights are 0.5 and 0.5, the context
#   $0.5 \cdot 2 + 0.5 \cdot 6 = 4$.
#
# Merged: $(12, 4)$.
#
# Five things in the layer are not in the equation.
#
# **The mask.** A mask is boolean, and True means "may be attended". It comes in three forms, and your layer takes all
# of them:
#
# | shape | meaning | example |
# |---|---|---|
# | `(queries, keys)` | the same for all utterances and heads | "do not look ahead" |
# | `(batch, queries or 1, keys)` | another one for each utterance | "this utterance has only 80 real frames" |
# | `(batch, heads or 1, queries or 1, keys)` | another one for each head | experiments |
#
# The scores have the shape `(batch, heads, queries, keys)`. Broadcasting lines up axes *from the right*, so a mask of
# three axes would put its batch on the heads. Chapter 03 makes masks; here you only see to it that they meet the right
# axis.
#
# **Two results.** `forward` always returns a pair: the output, and the maps of all heads if `need_weights` is true,
# else `None`. The maps are large, and training has no use for them.
#
# **Dropout.** In training, each attention weight is set to zero with probability `self.dropout`, and the others are
# scaled up to make good for it. In evaluation nothing is dropped. `self.training` says which of the two it is;
# `scaled_dot_product_attention` takes the probability as its fifth argument.
#
# **The cache.** A decoder calls this layer once for each token that it writes, and the keys of earlier tokens do not
# change. `forward` can be handed a cache that holds them. You need not think about it now: the helper
# `_keys_and_values` does, and calls your `project_keys_and_values` when there is something to project. (You can write
# the cache yourself in exercise 2.4.)

# %%
show("attention.MultiHeadAttention._keys_and_values")

# %% [markdown]
# **Two paths.** There are two ways to compute attention in the library: `scaled_dot_product_attention` of chapter 01,
# which returns `(context, weights)`, and `fused_attention`, which takes the same arguments and returns the context
# alone, faster. The first is all you need. If you want the speed as well, use the second where `self.fused` is true and
# nobody asked for the weights; where `self.fused` is false, always take the first. Their results agree:

# %%
print("same context:", torch.allclose(fused_attention(q, k, v), scaled_dot_product_attention(q, k, v)[0], atol=1e-5))

# %% [markdown]
# **Exercise 2.3** · 35 minutes · difficulty 3 of 5 · core
#
# Write `project_keys_and_values`, which is short, and `forward`. The call of `_check_inputs` at the top stays: it
# raises when shapes do not fit. Inside the library you have `scaled_dot_product_attention`, `fused_attention`, `torch`
# and `F`. Write the shape behind each line as you go: that finds most mistakes before the check does.


# %%
@exercise("2.3")
class MultiHeadAttention:  # these methods become part of asr_tutorial.attention.MultiHeadAttention
    def project_keys_and_values(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Project keys and values and split them into heads.

        Args:
            key: (batch, keys, d_model).
            value: (batch, keys, d_model).

        Returns:
            The keys and the values of the heads, (batch, heads, keys, d_head) each.
        """
        raise NotImplementedError("exercise 2.3")

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        need_weights: bool = False,
        cache: KeyValueCache | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from every query to the keys.

        Args:
            query: (batch, queries, d_model).
            key: (batch, keys, d_model).
            value: (batch, keys, d_model).
            mask: (queries, keys), (batch, queries or 1, keys) or (batch, heads or 1, queries or 1, keys), boolean,
                True = may be attended.
            need_weights: return the weights too; takes the explicit path.
            cache: keys and values of earlier calls, extended by this one.

        Returns:
            The output, (batch, queries, d_model), and the weights, (batch, heads, queries, keys), or None.

        Raises:
            ValueError: an input is not (batch, length, d_model), their sizes do not fit together, or the mask is not
                boolean or does not fit.
        """
        self._check_inputs(query, key, value, mask, cache)
        raise NotImplementedError("exercise 2.3")


# %%
MultiHeadAttention = check("2.3")

# %% [markdown]
# Stuck? `asr-tutorial hint 2.3` in a terminal, one hint at a time.
#
# The example worked by hand:

# %%
layer = MultiHeadAttention(d_model=2, num_heads=2)
with torch.no_grad():
    for projection in (layer.q_proj, layer.k_proj, layer.v_proj, layer.out_proj):
        projection.weight.copy_(torch.eye(2))
query = torch.tensor([[[1.0, 0.0]]])
key = torch.tensor([[[4.0, 3.0], [0.0, 9.0]]])
key[0, 0, 0] = key[0, 0, 0].log()
value = torch.tensor([[[10.0, 2.0], [20.0, 6.0]]])
output, weights = layer(query, key, value, need_weights=True)
print("weights, head 0:", [round(w, 3) for w in weights[0, 0, 0].tolist()])
print("weights, head 1:", [round(w, 3) for w in weights[0, 1, 0].tolist()])
print("output:         ", [round(o, 3) for o in output[0, 0].tolist()])

# %% [markdown]
# And the comparison that settles it. `torch.nn.MultiheadAttention` keeps the three input projections in one matrix.
# Copy your weights into it, give both the same input, and they must agree:

# %%
torch.manual_seed(0)
mine = MultiHeadAttention(d_model=12, num_heads=3)
theirs = nn.MultiheadAttention(embed_dim=12, num_heads=3, batch_first=True)
with torch.no_grad():
    theirs.in_proj_weight.copy_(torch.cat([mine.q_proj.weight, mine.k_proj.weight, mine.v_proj.weight]))
    theirs.in_proj_bias.copy_(torch.cat([mine.q_proj.bias, mine.k_proj.bias, mine.v_proj.bias]))
theirs.out_proj.load_state_dict(mine.out_proj.state_dict())

query, memory = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
output, weights = mine(query, memory, memory, need_weights=True)
expected, expected_weights = theirs(query, memory, memory, average_attn_weights=False)
print("output ", tuple(output.shape), "the same:", torch.allclose(output, expected, atol=1e-5))
print("weights", tuple(weights.shape), "the same:", torch.allclose(weights, expected_weights, atol=1e-5))

# %% [markdown]
# ### What do more heads cost?
#
# **Predict first.** A layer has `d_model = 144`. You go from one head to eight. How do the number of parameters, the
# number of multiplications and additions, and the number of attention weights change?
#
# Count parameters: four matrices of $d^2$ and four biases of $d$. No $H$ in it. Count operations for an utterance of
# $L$ frames, a product and a sum as two: the four projections take $8 L d^2$. The scores take $2 L^2 d_h$ in each head,
# so $2 L^2 d$ in all heads together, and the weighted sums take as many again. No $H$ in it either: twice as many heads
# are each half as wide. PyTorch can count along:

# %%
from torch.utils.flop_counter import FlopCounterMode

d, length = 144, 100
frames = torch.randn(1, length, d)
print("heads  parameters  operations  attention weights")
for heads in (1, 2, 4, 8):
    layer = MultiHeadAttention(d, heads)
    parameters = sum(parameter.numel() for parameter in layer.parameters())
    with FlopCounterMode(display=False) as counter:
        _, weights = layer(frames, frames, frames, need_weights=True)
    print(f"{heads:5}  {parameters:10,}  {counter.get_total_flops():10,}  {weights.numel():17,}")
print(f"\n4 (d² + d) = {4 * (d * d + d):,}      8 L d² + 4 L² d = {8 * length * d * d + 4 * length**2 * d:,}")

# %% [markdown]
# Only the weights multiply: $H$ maps of $L^2$ numbers, each with its softmax (which the counter leaves out). Heads are
# not free, but nearly. What you pay with is width: a head compares only $d / H$ features. With too many heads each of
# them sees too little to tell positions apart.

# %% [markdown]
# ## Experiment: two questions at once
#
# A task that *needs* two looks. There are 8 places, each with one of 10 symbols. A single query names two different
# places, $i$ and $j$. The answer is the pair of symbols at $i$ and at $j$, in that order. Everything around the
# attention layer is linear: it may fetch, but it cannot untangle afterwards what was mixed.
#
# **Predict first.** All models have the same number of parameters. How many of the pairs does a model with one head get
# right: nearly all, about half, a tenth? And what does its only head look at: both places equally, or one of them?

# %%
PLACES, SYMBOLS, WIDTH = 8, 10, 32


class TwoQuestions(nn.Module):
    """Fetch the symbols at two places with a single attention layer."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.symbol, self.place = nn.Embedding(SYMBOLS, WIDTH), nn.Embedding(PLACES, WIDTH)
        self.ask_first, self.ask_second = nn.Embedding(PLACES, WIDTH), nn.Embedding(PLACES, WIDTH)
        self.attention = MultiHeadAttention(WIDTH, heads)
        self.answers = nn.Linear(WIDTH, 2 * SYMBOLS)

    def forward(self, symbols: Tensor, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, 8) symbols and two places each -> scores (batch, 2, 10), weights (batch, heads, 8)."""
        row = self.symbol(symbols) + self.place.weight  # (batch, 8, width): what is where
        query = (self.ask_first(i) + self.ask_second(j))[:, None]  # (batch, 1, width): one query, two questions
        found, weights = self.attention(query, row, row, need_weights=True)
        return self.answers(found[:, 0]).view(-1, 2, SYMBOLS), weights[:, :, 0]


def draw_batch(size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    symbols = torch.randint(SYMBOLS, (size, PLACES))
    i = torch.randint(PLACES, (size,))
    j = (i + torch.randint(1, PLACES, (size,))) % PLACES  # never the same place twice
    both = torch.stack([i, j], dim=1)
    return symbols, i, j, symbols.gather(1, both)


def train(heads: int, steps: int = 400) -> tuple[TwoQuestions, list[float]]:
    torch.manual_seed(1)
    model = TwoQuestions(heads)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    right = []
    for _ in range(steps):
        symbols, i, j, answers = draw_batch(128)
        scores, _ = model(symbols, i, j)
        loss = F.cross_entropy(scores.flatten(0, 1), answers.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        right.append(float((scores.argmax(-1) == answers).all(dim=1).float().mean()))
    return model, right


# %% tags=["nbval-ignore-output"]
runs = {heads: train(heads) for heads in (1, 4)}
with plots.style():
    figure, axes = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
    for place, (heads, (_, right)) in enumerate(runs.items()):
        smooth = torch.tensor(right).unfold(0, 20, 1).mean(-1)  # mean of 20 steps
        label = "1 head" if heads == 1 else f"{heads} heads"
        axes.plot(range(20, len(right) + 1), 100 * smooth, plots.DASHES[place], color=plots.COLORS[place], label=label)
    axes.set(xlabel="optimiser step", ylabel="pairs all right (%)", ylim=(0, 105), xlim=(0, len(right)))
    axes.set_title("One head cannot answer two questions")
    axes.grid(axis="y")
    axes.legend(loc="center right")
    plt.show()

symbols, i, j, answers = draw_batch(2000)
print("share of right answers       first place   second place")
for heads, (model, _) in runs.items():
    first, second = (model(symbols, i, j)[0].argmax(-1) == answers).float().mean(dim=0).tolist()
    print(f"{heads} head{'s' if heads > 1 else ' '}{'':20}{first:10.2f}{second:14.2f}")

# %% [markdown]
# One head did not get half of everything. Look at the table: it answers one of the two questions, and guesses at the
# other with the 1 in 10 that guessing gives. Which of the two it gave up is chance; another seed may decide otherwise.
# Both models have exactly the same number of parameters.
#
# Now the heads themselves. Keep the second question fixed at place 5 and move the first from place 0 to place 7. A head
# that answers the first question follows it along the diagonal; one that answers the second stays in column 5.

# %% tags=["nbval-ignore-output"]
first = torch.tensor([0, 1, 2, 3, 4, 6, 7])  # all places but 5
second = torch.full_like(first, 5)
torch.manual_seed(0)
symbols = torch.randint(SYMBOLS, (200, 1, PLACES)).expand(-1, len(first), -1)  # average over 200 rows of symbols
with plots.style():
    figure, panels = plt.subplots(1, 5, figsize=(9.4, 2.5), layout="constrained", sharey=True)
    pictures = []
    for heads, (model, _) in runs.items():
        with torch.no_grad():
            _, weights = model(symbols.flatten(0, 1), first.repeat(200), second.repeat(200))
        for head, mean in enumerate(weights.view(200, len(first), heads, PLACES).mean(0).unbind(1)):
            pictures.append(("the only head of 1" if heads == 1 else f"head {head} of {heads}", mean))
    for axes, (title, mean) in zip(panels, pictures, strict=True):
        image = axes.imshow(mean, cmap=plots.WEIGHTS, vmin=0, vmax=1, aspect="equal")
        axes.set(title=title, xlabel="attended place", xticks=range(0, PLACES, 2))
        axes.set_yticks(range(len(first)), labels=first.tolist())
    panels[0].set_ylabel("first place asked for\n(the second is 5)")
    figure.colorbar(image, ax=panels, label="weight", shrink=0.8)
    plt.show()

# %% [markdown]
# Among the four heads at least one is on the diagonal and at least one in column 5. Nobody told them to: the loss can
# only fall if both questions are answered, and the heads start from different random projections. Two heads would do.
# Whether a spare one repeats what another does, or stays blurred because nobody needs it, is left to chance.

# %% [markdown]
# ## Experiment: what a bare reshape does
#
# The classic mistake of this chapter is to write `x.reshape(batch, heads, length, d_head)` and be done. The shape is
# right, nothing raises, the loss even falls. Look at which numbers sit in which head. Below, `23` stands for position
# 2, feature 3: six positions, eight features, two heads.

# %%
positions, features = 6, 8
x = 10 * torch.arange(positions)[:, None] + torch.arange(features)  # (6, 8), 23 = position 2, feature 3
right = MultiHeadAttention(features, 2).split_heads(x[None])[0]  # (heads 2, 6, 4)
bare = x.reshape(2, positions, 4)

with plots.style():
    figure, panels = plt.subplots(1, 5, figsize=(9.4, 3.0), layout="constrained", width_ratios=[8, 4, 4, 4, 4])
    tables = {"x": x, "split: head 0": right[0], "head 1": right[1], "bare: head 0": bare[0], "head 1 ": bare[1]}
    for axes, (title, table) in zip(panels, tables.items(), strict=True):
        axes.imshow(table // 10, cmap=plots.SEQUENTIAL, vmin=-1, vmax=positions - 1)  # a shade for each position
        for row, numbers in enumerate(table.tolist()):
            for column, number in enumerate(numbers):
                color = "white" if number < 30 else "black"
                axes.text(column, row, f"{number:02}", ha="center", va="center", fontsize=7.5, color=color)
        axes.set(title=title, xlabel="feature" if title == "x" else "feature of the head")
        axes.set(xticks=range(table.shape[1]), yticks=range(positions))
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    panels[0].set_ylabel("row")
    figure.suptitle(
        "A proper split keeps all positions in every head; a bare reshape cuts the utterance in two",
        x=0.01,
        ha="left",
        fontsize=10,
    )
    plt.show()

# %% [markdown]
# A shade is a position. After the proper split each row of a head is one position, and both heads hold all six. After
# the bare reshape head 0 holds positions 0 to 2 and head 1 positions 3 to 5, and a row is half a position.
#
# **Predict first.** Three layers run under a causal mask: position $t$ may look at positions $s \le t$ and no further.
# The first is right. The second has a bare reshape both in `split_heads` and in `merge_heads`, so that each undoes the
# other. The third splits properly and only merges with a bare reshape. Which positions of the input can change which
# positions of the output? Sketch the three pictures, then run the cell. It takes the gradient of every output by every
# input and marks what is not zero.


# %%
class BareBoth(MultiHeadAttention):
    def split_heads(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], self.num_heads, x.shape[1], -1)

    def merge_heads(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[2], self.d_model)


class BareMerge(MultiHeadAttention):
    merge_heads = BareBoth.merge_heads


def reach(layer: nn.Module, positions: int = 8, d_model: int = 8) -> Tensor:
    """(positions, positions): True where an output (row) depends on an input (column)."""
    inputs = torch.randn(1, positions, d_model)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x, x, x, causal_mask(positions))[0], inputs)
    return jacobian[0, :, :, 0].abs().sum(dim=(1, 3)) > 0  # (positions, d_model, positions, d_model) before


torch.manual_seed(0)
with plots.style():
    figure, panels = plt.subplots(1, 3, figsize=(8.6, 3.1), layout="constrained", sharey=True)
    kinds = {"right": MultiHeadAttention, "bare reshape both ways": BareBoth, "bare merge only": BareMerge}
    for axes, (title, kind) in zip(panels, kinds.items(), strict=True):
        depends = reach(kind(8, 2))
        ahead = depends & ~causal_mask(8)
        axes.imshow(depends.float() + ahead.float(), cmap=plots.WEIGHTS, vmin=0, vmax=2.2, aspect="equal")
        for row, column in ahead.nonzero().tolist():
            axes.text(column, row, "!", color="white", ha="center", va="center", fontweight="bold")
        axes.set(title=title, xlabel="input position", xticks=range(8), yticks=range(8))
        missing = causal_mask(8) & ~depends
        print(f"{title:24}{int(missing.sum()):3} allowed links missing, {int(ahead.sum()):3} forbidden ones present")
    panels[0].set_ylabel("output position")
    figure.suptitle(
        "Grey: this input changes this output.  Black with !: it lies in the future", x=0.02, ha="left", fontsize=10
    )
    plt.show()

# %% [markdown]
# The right layer fills the lower triangle. With a bare reshape both ways the two mistakes undo each other, no future
# leaks, and a shape test passes; but the utterance is cut in half, and the second half knows nothing of the first. With
# a bare merge the output *looks into the future*, although the mask is right. A model trained that way reaches a
# wonderful loss, and fails as soon as it has to write one token after another.
#
# No error, a falling loss, a wrong model: that is why exercises 2.1 and 2.2 were checked number by number.

# %% [markdown]
# ## Experiment: the heads of a real recogniser
#
# The course brings a small trained model: six encoder layers of four heads, 144 wide, trained on the bundled synthetic
# speech. Take one utterance of the test set and draw all four heads of an encoder layer. Each has a row for every
# encoder frame (40 ms) that looks, and a column for every one that is looked at.

# %%
recognizer = load(REPOSITORY / "data/pretrained/tinyspeech", device="cpu")
test = list(read_corpus("tinyspeech/test"))
utterance = test[0]
_, maps = recognizer.attention_maps(utterance.audio)
seconds = recognizer.encoder_frame_seconds
print(utterance.text)
print("a layer's maps (heads, frames, frames):", tuple(maps["encoder.4.self_attention"].shape))

# %% tags=["nbval-ignore-output"]
LAYER = 4
words = recognizer.align(utterance.audio, utterance.text).words
with plots.style():
    figure, panels = plt.subplots(2, 2, figsize=(9.4, 7.4), layout="constrained", sharey=True)
    for head, axes in enumerate(panels.flat):
        weights = maps[f"encoder.{LAYER}.self_attention"][head]
        plots.attention_map(weights, seconds, seconds, f"layer {LAYER}, head {head}", axes=axes)
        axes.set_xlabel("attended: time (s)" if head > 1 else "")
        axes.set_ylabel("attending: time (s)" if head % 2 == 0 else "")
        above = axes.secondary_xaxis("top")
        middles = [(word.start + word.end) / 2 for word in words]
        above.set_xticks(middles, labels=[word.text for word in words], rotation=90, fontsize=6)
        above.tick_params(length=2)
    plt.show()

# %% [markdown]
# Above each map stand the words, where a CTC alignment puts them (chapter 07). What can be seen here, in this layer and
# this utterance:
#
# - The four maps differ. Whatever these heads do, they do not all do the same.
# - Most of the ink lies in short vertical strokes: frames all over the utterance look at the same few moments, and at
#   little else.
# - There is no dark diagonal. These heads do not, as a rule, look at the frames next to them.
#
# The last point can be put into numbers. For each head: how far away, on average, is what it looks at, and over how
# many frames does it spread its weight (the exponential of the entropy: 1 if all weight is on one frame, all frames if
# the weights are equal)?

# %% tags=["nbval-ignore-output"]
frames = maps["encoder.0.self_attention"].shape[-1]
position = torch.arange(frames)
distance = (position[None] - position[:, None]).abs() * seconds  # (frames, frames)
print(f"equal weights everywhere: {distance.mean():.2f} s away, spread over {frames} frames\n")
print("layer   seconds away, heads 0 to 3     frames spread over, heads 0 to 3")
for layer in range(6):
    weights = maps[f"encoder.{layer}.self_attention"]  # (heads, frames, frames)
    away = (weights * distance).sum(-1).mean(-1)
    spread = torch.special.entr(weights).sum(-1).exp().mean(-1)
    print(f"{layer:5}   " + "".join(f"{x:6.2f}" for x in away) + " " * 10 + "".join(f"{x:6.1f}" for x in spread))

# %% [markdown]
# Heads concentrate, some more than others: each spreads its weight over a fraction of the frames. But what they look at
# lies nearly as far away as places picked blindly would. This model has a convolution over neighbouring frames in each
# of its layers (chapter 05), which may be why its heads do not look after the neighbourhood. That is a guess; the maps
# alone do not prove it. Nor do they say what a head is *for*.

# %% [markdown]
# ## Experiment: what does a head do for the result?
#
# Pictures tempt. A measurement is better: switch a head off and see what the recogniser loses. The columns of
# `out_proj.weight` that belong to head $h$ read what this head found. Set them to zero, and the head has no way to say
# anything.
#
# The measure is the [CTC](../docs/glossary.md#ctc) loss per character on 12 utterances of the development set: how many
# nats it costs the encoder's output to spell the right text (chapter 07 opens that box). The share of characters that
# come out wrong is measured too.
#
# **Predict first.** 24 heads. Will switching off a single one ruin the recogniser, hurt it a little, or change next to
# nothing? Will one layer stand out?

# %% tags=["nbval-ignore-output"]
tokenizer, model = recognizer.tokenizer, recognizer.model.eval()


class Sample:
    """Features and texts of some utterances, in one batch."""

    def __init__(self, utterances: list) -> None:
        pieces = [log_mel(torch.from_numpy(read_audio(utterance.audio))) for utterance in utterances]
        self.lengths = torch.tensor([len(piece) for piece in pieces])
        self.features = nn.utils.rnn.pad_sequence(pieces, batch_first=True)  # (utterances, frames, 80)
        self.texts = [utterance.text for utterance in utterances]


@torch.no_grad()
def measure(sample: Sample) -> tuple[float, float]:
    """CTC loss in nats per character, and the share of wrong characters."""
    encoder_out, real = model.encode(sample.features, sample.lengths)
    log_probs, frames = model.ctc_log_probs(encoder_out), real.sum(dim=1)
    targets = [torch.tensor(tokenizer.encode(text)) for text in sample.texts]
    sizes = torch.tensor([len(target) for target in targets])
    blank = tokenizer.blank_id
    loss = F.ctc_loss(log_probs.transpose(0, 1), torch.cat(targets), frames, sizes, blank, reduction="sum")
    heard = [tokenizer.decode(tokens) for tokens in best_path(log_probs, frames, blank)]
    return float(loss / sizes.sum()), cer(sample.texts, heard)


@torch.no_grad()
def without(heads: list[tuple[int, int]], sample: Sample) -> tuple[float, float]:
    """Measure with some heads, (layer, head), switched off; afterwards all of them are back."""
    attentions = [layer.self_attention for layer in model.encoder.layers]
    kept = [attention.out_proj.weight.clone() for attention in attentions]
    for layer, head in heads:
        d_head = attentions[layer].d_model // attentions[layer].num_heads
        attentions[layer].out_proj.weight[:, head * d_head : (head + 1) * d_head] = 0
    result = measure(sample)
    for attention, weight in zip(attentions, kept, strict=True):
        attention.out_proj.weight.copy_(weight)
    return result


development = Sample(list(read_corpus("tinyspeech/dev"))[::10][:12])
complete, _ = measure(development)
layers, heads = 6, 4
single = {(layer, head): without([(layer, head)], development)[0] for layer in range(layers) for head in range(heads)}

with plots.style():
    figure, axes = plt.subplots(figsize=(8.5, 2.9), layout="constrained")
    colors = ("#1b4f72", "#d35400", "#5fa8a0", "#cccccc")
    for head in range(heads):
        rise = [single[layer, head] - complete for layer in range(layers)]
        axes.bar(
            [layer + 0.2 * head - 0.3 for layer in range(layers)], rise, 0.18, color=colors[head], label=f"head {head}"
        )
    axes.axhline(0, color="#444444", linewidth=0.8)
    axes.set(xlabel="encoder layer", ylabel="CTC loss gained\n(nats per character)", xticks=range(layers))
    axes.set_title(f"One head switched off (with all heads the loss is {complete:.3f})")
    axes.legend(ncols=4, loc="upper center")
    axes.margins(y=0.35)
    plt.show()
print(f"largest rise {max(single.values()) - complete:.4f}, largest fall {complete - min(single.values()):.4f}")

# %% [markdown]
# The bars are short beside the loss in the title, and some point down: without that head these utterances come out a
# little *better*. No head is indispensable and no layer stands out by much. What one head finds, others find too, or the rest
# of the layer does.
#
# Does that mean that heads do nothing? Switch off more and more of them, the least missed first. The order comes from
# the development set; the errors below are counted on utterances of the test set, which had no say in it.

# %% tags=["nbval-ignore-output"]
order = sorted(single, key=lambda place: single[place])  # the least missed first
counts = range(0, len(order) + 1, 4)
held_out = Sample(test[::10])
curve = [without(order[:count], held_out) for count in counts]
with plots.style():
    figure, axes = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
    axes.plot(counts, [100 * wrong for _, wrong in curve], "o-", color=plots.COLORS[0])
    axes.set(xlabel="heads switched off (of 24), the least missed first", ylabel="characters wrong (%)", xticks=counts)
    axes.set_ylim(bottom=0)
    axes.set_title("The first heads go unnoticed, then it costs")
    axes.grid(axis="y")
    plt.show()
for count, (loss, wrong) in zip(counts, curve, strict=True):
    print(f"{count:2} heads off: loss {loss:.3f}, characters wrong {100 * wrong:.1f} %")

# %% [markdown]
# The first heads can go almost unnoticed. Then every step costs. One head at a time told half of the story:
# each was dispensable because the others were still there.
#
# Look at the last point too. With *all* self-attention of the encoder switched off, most characters are still right. In
# this model convolutions and feed-forward layers carry much of the load, and its sentences are synthetic and small in
# vocabulary. In translation models without convolutions, Michel et al. (below) could switch off some of the heads
# without harm, and beyond that quality fell quickly. Voita et al. let their model adapt while heads were taken away, and kept
# its quality with a fraction of them.
#
# Two cautions. A dozen utterances are few, so trust the shape of the curve and not its last digit. And a model that is
# *trained* with fewer heads would arrange itself otherwise: this experiment measures what this model leans on, not what
# a model needs.

# %% [markdown]
# ## Deep dive: keys and values that are kept
#
# The encoder sees a whole utterance at once. A decoder writes one token, then the next, and each new token attends to
# all before it. The keys and values of the earlier tokens are the same as in the step before: their inputs have not
# changed. So project each token once, keep the result, and append. That is a [key-value
# cache](../docs/glossary.md#key-value-cache).
#
# `KeyValueCache` has three attributes: `keys` and `values`, `None` at first and then tensors `(batch, heads, keys,
# d_head)`, and `fixed`, which `_keys_and_values` above looks after. Two methods are yours.
#
# - `update` is called with the keys and values of the new positions. It appends them *in time*, keeps the whole, and
#   returns the whole.
# - `select` is for a search that follows several hypotheses at once, one in each row of the batch (chapter 09). When
#   hypothesis 2 continues in two ways and hypothesis 1 is dropped, it calls `select(torch.tensor([2, 2, 0]))`: row 0 of
#   the cache is now what row 2 was, row 1 too, and row 2 is what row 0 was.
#
# **Exercise 2.4** · 20 minutes · difficulty 2 of 5 · optional
#
# Write `update` and `select`.


# %%
@exercise("2.4")
class KeyValueCache:  # these methods become part of asr_tutorial.attention.KeyValueCache
    def update(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values of new positions and return all of them."""
        raise NotImplementedError("exercise 2.4")

    def select(self, rows: Tensor) -> None:
        """Keep the given rows of the batch, in that order: (new_batch,) indices."""
        raise NotImplementedError("exercise 2.4")


# %%
KeyValueCache = check("2.4")

# %% [markdown]
# Stuck? `asr-tutorial hint 2.4` in a terminal, one hint at a time.
#
# Try it: feed a layer one position at a time. The result must be that of all positions at once under a causal mask. No
# mask is needed with the cache: what has not been written is not in it.

# %%
torch.manual_seed(0)
layer = MultiHeadAttention(d_model=144, num_heads=4).eval()
states = torch.randn(1, 6, 144)
at_once, _ = layer(states, states, states, causal_mask(6))
cache = KeyValueCache()
for t in range(6):
    new = states[:, t : t + 1]
    step, _ = layer(new, new, new, cache=cache)
    agrees = torch.allclose(step, at_once[:, t : t + 1], atol=1e-5)
    print(f"step {t}: cache {tuple(cache.keys.shape)}, as all at once: {agrees}")

# %% [markdown]
# **Predict first.** To write 200 tokens *without* a cache, a decoder projects and attends over the whole prefix again
# at every step. By what factor is that more work for the attention layer: 2, 20, 200?


# %%
def operations(tokens: int, cached: bool) -> int:
    """Operations of one attention layer that writes so many tokens, one at a time."""
    cache, states = KeyValueCache(), torch.zeros(1, tokens, 144)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for t in range(1, tokens + 1):
            given = states[:, t - 1 : t] if cached else states[:, :t]
            mask = None if cached else causal_mask(t)
            layer(given, given, given, mask, need_weights=True, cache=cache if cached else None)
    return counter.get_total_flops()


tokens = [1, 25, 50, 100, 200]
counts = {cached: [operations(count, cached) / 1e6 for count in tokens] for cached in (False, True)}
with plots.style():
    figure, axes = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
    for place, (cached, millions) in enumerate(counts.items()):
        label = "with a cache" if cached else "all over again at each step"
        axes.plot(
            tokens, millions, plots.DASHES[place], color=plots.COLORS[place], marker="o", markersize=3, label=label
        )
    axes.set(xlabel="tokens written", ylabel="operations (millions)", yscale="log", xlim=(0, 205))
    axes.set_title("Without a cache the work grows much faster than the text")
    axes.grid(axis="y")
    axes.legend()
    plt.show()
again, kept = counts[False][-1], counts[True][-1]
print(f"200 tokens: {again:,.0f} million against {kept:,.0f} million, a factor of {again / kept:.0f}")

# %% [markdown]
# Without the cache, step $t$ projects $t$ positions, so that $n$ tokens need $1 + 2 + \dots + n = n (n + 1) / 2$
# projections instead of $n$. For 200 tokens that is a factor of 100.5. In the attention it is a little more: with the
# cache, step $t$ has one row of $t$ weights, without it a square of $t^2$.

# %% [markdown]
# ## Deep dive: multi-head attention by hand
#
# Optional: exercise 2.5, about an hour. In the deep dive of [chapter 01](01_scaled_dot_product_attention.ipynb) you
# derived the backward passes of softmax, linear and attention in NumPy. The layer of this chapter is made of just
# these, so there is nothing new to differentiate. What is new is the bookkeeping: what is the gradient of a `reshape`,
# and what of an input that is used three times? (If you have not done 1.4 to 1.6, you can still do this one: our
# versions stand in.)
#
# As there, $\mathrm{d}X$ is short for $\partial L / \partial X$, the gradient of the loss by $X$, of the shape of $X$.
#
# ### The gradient of a move
#
# `split_heads` computes nothing. It puts each number of its input in another place. Take a single position,
# width 4 and two heads: $(a, b, c, d)$ becomes head 0 with $(a, b)$ and head 1 with $(c, d)$. Let the gradient
# that arrives be $(1, 2)$ for head 0 and $(3, 4)$ for head 1. If $c$ grows a little, then so does the first number of
# head 1, and nothing else does. So $c$ has the gradient 3. All together, $\mathrm{d}(a, b, c, d) = (1, 2, 3, 4)$.
#
# The gradient of a move is the move undone. So the backward pass of `split_heads` is a method that you know, and so is
# that of `merge_heads`.
#
# ### Three paths
#
# In self-attention one array $x$ is the query, the key and the value. A number of $x$ reaches the loss by three paths:
# because it is asked with, because it is found by, and because it is given out. The gradients of paths add up.
# `backward` gives all three, and whoever used one array three times adds them. In cross-attention the decoder gets the
# first, and the encoder the sum of the other two.
#
# ### The steps
#
# | step | shape after it |
# |---|---|
# | `query` | (batch, queries, d_model) |
# | `q_proj` | (batch, queries, d_model) |
# | split | (batch, heads, queries, d_head) |
# | attention with the split keys and values | (batch, heads, queries, d_head) |
# | merge | (batch, queries, d_model) |
# | `out_proj` | (batch, queries, d_model) |
#
# Read it from below, and write down what each step turns the gradient into, with its shape. At the attention the way
# forks in three, and each fork goes up through its own split and its own projection. Then compare:
#
# <details><summary>All steps back</summary>
#
# The gradient of the output goes back through `out_proj`: (batch, queries, d_model). It goes back through the merge,
# that is, it is split: (batch, heads, queries, d_head). Attention turns it into three, for the split queries, keys and
# values. Each of the three goes back through its split, that is, it is merged, and then through its own projection.
# These are the gradients of `query`, `key` and `value`.
#
# </details>
#
# This is what the class has before you begin. `parameters` is a dictionary with the names of a `state_dict()`:

# %%
import numpy as np

from asr_tutorial import attention as library
from asr_tutorial.by_hand import Array

np.set_printoptions(precision=3, suppress=True)
show("by_hand.MultiHeadAttention.__init__")
show("by_hand.MultiHeadAttention.split_heads")
show("by_hand.MultiHeadAttention.merge_heads")
show("by_hand.MultiHeadAttention.gradients")

# %% [markdown]
# The layers are those of chapter 01: a `Linear` has `forward(x)` and `backward(gradient)`, which returns the gradient
# of its input and stores those of its parameters; a `ScaledDotProductAttention` has `forward(query, key, value, mask)`
# and `backward(gradient)`, which returns the gradients of query, key and value.
#
# **Exercise 2.5** · 50 minutes · difficulty 5 of 5 · optional
#
# Write both passes. The mask may have two, three or four axes, as in 2.3. From this cell on, `MultiHeadAttention` in
# the notebook is the class by hand; the one that trains is `library.MultiHeadAttention`.


# %%
@exercise("2.5")
class MultiHeadAttention:  # these methods become part of asr_tutorial.by_hand.MultiHeadAttention
    def forward(self, query: Array, key: Array, value: Array, mask: Array | None = None) -> Array:
        """(batch, queries, d_model), (batch, keys, d_model) twice -> (batch, queries, d_model).

        The mask is boolean, True = may be attended: (queries, keys), (batch, queries or 1, keys) or
        (batch, heads or 1, queries or 1, keys).
        """
        raise NotImplementedError("exercise 2.5")

    def backward(self, gradient: Array) -> tuple[Array, Array, Array]:
        """From the gradient of the output, (batch, queries, d_model), to those of query, key and value.

        Those of the parameters are stored in the four projections, see :meth:`gradients`. In self-attention query, key
        and value are one array, and its gradient is the sum of the three.
        """
        raise NotImplementedError("exercise 2.5")


# %%
MultiHeadAttentionByHand = check("2.5")

# %% [markdown]
# Stuck? `asr-tutorial hint 2.5` in a terminal, one hint at a time.
#
# Try it. The same parameters in the library's layer and in yours, cross-attention from 4 positions to 6, and autograd
# as the referee for three inputs and eight parameters:

# %%
torch.manual_seed(0)
theirs = library.MultiHeadAttention(d_model=16, num_heads=4).double()
ours = MultiHeadAttentionByHand(16, 4, theirs.state_dict())

inputs = [torch.randn(2, length, 16, dtype=torch.float64, requires_grad=True) for length in (4, 6, 6)]
output, _ = theirs(*inputs)
direction = torch.randn_like(output)  # dL/d(output)
output.backward(direction)

got = ours.forward(*[tensor.detach().numpy() for tensor in inputs])
print("output:", np.allclose(got, output.detach()))
for name, gradient, tensor in zip(("query", "key", "value"), ours.backward(direction.numpy()), inputs, strict=True):
    print(f"{name}:", np.allclose(gradient, tensor.grad))
for name, parameter in theirs.named_parameters():
    print(f"{name}:", np.allclose(ours.gradients()[name], parameter.grad))

# %% [markdown]
# One of the eight is odd. Which number is the same in every score of a row, and so cancels in the softmax? Look at the
# size of the gradients of the biases:

# %%
for name, gradient in ours.gradients().items():
    if name.endswith("bias"):
        print(f"{name:14} {np.abs(gradient).max():.3f}")

# %% [markdown]
# The bias of `k_proj` adds the same vector $c$ to every key, and thus the same number $q_i \cdot c / \sqrt{d_h}$ to all
# scores of query $i$. A softmax does not see that, so its gradient is zero, whatever the data. It never learns, and
# some libraries leave it out. Autograd computes its zero at every step without telling anybody; you see it because you
# look at one gradient at a time.
#
# **Experiment: which path does the learning?** Let one array $x$ attend to itself, with $W_Q$ multiplied by a factor.
# The factor multiplies all scores, so it makes the softmax flatter or sharper. Measure the gradient that comes back to
# each of 400 positions of $x$ by each of the three paths, as the length of the vector: in the typical position, and in
# the one where it is largest.
#
# **Predict first.** A saturated softmax lets no gradient through; chapter 01 showed it. So which of the three paths
# survives a factor of 300? And one of 1/100?

# %%
x = np.random.default_rng(0).normal(size=(8, 50, 16))  # (batch, length, d_model)
direction = np.random.default_rng(1).normal(size=(8, 50, 16))
parameters = {name: parameter.detach().numpy() for name, parameter in theirs.named_parameters()}

factors = np.logspace(-2, 2.5, 19)
lengths = []
for factor in factors:
    layer = MultiHeadAttentionByHand(16, 4, parameters | {"q_proj.weight": factor * parameters["q_proj.weight"]})
    layer.forward(x, x, x)
    lengths.append([np.linalg.norm(path, axis=-1).flatten() for path in layer.backward(direction)])
lengths = np.array(lengths)  # (factors, 3 paths, 400 positions)

with plots.style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharey=True)
    for place, name in enumerate(("as query", "as key", "as value")):
        style = {"color": plots.COLORS[place], "linestyle": plots.DASHES[place], "marker": "o", "markersize": 3}
        left.loglog(factors, np.median(lengths[:, place], axis=-1), **style, label=name)
        right.loglog(factors, lengths[:, place].max(axis=-1), **style)
    left.set(title="The typical position: only its values are left", ylabel="length of the gradient", ylim=(1e-3, 2e3))
    right.set(title="The position that is hit hardest")
    for panel in (left, right):
        panel.set_xlabel("factor on the weight of q_proj")
        panel.grid()
    left.legend(title="gradient that comes to x", loc="upper left")
    plt.show()

# %% [markdown]
# **On the left end** all weights are nearly equal. The queries are tiny, so a key, whose gradient is a sum of queries,
# gets next to nothing, and a position that asks gets little because $W_Q$ hands little back. What learns is the values:
# a layer that attends flatly is a mean, and a mean can still be trained.
#
# **On the right end** the typical position gets nothing as query and as key, as expected. But look at the other
# picture: the largest gradient does not fall, it grows. Where the two best scores of a row are nearly equal, the
# softmax is *not* saturated. There a tiny change makes the other key win, and the larger the factor, the tinier a
# change will do. So a saturated attention does not learn slowly: it stands still nearly everywhere, and is thrown about
# in a few places. A larger learning rate cannot mend that.
#
# **In the middle**, near a factor of 1, all three paths carry about as much. That is where the initialisation of
# `q_proj` and the division by $\sqrt{d_h}$ put you.

# %% [markdown]
# ## The usual mistakes
#
# | mistake | symptom |
# |---|---|
# | `reshape` where an axis has to move | right shapes, no error, a falling loss; the model looks into the future or sees half of the utterance |
# | `view` after `transpose` | "view size is not compatible with input tensor's size and stride": use `reshape`, which copies |
# | scores divided by $\sqrt{d}$ instead of $\sqrt{d_h}$ | flat maps with many heads; a checkpoint of another library gives other outputs |
# | `k_proj` used for the values, or projections exchanged | `v_proj` never gets a gradient; trains, but fits no other checkpoint |
# | `out_proj` forgotten | trains, a little worse; gradients of `out_proj` are `None` |
# | a mask of three axes used as it is | an error about sizes, or, with as many heads as utterances in the batch, no error and the wrong mask |
# | mask of the other convention ([a PyTorch issue](https://github.com/pytorch/pytorch/issues/114083)) | the model attends to padding and future only |
# | dropout without a look at `self.training` | the same utterance gives another result at each call |
# | weights averaged over the heads | maps that all look alike, blurred; `nn.MultiheadAttention` does that unless told not to |
# | cache not reordered with the hypotheses | beam search gets worse with larger beams: a hypothesis reads what another one wrote |

# %% [markdown]
# ## Quiz
#
# **1.** A layer has `d_model = 512` and 8 heads. You change it to 16 heads. What happens to the number of parameters,
# and what to $\sqrt{d_h}$?
#
# <details><summary>Answer</summary>
#
# The parameters stay at $4 (512^2 + 512)$. The width of a head falls from 64 to 32, so scores are divided by
# $\sqrt{32}$ instead of $\sqrt{64}$. There are twice as many attention maps.
#
# </details>
#
# **2.** In a layer with one head and no biases, nothing stands between $W_V$ and $W_O$ but a weighted sum over
# positions: one matrix $W = W_O W_V$ would do for both. Why is that not so with $H$ heads?
#
# <details><summary>Answer</summary>
#
# The output is a sum over heads, $\sum_h A_h X_v W_{V,h}^\top W_{O,h}^\top$, where $W_{V,h}$ holds the rows of $W_V$
# that belong to head $h$ and $W_{O,h}$ the columns of $W_O$. Each head has its own product $W_{O,h} W_{V,h}$, of rank
# at most $d_h$, behind its own map $A_h$. Only if all maps were equal could the products be added up to a single
# matrix.
#
# </details>
#
# **3.** Your unit test checks that `merge_heads(split_heads(x))` equals `x`. Does it prove that both are right?
#
# <details><summary>Answer</summary>
#
# No. Two bare reshapes also undo each other, and so does any pair of permutations. The test shows that they are inverse
# to one another, not that head $h$ holds features $h d_h$ and up of every position. Check numbers worked by hand, or
# compare with `nn.MultiheadAttention`.
#
# </details>

# %% [markdown]
# ## Where this goes next
#
# Your layer takes masks, but nothing has made one yet. Chapter 03 does: utterances of different lengths in one batch,
# and a decoder that must not look ahead. One thing is still missing altogether: shuffle the frames, and every head
# gives the same answers, shuffled. Chapter 04 tells the positions apart. Chapter 05 stacks this layer into the encoder.
#
# ### References
#
# - Vaswani et al. 2017, *Attention Is All You Need*, section 3.2.2:
#   [arXiv:1706.03762](https://arxiv.org/abs/1706.03762)
# - Voita et al. 2019, *Analyzing Multi-Head Self-Attention: Specialized Heads Do the Heavy Lifting, the Rest Can Be
#   Pruned*: [arXiv:1905.09418](https://arxiv.org/abs/1905.09418)
# - Michel, Levy and Neubig 2019, *Are Sixteen Heads Really Better than One?*:
#   [arXiv:1905.10650](https://arxiv.org/abs/1905.10650)
# - Jain and Wallace 2019, *Attention is not Explanation*, on how little a map may prove:
#   [arXiv:1902.10186](https://arxiv.org/abs/1902.10186)
# - Shazeer 2019, *Fast Transformer Decoding: One Write-Head is All You Need*, on heads that share their keys and
#   values: [arXiv:1911.02150](https://arxiv.org/abs/1911.02150)
