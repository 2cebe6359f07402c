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
# # 07 · CTC
#
# In chapters 05 and 06 a black box trained the encoder: hand it log-probabilities for each frame and a text without any
# times, and it says how far off the model is. In this chapter you open it. You write the loss, and then the same idea
# three times more: to find out *when* each word was said, to search for the most probable text, and, if you like, to
# derive the gradient.
#
# **You need** the encoder (chapter 05), logarithms of probabilities, and a little patience with indices. **Time**: about
# 3.5 hours; the core exercises take an hour and a half of them.
#
# | exercise | what you write | minutes | difficulty | |
# |---|---|---|---|---|
# | 7.1 | what a path says | 10 | 1 | core |
# | 7.2 | a text as a row of states | 15 | 2 | core |
# | 7.3 | all paths added up: the forward recursion | 25 | 4 | core |
# | 7.4 | the best path of a text: alignment | 20 | 3 | core |
# | 7.5 | one frame of prefix beam search | 25 | 4 | core |
# | 7.6 | the posterior, which is the gradient | 15 | 2 | optional |
# | 7.7 | the backward recursion | 30 | 4 | optional |

# %%
import base64
import io
import math
from collections import Counter
from collections.abc import Iterable
from itertools import groupby, pairwise, product

import numpy as np
import soundfile
import torch
from IPython.display import HTML
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.nn import functional as F

import asr_tutorial
from asr_tutorial import plots
from asr_tutorial.audio import read_audio
from asr_tutorial.config import ModelConfig
from asr_tutorial.corpus import read_corpus
from asr_tutorial.corpus.read import REPOSITORY
from asr_tutorial.course import check, exercise, here, show
from asr_tutorial.ctc import PrefixScorer, best_path, ctc_loss, frame_posteriors, prefix_beam_search, word_level
from asr_tutorial.ctc.beam import NEVER, Array
from asr_tutorial.dataset import frames_needed
from asr_tutorial.encoder import Encoder
from asr_tutorial.metrics import wer
from asr_tutorial.synthetic import SyntheticTask

# %%
here("07")

# %% [markdown]
# ## A text without times
#
# A transcript says *what* was said, not *when*. Somewhere in the 75 frames of an encoder lies the E of SEVEN, but
# nobody has written down where, and nobody will for a thousand hours of speech. If the times were known, each frame
# would have a right answer and cross-entropy would do. Without them there are two ways out. Attention (chapter 06) lets
# a decoder search for the place of each letter.
# [CTC](../docs/glossary.md#ctc), connectionist temporal classification, takes *all* places into account at once.
#
# Each frame says one token, or a further one, [blank](../docs/glossary.md#blank), written `_` here, which means
# "nothing new". What the frames say in a row is a [path](../docs/glossary.md#ctc-path). A path has as many entries as
# there are frames, and it says a text by two rules, in this order:
#
# 1. neighbours that are equal are merged into one;
# 2. blanks are dropped.
#
# So `H H _ E _ L L _ L O O` says HELLO, and so does `_ H E L _ L O _ _ _ _`. The blank does two jobs. It fills the
# frames in which there is nothing to say. And it keeps two equal letters apart: without the blank between them, the two
# L would be merged to one.
#
# **Exercise 7.1** · 10 minutes · difficulty 1 of 5 · core
#
# Write the two rules. `groupby` of `itertools` is at hand, if you like it.


# %%
@exercise("7.1")
def collapse(path: Iterable[int], blank: int) -> list[int]:
    """What a path says: tokens that repeat from frame to frame are merged, then blanks are dropped.

    This is the map B of Graves et al. 2006, section 3.1.

    Args:
        path: a token or blank for each frame.
        blank: id of the blank.

    Returns:
        The transcript's ids.
    """
    raise NotImplementedError("exercise 7.1")


# %%
collapse = check("7.1")

# %% [markdown]
# Stuck? `asr-tutorial hint 7.1` in a terminal, one hint at a time.
#
# Try it, with 0 for blank. What does each path say?

# %%
LETTERS = "_ABEHLO"
for path in ("HH_E_LL_LOO", "_HEL_LO____", "HHEELLLLLOO", "___________"):
    ids = collapse([LETTERS.index(letter) for letter in path], blank=0)
    print(path, "says", "".join(LETTERS[token] for token in ids) or "(nothing)")

# %% [markdown]
# This is the simplest way to read a CTC model: take the most probable token of each frame, and collapse. It is called
# best path decoding, and `best_path` in the library does it with your function.

# %% [markdown]
# ## All paths together
#
# | symbol | shape | meaning |
# |---|---|---|
# | $T$ | number | frames of the encoder |
# | $V$ | number | tokens, blank included |
# | $p_t(k)$ | $(T, V)$ | probability that frame $t$ says token $k$: a softmax over the tokens in each frame |
# | $\pi$ | $(T)$ | a path: $\pi_t$ is what frame $t$ says |
# | $y$ | $(U)$ | the text: $U$ tokens, none of them blank |
# | $\mathcal B$ | | the two rules: $\mathcal B(\pi)$ is what the path says |
#
# The frames decide independently of each other (given the sound), so a path's probability is a product. The probability
# of a text is the sum over all of its paths, and the loss is minus its logarithm:
#
# $$p(\pi) = \prod_{t=1}^{T} p_t(\pi_t), \qquad
# p(y) = \sum_{\pi \,:\, \mathcal B(\pi) = y} p(\pi), \qquad
# \mathcal L = -\log p(y).$$
#
# No path is *the* right one. A model may say A early or late, for one frame or for five: if the sum is large, the
# loss is small.
#
# ### By hand
#
# Two frames, two letters, and so three tokens:
#
# | | `_` | A | B |
# |---|---|---|---|
# | $p_1$ | 0.5 | 0.3 | 0.2 |
# | $p_2$ | 0.4 | 0.1 | 0.5 |
#
# There are $3^2 = 9$ paths. Here are all of them:
#
# | path | probability | says |
# |---|---|---|
# | `_ _` | 0.5 · 0.4 = 0.20 | nothing |
# | `_ A` | 0.5 · 0.1 = 0.05 | A |
# | `A _` | 0.3 · 0.4 = 0.12 | A |
# | `A A` | 0.3 · 0.1 = 0.03 | A |
# | `_ B` | 0.5 · 0.5 = 0.25 | B |
# | `B _` | 0.2 · 0.4 = 0.08 | B |
# | `B B` | 0.2 · 0.5 = 0.10 | B |
# | `A B` | 0.3 · 0.5 = 0.15 | AB |
# | `B A` | 0.2 · 0.1 = 0.02 | BA |
#
# The text A has three paths: $p(\text{A}) = 0.05 + 0.12 + 0.03 = 0.20$, and the loss is $-\log 0.20 = 1.61$. B
# has 0.43, AB 0.15, BA 0.02, the empty text 0.20, and together that is 1. What about AA? It needs a blank between, so
# three frames. In two there is no path: its probability is 0 and its loss infinite. That is not a rounding error but a
# fact about the text and the sound, and you meet it again below.

# %%
EXAMPLE = torch.tensor([[0.5, 0.3, 0.2], [0.4, 0.1, 0.5]])  # (2 frames, 3 tokens)
texts = Counter()
for path in product(range(3), repeat=2):
    text = "".join("_AB"[token] for token, _ in groupby(path) if token != 0)
    texts[text or "(nothing)"] += float(EXAMPLE[0, path[0]] * EXAMPLE[1, path[1]])
