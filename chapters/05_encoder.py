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
# # 05 · The encoder
#
# You have attention, masks and positions. In this chapter you put them together: a front end that makes four frames of sound
# into one, a layer that attends and then computes, and the encoder, which is a front end and a stack of such layers. At the
# end you train it for a minute on speech and read the first words that it recognises.
#
# **You need** chapters [02](02_multi_head_attention.ipynb) (multi-head attention), [03](03_masks_padding_batches.ipynb)
# (padding masks) and [04](04_positional_encoding.ipynb) (positions). **Time**: about 3 hours without the optional
# exercises, of which the core ones take 85 minutes.
#
# | exercise | what you write | minutes | difficulty | |
# |---|---|---|---|---|
# | 5.1 | subsampling: two convolutions, and lengths that shrink with the features | 25 | 3 | core |
# | 5.2 | the feed-forward block | 10 | 1 | core |
# | 5.3 | a pre-norm encoder layer | 25 | 3 | core |
# | 5.4 | the encoder | 25 | 3 | core |
# | 5.5 | a convolution inside the layer, as a Conformer has it | 20 | 3 | optional |
# | 5.6 | subsampling by pooling | 25 | 3 | optional |

# %%
# The course comes first: from here on the library has what you wrote in earlier chapters.
from asr_tutorial.course import check, exercise, here, show

here("05")

# %%
import time

import torch
from IPython.display import Audio
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.nn import functional as F

from asr_tutorial import plots
from asr_tutorial.audio import read_audio
from asr_tutorial.config import FeaturesConfig, ModelConfig
from asr_tutorial.corpus import read_corpus, select
from asr_tutorial.ctc import best_path
from asr_tutorial.dataset import FeatureStore, SpeechDataset, SpeechLoader, frames_needed
from asr_tutorial.features import MVN, FrequencyWarp, log_mel
from asr_tutorial.masks import padding_mask
from asr_tutorial.metrics import cer, wer
from asr_tutorial.tokenizer import CharTokenizer
from asr_tutorial.training.step import pick_precision

# %% [markdown]
# ## Why fewer frames
#
# [Log-mel](../docs/glossary.md#log-mel) features come every 10 ms. A spoken letter lasts several times as long, so that
# neighbouring frames say nearly the same. Attention pays for each of them: with $T$ frames every head of every layer
# computes $T \times T$ scores.
#
# **By hand.** An utterance of 6 s has $T = 600$ frames, hence $600^2 = 360\,000$ scores per head and layer. With one frame
# for every four, $T = 150$ and there are $150^2 = 22\,500$: a sixteenth.
#
# What stops us from [subsampling](../docs/glossary.md#subsampling) further? The text has to fit. The CTC loss, which you
# use at the end of this chapter, wants at least one frame for each letter, and one more between two equal letters.
#
# **Predict** before you run the cell: keep one frame of 2, 4, 8 or 16. For which share of the bundled sentences is there
# still a frame for every letter?

# %%
corpus = read_corpus("tinyspeech/test")
tokenizer = CharTokenizer.train(corpus.texts)
letters = sum(len(utterance.text) for utterance in corpus)
print(f"{1000 * corpus.seconds / letters:.0f} ms of sound for each letter, spaces included")

print("\nframes per new frame | ms per new frame | scores per head, 6 s | sentences that fit")
for factor in (1, 2, 4, 8, 16):
    fits = sum(frames_needed(tokenizer.encode(u.text)) <= 100 * u.seconds / factor for u in corpus)
    print(f"{factor:20} | {10 * factor:16} | {(600 // factor) ** 2:20} | {fits / len(corpus):18.0%}")

# %% [markdown]
# Four is the usual choice for letters: it saves nearly all that can be saved, and each sentence fits. With 8, a new frame is
# longer than the average letter. Systems that write word pieces of several letters (chapter 10) can afford 8.

# %% [markdown]
# ## Convolutions of stride 2
#
# Dropping three frames of four would throw sound away. A [convolution](../docs/glossary.md#convolution) with
# [stride](../docs/glossary.md#stride) 2 makes one frame of two *and* learns what to keep. It slides a kernel over time and
# mel bins, and stops only at every second place.
#
# In one dimension: let $x_0, \dots, x_{T-1}$ be the input, $w_{-1}, w_0, w_1$ the kernel, $b$ a bias. With one zero of
# padding at either end (so $x_{-1} = x_T = 0$), output number $j$ is
#
# $$y_j = b + w_{-1}\, x_{2j-1} + w_0\, x_{2j} + w_1\, x_{2j+1}.$$
#
# **By hand.** Take $x = (1, 2, 3, 4, 5)$, $w = (1, 1, 1)$, $b = 0$. The kernel stands on frames 0, 2 and 4:
#
# $$y_0 = 0 + 1 + 2 = 3, \qquad y_1 = 2 + 3 + 4 = 9, \qquad y_2 = 4 + 5 + 0 = 9.$$
#
# Five frames became three. The kernel stands on every even frame, and of $T$ frames $\lceil T / 2 \rceil$ have an even
# number: *half, rounded up*. Two such convolutions give $\lceil \lceil T/2 \rceil / 2 \rceil = \lceil T / 4 \rceil$ frames.
#
# Now the same utterance in a batch, padded to eight frames, and with a bias $b = 1$:
#
# | | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 |
# |---|---|---|---|---|---|---|---|---|
# | input | 1 | 2 | 3 | 4 | 5 | 0 | 0 | 0 |
# | output | 4 | 10 | 10 | **1** | | | | |
#
# The output has three real frames and one frame of padding. But that frame is no longer 0: the bias is in it. The *next*
# convolution stands on frame 2 and reads frames 1, 2 and 3. It reads the padding, and the end of the utterance now depends
# on whether something longer was in the batch. Alone, the same place would have read a zero.
#
# The picture shows who reads whom. The dashed line is the way in which padding gets into a real frame.

