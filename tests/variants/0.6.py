# %% update
class CharTokenizer:
    @classmethod
    def train(cls, texts: Iterable[str]) -> CharTokenizer:
        characters: set[str] = set()
        for text in texts:
            characters.update(normalize_text(text))
        characters.discard(" ")
        if not characters:
            raise TextError("cannot build a vocabulary: the training texts hold no characters")
        return cls("".join(sorted(characters)))


# %% counted
class CharTokenizer:
    @classmethod
    def train(cls, texts: Iterable[str]) -> CharTokenizer:
        counts = Counter("".join(normalize_text(text).replace(" ", "") for text in texts))
        return cls(sorted(counts, key=ord))
