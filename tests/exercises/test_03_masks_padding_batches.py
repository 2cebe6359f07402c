"""Chapter 03: masks mean "may be attended", and what stands behind an utterance's end never matters."""

from __future__ import annotations

import pytest
import torch
from teaching import expect, same
from torch import Tensor, nn

from asr_tutorial.attention import MultiHeadAttention
from asr_tutorial.dataset.batch import pad_features, pad_tokens
from asr_tutorial.dataset.sampler import BatchPlan, padding_share, sequential_batches
from asr_tutorial.masks import (
    causal_mask,
    combine_masks,
    key_mask,
    padding_mask,
    to_torch_attention_mask,
    to_torch_key_padding_mask,
)

WHY_BOOLEAN = (
    "masks are boolean in this course. PyTorch gives numbers another meaning: a float mask is *added to the scores*, "
    "so that 1.0 and 0.0 hide nothing at all, and no error is raised."
)


def boolean(mask: object) -> None:
    got = f"dtype {mask.dtype}" if isinstance(mask, Tensor) else f"a {type(mask).__name__}"
    expect(isinstance(mask, Tensor) and mask.dtype == torch.bool, "a tensor of dtype torch.bool", got, WHY_BOOLEAN)


def same_mask(mask: object, expected: list, why: str) -> None:
    """As ``same``, for masks of a few rows: prints True and False."""
    wanted = torch.tensor(expected)
    if not isinstance(mask, Tensor) or mask.shape != wanted.shape:
        same(mask, wanted, why)
    expect(torch.equal(mask.double(), wanted.double()), table(wanted), table(mask), why)


def table(mask: Tensor) -> str:
    return ("\n" + 10 * " ").join(str(row) for row in mask.tolist())


def has_shape(tensor: object, shape: tuple[int, ...], why: str) -> None:
    got = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
    expect(got == shape, f"shape {shape}", f"shape {got}" if isinstance(tensor, Tensor) else got, why)


def lengths_of(*lengths: int) -> Tensor:
    return torch.tensor(lengths)


# -------------------------------------------------------------------------------------------------- 3.1 padding_mask


@pytest.mark.exercise("3.1")
def test_true_stands_on_the_real_positions():
    same_mask(
        padding_mask(lengths_of(3, 1, 2)),
        [[True, True, True], [True, False, False], [True, True, False]],
        "lengths 3, 1, 2: row 1 has one real position, so exactly one True, at its start. True means real; positions "
        "are counted from 0, so the position with the number `length` is padding already.",
    )


@pytest.mark.exercise("3.1")
def test_mask_is_boolean():
    boolean(padding_mask(lengths_of(3, 1)))


@pytest.mark.exercise("3.1")
def test_max_length_sets_the_time_axis():
    mask = padding_mask(lengths_of(2, 1), max_length=4)
    why = "features are often padded further than the longest utterance, to a multiple of 8 or 32; the mask must fit."
    has_shape(mask, (2, 4), "max_length=4 asks for four positions: " + why)
    same_mask(
        mask, [[True, True, False, False], [True, False, False, False]], "everything behind the lengths is padding."
    )


@pytest.mark.exercise("3.1")
def test_each_row_has_as_many_true_as_its_length():
    lengths = lengths_of(7, 0, 12, 1, 11)
    mask = padding_mask(lengths, 12)
    same(mask.sum(dim=1), lengths, "the number of True in a row is the length of that utterance, 0 included.")


def probe_padding_mask(m):
    for lengths, max_length in (((3, 1, 0), None), ((2, 1), 4), ((5, 2, 4, 4), 7)):
        mask = m.padding_mask(torch.tensor(lengths), max_length)
        yield mask
        yield str(mask.dtype)


# --------------------------------------------------------------------------------------------------- 3.2 causal_mask


@pytest.mark.exercise("3.2")
def test_a_position_sees_itself_and_the_past():
    same_mask(
        causal_mask(3),
        [[True, False, False], [True, True, False], [True, True, True]],
        "row = the position that looks (query), column = the position looked at (key). Position 0 sees itself only, "
        "position 2 sees 0, 1 and 2.",
    )


@pytest.mark.exercise("3.2")
def test_causal_mask_is_boolean():
    boolean(causal_mask(4))


@pytest.mark.exercise("3.2")
def test_no_row_is_empty():
    mask = causal_mask(5)
    same(
        mask.sum(dim=1),
        [1, 2, 3, 4, 5],
        "position i may attend to i + 1 positions: 0 to i. If a position could not see itself, the first one "
        "(SOS, where decoding starts) would see nothing.",
    )


