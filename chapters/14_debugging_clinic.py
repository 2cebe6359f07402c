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
# | exercise | the patient | minutes | difficulty | |
# |---|---|---|---|---|
# | 14.1 | it never stops | 10 | 1 | core |
# | 14.2 | a splendid loss | 10 | 1 | optional |
# | 14.3 | one letter everywhere | 15 | 2 | core |
# | 14.4 | not a number | 20 | 3 | core |
# | 14.5 | deaf when it is alone | 10 | 1 | optional |
# | 14.6 | it depends on the company | 10 | 2 | core |
# | 14.7 | perfect loss, nothing learnt | 10 | 2 | optional |
# | 14.8 | good until the first validation | 10 | 1 | core |
# | 14.9 | the helper that makes it worse | 10 | 2 | optional |
# | 14.10 | short sentences learn nothing | 15 | 2 | optional |
# | 14.11 | it stops learning after a quarter | 15 | 2 | core |
# | 14.12 | deaf to one microphone | 15 | 2 | optional |

# %%
# The course comes first: from here on the library has what you wrote in earlier chapters.
from asr_tutorial.course import admit, check, exercise, here, show

here("14")

# %%
import math
from collections.abc import Sequence

import torch
from IPython.display import Markdown
from matplotlib import pyplot as plt
from torch import Tensor
from torch.nn import functional as F

from asr_tutorial.clinic.chart import markdown as chart
from asr_tutorial.clinic.picture import draw, report
from asr_tutorial.clinic.visit import Visit, inside, sentences, small_model, written
from asr_tutorial.ctc import best_path
from asr_tutorial.dataset import Batch, Example, collate
from asr_tutorial.dataset.batch import pad_tokens
from asr_tutorial.doctor import ILLNESSES
from asr_tutorial.tokenizer import Tokenizer

torch.set_num_threads(1)  # models so small that threads would mostly wait for each other

# %% [markdown]
# ## The method
#
# Looking at the code is what everybody tries first, and it is the worst of methods: you read what you meant, not what stands there. Four
# questions are asked of the running program instead, the cheapest first.
#
# 1. **Can it learn a few examples by heart?** This is [overfitting a batch](../docs/glossary.md#overfitting-a-batch): take one batch, no
#    dropout, no augmentation, and train on it again and again. A model of any size can do that. If it cannot, or if it cannot say what it has
#    learnt by heart, the mistake is in the script, and every further experiment takes seconds. (`asr-tutorial overfit` does this with a
#    whole configuration.)
# 2. **What does it get?** Print one example at the last moment before the model: the features as a picture, the tokens as text, the lengths as
#    numbers. Most mistakes are found here.
# 3. **What do the gradients say?** Print the norm of the gradient of each part, over some steps: none, zero, NaN and growing each mean something.
# 4. **Which part does it?** Switch parts off one by one, and compare runs that differ in one thing only.
#
# ### Worked through once
#
# The script below is no patient; it is here to show the method. It learns four sentences of the bundled corpus by heart, or should.


# %% tags=["nbval-ignore-output"]
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
        if forget:  # only in question 4
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
# The loss falls, turns, and goes up and down at a height where nothing is recognised. Where would you look? It could be anything: the features,
# the tokens, the mask, the rate. So ask.
#
# **1. Can it learn one example by heart?** With one sentence there is hardly anything to confuse:

# %% tags=["nbval-ignore-output"]
one = demonstration(number=1)
report(one)
print("last loss", round(one.losses["training"][-1], 2))

# %% [markdown]
# It cannot. So the mistake is in the script, not in the amount of data or the size of the model, and from now on one sentence is enough to find
# it with.
#
# **2. What does it get?** Features, lengths, and what is read beside what is to be answered:

# %%
examples, tokenizer = sentences(1)
batch = collate(examples, tokenizer)
print("features", tuple(batch.features.shape), "of", batch.feature_lengths.tolist(), "frames")
print(
    "mean and deviation of the features", round(float(batch.features.mean()), 1), round(float(batch.features.std()), 1)
)
for name, row in (("read", batch.tokens_in[0]), ("answered", batch.tokens_out[0])):
    print(f"{name:9}", " ".join(tokenizer.tokens[token].strip("<>") for token in row[:12].tolist()), "...")

# %% [markdown]
# All as it should be: 1.9 seconds are 188 frames of 10 ms, SOS stands in front of what is read, and each answer is the next token that is read.
#
# **3. What do the gradients say?** Their norm, before it is clipped, without clipping at all, so that nothing is hidden:

# %% tags=["nbval-ignore-output"]
unclipped = demonstration(number=1, clip=False)
print([round(norm, 1) for norm in unclipped.losses["gradient norm"][::6]])
draw(Visit({"gradient norm": unclipped.losses["gradient norm"]}), "One sentence, no clipping")
plt.show()

# %% [markdown]
# On one and the same sentence the gradient should shrink as the sentence is learnt. It grows, step by step, as if each step added to what was
# there before. That is a very definite suspicion. `loss.backward()` *adds* to `parameter.grad`; somebody has to empty it, and the script above
# has no line that does.
#
# **4. Which part does it?** Runs that differ in one thing each. The other suspects, clipping and warm-up, come along, so that the comparison
# could prove us wrong:

# %% tags=["nbval-ignore-output"]
for name, change in {
    "as it is": {},
    "without clipping": {"clip": False},
    "without warm-up": {"warm_up": False},
    "gradients emptied": {"forget": True},
}.items():
    visit = demonstration(**change)
    print(f"{name:18} last loss {visit.losses['training'][-1]:5.2f}, character errors {100 * visit.cer:4.0f} %")

# %% [markdown]
# One line, `optimizer.zero_grad()`, and four sentences are learnt by heart. Notice what clipping had done: it kept the loss from growing without
# bound and so hid the cause, as many a well-meant measure does. And notice that nobody had to read the code to find the place: the questions led there.

# %% [markdown]
# ## The chart
#
# Which question to ask first depends on what you see. The chart leads from symptoms to tests; each test has an outcome that points to a cause.
# Several causes may show the same symptom, so that the test decides and not the symptom.

# %%
Markdown(chart({name: (known.cause, known.remedy, known.patient) for name, known in ILLNESSES.items()}))

# %% [markdown]
# ## Patient 1: it never stops
#
# > *"The loss goes down to nothing, and the beginning of each transcript is perfect. But then it goes on and on. More than 100 % of the
# > characters are wrong, which I did not know was possible."*
#
# `admit` gives you the script as it came in: a module with a function `run`, which trains for less than a second.

# %% tags=["nbval-ignore-output"]
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

# %% tags=["nbval-ignore-output"]
from asr_tutorial.clinic import no_eos

visit = no_eos.run()
draw(visit, "Patient 1, cured")
plt.show()
report(visit)

# %% [markdown]
# ## Patient 2: a splendid loss
#
# > *"To please the compiler I fill every text up to 160 tokens. Since then the loss is splendid, below 0.2 after a minute, where it used to
# > take ten. Only the transcripts got worse."*

# %% tags=["nbval-ignore-output"]
sick = admit("14.2")
visit = sick.run()
draw(visit, "Patient 2 on admission")
plt.show()
report(visit)

# %% [markdown]
# A good loss and bad transcripts: so the loss is not the loss of the transcripts. The script was asked for a second number, the loss of letters
# and ends alone, and it is several times as large as what the curve shows. Four fifths of all positions are PAD.
#
# Suppose 10 tokens in 100 are letters with a loss of 2 nats, and 90 are PAD with a loss of 0.01. The mean over all is
# $0.1 \cdot 2 + 0.9 \cdot 0.01 = 0.21$. That looks like a model that is nearly done, and it has hardly begun. Its gradients are a tenth of what
# they should be as well.
#
# **Exercise 14.2** · 10 minutes · difficulty 1 of 5 · optional
#
# Repair the loss. EOS is part of a text: it has to be learnt.


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

# %% tags=["nbval-ignore-output"]
from asr_tutorial.clinic import pad_trained_on

visit = pad_trained_on.run()
draw(visit, "Patient 2, cured")
plt.show()
report(visit)

# %% [markdown]
# ## Patient 3: one letter everywhere
#
# > *"My CTC model has found its favourite letter. It writes YHOW MUCHY, and it does so for everybody. The loss is fine."*

# %% tags=["nbval-ignore-output"]
sick = admit("14.3")
visit = sick.run()
draw(visit, "Patient 3 on admission")
plt.show()
report(visit)

# %% [markdown]
# The picture is new: what the CTC head gives for each token (rows) and frame (columns) of the first sentence. In a healthy model most columns are
# dark in the first row, the [blank](../docs/glossary.md#blank), and the letters are short peaks in between. Here the first row is empty, and
# another one does its work. Which letter is that, and what is special about its row?
#
# Read `run` with `show("clinic.wrong_blank.run")` if you like; then look at the two places that know about blanks.
#
# **Exercise 14.3** · 15 minutes · difficulty 2 of 5 · core
#
# One of these two functions is ill. Repair that one and leave the other.


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

# %% tags=["nbval-ignore-output"]
from asr_tutorial.clinic import wrong_blank

