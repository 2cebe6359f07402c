"""Stubs and solutions cut from source text, a learner's cells spliced into it."""

import ast
from dataclasses import replace

import pytest

from asr_tutorial.course.manifest import Exercise, all_exercises, find_exercise, load_course
from asr_tutorial.course.source import (
    CellError,
    find_source,
    parts,
    same_bodies,
    same_code,
    solution,
    splice,
    started,
    stub,
)
from asr_tutorial.course.versions import planted
from asr_tutorial.errors import CourseError

LIBRARY = '''"""A module."""

import math
from functools import lru_cache

from torch import nn

LIMIT = 3


def area(width: float, height: float) -> float:
    """The area.

    Raises:
        ValueError: negative.
    """
    if width < 0:
        raise ValueError("negative")
    for value in (width, height):
        if value > LIMIT:
            raise ValueError("large")
    _check_sum(width)
    # The secret of the exercise.
    product = width * height  # and more of it
    return product


def bare(x):
    # A comment that tells the answer.
    return x + 1


class Shape:
    """A shape."""

    sides = 4

    def __init__(self, size):
        self.size = size

    @staticmethod
    def unit():
        """One."""
        return 1

    def double(self):
        """Twice the size."""
        return 2 * self.size

    def last(self):
        return "last"
'''
FUNCTION = Exercise("9.1", "Area", "somewhere.module", ("area",), 10, 1)
METHODS = Exercise("9.2", "Shape", "somewhere.module", ("Shape.unit", "Shape.double"), 10, 1, append="Shape.sides = 5")
BOTH = Exercise("9.3", "Both", "somewhere.module", ("bare", "Shape.last"), 10, 1)

AREA = '@exercise("9.1")\ndef area(width, height):\n    return height * width\n'
SHAPE = """@exercise("9.2")
class Shape:
    @staticmethod
    def unit():
        return 1

    def double(self):
        return self.size + self.size
"""


def run(text: str) -> dict:
    namespace: dict = {"__name__": "somewhere.module"}
    exec(compile(text, "spliced", "exec"), namespace)
    return namespace


class TestStub:
    def test_signature_docstring_and_opening_checks_stay(self):
        text = stub(FUNCTION, LIBRARY)
        assert text.startswith('@exercise("9.1")\ndef area(width: float, height: float) -> float:\n    """The area.')
        assert 'raise ValueError("negative")' in text
        assert 'raise ValueError("large")' in text
        assert "_check_sum(width)" in text
        assert text.endswith('raise NotImplementedError("exercise 9.1")')

    def test_the_answer_does_not_leak(self):
        for exercise, words in ((FUNCTION, ("secret", "product", "more of it")), (BOTH, ("tells", "x + 1", '"last"'))):
            text = stub(exercise, LIBRARY)
            assert not [word for word in words if word in text]

    def test_methods_stand_in_a_partial_class(self):
        text = stub(METHODS, LIBRARY)
        tree = ast.parse(text)
        assert [node.name for node in tree.body] == ["Shape"]
        assert [node.name for node in tree.body[0].body] == ["unit", "double"]
        assert "@staticmethod" in text
        assert "__init__" not in text

    def test_several_objects_share_a_cell(self):
        assert [node.name for node in ast.parse(stub(BOTH, LIBRARY)).body] == ["bare", "Shape"]
        assert BOTH.objects == ["bare", "Shape"]

    def test_a_solution_is_the_stub_with_our_bodies(self):
        text = solution(FUNCTION, LIBRARY)
        assert "# The secret of the exercise." in text
        assert "NotImplementedError" not in text
        assert run(
            splice(LIBRARY.replace("    _check_sum(width)\n", ""), {FUNCTION: text.replace("_check_sum(width)", "")})
        )

    @pytest.mark.parametrize("exercise", all_exercises(), ids=lambda exercise: exercise.id)
    def test_every_stub_of_the_course(self, exercise):
        library = exercise.path.read_text(encoding="utf-8")
        blank, ours = stub(exercise, library), solution(exercise, library)
        assert not started(exercise, blank)
        assert started(exercise, ours)
        assert same_code(splice(library, {exercise: ours}), library + exercise.append), (
            "splicing ours in changes nothing"
        )
        spliced = splice(library, {exercise: blank})
        if exercise.planted:
            wrong = splice(library, {exercise: planted(exercise).code})
            assert same_bodies(spliced, wrong), "the stub does what the planted mistake does"
            assert not same_bodies(spliced, library)
            return
        assert spliced.count(f'NotImplementedError("exercise {exercise.id}")') == len(exercise.names)


