"""Parameter groups, schedules, and one optimiser step: accumulation, clipping, gradients that are not finite."""

import math

import pytest
import torch
from tiny import tiny_config

from asr_tutorial.config import Config, OptimizerConfig, ScheduleConfig, from_dict
from asr_tutorial.dataset import Batch, collate
from asr_tutorial.errors import ConfigError
from asr_tutorial.model import build_model
from asr_tutorial.synthetic import SyntheticTask
from asr_tutorial.training.optimizer import Schedule, build_optimizer, parameter_groups
from asr_tutorial.training.step import RunningMeans, Stepper, StepResult, pick_precision, ramp

TASK = SyntheticTask(letters=5, min_frames=10, max_frames=14)


def config_of(**training) -> Config:
    """A tiny model without dropout and masks; the rate is constant."""
    config = tiny_config(dropout=0.0, encoder_layers=2)
    base = {"precision": "fp32", "device": "cpu", "schedule": {"kind": "constant", "warmup_steps": 0}}
    return from_dict(
        Config,
        {"model": vars(config.model), "augment": {"freq_masks": 0, "time_masks": 0}, "training": {**base, **training}},
    )


def stepper_of(total_steps: int = 10, **training) -> Stepper:
    config = config_of(**training)
    torch.manual_seed(0)
    return Stepper(config, TASK.tokenizer, build_model(config, TASK.tokenizer.vocab_size), total_steps)


def names_of(model: torch.nn.Module, groups: list[dict]) -> dict[str, dict]:
    """The group that each parameter is in."""
    by_id = {id(parameter): group for group in groups for parameter in group["params"]}
    return {name: by_id[id(parameter)] for name, parameter in model.named_parameters()}


# Parameter groups


@pytest.fixture
def model():
    return build_model(config_of(), TASK.tokenizer.vocab_size)


def test_matrices_decay_and_nothing_else_does(model):
    groups = parameter_groups(model, OptimizerConfig(lr=0.1, weight_decay=0.01))
    by_name = names_of(model, groups)
    assert len(by_name) == sum(len(group["params"]) for group in groups)  # each parameter once
    for name in (
        "encoder.subsampling.convs.0.weight",
        "encoder.layers.1.self_attention.q_proj.weight",
        "decoder.out.weight",
    ):
        assert by_name[name]["weight_decay"] == 0.01, name
    for name in ("ctc_head.bias", "encoder.norm.weight", "decoder.layers.0.norm1.bias", "decoder.embedding.weight"):
        assert by_name[name]["weight_decay"] == 0, name
    assert {group["lr"] for group in groups} == {0.1}


def test_learned_positions_do_not_decay():
    config = tiny_config(positional="learned")
    network = build_model(config, TASK.tokenizer.vocab_size)
    by_name = names_of(network, parameter_groups(network, OptimizerConfig()))
    positions = [name for name in by_name if "positional" in name]
    assert len(positions) == 2
    assert all(by_name[name]["weight_decay"] == 0 for name in positions)


def test_patterns_give_groups_their_own_rate(model):
    groups = {r"^decoder\.": 0.5, r"embedding": 0.1}
    by_name = names_of(model, parameter_groups(model, OptimizerConfig(lr=1.0, groups=groups)))
    assert by_name["decoder.out.weight"]["lr"] == 0.5
    assert by_name["decoder.embedding.weight"]["lr"] == pytest.approx(0.05)  # both patterns match
    assert by_name["encoder.norm.weight"]["lr"] == 1.0


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("^decodr", r"no parameter name matches \^decodr; names are such as encoder\.sub"),
        ("(", "not a regular expression"),
    ],
)
def test_a_pattern_that_matches_nothing_is_an_error(model, pattern, message):
    with pytest.raises(ConfigError, match=rf"training\.optimizer\.groups.*{message}"):
        parameter_groups(model, OptimizerConfig(groups={pattern: 0.5}))


