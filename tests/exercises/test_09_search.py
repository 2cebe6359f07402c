"""Chapter 09: one distribution, one text, a beam of texts, their scores, when to stop, and CTC's say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from teaching import expect, same
from torch import Tensor

from asr_tutorial.ctc.prefix_score import extend_states, linear_recurrence, next_token_scores
from asr_tutorial.search.beam import combine, expand, split_finished
from asr_tutorial.search.choice import next_token_log_probs
from asr_tutorial.search.greedy import write
from asr_tutorial.search.hypothesis import best_possible, length_normalised

NEVER = -math.inf


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def probabilities(log_probs: Tensor) -> Tensor:
    """For comparison: minus infinity becomes 0."""
    return log_probs.double().exp()


# ---------------------------------------------------------------------------------------------------- 9.1
FOUR = torch.tensor([0.5, 0.25, 0.15, 0.1])


@pytest.mark.exercise("9.1")
def test_without_settings_it_is_a_log_softmax():
    logits = random(3, 7)
    same(
        next_token_log_probs(logits),
        logits.log_softmax(dim=-1),
        "a temperature of 1 and no filter leave the distribution as it is; the vocabulary is the last axis",
    )


@pytest.mark.exercise("9.1")
def test_the_temperature_worked_by_hand():
    same(
        probabilities(next_token_log_probs(FOUR.log(), temperature=0.5)),
        [0.7246, 0.1812, 0.0652, 0.0290],
        "logits divided by 0.5 are doubled, so the probabilities are squared, 0.25, 0.0625, 0.0225, 0.01, and divided "
        "by their sum, 0.345: low temperatures sharpen",
        tolerance=1e-3,
    )
    hot = probabilities(next_token_log_probs(FOUR.log(), temperature=100.0))
    expect(
        float(hot.max() - hot.min()) < 0.02,
        "nearly equal probabilities at a temperature of 100",
        [round(float(p), 3) for p in hot],
        "divide by the temperature: high ones make all logits alike",
    )


@pytest.mark.exercise("9.1")
def test_top_k_keeps_the_k_most_probable():
    logits = torch.tensor([[0.1, 0.5, 0.15, 0.25], [0.25, 0.15, 0.5, 0.1]]).log()
    got = next_token_log_probs(logits, top_k=2)
    same(
        probabilities(got),
        [[0, 2 / 3, 0, 1 / 3], [1 / 3, 0, 2 / 3, 0]],
        "each row keeps its own two best tokens, wherever in the vocabulary they stand; the rest gets minus infinity, "
        "and what stays is made to sum to 1",
    )
    same(
        probabilities(next_token_log_probs(logits, top_k=99)),
        probabilities(logits),
        "if more tokens may stay than there are, all stay",
    )


@pytest.mark.exercise("9.1")
def test_top_p_keeps_the_smallest_set_with_enough_probability():
    logits = torch.tensor([[0.15, 0.5, 0.1, 0.25], [0.04, 0.9, 0.03, 0.03]]).log()
    same(
        probabilities(next_token_log_probs(logits, top_p=0.7)),
        [[0, 2 / 3, 0, 1 / 3], [0, 1, 0, 0]],
        "0.5 is less than 0.7, so the second token is needed as well; 0.5 + 0.25 is enough. In the second row the "
        "first token alone has 0.9",
    )


@pytest.mark.exercise("9.1")
def test_one_token_always_stays():
    same(
        probabilities(next_token_log_probs(FOUR.log(), top_p=1e-6)),
        [1, 0, 0, 0],
        "the most probable token stays, even if its probability is far above top_p: something has to be said",
    )


@pytest.mark.exercise("9.1")
def test_the_order_is_temperature_then_k_then_p():
    same(
        probabilities(next_token_log_probs(FOUR.log(), temperature=0.5, top_p=0.72)),
        [1, 0, 0, 0],
        "the filter looks at the distribution after the temperature: sharpened, the first token alone has 0.72",
    )
    same(
        probabilities(next_token_log_probs(FOUR.log(), top_k=3, top_p=0.8)),
        [2 / 3, 1 / 3, 0, 0],
        "after top_k=3 the three sum to 1 again (0.556, 0.278, 0.167), and the first two of them reach 0.8",
    )


def probe_choice(m: ModuleType) -> Iterator[Any]:
    logits = 2 * random(3, 9, seed=4)
    for settings in (
        {},
        {"temperature": 0.5},
        {"temperature": 3.0},
        {"top_k": 3},
        {"top_p": 0.7},
        {"top_p": 1e-6},
        {"top_k": 4, "top_p": 0.8},
        {"temperature": 2.0, "top_k": 5, "top_p": 0.6},
    ):
        yield probabilities(m.next_token_log_probs(logits.clone(), **settings))
    yield probabilities(m.next_token_log_probs(FOUR.log(), temperature=0.5, top_p=0.72))


# ---------------------------------------------------------------------------------------------------- 9.2
EOS = 1


class Script:
    """A model that says, after SOS, what is written for each row; it remembers the prefixes that it was shown."""

    def __init__(self, *rows: list[int], vocab: int = 6) -> None:
        self.rows, self.vocab = rows, vocab
        self.seen: list[list[list[int]]] = []

    def __call__(self, prefixes: Tensor) -> Tensor:
        self.seen.append(prefixes.tolist())
        step = len(self.seen) - 1
        logits = torch.zeros(len(self.rows), self.vocab)
        for row, said in enumerate(self.rows):
            logits[row, said[step] if step < len(said) else 5] = 2.0 + row
        return logits.log_softmax(dim=-1)


def best(log_probs: Tensor) -> Tensor:
    return log_probs.argmax(dim=-1)


def written(step: Callable[[Tensor], Tensor], limits: list[int], write: Any, choose: Any = best) -> tuple[Any, ...]:
    return write(step, torch.zeros(len(limits), 1, dtype=torch.long), torch.tensor(limits), EOS, choose)


@pytest.mark.exercise("9.2")
def test_one_text_up_to_its_end():
    script = Script([3, 4, EOS])
    tokens, log_probs, ended = written(script, [9], write)
    same(tokens, [[3, 4, EOS]], "the tokens chosen, one after the other, the EOS included and SOS left out")
    one = math.log(math.e**2 / (math.e**2 + 5))
    same(
        log_probs,
        [[one, one, one]],
        "each token's log-probability in the distribution it was chosen from, the EOS's too",
    )
    same(ended, [True], "the text has said EOS")


@pytest.mark.exercise("9.2")
def test_the_model_reads_what_was_written():
    script = Script([3, 4, EOS])
    written(script, [9], write)
    same(script.seen[-1], [[0, 3, 4]], "the model is shown the prefix with all tokens chosen so far behind it")


@pytest.mark.exercise("9.2")
def test_each_text_ends_for_itself():
    script = Script([3, EOS, 4, 4], [4, 4, 3, EOS], [EOS, 3, 3, 3])
    tokens, log_probs, ended = written(script, [9, 9, 9], write)
    same(
        tokens,
        [[3, EOS, EOS, EOS], [4, 4, 3, EOS], [EOS, EOS, EOS, EOS]],
        "a text that has said EOS is closed: whatever the model says later, EOS is filled in. Four steps are enough "
        "for all",
    )
    same(
        (log_probs != 0).sum(dim=1),
        [2, 4, 1],
        "behind the end nothing counts: log-probability 0, or a text's score would depend on the others of the batch",
    )
    same(ended, [True, True, True], "all three have ended")


@pytest.mark.exercise("9.2")
def test_a_limit_of_its_own_for_each_text():
    script = Script([3] * 9, [4] * 9, [3, 4, EOS], [3] * 9)
    tokens, log_probs, ended = written(script, [4, 2, 9, 0], write)
    same(tokens[1, :2], [4, 4], "the second text may have two tokens")
    same((log_probs != 0).sum(dim=1), [4, 2, 3, 0], "tokens that count: up to each text's own limit, or to its EOS")
    same(ended, [False, False, True, False], "who ran into a limit has not ended: it never said EOS")
    same(tokens.shape, [4, 4], "it goes on until the last text is closed, and no longer")


@pytest.mark.exercise("9.2")
def test_an_eos_as_the_last_allowed_token_is_an_end():
    tokens, _, ended = written(Script([3, EOS, 4]), [2], write)
    same(tokens, [[3, EOS]], "EOS is the second of two tokens: it still fits")
    same(ended, [True], "and the text is finished")


@pytest.mark.exercise("9.2")
def test_another_way_to_choose():
    tokens, log_probs, _ = written(Script([3, 4, EOS]), [3], write, choose=lambda rows: rows.argmin(dim=-1))
    least = math.log(1 / (math.e**2 + 5))
    same(tokens, [[0, 0, 0]], "choose decides, not the largest log-probability: sampling uses this very function")
    same(log_probs, [[least] * 3], "what is scored is the token that was chosen")


def probe_write(m: ModuleType) -> Iterator[Any]:
    for rows, limits in (
        ([[3, 4, EOS]], [9]),
        ([[3, EOS, 4, 4], [4, 4, 3, EOS], [EOS, 3, 3, 3]], [9, 9, 9]),
        ([[3] * 9, [4] * 9, [3, 4, EOS]], [4, 2, 9]),
        ([[3, EOS, 4]], [2]),
        ([[3, 3], [3, 3]], [0, 1]),
    ):
        script = Script(*rows)
        yield from written(script, limits, m.write)
        yield torch.tensor(script.seen[-1])
    yield from written(Script([3, 4, EOS]), [3], m.write, choose=lambda log_probs: log_probs.argmin(dim=-1))


# ---------------------------------------------------------------------------------------------------- 9.3
SCORES = torch.tensor([[-1.0, -2.0]])
NEXT = torch.tensor([[[-3.0, -0.5, -5.0], [-0.1, -9.0, -1.5]]])


@pytest.mark.exercise("9.3")
def test_expanding_worked_by_hand():
    scores, parents, tokens = expand(SCORES, NEXT, 3)
    same(
        scores,
        [[-1.5, -2.1, -3.5]],
        "the six sums are -4, -1.5, -6 for hypothesis 0 and -2.1, -11, -3.5 for hypothesis 1: a hypothesis's score "
        "plus the token's, and of all of them the best three, in order",
    )
    same(parents, [[0, 1, 1]], "-1.5 extends hypothesis 0, the other two hypothesis 1: they compete with each other")
    same(tokens, [[1, 0, 2]], "and these are the tokens that they are extended by")


@pytest.mark.exercise("9.3")
def test_utterances_do_not_compete():
    scores, parents, tokens = expand(torch.tensor([[-1.0, -2.0], [-100.0, -101.7]]), torch.cat([NEXT, NEXT.flip(1)]), 2)
    same(scores, [[-1.5, -2.1], [-100.1, -101.5]], "each utterance gets its own two candidates, however bad they are")
    same(parents, [[0, 1], [0, 0]], "indices count from 0 within each utterance")
    same(tokens, [[1, 0], [0, 2]], "tokens are ids of the vocabulary")


@pytest.mark.exercise("9.3")
def test_as_many_candidates_as_there_are():
    scores, parents, _ = expand(SCORES, NEXT, 20)
    same(scores.shape, [1, 6], "two hypotheses and three tokens make six candidates, no matter how many are wanted")
    same(parents.sort().values, [[0, 0, 0, 1, 1, 1]], "each hypothesis in three ways")


@pytest.mark.exercise("9.3")
def test_what_is_no_hypothesis_has_no_children():
    scores, parents, tokens = expand(torch.tensor([[0.0, NEVER, NEVER]]), random(1, 3, 4).log_softmax(-1), 4)
    same(parents, [[0, 0, 0, 0]], "at the start there is one hypothesis only: places with minus infinity are empty")
    expect(scores.isfinite().all(), "four finite scores", scores.tolist(), "children of an empty place come last")
    same(tokens.sort().values, [[0, 1, 2, 3]], "all four tokens of the one hypothesis")


@pytest.mark.exercise("9.3")
def test_every_candidate_is_the_sum_it_claims_to_be():
    scores, log_probs = random(3, 4).log_softmax(-1), random(3, 4, 7, seed=1).log_softmax(-1)
    best_scores, parents, tokens = expand(scores, log_probs, 9)
    rows = torch.arange(3)[:, None]
    same(
        scores[rows, parents] + log_probs[rows, parents, tokens],
        best_scores,
        "parents and tokens must belong to the score they stand beside: mind that the vocabulary is the inner axis",
    )


def probe_expand(m: ModuleType) -> Iterator[Any]:
    for batch, beam, vocab, count in ((1, 2, 3, 3), (3, 4, 7, 9), (2, 3, 5, 6)):
        scores, log_probs = random(batch, beam, seed=vocab), random(batch, beam, vocab, seed=beam).log_softmax(-1)
        yield from m.expand(scores, log_probs, count)
    yield from m.expand(SCORES, NEXT, 3)


# ---------------------------------------------------------------------------------------------------- 9.4
CANDIDATES = torch.tensor([[3, EOS, 4, EOS, 5, 3], [EOS, EOS, EOS, 3, 4, 5]])


@pytest.mark.exercise("9.4")
def test_an_end_leaves_the_beam():
    ends, going_on = split_finished(CANDIDATES[:1], EOS, 3)
    same(ends[:, :2], [[False, True]], "the second candidate says EOS: it has ended")
    same(
        going_on,
        [[0, 2, 4]],
        "the three best candidates that have not ended, in their order: a finished one is never extended again, and "
        "its place goes to the next best",
    )


@pytest.mark.exercise("9.4")
def test_an_end_outside_the_beam_does_not_count():
    ends, _ = split_finished(CANDIDATES, EOS, 3)
    same(
        ends,
        [[False, True, False, False, False, False], [True, True, True, False, False, False]],
        "candidate 3 of the first utterance says EOS too, but it is the fourth best of all, and a beam of three keeps "
        "three. Otherwise every hypothesis would end at every step, and short texts would win still more often",
    )


@pytest.mark.exercise("9.4")
def test_the_beam_stays_full():
    _, going_on = split_finished(CANDIDATES, EOS, 3)
    same(going_on, [[0, 2, 4], [3, 4, 5]], "even if the three best all end, three hypotheses go on")


@pytest.mark.exercise("9.4")
def test_nothing_ends():
    ends, going_on = split_finished(torch.tensor([[5, 4, 3, 2], [2, 2, 2, 2]]), EOS, 2)
    expect(not ends.any(), "no end", ends.tolist(), "no candidate says EOS")
    same(going_on, [[0, 1], [0, 1]], "so the best ones go on as they are")


@pytest.mark.exercise("9.4")
def test_eos_is_whatever_the_tokenizer_says():
    ends, going_on = split_finished(torch.tensor([[7, 1, 0, 7]]), 7, 2)
    same(ends, [[True, False, False, False]], "eos is given: no number is built in")
    same(going_on, [[1, 2]], "tokens 0 and 1 are tokens like others")


def probe_split(m: ModuleType) -> Iterator[Any]:
    yield from m.split_finished(CANDIDATES, EOS, 3)
    yield from m.split_finished(torch.tensor([[7, 1, 0, 7], [2, 7, 3, 4]]), 7, 2)
    yield from m.split_finished(torch.tensor([[5, 4, 3, 2]]), EOS, 2)
    tokens = torch.randint(0, 4, (5, 12), generator=torch.Generator().manual_seed(2))
    tokens[:, ::2] += EOS + 1  # at most every second one ends
    yield from m.split_finished(tokens, EOS, 6)


# ---------------------------------------------------------------------------------------------------- 9.5
@pytest.mark.exercise("9.5")
def test_normalised_scores_worked_by_hand():
    log_probs, lengths = torch.tensor([-1.2, -2.0]), torch.tensor([2, 5])
    same(length_normalised(log_probs, lengths, 0.0), [-1.2, -2.0], "an exponent of 0 is no normalisation: length^0 = 1")
    same(
        length_normalised(log_probs, lengths, 1.0), [-0.6, -0.4], "an exponent of 1 is the mean: now the long text wins"
    )
    same(length_normalised(log_probs, 4, 0.5), [-0.6, -1.0], "the square root of 4 is 2; a length may be one number")


@pytest.mark.exercise("9.5")
def test_the_bound_worked_by_hand():
    bound = best_possible(torch.tensor([-3.0]), 4, 9, 1.0)
    same(
        bound,
        [-0.3],
        "four tokens now, nine at most, and the EOS makes ten: if the rest cost nothing, the mean would be -3 / 10. "
        "Dividing by the present length would give -0.75, which is not the best that can come",
    )


@pytest.mark.exercise("9.5")
def test_without_normalisation_the_sum_itself_is_the_bound():
    same(best_possible(torch.tensor([-3.0, -0.5]), 4, 9, 0.0), [-3.0, -0.5], "a sum of log-probabilities can only fall")


@pytest.mark.exercise("9.5")
def test_no_continuation_exceeds_the_bound():
    log_prob = torch.tensor([-0.5, -3.0, -20.0])
    for exponent in (-0.5, 0.3, 1.0, 2.0):
        bound = best_possible(log_prob, 3, 8, exponent)
        reached = torch.stack([length_normalised(log_prob, length, exponent) for length in range(4, 10)])
        expect(
            bool((reached <= bound + 1e-6).all()),
            f"a bound of at least {[round(float(x), 4) for x in reached.amax(dim=0)]} with an exponent of {exponent}",
            [round(float(x), 4) for x in bound],
            "the hypothesis of 3 tokens may end with 4 to 9 scored tokens, EOS included, and lose nothing on the way. "
            "With a negative exponent it is best to end at once",
        )
        same(bound, reached.amax(dim=0), "and it is tight: a bound that is too high makes the search go on for nothing")


@pytest.mark.exercise("9.5")
def test_each_utterance_has_its_own_limit():
    same(
        best_possible(torch.tensor([-3.0, -3.0]), 4, torch.tensor([9, 5]), 1.0),
        [-0.3, -0.5],
        "limits may be a tensor, one for each utterance",
    )


def probe_scores(m: ModuleType) -> Iterator[Any]:
    log_prob = torch.tensor([-0.5, -3.0, -20.0])
    for exponent in (-0.5, 0.0, 0.5, 1.0, 2.0):
        yield m.length_normalised(log_prob, torch.tensor([1, 4, 9]), exponent)
        yield m.best_possible(log_prob, 3, 8, exponent)
        yield m.best_possible(log_prob, 3, torch.tensor([8, 3, 20]), exponent)


# ---------------------------------------------------------------------------------------------------- 9.6
@pytest.mark.exercise("9.6")
def test_a_weighted_sum():
    one, other = torch.tensor([[-1.0, -2.0, -4.0]]), torch.tensor([[-3.0, -1.0, -2.0]])
    same(combine([0.25, 0.75], [one, other]), [[-2.5, -1.25, -2.5]], "a quarter of the first and three of the second")


@pytest.mark.exercise("9.6")
def test_logarithms_are_summed_not_probabilities():
    one, other = torch.tensor([0.9, 0.1]).log(), torch.tensor([0.001, 0.999]).log()
    got = combine([0.5, 0.5], [one, other])
    same(
        got.exp(),
        [0.03, 0.3161],
        "the mean of logarithms, sqrt(0.9 x 0.001) = 0.03: one scorer can forbid what the other likes. The mean of "
        "probabilities, 0.45, could not",
        tolerance=1e-3,
    )


@pytest.mark.exercise("9.6")
def test_what_is_impossible_for_one_is_impossible():
    got = combine([0.3, 0.7], [torch.tensor([NEVER, -1.0]), torch.tensor([-0.1, -1.0])])
    same(got, [NEVER, -1.0], "minus infinity stays, however small its weight")


@pytest.mark.exercise("9.6")
def test_a_weight_of_zero_has_no_say():
    got = combine([0.0, 1.0], [torch.tensor([NEVER, -1.0, -2.0]), torch.tensor([-0.1, -1.0, NEVER])])
    same(got, [-0.1, -1.0, NEVER], "0 times minus infinity is NaN, and one NaN is enough to spoil a whole beam")


@pytest.mark.exercise("9.6")
def test_more_than_two_and_any_shape():
    parts = [random(2, 3, 5, seed=seed) for seed in range(3)]
    before = [part.clone() for part in parts]
    same(
        combine([0.5, 0.3, 0.4], parts),
        0.5 * parts[0] + 0.3 * parts[1] + 0.4 * parts[2],
        "a language model may join in, with a weight of its own: weights need not sum to 1",
    )
    same(torch.stack(parts), torch.stack(before), "the scores belong to the scorers: leave them as they are")


def probe_combine(m: ModuleType) -> Iterator[Any]:
    parts = [random(2, 3, 5, seed=seed).log_softmax(-1) for seed in range(3)]
    yield m.combine([0.5, 0.3, 0.4], [part.clone() for part in parts])
    yield m.combine([0.3, 0.7], [torch.tensor([NEVER, -1.0]), torch.tensor([-0.1, -1.0])]).exp()
    yield m.combine([0.0, 1.0], [torch.tensor([NEVER, -1.0]), torch.tensor([-0.1, -1.0])]).nan_to_num(nan=5.0)
    given = parts[0].clone()
    m.combine([0.25, 0.75], [given, parts[1].clone()])
    yield given


# ---------------------------------------------------------------------------------------------------- 9.7
def ctc_frames(batch: int = 2, vocab: int = 4, time: int = 5, seed: int = 0) -> Tensor:
    """Probabilities (batch, vocab, time), float64."""
    return random(batch, time, vocab, seed=seed).double().softmax(dim=-1).transpose(1, 2)


def empty_prefix(probs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The states of the empty prefix: all blanks (token 0), for one hypothesis of each utterance."""
    blank = torch.nn.functional.pad(probs[:, 0].log().cumsum(dim=-1), (1, 0))[:, None]
    return blank.clone(), blank, torch.full(blank.shape[:2], -1)


