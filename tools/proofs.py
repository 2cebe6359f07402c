"""The table of proofs: for each exercise, that its checks can be trusted. ``python tools/proofs.py [ID ...]``

The stub must fail. The library's version and every correct variant must pass and behave like no known mistake. Every
mutant must be caught and named, and so should its second copy, written in another style. Exit code 1 if a proof is
missing; of the rewritten mutants a share of NAMED_SHARE is asked for over all exercises together.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from asr_tutorial.course.checker import Checker
from asr_tutorial.course.manifest import Exercise, all_exercises, find_exercise
from asr_tutorial.course.source import solution, stub
from asr_tutorial.course.versions import mutants, variants

NAMED_SHARE = 0.8
LEAST_MUTANTS = 3


@dataclass
class Proof:
    """What was found out about one exercise's checks."""

    exercise: Exercise
    stub_fails: bool = False
    library_passes: bool = False
    variants: int = 0
    variants_pass: int = 0
    mutants: int = 0
    caught: int = 0
    named: int = 0
    rewritten: int = 0
    rewritten_named: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.problems


def prove(exercise: Exercise, checker: Checker) -> Proof:
    """Run the checks of an exercise on its stub, our version, the variants and the mutants."""
    library = exercise.path.read_text(encoding="utf-8")
    proof = Proof(exercise)

    def note(condition: bool, problem: str) -> bool:
        if not condition:
            proof.problems.append(problem)
        return condition

    # Without the words that mark it as the stub, so that its tests run instead of "not started".
    blank = stub(exercise, library).replace(f'@exercise("{exercise.id}")', "")
    blank = blank.replace(f'raise NotImplementedError("exercise {exercise.id}")', "raise NotImplementedError")
    answer = checker.check(exercise, blank)
    proof.stub_fails = note(
        not answer.right and not checker.check(exercise, stub(exercise, library)).right, "the stub passes"
    )
    answer = checker.check(exercise, solution(exercise, library), always_name=True)
    proof.library_passes = note(answer.right, f"the library fails: {answer.failures[:1]}")
    note(not answer.mistake, f"the library is taken for the mistake {answer.mistake}")

    for cell in variants(exercise):
        proof.variants += 1
        answer = checker.check(exercise, cell.code, always_name=True)
        right = note(answer.right, f"variant {cell.name} fails: {answer.failures[:1]}")
        proof.variants_pass += right and note(not answer.mistake, f"variant {cell.name} is taken for {answer.mistake}")
    note(proof.variants > 0, "no correct variant")

    wrong = mutants(exercise)
    for cell in wrong:
        proof.mutants += 1
        answer = checker.check(exercise, cell.code)
        caught = note(not answer.right, f"mutant {cell.name} passes")
        proof.caught += caught
        proof.named += caught and note(
            answer.mistake == cell.name, f"mutant {cell.name} is taken for {answer.mistake or 'nothing'}"
        )
        note(len(cell.sentence) > 20, f"mutant {cell.name} has no sentence")
    note(proof.mutants >= LEAST_MUTANTS, f"{proof.mutants} mutants, {LEAST_MUTANTS} are needed")

    copies = mutants(exercise, "rewritten")
    note({cell.name for cell in copies} == {cell.name for cell in wrong}, "mutants and rewritten copies do not pair")
    for cell in copies:
        proof.rewritten += 1
        answer = checker.check(exercise, cell.code)
        note(not answer.right, f"rewritten {cell.name} passes")
        proof.rewritten_named += answer.mistake == cell.name
        if answer.mistake not in ("", cell.name):
            note(False, f"rewritten {cell.name} is taken for {answer.mistake}")
    return proof


HEAD = f"{'exercise':48} {'stub':>6} {'library':>8} {'variants':>9} {'caught':>8} {'named':>7} {'rewritten named':>16}"


def row(proof: Proof) -> str:
    """One line of the table."""
    title = f"{proof.exercise.id} {proof.exercise.title}"[:48]
    return (
        f"{title:48} {'fails' if proof.stub_fails else 'PASSES':>6} {'passes' if proof.library_passes else 'FAILS':>8} "
        f"{proof.variants_pass:>6}/{proof.variants:<2} {proof.caught:>5}/{proof.mutants:<2} "
        f"{proof.named:>4}/{proof.mutants:<2} {proof.rewritten_named:>13}/{proof.rewritten:<2}"
    )


def main(numbers: list[str]) -> int:
    exercises = [find_exercise(number) for number in numbers] or all_exercises()
    checkers = [Checker(), Checker()]

    def work(index: int) -> list[Proof]:
        return [prove(exercise, checkers[index]) for exercise in exercises[index::2]]

    with ThreadPoolExecutor(2) as pool:
        proofs = [proof for part in pool.map(work, range(2)) for proof in part]
    proofs.sort(key=lambda proof: exercises.index(proof.exercise))
    print(HEAD)
    for proof in proofs:
        print(row(proof))
        for problem in proof.problems:
            print(f"    {problem}")
    named, all_copies = sum(p.rewritten_named for p in proofs), sum(p.rewritten for p in proofs)
    counts = f"{sum(p.variants for p in proofs)} variants, {sum(p.mutants for p in proofs)} mutants"
    print(f"{len(proofs)} exercises, {counts}; {named} of {all_copies} rewritten copies named")
    return int(any(not proof.holds for proof in proofs) or named < NAMED_SHARE * all_copies)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
