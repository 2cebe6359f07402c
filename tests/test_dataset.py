"""Batches, buckets, the feature store and the datasets."""

import gzip
import inspect
import lzma
import os
import pickle
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from asr_tutorial import audio
from asr_tutorial.audio import read_audio
from asr_tutorial.config import FeaturesConfig
from asr_tutorial.corpus import Utterance, read_corpus
from asr_tutorial.dataset import (
    Batch,
    BucketBatchSampler,
    Example,
    FeatureStore,
    SpeechDataset,
    SpeechLoader,
    TextDataset,
    collate,
    frames_needed,
    read_lines,
    sequential_batches,
    store,
)
from asr_tutorial.dataset.sampler import BatchPlan, share
from asr_tutorial.errors import ConfigError, CorpusError, TextError, UserError
from asr_tutorial.features import fbank, log_mel, speed_perturb
from asr_tutorial.tokenizer import CharTokenizer, SentencePieceTokenizer

CONFIG = FeaturesConfig()
TOKENIZER = CharTokenizer("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")


@pytest.fixture
def corpus(tiny_corpus):
    return read_corpus(tiny_corpus)


@pytest.fixture
def features(corpus, tmp_path):
    return FeatureStore.build(corpus, CONFIG, cache=tmp_path / "cache")


# Batches


def example(name: str, frames: int, text: str) -> Example:
    return Example(name, text, torch.full((frames, 4), float(frames)), TOKENIZER.encode(text))


def test_collate():
    batch = collate([example("a", 5, "AB"), example("b", 3, "CAB")], TOKENIZER)
    blank, sos, eos, pad = TOKENIZER.blank_id, TOKENIZER.sos_id, TOKENIZER.eos_id, TOKENIZER.pad_id
    a, b, c = TOKENIZER.encode("ABC")
    assert batch.features.shape == (2, 5, 4)
    assert batch.features[1, :, 0].tolist() == [3, 3, 3, 0, 0]
    assert batch.feature_lengths.tolist() == [5, 3]
    assert batch.targets.tolist() == [[a, b, pad], [c, a, b]]
    assert batch.target_lengths.tolist() == [2, 3]
    assert batch.tokens_in.tolist() == [[sos, a, b, pad], [sos, c, a, b]]
    assert batch.tokens_out.tolist() == [[a, b, eos, pad], [c, a, b, eos]]
    assert not {blank, sos, eos} & set(batch.targets.flatten().tolist())
    assert (batch.ids, batch.texts, len(batch)) == (["a", "b"], ["AB", "CAB"], 2)
    assert batch.padding_share == pytest.approx(0.2)
    assert {t.dtype for t in vars(batch).values() if torch.is_tensor(t)} == {torch.float32, torch.int64}


