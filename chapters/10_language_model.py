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
# # 10 · Language models and fusion
#
# Your recogniser has learnt what English looks like from an hour of transcripts. Text costs nothing and there is any
# amount of it. In this chapter you build models that read text alone, measure them, and let them have a say in the
# search. On the bundled speech that takes away more than half of the mistakes that the best search has left. You also
# see what goes wrong: a language model that is bad, and how to find out why; one that knows nothing new, one that is
# listened to too much, and one whose numbers are not probabilities.
#
# **You need** the decoder (chapter 06) and beam search (09). **Time**: about 4 hours; the core exercises take 100
# minutes, the experiment among them 15 more.
#
# | exercise | what you write | minutes | difficulty | |
# |---|---|---|---|---|
# | 10.1 | learning sub-word pieces | 15 | 2 | core |
# | 10.2 | rows of text and their targets | 10 | 2 | core |
# | 10.3 | a Transformer that hears nothing | 25 | 3 | core |
# | 10.4 | perplexity, of words | 20 | 3 | core |
# | *experiment* | why is my language model bad? You predict and diagnose | 15 | 2 | core |
# | 10.5 | shallow fusion | 15 | 2 | core |
# | 10.6 | n-best rescoring | 15 | 2 | core |
# | 10.7 | Kneser-Ney smoothing | 35 | 5 | optional |

# %%
from asr_tutorial.course import check, exercise, here, show

import math
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

import asr_tutorial
from asr_tutorial import plots
from asr_tutorial.audio import read_audio
from asr_tutorial.bpe import BytePairEncoding, Pair, Pieces, count_words, learn_merges
from asr_tutorial.config import LanguageModelArchitecture, LanguageModelConfig, load_config
from asr_tutorial.corpus import read_corpus
from asr_tutorial.corpus.read import REPOSITORY
from asr_tutorial.dataset.packing import PackedText, pack
from asr_tutorial.decoder import DecoderCache, LayerCache
from asr_tutorial.features import FeatureExtractor
from asr_tutorial.language_model import (
    LanguageModel,
    NGram,
    TransformerLM,
    evaluate_text,
    save_transformer_lm,
    spelled,
    token_log_probs,
)
from asr_tutorial.language_model.ngram import Array, discounts
from asr_tutorial.metrics import wer
from asr_tutorial.model import build_model
from asr_tutorial.search import SearchOptions, joint_search
from asr_tutorial.search.generate import generate
from asr_tutorial.search.rescore import score_candidates
from asr_tutorial.search.token_model import TokenModel
from asr_tutorial.tokenizer import SPACE, CharTokenizer, SentencePieceTokenizer, Tokenizer
from asr_tutorial.training.initialise import from_pretrained_decoder
from asr_tutorial.training.language_model import next_token_loss

torch.set_num_threads(1)  # models as small as these are no faster on two

# %%
here("10")

# %% [markdown]
# ## What a language model is
#
# A text $y_1, \dots, y_U$ of tokens, whose last one $y_U$ is EOS, has a probability before anybody has said it:
#
# $$P(y) = \prod_{u=1}^{U} P(y_u \mid y_0, \dots, y_{u-1}), \qquad y_0 = \text{SOS}.$$
#
# A [language model](../docs/glossary.md#language-model) gives the factors: what comes next, after what has come. It is
# what your decoder gives, without the sound behind the bar. So a decoder *contains* a language model, learnt from its
# transcripts; this chapter adds one that has read more.
#
# ### By hand
#
# A world of two sentences, A B and A C, the first one said three times as often. Then $P(\text{A} \mid \text{SOS}) =
# 1$, $P(\text{B} \mid \text{A}) = 3/4$, $P(\text{EOS} \mid \text{A B}) = 1$, and A B has the probability
# $1 \cdot \tfrac34 \cdot 1 = 0.75$.
#
# How good is that model? Take its log-probabilities, in [nats](../docs/glossary.md#nat): $0$, $-0.29$ and $0$. The mean
# is $-0.096$, and $e^{0.096} = 1.10$ is the **[perplexity](../docs/glossary.md#perplexity)** of A B: on average the
# model was as unsure as somebody who has to guess among 1.1 equally probable words. A model that knows nothing of three
# words (A, B, C) and EOS has a perplexity of 4.
#
# ### The text of this chapter
#
# The transcripts of the bundled corpus were made by a small grammar. That is convenient: the same grammar can write as
# much text as you like, which plays the part that books play for real speech. Sentences of the corpus itself are left
# out.

# %%
sys.path.insert(0, str(REPOSITORY / "data" / "tinyspeech"))
import grammar

transcripts, dev_texts, test_texts = (
    [utterance.text for utterance in sorted(read_corpus(f"tinyspeech/{split}"), key=lambda utterance: utterance.id)]
    for split in ("train", "dev", "test")
)
spoken = {*transcripts, *dev_texts, *test_texts}
written = [grammar.transcript(sentence) for sentence in grammar.draw_sentences(6000, random.Random(1))]
books = [sentence for sentence in written if sentence not in spoken]
print(f"{len(transcripts)} transcripts, {len(books)} sentences of 'books'")
for sentence in books[:3]:
    print(" ", sentence)

# %% [markdown]
# ## Pieces
#
# A token may be a letter, and then a sentence is a hundred steps long; or a word, and then the model needs an entry for
# every word there is, and has none for the next new name.
# **[Byte-pair encoding](../docs/glossary.md#byte-pair-encoding)** lies between, and is learnt in a loop: count how often
# each pair of neighbouring pieces occurs, make the most frequent pair one piece, and begin again.
#
# By hand. The text is LOW LOW LOWER NEWER NEWER; a mark ▁ stands where a word begins.
#
# | step | pieces | most frequent pair |
# |---|---|---|
# | 0 | ▁ L O W (2×), ▁ L O W E R, ▁ N E W E R (2×) | E R: 1 + 2 = **3** (as L O and others; of equally short ones the first in the alphabet wins) |
# | 1 | ▁ L O W (2×), ▁ L O W ER, ▁ N E W ER (2×) | L O: 2 + 1 = **3** |
# | 2 | ▁ LO W (2×), ▁ LO W ER, ▁ N E W ER (2×) | LO W: **3** |
#
# After three merges LOWER is ▁ LOW ER, and OWNER, which was never seen, is ▁ O W N ER. No word made of known letters is
# ever unknown.
#
# **Exercise 10.1** · 15 minutes · difficulty 2 of 5 · core
#
# Write the two steps of the loop. `words` holds the pieces of each different word and how often the word occurs;
# `Counter` is known inside the functions. The loop around them is there already:

# %%
show("bpe.learn_merges")


# %%
@exercise("10.1")
def count_pairs(words: Mapping[Pieces, int]) -> Counter[Pair]:
    """How often each pair of pieces stands side by side in a text.

    Args:
        words: pieces of each word, and how often the word occurs: a pair in a word that occurs ten times counts ten
            times, and twice that if the word holds it twice.

    Returns:
        The count of each pair, first piece and second.
    """
    raise NotImplementedError("exercise 10.1")


