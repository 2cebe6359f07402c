"""Chapter 07: what a path says, the states, the forward recursion, Viterbi, prefix beam search, the gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby, product
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from teaching import expect, same
from torch import Tensor
from torch.nn import functional as F

from asr_tutorial.ctc.align import viterbi
from asr_tutorial.ctc.beam import prefix_beam_search, prefix_step
from asr_tutorial.ctc.best_path import best_path, collapse
from asr_tutorial.ctc.loss import (
    backward_scores,
    ctc_loss,
    extend_targets,
    forward_scores,
    log_likelihood,
    state_posteriors,
)

INF = math.inf
# The chapter's example: two frames, blank, A and B.
EXAMPLE = torch.tensor([[0.5, 0.3, 0.2], [0.4, 0.1, 0.5]])


def random_log_probs(*shape: int, seed: int = 0) -> Tensor:
    return (2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).log_softmax(-1)


def says(path: tuple[int, ...], blank: int = 0) -> list[int]:
    """What a path says, written here once more, so that the tests do not lean on the exercise."""
    return [token for token, _ in groupby(path) if token != blank]


def paths_of(log_probs: Tensor, targets: list[int], blank: int = 0) -> list[tuple[tuple[int, ...], float]]:
    """Every path that says the targets, with its probability."""
    table = log_probs.double().exp().tolist()
    return [
        (path, math.prod(row[token] for row, token in zip(table, path, strict=True)))
        for path in product(range(log_probs.shape[1]), repeat=len(log_probs))
        if says(path, blank) == targets
    ]


def trellis(log_probs: Tensor, targets: list[int]) -> tuple[Tensor, Tensor]:
    """Emissions (1, time, states) and skips (1, states) of one text, blank 0, worked out without the library."""
    states = [0]
    for token in targets:
        states += [token, 0]
    skips = [place >= 2 and states[place] not in (0, states[place - 2]) for place in range(len(states))]
    return log_probs[None][..., states], torch.tensor([skips])


# ---------------------------------------------------------------------------------------------------- 7.1
@pytest.mark.exercise("7.1")
def test_repeats_are_merged():
    same(collapse([1, 1, 2, 2, 2, 3], 0), [1, 2, 3], "a token that lasts for several frames is said once")


@pytest.mark.exercise("7.1")
def test_blanks_are_dropped():
    same(collapse([0, 1, 0, 0, 2, 0], 0), [1, 2], "a blank says nothing")
    same(collapse([0, 0, 0], 0), [], "a path of blanks says nothing at all")


@pytest.mark.exercise("7.1")
def test_a_blank_keeps_equal_tokens_apart():
    same(collapse([1, 1, 0, 1], 0), [1, 1], "merge first, drop blanks afterwards: A A _ A says AA")
    same(collapse([1, 2, 1], 0), [1, 2, 1], "only neighbours are merged: a token may come back later")


@pytest.mark.exercise("7.1")
def test_blank_is_whatever_the_tokenizer_says():
    same(collapse([3, 0, 0, 3, 0, 1], 3), [0, 0, 1], "blank is 3 here, and 0 is a token like any other")


@pytest.mark.exercise("7.1")
def test_best_path_uses_it():
    log_probs = F.one_hot(torch.tensor([[0, 1, 1, 0, 1, 2]]), 3).float().mul(9).log_softmax(-1)
    found = best_path(log_probs, torch.tensor([5]), 0)
    expect(
        found == [[1, 1]], "[[1, 1]], the last frame being padding", found, "best path decoding is argmax, then this"
    )


def probe_collapse(m: ModuleType) -> Iterator[Any]:
    for path in ([1, 1, 2], [0, 1, 0], [1, 1, 0, 1], [1, 2, 1], [0, 0], [3, 0, 0, 3, 0, 1], [2, 2, 0, 2, 1, 1, 2]):
        for blank in (0, 3):
            yield [int(token) for token in m.collapse(path, blank)]


# ---------------------------------------------------------------------------------------------------- 7.2
AAB = torch.tensor([[1, 1, 2]])


@pytest.mark.exercise("7.2")
def test_blanks_stand_between_tokens_and_at_both_ends():
    states, _ = extend_targets(AAB, torch.tensor([3]), 0)
    same(states, [[0, 1, 0, 1, 0, 2, 0]], "A A B becomes _ A _ A _ B _: 2 * 3 + 1 states")


@pytest.mark.exercise("7.2")
def test_a_skip_leads_from_a_token_to_a_different_one():
    _, may_skip = extend_targets(AAB, torch.tensor([3]), 0)
    expect(
        may_skip.tolist() == [[False, False, False, False, False, True, False]],
        "True only at B, state 5",
        may_skip.tolist(),
        "from A to B a path may leave the blank out; from A to A it may not, or both would merge into one; no blank is "
        "reached by a skip, and there is nothing two states before the first token",
    )
    expect(may_skip.dtype == torch.bool, "a boolean tensor", may_skip.dtype, "it is used as a mask")


@pytest.mark.exercise("7.2")
def test_padding_says_blank_and_is_never_skipped_to():
    targets, lengths = torch.tensor([[3, 2, -100], [1, 3, 2], [4, 77, 3]]), torch.tensor([2, 3, 1])
    states, may_skip = extend_targets(targets, lengths, 0)
    same(
        states,
        [[0, 3, 0, 2, 0, 0, 0], [0, 1, 0, 3, 0, 2, 0], [0, 4, 0, 0, 0, 0, 0]],
        "behind an utterance's own tokens the padding may hold anything, even ids that do not exist: blank goes there",
    )
    same(
        may_skip.long(),
        [[0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0, 0]],
        "a skip into the padding leads nowhere",
    )


@pytest.mark.exercise("7.2")
def test_any_id_can_be_blank():
    states, may_skip = extend_targets(torch.tensor([[0, 1]]), torch.tensor([2]), 5)
    same(states, [[5, 0, 5, 1, 5]], "blank is the id that was given, here 5")
    same(may_skip.long(), [[0, 0, 0, 1, 0]], "0 and 1 are different tokens")


@pytest.mark.exercise("7.2")
def test_the_empty_text_is_one_blank():
    states, may_skip = extend_targets(torch.zeros(2, 0, dtype=torch.long), torch.tensor([0, 0]), 0)
    same(states, [[0], [0]], "silence has a path too: blank, blank, ...")
    expect(may_skip.shape == (2, 1), "shape (2, 1)", tuple(may_skip.shape), "one entry for each state")


def probe_extend(m: ModuleType) -> Iterator[Any]:
    for targets, lengths, blank in (
        ([[1, 1, 2]], [3], 0),
        ([[3, 2, 9], [1, 3, 2], [4, 4, 3]], [2, 3, 1], 0),
        ([[0, 1, 1, 0]], [4], 5),
    ):
        try:
            states, may_skip = m.extend_targets(torch.tensor(targets), torch.tensor(lengths), blank)
        except (RuntimeError, IndexError, ValueError):
            yield "fails"
            continue
        yield from (states, may_skip.long())


# ---------------------------------------------------------------------------------------------------- 7.3
@pytest.mark.exercise("7.3")
def test_the_two_frames_worked_by_hand():
    emissions, may_skip = trellis(EXAMPLE.log(), [1])
    alphas = forward_scores(emissions, may_skip)
    same(
        alphas.exp(),
        [[[0.5, 0.3, 0.0], [0.2, 0.08, 0.12]]],
        "first frame: blank 0.5, A 0.3. Second: blank 0.5 * 0.4; A (0.5 + 0.3) * 0.1; last blank 0.3 * 0.4",
    )
    total = log_likelihood(alphas, torch.tensor([2]), torch.tensor([1]))
    same(total.exp(), [0.2], "A A, _ A and A _ have 0.03 + 0.05 + 0.12: the last two states together")


@pytest.mark.exercise("7.3")
def test_a_path_begins_in_the_first_blank_or_the_first_token():
    emissions, may_skip = trellis(random_log_probs(4, 3), [1, 2])
    alphas = forward_scores(emissions, may_skip)
    same(alphas[0, 0, :2], emissions[0, 0, :2], "in the first frame a path is in one of the first two states")
    expect(
        bool((alphas[0, 0, 2:] == -INF).all()),
        "minus infinity for all other states of the first frame",
        alphas[0, 0, 2:].tolist(),
        "no path begins in the middle of the text",
    )


@pytest.mark.exercise("7.3")
@pytest.mark.parametrize("targets", [[], [2], [1, 2], [1, 1], [2, 1, 2]])
def test_all_paths_are_counted_once(targets):
    log_probs = random_log_probs(5, 3, seed=len(targets))
    emissions, may_skip = trellis(log_probs, targets)
    alphas = forward_scores(emissions, may_skip)
    total = log_likelihood(alphas, torch.tensor([5]), torch.tensor([len(targets)]))
    paths = paths_of(log_probs, targets)
    same(
        total.exp(),
        [sum(probability for _, probability in paths)],
        f"there are {len(paths)} path(s) of five frames that say {targets} (1 and 2 are tokens, [] is the empty text), "
        "written down one by one: the sum over them, each counted once, and no other",
        tolerance=1e-4,
    )


@pytest.mark.exercise("7.3")
def test_a_text_that_does_not_fit_is_impossible():
    emissions, may_skip = trellis(random_log_probs(2, 3), [1, 1])
    total = log_likelihood(forward_scores(emissions, may_skip), torch.tensor([2]), torch.tensor([2]))
    expect(
        total.tolist() == [-INF],
        "minus infinity: a probability of 0",
        total.tolist(),
        "A A takes three frames, A, blank, A, and there are two: an impossible text must be seen to be one",
    )


@pytest.mark.exercise("7.3")
def test_each_utterance_ends_where_it_ends():
    log_probs, targets = random_log_probs(3, 6, 4), torch.tensor([[1, 2, 3], [3, 3, -1], [2, -1, 99]])
    frames, lengths = torch.tensor([6, 4, 2]), torch.tensor([3, 2, 1])
    expected = F.ctc_loss(log_probs.transpose(0, 1), targets.clamp(0, 3), frames, lengths, reduction="none")
    alone = [trellis(row, text) for row, text in zip(log_probs, [[1, 2, 3], [3, 3], [2]], strict=True)]
    emissions = torch.stack([F.pad(e[0], (0, 7 - e.shape[2])) for e, _ in alone])
    skips = torch.stack([F.pad(s[0], (0, 7 - s.shape[1])) for _, s in alone])
    total = log_likelihood(forward_scores(emissions, skips), frames, lengths)
    same(-total, expected, "read the last two states of each utterance in its own last frame, not in the padding")


@pytest.mark.exercise("7.3")
def test_a_second_of_speech_does_not_underflow():
    log_probs = random_log_probs(400, 4, seed=3)
    targets = [1, 2, 3] * 10
    total = log_likelihood(forward_scores(*trellis(log_probs, targets)), torch.tensor([400]), torch.tensor([30]))
    expected = F.ctc_loss(log_probs, torch.tensor(targets), torch.tensor(400), torch.tensor(30), reduction="none")
    same(
        -total,
        expected.reshape(1),
        "400 frames of probabilities multiply to less than float32 can hold: stay in the log domain throughout, "
        "torch.logaddexp adds two probabilities there",
        tolerance=1e-4,
    )


def probe_forward(m: ModuleType) -> Iterator[Any]:
    for seed, targets in enumerate(([], [1], [1, 1], [1, 2], [2, 1, 2], [1, 1, 2])):
        emissions, may_skip = trellis(random_log_probs(6, 3, seed=seed), targets)
        alphas = m.forward_scores(emissions, may_skip)
        yield alphas.exp()
        yield m.log_likelihood(alphas, torch.tensor([6]), torch.tensor([len(targets)])).exp()
    emissions, may_skip = trellis(random_log_probs(300, 3), [1, 2, 1])
    yield m.forward_scores(emissions, may_skip)[0, -1]
    alphas = torch.arange(2 * 4 * 5).reshape(2, 4, 5).float()
    yield m.log_likelihood(alphas, torch.tensor([4, 2]), torch.tensor([2, 1]))


# ---------------------------------------------------------------------------------------------------- 7.4
def best_of_all(log_probs: Tensor, targets: list[int]) -> float:
    return math.log(max(probability for _, probability in paths_of(log_probs, targets)))


@pytest.mark.exercise("7.4")
def test_the_best_of_three_paths():
    emissions, may_skip = trellis(EXAMPLE.log(), [1])
    path, score = viterbi(emissions[0], may_skip[0])
    same(path, [1, 2], "A A has 0.03, _ A 0.05, A _ 0.12: the best is A (state 1), then the last blank (state 2)")
    same(math.exp(score), 0.12, "the score is the log-probability of that path")


@pytest.mark.exercise("7.4")
@pytest.mark.parametrize("targets", [[], [2], [1, 1], [1, 2], [2, 1, 1]])
def test_no_path_is_better(targets):
    for seed in range(4):
        log_probs = random_log_probs(6, 3, seed=seed)
        emissions, may_skip = trellis(log_probs, targets)
        path, score = viterbi(emissions[0], may_skip[0])
        same(score, best_of_all(log_probs, targets), f"the best of all paths of six frames that say {targets}", 1e-4)
        tokens = [0 if state % 2 == 0 else targets[state // 2] for state in path.tolist()]
        expect(says(tuple(tokens)) == targets, f"a path that says {targets}", tokens, "the path must say the text")
        reached = float(emissions[0, torch.arange(6), path].sum())
        same(reached, score, "the emissions along the path add up to the score: follow the choices backwards", 1e-4)


@pytest.mark.exercise("7.4")
def test_the_whole_text_is_said():
    log_probs = torch.tensor([[0.98, 0.01, 0.01]] * 5).log()  # blanks throughout
    emissions, may_skip = trellis(log_probs, [1, 2])
    path, _ = viterbi(emissions[0], may_skip[0])
    expect(
        int(path[-1]) >= 3 and {1, 3} <= set(path.tolist()),
        "a path through both tokens that ends in state 3 or 4",
        path.tolist(),
        "the path has to end in the last token or the last blank, however good the blanks before are",
    )


@pytest.mark.exercise("7.4")
def test_equal_tokens_need_a_blank_between():
    log_probs = torch.tensor([[0.1, 0.9], [0.1, 0.9], [0.1, 0.9]]).log()
    path, _ = viterbi(*(tensor[0] for tensor in trellis(log_probs, [1, 1])))
    same(path, [1, 2, 3], "A A takes three frames: A, blank, A. Without the blank the two would be one")
    _, score = viterbi(*(tensor[0] for tensor in trellis(log_probs[:2], [1, 1])))
    expect(score == -INF, "a score of minus infinity", score, "in two frames no path says A A")


def probe_viterbi(m: ModuleType) -> Iterator[Any]:
    for seed in range(3):
        for targets in ([], [1], [1, 1], [1, 2], [2, 1, 1]):
            emissions, may_skip = trellis(random_log_probs(6, 3, seed=seed), targets)
            try:
                path, score = m.viterbi(emissions[0], may_skip[0])
            except (RuntimeError, IndexError, ValueError):
                yield "fails"
                continue
            yield from (path, score)


# ---------------------------------------------------------------------------------------------------- 7.5
A, B = 1, 2
TOKENS = np.array([A, B])
FRAME = np.log([0.5, 0.3, 0.2])


def step(beam: list[tuple[float, float, int, int]], tokens: np.ndarray = TOKENS, frame: np.ndarray = FRAME) -> Any:
    """prefix_step on (blank_end, token_end, last, parent) with probabilities in and out."""
    blank_end, token_end = np.log(np.maximum([row[:2] for row in beam], 1e-300)).T
    blank_end[blank_end < -600], token_end[token_end < -600] = -INF, -INF
    last, parent = np.array([row[2:] for row in beam]).T
    return [np.exp(values) for values in prefix_step(frame, blank_end, token_end, last, parent, tokens, 0)]


@pytest.mark.exercise("7.5")
def test_the_empty_prefix_reads_its_first_frame():
    blank_end, token_end, grown = step([(1.0, 0.0, -1, -1)])
    same(blank_end, [0.5], "the empty prefix stays empty if the frame says blank")
    same(token_end, [0.0], "it has no last token that could last")
    same(grown, [[0.3, 0.2]], "or it grows, to A with 0.3 and to B with 0.2")


@pytest.mark.exercise("7.5")
def test_a_prefix_stays_the_same_in_two_ways():
    blank_end, token_end, _ = step([(0.1, 0.4, A, -1)])
    same(blank_end, [0.25], "a blank says nothing new, whatever the path ended in: (0.1 + 0.4) * 0.5")
    same(
        token_end, [0.12], "the last token once more, behind itself, is the same A: 0.4 * 0.3; behind a blank it is new"
    )


@pytest.mark.exercise("7.5")
def test_the_same_token_again_needs_a_blank():
    _, _, grown = step([(0.1, 0.4, A, -1)])
    same(grown, [[0.03, 0.1]], "AA comes from paths that end in a blank alone, 0.1 * 0.3; AB from all: 0.5 * 0.2")


@pytest.mark.exercise("7.5")
def test_paths_that_meet_are_added_up():
    # The empty prefix, and A, which is the empty prefix and A.
    _, token_end, grown = step([(0.2, 0.0, -1, -1), (0.1, 0.4, A, 0)])
    same(
        token_end,
        [0.0, 0.4 * 0.3 + 0.2 * 0.3],
        "A is in the beam already: the paths of the empty prefix that say A now belong to it",
    )
    same(grown[0], [0.0, 0.04], "and they must not be counted again as a new prefix")
    # A, and AA.
    _, token_end, grown = step([(0.1, 0.4, A, -1), (0.05, 0.02, A, 0)])
    same(token_end[1], 0.02 * 0.3 + 0.1 * 0.3, "AA gets from A only what ended in a blank")
    same(grown, [[0.0, 0.1], [0.015, 0.014]], "AA is not new; AB, AAA and AAB are")


@pytest.mark.exercise("7.5")
def test_tokens_that_are_not_tried():
    frame = np.log([0.4, 0.3, 0.2, 0.1])
    _, token_end, grown = step([(0.2, 0.0, -1, -1), (0.1, 0.4, A, 0)], np.array([3]), frame)
    same(grown, [[0.02], [0.05]], "prefixes grow only by the tokens given, here 3")
    same(
        token_end[1],
        0.4 * 0.3 + 0.2 * 0.3,
        "A is in the beam: the paths of the empty prefix that say A now belong to it, though A is not among the tokens "
        "by which prefixes grow in this frame",
    )
    blank_end, token_end, grown = step([(0.1, 0.4, A, -1)], np.array([], dtype=int))
    expect(grown.shape == (1, 0), "shape (1, 0)", grown.shape, "one prefix, and no token by which it may grow")
    same([blank_end[0], token_end[0]], [0.25, 0.12], "where no token is worth a try the prefixes go on as before")


@pytest.mark.exercise("7.5")
def test_a_wide_beam_finds_every_text():
    log_probs = random_log_probs(4, 3, seed=5)
    found = prefix_beam_search(log_probs[None], torch.tensor([4]), 0, beam_size=60, n_best=60, min_prob=0)[0]
    for hypothesis in found:
        wanted = sum(probability for _, probability in paths_of(log_probs, hypothesis.tokens))
        same(
            math.exp(hypothesis.log_prob),
            wanted,
            f"frame by frame, the paths that say {hypothesis.tokens} must add up to what all of them have together",
        )


def probe_step(m: ModuleType) -> Iterator[Any]:
    rng = np.random.default_rng(0)
    for last, parent in (
        ([-1], [-1]),
        ([A], [-1]),
        ([-1, A], [-1, 0]),
        ([-1, A, B, A, A], [-1, 0, 0, 1, 2]),
        ([B, B, A], [-1, 0, 1]),
    ):
        n = len(last)
        blank_end, token_end = np.log(rng.uniform(0.05, 0.2, (2, n)))
        token_end[np.array(last) < 0] = -INF
        for tokens in (TOKENS, np.array([B])):
            given = (FRAME, blank_end.copy(), token_end.copy(), np.array(last), np.array(parent), tokens, 0)
            try:
                results = m.prefix_step(*given)
            except (IndexError, ValueError, TypeError):
                yield "fails"
                continue
            yield from (np.exp(np.asarray(values, dtype=float)) for values in results)


# ---------------------------------------------------------------------------------------------------- 7.6
@pytest.mark.exercise("7.6")
def test_the_two_frames_again():
    # One state A between two blanks; alpha and beta as worked by hand.
    emissions = torch.tensor([[[0.5, 0.3, 0.5], [0.4, 0.1, 0.4]]]).log()
    alphas = torch.tensor([[[0.5, 0.3, 0.0], [0.2, 0.08, 0.12]]]).log()
    betas = torch.tensor([[[0.05, 0.15, 0.2], [0.0, 0.1, 0.4]]]).log()
    same(
        state_posteriors(alphas, betas, emissions, torch.tensor([0.2]).log()),
        [[[0.25, 0.75, 0.0], [0.0, 0.4, 0.6]]],
        "of 0.2 in all, _ A has 0.05, A A 0.03 and A _ 0.12: in the first frame blank has 0.05 / 0.2, A the rest",
    )


@pytest.mark.exercise("7.6")
def test_a_long_utterance():
    # The same numbers, each in the middle of a text of which the rest has a probability of e^-400.
    emissions = torch.tensor([[[0.5, 0.3, 0.5]]]).log()
    alphas = torch.tensor([[[0.5, 0.3, 0.1]]]).log() - 200
    betas = torch.tensor([[[0.05, 0.15, 0.2]]]).log() - 200
    same(
        state_posteriors(alphas, betas, emissions, torch.tensor([0.24]).log() - 400),
        [[[0.05 / 0.24, 0.15 / 0.24, 0.04 / 0.24]]],
        "alpha and beta of an utterance of some hundred frames are far too small for a float: only the share that is "
        "left in the end is no longer a logarithm",
        1e-3,
    )


@pytest.mark.exercise("7.6")
def test_what_is_impossible_has_probability_zero():
    emissions = torch.tensor([[[-1.0, -2.0, -1.0], [-INF, -1.0, -INF]]])
    alphas = torch.tensor([[[-1.0, -2.0, -INF], [-INF, -1.7, -INF]]])
    betas = torch.tensor([[[-2.0, -3.0, -INF], [-INF, -1.0, -INF]]])
    got = state_posteriors(alphas, betas, emissions, torch.tensor([-1.7]))
    expect(
        bool(torch.isfinite(got).all()) and float(got[0, 1, 0]) == 0,
        "zero where alpha or beta is minus infinity, and no NaN",
        got.tolist(),
        "minus infinity minus minus infinity is no number, and one NaN in a gradient ends a training",
    )
    never = torch.full((1, 2, 3), -INF)
    same(
        state_posteriors(never, never, torch.zeros(1, 2, 3), torch.tensor([-INF])),
        torch.zeros(1, 2, 3),
        "a text that has no path pulls nowhere: its posteriors are all zero",
    )


@pytest.mark.exercise("7.6")
def test_the_gradient_of_the_loss():
    logits = torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(0))
    given = (torch.tensor([[1, 1, 2], [3, 0, 0]]), torch.tensor([7, 4]), torch.tensor([3, 1]))
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    ctc_loss(ours.log_softmax(-1), *given, 0).sum().backward()
    F.ctc_loss(theirs.log_softmax(-1).transpose(0, 1), *given, reduction="sum").backward()
    same(ours.grad, theirs.grad, "with your posteriors in it, the loss has the gradient that PyTorch's has", 1e-4)


def probe_posteriors(m: ModuleType) -> Iterator[Any]:
    for seed in range(3):
        alphas, betas = -3 - random_log_probs(2, 2, 4, 5, seed=seed).abs()
        emissions, total = -random_log_probs(2, 4, 5, seed=seed + 9).abs(), torch.tensor([-5.0, -6.0])
        yield m.state_posteriors(alphas.clone(), betas.clone(), emissions.clone(), total)
    alphas[0, :, 2:] = betas[0, 1] = emissions[0, 1] = -INF
    yield m.state_posteriors(alphas.clone(), betas.clone(), emissions.clone(), total)
    never = torch.full((1, 2, 3), -INF)
    yield m.state_posteriors(never, never.clone(), torch.zeros(1, 2, 3), torch.tensor([-INF]))
    far = torch.full((1, 2, 3), -200.0)
    yield m.state_posteriors(far, far.clone(), torch.full((1, 2, 3), -1.0), torch.tensor([-400.0]))


# ---------------------------------------------------------------------------------------------------- 7.7
@pytest.mark.exercise("7.7")
def test_the_ends_worked_by_hand():
    emissions, may_skip = trellis(EXAMPLE.log(), [1])
    betas = backward_scores(emissions, may_skip, torch.tensor([2]), torch.tensor([1]))
    same(
        betas.exp(),
        [[[0.05, 0.15, 0.2], [0.0, 0.1, 0.4]]],
        "in the last frame a path is in A (0.1) or the last blank (0.4). In the first, the first blank is followed by "
        "A: 0.5 * 0.1; A by A or the last blank: 0.3 * (0.1 + 0.4); the last blank by itself: 0.5 * 0.4",
    )


@pytest.mark.exercise("7.7")
@pytest.mark.parametrize("targets", [[], [2], [1, 2], [1, 1]])
def test_read_from_either_end_the_total_is_the_same(targets):
    log_probs = random_log_probs(5, 3, seed=1)
    emissions, may_skip = trellis(log_probs, targets)
    betas = backward_scores(emissions, may_skip, torch.tensor([5]), torch.tensor([len(targets)]))
    wanted = sum(probability for _, probability in paths_of(log_probs, targets))
    same(
        betas[0, 0, :2].exp().sum(), wanted, f"all paths that say {targets}, from either of the two first states", 1e-4
    )


@pytest.mark.exercise("7.7")
def test_each_utterance_is_read_from_its_own_end():
    log_probs, texts = random_log_probs(2, 7, 4), [[1, 2, 2], [3, 1]]
    frames, lengths = torch.tensor([7, 4]), torch.tensor([3, 2])
    alone = [trellis(row, text) for row, text in zip(log_probs, texts, strict=True)]
    emissions = torch.stack([F.pad(e[0], (0, 7 - e.shape[2]), value=-0.5) for e, _ in alone])
    skips = torch.stack([F.pad(s[0], (0, 7 - s.shape[1])) for _, s in alone])
    betas = backward_scores(emissions, skips, frames, lengths)
    for row in range(2):
        time, states = int(frames[row]), 2 * int(lengths[row]) + 1
        own = backward_scores(alone[row][0][:, :time], alone[row][1], frames[row : row + 1], lengths[row : row + 1])
        same(betas[row, :time, :states], own[0], "in a batch, padding of frames and states is no part of any path")
    wanted = sum(probability for _, probability in paths_of(log_probs[1, :4], texts[1]))
    same(betas[1, 0, :2].exp().sum(), wanted, "the second utterance has four frames and two tokens", 1e-4)


def probe_backward(m: ModuleType) -> Iterator[Any]:
    for seed, targets in enumerate(([1], [1, 2], [1, 1], [2, 1, 2])):
        emissions, may_skip = trellis(random_log_probs(6, 3, seed=seed), targets)
        for frames in (6, 5):
            betas = m.backward_scores(emissions, may_skip, torch.tensor([frames]), torch.tensor([len(targets)]))
            yield betas[:, :frames].exp()
    emissions, may_skip = trellis(random_log_probs(6, 3, seed=9), [1, 2, 1])
    yield m.backward_scores(emissions, may_skip, torch.tensor([6]), torch.tensor([2]))[:, :, :5].exp()


PROBES = {
    "7.1": probe_collapse,
    "7.2": probe_extend,
    "7.3": probe_forward,
    "7.4": probe_viterbi,
    "7.5": probe_step,
    "7.6": probe_posteriors,
    "7.7": probe_backward,
}
