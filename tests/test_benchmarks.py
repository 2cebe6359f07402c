"""The benchmark of training: it runs, and its memory estimate counts what autograd keeps."""

import json
import runpy
from pathlib import Path

import pytest
import torch
from tiny import OVERRIDES
from torch.nn import functional as F

import asr_tutorial.attention
from asr_tutorial.config import load_config
from asr_tutorial.model import build_model, count_parameters
from asr_tutorial.training.loss import JointLoss, Sizes

BENCHMARK = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "training.py"))
SETTINGS = [*OVERRIDES, "--data.batch_seconds=10", "--training.device=cpu", "--training.precision=fp32"]


def test_the_command_measures_and_writes_a_record(tmp_path, capsys):
    file = tmp_path / "results" / "training.json"
    steps = ["--steps=2", "--warmup=1", "--training.accumulate=2"]
    BENCHMARK["main"](["--config=tinyspeech", "--synthetic", *steps, f"--json={file}", *SETTINGS])
    printed = capsys.readouterr().out
    record = json.loads(file.read_text(encoding="utf-8"))
    assert (record["config"], record["data"], record["steps"]) == ("tinyspeech", "synthetic", 2)
    assert record["audio_seconds_per_second"] > 0
    assert 0 < record["seconds_per_step"]["min"] <= record["seconds_per_step"]["median"]
    assert 0 <= record["padding"] < 0.1
    assert record["peak_memory"] > 0
    assert f"{record['audio_seconds_per_second']:.1f} s" in printed
    shares = [row["share"] for row in record["operators"]]
    assert len(shares) == 12
    assert shares == sorted(shares, reverse=True)
    assert 0.3 < sum(shares) <= 1
    assert {"command", "date", "torch", "commit"} <= record["environment"].keys()


def test_the_command_takes_the_configured_corpus(tiny_corpus):
    splits = [f"--data.{split}=[{tiny_corpus}]" for split in ("train", "dev", "test")]
    config = load_config("tinyspeech", [*splits, *SETTINGS, f"--data.cache={tiny_corpus.parent / 'cache'}"])
    record = BENCHMARK["measure"](config, synthetic=False, steps=1, warmup=0)
    assert record["data"] == [str(tiny_corpus)]
    # The six tones, 1.0 to 2.5 s, in one batch of three seconds each at most.
    assert record["audio_seconds_per_second"] * record["seconds_per_step"]["median"] < 10.5


def test_errors_are_the_users(capsys):
    with pytest.raises(SystemExit):
        BENCHMARK["main"](["--model.d_modell=3"])
    assert "d_modell" in capsys.readouterr().err


def test_synthetic_lengths_are_those_of_train_clean_100():
    speech = BENCHMARK["SyntheticSpeech"](load_config("tinyspeech"), utterances=3000)
    seconds = torch.tensor(speech.lengths) / 100
    assert 2 <= seconds.min() < 4
    assert 16.5 < seconds.max() <= 17
    assert seconds.mean() == pytest.approx(12.7, abs=0.2)
    assert seconds.std() == pytest.approx(3.6, abs=0.2)
    batch = next(speech.batches())
    assert batch.target_lengths.sum() / (batch.feature_lengths.sum() / 100) == pytest.approx(14.6, rel=0.15)  # letters


@pytest.mark.parametrize("kernel", [15, 0])
def test_the_estimate_counts_what_autograd_keeps(kernel, monkeypatch):
    """Saved tensors of one batch, with the attention of a GPU, against the formula."""

    def of_a_gpu(query, key, value, mask=None, dropout=0.0):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)

    monkeypatch.setattr(asr_tutorial.attention, "fused_attention", of_a_gpu)
    small = ["--model.encoder_layers=2", "--model.decoder_layers=1", "--data.batch_seconds=18"]
    config = load_config("librispeech_100h", [*small, f"--model.conv_kernel={kernel}"])
    speech = BENCHMARK["SyntheticSpeech"](config, utterances=100)
    tokenizer, batch = speech.tokenizer, next(speech.batches())
    model = build_model(config, tokenizer.vocab_size).train()
    held = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    saved = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in held:
            saved[storage.data_ptr()] = (storage.nbytes(), tensor)  # the tensor, so that its memory is not used again
        return tensor

    criterion = JointLoss(0.3, 0.1, tokenizer.blank_id, tokenizer.pad_id)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = model(batch.features, batch.feature_lengths, batch.tokens_in)
        criterion.mean(criterion.totals(output, batch), Sizes.of([batch]))
    # The bf16 copies of the weights are an item of their own in the estimate.
    measured = sum(size for size, _ in saved.values()) - 2 * count_parameters(model)
    seconds = batch.features[..., 0].numel() / 100
    estimated = seconds * BENCHMARK["activation_bytes"](config, tokenizer.vocab_size, batch.tokens_in.numel() / seconds)
    assert estimated == pytest.approx(measured, rel=0.08)
