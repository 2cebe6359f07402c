"""Puts badges into the README, from the repository's address: ``python tools/badges.py``

The address is ``Repository`` of ``[project.urls]`` in ``pyproject.toml``; without one, there are no badges.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "site"))

from gather import colab, declared_repository  # noqa: E402

PLACE = re.compile(r"(?<=<!-- badges -->\n).*?(?=<!-- /badges -->)", re.DOTALL)
FIRST = "00_sound_and_text"


def badges(address: str) -> str:
    """The line of badges; empty without an address."""
    if not address:
        return ""
    workflow = f"{address}/actions/workflows/ci.yml"
    container = (
        f"https://vscode.dev/redirect?url=vscode://ms-vscode-remote.remote-containers/cloneInVolume?url={address}"
    )
    line = [
        f"[![CI]({workflow}/badge.svg)]({workflow})",
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab(FIRST, address)})",
        f"[![Open in a dev container](https://img.shields.io/badge/dev%20container-open-blue)]({container})",
    ]
    return "\n".join(line) + "\n"


def with_badges(readme: str) -> str:
    """The README's text with today's badges."""
    return PLACE.sub(lambda _: badges(declared_repository()), readme)


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(with_badges(path.read_text(encoding="utf-8")), encoding="utf-8")
