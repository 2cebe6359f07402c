"""Corpora in every layout, and what is wrong with them named instead of dropped."""

import json

import numpy as np
import pytest
import soundfile

from asr_tutorial.corpus import (
    Corpus,
    corpus_stats,
    join_corpora,
    read_corpus,
    read_ids,
    resolve,
    select,
    write_manifest,
)
from asr_tutorial.errors import CorpusError
from asr_tutorial.tokenizer import CharTokenizer


def reasons(corpus: Corpus) -> dict[str, str]:
    return {skip.id: skip.reason for skip in corpus.skipped}


def add_line(folder, line: str) -> None:
    with (folder / "10" / "7" / "10-7.trans.txt").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


# LibriSpeech's layout


def test_librispeech_layout(tiny_corpus):
    corpus = read_corpus(tiny_corpus)
    assert [u.id for u in corpus] == ["10-7-0000", "10-7-0001", "10-7-0002", "11-7-0000", "11-7-0001", "11-7-0002"]
    assert [u.speaker for u in corpus] == ["10"] * 3 + ["11"] * 3
    assert [u.audio.suffix for u in corpus] == [".flac", ".wav", ".opus"] * 2
    assert [u.seconds for u in corpus] == pytest.approx([1.0, 1.3, 1.6, 1.9, 2.2, 2.5], abs=0.01)
    assert corpus.utterances[1].text == "TWO WORDS"
    assert corpus.skipped == []
    assert corpus.name == "tiny"


@pytest.mark.parametrize("depth", ["", "a", "a/b/c/d"])
def test_any_depth(tiny_corpus, tmp_path, depth):
    top = tmp_path / "top"
    (top / depth).mkdir(parents=True)
    tiny_corpus.rename(top / depth / "tiny")
    assert len(read_corpus(top)) == 6


def test_order_does_not_depend_on_the_disk(tiny_corpus):
    path = tiny_corpus / "10" / "7" / "10-7.trans.txt"
    path.write_text("".join(sorted(path.read_text().splitlines(keepends=True), reverse=True)))
    assert [u.id for u in read_corpus(tiny_corpus)][:3] == ["10-7-0000", "10-7-0001", "10-7-0002"]


def test_links_are_followed(tiny_corpus, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "part").symlink_to(tiny_corpus)
    assert len(read_corpus(tmp_path / "links")) == 6


def test_every_problem_is_a_named_skip(tiny_corpus, write_tone):
    chapter = tiny_corpus / "10" / "7"
    add_line(tiny_corpus, "10-7-0003 NO SUCH FILE")
    write_tone(chapter / "10-7-0004.wav")
    write_tone(chapter / "10-7-0005.wav")
    add_line(tiny_corpus, "10-7-0005")
    (chapter / "10-7-0006.flac").write_bytes(b"fLaC this is no audio")
    add_line(tiny_corpus, "10-7-0006 CORRUPT")
    (chapter / "10-7-0007.flac").write_bytes(b"")
    add_line(tiny_corpus, "10-7-0007 EMPTY")
    soundfile.write(chapter / "10-7-0008.wav", np.zeros(0), 16_000)
    add_line(tiny_corpus, "10-7-0008 NO SAMPLES")
    corpus = read_corpus(tiny_corpus)
    found = reasons(corpus)
    assert len(corpus) == 6
    assert sorted(found) == [f"10-7-{number:04}" for number in range(3, 9)]
    assert "no audio file" in found["10-7-0003"]
    assert "no transcript" in found["10-7-0004"]
    assert found["10-7-0005"] == "empty transcript"
    assert "10-7-0006.flac" in found["10-7-0006"]
    assert "10-7-0007.flac" in found["10-7-0007"]
    assert "empty" in found["10-7-0007"]
    assert "10-7-0008" in found


def test_duration_limits(tiny_corpus):
    corpus = read_corpus(tiny_corpus, min_seconds=1.2, max_seconds=2.0)
    assert [u.id for u in corpus] == ["10-7-0001", "10-7-0002", "11-7-0000"]
    found = reasons(corpus)
    assert "shorter than min_seconds (1.2)" in found["10-7-0000"]
    assert "longer than max_seconds (2)" in found["11-7-0001"]
    assert len(found) == 3


def test_nothing_left_is_an_error_with_reasons(tiny_corpus):
    with pytest.raises(CorpusError, match=r"no usable utterance; skipped 6: 10-7-0000: 1\.00 s is shorter"):
        read_corpus(tiny_corpus, min_seconds=5)


