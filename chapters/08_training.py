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
# # 08 · Training
#
# The model is complete, and it knows nothing. This chapter is about the loop that changes that: which loss, which
# learning rate, how much at once, with how many bits, and what has to be kept so that a training which was cut off at
# night ends in the morning with the weights it would have had anyway. Then it asks where the time goes, what to do
# about NaN and a full memory, and how several processes train one model.
#
# **You need** the model (chapters 05 and 06), masks and batches (03), and CTC (07), at least as a black box. **Time**:
# about 4 hours; the core exercises take an hour and a half.
#
# | exercise | what you write | minutes | difficulty | |
# |---|---|---|---|---|
# | 8.1 | label-smoothed cross-entropy | 10 | 2 | core |
# | 8.2 | the learning rate's course | 15 | 2 | core |
# | 8.3 | many small batches equal a large one | 15 | 2 | core |
# | 8.4 | half the bits: autocast | 10 | 2 | core |
# | 8.5 | one training step | 25 | 4 | core |
# | 8.6 | resume as if nothing had happened | 15 | 3 | core |
# | 8.7 | SpecAugment | 25 | 4 | optional |
# | 8.8 | buckets | 30 | 4 | optional |
# | 8.9 | saving without losing the last state | 15 | 3 | optional |

# %%
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from asr_tutorial import plots
from asr_tutorial.attention import MultiHeadAttention
from asr_tutorial.audio import read_audio
from asr_tutorial.config import AugmentConfig, Config, ScheduleConfig, from_dict, load_config
from asr_tutorial.corpus import read_corpus
from asr_tutorial.corpus.read import REPOSITORY
from asr_tutorial.course import check, exercise, here, show
from asr_tutorial.dataset import Batch
from asr_tutorial.dataset.sampler import BatchPlan, padding_share, sequential_batches, share
from asr_tutorial.features import FeatureExtractor
from asr_tutorial.model import build_model
from asr_tutorial.synthetic import SyntheticTask
from asr_tutorial.training.diagnose import examine
from asr_tutorial.training.distributed import ALONE, Ranks
from asr_tutorial.training.loss import LossTotals, Sizes
from asr_tutorial.training.setup import prepare
from asr_tutorial.training.state import load_state
from asr_tutorial.training.step import StepResult, cpu_multiplies_bf16

torch.set_num_threads(1)

# %%
here("08")

# %% [markdown]
# ## What is minimised
#
# The model has two heads, and each has a loss. Let $B$ be the number of utterances of a step and $U_b$ the number of
# tokens of utterance $b$, without EOS.
#
# - The CTC head gives $-\ln P_{\text{ctc}}(y_b \mid x_b)$ for each utterance (chapter 07).
# - The decoder gives $-\ln P(y_{b,u} \mid y_{b,<u}, x_b)$ at each of its $U_b + 1$ positions (chapter 06): the tokens, and
#   EOS.
#
# With the CTC weight $\lambda$ between 0 and 1, the loss of a step is
#
# $$L = \lambda \, \frac{\sum_b -\ln P_{\text{ctc}}(y_b \mid x_b)}{\sum_b U_b}
#   + (1 - \lambda) \, \frac{\sum_b \sum_u -\ln P(y_{b,u} \mid y_{b,<u}, x_b)}{\sum_b (U_b + 1)}.$$
#
# Both are in [nats](../docs/glossary.md#nat) per token, so they can be weighed against each other, and compared between
# batches and corpora. Note where the division stands: behind the sum over *all* utterances of the step.
#
# ### A loss that does not ask for certainty
#
# Cross-entropy is content only when the right token has probability 1. Getting there takes logits without bound, and a
# model that is always certain is certain of its mistakes too. [Label smoothing](../docs/glossary.md#label-smoothing)
# moves the goal: a share $\varepsilon$ of the probability is spread evenly over all $V$ tokens of the vocabulary, the right
# one among them, and the rest stays with the right one. The loss at one position with log-probabilities $\ell_v$ and the
# right token $y$ becomes
#
# $$-(1 - \varepsilon)\, \ell_y - \varepsilon \, \frac1V \sum_v \ell_v.$$
#
# **By hand.** Four tokens have the probabilities $\tfrac12, \tfrac14, \tfrac18, \tfrac18$, the first is right. Their
# negative logarithms are $0.693, 1.386, 2.079, 2.079$, with a mean of $1.560$. Without smoothing the loss is $0.693$. With
# $\varepsilon = 0.1$ it is $0.9 \cdot 0.693 + 0.1 \cdot 1.560 = 0.780$.
#
# **Exercise 8.1** · 10 minutes · difficulty 2 of 5 · core
#
# Write it as a *sum* over all positions that are not PAD. The module has `torch` and `Tensor`.


