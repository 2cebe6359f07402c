"""The options with which ``evaluate`` and ``transcribe`` search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from asr_tutorial.cli.common import SearchName
from asr_tutorial.errors import ConfigError

if TYPE_CHECKING:
    from asr_tutorial.search import SearchOptions

PANEL = "Beam search"

BeamSize = Annotated[
    int | None, typer.Option(help="Hypotheses kept for each utterance; default 10.", rich_help_panel=PANEL)
]
NBest = Annotated[
    int | None,
    typer.Option("--nbest", help="Alternatives for each utterance, see --json; default 1.", rich_help_panel=PANEL),
]
CTCWeight = Annotated[
    float | None, typer.Option(help="Share of CTC in a joint search, 0 to 1; default 0.3.", rich_help_panel=PANEL)
]
LengthPenalty = Annotated[
    float | None,
    typer.Option(
        help="Divide the log-probability by tokens to this power: 0 is none, 1 the mean of a token. Default 0, for "
        "attention 1.",
        rich_help_panel=PANEL,
    ),
]
CoveragePenalty = Annotated[
    float | None,
    typer.Option(help="Nats taken off for each frame that no token listens to; default 0.", rich_help_panel=PANEL),
]
Temperature = Annotated[
    float | None,
    typer.Option(help="Above 1 flattens the decoder's distributions; default 1.", rich_help_panel=PANEL),
]
RepeatPenalty = Annotated[
    float | None,
    typer.Option(help="Factor on log-probabilities of tokens already said; default 1.", rich_help_panel=PANEL),
]

BOTH = ("beam_size", "n_best")
DECODER = (*BOTH, "length_penalty", "coverage_penalty", "temperature", "repeat_penalty")
USED: dict[SearchName, tuple[str, ...]] = {
    SearchName.greedy: (),
    SearchName.ctc: (),
    SearchName.prefix: BOTH,
    SearchName.attention: DECODER,
    SearchName.joint: (*DECODER, "ctc_weight"),
}
"""The options that each search has."""


def search_options(search: SearchName, **given: Any) -> SearchOptions | None:
    """The options that were given on the command line; None where a search has none.

    Raises:
        ConfigError: an option that this search lacks, or a value outside its range.
    """
    from asr_tutorial.recognizer import default_options

    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name not in USED[search]:
            option = "--nbest" if name == "n_best" else f"--{name.replace('_', '-')}"
            able = ", ".join(other.value for other, names in USED.items() if name in names)
            raise ConfigError(f"{option} is not for --search {search.value}: use --search {able}")
    return default_options(search.value, **given) if USED[search] else None
