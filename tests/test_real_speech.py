"""The recipe for real speech on real speech, a few utterances of it. Skipped where there is none."""

import math

import pytest
from tiny import MODEL
from tiny_training import read_metrics

import asr_tutorial
from asr_tutorial.config import load_config
from asr_tutorial.corpus import Corpus, read_corpus, write_manifest
from asr_tutorial.training import train

UTTERANCES = 12


@pytest.fixture
def manifest(real_data, tmp_path):
    """The shortest utterances of dev-218spk, a few of them."""
    corpus = read_corpus("dev-218spk", root=real_data)
    assert corpus.skipped == []
    assert len(corpus) > 200
    assert len({utterance.speaker for utterance in corpus}) == 218
    shortest = sorted(corpus, key=lambda utterance: utterance.seconds)[:UTTERANCES]
    write_manifest(Corpus(corpus.path, shortest), tmp_path / "few.tsv")
    return tmp_path / "few.tsv"


def test_the_recipe_takes_three_steps_and_the_result_can_be_evaluated(manifest, tmp_path):
    splits = [f"--data.{split}=[{manifest}]" for split in ("train", "dev")]
    small = [f"--model.{key}={value}" for key, value in MODEL.items()]
    settings = [
        "--training.max_steps=3",
        "--training.device=cpu",
        f"--data.cache={tmp_path / 'cache'}",
        "--data.test=[]",
    ]
    config = load_config("mini_librispeech", [*splits, *small, *settings])
    result = train(config, tmp_path / "run", progress=False)
    (record,) = read_metrics(result.run_folder)["validations"]
    assert record["step"] == 3
    assert math.isfinite(record["train"]["loss"])
    recognizer = asr_tutorial.load(result.run_folder, "cpu")
    evaluation = recognizer.evaluate(manifest, search="ctc", limit=4)
    assert evaluation.utterances == 4
    assert evaluation.skipped == []
    assert evaluation.words.reference > 4
    assert math.isfinite(evaluation.words.rate)
