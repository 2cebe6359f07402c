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
# # 00 · Sound and text as tensors
#
# A speech recogniser is a function from one row of numbers, the sound, to another, the text. In this chapter you build both ends of it. On
# the way in, a recording becomes a *picture* of time against pitch that the network can look at. On the way out, a sentence becomes a list of
# small whole numbers that the network can predict, and a list of numbers becomes a sentence again.
#
# Nothing here is learnt from data. But every model of this course looks through these few functions, and a mistake in them is never reported:
# the model only hears a little less well.
#
# **You need** Python, matrices and a little PyTorch. No earlier chapter. **Time:** about three hours without the optional exercises, half of
# them for the core ones.
#
# | exercise | what you write | minutes | difficulty | |
# |---|---|---|---|---|
# | 0.1 | cut a waveform into frames | 10 | 1 | core |
# | 0.2 | the power spectrum of a frame | 20 | 3 | core |
# | 0.3 | the mel scale and its filters | 25 | 3 | core |
# | 0.4 | mean and variance normalisation | 20 | 2 | core |
# | 0.5 | text to ids and back | 15 | 1 | core |
# | 0.6 | an alphabet from text | 10 | 1 | optional |
# | 0.7 | the statistics of a corpus | 20 | 3 | optional |
#
# How an exercise works: a cell with a function whose body is missing, marked with `@exercise`, and below it a `check`. Write the body, run
# both cells. If it is not right yet, `check` says what it expected, what came, and why it matters, and the notebook goes on with our version,
# so that you can always read to the end.

# %%
from asr_tutorial.course import check, exercise, here, show

# %%
here("00")

# %% [markdown]
# This is the whole recogniser of the course. What you build in this chapter is marked: it is everything that touches the world outside.

# %%
import math
from collections.abc import Iterable
from typing import SupportsInt

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Audio
from numpy.typing import ArrayLike
from torch import Tensor

from asr_tutorial import plots
from asr_tutorial.audio import read_audio, resample
from asr_tutorial.corpus import corpus_stats, read_corpus
from asr_tutorial.features import log_mel, window_function
from asr_tutorial.features.fbank import _check_filters, _check_frequencies, _check_samples
from asr_tutorial.features.normalize import MVN, VARIANCE_FLOOR, _check_features
from asr_tutorial.masks import padding_mask
from asr_tutorial.tokenizer import SPACE, SPECIAL_TOKENS, CharTokenizer, Tokenizer, normalize_text

# %% [markdown]
# ## Sound is a row of numbers
#
# Sound is air pressure that changes with time. A microphone turns pressure into voltage, and a converter measures the voltage at equal steps
# of time. Each measurement is a *sample*; the row of samples is the [waveform](../docs/glossary.md#waveform), a tensor $x$ of shape
# `(samples,)`. The number of samples per second is the [sampling rate](../docs/glossary.md#sampling-rate) $r$. Speech recognisers use
# $r = 16\,000$ almost without exception.
#
# The course brings its own speech: TinySpeech, an hour of sentences spoken by synthesisers, enough to train a small model in minutes.

# %%
RATE = 16_000
corpus = read_corpus("tinyspeech/test")
by_id = {utterance.id: utterance for utterance in corpus}

shoes = by_id["157-1157-0013"]
x = torch.from_numpy(read_audio(shoes.audio, RATE))
print(shoes.text)
print(f"shape {tuple(x.shape)}, {x.dtype}, {len(x) / RATE:.2f} seconds, full scale is -1 to 1")

# %% tags=["nbval-ignore-output"]
Audio(x.numpy(), rate=RATE)

# %% [markdown]
# Look at it three times, each time closer.

# %%
parts = (
    (0, len(x), "The whole sentence: syllables and pauses"),
    (6720, 7520, "50 ms of the vowel in MUCH: a pattern that repeats"),
    (6880, 6920, "2.5 ms: single samples"),
)
with plots.style():
    figure, rows = plt.subplots(3, 1, figsize=(6.4, 3.8), layout="constrained")
    for axes, (first, last, title) in zip(rows, parts, strict=True):
        time = np.arange(first, last) / RATE
        dots = "o" if last - first < 100 else None
        axes.plot(time, x[first:last], color=plots.COLORS[0], linewidth=0.8, marker=dots, markersize=3)
        axes.set(title=title, ylabel="pressure", xlim=(first / RATE, last / RATE))
    rows[-1].set_xlabel("time (s)")
    plt.show()

# %% [markdown]
# The voice shows in the middle row: the vocal folds open and close about a hundred times a second, and every opening is followed by the same
# ringing of throat and mouth. The shape of the ringing is the vowel. The letters of the text are nowhere to be seen; to find them is what the
# rest of this course is about.
#
# ## How many samples are enough?
#
# A tone of frequency $f$ (in hertz, swings per second) sampled $r$ times a second is $x_n = \cos(2\pi f n / r)$, where $n = 0, 1, 2, \dots$
# counts samples. Put $r - f$ in the place of $f$:
#
# $$\cos\left(2\pi \tfrac{r - f}{r} n\right) = \cos\left(2\pi n - 2\pi \tfrac{f}{r} n\right) = \cos\left(2\pi \tfrac{f}{r} n\right)$$
#
# The samples are the same. At $r = 8000$, a tone of 5000 Hz cannot be told from one of $8000 - 5000 = 3000$ Hz. Only frequencies up to
# $r / 2$, the [Nyquist frequency](../docs/glossary.md#nyquist-frequency), are safe; what lies above comes back mirrored, as a tone that was
# never there. That is [aliasing](../docs/glossary.md#aliasing).

# %%
n = torch.arange(9)
print("5000 Hz:", [f"{value:+.2f}" for value in torch.cos(2 * math.pi * 5000 / 8000 * n)])
print("3000 Hz:", [f"{value:+.2f}" for value in torch.cos(2 * math.pi * 3000 / 8000 * n)])

with plots.style():
    figure, axes = plt.subplots(figsize=(6.4, 2.0), layout="constrained")
    fine = np.linspace(0, 8, 800)
    for place, f in enumerate((5000, 3000)):
        tone = np.cos(2 * np.pi * f * fine / 8000)
        axes.plot(
            fine / 8, tone, color=plots.COLORS[place], linestyle=plots.DASHES[place], label=f"{f} Hz", linewidth=1.1
        )
    axes.plot(n / 8, torch.cos(2 * math.pi * 5000 / 8000 * n), "ko", markersize=5, label="8000 samples a second")
    axes.set(title="Two tones, the same samples", xlabel="time (ms)", ylabel="pressure", ylim=(-1.2, 1.9))
    axes.legend(ncols=3, loc="upper right")
    plt.show()

