"""Which utterances share a batch.

Utterances of one batch are padded to the longest, so batches of similar lengths waste least. Kernels are built for a
shape and kept, so the fewer shapes occur, the faster a step: on a CPU, a new time length at each step costs several
times the step itself. Buckets give both: each holds lengths up to one multiple of ``frame_multiple`` and always makes
batches of one size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from asr_tutorial.dataset.batch import round_up


class BatchPlan(NamedTuple):
    """One batch before it is read: the frames it is padded to, and its utterances by number."""

    frames: int
    indices: list[int]
    spare: bool = False
    """True for a repetition that only keeps a process in step with the others; it is not counted."""


def bucket_batches(
    lengths: np.ndarray, batch_frames: int, frame_multiple: int, rng: np.random.Generator
) -> list[BatchPlan]:
    """One epoch of batches, each of utterances of about one length, in random order.

    Bucket ``b``, from 1 on, takes the lengths up to ``b * frame_multiple`` and makes batches of
    ``batch_frames // (b * frame_multiple)`` utterances, one at least. What is left over, fewer than a batch, moves up
    to the next bucket that has utterances; the longest of a bucket move, since they waste least there. So every batch
    is full but one of the longest bucket, and no utterance is dropped or repeated.

    Args:
        lengths: ``(utterances,)`` frames of each utterance, all positive.
        batch_frames: most frames in a batch, padding included; a longer utterance gets a batch of its own.
        frame_multiple: width of a bucket in frames.
        rng: decides which utterances of a bucket share a batch, and the order of the batches.
    """
    order = rng.permutation(len(lengths))
    buckets = -(-lengths[order] // frame_multiple)
    plans: list[BatchPlan] = []
    left_over: np.ndarray = order[:0]
    longest = buckets.max(initial=0)
    for bucket in np.unique(buckets):
        frames = int(bucket) * frame_multiple
        size = max(1, batch_frames // frames)
        members = np.concatenate([left_over, order[buckets == bucket]])
        count = len(members) % size if bucket < longest else 0
        by_length = members[np.argsort(lengths[members], kind="stable")]
        left_over = by_length[len(by_length) - count :]
        stay = rng.permutation(by_length[: len(by_length) - count])
        plans += [BatchPlan(frames, stay[start : start + size].tolist()) for start in range(0, len(stay), size)]
    return [plans[i] for i in rng.permutation(len(plans))]


class BucketBatchSampler(Sampler[list[int]]):
    """The batches of :func:`bucket_batches`, epoch by epoch; a function of ``(seed, epoch)`` alone.

    Args:
        lengths: frames of each utterance.
        batch_frames: most frames in a batch, padding included; an utterance longer than that gets a batch of its own.
        frame_multiple: width of a bucket in frames.
        seed: with the epoch, decides composition and order.
    """

    def __init__(
        self, lengths: Sequence[int] | np.ndarray, batch_frames: int, frame_multiple: int, seed: int = 1
    ) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_frames = batch_frames
        self.frame_multiple = frame_multiple
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that iteration and ``len`` are about."""
        self.epoch = epoch
        self._plans: list[BatchPlan] | None = None

    def plans(self) -> list[BatchPlan]:
        """The batches of the epoch, in order."""
        if self._plans is None:
            rng = np.random.default_rng([self.seed, self.epoch])
            self._plans = bucket_batches(self.lengths, self.batch_frames, self.frame_multiple, rng)
        return self._plans

    def padding_share(self, epoch: int | None = None) -> float:
        """Share of the frames of an epoch (default: the current one) that are padding."""
        if epoch is not None and epoch != self.epoch:
            other = BucketBatchSampler(self.lengths, self.batch_frames, self.frame_multiple, self.seed)
            other.set_epoch(epoch)
            return other.padding_share()
        return padding_share(self.plans(), self.lengths)

    def __iter__(self) -> Iterator[list[int]]:
        return (plan.indices for plan in self.plans())

    def __len__(self) -> int:
        return len(self.plans())


def share(step: Sequence[BatchPlan], rank: int, world_size: int) -> list[BatchPlan]:
    """The part of one optimiser step that one of several processes computes.

    Whole batches are dealt out where their number is a multiple of the number of processes; else each batch is cut into
    as few parts as make it one. All processes get equally many parts. Together they get each utterance once, so a step
    is the same step whatever the number of processes; where a batch has fewer utterances than it has parts, the
    processes that would get nothing repeat one as a ``spare``, because they all have to take part in summing gradients.

    Args:
        step: the batches of the step.
        rank: number of the process, from 0.
        world_size: number of processes.
    """
    parts = world_size // math.gcd(len(step), world_size)
    pieces = []
    for plan in step:
        for part in range(parts):
            indices = plan.indices[part::parts]
            pieces.append(BatchPlan(plan.frames, indices or plan.indices[:1], spare=not indices))
    return pieces[rank::world_size]


def sequential_batches(lengths: Sequence[int], batch_frames: int, frame_multiple: int = 1) -> list[BatchPlan]:
    """Batches for evaluation: every utterance once, in order of length, always the same.

    Args:
        lengths: frames of each utterance.
        batch_frames: most frames in a batch, padding included; a longer utterance gets a batch of its own.
        frame_multiple: the padded length is a multiple of it.

    Returns:
        The batches, longest first, so that a batch that is too large for the memory fails at once.
    """
    plans: list[BatchPlan] = []
    for index in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        # Longest first: the first utterance of a batch decides its padded length.
        if plans and (len(plans[-1].indices) + 1) * plans[-1].frames <= batch_frames:
            plans[-1].indices.append(index)
        else:
            plans.append(BatchPlan(round_up(int(lengths[index]), frame_multiple), [index]))
    return plans


def padding_share(plans: Sequence[BatchPlan], lengths: Sequence[int] | np.ndarray) -> float:
    """Share of the frames of the planned batches that are padding; 0 where nothing is planned."""
    padded = sum(plan.frames * len(plan.indices) for plan in plans)
    real = sum(int(lengths[index]) for plan in plans for index in plan.indices)
    return 1 - real / padded if padded else 0.0
