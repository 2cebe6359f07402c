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
# # 03 · Masks, padding and batches
#
# Utterances have different lengths, and a tensor is a rectangle. In this chapter you put several utterances into one
# tensor, and then make sure that what you filled the gaps with is never heard. You write the masks that the encoder and
# the decoder use in every layer, and the padding that the data loader does for every batch.
#
# None of the functions is longer than a few lines. What makes them hard is that a wrong mask looks exactly like a right
# one: same shape, same type, no error, and a loss that still falls. So half of this chapter is about noticing.
#
# **You need** chapter 01 (attention weights, and what a mask does to them) and chapter 02 (heads). From chapter 00 you
# need to know that an utterance is a matrix of frames by mel bins, and its transcript a list of token numbers.
# **Time**: about 2.5 hours without the optional exercise, of which the core exercises take 80 minutes.
#
# | exercise | what you write | minutes | difficulty | |
# |---|---|---|---|---|
# | 3.1 | `padding_mask`: which positions are real | 15 | 1 | core |
# | 3.2 | `causal_mask`: no look into the future | 10 | 1 | core |
# | 3.3 | `key_mask`, `combine_masks`: masks that fit the scores | 20 | 2 | core |
# | 3.4 | `pad_features`, `pad_tokens`: from ragged to rectangular | 20 | 2 | core |
# | 3.5 | `to_torch_...`: the same masks in PyTorch's own convention | 15 | 2 | core |
# | 3.6 | `sequential_batches`, `padding_share`: batches that waste little | 30 | 3 | optional |

# %%
# The course comes first: from here on the library has what you wrote in earlier chapters.
from asr_tutorial.course import check, exercise, here, show

here("03")

# %%
from collections.abc import Sequence
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import torch
from IPython.display import Audio
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.nn import functional as F

from asr_tutorial import decoder, encoder, load, plots
from asr_tutorial.attention import MultiHeadAttention, attention_weights
from asr_tutorial.audio import read_audio
from asr_tutorial.corpus import read_corpus
from asr_tutorial.corpus.read import REPOSITORY
from asr_tutorial.dataset import sampler
from asr_tutorial.dataset.batch import round_up
from asr_tutorial.dataset.sampler import BatchPlan
from asr_tutorial.features import log_mel
from asr_tutorial.recognizer.decoding import FeatureBatch, decode_batch

# %% [markdown]
# ## Why batches, and what they cost
#
# A network could read one utterance at a time. It reads several at once, a [batch](../docs/glossary.md#batch), for two
# reasons. A processor fetches the weights from memory once for the whole batch instead of once for each utterance. And
# the mean gradient over several utterances points more reliably downhill than the gradient of one.
#
# Here are six utterances of the test set as they would lie in one batch.

# %%
corpus = read_corpus("tinyspeech/test")
by_length = sorted(corpus, key=lambda utterance: utterance.seconds)
chosen = [by_length[index] for index in (0, 30, 65, 100, 120, -1)]
features = [log_mel(torch.from_numpy(read_audio(utterance.audio))) for utterance in chosen]  # each (frames, 80)
lengths = torch.tensor([len(utterance) for utterance in features])  # (batch,)

with plots.style():
    figure, rows = plt.subplots(len(features), 1, figsize=(8, 4.4), sharex=True, layout="constrained")
    for axes, utterance in zip(rows, features, strict=True):
        end, whole = len(utterance) * 0.01, int(lengths.max()) * 0.01
        axes.imshow(utterance.T, origin="lower", extent=(0, end, 0, 80), cmap=plots.SEQUENTIAL)
        axes.axvspan(end, whole, facecolor="#d9d9d9", hatch="///", edgecolor="white", linewidth=0)
        axes.set(xlim=(0, whole), ylim=(0, 80), yticks=[])
        axes.set_ylabel(f"{len(utterance)}\nframes", rotation=0, ha="right", va="center")
    rows[0].set_title(
        "A batch is as long as its longest utterance: the hatched part is padding (each row: 80 mel bins)"
    )
    rows[-1].set_xlabel("time (s)")
plt.show()

# %% [markdown]
# The hatched part is [padding](../docs/glossary.md#padding). It costs time and memory like speech, and it says nothing.
# Worse, nothing in the tensor tells the two apart, unless you do.

# %% [markdown]
# ## What padding does when nobody hides it
#
# Let $T$ be the number of positions of the padded batch. One query gives a score $s_j$ to each key $j = 0, \dots, T-1$.
# Let $m_j$ be 1 where key $j$ may be attended, and 0 where it may not. Then the attention weights are
#
# $$w_j = \frac{m_j \, e^{s_j}}{\sum_{k=0}^{T-1} m_k \, e^{s_k}}$$
#
# Without a mask all $m_j$ are 1. Take an utterance of one real frame in a batch of length 3. Its score is 2, and its
# value is 10. The two padded frames have score 0 and value 0.
#
# - With the mask $m = (1, 0, 0)$: the weight of the real frame is $e^2 / e^2 = 1$, and the result is $1 \cdot 10 = 10$.
# - Without: $e^2 = 7.389$ and $e^0 = 1$, so the weights are $7.389 / 9.389 = 0.787$ and twice $0.107$. The result is
#   $0.787 \cdot 10 = 7.87$.
#
# So zeros are not "nothing". A score of 0 is a perfectly good score, and its weight is $e^0 = 1$ before the division.
# In a longer batch the same utterance loses more: with eight padded frames its weight is $7.389 / 15.389 = 0.48$. What
# the utterance means would depend on who travels with it.
#
# **The convention of this course**: a [mask](../docs/glossary.md#mask) is boolean, and **True means "real", or "may be
# attended"**. `F.scaled_dot_product_attention` reads masks the same way. `nn.MultiheadAttention`, in the same library,
# reads True as "ignore". Exercise 3.5 builds the bridge; everywhere else there is one meaning.

