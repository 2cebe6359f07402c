"""Attention: both paths agree with each other and with PyTorch, and nothing forbidden is ever looked at."""

import pytest
import torch
from model_checks import assert_same, gradients
from torch.nn import functional as F
from transplant import from_torch, to_torch, torch_attention

from asr_tutorial.attention import (
    KeyValueCache,
    MultiHeadAttention,
    fused_attention,
    scaled_dot_product_attention,
)
from asr_tutorial.masks import (
    causal_mask,
    combine_masks,
    key_mask,
    padding_mask,
    to_torch_attention_mask,
    to_torch_key_padding_mask,
)

BATCH, HEADS, LENGTH, D_HEAD = 2, 3, 5, 4
D_MODEL = HEADS * D_HEAD
PADDING = padding_mask(torch.tensor([5, 2]))
MASKS = {
    "no mask": None,
    "padding": key_mask(PADDING),
    "causal": causal_mask(LENGTH),
    "combined": combine_masks(PADDING, causal_mask(LENGTH)),
}
# With an axis for the heads; the last one is another mask for each head.
HEAD_MASKS = {name: mask[:, None] if mask is not None and mask.dim() == 3 else mask for name, mask in MASKS.items()}
HEAD_MASKS["by head"] = combine_masks(PADDING, causal_mask(LENGTH))[:, None] & torch.tensor(
    [[True] * 5, [True, False, True, False, True], [True, True, False, False, False]]
).view(1, HEADS, 1, LENGTH)
each_mask = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
each_head_mask = pytest.mark.parametrize("mask", HEAD_MASKS.values(), ids=HEAD_MASKS.keys())


