"""Patient 10: short and long utterances in one batch, and time masks over them; the short ones are not learnt."""

from __future__ import annotations

import torch
from torch import Tensor

from asr_tutorial.clinic.visit import N_MELS, Picture, Visit, heard, learn, small_model
from asr_tutorial.ctc import training_loss
from asr_tutorial.dataset import Batch, collate
from asr_tutorial.synthetic import SyntheticTask

SHORT, LONG = 12, 3
"""Utterances of a batch: of two or three letters, and of twenty."""
SHARE, COUNT = 0.2, 3


def hide_stretches(features: Tensor, lengths: Tensor, share: float, count: int) -> Tensor:
    """Hide ``count`` random stretches of each utterance, SpecAugment's time masks.

    A stretch is a whole number of frames long, from none to ``share`` of the utterance, each length as probable as any
    other; where it lies, within the utterance, is random too.

    Args:
        features: ``(batch, frames, n_mels)``, zero behind each utterance's end; left as they are.
        lengths: ``(batch,)`` real frames.
        share: of the utterance, at most 1.
        count: stretches, which may overlap.

    Returns:
        A copy with 0.5 in the hidden places.
    """
    hidden = features.clone()
    for row, length in enumerate(lengths.tolist()):
        for _ in range(count):
            width = int(torch.rand(()) * (share * length + 1))
            start = int(torch.rand(()) * (length - width + 1))
            hidden[row, start : start + width] = 0.5
    return hidden


def run(seed: int = 0) -> Visit:
    """Train with masks, look at what they hide, and recognise utterances of both kinds."""
    sizes = {"letters": 6, "n_mels": N_MELS, "min_frames": 4, "max_frames": 6, "noise": 0.7}
    short = SyntheticTask(min_length=2, max_length=3, **sizes)  # type: ignore[arg-type]
    long = SyntheticTask(min_length=20, max_length=20, **sizes)  # type: ignore[arg-type]
    generator, tokenizer = torch.Generator().manual_seed(3), short.tokenizer

    def mixed() -> Batch:
        kinds = [short] * SHORT + [long] * LONG
        return collate([task.example(generator) for task in kinds], tokenizer)

    batches, dev = [mixed() for _ in range(3)], mixed()
    model = small_model(tokenizer, seed, decoder_layers=0, subsampling_factor=2)
    curves: dict[str, list[float]] = {"short": [], "long": []}

    def loss() -> Tensor:
        batch = batches[len(curves["short"]) % len(batches)]
        features = hide_stretches(batch.features, batch.feature_lengths, SHARE, COUNT)
        output = model(features, batch.feature_lengths, batch.tokens_in)
        frames, lengths = output.encoder_mask.sum(dim=1), batch.target_lengths
        losses = training_loss(output.ctc_log_probs, batch.targets, frames, lengths, tokenizer.blank_id) / lengths
        for name, part in zip(curves, losses.detach().split([SHORT, LONG]), strict=True):
            curves[name].append(float(part.mean()))
        return losses.mean()

    learn(model, loss, steps=60)
    changed = hide_stretches(dev.features, dev.feature_lengths, SHARE, COUNT)
    touched = (changed != dev.features).any(dim=2)  # (batch, frames)
    own = [float(row[:length].float().mean()) for row, length in zip(touched, dev.feature_lengths, strict=True)]
    behind = sum(int(row[length:].sum()) for row, length in zip(touched, dev.feature_lengths, strict=True))
    return Visit(
        losses=curves,
        transcripts=heard(model, dev, tokenizer),
        pictures={
            f"Input, {name} utterance": Picture(
                changed[row].T.numpy(), "mel bin", real=int(dev.feature_lengths[row]), along="frame"
            )
            for name, row in (("short", 0), ("long", SHORT))
        },
        measures={
            "share hidden of the short utterances": sum(own[:SHORT]) / SHORT,
            "share hidden of the long utterances": sum(own[SHORT:]) / LONG,
            "frames of padding written to": float(behind),
            "loss of short utterances at the end": sum(curves["short"][-10:]) / 10,
            "loss of long utterances at the end": sum(curves["long"][-10:]) / 10,
        },
    )
