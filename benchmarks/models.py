"""One recogniser, written by four systems: conv front end, 12 encoder and 6 decoder layers, CTC head.

Each model has ``encode(features, lengths)`` and ``forward(features, lengths, tokens_in)``, which returns the CTC
head's log-probabilities, the number of encoder frames of each utterance and the decoder's logits. All are pre-norm,
with sinusoidal positions, the same widths, and the same dropout in the same places. What differs is each system's own:
ESPnet's front end does not pad (249 frames of 1,000, not 250, and 19 mel bins, not 20), SpeechBrain's normalises after
each convolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import weights
from torch import Tensor, nn
from torch.nn import functional as F

from asr_tutorial.config import Config, load_config
from asr_tutorial.masks import padding_mask
from asr_tutorial.model import SpeechTransformer, build_model
from asr_tutorial.positional import SinusoidalPositionalEncoding

ModelResult = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Sizes:
    """What all systems agree on."""

    encoder_layers: int = 12
    decoder_layers: int = 6
    d_model: int = 256
    heads: int = 4
    d_ff: int = 2048
    vocab: int = 1000
    mels: int = 80
    channels: int = 256
    dropout: float = 0.1

    def config(self, *overrides: str) -> Config:
        """Our configuration of this size, without augmentation, in fp32."""
        return load_config(
            "tinyspeech",
            [
                f"--features.n_mels={self.mels}",
                "--features.normalize=utterance",
                "--augment.freq_warp=0",
                "--augment.freq_masks=0",
                "--augment.time_masks=0",
                f"--model.d_model={self.d_model}",
                f"--model.num_heads={self.heads}",
                f"--model.d_ff={self.d_ff}",
                f"--model.encoder_layers={self.encoder_layers}",
                f"--model.decoder_layers={self.decoder_layers}",
                f"--model.dropout={self.dropout}",
                f"--model.attention_dropout={self.dropout}",
                f"--model.subsampling_channels={self.channels}",
                "--model.conv_kernel=0",
                "--training.device=cpu",
                "--training.precision=fp32",
                "--training.ema_decay=0",
                *overrides,
            ],
        )


class Ours(nn.Module):
    """asr_tutorial's model behind the common face."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.model: SpeechTransformer = build_model(sizes.config(), sizes.vocab)

    def encode(self, features: Tensor, lengths: Tensor) -> Tensor:
        return self.model.encode(features, lengths)[0]

    def forward(self, features: Tensor, lengths: Tensor, tokens_in: Tensor) -> ModelResult:
        output = self.model(features, lengths, tokens_in)
        assert output.logits is not None
        return output.ctc_log_probs, output.encoder_mask.sum(dim=1), output.logits


