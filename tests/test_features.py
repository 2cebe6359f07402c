"""Log-mel features and their normalisation."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from asr_tutorial.config import FeaturesConfig
from asr_tutorial.errors import AudioError, ConfigError, CorpusError
from asr_tutorial.features import (
    MVN,
    FeatureExtractor,
    frame,
    log_mel,
    mel_filterbank,
    num_frames,
    power_spectrum,
    window_function,
)

RATE = 16_000
FLOOR = float(np.log(np.float32(1.1920929e-07)))


def sound(samples: int = RATE, seed: int = 0) -> Tensor:
    """Noise, louder and softer by turns, and a tone: ``(samples,)`` float32 within [-1, 1]."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / RATE
    waveform = (0.1 + 0.09 * np.sin(9 * time)) * rng.standard_normal(samples) + 0.2 * np.sin(2 * np.pi * 440 * time)
    return torch.from_numpy(waveform.clip(-1, 1).astype(np.float32))


# The definition, step by step in float64, by loops: nothing of it is shared with the library.


def reference_filter(index: int, n_mels: int, fft_size: int, rate: int, low: float, high: float) -> np.ndarray:
    def mel(hertz: float) -> float:
        return 1127.0 * np.log(1.0 + hertz / 700.0)

    step = (mel(high) - mel(low)) / (n_mels + 1)
    left, centre, right = (mel(low) + (index + k) * step for k in range(3))
    weights = np.zeros(fft_size // 2 + 1)
    for k in range(fft_size // 2):
        m = mel(k * rate / fft_size)
        if left < m <= centre:
            weights[k] = (m - left) / (centre - left)
        elif centre < m < right:
            weights[k] = (right - m) / (right - centre)
    return weights


def reference_window(name: str, length: int) -> np.ndarray:
    return {
        "povey": np.hanning(length) ** 0.85,
        "hann": np.hanning(length),
        "hamming": np.hamming(length),
        "rectangular": np.ones(length),
    }[name]


def reference_log_mel(
    samples: np.ndarray, rate: int = RATE, n_mels: int = 80, window: str = "povey", preemphasis: float = 0.97
) -> np.ndarray:
    length, shift = rate // 40, rate // 100
    fft_size = 512 if rate == 16_000 else 256
    filters = [reference_filter(m, n_mels, fft_size, rate, 20.0, rate / 2) for m in range(n_mels)]
    rows = []
    for start in range(0, len(samples) - length + 1, shift):
        values = samples[start : start + length].astype(np.float64) * 32768
        values = values - values.mean()
        emphasised = values.copy()
        for i in range(1, length):
            emphasised[i] = values[i] - preemphasis * values[i - 1]
        emphasised[0] = values[0] - preemphasis * values[0]
        power = np.abs(np.fft.fft(emphasised * reference_window(window, length), fft_size)[: fft_size // 2 + 1]) ** 2
        rows.append([np.log(max(weights @ power, 1.1920929e-07)) for weights in filters])
    return np.array(rows)


# Framing


@pytest.mark.parametrize(
    ("samples", "frames"), [(400, 1), (401, 1), (559, 1), (560, 2), (561, 2), (719, 2), (720, 3), (16_000, 98)]
)
def test_only_whole_frames_count(samples: int, frames: int) -> None:
    assert num_frames(samples, 400, 160) == frames
    assert log_mel(sound(samples)).shape == (frames, 80)


def test_frames_are_slices_of_the_waveform() -> None:
    waveform = sound(2000)
    frames = frame(waveform, 400, 160)
    assert frames.shape == (11, 400)
    for index in range(11):
        assert torch.equal(frames[index], waveform[160 * index : 160 * index + 400])
    assert frames.data_ptr() == waveform.data_ptr(), "a view is enough, copies cost time"


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_less_than_a_frame_is_an_error(samples: int) -> None:
    assert num_frames(samples, 400, 160) == 0
    with pytest.raises(AudioError, match=f"has {samples} samples, one frame needs 400"):
        log_mel(torch.zeros(samples))


# Windows, filters, spectrum


@pytest.mark.parametrize("name", ["povey", "hann", "hamming", "rectangular"])
def test_windows(name: str) -> None:
    window = window_function(name, 400)
    assert window.dtype == torch.float32
    np.testing.assert_allclose(window, reference_window(name, 400), atol=1e-6)


def test_unknown_window() -> None:
    with pytest.raises(ConfigError, match="'kaiser'"):
        window_function("kaiser", 400)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("n_mels", "fft_size", "rate", "low", "high"),
    [(80, 512, 16_000, 20.0, 8000.0), (40, 512, 16_000, 0.0, 7600.0), (80, 256, 8_000, 20.0, 4000.0)],
)
def test_filters_follow_the_formula(n_mels: int, fft_size: int, rate: int, low: float, high: float) -> None:
    filters = mel_filterbank(n_mels, fft_size, rate, low, high)
    assert filters.shape == (fft_size // 2 + 1, n_mels)
    for index in range(n_mels):
        np.testing.assert_allclose(
            filters[:, index], reference_filter(index, n_mels, fft_size, rate, low, high), atol=1e-6
        )


def test_a_high_frequency_of_zero_or_less_counts_from_nyquist() -> None:
    assert torch.equal(mel_filterbank(40, 512, RATE, 20, 0), mel_filterbank(40, 512, RATE, 20, 8000))
    assert torch.equal(mel_filterbank(40, 512, RATE, 20, -400), mel_filterbank(40, 512, RATE, 20, 7600))


@pytest.mark.parametrize(("low", "high"), [(-1, 0), (4000, 3000), (20, 9000), (20, -8000)])
def test_impossible_frequencies(low: float, high: float) -> None:
    with pytest.raises(ConfigError, match="high_freq <= 8000"):
        mel_filterbank(80, 512, RATE, low, high)


def test_filters_without_a_bin_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"smaller features\.n_mels"):
        mel_filterbank(200, 512, RATE)


def test_power_of_a_tone_lies_at_its_frequency() -> None:
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(400) / RATE).unsqueeze(0)
    power = power_spectrum(tone, window_function("hann", 400), 0.0, 512)
    assert power.shape == (1, 257)
    assert int(power.argmax()) == 1000 * 512 // RATE


def test_power_agrees_with_parseval() -> None:
    # A rectangular window, no pre-emphasis: energy in time is energy in frequency.
    frames = torch.randn(3, 512, generator=torch.Generator().manual_seed(0))
    power = power_spectrum(frames, torch.ones(512), 0.0, 512)
    both_sides = 2 * power.sum(-1) - power[:, 0] - power[:, -1]
    centred = frames - frames.mean(-1, keepdim=True)
    torch.testing.assert_close(both_sides / 512, centred.square().sum(-1))


# Log-mel


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_mels": 40},
        {"rate": 8_000},
        {"window": "hann"},
        {"window": "hamming"},
        {"window": "rectangular"},
        {"preemphasis": 0.0},
    ],
    ids=str,
)
def test_agrees_with_the_definition(options: dict[str, Any]) -> None:
    waveform = sound(4000)
    ours = log_mel(waveform, options.get("rate", RATE), **{k: v for k, v in options.items() if k != "rate"})
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours, reference_log_mel(waveform.numpy(), **options), atol=1e-3, rtol=0)


