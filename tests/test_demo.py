"""The demo: from a configuration to one page that needs nothing beside it."""

import re
from html.parser import HTMLParser

import pytest
from tiny import OVERRIDES, sound_corpus, tiny_recognizer

from asr_tutorial.config import load_config
from asr_tutorial.corpus import read_corpus
from asr_tutorial.demo import run_demo, write_page
from asr_tutorial.demo.page import pick_examples
from asr_tutorial.errors import ConfigError
from asr_tutorial.metrics import UtteranceResult, error_counts
from asr_tutorial.recognizer import Evaluation

TEXTS = ["HELLO WORLD", "GOOD DAY", "IT IS LATE"]
METRICS = {"validations": [], "train_seconds": 90.0, "environment": {"command": "<b>", "torch": "2"}}


@pytest.fixture
def corpus(tmp_path):
    return sound_corpus(tmp_path / "corpus", TEXTS)


class Page(HTMLParser):
    """Collects tags and checks that they are closed in order."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.sources, self.text = [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def evaluation(results, search="greedy"):
    texts = [[result.reference for result in results], [result.hypothesis for result in results]]
    counts = error_counts(*texts), error_counts(*texts, "char")
    return Evaluation(*counts, 3.75, 0.1, search, results, [])


def test_the_page_is_whole_and_holds_sound_pictures_and_mistakes(corpus, tmp_path):
    results = [
        UtteranceResult("1-2-0000", "HELLO WORLD", "HELLO WORD", 1.0),
        UtteranceResult("1-2-0001", "GOOD DAY", "GOOD DAY", 1.25),
        UtteranceResult("1-2-0002", "IT IS LATE", "IT LATE NOW", 1.5),
    ]
    path = tmp_path / "demo.html"
    write_page(path, tiny_recognizer(), read_corpus(corpus), [evaluation(results), evaluation(results, "ctc")], METRICS)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert all(source.startswith("data:") for source in page.sources)  # nothing is fetched
    assert page.tags.count("audio") == 3 + 2 + 1  # examples, mistakes, the closer look
    assert page.tags.count("img") == 3
    assert "<del>WORLD</del> " not in text
    assert "<del>WORLD</del>" in text
    assert "<ins>WORD</ins>" in text
    assert "42.9" in page.text  # 3 errors in 7 words
    assert "1.5 minutes" in page.text
    assert "<b>" not in text
    assert re.search(r"@\w+@", text) is None
    words = re.findall(r'data-start="([\d.]+)" data-end="([\d.]+)">(\w+)', text)
    assert [word for _, _, word in words] == ["GOOD", "DAY"]  # the sentence without a mistake
    assert float(words[0][0]) < float(words[0][1]) <= float(words[1][0])


def test_the_page_of_a_ctc_model_without_mistakes(corpus, tmp_path):
    results = [UtteranceResult("1-2-0001", "GOOD DAY", "GOOD DAY", 1.25)]
    recognizer = tiny_recognizer(decoder_layers=0)
    path = write_page(tmp_path / "p.html", recognizer, read_corpus(corpus), [evaluation(results, "ctc")], METRICS)
    page = Page(path.read_text(encoding="utf-8"))
    assert "no mistake in the whole test set" in page.text
    assert page.tags.count("img") == 2  # no cross-attention


def test_a_transcript_longer_than_the_sound_is_no_reason_to_fail(corpus, tmp_path):
    results = [UtteranceResult("1-2-0000", "HELLO WORLD", "A" * 100, 1.0)]
    path = write_page(tmp_path / "p.html", tiny_recognizer(), read_corpus(corpus), [evaluation(results)], METRICS)
    assert "cannot be laid on the sound" in path.read_text(encoding="utf-8")


def test_demo_trains_reports_and_writes_the_page(corpus, tmp_path, capsys):
    splits = [f"--data.{split}=[{corpus}]" for split in ("train", "dev", "test")]
    settings = [*OVERRIDES, *splits, f"--data.cache={tmp_path / 'cache'}", "--training.max_steps=2"]
    page = run_demo(load_config("tinyspeech", settings), tmp_path / "run")
    printed = capsys.readouterr().out
    assert page == tmp_path / "run" / "demo.html"
    assert page.exists()
    assert "WER" in printed
    assert "attention decoder, greedy" in printed
    assert "CTC head, best path" in printed
    assert "said" in printed
    assert str(page) in printed


def test_demo_without_a_test_corpus_is_refused():
    with pytest.raises(ConfigError, match=r"data\.test is empty"):
        run_demo(load_config("tinyspeech", ["--data.test=[]"]))


def test_examples_are_spread_over_the_corpus():
    results = [UtteranceResult(str(number), "", "") for number in range(100)]
    assert [result.id for result in pick_examples(results, 4)] == ["12", "37", "62", "87"]
    assert len(pick_examples(results[:3], 8)) == 3
