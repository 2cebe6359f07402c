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
# # 06 · The decoder
#
# The encoder of chapter 05 turns sound into a row of states, one for every few frames. In this chapter you write the
# half that turns states into text: it reads what it has written so far, listens to the part of the sound that comes
# next, and says which token follows. At the end you have a complete sequence-to-sequence recogniser. You train it in
# seconds, watch its attention find the diagonal, break it on purpose, and look into the same architecture trained on
# speech.
#
# **You need** attention (chapters 01 and 02), masks (03), positions (04) and the encoder (05). **Time**: about 3
# hours; the core exercises take half of them.
#
# | exercise | what you write | minutes | difficulty | |
# |---|---|---|---|---|
# | 6.1 | what the decoder reads and what it must answer | 15 | 2 | core |
# | 6.2 | a decoder layer with cross-attention | 30 | 3 | core |
# | 6.3 | the whole decoder, all at once or step by step | 30 | 4 | core |
# | 6.4 | two heads on one encoder: CTC and decoder | 15 | 2 | core |

# %%
# The course comes first: from here on the library has what you wrote in earlier chapters.
from asr_tutorial.course import check, exercise, here, show

here("06")

# %%
import math
from collections.abc import Sequence

import torch
from IPython.display import Audio
from matplotlib import pyplot as plt
from torch import Tensor
from torch.nn import functional as F

import asr_tutorial
from asr_tutorial import plots
from asr_tutorial.attention import scaled_dot_product_attention
from asr_tutorial.audio import read_audio
from asr_tutorial.config import Config, ModelConfig, from_dict
from asr_tutorial.corpus import read_corpus
from asr_tutorial.corpus.read import REPOSITORY
from asr_tutorial.ctc import best_path
from asr_tutorial.decoder import DecoderCache, LayerCache
from asr_tutorial.features import FeatureExtractor
from asr_tutorial.masks import causal_mask, key_mask, padding_mask
from asr_tutorial.metrics import cer
from asr_tutorial.model import ModelOutput, build_model, count_parameters
from asr_tutorial.search import greedy_search
from asr_tutorial.synthetic import SyntheticTask
from asr_tutorial.tokenizer import CharTokenizer, Tokenizer

torch.set_num_threads(1)  # the model of this chapter is so small that threads would mostly wait for each other

# %% [markdown]
# ## One token after another
#
# The model of chapter 05 gave its verdicts all at once. Its CTC head said for every frame which letter is likely there,
# but no frame knew what the others had said. A decoder is
# [autoregressive](../docs/glossary.md#autoregressive): it writes one token at a time, and everything it has written
# is part of its input.
#
# Let $H$ be the encoder's states, of shape $(T', d)$: $T'$ frames of width $d$. Let $y_1, \dots, y_U$ be the tokens
# of the text, where the last one, $y_U$, is [EOS](../docs/glossary.md#eos), "end of sentence". A special token
# [SOS](../docs/glossary.md#sos), "start of sentence", stands in front as $y_0$. The probability of the text is a
# product, one factor for each token:
#
# $$P(y_1, \dots, y_U \mid H) = \prod_{u=1}^{U} P(y_u \mid y_0, \dots, y_{u-1}, H).$$
#
# This is the chain rule of probability; nothing is left out. The decoder is a network that computes one factor:
# tokens so far and sound in, a distribution over the next token out. EOS is a token like the others, so the model
# itself decides when it is done.
#
# ### By hand
#
# Somebody says HI. There are three steps:
#
# | step | has been read | must be answered | probability the model gives it |
# |---|---|---|---|
# | 1 | SOS | H | 0.8 |
# | 2 | SOS H | I | 0.5 |
# | 3 | SOS H I | EOS | 0.9 |
#
# The text has the probability $0.8 \cdot 0.5 \cdot 0.9 = 0.36$. Training raises it, by lowering its negative
# logarithm, $-\ln 0.36 = 1.02$. Because the logarithm of a product is a sum, that is a cross-entropy added up over
# the steps: $0.22 + 0.69 + 0.11$. Divided by the three tokens it is $0.34$ nats per token, the number that training
# logs show.

# %%
given = torch.tensor([0.8, 0.5, 0.9])
print("each step: ", [round(x, 2) for x in (-given.log()).tolist()])
print("sum:       ", round(float(-given.prod().log()), 2))
print("per token: ", round(float(-given.log().mean()), 2))

# %% [markdown]
# ## Teacher forcing
#
# In the table, step 2 was given the *right* first letter, whatever the model would have said itself. Training always
# does that. It is called [teacher forcing](../docs/glossary.md#teacher-forcing), and it has a great advantage: no
# step has to wait for the one before it. The whole text goes in at once, and the [causal
# mask](../docs/glossary.md#causal-mask) of chapter 03 sees to it that position $u$ knows nothing of the tokens behind
# it. One pass trains all $U$ steps.
#
# So a training example needs two rows of tokens, position by position:
#
# | position | 0 | 1 | 2 |
# |---|---|---|---|
# | read ("shifted") | SOS | H | I |
# | answered ("golden") | H | I | EOS |
#
# The shift by one place is the whole point. The answer at position $u$ is the input at position $u + 1$. If both rows
# were the same, the answer would lie in front of the model, and the quickest way to a small loss would be to copy it.
#
# Texts in a batch differ in length, so both rows are filled up behind their ends with [PAD](../docs/glossary.md#pad).
# The loss skips positions whose answer is PAD. EOS is no PAD: it *is* trained on.
#
# **Exercise 6.1** · 15 minutes · difficulty 2 of 5 · core
#
# Write `shifted_and_golden`, which makes both rows for a batch of texts. Each text is a list of ids without SOS and
# EOS. `pad_tokens(sequences, length, pad)` of the same module stacks lists of ids and fills them up. Only the
# tokenizer knows the numbers: `tokenizer.sos_id`, `tokenizer.eos_id`, `tokenizer.pad_id`. Leave the given lists as
# they are; the caller still needs them for CTC.


# %%
@exercise("6.1")
def shifted_and_golden(sequences: Sequence[Sequence[int]], length: int, tokenizer: Tokenizer) -> tuple[Tensor, Tensor]:
    """What a decoder reads and what it must answer, position by position (teacher forcing).

    Args:
        sequences: token ids of each text, without SOS and EOS.
        length: length of the common token axis; one more than the longest text at least.
        tokenizer: gives the ids of SOS, EOS and PAD.

    Returns:
        Two ``(batch, length)`` int64 tensors, filled up with PAD: SOS + text ("shifted"), and text + EOS ("golden").
    """
    raise NotImplementedError("exercise 6.1")


