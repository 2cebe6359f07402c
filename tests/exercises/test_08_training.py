"""Chapter 08: the loss, the schedule, accumulation, precision, a step, resuming, augmentation, buckets, saving."""

from __future__ import annotations

import copy
import dataclasses
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from teaching import expect, same
from torch import Tensor, nn
from torch.nn import functional as F

from asr_tutorial.config import AugmentConfig, Config, ScheduleConfig, from_dict
from asr_tutorial.dataset import sampler
from asr_tutorial.dataset.batch import Batch
from asr_tutorial.errors import CheckpointError
from asr_tutorial.features import augment
from asr_tutorial.model import build_model
from asr_tutorial.synthetic import SyntheticTask
from asr_tutorial.training import loss, optimizer, state, step
from asr_tutorial.training.loss import JointLoss, LossTotals, Sizes, label_smoothed_cross_entropy
from asr_tutorial.training.state import save_state
from asr_tutorial.training.step import pick_precision

TASK = SyntheticTask(letters=5, n_mels=16, min_length=2, max_length=3, min_frames=10, max_frames=14)
PAD = 9


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------------------------------------- 8.1
HALVES = torch.log(torch.tensor([[[0.5, 0.25, 0.125, 0.125], [0.25, 0.25, 0.25, 0.25]]]))  # (1, 2, 4)


@pytest.mark.exercise("8.1")
def test_without_smoothing_it_is_the_cross_entropy():
    same(
        label_smoothed_cross_entropy(HALVES, torch.tensor([[0, 3]]), PAD),
        0.6931 + 1.3863,
        "the right tokens have the probabilities 1/2 and 1/4: -ln(1/2) = 0.693 and -ln(1/4) = 1.386, summed",
        tolerance=1e-4,
    )


@pytest.mark.exercise("8.1")
def test_the_smoothed_loss_worked_by_hand():
    same(
        label_smoothed_cross_entropy(HALVES[:, :1], torch.tensor([[0]]), PAD, smoothing=0.1),
        0.9 * 0.6931 + 0.1 * 1.5596,
        "0.9 of the loss of the right token, and 0.1 of the mean loss over all four tokens, the right one among them: "
        "(0.693 + 1.386 + 2.079 + 2.079) / 4 = 1.560",
        tolerance=1e-4,
    )


@pytest.mark.exercise("8.1")
def test_pad_is_not_trained_on():
    logits = random(2, 3, 12).requires_grad_()
    targets = torch.tensor([[4, 1, PAD], [2, PAD, PAD]])
    value = label_smoothed_cross_entropy(logits, targets, PAD, 0.1)
    value.backward()
    gradient = logits.grad
    expect(
        gradient is not None and bool((gradient[targets == PAD] == 0).all()) and bool((gradient[0, 0] != 0).any()),
        "no gradient where the target is PAD, and some elsewhere",
        gradient[targets == PAD].abs().max().item() if gradient is not None else None,
        "a model that is trained on PAD learns to say nothing: most positions of a batch may be padding",
    )


@pytest.mark.exercise("8.1")
def test_it_is_a_sum_over_positions():
    logits = random(2, 3, 12)
    targets = torch.tensor([[4, 1, 0], [2, 3, PAD]])
    parts = [label_smoothed_cross_entropy(logits[i : i + 1], targets[i : i + 1], PAD, 0.2) for i in range(2)]
    same(
        label_smoothed_cross_entropy(logits, targets, PAD, 0.2),
        parts[0] + parts[1],
        "a sum, which is divided later by the number of tokens of the whole step; a mean over this batch alone would "
        "give batches with few tokens too much weight",
    )


@pytest.mark.exercise("8.1")
def test_it_agrees_with_torch_and_is_computed_in_fp32():
    logits, targets = random(3, 4, 12, seed=3) * 3, torch.tensor([[4, 1, 0, PAD]] * 3)
    theirs = F.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=PAD, label_smoothing=0.3, reduction="sum"
    )
    same(label_smoothed_cross_entropy(logits, targets, PAD, 0.3), theirs, "F.cross_entropy has the same definition")
    rounded = logits.bfloat16()
    same(
        label_smoothed_cross_entropy(rounded, targets, PAD, 0.3),
        label_smoothed_cross_entropy(rounded.float(), targets, PAD, 0.3),
        "logits come in bf16 under autocast, which has 3 digits: a log-softmax needs fp32, see logits.float()",
        tolerance=1e-4,
    )


def probe_smoothing(m: ModuleType) -> Iterator[Any]:
    logits = random(2, 3, 12)
    targets = torch.tensor([[4, 1, PAD], [2, PAD, PAD]])
    for smoothing in (0.0, 0.1, 0.6):
        yield m.label_smoothed_cross_entropy(logits, targets, PAD, smoothing)
    yield m.label_smoothed_cross_entropy(HALVES, torch.tensor([[0, 3]]), PAD, 0.1)


# ---------------------------------------------------------------------------------------------------- 8.2
def factors(schedule: Any, steps: Any) -> list[float]:
    return [schedule.factor(number) for number in steps]


def schedule_of(module: ModuleType = optimizer, total: int = 14, **settings: Any) -> Any:
    return module.Schedule(ScheduleConfig(**settings), total)


@pytest.mark.exercise("8.2")
def test_the_rise():
    same(
        factors(schedule_of(warmup_steps=4, kind="linear"), range(4)),
        [0.25, 0.5, 0.75, 1.0],
        "four steps of warm-up: a quarter more with each. Step 0 has a rate already, or it would be wasted",
    )


@pytest.mark.exercise("8.2")
def test_the_fall():
    same(
        factors(schedule_of(warmup_steps=4, kind="linear", final=0.2), [4, 9, 14]),
        [1.0, 0.6, 0.2],
        "10 steps are left after the warm-up: at its end the share is 1, half-way to the last step 0.6, there 0.2",
    )
    same(
        factors(schedule_of(warmup_steps=4, kind="cosine", final=0.2), [4, 6.5, 9, 14]),
        [1.0, 0.2 + 0.8 * 0.8536, 0.6, 0.2],
        "half a cosine between 1 and `final`: (1 + cos(pi * progress)) / 2 goes from 1 to 0",
        tolerance=1e-4,
    )
    same(
        factors(schedule_of(warmup_steps=4, kind="exponential"), [4, 9, 14]),
        [1.0, 0.0316, 0.001],
        "max(final, 1e-3) to the power of the progress",
        tolerance=1e-3,
    )


