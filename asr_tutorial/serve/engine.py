"""What the recogniser does for the service: sound to features, a batch of features to texts with times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asr_tutorial.audio import read_audio, split_at_pauses
from asr_tutorial.config import PLAIN_SEARCHES, Search
from asr_tutorial.ctc import token_spans
from asr_tutorial.errors import AudioError, ConfigError
from asr_tutorial.recognizer import (
    MAX_SECONDS,
    MIN_SECONDS,
    Decoded,
    Recognizer,
    SearchOptions,
    check_search,
    decode_encoded,
    default_search,
    evaluating,
)
from asr_tutorial.recognizer.decoding import joined, word_positions
from asr_tutorial.recognizer.inputs import batches
from asr_tutorial.serve.errors import ServiceError
from asr_tutorial.serve.limits import bad_audio, check_features, check_range, check_recording

BATCH_SECONDS = 240.0
"""Most audio, padding included, that the model gets at once: what bounds its memory."""


@dataclass(frozen=True)
class Question:
    """What is asked of a recording; equal ones go into one batch.

    Attributes:
        search: how the text is looked for.
        options: of a beam search.
        explain: whether the numbers for pictures are wanted too.
    """

    search: Search
    options: SearchOptions | None = None
    explain: bool = False


@dataclass(frozen=True)
class Recording:
    """A recording, ready for the model.

    Attributes:
        pieces: features (frames, n_mels) of each part of at most 30 s.
        starts: where each part begins, in seconds.
        seconds: length of the whole.
    """

    pieces: list[Tensor]
    starts: list[float]
    seconds: float


@dataclass(frozen=True)
class TimedWord:
    """A word with its probability, and when it was said; None where the text is too long for the sound."""

    word: str
    start: float | None
    end: float | None
    confidence: float


@dataclass(frozen=True)
class Heard:
    """What was recognised of a recording, and where its words lie."""

    decoded: Decoded
    words: list[TimedWord]

    @property
    def confidence(self) -> float:
        """Geometric mean of the probabilities of the tokens; of an empty text, of the decisions that led to it."""
        if not self.decoded.tokens:
            return math.exp(self.decoded.score)
        logs = [math.log(max(token.confidence, 1e-30)) for token in self.decoded.tokens]
        return math.exp(sum(logs) / len(logs))


class Engine:
    """A recogniser behind a service. :meth:`recognise` is called by one thread alone, the rest by any.

    Args:
        recognizer: with its language model, if it has one.
        max_seconds: longest recording in seconds.
    """

    def __init__(self, recognizer: Recognizer, max_seconds: float) -> None:
        self.recognizer, self.max_seconds = recognizer, max_seconds
        self.n_mels = recognizer.config.features.n_mels

    def question(
        self, search: Search | None, nbest: int | None = None, lm_weight: float | None = None, explain: bool = False
    ) -> Question:
        """What is asked for, with the settings that the checkpoint recommends for the rest.

        Raises:
            ConfigError: a search that the model does not have, or settings that the search does not have.
        """
        model = self.recognizer.model
        search = search or default_search(model)
        check_search(model, search)
        given: dict[str, Any] = {"n_best": nbest, "lm_weight": lm_weight}
        given = {name: value for name, value in given.items() if value is not None}
        if given and search in PLAIN_SEARCHES:
            raise ConfigError(f"search {search!r} has no nbest and no lm_weight: leave them out, or use 'joint'")
        if lm_weight is not None and self.recognizer.language_model is None:
            raise ConfigError("lm_weight is for a service with a language model: leave it out")
        if nbest is not None:
            options = self.recognizer.search_options(search)
            given["beam_size"] = max(nbest, options.beam_size if options is not None else 1)
        return Question(search, self.recognizer.search_options(search, **given), explain)

    def from_features(self, rows: Any) -> Recording:
        """A recording from features as JSON has them.

        Raises:
            ServiceError: 422 or 413, see :func:`~asr_tutorial.serve.limits.check_features`.
        """
        step = self.recognizer.frame_seconds
        limit = min(MAX_SECONDS, self.max_seconds)
        features = check_features(rows, self.n_mels, round(limit / step))
        return Recording([torch.from_numpy(features)], [0.0], len(features) * step)

    def from_file(self, path: Path) -> Recording:
        """A recording from a file of sound.

        Raises:
            ServiceError: 422 if it cannot be read, 413 if it is too long.
        """
        check_recording(path, self.max_seconds)
        rate = self.recognizer.sample_rate
        try:
            samples = read_audio(path, rate)
            if len(samples) < MIN_SECONDS * rate:
                raise AudioError(f"{path} lasts {len(samples) / rate:.3f} s: send at least {MIN_SECONDS:g} s of sound")
        except AudioError as error:
            raise bad_audio(error, path) from error
        return self.from_samples(samples)

    def from_samples(self, samples: Any) -> Recording:
        """A recording from (samples,) float32 at the model's rate."""
        rate = self.recognizer.sample_rate
        parts = split_at_pauses(samples, rate, MAX_SECONDS)
        pieces = [self.recognizer._extract(samples[start:end]).cpu() for start, end in parts]
        for piece in pieces:
            check_range(piece.numpy(), _overdriven)
        return Recording(pieces, [start / rate for start, _ in parts], len(samples) / rate)

    def recognise(self, question: Question, recordings: list[Recording]) -> list[Heard]:
        """What is said in several recordings, all their pieces in as few batches as memory allows."""
        pieces = [piece for recording in recordings for piece in recording.pieces]
        step = self.recognizer.frame_seconds
        found: dict[int, tuple[Decoded, list[TimedWord]]] = {}
        for group in batches([len(piece) * step for piece in pieces], BATCH_SECONDS):
            found.update(zip(group, self._recognise([pieces[index] for index in group], question), strict=True))
        results, first = [], 0
        for recording in recordings:
            parts = [Heard(*found[first + number]) for number in range(len(recording.pieces))]
            first += len(parts)
            n_best = question.options.n_best if question.options else 1
            results.append(together(parts, recording.starts, [len(piece) for piece in recording.pieces], n_best))
        return results

    def _recognise(self, pieces: list[Tensor], question: Question) -> list[tuple[Decoded, list[TimedWord]]]:
        recognizer = self.recognizer
        model, tokenizer = recognizer.model, recognizer.tokenizer
        batch = recognizer._collate(pieces)
        with evaluating(model):
            encoder_out, encoder_mask = model.encode(batch.features, batch.feature_lengths)
            found = decode_encoded(
                model,
                tokenizer,
                encoder_out,
                encoder_mask,
                question.search,
                question.options,
                recognizer.language_model,
            )
            log_probs = model.ctc_log_probs(encoder_out).cpu()
            frames = encoder_mask.sum(dim=1).tolist()
        texts = [tokenizer.encode(decoded.text) for decoded in found]
        spans = token_spans(log_probs, frames, texts, tokenizer.blank_id)
        timed = [self._timed(*each) for each in zip(found, texts, spans, strict=True)]
        return list(zip(found, timed, strict=True))

    def _timed(self, decoded: Decoded, ids: list[int], spans: list[tuple[int, int]] | None) -> list[TimedWord]:
        """When each word was said, by the best path of CTC; without times if the text has no path."""
        if spans is None:
            return [TimedWord(word.text, None, None, word.confidence) for word in decoded.words]
        step, first = self.recognizer.encoder_frame_seconds, self.recognizer.encoder_start_seconds
        return [
            TimedWord(
                word.text,
                max(first + spans[members[0]][0] * step, 0.0),
                first + spans[members[-1]][1] * step,
                word.confidence,
            )
            for word, members in zip(decoded.words, word_positions(self.recognizer.tokenizer, ids), strict=True)
        ]


def together(parts: Sequence[Heard], starts: Sequence[float], frames: Sequence[int], n_best: int) -> Heard:
    """One result of those of consecutive pieces, which begin at ``starts`` seconds and have so many frames."""
    decoded = joined([part.decoded for part in parts], list(frames), n_best)
    return Heard(decoded, [_moved(word, s) for part, s in zip(parts, starts, strict=True) for word in part.words])


def _moved(word: TimedWord, seconds: float) -> TimedWord:
    if word.start is None or word.end is None:
        return word
    return TimedWord(word.word, word.start + seconds, word.end + seconds, word.confidence)


def _overdriven(message: str) -> ServiceError:
    return ServiceError(422, "bad_audio", f"the samples are out of range ({message})", "scale them to [-1, 1]")
