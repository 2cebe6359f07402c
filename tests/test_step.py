"""Token noise: the decoder's input in training is partly wrong on purpose."""

import pytest
import torch
from tiny import sound_corpus
from tiny_training import TEXTS, training_config

from asr_tutorial.training.setup import prepare
from asr_tutorial.training.step import Stepper


@pytest.fixture(scope="module")
def stepper_and_batch(tmp_path_factory):
    corpus = sound_corpus(tmp_path_factory.mktemp("noise") / "tiny", TEXTS)
    config = training_config(corpus, "--training.token_noise=0.5")
    data, model = prepare(config, progress=False)
    return Stepper(config, data.tokenizer, model, total_steps=10), next(data.train.batches(0)), data.tokenizer


def test_noise_replaces_about_its_share_and_leaves_special_tokens(stepper_and_batch):
    stepper, batch, tokenizer = stepper_and_batch
    torch.manual_seed(0)
    draws = torch.stack([stepper._with_noise(batch.tokens_in) for _ in range(50)])
    text = batch.tokens_in[:, 1:] != tokenizer.pad_id
    changed = (draws != batch.tokens_in)[:, :, 1:]
    share = float(changed[:, text].float().mean())
    assert 0.35 < share <= 0.5, f"half of the tokens are drawn anew, some of them as they were; {share:.2f} changed"
    assert torch.equal(draws[:, :, 0], batch.tokens_in[:, 0].expand(50, -1)), "SOS must stay where it is"
    assert not changed[:, ~text].any(), "PAD must stay PAD"
    drawn = set(draws[:, :, 1:][:, text].flatten().tolist())
    assert not drawn & {tokenizer.blank_id, tokenizer.sos_id, tokenizer.eos_id, tokenizer.pad_id}


def test_noise_is_for_training_alone(stepper_and_batch):
    stepper, batch, _ = stepper_and_batch
    stepper.model.eval()
    with torch.no_grad():
        first, second = stepper.totals(batch), stepper.totals(batch)
    assert torch.equal(first.attention, second.attention), "validation must see the true transcript"
    stepper.model.train()
    with torch.no_grad():
        torch.manual_seed(1)
        noisy = stepper.totals(batch)
    assert not torch.equal(noisy.attention, first.attention)