@pytest.mark.exercise("8.2")
def test_beyond_the_last_step():
    same(
        factors(schedule_of(warmup_steps=4, kind="linear"), [14, 15, 100]),
        [0.0, 0.0, 0.0],
        "progress stays at 1 after total_steps: a negative rate would climb the loss instead of descending it",
    )


@pytest.mark.exercise("8.2")
def test_noam_has_its_peak_at_1():
    same(
        factors(schedule_of(warmup_steps=4, kind="noam"), [3, 4, 15]),
        [1.0, (4 / 5) ** 0.5, 0.5],
        "sqrt(warm-up / (step + 1)): scaled so that the peak is 1 and the rate in the configuration is the highest one",
    )


@pytest.mark.exercise("8.2")
def test_plateau_constant_and_no_warm_up():
    plateau = schedule_of(warmup_steps=0, kind="plateau")
    plateau.plateau_factor = 0.25
    same(factors(plateau, [0, 7]), [0.25, 0.25], "plateau: whatever factor the validations have led to")
    same(factors(schedule_of(warmup_steps=0, kind="constant"), [0, 99]), [1.0, 1.0], "constant: 1")
    same(factors(schedule_of(warmup_steps=0, kind="noam"), [0, 3]), [1.0, 0.5], "no warm-up counts as one step")


@pytest.mark.exercise("8.2")
def test_each_group_has_its_own_peak_and_is_set_anew_each_time():
    schedule = schedule_of(warmup_steps=4, kind="linear")
    groups = SimpleNamespace(param_groups=[{"lr": 9.0, "peak_lr": 2.0}, {"lr": 9.0, "peak_lr": 0.5}])
    rates = []
    for number in (0, 1, 1, 3):
        schedule.apply(groups, number)
        rates.append([group["lr"] for group in groups.param_groups])
    same(
        rates,
        [[0.5, 0.125], [1.0, 0.25], [1.0, 0.25], [2.0, 0.5]],
        "the rate is share times peak_lr, whatever the rate was before: multiplying lr itself would compound",
    )


def probe_schedule(m: ModuleType) -> Iterator[Any]:
    for kind in ("linear", "cosine", "exponential", "noam", "plateau", "constant"):
        for warmup in (0, 4):
            schedule = schedule_of(m, warmup_steps=warmup, kind=kind, final=0.1)
            schedule.plateau_factor = 0.3
            yield factors(schedule, [0, 1, 3, 4, 5, 9, 13, 14, 20])
    groups = SimpleNamespace(param_groups=[{"lr": 9.0, "peak_lr": 2.0}, {"lr": 9.0, "peak_lr": 0.5}])
    for number in (0, 2, 4):
        schedule_of(m, warmup_steps=4, kind="linear").apply(groups, number)
        yield [group["lr"] for group in groups.param_groups]


# ---------------------------------------------------------------------------------------------------- 8.3
class TwoLikeMe:
    """Two ranks that have the same batches."""

    def sum(self, values: Any) -> list[float]:
        return [2.0 * value for value in values]


def batch_of(*lengths: int, spare: bool = False) -> Batch:
    full = TASK.batch(size=len(lengths), seed=0)
    return dataclasses.replace(full, target_lengths=torch.tensor(lengths), spare=spare)


def parts_of(*values: float) -> LossTotals:
    ctc, attention = map(torch.tensor, values)
    return LossTotals(ctc, attention, torch.tensor(0), torch.tensor(0))


@pytest.mark.exercise("8.3")
def test_counts_of_two_batches():
    same(
        dataclasses.astuple(Sizes.of([batch_of(3, 5), batch_of(2)])),
        [3, 10, 13],
        "3 utterances, 3 + 5 + 2 CTC tokens, and one more for each utterance in the decoder: EOS",
    )


@pytest.mark.exercise("8.3")
def test_the_mean_worked_by_hand():
    same(
        JointLoss(0.3, 0.0, 0, PAD).mean(parts_of(20.0, 26.0), Sizes(3, 10, 13)),
        0.3 * 2.0 + 0.7 * 2.0,
        "20 / 10 CTC tokens is 2 nats a token, 26 / 13 decoder tokens is 2; CTC counts for 0.3, the decoder for 0.7",
    )
    same(
        JointLoss(0.3, 0.0, 0, PAD).mean(parts_of(20.0, 13.0), Sizes(3, 10, 13)),
        0.3 * 2.0 + 0.7 * 1.0,
        "each sum is divided by its own count, and ctc_weight belongs to CTC",
    )


@pytest.mark.exercise("8.3")
def test_accumulated_parts_add_up_to_the_large_batch():
    large = batch_of(1, 4, 2, 7)
    few, many = batch_of(1), batch_of(4, 2, 7)
    criterion = JointLoss(0.3, 0.0, 0, PAD)
    whole = criterion.mean(parts_of(30.0, 40.0), Sizes.of([large]))
    sizes = Sizes.of([few, many])
    same(
        criterion.mean(parts_of(4.0, 5.0), sizes) + criterion.mean(parts_of(26.0, 35.0), sizes),
        whole,
        "4 + 26 and 5 + 35 nats, divided by the tokens of both batches: a mean of the two batches' means would give "
        "one short utterance as much weight as three long ones",
    )


@pytest.mark.exercise("8.3")
def test_a_spare_batch_does_not_count():
    same(
        dataclasses.astuple(Sizes.of([batch_of(3, 5), batch_of(9, spare=True)])),
        [2, 8, 10],
        "a spare batch is a repetition that keeps a process busy; its utterances are counted where they belong",
    )