def test_layer_decay_lowers_the_rate_of_lower_layers(model):
    by_name = names_of(model, parameter_groups(model, OptimizerConfig(lr=1.0, layer_decay=0.5)))
    rates = {name: by_name[f"{name}.weight"]["lr"] for name in (
        "encoder.subsampling.out", "encoder.layers.0.norm1", "encoder.layers.1.norm1", "encoder.norm",
        "decoder.embedding", "decoder.layers.0.norm1", "decoder.out", "ctc_head",
    )}  # fmt: skip
    assert list(rates.values()) == [0.25, 0.5, 1, 1, 0.5, 1, 1, 1]


def test_frozen_parameters_are_in_no_group(model):
    model.encoder.requires_grad_(False)
    groups = parameter_groups(model, OptimizerConfig())
    trained = sum(parameter.numel() for group in groups for parameter in group["params"])
    assert trained == sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


# Schedules


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # Steps 0, 1, 3 (the last of the warm-up), 4, 9, 14 and, after the end, 99.
        ("linear", [0.25, 0.5, 1, 1, 0.6, 0.2, 0.2]),
        ("cosine", [0.25, 0.5, 1, 1, 0.6, 0.2, 0.2]),
        ("exponential", [0.25, 0.5, 1, 1, math.sqrt(0.2), 0.2, 0.2]),
        ("noam", [0.25, 0.5, 1, math.sqrt(4 / 5), math.sqrt(4 / 10), math.sqrt(4 / 15), 0.2]),
        ("constant", [0.25, 0.5, 1, 1, 1, 1, 1]),
        ("plateau", [0.25, 0.5, 1, 1, 1, 1, 1]),
    ],
)
def test_schedules_at_known_steps(kind, expected):
    schedule = Schedule(ScheduleConfig(kind=kind, warmup_steps=4, final=0.2), total_steps=14)
    assert [schedule.factor(step) for step in (0, 1, 3, 4, 9, 14, 99)] == pytest.approx(expected)


def test_cosine_is_flat_at_both_ends():
    schedule = Schedule(ScheduleConfig(kind="cosine", warmup_steps=0, final=0.0), total_steps=100)
    assert schedule.factor(10) == pytest.approx(0.5 + 0.5 * math.cos(math.pi * 0.1))
    assert schedule.factor(50) == pytest.approx(0.5)


def test_without_warm_up_the_first_step_has_the_peak_and_the_last_step_still_learns():
    for kind in ("linear", "cosine", "exponential", "noam", "constant", "plateau"):
        schedule = Schedule(ScheduleConfig(kind=kind, warmup_steps=0, final=0.0), total_steps=10)
        assert schedule.factor(0) == 1, kind
        assert 0 < schedule.factor(9) <= 1, kind


def test_every_group_keeps_its_share_of_the_rate(model):
    optimizer = build_optimizer(model, OptimizerConfig(lr=1.0, groups={"decoder": 0.1}))
    schedule = Schedule(ScheduleConfig(kind="linear", warmup_steps=4), total_steps=10)
    schedule.apply(optimizer, 1)
    assert {group["lr"] for group in optimizer.param_groups} == {0.5, 0.05}
    schedule.apply(optimizer, 3)
    assert {group["lr"] for group in optimizer.param_groups} == {1.0, 0.1}


def test_plateau_falls_after_patience_validations_and_goes_on_after_a_resume():
    config = ScheduleConfig(kind="plateau", warmup_steps=0, factor=0.5, patience=2, final=0.2)
    schedule = Schedule(config, total_steps=100)
    factors = []
    for metric in (0.9, 0.8, 0.8, 0.85, 0.7, 0.7):
        schedule.after_validation(metric)
        factors.append(schedule.factor(5))
    assert factors == [1, 1, 1, 0.5, 0.5, 0.5]  # equal is no improvement, and an improvement starts the count anew
    resumed = Schedule(config, total_steps=100)
    resumed.load_state_dict(schedule.state_dict())
    assert resumed.factor(5) == 0.5
    for expected in (0.25, 0.25, 0.2, 0.2):  # one bad validation was counted before; final is the least share
        resumed.after_validation(0.7)
        assert resumed.factor(5) == expected


