"""Draws docs/model.svg, the picture of the whole model: ``python docs/draw_model.py``.

Plain SVG with a background of its own; a media query gives it dark colours where the reader's system is dark.
"""

import math
from pathlib import Path

WIDTH, HEIGHT = 900, 500
# Blue, green and vermilion of Okabe and Ito's palette, which colour-blind readers tell apart.
STYLE = """
  svg { --paper: #ffffff; --ink: #1f2328; --faint: #59636e; --line: #8c959f;
        --sound: #0072b2; --encoder: #00805e; --decoder: #c04f00; }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #161b22; --ink: #e6edf3; --faint: #9ea7b1; --line: #7d8590;
          --sound: #56b4e9; --encoder: #3fc79a; --decoder: #f0883e; }
  }
  .paper { fill: var(--paper); stroke: var(--line); stroke-opacity: .5; }
  text { font-family: "Segoe UI", Helvetica, Arial, "DejaVu Sans", sans-serif; font-size: 14px; fill: var(--ink);
         text-anchor: middle; dominant-baseline: central; }
  .small { font-size: 12px; fill: var(--faint); }
  .title { font-weight: bold; font-size: 15px; }
  .code { font-family: Consolas, Menlo, "DejaVu Sans Mono", monospace; font-size: 13px; }
  .left { text-anchor: start; }
  .arrow { fill: none; stroke: var(--line); stroke-width: 2; marker-end: url(#head); }
  .head { fill: var(--line); }
  .sound { --accent: var(--sound); } .encoder { --accent: var(--encoder); } .decoder { --accent: var(--decoder); }
  .box { fill: var(--accent); fill-opacity: .16; stroke: var(--accent); stroke-width: 1.5; }
  .group { fill: none; stroke: var(--accent); stroke-width: 1.5; stroke-dasharray: 5 4; }
  .trace { fill: none; stroke: var(--accent); stroke-width: 1.5; }
  .cell { fill: var(--accent); }
  .badge { fill: var(--paper); stroke: var(--accent); stroke-width: 1.5; }
  .number { font-size: 11px; font-weight: bold; }
"""


def text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{words}</text>'


def arrow(*points: tuple[float, float]) -> str:
    path = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
    return f'<path class="arrow" d="{path}"/>'


def badge(right: float, y: float, chapters: str) -> str:
    """A pill on the right edge of a box with the chapters in which the part is built."""
    width = 8 + 7 * len(chapters)
    left = right - width / 2
    pill = f'<rect class="badge" x="{left:g}" y="{y - 9:g}" width="{width}" height="18" rx="9"/>'
    return of_chapters(chapters, pill + text(right, y, chapters, "number"))


def of_chapters(chapters: str, content: str) -> str:
    """A group that a style sheet can address by chapter, to show where in the model a chapter is at home."""
    return f'<g class="{" ".join(f"ch{chapter}" for chapter in chapters.split())}">{content}</g>'


def box(x: float, y: float, width: float, words: str, chapters: str, height: float = 38) -> str:
    shape = f'<rect class="box" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>'
    return of_chapters(chapters, shape + text(x + width / 2, y + height / 2, words)) + badge(x + width, y, chapters)