@pytest.mark.exercise("3.2")
def test_what_comes_later_does_not_change_what_came_before():
    torch.manual_seed(0)
    attention = MultiHeadAttention(8, 2)
    x = torch.randn(1, 6, 8)
    changed = x.clone()
    changed[:, 4:] += 5.0
    with torch.no_grad():
        before, after = (attention(y, y, y, causal_mask(6))[0] for y in (x, changed))
    same(
        after[:, :4],
        before[:, :4],
        "tokens 4 and 5 were changed, and the outputs at positions 0 to 3 moved: they saw the future. In training such "
        "a decoder copies the answer from its input; in decoding the answer is not there.",
    )
    expect(
        (after[:, 4:] - before[:, 4:]).abs().max() > 1e-3,
        "outputs at positions 4 and 5 that follow their inputs",
        "no change",
        "a position that cannot see itself does not know which token it stands on.",
    )


def probe_causal_mask(m):
    for size in (1, 3, 6):
        mask = m.causal_mask(size)
        yield mask
        yield str(mask.dtype)


# ------------------------------------------------------------------------------------------ 3.3 key_mask, combine_masks


@pytest.mark.exercise("3.3")
def test_key_mask_gets_an_axis_for_the_queries():
    padding = torch.tensor([[True, True, True], [True, False, False]])
    mask = key_mask(padding)
    has_shape(
        mask,
        (2, 1, 3),
        "(batch, keys) becomes (batch, 1, keys). The axis of size 1 stands where the queries stand in the scores "
        "(batch, queries, keys), so that one row of permissions serves all queries.",
    )
    boolean(mask)
    same_mask(mask[:, 0], padding.tolist(), "what is allowed is exactly what is real.")


@pytest.mark.exercise("3.3")
def test_every_query_sees_the_real_keys_and_no_other():
    padding = torch.tensor([[True, True, True, False], [True, False, False, False]])
    allowed = key_mask(padding).expand(2, 5, 4)  # cross-attention: 5 queries, 4 keys
    for query in range(5):
        same_mask(
            allowed[:, query],
            padding.tolist(),
            f"query {query} must see the same real keys as every other query: padding is a property of the keys, not "
            "of the queries.",
        )


@pytest.mark.exercise("3.3")
def test_combined_mask_by_hand():
    padding = torch.tensor([[True, True, True], [True, True, False]])
    causal = torch.tensor([[True, False, False], [True, True, False], [True, True, True]])
    mask = combine_masks(padding, causal)
    has_shape(mask, (2, 3, 3), "one (queries, keys) table for each utterance: (batch, queries, keys).")
    boolean(mask)
    same_mask(mask[0], causal.tolist(), "utterance 0 has no padding, so only the future is forbidden.")
    same_mask(
        mask[1],
        [[True, False, False], [True, True, False], [True, True, False]],
        "utterance 1 has two real keys: a key is allowed when it is real *and* does not lie in the future.",
    )


@pytest.mark.exercise("3.3")
def test_combined_mask_of_few_queries_and_many_keys():
    # A cached decoder asks with the last two of four tokens.
    padding = torch.tensor([[True, True, True, True], [True, True, True, False], [True, False, False, False]])
    causal = torch.tensor([[True, True, True, False], [True, True, True, True]])
    mask = combine_masks(padding, causal)
    has_shape(mask, (3, 2, 4), "rows are queries (here 2), columns are keys (here 4).")
    same_mask(mask[1], [[True, True, True, False], [True, True, True, False]], "key 3 of utterance 1 is padding.")
    same_mask(mask[2], [[True, False, False, False]] * 2, "utterance 2 has one real key, for both queries.")


@pytest.mark.exercise("3.3")
def test_padding_never_reaches_a_real_position():
    torch.manual_seed(0)
    attention = MultiHeadAttention(8, 2)
    padding = torch.tensor([[True] * 5, [True, True, True, False, False]])
    x = torch.randn(2, 5, 8)
    garbage = torch.where(padding[..., None], x, torch.tensor(100.0))
    causal = torch.ones(5, 5, dtype=torch.bool).tril()
    with torch.no_grad():
        for name, mask in (("key_mask", key_mask(padding)), ("combine_masks", combine_masks(padding, causal))):
            before, after = (attention(y, y, y, mask)[0][1, :3] for y in (x, garbage))
            same(
                after,
                before,
                f"{name}: only padded positions were overwritten, yet the output of real positions moved. Then what an "
                "utterance means depends on how much padding its batch happens to have.",
            )


def probe_key_and_combined_masks(m):
    padding = torch.tensor([[True, True, True, True], [True, True, False, False], [True, False, False, False]])
    causal = torch.ones(4, 4, dtype=torch.bool).tril()
    yield m.key_mask(padding)
    yield m.combine_masks(padding, causal)
    try:
        yield m.combine_masks(padding, causal[2:])
    except RuntimeError:
        yield "few queries do not fit"


# ----------------------------------------------------------------------------------------- 3.4 pad_features, pad_tokens