def test_other_schedules_do_not_listen_to_validations():
    schedule = Schedule(ScheduleConfig(kind="constant", warmup_steps=0, patience=1), total_steps=10)
    for _ in range(5):
        schedule.after_validation(1.0)
    assert schedule.factor(5) == 1


# One optimiser step


def gradients_of(stepper: Stepper, batches: list[Batch]) -> tuple[StepResult, dict[str, torch.Tensor]]:
    """The gradients that the optimiser is given."""
    gradients = {}

    def look(*_):
        gradients.update({name: p.grad.clone() for name, p in stepper.model.named_parameters() if p.grad is not None})

    stepper.optimizer.register_step_pre_hook(look)
    return stepper.step(batches, 0), gradients


def test_accumulated_batches_equal_one_large_batch():
    generator = torch.Generator().manual_seed(3)
    examples = [TASK.example(generator) for _ in range(6)]
    parts = [examples[:1], examples[1:3], examples[3:]]  # unequal numbers of utterances, tokens and frames
    assert len({sum(len(example.tokens) for example in part) for part in parts}) == 3
    whole, pieces = stepper_of(optimizer={"clip": 0}), stepper_of(optimizer={"clip": 0})
    one, expected = gradients_of(whole, [collate(examples, TASK.tokenizer)])
    several, found = gradients_of(pieces, [collate(part, TASK.tokenizer, frame_multiple=8) for part in parts])
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-6)
    for figure in ("loss", "ctc", "attention", "grad_norm", "token_accuracy"):
        assert getattr(several, figure) == pytest.approx(getattr(one, figure), abs=1e-5), figure
    # Further steps: the weights stay together too.
    for step in range(1, 4):
        whole.step([collate(examples, TASK.tokenizer)], step)
        pieces.step([collate(part, TASK.tokenizer) for part in parts], step)
    for (name, left), right in zip(whole.model.named_parameters(), pieces.model.parameters(), strict=True):
        # Where a gradient is nothing but rounding errors, AdamW makes whole steps of them.
        if float(expected[name].abs().max()) > 1e-4:
            torch.testing.assert_close(left, right, rtol=0, atol=1e-3, msg=name)


def test_clipping_bounds_the_gradient():
    batch = TASK.batch(4)
    free, gradients = gradients_of(stepper_of(optimizer={"clip": 0}), [batch])
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients.values()))
    assert free.grad_norm == pytest.approx(norm, rel=1e-4)
    bound = norm / 3
    clipped, gradients = gradients_of(stepper_of(optimizer={"clip": bound}), [batch])
    assert clipped.grad_norm == pytest.approx(norm, rel=1e-4)  # the norm before clipping is what is reported
    after = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients.values()))
    assert after == pytest.approx(bound, rel=1e-3)


def test_a_gradient_that_is_not_finite_is_not_applied():
    stepper = stepper_of(ema_decay=0.9)
    stepper.step([TASK.batch(2)], 0)
    before = {name: tensor.clone() for name, tensor in stepper.model.state_dict().items()}
    average = {name: tensor.clone() for name, tensor in stepper.ema.average.items()}
    moments = [state["exp_avg"].clone() for state in stepper.optimizer.state.values()]
    bad = TASK.batch(2)
    bad.features[0, 3, 5] = math.nan
    result = stepper.step([TASK.batch(2, seed=2), bad], 1)
    assert not result.applied
    assert not math.isfinite(result.grad_norm)
    for name, tensor in stepper.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(torch.equal(average[name], tensor) for name, tensor in stepper.ema.average.items())
    moments_now = [state["exp_avg"] for state in stepper.optimizer.state.values()]
    assert all(map(torch.equal, moments, moments_now))
    # Nothing of it is left for the next step.
    assert all(parameter.grad is None for parameter in stepper.model.parameters())
    assert stepper.step([TASK.batch(2)], 2).applied


