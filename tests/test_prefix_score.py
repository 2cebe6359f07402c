"""CTC prefix scores against the sum over all paths, and against the recurrences written as loops."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from asr_tutorial.ctc import PrefixScorer, ctc_loss
from asr_tutorial.ctc.prefix_score import PrefixState, linear_recurrence

BLANK, EOS = 0, 3  # EOS is a token of the vocabulary that no path says


def random_log_probs(*shape: int, seed: int = 0, spread: float = 1.0) -> Tensor:
    return (spread * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).log_softmax(-1)


def collapse(path: tuple[int, ...]) -> list[int]:
    return [token for token, _ in itertools.groupby(path) if token != BLANK]


def after(scorer: PrefixScorer, prefix: list[int], batch: int, n: int = 1) -> PrefixState:
    state = scorer.initial_state(n)
    for token in prefix:
        parents = torch.arange(n).expand(batch, n)
        state = scorer.extend(state, parents, torch.full((batch, n), token), scorer.score(state))
    return state


@pytest.mark.parametrize("prefix", [[], [1], [1, 1], [1, 2], [2, 1, 1]])
def test_sums_over_all_paths_that_start_with_the_prefix(prefix):
    time, lengths = 5, torch.tensor([5, 4])
    log_probs = torch.nn.functional.pad(random_log_probs(2, time, 3, seed=3), (0, 1), value=-math.inf)
    scorer = PrefixScorer(log_probs, lengths, BLANK, EOS)
    state = after(scorer, prefix, batch=2, n=2)
    scores = scorer.score(state)[:, 1]
    for row, length in enumerate(lengths.tolist()):
        paths = list(itertools.product(range(3), repeat=length))
        frames = range(length)
        texts = [(collapse(p), math.exp(sum(float(log_probs[row, t, p[t]]) for t in frames))) for p in paths]
        for token in (1, 2):
            longer = [*prefix, token]
            expected = sum(weight for text, weight in texts if text[: len(longer)] == longer)
            assert math.exp(scores[row, token]) == pytest.approx(expected, abs=1e-6), (
                f"utterance of {length} frames: texts that start with {longer} have probability {expected}"
            )
        whole = sum(weight for text, weight in texts if text == prefix)
        assert math.exp(scores[row, EOS]) == pytest.approx(whole, abs=1e-6), f"text {prefix} itself: {whole}"
        begun = sum(weight for text, weight in texts if text[: len(prefix)] == prefix)
        assert math.exp(state.score[row, 0]) == pytest.approx(begun, abs=1e-6), "the state knows its own prefix's score"
        assert scores[row, BLANK] == -math.inf, "no transcript holds a blank"


@pytest.mark.parametrize("spread", [1.0, 20.0, 60.0])
def test_as_exact_as_a_loop_over_time(spread):
    """Over 150 frames with probabilities down to e^-200, the running products fall to e^-10000."""
    time, prefix = 150, [4, 4, 5, 6, 5, 5, 7]
    log_probs = random_log_probs(1, time, 9, seed=1, spread=spread)
    scorer = PrefixScorer(log_probs, torch.tensor([time]), BLANK, EOS)
    state = after(scorer, prefix, batch=1)
    rows = log_probs[0].double().tolist()
    add = lambda a, b: float(torch.logaddexp(torch.tensor(a).double(), torch.tensor(b).double()))  # noqa: E731
    token, blank = [-math.inf] * (time + 1), [0.0, *torch.tensor(rows)[:, BLANK].double().cumsum(0).tolist()]
    last = None
    for new in prefix:
        longer_token, longer_blank = [-math.inf], [-math.inf]
        for t in range(time):
            before = blank[t] if new == last else add(token[t], blank[t])
            longer_blank.append(rows[t][BLANK] + add(longer_blank[t], longer_token[t]))
            longer_token.append(rows[t][new] + add(longer_token[t], before))
        token, blank, last = longer_token, longer_blank, new
    for got, expected in ((state.token[0, 0], token), (state.blank[0, 0], blank)):
        torch.testing.assert_close(got, torch.tensor(expected).double(), atol=1e-6, rtol=1e-6)
    whole = -float(ctc_loss(log_probs, torch.tensor([prefix]), torch.tensor([time]), torch.tensor([7]), BLANK)[0])
    assert float(scorer.score(state)[0, 0, EOS]) == pytest.approx(whole, rel=1e-5), (
        "the EOS column is minus the CTC loss"
    )


def test_hypotheses_are_extended_and_chosen_independently():
    log_probs, lengths = random_log_probs(3, 12, 6, seed=2), torch.tensor([12, 9, 5])
    scorer = PrefixScorer(log_probs, lengths, BLANK, EOS)
    state = scorer.initial_state(2)
    state = scorer.extend(state, torch.zeros(3, 2, dtype=torch.long), torch.tensor([[1, 2]] * 3), scorer.score(state))
    crossed = scorer.extend(state, torch.tensor([[1, 0]] * 3), torch.tensor([[4, 1]] * 3), scorer.score(state))
    for place, prefix in enumerate(([2, 4], [1, 1])):
        alone = after(PrefixScorer(log_probs, lengths, BLANK, EOS), prefix, batch=3)
        torch.testing.assert_close(crossed.token[:, place], alone.token[:, 0])
        torch.testing.assert_close(crossed.blank[:, place], alone.blank[:, 0])
        torch.testing.assert_close(crossed.score[:, place], alone.score[:, 0])
    kept = scorer.keep(crossed, torch.tensor([2, 0]))
    alone = PrefixScorer(log_probs[[2, 0]], lengths[[2, 0]], BLANK, EOS)
    torch.testing.assert_close(scorer.score(kept)[:, 0], alone.score(after(alone, [2, 4], batch=2))[:, 0])


def test_padding_changes_nothing():
    log_probs = random_log_probs(1, 8, 5)
    padded = torch.cat([log_probs, 9 * torch.ones(1, 7, 5)], dim=1)
    found = []
    for rows in (log_probs, padded):
        scorer = PrefixScorer(rows, torch.tensor([8]), BLANK, EOS)
        found.append(scorer.score(after(scorer, [1, 2, 2], batch=1)))
    torch.testing.assert_close(found[0], found[1])


def test_what_needs_more_frames_than_there_are_is_impossible():
    scorer = PrefixScorer(random_log_probs(1, 3, 5), torch.tensor([3]), BLANK, EOS)
    scores = scorer.score(after(scorer, [1, 1], batch=1))[0, 0]
    assert scores[[1, 2, 4]].isinf().all(), "1 blank 1 fills the three frames"
    assert scores[EOS].isfinite()
    silent = PrefixScorer(random_log_probs(1, 3, 5), torch.tensor([0]), BLANK, EOS)
    nothing = silent.score(silent.initial_state())[0, 0]
    assert float(nothing[EOS]) == 0.0, "no frames say nothing, with certainty"
    assert nothing[[1, 2, 4]].isinf().all()


def test_linear_recurrence_worked_by_hand():
    p, arrivals = torch.tensor([0.5, 0.2, 1.0]).double(), torch.tensor([1.0, 0.5, 0.0, 7.0]).double()
    expected = [0.0, 0.5, 0.2, 0.2]  # 0.5 (0 + 1), 0.2 (0.5 + 0.5), 1.0 (0.2 + 0)
    torch.testing.assert_close(linear_recurrence(arrivals.log(), p.log()).exp(), torch.tensor(expected).double())
