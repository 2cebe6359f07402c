"""The training criterion: label-smoothed cross-entropy, CTC, and their weighted sum."""

import math

import pytest
import torch
from torch.nn import functional as F

from asr_tutorial.ctc import ctc_loss
from asr_tutorial.dataset import Batch, Example, collate
from asr_tutorial.errors import TrainingError
from asr_tutorial.model import ModelOutput
from asr_tutorial.tokenizer import CharTokenizer
from asr_tutorial.training.loss import (
    JointLoss,
    LossTotals,
    Sizes,
    accuracy,
    check_feasible,
    label_smoothed_cross_entropy,
)

TOKENIZER = CharTokenizer("ABC ")
PAD = TOKENIZER.pad_id
VOCAB = TOKENIZER.vocab_size


def batch_of(*texts: str, frames: int = 40) -> Batch:
    """A batch of random features."""
    examples = [Example(text, text, torch.randn(frames, 4), TOKENIZER.encode(text)) for text in texts]
    return collate(examples, TOKENIZER)


def output_for(batch: Batch, frames: int = 10, decoder: bool = True) -> ModelOutput:
    """What a model might say of the batch, with gradients."""
    generator = torch.Generator().manual_seed(0)
    size = len(batch)
    ctc = torch.randn(size, frames, VOCAB, generator=generator, requires_grad=True)
    logits = torch.randn(size, batch.tokens_out.shape[1], VOCAB, generator=generator, requires_grad=True)
    mask = torch.ones(size, frames, dtype=torch.bool)
    return ModelOutput(torch.zeros(size, frames, 2), mask, ctc.log_softmax(-1), logits if decoder else None)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_is_that_of_torch(smoothing):
    torch.manual_seed(0)
    logits = torch.randn(3, 5, VOCAB)
    targets = torch.randint(5, VOCAB, (3, 5))
    targets[0, 3:] = PAD
    expected = (
        F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), label_smoothing=smoothing, ignore_index=PAD, reduction="mean"
        )
        * (targets != PAD).sum()
    )
    torch.testing.assert_close(label_smoothed_cross_entropy(logits, targets, PAD, smoothing), expected)


def test_pad_is_not_trained_on_and_eos_is():
    batch = batch_of("AB", "ABCABC")
    logits = torch.randn(2, batch.tokens_out.shape[1], VOCAB, requires_grad=True)
    label_smoothed_cross_entropy(logits, batch.tokens_out, PAD, 0.1).backward()
    trained = logits.grad.abs().sum(-1) > 0  # (batch, length)
    assert trained.tolist() == (batch.tokens_out != PAD).tolist()
    assert trained.sum(1).tolist() == [3, 7]  # the transcript and EOS
    assert logits.grad[0, 2, TOKENIZER.eos_id] < 0  # pushed up where the transcript ends


def test_half_precision_logits_are_summed_in_fp32():
    logits = torch.full((1, 2000, VOCAB), 0.25, dtype=torch.bfloat16)
    targets = torch.full((1, 2000), 5)
    total = label_smoothed_cross_entropy(logits, targets, PAD)
    assert total.dtype == torch.float32
    assert float(total) == pytest.approx(2000 * torch.tensor(float(VOCAB)).log().item(), rel=1e-4)


def test_accuracy_counts_tokens_and_whole_sequences():
    batch = batch_of("AB", "ABC")
    logits = F.one_hot(batch.tokens_out, VOCAB).float()
    assert [int(n) for n in accuracy(logits, batch.tokens_out, PAD)] == [7, 2]
    logits[1, 0] = 0  # argmax is now the blank
    assert [int(n) for n in accuracy(logits, batch.tokens_out, PAD)] == [6, 1]
    logits[0, 3:] = 0  # what is said in the padding does not count
    assert [int(n) for n in accuracy(logits, batch.tokens_out, PAD)] == [6, 1]


