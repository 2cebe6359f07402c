"""Several processes that train one model, and signals that ask a training to stop.

``torchrun --nproc-per-node=2 -m asr_tutorial train`` starts two processes, called ranks, that differ in a few variables
of their environment. Each computes the gradient of its share of every step, the gradients are added up, and so all
make the same step. The configuration alone says what a step is, so the number of processes changes how long a training
takes and not what it computes.
"""

from __future__ import annotations

import inspect
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from asr_tutorial.errors import ConfigError, TrainingError
from asr_tutorial.recognizer import pick_device

Item = TypeVar("Item")

TIMEOUT = timedelta(hours=2)
"""Longest wait for another rank. Long, since the first one may be computing the features of a large corpus; torchrun
notices at once when a process dies."""
STOP_SIGNALS = ("SIGTERM", "SIGUSR1")
"""What a cluster sends before it takes the machine away: SIGTERM at a preemption, SIGUSR1 where a job asks for it."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Every method but :meth:`device` is called by all ranks alike; in a training of one process none of them does
    anything.

    Attributes:
        rank: number of this process, from 0; number 0 writes the files.
        world_size: number of processes.
        local_rank: number of this process on its machine, which is also that of its GPU.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Ranks:
        """What torchrun, or a job file, says about this process; a single one where nothing is said.

        Raises:
            ConfigError: a variable that is no number, or that is missing beside the others.
        """
        if "RANK" not in environment or "WORLD_SIZE" not in environment:
            return cls()
        values = {}
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
            try:
                values[name] = int(environment.get(name, environment["RANK"] if name == "LOCAL_RANK" else ""))
            except ValueError as error:
                raise ConfigError(
                    f"the environment variable {name} is {environment.get(name)!r}, not a number: start several "
                    "processes with torchrun, which sets RANK, WORLD_SIZE and LOCAL_RANK, or unset all three"
                ) from error
        return cls(values["RANK"], values["WORLD_SIZE"], values["LOCAL_RANK"])

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.world_size == 1

    def device(self, name: str) -> torch.device:
        """The device of this rank, where the configuration says ``name``: each rank has a GPU of its own.

        Raises:
            ConfigError: no such device, fewer GPUs than processes, or one GPU named for all of them.
        """
        device = pick_device(name)
        if self.alone or device.type != "cuda":
            return device
        if ":" in name:
            raise ConfigError(
                f"training.device={name} would put all {self.world_size} processes on one GPU: set auto or cuda"
            )
        if self.local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f"process {self.local_rank} of this machine has no GPU, there are {torch.cuda.device_count()}: give "
                f"torchrun --nproc-per-node={torch.cuda.device_count()}, or set training.device=cpu"
            )
        return torch.device("cuda", self.local_rank)

    @contextmanager
    def joined(self, device: torch.device) -> Iterator[None]:
        """Within, the ranks can talk to each other: GPUs through NCCL, processors through Gloo.

        Raises:
            TrainingError: another rank was lost meanwhile.
        """
        if self.alone:
            yield
            return
        on_gpu = device.type == "cuda"
        if on_gpu:
            torch.cuda.set_device(device)
        try:
            store, rank, world_size = next(rendezvous("env://", timeout=TIMEOUT))
            # torchrun keeps its store when it restarts the processes: without a name of its own for each attempt they
            # would find the addresses of dead ones in it.
            store = distributed.PrefixStore(f"attempt {restart_count()}", store)
            distributed.init_process_group(
                # Both at once: numbers that live on the host are summed without waiting for the GPU.
                "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
                store=store,
                rank=rank,
                world_size=world_size,
                timeout=TIMEOUT,
            )
            yield
            # Together, since a rank that is still busy may need what the first one holds; and only after success, since
            # NCCL would wait here for a rank that was lost.
            self.wait()
            distributed.destroy_process_group()
        except RuntimeError as error:
            if not _is_lost_rank(error):
                raise
            reason = str(error).strip().splitlines()[0]
            raise TrainingError(
                f"process {self.rank} of {self.world_size} lost another one ({reason}). What happened to that one "
                "stands above or in its own log; torchrun --max-restarts=3 would have started all of them again"
            ) from error

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model with gradients that are, after each backward pass, means over the ranks."""
        if self.alone:
            return model
        # Buffers are statistics of the training set, alike everywhere; sending them round would cost each step.
        known = inspect.signature(DistributedDataParallel).parameters
        no_buffers: dict[str, Any] = {name: False for name in ("forward_sync_buffers",) if name in known}
        return DistributedDataParallel(
            model, gradient_as_bucket_view=True, **(no_buffers or {"broadcast_buffers": False})
        )

    def sum(self, values: Sequence[float]) -> list[float]:
        """Numbers of the host, each summed over the ranks; exact for counts."""
        if self.alone:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(tensor)
        return tensor.tolist()

    def sum_tensor(self, tensor: Tensor) -> Tensor:
        """A tensor summed over the ranks, in place."""
        if not self.alone:
            distributed.all_reduce(tensor)
        return tensor

    def gather(self, items: Sequence[Item]) -> list[Item]:
        """The items of all ranks, in the order of the ranks."""
        if self.alone:
            return list(items)
        parts: list[Any] = [None] * self.world_size
        distributed.all_gather_object(parts, list(items))
        return [item for part in parts for item in part]

    def wait(self) -> None:
        """Go on when all have come here."""
        self.sum([0.0])

    @contextmanager
    def first_on_each_machine(self) -> Iterator[None]:
        """Rank 0 of each machine goes through the block alone, then the others do: they find its work in the cache."""
        if self.local_rank > 0:
            self.wait()
        yield
        if self.local_rank == 0:
            self.wait()

    def check_agreement(self, name: str, value: object) -> None:
        """That all ranks have the same.

        Raises:
            TrainingError: they do not.
        """
        values = self.gather([value])
        if any(other != values[0] for other in values):
            raise TrainingError(
                f"{name} is not the same in all processes ({', '.join(map(str, values))}): give all machines the same "
                "program and the same data"
            )


ALONE = Ranks()
"""A training of one process."""


def _is_lost_rank(error: RuntimeError) -> bool:
    if isinstance(error, distributed.DistError):
        return True
    return any(word in str(error) for word in ("gloo", "NCCL", "Connection closed by peer", "Connection reset"))


def restart_count() -> int:
    """How often torchrun has started the processes anew after one of them was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def job() -> str:
    """What stays the same while torchrun restarts its processes: its run id, or else its own process; else empty."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "")
    return f"{socket.gethostname()}:{os.getppid()}" if name == "none" else name


class StopRequest:
    """Within a ``with``, remembers a signal that asks to stop, for the training to look at between two steps.

    Python delivers signals to the main thread alone; elsewhere none is ever seen.
    """

    def __init__(self) -> None:
        self.name = ""
        """The signal that came, empty while none has."""
        self._former: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for name in STOP_SIGNALS:
                number = getattr(signal, name, None)  # Windows has no SIGUSR1
                if number is not None:
                    self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name
