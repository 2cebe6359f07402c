"""Tokenizers: special ids, round trips, unknown characters and impossible sizes."""

import itertools
import json
import pickle
import random

import pytest
import torch

from asr_tutorial.config import TokenizerConfig
from asr_tutorial.corpus import read_corpus
from asr_tutorial.errors import TextError
from asr_tutorial.tokenizer import (
    SPECIAL_TOKENS,
    CharTokenizer,
    SentencePieceTokenizer,
    load_tokenizer,
    normalize_text,
    train_tokenizer,
)

SYLLABLES = ["BA", "DO", "KEN", "LIM", "PRO", "SA", "TU", "VER", "'S"]


def make_texts(count: int = 400) -> list[str]:
    rng = random.Random(1)
    words = ["".join(parts) for parts in itertools.product(SYLLABLES, SYLLABLES)]
    return [" ".join(rng.choices(words, k=rng.randint(1, 8))) for _ in range(count)]


TEXTS = make_texts()


@pytest.fixture(scope="module", params=["char", "bpe", "unigram"])
def tokenizer(request):
    return train_tokenizer(TokenizerConfig(kind=request.param, vocab_size=60), TEXTS)


def test_special_tokens_have_ids_of_their_own(tokenizer):
    ids = [tokenizer.blank_id, tokenizer.sos_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.pad_id]
    assert len(set(ids)) == 5
    assert tuple(tokenizer.id_to_token(token) for token in ids) == SPECIAL_TOKENS
    assert len(tokenizer.tokens) == tokenizer.vocab_size


def test_round_trip(tokenizer):
    for text in TEXTS[:100]:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert not tokenizer.special_ids & set(ids)
        assert "".join(tokenizer.tokenize(text)).replace("▁", " ").strip() == text
        assert tokenizer.tokenize(text) == [tokenizer.id_to_token(token) for token in ids]


@pytest.mark.parametrize("text", ["<blank>", "BA <sos> DO <eos>", "<pad><unk>"])
def test_special_tokens_never_come_out_of_text(tokenizer, text):
    ids = tokenizer.encode(text)
    assert not {tokenizer.blank_id, tokenizer.sos_id, tokenizer.eos_id, tokenizer.pad_id} & set(ids)
    assert tokenizer.unk_id in ids


def test_decode_leaves_out_special_tokens(tokenizer):
    ids = [tokenizer.sos_id, tokenizer.blank_id, *tokenizer.encode("BADO KEN"), tokenizer.unk_id, tokenizer.eos_id]
    ids.append(tokenizer.pad_id)
    assert tokenizer.decode(ids) == "BADO KEN"
    assert tokenizer.decode(torch.tensor(ids)) == "BADO KEN"
    assert tokenizer.decode([]) == ""


def test_text_is_normalised(tokenizer):
    assert tokenizer.case == "upper"
    assert tokenizer.encode("  bado\tken\n") == tokenizer.encode("BADO KEN")
    assert tokenizer.encode("BADO▁KEN") == tokenizer.encode("BADO KEN")
    assert tokenizer.encode("") == tokenizer.encode("  ") == []


def test_unknown_characters_are_counted(tokenizer):
    assert tokenizer.unknown_characters(["BADO, KEN! 7,", "lim"]) == {",": 2, "!": 1, "7": 1}
    assert tokenizer.unknown_characters(TEXTS) == {}
    assert tokenizer.encode("BA7DO").count(tokenizer.unk_id) == 1


@pytest.mark.parametrize("token", [-1, 60, 10_000])
def test_ids_outside_the_vocabulary(tokenizer, token):
    if token < 0 or token >= tokenizer.vocab_size:
        with pytest.raises(TextError, match=f"{token} is outside the vocabulary, 0 to {tokenizer.vocab_size - 1}"):
            tokenizer.id_to_token(token)