@pytest.mark.exercise("9.7")
def test_two_frames_worked_by_hand():
    probs = torch.tensor([[[0.4, 0.3], [0.6, 0.7]]]).double()  # blank 0.4 and 0.3, A 0.6 and 0.7
    got = next_token_scores(*empty_prefix(probs), probs)
    same(
        got[..., 1].exp(),
        [[0.88]],
        "A is first said in frame 0 (0.6), or in frame 1 after a blank (0.4 x 0.7 = 0.28): together 0.88",
    )


@pytest.mark.exercise("9.7")
def test_every_path_is_counted_once():
    probs = ctc_frames(batch=1, vocab=3, time=4)
    got = next_token_scores(*empty_prefix(probs), probs)[0, 0].exp()
    silence = float(probs[0, 0].prod())
    same(
        float(got[1] + got[2]),
        1 - silence,
        "every path but the one of blanks alone starts with some token: all scores of the empty prefix and the silence "
        "sum to 1",
    )


@pytest.mark.exercise("9.7")
def test_the_same_token_again_needs_a_blank():
    probs = torch.tensor([[[0.2, 0.5, 0.3, 0.1], [0.8, 0.5, 0.7, 0.9]]]).double()  # blank and A
    token = torch.tensor([[[0.0, 0.8, 0.5, 0.525, 0.6075]]])  # paths that say A and end in A
    blank = torch.tensor([[[0.0, 0.0, 0.4, 0.27, 0.0795]]])  # paths that say A and end in a blank
    either = (token + blank).double().log()
    got = next_token_scores(either, blank.double().log(), torch.tensor([[1]]), probs)
    same(
        got[..., 1].exp(),
        [[0.4 * 0.7 + 0.27 * 0.9]],
        "after A, a second A is a new token only behind a blank: after two frames (0.4) or after three (0.27). From "
        "the paths that end in A itself the token only goes on",
    )


