"""Find a corpus, read it in whichever layout it has, and look at each of its files."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from asr_tutorial.audio import audio_info
from asr_tutorial.corpus.layouts import read_features, read_librispeech
from asr_tutorial.corpus.manifest import read_manifest
from asr_tutorial.corpus.types import Corpus, Row, Skip, Utterance, feature_shape, some
from asr_tutorial.errors import AudioError, CorpusError

FEATURE_SHIFT_SECONDS = 0.01
"""Step between the frames of precomputed features, which do not say it themselves."""

REPOSITORY = Path(__file__).resolve().parents[2]


def read_corpus(
    path: str | Path, *, min_seconds: float = 0.0, max_seconds: float = math.inf, root: str | Path = ""
) -> Corpus:
    """Read a corpus: a LibriSpeech-layout folder, a manifest or a folder of ``.npy`` features.

    Args:
        path: the folder or manifest; a relative path is looked for as :func:`resolve` says.
        min_seconds: shorter utterances are skipped.
        max_seconds: longer utterances are skipped.
        root: first place where a relative path is looked for.

    Raises:
        CorpusError: nothing there, nothing usable in it, an id that occurs twice, or a manifest that cannot be parsed.
    """
    path = resolve(path, root)
    if path.is_file():
        rows, skipped = read_manifest(path)
    elif (path / "fbank").is_dir():
        rows, skipped = read_features(path)
    else:
        rows, skipped = read_librispeech(path)
    repeated = [f"{name!r} ({count} times)" for name, count in Counter(row.id for row in rows).items() if count > 1]
    if repeated:
        raise CorpusError(
            f"{path}: an id must name one utterance, but {some(repeated)} occur more than once; rename or remove files"
        )
    utterances = []
    for utterance, problem in _measure(rows):
        if not problem and utterance.text == "":
            problem = "empty transcript"
        if not problem and utterance.seconds < min_seconds:
            problem = f"{utterance.seconds:.2f} s is shorter than min_seconds ({min_seconds:g})"
        if not problem and utterance.seconds > max_seconds:
            problem = f"{utterance.seconds:.2f} s is longer than max_seconds ({max_seconds:g})"
        if problem:
            skipped.append(Skip(utterance.id, problem))
        else:
            utterances.append(utterance)
    if not utterances:
        reasons = some([f"{skip.id}: {skip.reason}" for skip in skipped])
        raise CorpusError(f"{path}: no usable utterance" + (f"; skipped {len(skipped)}: {reasons}" if reasons else ""))
    return Corpus(path, utterances, skipped)


def resolve(path: str | Path, root: str | Path = "") -> Path:
    """Find a corpus that is given by a relative path, such as ``train-clean-5`` or ``tinyspeech/train``.

    The places, in order: ``root``, the working folder, the folder named by the environment variable
    ``ASR_TUTORIAL_DATA``, the repository's ``data``; in each of them also its subfolder ``LibriSpeech``.

    Raises:
        CorpusError: it is in none of them; the message lists the places.
    """
    path = Path(path).expanduser()
    if path.is_absolute():
        places = [path]
    else:
        environment = os.environ.get("ASR_TUTORIAL_DATA", "")
        roots = [Path(place).expanduser() for place in (root, ".", environment, REPOSITORY / "data") if str(place)]
        places = [place for top in roots for place in (top / path, top / "LibriSpeech" / path)]
    for place in places:
        if place.exists():
            return place.absolute()
    tried = "\n  ".join(dict.fromkeys(str(place.absolute()) for place in places))
    raise CorpusError(
        f"no corpus {str(path)!r}; looked for\n  {tried}\n"
        "Give an existing folder or manifest, set ASR_TUTORIAL_DATA to the folder that holds it, "
        "or download it: asr-tutorial data download mini-librispeech"
    )


def _measure(rows: Sequence[Row]) -> Iterator[tuple[Utterance, str]]:
    """Each row as an utterance with its duration, and what is wrong with it ("" for nothing)."""

    def look(row: Row) -> tuple[Utterance, str]:
        utterance = Utterance(row.id, row.audio, row.text, 0.0, row.speaker)
        if not row.audio.is_file():
            return utterance, f"no audio file {row.audio}"
        try:
            if utterance.has_features:
                seconds = feature_shape(row.audio)[0] * FEATURE_SHIFT_SECONDS
            else:
                seconds, _, _ = audio_info(row.audio)
        except (AudioError, CorpusError) as error:
            return utterance, str(error)
        return replace(utterance, seconds=seconds), "" if seconds > 0 else "empty audio file"

    # Reading a header waits for the disk, above all on a network drive: threads wait together.
    with ThreadPoolExecutor(max_workers=8) as pool:
        yield from pool.map(look, rows)