@pytest.mark.parametrize("line", ["10-7-0001 TWO WORDS", "11-7-0001 AGAIN"])
def test_repeated_id(tiny_corpus, line):
    add_line(tiny_corpus, line)
    with pytest.raises(CorpusError, match=line.split()[0]):
        read_corpus(tiny_corpus)


def test_two_files_for_one_id(tiny_corpus, write_tone):
    write_tone(tiny_corpus / "10" / "7" / "10-7-0000.wav")
    with pytest.raises(CorpusError, match=r"10-7-0000\.(flac|wav) and .*10-7-0000\.(flac|wav)"):
        read_corpus(tiny_corpus)


def test_hidden_files_are_no_audio(tiny_corpus):
    (tiny_corpus / "10" / "7" / "._10-7-0000.flac").write_bytes(b"Mac OS X")
    assert read_corpus(tiny_corpus).skipped == []


def test_byte_order_mark_and_carriage_returns(tiny_corpus):
    path = tiny_corpus / "11" / "7" / "11-7.trans.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    corpus = read_corpus(tiny_corpus)
    assert corpus.utterances[3].text == "FOUR"
    assert len(corpus) == 6


def test_text_of_another_encoding(tiny_corpus):
    path = tiny_corpus / "11" / "7" / "11-7.trans.txt"
    path.write_bytes("11-7-0000 CAFÉ\n".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"11-7\.trans\.txt is not UTF-8"):
        read_corpus(tiny_corpus)


def test_unusual_line_separators_stay_within_a_transcript(tiny_corpus):
    path = tiny_corpus / "11" / "7" / "11-7.trans.txt"
    path.write_text("11-7-0000 FOUR\u2028FIVE\n", encoding="utf-8")
    assert read_corpus(tiny_corpus).utterances[3].text == "FOUR\u2028FIVE"


@pytest.mark.parametrize("audio", [True, False])
def test_nothing_found_says_what_was_looked_for(tmp_path, write_tone, audio):
    if audio:
        write_tone(tmp_path / "hello.wav")
    with pytest.raises(CorpusError, match="manifest") as error:
        read_corpus(tmp_path)
    assert ("1 audio files but no transcripts" in str(error.value)) == audio
    assert "trans.txt" in str(error.value)
    assert "fbank" in str(error.value)


# Manifests


@pytest.mark.parametrize("name", ["list.tsv", "list.jsonl"])
def test_manifest_round_trip(tiny_corpus, name):
    corpus = read_corpus(tiny_corpus)
    write_manifest(corpus, tiny_corpus / name)
    again = read_corpus(tiny_corpus / name)
    assert again.utterances == [
        type(u)(u.id, u.audio.absolute(), u.text, u.seconds, u.speaker) for u in corpus.utterances
    ]
    assert again.name == "list"
    assert str(tiny_corpus) not in (tiny_corpus / name).read_text()


def test_manifest_elsewhere_names_absolute_paths(tiny_corpus, tmp_path):
    (tmp_path / "other").mkdir()
    write_manifest(read_corpus(tiny_corpus), tmp_path / "other" / "list.tsv")
    assert len(read_corpus(tmp_path / "other" / "list.tsv")) == 6


def test_three_columns_are_enough(tmp_path, write_tone):
    write_tone(tmp_path / "sounds" / "hello.wav")
    write_tone(tmp_path / "bye.flac", 2.0)
    (tmp_path / "mine.tsv").write_text(
        f'id\taudio\ttext\nb\tsounds/hello.wav\thello there\na\t{tmp_path}/bye.flac\t"bye"\n'
    )
    corpus = read_corpus(tmp_path / "mine.tsv")
    assert [(u.id, u.text, u.speaker) for u in corpus] == [("b", "hello there", None), ("a", '"bye"', None)]
    assert corpus.utterances[1].seconds == pytest.approx(2.0)


def test_manifest_without_text_or_id(tmp_path, write_tone):
    write_tone(tmp_path / "hello.wav")
    (tmp_path / "mine.tsv").write_text("audio\nhello.wav\n")
    (utterance,) = read_corpus(tmp_path / "mine.tsv")
    assert (utterance.id, utterance.text) == ("hello", None)
    assert read_corpus(tmp_path / "mine.tsv").texts == []


def test_corpus_without_text_round_trip(tmp_path, write_tone):
    write_tone(tmp_path / "hello.wav")
    (tmp_path / "mine.tsv").write_text("audio\nhello.wav\n")
    write_manifest(read_corpus(tmp_path / "mine.tsv"), tmp_path / "again.tsv")
    assert read_corpus(tmp_path / "again.tsv").utterances[0].text is None


