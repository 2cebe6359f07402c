"""What must be there before the first step: corpora, tokenizer, model, and the checks that save a wasted night."""

from __future__ import annotations

import dataclasses
import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from asr_tutorial.config import Config, TokenizerConfig
from asr_tutorial.corpus import Corpus, Skip, join_corpora, read_corpus
from asr_tutorial.dataset import Batch, FeatureStore, SpeechDataset, SpeechLoader, collate
from asr_tutorial.dataset.batch import round_up
from asr_tutorial.errors import CorpusError, TrainingError
from asr_tutorial.model import SpeechTransformer, build_model
from asr_tutorial.tokenizer import Tokenizer, train_tokenizer
from asr_tutorial.training.distributed import ALONE, Ranks
from asr_tutorial.training.initialise import initialise

logger = logging.getLogger("asr_tutorial")


@dataclass
class Data:
    """Loaders by corpus name, and the tokenizer that they share."""

    tokenizer: Tokenizer
    train: SpeechLoader
    dev: dict[str, SpeechLoader]
    test: dict[str, SpeechLoader]
    sample: Batch
    """One dev utterance of middle length, for the pictures of a run."""


def prepare(config: Config, progress: bool = True, ranks: Ranks = ALONE) -> tuple[Data, SpeechTransformer]:
    """Read the data and build the model that it trains.

    Tokenizer and normalisation are fitted on the training set alone, unless the weights that a training begins with
    bring them along. Of several processes on one machine the first
    computes the features, and the others find them in the cache.

    Raises:
        UserError: a corpus that cannot be read, or a check that failed; the message names it.
    """
    with ranks.first_on_each_machine():
        data, model = read_and_build(config, progress, ranks)
        _check(config, data)
    ranks.check_agreement("the size of the vocabulary", data.tokenizer.vocab_size)
    ranks.check_agreement("the number of batches", len(data.train))
    ranks.check_agreement(
        "the sum of the first weights", float(sum(p.detach().double().sum() for p in model.parameters()))
    )
    return data, model


def read_and_build(config: Config, progress: bool = True, ranks: Ranks = ALONE) -> tuple[Data, SpeechTransformer]:
    """:func:`prepare` without its checks: for a doctor, who has to look at what they would turn away."""
    torch.manual_seed(config.training.seed)
    limits = {"min_seconds": config.data.min_seconds, "max_seconds": config.data.max_seconds}
    corpus = join_corpora([read_corpus(path, root=config.data.root, **limits) for path in config.data.train])
    tokenizer = train_tokenizer(_tokenizer_config(config), corpus.texts)
    store = FeatureStore.build(corpus, config.features, config.augment.speeds, config.data.cache, progress)
    train_set = _dataset(config, corpus, store, tokenizer, training=True)
    dev, test = (
        {path: _loader(config, _evaluation_set(config, path, tokenizer, progress), ranks) for path in paths}
        for paths in (config.data.dev, config.data.test)
    )
    if not dev:
        raise TrainingError("data.dev is empty: name at least one corpus to choose the best checkpoint by")

    model = build_model(config, tokenizer.vocab_size)
    model.normalize.fit(store)
    initialise(model, config.initialise)
    train = _loader(config, train_set, ranks, shuffle=True)
    first = next(iter(dev.values()))
    return Data(tokenizer, train, dev, test, _sample(first)), model


def _tokenizer_config(config: Config) -> TokenizerConfig:
    """Weights that a training begins with bring their vocabulary, unless another one is asked for by name."""
    folder = config.tokenizer.folder or config.initialise.checkpoint or config.initialise.decoder
    return dataclasses.replace(config.tokenizer, folder=folder)


def _evaluation_set(config: Config, path: str, tokenizer: Tokenizer, progress: bool) -> SpeechDataset:
    corpus = read_corpus(path, root=config.data.root)
    without = [Skip(utterance.id, "no transcript") for utterance in corpus if utterance.text is None]
    if len(without) == len(corpus):
        raise CorpusError(f"{corpus.path} has no transcripts: it can be neither validated on nor tested on")
    transcribed = [utterance for utterance in corpus if utterance.text is not None]
    corpus = Corpus(corpus.path, transcribed, [*corpus.skipped, *without])
    store = FeatureStore.build(corpus, config.features, cache=config.data.cache, progress=progress)
    return _dataset(config, corpus, store, tokenizer, training=False)


