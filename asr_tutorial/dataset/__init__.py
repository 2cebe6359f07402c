"""From a corpus to the batches that a model is trained on.

In the order that data flows: :class:`FeatureStore` computes log-mel features once and keeps them on disk,
:class:`SpeechDataset` puts features and tokens of an utterance together, :class:`BucketBatchSampler` decides which
utterances share a batch, :func:`collate` pads them into a :class:`Batch`, and :class:`SpeechLoader` does all of that
for an epoch. For language models, :func:`read_text` reads text of many forms, :class:`PackedText` packs it into rows
of one length; :class:`TextDataset` has one line to a row.
"""

from asr_tutorial.dataset.batch import Batch, Example, collate
from asr_tutorial.dataset.packing import PackedText, pack, packed_text, row_targets
from asr_tutorial.dataset.sampler import BucketBatchSampler, sequential_batches
from asr_tutorial.dataset.speech import SpeechDataset, SpeechLoader, frames_needed
from asr_tutorial.dataset.store import FeatureStore
from asr_tutorial.dataset.text import TextBatch, TextDataset, read_lines
from asr_tutorial.dataset.text_files import read_text, spoken_form

__all__ = [
    "Batch",
    "BucketBatchSampler",
    "Example",
    "FeatureStore",
    "PackedText",
    "SpeechDataset",
    "SpeechLoader",
    "TextBatch",
    "TextDataset",
    "collate",
    "frames_needed",
    "pack",
    "packed_text",
    "read_lines",
    "read_text",
    "row_targets",
    "sequential_batches",
    "spoken_form",
]
