"""Chapter 00: frames, spectra, mel filters, normalisation and tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from teaching import expect, same
from torch import Tensor

from asr_tutorial.features.fbank import frame, hertz_to_mel, mel_filterbank, num_frames, power_spectrum
from asr_tutorial.features.normalize import MVN, VARIANCE_FLOOR
from asr_tutorial.tokenizer import SPECIAL_TOKENS, CharTokenizer, Tokenizer


def noise(*shape: int, seed: int = 0) -> Tensor:
    """The same random numbers each time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# 0.1 frames


@pytest.mark.exercise("0.1")
def test_ten_samples_hold_four_frames() -> None:
    why = "frames of 4 samples start at 0, 2, 4 and 6: the first one counts too, and the last ends with the last sample"
    same(num_frames(10, 4, 2), 4, why)
    expected = [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]]
    same(frame(torch.arange(10.0), 4, 2), expected, why)


@pytest.mark.exercise("0.1")
def test_what_does_not_fill_a_frame_is_left_out() -> None:
    why = "an eleventh sample fills no further frame; a frame that is half zeros would show a click that nobody spoke"
    same(num_frames(11, 4, 2), 4, why)
    same(frame(torch.arange(11.0), 4, 2)[-1], [6, 7, 8, 9], why)
    same(frame(torch.arange(11.0), 4, 2).shape, (4, 4), why)


@pytest.mark.exercise("0.1")
def test_waveforms_of_about_one_frame() -> None:
    why = "one frame fits as soon as there are frame_length samples, and none before: never a negative number"
    same([num_frames(samples, 400, 160) for samples in (0, 1, 399, 400, 559, 560)], [0, 0, 0, 1, 1, 2], why)
    same(frame(noise(400), 400, 160).shape, (1, 400), why)


@pytest.mark.exercise("0.1")
def test_frames_of_a_batch() -> None:
    waveforms = noise(2, 3, 50)
    frames = frame(waveforms, 8, 3)
    same(frames.shape, (2, 3, 15, 8), "leading axes stay as they are: (..., samples) becomes (..., frames, length)")
    expected = torch.stack([waveforms[..., 3 * i : 3 * i + 8] for i in range(15)], dim=-2)
    same(frames, expected, "frame i holds the samples from i * frame_shift on, of each waveform for itself")


@pytest.mark.exercise("0.1")
def test_the_count_agrees_with_the_frames() -> None:
    for samples, length, shift in ((16_000, 400, 160), (1000, 25, 25), (31, 5, 7), (97, 10, 1)):
        same(
            frame(noise(samples), length, shift).shape,
            (num_frames(samples, length, shift), length),
            f"num_frames({samples}, {length}, {shift}) tells batches and encoders how long the picture will be",
        )


def probe_frames(m: Any) -> Iterator[Any]:
    for sizes in ((10, 4, 2), (11, 4, 2), (0, 4, 2), (3, 4, 2), (4, 4, 2), (31, 5, 3), (1000, 400, 160)):
        yield m.num_frames(*sizes)
    for sizes in ((10, 4, 2), (11, 4, 2), (9, 4, 2), (31, 5, 3)):
        yield m.frame(torch.arange(1.0, 1.0 + sizes[0]), *sizes[1:])
    yield m.frame(noise(2, 40), 8, 3)


# 0.2 spectra