visit = wrong_blank.run()
draw(visit, "Patient 3, cured")
plt.show()
report(visit)

# %% [markdown]
# ## Patient 4: not a number
#
# > *"Loss: inf. Then nan, for ever. I have halved the learning rate four times. The same code works with a subsampling of four; with eight it does
# > not survive its first step."*

# %% tags=["nbval-ignore-output"]
sick = admit("14.4")
visit = sick.run()
draw(visit, "Patient 4 on admission")
plt.show()
report(visit)

# %% [markdown]
# An infinite loss *before the first step* acquits the learning rate, the optimiser and the initialisation: nothing has been learnt yet. So it lies in
# the data, and question 2 is the right one. Half of the utterances have an infinite loss each.
#
# CTC says one token or blank in each frame of the encoder, and chapter [07](07_ctc.ipynb) showed when a text has no path at all. By hand: the
# word HELLO has five letters, and between the two L a blank must stand, or they would be merged. It needs six frames at least. With a factor of
# 8 and 10 ms a frame that is half a second, and people say HELLO faster.
#
# **Exercise 14.4** · 20 minutes · difficulty 3 of 5 · core
#
# `choose` is meant to leave out what cannot be said. It lets too much through. (Is `zero_infinity=True` a cure? Try it, and see what the check
# says to you.)


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

# %% tags=["nbval-ignore-output"]
from asr_tutorial.clinic import ctc_target_too_long

visit = ctc_target_too_long.run()
draw(visit, "Patient 4, cured")
plt.show()
report(visit)

# %% [markdown]
# ## Patient 5: deaf when it is alone
#
# > *"In validation every sentence is right. In the demo, where people speak one sentence at a time, it answers everybody the same. The loss is as
# > good as it can be."*

# %% tags=["nbval-ignore-output"]
sick = admit("14.5")
visit = sick.run()
draw(visit, "Patient 5 on admission")
plt.show()
report(visit)

# %% [markdown]
# This time the transcripts are of utterances that were recognised one by one, while the word errors in the training batch are measured with all of them together: none there. Compare the two halves of the pictures. The vertical line is where the speech ends and the padding begins;
# on which side of it does the decoder look?
#
# Why does it work at all in the batch? The encoder computes something for padded frames, too: they attend to the real ones, so that they know
# about the sentence. What the decoder finds there is enough to learn four sentences by heart. Alone, without padding, nothing is left to look at.
#
# **Exercise 14.5** · 10 minutes · difficulty 1 of 5 · optional
#
# Repair the mask. `torch.nn.MultiheadAttention` and this library mean opposite things by True (chapter [03](03_masks_padding_batches.ipynb)).


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

# %% tags=["nbval-ignore-output"]
from asr_tutorial.clinic import mask_inverted

visit = mask_inverted.run()
draw(visit, "Patient 5, cured")
plt.show()
report(visit)

# %% [markdown]
# ## Patient 6: it depends on the company
#
# > *"It is perfect on my training batches, and in the demo the ends of sentences are missing. IS LUCY OLD. The sound is all there, I have listened
# > to it."*

# %% tags=["nbval-ignore-output"]
sick = admit("14.6")
visit = sick.run()
draw(visit, "Patient 6 on admission")
plt.show()
report(visit)

# %% [markdown]
# Again the same utterances, alone and in the batch, and again only the company differs. But now each text is right as far as it goes. The picture shows
# the CTC head on the first sentence in the training batch. What is the end of the sentence read from there?
#
# Print the lengths for the training batch: `sick.encoder_lengths(torch.tensor([188, 265]), 48)`. The encoder makes one frame of eight, so 188
# frames are $\lceil 188 / 8 \rceil = 24$.
#
# **Exercise 14.6** · 10 minutes · difficulty 2 of 5 · core
#
# Write the lengths so that they follow the frames. They must depend on the utterance alone.


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

# %% tags=["nbval-ignore-output"]
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
# Much of this can be asked by a program. `asr-tutorial doctor` takes a run's folder, a checkpoint or a configuration, draws a sample of its speech,
# and *does* what this chapter does: it adds padding and sees whether outputs move, changes a token of the future, computes each utterance's CTC
# loss, reads off the gradients which tokens the loss asks for, makes steps and looks at rates and modes, and reads curves and transcripts.
#
# ```
# asr-tutorial doctor runs/20260131-101500_tinyspeech      # what is wrong with this run?
# asr-tutorial doctor tinyspeech                           # before the training: is anything wrong with this configuration?
# asr-tutorial doctor tinyspeech --json report.json
# ```
#
# It is no oracle. What it has found is a place where something is not as it should be; what to do about it stands beside it, and the patient of
# this chapter that shows it. What it has *not* found may still be wrong: a corpus with other people's transcripts passes every test.
#
# The chart above and the doctor have causes and remedies from one place, `asr_tutorial.doctor.ILLNESSES`.