print({text: round(probability, 3) for text, probability in texts.items()})

# %% [markdown]
# Writing all paths down does not get far. **Guess**: how many paths of 100 frames say a given text of 20 different
# letters? A path is fixed by where each letter begins and ends: $2U$ of the $T + 1$ borders between frames, from left to
# right, where a letter may begin at the border at which the one before ends. There are $\binom{T + U}{2U}$ such choices:

# %%
for frames, letters in ((2, 1), (10, 3), (30, 10), (100, 20)):
    print(f"{frames:3} frames, {letters:2} letters: {math.comb(frames + letters, 2 * letters):,} paths")

# %% [markdown]
# ## A text as a row of states
#
# The way out is to notice how much these paths share. Many of them are in the same place at the same time, and how they
# go on does not depend on how they came. So you count by *place*.
#
# The places are the text with a blank before, between and behind its letters. For the text $y$ of $U$ tokens that
# makes $2U + 1$ states; for AAB these seven:
#
# | state | 0 | 1 | 2 | 3 | 4 | 5 | 6 |
# |---|---|---|---|---|---|---|---|
# | says | `_` | A | `_` | A | `_` | B | `_` |
#
# A path walks through them from left to right. From one frame to the next it may
#
# - **stay** where it is: a letter or a pause lasts;
# - **move on** by one state;
# - **skip** the blank between two letters, if these are *different*. From state 3 (A) to 5 (B) it may; from 1 (A) to 3 (A)
#   it may not, for `A A` without a blank would be merged to one A.
#
# It starts in state 0 or 1, and ends in one of the last two. Each walk is a path that says the text, and each path that
# says the text is exactly one walk. The grid of states and frames on which they walk is called a
# [trellis](../docs/glossary.md#trellis); you see one below.
#
# **Exercise 7.2** · 15 minutes · difficulty 2 of 5 · core
#
# Write the states of a batch of texts, and which of them can be reached by a skip. `targets` is padded behind the real
# tokens, and the padding may hold *anything* (-100, the id of PAD, an id that does not exist): put blanks there.
# The docstring has the details.


# %%
@exercise("7.2")
def extend_targets(targets: Tensor, target_lengths: Tensor, blank: int) -> tuple[Tensor, Tensor]:
    """The states that a path walks through: blank, first token, blank, second token, ..., blank.

    From one frame to the next a path stays in its state, or moves on by one, or moves on by two where the state
    between is a blank that it may leave out: between two different tokens.

    Args:
        targets: (batch, length) ids without blank, padded with anything.
        target_lengths: (batch,) real tokens.
        blank: id of the blank.

    Returns:
        states (batch, 2 * length + 1), the token that each state says, blank in the padding; and may_skip (batch,
        2 * length + 1), True where a state can be reached from two states before, never in the padding.
    """
    raise NotImplementedError("exercise 7.2")


# %%
extend_targets = check("7.2")

# %% [markdown]
# Stuck? `asr-tutorial hint 7.2` in a terminal, one hint at a time.
#
# Try it on AAB and, padded, B:

# %%
states, may_skip = extend_targets(torch.tensor([[1, 1, 2], [2, -100, -100]]), torch.tensor([3, 1]), blank=0)
for row, skips in zip(states.tolist(), may_skip.tolist(), strict=True):
    print("says", *("_AB"[token] for token in row), "  skip to", [place for place, skip in enumerate(skips) if skip])

# %% [markdown]
# ## The forward recursion
#
# Let $s$ be a state, and $\alpha_t(s)$ the probability of all *beginnings* of paths that are in state $s$ in frame $t$,
# counting what they said in frames $1$ to $t$. Write $y'_s$ for what state $s$ says. Then
#
# $$\alpha_1(s) = p_1(y'_s) \text{ for the first two states, 0 for all others,}$$
#
# $$\alpha_t(s) = \big(\underbrace{\alpha_{t-1}(s)}_{\text{stay}} + \underbrace{\alpha_{t-1}(s-1)}_{\text{move on}} +
# \underbrace{\alpha_{t-1}(s-2)}_{\text{skip, where allowed}}\big)\; p_t(y'_s), \qquad
# p(y) = \alpha_T(2U) + \alpha_T(2U - 1).$$
#
# $\binom{120}{40}$ paths became a table of $T \times (2U + 1)$ numbers, each made of three others.
#
# ### By hand
#
# The text A in the example has the states `_ A _`. In frame 1: $\alpha_1 = (0.5,\; 0.3,\; 0)$. In frame 2:
#
# - first blank: only from itself, $0.5 \cdot 0.4 = 0.20$;
# - A: from A or the first blank, $(0.3 + 0.5) \cdot 0.1 = 0.08$;
# - last blank: from itself (0) or A, $0.3 \cdot 0.4 = 0.12$; no skip, since it is no letter.
#
# The last two states together: $0.08 + 0.12 = 0.20$, as before.
#
# ### In logarithms
#
# The product of a few hundred probabilities is smaller than the smallest number that a float can hold, so the recursion
# is run on logarithms. Products become sums. Sums become `torch.logaddexp(a, b)`, which is
# $\log(e^a + e^b)$ without ever computing $e^a$. A probability of 0 is $-\infty$, and `logaddexp` handles that well. The
# module has it as `NEVER`.
#
# **Exercise 7.3** · 25 minutes · difficulty 4 of 5 · core
#
# Write the recursion for a batch and all states at once: a loop over the frames, and in it a few lines on tensors of shape
# (batch, states). `emissions[:, t, s]` is $\log p_t(y'_s)$, looked up already. Then write `log_likelihood`, which reads off
# $\log p(y)$: each utterance has its own last frame and its own last states.


# %%
@exercise("7.3")
def forward_scores(emissions: Tensor, may_skip: Tensor) -> Tensor:
    """Log-probability of all beginnings of paths, by where they are in each frame: the recursion for alpha.

    A path begins in the first blank or in the first token. Afterwards it stays, moves on by one state, or skips one.

    Args:
        emissions: (batch, time, states) log-probability of what each state says, in each frame.
        may_skip: (batch, states) where a state can be reached from two states before.

    Returns:
        alpha (batch, time, states): summed over all paths that are in this state in this frame, with the emissions up
        to this frame, this one included; minus infinity where no path can be.
    """
    raise NotImplementedError("exercise 7.3")


def log_likelihood(alphas: Tensor, input_lengths: Tensor, target_lengths: Tensor) -> Tensor:
    """Log-probability of the transcripts: paths that end, in the last real frame, in the last token or the last blank.

    Args:
        alphas: (batch, time, states) from :func:`forward_scores`.
        input_lengths: (batch,) real frames, at least 1.
        target_lengths: (batch,) real tokens; an utterance with none has one state, a blank.

    Returns:
        (batch,), minus infinity where no path is long enough.
    """
    raise NotImplementedError("exercise 7.3")


# %%
forward_scores, log_likelihood = check("7.3")

# %% [markdown]
# Stuck? `asr-tutorial hint 7.3` in a terminal, one hint at a time.
#
# Try it on the example. You should see the numbers from above. Then a small trick: with all emissions at $\log 1 = 0$
# the recursion *counts* paths.

