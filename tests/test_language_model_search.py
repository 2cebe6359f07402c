"""A language model beside a recogniser: from the library and the command line, and the weights that suit the two."""

import csv
import json
import math

import numpy as np
import pytest
import soundfile
import torch
import yaml
from tiny import sound, sound_corpus, tiny_recognizer
from typer.testing import CliRunner

import asr_tutorial
from asr_tutorial import plots
from asr_tutorial.cli import app
from asr_tutorial.config import LanguageModelConfig, from_dict
from asr_tutorial.corpus import read_corpus
from asr_tutorial.errors import CheckpointError, ConfigError, CorpusError
from asr_tutorial.language_model import LanguageModel, NGram, TransformerLM, save_ngram, save_transformer_lm
from asr_tutorial.recognizer import SearchOptions
from asr_tutorial.recognizer.fusing import read_recommended, write_recommended
from asr_tutorial.recognizer.tune import collect, tune
from asr_tutorial.search import Candidate, TokenModel
from asr_tutorial.tokenizer import CharTokenizer

TEXTS = ["HELLO WORLD", "GOOD DAY", "IT IS LATE"]
BEAMS = ["prefix", "attention", "joint"]


def transformer(tokenizer, spread=0.5):
    config = from_dict(LanguageModelConfig, {"model": {"d_model": 16, "num_heads": 2, "d_ff": 32, "layers": 1}})
    torch.manual_seed(3)
    network = TransformerLM(config.model, tokenizer.vocab_size).eval()
    torch.nn.init.normal_(network.out.weight, std=spread)
    return LanguageModel("transformer", network, tokenizer, config)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A recogniser, a Transformer of its tokens, an n-gram model of words, and a Transformer of other tokens."""
    folder = tmp_path_factory.mktemp("models")
    recognizer = tiny_recognizer()
    recognizer.save(folder / "model")
    for name, tokenizer in (("transformer", recognizer.tokenizer), ("other", CharTokenizer("ABC "))):
        lm = transformer(tokenizer)
        save_transformer_lm(folder / name, lm.model, tokenizer, lm.config)
    save_ngram(folder / "ngram", NGram.train(["HELLO WORLD", "GOOD DAY", "HELLO DAY", "IT IS LATE"] * 3, order=2))
    return folder


@pytest.fixture
def recognizer(folders):
    return asr_tutorial.load(folders / "model", device="cpu")


@pytest.fixture
def corpus(tmp_path):
    return sound_corpus(tmp_path / "corpus", TEXTS, seconds=0.5)


@pytest.fixture
def run():
    def invoke(*arguments, code=0):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
        return result

    return invoke


SOME = SearchOptions(beam_size=3, n_best=2, lm_weight=1.0, token_bonus=0.3)


@pytest.mark.parametrize("kind", ["transformer", "ngram"])
@pytest.mark.parametrize("search", BEAMS)
def test_every_beam_search_asks_the_language_model(recognizer, folders, search, kind):
    waves = [sound(0.4, 1), sound(0.9, 2)]
    without = recognizer.transcribe(waves, search=search, options=SOME)
    recognizer.use_language_model(folders / kind)
    together = recognizer.transcribe(waves, search=search, options=SOME)
    assert [t.n_best for t in together] != [t.n_best for t in without]
    for wave, transcript in zip(waves, together, strict=True):
        alone = recognizer.transcribe(wave, search=search, options=SOME)
        assert [a.text for a in alone.n_best] == [a.text for a in transcript.n_best]
        assert [a.score for a in alone.n_best] == pytest.approx([a.score for a in transcript.n_best], abs=1e-3)
        assert all(0 <= heard.confidence <= 1 + 1e-6 for heard in transcript.tokens), "by what was heard alone"
    recognizer.use_language_model(None)
    assert recognizer.transcribe(waves, search=search, options=SOME) == without


def test_an_ngram_model_makes_words_of_noise(recognizer, folders):
    """Random ears and a strong model of words: what is heard are words, or the beginnings of some."""
    options = SearchOptions(beam_size=4, ctc_weight=0.3, lm_weight=20.0, token_bonus=5.0, max_length=12)
    recognizer.use_language_model(folders / "ngram")
    text = recognizer.transcribe(sound(1.5), search="joint", options=options).text
    words = {word for line in TEXTS for word in line.split()}
    *whole, last = text.split()
    assert len(text) >= 3
    assert set(whole) <= words, text
    assert any(word.startswith(last) for word in words), text


def test_other_vocabularies_are_named_with_the_remedy(recognizer, folders):
    with pytest.raises(ConfigError, match=r"models0/other has another vocabulary.*9 tokens there, 33 here.*") as error:
        recognizer.use_language_model(folders / "other")
    assert "--tokenizer.folder=CHECKPOINT" in str(error.value)
    assert "token 9 is missing there and 'D' here" in str(error.value)
    with pytest.raises(CheckpointError, match="no language model at /nowhere"):
        recognizer.use_language_model("/nowhere")
    with pytest.raises(CheckpointError, match="is a recogniser, not a language model"):
        recognizer.use_language_model(folders / "model")
    for name in ("ngram", "transformer"):
        with pytest.raises(CheckpointError, match=f"{name} is a language model, not a recogniser: give it with --lm"):
            asr_tutorial.load(folders / name)


# What a checkpoint recommends


def test_a_checkpoint_recommends_settings(recognizer, folders, tmp_path):
    recognizer.recommended = {"joint": {"ctc_weight": 0.6, "beam_size": 4}, "joint+lm": {"lm_weight": 0.8}}
    recognizer.save(tmp_path / "m")
    loaded = asr_tutorial.load(tmp_path / "m", "cpu")
    assert loaded.search_options("joint") == SearchOptions(beam_size=4, ctc_weight=0.6)
    assert loaded.search_options("attention").length_penalty == 1.0
    assert loaded.search_options("greedy") is None
    with_lm = asr_tutorial.load(tmp_path / "m", "cpu", folders / "transformer")
    assert with_lm.search_options("joint") == SearchOptions(beam_size=4, ctc_weight=0.6, lm_weight=0.8)
    assert with_lm.search_options("joint", lm_weight=0.1, beam_size=2).lm_weight == 0.1
    assert loaded.transcribe(sound(0.5), search="joint") == loaded.transcribe(
        sound(0.5), search="joint", options=SearchOptions(beam_size=4, ctc_weight=0.6)
    )
    assert read_recommended(folders / "model") == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beam": {"beam_size": 3}}, "unknown search; known are prefix, attention, joint"),
        ({"joint": {"beams": 3}}, "must hold settings of a search: beam_size"),
        ({"joint+lm": {"lm_weight": -1}}, "lm_weight must be"),
        ({"joint": 3}, "must hold settings"),
    ],
)
def test_recommendations_are_checked(tmp_path, values, message):
    with pytest.raises(ConfigError, match=message):
        write_recommended(tmp_path, values)
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=message):
        read_recommended(tmp_path)


# Tuning


def fixed_lists(monkeypatch, lists):
    monkeypatch.setattr("asr_tutorial.recognizer.tune.collect", lambda *arguments: lists)


def test_tuning_finds_the_weights_that_make_fewest_errors(recognizer, folders, corpus, monkeypatch):
    """Two utterances: the first one needs the language model, the second one is spoilt by too much of it."""
    lists = [
        ("A B", [Candidate([5, 6], "A X", -1.0, -1.0, -9.0), Candidate([5, 7], "A B", -2.0, -2.0, -5.0)]),
        ("C", [Candidate([8], "C", -1.0, -1.0, -9.0), Candidate([9], "D", -4.0, -4.0, -5.0)]),
    ]
    fixed_lists(monkeypatch, lists)
    recognizer.use_language_model(folders / "transformer")
    tuning = tune(recognizer, read_corpus(corpus), "joint", None, [0.0, 0.5, 2.0], [0.0], [0.5], confirm=0)
    assert [(row.lm_weight, round(row.wer, 3)) for row in tuning.rows] == [(0.5, 0.0), (0.0, 0.333), (2.0, 0.333)]
    assert tuning.oracle_wer == 0
    assert tuning.name == "joint+lm"
    assert tuning.recommended() == {"beam_size": 10, "token_bonus": 0.0, "ctc_weight": 0.5, "lm_weight": 0.5}
    assert "0.50       0.50         0.00     0.00" in tuning.text()
    assert json.loads(json.dumps(tuning.to_dict()))["rows"][0]["wer"] == 0
    figure = plots.weight_sweep(tuning.to_dict()["rows"])
    (line, ring) = figure.axes[0].lines
    assert list(line.get_xdata()) == [0.0, 0.5, 2.0]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (0.5, 0.0)


@pytest.mark.parametrize("search", BEAMS)
def test_lists_hold_what_both_searches_found(recognizer, folders, corpus, search):
    options = SearchOptions(beam_size=3, n_best=3, lm_weight=1.0)
    read = read_corpus(corpus)
    alone = collect(recognizer, read, search, options)
    recognizer.use_language_model(folders / "transformer")
    lists = collect(recognizer, read, search, options)
    assert [reference for reference, _ in lists] == TEXTS
    for (_, candidates), (_, without) in zip(lists, alone, strict=True):
        texts = [tuple(candidate.tokens) for candidate in candidates]
        assert len(set(texts)) == len(texts)
        assert {tuple(candidate.tokens) for candidate in without} <= set(texts)
        assert all(candidate.lm < 0 for candidate in candidates)
        assert all(candidate.lm == 0 for candidate in without)


def test_the_best_setting_is_confirmed_by_decoding(recognizer, folders, corpus):
    recognizer.use_language_model(folders / "transformer")
    seen = []
    tuning = tune(
        recognizer, read_corpus(corpus), "joint", SearchOptions(beam_size=3), [0.0, 1.0], [0.0, 0.5], [0.4, 0.6], 2,
        on_progress=seen.append,
    )  # fmt: skip
    assert len(tuning.rows) == 8
    assert sum(seen) == 3
    assert [row.decoded_wer is not None for row in tuning.rows] == [True, True] + [False] * 6
    best = tuning.best
    options = SearchOptions(
        beam_size=3, lm_weight=best.lm_weight, token_bonus=best.token_bonus, ctc_weight=best.ctc_weight
    )
    assert recognizer.evaluate(corpus, "joint", options=options).wer == best.decoded_wer
    assert tuning.oracle_wer <= min(row.wer for row in tuning.rows)


def test_what_cannot_be_tuned_is_named(recognizer, corpus, tmp_path):
    with pytest.raises(ConfigError, match="'greedy' has no weights"):
        tune(recognizer, read_corpus(corpus), "greedy")
    soundfile.write(tmp_path / "a.wav", sound(1.0), 16_000)
    (tmp_path / "m.tsv").write_text("id\taudio\na\ta.wav\n")
    with pytest.raises(CorpusError, match="need transcripts"):
        tune(recognizer, read_corpus(tmp_path / "m.tsv"), "joint")


# The command line


def test_evaluate_with_a_language_model(run, folders, corpus, tmp_path):
    lm = folders / "transformer"
    settings = ["--search", "joint", "--beam-size", 3, "--lm-weight", 0.7, "--token-bonus", 0.2]
    where = ["-m", folders / "model", "--corpus", corpus, "--lm", lm, "--json", tmp_path / "j"]
    out = run("evaluate", *where, *settings).output
    assert f"search joint with {folders / 'transformer'}" in out
    record = json.loads((tmp_path / "j").read_text())
    assert record["language_model"] == str(folders / "transformer")
    assert (record["options"]["lm_weight"], record["options"]["token_bonus"]) == (0.7, 0.2)
    recognizer = asr_tutorial.load(folders / "model", "cpu", folders / "transformer")
    options = SearchOptions(beam_size=3, lm_weight=0.7, token_bonus=0.2)
    assert record["wer"] == recognizer.evaluate(corpus, "joint", options=options).wer


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lm", "LM/transformer"], "--lm is not for --search greedy: use --search prefix, attention, joint"),
        (["--search", "joint", "--lm-weight", 0.5], "name one with --lm DIR"),
        (["--search", "ctc", "--token-bonus", 0.5], "--token-bonus is not for --search ctc"),
        (["--search", "joint", "--lm", "LM/other"], "has another vocabulary than the recogniser"),
        (["--search", "joint", "--lm", "LM/nothing"], "no language model at"),
        (["--search", "joint", "--lm", "LM/transformer", "--lm-weight", -1], "lm_weight must be 0"),
    ],
)
def test_mistakes_are_told_in_a_line(run, folders, corpus, arguments, message):
    arguments = [str(argument).replace("LM/", f"{folders}/") for argument in arguments]
    result = run("evaluate", "-m", folders / "model", "--corpus", corpus, *arguments, code=2)
    assert message in result.output
    assert "Traceback" not in result.output


def test_tune_writes_what_evaluate_then_takes(run, folders, corpus, tmp_path):
    asr_tutorial.load(folders / "model", "cpu").save(tmp_path / "m")
    grid = ["--lm-weights", "0, 1", "--token-bonuses", "0.5", "--ctc-weights", "0.4 0.6", "--beam-size", 3]
    files = ["--json", tmp_path / "t.json", "--plot", tmp_path / "sweep.png", "--save"]
    run("tune", "-m", tmp_path / "m", "--corpus", corpus, "--lm", folders / "transformer", *grid, *files)
    table = json.loads((tmp_path / "t.json").read_text())
    assert len(table["rows"]) == 4
    assert (tmp_path / "sweep.png").stat().st_size > 1000
    recommended = read_recommended(tmp_path / "m")["joint+lm"]
    assert recommended == table["recommended"]
    lm = ["--search", "joint", "--lm", folders / "transformer", "--json", tmp_path / "e.json"]
    run("evaluate", "-m", tmp_path / "m", "--corpus", corpus, *lm)
    record = json.loads((tmp_path / "e.json").read_text())
    assert record["options"]["token_bonus"] == 0.5
    assert record["wer"] == table["rows"][0]["decoded_wer"], "the figure of the table, by the short command"
    result = run("tune", "-m", tmp_path / "m", "--corpus", corpus, "--ctc-weights", "a b", code=2)
    assert "--ctc-weights takes numbers" in result.output


def test_submission(run, folders, recognizer, corpus, tmp_path):
    """A split of features without text: a line for each utterance, an empty one where it cannot be read."""
    (tmp_path / "npy" / "fbank").mkdir(parents=True)
    for utterance in read_corpus(corpus):
        np.save(tmp_path / "npy" / "fbank" / f"{utterance.id}.npy", recognizer._read(utterance)[0].numpy())
    broken = np.load(tmp_path / "npy" / "fbank" / "1-2-0001.npy")
    broken[0, 0] = math.nan
    np.save(tmp_path / "npy" / "fbank" / "1-2-0001.npy", broken)
    out = tmp_path / "submission.csv"
    result = run("submission", "-m", folders / "model", "--corpus", tmp_path / "npy", "--search", "ctc", "--out", out)
    assert "3 transcriptions, 1 of them empty" in result.output
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["1-2-0000", "1-2-0001", "1-2-0002"]
    heard = {r.id: r.hypothesis for r in recognizer.evaluate(corpus, "ctc").results}
    assert rows[0]["transcription"] == heard["1-2-0000"]
    assert rows[1]["transcription"] == ""
    result = run("submission", "-m", folders / "model", "--corpus", corpus, "--out", tmp_path / "no" / "x.csv", code=2)
    assert "cannot write" in result.output


def test_a_token_model_of_a_function(recognizer):
    uniform = np.full((1, recognizer.tokenizer.vocab_size), -math.log(recognizer.tokenizer.vocab_size))
    recognizer.language_model = TokenModel(lambda prefixes: np.repeat(uniform, len(prefixes), 0), recognizer.tokenizer)
    assert recognizer.transcribe(sound(0.5), search="joint").text is not None
