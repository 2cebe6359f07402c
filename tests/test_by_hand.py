"""Backward passes derived by hand: PyTorch's autograd and finite differences find the same gradients."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from asr_tutorial import attention
from asr_tutorial.by_hand import (
    Linear,
    MultiHeadAttention,
    ScaledDotProductAttention,
    Softmax,
    numerical_gradient,
)

TOLERANCE = 1e-10  # in double precision; finite differences reach some 1e-8


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def leaf(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(array, requires_grad=True)


def close(got, expected, why: str, tolerance: float = TOLERANCE) -> None:
    expected = expected.detach().numpy() if isinstance(expected, torch.Tensor) else expected
    assert got.shape == expected.shape, f"{why}: shape {got.shape}, not {expected.shape}"
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance, err_msg=why)


class TestLinear:
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("axes", [(), (4,), (2, 3), (2, 1, 3)])
    def test_as_autograd(self, axes, bias):
        x, weight, direction = normal(*axes, 5), normal(3, 5, seed=1), normal(*axes, 3, seed=2)
        layer = Linear(weight, normal(3, seed=3) if bias else None)
        theirs = torch.nn.Linear(5, 3, bias).double()
        with torch.no_grad():
            theirs.weight.copy_(torch.tensor(weight))
            if bias:
                theirs.bias.copy_(torch.tensor(layer.bias))
        their_x = leaf(x)
        output = theirs(their_x)
        output.backward(torch.tensor(direction))
        close(layer.forward(x), output, "the output")
        close(layer.backward(direction), their_x.grad, "the gradient of the input")
        close(layer.weight_gradient, theirs.weight.grad, "the gradient of the weight")
        if bias:
            close(layer.bias_gradient, theirs.bias.grad, "the gradient of the bias")
        else:
            assert layer.bias_gradient is None

    def test_gradients_are_those_of_the_last_call(self):
        layer = Linear(normal(3, 5), normal(3))
        assert not layer.weight_gradient.any()
        assert not layer.bias_gradient.any()
        for seed in (1, 2):
            layer.forward(normal(4, 5, seed=seed))
            layer.backward(normal(4, 3, seed=seed))
        close(layer.weight_gradient, normal(4, 3, seed=2).T @ normal(4, 5, seed=2), "nothing left of the first call")

    def test_as_finite_differences(self):
        x, weight, bias, direction = normal(2, 4), normal(3, 4, seed=1), normal(3, seed=2), normal(2, 3, seed=3)
        layer = Linear(weight, bias)
        layer.forward(x)
        gradient = layer.backward(direction)
        by_trial = [
            numerical_gradient(lambda x: (Linear(weight, bias).forward(x) * direction).sum(), x),
            numerical_gradient(lambda w: (Linear(w, bias).forward(x) * direction).sum(), weight),
            numerical_gradient(lambda b: (Linear(weight, b).forward(x) * direction).sum(), bias),
        ]
        for got, expected in zip((gradient, layer.weight_gradient, layer.bias_gradient), by_trial, strict=True):
            close(got, expected, "finite differences", 1e-7)


class TestSoftmax:
    @pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
    @pytest.mark.parametrize("scale", [1.0, 1000.0])
    def test_as_autograd_on_any_axis(self, axis, scale):
        x, direction = scale * normal(2, 3, 4), normal(2, 3, 4, seed=1)
        theirs = leaf(x)
        expected = theirs.softmax(dim=axis)
        expected.backward(torch.tensor(direction))
        layer = Softmax(axis)
        close(layer.forward(x), expected, "probabilities")
        close(layer.backward(direction), theirs.grad, "the gradient of the input")

    def test_as_finite_differences(self):
        x, direction = normal(2, 4), normal(2, 4, seed=1)
        layer = Softmax(axis=0)
        layer.forward(x)
        by_trial = numerical_gradient(lambda x: (Softmax(axis=0).forward(x) * direction).sum(), x)
        close(layer.backward(direction), by_trial, "finite differences", 1e-8)

    def test_masked_numbers(self):
        x = np.array([[1.0, -np.inf, 1.0], [-np.inf, -np.inf, -np.inf]])
        layer = Softmax()
        with np.errstate(all="raise"):
            close(layer.forward(x), np.array([[0.5, 0, 0.5], [0, 0, 0]]), "a row of minus infinities is all zeros")
            gradient = layer.backward(np.array([[1.0, 5.0, 0.0], [1.0, 2.0, 3.0]]))
        close(gradient, np.array([[0.25, 0, -0.25], [0, 0, 0]]), "no gradient where the probability is 0")

    def test_extreme_numbers(self):
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            close(Softmax().forward(np.array([1e300, 1e300])), np.array([0.5, 0.5]), "huge")
            close(Softmax().forward(np.array([-1e300, 0.0])), np.array([0.0, 1.0]), "very negative")
            close(Softmax().forward(np.array([-1e300, -1e300])), np.array([0.5, 0.5]), "all very negative")

    def test_single_precision_stays(self):
        layer = Softmax()
        assert layer.forward(np.zeros((2, 3), dtype=np.float32)).dtype == np.float32
        assert layer.backward(np.zeros((2, 3), dtype=np.float32)).dtype == np.float32


# For scores of (2, 3, queries, keys); the last two leave some queries, or a whole utterance, with nothing to attend to.
QUERIES, KEYS = 4, 5
MASKS = {
    "no mask": None,
    "causal": np.tril(np.ones((QUERIES, KEYS), dtype=bool)),
    "padding": (np.arange(KEYS) < np.array([5, 2])[:, None])[:, None, None],
    "by head": normal(2, 3, QUERIES, KEYS, seed=9) > -0.5,
    "empty row": np.tril(np.ones((QUERIES, KEYS), dtype=bool), -1),
    "empty utterance": (np.arange(KEYS) < np.array([5, 0])[:, None])[:, None, None],
}
each_mask = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())


class TestScaledDotProductAttention:
    @each_mask
    def test_as_autograd(self, mask):
        given = [normal(2, 3, QUERIES, 6), normal(2, 3, KEYS, 6, seed=1), normal(2, 3, KEYS, 7, seed=2)]
        direction = normal(2, 3, QUERIES, 7, seed=3)
        theirs = [leaf(array) for array in given]
        their_mask = None if mask is None else torch.tensor(mask)
        expected, weights = attention.scaled_dot_product_attention(*theirs, their_mask)
        expected.backward(torch.tensor(direction))
        layer = ScaledDotProductAttention()
        with np.errstate(all="raise", under="ignore"):
            close(layer.forward(*given, mask), expected, "the context")
            gradients = layer.backward(direction)
        close(layer.weights, weights, "the weights")
        for name, got, tensor in zip(("query", "key", "value"), gradients, theirs, strict=True):
            close(got, tensor.grad, f"the gradient of the {name}")

    def test_without_axes_in_front(self):
        given = [normal(2, 6), normal(3, 6, seed=1), normal(3, 4, seed=2)]
        theirs = [leaf(array) for array in given]
        expected = torch.nn.functional.scaled_dot_product_attention(*theirs)
        expected.sum().backward()
        layer = ScaledDotProductAttention()
        close(layer.forward(*given), expected, "the context")
        for got, tensor in zip(layer.backward(np.ones((2, 4))), theirs, strict=True):
            close(got, tensor.grad, "a gradient")

    @pytest.mark.parametrize("place", [0, 1, 2], ids=["query", "key", "value"])
    def test_as_finite_differences(self, place):
        given = [normal(2, 3), normal(4, 3, seed=1), normal(4, 2, seed=2)]
        direction, mask = normal(2, 2, seed=3), np.array([[True, False, True, True], [False] * 4])

        def loss(array):
            inputs = [array if place == number else other for number, other in enumerate(given)]
            return (ScaledDotProductAttention().forward(*inputs, mask) * direction).sum()

        layer = ScaledDotProductAttention()
        layer.forward(*given, mask)
        close(layer.backward(direction)[place], numerical_gradient(loss, given[place]), "finite differences", 1e-8)

    @pytest.mark.parametrize("empty", ["empty row", "empty utterance"])
    def test_nothing_to_attend_to(self, empty):
        given = [normal(2, 3, QUERIES, 6), normal(2, 3, KEYS, 6, seed=1), normal(2, 3, KEYS, 7, seed=2)]
        layer = ScaledDotProductAttention()
        context = layer.forward(*given, MASKS[empty])
        d_query, d_key, d_value = layer.backward(normal(2, 3, QUERIES, 7, seed=3))
        nothing = ~np.broadcast_to(MASKS[empty], (2, 3, QUERIES, KEYS)).any(-1)
        assert nothing.any()
        assert not context[nothing].any()
        assert not d_query[nothing].any()
        assert context[~nothing].all()
        unseen = ~np.broadcast_to(MASKS[empty], (2, 3, QUERIES, KEYS)).any(-2)
        assert not d_key[unseen].any()
        assert not d_value[unseen].any()

    def test_wrong_inputs_are_named(self):
        layer = ScaledDotProductAttention()
        with pytest.raises(ValueError, match=r"got \(2, 4\), \(3, 6\) and \(3, 4\)"):
            layer.forward(np.zeros((2, 4)), np.zeros((3, 6)), np.zeros((3, 4)))
        with pytest.raises(ValueError, match=r"got \(2, 4\), \(3, 4\) and \(5, 4\)"):
            layer.forward(np.zeros((2, 4)), np.zeros((3, 4)), np.zeros((5, 4)))
        with pytest.raises(ValueError, match="same axes in front"):
            layer.forward(np.zeros((7, 2, 4)), np.zeros((3, 4)), np.zeros((3, 4)))
        with pytest.raises(ValueError, match=r"boolean.*float64"):
            layer.forward(np.zeros((2, 4)), np.zeros((3, 4)), np.zeros((3, 4)), np.ones((2, 3)))


D_MODEL, HEADS = 12, 3
# As masks of MultiHeadAttention: padding may also be (batch, 1, keys).
MODULE_MASKS = {**MASKS, "three axes": MASKS["padding"][:, 0], "three axes, full": MASKS["by head"][:, 0]}


def pair(bias: bool = True) -> tuple[MultiHeadAttention, attention.MultiHeadAttention]:
    """Ours by hand, and the library's, with the same parameters."""
    torch.manual_seed(0)
    theirs = attention.MultiHeadAttention(D_MODEL, HEADS, bias=bias).double()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return MultiHeadAttention(D_MODEL, HEADS, theirs.state_dict()), theirs


