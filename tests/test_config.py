"""Settings: what is accepted, what is refused, and that a refusal names the key and the remedy."""

import ast
import dataclasses
import inspect
from pathlib import Path
from typing import get_args

import pytest
import yaml

from asr_tutorial import config as config_module
from asr_tutorial.cli.common import SearchName
from asr_tutorial.config import CONFIGS, Config, ModelConfig, Search, available_configs, from_dict, load_config, to_yaml
from asr_tutorial.errors import ConfigError

# Fields that say by their name alone what they are.
OBVIOUS = {"encoder_layers", "betas", "eps", "kind", "seed", "label_smoothing", "optimizer", "schedule"}


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config("tinyspeech", overrides)
    return str(caught.value)


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


class TestAccepted:
    def test_defaults_are_a_valid_configuration(self) -> None:
        assert from_dict(Config, {}) == Config()

    @pytest.mark.parametrize("name", available_configs())
    def test_each_packaged_configuration_loads(self, name: str) -> None:
        assert load_config(name).name == name

    def test_packaged_configurations_include_the_demo(self) -> None:
        assert "tinyspeech" in available_configs()

    def test_a_name_and_its_path_give_the_same(self) -> None:
        assert load_config("tinyspeech") == load_config(CONFIGS / "tinyspeech.yaml")

    def test_an_empty_file_means_the_defaults(self, tmp_path: Path) -> None:
        assert load_config(write(tmp_path, "")) == Config()

    def test_a_section_with_everything_commented_out_means_its_defaults(self, tmp_path: Path) -> None:
        path = write(tmp_path, "name: mine\ntraining:\n  # seed: 3\n")
        assert load_config(path) == Config(name="mine")
        assert load_config(path, ["training.seed=5"]).training.seed == 5

    def test_what_a_file_leaves_out_keeps_its_default(self, tmp_path: Path) -> None:
        loaded = load_config(write(tmp_path, "model:\n  d_model: 64\n"))
        assert loaded.model == dataclasses.replace(ModelConfig(), d_model=64)

    @pytest.mark.parametrize("number", ["2e-3", "2.0e-3", "0.002", ".002"])
    def test_every_way_to_write_a_number_means_the_same(self, number: str, tmp_path: Path) -> None:
        path = write(tmp_path, f"training:\n  optimizer:\n    lr: {number}\n")
        assert load_config(path).training.optimizer.lr == pytest.approx(0.002)
        override = f"--training.optimizer.lr={number}"
        assert load_config("tinyspeech", [override]).training.optimizer.lr == pytest.approx(0.002)

    def test_yaml_round_trip(self, tmp_path: Path) -> None:
        overrides = [
            "--training.optimizer.groups={'^decoder\\.': 0.5}",
            "--augment.speeds=[0.9, 1, 1.1]",
            "--name=trip",
        ]
        first = load_config("tinyspeech", overrides)
        assert load_config(write(tmp_path, to_yaml(first))) == first
        assert first.training.optimizer.groups == {"^decoder\\.": 0.5}

    def test_yaml_writes_every_key_out(self) -> None:
        written = yaml.safe_load(to_yaml(Config()))
        assert set(written) == {field.name for field in dataclasses.fields(Config)}
        assert set(written["model"]) == {field.name for field in dataclasses.fields(ModelConfig)}


