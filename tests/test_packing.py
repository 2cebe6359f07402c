"""Text for language models: reading it in all its forms, and packing it into rows."""

import gzip
import lzma
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from asr_tutorial.config import TextConfig
from asr_tutorial.dataset.packing import PackedText, pack, packed_text, row_targets
from asr_tutorial.dataset.text_files import find_text, read_text, spoken_form, wikitext_sentences
from asr_tutorial.errors import TextError
from asr_tutorial.tokenizer import CharTokenizer

SOS, EOS, PAD = 1, 2, 4
TOKENIZER = CharTokenizer("ABCDEFGHIJKLMNOPQRSTUVWXYZ'")
WIKITEXT = """
 = Robert <unk> =

 = = Career = =

 Robert is a well @-@ known actor . He earned $ 1 @,@ 500 @.@ 50 in <unk> ! Was it much ?
"""


class TestReading:
    @pytest.mark.parametrize(("suffix", "opener"), [("", open), (".gz", gzip.open), (".xz", lzma.open)])
    def test_plain_text(self, tmp_path: Path, suffix: str, opener) -> None:
        path = tmp_path / f"text.txt{suffix}"
        with opener(path, "wt", encoding="utf-8") as file:
            file.write("ONE TWO\n\n THREE \n")
        assert list(read_text(path)) == ["ONE TWO", "THREE"]
        assert list(read_text("text.txt" + suffix, root=tmp_path)) == ["ONE TWO", "THREE"]

    def test_wikitext(self, tmp_path: Path) -> None:
        expected = [
            "Robert is a well-known actor .",
            "He earned $ 1,500.50 in <unk> !",
            "Was it much ?",
        ]
        assert list(wikitext_sentences(WIKITEXT.splitlines())) == expected
        path = tmp_path / "wikitext-2" / "wiki.train.tokens"
        path.parent.mkdir()
        path.write_text(WIKITEXT)
        assert list(read_text(path)) == expected
        with zipfile.ZipFile(tmp_path / "wikitext-2-v1.zip", "w") as archive:
            archive.write(path, "wikitext-2/wiki.train.tokens")
            archive.writestr("plain.txt", "ONE\n\nTWO\n")
        inside = tmp_path / "wikitext-2-v1.zip"
        assert list(read_text(inside / "wikitext-2" / "wiki.train.tokens")) == expected
        assert list(read_text(inside / "plain.txt")) == ["ONE", "TWO"]
        assert list(read_text(path, form="spoken")) == ["ROBERT IS A WELL KNOWN ACTOR", "WAS IT MUCH"]
        with pytest.raises(TextError, match=r"give one of wikitext-2/wiki\.train\.tokens"):
            list(read_text(inside / "other.txt"))

    def test_transcripts_of_a_corpus(self) -> None:
        texts = list(read_text("tinyspeech/dev"))
        assert len(texts) > 20
        assert all(text.isupper() for text in texts)

    def test_a_missing_text_names_the_places(self, tmp_path: Path) -> None:
        with pytest.raises(TextError, match=r"no text 'nothing\.txt'; looked for"):
            find_text("nothing.txt", tmp_path)

    @pytest.mark.parametrize(
        ("written", "spoken"),
        [
            ("The café's “open” - isn't it?", "THE CAFE'S OPEN ISN'T IT"),
            ("He did n't say 's or don 't", "HE DID N'T SAY'S OR DON'T"),
            ("It cost 5 pounds", ""),
            ("an <unk> word", ""),
        ],
    )
    def test_spoken_form(self, written: str, spoken: str) -> None:
        assert spoken_form(written) == spoken


