"""Speech and text from OpenSLR: downloaded with resume and mirrors, verified, unpacked safely.

The transfer is plain ``requests`` with HTTP ranges: pooch throws an interrupted file away, and pypdl 1.5 (tried against
a server that cuts the connection) keeps only some of its segments, starts over when there is one, and needs aiohttp.

Every archive is pinned by its size and SHA-256. The sums of OpenSLR 12 are those in torchaudio and TensorFlow Datasets,
that of OpenSLR 11 is TensorFlow Datasets', those of OpenSLR 31 are stated by public projects beside the MD5 sums of
OpenSLR's own ``resources/31/md5sum.txt``. OpenSLR publishes no sums for its resource 11.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import re
import shutil
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import requests
import urllib3
from tqdm.auto import tqdm

from asr_tutorial.errors import DownloadError

MIRRORS = (
    "https://www.openslr.org/resources",
    "https://us.openslr.org/resources",
    "https://openslr.trmal.net/resources",
    "https://openslr.elda.org/resources",
    "https://openslr.magicdatatech.com/resources",
)
"""Servers that hold the same files, tried in this order."""

CHUNK = 1 << 18  # bytes read from the connection at a time
TIMEOUT = (15, 60)  # seconds to connect, and between two pieces of data
UNPACKED = 1.1  # unpacked size over archive size: FLAC hardly shrinks in a tarball, small files waste part of a block


@dataclass(frozen=True)
class Archive:
    """One file on the mirrors: its path below a mirror's address, its size in bytes and its SHA-256 in hexadecimal."""

    path: str
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def contents(self) -> str | None:
        """The folder that unpacking makes; None for a file that is kept as it is."""
        split = self.filename.removesuffix(".tar.gz")
        return None if split == self.filename else f"LibriSpeech/{split}"


@dataclass(frozen=True)
class Dataset:
    """What one name of the catalogue stands for; ``hours`` is None for text."""

    archives: tuple[Archive, ...]
    hours: float | None
    description: str

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(archive.size for archive in self.archives)


_ARCHIVES = {
    path: Archive(path, size, sha256)
    for path, (size, sha256) in {
        "31/train-clean-5.tar.gz": (332954390, "47805806c8b15f7549f3c51bd6b7da72ec0128a34d32830c8014a88658c0292d"),
        "31/dev-clean-2.tar.gz": (126046265, "176ec501490eced2d6c1f89f4f0ddc7dfe799e649e5322f8ba49fe3ff50c8012"),
        "12/train-clean-100.tar.gz": (6387309499, "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2"),
        "12/train-clean-360.tar.gz": (23049477885, "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf"),
        "12/train-other-500.tar.gz": (30593501606, "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2"),
        "12/dev-clean.tar.gz": (337926286, "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3"),
        "12/test-clean.tar.gz": (346663984, "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23"),
        "12/dev-other.tar.gz": (314305928, "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365"),
        "12/test-other.tar.gz": (328757843, "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29"),
        "11/librispeech-lm-norm.txt.gz": (
            1507274412,
            "927d47656638c2ca93566640e56bcbeb2aa4ca237b8490fe1eff7d6e610a53c7",
        ),
    }.items()
}


def _dataset(paths: list[str], hours: float | None, description: str) -> Dataset:
    return Dataset(tuple(_ARCHIVES[path] for path in paths), hours, description)


CATALOGUE: dict[str, Dataset] = {
    "mini-librispeech": _dataset(
        ["31/train-clean-5.tar.gz", "31/dev-clean-2.tar.gz"], 7.3, "train-clean-5 and dev-clean-2, to try things on"
    ),
    "train-clean-100": _dataset(["12/train-clean-100.tar.gz"], 100.6, "LibriSpeech training set, clean, first part"),
    "train-clean-360": _dataset(["12/train-clean-360.tar.gz"], 363.6, "LibriSpeech training set, clean, second part"),
    "train-other-500": _dataset(["12/train-other-500.tar.gz"], 496.7, "LibriSpeech training set, harder speech"),
    "dev-clean": _dataset(["12/dev-clean.tar.gz"], 5.4, "LibriSpeech development set, clean"),
    "test-clean": _dataset(["12/test-clean.tar.gz"], 5.4, "LibriSpeech test set, clean"),
    "dev-other": _dataset(["12/dev-other.tar.gz"], 5.3, "LibriSpeech development set, harder speech"),
    "test-other": _dataset(["12/test-other.tar.gz"], 5.1, "LibriSpeech test set, harder speech"),
    "lm-text": _dataset(
        ["11/librispeech-lm-norm.txt.gz"], None, "803 million words of books for language models, kept compressed"
    ),
}
"""What ``download`` can fetch."""


