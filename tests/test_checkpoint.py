"""Checkpoints: what is saved comes back, and what is wrong with a folder is named."""

import errno
import os

import pytest
import torch
from tiny import tiny_recognizer

from asr_tutorial import checkpoint
from asr_tutorial.checkpoint import find_checkpoint, load_checkpoint, read_info, replaced_folder, save_checkpoint
from asr_tutorial.errors import CheckpointError
from asr_tutorial.tokenizer import CharTokenizer


@pytest.fixture
def recognizer():
    return tiny_recognizer()


@pytest.fixture
def folder(tmp_path, recognizer):
    recognizer.save(tmp_path / "best")
    return tmp_path / "best"


def test_what_is_saved_comes_back(folder, recognizer):
    model, tokenizer, config = load_checkpoint(folder)
    assert config == recognizer.config
    assert tokenizer.tokens == recognizer.tokenizer.tokens
    assert not model.training
    expected = recognizer.model.state_dict()
    assert model.state_dict().keys() == expected.keys()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)


def test_half_stores_weights_as_fp16_and_loads_fp32(tmp_path, recognizer, folder):
    recognizer.model.normalize.mean.fill_(10.0001)  # fp16 has no such number: statistics stay fp32
    recognizer.save(tmp_path / "half", half=True)
    size = os.path.getsize
    assert size(tmp_path / "half" / checkpoint.WEIGHTS) < 0.65 * size(folder / checkpoint.WEIGHTS)
    model, _, _ = load_checkpoint(tmp_path / "half")
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert float(model.normalize.mean[0]) == pytest.approx(10.0001, abs=1e-6)
    weight = model.ctc_head.weight
    torch.testing.assert_close(weight, recognizer.model.ctc_head.weight.half().float(), rtol=0, atol=0)


def test_extra_facts_are_kept(tmp_path, recognizer):
    save_checkpoint(tmp_path / "a", recognizer.model, recognizer.tokenizer, recognizer.config, extra={"step": 7})
    assert read_info(tmp_path / "a") == {"step": 7}


def test_saving_again_replaces_the_checkpoint_and_leaves_nothing_beside_it(tmp_path, folder, recognizer):
    (folder / "stale").write_text("from an older version")
    with torch.no_grad():
        recognizer.model.ctc_head.bias.fill_(3.0)
    recognizer.save(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
    assert not (folder / "stale").exists()
    assert load_checkpoint(folder)[0].ctc_head.bias[0].item() == 3.0


def test_a_run_folder_stands_for_its_best_checkpoint(tmp_path, recognizer):
    recognizer.save(tmp_path / "run" / "checkpoints" / "best")
    (tmp_path / "run" / "config.yaml").write_text("name: run\n")  # a run folder holds one too
    assert find_checkpoint(tmp_path / "run") == tmp_path / "run" / "checkpoints" / "best"


@pytest.mark.parametrize(
    ("code", "message"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "Permission denied.*permissions")]
)
def test_a_full_disk_leaves_the_former_checkpoint(folder, recognizer, monkeypatch, code, message):
    def fail(descriptor):
        raise OSError(code, os.strerror(code))

    before = load_checkpoint(folder)[0].ctc_head.bias.clone()
    with torch.no_grad():
        recognizer.model.ctc_head.bias.fill_(3.0)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CheckpointError, match=rf"(?s)best.*{message}") as caught:
        recognizer.save(folder)
    assert "untouched" in str(caught.value)
    monkeypatch.undo()
    torch.testing.assert_close(load_checkpoint(folder)[0].ctc_head.bias, before, rtol=0, atol=0)
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


def test_an_interrupted_write_leaves_the_former_folder(tmp_path):
    target = tmp_path / "folder"
    with replaced_folder(target) as temporary:
        (temporary / "a").write_text("old")
    interruption = replaced_folder(target)
    (interruption.__enter__() / "a").write_text("new")
    assert not interruption.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert (target / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_crash_between_the_two_renames_is_mended(folder):
    folder.rename(folder.with_name(".best.former"))
    assert load_checkpoint(folder)[2].name == "tiny"


def test_missing_folder_and_missing_files_are_named(tmp_path, folder):
    with pytest.raises(CheckpointError, match=r"nowhere.*no such folder"):
        load_checkpoint(tmp_path / "nowhere")
    (folder / checkpoint.CONFIG).unlink()
    with pytest.raises(CheckpointError, match=r"config\.yaml is missing"):
        load_checkpoint(folder)
    (folder / checkpoint.WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=r"it must hold model\.safetensors"):
        load_checkpoint(folder)


def test_missing_tokenizer_is_named(folder):
    (folder / CharTokenizer.FILE).unlink()
    with pytest.raises(CheckpointError, match="tokenizer cannot be read"):
        load_checkpoint(folder)


def test_truncated_weights_are_named(folder):
    weights = folder / checkpoint.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is corrupt"):
        load_checkpoint(folder)


def test_another_vocabulary_is_named(folder):
    CharTokenizer("AB").save(folder)
    with pytest.raises(CheckpointError, match=r"ctc_head\.bias has shape \(33,\), the model wants \(8,\)"):
        load_checkpoint(folder)


def test_weights_of_another_architecture_are_named(folder):
    (folder / checkpoint.CONFIG).write_text(
        (folder / checkpoint.CONFIG).read_text().replace("encoder_layers: 1", "encoder_layers: 2")
    )
    with pytest.raises(CheckpointError, match=r"encoder\.layers\.1\S+ is missing"):
        load_checkpoint(folder)


def test_checkpoint_files_are_where_they_should_be(folder):
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.yaml", "tokenizer.json"}