# %% [markdown]
# ## Which positions are real
#
# A data loader knows how long each utterance is before it pads, so it hands the lengths along: `lengths`, a tensor
# `(batch,)`. From the lengths alone you can say which positions of the rectangle are real.
#
# Lengths 3 and 1 give, on a time axis of three positions,
#
# ```
# True  True  True
# True  False False
# ```
#
# Why not look for zeros in the features instead? Because zeros also occur in speech, because padding does not stay zero
# (one bias is enough), and because a NaN in the padding is not zero either. Lengths do not depend on values.
#
# Write `padding_mask`. The line that stays in the stub, `_check_fit`, refuses lengths that are larger than
# `max_length`. Make the positions on the device of the lengths (`device=lengths.device`), or the first run on a GPU
# stops.
#
# **Exercise 3.1** · 15 minutes · difficulty 1 of 5 · core


# %%
@exercise("3.1")
def padding_mask(lengths: Tensor, max_length: int | None = None) -> Tensor:
    """Which positions of a padded batch are real.

    Args:
        lengths: (batch,) number of real positions of each sequence.
        max_length: size of the time axis; the longest length when not given.

    Returns:
        (batch, max_length) boolean, True = real.

    Raises:
        ValueError: a length is larger than ``max_length``.
    """
    _check_fit(lengths, max_length)
    raise NotImplementedError("exercise 3.1")


# %%
padding_mask = check("3.1")

# %% [markdown]
# Stuck? `asr-tutorial hint 3.1` in a terminal, one hint at a time.
#
# Try it on the batch above. The mask has one row for each utterance, and what it counts are the lengths.

# %%
real = padding_mask(lengths)
print("mask", tuple(real.shape), real.dtype)
print("lengths", lengths.tolist())
print("True per row", real.sum(dim=1).tolist())
print(f"{1 - real.float().mean():.1%} of this batch are padding")

# %% [markdown]
# ## No look into the future
#
# A decoder learns to predict each token from those before it. In training it gets the whole transcript at once, and
# every position predicts its next token at the same time. That works only if position $i$ cannot see positions
# $i + 1, i + 2, \dots$, for the answer stands there. The [causal mask](../docs/glossary.md#causal-mask) forbids it.
#
# It is a table `(size, size)`: the row is the position that looks (query), the column is the position that is looked at
# (key). Before you write it, fill in the table for `size = 3` on paper. Does a position see itself?
#
# **Exercise 3.2** · 10 minutes · difficulty 1 of 5 · core


# %%
@exercise("3.2")
def causal_mask(size: int, device: torch.device | str | None = None) -> Tensor:
    """Position ``i`` may attend to positions ``0..i`` (Vaswani et al. 2017, section 3.2.3).

    Returns:
        (size, size) boolean, rows = queries, columns = keys, True on and below the diagonal.
    """
    raise NotImplementedError("exercise 3.2")


# %%
causal_mask = check("3.2")

# %% [markdown]
# Stuck? `asr-tutorial hint 3.2` in a terminal, one hint at a time.
#
# Try it: how many keys does each of five positions see?

# %%
print(causal_mask(5).sum(dim=1).tolist())

# %% [markdown]
# ## Masks that fit the scores
#
# Attention scores are `(batch, queries, keys)` (chapter 02 adds an axis for the heads, which `MultiHeadAttention` gives
# the mask by itself). A padding mask is `(batch, keys)`, and a causal mask is `(queries, keys)`. Both lack an axis.
#
# - `key_mask` brings a padding mask into the form `(batch, 1, keys)`. The axis of size 1 stands where the queries
#   stand: broadcasting uses the same row for each query. **It is the keys that are hidden, not the queries.** What a
#   padded query computes is thrown away later; what a padded *key* says would reach everybody.
# - `combine_masks` says what a decoder with padded tokens may see: a key that is real **and** does not lie in the
#   future. Padding differs between utterances, the causal table does not, and the result is `(batch, queries, keys)`.
#
# **Exercise 3.3** · 20 minutes · difficulty 2 of 5 · core


# %%
@exercise("3.3")
def key_mask(padding: Tensor) -> Tensor:
    """Every query may attend to every real key: encoder self-attention and cross-attention.

    Args:
        padding: (batch, keys) boolean, True = real.

    Returns:
        (batch, 1, keys), which broadcasts over the queries.
    """
    raise NotImplementedError("exercise 3.3")


def combine_masks(padding: Tensor, causal: Tensor) -> Tensor:
    """Real keys that do not lie in the future: decoder self-attention.

    Args:
        padding: (batch, keys) boolean, True = real.
        causal: (queries, keys) boolean.

    Returns:
        (batch, queries, keys) boolean.
    """
    raise NotImplementedError("exercise 3.3")


# %%
key_mask, combine_masks = check("3.3")

# %% [markdown]
# Stuck? `asr-tutorial hint 3.3` in a terminal, one hint at a time.
#
# Try it: the four masks of a recogniser, for an utterance of four frames and the text HI, in a batch that is padded to
# six frames and five tokens. The decoder's input begins with `<sos>`, the start symbol.

# %%
frames = [f"frame {number}" for number in range(4)] + ["padding"] * 2
tokens = ["<sos>", "H", "I", "<pad>", "<pad>"]
frames_real = padding_mask(torch.tensor([4]), 6)  # (1, 6)
tokens_real = padding_mask(torch.tensor([3]), 5)  # (1, 5)