def _dataset(
    config: Config, corpus: Corpus, store: FeatureStore, tokenizer: Tokenizer, training: bool
) -> SpeechDataset:
    dataset = SpeechDataset(
        corpus, store, tokenizer, training=training, subsampling_factor=config.model.subsampling_factor
    )
    logger.info("%s: %d utterances, %.2f h", dataset.name, len(dataset), corpus.seconds / 3600)
    report_skips(dataset.name, dataset.skipped)
    if dataset.unknown_characters:
        named = ", ".join(f"{char!r} ({count})" for char, count in dataset.unknown_characters.most_common(10))
        logger.warning("%s: characters that the tokenizer does not know: %s", dataset.name, named)
    return dataset


def report_skips(name: str, skipped: Sequence[Skip], named: int = 3) -> None:
    """Log how many utterances are left out, for which reasons, with the first ids of each."""
    kinds: dict[str, list[Skip]] = {}
    for skip in skipped:
        # Reasons that differ in a figure alone are one kind.
        kinds.setdefault(re.sub(r"\d+", "#", skip.reason.replace(skip.id, "")), []).append(skip)
    for same in kinds.values():
        examples = "; ".join(f"{skip.id}: {skip.reason}" for skip in same[:named])
        more = "; ..." if len(same) > named else ""
        logger.warning("%s: %d utterances skipped (%s%s)", name, len(same), examples, more)


def _loader(config: Config, dataset: SpeechDataset, ranks: Ranks, shuffle: bool = False) -> SpeechLoader:
    return SpeechLoader(
        dataset,
        shuffle=shuffle,
        batch_seconds=config.data.batch_seconds,
        frame_multiple=config.data.frame_multiple,
        length_multiple=config.data.length_multiple,
        frame_shift_ms=config.features.frame_shift_ms,
        seed=config.training.seed,
        workers=config.data.workers if shuffle else 0,
        rank=ranks.rank,
        world_size=ranks.world_size,
    )


def _sample(loader: SpeechLoader) -> Batch:
    """The utterance of middle length, alone."""
    dataset = loader.dataset
    order = sorted(range(len(dataset)), key=dataset.lengths().__getitem__)
    return collate([dataset[order[len(order) // 2]]], dataset.tokenizer)


def _check(config: Config, data: Data) -> None:
    """Look for the mistakes that would only show after hours.

    Raises:
        TrainingError: special tokens share an id; CTC targets hold special tokens; a target does not end in EOS; an
            utterance is longer than the model's positions.
    """
    tokenizer = data.tokenizer
    special = [tokenizer.blank_id, tokenizer.sos_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.pad_id]
    if len(set(special)) < len(special) or not all(0 <= token < tokenizer.vocab_size for token in special):
        raise TrainingError(f"special tokens (blank, sos, eos, unk, pad) need an id each, in the vocabulary: {special}")

    batch = next(data.train.batches(0))
    for row, name in enumerate(batch.ids):
        length = int(batch.target_lengths[row])
        targets = batch.targets[row, :length]
        if set(targets.tolist()) & {tokenizer.blank_id, tokenizer.sos_id, tokenizer.eos_id, tokenizer.pad_id}:
            raise TrainingError(f"{name}: CTC targets hold special tokens: {targets.tolist()}")
        if int(batch.tokens_out[row, length]) != tokenizer.eos_id or int(batch.tokens_in[row, 0]) != tokenizer.sos_id:
            raise TrainingError(f"{name}: the decoder's input must begin with SOS and its target end in EOS")

    limit = config.model.max_length
    for loader in (data.train, *data.dev.values(), *data.test.values()):
        slowest = [min(loader.dataset.store.speeds)] * len(loader.dataset)
        # Batches are padded, and padding has positions too.
        frames = round_up(max(loader.dataset.lengths(slowest)), config.data.frame_multiple)
        frames = math.ceil(frames / config.model.subsampling_factor)
        tokens = round_up(max(len(tokens) for tokens in loader.dataset.tokens) + 1, config.data.length_multiple)
        if max(frames, tokens) > limit:
            raise TrainingError(
                f"{loader.dataset.name} needs {max(frames, tokens)} positions, model.max_length is {limit}: raise "
                "it, or leave long utterances out (of the training set with data.max_seconds)"
            )
