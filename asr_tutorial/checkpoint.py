"""Checkpoints: a folder that holds all that is needed to recognise speech.

    model.safetensors    weights and the statistics of feature normalisation
    config.yaml          every setting, features and architecture among them
    tokenizer files      written by the tokenizer itself
    info.json            free-form facts: training step, error rates, ... (optional)

What training needs to go on (optimiser, schedule, random states) is kept elsewhere by the trainer.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import nn

from asr_tutorial.config import Config, LanguageModelConfig, load_config, read_yaml, to_yaml
from asr_tutorial.errors import CheckpointError, UserError
from asr_tutorial.model import build_model
from asr_tutorial.tokenizer import Tokenizer, load_tokenizer

WEIGHTS = "model.safetensors"
CONFIG = "config.yaml"
INFO = "info.json"


@contextmanager
def replaced_folder(folder: str | Path) -> Iterator[Path]:
    """Write a folder all or nothing: fill the one that is given, and on leaving it takes the place of ``folder``.

    The files are flushed to disk before the exchange. A crash or a full disk leaves the former folder as it was;
    a crash between the two renames of the exchange leaves it under the name that :func:`recover_folder` looks for.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written.
    """
    folder = Path(folder)
    temporary, former = _temporary(folder), _former(folder)
    try:
        recover_folder(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        for leftover in (temporary, former):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary.mkdir()
        yield temporary
        for path in [*temporary.rglob("*"), temporary]:
            _flush(path)
        if folder.exists():
            folder.rename(former)
        temporary.rename(folder)
        _flush(folder.parent)
        shutil.rmtree(former, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        recover_folder(folder)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else (error.strerror or str(error))
        remedy = "free some space" if full else "check the path and its permissions"
        kept = f"; the former checkpoint in {folder} is untouched" if folder.exists() else ""
        raise CheckpointError(f"cannot write checkpoint {folder}: {reason}{kept}; {remedy} and run again") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def recover_folder(folder: str | Path) -> None:
    """Undo an exchange of folders that a crash interrupted half-way; does nothing otherwise."""
    folder = Path(folder)
    if not folder.exists() and _former(folder).exists():
        _former(folder).rename(folder)


def save_checkpoint(
    folder: str | Path,
    model: nn.Module,
    tokenizer: Tokenizer,
    config: Config | LanguageModelConfig,
    half: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write weights, configuration and tokenizer, all or nothing.

    Args:
        folder: where to; a checkpoint that lies there is replaced at the end.
        model: built by :func:`asr_tutorial.model.build_model` from ``config`` (not a compiled wrapper of it), or a
            language model built from ``config.model``.
        tokenizer: its files are written into the folder.
        config: written as ``config.yaml``.
        half: store trainable weights as fp16, which halves the file; statistics of normalisation stay fp32.
        extra: facts to keep beside the weights, JSON-serialisable.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; the former checkpoint is untouched.
    """
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    # safetensors refuses tensors that share memory (tied weights), hence the copies.
    weights = {
        name: (tensor.half() if half and name in parameters else tensor).detach().cpu().clone().contiguous()
        for name, tensor in model.state_dict().items()
    }
    with replaced_folder(folder) as temporary:
        (temporary / WEIGHTS).write_bytes(serialize(weights, metadata={"format": "pt"}))
        (temporary / CONFIG).write_text(to_yaml(config), encoding="utf-8")
        tokenizer.save(temporary)
        if extra is not None:
            (temporary / INFO).write_text(json.dumps(dict(extra), indent=2) + "\n", encoding="utf-8")


def load_checkpoint(folder: str | Path, device: str | torch.device = "cpu") -> tuple[nn.Module, Tokenizer, Config]:
    """Rebuild a model from its folder.

    Args:
        folder: a checkpoint folder, or a run folder, whose best checkpoint is taken.
        device: where the model goes.

    Returns:
        The model in evaluation mode with fp32 weights (whatever they are stored as), its tokenizer, its configuration.

    Raises:
        CheckpointError: a file is missing or corrupt, or the weights do not fit configuration and vocabulary.
    """
    folder = find_checkpoint(folder)
    if "kind" in read_yaml(folder / CONFIG):
        raise CheckpointError(f"{folder} is a language model, not a recogniser: give it with --lm, beside a recogniser")
    config = load_config(folder / CONFIG)
    try:
        tokenizer = load_tokenizer(folder)
    except (UserError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"checkpoint {folder}: the tokenizer cannot be read ({error})") from error
    model = build_model(config, tokenizer.vocab_size)
    weights = read_weights(folder / WEIGHTS)
    check_weights(folder, model, weights, tokenizer.vocab_size)
    model.load_state_dict(weights)
    return model.to(device).eval(), tokenizer, config


def find_checkpoint(folder: str | Path) -> Path:
    """The checkpoint meant by a path: the folder itself, or the best checkpoint of a run folder.

    Raises:
        CheckpointError: there is none, or a file of it is missing.
    """
    folder = Path(folder)
    candidates = [folder, folder / "checkpoints" / "best", folder / "checkpoints" / "latest"]
    for candidate in candidates:
        recover_folder(candidate)
        missing = [name for name in (WEIGHTS, CONFIG) if not (candidate / name).is_file()]
        if not missing:
            return candidate
        if (candidate / WEIGHTS).is_file():
            raise CheckpointError(f"checkpoint {candidate} is incomplete: {', '.join(missing)} is missing")
    if not folder.exists():
        raise CheckpointError(f"no checkpoint at {folder}: there is no such folder")
    raise CheckpointError(
        f"no checkpoint at {folder}: it must hold {WEIGHTS} and {CONFIG}, or be a run folder with checkpoints/best"
    )


def read_info(folder: str | Path) -> dict[str, Any]:
    """The facts stored with a checkpoint (``extra`` of :func:`save_checkpoint`); empty if none were."""
    path = find_checkpoint(folder) / INFO
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Weights by name, all floating-point ones as fp32.

    Raises:
        CheckpointError: the file is missing, corrupt or cut short.
    """
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is corrupt or cut short ({error}): copy it again or train again") from error
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}


def check_weights(folder: Path, model: nn.Module, weights: Mapping[str, torch.Tensor], vocab_size: int) -> None:
    """Compare names and shapes with the model that the configuration describes.

    Raises:
        CheckpointError: they differ; the message names the first three differences.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    problems = [f"{name} is missing" for name in expected.keys() - found.keys()]
    problems += [f"{name} is not part of the model" for name in found.keys() - expected.keys()]
    problems += [
        f"{name} has shape {found[name]}, the model wants {expected[name]}"
        for name in expected.keys() & found.keys()
        if found[name] != expected[name]
    ]
    if problems:
        problems.sort()
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(
            f"checkpoint {folder}: the weights do not fit config.yaml ({type(model).__name__}) and the tokenizer "
            f"({vocab_size} tokens): " + "; ".join(problems[:3]) + more
        )


def _temporary(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.writing")


def _former(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.former")


def _flush(path: Path) -> None:
    """Wait until a file or folder is on the disk; folders cannot be opened for that on Windows."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
