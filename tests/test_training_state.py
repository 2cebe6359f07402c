"""What a run needs to go on: state files, averages of weights."""

import errno
import os

import pytest
import torch
from torch import nn

from asr_tutorial.errors import CheckpointError
from asr_tutorial.training import state as state_module
from asr_tutorial.training.state import Ema, average_weights, load_state, save_state


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))


def change(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))


# Averages


def test_the_average_follows_its_formula(model):
    ema = Ema(model, decay=0.9)
    expected = [parameter.detach().clone().double() for parameter in model.parameters()]
    for step in range(150):
        change(model)
        ema.update(model, step)
        decay = min(0.9, (1 + step) / (10 + step))
        for average, parameter in zip(expected, model.parameters(), strict=True):
            average.mul_(decay).add_(parameter.detach(), alpha=1 - decay)
    for average, found in zip(expected, ema.average.values(), strict=True):
        torch.testing.assert_close(found.double(), average, rtol=1e-5, atol=1e-5)


def test_two_swaps_restore_the_weights_exactly(model):
    ema = Ema(model, decay=0.9)
    change(model)
    ema.update(model, 100)
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    averages = [average.clone() for average in ema.average.values()]
    ema.swap(model)
    assert all(map(torch.equal, averages, model.parameters()))
    ema.swap(model)
    assert all(map(torch.equal, weights, model.parameters()))
    assert all(map(torch.equal, averages, ema.average.values()))


def test_the_average_is_no_view_of_the_weights(model):
    ema = Ema(model, decay=0.9)
    before = [average.clone() for average in ema.average.values()]
    change(model)
    assert all(map(torch.equal, before, ema.average.values()))


def test_mean_of_several_states():
    states = [{"weight": torch.full((2,), float(value)), "count": torch.tensor(value)} for value in (1, 2, 6)]
    averaged = average_weights(states)
    assert averaged["weight"].tolist() == [3.0, 3.0]
    assert averaged["count"].item() == 1  # integers are no quantities to average
    assert average_weights(states[:1])["weight"].tolist() == [1.0, 1.0]


# The state file


STATE = {"model": {"weight": torch.arange(5.0)}, "progress": {"step": 3, "best": float("inf")}, "ema": None}


def test_what_is_saved_comes_back(tmp_path):
    path = tmp_path / "new" / "folder" / "state.pt"
    save_state(path, STATE)
    found = load_state(path)
    assert torch.equal(found["model"]["weight"], STATE["model"]["weight"])
    assert (found["progress"], found["ema"]) == (STATE["progress"], None)
    assert [file.name for file in path.parent.iterdir()] == ["state.pt"]


@pytest.mark.parametrize(
    ("code", "reason"), [(errno.ENOSPC, "the disk is full.*free some space"), (errno.EACCES, "Permission denied")]
)
def test_a_write_that_fails_leaves_the_former_state(tmp_path, monkeypatch, code, reason):
    path = tmp_path / "state.pt"
    save_state(path, STATE)

    def fail(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CheckpointError, match=rf"(?s){path}.*{reason}") as caught:
        save_state(path, {"model": {}})
    assert "untouched" in str(caught.value)
    assert torch.equal(load_state(path)["model"]["weight"], STATE["model"]["weight"])
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_device_that_is_really_full(tmp_path):
    path = tmp_path / "state.pt"
    save_state(path, STATE)
    (tmp_path / ".state.pt.writing").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match="the disk is full"):
        save_state(path, {"model": torch.zeros(100_000)})
    assert torch.equal(load_state(path)["model"]["weight"], STATE["model"]["weight"])


def test_a_process_that_dies_while_writing_leaves_the_former_state(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def die(value, file):
        file.write(b"half of a")
        raise Killed

    path = tmp_path / "state.pt"
    save_state(path, STATE)
    monkeypatch.setattr(state_module.torch, "save", die)
    with pytest.raises(Killed):
        save_state(path, {})
    monkeypatch.undo()
    assert load_state(path)["progress"]["step"] == 3
    save_state(path, {"progress": {"step": 4}})  # what was left behind is in nobody's way
    assert load_state(path)["progress"]["step"] == 4


@pytest.mark.parametrize("content", [b"", b"not a state", b"PK\x03\x04 cut off"], ids=["empty", "text", "cut"])
def test_a_corrupt_state_is_named(tmp_path, content):
    path = tmp_path / "state.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{path} cannot be read \(.+\): start a new run"):
        load_state(path)


def test_a_state_cut_short_is_named(tmp_path):
    path = tmp_path / "state.pt"
    save_state(path, STATE)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_state(path)


def test_a_state_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made by the state"),)

    torch.save({"progress": Evil()}, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_state(tmp_path / "state.pt")
    assert not (tmp_path / "made by the state").exists()


def test_no_state_at_all(tmp_path):
    with pytest.raises(CheckpointError, match=r"state\.pt does not exist.*start it again in another folder"):
        load_state(tmp_path / "state.pt")