# %% [markdown]
# **Predict.** You keep every fourth sample of the last words, which leaves 4000 a second, and play that at its right speed. The highest safe
# frequency is now 2000 Hz. Below are two versions: *filtered*, in which everything above 2000 Hz was taken out first, and *careless*, in
# which samples were just thrown away. The SH of SHOES has nearly all its energy above 2000 Hz. In which of the two is it louder?

# %% tags=["nbval-ignore-output"]
words = x[round(0.86 * RATE) : round(1.72 * RATE)].numpy()  # YELLOW SHOES
filtered = resample(resample(words, RATE, 4000), 4000, RATE)  # resample filters before it drops samples
careless = resample(words[::4], 4000, RATE)

sh = slice(round(0.33 * RATE), round(0.42 * RATE))
for name, samples in (("original", words), ("filtered", filtered), ("careless", careless)):
    print(f"loudness of SH, {name}: {20 * np.log10(np.sqrt(np.mean(samples[sh] ** 2))):.0f} dB")
print("filtered:")
Audio(filtered, rate=RATE)

# %% tags=["nbval-ignore-output"]
print("careless:")
Audio(careless, rate=RATE)

# %% [markdown]
# In the filtered version the SH is almost gone, and the voice is dull but clean. In the careless one the SH is as loud as in the original,
# folded down between 0 and 2000 Hz into a rough noise that no mouth can make, and the vowels have got a rasp. (The figures are decibels:
# $20 \log_{10}$ of the amplitude, so that $-20$ dB are a tenth.)
#
# Two habits follow. Change the rate with a resampler, never with a slice. And never believe that a file has the rate you expect: sound of
# 8000 samples per second that is taken for 16,000 plays at double speed and an octave too high, and a model that was never told writes
# nonsense. `read_audio` looks at the file's header and resamples.
#
# ## Frames
#
# Over a whole sentence everything changes; over a fortieth of a second hardly anything does, for tongue and lips are slow. So the waveform is
# cut into short overlapping pieces, [frames](../docs/glossary.md#frame), and each is described as if it stood still. With frame length $L$
# and frame shift $S$, both in samples, frame $t$ is
#
# $$\text{frame}_t = (x_{tS},\ x_{tS+1},\ \dots,\ x_{tS+L-1})$$
#
# The custom is 25 ms every 10 ms: $L = 400$, $S = 160$ at 16,000 samples per second, hence 100 frames a second.
#
# By hand, with ten samples $0, 1, \dots, 9$, $L = 4$ and $S = 2$: frames start at 0, 2, 4 and 6, and the last one is $(6, 7, 8, 9)$. The next
# would start at 8 and lack two samples. What does not fill a frame is left out, so there are 4 frames; with an eleventh sample, still 4.
#
# **Exercise 0.1** · 10 minutes · difficulty 1 of 5 · core
#
# Write `num_frames` and `frame`. The call of `_check_samples` is there already; it refuses waveforms shorter than one frame. The three dots
# in `(..., samples)` mean any number of leading axes, for example a batch.


# %%
@exercise("0.1")
def num_frames(samples: int, frame_length: int, frame_shift: int) -> int:
    """How many whole frames fit in a waveform (Kaldi's ``snip_edges``): none that would hang over its end.

    Args:
        samples: length of the waveform, perhaps less than one frame.
        frame_length: samples in a frame.
        frame_shift: samples from the start of one frame to the start of the next.
    """
    raise NotImplementedError("exercise 0.1")


def frame(waveform: Tensor, frame_length: int, frame_shift: int) -> Tensor:
    """Cut waveforms into overlapping frames.

    Args:
        waveform: ``(..., samples)``.
        frame_length: samples in a frame.
        frame_shift: samples from the start of one frame to the start of the next.

    Returns:
        ``(..., frames, frame_length)``, whole frames only.

    Raises:
        AudioError: the waveform is shorter than one frame.
    """
    _check_samples(waveform.shape[-1], frame_length)
    raise NotImplementedError("exercise 0.1")


# %%
num_frames, frame = check("0.1")

# %% [markdown]
# Stuck? `asr-tutorial hint 0.1` in a terminal, one hint at a time.
#
# Try it on the sentence. From now on samples are multiplied by $2^{15}$, as if they were the whole numbers of a 16-bit file. Kaldi, the
# toolkit whose numbers the field agreed on, counts like that, and the library follows it.

# %%
frames = frame(x * 2**15, 400, 160)
print("frames:", tuple(frames.shape), " num_frames says", num_frames(len(x), 400, 160))
print("the end of frame 0 is the middle of frame 1:", bool((frames[0, 160:] == frames[1, :240]).all()))
print(f"{len(x)} samples became {frames.numel()} numbers: each sample is in 2 or 3 frames, fewer at the ends")

# %% [markdown]
# ## The spectrum of a frame
#
# Which tones is a frame $y$ made of, and how strong is each? The [Fourier transform](../docs/glossary.md#fourier-transform) compares it with
# cosines and sines of $N$ samples' length. For the frequency that swings $k$ times in $N$ samples,
#
# $$Y_k = \sum_{n=0}^{L-1} y_n \left(\cos\tfrac{2\pi k n}{N} - i \sin\tfrac{2\pi k n}{N}\right), \qquad P_k = |Y_k|^2 = (\operatorname{Re} Y_k)^2 + (\operatorname{Im} Y_k)^2$$
#
# where $k = 0, 1, \dots, N/2$ numbers the *bins* and bin $k$ belongs to $k \cdot r / N$ hertz. $P$, of shape `(N // 2 + 1,)`, is the [power
# spectrum](../docs/glossary.md#power-spectrum). $N$ is a power of two at least as large as $L$, because the fast algorithm likes it: 512 for
# 400 samples; the frame is padded with zeros. The complex number $Y_k$ also says where in its swing a tone begins, its *phase*. The square
# throws this away. Whether that is a loss, you will hear at the end of the chapter.
#
# Three small steps come before the transform, in this order:
#
# 1. *Mean.* Subtract the frame's mean. A constant offset is no sound.
# 2. *[Pre-emphasis](../docs/glossary.md#pre-emphasis).* Replace $y_n$ by $y_n - a\, y_{n-1}$ with $a = 0.97$. Slow changes nearly cancel, quick ones stay: it lifts
#    the high frequencies, in which speech is weak. The first sample of a frame has no predecessor in it and takes itself for one.
# 3. *[Window](../docs/glossary.md#window).* Multiply by weights that fade in and out, so that the cut at the edges makes no click.
#
# By hand, $y = (2, 0, -2, 0)$, $a = 0.5$, a window of ones, $N = 4$. The mean is 0. Pre-emphasis gives
# $(2 - 1,\ 0 - 1,\ -2 - 0,\ 0 + 1) = (1, -1, -2, 1)$. Then $Y_0$ is the sum, $-1$; $Y_1 = (1 - (-2)) - i(-1 - 1) = 3 + 2i$; $Y_2$ is the sum
# with alternating signs, $1 + 1 - 2 - 1 = -1$. The power spectrum is $(1, 13, 1)$.
#
# **Exercise 0.2** · 20 minutes · difficulty 3 of 5 · core
#
# Write `power_spectrum` for frames of shape `(..., frames, frame_length)`. `torch.fft.rfft(values, n=...)` transforms the last axis, pads it
# with zeros to length `n` and gives the $N/2 + 1$ complex numbers, with `.real` and `.imag`. Don't write into `frames`: they may overlap in
# memory.


