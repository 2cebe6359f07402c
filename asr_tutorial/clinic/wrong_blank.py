"""Patient 3: a CTC model learns four sentences by heart and says what it hears."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from asr_tutorial.clinic.visit import Visit, learn, posteriors, sentences, small_model
from asr_tutorial.ctc import best_path
from asr_tutorial.dataset import Batch, collate
from asr_tutorial.tokenizer import Tokenizer


def alignment_loss(log_probs: Tensor, frames: Tensor, batch: Batch, tokenizer: Tokenizer) -> Tensor:
    """CTC loss, averaged over texts and letters.

    Args:
        log_probs: ``(batch, time, vocab)``.
        frames: ``(batch,)`` real frames of the encoder.
        batch: has ``targets`` and ``target_lengths``.
        tokenizer: knows the ids of the special tokens.
    """
    time_first = log_probs.transpose(0, 1)  # (time, batch, vocab)
    return F.ctc_loss(time_first, batch.targets, frames, batch.target_lengths, blank=tokenizer.blank_id)


def read_out(log_probs: Tensor, frames: Tensor, tokenizer: Tokenizer) -> list[str]:
    """The text of each utterance, by best path.

    Args:
        log_probs: ``(batch, time, vocab)``.
        frames: ``(batch,)`` real frames.
        tokenizer: knows the ids of the special tokens and the letters.
    """
    return [tokenizer.decode(tokens) for tokens in best_path(log_probs, frames, tokenizer.blank_id)]


def run(seed: int = 0) -> Visit:
    """Train on one batch, then read it out."""
    examples, tokenizer = sentences()
    model = small_model(tokenizer, seed, decoder_layers=0)
    batch = collate(examples, tokenizer)

    def outputs() -> tuple[Tensor, Tensor]:
        encoder_out, encoder_mask = model.encode(batch.features, batch.feature_lengths)
        return model.ctc_log_probs(encoder_out), encoder_mask.sum(1)

    losses = learn(model, lambda: alignment_loss(*outputs(), batch, tokenizer), steps=90)
    model.eval()
    with torch.inference_mode():
        log_probs, frames = outputs()
        texts = read_out(log_probs, frames, tokenizer)
        best = torch.cat([row[:length].argmax(1) for row, length in zip(log_probs, frames.tolist(), strict=True)])
    return Visit(
        losses={"training": losses},
        transcripts=list(zip(batch.texts, texts, strict=True)),
        pictures=posteriors(log_probs[0], tokenizer, int(frames[0])),
        measures={"share of frames that say blank": (best == tokenizer.blank_id).double().mean().item()},
    )
