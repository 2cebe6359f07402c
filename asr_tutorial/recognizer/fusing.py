"""A language model beside a recogniser: whether they fit each other, and which search settings suit the pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import yaml

from asr_tutorial.config import PLAIN_SEARCHES, read_yaml
from asr_tutorial.errors import ConfigError
from asr_tutorial.files import write_whole
from asr_tutorial.language_model import LanguageModel, NGram, TransformerLM, spelled
from asr_tutorial.recognizer.results import Search
from asr_tutorial.search import SearchOptions, TokenModel
from asr_tutorial.tokenizer import Tokenizer

SEARCH = "search.yaml"
"""The file of a checkpoint folder with the settings that suit its searches, such as::

    joint: {beam_size: 20, ctc_weight: 0.4}
    joint+lm: {beam_size: 20, ctc_weight: 0.4, lm_weight: 0.6, token_bonus: 0.5}
"""


def token_model(language_model: LanguageModel, tokenizer: Tokenizer, name: str = "the language model") -> TokenModel:
    """A language model as one of a recogniser's tokens.

    Args:
        language_model: a Transformer of the same tokens, or an n-gram model of words, which is made to spell.
        tokenizer: the recogniser's.
        name: of the language model, for messages.

    Raises:
        ConfigError: the vocabularies differ, or an n-gram model knows hardly any word in the recogniser's alphabet.
    """
    if isinstance(language_model.model, TransformerLM):
        assert language_model.tokenizer is not None
        _check_vocabulary(language_model.tokenizer, tokenizer, name)
        return TokenModel(language_model.model, tokenizer)
    assert isinstance(language_model.model, NGram)
    return TokenModel(spelled(language_model.model, tokenizer), tokenizer)


def _check_vocabulary(theirs: Tokenizer, ours: Tokenizer, name: str) -> None:
    if theirs.tokens == ours.tokens:
        return
    pairs = zip(theirs.tokens, ours.tokens, strict=False)
    shared = min(theirs.vocab_size, ours.vocab_size)
    first = next((number for number, (one, two) in enumerate(pairs) if one != two), shared)
    said = [repr(each.tokens[first]) if first < each.vocab_size else "missing" for each in (theirs, ours)]
    raise ConfigError(
        f"{name} has another vocabulary than the recogniser: {theirs.vocab_size} tokens there, {ours.vocab_size} here; "
        f"token {first} is {said[0]} there and {said[1]} here. Train the language model with the recogniser's "
        "vocabulary, --tokenizer.folder=CHECKPOINT, or take an n-gram model of words, which fits any vocabulary"
    )


def read_recommended(folder: str | Path) -> dict[str, dict[str, Any]]:
    """The settings that a checkpoint folder recommends, by search; empty where it has no file of them.

    Raises:
        ConfigError: an unknown search or setting, or a value outside its range.
    """
    path = Path(folder) / SEARCH
    if not path.is_file():
        return {}
    recommended = read_yaml(path)
    for search, options in recommended.items():
        _check_recommended(f"{path}: {search}", search, options)
    return recommended


def write_recommended(folder: str | Path, recommended: Mapping[str, Mapping[str, Any]]) -> None:
    """Write what :func:`read_recommended` reads, all or nothing.

    Args:
        folder: of a checkpoint.
        recommended: settings of :class:`~asr_tutorial.search.SearchOptions` by search; ``joint+lm`` and the like are
            for a search with a language model.

    Raises:
        ConfigError: as :func:`read_recommended`.
    """
    for search, options in recommended.items():
        _check_recommended(search, search, options)
    values = {search: dict(options) for search, options in recommended.items()}
    write_whole(Path(folder) / SEARCH, yaml.safe_dump(values, sort_keys=False))


def _check_recommended(source: str, search: str, options: object) -> None:
    able = [name for name in get_args(Search) if name not in PLAIN_SEARCHES]
    if search.removesuffix("+lm") not in able:
        raise ConfigError(f"{source}: unknown search; known are {', '.join(able)}, each also with +lm")
    known = [item.name for item in fields(SearchOptions)]
    if not isinstance(options, Mapping) or not set(options) <= set(known):
        raise ConfigError(f"{source}: must hold settings of a search: {', '.join(known)}; got {options}")
    try:
        SearchOptions(**options)
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"{source}: {error}") from error
