"""From a batch of features to texts: the part that recognition and validation during training share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol, get_args

import torch
from torch import Tensor, nn

from asr_tutorial.config import PLAIN_SEARCHES
from asr_tutorial.ctc import PrefixScorer, prefix_beam_search
from asr_tutorial.errors import ConfigError
from asr_tutorial.model import SpeechTransformer
from asr_tutorial.modes import evaluating
from asr_tutorial.recognizer.results import Alternative, Decoded, Heard, Search
from asr_tutorial.search import (
    Hypothesis,
    SearchOptions,
    TokenModel,
    greedy_search,
    joint_search,
    parallel_search,
)
from asr_tutorial.tokenizer import Tokenizer


class HasFeatures(Protocol):
    """A batch of features: :class:`asr_tutorial.dataset.Batch` is one."""

    features: Tensor
    feature_lengths: Tensor


@dataclass
class FeatureBatch:
    """Features alone, for audio without a transcript."""

    features: Tensor
    """(batch, time, n_mels) raw log-mel, zero-padded."""
    feature_lengths: Tensor
    """(batch,) real frames."""


def decode_batch(
    model: SpeechTransformer,
    tokenizer: Tokenizer,
    batch: HasFeatures,
    search: Search | None = None,
    options: SearchOptions | None = None,
    language_model: TokenModel | None = None,
) -> list[Decoded]:
    """Recognise one batch of features; validation during training uses it too.

    Args:
        model: on any device; its train or eval mode is left as found.
        tokenizer: the one that the model was trained with.
        batch: ``features`` (batch, time, n_mels) raw log-mel and ``feature_lengths`` (batch,).
        search: ``"greedy"``: the decoder's most probable token step by step; ``"ctc"``: the CTC head's most probable
            token frame by frame, repetitions merged and blanks dropped; ``"prefix"``: the CTC head's most probable
            text, by a beam search over prefixes; ``"attention"``: the decoder's, by a beam search; ``"joint"``: a beam
            search that both heads score; ``"parallel"``: all tokens at once, by a decoder made for it. None:
            :func:`default_search`.
        options: of a beam search; :func:`default_options` when not given.
        language_model: of the model's tokens, on its device; the three beam searches ask it, with ``lm_weight``.

    Returns:
        What was recognised of each utterance, in the order of the batch.

    Raises:
        ConfigError: an unknown search, one that the model does not have, or options that it lacks.
    """
    search = search or default_search(model)
    check_search(model, search, options)
    device = next(model.parameters()).device
    with evaluating(model):
        encoder_out, encoder_mask = model.encode(batch.features.to(device), batch.feature_lengths.to(device))
        return decode_encoded(model, tokenizer, encoder_out, encoder_mask, search, options, language_model)


def decode_encoded(
    model: SpeechTransformer,
    tokenizer: Tokenizer,
    encoder_out: Tensor,
    encoder_mask: Tensor,
    search: Search,
    options: SearchOptions | None = None,
    language_model: TokenModel | None = None,
) -> list[Decoded]:
    """Search in what the encoder heard, for those who need its states for other things too.

    Args:
        model: in evaluation mode, see :func:`asr_tutorial.modes.evaluating`.
        tokenizer: the one that the model was trained with.
        encoder_out: (batch, frames, d_model).
        encoder_mask: (batch, frames), True = real.
        search: as for :func:`decode_batch`, one that :func:`check_search` lets pass.
        options: of a beam search.
        language_model: as for :func:`decode_batch`.

    Returns:
        What was recognised of each utterance, in the order of the batch.
    """
    options = options or default_options(search)
    blank, sos, eos = tokenizer.blank_id, tokenizer.sos_id, tokenizer.eos_id
    forbidden = (blank, tokenizer.pad_id, sos)
    frames = encoder_mask.sum(dim=1)  # (batch,)
    if search == "ctc":
        hypotheses = _best_paths(model.ctc_log_probs(encoder_out), frames, blank)
    elif search == "prefix":
        hypotheses = _prefix_beams(model.ctc_log_probs(encoder_out), frames, blank, eos, options, language_model)
    elif search == "greedy":
        hypotheses = [[best] for best in greedy_search(model, encoder_out, encoder_mask, sos, eos, forbidden)]
    elif search == "parallel":
        hypotheses = [[best] for best in parallel_search(model, encoder_out, encoder_mask, (*forbidden, eos))]
    else:
        if search == "attention":
            options = replace(options, ctc_weight=0.0)
        hypotheses = joint_search(model, encoder_out, encoder_mask, sos, eos, blank, forbidden, options, language_model)
    # Of CTC every frame is a decision; of the decoder every token, and, where it says one, the end of sentence too.
    decisions = [
        count if search in ("ctc", "prefix") else len(found[0].tokens) + (search != "parallel")
        for count, found in zip(frames.tolist(), hypotheses, strict=True)
    ]
    return [_decoded(tokenizer, found, count) for found, count in zip(hypotheses, decisions, strict=True)]


def default_options(search: Search, **given: Any) -> SearchOptions:
    """The options that are given, and for the rest what suits the search.

    The decoder alone takes the mean of a text's tokens (``length_penalty`` 1), for by the sum it would prefer texts
    that stop too early. In a joint search CTC, which must account for every frame, sees to that.
    """
    suits = {"length_penalty": 1.0} if search == "attention" else {}
    return SearchOptions(**{**suits, **given})


def default_search(model: nn.Module) -> Search:
    """The first of the model's searches: ``"greedy"`` of one with a decoder, ``"parallel"`` of a Paraformer, ..."""
    searches: tuple[Search, ...] = getattr(model, "searches", ("greedy",))
    return searches[0]


