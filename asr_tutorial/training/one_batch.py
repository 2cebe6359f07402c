"""Learning one batch by heart: the first thing to try when a model does not learn."""

from __future__ import annotations

import dataclasses

from tqdm.auto import tqdm

from asr_tutorial.config import Config
from asr_tutorial.training.loop import show_progress
from asr_tutorial.training.setup import prepare
from asr_tutorial.training.step import Stepper


def overfit(config: Config, steps: int = 200, progress: bool = True) -> list[float]:
    """Train on one batch alone, without augmentation and dropout: a model that cannot learn it by heart has a defect.

    The rate rises over the first tenth of the steps, however long the warm-up of the whole training is.

    Returns:
        The loss of each step, in nats per token.
    """
    config = dataclasses.replace(config)
    config.augment = dataclasses.replace(config.augment, freq_warp=0.0, freq_masks=0, time_masks=0, speeds=[1.0])
    config.model = dataclasses.replace(config.model, dropout=0.0, attention_dropout=0.0)
    warmup = min(config.training.schedule.warmup_steps, steps // 10)
    schedule = dataclasses.replace(config.training.schedule, warmup_steps=warmup)
    config.training = dataclasses.replace(config.training, label_smoothing=0.0, token_noise=0.0, schedule=schedule)
    data, model = prepare(config, progress)
    stepper = Stepper(config, data.tokenizer, model, total_steps=steps)
    batch = next(data.train.batches(0))
    losses = []
    for step in tqdm(range(steps), desc="overfit", disable=not show_progress(progress)):
        losses.append(stepper.step([batch], step).loss)
    return losses
