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
# # 13 · Paraformer: all tokens in one pass
#
# The decoder of chapter 06 writes one token after the other, and runs once for each. In this chapter you build one that runs *once*, for all
# tokens of a sentence together. For that it has to know how many there are before it has written any. You write the mechanism that finds
# out, in two ways; the loss that teaches it to count; and the sampler that teaches tokens to agree with each other.
#
# **You need** the encoder (chapter [05](05_encoder.ipynb)), the decoder ([06](06_decoder.ipynb)) and the training step
# ([08](08_training.ipynb)); the comparison at the end uses the beam search of [09](09_search.ipynb). **Time**: about 3 hours; the core
# exercises take 100 minutes of them.
#
# | exercise | what you write | minutes | difficulty | |
# |---|---|---|---|---|
# | 13.1 | integrate and fire, frame by frame | 20 | 3 | core |
# | 13.2 | counting tokens | 10 | 2 | core |
# | 13.3 | quantity loss and scaling | 20 | 2 | core |
# | 13.4 | integrate and fire by prefix sums | 30 | 4 | core |
# | 13.5 | the glancing sampler | 20 | 3 | core |
# | 13.6 | the predictor | 20 | 2 | optional |

# %%
# The course comes first: from here on the library has what you wrote in earlier chapters.
from asr_tutorial.course import check, exercise, here, show

here("13")

# %%
import json
import time
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor
from torch.nn import functional as F

import asr_tutorial
from asr_tutorial import plots
from asr_tutorial.audio import read_audio
from asr_tutorial.config import Config, load_config
from asr_tutorial.corpus import Utterance, read_corpus
from asr_tutorial.corpus.read import REPOSITORY
from asr_tutorial.dataset import Batch, Example, collate
from asr_tutorial.features import FeatureExtractor
from asr_tutorial.masks import padding_mask
from asr_tutorial.metrics import cer
from asr_tutorial.model import build_model
from asr_tutorial.paraformer import ParallelDecoder, alignment_loss, ctc_alphas, fire_times
from asr_tutorial.recognizer import Recognizer, decode_batch
from asr_tutorial.synthetic import SyntheticTask
from asr_tutorial.training.initialise import from_checkpoint
from asr_tutorial.training.loss import label_smoothed_cross_entropy
from asr_tutorial.training.step import Stepper

RESULTS = REPOSITORY / "data" / "results"

# %% [markdown]
# What you build now stands on the arrow from `encoder_out` to the decoder, and replaces what the decoder *reads*: in the place of
# SOS and the tokens so far it gets one vector for each token, made of sound.
#
# ## Why one pass?
#
# An [autoregressive](../docs/glossary.md#autoregressive) decoder needs the tokens so far to say the next one. A text of $N$ tokens takes $N + 1$
# runs, one behind the other (one for EOS), and however many processors there are, none of these runs can begin before the one before it has
# ended. In training it is otherwise: the text is known, and one run gives all predictions.
#
# Can we not do the same in recognition, and ask for all tokens at once? Let us try it with the trained recogniser of the course. It gets the
# sound, and where the text should be, as many SOS as there are tokens. **Predict** what it writes.

# %%
teacher = asr_tutorial.load(REPOSITORY / "data" / "pretrained" / "tinyspeech", device="cpu")
tokenizer = teacher.tokenizer
dev = read_corpus("tinyspeech/dev")
sentence = dev.utterances[0]
extract = FeatureExtractor(teacher.config.features)


def batch_of(utterances: Sequence[Utterance]) -> Batch:
    """Features and targets of some utterances, padded."""
    examples = []
    for utterance in utterances:
        features, _ = extract(torch.from_numpy(read_audio(utterance.audio))[None])  # (1, frames, n_mels)
        examples.append(Example(utterance.id, utterance.text, features[0], tokenizer.encode(utterance.text)))
    return collate(examples, tokenizer)


batch = batch_of([sentence])
said = tokenizer.encode(sentence.text)
with torch.inference_mode():
    encoder_out, encoder_mask = teacher.model.encode(batch.features, batch.feature_lengths)
    nothing_known = torch.full((1, len(said)), tokenizer.sos_id)
    logits = teacher.model.decode(nothing_known, encoder_out, encoder_mask)
print("said:         ", sentence.text)
print("step by step: ", decode_batch(teacher.model, tokenizer, batch, "greedy")[0].text)
print("all at once:  ", tokenizer.decode(logits.argmax(-1)[0].tolist()))

# %% [markdown]
# Two things are missing, and both used to come from the tokens so far:
#
# - **How many?** We have told it the number. In recognition nobody does: an autoregressive decoder finds it out by saying EOS.
# - **Which one?** Position 7 does not know that it is about the seventh letter, nor where in the sound that is. The decoder found its place
#   by the text that it had written.
#
# [CTC](../docs/glossary.md#ctc) is an answer of a kind: one decision per frame, all at once, merged afterwards. But there is no decoder behind
# it, and each frame decides without knowing what the others say. Paraformer (Gao et al. 2022) keeps the decoder and gives it what is missing:
# a **predictor** that weighs the frames, a rule that makes token embeddings of weighted frames, and a decoder whose positions all see each other.

# %% [markdown]
# ## Integrate and fire
#
# In words: each encoder frame gets a weight between 0 and 1, its share of a token. Go through the frames from left to right and add the weights
# up, as a bucket under a tap is filled. Whenever the bucket holds 1, a token *fires*: its embedding is the sum of the frames so far, each times its
# weight. The frame at which it happens is split: what was lacking belongs to this token, the rest begins the next one.
#
# In symbols, for frames $h_1, \dots, h_T$ of width $d$ and weights $\alpha_1, \dots, \alpha_T \ge 0$: let $s_t = \alpha_1 + \dots + \alpha_t$, $s_0 = 0$. Frame
# $t$ takes the piece from $s_{t-1}$ to $s_t$ of a line, and token $u$ ($u = 1, 2, \dots$) the piece from $u - 1$ to $u$. Its embedding is
#
# $$c_u = \sum_{t=1}^{T} w_{u,t}\, h_t, \qquad w_{u,t} = \text{length of the overlap of } [s_{t-1}, s_t] \text{ and } [u-1, u].$$
#
# **By hand**, with the weights 0.6, 0.8, 0.4 and 0.5:
#
# | frame | weight | sum before | sum after | what happens |
# |---|---|---|---|---|
# | 1 | 0.6 | 0 | 0.6 | all of it goes to token 1 |
# | 2 | 0.8 | 0.6 | 1.4 | 0.4 complete token 1, **fire**; 0.4 begin token 2 |
# | 3 | 0.4 | 1.4 | 1.8 | all of it goes to token 2 |
# | 4 | 0.5 | 1.8 | 2.3 | 0.2 complete token 2, **fire**; 0.3 are left over |
#
# So $c_1 = 0.6\,h_1 + 0.4\,h_2$ and $c_2 = 0.4\,h_2 + 0.4\,h_3 + 0.2\,h_4$. What is left behind the last frame is one more token if it is `TAIL` = 0.5 or
# more (why there must be such a rule is a story of its own, below); 0.3 is not.