def test_sizes_count_transcripts_for_ctc_and_eos_too_for_attention():
    assert Sizes.of([batch_of("AB", "ABC"), batch_of("A")]) == Sizes(3, 6, 9)
    assert Sizes.of([batch_of("")]).ctc_tokens == 1  # nothing is divided by zero


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_joint_loss_is_the_weighted_sum_per_token(weight):
    batch = batch_of("AB", "CAB")
    output = output_for(batch)
    criterion = JointLoss(weight, 0.1, TOKENIZER.blank_id, PAD)
    totals = criterion.totals(output, batch)
    ctc = F.ctc_loss(
        output.ctc_log_probs.transpose(0, 1),
        batch.targets,
        torch.tensor([10, 10]),
        batch.target_lengths,
        TOKENIZER.blank_id,
        reduction="sum",
    )
    attention = F.cross_entropy(
        output.logits.flatten(0, 1), batch.tokens_out.flatten(), label_smoothing=0.1, ignore_index=PAD
    )
    expected = weight * ctc / 5 + (1 - weight) * attention
    torch.testing.assert_close(criterion.mean(totals, Sizes.of([batch])), expected)


def test_a_weight_of_0_leaves_ctc_out_and_a_model_without_decoder_has_ctc_alone():
    batch = batch_of("AB")
    output = output_for(batch)
    only_attention = JointLoss(0.0, 0.0, TOKENIZER.blank_id, PAD).totals(output, batch)
    assert float(only_attention.ctc) == 0
    assert not only_attention.ctc.requires_grad
    output = output_for(batch, decoder=False)
    only_ctc = JointLoss(1.0, 0.0, TOKENIZER.blank_id, PAD)
    totals = only_ctc.totals(output, batch)
    assert (float(totals.attention), float(totals.correct_tokens)) == (0, 0)
    torch.testing.assert_close(only_ctc.mean(totals, Sizes.of([batch])), totals.ctc / 2)


def test_losses_of_several_batches_are_divided_by_the_tokens_of_all():
    criterion = JointLoss(0.5, 0.0, TOKENIZER.blank_id, PAD)
    first, second = (LossTotals(*torch.tensor([ctc, attention, 0.0, 0.0])) for ctc, attention in ((6, 8), (2, 4)))
    sizes = Sizes(utterances=2, ctc_tokens=4, attention_tokens=6)
    together = criterion.mean(first, sizes) + criterion.mean(second, sizes)
    assert float(together) == pytest.approx(0.5 * 8 / 4 + 0.5 * 12 / 6)


def test_a_transcript_longer_than_its_frames_is_named_in_training_and_left_out_of_a_validation_loss():
    # Three tokens in four frames: possible for ABC, not for AAA, which needs two blanks between.
    batch = batch_of("ABC", "AAA")
    output = output_for(batch, frames=4)
    criterion = JointLoss(0.3, 0.0, TOKENIZER.blank_id, PAD)
    with pytest.raises(TrainingError, match=r"frames they have: AAA\. Lower model\.subsampling_factor"):
        criterion.totals(output, batch)
    with torch.no_grad():
        totals = criterion.totals(output, batch)
    row = output.ctc_log_probs[:1]
    possible = ctc_loss(row, batch.targets[:1], torch.tensor([4]), batch.target_lengths[:1], TOKENIZER.blank_id)
    torch.testing.assert_close(totals.ctc, possible.sum())


def test_after_a_step_with_an_infinite_loss_the_transcripts_are_named():
    batch = batch_of("ABC", "AAA")  # on a GPU, where the loss is not looked at before
    frames = int(batch.feature_lengths.max())
    check_feasible(5.0, [batch], subsampling_factor=frames)
    check_feasible(math.inf, [batch], subsampling_factor=1)
    batch.feature_lengths[:] = 8
    with pytest.raises(TrainingError, match=r"frames they have: AAA\. Lower"):
        check_feasible(math.inf, [batch], subsampling_factor=2)
