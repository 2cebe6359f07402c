"""``asr-tutorial demo``: train, test on what was never heard, and write one page that shows it all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from asr_tutorial.config import Config
from asr_tutorial.corpus import Corpus, read_corpus
from asr_tutorial.demo.page import SEARCHES, corpus_label, pick_examples, write_page
from asr_tutorial.errors import ConfigError
from asr_tutorial.recognizer import Evaluation, Recognizer, load
from asr_tutorial.training import train

__all__ = ["report", "run_demo", "write_page"]


def run_demo(config: Config, run_folder: str | Path | None = None) -> Path:
    """Train a recogniser and report on its first test corpus.

    Args:
        config: what to train; ``data.test`` names the corpus to show.
        run_folder: where to; ``runs/<timestamp>_<name>`` when not given.

    Returns:
        The page, ``demo.html`` in the run folder.

    Raises:
        ConfigError: the configuration has no test corpus.
        UserError: as :func:`asr_tutorial.training.train`.
    """
    if not config.data.test:
        raise ConfigError("data.test is empty: the demo needs a test corpus to show")
    result = train(config, run_folder)
    corpus = read_corpus(config.data.test[0], root=config.data.root)
    return report(load(result.checkpoint, config.training.device), corpus, result.run_folder)


def report(recognizer: Recognizer, corpus: Corpus, run_folder: Path) -> Path:
    """Measure a recogniser, print the figures and some transcripts, and write the page.

    Args:
        recognizer: a trained one.
        corpus: the test corpus.
        run_folder: the run it comes from; the page is written there.
    """
    searches = [search for search in SEARCHES if search in recognizer.model.searches]
    evaluations = [recognizer.evaluate(corpus, search) for search in searches]
    print(_table(corpus, evaluations))
    for example in pick_examples(evaluations[0].results, 4):
        print(f"  said   {example.reference}\n  heard  {example.hypothesis}\n")
    metrics = json.loads((run_folder / "metrics.json").read_text(encoding="utf-8"))
    page = write_page(run_folder / "demo.html", recognizer, corpus, evaluations, metrics)
    print(f"Listen and look: open {page} in a browser")
    print(f"Use it:          asr-tutorial transcribe --checkpoint {run_folder} FILE...")
    return page


def _table(corpus: Corpus, evaluations: Sequence[Evaluation]) -> str:
    first = evaluations[0]
    lines = [
        f"\n{corpus_label(corpus)}: {first.utterances} utterances, {first.audio_seconds / 60:.1f} minutes of speech\n",
        f"  {'search':28}{'WER':>8}{'CER':>8}",
    ]
    lines += [f"  {SEARCHES[e.search]:28}{100 * e.wer:6.1f} %{100 * e.cer:6.1f} %" for e in evaluations]
    return "\n".join(lines) + "\n"
