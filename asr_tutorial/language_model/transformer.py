"""The Transformer language model: a decoder that has no sound to listen to.

It is the decoder of chapter 06 without cross-attention, and its parameters have the decoder's names, so that the
weights of a language model can be the beginning of a decoder (Radford et al. 2018, "Improving language understanding
by generative pre-training", for the architecture).
"""

from __future__ import annotations

import math

import torch  # noqa: F401  (answers to the exercises may want it)
from torch import Tensor, nn

from asr_tutorial.attention import MultiHeadAttention
from asr_tutorial.config import LanguageModelArchitecture
from asr_tutorial.decoder import DecoderCache, LayerCache, TreeCache, check_ids
from asr_tutorial.dropout import Dropout
from asr_tutorial.encoder import FeedForward
from asr_tutorial.masks import causal_mask
from asr_tutorial.positional import positional_encoding


class LanguageModelLayer(nn.Module):
    """Causal self-attention and feed-forward, each as ``x + sublayer(norm(x))``.

    The second normalisation is called ``norm3``, as it is in :class:`~asr_tutorial.decoder.DecoderLayer`, where
    ``norm2`` belongs to cross-attention.
    """

    def __init__(self, config: LanguageModelArchitecture) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.d_model)
        self.self_attention = MultiHeadAttention(config.d_model, config.num_heads, config.attention_dropout)
        self.norm3 = nn.LayerNorm(config.d_model)
        self.feed_forward = FeedForward(config.d_model, config.d_ff, config.dropout)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor, cache: LayerCache | None = None) -> Tensor:
        """One layer.

        Args:
            x: (batch, length, d_model).
            mask: (length, keys) or (batch, length, keys) boolean, True = may be attended.
            cache: keys and values of earlier steps, extended by this one.

        Returns:
            (batch, length, d_model).
        """
        normed = self.norm1(x)
        attended, _ = self.self_attention(
            normed, normed, normed, mask, cache=cache.self_attention if cache is not None else None
        )
        x = x + self.dropout(attended)
        return x + self.dropout(self.feed_forward(self.norm3(x)))


class TransformerLM(nn.Module):
    """Tokens to logits over the next token.

    Args:
        config: sizes.
        vocab_size: number of tokens.
    """

    def __init__(self, config: LanguageModelArchitecture, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.scale = math.sqrt(config.d_model)
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        nn.init.normal_(self.embedding.weight, std=config.d_model**-0.5)
        self.positional = positional_encoding(config.positional, config.d_model, config.max_length)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(LanguageModelLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.out = nn.Linear(config.d_model, vocab_size)

    def forward(self, tokens: Tensor, cache: DecoderCache | None = None, sentences: Tensor | None = None) -> Tensor:
        """Logits of the token after each given one.

        A position sees itself and what stands before it, never what comes after. PAD at the end of ``tokens`` needs no
        mask of its own for that reason.

        Args:
            tokens: (batch, length) ids, SOS first; with a cache, only the tokens that it has not seen.
            cache: state of a running generation, extended by this call.
            sentences: (batch, length) number of the sentence that each token of a packed row belongs to: a token sees
                its own sentence alone. Not with a cache.

        Returns:
            (batch, length, vocab).

        Raises:
            ValueError: tokens that are not (batch, length), or an id outside the vocabulary (looked at on the CPU).
        """
        self._check_tokens(tokens)
        offset = cache.length if cache is not None else 0
        x = self.dropout(self.positional(self.embedding(tokens) * self.scale, offset))  # (batch, length, d_model)
        mask = causal_mask(offset + tokens.shape[1], tokens.device)[offset:]  # (length, offset + length)
        if sentences is not None:
            mask = mask & (sentences[:, :, None] == sentences[:, None, :])  # (batch, length, length)
        for index, layer in enumerate(self.layers):
            x = layer(x, mask, cache.layers[index] if cache is not None else None)
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.out(self.norm(x))

    def new_cache(self) -> DecoderCache:
        """An empty state for :meth:`forward`: keys and values are computed once for each token."""
        return DecoderCache(len(self.layers))

    def new_tree(self) -> TreeCache:
        """An empty state for :meth:`extend_tree`."""
        return TreeCache(len(self.layers))

    def extend_tree(self, tokens: Tensor, cache: TreeCache) -> Tensor:
        """Logits of the token after each hypothesis of a beam search, see :meth:`Decoder.extend_tree`.

        Args:
            tokens: (batch, hypotheses), the newest token of each; SOS at the first call.
            cache: the tree so far, extended by this call.

        Returns:
            (batch, hypotheses, vocab).
        """
        batch, hypotheses = tokens.shape
        position = cache.length
        mask = cache.add_tokens(batch, hypotheses, tokens.device)  # (batch, hypotheses, tokens of the tree)
        x = self.embedding(tokens.reshape(-1, 1)) * self.scale  # (batch * hypotheses, 1, d_model): all at one position
        x = self.dropout(self.positional(x, position)).view(batch, hypotheses, -1)
        for layer, layer_cache in zip(self.layers, cache.layers, strict=True):
            x = layer(x, mask, layer_cache)
        return self.out(self.norm(x))

    def _check_tokens(self, tokens: Tensor) -> None:
        if tokens.dim() != 2:
            raise ValueError(f"tokens must be (batch, length), got {tuple(tokens.shape)}")
        check_ids(tokens, self.vocab_size)