# %%
@exercise("0.2")
def power_spectrum(frames: Tensor, window: Tensor, preemphasis: float, fft_size: int) -> Tensor:
    """Power of each frequency in each frame.

    Four steps, within each frame: subtract its mean, pre-emphasise, multiply by the window, and take the squared
    magnitude of the Fourier transform.

    Args:
        frames: ``(..., frames, frame_length)``.
        window: ``(frame_length,)``.
        preemphasis: share of the previous sample that is subtracted from each sample; speech is weak in high
            frequencies, and this lifts them. The first sample of a frame counts as its own predecessor.
        fft_size: length of the Fourier transform; frames are padded to it with zeros.

    Returns:
        ``(..., frames, fft_size // 2 + 1)``; entry k belongs to ``k * sample_rate / fft_size`` Hz.
    """
    raise NotImplementedError("exercise 0.2")


# %%
power_spectrum = check("0.2")

# %% [markdown]
# Stuck? `asr-tutorial hint 0.2` in a terminal, one hint at a time.
#
# Try it on two sounds of the sentence: the vowel of MUCH, 0.45 s after the start, and the SH of SHOES at 1.23 s. **Predict**: which of them
# has its energy where, and which shows a comb of equally spaced peaks? The levels are drawn in decibels, $10 \log_{10} P$; 10 dB are a factor
# of 10 in power.

# %%
window = window_function("povey", 400)
flat = power_spectrum(frames, window, 0.0, 512)  # no pre-emphasis here: the sound as it is
kilohertz = torch.arange(257) * RATE / 512 / 1000
vowel, fricative = 45, 123  # frames, 10 ms each

with plots.style():
    figure, axes = plt.subplots(figsize=(6.4, 2.4), layout="constrained")
    for place, (index, name) in enumerate(((vowel, "vowel in MUCH"), (fricative, "SH in SHOES"))):
        level = 10 * flat[index].clamp(min=1).log10()
        axes.step(
            kilohertz,
            level,
            color=plots.COLORS[place],
            linestyle=plots.DASHES[place],
            linewidth=1.2,
            where="mid",
            label=name,
        )
    axes.axvline(4, color="#888888", linewidth=0.8, linestyle=":")
    axes.text(4.05, 124, "a telephone ends here", fontsize=7.5, color="#666666")
    axes.set(
        title="A vowel is a comb with hills at the left, a fricative is noise at the right", xlabel="frequency (kHz)"
    )
    axes.set(ylabel="power (dB)", xlim=(0, 8), ylim=(30, 130))
    axes.legend(loc="upper right")
    plt.show()

for index, name in ((vowel, "vowel in MUCH"), (fricative, "SH in SHOES")):
    print(f"{name}: {100 * float(flat[index, 129:].sum() / flat[index].sum()):.0f} % of the power lies above 4 kHz")

# %% [markdown]
# The teeth of the comb are the multiples of the voice's pitch; they are there because the vocal folds repeat themselves. The hills over them,
# the [formants](../docs/glossary.md#formant), are the mouth, and they are what makes one vowel differ from another. A
# [fricative](../docs/glossary.md#fricative) has no comb, since nothing repeats.
#
# The dotted line is the end of what 8000 samples per second can hold. The vowel loses next to nothing there, the fricative a good part of
# itself. Whoever has spelt a name on the telephone, S as in Sam, F as in Fred, has met that line.
#
# Now the window. Hardly any tone swings a whole number of times in a frame: where the frame ends, it is cut off in the middle of a swing.

# %%
tone = torch.cos(2 * math.pi * 1020 * torch.arange(400) / RATE) * 2**15
with plots.style():
    figure, axes = plt.subplots(figsize=(6.4, 2.0), layout="constrained")
    for place, (name, weights) in enumerate((("rectangular (no window)", torch.ones(400)), ("Povey's window", window))):
        level = 10 * power_spectrum(tone[None], weights, 0.0, 512)[0].clamp(min=1).log10()
        axes.step(
            kilohertz,
            level,
            color=plots.COLORS[1 - place],
            linestyle=plots.DASHES[1 - place],
            linewidth=1.2,
            where="mid",
            label=name,
        )
    axes.set(
        title="One pure tone of 1020 Hz: without a window it is everywhere",
        xlabel="frequency (kHz)",
        ylabel="power (dB)",
        xlim=(0, 4),
    )
    axes.set_ylim(0, 175)
    axes.legend(loc="upper right", ncols=2)
    plt.show()

# %% [markdown]
# The cut spreads the tone over the whole spectrum. Next to a loud vowel, that would bury every weak sound. `window_function` knows four
# windows; Povey's, Kaldi's default, is the raised cosine of Hann to the power 0.85.

# %%
show("features.fbank.window_function")

