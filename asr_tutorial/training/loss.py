"""The training criterion: label-smoothed cross-entropy and CTC, weighted and summed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from asr_tutorial.config import TrainingConfig
from asr_tutorial.ctc import training_loss
from asr_tutorial.dataset import Batch, frames_needed
from asr_tutorial.errors import TrainingError
from asr_tutorial.model import MeasuredOutput, ModelOutput, SpeechTransformer
from asr_tutorial.tokenizer import Tokenizer
from asr_tutorial.training.distributed import ALONE, Ranks


def label_smoothed_cross_entropy(logits: Tensor, targets: Tensor, pad: int, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy against a target that keeps ``smoothing`` for all tokens alike (Szegedy et al. 2016, section 7).

    Args:
        logits: (batch, length, vocab).
        targets: (batch, length) ids; positions that hold ``pad`` are not trained on.
        pad: id of PAD.
        smoothing: share of the target spread evenly over the vocabulary.

    Returns:
        The sum over all real positions, in nats; a scalar.
    """
    log_probs = logits.float().log_softmax(dim=-1)  # (batch, length, vocab)
    of_target = log_probs.gather(-1, targets[..., None])[..., 0]  # (batch, length)
    losses = -(1 - smoothing) * of_target - smoothing * log_probs.mean(dim=-1)
    return losses.masked_fill(targets == pad, 0.0).sum()


def accuracy(logits: Tensor, targets: Tensor, pad: int) -> tuple[Tensor, Tensor]:
    """Count right answers under teacher forcing.

    Args:
        logits: (batch, length, vocab).
        targets: (batch, length) ids, PAD-padded.
        pad: id of PAD.

    Returns:
        Number of tokens predicted rightly, and number of sequences predicted rightly as a whole; scalars.
    """
    real = targets != pad
    right = (logits.argmax(dim=-1) == targets) & real
    return right.sum(), (right == real).all(dim=1).sum()


@dataclass
class LossTotals:
    """Sums over a batch, from which means are made once the size of the whole step is known.

    All are scalars on the device: nothing here makes the host wait.
    """

    ctc: Tensor
    attention: Tensor
    correct_tokens: Tensor
    correct_sequences: Tensor
    measures: dict[str, Tensor] = field(default_factory=dict)
    """What the architecture measures beside, by name; empty for most."""


@dataclass(frozen=True)
class Sizes:
    """How much one optimiser step, or one validation, sums over."""

    utterances: int
    ctc_tokens: int
    attention_tokens: int

    @staticmethod
    def of(batches: Sequence[Batch], ranks: Ranks = ALONE) -> Sizes:
        """Count before anything is computed, so that the parts of a step weigh as one large batch would.

        The decoder answers one token more than CTC for each utterance: EOS. Spare batches do not count, and there is
        always one CTC token at least, to divide by.

        Args:
            batches: this process's batches.
            ranks: the processes to sum over; all of them call this at the same time.
        """
        utterances = sum(len(batch) for batch in batches if not batch.spare)
        tokens = sum(int(batch.target_lengths.sum()) for batch in batches if not batch.spare)
        utterances, tokens = map(int, ranks.sum([utterances, tokens]))
        return Sizes(utterances, max(tokens, 1), tokens + utterances)


class JointLoss:
    """``ctc_weight * CTC + (1 - ctc_weight) * cross-entropy``, both in nats per token (Kim et al. 2017).

    Args:
        ctc_weight: share of CTC; 1 for a model without decoder.
        label_smoothing: for the cross-entropy.
        blank: id of the blank.
        pad: id of PAD.
    """

    def __init__(self, ctc_weight: float, label_smoothing: float, blank: int, pad: int) -> None:
        self.ctc_weight = ctc_weight
        self.label_smoothing = label_smoothing
        self.blank = blank
        self.pad = pad

    def totals(self, output: ModelOutput, batch: Batch) -> LossTotals:
        """Sums of both losses and of right answers over a batch.

        Without gradients, in validation, an utterance whose transcript needs more encoder frames than its audio has
        adds nothing to the CTC sum; its errors count all the same.

        Raises:
            TrainingError: in training there is such an utterance; names it.
        """
        zero = output.encoder_out.new_zeros((), dtype=torch.float32)
        ctc = attention = correct_tokens = correct_sequences = zero
        if self.ctc_weight > 0:
            lengths = output.encoder_mask.sum(dim=1)
            losses = training_loss(output.ctc_log_probs, batch.targets, lengths, batch.target_lengths, self.blank)
            if torch.is_grad_enabled():
                self._check_feasible(losses, batch)
                ctc = losses.sum()
            else:
                ctc = losses.masked_fill(torch.isposinf(losses), 0.0).sum()
        if output.logits is not None:
            attention = label_smoothed_cross_entropy(output.logits, batch.tokens_out, self.pad, self.label_smoothing)
            correct_tokens, correct_sequences = accuracy(output.logits.detach(), batch.tokens_out, self.pad)
        return LossTotals(ctc, attention, correct_tokens, correct_sequences)

    def mean(self, totals: LossTotals, sizes: Sizes) -> Tensor:
        """The weighted loss in nats per token.

        Args:
            totals: sums over one batch.
            sizes: what to divide by: the counts of the whole step, of which the batch may be a part. The means of all
                its parts then add up to that of one large batch.
        """
        ctc = totals.ctc / sizes.ctc_tokens
        attention = totals.attention / sizes.attention_tokens
        return self.ctc_weight * ctc + (1 - self.ctc_weight) * attention

    def _check_feasible(self, losses: Tensor, batch: Batch) -> None:
        # The dataset has left such utterances out; this names those that reach the loss by another way. On a GPU,
        # where looking would make the host wait, check_feasible does it after the step; they add no gradient.
        infinite = torch.isposinf(losses.detach())
        if losses.device.type == "cpu" and bool(infinite.any()):
            raise _without_path([batch.ids[row] for row in infinite.nonzero()[:, 0].tolist()])


