"""Log-mel features of a corpus, computed once and kept on disk.

Reading sound and computing features takes longer than a training step of a small model, and is the same in each epoch.
So it is done once; later epochs and later runs map the file into memory, which costs no time and leaves it to the
operating system what to keep. Float32, 115 MB for an hour of speech at 80 mel bins: the features are exactly those
that :class:`~asr_tutorial.recognizer.Recognizer` computes from the audio.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import shutil
import sys
import uuid
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from asr_tutorial import audio
from asr_tutorial.audio import read_audio
from asr_tutorial.config import FeaturesConfig
from asr_tutorial.corpus import Corpus, Skip, Utterance
from asr_tutorial.errors import AudioError, ConfigError, CorpusError, UserError
from asr_tutorial.features import FeatureExtractor, fbank, speed_perturb

Array = np.ndarray[Any, np.dtype[np.float32]]


class FeatureStore:
    """Features of each utterance of a corpus, at each speed.

    Made by :meth:`build`. ``store.get(id, speed)`` is ``(frames, n_mels)``, ``store.frames(id, speed)`` its length.

    Attributes:
        ids: utterances that have features.
        speeds: speed factors that they exist for.
        skipped: utterances without usable features, and why.
    """

    def __init__(self, tables: dict[float, _Table], skipped: list[Skip]) -> None:
        self._tables = tables
        self.skipped = skipped
        self.speeds = tuple(tables)
        first, *others = tables.values()
        self.ids = [name for name in first.spans if all(name in table.spans for table in others)]

    @classmethod
    def build(
        cls,
        corpus: Corpus,
        config: FeaturesConfig,
        speeds: Sequence[float] = (1.0,),
        cache: str | Path = "",
        progress: bool = True,
    ) -> FeatureStore:
        """Take the features from the cache, or compute them and put them there.

        An entry of the cache depends on the configuration, the speed, the corpus's ids and files (size and time of
        change) and on the code that computes features. It is written under a temporary name and renamed when complete.
        When the cache cannot hold it (disk full, no permission), features are kept in memory and a warning says so.

        Args:
            corpus: the utterances.
            config: how features are computed.
            speeds: speed factors; features exist for each (see :func:`~asr_tutorial.features.speed_perturb`).
            cache: folder of the cache; empty: ``ASR_TUTORIAL_CACHE``, else ``~/.cache/asr_tutorial``.
            progress: show a progress bar, if there is a terminal.

        Raises:
            ConfigError: a speed other than 1 for a corpus of precomputed features.
            CorpusError: not a single utterance has usable features.
            UserError: the features fit neither on the disk nor in memory.
        """
        if any(speed != 1 for speed in speeds) and any(utterance.has_features for utterance in corpus):
            raise ConfigError(
                f"{corpus.path} holds precomputed features, whose speed cannot be changed: set augment.speeds=[1.0]"
            )
        folder = cache_folder(cache)
        entries = {speed: folder / _key(corpus, config, speed) for speed in dict.fromkeys(speeds)}
        missing = [speed for speed, entry in entries.items() if not (entry / "index.json").is_file()]
        tables: dict[float, _Table] = {}
        if missing:
            size = _expected_bytes(corpus, config, missing)
            try:
                _write(corpus, config, {speed: entries[speed] for speed in missing}, size, progress)
            except OSError as error:
                warnings.warn(
                    f"features of {corpus.name} cannot be kept in {folder}: {error.strerror or error}. They are held "
                    f"in memory ({size / 1e9:.1f} GB) and computed again next time. Free some space, or name another "
                    "folder with data.cache or ASR_TUTORIAL_CACHE",
                    stacklevel=2,
                )
                tables = _compute_in_memory(corpus, config, missing, size, progress)
        tables = {speed: tables.get(speed) or _Table.open(entry) for speed, entry in entries.items()}
        skipped = {skip.id: skip for table in tables.values() for skip in table.skipped}
        store = cls(tables, list(skipped.values()))
        if not store.ids:
            reasons = "; ".join(f"{skip.id}: {skip.reason}" for skip in store.skipped[:3])
            raise CorpusError(f"{corpus.path}: none of {len(corpus)} utterances has usable features ({reasons})")
        return store

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, name: str) -> bool:
        return all(name in table.spans for table in self._tables.values())

    @property
    def n_mels(self) -> int:
        """Number of mel bins."""
        return next(iter(self._tables.values())).array.shape[1]

    def get(self, name: str, speed: float = 1.0) -> Array:
        """Features ``(frames, n_mels)`` of an utterance, read-only."""
        table = self._tables[speed]
        start, length = table.spans[name]
        return table.array[start : start + length]

    def frames(self, name: str, speed: float = 1.0) -> int:
        """Number of frames of an utterance."""
        return self._tables[speed].spans[name][1]

    def __iter__(self) -> Iterator[Array]:
        """Features ``(frames, n_mels)`` of each utterance at the first speed: what MVN statistics are fitted on."""
        return (self.get(name, self.speeds[0]) for name in self.ids)


class _Table:
    """All frames of a corpus at one speed, one utterance behind the other, and where each begins."""

    def __init__(self, array: Array, spans: dict[str, tuple[int, int]], skipped: list[Skip], folder: Path | None):
        self.array = array
        self.spans = spans
        self.skipped = skipped
        self.folder = folder

    @classmethod
    def open(cls, folder: Path) -> _Table:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        array = np.load(folder / "features.npy", mmap_mode="r")
        spans, start = {}, 0
        for name, length in index["frames"].items():
            spans[name] = (start, length)
            start += length
        return cls(array, spans, [Skip(*skip) for skip in index["skipped"]], folder)

    def __reduce__(self) -> tuple[Any, ...]:
        # Worker processes map the file themselves instead of getting a copy of its content.
        if self.folder:
            return _Table.open, (self.folder,)
        return _Table, (self.array, self.spans, self.skipped, None)


def cache_folder(cache: str | Path = "") -> Path:
    """The folder that computed features are kept in."""
    return Path(cache or os.environ.get("ASR_TUTORIAL_CACHE", "") or "~/.cache/asr_tutorial").expanduser() / "features"


def _key(corpus: Corpus, config: FeaturesConfig, speed: float) -> str:
    """Name of the cache entry: a hash of all that the features depend on."""
    settings = asdict(config)
    del settings["normalize"]  # applied later, inside the model
    # A learner's own feature code must not be given features that ours computed, nor the reverse.
    parts: list[Any] = [settings, speed, *(inspect.getsource(code) for code in (fbank, speed_perturb, audio))]
    for utterance in corpus:
        try:
            status = utterance.audio.stat()
        except OSError as error:
            raise CorpusError(f"utterance {utterance.id}: {utterance.audio}: {error.strerror}") from error
        parts.append([utterance.id, str(utterance.audio), status.st_size, status.st_mtime_ns])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _expected_bytes(corpus: Corpus, config: FeaturesConfig, speeds: Sequence[float]) -> int:
    frames = sum(corpus.seconds / speed for speed in speeds) * 1000 / config.frame_shift_ms
    return int(frames * config.n_mels * np.dtype(np.float32).itemsize)


def _write(corpus: Corpus, config: FeaturesConfig, entries: dict[float, Path], size: int, progress: bool) -> None:
    """Compute the entries of the cache; OSError when the disk does not take them, and then nothing is left behind."""
    parent = next(iter(entries.values())).parent
    parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(parent).free
    if size > free:
        raise OSError(f"{size / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")
    temporary = parent / f"unfinished-{uuid.uuid4().hex}"
    try:
        writers = {speed: _Writer(temporary / entry.name, config.n_mels) for speed, entry in entries.items()}
        try:
            skipped = []
            for utterance, found in _compute(corpus, config, list(entries), progress):
                if isinstance(found, str):
                    skipped.append(Skip(utterance.id, found))
                    continue
                for writer, array in zip(writers.values(), found, strict=True):
                    writer.append(utterance.id, array)
        finally:
            for writer in writers.values():
                writer.file.close()
        for writer in writers.values():
            writer.finish(skipped)
        for entry in entries.values():
            try:
                os.rename(temporary / entry.name, entry)
            except OSError:
                # Another process finished the same entry first: its files are as good as ours.
                if not (entry / "index.json").is_file():
                    raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _Writer:
    """Appends utterances to ``features.npy``.

    Plain writes, not a writable memory map: on a full disk a write raises OSError, a memory map kills the process.
    """

    def __init__(self, folder: Path, n_mels: int) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.n_mels = n_mels
        self.frames: dict[str, int] = {}
        self.file = (folder / "features.npy").open("wb")
        self._header(self.file, 0)

    def append(self, name: str, array: Array) -> None:
        self.file.write(np.ascontiguousarray(array, dtype=np.float32).data)
        self.frames[name] = len(array)

    def finish(self, skipped: Sequence[Skip]) -> None:
        # numpy pads the header so that it keeps its size while the first axis grows.
        with (self.folder / "features.npy").open("r+b") as file:
            self._header(file, sum(self.frames.values()))
        index = {"frames": self.frames, "skipped": [[skip.id, skip.reason] for skip in skipped]}
        (self.folder / "index.json").write_text(json.dumps(index), encoding="utf-8")

    def _header(self, file: Any, frames: int) -> None:
        description = np.lib.format.dtype_to_descr(np.dtype(np.float32))
        np.lib.format.write_array_header_1_0(
            file, {"descr": description, "fortran_order": False, "shape": (frames, self.n_mels)}
        )


def _compute_in_memory(
    corpus: Corpus, config: FeaturesConfig, speeds: Sequence[float], size: int, progress: bool
) -> dict[float, _Table]:
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if size > 0.8 * memory:
            raise UserError(
                f"features of {corpus.name} take {size / 1e9:.1f} GB: more than the cache folder's disk and the memory "
                f"({memory / 1e9:.1f} GB) can hold. Name a folder on a larger disk with data.cache, or use fewer speeds"
            )
    arrays: dict[float, list[Array]] = {speed: [np.zeros((0, config.n_mels), np.float32)] for speed in speeds}
    spans: dict[float, dict[str, tuple[int, int]]] = {speed: {} for speed in speeds}
    ends = dict.fromkeys(speeds, 0)
    skipped = []
    for utterance, found in _compute(corpus, config, speeds, progress):
        if isinstance(found, str):
            skipped.append(Skip(utterance.id, found))
            continue
        for speed, array in zip(speeds, found, strict=True):
            spans[speed][utterance.id] = (ends[speed], len(array))
            ends[speed] += len(array)
            arrays[speed].append(array)
    return {speed: _Table(np.concatenate(arrays.pop(speed)), spans[speed], skipped, None) for speed in speeds}


def _compute(
    corpus: Corpus, config: FeaturesConfig, speeds: Sequence[float], progress: bool
) -> Iterator[tuple[Utterance, list[Array] | str]]:
    """Each utterance with its features at each speed, or with the reason why it has none."""
    extractor = FeatureExtractor(config)

    def compute(utterance: Utterance) -> list[Array] | str:
        try:
            arrays = [_features(utterance, extractor, speed) for speed in speeds]
        except (AudioError, CorpusError) as error:
            return str(error)
        if not all(np.isfinite(array).all() for array in arrays):
            return "features are not finite (NaN or infinity)"
        return arrays

    # Decoding and the Fourier transform leave Python's lock, so threads use all cores, without a copy of the process.
    workers = os.cpu_count() or 1
    bar = tqdm(
        total=len(corpus), desc=f"features of {corpus.name}", unit="utt", disable=None if progress else True,
        file=sys.stderr, leave=False,
    )  # fmt: skip
    with ThreadPoolExecutor(workers) as pool, bar:
        # A window of work bounds the memory, where the disk is slower than the processor.
        window: deque[tuple[Utterance, Future[list[Array] | str]]] = deque()
        for utterance in corpus:
            window.append((utterance, pool.submit(compute, utterance)))
            if len(window) > 4 * workers:
                yield _finished(window, bar)
        while window:
            yield _finished(window, bar)


def _finished(
    window: deque[tuple[Utterance, Future[list[Array] | str]]], bar: tqdm[Any]
) -> tuple[Utterance, list[Array] | str]:
    utterance, future = window.popleft()
    found = future.result()
    bar.update()
    return utterance, found


def _features(utterance: Utterance, extractor: FeatureExtractor, speed: float) -> Array:
    config = extractor.config
    if utterance.has_features:
        try:
            array = np.load(utterance.audio, allow_pickle=False).astype(np.float32)
        except (OSError, ValueError, EOFError) as error:
            raise CorpusError(f"unreadable feature file {utterance.audio}: {error}") from error
        if array.ndim != 2 or array.shape[1] != config.n_mels:
            raise CorpusError(
                f"{utterance.audio} has shape {array.shape}, expected (frames, {config.n_mels}): set features.n_mels"
            )
        if len(array) == 0:
            raise CorpusError(f"{utterance.audio} holds no frames")
        return array
    samples = speed_perturb(read_audio(utterance.audio, config.sample_rate), speed, config.sample_rate)
    if extractor.num_frames(len(samples)) == 0:
        raise AudioError(f"{utterance.audio} is shorter than one frame ({config.frame_length_ms:g} ms)")
    frames, _ = extractor(torch.from_numpy(samples).unsqueeze(0))  # (samples,) -> (1, frames, n_mels)
    return frames.squeeze(0).numpy()