# %%
with plots.style():
    figure, axes = plt.subplots(figsize=(8, 2.9))
    rows = [("features, 10 ms", 16, 10), ("after convolution 1, 20 ms", 8, 5), ("after convolution 2, 40 ms", 4, 3)]
    for row, (_, count, real) in enumerate(rows):
        step = 2**row
        for i in range(count):
            axes.plot(
                i * step,
                row,
                "o",
                ms=9,
                mec="#444444",
                mew=0.8,
                color=plots.COLORS[0] if i < real else "white",
                zorder=2,
            )
            for reads in (2 * i - 1, 2 * i, 2 * i + 1):
                below = rows[row - 1]
                if row and i < real and 0 <= reads < below[1]:
                    leak = reads >= below[2] and row == 2
                    color, dash = (plots.COLORS[1], "--") if leak else ("#888888", "-")
                    axes.plot(
                        [i * step, reads * step / 2],
                        [row, row - 1],
                        dash,
                        color=color,
                        lw=2.2 if leak else 0.8,
                        zorder=1,
                    )
    axes.set_yticks(range(3), [label for label, _, _ in rows])
    axes.set(
        xlabel="time (frames of 10 ms); filled: real, empty: padding",
        title="10 frames become 5, then 3; the last one reads padding",
        ylim=(-0.4, 2.4),
    )
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
plt.show()

# %% [markdown]
# The cure: after each convolution, set what lies behind the *new* length to zero again. That is why the lengths have to be
# halved together with the features, step by step.
#
# **Exercise 5.1** · 25 minutes · difficulty 3 of 5 · core
#
# Write `halve` and `ConvSubsampling.forward`. The features, shape (batch, time, n_mels), are treated as a picture with one
# channel: the axes of a `Conv2d` are (batch, channels, time, mels). For each convolution in turn: convolve, apply the ReLU,
# halve the lengths, and set to zero what lies behind them. Then put the numbers of each frame side by side, channel 0 with
# all its mels first, and project them to `d_model` with `out`. Return the features and the new lengths.
#
# These are the layers that you have. `F`, `padding_mask` and `halve` can be used inside the method.

# %%
show("encoder.ConvSubsampling.__init__")


# %%
@exercise("5.1")
def halve(lengths: Tensor) -> Tensor:
    """Lengths after a step of stride 2 that keeps a last, incomplete pair: ceil(length / 2)."""
    raise NotImplementedError("exercise 5.1")


class ConvSubsampling:  # these methods become part of asr_tutorial.encoder.ConvSubsampling
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError("exercise 5.1")


# %%
halve, ConvSubsampling = check("5.1")

# %% [markdown]
# Stuck? `asr-tutorial hint 5.1` in a terminal, one hint at a time.
#
# Try it on a sentence of the bundled corpus. Random weights are enough to see the shapes, and to see that the time axis
# survives.

# %%
utterance = next(u for u in corpus if u.text == "CLARA WORKS AT THE SCHOOL IN ROME")
samples = torch.from_numpy(read_audio(utterance.audio))
features = log_mel(samples)
features = (features - features.mean(0)) / features.std(0)  # each mel bin to mean 0 and variance 1
print(utterance.text)
Audio(samples.numpy(), rate=16_000)

# %%
torch.manual_seed(1)
front = ConvSubsampling(n_mels=80, d_model=144, factor=4, channels=32)
with torch.no_grad():
    first = F.relu(front.convs[0](features[None, None]))  # (1, 32, time / 2, 40)
    second = F.relu(front.convs[1](first))  # (1, 32, time / 4, 20)
    out, lengths = front(features[None], torch.tensor([len(features)]))
print(f"features            {tuple(features[None].shape)}, length {len(features)}")
print(f"first convolution   {tuple(first.shape)}")
print(f"second convolution  {tuple(second.shape)}")
print(f"subsampled          {tuple(out.shape)}, length {lengths.item()}")

with plots.style():
    figure, axes = plt.subplots(3, 1, figsize=(8, 4.8), sharex=True, layout="constrained")
    seconds = len(features) * 0.01
    pictures = [
        (features, "log-mel features"),
        (first[0].mean(0), "first convolution, mean of channels"),
        (second[0].mean(0), "second convolution, mean of channels"),
    ]
    for panel, (picture, title) in zip(axes, pictures, strict=True):
        panel.imshow(picture.T, origin="lower", cmap=plots.SEQUENTIAL, extent=(0, seconds, 0, picture.shape[1]))
        panel.set(title=f"{title}: {picture.shape[0]} frames x {picture.shape[1]}", ylabel="bin")
    axes[-1].set_xlabel("time (s)")
plt.show()

# %% [markdown]
# ### How far does a new frame hear?
#
# The [receptive field](../docs/glossary.md#receptive-field) of an output is the stretch of input that can change it. One
# convolution sees 3 frames. The second sees 3 outputs of the first, which stand 2 frames apart: $3 + 2 \cdot 2 = 7$ frames,
# 85 ms of sound (six steps of 10 ms, and a last frame of 25 ms).
#
# Derivatives show the same without counting: the output in the middle has a derivative by each input number, and it is zero
# outside the receptive field. The cell measures it for factors 2, 4 and 8.