# %%
weights = torch.tensor([0.6, 0.8, 0.4, 0.5])
with plots.style():
    _, axes = plt.subplots(figsize=(8, 1.9), layout="constrained")
    start = 0.0
    for number, weight in enumerate(weights.tolist(), start=1):
        axes.barh(1, weight, left=start, color=plots.COLORS[0], alpha=0.25 + 0.2 * (number % 2), edgecolor="black")
        axes.text(start + weight / 2, 1, f"h{number}", ha="center", va="center")
        start += weight
    for number, (left, right) in enumerate(((0, 1), (1, 2), (2, start)), start=1):
        last = number == 3
        axes.barh(0, right - left, left=left, color="white" if last else plots.COLORS[1], alpha=0.6, edgecolor="black", hatch="//" if last else None)  # fmt: skip
        axes.text((left + right) / 2, 0, "left over" if last else f"token {number}", ha="center", va="center")
        axes.axvline(right, color="black", linestyle=":", linewidth=0.8)
    axes.set_yticks([0, 1], ["tokens", "frames"])
    axes.set(
        xlabel="sum of the weights", title="Each frame takes a piece of the line; each token takes a piece of length 1"
    )
plt.show()

# %% [markdown]
# **Exercise 13.1** · 20 minutes · difficulty 3 of 5 · core
#
# Write `cif_loop`, which does this for one utterance, frame by frame. A frame whose weight is above 1 may fire more than once. Keep the sum in double
# precision (`alphas.double()`), and keep tensors: the predictor learns through these weights. Inside the function `torch` and `TAIL` are known.


# %%
@exercise("13.1")
def cif_loop(frames: Tensor, alphas: Tensor) -> Tensor:
    """Integrate and fire, frame by frame, for one utterance: the definition, to be read.

    A frame whose weight is above 1 may fire several times.

    Args:
        frames: (frames, d_model) encoder states of one utterance, no padding.
        alphas: (frames,) weights, 0 or more.

    Returns:
        (tokens, d_model): the embedding of each token; the last one may be incomplete, with a weight of :data:`TAIL`
        or more.
    """
    raise NotImplementedError("exercise 13.1")


# %%
cif_loop = check("13.1")

# %% [markdown]
# Stuck? `asr-tutorial hint 13.1` in a terminal, one hint at a time.
#
# **Try it** with frames that are unit vectors: the embeddings are then the shares themselves.

# %%
for example in ([0.6, 0.8, 0.4, 0.5], [0.6, 0.8, 0.4, 0.8], [0.1, 2.75, 0.1, 0.1]):
    print(example)
    for number, token in enumerate(cif_loop(torch.eye(4), torch.tensor(example)), start=1):
        print(
            f"  token {number}: "
            + " + ".join(f"{share:.2f} h{t}" for t, share in enumerate(token.tolist(), start=1) if share > 0.001)
        )

# %% [markdown]
# ### What the weights learn from
#
# Nobody tells the predictor where a token ends. It learns that from the decoder's errors, through the shares. Take the example: $c_1 = \alpha_1 h_1 +
# (1 - \alpha_1) h_2$, so that
#
# $$\frac{\partial c_1}{\partial \alpha_1} = h_1 - h_2, \qquad \frac{\partial c_1}{\partial \alpha_2} = 0.$$
#
# More weight on frame 1 takes the same amount away from frame 2: the boundary moves to the left. The weight of frame 2 itself does not matter for token 1 (it was
# more than enough). For token 2, $c_2 = (\alpha_1 + \alpha_2 - 1) h_2 + \alpha_3 h_3 + (2 - \alpha_1 - \alpha_2 - \alpha_3) h_4$, and
#
# $$\frac{\partial c_2}{\partial \alpha_1} = \frac{\partial c_2}{\partial \alpha_2} = h_2 - h_4, \qquad \frac{\partial c_2}{\partial \alpha_3} = h_3 - h_4, \qquad \frac{\partial c_2}{\partial \alpha_4} = 0.$$
#
# A weight moves *every* boundary behind it. The cell asks autograd the same; in row $t$ stands what a little more weight on frame $t$ does to the shares.

# %%
for token in (0, 1):
    jacobian = torch.autograd.functional.jacobian(lambda a, u=token: cif_loop(torch.eye(4), a)[u], weights)
    print(f"token {token + 1}:  " + "".join(f"{f'h{t}':>7}" for t in (1, 2, 3, 4)))
    for frame in range(4):
        print(f"  alpha {frame + 1}" + "".join(f"{value:7.1f}" for value in (jacobian[:, frame] + 0.0).tolist()))

# %% [markdown]
# This gradient compares neighbours: it is large where the frames on both sides of a boundary differ, and zero in the middle of a long, even sound. That is
# why CIF learns boundaries well where the encoder makes neighbouring tokens different, and why CTC, which does that to an encoder, is kept as a second loss.
#
# ## How many tokens?
#
# The number of tokens is the number of fires: the whole part of the sum, and one more if what is left is `TAIL` or more,
#
# $$N = \lfloor s_T + 1 - \mathrm{TAIL} \rfloor.$$
#
# With 0.5 that is the sum, rounded. **By hand**: $s_T = 2.3$ gives $\lfloor 2.8 \rfloor = 2$; 2.5 gives $\lfloor 3.0 \rfloor = 3$; 0.4 gives $\lfloor 0.9 \rfloor = 0$, no text.
#
# **Exercise 13.2** · 10 minutes · difficulty 2 of 5 · core
#
# Write `token_counts` for a batch. A sum that is not finite makes no tokens.


# %%
@exercise("13.2")
def token_counts(alphas: Tensor) -> Tensor:
    """How many tokens the weights make: their sum, rounded.

    Args:
        alphas: (batch, frames), 0 on padding. Weights that are not finite make no tokens.

    Returns:
        (batch,) int64.
    """
    raise NotImplementedError("exercise 13.2")


# %%
token_counts = check("13.2")

# %% [markdown]
# Stuck? `asr-tutorial hint 13.2` in a terminal, one hint at a time.
#
# **Try it**:

# %%
rows = torch.tensor([[0.6, 0.8, 0.4, 0.5], [0.6, 0.8, 0.4, 0.9], [0.1, 0.1, 0.1, 0.1], [1.0, 1.0, 1.0, 1.0]])
for row, count in zip(rows, token_counts(rows).tolist(), strict=True):
    print(f"sum {float(row.sum()):.1f}: {count} tokens")

# %% [markdown]
# ## Teaching it to count
#
# In training the number of tokens $N$ is known. Two things are done with it.
#
# The [quantity loss](../docs/glossary.md#quantity-loss) says by how many tokens the predictor is wrong: $\mathcal{L}_q = |N - \sum_t \alpha_t|$, for each utterance. Its slope is $-1$ or $+1$ for every
# weight alike: it says "more" or "less", and not where.
#
# Then the weights are **scaled**, $\alpha_t' = \alpha_t\, N / \sum_t \alpha_t$. They now add up to $N$, so that there are as many embeddings as tokens in the transcript and
# each position has its target, however badly the predictor counts. The loss is measured *before* scaling: afterwards it would always be zero.
#
# **By hand**: weights 0.5, 0.7, 0 and $N = 3$. The sum is 1.2, the loss 1.8, the factor $3 / 1.2 = 2.5$, and the scaled weights are 1.25, 1.75 and 0. What if the sum is 0?
# There is nothing to scale, and a division by zero would spoil the model for good. Then every real frame gets the same share.
#
# **Exercise 13.3** · 20 minutes · difficulty 2 of 5 · core
#
# Write `quantity_loss` and `scale_alphas`. `LEAST` is known: a sum below it is nothing that could be scaled.


