"""Exercises 1.4, 1.5, 1.6 and 2.5: backward passes by hand, with numbers worked on paper and autograd as referees."""

import numpy as np
import pytest
import torch
from teaching import expect, same

from asr_tutorial import attention, by_hand
from asr_tutorial.by_hand import Linear, MultiHeadAttention, ScaledDotProductAttention, Softmax

TIGHT = 1e-6
EMPTY = -np.inf


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# Below, a gradient is handed to autograd as (output * direction).sum().backward(): output.backward(direction) says the
# same, but makes torch import sympy, which takes a second in each check.
def leaf(array):
    return torch.tensor(array, requires_grad=True)


# ---------------------------------------------------------------------------------------------------- 1.4 softmax


@pytest.mark.exercise("1.4")
def test_softmax_worked_example():
    """exp(0) and exp(ln 3) share 1 as 1 to 3"""
    got = Softmax().forward(np.array([0.0, np.log(3)]))
    same(got, [0.25, 0.75], "exp(0) = 1 and exp(ln 3) = 3, each divided by their sum 4", TIGHT)


@pytest.mark.exercise("1.4")
def test_softmax_does_not_overflow():
    """Scores of 1000 give no NaN"""
    with np.errstate(all="ignore"):
        got = Softmax().forward(np.array([[1000.0, 1000.0 + np.log(3)], [-1000.0, -1000.0]]))
    why = (
        "exp(1000) is more than a float holds (inf / inf is NaN), exp(-1000) is 0 (0 / 0). The softmax of x and of "
        "x - c is the same for every c: choose c so that no exponent is large"
    )
    same(got, [[0.25, 0.75], [0.5, 0.5]], why, TIGHT)


@pytest.mark.exercise("1.4")
def test_softmax_along_its_axis():
    """The probabilities sum to 1 along self.axis"""
    x = normal(2, 3, 4)
    for axis in (0, 1, -1):
        why = f"Softmax(axis={axis}) shares out 1 along axis {axis} of an array of shape {x.shape}, not along another"
        same(Softmax(axis).forward(x).sum(axis=axis), np.ones_like(x.sum(axis=axis)), why, TIGHT)


@pytest.mark.exercise("1.4")
def test_softmax_gradient_worked_example():
    """A gradient on one probability moves both inputs"""
    layer = Softmax()
    layer.forward(np.array([0.0, np.log(3)]))
    why = (
        "p = [1/4, 3/4] and L = p_1. dp_1/dx_1 = p_1 (1 - p_1) = 3/16, and dp_1/dx_2 = -p_1 p_2 = -3/16: raising x_2 "
        "takes probability away from p_1, because both have the same denominator"
    )
    same(layer.backward(np.array([1.0, 0.0])), [3 / 16, -3 / 16], why, TIGHT)


@pytest.mark.exercise("1.4")
def test_softmax_gradient_of_a_constant():
    """The sum of the probabilities is always 1, so its gradient is 0"""
    layer = Softmax()
    layer.forward(normal(2, 3))
    why = "with dL/dp = 1 everywhere, L is the sum of all probabilities: always the number of rows, whatever x is"
    same(layer.backward(np.ones((2, 3))), np.zeros((2, 3)), why, TIGHT)


@pytest.mark.exercise("1.4")
def test_softmax_gradient_as_autograd():
    """Autograd finds the same gradient, along any axis"""
    for axis in (-1, 0, 1):
        x, direction = normal(2, 3, 4), normal(2, 3, 4, seed=1)
        theirs = leaf(x)
        (theirs.softmax(dim=axis) * torch.tensor(direction)).sum().backward()
        layer = Softmax(axis)
        layer.forward(x)
        why = f"torch's autograd is the referee; axis={axis}, input of shape (2, 3, 4)"
        same(layer.backward(direction), theirs.grad, why, TIGHT)


@pytest.mark.exercise("1.4")
def test_softmax_of_masked_numbers():
    """Minus infinity gets 0, and a row of nothing else is all zeros"""
    x = np.array([[1.0, EMPTY, 1.0], [EMPTY, EMPTY, EMPTY]])
    layer = Softmax()
    with np.errstate(all="ignore"):
        got = layer.forward(x)
        gradient = layer.backward(np.array([[1.0, 5.0, 0.0], [1.0, 2.0, 3.0]]))
    why = (
        "minus infinity marks what may not be attended. Where nothing may be, -inf - (-inf) and 0 / 0 are NaN, and one "
        "NaN spreads over a whole batch: such a row gives zeros"
    )
    same(got, [[0.5, 0.0, 0.5], [0.0, 0.0, 0.0]], why, TIGHT)
    same(gradient, [[0.25, 0.0, -0.25], [0.0, 0.0, 0.0]], "what has probability 0 has no gradient either", TIGHT)