def test_weak_bands_between_strong_ones_are_exact() -> None:
    # Three loud tones and hardly anything between them; a transform in float32 has a mean error of 5e-4 here.
    time = np.arange(4000) / RATE
    tones = sum(0.3 * np.sin(2 * np.pi * hertz * time) for hertz in (250, 1000, 4000))
    waveform = torch.from_numpy((tones + 1e-5 * sound(4000).numpy()).astype(np.float32))
    error = log_mel(waveform, window="hann").numpy() - reference_log_mel(waveform.numpy(), window="hann")
    assert np.abs(error).mean() < 3.5e-4


@pytest.mark.parametrize(("rate", "n_mels"), [(16_000, 80), (16_000, 40), (8_000, 80)])
def test_agrees_with_kaldi_native_fbank(rate: int, n_mels: int) -> None:
    knf = pytest.importorskip("kaldi_native_fbank")
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.samp_freq = rate
    options.mel_opts.num_bins = n_mels
    waveform = sound(5 * RATE)
    fbank = knf.OnlineFbank(options)
    fbank.accept_waveform(rate, waveform.numpy() * 32768)
    fbank.input_finished()
    theirs = np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])
    np.testing.assert_allclose(log_mel(waveform, rate, n_mels=n_mels), theirs, atol=1e-3, rtol=0)