# %%
for factor in (2, 4, 8):
    module = ConvSubsampling(80, 16, factor, 4)
    x = torch.randn(1, 64, 80, requires_grad=True)
    module(x, torch.tensor([64]))[0][0, 32 // factor].sum().backward()
    heard = x.grad[0].abs().sum(-1).nonzero()[:, 0].tolist()
    print(f"factor {factor}: new frame {32 // factor:2} hears frames {heard[0]} to {heard[-1]}, {len(heard)} in all")

# %% [markdown]
# That is enough for a part of a letter and no more. To know that AT is a word of its own and not the end of THAT, a frame
# has to hear much further. That is what attention is for.

# %% [markdown]
# ## The residual stream
#
# A layer does not replace what it gets. It *adds* to it:
#
# $$x \leftarrow x + \mathrm{sublayer}(x), \qquad x \in \mathbb{R}^{T \times d},$$
#
# with $T$ frames of width $d$ (`d_model`). Think of $x$ as a stream that flows past all layers, the [residual
# stream](../docs/glossary.md#residual-stream): each layer reads from it and writes its finding back. A sublayer with nothing
# to say writes zeros, and the stream passes unchanged.
#
# Each encoder layer has two sublayers. *Attention* is the only place where frames exchange something. The *feed-forward
# block* works on each frame by itself: it widens the vector, bends it with a ReLU, and narrows it again,
#
# $$\mathrm{FFN}(x) = \max(0,\; x W_1 + b_1)\, W_2 + b_2,$$
#
# with $W_1$ of shape $(d, d_\mathrm{ff})$ and $W_2$ of shape $(d_\mathrm{ff}, d)$; $b_1$ and $b_2$ are biases.
#
# With $d_\mathrm{ff} = 4d$, as is usual, two thirds of a layer's weights are here.
#
# **By hand.** Let $d = 1$, $d_\mathrm{ff} = 2$, $W_1 = (1, -1)$, $b_1 = (0, 0)$, $W_2 = (1, 1)^\top$, $b_2 = 0$. Then $x =
# 3$ becomes $(3, -3)$, the ReLU makes $(3, 0)$, and the sum is 3. And $x = -3$ becomes $(-3, 3)$, $(0, 3)$, 3. The block
# computes $|x|$, which no linear map can.
#
# **Exercise 5.2** · 10 minutes · difficulty 1 of 5 · core
#
# Write `FeedForward.forward`. [Dropout](../docs/glossary.md#dropout) acts on the hidden units, between the two layers.

# %%
show("encoder.FeedForward.__init__")


# %%
@exercise("5.2")
class FeedForward:  # these methods become part of asr_tutorial.encoder.FeedForward
    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, d_model) -> (batch, length, d_model)."""
        raise NotImplementedError("exercise 5.2")


# %%
FeedForward = check("5.2")

# %% [markdown]
# Stuck? `asr-tutorial hint 5.2` in a terminal, one hint at a time.

# %%
block = FeedForward(1, 2)
with torch.no_grad():
    block.linear1.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    block.linear2.weight.fill_(1.0)
    block.linear1.bias.zero_()
    block.linear2.bias.zero_()
    print(block(torch.tensor([[-3.0], [-1.0], [0.0], [2.0]])).flatten().tolist())

# %% [markdown]
# ## One layer, pre-norm
#
# Written down completely, a layer takes the stream $x$ of shape (batch, time, d_model) and does
#
# $$x \leftarrow x + \mathrm{dropout}\bigl(\mathrm{attention}(\mathrm{norm}_1(x))\bigr),$$
# $$x \leftarrow x + \mathrm{dropout}\bigl(\mathrm{FFN}(\mathrm{norm}_2(x))\bigr).$$
#
# $\mathrm{norm}$ is [layer normalisation](../docs/glossary.md#layer-normalisation): it brings each frame's vector to mean 0
# and variance 1, then scales and shifts each of its $d$ numbers by learnt weights. It stands *before* the sublayer and
# inside the bracket, and the stream itself is never normalised. This is called [pre-norm](../docs/glossary.md#pre-norm). The
# first Transformer had it the other way, $x \leftarrow \mathrm{norm}(x + \mathrm{sublayer}(x))$: [post-norm](../docs/glossary.md#post-norm).
#
# **By hand.** Let a frame be $x = (3, 1)$, with mean 2 and standard deviation 1, so $\mathrm{norm}(x) = (1, -1)$. Let the
# sublayer double what it gets: $(2, -2)$. Pre-norm gives $x + (2, -2) = (5, -1)$. A layer that adds to the *normalised*
# frame would give $(1, -1) + (2, -2) = (3, -3)$: it has forgotten that the frame was $(3, 1)$.
#
# **Exercise 5.3** · 25 minutes · difficulty 3 of 5 · core
#
# Write `EncoderLayer.forward`. It gets the stream, the padding mask (batch, time), True = real, and the question whether
# attention weights are wanted. It returns the new stream, and the weights or None. `self.self_attention` is called as
# `(query, key, value, mask, need_weights)` and returns `(output, weights or None)`; `key_mask` of chapter 03 can be used
# inside the method.

# %%
show("encoder.EncoderLayer.__init__")


# %%
@exercise("5.3")
class EncoderLayer:  # these methods become part of asr_tutorial.encoder.EncoderLayer
    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        """One layer.

        Args:
            x: (batch, time, d_model).
            padding: (batch, time) boolean, True = real.
            need_weights: return the attention weights too.

        Returns:
            (batch, time, d_model), and the weights (batch, heads, time, time) or None.
        """
        raise NotImplementedError("exercise 5.3")


# %%
EncoderLayer = check("5.3")

# %% [markdown]
# Stuck? `asr-tutorial hint 5.3` in a terminal, one hint at a time.
#
# Try it: two utterances of 6 and 3 frames. However loud the padding is, real frames must not hear it.

# %%
torch.manual_seed(0)
layer = EncoderLayer(ModelConfig(d_model=16, num_heads=2, d_ff=64, dropout=0.0)).eval()
padding = padding_mask(torch.tensor([6, 3]))
x = torch.randn(2, 6, 16)
loud = x.masked_fill(~padding[..., None], 100.0)
with torch.no_grad():
    quiet_out, weights = layer(x, padding, need_weights=True)
    loud_out, _ = layer(loud, padding)
print(f"stream {tuple(quiet_out.shape)}, weights {tuple(weights.shape)}")
print(f"largest change of a real frame: {(quiet_out - loud_out)[padding].abs().max():.3f}")
print(f"largest change in the padding:  {(quiet_out - loud_out)[~padding].abs().max():.3f}")

# %% [markdown]
# ## Pre-norm against post-norm
#
# Both orders normalise twice a layer and have the same number of weights. They differ in what happens to gradients.
#
# **Predict.** Stack 2 to 24 layers with fresh weights and send one gradient back. (a) Where is it larger in the post-norm
# stack: in the layers near the output or near the input? (b) In the deep *pre-norm* stack, are gradients larger or smaller
# than in the shallow one?
#
# The cell uses your layer for pre-norm and PyTorch's `nn.TransformerEncoderLayer(norm_first=False)` for post-norm. All
# matrices of both start from the same distribution (Xavier's, as in the first Transformer), and the loss is that of a guess
# among 30 letters.


# %%
def gradient_norms(depth: int, pre_norm: bool, width: int = 64) -> tuple[list[float], list[float]]:
    """For each layer, from input to output: the gradient norm of its feed-forward weights, and the size of its output."""
    torch.manual_seed(depth)
    config = ModelConfig(d_model=width, num_heads=4, d_ff=4 * width, dropout=0.0)
    if pre_norm:
        layers = [EncoderLayer(config) for _ in range(depth)]
    else:
        layers = [nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True) for _ in range(depth)]
    for matrix in (p for layer in layers for p in layer.parameters() if p.dim() > 1):
        nn.init.xavier_uniform_(matrix)
    x, real, sizes = torch.randn(4, 32, width), torch.ones(4, 32, dtype=torch.bool), []
    for layer in layers:
        x = layer(x, real)[0] if pre_norm else layer(x)
        sizes.append(x.std().item())
    if pre_norm:
        x = F.layer_norm(x, (width,))
    loss = F.cross_entropy(nn.Linear(width, 30)(x).flatten(0, 1), torch.randint(30, (128,)))
    loss.backward()
    firsts = [layer.feed_forward.linear1 if pre_norm else layer.linear1 for layer in layers]
    return [first.weight.grad.norm().item() for first in firsts], sizes


depths = (2, 4, 6, 12, 18, 24)
measured = {(depth, pre): gradient_norms(depth, pre) for depth in depths for pre in (True, False)}

with plots.style():
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    for place, (name, pre) in enumerate((("pre-norm", True), ("post-norm", False))):
        look = {
            "color": plots.COLORS[place],
            "linestyle": plots.DASHES[place],
            "marker": "os"[place],
            "markersize": 3.5,
        }
        axes[0].plot(range(1, 25), measured[24, pre][0], label=name, **look)
        axes[1].plot(depths, [measured[depth, pre][0][-1] for depth in depths], label=name, **look)
        axes[2].plot(range(1, 25), measured[24, pre][1], label=name, **look)
    axes[0].set(
        title="24 layers: where the gradient is", xlabel="layer (1 = next to the input)", ylabel="gradient norm"
    )
    axes[1].set(title="Gradient of the last layer", xlabel="number of layers in the stack", ylabel="gradient norm")
    axes[2].set(title="24 layers: size of the stream", xlabel="layer", ylabel="standard deviation of its output")
    for panel in axes:
        panel.set_ylim(bottom=0)
        panel.grid(axis="y")
        panel.legend()
plt.show()

# %% [markdown]
# Left: in the deep post-norm stack the layers near the output get several times the gradient of those near the input. Each
# norm that stands *on* the stream divides the gradient that passes it, and 48 of them stand there. In the pre-norm stack the
# gradient goes past all sublayers along the sum, and the layers near the input get no less than the others.
#
# Middle: the surprise. In a post-norm stack the last layer's gradient is large however deep the stack is; in a pre-norm
# stack it falls as layers are added, about as $1 / \sqrt{\text{layers}}$. In a deep post-norm stack, then, a learning rate
# that suits the rest makes the last layers jump at the first step. This is why the first Transformers needed a long
# [warm-up](../docs/glossary.md#warm-up), and why pre-norm needs little of it (Xiong et al. 2020).
#
# Right: the price. Nothing normalises the pre-norm stream, and it grows with each layer that adds to it. Hence one more norm
# at the very end of the encoder, before anybody reads its output.

# %% [markdown]
# ## The encoder
#
# Everything is there now. The encoder takes normalised features $(B, T, 80)$ of $B$ utterances and their lengths, and does:
#
# | step | shape |
# |---|---|
# | features | (batch, time, n_mels) |
# | subsampling, with its new lengths | (batch, frames, d_model), frames = time / 4 rounded up |
# | a padding mask of the new lengths | (batch, frames) |
# | positions are added, then dropout | (batch, frames, d_model) |
# | each layer, on the output of the one before | (batch, frames, d_model) |
# | a last norm | (batch, frames, d_model) |
#
# **Exercise 5.4** · 25 minutes · difficulty 3 of 5 · core
#
# Write `Encoder.forward`. It returns three things: `encoder_out`; its mask (batch, frames), which the decoder and CTC need;
# and the attention maps, a dictionary with the names `encoder.0.self_attention`, `encoder.1.self_attention` and so on, empty
# unless `need_weights` asks for them. The guard on wrong shapes is written already.

# %%
show("encoder.Encoder.__init__")


# %%
@exercise("5.4")
class Encoder:  # these methods become part of asr_tutorial.encoder.Encoder
    def forward(
        self, features: Tensor, lengths: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Encode normalised features.

        Args:
            features: (batch, time, n_mels), padding zero.
            lengths: (batch,) real frames.
            need_weights: collect attention weights.

        Returns:
            encoder_out (batch, frames, d_model); its mask (batch, frames), True = real; attention weights
            (batch, heads, frames, frames) by name, ``encoder.0.self_attention`` and so on (empty unless asked for).

        Raises:
            ValueError: features that are not (batch, time, n_mels).
        """
        if features.dim() != 3 or features.shape[-1] != self.n_mels:
            raise ValueError(f"features must be (batch, time, {self.n_mels} mels), got {tuple(features.shape)}")
        raise NotImplementedError("exercise 5.4")


