"""Reading text for language models, whatever it comes as: sentences in, one after the other, never all in memory.

- plain text, one sentence a line, also ``.gz`` (LibriSpeech's LM text, OpenSLR 11) and ``.xz``;
- WikiText-2 and WikiText-103 (Merity et al. 2016, "Pointer sentinel mixture models"): ``wiki.train.tokens`` and its
  like, also inside their ``.zip``: ``wikitext-2-v1.zip/wikitext-2/wiki.train.tokens``;
- a speech corpus, whose transcripts are its text.
"""

from __future__ import annotations

import io
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from asr_tutorial.corpus import read_corpus, resolve
from asr_tutorial.dataset.text import read_lines
from asr_tutorial.errors import CorpusError, TextError

WIKITEXT = re.compile(r"wiki\..+\.(tokens|raw)$")
HEADING = re.compile(r"=( =)* .* (= )*=$")
SENTENCE_END = re.compile(r"(?<= [.!?]) (?![\"'])")
CLITIC = re.compile(r" '(?=(?:S|T|D|M|LL|RE|VE)\b)")


def find_text(path: str | Path, root: str | Path = "") -> Path:
    """Where a text lies that is given by a relative path: the places are those of a corpus, see
    :func:`~asr_tutorial.corpus.resolve`.

    Args:
        path: a file, a corpus, or a file inside a ``.zip``: ``archive.zip/folder/file``.
        root: first place where a relative path is looked for.

    Raises:
        TextError: it is nowhere; the message lists the places.
    """
    archive, member = _split_zip(Path(path))
    try:
        return resolve(archive, root) / member
    except CorpusError as error:
        places = str(error).partition("\n")[2].partition("\nGive")[0]
        raise TextError(
            f"no text {str(path)!r}; looked for\n{places}\nGive an existing file or corpus, or set "
            "ASR_TUTORIAL_DATA to the folder that holds it"
        ) from error


def read_text(path: str | Path, root: str | Path = "", form: str = "written") -> Iterator[str]:
    """The sentences of a text.

    Args:
        path: see :func:`find_text`; a folder or manifest is read as a speech corpus.
        root: first place where a relative path is looked for.
        form: ``"written"`` leaves the sentences as they are, ``"spoken"`` is :func:`spoken_form`.

    Raises:
        TextError: there is no such text, or it cannot be read.
        CorpusError: a folder or manifest that is no corpus.
    """
    sentences = _sentences(find_text(path, root))
    if form == "written":
        return sentences
    return (spoken for spoken in map(spoken_form, sentences) if spoken)


def spoken_form(sentence: str) -> str:
    """A sentence as a speech corpus writes it: capital letters without accents, apostrophes, single spaces.

    Other marks become spaces. A sentence with a figure or with ``<unk>`` comes back empty: how it is spoken cannot be
    told from it.
    """
    if any(character.isdigit() for character in sentence) or "<unk>" in sentence:
        return ""
    text = unicodedata.normalize("NFKD", sentence.replace("\u2019", "'")).upper()
    text = "".join(character for character in text if not unicodedata.combining(character))
    text = " ".join(re.sub(r"[^A-Z' ]", " ", text).split())
    text = CLITIC.sub("'", text)  # "DID N'T" is what some tokenised texts hold, "DIDN 'T" WikiText
    words = (word.strip("'") if set(word) == {"'"} or word.startswith("''") else word for word in text.split())
    return " ".join(word for word in words if word)


def wikitext_sentences(lines: Iterable[str]) -> Iterator[str]:
    """Sentences of a WikiText file: headings (``= Title =``) left out, paragraphs cut, ``@-@`` and its like undone."""
    for line in lines:
        line = line.strip()
        if not line or HEADING.match(line):
            continue
        line = re.sub(r" @(.)@ ", r"\1", line)
        yield from SENTENCE_END.split(line)


def _sentences(path: Path) -> Iterator[str]:
    archive, member = _split_zip(path)
    if WIKITEXT.match(path.name):
        lines = _zip_lines(archive, str(member)) if str(member) != "." else read_lines(path)
        return wikitext_sentences(lines)
    if str(member) != ".":
        return _zip_lines(archive, str(member))
    if path.is_dir() or path.suffix in (".tsv", ".jsonl"):
        return iter(read_corpus(path).texts)
    return read_lines(path)


def _split_zip(path: Path) -> tuple[Path, Path]:
    """A path into the archive and the file inside it, which is ``.`` for a path outside archives."""
    for place in (path, *path.parents):
        if place.suffix == ".zip":
            return place, path.relative_to(place)
    return path, Path()


def _zip_lines(archive: Path, member: str) -> Iterator[str]:
    try:
        with zipfile.ZipFile(archive) as files:
            names = [name for name in files.namelist() if not name.endswith("/")]
            if member not in names:
                raise TextError(f"{archive} holds no file {member!r}: give one of {', '.join(names[:10])}")
            with files.open(member) as file:
                for line in io.TextIOWrapper(file, encoding="utf-8"):
                    if line.strip():
                        yield line.strip()
    except (OSError, UnicodeDecodeError, zipfile.BadZipFile) as error:
        raise TextError(f"cannot read text from {archive}: {error}") from error