@pytest.mark.parametrize("level", [0.0, 0.25, -1.0])
def test_silence_and_constant_offset_give_the_floor(level: float) -> None:
    features = log_mel(torch.full((1600,), level))
    torch.testing.assert_close(features, torch.full_like(features, FLOOR))


def test_an_offset_changes_nothing() -> None:
    torch.testing.assert_close(log_mel(sound() * 0.5 + 0.25), log_mel(sound() * 0.5), atol=1e-2, rtol=0)


def test_twice_as_loud_adds_log_four() -> None:
    torch.testing.assert_close(log_mel(sound() / 2) + np.log(4), log_mel(sound()), atol=1e-4, rtol=0)


def test_a_batch_gives_what_each_gives_alone() -> None:
    waveforms = torch.stack([sound(20_000, seed) for seed in range(3)])
    batch = log_mel(waveforms)
    assert batch.shape == (3, 123, 80)
    for index in range(3):
        torch.testing.assert_close(batch[index], log_mel(waveforms[index]), atol=1e-5, rtol=0)


def test_long_recordings_have_no_seams() -> None:
    # Longer than what is transformed at a time; each second must come out as it does alone.
    waveform = sound(20 * RATE)
    features = log_mel(waveform)
    for second in (5, 10, 19):
        alone = log_mel(waveform[second * RATE : (second + 1) * RATE])
        torch.testing.assert_close(features[second * 100 : second * 100 + 98], alone, atol=1e-5, rtol=0)


def test_dither_is_noise_of_the_given_level() -> None:
    silence = torch.zeros(RATE)
    torch.manual_seed(0)
    first, second = log_mel(silence, dither=1.0), log_mel(silence, dither=1.0)
    torch.manual_seed(0)
    assert torch.equal(first, log_mel(silence, dither=1.0))
    assert not torch.equal(first, second)
    louder = log_mel(silence, dither=10.0)
    assert float((louder - first).mean()) == pytest.approx(np.log(100), abs=0.05)
    # White noise of variance 1 has the power sum(window ** 2) in each bin.
    expected = float(window_function("povey", 400).square().sum()) * mel_filterbank(80, 512, RATE).sum(0)
    plain = log_mel(silence, dither=1.0, preemphasis=0.0).exp().mean(0)
    np.testing.assert_allclose(plain / expected, np.ones(80), atol=0.5)


@pytest.mark.parametrize(
    "waveform",
    [torch.zeros(RATE, dtype=torch.int16), torch.zeros(1, 1, RATE), torch.tensor(0.5)],
    ids=["int", "3", "0"],
)
def test_other_types_and_shapes_are_refused(waveform: Tensor) -> None:
    with pytest.raises(AudioError, match="floating-point tensor"):
        log_mel(waveform)


@pytest.mark.parametrize("options", [{"frame_shift_ms": 0.01}, {"frame_length_ms": 0.1}])
def test_frames_of_less_than_a_sample_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        log_mel(sound(), **options)


