"""What is in a corpus, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from asr_tutorial.corpus.types import Corpus
from asr_tutorial.tokenizer import Tokenizer


@dataclass(frozen=True)
class CorpusStats:
    """What :func:`corpus_stats` counts; the fields about tokens are 0 without a tokenizer."""

    utterances: int
    skipped: int
    hours: float
    speakers: int
    shortest: float
    """Seconds of the shortest utterance."""
    longest: float
    """Seconds of the longest utterance."""
    longest_id: str
    length_histogram: list[tuple[float, float, int]]
    """(from seconds, to seconds, utterances)."""
    words: int
    word_vocabulary: int
    characters: int
    character_vocabulary: dict[str, int]
    """Each character and how often it occurs, most frequent first."""
    tokens: int = 0
    characters_per_token: float = 0.0
    most_tokens: int = 0


def corpus_stats(corpus: Corpus, tokenizer: Tokenizer | None = None, bins: int = 10) -> CorpusStats:
    """Hours, speakers, lengths, vocabulary and, given a tokenizer, tokens of a corpus."""
    seconds = np.array([utterance.seconds for utterance in corpus])
    counts, edges = np.histogram(seconds, bins=bins)
    characters = Counter("".join(corpus.texts))
    words = Counter(word for text in corpus.texts for word in text.split())
    token_counts = [len(tokenizer.encode(text)) for text in corpus.texts] if tokenizer else []
    tokens = sum(token_counts)
    return CorpusStats(
        utterances=len(corpus),
        skipped=len(corpus.skipped),
        hours=float(seconds.sum()) / 3600,
        speakers=len({utterance.speaker for utterance in corpus if utterance.speaker is not None}),
        shortest=float(seconds.min()),
        longest=float(seconds.max()),
        longest_id=corpus.utterances[int(seconds.argmax())].id,
        length_histogram=[(float(edges[i]), float(edges[i + 1]), int(count)) for i, count in enumerate(counts)],
        words=sum(words.values()),
        word_vocabulary=len(words),
        characters=sum(characters.values()),
        character_vocabulary=dict(characters.most_common()),
        tokens=tokens,
        characters_per_token=sum(characters.values()) / tokens if tokens else 0.0,
        most_tokens=max(token_counts, default=0),
    )
