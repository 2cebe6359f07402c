"""Logging to Weights & Biases: without a network, and without the package."""

import logging
import sys
import time

import pytest
from tiny_training import training_config

from asr_tutorial.errors import ConfigError
from asr_tutorial.training import train


@pytest.fixture
def config(tiny_corpus):
    return training_config(tiny_corpus, "--training.wandb=true", "--training.max_steps=1", "--data.test=[]")


def test_a_run_is_logged_offline(config, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(config, tmp_path / "run", progress=False)
    (run,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    (record,) = run.glob("*.wandb")
    parts = (b"asr-tutorial", b"max_steps", f"{config.data.dev[0]}/cer".encode())
    # A process of its own writes the file, and on a busy machine it may still be at it.
    end = time.monotonic() + 60
    while not all(part in record.read_bytes() for part in parts) and time.monotonic() < end:
        time.sleep(0.2)
    content = record.read_bytes()
    for part in parts:
        assert part in content, part


def test_without_the_package_nothing_has_been_made_yet(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    handlers = list(logging.getLogger("asr_tutorial").handlers)
    with pytest.raises(ConfigError, match=r"training\.wandb is true but .* pip install 'asr-tutorial\[wandb\]'"):
        train(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    assert logging.getLogger("asr_tutorial").handlers == handlers
