"""``asr-tutorial data``: download, look at and cut corpora."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr_tutorial.cli.common import save_figure

if TYPE_CHECKING:
    from asr_tutorial.corpus import CorpusStats

app = typer.Typer(no_args_is_help=True, help="Download, look at and cut corpora.")

CorpusPath = Annotated[
    str,
    typer.Argument(help="Folder below which LibriSpeech's files lie, manifest (.tsv, .jsonl), or folder of features."),
]


class TokenizerKind(enum.StrEnum):
    """Choices of ``--tokenizer``."""

    char = "char"
    bpe = "bpe"
    unigram = "unigram"


@app.command()
def download(
    name: Annotated[str | None, typer.Argument(help="What to download; without it, what there is.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Where to; default: ASR_TUTORIAL_DATA, else the repository's data.", metavar="DIR"),
    ] = None,
) -> None:
    """Download LibriSpeech or its text from OpenSLR, verified; interrupted downloads go on.

    Examples:

      asr-tutorial data download

      asr-tutorial data download mini-librispeech
    """
    from asr_tutorial.download import CATALOGUE
    from asr_tutorial.download import download as fetch

    if name is None:
        for key, entry in CATALOGUE.items():
            hours = f"{entry.hours:6.1f} h" if entry.hours is not None else " " * 8
            typer.echo(f"{key:17} {hours} {entry.size / 1e9:7.2f} GB  {entry.description}")
        return
    typer.echo(f"ready: {fetch(name, out or _data_root())}")


@app.command()
def stats(
    corpus: CorpusPath,
    tokenizer: Annotated[
        TokenizerKind, typer.Option(help="Tokenizer to count tokens with, learnt from the corpus.")
    ] = TokenizerKind.char,
    vocab_size: Annotated[int, typer.Option(min=10, help="Pieces of a bpe or unigram tokenizer.")] = 300,
    plot: Annotated[Path | None, typer.Option(help="Draw the histogram of lengths there.", metavar="PNG")] = None,
) -> None:
    """Hours, speakers, lengths, characters and tokens of a corpus.

    Examples:

      asr-tutorial data stats tinyspeech/train

      asr-tutorial data stats my/recordings.tsv --tokenizer bpe --vocab-size 500
    """
    from asr_tutorial import plots
    from asr_tutorial.config import TokenizerConfig
    from asr_tutorial.corpus import corpus_stats, read_corpus
    from asr_tutorial.tokenizer import train_tokenizer

    utterances = read_corpus(corpus)
    learnt = None
    if utterances.texts:
        learnt = train_tokenizer(TokenizerConfig(kind=tokenizer.value, vocab_size=vocab_size), utterances.texts)
    _print_stats(
        str(utterances.path), corpus_stats(utterances, learnt), tokenizer.value, learnt.vocab_size if learnt else 0
    )
    for skip in utterances.skipped:
        typer.echo(f"skipped {skip.id}: {skip.reason}", err=True)
    if plot is not None:
        seconds = [utterance.seconds for utterance in utterances.utterances]
        save_figure(plots.length_histogram(seconds, title=f"How long the utterances of {utterances.name} are"), plot)


@app.command()
def subset(
    ids: Annotated[Path, typer.Option(help="Text file with one utterance id a line.", metavar="FILE")],
    corpus: Annotated[str, typer.Option(help="Where the utterances lie.", metavar="DIR")],
    out: Annotated[Path, typer.Option(help="New folder for them.", metavar="DIR")],
    copy: Annotated[bool, typer.Option("--copy", help="Copy the audio instead of hard-linking it.")] = False,
) -> None:
    """Write the utterances of a list as a corpus of their own: how published splits are rebuilt.

    Example:

      asr-tutorial data subset --ids data/splits/dev-218spk.txt --corpus train-clean-100 --out data/dev-218spk
    """
    from asr_tutorial.corpus import read_corpus, read_ids
    from asr_tutorial.subset import make_subset

    wanted = read_ids(ids)
    typer.echo(f"{len(wanted)} utterances in {make_subset(read_corpus(corpus), wanted, out, copy)}")


@app.command()
def manifest(
    corpus: CorpusPath,
    out: Annotated[Path, typer.Option(help="File to write; its ending chooses the format.", metavar="FILE.tsv|.jsonl")],
) -> None:
    """List a corpus in a file with the columns id, audio, text, speaker and seconds.

    Example:

      asr-tutorial data manifest tinyspeech/dev --out dev.tsv
    """
    from asr_tutorial.corpus import read_corpus, write_manifest

    utterances = read_corpus(corpus)
    write_manifest(utterances, out)
    typer.echo(f"{len(utterances)} utterances in {out}")
    for skip in utterances.skipped:
        typer.echo(f"skipped {skip.id}: {skip.reason}", err=True)


@app.command()
def synthetic(
    out: Annotated[
        Path | None, typer.Argument(help="New folder; default: synthetic, where corpora are looked for.", metavar="DIR")
    ] = None,
    train: Annotated[int, typer.Option(min=1, help="Training utterances.")] = 4000,
    dev: Annotated[int, typer.Option(min=1, help="Utterances of dev, and of test.")] = 200,
    noise: Annotated[float, typer.Option(min=0, help="Standard deviation of the noise; 0.5 is easy, 2 is hard.")] = 0.5,
) -> None:
    """Write a made-up corpus of features that a small model learns in minutes: train, dev and test.

    Each letter of a text of 3 to 10 is a random vector, held for 3 to 8 noisy frames.

    Example:

      asr-tutorial data synthetic

      asr-tutorial train --config paraformer_synthetic
    """
    from asr_tutorial.synthetic import SyntheticTask

    folder = out or _data_root() / "synthetic"
    task = SyntheticTask(noise=noise)
    for seed, (split, count) in enumerate({"train": train, "dev": dev, "test": dev}.items(), start=1):
        typer.echo(f"{count} utterances in {task.write_corpus(folder / split, count, seed)}")


def _data_root() -> Path:
    import os

    from asr_tutorial.corpus.read import REPOSITORY

    return Path(os.environ.get("ASR_TUTORIAL_DATA") or REPOSITORY / "data")


def _print_stats(title: str, stats: CorpusStats, kind: str, vocab_size: int) -> None:
    rows = [
        ("utterances", f"{stats.utterances:,}" + (f" ({stats.skipped} skipped)" if stats.skipped else "")),
        ("speech", f"{stats.hours:.2f} h"),
        ("speakers", f"{stats.speakers:,}"),
        ("shortest, longest", f"{stats.shortest:.2f} s, {stats.longest:.2f} s ({stats.longest_id})"),
        ("words", f"{stats.words:,} ({stats.word_vocabulary:,} different)"),
        ("characters", f"{stats.characters:,} ({len(stats.character_vocabulary)} different)"),
    ]
    if stats.tokens:
        rows += [
            (f"{kind} tokens", f"{stats.tokens:,} (vocabulary {vocab_size}, special tokens included)"),
            ("characters per token", f"{stats.characters_per_token:.2f}"),
            ("tokens of an utterance", f"{stats.most_tokens} at most"),
        ]
    typer.echo(title)
    for name, value in rows:
        typer.echo(f"  {name:24}{value}")
    typer.echo("\n  lengths (s)")
    most = max(count for _, _, count in stats.length_histogram)
    for start, end, count in stats.length_histogram:
        typer.echo(f"  {start:6.1f} to {end:5.1f} {count:8,}  {'#' * round(40 * count / most)}")
    typer.echo("\n  characters, most frequent first")
    frequent = [f"{'space' if char == ' ' else char} {count:,}" for char, count in stats.character_vocabulary.items()]
    for first in range(0, len(frequent), 8):
        typer.echo("  " + "".join(f"{cell:13}" for cell in frequent[first : first + 8]).rstrip())