# %%
shifted_and_golden = check("6.1")

# %% [markdown]
# Stuck? `asr-tutorial hint 6.1` in a terminal, one hint at a time.
#
# **Try it** on two sentences of the bundled corpus. Read the columns from left to right: each answer appears as the
# next input, and the shorter sentence ends with EOS first and PAD after it.

# %%
corpus = read_corpus("tinyspeech/test")
two = sorted(corpus.utterances, key=lambda utterance: (len(utterance.text), utterance.id))[:2]
letters = CharTokenizer.train(utterance.text for utterance in corpus)
texts = [letters.encode(utterance.text) for utterance in two]
shifted, golden = shifted_and_golden(texts, max(map(len, texts)) + 3, letters)
for utterance, read, answered in zip(two, shifted, golden, strict=True):
    print(utterance.text)
    for name, row in (("read", read), ("answered", answered)):
        print(f"  {name:9}", " ".join(letters.tokens[token].strip("<>") for token in row.tolist()))

# %% [markdown]
# `▁` is how the tokenizer writes a space. These are the `tokens_in` and `tokens_out` of a `Batch` (chapter 03);
# `collate` now makes them with your function.
#
# Teacher forcing has a price. In training the decoder only ever reads perfect texts. When it recognises speech it
# reads *its own* words, mistakes included, and it has never learnt what to do after one. That gap is called [exposure
# bias](../docs/glossary.md#exposure-bias); a deep dive at the end measures it.

# %% [markdown]
# ## Cross-attention: text asks, sound answers
#
# How does a position of the text find its part of the sound? By the attention that you know, with its inputs taken
# from two places. In [cross-attention](../docs/glossary.md#cross-attention)
#
# - the **queries** come from the text: one for each token read, "I have written H, what comes next?";
# - the **keys and values** come from the sound: one pair for each frame of the encoder.
#
# | tensor | shape | from |
# |---|---|---|
# | query | (batch, length, d_model) | the decoder's own states |
# | key, value | (batch, frames, d_model) | `encoder_out` |
# | mask | (batch, 1, frames) | `key_mask(encoder_mask)`: padded frames are hidden from every query |
# | weights | (batch, heads, length, frames) | where each token listens |
# | output | (batch, length, d_model) | what it heard, one vector for each token |
#
# Length and frames are different numbers, and neither is fixed: the same four projection matrices serve a word and a
# speech. There is no causal mask here. The sound has been recorded to its end, so every token may listen anywhere in
# it.
#
# ### By hand
#
# One token, three frames, one head of width $d = 1$, so that the scale $\sqrt d$ is 1. The query is $\ln 2$, the keys
# are $0, 1, 0$, and the values $4, 8, 0$.
#
# *Scores*: $0, \ln 2, 0$. *Exponentials*: $1, 2, 1$, sum 4. *Weights*: $\tfrac14, \tfrac12, \tfrac14$. *Heard*:
# $\tfrac14 \cdot 4 + \tfrac12 \cdot 8 + 0 = 5$.
#
# Now say that the third frame is padding. Then only $1$ and $2$ are shared out, the weights are
# $\tfrac13, \tfrac23, 0$, and what is heard is $\tfrac13 \cdot 4 + \tfrac23 \cdot 8 = 6.67$. Without the mask, a longer neighbour in the
# batch would have changed what this utterance hears.

# %%
query, key, value = torch.tensor([[math.log(2)]]), torch.tensor([[0.0], [1], [0]]), torch.tensor([[4.0], [8], [0]])
for real in ([True, True, True], [True, True, False]):
    heard, weights = scaled_dot_product_attention(query, key, value, torch.tensor([real]))
    print([round(x, 2) for x in weights[0].tolist()], "->", round(float(heard), 2))

# %% [markdown]
# ## The layer
#
# A decoder layer is the encoder layer with one more sublayer in its middle. Let $X$, of shape $(U, d)$, be the states
# of the text. Three times something is added to them, each time computed from a normalised copy
# ("[pre-norm](../docs/glossary.md#pre-norm)", as in chapter 05):
#
# $$\begin{aligned}
# X' &= X + \text{self-attention}(\text{norm}_1(X)) && \text{what have I written?}\\
# X'' &= X' + \text{cross-attention}(\text{norm}_2(X'), H) && \text{what do I hear next?}\\
# X''' &= X'' + \text{feed-forward}(\text{norm}_3(X'')) && \text{so what follows?}
# \end{aligned}$$
#
# $H$ is not normalised here. The encoder's last step was a norm, made for it.
#
# The constructor is given. `Dropout` is applied to what each sublayer says, before it is added:

# %%
show("decoder.DecoderLayer.__init__")

# %% [markdown]
# ### What the caches are for
#
# In training all positions come at once. When the model writes, they come one at a time, and each new token has to
# look back at all the earlier ones. Their keys and values have been computed before, and they never change, because
# nothing earlier sees anything later. So each attention keeps them in a [key-value
# cache](../docs/glossary.md#key-value-cache) (chapter 02 has it in `MultiHeadAttention.forward`, as its last
# argument):
#
# - the cache of the self-attention grows by one key and one value for each token;
# - the cache of the cross-attention is filled once, from the sound, and then stays `fixed`.
#
# They must not be confused: one holds text, the other sound. A layer gets the pair as a `LayerCache`:

# %%
show("decoder.LayerCache")

# %% [markdown]
# **Exercise 6.2** · 30 minutes · difficulty 3 of 5 · core
#
# Write `DecoderLayer.forward`. Both attentions are called as `attention(query, key, value, mask, need_weights,
# cache)` and give an output and its weights (`None` unless asked for). `cache` is `None` in training.


