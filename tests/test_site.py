"""The course's site: built without a warning, whole without a network, its links and anchors alive."""

import json
import os
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
import yaml

from asr_tutorial.course.manifest import load_course

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "site"))

import gather  # noqa: E402

CHAPTERS = [chapter for chapter in load_course() if (ROOT / "solutions" / f"{chapter.name}.ipynb").is_file()]
# What makes a browser fetch something. Links that a reader may click are not among them.
LOADING = {"script", "img", "source", "audio", "video", "iframe"}
ONLY_NAMED = {"next", "prev", "search", "index", "canonical"}  # kinds of <link> that nothing is fetched for


class Page(HTMLParser):
    """The links of a page, what it loads, its anchors, and the text of some of its parts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.doubled: set[str] = set()
        self.counts: dict[str, int] = {}
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if (name := values.get("id")) is not None:
            (self.doubled if name in self.anchors else self.anchors).add(name)
        if tag == "a":
            self.anchors.add(values.get("name", ""))
            if "href" in values:
                self.links.append(values["href"])
        if tag in LOADING and "src" in values:
            self.loads.append(values["src"])
        if tag == "link" and values.get("rel") not in ONLY_NAMED:
            self.loads.append(values["href"])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, int]:
    out = tmp_path_factory.mktemp("site") / "site"
    # An address that nobody answers: the build must not ask anybody.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GITHUB_")} | nowhere
    command = [sys.executable, str(ROOT / "site" / "build.py"), str(out)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return out, result.stdout + result.stderr, result.returncode


@pytest.fixture(scope="module")
def pages(built: tuple[Path, str, int]) -> dict[Path, Page]:
    found = [path for path in sorted(built[0].rglob("*.html")) if "_static" not in path.parts]  # templates of the theme
    return {path: Page(path) for path in found}


@pytest.mark.slow
class TestSite:
    def test_it_is_built_without_a_warning(self, built: tuple[Path, str, int]) -> None:
        _, said, code = built
        assert code == 0, said[-4000:]
        assert "WARNING" not in said
        assert "ERROR" not in said

    def test_every_chapter_document_and_module_has_a_page(self, built: tuple[Path, str, int]) -> None:
        out = built[0]
        layers = runpy.run_path(str(ROOT / "tests" / "test_layers.py"))["LAYERS"]
        modules = set().union(*(members for _, members in layers)) - {"__main__"}
        names = {f"solutions/{chapter.name}" for chapter in CHAPTERS} | {f"api/{name}" for name in modules}
        names |= {path.relative_to(ROOT).with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")}
        names |= {"index", "RESULTS", "CONTRIBUTING", "citing", "licence", "commands", "search", "benchmarks/README"}
        assert len(CHAPTERS) >= 14
        assert not [name for name in sorted(names) if not (out / f"{name}.html").is_file()]

    def test_no_dead_link_inside(self, built: tuple[Path, str, int], pages: dict[Path, Page]) -> None:
        dead = []
        for path, page in pages.items():
            for link in page.links:
                if urlsplit(link).scheme or link.startswith("//"):
                    continue
                address, anchor = urldefrag(link)
                target = (path.parent / unquote(address.split("?")[0])).resolve() if address else path
                where = path.relative_to(built[0]).as_posix()
                if not target.is_file():
                    dead.append(f"{where}: {link}")
                # Module pages of the source hold each line as an anchor of their own; `#` alone is the page's top.
                elif anchor and target in pages and unquote(anchor) not in pages[target].anchors:
                    dead.append(f"{where}: no anchor {link}")
        assert not dead, f"{len(dead)}: " + "; ".join(dead[:20])

    def test_nothing_is_loaded_from_elsewhere(self, built: tuple[Path, str, int], pages: dict[Path, Page]) -> None:
        foreign = [
            f"{path.name}: {address}"
            for path, page in pages.items()
            for address in page.loads
            if urlsplit(address).scheme not in ("", "data") or address.startswith("//")
        ]
        assert not foreign
        missing = [
            f"{path.name}: {address}"
            for path, page in pages.items()
            for address in page.loads
            if not address.startswith("data:") and not (path.parent / unquote(address.split("?")[0])).is_file()
        ]
        assert not missing
        for sheet in built[0].rglob("*.css"):
            text = sheet.read_text(encoding="utf-8")
            fetched = re.findall(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^)'\"]*)", text)
            assert not fetched, f"{sheet}: {fetched}"

    def test_every_answer_is_folded_and_every_exercise_open(self, built: tuple[Path, str, int]) -> None:
        for chapter in CHAPTERS:
            html = (built[0] / "solutions" / f"{chapter.name}.html").read_text(encoding="utf-8")
            assert html.count("Show our answer") == len(chapter.exercises), chapter.id
            assert html.count("tag_exercise") == len(chapter.exercises), chapter.id
            folded = re.findall(r"<details[^>]*>(?:(?!</details>).)*?@exercise|<details", html, flags=re.DOTALL)
            assert len(folded) >= len(chapter.exercises)

    def test_formulas_are_mathml_and_none_is_left_as_source(self, built: tuple[Path, str, int]) -> None:
        found = 0
        for chapter in CHAPTERS:
            html = (built[0] / "solutions" / f"{chapter.name}.html").read_text(encoding="utf-8")
            text = re.sub(r"<(pre|code|math|script)\b.*?</\1>", "", html, flags=re.DOTALL)
            text = re.sub(r"<[^>]*>", "", text)
            assert not re.search(r"\$\$|\\frac|\\sum|\\mathrm", text), chapter.id
            # A command that the converter does not know is passed on as text.
            drawn = re.findall(r"<math\b.*?</math>", html, flags=re.DOTALL)
            unknown = [formula for formula in drawn if re.search(r">[^<]*\\[A-Za-z]", formula)]
            assert not unknown, f"{chapter.id}: {unknown[0]}"
            found += len(drawn)
        assert found > 1000

    def test_sound_and_pictures_are_there(self, built: tuple[Path, str, int], pages: dict[Path, Page]) -> None:
        first = pages[built[0] / "solutions" / "00_sound_and_text.html"]
        assert first.counts["audio"] >= 4
        assert first.counts["img"] >= 8
        assert any(address.endswith(".svg") for address in first.loads)

    def test_the_search_finds_a_word_of_each_part(self, built: tuple[Path, str, int]) -> None:
        index = (built[0] / "searchindex.js").read_text(encoding="utf-8")
        index = json.loads(index.removeprefix("Search.setIndex(").removesuffix(")"))
        names = index["docnames"]
        for word, page in (("alias", "solutions/00_sound_and_text"), ("colab", "docs/machines")):
            found = [index[part].get(word, []) for part in ("terms", "titleterms")]
            places = [place for entry in found for place in ([entry] if isinstance(entry, int) else entry)]
            assert page in [names[place] for place in places]


class TestSchedule:
    split = staticmethod(gather.split_evenly)

    def test_the_fullest_week_is_as_light_as_it_can_be(self) -> None:
        assert [list(part) for part in self.split([3, 1, 1, 3], 2)] == [[0, 1], [2, 3]]
        assert [list(part) for part in self.split([1, 1, 6, 1], 3)] in ([[0, 1], [2], [3]], [[0], [1], [2, 3]])

    @pytest.mark.parametrize("weeks", [4, 8, 12])
    def test_every_chapter_has_its_week(self, weeks: int) -> None:
        hours = [chapter.hours for chapter in load_course()]
        parts = self.split(hours, weeks)
        assert [place for part in parts for place in part] == list(range(len(hours)))
        assert all(parts)


def messages() -> list[str]:
    return re.findall(
        r"```text\n(.*?)\n```", (ROOT / "docs" / "troubleshooting.md").read_text("utf-8"), flags=re.DOTALL
    )


def test_every_message_of_the_troubleshooting_page_is_one_of_ours() -> None:
    """Each part of a message between dots stands in the sources, in the order given."""
    files = [*(ROOT / "asr_tutorial").rglob("*.py"), ROOT / "tools" / "install.sh"]
    # Adjacent strings joined as Python does, what is filled in left out, without shell's variables.
    texts = [re.sub(r'"\s*\n\s*f?"', "", file.read_text(encoding="utf-8")).replace("\\n", "\n") for file in files]
    texts = [re.sub(r"\{[^{}\n]*\}", "\0", text) for text in texts]
    texts = [re.sub(r"\$\{?\w+(?::?[-+][^}]*)?\}?", "\0", text) if "#!/bin/sh" in text else text for text in texts]
    assert len(messages()) >= 25
    for message in messages():
        pattern = r"[^\n]*?".join(re.escape(part) for part in message.split("..."))
        assert any(re.search(pattern, text) for text in texts), message


class TestFace:
    def test_how_to_cite_agrees_with_the_package(self) -> None:
        citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
        project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        assert f'version = "{citation["version"]}"' in project
        assert citation["license"] == "MIT"
        assert citation["authors"] == [{"name": "the asr_tutorial authors"}]
        assert f'name = "{citation["authors"][0]["name"]}"' in project
        assert {"cff-version", "message", "title", "date-released"} <= citation.keys()

    def test_badges_are_what_the_address_makes_them(self) -> None:
        badges = runpy.run_path(str(ROOT / "tools" / "badges.py"))
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        assert readme.count("<!-- badges -->\n") == readme.count("<!-- /badges -->\n") == 1
        assert badges["with_badges"](readme) == readme
        line = badges["badges"]("https://github.com/someone/course")
        assert (
            "https://colab.research.google.com/github/someone/course/blob/main/chapters/00_sound_and_text.ipynb" in line
        )
        assert (ROOT / "chapters" / "00_sound_and_text.ipynb").is_file()
        assert badges["badges"]("") == ""

    def test_the_site_knows_its_repository_on_github(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
        declared = gather.declared_repository()
        assert gather.repository() == declared
        monkeypatch.setenv("GITHUB_REPOSITORY", "someone/course")
        assert gather.repository() == (declared or "https://github.com/someone/course")
        assert gather.colab("00_x", "https://example.org/course") == ""

    @pytest.mark.parametrize(("name", "command"), [("ci", ".ci/run"), ("pages", "make site")])
    def test_workflows_run_what_we_run(self, name: str, command: str) -> None:
        workflow = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8"))
        (job,) = workflow["jobs"].values()
        assert [step["run"] for step in job["steps"] if "run" in step] == [command]
        setup = next(step for step in job["steps"] if step.get("uses", "").startswith("actions/setup-python@"))
        assert setup["with"]["cache"] == "pip"
        files = setup["with"]["cache-dependency-path"].split()
        assert all((ROOT / file).is_file() for file in files)
        if name == "ci":
            assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12"]
            assert os.access(ROOT / ".ci" / "run", os.X_OK)
        else:
            upload = next(step for step in job["steps"] if "upload-pages-artifact" in step.get("uses", ""))
            assert upload["with"]["path"] == "build/site"

    def test_the_container_installs_through_the_makefile(self) -> None:
        container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
        assert container["postCreateCommand"] == "make install"
        # A make that runs these tests hands its own VENV down.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        command = ["make", "-n", "-B", "install", "VENV=.venv"]
        planned = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        assert 'tools/install.sh .venv "course,serve"' in planned.stdout
