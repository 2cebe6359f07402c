"""Paraformer: integrate-and-fire by loop and by prefix sums, what is built on it, and its place in the library."""

import dataclasses
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tiny import MODEL, sound, sound_corpus, tiny_config, tiny_recognizer
from tiny_training import TEXTS, read_metrics, training_config
from torch import Tensor
from torch.nn import functional as F
from typer.testing import CliRunner

import asr_tutorial
from asr_tutorial import plots
from asr_tutorial.checkpoint import load_checkpoint, save_checkpoint
from asr_tutorial.cli import app
from asr_tutorial.config import Config, ModelConfig, load_config, to_yaml
from asr_tutorial.corpus import read_corpus
from asr_tutorial.dataset import Batch, Example, collate
from asr_tutorial.errors import CheckpointError, ConfigError, TrainingError, UserError
from asr_tutorial.masks import padding_mask
from asr_tutorial.model import MODELS, SpeechTransformer, build_model, count_parameters
from asr_tutorial.paraformer import (
    Paraformer,
    ParallelDecoder,
    Predictor,
    alignment_loss,
    cif,
    cif_loop,
    ctc_alphas,
    fire_times,
    glance,
    quantity_loss,
    scale_alphas,
    token_counts,
)
from asr_tutorial.recognizer import FeatureBatch, decode_batch, default_search
from asr_tutorial.search.parallel import parallel_search
from asr_tutorial.synthetic import SyntheticTask
from asr_tutorial.training import train
from asr_tutorial.training.distributed import ALONE
from asr_tutorial.training.loss import JointLoss, MeasuredLoss, Sizes, build_criterion
from asr_tutorial.training.state import load_state
from asr_tutorial.training.step import RunningMeans, Stepper

TASK = SyntheticTask(letters=6, n_mels=20, min_length=2, max_length=6)
PAD = TASK.tokenizer.pad_id


def small_config(*overrides: str) -> Config:
    """A Paraformer of a few thousand parameters for the synthetic task."""
    model = [f"model.{key}={value}" for key, value in MODEL.items()]
    settings = ["model.predictor.hidden=16", "model.subsampling_factor=2", "features.n_mels=20", "model.dropout=0"]
    masks = ["augment.freq_masks=0", "augment.time_masks=0", "augment.freq_warp=0", "features.normalize=none"]
    device = ["training.device=cpu", "training.precision=fp32", "training.ema_decay=0", "training.alignment_weight=0"]
    return load_config("paraformer_tiny", [*model, *settings, *masks, *device, *overrides])


def small_model(*overrides: str) -> Paraformer:
    """The same random weights at each call, in evaluation mode."""
    torch.manual_seed(0)
    model = build_model(small_config(*overrides), TASK.tokenizer.vocab_size).eval()
    assert isinstance(model, Paraformer)
    return model


