"""The commands that use a trained model: ``evaluate``, ``transcribe``, ``submission``, ``tune`` and ``align``."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from asr_tutorial.cli.common import CodeName, SearchName, save_figure
from asr_tutorial.cli.searching import Asked, Checkpoint, Code, CorpusName, Device, Search, searches
from asr_tutorial.errors import UserError

app = typer.Typer()

JSONFile = Annotated[Path | None, typer.Option("--json", help="Write figures and transcripts there.", metavar="FILE")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many utterances.")]


@app.command()
@searches()
def evaluate(
    asked: Asked,
    checkpoint: Checkpoint,
    corpus: CorpusName,
    limit: Limit = None,
    json_file: JSONFile = None,
    worst: Annotated[int, typer.Option(min=0, help="Show so many of the worst utterances.")] = 0,
    device: Device = "auto",
    code: Code = CodeName.ours,
) -> None:
    """Word and character error rate on a corpus.

    Examples:

      asr-tutorial evaluate --checkpoint runs/MY_RUN --corpus tinyspeech/test

      asr-tutorial evaluate -m runs/MY_RUN --corpus my/recordings.tsv --search ctc --json figures.json --worst 10

      asr-tutorial evaluate -m runs/MY_RUN --corpus tinyspeech/test --search joint --beam-size 20 --ctc-weight 0.4

      asr-tutorial evaluate -m runs/MY_RUN --corpus dev-clean-2 --search joint --lm runs/MY_LM --lm-weight 0.6
    """
    from asr_tutorial import metrics
    from asr_tutorial.corpus import read_corpus

    recognizer, options = asked.load(checkpoint, device)
    utterances = read_corpus(corpus)
    with _bar(min(len(utterances), limit or len(utterances))) as update:
        result = recognizer.evaluate(utterances, asked.name, limit, on_progress=update, options=options)
    _name_skipped(result.skipped)
    for name, counts in (("WER", result.words), ("CER", result.characters)):
        typer.echo(
            f"{name} {100 * counts.rate:6.2f} %  ({counts.substitutions} substitutions, {counts.deletions} deletions, "
            f"{counts.insertions} insertions in {counts.reference})"
        )
    typer.echo(
        f"{result.utterances} utterances, {result.audio_seconds:.1f} s of audio, real-time factor {result.rtf:.4f}, "
        f"search {result.search}"
        + (f" with {asked.lm}" if asked.lm is not None else "")
        + (f", {len(result.skipped)} skipped" if result.skipped else "")
    )
    for item in metrics.worst(result.results, worst):
        typer.echo(
            f"\n{item.id}  WER {100 * item.words.rate:.0f} %\n  said   {item.reference}\n  heard  {item.hypothesis}"
        )
    if json_file is not None:
        origin = {"checkpoint": str(checkpoint), "corpus": str(utterances.path)}
        lm = {"language_model": str(asked.lm)} if asked.lm is not None else {}
        write_json(json_file, {**origin, **lm, **result.to_dict()})


@app.command()
@searches()
def transcribe(
    asked: Asked,
    checkpoint: Checkpoint,
    files: Annotated[list[Path], typer.Argument(help="Audio in any format that libsndfile reads.", metavar="FILES...")],
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

      asr-tutorial transcribe -m runs/MY_RUN speech.flac --search joint --lm runs/MY_LM
    """
    recognizer, options = asked.load(checkpoint, device)
    transcripts = recognizer.transcribe([str(file) for file in files], search=asked.name, options=options)
    if as_json:
        records = [{"file": str(file), **asdict(item)} for file, item in zip(files, transcripts, strict=True)]
        typer.echo(json.dumps(records, indent=1, ensure_ascii=False))
        return
    for file, transcript in zip(files, transcripts, strict=True):
        typer.echo(transcript.text if len(files) == 1 else f"{file}\t{transcript.text}")


@app.command()
@searches()
def submission(
    asked: Asked,
    checkpoint: Checkpoint,
    corpus: CorpusName,
    out: Annotated[Path, typer.Option(help="File to write.", metavar="FILE.csv")] = Path("submission.csv"),
    limit: Limit = None,
    device: Device = "auto",
    code: Code = CodeName.ours,
) -> None:
    """Recognise a split without transcripts: a CSV file with id and transcription of each utterance.

    Examples:

      asr-tutorial submission --checkpoint runs/MY_RUN --corpus features/test --search joint --lm runs/MY_LM
    """
    from asr_tutorial.corpus import read_corpus

    recognizer, options = asked.load(checkpoint, device)
    read = read_corpus(corpus)
    utterances = read.utterances[:limit]
    with _bar(len(utterances)) as update:
        found, skipped = recognizer.decode_corpus(utterances, asked.name, on_progress=update, options=options)
    _name_skipped([*read.skipped, *skipped])
    try:
        with out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "transcription"])
            # An utterance that cannot be read has a line too, an empty one: whoever scores the file expects every id.
            rows = zip(utterances, found, strict=True)
            writer.writerows([utterance.id, decoded.text if decoded is not None else ""] for utterance, decoded in rows)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from error
    typer.echo(f"{out}: {len(utterances)} transcriptions" + (f", {len(skipped)} of them empty" if skipped else ""))


