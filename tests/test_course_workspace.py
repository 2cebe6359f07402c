"""A learner's folder: nothing in it is ever lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from asr_tutorial.cli import app
from asr_tutorial.course import workspace as workspace_module
from asr_tutorial.course.checker import Feedback
from asr_tutorial.course.classroom import Submission
from asr_tutorial.course.finder import install, kept_cells
from asr_tutorial.course.manifest import REPOSITORY, find_exercise, load_course
from asr_tutorial.course.source import solution, stub
from asr_tutorial.course.versions import mutants, variants
from asr_tutorial.course.workspace import Workspace, code_cells
from asr_tutorial.errors import CourseError

SPLIT = find_exercise("2.1")
NAME = "02_multi_head_attention"
RIGHT, WRONG = variants(SPLIT)[0].code, mutants(SPLIT)[0].code
MARKED = f'@exercise("2.1")\n{RIGHT}'


@pytest.fixture(autouse=True)
def outside(tmp_path, monkeypatch):
    """No workspace of whoever runs the tests takes part."""
    for name in ("ASR_TUTORIAL_CODE", "ASR_TUTORIAL_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workspace_module, "REPOSITORY", tmp_path)


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    made = Workspace(tmp_path / "workspace")
    made.start()
    return made


@pytest.fixture
def shipped(tmp_path, monkeypatch) -> Path:
    """A copy of the course's chapters that a test may change, as an update of the course would."""
    folder = tmp_path / "chapters"
    folder.mkdir()
    for suffix in (".py", ".ipynb"):
        text = (REPOSITORY / "chapters" / f"{NAME}{suffix}").read_text(encoding="utf-8")
        (folder / f"{NAME}{suffix}").write_text(text, encoding="utf-8")
    monkeypatch.setattr(workspace_module, "CHAPTERS", folder)
    return folder


def replace_in_notebook(path: Path, old: str, new: str) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"]).replace(old, new).splitlines(keepends=True)
    path.write_text(json.dumps(notebook), encoding="utf-8")


def answer(workspace: Workspace, code: str, suffix: str) -> None:
    """Write an answer to 2.1 as a learner would, into the notebook or the script."""
    path = workspace.folder / f"{NAME}{suffix}"
    blank = stub(SPLIT, SPLIT.path.read_text(encoding="utf-8"))
    if suffix == ".ipynb":
        replace_in_notebook(path, blank, code)
    else:
        text = path.read_text(encoding="utf-8")
        assert blank in text
        path.write_text(text.replace(blank, code), encoding="utf-8")


class TestStart:
    def test_all_chapters_are_there_twice(self, workspace):
        for chapter in load_course():
            for suffix in (".py", ".ipynb"):
                assert (workspace.folder / f"{chapter.name}{suffix}").is_file()

    def test_a_second_start_adds_only_what_is_missing(self, workspace):
        assert workspace.start() == ["everything is there already"]
        (workspace.folder / f"{NAME}.py").unlink()
        assert workspace.start() == [f"added   {NAME}.py"]

    def test_an_update_renews_what_was_not_touched_and_keeps_a_backup(self, workspace, shipped):
        replace_in_notebook(shipped / f"{NAME}.ipynb", "# ", "# A better text. ")
        # Running a notebook changes outputs, which are not the learner's work.
        path = workspace.folder / f"{NAME}.ipynb"
        notebook = json.loads(path.read_text(encoding="utf-8"))
        notebook["cells"][-1]["metadata"] = {"execution": {"start": "now"}}
        path.write_text(json.dumps(notebook), encoding="utf-8")
        before = path.read_text(encoding="utf-8")
        (done,) = workspace.start()
        assert done.startswith(f"renewed {NAME}.ipynb")
        assert "A better text." in path.read_text(encoding="utf-8")
        (backup,) = workspace.folder.glob(f"backups/*/{NAME}.ipynb")
        assert backup.read_text(encoding="utf-8") == before

    def test_an_update_does_not_touch_a_learners_notebook(self, workspace, shipped):
        answer(workspace, MARKED, ".ipynb")
        replace_in_notebook(shipped / f"{NAME}.ipynb", "# ", "# A better text. ")
        before = (workspace.folder / f"{NAME}.ipynb").read_text(encoding="utf-8")
        (done,) = workspace.start()
        assert done.startswith(f"kept    {NAME}.ipynb with your work")
        assert (workspace.folder / f"{NAME}.ipynb").read_text(encoding="utf-8") == before
        assert workspace.start() == [done], "it says so each time, and still touches nothing"