def inputs(seed: int = 0, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Query, key and value with the axes of heads: (batch, heads, length, d_head)."""
    torch.manual_seed(seed)
    return [torch.randn(BATCH, HEADS, LENGTH, D_HEAD).to(dtype).requires_grad_() for _ in range(3)]


def module(bias: bool = True, dropout: float = 0.0) -> MultiHeadAttention:
    torch.manual_seed(1)
    attention = MultiHeadAttention(D_MODEL, HEADS, dropout, bias)
    if bias:  # they start at zero, which would hide a mistake
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
            torch.nn.init.normal_(projection.bias)
    return attention


class TestScaledDotProduct:
    def test_worked_example(self):
        """Scores 0 and ln 3 after division by sqrt(4), hence weights 1/4 and 3/4."""
        query = torch.tensor([[2.0, 0, 0, 0]])
        key = torch.tensor([[0.0, 0, 0, 0], [torch.log(torch.tensor(3.0)), 0, 0, 0]])
        context, weights = scaled_dot_product_attention(query, key, torch.tensor([[4.0], [8.0]]))
        assert_same(weights, torch.tensor([[0.25, 0.75]]), "softmax(query key^T / sqrt(d)) with d = 4")
        assert_same(context, torch.tensor([[7.0]]), "the context is the weighted mean of the values: 1/4 * 4 + 3/4 * 8")

    @each_head_mask
    def test_weights_sum_to_one_over_the_keys(self, mask):
        _, weights = scaled_dot_product_attention(*inputs(), mask)
        assert weights.shape == (BATCH, HEADS, LENGTH, LENGTH), f"(..., queries, keys), got {tuple(weights.shape)}"
        assert_same(weights.sum(-1), torch.ones(BATCH, HEADS, LENGTH), "a query shares out 1 over the keys (last axis)")

    @each_head_mask
    def test_forbidden_keys_get_nothing(self, mask):
        _, weights = scaled_dot_product_attention(*inputs(), mask)
        allowed = torch.ones_like(weights, dtype=torch.bool) if mask is None else mask.expand_as(weights)
        assert torch.equal(weights > 0, allowed), "weights are above 0 exactly where the mask is True"

    def test_values_may_have_another_width(self):
        query, key, _ = inputs()
        context, _ = scaled_dot_product_attention(query, key, torch.randn(BATCH, HEADS, LENGTH, 7))
        assert context.shape == (BATCH, HEADS, LENGTH, 7)

    def test_large_scores_do_not_overflow(self):
        context, weights = scaled_dot_product_attention(
            torch.full((1, 4), 1e4), torch.full((2, 4), 1e4), torch.ones(2, 4)
        )
        assert_same(weights, torch.full((1, 2), 0.5), "equal scores of 2e8 are still shared equally")
        assert_same(context, torch.ones(1, 4), "and give no NaN")

    def test_shapes_that_do_not_fit_are_named(self):
        with pytest.raises(ValueError, match=r"last dimension d, got 4 and 6"):
            scaled_dot_product_attention(torch.zeros(2, 4), torch.zeros(3, 6), torch.zeros(3, 4))
        with pytest.raises(ValueError, match=r"number of positions, got 3 and 5"):
            scaled_dot_product_attention(torch.zeros(2, 4), torch.zeros(3, 4), torch.zeros(5, 4))


class TestBothPaths:
    @each_head_mask
    def test_same_output_and_gradients(self, mask):
        ours, fast = inputs(), inputs()
        context, _ = scaled_dot_product_attention(*ours, mask)
        fused = fused_attention(*fast, mask)
        assert_same(fused, context, "the fast path must compute what the explicit one computes")
        direction = torch.randn_like(context)
        context.backward(direction)
        fused.backward(direction)
        for name, one, other in zip(("query", "key", "value"), ours, fast, strict=True):
            assert_same(
                other.grad, one.grad, f"gradients of {name}: training on the fast path must be the same training"
            )

    @each_head_mask
    def test_same_output_without_gradients(self, mask):
        with torch.no_grad():
            context, _ = scaled_dot_product_attention(*inputs(), mask)
            assert_same(
                fused_attention(*inputs(), mask), context, "inference takes another kernel, with the same result"
            )

    @each_head_mask
    @pytest.mark.parametrize("training", [True, False])
    def test_about_the_same_in_bfloat16(self, mask, training):
        with torch.set_grad_enabled(training):
            exact, _ = scaled_dot_product_attention(*inputs(), mask)
            for path in (fused_attention, lambda *given: scaled_dot_product_attention(*given)[0]):
                context = path(*inputs(dtype=torch.bfloat16), mask)
                assert context.dtype == torch.bfloat16, f"half precision in, half precision out, got {context.dtype}"
                assert_same(context.float(), exact, "bf16 has 8 bits of precision", tolerance=5e-2)

    def test_pytorchs_own_function_agrees(self):
        mask = HEAD_MASKS["combined"]
        expected = F.scaled_dot_product_attention(*inputs(), attn_mask=mask)
        assert_same(scaled_dot_product_attention(*inputs(), mask)[0], expected, "PyTorch computes the same function")

    @pytest.mark.parametrize("path", ["explicit", "training", "inference"])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("shape", [(BATCH, 1, 1, LENGTH), (BATCH, 1, LENGTH, LENGTH), (LENGTH, LENGTH)])
    def test_nothing_to_attend_to_gives_zeros(self, path, dtype, shape):
        mask = torch.ones(shape, dtype=torch.bool)
        mask[0] = False  # the whole first utterance, or the first query
        empty = ~mask.any(-1).expand(BATCH, HEADS, LENGTH)  # (batch, heads, queries)
        given = inputs(dtype=dtype)
        with torch.set_grad_enabled(path != "inference"):
            context = (
                scaled_dot_product_attention(*given, mask)[0] if path == "explicit" else fused_attention(*given, mask)
            )
        assert torch.isfinite(context).all(), "a softmax over nothing is 0/0: one such row makes a whole batch NaN"
        assert (context[empty] == 0).all(), "a query that may attend to nothing gets zeros"
        assert (context[~empty] != 0).all(), "other queries are not touched"
        if path == "inference":
            return
        context.float().square().sum().backward()
        for name, tensor in zip(("query", "key", "value"), given, strict=True):
            assert torch.isfinite(tensor.grad).all(), f"gradient of {name}: NaN here ends a training"
        assert (given[0].grad[empty] == 0).all(), "a query that saw nothing has nothing to learn from"
        if len(shape) == 4:
            assert (given[1].grad[0] == 0).all(), "nor has a key or value that nobody may see"
            assert (given[2].grad[0] == 0).all(), "nor has a key or value that nobody may see"

    @pytest.mark.parametrize("fused", [True, False])
    @each_mask
    def test_module_gives_the_same_on_both_paths(self, fused, mask):
        attention = module().train()
        x = torch.randn(BATCH, LENGTH, D_MODEL)
        attention.fused = fused
        output, weights = attention(x, x, x, mask)
        assert weights is None, "weights are computed only where they are asked for"
        with_weights, weights = attention(x, x, x, mask, need_weights=True)
        assert_same(output, with_weights, "asking for the weights must not change the output")
        assert weights.shape == (BATCH, HEADS, LENGTH, LENGTH), f"one map per head, got {tuple(weights.shape)}"
        assert_same(weights.sum(-1), torch.ones(BATCH, HEADS, LENGTH), "rows of the map sum to 1")
        if mask is not None:
            forbidden = ~mask.expand(BATCH, LENGTH, LENGTH)[:, None].expand_as(weights)
            assert (weights[forbidden] == 0).all(), "the map shows nothing where the mask forbids it"


class TestAgainstPyTorch:
    """``nn.MultiheadAttention`` with transplanted weights."""

    @pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
    @each_mask
    def test_same_outputs_weights_and_gradients(self, mask, bias):
        ours = module(bias)
        theirs = torch_attention(ours)
        given = [torch.randn(BATCH, LENGTH, D_MODEL) for _ in range(3)]
        our_inputs = [tensor.clone().requires_grad_() for tensor in given]
        their_inputs = [tensor.clone().requires_grad_() for tensor in given]
        options = {}
        if mask is not None:
            full = mask if mask.dim() == 2 else mask.expand(BATCH, LENGTH, LENGTH)
            options = {"attn_mask": to_torch_attention_mask(full, HEADS)}

        output, _ = ours(*our_inputs, mask)
        expected, expected_weights = theirs(*their_inputs, average_attn_weights=False, **options)
        assert_same(output, expected, "with the same weights, nn.MultiheadAttention gives the same output")
        _, weights = ours(*given, mask, need_weights=True)
        assert_same(weights, expected_weights, "and the same attention weights, head by head")

        direction = torch.randn_like(output)
        output.backward(direction)
        expected.backward(direction)
        for name, one, other in zip(("query", "key", "value"), our_inputs, their_inputs, strict=True):
            assert_same(one.grad, other.grad, f"gradient of the loss by {name}")
        their_gradients = from_torch(gradients(theirs))
        for name, gradient in gradients(ours).items():
            assert_same(gradient, their_gradients[name], f"gradient of the loss by {name}")

    def test_key_padding_mask(self):
        ours, x = module(), torch.randn(BATCH, LENGTH, D_MODEL)
        expected, _ = torch_attention(ours)(x, x, x, key_padding_mask=to_torch_key_padding_mask(PADDING))
        assert_same(ours(x, x, x, key_mask(PADDING))[0], expected, "padding through PyTorch's key_padding_mask")

    def test_transplant_there_and_back(self):
        weights = module().state_dict()
        back = from_torch(to_torch(weights))
        assert back.keys() == weights.keys()
        assert all(torch.equal(back[name], weights[name]) for name in weights)


class TestCache:
    @pytest.mark.parametrize("fused", [True, False])
    def test_step_by_step_is_all_at_once(self, fused):
        attention, x = module().eval(), torch.randn(BATCH, LENGTH, D_MODEL)
        attention.fused = fused
        expected, _ = attention(x, x, x, causal_mask(LENGTH))
        cache = KeyValueCache()
        steps = [attention(x[:, t : t + 1], x[:, t : t + 1], x[:, t : t + 1], cache=cache)[0] for t in range(LENGTH)]
        assert_same(torch.cat(steps, dim=1), expected, "a query that sees all cached keys sees itself and the past")
        assert cache.keys.shape == (BATCH, HEADS, LENGTH, D_HEAD), "the cache holds one key for each step"

    def test_a_fixed_cache_projects_once(self):
        attention, cache = module().eval(), KeyValueCache(fixed=True)
        query, states = torch.randn(BATCH, 1, D_MODEL), torch.randn(BATCH, LENGTH, D_MODEL)
        first, _ = attention(query, states, states, cache=cache)
        assert_same(first, attention(query, states, states)[0], "the first call is an ordinary one")
        second, _ = attention(query, states, states, cache=cache)
        assert_same(second, first, "the encoder's output stays what it was")
        assert cache.keys.shape[2] == LENGTH, f"a fixed cache must not grow: {LENGTH} keys, got {cache.keys.shape[2]}"

    @pytest.mark.parametrize("fixed", [True, False])
    def test_select_keeps_rows_in_the_order_given(self, fixed):
        attention, cache = module().eval(), KeyValueCache(fixed)
        x = torch.randn(BATCH, LENGTH, D_MODEL)
        attention(x, x, x, cache=cache)
        keys, values = cache.keys, cache.values
        rows = torch.tensor([1, 1, 0])
        cache.select(rows)
        assert torch.equal(cache.keys, keys[rows]), "a beam that continues hypothesis 1 twice needs its keys twice"
        assert torch.equal(cache.values, values[rows]), "keys and values belong together"

    def test_selecting_from_an_empty_cache(self):
        cache = KeyValueCache()
        cache.select(torch.tensor([0]))
        assert cache.keys is None


class TestModule:
    def test_dropout_only_in_training(self):
        attention, x = module(dropout=0.5), torch.randn(BATCH, LENGTH, D_MODEL)
        for fused in (True, False):
            attention.fused = fused
            attention.train()
            assert not torch.equal(attention(x, x, x)[0], attention(x, x, x)[0]), "training drops weights at random"
            attention.eval()
            assert torch.equal(attention(x, x, x)[0], attention(x, x, x)[0]), "evaluation drops nothing"
        expected = module(dropout=0.0).eval()(x, x, x)[0]
        assert_same(attention(x, x, x)[0], expected, "in evaluation, dropout must leave no trace")

    def test_padding_changes_nothing(self):
        attention, x = module().eval(), torch.randn(BATCH, LENGTH, D_MODEL)
        changed = x.clone()
        changed[~PADDING] = 1e3
        one, other = (attention(x, keys, keys, key_mask(PADDING))[0] for keys in (x, changed))
        assert_same(one, other, "what lies in padded keys must not matter")

    def test_queries_and_keys_of_different_lengths(self):
        output, weights = module()(
            torch.randn(BATCH, 2, D_MODEL), *[torch.randn(BATCH, 7, D_MODEL)] * 2, need_weights=True
        )
        assert output.shape == (BATCH, 2, D_MODEL), "one output for each query"
        assert weights.shape == (BATCH, HEADS, 2, 7), "(batch, heads, queries, keys)"

    def test_a_mask_with_an_axis_for_heads(self):
        x, mask = torch.randn(BATCH, LENGTH, D_MODEL), HEAD_MASKS["by head"]
        _, weights = module()(x, x, x, mask, need_weights=True)
        assert torch.equal(weights > 0, mask), "(batch, heads, queries, keys) gives every head a mask of its own"

    def test_heads_must_divide_the_width(self):
        with pytest.raises(ValueError, match=r"num_heads \(5\) must divide d_model \(12\)"):
            MultiHeadAttention(12, 5)

    @pytest.mark.parametrize("name", ["query", "key", "value"])
    @pytest.mark.parametrize("shape", [(BATCH, LENGTH, D_MODEL + 1), (LENGTH, D_MODEL)])
    def test_wrong_inputs_are_named(self, name, shape):
        given = {part: torch.zeros(BATCH, LENGTH, D_MODEL) for part in ("query", "key", "value")}
        given[name] = torch.zeros(shape)
        with pytest.raises(ValueError, match=rf"{name} must be \(batch, length, {D_MODEL}\), got .*{shape[-1]}"):
            module()(**given)

    @pytest.mark.parametrize(("key", "value"), [((2, 5), (2, 4)), ((3, 5), (3, 5)), ((2, 5), (3, 5))])
    def test_sizes_that_do_not_fit_together_are_named(self, key, value):
        with pytest.raises(ValueError, match="same batch, and key and value the same length, got"):
            module()(torch.zeros(2, 5, D_MODEL), torch.zeros(*key, D_MODEL), torch.zeros(*value, D_MODEL))

    def test_wrong_masks_are_named(self):
        x = torch.zeros(BATCH, LENGTH, D_MODEL)
        with pytest.raises(ValueError, match=r"boolean.*torch\.float32"):
            module()(x, x, x, torch.ones(LENGTH, LENGTH))
        with pytest.raises(ValueError, match=r"\(5, 6\) does not fit \(batch, heads, queries, keys\) \(2, 3, 5, 5\)"):
            module()(x, x, x, torch.ones(5, 6, dtype=torch.bool))