def test_save_and_load(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert type(again) is type(tokenizer)
    assert again.tokens == tokenizer.tokens
    assert all(again.encode(text) == tokenizer.encode(text) for text in TEXTS[:50])
    copied = pickle.loads(pickle.dumps(tokenizer))  # as worker processes get it
    assert copied.encode(TEXTS[0]) == tokenizer.encode(TEXTS[0])


@pytest.mark.parametrize("kind", ["char", "bpe", "unigram"])
def test_training_is_reproducible(kind):
    config = TokenizerConfig(kind=kind, vocab_size=60)
    assert train_tokenizer(config, TEXTS).tokens == train_tokenizer(config, TEXTS).tokens


def test_characters_of_any_language():
    texts = ["Καλημέρα κόσμε", "こんにちは 世界", "cafe\u0301 déjà"]
    tokenizer = CharTokenizer.train(texts)
    assert tokenizer.case is None
    assert tokenizer.decode(tokenizer.encode(texts[0])) == texts[0]
    assert tokenizer.decode(tokenizer.encode(texts[1])) == texts[1]
    # e followed by a combining accent is the single character é.
    assert tokenizer.encode("cafe\u0301") == tokenizer.encode("café")
    assert tokenizer.unknown_characters(["cafe\u0301"]) == {}


@pytest.mark.parametrize(
    ("alphabet", "case", "text", "shown"),
    [
        ("ABC'", "upper", "abc'", "ABC'"),
        ("abc", "lower", "ABC", "abc"),
        ("aB", None, "aB", "aB"),
        ("世界", None, "世界", "世界"),
        ("ÀÉ", "upper", "àé", "ÀÉ"),
    ],
)
def test_letter_case_follows_the_alphabet(alphabet, case, text, shown):
    tokenizer = CharTokenizer(alphabet)
    assert tokenizer.case == case
    assert tokenizer.decode(tokenizer.encode(text)) == shown


def test_char_tokens_are_in_order():
    tokenizer = CharTokenizer.train(["HAT", "A CAT"])
    assert tokenizer.tokens == [*SPECIAL_TOKENS, "▁", "A", "C", "H", "T"]
    assert tokenizer.tokenize("A CAT") == ["A", "▁", "C", "A", "T"]
    assert tokenizer.tokenize("A?T") == ["A", "<unk>", "T"]


@pytest.mark.parametrize("alphabet", [["A", "A"], ["AB"], [""]])
def test_impossible_alphabet(alphabet):
    with pytest.raises(TextError, match="single characters, each once"):
        CharTokenizer(alphabet)


@pytest.mark.parametrize("kind", ["char", "bpe", "unigram"])
@pytest.mark.parametrize("texts", [[], ["", "  "]])
def test_no_text_to_learn_from(kind, texts):
    with pytest.raises(TextError, match="no characters"):
        train_tokenizer(TokenizerConfig(kind=kind), texts)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_size_too_large_names_one_that_works(kind):
    with pytest.raises(TextError, match=r"tokenizer\.vocab_size 5000 is too large") as error:
        SentencePieceTokenizer.train(TEXTS, kind, 5000)
    largest = int(str(error.value).split()[-3])
    assert 60 <= SentencePieceTokenizer.train(TEXTS, kind, largest).vocab_size == largest < 5000


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_size_too_small_names_one_that_works(kind):
    with pytest.raises(TextError, match=r"tokenizer\.vocab_size 10 is too small") as error:
        SentencePieceTokenizer.train(TEXTS, kind, 10)
    smallest = int(str(error.value).split()[-3])
    assert SentencePieceTokenizer.train(TEXTS, kind, smallest).vocab_size == smallest


def test_long_lines_are_not_left_out():
    line = " ".join(TEXTS) + " QXZ"  # longer than SentencePiece's own limit
    assert SentencePieceTokenizer.train([line, *TEXTS], "bpe", 60).unknown_characters(["QXZ"]) == {}


def test_saved_characters_are_readable(tmp_path):
    CharTokenizer("AÉ").save(tmp_path)
    assert json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))["tokens"][-1] == "É"
    assert "É" in (tmp_path / "tokenizer.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", "{", "no character vocabulary"),
        ("tokenizer.json", "[]", "no character vocabulary"),
        ("tokenizer.json", '{"tokens": ["<pad>", "A"]}', "begins with <blank>"),
        ("tokenizer.model", "nonsense", "no SentencePiece model"),
        ("other.json", "{}", "no tokenizer in"),
    ],
)
def test_unreadable_tokenizer(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(TextError, match=message):
        load_tokenizer(tmp_path)


def test_foreign_sentencepiece_model(tmp_path):
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, model_type="bpe", vocab_size=60, minloglevel=2
    )
    (tmp_path / "tokenizer.model").write_bytes(model.getvalue())
    with pytest.raises(TextError, match="must begin with <blank> <sos>"):
        load_tokenizer(tmp_path)


def test_normalize_text():
    assert normalize_text("  a \t\n b  ") == "a b"
    assert normalize_text("straße", "upper") == "STRASSE"


@pytest.mark.slow
@pytest.mark.parametrize("size", [300, 1000, 5000, 10_000])
def test_sizes_on_real_text(real_data, size):
    texts = read_corpus("train-clean-5", root=real_data).texts
    tokenizer = SentencePieceTokenizer.train(texts, "bpe", size)
    assert tokenizer.vocab_size == size
    assert all(tokenizer.decode(tokenizer.encode(text)) == text for text in texts[:200])
