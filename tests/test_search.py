"""Greedy search on a model whose answers are known, and on a random one in batches of any kind."""

import itertools
import math

import pytest
import torch
from model_checks import VOCAB_SIZE, encoder_states, listening_model, small_model
from torch import Tensor

from asr_tutorial.ctc import ctc_loss
from asr_tutorial.errors import ConfigError
from asr_tutorial.masks import padding_mask
from asr_tutorial.search import SearchOptions, greedy_search, joint_search

SOS, EOS, BLANK, A, B, C = range(6)


class Cache:
    length = 0


class Parrot:
    """Says what it is told: at step t, the tokens of ``wishes[utterance][t]`` in falling order of probability.

    The encoder output (batch, frames, 1) holds each utterance's number. Behind the end of the wishes comes C.
    """

    def __init__(self, wishes: list[list[list[int]]]) -> None:
        self.wishes = wishes
        self.steps = 0

    def new_cache(self) -> Cache:
        return Cache()

    def log_probs(self, utterance: int, step: int) -> Tensor:
        logits = torch.zeros(6)
        order = self.wishes[utterance][step] if step < len(self.wishes[utterance]) else [C]
        for rank, token in enumerate(order):
            logits[token] = 5.0 - rank
        return logits.log_softmax(-1)

    def decode(self, tokens: Tensor, encoder_out: Tensor, encoder_mask: Tensor, cache: Cache) -> Tensor:
        assert tokens.shape == (encoder_out.shape[0], 1), f"with a cache only the newest token is passed, got {tokens}"
        if cache.length == 0:
            assert (tokens == SOS).all(), f"a hypothesis starts from SOS ({SOS}), got {tokens}"
        rows = [self.log_probs(int(number), cache.length) for number in encoder_out[:, 0, 0]]
        cache.length += 1
        self.steps = cache.length
        return torch.stack(rows)[:, None]  # (batch, 1, vocab)

    def search(self, frames: int = 8, **options):
        count = len(self.wishes)
        encoder_out = torch.arange(float(count))[:, None, None].expand(count, frames, 1)
        mask = torch.ones(count, frames, dtype=torch.bool)
        return greedy_search(self, encoder_out, mask, SOS, EOS, **options)  # type: ignore[arg-type]


def test_each_utterance_ends_with_its_own_eos():
    parrot = Parrot([[[A], [B], [EOS], [A]], [[EOS], [B]], [[C], [C], [C], [B], [EOS]]])
    found = parrot.search()
    expected = [[A, B], [], [C, C, C, B]]
    got = [hypothesis.tokens for hypothesis in found]
    assert got == expected, f"tokens before each EOS, without SOS and EOS: expected {expected}, got {got}"
    assert all(hypothesis.finished for hypothesis in found), "all three said EOS"
    assert parrot.steps == 5, (
        f"the search stops when the last utterance has said EOS, after 5 steps, not {parrot.steps}"
    )


def test_score_is_the_sum_up_to_and_with_eos():
    parrot = Parrot([[[A], [B, C], [EOS], [A]], [[EOS, A], [B]], [[A], [A], [A], [A], [EOS]]])
    for number, hypothesis in enumerate(parrot.search()):
        said = [*hypothesis.tokens, EOS]
        expected = sum(float(parrot.log_probs(number, step)[token]) for step, token in enumerate(said))
        assert hypothesis.score == pytest.approx(expected, abs=1e-5), (
            f"utterance {number}: log-probabilities of {said} sum to {expected}, got {hypothesis.score}: "
            "nothing after EOS counts, while others go on"
        )


def test_without_eos_the_limit_ends_it():
    parrot = Parrot([[[A]] * 20, [[B], [EOS]]])
    endless, short = parrot.search(max_length=4)
    assert endless.tokens == [A] * 4, f"max_length=4 tokens, got {endless.tokens}"
    assert not endless.finished, "an utterance that never said EOS is not finished"
    expected = sum(float(parrot.log_probs(0, step)[A]) for step in range(4))
    assert endless.score == pytest.approx(expected, abs=1e-5), "no EOS was said, so none is scored"
    assert (short.tokens, short.finished) == ([B], True)


