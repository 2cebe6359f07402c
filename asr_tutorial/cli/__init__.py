"""The command line: ``asr-tutorial train | overfit | diagnose | doctor | demo | config``; the rest is in other modules.

``recognise`` has the commands that use a trained model, ``course`` those of the course (``start``, ``check`` and so
on); ``data`` and ``lm`` have commands of their own.

Heavy modules are imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from asr_tutorial.cli import course, data, language_model, recognise, serve
from asr_tutorial.cli.common import (
    CodeName,
    Commands,
    console_log,
    overrides_of,
    passes_overrides,
)
from asr_tutorial.cli.searching import Code

app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train, measure and use speech recognisers: a Transformer with CTC, built to be read.",
    epilog="Start here: [bold]asr-tutorial demo[/bold] trains on the bundled speech in a few minutes.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.app, name="data")
app.add_typer(language_model.app, name="lm")
app.add_typer(recognise.app)
app.add_typer(serve.app)
app.add_typer(course.app)

ConfigName = Annotated[
    str, typer.Option("--config", "-c", help="A configuration of the package, or a YAML file.", metavar="NAME|FILE")
]


@app.command(context_settings=passes_overrides)
def train(
    context: typer.Context,
    config: ConfigName = "tinyspeech",
    resume: Annotated[
        str | None,
        typer.Option(
            help="Go on with an interrupted run, in its folder; auto: with the one in --run-dir, if there is one.",
            metavar="RUN_DIR|auto",
        ),
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="Where to write; default: runs/TIME_NAME.", metavar="DIR")
    ] = None,
    code: Code = CodeName.ours,
) -> None:
    """Train a recogniser, then measure it on the test sets.

    Any setting can be given as --section.key=value; [bold]asr-tutorial config NAME[/bold] lists them all.

    Examples:

      asr-tutorial train

      asr-tutorial train --config mini_librispeech --training.max_steps=2000

      asr-tutorial train --data.train='\\[my/train.tsv]' --data.dev='\\[my/dev.tsv]' --data.test='\\[]'

      asr-tutorial train --resume runs/20260101-120000_tinyspeech

      asr-tutorial train --code mine

      torchrun --nproc-per-node=4 --max-restarts=3 -m asr_tutorial train --config librispeech_100h
    """
    from asr_tutorial.config import load_config
    from asr_tutorial.errors import ConfigError
    from asr_tutorial.training import train as run_training

    overrides = overrides_of(context.args)
    console_log()
    go_on = resume == "auto"
    if go_on and run_dir is None:
        raise ConfigError("--resume auto needs --run-dir: the folder in which the run is, or is to begin")
    if resume is not None and not go_on:
        if overrides or run_dir is not None:
            raise ConfigError("a resumed run keeps its folder and the settings in its config.yaml: give --resume alone")
        result = run_training(resume=resume)
    else:
        result = run_training(load_config(config, overrides), run_dir, go_on=go_on)
    if os.environ.get("RANK", "0") != "0":
        return
    for name, figures in result.test.items():
        typer.echo(f"{name}: WER {100 * figures['wer']:.1f} %, CER {100 * figures['cer']:.1f} %")
    typer.echo(f"recogniser: {result.checkpoint}")


@app.command(context_settings=passes_overrides)
def overfit(
    context: typer.Context,
    config: ConfigName = "tinyspeech",
    steps: Annotated[int, typer.Option(min=2, help="Optimiser steps.")] = 200,
    code: Code = CodeName.ours,
) -> None:
    """Learn one batch by heart: the first thing to try when a model does not learn.

    Without dropout, augmentation and label smoothing the loss must fall towards 0. Exit code 1 if it does not.

    Examples:

      asr-tutorial overfit

      asr-tutorial overfit --config mini_librispeech --data.batch_seconds=30 --steps 300
    """
    from asr_tutorial.config import load_config
    from asr_tutorial.training import overfit as run_overfit

    console_log()
    losses = run_overfit(load_config(config, overrides_of(context.args)), steps)
    for step in sorted({*range(0, len(losses), max(1, len(losses) // 10)), len(losses) - 1}):
        typer.echo(f"step {step + 1:5d}  loss {losses[step]:.4f}")
    if losses[-1] < 0.1 * losses[0]:
        typer.echo("the model can learn the batch by heart")
    else:
        typer.echo("the loss has not fallen to a tenth: give more --steps, or look for a defect", err=True)
        raise typer.Exit(1)


@app.command(context_settings=passes_overrides)
def diagnose(
    context: typer.Context,
    config: ConfigName = "tinyspeech",
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint", "-m", help="A run folder (its latest state), or a checkpoint folder.", metavar="DIR"
        ),
    ] = None,
    batches: Annotated[int, typer.Option(min=1, help="Batches to look at, that with the most frames first.")] = 3,
    memory: Annotated[float | None, typer.Option(min=0.1, help="Plan for so many GB; default: what is there.")] = None,
    code: Code = CodeName.ours,
) -> None:
    """Where a NaN or an infinity arises, and what takes the memory.

    Takes some real steps on the training set and looks into each module: features, weights, outputs, losses, gradients.
    Nothing is written. Exit code 1 if something is wrong.

    Examples:

      asr-tutorial diagnose --config mini_librispeech

      asr-tutorial diagnose --checkpoint runs/MY_RUN --batches 20

      asr-tutorial diagnose --config librispeech_100h --data.batch_seconds=1600 --memory 80
    """
    from asr_tutorial.config import load_config
    from asr_tutorial.training.diagnose import diagnose as run_diagnose

    overrides = overrides_of(context.args)
    if checkpoint is not None:
        report = run_diagnose(checkpoint=checkpoint, overrides=overrides, batches=batches, memory=memory)
    else:
        report = run_diagnose(load_config(config, overrides), batches=batches, memory=memory)
    typer.echo(report.text())
    if report.finding is not None:
        raise typer.Exit(1)


@app.command(context_settings=passes_overrides)
def doctor(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            help="A run folder or checkpoint folder, or a configuration: a name of the package, or a YAML file.",
            metavar="RUN_DIR|CONFIG",
        ),
    ],
    lm: Annotated[
        Path | None, typer.Option("--lm", help="A language model to examine beside the recogniser.", metavar="DIR")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    code: Code = CodeName.ours,
) -> None:
    """Why a training does not work: the checks of the debugging chart, on a run or before there is one.

    Looks at a run's curves and transcripts, and tries out its data, model, losses and searches: what was seen, what it
    means, the likely cause, the remedy, and which patient of chapter 14 shows it. Nothing is written. Exit code 1 if
    something is wrong. Where a NaN comes from and what takes the memory is what [bold]diagnose[/bold] says.

    Examples:

      asr-tutorial doctor runs/MY_RUN

      asr-tutorial doctor mini_librispeech --model.d_model=256

      asr-tutorial doctor runs/MY_RUN --code mine --json
    """
    import json

    from asr_tutorial.doctor import examine

    report = examine(target, overrides_of(context.args), lm)
    typer.echo(json.dumps(report.to_dict(), indent=1, ensure_ascii=False) if as_json else report.text())
    if not report.healthy:
        raise typer.Exit(1)


@app.command(context_settings=passes_overrides)
def demo(
    context: typer.Context,
    config: ConfigName = "tinyspeech",
    run_dir: Annotated[
        Path | None, typer.Option(help="Where to write; default: runs/TIME_NAME.", metavar="DIR")
    ] = None,
) -> None:
    """Train on the bundled speech, test on voices and sentences never heard, and write a page to look at.

    Takes a few minutes on two CPU cores. The page, demo.html in the run folder, has error rates, transcripts to listen
    to, learning curves, what the decoder attends to, and when each word was heard.

    Examples:

      asr-tutorial demo

      asr-tutorial demo --training.max_epochs=5
    """
    from asr_tutorial.config import load_config
    from asr_tutorial.demo import run_demo

    console_log()
    run_demo(load_config(config, overrides_of(context.args)), run_dir)


@app.command()
def recipe(
    name: Annotated[
        str, typer.Argument(help="mini-librispeech, tinyspeech, or a YAML file.", metavar="NAME|FILE")
    ] = "mini-librispeech",
    out: Annotated[Path | None, typer.Option(help="Where to write; default: runs/recipe_NAME.", metavar="DIR")] = None,
    scale: Annotated[
        float, typer.Option(help="Factor on the optimiser steps of every training, for a small machine.")
    ] = 1.0,
    code: Code = CodeName.ours,
) -> None:
    """From a corpus to a table of results: language models, recognisers in several ways, every search.

    Can be stopped at any time: the same command goes on, and what is done is not done again.

    Examples:

      asr-tutorial recipe mini-librispeech --out runs/mini

      asr-tutorial recipe tinyspeech --scale 0.2
    """
    from asr_tutorial.recipe import load_recipe, run_recipe

    console_log()
    loaded = load_recipe(name, scale)
    page = run_recipe(loaded, out or Path("runs") / f"recipe_{loaded.name}", scale)
    typer.echo(f"results: {page}")


@app.command(context_settings=passes_overrides)
def config(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(help="A configuration of the package, or a YAML file.", metavar="NAME|FILE")
    ] = "tinyspeech",
) -> None:
    """Print a configuration with every key, overrides applied: a start for your own YAML file.

    Examples:

      asr-tutorial config mini_librispeech

      asr-tutorial config tinyspeech --model.d_model=256 > my.yaml
    """
    from asr_tutorial.config import load_config, to_yaml

    arguments = context.args
    if name.startswith("--"):  # a setting where the name may stand
        name, arguments = "tinyspeech", [name, *arguments]
    typer.echo(to_yaml(load_config(name, overrides_of(arguments))), nl=False)


def main() -> None:
    """The program ``asr-tutorial``."""
    try:
        app(prog_name="asr-tutorial")
    except SystemExit as leaving:
        if os.environ.get("WORLD_SIZE", "1") == "1":
            raise
        # PyTorch's threads for the talk between processes now and then abort while the interpreter is taken down, and
        # torchrun would take that for a failure of the training. All files are closed by now.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(leaving.code if isinstance(leaving.code, int) else bool(leaving.code))