# %% [markdown]
# ## The mel scale
#
# A spectrum of 257 bins is finer than needed where it is high, since the ear hears 200 Hz against 300 Hz as a large step and 7000 Hz against
# 7100 Hz hardly at all. The [mel scale](../docs/glossary.md#mel-scale) bends frequencies so that equal steps sound equal. With $f$ in hertz,
#
# $$m(f) = 1127 \,\ln\left(1 + \frac{f}{700}\right)$$
#
# The spectrum is then pooled by $M$ triangular filters that stand side by side at equal distances *on this scale*. $M + 2$ equally spaced
# points $p_0, \dots, p_{M+1}$ reach from $m(f_\text{low})$ to $m(f_\text{high})$. Filter $j = 0, \dots, M - 1$ rises from $p_j$ to its peak,
# 1, at $p_{j+1}$ and falls to $p_{j+2}$:
#
# $$w_{kj} = \max\left(0,\ \min\left(\frac{m_k - p_j}{p_{j+1} - p_j},\ \frac{p_{j+2} - m_k}{p_{j+2} - p_{j+1}}\right)\right)$$
#
# where $m_k$ is the mel value of bin $k$. The weights $W$ have the shape `(N // 2 + 1, M)`, so that $P\,W$, a matrix product, gives the $M$
# mel energies of every frame.
#
# By hand: two filters from 0 to 4900 Hz. $1 + f/700$ runs from 1 to 8, and $\ln 8 = 3 \ln 2$, so in units of $1127 \ln 2 = 781$ mel the four
# points are 0, 1, 2, 3. Back in hertz they are 0, 700, 2100 and 4900. A bin at 1400 Hz lies at $\log_2(1 + 1400/700) = \log_2 3 = 1.585$. In
# filter 0, which falls from 1 to 2, it weighs $2 - 1.585 = 0.415$; in filter 1, which rises from 1 to 2, $1.585 - 1 = 0.585$. Together 1:
# what lies between two peaks is shared out.
#
# **Exercise 0.3** · 25 minutes · difficulty 3 of 5 · core
#
# Write `hertz_to_mel` and `mel_filterbank`. Bin $k$ of an `fft_size`-point transform lies at $k \cdot$ `sample_rate / fft_size` hertz.
# `high_freq` needs a little care: zero or less counts down from the Nyquist frequency ($-400$ means 7600 Hz when there are 16,000 samples a
# second). Compute in `torch.float64` and return `.float()`. Our version calls `_check_filters(filters, fft_size)` before it returns, which
# refuses filters so narrow that no bin falls into them; do the same if you like.


# %%
@exercise("0.3")
def hertz_to_mel(hertz: Tensor) -> Tensor:
    """The mel scale, on which equal steps sound equally far apart (O'Shaughnessy 1987; the variant used by HTK).

    ``1127 * ln(1 + hertz / 700)``, elementwise: 1000 Hz are 1000 mel.
    """
    raise NotImplementedError("exercise 0.3")


def mel_filterbank(
    n_mels: int, fft_size: int, sample_rate: int, low_freq: float = 20.0, high_freq: float = 0.0
) -> Tensor:
    """Triangular filters that pool the bins of a power spectrum into mel bands.

    The triangles are straight on the mel scale; each rises from its left neighbour's peak to its own and falls to its
    right neighbour's peak.

    Args:
        n_mels: number of filters.
        fft_size: length of the Fourier transform in samples.
        sample_rate: samples per second.
        low_freq: left foot of the first filter in Hz.
        high_freq: right foot of the last filter in Hz; zero or less counts down from the Nyquist frequency.

    Returns:
        ``(fft_size // 2 + 1, n_mels)``, so that ``power @ filterbank`` gives mel energies.

    Raises:
        ConfigError: impossible frequencies, or so many filters that one of them holds no bin.
    """
    _check_frequencies(sample_rate, low_freq, high_freq)
    raise NotImplementedError("exercise 0.3")


# %%
hertz_to_mel, mel_filterbank = check("0.3")

# %% [markdown]
# Stuck? `asr-tutorial hint 0.3` in a terminal, one hint at a time.
#
# Try it: eight filters, once over hertz, once over mel.

# %%
filterbank = mel_filterbank(8, 512, RATE)
hertz = torch.arange(257) * RATE / 512
with plots.style():
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 2.8), layout="constrained")
    for axes, along in ((top, hertz), (bottom, hertz_to_mel(hertz))):
        for j in range(8):
            weights = torch.where(filterbank[:, j] > 0, filterbank[:, j], torch.nan)  # nothing is drawn where it is 0
            axes.plot(along, weights, color=plots.COLORS[j % 2], linestyle=plots.DASHES[j % 2], linewidth=1.1)
        axes.set(ylabel="weight", xlim=(0, float(along[-1])))
    top.set(title="Over hertz the filters become wider and wider ...", xlabel="frequency (Hz)")
    bottom.set(title="... over mel they are all alike", xlabel="frequency (mel)")
    plt.show()

filterbank = mel_filterbank(80, 512, RATE)
below = int((filterbank.argmax(dim=0) * RATE / 512 < 1000).sum())
print(f"80 filters: {below} of them have their peak below 1000 Hz, an eighth of the frequencies")

# %% [markdown]
# With 80 filters the lowest are hardly wider than a bin. So many filters that one of them catches no bin at all are refused.
#
# ## The logarithm
#
# The last step is the natural logarithm of each mel energy: $\text{logmel} = \ln(\max(P\,W,\ \varepsilon))$. The floor
# $\varepsilon \approx 10^{-7}$ keeps silence from becoming $-\infty$.
#
# **Predict.** What does the picture of the sentence look like before the logarithm? And how do the pictures of the sentence and of the same
# sentence ten times softer differ, before and after?


# %%
def picture(axes, values: Tensor, low: float, high: float, top: float = 80):
    """Time to the right, low frequencies at the bottom, in twelve steps of brightness."""
    return axes.imshow(
        values.T,
        origin="lower",
        extent=(0, len(values) * 0.01, 0, top),
        cmap=plt.get_cmap(plots.SEQUENTIAL, 12),
        vmin=low,
        vmax=high,
    )


power = power_spectrum(frames, window, 0.97, 512)  # (frames, 257)
energies = power @ filterbank  # (frames, 80)
features = energies.clamp(min=1.1920929e-07).log()

with plots.style():
    figure, rows = plt.subplots(3, 1, figsize=(7, 4.8), layout="constrained", sharex=True)
    pictures = (
        (power.sqrt(), "Spectrum, 257 bins (its square root, or even less would be seen)", "kHz", 8),
        (energies, "Mel energies, 80 bins: a few loud vowels are all there is", "mel bin", 80),
        (features, "Log-mel: consonants, vowels, pauses", "mel bin", 80),
    )
    for axes, (values, title, label, top) in zip(rows, pictures, strict=True):
        image = picture(axes, values, 0, float(values.max()), top)
        axes.set(title=title, ylabel=label)
        figure.colorbar(image, ax=axes, pad=0.01)
    rows[-1].set_xlabel("time (s)")
    plt.show()

print("library's log_mel is the same:", torch.allclose(log_mel(x, RATE), features, atol=1e-3))

# %% [markdown]
# That last picture is the [log-mel](../docs/glossary.md#log-mel) spectrogram, the input of nearly every recogniser of the last decade.
# `log_mel` composes the functions that you have just written, and nothing else: `frame`, `power_spectrum`, `mel_filterbank`. Its numbers
# agree with Kaldi's, as `kaldi-native-fbank` computes them, within a thousandth; a test of the library holds that.
#
# Find the words: SH at 1.2 s is the bright block at the top, the dark gap at 0.5 s is the closed mouth before the CH of MUCH, and the bands
# that glide from 0.9 s to 1.2 s are the moving formants of YELLOW.
#
# Now the two loudnesses.

