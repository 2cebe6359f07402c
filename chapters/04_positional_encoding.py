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
# # 04 · Positional encoding
#
# Attention treats its input as a bag: shuffle the frames of an utterance, and it computes the same things, shuffled. Speech
# and text are nothing without their order. In this chapter you first watch attention fail to notice, then write the table of
# sines and cosines that is added to every frame and every token, and find out what that table lets a layer do that a table of
# learnt vectors does not.
#
# **You need** chapters [01](01_scaled_dot_product_attention.ipynb) and [02](02_multi_head_attention.ipynb) (attention) and the
# sine and cosine from school. **Time**: about 2.5 hours without the optional exercise, of which the core exercises take 75 minutes.
#
# | exercise | what you write | minutes | difficulty | |
# |---|---|---|---|---|
# | 4.1 | the sinusoidal table | 25 | 2 | core |
# | 4.2 | adding positions to an input, from an offset on | 20 | 1 | core |
# | 4.3 | the rotation that moves any encoding by a number of positions | 30 | 3 | core |
# | 4.4 | rotary positions, as many current models have them | 25 | 3 | optional |

# %%
# The course comes first: from here on the library has what you wrote in earlier chapters.
from asr_tutorial.course import check, exercise, here, show

here("04")

# %%
import math

import torch
from IPython.display import Audio
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.nn import functional as F

import asr_tutorial
from asr_tutorial import plots
from asr_tutorial.attention import MultiHeadAttention, scaled_dot_product_attention
from asr_tutorial.audio import read_audio
from asr_tutorial.config import ModelConfig
from asr_tutorial.corpus import read_corpus, resolve
from asr_tutorial.encoder import Encoder
from asr_tutorial.features import log_mel
from asr_tutorial.metrics import wer
from asr_tutorial.positional import positional_encoding

# %% [markdown]
# ## Attention does not know order
#
# Take two words as vectors of width 2, DOG $= (2, 0)$ and MAN $= (0, 2)$, and let them attend to each other without any
# projections. The scores of DOG are $2 \cdot 2 / \sqrt 2 = 2.83$ with itself and $0$ with MAN. The softmax turns them into the
# weights $0.944$ and $0.056$, and the context of DOG is
#
# $$0.944 \cdot (2, 0) + 0.056 \cdot (0, 2) = (1.89, 0.11).$$
#
# Nowhere in this computation does it matter which word came first. The context is a *sum* over the words, and a sum has no
# order. What DOG gets in MAN DOG is what it gets in DOG MAN.
#
# In general: let $X$ be the input of shape $(T, d)$, with one row for each of $T$ positions, and $P$ a permutation, a matrix of
# shape $(T, T)$ that puts the rows into another order. Then for self-attention, whatever its projections,
#
# $$\operatorname{Attention}(P X) = P \operatorname{Attention}(X).$$
#
# This is called [permutation equivariance](../docs/glossary.md#permutation-equivariance). A feed-forward block and a
# normalisation work on each row by itself, so a whole stack of such layers has it too.
#
# **Predict.** Below, an attention layer with random weights reads two sentences with the same three words. Whose output
# vectors will differ: those of DOG, those of BITES, those of MAN, all, or none?

# %%
torch.manual_seed(0)
words = {"DOG": 0, "BITES": 1, "MAN": 2}
embedding = nn.Embedding(3, 16)
attention = MultiHeadAttention(d_model=16, num_heads=2)


def read(sentence: str, add_positions=lambda x: x) -> dict[str, Tensor]:
    """The output vector of each word, after one layer of self-attention."""
    order = sentence.split()
    x = add_positions(embedding(torch.tensor([[words[word] for word in order]])))  # (1, 3, 16)
    with torch.no_grad():
        output, _ = attention(x, x, x)  # (1, 3, 16)
    return dict(zip(order, output[0], strict=True))


def compare(add_positions=lambda x: x) -> None:
    one, other = read("DOG BITES MAN", add_positions), read("MAN BITES DOG", add_positions)
    for word in words:
        print(f"{word:6} largest difference between the two sentences: {(one[word] - other[word]).abs().max():.3f}")


compare()

# %% [markdown]
# None. To this layer both sentences are the same news.
#
# Now with sound. Here is an utterance, then the same utterance cut into pieces of 0.3 seconds in random order, then
# cut into pieces of 40 milliseconds.

# %%
corpus = read_corpus("tinyspeech/test")
utterance = next(one for one in corpus if one.text == "CLARA WORKS AT THE SCHOOL IN ROME")
samples = torch.from_numpy(read_audio(utterance.audio))
samples = samples[: 7 * 4800]  # seven pieces of 0.3 s


def shuffle(samples: Tensor, seconds: float, seed: int = 0) -> Tensor:
    size = round(16_000 * seconds)
    pieces = samples[: len(samples) // size * size].view(-1, size)
    return pieces[torch.randperm(len(pieces), generator=torch.Generator().manual_seed(seed))].flatten()


print(utterance.text)
Audio(samples.numpy(), rate=16_000)

# %%
Audio(shuffle(samples, 0.3).numpy(), rate=16_000)

# %%
Audio(shuffle(samples, 0.04).numpy(), rate=16_000)

# %% [markdown]
# You cannot understand the last one. An encoder without positions hears no difference. Its front end
# averages four frames of 10 ms into one of 40 ms, so shuffle the log-mel frames in groups of four, and give both to an encoder
# of two layers with random weights (chapter 05 builds it; here it is a black box):

# %%
features = log_mel(samples)
features = features[: len(features) // 4 * 4]  # (time, 80)
features = (features - features.mean(0)) / features.std(0)
groups = len(features) // 4
order = torch.randperm(groups, generator=torch.Generator().manual_seed(0))
shuffled = features.view(groups, 4, 80)[order].flatten(0, 1)  # (time, 80)


def encode(features: Tensor, positional: str, subsampling: str = "pool") -> Tensor:
    """(time, 80) -> (time / 4, 64), by an encoder whose random weights are always the same."""
    torch.manual_seed(0)
    config = ModelConfig(
        d_model=64, num_heads=4, d_ff=128, encoder_layers=2, subsampling=subsampling, positional=positional
    )
    encoder = Encoder(config, n_mels=80).eval()
    with torch.no_grad():
        return encoder(features[None], torch.tensor([len(features)]))[0][0]


def notices(positional: str, subsampling: str = "pool") -> float:
    """How far the encoding of shuffled frames is from the shuffled encoding of the frames, relative to its size."""
    plain, mixed = encode(features, positional, subsampling), encode(shuffled, positional, subsampling)
    return float((mixed - plain[order]).norm() / plain.norm())


with plots.style():
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.2, 2.7), layout="constrained", sharex=True)
    plots.mel(features, title="The utterance", axes=top)
    top.set_xlabel("")
    plots.mel(shuffled, title="The same 40 ms groups in another order: the encoder sees the same set", axes=bottom)
    plt.show()