def test_manifest_problems_are_named_skips(tmp_path, write_tone):
    write_tone(tmp_path / "good.wav")
    rows = [
        {"id": "a", "audio": "good.wav", "text": "fine", "speaker": "me"},
        {"id": "b", "audio": "gone.wav", "text": "missing"},
        {"id": "c", "text": "no audio"},
        {"id": "d", "audio": "good.wav", "text": "  "},
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    corpus = read_corpus(tmp_path / "m.jsonl")
    assert [(u.id, u.speaker) for u in corpus] == [("a", "me")]
    found = reasons(corpus)
    assert "gone.wav" in found["b"]
    assert "line 3" in found["c"]
    assert found["d"] == "empty transcript"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.tsv", "", "first line must name the columns"),
        ("m.tsv", "a.wav\thello\n", "first line must name the columns"),
        ("m.tsv", "id\taudio\ttext\na\ta.wav\n", "line 2 has 2 columns, its first line has 3"),
        ("m.jsonl", '{"id": "a"}\n{"id": \n', "line 2 is not valid JSON"),
        ("m.jsonl", "[1, 2]\n", "line 1 must be an object"),
        ("m.csv", "id,audio\n", "ends in .tsv or .jsonl"),
        ("m.jsonl", "", "no usable utterance"),
    ],
)
def test_unreadable_manifest(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(CorpusError, match=message):
        read_corpus(tmp_path / name)


def test_manifest_cannot_be_written(tiny_corpus):
    corpus = read_corpus(tiny_corpus)
    with pytest.raises(CorpusError, match=r"ends in \.tsv or \.jsonl"):
        write_manifest(corpus, tiny_corpus / "list.csv")
    with pytest.raises(CorpusError, match=r"cannot write .*nowhere"):
        write_manifest(corpus, tiny_corpus / "nowhere" / "list.tsv")


# Precomputed features


@pytest.fixture
def features(tmp_path):
    folder = tmp_path / "train"
    (folder / "fbank").mkdir(parents=True)
    (folder / "text").mkdir()
    for number, text in enumerate(
        [
            np.array("HELLO THERE"),
            np.array(["HELLO THERE"]),
            np.array(["<sos>", *"HELLO THERE", "<eos>"]),
            np.array(list("HELLO THERE")),
            np.array(["HELLO", "THERE"]),
            np.array(b"HELLO THERE"),
        ]
    ):
        np.save(folder / "fbank" / f"19-198-{number:04}.npy", np.zeros((100 + number, 27), np.float32))
        np.save(folder / "text" / f"19-198-{number:04}.npy", text)
    return folder


def test_feature_folder(features):
    corpus = read_corpus(features)
    assert corpus.texts == ["HELLO THERE"] * 6
    assert [u.seconds for u in corpus] == pytest.approx([1.0, 1.01, 1.02, 1.03, 1.04, 1.05])
    assert all(u.has_features and u.speaker == "19" for u in corpus)


def test_test_split_has_no_text(features):
    (features / "text").rename(features / "elsewhere")
    assert [u.text for u in read_corpus(features)] == [None] * 6


def test_feature_problems_are_named_skips(features):
    (features / "text" / "19-198-0000.npy").unlink()
    (features / "fbank" / "19-198-0001.npy").unlink()
    np.save(features / "fbank" / "19-198-0002.npy", np.zeros(5))
    (features / "fbank" / "19-198-0003.npy").write_bytes(b"no array")
    np.save(features / "text" / "19-198-0004.npy", np.zeros(5))
    corpus = read_corpus(features)
    assert [u.id for u in corpus] == ["19-198-0005"]
    found = reasons(corpus)
    assert "no transcript" in found["19-198-0000"]
    assert "no features" in found["19-198-0001"]
    assert "(5,)" in found["19-198-0002"]
    assert "unreadable feature file" in found["19-198-0003"]
    assert "array of strings" in found["19-198-0004"]


def test_pickled_objects_are_refused(features):
    np.save(features / "text" / "19-198-0000.npy", np.array([{"text": "HELLO"}]), allow_pickle=True)
    assert "unreadable transcript" in reasons(read_corpus(features))["19-198-0000"]


def test_no_features(tmp_path):
    (tmp_path / "fbank").mkdir()
    with pytest.raises(CorpusError, match=r"holds no \.npy files"):
        read_corpus(tmp_path)


# Where a corpus is looked for, and what is done with it


def test_resolve_order(tmp_path, monkeypatch):
    places = [tmp_path / "root", tmp_path / "work", tmp_path / "environment"]
    for place in places:
        (place / "LibriSpeech" / "dev").mkdir(parents=True)
    monkeypatch.chdir(places[1])
    monkeypatch.setenv("ASR_TUTORIAL_DATA", str(places[2]))
    assert resolve("dev", places[0]) == places[0] / "LibriSpeech" / "dev"
    assert resolve("dev") == places[1] / "LibriSpeech" / "dev"
    monkeypatch.chdir(tmp_path)
    assert resolve("dev") == places[2] / "LibriSpeech" / "dev"
    (places[2] / "dev").mkdir()
    assert resolve("dev") == places[2] / "dev"
    assert resolve(str(places[0])) == places[0]


def test_resolve_error_names_places_and_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_TUTORIAL_DATA", str(tmp_path))
    with pytest.raises(CorpusError) as error:
        read_corpus("no-such-corpus")
    for part in [str(tmp_path / "LibriSpeech" / "no-such-corpus"), "asr-tutorial data download mini-librispeech"]:
        assert part in str(error.value)
    with pytest.raises(CorpusError, match="gone"):
        read_corpus(tmp_path / "gone")


def test_repository_data_is_found(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASR_TUTORIAL_DATA", raising=False)
    assert resolve("tinyspeech").name == "tinyspeech"


def test_join(tiny_corpus, features):
    tiny, other = read_corpus(tiny_corpus), read_corpus(features)
    both = join_corpora([tiny, other])
    assert len(both) == 12
    assert both.name == "tiny+train"
    assert join_corpora([tiny]) is tiny
    with pytest.raises(CorpusError, match="10-7-0000"):
        join_corpora([tiny, other, tiny])


def test_select_by_ids_from_a_file(tiny_corpus, tmp_path):
    corpus = read_corpus(tiny_corpus)
    (tmp_path / "ids.txt").write_text("# my list\n11-7-0001\n\n10-7-0002\n")
    ids = read_ids(tmp_path / "ids.txt")
    assert ids == ["11-7-0001", "10-7-0002"]
    assert [u.id for u in select(corpus, ids)] == ["10-7-0002", "11-7-0001"]
    with pytest.raises(CorpusError, match="lacks 1 of 2 ids: nobody"):
        select(corpus, ["nobody", "10-7-0002"])


@pytest.mark.parametrize("content", ["", "# nothing\n", None])
def test_unusable_id_file(tmp_path, content):
    if content is not None:
        (tmp_path / "ids.txt").write_text(content)
    with pytest.raises(CorpusError, match=r"ids\.txt"):
        read_ids(tmp_path / "ids.txt")


def test_stats(tiny_corpus):
    corpus = read_corpus(tiny_corpus)
    stats = corpus_stats(corpus, CharTokenizer.train(corpus.texts), bins=3)
    assert (stats.utterances, stats.speakers, stats.skipped) == (6, 2, 0)
    assert stats.hours == pytest.approx(10.5 / 3600, rel=0.01)
    assert (stats.longest_id, stats.longest) == ("11-7-0002", pytest.approx(2.5, abs=0.01))
    assert [count for _, _, count in stats.length_histogram] == [2, 2, 2]
    assert (stats.words, stats.word_vocabulary) == (10, 9)
    assert stats.characters == stats.tokens == sum(map(len, corpus.texts))
    assert stats.characters_per_token == 1.0
    assert stats.most_tokens == len("THREE SMALL WORDS")
    assert stats.character_vocabulary["'"] == 1
    assert next(iter(stats.character_vocabulary)) in "ESO "
    without = corpus_stats(corpus)
    assert (without.tokens, without.characters_per_token) == (0, 0.0)


@pytest.mark.parametrize(
    ("name", "utterances", "hours", "speakers"),
    [("train-clean-5", 1519, 5.31, 28), ("dev-4spk", 496, 1.68, 4), ("dev-218spk", 218, 0.76, 218)],
)
def test_real_corpora(real_data, name, utterances, hours, speakers):
    stats = corpus_stats(read_corpus(name, root=real_data))
    assert (stats.utterances, stats.speakers, stats.skipped) == (utterances, speakers, 0)
    assert stats.hours == pytest.approx(hours, abs=0.005)
    assert set(stats.character_vocabulary) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")
