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
# # 14 · The debugging clinic
#
# A program with a mistake stops with an error. A training with a mistake goes on: it prints a loss, writes checkpoints, and at the end it
# recognises nothing, or less than it could. In this chapter twelve small training scripts come to you, each with one such mistake. All twelve
# were made by people who knew what they were doing; the references at the end lead to the public threads where they were found.
#
# You see the symptom first, as its owner saw it: a curve, transcripts, what the encoder gives, where the decoder looks. Then you search,
# repair the script, and the check runs it: the symptom has to be gone.
#
# **You need** the chapters up to [08](08_training.ipynb); patient 9 needs shallow fusion from [10](10_language_model.ipynb).
# **Time**: about 3 hours; the core exercises take 80 minutes of them.
#
# EXERCISES

# %%
# The course comes first: from here on the library has what you wrote in earlier chapters.
from asr_tutorial.course import admit, check, exercise, here, show

here("14")

# %%
from collections.abc import Sequence

import torch
from IPython.display import Markdown
from matplotlib import pyplot as plt
from torch import Tensor
from torch.nn import functional as F

from asr_tutorial.clinic.chart import CHART
from asr_tutorial.clinic.picture import draw, report
from asr_tutorial.clinic.visit import Visit, inside, sentences, small_model, written
from asr_tutorial.dataset import collate
from asr_tutorial.dataset.batch import pad_tokens
from asr_tutorial.tokenizer import Tokenizer

torch.set_num_threads(1)  # models so small that threads would mostly wait for each other

# %% [markdown]
# ## The method
#
# Looking at the code is what everybody tries first, and it is the worst of methods: you read what you meant, not what stands there. Four
# questions are asked of the running program instead, the cheapest first.
#
# 1. **Can it learn a few examples by heart?** Take one batch, no dropout, no augmentation, and train on it again and again. A model of any
#    size can do that. If it cannot, or if it learns by heart what it then cannot say, the mistake is in the script, and every further
#    experiment takes seconds. (`asr-tutorial overfit` does this with a whole configuration.)
# 2. **What does it get?** Print one example at the last moment before the model: the features as a picture, the tokens as text, the lengths as
#    numbers. Most mistakes are found here.
# 3. **What do the gradients say?** Print the norm of the gradient of each part, over some steps: none, zero, NaN and growing each mean something.
# 4. **Which part does it?** Switch parts off one by one, and compare runs that differ in one thing only.
#
# ### Worked through once
#
# The script below is no patient; it is here to show the method. It learns four sentences of the bundled corpus by heart, or should.


# %%
def demonstration(number=4, steps=60, clip=True, warm_up=True, forget=False):
    """Train on a few sentences; returns what a doctor looks at."""
    examples, tokenizer = sentences(number)
    model = small_model(tokenizer)
    batch = collate(examples, tokenizer)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses, norms = [], []
    for step in range(steps):
        if warm_up:
            optimizer.param_groups[0]["lr"] = 1e-2 * min(1, (step + 1) / 10)
        if forget:
            optimizer.zero_grad()
        logits = model(batch.features, batch.feature_lengths, batch.tokens_in).logits
        loss = F.cross_entropy(logits.transpose(1, 2), batch.tokens_out, ignore_index=tokenizer.pad_id)
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0 if clip else 1e9)))
        optimizer.step()
        losses.append(loss.item())
    transcripts, _ = written(model, batch, tokenizer)
    return Visit({"training": losses, "gradient norm": norms}, transcripts=transcripts)


visit = demonstration()
report(visit)
print("lowest loss", round(min(visit.losses["training"]), 2), "last", round(visit.losses["training"][-1], 2))

# %% [markdown]
# TO WRITE: method

# %% [markdown]
# ## The chart
#
# Which question to ask first depends on what you see. The chart leads from symptoms to tests; each test has an outcome that points to a cause.
# Several causes may show the same symptom, so that the test decides and not the symptom.

# %%
from asr_tutorial.clinic.chart import CHART

for row in CHART:
    print(row.symptom, "|", row.test)

# %% [markdown]
# ## Patient 1: it never stops
#
# > *"The loss goes down to nothing, and the beginning of each transcript is perfect. But then it goes on and on. More than 100 % of the
# > characters are wrong, which I did not know was possible."*
#
# `admit` gives you the script as it came in: a module with a function `run`, which trains for less than a second.

