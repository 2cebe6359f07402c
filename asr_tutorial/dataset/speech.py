"""Speech with transcripts: the training and evaluation data of a recogniser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from asr_tutorial.corpus import Corpus, Skip, Utterance
from asr_tutorial.dataset.batch import Batch, Example, collate
from asr_tutorial.dataset.sampler import BatchPlan, BucketBatchSampler, padding_share, sequential_batches, share
from asr_tutorial.dataset.store import FeatureStore
from asr_tutorial.errors import CorpusError
from asr_tutorial.tokenizer import Tokenizer


def frames_needed(tokens: Sequence[int]) -> int:
    """Fewest frames on which CTC can say ``tokens``: one for each, and a blank between equal neighbours.

    Graves et al., "Connectionist temporal classification", ICML 2006, section 3.1.
    """
    return len(tokens) + sum(left == right for left, right in pairwise(tokens))


class SpeechDataset(Dataset[Example]):
    """Utterances with features and token ids.

    For training, utterances that nothing can be learnt from are left out: without a transcript, with characters that
    the tokenizer does not know, or with more tokens than CTC can align to the frames. For evaluation all are kept, and
    an unknown character counts as an error of the recogniser, as it should.

    Attributes:
        utterances: those that are used.
        skipped: all that are not used, by the corpus, by the store and by the checks here, and why.
        unknown_characters: how often each character unknown to the tokenizer occurs in the corpus.

    Args:
        corpus: the utterances.
        store: their features.
        tokenizer: turns transcripts into ids.
        training: whether to check for what training needs.
        subsampling_factor: input frames per encoder frame, for the check of the transcript's length.

    Raises:
        CorpusError: no utterance is left.
    """

    def __init__(
        self,
        corpus: Corpus,
        store: FeatureStore,
        tokenizer: Tokenizer,
        *,
        training: bool = True,
        subsampling_factor: int = 4,
    ) -> None:
        self.name = corpus.name
        self.store = store
        self.tokenizer = tokenizer
        self.utterances: list[Utterance] = []
        self.tokens: list[list[int]] = []
        self.skipped = [*corpus.skipped, *store.skipped]
        self.unknown_characters = tokenizer.unknown_characters(corpus.texts)
        for utterance in corpus:
            if utterance.id not in store:
                continue
            tokens = tokenizer.encode(utterance.text or "")
            reason = self._unusable(utterance, tokens, subsampling_factor) if training else ""
            if reason:
                self.skipped.append(Skip(utterance.id, reason))
            else:
                self.utterances.append(utterance)
                self.tokens.append(tokens)
        if not self.utterances:
            reasons = "; ".join(f"{skip.id}: {skip.reason}" for skip in self.skipped[:3])
            raise CorpusError(f"{corpus.path}: none of {len(corpus)} utterances can be used ({reasons})")

    def _unusable(self, utterance: Utterance, tokens: Sequence[int], subsampling_factor: int) -> str:
        if utterance.text is None:
            return "no transcript"
        unknown = self.tokenizer.unknown_characters([utterance.text])
        if unknown:
            return f"unknown characters: {' '.join(map(repr, unknown))}"
        if not tokens:
            return "empty transcript"
        frames = min(self.store.frames(utterance.id, speed) for speed in self.store.speeds)
        encoder_frames = -(-frames // subsampling_factor)  # a last, incomplete group of frames counts
        needed = frames_needed(tokens)
        if needed > encoder_frames:
            at_speed = f" at speed {max(self.store.speeds):g}" if max(self.store.speeds) != 1 else ""
            return (
                f"the transcript is too long for CTC: {len(tokens)} tokens need {needed} frames, "
                f"but {frames}{at_speed} make {encoder_frames} after subsampling"
            )
        return ""

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> Example:
        return self.example(index)

    def example(self, index: int, speed: float | None = None) -> Example:
        """One utterance, at one of the store's speeds (default: its first)."""
        utterance = self.utterances[index]
        array = self.store.get(utterance.id, self.store.speeds[0] if speed is None else speed)
        # A copy: torch does not take read-only memory.
        return Example(utterance.id, utterance.text or "", torch.from_numpy(array.copy()), self.tokens[index])

    def lengths(self, speeds: Sequence[float] | None = None) -> list[int]:
        """Frames of each utterance; ``speeds`` gives each utterance's speed (default: the store's first)."""
        speeds = speeds or [self.store.speeds[0]] * len(self)
        return [self.store.frames(item.id, speed) for item, speed in zip(self.utterances, speeds, strict=True)]