# %%
@exercise("8.1")
def label_smoothed_cross_entropy(logits: Tensor, targets: Tensor, pad: int, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy against a target that keeps ``smoothing`` for all tokens alike (Szegedy et al. 2016, section 7).

    Args:
        logits: (batch, length, vocab).
        targets: (batch, length) ids; positions that hold ``pad`` are not trained on.
        pad: id of PAD.
        smoothing: share of the target spread evenly over the vocabulary.

    Returns:
        The sum over all real positions, in nats; a scalar.
    """
    raise NotImplementedError("exercise 8.1")


# %%
label_smoothed_cross_entropy = check("8.1")

# %% [markdown]
# Stuck? `asr-tutorial hint 8.1` in a terminal, one hint at a time.
#
# **Try it.** Let the right one of 30 tokens have the probability $p$, and the others share the rest evenly. **Predict**:
# at which $p$ is the smoothed loss least?

# %%
p = torch.linspace(0.02, 0.9995, 400)
vocab = 30
log_probs = torch.log(torch.cat([p[:, None], ((1 - p) / (vocab - 1))[:, None].expand(-1, vocab - 1)], dim=1))
with plots.style():
    _, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    for number, smoothing in enumerate((0.0, 0.1, 0.3)):
        losses = [
            float(label_smoothed_cross_entropy(row[None, None], torch.tensor([[0]]), -1, smoothing))
            for row in log_probs
        ]
        axes.plot(p, losses, color=plots.COLORS[number], ls=plots.DASHES[number], label=f"smoothing {smoothing}")
        best = int(np.argmin(losses))
        axes.plot(p[best], losses[best], "o", color=plots.COLORS[number])
        print(f"smoothing {smoothing}: least at p = {float(p[best]):.2f}")
    axes.set(xlabel="probability of the right token", ylabel="loss (nats)", ylim=(0, 5))
    axes.set_title("The dots are where each loss is content")
    axes.legend()
    plt.show()

# %% [markdown]
# With a smoothing of 0.1 the goal is $0.9 + 0.1/30$; beyond it the loss rises again. Its least value is not 0, either:
# a training curve with label smoothing ends at a level that has nothing to do with errors. Compare such curves only among
# themselves.

# %% [markdown]
# ## The learning rate
#
# A step moves each weight against its gradient. AdamW divides the gradient by its own recent size, so that the *learning
# rate* is about the distance that a weight moves in one step, whatever the gradient's units. Two things speak against a
# constant rate:
#
# - At the start the model is random, the gradients point anywhere, and Adam's estimates rest on a few steps. A full rate
#   throws the weights about, and attention layers may not recover from that. So the rate rises over a
#   [warm-up](../docs/glossary.md#warm-up).
# - At the end the weights jump to and fro around a good place. A smaller rate lets them settle.
#
# A *schedule* is a function of the optimiser step alone: not of the batch, not of the epoch. (When gradients of several
# batches are accumulated, there is one step for all of them. To count batches there is a classic mistake.)
#
# **By hand.** Warm-up 4 steps, 14 steps in all, linear, final share 0.2. Steps 0 to 3 have the shares
# $\tfrac14, \tfrac24, \tfrac34, 1$. After that 10 steps are left; progress at step 9 is $(9 - 4)/10 = 0.5$, so the share is
# half-way between 1 and 0.2, that is 0.6.
#
# **Exercise 8.2** · 15 minutes · difficulty 2 of 5 · core
#
# Write `Schedule.factor`, the share of the peak rate at a step, and `Schedule.apply`, which sets the rates of an optimiser.
# Its parameter groups have a peak of their own, because lower layers or fine-tuned parts may have lower ones. `self.config`
# is a `ScheduleConfig` with `kind`, `warmup_steps` and `final`; `self.total_steps` and `self.plateau_factor` are there too, and
# `math` in the module.


# %%
@exercise("8.2")
class Schedule:  # these methods become part of asr_tutorial.training.optimizer.Schedule
    def factor(self, step: int) -> float:
        """Share of the peak rate for optimiser step ``step``, counted from 0.

        In the first ``warmup_steps`` steps the share rises evenly; the first step has a share of ``1 / warmup_steps``
        already, the last of them the whole. After them ``progress`` runs from 0 to 1, which it reaches at
        ``total_steps`` and keeps; the share is, by ``config.kind``:

        - linear: falls evenly from 1 to ``config.final``;
        - cosine: falls from 1 to ``config.final`` along half a cosine;
        - exponential: ``max(config.final, 1e-3) ** progress``;
        - noam: ``sqrt(warmup_steps / (step + 1))`` (1 at least under the root for no warm-up at all);
        - plateau: ``self.plateau_factor``; constant: 1.
        """
        raise NotImplementedError("exercise 8.2")

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set every group's rate, ``lr``, for the step to come: a share of its own ``peak_lr``."""
        raise NotImplementedError("exercise 8.2")


# %%
Schedule = check("8.2")

# %% [markdown]
# Stuck? `asr-tutorial hint 8.2` in a terminal, one hint at a time.
#
# **Try it.**

# %%
with plots.style():
    _, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    for number, kind in enumerate(("linear", "cosine", "noam", "exponential")):
        schedule = Schedule(ScheduleConfig(kind=kind, warmup_steps=100, final=0.05), total_steps=1000)
        shares = [schedule.factor(step) for step in range(1100)]
        axes.plot(shares, color=plots.COLORS[number], ls=plots.DASHES[number], label=kind)
    axes.axvline(1000, color="0.6", lw=0.8)
    axes.set(xlabel="optimiser step", ylabel="share of the peak rate")
    axes.set_title("All rise for 100 steps; most have fallen by step 1000 and stay there")
    axes.legend()
    plt.show()

# %% [markdown]
# ## Many small batches equal a large one
#
# A batch that is too large for the memory can be cut into parts. `backward()` *adds* to the gradients that are there, so
# one goes through the parts one after the other and lets the optimiser step once. That is
# [accumulation](../docs/glossary.md#accumulation), and the step should be the very step that the large batch would have made.
#
# It is so only if every part is divided by the size of the *whole*. **By hand**: one part has 2 tokens and a summed loss of
# 10 nats, the other 18 tokens and 18 nats.
#
# | | part 1 | part 2 | together |
# |---|---|---|---|
# | each divided by its own tokens, then the mean | 10 / 2 = 5 | 18 / 18 = 1 | (5 + 1) / 2 = **3.0** |
# | each divided by all tokens, then the sum | 10 / 20 = 0.5 | 18 / 20 = 0.9 | **1.4** |
# | the large batch | | | 28 / 20 = **1.4** |
#
# In the first row each of the two tokens counts nine times as much as each of the others. The curve looks healthy; the model
# is merely trained on other things than you think. So the tokens are counted *before* anything is computed:
#
# **Exercise 8.3** · 15 minutes · difficulty 2 of 5 · core
#
# Write `Sizes.of`, which counts utterances, CTC tokens and decoder tokens over all batches of a step, and
# `JointLoss.mean`, which makes the loss $L$ above out of the sums over one part.
#
# - A `Batch` has `target_lengths` (tokens without EOS), a length (`len(batch)`: its utterances) and `spare`, which is True for a
#   repetition that only keeps a process busy (*Many processes* below tells why).
# - The counts are returned as `Sizes(utterances, ctc_tokens, attention_tokens)`, whole numbers.
# - `ranks.sum([a, b])` adds numbers up over all processes that train together, and gives floats. In a training of one process it
#   gives back what it got.
# - In `mean`, `totals.ctc` and `totals.attention` are the two sums over one part, and `self.ctc_weight` is $\lambda$.


# %%
@exercise("8.3")
class Sizes:  # these methods become part of asr_tutorial.training.loss.Sizes
    @staticmethod
    def of(batches: Sequence[Batch], ranks: Ranks = ALONE) -> Sizes:
        """Count before anything is computed, so that the parts of a step weigh as one large batch would.

        The decoder answers one token more than CTC for each utterance: EOS. Spare batches do not count, and there is
        always one CTC token at least, to divide by.

        Args:
            batches: this process's batches.
            ranks: the processes to sum over; all of them call this at the same time.
        """
        raise NotImplementedError("exercise 8.3")


class JointLoss:  # these methods become part of asr_tutorial.training.loss.JointLoss
    def mean(self, totals: LossTotals, sizes: Sizes) -> Tensor:
        """The weighted loss in nats per token.

        Args:
            totals: sums over one batch.
            sizes: what to divide by: the counts of the whole step, of which the batch may be a part. The means of all
                its parts then add up to that of one large batch.
        """
        raise NotImplementedError("exercise 8.3")


# %%
Sizes, JointLoss = check("8.3")

# %% [markdown]
# Stuck? `asr-tutorial hint 8.3` in a terminal, one hint at a time.
#
# **Try it** on a model: the synthetic letters of chapter 05, once as a batch of 12, once in two parts of 2 and 10.

# %%
MELS = 20
task = SyntheticTask(letters=8, n_mels=MELS, min_frames=8, max_frames=16)


def small_config(**training: Any) -> Config:
    """A small model without dropout and masks; settings of the training on top."""
    model = {"d_model": 48, "num_heads": 2, "d_ff": 96, "encoder_layers": 2, "decoder_layers": 1, "dropout": 0.0}
    base = {"precision": "fp32", "device": "cpu", "schedule": {"kind": "linear", "warmup_steps": 10}}
    return from_dict(
        Config,
        {
            "features": {"n_mels": MELS},
            "augment": {"freq_masks": 0, "time_masks": 0},
            "model": {**model, "subsampling_channels": 4},
            "training": {**base, **training},
        },
    )


def part_of(batch: Batch, rows: slice) -> Batch:
    """Some utterances of a batch."""
    names = ("features", "feature_lengths", "targets", "target_lengths", "tokens_in", "tokens_out")
    return Batch(batch.ids[rows], batch.texts[rows], *(getattr(batch, name)[rows] for name in names))


torch.manual_seed(0)
network = build_model(small_config(), task.tokenizer.vocab_size)
criterion = JointLoss(0.3, 0.1, task.tokenizer.blank_id, task.tokenizer.pad_id)
large = task.batch(size=12, seed=1)
few, many = part_of(large, slice(0, 2)), part_of(large, slice(2, 12))


def gradient(parts: list[Batch], sizes: list[Sizes], factor: float = 1.0) -> Tensor:
    """All gradients of the parts added up, as one vector."""
    network.zero_grad()
    for batch, size in zip(parts, sizes, strict=True):
        totals = criterion.totals(network(batch.features, batch.feature_lengths, batch.tokens_in), batch)
        (criterion.mean(totals, size) * factor).backward()
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])


