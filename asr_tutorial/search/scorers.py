"""Who says how probable the next token of a hypothesis is: a function, a decoder, a CTC head, a language model.

A beam search asks each of its scorers for all hypotheses at once, tells them which ones it has chosen, and which
utterances are still being searched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from asr_tutorial.ctc import PrefixScorer
from asr_tutorial.ctc.beam import LanguageModel, Prefix, prefix_log_probs
from asr_tutorial.decoder import TreeCache
from asr_tutorial.model import SpeechTransformer
from asr_tutorial.search.choice import penalise_repeats


class Scorer(Protocol):
    """What a beam search needs to know of a scorer."""

    attention: Tensor | None
    """(batch, beam, frames) where the hypotheses listened in the last step, if the scorer can tell."""

    def log_probs(self) -> Tensor:
        """Log-probabilities (batch, beam, vocab) of the next token of each hypothesis, none above 0."""
        ...

    def follow(self, parents: Tensor, tokens: Tensor) -> None:
        """Hypothesis j of an utterance is now its former ``parents[j]`` with ``tokens[j]``: (batch, beam) both."""
        ...

    def select(self, rows: Tensor) -> None:
        """Go on with some of the utterances only: (new_batch,) indices."""
        ...


class StepScorer:
    """Any function from prefixes to log-probabilities, asked for all hypotheses of all utterances together.

    Args:
        step: prefixes (batch * beam, length) to log-probabilities (batch * beam, vocab), the hypotheses of an utterance
            next to each other; or to a pair of these and attention (batch * beam, frames).
        prefix: (batch, length) ids that the hypotheses start from.
        beam_size: hypotheses of each utterance.
        temperature: the distribution is taken to the power of 1 / temperature.
        repeat_penalty: see :func:`penalise_repeats`; the prefix does not count as said.
    """

    def __init__(
        self,
        step: Callable[[Tensor], Any],
        prefix: Tensor,
        beam_size: int,
        temperature: float = 1.0,
        repeat_penalty: float = 1.0,
    ) -> None:
        self.step = step
        self.prefixes = prefix[:, None].expand(-1, beam_size, -1)  # (batch, beam, length)
        self.start = prefix.shape[1]
        self.temperature, self.repeat_penalty = temperature, repeat_penalty
        self.attention: Tensor | None = None

    def log_probs(self) -> Tensor:
        answer = self.step(self.prefixes.flatten(0, 1))
        log_probs, attention = answer if isinstance(answer, tuple) else (answer, None)
        log_probs = log_probs.float().unflatten(0, self.prefixes.shape[:2])  # (batch, beam, vocab)
        self.attention = None if attention is None else attention.float().unflatten(0, self.prefixes.shape[:2])
        if self.temperature != 1.0:
            log_probs = (log_probs / self.temperature).log_softmax(dim=-1)
        if self.repeat_penalty != 1.0:
            log_probs = penalise_repeats(log_probs, self.prefixes[..., self.start :], self.repeat_penalty)
        return log_probs

    def follow(self, parents: Tensor, tokens: Tensor) -> None:
        rows = torch.arange(len(parents), device=parents.device)[:, None]
        self.prefixes = torch.cat([self.prefixes[rows, parents], tokens[..., None]], dim=2)

    def select(self, rows: Tensor) -> None:
        self.prefixes = self.prefixes[rows]


class TreeScorer:
    """What scorers with keys and values have in common: each step they read the newest token of each hypothesis.

    Args:
        cache: an empty tree.
        first: (batch, beam) the token that the hypotheses start from.
    """

    attention: Tensor | None = None

    def __init__(self, cache: TreeCache, first: Tensor) -> None:
        self.cache, self.newest = cache, first

    def follow(self, parents: Tensor, tokens: Tensor) -> None:
        self.cache.follow(parents)
        self.newest = tokens

    def select(self, rows: Tensor) -> None:
        self.cache.select(rows)
        self.newest = self.newest[rows]


class DecoderScorer(TreeScorer):
    """The decoder of a model, which reads one new token of each hypothesis at each step.

    Args:
        model: a recogniser with a decoder.
        encoder_out: (batch, frames, d_model).
        encoder_mask: (batch, frames), True = real.
        sos: id that the hypotheses start from.
        beam_size: hypotheses of each utterance.
        temperature: what logits are divided by.
        repeat_penalty: see :func:`penalise_repeats`.
        need_attention: keep where the hypotheses listen; slower.
    """

    def __init__(
        self,
        model: SpeechTransformer,
        encoder_out: Tensor,
        encoder_mask: Tensor,
        sos: int,
        beam_size: int,
        temperature: float = 1.0,
        repeat_penalty: float = 1.0,
        need_attention: bool = False,
    ) -> None:
        super().__init__(model.new_tree(), torch.full((len(encoder_out), beam_size), sos, device=encoder_out.device))
        self.model, self.encoder_out, self.encoder_mask = model, encoder_out, encoder_mask
        self.said = self.newest[..., None][..., :0]  # (batch, beam, length), only where repeats cost something
        self.temperature, self.repeat_penalty, self.need_attention = temperature, repeat_penalty, need_attention

    def log_probs(self) -> Tensor:
        logits, self.attention = self.model.decode_tree(
            self.newest, self.encoder_out, self.encoder_mask, self.cache, self.need_attention
        )
        log_probs = (logits.float() / self.temperature).log_softmax(dim=-1)
        if self.repeat_penalty != 1.0:
            log_probs = penalise_repeats(log_probs, self.said, self.repeat_penalty)
        return log_probs

    def follow(self, parents: Tensor, tokens: Tensor) -> None:
        super().follow(parents, tokens)
        if self.repeat_penalty != 1.0:
            rows = torch.arange(len(parents), device=parents.device)[:, None]
            self.said = torch.cat([self.said[rows, parents], tokens[..., None]], dim=2)

    def select(self, rows: Tensor) -> None:
        super().select(rows)
        self.encoder_out, self.encoder_mask = self.encoder_out[rows], self.encoder_mask[rows]
        self.said = self.said[rows]


class TreeModel(Protocol):
    """What is needed of a Transformer language model: :class:`asr_tutorial.language_model.TransformerLM` is one."""

    def new_tree(self) -> TreeCache:
        """An empty cache for a beam search."""
        ...

    def extend_tree(self, tokens: Tensor, cache: TreeCache) -> Tensor:
        """The newest token of each hypothesis (batch, hypotheses) to logits (batch, hypotheses, vocab)."""
        ...


class LanguageModelScorer(TreeScorer):
    """A Transformer language model of the recogniser's own tokens.

    Args:
        model: the language model, on the device of the search.
        first: (batch, beam) the token that the hypotheses start from, SOS.
    """

    def __init__(self, model: TreeModel, first: Tensor) -> None:
        super().__init__(model.new_tree(), first)
        self.model = model

    def log_probs(self) -> Tensor:
        """Log-probabilities (batch, beam, vocab) of the next token; they are what can be added to those of others.

        Logits are not: their sum differs from step to step, and a text would be rewarded for whatever that is.
        """
        return self.model.extend_tree(self.newest, self.cache).float().log_softmax(dim=-1)


class PrefixModelScorer:
    """Any language model that is a function of prefixes, such as a word n-gram that spells.

    Hypotheses that have said the same are asked for once.

    Args:
        model: prefixes, tuples of ids without SOS, to log-probabilities (n, vocab), EOS among them.
        batch: number of utterances.
        beam_size: hypotheses of each.
        vocab_size: of the recogniser.
        device: of the search.
    """

    attention: Tensor | None = None

    def __init__(
        self, model: LanguageModel, batch: int, beam_size: int, vocab_size: int, device: torch.device | str = "cpu"
    ) -> None:
        self.model, self.vocab_size, self.device = model, vocab_size, device
        self.prefixes: list[list[Prefix]] = [[()] * beam_size for _ in range(batch)]

    def log_probs(self) -> Tensor:
        place: dict[Prefix, int] = {}
        rows = [[place.setdefault(prefix, len(place)) for prefix in beam] for beam in self.prefixes]
        answers = prefix_log_probs(self.model, list(place), self.vocab_size)
        answers = answers[np.array(rows)].astype(np.float32)  # (batch, beam, vocab)
        return torch.from_numpy(answers).to(self.device)

    def follow(self, parents: Tensor, tokens: Tensor) -> None:
        self.prefixes = [
            [(*beam[parent], token) for parent, token in zip(places, new, strict=True)]
            for beam, places, new in zip(self.prefixes, parents.tolist(), tokens.tolist(), strict=True)
        ]

    def select(self, rows: Tensor) -> None:
        self.prefixes = [self.prefixes[row] for row in rows.tolist()]


class CTCScorer:
    """A CTC head as one that scores token by token: the quotient of the probabilities of two beginnings.

    The probability that the transcript starts with "HE", divided by the one that it starts with "H", is the probability
    of E after H; and that the transcript *is* "HE", divided by the same, is that of EOS.

    Args:
        log_probs: (batch, frames, vocab).
        lengths: (batch,) real frames.
        blank: id of the blank.
        eos: id that ends a hypothesis.
        beam_size: hypotheses of each utterance.
    """

    attention: Tensor | None = None

    def __init__(self, log_probs: Tensor, lengths: Tensor, blank: int, eos: int, beam_size: int) -> None:
        self.prefixes = PrefixScorer(log_probs, lengths, blank, eos)
        self.state = self.prefixes.initial_state(beam_size)
        self.scores = self.state.token  # of the last step, (batch, beam, vocab)

    def log_probs(self) -> Tensor:
        self.scores = self.prefixes.score(self.state)
        # A beginning that is impossible stays so: 0 in the place of minus infinity, for inf - inf is no number.
        before = self.state.score.masked_fill(self.state.score.isinf(), 0.0)
        return (self.scores - before[..., None]).float()

    def follow(self, parents: Tensor, tokens: Tensor) -> None:
        self.state = self.prefixes.extend(self.state, parents, tokens, self.scores)

    def select(self, rows: Tensor) -> None:
        self.state, self.scores = self.prefixes.keep(self.state, rows), self.scores[rows]