def test_the_limit_is_each_utterances_own_number_of_frames():
    parrot = Parrot([[[A]] * 20] * 3)
    mask = padding_mask(torch.tensor([6, 2, 4]))
    encoder_out = torch.arange(3.0)[:, None, None].expand(3, 6, 1)
    found = greedy_search(parrot, encoder_out, mask, SOS, EOS)  # type: ignore[arg-type]
    lengths = [len(hypothesis.tokens) for hypothesis in found]
    assert lengths == [6, 2, 4], f"at most a token per encoder frame, whatever the batch: [6, 2, 4], got {lengths}"
    for number, hypothesis in enumerate(found):
        steps = range(lengths[number])
        expected = sum(float(parrot.log_probs(number, step)[A]) for step in steps)
        assert hypothesis.score == pytest.approx(expected, abs=1e-5), "a full utterance is not scored any further"


def test_forbidden_tokens_are_never_chosen():
    parrot = Parrot([[[BLANK, SOS, A], [SOS, B], [BLANK, EOS]]])
    (hypothesis,) = parrot.search(forbidden=(BLANK, SOS))
    assert hypothesis.tokens == [A, B], f"the best token that is allowed, got {hypothesis.tokens}"
    expected = sum(float(parrot.log_probs(0, step)[token]) for step, token in enumerate([A, B, EOS]))
    assert hypothesis.score == pytest.approx(expected, abs=1e-5), "the model's own probabilities are summed"


def test_max_length_zero_gives_nothing():
    (hypothesis,) = Parrot([[[A], [EOS]]]).search(max_length=0)
    assert (hypothesis.tokens, hypothesis.score, hypothesis.finished) == ([], 0.0, False)


def test_an_utterance_without_frames_gives_nothing():
    encoder_out = torch.arange(2.0)[:, None, None].expand(2, 3, 1)
    silent, heard = greedy_search(
        Parrot([[[A]] * 9, [[B], [EOS]]]),  # type: ignore[arg-type]
        encoder_out,
        padding_mask(torch.tensor([0, 3])),
        SOS,
        EOS,
    )
    assert (silent.tokens, silent.score, silent.finished) == ([], 0.0, False)
    assert heard.tokens == [B]


@pytest.fixture
def random_model():
    return listening_model(EOS)


def test_same_alone_and_in_any_batch(random_model):
    lengths = [16, 3, 9, 20, 7, 12, 1]
    options = {"sos": SOS, "eos": EOS, "forbidden": (BLANK, SOS)}
    together = greedy_search(random_model, *encoder_states(lengths), **options)
    assert len({len(hypothesis.tokens) for hypothesis in together}) > 2, "the utterances end at different steps"
    assert {hypothesis.finished for hypothesis in together} == {True, False}, "some reach their limit, some say EOS"
    for length, found in zip(lengths, together, strict=True):
        (alone,) = greedy_search(random_model, *encoder_states([length]), **options)
        assert found.tokens == alone.tokens, f"{length} frames: {alone.tokens} alone, {found.tokens} in a batch"
        assert found.score == pytest.approx(alone.score, abs=1e-4), "and the same score"
        assert found.finished == alone.finished