whole = gradient([large], [Sizes.of([large])])
accumulated = gradient([few, many], [Sizes.of([few, many])] * 2)
mean_of_means = gradient([few, many], [Sizes.of([few]), Sizes.of([many])], factor=0.5)
for name, other in (("accumulated", accumulated), ("mean of means", mean_of_means)):
    print(f"{name:14} differs from the large batch by {100 * float((other - whole).norm() / whole.norm()):.1f} %")

# %% [markdown]
# The mean of means is another gradient, and no curve will tell you so.

# %% [markdown]
# ## Half the bits
#
# Matrix products take most of a step, and hardware multiplies numbers of 16 bits two to sixteen times as fast as numbers of
# 32. There are two kinds:
#
# | | sign, exponent, fraction | largest value | digits | |
# |---|---|---|---|---|
# | fp32 | 1, 8, 23 bits | $3 \cdot 10^{38}$ | 7 | |
# | fp16 | 1, 5, 10 bits | 65504 | 3 | small gradients become 0, large ones infinite |
# | bf16 | 1, 8, 7 bits | $3 \cdot 10^{38}$ | 2 to 3 | the range of fp32, so nothing overflows |

# %%
for dtype in (torch.float32, torch.float16, torch.bfloat16):
    values = [70000.0, 1e-8, 1.0 + 1 / 512]
    print(f"{dtype!s:15}", *(f"{float(torch.tensor(value).to(dtype)):>12.6g}" for value in values))

# %% [markdown]
# The last column is why *weights* stay in fp32: an update of a five-hundredth of a weight is lost in bf16, and updates are smaller than
# that. `torch.autocast` therefore leaves the model as it is ([mixed precision](../docs/glossary.md#mixed-precision)). Within its context
# each *operator* chooses: matrix products and convolutions convert what they get to 16 bits, while softmaxes, norms and losses are
# computed in fp32. Our model adds one island of its own, `ctc_log_probs`, because CTC sums over hundreds of frames (speechbrain #1803
# and espnet #1777, in the table of mistakes at the end, are what happens otherwise).
#
# fp16 needs one more thing: its small gradients would become 0, so the loss is multiplied by a large number before
# `backward()`, and the gradients are divided by it afterwards. `torch.amp.GradScaler` does both, and lowers the number after an
# overflow.
#
# **Exercise 8.4** · 10 minutes · difficulty 2 of 5 · core
#
# Write `pick_precision`, which decides what `auto` means on a device, and `Stepper.autocast`, which gives the context:
# `torch.autocast(device_type, dtype=...)`, or one that does nothing. `cpu_multiplies_bf16()` and `nullcontext` are there.


# %%
@exercise("8.4")
def pick_precision(precision: str, device: torch.device) -> str:
    """What ``auto`` means on this machine.

    On a GPU bf16 where its hardware has it (``torch.cuda.is_bf16_supported(including_emulation=False)``), else fp16; on
    a CPU bf16 where :func:`cpu_multiplies_bf16`, else fp32; on anything else fp32.

    Args:
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``; what was asked for is what one gets.
        device: where the model is computed.
    """
    raise NotImplementedError("exercise 8.4")


class Stepper:  # these methods become part of asr_tutorial.training.step.Stepper
    def autocast(self) -> AbstractContextManager[Any]:
        """A context in which matrix products are computed in ``self.precision`` on ``self.device``.

        Weights stay fp32 and so does what comes out of sums and softmaxes: ``torch.autocast`` knows which operators may
        be computed in 16 bits. With fp32 nothing is changed.
        """
        raise NotImplementedError("exercise 8.4")


# %%
pick_precision, Stepper = check("8.4")

# %% [markdown]
# Stuck? `asr-tutorial hint 8.4` in a terminal, one hint at a time.
#
# **Try it**: the same batch, computed with all bits and with half of them. **Predict** how far the losses are apart.


# %% tags=["nbval-ignore-output"]
def new_stepper(total_steps: int = 100, **training: Any) -> Stepper:
    """The small model, always with the same first weights, and all that a training of it needs."""
    torch.manual_seed(0)
    config = small_config(**training)
    return Stepper(config, task.tokenizer, build_model(config, task.tokenizer.vocab_size), total_steps)


for precision in ("fp32", "bf16"):
    one = new_stepper(precision=precision)
    sizes = Sizes.of([large])
    totals = one.totals(large)
    print(f"{precision}: CTC {float(totals.ctc) / sizes.ctc_tokens:.4f} nats per token")

# %% [markdown]
# They agree to three digits or so, far closer than two batches do: rounding is the smallest noise in a training.

# %% [markdown]
# ## One training step
#
# Now everything comes together. Here is how the gradients of a step's batches are added up; it is given:

# %%
show("training.step.Stepper.accumulate")

# %% [markdown]
# What is left is the order of things, and order is what goes wrong:
#
# 1. Set what depends on the number of the step: random numbers (`self.seed(step)`), the learning rate, the strength of the
#    augmentation (`ramp(step, *self.ramp)`, assigned to `self.model.spec_augment.strength`), and training mode. Validation has
#    left the model in evaluation mode or not; do not rely on it.
# 2. Count, accumulate.
# 3. Update. First the gradients get their true size back (`self.scaler.unscale_`). Then their norm, over all parameters
#    together, is [clipped](../docs/glossary.md#gradient-clipping): if it is larger than `self.config.optimizer.clip`, all gradients are made shorter by the same
#    factor. One odd utterance can then not throw the weights across the room. `torch.nn.utils.clip_grad_norm_` returns the
#    norm before clipping, which belongs in the log.
# 4. If that norm is not finite, leave the step out. One NaN, clipped and applied, is a model full of NaN.
# 5. `self.scaler.step(self.optimizer)` and `self.scaler.update()` make the step, whatever the precision. Under fp16 they are called
#    even if the norm is not finite: the scaler then skips the step by itself, and lowers its factor. If it never saw an overflow,
#    the next step would overflow too, and so on for ever.
# 6. Gradients to zero, always. If there is an average of the weights (`self.ema`, else None) and the step was made, it follows:
#    `self.ema.update(self.model, step)`.
#
# **Exercise 8.5** · 25 minutes · difficulty 4 of 5 · core
#
# Write `Stepper.step` (1, 2, and a `StepResult` in the end) and `Stepper.update` (3 to 6). The module has `math`, `ramp` and `Sizes`.
# Attributes and the result:

# %%
show("training.step.Stepper.__init__")
show("training.step.StepResult")


