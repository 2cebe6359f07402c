"""From a corpus to the batches that a model is trained on.

In the order that data flows: :class:`FeatureStore` computes log-mel features once and keeps them on disk,
:class:`SpeechDataset` puts features and tokens of an utterance together, :class:`BucketBatchSampler` decides which
utterances share a batch, :func:`collate` pads them into a :class:`Batch`, and :class:`SpeechLoader` does all of that
for an epoch. :class:`TextDataset` is the same for text alone, for language models.
"""

from asr_tutorial.dataset.batch import Batch, Example, collate
from asr_tutorial.dataset.sampler import BucketBatchSampler, sequential_batches
from asr_tutorial.dataset.speech import SpeechDataset, SpeechLoader, frames_needed
from asr_tutorial.dataset.store import FeatureStore
from asr_tutorial.dataset.text import TextBatch, TextDataset, read_lines

__all__ = [
    "Batch",
    "BucketBatchSampler",
    "Example",
    "FeatureStore",
    "SpeechDataset",
    "SpeechLoader",
    "TextBatch",
    "TextDataset",
    "collate",
    "frames_needed",
    "read_lines",
    "sequential_batches",
]
