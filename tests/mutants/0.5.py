# %% mutant spaces_lost
# Spaces get no token, so that all words run together. A recogniser trained on such targets can never write two words,
# and its word error rate is near 100 % however well it hears.
class CharTokenizer:
    def encode(self, text: str) -> list[int]:
        return [self._ids.get(character, self.unk_id) for character in self.normalize(text) if character != " "]


class Tokenizer:
    def decode(self, ids: Iterable[SupportsInt]) -> str:
        kept = [int(token) for token in ids if int(token) not in self.special_ids]
        return "".join(self.tokens[token] for token in kept).replace(SPACE, " ").strip()


# %% rewritten spaces_lost
class CharTokenizer:
    def encode(self, text: str) -> list[int]:
        ids = []
        for word in self.normalize(text).split():
            for character in word:
                ids.append(self.tokens.index(character) if character in self.tokens else self.unk_id)
        return ids


class Tokenizer:
    def decode(self, ids: Iterable[SupportsInt]) -> str:
        text = ""
        for token in ids:
            if int(token) >= len(SPECIAL_TOKENS):
                text += self.id_to_token(int(token))
        return " ".join(text.replace(SPACE, " ").split())


# %% mutant unknown_dropped
# A character that the alphabet lacks vanishes without a trace. The text of the target no longer has the length of what
# was said, and nobody learns that the corpus holds characters which the model cannot write.
class CharTokenizer:
    def encode(self, text: str) -> list[int]:
        return [self._ids[character] for character in self.normalize(text) if character in self._ids]


class Tokenizer:
    def decode(self, ids: Iterable[SupportsInt]) -> str:
        kept = [int(token) for token in ids if int(token) not in self.special_ids]
        return "".join(self.tokens[token] for token in kept).replace(SPACE, " ").strip()


# %% rewritten unknown_dropped
class CharTokenizer:
    def encode(self, text: str) -> list[int]:
        ids = []
        for character in self.normalize(text):
            try:
                ids.append(self._ids[character])
            except KeyError:
                continue
        return ids


class Tokenizer:
    def decode(self, ids: Iterable[SupportsInt]) -> str:
        text = ""
        for token in ids:
            if int(token) >= len(SPECIAL_TOKENS):
                text += self.id_to_token(int(token))
        return " ".join(text.replace(SPACE, " ").split())


# %% mutant specials_decoded
# Special tokens come out as text, <eos> and all. They steer the model and were not spoken; each one left in the
# transcript counts as wrong characters and glues itself to the last word.
class CharTokenizer:
    def encode(self, text: str) -> list[int]:
        return [self._ids.get(character, self.unk_id) for character in self.normalize(text)]


class Tokenizer:
    def decode(self, ids: Iterable[SupportsInt]) -> str:
        return "".join(self.tokens[int(token)] for token in ids).replace(SPACE, " ").strip()


# %% rewritten specials_decoded
class CharTokenizer:
    def encode(self, text: str) -> list[int]:
        known = {character: i for i, character in enumerate(self.tokens)}
        return [known.get(SPACE if character == " " else character, self.unk_id) for character in self.normalize(text)]


class Tokenizer:
    def decode(self, ids: Iterable[SupportsInt]) -> str:
        text = ""
        for token in ids:
            text += self.id_to_token(int(token))
        return " ".join(text.replace(SPACE, " ").split())


# %% mutant space_mark_left
# The mark that stands for a space, ▁, stays in the text. It looks like an underscore on the screen, and a word error
# rate sees one long word instead of a sentence.
class CharTokenizer:
    def encode(self, text: str) -> list[int]:
        return [self._ids.get(character, self.unk_id) for character in self.normalize(text)]


class Tokenizer:
    def decode(self, ids: Iterable[SupportsInt]) -> str:
        kept = [int(token) for token in ids if int(token) not in self.special_ids]
        return "".join(self.tokens[token] for token in kept)


# %% rewritten space_mark_left
class CharTokenizer:
    def encode(self, text: str) -> list[int]:
        known = {character: i for i, character in enumerate(self.tokens)}
        return [known.get(SPACE if character == " " else character, self.unk_id) for character in self.normalize(text)]


class Tokenizer:
    def decode(self, ids: Iterable[SupportsInt]) -> str:
        text = ""
        for token in ids:
            if int(token) >= len(SPECIAL_TOKENS):
                text += self.id_to_token(int(token))
        return text


# %% mutant eos_added
# The end of the sentence is put behind the characters. That is a good idea for the decoder's targets and fatal for CTC,
# whose targets hold spoken characters only: each user of the tokenizer adds what it needs.
class CharTokenizer:
    def encode(self, text: str) -> list[int]:
        return [self._ids.get(character, self.unk_id) for character in self.normalize(text)] + [self.eos_id]


class Tokenizer:
    def decode(self, ids: Iterable[SupportsInt]) -> str:
        kept = [int(token) for token in ids if int(token) not in self.special_ids]
        return "".join(self.tokens[token] for token in kept).replace(SPACE, " ").strip()


# %% rewritten eos_added
class CharTokenizer:
    def encode(self, text: str) -> list[int]:
        ids = []
        for character in self.normalize(text):
            ids.append(self.tokens.index(character) if character in self.tokens else self._ids.get(character, self.unk_id))
        ids.append(self.eos_id)
        return ids


class Tokenizer:
    def decode(self, ids: Iterable[SupportsInt]) -> str:
        text = ""
        for token in ids:
            if int(token) >= len(SPECIAL_TOKENS):
                text += self.id_to_token(int(token))
        return " ".join(text.replace(SPACE, " ").split())


# %% mutant not_normalised
# The text is taken as it stands. A lower-case letter in a transcript becomes an unknown character although the alphabet
# has the letter, and a line end or a double space becomes a token of its own.
class CharTokenizer:
    def encode(self, text: str) -> list[int]:
        return [self._ids.get(character, self.unk_id) for character in text]


class Tokenizer:
    def decode(self, ids: Iterable[SupportsInt]) -> str:
        kept = [int(token) for token in ids if int(token) not in self.special_ids]
        return "".join(self.tokens[token] for token in kept).replace(SPACE, " ").strip()


# %% rewritten not_normalised
class CharTokenizer:
    def encode(self, text: str) -> list[int]:
        known = {character: i for i, character in enumerate(self.tokens)}
        return [known.get(SPACE if character == " " else character, self.unk_id) for character in text]


class Tokenizer:
    def decode(self, ids: Iterable[SupportsInt]) -> str:
        text = ""
        for token in ids:
            if int(token) >= len(SPECIAL_TOKENS):
                text += self.id_to_token(int(token))
        return " ".join(text.replace(SPACE, " ").split())
