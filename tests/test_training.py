"""Whole trainings of tiny models: what they leave behind, and that they learn."""

import csv
import dataclasses
import importlib
import json
import logging
import math
import re
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import sound_corpus
from tiny_training import TEXTS, differing, read_metrics, training_config, weights

import asr_tutorial
from asr_tutorial.checkpoint import load_checkpoint, read_info
from asr_tutorial.config import STEPWISE_SEARCHES, load_config
from asr_tutorial.corpus import read_corpus
from asr_tutorial.dataset import SpeechDataset, speech
from asr_tutorial.errors import TrainingError, UserError
from asr_tutorial.tokenizer import CharTokenizer
from asr_tutorial.training import loop, overfit, train
from asr_tutorial.training.loss import JointLoss, Sizes
from asr_tutorial.training.run import RunFolder
from asr_tutorial.training.state import average_weights, load_state


def train_in(folder, config):
    train(config, folder, progress=False)
    return folder


def trainer_for(config, folder):
    run = RunFolder.create(config, folder)
    return loop.Trainer(run, progress=False), run


# What a run leaves behind


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 6 steps with a validation after each second, and an average of the weights."""
    folder = tmp_path_factory.mktemp("finished")
    corpus = sound_corpus(folder / "tiny", TEXTS)
    config = training_config(
        corpus,
        "--training.max_steps=6",
        "--training.validate_every=2",
        "--training.log_every=3",
        "--training.ema_decay=0.9",
        "--training.validation_search=greedy",
    )
    return train_in(folder / "run", config), config, str(corpus)


def test_a_recorded_run_holds_every_search(finished, tmp_path, monkeypatch):
    run, _, corpus = finished
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "tools"))
    record_run = importlib.import_module("record_run")
    monkeypatch.setattr(record_run, "DATA", tmp_path)
    monkeypatch.setattr(sys, "argv", ["record_run.py", str(run), "tiny", "--corpus", corpus])
    record_run.main()
    results = tmp_path / "results" / "tiny"
    record = json.loads((results / "evaluation.json").read_text(encoding="utf-8"))
    assert tuple(figures["search"] for figures in record["figures"]) == STEPWISE_SEARCHES
    for search in STEPWISE_SEARCHES:
        assert (results / f"hypotheses_tiny_{search}.tsv").read_text(encoding="utf-8").count("\n") == len(TEXTS)
    assert asr_tutorial.load(tmp_path / "pretrained" / "tiny", device="cpu").tokenizer.vocab_size > 0
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--search", "beam"])
    with pytest.raises(SystemExit):
        record_run.main()


def test_the_run_folder(finished):
    run, config, corpus = finished
    assert load_config(run / "config.yaml") == config
    log = (run / "train.log").read_text(encoding="utf-8")
    for line in (
        r"tiny: 6 utterances, 0\.00 h",
        r"tinyspeech: 0\.01M parameters, 24 tokens, fp32 on cpu, 6 steps",
        r"step 3 loss \d+\.\d+ ctc \d+\.\d+ attention \d+\.\d+ accuracy \d\.\d+ "
        r"norm \d+\.\d+ lr \d\.\d+e-\d+ \| \d+ s/s, padding \d+\.\d%",
        rf"step 6 {re.escape(corpus)}: WER \d+\.\d% CER \d+\.\d% loss \d+\.\d+ \(best CER \d+\.\d% at step \d\)",
        r"test .* WER \d+\.\d% CER \d+\.\d%",
        rf"finished: {re.escape(str(run))}",
    ):
        assert re.search(line, log), line
    assert sorted(path.name for path in (run / "plots").iterdir()) == [
        "attention_000002.png", "attention_000004.png", "attention_000006.png", "learning_curves_000006.png"
    ]  # fmt: skip
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best", "latest"]
    assert not list(run.rglob("*.writing"))


def test_metrics_of_each_validation_and_of_the_test_set(finished):
    run, config, corpus = finished
    metrics = read_metrics(run)
    assert metrics.keys() == {"validations", "environment", "test", "train_seconds", "skipped_updates"}
    assert [record["step"] for record in metrics["validations"]] == [2, 4, 6]
    for record in metrics["validations"]:
        assert record["train"]["loss"] > 1  # not empty, though a line of the log lay between: see since_validation
        assert record["train"]["grad_norm"] > 0
        assert 0 <= record["train"]["padding"] < 1
        assert record["train"]["audio_seconds_per_second"] > 0
        dev = record["dev"][corpus]
        assert dev.keys() == {"wer", "cer", "loss", "ctc", "attention", "token_accuracy", "sequence_accuracy"}
        weight = config.training.ctc_weight
        assert dev["loss"] == pytest.approx(weight * dev["ctc"] + (1 - weight) * dev["attention"])
    epochs = [record["epoch"] for record in metrics["validations"]]
    assert 0 < epochs[0] < epochs[1] < epochs[2]
    assert metrics["test"]["wer"] == metrics["test"]["corpora"][corpus]["wer"]
    assert metrics["test"]["cer"] == metrics["test"]["corpora"][corpus]["cer"]
    # Dev and test are the same here, so the figure of the best checkpoint is that of the best validation.
    assert metrics["test"]["cer"] == min(record["dev"][corpus]["cer"] for record in metrics["validations"])
    assert metrics["skipped_updates"] == 0
    environment = metrics["environment"]
    assert environment["torch"] == torch.__version__
    assert environment.keys() >= {"command", "date", "device", "cores", "threads", "python", "commit"}


def test_results_are_a_table_of_the_same_figures(finished):
    run, _, corpus = finished
    with (run / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    metrics = read_metrics(run)
    assert len(rows) == 3
    for row, record in zip(rows, metrics["validations"], strict=True):
        assert {"step", "epoch", "lr", "train_seconds", "train.loss", "train.padding"} <= row.keys()
        assert float(row[f"dev.{corpus}.cer"]) == record["dev"][corpus]["cer"]
        assert float(row["train.loss"]) == record["train"]["loss"]


def test_tensorboard_has_every_figure_and_picture(finished):
    run, _, corpus = finished
    events = EventAccumulator(str(run), size_guidance={"images": 0})
    events.Reload()
    tags = events.Tags()
    assert {f"{corpus}/wer", f"{corpus}/cer", f"{corpus}/loss", "train/loss", "lr"} <= set(tags["scalars"])
    assert set(tags["images"]) == {"attention", "learning_curves"}
    metrics = read_metrics(run)
    recorded = [(event.step, event.value) for event in events.Scalars(f"{corpus}/loss")]
    assert recorded == [
        (record["step"], pytest.approx(record["dev"][corpus]["loss"], rel=1e-5)) for record in metrics["validations"]
    ]
    assert [event.step for event in events.Scalars("train/loss")] == [3, 6]


def test_sample_transcripts(finished):
    run, _, corpus = finished
    text = (run / "samples.txt").read_text(encoding="utf-8")
    titles = [line for line in text.splitlines() if line.startswith("==")]
    assert titles == [f"== step {step}, {corpus}, greedy" for step in (2, 4, 6, 6)]  # the last is the test set
    assert text.count("  said  TWO WORDS\n") == 4
    assert text.count("  heard ") == text.count("  said  ") == 20


def test_the_best_checkpoint_is_a_recogniser(finished):
    run, config, corpus = finished
    recognizer = asr_tutorial.load(run, "cpu")
    assert recognizer.config == config
    file = next(Path(corpus).rglob("*.flac"))
    assert isinstance(recognizer.transcribe(str(file)).text, str)
    evaluation = recognizer.evaluate(corpus)
    assert evaluation.characters.rate == pytest.approx(read_metrics(run)["test"]["cer"])
    info = read_info(run)
    best = min(read_metrics(run)["validations"], key=lambda record: record["dev"][corpus]["cer"])
    assert info["step"] == best["step"]
    assert info["dev"] == best["dev"][corpus]


def test_a_new_run_gets_a_folder_of_its_own(tiny_corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = training_config(tiny_corpus)
    first, second = RunFolder.create(config), RunFolder.create(config)
    for run in (first, second):
        assert re.fullmatch(r"runs/\d{8}-\d{6}_tinyspeech(-2)?", run.path.as_posix())
        run.close()
    assert first.path != second.path


def test_a_finished_run_leaves_the_log_as_it_found_it(tiny_corpus, tmp_path):
    handlers = list(logging.getLogger("asr_tutorial").handlers)
    train_in(tmp_path / "good", training_config(tiny_corpus, "--training.max_steps=1"))
    with pytest.raises(UserError):
        train(training_config(tmp_path / "nothing"), tmp_path / "bad", progress=False)
    assert logging.getLogger("asr_tutorial").handlers == handlers


# Validation


def test_validation_covers_the_whole_dev_set_with_the_averaged_weights(tiny_corpus, tmp_path):
    config = training_config(
        tiny_corpus, "--training.max_steps=5", "--training.validate_every=5", "--training.ema_decay=0.5"
    )
    run = train_in(tmp_path / "run", config)
    model, tokenizer, _ = load_checkpoint(run)
    state = load_state(run / "checkpoints" / "latest" / "state.pt")["stepper"]
    assert differing(dict(model.named_parameters()), state["ema"]) == []
    assert differing(model.state_dict(), state["model"])  # which are not the weights of the last step
    # One utterance at a time, in a plain loop.
    corpus = read_corpus(tiny_corpus)
    criterion = JointLoss(
        config.training.ctc_weight, config.training.label_smoothing, tokenizer.blank_id, tokenizer.pad_id
    )
    store = loop.prepare(config, progress=False)[0].dev[str(tiny_corpus)].dataset.store
    dataset = SpeechDataset(corpus, store, tokenizer, training=False)
    batches = [speech.collate([example], tokenizer) for example in (dataset[i] for i in range(len(dataset)))]
    ctc = attention = 0.0
    with torch.no_grad():
        for batch in batches:
            totals = criterion.totals(model(batch.features, batch.feature_lengths, batch.tokens_in), batch)
            ctc, attention = ctc + float(totals.ctc), attention + float(totals.attention)
    sizes = Sizes.of(batches)
    assert sizes.utterances == 6
    found = read_metrics(run)["validations"][0]["dev"][str(tiny_corpus)]
    assert found["ctc"] == pytest.approx(ctc / sizes.ctc_tokens, rel=1e-4)
    assert found["attention"] == pytest.approx(attention / sizes.attention_tokens, rel=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_validation_leaves_mode_weights_and_average_as_they_were(tiny_corpus, tmp_path, training):
    trainer, run = trainer_for(training_config(tiny_corpus, "--training.ema_decay=0.5"), tmp_path / "run")
    trainer.stepper.step([next(trainer.data.train.batches(0))], 0)
    model = trainer.stepper.model.train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    average = {name: tensor.clone() for name, tensor in trainer.stepper.ema.average.items()}
    trainer._validate()
    run.close()
    assert all(module.training == training for module in model.modules())
    assert differing(dict(model.state_dict()), before) == []
    assert differing(trainer.stepper.ema.average, average) == []


def test_a_validation_that_fails_gives_the_weights_back(tiny_corpus, tmp_path, monkeypatch):
    trainer, run = trainer_for(training_config(tiny_corpus, "--training.ema_decay=0.5"), tmp_path / "run")
    trainer.stepper.step([next(trainer.data.train.batches(0))], 0)
    before = {name: tensor.clone() for name, tensor in trainer.stepper.model.state_dict().items()}
    monkeypatch.setattr(loop, "decode_batch", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer._validate()
    run.close()
    assert differing(dict(trainer.stepper.model.state_dict()), before) == []


def test_transcripts_in_lower_case_are_not_wrong(tiny_corpus, tmp_path, monkeypatch):
    config = training_config(tiny_corpus)
    lower = tmp_path / "lower.tsv"
    rows = [f"{item.audio}\t{item.text.lower()}\n" for item in read_corpus(tiny_corpus)]
    lower.write_text("audio\ttext\n" + "".join(rows), encoding="utf-8")
    config.data.dev = [str(lower)]
    trainer, run = trainer_for(config, tmp_path / "run")
    texts = iter([item.text for item in sorted(read_corpus(tiny_corpus), key=lambda item: -item.seconds)])
    answer = dataclasses.make_dataclass("Decoded", ["text"])
    monkeypatch.setattr(
        loop, "decode_batch", lambda model, tokenizer, batch, search: [answer(next(texts)) for _ in batch.ids]
    )
    assert trainer._measure("lower", trainer.data.dev[str(lower)])["wer"] == 0
    run.close()


def test_dev_sets_of_which_the_first_chooses_the_best(tiny_corpus, tmp_path, monkeypatch):
    other = tmp_path / "other.tsv"
    item = read_corpus(tiny_corpus).utterances[0]
    other.write_text(f"id\taudio\ttext\n{item.id}\t{item.audio}\t{item.text}\n", encoding="utf-8")
    config = training_config(tiny_corpus, "--training.validate_every=1", "--training.max_steps=3", "--data.test=[]")
    config.data.dev = [str(tiny_corpus), str(other)]
    scripted(monkeypatch, {str(tiny_corpus): [0.5, 0.3, 0.4], str(other): [0.3, 0.9, 0.1]})
    run = train_in(tmp_path / "run", config)
    assert read_info(run)["step"] == 2
    assert list(read_metrics(run)["validations"][0]["dev"]) == [str(tiny_corpus), str(other)]
    assert read_metrics(run)["test"] == {}


def scripted(monkeypatch, rates):
    """Validations that find the given character error rates, one after the other."""
    left = {name: iter(values) for name, values in rates.items()}
    figures = ("wer", "loss", "ctc", "attention", "token_accuracy", "sequence_accuracy")
    monkeypatch.setattr(
        loop.Trainer, "_measure", lambda self, name, loader: dict.fromkeys(figures, 0.5) | {"cer": next(left[name])}
    )


@pytest.mark.parametrize(("of_average", "is_best"), [(0.2, True), (0.35, False)])
def test_the_average_of_the_best_checkpoints_is_taken_where_it_is_better(
    tiny_corpus, tmp_path, monkeypatch, of_average, is_best
):
    settings = ["--training.average=2", "--training.validate_every=1", "--training.max_steps=4", "--data.test=[]"]
    scripted(monkeypatch, {str(tiny_corpus): [12.0, 0.3, 0.5, 0.4, of_average]})
    run = train_in(tmp_path / "run", training_config(tiny_corpus, *settings))
    files = sorted((run / "checkpoints" / "candidates").iterdir())
    assert [int(path.stem.rpartition("_")[2]) for path in files] == [2, 4]  # the steps with 0.3 and 0.4
    states = [load_state(path) for path in files]
    expected = average_weights(states) if is_best else states[0]
    assert differing(dict(load_checkpoint(run)[0].state_dict()), expected) == []


# Steps


def test_the_schedule_counts_optimiser_steps_whatever_is_accumulated(tiny_corpus, tmp_path):
    rates, epochs = {}, {}
    for accumulate in (1, 2):
        config = training_config(
            tiny_corpus,
            f"--training.accumulate={accumulate}",
            "--training.validate_every=1",
            "--training.schedule.kind=cosine",
        )
        records = read_metrics(train_in(tmp_path / f"run{accumulate}", config))["validations"]
        rates[accumulate] = [record["lr"] for record in records]
        epochs[accumulate] = records[-1]["epoch"]
    assert rates[1] == rates[2]
    assert rates[1][:2] == [0.5 * rates[1][1], config.training.optimizer.lr]  # the warm-up takes two steps
    assert epochs[2] > epochs[1]


def test_epochs_end_with_a_validation_each_and_use_every_batch(tiny_corpus, tmp_path, monkeypatch):
    seen = []
    step = loop.Stepper.step
    monkeypatch.setattr(
        loop.Stepper, "step", lambda self, batches, number: (seen.append(batches), step(self, batches, number))[1]
    )
    config = training_config(
        tiny_corpus,
        "--training.max_steps=0",
        "--training.max_epochs=3",
        "--training.accumulate=2",
        "--data.batch_seconds=3",
    )
    run = train_in(tmp_path / "run", config)
    assert [record["epoch"] for record in read_metrics(run)["validations"]] == [1, 2, 3]
    ids = [name for batches in seen for batch in batches for name in batch.ids]
    per_epoch = [set(ids[start : start + 6]) for start in (0, 6, 12)]
    assert len(ids) == 18
    assert all(len(names) == 6 for names in per_epoch)
    assert {len(batches) for batches in seen} <= {1, 2}


def test_some_bad_gradients_are_skipped_and_counted(tiny_corpus, tmp_path, monkeypatch):
    mean, calls = JointLoss.mean, iter(range(1000))

    def sometimes_nan(self, totals, sizes):
        return mean(self, totals, sizes) * (math.nan if next(calls) in (1, 2) else 1.0)

    monkeypatch.setattr(JointLoss, "mean", sometimes_nan)
    run = train_in(tmp_path / "run", training_config(tiny_corpus, "--training.validate_every=1"))
    metrics = read_metrics(run)  # valid JSON: no NaN in it
    assert metrics["skipped_updates"] == 2
    assert [record["train"]["grad_norm"] > 0 for record in metrics["validations"]] == [True, False, False, True]
    assert all(torch.isfinite(tensor).all() for tensor in weights(run).values())


def test_a_run_without_finite_gradients_gives_up(tiny_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(JointLoss, "mean", lambda self, totals, sizes: totals.ctc * math.nan)
    config = training_config(tiny_corpus, "--training.max_steps=100", "--training.validate_every=100")
    message = (
        rf"no finite gradient in {loop.MAX_BAD_STEPS} steps.*utterances: 1\d-7-000\d.*Lower training\.optimizer\.lr"
    )
    with pytest.raises(TrainingError, match=message):
        train(config, tmp_path / "run", progress=False)


# Learning


def test_one_batch_is_learnt_by_heart(tiny_corpus):
    config = training_config(
        tiny_corpus,
        "--model.d_model=32",
        "--model.d_ff=64",
        "--data.batch_seconds=12",
        "--training.optimizer.lr=0.005",
        "--training.schedule.kind=constant",
        "--training.schedule.warmup_steps=100000",  # that of a long training, of which overfit takes its share
    )
    before = dataclasses.replace(config)
    losses = overfit(config, steps=200, progress=False)
    assert len(losses) == 200
    assert losses[0] > 2
    assert losses[-1] < 0.1
    assert config == before  # dropout and masks are switched off in a copy


@pytest.mark.parametrize(
    "settings",
    [
        ["--training.precision=bf16", "--training.validation_search=attention"],
        ["--model.decoder_layers=0", "--training.ctc_weight=1.0", "--training.validation_search=prefix"],
        ["--training.ctc_weight=0.0", "--training.validation_search=greedy"],
        ["--tokenizer.kind=bpe", "--tokenizer.vocab_size=30"],
        ["--tokenizer.kind=unigram", "--tokenizer.vocab_size=28"],
        ["--features.normalize=utterance", "--model.conv_kernel=3", "--model.subsampling=pool"],
        ["--data.workers=1"],
    ],
    ids=lambda settings: " ".join(settings),
)
def test_the_loss_falls_in_every_kind_of_training(tiny_corpus, tmp_path, settings):
    common = ["--training.max_steps=12", "--training.validate_every=6", "--training.optimizer.lr=0.01"]
    run = train_in(tmp_path / "run", training_config(tiny_corpus, *common, *settings))
    first, second = read_metrics(run)["validations"]
    assert second["train"]["loss"] < first["train"]["loss"]
    assert isinstance(asr_tutorial.load(run, "cpu").evaluate(tiny_corpus, search="ctc").words.rate, float)


# Checks before the first step


def test_special_tokens_that_share_an_id(tiny_corpus, monkeypatch):
    monkeypatch.setattr(CharTokenizer, "pad_id", CharTokenizer.eos_id)
    with pytest.raises(TrainingError, match=r"special tokens \(blank, sos, eos, unk, pad\) need an id each"):
        overfit(training_config(tiny_corpus), steps=1)


def test_special_tokens_in_ctc_targets(tiny_corpus, monkeypatch):
    encode = CharTokenizer.encode
    monkeypatch.setattr(CharTokenizer, "encode", lambda self, text: [self.sos_id, *encode(self, text)])
    with pytest.raises(TrainingError, match=r"1\d-7-000\d: CTC targets hold special tokens: \[1, "):
        overfit(training_config(tiny_corpus), steps=1)


@pytest.mark.parametrize(("field", "row"), [("tokens_out", slice(None)), ("tokens_in", 0)])
def test_a_decoder_that_would_not_see_sos_or_eos(tiny_corpus, monkeypatch, field, row):
    collate = speech.collate

    def wrong(examples, tokenizer, *arguments):
        batch = collate(examples, tokenizer, *arguments)
        getattr(batch, field)[:, row] = tokenizer.pad_id
        return batch

    monkeypatch.setattr(speech, "collate", wrong)
    with pytest.raises(TrainingError, match=r"1\d-7-000\d: the decoder's input must begin with SOS and its target end"):
        overfit(training_config(tiny_corpus), steps=1)


def test_speech_longer_than_the_positions(tiny_corpus):
    # The longest utterance has 248 frames, padded to 256, which make 64 positions; at speed 0.5 twice as many.
    overfit(training_config(tiny_corpus, "--model.max_length=64", "--data.batch_seconds=2.6"), steps=10, progress=False)
    with pytest.raises(TrainingError, match=r"tiny needs 64 positions, model\.max_length is 63: raise it"):
        overfit(training_config(tiny_corpus, "--model.max_length=63"), steps=1)
    config = training_config(tiny_corpus, "--augment.speeds=[1.0, 0.5]", "--model.max_length=127")
    with pytest.raises(TrainingError, match=r"tiny needs 128 positions"):
        loop.prepare(config, progress=False)


def test_no_dev_set(tiny_corpus):
    with pytest.raises(TrainingError, match=r"data\.dev is empty"):
        loop.prepare(training_config(tiny_corpus, "--data.dev=[]"), progress=False)