class TestCells:
    @pytest.mark.parametrize("suffix", [".py", ".ipynb"])
    def test_the_answer_is_found_in_whichever_file_was_edited(self, workspace, suffix):
        answer(workspace, MARKED, suffix)
        assert workspace.cell(SPLIT).strip() == MARKED.strip()

    def test_the_same_answer_in_both_is_fine(self, workspace):
        answer(workspace, MARKED, ".py")
        answer(workspace, MARKED + "\n# a comment\n", ".ipynb")
        assert "@exercise" in workspace.cell(SPLIT)

    def test_different_answers_are_refused(self, workspace):
        answer(workspace, MARKED, ".py")
        answer(workspace, f'@exercise("2.1")\n{WRONG}', ".ipynb")
        with pytest.raises(CourseError, match=rf"2\.1 was changed in {NAME}\.ipynb and in {NAME}\.py"):
            workspace.cell(SPLIT)

    def test_a_cell_that_is_gone_is_named(self, workspace):
        for suffix in (".py", ".ipynb"):
            path = workspace.folder / f"{NAME}{suffix}"
            path.write_text(path.read_text(encoding="utf-8").replace("2.1", "x.x"), encoding="utf-8")
        with pytest.raises(CourseError, match=r'no cell with @exercise\("2\.1"\)'):
            workspace.cell(SPLIT)

    def test_a_damaged_notebook_is_named(self, workspace):
        (workspace.folder / f"{NAME}.ipynb").write_text("{", encoding="utf-8")
        with pytest.raises(CourseError, match=f"{NAME}.ipynb is not a notebook"):
            workspace.cell(SPLIT)


class TestProgress:
    def test_a_right_answer_is_kept_and_a_wrong_one_is_not(self, workspace):
        assert workspace.status(SPLIT) == "not started"
        workspace.record(Feedback(SPLIT, "wrong"), WRONG)
        assert workspace.status(SPLIT) == "borrowed"
        assert workspace.record(Feedback(SPLIT, "right"), RIGHT) == ["  Kept in workspace/mine/2.1.py."]
        assert workspace.status(SPLIT) == "mine"
        assert kept_cells(workspace.folder) == {SPLIT: RIGHT}
        workspace.record(Feedback(SPLIT, "wrong"), WRONG)
        assert workspace.status(SPLIT) == "mine", "what was right once stays"

    def test_an_earlier_answer_is_backed_up(self, workspace):
        for cell in (RIGHT, variants(SPLIT)[1].code):
            workspace.record(Feedback(SPLIT, "right"), cell)
        (backup,) = workspace.folder.glob("backups/*/2.1.py")
        assert backup.read_text(encoding="utf-8") == RIGHT

    def test_our_answer_pasted_in_is_borrowed(self, workspace):
        workspace.record(Feedback(SPLIT, "right"), solution(SPLIT, SPLIT.path.read_text(encoding="utf-8")))
        assert workspace.status(SPLIT) == "borrowed"

    def test_answers_whose_helpers_collide_are_not_kept_together(self, workspace):
        merge = find_exercise("2.2")
        helper = "def helper(x):\n    return {}\n"
        first = f"{helper.format('x')}{RIGHT}\n    def note(self):\n        return helper(1)\n"
        second = f"{helper.format('-x')}{variants(merge)[0].code}\n    def note2(self):\n        return helper(1)\n"
        assert "Kept" in workspace.record(Feedback(SPLIT, "right"), first)[0]
        assert "'helper' a meaning of its own" in workspace.record(Feedback(merge, "right"), second)[0]
        assert list(kept_cells(workspace.folder)) == [SPLIT]

    def test_hints_come_one_at_a_time(self, workspace):
        count = len(SPLIT.hints)
        seen = [workspace.next_hint(SPLIT) for _ in range(count + 1)]
        assert [number for number, _ in seen] == [*range(1, count + 1), count]
        assert seen[0][1] == SPLIT.hints[0]

    def test_a_damaged_state_is_put_aside(self, workspace):
        (workspace.folder / ".course.json").write_text("{", encoding="utf-8")
        assert workspace.next_hint(SPLIT)[0] == 1
        assert (workspace.folder / ".course.json.damaged").is_file()


class TestReset:
    def test_of_an_exercise(self, workspace):
        answer(workspace, MARKED, ".ipynb")
        workspace.record(Feedback(SPLIT, "right"), MARKED)
        done = workspace.reset("2.1")
        assert len(done) == 3, "notebook, script and the kept answer"
        assert workspace.cell(SPLIT).strip() == stub(SPLIT, SPLIT.path.read_text(encoding="utf-8")).strip()
        assert workspace.status(SPLIT) == "not started"
        kept = [text for path in workspace.folder.glob(f"backups/*/{NAME}.ipynb") for text in code_cells(path)]
        assert any(RIGHT.strip() in text for text in kept)

    def test_of_a_chapter(self, workspace):
        path = workspace.folder / f"{NAME}.py"
        path.write_text("nothing left", encoding="utf-8")
        workspace.reset("02")
        assert "@exercise" in path.read_text(encoding="utf-8")
        assert [p.read_text(encoding="utf-8") for p in workspace.folder.glob(f"backups/*/{NAME}.py")] == [
            "nothing left"
        ]

    def test_of_something_unknown(self, workspace):
        with pytest.raises(CourseError, match="no exercise '99'"):
            workspace.reset("99")


