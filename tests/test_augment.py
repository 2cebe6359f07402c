"""Augmentation: frequency warp, SpecAugment, speed perturbation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from asr_tutorial.config import AugmentConfig
from asr_tutorial.features import FrequencyWarp, SpecAugment, speed_perturb

RATE = 16_000


# FrequencyWarp


def test_frequency_warp_rests_in_evaluation_and_at_width_zero() -> None:
    features = torch.rand(4, 50, 80)
    assert FrequencyWarp(0.2).eval()(features) is features
    assert FrequencyWarp(0.0).train()(features) is features


def drawing(monkeypatch: pytest.MonkeyPatch, *factors: float, width: float) -> FrequencyWarp:
    """A module in training mode whose next batch is warped by these factors."""
    draws = torch.tensor([[(factor - 1) / (2 * width) + 0.5] for factor in factors])
    monkeypatch.setattr(torch, "rand", lambda *size, device: draws.to(device))
    return FrequencyWarp(width).train()


def test_a_bright_bin_moves_to_where_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """New bin j is read at old bin ``j * factor``, so that bin 30 comes to 30 / factor, between two bins if need be."""
    features = torch.zeros(3, 2, 80)
    features[:, :, 30] = 1
    output = drawing(monkeypatch, 1.2, 1.0, 0.8, width=0.25)(features)
    assert torch.equal(output[:, 0], output[:, 1])
    expected = torch.zeros(3, 80)
    expected[0, 25] = 1  # 25 * 1.2 = 30
    expected[1, 30] = 1
    expected[2, 37] = 0.6  # 37 * 0.8 = 29.6, 38 * 0.8 = 30.4
    expected[2, 38] = 0.6
    torch.testing.assert_close(output[:, 0], expected, atol=1e-5, rtol=0)


def test_warping_is_linear_interpolation_that_stops_at_the_last_bin(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(3, 7, 40, generator=torch.Generator().manual_seed(0))
    factors = (1.13, 0.91, 0.87)
    output = drawing(monkeypatch, *factors, width=0.2)(features)
    for utterance, factor, warped in zip(features.numpy(), factors, output.numpy(), strict=True):
        for frame, values in zip(utterance, warped, strict=True):
            np.testing.assert_allclose(values, np.interp(np.arange(40) * factor, np.arange(40), frame), atol=1e-4)


def test_factors_are_uniform_within_the_width() -> None:
    torch.manual_seed(0)
    ramp = torch.arange(80.0).expand(5000, 1, 80)  # on a ramp, bin 50 becomes 50 * factor
    factors = FrequencyWarp(0.2).train()(ramp)[:, 0, 50] / 50
    assert 0.8 - 1e-5 <= float(factors.min()) < 0.802
    assert 1.198 < float(factors.max()) <= 1.2 + 1e-5
    counts = torch.histc(factors, bins=10, min=0.8, max=1.2)
    assert (counts - 500).abs().max() < 6 * 500**0.5


def test_warping_leaves_time_and_padding_alone() -> None:
    torch.manual_seed(0)
    features = torch.rand(4, 30, 80) + 1
    features[1, 20:] = 0
    features[2, 1:] = 0
    before = features.clone()
    output = FrequencyWarp(0.3).train()(features)
    assert torch.equal(features, before), "the input must not be written to"
    assert torch.equal((output == 0).all(dim=2), (features == 0).all(dim=2))
    constant = torch.linspace(-3, 3, 30).view(1, 30, 1).expand(4, 30, 80)  # frames that are the same in every bin
    torch.testing.assert_close(FrequencyWarp(0.3).train()(constant), constant)


def test_warps_repeat_under_a_seed_and_differ_between_utterances() -> None:
    features = torch.rand(1, 20, 80).expand(4, 20, 80)
    module = FrequencyWarp(0.1).train()
    torch.manual_seed(7)
    first, second = module(features), module(features)
    torch.manual_seed(7)
    assert torch.equal(module(features), first)
    assert not torch.equal(first, second)
    assert len({tuple(utterance.flatten().tolist()) for utterance in first}) == 4


def test_warping_keeps_type_and_passes_gradients() -> None:
    features = torch.rand(4, 20, 80, requires_grad=True)
    module = FrequencyWarp(0.1).train()
    torch.manual_seed(3)
    expected = module(features)
    torch.manual_seed(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = module(features)
    assert torch.equal(output, expected), "a product in bf16 would cost two digits"
    output.sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()
    assert (features.grad[:, :, 1:70] > 0).all()  # no bin far from the upper edge goes unread
    torch.manual_seed(3)
    half = module(features.detach().bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected.detach(), atol=0.02, rtol=0.02)


def test_nothing_of_the_warp_is_in_the_weights() -> None:
    assert FrequencyWarp(0.1).state_dict() == {}


@pytest.mark.parametrize("width", [-0.1, 0.5, float("nan")])
def test_impossible_warp_widths_are_refused(width: float) -> None:
    with pytest.raises(ValueError, match="freq_warp"):
        AugmentConfig(freq_warp=width)


# SpecAugment


def augmenter(**options: Any) -> SpecAugment:
    return SpecAugment(AugmentConfig(**options)).train()


def test_spec_augment_rests_in_evaluation() -> None:
    features, lengths = torch.ones(4, 200, 80), torch.full((4,), 200)
    module = augmenter().eval()
    assert module(features, lengths) is features


def test_strength_zero_is_the_identity() -> None:
    features, lengths = torch.ones(8, 300, 80), torch.full((8,), 300)
    module = augmenter()
    assert module.strength == 1
    module.strength = 0.0
    assert torch.equal(module(features, lengths), features)
    module.strength = 1.0
    assert not torch.equal(module(features, lengths), features)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_strength_outside_the_unit_interval(strength: float) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        augmenter().strength = strength


def test_masks_are_zero_and_the_rest_untouched() -> None:
    torch.manual_seed(0)
    features, lengths = torch.rand(16, 300, 80) + 1, torch.full((16,), 300)
    before = features.clone()
    output = augmenter()(features, lengths)
    assert torch.equal(features, before), "the input must not be written to"
    assert ((output == 0) | (output == features)).all()
    assert 0.1 < float((output == 0).float().mean()) < 0.6


def test_frequency_bands_cover_all_time_and_time_stretches_all_bins() -> None:
    torch.manual_seed(0)
    features, lengths = torch.ones(200, 100, 80), torch.full((200,), 100)
    bands = augmenter(time_masks=0, freq_masks=1)(features, lengths) == 0
    assert (bands == bands[:, :1]).all()
    stretches = augmenter(time_masks=1, freq_masks=0, time_width=0.2)(features, lengths) == 0
    assert (stretches == stretches[:, :, :1]).all()
    # One mask is one connected piece: at most one rise and one fall.
    for hidden in (bands[:, 0].int(), stretches[:, :, 0].int()):
        assert (hidden.diff(prepend=torch.zeros(200, 1, dtype=torch.int)) == 1).sum(1).max() <= 1
    assert len({tuple(row.tolist()) for row in bands[:, 0]}) > 100, "each utterance has masks of its own"


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_widths_and_places_are_uniform(strength: float) -> None:
    torch.manual_seed(0)
    batch, n_mels, frames = 20_000, 80, 100
    features, lengths = torch.ones(batch, 1, n_mels), torch.ones(batch, dtype=torch.long)
    module = augmenter(time_masks=0, freq_masks=1, freq_width=26)
    module.strength = strength
    hidden = module(features, lengths)[:, 0] == 0
    counts = torch.bincount(hidden.sum(1), minlength=n_mels + 1)
    largest = int(26 * strength)
    assert counts[largest + 1 :].sum() == 0
    expected = batch / (largest + 1)
    assert (counts[: largest + 1] - expected).abs().max() < 6 * expected**0.5
    share = hidden.float().mean(0)
    torch.testing.assert_close(share, share.flip(0), atol=0.02, rtol=0)  # as often on the left as on the right

    features, lengths = torch.ones(batch, frames, 1), torch.full((batch,), frames)
    module = augmenter(time_masks=1, freq_masks=0, time_width=0.2)
    module.strength = strength
    counts = torch.bincount((module(features, lengths)[:, :, 0] == 0).sum(1), minlength=frames + 1)
    largest = int(20 * strength)
    assert counts[largest + 1 :].sum() == 0
    assert counts[largest] > 0


def test_time_masks_are_shares_of_each_utterance_and_spare_padding() -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([400, 100, 20, 1, 0]).repeat(200)
    features = torch.full((1000, 400, 10), 5.0)
    output = augmenter(freq_masks=2, freq_width=10, time_masks=1, time_width=0.1)(features, lengths)
    for index, length in enumerate(lengths.tolist()):
        assert (output[index, length:] == 5).all()
    stretches = augmenter(freq_masks=0, time_masks=1, time_width=0.1)(features, lengths)[:, :, 0] == 0
    for length, largest in ((400, 40), (100, 10), (20, 2), (1, 0), (0, 0)):
        assert int(stretches[lengths == length].sum(1).max()) == largest
        # The last real frame is reached, too.
        assert largest == 0 or stretches[lengths == length][:, length - 1].any()


def test_masks_repeat_under_a_seed() -> None:
    features, lengths = torch.ones(4, 200, 80), torch.full((4,), 200)
    module = augmenter()
    torch.manual_seed(7)
    first, second = module(features, lengths), module(features, lengths)
    torch.manual_seed(7)
    assert torch.equal(module(features, lengths), first)
    assert not torch.equal(first, second)


def test_no_masks_and_masks_wider_than_the_spectrum() -> None:
    features, lengths = torch.ones(50, 30, 8), torch.full((50,), 30)
    assert torch.equal(augmenter(freq_masks=0, time_masks=0)(features, lengths), features)
    torch.manual_seed(0)
    hidden = augmenter(freq_masks=1, freq_width=100, time_masks=0)(features, lengths)[:, 0] == 0
    assert int(hidden.sum(1).max()) == 8


def test_spec_augment_keeps_type_and_passes_gradients() -> None:
    features = torch.ones(4, 200, 80, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = augmenter()(features, torch.full((4,), 200))
    assert output.dtype == torch.bfloat16
    output.sum().backward()
    assert features.grad is not None
    assert torch.equal(features.grad != 0, output != 0)


def test_strength_is_not_part_of_the_weights() -> None:
    assert augmenter().state_dict() == {}


def test_compiled_modules_agree_and_do_not_compile_again() -> None:
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    features, lengths = torch.ones(4, 200, 80), torch.full((4,), 200)
    module = augmenter()
    compiled = torch.compile(module, backend=backend, fullgraph=True)
    for strength in (1.0, 0.7, 0.3):
        module.strength = strength
        torch.manual_seed(0)
        expected = module(features, lengths)
        torch.manual_seed(0)
        assert torch.equal(compiled(features, lengths), expected)
    assert len(graphs) == 1


# Speed perturbation


@pytest.mark.parametrize("speed", [0.9, 1.1, 0.5, 2.0])
def test_speed_changes_length_and_pitch(speed: float) -> None:
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(16_001) / RATE)).astype(np.float32)
    perturbed = speed_perturb(tone, speed, RATE)
    assert perturbed.dtype == np.float32
    assert len(perturbed) == round(16_001 / speed)
    peak = np.abs(np.fft.rfft(perturbed)).argmax() * RATE / len(perturbed)
    assert peak == pytest.approx(440 * speed, abs=2)
    assert np.abs(perturbed[500:-500]).max() == pytest.approx(0.5, abs=0.01)


def test_speed_one_changes_nothing() -> None:
    samples = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    assert np.array_equal(speed_perturb(samples, 1.0, RATE), samples)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
def test_impossible_speed(speed: float) -> None:
    with pytest.raises(ValueError, match="speed must be positive"):
        speed_perturb(np.zeros(RATE, np.float32), speed, RATE)