def test_score_is_that_of_the_model_without_a_cache(random_model):
    encoder_out, mask = encoder_states([12, 7, 20])
    for row, found in enumerate(greedy_search(random_model, encoder_out, mask, SOS, EOS, max_length=5)):
        tokens = torch.tensor([[SOS, *found.tokens]])
        said = torch.tensor([*found.tokens, EOS] if found.finished else found.tokens)
        with torch.no_grad():
            logits = random_model.decode(tokens, encoder_out[row : row + 1], mask[row : row + 1])
        log_probs = logits[0].log_softmax(-1)[: len(said)]  # (steps, vocab)
        assert log_probs.argmax(-1).tolist() == said.tolist(), "each token is the model's first choice"
        expected = float(log_probs.gather(1, said[:, None]).sum())
        assert found.score == pytest.approx(expected, abs=1e-4), f"expected {expected}, got {found.score}"
        assert math.isfinite(found.score)
        assert all(0 <= token < VOCAB_SIZE for token in found.tokens)


def test_a_model_without_decoder_says_what_to_do():
    model = small_model(decoder_layers=0)
    with pytest.raises(ConfigError, match=r"no decoder.*--search ctc"):
        greedy_search(model, *encoder_states([5]), SOS, EOS)


# Joint search


def joint(model, features, lengths, **options):
    with torch.no_grad():
        encoder_out, encoder_mask = model.encode(features, lengths)
        forbidden = (BLANK, SOS)
        found = joint_search(model, encoder_out, encoder_mask, SOS, EOS, BLANK, forbidden, SearchOptions(**options))
        return [hypotheses[0] for hypotheses in found]


def encoded_by(seed: int = 0):
    torch.manual_seed(seed)
    return 10 + 4 * torch.randn(4, 40, 8), torch.tensor([40, 33, 25, 12])


def test_joint_search_is_the_same_alone_and_in_a_batch():
    model = small_model()
    features, lengths = encoded_by()
    together = joint(model, features, lengths)
    for row, length in enumerate(lengths.tolist()):
        (alone,) = joint(model, features[row : row + 1, :length], lengths[row : row + 1])
        assert alone.tokens == together[row].tokens, f"utterance {row} is heard differently in a batch"
        assert alone.score == pytest.approx(together[row].score, abs=1e-4)


def test_a_wide_beam_is_not_worse_than_one_hypothesis():
    model = small_model()
    features, lengths = encoded_by(1)
    scores = [[hypothesis.score for hypothesis in joint(model, features, lengths, beam_size=k)] for k in (1, 4, 16)]
    for row in range(len(lengths)):
        assert scores[0][row] <= scores[2][row] + 1e-4, f"utterance {row}: a wide beam lost to a narrow one: {scores}"


@pytest.mark.parametrize("ctc_weight", [0.0, 0.4, 1.0])
def test_joint_search_finds_the_best_of_all_short_texts(ctc_weight):
    """With two tokens and four frames, every text can be scored; a wide beam must find the best."""
    model = small_model()
    torch.manual_seed(2)
    features, lengths = 10 + 4 * torch.randn(1, 16, 8), torch.tensor([16])
    with torch.no_grad():
        encoder_out, mask = model.encode(features, lengths)
        forbidden = [token for token in range(VOCAB_SIZE) if token not in (A, B, EOS)]
        options = SearchOptions(beam_size=64, ctc_weight=ctc_weight)
        ((found,),) = joint_search(model, encoder_out, mask, SOS, EOS, BLANK, forbidden, options)
        log_probs = model.ctc_log_probs(encoder_out)
        best = -math.inf
        for length in range(5):
            for text in itertools.product((A, B), repeat=length):
                tokens = torch.tensor([[SOS, *text]])
                logits = model.decode(tokens, encoder_out, mask).log_softmax(-1)[0]
                attention = sum(float(logits[place, token]) for place, token in enumerate([*text, EOS]))
                targets = torch.tensor([list(text) or [A]])
                ctc = -float(ctc_loss(log_probs, targets, mask.sum(1), torch.tensor([length]), BLANK))
                if ctc > -math.inf or ctc_weight == 0:
                    weighted = ctc_weight * ctc if ctc_weight else 0.0
                    best = max(best, weighted + (1 - ctc_weight) * attention)
    assert found.score == pytest.approx(best, abs=1e-3)
