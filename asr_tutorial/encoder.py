"""The encoder: fewer frames, a position for each, and a stack of pre-norm Transformer layers.

The order in which to read: the four ways to make frames fewer (``ConvSubsampling``, ``VGGSubsampling``,
``PoolSubsampling``, ``LSTMSubsampling``), the sublayers, ``EncoderLayer``, ``ConvEncoderLayer``, ``Encoder``.

Each subsampling takes (batch, time, n_mels) with padding set to zero and (batch,) lengths, and gives
(batch, ceil(time / factor), d_model) with (batch,) lengths ``ceil(length / factor)``. What lies in the padding never
reaches a real position: intermediate results are masked wherever a kernel could look past the end.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from asr_tutorial.attention import MultiHeadAttention
from asr_tutorial.config import ModelConfig
from asr_tutorial.convolution import Conv2d, masked_relu
from asr_tutorial.dropout import Dropout
from asr_tutorial.masks import key_mask, padding_mask
from asr_tutorial.positional import positional_encoding


def halve(lengths: Tensor) -> Tensor:
    """Lengths after a step of stride 2 that keeps a last, incomplete pair: ceil(length / 2)."""
    return (lengths + 1) // 2


class ConvSubsampling(nn.Module):
    """Convolutions of stride 2 over time and frequency, then a projection (Dong et al. 2018, "Speech-Transformer")."""

    def __init__(self, n_mels: int, d_model: int, factor: int, channels: int) -> None:
        super().__init__()
        stages = int(math.log2(factor))
        self.convs = nn.ModuleList(
            Conv2d(1 if stage == 0 else channels, channels, kernel_size=3, stride=2, padding=1)
            for stage in range(stages)
        )
        mels = n_mels
        for _ in range(stages):
            mels = (mels + 1) // 2
        self.out = nn.Linear(channels * mels, d_model)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = features[:, None]  # (batch, 1, time, mels)
        for conv in self.convs:
            x = conv(x)  # (batch, channels, time / 2, mels / 2)
            lengths = halve(lengths)
            x = masked_relu(x, padding_mask(lengths, x.shape[2])[:, None, :, None])
        x = x.transpose(1, 2).flatten(2)  # (batch, time / factor, channels * mels / factor)
        return self.out(x), lengths


class VGGSubsampling(nn.Module):
    """Pairs of 3 x 3 convolutions, each pair followed by 2 x 2 max pooling (Hori et al. 2017)."""

    def __init__(self, n_mels: int, d_model: int, factor: int, channels: int) -> None:
        super().__init__()
        stages = int(math.log2(factor))
        self.convs = nn.ModuleList()
        mels = n_mels
        for stage in range(stages):
            first = nn.Conv2d(1 if stage == 0 else channels, channels, kernel_size=3, padding=1)
            second = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
            self.convs.append(nn.ModuleList([first, second]))
            mels = (mels + 1) // 2
        self.out = nn.Linear(channels * mels, d_model)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = features[:, None]  # (batch, 1, time, mels)
        for pair in self.convs:
            real = padding_mask(lengths, x.shape[2])[:, None, :, None].to(x.dtype)
            for conv in pair:  # type: ignore[attr-defined]
                x = F.relu(conv(x)) * real  # (batch, channels, time, mels)
            # After the ReLU nothing is below the zeros of the padding: the maximum of a last, half-real pair is right.
            x = F.max_pool2d(x, kernel_size=2, ceil_mode=True)  # (batch, channels, time / 2, mels / 2)
            lengths = halve(lengths)
        x = x.transpose(1, 2).flatten(2)  # (batch, time / factor, channels * mels / factor)
        return self.out(x), lengths


class PoolSubsampling(nn.Module):
    """A linear layer, then the mean of each ``factor`` frames: the cheapest front end."""

    def __init__(self, n_mels: int, d_model: int, factor: int, channels: int) -> None:
        super().__init__()
        self.factor = factor
        self.out = nn.Linear(n_mels, d_model)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        batch, time, _ = features.shape
        real = padding_mask(lengths, time)
        x = F.relu(self.out(features)) * real[..., None]  # (batch, time, d_model)
        extra = -time % self.factor
        x = F.pad(x, (0, 0, 0, extra)).view(batch, -1, self.factor, x.shape[-1])  # (batch, time / f, f, d_model)
        count = F.pad(real, (0, extra)).view(batch, -1, self.factor).sum(-1)  # (batch, time / factor)
        # A last window that is only partly real is the mean of its real frames.
        mean = x.sum(2) / count.clamp(min=1)[..., None]
        return mean, (lengths + self.factor - 1) // self.factor


class LSTMSubsampling(nn.Module):
    """A pyramid of bidirectional LSTMs, each reading pairs of frames (Chan et al. 2016, "Listen, Attend and Spell")."""

    def __init__(self, n_mels: int, d_model: int, factor: int, channels: int) -> None:
        super().__init__()
        stages = int(math.log2(factor))
        self.lstms = nn.ModuleList(
            nn.LSTM(2 * n_mels if stage == 0 else 4 * channels, channels, batch_first=True, bidirectional=True)
            for stage in range(stages)
        )
        self.out = nn.Linear(2 * channels, d_model)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = features
        for lstm in self.lstms:
            batch, time, size = x.shape
            x = F.pad(x, (0, 0, 0, time % 2)).view(batch, (time + 1) // 2, 2 * size)  # (batch, time / 2, 2 * size)
            lengths = halve(lengths)
            # Packing makes the backward direction start at the last real frame, not in the padding.
            packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            x, _ = pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=x.shape[1])
        return self.out(x), lengths


SUBSAMPLING = {
    "conv": ConvSubsampling,
    "vgg": VGGSubsampling,
    "pool": PoolSubsampling,
    "lstm": LSTMSubsampling,
}


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between, applied to each position (Vaswani et al. 2017, section 3.3)."""

    def __init__(self, d_model: int, d_ff: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear1 = nn.Linear(d_model, d_ff)
        self.linear2 = nn.Linear(d_ff, d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, d_model) -> (batch, length, d_model)."""
        return self.linear2(self.dropout(F.relu(self.linear1(x))))


class ConvModule(nn.Module):
    """Gated depthwise convolution over time: what neighbouring frames say (Gulati et al. 2020, "Conformer").

    Conformer's batch normalisation is a layer normalisation here, so that an utterance does not depend on its batch.
    """

    def __init__(self, d_model: int, kernel_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.expand = nn.Linear(d_model, 2 * d_model)
        self.depthwise = nn.Conv1d(d_model, d_model, kernel_size, padding=kernel_size // 2, groups=d_model)
        self.norm = nn.LayerNorm(d_model)
        self.project = nn.Linear(d_model, d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """(batch, time, d_model) and padding (batch, time), True = real -> (batch, time, d_model)."""
        x = F.glu(self.expand(x), dim=-1) * padding[..., None].to(x.dtype)  # (batch, time, d_model)
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)  # (batch, time, d_model)
        return self.dropout(self.project(F.silu(self.norm(x))))


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward block, each as ``x + dropout(sublayer(norm(x)))``.

    Normalising before the sublayer ("pre-norm", Xiong et al. 2020) leaves a path from the output to the input on which
    nothing shrinks the gradient, so that deep stacks train without a long warm-up.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d_model = config.d_model
        self.norm1 = nn.LayerNorm(d_model)
        self.self_attention = MultiHeadAttention(d_model, config.num_heads, config.attention_dropout)
        self.norm2 = nn.LayerNorm(d_model)
        self.feed_forward = FeedForward(d_model, config.d_ff, config.dropout)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        """One layer.

        Args:
            x: (batch, time, d_model).
            padding: (batch, time) boolean, True = real.
            need_weights: return the attention weights too.

        Returns:
            (batch, time, d_model), and the weights (batch, heads, time, time) or None.
        """
        normed = self.norm1(x)
        attended, weights = self.self_attention(normed, normed, normed, key_mask(padding), need_weights)
        x = x + self.dropout(attended)
        x = x + self.dropout(self.feed_forward(self.norm2(x)))
        return x, weights


class ConvEncoderLayer(EncoderLayer):
    """An encoder layer with a convolution between self-attention and feed-forward block, as in a Conformer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.conv_norm = nn.LayerNorm(config.d_model)
        self.conv = ConvModule(config.d_model, config.conv_kernel, config.dropout)

    def forward(self, x: Tensor, padding: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        """One layer; arguments and results are those of :meth:`EncoderLayer.forward`."""
        normed = self.norm1(x)
        attended, weights = self.self_attention(normed, normed, normed, key_mask(padding), need_weights)
        x = x + self.dropout(attended)
        x = x + self.conv(self.conv_norm(x), padding)
        x = x + self.dropout(self.feed_forward(self.norm2(x)))
        return x, weights


class Encoder(nn.Module):
    """Features to encoder states: subsampling, positions, ``encoder_layers`` layers, a last normalisation."""

    def __init__(self, config: ModelConfig, n_mels: int) -> None:
        super().__init__()
        self.n_mels = n_mels
        self.d_model = config.d_model
        self.subsampling = SUBSAMPLING[config.subsampling](
            n_mels, config.d_model, config.subsampling_factor, config.subsampling_channels
        )
        self.positional = positional_encoding(config.positional, config.d_model, config.max_length)
        self.dropout = Dropout(config.dropout)
        layer = ConvEncoderLayer if config.conv_kernel else EncoderLayer
        self.layers = nn.ModuleList(layer(config) for _ in range(config.encoder_layers))
        self.norm = nn.LayerNorm(config.d_model)

    def forward(
        self, features: Tensor, lengths: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Encode normalised features.

        Args:
            features: (batch, time, n_mels), padding zero.
            lengths: (batch,) real frames.
            need_weights: collect attention weights.

        Returns:
            encoder_out (batch, frames, d_model); its mask (batch, frames), True = real; attention weights
            (batch, heads, frames, frames) by name, ``encoder.0.self_attention`` and so on (empty unless asked for).

        Raises:
            ValueError: features that are not (batch, time, n_mels).
        """
        if features.dim() != 3 or features.shape[-1] != self.n_mels:
            raise ValueError(f"features must be (batch, time, {self.n_mels} mels), got {tuple(features.shape)}")
        x, lengths = self.subsampling(features, lengths)  # (batch, frames, d_model)
        padding = padding_mask(lengths, x.shape[1])
        x = self.dropout(self.positional(x))
        maps: dict[str, Tensor] = {}
        for index, layer in enumerate(self.layers):
            x, weights = layer(x, padding, need_weights)
            if weights is not None:
                maps[f"encoder.{index}.self_attention"] = weights
        return self.norm(x), padding, maps