# %%
states, may_skip = extend_targets(torch.tensor([[1]]), torch.tensor([1]), blank=0)
emissions = EXAMPLE.log()[None][..., states[0]]  # (1, 2 frames, 3 states)
alphas = forward_scores(emissions, may_skip)
print("alpha:\n", alphas.exp()[0])
print("p(A) =", round(log_likelihood(alphas, torch.tensor([2]), torch.tensor([1])).exp().item(), 3))

states, may_skip = extend_targets(torch.arange(1, 21)[None], torch.tensor([20]), blank=0)
counts = forward_scores(torch.zeros(1, 100, 41, dtype=torch.double), may_skip)
count = log_likelihood(counts, torch.tensor([100]), torch.tensor([20])).exp()
print(f"paths of 100 frames: {count.item():.4g}; by the formula: {math.comb(120, 40):.4g}")

# %% [markdown]
# The library's `ctc_loss` puts your functions together: states, a look-up of their log-probabilities, the
# recursion, minus its result. It gives PyTorch's numbers:

# %%
torch.manual_seed(0)
log_probs = torch.randn(3, 50, 8).log_softmax(-1)  # (batch, time, vocab)
targets = torch.randint(1, 8, (3, 12))
input_lengths, target_lengths = torch.tensor([50, 40, 31]), torch.tensor([12, 7, 0])
ours = ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0)
theirs = F.ctc_loss(log_probs.transpose(0, 1), targets, input_lengths, target_lengths, blank=0, reduction="none")
for name, values in (("ours   ", ours), ("PyTorch", theirs)):
    print(name, *(f"{value:.2f}" for value in values.tolist()))

# %% [markdown]
# From now on your recursion is what trains here. With `--code mine` it also trains on a GPU, where the library would
# otherwise take PyTorch's kernel: there, many small steps cost more than they compute.

# %% [markdown]
# ## What the loss pulls at
#
# Which way does the loss push a model? Take all paths of the text, each weighted by its probability, and ask: in which
# share of them does frame $t$ say token $k$? This share $\gamma_t(k)$ is the [posterior](../docs/glossary.md#posterior) of the token, its probability
# once you know what was said. Let $z_t(k)$ be the logits of frame $t$, the scores that the softmax turns into $p_t(k)$.
# The gradient of the loss with respect to them is simply
#
# $$\frac{\partial \mathcal L}{\partial z_t(k)} = p_t(k) - \gamma_t(k),$$
#
# what the model believes without knowing the text, minus what it would believe if it did. (The deep dive at the end
# derives it.) An optimiser goes against the gradient, so each logit is pulled by $\gamma_t(k) - p_t(k)$; where the two
# agree, nothing pulls. `frame_posteriors` computes $\gamma$ for each letter of a text in turn, and, in the last column, for
# blank.
#
# ### Why blanks come first
#
# You have seen it in chapter 05: at first a CTC model says nothing at all. Is it broken?
#
# Take a model that knows nothing: all tokens are equally likely in all frames, and so are all paths. **Predict**: of
# all the paths that say DABACD in 40 frames, how large is the share of blanks? And how large is that of any one letter,
# in the middle of the utterance?

# %%
ALPHABET = "_ABCDEFGH"
uniform = torch.full((40, 9), 1 / 9).log()
text = "DABACD"
shares = frame_posteriors(uniform, torch.tensor([ALPHABET.index(c) for c in text]), blank=0)  # (40, 6 letters + blank)

TEXTS = torch.randint(1, 9, (50, 6), generator=torch.Generator().manual_seed(0))


def mean_posterior(log_probs: Tensor) -> Tensor:
    """The share of each token (9,), in the mean over all frames and over many random texts."""
    share = torch.zeros(9)
    for letters in TEXTS:
        gamma = frame_posteriors(log_probs, letters, blank=0).mean(0)  # (6 letters + blank,)
        share[0] += gamma[-1] / len(TEXTS)
        share.index_add_(0, letters, gamma[:-1] / len(TEXTS))
    return share


pull = mean_posterior(uniform) - 1 / 9

with plots.style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained", width_ratios=[3, 2])
    left.plot(shares[:, -1], color="#777777", label="blank, anywhere")
    for place, letter in enumerate(text):
        left.plot(shares[:, place], color=plots.COLORS[place % 2], linestyle=plots.DASHES[place % 2], linewidth=1.1)
        left.text(int(shares[:, place].argmax()), float(shares[:, place].max()) + 0.02, letter, ha="center")
    left.set(
        title="Nearly half of all paths say blank, in every frame", xlabel="frame", ylabel="share of paths", ylim=(0, 1)
    )
    left.legend(loc="upper right")
    right.bar(list(ALPHABET), pull.tolist(), color=["#777777"] + [plots.COLORS[0]] * 8)
    right.axhline(0, color="#444444", linewidth=0.6)
    right.set(title="So the first pull is towards blank", xlabel="token", ylabel="mean of $\\gamma - p$")
    plt.show()
print(f"share of blanks: {shares[:, -1].mean():.2f}")

# %% [markdown]
# Each path has some letters, but *which* frame says which letter differs from path to path, and from text to text. A letter's
# share is spread over a wide hump. Blanks are in all paths, everywhere. As long as the model cannot tell sounds apart,
# all that it can learn is one answer for all frames, and the best such answer is: mostly blank.
#
# Then it gets worse before it gets better. As blank becomes probable, paths with many blanks weigh more, so the
# posterior of blank rises too. Let a model without ears follow the pull to its end: it gives the same answer in all
# frames, and again and again takes the mean posterior as its next answer.

# %%
answer, blanks = torch.full((9,), 1 / 9), []
for _ in range(6):
    blanks.append(f"{answer[0]:.2f}")
    answer = mean_posterior(answer.log().expand(40, 9))
print("probability of blank, turn by turn:", *blanks)
print(f"share of frames without a letter, if each letter takes one: {(40 - 6) / 40:.2f}")

# %% [markdown]
# It ends with hardly more than one frame for each letter, and blank for all the rest. This is the plateau on which training seems to
# stand still, and you see already that letters will be short.
#
# What breaks the circle is the sound: in frames with an A in them, A's share is a little above its mean, so there the model
# says A a little more, paths that say A *there* gain weight, and the hump draws together to a spike.

# %% [markdown]
# ### Watch the spikes form
#
# A small encoder learns the synthetic task: eight letters, each of which lasts for 4 to 7 frames of the encoder.
# The loss is the library's, with your functions in it. Every few steps it keeps what it says of one text that it is
# not trained on. **Predict**: when the model is good, for how many of the frames of a letter will it say that letter?

# %%
torch.manual_seed(0)
task = SyntheticTask(letters=8, n_mels=20, min_length=3, max_length=8, min_frames=8, max_frames=14, noise=0.7)
config = ModelConfig(
    d_model=48,
    num_heads=4,
    d_ff=96,
    encoder_layers=2,
    subsampling="pool",
    subsampling_factor=2,
    conv_kernel=5,
    dropout=0,
)
encoder, head = Encoder(config, n_mels=20), nn.Linear(config.d_model, task.tokenizer.vocab_size)
optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=3e-3)
example = task.batch(1, seed=99)


def log_probs_of(batch) -> tuple[Tensor, Tensor]:
    encoder_out, mask, _ = encoder(batch.features, batch.feature_lengths)
    return head(encoder_out).log_softmax(-1), mask.sum(1)  # (batch, frames, vocab), (batch,)


