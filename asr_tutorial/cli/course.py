"""``asr-tutorial start | status | next | check | hint | solution | reset | watch | submit | grade``: the course."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from asr_tutorial.course.checker import Feedback
    from asr_tutorial.course.manifest import Exercise
    from asr_tutorial.course.workspace import Workspace

app = typer.Typer()
PANEL = "The course"

Number = Annotated[str, typer.Argument(help="An exercise, such as 2.1.", metavar="EXERCISE")]


@app.command(rich_help_panel=PANEL)
def start(
    folder: Annotated[Path, typer.Argument(help="Your own folder; it may lie on another drive.", metavar="DIR")] = Path(
        "workspace"
    ),
) -> None:
    """Make your workspace: copies of the chapters to work in. Nothing of yours is ever overwritten.

    Run it again after an update of the course: it adds what is new, and renews what you have not touched.
    """
    from asr_tutorial.course.workspace import Workspace

    for line in Workspace(folder.expanduser().resolve()).start():
        typer.echo(line)
    typer.echo(f"\nyour workspace     {folder}")
    typer.echo(f"open it            jupyter lab --notebook-dir={folder}   (or the folder in your editor)")
    typer.echo("see where you are  asr-tutorial status")


@app.command(rich_help_panel=PANEL)
def status() -> None:
    """Where you are: what is yours, what is borrowed from us, what is not started."""
    from rich.console import Console
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    from asr_tutorial.course.manifest import load_course

    workspace = _workspace()
    table = Table(title=f"asr_tutorial in {workspace.folder}", title_justify="left")
    for column in ("chapter", "progress", "mine", "borrowed", "not started", "next"):
        table.add_column(column, justify="left" if column in ("chapter", "progress", "next") else "right")
    totals = [0, 0, 0]
    for chapter in load_course():
        states = {exercise.id: workspace.status(exercise) for exercise in chapter.exercises}
        counts = [sum(state == name for state in states.values()) for name in ("mine", "borrowed", "not started")]
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        following = next((number for number, state in states.items() if state != "mine"), "done" if states else "")
        bar = ProgressBar(total=max(len(states), 1), completed=counts[0], width=16)
        table.add_row(f"{chapter.id} {chapter.title}", bar, *map(str, counts), following)
    table.add_section()
    table.add_row("all", ProgressBar(total=max(sum(totals), 1), completed=totals[0], width=16), *map(str, totals), "")
    Console().print(table)
    typer.echo("mine: checked and kept. borrowed: worked on, ours is used meanwhile (or ours was pasted in).")


@app.command(name="next", rich_help_panel=PANEL)
def next_exercise() -> None:
    """What to do next: the first core exercise that is not yours yet."""
    from asr_tutorial.course.manifest import all_exercises, load_course

    workspace = _workspace()
    left = [exercise for exercise in all_exercises() if workspace.status(exercise) != "mine"]
    for exercise in sorted(left, key=lambda exercise: not exercise.core):  # stable: core ones first, in order
        chapter = next(chapter for chapter in load_course() if chapter.id == exercise.chapter)
        typer.echo(_describe(exercise))
        typer.echo(f"in {workspace.folder / chapter.name}.ipynb (chapter {chapter.id}, {chapter.title})")
        typer.echo(f"then: asr-tutorial check {exercise.id}, or run the notebook's own check")
        return
    typer.echo("every exercise is yours: asr-tutorial train --code mine")


@app.command(rich_help_panel=PANEL)
def check(number: Number) -> None:
    """Check an exercise as it stands in your workspace. Exit code 1 if it is not right yet."""
    from asr_tutorial.course.manifest import find_exercise

    workspace = _workspace()
    if not _check(workspace, find_exercise(number)).right:
        raise typer.Exit(1)


@app.command(rich_help_panel=PANEL)
def hint(number: Number) -> None:
    """One hint, and the next time the next: from a nudge to nearly the answer."""
    from asr_tutorial.course.manifest import find_exercise

    exercise = find_exercise(number)
    level, text = _workspace().next_hint(exercise)
    typer.echo(f"{exercise.id} {exercise.title}, hint {level} of {len(exercise.hints)}: {text}")
    if level == len(exercise.hints):
        typer.echo(f"That was the last one. Our answer: asr-tutorial solution {exercise.id}")


@app.command(rich_help_panel=PANEL)
def solution(
    number: Number,
    write: Annotated[
        bool, typer.Option("--write", help="Put it into your notebook; yours is backed up first.")
    ] = False,
) -> None:
    """Our answer to an exercise. It counts as borrowed, not as yours."""
    from asr_tutorial.course.manifest import find_exercise
    from asr_tutorial.course.source import solution as our_solution

    exercise = find_exercise(number)
    text = our_solution(exercise, exercise.path.read_text(encoding="utf-8"))
    typer.echo(text)
    if write:
        for backup in _workspace().write_cell(exercise, text):
            typer.echo(f"written; yours is kept as {backup}", err=True)


@app.command(rich_help_panel=PANEL)
def reset(name: Annotated[str, typer.Argument(help="An exercise (2.1) or a chapter (02).")]) -> None:
    """Bring back the stub of an exercise, or the whole text of a chapter. What you had is backed up first."""
    for line in _workspace().reset(name):
        typer.echo(line)


@app.command(rich_help_panel=PANEL)
def watch() -> None:
    """Check an exercise whenever you save it, until Ctrl-C: for those who work in an editor."""
    import time

    from asr_tutorial.course.checker import CHECKER
    from asr_tutorial.course.manifest import all_exercises
    from asr_tutorial.errors import CourseError

    workspace = _workspace()
    CHECKER.start()

    def cells() -> dict[Exercise, str]:
        found = {}
        for exercise in all_exercises():
            try:
                found[exercise] = workspace.cell(exercise)
            except CourseError as error:
                found[exercise] = f"# {error}"
        return found

    def saved() -> list[int]:
        return [path.stat().st_mtime_ns for path in sorted(workspace.folder.glob("[0-9]*.*"))]

    known, times = cells(), saved()
    typer.echo(f"watching {workspace.folder}; save a notebook or a script to have it checked, Ctrl-C ends")
    while True:
        time.sleep(0.3)
        if (now := saved()) == times:
            continue
        times, current = now, cells()
        for exercise in [exercise for exercise, text in current.items() if text != known[exercise]]:
            typer.echo("")
            try:
                _check(workspace, exercise)
            except CourseError as error:
                typer.echo(f"{exercise.id}: {error}")
        known = current


@app.command(rich_help_panel=PANEL)
def submit(
    out: Annotated[Path, typer.Option(help="File to write.", metavar="FILE.json")] = Path("submission.json"),
    name: Annotated[str, typer.Option(help="Who it is from, as your course asks for it.")] = "",
) -> None:
    """Put your answers, their results and the versions in use into one file to hand in."""
    from asr_tutorial.course.classroom import make_submission

    submission = make_submission(_workspace(), name, on_progress=typer.echo)
    submission.write(out)
    typer.echo(f"{out}: {submission.right} of {len(submission.answers)} answers are right")


@app.command(rich_help_panel=PANEL)
def grade(
    folder: Annotated[Path, typer.Argument(help="Folder with submissions (*.json).", metavar="FOLDER")],
    out: Annotated[Path | None, typer.Option(help="CSV file to write; default: print it.", metavar="FILE.csv")] = None,
) -> None:
    """For instructors: check all answers of all submissions anew, with this course's tests; one CSV row each."""
    from asr_tutorial.course.classroom import grade_folder, write_csv

    rows = grade_folder(folder, on_progress=lambda line: typer.echo(line, err=True))
    text = write_csv(rows, out)
    typer.echo(f"{len(rows)} submissions in {out}" if out else text, nl=out is not None)


def _workspace() -> Workspace:
    from asr_tutorial.course.workspace import Workspace

    return Workspace.find()


def _check(workspace: Workspace, exercise: Exercise) -> Feedback:
    from asr_tutorial.course.checker import CHECKER

    cell = workspace.cell(exercise)
    feedback = CHECKER.check(exercise, cell)
    typer.echo(feedback)
    for line in workspace.record(feedback, cell):
        typer.echo(line)
    return feedback


def _describe(exercise: Exercise) -> str:
    kind = "core" if exercise.core else "optional"
    return f"{exercise.id} {exercise.title}: {exercise.minutes} minutes, difficulty {exercise.difficulty} of 5, {kind}"
