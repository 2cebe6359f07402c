"""Weights from our modules to those of ``torch.nn`` and back, so that the two can be compared number by number.

The dictionaries that go in and out may hold weights (``module.state_dict()``) or their gradients: both packages name
and stack them alike. Attention, encoder layers and decoder layers are known.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from asr_tutorial.attention import MultiHeadAttention
from asr_tutorial.decoder import DecoderLayer
from asr_tutorial.encoder import EncoderLayer

RENAMED = [("self_attention.", "self_attn."), ("cross_attention.", "multihead_attn."), ("feed_forward.", "")]
PROJECTIONS = ("q_proj", "k_proj", "v_proj")


def to_torch(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names to PyTorch's; the three input projections become one ``in_proj``, stacked query, key, value."""
    renamed = {}
    for name, tensor in tensors.items():
        for ours, theirs in RENAMED:
            name = name.replace(ours, theirs)
        renamed[name] = tensor
    result = {name: tensor for name, tensor in renamed.items() if not any(part in name for part in PROJECTIONS)}
    for name in [name for name in renamed if "q_proj" in name]:
        prefix, kind = name.split("q_proj.")
        parts = [renamed[f"{prefix}{projection}.{kind}"] for projection in PROJECTIONS]
        result[f"{prefix}in_proj_{kind}"] = torch.cat(parts)  # 3 x (d_model, ...) -> (3 * d_model, ...)
    return result


def from_torch(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """PyTorch's names to ours: the inverse of :func:`to_torch`."""
    result = {}
    for name, tensor in tensors.items():
        if name.startswith("linear"):
            name = f"feed_forward.{name}"
        for ours, theirs in RENAMED[:2]:
            name = name.replace(theirs, ours)
        if "in_proj_" in name:
            prefix, kind = name.split("in_proj_")
            for projection, part in zip(PROJECTIONS, tensor.chunk(3), strict=True):
                result[f"{prefix}{projection}.{kind}"] = part
        else:
            result[name] = tensor
    return result


def torch_attention(ours: MultiHeadAttention) -> nn.MultiheadAttention:
    """PyTorch's module with the weights of ours."""
    bias = ours.q_proj.bias is not None
    theirs = nn.MultiheadAttention(ours.d_model, ours.num_heads, bias=bias, batch_first=True)
    theirs.load_state_dict(to_torch(ours.state_dict()))
    return theirs


def torch_encoder_layer(ours: EncoderLayer) -> nn.TransformerEncoderLayer:
    """PyTorch's pre-norm encoder layer with the weights of ours, without dropout."""
    theirs = nn.TransformerEncoderLayer(**_sizes(ours))
    theirs.load_state_dict(to_torch(ours.state_dict()))
    return theirs


def torch_decoder_layer(ours: DecoderLayer) -> nn.TransformerDecoderLayer:
    """PyTorch's pre-norm decoder layer with the weights of ours, without dropout."""
    theirs = nn.TransformerDecoderLayer(**_sizes(ours))
    theirs.load_state_dict(to_torch(ours.state_dict()))
    return theirs


def _sizes(ours: EncoderLayer | DecoderLayer) -> dict:
    attention = ours.self_attention
    d_ff = ours.feed_forward.linear1.out_features
    return {
        "d_model": attention.d_model,
        "nhead": attention.num_heads,
        "dim_feedforward": d_ff,
        "dropout": 0.0,
        "activation": "relu",
        "norm_first": True,
        "batch_first": True,
    }
