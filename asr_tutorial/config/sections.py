"""The sections of a recogniser's configuration: sound, text, model and training."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from asr_tutorial.config.lact import LactConfig
from asr_tutorial.config.paraformer import PredictorConfig
from asr_tutorial.config.types import (
    CTC_SEARCHES,
    PARALLEL_SEARCHES,
    STEPWISE_SEARCHES,
    STRICT,
    Count,
    NonNegative,
    Positive,
    PositiveFloat,
    Probability,
    Search,
    Share,
)


@dataclass(config=STRICT)
class FeaturesConfig:
    """Log-mel features; the defaults are Kaldi's, with 80 mel bins."""

    sample_rate: Positive = 16_000
    """Samples per second; audio at any other rate is resampled to it."""
    n_mels: Positive = 80
    """Number of mel filters."""
    frame_length_ms: PositiveFloat = 25.0
    """Length of a frame in milliseconds."""
    frame_shift_ms: PositiveFloat = 10.0
    """Step from one frame to the next in milliseconds."""
    low_freq: NonNegative = 20.0
    """Lower edge of the lowest mel filter in Hz."""
    high_freq: float = 0.0
    """Upper edge of the highest filter in Hz; zero or less counts down from the Nyquist frequency."""
    window: Literal["povey", "hann", "hamming", "rectangular"] = "povey"
    """Window that a frame is multiplied by."""
    preemphasis: Share = 0.97
    """Coefficient of the first difference that lifts high frequencies; 0 switches it off."""
    dither: NonNegative = 0.0
    """Standard deviation of the noise added to each sample, in units of 16-bit integers."""
    normalize: Literal["global", "utterance", "none"] = "global"
    """Mean and variance normalisation: over the training set, over each utterance, or none."""


@dataclass(config=STRICT)
class AugmentConfig:
    """Changes to the training speech that the model must learn to ignore."""

    speeds: list[PositiveFloat] = field(default_factory=lambda: [1.0])
    """Speed perturbation: each epoch draws one of these factors per utterance (0.9, 1.0, 1.1 is usual)."""
    freq_warp: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Vocal tract length perturbation: the mel axis is stretched by a factor within 1 - freq_warp .. 1 + freq_warp."""
    freq_masks: Count = 2
    """SpecAugment: number of masked bands of mel bins."""
    freq_width: Count = 27
    """SpecAugment: largest width of a band in mel bins."""
    time_masks: Count = 5
    """SpecAugment: number of masked stretches of time."""
    time_width: Share = 0.05
    """SpecAugment: largest length of a stretch, as a share of the utterance."""
    ramp_start: Share = 0.0
    """Share of the training after which masking begins."""
    ramp_end: Share = 0.0
    """Share of the training after which masks have their full width (they widen linearly in between)."""

    @model_validator(mode="after")
    def _check(self) -> AugmentConfig:
        if self.ramp_end < self.ramp_start:
            raise ValueError(f"ramp_end ({self.ramp_end}) must not be smaller than ramp_start ({self.ramp_start})")
        if not self.speeds:
            raise ValueError("speeds must hold at least one factor, [1.0] for none")
        return self


@dataclass(config=STRICT)
class TokenizerConfig:
    """How text becomes tokens."""

    kind: Literal["char", "bpe", "unigram"] = "char"
    """Characters, or sub-word pieces learnt by SentencePiece."""
    vocab_size: Annotated[int, Field(ge=10)] = 300
    """Number of pieces, special tokens included; characters ignore it."""
    folder: str = ""
    """Take the tokenizer of this folder, a checkpoint or a language model, in the place of training one: a language
    model that is to score a recogniser's tokens needs the recogniser's vocabulary. Empty: train one."""


@dataclass(config=STRICT)
class DataConfig:
    """Where speech comes from and how it is batched."""

    root: str = ""
    """Folder that relative paths below start from; empty: ``ASR_TUTORIAL_DATA``, else the repository's ``data``."""
    train: list[str] = field(default_factory=lambda: ["tinyspeech/train"])
    """Training corpora: LibriSpeech-layout folders, manifests or folders of ``.npy`` features."""
    dev: list[str] = field(default_factory=lambda: ["tinyspeech/dev"])
    """Corpora to validate on; the first one chooses the best checkpoint."""
    test: list[str] = field(default_factory=lambda: ["tinyspeech/test"])
    """Corpora for the final figures."""
    min_seconds: NonNegative = 0.1
    """Shorter utterances are skipped, counted and named."""
    max_seconds: PositiveFloat = 20.0
    """Longer training utterances are skipped, counted and named."""
    batch_seconds: PositiveFloat = 80.0
    """Audio in a batch, padding included, in seconds."""
    frame_multiple: Positive = 32
    """The time axis of a batch is a multiple of this many frames, so that few shapes occur and kernels are reused."""
    length_multiple: Positive = 16
    """The token axis of a batch is a multiple of this many tokens."""
    workers: Count = 0
    """Processes that prepare batches beside the training process."""
    cache: str = ""
    """Folder for computed features; empty: ``~/.cache/asr_tutorial``."""

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        if self.min_seconds >= self.max_seconds:
            raise ValueError(f"min_seconds ({self.min_seconds}) must be smaller than max_seconds ({self.max_seconds})")
        return self


