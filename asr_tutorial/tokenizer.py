"""Tokenizers: how text becomes the numbers that a model predicts, and back.

:class:`CharTokenizer` has one token per character. :class:`SentencePieceTokenizer` learns frequent sub-word pieces from
the training text: byte-pair encoding (Sennrich, Haddow and Birch 2016, "Neural machine translation of rare words with
subword units") or a unigram language model (Kudo 2018, "Subword regularization"). A space is shown as ``▁`` by both.

Both begin with the same five special tokens, so that each has an id of its own:

=========== ============================================================
``<blank>`` CTC's "nothing new here"
``<sos>``   start of sentence, the decoder's first input
``<eos>``   end of sentence, the decoder's last output
``<unk>``   a character that the training text did not have
``<pad>``   fills up a batch, never trained on
=========== ============================================================
"""

from __future__ import annotations

import io
import json
import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, SupportsInt

import sentencepiece

from asr_tutorial.config import TokenizerConfig
from asr_tutorial.errors import TextError

SPECIAL_TOKENS = ("<blank>", "<sos>", "<eos>", "<unk>", "<pad>")
SPACE = "▁"
"""How a space is shown in a token; SentencePiece's choice (U+2581)."""


def normalize_text(text: str, case: Literal["upper", "lower"] | None = None) -> str:
    """Text in the form that tokenizers see.

    Unicode NFC (so that an accented letter is one character however it was typed), white space collapsed to single
    spaces, and one letter case if ``case`` asks for it.
    """
    text = unicodedata.normalize("NFC", text.replace(SPACE, " "))
    if case:
        text = unicodedata.normalize("NFC", text.upper() if case == "upper" else text.lower())
    return " ".join(text.split())


