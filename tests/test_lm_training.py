"""Training a language model: it learns, it can be stopped anywhere, and the command line knows it."""

import json
import logging
import os
import signal
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from asr_tutorial.cli import app
from asr_tutorial.config import LanguageModelConfig, load_lm_config
from asr_tutorial.errors import CheckpointError, ConfigError, Stopped, TextError, TrainingError
from asr_tutorial.language_model import NGram, TransformerLM, load_language_model, save_ngram
from asr_tutorial.tokenizer import CharTokenizer, load_tokenizer
from asr_tutorial.training.language_model import (
    LanguageModelStepper,
    LanguageModelTrainer,
    next_token_loss,
    train_language_model,
)

WORDS = ["THE", "CAT", "SAT", "ON", "A", "MAT", "AND", "ATE", "IT"]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    lines = [
        " ".join(WORDS[i] for i in torch.randint(len(WORDS), (6,), generator=generator).tolist()) for _ in range(200)
    ]
    path = tmp_path / "text.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def config(text: Path, *overrides: str) -> LanguageModelConfig:
    return load_lm_config(
        "tiny",
        [
            f"text.train=[{text}]",
            f"text.dev=[{text}]",
            f"text.cache={text.parent / 'cache'}",
            "text.context=32",
            "text.batch_tokens=256",
            "model.d_model=16",
            "model.num_heads=2",
            "model.d_ff=32",
            "model.layers=1",
            "model.max_length=64",
            "training.device=cpu",
            "training.precision=fp32",
            "training.max_steps=12",
            "training.validate_every=5",
            "training.checkpoint_every=3",
            "training.log_every=4",
            *overrides,
        ],
    )


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "latest" / "state.pt", weights_only=True)["stepper"]["model"]


def test_it_learns_and_leaves_its_files(text: Path, tmp_path: Path) -> None:
    result = train_language_model(config(text, "training.max_steps=60", "training.ema_decay=0.5"), tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    figures = [validation["dev"][str(text)] for validation in metrics["validations"]]
    assert figures[-1]["perplexity_per_word"] < 0.2 * figures[0]["perplexity_per_word"]
    assert figures[-1]["perplexity_per_token"] < 10
    assert result.dev[str(text)] == min(figure["perplexity_per_word"] for figure in figures)
    loaded = load_language_model(tmp_path / "run")
    assert loaded.config == config(text, "training.max_steps=60", "training.ema_decay=0.5")
    assert not loaded.model.training
    assert (tmp_path / "run" / "samples.txt").read_text().count("== step") == len(figures)


@pytest.mark.parametrize("overrides", [(), ("training.ema_decay=0.9", "training.accumulate=2", "text.separate=false")])
def test_a_killed_run_ends_with_the_same_weights(text: Path, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    train_language_model(config(text, *overrides), tmp_path / "whole")

    class Killed(BaseException):
        pass

    def kill(self: LanguageModelTrainer) -> None:
        if self.progress.step == 8:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        former = LanguageModelTrainer._after_step

        def after_step(self: LanguageModelTrainer) -> None:
            former(self)
            kill(self)

        patch.setattr(LanguageModelTrainer, "_after_step", after_step)
        with pytest.raises(Killed):
            train_language_model(config(text, *overrides), tmp_path / "killed")
    train_language_model(resume=tmp_path / "killed")
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(tensor, killed[name]) for name, tensor in whole.items())
    read = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "killed")]
    assert [v["dev"] for v in read[0]["validations"]] == [v["dev"] for v in read[1]["validations"]]


def test_a_signal_stops_it_with_the_state_saved(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    former = LanguageModelStepper.rows_step

    def step(self: LanguageModelStepper, batches, number: int):
        if number == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return former(self, batches, number)

    monkeypatch.setattr(LanguageModelStepper, "rows_step", step)
    with pytest.raises(Stopped, match="after step 7 of 12"):
        train_language_model(config(text), tmp_path / "run")
    monkeypatch.undo()
    train_language_model(resume=tmp_path / "run")
    train_language_model(config(text), tmp_path / "whole")
    whole, stopped = weights(tmp_path / "whole"), weights(tmp_path / "run")
    assert all(torch.equal(tensor, stopped[name]) for name, tensor in whole.items())


def test_accumulation_is_a_step_over_a_larger_batch(text: Path) -> None:
    settings = config(text, "model.dropout=0.0", "training.optimizer.clip=0.0")
    tokenizer = CharTokenizer.train(text.read_text().splitlines())
    results = []
    for parts in (1, 2):
        torch.manual_seed(0)
        model = TransformerLM(settings.model, tokenizer.vocab_size)
        stepper = LanguageModelStepper(settings, tokenizer, model, 10)
        ids = torch.randint(5, tokenizer.vocab_size, (4, 16), generator=torch.Generator().manual_seed(1))
        targets = ids.clone()
        targets[0, 4:] = tokenizer.pad_id  # rows with few targets do not weigh more
        batch = (ids, targets, torch.ones_like(ids))
        batches = [tuple(part[i::parts] for part in batch) for i in range(parts)]
        loss, norm, applied = stepper.rows_step(batches, 0)
        assert applied
        results.append((loss, norm))
    assert results[0] == pytest.approx(results[1], rel=1e-4)


def test_padding_is_no_loss() -> None:
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1, 2, 4, 4, 4], [3, 4, 4, 4, 4]])
    expected = -sum(
        logits[row, column].log_softmax(-1)[targets[row, column]] for row, column in [(0, 0), (0, 1), (1, 0)]
    )
    assert float(next_token_loss(logits, targets, pad=4)) == pytest.approx(float(expected), rel=1e-5)