print(f"relative difference that the encoder notices: {notices('none'):.3f}")

# %% [markdown]
# So order has to be put in. The way of the Transformer is to give each position a vector of its own, and to add it to
# what stands there, once, before the first layer: a [positional encoding](../docs/glossary.md#positional-encoding).

# %% [markdown]
# ## What a good code for positions needs
#
# Which vector should position $t = 0, 1, 2, \dots$ get? Some ideas, and why they fail:
#
# - **The number $t$ itself.** At position 1000 it is a thousand times as large as what was said there.
# - **The share $t / T$ of the way.** Then "one frame later" means something else in each utterance.
# - **The digits of $t$ in binary.** Bounded and unique. But from 7 to 8, written 0111 and 1000, all digits flip at once, though
#   the two are neighbours.
#
# The last one is nearly it. Its lowest digit changes at every step, the next at every second step, and so on: fast and slow
# together tell where you are. A clock does the same with hands that turn smoothly. The second hand tells close moments
# apart, the hour hand far ones, and none of them ever jumps.
#
# The [sinusoidal positional encoding](../docs/glossary.md#sinusoidal-positional-encoding) is a clock with $d / 2$ hands.
#
# | symbol | shape | meaning |
# |---|---|---|
# | $d$ | | the width of the model, `d_model`; an even number |
# | $t$ | | the position of a frame or token, counted from 0 |
# | $i$ | | the number of a hand, $0 \dots d/2 - 1$; hand $i$ uses dimensions $2i$ and $2i + 1$ |
# | $w$ | $(d/2,)$ | how fast the hands turn: $w_i$ is in radians per position |
# | $p_t$ | $(d,)$ | the encoding of position $t$ |
#
# $$w_i = \frac{1}{10000^{\,2i / d}}, \qquad p_{t,\,2i} = \sin(w_i\, t), \qquad p_{t,\,2i+1} = \cos(w_i\, t).$$
#
# A hand is a point on a circle, and it takes two numbers to say where it is: a sine alone has the same value twice in
# each turn. Hand 0 turns by 1 radian a step and is round after $2 \pi \approx 6.3$ positions. Each further hand is slower by the
# same factor, and the last is nearly $10000$ times as slow as the first.
#
# **By hand.** Let $d = 4$: two hands, with $w_0 = 1 / 10000^{0/4} = 1$ and $w_1 = 1 / 10000^{2/4} = 1 / 100$.
#
# | $t$ | $\sin t$ | $\cos t$ | $\sin (t / 100)$ | $\cos (t / 100)$ |
# |---|---|---|---|---|
# | 0 | 0 | 1 | 0 | 1 |
# | 1 | 0.841 | 0.540 | 0.010 | 1.000 |
# | 2 | 0.909 | −0.416 | 0.020 | 1.000 |
#
# Work out the row of $t = 3$ yourself; you will see it below.

# %% [markdown]
# **Exercise 4.1** · 25 minutes · difficulty 2 of 5 · core
#
# Write the frequencies $w$ and the table of all $p_t$. The table is computed once, when a model is made, so clearness
# counts more than speed; yet a table of 5000 positions should not need a Python loop over its numbers. `math` and `torch` are
# at hand. In `make_table`, call your `frequencies`.


# %%
@exercise("4.1")
def frequencies(d_model: int) -> Tensor:
    """How far each pair of dimensions turns from one position to the next (Vaswani et al. 2017, section 3.5).

    ``w_i = 1 / 10000^(2i / d_model)`` for pair ``i = 0 ... d_model / 2 - 1``.

    Args:
        d_model: width of the encoding; must be even.

    Returns:
        (d_model / 2,) radians per position, from 1 down to nearly 1 / 10000.

    Raises:
        ValueError: ``d_model`` is odd.
    """
    if d_model % 2:
        raise ValueError(f"d_model must be even, sines and cosines come in pairs; got {d_model}")
    raise NotImplementedError("exercise 4.1")


class SinusoidalPositionalEncoding:  # these methods become part of asr_tutorial.positional.SinusoidalPositionalEncoding
    @staticmethod
    def make_table(d_model: int, max_length: int) -> Tensor:
        """The encodings of positions 0 to max_length - 1: (max_length, d_model), float32.

        Row ``t`` is ``sin(w_0 t), cos(w_0 t), sin(w_1 t), cos(w_1 t), ...`` with ``w = frequencies(d_model)``.
        """
        raise NotImplementedError("exercise 4.1")


# %%
frequencies, SinusoidalPositionalEncoding = check("4.1")

# %% [markdown]
# Stuck? `asr-tutorial hint 4.1` in a terminal, one hint at a time.
#
# Try it: the table from above, with the row that you worked out, and how many positions each hand needs for a full turn in a
# model of width 144.

# %%
print(SinusoidalPositionalEncoding.make_table(4, 4))
turns = 2 * math.pi / frequencies(144)
print("positions for a full turn:", [round(turn, 1) for turn in turns[[0, 1, 2, 35, 71]].tolist()])

# %% [markdown]
# Now the clock. Each dial shows one hand of the encoding with $d = 8$ at positions 0, 1, 2, 3, 10 and 30; the darker, the later.

# %%
moments = [0, 1, 2, 3, 10, 30]
with plots.style():
    figure, dials = plt.subplots(1, 4, figsize=(8, 2.4), layout="constrained")
    for i, dial in enumerate(dials):
        dial.add_patch(plt.Circle((0, 0), 1, fill=False, color="#bbbbbb"))
        labelled: list[float] = []
        for place, t in sorted(enumerate(moments), key=lambda pair: (pair[1] > 0, -pair[1])):
            angle = float(frequencies(8)[i] * t)
            # Upwards at position 0, then clockwise: sideways is the sine, upwards the cosine.
            x, y = math.sin(angle), math.cos(angle)
            dial.plot([0, x], [0, y], color=str(0.75 - 0.15 * place))
            if all(math.cos(angle - other) < 0.97 for other in labelled):  # no label on top of another
                dial.text(1.22 * x, 1.22 * y, f"{t}", ha="center", va="center", fontsize=7)
                labelled.append(angle)
        dial.set(title=f"hand {i}: $w$ = {float(frequencies(8)[i]):.3g}", xlim=(-1.4, 1.4), ylim=(-1.4, 1.4))
        dial.set_aspect("equal")
        dial.axis("off")
    plt.show()

