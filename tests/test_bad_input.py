"""What users really have: each thing that can be wrong is a clear error, or a skip that is counted and named.

Three tables: utterances that training leaves out, mistakes that end in an error, and input that looks wrong but works.
"""

import errno
import os
import re

import numpy as np
import pytest
import soundfile
from tiny import sound, tiny_recognizer
from tiny_training import read_metrics, training_config
from typer.testing import CliRunner

import asr_tutorial
from asr_tutorial.checkpoint import load_checkpoint
from asr_tutorial.cli import app
from asr_tutorial.config import to_yaml
from asr_tutorial.errors import AudioError, CheckpointError, CorpusError, TrainingError
from asr_tutorial.training import overfit, train
from asr_tutorial.training.state import load_state

BAD = "10-7-0001"
"""The utterance that each row of the first table spoils; ``10-7-0001.wav`` in the fixture ``tiny_corpus``."""


def audio_of(corpus):
    return corpus / "10" / "7" / f"{BAD}.wav"


def write_audio(corpus, samples, sample_rate=16_000, suffix=".wav"):
    audio_of(corpus).unlink()
    soundfile.write(audio_of(corpus).with_suffix(suffix), samples, sample_rate)


def write_text(corpus, text):
    path = corpus / "10" / "7" / "10-7.trans.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(f"{BAD} {text}" if line.startswith(BAD) else line for line in lines), encoding="utf-8")


def corrupt_flac(corpus):
    write_audio(corpus, sound(1.0), suffix=".flac")
    path = audio_of(corpus).with_suffix(".flac")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2000] = bytes(2000)
    path.write_bytes(content)


def cut_flac(corpus):
    write_audio(corpus, sound(1.0), suffix=".flac")
    path = audio_of(corpus).with_suffix(".flac")
    path.write_bytes(path.read_bytes()[:-3000])


def nan_samples(corpus):
    write_audio(corpus, sound(1.0))
    samples = np.full(16_000, np.nan, dtype=np.float32)
    soundfile.write(audio_of(corpus), samples, 16_000, subtype="FLOAT")


def no_transcript(corpus):
    path = corpus / "10" / "7" / "10-7.trans.txt"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith(BAD)), encoding="utf-8")


SKIPS = {
    "corrupt FLAC": (corrupt_flac, "damaged"),
    "FLAC cut off": (cut_flac, "incomplete|damaged"),
    "not audio at all": (
        lambda corpus: audio_of(corpus).write_bytes(b"x" * 5000),
        "not audio|cannot be read|unreadable",
    ),
    "empty file": (lambda corpus: audio_of(corpus).write_bytes(b""), "empty"),
    "no samples": (lambda corpus: write_audio(corpus, np.zeros(0)), "holds no samples"),
    "NaN samples": (nan_samples, "NaN"),
    "too short": (lambda corpus: write_audio(corpus, sound(0.05)), r"0\.05 s is shorter than min_seconds"),
    "40 s": (lambda corpus: write_audio(corpus, sound(40.0)), r"40\.00 s is longer than max_seconds \(20\)"),
    "audio is missing": (
        lambda corpus: audio_of(corpus).unlink(),
        r"no audio file for this line of .*10-7\.trans\.txt",
    ),
    "transcript is missing": (no_transcript, r"no transcript for .*10-7-0001\.wav"),
    "transcript is empty": (lambda corpus: write_text(corpus, ""), "empty transcript"),
    "transcript longer than the frames allow": (
        lambda corpus: write_text(corpus, "A" * 60),
        "transcript is too long for CTC",
    ),
}


@pytest.mark.parametrize(("spoil", "reason"), SKIPS.values(), ids=SKIPS)
def test_an_utterance_that_cannot_be_used_is_skipped_counted_and_named(tiny_corpus, tmp_path, caplog, spoil, reason):
    spoil(tiny_corpus)
    config = training_config(tiny_corpus, "--data.test=[]")
    config.data.dev = [str(good_corpus(tmp_path))]
    with caplog.at_level("INFO", "asr_tutorial"):
        overfit(config, steps=1, progress=False)  # reads and checks its data as a whole training does
    assert "tiny: 5 utterances" in caplog.messages[0]
    (message,) = [message for message in caplog.messages if " skipped " in message]
    assert message.startswith(f"tiny: 1 utterances skipped ({BAD}: ")
    assert re.search(reason, message), message


