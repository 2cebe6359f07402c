"""The repository around the library: sizes, commands that the README promises, pins, installation."""

import os
import re
import runpy
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

import asr_tutorial

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MEGABYTE = 1_000_000


def tracked_files() -> list[Path]:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    files = [ROOT / name for name in listing.stdout.split("\0") if name]
    if listing.returncode or not files:
        pytest.skip("not a git clone")
    return [file for file in files if file.is_file()]


class TestTrackedTree:
    def test_the_tree_is_small(self) -> None:
        sizes = {file: file.stat().st_size for file in tracked_files()}
        large = [f"{file.relative_to(ROOT)}: {size / MEGABYTE:.1f} MB" for file, size in sizes.items() if size > 17e6]
        assert not large
        assert sum(sizes.values()) <= 50 * MEGABYTE

    def test_pictures_have_a_palette(self) -> None:
        pictures = [file for file in tracked_files() if file.suffix == ".png"]
        large = [str(file.relative_to(ROOT)) for file in pictures if Image.open(file).mode != "P"]
        assert not large, "run `python tools/pictures.py` with these"

    def test_no_path_of_one_machine(self) -> None:
        # Put together here, so that this file does not hold what it looks for.
        folders = ["/" + "root/", "/" + "Users/", "/" + r"home/\w+/", "/" + "work/(?:main|shared|scratch)"]
        pattern = re.compile("|".join(folders).encode())
        found = []
        for file in tracked_files():
            content = file.read_bytes()
            # Data with zero bytes (speech, weights, pictures) may hold any sequence by chance.
            if b"\0" not in content and (match := pattern.search(content)):
                found.append(f"{file.relative_to(ROOT)}: {match.group().decode()}")
        assert not found

    @pytest.mark.parametrize("folder", ["runs", "workspace", ".venv", ".venv-ci", "data/LibriSpeech", "data/downloads"])
    def test_what_a_learner_makes_is_ignored(self, folder: str) -> None:
        tracked_files()
        result = subprocess.run(["git", "check-ignore", "--quiet", "--no-index", folder], cwd=ROOT, check=False)
        assert result.returncode == 0, f"{folder} is missing in .gitignore"

    @pytest.mark.parametrize("file", ["data/tinyspeech/grammar.py", "data/results/x/metrics.json", "docs/model.svg"])
    def test_what_belongs_to_the_course_is_not_ignored(self, file: str) -> None:
        tracked_files()
        result = subprocess.run(["git", "check-ignore", "--quiet", "--no-index", file], cwd=ROOT, check=False)
        assert result.returncode == 1


class TestReadme:
    def test_the_two_commands_come_first(self) -> None:
        first_block = README.split("```")[1]
        assert [line.split()[0] for line in first_block.strip().splitlines()] == ["git", "make"]

    def test_every_link_inside_the_repository_leads_somewhere(self) -> None:
        for target in re.findall(r"\]\(([^)#]+)\)", README):
            if "://" not in target and target != "data/results":  # filled when the first run is recorded
                assert (ROOT / target).exists(), target

    def test_sixteen_chapters_and_a_place_for_results(self) -> None:
        assert re.findall(r"^\| (\d\d) ", README, flags=re.MULTILINE) == [f"{number:02d}" for number in range(16)]
        assert README.index("<!-- results -->") < README.index("<!-- /results -->")

    def test_licences_are_named(self) -> None:
        assert "MIT License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
        assert "CC0" in README


def test_the_picture_of_the_model_is_what_its_script_draws() -> None:
    draw = runpy.run_path(str(ROOT / "docs" / "draw_model.py"))["draw"]
    assert (ROOT / "docs" / "model.svg").read_text(encoding="utf-8") == draw()


def test_the_page_of_results_is_what_the_records_say() -> None:
    page = runpy.run_path(str(ROOT / "tools" / "results.py"))["page"]
    assert (ROOT / "RESULTS.md").read_text(encoding="utf-8") == page()


PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
)


class TestPins:
    @pytest.mark.parametrize("extra", ["", "course", "dev", "serve", "wandb"])
    def test_constraints_cover_the_requirements(self, extra: str) -> None:
        pinned = {canonicalize_name(name): version for name, version in PINS.items()}
        project = PYPROJECT["project"]
        wanted = project["optional-dependencies"][extra] if extra else project["dependencies"]
        for requirement in map(Requirement, wanted):
            name = canonicalize_name(requirement.name)
            assert name in pinned, f"{name} is missing in constraints.txt"
            assert pinned[name] in requirement.specifier, f"{name}=={pinned[name]} is outside {requirement}"

    def test_pins_suit_every_build_of_torch(self) -> None:
        local = [version for version in PINS.values() if "+" in version]
        assert not local

    def test_versions_agree(self) -> None:
        assert PYPROJECT["project"]["version"] == asr_tutorial.__version__


@pytest.mark.skipif(os.name == "nt", reason="Windows uses plain pip, see README")
class TestInstallation:
    def install(self, venv: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "tools/install.sh", str(venv), ""],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def test_ci_can_be_run(self) -> None:
        script = ROOT / ".ci" / "run"
        assert script.stat().st_mode & stat.S_IXUSR
        assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
        assert "make test" in script.read_text(encoding="utf-8")

    def test_too_old_a_python_is_named(self, tmp_path: Path) -> None:
        old = tmp_path / "python"
        old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
        old.chmod(0o755)
        result = self.install(tmp_path / "venv", PYTHON=str(old))
        assert result.returncode == 1
        assert "no Python 3.11 or newer" in result.stderr
        assert str(old) in result.stderr

    def test_an_index_out_of_reach_is_named_at_once(self, tmp_path: Path) -> None:
        interpreter = tmp_path / "venv" / "bin" / "python"
        interpreter.parent.mkdir(parents=True)
        interpreter.symlink_to(sys.executable)
        address = "http://127.0.0.1:9/nothing"  # the discard port: nobody listens there
        result = self.install(tmp_path / "venv", TORCH_INDEX=address, no_proxy="127.0.0.1")
        assert result.returncode == 1
        assert f"no torch at {address}" in result.stderr
