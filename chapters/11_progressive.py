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
# # 11 · Progressive training
#
# So far a model had all of its layers, all of its data and all of its regularisation from the first step to the last. In this
# chapter it grows: it begins with one layer, which is quick and easy to train, and gets more while it learns. You write how new
# layers come in without disturbing what the others know, what a stage of such a training sets, and when it ends. At the end you
# launch a long run of your own and put it beside ours.
#
# **You need** the encoder and decoder layers (chapters 05 and 06) and the training step (08); the run at the end uses the searches of 09
# and the language models of 10. **Time**: about 3 hours; the core exercises take half of them. The run takes as long as your machine
# needs, without you.
#
# | exercise | what you write | minutes | difficulty | |
# |---|---|---|---|---|
# | 11.1 | a layer that does nothing yet | 10 | 2 | core |
# | 11.2 | a deeper stack around the old one | 20 | 3 | core |
# | 11.3 | dropout everywhere | 10 | 1 | core |
# | 11.4 | rest: parameters that do not learn | 10 | 2 | core |
# | 11.5 | which share of the data | 15 | 2 | core |
# | 11.6 | when a stage is over | 20 | 3 | core |
# | 11.7 | reading one's own guesses | 20 | 3 | optional |

# %%
from asr_tutorial.course import check, exercise, here, show

import copy
import json
from collections.abc import Callable, Iterable, Sequence

import torch
from IPython.display import Image, Markdown, display
from matplotlib import pyplot as plt
from torch import Tensor, nn

from asr_tutorial import plots
from asr_tutorial.config import Config, StageConfig, load_config
from asr_tutorial.corpus import read_corpus
from asr_tutorial.corpus.read import REPOSITORY
from asr_tutorial.course.my_run import plan_run, recorded_run, show_run
from asr_tutorial.dataset import Batch
from asr_tutorial.metrics import cer
from asr_tutorial.model import build_model
from asr_tutorial.progressive import OUTPUTS, Place, Stage, grow, plan_stages
from asr_tutorial.recognizer import decode_batch
from asr_tutorial.synthetic import SyntheticTask
from asr_tutorial.training.loss import Sizes
from asr_tutorial.training.step import Stepper

# %%
here("11")

# %% [markdown]
# ## Why grow?
#
# Three reasons are given for it, and they are worth keeping apart:
#
# - **Cost.** A step of a model with $L$ layers takes about $L$ times as long as one with a single layer (plus the front end). If the
#   early part of the training can be done by few layers, it is cheaper.
# - **Ease.** A deep random stack is a long way for a gradient. Early work on deep networks could not train them otherwise; residual
#   connections and pre-norm have made this reason weak.
# - **Order.** People learn easy things first. Short utterances, little noise, weak regularisation, then more of everything: a
#   [curriculum](../docs/glossary.md#curriculum).
#
# Whether it *pays*, and for which of the three reasons, is a question for an experiment. You will see one below.
#
# A [stage](../docs/glossary.md#stage) is a part of a training with settings of its own. Written as YAML:
#
# ```yaml
# progressive:
#   kind: stages
#   stages:
#     - {encoder_layers: 1, decoder_layers: 1, epochs: 3, data: 0.5, order: short, dropout: 0.0}
#     - {encoder_layers: 3, epochs: 3, data: 1.0, dropout: 0.1}
#     - {encoder_layers: 6, decoder_layers: 2}
# ```
#
# What a stage does not say is as in the stage before; only its end is its own. The last stage has none: it is the training of the full
# model. `kind: doubling` writes such a list by itself:

# %%
for stage in plan_stages(
    load_config("mini_librispeech", ["--progressive.kind=doubling", "--progressive.stage_epochs=4"])
):
    end = f"{stage.epochs} epochs" if stage.epochs else "the rest of the training"
    print(f"{stage.encoder_layers:2} + {stage.decoder_layers} layers, dropout {stage.dropout}, {end}")

# %% [markdown]
# A decoder that begins as a language model (chapter 10) has all of its layers from the first stage: what it knows about text is not to be
# learnt again.
#
# ## A layer that does nothing yet
#
# Put a random layer on top of a trained stack, and everything above it reads noise: the loss jumps, and while it comes down again,
# large gradients spoil what was learnt. A new layer must come in without being noticed.
#
# Pre-norm makes that easy. With $x$ of shape `(batch, time, d_model)`, each sublayer $f$ of a layer computes
#
# $$x \leftarrow x + f(\mathrm{norm}(x)), \qquad f(u) = W\,g(u) + b,$$
#
# where $g(u)$ stands for all that the sublayer does before its last projection, whose weight is $W$ and whose bias is $b$. If $W = 0$
# and $b = 0$, then $x \leftarrow x + 0$: the layer is the identity, exactly.
#
# By hand, with one number in the place of a vector: $x = 2$, $g = 3$, $W = 0$, $b = 0$. The output is $2 + 0 \cdot 3 + 0 = 2$. Can it learn?
# Let $\delta$ be the gradient of the loss at the output, say $\delta = 0.5$. Then
#
# - $\partial \mathcal{L} / \partial W = \delta\, g = 1.5$: the projection gets a gradient at once;
# - $\partial \mathcal{L} / \partial g = \delta\, W = 0$: what lies before it gets none, at this step. After it $W$ is no longer 0, and it does.
#
# If $g$ were 0 as well, because the weights before it are 0, then $W$ and these weights would stay 0 for good, and only $b$ would learn. So only the
# last projection of each sublayer is set to zero, and everything before it keeps its random weights.
#
# Which projection is the last? For the three kinds of sublayer that our layers are made of, the library has a table:

# %%
for kind, name in OUTPUTS.items():
    print(f"{kind.__name__:20} {name}")

# %% [markdown]
# **Exercise 11.1** · 10 minutes · difficulty 2 of 5 · core
#
# Write `make_identity`. Inside the function `OUTPUTS` and `torch` are known.