def good_corpus(folder):
    (folder / "good").mkdir()
    soundfile.write(folder / "good" / "a.flac", sound(1.0), 16_000)
    (folder / "good.tsv").write_text("audio\ttext\ngood/a.flac\tONE\n", encoding="utf-8")
    return folder / "good.tsv"


def test_features_that_are_nan_are_skipped(tmp_path):
    for kind in ("fbank", "text"):
        (tmp_path / "arrays" / kind).mkdir(parents=True)
    for number in range(3):
        array = np.random.default_rng(number).normal(size=(120, 20)).astype(np.float32)
        array[50] = np.nan if number == 1 else 0
        np.save(tmp_path / "arrays" / "fbank" / f"utt{number}.npy", array)
        np.save(tmp_path / "arrays" / "text" / f"utt{number}.npy", np.array(list("HELLO")))
    config = training_config(tmp_path / "arrays", "--training.max_steps=1")
    run = train(config, tmp_path / "run", progress=False).run_folder
    log = (run / "train.log").read_text(encoding="utf-8")
    assert "arrays: 2 utterances" in log
    assert "1 utterances skipped (utt1: features are not finite (NaN or infinity))" in log


def test_unknown_characters_in_dev_are_counted_and_named(tiny_corpus, tmp_path):
    config = training_config(tiny_corpus, "--training.max_steps=1", "--data.test=[]")
    dev = good_corpus(tmp_path)
    dev.write_text("audio\ttext\ngood/a.flac\tONE 7 + 7\n", encoding="utf-8")
    config.data.dev = [str(dev)]
    run = train(config, tmp_path / "run", progress=False).run_folder
    log = (run / "train.log").read_text(encoding="utf-8")
    assert "good: characters that the tokenizer does not know: '7' (2), '+' (1)" in log
    # They are errors of the recogniser, not reasons to leave the utterance out.
    assert read_metrics(run)["validations"][0]["dev"][str(dev)]["wer"] > 0


def test_a_dev_transcript_longer_than_the_frames_allow_does_not_end_the_training(tiny_corpus, tmp_path):
    config = training_config(tiny_corpus, "--training.max_steps=1", "--data.test=[]")
    dev = good_corpus(tmp_path)
    dev.write_text(f"audio\ttext\ngood/a.flac\t{'ONE ' * 20}\n", encoding="utf-8")
    config.data.dev = [str(dev)]
    run = train(config, tmp_path / "run", progress=False).run_folder
    figures = read_metrics(run)["validations"][0]["dev"][str(dev)]  # valid JSON: no Infinity
    assert figures["ctc"] == 0
    assert figures["wer"] > 0


# Mistakes that end in an error, with the command line's exit code 2


def empty_folder(tmp_path, corpus):
    (tmp_path / "void").mkdir()
    return ["train", f"--data.train=[{tmp_path / 'void'}]"]


def only_bad_utterances(tmp_path, corpus):
    for path in [*corpus.rglob("*.flac"), *corpus.rglob("*.wav"), *corpus.rglob("*.opus")]:
        path.write_bytes(b"")
    return train_on(corpus)


def duplicate_ids(tmp_path, corpus):
    audio = audio_of(corpus)
    (tmp_path / "twice.tsv").write_text(f"id\taudio\ttext\nutt1\t{audio}\tA\nutt1\t{audio}\tB\n", encoding="utf-8")
    return train_on(tmp_path / "twice.tsv")


def same_id_in_two_corpora(tmp_path, corpus):
    audio = audio_of(corpus)
    for name in ("a", "b"):
        (tmp_path / f"{name}.tsv").write_text(f"id\taudio\ttext\nutt1\t{audio}\tA\n", encoding="utf-8")
    return ["train", f"--data.train=[{tmp_path / 'a.tsv'}, {tmp_path / 'b.tsv'}]", "--data.dev=[]"]


