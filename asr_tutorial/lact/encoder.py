"""The encoder made of memories: attention over a window, the layer, the convolutions below, the whole stack."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr_tutorial.attention import fused_attention
from asr_tutorial.config import ModelConfig
from asr_tutorial.convolution import Conv2d, masked_relu
from asr_tutorial.dropout import Dropout
from asr_tutorial.dropout import dropout as fast_dropout
from asr_tutorial.encoder import ConvModule, Encoder, EncoderLayer, halve
from asr_tutorial.lact.fast_weights import Memory
from asr_tutorial.masks import padding_mask
from asr_tutorial.positional import positional_encoding


def with_neighbours(blocks: Tensor, dim: int, causal: bool) -> Tensor:
    """Each block with the one before it and, unless ``causal``, the one after it; zeros beyond the ends.

    Args:
        blocks: (batch, blocks, ...).
        dim: the axis of the frames of a block, which the neighbours are laid along.
        causal: leave out the block after.

    Returns:
        (batch, blocks, ...) with two or three times as many frames.
    """
    nothing = torch.zeros_like(blocks[:, :1])
    before = torch.cat([nothing, blocks[:, :-1]], dim=1)
    after = torch.cat([blocks[:, 1:], nothing], dim=1)
    return torch.cat([before, blocks] if causal else [before, blocks, after], dim=dim)


def window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    padding: Tensor,
    window: int,
    causal: bool = False,
    dropout: float = 0.0,
) -> Tensor:
    """Attention of each frame to those at most ``window`` frames away; the cost grows with the length alone.

    The frames are cut into blocks of ``window``. Whatever a frame may see lies in its own block or in a neighbour, so
    that each block has a small problem of its own, and a mask over all pairs of frames is never made.

    Args:
        query: (batch, heads, frames, d_head).
        key: the same.
        value: the same.
        padding: (batch, frames) boolean, True = real.
        window: frames to either side.
        causal: to the past only.
        dropout: probability on the attention weights.

    Returns:
        (batch, heads, frames, d_head).
    """
    frames = query.shape[2]
    width = min(window, frames)
    extra = -frames % width

    def fold(x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, extra)).unflatten(2, (-1, width)).transpose(1, 2)  # (batch, blocks, heads, width, d)

    queries, keys, values = fold(query), *(with_neighbours(fold(x), 3, causal) for x in (key, value))
    real = with_neighbours(F.pad(padding, (0, extra)).unflatten(1, (-1, width)), 2, causal)  # (batch, blocks, keys)
    place = torch.arange(real.shape[-1], device=query.device) - width  # of each key, from the block's first frame on
    distance = place[None, :] - torch.arange(width, device=query.device)[:, None]  # (width, keys)
    near = (distance.abs() <= width) & (distance <= 0 if causal else True)
    # A frame always sees itself, padding too: no row is empty, whatever a kernel makes of empty rows.
    mask = (near & real[:, :, None, :]) | (distance == 0)  # (batch, blocks, width, keys)
    # The blocks are a batch of short utterances, (batch * blocks, heads, width, d_head): fast kernels want four axes.
    queries, keys, values = (x.flatten(0, 1) for x in (queries, keys, values))
    context = fused_attention(queries, keys, values, mask.flatten(0, 1)[:, None], dropout)
    context = context.unflatten(0, real.shape[:2]).transpose(1, 2)  # (batch, heads, blocks, width, d_head)
    return context.flatten(2, 3)[:, :, :frames]


class LactLayer(EncoderLayer):
    """An encoder layer whose attention sees a window, with a memory beside it for all the rest.

    Both take the same queries, keys and values, and their sum goes through the same last projection. The parameters
    of an :class:`~asr_tutorial.encoder.EncoderLayer` are here under the same names, so that a layer may begin with the
    weights of a Transformer's; ``memory`` is new.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.window, self.causal = config.lact.window, config.lact.causal
        self.memory = Memory(config)

    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, None]:
        """One layer.

        Args:
            x: (batch, time, d_model).
            padding: (batch, time) boolean, True = real.
            need_weights: makes no difference: there are no weights of all frames on all frames to return.

        Returns:
            (batch, time, d_model), and None.
        """
        x = x + self.dropout(self.mix(self.norm1(x), padding))
        return x + self.dropout(self.feed_forward(self.norm2(x))), None

    def mix(self, x: Tensor, padding: Tensor) -> Tensor:
        """What other frames have to say, near and far: (batch, time, d_model), normalised, to the same shape."""
        attention = self.self_attention
        queries, keys, values = (project(x) for project in (attention.q_proj, attention.k_proj, attention.v_proj))
        far = self.memory(x, queries, keys, values, padding)
        q, k, v = (attention.split_heads(part) for part in (queries, keys, values))
        dropout = attention.dropout if self.training else 0.0
        near = attention.merge_heads(window_attention(q, k, v, padding, self.window, self.causal, dropout))
        return attention.out_proj(near + far.to(near.dtype))