# %%
@exercise("6.2")
class DecoderLayer:  # these methods become part of asr_tutorial.decoder.DecoderLayer
    def forward(
        self,
        x: Tensor,
        encoder_out: Tensor,
        self_mask: Tensor | None,
        cross_mask: Tensor,
        need_weights: bool = False,
        cache: LayerCache | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """One layer.

        Args:
            x: (batch, length, d_model).
            encoder_out: (batch, frames, d_model).
            self_mask: (length, length) or (batch, length, length); None when a cached step may see all there is.
            cross_mask: (batch, 1, frames).
            need_weights: return the attention weights too.
            cache: keys and values of earlier steps, extended by this one.

        Returns:
            (batch, length, d_model), self-attention weights (batch, heads, length, length) or None, and
            cross-attention weights (batch, heads, length, frames) or None.
        """
        raise NotImplementedError("exercise 6.2")


# %%
DecoderLayer = check("6.2")

# %% [markdown]
# Stuck? `asr-tutorial hint 6.2` in a terminal, one hint at a time.
#
# **Try it**: four tokens, nine frames, of which the second utterance has only six.

# %%
torch.manual_seed(0)
layer = DecoderLayer(ModelConfig(d_model=64, num_heads=2, d_ff=128, dropout=0.0))
real_frames = padding_mask(torch.tensor([9, 6]))
x, self_weights, cross_weights = layer(
    torch.randn(2, 4, 64), torch.randn(2, 9, 64), causal_mask(4), key_mask(real_frames), need_weights=True
)
print("text out:       ", tuple(x.shape))
print("self-attention: ", tuple(self_weights.shape))
print("cross-attention:", tuple(cross_weights.shape))
print(
    "its rows sum to ", round(float(cross_weights.sum(-1).min()), 3), "to", round(float(cross_weights.sum(-1).max()), 3)
)
print("weight on padding:", round(float(cross_weights[1, :, :, 6:].sum()), 3))
print("parameters:")
for name, part in layer.named_children():
    print(f"  {name:16} {count_parameters(part):6}")

# %% [markdown]
# With $d = 64$ each attention has $4 (d^2 + d) = 16\,640$ parameters, for four square matrices with their biases. The
# feed-forward block of inner width 128 has $2 \cdot 64 \cdot 128 + 128 + 64 = 16\,576$. No number depends on how many
# tokens or frames there are.

# %% [markdown]
# ## The whole decoder
#
# Around the layers stand an embedding, positions, a last norm and an output layer:

# %%
show("decoder.Decoder.__init__")

# %% [markdown]
# In order:
#
# 1. **[Embedding](../docs/glossary.md#embedding) times $\sqrt d$.** The embedding's rows start with a standard deviation of $1 / \sqrt d$.
#    Multiplied by `self.scale` $= \sqrt d$ they are about as large as the sines of the positions that are added
#    next.
# 2. **Positions and dropout**, as in the encoder.
# 3. **The layers**, all with the same two masks. PAD at the end of a text needs no mask: real tokens look back
#    only, and never see it.
# 4. **The last norm, and the output layer** to [logits](../docs/glossary.md#logits), a score for every token of the
#    vocabulary. The softmax is the business of the loss and of the search.
#
# ### Step by step
#
# With a cache, `tokens` holds only what the decoder has not seen yet. Say it has seen three tokens and gets two more.
# Then
#
# - `cache.length` is 3: the new tokens stand at positions 3 and 4. This [offset](../docs/glossary.md#offset) goes
#   to `self.positional(x, offset)`, which you know from chapter 04;
# - the queries are positions 3 and 4, but the keys are all five, for three come out of the cache. The mask is a
#   part of the causal mask of the whole text so far. Which part? Look at it before you write:

# %%
print(causal_mask(5).int())

# %% [markdown]
# Each layer has a `LayerCache` of its own, in `cache.layers`. The decoder counts in `cache.length` what has gone
# through all of them:

# %%
show("decoder.DecoderCache")

# %% [markdown]
# **Exercise 6.3** · 30 minutes · difficulty 4 of 5 · core
#
# Write `Decoder.forward`. The check of the tokens stays in the stub: an id such as -100 belongs in a loss, not in an
# embedding. Write it for training first (`cache` is `None`, the offset 0), and then add the cache. `causal_mask` and
# `key_mask` are imported in the module.


# %%
@exercise("6.3")
class Decoder:  # these methods become part of asr_tutorial.decoder.Decoder
    def forward(
        self,
        tokens: Tensor,
        encoder_out: Tensor,
        encoder_mask: Tensor,
        need_weights: bool = False,
        cache: DecoderCache | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits of the token after each given one.

        PAD at the end of ``tokens`` needs no mask of its own: a real token only looks back, and never sees it.

        Args:
            tokens: (batch, length) ids, SOS first; with a cache, only the tokens that it has not seen.
            encoder_out: (batch, frames, d_model).
            encoder_mask: (batch, frames), True = real.
            need_weights: collect attention weights.
            cache: state of a running search, extended by this call.

        Returns:
            logits (batch, length, vocab), and attention weights by name: ``decoder.0.self_attention`` and
            ``decoder.0.cross_attention`` and so on (empty unless asked for).

        Raises:
            ValueError: tokens that are not (batch, length), or an id outside the vocabulary (looked at on the CPU).
        """
        self._check_tokens(tokens, encoder_out)
        raise NotImplementedError("exercise 6.3")


# %%
Decoder = check("6.3")

# %% [markdown]
# Stuck? `asr-tutorial hint 6.3` in a terminal, one hint at a time.
#
# **Try it**: twelve tokens at once, and the same twelve one by one. The logits must be the same, and the work is not.

# %%
torch.manual_seed(0)
decoder = Decoder(ModelConfig(d_model=64, num_heads=2, d_ff=128, decoder_layers=2, dropout=0.0), vocab_size=16).eval()
tokens, sound = torch.randint(16, (1, 12)), torch.randn(1, 30, 64)
all_real = torch.ones(1, 30, dtype=torch.bool)
with torch.no_grad():
    at_once, _ = decoder(tokens, sound, all_real)
    cache = DecoderCache(2)
    steps = [decoder(tokens[:, t : t + 1], sound, all_real, cache=cache)[0] for t in range(12)]
print("largest difference of a logit:", round(float((torch.cat(steps, 1) - at_once).abs().max()), 4))
print("keys kept by layer 0, text and sound:", cache.layers[0].self_attention.keys.shape[2], "and",
      cache.layers[0].cross_attention.keys.shape[2])  # fmt: skip
print("positions computed for 12 tokens with the cache:", 12)
print("and if each step read the whole text again:     ", sum(range(1, 13)))
print("the same for 200 tokens:", 200, "and", sum(range(1, 201)))

# %% [markdown]
# ## Two heads on one encoder
#
# The recogniser of this course keeps the CTC head of chapter 05 *and* gets a decoder. Both listen to the same
# encoder:
#
# - the CTC head maps each frame's state to log-probabilities, $(B, T', d) \to (B, T', V)$, where $B$ is the batch
#   and $V$ the size of the vocabulary;
# - the decoder maps tokens and states to logits, $(B, U, d) \to (B, U, V)$.
#
# One loss trains both,
#
# $$\mathcal L = \lambda \, \mathcal L_\text{CTC} + (1 - \lambda) \, \mathcal L_\text{attention},$$
#
# where $\mathcal L_\text{attention}$ is the cross-entropy from above and the [CTC](../docs/glossary.md#ctc) weight
# $\lambda$ lies between 0.2 and 0.5 as a rule. CTC has to walk through the sound from left to right, and so teaches
# the encoder an order that attention alone must find by itself. Chapter 07 opens the CTC loss, chapter 08 the
# training, chapter 09 lets both heads vote on each token.

# %%
show("model.SpeechTransformer.__init__")

# %%
show("model.ModelOutput")

# %% [markdown]
# **Exercise 6.4** · 15 minutes · difficulty 2 of 5 · core
#
# Write two methods of `SpeechTransformer`. `ctc_log_probs` applies the CTC head; it converts the scores to single
# precision with `.float()` before it takes a log-softmax over the vocabulary, because CTC adds up very many small
# numbers. `forward` does all that training needs from a batch, and runs the encoder once:
#
# - `self.front_end(features, feature_lengths)` normalises raw features (and masks parts of them in training);
# - `self.encoder(normalised, feature_lengths, need_weights)` gives states, mask and a dictionary of maps;
# - `self.decoder` is `None` in a model without decoder: then the logits are `None`.


# %%
@exercise("6.4")
class SpeechTransformer:  # these methods become part of asr_tutorial.model.SpeechTransformer
    def ctc_log_probs(self, encoder_out: Tensor) -> Tensor:
        """(batch, frames, d_model) -> log-probabilities (batch, frames, vocab), fp32 under autocast too."""
        raise NotImplementedError("exercise 6.4")

    def forward(
        self, features: Tensor, feature_lengths: Tensor, tokens_in: Tensor, need_weights: bool = False
    ) -> ModelOutput:
        """Everything that training needs from one batch.

        Args:
            features: (batch, time, n_mels) raw log-mel.
            feature_lengths: (batch,).
            tokens_in: (batch, length) ids, SOS first.
            need_weights: return attention maps; takes the explicit attention path.

        Returns:
            Encoder states, CTC log-probabilities, the decoder's logits (None in a model without decoder), and the
            attention maps of encoder and decoder in one dictionary.
        """
        raise NotImplementedError("exercise 6.4")


# %%
SpeechTransformer = check("6.4")

# %% [markdown]
# Stuck? `asr-tutorial hint 6.4` in a terminal, one hint at a time.
#
# **Try it** on a synthetic task, made in memory and learnt in seconds: ten letters, each a random but fixed spectrum that
# is held for 4 to 8 frames, with noise. Texts have 2 to 8 letters.


# %%
def task_of_lengths(shortest, longest):
    """The same ten letters, in texts of other lengths."""
    return SyntheticTask(letters=10, n_mels=20, min_length=shortest, max_length=longest, min_frames=4, max_frames=8)


task = task_of_lengths(2, 8)
tokenizer = task.tokenizer
config = from_dict(
    Config,
    {
        "features": {"n_mels": 20, "normalize": "none"},
        "augment": {"freq_masks": 0, "time_masks": 0},
        "model": {
            "d_model": 64,
            "num_heads": 2,
            "d_ff": 128,
            "encoder_layers": 2,
            "decoder_layers": 1,
            "subsampling_factor": 2,
            "subsampling_channels": 8,
            "dropout": 0.0,
        },
    },
)


def fresh_model():
    torch.manual_seed(1)
    return build_model(config, tokenizer.vocab_size)


model = fresh_model()
batch = task.batch(size=32, seed=1)
output = model(batch.features, batch.feature_lengths, batch.tokens_in, need_weights=True)
print("features     ", tuple(batch.features.shape))
print("encoder_out  ", tuple(output.encoder_out.shape))
print("ctc_log_probs", tuple(output.ctc_log_probs.shape))
print("logits       ", tuple(output.logits.shape))
for name, weights in output.attention_maps.items():
    print(f"{name:26}", tuple(weights.shape))
print("parameters: encoder", count_parameters(model.encoder), "decoder", count_parameters(model.decoder),
      "CTC head", count_parameters(model.ctc_head))  # fmt: skip

# %% [markdown]
# ## Experiment: watch the diagonal appear
#
# Speech and text run in the same order. If the decoder works, its first token must listen near the beginning, the
# next one a little later, and so on: in a picture with tokens downwards and time to the right, the weights must form
# a **diagonal**. Nothing in the code says so. All queries start as random projections, and they can look anywhere.
#
# **Predict** before you run: how does the diagonal come? All over at once and first blurred, then sharp? From the
# middle? From one end?
#
# First the loss, with everything visible. `ignore_index` skips the positions whose answer is PAD.


# %%
def losses(model, batch, tokens_in):
    output = model(batch.features, batch.feature_lengths, tokens_in)
    attention = F.cross_entropy(
        output.logits.flatten(0, 1),  # (batch * length, vocab)
        batch.tokens_out.flatten(),  # (batch * length,)
        ignore_index=tokenizer.pad_id,
    )
    ctc = F.ctc_loss(
        output.ctc_log_probs.transpose(0, 1),  # (frames, batch, vocab), as the function wants it
        batch.targets,
        output.encoder_mask.sum(dim=1),  # real frames of each utterance
        batch.target_lengths,
        blank=tokenizer.blank_id,
    )
    return attention, ctc


def train(model, steps, ctc_weight=0.3, keep=(), wrongly_shifted=False):
    """Train, and look at one utterance's cross-attention before each of the steps in `keep`, and at the end."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98))
    # The learning rate rises over the first fifth of the steps, and falls to nothing over the rest.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps, pct_start=0.2)
    history, maps = [], {}
    for step, batch in enumerate(task.batches(steps, size=32, seed=7)):
        if step in keep:
            maps[step] = cross_attention(model, watched)
        # The mistake of exercise 6.1, on demand: the answers themselves are read.
        tokens_in = batch.tokens_out if wrongly_shifted else batch.tokens_in
        attention, ctc = losses(model, batch, tokens_in)
        optimizer.zero_grad()
        (ctc_weight * ctc + (1 - ctc_weight) * attention).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        history.append((float(attention.detach()), float(ctc.detach())))
    maps[steps] = cross_attention(model, watched)
    return history, maps


@torch.no_grad()
def cross_attention(model, batch):
    """The first utterance's weights, mean over the heads of the last layer: (tokens, real frames)."""
    output = model(batch.features, batch.feature_lengths, batch.tokens_in, need_weights=True)
    last = [name for name in output.attention_maps if name.endswith("cross_attention")][-1]
    return output.attention_maps[last][0].mean(dim=0)[:, output.encoder_mask[0]]


watched = task_of_lengths(8, 8).batch(size=1, seed=4)
print("We watch an utterance that training never has:", watched.texts[0])

# %% [markdown]
# The training itself takes well under a minute on one core, with the functions that you have written.

# %% tags=["nbval-ignore-output"]
STEPS = 600
history, maps = train(model, STEPS, keep=(0, 80, 150))
for step in (0, 50, 100, 200, 400, STEPS - 1):
    print(f"step {step:3}: attention loss {history[step][0]:.3f}, CTC loss {history[step][1]:.3f}")

# %% tags=["nbval-ignore-output"]
with plots.style():
    figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
    for place, name in enumerate(("attention", "CTC")):
        values = [pair[place] for pair in history]
        axes.plot(values, label=name, color=plots.COLORS[place], linestyle=plots.DASHES[place], linewidth=1)
    for step in maps:
        axes.axvline(step, color="#999999", linewidth=0.8)
    axes.axhline(math.log(10), color="#999999", linewidth=0.8, linestyle=":")
    axes.text(STEPS, math.log(10) + 0.08, "guessing one of ten letters", ha="right", fontsize=8)
    axes.set(title="A plateau, a fall, a long tail. Vertical lines: where the maps below were taken",
             xlabel="optimiser step", ylabel="loss (nats)", ylim=(0, 4), xlim=(-5, STEPS + 5))  # fmt: skip
    axes.legend()
    plt.show()


# %% tags=["nbval-ignore-output"]
def draw_maps(maps, tokens, frame_seconds=0.02, darkest=0.5):
    """Maps in one figure, {title: weights}, all on one grey scale, or they could not be compared."""
    with plots.style():
        columns = min(len(maps), 2)
        rows = -(-len(maps) // columns)
        _, axes = plt.subplots(rows, columns, figsize=(9, 0.5 + 2.3 * rows), layout="constrained", squeeze=False)
        for place, (title, weights) in zip(axes.flat, maps.items(), strict=False):
            plots.attention_map(weights, tokens, frame_seconds, title=title, axes=place)
            place.images[0].set_clim(0, darkest)
        plt.show()


def frames_listened_to(weights):
    """How many frames a row spreads its weight over: exp(entropy). 1: one frame; all of them: flat."""
    return float(torch.exp(-(weights * weights.clamp(min=1e-9).log()).sum(dim=-1)).mean())


spoken = ["SOS", *watched.texts[0]]
draw_maps({f"after {step} steps": weights for step, weights in maps.items()}, spoken)
frames = maps[0].shape[1]
for step, weights in maps.items():
    print(f"after {step:3} steps a token listens to {frames_listened_to(weights):4.1f} of {frames} frames on average")

# %% [markdown]
# Row "SOS" has read SOS and must say the first letter; the last row has read the last letter and must say EOS.
#
# **The diagonal grows from the front.** You may have expected it to sharpen everywhere at once. Finding the first
# letter needs no sense of place: it is always at the beginning. Once the model has that, the second is near the first, and so on. Rows further down
# have nothing to hold on to yet, and meanwhile look where it pays at all, often all of them at the same frames.
#
# The loss tells the same story. First comes a plateau near $\ln 10 = 2.3$, where the decoder guesses among ten
# letters and knows at best when to stop. Then a steep fall, while row after row finds its place. Then a long tail of
# details. Most of what you will see in real trainings has this form, only slower; a recogniser of real speech can
# stay on the plateau for thousands of steps.
#
# ## How to read a map
#
# These are sketches, drawn and not measured, of what you will meet:


# %%
def sketch(kind, tokens=8, frames=32):
    """A made-up map of one kind: (tokens, frames)."""
    rows, columns = torch.arange(tokens)[:, None].float(), torch.arange(frames)[None, :].float()
    centre = {
        "healthy": torch.tensor([1.5, 5, 8, 10, 18, 21, 25, 29])[:, None],
        "stripe": torch.full_like(rows, frames - 3.0),
        "stuck": (rows.clamp(max=3) + 0.5) * frames / 8,
        "repeated": (torch.where(rows < 5, rows, rows - 3) + 0.5) * frames / 5,
        "skipped": (torch.where(rows < 3, rows, rows + 3) + 0.5) * frames / 11,
    }.get(kind, rows)
    width = 1e3 if kind == "flat" else 1.5
    return torch.softmax(-((columns - centre) ** 2) / (2 * width**2), dim=-1)


kinds = {
    "healthy": "healthy: a diagonal, never quite straight",
    "flat": "flat: nobody listens",
    "stripe": "vertical stripe: all listen to the same",
    "stuck": "stuck: it moves no further",
    "repeated": "repeated: a stretch is heard twice",
    "skipped": "skipped: a stretch is never heard",
}
with plots.style():
    figure, axes = plt.subplots(2, 3, figsize=(9, 4), layout="constrained", sharex=True, sharey=True)
    for place, (kind, title) in zip(axes.flat, kinds.items(), strict=True):
        place.imshow(sketch(kind), cmap=plots.WEIGHTS, vmin=0, vmax=0.3, extent=(0, 32, 8, 0))
        place.set_title(title, fontsize=9)
    for place in axes[:, 0]:
        place.set_ylabel("token")
    for place in axes[-1]:
        place.set_xlabel("encoder frame")
    plt.show()

# %% [markdown]
# | map | when it is all right | when it is not | look at |
# |---|---|---|---|
# | flat | before the loss leaves its plateau; in some lower heads for ever | the loss is small all the same | the shift, the causal mask |
# | vertical stripe | early; later on a silence, where a head rests that has nothing to do | at the end of training; on *padding* at any time | the cross mask |
# | stuck | never | the text stops, or letters come again and again | the offset; utterances longer than in training |
# | repeated | never | a phrase twice in the text | two places that sound alike; chapter 09 |
# | skipped | at silence | words are missing | the same |
#
# And mind the grey scale. `plots.attention_map` sets black to the largest weights *of its own map*, so that a flat
# map looks busy until you read its colour bar. Above, all maps share one scale.
#
# ## It recognises
#
# Now without a teacher: the model starts from SOS and reads its own words. [Greedy
# search](../docs/glossary.md#greedy-search), `greedy_search` in the code, takes the likeliest token at each step until EOS;
# it uses your decoder with its cache. Chapter 09 is about better ways. The letter error rate
# counts wrong, missing and additional letters, as a share of those that were said; it can exceed 100 %. Two hundred
# utterances that training never had:


# %%
def recognise(model, batch):
    """Texts that the decoder writes, greedily, and texts of the CTC head."""
    model.eval()
    encoder_out, encoder_mask = model.encode(batch.features, batch.feature_lengths)
    forbidden = [tokenizer.blank_id, tokenizer.sos_id, tokenizer.pad_id]
    hyps = greedy_search(model, encoder_out, encoder_mask, tokenizer.sos_id, tokenizer.eos_id, forbidden)
    with torch.no_grad():
        frames = best_path(model.ctc_log_probs(encoder_out), encoder_mask.sum(dim=1), tokenizer.blank_id)
    return [tokenizer.decode(hyp.tokens) for hyp in hyps], [tokenizer.decode(tokens) for tokens in frames]


def report(name, texts, hyps):
    right = sum(text == hyp for text, hyp in zip(texts, hyps, strict=True)) / len(texts)
    print(f"{name:9} letter error rate {cer(texts, hyps):6.1%}   whole texts right {right:6.1%}")


# %% tags=["nbval-ignore-output"]
test = task.batch(size=200, seed=1000)
written, read_off = recognise(model, test)
report("decoder:", test.texts, written)
report("CTC head:", test.texts, read_off)
print("\nsome that went wrong:")
for text, hyp in [(t, h) for t, h in zip(test.texts, written, strict=True) if t != h][:8]:
    print(f"  said {text:8}  heard {hyp}")

# %% [markdown]
# This is a working sequence-to-sequence recogniser, of your own making. Look at its mistakes: many are doubled
# letters. In this task AA is one long sound with a dip in loudness, so even a human could not always say whether A
# was held or said twice.
#
# ## Experiment: the shift that is none
#
# Now make the mistake that exercise 6.1 warned of. The decoder reads the answers themselves: input and answer are the
# same row. Everything else stays as it was, only shorter, and without the CTC loss.
#
# **Predict**: what does the loss do, and what does the model write afterwards?

# %% tags=["nbval-ignore-output"]
cheater = fresh_model()
cheated, cheater_maps = train(cheater, 120, ctc_weight=0.0, wrongly_shifted=True)
for step in (0, 30, 60, 119):
    print(f"step {step:3}: loss {cheated[step][0]:.3f}   (the honest model then: {history[step][0]:.3f})")
written_by_cheater, _ = recognise(cheater, test)
print()
report("decoder:", test.texts, written_by_cheater)
for text, hyp in list(zip(test.texts, written_by_cheater, strict=True))[:4]:
    print(f"  said {text:8}  heard {hyp[:60]}")

# %% [markdown]
# The best loss of the chapter, and gibberish. The model has learnt to copy its input, and a copier that starts from
# SOS has nothing to copy. In a log file this run looks like a triumph, which is what makes the mistake expensive. Two
# ways to unmask it cost a minute each.
#
# **Look at the map.** A loss near zero, and no diagonal:

# %% tags=["nbval-ignore-output"]
draw_maps({f"honest, {STEPS} steps: it listens": maps[STEPS], "wrong shift: no need to": cheater_maps[120]}, spoken)

# %% [markdown]
# **Give it the wrong sound.** Let each utterance's decoder listen to another utterance, and measure the loss again,
# each model with the inputs it was trained on. Who listens must suffer.


# %% tags=["nbval-ignore-output"]
@torch.no_grad()
def loss_with(model, batch, tokens_in, wrong_sound):
    encoder_out, encoder_mask = model.encode(batch.features, batch.feature_lengths)
    if wrong_sound:
        encoder_out, encoder_mask = encoder_out.roll(1, dims=0), encoder_mask.roll(1, dims=0)
    logits = model.decode(tokens_in, encoder_out, encoder_mask)
    return float(F.cross_entropy(logits.flatten(0, 1), batch.tokens_out.flatten(), ignore_index=tokenizer.pad_id))


for name, net, tokens_in in (("honest", model, test.tokens_in), ("wrong shift", cheater, test.tokens_out)):
    right, wrong = (loss_with(net, test, tokens_in, wrong_sound) for wrong_sound in (False, True))
    print(f"{name:12} right sound: loss {right:6.3f}   another's sound: loss {wrong:6.3f}")

# %% [markdown]
# The honest model is lost without its sound. The other one does not even notice. A missing causal mask does the same
# in a less obvious way: the answer then lies one place to the right of the query, where self-attention finds it.
#
# ## Experiment: longer than ever
#
# Training had texts of 2 to 8 letters. **Predict**: what happens at 9, at 12, at 16? The encoder and the decoder see
# each letter just as well as before.

# %% tags=["nbval-ignore-output"]
lengths = (2, 4, 6, 7, 8, 9, 10, 12, 16)
curves = {"decoder, greedy": [], "CTC head": []}
for length in lengths:
    longer = task_of_lengths(length, length).batch(size=60, seed=2000)
    for name, hyps in zip(curves, recognise(model, longer), strict=True):
        curves[name].append(100 * cer(longer.texts, hyps))

with plots.style():
    figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
    axes.axvspan(2, 8, color="#eeeeee")
    axes.text(2.1, 62, "seen in training", fontsize=8)
    for place, (name, values) in enumerate(curves.items()):
        axes.plot(
            lengths,
            values,
            color=plots.COLORS[place],
            linestyle=plots.DASHES[place],
            marker="o",
            markersize=3,
            label=name,
        )
    axes.set(title="Beyond the lengths of training the decoder falls off a cliff, the CTC head slides",
             xlabel="letters in the text", ylabel="letter error rate (%)", ylim=(0, 70))  # fmt: skip
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, 0.85))
    plt.show()

longer = task_of_lengths(12, 12).batch(size=4, seed=2000)
for text, decoder_text, ctc_text in zip(longer.texts, *recognise(model, longer), strict=True):
    print(f"said {text}   decoder {decoder_text:12}   CTC {ctc_text}")

# %% [markdown]
# After eight letters the decoder stops, or soon after, whatever there is left to hear. In training EOS *always* came
# by then. Nobody told the model that EOS means "the sound is at its end"; "it is time" explained the data as well and
# was easier to learn. It has counted.
#
# The CTC head does not count. It judges frame by frame, and goes on as long as there is sound. It does get worse,
# because its encoder has never had positions so late either.
#
# Force the decoder to go on, and look where it listens when it is given the whole text:

# %% tags=["nbval-ignore-output"]
one = task_of_lengths(14, 14).batch(size=1, seed=2000)
draw_maps(
    {"A text of 14 letters for a model that has seen 8 at most": cross_attention(model, one)}, ["SOS", *one.texts[0]]
)

# %% [markdown]
# The upper rows are on the diagonal. Further down it frays or piles up: "stuck", from the guide. This is no defect of
# a small model. Recognisers of real speech lose their way in utterances that are much longer than those they were
# trained on, which is why `Recognizer.transcribe` cuts long recordings at pauses, why training wants a mixture of
# lengths, and why chapter 09 lets CTC, which has to account for every frame, have a say.
#
# ## The same architecture on speech
#
# The repository holds a trained recogniser of the bundled corpus. Its encoder layers have a convolution between
# attention and feed-forward block (chapter 05), and it is larger. Otherwise it is the model that you have just built, and
# it now runs on your functions.

# %%
recognizer = asr_tutorial.load(REPOSITORY / "data" / "pretrained" / "tinyspeech", device="cpu")
extract = FeatureExtractor(recognizer.config.features)
utterances = {utterance.id: utterance for utterance in corpus}
network = recognizer.config.model
print("encoder layers:", network.encoder_layers, "  convolution kernel:", network.conv_kernel)
print("decoder layers:", network.decoder_layers, "  width:", network.d_model, "  heads:", network.num_heads)


# %%
def listen(utterance):
    """Recognise an utterance, and lay the decoder's cross-attention under its mel picture."""
    text = recognizer.transcribe(utterance.audio).text
    samples = torch.from_numpy(read_audio(utterance.audio))
    features, lengths = extract(samples[None])  # (1, time, mels)
    tokens = [recognizer.tokenizer.sos_id, *recognizer.tokenizer.encode(text)]
    with torch.no_grad():
        output = recognizer.model(features, lengths, torch.tensor([tokens]), need_weights=True)
    last = f"decoder.{network.decoder_layers - 1}.cross_attention"
    weights = output.attention_maps[last][0].mean(dim=0)  # (tokens, frames), mean over the heads
    read = ["SOS", *text.replace(" ", "␣")]  # ▁ would look like a line above the next letter
    with plots.style():
        _, (top, bottom) = plt.subplots(
            2, 1, figsize=(9, 2.6 + 0.12 * len(read)), layout="constrained", height_ratios=[1.5, 0.11 * len(read)]
        )
        plots.mel(features[0], axes=top, title=f"said: {utterance.text}")
        plots.attention_map(weights, read, 0.01 * network.subsampling_factor, title=f"heard: {text}", axes=bottom)
        top.set(xlabel="", xlim=(0, utterance.seconds))
        bottom.set(xlim=(0, utterance.seconds), ylabel="last token read")
        plt.show()
    return Audio(samples.numpy(), rate=16000)


# %% tags=["nbval-ignore-output"]
listen(utterances["155-1155-0016"])

# %% [markdown]
# Each row has read the token on its left and listens for the next one. The diagonal is not straight: it is steep
# where letters come quickly, and it rests where a sound is held. From one letter to the next it moves by one or two
# encoder frames, of 40 milliseconds each. Where the spelling has a letter that nobody says, the row stays where its
# neighbour is.
#
# Not all goes well. The recorded evaluation of this model (`data/results/tinyspeech`) has what greedy decoding wrote
# for each test sentence. Here is the one to which it added most:

# %% tags=["nbval-ignore-output"]
recorded = REPOSITORY / "data" / "results" / "tinyspeech" / "hypotheses_test_greedy.tsv"
rows = [line.split("\t") for line in recorded.read_text(encoding="utf-8").splitlines()]
most_added = max(rows, key=lambda row: len(row[1]) - len(utterances[row[0]].text))[0]
listen(utterances[most_added])

# %% [markdown]
# Follow the rows downwards: the diagonal reaches the end, and then begins again at an earlier place. "Repeated", in
# the wild. Nothing in the decoder remembers which frames have been used up, and a moment of doubt at the end of the
# text is enough to be drawn back to a place that fits as well. CTC cannot be: it must walk through the sound once and
# in order. The joint search of chapter 09 scores each hypothesis by both:

# %% tags=["nbval-ignore-output"]
for search in ("greedy", "joint"):
    print(f"{search:6}", recognizer.transcribe(utterances[most_added].audio, search=search).text)

# %% [markdown]
# ## Deep dive: how well does it bear its own mistakes?
#
# Optional, and nothing to write. Exposure bias says that a decoder which has read only perfect texts is helpless after a
# mistake. Measure it: 400 texts of six letters; the third letter that the model reads is replaced
# by a wrong one, and then all letters by random ones. **Predict** which answers suffer, and for how long.

# %% tags=["nbval-ignore-output"]
six = task_of_lengths(6, 6).batch(size=400, seed=3000)
first_letter = len(tokenizer.special_ids) + 1  # the special tokens and the space come before
generator = torch.Generator().manual_seed(0)
one_wrong = six.tokens_in.clone()
one_wrong[:, 3] = first_letter + (one_wrong[:, 3] - first_letter + 3) % 10
all_wrong = six.tokens_in.clone()
all_wrong[:, 1:] = torch.randint(first_letter, first_letter + 10, all_wrong[:, 1:].shape, generator=generator)
with torch.no_grad():
    encoder_out, encoder_mask = model.encode(six.features, six.feature_lengths)
    print("answers right (%) at position    ", *(f"{position:4}" for position in range(7)))
    for name, read in (
        ("right letters", six.tokens_in),
        ("a wrong one read at 3", one_wrong),
        ("all random", all_wrong),
    ):
        answers = model.decode(read, encoder_out, encoder_mask).argmax(dim=-1)
        share = (answers == six.tokens_out).float().mean(dim=0)
        print(f"  {name:31}", *(f"{100 * float(x):4.0f}" for x in share[:7]))

# %% [markdown]
# One wrong letter spoils the answer right after it, often, and then the model is back on its way: it does not find
# its place by the last letter alone, but by that letter, the ones before, and how many there were. If all letters are
# wrong, counting is what is left, and it is a poor substitute. With real language the harm is larger, for a language
# model is at work inside the decoder as well, and a wrong word makes the next wrong word likely. Chapter 08 trains
# with some tokens replaced at random (`token_noise`), so that the decoder learns to trust its ears.
#
# Two more things to try with the functions above, each as long as the training above:
#
# - `train(fresh_model(), STEPS, ctc_weight=0.0, keep=(80, 150))`: does the diagonal need CTC? (In real speech, with
#   hundreds of frames to choose from, it helps a lot.)
# - Set `"positional": "none"` in the configuration. What is the first thing that goes wrong?

# %% [markdown]
# ## The usual mistakes
#
# | mistake | what you see |
# |---|---|
# | input and answer not shifted | a wonderful loss at once, gibberish in decoding, a flat map ([a thread](https://github.com/hkproj/pytorch-transformer/issues/5) on which row is which) |
# | both shifted | what it writes begins with the second letter, for that is what it has learnt to answer to SOS |
# | no EOS among the answers | decoding runs to its length limit. Threads: [huggingface/blog 641](https://github.com/huggingface/blog/issues/641), [stanford_alpaca 126](https://github.com/tatsu-lab/stanford_alpaca/issues/126) |
# | PAD has the same id as EOS | the loss skips EOS together with PAD, and decoding never stops. A thread: [TRL 456](https://github.com/huggingface/trl/issues/456) |
# | -100 or -1, which marks "no loss", fed to the embedding | an index error, on a GPU long after the fact. Threads: [Transformers 15867](https://github.com/huggingface/transformers/issues/15867), [audiolm-pytorch 18](https://github.com/lucidrains/audiolm-pytorch/issues/18) |
# | no causal mask, or a flipped one | like the missing shift: too good to be true. A thread: [PyTorch 34908](https://github.com/pytorch/pytorch/issues/34908) |
# | no cross mask | results depend on the other utterances of the batch; a vertical stripe behind the end of the sound |
# | queries and keys of the cross-attention swapped | a shape error, unless there happen to be as many tokens as frames |
# | offset forgotten | training is fine, decoding stutters: every token believes it is the first |
# | both attentions share a cache | a shape error at the second step, or text mixed into the sound |
# | embedding scale forgotten | slow start: positions are louder than letters |
# | last norm forgotten | logits of any size, unstable training, the more so the deeper the model |
# | log-softmax over frames | the CTC loss falls, and means nothing |

# %% [markdown]
# ## Quiz
#
# **1.** The self-attention of the decoder has a causal mask, the cross-attention has none. Would a causal mask over
# the frames (token $u$ may listen to frames $0 \dots u$) do harm?
#
# <details><summary>Answer</summary>
#
# Yes. Tokens and frames run at different rates: with some two or more frames to a letter, token $u$ lies at a frame
# well behind $u$ and could not be heard. The mask would forbid what the token needs. (A model for live recognition
# does limit what may be heard, but by time: frames up to now.)
#
# </details>
#
# **2.** You train with teacher forcing and see a token accuracy of 97 %. Then 20 letters should come out right with a
# probability of $0.97^{20} \approx 54\,\%$. Is the share of right texts in decoding higher or lower than that?
#
# <details><summary>Answer</summary>
#
# It can be either. Lower, because in decoding a mistake changes what is read next, and mistakes come in company.
# Higher, because mistakes are not spread evenly: hard utterances collect several of them, and leave the others free.
# (For our task, the deep dive prints the accuracy at each position, and `report` the share of right texts.)
#
# </details>
#
# **3.** Somebody computes logits step by step with a cache, but calls the decoder with *all* tokens so far at each
# step instead of the new one. What goes wrong?
#
# <details><summary>Answer</summary>
#
# Tokens are put into the cache again and again: after three steps it holds $1 + 2 + 3 = 6$ of them, and
# `cache.length` says so. The positions of later tokens are too high, and each early token is looked at several times.
# No error is raised; only the comparison with one pass over the whole text shows it. That is why exercise 6.3 was
# checked that way.
#
# </details>

# %% [markdown]
# ## Where this goes next
#
# You have used the CTC loss and CTC's best path as black boxes. Chapter 07 opens them. Chapter 08 turns the loop
# above into a training that one can leave alone overnight, and chapter 09 does better than taking the likeliest token
# at each step.
#
# ## References
#
# - A. Vaswani et al., [Attention is all you need](https://arxiv.org/abs/1706.03762), 2017: the decoder (section
#   3.1), its mask and its embedding scale (3.4).
# - W. Chan, N. Jaitly, Q. V. Le and O. Vinyals, [Listen, attend and spell](https://arxiv.org/abs/1508.01211), 2015:
#   a decoder that writes speech letter by letter, with maps such as yours.
# - L. Dong, S. Xu and B. Xu, [Speech-Transformer](https://doi.org/10.1109/ICASSP.2018.8462506), ICASSP 2018: this
#   architecture for speech.
# - S. Kim, T. Hori and S. Watanabe, [Joint CTC-attention based end-to-end speech recognition using multi-task
#   learning](https://arxiv.org/abs/1609.06773), 2017: the two heads, and how CTC brings the diagonal about.
# - S. Bengio et al., [Scheduled sampling for sequence prediction with recurrent neural
#   networks](https://arxiv.org/abs/1506.03099), 2015: the gap between training and writing.
# - J. Chorowski et al., [Attention-based models for speech recognition](https://arxiv.org/abs/1506.07503), 2015:
#   what happens beyond the lengths of training.
