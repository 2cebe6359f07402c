"""The table of proofs, exercise by exercise: that a learner can trust what ``check`` says (see tools/proofs.py)."""

import runpy
from types import SimpleNamespace

import pytest

from asr_tutorial.course.checker import Checker
from asr_tutorial.course.manifest import REPOSITORY, all_exercises

tools = SimpleNamespace(**runpy.run_path(str(REPOSITORY / "tools" / "proofs.py")))
found = {}


@pytest.fixture(scope="module")
def checker():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # counting lines would take half as long again
        checker = Checker()
        yield checker
        checker.close()


@pytest.mark.slow
@pytest.mark.parametrize("exercise", all_exercises(), ids=lambda exercise: exercise.id)
def test_the_checks_of_an_exercise_can_be_trusted(exercise, checker):
    found[exercise.id] = tools.prove(exercise, checker)
    assert not found[exercise.id].problems


@pytest.mark.slow
def test_most_mistakes_are_recognised_in_another_style():
    named, copies = sum(p.rewritten_named for p in found.values()), sum(p.rewritten for p in found.values())
    assert named >= tools.NAMED_SHARE * copies
