"""Writes chapters/NN_name.ipynb from chapters/NN_name.py (jupytext's percent format).

The same sources always give the same bytes. This is a placeholder: the course engine of the next step takes over
``make notebooks`` and also makes stubs and solutions.
"""

from pathlib import Path

import jupytext

CHAPTERS = Path(__file__).resolve().parents[1] / "chapters"


def main() -> None:
    sources = sorted(CHAPTERS.glob("[0-9][0-9]_*.py"))
    for source in sources:
        notebook = jupytext.read(source)
        # A fresh conversion draws random cell ids; numbers keep the file the same from run to run.
        for number, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{number:03d}"
        jupytext.write(notebook, source.with_suffix(".ipynb"))
        print(f"wrote {source.with_suffix('.ipynb').relative_to(CHAPTERS.parent)}")
    if not sources:
        print("no chapters yet")


if __name__ == "__main__":
    main()