@pytest.mark.exercise("8.3")
def test_all_processes_are_counted():
    same(
        dataclasses.astuple(Sizes.of([batch_of(3, 5)], TwoLikeMe())),
        [4, 16, 20],
        "ranks.sum gives the sums over all processes: what to divide by is the size of the whole step, not of a share",
    )
    same(
        dataclasses.astuple(Sizes.of([batch_of(0)], TwoLikeMe())),
        [2, 1, 2],
        "without a single CTC token there is still 1 to divide by, and that is seen after summing",
    )


def probe_sizes(m: ModuleType) -> Iterator[Any]:
    for batches in ([batch_of(3, 5), batch_of(2)], [batch_of(3, 5), batch_of(9, spare=True)]):
        yield dataclasses.astuple(m.Sizes.of(batches))
        yield dataclasses.astuple(m.Sizes.of(batches, TwoLikeMe()))
    yield dataclasses.astuple(m.Sizes.of([batch_of(0)]))
    for totals in (parts_of(20.0, 26.0), parts_of(4.0, 0.0), parts_of(0.0, 5.0)):
        yield m.JointLoss(0.3, 0.0, 0, PAD).mean(totals, m.Sizes(3, 10, 13))


# ---------------------------------------------------------------------------------------------------- 8.4
CPU, GPU = torch.device("cpu"), torch.device("cuda")


@contextmanager
def machine(module: ModuleType, gpu_bf16: bool = True, cpu_bf16: bool = True) -> Iterator[None]:
    """A machine that can, or cannot, multiply in bf16."""
    with (
        mock.patch.object(module, "cpu_multiplies_bf16", return_value=cpu_bf16),
        mock.patch.object(torch.cuda, "is_bf16_supported", return_value=gpu_bf16),
    ):
        yield


def with_precision(module: ModuleType, precision: str, device: torch.device = CPU) -> Any:
    made = module.Stepper.__new__(module.Stepper)
    made.precision, made.device = precision, device
    return made


def product_dtype(module: ModuleType, precision: str) -> str:
    with with_precision(module, precision).autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    return str(product.dtype).removeprefix("torch.")


def devices_of_contexts(module: ModuleType) -> list[str]:
    """For which devices contexts are made where the stepper computes on a GPU, under whatever name of torch's class."""
    devices: list[str] = []
    made = torch.autocast.__init__

    def note(self: Any, device_type: str, *arguments: Any, **options: Any) -> None:
        devices.append(str(device_type))
        made(self, "cpu", dtype=torch.bfloat16)  # a machine without GPU has no other

    with mock.patch.object(torch.autocast, "__init__", note), with_precision(module, "bf16", GPU).autocast():
        pass
    return devices


@pytest.mark.exercise("8.4")
def test_what_was_asked_for_is_what_one_gets():
    with machine(step, gpu_bf16=False, cpu_bf16=False):
        got = [pick_precision(name, device) for name in ("fp32", "bf16", "fp16") for device in (CPU, GPU)]
    expect(
        got == ["fp32", "fp32", "bf16", "bf16", "fp16", "fp16"],
        "fp32, bf16 and fp16 stay what they are, on any machine",
        got,
        "a setting that is quietly overruled makes a result that nobody can explain; only auto is free to choose",
    )


@pytest.mark.exercise("8.4")
def test_auto_takes_what_is_fast_here():
    got = []
    for can in (True, False):
        with machine(step, gpu_bf16=can, cpu_bf16=can):
            got += [
                pick_precision("auto", GPU),
                pick_precision("auto", CPU),
                pick_precision("auto", torch.device("mps")),
            ]
    expect(
        got == ["bf16", "bf16", "fp32", "fp16", "fp32", "fp32"],
        "for a GPU, a CPU, anything else: bf16, bf16, fp32 where the machine has bf16, and fp16, fp32, fp32 where not",
        got,
        "bf16 has the range of fp32 and needs no scaling, so it comes first; fp16 is fast on any GPU and on no CPU",
    )


@pytest.mark.exercise("8.4")
def test_matrix_products_in_the_precision():
    for precision, dtype in (("bf16", "bfloat16"), ("fp16", "float16"), ("fp32", "float32")):
        got = product_dtype(step, precision)
        expect(
            got == dtype,
            f"a matrix product in {dtype} within the context of precision {precision}",
            got,
            "torch.autocast has to be given the device's type and the dtype; with fp32 there is nothing to do",
        )


@pytest.mark.exercise("8.4")
def test_the_weights_stay_fp32_and_softmaxes_too():
    linear = nn.Linear(2, 2)
    with with_precision(step, "bf16").autocast():
        answer = F.cross_entropy(linear(torch.ones(1, 2)), torch.tensor([1]))
    expect(
        linear.weight.dtype == torch.float32 and answer.dtype == torch.float32,
        "weights in float32, and a cross-entropy computed in float32",
        f"{linear.weight.dtype}, {answer.dtype}",
        "autocast changes the operators, not the model: an update of a thousandth would be lost in a bf16 weight",
    )


@pytest.mark.exercise("8.4")
def test_the_context_is_for_the_steppers_device():
    given = devices_of_contexts(step)
    expect(
        "cuda" in given,
        "torch.autocast for cuda where the stepper computes on a GPU",
        given,
        "use self.device.type: a context for the CPU does nothing for a model on a GPU, and the other way round",
    )


def probe_precision(m: ModuleType) -> Iterator[Any]:
    for can in (True, False):
        with machine(m, gpu_bf16=can, cpu_bf16=can):
            yield [m.pick_precision(name, device) for name in ("auto", "fp32", "bf16", "fp16") for device in (CPU, GPU)]
    for precision in ("fp32", "bf16", "fp16"):
        yield product_dtype(m, precision)
    yield devices_of_contexts(m)