# %% [markdown]
# Hand 0 is soon all over the dial, hand 3 has hardly moved. Together they are different at every position, and similar at
# neighbouring ones.
#
# The whole table as a picture, for $d = 64$. **Predict**: which side flickers, which side looks plain?

# %%
table = SinusoidalPositionalEncoding.make_table(64, 80)
with plots.style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 2.6), layout="constrained")
    image = left.imshow(table, cmap=plots.SEQUENTIAL, vmin=-1, vmax=1)
    left.set(title="Fast on the left, slow on the right", xlabel="dimension", ylabel="position")
    figure.colorbar(image, ax=left, label="value", pad=0.01)
    for place, column in enumerate((0, 10, 18, 32)):
        right.plot(table[:, column], color=plots.COLORS[place], linestyle=plots.DASHES[place], label=f"{column}")
    right.set(title="Four of its columns, all sines", xlabel="position", ylabel="sine")
    right.legend(title="dimension", loc="upper left", bbox_to_anchor=(1, 1))
    plt.show()

# %% [markdown]
# The right half of the table looks like stripes that never change: in 80 positions its hands hardly move. They are there for
# long inputs. An utterance of 15 seconds has 375 encoder frames of 40 ms, so many of the 64 dimensions have little to do in
# speech, and that is no harm: what a layer does not need it learns to leave alone.

# %% [markdown]
# ## Adding it
#
# The module keeps the table and adds the rows that are needed. See how the two kinds of positional encoding are made; the
# learned one has a vector of free parameters for each position, without any formula:

# %%
show("positional.SinusoidalPositionalEncoding.__init__")
show("positional.LearnedPositionalEncoding.__init__")

# %% [markdown]
# A *buffer* travels with the module from device to device like a parameter, but is not trained; `persistent=False` keeps it
# out of checkpoints, for it can be computed again at any time.
#
# Why is the encoding added, and not put beside the input as further dimensions? A layer's first act is a linear map. On the
# concatenation $(x, p)$ with weights $(A, B)$ it gives $A x + B p$. On the sum it gives $W (x + p) = W x + W p$: the same with
# $A = B = W$. So adding is concatenating with shared weights. It costs nothing in width, and a model that wants the two apart
# can keep them in different directions of its $d$-dimensional space.

# %%
torch.manual_seed(0)
x, p, W = torch.randn(64), table[5], torch.randn(64, 64)
beside = torch.cat([W, W], dim=1) @ torch.cat([x, p])  # (64, 128) times (128,)
print("the same:", torch.allclose(W @ (x + p), beside, atol=1e-4))
print("weights of the layer:", W.numel(), "for the sum,", 2 * W.numel(), "for the concatenation")

# %% [markdown]
# One thing is left to think of. In training, a decoder sees a whole sentence at once, positions 0 to $L - 1$. When it writes, it
# is called once for each new token, with *that token only*: the work for the earlier ones was kept in a cache. A call with one
# token must then know how many went before, which is the [offset](../docs/glossary.md#offset).
#
# And a position beyond the table has to be an error. It could be hidden, by cutting off what is too long or by repeating the last
# row. Then nothing fails, and long inputs come out wrong.
#
# **Exercise 4.2** · 20 minutes · difficulty 1 of 5 · core
#
# Write `encodings_at`, which takes the right rows from a table, and with it the two `forward` methods. The input `x` is
# (batch, length, d_model), and the table is `self.table` in both classes. Leave the guard as it is.


# %%
@exercise("4.2")
def encodings_at(table: Tensor, length: int, offset: int) -> Tensor:
    """The encodings of positions ``offset`` to ``offset + length - 1``.

    Args:
        table: (max_length, d_model), one row for each position from 0 on.
        length: how many positions.
        offset: the first of them.

    Returns:
        (length, d_model).

    Raises:
        ValueError: a position beyond the table. To repeat the last row, or to add fewer rows, would hide the mistake.
    """
    if offset + length > table.shape[0]:
        raise ValueError(
            f"position {offset + length - 1} lies beyond the {table.shape[0]} positions of this encoding: "
            "raise model.max_length, or split the input"
        )
    raise NotImplementedError("exercise 4.2")


class SinusoidalPositionalEncoding:  # these methods become part of asr_tutorial.positional.SinusoidalPositionalEncoding
    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Add the encodings of positions ``offset, offset + 1, ...`` to ``x`` (batch, length, d_model).

        Raises:
            ValueError: a position beyond ``max_length``.
        """
        raise NotImplementedError("exercise 4.2")


class LearnedPositionalEncoding:  # these methods become part of asr_tutorial.positional.LearnedPositionalEncoding
    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Add the vectors of positions ``offset, offset + 1, ...`` to ``x`` (batch, length, d_model).

        Raises:
            ValueError: a position beyond ``max_length``.
        """
        raise NotImplementedError("exercise 4.2")


# %%
encodings_at, SinusoidalPositionalEncoding, LearnedPositionalEncoding = check("4.2")

# %% [markdown]
# Stuck? `asr-tutorial hint 4.2` in a terminal, one hint at a time.
#
# Try it: DOG BITES MAN again, now with positions. **Predict** whether BITES notices, which stands in the middle both times.

# %%
compare(SinusoidalPositionalEncoding(16))

# %% [markdown]
# All differ, BITES too: it now sees DOG before it and MAN after it, or the other way round.
#
# And too long an input is refused:

# %%
try:
    SinusoidalPositionalEncoding(16, max_length=100)(torch.zeros(1, 101, 16))
except ValueError as error:
    print("ValueError:", error)

# %% [markdown]
# ## Does the encoder notice now?
#
# The shuffled frames once more, and one more encoder for comparison. Its front end is a stack of convolutions, as in most speech
# models, instead of an average over four frames. A convolution looks at its neighbours, so it knows about order *nearby* even
# without any encoding.
#
# **Predict** the order of the three numbers.

