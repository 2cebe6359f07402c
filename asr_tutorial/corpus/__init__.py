"""Corpora: which utterances there are, where their audio lies and what is said in them.

:func:`read_corpus` reads three layouts into the same :class:`Corpus`:

- a folder below which LibriSpeech's files lie: ``19-198.trans.txt`` with a line ``19-198-0000 NORTHANGER ABBEY`` for
  each utterance, and ``19-198-0000.flac`` beside it (any audio format that libsndfile reads);
- a manifest, ``.tsv`` or ``.jsonl``, with the columns ``id``, ``audio``, ``text``: the way for recordings of your own;
- a folder of precomputed features, ``fbank/ID.npy`` and ``text/ID.npy``.

Only headers are read here, no sound. What cannot be used is never dropped silently: it is in ``corpus.skipped`` with
its id and the reason.
"""

from asr_tutorial.corpus.manifest import write_manifest
from asr_tutorial.corpus.read import read_corpus, resolve
from asr_tutorial.corpus.stats import CorpusStats, corpus_stats
from asr_tutorial.corpus.types import Corpus, Skip, Utterance, feature_shape, join_corpora, read_ids, select

__all__ = [
    "Corpus",
    "CorpusStats",
    "Skip",
    "Utterance",
    "corpus_stats",
    "feature_shape",
    "join_corpora",
    "read_corpus",
    "read_ids",
    "resolve",
    "select",
    "write_manifest",
]
