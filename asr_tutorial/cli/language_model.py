"""``asr-tutorial lm train | evaluate | generate | ngram | arpa | config``: language models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from asr_tutorial.cli.common import CodeName, console_log, overrides_of, passes_overrides
from asr_tutorial.cli.searching import Code, Device

app = typer.Typer(no_args_is_help=True, help="Train, measure and use language models.")

Model = Annotated[Path, typer.Argument(help="Folder of a language model, run folder, or ARPA file.", metavar="DIR")]
Form = Annotated[
    str, typer.Option(help="spoken: make the text look like a speech corpus's (capital letters, no marks).")
]


@app.command(context_settings=passes_overrides)
def train(
    context: typer.Context,
    config: Annotated[
        str, typer.Option("--config", "-c", help="A configuration of the package, or a YAML file.", metavar="NAME|FILE")
    ] = "tiny",
    resume: Annotated[
        Path | None, typer.Option(help="Go on with an interrupted run, in its folder.", metavar="RUN_DIR")
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="Where to write; default: runs/TIME_NAME.", metavar="DIR")
    ] = None,
    code: Code = CodeName.ours,
) -> None:
    """Train a Transformer language model on text.

    Any setting can be given as --section.key=value; [bold]asr-tutorial lm config NAME[/bold] lists them all.
    Configurations: tiny, mini_librispeech, 16m, 50m, 117m.

    Examples:

      asr-tutorial lm train

      asr-tutorial lm train --config mini_librispeech --tokenizer.folder=runs/MY_RECOGNISER

      asr-tutorial lm train --text.train='\\[my/text.txt.gz]' --text.dev='\\[my/dev.txt]'

      asr-tutorial lm train --resume runs/20260101-120000_tiny
    """
    from asr_tutorial.config import load_lm_config
    from asr_tutorial.errors import ConfigError
    from asr_tutorial.training.language_model import train_language_model

    overrides = overrides_of(context.args)
    console_log()
    if resume is not None:
        if overrides or run_dir is not None:
            raise ConfigError("a resumed run keeps its folder and the settings in its config.yaml: give --resume alone")
        result = train_language_model(resume=resume)
    else:
        result = train_language_model(load_lm_config(config, overrides), run_dir)
    for name, figure in result.dev.items():
        typer.echo(f"{name}: perplexity {figure:.1f} per word")
    typer.echo(f"language model: {result.checkpoint}")


@app.command()
def ngram(
    out: Annotated[Path, typer.Argument(help="Where to write the model.", metavar="DIR")],
    text: Annotated[list[str], typer.Option(help="Text file or corpus; may be given several times.", metavar="FILE")],
    order: Annotated[int, typer.Option(min=1, help="Words of the longest n-grams.")] = 3,
    min_counts: Annotated[
        str, typer.Option(help="n-grams of each order that are seen less often are left out.", metavar="N,N,...")
    ] = "1,1,2",
    prune: Annotated[
        float,
        typer.Option(
            min=0,
            help="n-grams go whose loss raises perplexity by less than this share, such as 2e-7.",
            metavar="SHARE",
        ),
    ] = 0.0,
    form: Form = "written",
) -> None:
    """Count a model of words: interpolated modified Kneser-Ney.

    It is kept as fp16, about 4 bytes for a 3-gram and 6 for a 2-gram; [bold]asr-tutorial lm arpa[/bold] makes a file
    for other programs of it. To make it smaller, leave out rare words (--min-counts 5,1,2 those that are seen less
    than five times; they become <unk>) and what backing off predicts nearly as well (--prune, Stolcke 1998).

    Examples:

      asr-tutorial lm ngram my_lm --text text/gutenberg.txt.xz --text text/train-clean-100.txt.xz

      asr-tutorial lm ngram my_small_lm --text text/gutenberg.txt.xz --prune 2e-7

      asr-tutorial lm ngram my_lm --text tinyspeech/train --order 4
    """
    from asr_tutorial.dataset.text_files import read_text
    from asr_tutorial.errors import ConfigError
    from asr_tutorial.language_model import NGram, pruned, save_ngram

    try:
        limits = [int(number) for number in min_counts.split(",")]
    except ValueError as error:
        raise ConfigError(
            f"--min-counts takes numbers with commas between, such as 1,1,2, not {min_counts!r}"
        ) from error
    sentences = (sentence for path in text for sentence in read_text(path, form=_form(form)))
    model = pruned(NGram.train(sentences, order, limits), prune)
    save_ngram(out, model, {"text": text, "min_counts": limits, "prune": prune})
    sizes = ", ".join(f"{len(table.keys)} {n}-grams" for n, table in enumerate(model.tables, start=1))
    size = sum(path.stat().st_size for path in out.iterdir())
    typer.echo(f"{sizes}, {size / 1e6:.2f} MB: {out}")


@app.command()
def arpa(
    model: Annotated[Path, typer.Argument(help="Folder of an n-gram model.", metavar="DIR")],
    out: Annotated[Path, typer.Argument(help="Where to write; compressed where it ends in .gz.", metavar="FILE")],
) -> None:
    """Write an n-gram model as an ARPA file, for other programs; the model of spelling is not part of it.

    Every command that takes a language model takes such a file too.

    Examples:

      asr-tutorial lm arpa my_lm my_lm.arpa.gz
    """
    from asr_tutorial.errors import ConfigError
    from asr_tutorial.language_model import NGram, load_language_model, write_arpa

    loaded = load_language_model(model).model
    if not isinstance(loaded, NGram):
        raise ConfigError(f"{model} is a Transformer: only an n-gram model can be written as an ARPA file")
    write_arpa(loaded, out)
    typer.echo(f"{out}")


@app.command()
def evaluate(
    models: Annotated[list[Path], typer.Argument(help="Language models of any kind.", metavar="DIR...")],
    text: Annotated[str, typer.Option(help="Text file or corpus.", metavar="FILE")],
    vocabulary: Annotated[
        Path | None,
        typer.Option(help="Words that this n-gram model lacks are the unknown ones, for all models.", metavar="DIR"),
    ] = None,
    form: Form = "written",
    device: Device = "auto",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there.", metavar="FILE")] = None,
) -> None:
    """Perplexity per word, of models of any kind side by side: the same words, and the end of each sentence as one.

    In "all words" an n-gram model spells what it does not know; "known words" leaves these out, for every model.

    Examples:

      asr-tutorial lm evaluate runs/MY_LM --text dev-clean

      asr-tutorial lm evaluate my_ngram runs/MY_LM --vocabulary my_ngram --text dev-clean
    """
    from asr_tutorial.dataset.text_files import read_text
    from asr_tutorial.errors import ConfigError
    from asr_tutorial.language_model import NGram, evaluate_text, load_language_model
    from asr_tutorial.recognizer import pick_device

    texts = list(read_text(text, form=_form(form)))
    known: NGram | None = None
    if vocabulary is not None:
        model = load_language_model(vocabulary).model
        if not isinstance(model, NGram):
            raise ConfigError(f"--vocabulary: {vocabulary} has no words: give an n-gram model")
        known = model
    figures = {}
    typer.echo(f"{'all words':>10} {'known words':>12} {'per token':>10} {'unknown':>8}")
    for path in models:
        result = evaluate_text(load_language_model(path, pick_device(device)), texts, known)
        typer.echo(
            f"{result.per_word:10.1f} {result.per_known_word:12.1f} {result.per_token:10.2f} "
            f"{100 * result.unknown_share:6.2f} %  {path}"
        )
        figures[str(path)] = {
            "perplexity_per_word": result.per_word,
            "perplexity_per_known_word": result.per_known_word,
            "perplexity_per_token": result.per_token,
            "unknown_share": result.unknown_share,
            "words": result.words,
            "sentences": result.sentences,
            "tokens": result.tokens,
        }
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


@app.command()
def generate(
    model: Model,
    prompt: Annotated[str, typer.Option(help="How the text begins.")] = "",
    n: Annotated[int, typer.Option("--n", min=1, help="Number of texts.")] = 3,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens to add.")] = 200,
    temperature: Annotated[float, typer.Option(min=0, help="0: always the most probable token.")] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="Draw from so many tokens only; 0: from all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest that hold this share.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Decides what is drawn.")] = 1,
    device: Device = "auto",
) -> None:
    """Let a Transformer language model make up text.

    Examples:

      asr-tutorial lm generate runs/MY_LM --prompt "ONCE UPON A" --temperature 0.8
    """
    import torch

    from asr_tutorial.errors import ConfigError
    from asr_tutorial.language_model import TransformerLM, load_language_model
    from asr_tutorial.recognizer import pick_device
    from asr_tutorial.search.generate import generate as run_generate

    where = pick_device(device)
    loaded = load_language_model(model, where)
    tokenizer = loaded.tokenizer
    if tokenizer is None or not isinstance(loaded.model, TransformerLM):
        raise ConfigError(f"{model} is an n-gram model: only a Transformer can generate text here")
    start = [tokenizer.sos_id, *tokenizer.encode(prompt)]
    texts = run_generate(
        loaded.model,
        torch.tensor([start]).expand(n, -1),
        tokenizer.eos_id,
        max_tokens,
        temperature,
        top_k,
        top_p,
        forbidden=(tokenizer.blank_id, tokenizer.pad_id, tokenizer.sos_id, tokenizer.unk_id),
        generator=torch.Generator(where).manual_seed(seed),
    )
    for text in texts:
        typer.echo(tokenizer.decode([*start, *text]))


@app.command(context_settings=passes_overrides)
def config(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(help="A configuration of the package, or a YAML file.", metavar="NAME|FILE")
    ] = "tiny",
) -> None:
    """Print a configuration with every key, overrides applied: a start for your own YAML file.

    Examples:

      asr-tutorial lm config mini_librispeech > my.yaml
    """
    from asr_tutorial.config import load_lm_config, to_yaml

    typer.echo(to_yaml(load_lm_config(name, overrides_of(context.args))), nl=False)


def _form(form: str) -> str:
    from asr_tutorial.errors import ConfigError

    if form not in ("written", "spoken"):
        raise ConfigError(f"--form must be written or spoken, not {form!r}")
    return form