# %%
@exercise("8.5")
class Stepper:  # these methods become part of asr_tutorial.training.step.Stepper
    def step(self, batches: list[Batch], step: int) -> StepResult:
        """One optimiser step over accumulated batches, equal to a step over one large batch.

        Random numbers, learning rate and masks are those of step number ``step``; the model is put into training mode;
        gradients are summed over the batches; the weights are changed.

        Args:
            batches: the batches whose gradients are summed; in a training of several processes, this one's.
            step: number of the step, from 0.
        """
        raise NotImplementedError("exercise 8.5")

    def update(self, step: int) -> tuple[float, bool]:
        """Change the weights by the gradients that have been summed, then forget the gradients.

        The norm of all gradients together is clipped to ``optimizer.clip`` (0: not at all). A gradient that is not
        finite changes nothing, neither weights nor their average; but under fp16 the scaler sees it all the same, and
        lowers its factor.

        Args:
            step: number of the step, from 0.

        Returns:
            The norm before clipping, and whether the gradient was finite.
        """
        raise NotImplementedError("exercise 8.5")


# %%
Stepper = check("8.5")

# %% [markdown]
# Stuck? `asr-tutorial hint 8.5` in a terminal, one hint at a time.
#
# **Try it** where every training should begin: *overfit one batch*. A model that cannot learn twelve utterances by heart has a
# defect, and it shows in seconds. (`asr-tutorial overfit` does this with any configuration.)

# %% tags=["nbval-ignore-output"]
STEPS = 120
one = new_stepper(STEPS, optimizer={"lr": 5e-3}, label_smoothing=0.0)
results = [one.step([large], step) for step in range(STEPS)]
with plots.style():
    _, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    for number, name in enumerate(("ctc", "attention")):
        values = [getattr(result, name) for result in results]
        axes.plot(values, color=plots.COLORS[number], ls=plots.DASHES[number], label=name)
    axes.set(xlabel="optimiser step", ylabel="loss (nats per token)", yscale="log")
    axes.set_title("One batch learnt by heart")
    axes.legend()
    plt.show()
print(f"right tokens at the end: {100 * results[-1].token_accuracy:.0f} %")

# %% [markdown]
# ### Too high, too low
#
# **Predict** the three curves: a rate of 0.0001, of 0.005, and of 0.2, on fresh batches, for 100 steps each. Which of them do
# you recognise by its loss, and which by the norm of its gradient?

# %% tags=["nbval-ignore-output"]
STEPS = 100
with plots.style():
    _, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    for number, rate in enumerate((1e-4, 5e-3, 2e-1)):
        one = new_stepper(STEPS, optimizer={"lr": rate})
        batches = task.batches(STEPS, size=12, seed=5)
        results = [one.step([batch], step) for step, batch in enumerate(batches)]
        look = {"color": plots.COLORS[number], "ls": plots.DASHES[number], "label": f"rate {rate:g}"}
        left.plot([result.loss for result in results], **look)
        right.plot([result.grad_norm for result in results], **look)
    left.set(xlabel="optimiser step", ylabel="loss (nats per token)", yscale="log")
    left.set_title("Loss: too low crawls, too high never comes down")
    right.set(xlabel="optimiser step", ylabel="norm before clipping", yscale="log")
    right.set_title("Norm of the gradient")
    left.legend()
    plt.show()

# %% [markdown]
# The low rate is on its way, and has a long one. The high rate shakes within the warm-up, and what follows is the dull part: a loss
# that stays at the height at which the good rate, too, pauses before it learns to use the sound. Its gradient is the smallest of the
# three: the weights have been thrown to a place where everything is flat, and when the rate falls they do not come back. A small
# gradient is no proof of a finished training. If a curve of yours looks like that, halve the rate, or double the warm-up, before you
# look for a defect.

# %% [markdown]
# ## Resume as if nothing had happened
#
# A training of days *will* be interrupted. It should then go on so that the end is the same, bit for bit on one machine. What
# does the next step depend on?
#
# | | where it is kept |
# |---|---|
# | weights | the state |
# | Adam's moments and step counter | the state |
# | learning rate | a function of the step; a plateau schedule has a memory, which is in the state |
# | the average of the weights, the scaler, the precision | the state |
# | which utterances come next | a function of (seed, epoch), and of how many batches of the epoch are done: two numbers |
# | dropout, SpecAugment | random numbers that are seeded anew at each step from (seed, step): nothing to keep |
#
# The last two rows are a decision. Keeping the state of random generators works too, but it breaks as soon as something else
# draws a number: a data worker, another number of processes, a print of a random example.
#
# **Exercise 8.6** · 15 minutes · difficulty 3 of 5 · core
#
# Write `Stepper.state_dict` and `Stepper.load_state_dict`. Tensors and plain values only: the file is read with
# `torch.load(..., weights_only=True)`, which never runs a stranger's code. The attributes are those of `__init__` above; the averaged
# weights are the dictionary `self.ema.average`.