def group(x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="group" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8"/>'


def waveform(x: float, y: float, width: float, height: float) -> str:
    """Three syllables: bursts of a falling tone."""
    points = []
    for step in range(361):
        share = step / 360
        loudness = math.sin(3 * math.pi * share) ** 2 * (0.55 + 0.45 * math.cos(5 * share))
        value = loudness * math.sin(2 * math.pi * (46 * share - 9 * share**2))
        points.append(f"{x + width * share:.1f},{y + height / 2 * (1 - value):.1f}")
    return f'<polyline class="trace" points="{" ".join(points)}"/>'


def mel_picture(x: float, y: float, width: float, height: float) -> str:
    """The same syllables over time and frequency: bands of energy that move."""
    columns, rows = 30, 12
    wide, high = width / columns, height / rows
    strips: dict[str, list[str]] = {}  # one path for all cells of the same shade: a rectangle each would be long
    for column in range(columns):
        loudness = math.sin(3 * math.pi * (column + 0.5) / columns) ** 2
        for row in range(rows):
            formants = (2.5 + math.sin(column / 4), 6.5 + 1.5 * math.cos(column / 5), 10.0)
            energy = loudness * sum(math.exp(-((row - formant) ** 2) / 1.2) for formant in formants)
            left, top = x + wide * column, y + height - high * (row + 1)
            shade = f"{min(1.0, 0.9 * energy):.1f}"
            strips.setdefault(shade, []).append(f"M{left:.1f} {top:g}h{wide:.1f}v{high:g}h-{wide:.1f}z")
    faint = f'<rect class="cell" x="{x}" y="{y}" width="{width}" height="{height}" fill-opacity="0.06"/>'
    return faint + "".join(
        f'<path class="cell" d="{"".join(cells)}" fill-opacity="{shade}"/>'
        for shade, cells in sorted(strips.items())
        if float(shade) > 0
    )


def sound() -> list[str]:
    x, width = 30, 190
    return [
        text(x + width / 2, 64, "Sound", "title"),
        waveform(x, 82, width, 70),
        badge(x + width, 82, "00"),
        text(x + width / 2, 164, "16,000 samples a second", "small"),
        arrow((125, 176), (125, 202)),
        mel_picture(x, 208, width, 84),
        badge(x + width, 208, "00"),
        text(x + width / 2, 305, "log-mel: 100 frames a second", "small"),
        arrow((125, 317), (125, 343)),
        box(x, 348, width, "normalise, SpecAugment", "00 08"),
    ]


def encoder() -> list[str]:
    x, width, centre = 300, 200, 400
    return [
        text(centre, 442, "Encoder", "title"),
        text(centre, 460, "hears: 25 vectors a second", "small"),
        box(x, 378, width, "convolutions, 4 frames to 1", "05"),
        arrow((centre, 376), (centre, 356)),
        box(x, 316, width, "+ positional encoding", "04"),
        arrow((centre, 314), (centre, 294)),
        group(x - 14, 170, width + 28, 128),
        box(x, 244, width, "self-attention", "01 02 12"),
        arrow((centre, 242), (centre, 226)),
        box(x, 184, width, "feed-forward", "05"),
        of_chapters("11", text(x - 32, 234, "N ×")),
        badge(x - 32, 212, "11"),
        arrow((centre, 168), (centre, 118)),
        box(x, 76, width, "CTC head", "07"),
        arrow((centre, 74), (centre, 52)),
        text(centre, 38, "_ H H _ E L L _ L O _", "code"),
    ]


def decoder() -> list[str]:
    x, width, centre = 630, 200, 730
    return [
        text(centre, 464, "Decoder", "title"),
        text(centre, 482, "writes: one token after another", "small"),
        text(centre, 440, "&lt;sos&gt; H E L L O", "code"),
        arrow((centre, 430), (centre, 419)),
        box(x, 378, width, "embedding + positions", "04"),
        arrow((centre, 376), (centre, 346)),
        group(x - 14, 140, width + 28, 206),
        box(x, 296, width, "causal self-attention", "03 06"),
        arrow((centre, 294), (centre, 272)),
        box(x, 230, width, "cross-attention", "06"),
        arrow((centre, 228), (centre, 206)),
        box(x, 164, width, "feed-forward", "06"),
        of_chapters("11", text(x + width + 32, 250, "× M")),
        badge(x + width + 32, 228, "11"),
        arrow((centre, 138), (centre, 118)),
        box(x, 76, width, "linear, softmax", "06"),
        arrow((centre, 74), (centre, 52)),
        text(centre, 38, "H E L L O &lt;eos&gt;", "code"),
    ]


def draw() -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="title">',
        '<title id="title">Sound becomes log-mel frames; an encoder turns them into vectors; a CTC head and an '
        "attention decoder both write the text. Numbers are the chapters that build each part.</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5" markerHeight="5" orient="auto">'
        '<path class="head" d="M0 0 L8 4 L0 8 Z"/></marker></defs>',
        f'<rect class="paper" x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="12"/>',
        '<g class="sound">',
        *sound(),
        "</g>",
        arrow((220, 367), (254, 367), (254, 397), (297, 397)),
        '<g class="encoder">',
        *encoder(),
        "</g>",
        arrow((400, 142), (562, 142), (562, 249), (627, 249)),
        text(412, 156, "encoder_out", "small left"),
        '<g class="decoder">',
        badge(562, 196, "13"),  # a vector for each token, in the place of the tokens so far
        "</g>",
        '<g class="sound">',
        box(523, 16, 88, "search", "09", height=34),
        box(513, 66, 106, "language model", "10", height=28),
        "</g>",
        arrow((566, 66), (566, 53)),
        arrow((490, 38), (520, 38)),
        arrow((664, 38), (616, 38)),
        text(566, 107, "training loss", "title"),
        text(566, 122, "w × CTC", "small"),
        text(566, 135, "+ (1 − w) × attention", "small"),
        text(30, 30, "beside each part: its chapters", "small left"),
        '<g class="decoder">',
        *decoder(),
        "</g>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("model.svg").write_text(draw(), encoding="utf-8")
