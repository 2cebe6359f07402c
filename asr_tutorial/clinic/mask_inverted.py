"""Patient 5: a decoder that is told by a mask which frames of the encoder are speech."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from asr_tutorial.clinic.visit import Visit, inside, learn, sentences, small_model, written
from asr_tutorial.dataset import Batch, collate
from asr_tutorial.model import SpeechTransformer
from asr_tutorial.tokenizer import CharTokenizer

FACTOR = 4
"""Feature frames to one frame of the encoder."""


def frames_to_attend(feature_lengths: Tensor, frames: int) -> Tensor:
    """Which frames of the encoder the decoder may attend to; True = may be attended.

    Args:
        feature_lengths: ``(batch,)`` real frames of the sound; the encoder has one for each ``FACTOR``, rounded up.
        frames: length of the encoder's time axis.

    Returns:
        ``(batch, frames)`` boolean.
    """
    lengths = (feature_lengths + FACTOR - 1) // FACTOR
    return torch.arange(frames)[None, :] < lengths[:, None]


def logits_of(model: SpeechTransformer, batch: Batch) -> Tensor:
    """The decoder's scores while it reads the right text: ``(batch, length, vocab)``."""
    encoder_out, _ = model.encode(batch.features, batch.feature_lengths)
    return model.decode(batch.tokens_in, encoder_out, frames_to_attend(batch.feature_lengths, encoder_out.shape[1]))


def recognise(model: SpeechTransformer, batch: Batch, tokenizer: CharTokenizer) -> list[tuple[str, str]]:
    """Reference and hypothesis of each utterance of a batch."""
    mask = frames_to_attend(batch.feature_lengths, batch.features.shape[1] // FACTOR)
    return written(model, batch, tokenizer, mask)[0]


def run(seed: int = 0) -> Visit:
    """Train on one batch; then recognise each utterance alone, as a user's recording comes in, and all in the batch."""
    examples, tokenizer = sentences()
    model = small_model(tokenizer, seed, subsampling_factor=FACTOR)
    batch = collate(examples, tokenizer, frame_multiple=128)

    def loss() -> Tensor:
        return F.cross_entropy(logits_of(model, batch).transpose(1, 2), batch.tokens_out, ignore_index=tokenizer.pad_id)

    losses = learn(model, loss, steps=60)
    alone = [collate([example], tokenizer, frame_multiple=FACTOR) for example in examples]
    with torch.inference_mode():
        together = logits_of(model.eval(), batch)[:1, : alone[0].tokens_in.shape[1]]
        difference = (logits_of(model, alone[0]) - together).abs().max()
    mask = frames_to_attend(batch.feature_lengths, batch.features.shape[1] // FACTOR)
    in_batch = Visit(transcripts=recognise(model, batch, tokenizer))
    return Visit(
        losses={"training": losses},
        transcripts=[pair for one in alone for pair in recognise(model, one, tokenizer)],
        pictures=inside(model, batch, tokenizer, encoder_mask=mask),
        measures={
            "word errors in the training batch": in_batch.wer,
            "largest difference of scores, alone and in the batch": float(difference),
        },
    )