@pytest.mark.exercise("9.7")
def test_hypotheses_and_utterances_are_apart():
    probs = ctc_frames(batch=2, vocab=5, time=6)
    either, blank = random(2, 3, 7, seed=1).double() - 2, random(2, 3, 7, seed=2).double() - 3
    last = torch.tensor([[1, 3, -1], [2, 2, 4]])
    blank = torch.where((last == -1)[..., None], either, blank)
    together = next_token_scores(either, blank, last, probs)
    same(together.shape, [2, 3, 5], "a score for each token after each hypothesis of each utterance")
    for row, place in ((0, 1), (1, 2), (0, 2)):
        alone = next_token_scores(
            either[row : row + 1, place : place + 1],
            blank[row : row + 1, place : place + 1],
            last[row : row + 1, place : place + 1],
            probs[row : row + 1],
        )
        same(
            together[row, place], alone[0, 0], "the same alone as among others: each hypothesis hears its own utterance"
        )


@pytest.mark.exercise("9.7")
def test_very_improbable_prefixes():
    probs = ctc_frames(batch=1, vocab=4, time=6)
    either, blank, last = empty_prefix(probs)
    low = next_token_scores(either - 5000, blank - 5000, last, probs)
    same(
        low + 5000,
        next_token_scores(either, blank, last, probs),
        "exp(-5000) is 0 for a computer: take the largest entry of each prefix out before exp, and add it again after "
        "the logarithm",
    )