def download(
    name: str, folder: str | Path, mirrors: Sequence[str] | None = None, *, keep_archive: bool = False
) -> Path:
    """Download, verify and unpack one entry of :data:`CATALOGUE`; what is there already is left alone.

    An interrupted transfer stays as ``*.part`` and goes on from there the next time. Nothing half unpacked is ever left
    under the final name.

    Args:
        name: a key of :data:`CATALOGUE`.
        folder: where to; LibriSpeech's splits come to lie in ``folder/LibriSpeech``.
        mirrors: addresses to which ``/12/dev-clean.tar.gz`` and the like can be appended; default :data:`MIRRORS`.
        keep_archive: keep the tarballs after unpacking.

    Returns:
        The folder of the split, ``folder/LibriSpeech`` where the name stands for several splits, or the text file.

    Raises:
        DownloadError: unknown name, too little space on the disk, no mirror that answers, a file that does not have
            its published size and sum, or a tarball that would write outside ``folder``.
    """
    if name not in CATALOGUE:
        raise DownloadError(f"nothing called {name!r} to download: choose one of {', '.join(CATALOGUE)}")
    folder = Path(folder).expanduser()
    archives = CATALOGUE[name].archives
    targets = [folder / (archive.contents or archive.filename) for archive in archives]
    missing = [archive for archive, target in zip(archives, targets, strict=True) if not target.exists()]
    for target in targets:
        if target.exists():
            print(f"{target} is already there, nothing to do")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _require_space(folder, sum(_bytes_to_write(archive, folder) for archive in missing), f"download {name}")
        for archive in missing:
            file = _fetch(archive, folder, mirrors or MIRRORS)
            if archive.contents:
                _unpack(archive, file, folder)
                if not keep_archive:
                    file.unlink()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DownloadError(
                f"the disk that holds {folder} is full: free some space and run the same command again, "
                "the download goes on where it stopped"
            ) from error
        raise DownloadError(f"cannot write to {error.filename or folder}: {error.strerror or error}") from error
    return targets[0] if len(targets) == 1 else targets[0].parent


def _bytes_to_write(archive: Archive, folder: Path) -> int:
    """What is still to come over the network, plus what unpacking will write."""
    present = max(_length(folder / archive.filename), _length(_part(archive, folder)))
    return max(archive.size - present, 0) + (int(archive.size * UNPACKED) if archive.contents else 0)


def _part(archive: Archive, folder: Path) -> Path:
    return folder / f"{archive.filename}.part"


