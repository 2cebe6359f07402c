"""Positional encodings against their formula, written as loops."""

import math

import numpy as np
import pytest
import torch
from model_checks import assert_same

from asr_tutorial.positional import (
    LearnedPositionalEncoding,
    NoPositionalEncoding,
    SinusoidalPositionalEncoding,
    positional_encoding,
)


def by_loops(length: int, d_model: int, offset: int = 0) -> torch.Tensor:
    """Vaswani et al. 2017, section 3.5, one number at a time, in float64: (length, d_model)."""
    table = np.zeros((length, d_model))
    for row in range(length):
        for i in range(d_model // 2):
            angle = (offset + row) / 10_000 ** (2 * i / d_model)
            table[row, 2 * i] = math.sin(angle)
            table[row, 2 * i + 1] = math.cos(angle)
    return torch.from_numpy(table).float()


@pytest.mark.parametrize("d_model", [2, 8, 30])
def test_sinusoidal_encoding_is_the_formula(d_model):
    got = SinusoidalPositionalEncoding(d_model, max_length=50)(torch.zeros(1, 50, d_model))[0]
    assert_same(got, by_loops(50, d_model), "even columns are sines, odd ones cosines, of t / 10000^(2i / d_model)")


def test_late_positions_stay_exact():
    got = SinusoidalPositionalEncoding(16)(torch.zeros(1, 10, 16), offset=4990)[0]
    assert_same(got, by_loops(10, 16, 4990), "rounding must not blur late positions", tolerance=2e-3)


@pytest.mark.parametrize("encoding", [SinusoidalPositionalEncoding, LearnedPositionalEncoding])
def test_encoding_is_added_to_every_row_of_the_batch(encoding):
    torch.manual_seed(0)
    module, x = encoding(8, 20), torch.randn(3, 6, 8)
    added = module(x) - x
    for row in range(1, 3):
        assert_same(added[row], added[0], "what is added depends on the position, not on the row of the batch")


@pytest.mark.parametrize("encoding", [SinusoidalPositionalEncoding, LearnedPositionalEncoding])
def test_offset_continues_where_an_earlier_call_ended(encoding):
    torch.manual_seed(0)
    module, x = encoding(8, 20), torch.randn(2, 10, 8)
    pieces = torch.cat([module(x[:, :4]), module(x[:, 4:], offset=4)], dim=1)
    assert_same(pieces, module(x), "token 4 of a step-by-step search is at position 4, not at 0")


@pytest.mark.parametrize("encoding", [SinusoidalPositionalEncoding, LearnedPositionalEncoding])
@pytest.mark.parametrize(("length", "offset", "last"), [(21, 0, 20), (1, 20, 20), (5, 18, 22)])
def test_positions_beyond_the_table_are_refused(encoding, length, offset, last):
    module = encoding(8, 20)
    assert module(torch.zeros(1, 20, 8)).shape == (1, 20, 8), "max_length positions fit"
    with pytest.raises(ValueError, match=rf"position {last} .*20 positions.*model\.max_length"):
        module(torch.zeros(1, length, 8), offset)


def test_sinusoidal_encoding_has_nothing_to_train_or_to_save():
    module = SinusoidalPositionalEncoding(8, 20)
    assert list(module.parameters()) == []
    assert module.state_dict() == {}, "the table follows from its size: a checkpoint need not hold it"


def test_learned_encoding_trains_the_positions_that_were_used():
    module = LearnedPositionalEncoding(8, 20)
    module(torch.zeros(2, 3, 8), offset=5).sum().backward()
    used = (module.table.grad != 0).any(dim=1).nonzero()[:, 0].tolist()
    assert used == [5, 6, 7], f"3 positions from offset 5 on: gradients belong to rows 5, 6, 7, got {used}"
    assert "table" in module.state_dict(), "what is learnt must be saved"


def test_no_encoding_adds_nothing():
    x = torch.randn(2, 3, 7)
    assert torch.equal(NoPositionalEncoding()(x, offset=100_000), x)


def test_sines_and_cosines_need_an_even_width():
    with pytest.raises(ValueError, match=r"even.*7"):
        SinusoidalPositionalEncoding(7)


@pytest.mark.parametrize(
    ("kind", "module"),
    [
        ("sinusoidal", SinusoidalPositionalEncoding),
        ("learned", LearnedPositionalEncoding),
        ("none", NoPositionalEncoding),
    ],
)
def test_configuration_names_an_encoding(kind, module):
    assert isinstance(positional_encoding(kind, 8, 20), module)