def test_steps_that_were_not_applied_do_not_enter_the_means():
    means = RunningMeans()
    batches = [TASK.batch(2)]
    means.add(StepResult(2.0, 3.0, 1.0, 5.0, 0.5, applied=True), batches, seconds=0.5, frame_seconds=0.01)
    means.add(StepResult(math.nan, math.nan, math.nan, math.inf, 0.0, applied=False), batches, 0.5, 0.01)
    values = means.means()
    assert (values["loss"], values["ctc"], values["attention"], values["grad_norm"]) == (2.0, 3.0, 1.0, 5.0)
    audio = 2 * 0.01 * int(batches[0].feature_lengths.sum())
    assert values["audio_seconds_per_second"] == pytest.approx(audio / 1.0)
    assert values["padding"] == pytest.approx(batches[0].padding_share)
    assert set(RunningMeans().means().values()) == {0.0, 1.0}  # no steps: nothing is divided by zero


def test_the_same_step_gives_the_same_weights_whatever_was_drawn_before():
    first, second = stepper_of(), stepper_of()
    for stepper in (first, second):
        stepper.model.encoder.dropout.p = 0.5
    torch.rand(100)
    first.step([TASK.batch(2)], 5)
    torch.rand(7)
    second.step([TASK.batch(2)], 5)
    for left, right in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(left, right)


def test_the_ramp_of_augmentation():
    assert [ramp(step, 10, 20) for step in (0, 10, 15, 20, 30)] == [0, 0, 0.5, 1, 1]
    assert ramp(0, 0, 0) == 1  # none: full strength from the first step
    assert [ramp(step, 10, 10) for step in (0, 9, 10)] == [0, 0, 1]  # a jump


def test_augmentation_gets_stronger_over_the_run():
    config = config_of()
    config.augment.ramp_start, config.augment.ramp_end = 0.0, 0.5
    stepper = Stepper(config, TASK.tokenizer, build_model(config, TASK.tokenizer.vocab_size), total_steps=8)
    strengths = []
    for step in (0, 2, 4, 7):
        stepper.step([TASK.batch(1)], step)
        strengths.append(stepper.model.spec_augment.strength)
    assert strengths == [0, 0.5, 1, 1]


# Precision


def test_precision_is_what_is_asked_for_and_auto_depends_on_the_machine(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert [pick_precision(name, cpu) for name in ("fp32", "bf16", "fp16")] == ["fp32", "bf16", "fp16"]
    for fast, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda fast=fast: fast, raising=False)
        assert pick_precision("auto", cpu) == expected
    for supported, expected in ((True, "bf16"), (False, "fp16")):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True, supported=supported: supported
        )
        assert pick_precision("auto", cuda) == expected


def test_bf16_gives_nearly_the_loss_of_fp32_and_keeps_fp32_weights():
    batch = TASK.batch(4)
    full, half = stepper_of(), stepper_of(precision="bf16")
    expected, found = full.step([batch], 0), half.step([batch], 0)
    assert found.applied
    assert found.loss == pytest.approx(expected.loss, rel=0.02)
    assert found.loss != expected.loss
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.float32}


def test_a_state_brings_its_precision_along():
    source, target = stepper_of(precision="bf16"), stepper_of(precision="fp32")
    source.step([TASK.batch(1)], 0)
    target.load_state_dict(source.state_dict())
    assert target.precision == "bf16"
    other = stepper_of(precision="fp16")  # as where "auto" finds a GPU without bf16
    other.load_state_dict(source.state_dict())
    assert other.precision == "bf16"
    assert not other.scaler.is_enabled()
