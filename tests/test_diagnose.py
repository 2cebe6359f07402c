"""Planted NaNs and infinities are found where they are; memory is counted by module."""

import pytest
import torch
from tiny import sound_corpus
from tiny_training import TEXTS, training_config
from torch import nn
from typer.testing import CliRunner

from asr_tutorial.cli import app
from asr_tutorial.config import to_yaml
from asr_tutorial.errors import CheckpointError, TrainingError
from asr_tutorial.model import count_parameters
from asr_tutorial.training import train
from asr_tutorial.training.diagnose import Memory, Report, diagnose, examine
from asr_tutorial.training.setup import prepare
from asr_tutorial.training.state import load_state, save_state
from asr_tutorial.training.step import Stepper
from asr_tutorial.training.watch import Watch

TWO_LAYERS = ["--model.encoder_layers=2", "--training.ema_decay=0.9"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return sound_corpus(tmp_path_factory.mktemp("diagnose") / "tiny", TEXTS)


@pytest.fixture
def stepper_and_batches(corpus):
    config = training_config(corpus, *TWO_LAYERS)
    data, model = prepare(config, progress=False)
    return Stepper(config, data.tokenizer, model, total_steps=10), list(data.train.batches(0))


class Spoiling(nn.Module):
    """A module with something behind it that spoils its output or its gradient."""

    def __init__(self, module: nn.Module, spoil) -> None:
        super().__init__()
        self.module = module
        self.spoil = spoil

    def forward(self, x):
        return self.spoil(self.module(x))


def test_a_sound_step(stepper_and_batches):
    stepper, batches = stepper_and_batches
    before = stepper.model.ctc_head.weight.detach().clone()
    report = examine(stepper, batches)
    assert report.finding is None
    assert report.batches == len(batches)
    assert not torch.equal(stepper.model.ctc_head.weight, before), "the steps are real"
    assert "all finite" in report.text()
    hooks = [module for module in stepper.model.modules() if module._forward_hooks or module._forward_pre_hooks]
    assert not hooks


def test_memory_by_module(stepper_and_batches):
    stepper, batches = stepper_and_batches
    small, large = sorted(batches, key=lambda batch: batch.features.numel())[:: len(batches) - 1]
    report = examine(stepper, [large])
    parts = report.memory
    count = count_parameters(stepper.model)
    assert sum(part.parameters for part in parts.values()) == 4 * count
    assert sum(part.gradients for part in parts.values()) == 4 * count
    # Two moments and the average for each parameter, and Adam's step counter for each tensor.
    tensors = len(list(stepper.model.parameters()))
    assert sum(part.optimizer for part in parts.values()) == 3 * 4 * count + 4 * tensors
    assert parts["encoder.layers.0"].activations == parts["encoder.layers.1"].activations > 0
    assert parts["encoder.layers.0"].parameters == 4 * count_parameters(stepper.model.encoder.layers[0])
    assert parts["loss"].activations > 0
    again = examine(stepper, [small])
    total, smaller = (sum(part.activations for part in each.memory.values()) for each in (report, again))
    assert smaller < total
    assert report.batch_seconds == pytest.approx(0.01 * large.features[..., 0].numel())


def test_activations_are_what_autograd_keeps():
    """A linear layer keeps its input for the gradient of its weights; a ReLU keeps its output."""
    model = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))
    watch = Watch(model)
    with watch.hooks():
        model(torch.randn(7, 10)).sum().backward()
    assert watch.saved == {"0": 4 * 7 * 10, "1": 4 * 7 * 20}  # the second linear layer's input is kept already


def test_the_advice_plans_for_the_memory_that_there_is():
    report = Report(batches=1, batch_seconds=10.0, available=int(10e9))
    report.memory = {"a": Memory(parameters=int(5e8), activations=int(1e9))}
    text = report.text()
    assert "activations: 100.00 MB for each second of a batch" in text
    assert "10.0 GB hold batches of about 80 s" in text  # 0.85 * 10 GB - 0.5 GB = 8 GB


def test_features_that_are_not_finite(stepper_and_batches):
    stepper, batches = stepper_and_batches
    batches[1].features[0, 3, 2] = float("nan")
    report = examine(stepper, batches)
    assert report.batches == 2
    assert (report.finding.place, report.finding.module) == ("features", batches[1].ids[0])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite(stepper_and_batches, value):
    stepper, batches = stepper_and_batches
    with torch.no_grad():
        stepper.model.encoder.layers[1].norm1.weight[2] = value
    found = examine(stepper, batches).finding
    assert (found.place, found.module) == ("weights", "encoder.layers.1.norm1.weight")
    assert "earlier checkpoint" in found.advice


