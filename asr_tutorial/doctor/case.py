"""What is examined: a run, a checkpoint or a configuration, with a sample of its speech and its model.

The sample goes through the pieces that a training uses (corpus, features, dataset, collation, model), computed anew in
a folder of its own: what lies in the cache may be older than the illness.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from asr_tutorial.checkpoint import CONFIG, find_checkpoint, load_checkpoint
from asr_tutorial.config import Config, ProgressiveConfig, load_config, read_yaml
from asr_tutorial.config.sections import InitialiseConfig
from asr_tutorial.corpus import Corpus, Utterance, join_corpora, read_corpus, write_manifest
from asr_tutorial.dataset import Batch, collate, frames_needed
from asr_tutorial.dataset.batch import round_up
from asr_tutorial.errors import CheckpointError, CorpusError
from asr_tutorial.model import SpeechTransformer
from asr_tutorial.search import TokenModel
from asr_tutorial.tokenizer import Tokenizer, train_tokenizer
from asr_tutorial.training.setup import Data, read_and_build
from asr_tutorial.training.stages import Stages

SPREAD = 32
"""Training utterances of the sample that are taken evenly over all durations."""
FASTEST = 8
"""Those with the most letters a second, which CTC is the first to fail at."""
DEV = 8
LONGEST = 10.0
"""Seconds above which an utterance is not put through the model: it would only take longer."""
ROWS = 4
SPARE_FRAMES = 64
"""Padding behind the longest utterance of the batch that the model is tried on."""


@dataclass
class Subject:
    """What was named: a run or checkpoint in a folder, or a configuration."""

    name: str
    config: Config
    folder: Path | None = None
    """Of a run or a checkpoint."""
    checkpoint: Path | None = None
    """Where trained weights lie, if there are any."""


@dataclass
class Case:
    """A subject with its sample of speech, ready to be examined, on the CPU in fp32."""

    subject: Subject
    config: Config
    """With the sample as training and dev corpus."""
    data: Data
    model: SpeechTransformer
    """In evaluation mode."""
    batch: Batch
    """Some training utterances of different lengths, with padding behind each."""
    corpus: Corpus
    """The sample's training part: what lies on the disk."""
    dev: Corpus
    language_model: TokenModel | None = None
    """One to examine; where there is none, a small one with random weights will do."""

    @property
    def tokenizer(self) -> Tokenizer:
        return self.data.tokenizer

    @property
    def stepwise(self) -> bool:
        """Whether there is a decoder that reads its own past."""
        return "greedy" in self.model.searches

    @property
    def trained(self) -> bool:
        return self.subject.checkpoint is not None


def open_subject(target: str | Path, overrides: Sequence[str] = ()) -> Subject:
    """Find out what is meant.

    Args:
        target: a run folder, a checkpoint folder, a YAML file, or the name of a configuration of the package.
        overrides: settings to change.

    Raises:
        UserError: it is none of them, or a language model.
    """
    folder = Path(target)
    if not folder.is_dir():
        return Subject(f"configuration {target}", load_config(str(target), overrides))
    if not (folder / CONFIG).is_file():
        raise CheckpointError(
            f"{folder} is no run: it has no {CONFIG}. Give the folder that asr-tutorial train has written (runs/...), "
            "a checkpoint folder, or the name of a configuration"
        )
    if "kind" in read_yaml(folder / CONFIG):
        raise CheckpointError(
            f"{folder} is a language model: the doctor examines recognisers. Give it with --lm, beside one of them"
        )
    config = load_config(folder / CONFIG, overrides)
    try:
        checkpoint: Path | None = find_checkpoint(folder)
    except CheckpointError:
        if (folder / "model.safetensors").exists():
            raise
        checkpoint = None
    kind = "run" if (folder / "metrics.json").is_file() or (folder / "checkpoints").is_dir() else "checkpoint"
    return Subject(f"{kind} {folder}", config, folder, checkpoint)


