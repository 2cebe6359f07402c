"""The whole recogniser: normalised features -> encoder -> CTC head and decoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module

from torch import Tensor, nn

from asr_tutorial.config import CTC_SEARCHES, STEPWISE_SEARCHES, Config, Search
from asr_tutorial.dataset import Batch
from asr_tutorial.decoder import Decoder, DecoderCache, TreeCache
from asr_tutorial.encoder import Encoder
from asr_tutorial.errors import ConfigError
from asr_tutorial.features import MVN, FrequencyWarp, SpecAugment


@dataclass
class ModelOutput:
    """What a recogniser computes from one batch."""

    encoder_out: Tensor
    """(batch, frames, d_model)."""
    encoder_mask: Tensor
    """(batch, frames) boolean, True = real."""
    ctc_log_probs: Tensor
    """(batch, frames, vocab), fp32."""
    logits: Tensor | None
    """(batch, length, vocab): scores of the token after each input token; None without a decoder."""
    attention_maps: dict[str, Tensor] = field(default_factory=dict)
    """(batch, heads, queries, keys) by layer, such as ``decoder.0.cross_attention``."""


@dataclass
class MeasuredOutput(ModelOutput):
    """The same of an architecture with losses of its own (:class:`asr_tutorial.training.loss.MeasuredLoss`)."""

    answers: Tensor = field(kw_only=True)
    """(batch, length) ids that the logits are trained to name, PAD-padded: text without EOS."""
    ends_right: Tensor = field(kw_only=True)
    """(batch,) boolean: whether the text ends where it should, which no EOS says here."""
    measures: dict[str, Tensor] = field(kw_only=True)
    """(batch,) fp32 each, by the names in the model's ``measures``."""


class SpeechTransformer(nn.Module):
    """Encoder-decoder Transformer with a CTC head on the encoder (Kim et al. 2017; Dong et al. 2018).

    Normalisation and augmentation are part of the model, so that a checkpoint takes raw log-mel features.

    Args:
        config: the whole configuration; ``model``, ``features`` and ``augment`` are used.
        vocab_size: number of tokens, special ones included.
    """

    measures: dict[str, float] = {}  # noqa: RUF012
    """What the architecture measures of each utterance beside CTC and cross-entropy, with its weight in the loss."""

    def __init__(self, config: Config, vocab_size: int) -> None:
        super().__init__()
        self.subsampling_factor = config.model.subsampling_factor
        self.normalize = MVN(config.features.normalize, config.features.n_mels)
        self.freq_warp = FrequencyWarp(config.augment.freq_warp)
        self.spec_augment = SpecAugment(config.augment)
        self.encoder = Encoder(config.model, config.features.n_mels)
        self.ctc_head = nn.Linear(config.model.d_model, vocab_size)
        self.decoder = Decoder(config.model, vocab_size) if config.model.decoder_layers else None

    @property
    def searches(self) -> tuple[Search, ...]:
        """How the model can be searched; the first one is the default."""
        return STEPWISE_SEARCHES if self.decoder is not None else CTC_SEARCHES

    def training_inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """What :meth:`forward` takes of a batch."""
        return batch.features, batch.feature_lengths, batch.tokens_in

    def front_end(self, features: Tensor, feature_lengths: Tensor) -> Tensor:
        """Raw log-mel features to what the encoder sees: normalised and, in training, warped and masked."""
        normalized = self.freq_warp(self.normalize(features, feature_lengths))
        return self.spec_augment(normalized, feature_lengths)

    def encode(self, features: Tensor, feature_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Raw log-mel features (batch, time, n_mels) and lengths (batch,) to encoder states.

        Returns:
            encoder_out (batch, frames, d_model) and encoder_mask (batch, frames), True = real.
        """
        encoder_out, encoder_mask, _ = self.encoder(self.front_end(features, feature_lengths), feature_lengths)
        return encoder_out, encoder_mask

    def ctc_log_probs(self, encoder_out: Tensor) -> Tensor:
        """(batch, frames, d_model) -> log-probabilities (batch, frames, vocab), fp32 under autocast too."""
        return self.ctc_head(encoder_out).float().log_softmax(dim=-1)

    def decode(
        self, tokens: Tensor, encoder_out: Tensor, encoder_mask: Tensor, cache: DecoderCache | None = None
    ) -> Tensor:
        """Logits of the next token: (batch, length) ids -> (batch, length, vocab).

        With a cache from :meth:`new_cache`, ``tokens`` are those that the cache has not seen.
        """
        return self._decoder()(tokens, encoder_out, encoder_mask, cache=cache)[0]

    def new_cache(self) -> DecoderCache:
        """An empty cache for a search with one hypothesis for each utterance."""
        return DecoderCache(len(self._decoder().layers))

    def decode_tree(
        self, tokens: Tensor, encoder_out: Tensor, encoder_mask: Tensor, cache: TreeCache, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """One step of a beam search: see :meth:`asr_tutorial.decoder.Decoder.extend_tree`."""
        return self._decoder().extend_tree(tokens, encoder_out, encoder_mask, cache, need_weights)

    def new_tree(self) -> TreeCache:
        """An empty cache for a beam search."""
        return TreeCache(len(self._decoder().layers))

    def forward(
        self, features: Tensor, feature_lengths: Tensor, tokens_in: Tensor, need_weights: bool = False
    ) -> ModelOutput:
        """Everything that training needs from one batch.

        Args:
            features: (batch, time, n_mels) raw log-mel.
            feature_lengths: (batch,).
            tokens_in: (batch, length) ids, SOS first.
            need_weights: return attention maps; takes the explicit attention path.

        Returns:
            Encoder states, CTC log-probabilities, the decoder's logits (None in a model without decoder), and the
            attention maps of encoder and decoder in one dictionary.
        """
        normalized = self.front_end(features, feature_lengths)
        encoder_out, encoder_mask, maps = self.encoder(normalized, feature_lengths, need_weights)
        logits = None
        if self.decoder is not None:
            logits, decoder_maps = self.decoder(tokens_in, encoder_out, encoder_mask, need_weights)
            maps = maps | decoder_maps
        return ModelOutput(encoder_out, encoder_mask, self.ctc_log_probs(encoder_out), logits, maps)

    def _decoder(self) -> Decoder:
        if self.decoder is None:
            raise ConfigError("this model has no decoder (model.decoder_layers is 0): use the CTC search, --search ctc")
        return self.decoder


MODELS = {
    "transformer": "asr_tutorial.model.SpeechTransformer",
    "lact": "asr_tutorial.lact.LactTransformer",
    "paraformer": "asr_tutorial.paraformer.Paraformer",
}
"""The registry: a new architecture is one module, one configuration and one line here. Modules of architectures build
on this one, so that they are named here and imported when they are needed."""


def build_model(config: Config, vocab_size: int) -> SpeechTransformer:
    """The model that ``config.model.architecture`` names, freshly initialised."""
    module, _, name = MODELS[config.model.architecture].rpartition(".")
    model: SpeechTransformer = getattr(import_module(module), name)(config, vocab_size)
    return model


def count_parameters(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