# %% tags=["nbval-ignore-output"]
quiet = log_mel(x / 10, RATE)
spoken = features.mean(dim=1) > 12  # frames that are not silence
ratio = features.exp()[spoken] / quiet.exp()[spoken]
difference = (features - quiet)[spoken]
print(
    f"before the logarithm: energies between {float(energies[spoken].min()):.1e} and {float(energies[spoken].max()):.1e}"
)
print(f"                      the loud one is {float(ratio.min()):.1f} to {float(ratio.max()):.1f} times the quiet one")
print(
    f"after the logarithm:  values between {float(features[spoken].min()):.1f} and {float(features[spoken].max()):.1f}"
)
print(
    f"                      the loud one is larger by {float(difference.min()):.3f} to {float(difference.max()):.3f}, ln 100 = {math.log(100):.3f}"
)

# %% [markdown]
# Before, the numbers span many powers of ten, and a network would see the loudest vowels and nothing else. After, all of them lie within a
# few tens. And what was a factor on every number has become a *constant added to every number*: ten times softer is a hundredth of the power,
# hence $\ln 100 = 4.605$ less, everywhere. The ear judges loudness in much the same way. The constant is easy to take away again, which is what comes next.
#
# ## Mean and variance normalisation
#
# Networks like inputs with a mean of about 0 and a spread of about 1. Let $X$, of shape `(batch, frames, M)`, be the log-mel pictures of
# several utterances, padded to the same length; utterance $b$ has $T_b$ real frames. [Mean and variance
# normalisation](../docs/glossary.md#mean-and-variance-normalisation) maps each bin to
#
# $$\hat X_{btj} = \frac{X_{btj} - \mu_j}{\sigma_j}$$
#
# There are two kinds. *Global*: $\mu_j$ and $\sigma_j$ were measured once over the training set, for every bin $j$. *Utterance*: each
# utterance is measured by itself, over its own real frames,
#
# $$\mu_{bj} = \frac{1}{T_b} \sum_{t < T_b} X_{btj}, \qquad \sigma_{bj}^2 = \max\left(\varepsilon,\ \frac{1}{T_b} \sum_{t < T_b} (X_{btj} - \mu_{bj})^2\right)$$
#
# with a small $\varepsilon$ (`VARIANCE_FLOOR`), so that a bin that never changes does not end in a division by 0.
#
# By hand, one bin, two frames: 1 and 5. The mean is 3, the deviations $-2$ and 2, the variance $(4 + 4)/2 = 4$, its root 2. The result is
# $(-1, 1)$. If the utterance is padded with a frame of 0, the answer must stay the same: counted in, the mean would be 2. And the padding
# must come out as 0, for 0 is the mean now, the value that says least.
#
# **Exercise 0.4** · 20 minutes · difficulty 2 of 5 · core
#
# Write `MVN.forward` for the three kinds (`none` leaves real frames as they are). This is a method: the cell holds only the part of the class
# that you write, and the rest comes from the library. Here is its beginning:

# %%
show("features.normalize.MVN.__init__")

# %% [markdown]
# `inverse_std` is $1 / \sigma$. `padding_mask(lengths, frames)` gives `(batch, frames)`, True where a frame is real. Beware of what stands in
# the padding: it may be anything, NaN included, and NaN times 0 is NaN.


