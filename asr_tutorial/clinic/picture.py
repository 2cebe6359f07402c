"""The pictures of a visit: curves, and what the model looked like from within."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from asr_tutorial import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from asr_tutorial.clinic.visit import Picture, Visit


def draw(visit: Visit, title: str = "") -> Figure:
    """Everything that a visit shows, side by side: loss, error rates, learning rate, encoder output, attention.

    Args:
        visit: from a patient's ``run``.
        title: above the whole.
    """
    from matplotlib import pyplot

    parts = [bool(visit.losses), bool(visit.errors), bool(visit.rates), *[True] * len(visit.pictures)]
    with plots.style():
        figure, places = pyplot.subplots(1, sum(parts), figsize=(3 * sum(parts), 2.3), layout="constrained", dpi=80)
        left = iter(np.atleast_1d(places))
        if visit.losses:
            axes = next(left)
            for place, (name, losses) in enumerate(visit.losses.items()):
                _line(axes, np.arange(1, len(losses) + 1), losses, place, name)
            axes.set(title="Loss", xlabel="step", ylabel="nats per token")
            axes.set_ylim(0, _top(visit.losses))
        if visit.errors:
            axes = next(left)
            for place, (name, pairs) in enumerate(visit.errors.items()):
                steps, rates = zip(*pairs, strict=True)
                _line(axes, np.array(steps), [100 * rate for rate in rates], place, name)
            axes.set(title="Errors", xlabel="step", ylabel="errors (%)")
            axes.set_ylim(bottom=0)
        if visit.rates:
            axes = next(left)
            _line(axes, np.arange(1, len(visit.rates) + 1), visit.rates, 0, "")
            axes.set(title="Learning rate", xlabel="step")
            axes.set_ylim(bottom=0)
        for name, picture in visit.pictures.items():
            _picture(next(left), name, picture)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def report(visit: Visit, most: int = 4) -> None:
    """Print the transcripts, the error rates and what was measured."""
    for reference, hypothesis in visit.transcripts[:most]:
        print(f"said   {reference}\nheard  {hypothesis}")
    if visit.transcripts:
        print(f"word errors {100 * visit.wer:.0f} %, character errors {100 * visit.cer:.0f} %")
    for name, value in visit.measures.items():
        print(f"{name}: {value:.3g}")


def _line(axes: Axes, steps: np.ndarray, values: list[float], place: int, name: str) -> None:
    axes.plot(steps, values, color=plots.COLORS[place], linestyle=plots.DASHES[place], label=name)
    axes.grid(axis="y")
    if name:
        axes.legend()
    axes.set_xlim(0, float(steps[-1]) + 1)
    infinite = ~np.isfinite(values)
    if infinite.any():
        first = float(steps[infinite][0])
        axes.axvline(first, color=plots.COLORS[1], linewidth=0.8)
        in_the_middle = axes.get_xaxis_transform()  # along the steps, and from 0 to 1 in height
        axes.text(first, 0.5, " not a number from here", fontsize=7, color=plots.COLORS[1], transform=in_the_middle)


def _top(losses: dict[str, list[float]]) -> float:
    finite = [loss for curve in losses.values() for loss in curve if np.isfinite(loss)]
    return 1.05 * float(np.quantile(finite, 0.99)) if finite else 1.0


def _picture(axes: Axes, name: str, picture: Picture) -> None:
    values, colors = np.nan_to_num(picture.values), plots.WEIGHTS
    if isinstance(picture.rows, str):
        colors = plots.SEQUENTIAL
        axes.set_ylabel(picture.rows)
    else:
        axes.set_yticks(range(len(picture.rows)), labels=list(picture.rows), fontsize=4)
        axes.tick_params(axis="y", length=0)
    axes.imshow(values, cmap=colors, aspect="auto", interpolation="nearest")
    if picture.real < values.shape[1]:
        axes.axvline(picture.real - 0.5, color=plots.COLORS[1], linewidth=1.4)
        axes.text(picture.real, -0.6, "padding", fontsize=7, va="bottom", color=plots.COLORS[1])
    axes.set_title(name, pad=10)
    axes.set_xlabel(picture.along)