def probe_softmax(m):
    x, gradient = normal(2, 3, 4), normal(2, 3, 4, seed=1)
    with np.errstate(all="ignore"):
        for axis in (-1, 0, 1):
            layer = m.Softmax(axis)
            yield layer.forward(x)
            yield layer.backward(gradient)
        yield m.Softmax().forward(np.array([1000.0, 0.0, 999.0]))
        layer = m.Softmax()
        yield layer.forward(np.array([[1.0, EMPTY, 2.0], [EMPTY, EMPTY, EMPTY]]))
        yield layer.backward(np.array([[1.0, 5.0, 0.0], [1.0, 2.0, 3.0]]))


# ---------------------------------------------------------------------------------------------------- 1.5 linear

WEIGHT = np.array([[1.0, 2.0], [0.0, 1.0], [-1.0, 1.0]])  # 3 outputs, 2 inputs
BIAS = np.array([0.0, 0.0, 10.0])


@pytest.mark.exercise("1.5")
def test_linear_worked_example():
    """W x + b, row by row"""
    got = Linear(WEIGHT, BIAS).forward(np.array([[3.0, 4.0]]))
    same(got, [[11.0, 4.0, 11.0]], "1*3 + 2*4 = 11, 0*3 + 1*4 = 4 and -1*3 + 1*4 + 10 = 11", TIGHT)


@pytest.mark.exercise("1.5")
def test_linear_gradients_worked_example():
    """The three gradients of one row"""
    layer = Linear(WEIGHT, BIAS)
    layer.forward(np.array([[3.0, 4.0]]))
    got = layer.backward(np.array([[1.0, 0.0, 2.0]]))
    why = "x_1 reaches y_1 with weight 1 and y_3 with weight -1: 1*1 + 2*(-1) = -1. In the same way x_2: 1*2 + 2*1 = 4"
    same(got, [[-1.0, 4.0]], why, TIGHT)
    why = "W_oi multiplies x_i and adds to y_o, so its gradient is g_o x_i; weight_gradient has the shape of the weight"
    same(layer.weight_gradient, [[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]], why, TIGHT)
    same(layer.bias_gradient, [1.0, 0.0, 2.0], "b_o is added to y_o: its gradient is g_o", TIGHT)


@pytest.mark.exercise("1.5")
def test_linear_rows_add_up():
    """Two rows share W and b, so their gradients add up"""
    layer = Linear(WEIGHT, BIAS)
    layer.forward(np.array([[3.0, 4.0], [1.0, 0.0]]))
    layer.backward(np.array([[1.0, 0.0, 2.0], [1.0, 1.0, 0.0]]))
    why = "both rows use the same b, so the loss depends on it twice: [1, 0, 2] + [1, 1, 0], the sum, not a mean"
    same(layer.bias_gradient, [2.0, 1.0, 2.0], why, TIGHT)
    why = "the sum of g x^T over the two rows: [[3, 4], [0, 0], [6, 8]] + [[1, 0], [1, 0], [0, 0]]"
    same(layer.weight_gradient, [[4.0, 4.0], [1.0, 0.0], [6.0, 8.0]], why, TIGHT)


@pytest.mark.exercise("1.5")
def test_linear_as_autograd():
    """Autograd finds the same, with any number of axes in front"""
    for axes in ((4,), (2, 3), (2, 1, 3), ()):
        x, weight, bias, direction = normal(*axes, 5), normal(3, 5, seed=1), normal(3, seed=2), normal(*axes, 3, seed=3)
        tensors = [leaf(array) for array in (x, weight, bias)]
        output = torch.nn.functional.linear(*tensors)
        (output * torch.tensor(direction)).sum().backward()
        layer = Linear(weight, bias)
        why = f"torch's autograd is the referee; input of shape {x.shape}, weight of shape (3, 5)"
        same(layer.forward(x), output, why, TIGHT)
        same(layer.backward(direction), tensors[0].grad, why, TIGHT)
        why += ". The gradient of a parameter has the shape of the parameter: every axis in front is summed away"
        same(layer.weight_gradient, tensors[1].grad, why, TIGHT)
        same(layer.bias_gradient, tensors[2].grad, why, TIGHT)


