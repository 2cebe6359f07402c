"""Builds the course's site: ``python site/build.py [FOLDER]``; without a folder, ``build/site``.

Needs no network, and the site needs none either: it can be read from a folder or a memory stick.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

SITE = Path(__file__).resolve().parent
sys.path[:0] = [str(SITE), str(SITE.parent)]

from gather import ROOT, gather  # noqa: E402
from sphinx.cmd.build import build_main  # noqa: E402


def main(arguments: list[str]) -> int:
    """Build into a folder. Warnings are errors, all of them are shown, and links without a target are warnings."""
    out = Path(arguments[0] if arguments else ROOT / "build" / "site").resolve()
    sources = out.parent / f"{out.name}-source"
    if (out / ".buildinfo").is_file():  # a site of ours, perhaps with pages that are no more
        shutil.rmtree(out)
    gather(sources)
    options = ["--nitpicky", "--fail-on-warning", "--keep-going", "--quiet", "--fresh-env", "--write-all"]
    folders = ["-c", str(SITE), "-d", str(out.parent / f"{out.name}-doctrees"), str(sources), str(out)]
    code = build_main([*options, "-b", "html", *folders])
    if code == 0:
        print(f"open {out / 'index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