def test_a_vocabulary_of_another_model(text: Path, tmp_path: Path) -> None:
    CharTokenizer("ABCDEFGHIJKLMNOPQRSTUVWXYZ'").save(tmp_path)
    train_language_model(config(text, f"tokenizer.folder={tmp_path}", "training.max_steps=1"), tmp_path / "run")
    assert load_tokenizer(tmp_path / "run").tokens == load_tokenizer(tmp_path).tokens
    with pytest.raises(TextError, match="no tokenizer in"):
        train_language_model(config(text, f"tokenizer.folder={tmp_path / 'nothing'}"), tmp_path / "other")


def test_characters_that_the_vocabulary_lacks_are_named(
    text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "dev.txt").write_text("THE CAFÉ\n")
    caplog.set_level(logging.WARNING, "asr_tutorial")
    train_language_model(config(text, f"text.dev=[{tmp_path / 'dev.txt'}]", "training.max_steps=1"), tmp_path / "run")
    assert "'É' (1)" in caplog.text


def test_what_cannot_be_trained(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="either a configuration"):
        train_language_model()
    with pytest.raises(CheckpointError, match="not a run folder"):
        train_language_model(resume=tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"text\.train and text\.dev"):
        train_language_model(config(text, "text.dev=[]"), tmp_path / "a")
    (tmp_path / "figures.txt").write_text("12 34\n")
    with pytest.raises(TextError, match="nothing to validate on"):
        train_language_model(config(text, f"text.dev=[{tmp_path}/figures.txt]", "text.form=spoken"), tmp_path / "b")
    for every, message in ((5, "not finite at step 5"), (50, "no finite gradient in 20 steps")):
        settings = config(
            text, "training.optimizer.lr=1e30", "training.max_steps=60", f"training.validate_every={every}"
        )
        with pytest.raises(TrainingError, match=message):
            train_language_model(settings, tmp_path / f"{every}")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="one process"):
        train_language_model(config(text), tmp_path / "d")


class TestCommandLine:
    def run(self, *arguments: object) -> str:
        result = CliRunner().invoke(app, ["lm", *map(str, arguments)])
        assert result.exit_code == 0, result.output
        return result.output

    def test_from_text_to_figures(self, text: Path, tmp_path: Path) -> None:
        settings = [f"--{key}" for key in (
            f"text.train=[{text}]", f"text.dev=[{text}]", f"text.cache={tmp_path / 'cache'}", "text.context=32",
            "text.batch_tokens=256", "model.d_model=16", "model.num_heads=2", "model.d_ff=32", "model.layers=1",
            "training.max_steps=4",
        )]  # fmt: skip
        assert "perplexity" in self.run("train", "--run-dir", tmp_path / "run", *settings)
        assert "12 1-grams, 99 2-grams, 0.00 MB" in self.run("ngram", tmp_path / "ngram", "--text", text, "--order", 2)
        output = self.run(
            "evaluate", tmp_path / "ngram", tmp_path / "run", "--text", text, "--vocabulary", tmp_path / "ngram",
            "--json", tmp_path / "figures.json",
        )  # fmt: skip
        figures = json.loads((tmp_path / "figures.json").read_text())
        ngram, transformer = figures.values()
        assert f"{ngram['perplexity_per_word']:.1f}" in output
        assert (ngram["words"], ngram["sentences"]) == (transformer["words"], transformer["sentences"]) == (1200, 200)
        assert ngram["perplexity_per_word"] < 11 < transformer["perplexity_per_word"]
        generated = self.run("generate", tmp_path / "run", "--prompt", "THE", "--n", 2, "--max-tokens", 8).splitlines()
        assert len(generated) == 2
        assert all(line.startswith("THE") for line in generated)

    def test_a_small_model_and_an_arpa_file_of_it(self, text: Path, tmp_path: Path) -> None:
        self.run("ngram", tmp_path / "whole", "--text", text)
        self.run("ngram", tmp_path / "small", "--text", text, "--prune", "1e-3")
        whole, small = (yaml.safe_load((tmp_path / name / "config.yaml").read_text()) for name in ("whole", "small"))
        assert small["ngrams"] < whole["ngrams"]
        assert small == {**whole, "prune": 1e-3, "ngrams": small["ngrams"]}
        self.run("arpa", tmp_path / "small", tmp_path / "small.arpa.gz")
        output = self.run("evaluate", tmp_path / "small", tmp_path / "small.arpa.gz", "--text", text)
        figures = [line.split()[:2] for line in output.splitlines()[-2:]]
        assert figures[0] == figures[1]

    def test_a_configuration_with_every_key(self) -> None:
        output = self.run("config", "16m", "--text.context=300")
        assert "context: 300" in output
        assert "kind: transformer_lm" in output

    def test_generate_wants_a_transformer(self, tmp_path: Path) -> None:
        save_ngram(tmp_path, NGram.train(["A B"], 2))
        result = CliRunner().invoke(app, ["lm", "generate", str(tmp_path)])
        assert result.exit_code == 2
        assert "only a Transformer" in result.output

    @pytest.mark.parametrize("arguments", [["--min-counts", "a"], ["--form", "loud"]])
    def test_bad_options(self, text: Path, tmp_path: Path, arguments: list[str]) -> None:
        result = CliRunner().invoke(app, ["lm", "ngram", str(tmp_path / "lm"), "--text", str(text), *arguments])
        assert result.exit_code == 2
        assert "error:" in result.output