class TestFinder:
    def test_a_module_that_is_loaded_cannot_be_replaced(self, tmp_path):
        import asr_tutorial.attention  # noqa: F401

        with pytest.raises(CourseError, match=r"asr_tutorial\.attention was imported before"):
            install({SPLIT: RIGHT}, tmp_path)

    def run(self, program: str, workspace: Path | None, **environment: str) -> subprocess.CompletedProcess[str]:
        named = {"ASR_TUTORIAL_WORKSPACE": str(workspace)} if workspace else {}
        return subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "ASR_TUTORIAL_CODE": "mine", **named, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def test_the_learners_code_takes_the_place_of_ours(self, workspace):
        marked = RIGHT.replace(
            "class MultiHeadAttention:", "class MultiHeadAttention:\n    def proof(self):\n        return 'mine'\n"
        )
        workspace.record(Feedback(SPLIT, "right"), marked)
        program = (
            "import inspect, torch\nfrom asr_tutorial.model import SpeechTransformer\n"
            "from asr_tutorial import attention\n"
            "from asr_tutorial.encoder import MultiHeadAttention\n"
            "print(MultiHeadAttention(4, 2).proof(), 'proof' in inspect.getsource(attention))\n"
            "print(MultiHeadAttention(4, 2)(*[torch.zeros(1, 3, 4)] * 3)[0].shape)"
        )
        result = self.run(program, workspace.folder)
        assert result.stdout.split("\n")[:2] == ["mine True", "torch.Size([1, 3, 4])"], result.stderr

    def test_without_a_workspace(self, tmp_path):
        result = self.run("import asr_tutorial", None)
        assert "no workspace in or above" in result.stderr

    def test_another_word_than_ours_or_mine(self, workspace):
        result = self.run("import asr_tutorial", workspace.folder, ASR_TUTORIAL_CODE="yours")
        assert "must be ours or mine, not 'yours'" in result.stderr


class TestCommands:
    def run(self, *arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160"})
        assert result.exit_code == code, result.output
        return result.output

    def test_a_first_hour(self, workspace, tmp_path):
        assert "everything is there already" in self.run("start", "workspace")
        assert self.run("next").startswith("0.1 ")
        output = self.run("status")
        assert all(chapter.title in output for chapter in load_course())
        assert "NOT STARTED" in self.run("check", "2.1", code=1)
        assert "hint 1 of" in self.run("hint", "2.1")
        answer(workspace, f'@exercise("2.1")\n{WRONG}', ".py")
        assert "A known mistake" in self.run("check", "2.1", code=1)
        text = (workspace.folder / f"{NAME}.py").read_text(encoding="utf-8")
        (workspace.folder / f"{NAME}.py").write_text(text.replace(WRONG.strip(), RIGHT.strip()), encoding="utf-8")
        assert "Kept in workspace/mine/2.1.py" in self.run("check", "2.1")
        assert workspace.status(SPLIT) == "mine"
        assert "def split_heads" in self.run("solution", "2.1")
        assert "is kept as" in self.run("reset", "2.1")

    def test_solution_can_be_written_into_the_notebook(self, workspace):
        self.run("solution", "2.1", "--write")
        assert workspace.cell(SPLIT).strip() == solution(SPLIT, SPLIT.path.read_text(encoding="utf-8")).strip()
        assert list(workspace.folder.glob(f"backups/*/{NAME}.ipynb"))

    def test_without_a_workspace_the_remedy_is_named(self, tmp_path):
        assert "asr-tutorial start" in self.run("status", code=2)
        assert "asr-tutorial start" in self.run("train", "--code", "mine", code=2)

    def test_submit_and_grade(self, workspace, tmp_path):
        assert "nothing to hand in" in self.run("submit", code=2)
        answer(workspace, MARKED, ".ipynb")
        folder = tmp_path / "handed_in"
        folder.mkdir()
        output = self.run("submit", "--name", "=first", "--out", str(folder / "a.json"))
        assert "1 of 1 answers are right" in output
        forged = Submission("second", "now", {}, {})
        forged.answers = {"2.1": type(Submission.read(folder / "a.json").answers["2.1"])(WRONG, "right")}
        forged.write(folder / "b.json")
        (folder / "c.json").write_text("{}", encoding="utf-8")
        self.run("grade", str(folder), "--out", str(tmp_path / "grades.csv"))
        lines = (tmp_path / "grades.csv").read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("file,name,core_right,all_right,0.1,")
        assert lines[1].startswith("a.json,'=first,1,1,"), "no formula for a spreadsheet"
        assert lines[2].startswith("b.json,second,0,0,"), "what a submission says of itself does not count"
        assert f"wrong: {mutants(SPLIT)[0].name}" in lines[2]
        assert "is not a submission" in lines[3]

    def test_grading_an_empty_folder(self, tmp_path):
        assert "no submissions" in self.run("grade", str(tmp_path), code=2)

    def test_watch_checks_what_is_saved(self, workspace):
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "asr_tutorial", "watch"],
            cwd=workspace.folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert "watching" in process.stdout.readline()
            answer(workspace, MARKED, ".py")
            assert process.stdout.readline() == "\n"
            assert "right. Verified:" in process.stdout.readline()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
