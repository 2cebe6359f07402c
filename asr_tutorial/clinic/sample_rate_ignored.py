"""Patient 12: four sentences are learnt by heart, and recognised again in recordings of other machines."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from asr_tutorial.audio import Samples, read_audio, resample
from asr_tutorial.clinic.visit import Picture, Visit, heard, learn, sentences, small_config, small_model
from asr_tutorial.corpus import read_corpus
from asr_tutorial.ctc import training_loss
from asr_tutorial.dataset import Batch, Example, collate
from asr_tutorial.features import FeatureExtractor
from asr_tutorial.metrics import cer

SAMPLE_RATE = 16_000
"""Samples per second that features are computed at."""
OTHER_RATES = (44_100, 48_000)
WHISTLE = 15_000
"""Hertz of a whistle, inaudible to most, that the other machines record with the speech: the power supply."""


def load(path: Path) -> Samples:
    """Read a recording, of any sample rate, for the features.

    Args:
        path: a mono sound file.

    Returns:
        ``(samples,)`` float32, ``SAMPLE_RATE`` of them for each second of the recording.
    """
    samples, rate = soundfile.read(path, dtype="float32")
    return resample(samples, rate, SAMPLE_RATE)


def record(samples: Samples, rate: int, path: Path) -> Path:
    """What a machine of another sample rate would have written down of the same sound."""
    there = resample(samples, SAMPLE_RATE, rate)
    if rate > 2 * WHISTLE:
        there = there + 0.1 * np.sin(2 * np.pi * WHISTLE * np.arange(len(there)) / rate).astype(np.float32)
    soundfile.write(path, there, rate, subtype="FLOAT")
    return path


def run(seed: int = 0) -> Visit:
    """Learn the sentences at 16 kHz, then recognise them as they were and in recordings at other rates."""
    examples, tokenizer = sentences()
    sounds = {utterance.id: utterance.audio for utterance in read_corpus("tinyspeech/dev").utterances}
    extract = FeatureExtractor(small_config().features)

    def batch_of(rates: list[int]) -> Batch:
        with tempfile.TemporaryDirectory() as folder:
            rows = []
            for example, rate in zip(examples, rates, strict=True):
                path = record(read_audio(sounds[example.id]), rate, Path(folder) / f"{rate}.wav")
                features, _ = extract(torch.from_numpy(load(path))[None])  # (1, frames, n_mels)
                rows.append(Example(f"{example.id} at {rate} Hz", example.text, features[0], example.tokens))
        return collate(rows, tokenizer)

    training, others = batch_of([SAMPLE_RATE] * len(examples)), batch_of(list(OTHER_RATES * 2))
    model = small_model(tokenizer, seed, decoder_layers=0)

    def loss() -> Tensor:
        output = model(training.features, training.feature_lengths, training.tokens_in)
        frames, lengths = output.encoder_mask.sum(dim=1), training.target_lengths
        losses = training_loss(output.ctc_log_probs, training.targets, frames, lengths, tokenizer.blank_id)
        return losses.sum() / lengths.sum()

    losses = learn(model, loss, steps=75)
    at_home, elsewhere = heard(model, training, tokenizer), heard(model, others, tokenizer)
    seconds = others.feature_lengths.sum() / training.feature_lengths.sum()
    return Visit(
        losses={"training": losses},
        transcripts=elsewhere + at_home,
        pictures={
            f"Input at {rate} Hz": Picture(
                batch.features[1].T.numpy(), "mel bin", real=int(batch.feature_lengths[1]), along="frame"
            )
            for rate, batch in ((SAMPLE_RATE, training), (OTHER_RATES[1], others))
        },
        measures={
            "character errors at 16000 Hz": cer(*map(list, zip(*at_home, strict=True))),
            "character errors at other rates": cer(*map(list, zip(*elsewhere, strict=True))),
            "length of the others for each second of the original": float(seconds),
        },
    )
