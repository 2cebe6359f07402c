"""The section ``model.lact`` of a configuration."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from asr_tutorial.config.types import STRICT, Positive, PositiveFloat, Probability


@dataclass(config=STRICT)
class LactConfig:
    """The encoder with large-chunk test-time training; ``model.architecture: lact`` uses it."""

    heads: Positive = 4
    """Memories side by side; must divide d_model. Few and wide: a memory has the square of its width for weights."""
    expansion: Positive = 1
    """Hidden width of a memory's network, as a multiple of the width of its head."""
    chunk: Positive = 64
    """Encoder frames that are learnt in one step. Causal: an utterance of one chunk is not learnt from at all."""
    causal: bool = False
    """No frame sees a later one; the convolutions of the front end still look some frames ahead."""
    base_lr: PositiveFloat = 0.01
    """Learning rate of the memories before training has changed it."""
    momentum: Probability = 0.0
    """Share of a chunk's update that the next one goes on with, before training has changed it; 0: none."""
    muon: bool = True
    """Orthogonalise the updates."""
    window: Positive = 64
    """Encoder frames to either side that attention sees."""
    conv_layers: Annotated[int, Field(ge=1, le=8)] = 2
    """Convolutions of the front end; those that do not make frames fewer come last."""
    audio_dropout: Probability = 0.1
    """Dropout after each of them."""
