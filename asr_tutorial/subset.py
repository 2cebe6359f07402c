"""Parts of a corpus by list of ids, written as a corpus of their own: how published splits are rebuilt."""

from __future__ import annotations

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from asr_tutorial.corpus import Corpus, select
from asr_tutorial.errors import CorpusError

LIBRISPEECH_ID = re.compile(r"([^-/\\]+)-([^-/\\]+)-([^-/\\]+)")  # speaker, chapter, number


def make_subset(corpus: Corpus, ids: Iterable[str], out_folder: str | Path, copy: bool = False) -> Path:
    """Write the named utterances in LibriSpeech's layout: ``SPEAKER/CHAPTER/ID.flac``, ``SPEAKER-CHAPTER.trans.txt``.

    The audio is hard-linked, which takes no space, and copied where links are not possible (another disk).

    Args:
        corpus: where the utterances come from.
        ids: which ones, each of the form ``SPEAKER-CHAPTER-NUMBER``.
        out_folder: new folder for the subset.
        copy: always copy, so that a change to one file never shows in the other.

    Returns:
        ``out_folder``.

    Raises:
        CorpusError: an id that the corpus does not hold or that is not of that form, an utterance without sound or
            transcript, no ids at all, or ``out_folder`` exists.
    """
    out_folder = Path(out_folder).expanduser()
    if out_folder.exists():
        raise CorpusError(f"{out_folder} exists already: name a new folder, or delete it first")
    wanted = set(ids)
    if not wanted:
        raise CorpusError(f"no ids were given for {out_folder}: list one id a line, such as 4088-158077-0000")
    chapters = defaultdict(list)
    for utterance in select(corpus, wanted):
        match = LIBRISPEECH_ID.fullmatch(utterance.id)
        if not match:
            raise CorpusError(f"id {utterance.id!r} is not of LibriSpeech's form SPEAKER-CHAPTER-NUMBER (19-198-0000)")
        if utterance.has_features or utterance.text is None:
            what = "transcript" if utterance.text is None else "sound, only features"
            raise CorpusError(
                f"utterance {utterance.id} of {corpus.path} has no {what}: a subset needs both sound and text"
            )
        chapters[match[1], match[2]].append(utterance)

    # Made beside its final place and renamed at the end: a run that is killed leaves no half subset behind.
    temporary = out_folder.with_name(f".{out_folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    for (speaker, chapter), utterances in chapters.items():
        folder = temporary / speaker / chapter
        folder.mkdir(parents=True)
        for utterance in utterances:
            _place(utterance.audio, folder / f"{utterance.id}{utterance.audio.suffix}", copy)
        lines = [f"{utterance.id} {utterance.text}\n" for utterance in utterances]
        (folder / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines), encoding="utf-8")
    return temporary.replace(out_folder)


def _place(source: Path, target: Path, copy: bool) -> None:
    if not copy:
        try:
            os.link(source.resolve(), target)
            return
        except OSError:  # another disk, or a file system without hard links
            pass
    shutil.copyfile(source, target)