def merge_pair(pieces: Sequence[str], pair: Pair) -> Pieces:
    """A word with a pair of pieces made one, wherever it stands, from left to right.

    ``A A A`` with the pair ``A A`` becomes ``AA A``: the first two are one piece by the time the third is looked at.

    Args:
        pieces: of a word.
        pair: two pieces.
    """
    raise NotImplementedError("exercise 10.1")


# %%
count_pairs, merge_pair = check("10.1")

# %% [markdown]
# Stuck? `asr-tutorial hint 10.1` in a terminal, one hint at a time.
#
# Try it: the first merges learnt from the transcripts, and a sentence cut by more and more of them.

# %%
merges = learn_merges(count_words(transcripts), 200)
print("first merges:", ", ".join(f"{first}+{second}" for first, second in merges[:8]))
alphabet = set("".join(transcripts).replace(" ", SPACE))
for count in (0, 20, 200):
    pieces = BytePairEncoding(alphabet, merges[:count]).tokenize(transcripts[0])
    print(f"{count:4} merges, {len(pieces)} pieces: {' '.join(pieces)}")

# %% [markdown]
# The library uses SentencePiece, which does the same in C++. Do you get its pieces? **Predict** first: what could two
# right implementations of the same few lines disagree about?

# %%
theirs = SentencePieceTokenizer.train(transcripts, "bpe", len(alphabet) + 100 + 5)
ours = BytePairEncoding.train(transcripts, len(alphabet) + 100)
print("only ours:  ", sorted(set(ours.pieces) - set(theirs.tokens)))
print("only theirs:", sorted(set(theirs.tokens[5:]) - set(ours.pieces)))
plain = [text.replace("'", "") for text in transcripts]
theirs = SentencePieceTokenizer.train(plain, "bpe", len(alphabet) - 1 + 100 + 5)  # 5 special tokens, no apostrophe
ours = BytePairEncoding.train(plain, len(alphabet) - 1 + 100)
print("without apostrophes, the same pieces:", set(ours.pieces) == set(theirs.tokens[5:]))
print("all sentences cut alike:", all(ours.tokenize(text) == theirs.tokenize(text) for text in plain))

# %% [markdown]
# It is the apostrophe. SentencePiece does not let a piece reach from letters to other marks, so 'S is no piece of its,
# and what comes next in line takes the free places. On text without apostrophes the pieces are the same: even where two
# pairs are equally frequent it prefers what our docstring says, for the first hundred or so. Later merges are of rare
# pairs, ties are many, and the two may part there.
#
# How many pieces? More of them make sentences shorter and each piece rarer. With five hours of speech, letters or some
# hundred pieces are safe; with a hundred hours, 300 to 1,000. Language model and recogniser must have *the same*
# vocabulary if one is to score the other's tokens: that is what `tokenizer.folder` in a configuration is for. The rest
# of this chapter uses the bundled recogniser's, letters.

# %%
recognizer = asr_tutorial.load(REPOSITORY / "data" / "pretrained" / "tinyspeech", device="cpu")
tokenizer = recognizer.tokenizer
SOS, END, PAD, BLANK = tokenizer.sos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.blank_id

# %% [markdown]
# ## Rows
#
# Every position of a row of text is an exercise for the model: given what stands before, what comes next? So rows
# should be full, and all of one length, which is kind to the hardware. Sentences are packed into them one after the
# other, whole, each as SOS ... EOS:
#
#     SOS I T EOS SOS W E EOS PAD
#
# What the model reads is the row without its last token; what it must answer is the row without its first one. Two
# answers are not worth learning. PAD is none at all. And SOS comes after every EOS: whoever is asked that is always
# right, and has a better-looking loss for it.
#
# By hand, for the row above:
#
# | reads | SOS | I | T | EOS | SOS | W | E | EOS |
# |---|---|---|---|---|---|---|---|---|
# | answers | I | T | EOS | *PAD* | W | E | EOS | *PAD* |
# | sentence | 1 | 1 | 1 | 1 | 2 | 2 | 2 | 2 |
#
# The last line says which sentence a position belongs to. In recognition each utterance stands alone; so shall each
# sentence here, and a mask made of these numbers will keep neighbours apart.
#
# **Exercise 10.2** · 10 minutes · difficulty 2 of 5 · core