# %%
for positional, subsampling in (("none", "pool"), ("none", "conv"), ("sinusoidal", "pool")):
    print(f"positions: {positional:10}  front end: {subsampling:4}  notices {notices(positional, subsampling):.3f}")

# %% [markdown]
# The averaging front end lets nothing through, so without positions the encoder notices exactly nothing. Convolutions leak
# some order. Keep this in mind when you read that a speech model "works without positional encoding": usually something else
# in it knows the order. We come back to this with a trained model.

# %% [markdown]
# ## Near and far
#
# Attention compares vectors by dot products, so look at the dot products of encodings. **Predict**: take position 20 and
# the position $k$ steps further on, then position 300 and the one $k$ steps further on. Which pair is more alike?

# %%
table = SinusoidalPositionalEncoding.make_table(128, 500)
similarity = table @ table.T / 64  # (500, 500); an encoding with itself: 1
with plots.style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3), layout="constrained")
    image = left.imshow(similarity[:120, :120], cmap=plots.SEQUENTIAL)
    left.set(title="Each position with each: bands along the diagonal", xlabel="position", ylabel="position")
    figure.colorbar(image, ax=left, label="similarity", pad=0.01)
    for place, t in enumerate((20, 150, 300)):
        curve = similarity[t, t : t + 120]
        right.plot(curve, color=plots.COLORS[place], linestyle=plots.DASHES[place], linewidth=3 - place, label=f"{t}")
    right.set(title="It depends on the distance alone", xlabel="distance k", ylabel="similarity: dot product / (d / 2)")
    right.set_ylim(0, 1.05)
    right.legend(title="from position")
    plt.show()

# %% [markdown]
# Neither. The three curves lie on each other. Multiply out the dot product, hand by hand, and the reason appears:
#
# $$p_t \cdot p_{t+k} = \sum_i \sin(w_i t) \sin(w_i (t + k)) + \cos(w_i t) \cos(w_i (t + k)) = \sum_i \cos(w_i k).$$
#
# Each hand contributes the cosine of the angle between its two places, and that angle is $w_i k$ wherever you start. So the
# code has a notion of "near" built in, before anything has been trained. The curve is high at small distances and falls with
# ripples. It is the same for $k$ and $-k$: dot products of bare encodings tell near from far, but not before from after. For
# that a layer has to turn them, which comes next.

# %% [markdown]
# ## A shift in time is a rotation
#
# "Look at the frame five steps back" is something that a layer should be able to learn once, for all positions. Can it? The
# query at position $t$ comes from $p_t$ by a linear map. So there has to be *one* matrix $R_k$ of shape $(d, d)$ with
#
# $$p_{t + k} = R_k\, p_t \qquad \text{for every } t.$$
#
# The authors of the Transformer name this as their reason for sines and cosines. You know that it exists from the clock: in $k$
# steps hand $i$ turns by the angle $w_i k$, wherever it was. And turning is linear. The addition theorems write it out:
#
# $$\sin(a + b) = \cos b \, \sin a + \sin b \, \cos a, \qquad \cos(a + b) = \cos a \, \cos b - \sin a \, \sin b.$$
#
# **By hand.** One hand with $w = 1$ at $t = 2$ has $(\sin 2, \cos 2) = (0.909, -0.416)$. One step further, with
# $\cos 1 = 0.540$ and $\sin 1 = 0.841$: the sine becomes $0.540 \cdot 0.909 + 0.841 \cdot (-0.416) = 0.141$, which is $\sin 3$.
# The factors $0.540$ and $0.841$ do not depend on $t$.
#
# **Exercise 4.3** · 30 minutes · difficulty 3 of 5 · core
#
# Write `shift_matrix`. For each hand, find the matrix of shape (2, 2) that takes $(\sin a, \cos a)$ to
# $(\sin(a + b), \cos(a + b))$, and put these blocks where they belong. `frequencies` is at hand.


# %%
@exercise("4.3")
def shift_matrix(d_model: int, offset: int) -> Tensor:
    """The rotation that moves any sinusoidal encoding by ``offset`` positions (Vaswani et al. 2017, section 3.5).

    ``table[t + offset] = shift_matrix(d_model, offset) @ table[t]`` for every position ``t``: the matrix depends on how
    far apart two positions are, not on where they are.

    Args:
        d_model: width of the encoding; must be even.
        offset: how many positions further; negative looks back.

    Returns:
        (d_model, d_model), float32, zero outside the 2 x 2 blocks on the diagonal.

    Raises:
        ValueError: ``d_model`` is odd.
    """
    raise NotImplementedError("exercise 4.3")


# %%
shift_matrix = check("4.3")

# %% [markdown]
# Stuck? `asr-tutorial hint 4.3` in a terminal, one hint at a time.
#
# Try it: one matrix moves the encodings of all positions at once. In a table, encodings are rows, hence the transpose.

# %%
table = SinusoidalPositionalEncoding.make_table(64, 200)
moved = table[:-5] @ shift_matrix(64, 5).T
print("table moved by 5 is the table from row 5 on:", torch.allclose(moved, table[5:], atol=1e-4))

# %% [markdown]
# Two of the hands, each at three positions (grey) and 5 steps later (dark): the angle between them is the same each time,
# and different for each hand. On the right the matrix itself, in a smaller model.

# %%
with plots.style():
    figure, panels = plt.subplots(1, 3, figsize=(8.5, 2.9), layout="constrained")
    for panel, i in zip(panels, (4, 7), strict=False):
        panel.add_patch(plt.Circle((0, 0), 1, fill=False, color="#bbbbbb"))
        for place, t in enumerate((0, 7, 13)):
            before, after = table[t, 2 * i : 2 * i + 2], moved[t, 2 * i : 2 * i + 2]
            color, dash = plots.COLORS[place], plots.DASHES[place]
            arc = torch.linspace(t, t + 5, 20) * frequencies(64)[i]
            radius = 0.55 + 0.12 * place
            panel.plot([0, before[0]], [0, before[1]], color="#aaaaaa", linestyle=dash)
            panel.plot([0, after[0]], [0, after[1]], color=color, linestyle=dash)
            panel.plot(radius * arc.sin(), radius * arc.cos(), color=color, linewidth=1)
            for hand, label in ((before, t), (after, t + 5)):
                panel.text(1.17 * hand[0], 1.17 * hand[1], f"{label}", ha="center", va="center", fontsize=7)
        degrees = math.degrees(5 * frequencies(64)[i])
        panel.set(title=f"hand {i}: 5 steps turn it by {degrees:.0f}°", xlim=(-1.35, 1.35), ylim=(-1.35, 1.35))
        panel.set_aspect("equal")
        panel.axis("off")
    image = panels[2].imshow(shift_matrix(12, 5), cmap=plots.SEQUENTIAL, vmin=-1, vmax=1)
    panels[2].set(title="$R_5$ for d = 12", xlabel="dimension before", ylabel="dimension after", aspect="equal")
    figure.colorbar(image, ax=panels[2], label="value", pad=0.01)
    plt.show()

