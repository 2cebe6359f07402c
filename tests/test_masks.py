"""Masks mean what they say, and both of PyTorch's conventions receive what they expect."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from asr_tutorial.masks import (
    causal_mask,
    combine_masks,
    key_mask,
    padding_mask,
    to_torch_attention_mask,
    to_torch_key_padding_mask,
)


def test_padding_mask_is_true_on_real_positions():
    mask = padding_mask(torch.tensor([3, 1, 0]))
    expected = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
    assert mask.dtype == torch.bool, f"masks are boolean (True = real), got {mask.dtype}"
    assert torch.equal(mask, expected), f"lengths 3, 1, 0: expected\n{expected}\ngot\n{mask}\nTrue = real, not padding"


def test_padding_mask_can_be_wider_than_the_longest_sequence():
    mask = padding_mask(torch.tensor([2, 1]), max_length=4)
    assert mask.shape == (2, 4), f"max_length=4 sets the time axis: expected (2, 4), got {tuple(mask.shape)}"
    assert mask.sum(dim=1).tolist() == [2, 1], "extra positions are padding, so each row has as many True as its length"


def test_padding_mask_refuses_a_sequence_that_does_not_fit():
    with pytest.raises(ValueError, match=r"length 5 .*max_length=4"):
        padding_mask(torch.tensor([2, 5]), max_length=4)


def test_causal_mask_lets_a_position_see_itself_and_the_past():
    expected = torch.tensor([[True, False, False], [True, True, False], [True, True, True]])
    mask = causal_mask(3)
    assert mask.dtype == torch.bool, f"masks are boolean, got {mask.dtype}"
    assert torch.equal(mask, expected), f"row = query, column = key: expected\n{expected}\ngot\n{mask}"
    assert causal_mask(0).shape == (0, 0)
    assert causal_mask(1).all(), "the first position sees itself"


def test_key_mask_broadcasts_over_queries():
    padding = padding_mask(torch.tensor([3, 1]))
    mask = key_mask(padding).expand(2, 4, 3)
    for query in range(4):
        assert torch.equal(mask[:, query], padding), "every query may attend to every real key, and to no other"


def test_combined_mask_allows_what_both_allow():
    mask = combine_masks(padding_mask(torch.tensor([3, 2])), causal_mask(3))
    assert mask.shape == (2, 3, 3), f"expected (batch, queries, keys) = (2, 3, 3), got {tuple(mask.shape)}"
    assert torch.equal(mask[0], causal_mask(3)), "without padding only the future is forbidden"
    expected = torch.tensor([[True, False, False], [True, True, False], [True, True, False]])
    assert torch.equal(mask[1], expected), f"two real keys and no future: expected\n{expected}\ngot\n{mask[1]}"


@pytest.fixture
def attention() -> nn.MultiheadAttention:
    torch.manual_seed(0)
    return nn.MultiheadAttention(12, num_heads=3, batch_first=True)


def test_key_padding_mask_does_in_pytorch_what_ours_means(attention):
    x, padding = torch.randn(2, 4, 12), padding_mask(torch.tensor([4, 2]))
    _, weights = attention(x, x, x, key_padding_mask=to_torch_key_padding_mask(padding))
    allowed = weights > 0  # (batch, queries, keys)
    assert torch.equal(allowed, key_mask(padding).expand(2, 4, 4)), (
        f"nn.MultiheadAttention must attend to the real keys only (its True means ignore): expected {padding}, "
        f"it attended to {allowed[:, 0]}"
    )


@pytest.mark.parametrize("per_utterance", [False, True], ids=["(queries, keys)", "(batch, queries, keys)"])
def test_attention_mask_does_in_pytorch_what_ours_means(attention, per_utterance):
    x = torch.randn(2, 4, 12)
    mask = combine_masks(padding_mask(torch.tensor([4, 2])), causal_mask(4)) if per_utterance else causal_mask(4)
    _, weights = attention(x, x, x, attn_mask=to_torch_attention_mask(mask, 3), average_attn_weights=False)
    for head in range(3):
        assert torch.equal(weights[:, head] > 0, mask.expand(2, 4, 4)), (
            f"head {head} attends to other keys than the mask allows: nn.MultiheadAttention counts batch * heads with "
            "the heads of one utterance next to each other"
        )


def test_scaled_dot_product_attention_takes_our_masks_as_they_are():
    torch.manual_seed(0)
    query, key = torch.randn(2, 4, 8), torch.randn(2, 4, 8)
    mask = combine_masks(padding_mask(torch.tensor([4, 2])), causal_mask(4))
    # With the identity as values, the output is the weights.
    weights = F.scaled_dot_product_attention(query, key, torch.eye(4).expand(2, 4, 4), attn_mask=mask)
    assert torch.equal(weights > 0, mask), (
        "F.scaled_dot_product_attention and this project share True = may be attended"
    )