@pytest.mark.exercise("3.4")
def test_features_are_stacked_with_zeros_behind_their_ends():
    one, two = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), torch.tensor([[7.0, 8.0]])
    same(
        pad_features([one, two], 3),
        [[[1, 2], [3, 4], [5, 6]], [[7, 8], [0, 0], [0, 0]]],
        "(batch, time, n_mels): each utterance starts at time 0, and zeros follow its last frame.",
    )


@pytest.mark.exercise("3.4")
def test_time_may_be_longer_than_the_longest_utterance():
    padded = pad_features([torch.ones(2, 4), torch.ones(5, 4)], 8)
    has_shape(
        padded,
        (2, 8, 4),
        "`time` is the length of the common axis, also where it is more than the longest utterance needs: a few "
        "different shapes run faster than a new one at every step.",
    )
    same(padded.sum(dim=(1, 2)), [8.0, 20.0], "no frame may be lost, and what is added is zero.")


@pytest.mark.exercise("3.4")
def test_tokens_are_filled_up_with_pad():
    same(
        pad_tokens([[5, 6, 7], [8]], 4, pad=9),
        [[5, 6, 7, 9], [8, 9, 9, 9]],
        "the id of PAD is an argument, because only the tokenizer knows it. 0 may well be another token, and the loss "
        "would then train on it.",
    )


@pytest.mark.exercise("3.4")
def test_tokens_stay_whole_numbers():
    tokens = pad_tokens([[1, 2], [3]], 2, pad=0)
    expect(
        isinstance(tokens, Tensor) and tokens.dtype == torch.int64,
        "dtype torch.int64",
        getattr(tokens, "dtype", type(tokens).__name__),
        "tokens are row numbers of an embedding table, and nn.Embedding refuses floats.",
    )


@pytest.mark.exercise("3.4")
def test_an_empty_transcript_is_a_row_of_pad():
    padded = pad_tokens([[], [4, 4]], 3, pad=7)
    same(padded, [[7, 7, 7], [4, 4, 7]], "an utterance in which nothing is said is allowed: its row is PAD alone.")


@pytest.mark.exercise("3.4")
def test_padding_is_undone_by_the_lengths():
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(frames, 3, generator=generator) for frames in (4, 1, 6)]
    before = [utterance.clone() for utterance in features]
    padded = pad_features(features, 7)
    for row, (utterance, original) in enumerate(zip(features, before, strict=True)):
        same(padded[row, : len(original)], original, "the first `length` frames of a row are the utterance itself.")
        same(utterance, original, "the utterances handed in must stay as they were: the next epoch reads them again.")


def probe_padding(m):
    yield m.pad_features([torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0, 6.0]])], 4)
    yield m.pad_features([torch.full((1, 2), 2.0), torch.full((3, 2), 3.0)], 3)
    for sequences, length, pad in (([[5, 6, 7], [8]], 4, 9), ([[], [1]], 2, 3)):
        tokens = m.pad_tokens(sequences, length, pad)
        yield tokens
        yield str(tokens.dtype)


# --------------------------------------------------------------- 3.5 to_torch_key_padding_mask, to_torch_attention_mask


@pytest.mark.exercise("3.5")
def test_key_padding_mask_says_what_to_ignore():
    padding = torch.tensor([[True, True, True], [True, False, False]])
    mask = to_torch_key_padding_mask(padding)
    same_mask(mask, [[False, False, False], [False, True, True]], "nn.MultiheadAttention: True = ignore this key.")
    boolean(mask)


@pytest.mark.exercise("3.5")
def test_attention_mask_of_one_table_for_all():
    causal = torch.tensor([[True, False], [True, True]])
    mask = to_torch_attention_mask(causal, num_heads=4)
    same_mask(mask, [[False, True], [False, False]], "a (queries, keys) table serves every utterance and every head.")
    boolean(mask)


@pytest.mark.exercise("3.5")
def test_attention_mask_has_a_table_for_each_head_of_each_utterance():
    mask = torch.ones(2, 5, 4, dtype=torch.bool)
    has_shape(
        to_torch_attention_mask(mask, num_heads=3),
        (6, 5, 4),
        "with a table for each utterance PyTorch wants (batch * num_heads, queries, keys).",
    )


@pytest.mark.exercise("3.5")
def test_pytorch_attends_where_the_combined_mask_allows():
    torch.manual_seed(0)
    attention, x = nn.MultiheadAttention(12, num_heads=3, batch_first=True), torch.randn(2, 4, 12)
    causal = torch.ones(4, 4, dtype=torch.bool).tril()
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])[:, None, :] & causal
    _, weights = attention(
        x, x, x, attn_mask=to_torch_attention_mask(mask, num_heads=3), average_attn_weights=False
    )  # (batch, heads, queries, keys)
    for head in range(3):
        same(
            weights[:, head] > 0,
            mask,
            f"head {head} attends to other keys than the mask allows. PyTorch lays out batch * num_heads with the "
            "heads of one utterance next to each other: utterance 0 head 0, utterance 0 head 1, ...",
        )


