"""Pictures in one style: what a model hears, looks at and learns.

Each function draws into the ``axes`` it is given, or makes a figure of its own, and returns the figure. In a notebook
figures belong to pyplot, so that ``plt.show()`` shows them; elsewhere they stand alone, open no window and need no
display. Colour maps grow evenly from dark to light, so that they survive grey print and colour blindness.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

COLORS = ("#1b4f72", "#d35400", "#5fa8a0", "#8e6c8a", "#b8a038")
"""Line colours of different lightness; each comes with its line style in :data:`DASHES`."""
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
SEQUENTIAL = "viridis"
"""For energies."""
WEIGHTS = "Greys"
"""For weights and probabilities: white is nothing."""

STYLE: Any = {
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.labelcolor": "#222222",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "axes.grid": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "image.aspect": "auto",
    "image.interpolation": "nearest",
}

AxisOf: TypeAlias = float | Sequence[str]
"""What runs along an axis: frames (seconds from one to the next), or tokens (their texts)."""


def style() -> AbstractContextManager[None]:
    """The style of all pictures: ``with plots.style(): ...`` for those of your own."""
    return matplotlib.rc_context(STYLE)


def close(figure: Figure) -> None:
    """Free a figure; in a notebook pyplot would hold it to the end otherwise."""
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(figure)


def mel(
    features: ArrayLike,
    frame_seconds: float = 0.01,
    title: str = "Log-mel features: bright is loud",
    axes: Axes | None = None,
) -> Figure:
    """Log-mel features (frames, n_mels) as a picture: time to the right, low frequencies at the bottom."""
    with style():
        figure, axes = _axes(axes, width=8, height=2.4)
        image = _mel_image(axes, features, frame_seconds)
        axes.set(title=title, xlabel="time (s)")
        figure.colorbar(image, ax=axes, label="log energy", pad=0.01)
    return figure


def attention_map(
    weights: ArrayLike,
    queries: AxisOf,
    keys: AxisOf,
    title: str = "Attention: each row looks where it is dark",
    axes: Axes | None = None,
) -> Figure:
    """Attention weights (queries, keys): a row for each query, dark where it looks.

    Args:
        weights: one head, or the mean of several; rows sum to 1.
        queries: the tokens of the rows, or seconds per frame where the rows are frames.
        keys: the same for the columns. Cross-attention has tokens and frames.
        title: above the picture.
        axes: where to draw; a figure of its own when not given.
    """
    weights = _array(weights)
    with style():
        height = 1.2 + 0.14 * len(queries) if isinstance(queries, Sequence) else 5.0
        figure, axes = _axes(axes, width=8, height=min(max(height, 2.5), 10.0))
        right = weights.shape[1] * keys if isinstance(keys, int | float) else weights.shape[1]
        bottom = weights.shape[0] * queries if isinstance(queries, int | float) else weights.shape[0]
        # A few sharp weights would leave the rest invisible: the darkest grey is the 99.5th percentile.
        darkest = max(float(np.quantile(weights, 0.995)), 1e-6)
        image = axes.imshow(weights, extent=(0, right, bottom, 0), cmap=WEIGHTS, vmin=0, vmax=darkest)
        _label(axes.xaxis, keys, "attended: time (s)", "attended token")
        _label(axes.yaxis, queries, "attending: time (s)", "token that looks")
        axes.set_title(title)
        figure.colorbar(image, ax=axes, label="attention weight", pad=0.01, extend="max")
    return figure


def alignment(
    features: ArrayLike,
    words: Sequence[tuple[str, float, float]],
    tokens: Sequence[tuple[str, float, float]],
    posteriors: ArrayLike,
    blank: ArrayLike,
    frame_seconds: float,
    encoder_frame_seconds: float,
    title: str = "CTC alignment: where each word was heard",
) -> Figure:
    """Words laid on the sound, and below the CTC posteriors that put them there.

    Args:
        features: (frames, n_mels) log-mel.
        words: text, start and end of each word in seconds.
        tokens: the same for each token of the text.
        posteriors: (encoder_frames, tokens) probability of each of these tokens.
        blank: (encoder_frames,) probability of the blank.
        frame_seconds: seconds from one feature frame to the next.
        encoder_frame_seconds: the same for the encoder's frames.
        title: above the picture.
    """
    posteriors, blank = _array(posteriors), _array(blank)
    times = (np.arange(len(posteriors)) + 0.5) * encoder_frame_seconds
    with style():
        figure, (top, bottom) = _figure(9, 4.2, rows=2, height_ratios=[3, 2], sharex=True)
        _mel_image(top, features, frame_seconds)
        top.set_title(title, pad=16)
        for text, start, end in words:
            top.axvspan(start, end, facecolor="white", alpha=0.18)
            for edge in (start, end):
                top.axvline(edge, color="white", linewidth=0.8)
            top.text((start + end) / 2, 1.02, text, transform=top.get_xaxis_transform(), ha="center", fontsize=7.5)
        bottom.plot(times, blank, color="#bbbbbb", linewidth=1, label="blank")
        step = encoder_frame_seconds
        frames = [(round(start / step), round(end / step)) for _, start, end in tokens]
        for index, (token, _, _) in enumerate(tokens):
            if not token.strip() or token == "▁":
                continue
            # The same letter comes several times: each curve reaches from the token before to the token after.
            first = frames[index - 1][1] if index else 0
            last = frames[index + 1][0] if index + 1 < len(frames) else len(posteriors)
            near, color = slice(max(first - 1, 0), last + 1), COLORS[index % 2]
            bottom.fill_between(times[near], posteriors[near, index], color=color, alpha=0.25, linewidth=0)
            bottom.plot(times[near], posteriors[near, index], color=color, linewidth=1)
            start, end = frames[index]
            peak = start + int(posteriors[start:end, index].argmax())
            bottom.text(times[peak], posteriors[peak, index] + 0.03, token, ha="center", fontsize=6.5, color=color)
        bottom.set(xlabel="time (s)", ylabel="CTC posterior", ylim=(0, 1.35), yticks=[0, 0.5, 1])
        bottom.set_xlim(0, len(_array(features)) * frame_seconds)
        bottom.legend(loc="upper right", ncols=2)
    return figure


def fires(
    features: ArrayLike,
    alphas: ArrayLike,
    tokens: Sequence[tuple[str, float]],
    frame_seconds: float = 0.01,
    encoder_frame_seconds: float = 0.04,
    encoder_start_seconds: float = 0.0,
    title: str = "Weights of the frames, and where tokens fire",
) -> Figure:
    """Integrate-and-fire on the sound: the weight of each encoder frame over the mel picture, and each token's fire.

    Args:
        features: (frames, n_mels).
        alphas: (encoder_frames,) weights.
        tokens: text and time in seconds of each fire.
        frame_seconds: from one frame of the features to the next.
        encoder_frame_seconds: the same for the encoder.
        encoder_start_seconds: where the encoder's first frame begins.
        title: what to see.
    """
    weights = _array(alphas)
    with style():
        figure, (above, below) = _figure(9, 4, rows=2, sharex=True, height_ratios=[2, 1])
        _mel_image(above, features, frame_seconds)
        above.set_title(title)
        below.set_xlim(0, len(_array(features)) * frame_seconds)
        edges = encoder_start_seconds + encoder_frame_seconds * np.arange(len(weights) + 1)
        below.stairs(weights, edges, fill=True, color=COLORS[0], alpha=0.6)
        below.set(xlabel="time (s)", ylabel="weight", ylim=(0, max(1.0, float(weights.max(initial=0))) * 1.25))
        for text, seconds in tokens:
            above.axvline(seconds, color="white", linewidth=0.8)
            below.axvline(seconds, color=COLORS[1], linewidth=0.8)
            below.annotate("_" if text == " " else text, (seconds, below.get_ylim()[1]), ha="right", va="top")
    return figure


def trellis(
    values: ArrayLike,
    labels: Sequence[str],
    path: ArrayLike | None = None,
    frame_seconds: float | None = None,
    start_seconds: float = 0.0,
    title: str = "Trellis: every path from the upper left to the lower right says the text",
    label: str = "probability",
    axes: Axes | None = None,
) -> Figure:
    """What a CTC path can walk through: a row for each state of the text, a column for each frame.

    Args:
        values: (time, states), probabilities of the states, drawn dark.
        labels: what each state says, such as ``_ A _ B _``.
        path: (time,) the state of each frame, drawn as a line; None: no line.
        frame_seconds: seconds from one frame to the next; None: the axis counts frames.
        start_seconds: where the first frame begins.
        title: above the picture.
        label: of the colour bar.
        axes: where to draw; a figure of its own when not given.
    """
    values = _array(values)
    step = frame_seconds or 1.0
    time, states = values.shape
    with style():
        figure, axes = _axes(axes, width=8, height=min(max(1.2 + 0.17 * states, 2.2), 8.0))
        first = start_seconds if frame_seconds else -0.5  # frame numbers stand below the middle of a frame
        extent = (first, first + time * step, states, 0)
        image = axes.imshow(values.T, extent=extent, cmap=WEIGHTS, vmin=0, vmax=max(float(values.max()), 1e-6))
        if path is not None:
            frames = first + (np.arange(time) + 0.5) * step
            axes.plot(frames, _array(path) + 0.5, color=COLORS[1], marker="o", markersize=3, linewidth=1.2)
        axes.set_yticks(np.arange(states) + 0.5, labels=list(labels), fontsize=7)
        axes.tick_params(axis="y", length=0)
        if not frame_seconds:
            axes.set_xticks(np.arange(0, time, -(-time // 20)))
        axes.set(title=title, xlabel="time (s)" if frame_seconds else "frame", ylabel="state of the text")
        figure.colorbar(image, ax=axes, label=label, pad=0.01)
    return figure


def learning_curves(metrics: Mapping[str, Any] | str | Path) -> Figure:
    """Losses and error rates over a run.

    Args:
        metrics: a run's ``metrics.json``, its path, or the run folder.
    """
    if isinstance(metrics, Mapping):
        validations = metrics["validations"]
    else:
        path = Path(metrics)
        text = (path / "metrics.json" if path.is_dir() else path).read_text(encoding="utf-8")
        validations = json.loads(text)["validations"]
    steps = [validation["step"] for validation in validations]
    with style():
        figure, (left, right) = _figure(9, 3.2, columns=2)
        if not validations:
            left.set_title("No validation yet")
            return figure
        # 0 says that no step was counted since the validation before, not that the model was perfect.
        training = [(each["step"], each["train"]["loss"]) for each in validations if each["train"]["loss"]]
        if training:
            _curve(left, [step for step, _ in training], [loss for _, loss in training], 0, "training")
        for place, name in enumerate(validations[-1]["dev"], start=1):
            dev = [validation["dev"][name] for validation in validations]
            _curve(left, steps, [figures["loss"] for figures in dev], place, name)
            _curve(right, steps, [_percent(figures["wer"]) for figures in dev], 2 * place - 2, f"{name}: words")
            _curve(right, steps, [_percent(figures["cer"]) for figures in dev], 2 * place - 1, f"{name}: characters")
        left.set(title="Loss: falls as the model learns", xlabel="optimiser step", ylabel="loss (nats per token)")
        right.set(title="Error rate on speech held out", xlabel="optimiser step", ylabel="errors (%), cut off at 100")
        right.set_ylim(0, 105)
        for axes in (left, right):
            axes.grid(axis="y")
            axes.set_xlim(left=0)
            axes.legend()
            # Where a stage of progressive training began.
            for step in {validation["stage_began"] for validation in validations if validation.get("stage_began")}:
                axes.axvline(step, color="#aaaaaa", linewidth=0.8)
        left.set_ylim(bottom=0)
    return figure


def compare_runs(
    runs: Mapping[str, Mapping[str, Any]],
    by: Literal["step", "train_seconds"] = "train_seconds",
    title: str = "Runs side by side: errors on the dev set while training",
    axes: Axes | None = None,
) -> Figure:
    """Character error rate of several runs over time or steps.

    Args:
        runs: a run's ``metrics.json`` by the name that it gets in the legend.
        by: ``step``: optimiser steps; ``train_seconds``: minutes of training, validation not counted.
        title: above the picture.
        axes: where to draw; a figure of its own when not given.
    """
    with style():
        figure, axes = _axes(axes, width=7, height=3.4)
        for place, (name, metrics) in enumerate(runs.items()):
            validations = metrics["validations"]
            along = [v[by] / (60 if by == "train_seconds" else 1) for v in validations]
            _curve(axes, along, [_percent(next(iter(v["dev"].values()))["cer"]) for v in validations], place, name)
        xlabel = "training (minutes)" if by == "train_seconds" else "optimiser step"
        axes.set(title=title, xlabel=xlabel, ylabel="character errors (%), cut off at 100")
        axes.set_ylim(0, 105)
        axes.set_xlim(left=0)
        axes.grid(axis="y")
        axes.legend()
    return figure


def weight_sweep(
    rows: Sequence[Mapping[str, Any]],
    title: str = "A language model helps, until it is believed more than the ears",
    axes: Axes | None = None,
) -> Figure:
    """Word error rate over the weight of a language model, a line for each bonus.

    Args:
        rows: what :meth:`asr_tutorial.recognizer.tune.Tuning.to_dict` has as ``rows``: ``lm_weight``, ``token_bonus``,
            ``ctc_weight`` and ``wer``; of several shares of CTC the best one is drawn, and of more bonuses than there
            are colours the best ones.
        title: above the picture.
        axes: where to draw; a figure of its own when not given.
    """
    best: dict[float, dict[float, float]] = {}
    for row in rows:
        line = best.setdefault(row["token_bonus"], {})
        line[row["lm_weight"]] = min(100 * row["wer"], line.get(row["lm_weight"], float("inf")))
    with style():
        figure, axes = _axes(axes, width=6, height=3.2)
        shown = sorted(best, key=lambda bonus: min(best[bonus].values()))[: len(COLORS)]
        for place, bonus in enumerate(sorted(shown)):
            weights = sorted(best[bonus])
            _curve(axes, weights, [best[bonus][weight] for weight in weights], place, f"{bonus:g}")
        lowest, weight = min((wer, weight) for line in best.values() for weight, wer in line.items())
        axes.plot([weight], [lowest], "o", markersize=9, markerfacecolor="none", color="#222222")
        axes.set(title=title, xlabel="weight of the language model", ylabel="word error rate (%)")
        axes.grid(axis="y")
        axes.legend(title="bonus per token")
    return figure


def length_histogram(
    seconds: Sequence[float], title: str = "How long utterances are", bins: int = 40, axes: Axes | None = None
) -> Figure:
    """Histogram of the lengths of utterances in seconds, with the median and the 95th percentile."""
    with style():
        figure, axes = _axes(axes, width=6, height=2.8)
        axes.hist(seconds, bins=bins, color=COLORS[0], edgecolor="white", linewidth=0.4)
        for share, place in ((50, 1), (95, 2)):
            value = float(np.percentile(seconds, share))
            axes.axvline(value, color=COLORS[1], linestyle=DASHES[place], label=f"{share} % up to {value:.1f} s")
        axes.set(title=title, xlabel="length (s)", ylabel="utterances")
        axes.set_xlim(left=0)
        axes.legend()
    return figure


def _array(values: ArrayLike) -> np.ndarray:
    """A tensor on any device, or anything that NumPy reads, as a float array."""
    tensor: Any = values
    return np.asarray(tensor.detach().float().cpu() if hasattr(tensor, "detach") else values, dtype=float)


def _figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure and its axes, of pyplot in a notebook, else standing alone."""
    sharex = options.pop("sharex", False)
    if "ipykernel" in sys.modules:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=(width, height), layout="constrained")
    else:
        figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, sharex=sharex, gridspec_kw=options)