@pytest.mark.exercise("1.5")
def test_linear_without_a_bias():
    """bias=None is no bias"""
    layer = Linear(WEIGHT)
    same(layer.forward(np.array([[3.0, 4.0]])), [[11.0, 4.0, 1.0]], "there is nothing to add", TIGHT)
    same(layer.backward(np.array([[1.0, 0.0, 2.0]])), [[-1.0, 4.0]], "the bias has no part in dL/dx", TIGHT)
    expect(layer.bias_gradient is None, "bias_gradient stays None", layer.bias_gradient, "there is no bias to change")


@pytest.mark.exercise("1.5")
def test_linear_anew_in_each_call():
    """Each backward replaces the gradients of the one before"""
    layer = Linear(WEIGHT.copy(), BIAS.copy())
    for _ in range(2):
        layer.forward(np.array([[3.0, 4.0]]))
        layer.backward(np.array([[1.0, 0.0, 2.0]]))
    why = "the docstring says anew in each call (torch adds up until zero_grad; here nothing is left over)"
    same(layer.weight_gradient, [[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]], why, TIGHT)
    same(layer.bias_gradient, [1.0, 0.0, 2.0], why, TIGHT)


def probe_linear(m):
    for axes in ((4,), (2, 3)):
        layer = m.Linear(normal(3, 5), normal(3, seed=1))
        for seed in (2, 3):
            yield layer.forward(normal(*axes, 5, seed=seed))
            yield layer.backward(normal(*axes, 3, seed=10 + seed))
            yield np.array(layer.weight_gradient)  # a copy: the next call may write into the same array
            yield np.array(layer.bias_gradient)
    layer = m.Linear(normal(3, 5))
    yield layer.forward(normal(4, 5, seed=4))
    yield layer.backward(normal(4, 3, seed=5))


# ---------------------------------------------------------------------------------------------------- 1.6 attention


def attention_pair(queries, keys, mask=None, d=3, d_value=2):
    """Context and gradients by autograd, and a layer by hand with its inputs: (2, 4, length, width) each."""
    given = [normal(2, 4, queries, d), normal(2, 4, keys, d, seed=1), normal(2, 4, keys, d_value, seed=2)]
    direction = normal(2, 4, queries, d_value, seed=3)
    tensors = [leaf(array) for array in given]
    context, _ = attention.scaled_dot_product_attention(*tensors, None if mask is None else torch.tensor(mask))
    (context * torch.tensor(direction)).sum().backward()
    return given, direction, context, [tensor.grad for tensor in tensors]


@pytest.mark.exercise("1.6")
def test_attention_worked_example():
    """The weights 1/4 and 3/4 of the worked example, back and forth"""
    query, key = np.array([[2.0, 0, 0, 0]]), np.array([[0.0, 0, 0, 0], [np.log(3), 0, 0, 0]])
    layer = ScaledDotProductAttention()
    context = layer.forward(query, key, np.array([[4.0], [8.0]]))
    same(context, [[7.0]], "weights 1/4 and 3/4, values 4 and 8: 1/4 * 4 + 3/4 * 8", TIGHT)
    d_query, d_key, d_value = layer.backward(np.array([[1.0]]))
    same(d_value, [[0.25], [0.75]], "C = sum of P_j V_j, so dC/dV_j is the weight P_j", TIGHT)
    why = (
        "dP = [4, 8], and through the softmax dS = [1/4 (4 - 7), 3/4 (8 - 7)] = [-3/4, 3/4]. S_j = Q . K_j / 2, so "
        "dK_j = dS_j Q / 2 with Q = [2, 0, 0, 0] and sqrt(d) = 2"
    )
    same(d_key, [[-0.75, 0, 0, 0], [0.75, 0, 0, 0]], why, TIGHT)
    why = "dQ = (dS_1 K_1 + dS_2 K_2) / 2 = 3/4 * ln 3 / 2 in the first place"
    same(d_query, [[0.375 * np.log(3), 0, 0, 0]], why, TIGHT)


@pytest.mark.exercise("1.6")
def test_attention_as_autograd():
    """Autograd finds the same, with 2 queries and 5 keys"""
    given, direction, context, expected = attention_pair(queries=2, keys=5)
    layer = ScaledDotProductAttention()
    same(layer.forward(*given), context, "torch's attention on the same (2, 4, length, width) arrays", TIGHT)
    for name, got, gradient in zip(("query", "key", "value"), layer.backward(direction), expected, strict=True):
        why = f"torch's autograd is the referee for the gradient of the {name}, which has the shape of the {name}"
        same(got, gradient, why, TIGHT)


