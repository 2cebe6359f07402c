"""Chapter 13: integrate-and-fire by a loop and by prefix sums, counting tokens, the quantity loss, glancing."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from teaching import expect, same
from torch import Tensor
from torch.nn import functional as F

from asr_tutorial.config import Config, from_dict
from asr_tutorial.masks import padding_mask
from asr_tutorial.paraformer.cif import cif, cif_loop, quantity_loss, scale_alphas, token_counts
from asr_tutorial.paraformer.model import Predictor, glance

BY_HAND = torch.tensor([0.6, 0.8, 0.4, 0.5])
"""The example of the text: 0.6 h1 + 0.4 h2, then 0.4 h2 + 0.4 h3 + 0.2 h4; 0.3 is left over."""
TOKENS_BY_HAND = [[0.6, 0.4, 0.0, 0.0], [0.0, 0.4, 0.4, 0.2]]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def shares_of(alphas: list[float]) -> list[list[float]]:
    """What each frame gives to each token, in NumPy: the overlap of what the frame covers with what the token does."""
    after = np.cumsum(np.array(alphas, dtype=np.float64))
    before = after - np.array(alphas, dtype=np.float64)
    tokens = int(np.floor(after[-1] + 0.5))
    return [np.clip(np.minimum(after, u + 1) - np.maximum(before, u), 0, None).tolist() for u in range(tokens)]


def slope(function: Any, weights: Tensor) -> Tensor:
    """The gradient of a scalar function by small differences."""
    gradient = torch.zeros_like(weights)
    for place in np.ndindex(*weights.shape):
        step = torch.zeros_like(weights)
        step[place] = 1e-6
        gradient[place] = (function(weights + step) - function(weights - step)) / 2e-6
    return gradient


def gradient(function: Any, weights: Tensor) -> Any:
    """The gradient by autograd, or a sentence where none arrives."""
    weights = weights.clone().requires_grad_()
    value = function(weights)
    if not value.requires_grad:
        return "no gradient arrives at the weights"
    (found,) = torch.autograd.grad(value, weights, allow_unused=True)
    return "no gradient arrives at the weights" if found is None else found


# ---------------------------------------------------------------------------------------------------- 13.1
@pytest.mark.exercise("13.1")
def test_the_example_worked_by_hand():
    same(
        cif_loop(torch.eye(4), BY_HAND),
        TOKENS_BY_HAND,
        "the sum is 0.6, then 1.4: token 1 takes 0.4 of frame 2, and the other 0.4 of it begin token 2; "
        "0.3 are left at the end, too little for a third",
    )


@pytest.mark.exercise("13.1")
def test_a_heavy_frame_fires_several_times():
    same(
        cif_loop(torch.eye(2), torch.tensor([0.5, 2.75])),
        [[0.5, 0.5], [0.0, 1.0], [0.0, 1.0]],
        "frame 2 completes token 1 with 0.5, is token 2 and token 3 alone, and 0.25 of it are left over",
    )


@pytest.mark.exercise("13.1")
@pytest.mark.parametrize(("last", "tokens"), [(0.75, 2), (0.5, 2), (0.25, 1)])
def test_what_is_left_at_the_end_is_a_token_from_one_half_on(last, tokens):
    got = cif_loop(torch.eye(3), torch.tensor([0.75, 0.25, last]))
    expect(
        len(got) == tokens,
        f"{tokens} tokens",
        f"{len(got)}",
        f"the weights add up to {1 + last}: the {last} left behind the last frame are "
        + ("TAIL or more, and so a token of their own" if tokens == 2 else "less than TAIL, and lost"),
    )
    if tokens == 2:
        same(got[1], [0.0, 0.0, last], "the last token is what there is, not blown up to a weight of 1")


@pytest.mark.exercise("13.1")
def test_silence_makes_no_tokens():
    got = cif_loop(random(5, 3), torch.zeros(5))
    expect(tuple(got.shape) == (0, 3), "shape (0, 3)", tuple(got.shape), "without weight nothing fires")


@pytest.mark.exercise("13.1")
def test_a_whole_utterance():
    alphas, frames = 0.7 * uniform(60, seed=3), random(60, 4, seed=4)
    shares = torch.tensor(shares_of(alphas.tolist()), dtype=torch.float64)
    same(
        cif_loop(frames, alphas),
        shares @ frames.double(),
        "each token is the sum of frames times the weight that they give to it; all that a frame has is given away",
        tolerance=1e-4,
    )


@pytest.mark.exercise("13.1")
def test_the_weights_get_a_gradient():
    frames, direction = random(4, 3, seed=1).double(), random(2, 3, seed=2).double()

    def function(weights: Tensor) -> Tensor:
        return (cif_loop(frames, weights)[:2] * direction).sum()

    got = gradient(function, BY_HAND.double())
    same(
        got,
        slope(function, BY_HAND.double()),
        "more weight on a frame moves all boundaries behind it to the left; the predictor learns by this gradient "
        "alone where tokens are, so neither float() nor detach() may cut it off",
        tolerance=1e-4,
    )


def probe_loop(m: ModuleType) -> Iterator[Any]:
    for weights in ([0.6, 0.8, 0.4, 0.5], [0.5, 2.75, 0.1, 0.0], [0.75, 0.25, 0.75, 0.0], [0.75, 0.25, 0.5, 0.0],
                    [0.75, 0.25, 0.25, 0.0], [0.0, 0.0, 0.0, 0.0], [0.9, 0.8, 0.9, 0.75]):  # fmt: skip
        yield m.cif_loop(torch.eye(4), torch.tensor(weights))
    yield m.cif_loop(random(60, 4, seed=4), 0.7 * uniform(60, seed=3))
    direction = random(2, 4, seed=2).double()
    yield gradient(lambda w: (m.cif_loop(torch.eye(4).double(), w)[:2] * direction).sum(), BY_HAND.double())


# ---------------------------------------------------------------------------------------------------- 13.2
@pytest.mark.exercise("13.2")
@pytest.mark.parametrize(
    ("weights", "tokens", "why"),
    [
        ([0.6, 0.8, 0.4, 0.5], 2, "the sum is 2.3: two whole tokens, and the 0.3 left over are less than TAIL"),
        ([0.6, 0.8, 0.9, 0.5], 3, "the sum is 2.8: two whole tokens, and the 0.8 left over are one more"),
        ([0.5, 0.5, 0.5, 1.0], 3, "the sum is 2.5: what is left over is TAIL, and so a token"),
        ([0.5, 0.5, 0.5, 0.0], 2, "the sum is 1.5: what is left over is TAIL, and so a token"),
        ([0.5, 0.0, 0.0, 0.0], 1, "the sum is 0.5: what is left over is TAIL, and so a token"),
        ([0.1, 0.1, 0.1, 0.1], 0, "the sum is 0.4: nothing was said"),
        ([0.5, 2.75, 0.0, 0.0], 3, "a single frame may hold several tokens: what counts is the sum"),
    ],
)
def test_the_sum_rounded(weights, tokens, why):
    same(token_counts(torch.tensor([weights])), [tokens], why)


@pytest.mark.exercise("13.2")
def test_each_utterance_by_itself_and_as_whole_numbers():
    got = token_counts(torch.tensor([[0.9, 0.9, 0.3], [1.0, 0.0, 0.0]]))
    same(got, [2, 1], "one number for each utterance of the batch")
    expect(got.dtype == torch.int64, "int64", got.dtype, "counts become lengths, and lengths are whole numbers")


@pytest.mark.exercise("13.2")
def test_scaled_weights_lose_no_token():
    wanted = torch.arange(500) % 30 + 1
    weights = uniform(500, 60, seed=1) ** 2
    scaled = (weights * (wanted[:, None] / weights.sum(dim=1, keepdim=True))).float()
    wrong = int((token_counts(scaled) != wanted).sum())
    expect(
        wrong == 0,
        "the right number in each of 500 cases",
        f"{wrong} are wrong",
        "weights that were scaled to add up to 7 add up to 6.9999998 as often as to 7.0000002: both are 7 tokens",
    )


@pytest.mark.exercise("13.2")
def test_weights_that_are_not_finite_make_no_tokens():
    weights = torch.tensor([[float("nan"), 1.0], [float("inf"), 1.0], [1.0, 1.0]])
    same(
        token_counts(weights),
        [0, 0, 2],
        "one broken recording in a batch must not ask for 10^18 tokens: nothing is recognised there, and the others "
        "are left in peace",
    )


def probe_counts(m: ModuleType) -> Iterator[Any]:
    for weights in ([0.6, 0.8, 0.4, 0.5], [0.6, 0.8, 0.9, 0.5], [0.5, 0.5, 0.5, 1.0], [0.5, 0.5, 0.5, 0.0],
                    [0.5, 0.0, 0.0, 0.0], [0.1, 0.1, 0.1, 0.1], [0.5, 2.75, 0.0, 0.0]):  # fmt: skip
        yield m.token_counts(torch.tensor([weights]))
    yield m.token_counts(torch.tensor([[0.9, 0.9, 0.3], [1.0, 0.0, 0.0]]))
    yield m.token_counts(torch.tensor([[float("inf"), 1.0], [1.0, 1.0]]))


# ---------------------------------------------------------------------------------------------------- 13.3
WEIGHTS = torch.tensor([[0.5, 0.7, 0.0], [1.0, 1.0, 1.0]])


@pytest.mark.exercise("13.3")
def test_the_loss_is_the_error_of_the_sum():
    same(
        quantity_loss(WEIGHTS, torch.tensor([3, 1])),
        [1.8, 2.0],
        "0.5 + 0.7 is 1.8 short of 3 tokens; 1 + 1 + 1 is 2 more than 1. One loss for each utterance",
    )


@pytest.mark.exercise("13.3")
def test_the_loss_pulls_all_weights_the_same_way():
    same(
        gradient(lambda w: quantity_loss(w, torch.tensor([3, 1])).sum(), WEIGHTS),
        [[-1.0] * 3, [1.0] * 3],
        "too few tokens: each weight should be larger, and by how many tokens it fails does not matter for the slope "
        "of an absolute value; too many: each should be smaller",
    )


@pytest.mark.exercise("13.3")
def test_scaled_weights_add_up_to_the_number_of_tokens():
    mask = torch.ones(2, 3, dtype=torch.bool)
    same(
        scale_alphas(WEIGHTS, torch.tensor([3, 1]), mask),
        [[1.25, 1.75, 0.0], [1 / 3, 1 / 3, 1 / 3]],
        "each utterance is scaled by its own factor: 3 / 1.2 = 2.5 for the first, 1 / 3 for the second",
    )


@pytest.mark.exercise("13.3")
def test_a_silent_predictor_is_spread_over_the_real_frames():
    mask = padding_mask(torch.tensor([6, 4]))
    got = scale_alphas(torch.zeros(2, 6), torch.tensor([3, 1]), mask)
    same(
        got,
        [[0.5] * 6, [0.25] * 4 + [0.0] * 2],
        "where nothing can be scaled, each real frame gets the same share of the tokens, and padding gets none",
    )


@pytest.mark.exercise("13.3")
def test_the_gradient_passes_through_the_sum_as_well():
    mask = torch.ones(1, 2, dtype=torch.bool)
    got = gradient(lambda w: scale_alphas(w, torch.tensor([3]), mask)[0, 0], torch.tensor([[0.5, 0.7]]))
    same(
        got,
        [[3 * 0.7 / 1.44, -3 * 0.5 / 1.44]],
        "3 a / (a + b) also depends on a and b by its denominator: after scaling, more weight on one frame means less "
        "on the others",
        tolerance=1e-4,
    )


@pytest.mark.exercise("13.3")
def test_silence_has_a_finite_gradient():
    mask, wanted = torch.ones(1, 4, dtype=torch.bool), torch.tensor([2])

    def function(weights: Tensor) -> Tensor:
        return (scale_alphas(weights, wanted, mask) * torch.arange(4.0)).sum() + quantity_loss(weights, wanted).sum()

    got = gradient(function, torch.zeros(1, 4))
    expect(
        isinstance(got, Tensor) and bool(torch.isfinite(got).all()),
        "finite numbers",
        got if isinstance(got, str) else got.tolist(),
        "a division by zero in the branch that torch.where does not take still makes its gradient NaN",
    )


@pytest.mark.exercise("13.3")
def test_there_are_as_many_tokens_as_in_the_transcript():
    lengths = torch.arange(300) % 40 + 20
    mask = padding_mask(lengths, 60)
    wanted = torch.arange(300) % 19 + 1
    got = token_counts(scale_alphas(uniform(300, 60, seed=2) ** 3 * mask, wanted, mask))
    expect(
        bool((got == wanted).all()),
        "the right number of tokens in each of 300 cases",
        f"{int((got != wanted).sum())} wrong",
        "the decoder of a training needs an embedding for each token of the transcript",
    )


def probe_quantity(m: ModuleType) -> Iterator[Any]:
    wanted, mask = torch.tensor([3, 1]), torch.ones(2, 3, dtype=torch.bool)
    yield m.quantity_loss(WEIGHTS, wanted)
    yield gradient(lambda w: m.quantity_loss(w, wanted).sum(), WEIGHTS)
    yield m.scale_alphas(WEIGHTS, wanted, mask)
    yield gradient(lambda w: m.scale_alphas(w, wanted, mask)[:, 0].sum(), WEIGHTS)
    short = padding_mask(torch.tensor([6, 4]))
    yield m.scale_alphas(torch.zeros(2, 6), wanted, short)
    yield m.scale_alphas(uniform(2, 6) * short, wanted, short)


# ---------------------------------------------------------------------------------------------------- 13.4
def batch_of_weights(seed: int = 5) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([50, 31, 50, 1, 12])
    mask = padding_mask(lengths)
    return 0.8 * uniform(5, 50, seed=seed) * mask, mask


@pytest.mark.exercise("13.4")
def test_the_example_by_prefix_sums():
    got, counts = cif(torch.eye(4)[None], BY_HAND[None])
    same(counts, [2], "the number of tokens of each utterance comes back too")
    same(
        got[0],
        TOKENS_BY_HAND,
        "frame 2 covers the sum from 0.6 to 1.4: 0.4 of it lie in token 1 (0 to 1), 0.4 in token 2 (1 to 2)",
    )


@pytest.mark.exercise("13.4")
def test_a_batch_with_padding_is_as_the_loop_has_it():
    alphas, mask = batch_of_weights()
    frames = random(5, 50, 3, seed=6)
    got, counts = cif(frames, alphas)
    for row in range(5):
        loop = cif_loop(frames[row, mask[row]], alphas[row, mask[row]])
        same(counts[row], len(loop), f"utterance {row} has as many tokens as the loop makes")
        same(got[row, : len(loop)], loop, f"utterance {row}: the same embeddings, to 0.00001")


@pytest.mark.exercise("13.4")
def test_a_frame_may_hold_more_than_one_token():
    got, _ = cif(torch.eye(2)[None], torch.tensor([[0.5, 2.75]]))
    same(got[0], [[0.5, 0.5], [0.0, 1.0], [0.0, 1.0]], "frame 2 covers 0.5 to 3.25: half of token 1, all of 2 and 3")


@pytest.mark.exercise("13.4")
def test_there_is_nothing_behind_the_last_token():
    got, counts = cif(torch.eye(4)[None].repeat(2, 1, 1), torch.stack([BY_HAND, torch.full((4,), 0.9)]), max_tokens=5)
    same(counts, [2, 4], "sums 2.3 and 3.6")
    expect(tuple(got.shape) == (2, 5, 4), "shape (2, 5, 4)", tuple(got.shape), "max_tokens is the size of the axis")
    same(
        got[0, 2:],
        torch.zeros(3, 4),
        "the 0.3 left over are no token: where an utterance has no more tokens there are zeros",
    )


@pytest.mark.exercise("13.4")
def test_the_last_token_may_be_incomplete():
    got, counts = cif(torch.eye(3)[None], torch.tensor([[0.75, 0.25, 0.75]]))
    same(counts, [2], "0.75 are left over: a token")
    same(got[0], [[0.75, 0.25, 0.0], [0.0, 0.0, 0.75]], "it keeps the weight that it has")


@pytest.mark.exercise("13.4")
def test_without_weight_there_is_one_empty_place():
    got, counts = cif(random(2, 5, 3), torch.zeros(2, 5))
    same(counts, [0, 0], "nothing fires")
    same(got, torch.zeros(2, 1, 3), "the token axis has one place at least, so that a decoder can run")


@pytest.mark.exercise("13.4")
def test_embeddings_are_of_the_kind_of_the_frames():
    for dtype in (torch.float32, torch.float64):
        got, _ = cif(random(1, 4, 2).to(dtype), BY_HAND[None])
        expect(
            got.dtype == dtype, dtype, got.dtype, "sums are kept in double precision, but the decoder computes in this"
        )


@pytest.mark.exercise("13.4")
def test_gradients_are_those_of_the_loop():
    alphas, mask = batch_of_weights(seed=7)
    frames = random(5, 50, 3, seed=8)
    direction = random(5, 50, 3, seed=9)

    def by_loop(weights: Tensor) -> Tensor:
        rows = [cif_loop(frames[i, mask[i]], weights[i, mask[i]]) for i in range(5)]
        return torch.stack([(row * direction[i, : len(row)]).sum() for i, row in enumerate(rows)]).sum()

    def by_sums(weights: Tensor) -> Tensor:
        embeddings, _ = cif(frames, weights * mask)
        return (embeddings * direction[:, : embeddings.shape[1]]).sum()

    same(
        gradient(by_sums, alphas),
        gradient(by_loop, alphas),
        "what the predictor learns must not depend on how the sum is written",
        tolerance=1e-4,
    )


def probe_cif(m: ModuleType) -> Iterator[Any]:
    for weights in ([0.6, 0.8, 0.4, 0.5], [0.5, 2.75, 0.1, 0.0], [0.75, 0.25, 0.75, 0.0], [0.0, 0.0, 0.0, 0.0],
                    [0.9, 0.8, 0.9, 0.75]):  # fmt: skip
        yield list(m.cif(torch.eye(4)[None], torch.tensor([weights])))
        yield list(m.cif(torch.eye(4)[None], torch.tensor([weights]), 5))
    alphas, _ = batch_of_weights()
    yield list(m.cif(random(5, 50, 3, seed=6), alphas))
    direction = random(2, 4, seed=2)
    yield gradient(lambda w: (m.cif(torch.eye(4)[None], w)[0][0, :2] * direction).sum(), BY_HAND[None])


# ---------------------------------------------------------------------------------------------------- 13.5
REAL = padding_mask(torch.tensor([10, 6]), 12)
TRUE_TOKENS = torch.arange(24).view(2, 12)


def shown(guesses: Tensor, share: float, function: Any = None) -> Tensor:
    """Where a true token is shown: (2, 12) boolean."""
    acoustic, embedded = torch.zeros(2, 12, 3), torch.ones(2, 12, 3)
    return (function or glance)(acoustic, embedded, guesses, TRUE_TOKENS, REAL, share)[..., 0].bool()


def some_wrong() -> Tensor:
    """Guesses of which four are wrong, the first four of the first utterance; and some in the padding."""
    guesses = TRUE_TOKENS.clone()
    guesses[0, :4] += 1
    guesses[:, 10:] += 1
    guesses[1, 6:] += 1
    return guesses


@pytest.mark.exercise("13.5")
@pytest.mark.parametrize(("share", "expected"), [(0.0, [0, 0]), (0.3, [3, 1]), (0.75, [7, 4]), (1.0, [10, 6])])
def test_the_more_are_wrong_the_more_are_shown(share, expected):
    got = shown(TRUE_TOKENS + 1, share)
    same(
        got.sum(dim=1),
        expected,
        f"all 10 and all 6 guesses are wrong: floor({share} * 10) and floor({share} * 6) true tokens",
    )


@pytest.mark.exercise("13.5")
def test_right_guesses_and_padding_do_not_count():
    same(
        shown(some_wrong(), 0.5).sum(dim=1),
        [2, 0],
        "4 of the 10 guesses of utterance 0 are wrong, none of utterance 1; what stands in the padding is no guess",
    )
    same(shown(TRUE_TOKENS, 1.0).sum(), 0, "a decoder that is right everywhere is shown nothing")


@pytest.mark.exercise("13.5")
def test_padding_is_no_place_for_a_token():
    for seed in range(20):
        torch.manual_seed(seed)
        got = shown(TRUE_TOKENS + 1, 0.5)
        expect(
            not bool((got & ~REAL).any()),
            "nothing shown behind position 9 and behind position 5",
            f"{int((got & ~REAL).sum())} tokens shown in the padding",
            "what lies there is neither seen nor trained on, so that too little would be shown",
        )


@pytest.mark.exercise("13.5")
def test_the_places_are_random_among_all_real_ones():
    torch.manual_seed(0)
    often = torch.stack([shown(some_wrong(), 0.5)[0] for _ in range(300)]).float().mean(dim=0)
    expect(
        bool((often[:10] > 0.1).all() and (often[:10] < 0.3).all()),
        "each of the 10 real positions shown in about a fifth of 300 calls",
        [round(value, 2) for value in often[:10].tolist()],
        "2 of 10 positions are drawn anew each time. Rightly guessed ones are shown too: how many is decided by the "
        "mistakes, which ones by chance",
    )


@pytest.mark.exercise("13.5")
def test_true_tokens_stand_at_their_own_places():
    torch.manual_seed(1)
    acoustic, embedded = random(2, 12, 3, seed=1), random(2, 12, 3, seed=2)
    got = glance(acoustic, embedded, TRUE_TOKENS + 1, TRUE_TOKENS, REAL, 0.5)
    from_true, from_sound = (got == embedded).all(dim=-1), (got == acoustic).all(dim=-1)
    expect(
        bool((from_true ^ from_sound).all()) and from_true.sum(dim=1).tolist() == [5, 3],
        "5 and 3 positions from `embedded`, all others from `acoustic`, each at its own place",
        f"{from_true.sum(dim=1).tolist()} from `embedded`, {from_sound.sum(dim=1).tolist()} from `acoustic`, "
        "of 12 positions each",
        "a shown token takes the place of the acoustic embedding at the same position, whole",
    )


def probe_glance(m: ModuleType) -> Iterator[Any]:
    for guesses in (TRUE_TOKENS + 1, some_wrong(), TRUE_TOKENS):
        for share in (0.0, 0.3, 0.5, 0.75, 1.0):
            yield shown(guesses, share, m.glance).sum(dim=1)
    torch.manual_seed(0)
    often = torch.stack([shown(some_wrong(), 0.5, m.glance)[0] for _ in range(150)]).float().mean(dim=0)
    yield [float(value > 0.03) for value in often.tolist()]
    often = torch.stack([shown(TRUE_TOKENS + 1, 0.5, m.glance)[1] for _ in range(60)]).float().mean(dim=0)
    yield [float(value > 0.03) for value in often.tolist()]


# ---------------------------------------------------------------------------------------------------- 13.6
def predictor_of(**settings: Any) -> Predictor:
    """A predictor with weights that say different things about different frames."""
    sizes = {"d_model": 8, "num_heads": 2, "d_ff": 16, "predictor": {"hidden": 6, "layers": 2, **settings}}
    torch.manual_seed(0)
    predictor = Predictor(from_dict(Config, {"model": {**sizes, "architecture": "paraformer"},
                                             "training": {"validation_search": "parallel"}}).model)  # fmt: skip
    with torch.no_grad():
        for conv in predictor.convs:
            conv.bias += 0.5
    return predictor


ALL_REAL = torch.ones(1, 5, dtype=torch.bool)


@pytest.mark.exercise("13.6")
def test_one_weight_for_each_frame_between_0_and_1():
    mask = padding_mask(torch.tensor([9, 4]))
    got = predictor_of(smooth=3.0, noise=0.5)(20 * random(2, 9, 8), mask)
    expect(tuple(got.shape) == (2, 9), "shape (2, 9)", tuple(got.shape), "one number for each frame")
    expect(
        bool((got >= 0).all() and (got <= 1).all()),
        "weights from 0 to 1",
        f"{float(got.min()):.2f} to {float(got.max()):.2f}",
        "3 * sigmoid - 0.5 lies between -0.5 and 2.5: a weight is never negative, and a frame says one token at most",
    )
    same(got[1, 4:], torch.zeros(5), "padding weighs nothing: it would be counted as tokens")


@pytest.mark.exercise("13.6")
def test_what_lies_in_the_padding_is_not_heard():
    predictor, frames = predictor_of(), random(1, 5, 8, seed=3)
    alone = predictor(frames, ALL_REAL)
    padded = F.pad(frames, (0, 0, 0, 3), value=7.0)
    same(
        predictor(padded, padding_mask(torch.tensor([5]), 8))[:, :5],
        alone,
        "a convolution of kernel 3 hears one frame beyond the end, and the second one what the first has written "
        "there: both must read zeros, or a result depends on what else is in the batch",
    )


@pytest.mark.exercise("13.6")
def test_the_weight_of_a_frame():
    predictor, frames = predictor_of(smooth=0.8, noise=0.1), random(1, 5, 8, seed=4)
    with torch.no_grad():
        x = frames.transpose(1, 2)
        for conv in predictor.convs:
            x = F.relu(conv(x))
        expected = 0.8 * torch.sigmoid(predictor.out(x.transpose(1, 2))[..., 0]) - 0.1
    same(
        predictor(frames, ALL_REAL),
        expected,
        "each convolution is followed by a ReLU; smooth times the sigmoid first, then noise is taken off",
    )


@pytest.mark.exercise("13.6")
def test_weights_are_fp32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = predictor_of()(random(1, 5, 8), ALL_REAL)
    expect(
        got.dtype == torch.float32,
        torch.float32,
        got.dtype,
        "a sum of a hundred weights counts tokens: with the 8 bits of bfloat16 it would be wrong by some of them",
    )


def probe_predictor(m: ModuleType) -> Iterator[Any]:
    for settings in ({}, {"smooth": 0.8, "noise": 0.1}, {"smooth": 3.0, "noise": 0.5}):
        ours = predictor_of(**settings)
        for scale in (1.0, 20.0):
            frames = F.pad(scale * random(2, 9, 8), (0, 0, 0, 3), value=7.0)
            mask = padding_mask(torch.tensor([9, 4]), 12)
            yield m.Predictor.forward(ours, frames, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        yield str(m.Predictor.forward(predictor_of(), random(1, 5, 8), ALL_REAL).dtype)


PROBES = {
    "13.1": probe_loop,
    "13.2": probe_counts,
    "13.3": probe_quantity,
    "13.4": probe_cif,
    "13.5": probe_glance,
    "13.6": probe_predictor,
}