def test_the_first_module_whose_output_is_not_finite(stepper_and_batches):
    stepper, batches = stepper_and_batches
    layer = stepper.model.encoder.layers[1]
    layer.norm1 = Spoiling(layer.norm1, lambda x: x + (x - x.detach()).log())  # log(0)
    report = examine(stepper, batches)
    assert (report.finding.place, report.finding.module) == ("forward", "encoder.layers.1.norm1")
    assert "Spoiling" in report.text()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: x + (x - x.detach()).sqrt(),  # the root of 0 is 0, its gradient infinite
        lambda x: torch.where(x == x, x, (x - x).log()),  # never chosen, but 0 times infinity on the way back
    ],
)
def test_the_first_module_whose_gradient_is_not_finite(stepper_and_batches, spoil):
    stepper, batches = stepper_and_batches
    layer = stepper.model.encoder.layers[1]
    layer.norm1 = Spoiling(layer.norm1, spoil)
    found = examine(stepper, batches).finding
    assert (found.place, found.module) == ("backward", "encoder.layers.1.norm1")
    assert "torch.where" in found.advice


def test_a_gradient_that_the_loss_spoils(stepper_and_batches, monkeypatch):
    stepper, batches = stepper_and_batches
    mean = stepper.criterion.mean

    def spoilt(totals, sizes):
        loss = mean(totals, sizes)
        return loss + (loss - loss.detach()).sqrt()

    monkeypatch.setattr(stepper.criterion, "mean", spoilt)
    found = examine(stepper, batches).finding
    assert found.place == "backward"
    assert found.module in ("model", "ctc_head", "decoder", "decoder.out")
    assert "comes from behind it" in found.text


def test_losses_that_cannot_be(stepper_and_batches):
    stepper, batches = stepper_and_batches
    batch = batches[0]
    batch.feature_lengths[:] = 8  # two encoder frames for all these letters
    found = examine(stepper, [batch]).finding
    assert found.place == "loss"
    assert batch.ids[0] in found.text


def test_an_update_that_spoils_the_weights(stepper_and_batches):
    stepper, batches = stepper_and_batches
    for group in stepper.optimizer.param_groups:
        group["peak_lr"] = 1e39
    found = examine(stepper, batches).finding
    assert found.place == "update"
    assert "lower training.optimizer.lr" in found.advice


def test_a_gpu_that_is_full(stepper_and_batches, monkeypatch):
    stepper, batches = stepper_and_batches

    def full(x):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    layer = stepper.model.encoder.layers[1]
    layer.norm2 = Spoiling(layer.norm2, full)
    report = examine(stepper, batches)
    assert (report.finding.place, report.finding.module) == ("memory", "encoder.layers.1.norm2")
    assert "halve data.batch_seconds" in report.text()


# ------------------------------------------------------------------------------------------------ the command


def run(*arguments):
    return CliRunner().invoke(app, ["diagnose", *map(str, arguments)])


def test_the_command_on_a_configuration(corpus, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(training_config(corpus, *TWO_LAYERS)), encoding="utf-8")
    result = run("--config", path, "--batches", 2, "--memory", 16)
    assert result.exit_code == 0, result.output
    assert "2 batches: features, outputs, losses, gradients and weights are all finite" in result.output
    assert "encoder.layers.1" in result.output
    assert "16.0 GB hold batches of about" in result.output
    assert not list(tmp_path.glob("runs*"))


def test_the_command_on_a_run(corpus, tmp_path):
    folder = tmp_path / "run"
    train(training_config(corpus, *TWO_LAYERS), folder, progress=False)
    result = run("--checkpoint", folder, "--batches", 1)
    assert result.exit_code == 0, result.output
    state = load_state(folder / "checkpoints" / "latest" / "state.pt")
    state["stepper"]["model"]["encoder.layers.0.norm1.bias"][0] = float("nan")
    save_state(folder / "checkpoints" / "latest" / "state.pt", state)
    result = run("-m", folder)
    assert result.exit_code == 1
    assert "weights: encoder.layers.0.norm1.bias holds values that are not finite" in result.output
    # Its best checkpoint is sound.
    report = diagnose(checkpoint=folder / "checkpoints" / "best", batches=1, progress=False)
    assert report.finding is None
    other = sound_corpus(tmp_path / "other", ["XYZ", "QQ"])
    with pytest.raises(CheckpointError, match="does not fit its training data"):
        diagnose(checkpoint=folder / "checkpoints" / "best", overrides=[f"--data.train=[{other}]"], progress=False)
    state["stepper"]["model"].pop("ctc_head.bias")
    save_state(folder / "checkpoints" / "latest" / "state.pt", state)
    with pytest.raises(CheckpointError, match=r"state\.pt does not fit"):
        diagnose(checkpoint=folder, progress=False)


def test_one_of_the_two():
    with pytest.raises(TrainingError, match="either a configuration or a checkpoint"):
        diagnose()