@pytest.mark.exercise("1.6")
def test_attention_of_equal_lengths_as_autograd():
    """Autograd finds the same where queries and keys are as many"""
    given, direction, _, expected = attention_pair(queries=3, keys=3, d=3, d_value=3)
    layer = ScaledDotProductAttention()
    layer.forward(*given)
    for name, got, gradient in zip(("query", "key", "value"), layer.backward(direction), expected, strict=True):
        why = f"gradient of the {name}. With square arrays a forgotten transpose still fits, and is still wrong"
        same(got, gradient, why, TIGHT)


@pytest.mark.exercise("1.6")
def test_attention_under_a_mask():
    """A forbidden key has no part in the context, and gets no gradient"""
    mask = np.array([[True, False, True, True], [True, False, False, True], [False, False, True, False]])
    given, direction, context, expected = attention_pair(queries=3, keys=4, mask=mask)
    layer = ScaledDotProductAttention()
    same(layer.forward(*given, mask), context, "each query shares out 1 over the keys that it may attend to", TIGHT)
    got = layer.backward(direction)
    for name, one in zip(("key", "value"), got[1:], strict=True):
        why = f"nobody may attend to key 1, so nothing that its {name} does can change the loss"
        same(one[:, :, 1], np.zeros_like(one[:, :, 1]), why, TIGHT)
    for name, one, gradient in zip(("query", "key", "value"), got, expected, strict=True):
        same(one, gradient, f"torch's autograd through the mask: the gradient of the {name}", TIGHT)


@pytest.mark.exercise("1.6")
def test_attention_to_nothing():
    """A query that may attend to nothing gives zeros and gets zeros"""
    mask = np.array([[True, True, True], [False, False, False]])
    given, direction, _, expected = attention_pair(queries=2, keys=3, mask=mask)
    layer = ScaledDotProductAttention()
    with np.errstate(all="ignore"):
        context = layer.forward(*given, mask)
        got = layer.backward(direction)
    why = "padding makes such rows in every batch; not NaN, not the mean of what it may not see, but zeros"
    same(context[:, :, 1], np.zeros((2, 4, 2)), why, TIGHT)
    same(got[0][:, :, 1], np.zeros((2, 4, 3)), "its query changes nothing, so its gradient is zero", TIGHT)
    for name, one, gradient in zip(("query", "key", "value"), got, expected, strict=True):
        same(one, gradient, f"gradient of the {name}: the second query adds nothing to it", TIGHT)


def probe_attention(m):
    given, gradient = [normal(2, 4, 3, seed=seed) for seed in range(3)], normal(2, 4, 3, seed=3)
    masks = (None, np.tril(np.ones((4, 4), dtype=bool)), np.tril(np.ones((4, 4), dtype=bool), -1))
    with np.errstate(all="ignore"):
        for mask in masks:
            layer = m.ScaledDotProductAttention()
            yield layer.forward(*given, mask)
            yield from layer.backward(gradient)


# ---------------------------------------------------------------------------------------------------- 2.5 heads

D_MODEL, HEADS = 8, 2
NAMES = [f"{projection}.{kind}" for projection in by_hand.PROJECTIONS for kind in ("weight", "bias")]


def parameters(seed=0):
    return {
        name: 0.5 * normal(*(D_MODEL,) * (2 if "weight" in name else 1), seed=seed + number)
        for number, name in enumerate(NAMES)
    }


def library(inputs, mask=None, direction=None):
    """The library's attention with the same parameters: its output, gradients of the inputs, of the parameters."""
    theirs = attention.MultiHeadAttention(D_MODEL, HEADS).double()
    theirs.load_state_dict({name: torch.tensor(array) for name, array in parameters().items()})
    tensors = [leaf(array) for array in inputs]
    output, _ = theirs(*tensors, None if mask is None else torch.tensor(mask))
    if direction is not None:
        (output * torch.tensor(direction)).sum().backward()
    return output, [tensor.grad for tensor in tensors], {name: p.grad for name, p in theirs.named_parameters()}


def three_inputs(queries=3, keys=5):
    return [normal(2, queries, D_MODEL, seed=1), normal(2, keys, D_MODEL, seed=2), normal(2, keys, D_MODEL, seed=3)]


@pytest.mark.exercise("2.5")
def test_heads_forward():
    """The library's module with the same parameters gives the same output"""
    inputs = three_inputs()
    got = MultiHeadAttention(D_MODEL, HEADS, parameters()).forward(*inputs)
    same(got, library(inputs)[0], "project, split, attend, merge, project: as attention.MultiHeadAttention", TIGHT)