@dataclass(config=STRICT)
class ModelConfig:
    """The encoder-decoder Transformer with a CTC head."""

    architecture: Literal["transformer", "lact", "paraformer"] = "transformer"
    """Which model of the registry."""
    d_model: Positive = 144
    """Width of the residual stream."""
    num_heads: Positive = 4
    """Attention heads; must divide d_model."""
    d_ff: Positive = 576
    """Hidden width of the feed-forward blocks."""
    encoder_layers: Positive = 6
    decoder_layers: Count = 2
    """0 makes a model with the CTC head alone."""
    dropout: Probability = 0.1
    """Dropout after each sublayer, inside the feed-forward blocks and on the embeddings."""
    attention_dropout: Probability = 0.0
    """Dropout on attention weights; 0 keeps the fused kernel usable on the CPU."""
    subsampling: Literal["conv", "vgg", "pool", "lstm"] = "conv"
    """How the front end makes frames fewer."""
    subsampling_factor: Literal[2, 4, 8] = 4
    """Feature frames per encoder frame."""
    subsampling_channels: Positive = 32
    """Channels of the front end's 2-D convolutions, or hidden units per direction of its LSTM."""
    conv_kernel: Count = 0
    """Kernel of the depthwise convolution in each encoder layer (Conformer's); 0: a plain Transformer layer."""
    positional: Literal["sinusoidal", "learned", "none"] = "sinusoidal"
    """Positional encoding."""
    max_length: Positive = 5000
    """Longest sequence (encoder frames or tokens) that positions exist for."""
    lact: LactConfig = field(default_factory=LactConfig)
    """The encoder of the architecture ``lact``; others ignore it."""
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    """Of architecture paraformer alone, as ``glancing``."""
    glancing: Share = 0.3
    """In training, share of the wrongly guessed tokens for which the decoder is shown true ones; 0: none."""

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        if self.d_model % self.num_heads:
            raise ValueError(f"num_heads ({self.num_heads}) must divide d_model ({self.d_model})")
        if self.architecture == "lact":
            self._check_lact()
        if self.conv_kernel and self.conv_kernel % 2 == 0:
            raise ValueError(f"conv_kernel ({self.conv_kernel}) must be odd, or 0 for none")
        return self

    def _check_lact(self) -> None:
        if self.d_model % self.lact.heads:
            raise ValueError(f"lact.heads ({self.lact.heads}) must divide d_model ({self.d_model})")
        if 2**self.lact.conv_layers < self.subsampling_factor:
            raise ValueError(
                f"lact.conv_layers ({self.lact.conv_layers}) is too few for subsampling_factor "
                f"{self.subsampling_factor}: each layer halves the frames at most"
            )
        if self.subsampling != "conv":
            raise ValueError("architecture lact has a front end of its own: leave subsampling conv")
        if self.conv_kernel and self.lact.causal:
            raise ValueError(f"conv_kernel ({self.conv_kernel}) looks ahead: it must be 0 where lact.causal is true")


@dataclass(config=STRICT)
class OptimizerConfig:
    """AdamW and its parameter groups."""

    lr: PositiveFloat = 2e-3
    """Peak learning rate."""
    betas: tuple[Probability, Probability] = (0.9, 0.98)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegative = 0.01
    """Applied to matrices; biases, norms and embeddings are left out."""
    clip: NonNegative = 1.0
    """Largest gradient norm; 0: no clipping."""
    groups: dict[str, PositiveFloat] = field(default_factory=dict)
    """Learning-rate factors by regular expression on the parameter name: ``{"^decoder\\\\.": 0.5}``."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Each layer's rate is this factor times that of the layer above it."""