class TestSplice:
    def test_a_function(self):
        spliced = splice(LIBRARY, {FUNCTION: AREA})
        assert run(spliced)["area"](2, 9) == 18, "the learner's body has no checks"
        assert "@exercise" not in spliced
        assert "secret" not in spliced

    def test_methods_and_the_appended_line(self):
        shape = run(splice(LIBRARY, {METHODS: SHAPE}))["Shape"]
        assert (shape(4).double(), shape.unit(), shape(4).last(), shape.sides) == (8, 1, "last", 5)

    def test_several_exercises_in_one_module(self):
        spliced = run(splice(LIBRARY, {FUNCTION: AREA, METHODS: SHAPE}))
        assert (spliced["area"](2, 9), spliced["Shape"](4).double()) == (18, 8)

    def test_another_indentation(self):
        cell = "class Shape:\n  def last(self):\n      return 'mine'\ndef bare(x):\n  if x:\n    return 1\n  return 2\n"
        spliced = run(splice(LIBRARY, {BOTH: cell}))
        assert (spliced["Shape"](1).last(), spliced["bare"](0)) == ("mine", 2)

    def test_what_a_definition_needs_comes_along(self):
        cell = (
            "import statistics\nimport math\nimport torch.nn as nn\nUNUSED = explode()\nFACTOR = 2\n"
            "def helper(x):\n    return other(x) * FACTOR\ndef other(x):\n    return statistics.fmean([x])\n"
            "def area(width, height):\n    return helper(width) * math.ceil(height)\nprint(area(explode(), 1))\n"
        )
        spliced = splice(LIBRARY, {FUNCTION: cell})
        assert run(spliced)["area"](2, 3) == 12
        assert "explode" not in spliced, "statements that nothing needs are left out"

    def test_helper_methods(self):
        cell = (
            SHAPE.replace("return self.size + self.size", "return self._twice()")
            + "\n    def _twice(self):\n        return 8\n"
        )
        assert run(splice(LIBRARY, {METHODS: cell}))["Shape"](4).double() == 8

    def test_super_works(self):
        library = LIBRARY.replace(
            "class Shape:", "class Base:\n    def last(self):\n        return 7\n\n\nclass Shape(Base):"
        )
        cell = "def bare(x):\n    return x\nclass Shape:\n    def last(self):\n        return super().last()\n"
        assert run(splice(library, {BOTH: cell}))["Shape"](1).last() == 7

    @pytest.mark.parametrize(
        ("cell", "message"),
        [
            ("def area(width, height:\n", r"cannot read the cell.*line 1"),
            ("x = 1\n", r"must define a function area"),
            ("def area(w, h):\n    return w\n", r"area must keep its parameters.*\(width, height\), got \(w, h\)"),
            (
                "def LIMIT():\n    return 1\ndef area(width, height):\n    return LIMIT()\n",
                r"'LIMIT' a meaning of its own",
            ),
            ("import cmath as math\ndef area(width, height):\n    return math.pi\n", r"'math' a meaning of its own"),
            ("def area(width, height):\n    return '\0'\n", r"cannot read the cell"),
        ],
    )
    def test_cells_that_cannot_be_used_are_explained(self, cell, message):
        with pytest.raises(CellError, match=message):
            splice(LIBRARY, {FUNCTION: cell})

    def test_methods_that_are_not_the_learners_to_write(self):
        with pytest.raises(CellError, match=r"Shape\.__init__ is not part of exercise 9\.2"):
            splice(LIBRARY, {METHODS: SHAPE + "\n    def __init__(self):\n        pass\n"})
        with pytest.raises(CellError, match=r"class Shape of the cell must define a function double"):
            splice(LIBRARY, {METHODS: SHAPE.replace("def double", "def triple")})
        with pytest.raises(CellError, match=r"must keep the line @staticmethod"):
            splice(LIBRARY, {METHODS: SHAPE.replace("    @staticmethod\n", "")})

    def test_further_parameters_are_allowed(self):
        cell = "def area(width, height, unit=1):\n    return width * height * unit\n"
        assert run(splice(LIBRARY, {FUNCTION: cell}))["area"](2, 3) == 6

    def test_parts_keep_the_lines_of_the_cell(self):
        cell = 'import os\nSIZE = 2\n@exercise("9.1")\ndef area(width, height):\n    return SIZE\n'
        helpers, definitions = parts(FUNCTION, cell)
        assert helpers.splitlines() == ["", "SIZE = 2", "", "", ""]
        assert definitions.splitlines() == ["", "", "", "def area(width, height):", "    return SIZE"]