@pytest.mark.exercise("2.5")
def test_heads_masks():
    """Masks with two, three and four axes"""
    inputs = three_inputs(queries=5, keys=5)
    padding = np.arange(5) < np.array([5, 2])[:, None]  # (batch, keys): the second utterance has 2 frames
    masks = {
        "(queries, keys)": np.tril(np.ones((5, 5), dtype=bool)),
        "(batch, 1, keys)": padding[:, None],
        "(batch, queries, keys)": padding[:, None] & np.tril(np.ones((5, 5), dtype=bool)),
        "(batch, 1, 1, keys)": padding[:, None, None],
    }
    for shape, mask in masks.items():
        why = (
            f"a mask {shape} meets scores (batch, heads, queries, keys) and is lined up from the right: an axis for "
            "the batch must not land on the heads"
        )
        got = MultiHeadAttention(D_MODEL, HEADS, parameters()).forward(*inputs, mask)
        same(got, library(inputs, mask)[0], why, TIGHT)


@pytest.mark.exercise("2.5")
def test_heads_gradients_of_the_inputs():
    """Autograd finds the same gradients of query, key and value"""
    inputs, direction = three_inputs(), normal(2, 3, D_MODEL, seed=4)
    layer = MultiHeadAttention(D_MODEL, HEADS, parameters())
    layer.forward(*inputs)
    got = layer.backward(direction)
    expect(len(got) == 3, "three gradients: of query, key and value", f"{len(got)}", "each input can change the loss")
    _, expected, _ = library(inputs, None, direction)
    for name, one, gradient in zip(("query", "key", "value"), got, expected, strict=True):
        why = f"the gradient of the {name}: all steps of forward in the opposite order, down to its own projection"
        same(one, gradient, why, TIGHT)


@pytest.mark.exercise("2.5")
def test_heads_gradients_of_the_parameters():
    """Autograd finds the same gradients of the eight parameters"""
    inputs, direction = three_inputs(), normal(2, 3, D_MODEL, seed=4)
    layer = MultiHeadAttention(D_MODEL, HEADS, parameters())
    layer.forward(*inputs)
    layer.backward(direction)
    _, _, expected = library(inputs, None, direction)
    for name, gradient in layer.gradients().items():
        why = f"the gradient of {name}, which the backward of its Linear stores; it is all zeros where that never ran"
        same(gradient, expected[name], why, TIGHT)


@pytest.mark.exercise("2.5")
def test_heads_in_self_attention():
    """In self-attention the three gradients add up to that of the one input"""
    x, direction, mask = normal(2, 4, D_MODEL), normal(2, 4, D_MODEL, seed=1), np.tril(np.ones((4, 4), dtype=bool))
    layer = MultiHeadAttention(D_MODEL, HEADS, parameters())
    layer.forward(x, x, x, mask)
    _, expected, _ = library([x, x, x], mask, direction)
    why = "x reaches the loss as query, as key and as value: by three paths, and the gradients of paths add up"
    same(sum(layer.backward(direction)), sum(expected), why, TIGHT)


@pytest.mark.exercise("2.5")
def test_heads_with_nothing_to_attend_to():
    """An utterance that is all padding gives no NaN and no gradients"""
    inputs, direction = three_inputs(), normal(2, 3, D_MODEL, seed=4)
    mask = np.array([True, False])[:, None, None]  # (batch, 1, 1): nothing of the second utterance
    layer = MultiHeadAttention(D_MODEL, HEADS, parameters())
    with np.errstate(all="ignore"):
        output = layer.forward(*inputs, mask)
        got = layer.backward(direction)
    why = "a context of zeros leaves the bias of out_proj"
    same(output[1], np.broadcast_to(parameters()["out_proj.bias"], (3, D_MODEL)), why, TIGHT)
    for name, one in zip(("query", "key", "value"), got, strict=True):
        same(one[1], np.zeros_like(one[1]), f"nothing in the {name} of the second utterance changes the loss", TIGHT)


def probe_heads(m):
    inputs, gradient = three_inputs(), normal(2, 3, D_MODEL, seed=4)
    padding = np.arange(5) < np.array([5, 2])[:, None]
    with np.errstate(all="ignore"):
        for mask in (None, padding[:, None], padding[:, None, None]):
            layer = m.MultiHeadAttention(D_MODEL, HEADS, parameters())
            yield layer.forward(*inputs, mask)
            yield from layer.backward(gradient)
            yield from layer.gradients().values()


PROBES = {"1.4": probe_softmax, "1.5": probe_linear, "1.6": probe_attention, "2.5": probe_heads}