def probe_prefix(m: ModuleType) -> Iterator[Any]:
    probs = ctc_frames(batch=2, vocab=5, time=6)
    either, blank = random(2, 3, 7, seed=1).double() - 2, random(2, 3, 7, seed=2).double() - 3
    last = torch.tensor([[1, 3, 2], [2, 2, 4]])
    yield m.next_token_scores(either, blank, last, probs)
    yield m.next_token_scores(*empty_prefix(probs), probs)[..., 1:]
    low = m.next_token_scores(either - 5000, blank - 5000, last, probs)
    yield low.clamp(min=-9000).nan_to_num(nan=7.0)


# ---------------------------------------------------------------------------------------------------- 9.8
@pytest.mark.exercise("9.8")
def test_the_recurrence_worked_by_hand():
    p, arrivals = torch.tensor([0.5, 0.2, 1.0]).double(), torch.tensor([1.0, 0.5, 0.0, 7.0]).double()
    same(
        linear_recurrence(arrivals.log(), p.log()).exp(),
        [0.0, 0.5, 0.2, 0.2],
        "0 at first, then 0.5 x (0 + 1), 0.2 x (0.5 + 0.5) and 1.0 x (0.2 + 0); the last arrival comes too late",
    )


@pytest.mark.exercise("9.8")
def test_as_a_loop_would_have_it():
    arrivals, log_probs = random(2, 3, 9, seed=1).double(), random(2, 3, 8).double() - 2
    r = [torch.full((2, 3), NEVER, dtype=torch.float64)]
    for t in range(8):
        r.append(log_probs[..., t] + torch.logaddexp(r[-1], arrivals[..., t]))
    same(linear_recurrence(arrivals, log_probs), torch.stack(r, dim=-1), "r[t + 1] = p[t] (r[t] + arrivals[t])", 1e-9)


