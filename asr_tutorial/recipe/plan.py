"""What a recipe consists of: trainings that build on each other, and measurements of what came out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from asr_tutorial.config import (
    CONFIGS,
    PLAIN_SEARCHES,
    STRICT,
    Count,
    Positive,
    Search,
    available_configs,
    from_dict,
    read_yaml,
)
from asr_tutorial.errors import ConfigError

RECIPES = CONFIGS / "recipes"
PLACEHOLDER = re.compile(r"\{(\w+)\}")
"""``{name}`` in a setting stands for the folder of the stage of that name."""
STEPS = (
    "training.max_steps",
    "training.validate_every",
    "training.checkpoint_every",
    "training.schedule.warmup_steps",
    "initialise.freeze_decoder_steps",
)
"""Settings that ``--scale`` multiplies."""


@dataclass(config=STRICT)
class StageConfig:
    """One training, which leaves a model in a folder of its own."""

    kind: Literal["recogniser", "lm", "ngram"] = "recogniser"
    """A recogniser, a Transformer language model, or an n-gram model of words."""
    title: str = ""
    """What stands in the table; empty: the name of the stage."""
    config: str = ""
    """The configuration that it begins with; empty: the recipe's."""
    set: dict[str, Any] = field(default_factory=dict)
    """Settings in its place, such as ``training.max_steps: 2000``; ``{name}`` is the folder of an earlier stage."""
    text: list[str] = field(default_factory=list)
    """Of an n-gram model: files and corpora that it counts."""
    order: Positive = 3
    """Of an n-gram model: words of the longest n-grams."""
    min_counts: list[Positive] = field(default_factory=lambda: [1, 1, 2])
    """n-grams of each order that are seen less often are left out."""
    prune: Annotated[float, Field(ge=0)] = 0.0
    """n-grams go whose loss raises perplexity by less than this share, such as 2.0e-7; 0: none go."""
    measure: bool = True
    """Whether it is measured: a recogniser on the dev sets, a language model on their text."""


@dataclass(config=STRICT)
class MeasureConfig:
    """How recognisers are measured."""

    corpora: list[str] = field(default_factory=lambda: ["tinyspeech/dev"])
    """Development sets; the first one chooses weights and the best recogniser."""
    root: str = ""
    """Folder that relative paths start from; empty: ``ASR_TUTORIAL_DATA``, else the repository's ``data``."""
    searches: list[str] = field(default_factory=lambda: list(get_args(Search)))
    """Searches, each alone or with a language model, ``joint+STAGE``."""
    beam_size: Positive = 10
    """Of all beam searches."""
    ctc_weights: list[Annotated[float, Field(ge=0, le=1)]] = field(default_factory=lambda: [0.3, 0.5, 0.7])
    lm_weights: list[Annotated[float, Field(ge=0)]] = field(default_factory=lambda: [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    token_bonuses: list[float] = field(default_factory=lambda: [0.0, 0.5, 1.0])
    """Weights that are tried for each search that has them."""
    limit: Count = 0
    """Only the first so many utterances of each set; 0: all."""
    worst: Count = 10
    """Utterances that are looked into."""


@dataclass(config=STRICT)
class RecipeConfig:
    """A recipe: stages in the order in which they are done."""

    name: str = "recipe"
    recogniser: str = "tinyspeech"
    """Configuration of recognisers."""
    lm: str = "tiny"
    """Configuration of Transformer language models."""
    stages: dict[str, StageConfig] = field(default_factory=dict)
    measure: MeasureConfig = field(default_factory=MeasureConfig)

    @model_validator(mode="after")
    def _check(self) -> RecipeConfig:
        known: set[str] = set()
        for name, stage in self.stages.items():
            if not re.fullmatch(r"\w+", name):
                raise ValueError(f"a stage's name is made of letters, digits and _, not {name!r}")
            for place in PLACEHOLDER.findall(str(stage.set)):
                if place not in known:
                    raise ValueError(f"stage {name} needs {{{place}}}, which is no stage before it")
            known.add(name)
        if not any(stage.kind == "recogniser" for stage in self.stages.values()):
            raise ValueError("stages: there is no recogniser among them")
        models = [name for name, stage in self.stages.items() if stage.kind != "recogniser"]
        for search in self.measure.searches:
            kind, _, model = search.partition("+")
            if kind not in get_args(Search):
                raise ValueError(f"measure.searches: unknown search {search!r}")
            if "+" in search and (model not in models or kind in PLAIN_SEARCHES):
                raise ValueError(f"measure.searches: {search!r} must be a beam search and one of {', '.join(models)}")
        return self


def load_recipe(name_or_path: str | Path, scale: float = 1.0) -> RecipeConfig:
    """Read a recipe.

    Args:
        name_or_path: one of the package's, with hyphens or underscores, or the path of a YAML file.
        scale: factor on the optimiser steps of every training, for a small machine: 0.1 is a tenth of the work, and a
            model that has learnt as much less.

    Raises:
        ConfigError: no such recipe, a key or value that is not allowed, or a scale that is not above 0.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = RECIPES / f"{str(name_or_path).replace('-', '_')}.yaml"
        if not path.exists():
            known = ", ".join(name.replace("_", "-") for name in available_configs(RECIPES))
            raise ConfigError(f"no recipe called {str(name_or_path)!r}: give {known}, or the path of a .yaml file")
    if scale <= 0:
        raise ConfigError(f"--scale must be above 0, got {scale}")
    return from_dict(RecipeConfig, read_yaml(path), source=str(path))


def overrides_of(stage: StageConfig, folders: Mapping[str, Path]) -> list[str]:
    """The settings of a stage as overrides, the folders of earlier stages filled in."""

    def fill(value: Any) -> Any:
        if isinstance(value, str):
            return PLACEHOLDER.sub(lambda match: str(folders[match[1]]), value)
        return [fill(item) for item in value] if isinstance(value, list) else value

    return [f"{key}={yaml.safe_dump(fill(value), default_flow_style=True, width=10_000).removesuffix(END)}"
            for key, value in stage.set.items()]  # fmt: skip


END = "\n...\n"
"""What YAML writes behind a plain value."""


def scaled(overrides: list[str], values: Mapping[str, int], scale: float) -> list[str]:
    """Overrides with which all settings of :data:`STEPS` are ``scale`` times as large, at least 1 where they are not 0.

    Args:
        overrides: those that are there already.
        values: what the settings are with these.
        scale: the factor.
    """
    if scale == 1.0:
        return overrides
    return [*overrides, *(f"{key}={max(1, round(value * scale))}" for key, value in values.items() if value)]