# %%
@exercise("11.1")
@torch.no_grad()
def make_identity(layer: nn.Module) -> nn.Module:
    """Let a layer pass on unchanged what it is given: the last projection of each of its sublayers becomes zero.

    Each sublayer adds its output to the residual stream, and now adds nothing. Its other weights stay as they are, so
    that its last projection gets a gradient at once, and through it, a step later, the others do.

    Args:
        layer: an encoder or decoder layer; the sublayers in it are the modules whose class :data:`OUTPUTS` names, and
            the projection of each is the attribute named there. Weight and bias (where there is one) become zero.

    Returns:
        The layer itself, changed.
    """
    raise NotImplementedError("exercise 11.1")


# %%
make_identity = check("11.1")

# %% [markdown]
# Stuck? `asr-tutorial hint 11.1` in a terminal, one hint at a time.
#
# **Try it** on a layer with a convolution. What goes in comes out, and the first step wakes it up:

# %%
torch.manual_seed(0)
small = load_config("tinyspeech", ["--model.d_model=32", "--model.num_heads=2", "--model.d_ff=64"]).model
layer = build_model(Config(model=small), 20).encoder.layers[0].eval()
x, real = torch.randn(1, 7, 32), torch.ones(1, 7, dtype=torch.bool)
print("changes its input: ", not torch.equal(layer(x, real)[0], x))
make_identity(layer)
print("passes it on:      ", torch.equal(layer(x, real)[0], x))
(layer(x, real)[0] ** 2).sum().backward()
for name in ("feed_forward.linear2.weight", "feed_forward.linear1.weight"):
    print(f"gradient of {name}: {float(layer.get_parameter(name).grad.norm()):.2f}")

# %% [markdown]
# ## Where new layers go
#
# There are two sensible places (`progressive.place: top` or `between`).
#
# **On top.** The old layers keep their places below, the new ones refine what they hand up. The lower layers, which have turned
# sound into something useful, may even rest while the new ones learn (exercise 11.4), and the backward pass ends early. A new
# layer starts with random weights before its zero projection.
#
# **Between.** Each new layer stands behind an old one and begins as its copy, with its last projections set to zero. It starts from weights
# that already know how to look at this kind of input, and the top of the stack stays an old layer or a copy of one. For language models this
# is known as block expansion.
#
# For layers $0, \dots, n-1$ and $m$ new ones between them, number $k$ ($0 \le k < m$) goes behind old layer
# $\lfloor k\, n / m \rfloor$. In the grown stack it has $\lfloor k\, n / m \rfloor + 1$ old layers and $k$ new ones before it, hence the index
# $\lfloor k\, n / m \rfloor + k + 1$.
#
# By hand, from 2 layers to 4: new layer 0 goes behind old layer 0, index $0 + 0 + 1 = 1$; new layer 1 behind old layer 1, index $1 + 1 + 1 = 3$.
# The stack is old, **new**, old, **new**. From 8 to 10: behind 0 and behind 4, indices 1 and 6.
#
# **Exercise 11.2** · 20 minutes · difficulty 3 of 5 · core
#
# Write `places_of_new` and `grow_stack`. The old layers must be in the new stack *themselves*: the optimiser holds their parameters.
# Inside the functions `copy`, `nn` and `make_identity` are known.


# %%
@exercise("11.2")
def places_of_new(old: int, depth: int, place: Place = "top") -> list[int]:
    """Which layers of a grown stack are new.

    Args:
        old: layers before.
        depth: layers after.
        place: ``top``: the new ones follow the old ones; ``between``: the k-th of n new layers, from 0, stands behind
            old layer ``k * old // n``, so that they are spread evenly.

    Returns:
        Their indices in the grown stack, in order.
    """
    raise NotImplementedError("exercise 11.2")


def grow_stack(layers: nn.ModuleList, depth: int, make: Callable[[], nn.Module], place: Place = "top") -> nn.ModuleList:
    """A deeper stack around the layers of a shallower one, which computes the same.

    At the places that :func:`places_of_new` names, the stack has new layers that begin as the identity
    (:func:`make_identity`): fresh ones (``top``), or copies of the layer just below (``between``). All others are the
    old layers themselves, in their order, not copies: an optimiser knows their parameters.

    Args:
        layers: the stack so far.
        depth: layers that it is to have.
        make: gives a fresh layer with random weights.
        place: ``top`` or ``between``.

    Raises:
        ValueError: there are more layers than that already.
    """
    if depth < len(layers):
        raise ValueError(f"a stack of {len(layers)} layers cannot grow to {depth}")
    raise NotImplementedError("exercise 11.2")


# %%
places_of_new, grow_stack = check("11.2")

# %% [markdown]
# Stuck? `asr-tutorial hint 11.2` in a terminal, one hint at a time.
#
# **Try it**: `grow` of the library calls your `grow_stack` for the encoder and for the decoder.

# %%
show("progressive.grow")
for place in ("top", "between"):
    new = places_of_new(3, 7, place)
    print(f"{place:8}", " ".join("new" if index in new else "old" for index in range(7)))

# %% [markdown]
# ### Experiment: how much does a new layer hurt?
#
# A small model of 1 + 1 layers learns the synthetic task of chapter 05 for some steps. Then it gets 4 + 2 layers, in three ways: on top and
# between as above, and on top with plain random weights. **Predict**: what is the loss right after growing, in each case? And thirty
# steps later?


# %%
task = SyntheticTask(letters=12, max_length=9, min_frames=4)


def settings(encoder: int, decoder: int, *more: str) -> Config:
    """A small model and a training on the synthetic task."""
    sizes = {"d_model": 48, "num_heads": 4, "d_ff": 128, "subsampling": "pool", "subsampling_factor": 2}
    depth = [f"--model.encoder_layers={encoder}", f"--model.decoder_layers={decoder}"]
    return load_config(
        "tinyspeech",
        [
            *(f"--model.{name}={value}" for name, value in sizes.items()),
            *depth,
            "--model.conv_kernel=3",
            "--model.dropout=0",
            "--features.normalize=none",
            "--augment.freq_masks=0",
            "--augment.time_masks=0",
            "--augment.freq_warp=0",
            "--training.ema_decay=0",
            "--training.device=cpu",
            "--training.precision=fp32",
            "--training.optimizer.lr=3e-3",
            "--training.schedule.kind=constant",
            "--training.schedule.warmup_steps=20",
            *more,
        ],
    )