# ---------------------------------------------------------------------------------------------------- 8.5 and 8.6
def stepper_of(module: ModuleType = step, dropout: float = 0.0, **training: Any) -> Any:
    base = {
        "precision": "fp32",
        "device": "cpu",
        "schedule": {"kind": "constant", "warmup_steps": 0},
        "optimizer": {"lr": 0.01, "clip": 0.5},
    }
    sizes = {"d_model": 8, "num_heads": 2, "d_ff": 16, "encoder_layers": 1, "decoder_layers": 1}
    config = from_dict(
        Config,
        {
            "model": {**sizes, "subsampling_channels": 2, "dropout": dropout},
            "features": {"n_mels": 16},
            "augment": {"freq_masks": 0, "time_masks": 0},
            "training": {**base, **training},
        },
    )
    torch.manual_seed(0)
    return module.Stepper(config, TASK.tokenizer, build_model(config, TASK.tokenizer.vocab_size), total_steps=10)


def batch(seed: int = 0) -> Batch:
    return TASK.batch(size=2, seed=seed)


def gradients(stepper: Any, seed: int = 0) -> Any:
    stepper.model.train()
    batches = [batch(seed)]
    return stepper.accumulate(batches, loss.Sizes.of(batches))


def flat(stepper: Any) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in stepper.model.parameters()])


@pytest.mark.exercise("8.5")
def test_an_update_is_adams_with_clipped_gradients():
    stepper, plain = stepper_of(), stepper_of()
    for number in range(2):
        norm, applied = gradients(stepper, number) is not None and stepper.update(number)
        plain.optimizer.zero_grad()
        gradients(plain, number)
        expected = nn.utils.clip_grad_norm_(plain.model.parameters(), 0.5)
        plain.optimizer.step()
        same(norm, expected, "the norm of all gradients together, as it was before clipping: what the log shows")
        expect(applied, "True: the gradient was finite", applied, "the trainer counts the steps that were not applied")
        same(
            flat(stepper),
            flat(plain),
            f"after update {number + 1} the weights are those of torch: gradients clipped to optimizer.clip = 0.5, "
            "then a step of the optimiser; gradients of the step before must be gone",
        )


@pytest.mark.exercise("8.5")
def test_clip_0_means_not_at_all():
    never, unreached = (stepper_of(optimizer={"lr": 0.01, "clip": clip}) for clip in (0.0, 1e6))
    for stepper in (never, unreached):
        gradients(stepper)
        stepper.update(0)
    same(
        flat(never),
        flat(unreached),
        "optimizer.clip = 0 switches clipping off: the limit is then infinite; a limit of 0 would make all gradients 0",
    )


@pytest.mark.exercise("8.5")
def test_a_gradient_that_is_not_finite_changes_nothing():
    stepper = stepper_of(ema_decay=0.9)
    gradients(stepper)
    next(stepper.model.parameters()).grad[0] = float("nan")
    before, average = flat(stepper), {name: tensor.clone() for name, tensor in stepper.ema.average.items()}
    _, applied = stepper.update(0)
    same(flat(stepper), before, "one NaN in the gradient would make NaN of every weight: such a step is left out")
    expect(
        not applied and all(torch.equal(tensor, average[name]) for name, tensor in stepper.ema.average.items()),
        "applied False, and the average of the weights as it was",
        f"applied {applied}",
        "the trainer must be able to count such steps, and the average must not count the same weights twice",
    )
    left = [parameter.grad for parameter in stepper.model.parameters() if parameter.grad is not None]
    expect(
        not left or not any(bool(grad.any()) for grad in left),
        "no gradient left over",
        f"{len(left)} gradients",
        "the NaN must not be added to the gradients of the next step",
    )


@pytest.mark.exercise("8.5")
def test_scaled_gradients_are_unscaled_before_they_are_clipped():
    stepper, plain = stepper_of(), stepper_of()
    stepper.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    gradients(stepper)
    gradients(plain)
    norm, _ = stepper.update(0)
    expected, _ = plain.update(0)
    same(
        norm,
        expected,
        "with fp16 the loss was multiplied by the scaler's factor: unscale_ the gradients first, or each is clipped",
        tolerance=1e-4,
    )
    same(flat(stepper), flat(plain), "and let the scaler make the step: it knows of overflows", tolerance=1e-4)


@pytest.mark.exercise("8.5")
def test_under_fp16_the_scaler_sees_an_overflow():
    before, after, factor = overflowed(step)
    same(after, before, "the gradient has overflowed: nothing is changed, under fp16 as everywhere")
    same(
        factor,
        512.0,
        "under fp16 an overflow is no accident but the scaler's way to find its factor, 1024 here: let it see the "
        "gradient, scaler.step and scaler.update; it leaves the step out by itself and halves the factor",
    )


@pytest.mark.exercise("8.5")
def test_the_average_follows_the_new_weights():
    stepper = stepper_of(ema_decay=0.9)
    gradients(stepper)
    start = flat(stepper)
    stepper.update(0)
    average = torch.cat([tensor.flatten() for tensor in stepper.ema.average.values()])
    same(
        average,
        0.1 * start + 0.9 * flat(stepper),
        "self.ema.update(self.model, step) after the weights have changed; at step 0 the decay is 1/10",
    )


@pytest.mark.exercise("8.5")
def test_a_step_from_start_to_end():
    stepper = stepper_of(schedule={"kind": "linear", "warmup_steps": 4}, dropout=0.1)
    stepper.model.eval()
    stepper.ramp = (0.0, 4.0)
    first = stepper.step([batch(0), batch(1)], 1)
    same(
        stepper.model.spec_augment.strength,
        0.25,
        "step 1 of a ramp from 0 to 4: self.model.spec_augment.strength says how wide the masks of this step may be",
    )
    rates = {group["lr"] / group["peak_lr"] for group in stepper.optimizer.param_groups}
    same(list(rates), [0.5], "step 1 of 4 of warm-up has half the rate: the schedule is applied before the update")
    expect(stepper.model.training, "the model in training mode", "evaluation mode", "validation has left it otherwise")
    sizes = loss.Sizes.of([batch(0), batch(1)])
    again = stepper_of(schedule={"kind": "linear", "warmup_steps": 4}, dropout=0.1)
    again.schedule.apply(again.optimizer, 1)
    again.seed(1)
    again.model.train()
    total, ctc, attention, correct = again.accumulate([batch(0), batch(1)], sizes).tolist()
    same(
        [first.loss, first.ctc, first.attention, first.token_accuracy],
        [total, ctc / sizes.ctc_tokens, attention / sizes.attention_tokens, correct / sizes.attention_tokens],
        "the loss as it is, the sums divided by the counts of the step (right tokens and cross-entropy by "
        "attention_tokens); with the random numbers of this step, self.seed(step)",
    )
    norm, applied = again.update(1)
    same([first.grad_norm, first.applied], [norm, applied], "what update returns")
    same(
        flat(stepper),
        flat(again),
        "the weights after the step: the rate has to be set before the update that uses it",
    )


