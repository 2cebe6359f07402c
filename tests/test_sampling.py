"""Scheduled sampling: the decoder reads its own guesses, in training alone, and learns as it should."""

import pytest
import torch
from tiny import tiny_config

from asr_tutorial.model import build_model
from asr_tutorial.synthetic import SyntheticTask
from asr_tutorial.training.loss import JointLoss, Sizes
from asr_tutorial.training.sampling import ScheduledSampling, falling_share, mix_guesses

TASK = SyntheticTask(max_length=6)
PAD = TASK.tokenizer.pad_id
SPECIAL = [TASK.tokenizer.blank_id, TASK.tokenizer.sos_id, TASK.tokenizer.eos_id, TASK.tokenizer.unk_id, PAD]


def test_the_share_falls_over_epochs():
    epochs = (0, 1, 2, 3, 5, 9)
    assert [falling_share(epoch, 1, 5, 0.6) for epoch in epochs] == pytest.approx([1, 1, 0.9, 0.8, 0.6, 0.6])
    assert falling_share(0, 0, 0, 0.5) == 0.5


def test_guesses_stand_one_place_to_the_right_of_their_logits():
    tokens = torch.tensor([[1, 6, 7, 8], [1, 9, PAD, PAD]])
    logits = torch.full((2, 4, 12), -5.0)
    logits[0, torch.arange(4), torch.tensor([9, 10, 11, 6])] = 0.0
    logits[1, :, 10] = 0.0
    logits[:, :, TASK.tokenizer.eos_id] = 3.0  # the most probable of all, but never read in a search
    mixed = mix_guesses(tokens, logits, 0.0, PAD, SPECIAL)
    assert mixed.tolist() == [[1, 9, 10, 11], [1, 10, PAD, PAD]]
    assert mix_guesses(tokens, logits, 1.0, PAD, SPECIAL).tolist() == tokens.tolist()


def test_positions_are_drawn_one_by_one():
    torch.manual_seed(0)
    tokens = torch.full((200, 51), 6)
    logits = torch.zeros(200, 51, 12)
    logits[..., 7] = 1.0
    kept = mix_guesses(tokens, logits, 0.7, PAD, SPECIAL)[:, 1:] == 6
    assert float(kept.float().mean()) == pytest.approx(0.7, abs=0.02)
    assert float(kept.float().mean(dim=1).min()) > 0.5
    assert float(kept.float().mean(dim=0).min()) > 0.55


def read_by(model, run):
    """The tokens that the first layers of the decoder embed while ``run`` goes on, pass by pass."""
    seen = []
    handle = model.decoder.embedding.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    run()
    handle.remove()
    return seen


@pytest.mark.parametrize("by_name", [False, True])
def test_only_a_model_in_training_reads_its_guesses(by_name):
    torch.manual_seed(0)
    model, batch = build_model(tiny_config(), TASK.tokenizer.vocab_size), TASK.batch(3)
    if by_name:  # a learner's forward pass may name the arguments
        call = model.decoder.forward
        encoder_out, mask = torch.randn(3, 9, 16), torch.ones(3, 9, dtype=torch.bool)
        run = lambda: model.decoder(tokens=batch.tokens_in, encoder_out=encoder_out, encoder_mask=mask)  # noqa: E731
        assert call is not None
    else:
        run = lambda: model(batch.features, batch.feature_lengths, batch.tokens_in)  # noqa: E731
    sampling = ScheduledSampling(model.decoder, PAD, SPECIAL)
    assert len(read_by(model, run)) == 1  # a share of 1 costs nothing
    sampling.set(0.0)
    first, second = read_by(model, run)
    assert torch.equal(first, batch.tokens_in)
    assert not torch.equal(second, batch.tokens_in)
    assert torch.equal(second[:, 0], batch.tokens_in[:, 0])
    model.eval()
    (only,) = read_by(model, run)
    assert torch.equal(only, batch.tokens_in)


def test_the_first_pass_takes_no_gradient_from_the_second():
    """Autocast keeps the weights that it has cast; cast without gradient, they would stay without."""
    torch.manual_seed(0)
    model, batch = build_model(tiny_config(dropout=0.0), TASK.tokenizer.vocab_size), TASK.batch(3)
    ScheduledSampling(model.decoder, PAD, SPECIAL).set(0.5)
    criterion = JointLoss(0.3, 0.0, TASK.tokenizer.blank_id, PAD)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(batch.features, batch.feature_lengths, batch.tokens_in)
    criterion.mean(criterion.totals(output, batch), Sizes.of([batch])).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [name for name in without if "k_proj.bias" not in name] == []
