"""Patient 6: a CTC model whose encoder gives one frame for eight of the sound, trained in batches."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from asr_tutorial.clinic.ctc_target_too_long import choose
from asr_tutorial.clinic.visit import Visit, learn, posteriors, sentences, small_model
from asr_tutorial.ctc import best_path
from asr_tutorial.dataset import Batch, collate
from asr_tutorial.model import SpeechTransformer
from asr_tutorial.tokenizer import CharTokenizer

FACTOR = 8
"""Feature frames to one frame of the encoder."""


def encoder_lengths(feature_lengths: Tensor, frames: int) -> Tensor:
    """How many frames of the encoder are speech.

    Args:
        feature_lengths: ``(batch,)`` real frames of the sound.
        frames: length of the encoder's time axis; it has one frame for each ``FACTOR`` of the sound, rounded up.

    Returns:
        ``(batch,)`` lengths, none above ``frames``.
    """
    return (feature_lengths + FACTOR - 1) // FACTOR


def recognise(model: SpeechTransformer, batch: Batch, tokenizer: CharTokenizer) -> list[tuple[str, str]]:
    """Reference and hypothesis of each utterance of a batch."""
    model.eval()
    with torch.inference_mode():
        log_probs = model.ctc_log_probs(model.encode(batch.features, batch.feature_lengths)[0])
    lengths = encoder_lengths(batch.feature_lengths, log_probs.shape[1])
    texts = [tokenizer.decode(tokens) for tokens in best_path(log_probs, lengths, tokenizer.blank_id)]
    return list(zip(batch.texts, texts, strict=True))


def run(seed: int = 0) -> Visit:
    """Train on one batch; then recognise each utterance alone, as a user's recording comes in, and all in the batch."""
    examples, tokenizer = sentences(10)
    examples = choose(examples, FACTOR)
    batch = collate(examples, tokenizer, frame_multiple=128)
    model = small_model(tokenizer, seed, decoder_layers=0, subsampling_factor=FACTOR)

    def loss() -> Tensor:
        log_probs = model.ctc_log_probs(model.encode(batch.features, batch.feature_lengths)[0])
        lengths = encoder_lengths(batch.feature_lengths, log_probs.shape[1])
        time_first = log_probs.transpose(0, 1)  # (time, batch, vocab)
        return F.ctc_loss(time_first, batch.targets, lengths, batch.target_lengths, blank=tokenizer.blank_id)

    losses = learn(model, loss, steps=80)
    alone = [collate([example], tokenizer, frame_multiple=FACTOR) for example in examples]
    in_batch = Visit(transcripts=recognise(model, batch, tokenizer))
    with torch.inference_mode():
        encoder_out, encoder_mask = model.encode(batch.features, batch.feature_lengths)
        first = model.ctc_log_probs(encoder_out)[0]  # (time, vocab)
    return Visit(
        losses={"training": losses},
        transcripts=[pair for one in alone for pair in recognise(model, one, tokenizer)],
        pictures=posteriors(first, tokenizer, int(encoder_mask[0].sum())),
        measures={"word errors in the training batch": in_batch.wer},
    )