masks = {
    "Encoder: every frame sees the real frames": (key_mask(frames_real).expand(1, 6, 6)[0], frames, frames),
    "Decoder, causal: itself and the past": (causal_mask(5), tokens, tokens),
    "Decoder, combined: and no padding": (combine_masks(tokens_real, causal_mask(5))[0], tokens, tokens),
    "Cross-attention: tokens see the real frames": (key_mask(frames_real).expand(1, 5, 6)[0], tokens, frames),
}
with plots.style():
    figure, grid = plt.subplots(2, 2, figsize=(8, 5.6), layout="constrained")
    for axes, (title, (mask, queries, keys)) in zip(grid.flat, masks.items(), strict=True):
        axes.pcolormesh(mask.float(), cmap=plots.WEIGHTS, vmin=0, vmax=1.3, edgecolors="#999999", linewidth=0.6)
        axes.invert_yaxis()
        axes.set_xticks([i + 0.5 for i in range(len(keys))], keys, rotation=35, ha="right")
        axes.set_yticks([i + 0.5 for i in range(len(queries))], queries)
        axes.tick_params(length=0)
        axes.set(title=title, xlabel="key (looked at)", ylabel="query (looks)")
plt.show()

# %% [markdown]
# Dark is True. In the encoder and in cross-attention whole *columns* are white: nobody sees padding. Rows of padded
# queries are as dark as the others, and nobody cares.
#
# **Predict**: the decoder of this library uses the causal mask alone, although its tokens are padded. Compare the
# second and the third picture, row by row. For which queries does the padding mask change anything?

# %%
torch.manual_seed(0)
attention = MultiHeadAttention(16, num_heads=2)
x = torch.randn(1, 5, 16)
for where, tokens_real in (
    ("behind", [True, True, True, False, False]),
    ("in front", [False, False, True, True, True]),
):
    tokens_real = torch.tensor([tokens_real])
    causal, _ = attention(x, x, x, causal_mask(5))
    combined, _ = attention(x, x, x, combine_masks(tokens_real, causal_mask(5)))
    difference = (causal - combined).abs().amax(dim=-1)[tokens_real]  # of real queries
    print(f"padding {where}: real positions differ by {[round(d, 3) for d in difference.tolist()]}")

# %% [markdown]
# With the padding *behind* the text, no real token ever looks at it: it lies in the future. The causal mask does the
# work of both, and the library saves the larger table. With padding *in front*, as batched text generation often has
# it, every real token would see it, and you need the combined mask.

# %% [markdown]
# ## From ragged to rectangular
#
# Now the padding itself. `pad_features` stacks matrices `(frames, n_mels)` of different lengths to
# `(batch, time, n_mels)`, with zeros behind the end of each. `pad_tokens` does the same for transcripts, and fills up
# with the number of the [PAD](../docs/glossary.md#pad) token.
#
# Two decisions are made by the caller and not by you:
#
# - **How long** the common axis is. It may be longer than the longest utterance, for reasons that you see below.
# - **Which number** PAD has. Only the tokenizer knows it. 0 is tempting, and in many vocabularies 0 is another token.
#
# Token numbers index a table of embeddings, so they are whole numbers: int64, `torch.long`. A transcript may be empty.
#
# **Exercise 3.4** · 20 minutes · difficulty 2 of 5 · core


# %%
@exercise("3.4")
def pad_features(features: Sequence[Tensor], time: int) -> Tensor:
    """Stack utterances of different lengths, with zeros behind their ends.

    Args:
        features: one ``(frames, n_mels)`` for each utterance, none longer than ``time``.
        time: length of the common time axis.

    Returns:
        ``(batch, time, n_mels)``.
    """
    raise NotImplementedError("exercise 3.4")


def pad_tokens(sequences: Sequence[Sequence[int]], length: int, pad: int) -> Tensor:
    """Stack token sequences of different lengths, filled up with PAD.

    Args:
        sequences: token ids, none longer than ``length``.
        length: length of the common token axis.
        pad: id of PAD.

    Returns:
        ``(batch, length)`` int64.
    """
    raise NotImplementedError("exercise 3.4")


# %%
pad_features, pad_tokens = check("3.4")

# %% [markdown]
# Stuck? `asr-tutorial hint 3.4` in a terminal, one hint at a time.
#
# Try it on the six utterances, with the tokenizer of the small recogniser that comes with the course.

# %%
recogniser = load(REPOSITORY / "data/pretrained/tinyspeech", device="cpu")
tokenizer = recogniser.tokenizer

time = round_up(int(lengths.max()), 32)
padded = pad_features(features, time)
print("features", tuple(padded.shape), "for lengths", lengths.tolist())

texts = ["HELLO", "WHO IS IT", ""]
token_ids = [tokenizer.encode(text) for text in texts]
print("PAD has the number", tokenizer.pad_id)
print(pad_tokens(token_ids, max(len(ids) for ids in token_ids), tokenizer.pad_id))

# %% [markdown]
# In the library, `collate` calls your two functions for features, targets and the decoder's tokens, and gives a
# `Batch`, which holds the lengths beside the padded tensors. It rounds the time axis up. (What `shifted_and_golden` makes
# for the decoder is the subject of chapter 06.)

# %%
show("dataset.batch.collate")

# %% [markdown]
# ## What padding costs
#
# How much of a batch is padding depends on *which* utterances share it. Look at the lengths in the training set of
# TinySpeech, the small corpus that comes with the course:

# %%
train_frames = [int(utterance.seconds * 100) - 2 for utterance in read_corpus("tinyspeech/train")]
shortest, quarter, half, three_quarters, longest = np.percentile(train_frames, [0, 25, 50, 75, 100]) / 100
print(f"{len(train_frames)} utterances of {shortest:.1f} to {longest:.1f} s")
print(f"half of them last between {quarter:.1f} and {three_quarters:.1f} s, the median is {half:.1f} s")

