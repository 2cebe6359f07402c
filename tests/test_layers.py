"""The library's layers: imports run one way, without cycles, and importing the package stays cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = "asr_tutorial"
ROOT = Path(__file__).resolve().parents[1] / PACKAGE

# From the bottom to the top. A module or folder imports from its own layer and from those above it in this table.
LAYERS: list[tuple[str, set[str]]] = [
    ("plumbing", {"errors", "files", "config", "metrics", "modes", "plots", "masks"}),
    (
        "sound and text",
        {"audio", "features", "tokenizer", "bpe", "corpus", "subset", "dataset", "download", "synthetic"},
    ),
    (
        "models",
        {
            "attention",
            "by_hand",
            "positional",
            "dropout",
            "convolution",
            "encoder",
            "decoder",
            "lact",
            "model",
            "paraformer",
            "ctc",
            "language_model",
            "checkpoint",
        },
    ),
    ("recognition", {"search", "recognizer"}),
    ("training", {"training", "progressive", "clinic"}),
    ("course", {"course"}),
    ("programs", {"cli", "demo", "doctor", "recipe", "serve", "__main__"}),
]


def modules(root: Path) -> dict[str, Path]:
    """Dotted names below the package, such as ``dataset.batch``, with their files; ``""`` is the package itself."""
    found = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(root: Path, name: str) -> set[str]:
    """Modules of the package that a module imports, anywhere in its text."""
    known = modules(root)
    found = set()
    for node in ast.walk(ast.parse(known[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{known[name]}:{node.lineno}: write imports in full, not relative"
            # `from package import module` names a module; `from package.module import thing` does not.
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    inside = {target.removeprefix(PACKAGE).removeprefix(".") for target in found if target.split(".")[0] == PACKAGE}
    return {target if target in known else target.rpartition(".")[0] for target in inside} - {name}


def room(name: str) -> str:
    return name.split(".")[0]


def upward_imports(root: Path, layers: list[tuple[str, set[str]]]) -> list[str]:
    height = {member: number for number, (_, members) in enumerate(layers) for member in members}
    return [
        f"{name} ({layers[height[room(name)]][0]}) imports {target} ({layers[height[room(target)]][0]})"
        for name in sorted(modules(root))
        for target in sorted(imports(root, name))
        if name and target and height[room(target)] > height[room(name)]
    ]


def find_cycle(root: Path) -> list[str]:
    """Modules that import each other in a ring, or an empty list."""
    graph = {name: imports(root, name) for name in modules(root) if name}
    finished: set[str] = set()

    def visit(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name not in finished:
            for target in sorted(graph.get(name, ())):
                if cycle := visit(target, [*trail, name]):
                    return cycle
            finished.add(name)
        return []

    for name in sorted(graph):
        if cycle := visit(name, []):
            return cycle
    return []


def test_every_module_has_a_place() -> None:
    placed = [member for _, members in LAYERS for member in members]
    assert len(placed) == len(set(placed)), "a module stands in two layers"
    unplaced = {room(name) for name in modules(ROOT) if name} - set(placed)
    assert not unplaced, f"give {sorted(unplaced)} a place in LAYERS"


def test_every_place_has_a_module() -> None:
    placed = {member for _, members in LAYERS for member in members}
    assert placed <= {room(name) for name in modules(ROOT)}, "LAYERS names modules that do not exist"


def test_no_import_points_upwards() -> None:
    assert not upward_imports(ROOT, LAYERS)


def test_no_module_imports_what_imports_it() -> None:
    assert not find_cycle(ROOT)


def test_the_library_does_not_use_its_own_face() -> None:
    """``asr_tutorial.load`` is for users; inside, it would hide a dependency on the recogniser."""
    assert [name for name in modules(ROOT) if name and "" in imports(ROOT, name) and room(name) != "cli"] == []


@pytest.fixture
def small_package(tmp_path: Path) -> Path:
    (tmp_path / "top").mkdir()
    texts = {
        "__init__.py": "",
        "low.py": "import json\n",
        "middle.py": "def late():\n    from asr_tutorial import low\n    return low\n",
        "top/__init__.py": "from asr_tutorial.top.part import thing\n",
        "top/part.py": "from asr_tutorial.middle import late as thing\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


class TestTheseChecks:
    """That the functions above see what they are there to see."""

    layers = (("a", {"low"}), ("b", {"middle"}), ("c", {"top"}))

    def test_a_sound_package_passes(self, small_package: Path) -> None:
        assert imports(small_package, "middle") == {"low"}
        assert imports(small_package, "top") == {"top.part"}
        assert not upward_imports(small_package, list(self.layers))
        assert not find_cycle(small_package)

    @pytest.mark.parametrize("statement", ["from asr_tutorial import top", "import asr_tutorial.top.part"])
    def test_an_upward_import_is_seen(self, small_package: Path, statement: str) -> None:
        (small_package / "low.py").write_text(f"def late():\n    {statement}\n", encoding="utf-8")
        assert len(upward_imports(small_package, list(self.layers))) == 1

    def test_a_cycle_is_seen(self, small_package: Path) -> None:
        (small_package / "low.py").write_text("from asr_tutorial.top import thing\n", encoding="utf-8")
        assert find_cycle(small_package) == ["low", "top", "top.part", "middle", "low"]


def loaded_by(statement: str) -> set[str]:
    """Top-level packages in memory after a statement, in a new interpreter."""
    program = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT.parent, timeout=60
    )
    return set(result.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_by("import asr_tutorial") & {"torch", "matplotlib", "tensorboard", "jiwer", "pydantic"}


def test_using_a_recogniser_loads_neither_plots_nor_training() -> None:
    loaded = loaded_by("import asr_tutorial; asr_tutorial.load")
    assert "torch" in loaded
    assert not loaded & {"matplotlib", "tensorboard", "wandb", "requests"}
