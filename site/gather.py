"""Gathers the site's pages from what the repository holds: nothing is written twice.

Pages lie below the site as in the repository, so that links between them lead to the same place in both. Markdown files
are taken as they are, but for links to what is no page; chapters are the executed solutions, with the answers folded;
pages of the library, of the chapters' list, of how to cite, and of the licence are made here.
"""

from __future__ import annotations

import ast
import os
import re
import runpy
import shutil
import tomllib
from pathlib import Path
from typing import Any

import commands
import nbformat
import yaml

from asr_tutorial.course.manifest import Chapter, load_course

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "asr_tutorial"

# Pages in the order of the sidebar; whatever else `pages` finds comes at the end of the part that its folder names.
PARTS: dict[str, list[str]] = {
    "Using the course": [
        "docs/install.md",
        "docs/machines.md",
        "docs/troubleshooting.md",
        "docs/instructors.md",
        "docs/glossary.md",
    ],
    "Recognisers": ["docs/using.md", "docs/librispeech.md", "docs/librispeech_100h.md", "docs/slurm/README.md"],
    "Results": ["RESULTS.md", "benchmarks/README.md"],
    "The library": ["commands.md", "api/index.md", "docs/architectures.md"],
    "About": ["CONTRIBUTING.md", "citing.md", "licence.md"],
}
REST = {"docs": "Recognisers", "data": "Results"}
FOUND = (
    "*.md",
    "docs/**/*.md",
    "data/*.md",
    "data/tinyspeech/*.md",
    "data/splits/*.md",
    "data/results/*/*.md",
    "data/results/searches.md",
    "benchmarks/*.md",
)
# Where links to folders and to files without a page of their own lead.
ELSEWHERE = {
    "README.md": "index.md",
    "LICENSE": "licence.md",
    "data/results": "RESULTS.md",
    "solutions": "solutions/index.md",
}
SHELL = ("asr-tutorial", "git", "make", "pip", "py", "python", "python3", "sbatch", "source", "torchrun", "RUN=")
EXERCISE = re.compile(r'^@exercise\("(\d+\.\d+)"\)', re.MULTILINE)
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s]+?)(#[^)\s]*)?(?=\))")
FENCE = re.compile(r"^```\n(?=(\S+)(.*?)^```)", re.MULTILINE | re.DOTALL)


def declared_repository() -> str:
    """The repository's address in ``pyproject.toml``, ``Repository`` of ``[project.urls]``, or ``""`` without one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project.get("urls", {}).get("Repository", "")).rstrip("/")


def repository() -> str:
    """The address as declared; without that, what GitHub's own builds say it is, and ``""`` elsewhere."""
    if (address := declared_repository()) or not os.environ.get("GITHUB_REPOSITORY"):
        return address
    return f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{os.environ['GITHUB_REPOSITORY']}"


def colab(chapter: str, address: str) -> str:
    """Where Colab opens a chapter of a repository, or ``""`` where its address is not known or is not GitHub's."""
    owner_and_name = address.removeprefix("https://github.com/")
    if owner_and_name == address:
        return ""
    return f"https://colab.research.google.com/github/{owner_and_name}/blob/main/chapters/{chapter}.ipynb"


def gather(out: Path) -> None:
    """Make Sphinx's source folder anew."""
    shutil.rmtree(out, ignore_errors=True)
    chapters = [chapter for chapter in load_course() if _solution(chapter).is_file()]
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in pages()}
    for chapter in chapters:
        _write(out / _page(chapter), nbformat.writes(_notebook(chapter, out)))
    made = {
        "solutions/index.md": _chapter_list(chapters),
        "commands.md": commands.page(),
        "citing.md": _citing(),
        "licence.md": f"# Licence\n\n```none\n{(ROOT / 'LICENSE').read_text(encoding='utf-8')}```\n",
        **_api(),
    }
    texts["docs/instructors.md"] = texts["docs/instructors.md"].replace("<!-- schedules -->", schedules(load_course()))
    index = _without_badges(texts.pop("README.md")) + _sidebar(chapters, [*texts, *made])
    known = {*texts, *made, "index.md", *map(_page, chapters)}
    for path, text in texts.items():
        title = "" if text.startswith("# ") else f"# {Path(path).stem.capitalize()}\n\n"
        _write(out / path, title + _linked(text, Path(path).parent, known, out))
    _write(out / "index.md", _linked(index, Path("."), known, out))
    for path, text in made.items():
        _write(out / path, text)