# %% [markdown]
# With this matrix you can make an attention head by hand, with no training at all: let the query of position $t$ be
# $R_{-3}\, p_t$, which is $p_{t-3}$, and the key of position $j$ be $p_j$. By the similarity curve the best fit is at
# $j = t - 3$. A factor makes the softmax sharp.


# %%
def three_back(positions: Tensor) -> Tensor:
    """Attention weights (length, length) of the head made by hand, from encodings (length, 64)."""
    query = 8 * positions @ shift_matrix(64, -3).T
    return scaled_dot_product_attention(query, positions, positions)[1]


table = SinusoidalPositionalEncoding.make_table(64, 5000)
for first in (0, 4000):
    weights = three_back(table[first : first + 48])
    looks = weights.argmax(dim=-1) - torch.arange(48)
    print(f"from position {first} on: looks {looks[:6].tolist()}, then all at", looks[6:].unique().tolist())
weights = three_back(table[:48])
with plots.style():
    figure, axes = plt.subplots(figsize=(4.2, 3.4), layout="constrained")
    image = axes.imshow(weights, cmap=plots.WEIGHTS, vmin=0)
    axes.set(title="A head made by hand: three steps back", xlabel="position looked at", ylabel="position that looks")
    figure.colorbar(image, ax=axes, label="attention weight", pad=0.01)
    plt.show()

# %% [markdown]
# The first three positions have nothing three steps before them and take the nearest there is. All others look three steps back,
# from position 4000 on as well as at the beginning.

# %% [markdown]
# ## Experiment: no positions, learned ones, sinusoidal ones
#
# So a layer with sinusoidal positions *can* look three steps back anywhere. Does it *learn* to? Here is the smallest task that
# needs order: **say the token that came three places earlier**. The model is an embedding, positions, one attention head and an
# output layer. It is trained on sequences of 24 tokens, then tested on sequences of 96.

# %%
VOCABULARY, BACK, SHORT, LONG = 12, 3, 24, 96


class Toy(nn.Module):
    """One attention head that is to say the token of three places earlier."""

    def __init__(self, positional: str, d_model: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, d_model)
        self.positional = positional_encoding(positional, d_model, LONG)
        self.query, self.key, self.value = (nn.Linear(d_model, d_model) for _ in range(3))
        self.out = nn.Linear(d_model, VOCABULARY)

    def turn(self, x: Tensor) -> Tensor:
        return x  # the deep dive at the end puts something here

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        x = self.positional(self.embedding(tokens))  # (batch, length, d_model)
        query, key = self.turn(self.query(x)), self.turn(self.key(x))
        context, weights = scaled_dot_product_attention(query, key, self.value(x))
        return self.out(context), weights