class TestStarted:
    def test_a_stub_is_not_started_whatever_stands_around_it(self):
        blank = stub(FUNCTION, LIBRARY)
        assert not started(FUNCTION, blank + "\n# a thought\n")
        assert started(FUNCTION, AREA)
        assert started(FUNCTION, "def area(:\n"), "a cell with a syntax error has been worked on"

    def test_half_an_exercise_is_not_started(self):
        assert not started(
            METHODS, stub(METHODS, LIBRARY).replace('raise NotImplementedError("exercise 9.2")', "pass", 1)
        )


class TestPlanted:
    """An exercise whose cell begins with a mistake, which is to be repaired."""

    exercise = find_exercise("14.1")

    @property
    def cell(self) -> str:
        return stub(self.exercise, self.exercise.path.read_text(encoding="utf-8"))

    def test_the_cell_has_our_docstring_and_the_mistakes_body(self):
        assert '"""What the decoder reads' in self.cell
        assert "answered = list(texts)" in self.cell
        assert "NotImplementedError" not in self.cell

    def test_unchanged_it_is_not_started(self):
        assert not started(self.exercise, self.cell)
        assert not started(self.exercise, self.cell + "\n\n# a thought\n"), "whatever stands around it"
        assert not started(self.exercise, self.cell.replace("What the decoder reads", "What is read"))

    def test_changed_it_is_started(self):
        assert started(self.exercise, self.cell.replace("list(texts)", "[*texts]"))
        assert started(self.exercise, self.cell.replace("answered = ", "answered = = "))
        assert started(self.exercise, planted(self.exercise).code), "a mutant in the proofs is to be checked"

    def test_a_mistake_that_is_not_there(self):
        with pytest.raises(CourseError, match=r"has no mutant 'nothing'"):
            planted(replace(self.exercise, planted="nothing"))


def test_same_code_looks_at_the_program():
    assert same_code("x = 1  # one\n", "x  =  1\n")
    assert not same_code("x = 1\n", "x = 2\n")
    assert same_code("(", "(")


def test_find_source():
    assert find_source(LIBRARY, "Shape.unit").startswith("@staticmethod\ndef unit")
    with pytest.raises(CourseError, match=r"no Shape\.nothing"):
        find_source(LIBRARY, "Shape.nothing")


class TestManifest:
    def test_every_exercise_is_complete(self):
        for exercise in all_exercises():
            assert exercise.id.split(".")[0] == str(int(exercise.chapter)), exercise.id
            assert 2 <= len(exercise.hints) <= 3, f"{exercise.id} needs two or three hints"
            assert 1 <= exercise.difficulty <= 5, exercise.id
            assert exercise.path.is_file(), exercise.module

    def test_every_chapter_has_a_core_of_some_90_minutes(self):
        for chapter in load_course():
            core = [exercise for exercise in chapter.exercises if exercise.core]
            assert 3 <= len(core) <= 6, chapter.id
            assert 50 <= sum(exercise.minutes for exercise in core) <= 100, chapter.id

    def test_ids_are_unique_and_in_order(self):
        numbers = [tuple(map(int, exercise.id.split("."))) for exercise in all_exercises()]
        assert numbers == sorted(set(numbers))

    def test_an_unknown_exercise_is_named(self):
        with pytest.raises(CourseError, match=r"no exercise '99\.9': choose one of 0\.1"):
            find_exercise("99.9")