@pytest.mark.exercise("9.8")
def test_three_hundred_frames():
    log_probs = torch.full((300,), -20.0).double()
    got = linear_recurrence(torch.zeros(301).double(), log_probs)
    expect(
        bool(got[1:].isfinite().all()),
        "finite logarithms",
        f"{int((~got[1:].isfinite()).sum())} of 300 are not finite",
        "the product of 300 probabilities of e^-20 is e^-6000, which is 0 for a computer: stay in logarithms",
    )
    same(got[1:], torch.full((300,), -20.0), "each r is nearly p times the new arrival alone", 1e-6)


@pytest.mark.exercise("9.8")
def test_the_states_of_a_first_token():
    p_a, p_blank = torch.tensor([0.8, 0.5, 0.7]).double(), torch.tensor([0.2, 0.5, 0.3]).double()
    before = torch.tensor([1.0, 0.2, 0.1, 0.03]).double()  # only blanks so far
    token, blank = extend_states(before.log(), p_a.log(), p_blank.log())
    same(token.exp(), [0.0, 0.8, 0.5, 0.42], "paths that say A and end in A: 0.8, 0.5 (0.8 + 0.2), 0.7 (0.5 + 0.1)")
    same(
        blank.exp(),
        [0.0, 0.0, 0.4, 0.27],
        "and that end in a blank: it comes behind A, so not in the first frame; then 0.5 x 0.8 and 0.3 (0.4 + 0.5)",
    )