def ragged_manifest(tmp_path, corpus):
    (tmp_path / "ragged.tsv").write_text("id\taudio\ttext\nutt1\tA\n", encoding="utf-8")
    return train_on(tmp_path / "ragged.tsv")


def no_transcripts_in_dev(tmp_path, corpus):
    (tmp_path / "dev.tsv").write_text(f"audio\n{audio_of(corpus)}\n", encoding="utf-8")
    return train_on(corpus, tmp_path / "dev.tsv")


def other_feature_size(tmp_path, corpus):
    (tmp_path / "arrays" / "fbank").mkdir(parents=True)
    (tmp_path / "arrays" / "text").mkdir()
    np.save(tmp_path / "arrays" / "fbank" / "utt1.npy", np.zeros((100, 13), np.float32))
    np.save(tmp_path / "arrays" / "text" / "utt1.npy", np.array("HELLO"))
    return train_on(tmp_path / "arrays")


def train_on(corpus, dev=None):
    config = training_config(corpus, "--training.max_steps=1", "--data.test=[]")
    if dev is not None:
        config.data.dev = [str(dev)]
    path = config.data.cache + ".yaml"
    with open(path, "w", encoding="utf-8") as file:
        file.write(to_yaml(config))
    return ["train", "--config", path]


def transcribe(tmp_path, name, write):
    tiny_recognizer().save(tmp_path / "model")
    write(tmp_path / name)
    return ["transcribe", "-m", str(tmp_path / "model"), str(tmp_path / name)]


MISTAKES = {
    "unknown configuration key": (
        lambda tmp_path, corpus: ["train", "--training.max_step=3"],
        r"unknown key 'training\.max_step' \(did you mean 'max_steps'\?\)",
    ),
    "impossible value": (
        lambda tmp_path, corpus: ["train", "--model.dropout=1.5"],
        r"model\.dropout: .*less than 1.*1\.5",
    ),
    "corpus folder is missing": (
        lambda tmp_path, corpus: ["train", "--data.train=[no/such/corpus]"],
        r"no corpus 'no/such/corpus'; looked for(?s:.*)Give an existing folder.*data download",
    ),
    "empty corpus": (empty_folder, r"void: neither audio nor text.*write a manifest"),
    "no usable utterance": (only_bad_utterances, r"tiny: no usable utterance; skipped 6: 10-7-0000: .*empty"),
    "the same id twice": (duplicate_ids, r"twice\.tsv: an id must name one utterance, but 'utt1' \(2 times\).*rename"),
    "the same id in two corpora": (same_id_in_two_corpora, r"'utt1' is in .*a\.tsv and in .*b\.tsv"),
    "a manifest with a column too few": (ragged_manifest, r"ragged\.tsv, line 2 has 2 columns"),
    "dev without transcripts": (no_transcripts_in_dev, r"dev\.tsv has no transcripts"),
    "features of another size": (other_feature_size, r"utt1\.npy has shape \(100, 13\).*set features\.n_mels"),
    "no such device": (
        lambda tmp_path, corpus: [*train_on(corpus), "--training.device=abacus"],
        "cannot use device 'abacus': use auto, cpu",
    ),
    "transcribe a corrupt file": (
        lambda tmp_path, corpus: transcribe(tmp_path, "bad.flac", lambda path: path.write_bytes(b"fLaC" + bytes(500))),
        r"bad\.flac",
    ),
    "transcribe an empty file": (
        lambda tmp_path, corpus: transcribe(tmp_path, "empty.wav", lambda path: path.write_bytes(b"")),
        r"empty\.wav.*empty",
    ),
    "transcribe a click": (
        lambda tmp_path, corpus: transcribe(
            tmp_path, "click.wav", lambda path: soundfile.write(path, sound(0.05), 16_000)
        ),
        r"click\.wav lasts 0\.050 s: at least 0\.1 s",
    ),
    "transcribe with no checkpoint": (
        lambda tmp_path, corpus: ["transcribe", "-m", str(tmp_path), str(audio_of(corpus))],
        r"no checkpoint at .*must hold model\.safetensors and config\.yaml",
    ),
}