class TestMultiHeadAttention:
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("mask", MODULE_MASKS.values(), ids=MODULE_MASKS.keys())
    def test_as_autograd(self, mask, bias):
        ours, theirs = pair(bias)
        given = [normal(2, QUERIES, D_MODEL), normal(2, KEYS, D_MODEL, seed=1), normal(2, KEYS, D_MODEL, seed=2)]
        direction = normal(2, QUERIES, D_MODEL, seed=3)
        tensors = [leaf(array) for array in given]
        expected, _ = theirs(*tensors, None if mask is None else torch.tensor(mask))
        expected.backward(torch.tensor(direction))
        close(ours.forward(*given, mask), expected, "the output")
        for name, got, tensor in zip(("query", "key", "value"), ours.backward(direction), tensors, strict=True):
            close(got, tensor.grad, f"the gradient of the {name}")
        parameters = dict(theirs.named_parameters())
        gradients = ours.gradients()
        assert gradients.keys() == parameters.keys()
        for name, parameter in parameters.items():
            close(gradients[name], parameter.grad, f"the gradient of {name}")

    def test_self_attention_adds_its_three_paths(self):
        ours, theirs = pair()
        x, direction = normal(2, KEYS, D_MODEL), normal(2, KEYS, D_MODEL, seed=1)
        tensor = leaf(x)
        theirs(tensor, tensor, tensor)[0].backward(torch.tensor(direction))
        ours.forward(x, x, x)
        close(sum(ours.backward(direction)), tensor.grad, "the gradient of an input used three times")

    def test_as_finite_differences(self):
        parameters = {name: value.numpy() for name, value in pair()[1].state_dict().items()}
        x, direction = normal(1, 2, D_MODEL), normal(1, 2, D_MODEL, seed=1)
        for name in ("q_proj.weight", "out_proj.bias"):

            def loss(array, name=name):
                layer = MultiHeadAttention(D_MODEL, HEADS, parameters | {name: array})
                return (layer.forward(x, x, x) * direction).sum()

            layer = MultiHeadAttention(D_MODEL, HEADS, parameters)
            layer.forward(x, x, x)
            layer.backward(direction)
            close(layer.gradients()[name], numerical_gradient(loss, parameters[name]), name, 1e-8)

    def test_parameters_are_copied(self):
        ours, theirs = pair()
        with torch.no_grad():
            theirs.q_proj.weight.zero_()
        assert ours.q_proj.weight.any()

    def test_sizes_that_do_not_fit_are_named(self):
        with pytest.raises(ValueError, match=r"num_heads \(5\) must divide d_model \(12\)"):
            MultiHeadAttention(12, 5, {})
        with pytest.raises(ValueError, match=r"q_proj.weight must be \(6, 6\), got \(12, 12\)"):
            MultiHeadAttention(6, 3, pair()[1].state_dict())


def test_numerical_gradient():
    x = np.array([[1, 2], [3, 4]])
    close(numerical_gradient(lambda x: (x**3).sum(), x), 3.0 * x**2, "of the sum of cubes, from whole numbers", 1e-8)
    assert (x == [[1, 2], [3, 4]]).all()


def test_by_hand_means_without_torch():
    program = "import asr_tutorial.by_hand, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