@pytest.mark.exercise("9.8")
def test_nothing_arrives_from_nowhere():
    token, blank = extend_states(torch.full((6,), NEVER).double(), random(5).double() - 2, random(5).double() - 2)
    expect(
        bool((token == NEVER).all() and (blank == NEVER).all()),
        "minus infinity everywhere",
        f"{token.tolist()} and {blank.tolist()}",
        "a prefix that cannot be said cannot be extended either; NaN would spoil the whole beam",
    )


def probe_states(m: ModuleType) -> Iterator[Any]:
    arrivals, log_probs = random(2, 3, 9, seed=1).double(), random(2, 3, 8).double() - 2
    for start in (0, 1, 4):
        yield m.linear_recurrence(arrivals[..., start:], log_probs[..., start:])[..., 1:].nan_to_num(nan=9.0)
    for values in m.extend_states(arrivals, log_probs, random(2, 1, 8, seed=5).double() - 1):
        yield values.clamp(min=-1e6).nan_to_num(nan=9.0)
    long = m.linear_recurrence(torch.zeros(301).double(), torch.full((300,), -20.0).double())
    yield long.clamp(min=-1e6, max=1e6).nan_to_num(nan=9.0)


PROBES = {
    "9.1": probe_choice,
    "9.2": probe_write,
    "9.3": probe_expand,
    "9.4": probe_split,
    "9.5": probe_scores,
    "9.6": probe_combine,
    "9.7": probe_prefix,
    "9.8": probe_states,
}
