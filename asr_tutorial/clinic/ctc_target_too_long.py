"""Patient 4: a CTC model that takes one frame for eight of the sound, so that its encoder is fast."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from asr_tutorial.clinic.visit import Visit, heard, inside, learn, sentences, small_model
from asr_tutorial.dataset import Batch, Example, collate

FACTOR = 8
"""Feature frames to one frame of the encoder."""


def choose(examples: Sequence[Example], factor: int) -> list[Example]:
    """The utterances to train on: those whose text CTC can say in the frames that there are.

    Args:
        examples: features ``(frames, n_mels)`` and tokens of each.
        factor: feature frames to one frame of the encoder, which has ``ceil(frames / factor)``.
    """
    chosen = []
    for example in examples:
        frames = math.ceil(len(example.features) / factor)
        # Between two equal letters stands a blank, which takes a frame of its own.
        repeats = sum(first == second for first, second in zip(example.tokens, example.tokens[1:], strict=False))
        if len(example.tokens) + repeats <= frames:
            chosen.append(example)
    return chosen


def alignment_loss(log_probs: Tensor, frames: Tensor, batch: Batch, blank: int) -> Tensor:
    """CTC loss, averaged over texts and letters.

    Args:
        log_probs: ``(batch, time, vocab)``.
        frames: ``(batch,)`` real frames of the encoder.
        batch: has ``targets`` and ``target_lengths``.
        blank: id of the blank.
    """
    time_first = log_probs.transpose(0, 1)  # (time, batch, vocab)
    return F.ctc_loss(time_first, batch.targets, frames, batch.target_lengths, blank)


def run(seed: int = 0) -> Visit:
    """Train on what was chosen, then read it out; measure the loss of each utterance before the first step."""
    examples, tokenizer = sentences(10)
    batch = collate(choose(examples, FACTOR), tokenizer)
    model = small_model(tokenizer, seed, decoder_layers=0, subsampling_factor=FACTOR)

    def outputs() -> tuple[Tensor, Tensor]:
        encoder_out, encoder_mask = model.encode(batch.features, batch.feature_lengths)
        return model.ctc_log_probs(encoder_out), encoder_mask.sum(1)

    with torch.inference_mode():
        log_probs, frames = outputs()
        pieces = batch.targets, frames, batch.target_lengths
        each = F.ctc_loss(log_probs.transpose(0, 1), *pieces, blank=tokenizer.blank_id, reduction="none")
    losses = learn(model, lambda: alignment_loss(*outputs(), batch, tokenizer.blank_id), steps=80)
    return Visit(
        losses={"training": losses},
        transcripts=heard(model, batch, tokenizer),
        pictures=inside(model, batch, tokenizer),
        measures={
            "utterances": len(batch),
            "utterances with an infinite loss before the first step": int(each.isinf().sum()),
        },
    )