@dataclass(config=STRICT)
class ScheduleConfig:
    """The learning rate over optimiser steps (never over batches)."""

    kind: Literal["linear", "cosine", "noam", "exponential", "plateau", "constant"] = "linear"
    warmup_steps: Count = 200
    """Steps of linear rise from 0 to the peak."""
    final: Share = 0.0
    """Share of the peak at the last step (linear, cosine, exponential), or the least share (plateau)."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """plateau: multiplied onto the rate when dev stops improving."""
    patience: Positive = 3
    """plateau: validations without improvement before that."""


@dataclass(config=STRICT)
class LoopConfig:
    """What every training loop has, whatever it trains."""

    seed: Count = 1
    max_steps: Count = 0
    """Optimiser steps; 0: given by epochs."""
    max_epochs: Positive = 30
    """Passes over the training set when max_steps is 0."""
    accumulate: Positive = 1
    """Batches per optimiser step."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Autocast type; auto: bf16 where the machine multiplies it fast, else fp32."""
    compile: bool = False
    """Compile the model with torch.compile."""
    ema_decay: Probability = 0.0
    """Exponential moving average of the weights, used for validation and checkpoints; 0: none."""
    log_every: Positive = 50
    """Steps between lines of the log."""
    validate_every: Count = 0
    """Steps between validations; 0: once per epoch."""
    checkpoint_every: Count = 0
    """Steps between checkpoints of the training state; 0: at each validation."""
    wandb: bool = False
    """Also log to Weights & Biases (extra ``wandb``)."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)


@dataclass(config=STRICT)
class TrainingConfig(LoopConfig):
    """Training of a recogniser."""

    ctc_weight: Share = 0.3
    """Weight of the CTC loss; the attention loss gets the rest."""
    label_smoothing: Probability = 0.1
    quantity_weight: NonNegative = 1.0
    """Weight of the loss on the number of tokens, beside 1 for CTC and attention together; architecture paraformer."""
    alignment_weight: NonNegative = 0.0
    """Weight of the loss on where a Paraformer's weights lie, beside where CTC hears the tokens; above 0 the decoder
    learns from embeddings made with CTC's weights, too. For long utterances; 0: none of it."""
    token_noise: Probability = 0.0
    """Share of the decoder's input tokens that training replaces by random ones, so that it learns to recover from
    mistakes of its own and to trust its ears more than its memory."""
    teacher_forcing: Share = 1.0
    """Scheduled sampling: share of the decoder's input tokens that are still the true ones in the end; in the place of
    the others it reads its own guesses. 1: always the true ones."""
    teacher_forcing_epochs: tuple[NonNegative, NonNegative] = (1.0, 10.0)
    """The share falls evenly from 1 at the first of these epochs to ``teacher_forcing`` at the second."""
    average: Count = 0
    """Average the weights of this many best checkpoints at the end; 0: keep the best one."""
    validation_search: Search = "greedy"
    """Search of validation: greedy, ctc, or a beam search, which is slower: prefix (CTC), attention, joint (both)."""
    sample_every: Count = 0
    """Steps after which one dev utterance is recognised, for the log and ``samples.txt``; 0: at validations alone."""

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        if self.ema_decay and self.average:
            raise ValueError("ema_decay and average are two ways to smooth the weights: set one of them to 0")
        first, last = self.teacher_forcing_epochs
        if first > last:
            raise ValueError(
                f"teacher_forcing_epochs: the first ({first:g}) must not be larger than the last ({last:g})"
            )
        return self


@dataclass(config=STRICT)
class StageConfig:
    """One stage of progressive training. What is not given is as in the stage before; in the first stage, as in
    ``model`` and ``training``, masks of full width, all of the data and nothing frozen."""

    encoder_layers: Positive | None = None
    """Depth of the encoder; never less than in the stage before, and ``model.encoder_layers`` in the last stage."""
    decoder_layers: Count | None = None
    """The same for the decoder."""
    dropout: Probability | None = None
    """Dropout of every module of the model but the attention weights."""
    attention_dropout: Probability | None = None
    """Dropout on the attention weights."""
    label_smoothing: Probability | None = None
    spec_augment: Share | None = None
    """Factor on the widths of SpecAugment's masks; ``augment.ramp_start`` and ``ramp_end`` count beside it."""
    data: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the training utterances."""
    order: Literal["random", "short"] | None = None
    """Which share: a random one, or the shortest utterances. A later, larger share holds the earlier one."""
    freeze: list[str] | None = None
    """Regular expressions: parameters whose names match do not learn in this stage; [] for none."""
    teacher_forcing: Share | None = None
    """Share of the decoder's input tokens that are true ones, in the place of ``training.teacher_forcing``."""
    steps: Count = 0
    """The stage ends after so many optimiser steps; 0: no such limit."""
    epochs: Count = 0
    """It ends after so many passes over its share of the data; 0: no such limit."""
    patience: Count = 0
    """It ends when so many validations in a row have not improved on its best; 0: no such limit."""


