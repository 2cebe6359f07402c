"""What a corpus is, and what can be done with one that was read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from asr_tutorial.errors import CorpusError


@dataclass(frozen=True)
class Utterance:
    """One utterance of a corpus.

    Attributes:
        id: name of the utterance, unique in its corpus.
        audio: the audio file, or an ``.npy`` file of features ``(frames, n_mels)``.
        text: what is said; None where nobody wrote it down (a test split).
        seconds: duration, from the file's header.
        speaker: who speaks, None where unknown.
    """

    id: str
    audio: Path
    text: str | None
    seconds: float
    speaker: str | None = None

    @property
    def has_features(self) -> bool:
        """Whether ``audio`` holds precomputed features instead of sound."""
        return self.audio.suffix == ".npy"


@dataclass(frozen=True)
class Skip:
    """An utterance that is not used, and why."""

    id: str
    reason: str


@dataclass
class Corpus:
    """Utterances in the order of their ids (a manifest's order is kept), and what was left out."""

    path: Path
    utterances: list[Utterance]
    skipped: list[Skip] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The last part of the path without a manifest's suffix, for tables and logs."""
        return self.path.name.removesuffix(".tsv").removesuffix(".jsonl")

    @property
    def seconds(self) -> float:
        """Duration of all utterances together."""
        return sum(utterance.seconds for utterance in self.utterances)

    @property
    def texts(self) -> list[str]:
        """The transcripts of the utterances that have one."""
        return [utterance.text for utterance in self.utterances if utterance.text is not None]

    def __len__(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)


@dataclass(frozen=True)
class Row:
    """An utterance as found, before its file is looked at."""

    id: str
    audio: Path
    text: str | None
    speaker: str | None = None


def join_corpora(corpora: Sequence[Corpus]) -> Corpus:
    """One corpus of several, for training on all of them; raises CorpusError when they share an id."""
    if len(corpora) == 1:
        return corpora[0]
    owner: dict[str, Path] = {}
    for corpus in corpora:
        for utterance in corpus:
            if utterance.id in owner:
                raise CorpusError(f"utterance {utterance.id!r} is in {owner[utterance.id]} and in {corpus.path}")
            owner[utterance.id] = corpus.path
    return Corpus(
        Path("+".join(corpus.name for corpus in corpora)),
        [utterance for corpus in corpora for utterance in corpus],
        [skip for corpus in corpora for skip in corpus.skipped],
    )


def select(corpus: Corpus, ids: Iterable[str]) -> Corpus:
    """The utterances with the given ids, in the corpus's order.

    Raises:
        CorpusError: an id that the corpus does not have.
    """
    wanted = set(ids)
    chosen = [utterance for utterance in corpus if utterance.id in wanted]
    missing = sorted(wanted.difference(utterance.id for utterance in chosen))
    if missing:
        raise CorpusError(f"{corpus.path} lacks {len(missing)} of {len(wanted)} ids: {some(missing)}")
    return Corpus(corpus.path, chosen)


def read_ids(path: str | Path) -> list[str]:
    """Utterance ids from a text file, one a line; blank lines and lines that begin with ``#`` are ignored."""
    lines = (line.strip() for line in read_lines(Path(path)))
    ids = [line for line in lines if line and not line.startswith("#")]
    if not ids:
        raise CorpusError(f"{path} holds no utterance ids; write one a line")
    return ids


def feature_shape(path: Path) -> tuple[int, int]:
    """``(frames, n_mels)`` of an ``.npy`` file, read from its header; raises CorpusError if it holds no such array."""
    try:
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
    except (OSError, ValueError, EOFError) as error:
        raise CorpusError(f"unreadable feature file {path}: {error}") from error
    if len(shape) != 2:
        raise CorpusError(f"{path} must hold an array (frames, n_mels), not one of shape {shape}")
    return shape


def speaker_of(name: str) -> str | None:
    """The speaker in an id of LibriSpeech's form, ``SPEAKER-CHAPTER-NUMBER``."""
    match = re.fullmatch(r"(\w+)-\w+-\w+", name)
    return match.group(1) if match else None


def read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 file, with or without a byte order mark."""
    try:
        # Not splitlines(), which also splits at characters that may stand within a transcript (U+2028, U+0085).
        return path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error


def some(items: Sequence[str], limit: int = 5) -> str:
    """The first few items, and how many more there are."""
    return ", ".join(items[:limit]) + (f" and {len(items) - limit} more" if len(items) > limit else "")