class ConvLactLayer(LactLayer):
    """A :class:`LactLayer` with a convolution between mixing and feed-forward block, as in a Conformer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.conv_norm = nn.LayerNorm(config.d_model)
        self.conv = ConvModule(config.d_model, config.conv_kernel, config.dropout)

    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, None]:
        """One layer; arguments and results are those of :meth:`LactLayer.forward`."""
        x = x + self.dropout(self.mix(self.norm1(x), padding))
        x = x + self.conv(self.conv_norm(x), padding)
        return x + self.dropout(self.feed_forward(self.norm2(x))), None


class AudioEncoder(nn.Module):
    """3 x 3 convolutions over time and frequency: as many of stride 2 as make frames fewer, then some of stride 1.

    With two layers and a factor of 4 it is :class:`~asr_tutorial.encoder.ConvSubsampling`, parameter by parameter, with
    a dropout of its own after each convolution, which stages of progressive training leave alone.
    """

    def __init__(self, config: ModelConfig, n_mels: int) -> None:
        super().__init__()
        self.halvings = int(math.log2(config.subsampling_factor))
        channels = config.subsampling_channels
        strides = [2 if layer < self.halvings else 1 for layer in range(config.lact.conv_layers)]
        self.convs = nn.ModuleList(
            Conv2d(channels if layer else 1, channels, kernel_size=3, stride=stride, padding=1)
            for layer, stride in enumerate(strides)
        )
        mels = n_mels
        for _ in range(self.halvings):
            mels = (mels + 1) // 2
        self.out = nn.Linear(channels * mels, config.d_model)
        self.dropout = config.lact.audio_dropout

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, time, n_mels) and lengths (batch,) to (batch, ceil(time / factor), d_model) and lengths (batch,)."""
        x = features[:, None]  # (batch, 1, time, mels)
        for layer, conv in enumerate(self.convs):
            x = conv(x)  # (batch, channels, time / 2, mels / 2), or of the same size
            lengths = halve(lengths) if layer < self.halvings else lengths
            x = masked_relu(x, padding_mask(lengths, x.shape[2])[:, None, :, None])
            x = fast_dropout(x, self.dropout) if self.training else x
        x = x.transpose(1, 2).flatten(2)  # (batch, time / factor, channels * mels / factor)
        return self.out(x), lengths


class LactEncoder(Encoder):
    """Features to encoder states: :class:`AudioEncoder`, positions, ``encoder_layers`` times :class:`LactLayer`.

    It is called as an :class:`~asr_tutorial.encoder.Encoder` is, and gives the same, but no attention maps. With
    ``lact.causal`` its layers see no later frame; the convolutions still look some frames ahead.
    """

    def __init__(self, config: ModelConfig, n_mels: int) -> None:
        nn.Module.__init__(self)  # other parts than Encoder.__init__ would make, under the same names
        self.n_mels, self.d_model = n_mels, config.d_model
        self.subsampling = AudioEncoder(config, n_mels)
        self.positional = positional_encoding(config.positional, config.d_model, config.max_length)
        self.dropout = Dropout(config.dropout)
        layer = ConvLactLayer if config.conv_kernel else LactLayer
        self.layers = nn.ModuleList(layer(config) for _ in range(config.encoder_layers))
        self.norm = nn.LayerNorm(config.d_model)