def check_search(model: nn.Module, search: str, options: SearchOptions | None = None) -> None:
    """Raise ConfigError unless the model can be searched this way."""
    if search not in get_args(Search):
        raise ConfigError(
            f"unknown search {search!r}: use 'greedy' (the decoder), 'ctc' (the CTC head), 'joint' (both), or the beam "
            "searches 'attention' (the decoder alone) and 'prefix' (the CTC head alone); 'parallel' is for a Paraformer"
        )
    if search not in ("ctc", "prefix") and getattr(model, "decoder", None) is None:
        raise ConfigError("this model has no decoder (model.decoder_layers is 0): use search 'ctc' or 'prefix'")
    able = getattr(model, "searches", (search,))
    if search not in able:
        how = "all tokens at once" if "parallel" in able else "token by token"
        raise ConfigError(
            f"search {search!r} does not fit this model, whose decoder writes {how}: use {', '.join(map(repr, able))}"
        )
    if options is not None and search in PLAIN_SEARCHES:
        raise ConfigError(f"search {search!r} has no options: use 'prefix', 'attention' or 'joint'")


def word_positions(tokenizer: Tokenizer, ids: Sequence[int]) -> list[list[int]]:
    """Which tokens make up each word of the decoded text: a token belongs to the last word of the text up to it."""
    members: list[list[int]] = []
    start = 0  # of the last word: what stands before it changes nothing, so that it need not be decoded again
    for position, token in enumerate(ids):
        if not tokenizer.decode([token]).strip():
            continue  # a space is part of no word
        if not members or len(tokenizer.decode(ids[start : position + 1]).split()) > 1:
            members.append([])
            start = position
        members[-1].append(position)
    return members


def joined(parts: list[Decoded], lengths: list[int], n_best: int) -> Decoded:
    """One result of those of consecutive pieces with so many frames: any of their alternatives go together."""
    if len(parts) == 1:
        return parts[0]
    tokens: list[Heard] = []
    words: list[Heard] = []
    alternatives = [Alternative("", 0.0)]
    for part in parts:
        tokens, words = tokens + part.tokens, words + part.words
        best, *others = [
            Alternative(f"{before.text} {after.text}".strip(), before.score + after.score)
            for before in alternatives
            for after in part.n_best
        ]
        alternatives = [best, *sorted(others, key=lambda other: other.score, reverse=True)][:n_best]
    score = sum(part.score * length for part, length in zip(parts, lengths, strict=True)) / sum(lengths)
    return Decoded(alternatives[0].text, score, tokens, words, alternatives)


