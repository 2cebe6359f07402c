"""The page on the LibriSpeech runs, and the configurations for 360 and 960 hours: what is stated is computed."""

import math
import re
import runpy
from pathlib import Path

import pytest
import torch

from asr_tutorial.config import CONFIGS, load_config
from asr_tutorial.download import CATALOGUE
from asr_tutorial.model import build_model, count_parameters
from asr_tutorial.training.loss import label_smoothed_cross_entropy

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "librispeech.md").read_text(encoding="utf-8")
BENCHMARK = runpy.run_path(str(ROOT / "benchmarks" / "training.py"))
TOKENS_PER_SECOND = {"librispeech_100h": 8.0, "librispeech_360h": 7.0, "librispeech_960h": 5.5}
PEAK = 312e12
"""Operations a second of an A100 in bf16."""


def model_of(config):
    with torch.device("meta"):  # its sizes alone
        return build_model(config, config.tokenizer.vocab_size)


@pytest.mark.parametrize("name", TOKENS_PER_SECOND)
class TestConfiguration:
    def test_it_names_what_can_be_downloaded(self, name):
        config = load_config(name)
        named = re.findall(r"asr-tutorial data download (\S+)", PAGE)
        assert {*config.data.train, *config.data.dev, *config.data.test} <= {*named} <= CATALOGUE.keys()
        hours = sum(CATALOGUE[part].hours for part in config.data.train)
        assert f"| {hours:.1f} h |" in PAGE or f", {hours:.1f} h |" in PAGE

    def test_its_size_is_stated(self, name):
        stated = f"{count_parameters(model_of(load_config(name))) / 1e6:.1f}M parameters"
        assert re.search(rf"`{name}` \|.*\| {stated} \|", PAGE)
        assert stated.removesuffix(" parameters") in (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")

    def test_its_memory_is_what_the_benchmark_estimates(self, name):
        config = load_config(name)
        vocab = config.tokenizer.vocab_size
        estimate = BENCHMARK["memory_estimate"](config, model_of(config), vocab, TOKENS_PER_SECOND[name], fused=True)
        fixed = (estimate["total"] - estimate["activations"]) / 1e9
        row = re.search(
            rf"`{name}` \| ([\d.]+) GB \| ([\d.]+) MB \| (\d+) s, accumulated (\d+) times \| ([\d.]+) GB", PAGE
        )
        assert float(row[1]) == pytest.approx(fixed, abs=0.006)
        assert float(row[2]) == pytest.approx(estimate["activations_per_audio_second"] / 1e6, abs=0.06)
        assert (int(row[3]), int(row[4])) == (config.data.batch_seconds, config.training.accumulate)
        assert float(row[5]) == pytest.approx(estimate["total"] / 1e9, abs=0.06)

    def test_its_hours_are_what_the_page_says_they_are_made_of(self, name):
        config = load_config(name)
        model = model_of(config)
        frames = 25 * count_parameters(model.encoder)
        tokens = TOKENS_PER_SECOND[name] * (count_parameters(model) - count_parameters(model.encoder))
        hours = sum(CATALOGUE[part].hours for part in config.data.train)
        seconds = 3600 * hours * config.training.max_epochs
        low, high = (6 * (frames + tokens) * seconds / (share * PEAK) / 3600 for share in (0.1, 0.025))
        row = re.search(rf"`{name}` \|.*\| (\d+) to (\d+) (?:GPU hours|h) \(estimate\)", PAGE)
        assert (int(row[1]), int(row[2])) == (round(low), round(high))
        steps = seconds / (config.data.batch_seconds * config.training.accumulate)
        stated = [int(value.replace(",", "")) for value in re.findall(r"\d+,\d00\b", PAGE)]
        assert min(abs(value - steps) for value in stated) < 100, f"{steps:.0f} steps are not stated"

    def test_its_losses_begin_and_end_where_the_page_says(self, name):
        config = load_config(name)
        vocab, smoothing = config.tokenizer.vocab_size, config.training.label_smoothing
        column = list(TOKENS_PER_SECOND).index(name)
        first, least = (
            float(re.search(rf"\| {line} \|([^\n]*)", PAGE)[1].split("|")[column])
            for line in ("attention at the first step", "attention, never below")
        )
        assert first == pytest.approx(math.log(vocab), abs=0.06)
        best = torch.full((1, 1, vocab), smoothing / vocab)
        best[0, 0, 7] += 1 - smoothing
        loss = label_smoothed_cross_entropy(best.log(), torch.tensor([[7]]), pad=4, smoothing=smoothing)
        assert least == pytest.approx(float(loss), abs=0.006)


def test_what_is_no_result_says_so():
    assert PAGE.count("**estimate**") >= 5
    assert "none is\nrecorded yet" in PAGE
    row = next(line for line in PAGE.splitlines() if line.startswith("| train-clean-360 |"))
    assert "**estimate**" in row
    # The point that the estimate for 360 hours is made from.
    share = math.log(363.6 / 100.6) / math.log(960.9 / 100.6)
    points = [low * (high / low) ** share for low, high in ((6.5, 2.5), (17.3, 5.5))]
    assert f"{points[0]:.1f} / {points[1]:.1f}" in row