@app.command()
@searches(SearchName.joint)
def tune(
    asked: Asked,
    checkpoint: Checkpoint,
    corpus: CorpusName,
    lm_weights: Annotated[str, typer.Option(help="Weights of the language model to try.")] = "0 0.2 0.4 0.6 0.8 1 1.2",
    token_bonuses: Annotated[str, typer.Option(help="Bonuses to try, nats for each token.")] = "0 0.5 1 1.5 2",
    ctc_weights: Annotated[str, typer.Option(help="Shares of CTC to try in a joint search.")] = "0.2 0.3 0.4 0.5 0.6",
    confirm: Annotated[
        int, typer.Option(min=0, help="Decode with so many of the best settings, and choose by that.")
    ] = 1,
    limit: Limit = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the table there.", metavar="FILE")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the sweep there.", metavar="PNG")] = None,
    save: Annotated[
        bool, typer.Option("--save", help="Let the checkpoint recommend what was found: it becomes the default.")
    ] = False,
    device: Device = "auto",
    code: Code = CodeName.ours,
) -> None:
    """Choose the weights of a search on a development set.

    The n-best lists of two searches, with and without the language model, are scored exactly by each model; then trying
    weights costs nothing. The best settings are confirmed by decoding.

    Examples:

      asr-tutorial tune --checkpoint runs/MY_RUN --corpus dev-218spk --lm runs/MY_LM --plot sweep.png --save

      asr-tutorial tune -m runs/MY_RUN --corpus dev-218spk --search prefix --lm runs/MY_NGRAM
    """
    from asr_tutorial.corpus import read_corpus
    from asr_tutorial.recognizer.tune import tune as run_tuning

    grid = {
        "lm_weights": _numbers("--lm-weights", lm_weights),
        "token_bonuses": _numbers("--token-bonuses", token_bonuses),
        "ctc_weights": _numbers("--ctc-weights", ctc_weights),
    }
    recognizer, options = asked.load(checkpoint, device)
    utterances = read_corpus(corpus)
    with _bar(min(len(utterances), limit or len(utterances))) as update:
        tuning = run_tuning(
            recognizer,
            utterances,
            asked.name or SearchName.joint.value,
            options,
            **grid,
            confirm=confirm,
            limit=limit,
            on_progress=update,
        )
    typer.echo(tuning.text())
    if json_file is not None:
        origin = {"checkpoint": str(checkpoint), "corpus": str(utterances.path)}
        write_json(json_file, {**origin, "language_model": str(asked.lm or ""), **tuning.to_dict()})
    if plot is not None:
        from asr_tutorial import plots

        save_figure(plots.weight_sweep(tuning.to_dict()["rows"]), plot)
    if save:
        from asr_tutorial.checkpoint import find_checkpoint
        from asr_tutorial.recognizer.fusing import write_recommended

        folder = find_checkpoint(checkpoint)
        write_recommended(folder, {**recognizer.recommended, tuning.name: tuning.recommended()})
        typer.echo(f"{folder} recommends them for --search {tuning.search}" + (" --lm" if asked.lm else ""))


@app.command()
def align(
    checkpoint: Checkpoint,
    file: Annotated[Path, typer.Argument(help="Audio file.", metavar="FILE")],
    text: Annotated[str | None, typer.Option(help="What is said; default: what is recognised.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw words and CTC posteriors there.", metavar="PNG")] = None,
    search: Search = None,
    device: Device = "auto",
) -> None:
    """When each word is spoken: start and end in seconds, word, and mean log-probability.

    Examples:

      asr-tutorial align --checkpoint runs/MY_RUN speech.flac --plot words.png

      asr-tutorial align -m runs/MY_RUN speech.flac --text "GOOD DAY"
    """
    from asr_tutorial.recognizer import load

    recognizer = load(checkpoint, device)
    aligned = recognizer.align(str(file), text, search=search.value if search is not None else None)
    for word in aligned.words:
        typer.echo(f"{word.start:8.2f} {word.end:8.2f}  {word.text}  ({word.score:.2f})")
    if plot is not None:
        from asr_tutorial.demo.page import alignment_figure

        save_figure(alignment_figure(recognizer, str(file), aligned), plot)


def write_json(path: Path, values: dict[str, object]) -> None:
    """Write plain values; a file that cannot be written is a UserError."""
    try:
        path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def _bar(total: int) -> Iterator[Any]:
    """A progress bar where a person sees it; gives what is to be called with the number of utterances."""
    from tqdm import tqdm

    with tqdm(total=total, unit="utt", leave=False, disable=not sys.stderr.isatty()) as bar:
        yield bar.update


def _name_skipped(skipped: list[Any]) -> None:
    for skip in skipped:
        typer.echo(f"skipped {skip.id}: {skip.reason}", err=True)


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.replace(",", " ").split()]
    except ValueError as error:
        raise UserError(f"{option} takes numbers with spaces between, such as '0 0.5 1'; got {text!r}") from error