# %% [markdown]
# Three ways to make batches of them:
#
# - **at random**, twelve at a time;
# - **sorted** by length, as many as fit into 4000 frames (40 seconds), padding included;
# - **[buckets](../docs/glossary.md#bucket)**: lengths are rounded up to a multiple of 32 or 64 frames, and a batch
#   takes random utterances of one bucket, again up to 4000 frames.
#
# **Predict**: what share of the frames is padding when you choose at random? And what might be wrong with sorting?

# %%
order = np.random.default_rng(1).permutation(len(train_frames)).tolist()
groups = [order[start : start + 12] for start in range(0, len(order), 12)]
ways = {
    "12 at random": [BatchPlan(max(train_frames[i] for i in group), group) for group in groups],
    "buckets of 64 frames": sampler.BucketBatchSampler(train_frames, batch_frames=4000, frame_multiple=64).plans(),
    "buckets of 32 frames": sampler.BucketBatchSampler(train_frames, batch_frames=4000, frame_multiple=32).plans(),
    "sorted": sampler.sequential_batches(train_frames, batch_frames=4000),
}
shares = {way: sampler.padding_share(plans, train_frames) for way, plans in ways.items()}
shapes = {way: len({plan.frames for plan in plans}) for way, plans in ways.items()}
for way, plans in ways.items():
    print(f"{way:22} {len(plans):4} batches, {shares[way]:6.1%} padding, {shapes[way]:3} different lengths")

with plots.style():
    figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
    bars = axes.barh(list(ways), [100 * share for share in shares.values()], color=plots.COLORS[0], height=0.6)
    axes.bar_label(bars, [f" {shapes[way]} different lengths" for way in ways], fontsize=8)
    axes.set(
        title="Similar lengths together waste less, and buckets have few shapes",
        xlabel="padding (% of all frames)",
        xlim=(0, 32),
    )
    axes.invert_yaxis()
plt.show()

# %% [markdown]
# Random batches waste about a quarter of the work. Sorting wastes almost nothing, and has two faults. Each utterance
# meets the same company in every epoch, so that the gradients are less varied than they could be. And nearly every
# batch has a length of its own, while libraries prepare and keep kernels for each new shape. Buckets pay with
# some padding and get both back: random company, and a handful of shapes. That is why the time axis is rounded up.
#
# Training in this library uses `BucketBatchSampler`; evaluation, where the order does not matter, uses
# `sequential_batches`, which is optional exercise 3.6. TinySpeech is tame: in a corpus that mixes one-second answers
# with half-minute sentences, random batches can be mostly padding.

# %% [markdown]
# ## Speaking to PyTorch
#
# Sooner or later you use `nn.MultiheadAttention` or `nn.TransformerEncoder`. They take two masks, and in both **True
# means "ignore"**:
#
# - `key_padding_mask`, `(batch, keys)`;
# - `attn_mask`, `(queries, keys)` for all utterances and heads, or, if it differs between utterances,
#   `(batch * num_heads, queries, keys)`: one table for each head of each utterance, with the heads of utterance 0
#   first, then those of utterance 1.
#
# Suppose two utterances with masks A and B, and three heads. PyTorch wants A A A B B B. `Tensor.repeat` gives
# A B A B A B, which has the right shape and hands most heads the mask of another utterance.
#
# Write the two functions that convert. Once they exist, no other place in the code ever negates a mask.
#
# **Exercise 3.5** · 15 minutes · difficulty 2 of 5 · core


# %%
@exercise("3.5")
def to_torch_key_padding_mask(padding: Tensor) -> Tensor:
    """``key_padding_mask`` of ``nn.MultiheadAttention``: (batch, keys), True = **ignore**."""
    raise NotImplementedError("exercise 3.5")


def to_torch_attention_mask(mask: Tensor, num_heads: int) -> Tensor:
    """``attn_mask`` of ``nn.MultiheadAttention``, True = **ignore**.

    Args:
        mask: (queries, keys), or (batch, queries, keys), True = may be attended.
        num_heads: heads of the module that receives the mask.

    Returns:
        (queries, keys), or (batch * num_heads, queries, keys).
    """
    raise NotImplementedError("exercise 3.5")


# %%
to_torch_key_padding_mask, to_torch_attention_mask = check("3.5")

# %% [markdown]
# Stuck? `asr-tutorial hint 3.5` in a terminal, one hint at a time.
#
# Try it: PyTorch's attention, given your converted masks, must put its weight exactly where your own masks are True.

# %%
torch.manual_seed(0)
theirs = nn.MultiheadAttention(12, num_heads=3, batch_first=True)
x = torch.randn(2, 5, 12)
two_real = padding_mask(torch.tensor([5, 3]))
both = combine_masks(two_real, causal_mask(5))

_, weights = theirs(x, x, x, key_padding_mask=to_torch_key_padding_mask(two_real))
print("key_padding_mask:", torch.equal(weights > 0, key_mask(two_real).expand(2, 5, 5)))
_, weights = theirs(x, x, x, attn_mask=to_torch_attention_mask(both, 3), average_attn_weights=False)
print("attn_mask:", torch.equal(weights > 0, both[:, None].expand(2, 3, 5, 5)))

# %% [markdown]
# ## Experiment 1: a trained recogniser with the mask inverted
#
# The recogniser that you loaded for its tokenizer is trained: it knows everyday sentences with a small vocabulary,
# spoken by synthetic voices. You now change what `key_mask` tells it, in the encoder's self-attention and in the
# decoder's cross-attention, and nothing else. No weight is touched.
#
# Listen to the shortest of the six utterances, so that you know what there is to hear.

# %%
print(chosen[0].text)
Audio(read_audio(chosen[0].audio), rate=16_000)