# %%
sick = admit("14.1")
visit = sick.run()
draw(visit, "Patient 1 on admission")
plt.show()
report(visit)

# %% [markdown]
# Four sentences are learnt by heart, as question 1 asks. All letters that were said are there. What is wrong begins behind them: each text runs
# into the limit of 60 letters, at which the search cuts it off, and what stands there are shreds of the sentences. Insertions count as errors,
# so that there may be more errors than characters.
#
# So ask question 2 where the text ends: what is the decoder told about the place behind the last letter? This is the whole of the training:

# %%
show("clinic.no_eos.run")

# %% [markdown]
# **Exercise 14.1** · 10 minutes · difficulty 1 of 5 · core
#
# This cell is not empty: it holds the function as it came in. Find what is wrong with it and repair it. `pad_tokens(sequences, length, pad)` of
# `asr_tutorial.dataset.batch` stacks lists of ids and fills them up.


# %%
@exercise("14.1")
def read_and_answered(texts: Sequence[Sequence[int]], tokenizer: Tokenizer) -> tuple[Tensor, Tensor]:
    """What the decoder reads and what it is trained to answer, position by position.

    Args:
        texts: ids of the letters of each text.
        tokenizer: knows the ids of the special tokens.

    Returns:
        Two ``(batch, length)`` tensors of one shape, filled up with PAD, which the loss leaves out.
    """
    length = max(map(len, texts)) + 1
    read = [[tokenizer.sos_id, *text] for text in texts]
    answered = list(texts)
    return pad_tokens(read, length, tokenizer.pad_id), pad_tokens(answered, length, tokenizer.pad_id)


# %%
read_and_answered = check("14.1")

# %% [markdown]
# With your repair (or ours, as long as yours is not right yet) the script runs again:

# %%
from asr_tutorial.clinic import no_eos

visit = no_eos.run()
draw(visit, "Patient 1, cured")
plt.show()
report(visit)

# %% [markdown]
# ## Patient 2: a splendid loss
#

# %%
sick = admit("14.2")
visit = sick.run()
draw(visit, "Patient 2 on admission")
plt.show()
report(visit)

# %% [markdown]
# PROSE2


# %%
@exercise("14.2")
def text_loss(logits: Tensor, answered: Tensor, tokenizer: Tokenizer) -> Tensor:
    """Mean loss of the decoder's answers.

    Args:
        logits: ``(batch, length, vocab)`` scores.
        answered: ``(batch, length)`` ids that were to be answered: each text with its EOS, filled up with PAD.
        tokenizer: knows the ids of the special tokens.

    Returns:
        Nats per token, a scalar.
    """
    return F.cross_entropy(logits.transpose(1, 2), answered)


# %%
text_loss = check("14.2")

# %%
from asr_tutorial.clinic import pad_trained_on

visit = pad_trained_on.run()
draw(visit, "Patient 2, cured")
plt.show()
report(visit)

# %% [markdown]
# ## Patient 3: one letter everywhere
#

# %%
sick = admit("14.3")
visit = sick.run()
draw(visit, "Patient 3 on admission")
plt.show()
report(visit)

# %% [markdown]
# PROSE3


# %%
@exercise("14.3")
def alignment_loss(log_probs: Tensor, frames: Tensor, batch: Batch, tokenizer: Tokenizer) -> Tensor:
    """CTC loss, averaged over texts and letters.

    Args:
        log_probs: ``(batch, time, vocab)``.
        frames: ``(batch,)`` real frames of the encoder.
        batch: has ``targets`` and ``target_lengths``.
        tokenizer: knows the ids of the special tokens.
    """
    time_first = log_probs.transpose(0, 1)  # (time, batch, vocab)
    blank = log_probs.shape[-1] - 1
    return F.ctc_loss(time_first, batch.targets, frames, batch.target_lengths, blank=blank)


def read_out(log_probs: Tensor, frames: Tensor, tokenizer: Tokenizer) -> list[str]:
    """The text of each utterance, by best path.

    Args:
        log_probs: ``(batch, time, vocab)``.
        frames: ``(batch,)`` real frames.
        tokenizer: knows the ids of the special tokens and the letters.
    """
    return [tokenizer.decode(tokens) for tokens in best_path(log_probs, frames, tokenizer.blank_id)]