# %%
@exercise("10.2")
def row_targets(rows: Tensor, sos: int, pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """What a language model reads, what it must answer, and which sentence each position belongs to.

    Each position answers with the token after it. Two answers are no part of the language and are not learnt: PAD, and
    the SOS that a row has behind each EOS, which would always be right and flatter the loss.

    Args:
        rows: (batch, context + 1) ids, packed sentences filled up with PAD.
        sos: id that begins a sentence.
        pad: id of PAD.

    Returns:
        Three (batch, context) int64 tensors: input tokens; target tokens, PAD where there is nothing to learn; and the
        number of the sentence in its row, from 1.
    """
    raise NotImplementedError("exercise 10.2")


# %%
row_targets = check("10.2")

# %% [markdown]
# Stuck? `asr-tutorial hint 10.2` in a terminal, one hint at a time.
#
# Try it:

# %%
packed = PackedText.of(transcripts, tokenizer, context=96)
tokens_in, targets, sentences = packed.batch([0])
end = int((tokens_in[0] == END).nonzero()[0])  # where the first sentence of the row ends
border = slice(end - 4, end + 5)
for name, row in (("reads", tokens_in[0]), ("answers", targets[0])):
    print(f"{name:8}", " ".join(f"{tokenizer.id_to_token(token):5}" for token in row[border].tolist()))
print("sentence", " ".join(f"{number:<5}" for number in sentences[0, border].tolist()))
print(f"{packed.sentences} sentences in {len(packed)} rows of 96, padding {packed.padding_share:.1%}")

# %% [markdown]
# ## A decoder that hears nothing
#
# The model is the decoder of chapter 06 without cross-attention. With $x$ of shape $(\text{batch}, \text{length},
# d)$, one layer is
#
# $$x \leftarrow x + \text{SelfAttention}(\text{norm}_1(x)), \qquad x \leftarrow x + \text{FeedForward}(\text{norm}_3(x)).$$
#
# The odd name norm3 is on purpose: parameters are called as in the decoder, whose norm2 belongs to cross-attention, so
# that the weights of a language model can be put into a decoder name by name. At the end of the chapter you do that.

# %%
show("language_model.transformer.LanguageModelLayer.__init__")
show("language_model.transformer.TransformerLM.__init__")

# %% [markdown]
# **Exercise 10.3** · 25 minutes · difficulty 3 of 5 · core
#
# Write both forward passes. As in the decoder, `self.dropout` is on what each sublayer adds and on the embeddings with
# their positions, and the embeddings are multiplied by `self.scale` before. Three things need care:
#
# - **positions**: with a cache, the new tokens go on from `cache.length`; `self.positional(x, offset)` takes that;
# - **the mask**: `causal_mask(size, device)` is (size, size); the new tokens are its last rows. With `sentences` a token
#   sees only what is earlier *and* of its own sentence;
# - **the cache**: layer i gets `cache.layers[i]`, attention its `self_attention`, and `cache.length` must say how far
#   you have come.
#
# Known inside: `causal_mask`, and all that `__init__` has made.


# %%
@exercise("10.3")
class LanguageModelLayer:  # these methods become part of asr_tutorial.language_model.transformer.LanguageModelLayer
    def forward(self, x: Tensor, mask: Tensor, cache: LayerCache | None = None) -> Tensor:
        """One layer.

        Args:
            x: (batch, length, d_model).
            mask: (length, keys) or (batch, length, keys) boolean, True = may be attended.
            cache: keys and values of earlier steps, extended by this one.

        Returns:
            (batch, length, d_model).
        """
        raise NotImplementedError("exercise 10.3")


class TransformerLM:  # these methods become part of asr_tutorial.language_model.transformer.TransformerLM
    def forward(self, tokens: Tensor, cache: DecoderCache | None = None, sentences: Tensor | None = None) -> Tensor:
        """Logits of the token after each given one.

        A position sees itself and what stands before it, never what comes after. PAD at the end of ``tokens`` needs no
        mask of its own for that reason.

        Args:
            tokens: (batch, length) ids, SOS first; with a cache, only the tokens that it has not seen.
            cache: state of a running generation, extended by this call.
            sentences: (batch, length) number of the sentence that each token of a packed row belongs to: a token sees
                its own sentence alone. Not with a cache.

        Returns:
            (batch, length, vocab).

        Raises:
            ValueError: tokens that are not (batch, length), or an id outside the vocabulary (looked at on the CPU).
        """
        self._check_tokens(tokens)
        raise NotImplementedError("exercise 10.3")


# %%
LanguageModelLayer, TransformerLM = check("10.3")

# %% [markdown]
# Stuck? `asr-tutorial hint 10.3` in a terminal, one hint at a time.
#
# ### Training it
#
# `asr-tutorial lm train` does it properly, with checkpoints and all that chapter 08 is about. For experiments of some
# seconds a few lines are enough. The loss is the cross-entropy of the next token, the mean over those that are not PAD.


# %%
def train_lm(texts, steps=800, d_model=64, d_ff=256, layers=2, context=96, batch_tokens=768, peak=8e-3):
    """A Transformer language model, trained for some seconds."""
    torch.manual_seed(0)
    packed = PackedText.of(texts, tokenizer, context)
    sizes = LanguageModelArchitecture(d_model=d_model, num_heads=4, d_ff=d_ff, layers=layers, dropout=0.0)
    model = TransformerLM(sizes, tokenizer.vocab_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01)
    batches, epoch = [], 0
    for step in range(steps):
        if not batches:
            batches, epoch = packed.epoch(batch_tokens // context, seed=1, epoch=epoch), epoch + 1
        optimizer.param_groups[0]["lr"] = peak * min((step + 1) / 30, (steps - step) / (steps - 30))
        tokens_in, targets, sentences = packed.batch(batches.pop())
        loss = next_token_loss(model(tokens_in, sentences=sentences), targets, PAD) / (targets != PAD).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


# %% tags=["nbval-ignore-output"]
well_read = train_lm(transcripts + books)
for temperature in (0.5, 1.0, 1.5):
    texts = generate(
        well_read,
        torch.full((2, 1), SOS),
        END,
        max_tokens=60,
        temperature=temperature,
        forbidden=(BLANK, PAD, SOS, tokenizer.unk_id),
        generator=torch.Generator().manual_seed(1),
    )
    print(f"temperature {temperature}:", " / ".join(tokenizer.decode(text) for text in texts))

# %% [markdown]
# Some seconds of reading, and at a low temperature it spells many words and has an idea of sentences; at 1.5 it has
# neither. `generate` asks your forward pass for one new token at a time, and the cache keeps the rest. It also leaves
# the model in the mode in which it found it: a sample drawn in the middle of training must not switch dropout off for
# the steps that follow.
#
# `lm train` has configurations from `tiny` (a demo) and `mini_librispeech` (chapter 11) to `16m`, `50m` and `117m`,
# named by their parameters. It reads plain text, LibriSpeech's text for language models and WikiText files.

# %% [markdown]
# ## Perplexity, of words
#
# For a text with $N$ tokens, ends included, the perplexity of a token is
#
# $$\text{PPL} = \exp\Big(-\frac1N \sum_{u} \log P(y_u \mid y_0, \dots, y_{u-1})\Big).$$
#
# A model of letters has one of perhaps 3, one of words 200. Which is better? Nobody can tell: they guess different
# things. **Perplexities of different vocabularies cannot be compared.** But the sum in the formula is the
# log-probability of the whole text, whatever it is cut into. Divide it by the number of *words* (and ends), and you can.
#
# By hand. AB C in letters: tokens A, B, ▁, C and EOS with log-probabilities $-1, -2, -4, -8, -16$. The words have
# $-1-2 = -3$ and $-4-8 = -12$ (the space belongs to the word behind it, as it does in pieces such as ▁CAT), the end
# $-16$. The perplexity of a word is $e^{31/3} = 30{,}700$, that of a token $e^{31/5} = 493$.
#
# **Exercise 10.4** · 20 minutes · difficulty 3 of 5 · core
#
# Write `perplexity`, and `word_log_probs`, which sums the values of tokens to those of words. Known inside:
# `token_log_probs(model, tokenizer, encoded)`, which gives for each encoded sentence one value for each token and one
# for the end; `SPACE`, the mark ▁. An exponent of more than 700 is no number a float can hold: cut it off there.


# %%
@exercise("10.4")
def perplexity(log_prob: float, count: int) -> float:
    """``exp(-log_prob / count)``: the number of equally probable choices that would be as hard to guess among.

    An exponent of more than 700 is cut off there, for a float cannot hold the power.

    Args:
        log_prob: of a text, in nats.
        count: how many tokens, or words, the text has; each end of a sentence counts as one.
    """
    raise NotImplementedError("exercise 10.4")


def word_log_probs(model: TransformerLM, tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[float]]:
    """Log-probability of each word, in nats, and of the end of each sentence: sums over their tokens.

    The mark of a space belongs to the word behind it, in vocabularies of characters as in those of pieces.

    Returns:
        For each text its number of words + 1 values, as :meth:`NGram.word_log_probs` has it.
    """
    raise NotImplementedError("exercise 10.4")


# %%
perplexity, word_log_probs = check("10.4")

# %% [markdown]
# Stuck? `asr-tutorial hint 10.4` in a terminal, one hint at a time.
#
# Try it: which words of a sentence surprise the model?

# %% tags=["nbval-ignore-output"]
sentence = dev_texts[4]
(values,) = word_log_probs(well_read, tokenizer, [sentence])
with plots.style():
    _, axes = plt.subplots(figsize=(9, 2.6), layout="constrained")
    names = [*sentence.split(), "EOS"]
    axes.bar(range(len(names)), [-value for value in values], color=plots.COLORS[0])
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set(
        title="Names and choices surprise the model, what has to follow does not", ylabel="surprise per word, nats"
    )
    plt.show()
print(f"perplexity of this sentence per word: {perplexity(sum(values), len(values)):.1f}")

# %% [markdown]
# ## Counting instead
#
# Long before Transformers language models were tables of counts: an **[n-gram](../docs/glossary.md#n-gram)** model takes
# only the last $n - 1$ words into account, and estimates $P(w \mid h)$ for a history $h$ from how often $w$ came behind
# $h$. It is trained in seconds, and on little text it is hard to beat. What it needs is an answer for what it has never
# seen, [smoothing](../docs/glossary.md#smoothing); the optional exercise 10.7 builds the one that is used most.
#
# Words that were never seen at all have a perplexity too, or a model of words could not be compared with one of
# letters. Ours spells them: the probability of *some* unknown word, times that of its letters under a small n-gram model
# of letters. `evaluate_text` does that for any kind of model.


# %% tags=["nbval-ignore-output"]
def per_word(model, texts=dev_texts):
    kind = "ngram" if isinstance(model, NGram) else "transformer"
    return evaluate_text(LanguageModel(kind, model, tokenizer), texts).per_word


schooled = train_lm(transcripts)
trigrams = {"transcripts": NGram.train(transcripts, 3, (1,)), "with books": NGram.train(transcripts + books, 3, (1,))}
figures = {
    "3-gram, transcripts": per_word(trigrams["transcripts"]),
    "3-gram, with books": per_word(trigrams["with books"]),
    "Transformer, transcripts": per_word(schooled),
    "Transformer, with books": per_word(well_read),
}
for name, figure in figures.items():
    print(f"{name:25} perplexity {figure:6.1f} per word")

# %% [markdown]
# More text helps either kind. The Transformer has had some seconds, in which it had to learn what a 3-gram is given for
# nothing: what a word is. In this small world the counts stay ahead. On real text, and with enough time, the order turns
# round: large Transformers have less than half the perplexity of counts on LibriSpeech (Irie et al. 2019). Chapter 11
# shows how far a small one gets in little time.

# %% [markdown]
# ## Why is my language model bad?
#
# **Experiment** · 15 minutes · difficulty 2 of 5 · core
#
# A language model can train without complaint and be far from what it could be. Here is a patient: it has read the same
# text as the others, and somebody has given it a width of 32, one layer, a feed-forward block of $2 d$ and a context of
# 24 letters. The log of its training looks fine. Three measurements find out what is wrong:
#
# 1. the loss **at each place** of a sentence. Does it jump anywhere?
# 2. the loss on text **that was trained on**, beside that on dev. Which is lower, and by how much?
# 3. the loss after **more steps**. Was training just over too soon?
#
# **Predict** before you run the cell. How does the patient's loss go along a sentence, beside that of a healthy model
# (width 64, two layers, $4 d$, context 96)? Which of its four settings costs most?

# %% tags=["nbval-ignore-output"]
sick = {"d_model": 32, "layers": 1, "d_ff": 64, "context": 24}
treatments = {
    "as it came": sick,
    "context 96": {**sick, "context": 96},
    "and d_ff = 4 d": {**sick, "context": 96, "d_ff": 128},
    "and d = 64,\n2 layers": {},
}
treated = {name: train_lm(transcripts + books, steps=400, **given) for name, given in treatments.items()}
treated["and twice\nthe steps"] = well_read


def letter_losses(model, texts):
    """Loss at each place of each text in nats, (texts, places), NaN behind its end."""
    rows = token_log_probs(model, tokenizer, [tokenizer.encode(text) for text in texts])
    return -nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=math.nan)


patient, cured_context, _, healthy, _ = treated.values()
with plots.style():
    _, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for place, (name, lm) in enumerate((("patient", patient), ("healthy", healthy))):
        losses = letter_losses(lm, dev_texts)[:, :48].unflatten(1, (12, 4)).nanmean(dim=(0, 2))  # means of 4 places
        axes.plot(np.arange(12) * 4 + 2.5, losses, label=name, color=plots.COLORS[place], linestyle=plots.DASHES[place])
    axes.axvline(24.5, color="grey", linewidth=0.8)
    axes.annotate("the patient's rows end here", (24.1, 0.1), ha="right", fontsize="small")
    axes.set(title="The patient has never been behind its 24th letter", xlabel="place in the sentence, letters")
    axes.set(ylabel="loss per letter, dev, nats", ylim=(0, None))
    axes.legend()
    plt.show()
print(f"{'nats per letter':15}{'dev, first 24':>20}{'dev, all':>20}{'trained on, all':>20}")
for name, lm in (("patient", patient), ("context cured", cured_context), ("healthy", healthy)):
    dev_losses, trained_losses = letter_losses(lm, dev_texts), letter_losses(lm, books[:200])
    means = (dev_losses[:, :24].nanmean(), dev_losses.nanmean(), trained_losses.nanmean())
    print(f"{name:15}" + "".join(f"{float(mean):20.2f}" for mean in means))

# %% [markdown]
# Write down your diagnosis. Then cure the patient, one setting after the other:

# %% tags=["nbval-ignore-output"]
cured = {name: per_word(lm) for name, lm in treated.items()}
with plots.style():
    _, axes = plt.subplots(figsize=(7.5, 3), layout="constrained")
    bars = axes.bar(range(len(cured)), list(cured.values()), color=plots.COLORS[0])
    axes.bar_label(bars, labels=[f"{figure:,.0f}" for figure in cured.values()])
    axes.set_xticks(range(len(cured)), list(cured))
    axes.set(title="Each treatment is added to those before it", ylabel="perplexity per word, dev", yscale="log")
    axes.margins(y=0.1)
    plt.show()

# %% [markdown]
# - **Short context.** In training, sentences were cut to a row, so the model has never seen place 25, nor how a sentence
#   of usual length ends. What it says there is noise. The training loss cannot show it: it is about the first 24 letters
#   alone, and there the patient does *better* than after the cure, since all its practice went there. Symptom: a jump in
#   the loss by place, and `lm train` reports sentences that were cut. The context has to be at least as long as the text
#   that is to be scored.
# - **Undersized.** With the context cured, the loss on text it has trained on is about as high as on dev. Such a model
#   is not short of text: it is short of room, or of time. A model that is too large shows the opposite, a loss on
#   trained text far below that of dev.
# - **$d_{ff} = 2 d$.** It costs least of the three here. Much of what is known about words and their spelling is kept in
#   the feed-forward blocks, half of which were missing. Four times $d$ is usual.
# - **Too few steps.** Even the cured model is far from done: the same one after 800 steps is many times better. Room or
#   time? Train longer; where the loss no longer falls, it is room.
#
# Other suspects: a warm-up that is missing or too short (2,000 to 4,000 steps for large models), a learning rate without
# decay, dropout on a model that never sees a text twice, and dev text of another form (figures, lower case, commas)
# than what was trained on. `asr-tutorial lm train` names characters that the vocabulary lacks.

# %% [markdown]
# ## Shallow fusion
#
# Now the two come together. With $x$ the sound, a hypothesis is ranked by
#
# $$\log P(y \mid x) + \lambda \log P_{\text{LM}}(y) + \beta \,|y|,$$
#
# at each step for the beginnings that are in the beam: [shallow fusion](../docs/glossary.md#shallow-fusion). $\lambda$ is
# `lm_weight`. $|y|$ is the number of tokens and $\beta$ a bonus for each: every token costs probability in both models,
# so that fused scores like short texts even more than the decoder did.
#
# By hand. The recogniser hears A, B, EOS with 0.5, 0.3, 0.2; the language model expects 0.1, 0.8, 0.1. With
# $\lambda = 0.5$: $0.5 \cdot \sqrt{0.1} = 0.16$, $0.3 \cdot \sqrt{0.8} = 0.27$, $0.2 \cdot \sqrt{0.1} = 0.06$. B wins.
# These are no probabilities (they sum to 0.49), and they need not be: only the order counts.
#
# **Exercise 10.5** · 15 minutes · difficulty 2 of 5 · core
#
# EOS takes part in the language model, which knows where sentences end, but gets no bonus. And a weight of 0 means no
# language model, even where that says minus infinity.


# %%
@exercise("10.5")
def shallow_fusion(
    log_probs: Tensor, lm_log_probs: Tensor | None, lm_weight: float, token_bonus: float, eos: int
) -> Tensor:
    """What each next token adds to the rank of a hypothesis.

    The recogniser's log-probability, ``lm_weight`` times the language model's, and a bonus for each token of the text.
    The end of the text is weighed by the language model like any token, for it knows where sentences end; but it is no
    token that a bonus could make up for, and gets none.

    Args:
        log_probs: (..., vocab) of the recogniser: log-probabilities, or a weighted sum of such.
        lm_log_probs: (..., vocab) of the language model. Log-probabilities, never logits. None: no language model.
        lm_weight: 0 or more; 0 is no language model, even where that holds a token to be impossible.
        token_bonus: nats.
        eos: id that ends a text.

    Returns:
        A new tensor of the shape of ``log_probs``. What either holds to be impossible, with minus infinity, is so.
    """
    raise NotImplementedError("exercise 10.5")


# %%
shallow_fusion = check("10.5")

# %% [markdown]
# Stuck? `asr-tutorial hint 10.5` in a terminal, one hint at a time.
#
# ### On speech
#
# Every third utterance of the dev set, encoded once. A weight is *chosen* on dev; test is for the end.


# %%
model = recognizer.model
NEVER_SAID = (BLANK, PAD, SOS)
extract = FeatureExtractor(recognizer.config.features)


def encode(split, stride):
    """References, encoder states and mask of some utterances."""
    utterances = sorted(read_corpus(f"tinyspeech/{split}"), key=lambda utterance: utterance.id)[::stride]
    features = [extract(torch.from_numpy(read_audio(utterance.audio))[None])[0][0] for utterance in utterances]
    lengths = torch.tensor([len(rows) for rows in features])
    with torch.no_grad():
        states = model.encode(nn.utils.rnn.pad_sequence(features, batch_first=True), lengths)
    return [utterance.text for utterance in utterances], states


def error_rate(spoken, language_model=None, **options):
    """Word error rate of a joint search on encoded speech."""
    references, states = spoken
    options = SearchOptions(**{"beam_size": 6, "ctc_weight": 0.3, **options})
    lm = TokenModel(language_model, tokenizer) if language_model is not None else None
    found = joint_search(model, *states, SOS, END, BLANK, NEVER_SAID, options, lm)
    return wer(references, [tokenizer.decode(best.tokens) for best, *_ in found])


dev = encode("dev", 3)
print(f"{len(dev[0])} utterances of dev, encoder states {tuple(dev[1][0].shape)}")

# %% [markdown]
# A model of words has to become one of letters before it can take part. `spelled` makes it one with **look-ahead**: after
# TH, the letter E gets the share of THE, THEN, THERE ... among all words that begin with TH. A word is paid for while it
# is being spelled, and not at its end, when a search would have pruned the right letters long ago.

# %%
lookahead = spelled(trigrams["with books"], tokenizer)
beginning = " ".join(dev_texts[4].split()[:2])
for text in (beginning, f"{beginning} {dev_texts[4].split()[2][0]}"):
    row = lookahead([tuple(tokenizer.encode(text))])[0]
    likely = np.argsort(-row)[:4]
    print(f"{text!r:24}", ", ".join(f"{tokenizer.id_to_token(token)} {math.exp(row[token]):.2f}" for token in likely))

# %% [markdown]
# **Predict**: you raise the weight from 0 to 8. How does the word error rate go? And is a language model that has read
# only the transcripts, on which the recogniser was trained, of any use?

# %% tags=["nbval-ignore-output"]
WEIGHTS = (0.0, 0.25, 0.5, 1.0, 3.0, 8.0)
alone = error_rate(dev)  # a weight of 0, the same for all
sweeps = {}
for name, tried in (("transcripts", WEIGHTS[1:5]), ("with books", WEIGHTS[1:])):
    lm = spelled(trigrams[name], tokenizer)
    sweeps[name] = [alone, *(error_rate(dev, lm, lm_weight=weight) for weight in tried)]
for name, lm in (("Transformer, transcripts", schooled), ("Transformer, with books", well_read)):
    sweeps[name] = [alone, *(error_rate(dev, lm, lm_weight=weight) for weight in WEIGHTS[1:4])]
with plots.style():
    _, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for place, (name, rates) in enumerate(sweeps.items()):
        label = name if "Trans" in name else f"3-gram, {name}"
        axes.plot(
            range(len(rates)), [100 * rate for rate in rates], marker="o", label=label,
            color=plots.COLORS[place], linestyle=plots.DASHES[place],
        )  # fmt: skip
    axes.set(title="Some language model helps, too much of it hurts", xlabel="lm_weight", ylabel="WER in %, dev")
    axes.set_xticks(range(len(WEIGHTS)), WEIGHTS)
    axes.set_ylim(0, None)
    axes.legend()
    plt.show()

# %% [markdown]
# Three things to see.
#
# - **Too much hurts.** At a large weight the search writes what is usual, whatever was said. The worse the language
#   model, the sooner: the best weight is a property of the pair, of how good each is. It is found by trying, on dev. (A
#   3-gram that has seen some thousand sentences of this small grammar is nearly the truth about it, and may be listened
#   to for long. No model of real language is.)
# - **The Transformer that read only the transcripts does not help.** It knows what the decoder knows already, letters
#   after letters from the same sentences; at a small weight little changes, and then it does harm. The same model with
#   the books behind it helps. What a language model adds is what the recogniser has *not* read.
# - **The 3-gram of the transcripts helps all the same**, and that is worth a thought. It brings something that a decoder
#   of letters has to learn: a list of words. In this world of a few hundred words, all of which are in the transcripts,
#   that list is complete, and a misspelt word is never right. A real vocabulary is not complete: on LibriSpeech one word
#   in seventy of dev is not among the 33,000 of the transcripts, and the advantage shrinks. With the books it grows.

# %% [markdown]
# ### Raw logits by mistake
#
# Both terms have to be log-probabilities. Logits look like them, and are not: $z_v = \log P_v + Z$, with a $Z$ that is
# the same for all tokens of *one* step. Within a step nothing changes. But a beam compares hypotheses that have been at
# different histories, and each step adds $\lambda Z$ of its own history to the score. Where $Z$ is positive, a hypothesis
# gains by every token that it can squeeze in.


# %% tags=["nbval-ignore-output"]
def raw_logits(prefixes):
    """The mistake: what the model says, without log_softmax."""
    with torch.no_grad():
        return well_read(torch.tensor([[SOS, *prefix] for prefix in prefixes]))[:, -1]


def log_probabilities(prefixes):
    return raw_logits(prefixes).log_softmax(dim=-1)


letters = tuple(tokenizer.encode(dev_texts[4]))
z = [float(raw_logits([letters[:place]]).logsumexp(dim=-1)) for place in range(len(letters))]
print(f"Z along one sentence: from {min(z):.1f} to {max(z):.1f}")
few = (dev[0][::2], tuple(part[::2] for part in dev[1]))
print(f"{'no language model':18} WER {100 * error_rate(few):.1f} %")
for name, function in (("log-probabilities", log_probabilities), ("raw logits", raw_logits)):
    rates = [error_rate(few, function, lm_weight=weight, max_length=80) for weight in (0.25, 1.0, 2.0)]
    print(f"{name:18} WER at weights 0.25, 1, 2: " + ", ".join(f"{100 * rate:.1f} %" for rate in rates))

# %% [markdown]
# At a small weight the mistake is hard to see: $\lambda Z$ is then just a small bonus for tokens, which may even help. The larger the weight, the more the noise counts, and the error rate leaves that of the right computation behind.
# If a language model helps at a tiny weight only, look for a missing `log_softmax` first.

# %% [markdown]
# ## Second thoughts
#
# There is a humbler way. Let the search find its n best texts without the language model, score each of them whole, and
# sort: **[rescoring](../docs/glossary.md#rescoring)**. The language model is asked once for each text and not at every
# step, it may be slow, or read backwards. And once every candidate has its scores, all weights can be tried for nothing.
# What it cannot do is find a text that the first search has lost.
#
# By hand. CAT, three tokens, has $-4$ from CTC, $-2$ from the decoder, $-6$ from the language model. With a CTC weight of
# 0.3 and $\lambda = 0.5$: $0.3 \cdot (-4) + 0.7 \cdot (-2) + 0.5 \cdot (-6) = -5.6$; with a length penalty of 1, divided
# by the $3 + 1$ tokens that were scored: $-1.4$.
#
# **Exercise 10.6** · 15 minutes · difficulty 2 of 5 · core
#
# A `Candidate` has `tokens` (a list of ids without EOS), `text`, and three log-probabilities of the whole text with its
# end: `attention` (the decoder's), `ctc` and `lm`. The options are those of a search: `ctc_weight`, `lm_weight`,
# `token_bonus`, `length_penalty`.


# %%
@exercise("10.6")
class Candidate:  # these methods become part of asr_tutorial.search.rescore.Candidate
    def score(self, options: SearchOptions) -> float:
        """What a search with these options would rank the text by, were nothing pruned.

        ``(ctc_weight * ctc + (1 - ctc_weight) * attention + lm_weight * lm + token_bonus * tokens)``, divided by
        ``(tokens + 1) ** length_penalty``. A model with a weight of 0 has no say, be the text impossible to it.
        """
        raise NotImplementedError("exercise 10.6")


def rescore(candidates: Iterable[Candidate], options: SearchOptions) -> list[Candidate]:
    """An n-best list in the order of the weights, best first; equal ones stay in their order."""
    raise NotImplementedError("exercise 10.6")


# %%
Candidate, rescore = check("10.6")

# %% [markdown]
# Stuck? `asr-tutorial hint 10.6` in a terminal, one hint at a time.
#
# Try it. The n-best lists of dev are scored once, by decoder, CTC and the 3-gram that has read the books:

# %% tags=["nbval-ignore-output"]
references, states = dev
lists = joint_search(
    model, *states, SOS, END, BLANK, NEVER_SAID, SearchOptions(beam_size=10, n_best=10, ctc_weight=0.3)
)
candidates = score_candidates(
    model,
    tokenizer,
    *states,
    [[hypothesis.tokens for hypothesis in found] for found in lists],
    TokenModel(spelled(trigrams["with books"], tokenizer), tokenizer),
)
TRIED = np.arange(0, 3.01, 0.1)
rescored = []
for weight in TRIED:
    options = SearchOptions(ctc_weight=0.3, lm_weight=float(weight))
    rescored.append(wer(references, [rescore(found, options)[0].text for found in candidates]))
oracle = np.mean([not any(c.text == text for c in found) for text, found in zip(references, candidates, strict=True)])
with plots.style():
    _, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    axes.plot(TRIED, [100 * rate for rate in rescored], color=plots.COLORS[1], label="rescoring 10 texts")
    axes.plot(
        WEIGHTS[:-1], [100 * rate for rate in sweeps["with books"][:-1]],
        color=plots.COLORS[0], linestyle=plots.DASHES[1], marker="o", label="shallow fusion",
    )  # fmt: skip
    axes.set(
        title="Thirty weights for the price of one search", xlabel="lm_weight", ylabel="WER in %, dev", ylim=(0, None)
    )
    axes.legend()
    plt.show()
print(f"utterances whose right text is not in the list: {oracle:.0%}")

# %% [markdown]
# Rescoring soon has nothing left to gain: where the right text is not in the list, no weight can put it there. Fusion
# goes further, since the language model keeps the right beginnings alive.
#
# `asr-tutorial tune` finds weights in this way, all of them at once. Now the test set, once, with the weight that dev has
# chosen:

# %% tags=["nbval-ignore-output"]
best = WEIGHTS[int(np.argmin(sweeps["with books"]))]
test = encode("test", 3)
print(f"weight {best}, chosen on dev")
print(f"test, joint search              {100 * error_rate(test):.1f} % WER")
with_lm = error_rate(test, spelled(trigrams["with books"], tokenizer), lm_weight=best)
print(f"test, joint search with 3-gram  {100 * with_lm:.1f} % WER")

# %% [markdown]
# ## Shallow, deep, cold, component
#
# Shallow fusion adds two finished models. There are ways to let them grow together. Let $h^{\text{dec}}$ and
# $h^{\text{LM}}$ be the last hidden states of decoder and language model, $z^{\text{LM}}$ the latter's logits, $[\,;]$
# concatenation, $\odot$ the product element by element, $\sigma$ the logistic function.
#
# | fusion | what is computed | what is trained |
# |---|---|---|
# | **shallow** | $\log P(y_u \mid x, \dots) + \lambda \log P_{\text{LM}}(y_u \mid \dots)$ | nothing |
# | **deep** | $g = \sigma(v^\top h^{\text{LM}} + b)$, $\;P = \text{softmax}(W [h^{\text{dec}}; g\, h^{\text{LM}}])$ | $v, b, W$, afterwards, with both models fixed |
# | **cold** | $\tilde h = \text{DNN}(z^{\text{LM}})$, $\;g = \sigma(W_g [h^{\text{dec}}; \tilde h])$, $\;P = \text{softmax}(\text{DNN}([h^{\text{dec}}; g \odot \tilde h]))$ | the whole recogniser, from the start, beside a fixed language model |
# | **component** | as cold fusion | the same, with a language model of the *transcripts*; another of the same shape takes its place when decoding |
#
# In words. *Deep* fusion learns when to listen to the language model: $g$ is one number for each step. *Cold* fusion
# lets the decoder be trained in the presence of the language model, so that it need not learn language itself and can
# put its strength into sound; the gate $g$ has an entry for each dimension, and logits are used, since they mean the
# same for any language model, which makes it replaceable. *Component* fusion observes that a language model of books
# says little about the transcripts while the recogniser is trained, so it trains with one of the transcripts, and
# exchanges it for one of the field of use.
#
# All but the first change the training. That is why shallow fusion is what most people use. What it gets wrong is known:
# the decoder's own language model is counted on top of the new one. The **density ratio** and **internal language
# model** methods subtract an estimate of it, from a language model of the transcripts or from the decoder with its ears
# closed: $\log P(y \mid x) + \lambda \log P_{\text{LM}}(y) - \mu \log P_{\text{ILM}}(y)$.
#
# ### A decoder that begins as a language model
#
# There is one more way to bring text into a recogniser: begin with it. The parameters of your Transformer have the names
# of a decoder's. `from_pretrained_decoder` copies them; cross-attention, which no language model has, begins with an
# output of zero.

# %%
config = load_config("tinyspeech")
sizes = LanguageModelArchitecture(d_model=144, num_heads=4, d_ff=576, layers=2)
torch.manual_seed(0)
reader = TransformerLM(sizes, tokenizer.vocab_size).eval()  # untrained: the point is where its weights go
listener = build_model(config, tokenizer.vocab_size).eval()
with tempfile.TemporaryDirectory() as folder:
    save_transformer_lm(folder, reader, tokenizer, LanguageModelConfig(model=sizes))
    transfer = from_pretrained_decoder(listener, folder)
print(f"transferred {len(transfer.transferred)}, new {len(transfer.new)}, left {len(transfer.left)}")
print("new:", *transfer.new[:3], "...")
ids = torch.tensor([[SOS, *tokenizer.encode(dev_texts[0])]])
heard, mask = torch.randn(1, 40, 144), torch.ones(1, 40, dtype=torch.bool)
with torch.no_grad():
    logits = listener.decode(ids, heard, mask)
    print("largest difference to the language model:", round(float((logits - reader(ids)).abs().max()), 4))

# %% [markdown]
# Before its first step, this decoder says what the language model says, whatever it hears. Training teaches it to
# listen. What was transferred may learn more slowly (`lr`) or rest for some steps (`rests_until`), while the new parts
# catch up; in a configuration these are `initialise.decoder_lr` and `initialise.freeze_decoder_steps`. Does all that
# help? Chapter 11 compares it, at equal cost, with starting from nothing.

# %% [markdown]
# ## Deep dive: Kneser and Ney
#
# Optional. An n-gram model that has seen SAN FRANCISCO nine times and nothing else ending in FRANCISCO: how probable is
# FRANCISCO after a word that it was never seen behind? Falling back on plain frequencies says: quite probable, it is a
# frequent word. Kneser and Ney say: hardly, since it has followed one word in all its life. So the lower order does not
# count how often a word was seen, but **behind how many different words**: the continuation count.
#
# And where does the probability of the unseen come from? Every count $c$ gives away a discount $D(c)$, 0.5 to 1.5 or so.
# What a history $h$ has given away is handed to its words in proportion to the model of the shorter history $h'$:
#
# $$p(w \mid h) = \frac{\max(c(hw) - D(c(hw)),\, 0)}{c(h)} + g(h)\, p(w \mid h'), \qquad
# g(h) = \frac{\sum_w D(c(hw))}{c(h)}.$$
#
# By hand. Behind a history stand B three times and C once; the discounts are $D(3) = 1.5$, $D(1) = 0.5$. Then
# $c(h) = 4$, $g = (1.5 + 0.5)/4 = 0.5$. If the shorter history gives B 0.5, then $p(\text{B} \mid h) = 1.5/4 + 0.5 \cdot
# 0.5 = 0.625$.
#
# To save memory, n-grams that were seen once are often left out. They have been counted in $c(h)$ all the same, and
# their *whole* count is given away.
#
# **Exercise 10.7** · 35 minutes · difficulty 5 of 5 · optional
#
# Write both functions with NumPy. `discounts(counts)` is given: four numbers, for counts 0, 1, 2, and 3 or more.
# `np.bincount` is your friend, with `weights` for sums.


# %%
@exercise("10.7")
def continuation_counts(counts: Array, suffix: Array, begins: Array) -> Array:
    """How many different words each n-gram was seen behind, in the place of how often it was seen.

    What counts for a lower order is whether a word turns up behind many others: FRANCISCO is frequent, but only behind
    SAN. An n-gram at the beginning of a sentence has nothing before it, and keeps its count.

    Args:
        counts: (n,) how often each n-gram of order k was seen.
        suffix: (m,) for each different n-gram of order k + 1 the row of its last k words.
        begins: (n,) boolean, which of order k begin with the beginning of a sentence.

    Returns:
        (n,) int64.
    """
    raise NotImplementedError("exercise 10.7")


def interpolate(counts: Array, history: Array, kept: Array, lower: Array, histories: int) -> tuple[Array, Array]:
    """Probabilities of one order, made of its counts and the order below.

    ``p(w | h) = max(c(h w) - D, 0) / c(h) + g(h) p(w | h')``, where D is that of :func:`discounts`, ``c(h)`` the sum of
    the counts of all words after h, ``h'`` the history without its first word, and ``g(h)`` such that the
    probabilities after h sum to 1: what was discounted, and the counts of n-grams that are not kept, over ``c(h)``.

    Args:
        counts: (n,) of n-grams, continuation counts where the order is not the highest.
        history: (n,) row of each n-gram's history.
        kept: (n,) boolean; the others are forgotten once they have been counted.
        lower: (n,) ``p(w | h')``.
        histories: number of histories there are.

    Returns:
        (n,) float64 probabilities, which mean something where ``kept``, and (histories,) float64 ``g``, 1 for a history
        behind which nothing was seen.
    """
    raise NotImplementedError("exercise 10.7")


# %%
continuation_counts, interpolate = check("10.7")

# %% [markdown]
# Stuck? `asr-tutorial hint 10.7` in a terminal, one hint at a time.
#
# Try it: which frequent words of the transcripts have followed only few others?

# %%
often = Counter(word for text in transcripts for word in text.split()[1:])  # the first word follows none
behind = Counter(second for _, second in {pair for text in transcripts for pair in pairwise(text.split())})
loyal = sorted((word for word in often if often[word] >= 20), key=lambda word: (behind[word] / often[word], word))
for word in (*loyal[:3], *loyal[-3:]):
    print(f"{word:10} seen {often[word]:3} times, behind {behind[word]:2} different words")

# %% [markdown]
# ## The usual mistakes
#
# | mistake | what you see |
# |---|---|
# | logits fused in the place of log-probabilities | the error rate rises at any weight; texts too long |
# | a language model with another vocabulary or order of tokens | nonsense at any weight above 0; our searches refuse it |
# | text in another form than the transcripts (commas, figures, lower case) | good perplexity on its own text, no help in recognition |
# | weight chosen on the test set | figures that nobody can repeat |
# | no bonus, large weight | words are left out |
# | perplexities of different vocabularies compared | the model of letters always "wins" |
# | unknown words left out, or counted as one word, without saying so | perplexities too good, by a factor on real text |
# | the next sentence's SOS among the targets | a lower loss per token, the same model |
# | context shorter than the text | fine at the beginning of sentences, noise behind |
# | dev sentences in the training text | a perplexity too good to be true, and no better error rate |
# | generation leaves the model in evaluation mode | training goes on without dropout, and nobody notices |

# %% [markdown]
# ## Three questions
#
# **1.** Two language models of the same text: one of letters with a perplexity of 2.5 per token, one of pieces with 12.
# A word has 5.5 letters on average, the space included, or 2.5 pieces. Which is the better one?
#
# <details><summary>Answer</summary>
#
# Per word (leaving the ends aside): $2.5^{5.5} \approx 154$ and $12^{2.5} \approx 499$. The model of letters is the
# better one. The perplexities per token said nothing about it, and it would have been as easy to construct the reverse.
#
# </details>
#
# **2.** The language model has a perplexity of 300 on dev text, a better one 250. Will the word error rate fall by the
# same sixth?
#
# <details><summary>Answer</summary>
#
# No. It falls by less, if at all. Perplexity is about all words, and recognition only about those that sound alike or
# were heard badly. As a rule of thumb the error rate follows the *logarithm* of the perplexity, and
# $\log 250 / \log 300 = 0.97$.
#
# </details>
#
# **3.** Your language model was trained on 800 million words and includes, by accident, the books that the test set was
# read from. What do you see, and where?
#
# <details><summary>Answer</summary>
#
# An excellent perplexity on the test text, and a test error rate that is too low: the language model has learnt the
# sentences by heart. Nothing in training warns you. It has to be prevented: leave out those books, and look for
# sentences in common.
#
# </details>

# %% [markdown]
# ## Where this goes next
#
# Chapter 11 grows a recogniser in stages, begins one from a language model, and puts all of it together on real speech.
#
# From the command line:
#
#     asr-tutorial lm train --config mini_librispeech --tokenizer.folder=runs/MY_RECOGNISER
#     asr-tutorial lm ngram my_3gram --text text/gutenberg.txt.xz --text text/train-clean-100.txt.xz
#     asr-tutorial lm evaluate my_3gram runs/MY_LM --vocabulary my_3gram --text dev-218spk
#     asr-tutorial tune -m runs/MY_RECOGNISER --corpus dev-218spk --lm my_3gram --plot sweep.png
#     asr-tutorial evaluate -m runs/MY_RECOGNISER --corpus dev-218spk --search joint --lm my_3gram
#
# CTC's beam of chapter 07 takes a language model in the same way (`--search prefix --lm`). With `--prune 2e-7` an n-gram
# model becomes small: n-grams go that backing off predicts nearly as well. `asr-tutorial lm arpa` writes one as an ARPA
# file, the format of all toolkits, and `--lm` takes such a file too.
#
# ## References
#
# - R. Sennrich, B. Haddow and A. Birch, [Neural machine translation of rare words with subword
#   units](https://arxiv.org/abs/1508.07909), 2016: byte-pair encoding.
# - R. Kneser and H. Ney, [Improved backing-off for m-gram language
#   modeling](https://doi.org/10.1109/ICASSP.1995.479394), 1995; S. Chen and J. Goodman, [An empirical study of smoothing
#   techniques for language modeling](https://doi.org/10.1006/csla.1999.0128), 1999; A. Stolcke, [Entropy-based pruning of
#   backoff language models](https://arxiv.org/abs/cs/0006025), 1998.
# - S. Merity et al., [Pointer sentinel mixture models](https://arxiv.org/abs/1609.07843), 2016: WikiText-2 and -103.
# - K. Irie et al., [Language modeling with deep Transformers](https://arxiv.org/abs/1905.04226), 2019: LibriSpeech.
# - C. Gulcehre et al., [On using monolingual corpora in neural machine translation](https://arxiv.org/abs/1503.03535),
#   2015: shallow and deep fusion.
# - A. Kannan et al., [An analysis of incorporating an external language model into a sequence-to-sequence
#   model](https://arxiv.org/abs/1712.01996), 2018: shallow fusion for speech.
# - A. Sriram et al., [Cold fusion: training seq2seq models together with language
#   models](https://arxiv.org/abs/1708.06426), 2018.
# - C. Shan et al., Component fusion: learning replaceable language model component for end-to-end speech recognition
#   system, ICASSP 2019.
# - E. McDermott, H. Sak and E. Variani, [A density ratio approach to language model fusion in end-to-end automatic speech
#   recognition](https://arxiv.org/abs/2002.11268), 2019; Z. Meng et al., [Internal language model estimation for
#   domain-adaptive end-to-end speech recognition](https://arxiv.org/abs/2011.01991), 2021.