def open_case(subject: Subject, folder: Path, make_lm: Callable[[Tokenizer], TokenModel] | None = None) -> Case:
    """Take a sample of a subject's speech and build or load its model.

    Args:
        subject: from :func:`open_subject`.
        folder: an empty one, for what is computed.
        make_lm: gives the language model to examine.

    Raises:
        UserError: a corpus is not there or cannot be read, or weights that do not fit.
    """
    config = Stages(subject.config).config if subject.checkpoint is None else load_config(subject.checkpoint / CONFIG)
    config = replace(config, data=subject.config.data, training=subject.config.training)
    data = config.data
    limits = {"min_seconds": data.min_seconds, "max_seconds": data.max_seconds}
    whole = join_corpora([read_corpus(path, root=data.root, **limits) for path in data.train])
    if not data.dev:
        raise CorpusError("data.dev is empty: name at least one corpus")
    whole_dev = read_corpus(data.dev[0], root=data.root)

    vocabulary = folder / "tokenizer"
    vocabulary.mkdir()
    if subject.checkpoint is None:
        named = config.tokenizer.folder or config.initialise.checkpoint or config.initialise.decoder
        train_tokenizer(replace(config.tokenizer, folder=named), whole.texts).save(vocabulary)
    else:
        vocabulary = subject.checkpoint

    corpus, dev = _sample(whole, SPREAD, FASTEST), _sample(whole_dev, DEV, 0)
    write_manifest(corpus, folder / "train.tsv")
    write_manifest(dev, folder / "dev.tsv")
    config = replace(
        config,
        data=replace(
            data, root="", train=[str(folder / "train.tsv")], dev=[str(folder / "dev.tsv")], test=[], workers=0,
            cache=str(folder / "cache"),
        ),
        tokenizer=replace(config.tokenizer, folder=str(vocabulary)),
        training=replace(config.training, device="cpu", precision="fp32", compile=False, wandb=False),
        progressive=ProgressiveConfig(),
        initialise=config.initialise if subject.checkpoint is None else InitialiseConfig(),
    )  # fmt: skip
    logger = logging.getLogger("asr_tutorial")
    level = logger.level
    logger.setLevel(logging.ERROR)  # what is skipped of the sample is the doctor's business
    try:
        sampled, model = read_and_build(config, progress=False)
    finally:
        logger.setLevel(level)
    if subject.checkpoint is not None:
        loaded = load_checkpoint(subject.checkpoint)[0]
        assert isinstance(loaded, SpeechTransformer)
        model = loaded
    model.eval()
    lm = make_lm(sampled.tokenizer) if make_lm is not None else None
    return Case(subject, config, sampled, model, _batch(config, sampled), corpus, dev, lm)


def _sample(corpus: Corpus, spread: int, fastest: int) -> Corpus:
    """Some utterances with transcripts: evenly over all durations, and those with the most letters a second."""
    utterances = [utterance for utterance in corpus if utterance.text]
    if not utterances:
        raise CorpusError(f"{corpus.path} has no transcripts")
    by_length = sorted(utterances, key=lambda utterance: utterance.seconds)
    stride = max(1, len(by_length) // max(spread, 1))
    chosen = by_length[::-stride][:spread]

    def pace(utterance: Utterance) -> float:
        return len(utterance.text or "") / utterance.seconds

    ids = {utterance.id for utterance in chosen}
    others = [utterance for utterance in utterances if utterance.id not in ids]
    chosen += sorted(others, key=pace, reverse=True)[:fastest]
    return Corpus(corpus.path, chosen)


def _batch(config: Config, data: Data) -> Batch:
    """Utterances of different lengths, collated as in training, with padding behind the longest of them too."""
    dataset, factor = data.train.dataset, config.model.subsampling_factor
    lengths = dataset.lengths()
    limit = LONGEST * 1000 / config.features.frame_shift_ms
    usable = [
        index
        for index in sorted(range(len(dataset)), key=lengths.__getitem__)
        if frames_needed(dataset.tokens[index]) <= -(-lengths[index] // factor)
    ] or list(range(len(dataset)))
    usable = [index for index in usable if lengths[index] <= limit] or usable[:1]
    places = torch.linspace(0, len(usable) - 1, min(ROWS, len(usable))).round().int().tolist()
    examples = [dataset.example(usable[place]) for place in places]
    frames = round_up(max(len(example.features) for example in examples) + SPARE_FRAMES, config.data.frame_multiple)
    return collate(examples, data.tokenizer, config.data.frame_multiple, config.data.length_multiple, frames)
