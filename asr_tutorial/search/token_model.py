"""A language model in the form that searches ask it: of the recogniser's own tokens.

A Transformer that was trained with the recogniser's vocabulary answers step by step, its keys and values kept
(:class:`~asr_tutorial.search.scorers.LanguageModelScorer`). Anything else, such as a word n-gram that spells, is a
function of prefixes (:class:`~asr_tutorial.search.scorers.PrefixModelScorer`). CTC's prefix beam search asks for
prefixes of any length in any order, so that a Transformer has to become such a function too
(:class:`TransformerPrefixes`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from asr_tutorial.ctc.beam import Array, LanguageModel, Prefix, prefix_log_probs
from asr_tutorial.decoder import TreeAttentionCache
from asr_tutorial.language_model import TransformerLM, token_log_probs
from asr_tutorial.search.scorers import LanguageModelScorer, PrefixModelScorer, Scorer
from asr_tutorial.tokenizer import Tokenizer


class TokenModel:
    """A language model of a recogniser's tokens.

    Args:
        model: a Transformer language model in evaluation mode, on the device of the search; or a function from prefixes
            to log-probabilities (n, vocab).
        tokenizer: the recogniser's.
    """

    def __init__(self, model: TransformerLM | LanguageModel, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.transformer = model if isinstance(model, TransformerLM) else None
        self.function = model if not isinstance(model, TransformerLM) else None

    def scorer(self, batch: int, beam_size: int, device: torch.device) -> Scorer:
        """For a search that makes all hypotheses one token longer at each step."""
        if self.transformer is not None:
            first = torch.full((batch, beam_size), self.tokenizer.sos_id, device=device)
            return LanguageModelScorer(self.transformer, first)
        return PrefixModelScorer(self.of_prefixes(), batch, beam_size, self.tokenizer.vocab_size, device)

    def of_prefixes(self) -> LanguageModel:
        """For a search that asks for prefixes as it meets them."""
        if self.transformer is not None:
            return TransformerPrefixes(self.transformer, self.tokenizer.sos_id)
        assert self.function is not None
        return self.function

    def score_texts(self, texts: Sequence[Sequence[int]], batch_tokens: int = 8192) -> list[float]:
        """Log-probability in nats of whole texts, the end of each included.

        Args:
            texts: token ids without SOS and EOS.
            batch_tokens: most tokens computed at once, padding included.

        Returns:
            One for each text; minus infinity for one that the model holds to be impossible.
        """
        distinct = list(dict.fromkeys(map(tuple, texts)))
        if self.transformer is None:
            scores = [self._score_prefixes(text) for text in distinct]
        else:
            rows = token_log_probs(self.transformer, self.tokenizer, distinct, batch_tokens)
            scores = [float(row.double().sum()) for row in rows]
        by_text = dict(zip(distinct, scores, strict=True))
        return [by_text[tuple(text)] for text in texts]

    def _score_prefixes(self, text: Prefix) -> float:
        prefixes = [text[:length] for length in range(len(text) + 1)]
        rows = prefix_log_probs(self.of_prefixes(), prefixes, self.tokenizer.vocab_size)
        return float(rows[np.arange(len(prefixes)), [*text, self.tokenizer.eos_id]].sum())


class TransformerPrefixes:
    """A Transformer language model as a function of prefixes that computes each token once.

    CTC's prefix beam search asks for prefixes of different lengths, each one token longer than one that it has asked
    for before. Their keys and values form one tree, and what is new in a frame is computed together. From time to time
    what has not been asked for lately is forgotten; if it is needed after all, it is computed anew.

    Args:
        model: the language model.
        sos: id that every text starts from.
    """

    most = 384
    """Tokens of the tree beyond which some are forgotten."""
    kept = 96
    """Prefixes, the last that were asked for, that stay then, with all that they begin with."""

    def __init__(self, model: TransformerLM, sos: int) -> None:
        self.model, self.sos = model, sos
        self._begin()

    def __call__(self, prefixes: list[Prefix]) -> Array:
        """Log-probabilities (n, vocab) of the next token."""
        if prefixes[:1] == [()]:
            self._begin()  # a new utterance: it gets the numbers that it would get alone
        elif self._size > self._limit:
            self._forget()
        missing = dict.fromkeys(prefixes)
        for prefix in prefixes:  # hardly ever is there anything to be added here
            while prefix and (prefix := prefix[:-1]) not in self._places:
                missing[prefix] = None
        rows: dict[Prefix, Tensor] = {}
        while missing:  # those whose beginning is known; once, as a rule
            known = [prefix for prefix in missing if not prefix or prefix[:-1] in self._places]
            rows.update(zip(known, self._extend(known), strict=True))
            missing = {prefix: None for prefix in missing if prefix not in rows}
        return torch.stack([rows[prefix] for prefix in prefixes]).numpy()

    def _begin(self) -> None:
        self._cache = self.model.new_tree()
        self._places: dict[Prefix, list[int]] = {}
        """Where in the tree the tokens of each prefix are, SOS included."""
        self._size, self._limit = 0, self.most

    def _forget(self) -> None:
        recent = dict(list(self._places.items())[-self.kept :])
        stay = sorted({place for places in recent.values() for place in places})
        moved = {place: new for new, place in enumerate(stay)}
        self._places = {prefix: [moved[place] for place in places] for prefix, places in recent.items()}
        self._size, self._limit = len(stay), max(self.most, 2 * len(stay))
        columns = torch.tensor([stay], device=next(self.model.parameters()).device)
        for layer in self._cache.layers:
            assert isinstance(layer.self_attention, TreeAttentionCache)
            layer.self_attention.gather(columns)

    @torch.inference_mode()
    def _extend(self, prefixes: list[Prefix]) -> Tensor:
        """Log-probabilities (n, vocab) behind prefixes whose beginnings are in the tree: they are put into it.

        This is :meth:`TransformerLM.extend_tree` for tokens that stand at different positions.
        """
        n, device = len(prefixes), next(self.model.parameters()).device
        before = [self._places[prefix[:-1]] if prefix else [] for prefix in prefixes]
        mask = np.zeros((1, n, self._size + n), dtype=bool)
        for row, (prefix, places) in enumerate(zip(prefixes, before, strict=True)):
            self._places[prefix] = [*places, self._size + row]
            mask[0, row, self._places[prefix]] = True
        self._size += n
        newest = torch.tensor([[prefix[-1] if prefix else self.sos] for prefix in prefixes], device=device)
        embedded = self.model.embedding(newest) * self.model.scale  # (n, 1, d_model)
        rows = [self.model.positional(row[None], len(prefix)) for row, prefix in zip(embedded, prefixes, strict=True)]
        x = torch.cat(rows, dim=1)  # (1, n, d_model): the prefixes take the place of positions
        visible = torch.from_numpy(mask).to(device)
        for layer, layer_cache in zip(self.model.layers, self._cache.layers, strict=True):
            x = layer(x, visible, layer_cache)
        logits = self.model.out(self.model.norm(x))[0]  # (n, vocab)
        return logits.float().log_softmax(dim=-1).double().cpu()
