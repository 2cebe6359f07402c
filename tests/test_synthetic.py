"""The synthetic task: reproducible, of the promised form, and learnable."""

import pytest
import torch

from asr_tutorial.errors import ConfigError
from asr_tutorial.synthetic import SyntheticTask


def test_batches_have_the_promised_form():
    task = SyntheticTask(letters=6, n_mels=20, min_length=2, max_length=5, min_frames=3, max_frames=8)
    batch = task.batch(64)
    assert batch.features.shape[0] == len(batch) == 64
    assert batch.features.shape[2] == 20
    assert set(batch.target_lengths.tolist()) == {2, 3, 4, 5}
    frames_per_letter = batch.feature_lengths / batch.target_lengths
    assert frames_per_letter.min() >= 3
    assert frames_per_letter.max() <= 8
    assert {letter for text in batch.texts for letter in text} == set("ABCDEF")
    for row, text in enumerate(batch.texts):
        assert task.tokenizer.decode(batch.targets[row]) == text
        assert not batch.features[row, int(batch.feature_lengths[row]) :].any()


def test_batches_depend_on_the_seed_alone():
    one, other = SyntheticTask(), SyntheticTask()
    assert torch.equal(one.batch(seed=3).features, other.batch(seed=3).features)
    assert one.batch(seed=3).texts != one.batch(seed=4).texts
    first, second = one.batches(2, seed=3)
    assert first.texts == one.batch(seed=3).texts
    assert first.texts != second.texts
    assert not torch.equal(SyntheticTask(seed=2).prototypes, one.prototypes)


def test_features_are_about_normal():
    for noise in (0.0, 0.5, 2.0):
        batch = SyntheticTask(noise=noise, letters=26).batch(64)
        real = torch.cat([batch.features[i, :n] for i, n in enumerate(batch.feature_lengths.tolist())])
        assert abs(float(real.mean())) < 0.1
        assert float(real.std()) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(("noise", "low", "high"), [(0.5, 0.99, 1.0), (10.0, 0.0, 0.9)])
def test_noise_decides_the_difficulty(noise, low, high):
    """The letter whose prototype is nearest in direction, read off the middle of each letter's frames."""
    task = SyntheticTask(letters=10, min_length=1, max_length=1, noise=noise)
    batch = task.batch(300)
    middle = batch.features[torch.arange(300), batch.feature_lengths // 2]  # (300, n_mels)
    heard = torch.cosine_similarity(middle.unsqueeze(1), task.prototypes, dim=-1).argmax(dim=-1)
    spoken = torch.tensor([task.letters.index(text) for text in batch.texts])
    assert low <= float((heard == spoken).float().mean()) <= high


@pytest.mark.parametrize(
    "values", [{"letters": 1}, {"letters": 27}, {"min_length": 0}, {"min_frames": 9}, {"noise": -1.0}]
)
def test_impossible_values(values):
    with pytest.raises(ConfigError):
        SyntheticTask(**values)