def pages() -> list[str]:
    """The Markdown files that become pages, as paths below the repository."""
    return sorted({path.relative_to(ROOT).as_posix() for pattern in FOUND for path in ROOT.glob(pattern)})


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _linked(text: str, folder: Path, known: set[str], out: Path) -> str:
    """A page's text with links that lead somewhere on the site; files that it links to are copied beside it."""

    def target(match: re.Match[str]) -> str:
        address, anchor = match[1], match[2] or ""
        path = Path(os.path.normpath(folder / address)).as_posix()
        path = ELSEWHERE.get(path, path)
        if f"{path}/README.md" in known:
            path = f"{path}/README.md"
        source = ROOT / path
        if path not in known:
            if not source.is_file():
                raise FileNotFoundError(f"a page in {folder} links to {address}, which is no file and has no page")
            copy = out / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
        return os.path.relpath(path, folder) + anchor

    text = LINK.sub(target, text)
    return FENCE.sub(_shell, text)


def _shell(match: re.Match[str]) -> str:
    """The beginning of a code block: one of shell commands is shown as such, but not a list with prose beside them."""
    return "```sh\n" if match[1].startswith(SHELL) and match[2].count("'") % 2 == 0 else match[0]


def _without_badges(text: str) -> str:
    """The README without pictures from other servers: the site loads nothing from elsewhere."""
    return re.sub(r"<!-- badges -->.*?<!-- /badges -->\n*", "", text, flags=re.DOTALL)


# ---------------------------------------------------------------------------------------------------------- chapters
def _solution(chapter: Chapter) -> Path:
    return ROOT / _page(chapter)


def _page(chapter: Chapter) -> str:
    return f"solutions/{chapter.name}.ipynb"


def _notebook(chapter: Chapter, out: Path) -> Any:
    """A solution notebook as the site shows it: each exercise as the learner meets it, and our answer folded below."""
    notebook = nbformat.read(_solution(chapter), as_version=4)
    stubs = _stubs(chapter)
    cells: list[Any] = []
    for cell in notebook.cells[1:]:  # the first is a notice for whoever opens the file
        if cell.cell_type == "markdown":
            cell.source = _linked(cell.source, Path("solutions"), _everything(), out)
        elif mark := EXERCISE.search(cell.source):
            cells.append(nbformat.v4.new_code_cell(stubs[mark[1]], metadata={"tags": ["exercise"]}))
            cell.metadata = nbformat.from_dict(
                {
                    "tags": ["hide-input"],
                    "mystnb": {"code_prompt_show": "Show our answer", "code_prompt_hide": "Our answer"},
                }
            )
            cell.outputs = []
        cells.append(cell)
    cells.insert(1, nbformat.v4.new_markdown_cell(_notice(chapter)))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    notebook.cells = cells
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return notebook


def _everything() -> set[str]:
    return {*pages(), *(_page(chapter) for chapter in load_course()), "index.md", "licence.md", "solutions/index.md"}


def _stubs(chapter: Chapter) -> dict[str, str]:
    notebook = nbformat.read(ROOT / "chapters" / f"{chapter.name}.ipynb", as_version=4)
    marks = {cell.source: EXERCISE.search(cell.source) for cell in notebook.cells if cell.cell_type == "code"}
    return {mark[1]: source for source, mark in marks.items() if mark}


def _notice(chapter: Chapter) -> str:
    lines = [
        "```{admonition} This page is for reading",
        ":class: tip",
        "",
        "Every cell has been run with our answers in it; they are folded below the exercises. To write yours and have",
        f"them checked, type `make course` in a clone of the repository and open `{chapter.name}.ipynb`.",
    ]
    if address := colab(chapter.name, repository()):
        lines += ["", f"[Open in Colab]({address}); its [first cells](../docs/machines.md#colab) put the course there."]
    return "\n".join([*lines, "```"])


def _chapter_list(chapters: list[Chapter]) -> str:
    rows = [
        f"| {chapter.id} | [{chapter.title}]({chapter.name}.ipynb) | {chapter.hours:g} | "
        f"{sum(exercise.core for exercise in chapter.exercises)} | "
        f"{sum(not exercise.core for exercise in chapter.exercises)} |"
        for chapter in chapters
    ]
    head = "| | chapter | hours | core exercises | optional |\n|---|---|---|---|---|\n"
    text = "Executed with our answers, which are folded. Hours are those of the core, reading and experiments included."
    return f"# Chapters\n\n{text}\n\n{head}" + "\n".join(rows) + "\n"


def schedules(chapters: tuple[Chapter, ...] | list[Chapter], weeks: tuple[int, ...] = (4, 8, 12)) -> str:
    """Tables of a course in so many weeks: chapters in their order, the fullest week as light as it can be."""
    total = sum(chapter.hours for chapter in chapters)
    tables = []
    for number in weeks:
        rows = []
        for week, part in enumerate(split_evenly([chapter.hours for chapter in chapters], number), start=1):
            names = ", ".join(f"{chapters[place].id} {chapters[place].title}" for place in part)
            rows.append(f"| {week} | {names} | {sum(chapters[place].hours for place in part):g} |")
        title = f"### {number} weeks, {total / number:.1f} hours a week on average"
        tables.append(f"{title}\n\n| week | chapters | hours |\n|---|---|---|\n" + "\n".join(rows))
    return "\n\n".join(tables)