# %%
@exercise("13.3")
def quantity_loss(alphas: Tensor, target_lengths: Tensor) -> Tensor:
    """By how many tokens the predictor is wrong: ``|N - sum(alpha)|`` (Gao et al. 2022, section 3.2).

    It is measured before the weights are scaled; afterwards there would be nothing to see.

    Args:
        alphas: (batch, frames), 0 on padding.
        target_lengths: (batch,) tokens of each transcript.

    Returns:
        (batch,) fp32, one loss for each utterance.
    """
    raise NotImplementedError("exercise 13.3")


def scale_alphas(alphas: Tensor, target_lengths: Tensor, encoder_mask: Tensor) -> Tensor:
    """Weights that add up to the length of the transcript: training needs as many embeddings as it has tokens.

    Where the weights add up to nothing, each frame gets the same share, so that there is a token for each target and
    no division by zero.

    Args:
        alphas: (batch, frames), 0 on padding.
        target_lengths: (batch,) tokens of each transcript.
        encoder_mask: (batch, frames) boolean, True = real.

    Returns:
        (batch, frames) fp32, 0 on padding: ``alphas * target_lengths / alphas.sum()`` for each utterance.
    """
    raise NotImplementedError("exercise 13.3")


# %%
quantity_loss, scale_alphas = check("13.3")

# %% [markdown]
# Stuck? `asr-tutorial hint 13.3` in a terminal, one hint at a time.
#
# ### Experiment: as many fires as tokens?
#
# Scaled weights add up to $N$, and the last token fires when the sum *reaches* $N$. **Predict**: in what share of random utterances does it, when nothing is rounded at the
# end? The cell scales 10,000 of them to a random number of tokens and counts in three ways.

# %% tags=["nbval-ignore-output"]
generator = torch.Generator().manual_seed(1)
lengths = torch.randint(10, 81, (10_000,), generator=generator)
mask = padding_mask(lengths, 80)
alphas = torch.rand(10_000, 80, generator=generator) ** 3 * mask
wanted = (torch.rand(10_000, generator=generator) * lengths).ceil().long()
scaled = scale_alphas(alphas, wanted, mask)
single = torch.from_numpy(np.cumsum(scaled.numpy(), axis=1))[:, -1]  # rounded to float32 after each frame
double = scaled.double().cumsum(dim=1)[:, -1]
for name, counted in (
    ("wait for the sum to reach N, single precision", single.floor().long()),
    ("wait for the sum to reach N, double precision", double.floor().long()),
    ("round at the end of the utterance", token_counts(scaled)),
):
    wrong = int((counted != wanted).sum())
    print(f"{name:48} {wrong:5} of {len(wanted)} wrong, {100 * wrong / len(wanted):.1f} %")

# %% [markdown]
# More digits do not help. $N$ times a weight over the sum is rounded for each frame, and the sum of the rounded weights lies below $N$ about as often as above it. Where it is below,
# a token that waits for the threshold never fires, and the decoder is asked for the last word of the sentence with a vector of zeros. The training goes on all the same, only a
# bit worse, which is why this mistake lives long. The end of the utterance has to round: this is what `TAIL` is for.

# %% [markdown]
# ## The same without a loop
#
# The loop goes through frames one by one, in Python, and for each utterance of a batch by itself. For training we want products of matrices. The formula with the overlaps needs no
# loop: all $s_t$ come from one cumulative sum, and
#
# $$w_{u,t} = \max\bigl(0,\; \min(s_t, u) - \max(s_{t-1}, u - 1)\bigr).$$
#
# **By hand**, frame 2 of the example covers $[0.6, 1.4]$. Token 1 covers $[0, 1]$: $\min(1.4, 1) - \max(0.6, 0) = 0.4$. Token 2 covers $[1, 2]$: $\min(1.4, 2) - \max(0.6, 1) =
# 0.4$. Token 3 covers $[2, 3]$: $1.4 - 2 < 0$, so 0.
#
# For a batch: weights (batch, frames) become shares (batch, tokens, frames), and shares times frames are embeddings (batch, tokens, d_model). Two things need care. What is left over and
# no token must not show up: positions beyond the number of tokens are zero. And sums are kept in double precision, while the product is computed in the type of the frames.
#
# **Exercise 13.4** · 30 minutes · difficulty 4 of 5 · core
#
# Write `cif`. It returns the embeddings and the number of tokens of each utterance. Tokens are counted from 0 in code, so that token u covers u to u + 1. `padding_mask` and your
# `token_counts` are known in the function.


# %%
@exercise("13.4")
def cif(frames: Tensor, alphas: Tensor, max_tokens: int | None = None) -> tuple[Tensor, Tensor]:
    """Integrate and fire by prefix sums, for a whole batch at once: what :func:`cif_loop` does, without a loop.

    Frame t takes the sum of the weights from ``before[t]`` to ``after[t]``, and token u (from 0) is made while the sum
    goes from u to u + 1. So the share of frame t in token u is how far these two intervals overlap, and the embeddings
    are one product of matrices, (tokens, frames) times (frames, d_model).

    Args:
        frames: (batch, frames, d_model).
        alphas: (batch, frames), 0 or more, and 0 on padding.
        max_tokens: size of the result's token axis; the most tokens of an utterance, and 1 at least, when not given.

    Returns:
        Embeddings (batch, max_tokens, d_model), zero where an utterance has no more tokens, and the number of tokens of
        each (batch,).

    Raises:
        ValueError: an utterance has more tokens than ``max_tokens`` (looked at on the CPU).
    """
    raise NotImplementedError("exercise 13.4")


# %%
cif = check("13.4")

# %% [markdown]
# Stuck? `asr-tutorial hint 13.4` in a terminal, one hint at a time.
#
# **Try it**: with unit vectors as frames the embeddings are the shares. Each row is a token and sums to 1 (but for the last one), each column is a frame, whose
# weight is given away once; that of the last frames, if too little for a token, is left over.

# %%
example = 0.75 * torch.rand(1, 24, generator=torch.Generator().manual_seed(3))
shares, counts = cif(torch.eye(24)[None], example)
with plots.style():
    figure, axes = plt.subplots(figsize=(8, 2.9), layout="constrained")
    image = axes.imshow(shares[0], cmap=plots.WEIGHTS, vmin=0, extent=(0.5, 24.5, int(counts) + 0.5, 0.5))
    axes.set(xlabel="frame", ylabel="token", title="Shares: a staircase; a frame at a boundary is in two rows", yticks=range(1, int(counts) + 1))  # fmt: skip
    figure.colorbar(image, ax=axes, label="share of the frame", pad=0.01)
plt.show()
loop = cif_loop(torch.eye(24), example[0])
print(
    "tokens:",
    int(counts),
    " largest difference to the loop below 0.00001:",
    bool((shares[0] - loop).abs().max() < 1e-5),
)

# %% tags=["nbval-ignore-output"]
frames, alphas = torch.randn(16, 100, 144), 0.6 * torch.rand(16, 100)
for name, function in (
    ("loop", lambda: [cif_loop(*pair) for pair in zip(frames, alphas, strict=True)]),
    ("prefix sums", lambda: cif(frames, alphas)),
):
    begin = time.perf_counter()
    function()
    print(f"{name:12} {1000 * (time.perf_counter() - begin):7.1f} ms for 16 utterances of 100 frames")