class FrontEnd(nn.Module):
    """Our ``ConvSubsampling`` as one writes it with PyTorch's own modules; its parameters have the same names."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        channels = sizes.channels
        self.convs = nn.ModuleList(
            nn.Conv2d(inputs, channels, kernel_size=3, stride=2, padding=1) for inputs in (1, channels)
        )
        self.out = nn.Linear(channels * sizes.mels // 4, sizes.d_model)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = features[:, None]  # (batch, 1, time, mels)
        for conv in self.convs:
            lengths = (lengths + 1) // 2
            x = F.relu(conv(x)) * padding_mask(lengths, (x.shape[2] + 1) // 2)[:, None, :, None]
        return self.out(x.transpose(1, 2).flatten(2)), lengths  # (batch, time / 4, d_model)


class Torch(nn.Module):
    """``nn.Transformer`` with what it lacks: a front end and positions, an embedding, two output layers."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.subsampling = FrontEnd(sizes)
        self.positional = SinusoidalPositionalEncoding(sizes.d_model)
        self.dropout = nn.Dropout(sizes.dropout)
        self.embedding = nn.Embedding(sizes.vocab, sizes.d_model)
        self.scale = sizes.d_model**0.5
        self.transformer = nn.Transformer(
            d_model=sizes.d_model,
            nhead=sizes.heads,
            num_encoder_layers=sizes.encoder_layers,
            num_decoder_layers=sizes.decoder_layers,
            dim_feedforward=sizes.d_ff,
            dropout=sizes.dropout,
            activation="relu",
            batch_first=True,
            norm_first=True,
        )
        self.ctc_head = nn.Linear(sizes.d_model, sizes.vocab)
        self.out = nn.Linear(sizes.d_model, sizes.vocab)

    def _encode(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        frames, lengths = self.subsampling(features, lengths)
        ignored = ~padding_mask(lengths, frames.shape[1])
        x = self.dropout(self.positional(frames))
        return self.transformer.encoder(x, src_key_padding_mask=ignored), lengths, ignored

    def encode(self, features: Tensor, lengths: Tensor) -> Tensor:
        return self._encode(features, lengths)[0]

    def forward(self, features: Tensor, lengths: Tensor, tokens_in: Tensor) -> ModelResult:
        encoder_out, lengths, ignored = self._encode(features, lengths)
        x = self.dropout(self.positional(self.embedding(tokens_in) * self.scale))
        causal = nn.Transformer.generate_square_subsequent_mask(tokens_in.shape[1])
        x = self.transformer.decoder(
            x, encoder_out, tgt_mask=causal, tgt_is_causal=True, memory_key_padding_mask=ignored
        )
        return self.ctc_head(encoder_out).log_softmax(dim=-1), lengths, self.out(x)


class ESPnet(nn.Module):
    """ESPnet's Transformer encoder and decoder."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        from espnet2.asr.encoder.transformer_encoder import TransformerEncoder

        assert sizes.channels == sizes.d_model, "ESPnet's front end has as many channels as the model is wide"
        self.encoder = TransformerEncoder(
            input_size=sizes.mels,
            output_size=sizes.d_model,
            attention_heads=sizes.heads,
            linear_units=sizes.d_ff,
            num_blocks=sizes.encoder_layers,
            dropout_rate=sizes.dropout,
            positional_dropout_rate=sizes.dropout,
            attention_dropout_rate=sizes.dropout,
        )
        self.decoder = weights.new_espnet_decoder(
            sizes.vocab, sizes.d_model, sizes.heads, sizes.d_ff, sizes.decoder_layers, sizes.dropout
        )
        self.ctc_head = nn.Linear(sizes.d_model, sizes.vocab)

    def encode(self, features: Tensor, lengths: Tensor) -> Tensor:
        return self.encoder(features, lengths)[0]

    def forward(self, features: Tensor, lengths: Tensor, tokens_in: Tensor) -> ModelResult:
        encoder_out, lengths, _ = self.encoder(features, lengths)
        token_lengths = torch.full((len(tokens_in),), tokens_in.shape[1])
        logits, _ = self.decoder(encoder_out, lengths, tokens_in, token_lengths)
        return self.ctc_head(encoder_out).log_softmax(dim=-1), lengths, logits


class SpeechBrain(nn.Module):
    """SpeechBrain's ``TransformerASR`` behind its convolutional front end."""

    def __init__(self, sizes: Sizes, channels: tuple[int, int]) -> None:
        super().__init__()
        from speechbrain.lobes.models.convolution import ConvolutionFrontEnd

        self.front_end = ConvolutionFrontEnd(
            (8, 1000, sizes.mels),
            num_blocks=2,
            num_layers_per_block=1,
            out_channels=list(channels),
            kernel_sizes=[3, 3],
            strides=[2, 2],
            residuals=[False, False],
            dropout=sizes.dropout,
        )
        self.transformer = weights.new_speechbrain_transformer(
            sizes.vocab,
            sizes.d_model,
            sizes.heads,
            sizes.d_ff,
            sizes.decoder_layers,
            sizes.dropout,
            encoder_layers=sizes.encoder_layers,
            input_size=channels[-1] * sizes.mels // 4,
        )
        self.ctc_head = nn.Linear(sizes.d_model, sizes.vocab)
        self.out = nn.Linear(sizes.d_model, sizes.vocab)

    def encode(self, features: Tensor, lengths: Tensor) -> Tensor:
        return self.transformer.encode(self.front_end(features), lengths / features.shape[1])

    def forward(self, features: Tensor, lengths: Tensor, tokens_in: Tensor) -> ModelResult:
        relative = lengths / features.shape[1]
        encoder_out, decoder_out = self.transformer(self.front_end(features), tokens_in, relative, pad_idx=4)
        frames = (relative * encoder_out.shape[1]).round().long()
        return self.ctc_head(encoder_out).log_softmax(dim=-1), frames, self.out(decoder_out)


MODELS: dict[str, Callable[[Sizes], Any]] = {
    "asr_tutorial": Ours,
    "torch nn.Transformer": Torch,
    "ESPnet": ESPnet,
    "SpeechBrain": lambda sizes: SpeechBrain(sizes, (sizes.channels, sizes.channels)),
    "SpeechBrain, narrower front end": lambda sizes: SpeechBrain(sizes, (64, 32)),
}
"""The last is SpeechBrain as its own recipes have it: less work than the others do."""


def parameters(model: nn.Module) -> str:
    """Number of trainable parameters in millions."""
    return f"{sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) / 1e6:.2f}M"
