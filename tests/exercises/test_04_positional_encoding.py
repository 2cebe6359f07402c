"""Exercises of chapter 04: the sinusoidal table, adding it, shifting it, and rotary positions."""

import math

import numpy as np
import pytest
import torch
from teaching import expect, same

from asr_tutorial.positional import (
    LearnedPositionalEncoding,
    SinusoidalPositionalEncoding,
    encodings_at,
    frequencies,
    rotate_by_position,
    shift_matrix,
)

BOTH = pytest.mark.parametrize("encoding", [SinusoidalPositionalEncoding, LearnedPositionalEncoding])


def by_loops(length: int, d_model: int) -> np.ndarray:
    """The formula of the paper, one number at a time, in float64: (length, d_model)."""
    table = np.zeros((length, d_model))
    for t in range(length):
        for i in range(d_model // 2):
            angle = t / 10_000 ** (2 * i / d_model)
            table[t, 2 * i], table[t, 2 * i + 1] = math.sin(angle), math.cos(angle)
    return table


# ------------------------------------------------------------------------------------------------ 4.1 the table


@pytest.mark.exercise("4.1")
def test_frequencies_by_hand():
    same(
        frequencies(4),
        [1.0, 0.01],
        "d_model = 4 has two pairs: 1 / 10000^(0/4) = 1 and 1 / 10000^(2/4) = 1 / 100. Pair 0 is the fast hand of the "
        "clock, the last pair the slow one",
    )
    same(
        frequencies(8),
        [1.0, 0.1, 0.01, 0.001],
        "each pair is slower than the one before by the same factor, here 10000^(2/8) = 10. The exponent counts "
        "dimensions, 2i, and not pairs, i",
    )


@pytest.mark.exercise("4.1")
def test_frequencies_of_a_width_that_is_no_power_of_two():
    same(
        frequencies(6),
        [1.0, 10_000 ** (-1 / 3), 10_000 ** (-2 / 3)],
        "with d_model = 6 the exponents are 0/6, 2/6 and 4/6: one frequency for each pair, three in all",
    )


@pytest.mark.exercise("4.1")
def test_table_by_hand():
    same(
        SinusoidalPositionalEncoding.make_table(4, 3),
        [[0.0, 1.0, 0.0, 1.0], [0.8415, 0.5403, 0.0100, 0.9999], [0.9093, -0.4161, 0.0200, 0.9998]],
        "row t is sin(t), cos(t), sin(t / 100), cos(t / 100). Positions count from 0, so row 0 is 0, 1, 0, 1; sine and "
        "cosine of a pair lie side by side",
        tolerance=1e-4,
    )


@pytest.mark.exercise("4.1")
def test_table_has_a_row_for_each_position_in_float32():
    table = SinusoidalPositionalEncoding.make_table(6, 11)
    expect(
        table.shape == (11, 6) and table.dtype == torch.float32,
        "a float32 tensor of shape (11, 6), that is (max_length, d_model)",
        f"{table.dtype} of shape {tuple(table.shape)}",
        "rows are positions and columns are dimensions; a float64 table would turn all that it is "
        "added to into float64",
    )


@pytest.mark.exercise("4.1")
@pytest.mark.parametrize(("d_model", "length"), [(2, 9), (10, 40), (16, 5)])
def test_table_is_the_formula(d_model, length):
    same(
        SinusoidalPositionalEncoding.make_table(d_model, length),
        by_loops(length, d_model),
        f"for d_model = {d_model}, column 2i must be sin(t / 10000^(2i / {d_model})) and column 2i + 1 the cosine of "
        "the same angle",
    )


@pytest.mark.exercise("4.1")
def test_each_pair_is_a_point_on_a_circle():
    table = SinusoidalPositionalEncoding.make_table(8, 30)
    same(
        table.view(30, 4, 2).square().sum(-1),
        np.ones((30, 4)),
        "dimensions 2i and 2i + 1 are the sine and the cosine of one angle, so their squares add up to 1. Without "
        "that, a shift in time is not a rotation, and the length of an encoding would depend on the position",
    )


@pytest.mark.exercise("4.1")
def test_late_positions_are_right_too():
    same(
        SinusoidalPositionalEncoding.make_table(16, 2001)[2000],
        by_loops(2001, 16)[2000],
        "an encoder sees thousands of frames: position 2000 must still be the formula",
        tolerance=2e-3,
    )


def probe_table(m):
    yield m.frequencies(4)
    yield m.frequencies(10)
    yield m.SinusoidalPositionalEncoding.make_table(4, 3)
    yield m.SinusoidalPositionalEncoding.make_table(10, 25)


# ------------------------------------------------------------------------------------------------ 4.2 adding it


@pytest.mark.exercise("4.2")
def test_rows_are_taken_from_the_offset_on():
    table = torch.arange(12.0).view(6, 2)  # row t holds 2t and 2t + 1
    same(encodings_at(table, 3, 0), [[0, 1], [2, 3], [4, 5]], "three positions from offset 0 on are rows 0, 1 and 2")
    same(
        encodings_at(table, 3, 2),
        [[4, 5], [6, 7], [8, 9]],
        "three positions from offset 2 on are rows 2, 3 and 4. In step-by-step decoding the offset says how many "
        "tokens went before; without it every token believes that it is the first",
    )
    same(encodings_at(table, 1, 5), [[10, 11]], "one position from offset 5 on is row 5, the last that there is")


@pytest.mark.exercise("4.2")
@BOTH
def test_encoding_is_added_to_the_input(encoding):
    torch.manual_seed(0)
    module, x = encoding(4, 10), torch.randn(2, 3, 4)
    same(
        module(x),
        x + module.table[:3],
        f"{encoding.__name__}: position t of every utterance becomes x[:, t] + table[t]. Both must survive in the sum: "
        "what was said and where",
    )


@pytest.mark.exercise("4.2")
@BOTH
def test_a_batch_of_one_still_has_many_positions(encoding):
    torch.manual_seed(0)
    module = encoding(4, 10)
    same(
        module(torch.zeros(1, 6, 4))[0],
        module.table[:6],
        f"{encoding.__name__}: x is (batch, length, d_model), and positions run along the middle axis. A wrong axis "
        "shows here: one row would be added to all six positions, without any error",
    )


@pytest.mark.exercise("4.2")
@BOTH
def test_two_calls_continue_one_sequence(encoding):
    torch.manual_seed(0)
    module, x = encoding(4, 10), torch.randn(2, 7, 4)
    pieces = torch.cat([module(x[:, :3]), module(x[:, 3:], offset=3)], dim=1)
    same(
        pieces,
        module(x),
        f"{encoding.__name__}: seven tokens at once, or three and then four with offset=3, are the same sequence. A "
        "decoder that works token by token relies on this",
    )


@pytest.mark.exercise("4.2")
@BOTH
@pytest.mark.parametrize(("length", "offset"), [(11, 0), (1, 10), (4, 9)])
def test_positions_beyond_the_table_are_an_error(encoding, length, offset):
    module = encoding(4, 10)
    try:
        came = tuple(module(torch.zeros(1, length, 4), offset).shape)
    except ValueError:
        return
    raise AssertionError(
        "expected: a ValueError, from the guard at the top of encodings_at\n"
        f"     got: a result of shape {came}\n"
        f"     why: {encoding.__name__} has 10 positions, and {length} from offset {offset} on do not exist. Cutting "
        "or repeating rows would go unnoticed, and long utterances would come out wrong"
    )


@pytest.mark.exercise("4.2")
def test_learned_rows_receive_gradients():
    module, x = LearnedPositionalEncoding(4, 10), torch.zeros(2, 3, 4)
    out = module(x, offset=5)
    expect(
        out.requires_grad,
        "an output that gradients flow through",
        "an output without gradient",
        "the table of LearnedPositionalEncoding is a parameter: cut off from the graph (.data, .detach(), no_grad) it "
        "would keep its random start for ever",
    )
    out.sum().backward()
    wanted = torch.zeros(10, 4)
    wanted[5:8] = 2
    same(
        module.table.grad,
        wanted,
        "a batch of two with three tokens at offset 5 uses rows 5, 6 and 7 twice each: these rows learn, the others "
        "stay as they are",
    )


def probe_adding(m):
    table = torch.arange(40.0).view(10, 4).sin()
    yield attempt(lambda: m.encodings_at(table, 3, 0))
    yield attempt(lambda: m.encodings_at(table, 3, 2))
    yield attempt(lambda: m.encodings_at(table, 4, 8))
    x = torch.arange(24.0).view(2, 3, 4).cos()
    for cls in (m.SinusoidalPositionalEncoding, m.LearnedPositionalEncoding):
        torch.manual_seed(1)
        module = cls(4, 10)
        yield attempt(lambda module=module: module(x))
        yield attempt(lambda module=module: module(x[:1], offset=4))
        yield attempt(lambda module=module: module(x, offset=8))
    yield attempt(lambda: gradient_of_the_table(module, x))


def gradient_of_the_table(module, x):
    out = module(x, offset=2)
    if out.requires_grad:
        out.sum().backward()
    return "none" if module.table.grad is None else module.table.grad


# ------------------------------------------------------------------------------------------------ 4.3 shifting it


@pytest.mark.exercise("4.3")
def test_one_pair_one_step_by_hand():
    same(
        shift_matrix(2, 1),
        [[0.5403, 0.8415], [-0.8415, 0.5403]],
        "one pair turns by 1 radian a step: sin(t + 1) = cos(1) sin(t) + sin(1) cos(t) is the first row, "
        "cos(t + 1) = -sin(1) sin(t) + cos(1) cos(t) the second",
        tolerance=1e-4,
    )


@pytest.mark.exercise("4.3")
def test_no_step_is_the_identity():
    same(shift_matrix(6, 0), np.eye(6), "an encoding moved by 0 positions is the same encoding")


@pytest.mark.exercise("4.3")
@pytest.mark.parametrize(("d_model", "offset"), [(4, 3), (10, 7)])
def test_every_position_moves_by_the_offset(d_model, offset):
    table = torch.from_numpy(by_loops(30, d_model)).float()
    moved = table[:-offset] @ shift_matrix(d_model, offset).T
    same(
        moved,
        table[offset:],
        f"with d_model = {d_model}, R @ table[t] must be table[t + {offset}] for every t. One matrix for all positions "
        "is what lets a linear layer look 'so many steps back'",
    )


@pytest.mark.exercise("4.3")
def test_a_negative_offset_looks_back():
    table = torch.from_numpy(by_loops(12, 6)).float()
    same(
        shift_matrix(6, -4) @ table[11],
        table[7],
        "sin(-a) = -sin(a): the same formula turns the hands of the clock backwards",
    )


@pytest.mark.exercise("4.3")
def test_it_is_a_rotation():
    matrix = shift_matrix(8, 5)
    same(
        matrix @ matrix.T,
        np.eye(8),
        "a rotation keeps lengths, so its transpose is its inverse: moving on by 5 and back by 5 changes nothing",
    )
    same(
        shift_matrix(8, 2) @ shift_matrix(8, 3),
        matrix,
        "two positions further and then three are five positions further",
    )


@pytest.mark.exercise("4.3")
def test_pairs_do_not_mix():
    outside = torch.kron(torch.eye(4), torch.ones(2, 2)) == 0
    same(
        shift_matrix(8, 5)[outside],
        np.zeros(48),
        "pair i holds dimensions 2i and 2i + 1 and turns by itself: all outside the 2 x 2 blocks on "
        "the diagonal is zero",
    )


def probe_shift(m):
    yield m.shift_matrix(2, 1)
    yield m.shift_matrix(6, 4)
    yield m.shift_matrix(8, -3)


# ------------------------------------------------------------------------------------------------ 4.4 rotary


@pytest.mark.exercise("4.4")
def test_one_pair_turns_by_one_radian_a_step():
    same(
        rotate_by_position(torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])),
        [[1.0, 0.0], [0.5403, 0.8415], [-0.4161, 0.9093]],
        "the point (1, 0) stays where it is at position 0, and stands at (cos 1, sin 1) and (cos 2, sin 2) at "
        "positions 1 and 2",
        tolerance=1e-4,
    )