def new_stepper(config: Config) -> Stepper:
    torch.manual_seed(1)
    return Stepper(config, task.tokenizer, build_model(config, task.tokenizer.vocab_size), total_steps=1000)


def learn(stepper: Stepper, batches: Iterable[Batch], first: int = 0) -> list[float]:
    """The loss of each step, in nats per token."""
    return [stepper.step([batch], step).loss for step, batch in enumerate(batches, start=first)]


@torch.no_grad()
def loss_of(stepper: Stepper, batch: Batch) -> float:
    """The loss in evaluation mode."""
    stepper.model.eval()
    return float(stepper.criterion.mean(stepper.totals(batch), Sizes.of([batch])))


def grow_by(stepper: Stepper, config: Config, place: Place, identity: bool = True) -> None:
    """Grow a stepper's model; then the optimiser takes up the new parameters and keeps what it knows of the others."""
    before = set(stepper.model.encoder.layers) | set(stepper.model.decoder.layers)
    grow(stepper.model, config.model, seed=1, place=place)
    if not identity:
        for stack in (stepper.model.encoder.layers, stepper.model.decoder.layers):
            for layer in set(stack) - before:
                fresh = type(layer)(config.model)
                layer.load_state_dict(fresh.state_dict())
    stepper.renew_optimizer()
    stepper.wrap(stepper.model, compiled=False)


# %% tags=["nbval-ignore-output"]
shallow, deep = settings(1, 1), settings(4, 2)
first, later = list(task.batches(60, size=12, seed=1)), list(task.batches(30, size=12, seed=2))
held_out = task.batch(40, seed=99)
curves = {}
for name, place, identity in (
    ("identity, on top", "top", True),
    ("identity, between", "between", True),
    ("random layers on top", "top", False),
):
    stepper = new_stepper(shallow)
    learn(stepper, first[:40])
    points = [(-20, loss_of(stepper, held_out))]
    for number in range(40, 60, 5):
        learn(stepper, first[number : number + 5], first=number)
        points.append((number - 55, loss_of(stepper, held_out)))
    before = points[-1][1]
    torch.manual_seed(3)
    grow_by(stepper, deep, place, identity)
    after = loss_of(stepper, held_out)
    points.append((0, after))
    for number in range(0, len(later), 5):
        learn(stepper, later[number : number + 5], first=60 + number)
        points.append((number + 5, loss_of(stepper, held_out)))
    curves[name] = points
    print(f"{name:22} before {before:.4f}   right after {after:.4f}   {len(later)} steps later {points[-1][1]:.3f}")

# %%
with plots.style():
    _, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for place, (name, points) in enumerate(curves.items()):
        axes.plot(
            *zip(*points, strict=True),
            color=plots.COLORS[place],
            linestyle=plots.DASHES[place],
            marker="o",
            markersize=3,
            label=name,
        )
    axes.axvline(0, color="#aaaaaa", linewidth=1)
    axes.set(xlabel="steps since growing", ylabel="held-out loss (nats per token)")
    axes.set_title("A layer that begins as the identity is not noticed")
    axes.legend()
    plt.show()

# %% [markdown]
# With the identity the loss right after growing is the loss right before, to the last digit that is printed. Random layers throw the
# model back, and the steps that it needs to come back are steps that growing was meant to save. Residual connections keep the damage small:
# a random layer adds noise to the stream, but what the old layers have put there is still in it.
#
# Two things beside the weights have to grow along. The **optimiser** keeps its moments of the old parameters and begins with none for the
# new ones (Adam counts the steps of each parameter by itself, so that its bias correction is right for both). The **average** of the
# weights (chapter 08) begins, for a new layer, with the layer itself. The learning rate follows one schedule over the whole run; who
# wants to be careful lets that of new layers rise over some steps (`progressive.rewarm_steps`).

# %% [markdown]
# ## What else a stage sets
#
# | key | what it says |
# |---|---|
# | `encoder_layers`, `decoder_layers` | depth |
# | `dropout`, `attention_dropout` | exercise 11.3 |
# | `label_smoothing` | as in chapter 08 |
# | `spec_augment` | a factor, 0 to 1, on the widths of SpecAugment's masks (chapter 08) |
# | `freeze` | parameters that rest: exercise 11.4 |
# | `data`, `order` | which share of the utterances: exercise 11.5 |
# | `steps`, `epochs`, `patience` | when it ends: exercise 11.6 |
# | `teacher_forcing` | how much of what the decoder reads is true: exercise 11.7 |
#
# A small model learns little by heart, so it needs little [dropout](../docs/glossary.md#dropout); the large one of the last stage needs
# more. To change it means to reach *every* module that has one: embeddings, the output of each sublayer, the inside of the feed-forward
# blocks, the convolutions, the attention weights. If it reaches one module only, nobody notices, because the training runs anyway.
#
# **Exercise 11.3** · 10 minutes · difficulty 1 of 5 · core
#
# Write `set_dropout`. `Dropout` and `MultiHeadAttention` are known in the function.


# %%
@exercise("11.3")
def set_dropout(model: nn.Module, p: float, attention: float) -> None:
    """Set the dropout of a whole model.

    Args:
        model: is changed.
        p: of every :class:`~asr_tutorial.dropout.Dropout` in it, wherever it is: embeddings, sublayers, inside the
            feed-forward blocks and convolutions (``module.p``).
        attention: on the weights of every :class:`~asr_tutorial.attention.MultiHeadAttention` (``module.dropout``).
    """
    raise NotImplementedError("exercise 11.3")


# %%
set_dropout = check("11.3")

