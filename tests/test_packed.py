"""n-gram models in their folder: what comes back, how small it is, and what is said of damaged files."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from asr_tutorial.corpus import read_corpus
from asr_tutorial.errors import CheckpointError
from asr_tutorial.language_model import NGram, load_language_model, pruned, read_arpa, save_ngram, spelled
from asr_tutorial.language_model.ngram import EOS, NEVER
from asr_tutorial.language_model.packed import LETTERS, WORDS
from asr_tutorial.tokenizer import CharTokenizer

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [utterance.text or "" for utterance in read_corpus("tinyspeech/train")][:400]


@pytest.fixture(scope="module")
def model(texts: list[str]) -> NGram:
    return NGram.train(texts, 3)


@pytest.fixture
def folder(model: NGram, tmp_path: Path) -> Path:
    save_ngram(tmp_path / "lm", model, {"text": ["tinyspeech/train"]})
    return tmp_path / "lm"


def load(folder: Path) -> NGram:
    loaded = load_language_model(folder).model
    assert isinstance(loaded, NGram)
    return loaded


@pytest.mark.parametrize(("order", "threshold"), [(1, 0.0), (2, 0.0), (3, 0.0), (3, 1e-4), (3, 1.0), (4, 1e-4)])
def test_there_and_back(texts: list[str], tmp_path: Path, order: int, threshold: float) -> None:
    model = pruned(NGram.train(texts, order), threshold)
    save_ngram(tmp_path / "lm", model)
    back = load(tmp_path / "lm")
    assert back.spelling is not None
    assert model.spelling is not None
    for ours, theirs in ((model, back), (model.spelling, back.spelling)):
        assert theirs.words == ours.words
        assert theirs.order == ours.order
        for table, other in zip(ours.tables, theirs.tables, strict=True):
            np.testing.assert_array_equal(other.keys, table.keys)
            np.testing.assert_allclose(other.log_prob, table.log_prob, rtol=2**-11)
            np.testing.assert_allclose(other.backoff, table.backoff, rtol=2**-11, atol=1e-6)
            assert other.log_prob.dtype == other.backoff.dtype == np.float32


def test_probabilities_still_sum_to_one(texts: list[str], folder: Path) -> None:
    back = load(folder)
    for history in [(), ("THE",), *(tuple(text.split()[:length]) for text in texts[:20] for length in (1, 2, 3))]:
        assert back.distribution(history).sum() == pytest.approx(1, abs=1e-2)
    assert np.isfinite(back.tables[0].log_prob).all()
    assert back.tables[0].log_prob.min() == NEVER, "<s> never follows anything"


def test_a_search_can_ask_it(texts: list[str], folder: Path, model: NGram) -> None:
    tokenizer = CharTokenizer("ABCDEFGHIJKLMNOPQRSTUVWXYZ'")
    prefixes = [tuple(tokenizer.encode(text)) for text in (texts[0], "THE X", "")]
    ours, theirs = (spelled(each, tokenizer)(prefixes) for each in (model, load(folder)))
    np.testing.assert_allclose(np.exp(theirs), np.exp(ours), atol=5e-3)


def test_it_is_small(model: NGram, folder: Path, tmp_path: Path) -> None:
    """A 3-gram is a word and a probability, 2 bytes each; a 2-gram has two more numbers if 3-grams begin with it."""
    save_ngram(tmp_path / "alone", NGram(model.words, model.tables))
    size = (tmp_path / "alone" / WEIGHTS).stat().st_size
    one, two, three = (len(table.keys) for table in model.tables)
    histories = len(set((model.tables[2].keys // one).tolist()))
    names = 900
    assert size < names + 4 * three + (4 + 1 / 8) * two + 4 * histories + 7 * one
    assert size < 5 * three + 8 * two + 7 * one
    assert sorted(path.name for path in (tmp_path / "alone").iterdir()) == ["config.yaml", WEIGHTS, WORDS]
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", LETTERS, WEIGHTS, WORDS]


def test_more_words_than_two_bytes_can_number(tmp_path: Path) -> None:
    model = NGram.train([f"W{number} W{number + 1}" for number in range(66_000)], 2, spelling=False)
    save_ngram(tmp_path / "lm", model)
    np.testing.assert_array_equal(load(tmp_path / "lm").tables[1].keys, model.tables[1].keys)


def test_what_an_arpa_file_calls_impossible_stays_finite(tmp_path: Path) -> None:
    (tmp_path / "lm.arpa").write_text("\\data\\\nngram 1=3\n\n\\1-grams:\n-inf\t<s>\n-1e9\tA\n-0.1\t</s>\n\n\\end\\\n")
    save_ngram(tmp_path / "lm", read_arpa(tmp_path / "lm.arpa"))
    assert load(tmp_path / "lm").score((), "A") == NEVER
    assert load(tmp_path / "lm").score((), EOS) == pytest.approx(-0.2303, abs=1e-3)


@pytest.mark.parametrize("name", [WEIGHTS, WORDS, LETTERS])
def test_files_that_are_cut_short_or_missing(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) - 12])
    with pytest.raises(CheckpointError, match=f"{name} is .*corrupt or cut short .*: copy .* again or"):
        load(folder)
    (folder / name).write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match=f"{name} is .*corrupt"):
        load(folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load(folder)


def test_files_that_do_not_belong_together(folder: Path) -> None:
    text = gzip.decompress((folder / WORDS).read_bytes()).decode()
    for other in (text.partition("\n")[2], text + "ZZZ\n", "ZZZ\n" + text.partition("\n")[2]):
        (folder / WORDS).write_bytes(gzip.compress(other.encode()))
        with pytest.raises(
            CheckpointError, match=f"{WEIGHTS} is damaged or does not belong to {WORDS} .*copy the folder"
        ):
            load(folder)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("2.word", lambda array: array[::-1].copy(), "its 2-grams are in disorder"),
        ("3.word", lambda array: array + 5000, "its 3-grams are in disorder"),
        ("3.word", lambda array: array[:-1].copy(), "broadcast"),
        ("2.followers", lambda array: array + 1, "broadcast"),
        ("2.backoff", lambda array: array[:-1].copy(), "assign"),
        ("1.log_prob", lambda array: array * np.nan, "its 1-grams have probabilities that are no numbers"),
        ("1.log_prob", lambda array: array[:-1].copy(), "its 1-grams are in disorder"),
        ("2.is_history", None, "2.is_history"),
        ("spelling.5.log_prob", lambda array: array + np.inf, f"{LETTERS}.*5-grams"),
    ],
)
def test_damaged_arrays(folder: Path, name: str, change, message: str) -> None:
    arrays = load_file(folder / WEIGHTS)
    array = arrays.pop(name)
    save_file(arrays if change is None else {**arrays, name: change(array)}, folder / WEIGHTS)
    with pytest.raises(CheckpointError, match=message):
        load(folder)