def random_alphas(batch: int, frames: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Weights with zeros on padding, and the mask; the first utterance has no padding."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, frames + 1, (batch,), generator=generator)
    lengths[0] = frames
    mask = padding_mask(lengths, frames)
    return torch.rand(batch, frames, generator=generator) * mask, mask


class TestIntegrateAndFire:
    def test_the_example_worked_by_hand(self) -> None:
        frames, alphas = torch.eye(4), torch.tensor([0.6, 0.8, 0.4, 0.5])
        expected = torch.tensor([[0.6, 0.4, 0, 0], [0, 0.4, 0.4, 0.2]])
        torch.testing.assert_close(cif_loop(frames, alphas), expected)
        torch.testing.assert_close(cif(frames[None], alphas[None])[0][0], expected)
        torch.testing.assert_close(fire_times(alphas), torch.tensor([1.5, 3.4]))

    def test_what_is_left_makes_a_token_from_one_half_on(self) -> None:
        frames = torch.eye(3)
        for last, tokens in ((0.7, 2), (0.5, 2), (0.3, 1)):
            alphas = torch.tensor([0.5, 0.5, last], dtype=torch.float64)
            loop, (fast, counts) = cif_loop(frames, alphas), cif(frames[None], alphas[None])
            assert len(loop) == int(counts) == tokens
            torch.testing.assert_close(fast[0], loop)
        assert float(loop.sum()) == pytest.approx(1), "what is no token is in no embedding"

    def test_a_heavy_frame_fires_several_times(self) -> None:
        frames, alphas = torch.eye(2), torch.tensor([0.5, 2.75])
        expected = torch.tensor([[0.5, 0.5], [0, 1.0], [0, 1.0]])
        torch.testing.assert_close(cif_loop(frames, alphas), expected)
        torch.testing.assert_close(cif(frames[None], alphas[None])[0][0], expected)

    @pytest.mark.parametrize("scaled", [False, True])
    def test_prefix_sums_do_what_the_loop_does(self, scaled: bool) -> None:
        alphas, mask = random_alphas(6, 150)
        if scaled:
            alphas = scale_alphas(alphas, torch.tensor([75, 1, 3, 20, 2, 140]), mask)
        frames = torch.randn(6, 150, 8)
        fast, counts = cif(frames, alphas)
        for row in range(6):
            loop = cif_loop(frames[row, mask[row]], alphas[row, mask[row]])
            assert len(loop) == int(counts[row])
            torch.testing.assert_close(fast[row, : len(loop)], loop, atol=1e-5, rtol=0)
            assert not fast[row, len(loop) :].any(), "behind the last token there must be nothing"

    @pytest.mark.parametrize("through_scaling", [False, True])
    def test_gradients_are_those_of_the_loop(self, through_scaling: bool) -> None:
        alphas, mask = random_alphas(4, 40)
        alphas[0, :3] = 0  # where sums coincide with a boundary exactly
        alphas[0, 7] = 2.5
        frames = torch.randn(4, 40, 8)
        target_lengths = torch.tensor([20, 3, 9, 1])
        direction = torch.randn(4, 40, 8)
        found = []
        for by_loop in (False, True):
            weights, states = alphas.clone().requires_grad_(), frames.clone().requires_grad_()
            used = scale_alphas(weights, target_lengths, mask) if through_scaling else weights
            if by_loop:
                rows = [cif_loop(states[row], used[row]) for row in range(4)]
            else:
                fast, counts = cif(states, used)
                rows = [fast[row, :count] for row, count in enumerate(counts.tolist())]
            loss = torch.stack([(row * direction[i, : len(row)]).sum() for i, row in enumerate(rows)]).sum()
            found.append(torch.autograd.grad(loss, (weights, states)))
        for name, fast_gradient, loop_gradient in zip(("alphas", "frames"), *found, strict=True):
            torch.testing.assert_close(fast_gradient, loop_gradient, atol=1e-5, rtol=1e-5, msg=f"gradient of {name}")

    def test_the_gradient_is_that_of_small_differences(self) -> None:
        alphas = torch.tensor([[0.3, 0.9, 0.45, 0.8]], dtype=torch.float64, requires_grad=True)
        frames = torch.randn(1, 4, 3, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda a, h: cif(h, a)[0], (alphas, frames))

    def test_scaled_weights_fire_as_often_as_there_are_tokens(self) -> None:
        """10,000 random cases; in other implementations rounding loses the last token of about every other one."""
        generator = torch.Generator().manual_seed(1)
        lost_by_waiting, cases = 0, 0
        for number, frames in enumerate([7] * 4 + [40] * 5 + [300]):  # 1,000 cases each
            alphas, mask = random_alphas(1000, frames, seed=number)
            alphas = alphas ** torch.randint(1, 6, (1000, 1), generator=generator)  # from even to peaky
            target_lengths = (torch.rand(1000, generator=generator) * mask.sum(dim=1)).ceil().long()
            scaled = scale_alphas(alphas, target_lengths, mask)
            assert torch.equal(token_counts(scaled), target_lengths)
            few = slice(None) if frames < 100 else slice(20)  # (cases, tokens, frames) take memory
            weights, counts = cif(torch.ones(1000, frames, 1)[few], scaled[few], int(target_lengths.max()))
            assert torch.equal(counts, target_lengths[few])
            last = weights[..., 0].gather(1, target_lengths[few, None] - 1)
            assert float(last.min()) > 0.99, "the last token must have its whole weight, too"
            # What a loop in single precision would have after the last frame.
            lost_by_waiting += int((np.cumsum(scaled.numpy(), axis=1)[:, -1] < target_lengths.numpy()).sum())
            cases += len(alphas)
        assert cases == 10_000
        assert lost_by_waiting > 1000, "these cases must be such that waiting for the sum to reach N would fail"

    def test_every_token_of_scaled_weights_has_a_weight_of_one(self) -> None:
        alphas, mask = random_alphas(50, 80)
        target_lengths = torch.randint(1, 40, (50,))
        sums, _ = cif(torch.ones(50, 80, 1), scale_alphas(alphas, target_lengths, mask), 40)
        expected = padding_mask(target_lengths, 40).float()[..., None]
        torch.testing.assert_close(sums, expected, atol=1e-4, rtol=0)

    def test_a_predictor_that_hears_nothing_is_spread_evenly(self) -> None:
        alphas, mask = torch.zeros(2, 6, requires_grad=True), padding_mask(torch.tensor([6, 4]))
        scaled = scale_alphas(alphas, torch.tensor([3, 1]), mask)
        torch.testing.assert_close(scaled, torch.tensor([[0.5] * 6, [0.25] * 4 + [0.0] * 2]))
        embeddings, counts = cif(torch.randn(2, 6, 3), scaled)
        assert counts.tolist() == [3, 1]
        (embeddings.sum() + quantity_loss(alphas, torch.tensor([3, 1])).sum()).backward()
        assert torch.isfinite(alphas.grad).all()

    def test_nothing_fires_without_weights_and_nan_makes_no_tokens(self) -> None:
        alphas = torch.stack([torch.zeros(5), torch.full((5,), math.nan), torch.full((5,), 0.05)])
        embeddings, counts = cif(torch.randn(3, 5, 2), alphas)
        assert counts.tolist() == [0, 0, 0]
        assert embeddings.shape == (3, 1, 2)
        assert not embeddings.any()
        assert cif_loop(torch.randn(5, 2), alphas[0]).shape == (0, 2)
        assert fire_times(alphas[0]).shape == (0,)

    def test_more_tokens_than_there_is_room_for_are_refused(self) -> None:
        with pytest.raises(ValueError, match="does not fit"):
            cif(torch.zeros(1, 5, 2), torch.ones(1, 5), max_tokens=4)

    def test_the_quantity_loss_is_that_of_the_unscaled_weights(self) -> None:
        alphas = torch.tensor([[0.5, 0.7, 0.0], [1.0, 1.0, 1.0]], requires_grad=True)
        losses = quantity_loss(alphas, torch.tensor([3, 1]))
        torch.testing.assert_close(losses, torch.tensor([1.8, 2.0]))
        losses.sum().backward()
        torch.testing.assert_close(alphas.grad, torch.tensor([[-1.0] * 3, [1.0] * 3]))

    def test_a_token_that_the_end_completes_fires_there(self) -> None:
        torch.testing.assert_close(fire_times(torch.tensor([0.5, 0.5, 0.6, 0.0])), torch.tensor([2.0, 4.0]))


class TestPredictor:
    def test_weights_lie_between_0_and_1_and_are_0_on_padding(self) -> None:
        predictor = Predictor(ModelConfig(d_model=8, num_heads=2))
        mask = padding_mask(torch.tensor([9, 4]))
        alphas = predictor(100 * torch.randn(2, 9, 8), mask).detach()
        assert alphas.shape == (2, 9)
        assert float(alphas.min()) >= 0
        assert float(alphas.max()) <= 1
        assert not alphas[1, 4:].any()

    def test_what_lies_in_the_padding_does_not_matter(self) -> None:
        predictor = Predictor(ModelConfig(d_model=8, num_heads=2))
        frames = torch.randn(1, 5, 8)
        padded = F.pad(frames, (0, 0, 0, 3), value=7.0)
        alone = predictor(frames, torch.ones(1, 5, dtype=torch.bool))
        torch.testing.assert_close(predictor(padded, padding_mask(torch.tensor([5]), 8))[:, :5], alone)

    def test_noise_is_taken_off(self) -> None:
        settings = {"predictor": {"noise": 0.2, "smooth": 0.5, "layers": 1, "hidden": 4, "kernel": 1}}
        predictor = Predictor(tiny_config(**settings).model)
        torch.nn.init.zeros_(predictor.out.weight)
        for bias, expected in ((0.0, 0.05), (-3.0, 0.0), (30.0, 0.3)):
            torch.nn.init.constant_(predictor.out.bias, bias)
            alphas = predictor(torch.randn(1, 3, 16), torch.ones(1, 3, dtype=torch.bool))
            torch.testing.assert_close(alphas, torch.full((1, 3), expected))

    def test_weights_are_fp32_under_autocast(self) -> None:
        model, batch = small_model(), TASK.batch(4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            encoder_out, encoder_mask = model.encode(batch.features, batch.feature_lengths)
            assert model.predictor(encoder_out, encoder_mask).dtype == torch.float32
            output = model(*model.training_inputs(batch))
        assert output.measures["quantity"].dtype == torch.float32


class TestGlancing:
    mask = padding_mask(torch.tensor([10, 6]), 12)
    targets = torch.arange(24).view(2, 12)

    def replaced(self, guesses: Tensor, share: float) -> Tensor:
        acoustic, embedded = torch.zeros(2, 12, 3), torch.ones(2, 12, 3)
        return glance(acoustic, embedded, guesses, self.targets, self.mask, share)[..., 0].bool()

    def test_as_many_as_lambda_says_of_the_wrong_ones(self) -> None:
        wrong = self.targets + 1
        for share, expected in ((0.0, [0, 0]), (0.3, [3, 1]), (0.7, [7, 4]), (1.0, [10, 6])):
            shown = self.replaced(wrong, share)
            assert shown.sum(dim=1).tolist() == expected
            assert not (shown & ~self.mask).any(), "padding is no place for a token"

    def test_right_guesses_and_padding_do_not_count(self) -> None:
        guesses = self.targets.clone()
        guesses[0, :4] += 1
        guesses[:, 11] += 1  # padding
        assert self.replaced(guesses, 0.5).sum(dim=1).tolist() == [2, 0]

    def test_places_are_random_among_all_real_ones(self) -> None:
        guesses = self.targets.clone()
        guesses[0, 0] += 1
        torch.manual_seed(0)
        often = torch.stack([self.replaced(guesses, 1.0)[0] for _ in range(400)]).float().mean(dim=0)
        assert float(often[:10].min()) > 0.05, "a rightly guessed token may be shown too"
        assert float(often[:10].max()) < 0.16
        assert not often[10:].any()

    def test_guesses_are_made_without_gradient_and_the_second_pass_has_one_under_autocast(self) -> None:
        model, batch = small_model("model.glancing=0.5").train(), TASK.batch(4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = model(*model.training_inputs(batch))
        output.logits.float().logsumexp(dim=-1).sum().backward()
        for name, parameter in model.decoder.named_parameters():
            assert parameter.grad is not None, f"no gradient for decoder.{name}"
            assert torch.isfinite(parameter.grad).all()
        assert model.decoder.layers[0].feed_forward.linear1.weight.grad.any()
        assert model.decoder.embedding.weight.grad.any(), "shown tokens are embedded"

    def test_in_evaluation_nothing_is_shown(self) -> None:
        model, batch = small_model("model.glancing=1"), TASK.batch(4)
        first, second = (model(*model.training_inputs(batch)).logits for _ in range(2))
        assert torch.equal(first, second)
        assert not torch.equal(model.train()(*model.training_inputs(batch)).logits, first)

    def test_without_glancing_the_embedding_rests(self) -> None:
        model = small_model("model.glancing=0").train()
        model(*model.training_inputs(TASK.batch(4))).logits.sum().backward()
        idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert idle == ["ctc_head.weight", "ctc_head.bias"], "other processes would wait for these gradients"


class TestDecoder:
    def test_tokens_look_both_ways_and_not_at_padding(self) -> None:
        model = small_model()
        acoustic, encoder_out = torch.randn(2, 6, 16), torch.randn(2, 9, 16)
        token_mask, encoder_mask = padding_mask(torch.tensor([6, 4])), padding_mask(torch.tensor([9, 5]))
        logits, maps = model.decoder(acoustic, token_mask, encoder_out, encoder_mask, need_weights=True)
        changed = acoustic.clone()
        changed[0, 5] *= -2
        changed[1, 4:] *= -2  # padding
        encoder_out[1, 5:] += 1
        again, _ = model.decoder(changed, token_mask, encoder_out, encoder_mask)
        assert not torch.allclose(again[0, 0], logits[0, 0]), "the first token must see the last one"
        torch.testing.assert_close(again[1, :4], logits[1, :4])
        seen = maps["decoder.0.self_attention"]
        assert (seen[0] > 0).all()
        assert not seen[1, :, :, 4:].any()

    def test_it_has_the_parameters_of_a_decoder(self) -> None:
        """So that optimiser groups, growing and weights of another recogniser work by the same names."""
        config = tiny_config(architecture="paraformer")
        paraformer, transformer = build_model(config, 9), build_model(tiny_config(), 9)
        shapes = {name: p.shape for name, p in paraformer.named_parameters() if not name.startswith("predictor.")}
        assert shapes == {name: p.shape for name, p in transformer.named_parameters()}


class TestModel:
    def test_logits_answer_the_targets_in_place(self) -> None:
        model, batch = small_model(), TASK.batch(5)
        output = model(*model.training_inputs(batch), need_weights=True)
        assert output.logits.shape == (*batch.targets.shape, TASK.tokenizer.vocab_size)
        assert output.answers is batch.targets
        assert set(output.measures) == set(model.measures) == {"quantity", "length_error"}
        assert {"encoder.0.self_attention", "decoder.0.cross_attention"} <= output.attention_maps.keys()

    @pytest.mark.parametrize("training", [False, True])
    def test_an_utterance_has_the_same_losses_alone_and_in_any_batch(self, training: bool) -> None:
        model = small_model("model.glancing=0").train(training)
        generator = torch.Generator().manual_seed(3)
        examples = [TASK.example(generator) for _ in range(4)]
        together = collate(examples, TASK.tokenizer, frame_multiple=16, length_multiple=8)
        output = model(*model.training_inputs(together))
        for row, example in enumerate(examples):
            alone = collate([example], TASK.tokenizer)
            single = model(*model.training_inputs(alone))
            tokens = len(example.tokens)
            torch.testing.assert_close(output.logits[row, :tokens], single.logits[0, :tokens], atol=1e-4, rtol=1e-4)
            for name, values in output.measures.items():
                torch.testing.assert_close(values[row], single.measures[name][0], atol=1e-4, rtol=1e-4)

    def test_an_utterance_is_recognised_alike_alone_and_in_any_batch(self) -> None:
        model = small_model()
        torch.nn.init.normal_(model.decoder.out.weight)
        batch = TASK.batch(6)
        together = decode_batch(model, TASK.tokenizer, batch, "parallel")
        assert len({len(decoded.tokens) for decoded in together}) > 1
        for row, decoded in enumerate(together):
            length = int(batch.feature_lengths[row])
            one = FeatureBatch(batch.features[row : row + 1, :length], batch.feature_lengths[row : row + 1])
            (alone,) = decode_batch(model, TASK.tokenizer, one, "parallel")
            assert alone.text == decoded.text
            assert alone.score == pytest.approx(decoded.score, abs=1e-4)
            assert [t.confidence for t in alone.tokens] == pytest.approx([t.confidence for t in decoded.tokens], 1e-3)

    def test_tokens_have_confidences_and_special_ones_are_never_said(self) -> None:
        model, batch, tokenizer = small_model(), TASK.batch(3), TASK.tokenizer
        special = (tokenizer.blank_id, tokenizer.sos_id, tokenizer.eos_id, tokenizer.pad_id)
        with torch.no_grad():
            model.decoder.out.bias[list(special)] = 50.0
        encoder_out, encoder_mask = model.encode(batch.features, batch.feature_lengths)
        for hypothesis in parallel_search(model, encoder_out, encoder_mask, special):
            assert not set(hypothesis.tokens) & set(special)
            assert hypothesis.finished
            assert len(hypothesis.confidences) == len(hypothesis.tokens)
            assert hypothesis.log_prob == pytest.approx(sum(hypothesis.token_log_probs))

    def test_silence_is_an_empty_text(self) -> None:
        model, batch = small_model(), TASK.batch(2)
        torch.nn.init.constant_(model.predictor.out.bias, -30.0)
        for decoded in decode_batch(model, TASK.tokenizer, batch):
            assert (decoded.text, decoded.tokens, decoded.words, decoded.score) == ("", [], [], 0.0)

    def test_no_utterance_has_more_tokens_than_frames(self) -> None:
        model, batch = small_model("model.predictor.smooth=1000"), TASK.batch(2)
        torch.nn.init.constant_(model.predictor.out.bias, 30.0)
        frames = model.encode(batch.features, batch.feature_lengths)[1].sum(dim=1).tolist()
        assert [len(decoded.tokens) for decoded in decode_batch(model, TASK.tokenizer, batch)] == frames

    def test_features_that_are_not_finite_do_not_break_recognition(self) -> None:
        model, batch = small_model(), TASK.batch(2)
        batch.features[0] = math.nan
        broken, sound_one = decode_batch(model, TASK.tokenizer, batch, "parallel")
        assert broken.text == ""
        assert math.isfinite(sound_one.score)

    def test_a_transcript_without_tokens_is_named(self) -> None:
        model = small_model()
        examples = [Example("good", "AB", torch.randn(20, 20), [5, 6]), Example("empty", "", torch.randn(20, 20), [])]
        with pytest.raises(TrainingError, match="no tokens in the transcripts of empty"):
            model.training_inputs(collate(examples, TASK.tokenizer))

    def test_the_decoder_cannot_be_asked_for_a_next_token(self) -> None:
        model = small_model()
        with pytest.raises(ConfigError, match="all tokens at once"):
            model.new_cache()


class TestLoss:
    def totals(self, output: Any, batch: Batch) -> Any:
        return MeasuredLoss({"quantity": 1.0, "length_error": 0.0}, 0.3, 0.1, TASK.tokenizer.blank_id, PAD).totals(
            output, batch
        )

    def test_it_is_the_sum_of_three(self) -> None:
        model, batch = small_model(), TASK.batch(5)
        output = model(*model.training_inputs(batch))
        criterion = build_criterion(small_config().training, TASK.tokenizer, model)
        loss = criterion.mean(criterion.totals(output, batch), Sizes.of([batch]))
        tokens = int(batch.target_lengths.sum())
        ctc = F.ctc_loss(
            output.ctc_log_probs.transpose(0, 1),
            batch.targets,
            output.encoder_mask.sum(dim=1),
            batch.target_lengths,
            TASK.tokenizer.blank_id,
            reduction="sum",
        )
        entropy = F.cross_entropy(
            output.logits.flatten(0, 1), batch.targets.flatten(), label_smoothing=0.1, ignore_index=PAD, reduction="sum"
        )
        quantity = output.measures["quantity"].mean()
        weight = small_config().training.quantity_weight
        assert weight > 0
        torch.testing.assert_close(loss, 0.3 * ctc / tokens + 0.7 * entropy / (tokens + 5) + weight * quantity)

    def test_the_end_of_a_text_is_a_decision_too(self) -> None:
        model, batch = small_model(), TASK.batch(4)
        output = model(*model.training_inputs(batch))
        logits = F.one_hot(batch.targets, TASK.tokenizer.vocab_size).float()
        output = replace(output, logits=logits, ends_right=torch.tensor([True, False, True, True]))
        totals = self.totals(output, batch)
        assert int(totals.correct_tokens) == int(batch.target_lengths.sum()) + 3
        assert int(totals.correct_sequences) == 3
        logits[0, 0] = 0
        assert int(self.totals(output, batch).correct_sequences) == 2

    def test_other_architectures_have_the_joint_loss(self) -> None:
        model = build_model(tiny_config(), 9)
        assert type(build_criterion(tiny_config().training, TASK.tokenizer, model)) is JointLoss

    def test_accumulated_gradients_are_those_of_one_batch(self) -> None:
        generator = torch.Generator().manual_seed(0)
        examples = [TASK.example(generator) for _ in range(6)]
        found = []
        for parts in ([examples], [examples[:2], examples[2:]]):
            config = small_config("model.glancing=0")
            stepper = Stepper(config, TASK.tokenizer, small_model("model.glancing=0").train(), total_steps=10)
            batches = [collate(part, TASK.tokenizer) for part in parts]
            stepper.accumulate(batches, Sizes.of(batches))
            found.append({name: p.grad for name, p in stepper.model.named_parameters() if p.grad is not None})
            assert all(value > 0 for value in stepper.take_measures().values())
            assert stepper.take_measures() == {"quantity": 0.0, "length_error": 0.0}, "all names, whatever happened"
        for name, gradient in found[0].items():
            torch.testing.assert_close(found[1][name], gradient, atol=1e-5, rtol=1e-4)

    def test_all_parts_of_the_loss_fall_in_a_few_steps(self) -> None:
        stepper = Stepper(
            small_config("training.schedule.warmup_steps=5", "training.optimizer.lr=1e-2"),
            TASK.tokenizer,
            small_model(),
            total_steps=120,
        )
        measures = []
        losses = []
        for step, batch in enumerate(TASK.batches(60, size=16)):
            losses.append(stepper.step([batch], step))
            measures.append(stepper.take_measures()["quantity"] / 16)
        first, last = losses[0], losses[-1]
        assert all(result.applied for result in losses)
        assert last.ctc < 0.7 * first.ctc
        assert last.attention < 0.9 * first.attention
        assert sum(measures[-5:]) < 0.5 * sum(measures[:5])


class TestConfiguration:
    @pytest.mark.parametrize(
        ("name", "like", "layers"),
        [("paraformer_tiny", "tinyspeech", 2), ("paraformer_mini_librispeech", "mini_librispeech", 3)],
    )
    def test_it_is_as_large_as_the_model_that_it_is_compared_with(self, name: str, like: str, layers: int) -> None:
        configs = load_config(name), load_config(like, [f"model.decoder_layers={layers}"])
        mine, other = (count_parameters(build_model(config, 40)) for config in configs)
        assert 1 <= mine / other < 1.05

    def test_nested_settings_are_saved_and_read(self, tmp_path) -> None:
        config = small_config("model.predictor.layers=3", "model.predictor.noise=0.05", "model.glancing=0.25")
        (tmp_path / "mine.yaml").write_text(to_yaml(config), encoding="utf-8")
        assert load_config(tmp_path / "mine.yaml") == config
        assert len(small_model("model.predictor.layers=3").predictor.convs) == 3

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (["model.predictor.kernel=4"], "must be odd"),
            (["model.predictor.smooth=0.1", "model.predictor.noise=0.2"], "no frame would weigh"),
            (["model.predictor.hiden=4"], "did you mean 'hidden'"),
            (["model.glancing=1.5"], "model.glancing"),
            (["model.decoder_layers=0", "training.ctc_weight=1", "training.validation_search=ctc"], "has a decoder"),
            (["training.validation_search=joint"], "must be one of parallel, ctc, prefix"),
            (["training.token_noise=0.1"], "reads no tokens"),
            (["training.teacher_forcing=0.5"], "reads no tokens"),
            (["initialise.decoder=some/lm"], "cannot begin as a language model"),
            (["model.architecture=transformer"], "is for model.architecture 'paraformer'"),
        ],
    )
    def test_what_cannot_be_is_refused(self, overrides: list[str], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            load_config("paraformer_tiny", overrides)

    def test_the_registry_names_what_there_is(self) -> None:
        for name in MODELS:
            assert load_config(
                "tinyspeech", [f"model.architecture={name}", "training.validation_search=ctc", "model.conv_kernel=0"]
            )
        assert type(build_model(small_config(), 9)) is Paraformer
        assert isinstance(small_model().decoder, ParallelDecoder)


class TestSearches:
    def test_the_default_is_what_suits_the_model(self) -> None:
        assert default_search(small_model()) == "parallel"
        assert default_search(build_model(tiny_config(), 9)) == "greedy"
        assert default_search(build_model(tiny_config(decoder_layers=0), 9)) == "ctc"

    def test_searches_of_the_ctc_head_work_and_those_token_by_token_are_refused(self) -> None:
        recognizer, samples = tiny_recognizer(architecture="paraformer"), sound(1.0)
        assert recognizer.transcribe(samples) == recognizer.transcribe(samples, search="parallel")
        for search in ("ctc", "prefix"):
            assert isinstance(recognizer.transcribe(samples, search=search).text, str)
        for search in ("greedy", "attention", "joint"):
            with pytest.raises(ConfigError, match=f"search '{search}' does not fit this model, .*: use 'parallel'"):
                recognizer.transcribe(samples, search=search)
        with pytest.raises(
            ConfigError, match="'parallel' does not fit this model, whose decoder writes token by token"
        ):
            tiny_recognizer().transcribe(samples, search="parallel")

    def test_a_list_is_recognised_as_its_parts_are(self) -> None:
        recognizer = tiny_recognizer(architecture="paraformer")
        sounds = [sound(0.7, 1), sound(1.4, 2)]
        together = recognizer.transcribe(sounds)
        assert [one.text for one in together] == [recognizer.transcribe(each).text for each in sounds]

    def test_where_tokens_fire(self) -> None:
        recognizer = tiny_recognizer(architecture="paraformer")
        features, alphas, tokens = recognizer.token_fires(sound(1.5))
        assert "".join(token.text for token in tokens).strip() == recognizer.transcribe(sound(1.5)).text.strip()
        assert len(alphas) == -(-len(features) // 4)
        ends = [token.end for token in tokens]
        assert ends == sorted(ends)
        assert 0 < ends[0] < ends[-1] <= 1.6
        assert [token.start for token in tokens[1:]] == ends[:-1]
        figure = plots.fires(features, alphas, [(token.text, token.end) for token in tokens])
        assert len(figure.axes) == 2
        with pytest.raises(ConfigError, match="'parallel' does not fit"):
            tiny_recognizer().token_fires(sound(1.5))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Any, Any]:
    """A Paraformer trained for a few steps by the real trainer, and its corpus."""
    folder = tmp_path_factory.mktemp("paraformer")
    corpus = sound_corpus(folder / "tiny", TEXTS)
    settings = ["--model.architecture=paraformer", "--model.predictor.hidden=16", "--training.log_every=2"]
    config = training_config(corpus, *settings, "--training.validation_search=parallel", "--training.ema_decay=0.9")
    return train(config, folder / "run", progress=False), corpus


class TestTrainer:
    def test_measures_are_in_log_and_metrics(self, trained) -> None:
        run = trained[0].run_folder
        record = read_metrics(run)["validations"][-1]
        (dev,) = record["dev"].values()
        for figures in (record["train"], dev, *read_metrics(run)["test"]["corpora"].values()):
            assert {"ctc", "attention", "token_accuracy", "quantity", "length_error"} <= figures.keys()
        assert dev["loss"] == pytest.approx(0.5 * dev["ctc"] + 0.5 * dev["attention"] + dev["quantity"])
        assert 0 <= dev["sequence_accuracy"] <= 1
        assert "quantity" in (run / "train.log").read_text(encoding="utf-8")
        assert "quantity" in (run / "results.csv").read_text(encoding="utf-8").splitlines()[0]
        assert list((run / "plots").glob("attention*")), "where the tokens listen"

    def test_measures_survive_a_resumed_run(self, trained) -> None:
        means = RunningMeans(utterances=4, measures={"quantity": 6.0})
        again = RunningMeans(**dataclasses.asdict(means.total(ALONE))).part(ALONE)
        assert again.means()["quantity"] == 1.5
        state = load_state(trained[0].run_folder / "checkpoints" / "latest" / "state.pt")
        assert state["since_log"].keys() == dataclasses.asdict(means).keys()

    def test_the_checkpoint_is_that_of_the_architecture(self, trained, tmp_path) -> None:
        model, tokenizer, config = load_checkpoint(trained[0].checkpoint)
        assert isinstance(model, Paraformer)
        save_checkpoint(tmp_path / "copy", model, tokenizer, config)
        again = load_checkpoint(tmp_path / "copy")[0].state_dict()
        assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())

    def test_weights_of_another_architecture_are_refused(self, trained, tmp_path) -> None:
        model, tokenizer, config = load_checkpoint(trained[0].checkpoint)
        plain = replace(config, model=replace(config.model, architecture="transformer"),
                        training=replace(config.training, validation_search="ctc"))  # fmt: skip
        save_checkpoint(tmp_path / "wrong", model, tokenizer, plain)
        with pytest.raises(CheckpointError, match=r"\(SpeechTransformer\).*predictor.* is not part of the model"):
            load_checkpoint(tmp_path / "wrong")
        save_checkpoint(tmp_path / "other", build_model(plain, tokenizer.vocab_size), tokenizer, config)
        with pytest.raises(CheckpointError, match=r"\(Paraformer\).*predictor.* is missing"):
            load_checkpoint(tmp_path / "other")

    def test_it_begins_with_the_encoder_of_a_transformer(self, trained, tmp_path) -> None:
        from asr_tutorial.training.initialise import from_checkpoint

        model, tokenizer, config = load_checkpoint(trained[0].checkpoint)
        plain = replace(config, model=replace(config.model, architecture="transformer"),
                        training=replace(config.training, validation_search="ctc"))  # fmt: skip
        other = build_model(plain, tokenizer.vocab_size)
        assert type(other) is SpeechTransformer
        save_checkpoint(tmp_path / "transformer", other, tokenizer, plain)
        transfer = from_checkpoint(model, tmp_path / "transformer")
        assert all(name.startswith("predictor.") for name in transfer.new)
        assert torch.equal(model.encoder.norm.weight, other.encoder.norm.weight)

    def test_the_command_line(self, trained, tmp_path) -> None:
        result, corpus = trained
        soundfile.write(tmp_path / "a.wav", sound(1.0, 1), 16_000)
        run = CliRunner()
        text = run.invoke(app, ["transcribe", "-m", str(result.run_folder), str(tmp_path / "a.wav")])
        assert text.exit_code == 0, text.output
        as_json = [
            "transcribe",
            "-m",
            str(result.run_folder),
            "--json",
            "--search",
            "parallel",
            str(tmp_path / "a.wav"),
        ]
        (record,) = json.loads(run.invoke(app, as_json).stdout)
        assert record["text"] == text.stdout.strip("\n")
        assert all(0 < token["confidence"] <= 1 for token in record["tokens"])
        measured = run.invoke(app, ["evaluate", "-m", str(result.run_folder), "--corpus", str(corpus)])
        assert "search parallel" in measured.stdout
        refused = run.invoke(
            app, ["evaluate", "-m", str(result.run_folder), "--corpus", str(corpus), "--search", "joint"]
        )
        assert refused.exit_code == 2
        assert "search 'joint' does not fit this model" in refused.stderr

    def test_it_is_loaded_as_any_recogniser(self, trained) -> None:
        assert isinstance(asr_tutorial.load(trained[0].run_folder, "cpu").transcribe(sound(1.0)).text, str)


class TestSyntheticCorpus:
    def test_it_is_read_as_a_corpus(self, tmp_path) -> None:
        folder = TASK.write_corpus(tmp_path / "train", 5, seed=4)
        corpus = read_corpus(folder)
        generator = torch.Generator().manual_seed(4)
        assert [utterance.text for utterance in corpus] == [TASK.example(generator).text for _ in range(5)]
        assert all(utterance.has_features for utterance in corpus)
        with pytest.raises(UserError, match="is not empty"):
            TASK.write_corpus(folder, 1)

    def test_the_command_writes_what_the_configuration_trains_on(self, tmp_path) -> None:
        result = CliRunner().invoke(
            app, ["data", "synthetic", str(tmp_path / "synthetic"), "--train", "12", "--dev", "3"]
        )
        assert result.exit_code == 0, result.output
        settings = [f"data.root={tmp_path}", f"data.cache={tmp_path / 'cache'}", "training.max_steps=2"]
        small = ["training.device=cpu", "training.schedule.warmup_steps=1", "data.batch_seconds=2"]
        config = load_config("paraformer_synthetic", [*settings, *small])
        test = train(config, tmp_path / "run", progress=False).test
        assert test["synthetic/test"].keys() >= {"cer", "quantity", "length_error"}


class TestAlignment:
    def test_a_token_weighs_one_where_ctc_hears_it(self) -> None:
        """Four frames and two tokens: the first in frame 0 or 1, as probable, the second in frame 3."""
        blank, a, b = 0, 5, 6
        probs = torch.full((1, 4, 7), 1e-12, dtype=torch.float64)
        for frame, (token, share) in enumerate(((a, 0.5), (a, 0.5), (blank, 1.0), (b, 1.0))):
            probs[0, frame, token] = share
            probs[0, frame, blank] += 1 - share
        mask = torch.ones(1, 4, dtype=torch.bool)
        aligned = ctc_alphas(probs.log(), torch.tensor([[a, b]]), mask, torch.tensor([2]), blank)
        torch.testing.assert_close(aligned, torch.tensor([[0.5, 0.5, 0.0, 1.0]]), atol=1e-5, rtol=0)

    def test_they_add_up_to_the_tokens_alone_and_in_a_batch(self) -> None:
        torch.manual_seed(0)
        lengths, frames = torch.tensor([3, 1, 4]), torch.tensor([9, 4, 12])
        mask, targets = padding_mask(frames, 12), torch.randint(5, 9, (3, 4))
        log_probs = torch.randn(3, 12, 9).log_softmax(-1)
        aligned = ctc_alphas(log_probs, targets, mask, lengths, 0)
        torch.testing.assert_close(aligned.sum(dim=1), lengths.float())
        assert bool((aligned[~mask] == 0).all())
        for row, (count, length) in enumerate(zip(frames.tolist(), lengths.tolist(), strict=True)):
            alone = ctc_alphas(
                log_probs[row : row + 1, :count], targets[row : row + 1, :length], mask[row : row + 1, :count],
                lengths[row : row + 1], 0,
            )  # fmt: skip
            torch.testing.assert_close(alone[0], aligned[row, :count])

    def test_the_loss_is_zero_there_and_where_there_is_no_path(self) -> None:
        log_probs = torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
        mask = padding_mask(torch.tensor([6, 2]), 6)
        lengths = torch.tensor([3, 3])  # the second one has two frames for three tokens
        aligned = ctc_alphas(log_probs, torch.tensor([[5, 6, 7], [5, 6, 7]]), mask, lengths, 0)
        assert alignment_loss(aligned, aligned, lengths).tolist() == [0.0, 0.0]
        even = (mask * 0.5).requires_grad_()
        losses = alignment_loss(even, aligned, lengths)
        expected = (even.detach()[0] - aligned[0]).square().sum() / 3
        torch.testing.assert_close(losses.detach(), torch.stack([expected, torch.tensor(0.0)]))
        losses.sum().backward()
        assert even.grad is not None
        assert bool((even.grad[1] == 0).all())

    def test_it_is_measured_where_it_has_a_weight(self) -> None:
        config = small_config("training.alignment_weight=2.0")
        model, batch = Paraformer(config, TASK.tokenizer.vocab_size), TASK.batch(4)
        output = model(*model.training_inputs(batch))
        assert model.measures == {**small_model().measures, "alignment": 2.0}
        assert output.measures["alignment"].shape == (4,)
        output.measures["alignment"].sum().backward()
        assert model.predictor.out.weight.grad is not None
        assert model.ctc_head.weight.grad is None, "CTC is the teacher, not the pupil"

    def test_in_training_the_decoder_gets_ctcs_weights_and_otherwise_the_predictors(self, monkeypatch) -> None:
        model = small_model("training.alignment_weight=1.0", "model.glancing=0")
        batch, seen = TASK.batch(4), []
        integrate = Paraformer._integrate
        monkeypatch.setattr(
            Paraformer, "_integrate", lambda *values, **named: seen.append(values[2]) or integrate(*values, **named)
        )
        output = model.train()(*model.training_inputs(batch))
        model.eval()(*model.training_inputs(batch))
        mask = output.encoder_mask
        aligned = ctc_alphas(output.ctc_log_probs, batch.targets, mask, batch.target_lengths, TASK.tokenizer.blank_id)
        assert bool((aligned.sum(dim=1) > 0).all())
        torch.testing.assert_close(seen[0], aligned)
        own = scale_alphas(model.predictor(output.encoder_out, mask), batch.target_lengths, mask)
        torch.testing.assert_close(seen[1], own)

    def test_without_ctc_there_is_nobody_to_say_where(self) -> None:
        with pytest.raises(ConfigError, match="alignment_weight needs a CTC head"):
            load_config("paraformer_tiny", ["training.alignment_weight=1", "training.ctc_weight=0"])