# %% [markdown]
# ## The usual mistakes
#
# In *looking for* mistakes, that is:
#
# | mistake | better |
# |---|---|
# | the learning rate is halved first, whatever the symptom | ask whether it learns one batch by heart: a rate never explains empty targets |
# | a long run to see whether the repair helped | the smallest run that showed the symptom |
# | two changes at once | one, and a run; then the other |
# | the symptom is treated: `zero_infinity`, a shorter limit, clipping, `nan_to_num` | find what makes it |
# | only the loss is looked at | read ten transcripts after each validation: they say what kind of mistake it is |
# | the code is read again and again | print what is *there*, at the last moment before the model |
# | a repair is believed because the loss falls | the symptom must be gone, and one knows why |
#
# ## Three questions
#
# **1.** Your model learns one batch by heart, to a loss of 0.01. Which of the patients 1 to 6 would not have been found by that?
#
# <details><summary>Answer</summary>
#
# By the loss alone, hardly any: patients 1, 2, 3, 5 and 6 all show a falling loss, and patient 2 an especially good one. Only patient 4 fails
# openly. One has to *decode* what was learnt by heart, as all scripts here do, and that, too, in the way in which it will be used: patients 5 and 6
# are found by decoding one utterance at a time.
#
# </details>
#
# **2.** Why can the character error rate be above 100 %, and which patients can show that?
#
# <details><summary>Answer</summary>
#
# Errors are substitutions, deletions and insertions, divided by the length of the *reference*. A hypothesis that runs on may hold any number
# of insertions. So it takes texts that are too long: no EOS (patient 1), or a search that does not merge repetitions.
#
# </details>
#
# **3.** An utterance's CTC loss is infinite. Somebody proposes `zero_infinity=True`, somebody else a larger subsampling factor, a third one smaller
# batches. What do you say?
#
# <details><summary>Answer</summary>
#
# The first hides it: the utterance then teaches nothing, and the mean loss looks better than it is. The second makes it worse: fewer frames for
# the same text. The third changes nothing, since each utterance has its loss for itself. What helps: a smaller factor, larger tokens (chapter
# [10](10_language_model.ipynb)), or leaving the utterance out and saying so.
#
# </details>
#
# ## Where this goes next
#
# The recogniser works, and you know how to keep it working. In chapter 15 it gets a door to the world: a service that answers many people at once,
# and a web page that you can speak to.
#
# ## References
#
# Where the patients come from:
#
# - no EOS in the targets: [huggingface/blog #641](https://github.com/huggingface/blog/issues/641),
#   [stanford_alpaca #126](https://github.com/tatsu-lab/stanford_alpaca/issues/126); PAD = EOS: [trl #456](https://github.com/huggingface/trl/issues/456)
# - wrong blank: [espnet #5620](https://github.com/espnet/espnet/issues/5620), [espnet #1508](https://github.com/espnet/espnet/issues/1508)
# - CTC targets that are too long: [icefall #135](https://github.com/k2-fsa/icefall/issues/135)
# - inverted masks: [speechbrain #2276](https://github.com/speechbrain/speechbrain/issues/2276),
#   [x-transformers #160](https://github.com/lucidrains/x-transformers/issues/160), [pytorch #114083](https://github.com/pytorch/pytorch/issues/114083)
# - lengths that are not subsampled: [espnet #6600](https://github.com/espnet/espnet/issues/6600), [wenet #1513](https://github.com/wenet-e2e/wenet/issues/1513)
# - evaluation mode: [DeepSpeech #1262](https://github.com/microsoft/DeepSpeech/issues/1262), [deepspeech.pytorch #22](https://github.com/SeanNaren/deepspeech.pytorch/issues/22)
# - raw logits of a language model: [espnet #5740](https://github.com/espnet/espnet/issues/5740)
# - SpecAugment in padding: [NeMo #3298](https://github.com/NVIDIA/NeMo/issues/3298), [speechbrain #1116](https://github.com/speechbrain/speechbrain/issues/1116)
# - schedulers that count batches: [accelerate #963](https://github.com/huggingface/accelerate/issues/963)
# - sample rates: [FireRedASR #62](https://github.com/FireRedTeam/FireRedASR/issues/62)
#
# To read on: A. Karpathy, [A recipe for training neural networks](https://karpathy.github.io/2019/04/25/recipe/), 2019.