# %%
Encoder = check("5.4")

# %% [markdown]
# Stuck? `asr-tutorial hint 5.4` in a terminal, one hint at a time.
#
# Try it on two real sentences of different length.

# %%
torch.manual_seed(1)
encoder = Encoder(ModelConfig(d_model=144, num_heads=4, d_ff=576, encoder_layers=4), n_mels=80).eval()
batch = torch.zeros(2, len(features), 80)
batch[0], batch[1, :150] = features, features[:150]
with torch.no_grad():
    encoder_out, mask, maps = encoder(batch, torch.tensor([len(features), 150]), need_weights=True)
print(f"encoder_out {tuple(encoder_out.shape)}, real frames {mask.sum(1).tolist()}")
for name, weights in maps.items():
    print(f"{name}: {tuple(weights.shape)}")
print(f"parameters: {sum(p.numel() for p in encoder.parameters()):,}")

# %% [markdown]
# How far does a frame of the whole encoder hear? The derivative of one encoder frame by the input tells again.

# %%
x = features[None].clone().requires_grad_()
middle = int(lengths) // 2
encoder(x, torch.tensor([len(features)]))[0][0, middle].square().sum().backward()
influence = x.grad[0].abs().sum(-1)

x = features[None].clone().requires_grad_()
encoder.subsampling(x, torch.tensor([len(features)]))[0][0, middle].square().sum().backward()
narrow = x.grad[0].abs().sum(-1)

