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


class TreeAttentionCache(KeyValueCache):
    """Keys and values of one layer for all hypotheses of a beam search, in room that grows by doubling."""

    def __init__(self) -> None:
        super().__init__()
        self._room: tuple[Tensor, Tensor] | None = None

    def update(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values (batch, heads, new, d_head) and return all of them."""
        used = self.keys.shape[2] if self.keys is not None else 0
        needed = used + keys.shape[2]
        if self._room is None or self._room[0].shape[2] < needed:
            batch, heads, _, d_head = keys.shape
            self._room = (
                keys.new_empty(batch, heads, 2 * needed, d_head),
                keys.new_empty(batch, heads, 2 * needed, d_head),
            )
            if self.keys is not None and self.values is not None:
                self._room[0][:, :, :used], self._room[1][:, :, :used] = self.keys, self.values
        room_for_keys, room_for_values = self._room
        room_for_keys[:, :, used:needed], room_for_values[:, :, used:needed] = keys, values
        self.keys, self.values = room_for_keys[:, :, :needed], room_for_values[:, :, :needed]
        return self.keys, self.values

    def select(self, rows: Tensor) -> None:
        """Keep the given utterances, in that order: (new_batch,) indices."""
        super().select(rows)
        self._room = None

    def gather(self, columns: Tensor) -> None:
        """Keep the given positions (batch, kept) of each utterance, in that order."""
        if self.keys is None or self.values is None:
            return
        index = columns[:, None, :, None].expand(-1, self.keys.shape[1], -1, self.keys.shape[3])
        self.keys, self.values = self.keys.gather(2, index), self.values.gather(2, index)
        self._room = None


class TreeCache:
    """What a decoder keeps during a beam search over many hypotheses of each utterance.

    Hypotheses share their beginnings: they form a tree. Each token's keys and values are computed once, put behind the
    others and never moved; which of them a hypothesis may see, namely its own ancestors, is a mask. When hypotheses are
    dropped or split in two, only the rows of this small mask are exchanged. The keys of the sound belong to the
    utterance and are there once, however many hypotheses listen.

    From time to time, when the tree has grown to twice its size, tokens that no hypothesis descends from are removed.
    """

    fewest = 128
    """Tokens of the tree below which none are removed."""

    def __init__(self, num_layers: int) -> None:
        self.layers = [LayerCache(TreeAttentionCache(), KeyValueCache(fixed=True)) for _ in range(num_layers)]
        self.length = 0
        self.ancestors: Tensor | None = None
        """(batch, hypotheses, tokens of the tree) boolean: which tokens each hypothesis consists of."""
        self._remove_at = self.fewest

    def add_tokens(self, batch: int, hypotheses: int, device: torch.device) -> Tensor:
        """Each hypothesis gets one more token, which itself may see; the mask (batch, hypotheses, tokens)."""
        own = torch.eye(hypotheses, dtype=torch.bool, device=device).expand(batch, -1, -1)
        if self.ancestors is not None and self.ancestors.shape[2] >= self._remove_at:
            self._remove_dead()
        self.ancestors = own if self.ancestors is None else torch.cat([self.ancestors, own], dim=2)
        self.length += 1
        return self.ancestors

    def follow(self, parents: Tensor) -> None:
        """New hypothesis j of an utterance goes on from old hypothesis ``parents[j]``: (batch, hypotheses)."""
        if self.ancestors is not None:
            self.ancestors = self.ancestors.gather(1, parents[..., None].expand(-1, -1, self.ancestors.shape[2]))

    def select(self, rows: Tensor) -> None:
        """Keep the given utterances, in that order: (new_batch,) indices."""
        if self.ancestors is not None:
            self.ancestors = self.ancestors[rows]
        for layer in self.layers:
            layer.self_attention.select(rows)
            layer.cross_attention.select(rows)

    def _remove_dead(self) -> None:
        assert self.ancestors is not None
        alive = self.ancestors.any(dim=1)  # (batch, tokens)
        most = int(alive.sum(dim=1).max())
        columns = alive.byte().argsort(dim=1, descending=True, stable=True)[:, :most]  # (batch, most)
        self.ancestors = self.ancestors.gather(2, columns[:, None].expand(-1, self.ancestors.shape[1], -1))
        for layer in self.layers:
            if isinstance(layer.self_attention, TreeAttentionCache):
                layer.self_attention.gather(columns)
        self._remove_at = max(2 * most, self.fewest)


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

    def extend_tree(
        self, tokens: Tensor, encoder_out: Tensor, encoder_mask: Tensor, cache: TreeCache, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Logits of the token after each hypothesis of a beam search, all of them at once.

        The hypotheses of an utterance take the place of its positions: (batch, hypotheses) tokens of equal age are one
        row of queries. So the sound is projected and kept once for each utterance, and a mask keeps hypotheses apart.

        Args:
            tokens: (batch, hypotheses), the newest token of each.
            encoder_out: (batch, frames, d_model).
            encoder_mask: (batch, frames), True = real.
            cache: the tree so far, extended by this call.
            need_weights: return where the hypotheses listen.

        Returns:
            logits (batch, hypotheses, vocab), and attention to the sound (batch, hypotheses, frames), the mean over
            heads and layers, or None.
        """
        batch, hypotheses = tokens.shape
        position = cache.length
        mask = cache.add_tokens(batch, hypotheses, tokens.device)
        x = self.embedding(tokens.reshape(-1, 1)) * self.scale  # (batch * hypotheses, 1, d_model): all at one position
        x = self.dropout(self.positional(x, position)).view(batch, hypotheses, -1)
        listening = []
        for layer, layer_cache in zip(self.layers, cache.layers, strict=True):
            x, _, weights = layer(x, encoder_out, mask, key_mask(encoder_mask), need_weights, layer_cache)
            if weights is not None:
                listening.append(weights.mean(dim=1))  # (batch, hypotheses, frames)
        return self.out(self.norm(x)), torch.stack(listening).mean(dim=0) if listening else None

    def _check_tokens(self, tokens: Tensor, encoder_out: Tensor) -> None:
        if tokens.dim() != 2 or tokens.shape[0] != encoder_out.shape[0]:
            raise ValueError(
                f"tokens must be (batch, length) with batch {encoder_out.shape[0]}, got {tuple(tokens.shape)}"
            )
        check_ids(tokens, self.vocab_size)


def check_ids(tokens: Tensor, vocab_size: int) -> None:
    """Look at token ids on the CPU, where a wrong one would otherwise end in an obscure error or none.

    Raises:
        ValueError: an id outside the vocabulary.
    """
    if tokens.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= vocab_size:
            raise ValueError(
                f"token ids must lie in 0..{vocab_size - 1}, got {low}..{high}: "
                "ids such as -100 belong in a loss, not in an embedding"
            )