@pytest.mark.parametrize(("arrange", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_clear_line(tiny_corpus, tmp_path, monkeypatch, arrange, message):
    arguments = arrange(tmp_path, tiny_corpus)
    monkeypatch.chdir(tmp_path)  # where the folder runs would be made
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    error = result.stderr[result.stderr.index("error: ") :]
    assert re.search(message, error), error
    assert "Traceback" not in result.output


# A full disk


def full_from(monkeypatch, call):
    """From the given call on, flushing a file finds the disk full."""
    flush, calls = os.fsync, iter(range(1_000_000))

    def fsync(descriptor):
        if next(calls) >= call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def test_a_disk_that_fills_up_costs_nothing_that_was_saved(tiny_corpus, tmp_path, monkeypatch):
    config = training_config(tiny_corpus, "--training.max_steps=4", "--training.validate_every=1")
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        full_from(patch, call=12)
        with pytest.raises(CheckpointError, match=r"cannot write .*run/checkpoints.*the disk is full.*free some space"):
            train(config, run, progress=False)
    step = load_state(run / "checkpoints" / "latest" / "state.pt")["progress"]["step"]
    assert 0 < step < 4
    load_checkpoint(run)
    assert not list(run.rglob("*.writing"))
    train(resume=run, progress=False)
    assert [record["step"] for record in read_metrics(run)["validations"]] == [1, 2, 3, 4]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_disk_too_full_for_the_figures(tiny_corpus, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".metrics.json.writing").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=r"run cannot go on: .*No space left.*Free some space.*--resume"):
        train(training_config(tiny_corpus), run, progress=False)


# What looks wrong and works


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_recognizer().save(folder)
    return asr_tutorial.load(folder, "cpu")


def test_8_khz_is_resampled_and_stereo_averaged(recognizer, tiny_corpus, tmp_path):
    low = sound(2.0, sample_rate=8000)
    soundfile.write(tmp_path / "low.wav", low, 8000)
    silent = np.zeros_like(low)
    soundfile.write(tmp_path / "stereo.flac", np.stack([2 * low, silent], axis=1), 8000)
    features = [recognizer.ctc_posteriors(str(tmp_path / name))[0] for name in ("low.wav", "stereo.flac")]
    assert features[0].shape == features[1].shape == (198, 80)  # 2 s, as at 16 kHz
    assert float((features[0] - features[1]).abs().mean()) < 0.05  # 16-bit rounding
    # And in training, without a word in the log.
    write_audio(tiny_corpus, np.stack([low, low], axis=1), 8000)
    run = train(training_config(tiny_corpus, "--training.max_steps=1"), tmp_path / "run", progress=False).run_folder
    log = (run / "train.log").read_text(encoding="utf-8")
    assert "tiny: 6 utterances" in log
    assert "skipped" not in log


def test_40_s_are_split_for_recognition(recognizer, tmp_path):
    pause = np.zeros(8000, np.float32)
    soundfile.write(tmp_path / "long.wav", np.concatenate([sound(19.75), pause, sound(19.75, 1)]), 16_000)
    transcript = recognizer.transcribe(str(tmp_path / "long.wav"))
    assert transcript.seconds == pytest.approx(40.0)
    pieces = recognizer.transcribe(
        [np.concatenate([sound(19.75), pause[:4000]]), np.concatenate([pause[4000:], sound(19.75, 1)])]
    )
    assert transcript.text == " ".join(piece.text for piece in pieces).strip()


def test_a_corrupt_file_in_an_evaluation_is_skipped_and_named(recognizer, tiny_corpus):
    corrupt_flac(tiny_corpus)
    evaluation = recognizer.evaluate(tiny_corpus)
    assert evaluation.utterances == 5
    assert [skip.id for skip in evaluation.skipped] == [BAD]


def test_errors_can_be_told_apart_in_python(recognizer, tmp_path):
    with pytest.raises(AudioError, match=r"no audio file at .*nothing\.wav"):
        recognizer.transcribe(str(tmp_path / "nothing.wav"))
    with pytest.raises(CorpusError):
        recognizer.evaluate(tmp_path / "nothing")
    with pytest.raises(AudioError, match="NaN"):
        recognizer.transcribe(np.full(16_000, np.nan, np.float32))