def _axes(axes: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    if axes is None:
        return _figure(width, height)
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    return figure, axes


def _mel_image(axes: Axes, features: ArrayLike, frame_seconds: float) -> Any:
    values = _array(features)
    frames, n_mels = values.shape
    # Digital silence lies far below everything else and would take up the whole scale.
    low, high = np.quantile(values, [0.02, 0.999])
    axes.set_ylabel("mel bin")
    return axes.imshow(
        values.T,
        origin="lower",
        extent=(0, frames * frame_seconds, 0, n_mels),
        cmap=SEQUENTIAL,
        vmin=float(low),
        vmax=float(high),
    )


def _percent(rate: float) -> float:
    """An untrained model may make two errors a word; what happens below 100 % is worth the space."""
    return min(100 * rate, 100.0)


def _label(axis: Any, along: AxisOf, frames_label: str, tokens_label: str) -> None:
    if not isinstance(along, Sequence):
        axis.set_label_text(frames_label)
        return
    # Beyond some 80 tokens their texts would overlap.
    step = -(-len(along) // 80)
    axis.set_ticks(np.arange(0, len(along), step) + 0.5, labels=list(along)[::step], fontsize=7)
    axis.set_tick_params(length=0)
    axis.set_label_text(tokens_label)


def _curve(axes: Axes, steps: Sequence[float], values: Sequence[float], place: int, label: str) -> None:
    axes.plot(
        steps,
        values,
        color=COLORS[place % len(COLORS)],
        linestyle=DASHES[place % len(DASHES)],
        marker="o",
        markersize=3,
        label=label,
    )