# %%
@exercise("8.6")
class Stepper:  # these methods become part of asr_tutorial.training.step.Stepper
    def state_dict(self) -> dict[str, Any]:
        """Everything that later steps depend on, as tensors and plain values.

        Returns:
            ``model``, ``optimizer``, ``schedule`` and ``scaler``: their own state dicts; ``ema``: the averaged weights
            by name, None where there is no average; ``precision``: what ``auto`` became.
        """
        raise NotImplementedError("exercise 8.6")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of :meth:`state_dict`: the steps that follow are those that would have followed there.

        The precision is the one that the run began with, also where ``auto`` would choose another on this machine; the
        scaler of fp16 is made anew to fit it.

        Args:
            state: tensors on the CPU, as :func:`~asr_tutorial.training.state.load_state` reads them.
        """
        raise NotImplementedError("exercise 8.6")


# %%
Stepper = check("8.6")

# %% [markdown]
# Stuck? `asr-tutorial hint 8.6` in a terminal, one hint at a time.
#
# **Try it**: 12 steps without a stop; 12 steps with a new process after the sixth (here a new stepper); and the popular way,
# weights alone.


# %%
def weights_after(stop: int | None, only_weights: bool = False) -> Tensor:
    """The weights after 12 steps; at ``stop`` a new stepper takes over from what was saved."""
    runner = new_stepper(12)
    for step, batch in enumerate(task.batches(12, size=6, seed=3)):
        if step == stop:
            saved = runner.state_dict()
            runner = new_stepper(12)
            if only_weights:
                runner.model.load_state_dict(saved["model"])
            else:
                runner.load_state_dict(saved)
        runner.step([batch], step)
    return torch.cat([parameter.detach().flatten() for parameter in runner.model.parameters()])


straight = weights_after(stop=None)
for name, only in (("whole state", False), ("weights alone", True)):
    other = weights_after(stop=6, only_weights=only)
    print(f"{name:14} equal bit for bit: {torch.equal(other, straight)}")

# %% [markdown]
# `asr-tutorial train --resume runs/MY_RUN` goes on with a run. `train --run-dir DIR --resume auto` starts one or goes on with it,
# whichever is the case: the line to put into a job script. A training that gets SIGTERM or SIGUSR1 finishes its step, saves, and
# ends with exit code 75.

# %% [markdown]
# ## Where the time goes
#
# Everything from here on is about doing the same step sooner. The rule is: measure first. Below is the model of the tinyspeech
# recipe on some bundled speech, under PyTorch's profiler, which notes how long each operator takes.

# %% tags=["nbval-ignore-output"]
recipe = load_config(
    "tinyspeech",
    [
        "--data.train=[tinyspeech/dev]",  # small, so that its features are soon there
        "--data.test=[]",
        "--data.batch_seconds=20",
        "--training.device=cpu",
        "--training.precision=fp32",
    ],
)
data, model = prepare(recipe, progress=False)
runner = Stepper(recipe, data.tokenizer, model, total_steps=1000)
speech = next(data.train.batches())
print("a batch:", tuple(speech.features.shape), f"{100 * speech.padding_share:.1f} % padding")
for step in range(2):  # the first steps build kernels
    runner.step([speech], step)
with profile(activities=[ProfilerActivity.CPU]) as profiled:
    runner.step([speech], 2)
events = [event for event in profiled.key_averages() if event.self_cpu_time_total > 0]
events.sort(key=lambda event: event.self_cpu_time_total, reverse=True)
total = sum(event.self_cpu_time_total for event in events)
with plots.style():
    _, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    names = [event.key.removeprefix("aten::") for event in events[:12]]
    axes.barh(
        names[::-1], [100 * event.self_cpu_time_total / total for event in events[:12]][::-1], color=plots.COLORS[0]
    )
    axes.set(xlabel="share of the step (%)")
    axes.set_title(f"The twelve operators that take longest, of {len(events)}")
    plt.show()

# %% [markdown]
# Matrix products (`mm`, `addmm`, `bmm`) and convolutions are the work itself. What else stands high is overhead: copies (`copy_`),
# element-wise operations that read and write whole tensors for one multiplication (`mul`). Those are what fused kernels save. Which
# names follow differs a little from machine to machine: `_ForwardBackward` is CTC, both passes in one, `threshold_backward` ReLU's way
# back, `_fused_adamw_` the optimiser.
#
# For a table, time whole steps: the median of a few, after warming up.


# %% tags=["nbval-ignore-output"]
def seconds_per_step(runner: Stepper, batches: list[Batch], warm: int = 2) -> float:
    """Median time of a step over the batches behind the first few."""
    times = []
    for step, batch in enumerate(batches):
        started = time.perf_counter()
        runner.step([batch], step)
        times.append(time.perf_counter() - started)
    return statistics.median(times[warm:])


def longer(batch: Batch, frames: int) -> Batch:
    """The same utterances with more padding."""
    return Batch(**{**vars(batch), "features": F.pad(batch.features, (0, 0, 0, frames))})


def fresh(precision: str) -> Stepper:
    torch.manual_seed(0)
    config = load_config("tinyspeech", ["--training.device=cpu", f"--training.precision={precision}"])
    return Stepper(config, data.tokenizer, build_model(config, data.tokenizer.vocab_size), total_steps=1000)


COUNT = 6
rows = {}
fused = MultiHeadAttention.fused
MultiHeadAttention.fused = False
rows["fp32, explicit attention"] = seconds_per_step(fresh("fp32"), [speech] * COUNT)
MultiHeadAttention.fused = True
rows["fp32, fused attention"] = seconds_per_step(fresh("fp32"), [speech] * COUNT)
rows["bf16, fused attention"] = seconds_per_step(fresh("bf16"), [speech] * COUNT)
changing = [longer(speech, 4 * k) for k in range(1, COUNT + 1)]
rows["bf16, another length each step"] = seconds_per_step(fresh("bf16"), changing)
MultiHeadAttention.fused = fused
audio = 0.01 * int(speech.feature_lengths.sum())
print("bf16 instructions in this processor:", cpu_multiplies_bf16())
for name, seconds in rows.items():
    print(f"{name:36} {1000 * seconds:6.0f} ms a step   {audio / seconds:5.0f} s of speech a second")

# %% [markdown]
# Read your own numbers; they differ from machine to machine. What usually shows:
#
# - **Fused attention** computes scores, softmax and weighted sum in one pass without writing the weights down. The longer the
#   sequence, the more it saves, in memory above all; on sentences of a few seconds it is not much.
# - **bf16** halves the time of the products where the processor has instructions for it, and makes things *slower* where it has
#   not: `auto` looks (exercise 8.4).
# - **Fixed shapes.** The last row has a few frames of padding more at each step, which is next to no work, and loses a good part of
#   what bf16 had won: its kernels are built for one shape, and built anew for the next. That is why `data.frame_multiple` rounds
#   lengths up, and why buckets (exercise 8.8) always make batches of one size. For `torch.compile` it matters far more.
#
# **torch.compile** (`training.compile=true`) joins element-wise operations into kernels made for your model. Building them takes too
# long for a notebook, so here is a recorded measurement, `python benchmarks/torch_compile.py`. Other programs kept that machine busy:
# look at the ratio rather than the seconds.

# %%
record = json.loads((REPOSITORY / "data/results/benchmarks/torch_compile.json").read_text(encoding="utf-8"))
table = record["tables"][0]
print(table["title"], "\n")
for row in table["rows"]:
    print(
        f"{row['system']:14} first step {row['first step s']:6.1f} s, with a new length {row['new length s']:6.1f} s, "
        f"then {row['processor_ratio']:.2f} of the time"
    )

# %% [markdown]
# On this processor it costs minutes, and the steps are slower afterwards. Most of a step is matrix products, which it leaves to the same
# library, and what it joins is no faster than what was there. A second length costs as much again; that build is meant for all further
# lengths. On a GPU each small operation is a kernel that has to be started, so more can be won there: this course has not measured it.
# Hence it is off unless you ask for it. Before a long training, compare the seconds of speech per second in the log, with and without.
#
# ### Is the data in time?
#
# A training step waits for its batch. Features are computed once and kept on disk (`FeatureStore`), so that a batch is a copy out of
# a mapped file. Is that worth it, against computing them anew from the sound in each epoch?

# %% tags=["nbval-ignore-output"]
started = time.perf_counter()
count = 8
for _, _ in zip(range(count), data.train.batches(epoch=1), strict=False):
    pass
reading = (time.perf_counter() - started) / count
utterances = {utterance.id: utterance for utterance in read_corpus("tinyspeech/dev")}
extract = FeatureExtractor(recipe.features)
started = time.perf_counter()
sounds = [read_audio(utterances[name].audio) for name in speech.ids]
decoding = time.perf_counter() - started
started = time.perf_counter()
for sound in sounds:
    extract(torch.from_numpy(sound)[None])
computing = time.perf_counter() - started
for name, seconds in (
    ("a batch from the store", reading),
    ("reading its sound files", decoding),
    ("computing its features", computing),
    ("the step itself", rows["fp32, fused attention"]),
):
    print(f"{name:26} {1000 * seconds:7.1f} ms")

# %%
rate, mels, frames_per_second = 16_000, 80, 100
print("sound, 16 bits:   ", rate * 2, "bytes a second")
print("features, 32 bits:", mels * 4 * frames_per_second, "bytes a second")

# %% [markdown]
# Features are exactly as large as the sound, so the store costs no more disk than uncompressed sound would, and reading it is
# nothing beside the step. A GPU may make a step in 20 ms; then the first number has to stay below 20 ms. Where it does not,
# `data.workers=4` lets four other processes prepare batches ahead, on cores of their own. **Predict** what two workers do for
# batches that come from the store:

# %% tags=["nbval-ignore-output"]
for workers in (0, 2):
    data.train.workers = workers
    started = time.perf_counter()
    arrivals = [time.perf_counter() - started for _ in data.train.batches(epoch=1)]
    further = (arrivals[-1] - arrivals[0]) / (len(arrivals) - 1)
    print(f"{workers} workers: first batch after {1000 * arrivals[0]:6.1f} ms, then one every {1000 * further:5.1f} ms")
data.train.workers = 0

# %% [markdown]
# Processes have to be started, at each epoch, and each batch has to be handed over: here that costs more than it saves. Workers are for
# data that is slow to prepare, or that lies behind a network. Measure before you ask for them; `asr-tutorial train` logs seconds of
# speech per second, data included.
#
# **Features on the device**: to compute them there anew for each batch is a way out for systems that change the sound at random in
# each epoch. Ours changes speed in three fixed ways, which are kept in the store, and the rest on the features:
# [SpecAugment](../docs/glossary.md#specaugment) and the warping of frequencies run on the device already. So there is no such option
# here, for it would save nothing that is slow.

# %% [markdown]
# ## NaN, and a memory that is full
#
# A loss of NaN says nothing about where it began, because NaN spreads to everything that it touches. `asr-tutorial diagnose` takes
# a few steps of a configuration or a checkpoint and looks into every module. Let us plant a classic. The norm of a vector of zeros is
# 0, quite finite; its *gradient* is 0/0.


# %%
class Normed(nn.Module):
    """A layer whose output has its mean taken away, and what is left divided by its length."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        silent = y - y  # zeros, as in padding or digital silence
        return y + silent.pow(2).sum(dim=-1, keepdim=True).sqrt()