# %% [markdown]
# Stuck? `asr-tutorial hint 11.3` in a terminal, one hint at a time.
#
# **Try it**: how many modules did you reach?

# %%
model = build_model(deep, task.tokenizer.vocab_size)
set_dropout(model, p=0.25, attention=0.05)
found = [(name, module.p) for name, module in model.named_modules() if hasattr(module, "p")]
print(len(found), "modules with dropout:", {p for _, p in found}, "such as", found[0][0], "and", found[-1][0])
attention = [module.dropout for module in model.modules() if hasattr(module, "num_heads")]
print(len(attention), "with dropout on attention weights:", set(attention))

# %% [markdown]
# ### Rest
#
# A stage may let parameters rest: the lower layers while new ones find their feet, or a decoder that comes from a language model until
# the encoder has something to say. A parameter rests if `requires_grad` is False. Then autograd computes no gradient for it, and an
# optimiser passes over what has none, weight decay included. Where *everything* below some layer rests, the backward pass ends there, and
# that saves time.
#
# What rests is said by patterns on names. By hand: `^encoder\.layers\.[01]\.` matches `encoder.layers.0.norm1.weight` and not
# `encoder.layers.10.norm1.weight` (why?); `embedding` matches `decoder.embedding.weight`, because a pattern may match anywhere.
#
# **Exercise 11.4** · 10 minutes · difficulty 2 of 5 · core
#
# Write `freeze`. Each call says anew for *all* parameters whether they rest. `re` is known in the function; its first line, which refuses
# patterns that match nothing, is given.