# %% [markdown]
# ## The decoder that runs once
#
# What the decoder reads is settled: in the place of token embeddings it gets the acoustic ones, $c_1, \dots, c_N$. Three things differ from chapter 06:
#
# - **no causal mask**: all positions are there at once, and each may look at all others;
# - **no SOS and no EOS**: position $u$ answers token $u$ itself, and where the text ends has been decided already;
# - **the logits of position $u$ are those of its own token**, not of the next one.
#
# Everything else stays: self-attention, cross-attention to the sound, feed-forward block, the same parameters by the same names. The loss has three parts,
#
# $$\mathcal{L} = w\, \mathcal{L}_\text{CTC} + (1 - w)\, \mathcal{L}_\text{CE} + \mathcal{L}_q,$$
#
# with $w = 0.3$ and label smoothing of 0.1 in the cross-entropy here.

# %%
show("paraformer.model.ParallelDecoder.forward")

# %% [markdown]
# ### What one pass cannot know
#
# Each position chooses its token by itself. Where the sound allows two readings, an autoregressive decoder takes one of them and goes on with it. Positions that decide at the same time may
# mix the two: THEIR and THERE sound alike, and letter by letter the most probable may be T, H, E, I, **E**. Every letter is right in *some* reading; the word is in none.
#
# So tokens have to learn what they have to do with each other, although none of them is written yet. The [glancing](../docs/glossary.md#glancing) sampler (Qian et al. 2021) teaches that. Each training step makes two
# passes. The first, without gradient, guesses all tokens from the acoustic embeddings. Let $m$ of the guesses be wrong. Then $\lfloor \lambda m \rfloor$ random positions of the text get
# the embedding of their *true* token in the place of the acoustic one, and the second pass, the one that is trained, has to name all tokens from this mixture. At the beginning
# much is wrong and much is shown. The better the guesses, the less is shown: in the end none, as in recognition.
#
# **By hand**: 10 tokens, of which 7 guesses are wrong, $\lambda = 0.3$: $\lfloor 2.1 \rfloor = 2$ true tokens are shown, at any 2 of the 10 places, wrongly guessed or not. With 3 wrong,
# $\lfloor 0.9 \rfloor = 0$.
#
# **Exercise 13.5** · 20 minutes · difficulty 3 of 5 · core
#
# Write `glance`. Numbers and places are chosen for each utterance by itself; padding is neither counted nor filled. (Add 0.000000001 before rounding down: in floating point $\lambda m$
# may be 6.9999999 where 7 is meant.)


# %%
@exercise("13.5")
def glance(
    acoustic: Tensor, embedded: Tensor, guesses: Tensor, targets: Tensor, token_mask: Tensor, share: float
) -> Tensor:
    """Show the decoder some of the true tokens, the more the worse it guesses (Qian et al. 2021, "GLAT").

    A decoder that writes all tokens at once learns from the sound alone. With some positions filled by true tokens, it
    learns what the others have to do with them. As its guesses get better, fewer are shown, and in the end none.

    Args:
        acoustic: (batch, length, d_model), what integrate-and-fire made.
        embedded: (batch, length, d_model), embeddings of the true tokens.
        guesses: (batch, length) ids that the decoder names from the acoustic embeddings alone.
        targets: (batch, length) ids of the true tokens.
        token_mask: (batch, length) boolean, True = real.
        share: lambda of the paper: of an utterance with w wrong guesses ``floor(share * w)`` positions are filled.

    Returns:
        (batch, length, d_model): ``acoustic`` with true tokens at random real positions, right or wrong guesses alike.
    """
    raise NotImplementedError("exercise 13.5")


# %%
glance = check("13.5")

# %% [markdown]
# Stuck? `asr-tutorial hint 13.5` in a terminal, one hint at a time.
#
# **Try it**: capital letters are true tokens that are shown, dots are acoustic embeddings.

# %%
torch.manual_seed(2)
truth = torch.tensor([[ord(letter) for letter in "PARAFORMER"]])
for wrong in (10, 7, 3):
    guesses = truth.clone()
    guesses[0, :wrong] += 1
    seen = glance(
        torch.zeros(1, 10, 1), torch.ones(1, 10, 1), guesses, truth, torch.ones(1, 10, dtype=torch.bool), 0.5
    )[0, :, 0]
    text = "".join(letter if shown else "." for letter, shown in zip("PARAFORMER", seen.tolist(), strict=True))
    print(f"{wrong:2} wrong guesses, half as many shown: {text}")

# %% [markdown]
# ### Experiment: what glancing does
#
# To see this part and no other, we leave the sound out. A text has twelve letters and is in one of two dialects: the one has the letters A, B and C, the other D, E and F. A sounds nearly like D, B
# like E and C like F. The acoustic embedding of a letter is a fixed vector with noise, as a perfect predictor would give it: it tells A from B easily, and A from D hardly. But all twelve letters
# together tell the dialect, and so does a single *true* letter. The decoder is that of the library, with one layer. Three trainings differ in $\lambda$: 0, 0.5 and 1. Measured are token accuracy
# with nothing shown, as in recognition, and accuracy at the *other* places when half of the places show the truth. **Predict** both.


# %%
small = load_config(
    "paraformer_synthetic",
    ["--model.d_model=32", "--model.d_ff=64", "--model.num_heads=2", "--model.dropout=0", "--features.n_mels=20"],
)
generator = torch.Generator().manual_seed(1)
sounds, accent = torch.randn(3, 32, generator=generator), F.normalize(torch.randn(32, generator=generator), dim=0)
letter_sounds = torch.cat([sounds + 0.75 * accent, sounds - 0.75 * accent])  # A, B, C, then D, E, F