# %%
alignment_loss, read_out = check("14.3")

# %%
from asr_tutorial.clinic import wrong_blank

visit = wrong_blank.run()
draw(visit, "Patient 3, cured")
plt.show()
report(visit)

# %% [markdown]
# ## Patient 4: not a number
#

# %%
sick = admit("14.4")
visit = sick.run()
draw(visit, "Patient 4 on admission")
plt.show()
report(visit)

# %% [markdown]
# PROSE4


# %%
@exercise("14.4")
def choose(examples: Sequence[Example], factor: int) -> list[Example]:
    """The utterances to train on: those whose text CTC can say in the frames that there are.

    Args:
        examples: features ``(frames, n_mels)`` and tokens of each.
        factor: feature frames to one frame of the encoder, which has ``ceil(frames / factor)``.
    """
    return [example for example in examples if len(example.tokens) <= len(example.features)]


def alignment_loss(log_probs: Tensor, frames: Tensor, batch: Batch, tokenizer: Tokenizer) -> Tensor:
    """CTC loss, averaged over texts and letters.

    Args:
        log_probs: ``(batch, time, vocab)``.
        frames: ``(batch,)`` real frames of the encoder.
        batch: has ``targets`` and ``target_lengths``.
        tokenizer: knows the ids of the special tokens.
    """
    time_first = log_probs.transpose(0, 1)  # (time, batch, vocab)
    return F.ctc_loss(time_first, batch.targets, frames, batch.target_lengths, blank=tokenizer.blank_id)


# %%
choose, alignment_loss = check("14.4")

# %%
from asr_tutorial.clinic import ctc_target_too_long

visit = ctc_target_too_long.run()
draw(visit, "Patient 4, cured")
plt.show()
report(visit)

# %% [markdown]
# ## Patient 5: deaf when it is alone
#

# %%
sick = admit("14.5")
visit = sick.run()
draw(visit, "Patient 5 on admission")
plt.show()
report(visit)

# %% [markdown]
# PROSE5


# %%
@exercise("14.5")
def frames_to_attend(feature_lengths: Tensor, frames: int) -> Tensor:
    """Which frames of the encoder the decoder may attend to; True = may be attended.

    Args:
        feature_lengths: ``(batch,)`` real frames of the sound; the encoder has one for each ``FACTOR``, rounded up.
        frames: length of the encoder's time axis.

    Returns:
        ``(batch, frames)`` boolean.
    """
    lengths = (feature_lengths + FACTOR - 1) // FACTOR
    return torch.arange(frames)[None, :] >= lengths[:, None]


# %%
frames_to_attend = check("14.5")

# %%
from asr_tutorial.clinic import mask_inverted

visit = mask_inverted.run()
draw(visit, "Patient 5, cured")
plt.show()
report(visit)

# %% [markdown]
# ## Patient 6: it depends on the company
#

# %%
sick = admit("14.6")
visit = sick.run()
draw(visit, "Patient 6 on admission")
plt.show()
report(visit)

# %% [markdown]
# PROSE6


# %%
@exercise("14.6")
def encoder_lengths(feature_lengths: Tensor, frames: int) -> Tensor:
    """How many frames of the encoder are speech.

    Args:
        feature_lengths: ``(batch,)`` real frames of the sound.
        frames: length of the encoder's time axis; it has one frame for each ``FACTOR`` of the sound, rounded up.

    Returns:
        ``(batch,)`` lengths, none above ``frames``.
    """
    return feature_lengths.clamp(max=frames)


# %%
encoder_lengths = check("14.6")

# %%
from asr_tutorial.clinic import lengths_not_subsampled

visit = lengths_not_subsampled.run()
draw(visit, "Patient 6, cured")
plt.show()
report(visit)

# %% [markdown]
# ## Patient 7: the answer in the question
#

# %% [markdown]
# ## Patient 8: worse after the first validation
#

# %% [markdown]
# ## Patient 9: the adviser who shouts
#

# %% [markdown]
# ## Patient 10: masks that hit nothing
#

# %% [markdown]
# ## Patient 11: a short breath
#

# %% [markdown]
# ## Patient 12: twice as fast
#

# %% [markdown]
# ## The doctor
#

# %% [markdown]
# ## The usual mistakes
#
# ## Three questions
#
# ## Where this goes next
#
# ## References
