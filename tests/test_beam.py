"""Beam search on trees whose scores are known, beside exhaustive search, and with a model in batches of any kind."""

import itertools
import math

import pytest
import torch
from model_checks import encoder_states, listening_model
from torch import Tensor

from asr_tutorial.errors import ConfigError
from asr_tutorial.search import (
    SearchOptions,
    beam_search,
    best_possible,
    greedy_search,
    joint_search,
    length_normalised,
    next_token_log_probs,
    penalise_repeats,
    sample_search,
)
from asr_tutorial.search.beam import expand, split_finished

SOS, EOS, BLANK, A, B, C = range(6)


class Tree:
    """Probabilities of the next token by prefix, as text: "" is SOS alone, "AB" is SOS A B. Others say C for ever."""

    def __init__(self, probs: dict[str, dict[str, float]]) -> None:
        self.probs = probs
        self.calls: list[list[str]] = []

    def __call__(self, prefixes: Tensor) -> Tensor:
        assert (prefixes[:, 0] == SOS).all()
        assert not (prefixes == EOS).any(), f"a finished hypothesis was extended: {prefixes.tolist()}"
        texts = ["".join("soeABC"[t] if t > 2 else "?" for t in row[1:]) for row in prefixes.tolist()]
        self.calls.append(texts)
        rows = torch.full((len(texts), 6), -math.inf)
        for row, text in zip(rows, texts, strict=True):
            for name, probability in self.probs.get(text, {"C": 1.0}).items():
                row[{"A": A, "B": B, "C": C, ".": EOS}[name]] = math.log(probability)
        return rows


GARDEN_PATH = {
    "": {"A": 0.6, "B": 0.4},
    "A": {".": 0.4, "A": 0.3, "B": 0.3},
    "AA": {".": 1.0},
    "AB": {".": 1.0},
    "B": {"B": 0.9, ".": 0.1},
    "BB": {".": 1.0},
}


def test_a_beam_repairs_what_greed_spoils():
    (greedy,) = beam_search(Tree(GARDEN_PATH), [SOS], 1, 5, EOS)
    assert greedy.tokens == [A], "the likeliest first token leads to a text of 0.6 x 0.4 = 0.24"
    assert greedy.score == pytest.approx(math.log(0.24))
    best, second = beam_search(Tree(GARDEN_PATH), [SOS], 2, 5, EOS)
    assert (best.tokens, best.finished) == ([B, B], True), "0.4 x 0.9 x 1 = 0.36 is more"
    assert best.score == best.log_prob == pytest.approx(math.log(0.36))
    assert best.confidences == pytest.approx([0.4, 0.9]), "the probability of each token"
    assert second.tokens == [A]
    assert second.score == pytest.approx(math.log(0.24))


def test_finished_hypotheses_are_kept_apart_and_never_extended():
    tree = Tree({"": {".": 0.5, "A": 0.5}, "A": {"A": 0.9, ".": 0.1}, "AA": {".": 1.0}})
    found = beam_search(tree, [SOS], 2, 5, EOS, n_best=2, length_penalty=0.0)
    assert [hypothesis.tokens for hypothesis in found] == [[], [A, A]], "the empty text first: 0.5 against 0.45"
    assert [round(math.exp(h.score), 3) for h in found] == [0.5, 0.45]
    assert all("?" not in text for call in tree.calls for text in call)


def test_only_prefixes_that_are_in_the_beam_are_asked_for():
    tree = Tree(GARDEN_PATH)
    beam_search(tree, [SOS], 3, 5, EOS)
    assert set(tree.calls[0]) == {""}
    assert set(tree.calls[1]) == {"A", "B"}, (
        f"two hypotheses are possible, the third place repeats one: {tree.calls[1]}"
    )


def test_the_search_stops_when_nothing_better_can_come():
    tree = Tree({"": {".": 0.5, "C": 0.5}})
    beam_search(tree, [SOS], 2, 50, EOS, n_best=1)
    assert len(tree.calls) == 1, "0.5 has finished, and what goes on has 0.5 at most"
    tree = Tree({"": {".": 0.5, "C": 0.5}})
    (found,) = beam_search(tree, [SOS], 2, 50, EOS, n_best=1, length_penalty=1.0)
    assert len(tree.calls) > 10, "divided by its length, what goes on may still become better"
    assert found.tokens == [], "but C C C ... never ends"


