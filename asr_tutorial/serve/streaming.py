"""Recognising while somebody still speaks: partial results whose stable part is never taken back.

What was heard so far is recognised anew every half a second. Words on which consecutive hypotheses agree are
*committed* (local agreement: Liu et al. 2020, "Low-latency sequence-to-sequence speech recognition and translation by
partial hypothesis selection"). They stand, whatever later hypotheses say; what follows them may change.
Work and memory are bounded by a window; when it is full, it is cut at a pause, and the first part is concluded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from asr_tutorial.audio import Samples, split_at_pauses
from asr_tutorial.errors import ConfigError

if TYPE_CHECKING:
    from asr_tutorial.recognizer import Recognizer, Search, Transcript

STEP_SECONDS = 0.5
"""From one look at the audio to the next: the shorter, the earlier words appear, and the more work there is."""
WINDOW_SECONDS = 8.0
"""Longest audio that is recognised anew: utterances up to this length end with the offline result. Work grows with it,
and a model hears badly what is longer than the utterances that it was trained on."""
AGREEMENT = 2
"""Hypotheses in a row that must agree on a word before it is committed."""


class HasText(Protocol):
    """The result of recognising a piece of audio."""

    @property
    def text(self) -> str: ...


Result = TypeVar("Result", bound=HasText)


@dataclass(frozen=True)
class Partial:
    """What is known while the speaker still speaks."""

    stable: str
    """Committed words: each later partial result begins with them."""
    unstable: str
    """What follows them in the latest hypothesis; may change or vanish."""
    seconds: float
    """Audio heard so far."""


@dataclass(frozen=True)
class Piece(Generic[Result]):
    """A piece of the audio that has been recognised for good."""

    start: float
    """Seconds from the start of the audio."""
    result: Result


def agreed_prefix(hypotheses: Sequence[Sequence[str]]) -> list[str]:
    """The words with which all hypotheses begin.

    Args:
        hypotheses: word lists, in any number.

    Returns:
        Their longest common prefix; of none, nothing.
    """
    agreed = []
    for words in zip(*hypotheses, strict=False):
        if len(set(words)) > 1:
            break
        agreed.append(words[0])
    return agreed


class StablePrefix:
    """Words that are committed, and the latest hypotheses.

    Args:
        agreement: how many hypotheses in a row must agree, 1 or more; 1 commits whatever is heard.
        words: committed already.

    Attributes:
        words: committed so far; only ever grows at its end.
    """

    def __init__(self, agreement: int = AGREEMENT, words: Sequence[str] = ()) -> None:
        self.words = list(words)
        self._recent: deque[list[str]] = deque(maxlen=agreement)

    def update(self, hypothesis: Sequence[str]) -> list[str]:
        """Take the next hypothesis and commit what the latest ones agree on.

        Committed words are counted, not compared: where a later hypothesis spells the third word otherwise, the third
        committed word stays as it is, and the fourth may be committed all the same.

        Args:
            hypothesis: all words heard so far.

        Returns:
            The words of this hypothesis behind the committed ones.
        """
        self._recent.append(list(hypothesis))
        if len(self._recent) == self._recent.maxlen:
            self.words += agreed_prefix(self._recent)[len(self.words) :]
        return list(hypothesis[len(self.words) :])


class StreamingRecognizer(Generic[Result]):
    """Takes audio in pieces of any size and says what it has heard.

    How the audio is cut into pieces changes nothing: looks are taken after each ``step_seconds`` of audio. The result
    of an utterance that fits the window is ``conclude`` of all of it, hence the offline one. A longer one is cut at
    pauses, and has one result for each part.

    Args:
        listen: recognises a window (samples,) quickly, for partial results; returns the text.
        conclude: recognises a finished piece (samples,) as well as can be.
        sample_rate: of the audio, in Hz.
        step_seconds: audio between two looks, 0.1 to ``window_seconds``.
        window_seconds: longest window, 1 to 30.
        agreement: see :class:`StablePrefix`.

    Attributes:
        pieces: concluded so far.

    Raises:
        ConfigError: a setting out of its range.
    """

    def __init__(
        self,
        listen: Callable[[Samples], str],
        conclude: Callable[[Samples], Result],
        sample_rate: int,
        step_seconds: float = STEP_SECONDS,
        window_seconds: float = WINDOW_SECONDS,
        agreement: int = AGREEMENT,
    ) -> None:
        if not 1 <= window_seconds <= 30:
            raise ConfigError(f"window_seconds must be 1 to 30, not {window_seconds:g}")
        if not 0.1 <= step_seconds <= window_seconds:
            raise ConfigError(f"step_seconds must be 0.1 to window_seconds ({window_seconds:g}), not {step_seconds:g}")
        if agreement < 1:
            raise ConfigError(f"agreement must be 1 or more, not {agreement}")
        self.listen, self.conclude = listen, conclude
        self.sample_rate, self.window_seconds = sample_rate, window_seconds
        self.step = round(step_seconds * sample_rate)
        self.stable = StablePrefix(agreement)
        self.pieces: list[Piece[Result]] = []
        # All the audio that is ever kept: a full window and one more step, after which it is cut.
        self._buffer = np.zeros(int(window_seconds * sample_rate) + self.step, dtype=np.float32)
        self._filled = 0  # samples of the buffer in use
        self._fresh = 0  # samples since the last look
        self._forgotten = 0  # samples cut off before the buffer
        self._closed: list[str] = []  # committed words of what was cut off

    @classmethod
    def of(
        cls,
        recognizer: Recognizer,
        sample_rate: int,
        search: Search | None = None,
        partial_search: Search | None = None,
        step_seconds: float = STEP_SECONDS,
        window_seconds: float = WINDOW_SECONDS,
        agreement: int = AGREEMENT,
    ) -> StreamingRecognizer[Transcript]:
        """One that asks a recogniser in this process.

        Args:
            recognizer: of any architecture.
            sample_rate: of the audio, in Hz; the recogniser resamples it.
            search: for final results; None: what suits the model.
            partial_search: for partial results; None: the same, so that there is little to correct in the end.
            step_seconds: as for the class.
            window_seconds: as for the class.
            agreement: as for the class.
        """
        return StreamingRecognizer(
            lambda samples: recognizer.transcribe(samples, sample_rate, partial_search or search).text,
            lambda samples: recognizer.transcribe(samples, sample_rate, search),
            sample_rate,
            step_seconds,
            window_seconds,
            agreement,
        )

    @property
    def seconds(self) -> float:
        """Audio heard so far."""
        return (self._forgotten + self._filled) / self.sample_rate

    def feed(self, samples: Samples) -> list[Partial]:
        """Hear the next piece of audio.

        Args:
            samples: (samples,) float32, full scale [-1, 1], of any length.

        Returns:
            One partial result for each look that fell due within this piece, mostly none or one.
        """
        partials = []
        while len(samples) > 0:
            due = self.step - self._fresh
            piece, samples = samples[:due], samples[due:]
            self._buffer[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            self._fresh += len(piece)
            if self._fresh == self.step:
                self._fresh = 0
                partials.append(self.look())
        return partials

    def finish(self) -> list[Piece[Result]]:
        """Conclude what is left; no more audio is taken after it.

        Returns:
            All pieces in order: one, unless the audio was longer than the window.
        """
        if self._filled > self.window_seconds * self.sample_rate:
            self._cut()
        self._conclude(self._filled)
        return self.pieces

    def look(self) -> Partial:
        """Recognise the window anew and commit what is agreed on."""
        if self._filled > self.window_seconds * self.sample_rate:
            self._cut()
        # A copy: who recognises it may still have it when the buffer moves on.
        unstable = self.stable.update(self.listen(self._buffer[: self._filled].copy()).split())
        return Partial(" ".join([*self._closed, *self.stable.words]), " ".join(unstable), self.seconds)

    def _cut(self) -> None:
        """Conclude the part of the window before a pause, and forget its audio."""
        window = self._buffer[: self._filled]
        end = split_at_pauses(window, self.sample_rate, self.window_seconds)[0][1]
        words = self._conclude(end)
        # Of the committed words as many as were found before the pause lie there; the others begin the new window.
        committed, count = self.stable.words, len(words)
        self._closed += committed[:count] + words[len(committed) :]
        self.stable = StablePrefix(self.stable._recent.maxlen or 1, committed[count:])
        rest = window[end:].copy()
        self._buffer[: len(rest)] = rest
        self._filled = len(rest)
        self._forgotten += end

    def _conclude(self, end: int) -> list[str]:
        """Recognise the window up to a sample for good, and return the words."""
        result = self.conclude(self._buffer[:end].copy())
        self.pieces.append(Piece(self._forgotten / self.sample_rate, result))
        return result.text.split()