def probe_converters(m):
    padding = torch.tensor([[True, True, True], [True, False, False]])
    causal = torch.ones(3, 3, dtype=torch.bool).tril()
    outputs = [m.to_torch_key_padding_mask(padding), m.to_torch_attention_mask(causal, 2)]
    outputs.append(m.to_torch_attention_mask(padding[:, None, :] & causal, 2))
    for mask in outputs:
        yield mask
        yield str(mask.dtype)


# -------------------------------------------------------------------------------- 3.6 sequential_batches, padding_share


@pytest.mark.exercise("3.6")
def test_share_of_two_batches_by_hand():
    share = padding_share([BatchPlan(10, [0, 1]), BatchPlan(4, [2])], [10, 4, 4])
    same(
        share,
        0.25,
        "batch 0 holds 2 x 10 = 20 frames, batch 1 holds 4: 24 together. 10 + 4 + 4 = 18 are real, so 6 of 24 are "
        "padding. The share is taken over all frames of the epoch, because that is what the machine computes on.",
    )


@pytest.mark.exercise("3.6")
def test_nothing_padded_and_nothing_planned():
    same(padding_share([BatchPlan(3, [0]), BatchPlan(2, [1])], [3, 2]), 0.0, "no batch is longer than its utterances.")
    same(padding_share([], []), 0.0, "an epoch without batches has no padding: 0, not a division by zero.")


@pytest.mark.exercise("3.6")
def test_longest_first_and_each_once():
    lengths = [30, 10, 50, 20, 40]
    plans = sequential_batches(lengths, batch_frames=100)
    order = [index for plan in plans for index in plan.indices]
    same(order, [2, 4, 0, 3, 1], "every utterance once, from the longest (50 frames, number 2) to the shortest.")
    same(
        [plan.frames for plan in plans],
        [50, 30],
        "50 and 40 fill 2 x 50 = 100 frames; 30, 20 and 10 fill 3 x 30 = 90. A batch is as long as its longest one.",
    )


@pytest.mark.exercise("3.6")
def test_batches_stay_within_the_budget():
    lengths = [61, 17, 33, 48, 90, 25, 52, 70, 12, 44, 39]
    for plan in sequential_batches(lengths, batch_frames=150):
        expect(
            plan.frames * len(plan.indices) <= 150,
            "at most 150 frames in a batch, padding included",
            f"{len(plan.indices)} utterances of {plan.frames} frames: {plan.frames * len(plan.indices)}",
            "padding takes as much memory as speech; a budget that counts real frames alone runs out of it.",
        )
        expect(
            plan.frames >= max(lengths[index] for index in plan.indices),
            "a padded length that the longest utterance fits in",
            f"{plan.frames} frames for {[lengths[index] for index in plan.indices]}",
            "an utterance that is longer than its batch would be cut.",
        )


@pytest.mark.exercise("3.6")
def test_padded_length_is_rounded_up():
    plans = sequential_batches([30, 21, 20], batch_frames=64, frame_multiple=8)
    same(
        [plan.frames for plan in plans],
        [32, 24],
        "30 is padded to 32 (21 shares that batch) and 20 to 24: multiples of 8.",
    )
    same([len(plan.indices) for plan in plans], [2, 1], "2 x 32 fill the 64 frames: the budget counts padded lengths.")


@pytest.mark.exercise("3.6")
def test_too_long_for_the_budget_is_a_batch_of_its_own():
    plans = sequential_batches([200, 10, 10], batch_frames=100)
    same([len(plan.indices) for plan in plans], [1, 2], "no utterance is dropped: 200 frames get a batch of their own.")


def probe_batches(m):
    for lengths, budget, multiple in (
        ([30, 10, 50, 20, 41], 100, 1),
        ([61, 17, 33, 48, 90, 25], 150, 8),
        ([200, 11, 10], 100, 1),
    ):
        plans = m.sequential_batches(lengths, budget, multiple)
        yield [int(plan[0]) for plan in plans]
        yield [int(index) for plan in plans for index in plan[1]]
        yield [len(plan[1]) for plan in plans]
    yield m.padding_share([m.BatchPlan(10, [0, 1]), m.BatchPlan(4, [2])], [10, 5, 3])
    yield m.padding_share([m.BatchPlan(8, [1, 0]), m.BatchPlan(30, [2])], [5, 8, 30])


PROBES = {
    "3.1": probe_padding_mask,
    "3.2": probe_causal_mask,
    "3.3": probe_key_and_combined_masks,
    "3.4": probe_padding,
    "3.5": probe_converters,
    "3.6": probe_batches,
}
