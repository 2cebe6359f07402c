"""Prefix beam search against all paths written down."""

import itertools
import math
from collections import defaultdict

import pytest
import torch

from asr_tutorial.ctc import ctc_loss, prefix_beam_search, word_level
from asr_tutorial.errors import ConfigError
from asr_tutorial.tokenizer import CharTokenizer

BLANK = 0


def random_log_probs(*shape, seed=0):
    return (2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).log_softmax(-1)


def all_texts(log_probs, blank=BLANK):
    """Probability of each transcript, by every path."""
    time, vocab = log_probs.shape
    table, texts = log_probs.double(), defaultdict(float)
    for path in itertools.product(range(vocab), repeat=time):
        text = tuple(token for token, _ in itertools.groupby(path) if token != blank)
        texts[text] += math.exp(float(table[range(time), path].sum()))
    return dict(texts)


def search(log_probs, **options):
    return prefix_beam_search(log_probs[None], torch.tensor([len(log_probs)]), options.pop("blank", BLANK), **options)[
        0
    ]


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("seed", range(8))
def test_a_wide_beam_is_exact(seed, blank):
    log_probs = random_log_probs(5, 3, seed=seed)
    expected = all_texts(log_probs, blank)
    found = search(log_probs, blank=blank, beam_size=500, n_best=500, min_prob=0)
    assert {tuple(h.tokens) for h in found} == set(expected), "every transcript that fits in five frames, once"
    for hypothesis in found:
        assert math.exp(hypothesis.log_prob) == pytest.approx(expected[tuple(hypothesis.tokens)], abs=1e-9)
    assert found[0].tokens == list(max(expected, key=expected.get))
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)


@pytest.mark.parametrize("seed", range(8))
def test_a_narrow_beam_never_counts_a_path_twice(seed):
    log_probs = random_log_probs(12, 5, seed=seed)
    for hypothesis in search(log_probs, beam_size=4, n_best=4):
        targets = torch.tensor([hypothesis.tokens], dtype=torch.long)
        loss = ctc_loss(log_probs[None], targets, torch.tensor([12]), torch.tensor([len(hypothesis.tokens)]), BLANK)
        assert hypothesis.log_prob <= -float(loss) + 1e-4


def test_the_sum_beats_the_best_path():
    probabilities = torch.tensor([[0.6, 0.4], [0.6, 0.4]])  # blank, A
    best, second = search(probabilities.log(), beam_size=3, n_best=2)
    assert best.tokens == [1], "A A, A _ and _ A together have 0.64; the best path, _ _, has 0.36"
    assert math.exp(best.log_prob) == pytest.approx(0.64)
    assert second.tokens == []
    assert math.exp(second.log_prob) == pytest.approx(0.36)


def test_alone_and_in_a_batch():
    log_probs, lengths = random_log_probs(3, 20, 6), torch.tensor([20, 13, 1])
    together = prefix_beam_search(log_probs, lengths, BLANK, n_best=3)
    for row, length in enumerate(lengths.tolist()):
        assert together[row] == search(log_probs[row, :length], n_best=3)
    assert together == prefix_beam_search(log_probs, lengths, BLANK, n_best=3), "the same each time"


def test_no_frames_say_nothing():
    (found,) = prefix_beam_search(random_log_probs(1, 4, 3), torch.tensor([0]), BLANK)
    assert [h.tokens for h in found] == [[]]
    assert found[0].score == 0


def test_rare_tokens_are_not_tried():
    probabilities = torch.tensor([[0.9, 0.099, 0.001]])
    assert {tuple(h.tokens) for h in search(probabilities.log(), n_best=3, min_prob=0.01)} == {(), (1,)}
    assert {tuple(h.tokens) for h in search(probabilities.log(), n_best=3, min_prob=0)} == {(), (1,), (2,)}


class TestLanguageModel:
    @staticmethod
    def likes(token):
        """A model that finds one token likely whatever came before; column 3 is the end."""
        row = torch.full((4,), 0.1)
        row[token] = 0.7
        return lambda prefixes: row.log().expand(len(prefixes), 4)

    def test_scores_are_those_of_the_formula(self):
        log_probs = random_log_probs(4, 4, seed=1)
        log_probs[:, 3] = -math.inf
        texts = all_texts(log_probs[:, :3])
        found = search(log_probs, beam_size=300, n_best=300, lm=self.likes(2), lm_weight=0.8, token_bonus=0.3, eos=3)
        assert len(found) == len(texts)
        for h in found:
            lm = sum(math.log(0.7 if token == 2 else 0.1) for token in h.tokens) + math.log(0.1)
            assert math.exp(h.log_prob) == pytest.approx(texts[tuple(h.tokens)], abs=1e-6)
            assert h.lm_score == pytest.approx(0.8 * lm + 0.3 * len(h.tokens), abs=1e-6)
            assert h.score == pytest.approx(h.log_prob + h.lm_score)

    def test_it_decides_between_equals(self):
        probabilities = torch.tensor([[0.2, 0.4, 0.4, 0.0]])
        for token in (1, 2):
            assert search(probabilities.log(), lm=self.likes(token), eos=3)[0].tokens == [token]

    def test_whole_numbers_are_settings_too(self):
        probabilities = torch.tensor([[0.2, 0.4, 0.4, 0.0]])
        (best,) = search(probabilities.log(), lm=self.likes(1), lm_weight=1, token_bonus=1)
        assert best.lm_score == pytest.approx(math.log(0.7) + 1)

    def test_a_prefix_is_asked_for_once(self):
        asked = []

        def lm(prefixes):
            asked.extend(prefixes)
            return torch.zeros(len(prefixes), 5)

        search(random_log_probs(15, 5), lm=lm)
        assert len(asked) == len(set(asked)) > 10

    def test_a_wrong_shape_is_named(self):
        with pytest.raises(ConfigError, match=r"gave shape \(1, 3\).*\(1, 4\)"):
            search(random_log_probs(3, 4), lm=lambda prefixes: torch.zeros(len(prefixes), 3))

    def test_words(self):
        tokenizer = CharTokenizer("ABC ")
        a, space, b = tokenizer.encode("A B")
        known = {"AB": -1.0, "A": -2.0}
        lm = word_level(lambda history, word: known.get(word, -9.0) - 0.1 * len(history), tokenizer)
        empty, within, ended, next_word = lm([(), (a,), (a, b, space), (a, space, a, b)])
        assert (empty == 0).all()
        assert (ended == 0).all()
        assert within[space] == within[tokenizer.eos_id] == -2.0
        assert within[b] == 0
        assert next_word[space] == pytest.approx(-1.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "beam_size must be at least 1, not 0"),
        ({"n_best": 11}, r"n_best must be 1 to beam_size \(10\), not 11"),
        ({"min_prob": 1.0}, "min_prob"),
        ({"blank": 4}, "blank must be one of the 4 tokens"),
    ],
)
def test_impossible_settings_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        search(random_log_probs(3, 4), **options)
