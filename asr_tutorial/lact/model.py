"""The recogniser with such an encoder."""

from __future__ import annotations

from dataclasses import replace

from asr_tutorial.config import Config
from asr_tutorial.lact.encoder import LactEncoder
from asr_tutorial.model import SpeechTransformer


class LactTransformer(SpeechTransformer):
    """A :class:`~asr_tutorial.model.SpeechTransformer` whose encoder learns while it reads."""

    def __init__(self, config: Config, vocab_size: int) -> None:
        # One layer of the encoder that is thrown away, not all of them.
        super().__init__(replace(config, model=replace(config.model, encoder_layers=1)), vocab_size)
        self.encoder = LactEncoder(config.model, config.features.n_mels)