with plots.style():
    figure, axes = plt.subplots(figsize=(8, 2.6))
    times = torch.arange(len(features)) * 0.01
    axes.semilogy(
        times, influence / influence.max(), color=plots.COLORS[0], linestyle=plots.DASHES[0], label="after 4 layers"
    )
    axes.semilogy(
        times[narrow > 0],
        (narrow / narrow.max())[narrow > 0],
        color=plots.COLORS[1],
        linestyle=plots.DASHES[1],
        label="after subsampling alone",
    )
    axes.set(
        title=f"What encoder frame {middle} hears: its neighbours directly, everything through attention",
        xlabel="time (s)",
        ylabel="influence (largest = 1)",
    )
    axes.legend()
plt.show()

# %% [markdown]
# The convolutions hear a few frames and nothing else. With attention every frame of the utterance has some influence, small
# and about even, because the weights are random: attention has yet to learn where to look.

# %% [markdown]
# ## A convolution in the layer (optional, but used below)
#
# Attention has to learn *everything* about time, even that neighbouring frames belong together. With an hour of speech and a
# minute of training that is much to ask. A [Conformer](../docs/glossary.md#conformer) layer (Gulati et al. 2020) says it
# outright: between your two halves stands a third one, a convolution over time.
#
# $$x \leftarrow x + \mathrm{conv}(\mathrm{norm}(x))$$
#
# The module widens each frame to $2d$ numbers and uses the second half, $b$, as a gate for the first, $a$: it takes
# $a \cdot \sigma(b)$, with $\sigma(b) = 1/(1 + e^{-b})$ between 0 and 1 (a *gated linear unit*). Then a *depthwise*
# convolution mixes neighbouring frames, each channel with a kernel of its own; a norm, the activation $\mathrm{SiLU}(x) = x\,\sigma(x)$, a projection and
# dropout follow.
#
# **By hand.** A channel holds $a = (1, 2, 4)$ with gates $b = (0, 0, 0)$, so $\sigma(b) = 0.5$ and the gated values are
# $(0.5, 1, 2)$. With the kernel $(1, 0, -1)$ and zeros at the ends the convolution gives $(0 - 1,\; 0.5 - 2,\; 1 - 0) = (-1,
# -1.5, 1)$: how much the frame before exceeds the frame after.
#
# **Exercise 5.5** · 20 minutes · difficulty 3 of 5 · optional
#
# Write `ConvModule.forward`. As in 5.1, what lies in the padding must be zero where the kernel reads it. `F` has `glu` and
# `silu`; a `Conv1d` wants (batch, channels, time). If you skip this exercise, the library's version is used below.

# %%
show("encoder.ConvModule.__init__")


# %%
@exercise("5.5")
class ConvModule:  # these methods become part of asr_tutorial.encoder.ConvModule
    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """(batch, time, d_model) and padding (batch, time), True = real -> (batch, time, d_model)."""
        raise NotImplementedError("exercise 5.5")


# %%
ConvModule = check("5.5")

# %% [markdown]
# Stuck? `asr-tutorial hint 5.5` in a terminal, one hint at a time.
#
# The library's layer with this third part is a subclass of yours, `ConvEncoderLayer`: the same parts with the same names,
# and a `forward` of its own with one more line between your two. With `conv_kernel` above 0 in the configuration, your
# encoder is made of such layers.

