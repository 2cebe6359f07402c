"""Patient 8: a small model with much dropout learns from few utterances, and is validated every 20 steps."""

from __future__ import annotations

import torch
from torch import Tensor

from asr_tutorial.clinic.visit import N_MELS, Visit, heard, small_model
from asr_tutorial.ctc import training_loss
from asr_tutorial.dataset import Batch
from asr_tutorial.model import SpeechTransformer
from asr_tutorial.synthetic import SyntheticTask

STEPS, EVERY, PEAK = 100, 20, 1e-2


def ctc(model: SpeechTransformer, batch: Batch, blank: int) -> Tensor:
    """CTC loss in nats per token."""
    output = model(batch.features, batch.feature_lengths, batch.tokens_in)
    frames = output.encoder_mask.sum(dim=1)
    losses = training_loss(output.ctc_log_probs, batch.targets, frames, batch.target_lengths, blank)
    return losses.sum() / batch.target_lengths.sum()


def validate(model: SpeechTransformer, dev: Batch, blank: int) -> float:
    """The loss on utterances that are not learnt from, as the finished model would have it.

    Args:
        model: somewhere in its training, or after it.
        dev: the utterances.
        blank: id of CTC's blank.

    Returns:
        Nats per token; the same each time for the same weights.
    """
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        loss = ctc(model, dev, blank).item()
    model.train(was_training)
    return loss


def run(seed: int = 0) -> Visit:
    """Train, with a validation after every 20 steps, and recognise the dev set at the end."""
    task = SyntheticTask(letters=6, n_mels=N_MELS, min_length=3, max_length=6, min_frames=4, max_frames=6, noise=1.5)
    training, dev, blank = task.batch(16, seed=3), task.batch(32, seed=4), task.tokenizer.blank_id
    model = small_model(task.tokenizer, seed, decoder_layers=0, subsampling_factor=2, dropout=0.3)
    optimizer = torch.optim.Adam(model.parameters(), lr=PEAK)
    losses, dev_losses, modes = [], [], []
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = PEAK * min(1.0, (step + 1) / 10)
        modes.append(model.training)
        loss = ctc(model, training, blank)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % EVERY == 0:
            dev_losses.append(validate(model, dev, blank))
    model.eval()
    again = [validate(model, dev, blank) for _ in range(2)]
    return Visit(
        losses={"training": losses, "dev, every 20 steps": [loss for loss in dev_losses for _ in range(EVERY)]},
        transcripts=heard(model, dev, task.tokenizer),
        measures={
            "training loss at the end": sum(losses[-EVERY:]) / EVERY,
            "dev loss at the end": dev_losses[-1],
            "two validations of the finished model differ by": abs(again[0] - again[1]),
            "share of steps made in training mode": sum(modes) / STEPS,
        },
    )