# %% [markdown]
# **Predict**, for the shortest and for the longest utterance of the batch: what does the recogniser write (a) without
# any mask, (b) with the mask inverted? Does anything crash? The longest utterance has no padding at all.


# %%
@contextmanager
def mask_replaced(change):
    """While this lasts, encoder and decoder get ``change(padding)`` instead of ``key_mask(padding)``."""
    with patch.object(encoder, "key_mask", change), patch.object(decoder, "key_mask", change):
        yield


def no_mask(padding):
    return torch.ones_like(key_mask(padding))


def inverted_mask(padding):
    return ~key_mask(padding)


# %% tags=["nbval-ignore-output"]
batch = FeatureBatch(pad_features(features, int(lengths.max())), lengths)
for name, change in {"right": key_mask, "none": no_mask, "inverted": inverted_mask}.items():
    with mask_replaced(change):
        hypotheses = decode_batch(recogniser.model, tokenizer, batch)
    print(f"--- mask: {name}")
    for utterance, hypothesis in zip(chosen, hypotheses, strict=True):
        print(f"{utterance.text:60}  ->  {hypothesis.text}")

# %% [markdown]
# Nothing crashed, three times. That is the first lesson.
#
# **Without a mask** the longest utterance is recognised as before: it has no padding. Others survive, or lose a word.
# The shortest, more than half of which is padding, fares worst: the decoder writes what was said, but nothing tells it
# that the hatched frames are no speech, and so it goes on. An error like this is found late. The model works, only a
# little worse, and only in batches of mixed lengths.
#
# **Inverted**, cross-attention sees padding only. The decoder is left with the tokens that it wrote itself, and becomes
# what then remains: a language model that puts together pieces of its training set. Most texts begin alike, whatever is
# said. The longest utterance has no padding, so its decoder may attend to nothing at all and gets zeros. If your first
# model writes something like language that has nothing to do with the sound, look at the masks before you look anywhere
# else.
#
# What does the encoder alone still hear? Its CTC head (chapter 07) reads its frames without a decoder:

# %% tags=["nbval-ignore-output"]
for name, change in {"right": key_mask, "inverted": inverted_mask}.items():
    with mask_replaced(change):
        hypotheses = decode_batch(recogniser.model, tokenizer, batch, "ctc")
    print(f"--- mask: {name}")
    for utterance, hypothesis in zip(chosen, hypotheses, strict=True):
        print(f"{utterance.text:60}  ->  {hypothesis.text}")

# %% [markdown]
# Surprisingly much. This encoder also has convolutions, which look at neighbouring frames and know no attention mask.
# In the longest utterance, where the inverted mask leaves attention silent, they do nearly all of the work. In the
# others attention mixes padding into every frame, which is worse than silence. So a part that fails can hide behind one
# that works.

# %% [markdown]
# ## Experiment 2: the padding leak
#
# The contract of this library: **padding never changes the output of real positions.** You test it in the plainest way.
# The shortest utterance goes through the trained encoder alone, and then again and again with more padding behind it.
# You compare the real frames of the output with those of the first time:
#
# $$\text{difference} = \sqrt{\frac{\sum (y_\text{padded} - y_\text{alone})^2}{\sum y_\text{alone}^2}}$$
#
# where $y$ are the encoder's outputs at the real frames, `(frames, 144)`. Three encoders: one with all masks; one whose
# attention has no mask; and one whose attention is masked, but whose convolution modules are not told where the
# utterance ends.
#
# **Predict** the shape of the three curves. Does the difference grow with the padding?

# %%
short = features[0]
convolution = encoder.ConvModule.forward


def encode_with_padding(extra: int) -> Tensor:
    """The encoder's output at the real frames of the shortest utterance, with ``extra`` frames of padding."""
    with torch.inference_mode():
        out, real = recogniser.model.eval().encode(
            pad_features([short], len(short) + extra), torch.tensor([len(short)])
        )
    return out[real]  # (frames, 144)


def deaf_to_the_end(module, x, padding):
    return convolution(module, x, torch.ones_like(padding))


alone = encode_with_padding(0)
extras = [8, 16, 32, 64, 128, 256, 512, 1024]
leaks = {"all masks": [], "no mask in attention": [], "no mask in convolutions": []}
for extra in extras:
    outputs = [encode_with_padding(extra)]
    with mask_replaced(no_mask):
        outputs.append(encode_with_padding(extra))
    with patch.object(encoder.ConvModule, "forward", deaf_to_the_end):
        outputs.append(encode_with_padding(extra))
    for curve, output in zip(leaks.values(), outputs, strict=True):
        curve.append(float((output - alone).norm() / alone.norm()))

with plots.style():
    figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
    for place, (name, curve) in enumerate(leaks.items()):
        axes.semilogx(
            extras,
            curve,
            color=plots.COLORS[place],
            linestyle=plots.DASHES[place],
            marker="o",
            markersize=4,
            label=name,
        )
    axes.set(
        title="One utterance, more and more padding behind it: does its encoding change?",
        xlabel="padding (frames of 10 ms)",
        ylabel="relative difference",
    )
    axes.set_xticks(extras, [str(extra) for extra in extras], minor=False)
    axes.minorticks_off()
    axes.grid(axis="y")
    axes.legend(loc="upper left")
plt.show()
print("all masks: every difference is below 0.00001:", max(leaks["all masks"]) < 1e-5)

# %% [markdown]
# With all masks what remains are rounding errors of 32-bit numbers, however much padding there is. Without the
# attention mask the difference grows with the padding: more and more weight goes to frames that say nothing. Without
# the masks in the convolutions it is there at once and soon grows no further: the kernels of all layers together look only
# a little past the end, so it does not matter how much lies behind. A test with one amount of padding would have called
# the two the same fault; the
# curve tells you which one it is.