@pytest.mark.exercise("4.4")
def test_rotary_is_the_formula():
    torch.manual_seed(0)
    x = torch.randn(5, 6)
    wanted = np.zeros((5, 6))
    for t in range(5):
        for i in range(3):
            angle = t / 10_000 ** (2 * i / 6)
            a, b = x[t, 2 * i].item(), x[t, 2 * i + 1].item()
            wanted[t, 2 * i] = a * math.cos(angle) - b * math.sin(angle)
            wanted[t, 2 * i + 1] = a * math.sin(angle) + b * math.cos(angle)
    same(
        rotate_by_position(x),
        wanted,
        "pair i of position t turns by w_i t; pairs are neighbours, dimensions 2i and 2i + 1",
    )


@pytest.mark.exercise("4.4")
def test_turning_keeps_lengths():
    torch.manual_seed(0)
    x = torch.randn(2, 7, 8)
    same(rotate_by_position(x).norm(dim=-1), x.norm(dim=-1), "a rotation moves vectors and never stretches them")


@pytest.mark.exercise("4.4")
def test_positions_run_along_the_last_axis_but_one():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 4)  # (batch, heads, length, d_head)
    got = rotate_by_position(x)
    expect(got.shape == x.shape, f"shape {tuple(x.shape)}", f"shape {tuple(got.shape)}", "turning changes no shape")
    for head in range(3):
        same(
            got[1, head],
            rotate_by_position(x[1, head]),
            "each head turns like a sequence of its own: the position is the index in the axis before the last, not "
            "the number of the head",
        )


