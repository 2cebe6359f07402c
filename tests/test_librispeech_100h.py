"""The configuration for train-clean-100: its size, its page, and that it trains on speech of that length."""

import re
import runpy
from pathlib import Path

import pytest
import torch

from asr_tutorial.config import CONFIGS, load_config
from asr_tutorial.download import CATALOGUE
from asr_tutorial.model import build_model, count_parameters
from asr_tutorial.training.step import Stepper

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "librispeech_100h.md").read_text(encoding="utf-8")
BENCHMARK = runpy.run_path(str(ROOT / "benchmarks" / "training.py"))
CONFIG = load_config("librispeech_100h")
TOKENS_PER_SECOND = 8.0
"""What the page assumes, padding included."""


def test_the_recipe():
    assert CONFIG.data.train == ["train-clean-100"]
    assert {*CONFIG.data.train, *CONFIG.data.dev, *CONFIG.data.test} <= CATALOGUE.keys()
    assert CONFIG.augment.speeds == [0.9, 1.0, 1.1]
    assert CONFIG.model.d_model % 64 == 0
    assert CONFIG.data.batch_seconds * CONFIG.training.accumulate == 1600


def test_parameters():
    parameters = count_parameters(build_model(CONFIG, CONFIG.tokenizer.vocab_size))
    assert parameters <= 30_000_000
    stated = f"{parameters / 1e6:.1f}M parameters"
    assert stated in PAGE
    assert stated in (CONFIGS / "librispeech_100h.yaml").read_text(encoding="utf-8")


def test_the_page_names_what_exists():
    names = re.findall(r"asr-tutorial data download (\S+)", PAGE)
    assert {*CONFIG.data.train, *CONFIG.data.dev, *CONFIG.data.test} <= {*names} <= CATALOGUE.keys()


def test_the_page_states_the_memory_that_the_benchmark_estimates():
    model = build_model(CONFIG, CONFIG.tokenizer.vocab_size)
    estimate = BENCHMARK["memory_estimate"](CONFIG, model, CONFIG.tokenizer.vocab_size, TOKENS_PER_SECOND, fused=True)
    activations = estimate["activations_per_audio_second"]
    fixed = estimate["total"] - estimate["activations"]
    assert f"{activations / 1e6:.1f} MB" in PAGE
    assert f"{fixed / 1e9:.2f} GB" in PAGE
    rows = re.findall(r"^\| \d+ GB \| (\d+) \| (\d+) \| ([\d.]+) GB \|", PAGE, flags=re.MULTILINE)
    assert len(rows) == 4
    for batch_seconds, accumulate, total in rows:
        assert int(batch_seconds) * int(accumulate) == 1600
        assert float(total) == pytest.approx((fixed + activations * int(batch_seconds)) / 1e9, abs=0.06)


def test_three_steps_on_speech_of_real_length():
    """The model at its full size; the batch is small, so that a processor core can do it."""
    settings = ["data.batch_seconds=24", "training.accumulate=1", "training.device=cpu", "training.precision=fp32"]
    config = load_config("librispeech_100h", settings)
    speech = BENCHMARK["SyntheticSpeech"](config, utterances=200)
    assert speech.tokenizer.vocab_size == config.tokenizer.vocab_size
    torch.manual_seed(1)
    model = build_model(config, speech.tokenizer.vocab_size)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    stepper = Stepper(config, speech.tokenizer, model, total_steps=10_000)
    for step, batch in zip(range(3), speech.batches(), strict=False):
        result = stepper.step([batch], step)
        assert result.applied
        assert 0 < result.loss < float("inf")
        assert result.grad_norm > 0
    unchanged = [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])]
    # Softmax does not see a bias that is the same for all keys: its gradient is zero but for rounding.
    assert [name for name in unchanged if not name.endswith("k_proj.bias")] == []
