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
from collections.abc import Callable, Sequence
from pathlib import Path

import soundfile
import torch
from IPython.display import Markdown
from matplotlib import pyplot as plt
from torch import Tensor
from torch.nn import functional as F

from asr_tutorial import plots
from asr_tutorial.audio import Samples
from asr_tutorial.clinic.chart import markdown as chart
from asr_tutorial.clinic.eval_mode_not_restored import ctc
from asr_tutorial.clinic.mask_inverted import FACTOR
from asr_tutorial.clinic.picture import draw, report
from asr_tutorial.clinic.visit import Visit, inside, sentences, small_model, written
from asr_tutorial.ctc import best_path
from asr_tutorial.dataset import Batch, Example, collate
from asr_tutorial.dataset.batch import pad_tokens
from asr_tutorial.doctor import ILLNESSES
from asr_tutorial.language_model import TransformerLM
from asr_tutorial.model import SpeechTransformer
from asr_tutorial.tokenizer import Tokenizer
from asr_tutorial.training.optimizer import Schedule

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
def demonstration(number=4, steps=60, clip=True, warm_up=True, empty=False):
    """Train on a few sentences; returns what a doctor looks at."""
    examples, tokenizer = sentences(number)
    model = small_model(tokenizer)
    batch = collate(examples, tokenizer)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses, norms = [], []
    for step in range(steps):
        if warm_up:
            optimizer.param_groups[0]["lr"] = 1e-2 * min(1, (step + 1) / 10)
        if empty:  # for question 4
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
with plots.style():
    figure, axes = plt.subplots(figsize=(5, 2.2), layout="constrained", dpi=80)
    axes.plot(unclipped.losses["gradient norm"], color=plots.COLORS[0])
    axes.set(title="One sentence, no clipping: the gradient grows", xlabel="step", ylabel="norm of the gradient")
plt.show()

# %% [markdown]
# On one and the same sentence the gradient should shrink as the sentence is learnt. It grows, step by step, as if each step added to what was
# there before. That is a very definite suspicion. `loss.backward()` *adds* to `parameter.grad`; somebody has to empty it, and the
# script above, as it runs here, does not.
#
# **4. Which part does it?** Runs that differ in one thing each. The other suspects, clipping and warm-up, come along, so that the comparison
# could prove us wrong:

# %% tags=["nbval-ignore-output"]
for name, change in {
    "as it is": {},
    "without clipping": {"clip": False},
    "without warm-up": {"warm_up": False},
    "gradients emptied": {"empty": True},
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


def alignment_loss(log_probs: Tensor, frames: Tensor, batch: Batch, blank: int) -> Tensor:
    """CTC loss, averaged over texts and letters.

    Args:
        log_probs: ``(batch, time, vocab)``.
        frames: ``(batch,)`` real frames of the encoder.
        batch: has ``targets`` and ``target_lengths``.
        blank: id of the blank.
    """
    time_first = log_probs.transpose(0, 1)  # (time, batch, vocab)
    return F.ctc_loss(time_first, batch.targets, frames, batch.target_lengths, blank=blank)


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
# ## Patient 7: perfect loss, nothing learnt
#
# > *"I have never seen such a loss: 0.005 after 50 steps. And then the decoder does not write a single letter."*

# %%
sick = admit("14.7")
visit = sick.run()
draw(visit, "Patient 7 on admission")
plt.show()
report(visit)

# %% [markdown]
# What the decoder writes here is SOS, again and again; special tokens are left out of a transcript, so that nothing is left. When the loss is
# good and the writing is not, ask what the decoder has in training that it lacks when it writes by itself. In training it reads the right
# text (teacher forcing, [chapter 06](06_decoder.ipynb)); alone it reads its own.
#
# Question 4 settles it: take a part away. The last two lines are the loss of the trained model, once with the sound and once with silence in
# its place. In silence nobody can tell which of the four sentences is meant. This decoder does not miss the sound at all, and the picture of
# cross-attention shows that it does not listen: it has another source for its answers.

# %%
show("clinic.teacher_forcing_shifted.run")

# %% [markdown]
# **Exercise 14.7** · 10 minutes · difficulty 2 of 5 · optional
#
# `tokens` holds whole rows, from SOS to EOS. Which part of a row does the decoder read, and which is it asked for?


# %%
@exercise("14.7")
def next_token_loss(model: SpeechTransformer, batch: Batch, tokens: Tensor, pad: int) -> Tensor:
    """How well the decoder names each token of the texts after it has read those before it.

    Args:
        model: gives ``.logits`` when called with features, their lengths, and the tokens that the decoder reads.
        batch: the sound.
        tokens: ``(batch, length)``, whole rows: SOS, the letters of the text, EOS, and PAD behind it.
        pad: id of PAD, which is never asked for.

    Returns:
        Cross-entropy in nats per token: the letters and EOS.
    """
    logits = model(batch.features, batch.feature_lengths, tokens).logits
    return F.cross_entropy(logits.transpose(1, 2), tokens, ignore_index=pad)


# %%
next_token_loss = check("14.7")

# %%
from asr_tutorial.clinic import teacher_forcing_shifted

visit = teacher_forcing_shifted.run()
draw(visit, "Patient 7, cured")
plt.show()
report(visit)

# %% [markdown]
# Without the sound the loss is now twenty times as high. It is still small, since a sentence that is known by heart goes on by itself as soon as
# its first letters are there; but the first letter has to be heard.

# %% [markdown]
# ## Patient 8: good until the first validation
#
# > *"Dropout of 0.3, as much as I dare, and it still learns the training set by heart. The dev loss goes up from step 40 on."*
#
# This script and the next ones learn letters of [the synthetic task](06_decoder.ipynb), which a small model understands within 100 steps.

# %%
sick = admit("14.8")
visit = sick.run()
draw(visit, "Patient 8 on admission")
plt.show()
report(visit)

# %% [markdown]
# A gap between training and dev that opens is overfitting, and more data or more dropout would be the answer, if the dropout were there. Look at
# the training loss itself: under dropout each step draws other units, and the curve trembles. This one is perfectly smooth from step 20 on, as
# if nothing were drawn by lot any more, and falls to nothing. What happens at step 20? The first validation.
#
# So ask question 2 of the model instead of the data: in which state is it when it makes a step? The last line counts it.

# **Exercise 14.8** · 10 minutes · difficulty 1 of 5 · core
#
# This is what happens every 20 steps. The script also calls it with the finished model, from which it expects the same figure each time, and
# which it goes on to use.


# %%
@exercise("14.8")
def validate(model: SpeechTransformer, dev: Batch, blank: int) -> float:
    """The loss on utterances that are not learnt from, as the finished model would have it.

    Args:
        model: somewhere in its training, or after it.
        dev: the utterances.
        blank: id of CTC's blank.

    Returns:
        Nats per token; the same each time for the same weights.
    """
    model.eval()
    with torch.inference_mode():
        return ctc(model, dev, blank).item()


# %%
validate = check("14.8")

# %%
from asr_tutorial.clinic import eval_mode_not_restored

visit = eval_mode_not_restored.run()
draw(visit, "Patient 8, cured")
plt.show()
report(visit)

# %% [markdown]
# ## Patient 9: the helper that makes it worse
#
# > *"My recogniser makes errors that a language model must find, for it has read every word there is. So I trained one. Its perplexity is
# > excellent. With it, there are more errors than letters."*

# %%
sick = admit("14.9")
visit = sick.run()
draw(visit, "Patient 9 on admission")
plt.show()
report(visit)

# %% [markdown]
# Both losses fall as they should, so neither of the two is ill by itself; what is ill is how they speak with each other. Question 4, with the
# language model and without: alone, the recogniser gets 31 % of the letters wrong, together there are 117 %. And the kind of errors has changed:
# almost two letters are written for each one that was said, most of them behind the end, in good English spelling.
#
# In a search every letter has a price: the logarithm of a probability is never above zero. A search that would rather write on than stop has
# found letters that are not paid for but rewarded.

# %%
show("clinic.lm_raw_logits.recognise")

# %% [markdown]
# **Exercise 14.9** · 10 minutes · difficulty 2 of 5 · optional
#
# This function is all that the search gets to hear of the language model.


# %%
@exercise("14.9")
def lm_scores(lm: TransformerLM, prefixes: Tensor) -> Tensor:
    """What the language model says of the token that comes next, in the unit of the recogniser: nats.

    Args:
        lm: in evaluation mode.
        prefixes: ``(n, length)`` ids, SOS first.

    Returns:
        ``(n, vocab)``, to be added to the recogniser's log-probabilities.
    """
    return lm(prefixes)[:, -1]


# %%
lm_scores = check("14.9")

# %%
from asr_tutorial.clinic import lm_raw_logits

visit = lm_raw_logits.run()
draw(visit, "Patient 9, cured")
plt.show()
report(visit)

# %% [markdown]
# How large is the reward? The logits of a Transformer have no level: add 7 to all of them, and the softmax is the same. Print the sum of `exp`
# over the vocabulary for both versions:

# %%
lm, prefix = (lambda prefixes: torch.tensor([[[2.0, 1.0, 0.0]]]) + 7), torch.zeros(1, 1, dtype=torch.long)
for name, version in (("on admission", sick.lm_scores), ("cured", lm_raw_logits.lm_scores)):
    scores = version(lm, prefix)
    print(
        f"{name}: scores {[round(score, 2) for score in scores[0].tolist()]}, sum of exp {float(scores.exp().sum()):.2f}"
    )

# %% [markdown]
# ## Patient 10: short sentences learn nothing
#
# > *"I mask stretches of time, as the paper says, at most a fifth of the utterance each. Long utterances get better for it. Short ones
# > have a training loss that will not come down."*

# %%
sick = admit("14.10")
visit = sick.run()
draw(visit, "Patient 10 on admission")
plt.show()
report(visit)

# %% [markdown]
# Twelve short utterances and three long ones make a batch, and the curve is drawn for both kinds. A mean over all of them would have hidden the
# matter: **split a loss by length** whenever padding may play a part. What is odd, too, is that the short ones are recognised rather well
# afterwards, without masks. A training loss far above what the model shows on the dev set says that the training input is harder than it
# should be.
#
# Question 2 then: look at what the model gets. The pictures show two utterances after masking, which is what nobody looks at.

# **Exercise 14.10** · 15 minutes · difficulty 2 of 5 · optional
#
# Both kinds should lose about the same share to three stretches of at most 20 %, and padding should stay what it is.


# %%
@exercise("14.10")
def hide_stretches(features: Tensor, lengths: Tensor, share: float, count: int) -> Tensor:
    """Hide ``count`` random stretches of each utterance, SpecAugment's time masks.

    A stretch is a whole number of frames long, from none to ``share`` of the utterance, each length as probable as any
    other; where it lies, within the utterance, is random too.

    Args:
        features: ``(batch, frames, n_mels)``, zero behind each utterance's end; left as they are.
        lengths: ``(batch,)`` real frames.
        share: of the utterance, at most 1.
        count: stretches, which may overlap.

    Returns:
        A copy with 0.5 in the hidden places.
    """
    hidden = features.clone()
    for row, length in enumerate(lengths.tolist()):
        for _ in range(count):
            width = int(torch.rand(()) * (share * features.shape[1] + 1))
            start = int(torch.rand(()) * length)
            hidden[row, start : start + width] = 0.5
    return hidden


# %%
hide_stretches = check("14.10")

# %%
from asr_tutorial.clinic import specaugment_in_padding

visit = specaugment_in_padding.run()
draw(visit, "Patient 10, cured")
plt.show()
report(visit)

# %% [markdown]
# ## Patient 11: it stops learning after a quarter
#
# > *"My GPU is small, so I add up the gradients of four batches for each step. Since then the loss stops falling early on, and stays
# > where it is, whatever I do to the model."*

# %%
sick = admit("14.11")
visit = sick.run()
draw(visit, "Patient 11 on admission")
plt.show()
report(visit)

# %% [markdown]
# A plateau has many causes, and one of them is seen at a glance if the learning rate is drawn below the loss, over the same steps. This one is at
# its peak after 3 steps and at zero after 10. From there on nothing is learnt, since nothing is moved: the wavelet that is left in the loss is the
# six steps' worth of data coming round again.
#
# The schedule was made for 40 steps with 10 of warm-up: a quarter is 10 steps. What else is there four of?

# %%
show("clinic.scheduler_counts_batches.run")

# %% [markdown]
# **Exercise 14.11** · 15 minutes · difficulty 2 of 5 · core
#
# One call of `optimizer.step` is one step.


# %%
@exercise("14.11")
def train(
    loss_of: Callable[[Batch], Tensor],
    batches: Sequence[Batch],
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    accumulate: int,
) -> tuple[list[float], list[float]]:
    """Go through the batches once; the gradients of ``accumulate`` batches are added up for each step.

    Args:
        loss_of: mean loss of a batch.
        batches: a multiple of ``accumulate``.
        optimizer: its groups hold their ``peak_lr``; gradients are none yet.
        schedule: ``schedule.apply(optimizer, step)`` sets the rate for optimiser step ``step``, counted from 0.
        accumulate: batches for one step, which is that of their mean loss.

    Returns:
        For each step, the loss and the learning rate that it was made with.
    """
    losses, rates, total = [], [], 0.0
    for number, batch in enumerate(batches):
        schedule.apply(optimizer, number)
        loss = loss_of(batch) / accumulate
        loss.backward()
        total += loss.item()
        if (number + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
            losses.append(total)
            rates.append(optimizer.param_groups[0]["lr"])
            total = 0.0
    return losses, rates


# %%
train = check("14.11")

# %%
from asr_tutorial.clinic import scheduler_counts_batches

visit = scheduler_counts_batches.run()
draw(visit, "Patient 11, cured")
plt.show()
report(visit)

# %% [markdown]
# ## Patient 12: deaf to one microphone
#
# > *"It knows these four sentences by heart. Played to it from other recordings, of the same voices, it hears shreds."*
#
# The recordings are those of the training set, as machines with other sample rates would have written them down: 44.1 and 48 kHz.

# %%
sick = admit("14.12")
visit = sick.run()
draw(visit, "Patient 12 on admission")
plt.show()
report(visit)

# %% [markdown]
# Not an error, not a warning: samples are numbers, and a network takes any. Question 2, with the picture of the features: the same sentence has
# 200 frames in one recording and 600 in the other, and all that is in it has moved to lower mel bins. Someone speaks three times as slowly and
# at a third of the pitch. The bright band is a whistle of 15 kHz, three times as high as it seems here; at 16 kHz there is no room for it.
#
# The last line is the test that would have found it without a picture: seconds by the features for each second by the file.

# **Exercise 14.12** · 15 minutes · difficulty 2 of 5 · optional
#
# `soundfile` gives the samples and their rate. `resample(samples, from_rate, to_rate)` is in `asr_tutorial.audio`; it is worth asking why it
# is more than leaving out samples.


# %%
@exercise("14.12")
def load(path: Path) -> Samples:
    """Read a recording, of any sample rate, for the features.

    Args:
        path: a mono sound file.

    Returns:
        ``(samples,)`` float32, ``SAMPLE_RATE`` of them for each second of the recording.
    """
    samples, _ = soundfile.read(path, dtype="float32")
    return samples


# %%
load = check("14.12")

# %%
from asr_tutorial.clinic import sample_rate_ignored

visit = sample_rate_ignored.run()
draw(visit, "Patient 12, cured")
plt.show()
report(visit)

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
# asr-tutorial doctor tinyspeech --json > report.json
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
