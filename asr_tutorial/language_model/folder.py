"""Language models on disk: a folder like a recogniser's checkpoint.

A Transformer's folder holds ``model.safetensors``, ``config.yaml`` and the tokenizer's files; that of an n-gram model
holds the files of :mod:`~asr_tutorial.language_model.packed` and a ``config.yaml`` that says ``kind: ngram``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from asr_tutorial.checkpoint import CONFIG, WEIGHTS, check_weights, read_weights, replaced_folder, save_checkpoint
from asr_tutorial.config import LanguageModelConfig, load_lm_config, read_yaml
from asr_tutorial.errors import CheckpointError, UserError
from asr_tutorial.language_model.arpa import read_arpa
from asr_tutorial.language_model.ngram import NGram
from asr_tutorial.language_model.packed import read_packed, write_packed
from asr_tutorial.language_model.transformer import TransformerLM
from asr_tutorial.tokenizer import Tokenizer, load_tokenizer


@dataclass
class LanguageModel:
    """A language model that was read from its folder.

    Attributes:
        kind: ``"transformer"`` or ``"ngram"``.
        model: a :class:`TransformerLM` in evaluation mode, or an :class:`NGram` over words.
        tokenizer: whose tokens the Transformer predicts; None for a model of words.
        config: the Transformer's; None for an n-gram model.
    """

    kind: Literal["transformer", "ngram"]
    model: TransformerLM | NGram
    tokenizer: Tokenizer | None = None
    config: LanguageModelConfig | None = None


def save_transformer_lm(
    folder: str | Path,
    model: TransformerLM,
    tokenizer: Tokenizer,
    config: LanguageModelConfig,
    half: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a Transformer with its configuration and tokenizer, all or nothing.

    Args:
        folder: where to; what lies there is replaced at the end.
        model: built from ``config.model``.
        tokenizer: its files are written into the folder.
        config: written as ``config.yaml``.
        half: store the weights as fp16.
        extra: facts to keep beside the weights, JSON-serialisable.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; what was there is untouched.
    """
    save_checkpoint(folder, model, tokenizer, config, half, extra)


def save_ngram(folder: str | Path, model: NGram, extra: Mapping[str, Any] | None = None) -> None:
    """Write an n-gram model with its model of spelling, all or nothing, probabilities as fp16.

    Args:
        folder: where to; what lies there is replaced at the end.
        model: any.
        extra: facts for ``config.yaml``, such as the texts that were counted.

    Raises:
        CheckpointError: as :func:`save_transformer_lm`.
    """
    with replaced_folder(folder) as temporary:
        write_packed(temporary, model)
        sizes = [len(table.keys) for table in model.tables]
        values = {**(extra or {}), "kind": "ngram", "order": model.order, "ngrams": sizes}
        (temporary / CONFIG).write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def load_language_model(folder: str | Path, device: str | torch.device = "cpu") -> LanguageModel:
    """Read a language model of either kind.

    Args:
        folder: a folder as above, or a run folder, whose best model is taken; or an ARPA file.
        device: where a Transformer goes.

    Raises:
        CheckpointError: there is none, a file of it is missing or corrupt, or it is a recogniser.
    """
    folder = _find(Path(folder))
    if folder.is_file():
        return LanguageModel("ngram", read_arpa(folder))
    values = read_yaml(folder / CONFIG)
    if values.get("kind") == "ngram":
        return LanguageModel("ngram", read_packed(folder))
    if "kind" not in values:
        raise CheckpointError(f"{folder} is a recogniser, not a language model: give a folder that `lm train` wrote")
    config = load_lm_config(folder / CONFIG)
    try:
        tokenizer = load_tokenizer(folder)
    except (UserError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"language model {folder}: the tokenizer cannot be read ({error})") from error
    network = TransformerLM(config.model, tokenizer.vocab_size)
    weights = read_weights(folder / WEIGHTS)
    check_weights(folder, network, weights, tokenizer.vocab_size)
    network.load_state_dict(weights)
    return LanguageModel("transformer", network.to(device).eval(), tokenizer, config)


def _find(folder: Path) -> Path:
    if folder.is_file() and ".arpa" in folder.name:
        return folder
    for candidate in (folder, folder / "checkpoints" / "best", folder / "checkpoints" / "latest"):
        if (candidate / CONFIG).is_file() and (candidate / WEIGHTS).is_file():
            return candidate
    raise CheckpointError(
        f"no language model at {folder}: it must hold {CONFIG} and {WEIGHTS}, be a run folder with checkpoints/best, "
        "or an .arpa file"
    )
