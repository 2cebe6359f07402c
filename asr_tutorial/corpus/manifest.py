"""Manifests: a table of utterances in a text file."""

from __future__ import annotations

import json
from pathlib import Path

from asr_tutorial.corpus.types import Corpus, Row, Skip, read_lines, speaker_of
from asr_tutorial.errors import CorpusError


def read_manifest(path: Path) -> tuple[list[Row], list[Skip]]:
    """Rows of a ``.tsv`` or ``.jsonl`` manifest, in its order."""
    lines = [(number, line) for number, line in enumerate(read_lines(path), 1) if line.strip()]
    records: list[tuple[int, dict[str, str | None]]] = []
    if path.suffix == ".jsonl":
        for number, line in lines:
            try:
                record = json.loads(line)
            except ValueError as error:
                raise CorpusError(f"{path}, line {number} is not valid JSON: {error}") from error
            if not isinstance(record, dict):
                raise CorpusError(f'{path}, line {number} must be an object like {{"id": ..., "audio": ...}}')
            records.append((number, record))
    elif path.suffix == ".tsv":
        columns = lines[0][1].split("\t") if lines else []
        columns = [name.strip().lower() for name in columns]
        if "audio" not in columns:
            raise CorpusError(f"{path}: the first line must name the columns (id, audio, text), separated by tabs")
        for number, line in lines[1:]:
            cells = line.split("\t")
            if len(cells) != len(columns):
                raise CorpusError(f"{path}, line {number} has {len(cells)} columns, its first line has {len(columns)}")
            records.append((number, dict(zip(columns, cells, strict=True))))
    else:
        raise CorpusError(f"{path}: a corpus is a folder or a manifest whose name ends in .tsv or .jsonl")
    rows, skipped = [], []
    for number, record in records:
        audio, text, speaker = (record.get(name) for name in ("audio", "text", "speaker"))
        if not audio:
            name = str(record.get("id") or f"line {number}")
            skipped.append(Skip(name, f"no audio named in line {number} of {path}"))
            continue
        file = path.parent / Path(str(audio).strip()).expanduser()
        name = str(record.get("id") or file.stem).strip()
        rows.append(Row(name, file, None if text is None else str(text).strip(), speaker or speaker_of(name)))
    return rows, skipped


def write_manifest(corpus: Corpus, path: str | Path) -> None:
    """Write a corpus as a manifest, ``.tsv`` or ``.jsonl``, that :func:`read_corpus` reads.

    Audio below the manifest's folder is written relative to it, other audio with its absolute path.

    Raises:
        CorpusError: another suffix, or a file that cannot be written.
    """
    path = Path(path).absolute()
    rows: list[dict[str, str | float | None]] = []
    for utterance in corpus:
        audio = utterance.audio.absolute()
        rows.append(
            {
                "id": utterance.id,
                "audio": str(audio.relative_to(path.parent) if audio.is_relative_to(path.parent) else audio),
                "text": utterance.text,
                "speaker": utterance.speaker,
                "seconds": round(utterance.seconds, 3),
            }
        )
    if path.suffix == ".jsonl":
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    elif path.suffix == ".tsv":
        # A column that no utterance fills is left out: an empty text would read as an empty transcript.
        columns = [name for name in ("id", "audio", "text", "speaker", "seconds") if any(row[name] for row in rows)]
        cells = [["" if row[name] is None else " ".join(str(row[name]).split()) for name in columns] for row in rows]
        lines = ["\t".join(line) for line in [columns, *cells]]
    else:
        raise CorpusError(f"{path}: a manifest's name ends in .tsv or .jsonl")
    try:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise CorpusError(f"cannot write {path}: {error.strerror}") from error
