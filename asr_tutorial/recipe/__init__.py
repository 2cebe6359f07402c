"""Recipes: from a corpus to a table of results, in one command that can be stopped and gone on with.

A recipe is a YAML file (``configs/recipes``): trainings that build on each other, and what is measured of them. Read
``plan`` (what a recipe consists of), ``stages`` (training), ``figures`` (measuring) and ``report``.
"""

from __future__ import annotations

from pathlib import Path

from asr_tutorial.recipe.figures import measure
from asr_tutorial.recipe.plan import RecipeConfig, load_recipe
from asr_tutorial.recipe.report import write_report
from asr_tutorial.recipe.stages import do_stages

__all__ = ["RecipeConfig", "load_recipe", "run_recipe"]


def run_recipe(recipe: RecipeConfig, out: Path, scale: float = 1.0, progress: bool = True) -> Path:
    """Do all of a recipe, or what is left of it.

    Args:
        recipe: from :func:`load_recipe`.
        out: a folder for each stage, ``measurements`` and ``results`` are made in it.
        scale: factor on the optimiser steps of every training.
        progress: show progress bars.

    Returns:
        ``results/results.md``.

    Raises:
        ConfigError: a stage was done, or begun, with other settings.
        UserError: a corpus, a text or a training does not work; the message says why.
    """
    out.mkdir(parents=True, exist_ok=True)
    folders = do_stages(recipe, out, scale, progress)
    figures = measure(recipe, folders, out / "measurements")
    return write_report(recipe, folders, figures, out / "results")
