"""The options with which commands search, and the models that they load for it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asr_tutorial.cli.common import CodeName, SearchName, use_code
from asr_tutorial.errors import ConfigError

if TYPE_CHECKING:
    from asr_tutorial.config import Search as SearchOfModel
    from asr_tutorial.recognizer import Recognizer
    from asr_tutorial.search import SearchOptions

PANEL = "Beam search"

Checkpoint = Annotated[
    Path,
    typer.Option("--checkpoint", "-m", help="Checkpoint folder, or run folder (its best checkpoint).", metavar="DIR"),
]
CorpusName = Annotated[
    str, typer.Option(help="Folder below which LibriSpeech's files lie, manifest, or folder of .npy features.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
Code = Annotated[
    CodeName,
    typer.Option(
        help="mine: with your own answers from the course in the place of our code.",
        callback=use_code,
        envvar="ASR_TUTORIAL_CODE",
        is_eager=True,
    ),
]
Search = Annotated[
    SearchName | None,
    typer.Option(
        help="greedy: the decoder, token by token. ctc: the CTC head, frame by frame. prefix, attention, joint: beam "
        "searches with the CTC head, the decoder, both. parallel: all tokens at once, a Paraformer. Default: greedy, "
        "of a Paraformer parallel."
    ),
]
LanguageModelFolder = Annotated[
    Path | None,
    typer.Option(
        "--lm",
        help="Language model that the beam search asks too: folder of a Transformer with the recogniser's vocabulary, "
        "or of an n-gram model of words.",
        metavar="DIR",
        rich_help_panel=PANEL,
    ),
]


def _number(kind: Any, help_text: str, *names: str) -> Any:
    return Annotated[kind | None, typer.Option(*names, help=help_text, rich_help_panel=PANEL)]


GIVEN: dict[str, Any] = {
    "beam_size": _number(int, "Hypotheses kept for each utterance; default 10."),
    "n_best": _number(int, "Alternatives for each utterance, see --json; default 1.", "--nbest"),
    "ctc_weight": _number(float, "Share of CTC in a joint search, 0 to 1; default 0.3."),
    "length_penalty": _number(
        float,
        "Divide the log-probability by tokens to this power: 0 is none, 1 the mean of a token. Default 0, for "
        "attention 1.",
    ),
    "coverage_penalty": _number(float, "Nats taken off for each frame that no token listens to; default 0."),
    "temperature": _number(float, "Above 1 flattens the decoder's distributions; default 1."),
    "repeat_penalty": _number(float, "Factor on log-probabilities of tokens already said; default 1."),
    "lm_weight": _number(float, "Of the language model, beside 1 for the recogniser; default 0.5."),
    "token_bonus": _number(float, "Nats for each token; default 0."),
}
"""Settings of a search by name; a checkpoint folder may recommend others than these defaults."""

BEAM = ("beam_size", "n_best", "lm_weight", "token_bonus")
DECODER = (*BEAM, "length_penalty", "coverage_penalty", "temperature", "repeat_penalty")
USED: dict[SearchName, tuple[str, ...]] = {
    SearchName.greedy: (),
    SearchName.ctc: (),
    SearchName.prefix: BEAM,
    SearchName.attention: DECODER,
    SearchName.joint: (*DECODER, "ctc_weight"),
    SearchName.parallel: (),
}
"""The settings that each search has."""


@dataclass(frozen=True)
class Asked:
    """What was asked for on the command line.

    Attributes:
        search: which search; None: the one that suits the model, which has no settings.
        lm: folder of a language model.
        given: settings of the search that were given, by name.
    """

    search: SearchName | None
    lm: Path | None
    given: dict[str, Any]

    @property
    def name(self) -> SearchOfModel | None:
        """The search as the library names it."""
        return self.search.value if self.search is not None else None

    def check(self) -> None:
        """Find what does not fit before anything is loaded.

        Raises:
            ConfigError: a setting, or a language model, that this search has no use for, or a value outside its range.
        """
        from asr_tutorial.recognizer import default_options

        search = self.search or SearchName.greedy
        if self.lm is not None and "lm_weight" not in USED[search]:
            raise ConfigError(f"--lm is not for --search {search.value}: use --search {_able('lm_weight')}")
        for name in self.given:
            if name not in USED[search]:
                option = "--nbest" if name == "n_best" else f"--{name.replace('_', '-')}"
                raise ConfigError(f"{option} is not for --search {search.value}: use --search {_able(name)}")
        if "lm_weight" in self.given and self.lm is None:
            raise ConfigError("--lm-weight is the weight of a language model: name one with --lm DIR")
        if USED[search]:
            default_options(search.value, **self.given)

    def load(self, checkpoint: Path, device: str) -> tuple[Recognizer, SearchOptions | None]:
        """The recogniser with its language model, and the options of the search; None where it has none."""
        from asr_tutorial.recognizer import load

        recognizer = load(checkpoint, device, self.lm)
        return recognizer, recognizer.search_options(self.name, **self.given)


def searches(default: SearchName | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of all searches; it gets what was asked for as ``asked``, an :class:`Asked`.

    Args:
        default: the search when none is asked for; None: the one that suits the model.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [parameter for parameter in signature.parameters.values() if parameter.name != "asked"]
        added = {"search": (Search, default), "lm": (LanguageModelFolder, None)}
        added |= {name: (annotation, None) for name, annotation in GIVEN.items()}
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            *(parameter.replace(kind=keyword) for parameter in own),
            *(
                inspect.Parameter(name, keyword, default=value, annotation=kind)
                for name, (kind, value) in added.items()
            ),
        ]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            given = {name: value for name in GIVEN if (value := values.pop(name)) is not None}
            asked = Asked(values.pop("search"), values.pop("lm"), given)
            asked.check()
            command(asked=asked, **values)

        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _able(name: str) -> str:
    return ", ".join(search.value for search, names in USED.items() if name in names)