# %% tags=["nbval-ignore-output"]
KEEP = (0, 10, 60, 80, 100, 180)
kept, losses, blanks = {}, [], []
for step, batch in enumerate(task.batches(181, 16, seed=2)):
    if step in KEEP:
        with torch.no_grad():
            kept[step] = log_probs_of(example)[0][0].exp()  # (frames, vocab)
    log_probs, lengths = log_probs_of(batch)
    loss = ctc_loss(log_probs, batch.targets, lengths, batch.target_lengths, task.tokenizer.blank_id).sum()
    loss = loss / batch.target_lengths.sum()  # nats per letter
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
    real = torch.arange(log_probs.shape[1]) < lengths[:, None]
    blanks.append(log_probs.detach().exp()[real][:, task.tokenizer.blank_id].mean().item())

text, tokens = example.texts[0], example.targets[0, : example.target_lengths[0]].tolist()
frames = int((example.feature_lengths[0] + 1) // 2)
with plots.style():
    figure, grid = plt.subplots(2, 3, figsize=(10, 4.2), layout="constrained", sharex=True, sharey=True)
    for axes, (step, probabilities) in zip(grid.flat, kept.items(), strict=True):
        axes.plot(probabilities[:frames, task.tokenizer.blank_id], color="#aaaaaa", linewidth=1)
        for place, token in enumerate(sorted(set(tokens))):
            style = {"color": plots.COLORS[place % 5], "linestyle": plots.DASHES[place % 5]}
            axes.plot(probabilities[:frames, token], label=task.tokenizer.id_to_token(token), linewidth=1.3, **style)
        axes.set_title(f"step {step}: loss {losses[step]:.2f}")
    grid[0, 0].legend(ncols=2, title="letters; grey: blank")
    figure.suptitle("First blank rises everywhere, then letters grow out of it")
    figure.supxlabel("frame of the encoder", fontsize=9)
    figure.supylabel("probability", fontsize=9)
    plt.show()
said = [task.tokenizer.decode(collapse(p[:frames].argmax(-1).tolist(), task.tokenizer.blank_id)) for p in kept.values()]
print("said  ", text)
print("heard ", dict(zip(kept, said, strict=True)))

# %% tags=["nbval-ignore-output"]
with plots.style():
    figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    axes.plot(losses, color=plots.COLORS[0], label="loss (nats per letter)")
    axes.plot(blanks, color=plots.COLORS[1], linestyle=plots.DASHES[1], label="mean probability of blank")
    axes.set(title="The plateau: blanks everywhere, until letters find their place", xlabel="step",
             ylabel="nats; probability", ylim=(0, 4))  # fmt: skip
    axes.legend()
    plt.show()

# %% [markdown]
# First everything drowns in blank. The loss stands still, or seems to; this is where impatient people stop a run.
# Then faint humps appear where letters are, they sharpen within a few steps, and the loss falls.
#
# Look at the last of the six pictures: most peaks are narrower than their letters, with blanks between. Here is the
# answer to your prediction, over fifty texts:

# %% tags=["nbval-ignore-output"]
fresh = task.batch(50, seed=98)
with torch.no_grad():
    log_probs, lengths = log_probs_of(fresh)
real = torch.arange(log_probs.shape[1]) < lengths[:, None]
spoken = (log_probs.argmax(-1)[real] != task.tokenizer.blank_id).sum()
print(f"a letter lasts for {lengths.sum() / fresh.target_lengths.sum():.1f} frames, "
      f"and is said in {spoken / fresh.target_lengths.sum():.1f} of them")  # fmt: skip

# %% [markdown]
# Nothing in the loss asks for more. One frame of A with blanks around it says A just as well as five do, and while blank
# was the safe answer, a short peak was the cheapest way out of it. It is a habit of CTC models, and it has a price when
# you ask them *when* something was said.

# %% [markdown]
# ## When was it said?
#
# Take a text that you know, and ask for the *best* of its paths. It says for each frame which letter is spoken there. This is
# [forced alignment](../docs/glossary.md#forced-alignment). The recursion is that of exercise 7.3 with the greatest in place of the sum:
#
# $$\delta_t(s) = \max\big(\delta_{t-1}(s),\ \delta_{t-1}(s-1),\ \delta_{t-1}(s-2) \text{ where allowed}\big) + \log p_t(y'_s).$$
#
# This is the [Viterbi algorithm](../docs/glossary.md#viterbi-algorithm). The number at the end is the score of the best path. To get the path itself, note in
# each field which of the three was the greatest. At the end, start from the better of the last two states and follow
# the notes back to the first frame.
#
# In the example, for the text A: $\delta_1 = \log(0.5, 0.3, 0)$; in frame 2, A comes best from the first blank
# ($0.5 \cdot 0.1 = 0.05$), the last blank from A ($0.3 \cdot 0.4 = 0.12$). The last blank wins: back from state 2 to state 1,
# so the path is `A _`.
#
# **Exercise 7.4** · 20 minutes · difficulty 3 of 5 · core
#
# Write it for one utterance: `emissions` is (time, states) here. `forced_align` of the library turns your path into the
# frames of each token.


# %%
@exercise("7.4")
def viterbi(emissions: Tensor, may_skip: Tensor) -> tuple[Tensor, float]:
    """The most probable path through the states of one utterance (the recursion for alpha, max in place of sum).

    It begins in the first blank or the first token, stays, moves on by one state or skips one, and ends in the last
    token or the last blank.

    Args:
        emissions: (time, states) log-probability of what each state says, in each frame.
        may_skip: (states,) where a state can be reached from two states before.

    Returns:
        The state of each frame (time,), and the path's log-probability; minus infinity when no path is long enough.
    """
    raise NotImplementedError("exercise 7.4")


# %%
viterbi = check("7.4")

# %% [markdown]
# Stuck? `asr-tutorial hint 7.4` in a terminal, one hint at a time.
#
# Try it on real (that is, synthesised) speech: the recogniser that comes with the course, and a sentence of a voice that it has
# never heard. The dark fields of the trellis are where the model thinks that state likely; the line is your path.

# %% tags=["nbval-ignore-output"]
recognizer = asr_tutorial.load(REPOSITORY / "data" / "pretrained" / "tinyspeech", device="cpu")
tokenizer = recognizer.tokenizer
corpus = read_corpus("tinyspeech/test")
utterance = next(u for u in corpus if 1.8 < u.seconds < 2.6 and len(u.text.split()) >= 6)
features, log_probs = recognizer.ctc_posteriors(utterance.audio)  # (frames, mels), (encoder frames, vocab)
ids = torch.tensor(tokenizer.encode(utterance.text))
states, may_skip = extend_targets(ids[None], torch.tensor([len(ids)]), tokenizer.blank_id)
path, score = viterbi(log_probs[:, states[0]], may_skip[0])
frames, length = torch.tensor([len(log_probs)]), torch.tensor([len(ids)])
total = -ctc_loss(log_probs[None], ids[None], frames, length, tokenizer.blank_id).item()
print(utterance.text)
print(f"log-probability of the best path {score:.2f}, of all paths together {total:.2f}: "
      f"the best has {100 * math.exp(score - total):.0f} % of the probability")  # fmt: skip

LETTERS_SHOWN = 12
last_frame = int((path <= 2 * LETTERS_SHOWN).sum())
labels = [
    "_" if state % 2 == 0 else tokenizer.id_to_token(int(ids[state // 2])) for state in range(2 * LETTERS_SHOWN + 1)
]
labels = ["space" if label == "▁" else label for label in labels]
plots.trellis(
    log_probs[:last_frame, states[0, : 2 * LETTERS_SHOWN + 1]].exp(),
    labels,
    path[:last_frame],
    frame_seconds=recognizer.encoder_frame_seconds,
    start_seconds=recognizer.encoder_start_seconds,
    title="Trellis of the first letters: the best path follows the dark fields, and waits in blanks",
)
plt.show()

# %% [markdown]
# Blank is the same in all of its rows, of course, and so is a letter that occurs twice: what keeps them apart is the way that a path has
# to take. The best path has only a part of the probability of all paths together: others change from one state to the next a frame
# earlier or later. The space between words is a token like any other.
#
# Now the whole sentence over its sound. Words are joined from their letters by `recognizer.align`:

# %% tags=["nbval-ignore-output"]
aligned = recognizer.align(utterance.audio, utterance.text)
features, posteriors, blank = recognizer.token_posteriors(utterance.audio, aligned)
plots.alignment(
    features,
    [(word.text, word.start, word.end) for word in aligned.words],
    [(token.text, token.start, token.end) for token in aligned.tokens],
    posteriors,
    blank,
    recognizer.frame_seconds,
    recognizer.encoder_frame_seconds,
    title="Each word between its white lines, found by the peaks below",
)
plt.show()

# %% [markdown]
# Here is the sentence to click on: each player holds the sound between a word's start and its end, as the alignment
# has them, and nothing else. Does each begin and end where it should?


# %% tags=["nbval-ignore-output"]
def player(samples: np.ndarray) -> str:
    """An audio player with the samples in it."""
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="WAV")
    data = base64.b64encode(file.getvalue()).decode()
    return f'<audio controls style="width:110px" src="data:audio/wav;base64,{data}"></audio>'


samples = read_audio(utterance.audio)
cells = [("whole sentence", player(samples))]
for word in aligned.words:
    cells.append((f"{word.text}<br>{word.start:.2f} to {word.end:.2f} s",
                  player(samples[int(16_000 * word.start) : int(16_000 * word.end)])))  # fmt: skip
style = "display:inline-block;margin:4px;text-align:center;font-family:sans-serif;font-size:12px"
HTML("".join(f'<div style="{style}">{title}<br>{audio}</div>' for title, audio in cells))

# %% [markdown]
# Some beginnings are cut off, and some ends reach into the next word: the times are late. Is that an error in our
# arithmetic, or does the model say each letter late?
#
# You can ask the model. Take each frame in which it says a letter, and compute the gradient of that log-probability with
# respect to the *features*. Where the gradient is large, there is the sound that decided. The course comes with a second
# recogniser, trained on five hours of LibriSpeech, with the same subsampling: ask both.

# %% tags=["nbval-ignore-output"]
REACH = 40  # feature frames to either side


def what_decides(recognizer) -> Tensor:
    """Where the sound lies that decides a letter (2 * REACH + 1,): shares of the gradient, by distance in feature frames."""
    features, log_probs = recognizer.ctc_posteriors(utterance.audio)
    inputs = features[None].clone().requires_grad_()  # (1, feature frames, mels)
    encoder_out, _ = recognizer.model.encode(inputs, torch.tensor([len(features)]))
    heard = recognizer.model.ctc_log_probs(encoder_out)[0]
    profile, factor = torch.zeros(2 * REACH + 1), recognizer.model.subsampling_factor
    for frame in range(REACH // factor + 1, len(log_probs) - REACH // factor - 1):
        token = int(heard[frame].argmax())
        if token != recognizer.tokenizer.blank_id:
            (gradient,) = torch.autograd.grad(heard[frame, token], inputs, retain_graph=True)
            strength = gradient[0].abs().sum(dim=1)  # (feature frames,)
            middle = frame * factor
            profile += strength[middle - REACH : middle + REACH + 1] / strength.sum()
    return profile / profile.sum()


other = asr_tutorial.load(REPOSITORY / "data" / "pretrained" / "mini_librispeech", device="cpu")
offsets = 10.0 * torch.arange(-REACH, REACH + 1)  # ms
with plots.style():
    figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    for place, (name, model) in enumerate({"this recogniser": recognizer, "the other": other}.items()):
        profile = what_decides(model)
        line = {"color": plots.COLORS[place], "linestyle": plots.DASHES[place]}
        axes.plot(offsets, profile, label=f"{name}: centre at {float((profile * offsets).sum()):.0f} ms", **line)
    axes.axvline(0, color="#444444", linewidth=0.8, label="the frame that says the letter")
    axes.set(title="What decides a letter: in this recogniser it was heard before the letter is said",
             xlabel="time from that frame (ms)", ylabel="share of gradient", ylim=(0, None))  # fmt: skip
    axes.legend()
    plt.show()

# %% [markdown]
# The time of a frame is right: `encoder_start_seconds` puts it at the middle of what the subsampling looks at. It is
# the *model* that waits. Nothing in the loss says when, within or behind its sound, a letter has to come, and a model that
# waits has heard more. How long it waits is a habit it acquired in training: one of the two waits, the other hardly does.
# Systems that need exact times align with a model trained frame by frame, or punish the delay in training.

# %% [markdown]
# ## The most probable text
#
# Best path decoding looks for the most probable *path*. You want the most probable *text*, and that is not the same. Two
# frames, blank 0.6 and A 0.4 in both. The best path is `_ _` with 0.36: nothing was said. But `A A`, `A _` and `_ A`
# have $0.16 + 0.24 + 0.24 = 0.64$ together: A was said.
#
# [Prefix beam search](../docs/glossary.md#prefix-beam-search) looks for texts. Walk through the frames with a few *prefixes*,
# beginnings of texts. For each keep
# two numbers: the probability of all paths so far that say it and end in a **blank**, $b$, and of those that end in its
# last **token**, $n$. (In code they are `blank_end` and `token_end`.) They must be kept apart, since the next frame treats
# them differently. Let the prefix end in A. A frame says
#
# | | for paths that end in blank ($b$) | for paths that end in A ($n$) |
# |---|---|---|
# | blank | same prefix, goes to $b$ | same prefix, goes to $b$ |
# | A | a second A: prefix + A, goes to its $n$ | the same A goes on: same prefix, goes to $n$ |
# | another token C | prefix + C, goes to its $n$ | prefix + C, goes to its $n$ |
#
# Of all prefixes, old and grown, the few with the largest $b + n$ are kept (the *beam*), and the next frame comes.
#
# One thing is easily missed. The prefix "A" grown by B is "AB". If "AB" is in the beam *already*, these are the same text:
# their paths have to be added up, or the text competes with itself.
#
# ### By hand
#
# The beam holds the empty prefix with $b = 0.2$, and A with $b = 0.1$, $n = 0.4$. A frame says blank 0.5, A 0.3, B 0.2.
#
# - Empty prefix: $b = 0.2 \cdot 0.5 = 0.10$. Grown by B: 0.04. Grown by A: $0.2 \cdot 0.3 = 0.06$, which goes to A.
# - A: $b = (0.1 + 0.4) \cdot 0.5 = 0.25$, and $n = 0.4 \cdot 0.3 + 0.06 = 0.18$. Grown by A: $0.1 \cdot 0.3 = 0.03$, grown by B:
#   $(0.1 + 0.4) \cdot 0.2 = 0.10$.
#
# **Exercise 7.5** · 25 minutes · difficulty 4 of 5 · core
#
# Write this step for all prefixes of a beam, in logarithms again, and in NumPy: the arrays are small, and NumPy is quicker
# to start. `np.logaddexp` adds two probabilities, `NEVER` is minus infinity. A loop over the few prefixes of the beam is fine.
# Which prefixes survive is decided outside, and so is which tokens are tried at all: a token with a probability of 1 in
# 10,000 is not worth a look.


# %%
@exercise("7.5")
def prefix_step(
    log_probs: Array, blank_end: Array, token_end: Array, last: Array, parent: Array, tokens: Array, blank: int
) -> tuple[Array, Array, Array]:
    """Read one frame for every prefix of the beam.

    The paths that say a prefix are counted apart by what they end in, because the next frame treats them differently:
    the prefix's last token once more means nothing new behind itself, and a second such token behind a blank.

    Args:
        log_probs: (vocab,) of this frame.
        blank_end: (n,) log-probability of all paths so far that say the prefix and end in a blank.
        token_end: (n,) the same for paths that end in the prefix's last token; minus infinity for the empty prefix.
        last: (n,) last token of each prefix, -1 for the empty one.
        parent: (n,) where in the beam the prefix without its last token stands, -1 if it is not there.
        tokens: (k,) by which prefixes may grow; blank is not among them.
        blank: id of the blank.

    Returns:
        ``blank_end`` and ``token_end`` (n,) of the same prefixes after this frame, and (n, k): log-probability of the
        paths that say prefix and token, the token beginning in this frame. Where that longer prefix is in the beam
        already, its paths are in its own ``token_end``, and minus infinity stands here.
    """
    raise NotImplementedError("exercise 7.5")


# %%
prefix_step = check("7.5")

# %% [markdown]
# Stuck? `asr-tutorial hint 7.5` in a terminal, one hint at a time.
#
# Try it: the step worked by hand, then the two frames in which best path and best text differ.

# %%
beam = [np.log([0.2, 0.1]), np.array([NEVER, np.log(0.4)]), np.array([-1, 1]), np.array([-1, 0])]
blank_end, token_end, grown = prefix_step(np.log([0.5, 0.3, 0.2]), *beam, tokens=np.array([1, 2]), blank=0)
print("b", np.exp(blank_end).round(3), "  n", np.exp(token_end).round(3), "  grown\n", np.exp(grown).round(3))

two_frames = torch.tensor([[[0.6, 0.4], [0.6, 0.4]]]).log()  # (1, 2 frames, blank and A)
print("best path:", best_path(two_frames, torch.tensor([2]), blank=0)[0])
for hypothesis in prefix_beam_search(two_frames, torch.tensor([2]), blank=0, n_best=2)[0]:
    print("prefix beam:", hypothesis.tokens, round(math.exp(hypothesis.log_prob), 3))

# %% [markdown]
# ### On speech, and with a language model
#
# **Predict**: over 40 sentences, how much better is prefix beam search than best path decoding?
#
# The search has a second use. A prefix is a text, so another model can have a say: *shallow fusion* ranks prefixes by
#
# $$\log p_\text{CTC} + \lambda \log p_\text{LM},$$
#
# where $\lambda$ is a weight. Here the language model is the plainest there is: how often a word follows another in the
# training texts, mixed with how often it occurs at all. `word_level` makes a model of letters of it: a word is scored when
# it is complete, at the space behind it, or, for the last word, at EOS. Chapter 10 builds better ones.

# %% tags=["nbval-ignore-output"]
training_texts = read_corpus("tinyspeech/train").texts
words, pairs = Counter(), Counter()
for sentence in training_texts:
    row = ["<s>", *sentence.split()]
    words.update(row)
    pairs.update(pairwise(row))
total = words.total()


def word_score(history: tuple[str, ...], word: str) -> float:
    """Log-probability of a word after the one before."""
    before = history[-1] if history else "<s>"
    return math.log(0.8 * pairs[before, word] / max(words[before], 1) + 0.2 * (words[word] + 0.01) / total)


def search(log_probs: Tensor, **options) -> str:
    length = torch.tensor([len(log_probs)])
    best, *_ = prefix_beam_search(log_probs[None], length, tokenizer.blank_id, **options)[0]
    return tokenizer.decode(best.tokens)


lm = {"lm": word_level(word_score, tokenizer), "lm_weight": 0.5, "eos": tokenizer.eos_id, "beam_size": 20}
tested = corpus.utterances[:40]
outputs = [recognizer.ctc_posteriors(u.audio)[1] for u in tested]
references = [u.text for u in tested]
results = {
    "best path": [tokenizer.decode(best_path(x[None], torch.tensor([len(x)]), tokenizer.blank_id)[0]) for x in outputs],
    "prefix beam": [search(x) for x in outputs],
    "prefix beam + words": [search(x, **lm) for x in outputs],
}
for name, heard in results.items():
    print(f"{name:20} {100 * wer(references, heard):.1f} % of words wrong")
replaced = Counter()  # words that the language model took out, by whether it knows them
for before, after in zip(results["prefix beam"], results["prefix beam + words"], strict=True):
    replaced.update(word in words for word in (Counter(before.split()) - Counter(after.split())).elements())
print(f"\nreplaced: {replaced[False]} that are no words of the training texts, {replaced[True]} that are\n")
changed = [row for row in zip(references, *results.values(), strict=True) if row[2] != row[3]]
for row in changed[:3]:
    print("\n".join(f"{name:20} {text}" for name, text in zip(("said", *results), row, strict=True)), "\n")

# %% [markdown]
# By itself prefix beam search changes next to nothing here. The model is sure of most frames, and where it is, the paths of one text
# differ by a frame here or there: the text with the best path is the best text too. What the search buys is the *list*:
# alternatives with probabilities of whole texts, among which another model can choose. Most of what the language model replaced had
# been heard as something that is no word. A list of one utterance:

# %%
length = torch.tensor([len(outputs[2])])
for hypothesis in prefix_beam_search(outputs[2][None], length, tokenizer.blank_id, n_best=4)[0]:
    print(f"{hypothesis.log_prob:7.2f}  {tokenizer.decode(hypothesis.tokens)}")

# %% [markdown]
# ### How likely is a beginning?
#
# The decoder of chapter 06 writes its text token by token. A search that lets CTC have a say (chapter 09) needs CTC's opinion of
# a text that is not finished, and $b + n$ is not that. It is the probability that the frames *so far* say just this prefix, and it
# fades as more frames come, for they say more. What is wanted is the probability that the whole text *starts* with the prefix
# $g$, however it goes on, the *prefix score*:
#
# $$\psi(g) = \sum_{y \text{ that starts with } g} p(y).$$
#
# In the example of two frames: $\psi(\text{A}) = p(\text{A}) + p(\text{AB}) = 0.20 + 0.15 = 0.35$, and $\psi(\text{B}) = 0.43 + 0.02 =
# 0.45$. The remaining 0.20 is the text that ends before it begins. Divided by each other, prefix scores are probabilities of the
# *next* token, which is what a decoder gives too: after A comes B with $0.15 / 0.35$, and otherwise the text ends.
#
# `PrefixScorer` computes $\psi$ for all next tokens of many prefixes at once; the column of EOS holds the probability that the text
# *is* the prefix.

# %%
END = 3  # a column for EOS, which no frame ever says
scorer = PrefixScorer(F.pad(EXAMPLE, (0, 1)).log()[None], torch.tensor([2]), blank=0, eos=END)
empty = scorer.initial_state()
first = scorer.score(empty)  # (1 utterance, 1 prefix, 4 tokens)
after_a = scorer.score(scorer.extend(empty, parents=torch.tensor([[0]]), tokens=torch.tensor([[1]]), scores=first))
for prefix, scores in (("", first), ("A", after_a)):
    row = scores[0, 0].exp().tolist()
    print(f"starts with {prefix}A {row[1]:.2f}, with {prefix}B {row[2]:.2f}, is {prefix or '(nothing)'} {row[END]:.2f}")

# %% [markdown]
# AA has no path of two frames, and its score is 0. You write the heart of `PrefixScorer` in exercise 9.7.

# %% [markdown]
# ## Texts that do not fit
#
# Each token needs a frame, and two equal neighbours need a blank between them. A text with more than that has no path: its
# probability is 0, its loss infinite. Speech of normal pace never gets there, until somebody subsamples by 8 to save time, or a
# transcript belongs to another recording.
#
# **Predict**: what does one such utterance do to a batch, with PyTorch's loss and its default settings?

# %%
fits, too_long = "OBOE", "BALLOON"  # in 8 frames: BALLOON needs 7, and 2 more for LL and OO
alphabet = "_ABELNO"
targets = torch.zeros(2, 7, dtype=torch.long)
for row, text in enumerate((fits, too_long)):
    targets[row, : len(text)] = torch.tensor([alphabet.index(letter) for letter in text])
    print(f"{text:8} needs {frames_needed(targets[row, : len(text)].tolist())} frames, has 8")
frames, lengths = torch.tensor([8, 8]), torch.tensor([len(fits), len(too_long)])

for name, zero_infinity in (("PyTorch", False), ("PyTorch, zero_infinity", True), ("ours", None)):
    logits = torch.zeros(2, 8, 7, requires_grad=True)
    if zero_infinity is None:
        losses = ctc_loss(logits.log_softmax(-1), targets, frames, lengths, blank=0)
    else:
        losses = F.ctc_loss(logits.log_softmax(-1).transpose(0, 1), targets, frames, lengths, reduction="none",
                            zero_infinity=zero_infinity)  # fmt: skip
    losses.sum().backward()
    print(f"{name:23} losses {losses.tolist()[0]:.2f} {losses.tolist()[1]:.2f}   "
          f"gradient: NaN in {int(logits.grad.isnan().any(-1).any(-1).sum())} of 2 utterances")  # fmt: skip

# %% [markdown]
# By default the loss is infinite and the gradient NaN: the next step of the optimiser makes all parameters NaN. With
# `zero_infinity` such an utterance has a loss of *zero*, as if it were perfectly recognised, and nobody learns of it; a whole
# corpus with wrong transcripts trains without a complaint, on nothing. Ours keeps the loss infinite, so that it is seen, and
# the gradient zero. The trainer (chapter 08) names such utterances, and the dataset leaves them out beforehand and says how many.
#
# How many would there be, if TinySpeech were subsampled further?

# %%
train = read_corpus("tinyspeech/train")
needed = torch.tensor([frames_needed(tokenizer.encode(u.text)) for u in train])
available = torch.tensor([100 * u.seconds for u in train])  # feature frames, 10 ms each
for factor in (4, 6, 8, 12):
    lost = int((needed > available / factor).sum())
    print(f"1 frame in {factor:2}: {lost:5} of {len(needed)} texts do not fit")

# %% [markdown]
# Letters are short, and this corpus speaks fast. Larger tokens need fewer frames: with pieces of words (chapter 10) one
# frame in 8 is common.

# %% [markdown]
# ## Deep dive: the gradient
#
# Optional. Autograd would have to go back through your recursion step by step, keep all of its intermediate results, and
# meet $-\infty$ on the way:

# %%
impossible = torch.tensor(NEVER, requires_grad=True)
torch.logaddexp(impossible, 2 * impossible).backward()
print("the sum of two impossible paths has the gradient", impossible.grad.item())

# %% [markdown]
# By hand the whole gradient is one line, and no number is missing.
#
# All paths through state $s$ in frame $t$ are made of a beginning, $\alpha_t(s)$, and an end. Let $\beta_t(s)$ be the
# probability of all ends of paths, from state $s$ in frame $t$ to the last frame, with what they say in frames $t$ to $T$.
# Both hold $p_t(y'_s)$, so it is divided out once. The share of such paths among all, the posterior of the *state*, is
#
# $$\gamma_t(s) = \frac{\alpha_t(s)\, \beta_t(s)}{p_t(y'_s)\; p(y)} .$$
#
# In the example, for the text A: $\beta_2 = (0, 0.1, 0.4)$ and $\beta_1 = (0.05, 0.15, 0.20)$. (From A in frame 1: 0.3
# times what follows, A or the last blank, $0.1 + 0.4$.) So $\gamma_1(\text{A}) = 0.3 \cdot 0.15 / (0.3 \cdot 0.2) = 0.75$: of
# the probability 0.20, the paths `A _` and `A A` have $0.15$.
#
# Now the derivative. $p(y)$ is a sum of products, and each path through token $k$ in frame $t$ has the factor $p_t(k)$
# once. So $\partial p(y) / \partial \log p_t(k)$ is just the sum of these paths, and
#
# $$\frac{\partial \mathcal L}{\partial \log p_t(k)} = -\frac{1}{p(y)} \sum_{\pi \,:\, \pi_t = k} p(\pi) = -\gamma_t(k),$$
#
# where $\gamma_t(k)$ adds up the states that say $k$. From here to the logits it is the derivative of the log-softmax,
# $\partial \log p_t(j) / \partial z_t(k) = [j = k] - p_t(k)$, where the bracket is 1 if $j$ is $k$ and 0 otherwise:
#
# $$\frac{\partial \mathcal L}{\partial z_t(k)} = -\sum_j \gamma_t(j) \big([j = k] - p_t(k)\big) = p_t(k) - \gamma_t(k),$$
#
# because the $\gamma_t(j)$ of a frame sum to 1.
#
# **Exercise 7.6** · 15 minutes · difficulty 2 of 5 · optional
#
# Write $\gamma_t(s)$, from logarithms to a probability. Mind what is impossible: $-\infty - (-\infty)$ is no number.


# %%
@exercise("7.6")
def state_posteriors(alphas: Tensor, betas: Tensor, emissions: Tensor, total: Tensor) -> Tensor:
    """Probability that a path is in a state in a frame, given that it says the transcript.

    Alpha and beta both hold the emission of the frame where they meet: it is taken out once.

    Args:
        alphas: (batch, time, states).
        betas: (batch, time, states).
        emissions: (batch, time, states).
        total: (batch,) log-probability of the transcripts.

    Returns:
        (batch, time, states); in a real frame the states sum to 1. Zero where no path can be, which is everywhere in
        an utterance whose transcript has no path.
    """
    raise NotImplementedError("exercise 7.6")


# %%
state_posteriors = check("7.6")

# %% [markdown]
# Stuck? `asr-tutorial hint 7.6` in a terminal, one hint at a time.
#
# Where does $\beta$ come from? From a loop like that for $\alpha$, from the last frame to the first. Or without a new loop: read from
# its last frame and its last state, an utterance is an utterance again. So the recursion for $\beta$ is the recursion for
# $\alpha$ on the mirror image. This class makes such images:

# %%
show("ctc.loss._Mirror")

# %% [markdown]
# **Exercise 7.7** · 30 minutes · difficulty 4 of 5 · optional
#
# Write `backward_scores`, by the mirror or by a loop of your own. The padding needs care: each utterance has its own last frame and
# its own last states. Which state does `may_skip` belong to, seen from the other end?


# %%
@exercise("7.7")
def backward_scores(emissions: Tensor, may_skip: Tensor, input_lengths: Tensor, target_lengths: Tensor) -> Tensor:
    """Log-probability of all ends of paths, by where they begin: beta.

    Read from the last frame and the last state, an utterance is an utterance again: the recursion of
    :func:`forward_scores` on the mirror image is the recursion for beta.

    Args:
        emissions: (batch, time, states).
        may_skip: (batch, states).
        input_lengths: (batch,) real frames.
        target_lengths: (batch,) real tokens.

    Returns:
        beta (batch, time, states): summed over all paths from this state in this frame to the end, with the emissions
        from this frame on, this one included. Padding holds anything.
    """
    raise NotImplementedError("exercise 7.7")


# %%
backward_scores = check("7.7")

# %% [markdown]
# Stuck? `asr-tutorial hint 7.7` in a terminal, one hint at a time.
#
# Try it. The total can be read from either end, and in any frame between: $\sum_s \alpha_t(s) \beta_t(s) / p_t(y'_s)$ is the
# same for all $t$.

# %%
states, may_skip = extend_targets(torch.tensor([[1]]), torch.tensor([1]), blank=0)
emissions = EXAMPLE.log()[None][..., states[0]]
alphas = forward_scores(emissions, may_skip)
betas = backward_scores(emissions, may_skip, torch.tensor([2]), torch.tensor([1]))
print("beta:\n", betas.exp()[0])
print("total, from frame 1 and from frame 2:", (alphas + betas - emissions).exp().sum(-1)[0])
print("gamma:\n", state_posteriors(alphas, betas, emissions, torch.tensor([0.2]).log())[0])

# %% [markdown]
# The library's loss takes these posteriors as its gradient. This is how your functions are put together; both directions run in
# one loop over the frames:

# %%
show("ctc.loss._ForwardBackward")

# %% [markdown]
# ## The usual mistakes
#
# | mistake | symptom |
# |---|---|
# | the wrong blank id | the loss falls, and one letter is missing or everywhere: the id is wanted by loss, decoding and tokenizer ([ESPnet 5620](https://github.com/espnet/espnet/issues/5620), [1508](https://github.com/espnet/espnet/issues/1508)) |
# | blank = PAD | training works; then somebody forbids PAD in the output, and with it every blank: each frame says a letter |
# | logits in place of log-probabilities | the loss is negative, or falls without end: nothing keeps the probabilities at a sum of 1 |
# | `input_lengths` of the features, not of the encoder | an error at best; else paths run through padding, worst in short utterances ([ESPnet 6600](https://github.com/espnet/espnet/issues/6600)) |
# | EOS or SOS in the targets | the model learns to say `<eos>` as a letter |
# | repeats merged after dropping blanks | no double letters: HELO |
# | a text that does not fit | infinite loss, NaN gradient, or a loss of 0 with `zero_infinity` ([icefall 135](https://github.com/k2-fsa/icefall/issues/135), [warp-ctc 29](https://github.com/SeanNaren/warp-ctc/issues/29)) |
# | stopped on the plateau of blanks | "it only outputs blanks" ([CTCModel 12](https://github.com/cyprienruffino/CTCModel/issues/12)): wait, or let the learning rate rise for longer |
# | summed in half precision | the loss moves in coarse steps, or is not a number: float32 is needed here ([SpeechBrain 1803](https://github.com/speechbrain/speechbrain/issues/1803), [ESPnet 1777](https://github.com/espnet/espnet/issues/1777)) |
# | (time, batch, vocab) against (batch, time, vocab) | `F.ctc_loss` wants time first; with batch = time it does not even complain |
#
# Three of them, seen:

# %%
torch.manual_seed(0)
logits = 3 * torch.randn(1, 20, 7)
targets, lengths = torch.tensor([[1, 2, 3]]), (torch.tensor([20]), torch.tensor([3]))
print(f"logits: {ctc_loss(logits, targets, *lengths, 0).item():.2f}   log-probabilities: "
      f"{ctc_loss(logits.log_softmax(-1), targets, *lengths, 0).item():.2f}")  # fmt: skip
print("300, 301 and 302 nats in bfloat16:", torch.tensor([300.0, 301.0, 302.0]).bfloat16().tolist())
try:
    ctc_loss(logits.log_softmax(-1), targets, torch.tensor([80]), torch.tensor([3]), blank=0)
except ValueError as error:
    print(error)

# %% [markdown]
# A loss is minus the logarithm of a probability: below zero it is none.

# %% [markdown]
# ## Questions
#
# **1.** How many paths of 3 frames say AA? How many say AB?
#
# <details><summary>Answer</summary>
#
# AA: one, `A _ A`. AB: five, `A A B`, `A B B`, `_ A B`, `A _ B`, `A B _`. By the formula, $\binom{3 + 2}{4} = 5$.
#
# </details>
#
# **2.** Could the blank be left out, if no text ever had a double letter?
#
# <details><summary>Answer</summary>
#
# Then each frame would have to say a letter, silence and transitions included, so the letters before and after a pause would
# have to fill it. It works (some systems do it, with a token for silence), but the model can no longer abstain where
# it does not know, and letters get long in place of spiky.
#
# </details>
#
# **3.** The best path of exercise 7.4 has log-probability $-3.2$. What do you know about the CTC loss of that text?
#
# <details><summary>Answer</summary>
#
# It is at most 3.2. The loss is minus the logarithm of the sum over all paths, and the best path is one of them.
#
# </details>

# %% [markdown]
# ## Where this goes next
#
# Chapter 08 trains: your loss and that of chapter 06 together, on one GPU or many. Chapter 09 searches with both heads: the
# decoder proposes, and CTC says by its prefix scores how well each beginning fits the sound.
#
# ## References
#
# - A. Graves, S. Fernández, F. Gomez, J. Schmidhuber, "Connectionist temporal classification: labelling unsegmented
#   sequence data with recurrent neural networks", ICML 2006: [doi:10.1145/1143844.1143891](https://doi.org/10.1145/1143844.1143891).
#   Sections 3 and 4 are this chapter.
# - A. Y. Hannun, A. L. Maas, D. Jurafsky, A. Y. Ng, "First-pass large vocabulary continuous speech recognition using
#   bi-directional recurrent DNNs", 2014: [arXiv:1408.2873](https://arxiv.org/abs/1408.2873). Prefix beam search with a language model.
# - A. Hannun, "Sequence modeling with CTC", Distill 2017: [doi:10.23915/distill.00008](https://doi.org/10.23915/distill.00008). The
#   same story in pictures.
# - A. Zeyer, R. Schlüter, H. Ney, "Why does CTC result in peaky behavior?", 2021:
#   [arXiv:2105.14849](https://arxiv.org/abs/2105.14849). Blanks first, then spikes, with proofs.
# - S. Kim, T. Hori, S. Watanabe, "Joint CTC-attention based end-to-end speech recognition using multi-task learning",
#   2017: [arXiv:1609.06773](https://arxiv.org/abs/1609.06773).