def overflowed(module: ModuleType) -> tuple[Tensor, Tensor, float]:
    """Weights before and after an update whose scaled gradient is infinite, and the scaler's factor after it."""
    stepper = stepper_of(module)
    stepper.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    gradients(stepper)
    next(stepper.model.parameters()).grad[0] = float("inf")
    stepper.precision = "fp16"
    before = flat(stepper)
    stepper.update(0)
    return before, flat(stepper), stepper.scaler.get_scale()


def probe_step(m: ModuleType) -> Iterator[Any]:
    for settings in ({}, {"ema_decay": 0.9}, {"schedule": {"kind": "linear", "warmup_steps": 4}}):
        stepper = stepper_of(m, dropout=0.1, **settings)
        stepper.model.eval()
        for number in range(2):
            yield dataclasses.astuple(stepper.step([batch(number)], number + 1))
            yield flat(stepper)[::7]
        if stepper.ema is not None:
            yield torch.cat([tensor.flatten() for tensor in stepper.ema.average.values()])[::7]
    scaled = stepper_of(m)
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    gradients(scaled)
    yield scaled.update(0)
    yield flat(scaled)[::7]
    spoilt = stepper_of(m, ema_decay=0.9)
    gradients(spoilt)
    next(spoilt.model.parameters()).grad[0] = float("nan")
    yield spoilt.update(0)[1]
    yield bool(flat(spoilt).isfinite().all())
    yield sum(parameter.grad is not None and bool(parameter.grad.any()) for parameter in spoilt.model.parameters())
    yield all(bool(tensor.isfinite().all()) for tensor in spoilt.ema.average.values())
    yield overflowed(m)[2]


def gone_on(module: ModuleType, steps: int, stop: int | None = None, **settings: Any) -> Any:
    """A stepper after some steps; with ``stop``, taken over there by a new one through a state."""
    stepper = stepper_of(module, **settings)
    for number in range(steps):
        if number == stop:
            state_dict = copy.deepcopy(stepper.state_dict())
            stepper = stepper_of(module, **settings)
            for parameter in stepper.model.parameters():
                parameter.data.add_(1.0)  # a new model would start elsewhere
            stepper.load_state_dict(state_dict)
        stepper.step([batch(number)], number)
        if number == 1:
            for metric in (0.5, 0.9, 0.9):
                stepper.schedule.after_validation(metric)
    return stepper


SETTINGS = {"ema_decay": 0.5, "schedule": {"kind": "plateau", "warmup_steps": 0, "patience": 2}}


@pytest.mark.exercise("8.6")
def test_the_weights_come_back():
    made = stepper_of()
    made.step([batch()], 0)
    taken = stepper_of()
    taken.load_state_dict(copy.deepcopy(made.state_dict()))
    same(flat(taken), flat(made), "the first thing in a state are the weights", tolerance=0)


@pytest.mark.exercise("8.6")
def test_a_resumed_run_goes_on_as_if_it_had_not_stopped():
    whole, resumed = gone_on(step, 4, **SETTINGS), gone_on(step, 4, stop=2, **SETTINGS)
    same(
        flat(resumed),
        flat(whole),
        "two more steps after the stop give the same weights only if the optimiser's moments and its counter are there "
        "too, and what the schedule has learnt from validations (here the rate was halved)",
        tolerance=0,
    )
    same(
        torch.cat([tensor.flatten() for tensor in resumed.ema.average.values()]),
        torch.cat([tensor.flatten() for tensor in whole.ema.average.values()]),
        "the average of the weights remembers all steps: it cannot be made again from the weights",
        tolerance=0,
    )


@pytest.mark.exercise("8.6")
def test_the_schedule_remembers_the_validations():
    made = gone_on(step, 2, **SETTINGS)
    taken = stepper_of(**SETTINGS)
    taken.load_state_dict(copy.deepcopy(made.state_dict()))
    same(
        [taken.schedule.plateau_factor, taken.schedule.best],
        [0.5, 0.5],
        "a plateau schedule counts bad validations: without its state the rate would jump up again after each restart",
    )


@pytest.mark.exercise("8.6")
def test_the_precision_and_the_scaler_of_the_run():
    made = stepper_of()
    made.precision = "fp16"
    made.scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    taken = stepper_of()
    taken.load_state_dict(copy.deepcopy(made.state_dict()))
    expect(
        taken.precision == "fp16" and taken.scaler.is_enabled() and taken.scaler.get_scale() == 512.0,
        "precision fp16 and a scaler that works, with the factor 512",
        f"{taken.precision}, enabled {taken.scaler.is_enabled()}, factor {taken.scaler.get_scale()}",
        "auto may mean another precision on the machine that the run goes on on, and results would not be comparable",
    )


@pytest.mark.exercise("8.6")
def test_a_state_is_tensors_and_plain_values():
    made = stepper_of()
    made.step([batch()], 0)
    with tempfile.TemporaryDirectory() as folder:
        torch.save(made.state_dict(), Path(folder) / "state.pt")
        loaded = torch.load(Path(folder) / "state.pt", weights_only=True)
    expect(
        set(loaded) == {"model", "optimizer", "schedule", "scaler", "ema", "precision"} and loaded["ema"] is None,
        "the six parts that the docstring names; ema is None without an average",
        sorted(loaded),
        "the file is read with weights_only=True, which runs no code of a stranger; it must not hold whole objects",
    )


