"""The command line: ``asr-tutorial train | evaluate | transcribe | align | overfit | diagnose | demo | config | data``.

``data`` has commands of its own; those of the course (``start``, ``check`` and so on) stand in ``course``.

Heavy modules are imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr_tutorial.cli import course, data
from asr_tutorial.cli.common import (
    CodeName,
    Commands,
    SearchName,
    console_log,
    overrides_of,
    passes_overrides,
    save_figure,
    use_code,
)
from asr_tutorial.cli.searching import (
    BeamSize,
    CoveragePenalty,
    CTCWeight,
    LengthPenalty,
    NBest,
    RepeatPenalty,
    Temperature,
    search_options,
)

if TYPE_CHECKING:
    from asr_tutorial.recognizer import Recognizer

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
app.add_typer(course.app)

ConfigName = Annotated[
    str, typer.Option("--config", "-c", help="A configuration of the package, or a YAML file.", metavar="NAME|FILE")
]
Checkpoint = Annotated[
    Path,
    typer.Option("--checkpoint", "-m", help="Checkpoint folder, or run folder (its best checkpoint).", metavar="DIR"),
]
Search = Annotated[
    SearchName,
    typer.Option(
        help="greedy: the decoder, token by token. ctc: the CTC head, frame by frame. prefix, attention, joint: beam "
        "searches with the CTC head, the decoder, both."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
Code = Annotated[
    CodeName,
    typer.Option(
        help="mine: with your own answers from the course in the place of our code.",
        callback=use_code,
        envvar="ASR_TUTORIAL_CODE",
        is_eager=True,
    ),
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


@app.command()
def evaluate(
    checkpoint: Checkpoint,
    corpus: Annotated[
        str, typer.Option(help="Folder below which LibriSpeech's files lie, manifest, or folder of .npy features.")
    ],
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many utterances.")] = None,
    search: Search = SearchName.greedy,
    beam_size: BeamSize = None,
    nbest: NBest = None,
    ctc_weight: CTCWeight = None,
    length_penalty: LengthPenalty = None,
    coverage_penalty: CoveragePenalty = None,
    temperature: Temperature = None,
    repeat_penalty: RepeatPenalty = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write figures and transcripts there.", metavar="FILE")
    ] = None,
    worst: Annotated[int, typer.Option(min=0, help="Show so many of the worst utterances.")] = 0,
    device: Device = "auto",
    code: Code = CodeName.ours,
) -> None:
    """Word and character error rate on a corpus.

    Examples:

      asr-tutorial evaluate --checkpoint runs/MY_RUN --corpus tinyspeech/test

      asr-tutorial evaluate -m runs/MY_RUN --corpus my/recordings.tsv --search ctc --json figures.json --worst 10

      asr-tutorial evaluate -m runs/MY_RUN --corpus tinyspeech/test --search joint --beam-size 20 --ctc-weight 0.4
    """
    from tqdm import tqdm

    from asr_tutorial import metrics
    from asr_tutorial.corpus import read_corpus

    options = search_options(
        search,
        beam_size=beam_size,
        n_best=nbest,
        ctc_weight=ctc_weight,
        length_penalty=length_penalty,
        coverage_penalty=coverage_penalty,
        temperature=temperature,
        repeat_penalty=repeat_penalty,
    )
    recognizer = _load(checkpoint, device)
    utterances = read_corpus(corpus)
    total = min(len(utterances), limit or len(utterances))
    with tqdm(total=total, unit="utt", leave=False, disable=not sys.stderr.isatty()) as bar:
        result = recognizer.evaluate(utterances, search.value, limit, on_progress=bar.update, options=options)
    for skip in result.skipped:
        typer.echo(f"skipped {skip.id}: {skip.reason}", err=True)
    for name, counts in (("WER", result.words), ("CER", result.characters)):
        typer.echo(
            f"{name} {100 * counts.rate:6.2f} %  ({counts.substitutions} substitutions, {counts.deletions} deletions, "
            f"{counts.insertions} insertions in {counts.reference})"
        )
    typer.echo(
        f"{result.utterances} utterances, {result.audio_seconds:.1f} s of audio, real-time factor {result.rtf:.4f}, "
        f"search {search.value}" + (f", {len(result.skipped)} skipped" if result.skipped else "")
    )
    for item in metrics.worst(result.results, worst):
        typer.echo(
            f"\n{item.id}  WER {100 * item.words.rate:.0f} %\n  said   {item.reference}\n  heard  {item.hypothesis}"
        )
    if json_file is not None:
        _write_json(json_file, {"checkpoint": str(checkpoint), "corpus": str(utterances.path), **result.to_dict()})


@app.command()
def transcribe(
    checkpoint: Checkpoint,
    files: Annotated[list[Path], typer.Argument(help="Audio in any format that libsndfile reads.", metavar="FILES...")],
    search: Search = SearchName.greedy,
    beam_size: BeamSize = None,
    nbest: NBest = None,
    ctc_weight: CTCWeight = None,
    length_penalty: LengthPenalty = None,
    coverage_penalty: CoveragePenalty = None,
    temperature: Temperature = None,
    repeat_penalty: RepeatPenalty = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list with scores, confidences and alternatives.")
    ] = False,
    device: Device = "auto",
    code: Code = CodeName.ours,
) -> None:
    """Write down what is said in audio files: any sample rate, mono or stereo, any length.

    Audio of more than 30 s is split at pauses.

    Examples:

      asr-tutorial transcribe --checkpoint runs/MY_RUN speech.flac

      asr-tutorial transcribe -m runs/MY_RUN *.wav --search joint --nbest 5 --json
    """
    options = search_options(
        search,
        beam_size=beam_size,
        n_best=nbest,
        ctc_weight=ctc_weight,
        length_penalty=length_penalty,
        coverage_penalty=coverage_penalty,
        temperature=temperature,
        repeat_penalty=repeat_penalty,
    )
    recognizer = _load(checkpoint, device)
    transcripts = recognizer.transcribe([str(file) for file in files], search=search.value, options=options)
    if as_json:
        records = [{"file": str(file), **asdict(item)} for file, item in zip(files, transcripts, strict=True)]
        typer.echo(json.dumps(records, indent=1, ensure_ascii=False))
        return
    for file, transcript in zip(files, transcripts, strict=True):
        typer.echo(transcript.text if len(files) == 1 else f"{file}\t{transcript.text}")


@app.command()
def align(
    checkpoint: Checkpoint,
    file: Annotated[Path, typer.Argument(help="Audio file.", metavar="FILE")],
    text: Annotated[str | None, typer.Option(help="What is said; default: what is recognised.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw words and CTC posteriors there.", metavar="PNG")] = None,
    search: Search = SearchName.greedy,
    device: Device = "auto",
) -> None:
    """When each word is spoken: start and end in seconds, word, and mean log-probability.

    Examples:

      asr-tutorial align --checkpoint runs/MY_RUN speech.flac --plot words.png

      asr-tutorial align -m runs/MY_RUN speech.flac --text "GOOD DAY"
    """
    recognizer = _load(checkpoint, device)
    aligned = recognizer.align(str(file), text, search=search.value)
    for word in aligned.words:
        typer.echo(f"{word.start:8.2f} {word.end:8.2f}  {word.text}  ({word.score:.2f})")
    if plot is not None:
        from asr_tutorial.demo.page import alignment_figure

        save_figure(alignment_figure(recognizer, str(file), aligned), plot)


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


def _load(checkpoint: Path, device: str) -> Recognizer:
    import asr_tutorial

    return asr_tutorial.load(checkpoint, device)


def _write_json(path: Path, values: dict[str, object]) -> None:
    from asr_tutorial.errors import UserError

    try:
        path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