def _best_paths(log_probs: Tensor, frames: Tensor, blank: int) -> list[list[Hypothesis]]:
    """Best path decoding; a token's log-probability is that of the frame that is surest of it."""
    best, said = log_probs.max(dim=-1)  # (batch, frames)
    hypotheses = []
    for scores, path, length in zip(best.tolist(), said.tolist(), frames.tolist(), strict=True):
        frames_said = zip(path[:length], scores[:length], strict=True)
        runs = [(token, [score for _, score in run]) for token, run in groupby(frames_said, itemgetter(0))]
        tokens = [token for token, _ in runs if token != blank]
        surest = [max(run) for token, run in runs if token != blank]
        total = sum(scores[:length])
        hypotheses.append([Hypothesis(tokens, total, True, total, surest)])
    return hypotheses


def _prefix_beams(
    log_probs: Tensor,
    frames: Tensor,
    blank: int,
    eos: int,
    options: SearchOptions,
    language_model: TokenModel | None = None,
) -> list[list[Hypothesis]]:
    """CTC prefix beam search; the best text of each utterance with the log-probability of each of its tokens."""
    beams = prefix_beam_search(
        log_probs,
        frames,
        blank,
        options.beam_size,
        options.n_best,
        lm=language_model.of_prefixes() if language_model is not None and options.lm_weight > 0 else None,
        lm_weight=options.lm_weight,
        token_bonus=options.token_bonus,
        eos=eos,
    )
    hypotheses = [
        [Hypothesis(h.tokens, h.score, True, h.log_prob, lm_score=h.lm_score) for h in beam] for beam in beams
    ]
    for beam, shares in zip(
        hypotheses, _conditional([beam[0].tokens for beam in hypotheses], log_probs, frames, blank, eos), strict=True
    ):
        beam[0].token_log_probs = shares
    return hypotheses


def _conditional(texts: list[list[int]], log_probs: Tensor, frames: Tensor, blank: int, eos: int) -> list[list[float]]:
    """What the CTC head gives each token of a text after those before it, by prefix scores."""
    longest = max(map(len, texts), default=0)
    padded = torch.tensor([[*text, *[blank] * (longest - len(text))] for text in texts], device=log_probs.device)
    scorer = PrefixScorer(log_probs, frames, blank, eos)
    state = scorer.initial_state()
    scores = [state.score]  # (batch, 1) each, of longer and longer beginnings
    first = torch.zeros_like(state.last)
    for place in range(longest):
        state = scorer.extend(state, first, padded[:, place : place + 1].long(), scorer.score(state))
        scores.append(state.score)
    shares = torch.cat(scores, dim=1).diff(dim=1).tolist()
    return [row[: len(text)] for row, text in zip(shares, texts, strict=True)]


def _decoded(tokenizer: Tokenizer, hypotheses: list[Hypothesis], decisions: int) -> Decoded:
    """Texts of an n-best list; several token sequences may spell the same one, and the best of them stands for it."""
    best = hypotheses[0]
    confidences = best.confidences
    tokens = [
        Heard(tokenizer.id_to_token(token), confidence)
        for token, confidence in zip(best.tokens, confidences, strict=True)
    ]
    text = tokenizer.decode(best.tokens)
    groups = word_positions(tokenizer, best.tokens)
    words = [
        Heard(word, math.prod(confidences[position] for position in group))
        for word, group in zip(text.split(), groups, strict=True)
    ]
    alternatives: dict[str, Alternative] = {}
    for hypothesis in hypotheses:
        spelt = tokenizer.decode(hypothesis.tokens)
        alternatives.setdefault(spelt, Alternative(spelt, hypothesis.score))
    return Decoded(text, best.log_prob / max(decisions, 1), tokens, words, list(alternatives.values()))