def _length(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _require_space(folder: Path, needed: int, purpose: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DownloadError(
            f"not enough space to {purpose} in {folder}: {_megabytes(needed)} are needed and {_megabytes(free)} are "
            "free; free some space or choose a folder on another disk"
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _fetch(archive: Archive, folder: Path, mirrors: Sequence[str]) -> Path:
    """The verified file of an archive, from the disk where it is there already."""
    file, part = folder / archive.filename, _part(archive, folder)
    if file.exists():
        if (found := _sha256(file)) != archive.sha256:
            raise DownloadError(_wrong_sum(archive, file, found) + "; delete the file and run the same command again")
        return file
    while True:
        resumed = part.exists()
        _transfer(archive, part, mirrors)
        found = _sha256(part)
        if found == archive.sha256:
            return part.replace(file)
        message = _wrong_sum(archive, part, found)
        part.unlink()
        # The part may have come from another version of the file, or have been damaged since: a fresh copy can be good.
        if not resumed:
            raise DownloadError(
                message + "; the file was deleted: run the same command again, or name another mirror. Should it "
                "happen again, the file on the mirrors has changed and the catalogue's sum needs an update"
            )
        print(message + "; it was resumed from an earlier part, so it is downloaded once more from the start")


def _wrong_sum(archive: Archive, file: Path, found: str) -> str:
    return f"{file} is not the published {archive.path}: its SHA-256 is {found}, it should be {archive.sha256}"


def _sha256(file: Path) -> str:
    print(f"verifying {file.name} ({_megabytes(file.stat().st_size)})")
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class _MirrorError(Exception):
    """One mirror cannot give (the rest of) the file; another may."""


def _transfer(archive: Archive, part: Path, mirrors: Sequence[str]) -> None:
    """Make ``part`` as long as the archive, mirror after mirror, each as long as it brings the file forward."""
    if _length(part) > archive.size:
        part.unlink()
    failures = []
    longest = _length(part)
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{archive.path}"
        while _length(part) < archive.size:
            failure = ""
            try:
                _receive(url, archive, part)
            except (_MirrorError, requests.RequestException, urllib3.exceptions.HTTPError) as error:
                cause = error.args[0] if error.args else error
                failure = str(getattr(cause, "reason", error))  # without urllib3's wrapping
            if _length(part) <= longest:
                failures.append(f"{url}: {failure or 'the connection was closed too early'}")
                print(f"giving up on {mirror}")
                break
            longest = _length(part)
        else:
            return
    kept = f"{_megabytes(_length(part))} of {_megabytes(archive.size)} are kept in {part}. " if part.exists() else ""
    raise DownloadError(
        f"could not download {archive.filename}:\n  "
        + "\n  ".join(failures)
        + f"\n{kept}Check the network (behind a proxy set HTTPS_PROXY) and run the same command again: it goes on "
        f"where it stopped. Or fetch the file by other means and put it at {part.with_name(archive.filename)}"
    )


def _receive(url: str, archive: Archive, part: Path) -> None:
    """One request: append to ``part`` what it lacks, or write it anew where the server does not know ranges."""
    offset = _length(part)
    # "identity": some servers announce .gz files as gzip-encoded pages, which a client would decompress on the way.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code not in (requests.codes.ok, requests.codes.partial_content):
            raise _MirrorError(f"HTTP status {response.status_code} {response.reason}")
        if response.status_code == requests.codes.ok:
            offset, total = 0, int(response.headers.get("Content-Length", archive.size))
        else:
            content_range = response.headers.get("Content-Range", "")
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", content_range)
            if not match or int(match[1]) != offset:
                raise _MirrorError(f"asked for bytes from {offset} on, the server sent {content_range!r}")
            total = int(match[2])
        if total != archive.size:  # another version of the file, or the log-in page of a network
            raise _MirrorError(f"the server's file has {total} bytes, the published one {archive.size}")
        print(f"{'continuing' if offset else 'downloading'} {url}")
        with (
            part.open("ab" if offset else "wb") as file,
            # disable=None: no bar where nobody watches, as in the log of a batch job.
            tqdm(
                total=total, initial=offset, unit="B", unit_scale=True, desc=archive.filename, disable=None
            ) as progress,
        ):
            for chunk in response.raw.stream(CHUNK, decode_content=False):
                file.write(chunk)
                progress.update(len(chunk))


def _unpack(archive: Archive, file: Path, folder: Path) -> None:
    """Unpack into a temporary folder and move the result into place, the split's folder last."""
    assert archive.contents is not None
    _require_space(folder, int(archive.size * UNPACKED), f"unpack {file.name}")
    temporary = folder / f".{file.name}.unpacking"  # hidden, so that no corpus is read from it
    shutil.rmtree(temporary, ignore_errors=True)  # left by a run that was killed
    try:
        with (
            file.open("rb") as stream,
            tarfile.open(fileobj=stream, mode="r:gz") as tar,
            tqdm(
                total=archive.size, unit="B", unit_scale=True, desc=f"unpacking {file.name}", disable=None
            ) as progress,
        ):

            def check(member: tarfile.TarInfo, destination: str) -> tarfile.TarInfo:
                progress.update(stream.tell() - progress.n)
                if member.name.startswith(("/", "\\")):  # the filter would make it relative; nobody honest writes it
                    raise tarfile.AbsolutePathError(member)
                return tarfile.data_filter(member, destination)

            tar.extractall(temporary, filter=check)
        unpacked = temporary / archive.contents
        if not unpacked.is_dir():
            raise DownloadError(f"{file} holds no folder {archive.contents}: it is not the archive it should be")
        target = folder / archive.contents
        target.parent.mkdir(parents=True, exist_ok=True)
        for document in sorted(unpacked.parent.iterdir()):  # README.TXT, SPEAKERS.TXT, ...: the same in every archive
            if document.is_file():
                document.replace(target.parent / document.name)
        unpacked.replace(target)
        print(f"unpacked to {target}")
    except tarfile.FilterError as error:
        raise DownloadError(
            f"{file} is not safe to unpack: {error}. Nothing was kept of it; delete the archive and get it elsewhere"
        ) from error
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DownloadError(
            f"{file} is damaged and cannot be unpacked ({error}): delete it and run the same command again"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
