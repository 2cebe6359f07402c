"""Trainings that take a second: tiny models on a few sounds."""

import json
from pathlib import Path
from typing import Any

import torch
from tiny import OVERRIDES

from asr_tutorial.config import Config, load_config
from asr_tutorial.training.state import load_state

TEXTS = ["ONE", "TWO WORDS", "THREE SMALL WORDS", "FOUR", "IT'S FIVE", "SIX"]


def training_config(corpus: Path, *overrides: str, base: str = "tinyspeech") -> Config:
    """A configuration that trains, validates and tests on one corpus of sounds; ``base`` gives the rest."""
    splits = [f"--data.{split}=[{corpus}]" for split in ("train", "dev", "test")]
    settings = [
        f"--data.cache={corpus.parent / 'cache'}",
        "--data.batch_seconds=6",
        "--features.n_mels=20",
        "--training.device=cpu",
        "--training.precision=fp32",
        "--training.max_steps=4",
        "--training.validation_search=ctc",
        "--training.schedule.warmup_steps=2",
        "--training.validate_every=0",
        "--training.ema_decay=0",
    ]
    return load_config(base, [*OVERRIDES, *splits, *settings, *overrides])


def read_metrics(run: Path) -> dict[str, Any]:
    """``metrics.json``, which must be valid JSON: NaN and Infinity are not."""

    def refuse(constant: str) -> None:
        raise ValueError(f"metrics.json holds {constant}")

    return json.loads((run / "metrics.json").read_text(encoding="utf-8"), parse_constant=refuse)


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The weights at the end of a run, not averaged."""
    return load_state(run / "checkpoints" / "latest" / "state.pt")["stepper"]["model"]


def differing(first: Any, second: Any, path: str = "") -> list[str]:
    """Where two nested states differ; tensors must be equal bit for bit."""
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [path]
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        return [name for key in first for name in differing(first[key], second[key], f"{path}.{key}")]
    if isinstance(first, list | tuple):
        assert len(first) == len(second)
        return [
            name for i, pair in enumerate(zip(first, second, strict=True)) for name in differing(*pair, f"{path}.{i}")
        ]
    return [] if first == second else [path]
