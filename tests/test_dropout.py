"""Dropout drops the right share, everywhere alike, and keeps the mean."""

import pytest
import torch

from asr_tutorial.dropout import Dropout


def rounded(p: float) -> float:
    """The probability that the CPU really uses: one random byte decides."""
    return round(p * 256) / 256


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_share_of_zeros_and_mean(p):
    torch.manual_seed(0)
    y = Dropout(p)(torch.ones(1000, 400))
    share = float((y == 0).float().mean())
    assert share == pytest.approx(p, abs=0.005), f"p={p}: expected that share of zeros, got {share:.4f}"
    assert float(y.mean()) == pytest.approx(1.0, abs=0.01), (
        f"the mean must be kept, so that evaluation sees the scale of training; ones came out with mean {y.mean():.4f}"
    )


@pytest.mark.parametrize("p", [0.1, 0.3])
def test_scale_belongs_to_the_probability_really_used(p):
    torch.manual_seed(0)
    y = Dropout(p)(torch.ones(10_000))
    expected = 1 / (1 - rounded(p))
    assert torch.allclose(y[y > 0], torch.tensor(expected)), (
        f"{p} is rounded to {rounded(p)}: kept values are scaled by {expected:.6f}, got {y.max():.6f}"
    )


def test_every_position_is_equally_likely_to_be_dropped():
    torch.manual_seed(0)
    y = Dropout(0.1)(torch.ones(20_000, 8))
    shares = (y == 0).float().mean(dim=0)
    assert (shares - 0.1).abs().max() < 0.015, (
        "each of the eight bytes of a random 64-bit number must drop as often as the others, but the shares are "
        f"{[round(share, 3) for share in shares.tolist()]}: a sign bit that is never set makes one byte too small"
    )


def test_neighbours_are_dropped_independently():
    torch.manual_seed(0)
    dropped = (Dropout(0.5)(torch.ones(20_000, 8)) == 0).float()
    correlation = torch.corrcoef(dropped.T) - torch.eye(8)
    assert correlation.abs().max() < 0.04, f"bytes of one draw must be independent, correlation\n{correlation}"


def test_gradient_is_mask_times_scale():
    torch.manual_seed(0)
    x = torch.randn(37, 5, requires_grad=True)
    y = Dropout(0.25)(x)
    y.sum().backward()
    expected = (y != 0) / (1 - 0.25)
    assert torch.equal(x.grad, expected), "a kept element passes its gradient times the scale, a dropped one none"


@pytest.mark.parametrize("p", [0.0, 0.4])
def test_evaluation_changes_nothing(p):
    x = torch.randn(4, 5)
    assert torch.equal(Dropout(p).eval()(x), x), "dropout is for training only"


def test_zero_probability_changes_nothing_in_training():
    x = torch.randn(4, 5)
    assert torch.equal(Dropout(0.0)(x), x), "p=0 drops nothing and scales by 1"


def test_same_seed_same_mask_and_every_call_a_new_one():
    x, dropout = torch.ones(50, 7), Dropout(0.5)
    torch.manual_seed(3)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(3)
    assert torch.equal(dropout(x), first), "torch.manual_seed must reproduce a mask, or a run cannot be repeated"
    assert not torch.equal(first, second), "each call draws a new mask"


@pytest.mark.parametrize("shape", [(), (1,), (7,), (9,), (0, 3), (3, 5, 7)])
def test_sizes_that_are_no_multiple_of_eight(shape):
    y = Dropout(0.5)(torch.ones(shape))
    assert y.shape == shape, f"the shape stays {shape}, got {tuple(y.shape)}"
    assert set(y.flatten().tolist()) <= {0.0, 2.0}, f"ones become 0 or 1 / (1 - 0.5) = 2, got {y}"


def test_a_transposed_input_keeps_its_values():
    torch.manual_seed(0)
    x = torch.arange(1.0, 36.0).view(5, 7).T
    y = Dropout(0.5)(x)
    assert torch.equal(y, torch.where(y == 0, 0.0, 2 * x)), "a kept element is its own value times the scale"


def test_bfloat16_stays_bfloat16():
    y = Dropout(0.5)(torch.ones(100, dtype=torch.bfloat16))
    assert y.dtype == torch.bfloat16, f"half precision must not turn into {y.dtype}"
    assert set(y.tolist()) == {0.0, 2.0}


def test_a_probability_close_to_one_still_keeps_something():
    torch.manual_seed(0)
    y = Dropout(0.999)(torch.ones(100_000))
    assert torch.isfinite(y).all(), "p < 1 must never divide by zero, however close to 1"
    assert 0 < (y > 0).float().mean() < 0.01, "p=0.999 keeps few elements, but some"


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan")])
def test_impossible_probabilities_are_refused(p):
    with pytest.raises(ValueError, match=f"at least 0 and less than 1, got {p}"):
        Dropout(p)