def power_of(frames: Tensor, window: Tensor, preemphasis: float, fft_size: int) -> np.ndarray:
    """The definition, a sum of sines and cosines in float64."""
    values = frames.double().numpy()
    values = values - values.mean(axis=-1, keepdims=True)
    before = np.concatenate([values[..., :1], values[..., :-1]], axis=-1)
    values = (values - preemphasis * before) * window.double().numpy()
    angle = 2 * np.pi * np.outer(np.arange(values.shape[-1]), np.arange(fft_size // 2 + 1)) / fft_size
    return (values @ np.cos(angle)) ** 2 + (values @ np.sin(angle)) ** 2


@pytest.mark.exercise("0.2")
def test_a_pure_tone_fills_one_bin() -> None:
    tone = torch.cos(2 * torch.pi * 3 * torch.arange(16) / 16)
    expected = torch.zeros(9)
    expected[3] = 64
    same(
        power_spectrum(tone[None], torch.ones(16), 0.0, 16)[0],
        expected,
        "a cosine that swings 3 times in 16 samples has the amplitude 16 / 2 = 8 in bin 3; power is its square",
        tolerance=1e-4,
    )


@pytest.mark.exercise("0.2")
def test_an_offset_is_no_sound() -> None:
    frames = noise(2, 16)
    same(
        power_spectrum(frames + 5.0, torch.ones(16), 0.9, 16),
        power_spectrum(frames, torch.ones(16), 0.9, 16),
        "a microphone may add a constant to every sample; each frame's mean goes first, or it leaks into the low bins",
        tolerance=1e-4,
    )
    same(
        power_spectrum(torch.tensor([[1.0] * 4, [7.0] * 4]), torch.ones(4), 0.9, 4),
        torch.zeros(2, 3),
        "a constant frame holds no sound; the mean is that of each frame, not of all frames together",
    )


@pytest.mark.exercise("0.2")
def test_pre_emphasis_by_hand() -> None:
    same(
        power_spectrum(torch.tensor([[2.0, 0.0, -2.0, 0.0]]), torch.ones(4), 0.5, 4),
        [[1.0, 13.0, 1.0]],
        "half of the previous sample is subtracted from each, and half of itself from the first: "
        "[2, 0, -2, 0] becomes [1, -1, -2, 1]",
    )


@pytest.mark.exercise("0.2")
def test_the_window_weighs_the_samples() -> None:
    frames = noise(3, 16)
    same(
        power_spectrum(frames, torch.full((16,), 0.5), 0.9, 16),
        power_spectrum(frames, torch.ones(16), 0.9, 16) / 4,
        "a window of 0.5 halves each sample, and so quarters each power",
        tolerance=1e-4,
    )


@pytest.mark.exercise("0.2")
def test_all_steps_in_their_order() -> None:
    frames, window = noise(2, 3, 12), torch.linspace(0.1, 1.0, 12) ** 2
    power = power_spectrum(frames, window, 0.8, 16)
    same(power.shape, (2, 3, 9), "12 samples are padded to a transform of 16, which has 16 / 2 + 1 = 9 frequencies")
    same(
        power,
        power_of(frames, window, 0.8, 16),
        "the order is: mean, pre-emphasis, window, transform; a step left out or moved changes the spectrum",
        tolerance=1e-4,
    )


@pytest.mark.exercise("0.2")
def test_the_frames_stay_as_they_were() -> None:
    frames = noise(2, 16)
    before = frames.clone()
    power_spectrum(frames, torch.linspace(0, 1, 16), 0.97, 16)
    same(frames, before, "frames overlap in one and the same waveform: writing into one of them spoils its neighbours")


def probe_power(m: Any) -> Iterator[Any]:
    window = torch.linspace(0.1, 1.0, 12) ** 2
    yield m.power_spectrum(noise(2, 12), torch.ones(12), 0.0, 16)
    yield m.power_spectrum(noise(2, 12) + 2, torch.ones(12), 0.0, 16)
    yield m.power_spectrum(noise(2, 3, 12) + 2, window, 0.0, 16)
    yield m.power_spectrum(noise(2, 3, 12) + 2, window, 0.8, 16)


# 0.3 mel filters


def filters_of(n_mels: int, fft_size: int, rate: int, low: float, high: float) -> np.ndarray:
    """The definition, weight by weight."""
    mel = [np.log(1 + k * rate / fft_size / 700) for k in range(fft_size // 2 + 1)]
    start, stop = np.log(1 + low / 700), np.log(1 + high / 700)
    step = (stop - start) / (n_mels + 1)
    peaks = [start + (m + 1) * step for m in range(n_mels)]
    return np.array([[max(0.0, 1 - abs(value - peak) / step) for peak in peaks] for value in mel])


@pytest.mark.exercise("0.3")
def test_the_mel_scale() -> None:
    same(
        hertz_to_mel(torch.tensor([0.0, 700.0, 1000.0, 2100.0, 4900.0])),
        [0.0, 781.177, 999.991, 1562.354, 2343.531],
        "1000 Hz are 1000 mel, and from 700 to 2100 Hz is the same step as from 2100 to 4900 Hz",
        tolerance=2e-5,
    )
    same(hertz_to_mel(torch.zeros(2, 3)), torch.zeros(2, 3), "the formula works elementwise on any shape")


@pytest.mark.exercise("0.3")
def test_two_filters_by_hand() -> None:
    # Feet and peaks at 0, 700, 2100 and 4900 Hz, which are 0, 1, 2 and 3 steps; bins at 0, 700, 1400 ... Hz.
    steps = np.log2(1 + np.arange(8))
    expected = np.stack([np.maximum(1 - np.abs(steps - 1), 0), np.maximum(1 - np.abs(steps - 2), 0)], axis=1)
    same(
        mel_filterbank(2, 14, 9800, 0.0, 4900.0),
        expected,
        "filter 0 stands on 0 and 2100 Hz with its peak at 700 Hz, filter 1 on 700 and 4900 Hz with its peak at "
        "2100 Hz, and their sides are straight in mel",
        tolerance=1e-4,
    )


@pytest.mark.exercise("0.3")
def test_neighbours_share_what_lies_between_them() -> None:
    filters = mel_filterbank(20, 512, 16_000)
    same(filters.shape, (257, 20), "a row for each frequency of the spectrum, a column for each filter")
    expect(
        float(filters.min()) >= 0, "no negative weight", f"{float(filters.min()):.4f}", "energies cannot be negative"
    )
    between = filters[6:200].sum(dim=1)
    same(
        between,
        torch.ones(194),
        "between the first peak and the last, one filter falls as fast as the next one rises: no energy is lost",
        tolerance=1e-4,
    )


@pytest.mark.exercise("0.3")
def test_filters_follow_the_formula() -> None:
    for n_mels, fft_size, rate, low, high in ((80, 512, 16_000, 20.0, 8000.0), (23, 256, 8_000, 100.0, 3800.0)):
        same(
            mel_filterbank(n_mels, fft_size, rate, low, high),
            filters_of(n_mels, fft_size, rate, low, high),
            f"weights of {n_mels} filters from {low:g} to {high:g} Hz; bin k lies at k * sample_rate / fft_size Hz",
            tolerance=1e-4,
        )


@pytest.mark.exercise("0.3")
def test_the_upper_edge_may_count_down_from_nyquist() -> None:
    for given, meant in ((0.0, 8000.0), (-400.0, 7600.0)):
        same(
            mel_filterbank(20, 512, 16_000, 20.0, given),
            filters_of(20, 512, 16_000, 20.0, meant),
            f"at 16000 samples per second, high_freq={given:g} stands for {meant:g} Hz",
            tolerance=1e-4,
        )


def probe_mel(m: Any) -> Iterator[Any]:
    yield m.hertz_to_mel(torch.tensor([0.0, 50.0, 700.0, 1000.0, 4900.0], dtype=torch.float64))
    yield m.mel_filterbank(2, 14, 9800, 0.0, 4900.0)
    yield m.mel_filterbank(20, 512, 16_000)
    yield m.mel_filterbank(12, 256, 8_000, 100.0, -200.0)


# 0.4 mean and variance normalisation


@pytest.mark.exercise("0.4")
def test_global_uses_what_was_measured_before() -> None:
    mvn = MVN("global", 2)
    mvn.mean.copy_(torch.tensor([10.0, -1.0]))
    mvn.inverse_std.copy_(torch.tensor([0.5, 2.0]))
    same(
        mvn(torch.tensor([[[10.0, -1.0], [14.0, 0.0]]]), torch.tensor([2])),
        [[[0.0, 0.0], [2.0, 2.0]]],
        "each bin minus its stored mean, times its stored 1 / standard deviation",
    )


@pytest.mark.exercise("0.4")
def test_utterance_by_hand() -> None:
    features = torch.tensor([[[1.0, 0.0], [5.0, 20.0]], [[7.0, 4.0], [9.0, 8.0]]])
    same(
        MVN("utterance", 2)(features, torch.tensor([2, 2])),
        [[[-1.0, -1.0], [1.0, 1.0]], [[-1.0, -1.0], [1.0, 1.0]]],
        "in each utterance and each bin the two frames lie one standard deviation below and above their mean",
    )


@pytest.mark.exercise("0.4")
def test_none_changes_only_padding() -> None:
    features = noise(2, 4, 3)
    expected = features.clone()
    expected[1, 2:] = 0
    same(MVN("none", 3)(features, torch.tensor([4, 2])), expected, "kind none leaves real frames as they are")


@pytest.mark.exercise("0.4")
def test_padding_comes_out_as_zero() -> None:
    for kind in ("global", "utterance", "none"):
        mvn = MVN(kind, 3)
        mvn.mean.fill_(4.0)
        features = noise(2, 5, 3)
        features[0, 2:] = 0.0
        features[1, 4:] = float("nan")
        out = mvn(features, torch.tensor([2, 4]))
        why = f"kind {kind}: 0 is the mean after normalisation; -mean/std there would look like sound, and NaN spreads"
        same(out[0, 2:], torch.zeros(3, 3), why)
        same(out[1, 4:], torch.zeros(1, 3), why)


@pytest.mark.exercise("0.4")
def test_padding_is_never_measured() -> None:
    for kind in ("global", "utterance"):
        mvn = MVN(kind, 4)
        alone = noise(1, 6, 4) * 3 + 7
        for filling in (0.0, 50.0):
            batch = torch.full((2, 9, 4), filling)
            batch[0, :6], batch[1] = alone[0], noise(9, 4, seed=1)
            same(
                mvn(batch, torch.tensor([6, 9]))[0, :6],
                mvn(alone, torch.tensor([6]))[0],
                f"kind {kind}: an utterance gives the same numbers alone and in a batch padded with {filling:g}",
                tolerance=1e-4,
            )


@pytest.mark.exercise("0.4")
def test_a_band_that_never_changes() -> None:
    features = torch.full((1, 3, 2), 2.0)
    features[0, :, 1] = torch.tensor([-0.01, 0.0, 0.01])
    expected = torch.zeros(1, 3, 2)
    expected[0, :, 1] = features[0, :, 1] / VARIANCE_FLOOR**0.5
    same(
        MVN("utterance", 2)(features, torch.tensor([3])),
        expected,
        "a variance below VARIANCE_FLOOR counts as VARIANCE_FLOOR: a silent band must not become pure noise",
    )


@pytest.mark.exercise("0.4")
def test_the_number_type_stays() -> None:
    features = noise(1, 4, 3).bfloat16()
    for kind in ("global", "utterance", "none"):
        out = MVN(kind, 3)(features, torch.tensor([4]))
        expect(
            out.dtype == torch.bfloat16,
            "torch.bfloat16 for torch.bfloat16 features",
            out.dtype,
            f"kind {kind}: a model that computes in a short format expects its features in it",
        )


def probe_mvn(m: Any) -> Iterator[Any]:
    features = noise(2, 5, 3) * torch.tensor([1.0, 2.0, 3.0]) + 4
    features[0, 3:] = 9.0
    for kind in ("utterance", "global", "none"):
        mvn = m.MVN(kind, 3)
        mvn.mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
        mvn.inverse_std.copy_(torch.tensor([0.5, 2.0, 0.25]))
        yield mvn(features[1:], torch.tensor([5]))
        out = mvn(features, torch.tensor([3, 5]))
        yield out[0, :3]
        yield out[0, 3:]
        yield out[1]


# 0.5 characters as numbers


class Pieces(Tokenizer):
    """Three sub-word pieces, as chapter 10 learns them."""

    def __init__(self) -> None:
        super().__init__([*SPECIAL_TOKENS, "▁TEN", "▁GREEN", "S"])

    def encode(self, text: str) -> list[int]:
        raise NotImplementedError

    def save(self, folder: object) -> None:
        raise NotImplementedError


@pytest.mark.exercise("0.5")
def test_encode_by_hand() -> None:
    tokenizer = CharTokenizer("ABC")
    same(
        tokenizer.encode("A CAB"),
        [6, 5, 8, 6, 7],
        "ids 0 to 4 are the special tokens, 5 is the space, then A, B, C; one id a character, nothing added",
    )
    same(tokenizer.encode(""), [], "an empty text has no tokens, not even a special one")


@pytest.mark.exercise("0.5")
def test_encode_unknown_characters() -> None:
    tokenizer = CharTokenizer("ABC")
    unk = tokenizer.unk_id
    same(tokenizer.encode("A7B?"), [6, unk, 7, unk], "each character outside the alphabet becomes one unk_id")
    same(
        tokenizer.encode("A<eos>"),
        [6, *[unk] * 5],
        "text that happens to read <eos> is five unknown characters: nobody may end a sentence by typing it",
    )


@pytest.mark.exercise("0.5")
def test_encode_normalises() -> None:
    tokenizer = CharTokenizer("ABC")
    same(
        tokenizer.encode("  ab\n c "),
        [6, 7, 5, 8],
        "self.normalize goes first: the alphabet's letter case, single spaces, none at the ends",
    )


@pytest.mark.exercise("0.5")
def test_decode_by_hand() -> None:
    tokenizer = CharTokenizer("ABC")
    for ids in ([6, 5, 8, 6, 7], torch.tensor([6, 5, 8, 6, 7])):
        text = tokenizer.decode(ids)
        expect(text == "A CAB", "'A CAB'", repr(text), "ids become characters again, and ▁ a space")
    text = tokenizer.decode([6, 6, 7, 7])
    expect(text == "AABB", "'AABB'", repr(text), "letters may double (HAPPY); merging is CTC's affair, not decode's")


@pytest.mark.exercise("0.5")
def test_decode_leaves_special_tokens_out() -> None:
    tokenizer = CharTokenizer("ABC")
    ids = [tokenizer.sos_id, 6, tokenizer.blank_id, 7, tokenizer.unk_id, tokenizer.eos_id, tokenizer.pad_id]
    text = tokenizer.decode(ids)
    expect(text == "AB", "'AB'", repr(text), "special tokens steer the model; nobody spoke them")
    text = tokenizer.decode([])
    expect(text == "", "''", repr(text), "no ids, no text")


@pytest.mark.exercise("0.5")
def test_decode_serves_pieces_too() -> None:
    text = Pieces().decode([1, 5, 6, 7, 2])
    expect(
        text == "TEN GREENS",
        "'TEN GREENS'",
        repr(text),
        "every tokenizer inherits decode: ▁ may be a part of a longer token, and a leading space goes",
    )


def probe_tokens(m: Any) -> Iterator[Any]:
    tokenizer = m.CharTokenizer("ABC")
    for text in ("A CAB", "", "A7B?", "  ab\n c ", "A<eos>"):
        yield tokenizer.encode(text)
    yield tokenizer.decode([6, 5, 8, 6, 7])
    yield tokenizer.decode([6, 6, 7, 7])
    yield tokenizer.decode([1, 6, 0, 7, 3, 2, 4])
    yield tokenizer.decode([5, 6, 5])


# 0.6 the alphabet


@pytest.mark.exercise("0.6")
def test_each_character_once_in_order() -> None:
    tokens = CharTokenizer.train(["CAB", "BA D"]).tokens
    expected = [*SPECIAL_TOKENS, "▁", "A", "B", "C", "D"]
    expect(tokens == expected, expected, tokens, "special tokens, the space, then each character once, sorted")


@pytest.mark.exercise("0.6")
def test_the_order_of_texts_does_not_matter() -> None:
    texts = ["ZEBRA", "APPLE PIE", "IT'S"]
    forwards, backwards = CharTokenizer.train(texts).tokens, CharTokenizer.train(reversed(texts)).tokens
    expect(
        forwards == backwards,
        forwards,
        backwards,
        "a model's ids must mean the same letters when the corpus was read in another order",
    )


@pytest.mark.exercise("0.6")
def test_texts_are_normalised_first() -> None:
    tokens = CharTokenizer.train(["cafe\u0301\n", "\tdéjà  vu"]).tokens[6:]
    expected = sorted("cafédjàvu")
    expected = list(dict.fromkeys(expected))
    expect(
        tokens == expected,
        expected,
        tokens,
        "é may be typed as one character or as e and an accent; tabs and line ends are spaces (normalize_text)",
    )


@pytest.mark.exercise("0.6")
def test_texts_may_come_one_at_a_time() -> None:
    tokens = CharTokenizer.train(text for text in ["AB", "BC"]).tokens
    expect(tokens[6:] == ["A", "B", "C"], ["A", "B", "C"], tokens[6:], "any iterable will do, read once")


@pytest.mark.exercise("0.6")
def test_letter_case_is_kept() -> None:
    tokens = CharTokenizer.train(["Ab", "aB"]).tokens[6:]
    expect(
        tokens == ["A", "B", "a", "b"],
        ["A", "B", "a", "b"],
        tokens,
        "the alphabet is that of the training text, in its own letter case",
    )


def probe_train(m: Any) -> Iterator[Any]:
    for texts in (["CAB", "BA D"], ["cafe\u0301\n", "\tdéjà  vu"], ["BBB A", "CC"], ["Ab", "aB"]):
        tokens = m.CharTokenizer.train(texts).tokens
        yield "|".join(tokens)


# 0.7 statistics of a corpus


@pytest.mark.exercise("0.7")
def test_statistics_by_hand() -> None:
    mvn = MVN("global", 2)
    mvn.fit([np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([[1.0, 20.0], [3.0, 20.0]])])
    same(mvn.mean, [2.0, 10.0], "the mean of each bin over all frames")
    same(mvn.inverse_std, [1.0, 0.1], "one over the standard deviation of each bin over all frames")


@pytest.mark.exercise("0.7")
def test_every_frame_counts_the_same() -> None:
    utterances = [noise(3, 2) - 5, noise(40, 2, seed=1) * 2]
    mvn = MVN("global", 2)
    mvn.fit(utterances)
    frames = torch.cat(utterances)
    why = "a long utterance has more frames and weighs more: as if all frames stood in one table"
    same(mvn.mean, frames.mean(dim=0), why, tolerance=1e-4)
    same(mvn.inverse_std, 1 / frames.std(dim=0, correction=0), why, tolerance=1e-4)


@pytest.mark.exercise("0.7")
def test_a_dead_band_has_the_least_variance() -> None:
    mvn = MVN("global", 2)
    mvn.fit([np.array([[1.0, 4.0], [3.0, 4.0]])])
    same(mvn.inverse_std, [1.0, VARIANCE_FLOOR**-0.5], "a variance below VARIANCE_FLOOR counts as VARIANCE_FLOOR")


@pytest.mark.exercise("0.7")
def test_other_kinds_measure_nothing() -> None:
    mvn = MVN("utterance", 2)
    mvn.fit([np.array([[1.0, 0.0], [3.0, 9.0]])])
    same(mvn.mean, [0.0, 0.0], "only kind global has statistics of a corpus")
    same(mvn.inverse_std, [1.0, 1.0], "only kind global has statistics of a corpus")


@pytest.mark.exercise("0.7")
def test_one_pass_without_losing_digits() -> None:
    frames = np.random.default_rng(0).standard_normal((4000, 2)) + 2000
    mvn = MVN("global", 2)
    mvn.fit(part.astype(np.float32) for part in np.split(frames, 20))
    same(
        mvn.inverse_std,
        1 / frames.std(axis=0),
        "the utterances come from a generator, once; sums of millions of frames need float64, or small digits get lost",
        tolerance=2e-3,
    )
    expect(
        mvn.mean.dtype == torch.float32 and mvn.inverse_std.dtype == torch.float32,
        "float32 buffers",
        (mvn.mean.dtype, mvn.inverse_std.dtype),
        "the model computes in float32: copy the result into the buffers that are there",
    )


def probe_fit(m: Any) -> Iterator[Any]:
    for utterances in ([noise(3, 2) - 5, noise(40, 2, seed=1) * 2], [noise(6, 2), noise(6, 2, seed=1) + 3]):
        mvn = m.MVN("global", 2)
        mvn.fit([utterance.numpy() for utterance in utterances])
        yield mvn.mean
        yield mvn.inverse_std
    mvn = m.MVN("global", 2)
    mvn.fit([np.array([[1.0, 4.0], [3.0, 4.0]], dtype=np.float32)])
    yield mvn.inverse_std.clamp(max=1e4)


PROBES = {
    "0.1": probe_frames,
    "0.2": probe_power,
    "0.3": probe_mel,
    "0.4": probe_mvn,
    "0.5": probe_tokens,
    "0.6": probe_train,
    "0.7": probe_fit,
}
