"""Doing the stages of a recipe: each leaves a folder, and one that is done is not done again."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr_tutorial.config import Config, LanguageModelConfig, load_config, load_lm_config, to_yaml
from asr_tutorial.dataset.text_files import read_text
from asr_tutorial.errors import ConfigError
from asr_tutorial.files import write_whole
from asr_tutorial.language_model import NGram, pruned, save_ngram
from asr_tutorial.recipe.plan import STEPS, RecipeConfig, StageConfig, overrides_of, scaled
from asr_tutorial.training import train
from asr_tutorial.training.language_model import train_language_model
from asr_tutorial.training.run import environment

logger = logging.getLogger("asr_tutorial")
DONE = "done.json"


def do_stages(recipe: RecipeConfig, folder: Path, scale: float = 1.0, progress: bool = True) -> dict[str, Path]:
    """Train all models of a recipe, or go on where a former call stopped.

    Args:
        recipe: what to do.
        folder: each stage gets a folder in it.
        scale: factor on the optimiser steps.
        progress: show progress bars.

    Returns:
        The folder of each stage's model, as :func:`asr_tutorial.load` and ``load_language_model`` take it.

    Raises:
        ConfigError: a stage was done, or begun, with other settings.
        UserError: as the trainings.
    """
    folders: dict[str, Path] = {}
    for number, (name, stage) in enumerate(recipe.stages.items(), start=1):
        place = folder / name
        settings = settings_of(recipe, name, folders, scale)
        done = _read(place / DONE)
        if done:
            _check_same(place, done["settings"], settings)
            logger.info("stage %d of %d, %s: done", number, len(recipe.stages), name)
        else:
            logger.info("stage %d of %d, %s: %s", number, len(recipe.stages), name, stage.title or stage.kind)
            started = time.process_time()
            _do(stage, place, settings, progress)
            spent = time.process_time() - started
            write_json(
                place / DONE, {"settings": settings, "processor_seconds": round(spent, 3), "environment": environment()}
            )
        folders[name] = _model(place, stage)
    return folders


def settings_of(recipe: RecipeConfig, name: str, folders: Mapping[str, Path], scale: float = 1.0) -> str:
    """Everything that a stage depends on, as YAML text.

    Raises:
        ConfigError: a setting that its configuration does not know or allow.
    """
    stage = recipe.stages[name]
    if stage.kind == "ngram":
        return json.dumps({"order": stage.order, **_ngram_facts(stage)})
    overrides = [f"name={recipe.name}_{name}", *overrides_of(stage, folders)]
    config = _config(recipe, stage, overrides)
    return to_yaml(_config(recipe, stage, scaled(overrides, _steps(config), scale)))


def _ngram_facts(stage: StageConfig) -> dict[str, Any]:
    return {"text": stage.text, "min_counts": stage.min_counts, "prune": stage.prune}


def _config(recipe: RecipeConfig, stage: StageConfig, overrides: list[str]) -> Config | LanguageModelConfig:
    if stage.kind == "lm":
        return load_lm_config(stage.config or recipe.lm, overrides)
    return load_config(stage.config or recipe.recogniser, overrides)


def _steps(config: Config | LanguageModelConfig) -> dict[str, int]:
    values = {}
    for key in STEPS:
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part, 0)
        values[key] = value
    return values


def _do(stage: StageConfig, place: Path, settings: str, progress: bool) -> None:
    if stage.kind == "ngram":
        sentences = (sentence for path in stage.text for sentence in read_text(path))
        model = pruned(NGram.train(sentences, stage.order, stage.min_counts), stage.prune)
        save_ngram(place, model, _ngram_facts(stage))
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    given = place.with_name(f".{place.name}.yaml")
    given.write_text(settings, encoding="utf-8")
    if stage.kind == "recogniser":
        train(load_config(given), place, progress=progress, go_on=True)
    else:
        config = load_lm_config(given)
        begun = (place / "checkpoints" / "latest" / "state.pt").exists()
        if begun:
            _check_same(place, to_yaml(load_lm_config(place / "config.yaml")), settings)
        elif place.exists():
            shutil.rmtree(place)  # it stopped before there was anything to go on from
        train_language_model(
            None if begun else config, None if begun else place, place if begun else None, progress=progress
        )
    given.unlink()


def _model(place: Path, stage: StageConfig) -> Path:
    return place if stage.kind == "ngram" else place / "checkpoints" / "best"


def _check_same(place: Path, done: str, wanted: str) -> None:
    if done == wanted:
        return
    before, now = done.splitlines(), set(wanted.splitlines())
    different = [line.strip() for line in before if line not in now]
    raise ConfigError(
        f"{place} was made with other settings ({', '.join(different[:3]) or 'some are missing'}): delete the folder "
        "to do the stage again, give the settings that it had, or another --out"
    )


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a file all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(dict(values), indent=1, ensure_ascii=False) + "\n")
