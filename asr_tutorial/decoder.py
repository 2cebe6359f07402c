"""The decoder: reads the tokens so far and the encoder's output, and says what comes next."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from asr_tutorial.attention import KeyValueCache, MultiHeadAttention
from asr_tutorial.config import ModelConfig
from asr_tutorial.dropout import Dropout
from asr_tutorial.encoder import FeedForward
from asr_tutorial.masks import causal_mask, key_mask
from asr_tutorial.positional import positional_encoding


@dataclass
class LayerCache:
    """What one decoder layer keeps between steps."""

    self_attention: KeyValueCache
    cross_attention: KeyValueCache


class DecoderCache:
    """What a decoder keeps between the steps of a search: keys and values, layer by layer, and how far it has come."""

    def __init__(self, num_layers: int) -> None:
        self.layers = [LayerCache(KeyValueCache(), KeyValueCache(fixed=True)) for _ in range(num_layers)]
        self.length = 0

    def select(self, rows: Tensor) -> None:
        """Keep the given rows of the batch, in that order: (new_batch,) indices."""
        for layer in self.layers:
            layer.self_attention.select(rows)
            layer.cross_attention.select(rows)


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the encoder, feed-forward; each as ``x + sublayer(norm(x))``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d_model = config.d_model
        self.norm1 = nn.LayerNorm(d_model)
        self.self_attention = MultiHeadAttention(d_model, config.num_heads, config.attention_dropout)
        self.norm2 = nn.LayerNorm(d_model)
        self.cross_attention = MultiHeadAttention(d_model, config.num_heads, config.attention_dropout)
        self.norm3 = nn.LayerNorm(d_model)
        self.feed_forward = FeedForward(d_model, config.d_ff, config.dropout)
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        encoder_out: Tensor,
        self_mask: Tensor | None,
        cross_mask: Tensor,
        need_weights: bool = False,
        cache: LayerCache | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """One layer.

        Args:
            x: (batch, length, d_model).
            encoder_out: (batch, frames, d_model).
            self_mask: (length, length) or (batch, length, length); None when a cached step may see all there is.
            cross_mask: (batch, 1, frames).
            need_weights: return the attention weights too.
            cache: keys and values of earlier steps, extended by this one.

        Returns:
            (batch, length, d_model), self-attention weights (batch, heads, length, length) or None, and
            cross-attention weights (batch, heads, length, frames) or None.
        """
        normed = self.norm1(x)
        attended, self_weights = self.self_attention(
            normed, normed, normed, self_mask, need_weights, cache.self_attention if cache else None
        )
        x = x + self.dropout(attended)
        attended, cross_weights = self.cross_attention(
            self.norm2(x), encoder_out, encoder_out, cross_mask, need_weights, cache.cross_attention if cache else None
        )
        x = x + self.dropout(attended)
        x = x + self.dropout(self.feed_forward(self.norm3(x)))
        return x, self_weights, cross_weights


class Decoder(nn.Module):
    """Tokens and encoder output to logits over the next token (Vaswani et al. 2017, pre-norm)."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.scale = math.sqrt(config.d_model)
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        nn.init.normal_(self.embedding.weight, std=config.d_model**-0.5)
        self.positional = positional_encoding(config.positional, config.d_model, config.max_length)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.out = nn.Linear(config.d_model, vocab_size)

    def forward(
        self,
        tokens: Tensor,
        encoder_out: Tensor,
        encoder_mask: Tensor,
        need_weights: bool = False,
        cache: DecoderCache | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits of the token after each given one.

        PAD at the end of ``tokens`` needs no mask of its own: a real token only looks back, and never sees it.

        Args:
            tokens: (batch, length) ids, SOS first; with a cache, only the tokens that it has not seen.
            encoder_out: (batch, frames, d_model).
            encoder_mask: (batch, frames), True = real.
            need_weights: collect attention weights.
            cache: state of a running search, extended by this call.

        Returns:
            logits (batch, length, vocab), and attention weights by name: ``decoder.0.self_attention`` and
            ``decoder.0.cross_attention`` and so on (empty unless asked for).

        Raises:
            ValueError: tokens that are not (batch, length), or an id outside the vocabulary (looked at on the CPU).
        """
        self._check_tokens(tokens, encoder_out)
        offset = cache.length if cache is not None else 0
        x = self.dropout(self.positional(self.embedding(tokens) * self.scale, offset))  # (batch, length, d_model)
        self_mask = causal_mask(offset + tokens.shape[1], tokens.device)[offset:]  # (length, offset + length)
        cross_mask = key_mask(encoder_mask)
        maps: dict[str, Tensor] = {}
        for index, layer in enumerate(self.layers):
            layer_cache = cache.layers[index] if cache is not None else None
            x, self_weights, cross_weights = layer(x, encoder_out, self_mask, cross_mask, need_weights, layer_cache)
            if self_weights is not None and cross_weights is not None:
                maps[f"decoder.{index}.self_attention"] = self_weights
                maps[f"decoder.{index}.cross_attention"] = cross_weights
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(self.norm(x)), maps

    def _check_tokens(self, tokens: Tensor, encoder_out: Tensor) -> None:
        if tokens.dim() != 2 or tokens.shape[0] != encoder_out.shape[0]:
            raise ValueError(
                f"tokens must be (batch, length) with batch {encoder_out.shape[0]}, got {tuple(tokens.shape)}"
            )
        if tokens.device.type == "cpu" and not torch.compiler.is_compiling():
            low, high = int(tokens.min()), int(tokens.max())
            if low < 0 or high >= self.vocab_size:
                raise ValueError(
                    f"token ids must lie in 0..{self.vocab_size - 1}, got {low}..{high}: "
                    "ids such as -100 belong in a loss, not in an embedding"
                )