def sequences(count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random tokens (count, length) and the right answers; the first three positions have none."""
    tokens = torch.randint(VOCABULARY, (count, length), generator=generator)
    return tokens, tokens.roll(BACK, dims=1)


def train(model: Toy, seed: int, steps: int = 400) -> Toy:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        tokens, answers = sequences(32, SHORT, generator)
        logits = model(tokens)[0][:, BACK:]
        loss = F.cross_entropy(logits.flatten(0, 1), answers[:, BACK:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def right_at_each_position(model: Toy, length: int) -> Tensor:
    """Share of right answers at each position, from BACK on: (length - BACK,)."""
    tokens, answers = sequences(200, length, torch.Generator().manual_seed(99))
    with torch.no_grad():
        return (model(tokens)[0].argmax(-1) == answers)[:, BACK:].float().mean(0)


# %% [markdown]
# **Predict** for each of the three kinds: how often is it right at length 24, the length of its training, and what happens at
# positions 24 to 95, which it has never seen? The learned table has 96 rows, so that no error stops it.


# %% tags=["nbval-ignore-output"]
def build(kind: str, seed: int) -> Toy:
    torch.manual_seed(seed)
    return Toy(kind)


toys = {kind: [train(build(kind, seed), seed) for seed in range(2)] for kind in ("none", "learned", "sinusoidal")}
long = {kind: torch.stack([right_at_each_position(toy, LONG) for toy in both]) for kind, both in toys.items()}
for kind, both in toys.items():
    short = torch.stack([right_at_each_position(toy, SHORT) for toy in both]).mean()
    print(f"{kind:10}  right at length {SHORT}: {short:.2f}   at positions {SHORT} to {LONG - 1}: ", end="")
    print(", ".join(f"{share:.2f}" for share in long[kind][:, SHORT - BACK :].mean(1)), "(two runs)")


# %% tags=["nbval-ignore-output"]
def plot_accuracy(curves: dict[str, Tensor], title: str) -> None:
    with plots.style():
        _, axes = plt.subplots(figsize=(8, 2.9), layout="constrained")
        for place, (kind, both) in enumerate(curves.items()):
            smooth = F.avg_pool1d(both.mean(0)[None], 4, stride=4)[0]  # (windows,)
            positions = BACK + 1.5 + 4 * torch.arange(len(smooth))
            axes.plot(
                positions, smooth, marker="o", markersize=3, label=kind,
                color=plots.COLORS[place], linestyle=plots.DASHES[place],
            )  # fmt: skip
        axes.axvline(SHORT, color="#888888", linewidth=1)
        axes.text(SHORT + 0.5, 1.04, "longer than in training", fontsize=8, color="#555555")
        axes.axhline(1 / VOCABULARY, color="#bbbbbb", linewidth=1)
        axes.text(0.5, 0.01, "guessing", fontsize=8, color="#555555")
        axes.set(title=title, xlabel="position", ylabel="right answers (share)", ylim=(0, 1.12), xlim=(0, LONG))
        axes.legend(title="positions", loc="upper left", bbox_to_anchor=(1, 1))
        plt.show()


plot_accuracy(long, "Learned positions end where training ended; sinusoidal ones fade and flicker")

# %% [markdown]
# What is there to see?
#
# - **Without positions** the model is wrong most of the time, yet it beats guessing at length 24. It has found out that the most
#   frequent token of the sequence is the best bet, which takes no order. The next cell confirms it.
# - **Learned positions** are perfect as far as training went and worth nothing beyond. Rows 24 to 95 of the table never
#   received a gradient: they are the random numbers that they were at the start.
# - **Sinusoidal positions** are perfect at length 24 too. In the long sequences they are right more often than by chance beyond
#   position 24, at some places far more often, but nowhere near reliably. Even some answers before position 24 go wrong: far
#   keys, which were not there in training, now compete. (The untrained rows of the learned table are so short that they hardly
#   do.)
#
# The last point deserves honesty, for the property of the previous section made it look safe. The matrix that works at every
# position exists; training merely had no reason to find *that* one. Over 24 positions most hands hardly move, and any matrix
# that is right there will do. Beyond, the hands reach places that no weight was ever fitted to.

# %% tags=["nbval-ignore-output"]
tokens, answers = sequences(200, SHORT, torch.Generator().manual_seed(99))
share = (tokens.mode(dim=1).values[:, None] == answers)[:, BACK:].float().mean()
print(f"right by always saying the most frequent token: {share:.2f}")
turned = int((2 * math.pi / frequencies(32) <= SHORT).sum())
print(f"hands that went round at least once in {SHORT} positions: {turned} of {len(frequencies(32))}")

# %% [markdown]
# Where do the heads look? Two of the models on one sequence of 72 tokens:

# %% tags=["nbval-ignore-output"]
tokens, _ = sequences(1, 72, torch.Generator().manual_seed(5))
with plots.style():
    figure, panels = plt.subplots(1, 2, figsize=(8.5, 3.7), layout="constrained")
    for panel, kind in zip(panels, ("learned", "sinusoidal"), strict=True):
        with torch.no_grad():
            weights = toys[kind][0](tokens)[1][0]
        image = panel.imshow(weights, cmap=plots.WEIGHTS, vmin=0, vmax=1)
        panel.axhline(SHORT, color=plots.COLORS[1], linewidth=1)
        panel.axvline(SHORT, color=plots.COLORS[1], linewidth=1)
        panel.set(title=f"{kind}: sharp within {SHORT} positions", xlabel="looks at")
    panels[0].set_ylabel("position that looks")
    figure.colorbar(image, ax=panels, label="attention weight", pad=0.01)
    plt.show()

# %% [markdown]
# The lines mark where training ended. Inside them both heads have drawn the diagonal of the head that you made by hand. Below,
# the learned one stares at a few places that it knows, whatever the position. The sinusoidal one shows pieces of the diagonal,
# and copies at other distances where the fast hands have come round again.
#
# *Something to try.* Call `self.positional(x, offset)` with a random offset in training, so that all 96 positions are seen in
# pieces of 24. Predict first which of the two gains more.
#
# Conclusions for speech: know the longest input that you train on, do not trust any absolute encoding beyond it, and make sure
# that too long an input is noticed. This library splits recordings of more than 30 seconds at pauses before it recognises them.

# %% [markdown]
# ## How loud is a position?
#
# What is added must neither drown the input nor be drowned by it. The length (Euclidean norm) of $p_t$ is easy: each hand has
# length 1, and there are $d / 2$ of them, so $\lVert p_t \rVert = \sqrt{d / 2}$ at every position. What about the embeddings of
# tokens?
#
# The decoder of this library starts them with a standard deviation of $1 / \sqrt d$ in each dimension, so that their length is
# about 1 whatever the width, and multiplies them by $\sqrt d$ before positions are added. **Predict** what would happen without
# that factor in a wide model.

# %%
widths = [16, 32, 64, 128, 256, 512]
torch.manual_seed(0)
norms = {
    "encoding, sinusoidal": [SinusoidalPositionalEncoding(d, 50).table.norm(dim=1).mean() for d in widths],
    "embedding as it is": [(torch.randn(200, d) / d**0.5).norm(dim=1).mean() for d in widths],
    "embedding times √d": [torch.randn(200, d).norm(dim=1).mean() for d in widths],
    "encoding, learned, at the start": [
        LearnedPositionalEncoding(d, 50).table.detach().norm(dim=1).mean() for d in widths
    ],
}
with plots.style():
    figure, axes = plt.subplots(figsize=(6.5, 3), layout="constrained")
    for place, (name, values) in enumerate(norms.items()):
        axes.plot(
            widths, values, marker="o", markersize=3, label=name,
            color=plots.COLORS[place], linestyle=plots.DASHES[place],
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="d_model", ylabel="length of a vector")
    axes.set_xticks(widths, labels=[str(width) for width in widths])
    axes.minorticks_off()
    axes.set_title("√d keeps embeddings as loud as positions")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    plt.show()
print(f"at d_model = 256 an unscaled embedding has length {norms['embedding as it is'][4]:.1f},", end=" ")
print(f"a sinusoidal position {norms['encoding, sinusoidal'][4]:.1f}")

# %% [markdown]
# Without the factor the position would be many times as loud as the token, and more so the wider the model. With it, the two
# stay in the same proportion at all widths. Learned positions start very quiet and grow as far as training wants them to.
#
# Here are the figures of a trained recogniser, the one that comes with this course. Its encoder has no such factor: there the
# front end is trained along with the rest, and finds its own loudness.

# %%
recognizer = asr_tutorial.load(resolve("pretrained/tinyspeech"), device="cpu")
model, tokenizer = recognizer.model.eval(), recognizer.tokenizer
samples = torch.from_numpy(read_audio(utterance.audio))
raw, lengths = log_mel(samples)[None], torch.tensor([len(log_mel(samples))])
with torch.inference_mode():
    frames, _ = model.encoder.subsampling(model.front_end(raw, lengths), lengths)  # (1, frames, d_model)
    letters = model.decoder.embedding.weight * model.decoder.scale  # (vocabulary, d_model)
position = model.encoder.positional.table[: frames.shape[1]]
print(f"d_model {frames.shape[-1]}: length of a position {position.norm(dim=-1).mean():.1f},", end=" ")
print(f"of a frame {frames.norm(dim=-1).mean():.1f}, of a letter {letters.norm(dim=-1).mean():.1f}")

# %% [markdown]
# ## Experiment: a wrong offset
#
# The same trained recogniser writes letter by letter, and its decoder asks for the encoding with an offset at each step. Two
# mistakes are planted here: an offset that is ignored, so that every letter is at position 0, and an offset that is too large
# by one from the second letter on.
#
# First the sharp test. Give the decoder all letters of the utterance at once; then give it one letter at a time with the
# cache. The log-probabilities must agree.


# %%
class WrongOffset(nn.Module):
    """A positional encoding that is asked for one offset and uses another."""

    def __init__(self, inner: nn.Module, change) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        return self.inner(x, self.change(offset))


true_positions = model.decoder.positional
offsets = {
    "right": lambda offset: offset,
    "off by one": lambda offset: offset + 1 if offset else 0,
    "ignored": lambda offset: 0,
}
tokens = torch.tensor([[tokenizer.sos_id, *tokenizer.encode(utterance.text)]])
difference = {}
with torch.inference_mode():
    encoder_out, encoder_mask = model.encode(raw, lengths)
    whole = model.decode(tokens, encoder_out, encoder_mask).log_softmax(-1)  # (1, length, vocabulary)
    for name, change in offsets.items():
        model.decoder.positional = WrongOffset(true_positions, change)
        cache = model.new_cache()
        steps = [model.decode(token[:, None], encoder_out, encoder_mask, cache) for token in tokens.T]
        difference[name] = (torch.cat(steps, dim=1).log_softmax(-1) - whole).abs().amax(-1)[0]
model.decoder.positional = true_positions

with plots.style():
    figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
    for place, (name, values) in enumerate(difference.items()):
        axes.plot(
            values.clamp(min=1e-7), marker="o", markersize=2.5, label=name,
            color=plots.COLORS[place], linestyle=plots.DASHES[place],
        )  # fmt: skip
    axes.set(yscale="log", ylim=(3e-8, 1e3), xlabel="letter", ylabel="largest difference (nats)")
    axes.set_title("Letter by letter against all at once: only the right offset agrees")
    axes.legend(title="offset", loc="upper left", bbox_to_anchor=(1, 1))
    plt.show()

# %% [markdown]
# At the first letter all three are right, for its offset is 0 in each case. That is why a test with a single step finds nothing.
#
# **Predict** what the recogniser writes with each of the two mistakes.

# %% tags=["nbval-ignore-output"]
few = [one for one in corpus if one.speaker == utterance.speaker][:8]
for name, change in offsets.items():
    model.decoder.positional = WrongOffset(true_positions, change)
    texts = [transcript.text for transcript in recognizer.transcribe([one.audio for one in few])]
    print(f"{name:10}  word errors {100 * wer([one.text for one in few], texts):5.1f} %   {texts[0][:64]}")
model.decoder.positional = true_positions

# %% [markdown]
# The first of the eight utterances is TOMORROW WILL BE CLOUDY SO TAKE A SMALL SCARF AND AN OLD HAT, and the model is small and
# makes mistakes of its own. An ignored offset ends in stammering: each letter believes that it is the first, so the decoder
# cannot tell how far it has come. That mistake you would notice at once.
#
# Off by one is the dangerous one. It costs a few words, and nobody looks for it, because the output reads well. The comparison in
# the plot above finds it at the second letter. The tests of exercise 4.2 make it for your module, and chapter 06 makes it for the
# whole decoder.

# %% [markdown]
# ## Experiment: who else knows the order?
#
# One more operation on the trained recogniser: take the positions out of its *encoder*. **Predict**: does the text fall to
# pieces, as in the shuffled utterance?

# %% tags=["nbval-ignore-output"]
encoder_positions = model.encoder.positional
for name, positions in (("sinusoidal", encoder_positions), ("none", positional_encoding("none", 144, 1))):
    model.encoder.positional = positions
    for search in ("ctc", "greedy"):
        texts = [transcript.text for transcript in recognizer.transcribe([one.audio for one in few], search=search)]
        errors = 100 * wer([one.text for one in few], texts)
        print(f"encoder positions {name:10}  {search:6}  word errors {errors:5.1f} %   {texts[2]}")
model.encoder.positional = encoder_positions
kernel = recognizer.config.model.conv_kernel
print(f"front end: {recognizer.config.model.subsampling}; convolution in each layer over {kernel} frames")

# %% [markdown]
# (The third utterance is THE PLANE FROM BOSTON IS THIRTY MINUTES LATE.) It gets worse, but it remains speech recognition. This
# model has two other sources of order: the convolutions of its front end and those in each of its layers, as in a Conformer.
# *ctc* reads the letters off the frames one after the other, so little more than the neighbourhood is needed. *greedy* is the
# decoder, which has to find the next place in the utterance, and it misses the positions more.
#
# Two warnings about what this shows. The model was trained with positions and has to do without them unprepared; one
# that was trained without them from the start could do better. And the encoder's states still come out in order, for
# nobody shuffled them: it is the *layers* that do not know it.

# %% [markdown]
# ## Deep dive: rotary positions
#
# In the toy experiment training did not find the rotation. Then why not build it in? That is the idea of [rotary position
# embedding](../docs/glossary.md#rotary-position-embedding) (RoPE): add nothing to the input, and in every attention layer turn
# each query $q_m$ at position $m$ and each key $k_n$ at position $n$ by its own position. Write $\Theta_t$ for the rotation of
# position $t$, which turns hand $i$ by $w_i t$. The score becomes
#
# $$(\Theta_m\, q_m) \cdot (\Theta_n\, k_n) = q_m \cdot (\Theta_m^\top \Theta_n)\, k_n = q_m \cdot \Theta_{n - m}\, k_n .$$
#
# Where the two stand enters through $n - m$ only, with nothing to learn. Many of today's language models use it, and some speech
# models.
#
# **Exercise 4.4** · 25 minutes · difficulty 3 of 5 · optional
#
# Write the rotation. Pair $i$ is again made of dimensions $2i$ and $2i + 1$. With the angle $a = w_i t$,
#
# $$x'_{t,\,2i} = x_{t,\,2i} \cos a - x_{t,\,2i+1} \sin a, \qquad x'_{t,\,2i+1} = x_{t,\,2i} \sin a + x_{t,\,2i+1} \cos a .$$
#
# This is the direction in which RoPE is usually written, from the first coordinate towards the second. Your `shift_matrix`
# turns the other way round, because its first coordinate is the sine. For scores only the agreement of queries and keys
# matters. Positions run along the axis before the last; there may be any axes before it.


# %%
@exercise("4.4")
def rotate_by_position(x: Tensor, offset: int = 0) -> Tensor:
    """Turn each pair of dimensions by an angle that grows with the position (RoPE, Su et al. 2021, section 3.2.2).

    Applied to queries and keys instead of adding anything to the input: the dot product of a query and a key then
    depends on how far apart they are, not on where they are. With ``a = w_i t`` and ``w = frequencies(d)``, position
    ``t`` of the result holds ``x[t, 2i] cos(a) - x[t, 2i + 1] sin(a)`` at ``2i`` and
    ``x[t, 2i] sin(a) + x[t, 2i + 1] cos(a)`` at ``2i + 1``.

    Args:
        x: (..., length, d), the positions in the last axis but one; ``d`` must be even.
        offset: the position of the first row.

    Returns:
        (..., length, d), each row as long as before.

    Raises:
        ValueError: ``d`` is odd.
    """
    raise NotImplementedError("exercise 4.4")


# %%
rotate_by_position = check("4.4")

# %% [markdown]
# Stuck? `asr-tutorial hint 4.4` in a terminal, one hint at a time.
#
# Try it: the scores of random queries and keys, once from position 0 on and once from position 1000 on. Then the toy task.
# **Predict** what happens beyond position 24.

# %%
torch.manual_seed(0)
query, key = torch.randn(2, 6, 16).unbind(0)
scores = [rotate_by_position(query, offset) @ rotate_by_position(key, offset).T for offset in (0, 1000)]
print("the same scores:", torch.allclose(*scores, atol=1e-2))


class RotaryToy(Toy):
    """Nothing is added to the input; queries and keys turn."""

    def turn(self, x: Tensor) -> Tensor:
        return rotate_by_position(x)


def build_rotary(seed: int) -> RotaryToy:
    torch.manual_seed(seed)
    return RotaryToy("none")


# %% tags=["nbval-ignore-output"]
rotary = torch.stack([right_at_each_position(train(build_rotary(seed), seed), LONG) for seed in range(2)])
print("right beyond training:", ", ".join(f"{share:.2f}" for share in rotary[:, SHORT - BACK :].mean(1)), "(two runs)")
plot_accuracy(long | {"rotary": rotary}, "Rotary positions carry what was learnt to places never seen")

# %% [markdown]
# Three steps back is three steps back. The score of a query with the key three places before it is the same at position 90
# as at position 10. What is not the same is the competition: there are four times as many keys, some at distances that training
# never had, and now and then one of them wins. Even rotary positions promise less than "any length".

# %% [markdown]
# ## The usual mistakes
#
# | mistake | what you see |
# |---|---|
# | sines in one half, cosines in the other | all works, until a checkpoint from elsewhere is loaded and gives nonsense |
# | exponent $i / d$ for $2i / d$, or the wrong logarithm | no error; the slow hands are too fast, and far positions look alike |
# | positions counted along the batch axis | no error with one utterance; one position for the whole sequence |
# | offset ignored in step-by-step decoding | training loss is fine, decoding stammers |
# | offset off by one | decoding is a little worse than it should be; step by step and all at once disagree |
# | encoding not added but put in place of the input | loss stays where a model without input would be |
# | position beyond the table cut silently ([speechbrain #3085](https://github.com/speechbrain/speechbrain/pull/3085)) | long utterances fail, short ones do not |
# | learned table longer than any training sequence | the same, and without an error: its last rows are noise |
# | embedding not scaled, or scaled twice | tokens drown in positions, or positions in tokens (the plot of lengths) |

# %% [markdown]
# ## Quiz
#
# **1.** An encoder without positions and with an averaging front end is trained with CTC, which labels each frame. You shuffle
# the frames of a test utterance. What happens to the labels of the frames?
#
# <details><summary>Answer</summary>
#
# Each frame keeps its label (as far as its group of four stays together), and the labels come out in the shuffled order. The
# encoder computes the same vectors, for each of them is a function of the frame itself and of the *set* of all frames. The text
# is garbage only because it is read off in the new order.
#
# </details>
#
# **2.** Why does each frequency need a sine *and* a cosine, if the sines of many frequencies would already make all positions
# different?
#
# <details><summary>Answer</summary>
#
# With both, the pair is a point on a circle, and a shift by $k$ positions is a rotation by $w_i k$: one linear map for all
# positions. From $\sin(w t)$ alone, $\sin(w(t + k))$ does not follow, for it needs $\cos(w t)$ as well. The length of $p_t$
# would also change with $t$.
#
# </details>
#
# **3.** A colleague trains with learned positions on utterances of up to 15 seconds and sets `max_length` to 5000, "to be
# safe". What is wrong with that?
#
# <details><summary>Answer</summary>
#
# At 40 ms a frame, 15 seconds are 375 positions. Rows 375 to 4999 never get a gradient and stay random. An utterance of 20
# seconds raises no error any more and gets noise added to its last frames. A table of 375 rows would have refused it, with a
# message that says what to do.
#
# </details>

# %% [markdown]
# ## Where this goes next
#
# Attention of many heads, masks and positions are all that an encoder layer needs from outside. In
# [chapter 05](05_encoder.ipynb) you put them together with a front end and feed-forward blocks, and end by training your
# encoder until it recognises its first words. The offset returns in chapter 06, where the decoder writes with a cache.
#
# **References**
#
# - A. Vaswani et al. 2017, *Attention is all you need*, section 3.5: sinusoids, and the comparison with learned positions.
#   [arXiv:1706.03762](https://arxiv.org/abs/1706.03762)
# - J. Gehring et al. 2017, *Convolutional sequence to sequence learning*, section 3.1: learned positions.
#   [arXiv:1705.03122](https://arxiv.org/abs/1705.03122)
# - J. Su et al. 2021, *RoFormer: enhanced transformer with rotary position embedding*, section 3.2.
#   [arXiv:2104.09864](https://arxiv.org/abs/2104.09864)
# - A. Gulati et al. 2020, *Conformer: convolution-augmented transformer for speech recognition*: convolutions and relative
#   positions side by side. [arXiv:2005.08100](https://arxiv.org/abs/2005.08100)