@pytest.mark.parametrize(("frames", "length"), [(1, 1), (32, 16), (7, 5)])
def test_collate_rounds_both_axes(frames, length):
    batch = collate([example("a", 33, "A" * 15), example("b", 20, "AB")], TOKENIZER, frames, length)
    assert batch.features.shape[1] == -(-33 // frames) * frames
    assert batch.tokens_in.shape == batch.tokens_out.shape
    assert batch.tokens_in.shape[1] == -(-16 // length) * length
    assert batch.targets.shape[1] == batch.tokens_in.shape[1] - 1
    assert collate([example("a", 33, "A")], TOKENIZER, min_frames=50).features.shape[1] == 50


def test_batch_without_text():
    batch = collate([example("a", 5, "")], TOKENIZER)
    assert batch.target_lengths.tolist() == [0]
    assert batch.tokens_in.tolist() == [[TOKENIZER.sos_id]]
    assert batch.tokens_out.tolist() == [[TOKENIZER.eos_id]]


def test_batch_moves_to_a_device():
    moved = collate([example("a", 5, "AB")], TOKENIZER).to("meta")
    assert isinstance(moved, Batch)
    assert {t.device.type for t in vars(moved).values() if torch.is_tensor(t)} == {"meta"}
    assert moved.ids == ["a"]


# Buckets


def tinyspeech_lengths(count: int = 1000) -> np.ndarray:
    return np.random.default_rng(3).integers(150, 600, size=count)


def test_buckets_give_each_utterance_once():
    lengths = tinyspeech_lengths()
    sampler = BucketBatchSampler(lengths, 8000, 32)
    batches = list(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert len(sampler) == len(batches)


def test_one_batch_size_per_bucket():
    sampler = BucketBatchSampler(tinyspeech_lengths(), 8000, 32)
    plans = sampler.plans()
    assert all(plan.frames % 32 == 0 for plan in plans)
    assert all(max(sampler.lengths[plan.indices]) <= plan.frames for plan in plans)
    longest = max(plan.frames for plan in plans)
    partial = [plan for plan in plans if len(plan.indices) != 8000 // plan.frames]
    assert len(partial) <= 1
    assert all(plan.frames == longest for plan in partial)
    assert len({(plan.frames, len(plan.indices)) for plan in plans}) <= (600 - 150) // 32 + 3


@pytest.mark.parametrize("multiple", [16, 32, 64])
def test_padding_share_is_small_and_rightly_counted(multiple):
    lengths = tinyspeech_lengths()
    sampler = BucketBatchSampler(lengths, 8000, multiple)
    padded = sum(plan.frames * len(plan.indices) for plan in sampler.plans())
    assert sampler.padding_share() == pytest.approx(1 - lengths.sum() / padded)
    if multiple <= 32:
        assert all(sampler.padding_share(epoch) <= 0.08 for epoch in range(5))


def test_order_is_a_function_of_seed_and_epoch():
    lengths = tinyspeech_lengths()

    def order(seed: int, epoch: int, before: int = 0) -> list[list[int]]:
        sampler = BucketBatchSampler(lengths, 8000, 32, seed)
        for earlier in range(before):
            sampler.set_epoch(earlier)
            list(sampler)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 3) == order(1, 3, before=3)
    assert order(1, 3) != order(1, 4)
    assert order(1, 3) != order(2, 3)
    together = [{frozenset(batch) for batch in order(1, epoch)} for epoch in (0, 1)]
    assert len(together[0] & together[1]) < 3  # other batches, not only another order


def test_padding_share_of_another_epoch_leaves_this_one_alone():
    sampler = BucketBatchSampler(tinyspeech_lengths(), 8000, 32)
    before = list(sampler)
    other = sampler.padding_share(5)
    assert list(sampler) == before
    sampler.set_epoch(5)
    assert sampler.padding_share() == other


def test_utterance_longer_than_a_batch_gets_its_own():
    batches = list(BucketBatchSampler([900, 40, 50], 100, 10))
    assert [0] in batches
    assert sorted(index for batch in batches for index in batch) == [0, 1, 2]


@pytest.mark.parametrize("world_size", [2, 3, 8])
@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_ranks_share_each_step(world_size, accumulate):
    plans = BucketBatchSampler(tinyspeech_lengths(500), 4000, 32).plans()
    for start in range(0, len(plans), accumulate):
        step = plans[start : start + accumulate]
        parts = [share(step, rank, world_size) for rank in range(world_size)]
        assert len({len(part) for part in parts}) == 1, "each rank makes as many backward passes as the others"
        counted = [index for part in parts for plan in part if not plan.spare for index in plan.indices]
        assert sorted(counted) == sorted(index for plan in step for index in plan.indices)
        for together in zip(*parts, strict=True):
            assert all(plan.indices for plan in together)
            assert accumulate > 1 or len({plan.frames for plan in together}) == 1
            sizes = [len(plan.indices) for plan in together]
            assert accumulate > 1 or max(sizes) - min(sizes) <= 1


def test_whole_batches_are_dealt_out_where_they_can_be():
    step = [BatchPlan(32, [0, 1]), BatchPlan(64, [2]), BatchPlan(32, [3, 4]), BatchPlan(64, [5])]
    assert share(step, 0, 2) == [step[0], step[2]]
    assert share(step, 1, 2) == [step[1], step[3]]
    assert share(step, 0, 1) == step


def test_a_rank_without_an_utterance_repeats_one_that_is_not_counted():
    step = [BatchPlan(32, [7, 8])]
    assert [share(step, rank, 3) for rank in range(3)] == [
        [BatchPlan(32, [7])],
        [BatchPlan(32, [8])],
        [BatchPlan(32, [7], spare=True)],
    ]


def test_sequential_batches():
    lengths = tinyspeech_lengths(200).tolist()
    plans = sequential_batches(lengths, 8000, 32)
    assert sorted(index for plan in plans for index in plan.indices) == list(range(200))
    assert [plan.frames for plan in plans] == sorted((plan.frames for plan in plans), reverse=True)
    assert all(plan.frames * len(plan.indices) <= 8000 for plan in plans)
    assert all(max(lengths[index] for index in plan.indices) <= plan.frames for plan in plans)
    assert plans == sequential_batches(lengths, 8000, 32)
    assert [plan.indices for plan in sequential_batches([500, 9000], 8000)] == [[1], [0]]
    assert sequential_batches([], 8000) == []


# The feature store


def test_store_holds_the_features_of_the_audio(corpus, features):
    assert features.ids == [u.id for u in corpus]
    assert len(features) == 6
    assert features.n_mels == 80
    for utterance in corpus:
        expected = log_mel(torch.from_numpy(read_audio(utterance.audio)))
        np.testing.assert_allclose(features.get(utterance.id), expected.numpy(), atol=1e-4)
        assert features.frames(utterance.id) == len(expected)
    assert [len(array) for array in features] == [features.frames(name) for name in features.ids]


def counting(monkeypatch) -> list[str]:
    """The utterances whose features are computed from now on."""
    computed: list[str] = []
    original = store._features

    def spy(utterance, extractor, speed):
        computed.append(utterance.id)
        return original(utterance, extractor, speed)

    monkeypatch.setattr(store, "_features", spy)
    return computed


def test_second_run_computes_nothing(corpus, features, tmp_path, monkeypatch):
    computed = counting(monkeypatch)
    again = FeatureStore.build(corpus, replace(CONFIG, normalize="none"), cache=tmp_path / "cache")
    assert computed == []
    np.testing.assert_array_equal(again.get("10-7-0000"), features.get("10-7-0000"))
    assert isinstance(again.get("10-7-0000"), np.memmap)


@pytest.mark.parametrize("change", ["config", "file", "ids", "speed", "features", "speed_perturb", "audio"])
def test_anything_that_matters_computes_anew(corpus, features, tmp_path, monkeypatch, change):
    computed = counting(monkeypatch)
    config, speeds = CONFIG, [1.0]
    if change == "config":
        config = replace(CONFIG, n_mels=40)
    elif change == "file":
        os.utime(corpus.utterances[0].audio, ns=(1, 1))
    elif change == "ids":
        corpus.utterances.pop()
    elif change == "speed":
        speeds = [1.0, 1.1]
    else:
        changed = {"features": fbank, "speed_perturb": speed_perturb, "audio": audio}[change]
        source = inspect.getsource
        monkeypatch.setattr(inspect, "getsource", lambda code: source(code) + "# changed" * (code is changed))
    FeatureStore.build(corpus, config, speeds, cache=tmp_path / "cache")
    assert sorted(computed) == sorted(u.id for u in corpus)


def test_default_cache_is_named_by_the_environment(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_TUTORIAL_CACHE", str(tmp_path / "elsewhere"))
    FeatureStore.build(corpus, CONFIG)
    assert len(list((tmp_path / "elsewhere").rglob("features.npy"))) == 1
    monkeypatch.delenv("ASR_TUTORIAL_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.cache_folder() == tmp_path / ".cache" / "asr_tutorial" / "features"


def test_speeds(corpus, tmp_path):
    built = FeatureStore.build(corpus, CONFIG, [0.9, 1.0, 1.1], cache=tmp_path / "cache")
    assert built.speeds == (0.9, 1.0, 1.1)
    for utterance in corpus:
        for speed in built.speeds:
            expected = utterance.seconds / speed * 100
            assert abs(built.frames(utterance.id, speed) - expected) < 4
            assert len(built.get(utterance.id, speed)) == built.frames(utterance.id, speed)
    # Played at 0.9, a tone is lower: its loudest mel bin moves down.
    loudest = [int(built.get("11-7-0002", speed).mean(axis=0).argmax()) for speed in built.speeds]
    assert loudest[0] < loudest[2]


def test_bad_audio_is_a_named_skip(corpus, tmp_path, write_tone):
    chapter = corpus.path / "10" / "7"
    soon_bad = [chapter / "10-7-0000.flac", chapter / "10-7-0001.wav"]
    data = soon_bad[0].read_bytes()
    soon_bad[0].write_bytes(data[: len(data) // 3] + bytes(100))
    write_tone(soon_bad[1], 0.01)
    built = FeatureStore.build(corpus, CONFIG, cache=tmp_path / "cache")
    assert [skip.id for skip in built.skipped] == ["10-7-0000", "10-7-0001"]
    assert "10-7-0000.flac" in built.skipped[0].reason
    assert "shorter than one frame" in built.skipped[1].reason
    assert "10-7-0000" not in built
    assert len(built) == 4
    again = FeatureStore.build(corpus, CONFIG, cache=tmp_path / "cache")
    assert again.skipped == built.skipped


def test_file_that_went_away(corpus, tmp_path):
    corpus.utterances[2].audio.unlink()
    with pytest.raises(CorpusError, match=r"10-7-0002: .*No such file"):
        FeatureStore.build(corpus, CONFIG, cache=tmp_path / "cache")


@pytest.fixture
def feature_corpus(tmp_path):
    folder = tmp_path / "ready" / "fbank"
    folder.mkdir(parents=True)
    for number in range(4):
        array = np.random.default_rng(number).normal(size=(50 + number, 80))
        np.save(folder / f"{number}.npy", array.astype(np.float32))
    return read_corpus(folder.parent)


def test_precomputed_features(feature_corpus, tmp_path):
    built = FeatureStore.build(feature_corpus, CONFIG, cache=tmp_path / "cache")
    np.testing.assert_array_equal(built.get("3"), np.load(feature_corpus.utterances[3].audio))
    dataset = SpeechDataset(feature_corpus, built, TOKENIZER, training=False)
    assert [len(example.features) for example in dataset] == [50, 51, 52, 53]
    with pytest.raises(ConfigError, match=r"augment\.speeds=\[1\.0\]"):
        FeatureStore.build(feature_corpus, CONFIG, [0.9, 1.0], cache=tmp_path / "cache")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite(feature_corpus, tmp_path, value):
    np.save(feature_corpus.utterances[1].audio, np.full((50, 80), value, np.float32))
    built = FeatureStore.build(feature_corpus, CONFIG, cache=tmp_path / "cache")
    assert [(skip.id, skip.reason) for skip in built.skipped] == [("1", "features are not finite (NaN or infinity)")]


@pytest.mark.parametrize("array", [np.zeros((50, 40)), np.zeros((0, 80)), np.zeros(80)])
def test_unusable_feature_files(feature_corpus, tmp_path, array):
    for utterance in feature_corpus:
        np.save(utterance.audio, array)
    with pytest.raises(CorpusError, match="none of 4 utterances has usable features"):
        FeatureStore.build(feature_corpus, CONFIG, cache=tmp_path / "cache")


def test_unreadable_feature_file(feature_corpus, tmp_path):
    feature_corpus.utterances[0].audio.write_bytes(b"nonsense")
    built = FeatureStore.build(feature_corpus, CONFIG, cache=tmp_path / "cache")
    assert "unreadable feature file" in built.skipped[0].reason


def fail_to_write(monkeypatch) -> None:
    def append(self, name, array):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store._Writer, "append", append)


def test_full_disk_falls_back_to_memory(corpus, features, tmp_path, monkeypatch):
    fail_to_write(monkeypatch)
    with pytest.warns(UserWarning, match=r"No space left on device.*data\.cache or ASR_TUTORIAL_CACHE"):
        built = FeatureStore.build(corpus, CONFIG, [1.0, 1.1], cache=tmp_path / "full")
    assert list((tmp_path / "full" / "features").iterdir()) == []
    for name in features.ids:
        np.testing.assert_array_equal(built.get(name), features.get(name))
    assert built.frames("11-7-0002", 1.1) < built.frames("11-7-0002", 1.0)
    copied = pickle.loads(pickle.dumps(built))
    np.testing.assert_array_equal(copied.get("11-7-0002", 1.1), built.get("11-7-0002", 1.1))


def test_free_space_is_checked_first(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.warns(UserWarning, match=r"0\.0 GB are needed, 0\.0 GB are free"):
        assert len(FeatureStore.build(corpus, CONFIG, cache=tmp_path / "full")) == 6


def test_cache_folder_that_cannot_be_made(corpus, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="cannot be kept in"):
        assert len(FeatureStore.build(corpus, CONFIG, cache=tmp_path / "file")) == 6


def test_neither_disk_nor_memory(corpus, tmp_path, monkeypatch):
    fail_to_write(monkeypatch)
    monkeypatch.setattr(store, "_expected_bytes", lambda *_: 10**15)
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(UserError, match=r"1000000\.0 GB.*data\.cache"),
    ):
        FeatureStore.build(corpus, CONFIG, cache=tmp_path / "full")


def test_interrupted_run_leaves_nothing(corpus, tmp_path, monkeypatch):
    original = store._Writer.append

    def append(self, name, array):
        if name == "10-7-0002":
            raise KeyboardInterrupt
        original(self, name, array)

    monkeypatch.setattr(store._Writer, "append", append)
    with pytest.raises(KeyboardInterrupt):
        FeatureStore.build(corpus, CONFIG, cache=tmp_path / "cache")
    assert list((tmp_path / "cache" / "features").iterdir()) == []


def test_another_process_was_faster(corpus, tmp_path, monkeypatch):
    original = store._Writer.finish

    def finish(self, skipped):
        original(self, skipped)
        target = tmp_path / "cache" / "features" / self.folder.name
        if not target.exists():
            shutil.copytree(self.folder, target)

    monkeypatch.setattr(store._Writer, "finish", finish)
    assert len(FeatureStore.build(corpus, CONFIG, cache=tmp_path / "cache")) == 6
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 1


def test_store_is_not_copied_to_workers(features):
    data = pickle.dumps(features)
    assert len(data) < 2000
    np.testing.assert_array_equal(pickle.loads(data).get("10-7-0000"), features.get("10-7-0000"))


# Speech


@pytest.mark.parametrize(
    ("text", "needed"),
    [("", 0), ("ABC", 3), ("AAB", 4), ("AAAA", 7)],  # a blank must stand between two As
)
def test_frames_needed(text, needed):
    assert frames_needed(TOKENIZER.encode(text)) == needed


def test_frames_needed_agrees_with_the_loss():
    for text in ("AAB", "ABAB", "AAAA", "ABCD"):
        tokens = TOKENIZER.encode(text)
        for frames in range(1, 9):
            loss = torch.nn.functional.ctc_loss(
                torch.zeros(frames, 1, 40).log_softmax(-1), torch.tensor([tokens]), [frames], [len(tokens)]
            )
            assert (frames_needed(tokens) <= frames) == bool(torch.isfinite(loss))


def test_examples(corpus, features):
    dataset = SpeechDataset(corpus, features, TOKENIZER)
    assert len(dataset) == 6
    assert (dataset.skipped, dataset.unknown_characters) == ([], {})
    item = dataset[1]
    assert (item.id, item.text) == ("10-7-0001", "TWO WORDS")
    assert TOKENIZER.decode(item.tokens) == "TWO WORDS"
    assert item.features.shape == (features.frames(item.id), 80)
    assert dataset.lengths() == [len(example.features) for example in dataset]


def edit(corpus, index: int, **changes) -> Utterance:
    corpus.utterances[index] = replace(corpus.utterances[index], **changes)
    return corpus.utterances[index]


def test_what_cannot_be_trained_on_is_a_named_skip(corpus, features):
    edit(corpus, 0, text="HALF PAST 7, 7!")
    edit(corpus, 1, text=None)
    edit(corpus, 2, text="A" * 60)
    dataset = SpeechDataset(corpus, features, TOKENIZER)
    found = {skip.id: skip.reason for skip in dataset.skipped}
    assert found == {
        "10-7-0000": "unknown characters: '7' ',' '!'",
        "10-7-0001": "no transcript",
        "10-7-0002": (
            "the transcript is too long for CTC: 60 tokens need 119 frames, but 158 make 40 after subsampling"
        ),
    }
    assert dataset.unknown_characters == {"7": 2, ",": 1, "!": 1}
    assert len(dataset) == 3
    assert len(SpeechDataset(corpus, features, TOKENIZER, training=False)) == 6


def test_skips_of_corpus_and_store_are_passed_on(tiny_corpus, tmp_path):
    (tiny_corpus / "11" / "7" / "11-7-0000.flac").unlink()
    corpus = read_corpus(tiny_corpus, max_seconds=2.3)
    np.save(tmp_path / "bad.npy", np.full((100, 80), np.nan))
    edit(corpus, 0, audio=tmp_path / "bad.npy")
    built = FeatureStore.build(corpus, CONFIG, cache=tmp_path / "cache")
    dataset = SpeechDataset(corpus, built, TOKENIZER)
    assert sorted(skip.id for skip in dataset.skipped) == ["10-7-0000", "11-7-0000", "11-7-0002"]


def test_nothing_to_train_on(corpus, features):
    with pytest.raises(CorpusError, match=r"none of 6 utterances can be used \(10-7-0000: unknown characters"):
        SpeechDataset(corpus, features, CharTokenizer("XYZ"))


def test_fastest_speed_decides_whether_text_fits(corpus, tmp_path):
    edit(corpus, 0, text="AB" * 12)  # 24 tokens; 1 s is 98 frames, or 89 at speed 1.1
    slow = FeatureStore.build(corpus, CONFIG, [1.0], cache=tmp_path / "cache")
    fast = FeatureStore.build(corpus, CONFIG, [1.0, 1.1], cache=tmp_path / "cache")
    assert SpeechDataset(corpus, slow, TOKENIZER).skipped == []
    (skip,) = SpeechDataset(corpus, fast, TOKENIZER).skipped
    assert skip.id == "10-7-0000"
    assert "24 tokens need 24 frames, but 89 at speed 1.1 make 23" in skip.reason


def loader(corpus, features, **changes) -> SpeechLoader:
    settings = {"shuffle": True, "batch_seconds": 6.0, "frame_multiple": 32, "length_multiple": 8} | changes
    return SpeechLoader(SpeechDataset(corpus, features, TOKENIZER), **settings)


def contents(batches) -> list[tuple]:
    return [(batch.ids, batch.features.sum().item(), batch.features.shape) for batch in batches]


def test_training_batches(corpus, features):
    batches = list(loader(corpus, features))
    assert sorted(name for batch in batches for name in batch.ids) == features.ids
    for batch in batches:
        assert batch.features.shape[1] % 32 == 0
        assert batch.features.shape[0] * batch.features.shape[1] <= 600
        assert batch.tokens_in.shape[1] % 8 == 0
        for row, name in enumerate(batch.ids):
            count = int(batch.feature_lengths[row])
            np.testing.assert_array_equal(batch.features[row, :count], features.get(name))
            assert not batch.features[row, count:].any()
            assert TOKENIZER.decode(batch.targets[row]) == batch.texts[row]


def test_epochs_are_reproducible_and_resumable(corpus, tmp_path):
    built = FeatureStore.build(corpus, CONFIG, [0.9, 1.0, 1.1], cache=tmp_path / "cache")
    first = loader(corpus, built)
    epochs = [contents(first.batches(epoch)) for epoch in range(4)]
    assert len({str(epoch) for epoch in epochs}) == 4
    second = loader(corpus, built)
    assert contents(second.batches(2)) == epochs[2]
    assert contents(second.batches(3, start=1)) == epochs[3][1:]
    assert contents(loader(corpus, built, seed=2).batches(0)) != epochs[0]
    assert [second.num_batches(epoch) for epoch in range(4)] == [len(epoch) for epoch in epochs]


def test_speeds_are_drawn_for_training_only(corpus, tmp_path):
    built = FeatureStore.build(corpus, CONFIG, [1.0, 0.9, 1.1], cache=tmp_path / "cache")

    def lengths(shuffle: bool, epoch: int) -> dict[str, int]:
        batches = loader(corpus, built, shuffle=shuffle).batches(epoch)
        return {name: int(n) for batch in batches for name, n in zip(batch.ids, batch.feature_lengths, strict=True)}

    assert lengths(False, 0) == lengths(False, 1) == {name: built.frames(name, 1.0) for name in built.ids}
    drawn = [lengths(True, epoch) for epoch in range(20)]
    for name in built.ids:
        assert {epoch[name] for epoch in drawn} == {built.frames(name, speed) for speed in built.speeds}


def test_evaluation_batches(corpus, features):
    plain = loader(corpus, features, shuffle=False)
    batches = list(plain)
    lengths = [int(n) for batch in batches for n in batch.feature_lengths]
    assert lengths == sorted(lengths, reverse=True)
    assert sorted(name for batch in batches for name in batch.ids) == features.ids
    assert len(plain) == len(batches)
    real = sum(lengths)
    padded = sum(batch.features.shape[0] * batch.features.shape[1] for batch in batches)
    assert plain.padding_share() == pytest.approx(1 - real / padded)


def test_ranks_share_the_evaluation_without_repeats(corpus, features):
    names = [
        name
        for rank in range(2)
        for batch in loader(corpus, features, shuffle=False, rank=rank, world_size=2)
        for name in batch.ids
    ]
    assert sorted(names) == features.ids


def test_worker_processes_give_the_same_batches(corpus, features):
    alone = contents(loader(corpus, features).batches(1))
    random_state = torch.get_rng_state()
    assert contents(loader(corpus, features, workers=2).batches(1)) == alone
    assert torch.equal(torch.get_rng_state(), random_state)  # else a resumed training would differ
    assert contents(loader(corpus, features, workers=2).batches(1, start=1)) == alone[1:]


def test_real_corpus(real_data, monkeypatch):
    corpus = read_corpus("dev-218spk", root=real_data)
    corpus.utterances = corpus.utterances[:20]
    built = FeatureStore.build(corpus, CONFIG)
    dataset = SpeechDataset(corpus, built, CharTokenizer.train(corpus.texts))
    assert dataset.skipped == []
    assert sum(len(batch) for batch in SpeechLoader(dataset, shuffle=True)) == 20


def test_padding_on_librispeech_lengths(real_data):
    corpus = read_corpus("train-clean-5", root=real_data)
    sampler = BucketBatchSampler([int(100 * u.seconds) - 2 for u in corpus], 8000, 32)
    assert sampler.padding_share() <= 0.05


# Text


LINES = ["THE CAT", "A DOG RAN", "", "NO", "IT'S LATE NOW", "  "]


def test_text_dataset():
    dataset = TextDataset(LINES, TOKENIZER)
    assert [TOKENIZER.decode(line) for line in dataset] == ["THE CAT", "A DOG RAN", "NO", "IT'S LATE NOW"]
    batches = list(dataset.batches(batch_tokens=32, length_multiple=4))
    seen = []
    for batch in batches:
        assert batch.tokens_in.shape == batch.tokens_out.shape
        assert batch.tokens_in.shape[1] % 4 == 0
        assert batch.tokens_in.numel() <= 32
        for shifted, golden, length in zip(batch.tokens_in, batch.tokens_out, batch.lengths.tolist(), strict=True):
            assert shifted[0] == TOKENIZER.sos_id
            assert golden[length - 1] == TOKENIZER.eos_id
            assert shifted[1:length].tolist() == golden[: length - 1].tolist()
            assert set(shifted[length:].tolist()) | set(golden[length:].tolist()) <= {TOKENIZER.pad_id}
            seen.append(TOKENIZER.decode(golden))
    assert sorted(seen) == sorted(line for line in LINES if line.strip())
    assert batches[0].to("meta").lengths.device.type == "meta"


def test_text_batches_are_resumable():
    dataset = TextDataset(["WORD " * n for n in range(1, 40)], TOKENIZER)

    def epoch(number: int, start: int = 0) -> list[list[list[int]]]:
        return [batch.tokens_in.tolist() for batch in dataset.batches(400, epoch=number, start=start)]

    assert epoch(1, start=3) == epoch(1)[3:]
    assert epoch(1) != epoch(2)


def test_long_lines_are_cut():
    dataset = TextDataset(["ABCDEFG", "AB"], TOKENIZER, max_tokens=3)
    assert [TOKENIZER.decode(line) for line in dataset] == ["ABC", "DEF", "G", "AB"]


def test_prompts():
    dataset = TextDataset(LINES, TOKENIZER)
    prompts = dataset.sample_prompts(3, 6)
    assert prompts.shape == (3, 6)
    assert prompts[:, 0].tolist() == [TOKENIZER.sos_id] * 3
    assert {TOKENIZER.decode(prompt) for prompt in prompts} == {"THE C", "A DOG", "IT'S"}
    assert prompts.tolist() == dataset.sample_prompts(3, 6).tolist()
    with pytest.raises(TextError, match="only 3 lines are as long"):
        dataset.sample_prompts(4, 6)


def test_text_of_sub_words():
    tokenizer = SentencePieceTokenizer.train(["HELLO WORLD", "HELP THE OLD WORD"] * 5, "bpe", 25)
    dataset = TextDataset(["HELLO OLD WORLD"], tokenizer)
    assert tokenizer.decode(dataset[0]) == "HELLO OLD WORLD"


@pytest.mark.parametrize(("suffix", "opener"), [(".txt", open), (".txt.gz", gzip.open), (".txt.xz", lzma.open)])
def test_read_lines(tmp_path, suffix, opener):
    path = tmp_path / f"text{suffix}"
    with opener(path, "wt", encoding="utf-8") as file:
        file.write("ONE\n\n TWO É \n")
    assert list(read_lines(path)) == ["ONE", "TWO É"]


@pytest.mark.parametrize("name", ["gone.txt", "bad.gz", "bad.xz", "bad.txt"])
def test_unreadable_text(tmp_path, name):
    if name != "gone.txt":
        (tmp_path / name).write_bytes(b"\xff\xfe nonsense")
    with pytest.raises(TextError, match=f"cannot read text from .*{name}"):
        list(read_lines(tmp_path / name))


def test_no_text():
    with pytest.raises(TextError, match="at least one line"):
        TextDataset(["", " "], TOKENIZER)
