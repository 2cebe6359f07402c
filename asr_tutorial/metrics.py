"""Error rates: how far a transcript is from what was said.

The word error rate counts the fewest substitutions, deletions and insertions that turn the reference into the
hypothesis, divided by the number of reference words (Jurafsky and Martin, "Speech and Language Processing", chapter on
automatic speech recognition); the character error rate does the same with characters, spaces included. The alignment
itself is jiwer's. Rates are shares: 0.05 is 5 %. They can exceed 1, since there may be more insertions than words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jiwer

Unit = Literal["word", "char"]


@dataclass(frozen=True)
class ErrorCounts:
    """Edit operations summed over a corpus."""

    substitutions: int
    deletions: int
    insertions: int
    reference: int
    """Words (or characters) in the references."""

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per reference word or character; where the references are empty, the number of errors."""
        return self.errors / max(self.reference, 1)


def error_counts(references: Sequence[str], hypotheses: Sequence[str], unit: Unit = "word") -> ErrorCounts:
    """Count errors over a corpus: sums over utterances, so that long utterances weigh more than short ones.

    Args:
        references: what was said, one text per utterance; a text may be empty, then each hypothesis word is an
            insertion.
        hypotheses: what was recognised, in the same order.
        unit: ``"word"`` for the word error rate, ``"char"`` for the character error rate.

    Raises:
        ValueError: the two lists differ in length.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses: give one for each utterance")
    if not references:
        return ErrorCounts(0, 0, 0, 0)
    count = jiwer.process_words if unit == "word" else jiwer.process_characters
    out = count(list(references), list(hypotheses))
    return ErrorCounts(
        substitutions=out.substitutions,
        deletions=out.deletions,
        insertions=out.insertions,
        reference=out.hits + out.substitutions + out.deletions,
    )


def wer(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Word error rate of a corpus, as a share."""
    return error_counts(references, hypotheses, "word").rate


def cer(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Character error rate of a corpus, as a share."""
    return error_counts(references, hypotheses, "char").rate


def real_time_factor(processing_seconds: float, audio_seconds: float) -> float:
    """Seconds of computation per second of audio: below 1 is faster than speech; 0 when there was no audio."""
    return processing_seconds / audio_seconds if audio_seconds > 0 else 0.0


@dataclass(frozen=True)
class UtteranceResult:
    """One recognised utterance beside its reference."""

    id: str
    reference: str
    hypothesis: str
    seconds: float = 0.0

    @property
    def words(self) -> ErrorCounts:
        return error_counts([self.reference], [self.hypothesis], "word")

    @property
    def characters(self) -> ErrorCounts:
        return error_counts([self.reference], [self.hypothesis], "char")


def worst(results: Sequence[UtteranceResult], count: int = 10) -> list[UtteranceResult]:
    """The utterances with the highest word error rate, worst first; equal rates by number of character errors."""
    return sorted(results, key=lambda r: (r.words.rate, r.characters.errors), reverse=True)[:count]


@dataclass(frozen=True)
class Difference:
    """A stretch of words on which reference and hypothesis agree or differ."""

    kind: str
    """equal, substitute, insert or delete."""
    reference: str
    hypothesis: str


def differences(reference: str, hypothesis: str) -> list[Difference]:
    """Align two texts word by word; joining the stretches gives back both texts."""
    out = jiwer.process_words([reference], [hypothesis])
    reference_words, hypothesis_words = out.references[0], out.hypotheses[0]
    return [
        Difference(
            kind=chunk.type,
            reference=" ".join(reference_words[chunk.ref_start_idx : chunk.ref_end_idx]),
            hypothesis=" ".join(hypothesis_words[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        )
        for chunk in out.alignments[0]
    ]