class SpeechLoader:
    """The batches of a dataset, epoch by epoch.

    With ``shuffle``, batches come from a :class:`BucketBatchSampler`, and each epoch draws one of the store's speeds
    for each utterance; which utterances are in which batch, at what speed and in what order, is a function of
    ``(seed, epoch)`` alone, so that an interrupted training can go on where it was. Without, utterances come sorted by
    length, each exactly once.

    Several processes share the batches. In training each computes its :func:`~asr_tutorial.dataset.sampler.share` of
    every optimiser step, in evaluation every so-manieth batch: in both, each utterance is computed once.

    Args:
        dataset: the utterances.
        shuffle: True for training, False for evaluation.
        batch_seconds: audio in a batch, padding included.
        frame_multiple: the time axis of a batch is a multiple of this.
        length_multiple: the token axis of a batch is a multiple of this.
        frame_shift_ms: step between frames, to turn seconds into frames.
        seed: decides composition, order and speeds.
        workers: processes that prepare batches; 0: this one does.
        rank: number of this process in distributed training.
        world_size: number of processes in distributed training.
    """

    def __init__(
        self,
        dataset: SpeechDataset,
        *,
        shuffle: bool,
        batch_seconds: float = 80.0,
        frame_multiple: int = 32,
        length_multiple: int = 16,
        frame_shift_ms: float = 10.0,
        seed: int = 1,
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.dataset = dataset
        self.shuffle = shuffle
        self.batch_frames = int(batch_seconds * 1000 / frame_shift_ms)
        self.frame_multiple = frame_multiple
        self.length_multiple = length_multiple
        self.seed = seed
        self.workers = workers
        self.rank = rank
        self.world_size = world_size
        self._used: Sequence[int] = range(len(dataset))
        self._planned: tuple[int, list[BatchPlan], list[float]] | None = None

    def restrict(self, indices: Sequence[int]) -> None:
        """Use only some utterances of the dataset from now on, by their numbers; an epoch is a pass over these."""
        self._used, self._planned = indices, None

    def batches(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """This rank's batches of an epoch from number ``start`` on; those before it cost nothing."""
        for step in self.steps(epoch, start):
            yield from step

    def steps(self, epoch: int = 0, start: int = 0, accumulate: int = 1) -> Iterator[list[Batch]]:
        """This rank's part of each optimiser step of an epoch.

        Args:
            epoch: which epoch.
            start: batches of the epoch, all ranks together, that have been used already.
            accumulate: batches that make a step, all ranks together; the last step of an epoch may have fewer.
        """
        plans, speeds = self._plan(epoch)
        steps = [plans[at : at + accumulate] for at in range(start, len(plans), accumulate)]
        if self.shuffle:
            steps = [share(step, self.rank, self.world_size) for step in steps]
        batches = self._read([plan for step in steps for plan in step], speeds)
        for step in steps:
            yield [next(batches) for _ in step]

    def _read(self, plans: list[BatchPlan], speeds: list[float]) -> Iterator[Batch]:
        reader = _BatchReader(self, speeds)
        if self.workers == 0:
            yield from (reader[plan] for plan in plans)
        else:
            # Each item is a whole batch already, hence no batching by the DataLoader. A generator of its own keeps it
            # from drawing on the global one, whose state a resumed training must find unchanged.
            yield from DataLoader(
                reader, sampler=plans, batch_size=None, num_workers=self.workers, generator=torch.Generator()
            )

    def num_batches(self, epoch: int = 0) -> int:
        """Batches in an epoch, in training those of all ranks; the number varies a little where speeds are drawn."""
        return len(self._plan(epoch)[0])

    def plans(self, epoch: int = 0) -> list[BatchPlan]:
        """The batches of an epoch before they are read, in training those of all ranks."""
        return self._plan(epoch)[0]

    def padding_share(self, epoch: int = 0) -> float:
        """Share of the frames of an epoch that are padding."""
        plans, speeds = self._plan(epoch)
        return padding_share(plans, self.dataset.lengths(speeds))

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def __len__(self) -> int:
        return self.num_batches()

    def _plan(self, epoch: int) -> tuple[list[BatchPlan], list[float]]:
        """The batches of an epoch, in evaluation this rank's, and the speed of each utterance."""
        if self._planned and self._planned[0] == epoch:
            return self._planned[1:]
        choices = self.dataset.store.speeds
        speeds = [choices[0]] * len(self.dataset)
        if self.shuffle:
            draws = np.random.default_rng([self.seed, epoch, 1]).integers(len(choices), size=len(self.dataset))
            speeds = [choices[draw] for draw in draws]
        every = self.dataset.lengths(speeds)
        lengths = [every[index] for index in self._used]
        if self.shuffle:
            sampler = BucketBatchSampler(lengths, self.batch_frames, self.frame_multiple, self.seed)
            sampler.set_epoch(epoch)
            plans = sampler.plans()
        else:
            plans = sequential_batches(lengths, self.batch_frames, self.frame_multiple)
            plans = plans[self.rank :: self.world_size]
        plans = [plan._replace(indices=[self._used[place] for place in plan.indices]) for plan in plans]
        self._planned = (epoch, plans, speeds)
        return plans, speeds


class _BatchReader(Dataset[Batch]):
    """Reads a planned batch; what worker processes run."""

    def __init__(self, loader: SpeechLoader, speeds: Sequence[float]) -> None:
        self.dataset = loader.dataset
        self.frame_multiple = loader.frame_multiple
        self.length_multiple = loader.length_multiple
        self.speeds = speeds

    def __getitem__(self, plan: BatchPlan) -> Batch:
        examples = [self.dataset.example(index, self.speeds[index]) for index in plan.indices]
        batch = collate(examples, self.dataset.tokenizer, self.frame_multiple, self.length_multiple, plan.frames)
        batch.spare = plan.spare
        return batch
