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
# # 09 · Search
#
# A trained recogniser does not give you a text. It gives you probabilities: of a token for each frame from the CTC
# head, of the next token for each beginning of a text from the decoder. In this chapter you write what turns them
# into words: greedy search, sampling, a beam search that is told when to stop, and the joint search in which the two
# heads correct each other. The weights do not change, and in the end the error rate is less than half of what it was.
#
# **You need** the decoder and its cache (chapter 06), and CTC (07) for the joint search and two deep dives. **Time**:
# about 3 hours; the core exercises take half of them.
#
# | exercise | what you write | minutes | difficulty | |
# |---|---|---|---|---|
# | 9.1 | the distribution to choose from: temperature, top-k, top-p | 20 | 3 | core |
# | 9.2 | writing one text: greedy search and sampling | 20 | 3 | core |
# | 9.3 | growing the beam | 15 | 2 | core |
# | 9.4 | finished hypotheses | 15 | 3 | core |
# | 9.5 | long and short texts, and when to stop | 15 | 3 | core |
# | 9.6 | two scorers | 10 | 2 | core |
# | 9.7 | CTC scores every next token | 25 | 4 | optional |
# | 9.8 | a recurrence without a loop | 25 | 5 | optional |

# %%
from asr_tutorial.course import check, exercise, here, show

import math
import time
from collections.abc import Callable, Sequence

import torch
from matplotlib import pyplot as plt
from torch import Tensor

import asr_tutorial
from asr_tutorial import plots
from asr_tutorial.audio import read_audio
from asr_tutorial.corpus import read_corpus
from asr_tutorial.corpus.read import REPOSITORY
from asr_tutorial.ctc import PrefixScorer
from asr_tutorial.features import FeatureExtractor
from asr_tutorial.metrics import cer, differences, wer
from asr_tutorial.search import SearchOptions, beam_search, greedy_search, joint_search, sample_search
from asr_tutorial.search.greedy import Step

# %%
here("09")

# %% [markdown]
# ## The best text is hard to find
#
# Let $H$ be the encoder's states for one utterance. The decoder gives $P(y_u \mid y_0, \dots, y_{u-1}, H)$, the
# probability of the next token $y_u$ after those before it ($y_0$ is SOS). A text $y_1, \dots, y_U$ whose last token
# $y_U$ is EOS has the probability of all its tokens together, and what we want is the text with the largest one:
#
# $$\hat y = \arg\max_{y} \; \log P(y \mid H) = \arg\max_{y} \; \sum_{u=1}^{U} \log P(y_u \mid y_0, \dots, y_{u-1}, H).$$
#
# With $V$ tokens in the vocabulary there are $V^U$ texts of length $U$. For thirty letters and a short sentence that
# is a number of sixty digits. No formula gets around trying them, because each token's probability depends on *all*
# tokens before it. So we look at a small part of the texts and choose that part well. A beginning of a text that we
# are looking at is called a [hypothesis](../docs/glossary.md#hypothesis).
#
# ### By hand
#
# Somebody says "ice cream". To a model that has not seen much of the world, it sounds like this:

# %%
EOS, WORDS = 0, [".", "I", "ICE", "SCREAM", "CREAM", "SEE"]
NEXT = {  # the words so far: probability of what comes next ("." is EOS)
    "": {"I": 0.55, "ICE": 0.45},
    "I": {"SCREAM": 0.5, ".": 0.3, "SEE": 0.2},
    "ICE": {"CREAM": 0.9, ".": 0.1},
    "I SCREAM": {".": 0.8, "I": 0.2},
    "I SEE": {".": 0.6, "ICE": 0.4},
    "ICE CREAM": {".": 0.9, "I": 0.1},
}


def ice_cream(prefixes: Tensor) -> Tensor:
    """A language of a few sentences: prefixes (n, length) of ids, SOS first, to log-probabilities (n, vocab)."""
    rows = torch.zeros(len(prefixes), len(WORDS))
    for row, prefix in zip(rows, prefixes.tolist(), strict=True):
        for word, probability in NEXT.get(" ".join(WORDS[token] for token in prefix[1:]), {".": 1.0}).items():
            row[WORDS.index(word)] = probability
    return rows.log()


# %% [markdown]
# | text | probability |
# |---|---|
# | I SCREAM | $0.55 \cdot 0.5 \cdot 0.8 = 0.22$ |
# | I | $0.55 \cdot 0.3 = 0.165$ |
# | I SEE | $0.55 \cdot 0.2 \cdot 0.6 = 0.066$ |
# | ICE CREAM | $0.45 \cdot 0.9 \cdot 0.9 = 0.3645$ |
# | ICE | $0.45 \cdot 0.1 = 0.045$ |
#
# Whoever takes the likeliest word at each step begins with I (0.55), goes on with SCREAM, and ends with 0.22. The
# best text begins with a word that looked worse. That is the mistake of greed, and no later step can mend it.
#
# The searches that you write want one thing only: a function `step` that takes prefixes `(n, length)` and returns
# log-probabilities `(n, vocab)`. `ice_cream` above is one, and so is a decoder.

# %% [markdown]
# ## One distribution
#
# Begin with a single step. The decoder gives a row of [logits](../docs/glossary.md#logits) $z$ of shape $(V,)$. Before
# a token is chosen, the distribution may be changed in three ways:
#
# - **[Temperature](../docs/glossary.md#temperature)** $\tau > 0$: $p_v \propto e^{z_v / \tau}$. Above 1 the
#   distribution gets flatter, below 1 steeper; towards 0 all goes to the largest.
# - **[Top-k](../docs/glossary.md#top-k-and-top-p)**: only the $k$ most probable tokens may be chosen.
# - **Top-p**, or nucleus: only the smallest set of most probable tokens which
#   together have at least the probability $p$. When the model is sure that is one token, when it is in doubt many.
#
# Whatever may not be chosen gets $-\infty$, and what stays is made to sum to 1 again.
#
# By hand, with the probabilities 0.5, 0.25, 0.15 and 0.1: a temperature of 0.5 doubles the logits, that is, it
# squares the probabilities: 0.25, 0.0625, 0.0225, 0.01, divided by their sum 0.345: **0.72, 0.18, 0.07, 0.03**. For
# $p = 0.7$ the first token is not enough (0.5), the first two are (0.75): what is left is **2/3 and 1/3**.
#
# **Exercise 9.1** · 20 minutes · difficulty 3 of 5 · core
#
# Write `next_token_log_probs`: first the temperature, then top-k, then top-p on what top-k has left. Inside the
# function `torch` is known.


