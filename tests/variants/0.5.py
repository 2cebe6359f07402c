# %% loops
class CharTokenizer:
    def encode(self, text: str) -> list[int]:
        ids = []
        for character in self.normalize(text):
            if character in self._ids:
                ids.append(self._ids[character])
            else:
                ids.append(self.unk_id)
        return ids


class Tokenizer:
    def decode(self, ids: Iterable[SupportsInt]) -> str:
        text = ""
        for token in ids:
            if int(token) in self.special_ids:
                continue
            text += self.id_to_token(int(token))
        return " ".join(text.replace(SPACE, " ").split())


# %% a_dictionary_of_its_own
class CharTokenizer:
    def encode(self, text: str) -> list[int]:
        known = {token: number for number, token in enumerate(self.tokens) if len(token) == 1}
        known[" "] = known.pop(SPACE)
        return [known[character] if character in known else self.unk_id for character in self.normalize(text)]


class Tokenizer:
    def decode(self, ids: Iterable[SupportsInt]) -> str:
        shown = ["" if number in self.special_ids else token for number, token in enumerate(self.tokens)]
        return "".join(shown[int(number)] for number in ids).replace(SPACE, " ").strip(" ")
