"""The model: a predictor of token boundaries, a decoder that writes all tokens at once, and the two put together."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr_tutorial.config import PARALLEL_SEARCHES, Config, ModelConfig, Search
from asr_tutorial.dataset import Batch
from asr_tutorial.decoder import Decoder, check_ids
from asr_tutorial.errors import ConfigError, TrainingError
from asr_tutorial.masks import key_mask, padding_mask
from asr_tutorial.model import MeasuredOutput, SpeechTransformer
from asr_tutorial.paraformer.cif import (
    LEAST,
    alignment_loss,
    cif,
    ctc_alphas,
    quantity_loss,
    scale_alphas,
    token_counts,
)
from asr_tutorial.tokenizer import Tokenizer


class Predictor(nn.Module):
    """How much of a token each encoder frame holds: convolutions over time, then one number for each frame.

    ``alpha = relu(smooth * sigmoid(linear(relu(conv(h)))) - noise)``, at most 1: a frame says one token at most, and so
    an utterance never has more tokens than frames.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        settings = config.predictor
        self.smooth, self.noise = settings.smooth, settings.noise
        widths = [config.d_model] + [settings.hidden] * settings.layers
        self.convs = nn.ModuleList(
            nn.Conv1d(before, after, settings.kernel, padding=settings.kernel // 2)
            for before, after in pairwise(widths)
        )
        self.out = nn.Linear(widths[-1], 1)

    def forward(self, encoder_out: Tensor, encoder_mask: Tensor) -> Tensor:
        """Weights of the frames.

        Args:
            encoder_out: (batch, frames, d_model).
            encoder_mask: (batch, frames) boolean, True = real.

        Returns:
            (batch, frames), fp32 under autocast too, since their sum counts tokens; 0 on padding.
        """
        real = encoder_mask[:, None]  # (batch, 1, frames)
        x = encoder_out.transpose(1, 2) * real  # (batch, d_model, frames)
        for conv in self.convs:
            x = F.relu(conv(x)) * real  # (batch, hidden, frames)
        with torch.autocast(x.device.type, enabled=False):
            share = self.out(x.transpose(1, 2).float())[..., 0].sigmoid()  # (batch, frames)
            return (self.smooth * share - self.noise).clamp(0, 1) * encoder_mask


def glance(
    acoustic: Tensor, embedded: Tensor, guesses: Tensor, targets: Tensor, token_mask: Tensor, share: float
) -> Tensor:
    """Show the decoder some of the true tokens, the more the worse it guesses (Qian et al. 2021, "GLAT").

    A decoder that writes all tokens at once learns from the sound alone. With some positions filled by true tokens, it
    learns what the others have to do with them. As its guesses get better, fewer are shown, and in the end none.

    Args:
        acoustic: (batch, length, d_model), what integrate-and-fire made.
        embedded: (batch, length, d_model), embeddings of the true tokens.
        guesses: (batch, length) ids that the decoder names from the acoustic embeddings alone.
        targets: (batch, length) ids of the true tokens.
        token_mask: (batch, length) boolean, True = real.
        share: lambda of the paper: of an utterance with w wrong guesses ``floor(share * w)`` positions are filled.

    Returns:
        (batch, length, d_model): ``acoustic`` with true tokens at random real positions, right or wrong guesses alike.
    """
    wrong = ((guesses != targets) & token_mask).sum(dim=1)
    shown = (share * wrong.double() + 1e-9).floor()  # 0.7 * 10 is 7, but not in floating point
    draws = torch.rand(token_mask.shape, device=token_mask.device).masked_fill(~token_mask, 2.0)
    rank = draws.argsort(dim=1).argsort(dim=1)  # (batch, length): a random order of the real positions, padding last
    chosen = rank < shown[:, None]
    return torch.where(chosen[..., None], embedded, acoustic)


class ParallelDecoder(Decoder):
    """Acoustic embeddings to logits, all tokens at once: a decoder without causal mask, SOS and EOS."""

    def embed(self, tokens: Tensor) -> Tensor:
        """(batch, length) ids -> (batch, length, d_model), what the glancing sampler shows."""
        check_ids(tokens, self.vocab_size)
        return self.embedding(tokens) * self.scale

    def forward(  # type: ignore[override]
        self,
        acoustic: Tensor,
        token_mask: Tensor,
        encoder_out: Tensor,
        encoder_mask: Tensor,
        need_weights: bool = False,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits of each token.

        Args:
            acoustic: (batch, length, d_model), an embedding for each token.
            token_mask: (batch, length) boolean, True = real. Every token may look at every real one.
            encoder_out: (batch, frames, d_model).
            encoder_mask: (batch, frames) boolean, True = real.
            need_weights: collect attention weights.

        Returns:
            logits (batch, length, vocab) of the tokens themselves, not of the next ones, and attention weights by name
            as :meth:`Decoder.forward` gives them.
        """
        x = self.dropout(self.positional(acoustic))  # (batch, length, d_model)
        maps: dict[str, Tensor] = {}
        for index, layer in enumerate(self.layers):
            x, self_weights, cross_weights = layer(
                x, encoder_out, key_mask(token_mask), key_mask(encoder_mask), need_weights
            )
            if self_weights is not None and cross_weights is not None:
                maps[f"decoder.{index}.self_attention"] = self_weights
                maps[f"decoder.{index}.cross_attention"] = cross_weights
        return self.out(self.norm(x)), maps


class Paraformer(SpeechTransformer):
    """Encoder and CTC head of a :class:`SpeechTransformer`, a predictor, and a decoder that runs once.

    The loss is ``ctc_weight * CTC + (1 - ctc_weight) * cross-entropy + quantity_weight * quantity``; the first two are
    those of any recogniser, the third is in :class:`~asr_tutorial.model.MeasuredOutput`.

    In a long utterance a letter too many or too few near its beginning shifts all embeddings behind it, the decoder is
    asked for other letters than it hears, and learns to say nothing definite. With ``training.alignment_weight`` above
    0 the predictor also learns from CTC where tokens are (:func:`~asr_tutorial.paraformer.cif.alignment_loss`), and in
    training the decoder gets embeddings made with CTC's weights. Recognition is the same.

    Args:
        config: the whole configuration; ``model.predictor``, ``model.glancing``, ``training.quantity_weight`` and
            ``training.alignment_weight`` are what no other architecture has.
        vocab_size: number of tokens, special ones included.
    """

    decoder: ParallelDecoder

    def __init__(self, config: Config, vocab_size: int) -> None:
        super().__init__(config, vocab_size)
        self.predictor = Predictor(config.model)
        self.decoder = ParallelDecoder(config.model, vocab_size)
        self.glancing = config.model.glancing
        self.measures = {"quantity": config.training.quantity_weight, "length_error": 0.0}
        if config.training.alignment_weight:  # it costs something to measure
            self.measures["alignment"] = config.training.alignment_weight
        # Without glancing nothing is embedded: several processes would wait for a gradient that never comes.
        self.decoder.embedding.requires_grad_(self.glancing > 0)

    @property
    def searches(self) -> tuple[Search, ...]:
        """How the model can be searched; the first one is the default."""
        return PARALLEL_SEARCHES

    def training_inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """What :meth:`forward` takes of a batch: there is no SOS, and nothing is shifted.

        Raises:
            TrainingError: a transcript without tokens; names the utterance (looked at on the CPU).
        """
        if batch.target_lengths.device.type == "cpu" and int(batch.target_lengths.min()) == 0:
            empty = [name for name, length in zip(batch.ids, batch.target_lengths.tolist(), strict=True) if not length]
            raise TrainingError(
                f"no tokens in the transcripts of {', '.join(empty)}: weights cannot be scaled to a length of 0, leave "
                "these utterances out"
            )
        return batch.features, batch.feature_lengths, batch.targets, batch.target_lengths

    def forward(  # type: ignore[override]
        self,
        features: Tensor,
        feature_lengths: Tensor,
        targets: Tensor,
        target_lengths: Tensor,
        need_weights: bool = False,
    ) -> MeasuredOutput:
        """Everything that training needs from one batch. The weights are scaled to the true number of tokens.

        Args:
            features: (batch, time, n_mels) raw log-mel.
            feature_lengths: (batch,).
            targets: (batch, length) ids, PAD-padded.
            target_lengths: (batch,) real tokens, 1 at least.
            need_weights: return attention maps; takes the explicit attention path.

        Returns:
            As :meth:`SpeechTransformer.forward`; ``measures`` holds the quantity loss of each utterance, by how many
            tokens its rounded length is wrong, and the alignment loss if it has a weight.
        """
        normalized = self.front_end(features, feature_lengths)
        encoder_out, encoder_mask, maps = self.encoder(normalized, feature_lengths, need_weights)
        log_probs = self.ctc_log_probs(encoder_out)
        alphas = self.predictor(encoder_out, encoder_mask)
        weights = scale_alphas(alphas, target_lengths, encoder_mask)
        error = (token_counts(alphas.detach()) - target_lengths).abs()
        measures = {"quantity": quantity_loss(alphas, target_lengths), "length_error": error.float()}
        if "alignment" in self.measures:
            aligned = ctc_alphas(log_probs, targets, encoder_mask, target_lengths, Tokenizer.blank_id)
            measures["alignment"] = alignment_loss(alphas, aligned, target_lengths)
            if self.training:  # the decoder learns from embeddings that are where the tokens are
                weights = torch.where(aligned.sum(dim=1, keepdim=True) > LEAST, aligned, weights)
        acoustic, _ = self._integrate(encoder_out, weights, max_tokens=targets.shape[1])
        token_mask = padding_mask(target_lengths, targets.shape[1])
        if self.training and self.glancing > 0:
            acoustic = self._glance(acoustic, targets, token_mask, encoder_out, encoder_mask)
        logits, decoder_maps = self.decoder(acoustic, token_mask, encoder_out, encoder_mask, need_weights)
        return MeasuredOutput(
            encoder_out,
            encoder_mask,
            log_probs,
            logits,
            maps | decoder_maps,
            answers=targets,
            ends_right=error == 0,
            measures=measures,
        )

    def write(self, encoder_out: Tensor, encoder_mask: Tensor) -> tuple[Tensor, Tensor]:
        """All tokens of each utterance in one pass: recognition.

        Args:
            encoder_out: (batch, frames, d_model).
            encoder_mask: (batch, frames), True = real.

        Returns:
            logits (batch, length, vocab), where ``length`` is the most tokens of an utterance and 1 at least, and how
            many of them are real (batch,): the rounded sum of the weights, 0 where nothing was said.
        """
        acoustic, counts = self._integrate(encoder_out, self.predictor(encoder_out, encoder_mask))
        token_mask = padding_mask(counts, acoustic.shape[1])
        return self.decoder(acoustic, token_mask, encoder_out, encoder_mask)[0], counts

    def _integrate(self, encoder_out: Tensor, alphas: Tensor, max_tokens: int | None = None) -> tuple[Tensor, Tensor]:
        """:func:`cif` in fp32 under autocast too: 16 bits would blur the weights."""
        with torch.autocast(encoder_out.device.type, enabled=False):
            return cif(encoder_out.float(), alphas, max_tokens)

    def _glance(
        self, acoustic: Tensor, targets: Tensor, token_mask: Tensor, encoder_out: Tensor, encoder_mask: Tensor
    ) -> Tensor:
        device = acoustic.device.type
        # Without autocast's cache: weights that it casts here would have no gradient in the second pass either.
        autocast = torch.autocast(
            device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device), cache_enabled=False
        )
        with torch.no_grad(), autocast:
            guesses = self.decoder(acoustic, token_mask, encoder_out, encoder_mask)[0].argmax(dim=-1)
        return glance(acoustic, self.decoder.embed(targets), guesses, targets, token_mask, self.glancing)

    def _decoder(self) -> Decoder:
        raise ConfigError(
            "a Paraformer writes all tokens at once, its decoder cannot be asked for the next one: use search "
            "'parallel', 'ctc' or 'prefix'"
        )