one = new_stepper()
one.model.encoder.layers[1].norm2 = Normed(one.model.encoder.layers[1].norm2)
report = examine(one, [large])
print(report.text().splitlines()[0])
print(report.text().splitlines()[1])

# %% [markdown]
# The forward pass is flawless, and so is the loss. `diagnose` has hooks on the way back and names the module that makes a bad
# gradient out of a good one. The remedy is in its second line: clamp the argument of the root, not its result.
#
# The second half of the report is about memory. Where does it go?

# %% tags=["nbval-ignore-output"]
report = examine(new_stepper(), [large])
print("\n".join(report.text().splitlines()[2:-1]))

# %% [markdown]
# Parameters, gradients and the optimiser's state are a fixed price. *Activations*, what is kept from the forward pass for the way
# back, grow with the batch: with its seconds, padding included. So when the memory is full, halve `data.batch_seconds` and double
# `training.accumulate`. By exercise 8.3 that is the same step.
#
# In a terminal: `asr-tutorial diagnose --config librispeech_100h --memory 16` says how long batches may be on a card of 16 GB, and
# `asr-tutorial diagnose --checkpoint runs/MY_RUN` looks at a training where it stands.

# %% [markdown]
# ## Optional: SpecAugment
#
# A recogniser that has heard a sentence thirty times knows it by heart. SpecAugment hides random
# bands of frequency and stretches of time, so that each time another cue has to do. It works on the features, on the device, and costs
# next to nothing.
#
# Two details are mistakes in more than one toolkit (NeMo #3298, speechbrain #1116, espnet #2923): the masks must lie in the utterance's
# own frames, not in the padding, and 0 must mean "average", so masking comes *after* normalisation.
#
# **By hand**: an utterance has 15 frames, the widest stretch is 4. A width is drawn from 0, 1, 2, 3, 4, say 3; a start from the
# $15 - 3 + 1 = 13$ places 0 to 12 at which 3 frames fit.
#
# **Exercise 8.7** · 25 minutes · difficulty 4 of 5 · optional
#
# Write `random_stretches`, for all rows at once, and `SpecAugment.forward`, which needs it twice. The module has `torch` and
# `padding_mask` (chapter 03). The strength is between 0 and 1:

# %%
show("features.augment.SpecAugment.__init__")
show("features.augment.SpecAugment.strength")


# %%
@exercise("8.7")
def random_stretches(extents: Tensor, max_widths: Tensor, count: int, size: int) -> Tensor:
    """Choose ``count`` random stretches of each row; they may overlap.

    A width is uniform over the whole numbers from 0 to ``max_widths``, a start uniform over the places at which the
    stretch fits into the first ``extents`` positions.

    Args:
        extents: ``(batch,)`` positions of each row that may be chosen from.
        max_widths: ``(batch,)`` largest width of a stretch; its fraction does not count.
        count: stretches in a row.
        size: length of the rows.

    Returns:
        ``(batch, size)`` boolean, True within a stretch.
    """
    raise NotImplementedError("exercise 8.7")


