"""Chapters, notebooks and solutions are what the library and the chapters' texts make of them."""

import base64
import io
import re
import runpy
import shutil
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import soundfile
from PIL import Image

from asr_tutorial import plots
from asr_tutorial.course.manifest import CHAPTERS, REPOSITORY, all_exercises, load_course

SCRIPT = str(REPOSITORY / "tools" / "notebooks.py")
tools = SimpleNamespace(**runpy.run_path(SCRIPT))
each_chapter = pytest.mark.parametrize("chapter", load_course(), ids=lambda chapter: chapter.name)
LARGEST = 1_500_000  # bytes of an executed notebook


@each_chapter
def test_nothing_has_drifted(chapter):
    stale = [str(path.relative_to(REPOSITORY)) for path in tools.drift(chapter)]
    assert not stale, f"run `make notebooks`: {stale} is not what the library and the chapter's text make of it"


@each_chapter
def test_the_same_sources_make_the_same_bytes(chapter):
    text = tools.chapter_text(chapter)
    first, second = (nbformat.writes(tools.chapter_notebook(text)) for _ in range(2))
    assert first == second


@pytest.fixture
def copy(tmp_path):
    """A chapter in a folder of its own, and the tool looking there."""
    chapter = load_course()[2]
    functions = runpy.run_path(SCRIPT)
    scope = functions["drift"].__globals__
    for name in ("CHAPTERS", "SOLUTIONS"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        for file in (REPOSITORY / name.lower()).glob(f"{chapter.name}.*"):
            shutil.copy(file, folder)
        scope[name] = folder
    assert not functions["drift"](chapter)
    return SimpleNamespace(chapter=chapter, drift=functions["drift"], scope=scope)


class TestDriftIsSeen:
    """Each kind of file is made to drift once."""

    def test_of_a_stub_in_the_script(self, copy):
        path = copy.scope["CHAPTERS"] / f"{copy.chapter.name}.py"
        text = path.read_text(encoding="utf-8")
        changed = text.replace('raise NotImplementedError("exercise 2.1")', "return x")
        assert changed != text
        path.write_text(changed, encoding="utf-8")
        assert copy.drift(copy.chapter) == [path]

    def test_of_the_prose(self, copy):
        path = copy.scope["CHAPTERS"] / f"{copy.chapter.name}.py"
        path.write_text(path.read_text(encoding="utf-8").replace("# # ", "# # A new title: ", 1), encoding="utf-8")
        assert [file.suffix for file in copy.drift(copy.chapter)] == [".ipynb", ".ipynb"], "both notebooks are older"

    @pytest.mark.parametrize("folder", ["CHAPTERS", "SOLUTIONS"])
    def test_of_a_notebook(self, copy, folder):
        path = copy.scope[folder] / f"{copy.chapter.name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        notebook.cells[-1].source += " More."
        nbformat.write(notebook, path)
        assert copy.drift(copy.chapter) == [path]

    def test_of_a_solution_that_was_not_executed(self, copy):
        path = copy.scope["SOLUTIONS"] / f"{copy.chapter.name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        next(cell for cell in notebook.cells if cell.cell_type == "code").execution_count = None
        nbformat.write(notebook, path)
        assert copy.drift(copy.chapter) == [path]

    def test_of_the_library(self, copy):
        real = copy.scope["solution"]
        copy.scope["solution"] = lambda exercise, library: real(exercise, library) + "  # better"
        assert copy.drift(copy.chapter) == [copy.scope["SOLUTIONS"] / f"{copy.chapter.name}.ipynb"]

    @pytest.mark.parametrize("name", ["CHAPTERS", "SOLUTIONS"])
    def test_of_a_missing_file(self, copy, name):
        path = copy.scope[name] / f"{copy.chapter.name}.ipynb"
        path.unlink()
        assert copy.drift(copy.chapter) == [path]


@each_chapter
def test_a_solution_has_outputs_without_errors(chapter):
    path = REPOSITORY / "solutions" / f"{chapter.name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count is not None for cell in cells), "strict nbval compares nothing in such a cell"
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    printed = "".join(output.get("text", "") for cell in cells for output in cell.outputs)
    assert "NOT RIGHT YET" not in printed, "a check of our own answer failed: execute it again"
    assert path.stat().st_size < LARGEST


@each_chapter
def test_pictures_and_sound_of_a_solution_are_small(chapter):
    notebook = nbformat.read(REPOSITORY / "solutions" / f"{chapter.name}.ipynb", as_version=4)
    before = nbformat.writes(notebook)
    tools.make_outputs_small(notebook)
    assert nbformat.writes(notebook) == before, "run `python tools/notebooks.py --execute` for this chapter"


def test_outputs_are_made_small_and_stay_true():
    samples = (0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.float32)
    figure = plots.mel(np.random.default_rng(0).normal(size=(120, 80)))
    picture, sound = io.BytesIO(), io.BytesIO()
    figure.savefig(picture, format="png")
    soundfile.write(sound, samples, 16_000, format="WAV")
    page = (
        f'<audio><source src="data:audio/wav;base64,{base64.b64encode(sound.getvalue()).decode()}" type="audio/wav" />'
    )
    data = {"image/png": base64.b64encode(picture.getvalue()).decode() + "\n", "text/html": page}
    cell = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", data=data)])
    tools.make_outputs_small(nbformat.v4.new_notebook(cells=[cell]))

    small = base64.b64decode(cell.outputs[0].data["image/png"])
    assert len(small) < 0.7 * len(picture.getvalue())
    both = [np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=float) for png in (picture.getvalue(), small)]
    assert np.sqrt(((both[0] - both[1]) ** 2).mean()) < 2

    encoded = re.fullmatch(
        r'<audio><source src="data:audio/mpeg;base64,(.+)" type="audio/mpeg" />', cell.outputs[0].data["text/html"]
    )
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(encoded[1])))
    assert rate == 16_000
    assert len(encoded[1]) < 0.4 * len(page)
    assert abs(heard.std() / samples.std() - 1) < 0.05
    assert np.abs(np.fft.rfft(heard)).argmax() * rate / len(heard) == pytest.approx(440, abs=1)


