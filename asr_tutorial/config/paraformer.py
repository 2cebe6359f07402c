"""The section of a configuration that only the architecture ``paraformer`` uses."""

from __future__ import annotations

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from asr_tutorial.config.types import STRICT, Positive, PositiveFloat, Share


@dataclass(config=STRICT)
class PredictorConfig:
    """Paraformer's predictor: how much of a token each encoder frame holds."""

    hidden: Positive = 256
    """Channels of its convolutions."""
    layers: Positive = 2
    """Convolutions over time."""
    kernel: Positive = 3
    """Encoder frames that each of them sees; odd."""
    smooth: PositiveFloat = 1.0
    """Factor on the weight of a frame."""
    noise: Share = 0.0
    """What is taken off it then, so that frames without speech weigh nothing."""

    @model_validator(mode="after")
    def _check(self) -> PredictorConfig:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel ({self.kernel}) must be odd")
        if self.smooth <= self.noise:
            raise ValueError(f"smooth ({self.smooth}) must be larger than noise ({self.noise}): no frame would weigh")
        return self