# %%
@exercise("11.4")
def freeze(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Let the parameters rest whose names match; all the others of the model learn.

    A parameter that rests gets no gradient (``requires_grad`` is False), and an optimiser leaves it alone. Below the
    lowest parameter that learns, the backward pass stops.

    Args:
        model: is changed.
        patterns: regular expressions, each found anywhere in a name (``re.search``): ``^encoder\\.layers\\.[01]\\.``
            for the two lowest layers of the encoder. Without any, everything learns.

    Returns:
        The names of the parameters that rest.

    Raises:
        ConfigError: a pattern that is no regular expression or matches no name, or nothing is left that learns.
    """
    _check_patterns([name for name, _ in model.named_parameters()], patterns)
    raise NotImplementedError("exercise 11.4")


# %%
freeze = check("11.4")

# %% [markdown]
# Stuck? `asr-tutorial hint 11.4` in a terminal, one hint at a time.
#
# **Try it** by looking at what moved. This is the test that an unfreezing really happens:


# %%
def what_moved(stepper: Stepper, batch: Batch, step: int) -> tuple[int, int]:
    """How many parameters a step changes, and how many there are."""
    before = [parameter.detach().clone() for parameter in stepper.model.parameters()]
    stepper.step([batch], step)
    pairs = zip(before, stepper.model.parameters(), strict=True)
    return sum(not torch.equal(old, new) for old, new in pairs), len(before)


stepper = new_stepper(deep)
for step, patterns in enumerate(([], [r"^encoder\.layers\.[0-2]\.", "subsampling"], [])):
    rest = freeze(stepper.model, patterns)
    moved, total = what_moved(stepper, first[step], step)
    print(f"{len(rest):2} of {total} parameters rest, the step moves {moved}")

# %% [markdown]
# ### Which share of the data
#
# A small model does not need all of the data to find out that silence is blank. Which part? *Not the first*: a corpus is sorted by speaker,
# and the first tenth of it is a handful of voices. Either a random share, or the short utterances: in these there are fewer places where
# a letter could be, so that the alignment is found sooner.
#
# By hand: six utterances of 50, 10, 30, 20, 40 and 10 frames, and a share of 0.5. The number is $\lceil 0.5 \cdot 6 \rceil = 3$, the shortest are
# numbers 1, 5 and 3; in ascending order 1, 3, 5.
#
# When the share grows, data should be added, not exchanged: rank all utterances once, by length or by a permutation that depends on
# the seed, and take the first ones of the ranking.
#
# **Exercise 11.5** · 15 minutes · difficulty 2 of 5 · core
#
# Write `choose_utterances`. `math` and `np` are known in the function.


# %%
@exercise("11.5")
def choose_utterances(lengths: Sequence[int], share: float, order: str, seed: int) -> list[int]:
    """Which utterances a stage is trained on.

    Args:
        lengths: frames of each utterance.
        share: of the utterances, in (0, 1]; the number is rounded up.
        order: ``random``: drawn evenly from the whole corpus, since the first ones would be those of a few speakers;
            ``short``: the shortest ones, of equally long ones the first (curriculum learning, Bengio et al. 2009).
        seed: decides a random choice. With the same seed a larger share holds the smaller one.

    Returns:
        Their numbers, in ascending order.
    """
    raise NotImplementedError("exercise 11.5")


# %%
choose_utterances = check("11.5")

# %% [markdown]
# Stuck? `asr-tutorial hint 11.5` in a terminal, one hint at a time.
#
# **Try it** on the bundled corpus: how many of its speakers are in a tenth of it?

# %%
corpus = read_corpus("tinyspeech/train")
seconds = [utterance.seconds for utterance in corpus]
speakers = [utterance.speaker for utterance in corpus]
for name, chosen in (
    ("the first ones", range(round(0.1 * len(seconds)))),
    ("random", choose_utterances(seconds, 0.1, "random", seed=1)),
    ("short", choose_utterances(seconds, 0.1, "short", seed=1)),
):
    voices = len({speakers[number] for number in chosen})
    print(
        f"{name:15} {voices:2} of {len(set(speakers))} speakers, mean length {sum(seconds[n] for n in chosen) / len(chosen):.1f} s"
    )

# %% [markdown]
# ## When a stage is over
#
# A stage may end after a number of steps, or of epochs. Both must be guessed before the run. A *self-paced* stage ends when it has
# nothing more to give: when the error on dev has stopped falling. Errors go up and down from one validation to the next, so one needs
# [patience](../docs/glossary.md#patience) $p$: the stage is over when none of the last $p$ values is below the best of all before them,
#
# $$\min(e_{i-p+1}, \dots, e_i) \ge \min(e_1, \dots, e_{i-p}).$$
#
# By hand, with $p = 2$:
#
# | errors so far | last two | best before | over? |
# |---|---|---|---|
# | 9, 7 | 9, 7 | none | no, there is nothing to compare with |
# | 9, 7, 8 | 7, 8 | 9 | no, 7 is below 9 |
# | 9, 7, 8, 7 | 8, 7 | 7 | yes, neither is *below* 7 |
# | 9, 1, 5, 4 | 5, 4 | 1 | yes, although 4 is below 5 |
#
# The history begins anew with each stage. If it went on, its last $p$ values would still be without improvement, and the new stage would
# be over at its first validation unless that set a new best at once.
#
# **Exercise 11.6** · 20 minutes · difficulty 3 of 5 · core
#
# Write `plateau`, and `is_over`, which joins the three limits. A limit of 0 is none. `math` is known in the functions.


# %%
@exercise("11.6")
def plateau(history: Sequence[float], patience: int) -> bool:
    """Whether the error has stopped falling: none of the last ``patience`` values is below all those before them.

    Args:
        history: errors, the latest last; lower is better, NaN is no improvement.
        patience: values without improvement that it takes, 1 at least.

    Returns:
        False while there are not more than ``patience`` values.
    """
    raise NotImplementedError("exercise 11.6")


def is_over(stage: Stage | StageConfig, steps: int, epochs: int, history: Sequence[float]) -> bool:
    """Whether a stage has come to its end: the first of its limits that is reached ends it, and 0 is no limit.

    Args:
        stage: says ``steps``, ``epochs`` and ``patience``.
        steps: optimiser steps made in this stage.
        epochs: whole passes over its share of the data.
        history: error of each validation in this stage; see :func:`plateau`.
    """
    raise NotImplementedError("exercise 11.6")


# %%
plateau, is_over = check("11.6")

# %% [markdown]
# Stuck? `asr-tutorial hint 11.6` in a terminal, one hint at a time.
#
# **Try it**: the dev errors of a training, and where stages of different patience would have ended.

# %%
errors = [0.95, 0.80, 0.83, 0.71, 0.69, 0.70, 0.72, 0.66, 0.67, 0.67, 0.68, 0.69]
for patience in (1, 2, 3):
    ends = [number for number in range(1, len(errors) + 1) if plateau(errors[:number], patience)]
    print(f"patience {patience}: after validation {ends[0] if ends else 'never'}")
for seen in (6, 11):
    over = is_over(StageConfig(steps=500, patience=3), steps=20 * seen, epochs=seen // 3, history=errors[:seen])
    print(f"patience 3, at most 500 steps, {20 * seen} steps and {seen:2} validations made: over is {over}")

# %% [markdown]
# A patience of 1 takes a wobble for the end. A self-paced training gives its stages a patience, and a limit for the case that dev never
# comes to rest:
#
# ```yaml
# progressive:
#   kind: stages
#   stages:
#     - {encoder_layers: 1, decoder_layers: 1, patience: 2, epochs: 10}
#     - {encoder_layers: 3, patience: 2, epochs: 10}
#     - {encoder_layers: 6, decoder_layers: 2}
# ```
#
# In the library the whole rest is bookkeeping: at the end of a stage a new epoch begins, the
# model grows, optimiser and average take up the new parameters, and the number of the stage goes into the training state. A run that is
# killed in any stage goes on as if nothing had happened, bit for bit; a checkpoint of a stage says in its `config.yaml` how deep it is.

# %%
show("training.stages.Stages.enter")

# %% [markdown]
# ## Does it pay?
#
# The comparison that matters gives both ways the same **processor time**. To count steps would flatter progressive training, whose early
# steps are cheap; to count epochs would do so as well. These runs are recorded: the tinyspeech recipe, once with 6 + 2 layers from the first
# step, and with the depth doubled every two epochs (1 + 1, 2 + 2, 4 + 2, 6 + 2). All have about the same budget of processor seconds for training
# steps. **Predict** which one has the lower character error rate in the end.

# %% tags=["nbval-ignore-output"]
record = json.loads((REPOSITORY / "data" / "results" / "progressive_tinyspeech.json").read_text(encoding="utf-8"))
with plots.style():
    _, axes = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
    for place, arm in enumerate(record["arms"]):
        points = [(point["cpu_seconds"], 100 * point["cer"]) for point in arm["points"]]
        axes.plot(*zip(*points, strict=True), color=plots.COLORS[place], linestyle=plots.DASHES[place], marker="o", markersize=3,
                  label=arm["name"])  # fmt: skip
    axes.set(xlabel="processor seconds spent on training steps", ylabel="CER of dev, CTC best path (%)", ylim=(0, 105))
    axes.set_title("Equal processor time: from scratch against growing")
    axes.legend()
    plt.show()
for arm in record["arms"]:
    last = arm["points"][-1]
    print(
        f"{arm['name']:34} {last['step']:5} steps, {last['cpu_seconds']:6.1f} s: CER {100 * last['cer']:5.1f} %, WER {100 * last['wer']:5.1f} %"
    )
scratch, grown = record["arms"][0]["points"], record["arms"][1]["points"]
target = scratch[-1]["cer"]
reached = next((point["cpu_seconds"] for point in grown if point["cer"] <= target), None)
print(
    f"from scratch ends with a CER of {100 * target:.1f} % after {scratch[-1]['cpu_seconds']:.0f} s; "
    + (f"growing has that by {reached:.0f} s" if reached else "growing never gets there")
)

# %% [markdown]
# Growing wins here, by far; where the new layers stand makes no difference. It wins for two of the three reasons. Below are both after equal
# numbers of **steps**, with the processor seconds so far. Growing is *cheaper*: look at the seconds of the first rows. And it is *easier*: with
# few layers the error rate falls sooner even step by step. A likely cause is that in a deep stack that has just been initialised, the sound
# reaches the CTC head through many layers that all change at a high learning rate.

# %% tags=["nbval-ignore-output"]
print(f"{'step':>5}{'from scratch':>20}{'growing':>20}   layers")
for one, other in zip(scratch, grown, strict=False):
    if one["step"] == other["step"]:
        columns = [f"{100 * point['cer']:.1f} % {point['cpu_seconds']:7.1f} s" for point in (one, other)]
        print(f"{one['step']:5}{columns[0]:>20}{columns[1]:>20}   {' + '.join(map(str, other['layers']))}")

# %% [markdown]
# What this does *not* show is that a grown model is better than one that was trained to the end. The budget is half of the full recipe's,
# and the slow beginning is a large part of it; the longer the training, the less it weighs. Each learning rate falls to zero at the end of
# its own run, so that at equal steps the growing one is still higher. It was tuned for neither of the two, and there is one seed for each arm.
# Differences of a point or two mean nothing; this one is larger. The machine, the date and all settings are in the file.
#
# For comparison the recorded run of the full recipe, from scratch and with twice the steps:

# %% tags=["nbval-ignore-output"]
print(recorded_run("tinyspeech").table())

# %% [markdown]
# ## Experiment: short utterances first
#
# A curriculum by length on the synthetic task, whose texts now have up to 20 letters. Both trainings make 160 steps
# on about as many letters; one sees only texts of at most 6 letters in the first half of them. **Predict** which loss
# is lower half way, and which at the end. Both are measured on texts of all lengths.

# %% tags=["nbval-ignore-output"]
long_task = SyntheticTask(letters=12, min_length=3, max_length=20, min_frames=4)
short_task = SyntheticTask(letters=12, min_length=3, max_length=6, min_frames=4)
test_batch = long_task.batch(40, seed=77)
curriculum = {}
for name, early in (("all lengths from the start", None), ("short ones first", short_task)):
    stepper = new_stepper(settings(2, 1, "--training.ctc_weight=0.3"))
    points, step = [(0, loss_of(stepper, test_batch))], 0
    for block in range(8):
        source, size = (early, 24) if early is not None and block < 4 else (long_task, 10)
        learn(stepper, source.batches(20, size=size, seed=block), first=step)
        step += 20
        points.append((step, loss_of(stepper, test_batch)))
    curriculum[name] = points
with plots.style():
    _, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for place, (name, points) in enumerate(curriculum.items()):
        axes.plot(
            *zip(*points, strict=True),
            color=plots.COLORS[place],
            linestyle=plots.DASHES[place],
            marker="o",
            markersize=3,
            label=name,
        )
    axes.axvline(80, color="#aaaaaa", linewidth=1)
    axes.set(xlabel="step", ylabel="loss, all lengths (nats per token)")
    axes.set_title("A curriculum by length; the line is where it opens")
    axes.legend()
    plt.show()
for name, points in curriculum.items():
    print(f"{name:28}" + "  ".join(f"{value:.2f}" for _, value in points))

# %% [markdown]
# Look at both halves. In the first, the curriculum is judged on lengths that it has never seen, and positions beyond the short texts are
# new to its decoder; it keeps up all the same, since in a short text it is easy to find out which sound is which letter. From the line on it
# sees long texts too, and its curve falls below the other one: what is left to learn is length. This is one seed and a small task. On real
# speech with few hours, finding the alignment is often the first thing that fails. Deep Speech 2 takes the utterances of its first epoch from
# short to long, and trains more stably so.

# %% [markdown]
# ## Deep dive: reading one's own guesses
#
# Optional. Under [teacher forcing](../docs/glossary.md#teacher-forcing) a decoder always reads the true text. In a search it reads its own, mistakes
# included, which it has never seen ([exposure bias](../docs/glossary.md#exposure-bias)). [Scheduled sampling](../docs/glossary.md#scheduled-sampling) mixes
# the two: each true token is kept with probability $\epsilon$, else replaced by the decoder's own guess, and $\epsilon$ falls from 1 over the epochs.
#
# A recurrent decoder can guess as it goes along. A Transformer reads all positions at once, so it takes two passes: the first over the true
# text, without gradient, gives a guess for every position; the second reads the mixture and is trained.
#
# By hand: the input is SOS, C, A, T. The first pass says, after each of them, K, A, P, EOS: after SOS it guesses K, after C it guesses A, after A it
# guesses P. So the guesses stand **one place further right** than the tokens they were made after: SOS, K, A, P. What was said after T would be read behind
# T, where the text is over. If only position 1 is replaced, the decoder reads SOS, K, A, T, and must still say C, A, T, EOS.
#
# Special tokens are never guesses here: a search stops at EOS, and never reads one.
#
# **Exercise 11.7** · 20 minutes · difficulty 3 of 5 · optional
#
# Write `mix_guesses`.


# %%
@exercise("11.7")
def mix_guesses(tokens_in: Tensor, logits: Tensor, share: float | Tensor, pad: int, special: Sequence[int]) -> Tensor:
    """Replace true tokens of the decoder's input by the decoder's own guesses, position by position.

    The guess for a position is the most probable token after the position *before* it, ``logits[:, u - 1]`` for input
    position ``u``, special tokens left out: in a search the decoder never reads one. SOS and PAD stay.

    Args:
        tokens_in: (batch, length) ids, SOS first, PAD behind the text.
        logits: (batch, length, vocab) of the token after each position, as the decoder gives them.
        share: probability that a position keeps its true token, a number or a tensor of shape (); each position is
            drawn by itself.
        pad: id of PAD.
        special: ids that are never a guess.

    Returns:
        (batch, length) ids.
    """
    raise NotImplementedError("exercise 11.7")


# %%
mix_guesses = check("11.7")

# %% [markdown]
# Stuck? `asr-tutorial hint 11.7` in a terminal, one hint at a time.
#
# **Try it** on the word from above:

# %%
letters = ["<blank>", "<sos>", "<eos>", "<unk>", "<pad>", "A", "C", "K", "P", "T"]
word = torch.tensor([[letters.index(token) for token in ("<sos>", "C", "A", "T")]])
said = torch.tensor([[letters.index(token) for token in ("K", "A", "P", "<eos>")]])
logits = nn.functional.one_hot(said, len(letters)).float()
for share in (1.0, 0.5, 0.0):
    torch.manual_seed(1)
    mixed = mix_guesses(word, logits, share, letters.index("<pad>"), [0, 1, 2, 3, 4])
    print(f"share of true tokens {share}:", " ".join(letters[token] for token in mixed[0].tolist()))

# %% [markdown]
# ### Experiment: how much of the truth?
#
# The sound of this task is noisy, so that the decoder is often wrong. Three trainings differ in the share of true tokens in their second half
# (1: always; 0.7; 0.3). Two figures for each: how often the decoder is right when it reads the *true* text, and the error rate of greedy
# search, where it reads its own. **Predict** how each of them moves with the share.

# %% tags=["nbval-ignore-output"]
noisy = SyntheticTask(letters=12, min_length=4, max_length=12, min_frames=4, noise=1.6)
test_batch = noisy.batch(60, seed=5)
sampled = settings(1, 1, "--training.ctc_weight=0.3", "--training.teacher_forcing=0.3")
stepper = new_stepper(sampled)
learn(stepper, noisy.batches(110, size=14, seed=1))
half_way = stepper.state_dict()  # the first half is the same for all three
for share in (1.0, 0.7, 0.3):
    stepper = new_stepper(sampled)
    stepper.load_state_dict(copy.deepcopy(half_way))  # a copy: the optimiser goes on in the tensors it is given
    stepper.sampling.set(share)
    learn(stepper, noisy.batches(110, size=14, seed=2), first=110)
    stepper.model.eval()
    with torch.no_grad():
        totals = stepper.totals(test_batch)
        heard = [hypothesis.text for hypothesis in decode_batch(stepper.model, noisy.tokenizer, test_batch, "greedy")]
    accuracy = float(totals.correct_tokens) / Sizes.of([test_batch]).attention_tokens
    print(
        f"share {share}: right after the true text {100 * accuracy:4.1f} %, CER of greedy search {100 * cer(test_batch.texts, heard):4.1f} %"
    )

# %% [markdown]
# Little is gained, and with many guesses something is lost: the decoder is trained on texts that it will rarely see, and its gradient
# comes from fewer true beginnings. The letters of this task are random: nothing follows from the text so far but *where* in the sound the
# decoder is. Real text has more to win and more to lose. A decoder that reads wrong words learns to trust them less and its ears more,
# and may unlearn some of the grammar that makes it worth having. A cheap relative with a fixed share, random tokens in the place of
# guesses, is `training.token_noise`; five per cent of it cost no second pass. Use shares near 1, and let dev decide.
#
# In the configuration: `training.teacher_forcing: 0.8` is the share in the end, and `training.teacher_forcing_epochs: [2, 10]` the epochs over which it
# falls. A stage may set its own `teacher_forcing`.

# %% [markdown]
# ## The usual mistakes
#
# | mistake | what you see |
# |---|---|
# | new layers come in with random weights | the loss jumps at each growth, and the time that was saved is spent on coming back |
# | the bias of the last projection is forgotten | a small jump, easily taken for noise |
# | all weights of a new layer are zero | the model grows and is no better for it: the layer never learns |
# | old layers copied into the new stack, or the optimiser not renewed | the loss stands still: what is trained is not what is used |
# | the optimiser is made anew without its state | a jump of the step sizes of *all* parameters, a bump in the loss |
# | the average of the weights does not grow along | validation with weights of another depth, or an error |
# | an "unfreeze" that does nothing | the loss falls, more slowly than it should; only a look at what moved tells |
# | the stage's dropout reaches one module | stages seem to make no difference |
# | the first utterances as "a share of the data" | training error fine, dev far off: few speakers |
# | the schedule starts anew with each stage | the rate is at its peak when the run should be settling |
# | steps or epochs compared instead of time | growing looks better than it is |
# | in several processes: the wrapper not built anew | new parameters get no gradient from the others, and the copies drift apart |

# %% [markdown]
# ## Three questions
#
# **1.** Why does a new layer on top of the *encoder* not change what the decoder reads, although the encoder ends in a layer normalisation?
#
# <details><summary>Answer</summary>
#
# The last normalisation stands behind the whole stack. It gets $x$ after the old layers before growing and the same $x$ after, because the new layers
# add zero. With post-norm layers, which normalise *after* each addition, it would not work: $\mathrm{norm}(x + 0)$ is not $x$ in general.
#
# </details>
#
# **2.** A stage lets `encoder.layers.2` rest, but not the layers below it. Does the step get cheaper?
#
# <details><summary>Answer</summary>
#
# Hardly. The gradient has to pass *through* layer 2 to those below, so only the products that would give the gradients of its own weights
# are saved, about a third of its cost. The pass ends early only where everything below rests too, the front end included.
#
# </details>
#
# **3.** A run doubles its depth every three epochs, with a share of the data of 0.25, 0.5 and 1. After how many passes over *all* of the data
# does the third stage begin?
#
# <details><summary>Answer</summary>
#
# An epoch of a stage is a pass over its share: $3 \cdot 0.25 + 3 \cdot 0.5 = 2.25$ passes. This is why the length of a run, and with it the learning rate, is
# counted in steps.
#
# </details>

# %% [markdown]
# ## The run
#
# All that you have built comes together now: real speech, 5.3 hours of it, and text beyond its transcripts. One command,
#
#     asr-tutorial recipe mini-librispeech
#
# trains an encoder by CTC alone, first 3 layers, then 6, then 10; counts n-grams of books; trains two Transformers on the same books; lets
# the decoder begin as the smaller one, and trains everything together. It is recorded in this repository. What each step took on which machine, and how it is
# repeated, stands in its [README.md](../data/results/mini_librispeech_recipe/README.md).
#
# Compare with where the course began: the same encoder and a smaller decoder, all layers and both losses from the first step, no text but the
# transcripts.

# %% tags=["nbval-ignore-output"]
print(recorded_run("mini_librispeech").table())

# %% [markdown]
# A word error rate may go above 100 %: where a search writes words that nobody said, there can be more errors than words. And now the recipe;
# `joint+ngram` is a joint search with the language model of that name.

# %% tags=["nbval-ignore-output"]
recorded = recorded_run("mini_librispeech_recipe")
print(recorded.table())

# %% [markdown]
# Without a language model more than half of the words are wrong, whichever head decides: the spelling is that of somebody who hears well and has never
# read. Which text taught the language models that, and how well do they know the words of unseen speakers? (The recipe measured them all;
# the pieces of a Transformer here are letters, so that it knows every word.)

# %% tags=["nbval-ignore-output"]
record = REPOSITORY / "data" / "results" / recorded.name
for row in json.loads((record / "evaluation.json").read_text(encoding="utf-8"))["perplexities"]:
    if row["corpus"] == "dev-218spk":
        print(f"{row['title']:66} perplexity {row['per_word']:5.0f}, unknown words {100 * row['unknown_share']:4.1f} %")

# %% [markdown]
# The transcripts of the five hours hardly make a language model: one word in seven was never seen. The books halve the perplexity of the
# Transformer and take a quarter off that of the counts: on five million letters it is behind them, on a hundred million level.
#
# Both trainings over time. The encoder's curve falls fastest at its beginning, where it has three layers and a step costs least. Its own
# length was too short: it is still falling when the second one begins.

# %% tags=["nbval-ignore-output"]
Image(record / "curves.png")

# %% [markdown]
# How much may the language model say? The weight was chosen on dev-218spk, by rescoring n-best lists (exercise 10.6), and used on the other set.

# %% tags=["nbval-ignore-output"]
Image(record / "sweep_joint+ngram.png")

# %% [markdown]
# Where each word was heard, in an utterance of an unseen voice:

# %% tags=["nbval-ignore-output"]
Image(record / "alignment.png")

# %% [markdown]
# What went wrong in the worst utterances? Look for the kind of mistake: words that sound alike, names, a passage that is missing, a text that
# stops early. `what` says which of the models preferred the wrong text.

# %% tags=["nbval-ignore-output"]
print(recorded.worst_text())

# %% [markdown]
# ### What is each part worth?
#
# The recipe has many parts. Which of them pay? An *ablation* changes one thing at a time and gives every arm the same compute: here fifteen minutes of one
# processor core for each, with a smaller model (`python benchmarks/ablation.py`). **Predict** before you look: which part helps most in
# so short a time? Does any do harm?

# %% tags=["nbval-ignore-output"]
for page in ("ablation.md", "ablation_learnt.md"):
    display(Markdown((REPOSITORY / "data" / "results" / page).read_text(encoding="utf-8")))

# %% [markdown]
# Equal *compute* is one question among several. An arm that is behind after fifteen minutes may be ahead after ten hours, which is just what regularisation
# is for; and one or two seeds do not tell one point from another.
#
# ### Yours
#
# `plan_run` looks for what your machine allows: LibriSpeech with 100 hours where there is a GPU, the 5 hours of mini-librispeech on a processor
# (`asr-tutorial data download mini-librispeech`), else the bundled speech. Nothing is started yet. With `--code mine` each part that you have
# solved is yours, and the rest is borrowed from us.

# %% tags=["nbval-ignore-output"]
mine = plan_run()
print(mine)

# %% [markdown]
# Set `LAUNCH` to True and run the cell: the training begins in the background, and lives on when you close the notebook. Run the cell again
# from time to time: a run that is going on or has finished is not disturbed, one that was interrupted goes on where it was. Beside yours
# stands the recorded run of the same configuration, where there is one. To try another length or the stages of
# this chapter, give settings, in a folder of their own:
#
# ```python
# mine = plan_run("runs/growing", overrides=["--progressive.kind=doubling", "--progressive.stage_epochs=2"])
# ```

# %% tags=["nbval-ignore-output"]
LAUNCH = False

if LAUNCH and not (mine.running() or mine.finished()):
    mine.launch()
show_run(mine)
plt.show()

# %% [markdown]
# When it has finished, `asr-tutorial evaluate --checkpoint RUN --corpus CORPUS --code mine --search joint` measures it, and with `--lm DIR` the
# language model of chapter 10 joins in. `asr-tutorial submission` with the same options writes what it hears in a split without
# transcripts into `submission.csv`. If your error rates are far from the recorded ones at the same step, the two curves tell you where they
# part, and chapter 08 what to look at there.
#
# ## Where this goes next
#
# The encoder that you have trained looks at a whole utterance at once, and its cost grows with the square of the length. Chapter 12 replaces
# its self-attention by layers that learn while they listen.
#
# ## References
#
# - T. Chen, I. Goodfellow and J. Shlens, [Net2Net: accelerating learning via knowledge transfer](https://arxiv.org/abs/1511.05641), 2015: growing
#   without changing the function.
# - L. Gong et al., [Efficient training of BERT by progressively stacking](https://proceedings.mlr.press/v97/gong19a.html), 2019: doubling the depth by copies.
# - C. Wu et al., [LLaMA Pro: progressive LLaMA with block expansion](https://arxiv.org/abs/2401.02415), 2024: copies between, with a zero projection.
# - Y. Bengio et al., [Curriculum learning](https://doi.org/10.1145/1553374.1553380), 2009.
# - D. Amodei et al., [Deep Speech 2](https://arxiv.org/abs/1512.02595), 2015, section 3.3: short utterances in the first epoch.
# - S. Bengio et al., [Scheduled sampling for sequence prediction with recurrent neural networks](https://arxiv.org/abs/1506.03099), 2015.
# - T. Mihaylova and A. F. T. Martins, [Scheduled sampling for Transformers](https://arxiv.org/abs/1906.07651), 2019.
