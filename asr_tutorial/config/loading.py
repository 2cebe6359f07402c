"""Configurations from YAML files and the command line, every key and value checked."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from asr_tutorial.config.language_model import LanguageModelConfig
from asr_tutorial.config.sections import Config
from asr_tutorial.errors import ConfigError

CONFIGS = Path(__file__).parents[1] / "configs"
Section = TypeVar("Section")


def available_configs(folder: Path = CONFIGS) -> list[str]:
    """Names of the configurations that come with the package: of recognisers, or those in another of its folders."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load_config(name_or_path: str | Path = "tinyspeech", overrides: Iterable[str] = ()) -> Config:
    """Read a configuration and apply overrides.

    Args:
        name_or_path: a name from :func:`available_configs`, or the path of a YAML file.
        overrides: strings ``section.key=value`` (leading dashes allowed); values are read as YAML.

    Raises:
        ConfigError: no such configuration, YAML that cannot be parsed, or a key or value that is not allowed.
    """
    return _load(Config, CONFIGS, name_or_path, overrides)


def load_lm_config(name_or_path: str | Path = "tiny", overrides: Iterable[str] = ()) -> LanguageModelConfig:
    """:func:`load_config` for a language model; the package's own lie in ``configs/lm``."""
    return _load(LanguageModelConfig, CONFIGS / "lm", name_or_path, overrides)


def read_yaml(path: Path) -> dict[str, Any]:
    """The values of a YAML file; a section whose keys are all commented out is left out.

    Raises:
        ConfigError: it cannot be read, is not valid YAML, or holds no keys at its top level.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"cannot read configuration {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read configuration {path}: it is not UTF-8 text") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold keys and values at its top level, not {type(values).__name__}")
    return {key: value for key, value in values.items() if value is not None}


def _load(section: type[Section], folder: Path, name_or_path: str | Path, overrides: Iterable[str]) -> Section:
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = folder / f"{name_or_path}.yaml"
        if not path.exists():
            raise ConfigError(
                f"no configuration called {str(name_or_path)!r}: give one of "
                f"{', '.join(available_configs(folder))}, or the path of a .yaml file"
            )
    values = read_yaml(path)
    for override in overrides:
        _apply_override(values, override)
    return from_dict(section, values, source=str(path))


def from_dict(section: type[Section], values: Mapping[str, Any], source: str = "configuration") -> Section:
    """Build a section from plain values, every key and value checked."""
    try:
        return TypeAdapter(section).validate_python(dict(values))
    except ValidationError as error:
        lines = [_explain(section, problem) for problem in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(lines)) from error


def to_yaml(config: Config | LanguageModelConfig) -> str:
    """The configuration as YAML text, every key written out."""
    return yaml.safe_dump(TypeAdapter(type(config)).dump_python(config, mode="json"), sort_keys=False)


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.lstrip("-").partition("=")
    if not equals or not key:
        raise ConfigError(f"cannot read override {override!r}: write it as --section.key=value")
    *sections, name = key.split(".")
    for depth, section in enumerate(sections):
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"override {override!r}: {'.'.join(sections[: depth + 1])} is a value, not a section")
    try:
        values[name] = yaml.safe_load(text) if text else ""
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is not valid YAML: {error}") from error


def _explain(section: type, problem: Any) -> str:
    """One sentence for one pydantic problem: the key by its full name, what is wrong, and a near match."""
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location) or "configuration"
    if problem["type"] == "unexpected_keyword_argument":
        parent: Any = section
        for part in location[:-1]:  # the name of a section, or an element of a list or dictionary of sections
            parent = get_type_hints(parent)[part] if dataclasses.is_dataclass(parent) else get_args(parent)[-1]
        known = [f.name for f in dataclasses.fields(parent)]
        near = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys here: {', '.join(known)}"
        return f"unknown key {key!r} ({hint})"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" + (f" (got {problem['input']!r})" if problem["type"] != "value_error" else "")
