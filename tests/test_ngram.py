"""N-gram models: Kneser-Ney against a slow version by the book, ARPA files, and words spelled out as tokens."""

import gzip
import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from asr_tutorial.corpus import read_corpus
from asr_tutorial.errors import ConfigError, TextError
from asr_tutorial.language_model import NGram, read_arpa, spelled, write_arpa
from asr_tutorial.language_model.ngram import BOS, EOS, UNK, continuation_counts, discounts, interpolate
from asr_tutorial.tokenizer import CharTokenizer, SentencePieceTokenizer

SENTENCES = ["THE CAT SAT", "THE HAT", "A CAT ATE THE THEN", "THEM THAT", "THE CAT ATE A HAT", "A CAT SAT"]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [utterance.text or "" for utterance in read_corpus("tinyspeech/train")][:300]


def by_the_book(sentences: list[str], order: int) -> tuple[dict, list[str]]:
    """Interpolated modified Kneser-Ney with dictionaries: probabilities of all words after all histories."""
    counts = [Counter() for _ in range(order + 1)]
    for sentence in sentences:
        words = [BOS, *sentence.split(), EOS]
        for n in range(1, order + 1):
            counts[n].update(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    adjusted = [Counter() for _ in range(order + 1)]
    adjusted[order] = counts[order]
    for n in range(1, order):
        for ngram in counts[n + 1]:
            adjusted[n][ngram[1:]] += 1
        for ngram, count in counts[n].items():
            if ngram[0] == BOS:
                adjusted[n][ngram] = count
    adjusted[1].pop((BOS,), None)
    adjusted[1][(BOS,)] = 0
    vocabulary = [UNK, EOS, *sorted({word for sentence in sentences for word in sentence.split()})]

    def discount(n: int, count: int) -> float:
        values = np.array(list(adjusted[n].values()))
        return float(discounts(values)[min(count, 3)])

    def prob(history: tuple, word: str) -> float:
        n = len(history) + 1
        lower = prob(history[1:], word) if history else 1 / len(vocabulary)
        followers = {g[-1]: c for g, c in adjusted[n].items() if g[:-1] == history and c}
        total = sum(followers.values())
        if not total:
            return lower
        count = followers.get(word, 0)
        weight = sum(discount(n, c) for c in followers.values()) / total
        return max(count - discount(n, count), 0) / total + weight * lower

    return prob, vocabulary


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_same_as_by_the_book(order: int) -> None:
    model = NGram.train(SENTENCES, order, (1,), spelling=False)
    prob, vocabulary = by_the_book(SENTENCES, order)
    histories = [(), ("THE",), ("THE", "CAT"), ("A", "CAT", "ATE"), ("NEVER", "SEEN"), ("CAT", "CAT")]
    for history, word in itertools.product(histories, vocabulary):
        known = [BOS, *(w if w in vocabulary else UNK for w in history)]
        expected = prob(tuple(known[-(order - 1) :]) if order > 1 else (), word)
        assert math.exp(model.score(history, word)) == pytest.approx(expected, rel=1e-5), (history, word)


def test_discounts_by_hand() -> None:
    counts = np.array([1] * 10 + [2] * 4 + [3] * 3 + [4] * 2 + [9] * 5)
    y = 10 / 18
    assert discounts(counts) == pytest.approx([0, 1 - 2 * y * 0.4, 2 - 3 * y * 0.75, 3 - 4 * y * 2 / 3])
    assert discounts(np.array([1, 1, 5])) == pytest.approx([0, 0.5, 1, 1.5])  # no 2, 3, 4 to estimate from


def test_continuation_counts_by_hand() -> None:
    # FRANCISCO (row 1) was seen nine times, but only behind one word.
    counts = continuation_counts(np.array([5, 9, 4]), np.array([0, 0, 1, 2, 2, 2]), np.array([False, False, True]))
    assert counts.tolist() == [2, 1, 4]


def test_interpolate_by_hand() -> None:
    probs, weights = interpolate(
        np.array([3, 1, 1]), np.array([0, 0, 1]), np.array([True, False, True]), np.array([0.5, 0.25, 0.1]), 3
    )
    # Too few counts for estimates: 3 loses 1.5, 1 loses 0.5. What is not kept gives away the whole of its count.
    assert weights == pytest.approx([(1.5 + 1) / 4, 0.5, 1.0])
    assert probs[[0, 2]] == pytest.approx([1.5 / 4 + 0.625 * 0.5, 0.5 + 0.5 * 0.1])


class TestModel:
    @pytest.mark.parametrize("limits", [(1, 1, 1), (1, 1, 2), (2, 2, 3)])
    def test_probabilities_sum_to_one_and_agree(self, texts: list[str], limits: tuple[int, ...]) -> None:
        model = NGram.train(texts, 3, limits)
        words = texts[0].split()
        for history in [(), tuple(words[:1]), tuple(words[:3]), ("NEVER", words[0]), (words[0], "NEVER")]:
            probs = model.distribution(history)
            assert probs.sum() == pytest.approx(1, abs=1e-6)
            for word in (words[0], EOS, "NEVER"):
                assert math.log(probs[model.row(word)]) == pytest.approx(model.score(history, word), abs=1e-5)

    def test_whole_sentences_agree_with_single_words(self, texts: list[str]) -> None:
        model = NGram.train(texts, 3)
        sentence = f"{texts[3]} NEVER {texts[4]}"
        words = [*sentence.split(), EOS]
        single = [model.score(tuple(words[:place]), word) for place, word in enumerate(words)]
        assert model.word_log_probs([texts[0], sentence])[1] == pytest.approx(single, abs=1e-5)

    def test_text_of_the_same_kind_is_less_surprising_with_longer_histories(self, texts: list[str]) -> None:
        def perplexity(order: int) -> float:
            rows = NGram.train(texts[:250], order, (1,)).word_log_probs(texts[250:])
            return math.exp(-sum(map(sum, rows)) / sum(map(len, rows)))

        assert perplexity(3) < 0.8 * perplexity(2) < 0.8 * perplexity(1)

    def test_rare_words_become_unknown(self) -> None:
        model = NGram.train(SENTENCES, 2, (2, 1))
        assert "CAT" in model
        assert model.distribution(("A",)).sum() == pytest.approx(1)
        assert "THEM" not in model
        assert model.score((), "THEM") == model.score((), "NEVER")

    def test_spelling_prefers_what_looks_like_a_word(self, texts: list[str]) -> None:
        model = NGram.train(texts, 2)
        assert model.spell("CATTER") > model.spell("XQZZKV") > -60
        assert NGram.train(texts, 2, spelling=False).spell("CATTER") == 0

    def test_what_cannot_be_trained(self) -> None:
        with pytest.raises(ConfigError, match="never falling"):
            NGram.train(SENTENCES, 3, (1, 2, 1))
        with pytest.raises(TextError, match="at least one word"):
            NGram.train(["", " "])
        with pytest.raises(TextError, match="<s> or </s>"):
            NGram.train(["A </s> B"])


class TestArpa:
    @pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz"])
    def test_there_and_back(self, texts: list[str], tmp_path: Path, name: str) -> None:
        model = NGram.train(texts, 3)
        write_arpa(model, tmp_path / name)
        back = read_arpa(tmp_path / name)
        assert back.words == model.words
        for ours, theirs in zip(model.tables, back.tables, strict=True):
            assert np.array_equal(ours.keys, theirs.keys)
            np.testing.assert_allclose(ours.log_prob, theirs.log_prob, rtol=1e-5)
            np.testing.assert_allclose(ours.backoff, theirs.backoff, rtol=1e-4, atol=1e-6)

    def test_a_file_of_another_program(self, tmp_path: Path) -> None:
        """Spaces in the place of tabs, sections in no order, no <unk>, backoff weights only where they are needed."""
        (tmp_path / "lm.arpa").write_text(
            "made by hand\n\n\\data\\\nngram 1=4\nngram 2=2\n\n\\1-grams:\n"
            "-0.5 </s>\n-99 <s> -0.2\n-0.7 B\n-1 A -0.3\n\n\\2-grams:\n-0.1 A B\n-0.4 <s> A\n\n\\end\\\n"
        )
        model = read_arpa(tmp_path / "lm.arpa")
        ten = math.log(10)
        assert model.score((), "A") == pytest.approx(-0.4 * ten)
        assert model.score(("A",), "B") == pytest.approx(-0.1 * ten)
        assert model.score(("A",), "A") == pytest.approx(-1.3 * ten)
        assert model.score(("B",), "A") == pytest.approx(-1.0 * ten)
        assert model.score((), "B") == pytest.approx(-0.9 * ten)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("nothing\n", "no ARPA file"),
            ("\\data\\\nngram 1=3\n\n\\1-grams:\n-1\tA\n", "cut short: 1 of 3"),
            ("\\data\\\nngram 1=1\n\n\\1-grams:\n-x\tA\n", "no line of 1-grams"),
            ("\\data\\\nngram 1=1\nngram 2=1\n\n\\1-grams:\n-1\tA\n\n\\2-grams:\n-1\tB A\n", "hold 'B'"),
        ],
    )
    def test_damaged_files(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "lm.arpa").write_text(text)
        with pytest.raises(TextError, match=message):
            read_arpa(tmp_path / "lm.arpa")
        with gzip.open(tmp_path / "lm.arpa.gz", "wt") as file:
            file.write(text)
        (tmp_path / "lm.arpa.gz").write_bytes((tmp_path / "lm.arpa.gz").read_bytes()[:-12])
        with pytest.raises(TextError):
            read_arpa(tmp_path / "lm.arpa.gz")