@pytest.mark.parametrize(("length_penalty", "expected"), [(0.0, []), (1.0, [A, A, A])])
def test_long_texts_win_by_their_mean_only(length_penalty, expected):
    tree = {"": {".": 0.5, "A": 0.5}, "A": {"A": 0.8, ".": 0.2}, "AA": {"A": 0.8, ".": 0.2}, "AAA": {".": 1.0}}
    best = beam_search(Tree(tree), [SOS], 4, 5, EOS, length_penalty=length_penalty)[0]
    assert best.tokens == expected
    assert best.score == pytest.approx(best.log_prob / (len(expected) + 1) ** length_penalty)


def test_a_text_that_never_ends_is_cut_off_and_says_so():
    (only,) = beam_search(Tree({}), [SOS], 1, 4, EOS)
    assert (only.tokens, only.finished, only.score) == ([C] * 4, False, 0.0)
    tree = Tree({"": {"A": 0.9, "B": 0.1}, "B": {".": 1.0}})
    first, second = beam_search(tree, [SOS], 2, 4, EOS)
    assert (first.tokens, first.finished) == ([B], True), "a finished text, however bad, comes before one that is not"
    assert (second.tokens, second.finished) == ([A, C, C, C], False)


def test_max_length_counts_tokens_without_eos():
    tree = {"": {"A": 1.0}, "A": {"A": 1.0}, "AA": {".": 1.0}}
    (found, *_) = beam_search(Tree(tree), [SOS], 1, 2, EOS)
    assert (found.tokens, found.finished) == ([A, A], True), "two tokens are allowed, and then EOS"
    (found,) = beam_search(Tree(tree), [SOS], 1, 1, EOS)
    assert (found.tokens, found.finished) == ([A], False)


def test_a_longer_prefix_is_not_part_of_the_result():
    (found,) = beam_search(Tree({"AB": {"C": 1.0}, "ABC": {".": 1.0}}), torch.tensor([SOS, A, B]), 1, 5, EOS)
    assert found.tokens == [C]


def test_several_prefixes_are_searched_side_by_side():
    together = beam_search(Tree(GARDEN_PATH), torch.tensor([[SOS, A], [SOS, B], [SOS, C]]), 2, 5, EOS)
    for prefix, found in zip(([SOS, A], [SOS, B], [SOS, C]), together, strict=True):
        alone = beam_search(Tree(GARDEN_PATH), prefix, 2, 5, EOS)
        assert [h.tokens for h in found] == [h.tokens for h in alone]
        assert [h.score for h in found] == pytest.approx([h.score for h in alone])


def test_temperature_changes_the_distribution_before_it_is_scored():
    tree = {"": {"A": 0.8, "B": 0.2}, "A": {".": 0.5, "C": 0.5}, "B": {".": 1.0}}
    hot, cold = (beam_search(Tree(tree), [SOS], 3, 3, EOS, temperature=t)[0] for t in (2.0, 0.5))
    assert cold.tokens == [A], f"0.8 becomes 0.94: {cold}"
    assert cold.score == pytest.approx(math.log(0.64 / 0.68 * 0.5), abs=1e-5)
    assert hot.score == pytest.approx(math.log(math.sqrt(0.8) / (math.sqrt(0.8) + math.sqrt(0.2)) * 0.5), abs=1e-5)


def test_repeat_penalty():
    tree = {"": {"A": 1.0}, "A": {"A": 0.6, ".": 0.4}, "AA": {".": 1.0}}
    assert beam_search(Tree(tree), [SOS], 2, 3, EOS)[0].tokens == [A, A]
    found = beam_search(Tree(tree), [SOS], 2, 3, EOS, repeat_penalty=2.0)
    assert found[0].tokens == [A], "0.6 x 0.6 = 0.36 for the second A is less than 0.4"
    assert found[1].score == pytest.approx(2 * math.log(0.6))
    log_probs = torch.tensor([[-1.0, -2.0, -3.0]])
    torch.testing.assert_close(penalise_repeats(log_probs, torch.tensor([[2, 2]]), 1.5), torch.tensor([[-1, -2, -4.5]]))


