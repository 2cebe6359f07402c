"""Records docs/session.svg, a terminal in which the bundled recogniser is at work: ``python docs/draw_session.py``.

The commands really run, one after the other, and each line of the picture appears as long after the one above it as it
did in the terminal. The picture plays once; where the reader's system asks for less motion it stands still, complete.
"""

import datetime
import shlex
import subprocess
import sys
import time
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SPEAKER = "data/tinyspeech/test/155/1155"  # a voice that is in no training set
COMMANDS = [
    f"asr-tutorial transcribe --checkpoint data/pretrained/tinyspeech {SPEAKER}/155-1155-000[0-4].opus",
    f"asr-tutorial align --checkpoint data/pretrained/tinyspeech {SPEAKER}/155-1155-0002.opus",
]
TITLE = "A terminal: the bundled recogniser transcribes an unknown voice and says when each word was spoken"
KEYSTROKE = 0.025  # seconds
PAUSE = 1.5  # seconds between an answer and the next command
WIDTH, LINE, TOP, LEFT = 980, 20, 52, 18  # pixels
STYLE = """
  text { font-family: Consolas, Menlo, "DejaVu Sans Mono", monospace; font-size: 13px;
         fill: #e6edf3; white-space: pre; }
  circle { fill: #7d8590; }
  .prompt { fill: #7ee2b8; }
  .cover { fill: #161b22; transform: scaleX(0); }
  @media (prefers-reduced-motion: no-preference) {
    .line { animation: appear 1ms linear both; }
    .cover { animation: uncover linear both; transform-box: fill-box; transform-origin: right; }
  }
  @keyframes appear { from { visibility: hidden; } to { visibility: visible; } }
  @keyframes uncover { from { transform: scaleX(1); } to { transform: scaleX(0); } }
"""


def record(command: str) -> list[tuple[float, str]]:
    """Runs a command: the lines that it prints, each with the seconds after the start at which it came."""
    inner = command.replace("asr-tutorial", f"{shlex.quote(sys.executable)} -u -m asr_tutorial", 1)
    start = time.monotonic()
    lines = []
    with subprocess.Popen(inner, shell=True, cwd=ROOT, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout is not None
        for line in process.stdout:
            # The names of the files are enough; their folder stands in the command.
            lines.append((time.monotonic() - start, line.rstrip("\n").removeprefix(f"{SPEAKER}/").expandtabs(2)))
    if process.returncode:
        raise SystemExit(f"{command} failed: nothing is drawn")
    return lines


def line(y: int, seconds: float, content: str) -> str:
    return f'<text class="line" style="animation-delay: {seconds:.2f}s" x="{LEFT}" y="{y}">{content}</text>'


def draw() -> str:
    rows, now, y = [], 0.5, TOP
    for command in COMMANDS:
        typing = KEYSTROKE * len(command)
        rows.append(line(y, now, f'<tspan class="prompt">$ </tspan>{escape(command)}'))
        # A lid in the colour of the paper that draws back as the command is typed.
        rows.append(
            f'<rect class="cover" style="animation-delay: {now:.2f}s; animation-duration: {typing:.2f}s" '
            f'x="{LEFT + 15}" y="{y - 15}" width="{8 * len(command)}" height="{LINE}"/>'
        )
        answer = record(command)
        for seconds, content in answer:
            y += LINE
            rows.append(line(y, now + typing + seconds, escape(content)))
        now += typing + answer[-1][0] + PAUSE
        y += LINE + LINE // 2
    buttons = "".join(f'<circle cx="{x}" cy="18" r="5"/>' for x in (20, 38, 56))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img" aria-label="{TITLE}">',
            f"<!-- Recorded on {datetime.date.today()} by docs/draw_session.py; {now - PAUSE:.0f} seconds. -->",
            f"<style>{STYLE}</style>",
            f'<rect width="{WIDTH}" height="{y}" rx="8" fill="#161b22"/>{buttons}',
            *rows,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    picture = draw()
    (ROOT / "docs" / "session.svg").write_text(picture, encoding="utf-8")