@dataclass(config=STRICT)
class ProgressiveConfig:
    """Progressive training: the model, the data and their regularisation grow in stages."""

    kind: Literal["none", "doubling", "stages"] = "none"
    """none: the whole model from the first step; doubling: begin with one layer each in encoder and decoder and
    double the depth every ``stage_epochs`` epochs; stages: those listed below."""
    stage_epochs: Positive = 3
    """doubling: passes over the data before the depth doubles."""
    place: Literal["top", "between"] = "top"
    """Where new layers go: above the others, with random weights, or between them, each a copy of the layer below. In
    either case they pass on unchanged what they are given, until they have learnt something."""
    rewarm_steps: Count = 0
    """Steps in which the learning rate of new layers rises from 0 to what the schedule says; 0: none."""
    stages: list[StageConfig] = field(default_factory=list)
    """stages: one after the other; all but the last say when they end, the last one lasts as long as the training."""

    @model_validator(mode="after")
    def _check(self) -> ProgressiveConfig:
        if (self.kind == "stages") != bool(self.stages):
            raise ValueError("kind is 'stages' where stages are listed, and only there: set both or neither")
        for number, stage in enumerate(self.stages[:-1], start=1):
            if not (stage.steps or stage.epochs or stage.patience):
                raise ValueError(f"stage {number} never ends: give it steps, epochs or patience")
        return self


@dataclass(config=STRICT)
class InitialiseConfig:
    """Weights that a training begins with, in the place of random ones."""

    checkpoint: str = ""
    """A recogniser (checkpoint or run folder) to go on from: what fits is taken, the rest is new, and both are named.
    Its tokenizer is taken too, unless ``tokenizer.folder`` names another."""
    decoder: str = ""
    """A Transformer language model whose weights the decoder begins with. Its tokenizer is taken too, unless
    ``tokenizer.folder`` or ``checkpoint`` names another; the vocabularies must be the same."""
    freeze_decoder_steps: Count = 0
    """Optimiser steps in which what came from the language model rests, while the rest of the decoder learns to
    listen."""
    decoder_lr: PositiveFloat = 1.0
    """Factor on the learning rate of what came from the language model."""

    @model_validator(mode="after")
    def _check(self) -> InitialiseConfig:
        if not self.decoder and (self.freeze_decoder_steps or self.decoder_lr != 1.0):
            raise ValueError("freeze_decoder_steps and decoder_lr are for a decoder from a language model: set decoder")
        return self


@dataclass(config=STRICT)
class Config:
    """Everything that a run depends on."""

    name: str = "run"
    """Short name, part of the run folder's name."""
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    progressive: ProgressiveConfig = field(default_factory=ProgressiveConfig)
    initialise: InitialiseConfig = field(default_factory=InitialiseConfig)

    @model_validator(mode="after")
    def _check(self) -> Config:
        if self.model.decoder_layers == 0:
            if self.initialise.decoder:
                raise ValueError("model.decoder_layers is 0, so initialise.decoder must be empty: there is no decoder")
            if self.training.ctc_weight != 1.0:
                raise ValueError("model.decoder_layers is 0, so training.ctc_weight must be 1.0: there is no decoder")
            if self.training.validation_search not in CTC_SEARCHES:
                raise ValueError("model.decoder_layers is 0, so training.validation_search must be 'ctc' or 'prefix'")
        if self.model.architecture == "paraformer":
            self._check_paraformer()
        elif self.training.validation_search not in STEPWISE_SEARCHES:
            raise ValueError("training.validation_search 'parallel' is for model.architecture 'paraformer'")
        return self

    def _check_paraformer(self) -> None:
        if self.model.decoder_layers == 0:
            raise ValueError("model.architecture 'paraformer' has a decoder: model.decoder_layers must be 1 or more")
        if self.training.validation_search not in PARALLEL_SEARCHES:
            raise ValueError(
                f"training.validation_search must be one of {', '.join(PARALLEL_SEARCHES)} with model.architecture "
                f"'paraformer', not {self.training.validation_search!r}: its decoder writes all tokens at once"
            )
        if self.training.alignment_weight and not self.training.ctc_weight:
            raise ValueError(
                "training.alignment_weight needs a CTC head that has learnt where tokens are: set training.ctc_weight"
            )
        shares = [self.training.teacher_forcing, *(stage.teacher_forcing for stage in self.progressive.stages)]
        if self.training.token_noise or any(share not in (None, 1.0) for share in shares):
            raise ValueError(
                "training.token_noise and teacher_forcing change what a decoder reads; Paraformer's reads "
                "no tokens: leave them at 0 and 1"
            )
        if self.initialise.decoder:
            raise ValueError(
                "initialise.decoder must be empty: Paraformer's decoder cannot begin as a language model, "
                "which only looks back"
            )