def test_coverage_prefers_a_text_that_has_listened_to_all_frames():
    """A B listens to both frames, A to the first one only, and is more probable."""
    tree = Tree({"": {"A": 1.0}, "A": {".": 0.6, "B": 0.4}, "AB": {".": 1.0}})

    def step(prefixes: Tensor) -> tuple[Tensor, Tensor]:
        attention = torch.zeros(len(prefixes), 2)
        attention[:, min(prefixes.shape[1] - 1, 2) // 2] = 1.0  # SOS and A hear frame 0, B hears frame 1
        return tree(prefixes), attention

    assert beam_search(step, [SOS], 2, 3, EOS)[0].tokens == [A]
    best, second = beam_search(step, [SOS], 2, 3, EOS, coverage_penalty=1.0)
    assert best.tokens == [A, B]
    assert best.score == pytest.approx(math.log(0.4)), "all frames were heard: nothing is taken off"
    assert second.score == pytest.approx(math.log(0.6) - 1.0), "a frame was not heard"
    assert second.log_prob == pytest.approx(math.log(0.6))
    with pytest.raises(ValueError, match=r"returns \(log_probs, attention\)"):
        beam_search(tree, [SOS], 2, 3, EOS, coverage_penalty=1.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("beam_size", 0), ("n_best", 0), ("n_best", 9), ("temperature", 0.0), ("repeat_penalty", 0.0), ("max_length", -1)],
)
def test_impossible_settings_are_named(name, value):
    with pytest.raises(ConfigError, match=name):
        beam_search(Tree({}), [SOS], **{"beam_size": 2, "max_length": 3, "eos": EOS, name: value})  # type: ignore[arg-type]


# The parts


def test_expand_lets_hypotheses_of_an_utterance_compete():
    scores = torch.tensor([[-1.0, -2.0], [0.0, -math.inf]])
    log_probs = torch.tensor([[[-1.0, -5.0, -6.0], [-0.5, -0.1, -9.0]], [[-1.0, -2.0, -3.0], [0.0, 0.0, 0.0]]])
    best, parents, tokens = expand(scores, log_probs, 3)
    torch.testing.assert_close(best, torch.tensor([[-2.0, -2.1, -2.5], [-1.0, -2.0, -3.0]]))
    assert parents.tolist() == [[0, 1, 1], [0, 0, 0]]
    assert tokens.tolist() == [[0, 1, 0], [0, 1, 2]]
    assert expand(scores, log_probs, 99)[0].shape == (2, 6)


def test_split_finished():
    tokens = torch.tensor([[A, EOS, B, EOS, C, A], [EOS, EOS, EOS, A, B, C]])
    ends, going_on = split_finished(tokens, EOS, 3)
    assert ends.tolist() == [[False, True, False, False, False, False], [True, True, True, False, False, False]], (
        "an end counts among the first three candidates only"
    )
    assert going_on.tolist() == [[0, 2, 4], [3, 4, 5]], "the best three that do not end, in their order"


def test_the_bound_holds_for_every_continuation():
    log_probs = torch.tensor([-0.5, -4.0, -9.0])
    for alpha in (-0.5, 0.0, 0.6, 1.0, 2.0):
        bound = best_possible(log_probs, 3, 8, alpha)
        for length in range(4, 10):
            assert (length_normalised(log_probs, length, alpha) <= bound + 1e-6).all(), (alpha, length)
    assert best_possible(log_probs, 3, 8, 1.0).tolist() == pytest.approx([-0.5 / 9, -4 / 9, -1.0])
    limits = torch.tensor([8, 3, 5])
    assert best_possible(log_probs, 3, limits, 1.0).tolist() == pytest.approx([-0.5 / 9, -1.0, -1.5])


# Beside exhaustive search


def random_step(seed: int, vocab: int = 4):
    """A language of random probabilities that depend on the whole prefix; token 1 is EOS."""

    def step(prefixes: Tensor) -> Tensor:
        rows = []
        for prefix in prefixes.tolist():
            generator = torch.Generator().manual_seed(seed * 100_003 + hash(tuple(prefix)) % 1_000_003)
            rows.append((2 * torch.randn(vocab, generator=generator)).log_softmax(-1))
        return torch.stack(rows)

    return step


def exhaustive(step, max_length: int, length_penalty: float) -> dict[tuple[int, ...], float]:
    """The score of every text of up to ``max_length`` tokens 2 and 3, best first."""
    found = {}
    for length in range(max_length + 1):
        for text in itertools.product((2, 3), repeat=length):
            said = [*text, 1]
            log_prob = sum(float(step(torch.tensor([[0, *text[:i]]]))[0, token]) for i, token in enumerate(said))
            found[text] = log_prob / len(said) ** length_penalty
    return dict(sorted(found.items(), key=lambda item: -item[1]))


