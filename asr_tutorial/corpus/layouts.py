"""The two folder layouts: LibriSpeech's, and precomputed features."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from asr_tutorial.corpus.types import Row, Skip, read_lines, some, speaker_of
from asr_tutorial.errors import CorpusError

AUDIO_SUFFIXES = (".flac", ".wav", ".opus", ".ogg", ".oga", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".sph")
"""File name endings taken for audio when a folder is searched; a manifest may name any file."""


def read_librispeech(folder: Path) -> tuple[list[Row], list[Skip]]:
    """Rows from every ``*.trans.txt`` below the folder, in the order of the ids."""
    audio: dict[str, list[Path]] = {}
    transcripts: list[Path] = []
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            # macOS leaves files called ._NAME on foreign disks; they are no audio.
            if name.startswith("."):
                continue
            if name.endswith(".trans.txt"):
                transcripts.append(Path(place, name))
            elif os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES:
                audio.setdefault(os.path.splitext(name)[0], []).append(Path(place, name))
    if not transcripts:
        found = f"{sum(map(len, audio.values()))} audio files but no transcripts" if audio else "neither audio nor text"
        raise CorpusError(
            f"{folder}: {found}. Looked for LibriSpeech's files (ID.trans.txt beside audio {' '.join(AUDIO_SUFFIXES)}) "
            "and for a folder fbank of .npy features. For other recordings write a manifest: a .tsv file whose first "
            "line is id, audio, text, separated by tabs"
        )
    doubled = [" and ".join(str(path) for path in paths) for paths in audio.values() if len(paths) > 1]
    if doubled:
        raise CorpusError(f"{folder}: an id must name one audio file, but these share theirs: {some(doubled)}")
    rows, skipped = [], []
    for transcript in transcripts:
        for line in read_lines(transcript):
            if not line.strip():
                continue
            name, _, text = line.strip().partition(" ")
            if name in audio:
                rows.append(Row(name, audio[name][0], text.strip(), name.split("-")[0]))
            else:
                skipped.append(Skip(name, f"no audio file for this line of {transcript}"))
    transcribed = {row.id for row in rows}
    skipped.extend(Skip(name, f"no transcript for {audio[name][0]}") for name in audio if name not in transcribed)
    return sorted(rows, key=lambda row: row.id), sorted(skipped, key=lambda skip: skip.id)


def read_features(folder: Path) -> tuple[list[Row], list[Skip]]:
    """Rows of ``fbank/ID.npy``, with ``text/ID.npy`` where the folder ``text`` exists."""
    features = {path.stem: path for path in sorted((folder / "fbank").glob("*.npy"))}
    if not features:
        raise CorpusError(f"{folder / 'fbank'} holds no .npy files; expected ID.npy, an array (frames, n_mels) each")
    if not (folder / "text").is_dir():
        return [Row(name, path, None) for name, path in features.items()], []
    texts = {path.stem: path for path in sorted((folder / "text").glob("*.npy"))}
    rows, skipped = [], []
    for name, path in features.items():
        if name not in texts:
            skipped.append(Skip(name, f"no transcript {folder / 'text' / path.name}"))
            continue
        try:
            rows.append(Row(name, path, _text_of_array(np.load(texts[name], allow_pickle=False)), speaker_of(name)))
        except (OSError, ValueError, EOFError) as error:
            skipped.append(Skip(name, f"unreadable transcript {texts[name]}: {error}"))
    skipped.extend(Skip(name, f"no features for {texts[name]}") for name in texts if name not in features)
    return rows, skipped


def _text_of_array(array: np.ndarray) -> str:
    """The transcript in an array: one string, or one string per character, special tokens like ``<sos>`` dropped."""
    if array.dtype.kind not in "US":
        raise ValueError(f"expected an array of strings, not {array.dtype}")
    pieces = [piece.decode() if isinstance(piece, bytes) else str(piece) for piece in array.ravel()]
    pieces = [piece for piece in pieces if not re.fullmatch(r"<\w+>", piece)]
    # Single characters are joined as they are; longer strings are words.
    return ("" if all(len(piece) <= 1 for piece in pieces) else " ").join(pieces).strip()
