"""Chapter 01: scores, weights with a mask, attention."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from teaching import expect, same
from torch import Tensor
from torch.nn import functional as F

from asr_tutorial.attention import attention_scores, attention_weights, scaled_dot_product_attention

# The example that the chapter works by hand.
QUERY = torch.tensor([[2.0, 0, 0, 0], [0, 2, 0, 0]])
KEY = torch.tensor([[1.0, 0, 0, 1], [0, 2, 0, 0], [1, 1, 1, 1]])
VALUE = torch.tensor([[1.0, 0], [0, 1], [2, 2]])
SCORES = torch.tensor([[1.0, 0, 1], [0, 2, 1]])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------------------------------------- 1.1
@pytest.mark.exercise("1.1")
def test_the_scores_worked_by_hand():
    same(
        attention_scores(QUERY, KEY),
        SCORES,
        "query 1 and key 1 multiply to 2; divided by sqrt(4) that is 1, and so on: one row a query, one column a key",
    )


@pytest.mark.exercise("1.1")
def test_one_row_for_each_query():
    scores = attention_scores(random(5, 8), random(7, 8))
    expect(
        isinstance(scores, Tensor) and scores.shape == (5, 7),
        "shape (5, 7) from 5 queries and 7 keys",
        f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else repr(scores),
        "rows are queries and columns are keys: the softmax will share out 1 along each row",
    )


@pytest.mark.exercise("1.1")
def test_the_spread_does_not_depend_on_the_width():
    for d in (4, 1024):
        spread = float(attention_scores(random(200, d), random(300, d, seed=1)).std())
        expect(
            0.9 < spread < 1.1,
            f"a standard deviation of about 1 for random vectors of width d = {d}",
            f"{spread:.3f}",
            "a dot product of d random products has a standard deviation of sqrt(d), and that is what to divide by, "
            "not by d and not by a number of queries or keys",
        )


@pytest.mark.exercise("1.1")
def test_other_axes_come_along():
    query, key = random(2, 3, 5, 8), random(2, 3, 7, 8, seed=1)
    alone = torch.stack([torch.stack([attention_scores(query[b, h], key[b, h]) for h in range(3)]) for b in range(2)])
    same(
        attention_scores(query, key),
        alone,
        "each utterance of a batch and each head is a matter of its own: exchange only the last two axes of the keys",
    )


@pytest.mark.exercise("1.1")
def test_long_vectors_fit_better():
    query, key = random(3, 6), random(4, 6, seed=1)
    same(
        attention_scores(3 * query, key),
        3 * attention_scores(query, key),
        "scores are dot products, not cosines: a query three times as long asks three times as decidedly",
    )


def probe_scores(m: ModuleType) -> Iterator[Any]:
    yield m.attention_scores(QUERY, KEY)
    yield m.attention_scores(random(5, 8), random(7, 8, seed=1))
    yield m.attention_scores(random(2, 3, 5, 8), random(2, 3, 7, 8, seed=1))


# ---------------------------------------------------------------------------------------------------- 1.2
@pytest.mark.exercise("1.2")
def test_the_weights_worked_by_hand():
    same(
        attention_weights(SCORES.clone()),
        [[0.42232, 0.15536, 0.42232], [0.09003, 0.66524, 0.24473]],
        "each row is a softmax: e to the power of each score, divided by the row's sum; 1 is shared out over the keys, "
        "which lie along the last axis",
        tolerance=1e-4,
    )


@pytest.mark.exercise("1.2")
def test_true_may_be_attended():
    mask = torch.tensor([[True, True, False], [False, True, False]])
    scores = SCORES.clone()
    same(
        attention_weights(scores, mask),
        [[0.73106, 0.26894, 0.0], [0.0, 1.0, 0.0]],
        "True means may be attended: a forbidden key (False) gets nothing, and the allowed ones share the whole of 1. "
        "A single allowed key gets all of it",
        tolerance=1e-4,
    )
    same(scores, SCORES, "the scores belong to the caller: write into a copy, as masked_fill without the _ does")


@pytest.mark.exercise("1.2")
def test_a_forbidden_key_has_no_influence():
    mask = torch.tensor([True, False, True, True])
    low, high = random(3, 4), random(3, 4)
    low[:, 1], high[:, 1] = -50.0, 200.0
    weights = attention_weights(high, mask)
    same(
        weights.sum(-1),
        torch.ones(3),
        "the allowed keys share out 1 even where a forbidden key has by far the highest score (200 here)",
    )
    same(
        weights,
        attention_weights(low, mask),
        "the score of a forbidden key (200 here, -50 there) must not matter: padding may contain anything",
    )


@pytest.mark.exercise("1.2")
def test_a_mask_for_all_queries_and_heads():
    scores = random(2, 3, 4, 5)  # (batch, heads, queries, keys)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])[:, None, None]  # (batch, 1, 1, keys)
    same(
        attention_weights(scores, mask),
        attention_weights(scores, mask.expand(2, 3, 4, 5).clone()),
        "a mask of shape (batch, 1, 1, keys) holds for all heads and queries: it has to broadcast",
    )
    expect(
        bool((attention_weights(scores, mask)[1, ..., 2:] == 0).all()),
        "0 for the padded keys of the second utterance",
        "something else",
        "a padded key is forbidden to every head and every query",
    )


@pytest.mark.exercise("1.2")
def test_large_scores_do_not_overflow():
    same(
        attention_weights(torch.tensor([[1000.0, 1000.0, 0.0], [-1000.0, -1000.0, -1000.0]])),
        [[0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]],
        "e to the power of 1000 does not fit into a float, but only differences of scores count: subtract the row's "
        "maximum first, or let torch.softmax do it",
    )


@pytest.mark.exercise("1.2")
def test_nothing_allowed_gives_zeros():
    mask = torch.tensor([[True, True, True], [False, False, False]])
    weights = attention_weights(SCORES.clone(), mask)
    expect(
        bool(torch.isfinite(weights).all()),
        "zeros in the row in which nothing may be attended",
        f"{weights[1].detach().tolist()}",
        "a softmax over nothing is 0/0; one such row makes the loss of the whole batch NaN",
    )
    same(
        weights,
        [[0.42232, 0.15536, 0.42232], [0.0, 0.0, 0.0]],
        "there is nobody to share 1 with, so nobody gets anything: shares for forbidden keys would let padding in",
        tolerance=1e-4,
    )


@pytest.mark.exercise("1.2")
def test_nothing_allowed_gives_zero_gradients():
    given = random(2, 3, 4).requires_grad_()
    scores = given * 1.0  # as in a model, where scores are computed
    mask = torch.ones(2, 3, 4, dtype=torch.bool)
    mask[1, 2] = False
    mask[0, 0, :2] = False
    (attention_weights(scores, mask) * random(2, 3, 4, seed=1)).sum().backward()
    gradient = given.grad if given.grad is not None else torch.zeros(2, 3, 4)
    expect(
        bool(torch.isfinite(gradient).all()),
        "a gradient without NaN",
        f"{int((~torch.isfinite(gradient)).sum())} entries that are no numbers, in the rows {_rows(gradient)}",
        "a NaN that was wiped out of the result is still met on the way back, and the optimiser's next step writes it "
        "into all parameters: it must not arise at all",
    )
    same(gradient[1, 2], torch.zeros(4), "a query that saw nothing has nothing to learn from: its gradient is zero")
    same(gradient[0, 0, :2], torch.zeros(2), "a forbidden score has no influence, so its gradient is 0")
    expect(
        bool((gradient[0, 1] != 0).all()),
        "a gradient in ordinary rows",
        f"{gradient[0, 1].tolist()}",
        "through the weights the model learns where to look: do not detach them",
    )


def _rows(gradient: Tensor) -> list[list[int]]:
    return (~torch.isfinite(gradient)).any(dim=-1).nonzero().tolist()


def probe_weights(m: ModuleType) -> Iterator[Any]:
    yield m.attention_weights(SCORES.clone())
    scores = random(2, 4, 5).requires_grad_()
    mask = torch.tensor([True, True, False, True, False])
    yield m.attention_weights(scores * 1.0, mask)
    mask = torch.stack([mask.expand(4, 5), torch.ones(4, 5, dtype=torch.bool)])
    mask[0, 2] = False
    weights = m.attention_weights(scores * 1.0, mask)
    yield weights
    if torch.isfinite(weights).all():  # else the gradient says no more
        yield from torch.autograd.grad((weights * random(2, 4, 5, seed=1)).sum(), scores)
    yield m.attention_weights(torch.tensor([[1000.0, 1000.0, 0.0]]))
    yield m.attention_weights(torch.tensor([[0.0, 200.0, 1.0]]), torch.tensor([True, False, True]))


# ---------------------------------------------------------------------------------------------------- 1.3
@pytest.mark.exercise("1.3")
def test_attention_worked_by_hand():
    result = scaled_dot_product_attention(QUERY, KEY, VALUE)
    expect(
        isinstance(result, tuple) and len(result) == 2,
        "a pair (context, weights)",
        type(result).__name__,
        "the context goes on through the model, and the weights are what you look at in an attention map",
    )
    context, weights = result
    again = scaled_dot_product_attention(QUERY, KEY, VALUE)[0]
    expect(
        torch.equal(context, again),
        "the same answer each time when dropout is 0",
        f"{context.tolist()}, then {again.tolist()}",
        "outside training nothing may be dropped",
    )
    expect(
        context.shape == (2, 2) and weights.shape == (2, 3),
        "first the context (2 queries, 2 = width of the values), then the weights (2 queries, 3 keys)",
        f"shapes {tuple(context.shape)} and {tuple(weights.shape)}",
        "every caller unpacks them in this order",
    )
    same(
        weights,
        [[0.42232, 0.15536, 0.42232], [0.09003, 0.66524, 0.24473]],
        "the weights are the softmax of the scores, which attention_scores has scaled already",
        tolerance=1e-4,
    )
    same(
        context,
        [[1.26696, 1.0], [0.57949, 1.15470]],
        "row 1 is 0.422 (1, 0) + 0.155 (0, 1) + 0.422 (2, 2): the mean of the values, weighted by row 1 of the weights",
        tolerance=1e-4,
    )


@pytest.mark.exercise("1.3")
def test_the_mask_is_obeyed():
    query, key, value = random(2, 4, 8), random(2, 6, 8, seed=1), random(2, 6, 3, seed=2)
    mask = torch.tensor([[True] * 6, [True, True, False, False, False, False]])[:, None]  # (batch, 1, keys)
    changed = value.clone()
    changed[1, 2:] = 1000.0
    context, weights = scaled_dot_product_attention(query, key, value, mask)
    same(
        weights[1, :, 2:],
        torch.zeros(4, 4),
        "a forbidden key gets the weight 0: pass the mask on to attention_weights",
    )
    same(
        scaled_dot_product_attention(query, key, changed, mask)[0],
        context,
        "the value of a forbidden key must not reach the context: mix the values by the weights, not by the scores",
    )


@pytest.mark.exercise("1.3")
def test_nothing_allowed_gives_a_context_of_zeros():
    mask = torch.ones(4, 6, dtype=torch.bool)
    mask[2] = False
    context, _ = scaled_dot_product_attention(random(4, 8), random(6, 8, seed=1), random(6, 3, seed=2), mask)
    same(context[2], torch.zeros(3), "a query that may attend to nothing gets zeros, never NaN")


@pytest.mark.exercise("1.3")
def test_pytorch_computes_the_same():
    shapes = ((2, 3, 4, 8), (2, 3, 6, 8), (2, 3, 6, 5))
    ours = [random(*shape, seed=seed).requires_grad_() for seed, shape in enumerate(shapes)]
    theirs = [tensor.detach().clone().requires_grad_() for tensor in ours]
    mask = random(2, 1, 4, 6, seed=9) > -0.5
    mask[..., 0] = True
    context, _ = scaled_dot_product_attention(*ours, mask)
    expected = F.scaled_dot_product_attention(*theirs, attn_mask=mask)
    same(context, expected, "F.scaled_dot_product_attention is the same function, with a batch, heads and a mask")
    direction = random(2, 3, 4, 5, seed=10)
    # Not grad(context, ours, direction): a given gradient makes torch import sympy, which takes a second.
    gradients = torch.autograd.grad((context * direction).sum(), ours)
    wanted = torch.autograd.grad((expected * direction).sum(), theirs)
    for name, gradient, right in zip(("query", "key", "value"), gradients, wanted, strict=True):
        same(gradient, right, f"the gradient by the {name}: training must be the same training")


@pytest.mark.exercise("1.3")
def test_dropout_drops_weights_and_scales_the_rest():
    torch.manual_seed(0)
    # All scores are 0, so each of 8 weights is 1/8; with the identity for values, the context shows the weights in use.
    query, key = torch.zeros(256, 4), random(8, 4)
    context, _ = scaled_dot_product_attention(query, key, torch.eye(8), dropout=0.5)
    dropped = float((context == 0).float().mean())
    expect(
        0.4 < dropped < 0.6,
        "about half of the weights at zero with dropout=0.5",
        f"{100 * dropped:.0f} %",
        "dropout keeps the model from leaning on single keys; it is asked for in training only",
    )
    same(
        context[context != 0].unique(),
        [0.25],
        "the weights that remain are divided by 1 - p, here from 1/8 to 1/4: the mean of the context stays what it was",
    )


@pytest.mark.exercise("1.3")
def test_dropout_overlooks_whole_keys():
    torch.manual_seed(0)
    query, key = torch.zeros(64, 4), random(8, 4)
    context, _ = scaled_dot_product_attention(query, key, torch.ones(8, 5), dropout=0.5)
    same(
        context,
        context[:, :1].expand(64, 5),
        "with equal columns of values, the columns of the context are equal: what is dropped is a weight, and with it "
        "a whole key, not single numbers of the context",
    )


def probe_attention(m: ModuleType) -> Iterator[Any]:
    first, second = (_attempt(m, random(9, 8), random(9, 8, seed=1), random(9, 9, seed=2)) for _ in range(2))
    if first != "fails" and not torch.equal(first[0], second[0]):
        yield "random without being asked"
        return
    yield _attempt(m, QUERY, KEY, VALUE)
    yield _attempt(m, random(2, 6, 8), random(2, 6, 8, seed=1), random(2, 6, 6, seed=2))  # square: errors hide
    mask = random(2, 1, 6, seed=3) > 0
    yield _attempt(m, random(2, 4, 8), random(2, 6, 8, seed=1), random(2, 6, 3, seed=2), mask)
    yield _attempt(m, random(2, 6, 8), random(2, 6, 8, seed=1), random(2, 6, 6, seed=2), mask)
    # Dropout is random, so facts about it: whether anything is dropped, whether whole keys are, what the mean becomes.
    torch.manual_seed(1)
    result = _attempt(m, torch.zeros(64, 4), torch.ones(8, 4), torch.eye(8), dropout=0.5)
    yield "fails" if result == "fails" else ["all kept", "some dropped"][bool((result[0] == 0).any())]
    result = _attempt(m, torch.zeros(64, 4), torch.ones(8, 4), torch.ones(8, 5), dropout=0.5)
    if result != "fails":
        context = result[0]
        yield "columns agree" if torch.allclose(context, context[:, :1].expand_as(context)) else "columns differ"
        yield round(2 * float(context.mean()))


def _attempt(m: ModuleType, *given: Any, **options: Any) -> Any:
    """The two results, or that there were none: where shapes do not fit, the wording of the error does not matter."""
    try:
        context, weights = m.scaled_dot_product_attention(*given, **options)
    except (RuntimeError, ValueError, TypeError):
        return "fails"
    return context, weights


PROBES = {"1.1": probe_scores, "1.2": probe_weights, "1.3": probe_attention}
