# %% mutant order_of_appearance
# The characters stand in the order in which the texts bring them. Read the corpus in another order, or with one
# utterance more, and every id means another letter: old checkpoints write nonsense.
class CharTokenizer:
    @classmethod
    def train(cls, texts: Iterable[str]) -> CharTokenizer:
        alphabet = dict.fromkeys(character for text in texts for character in normalize_text(text))
        return cls(character for character in alphabet if character != " ")


# %% rewritten order_of_appearance
class CharTokenizer:
    @classmethod
    def train(cls, texts: Iterable[str]) -> CharTokenizer:
        alphabet = ""
        for text in texts:
            for character in normalize_text(text):
                if character not in alphabet and character != " ":
                    alphabet += character
        return cls(alphabet)


# %% mutant raw_characters
# The texts are not normalised. A tab or a line end becomes a letter of the alphabet, and an accented letter may become
# two, so that the same word is spelt with different tokens.
class CharTokenizer:
    @classmethod
    def train(cls, texts: Iterable[str]) -> CharTokenizer:
        return cls(sorted(set("".join(texts)) - {" "}))


# %% rewritten raw_characters
class CharTokenizer:
    @classmethod
    def train(cls, texts: Iterable[str]) -> CharTokenizer:
        seen = Counter()
        for text in texts:
            seen.update(text)
        del seen[" "]
        return cls(sorted(seen))


# %% mutant most_frequent_first
# The characters stand in the order of how often they occur. Ties and small changes of the corpus then swap ids; sorting
# by code point depends on nothing but the set of characters.
class CharTokenizer:
    @classmethod
    def train(cls, texts: Iterable[str]) -> CharTokenizer:
        counts = Counter(character for text in texts for character in normalize_text(text) if character != " ")
        return cls(character for character, _ in counts.most_common())


# %% rewritten most_frequent_first
class CharTokenizer:
    @classmethod
    def train(cls, texts: Iterable[str]) -> CharTokenizer:
        everything = " ".join(map(normalize_text, texts)).replace(" ", "")
        return cls(sorted(dict.fromkeys(everything), key=everything.count, reverse=True))
