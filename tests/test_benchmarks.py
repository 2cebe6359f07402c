"""The benchmarks: those of training run and estimate memory rightly; what all share takes turns, counts and records."""

import importlib
import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import OVERRIDES
from torch.nn import functional as F

import asr_tutorial.attention
from asr_tutorial.config import load_config
from asr_tutorial.model import build_model, count_parameters
from asr_tutorial.training.loss import JointLoss, Sizes

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
BENCHMARK = runpy.run_path(str(BENCHMARKS / "training.py"))
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


@pytest.fixture
def common(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("common")


def counting(log: list[str], name: str, output: object = None):
    def work() -> object:
        log.append(name)
        return output

    return work


def test_systems_take_turns_in_a_changing_order(common):
    log: list[str] = []
    table = common.Table("work", baseline="a")
    for name in "abc":
        table.add(name, lambda name=name: counting(log, name, name.upper()))
    table.measure(rounds=2, least_seconds=0)
    assert log[:3] == ["a", "b", "c"]  # the warm-up
    rounds = ["".join(log[start : start + 3]) for start in range(3, len(log), 3)]
    assert rounds == ["abc", "bca", "cab", "abc", "bca"]  # never fewer than five
    assert table.outputs == {"a": "A", "b": "B", "c": "C"}
    assert all(len(values) == 5 for values in table.times.values())


def test_short_work_is_repeated_within_a_round(common, monkeypatch):
    """By a clock that goes on by 0.25 ms with each piece of work, whatever else the machine does."""
    log: list[str] = []
    clock = SimpleNamespace(perf_counter=lambda: len(log) / 4096, process_time=lambda: len(log) / 8192)
    monkeypatch.setattr(common, "time", clock)
    table = common.Table("work", baseline="a")
    table.add("a", lambda: counting(log, "a"))
    table.measure(rounds=5, least_seconds=8 / 4096)
    assert len(log) == 1 + 5 * 8  # once to warm up, then eight times in each round
    assert table.times["a"] == [1 / 4096] * 5
    assert table.processor["a"] == [1 / 8192] * 5


def test_ratios_are_those_of_medians(common):
    table = common.Table("work", baseline="ours", columns=("parameters",))
    table.times = {"ours": [1.0, 2.0, 3.0, 2.0, 9.0], "theirs": [4.0, 5.0, 5.0, 5.0, 100.0]}
    table.processor = {"ours": [1.0] * 5, "theirs": [3.0] * 5}
    table.facts["theirs"] = {"parameters": "7M"}
    ours, theirs = table.rows()
    assert (ours["median"], ours["ratio"]) == (2.0, 1.0)
    assert (theirs["median"], theirs["min"], theirs["max"], theirs["ratio"]) == (5.0, 4.0, 100.0, 2.5)
    assert theirs["processor_ratio"] == 3.0
    low, high = theirs["ratio_quartiles"]
    assert (low, high) == (2.5, 4.0)  # of 4, 2.5, 1.67, 2.5, 11.1
    assert theirs["parameters"] == "7M"
    title, _, our_line, their_line = str(table).splitlines()
    assert title == "work"
    assert our_line.split()[:2] == ["ours", "2000"]
    assert their_line.split()[-1] == "7M"


def test_a_peer_that_fails_is_named_and_the_others_go_on(common):
    table = common.Table("work", baseline="ours")

    def missing():
        import a_package_that_nobody_has  # noqa: F401

    def broken() -> None:
        raise RuntimeError("no weights\nand more")

    table.add("ours", lambda: lambda: 1)
    table.add("not installed", missing)
    table.add("broken", lambda: broken)
    table.measure(rounds=5, least_seconds=0)
    assert list(table.times) == ["ours"]
    assert "a_package_that_nobody_has is not installed" in table.absent["not installed"]
    assert table.absent["broken"] == "RuntimeError: no weights"
    assert "not measured: RuntimeError: no weights" in str(table)


def test_a_failure_of_ours_is_no_absence(common):
    table = common.Table("work", baseline="ours")
    with pytest.raises(ZeroDivisionError):
        table.add("ours", lambda: 1 / 0)


def test_the_record_says_how_it_was_made(common, tmp_path, capsys):
    table = common.Table("some work", baseline="ours")
    table.add("ours", lambda: lambda: 1)
    table.measure(rounds=5, least_seconds=0)
    file = tmp_path / "results" / "work.json"
    common.finish(file, [table], ["torch", "a_package_that_nobody_has"], corpus="tones")
    record = json.loads(file.read_text(encoding="utf-8"))
    assert {"command", "date", "device", "threads", "torch", "commit", "load"} <= record["environment"].keys()
    assert set(record["environment"]["versions"]) == {"numpy", "torch"}
    assert record["corpus"] == "tones"
    assert record["tables"][0]["rows"][0]["ratio"] == 1.0
    assert record["tables"][0]["rounds"] == 5
    assert "some work" in capsys.readouterr().out


def test_without_peers_a_benchmark_says_so_and_runs_here(common, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv(common.INSIDE, raising=False)
    threads = torch.get_num_threads()
    try:
        common.enter(tmp_path / "nowhere")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    assert "benchmarks/peers.py" in capsys.readouterr().err


def test_agreement_counts_equal_results(common):
    assert common.agreement([[1], [2], [3]], [[1], [9], [3]]) == {"same": "2 of 3", "same_share": 0.6667}


def test_every_benchmark_is_a_command_that_explains_itself():
    for script in sorted(BENCHMARKS.glob("*.py")):
        text = script.read_text(encoding="utf-8")
        assert text.startswith('"""'), script.name
        if "__main__" in text:
            assert f"python benchmarks/{script.name}" in text.split('"""')[1], script.name


def test_ctc_losses_agree_where_there_are_no_peers(common):
    table = importlib.import_module("ctc_loss").compare(vocab=32, rounds=5)
    assert list(table.times) == ["F.ctc_loss", "asr_tutorial"]
    assert table.facts["asr_tutorial"]["loss error"] < 1e-2
    assert table.facts["asr_tutorial"]["gradient error"] < 5e-3


def test_equal_models_give_equal_encoder_outputs(common):
    """The model written with nn.Transformer, with our weights, says what ours says."""
    models, encoder = importlib.import_module("models"), importlib.import_module("encoder")
    sizes = models.Sizes(encoder_layers=2, decoder_layers=1, d_model=32, d_ff=64, vocab=30, channels=8, dropout=0.0)
    features, lengths = encoder.inputs(sizes)
    ours, theirs = models.Ours(sizes).eval(), models.Torch(sizes).eval()
    encoder.transplant(ours, theirs)
    assert models.parameters(ours) == models.parameters(theirs)
    with torch.no_grad():
        normalized = ours.model.normalize(features, lengths)
        expected, got = ours.encode(features, lengths), theirs.encode(normalized, lengths)
    real = torch.arange(got.shape[1]) < ((lengths + 3) // 4)[:, None]
    torch.testing.assert_close(got[real], expected[real], rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured on Linux alone")
def test_lengths_are_compared_in_time_and_memory(common, tmp_path, monkeypatch):
    lact_length = importlib.import_module("lact_length")
    monkeypatch.setattr(lact_length, "memory_of", lact_length.measure_memory)  # here, not in a process for each figure
    monkeypatch.setattr(
        lact_length, "too_large", lambda system, frames: "too large" * (frames > 40 and "full" in system)
    )
    file = tmp_path / "lact_length.json"
    threads = torch.get_num_threads()
    try:
        lact_length.main(["--lengths", "40", "70", f"--json={file}"])
    finally:
        torch.set_num_threads(threads)
    record = json.loads(file.read_text(encoding="utf-8"))
    assert {name: curve["frames"] for name, curve in record["curves"].items()} == {
        lact_length.FULL: [40],
        lact_length.KERNEL: [40],
        lact_length.BOTH: [40, 70],
        lact_length.CAUSAL: [40, 70],
    }
    assert all(seconds > 0 for curve in record["curves"].values() for seconds in curve["seconds"])
    assert record["tables"][1]["absent"] == {lact_length.FULL: "too large", lact_length.KERNEL: "too large"}
    assert asr_tutorial.attention.fused_attention is not lact_length.torch_kernel


def test_memory_of_all_pairs_grows_with_the_square(common):
    """Two matrices of 4 heads and 1,500 x 1,500 frames at least; what the memory's layer keeps is far less."""
    lact_length = importlib.import_module("lact_length")
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("memory is measured on Linux alone")
    full, lact = (lact_length.measure_memory(system, 1500) for system in (lact_length.FULL, lact_length.BOTH))
    assert full > 2 * 4 * 4 * 1500**2 * 0.9
    assert lact < full
    assert not lact_length.too_large(lact_length.BOTH, 10**6)
    assert "GB are free" in lact_length.too_large(lact_length.FULL, 10**6)


def test_where_one_curve_overtakes_another(common):
    lact_length = importlib.import_module("lact_length")
    curves = {
        lact_length.FULL: {"frames": [100, 200, 400], "seconds": [1.0, 4.0, 16.0], "bytes": [10, 40, None]},
        lact_length.BOTH: {"frames": [100, 200, 400], "seconds": [3.0, 6.0, 12.0], "bytes": [9, 18, 36]},
        lact_length.CAUSAL: {"frames": [100, 200, 400], "seconds": [30.0, 60.0, 120.0], "bytes": [20, 40, 80]},
    }
    found = {(row["system"], row["what"]): row["frames"] for row in lact_length.overtakes(curves)}
    assert found == {
        (lact_length.BOTH, "seconds"): 300,  # 3 (n / 100) = (n / 100)^2
        (lact_length.BOTH, "bytes"): 0,
        (lact_length.CAUSAL, "seconds"): None,
        (lact_length.CAUSAL, "bytes"): 200,
    }


def test_the_readme_shows_what_is_recorded(common):
    summary = importlib.import_module("summary")
    text = summary.README.read_text(encoding="utf-8")
    assert summary.filled(text) == text, "run: python benchmarks/summary.py --write"
    assert text.count("prefix_beam.json") == 3


def test_streaming_says_when_words_appear_and_which_are_corrected(common, tmp_path):
    streaming = importlib.import_module("streaming")
    assert streaming.compared(["A", "B", "C"], ["A", "X", "C", "D"]) == [(0, 0), (2, 2)]
    streaming.main(["--limit", "1", "--json", str(tmp_path / "streaming.json")])
    rows = json.loads((tmp_path / "streaming.json").read_text(encoding="utf-8"))["rows"]
    assert len(rows) == 2 * 3 * 3
    assert all(row["same_as_offline"] == "1 of 1" for row in rows)
    patient = [row for row in rows if row["partial_search"] == "greedy" and row["step_seconds"] == 0.25]
    assert [row["agreement"] for row in patient] == [1, 2, 3]
    latencies = [row["latency_mean"] for row in patient]
    assert latencies == sorted(latencies), "the more must agree, the later"