class SpecAugment:  # these methods become part of asr_tutorial.features.augment.SpecAugment
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Hide bands and stretches of each utterance, other ones for each.

        There are ``config.freq_masks`` bands of at most ``config.freq_width`` mel bins (and never more than there are),
        and ``config.time_masks`` stretches of at most ``config.time_width`` times the utterance's own length; both
        largest widths are multiplied by the strength. In evaluation mode nothing happens.

        Args:
            features: ``(batch, frames, n_mels)`` normalised.
            lengths: ``(batch,)`` real frames; padding behind them is never written to.

        Returns:
            The features with 0 in the hidden places.
        """
        raise NotImplementedError("exercise 8.7")


# %%
random_stretches, SpecAugment = check("8.7")

# %% [markdown]
# Stuck? `asr-tutorial hint 8.7` in a terminal, one hint at a time.
#
# **Try it** on an utterance of the batch, at half and at full strength. The mask starts narrow and widens over the training where
# the recipe asks for it (`augment.ramp_start`, `ramp_end`): a model first has to learn what it is later to be robust about.

# %%
masker = SpecAugment(AugmentConfig(freq_masks=2, freq_width=20, time_masks=3, time_width=0.1)).train()
row = int(speech.feature_lengths.argmin())  # the shortest has most padding
clean = model.normalize(speech.features, speech.feature_lengths)
with plots.style():
    _, all_axes = plt.subplots(3, 1, figsize=(8, 6), layout="constrained", sharex=True)
    for axes, strength in zip(all_axes, (0.0, 0.5, 1.0), strict=True):
        masker.strength = strength
        torch.manual_seed(2)
        plots.mel(masker(clean, speech.feature_lengths)[row], axes=axes, title=f"strength {strength}")
    for axes in all_axes[:-1]:
        axes.set_xlabel("")
    plt.show()

# %% [markdown]
# ## Optional: buckets
#
# Utterances of one batch are padded to the longest. **By hand**: lengths 10, 9, 5, 18, 20 and 12 frames in two random batches, say
# (10, 9, 20) and (5, 18, 12), are padded to 20 and 18: $3 \cdot 20 + 3 \cdot 18 = 114$ frames for 74 real ones, 35 % padding. In order of
# length, (5, 9, 10) and (12, 18, 20), it is $30 + 60 = 90$, 18 %. But always the same companions, from short to long, is bad for
# learning. A [bucket](../docs/glossary.md#bucket) sampler has both: random batches of utterances of *about* one length.
#
# **Exercise 8.8** · 30 minutes · difficulty 4 of 5 · optional
#
# `BatchPlan(frames, indices)` is a batch before it is read: the length that it is padded to, and a list of numbers of utterances. The
# module has `np`.


# %%
@exercise("8.8")
def bucket_batches(
    lengths: np.ndarray, batch_frames: int, frame_multiple: int, rng: np.random.Generator
) -> list[BatchPlan]:
    """One epoch of batches, each of utterances of about one length, in random order.

    Bucket ``b``, from 1 on, takes the lengths up to ``b * frame_multiple`` and makes batches of
    ``batch_frames // (b * frame_multiple)`` utterances, one at least. What is left over, fewer than a batch, moves up
    to the next bucket that has utterances; the longest of a bucket move, since they waste least there. So every batch
    is full but one of the longest bucket, and no utterance is dropped or repeated.

    Args:
        lengths: ``(utterances,)`` frames of each utterance, all positive.
        batch_frames: most frames in a batch, padding included; a longer utterance gets a batch of its own.
        frame_multiple: width of a bucket in frames.
        rng: decides which utterances of a bucket share a batch, and the order of the batches.
    """
    raise NotImplementedError("exercise 8.8")


# %%
bucket_batches = check("8.8")

# %% [markdown]
# Stuck? `asr-tutorial hint 8.8` in a terminal, one hint at a time.
#
# **Try it** on lengths like those of LibriSpeech, in batches of 200 s at most: random, sorted, and buckets. **Predict** the padding,
# the number of batches, and that of different shapes.

# %%
lengths = (200 + 1500 * np.random.default_rng(0).beta(1.8, 0.75, size=3000)).astype(int)
order = np.random.default_rng(1).permutation(len(lengths))
at_once = 20_000 // int(lengths.max())  # so many fit whatever their lengths are
at_random = [
    BatchPlan(int(lengths[part].max()), part.tolist()) for part in np.array_split(order, -(-len(order) // at_once))
]
ways = {
    "random": at_random,
    "sorted": sequential_batches(lengths.tolist(), 20_000),
    "buckets of 32": bucket_batches(lengths, 20_000, 32, np.random.default_rng(1)),
}
for name, plans in ways.items():
    shapes = {(plan.frames, len(plan.indices)) for plan in plans}
    print(f"{name:14} {100 * padding_share(plans, lengths):5.1f} % padding, {len(plans)} batches, {len(shapes)} shapes")

# %%
with plots.style():
    _, all_axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained", sharey=True)
    for axes, (name, plans) in zip(all_axes, ways.items(), strict=True):
        for place in np.linspace(0, len(plans) - 1, 40).astype(int):
            spread = lengths[plans[place].indices] / 100
            axes.plot([place, place], [spread.min(), spread.max()], color=plots.COLORS[0], lw=2)
            axes.plot(place, plans[place].frames / 100, "_", color=plots.COLORS[1], ms=6)
        axes.set(xlabel="batch (40 of them)", title=f"{name}: {100 * padding_share(plans, lengths):.0f} % padding")
    all_axes[0].set_ylabel("lengths in a batch (s)")
    plt.show()

# %% [markdown]
# Each bar is the spread of lengths in a batch, the dash the length that it is padded to: a long bar is much waste. Random batches can
# hold only as many utterances as fit at the greatest length, so there are more of them. Sorted batches waste next to nothing,
# and the course of an epoch is a slope. Buckets are nearly as narrow, come in random order, and in few shapes.

# %% [markdown]
# ## Optional: saving without losing the last state
#
# When does a disk become full? While something large is written to it: the state of your training. And if the state is written over the
# former one, both are gone. The way out is an old one: write to another name, make sure that the content is on the disk, then rename.
# A rename happens wholly or not at all.
#
# **Exercise 8.9** · 15 minutes · difficulty 3 of 5 · optional
#
# `torch.save` turns a full disk into a `RuntimeError` of its own; the other errors are `OSError`, whose `errno` is `errno.ENOSPC` or
# `errno.EDQUOT` when the disk, or your share of it, is full. `errno`, `os`, `torch` and `CheckpointError` are there.


# %%
@exercise("8.9")
def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write atomically: whatever happens, ``path`` holds the former state as a whole, or the new one as a whole.

    Missing folders are made. The content is on the disk (``os.fsync``) before it gets its name, and no temporary file
    is left behind.

    Args:
        path: the file.
        state: tensors and plain values.

    Raises:
        CheckpointError: "the disk is full", or the folder cannot be written; the former state is untouched.
    """
    raise NotImplementedError("exercise 8.9")


# %%
save_state = check("8.9")

# %% [markdown]
# Stuck? `asr-tutorial hint 8.9` in a terminal, one hint at a time.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "state.pt"
    save_state(path, {"step": 1})
    save_state(path, {"step": 2})
    print("read back:", load_state(path), "  files:", [file.name for file in path.parent.iterdir()])

# %% [markdown]
# ## Deep dive: many processes, one model
#
# Optional, without exercises. A GPU is one process's; to use several there must be several processes, *ranks*, each with a copy of the
# model. They differ in what they compute: each takes a share of the step's utterances. Then the gradients are added up over the ranks, each
# gets the sum, and each makes the same update of the same weights. Nothing else has to be sent. The operation is called
# [all-reduce](../docs/glossary.md#all-reduce), and PyTorch's `DistributedDataParallel` (DDP) does it during `backward()`, layer by layer, while
# lower layers are still being computed.
#
# ```
# torchrun --nproc-per-node=2 -m asr_tutorial train --config tinyspeech
# ```
#
# `torchrun` starts two processes with `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT` in their environment: who am I, how many are we,
# where do we meet. Here is a training in small, with two processes that talk through Gloo on this machine's processor. The numbers are those of
# the table in *Many small batches*: rank 0 has 2 tokens and 10 nats, rank 1 has 18 tokens and 18 nats.

# %%
program = """
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

distributed.init_process_group("gloo")
rank, size = distributed.get_rank(), distributed.get_world_size()
tokens, nats = [(2, 10.0), (18, 18.0)][rank]


def gradient(divisor):
    model = DistributedDataParallel(torch.nn.Linear(1, 1, bias=False))
    (model(torch.tensor([[nats]])).sum() / divisor).backward()  # the all-reduce of the gradients is in here
    return float(model.module.weight.grad)


own = gradient(tokens)
count = torch.tensor(tokens)
distributed.all_reduce(count)  # every rank puts in its number, and gets the sum
right = gradient(int(count) / size)  # DDP divides the sum of the gradients by the number of ranks
if rank == 0:
    print(f"each rank divides by its own tokens: {own:.2f}", flush=True)
    print(f"all divide by the {int(count)} tokens of the step: {right:.2f}", flush=True)
distributed.destroy_process_group()
"""
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
processes = []
for rank in range(2):
    variables = {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    command = [sys.executable, "-c", program]
    pipe = subprocess.PIPE
    processes.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=subprocess.DEVNULL, text=True))
for process in processes:
    print(process.communicate()[0], end="")

# %% [markdown]
# 3.0 and 1.4 again. DDP takes the *mean* of the gradients, which is right for programs that take means of equal batches. Ours has batches
# of different numbers of tokens, so `Sizes.of` sums them over the ranks, and `accumulate` multiplies by the number of ranks what DDP will divide
# by it. It is the mistake of exercise 8.3, one storey up.
#
# ### Sharing a step
#
# Who takes what? The configuration says what a step is: `accumulate` batches of `batch_seconds`. Each process plans the whole step (the plan is a
# function of seed and epoch) and takes its share:

# %%
step = [BatchPlan(320, [10, 11, 12, 13, 14]), BatchPlan(640, [20, 21])]
for world_size in (2, 6):
    print(f"{world_size} processes:")
    for rank in range(world_size):
        parts = share(step, rank, world_size)
        print("   rank", rank, [(part.frames, part.indices, "spare" if part.spare else "") for part in parts])