# %% [markdown]
# ## Experiment 3: the empty row, and how NaN spreads
#
# What should attention give if a query may attend to *nothing*? It happens: an utterance so short that no frame is left
# after subsampling; a batch filled up with empty utterances; padding in front and a causal mask; an inverted mask on an
# utterance without padding.
#
# The usual way to mask is to set forbidden scores to minus infinity. For a row with one allowed key that is right:
# $e^{-\infty} = 0$. For a row with none, each weight is $0 / 0$.

# %%
nothing = torch.tensor([False, False])
scores = torch.zeros(2)
print("minus infinity, then softmax:", torch.softmax(scores.masked_fill(~nothing, float("-inf")), dim=-1).tolist())
print("attention_weights of chapter 01:", attention_weights(scores, nothing).tolist())

# %% [markdown]
# NaN in the row of an utterance that has no content sounds harmless: leave it out of the loss. Try it. Three
# utterances, of which the last is empty. The loss is the sum over the outputs of the first two and **does not touch the
# third**.
#
# **Predict**: how many of the gradients are NaN?

# %%
torch.manual_seed(0)
x = torch.randn(3, 4, 12)
some_real = padding_mask(torch.tensor([4, 2, 0]))
ignore = to_torch_key_padding_mask(some_real)
theirs, ours = nn.MultiheadAttention(12, num_heads=3, batch_first=True), MultiHeadAttention(12, num_heads=3)

attempts = {
    "nn.MultiheadAttention": (theirs, lambda: theirs(x, x, x, key_padding_mask=ignore)),
    "... with need_weights=False": (theirs, lambda: theirs(x, x, x, key_padding_mask=ignore, need_weights=False)),
    "ours, fast path": (ours, lambda: ours(x, x, x, key_mask(some_real))),
    "ours, explicit": (ours, lambda: ours(x, x, x, key_mask(some_real), need_weights=True)),
}
for name, (module, attend) in attempts.items():
    module.zero_grad()
    output, _ = attend()
    output[:2].sum().backward()  # the empty utterance has no part in the loss
    gradients = torch.cat([parameter.grad.flatten() for parameter in module.parameters()])
    empty = "NaN" if output[2].isnan().any() else "finite"
    print(f"{name:30} empty utterance: {empty:7} NaN among the gradients: {gradients.isnan().float().mean():.0%}")
print("0 * NaN =", 0.0 * float("nan"))

# %% [markdown]
# Nearly all of them; only the bias behind the attention escapes. The weights are shared: the gradient of a weight is a
# sum over the batch, and the empty utterance contributes to it with a factor of 0. But $0 \cdot \text{NaN}$ is NaN, and
# NaN plus anything is NaN. One optimiser step later the weights are gone, for all utterances. One empty utterance in
# the whole corpus is enough.
#
# Asked for no weights, PyTorch takes another path, which in the version installed here gives zeros. So the same module
# behaves in two ways, and you should rely on neither. `attention_weights` of chapter 01 uses the lowest *finite* number
# instead of minus infinity, and then sets forbidden weights to zero: an empty row gives zeros and zero gradients, on
# every path.

# %% [markdown]
# ## Experiment 4: which test sees a wrong mask?
#
# Six masks for the same padded batch, one of them right. "Not zero" looks for frames with a value other than zero
# instead of looking at the lengths. And six tests that one might write for attention with padding.
#
# **Predict**: which tests catch the inverted mask?

# %%
candidates = {
    "right": lambda x, lengths: padding_mask(lengths, x.shape[1]),
    "inverted": lambda x, lengths: ~padding_mask(lengths, x.shape[1]),
    "one too many": lambda x, lengths: padding_mask((lengths + 1).clamp(max=x.shape[1]), x.shape[1]),
    "all True": lambda x, lengths: torch.ones(x.shape[:2], dtype=torch.bool),
    "not zero": lambda x, lengths: x.abs().sum(dim=-1) > 0,
    "all False": lambda x, lengths: torch.zeros(x.shape[:2], dtype=torch.bool),
}
torch.manual_seed(0)
attention = MultiHeadAttention(12, num_heads=3)
two = [torch.randn(6, 12), torch.randn(4, 12)]
two_lengths, x = torch.tensor([6, 4]), pad_features(two, 8)  # (2, 8, 12)
inside = padding_mask(two_lengths, 8)


def run_tests(make_mask) -> list[bool]:
    def attend(x, lengths):
        mask = make_mask(x, lengths)
        output, weights = attention(x, x, x, key_mask(mask), need_weights=True)
        return mask, output, weights

    mask, output, weights = attend(x, two_lengths)
    garbage = torch.where(inside[..., None], x, torch.tensor(50.0))
    single = attend(two[1][None], torch.tensor([4]))[1]
    return [
        output.shape == x.shape and mask.shape == (2, 8),
        mask.dtype == torch.bool,
        bool(output.isfinite().all()),
        torch.allclose(weights.sum(dim=-1), torch.ones(())),
        torch.allclose(single[0], output[1, :4], atol=1e-5),
        torch.allclose(attend(garbage, two_lengths)[1][inside], output[inside], atol=1e-5),
    ]


tests = ["shapes", "boolean", "finite", "rows sum to 1", "alone = in batch", "garbage in padding"]
lines = [" " * 12 + "".join(f"{test:>20}" for test in tests)]
for name, make_mask in candidates.items():
    lines.append(f"{name:12}" + "".join(f"{'passes' if passed else 'FAILS':>20}" for passed in run_tests(make_mask)))
print("\n".join(lines))