class MeasuredLoss(JointLoss):
    """The loss of an architecture with measures of its own: :class:`JointLoss`, and each measure times its weight.

    What they are is the architecture's business: it returns them (:class:`~asr_tutorial.model.MeasuredOutput`).

    Such a model does not say EOS. In its place stands another decision, that the text ends where it does: it is counted
    among the right tokens, and a sequence is right only if it is. So there is one decision more than tokens for each
    utterance here too, and accuracies can be compared with those of other architectures.

    Args:
        weights: of the measures, by name; 0: measured only.
        ctc_weight: this and the rest as of :class:`JointLoss`.
        label_smoothing: for the cross-entropy.
        blank: id of the blank.
        pad: id of PAD.
    """

    def __init__(
        self, weights: Mapping[str, float], ctc_weight: float, label_smoothing: float, blank: int, pad: int
    ) -> None:
        super().__init__(ctc_weight, label_smoothing, blank, pad)
        self.weights = weights

    def totals(self, output: ModelOutput, batch: Batch) -> LossTotals:
        """Sums as those of :meth:`JointLoss.totals`, and of each measure over the utterances."""
        assert isinstance(output, MeasuredOutput)
        assert output.logits is not None
        totals = super().totals(output, replace(batch, tokens_out=output.answers))
        right = (output.logits.argmax(dim=-1) == output.answers) | (output.answers == self.pad)  # (batch, length)
        totals.correct_tokens = totals.correct_tokens + output.ends_right.sum()
        totals.correct_sequences = (right.all(dim=1) & output.ends_right).sum()
        totals.measures = {name: output.measures[name].sum() for name in self.weights}
        return totals

    def mean(self, totals: LossTotals, sizes: Sizes) -> Tensor:
        """The loss: that of :meth:`JointLoss.mean` in nats per token, and weighted measures per utterance."""
        own = [weight * totals.measures[name] for name, weight in self.weights.items() if weight]
        return super().mean(totals, sizes) + sum(own) / max(sizes.utterances, 1)


def build_criterion(config: TrainingConfig, tokenizer: Tokenizer, model: SpeechTransformer) -> JointLoss:
    """The loss that a model is trained with."""
    joint = (config.ctc_weight, config.label_smoothing, tokenizer.blank_id, tokenizer.pad_id)
    return MeasuredLoss(model.measures, *joint) if model.measures else JointLoss(*joint)


def check_feasible(ctc: float, batches: Sequence[Batch], subsampling_factor: int) -> None:
    """Look for the reason when the CTC loss of a step has come out infinite.

    Args:
        ctc: CTC loss of the step.
        batches: those of the step.
        subsampling_factor: feature frames to one frame of the encoder.

    Raises:
        TrainingError: transcripts that need more encoder frames than their audio has; names the utterances.
    """
    if ctc != math.inf:
        return
    names = []
    for batch in batches:
        lengths = zip(batch.ids, batch.feature_lengths.tolist(), batch.target_lengths.tolist(), strict=True)
        for row, (name, features, tokens) in enumerate(lengths):
            if frames_needed(batch.targets[row, :tokens].tolist()) > -(-features // subsampling_factor):
                names.append(name)
    if names:
        raise _without_path(names)


def _without_path(names: Sequence[str]) -> TrainingError:
    return TrainingError(
        f"CTC cannot say these transcripts in the frames they have: {', '.join(names)}. Lower "
        "model.subsampling_factor, use larger tokens, or leave the utterances out"
    )