def test_float64_and_autocast_lose_nothing() -> None:
    expected = log_mel(sound())
    torch.testing.assert_close(log_mel(sound().double()), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(log_mel(sound()), expected)


def test_tables_made_in_inference_mode_serve_gradients_later() -> None:
    with torch.inference_mode():
        log_mel(sound(), n_mels=23)
    waveform = sound().requires_grad_()
    log_mel(waveform, n_mels=23).sum().backward()
    assert waveform.grad is not None
    assert waveform.grad.isfinite().all()


# FeatureExtractor


def test_what_stands_behind_an_utterance_never_changes_it() -> None:
    lengths = torch.tensor([16_000, 400, 9_999])
    clean = torch.zeros(3, 16_000)
    for index, length in enumerate(lengths.tolist()):
        clean[index, :length] = sound(length, index)
    dirty = clean.clone()
    dirty[1, 400:] = float("nan")
    dirty[2, 9_999:] = 0.9
    extractor = FeatureExtractor(FeaturesConfig())
    for batch in (clean, dirty):
        features, frame_lengths = extractor(batch, lengths)
        assert features.shape == (3, 98, 80)
        assert frame_lengths.tolist() == [98, 1, 60] == [extractor.num_frames(n) for n in lengths.tolist()]
        for index, (length, frames) in enumerate(zip(lengths.tolist(), frame_lengths.tolist(), strict=True)):
            torch.testing.assert_close(features[index, :frames], log_mel(sound(length, index)), atol=1e-5, rtol=0)
            assert (features[index, frames:] == 0).all()


def test_extractor_without_lengths() -> None:
    features, lengths = FeatureExtractor(FeaturesConfig())(sound().unsqueeze(0))
    assert lengths.tolist() == [98]
    torch.testing.assert_close(features[0], log_mel(sound()))


def test_extractor_follows_its_config() -> None:
    config = FeaturesConfig(sample_rate=8000, n_mels=40, frame_length_ms=32, frame_shift_ms=16, window="hamming")
    config = dataclasses.replace(config, low_freq=100, high_freq=-200, preemphasis=0.9)
    features, _ = FeatureExtractor(config)(sound().unsqueeze(0))
    options = {key: value for key, value in dataclasses.asdict(config).items() if key != "normalize"}
    assert torch.equal(features[0], log_mel(sound(), **options))
    assert features.shape == (1, 1 + (16_000 - 256) // 128, 40)


def test_extractor_names_the_utterance_that_is_too_short() -> None:
    with pytest.raises(AudioError, match="utterance 1 of the batch has 399 samples"):
        FeatureExtractor(FeaturesConfig())(torch.zeros(3, RATE), torch.tensor([16_000, 399, 500]))


# MVN


def raw_features(*lengths: int, n_mels: int = 8) -> tuple[Tensor, Tensor]:
    """Features far from zero mean and unit variance, garbage in the padding: ``(batch, time, n_mels)``, lengths."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(len(lengths), max(lengths), n_mels, generator=generator) * torch.arange(1, n_mels + 1) - 7
    for index, length in enumerate(lengths):
        features[index, length:] = float("nan")
    return features, torch.tensor(lengths)


def real(features: Tensor, lengths: Tensor) -> list[Tensor]:
    return [utterance[:length] for utterance, length in zip(features, lengths.tolist(), strict=True)]


def test_global_mvn_gives_zero_mean_and_unit_variance() -> None:
    features, lengths = raw_features(50, 20, 33)
    mvn = MVN("global", 8)
    mvn.fit(utterance.numpy() for utterance in real(features, lengths))
    values = torch.cat(real(mvn(features, lengths), lengths))
    torch.testing.assert_close(values.mean(0), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.std(0, unbiased=False), torch.ones(8), atol=1e-4, rtol=0)


def test_utterance_mvn_normalises_each_alone() -> None:
    features, lengths = raw_features(50, 20, 33)
    mvn = MVN("utterance", 8)
    output = mvn(features, lengths)
    for index, utterance in enumerate(real(output, lengths)):
        torch.testing.assert_close(utterance.mean(0), torch.zeros(8), atol=1e-5, rtol=0)
        torch.testing.assert_close(utterance.std(0, unbiased=False), torch.ones(8), atol=1e-4, rtol=0)
        alone = mvn(features[index : index + 1, : len(utterance)], lengths[index : index + 1])
        torch.testing.assert_close(alone[0], utterance, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["global", "utterance", "none"])
def test_padding_comes_out_as_zero(kind: Any) -> None:
    features, lengths = raw_features(50, 20, 1, 0)
    output = MVN(kind, 8)(features, lengths)
    for utterance, length in zip(output, lengths.tolist(), strict=True):
        assert (utterance[length:] == 0).all()
        assert utterance.isfinite().all()


def test_kind_none_changes_nothing() -> None:
    features, lengths = raw_features(5, 5)
    assert torch.equal(MVN("none", 8)(features, lengths), features)


def test_features_that_never_change_stay_finite() -> None:
    constant = torch.full((1, 10, 8), FLOOR)
    mvn = MVN("global", 8)
    mvn.fit([constant[0].numpy()])
    for module in (mvn, MVN("utterance", 8)):
        torch.testing.assert_close(module(constant, torch.tensor([10])), torch.zeros(1, 10, 8), atol=1e-4, rtol=0)
    one_frame = MVN("utterance", 8)(torch.randn(1, 1, 8), torch.tensor([1]))
    assert torch.equal(one_frame, torch.zeros(1, 1, 8))


def test_mvn_statistics_are_exact_far_from_zero() -> None:
    rng = np.random.default_rng(0)
    utterances = [(100 + 0.5 * rng.standard_normal((1000, 8))).astype(np.float32) for _ in range(50)]
    mvn = MVN("global", 8)
    mvn.fit(utterances)
    stacked = np.concatenate(utterances).astype(np.float64)
    np.testing.assert_allclose(mvn.mean, stacked.mean(0), rtol=1e-6)
    np.testing.assert_allclose(mvn.inverse_std, 1 / stacked.std(0), rtol=1e-5)


@pytest.mark.parametrize(
    ("utterances", "message"),
    [
        ([], "no frames"),
        ([np.zeros((0, 8))], "no frames"),
        ([np.ones((5, 8)), np.full((5, 8), np.nan)], "utterance 1 holds NaN"),
        ([np.full((5, 8), np.inf)], "utterance 0 holds NaN or inf"),
        ([np.ones((5, 8)), np.ones((5, 7))], r"utterance 1 has features of shape \(5, 7\), \(frames, 8\) is needed"),
        ([np.ones(8)], r"shape \(8,\)"),
    ],
)
def test_mvn_refuses_bad_features(utterances: list[np.ndarray], message: str) -> None:
    mvn = MVN("global", 8)
    with pytest.raises(CorpusError, match=message):
        mvn.fit(utterances)
    assert torch.equal(mvn.mean, torch.zeros(8)), "a failed fit leaves the module as it was"


def test_fit_reads_nothing_where_nothing_is_needed() -> None:
    def never() -> Any:
        raise AssertionError("the corpus was read")
        yield

    for kind in ("utterance", "none"):
        MVN(kind, 8).fit(never())  # type: ignore[arg-type]


def test_statistics_travel_with_the_weights() -> None:
    features, lengths = raw_features(50, 20)
    fitted, loaded = MVN("global", 8), MVN("global", 8)
    fitted.fit(real(features, lengths))
    assert set(fitted.state_dict()) == {"mean", "inverse_std"}
    loaded.load_state_dict(fitted.state_dict())
    assert torch.equal(loaded(features, lengths), fitted(features, lengths))
    assert not torch.equal(MVN("global", 8)(features, lengths), fitted(features, lengths))


@pytest.mark.parametrize("kind", ["global", "utterance", "none"])
def test_mvn_on_bf16(kind: Any) -> None:
    features, lengths = raw_features(50, 20)
    mvn = MVN(kind, 8)
    mvn.fit(real(features, lengths))
    half = mvn(features.bfloat16(), lengths)
    assert half.dtype == torch.bfloat16
    # bf16 keeps 8 bits: the input's own rounding, seen through the normalisation.
    torch.testing.assert_close(half.float(), mvn(features, lengths), atol=0.1, rtol=0.01)