class TestOverrides:
    def test_dashes_may_stand_before_it_or_not(self) -> None:
        with_dashes = load_config("tinyspeech", ["--training.max_steps=7"])
        assert with_dashes == load_config("tinyspeech", ["training.max_steps=7"])
        assert with_dashes.training.max_steps == 7

    def test_the_last_one_wins_over_earlier_ones_and_over_the_file(self, tmp_path: Path) -> None:
        path = write(tmp_path, "training:\n  seed: 2\n")
        assert load_config(path, ["training.seed=3", "training.seed=4"]).training.seed == 4

    @pytest.mark.parametrize(
        ("override", "section", "key", "value"),
        [
            ("data.train=[a, b/c.tsv]", "data", "train", ["a", "b/c.tsv"]),
            ("data.root=", "data", "root", ""),
            ("data.root=/speech=good", "data", "root", "/speech=good"),
            ("training.device=cuda:1", "training", "device", "cuda:1"),
            ("training.compile=true", "training", "compile", True),
            ("augment.speeds=[9e-1, 1]", "augment", "speeds", [0.9, 1.0]),
        ],
    )
    def test_values_are_read_as_yaml(self, override: str, section: str, key: str, value: object) -> None:
        assert getattr(getattr(load_config("tinyspeech", [override]), section), key) == value

    @pytest.mark.parametrize("name", ["2024", "1e3", "nan"])
    def test_a_name_may_look_like_a_number(self, name: str) -> None:
        assert load_config("tinyspeech", [f"--name={name}"]).name == name

    @pytest.mark.parametrize("override", ["training.seed", "=3", "--", ""])
    def test_no_key_or_no_value(self, override: str) -> None:
        message = refusal(override)
        assert repr(override) in message
        assert "--section.key=value" in message

    def test_a_value_is_not_a_section(self) -> None:
        assert "'name.first=x': name is a value, not a section" in refusal("name.first=x")

    def test_text_that_is_not_yaml(self) -> None:
        assert "'training.seed=[': the value is not valid YAML" in refusal("training.seed=[")


class TestRefused:
    @pytest.mark.parametrize(
        ("override", "key", "near"),
        [
            ("trainng.seed=1", "trainng", "training"),
            ("training.ctc_wieght=0.5", "training.ctc_wieght", "ctc_weight"),
            ("training.optimizer.learning=1", "training.optimizer.learning", None),
            ("training.schedule.warmup=10", "training.schedule.warmup", "warmup_steps"),
        ],
    )
    def test_unknown_key(self, override: str, key: str, near: str | None) -> None:
        message = refusal(override)
        assert f"unknown key {key!r}" in message
        assert (f"did you mean {near!r}?" if near else "known keys here: lr, betas") in message

    @pytest.mark.parametrize(
        ("override", "key"),
        [
            ("training.max_steps=many", "training.max_steps"),
            ("training.max_steps=1.5", "training.max_steps"),
            ("training.max_steps=", "training.max_steps"),
            ("training.compile=perhaps", "training.compile"),
            ("data.train=one/folder", "data.train"),
            ("name=[a]", "name"),
            ("model=large", "model"),
            ("training.optimizer.groups={encoder: fast}", "training.optimizer.groups.encoder"),
        ],
    )
    def test_wrong_type(self, override: str, key: str) -> None:
        message = refusal(override)
        assert f"{key}: " in message
        assert "(got " in message

    @pytest.mark.parametrize(
        ("override", "expected"),
        [
            ("model.d_model=0", "model.d_model: Input should be greater than 0 (got 0)"),
            ("model.dropout=1", "model.dropout: Input should be less than 1"),
            ("model.subsampling_factor=3", "model.subsampling_factor: Input should be 2, 4 or 8"),
            ("model.num_heads=5", "num_heads (5) must divide d_model"),
            ("model.conv_kernel=4", "conv_kernel (4) must be odd"),
            ("training.optimizer.lr=-1", "training.optimizer.lr: "),
            ("training.optimizer.lr=.inf", "training.optimizer.lr: Input should be a finite number"),
            ("training.optimizer.lr=.nan", "training.optimizer.lr: "),
            ("training.optimizer.betas=[0.9, 1.0]", "training.optimizer.betas.1: "),
            ("training.ctc_weight=1.1", "training.ctc_weight: "),
            ("augment.speeds=[]", "speeds must hold at least one factor"),
            ("augment.speeds=[1, 0]", "augment.speeds.1: "),
            ("augment.ramp_start=0.5", "ramp_end (0.0) must not be smaller than ramp_start (0.5)"),
            ("data.min_seconds=99", "min_seconds (99.0) must be smaller than max_seconds"),
            ("tokenizer.vocab_size=3", "tokenizer.vocab_size: "),
        ],
    )
    def test_impossible_value(self, override: str, expected: str, tmp_path: Path) -> None:
        # On an empty file, so that the packaged configurations may change.
        with pytest.raises(ConfigError) as caught:
            load_config(write(tmp_path, ""), [override])
        assert expected in str(caught.value)

    def test_settings_that_contradict_each_other(self, tmp_path: Path) -> None:
        path = write(tmp_path, "training: {ema_decay: 0.99, average: 5}")
        with pytest.raises(ConfigError, match="ema_decay and average"):
            load_config(path)
        path = write(tmp_path, "model: {decoder_layers: 0}\ntraining: {ctc_weight: 0.3}")
        with pytest.raises(ConfigError, match=r"training\.ctc_weight must be 1\.0"):
            load_config(path)
        path = write(tmp_path, "model: {decoder_layers: 0}\ntraining: {ctc_weight: 1}")
        with pytest.raises(ConfigError, match=r"training\.validation_search must be 'ctc' or 'prefix'"):
            load_config(path)
        for search in ("ctc", "prefix"):
            settings = f"training: {{ctc_weight: 1, validation_search: {search}}}"
            path = write(tmp_path, f"model: {{decoder_layers: 0}}\n{settings}")
            assert load_config(path).model.decoder_layers == 0
        assert refusal("model.decoder_layers=0", "training.ctc_weight=1", "training.validation_search=attention")

    def test_every_search_may_be_used_for_validation(self, tmp_path: Path) -> None:
        assert get_args(Search) == tuple(SearchName), "the command line knows the same ones"
        for search in get_args(Search):
            architecture = "paraformer" if search == "parallel" else "transformer"
            settings = f"training: {{validation_search: {search}}}\nmodel: {{architecture: {architecture}}}"
            path = write(tmp_path, settings)
            assert load_config(path).training.validation_search == search
        assert "training.validation_search" in refusal("training.validation_search=beam")

    def test_all_problems_are_told_at_once(self) -> None:
        message = refusal("model.d_modle=3", "training.seed=-1")
        assert "model.d_modle" in message
        assert "training.seed" in message