class Tokenizer(ABC):
    """What every tokenizer offers. The ids of special tokens are attributes; no other module knows a number.

    Attributes:
        tokens: text of each token by id, special tokens first.
        case: the letter case of the alphabet, if it has only one: text is converted to it.
    """

    blank_id, sos_id, eos_id, unk_id, pad_id = range(len(SPECIAL_TOKENS))

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = list(tokens)
        if tuple(self.tokens[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
            raise TextError(f"a vocabulary must begin with {' '.join(SPECIAL_TOKENS)}, not {self.tokens[:5]}")
        self.characters = frozenset("".join(self.tokens[len(SPECIAL_TOKENS) :]).replace(SPACE, " ")) | {" "}
        letters = "".join(self.characters)
        self.case: Literal["upper", "lower"] | None = None
        if letters.upper() != letters.lower():
            self.case = "upper" if letters == letters.upper() else "lower" if letters == letters.lower() else None

    @property
    def vocab_size(self) -> int:
        """Number of tokens, special ones included."""
        return len(self.tokens)

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids of the five special tokens."""
        return frozenset(range(len(SPECIAL_TOKENS)))

    def normalize(self, text: str) -> str:
        """The text as this tokenizer sees it: :func:`normalize_text` in the alphabet's letter case."""
        return normalize_text(text, self.case)

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text; a space is shown as ``▁``, an unknown character as ``<unk>``."""
        return [self.tokens[token] for token in self.encode(text)]

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Ids of the tokens of a text; no special token is added, an unknown character becomes ``unk_id``."""

    def decode(self, ids: Iterable[SupportsInt]) -> str:
        """The text of token ids (a list or a 1-d tensor).

        Special tokens are left out, ``▁`` becomes a space again, and there is none at either end.
        """
        kept = [token for token in map(int, ids) if token not in self.special_ids]
        return "".join(self.id_to_token(token) for token in kept).replace(SPACE, " ").strip()

    def id_to_token(self, token: int) -> str:
        """The text of one token."""
        if not 0 <= token < self.vocab_size:
            raise TextError(f"token id {token} is outside the vocabulary, 0 to {self.vocab_size - 1}")
        return self.tokens[token]

    def unknown_characters(self, texts: Iterable[str]) -> Counter[str]:
        """Characters of the texts that the vocabulary lacks, and how often each occurs."""
        counts = Counter(character for text in texts for character in self.normalize(text))
        return Counter({character: n for character, n in counts.items() if character not in self.characters})

    @abstractmethod
    def save(self, folder: str | Path) -> None:
        """Write the tokenizer into a folder; :func:`load_tokenizer` reads it back."""


class CharTokenizer(Tokenizer):
    """One token per character; the alphabet is whatever the training text uses, so any language works."""

    FILE = "tokenizer.json"

    def __init__(self, alphabet: Iterable[str]) -> None:
        """Args: alphabet: the characters, a space among them or not; the order gives the ids."""
        letters = [SPACE, *(character for character in alphabet if character not in (" ", SPACE))]
        repeated = [character for character, n in Counter(letters).items() if n > 1 or len(character) != 1]
        if repeated:
            raise TextError(f"an alphabet holds single characters, each once; these do not fit: {repeated}")
        super().__init__([*SPECIAL_TOKENS, *letters])
        self._ids = {character: token for token, character in enumerate(self.tokens) if len(character) == 1}
        self._ids[" "] = self._ids[SPACE]

    @classmethod
    def train(cls, texts: Iterable[str]) -> CharTokenizer:
        """A tokenizer for the characters of the normalised texts, in the order of their code points.

        Raises:
            TextError: the texts hold no characters.
        """
        alphabet = sorted({character for text in texts for character in normalize_text(text)} - {" "})
        if not alphabet:
            raise TextError("cannot build a vocabulary: the training texts hold no characters")
        return cls(alphabet)

    def encode(self, text: str) -> list[int]:
        """Ids of the characters of a text, in the form that :meth:`normalize` gives it.

        No special token is added; an unknown character becomes ``unk_id``.
        """
        return [self._ids.get(character, self.unk_id) for character in self.normalize(text)]

    def save(self, folder: str | Path) -> None:
        """Write ``tokenizer.json``."""
        content = {"kind": "char", "tokens": self.tokens}
        text = json.dumps(content, ensure_ascii=False, indent=1)
        Path(folder, self.FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> CharTokenizer:
        """Read what :meth:`save` wrote."""
        try:
            tokens = json.loads(path.read_text(encoding="utf-8"))["tokens"]
            tokenizer = cls(tokens[len(SPECIAL_TOKENS) :])
        except (ValueError, KeyError, TypeError) as error:
            raise TextError(f"{path} is no character vocabulary: {error!r}") from error
        if tokenizer.tokens != tokens:
            raise TextError(f"{path}: a vocabulary begins with {' '.join(SPECIAL_TOKENS)} {SPACE}, not {tokens[:6]}")
        return tokenizer


class SentencePieceTokenizer(Tokenizer):
    """Sub-word pieces learnt by SentencePiece."""

    FILE = "tokenizer.model"

    def __init__(self, model: bytes) -> None:
        """Args: model: a serialised SentencePiece model, as :meth:`train` makes it."""
        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        super().__init__([self._processor.id_to_piece(token) for token in range(len(self._processor))])

    @classmethod
    def train(cls, texts: Iterable[str], kind: Literal["bpe", "unigram"], vocab_size: int) -> SentencePieceTokenizer:
        """Learn ``vocab_size`` pieces (special tokens included) from texts.

        Raises:
            TextError: the texts do not have as many pieces, or have more characters than that; the message gives the
                nearest size that is possible.
        """
        lines = [line for line in map(normalize_text, texts) if line]
        if not lines:
            raise TextError("cannot build a vocabulary: the training texts hold no characters")
        blank, sos, eos, unk, pad = SPECIAL_TOKENS
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=model,
                model_type=kind,
                vocab_size=vocab_size,
                # Every character of the training text gets a piece: 1 - coverage would become <unk>.
                character_coverage=1.0,
                normalization_rule_name="identity",
                # A control symbol is never matched in text, unlike a user-defined one; it takes the first free id.
                control_symbols=[blank],
                bos_id=cls.sos_id,
                eos_id=cls.eos_id,
                unk_id=cls.unk_id,
                pad_id=cls.pad_id,
                bos_piece=sos,
                eos_piece=eos,
                unk_piece=unk,
                pad_piece=pad,
                # Longer lines would be left out without a word.
                max_sentence_length=1 << 20,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise _explain(error, kind, vocab_size, lines) from error
        return cls(model.getvalue())

    def encode(self, text: str) -> list[int]:
        """Ids of the pieces of a text; no special token is added, unknown characters become ``unk_id``."""
        return self._processor.encode(self.normalize(text))

    def save(self, folder: str | Path) -> None:
        """Write ``tokenizer.model``, a SentencePiece model."""
        Path(folder, self.FILE).write_bytes(self._model)

    @classmethod
    def load(cls, path: Path) -> SentencePieceTokenizer:
        """Read what :meth:`save` wrote."""
        try:
            return cls(path.read_bytes())
        except RuntimeError as error:
            raise TextError(f"{path} is no SentencePiece model: {error}") from error

    def __getstate__(self) -> bytes:
        return self._model

    def __setstate__(self, model: bytes) -> None:
        self.__init__(model)  # type: ignore[misc]


def _explain(error: RuntimeError, kind: str, vocab_size: int, lines: Sequence[str]) -> TextError:
    """SentencePiece's message as one that names the size that would do."""
    largest = re.search(r"<= (\d+)\.", str(error))
    if largest:
        return TextError(
            f"tokenizer.vocab_size {vocab_size} is too large for {len(lines)} lines of training text: "
            f"{kind} finds {largest.group(1)} pieces at most; give {largest.group(1)} or less"
        )
    smallest = re.search(r"\d+ vs (\d+)", str(error))
    if smallest:
        return TextError(
            f"tokenizer.vocab_size {vocab_size} is too small: the special tokens and the characters of the training "
            f"text are {smallest.group(1)} pieces already; give {smallest.group(1)} or more"
        )
    return TextError(f"SentencePiece cannot learn {vocab_size} {kind} pieces from {len(lines)} lines: {error}")


def train_tokenizer(config: TokenizerConfig, texts: Iterable[str]) -> Tokenizer:
    """The tokenizer that a configuration asks for: one that exists, or one that is learnt from the training texts.

    Raises:
        TextError: texts without characters, a vocabulary size that they do not allow, or no tokenizer in the folder.
    """
    if config.folder:
        return load_tokenizer(config.folder)
    if config.kind == "char":
        return CharTokenizer.train(texts)
    return SentencePieceTokenizer.train(texts, config.kind, config.vocab_size)


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Read the tokenizer that was saved in a folder, or in the best checkpoint of a run folder.

    Raises:
        TextError: no tokenizer there, or one that cannot be read.
    """
    folder = Path(folder)
    for place in (folder, folder / "checkpoints" / "best"):
        for kind in (CharTokenizer, SentencePieceTokenizer):
            if (place / kind.FILE).is_file():
                return kind.load(place / kind.FILE)
    raise TextError(f"no tokenizer in {folder}: expected {CharTokenizer.FILE} or {SentencePieceTokenizer.FILE}")