@pytest.mark.parametrize("length_penalty", [-0.5, 0.0, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_what_exhaustive_search_finds(length_penalty, seed):
    step, options = random_step(seed), {"length_penalty": length_penalty, "forbidden": (0,)}
    expected = list(exhaustive(step, 4, length_penalty).items())
    found = beam_search(step, [0], 64, 4, 1, n_best=3, **options)
    for hypothesis, (text, score) in zip(found, expected, strict=False):
        assert tuple(hypothesis.tokens) == text
        assert hypothesis.score == pytest.approx(score, abs=1e-5)
    (narrow, *_) = beam_search(step, [0], 2, 4, 1, **options)
    assert narrow.score <= expected[0][1] + 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_stopping_early_changes_nothing(seed, monkeypatch):
    """The same search without its bound, run to the end, finds the same texts."""
    step, options = random_step(seed), {"length_penalty": 1.0, "forbidden": (0,), "n_best": 2}
    stopped = beam_search(step, [0], 3, 7, 1, **options)
    monkeypatch.setattr("asr_tutorial.search.beam.best_possible", lambda log_prob, *_: torch.zeros_like(log_prob))
    full = beam_search(step, [0], 3, 7, 1, **options)
    assert [(h.tokens, h.score) for h in stopped] == [(h.tokens, h.score) for h in full]


# Choosing


def test_next_token_log_probs():
    logits = torch.tensor([0.5, 0.25, 0.15, 0.1]).log()
    torch.testing.assert_close(next_token_log_probs(logits).exp(), torch.tensor([0.5, 0.25, 0.15, 0.1]))
    squared = torch.tensor([0.25, 0.0625, 0.0225, 0.01])
    torch.testing.assert_close(next_token_log_probs(logits, temperature=0.5).exp(), squared / squared.sum())
    torch.testing.assert_close(next_token_log_probs(logits, top_k=2).exp(), torch.tensor([2 / 3, 1 / 3, 0, 0]))
    torch.testing.assert_close(next_token_log_probs(logits, top_p=0.7).exp(), torch.tensor([2 / 3, 1 / 3, 0, 0]))
    torch.testing.assert_close(next_token_log_probs(logits, top_p=0.01).exp(), torch.tensor([1.0, 0, 0, 0]))


@pytest.fixture(scope="module")
def model():
    return listening_model(EOS)


LENGTHS = [16, 3, 9, 20, 7, 12, 1]
ONLY = (BLANK, SOS)


def run(model, lengths: list[int], **options):
    return joint_search(model, *encoder_states(lengths), SOS, EOS, BLANK, ONLY, SearchOptions(**options))


ALL_OPTIONS = [
    {"ctc_weight": 0.0},
    {"ctc_weight": 0.0, "length_penalty": 1.0, "n_best": 3},
    {"ctc_weight": 0.4, "n_best": 3},
    {"ctc_weight": 1.0},
    {"ctc_weight": 0.2, "coverage_penalty": 0.3, "temperature": 1.3, "repeat_penalty": 1.2, "length_penalty": 0.6},
]


@pytest.mark.parametrize("options", ALL_OPTIONS, ids=str)
def test_the_same_alone_and_in_any_batch(model, options):
    together = run(model, LENGTHS, beam_size=4, **options)
    backwards = run(model, LENGTHS[::-1], beam_size=4, **options)[::-1]
    for length, found, again in zip(LENGTHS, together, backwards, strict=True):
        (alone,) = run(model, [length], beam_size=4, **options)
        for one, two, three in zip(found, alone, again, strict=True):
            assert one.tokens == two.tokens == three.tokens, (
                f"{length} frames: {two.tokens} alone, {one.tokens} in a batch"
            )
            assert one.score == pytest.approx(two.score, abs=1e-4)
            assert one.score == pytest.approx(three.score, abs=1e-4)
            assert one.finished == two.finished


def test_the_decoders_beam_search_is_that_of_a_function(model):
    """The tree of keys and values, its pruning included, against a decoder that reads each prefix anew."""
    lengths = [16, 9, 20]
    encoder_out, mask = encoder_states(lengths)
    for row, length in enumerate(lengths):

        def step(prefixes: Tensor, row: int = row) -> Tensor:
            n = len(prefixes)
            rows = encoder_out[row : row + 1].expand(n, -1, -1), mask[row : row + 1].expand(n, -1)
            return model.decode(prefixes, *rows)[:, -1].log_softmax(-1)

        expected = beam_search(step, [SOS], 3, length, EOS, n_best=3, length_penalty=1.0, forbidden=ONLY)
        found = run(model, lengths, beam_size=3, ctc_weight=0.0, n_best=3, length_penalty=1.0)[row]
        assert [h.tokens for h in found] == [h.tokens for h in expected]
        assert [h.score for h in found] == pytest.approx([h.score for h in expected], abs=1e-4)
        for one, two in zip(found, expected, strict=True):
            assert one.token_log_probs == pytest.approx(two.token_log_probs, abs=1e-4)


def test_dead_branches_of_the_tree_are_removed(model, monkeypatch):
    expected = run(model, LENGTHS, beam_size=4, ctc_weight=0.0, length_penalty=1.0)
    monkeypatch.setattr("asr_tutorial.decoder.TreeCache.fewest", 6)
    removed = []
    remove = model.new_tree().__class__._remove_dead

    def counted(tree):
        before = tree.ancestors.shape[2]
        remove(tree)
        removed.append(before - tree.ancestors.shape[2])

    monkeypatch.setattr("asr_tutorial.decoder.TreeCache._remove_dead", counted)
    found = run(model, LENGTHS, beam_size=4, ctc_weight=0.0, length_penalty=1.0)
    assert max(removed) > 0, "some hypotheses died out"
    for one, two in zip(found, expected, strict=True):
        assert one[0].tokens == two[0].tokens
        assert one[0].score == pytest.approx(two[0].score, abs=1e-4)


def test_a_beam_of_one_is_greedy_search(model):
    greedy = greedy_search(model, *encoder_states(LENGTHS), SOS, EOS, ONLY)
    beam = run(model, LENGTHS, beam_size=1, ctc_weight=0.0)
    assert {hypothesis.finished for hypothesis in greedy} == {True, False}
    for one, (two,) in zip(greedy, beam, strict=True):
        assert one.tokens == two.tokens
        if one.finished:
            assert one.score == pytest.approx(two.score, abs=1e-4)
            assert one.token_log_probs == pytest.approx(two.token_log_probs, abs=1e-4)


def test_scores_are_made_of_their_parts(model):
    for options in ({"ctc_weight": 0.0}, {"ctc_weight": 0.4}):
        for best, *_ in run(model, LENGTHS, beam_size=4, **options):
            assert len(best.token_log_probs) == len(best.tokens)
            assert sum(best.token_log_probs) >= best.log_prob - 1e-4, "EOS has the rest, and it is not above 0"
            assert all(0 <= confidence <= 1 for confidence in best.confidences)


def test_the_best_list_is_ordered_and_without_repeats(model):
    for hypotheses in run(model, LENGTHS, beam_size=6, n_best=6, ctc_weight=0.3):
        finished = [hypothesis.score for hypothesis in hypotheses if hypothesis.finished]
        assert finished == sorted(finished, reverse=True)
        assert len({tuple(h.tokens) for h in hypotheses if h.finished}) == len(finished)


def test_sampling_repeats_with_a_seed_and_is_greedy_at_a_low_temperature(model):
    def sample(seed: int, **options):
        generator = torch.Generator().manual_seed(seed)
        found = sample_search(model, *encoder_states(LENGTHS), SOS, EOS, ONLY, generator=generator, **options)
        return [hypothesis.tokens for hypothesis in found]

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)
    greedy = [hypothesis.tokens for hypothesis in greedy_search(model, *encoder_states(LENGTHS), SOS, EOS, ONLY)]
    assert sample(3, temperature=1e-3) == greedy
    assert sample(4, top_k=1) == sample(5, top_p=1e-6) == greedy
    with pytest.raises(ConfigError, match="top_p above 0"):
        sample(0, top_p=0.0)
    with pytest.raises(ConfigError, match="temperature must be above 0"):
        sample(0, temperature=0.0)


def test_sampling_follows_the_distribution():
    from asr_tutorial.search import write

    probs = torch.tensor([0.0, 0.5, 0.3, 0.2])
    generator = torch.Generator().manual_seed(0)
    tokens, log_probs, ended = write(
        lambda prefixes: probs.log().expand(len(prefixes), -1),
        torch.zeros(4000, 1, dtype=torch.long),
        torch.ones(4000, dtype=torch.long),
        1,
        lambda rows: torch.multinomial(rows.exp(), 1, generator=generator)[:, 0],
    )
    shares = [float((tokens == token).float().mean()) for token in range(4)]
    assert shares == pytest.approx(probs.tolist(), abs=0.03)
    assert torch.equal(ended, (tokens == 1)[:, 0])
    torch.testing.assert_close(log_probs[:, 0], probs.log()[tokens[:, 0]])
