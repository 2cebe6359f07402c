"""One hypothesis for each utterance: greedy search, and sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from asr_tutorial.errors import ConfigError
from asr_tutorial.model import SpeechTransformer
from asr_tutorial.search.choice import next_token_log_probs
from asr_tutorial.search.hypothesis import Hypothesis, check_temperature

Step: TypeAlias = Callable[[Tensor], Tensor]
"""Prefixes (n, length) to log-probabilities (n, vocab) of the token that comes next."""


def write(
    step: Step, prefixes: Tensor, limits: Tensor, eos: int, choose: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Write one text after each prefix, token by token, all at once.

    A text that has said EOS, or has as many tokens as it may, is closed: it goes on being passed to ``step``, filled up
    with EOS, but nothing counts any more. All stop when the last one is closed.

    Args:
        step: prefixes (n, length) to log-probabilities (n, vocab).
        prefixes: (n, length) ids to start from.
        limits: (n,) most tokens that each text may get; the EOS counts as one.
        eos: id that ends a text.
        choose: picks the next tokens (n,) from log-probabilities (n, vocab).

    Returns:
        tokens (n, steps), EOS where one was said and behind it; log-probabilities (n, steps) of the tokens chosen, 0
        behind the end; and (n,) which texts have said EOS.
    """
    going_on = limits > 0
    ended = torch.zeros_like(going_on)
    tokens, log_probs = [prefixes[:, :0]], [torch.zeros(prefixes.shape, device=prefixes.device)[:, :0]]
    while bool(going_on.any()):
        distribution = step(prefixes)  # (n, vocab)
        chosen = torch.where(going_on, choose(distribution), eos)  # (n,)
        log_prob = distribution.gather(1, chosen[:, None])  # (n, 1)
        tokens.append(chosen[:, None])
        log_probs.append(log_prob.where(going_on[:, None], 0.0))
        prefixes = torch.cat([prefixes, chosen[:, None]], dim=1)
        ended |= going_on & (chosen == eos)
        going_on = going_on & ~ended & (len(tokens) - 1 < limits)
    return torch.cat(tokens, dim=1), torch.cat(log_probs, dim=1), ended


@torch.inference_mode()
def greedy_search(
    model: SpeechTransformer,
    encoder_out: Tensor,
    encoder_mask: Tensor,
    sos: int,
    eos: int,
    forbidden: Sequence[int] = (),
    max_length: int | None = None,
) -> list[Hypothesis]:
    """Take the most probable token at each step, for a whole batch at once.

    An utterance that has said EOS is closed: nothing is added to it or to its score. The limit is per utterance, so
    that a hypothesis is the same alone and in any batch.

    Args:
        model: a recogniser with a decoder.
        encoder_out: (batch, frames, d_model).
        encoder_mask: (batch, frames), True = real.
        sos: id that every hypothesis starts from.
        eos: id that ends one.
        forbidden: ids that are never chosen: blank, PAD, SOS.
        max_length: most tokens of a hypothesis; an utterance's number of encoder frames when not given.

    Returns:
        One hypothesis for each utterance.
    """
    return _write_with_model(
        model, encoder_out, encoder_mask, sos, eos, forbidden, max_length, choose=lambda log_probs: log_probs.argmax(-1)
    )


@torch.inference_mode()
def sample_search(
    model: SpeechTransformer,
    encoder_out: Tensor,
    encoder_mask: Tensor,
    sos: int,
    eos: int,
    forbidden: Sequence[int] = (),
    max_length: int | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> list[Hypothesis]:
    """Draw each token from the decoder's distribution: :func:`greedy_search`, but with a die.

    Args:
        model: a recogniser with a decoder.
        encoder_out: (batch, frames, d_model).
        encoder_mask: (batch, frames), True = real.
        sos: id that every hypothesis starts from.
        eos: id that ends one.
        forbidden: ids that are never chosen: blank, PAD, SOS.
        max_length: most tokens of a hypothesis; an utterance's number of encoder frames when not given.
        temperature: see :func:`next_token_log_probs`, as ``top_k`` and ``top_p``.
        top_k: number of tokens that may be drawn; 0: all.
        top_p: share of the probability that may be drawn from.
        generator: of the same device; with the same seed the same texts are drawn.

    Returns:
        One hypothesis for each utterance; its score is the model's own log-probability, before temperature and filters.

    Raises:
        ConfigError: temperature, ``top_k`` or ``top_p`` outside its range.
    """
    check_temperature(temperature)
    if top_k < 0 or not 0 < top_p <= 1:
        raise ConfigError(f"top_k must be 0 (all) or more and top_p above 0 and up to 1, got {top_k} and {top_p}")

    def draw(log_probs: Tensor) -> Tensor:
        probs = next_token_log_probs(log_probs, temperature, top_k, top_p).exp()
        return torch.multinomial(probs, 1, generator=generator)[:, 0]

    return _write_with_model(model, encoder_out, encoder_mask, sos, eos, forbidden, max_length, choose=draw)


def _write_with_model(
    model: SpeechTransformer,
    encoder_out: Tensor,
    encoder_mask: Tensor,
    sos: int,
    eos: int,
    forbidden: Sequence[int],
    max_length: int | None,
    choose: Callable[[Tensor], Tensor],
) -> list[Hypothesis]:
    limits = text_limits(encoder_mask, max_length)
    cache = model.new_cache()
    banned = torch.tensor([*forbidden], dtype=torch.long, device=encoder_out.device)

    def step(prefixes: Tensor) -> Tensor:
        new = prefixes[:, cache.length :]  # what the cache has not seen
        log_probs = model.decode(new, encoder_out, encoder_mask, cache)[:, -1].float().log_softmax(dim=-1)
        log_probs[:, banned] = float("-inf")
        return log_probs

    start = torch.full((len(limits), 1), sos, device=encoder_out.device)
    tokens, log_probs, ended = write(step, start, limits, eos, choose)
    hypotheses = []
    columns = (tokens, log_probs, ended, limits)
    for row, parts, end, limit in zip(*(column.tolist() for column in columns), strict=True):
        length = row.index(eos) if end else min(len(row), limit)
        score = sum(parts)
        hypotheses.append(Hypothesis(row[:length], score, end, score, parts[:length]))
    return hypotheses


def text_limits(encoder_mask: Tensor, max_length: int | None) -> Tensor:
    """Most tokens of each utterance (batch,): the same for all, or its number of encoder frames.

    No text is longer than its sound has frames, and a limit that belongs to the utterance is the same in any batch.
    """
    frames = encoder_mask.sum(dim=1)
    return frames if max_length is None else torch.full_like(frames, max_length)