def noisy_texts(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Letters (size, 12), each text in one dialect, and acoustic embeddings (size, 12, 32)."""
    dialects = torch.randint(2, (size, 1), generator=generator)
    letters = torch.randint(3, (size, 12), generator=generator) + 3 * dialects
    return letters, letter_sounds[letters] + 1.5 * torch.randn(size, 12, 32, generator=generator)


def glancing_run(share: float, steps: int = 150) -> tuple[float, float, list[float]]:
    """Accuracy with nothing shown, at the other places with half shown, and how many were shown at each step."""
    torch.manual_seed(1)
    decoder, generator = ParallelDecoder(small.model, 6), torch.Generator().manual_seed(2)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=3e-3)
    shown = []

    def name_letters(embeddings: Tensor) -> Tensor:
        """Logits (batch, 12, 6); there is no sound to listen to."""
        size = len(embeddings)
        everything, silence = torch.ones(size, 12, dtype=torch.bool), torch.zeros(size, 1, 32)
        return decoder(embeddings, everything, silence, everything[:, :1])[0]

    for _ in range(steps):
        letters, acoustic = noisy_texts(32, generator)
        with torch.no_grad():
            guesses = name_letters(acoustic).argmax(-1)
        real = torch.ones_like(letters, dtype=torch.bool)
        mixed = glance(acoustic, decoder.embed(letters), guesses, letters, real, share)
        shown.append(float((mixed != acoustic).any(-1).float().sum(1).mean()))
        loss = F.cross_entropy(name_letters(mixed).flatten(0, 1), letters.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    letters, acoustic = noisy_texts(400, torch.Generator().manual_seed(99))
    half = torch.rand(400, 12, generator=torch.Generator().manual_seed(3)) < 0.5
    with torch.no_grad():
        alone = name_letters(acoustic).argmax(-1) == letters
        mixed = torch.where(half[..., None], decoder.embed(letters), acoustic)
        others = (name_letters(mixed).argmax(-1) == letters)[~half]
    return float(alone.float().mean()), float(others.float().mean()), shown


# %% tags=["nbval-ignore-output"]
shown_tokens = {}
print(f"{'lambda':>6} {'nothing shown':>15} {'half shown, the others':>24}")
for share in (0.0, 0.5, 1.0):
    alone, others, shown_tokens[share] = glancing_run(share)
    print(f"{share:6} {100 * alone:13.1f} % {100 * others:22.1f} %")
with plots.style():
    _, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
    for place, (share, shown) in enumerate(shown_tokens.items()):
        smooth = torch.tensor(shown).unfold(0, 10, 1).mean(-1)
        axes.plot(range(10, len(shown) + 1), smooth, color=plots.COLORS[place], linestyle=plots.DASHES[place], label=f"λ = {share}")  # fmt: skip
    axes.set(
        xlabel="step",
        ylabel="true tokens shown (of 12)",
        title="How many true tokens are shown, as long as guesses are wrong",
        ylim=(-0.3, 12),
    )
    axes.legend()
plt.show()

# %% [markdown]
# Each training has learnt something else. Look at the right column first. With $\lambda = 0.5$ the decoder has learnt what glancing is meant to teach: given some true letters, it names the others. Without glancing it cannot;
# it has never seen the embedding of a true letter. With $\lambda = 1$ nearly everything is shown at the beginning, and in this time the decoder has learnt little more than to copy what is shown.
#
# Now the left column, which is the one that counts in recognition. Without glancing the decoder has learnt to gather twelve faint hints. With glancing it names a dialect at random, and is right half of the time. A shown
# letter tells the dialect without any listening; the decoder relies on that and never has to do without. Its first guesses stay bad, and *because* they are bad, as many letters are shown again. In the
# picture the lines come down while A, B and C are learnt apart, and then stay where they are.
#
# So glancing is not free, and a large share can do harm. This task was made to show the mechanism, and it is a harsh one: the sound is as good as silent about what the neighbours know. In speech most tokens are clear
# after some training, few are wrong, and hardly any are shown: what was leant on goes away by itself. Shares between 0.2 and 0.4 are usual; our configurations have 0.3. Whether it pays for *your* data is
# a question for dev.

# %% [markdown]
# ## Experiment: a small Paraformer that learns to count
#
# The synthetic task of chapter 05: letters that are noise vectors, held for 4 to 8 frames, and nothing says where one ends and the next begins. The model has one encoder layer, a predictor, and
# one decoder layer; the `Paraformer` of the library calls your `cif`, `quantity_loss`, `scale_alphas`, `token_counts` and `glance` at each step. **Predict** what is learnt first: to count, or to name?

# %%
task = SyntheticTask(letters=8, n_mels=40, min_length=3, max_length=8, min_frames=4, max_frames=8, noise=0.3)


def settings(*more: str) -> Config:
    return load_config(
        "paraformer_synthetic",
        [
            *("--features.n_mels=40", "--augment.freq_warp=0", "--model.d_model=48", "--model.d_ff=96"),
            *(
                "--model.encoder_layers=1",
                "--model.predictor.hidden=48",
                "--model.dropout=0",
                "--model.subsampling_channels=4",
            ),
            *(
                "--training.ema_decay=0",
                "--training.device=cpu",
                "--training.precision=fp32",
                "--training.schedule.warmup_steps=40",
            ),
            *more,
        ],
    )


@torch.no_grad()
def measure(model, batch) -> tuple[float, float, float, Tensor]:
    """Token accuracy, sequence accuracy, mean error of the sum of weights; and these sums."""
    model.eval()
    encoder_out, encoder_mask = model.encode(batch.features, batch.feature_lengths)
    logits, counts = model.write(encoder_out, encoder_mask)
    sums = model.predictor(encoder_out, encoder_mask).sum(dim=1)
    length = min(logits.shape[1], batch.targets.shape[1])
    both = padding_mask(torch.minimum(counts, batch.target_lengths).clamp(max=length), length)
    right = (logits.argmax(-1)[:, :length] == batch.targets[:, :length]) & both
    whole = (right.sum(dim=1) == batch.target_lengths) & (counts == batch.target_lengths)
    error = float((sums - batch.target_lengths).abs().mean())
    return float(right.sum() / batch.target_lengths.sum()), float(whole.float().mean()), error, sums


# %% tags=["nbval-ignore-output"]
STEPS = 500
config = settings()
torch.manual_seed(1)
stepper = Stepper(config, task.tokenizer, build_model(config, task.tokenizer.vocab_size), total_steps=STEPS)
held_out = task.batch(160, seed=99)
history, begin = [(0, *measure(stepper.model, held_out))], time.process_time()
for step, batch in enumerate(task.batches(STEPS, size=12, seed=1), start=1):
    stepper.step([batch], step - 1)
    if step % 50 == 0:
        history.append((step, *measure(stepper.model, held_out)))
print(f"{STEPS} steps, {time.process_time() - begin:.0f} s of processor time")
print(f"{'step':>5} {'tokens right':>13} {'sequences right':>16} {'error of the sum':>17}")
for step, tokens, sequences, error, _ in history[::2]:
    print(f"{step:5} {100 * tokens:11.1f} % {100 * sequences:14.1f} % {error:17.2f}")

# %% tags=["nbval-ignore-output"]
with plots.style():
    _, axes = plt.subplots(1, 3, figsize=(10, 3.1), layout="constrained")
    for place, (name, column) in enumerate((("tokens", 1), ("sequences", 2))):
        axes[0].plot([point[0] for point in history], [100 * point[column] for point in history], color=plots.COLORS[place],
                     linestyle=plots.DASHES[place], marker="os"[place], markersize=3, label=name)  # fmt: skip
    axes[0].set(xlabel="step", ylabel="right (%)", title="What is written", ylim=(-3, 103))
    axes[0].legend()
    axes[1].plot(
        [point[0] for point in history],
        [point[3] for point in history],
        color=plots.COLORS[0],
        marker="o",
        markersize=3,
    )
    axes[1].set(xlabel="step", ylabel="mean |N - sum of weights| (tokens)", title="How well it counts")
    axes[1].set_ylim(bottom=0)
    true = held_out.target_lengths.float()
    jitter = 0.3 * torch.rand(len(true), generator=torch.Generator().manual_seed(0)) - 0.15
    axes[2].plot([2.5, 8.5], [2.5, 8.5], color="#888888", linewidth=0.8)
    for place, (name, point) in enumerate((("after 50 steps", history[1]), (f"after {STEPS} steps", history[-1]))):
        axes[2].plot(
            true + jitter, point[4], "x" if place == 0 else "o", color=plots.COLORS[1 - place], markersize=3, label=name
        )
    axes[2].set(
        xlabel="true number of tokens (spread a little)",
        ylabel="sum of the weights",
        title="Predicted against true lengths",
    )
    axes[2].legend()
plt.show()

# %% [markdown]
# To count comes first: the error of the sum has fallen to a fraction when hardly a letter is right yet. A rough count is easy, for long inputs hold more letters; the exact one is hard, and it goes
# on improving to the end. It matters more than it seems: a wrong number makes the whole text wrong, and shifts the letters behind the place where one is missing or too many, so that sequences lag behind tokens.
#
# Where do the tokens fire? Above the features of one held-out utterance, below the weights of its encoder frames and the fires.

# %% tags=["nbval-ignore-output"]
with torch.no_grad():
    encoder_out, encoder_mask = stepper.model.encode(held_out.features[:1], held_out.feature_lengths[:1])
    alphas = stepper.model.predictor(encoder_out, encoder_mask)[0, encoder_mask[0]]
    logits, counts = stepper.model.write(encoder_out, encoder_mask)
letters = [task.tokenizer.id_to_token(token) for token in logits.argmax(-1)[0, : int(counts)].tolist()]
frames = int(held_out.feature_lengths[0])
plots.fires(
    held_out.features[0, :frames],
    alphas,
    [
        (letter, min(0.02 * fire, 0.01 * frames))
        for letter, fire in zip(letters, fire_times(alphas).tolist(), strict=True)
    ],
    encoder_frame_seconds=0.02,
    title=f"Said {held_out.texts[0]}, written {''.join(letters)}",
)
plt.show()

# %% [markdown]
# The weights are nearly even, and fires miss the ends of their letters by some frames: what the model has learnt in this time is above all how *fast* letters come. It writes most of them
# rightly all the same, because an embedding need not be clean. The decoder also looks at the sound itself, by cross-attention, and the embeddings need only tell it about where. Sharp weights come
# with longer training, if they come: nothing in the loss asks for them, only for what helps to name the tokens.
#
# The full configuration, `paraformer_synthetic`, is trained longer and on more:
#
#     asr-tutorial data synthetic
#     asr-tutorial train --config paraformer_synthetic
#
# Its record, where there is one:

# %% tags=["nbval-ignore-output"]
path = RESULTS / "paraformer_synthetic" / "metrics.json"
if path.is_file():
    validations = json.loads(path.read_text(encoding="utf-8"))["validations"]
    print(f"{'step':>5} {'tokens right':>13} {'sequences right':>16} {'length error':>13}")
    for point in validations:
        (figures,) = point["dev"].values()
        print(
            f"{point['step']:5} {100 * figures['token_accuracy']:11.2f} % {100 * figures['sequence_accuracy']:14.2f} % {figures['length_error']:13.3f}"
        )
    with plots.style():
        _, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
        for place, name in enumerate(("token_accuracy", "sequence_accuracy")):
            values = [100 * next(iter(point["dev"].values()))[name] for point in validations]
            axes.plot([point["step"] for point in validations], values, color=plots.COLORS[place], linestyle=plots.DASHES[place],
                      marker="os"[place], markersize=3, label=name.replace("_", " "))  # fmt: skip
        axes.set(xlabel="step", ylabel="right (%)", title="paraformer_synthetic, recorded: dev")
        axes.legend()
    plt.show()
else:
    print("data/results/paraformer_synthetic: not recorded yet")

# %% [markdown]
# ## Speech
#
# A minute is too short to train an encoder on TinySpeech. But we have one: the recogniser of the course. Its parameters have the same names as those of a Paraformer, so that one may begin as the
# other; new is only the predictor, and the decoder has to learn its new task. The encoder rests here. Its states are computed once, for some of the sentences, and only predictor and decoder are trained.
#
# This is the whole training pass of a Paraformer, after the encoder, in your functions:


# %%
def training_pass(model, encoder_out, encoder_mask, targets, target_lengths, aligned=None) -> tuple[Tensor, Tensor]:
    """Cross-entropy per token, and the weights; the embeddings are made with ``aligned`` weights where there are any."""
    token_mask = padding_mask(target_lengths, targets.shape[1])
    alphas = model.predictor(encoder_out, encoder_mask)  # (batch, frames)
    weights = scale_alphas(alphas, target_lengths, encoder_mask) if aligned is None else aligned
    acoustic, _ = cif(encoder_out, weights, targets.shape[1])
    with torch.no_grad():  # the first pass: guesses
        guesses = model.decoder(acoustic, token_mask, encoder_out, encoder_mask)[0].argmax(-1)
    mixed = glance(acoustic, model.decoder.embed(targets), guesses, targets, token_mask, share=0.3)
    logits, _ = model.decoder(mixed, token_mask, encoder_out, encoder_mask)
    return label_smoothed_cross_entropy(logits, targets, tokenizer.pad_id, 0.1) / target_lengths.sum(), alphas


@torch.no_grad()
def encoded(utterances: Sequence[Utterance], size: int) -> list[tuple[Tensor, ...]]:
    """Encoder states, mask, targets, their lengths and what CTC says, in batches of utterances of similar length."""
    utterances = sorted(utterances, key=lambda utterance: utterance.seconds)
    batches = [batch_of(utterances[begin : begin + size]) for begin in range(0, len(utterances), size)]
    states = [(*model.encode(b.features, b.feature_lengths), b.targets, b.target_lengths) for b in batches]
    return [(*state, model.ctc_log_probs(state[0])) for state in states]


# %%
tiny = load_config("paraformer_tiny", ["--model.dropout=0"])


def beginner() -> Recognizer:
    """A Paraformer that begins as the recogniser of the course."""
    torch.manual_seed(1)
    model = build_model(tiny, tokenizer.vocab_size).eval()
    transfer = from_checkpoint(model, REPOSITORY / "data" / "pretrained" / "tinyspeech")
    print(f"{len(transfer.transferred)} tensors taken over, {len(transfer.new)} new, such as {transfer.new[0]}")
    return Recognizer(model, tokenizer, tiny)


recognizer = beginner()
model = recognizer.model
train = read_corpus("tinyspeech/train").utterances[::8]
states = encoded(train, 8)
print(f"{len(train)} sentences, {sum(utterance.seconds for utterance in train) / 60:.0f} minutes")

# %% tags=["nbval-ignore-output"]
TINY_STEPS = 160


def learn(model, ask_ctc: bool = False) -> None:
    """Train predictor and decoder on the encoder's states."""
    learning = [*model.predictor.parameters(), *model.decoder.parameters()]
    optimizer = torch.optim.AdamW(learning, lr=2e-3, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=TINY_STEPS, pct_start=0.1)
    generator, begin, order = torch.Generator().manual_seed(1), time.process_time(), []
    for step in range(TINY_STEPS):
        order = order or torch.randperm(len(states), generator=generator).tolist()
        *batch, log_probs = states[order.pop()]
        _, encoder_mask, targets, lengths = batch
        aligned = ctc_alphas(log_probs, targets, encoder_mask, lengths, tokenizer.blank_id) if ask_ctc else None
        entropy, alphas = training_pass(model, *batch, aligned)
        quantity = quantity_loss(alphas, lengths).mean()
        loss = entropy + quantity
        if aligned is not None:
            loss = loss + 2 * alignment_loss(alphas, aligned, lengths).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        schedule.step()
        if step % 40 == 0 or step == TINY_STEPS - 1:
            numbers = f"cross-entropy {float(entropy.detach()):.2f}, wrong by {float(quantity.detach()):.1f} tokens"
            print(f"step {step + 1:3}: {numbers}")
    print(f"{time.process_time() - begin:.0f} s of processor time")


learn(model)

# %% [markdown]
# Now a sentence of a voice that was not trained on. Below the picture of the sound are the weights; a line stands where a token fires, with what the decoder writes there.

# %% tags=["nbval-ignore-output"]
shortest = min(dev.utterances[:32], key=lambda utterance: utterance.seconds)
few = sorted(dev.utterances[::16], key=lambda utterance: utterance.seconds)


def look(recognizer: Recognizer) -> None:
    """Where tokens fire in one sentence, what is written of some others, and how much of it is wrong."""
    features, alphas, fired = recognizer.token_fires(shortest.audio)
    plots.fires(
        features,
        alphas,
        [(token.text, token.end) for token in fired],
        recognizer.frame_seconds,
        recognizer.encoder_frame_seconds,
        recognizer.encoder_start_seconds,
        title=f"Said: {shortest.text}",
    )
    plt.show()
    written = [heard.text for heard in recognizer.transcribe([utterance.audio for utterance in few])]
    for utterance, text in zip(few[:4], written, strict=False):
        print(f"said    {utterance.text}\nwritten {text}\n")
    lengths = [abs(len(utterance.text) - len(text)) for utterance, text in zip(few, written, strict=True)]
    error = 100 * cer([utterance.text for utterance in few], written)
    print(f"{len(few)} sentences: CER {error:.0f} %, lengths wrong by {sum(lengths) / len(lengths):.1f} letters")


look(recognizer)

# %% [markdown]
# Read the mistakes. The number of letters is about right, and many of the letters are. But they come *twice* where one should be, and their neighbours are missing: two positions that lie side by side
# hear nearly the same embedding and the same stretch of sound, and choose the same letter, because neither knows that the other has chosen it already. That is what an autoregressive decoder cannot
# do wrong, and the typical mistake of all models that write in one pass. The picture says where it comes from: the weights are almost even here too, and a fire every so many milliseconds
# is not the end of a letter. Why do they stay even? Because even weights already fulfil the quantity loss, which asks for a sum alone. Where each letter is, only the cross-entropy could tell. But if the sum is
# wrong by a letter near the beginning, then all embeddings behind it belong to other letters than those that the decoder is asked for, and it learns to say nothing definite about any of them. The longer the
# utterance, the worse: in Mandarin, for which Paraformer was made, a sentence has some fifteen characters; in English it has far more letters.
#
# ### Ask CTC
#
# Somebody knows where the letters are: the CTC head on the same encoder. Over all paths that say the transcript, it gives the probability that letter $u$ is in frame $t$ (`frame_posteriors` of chapter 07). Divide
# it by its sum over the frames, and each letter has a weight of 1, spread over the frames in which CTC hears it; add up the letters, and each frame has the weight $\tau_t$ that it should have. Then
#
# - an **alignment loss** $\frac1N\sum_t (\alpha_t - \tau_t)^2$ tells the predictor where to put its weights (after Yu et al. 2021);
# - the decoder learns from embeddings that are made with $\tau$, and so are where its letters are. In recognition there is no transcript, and it gets the predictor's.
#
# **Predict**: will the weights become spikes? And which of the mistakes above go away?

# %%
show("paraformer.cif.alignment_loss")

# %% tags=["nbval-ignore-output"]
asked = beginner()
learn(asked.model, ask_ctc=True)
look(asked)

# %% [markdown]
# The same steps, the same encoder, the same decoder: the errors have become half as many, and the words can be read. Look at the weights: they are lower in the silence at the beginning and higher where
# letters follow each other fast, but spikes they are not, for the encoder rests here too. So the sum is still ahead or behind by a part of a letter, and there a letter is written twice or lost. What has changed
# most is the decoder: nobody has asked it for letters that it does not hear, so it has learnt to say clearly what it does hear.
#
# `training.alignment_weight` switches this on, and `paraformer_mini_librispeech` has it: an encoder that knows its trade already, and utterances of 175 letters. It has a price. In training the decoder sees embeddings
# made with CTC's weights alone, and in recognition those of the predictor, which are never as good. Where the whole model is trained together and utterances are short, the cross-entropy finds the letters by itself, and
# the plain way wins: the two rows of Paraformer in the table below differ by nothing else.

# %% [markdown]
# ## One pass against a beam
#
# How often does each decoder run, and how long does it take? The encoder is the same one. The cell counts how often the first decoder layer is called, for a few sentences in one batch.

# %% tags=["nbval-ignore-output"]
group = batch_of(few)
calls = []
for network in (teacher.model, model):
    network.decoder.layers[0].register_forward_pre_hook(lambda module, inputs: calls.append(1))
print(f"{'decoder':14} {'search':12} {'runs':>5} {'ms, encoder included':>21}")
for name, network, search in (
    ("step by step", teacher.model, "attention"),
    ("step by step", teacher.model, "greedy"),
    ("one pass", model, "parallel"),
    ("none (CTC)", model, "ctc"),
):
    calls.clear()
    begin = time.process_time()
    heard = decode_batch(network, tokenizer, group, search)
    print(f"{name:14} {search:12} {len(calls):5} {1000 * (time.process_time() - begin):21.0f}")

# %% [markdown]
# One run, however long the text is. Most of what remains is the encoder's time, as the last row shows. (The beam's runs are the more expensive ones: each is about all of its hypotheses.) On a GPU, where a small step takes about as long as a
# large one, the number of runs counts even more. This row says what one pass costs, not what it is worth: a model that was trained for seconds cannot be compared with one that was trained to the end. Architectures of the same
# size which had the same time to train are in the next table (the `tinyspeech` data, each with its own searches):

# %% tags=["nbval-ignore-output"]
path = RESULTS / "architectures_tinyspeech.json"
if path.is_file():
    record = json.loads(path.read_text(encoding="utf-8"))
    rows = record["rows"]
    print(f"{'architecture':22} {'parameters':>11} {'trained':>9} {'search':10} {'WER %':>7} {'CER %':>7} {'RTF':>8}")
    for row in rows:
        print(
            f"{row['architecture']:22} {row['parameters']:11,} {row['train_seconds']:7.0f} s {row['search']:10} "
            f"{100 * row['wer']:7.1f} {100 * row['cer']:7.1f} {row['rtf']:8.4f}"
        )
else:
    print("data/results/architectures_tinyspeech.json: not recorded yet")

# %% [markdown]
# From the encoder's states on, one pass took a fourteenth of the time of the Transformer's beam of 10 when this was recorded; from the sound on it was about a fourth, since in a sentence of three seconds features and
# encoder are most of the work (`RESULTS.md` has both columns). The price is in the column WER: letters that do not know each other. Even CTC on the same encoder errs less here.
#
# And on real speech? `paraformer_mini_librispeech` began as the recogniser of chapter 11, whose results without a language model come first, and was trained for six
# passes over the same five hours. **Predict** the order: CTC, one pass, token by token. How will a language model that is missing show?

# %% tags=["nbval-ignore-output"]
print(f"{'run':28}{'measured on':14}{'search':10}{'WER':>9}{'CER':>9}")
for name in ("mini_librispeech_recipe", "paraformer_mini_librispeech"):
    path = RESULTS / name / "evaluation.json"
    for row in json.loads(path.read_text(encoding="utf-8"))["figures"] if path.is_file() else ():
        if row["search"] in ("ctc", "greedy", "parallel"):
            errors = f"{100 * row['wer']:7.1f} %{100 * row['cer']:7.1f} %"
            print(f"{name:28}{row['corpus']:14}{row['search']:10}{errors}")

# %% [markdown]
# One pass comes last. CTC needs no count, and token by token each letter knows those before it. In one pass a word is written by letters that do not know each other, and one wrong letter makes a wrong word: above CTC
# on the same encoder the WER is higher by 14 points, the CER by 7.
#
# To train one yourself, on all of the data and from the beginning: `asr-tutorial train --config paraformer_tiny --code mine`.
#
# ## Deep dive: the predictor
#
# Optional. Where do the weights come from? A frame cannot know alone whether a token ends in it: it has to see its neighbours. The predictor is a stack of convolutions over the
# encoder's frames, and a linear layer that gives one number:
#
# $$\alpha_t = \mathrm{clamp}\bigl(\mathrm{smooth} \cdot \sigma(v^\top z_t + b) - \mathrm{noise},\; 0,\; 1\bigr), \qquad z = \mathrm{relu}(\mathrm{conv}(\dots \mathrm{relu}(\mathrm{conv}(h)))),$$
#
# with $z_t$ what the last convolution says about frame $t$, a vector $v$, a bias $b$ and $\sigma(x) = 1 / (1 + e^{-x})$. Two settings shape it: `noise` is taken off, so that frames without speech can weigh exactly nothing (a sigmoid
# alone is never 0), and `smooth` is a factor. **By hand**, with smooth 1 and noise 0.1: a logit of 0 gives $0.5 - 0.1 = 0.4$; a logit of $-3$ gives $0.047 - 0.1$, so 0. A hundred silent frames
# of 0.047 each would be five tokens that nobody said.
#
# **Exercise 13.6** · 20 minutes · difficulty 2 of 5 · optional
#
# Write `Predictor.forward`. `F` and `torch` are known. What lies in the padding must not be heard by any convolution, padding weighs nothing, and the weights are float32 under autocast too.

# %%
show("paraformer.model.Predictor.__init__")


# %%
@exercise("13.6")
class Predictor:  # these methods become part of asr_tutorial.paraformer.model.Predictor
    def forward(self, encoder_out: Tensor, encoder_mask: Tensor) -> Tensor:
        """Weights of the frames.

        Args:
            encoder_out: (batch, frames, d_model).
            encoder_mask: (batch, frames) boolean, True = real.

        Returns:
            (batch, frames), fp32 under autocast too, since their sum counts tokens; 0 on padding.
        """
        raise NotImplementedError("exercise 13.6")


# %%
Predictor = check("13.6")

# %% [markdown]
# Stuck? `asr-tutorial hint 13.6` in a terminal, one hint at a time.
#
# **Try it**: an utterance alone, and in a batch with a longer one.

# %%
torch.manual_seed(0)
predictor = Predictor(small.model)
short, long = torch.randn(6, 32), torch.randn(11, 32)
alone = predictor(short[None], torch.ones(1, 6, dtype=torch.bool))[0]
together = predictor(
    torch.nn.utils.rnn.pad_sequence([short, long], batch_first=True), padding_mask(torch.tensor([6, 11]))
)
print("weights alone:   ", [round(weight, 3) for weight in alone.tolist()])
print("in a batch:      ", [round(weight, 3) for weight in together[0].tolist()])

# %% [markdown]
# ## Experiments of your own
#
# - `model.glancing` 0, 0.3 and 0.7 in `paraformer_tiny`: which is best on dev, and at which error rates does the share matter most?
# - `model.predictor.noise=0.05`: do the weights in pauses go to zero, and what does the length error do?
# - Train `paraformer_synthetic` with `training.ctc_weight=0`. Does it still learn where letters end? What does the picture of the fires look like?
# - Search the same model by `ctc` and by `parallel`: which mistakes are different ones?

# %% [markdown]
# ## The usual mistakes
#
# | mistake | what you see |
# |---|---|
# | the rest of a boundary frame is thrown away | fewer tokens than the sum says; after scaling, the last ones are zero |
# | the last fire waits for a sum of exactly $N$ | the last token of about every other training utterance is a vector of zeros; accuracy stands still below where it could be |
# | no tail in recognition | last letters are missing |
# | quantity loss measured after scaling | it is zero from the first step on; in recognition the lengths are anything |
# | weights on padding | more tokens, the longer the other utterances of a batch are |
# | convolutions of the predictor hear the padding | the number of tokens changes with the batch |
# | sums in 16 bits | lengths wrong by a token or more in long utterances |
# | `float()` or `detach()` on the way | the quantity loss falls, the cross-entropy does not: the weights count, but nobody tells them where |
# | the causal mask kept | works, a bit worse: no token sees what comes |
# | targets moved by one, as for a decoder with SOS | each position learns the next token; the first one is never written |
# | first pass of glancing with gradient | twice the memory, and a decoder that is trained on what it will not see |
# | true tokens shown in evaluation too | accuracy looks splendid, recognition does not |

# %% [markdown]
# ## Three questions
#
# **1.** An utterance has frames with weights 0.3, 0.3, 0.3, 0.3, 0.3. How many tokens are there, and which frames are in the first one?
#
# <details><summary>Answer</summary>
#
# The sum is 1.5: one whole token, and 0.5 are left over, which is `TAIL`: two tokens. (In floating point the sum of five times 0.3 may lie a little beside 1.5; ties are decided by rounding, and no model should depend on them.)
# The first one is $0.3 (h_1 + h_2 + h_3) + 0.1 h_4$; the second has a weight of 0.5 only, $0.2 h_4 + 0.3 h_5$.
#
# </details>
#
# **2.** The quantity loss gives every weight of an utterance the same gradient. How can the weights become peaks all the same?
#
# <details><summary>Answer</summary>
#
# The other gradient does that: the cross-entropy's, which comes through the shares. Where a boundary lies wrong, an embedding mixes the sounds of two tokens, and the decoder errs; moving the boundary helps. The quantity loss says
# how much weight there is, the cross-entropy where. And the gradient passes through a sigmoid and convolutions, so that the same gradient at $\alpha_t$ changes different frames differently.
#
# </details>
#
# **3.** Why are true tokens shown at random places, and not where the guesses were wrong?
#
# <details><summary>Answer</summary>
#
# If the wrong places were filled, the places that are left would be those that the decoder knows already, and nothing would be learnt about the hard ones. At random, many wrong places stay, with true neighbours to learn from.
#
# </details>

# %% [markdown]
# ## What you have learnt
#
# - The number of tokens can be predicted by adding up weights, and where tokens lie by cutting the sum at whole numbers. All of it can be differentiated.
# - A threshold on a sum of rounded numbers is a coin toss. What must be certain has to be rounded on purpose.
# - A recurrence that adds up is a cumulative sum, and the loop that defines it is the test of the fast version.
# - Tokens that are written at the same time cannot read each other. What they know of each other they must learn in training, and glancing is one way.
#
# ## Where this goes next
#
# You have three architectures now: the Transformer of chapters 05 and 06, one whose layers learn while they listen (chapter 12), and this one. They share a front end, a trainer and a way to be measured, and
# [docs/architectures.md](../docs/architectures.md) says how a fourth is added.
#
# ## References
#
# - Z. Gao, S. Zhang, I. McLoughlin and Z. Yan, [Paraformer: fast and accurate parallel Transformer for non-autoregressive end-to-end speech recognition](https://arxiv.org/abs/2206.08317), 2022. Its section on the sampler, and a
#   training by minimum word error that this chapter leaves out.
# - L. Dong and B. Xu, [CIF: continuous integrate-and-fire for end-to-end speech recognition](https://arxiv.org/abs/1905.11235), 2020: where the weights come from, and a streaming decoder.
# - L. Qian et al., [Glancing Transformer for non-autoregressive neural machine translation](https://arxiv.org/abs/2008.07905), 2021.
# - J. Gu, J. Bradbury, C. Xiong, V. O. K. Li and R. Socher, [Non-autoregressive neural machine translation](https://arxiv.org/abs/1711.02281), 2018: why positions that decide alone mix two translations.
