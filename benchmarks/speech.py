"""Real utterances for the benchmarks that compare what is recognised."""

from __future__ import annotations

from pathlib import Path

import torch
from common import ROOT
from torch import Tensor

import asr_tutorial
from asr_tutorial.corpus import read_corpus
from asr_tutorial.recognizer import Recognizer
from asr_tutorial.recognizer.inputs import MAX_SECONDS


def checkpoint(name: str) -> Recognizer:
    """A recogniser of ``data/pretrained``."""
    return asr_tutorial.load(ROOT / "data" / "pretrained" / name, device="cpu")


def features(recognizer: Recognizer, corpus: str | Path, limit: int, seconds: float = MAX_SECONDS) -> list[Tensor]:
    """Log-mel features (frames, n_mels) of utterances spread evenly over a corpus, none longer than ``seconds``.

    Args:
        recognizer: whose features.
        corpus: folder, or name as ``asr-tutorial`` takes it.
        limit: how many.
        seconds: longer ones are left out.
    """
    utterances = [utterance for utterance in read_corpus(corpus).utterances if utterance.seconds <= seconds]
    step = max(1, len(utterances) // limit)
    chosen = utterances[::step][:limit]
    return [recognizer._features(recognizer._waveform(utterance.audio, None))[0] for utterance in chosen]


@torch.inference_mode()
def encode(recognizer: Recognizer, pieces: list[Tensor], batch: int) -> list[tuple[Tensor, Tensor]]:
    """Encoder outputs (batch, frames, d_model) and masks (batch, frames), the shortest utterances first.

    Args:
        recognizer: the model.
        pieces: features of the utterances.
        batch: utterances of a batch.
    """
    recognizer.model.eval()
    ordered = sorted(pieces, key=len)
    results = []
    for start in range(0, len(ordered), batch):
        group = recognizer._collate(ordered[start : start + batch])
        results.append(recognizer.model.encode(group.features, group.feature_lengths))
    return results


def default_corpus() -> str:
    """LibriSpeech's dev set beside the source tree, or the bundled corpus where it is missing."""
    for folder in (ROOT.parent, *ROOT.parents):
        path = folder / "shared" / "data" / "LibriSpeech" / "dev-218spk"
        if path.is_dir():
            return str(path)
    return "tinyspeech/dev"