class TestFiles:
    def test_a_wrong_name_lists_the_right_ones(self) -> None:
        with pytest.raises(ConfigError, match=r"no configuration called 'tinyspeec': give one of .*tinyspeech"):
            load_config("tinyspeec")

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"gone\.yaml: No such file"):
            load_config(tmp_path / "gone.yaml")

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("model: {d_model: ", "is not valid YAML"),
            ("- model\n- training\n", "not list"),
            ("just words", "not str"),
            ("model: [1, 2]", "model: "),
            ("1: 2", "1: "),
        ],
    )
    def test_files_that_are_no_configuration(self, text: str, problem: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            load_config(write(tmp_path, text))
        assert "mine.yaml" in str(caught.value)
        assert problem in str(caught.value)

    def test_a_file_that_is_not_text(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.yaml"
        path.write_bytes(b"\xff\xfe\x80\x81")
        with pytest.raises(ConfigError, match=r"weights\.yaml: it is not UTF-8 text"):
            load_config(path)


def test_every_field_is_documented() -> None:
    """A string below the field says what it is, unless the name does."""
    files = Path(inspect.getfile(config_module)).parent.glob("*.py")
    statements = [statement for file in files for statement in ast.parse(file.read_text(encoding="utf-8")).body]
    sections = [statement for statement in statements if isinstance(statement, ast.ClassDef)]
    assert {"ModelConfig", "LactConfig", "PredictorConfig", "LanguageModelArchitecture"} <= {
        section.name for section in sections
    }
    missing = []
    for section in sections:
        assert ast.get_docstring(section), f"{section.name} has no docstring"
        for statement, following in zip(section.body, [*section.body[1:], None], strict=True):
            if not isinstance(statement, ast.AnnAssign):
                continue
            assert isinstance(statement.target, ast.Name)
            documented = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            is_section = section.name in {"Config", "LanguageModelConfig"} and statement.target.id != "name"
            if not documented and not is_section and statement.target.id not in OBVIOUS:
                missing.append(f"{section.name}.{statement.target.id}")
    assert not missing