def split_evenly(hours: list[float], parts: int) -> list[range]:
    """Cut a row into parts that follow each other, none of them empty, the largest sum as small as it can be."""
    # best[p][n]: the smallest largest sum of the first n in p parts, and where the last of these parts begins.
    best = [[(float("inf"), 0)] * (len(hours) + 1) for _ in range(parts + 1)]
    best[0][0] = (0.0, 0)
    for part in range(1, parts + 1):
        for end in range(part, len(hours) + 1):
            best[part][end] = min(
                (max(best[part - 1][start][0], sum(hours[start:end])), start) for start in range(part - 1, end)
            )
    ranges, end = [], len(hours)
    for part in range(parts, 0, -1):
        start = best[part][end][1]
        ranges.append(range(start, end))
        end = start
    return ranges[::-1]


# ------------------------------------------------------------------------------------------------------- the library
def _api() -> dict[str, str]:
    """One page for each package or module at the top of the library, in the layers that imports follow."""
    layers: list[tuple[str, set[str]]] = runpy.run_path(str(ROOT / "tests" / "test_layers.py"))["LAYERS"]
    text = [
        "# The library\n\nFrom the bottom to the top: a module imports from its own layer and those above it here.\n"
    ]
    made = {}
    listed = []
    for layer, members in layers:
        text.append(f"\n## {layer[0].upper()}{layer[1:]}\n\n| module | what |\n|---|---|")
        for name in sorted(members - {"__main__"}):
            made[f"api/{name}.rst"] = _api_page(name)
            listed.append(name)
            text.append(f"| [`{name}`]({name}.rst) | {_first_line(name)} |")
    text.append("\n```{toctree}\n:hidden:\n:titlesonly:\n\n" + "\n".join(listed) + "\n```\n")
    return {"api/index.md": "\n".join(text), **made}


def _file(name: str) -> Path:
    package = PACKAGE / name / "__init__.py"
    return package if package.is_file() else PACKAGE / f"{name}.py"


def _first_line(name: str) -> str:
    docstring = ast.get_docstring(ast.parse(_file(name).read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split()).replace("``", "`").replace("|", r"\|")


def _api_page(name: str) -> str:
    """A page with everything public of a module, or of all modules of a package."""
    file = _file(name)
    text = [_title(name, "="), _automodule(name, members=file.name != "__init__.py")]
    if file.name == "__init__.py":
        for path in sorted(file.parent.rglob("*.py")):
            if path.name == "__init__.py" and path.parent != file.parent:
                raise ValueError(f"{path}: pages are made for one level of modules below a package")
            if path != file:
                text += [_title(f"{name}.{path.stem}", "-"), _automodule(f"{name}.{path.stem}")]
        if name == "cli":
            text = text[:2]
    return "\n".join(text)


def _title(name: str, line: str) -> str:
    return f"{name}\n{line * len(name)}\n"


def _automodule(name: str, members: bool = True) -> str:
    options = ["   :members:"] if members else []
    return "\n".join([f".. automodule:: asr_tutorial.{name}", *options, ""])


# -------------------------------------------------------------------------------------------------------------- about
def _citing() -> str:
    """How to cite, from ``CITATION.cff``."""
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    record = yaml.safe_load(text)
    author = " and ".join(f"{{{entry['name']}}}" for entry in record["authors"])
    fields = {
        "title": f"{{{record['title']}}}",
        "author": f"{{{author}}}",
        "year": f"{{{str(record['date-released'])[:4]}}}",
        "note": f"{{Version {record['version']}}}",
    }
    if repository():
        fields["url"] = f"{{{repository()}}}"
    bibtex = ",\n".join([f"@software{{{record['title']}", *(f"  {key} = {value}" for key, value in fields.items())])
    return (
        f"# How to cite\n\n{record['message']}\n\nBibTeX:\n\n```none\n{bibtex}\n}}\n```\n\n"
        f"`CITATION.cff`, which GitHub and Zotero read:\n\n```yaml\n{text}```\n"
    )


def _sidebar(chapters: list[Chapter], known: list[str]) -> str:
    parts = {title: list(paths) for title, paths in PARTS.items()}
    named = {path for paths in parts.values() for path in paths} | {"solutions/index.md"}
    for path in known:
        if path not in named and not path.startswith("api/"):
            parts[REST[path.split("/")[0]]].append(path)
    trees = {"Chapters": ["solutions/index.md", *map(_page, chapters)], **parts}
    return "".join(
        f"\n```{{toctree}}\n:hidden:\n:titlesonly:\n:caption: {title}\n\n" + "\n".join(paths) + "\n```\n"
        for title, paths in trees.items()
    )