@pytest.mark.exercise("4.4")
def test_two_pieces_turn_like_the_whole():
    torch.manual_seed(0)
    x = torch.randn(1, 9, 4)
    pieces = torch.cat([rotate_by_position(x[:, :4]), rotate_by_position(x[:, 4:], offset=4)], dim=1)
    same(pieces, rotate_by_position(x), "the first row of a later piece is at position `offset`, not at 0")


@pytest.mark.exercise("4.4")
def test_scores_know_the_distance_only():
    torch.manual_seed(0)
    query, key = torch.randn(2, 6, 8).unbind(0)
    here = rotate_by_position(query) @ rotate_by_position(key).T
    later = rotate_by_position(query, offset=40) @ rotate_by_position(key, offset=40).T
    same(
        later,
        here,
        "moved together by 40 positions, queries and keys keep their distances, and the scores must not change: that "
        "is what rotary positions are for",
        tolerance=1e-4,
    )


def probe_rotary(m):
    x = torch.arange(48.0).view(2, 4, 6).sin()
    yield attempt(lambda: m.rotate_by_position(x))
    yield attempt(lambda: m.rotate_by_position(x, offset=3))
    yield attempt(lambda: m.rotate_by_position(torch.cat([x, -x]).view(2, 2, 4, 6)))


def attempt(call):
    """What a call gives, or the name of the error that it raises."""
    try:
        return call()
    except Exception as error:
        return type(error).__name__


PROBES = {"4.1": probe_table, "4.2": probe_adding, "4.3": probe_shift, "4.4": probe_rotary}
