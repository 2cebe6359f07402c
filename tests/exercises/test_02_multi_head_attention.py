"""Exercises of chapter 02: heads side by side, and the cache that a decoder keeps."""

from __future__ import annotations

import pytest
import torch
from teaching import expect, same
from torch import Tensor, nn

from asr_tutorial import attention
from asr_tutorial.attention import KeyValueCache, MultiHeadAttention, scaled_dot_product_attention

# (batch 1, length 4, d_model 4), 0 to 15: 0 1 2 3 are the features of the first position.
COUNTING = torch.arange(16.0).view(1, 4, 4)
# The same for two heads: head 0 gets features 0 and 1 of each position, head 1 features 2 and 3.
COUNTING_HEADS = torch.tensor([[[[0.0, 1], [4, 5], [8, 9], [12, 13]], [[2, 3], [6, 7], [10, 11], [14, 15]]]])


def module(d_model: int = 12, num_heads: int = 3, dropout: float = 0.0, seed: int = 0) -> MultiHeadAttention:
    """Fixed weights; the biases, zero at first, are drawn too, since zeros hide mistakes."""
    torch.manual_seed(seed)
    made = MultiHeadAttention(d_model, num_heads, dropout)
    for projection in (made.q_proj, made.k_proj, made.v_proj, made.out_proj):
        nn.init.normal_(projection.bias)
    return made.eval()