@each_chapter
def test_every_exercise_has_its_stub_and_its_check(chapter):
    text = (CHAPTERS / f"{chapter.name}.py").read_text(encoding="utf-8")
    for exercise in chapter.exercises:
        assert text.count(f'@exercise("{exercise.id}")') == 1, f"{exercise.id} has no stub"
        given = re.search(rf'^(.+) = check\("{exercise.id}"\)$', text, re.MULTILINE)
        assert given, f'{exercise.id}: no line NAME = check("{exercise.id}")'
        assert len(given[1].split(", ")) == len(exercise.objects), f"{exercise.id} hands back {exercise.objects}"
    marked = re.findall(r'@exercise\("([^"]+)"\)', text)
    assert marked == [exercise.id for exercise in chapter.exercises], "stubs stand in the order of the manifest"


@each_chapter
def test_a_chapter_has_all_its_parts(chapter):
    text = (CHAPTERS / f"{chapter.name}.py").read_text(encoding="utf-8")
    assert f'here("{chapter.id}")' in text
    assert text.count("<details>") >= 3, "three quiz questions with folded answers"
    assert re.search(r"^# ## .*mistakes", text, re.MULTILINE | re.IGNORECASE), "the usual mistakes"
    assert re.search(r"^# ## Where this goes next", text, re.MULTILINE)
    assert len(re.findall(r"\]\(https://", text)) >= 2, "references with links"
    assert "plt.show()" in text
    assert "NotImplementedError" in text or all(exercise.planted for exercise in chapter.exercises)


@each_chapter
def test_the_text_does_not_hold_the_answers(chapter):
    """No line of a blanked body that says something stands in the chapter outside its stubs."""
    text = (CHAPTERS / f"{chapter.name}.py").read_text(encoding="utf-8")
    leaked = []
    for exercise in chapter.exercises:
        library = exercise.path.read_text(encoding="utf-8")
        ours = tools.solution(exercise, library).splitlines()
        blank = set(tools.stub(exercise, library).splitlines())
        lines = [line.split("  #")[0].strip() for line in ours if line not in blank]
        leaked += [f"{exercise.id}: {line}" for line in lines if len(line) > 40 and line in text]
    assert not leaked


def test_links_to_the_glossary_lead_somewhere():
    glossary = (REPOSITORY / "docs" / "glossary.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", glossary, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert headings == sorted(headings, key=str.lower), "terms stand in alphabetical order"
    for chapter in load_course():
        text = (CHAPTERS / f"{chapter.name}.py").read_text(encoding="utf-8")
        targets = re.findall(r"glossary\.md#([\w-]+)", text)
        assert set(targets) <= anchors, chapter.name
        assert len(targets) == len(set(targets)), f"{chapter.name}: a term is linked once, where it first stands"


def test_every_exercise_has_tests_of_its_own():
    text = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests" / "exercises").glob("test_*.py"))
    for exercise in all_exercises():
        assert text.count(f'@pytest.mark.exercise("{exercise.id}")') >= 3, exercise.id
