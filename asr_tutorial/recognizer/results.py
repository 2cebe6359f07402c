"""What a recogniser returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from asr_tutorial import metrics
from asr_tutorial.corpus import Skip

Search: TypeAlias = Literal["greedy", "ctc", "joint"]


@dataclass(frozen=True)
class Transcript:
    """What was recognised; ``str(transcript)`` is the text."""

    text: str
    score: float
    """Mean log-probability per token (greedy) or per frame (ctc): 0 is certain."""
    seconds: float
    """Length of the audio."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class TimedText:
    """A word or token and when it was spoken."""

    text: str
    start: float
    """Seconds from the start of the audio."""
    end: float
    score: float
    """Mean log-probability of its CTC frames; 0 is certain."""


@dataclass(frozen=True)
class AlignedText:
    """A text laid on the audio."""

    text: str
    words: list[TimedText]
    tokens: list[TimedText]


@dataclass(frozen=True)
class Decoded:
    """What the search returns for one utterance."""

    text: str
    score: float


@dataclass(frozen=True)
class Evaluation:
    """Error rates of a corpus, with all that they were computed from."""

    words: metrics.ErrorCounts
    characters: metrics.ErrorCounts
    audio_seconds: float
    processing_seconds: float
    search: Search
    results: list[metrics.UtteranceResult]
    skipped: list[Skip]

    @property
    def wer(self) -> float:
        """Word error rate as a share."""
        return self.words.rate

    @property
    def cer(self) -> float:
        """Character error rate as a share."""
        return self.characters.rate

    @property
    def utterances(self) -> int:
        return len(self.results)

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of reading, features and search per second of audio."""
        return metrics.real_time_factor(self.processing_seconds, self.audio_seconds)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "wer": self.wer,
            "cer": self.cer,
            "utterances": self.utterances,
            "audio_seconds": round(self.audio_seconds, 3),
            "rtf": self.rtf,
            "search": self.search,
            "words": vars(self.words),
            "characters": vars(self.characters),
            "skipped": [{"id": skip.id, "reason": skip.reason} for skip in self.skipped],
            "results": [vars(result) for result in self.results],
        }