# %%
@exercise("0.4")
class MVN:  # these methods become part of asr_tutorial.features.normalize.MVN
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Subtract the mean and divide by the standard deviation of each mel bin.

        Kind ``global`` takes both from :meth:`fit`. Kind ``utterance`` takes both over the real frames of each
        utterance, the variance as the mean of squared deviations and never below ``VARIANCE_FLOOR``.

        Args:
            features: ``(batch, frames, n_mels)``, padded at the end with anything.
            lengths: ``(batch,)`` real frames of each utterance, at least 1.

        Returns:
            ``(batch, frames, n_mels)`` in the type of ``features``; padding comes out as 0.
        """
        raise NotImplementedError("exercise 0.4")


# %%
MVN = check("0.4")

# %% [markdown]
# Stuck? `asr-tutorial hint 0.4` in a terminal, one hint at a time.
#
# Try it on three recordings of one sentence: as it is, ten times softer, and through a cheap microphone that swallows the high frequencies.
# **Predict**: which of the two kinds, global or utterance, makes the three alike? (The global statistics come from `MVN.fit`, optional
# exercise 0.7, over some utterances of the training set.)

# %% tags=["nbval-ignore-output"]
why = by_id["155-1155-0018"]
today = torch.from_numpy(read_audio(why.audio, RATE))
muffled = torch.nn.functional.conv1d(today[None, None], torch.full((1, 1, 6), 1 / 6))[0, 0]  # a mean of 6 samples
recordings = {"as it is": today, "10 times softer": today / 10, "cheap microphone": muffled}
pictures = {name: log_mel(samples, RATE)[:244] for name, samples in recordings.items()}

each = MVN("utterance", 80)
world = MVN("global", 80)
training = read_corpus("tinyspeech/train").utterances[::50]
world.fit(log_mel(torch.from_numpy(read_audio(utterance.audio, RATE)), RATE) for utterance in training)

lengths = torch.tensor([244])
print("root mean square of the difference from the recording as it is:")
for name in ("10 times softer", "cheap microphone"):
    before = pictures[name] - pictures["as it is"]
    shown = [f"without {float(before.square().mean().sqrt()):.2f}"]
    for mvn in (world, each):
        after = mvn(pictures[name][None], lengths) - mvn(pictures["as it is"][None], lengths)
        shown.append(f"{mvn.kind} {float(after.square().mean().sqrt()):.2f}")
    print(f"{name:>17}: {', '.join(shown)}")

# %%
with plots.style():
    figure, grid = plt.subplots(2, 2, figsize=(7, 2.9), layout="constrained", sharex=True, sharey=True)
    for row, name in zip(grid, ("as it is", "cheap microphone"), strict=True):
        picture(row[0], pictures[name], 0, 25)
        picture(row[1], each(pictures[name][None], lengths)[0], -2, 2)
        row[0].set(ylabel="mel bin", title=name)
        row[1].set(title=f"{name}, normalised")
    for axes in grid[-1]:
        axes.set_xlabel("time (s)")
    plt.show()

# %% [markdown]
# On the left, the cheap microphone has darkened the upper bins and put dark stripes where it is deaf; on the right it has left no trace. A
# loudness adds one constant to all bins; a microphone multiplies each frequency by its own factor, so it adds another constant to each bin.
# Constants in time are exactly what subtracting the mean over time removes.
#
# Global statistics know nothing of this one recording and remove nothing of it: their figures are those without normalisation, measured in
# standard deviations. They have their own merit. They don't depend on what comes later, so that a stream can be normalised frame by frame,
# and a silent recording stays silent instead of being blown up to full size. The library's default is global.
#
# What about two voices? TinySpeech has two speakers with almost the same sentence.

# %% tags=["nbval-ignore-output"]
night = by_id["158-1158-0000"]
tonight = torch.from_numpy(read_audio(night.audio, RATE))
print(f"{why.speaker}: {why.text}\n{night.speaker}: {night.text}")

voices = {why.speaker: log_mel(today, RATE), night.speaker: log_mel(tonight, RATE)}
batch = torch.nn.utils.rnn.pad_sequence(list(voices.values()), batch_first=True)  # zeros fill up the shorter one
lengths = torch.tensor([len(values) for values in voices.values()])
normalised = each(batch, lengths)
print("batch:", tuple(batch.shape), " real frames:", lengths.tolist())
print("largest value in the padding:", float(normalised[1, lengths[1] :].abs().max()))
print(
    f"a padded 0 without masking would be {float(((0 - world.mean) * world.inverse_std).mean()):.1f} standard deviations (global)"
)

with plots.style():
    figure, row = plt.subplots(1, 2, figsize=(7, 2), layout="constrained")
    for axes, values, label in ((row[0], batch, "log energy"), (row[1], normalised, "normalised")):
        for place, speaker in enumerate(voices):
            mean = values[place, : lengths[place]].mean(dim=0)  # over real frames
            axes.plot(mean, color=plots.COLORS[place], linestyle=plots.DASHES[place], label=f"speaker {speaker}")
        axes.set(title="Mean over time: nothing is left", xlabel="mel bin", ylabel=label)
    row[0].set_title("Mean over time: voice and microphone")
    row[0].legend()
    row[1].set_ylim(-1, 1)
    plt.show()

# %% [markdown]
# The mean over time tells the speakers apart without a word being understood. After normalisation it is the same flat line for both. The way
# a voice *moves*, its pitch and the places of its formants, is still there: normalisation makes speakers more alike, not equal.
#
# ## Text is a row of numbers too
#
# The other end is simpler. A [tokenizer](../docs/glossary.md#tokenizer) has a [vocabulary](../docs/glossary.md#vocabulary), a list of
# [tokens](../docs/glossary.md#token); the *id* of a token is its place in the list. Here each character is a token. Pieces of words come in
# chapter 10.
#
# A space is a character like any other, spoken or not: the model has to write it. It is shown as `▁`, so that you can see it.
#
# By hand, with the alphabet A, B, C: ids 0 to 4 are taken (see below), the space is 5, A is 6, B is 7, C is 8. `A CAB` becomes 6, 5, 8, 6, 7.
#
# The first five ids belong to [special tokens](../docs/glossary.md#special-token), which never come out of text. Each has an id of its own,
# because each says something else:
#
# | id | token | says | who uses it |
# |---|---|---|---|
# | 0 | `<blank>` | nothing new in this frame | the output of CTC (chapter 07) |
# | 1 | `<sos>` | here the sentence starts | the first input of the decoder (chapter 06) |
# | 2 | `<eos>` | here the sentence ends | the last output of the decoder |
# | 3 | `<unk>` | a character that the vocabulary lacks | targets with such a character |
# | 4 | `<pad>` | nothing here, the sentence was shorter | fills up a batch, is never trained on |
#
# Four tokens seem to mean "nothing", and it is tempting to let one serve for two. [Blank](../docs/glossary.md#blank)
# is not a space: a space is written, a blank never. Blank is not pad: a model must learn to say blank, most of the time even, and must not
# learn anything from pad. Pad is not the end: if both are one token, leaving padding out of the loss leaves the end out too, and the model
# never learns to stop.
#
# **Exercise 0.5** · 15 minutes · difficulty 1 of 5 · core
#
# Write `CharTokenizer.encode` and `Tokenizer.decode`. `encode` adds no special token: CTC's targets need none, the decoder's get theirs in
# chapter 06. The constructor has made a dictionary for you:

# %%
show("tokenizer.CharTokenizer.__init__")

# %% [markdown]
# You can use `self._ids`, `self.unk_id`, `self.normalize(text)` (single spaces, the alphabet's letter case), `self.special_ids` (a set),
# `self.id_to_token(token)` and the constant `SPACE`. `decode` belongs to the base class and must work for tokens of several characters too.


# %%
@exercise("0.5")
class CharTokenizer:  # these methods become part of asr_tutorial.tokenizer.CharTokenizer
    def encode(self, text: str) -> list[int]:
        """Ids of the characters of a text, in the form that :meth:`normalize` gives it.

        No special token is added; an unknown character becomes ``unk_id``.
        """
        raise NotImplementedError("exercise 0.5")


class Tokenizer:  # these methods become part of asr_tutorial.tokenizer.Tokenizer
    def decode(self, ids: Iterable[SupportsInt]) -> str:
        """The text of token ids (a list or a 1-d tensor).

        Special tokens are left out, ``▁`` becomes a space again, and there is none at either end.
        """
        raise NotImplementedError("exercise 0.5")


# %%
CharTokenizer, Tokenizer = check("0.5")

# %% [markdown]
# Stuck? `asr-tutorial hint 0.5` in a terminal, one hint at a time.
#
# Try it: a round trip. (The alphabet is collected by `CharTokenizer.train`, which is optional exercise 0.6.)

# %%
train = read_corpus("tinyspeech/train")
tokenizer = CharTokenizer.train(train.texts)
print(f"{tokenizer.vocab_size} tokens:", " ".join(tokenizer.tokens))

ids = tokenizer.encode(shoes.text)
print(shoes.text, "->", ids)
print("and back:", tokenizer.decode(ids))
print("é is unknown here:", tokenizer.tokenize("café"))
targets = [tokenizer.sos_id, *ids, tokenizer.eos_id, tokenizer.pad_id, tokenizer.pad_id]
print("special tokens leave no trace:", tokenizer.decode(targets) == shoes.text)

# %% [markdown]
# ## How long are sound and text?
#
# Three numbers of a corpus decide much of the model: how long its utterances are, how many characters there are, and how many frames there
# are to a character.

# %%
stats = corpus_stats(train, tokenizer)
print(
    f"{stats.utterances} utterances, {stats.speakers} speakers, {60 * stats.hours:.1f} minutes, {stats.words} words, {stats.word_vocabulary} different"
)
per_second = stats.tokens / (3600 * stats.hours)
print(f"{per_second:.1f} characters a second: {100 / per_second:.1f} frames to a character")

with plots.style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.5), layout="constrained")
    plots.length_histogram(
        [utterance.seconds for utterance in train], "TinySpeech: most sentences last 2 to 4 s", bins=30, axes=left
    )
    counts = stats.character_vocabulary
    shares = [100 * count / stats.characters for count in counts.values()]
    right.bar(range(len(counts)), shares, color=plots.COLORS[0])
    right.set_xticks(range(len(counts)), [SPACE if character == " " else character for character in counts], fontsize=7)
    right.set(title="The space is the most frequent character", xlabel="character", ylabel="share (%)")
    plt.show()

# %% [markdown]
# A sentence is a few hundred frames and a few dozen characters, and nobody says which frames belong to which character. To find that out
# without being told is the problem that attention (chapter 01) and CTC (chapter 07) solve, each in its own way. The encoder of chapter 05
# keeps one frame of four; more than one is then still left for each character, on average, which CTC needs.
#
# ## Experiment: what did we throw away?
#
# From a second of sound, 16,000 numbers, the picture keeps 100 frames of 80: half as many, and no phase. Is that enough to understand speech?
# Ask your own ears: turn the picture back into sound.
#
# The energies of the bands are spread over the 257 bins again. The phases are gone, so start with *random* ones. Frames overlap, though, so
# that most choices of phase contradict each other. Griffin and Lim's method repairs this: make sound of it, take the spectrum of that sound,
# keep its phases, put back the energies that were asked for, and repeat.
#
# **Predict** before you listen: you will hear a sentence that you don't know yet, first from 12 mel bands, then from 80. Which of the two can
# you understand? And how much does the waveform resemble the original's?

# %%
hann = torch.hann_window(512)


def spectrum_of(samples: Tensor) -> Tensor:
    """(257, frames) complex, 32 ms every 8 ms."""
    return torch.stft(samples, 512, 128, window=hann, return_complex=True)


def hear(samples: Tensor, n_mels: int, rounds: int) -> Tensor:
    """Sound that has the mel energies of ``samples``, from random phases."""
    bank = mel_filterbank(n_mels, 512, RATE)
    mel = spectrum_of(samples).abs().square().T @ bank  # (frames, n_mels): all that is kept
    # Each bin gets the mean power of the bands that it belongs to, weighted as it was pooled.
    spread = bank / bank.sum(dim=0) / bank.sum(dim=1, keepdim=True).clamp(min=1e-3)
    magnitude = (mel @ spread.T).sqrt().T  # (257, frames)
    torch.manual_seed(0)
    phase = 2 * math.pi * torch.rand(magnitude.shape)
    for _ in range(rounds):
        phase = spectrum_of(torch.istft(torch.polar(magnitude, phase), 512, 128, window=hann)).angle()
    return torch.istft(torch.polar(magnitude, phase), 512, 128, window=hann)


secret = by_id["159-1159-0022"]
y = torch.from_numpy(read_audio(secret.audio, RATE))[1600:-1600]  # without the silence at its ends
versions = {
    "12 bands, 60 rounds": hear(y, 12, 60),
    "80 bands, random phases": hear(y, 80, 0),
    "80 bands, 60 rounds": hear(y, 80, 60),
}

# %% tags=["nbval-ignore-output"]
print("12 bands:")
Audio(versions["12 bands, 60 rounds"].numpy(), rate=RATE)

# %% tags=["nbval-ignore-output"]
print("80 bands:")
Audio(versions["80 bands, 60 rounds"].numpy(), rate=RATE)

# %% tags=["nbval-ignore-output"]
print(secret.text)
loud = log_mel(y, RATE).mean(dim=1) > 12  # frames that are not silence
for name, samples in versions.items():
    length = min(len(samples), len(y))
    correlation = float(torch.corrcoef(torch.stack([samples[:length], y[:length]]))[0, 1])
    count = num_frames(length, 400, 160)
    error = (log_mel(samples, RATE)[:count] - log_mel(y, RATE)[:count])[loud[:count]]
    print(
        f"{name:>24}: correlation of waveforms {correlation:+.2f}, mean error of log-mel {float(error.abs().mean()):.2f}"
    )

shown = {
    "original": y,
    "80 bands, 60 rounds": versions["80 bands, 60 rounds"],
    "12 bands, 60 rounds": versions["12 bands, 60 rounds"],
}
with plots.style():
    figure, rows = plt.subplots(3, 2, figsize=(7, 3.8), layout="constrained", sharex="col", width_ratios=[1, 2])
    for row, (name, samples) in zip(rows, shown.items(), strict=True):
        row[0].plot(1000 * np.arange(480) / RATE, samples[5200:5680], color=plots.COLORS[0], linewidth=0.8)
        row[0].set(ylabel="pressure", title=f"30 ms, {name.split(',')[0]}")
        picture(row[1], log_mel(samples, RATE), 0, 25)
        row[1].set(ylabel="mel bin", title=f"Log-mel, {name}")
    rows[-1, 0].set_xlabel("time (ms)")
    rows[-1, 1].set_xlabel("time (s)")
    plt.show()

# %% [markdown]
# The waveforms have nothing to do with the original's: their correlation is about 0. Yet the log-mel picture after sixty rounds on 80 bands
# is nearly that of the original. What went with the phase is the exact shape of the wave, which a microphone records and nobody hears. The
# rounds are worth their while: with random phases left as they are, the error is much larger.
#
# With 12 bands the thin lines of the formants have run into broad blocks, and neighbouring harmonics fall into one band. If you still
# understood it, you are in good company. In a [famous experiment](https://doi.org/10.1126/science.270.5234.303) people understood speech made
# of noise in as few as three bands.
#
# So the picture that your functions draw is enough. What a recogniser gets wrong from here on, it cannot blame on its ears.

# %% [markdown]
# ## Deep dives
#
# ### An alphabet from text
#
# **Exercise 0.6** · 10 minutes · difficulty 1 of 5 · optional
#
# `CharTokenizer.train` collects the characters that a tokenizer is made of. `cls(alphabet)` makes the tokenizer: it puts the special tokens
# and the space first. Two questions hide in it. An é may be stored as one character or as e followed by an accent; which characters do the
# texts have, then? (`normalize_text` settles it.) And in which order do the ids stand, so that the same texts, shuffled, give the same ids?


# %%
@exercise("0.6")
class CharTokenizer:  # these methods become part of asr_tutorial.tokenizer.CharTokenizer
    @classmethod
    def train(cls, texts: Iterable[str]) -> CharTokenizer:
        """A tokenizer for the characters of the normalised texts, in the order of their code points.

        Raises:
            TextError: the texts hold no characters.
        """
        raise NotImplementedError("exercise 0.6")


# %%
CharTokenizer = check("0.6")

# %% [markdown]
# Stuck? `asr-tutorial hint 0.6` in a terminal.

# %%
greek = CharTokenizer.train(["Καλημέρα κόσμε", "Πού είναι το σχολείο;"])
print(greek.vocab_size, "tokens:", " ".join(greek.tokens[5:]))
print(greek.decode(greek.encode("Πού είναι")))

# %% [markdown]
# Nothing in it knows English: any language that is written in characters will do.
#
# ### The statistics of a corpus
#
# **Exercise 0.7** · 20 minutes · difficulty 3 of 5 · optional
#
# `MVN.fit` measures $\mu$ and $\sigma$ for the kind `global`, and leaves the other kinds as they are; you have used ours above. A corpus
# does not fit into memory, so utterances come one at a time, as tensors or arrays `(frames, n_mels)`, and are gone again. Every *frame* counts the same, as if all of them stood in one
# table; the variance is the mean squared deviation, at least `VARIANCE_FLOOR`. Write into the buffers that are there, with
# `self.mean.copy_(...)` and `self.inverse_std.copy_(...)`. `np` and `torch` are at hand.
#
# In the loop, our version calls `_check_features(index, features, n_mels)`, which refuses arrays of the wrong shape and NaN. And mind the
# number type: 32-bit floats have some seven digits, and a sum of ten million frames needs more.


# %%
@exercise("0.7")
class MVN:  # these methods become part of asr_tutorial.features.normalize.MVN
    def fit(self, utterances: Iterable[ArrayLike]) -> None:
        """Measure mean and variance over utterances ``(frames, n_mels)``; kinds other than ``global`` measure nothing.

        Raises:
            CorpusError: no frames at all, another number of mel bins, or values that are not finite.
        """
        raise NotImplementedError("exercise 0.7")


# %%
MVN = check("0.7")

# %% [markdown]
# Stuck? `asr-tutorial hint 0.7` in a terminal.

# %%
ones = np.ones(2**24 + 1000, dtype=np.float32)
print("16,778,216 ones, added up one after the other in float32:", int(np.cumsum(ones)[-1]))

# %% [markdown]
# At $2^{24}$ the sum stands still: the next float32 number is 2 away, and adding 1 rounds back to where it was. A thousand hours of speech
# are 360 million frames.
#
# ## The usual mistakes
#
# | mistake | what you see |
# |---|---|
# | the sampling rate is ignored ([a thread](https://github.com/FireRedTeam/FireRedASR/issues/62)) | a good model writes nonsense for some files, fluent nonsense even |
# | samples dropped without a filter | worse on fricatives, and nobody knows why |
# | another window, base of logarithm, scale of samples or mel formula than in training | a pretrained model hears nothing; with your own it goes unnoticed |
# | statistics over padding, or padding added after normalisation as another value than 0 ([a thread](https://github.com/NVIDIA/NeMo/issues/15562)) | the same utterance gives other words in another batch |
# | statistics over the mel axis | pauses as bright as vowels, the loss stalls at a high value |
# | variance not rooted | some bins ten times as large as others, slow training |
# | pad = end of sentence ([a thread](https://github.com/huggingface/trl/issues/456)) | the decoder never stops |
# | blank shares an id ([a thread](https://github.com/espnet/espnet/issues/5620)) | one letter never appears, or the loss is not a number |
# | no space in the targets | character errors fine, word errors near 100 % |
#
# ## Quiz
#
# **1.** A recording of 16,000 samples per second holds a faint whistle at 7 kHz. You keep every second sample, without a filter. At which
# frequency is the whistle now?
#
# <details><summary>Answer</summary>
#
# At $8000 - 7000 = 1000$ Hz, in the middle of the speech. The new Nyquist frequency is 4000 Hz; a tone above it is mirrored at it.
#
# </details>
#
# **2.** You shout into the same microphone, twice as loud as usual (amplitude times two). How does each log-mel value change, and how does
# each value change after normalisation by utterance?
#
# <details><summary>Answer</summary>
#
# Twice the amplitude is four times the power, so $\ln 4 = 1.386$ is added to every value (above the floor). The mean grows by the same, the
# deviations and the variance do not change: after normalisation nothing has changed. (A real shout also changes the voice, which is another
# matter.)
#
# </details>
#
# **3.** A colleague saves one id and uses 0 for both `<pad>` and `<blank>`, and pads the targets of CTC with it. The true lengths of the
# targets go to the loss too. Is anything wrong?
#
# <details><summary>Answer</summary>
#
# The loss itself is right as long as it is told the lengths, because it never looks at the padding. The harm comes where lengths are not at
# hand: a loss for the decoder that ignores every `<pad>`, or code that finds the length by counting ids other than `<pad>`, now also means
# every `<blank>`. Five ids cost nothing; one id with two meanings has cost many people a week.
#
# </details>
#
# ## Where this goes next
#
# You have a picture of `(frames, 80)` and a list of a few dozen ids. Chapter 01 builds the operation that lets every place of one sequence
# look at every place of another: attention. Chapter 03 returns to padding and batches, chapter 08 hides parts of the log-mel picture while
# training (SpecAugment), and chapter 10 learns larger tokens than characters.
#
# ## References
#
# - C. E. Shannon, [Communication in the presence of noise](https://doi.org/10.1109/JRPROC.1949.232969), 1949: how many samples are enough.
# - S. S. Stevens, J. Volkmann, E. B. Newman, [A scale for the measurement of the psychological magnitude pitch](https://doi.org/10.1121/1.1915893), 1937: the mel scale.
# - S. Davis, P. Mermelstein, [Comparison of parametric representations for monosyllabic word recognition in continuously spoken sentences](https://doi.org/10.1109/TASSP.1980.1163420), 1980: mel filters in recognition.
# - F. J. Harris, [On the use of windows for harmonic analysis with the discrete Fourier transform](https://doi.org/10.1109/PROC.1978.10837), 1978.
# - R. V. Shannon and others, [Speech recognition with primarily temporal cues](https://doi.org/10.1126/science.270.5234.303), 1995: speech from a few bands of noise.
# - D. Griffin, J. Lim, [Signal estimation from modified short-time Fourier transform](https://doi.org/10.1109/TASSP.1984.1164317), 1984.