# %% [markdown]
# ## The first recognised words
#
# Now the encoder learns to write. What it needs is a linear layer on top, a *head*, that gives each frame a score for each
# letter, and a loss that says how well these scores fit a text.
#
# The loss is [CTC](../docs/glossary.md#ctc), and here it is a black box. (1) Each frame says one letter, or *blank* for
# "nothing new". (2) To read the result, merge repeated letters and drop the blanks: `TT_OO__` becomes `TO`, and a blank
# between two equal letters keeps them apart. (3) Nobody knows which frame says which letter, so the loss is minus the log of
# the probability of *all* ways to say the text together. Chapter 07 opens the box.
#
# ### The task
#
# A minute on two cores is not much, and the task is small to match: the sentences of
# [TinySpeech](../data/tinyspeech/README.md) that name a city or a number. The corpus was spoken by speech synthesisers, in
# fifty voices for training and four others for development (five more are kept for testing). The sentences that you read
# below were *not* trained on, and neither were their voices, but their patterns and words occur in training. It says that
# your code works; it says little about real speech, which takes hours of it and of training (chapter 08).

# %%
CITIES = {"BERLIN", "BOSTON", "DUBLIN", "LONDON", "MADRID", "OSLO", "PARIS", "ROME"}
NUMBERS = {"ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE", "TEN", "ELEVEN", "TWELVE"}
NUMBERS |= {"TWENTY", "THIRTY", "FORTY", "FIFTY"}


def cities_and_numbers(name: str):
    corpus = read_corpus(f"tinyspeech/{name}")
    return select(corpus, [u.id for u in corpus if (CITIES | NUMBERS) & set(u.text.split())])


train, unseen = cities_and_numbers("train"), cities_and_numbers("dev")
words = {word for text in train.texts for word in text.split()}
print(f"training: {len(train)} sentences, {train.seconds / 60:.1f} minutes, {len(words)} different words")
print(f"unseen:   {len(unseen)} sentences; also in training: {len(set(train.texts) & set(unseen.texts))}")
for text in train.texts[:3]:
    print("   ", text)

# %% [markdown]
# Batches come from the library, as in chapter 03: utterances of similar length share a batch, and its time axis is a
# multiple of 32 frames. `MVN` brings each mel bin to mean 0 and variance 1 over the training speech. `FrequencyWarp`
# stretches or squeezes the mel axis of each training utterance by up to a tenth, at random, so that fifty voices sound like
# many more (chapter 08 says how).

# %%
tokenizer = CharTokenizer.train(train.texts)
stores = {
    name: FeatureStore.build(c, FeaturesConfig(), progress=False) for name, c in (("train", train), ("unseen", unseen))
}
train_batches = SpeechLoader(SpeechDataset(train, stores["train"], tokenizer), shuffle=True, batch_seconds=24)
unseen_batches = SpeechLoader(SpeechDataset(unseen, stores["unseen"], tokenizer, training=False), shuffle=False)
normalise = MVN("global", n_mels=80)
normalise.fit(stores["train"])
warp = FrequencyWarp(0.1)

torch.manual_seed(1)
config = ModelConfig(d_model=144, num_heads=4, d_ff=576, encoder_layers=3, conv_kernel=7, dropout=0.1)
encoder, head = Encoder(config, n_mels=80), nn.Linear(config.d_model, tokenizer.vocab_size)
model = nn.ModuleList([warp, encoder, head])  # train() and eval() reach all three
print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {tokenizer.vocab_size} tokens")

# %% [markdown]
# Two functions: from a batch to log-probabilities (batch, frames, tokens), and from speech to text. Matrix products run in
# bfloat16 where the processor is fast at it; the loss is always computed in float32.

# %%
BF16 = pick_precision("auto", torch.device("cpu")) == "bf16"


def log_probs_of(batch) -> tuple[Tensor, Tensor]:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=BF16):
        features = warp(normalise(batch.features, batch.feature_lengths))
        encoder_out, mask, _ = encoder(features, batch.feature_lengths)
        return head(encoder_out).float().log_softmax(-1), mask.sum(1)


@torch.no_grad()
def listen() -> list[str]:
    """What the model hears in the unseen sentences."""
    model.eval()
    heard = {}
    for batch in unseen_batches:
        paths = best_path(*log_probs_of(batch), blank=tokenizer.blank_id)
        heard |= {name: tokenizer.decode(path) for name, path in zip(batch.ids, paths, strict=True)}
    model.train()
    return [heard[utterance.id] for utterance in unseen]


# %% [markdown]
# And the loop. **Predict** what is heard first, when the loss has fallen but little is learnt yet: noise, the most frequent
# letters, or nothing at all?
#
# The loop takes a fixed number of steps, less than a minute on two quiet cores of today. On a slow or busy machine it stops
# after `SECONDS` and says so; what you read is then less finished.

# %% tags=["nbval-ignore-output"]
STEPS, SECONDS = 600, 90
LISTEN = (25, 50, 75, 100, 150, 200, 300, 400, 500, 600)

optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98))
# The learning rate rises over the first tenth of the steps, the warm-up, and falls to nothing over the rest.
schedule = torch.optim.lr_scheduler.OneCycleLR(
    optimizer, 3e-3, total_steps=STEPS, pct_start=0.1, anneal_strategy="linear"
)
five = range(2, len(unseen), len(unseen) // 5)[:5]  # five sentences to read, spread over the voices
print(f"what is said:        {unseen.texts[five[0]]}")
losses, curve, step, epoch, end = [], [], 0, 0, time.monotonic() + SECONDS
model.train()
while step < STEPS and time.monotonic() < end:
    for batch in train_batches.batches(epoch):
        log_probs, lengths = log_probs_of(batch)
        loss = F.ctc_loss(
            log_probs.transpose(0, 1), batch.targets, lengths, batch.target_lengths, blank=tokenizer.blank_id
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # a single odd batch must not throw the model
        optimizer.step()
        schedule.step()
        step += 1
        losses.append(loss.item())
        if step in LISTEN:
            heard = listen()
            curve.append((step, wer(unseen.texts, heard), cer(unseen.texts, heard)))
            print(f"step {step:3}  loss {loss.item():.2f}  {heard[five[0]] or '(nothing: blanks only)'}")
        if step == STEPS or time.monotonic() >= end:
            break
    epoch += 1
heard = listen()
if step < STEPS:
    print(f"\nThis machine did {step} of {STEPS} steps in {SECONDS} seconds: raise SECONDS to read more words.")

# %% [markdown]
# Training goes through stages, and in this order nearly always. First *blanks*: saying nothing in each frame is the cheapest
# way to be less wrong. It looks as if the model were broken, and many a run was stopped here too early. Then the most
# frequent *letters*, T and S and the like. Then the loss falls quickly, and letters come where they are spoken: the spelling
# follows the sound. Last the *words*, for which the model needs to know what the sound does not say: silent letters, and
# where one word ends.

# %% tags=["nbval-ignore-output"]
with plots.style():
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.1), layout="constrained")
    axes[0].plot(range(1, len(losses) + 1), losses, color="#bbbbbb", linewidth=0.8, label="one batch")
    window = min(20, len(losses))
    smooth = torch.tensor(losses).unfold(0, window, 1).mean(-1)
    axes[0].plot(range(window, len(losses) + 1), smooth, color=plots.COLORS[0], label="mean of 20")
    axes[0].set(
        title="Loss: a plateau of blanks, then a fall",
        xlabel="step",
        ylabel="CTC loss (nats per letter)",
        ylim=(0, min(max(losses), 6)),
    )
    for place, name in enumerate(("words", "letters")):
        values = [100 * point[1 + place] for point in curve]
        axes[1].plot(
            [point[0] for point in curve],
            values,
            color=plots.COLORS[place],
            linestyle=plots.DASHES[place],
            marker="os"[place],
            markersize=4,
            label=name,
        )
    axes[1].set(
        title="Unseen sentences: letters come before words", xlabel="step", ylabel="error rate (%)", ylim=(0, 112)
    )
    for panel in axes:
        panel.grid(axis="y")
        panel.legend()
plt.show()

# %% [markdown]
# Read what it heard in five sentences that it was never trained on. The [word error
# rate](../docs/glossary.md#word-error-rate) (WER) counts a word as wrong for a single wrong letter or a missing space; the
# [character error rate](../docs/glossary.md#character-error-rate) (CER) counts letters.

# %% tags=["nbval-ignore-output"]
for index in five:
    print(f"said   {unseen.texts[index]}\nheard  {heard[index]}\n")
right = sum(word in text.split() for said, text in zip(unseen.texts, heard, strict=True) for word in said.split())
errors = f"WER {100 * wer(unseen.texts, heard):.0f} %, CER {100 * cer(unseen.texts, heard):.0f} %"
print(f"all {len(unseen)} unseen sentences: {errors}")
print(f"{right} of {sum(len(text.split()) for text in unseen.texts)} spoken words stand in what was heard")

# %%
print(unseen.texts[five[0]])
Audio(read_audio(unseen.utterances[five[0]].audio), rate=16_000)

# %%
print(unseen.texts[five[-1]])
Audio(read_audio(unseen.utterances[five[-1]].audio), rate=16_000)

# %% [markdown]
# These are your words: the front end, the feed-forward blocks, the attention, the masks and the encoder that wrote them are
# your code, wherever it passed its check.
#
# Many mistakes are spelling mistakes: what stands there can be read aloud and sounds right. CTC decides on each letter
# without knowing which letters it has just written. A decoder that does know is the subject of the next chapter.
#
# ### What each layer makes of the sound
#
# Compare each frame with each other frame of the same sentence: the cosine of the angle between their vectors, 1 for the
# same direction, 0 for none in common. **Predict** what the picture looks like after subsampling, and what changes from
# layer to layer.

# %% tags=["nbval-ignore-output"]
model.eval()
sentence = min(unseen, key=lambda utterance: utterance.seconds)
raw = torch.tensor(stores["unseen"].get(sentence.id))[None]
states = []
hooks = [
    part.register_forward_hook(lambda module, inputs, output: states.append(output[0]))
    for part in (encoder.subsampling, *encoder.layers)
]
with torch.no_grad():
    encoder_out, _, maps = encoder(
        normalise(raw, torch.tensor([raw.shape[1]])), torch.tensor([raw.shape[1]]), need_weights=True
    )
    tokens = head(encoder_out)[0].argmax(-1).tolist()
for hook in hooks:
    hook.remove()

with plots.style():
    figure, axes = plt.subplots(1, 4, figsize=(10, 2.9), layout="constrained", sharey=True)
    names = ["subsampling", *(f"layer {number}" for number in range(1, len(encoder.layers) + 1))]
    for panel, name, state in zip(axes, names, states, strict=True):
        unit = F.normalize(state[0] - state[0].mean(0), dim=-1)
        seconds = len(unit) * 0.04
        image = panel.imshow(unit @ unit.T, cmap=plots.WEIGHTS, vmin=0, vmax=1, extent=(0, seconds, seconds, 0))
        panel.set(title=f"after {name}", xlabel="time (s)")
    axes[0].set_ylabel("time (s)")
    figure.colorbar(image, ax=axes, label="cosine similarity", pad=0.01)
plt.show()
print(sentence.text)
print(
    "best token of each frame:",
    "".join("." if token == tokenizer.blank_id else tokenizer.id_to_token(token) for token in tokens),
)

# %% [markdown]
# (The mean over all frames was taken away first; without that, everything looks alike.) After subsampling, similar *sounds*
# are similar: a held sound is a dark square on the diagonal, and a patch away from the diagonal is the same sound at another
# time. Layer by layer these patches fade. A frame becomes less a sound and more a place in a sentence: it resembles its
# neighbours, and little else.
#
# The line below the picture is what the head makes of the last layer: letters that last a frame or two, with blanks (dots)
# between them. Merge what is repeated, drop the dots, and you have the text.