# %% [markdown]
# Two batches for two processes: one each. For six, each batch is cut in three. Where a batch has fewer utterances than parts, somebody gets
# a *spare*: a repetition whose loss counts nothing. It is there because all ranks have to come to each all-reduce, or the others wait for ever.
#
# So a step is the same step with any number of processes, and the same training is merely done sooner: the tests of this repository compare two
# processes with one, loss by loss, to five digits. It follows that a run may go on with *another* number of processes than it began with. The
# price: to train with larger steps on more GPUs, you have to say so, with `data.batch_seconds`.
#
# The rest of the loop knows of ranks in four places:
#
# | | |
# |---|---|
# | features, tokenizer | the first process of each machine computes features, the others find them in the cache; all compare what they have |
# | validation | of $n$ ranks each measures every $n$-th batch; sums and transcripts are gathered, so that all know the same error rate |
# | files | rank 0 alone writes logs, checkpoints and states; all read them |
# | signals | one rank may get SIGTERM a step before the other: each step they ask each other, and stop together |
#
# ### When one of them dies
#
# A killed process leaves the others waiting in an all-reduce. `torchrun` watches its processes, ends the others, and with `--max-restarts`
# starts all of them anew. Here two processes count to seven together; the first saves what they have after every third step, and the
# second is killed (SIGKILL, as for want of memory) before step 5. **Predict** what is printed.

# %% tags=["nbval-ignore-output"]
program = """
import os, signal, sys
from pathlib import Path
import torch
from asr_tutorial.training.distributed import Ranks, restart_count

ranks, state = Ranks.from_environment(), Path(sys.argv[1])
with ranks.joined(torch.device("cpu")):
    for step in range(int(state.read_text()) if state.exists() else 0, 7):
        if (restart_count(), ranks.rank, step) == (0, 1, 5):
            os.kill(os.getpid(), signal.SIGKILL)
        ranks.wait()  # the other one, as in each step of a training
        if ranks.first:
            print(f"attempt {restart_count()}: step {step}", flush=True)
        if ranks.first and step % 3 == 2:
            state.write_text(str(step + 1))
"""
with tempfile.TemporaryDirectory() as folder:
    Path(folder, "train.py").write_text(program, encoding="utf-8")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*torchrun, f"{folder}/train.py", f"{folder}/state"], env=environment, capture_output=True, text=True
    )
print(result.stdout)

# %% [markdown]
# Steps 3 and 4 are made twice: they had not been saved. In a training `training.checkpoint_every` says how much work a crash may
# cost. The command is the same:
#
# ```
# torchrun --nproc-per-node=8 --max-restarts=3 -m asr_tutorial train --config librispeech_100h
# ```
#
# The new processes find the run that this `torchrun` began, and go on from its last state. A test of this repository
# (`tests/test_distributed.py`) kills a real training so, and compares every loss of what follows with a run that nobody disturbed. On
# a cluster the queue does the restarting; `docs/slurm` has job files that save when their time is nearly up, requeue themselves, and go
# on.

# %% [markdown]
# ## The usual mistakes
#
# | mistake | what you see |
# |---|---|
# | the scheduler counts batches, not optimiser steps | with accumulation the rate falls too soon by that factor. Threads: accelerate #963, starVLA #210 |
# | each part of a step divided by its own tokens | nothing; it is a little worse, and results change with the number of GPUs |
# | gradients not set to zero | loss falls, then shakes, then rises |
# | clipping before unscaling (fp16) | hardly any progress; the logged norm is always huge |
# | no training mode after a validation | training loss drops at the first validation, dev loss gets worse. Threads: DeepSpeech #1262, deepspeech.pytorch #22 |
# | fp16 or bf16 inside CTC | NaN after some hundred steps. Threads: speechbrain #1803, espnet #1777 |
# | an utterance that CTC cannot say in its frames | an infinite loss now and then; with `zero_infinity` a silent 0. Threads: icefall #135, warp-ctc #29 |
# | SpecAugment in the padding, or before normalisation | a small loss of accuracy that nobody finds. Threads: NeMo #3298, speechbrain #1116, espnet #2923 |
# | augmentation silently off | better training loss, worse test. Thread: espnet #6418 |
# | resumed with weights alone | a jump of the loss after each restart |
# | another random shape at each step | a GPU or CPU that is busy, and slow |
# | a rank with fewer batches than the others | everything hangs at the end of the epoch |

# %% [markdown]
# ## Three questions
#
# **1.** You double `training.accumulate` and leave everything else. `max_epochs` is 30. What happens to the number of optimiser steps, and what to the
# learning rate's course?
#
# <details><summary>Answer</summary>
#
# There are half as many steps in an epoch, so half as many in all. The schedule counts optimiser steps and knows their total, so it falls to the end
# all the same; but the warm-up, which is given in steps, takes twice as large a share of the training.
#
# </details>
#
# **2.** From step 4000 on, each step of your run in bf16 has a gradient that is not finite, and after some of them it gives up.
# `asr-tutorial diagnose` on its latest state names a module of the decoder. Are the weights lost? Where do you look next?
#
# <details><summary>Answer</summary>
#
# The weights are those of the last step that was applied: a gradient that is not finite changes nothing (exercise 8.5), and `diagnose`
# would have said so if they held a NaN. But with such weights the named module makes NaN out of finite values, so they have gone a bad
# way before. Look at the norms of the gradients in the log up to step 4000: they usually rise for some hundred steps. Go on from a
# checkpoint before that rise with a lower rate or a smaller `clip`, and look at what the module computes: a division by a small
# number, a row of a mask that allows nothing.
#
# </details>
#
# **3.** Two processes with dropout, on the same step as one process: are the losses equal?
#
# <details><summary>Answer</summary>
#
# No, and they should not be. Each rank draws random numbers of its own (`seed` adds the rank), for with the same numbers the first utterance of each
# share would get the same dropout mask. The losses agree in the mean. With dropout and augmentation off they are equal to rounding, which is how the
# equality is tested.
#
# </details>

# %% [markdown]
# ## Where this goes next
#
# You have a recogniser that can be trained, left alone, and trusted to come back. Chapter 09 gets more out of it without changing a weight: by
# searching for the best transcript instead of taking the best token at each step.
#
# Try `asr-tutorial train --code mine`: the training of the demo, on your functions.
#
# ## References
#
# - C. Szegedy et al., [Rethinking the Inception architecture](https://arxiv.org/abs/1512.00567), 2015, section 7: label smoothing.
# - A. Vaswani et al., [Attention is all you need](https://arxiv.org/abs/1706.03762), 2017, section 5.3: warm-up and the schedule named after Noam
#   Shazeer.
# - I. Loshchilov and F. Hutter, [Decoupled weight decay regularization](https://arxiv.org/abs/1711.05101), 2017: AdamW.
# - P. Micikevicius et al., [Mixed precision training](https://arxiv.org/abs/1710.03740), 2017: fp16, fp32 weights, and scaling of the loss.
# - D. S. Park et al., [SpecAugment](https://arxiv.org/abs/1904.08779), 2019.
# - S. Li et al., [PyTorch Distributed](https://arxiv.org/abs/2006.15704), 2020: how DDP hides the time that all-reduce takes.
# - R. Pascanu, T. Mikolov and Y. Bengio, [On the difficulty of training recurrent neural networks](https://arxiv.org/abs/1211.5063), 2012: clipping by
#   norm.