# %% [markdown]
# The tests of shape, type and finiteness pass for *every* mask: they look at what a mask is, and polarity is about what
# it does.
#
# "Alone = in batch" looks stricter than it is. It passes the inverted mask: alone there is no padding and attention
# sees nothing; in the batch it sees padding, which is zero, and so are the biases of a new model. Zero equals zero. It
# passes "not zero" because a padding of zeros is just what that mask hopes for.
#
# Garbage in the padding catches every mask that lets padding through. And it lets one through itself: a mask that
# forbids everything never hears garbage, nor anything else. That one is caught by the rows that should sum to 1 or,
# where you cannot see the weights, by changing a real frame.
#
# Keep these two. They need no reference implementation, and work for attention, for a layer and for a whole model:
# **fill the padding with garbage, and nothing real may move; change something real, and something must.**

# %% [markdown]
# ## Padding hides elsewhere too
#
# Attention is the famous place. Wherever neighbouring positions or the whole time axis are mixed, padding must be kept
# out as well. Four such places, on one utterance of six frames: alone, padded to twelve frames, and padded with a mask.

# %%
torch.manual_seed(0)
alone = torch.randn(6, 4)
longer = pad_features([alone], 12)[0]  # (12, 4)
inside = padding_mask(torch.tensor([6]), 12)[0]  # (12,)
first, second = nn.Conv1d(4, 4, kernel_size=3, padding=1), nn.Conv1d(4, 4, kernel_size=3, padding=1)


def two_convolutions(x: Tensor, keep: Tensor | None = None) -> Tensor:
    """Output of the last real frame after two convolutions over time."""
    x = F.relu(first(x.T))  # (channels, time)
    if keep is not None:
        x = x * keep  # the bias has made the padding non-zero: make it zero again
    return second(x)[0, 5].detach()


logits, targets = torch.randn(12, 10), torch.randint(10, (12,))
losses = F.cross_entropy(logits, targets, reduction="none")
losses[6:] = 0.0  # as if the model already predicted PAD with certainty, which it learns at once
table = {
    "two convolutions, last frame": (
        two_convolutions(alone),
        two_convolutions(longer),
        two_convolutions(longer, inside),
    ),
    "mean over time, bin 0": (alone.mean(0)[0], longer.mean(0)[0], longer[inside].mean(0)[0]),
    "standard deviation, bin 0": (alone.std(0)[0], longer.std(0)[0], longer[inside].std(0)[0]),
    "loss per token": (losses[:6].mean(), losses.mean(), losses[inside].mean()),
}
print(f"{'':30}{'alone':>10}{'padded':>10}{'masked':>10}")
for name, values in table.items():
    print(f"{name:30}" + "".join(f"{float(value):10.3f}" for value in values))

# %% [markdown]
# - **Convolutions.** One convolution over zeros is harmless: at the end of an utterance it sees zeros either way. But
#   it adds a bias, so that its output in the padding is no longer zero, and the next kernel reads that. The encoder of
#   chapter 05 sets the padding to zero after each convolution.
# - **Means and variances.** The normalisation of chapter 00 divides by the real number of frames. Batch normalisation
#   mixes utterances in any case, which is one reason why this library uses layer normalisation.
# - **Losses.** A mean over all positions makes the loss look better the more padding there is, and a model that
#   predicts PAD well looks good. Losses here leave out every position whose target is PAD, and divide by the real ones
#   (chapter 08).
# - **Order.** A raw log-mel value of 0 is not silence. Look at what the features of the shortest utterance are like:

# %%
print(f"log-mel of the shortest utterance: from {short.min():.1f} to {short.max():.1f}, mean {short.mean():.1f}")

# %% [markdown]
# 0 lies within the range of the features and far from their mean: it is a value like any other. Padding becomes neutral
# only when the model normalises the real frames (then 0 is the mean) and sets the padding to zero *after* that. Pad,
# normalise by the lengths, set the padding to zero: in that order.

# %% [markdown]
# ## Optional: batches that waste little
#
# `sequential_batches` plans the batches of an evaluation: which utterances share one, and how far it is padded. A plan
# is a `BatchPlan(frames, indices)`: the padded length, and the numbers of the utterances. Evaluation has no use for
# chance, so sort. The longest come first, for if the largest batch does not fit into memory, you want to know now.
#
# The budget `batch_frames` counts frames **with padding**, because padding takes memory too. A batch takes as many
# utterances as fit; one that is too long for the budget gets a batch of its own. `frame_multiple` rounds the padded
# length up, and `round_up(number, multiple)` is there to do it (as are `np` and `BatchPlan`).
#
# By hand: lengths 30, 10, 50, 20, 40 and a budget of 100. Sorted: 50, 40, 30, 20, 10. Two of length 50 fill the budget:
# the first batch is (50, 40). The next is padded to 30, and three of those are 90: (30, 20, 10). Together
# $2 \cdot 50 + 3 \cdot 30 = 190$ frames for 150 real ones, so the padding share is $40 / 190 = 21\,\%$.
#
# `padding_share` computes that last figure, the [padding share](../docs/glossary.md#padding-share), for any list of
# plans. Without any plans it is 0.
#
# **Exercise 3.6** · 30 minutes · difficulty 3 of 5 · optional


# %%
@exercise("3.6")
def sequential_batches(lengths: Sequence[int], batch_frames: int, frame_multiple: int = 1) -> list[BatchPlan]:
    """Batches for evaluation: every utterance once, in order of length, always the same.

    Args:
        lengths: frames of each utterance.
        batch_frames: most frames in a batch, padding included; a longer utterance gets a batch of its own.
        frame_multiple: the padded length is a multiple of it.

    Returns:
        The batches, longest first, so that a batch that is too large for the memory fails at once.
    """
    raise NotImplementedError("exercise 3.6")