class TestSpelled:
    def total(self, lm, tokenizer, text: str) -> tuple[float, np.ndarray]:
        ids = [*tokenizer.encode(text), tokenizer.eos_id]
        rows = lm([tuple(ids[:place]) for place in range(len(ids))])
        assert rows.shape == (len(ids), tokenizer.vocab_size)
        assert rows.dtype == np.float64
        return sum(float(row[token]) for row, token in zip(rows, ids, strict=True)), np.exp(rows).sum(axis=1)

    def test_letters_of_a_text_have_the_probability_of_its_words(self, texts: list[str]) -> None:
        model = NGram.train(texts, 3)
        tokenizer = CharTokenizer("ABCDEFGHIJKLMNOPQRSTUVWXYZ'")
        lm = spelled(model, tokenizer)
        for text in texts[:5]:
            total, sums = self.total(lm, tokenizer, text)
            assert total == pytest.approx(sum(model.word_log_probs([text])[0]), abs=0.02)
            assert sums == pytest.approx(np.ones_like(sums), abs=0.01)
        unknown, sums = self.total(lm, tokenizer, f"{texts[0]} CATTER")
        assert -60 < unknown < self.total(lm, tokenizer, texts[0])[0] - 10
        assert sums == pytest.approx(np.ones_like(sums), abs=0.01)

    @pytest.mark.parametrize("kind", ["bpe", "unigram"])
    def test_pieces_have_it_too_however_they_are_cut(self, texts: list[str], kind: str) -> None:
        model = NGram.train(texts, 3)
        characters = CharTokenizer.train(texts)
        pieces = SentencePieceTokenizer.train(texts, kind, 60)
        for text in texts[:5]:
            expected, _ = self.total(spelled(model, characters), characters, text)
            assert self.total(spelled(model, pieces), pieces, text)[0] == pytest.approx(expected, abs=0.02)

    def test_the_first_letter_already_matters(self) -> None:
        model = NGram.train(["THE CAT SAT", "THE CAT ATE", "A DOG RAN"], 3, (1,))
        tokenizer = CharTokenizer("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        row = spelled(model, tokenizer)([tuple(tokenizer.encode("THE") + tokenizer.encode("▁ C")[:1])])[0]
        after = spelled(model, tokenizer)([(*tokenizer.encode("THE"), tokenizer.encode("A B")[1])])[0]
        c, d = tokenizer.encode("CD")
        assert after[c] > after[d] + 1
        assert row[c] != after[c]

    def test_a_text_ends_at_the_end_of_a_word(self) -> None:
        model = NGram.train(["THE CAT SAT"], 2, (1,))
        tokenizer = CharTokenizer("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        lm = spelled(model, tokenizer)
        space = tokenizer.encode("A B")[1]
        word, inside, gap = lm(
            [tuple(tokenizer.encode(text)) for text in ("SAT", "SA")] + [(*tokenizer.encode("SAT"), space)]
        )
        assert word[tokenizer.eos_id] > inside[tokenizer.eos_id] + 5
        assert gap[tokenizer.eos_id] == gap[space] == -100
        assert np.isfinite([word, inside, gap]).all()
        for token in (tokenizer.blank_id, tokenizer.pad_id, tokenizer.sos_id):
            assert word[token] == -100

    def test_without_a_model_of_spelling_only_known_words_can_be_said(self) -> None:
        tokenizer = CharTokenizer("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        lm = spelled(NGram.train(["THE CAT SAT"], 2, (1,), spelling=False), tokenizer)
        known, unknown = lm([tuple(tokenizer.encode(text)) for text in ("TH", "TX")])
        assert known[tokenizer.encode("E")[0]] == pytest.approx(0, abs=1e-6)
        assert (unknown == -100).all()