# %%
@exercise("9.1")
def next_token_log_probs(logits: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """The distribution that a token is drawn from: flatter or steeper, and without its tail.

    First the logits are divided by the temperature. Then only the ``top_k`` most probable tokens stay (Fan et al.
    2018), then of these the smallest set of most probable ones that holds at least ``top_p`` of the probability
    (nucleus sampling, Holtzman et al. 2020); at least one stays. What stays is made to sum to 1 again after each step.

    Args:
        logits: (..., vocab), or log-probabilities.
        temperature: above 1 evens out, below 1 sharpens.
        top_k: number of tokens that may be chosen; 0 leaves all.
        top_p: share of the probability that may be chosen from; 1 leaves all.

    Returns:
        (..., vocab) log-probabilities, minus infinity for tokens that may not be chosen.
    """
    raise NotImplementedError("exercise 9.1")


# %%
next_token_log_probs = check("9.1")

# %% [markdown]
# Stuck? `asr-tutorial hint 9.1` in a terminal, one hint at a time.
#
# **Try it.** The same logits under different settings. Which two settings leave exactly one token, and why?

# %%
logits = torch.tensor([0.4, 0.25, 0.2, 0.1, 0.05]).log()
for settings in (
    {},
    {"temperature": 0.3},
    {"temperature": 3.0},
    {"top_k": 2},
    {"top_p": 0.6},
    {"top_p": 0.1},
    {"top_k": 1},
):
    probs = next_token_log_probs(logits, **settings).exp()
    print(f"{settings!s:22}", *(f"{float(p):6.3f}" for p in probs))

# %% [markdown]
# ## One text
#
# [Greedy search](../docs/glossary.md#greedy-search) takes the most probable token at each step; sampling draws one.
# The loop around both is the same: ask `step`, choose, append, again. What makes it interesting is the batch. Its
# texts end at different steps, and the loop goes on until the last one has ended. What happens to the others
# meanwhile must not count:
#
# - a text that has said EOS is *closed*. It is filled up with EOS, and its score stays what it was;
# - each text has a limit of its own. An utterance of 30 frames cannot hold 40 tokens, no matter how long its
#   neighbour in the batch is.
#
# If one of these is forgotten the result still looks right, most of the time. But then the same utterance gives
# another text, or another score, in another batch.
#
# **Exercise 9.2** · 20 minutes · difficulty 3 of 5 · core
#
# Write `write`. `choose` gets the log-probabilities `(n, vocab)` and returns `(n,)` ids: for greedy search it is an
# argmax. `greedy_search` and `sample_search` of the library are this loop with a decoder as `step`, whose cache is
# hidden inside it.


# %%
@exercise("9.2")
def write(
    step: Step, prefixes: Tensor, limits: Tensor, eos: int, choose: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Write one text after each prefix, token by token, all at once.

    A text that has said EOS, or has as many tokens as it may, is closed: it goes on being passed to ``step``, filled up
    with EOS, but nothing counts any more. All stop when the last one is closed.

    Args:
        step: prefixes (n, length) to log-probabilities (n, vocab).
        prefixes: (n, length) ids to start from.
        limits: (n,) most tokens that each text may get; the EOS counts as one.
        eos: id that ends a text.
        choose: picks the next tokens (n,) from log-probabilities (n, vocab).

    Returns:
        tokens (n, steps), EOS where one was said and behind it; log-probabilities (n, steps) of the tokens chosen, 0
        behind the end; and (n,) which texts have said EOS.
    """
    raise NotImplementedError("exercise 9.2")


# %%
write = check("9.2")

# %% [markdown]
# Stuck? `asr-tutorial hint 9.2` in a terminal, one hint at a time.
#
# **Try it**: greed on the sentence from above, and a few samples beside it.


# %%
def say(tokens) -> str:
    """Ids up to the first EOS as words."""
    tokens = [int(token) for token in tokens]
    return " ".join(WORDS[token] for token in tokens[: tokens.index(EOS)] if token >= 0) if EOS in tokens else "..."


start = torch.full((1, 1), -1)  # -1 stands for SOS: the table does not look at it
greedy, scores, _ = write(ice_cream, start, torch.tensor([9]), EOS, lambda rows: rows.argmax(dim=-1))
print(f"greedy    {say(greedy[0]):12} {float(scores.sum().exp()):.3f}")
dice = torch.Generator().manual_seed(0)
draws, scores, _ = write(
    ice_cream,
    start.expand(2000, 1),
    torch.full((2000,), 9),
    EOS,
    lambda rows: torch.multinomial(rows.exp(), 1, generator=dice)[:, 0],
)
texts = [say(row) for row in draws]
for text in sorted(set(texts), key=texts.count, reverse=True)[:4]:
    print(f"sampled   {text:12} {texts.count(text) / 2000:.3f}")

# %% [markdown]
# The shares of the samples are close to the probabilities worked out above: a sampler visits texts as often as they are
# probable. To find the *most* probable one that way takes many draws.

# %% [markdown]
# ## Many texts
#
# [Beam search](../docs/glossary.md#beam-search) keeps the $K$ best hypotheses instead of one. One step:
#
# 1. **expand**: every hypothesis is extended by every token. With $s_i$ the log-probability of hypothesis $i$, the
#    candidate "hypothesis $i$, then token $v$" has $s_i + \log P(v \mid \text{hypothesis } i)$. That makes $K \cdot V$
#    candidates, all equally long, and they compete with each other;
# 2. **keep** the best. One hypothesis may leave several children, another none;
# 3. **set apart** those that end in EOS. They are finished, and wait until the end.
#
# For a batch of $B$ utterances all of that has one axis more, and utterances do not compete: scores are `(batch,
# beam)`, log-probabilities `(batch, beam, vocab)`.
#
# By hand, with two hypotheses of scores $-1$ and $-2$ and three tokens:
#
# | | token 0 | token 1 | token 2 |
# |---|---|---|---|
# | hypothesis 0 | $-1 - 3 = -4$ | $-1 - 0.5 = \mathbf{-1.5}$ | $-1 - 5 = -6$ |
# | hypothesis 1 | $-2 - 0.1 = \mathbf{-2.1}$ | $-2 - 9 = -11$ | $-2 - 1.5 = \mathbf{-3.5}$ |
#
# The best three are token 1 after hypothesis 0, then token 0 and token 2 after hypothesis 1.
#
# **Exercise 9.3** · 15 minutes · difficulty 2 of 5 · core
#
# Write `expand`, without a loop.


# %%
@exercise("9.3")
def expand(scores: Tensor, log_probs: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best ways to make hypotheses one token longer.

    All hypotheses of an utterance compete with each other: a good one may go on in several ways, a bad one in none.
    Utterances do not compete.

    Args:
        scores: (batch, beam) log-probability of each hypothesis; minus infinity where there is none.
        log_probs: (batch, beam, vocab) of its next token.
        count: candidates wanted for each utterance; fewer come back if there are fewer than that.

    Returns:
        For the candidates of each utterance, best first: log-probability, the hypothesis that is extended (0 to beam -
        1), and the token that it is extended by; (batch, count) each.
    """
    raise NotImplementedError("exercise 9.3")


# %%
expand = check("9.3")

# %% [markdown]
# Stuck? `asr-tutorial hint 9.3` in a terminal, one hint at a time.
#
# **Try it** on the table:

# %%
found = expand(torch.tensor([[-1.0, -2.0]]), torch.tensor([[[-3.0, -0.5, -5.0], [-0.1, -9.0, -1.5]]]), 3)
for name, values in zip(("score", "hypothesis", "token"), found, strict=True):
    print(f"{name:11}", [round(float(value), 1) for value in values[0]])

# %% [markdown]
# ### What has ended
#
# A candidate that says EOS is a whole text. To go on extending it would be nonsense, and yet that is the most
# frequent mistake in beam searches: the finished text stays in the beam, collects tokens behind its EOS, and pushes
# out others that were still alive.
#
# So take *twice* as many candidates as the beam has places, best first. Each hypothesis can end in one way only, so
# that at most $K$ of the $2K$ candidates end, and there are always $K$ that go on:
#
# - an end counts if it is among the best $K$ candidates (a beam of this size would have kept it);
# - the best $K$ candidates that do not end go on. The beam stays full.
#
# By hand, $K = 2$ and the candidates' tokens are A, EOS, B, EOS: candidate 1 ends, for it is the second best.
# Candidate 3 says EOS too, but ranks fourth: it is dropped. Candidates 0 and 2 go on.
#
# **Exercise 9.4** · 15 minutes · difficulty 3 of 5 · core
#
# Write `split_finished`. Two lines are enough.


# %%
@exercise("9.4")
def split_finished(tokens: Tensor, eos: int, beam_size: int) -> tuple[Tensor, Tensor]:
    """Set candidates that end now apart from those that go on.

    An end counts if it is among the ``beam_size`` best candidates, finished or not: that is what a beam of this size
    keeps. It then leaves the beam, and the best candidates that do not end take all of its places. With twice
    ``beam_size`` candidates there are always enough of them, since a hypothesis can end in one way only.

    Args:
        tokens: (batch, candidates) the token that each candidate is extended by, best candidate first.
        eos: id that ends a hypothesis.
        beam_size: hypotheses that go on.

    Returns:
        (batch, candidates) which of them end now; and (batch, beam_size) which go on, as indices, best first.
    """
    raise NotImplementedError("exercise 9.4")


# %%
split_finished = check("9.4")

# %% [markdown]
# Stuck? `asr-tutorial hint 9.4` in a terminal, one hint at a time.
#
# ## The search tree
#
# With these two functions a beam search is a short loop. Here is one for a single utterance that notes down what it
# does, so that we can draw it. `stop` is asked after each step whether there is any point in going on; for now it
# goes on to the end.


# %%
def small_beam(step, beam_size, max_length, score=lambda log_prob, length: log_prob, stop=None, notes=None):
    """The best finished hypothesis: (score, tokens), the EOS included. ``step`` is a language with EOS = 0."""
    prefixes, finished = torch.full((beam_size, 1), -1), []
    scores = torch.full((beam_size,), -math.inf)
    scores[0] = 0.0  # all places start alike, so one of them is enough: the others are empty
    for length in range(1, max_length + 2):  # tokens of the candidates, the EOS counted
        best, parents, tokens = (x[0] for x in expand(scores[None], step(prefixes)[None], 2 * beam_size))
        ends, going_on = (x[0] for x in split_finished(tokens[None], EOS, beam_size))
        for place in best.isfinite().nonzero()[:, 0].tolist():
            text = (*prefixes[parents[place], 1:].tolist(), int(tokens[place]))
            if ends[place]:
                finished.append((float(score(best[place], length)), text))
            if notes is not None:
                fate = "finished" if ends[place] else "kept" if place in going_on.tolist() else "dropped"
                notes.append((text, float(best[place]), fate))
        prefixes = torch.cat([prefixes[parents[going_on]], tokens[going_on, None]], dim=1)
        scores = best[going_on]
        if scores[0] == -math.inf or (finished and stop is not None and stop(max(finished)[0], scores[0], length)):
            break
    return max(finished, default=(-math.inf, ()))


for beam_size in (1, 2, 3):
    score, tokens = small_beam(ice_cream, beam_size, 4)
    print(f"beam of {beam_size}: {say(tokens):10} {math.exp(score):.3f}")


# %%
def draw_tree(notes, best, title):
    """The tree of a search: a column for each step, a node for each candidate."""
    places = {(): (0.0, 0.0)}
    for column in range(1, max(len(text) for text, _, _ in notes) + 1):
        layer = sorted((t for t, _, _ in notes if len(t) == column), key=lambda t: (places[t[:-1]][1], t))
        for row, text in enumerate(layer):
            places[text] = (float(column), row - (len(layer) - 1) / 2)
    looks = {"kept": ("o", plots.COLORS[0]), "finished": ("s", plots.COLORS[1]), "dropped": ("X", "#aaaaaa")}
    with plots.style():
        _, axes = plt.subplots(figsize=(9, 4), layout="constrained")
        for text, log_prob, fate in notes:
            (x, y), (left, above) = places[text], places[text[:-1]]
            won = best[: len(text)] == text
            mark, colour = looks[fate]
            axes.plot([left, x], [above, y], color=colour, linewidth=2.5 if won else 1, zorder=1)
            axes.scatter([x], [y], marker=mark, s=70, color=colour, zorder=2)
            words = WORDS[text[-1]] if text[-1] != EOS else "EOS"
            label = f"{words} {math.exp(log_prob):.2f}"
            paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # behind the words, in front of the lines
            axes.text(x, y + 0.1, label, fontsize=8, ha="center", va="bottom", bbox=paper, zorder=1.5)
        axes.scatter([0], [0], marker="o", s=70, color=plots.COLORS[0])
        axes.text(0, 0.1, "SOS", fontsize=8, ha="center", va="bottom")
        for fate, (mark, colour) in looks.items():
            axes.scatter([], [], marker=mark, color=colour, label=fate)
        axes.legend(loc="upper left")
        axes.set(
            title=title, xlabel="step", yticks=[], xticks=range(5), xlim=(-0.3, max(len(t) for t, _, _ in notes) + 0.3)
        )
        axes.margins(y=0.15)
        plt.show()


notes: list = []
_, best_text = small_beam(ice_cream, 2, 4, notes=notes)
draw_tree(notes, best_text, "A beam of two repairs what greed spoils: the thick branch wins")

# %% [markdown]
# Numbers are probabilities from SOS to the node. ICE was behind after the first step and would have been lost to a
# beam of one. Squares have left the beam; nothing grows from them. Crosses were looked at and dropped.
#
# `beam_search` of the library is this loop for many utterances and hypotheses at once, with your `expand` and
# `split_finished` inside:

# %%
for hypothesis in beam_search(ice_cream, [-1], beam_size=2, max_length=4, eos=EOS):
    print(
        f"{' '.join(WORDS[token] for token in hypothesis.tokens):10} {math.exp(hypothesis.score):.3f}",
        hypothesis.finished,
    )

# %% [markdown]
# ## Long texts, short texts, and when to stop
#
# Every token makes a text less probable. Of two texts that fit equally well, the shorter one therefore wins, and it
# wins the more often the more texts a search looks at. The usual remedy is to divide by the length:
#
# $$\text{score}(y) = \frac{\log P(y \mid H)}{U^{\alpha}},$$
#
# where $U$ is the number of tokens, EOS counted, and $\alpha$ the
# [length penalty](../docs/glossary.md#length-penalty): with 0 nothing happens, with 1 it is the mean of a token.
#
# By hand: a text of 2 tokens with $\log P = -1.2$, another of 5 tokens with $-2.0$. With $\alpha = 0$ the first one
# wins. With $\alpha = 1$ they have $-0.6$ and $-0.4$, and the second one wins.
#
# **When may the search stop?** When no hypothesis can still beat the best finished one. Take a hypothesis of $n$
# tokens with the log-probability $s$. What can come of it?
#
# - $s$ only falls, since each further token adds the logarithm of a probability. At best the rest costs nothing, and
#   $s$ stays.
# - $s$ is negative. Divided by a *larger* number it comes closer to 0. So with $\alpha > 0$ the best that can happen
#   is that the hypothesis gets as long as it may: `limit` tokens and EOS.
#
# Its final score is therefore at most $s / (\text{limit} + 1)^\alpha$. If the best finished score is at least that,
# for the best hypothesis in the beam, stopping loses nothing. With $\alpha < 0$ the shortest end is the best one, and
# with $\alpha = 0$ the bound is $s$ itself.
#
# By hand, $\alpha = 1$: the best finished score is $-0.5$. A hypothesis of 4 tokens has $s = -3$; texts may have 9
# tokens. If it ended now and EOS cost nothing it would have $-3 / 5 = -0.6$: it seems lost. But it may still reach
# $-3 / 10 = -0.3$. To stop here would be too early.
#
# **Exercise 9.5** · 15 minutes · difficulty 3 of 5 · core
#
# Write `length_normalised` and the bound, `best_possible`. Lengths and limits may be numbers or tensors. The module
# imports no `torch`, and no more is needed than arithmetic.


# %%
@exercise("9.5")
def length_normalised(log_prob: Tensor, length: Tensor | int, length_penalty: float) -> Tensor:
    """Make scores of texts of different lengths comparable: ``log_prob / length ** length_penalty``.

    Every token makes a text less probable, so that a sum of log-probabilities favours short texts. An exponent of 1
    compares the mean of a token, 0 the sum, and what lies between is a compromise (Wu et al. 2016, section 7, where
    the denominator is ``((5 + length) / 6) ** length_penalty``).

    Args:
        log_prob: of whole texts, EOS included; any shape.
        length: number of tokens that were scored, EOS included, so 1 at least; broadcastable to ``log_prob``.
        length_penalty: the exponent.

    Returns:
        The scores, in the shape of ``log_prob``.
    """
    raise NotImplementedError("exercise 9.5")


def best_possible(log_prob: Tensor, length: int, limit: Tensor | int, length_penalty: float) -> Tensor:
    """A score that no continuation of an unfinished hypothesis can exceed: when to stop a search.

    A hypothesis of ``length`` tokens ends with ``length + 1`` scored tokens at least (EOS now), ``limit + 1`` at most.
    On the way its log-probability, which is not above 0, can only fall, for each further token adds the logarithm of a
    probability. So the best that can happen is that the rest costs nothing, and that the sum is divided by the length
    that is best for a negative number: the longest one if the exponent is positive.

    To compare a finished score with the *present* score of the others, as is often done, is right for an exponent of
    0 only: a hypothesis that is behind may still catch up by its length.

    Args:
        log_prob: of unfinished hypotheses, not above 0; any shape.
        length: their number of tokens.
        limit: most tokens that a hypothesis may have, EOS not counted; broadcastable to ``log_prob``.
        length_penalty: exponent of :func:`length_normalised`.

    Returns:
        An upper bound of the final scores, in the shape of ``log_prob``.
    """
    raise NotImplementedError("exercise 9.5")


# %%
length_normalised, best_possible = check("9.5")

# %% [markdown]
# Stuck? `asr-tutorial hint 9.5` in a terminal, one hint at a time.
#
# **Try it** against a rule that many programs use: stop as soon as the best finished score beats the *present*
# scores in the beam. We invent 200 small languages with random probabilities, write down all texts of up to 6 tokens
# for each (exhaustive search), and count how often each rule misses the best one. The beam has a place for every
# candidate, $3 \cdot 2^6$ of them in the last step: nothing is ever dropped, and whatever is missed is the rule's
# fault. **Predict**: does the present-score rule miss with $\alpha = 0$? With $\alpha = 1$?


# %%
def random_language(seed):
    """Two tokens and EOS; probabilities that depend on the whole prefix."""
    table = torch.randn(128, 3, generator=torch.Generator().manual_seed(seed)) * 1.5
    table[:, EOS] -= 0.5

    def step(prefixes):
        numbers = torch.ones(len(prefixes), dtype=torch.long)
        for column in prefixes[:, 1:].T:  # a text of tokens 1 and 2 as a number in base 2
            numbers = 2 * numbers + column - 1
        return table[numbers].log_softmax(dim=-1)

    return step


def best_of_all(step, limit, alpha):
    """The best score of every text of up to ``limit`` tokens."""
    best, beginnings = -math.inf, {(): 0.0}
    for length in range(limit + 1):
        rows = step(torch.tensor([[-1, *text] for text in beginnings]))
        for (text, log_prob), row in zip(list(beginnings.items()), rows.tolist(), strict=True):
            best = max(best, (log_prob + row[EOS]) / (length + 1) ** alpha)
            del beginnings[text]
            beginnings |= {(*text, token): log_prob + row[token] for token in (1, 2)}
    return best


LIMIT, TRIALS = 6, 200
BOUNDS = {  # what a hypothesis of n tokens with the log-probability s is thought to reach at best
    "present score": lambda s, n, alpha: length_normalised(s, n, alpha),
    "our bound": lambda s, n, alpha: best_possible(s, n, LIMIT, alpha),
}


def missed(bound, alpha):
    """In how many languages a search that stops by a bound misses the best text."""

    def score(log_prob, length):
        return length_normalised(log_prob, length, alpha)

    def stop(best, s, n):
        return best >= bound(s, n, alpha)

    languages = [random_language(seed) for seed in range(TRIALS)]
    found = [small_beam(language, 3 * 2**LIMIT, LIMIT, score, stop)[0] for language in languages]
    return sum(f < best_of_all(language, LIMIT, alpha) - 1e-4 for f, language in zip(found, languages, strict=True))


for alpha in (0.0, 1.0):
    for name, bound in BOUNDS.items():
        print(f"alpha {alpha:.0f}, stop by {name:14} misses the best text in {missed(bound, alpha):3} of {TRIALS}")

# %% [markdown]
# Without normalisation the two rules are the same rule. With it, the present score says "hopeless" of hypotheses
# that go on to win. The right bound has a price: it takes longer to be sure. How much longer, a deep dive at the end
# measures.

# %% [markdown]
# ## On speech
#
# Now the trained recogniser of the bundled corpus. Every sixth sentence of its test set, encoded once; all searches
# below start from the same encoder states.

# %%
recognizer = asr_tutorial.load(REPOSITORY / "data" / "pretrained" / "tinyspeech", device="cpu")
model, tokenizer = recognizer.model, recognizer.tokenizer
utterances = sorted(read_corpus("tinyspeech/test"), key=lambda utterance: utterance.id)[::6]
references = [utterance.text for utterance in utterances]
extract = FeatureExtractor(recognizer.config.features)
features = [extract(torch.from_numpy(read_audio(utterance.audio))[None])[0][0] for utterance in utterances]
with torch.no_grad():
    encoder_out, encoder_mask = model.encode(
        torch.nn.utils.rnn.pad_sequence(features, batch_first=True), torch.tensor([len(f) for f in features])
    )
SOS, END, BLANK = tokenizer.sos_id, tokenizer.eos_id, tokenizer.blank_id
NEVER_SAID = (BLANK, tokenizer.pad_id, SOS)
print(f"{len(utterances)} utterances, encoder states {tuple(encoder_out.shape)}")


def search(**options):
    """The n-best lists of all utterances; a CTC weight of 0 unless one is given: the decoder alone."""
    options = SearchOptions(**{"ctc_weight": 0.0, **options})
    return joint_search(model, encoder_out, encoder_mask, SOS, END, BLANK, NEVER_SAID, options)


def texts_of(hypotheses):
    return [tokenizer.decode(best.tokens) for best, *_ in hypotheses]


# %% [markdown]
# ### A wider beam is better, or is it?
#
# A wide beam finds more probable texts. **Predict**: how does the character error rate go when the beam grows from 1
# to 20?

# %% tags=["nbval-ignore-output"]
WIDTHS = (1, 2, 4, 10, 20)
by_sum = [texts_of(search(beam_size=width)) for width in WIDTHS]
by_mean = [texts_of(search(beam_size=width, length_penalty=1.0)) for width in WIDTHS]
with plots.style():
    _, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for place, (name, found) in enumerate((("sum of log-probabilities", by_sum), ("mean of a token", by_mean))):
        line = {"color": plots.COLORS[place], "linestyle": plots.DASHES[place], "marker": "o", "label": name}
        left.plot(WIDTHS, [100 * cer(references, texts) for texts in found], **line)
        shares = [100 * sum(map(len, texts)) / sum(map(len, references)) for texts in found]
        right.plot(WIDTHS, shares, **line)
    left.set(
        title="By the sum, a wider beam is worse", xlabel="beam size", ylabel="character error rate (%)", ylim=(0, None)
    )
    right.set(title="because it finds texts that stop early", xlabel="beam size", ylabel="letters written (% of said)")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(WIDTHS, [str(width) for width in WIDTHS])
    left.legend()
    plt.show()

# %% [markdown]
# Two hypotheses are better than one. From there on, the better the *search*, the worse the *text*. The model thinks
# that some sentences are most probably over at once: EOS as the first token costs some
# [nats](../docs/glossary.md#nat), and a whole sentence with a few difficult letters costs more. A narrow beam never
# sees the early end, since it is far behind in its first step. A wide one keeps it. So it is not the search that errs
# but the model: this is called [length bias](../docs/glossary.md#length-bias), and most sequence-to-sequence models
# have it to some degree. With the mean of a token the trouble is gone. Here is one of the sentences, and what the
# model thinks of two texts for it:

# %% tags=["nbval-ignore-output"]
shortest = min(range(len(references)), key=lambda row: len(by_sum[3][row]) / len(references[row]))
print("said            ", references[shortest])
for width, texts in zip(WIDTHS, by_sum, strict=True):
    print(f"beam of {width:2}, sum ", texts[shortest])
print("beam of 10, mean", by_mean[3][shortest])
for name, alpha in (("sum", 0.0), ("mean", 1.0)):
    best = search(length_penalty=alpha)[shortest][0]
    tokens = len(best.tokens) + 1
    print(
        f"best by the {name:4}: log-probability {best.log_prob:6.2f} of {tokens:2} tokens, {best.log_prob / tokens:6.2f} each"
    )

# %% [markdown]
# ### Loops
#
# The opposite also happens: the decoder says a piece twice, because its attention has fallen back to a place that it
# has heard already (chapter 06 showed one). Two penalties were invented against such mistakes:
#
# - the [repeat penalty](../docs/glossary.md#repeat-penalty) multiplies the log-probability of every token that the
#   hypothesis holds already, so that with a factor above 1 it becomes less probable;
# - the [coverage penalty](../docs/glossary.md#coverage-penalty) takes a number of nats, $\beta$, off the score for each
#   encoder frame $t$ that no token has listened to: with the attention weight $a_{u,t}$ of token $u$ on frame $t$,
#   $\beta$ times the number of frames with $\sum_u a_{u,t} < 0.1$.
#
# Both only lower scores, so the bound from above still holds. **Predict** which of the two mends a loop. The cell takes
# the sentence whose greedy text has the most repeated words that nobody said twice:

# %% tags=["nbval-ignore-output"]
greedy = [tokenizer.decode(h.tokens) for h in greedy_search(model, encoder_out, encoder_mask, SOS, END, NEVER_SAID)]


def repeated(text):
    """How many words of a text have been said before."""
    words = text.split()
    return len(words) - len(set(words))


def surplus(row):
    return repeated(greedy[row]) - repeated(references[row])


loop = max(range(len(greedy)), key=surplus)
rows = {
    "said": references,
    "greedy": greedy,
    "beam, mean": by_mean[3],
    "repeat penalty 1.5": texts_of(search(length_penalty=1.0, repeat_penalty=1.5)),
    "coverage penalty 0.3": texts_of(search(coverage_penalty=0.3)),
    "joint with CTC": texts_of(search(ctc_weight=0.3)),
}
for name, texts in rows.items():
    print(f"{name:21} CER {100 * cer(references, texts):5.1f} %   {texts[loop]}")

# %% [markdown]
# Neither does. The repeat penalty comes from language models with tens of thousands of tokens. Here the tokens are
# letters, and after half a sentence most of them have been said: right ones and wrong ones are punished alike. The loop
# stays, and the error rate is higher than without. The coverage penalty works against texts that stop early, for their
# last frames have not been heard: its line is a beam of 10 by the sum, and without the penalty that was the worst but
# one of the plot above. Saying a piece twice gains nothing, but costs nothing either. Both treat symptoms. The last
# line is of another kind.

# %% [markdown]
# ## Two heads
#
# CTC cannot loop and cannot stop early: every one of its paths walks through all frames, once and in order. The
# decoder knows how words are spelt. So let both score each hypothesis $y$:
#
# $$\text{score}(y) = \lambda \log P_{\text{CTC}}(y) + (1 - \lambda) \log P_{\text{att}}(y).$$
#
# $\lambda$ is the CTC weight. This is a *log-linear* combination, a product of powers of probabilities. So each
# scorer can forbid: by hand, let one hold a token for probable (0.9) and the other for all but impossible (0.001).
# With $\lambda = 0.5$ the combined value is $\sqrt{0.9 \cdot 0.001} = 0.03$. The mean of the probabilities would be
# 0.45, and the warning would be lost.
#
# A search needs scores token by token. The decoder has them. For CTC take the probability that the transcript
# *starts* with a prefix: dividing the one of "HE" by the one of "H" gives the probability of E after H. Deep dive 9.7
# computes them; until then it is a black box that returns `(batch, beam, vocab)` as the decoder does, with $-\infty$
# for what would need more frames than there are.
#
# **Exercise 9.6** · 10 minutes · difficulty 2 of 5 · core
#
# Write `combine`, the weighted sum of any number of scorers. Think of two things: what $0 \cdot (-\infty)$ is for a
# computer, and that the scorers need their tensors afterwards. Inside the function `torch` is known.


# %%
@exercise("9.6")
def combine(weights: Sequence[float], log_probs: Sequence[Tensor]) -> Tensor:
    """The weighted sum of what several scorers say of the same tokens (log-linear combination).

    A token that one scorer holds to be impossible, with minus infinity, is impossible, whatever the others say. A
    scorer with a weight of 0 has no say at all: 0 times minus infinity would be no number.

    Args:
        weights: of each scorer, 0 or more, at least one above 0.
        log_probs: of each scorer, all of one shape, such as (batch, beam, vocab).

    Returns:
        A new tensor of the same shape.
    """
    raise NotImplementedError("exercise 9.6")


# %%
combine = check("9.6")

# %% [markdown]
# Stuck? `asr-tutorial hint 9.6` in a terminal, one hint at a time.
#
# **Try it**: the joint search runs on your `combine`. **Predict** the best weight, and what it gains over either head
# alone.

# %% tags=["nbval-ignore-output"]
SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
joint = [by_mean[3] if share == 0 else texts_of(search(ctc_weight=share)) for share in SHARES]
with plots.style():
    _, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for place, (name, rate) in enumerate((("words", wer), ("characters", cer))):
        axes.plot(
            SHARES,
            [100 * rate(references, texts) for texts in joint],
            color=plots.COLORS[place],
            linestyle=plots.DASHES[place],
            marker="o",
            label=name,
        )
    axes.axhline(100 * wer(references, greedy), color="#888888", linewidth=1, linestyle=":")
    axes.annotate(
        "greedy, words", (0.62, 100 * wer(references, greedy)), (0, 3), textcoords="offset points", fontsize=8
    )
    axes.set(title="Either head alone is worse than both", xlabel="CTC weight", ylabel="error rate (%)", ylim=(0, None))
    axes.legend()
    plt.show()
for name, texts in (("greedy", greedy), ("decoder, beam of 10", by_mean[3]), ("joint, CTC weight 0.5", joint[3])):
    print(f"{name:23} WER {100 * wer(references, texts):5.1f} %   CER {100 * cer(references, texts):4.1f} %")

# %% [markdown]
# At the left end the decoder is alone (and its beam takes the mean, or it would be off the picture), at the right end
# CTC. In the middle the joint search makes less than half of the mistakes of the greedy one, with the same weights.
# The exact weight matters little: between 0.3 and 0.7 the points differ by a few words out of two hundred. Nor may it be
# chosen here, for these are sentences of the test set, and a search that is tuned on them would look better than it is.
# Settings are chosen on a development set; the default is 0.3. What the search heard in the sentences from above:

# %% tags=["nbval-ignore-output"]
for row in (shortest, loop):
    print(f"said    {references[row]}\ndecoder {by_mean[3][row]}\nCTC     {joint[-1][row]}\njoint   {joint[3][row]}\n")

# %% [markdown]
# ### How sure is it?
#
# Each token of a hypothesis has the probability with which it came after those before it. That is its
# [confidence](../docs/glossary.md#confidence); a word has the product of its tokens. In a joint search it is what
# `combine` made of both heads, $p_{\text{CTC}}^{\lambda} \, p_{\text{att}}^{1 - \lambda}$. `Recognizer.transcribe`
# returns confidences, and with `n_best` also the alternatives with their scores, an
# [n-best list](../docs/glossary.md#n-best-list):

# %% tags=["nbval-ignore-output"]
doubtful = max(range(len(references)), key=lambda row: wer([references[row]], [joint[2][row]]))
transcript = recognizer.transcribe(utterances[doubtful].audio, search="joint", options=SearchOptions(n_best=4))
with plots.style():
    _, axes = plt.subplots(figsize=(9, 2.4), layout="constrained")
    names = [word.text for word in transcript.words]
    aligned = differences(references[doubtful], transcript.text)  # stretches of words that agree or differ
    right = [part.kind == "equal" for part in aligned for _ in part.hypothesis.split()]
    bars = [plots.COLORS[0] if good else plots.COLORS[1] for good in right]
    axes.bar(range(len(names)), [word.confidence for word in transcript.words], color=bars, width=0.6)
    for place, good in enumerate(right):
        if not good:
            axes.annotate("wrong", (place, 0.03), ha="center", color="black", fontsize=8)
    axes.set_xticks(range(len(names)), names)
    axes.set(title=f"How sure it is of each word; said: {references[doubtful]}", ylabel="confidence", ylim=(0, 1))
    plt.show()
for alternative in transcript.n_best:
    print(f"{alternative.score:7.2f}  {alternative.text}")

# %% [markdown]
# Low bars are good places to look for mistakes: words that are wrong, or that follow one that was left out. But a
# confidence is the model's own opinion. Where its ears deceive it, it is wrong with conviction. And the alternatives
# mostly differ in the doubtful places.
#
# ### Sampling
#
# Sampling is not made for finding the best text. It shows what else the model holds to be possible. **Predict** what
# a temperature of 2 does to the spelling.

# %% tags=["nbval-ignore-output"]
one = slice(doubtful, doubtful + 1)
for settings in ({"temperature": 0.3}, {"temperature": 1.0}, {"temperature": 2.0}, {"temperature": 2.0, "top_p": 0.3}):
    print(settings)
    for seed in range(3):
        (drawn,) = sample_search(
            model, encoder_out[one], encoder_mask[one], SOS, END, NEVER_SAID,
            generator=torch.Generator().manual_seed(seed), **settings,
        )  # fmt: skip
        print(f"  {drawn.score:8.1f}  {tokenizer.decode(drawn.tokens)}")

# %% [markdown]
# The numbers are the model's own log-probabilities. A temperature of 0.3 is nearly greedy. At 2.0 the words fall
# apart: in each step the many improbable letters together have a good chance, and after one wrong letter the decoder
# is in a place that it has never been in. Top-p cuts that tail off: in the last three texts the temperature is the same,
# and most of the spelling is back.

# %% [markdown]
# ## What it costs
#
# Let $N$ be the number of tokens, $K$ the beam size and $B$ the batch. Each step asks the decoder about $K$
# hypotheses of $B$ utterances: $O(KN)$ rows for one utterance, $O(BKN)$ for a batch. Count them, and measure the time
# that a row takes:


# %% tags=["nbval-ignore-output"]
def count_rows(batch, beam_size, tokens):
    """Rows that a beam search asks a step about, when no text ever ends."""
    asked = []

    def step(prefixes):
        asked.append(len(prefixes))
        rows = torch.full((len(prefixes), 5), -1.6)
        rows[:, 0] = -math.inf  # EOS
        return rows

    beam_search(step, torch.zeros(batch, 1, dtype=torch.long), beam_size, tokens - 1, eos=0)
    return sum(asked)


def seconds_per_step(batch, beam_size, steps=12):
    """Time of one step of the decoder's beam search (no text may end before)."""
    rows = torch.arange(batch) % len(encoder_out)
    options = SearchOptions(beam_size=beam_size, ctc_weight=0.0, max_length=steps)
    banned = (*NEVER_SAID, END)
    started = time.perf_counter()
    joint_search(model, encoder_out[rows], encoder_mask[rows], SOS, END, BLANK, banned, options)
    return (time.perf_counter() - started) / (steps + 1)


seconds_per_step(1, 1)  # the first call is slower
with plots.style():
    _, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for place, (batch, beam_size) in enumerate(((1, 1), (1, 4), (1, 10), (4, 10))):
        lengths = (5, 10, 20, 40)
        counted = [count_rows(batch, beam_size, length) for length in lengths]
        left.plot(lengths, counted, color=plots.COLORS[place], linestyle=plots.DASHES[place], marker="o")
        left.annotate(
            f"B = {batch}, K = {beam_size}", (lengths[-1], counted[-1]), (4, -3), textcoords="offset points", fontsize=8
        )
    left.set(title="Rows asked for: B K N", xlabel="tokens N", ylabel="rows", xlim=(0, 55))
    sizes = (1, 2, 4, 8, 16, 32)
    for place, batch in enumerate((1, 8)):
        times = [1000 * seconds_per_step(batch, size) / (batch * size) for size in sizes]
        line = {"color": plots.COLORS[place], "linestyle": plots.DASHES[place], "marker": "o", "label": f"B = {batch}"}
        right.plot(sizes, times, **line)
    right.set(
        title="but a row is cheaper in company", xlabel="beam size K", ylabel="time of a row (ms)", ylim=(0, None)
    )
    right.set_xscale("log", base=2)
    right.set_xticks(sizes, [str(size) for size in sizes])
    right.legend()
    plt.show()

# %% [markdown]
# The count grows with each of the three, as the formula says. The time grows far more slowly: a step of one row keeps the
# processor busy with fetching weights and starting operations, and many rows share that. That is why a search should ask
# about all hypotheses of all utterances in one call. (On a GPU the effect is larger still.)
#
# A row here is *one new token*: the cache of chapter 06 holds the keys and values of those before it. Without it each
# step would read whole prefixes, and the decoder would compute $O(BKN^2)$ positions in the place of $O(BKN)$.
#
# Two more things make `joint_search` fast:
#
# - **Hypotheses share their beginnings**, so they form a tree. The usual cache of keys and values has a copy for
#   each hypothesis, and copies them around whenever the beam changes. Here each token's key and value are computed
#   once and stay where they are. Which of them a hypothesis may see is a mask: its own ancestors. When the beam changes,
#   rows of this mask are exchanged, and nothing else. (Now and then branches that have died out are removed.)
# - **The sound belongs to the utterance.** All hypotheses of an utterance attend to the same encoder states, whose
#   keys and values are kept once: $K$ queries, one set of keys.

# %%
show("decoder.TreeCache.follow")

# %% [markdown]
# And company must change nothing. **Try it**: some utterances alone, without their neighbours and the padding that
# these bring, beside the same ones in the batch of all.

# %%
together = search(ctc_weight=0.3, n_best=3)
for row in range(4):
    frames = int(encoder_mask[row].sum())
    (alone,) = joint_search(
        model, encoder_out[[row], :frames], encoder_mask[[row], :frames], SOS, END, BLANK, NEVER_SAID,
        SearchOptions(ctc_weight=0.3, n_best=3),
    )  # fmt: skip
    same_texts = all(a.tokens == b.tokens for a, b in zip(alone, together[row], strict=True))
    same_scores = all(abs(a.score - b.score) < 1e-4 for a, b in zip(alone, together[row], strict=True))
    print(f"{frames:3} of {encoder_mask.shape[1]} frames: same three texts {same_texts}, same scores {same_scores}")

# %% [markdown]
# ## Deep dive: CTC scores every next token
#
# Optional; chapter 07 first. Joint search needs $\psi(g\,c)$: the probability that the transcript starts with the
# prefix $g$ and then the token $c$, for all hypotheses $g$ and all tokens $c$, at each step.
#
# Let $\phi_t(g)$ be the probability of all CTC paths of the first $t$ frames that say exactly $g$. In exactly one
# frame a path says $c$ for the first time after $g$; call it frame $t$ (counted from 0). Before it, $t$ frames have
# said $g$. What comes after it does not matter, for we ask for the beginning only. So
#
# $$\psi(g\,c) = \sum_{t=0}^{T-1} \phi_t(g) \; p_t(c),$$
#
# with $T$ frames and $p_t(c)$ the probability of $c$ in frame $t$. That is a matrix product: $\phi$ has the shape
# (hypotheses, $T$), $p$ has ($T$, vocab). One exception: if $c$ is the *last token of $g$*, a path that ends in it
# merely goes on saying it. Then only those paths count that end in a blank, $\phi_t^{b}(g)$.
#
# By hand: two frames, blank has 0.4 and 0.3, A has 0.6 and 0.7. The empty prefix has $\phi_0 = 1$, $\phi_1 = 0.4$
# (and $\phi_2 = 0.12$, which nobody needs here). So $\psi(A) = 1 \cdot 0.6 + 0.4 \cdot 0.7 = 0.88$. The only path
# without an A, two blanks, has $0.12$: together 1.
#
# **Exercise 9.7** · 25 minutes · difficulty 4 of 5 · optional
#
# Write `next_token_scores`. $\phi$ and $\phi^{b}$ come as logarithms, `either` and `blank`, of shape `(batch, n,
# time + 1)`: entry $t$ belongs to $t$ frames. They may be as low as $-5000$: take each prefix's largest entry out
# before `exp`, and add it again at the end. The blank's own column does not matter, it is overwritten later.


# %%
@exercise("9.7")
def next_token_scores(either: Tensor, blank: Tensor, last: Tensor, probs: Tensor) -> Tensor:
    """Log-probability that a transcript starts with a prefix and one more token, for all tokens.

    The sum over frames t of ``either[t] * probs[t]``: the first t frames have said the prefix, and frame t (counted
    from 0) is the first that says the token. If the prefix ends in this very token, a blank must have come between, so
    that ``blank`` takes the place of ``either``. Each prefix is scaled by its largest entry before exp, so that what is
    lost by underflow is e^-700 times smaller.

    Args:
        either: (batch, n, time + 1) log-probability, for each number of frames from 0 on, of all paths of so many
            frames that say the prefix.
        blank: (batch, n, time + 1) the same, only of paths that end in a blank.
        last: (batch, n) last token of each prefix; -1 for empty ones.
        probs: (batch, vocab, time) probabilities, not logarithms.

    Returns:
        (batch, n, vocab).
    """
    raise NotImplementedError("exercise 9.7")


# %%
next_token_scores = check("9.7")

# %% [markdown]
# Stuck? `asr-tutorial hint 9.7` in a terminal, one hint at a time.
#
# **Try it**: walk along a sentence and ask what may come next, by the sound alone. Only the places of doubt are
# printed.

# %% tags=["nbval-ignore-output"]
row = 1
scorer = PrefixScorer(model.ctc_log_probs(encoder_out[[row]]).detach(), encoder_mask[[row]].sum(dim=1), BLANK, END)
state, so_far = scorer.initial_state(), []
print("said:", references[row])
for token in tokenizer.encode(references[row]):
    scores = scorer.score(state)  # (1, 1, vocab)
    shares = (scores - state.score[..., None]).exp()[0, 0]  # after what has been written
    likely = shares.topk(3)
    if likely.values[0] < 0.9:
        names = [f"{tokenizer.id_to_token(int(t))} {float(p):.2f}" for p, t in zip(*likely, strict=True)]
        said = "".join(tokenizer.id_to_token(token) for token in so_far)  # the space as a mark of its own
        print(f"after {said:32}", ", ".join(names))
    state = scorer.extend(state, torch.zeros(1, 1, dtype=torch.long), torch.tensor([[token]]), scores)
    so_far.append(token)

# %% [markdown]
# ## Deep dive: a recurrence without a loop
#
# Optional. When the search has chosen $g\,c$, its own $\phi$ is needed. Two rows are kept for it, of paths that end in
# the token, $r^{n}$, and in a blank, $r^{b}$. Both obey a recurrence over frames,
#
# $$r_{t+1} = p_t \, (r_t + a_t), \qquad r_0 = 0,$$
#
# where $a_t$ is what *arrives*: at the token from $\phi_t(g)$ (or $\phi^b_t(g)$ for a repeated token), at the blank from
# $r^{n}_t$. A loop over $T$ frames in Python is hundreds of small operations at each step of the search. But this is a
# linear recurrence, and it has a closed form. With the running product $P_t = p_0 p_1 \cdots p_t$ (and $P_{-1} = 1$)
# divide both sides:
#
# $$\frac{r_{t+1}}{P_t} = \frac{r_t}{P_{t-1}} + \frac{a_t \, p_t}{P_t}.$$
#
# The quotient on the left is the one before plus something known: it is a running sum. In logarithms a running
# product is `cumsum`, a running sum is `logcumsumexp`.
#
# By hand: $p = (0.5, 0.2, 1)$, $a = (1, 0.5, 0)$. The loop gives $r = 0,\; 0.5,\; 0.2\,(0.5 + 0.5) = 0.2,\; 0.2$. The
# closed form: $P = (0.5, 0.1, 0.1)$, $a p / P = (1, 1, 0)$, running sum $(1, 2, 2)$, times $P$: $0.5,\; 0.2,\; 0.2$.
#
# $P_t$ falls to $e^{-1000}$ and lower, which no float can hold. Its logarithm is a harmless $-1000$. But sums of such
# numbers must be exact to small fractions of 1: in fp32 they have four digits behind the point, in float64 twelve. So
# `PrefixScorer` computes in float64.
#
# **Exercise 9.8** · 25 minutes · difficulty 5 of 5 · optional
#
# Write `linear_recurrence` without a loop, and `extend_states` with it. The result has one entry more than
# `log_probs`: $r_0$ in front, which is $-\infty$ as a logarithm. `start_with(value, x)` puts a value in front of the
# last axis.


# %%
@exercise("9.8")
def linear_recurrence(arrivals: Tensor, log_probs: Tensor) -> Tensor:
    """Solve ``r[t + 1] = p[t] * (r[t] + arrivals[t])`` from ``r[0] = 0``, all in logarithms.

    With P[t] = p[0] ... p[t], the quotient r[t + 1] / P[t] grows by arrivals[t] * p[t] / P[t] at each step.

    Args:
        arrivals: (..., time + 1) log-probabilities; the last is not used.
        log_probs: (..., time), finite.

    Returns:
        (..., time + 1).
    """
    raise NotImplementedError("exercise 9.8")


def extend_states(before: Tensor, token: Tensor, blank: Tensor) -> tuple[Tensor, Tensor]:
    """Paths that say a longer prefix, for each number of frames, by the two recurrences of CTC.

    A path that ends in the new token either stays in it or comes to it from ``before``; one that ends in a blank stays
    there or comes from the token: ``r_token[t + 1] = token[t] * (r_token[t] + before[t])`` and
    ``r_blank[t + 1] = blank[t] * (r_blank[t] + r_token[t])``.

    Args:
        before: (..., time + 1) log-probability of the paths from which the new token may be said.
        token: (..., time) log-probabilities of the new token.
        blank: (..., time) log-probabilities of the blank.

    Returns:
        ``r_token`` and ``r_blank``, (..., time + 1) log-probabilities.
    """
    raise NotImplementedError("exercise 9.8")


# %%
linear_recurrence, extend_states = check("9.8")

# %% [markdown]
# Stuck? `asr-tutorial hint 9.8` in a terminal, one hint at a time.
#
# **Try it** beside the loop, on 40 hypotheses of 250 frames:

# %% tags=["nbval-ignore-output"]
arrivals, p = (torch.randn(40, size, generator=torch.Generator().manual_seed(0)).double() - 3 for size in (251, 250))


def by_a_loop(arrivals, p):
    r = [torch.full((len(p),), -math.inf, dtype=p.dtype)]
    for t in range(p.shape[1]):
        r.append(p[:, t] + torch.logaddexp(r[-1], arrivals[:, t]))
    return torch.stack(r, dim=1)


for name, solve in (("loop", by_a_loop), ("closed form", linear_recurrence)):
    solve(arrivals, p)
    started = time.perf_counter()
    for _ in range(5):
        solved = solve(arrivals, p)
    print(f"{name:12} {1000 * (time.perf_counter() - started) / 5:6.2f} ms")
print(
    "largest difference:", f"{float((by_a_loop(arrivals, p) - linear_recurrence(arrivals, p))[:, 1:].abs().max()):.0e}"
)
narrow = linear_recurrence(arrivals.float(), p.float()).double()
print("the same in fp32:  ", f"{float((by_a_loop(arrivals, p) - narrow)[:, 1:].abs().max()):.0e}")

# %% [markdown]
# ## Deep dive: the price of being sure
#
# Optional. With a length penalty of 1 the right stopping rule compares with $s / (\text{limit} + 1)$. The limit of an
# utterance is its number of encoder frames, far more than its letters, so that the bound is generous and the search
# goes on for a while after it has found the best text. For how long? **Predict** which $\alpha$ goes on longest. The
# steps of each utterance are counted, and an utterance that is done takes no more of them.


# %% tags=["nbval-ignore-output"]
class Counting:
    """The model, with a count of its decoder's steps: one for each utterance that is still searched."""

    def __init__(self):
        self.steps = 0

    def __getattr__(self, name):
        return getattr(model, name)

    def decode_tree(self, newest, *arguments):
        self.steps += len(newest)  # (utterances, beam)
        return model.decode_tree(newest, *arguments)


print(f"as long as the limits allow: {int(encoder_mask.sum()) + len(encoder_mask)} steps")
for alpha in (0.0, 0.5, 1.0):
    counted = Counting()
    options = SearchOptions(ctc_weight=0.0, length_penalty=alpha)
    found = joint_search(counted, encoder_out, encoder_mask, SOS, END, BLANK, NEVER_SAID, options)
    needed = sum(len(best.tokens) + 1 for best, *_ in found)
    print(f"alpha {alpha}: {counted.steps} steps for best texts of {needed} tokens, EOS included")

# %% [markdown]
# The bound of $\alpha = 1$ is the most generous one, and yet it costs no more than the others. What goes on after the
# best text has ended are hypotheses that have refused to end. Each refusal costs them some nats, and so the bound is
# reached before long. With $\alpha = 0$ there is another reason to go on: a text that stops early has ended at once, but
# the full sentence in the beam is still the more probable one, until its difficult letters come.

# %% [markdown]
# ## The usual mistakes
#
# | mistake | what you see |
# |---|---|
# | finished hypotheses are extended | EOS in the middle of texts; the beam fills with what is over; scores of long texts too low |
# | an EOS counts wherever it ranks | short texts win, the more the wider the beam |
# | no length normalisation, wide beam | whole sentences missing; the error rate rises with the beam size |
# | stopping by the present score | with $\alpha > 0$ the result depends on when the search happened to stop |
# | a stopping rule for the whole batch, or one limit for all | an utterance is recognised differently in another batch |
# | cache rows not exchanged with the beam | the first words are right, then hypotheses continue each other's texts |
# | parents from `index % vocab` | nonsense from the second step on; a beam of one works |
# | all $K$ hypotheses start alike | they stay alike: a beam of $K$ equal texts. All but one must begin with $-\infty$ |
# | logits added instead of log-probabilities | one scorer drowns the other, by an amount that changes from step to step |
# | $0 \cdot (-\infty)$ in a weighted sum | NaN, and `topk` takes NaN for the largest |
# | repeat penalty on letters | double letters and common letters vanish |

# %% [markdown]
# ## Three questions
#
# **1.** A beam search with a beam as wide as the number of all texts is exhaustive. Will it make fewer mistakes than
# a beam of 4?
#
# <details><summary>Answer</summary>
#
# It finds the most probable text, always. Whether that is the right one is for the model to say. Where the model has
# a length bias the exhaustive search makes *more* mistakes, as the first plot on speech shows: the narrow beam was
# protected by what it did not see.
#
# </details>
#
# **2.** Why does an end count only if it ranks among the best $K$, when all $2K$ candidates have been computed anyway?
#
# <details><summary>Answer</summary>
#
# Because a beam of $K$ stands for "keep $K$". If every EOS counted, each hypothesis would end at each step, at
# whatever price, and all these early ends would be compared with the full texts. With $\alpha = 0$ that makes the
# length bias much stronger: even a beam of one, which should be greedy search, would compare all its own beginnings.
#
# </details>
#
# **3.** You add a bonus of 0.5 for each token, so that longer texts are not at a disadvantage. Is the stopping rule
# still right?
#
# <details><summary>Answer</summary>
#
# No. The bound rests on scores that can only fall. With the bonus a hypothesis may *gain* up to 0.5 for each token
# that is still allowed. The bound has to include that: for the sum, $s + 0.5 \cdot (\text{limit} - n)$, where $s$ holds
# the bonuses so far, and one more 0.5 if EOS gets a bonus too.
#
# </details>

# %% [markdown]
# ## Where this goes next
#
# `combine` takes any number of scorers. Chapter 10 adds one that has never heard a sound: a language model trained on
# text alone. It joins in the beam (shallow fusion), or looks through the n-best list afterwards (rescoring).
#
# From the command line: `asr-tutorial evaluate --search joint --beam-size 10 --ctc-weight 0.3`, and
# `asr-tutorial transcribe --search joint --nbest 5 --json` for alternatives and confidences.
#
# ## References
#
# - S. Watanabe et al., [Hybrid CTC/attention architecture for end-to-end speech
#   recognition](https://doi.org/10.1109/JSTSP.2017.2763455), 2017: joint decoding with CTC prefix scores.
# - A. Graves, [Supervised sequence labelling with recurrent neural networks](https://doi.org/10.1007/978-3-642-24797-2),
#   2012: prefix search, section 7.5.
# - Y. Wu et al., [Google's neural machine translation system](https://arxiv.org/abs/1609.08144), 2016, section 7:
#   length normalisation and a coverage penalty.
# - J. Chorowski and N. Jaitly, [Towards better decoding and language model integration in sequence to sequence
#   models](https://arxiv.org/abs/1612.02695), 2016: texts that stop early, and coverage for speech.
# - K. Murray and D. Chiang, [Correcting length bias in neural machine translation](https://arxiv.org/abs/1808.10006),
#   2018: why wide beams are worse.
# - A. Holtzman et al., [The curious case of neural text degeneration](https://arxiv.org/abs/1904.09751), 2019:
#   sampling, loops, and top-p.
# - A. Fan, M. Lewis, Y. Dauphin, [Hierarchical neural story generation](https://arxiv.org/abs/1805.04833), 2018: top-k.
# - N. S. Keskar et al., [CTRL](https://arxiv.org/abs/1909.05858), 2019, section 4.1: the repeat penalty.
