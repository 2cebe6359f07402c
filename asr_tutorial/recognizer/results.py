"""What a recogniser returns."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from asr_tutorial import metrics
from asr_tutorial.config import Search
from asr_tutorial.corpus import Skip
from asr_tutorial.search import SearchOptions


@dataclass(frozen=True)
class Heard:
    """A token or word, and how sure the model is of it."""

    text: str
    confidence: float
    """0 to 1: its probability after what was recognised before it; the product over the tokens of a word."""


@dataclass(frozen=True)
class Alternative:
    """One of several texts that a search found."""

    text: str
    score: float
    """What the search ranks by: a log-probability in nats, with penalties; of a recording in pieces, their sum."""


@dataclass(frozen=True)
class Transcript:
    """What was recognised; ``str(transcript)`` is the text."""

    text: str
    score: float
    """Mean log-probability per token (greedy, attention, joint, parallel) or per frame (ctc, prefix): 0 is certain."""
    seconds: float
    """Length of the audio."""
    tokens: list[Heard] = field(default_factory=list)
    words: list[Heard] = field(default_factory=list)
    n_best: list[Alternative] = field(default_factory=list)
    """Different texts, best first; the first is ``text``."""

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
    tokens: list[Heard] = field(default_factory=list)
    words: list[Heard] = field(default_factory=list)
    n_best: list[Alternative] = field(default_factory=list)


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
    decoded: list[Decoded] = field(default_factory=list)
    """What the search returned for each of ``results``: alternatives and confidences."""
    options: SearchOptions | None = None
    """Of a beam search."""

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
            **({"options": vars(self.options)} if self.options is not None else {}),
            "words": vars(self.words),
            "characters": vars(self.characters),
            "skipped": [{"id": skip.id, "reason": skip.reason} for skip in self.skipped],
            "results": [
                {**vars(result), "score": decoded.score, **_details(decoded)}
                for result, decoded in zip(self.results, self.decoded, strict=True)
            ],
        }


def _details(decoded: Decoded) -> dict[str, Any]:
    """Alternatives and confidences as plain values."""
    return {name: [asdict(item) for item in getattr(decoded, name)] for name in ("words", "n_best")}