def numbers(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------ 2.1 split_heads


@pytest.mark.exercise("2.1")
def test_split_by_hand():
    same(
        MultiHeadAttention(4, 2).split_heads(COUNTING),
        COUNTING_HEADS,
        "with 4 features and 2 heads, head 0 gets features 0 and 1 of every position and head 1 features 2 and 3",
    )


@pytest.mark.exercise("2.1")
def test_split_shape():
    got = MultiHeadAttention(12, 3).split_heads(numbers(2, 5, 12))
    expect(
        isinstance(got, Tensor) and tuple(got.shape) == (2, 3, 5, 4),
        "(batch, heads, length, d_head) = (2, 3, 5, 4)",
        tuple(got.shape) if isinstance(got, Tensor) else got,
        "attention works on the last two axes, so the heads stand before the length, like one more axis of the batch",
    )


@pytest.mark.exercise("2.1")
def test_split_each_head_is_a_slice():
    x, made = numbers(2, 5, 12), MultiHeadAttention(12, 3)
    got = made.split_heads(x)
    for head in range(3):
        same(
            got[:, head],
            x[:, :, 4 * head : 4 * head + 4],
            f"head {head} sees a run of neighbouring features of each position, {4 * head} to {4 * head + 3}",
        )


@pytest.mark.exercise("2.1")
def test_split_keeps_positions_apart():
    x, made = numbers(1, 6, 8), MultiHeadAttention(8, 2)
    changed = x.clone()
    changed[:, 3] += 1
    moved = (made.split_heads(changed) - made.split_heads(x)).abs().sum(-1)  # (batch, heads, length)
    expected = torch.zeros(1, 2, 6)
    expected[:, :, 3] = 4.0
    same(moved, expected, "only position 3 was changed, so in every head only position 3 may change")


@pytest.mark.exercise("2.1")
def test_split_one_head():
    x = numbers(2, 3, 4)
    same(
        MultiHeadAttention(4, 1).split_heads(x), x[:, None], "one head gets all features; only an axis of size 1 comes"
    )


# ------------------------------------------------------------------------------------------------ 2.2 merge_heads


@pytest.mark.exercise("2.2")
def test_merge_by_hand():
    same(
        MultiHeadAttention(4, 2).merge_heads(COUNTING_HEADS),
        COUNTING,
        "at each position the results of head 0 come first and those of head 1 behind them",
    )


@pytest.mark.exercise("2.2")
def test_merge_shape():
    got = MultiHeadAttention(12, 3).merge_heads(numbers(2, 3, 5, 4))
    expect(
        isinstance(got, Tensor) and tuple(got.shape) == (2, 5, 12),
        "(batch, length, d_model) = (2, 5, 12)",
        tuple(got.shape) if isinstance(got, Tensor) else got,
        "the output projection takes d_model numbers of each position: the heads lie side by side in the last axis",
    )


@pytest.mark.exercise("2.2")
def test_merge_puts_heads_side_by_side():
    x = numbers(2, 3, 5, 4)
    got = MultiHeadAttention(12, 3).merge_heads(x)
    for head in range(3):
        same(
            got[:, :, 4 * head : 4 * head + 4],
            x[:, head],
            f"features {4 * head} to {4 * head + 3} of a position are what head {head} computed there",
        )


@pytest.mark.exercise("2.2")
def test_merge_keeps_positions_apart():
    x, made = numbers(1, 2, 6, 4), MultiHeadAttention(8, 2)
    changed = x.clone()
    changed[:, :, 3] += 1
    moved = (made.merge_heads(changed) - made.merge_heads(x)).abs().sum(-1)  # (batch, length)
    same(moved, torch.tensor([[0.0, 0, 0, 8, 0, 0]]), "only position 3 was changed, so only position 3 may change")


# ------------------------------------------------------------------------------------------------ 2.3 forward


def by_hand(made: MultiHeadAttention, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None):
    """Head by head with slices of the weights: output (batch, queries, d_model), weights (batch, heads, ...)."""
    d_head = made.d_model // made.num_heads
    output, maps = made.out_proj.bias, []
    for head in range(made.num_heads):
        part = slice(head * d_head, (head + 1) * d_head)
        q, k, v = (
            given @ projection.weight[part].T + projection.bias[part]
            for given, projection in ((query, made.q_proj), (key, made.k_proj), (value, made.v_proj))
        )
        context, weights = scaled_dot_product_attention(q, k, v, mask)
        output = output + context @ made.out_proj.weight[:, part].T
        maps.append(weights)
    return output, torch.stack(maps, dim=1)


@pytest.mark.exercise("2.3")
def test_keys_and_values_have_projections_of_their_own():
    made, key, value = module(), numbers(2, 5, 12), numbers(2, 5, 12, seed=2)
    keys, values = made.project_keys_and_values(key, value)
    same(keys, made.split_heads(made.k_proj(key)), "keys go through k_proj and are split into heads")
    same(values, made.split_heads(made.v_proj(value)), "values go through v_proj and are split into heads")


@pytest.mark.exercise("2.3")
def test_forward_by_hand():
    made = MultiHeadAttention(2, 2).eval()
    for projection in (made.q_proj, made.k_proj, made.v_proj, made.out_proj):
        projection.weight.data = torch.eye(2)
    query = torch.tensor([[[1.0, 0.0]]])
    key = torch.tensor([[[0.0, 5.0], [torch.log(torch.tensor(3.0)), 1.0]]])
    value = torch.tensor([[[4.0, 2.0], [8.0, 6.0]]])
    output, weights = made(query, key, value, need_weights=True)
    same(
        weights,
        torch.tensor([[[[0.25, 0.75]], [[0.5, 0.5]]]]),
        "two heads of one feature, projections that change nothing: head 0 scores 0 and ln 3, head 1 scores 0 and 0",
    )
    same(output, torch.tensor([[[7.0, 4.0]]]), "head 0 gives 1/4 * 4 + 3/4 * 8, head 1 gives 1/2 * 2 + 1/2 * 6")


@pytest.mark.exercise("2.3")
def test_forward_is_attention_in_each_head():
    made = module()
    query, key, value = numbers(2, 4, 12), numbers(2, 6, 12, seed=2), numbers(2, 6, 12, seed=3)
    expected, expected_weights = by_hand(made, query, key, value)
    for fused in (False, True):
        made.fused = fused
        output, weights = made(query, key, value)
        same(
            output, expected, "project, split, attend in each head, merge, project: nn.MultiheadAttention does the same"
        )
        expect(weights is None, "None for the weights", type(weights), "nobody asked for them (need_weights is False)")
    output, weights = made(query, key, value, need_weights=True)
    same(output, expected, "asking for the weights must not change the output")
    same(weights, expected_weights, "need_weights=True returns a map for every head, (batch, heads, queries, keys)")


@pytest.mark.exercise("2.3")
def test_forward_masks():
    made = module(num_heads=2)  # as many heads as utterances: a mask laid on the wrong axis would raise no error
    x = numbers(2, 4, 12)
    padding = torch.tensor([[[True, True, True, True]], [[True, True, False, False]]])  # (batch, 1, keys)
    causal = torch.ones(4, 4).tril().bool()
    for mask, why in (
        (causal, "a mask (queries, keys) holds for every utterance and head"),
        (padding, "a mask (batch, 1, keys) belongs to utterances: every head of utterance 1 sees its first two keys"),
        (padding & causal, "a mask (batch, queries, keys) belongs to utterances, and is the same for all heads"),
        (torch.stack([causal, ~causal | torch.eye(4).bool()])[None].expand(2, 2, 4, 4), "four axes: a mask a head"),
    ):
        allowed = (mask[:, None] if mask.dim() == 3 else mask).expand(2, 2, 4, 4)
        _, weights = made(x, x, x, mask, need_weights=True)
        same(
            (weights > 0).float(), allowed.float(), f"1 marks a key that is attended, True in the mask allows it; {why}"
        )
        expected = by_hand(made, x, x, x, mask)[0] if mask.dim() < 4 else made(x, x, x, mask, need_weights=True)[0]
        for fused in (False, True):
            made.fused = fused
            same(made(x, x, x, mask)[0], expected, f"the output must heed the mask too; {why}")


@pytest.mark.exercise("2.3")
def test_forward_dropout_in_training_only():
    made, plain, x = module(dropout=0.5), module(), numbers(2, 6, 12)
    for fused in (False, True):
        made.fused = fused
        same(
            made.eval()(x, x, x)[0],
            plain(x, x, x)[0],
            "in evaluation nothing is dropped: the result must not be random",
        )
        torch.manual_seed(0)
        dropped = made.train()(x, x, x)[0]
        expect(
            not torch.allclose(dropped, plain(x, x, x)[0]),
            "another output than in evaluation",
            "the same one",
            "in training, weights are dropped with probability self.dropout (0.5 here)",
        )


@pytest.mark.exercise("2.3")
def test_forward_gradients_reach_all_projections():
    made, x = module(), numbers(2, 5, 12)
    made(x, x, x)[0].square().sum().backward()
    reference = module()
    by_hand(reference, x, x, x)[0].square().sum().backward()
    for (name, got), expected in zip(made.named_parameters(), reference.parameters(), strict=True):
        expect(got.grad is not None, f"a gradient for {name}", None, f"{name} takes no part in the output")
        same(got.grad, expected.grad, f"the gradient of {name} is what this projection learns from", tolerance=1e-4)


@pytest.mark.exercise("2.3")
def test_forward_uses_the_cache():
    made, x = module(), numbers(2, 4, 12)
    expected = by_hand(made, x, x, x, torch.ones(4, 4).tril().bool())[0]
    cache = KeyValueCache()
    steps = [made(x[:, t : t + 1], x[:, t : t + 1], x[:, t : t + 1], cache=cache)[0] for t in range(4)]
    same(
        torch.cat(steps, dim=1),
        expected,
        "with a cache, position after position gives what all at once under a causal mask gives: "
        "self._keys_and_values(key, value, cache) hands back the earlier keys and values too",
    )


@pytest.mark.exercise("2.3")
def test_forward_explicit_path(monkeypatch):
    def fused_attention(*_: object) -> None:
        raise AssertionError("fused is False, but fused_attention was called: your own attention would not be run")

    monkeypatch.setattr(attention, "fused_attention", fused_attention)
    made, x = module(), numbers(1, 3, 12)
    made.fused = False
    same(made(x, x, x)[0], by_hand(made, x, x, x)[0], "with fused = False the explicit path computes the output")


# ------------------------------------------------------------------------------------------------ 2.4 the cache


def halves(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Keys and values (batch 3, heads 2, length 2, d_head 2)."""
    return numbers(3, 2, 2, 2, seed=seed), numbers(3, 2, 2, 2, seed=seed + 100)


@pytest.mark.exercise("2.4")
def test_cache_first_update():
    cache, (keys, values) = KeyValueCache(), halves()
    got = cache.update(keys, values)
    same(got[0], keys, "an empty cache returns the keys that it is given")
    same(got[1], values, "an empty cache returns the values that it is given")
    same(cache.keys, keys, "and keeps them for the next step, in cache.keys")
    same(cache.values, values, "and keeps them for the next step, in cache.values")


@pytest.mark.exercise("2.4")
def test_cache_appends():
    cache = KeyValueCache()
    one, two, three = halves(), halves(1), halves(2)
    for pair in (one, two, three):
        got = cache.update(*pair)
    expected = [torch.cat([one[i], two[i], three[i]], dim=2) for i in (0, 1)]
    same(got[0], expected[0], "update returns the keys of all positions so far, in the order of time")
    same(got[1], expected[1], "update returns the values of all positions so far, in the order of time")
    same(cache.keys, expected[0], "the cache must hold what it returned, or the next step forgets this one")
    same(cache.values, expected[1], "the cache must hold what it returned, or the next step forgets this one")


@pytest.mark.exercise("2.4")
def test_cache_selects_rows_in_order():
    cache, (keys, values) = KeyValueCache(), halves()
    cache.update(keys, values)
    cache.select(torch.tensor([2, 0, 0]))
    expect(cache.keys is not None and cache.values is not None, "a filled cache", "an empty one", "rows are kept")
    same(cache.keys, torch.stack([keys[2], keys[0], keys[0]]), "rows in the order asked for, row 0 twice")
    same(cache.values, torch.stack([values[2], values[0], values[0]]), "values go with their keys")


@pytest.mark.exercise("2.4")
def test_cache_selects_another_number_of_rows():
    cache, (keys, values) = KeyValueCache(), halves()
    cache.update(keys, values)
    cache.select(torch.tensor([1]))
    same(cache.keys, keys[1:2], "a search may end with fewer hypotheses than it began with: the batch shrinks")
    cache.select(torch.tensor([0, 0, 0, 0]))
    same(cache.values, values[[1, 1, 1, 1]], "or grow: one hypothesis becomes four")


@pytest.mark.exercise("2.4")
def test_cache_selects_from_nothing():
    cache = KeyValueCache()
    cache.select(torch.tensor([0]))
    expect(cache.keys is None, "None", type(cache.keys), "an empty cache has no rows to choose, and stays empty")


# ------------------------------------------------------------------------------------------------ probes


def _module(m, d_model=12, num_heads=3, dropout=0.0):
    torch.manual_seed(0)
    made = m.MultiHeadAttention(d_model, num_heads, dropout)
    for projection in (made.q_proj, made.k_proj, made.v_proj, made.out_proj):
        nn.init.normal_(projection.bias)
    return made.eval()


def probe_split(m):
    yield m.MultiHeadAttention(4, 2).split_heads(torch.arange(16.0).view(1, 4, 4))
    yield m.MultiHeadAttention(12, 3).split_heads(numbers(2, 6, 12))


def probe_merge(m):
    yield m.MultiHeadAttention(4, 2).merge_heads(COUNTING_HEADS)
    yield m.MultiHeadAttention(12, 3).merge_heads(numbers(2, 3, 6, 4))


def probe_forward(m):
    query, key, value = numbers(2, 4, 12), numbers(2, 6, 12, seed=2), numbers(2, 6, 12, seed=3)
    made = _module(m, num_heads=2)
    for need_weights in (True, False):
        output, weights = made(query, key, value, need_weights=need_weights)
        yield output
        yield "no weights" if weights is None else weights
    mask = torch.ones(2, 4, 6, dtype=torch.bool).tril(2)
    mask[1, :, 3:] = False
    for given in (mask, mask[0]):
        yield made(query, key, value, given, need_weights=True)[0]
    cache = m.KeyValueCache()
    for t in range(3):
        yield made(query[:, t : t + 1], key[:, t : t + 1], value[:, t : t + 1], cache=cache)[0]
    # Whether dropout acts, not what it drops: that depends on how the random numbers are drawn.
    made, plain = _module(m, dropout=0.5), _module(m)
    for mode in (True, False):
        torch.manual_seed(1)
        same_output = torch.allclose(made.train(mode)(query, key, value)[0], plain(query, key, value)[0], atol=1e-5)
        yield "dropout leaves no trace" if same_output else "dropout acts"


def probe_cache(m):
    cache = m.KeyValueCache()
    for seed in (0, 1, 2):
        yield from cache.update(*halves(seed))
    filled = m.KeyValueCache(keys=halves()[0], values=halves()[1])
    for rows in ([2, 0, 0], [1, 0]):
        filled.select(torch.tensor(rows))
        yield "nothing" if filled.keys is None else filled.keys
        yield "nothing" if filled.values is None else filled.values


PROBES = {"2.1": probe_split, "2.2": probe_merge, "2.3": probe_forward, "2.4": probe_cache}