# %% [markdown]
# ## Experiments of your own
#
# - `conv_kernel=0` in the configuration above makes plain layers, just yours. Train them for the same number of steps. How
#   far do they get? (They need more data and more time to learn what the convolution is told.)
# - Leave the positions out: `positional="none"`. With the convolutions, is order still known?
# - Train on all sentences, without the choice of cities and numbers. Which words are learnt first?

# %% [markdown]
# ## Optional: subsampling by pooling
#
# The cheapest front end needs no convolution: a linear layer and a ReLU on each frame, then the mean of every four frames.
# The difficulty is the last window. **By hand**, factor 2: of the (transformed) frames $12, 14, 0, 16, 18$ the windows have
# the means $13$, $8$ and $18$. The last window holds a single real frame, and its mean is $18 / 1$, not $18 / 2$.
#
# **Exercise 5.6** · 25 minutes · difficulty 3 of 5 · optional
#
# Write `PoolSubsampling.forward`. A last window that is only partly real is the mean of its real frames, in a batch as well.
# A window in which nothing is real must not become NaN.

# %%
show("encoder.PoolSubsampling.__init__")


# %%
@exercise("5.6")
class PoolSubsampling:  # these methods become part of asr_tutorial.encoder.PoolSubsampling
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError("exercise 5.6")


# %%
PoolSubsampling = check("5.6")

# %% [markdown]
# Stuck? `asr-tutorial hint 5.6` in a terminal, one hint at a time.

# %%
with torch.no_grad():
    pool = PoolSubsampling(n_mels=80, d_model=144, factor=4, channels=0)
    out, lengths = pool(features[None], torch.tensor([len(features)]))
weights = {
    name: sum(p.numel() for p in module.parameters()) for name, module in (("pooling", pool), ("convolutions", front))
}
print(f"{len(features)} frames become {lengths.item()}; weights: {weights}")

# %% [markdown]
# ## The usual mistakes
#
# - **Lengths not subsampled with the features** ([espnet #6600](https://github.com/espnet/espnet/issues/6600), [wenet
#   #1513](https://github.com/wenet-e2e/wenet/issues/1513)). Either the mask does not fit and there is an error, or padding
#   counts as speech: results depend on what shares a batch.
# - **Lengths rounded down.** The last frame of odd lengths is lost. Ends of sentences go missing, and utterances of a single
#   frame crash.
# - **Padding not set to zero between convolutions.** The last frame of an utterance differs between batches, by so little
#   that nobody notices until scores are compared.
# - **The mask on the queries, not on the keys.** All rows of real frames still listen to padding; no error is raised.
# - **The residual from the normalised input**, $\mathrm{norm}(x) + \dots$: trains, but a deep stack does worse than a
#   shallow one.
# - **One norm used twice.** The other one never gets a gradient; `norm2.weight.grad` is None.
# - **The last norm forgotten.** The output grows with depth, and the first losses are huge.
# - **Positions added in each layer**, or twice: the model hears positions better than sound.
# - **`F.dropout` without the mode.** The same file gives another text each time.
# - **Stopped too early.** Blanks only for the first steps is what CTC does
#   ([CTCModel #12](https://github.com/cyprienruffino/CTCModel/issues/12)); a bug would last.

# %% [markdown]
# ## Quiz
#
# **1.** An utterance has 1,001 frames. How many encoder frames does it have with factor 4, and what would rounding down at
# both steps give?
#
# <details><summary>Answer</summary>
#
# Rounded up: 1,001 becomes 501, then 251. Rounded down: 500, then 250. The convolutions make 251 frames in any case; with
# lengths of 250 the last one would be taken for padding.
#
# </details>
#
# **2.** Set the last weights of both sublayers (`out_proj` of attention, `linear2` of the feed-forward block) to zero,
# biases too. What does a pre-norm layer compute, and what a post-norm layer?
#
# <details><summary>Answer</summary>
#
# The pre-norm layer returns its input. The post-norm layer returns its input normalised twice: even a layer that says
# nothing changes the stream, and the gradient has to pass the norms.
#
# </details>
#
# **3.** Why does the gradient of a pre-norm stack reach the first layer undiminished?
#
# <details><summary>Answer</summary>
#
# $x$ is the input plus a sum of what the sublayers said, so its derivative by the input is the identity plus something.
# However small that something is, the identity passes. In a post-norm stack a norm stands on this path, twice a layer.
#
# </details>

# %% [markdown]
# ## Where this goes next
#
# - [Chapter 06](06_decoder.ipynb) adds a decoder that writes one token after the other and knows what it has written:
#   attention over your `encoder_out`, under the mask that you return.
# - Chapter 07 opens the black box of the CTC loss.
# - Chapter 08 turns the loop above into a training program, and trains on real speech.
#
# ## References
#
# - A. Vaswani et al., "Attention is all you need", 2017, sections 3.1 and 3.3:
#   [arXiv:1706.03762](https://arxiv.org/abs/1706.03762)
# - R. Xiong et al., "On layer normalization in the Transformer architecture", 2020:
#   [arXiv:2002.04745](https://arxiv.org/abs/2002.04745)
# - L. Dong, S. Xu, B. Xu, "Speech-Transformer: a no-recurrence sequence-to-sequence model for speech recognition", ICASSP
#   2018: [doi:10.1109/ICASSP.2018.8462506](https://doi.org/10.1109/ICASSP.2018.8462506)
# - A. Gulati et al., "Conformer: convolution-augmented Transformer for speech recognition", 2020:
#   [arXiv:2005.08100](https://arxiv.org/abs/2005.08100)
# - J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", 2016: [arXiv:1607.06450](https://arxiv.org/abs/1607.06450)
# - A. Graves et al., "Connectionist temporal classification", ICML 2006:
#   [doi:10.1145/1143844.1143891](https://doi.org/10.1145/1143844.1143891)