class TestPacking:
    def test_by_hand(self) -> None:
        sentences = [[5, 6], [7], [8, 9, 10], [11]]
        rows = list(pack(sentences, 8, SOS, EOS))
        assert rows == [[SOS, 5, 6, EOS, SOS, 7, EOS], [SOS, 8, 9, 10, EOS, SOS, 11, EOS]]

    def test_a_long_sentence_is_cut_and_does_not_end(self) -> None:
        assert list(pack([[5, 6, 7, 8, 9]], 4, SOS, EOS)) == [[SOS, 5, 6, 7]]
        assert list(pack([[5, 6]], 4, SOS, EOS)) == [[SOS, 5, 6, EOS]]

    def test_more_open_rows_are_fuller_and_lose_nothing(self) -> None:
        rng = np.random.default_rng(0)
        sentences = [rng.integers(5, 30, rng.integers(1, 40)).tolist() for _ in range(300)]
        packed = {n: list(pack(sentences, 64, SOS, EOS, n)) for n in (1, 16)}
        assert len(packed[16]) < len(packed[1])
        for rows in packed.values():
            assert all(len(row) <= 64 and row[0] == SOS and row[-1] == EOS for row in rows)
            found: list[list[int]] = []
            for token in (token for row in rows for token in row):
                if token == SOS:
                    found.append([])
                elif token != EOS:
                    found[-1].append(token)
            assert sorted(found) == sorted(sentences)

    def test_targets_by_hand(self) -> None:
        rows = torch.tensor([[SOS, 5, EOS, SOS, 6, 7, EOS, PAD, PAD]])
        tokens_in, targets, sentences = row_targets(rows, SOS, PAD)
        assert tokens_in.tolist() == [[SOS, 5, EOS, SOS, 6, 7, EOS, PAD]]
        assert targets.tolist() == [[5, EOS, PAD, 6, 7, EOS, PAD, PAD]]
        assert sentences.tolist() == [[1, 1, 1, 2, 2, 2, 2, 2]]

    def test_rows_of_text(self, tmp_path: Path) -> None:
        texts = ["THE CAT", "A DOG RAN", "", "X" * 40]
        packed = PackedText.of(texts, TOKENIZER, context=16, file=tmp_path / "rows.npy")
        assert isinstance(packed.rows, np.memmap)
        assert packed.rows.dtype == np.uint16
        assert (packed.sentences, packed.cut) == (3, 1)
        assert packed.tokens == 8 + 10 + 16
        assert len(packed) == 3
        _, targets, _ = packed.batch(range(len(packed)))
        assert int((targets != PAD).sum()) == packed.tokens
        assert np.array_equal(packed.rows, PackedText.of(texts, TOKENIZER, context=16).rows)

    def test_epochs_depend_on_the_seed_and_their_number(self) -> None:
        packed = PackedText.of(["ABC"] * 50, TOKENIZER, context=8)
        first, again, second = (packed.epoch(8, 1, epoch) for epoch in (0, 0, 1))
        assert len(first) == len(packed) // 8
        assert np.array_equal(first, again)
        assert not np.array_equal(first, second)
        assert len(np.unique(first)) == first[0].size * len(first)

    def test_the_cache_follows_text_and_settings(self, tmp_path: Path) -> None:
        text = tmp_path / "text.txt"
        text.write_text("ONE TWO THREE\nFOUR\n")
        config = TextConfig(train=[str(text)], context=16, cache=str(tmp_path / "cache"))
        made = packed_text(config, config.train, TOKENIZER)
        found = packed_text(config, config.train, TOKENIZER)
        assert np.array_equal(made.rows, found.rows)
        assert (made.tokens, made.sentences) == (found.tokens, found.sentences) == (19, 2)
        text.write_text("ONE TWO THREE FOUR FIVE\n")
        assert packed_text(config, config.train, TOKENIZER).sentences == 1
        assert len(list((tmp_path / "cache" / "text").glob("*.npy"))) == 2

    def test_nothing_to_pack(self, tmp_path: Path) -> None:
        with pytest.raises(TextError, match="at least one sentence"):
            PackedText.of(["", " "], TOKENIZER, context=8)
        (tmp_path / "file").write_text("")
        (tmp_path / "text.txt").write_text("ONE\n")
        config = TextConfig(train=[str(tmp_path / "text.txt")], cache=str(tmp_path / "file"))
        with pytest.raises(TextError, match=r"text\.cache"):
            packed_text(config, config.train, TOKENIZER)
