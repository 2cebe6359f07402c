"""Which utterances share a batch.

Utterances of one batch are padded to the longest, so batches of similar lengths waste least. Kernels are built for a
shape and kept, so the fewer shapes occur, the faster a step: on a CPU, a new time length at each step costs several
times the step itself. Buckets give both: each holds lengths up to one multiple of ``frame_multiple`` and always makes
batches of one size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from asr_tutorial.dataset.batch import round_up


class BatchPlan(NamedTuple):
    """One batch before it is read: utterances by number, and the frames they are padded to."""

    frames: int
    indices: list[int]


class BucketBatchSampler(Sampler[list[int]]):
    """Length-bucketed batches in a random order that depends on ``(seed, epoch)`` alone.

    Bucket ``b`` takes lengths up to ``b * frame_multiple`` and makes batches of
    ``batch_frames // (b * frame_multiple)`` utterances. What is left over, fewer than a batch, moves up to the next
    bucket, so that every batch is full but the very last of the longest bucket. No utterance is dropped.

    In distributed training each of ``world_size`` ranks gets its own batch of the same bucket at each step, hence the
    same shape; only the last, partial one repeats utterances so that the ranks take equally many steps.

    Args:
        lengths: frames of each utterance.
        batch_frames: most frames in a batch, padding included; an utterance longer than that gets a batch of its own.
        frame_multiple: width of a bucket in frames.
        seed: with the epoch, decides composition and order.
        rank: this process's number.
        world_size: number of processes.
    """

    def __init__(
        self,
        lengths: Sequence[int] | np.ndarray,
        batch_frames: int,
        frame_multiple: int,
        seed: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_frames = batch_frames
        self.frame_multiple = frame_multiple
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that iteration and ``len`` are about."""
        self.epoch = epoch
        self._plans: list[list[BatchPlan]] | None = None

    def plans(self) -> list[BatchPlan]:
        """This rank's batches of the epoch, in order."""
        return [step[self.rank] for step in self._steps()]

    def padding_share(self, epoch: int | None = None) -> float:
        """Share of the frames of an epoch (default: the current one), all ranks together, that are padding."""
        if epoch is not None and epoch != self.epoch:
            other = BucketBatchSampler(
                self.lengths, self.batch_frames, self.frame_multiple, self.seed, self.rank, self.world_size
            )
            other.set_epoch(epoch)
            return other.padding_share()
        plans = [plan for step in self._steps() for plan in step]
        return padding_share(plans, self.lengths)

    def __iter__(self) -> Iterator[list[int]]:
        return (plan.indices for plan in self.plans())

    def __len__(self) -> int:
        return len(self._steps())

    def _steps(self) -> list[list[BatchPlan]]:
        """For each step one plan per rank."""
        if self._plans is not None:
            return self._plans
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))
        buckets = -(-self.lengths[order] // self.frame_multiple)
        steps: list[list[BatchPlan]] = []
        left_over: np.ndarray = order[:0]
        longest = buckets.max(initial=0)
        for bucket in np.unique(buckets):
            frames = int(bucket) * self.frame_multiple
            size = max(1, self.batch_frames // frames) * self.world_size
            members = np.concatenate([left_over, order[buckets == bucket]])
            count = len(members) % size if bucket < longest else 0
            # The longest move up: they waste least there.
            by_length = members[np.argsort(self.lengths[members], kind="stable")]
            left_over = by_length[len(by_length) - count :]
            stay = rng.permutation(by_length[: len(by_length) - count])
            for start in range(0, len(stay), size):
                group = stay[start : start + size]
                each = -(-len(group) // self.world_size)
                group = np.resize(group, each * self.world_size)
                steps.append([BatchPlan(frames, part.tolist()) for part in group.reshape(self.world_size, each)])
        self._plans = [steps[i] for i in rng.permutation(len(steps))]
        return self._plans


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
