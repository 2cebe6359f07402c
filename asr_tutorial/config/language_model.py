"""The sections of a language model's configuration."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from asr_tutorial.config.sections import LoopConfig, TokenizerConfig
from asr_tutorial.config.types import STRICT, Positive, Probability


@dataclass(config=STRICT)
class TextConfig:
    """The text that a language model learns, and how it is laid out in rows."""

    root: str = ""
    """Folder that relative paths below start from; empty: ``ASR_TUTORIAL_DATA``, else the repository's ``data``."""
    train: list[str] = field(default_factory=lambda: ["tinyspeech/train"])
    """Text files (plain, .gz, .xz; WikiText's wiki.*.tokens, also inside a .zip) and corpora, whose transcripts are
    taken. A file that is named twice counts twice."""
    dev: list[str] = field(default_factory=lambda: ["tinyspeech/dev"])
    """The same to validate on; the first one chooses the best checkpoint."""
    form: Literal["written", "spoken"] = "written"
    """spoken: as a speech corpus writes: capital letters and apostrophes only, lines with figures left out."""
    context: Annotated[int, Field(ge=8)] = 256
    """Tokens of a row. At least the length of the sentences to be scored: longer ones are cut, counted and named."""
    separate: bool = True
    """Sentences that share a row do not see each other, as in recognition, where each utterance stands alone. False: a
    sentence sees those before it in its row, which are those before it in the text."""
    batch_tokens: Positive = 16_384
    """Tokens in a batch, padding included."""
    cache: str = ""
    """Folder for encoded text; empty: ``~/.cache/asr_tutorial``."""


@dataclass(config=STRICT)
class LanguageModelArchitecture:
    """A decoder-only Transformer."""

    d_model: Positive = 256
    """Width of the residual stream."""
    num_heads: Positive = 4
    """Attention heads; must divide d_model."""
    d_ff: Positive = 1024
    """Hidden width of the feed-forward blocks; four times d_model is usual."""
    layers: Positive = 6
    """Depth."""
    dropout: Probability = 0.1
    """Dropout after each sublayer, inside the feed-forward blocks and on the embeddings."""
    attention_dropout: Probability = 0.0
    """Dropout on attention weights; 0 keeps the fused kernel usable on the CPU."""
    positional: Literal["sinusoidal", "learned", "none"] = "sinusoidal"
    """Positional encoding."""
    max_length: Positive = 5000
    """Longest sequence that positions exist for."""

    @model_validator(mode="after")
    def _check(self) -> LanguageModelArchitecture:
        if self.d_model % self.num_heads:
            raise ValueError(f"num_heads ({self.num_heads}) must divide d_model ({self.d_model})")
        return self


@dataclass(config=STRICT)
class LanguageModelConfig:
    """Everything that the training of a Transformer language model depends on."""

    kind: Literal["transformer_lm"] = "transformer_lm"
    """Tells this file from a recogniser's configuration."""
    name: str = "lm"
    """Short name, part of the run folder's name."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    text: TextConfig = field(default_factory=TextConfig)
    model: LanguageModelArchitecture = field(default_factory=LanguageModelArchitecture)
    training: LoopConfig = field(default_factory=LoopConfig)

    @model_validator(mode="after")
    def _check(self) -> LanguageModelConfig:
        if self.text.context > self.model.max_length:
            raise ValueError(
                f"text.context ({self.text.context}) must not be larger than model.max_length ({self.model.max_length})"
            )
        if self.text.batch_tokens < self.text.context:
            raise ValueError(
                f"text.batch_tokens ({self.text.batch_tokens}) must hold at least one row of text.context "
                f"({self.text.context}) tokens"
            )
        return self
