"""A recipe from the corpus to the table: what is done, done once, gone on with, and written down."""

import csv
import json
import re
import runpy
from pathlib import Path

import pytest
import yaml
from tiny import MODEL, sound_corpus
from tiny_training import TEXTS
from typer.testing import CliRunner

import asr_tutorial
from asr_tutorial.cli import app
from asr_tutorial.config import load_config, load_lm_config
from asr_tutorial.errors import ConfigError
from asr_tutorial.recipe import load_recipe, run_recipe, stages
from asr_tutorial.recipe.plan import RECIPES, overrides_of
from asr_tutorial.recipe.stages import settings_of

LM = {"model.d_model": 16, "model.num_heads": 2, "model.d_ff": 32, "model.layers": 1, "training.max_steps": 3}


def recipe_values(corpus, cache):
    data = {"data.train": [str(corpus)], "data.dev": [str(corpus)], "data.test": [], "data.cache": str(cache)}
    common = {
        **data,
        **{f"model.{key}": value for key, value in MODEL.items()},
        "data.batch_seconds": 6,
        "training.max_steps": 4,
        "training.validate_every": 2,
        "training.validation_search": "ctc",
        "training.ema_decay": 0.0,
        "training.precision": "fp32",
        "training.schedule.warmup_steps": 2,
    }
    text = {"text.train": [str(corpus)], "text.dev": [str(corpus)], "training.precision": "fp32", "text.context": 32}
    return {
        "name": "small",
        "stages": {
            "ctc": {"set": {**common, "model.decoder_layers": 0, "training.ctc_weight": 1.0}},
            "ngram": {"kind": "ngram", "text": [str(corpus)], "order": 2, "prune": 1e-8},
            "lm": {"kind": "lm", "set": {**LM, **text, "tokenizer.folder": "{ctc}"}},
            "from_lm": {
                "title": "decoder from the language model",
                "set": {**common, "initialise.checkpoint": "{ctc}", "initialise.decoder": "{lm}"},
            },
        },
        "measure": {
            "corpora": [str(corpus)],
            "searches": ["ctc", "prefix+ngram", "joint+lm"],
            "beam_size": 2,
            "lm_weights": [0.0, 0.5],
            "token_bonuses": [0.0],
            "ctc_weights": [0.5],
            "limit": 4,
            "worst": 2,
        },
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A recipe that was done once: its folder, its file, its page."""
    folder = tmp_path_factory.mktemp("recipe")
    corpus = sound_corpus(folder / "corpus", TEXTS, seconds=0.8)
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(recipe_values(corpus, folder / "cache"), sort_keys=False))
    return folder, file, run_recipe(load_recipe(file), folder / "out", progress=False)


def test_the_table_holds_every_recogniser_and_search(done):
    _, _, page = done
    text = page.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (ctc|prefix\+ngram|joint\+lm) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.M)
    assert [(title, search) for title, search, *_ in rows] == [
        ("ctc", "ctc"),
        ("ctc", "prefix+ngram"),
        ("decoder from the language model", "ctc"),
        ("decoder from the language model", "prefix+ngram"),
        ("decoder from the language model", "joint+lm"),
    ], "a recogniser without decoder has no joint search"
    assert len(re.findall(r"^\| (ngram|lm) \| corpus \| [\d.]+ \|", text, re.M)) == 2, "perplexities"
    record = json.loads((page.parent / "evaluation.json").read_text(encoding="utf-8"))
    assert len(record["figures"]) == 5
    assert record["best"]["wer"] == min(row["wer"] for row in record["figures"])
    assert {"command", "date", "device", "torch", "commit"} <= record["environment"].keys()
    assert [row["stage"] for row in record["trainings"]] == ["ctc", "ngram", "lm", "from_lm"]
    assert all(row["processor_seconds"] > 0 for row in record["trainings"])
    for row in record["figures"]:
        assert f"{100 * row['wer']:.1f} | {100 * row['cer']:.1f}" in text


def test_pictures_and_the_worst_are_there(done):
    _, _, page = done
    text = page.read_text(encoding="utf-8")
    pictures = re.findall(r"!\[.+?\]\((.+?)\)", text)
    assert {"curves.png", "alignment.png"} <= set(pictures)
    for picture in pictures:
        assert (page.parent / picture).stat().st_size > 2000
    with (page.parent / "worst.tsv").open(encoding="utf-8", newline="") as file:
        worst = list(csv.DictReader(file, delimiter="\t"))
    assert len(worst) == 2
    assert float(worst[0]["wer"]) >= float(worst[1]["wer"])
    assert re.search(r"\d+ words replaced, \d+ left out, \d+ put in", worst[0]["what"])
    assert all(row["id"] in text and row["heard"] in text for row in worst)
    assert not any(row["said"] in text for row in worst), "what was said stays with the corpus"


def test_what_is_done_is_not_done_again(done, monkeypatch):
    folder, file, page = done
    before = page.read_text(encoding="utf-8")
    for name in ("train", "train_language_model", "save_ngram"):
        monkeypatch.setattr(stages, name, lambda *arguments, **options: pytest.fail("trained again"))
    monkeypatch.setattr("asr_tutorial.recipe.figures.tune", lambda *a, **o: pytest.fail("tuned again"))
    monkeypatch.setattr("asr_tutorial.recognizer.Recognizer.evaluate", lambda *a, **o: pytest.fail("measured again"))
    again = run_recipe(load_recipe(file), folder / "out", progress=False).read_text(encoding="utf-8")
    assert table(again) == table(before)


def table(page):
    return page[page.index("## Error rates") : page.index("## Trainings")]


def test_other_settings_are_not_mixed_with_those_of_before(done):
    folder, file, _ = done
    with pytest.raises(ConfigError, match=r"out/ctc was made with other settings \(.*max_steps: 4.*delete the folder"):
        run_recipe(load_recipe(file), folder / "out", scale=2.0, progress=False)


def test_a_stage_that_was_stopped_is_gone_on_with(done, tmp_path, monkeypatch):
    """Stopped in the middle of its second training: the first is left alone, the second ends as it would have."""
    _, file, _ = done
    recipe = load_recipe(file)
    original, calls = stages.train, []

    def stopped(config, place, **options):
        calls.append(place.name)
        if place.name == "from_lm" and calls.count("from_lm") == 1:
            raise KeyboardInterrupt
        return original(config, place, **options)

    monkeypatch.setattr(stages, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        stages.do_stages(recipe, tmp_path / "out", progress=False)
    stages.do_stages(recipe, tmp_path / "out", progress=False)
    assert calls == ["ctc", "from_lm", "from_lm"]
    assert (tmp_path / "out" / "from_lm" / "done.json").exists()


def test_scale_multiplies_steps_and_nothing_else(done):
    _, file, _ = done
    recipe = load_recipe(file)
    full, half = (settings_of(recipe, "ctc", {}, scale) for scale in (1.0, 0.5))
    different = [(a.strip(), b.strip()) for a, b in zip(full.splitlines(), half.splitlines(), strict=True) if a != b]
    assert different == [
        ("max_steps: 4", "max_steps: 2"),
        ("validate_every: 2", "validate_every: 1"),
        ("warmup_steps: 2", "warmup_steps: 1"),
    ]
    with pytest.raises(ConfigError, match="--scale must be above 0"):
        load_recipe(file, scale=0)


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_the_packaged_recipes_are_sound(name):
    recipe = load_recipe(name.replace("_", "-"))
    folders = {stage: f"/models/{stage}" for stage in recipe.stages}
    for stage, config in recipe.stages.items():
        assert settings_of(recipe, stage, folders)
        assert not re.search(r"[{}]\w+[{}]", " ".join(overrides_of(config, folders)).replace("{}", ""))
    kinds = {config.kind for config in recipe.stages.values()}
    assert kinds == {"recogniser", "lm", "ngram"}
    for stage, config in recipe.stages.items():
        if source := re.fullmatch(r"{(\w+)}", str(config.set.get("initialise.decoder", ""))):
            decoder = load_config(recipe.recogniser, overrides_of(config, folders)).model
            lm = load_lm_config(recipe.lm, overrides_of(recipe.stages[source[1]], folders)).model
            assert decoder.decoder_layers == lm.layers, f"{stage}: no layer of the language model is lost, none is new"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": {"a": {"set": {"initialise.checkpoint": "{b}"}}}}, r"needs \{b\}, which is no stage before it"),
        ({"stages": {"a": {"kind": "ngram", "text": ["x"]}}}, "no recogniser among them"),
        ({"stages": {"a": {}}, "measure": {"searches": ["joint+lm"]}}, "'joint\\+lm' must be a beam search and one of"),
        ({"stages": {"a": {}}, "measure": {"searches": ["beam"]}}, "unknown search 'beam'"),
        ({"stages": {"a": {"kinds": "lm"}}}, "unknown key"),
    ],
)
def test_mistakes_in_a_recipe_are_named(tmp_path, change, message):
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(change))
    with pytest.raises(ConfigError, match=message):
        load_recipe(tmp_path / "r.yaml")


def test_the_command(done):
    folder, file, _ = done
    result = CliRunner().invoke(app, ["recipe", str(file), "--out", str(folder / "out")])
    assert result.exit_code == 0, result.output
    assert f"results: {folder / 'out' / 'results' / 'results.md'}" in result.output.replace("\n", "")
    result = CliRunner().invoke(app, ["recipe", "nothing"])
    assert result.exit_code == 2
    assert "no recipe called 'nothing': give mini-librispeech, tinyspeech" in result.output


def test_a_recipe_is_recorded_and_its_figures_come_again(done, tmp_path, capsys):
    folder, file, page = done
    record_recipe = runpy.run_path(str(Path(__file__).resolve().parents[1] / "tools" / "record_recipe.py"))
    limit = ["--limit", "4"]  # as the recipe itself measures
    record_recipe["main"]([str(folder / "out"), "small", "--recipe", str(file), "--data", str(tmp_path), *limit])
    record = json.loads((tmp_path / "results" / "small" / "evaluation.json").read_text(encoding="utf-8"))
    (row,) = record["reproduced"]
    assert row["wer"] == pytest.approx(row["recipe_wer"], abs=0.11), "fp16 may change a word of these ten"
    assert (tmp_path / "results" / "small" / page.name).exists()
    best = record["best"]
    kind, _, lm = best["search"].partition("+")
    options = asr_tutorial.load(tmp_path / "pretrained" / "small", "cpu").recommended
    if lm:
        assert options[f"{kind}+lm"] == record["tunings"][f"{best['stage']}/{best['search']}"]["recommended"]
        assert (tmp_path / "pretrained" / "small_lm").is_dir()
    assert f"WER {100 * row['wer']:.2f} %" in capsys.readouterr().out
