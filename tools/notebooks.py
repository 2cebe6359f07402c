"""Makes what follows from the library and the chapters' texts: ``python tools/notebooks.py [CHAPTER ...]``

For each chapter, from ``chapters/NN_name.py`` (prose, experiments, ``@exercise`` cells) and the library (code):

- the stub cells in ``chapters/NN_name.py`` itself, below each ``@exercise("N.M")``;
- ``chapters/NN_name.ipynb``, the same as a notebook, without outputs;
- ``solutions/NN_name.ipynb``, the chapter with our bodies in the place of the stubs, executed.

The same sources give the same files. A solution is executed again only when its cells have changed, or with
``--execute``.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat

from asr_tutorial.course.manifest import CHAPTERS, REPOSITORY, Chapter, find_exercise, load_course
from asr_tutorial.course.source import solution, stub

sys.path.insert(0, str(Path(__file__).parent))  # tests run this file from elsewhere
from pictures import small_picture

SOLUTIONS = REPOSITORY / "solutions"
MARK = re.compile(r'^@exercise\("(\d+\.\d+)"\)', re.MULTILINE)
NOTICE = (
    "> The chapter with our answers in it, executed. `make notebooks` makes it; your own copy is in your workspace."
)
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_TIMEOUT = 300  # seconds
WAV = re.compile(r'src="data:audio/wav;base64,(?P<data>[^"]+)"(?P<type> type="audio/wav")?')

Notebook = Any


def chapter_text(chapter: Chapter) -> str:
    """The percent script of a chapter with its stub cells as the library has them today."""
    text = (CHAPTERS / f"{chapter.name}.py").read_text(encoding="utf-8")
    blocks = re.split(r"^(?=# %%)", text, flags=re.MULTILINE)
    return "".join(_with_stub(block) for block in blocks)


def _with_stub(block: str) -> str:
    mark = MARK.search(block)
    if mark is None:
        return block
    head = block.splitlines()[0]
    exercise = find_exercise(mark[1])
    return f"{head}\n{stub(exercise, exercise.path.read_text(encoding='utf-8'))}\n\n\n"


def chapter_notebook(text: str) -> Notebook:
    """A chapter's notebook, from its percent script."""
    notebook = jupytext.reads(text, fmt="py:percent")
    metadata = {**METADATA, "jupytext": {"formats": "ipynb,py:percent"}}
    return _settled(notebook.cells, metadata)


def solution_notebook(text: str) -> Notebook:
    """A chapter's notebook with our bodies, not executed."""
    notebook = jupytext.reads(text, fmt="py:percent")
    for cell in notebook.cells:
        mark = MARK.search(cell.source)
        if cell.cell_type == "code" and mark:
            exercise = find_exercise(mark[1])
            cell.source = solution(exercise, exercise.path.read_text(encoding="utf-8"))
    return _settled([nbformat.v4.new_markdown_cell(NOTICE), *notebook.cells], METADATA)


def _settled(cells: list[Any], metadata: dict[str, Any]) -> Notebook:
    """A notebook whose bytes depend on its cells alone: a fresh conversion would draw random cell ids."""
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    for number, cell in enumerate(cells):
        cell["id"] = f"{number:03d}-{hashlib.sha256(cell.source.encode()).hexdigest()[:8]}"
        cell["metadata"] = {key: value for key, value in cell["metadata"].items() if key == "tags"}
    return notebook


def sources(notebook: Notebook) -> list[tuple[str, str, list[str]]]:
    """What drift is judged by: kind, text and tags of each cell, not outputs."""
    return [(cell.cell_type, cell.source, list(cell.metadata.get("tags", []))) for cell in notebook.cells]


def is_executed(notebook: Notebook) -> bool:
    """Whether each code cell has been executed."""
    return all(cell.execution_count is not None for cell in notebook.cells if cell.cell_type == "code")


def execute(notebook: Notebook) -> None:
    """Run a solution notebook in its folder and keep its outputs.

    The workspace of whoever runs this stays out of it; one thread, as in the tests.
    """
    from nbclient import NotebookClient

    environment = {key: value for key, value in os.environ.items() if not key.startswith("ASR_TUTORIAL_")}
    os.environ.clear()
    os.environ.update(environment | {"OMP_NUM_THREADS": "1"})
    SOLUTIONS.mkdir(exist_ok=True)
    client = NotebookClient(
        notebook, timeout=CELL_TIMEOUT, record_timing=False, resources={"metadata": {"path": str(SOLUTIONS)}}
    )
    client.execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        # Warnings about this machine are nobody else's business.
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    make_outputs_small(notebook)


def make_outputs_small(notebook: Notebook) -> None:
    """Give pictures a palette and make sound MP3: far fewer bytes, and hardly to be told apart."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = _base64(small_picture(base64.b64decode(data["image/png"]))) + "\n"
            if "text/html" in data:
                data["text/html"] = WAV.sub(_as_mp3, data["text/html"])


def _as_mp3(wav: re.Match[str]) -> str:
    """A WAV file of 16 bits in a page as MP3 of variable rate, which every browser plays."""
    import soundfile

    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(wav["data"])))
    small = io.BytesIO()
    soundfile.write(small, samples, rate, format="MP3", bitrate_mode="VARIABLE", compression_level=0.2)
    return f'src="data:audio/mpeg;base64,{_base64(small.getvalue())}"' + (' type="audio/mpeg"' if wav["type"] else "")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def drift(chapter: Chapter) -> list[Path]:
    """The files of a chapter that are not what the library and the chapter's text make of them today."""
    script, notebook = (CHAPTERS / f"{chapter.name}{suffix}" for suffix in (".py", ".ipynb"))
    text = chapter_text(chapter)
    expected = {script: text, notebook: nbformat.writes(chapter_notebook(text)) + "\n"}
    stale = [path for path, content in expected.items() if _read(path) != content]
    path = SOLUTIONS / f"{chapter.name}.ipynb"
    if path.is_file():
        present = nbformat.read(path, as_version=4)
        if sources(present) == sources(solution_notebook(text)) and is_executed(present):
            return stale
    return [*stale, path]


def build(chapter: Chapter, always_execute: bool = False) -> None:
    """Bring all files of a chapter up to date."""
    text = chapter_text(chapter)
    stale = drift(chapter)
    solution_path = SOLUTIONS / f"{chapter.name}.ipynb"
    for path in stale:
        if path.suffix == ".py":
            _write(path, text)
        elif path != solution_path:
            _write(path, nbformat.writes(chapter_notebook(text)) + "\n")
    if always_execute or solution_path in stale:
        notebook = solution_notebook(text)
        execute(notebook)
        _write(solution_path, nbformat.writes(notebook) + "\n")


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"wrote {path.relative_to(REPOSITORY)}")


def main(arguments: list[str]) -> None:
    always_execute = "--execute" in arguments
    chosen = [argument for argument in arguments if not argument.startswith("-")]
    for chapter in load_course():
        if (not chosen or chapter.id in chosen) and (CHAPTERS / f"{chapter.name}.py").is_file():
            build(chapter, always_execute)


if __name__ == "__main__":
    main(sys.argv[1:])