def probe_resume(m: ModuleType) -> Iterator[Any]:
    resumed = gone_on(m, 4, stop=2, **SETTINGS)
    yield flat(resumed)[::7]
    yield torch.cat([tensor.flatten() for tensor in resumed.ema.average.values()])[::7]
    yield [resumed.schedule.plateau_factor, resumed.schedule.best]
    made = stepper_of(m)
    made.precision = "fp16"
    made.scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    yield sorted(made.state_dict())
    taken = stepper_of(m)
    taken.load_state_dict(copy.deepcopy(made.state_dict()))
    yield [taken.precision, str(taken.scaler.is_enabled()), float(taken.scaler.get_scale())]


# ---------------------------------------------------------------------------------------------------- 8.7
def runs(row: Tensor) -> list[int]:
    """Lengths of the stretches of True in a row."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.int().numpy(), [0]])))
    return [int(end - start) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def stretches(module: ModuleType, rows: int, extent: float, width: float, count: int = 1, size: int = 12) -> Tensor:
    torch.manual_seed(0)
    return module.random_stretches(torch.full((rows,), int(extent)), torch.full((rows,), width), count, size)


def augmented(
    module: ModuleType = augment, training: bool = True, strength: float = 1.0, batch: int = 200, **settings: Any
) -> Tensor:
    """Masks of many utterances of 20 frames, of which 15 are real, and 10 mel bins: True = hidden."""
    masker = module.SpecAugment(AugmentConfig(**{"freq_masks": 0, "time_masks": 0, **settings})).train(training)
    masker.strength = strength
    torch.manual_seed(0)
    return masker(torch.ones(batch, 20, 10), torch.full((batch,), 15)) == 0


@pytest.mark.exercise("8.7")
def test_one_stretch_of_every_width():
    chosen = stretches(augment, 600, extent=12, width=3.7)
    widths = [runs(row) for row in chosen]
    expect(
        all(len(found) <= 1 for found in widths) and {sum(found) for found in widths} == {0, 1, 2, 3},
        "one stretch in a row, of 0, 1, 2 or 3 positions where the largest width is 3.7",
        sorted({tuple(found) for found in widths}),
        "a width is a whole number, uniform from 0 up to the largest, which must itself be possible",
    )
    counts = [sum(sum(found) == width for found in widths) for width in range(4)]
    expect(min(counts) > 100, "each width about equally often, 150 of 600 times", counts, "uniform means uniform")


@pytest.mark.exercise("8.7")
def test_a_stretch_lies_within_its_extent():
    chosen = stretches(augment, 600, extent=7, width=3.0)
    share = chosen.float().mean(dim=0)
    expect(not chosen[:, 7:].any(), "nothing chosen beyond position 6", share, "behind the extent lies padding")
    expect(
        float(share[0]) > 0.1 and float(share[6]) > 0.1 and 1 in [sum(runs(row)) for row in chosen if row[6]],
        "the first and the last position within the extent chosen too",
        share,
        "a start is uniform over all places at which the stretch fits, the last one included",
    )
    whole = stretches(augment, 600, extent=3, width=3.0)
    expect(
        bool((whole[:, :3].all(dim=1)).any()),
        "the whole extent of 3 chosen now and then, where the largest width is 3",
        whole[:4, :4].int().tolist(),
        "the width is not cut, the start is chosen so that it fits",
    )


@pytest.mark.exercise("8.7")
def test_several_stretches_and_rows_of_their_own():
    chosen = stretches(augment, 200, extent=12, width=1.0, count=4)
    expect(
        chosen.dtype == torch.bool and chosen.shape == (200, 12), "(200, 12) booleans", chosen.shape, "True = chosen"
    )
    expect(
        int(chosen.sum(dim=1).max()) == 4 and len({tuple(row.tolist()) for row in chosen}) > 50,
        "up to 4 positions in a row, and other ones in each row",
        int(chosen.sum(dim=1).max()),
        "each utterance gets its own stretches, or one batch would learn one mask",
    )


@pytest.mark.exercise("8.7")
def test_bands_of_frequency_and_stretches_of_time():
    bands = augmented(freq_masks=1, freq_width=4)
    expect(
        bool((bands[:, :15] == bands[:, :1]).all())
        and bands.any()
        and {sum(runs(row)) for row in bands[:, 0]} <= {0, 1, 2, 3, 4},
        "the same mel bins, at most 4, hidden in all real frames of an utterance",
        sorted({sum(runs(row)) for row in bands[:, 0]}),
        "freq_masks hide bands of the last axis",
    )
    wide = augmented(freq_masks=1, freq_width=40)[:, 0].sum(dim=1)
    expect(
        len(wide.unique()) == 11 and float((wide == 10).float().mean()) < 0.3,
        "bands of 0 to 10 bins, all about equally often, where there are 10 and freq_width is 40",
        [int((wide == number).sum()) for number in range(11)],
        "never more than there are: else most utterances would be hidden whole",
    )
    times = augmented(time_masks=1, time_width=0.2)
    expect(
        bool((times == times[..., :1]).all()) and {sum(runs(row)) for row in times[..., 0]} == {0, 1, 2, 3},
        "all mel bins of at most 0.2 * 15 = 3 frames hidden",
        sorted({sum(runs(row)) for row in times[..., 0]}),
        "time_width is a share of the utterance's own length, 15 here, not of the padded 20",
    )


@pytest.mark.exercise("8.7")
def test_padding_evaluation_and_strength():
    everything = {"freq_masks": 2, "freq_width": 4, "time_masks": 2, "time_width": 0.3}
    expect(
        not augmented(**everything)[:, 15:].any(), "nothing written behind frame 14", "hidden padding",
        "padding stays as it was: whoever writes there lets one utterance's length decide about another's mask",
    )  # fmt: skip
    expect(
        not augmented(training=False, **everything).any(),
        "no masks in evaluation",
        "masks",
        "the test is not made harder",
    )
    expect(not augmented(strength=0.0, **everything).any(), "no masks at strength 0", "masks", "the ramp starts there")
    half = augmented(strength=0.5, freq_masks=1, freq_width=8)
    expect(
        max(sum(runs(row)) for row in half[:, 0]) == 4, "bands of 4 bins at most, at strength 0.5 of 8",
        max(sum(runs(row)) for row in half[:, 0]), "the strength multiplies the largest width of both kinds",
    )  # fmt: skip


def probe_augment(m: ModuleType) -> Iterator[Any]:
    for extent, width, count in ((12, 3.7, 1), (7, 3.0, 1), (12, 1.0, 4), (5, 5.0, 2)):
        chosen = stretches(m, 3000, extent, width, count)
        sums = chosen.sum(dim=1)
        different = len({tuple(row.tolist()) for row in chosen}) > 1
        yield different
        if not different:  # which one it is, is chance
            continue
        yield int(sums.max())
        yield [int(row) for row in chosen.any(dim=0)]
        yield [round(float((sums == number).float().mean()) * 5) for number in range(6)]
    for settings in ({"freq_masks": 1, "freq_width": 4}, {"time_masks": 1, "time_width": 0.2}):
        for strength in (1.0, 0.5):
            hidden = augmented(m, strength=strength, batch=800, **settings)
            different = len({tuple(row.flatten().tolist()) for row in hidden}) > 1
            yield different
            if not different:
                continue
            yield [int(hidden.any(dim=2).sum(dim=1).max()), int(hidden.any(dim=1).sum(dim=1).max())]
            yield [int(value) for value in hidden.any(dim=2).any(dim=0)]
    yield augmented(m, training=False, freq_masks=1, freq_width=4).any()


# ---------------------------------------------------------------------------------------------------- 8.8
LENGTHS = np.random.default_rng(3).integers(20, 200, size=120)


def plans_of(
    module: ModuleType = sampler, lengths: Any = LENGTHS, frames: int = 600, multiple: int = 32, seed: int = 1
):
    return module.bucket_batches(np.asarray(lengths), frames, multiple, np.random.default_rng(seed))


@pytest.mark.exercise("8.8")
def test_six_utterances_worked_by_hand():
    plans = plans_of(lengths=[10, 9, 5, 18, 20, 12], frames=40, multiple=10)
    got = [(plan.frames, list(plan.indices)) for plan in plans]
    expect(
        [(frames, len(indices)) for frames, indices in got] == [(20, 2)] * 3
        and sorted(index for _, indices in got for index in indices) == list(range(6)),
        "three batches of 2 utterances, padded to 20 frames: bucket 1 (up to 10 frames) makes batches of 40 // 10 = 4, "
        "and has only three utterances, so all of them move up to bucket 2, which makes batches of 40 // 20 = 2",
        got,
        "what does not fill a batch moves up to the next bucket",
    )


@pytest.mark.exercise("8.8")
def test_each_utterance_once():
    plans = plans_of()
    expect(
        all(isinstance(plan.indices, list) for plan in plans),
        "a list of indices in each plan",
        type(plans[0].indices).__name__ if plans else "no plan at all",
        "an array is compared and tested for emptiness in other ways than a list; array.tolist() makes one of it",
    )
    got = sorted(index for plan in plans for index in plan.indices)
    expect(
        got == list(range(120)),
        "each of the 120 utterances once",
        f"{len(got)} of them, {len(set(got))} different",
        "left-overs are moved, never dropped: data is dear; and none counts twice",
    )


@pytest.mark.exercise("8.8")
def test_no_batch_is_too_short_or_too_large():
    plans = plans_of()
    expect(
        all(plan.frames % 32 == 0 and max(LENGTHS[plan.indices]) <= plan.frames for plan in plans),
        "padded lengths that are multiples of 32 and not below the longest utterance of the batch",
        [(plan.frames, int(max(LENGTHS[plan.indices]))) for plan in plans][:3],
        "bucket b takes lengths up to b * 32: round up, not down",
    )
    expect(
        all(plan.frames * len(plan.indices) <= 600 for plan in plans),
        "at most 600 frames in a batch, padding included",
        max(plan.frames * len(plan.indices) for plan in plans),
        "batch_frames is a limit: it is what the memory holds",
    )
    long = plans_of(lengths=[900, 40, 50], frames=100, multiple=10)
    expect(
        [0] in [list(plan.indices) for plan in long],
        "an utterance that is longer than batch_frames alone in its batch",
        [list(plan.indices) for plan in long],
        "one utterance at least, or it could never be trained on",
    )


@pytest.mark.exercise("8.8")
def test_batches_are_full_but_one():
    plans = plans_of()
    partial = [plan for plan in plans if len(plan.indices) < max(1, 600 // plan.frames)]
    expect(
        len(partial) <= 1 and all(plan.frames == max(plan.frames for plan in plans) for plan in partial),
        "one batch that is not full at most, of the longest bucket",
        [(plan.frames, len(plan.indices)) for plan in partial],
        "few shapes, and each batch as large as the memory allows: that is what a step's time depends on",
    )
    padding = sampler.padding_share(plans, LENGTHS)
    expect(
        padding < 0.16,
        "less than 16 % of padding with these lengths",
        f"{100 * padding:.1f} %",
        "the longest of a bucket move up, because they waste least there",
    )


def who_moves(module: ModuleType) -> list[Any]:
    """The batches for 9, 3, 15 and 5 frames: three in the first bucket, which makes batches of two, so one moves."""
    return sorted(
        [plan.frames, sorted(plan.indices)] for plan in plans_of(module, [9, 3, 15, 5], frames=20, multiple=10)
    )


@pytest.mark.exercise("8.8")
def test_the_longest_of_a_bucket_moves_up():
    got = who_moves(sampler)
    expect(
        got == [[10, [1, 3]], [20, [0]], [20, [2]]],
        "of 9, 3, 15 and 5 frames, in buckets of 10 and at most 20 in a batch: 3 and 5 together, 9 and 15 alone, "
        "as [frames, indices]: [[10, [1, 3]], [20, [0]], [20, [2]]]",
        got,
        "one of the first three has to move, and 9 frames padded to 20 waste less than 3 or 5 would",
    )


@pytest.mark.exercise("8.8")
def test_in_random_order_that_the_generator_decides():
    first, again, other = plans_of(), plans_of(), plans_of(seed=2)
    expect(first == again, "the same batches for the same generator", "others", "an exact resume depends on it")
    sizes = [plan.frames for plan in first]
    together = {tuple(sorted(plan.indices)) for plan in first} & {tuple(sorted(plan.indices)) for plan in other}
    expect(
        sizes not in (sorted(sizes), sorted(sizes, reverse=True)),
        "long and short batches mixed",
        sizes,
        "from short to long would teach the model short sentences at first and long ones at last, in every epoch",
    )
    expect(
        len(together) < len(first) / 2,
        "other companions with another generator",
        f"{len(together)} of {len(first)} batches are the same",
        "each epoch draws anew which utterances of a bucket share a batch",
    )


def probe_buckets(m: ModuleType) -> Iterator[Any]:
    for lengths, frames, multiple in ((LENGTHS, 600, 32), ([10, 9, 5, 18, 20, 12], 40, 10), ([900, 40, 50], 100, 10)):
        plans = plans_of(m, lengths, frames, multiple)
        array = np.asarray(lengths)
        counted = sorted(index for plan in plans for index in plan.indices)
        yield [len(counted), len(set(counted)), len(plans)]
        yield sorted([plan.frames, len(plan.indices)] for plan in plans)
        yield round(20 * sampler.padding_share(plans, array))
        yield all(max(array[plan.indices]) <= plan.frames for plan in plans)
        sizes = [plan.frames for plan in plans]
        yield len(sizes) > 9 and sizes in (sorted(sizes), sorted(sizes, reverse=True))
    yield who_moves(m)
    one, two = ({tuple(sorted(plan.indices)) for plan in plans_of(m, seed=seed)} for seed in (1, 2))
    yield len(one & two) > len(one) / 2


# ---------------------------------------------------------------------------------------------------- 8.9
VALUES = {"weights": torch.arange(4.0), "step": 3}


def failing_save(*arguments: Any, **options: Any) -> None:
    """A disk that is full after the first bytes."""
    file = arguments[1]
    with suppress(AttributeError):
        file.write(b"half of it")
    if not hasattr(file, "write"):
        Path(file).write_bytes(b"half of it")
    raise OSError(28, "No space left on device")


@pytest.mark.exercise("8.9")
def test_what_was_saved_can_be_read():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "not" / "there" / "state.pt"
        save_state(path, VALUES)
        loaded = state.load_state(path)
        left = sorted(file.name for file in path.parent.iterdir())
    same(loaded["weights"], VALUES["weights"], "what is read is what was written; missing folders are made")
    expect(left == ["state.pt"], "state.pt and nothing beside it", left, "the temporary file was renamed, not copied")


@pytest.mark.exercise("8.9")
def test_a_full_disk_leaves_the_former_state():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.pt"
        save_state(path, VALUES)
        with mock.patch.object(torch, "save", failing_save):
            try:
                save_state(path, {"weights": torch.zeros(4)})
                raised: BaseException | None = None
            except BaseException as error:
                raised = error
        expect(
            isinstance(raised, CheckpointError) and "disk is full" in str(raised),
            "a CheckpointError that says that the disk is full",
            repr(raised),
            "errors that a user can mend are UserErrors, and say what happened",
        )
        left = sorted(file.name for file in Path(folder).iterdir())
        expect(left == ["state.pt"], "state.pt alone", left, "half a temporary file would fill the disk for good")
        try:
            kept = state.load_state(path)["weights"]
        except CheckpointError as error:
            kept = f"{type(error).__name__}: {error}"
    same(kept, VALUES["weights"], "the former state is untouched: write to another name, and rename when all is there")


@pytest.mark.exercise("8.9")
def test_the_rename_is_the_last_thing_that_happens():
    order: list[str] = []
    replace, save, fsync = os.replace, torch.save, os.fsync

    def renamed(source: Any, target: Any) -> None:
        if order[-1:] != ["rename"]:  # Path.replace may itself call os.replace
            order.append("rename")
            with mock.patch.object(os, "replace", replace):
                replace(source, target)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.pt"
        with (
            mock.patch.object(torch, "save", lambda *a, **o: (order.append("save"), save(*a, **o))[1]),
            mock.patch.object(os, "fsync", lambda *a: (order.append("fsync"), fsync(*a))[1]),
            mock.patch.object(os, "replace", renamed),
            mock.patch.object(os, "rename", renamed),
            mock.patch.object(Path, "replace", renamed),
            mock.patch.object(Path, "rename", renamed),
        ):
            save_state(path, VALUES)
    expect(
        order == ["save", "fsync", "rename"],
        "torch.save, then os.fsync, then the rename",
        order,
        "without fsync the name may reach the disk before the content does, and a power cut leaves an empty file",
    )


def probe_save(m: ModuleType) -> Iterator[Any]:
    for failing in (False, True):
        yield from _saved(m, failing)


def _saved(m: ModuleType, failing: bool) -> Iterator[Any]:
    synced: list[int] = []
    fsync = os.fsync
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("state.pt" if failing else "sub/state.pt")
        told = ""
        with mock.patch.object(os, "fsync", lambda file: (synced.append(1), fsync(file))[1]):
            try:
                m.save_state(path, VALUES)
                if failing:
                    with mock.patch.object(torch, "save", failing_save):
                        m.save_state(path, VALUES)
            except BaseException as error:
                told = type(error).__name__
        yield [told, len(synced)]
        yield len(list(path.parent.iterdir())) if path.parent.exists() else -1
        with suppress(BaseException):
            yield m.load_state(path)["weights"]


PROBES = {
    "8.1": probe_smoothing,
    "8.2": probe_schedule,
    "8.3": probe_sizes,
    "8.4": probe_precision,
    "8.5": probe_step,
    "8.6": probe_resume,
    "8.7": probe_augment,
    "8.8": probe_buckets,
    "8.9": probe_save,
}