def padding_share(plans: Sequence[BatchPlan], lengths: Sequence[int] | np.ndarray) -> float:
    """Share of the frames of the planned batches that are padding; 0 where nothing is planned."""
    raise NotImplementedError("exercise 3.6")


# %%
sequential_batches, padding_share = check("3.6")

# %% [markdown]
# Stuck? `asr-tutorial hint 3.6` in a terminal, one hint at a time.
#
# Try it: does a larger budget mean more padding? **Predict** first.

# %%
budgets = [1000, 2000, 4000, 8000, 16000, 32000]
with plots.style():
    figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
    for place, multiple in enumerate((1, 32, 64)):
        curve = [
            100 * padding_share(sequential_batches(train_frames, budget, multiple), train_frames) for budget in budgets
        ]
        label = "not rounded" if multiple == 1 else f"rounded up to {multiple} frames"
        axes.semilogx(
            budgets,
            curve,
            color=plots.COLORS[place],
            linestyle=plots.DASHES[place],
            marker="o",
            markersize=4,
            label=label,
        )
    axes.set(
        title="Larger batches reach over more lengths; rounding costs more than that",
        xlabel="budget (frames)",
        ylabel="padding (% of all frames)",
    )
    axes.set_xticks(budgets, [str(budget) for budget in budgets])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    axes.legend()
plt.show()

# %% [markdown]
# ## The usual mistakes
#
# | mistake | what you see |
# |---|---|
# | mask inverted ([SpeechBrain 2276](https://github.com/speechbrain/speechbrain/issues/2276), [x-transformers 160](https://github.com/lucidrains/x-transformers/issues/160), [PyTorch 114083](https://github.com/pytorch/pytorch/issues/114083)) | the loss falls to the level of a language model and stays there; text that has nothing to do with the sound; NaN where the longest utterance has no padding |
# | causal mask flipped ([PyTorch 34908](https://github.com/pytorch/pytorch/issues/34908)) or one diagonal too far | the training loss falls to almost nothing, and decoding writes nonsense |
# | a row without any allowed key ([PyTorch 41508](https://github.com/pytorch/pytorch/issues/41508)) | NaN in nearly all gradients, at a step that seems random: it is the step with the empty utterance |
# | a mask of floats, 1.0 and 0.0 | no error: it is added to the scores, and hides nothing |
# | key mask on the queries, `(batch, keys, 1)` | no error in self-attention; results depend on the batch. In cross-attention a shape error, if you are lucky |
# | -100 or -1 as PAD, then embedded ([Transformers 15867](https://github.com/huggingface/transformers/issues/15867)) | index out of range; on a GPU an assertion far away from the cause. Such numbers are for targets only |
# | lengths not subsampled along with the features ([ESPnet 6600](https://github.com/espnet/espnet/issues/6600), [WeNet 1513](https://github.com/wenet-e2e/wenet/issues/1513)) | the mask fits by luck or depends on the batch: scores of an utterance change with its company |
# | SpecAugment or noise written into the padding ([NeMo 3298](https://github.com/NVIDIA/NeMo/issues/3298)), padding before normalisation ([NeMo 15562](https://github.com/NVIDIA/NeMo/issues/15562)) | training works; a batch of one differs from a batch of many |
# | evaluating with batch size 1 only | most of the above pass the evaluation, and appear when somebody makes it faster |

# %% [markdown]
# ## Quiz
#
# **1.** A batch holds utterances of 5, 8 and 8 frames, padded to 8. Somebody has inverted the padding mask, and uses
# attention that masks with minus infinity. What happens at the first training step?
#
# <details><summary>Answer</summary>
#
# The two utterances of 8 frames have no padding. Inverted, that means they may attend to nothing: their rows are 0/0,
# NaN. So are nearly all gradients, and after the step the weights. Had the batch been padded to 16 frames, every row
# would have something to attend to: no NaN at all, and a model that quietly listens to padding.
#
# </details>
#
# **2.** Your decoder runs with a causal mask, PAD at the end, and no padding mask. A colleague says that this is a bug.
# Who is right, and what must be true of the loss?
#
# <details><summary>Answer</summary>
#
# You are. A real token only looks back, and every PAD comes after it. What the decoder says at PAD positions is
# meaningless, so the loss must leave those positions out. With PAD in front of the text your colleague would be right.
#
# </details>
#
# **3.** A test compares an utterance alone with the same utterance in a batch where it is padded with zeros. A new,
# untrained attention module passes. Name two wrong masks that the test lets through.
#
# <details><summary>Answer</summary>
#
# One that looks for zeros in the features: the padding happens to be zero here. And the inverted mask: it attends to
# zeros in the batch and to nothing when alone, and both give zeros as long as all biases are zero. Garbage in the
# padding shows both.
#
# </details>

# %% [markdown]
# ## Where this goes next
#
# You can now send a batch through attention and trust the result. One thing attention still lacks: it does not know
# which frame came first. Shuffle the keys together with their values and the output is the same. [Chapter
# 04](04_positional_encoding.ipynb) gives each position a signature of its own. Chapters 05 and 06 then put your masks
# to work: `key_mask` in every encoder layer and in cross-attention, `causal_mask` in every decoder layer.
#
# **References**
#
# - Vaswani et al. (2017), [Attention is all you need](https://arxiv.org/abs/1706.03762), section 3.2.3: the three uses
#   of attention, and masking out the future.
# - PyTorch documentation:
#   [scaled_dot_product_attention](https://pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html)
#   (True = takes part) and
#   [MultiheadAttention](https://pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html) (True = ignored),
#   side by side.
# - Gulati et al. (2020), [Conformer](https://arxiv.org/abs/2005.08100): the convolution module whose masks experiment 2
#   removed.
