"""CTC against brute force: on tiny cases every path can be written down."""

import itertools
import math

import pytest
import torch
from model_checks import assert_same

from asr_tutorial.ctc import best_path, ctc_loss, forced_align
from asr_tutorial.dataset import frames_needed

BLANK = 0


def collapse(path: tuple[int, ...], blank: int = BLANK) -> list[int]:
    """What a path says: repeats merged, then blanks dropped."""
    return [token for token, _ in itertools.groupby(path) if token != blank]


def paths_of(targets: list[int], time: int, vocab: int, blank: int = BLANK) -> list[tuple[int, ...]]:
    """All paths that say the targets, out of all vocab ** time of them."""
    return [path for path in itertools.product(range(vocab), repeat=time) if collapse(path, blank) == targets]


def path_score(log_probs: torch.Tensor, path: tuple[int, ...]) -> float:
    return sum(float(log_probs[frame, token]) for frame, token in enumerate(path))


def random_log_probs(*shape: int, seed: int = 0) -> torch.Tensor:
    return (2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).log_softmax(-1)


def log_probs_of(tokens: list[int], vocab: int = 4) -> torch.Tensor:
    """Frames that are nearly sure of the given tokens: (time, vocab)."""
    return torch.nn.functional.one_hot(torch.tensor(tokens), vocab).mul(10.0).log_softmax(-1)


TARGETS = [[], [1], [2], [1, 2], [1, 1], [2, 1, 2], [1, 1, 2], [1, 2, 2, 1]]


@pytest.mark.parametrize("targets", TARGETS)
def test_frames_needed_is_the_shortest_path(targets):
    shortest = next(time for time in range(8) if paths_of(targets, time, 3))
    assert frames_needed(targets) == shortest, (
        f"{targets} needs a frame for each token and a blank between equal neighbours: the shortest path has "
        f"{shortest} frames, got {frames_needed(targets)}"
    )


class TestLoss:
    @pytest.mark.parametrize("blank", [0, 2])
    @pytest.mark.parametrize("time", [1, 2, 3, 4])
    def test_sums_over_all_paths(self, time, blank):
        log_probs = random_log_probs(1, time, 3, seed=time)
        tokens = [token for token in range(3) if token != blank]
        for length in range(3):
            for targets in map(list, itertools.product(tokens, repeat=length)):
                likelihood = sum(math.exp(path_score(log_probs[0], path)) for path in paths_of(targets, time, 3, blank))
                expected = -math.log(likelihood) if likelihood else math.inf
                row = torch.tensor([targets or [tokens[0]]])
                loss = ctc_loss(log_probs, row, torch.tensor([time]), torch.tensor([length]), blank)
                assert loss.shape == (1,), f"one loss for each utterance, got {tuple(loss.shape)}"
                assert float(loss) == pytest.approx(expected, abs=1e-4), (
                    f"-log of the summed probability of all paths that say {targets} in {time} frames (blank {blank}): "
                    f"expected {expected}, got {float(loss)}"
                )

    def test_padding_of_frames_and_targets_changes_nothing(self):
        log_probs, targets = random_log_probs(3, 6, 4), torch.tensor([[1, 2, 3], [3, 3, -1], [2, -1, 99]])
        times, lengths = torch.tensor([6, 4, 2]), torch.tensor([3, 2, 1])
        together = ctc_loss(log_probs, targets, times, lengths, BLANK)
        for row in range(3):
            time, length = int(times[row]), int(lengths[row])
            one = slice(row, row + 1)
            alone = ctc_loss(log_probs[one, :time], targets[one, :length], times[one], lengths[one], BLANK)
            assert_same(together[one], alone, "an utterance's loss is the same alone and in any batch")

    def test_gradient_is_finite_and_stays_within_the_utterance(self):
        logits = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
        loss = ctc_loss(
            logits.log_softmax(-1),
            torch.tensor([[1, 1, 2], [3, 0, 0]]),
            torch.tensor([6, 3]),
            torch.tensor([3, 1]),
            BLANK,
        )
        loss.sum().backward()
        assert torch.isfinite(logits.grad).all(), "a gradient that is not finite ends a training"
        assert (logits.grad[1, 3:] == 0).all(), "padded frames are not part of the loss"
        assert (logits.grad[1, :3] != 0).all()

    def test_too_few_frames_give_infinity(self):
        loss = ctc_loss(
            random_log_probs(2, 3, 3), torch.tensor([[1, 1], [2, 2]]), torch.tensor([3, 2]), torch.tensor([2, 2]), 0
        )
        assert torch.isfinite(loss[0]), "1 _ 1 fits in three frames"
        assert torch.isinf(loss[1]), "2 2 needs a blank between: no path in two frames, probability 0, loss infinite"

    def test_half_precision_is_summed_in_single(self):
        log_probs = random_log_probs(1, 4, 3)
        given = (torch.tensor([[1, 2]]), torch.tensor([4]), torch.tensor([2]), BLANK)
        loss = ctc_loss(log_probs.bfloat16(), *given)
        assert loss.dtype == torch.float32, f"bf16 has too few digits for sums of many small numbers, got {loss.dtype}"
        assert_same(loss, ctc_loss(log_probs, *given), "the input alone is rounded", tolerance=0.05)


class TestBestPath:
    @pytest.mark.parametrize(
        ("frames", "expected"),
        [
            ([1, 2, 3], [1, 2, 3]),
            ([1, 1, 1], [1]),
            ([1, 0, 1], [1, 1]),
            ([0, 1, 1, 0, 0, 2, 2, 0, 2], [1, 2, 2]),
            ([1, 1, 2, 2, 1], [1, 2, 1]),
            ([0, 0, 0], []),
            ([3], [3]),
        ],
    )
    def test_repeats_are_merged_then_blanks_dropped(self, frames, expected):
        got = best_path(log_probs_of(frames)[None], torch.tensor([len(frames)]), BLANK)
        assert got == [expected], (
            f"frames {frames} with blank 0 say {expected}, got {got}: merge first, then drop blanks"
        )

    def test_only_real_frames_speak(self):
        log_probs = log_probs_of([1, 2, 0, 3]).expand(4, 4, 4)
        got = best_path(log_probs, torch.tensor([4, 2, 1, 0]), BLANK)
        assert got == [[1, 2, 3], [1, 2], [1], []], f"frames behind an utterance's length are padding, got {got}"

    def test_any_id_can_be_blank(self):
        got = best_path(log_probs_of([3, 0, 0, 3, 0, 1])[None], torch.tensor([6]), blank=3)
        assert got == [[0, 0, 1]], f"blank is 3 here and 0 is a token like any other, got {got}"

    @pytest.mark.parametrize("seed", range(5))
    def test_is_the_collapsed_best_token_of_each_frame(self, seed):
        log_probs = random_log_probs(3, 12, 3, seed=seed)
        lengths = torch.tensor([12, 7, 3])
        expected = [
            collapse(tuple(row[:length].argmax(-1).tolist())) for row, length in zip(log_probs, lengths, strict=True)
        ]
        assert best_path(log_probs, lengths, BLANK) == expected


class TestForcedAlignment:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("targets", TARGETS)
    @pytest.mark.parametrize("extra", [0, 1, 3])
    def test_finds_the_best_of_all_paths(self, targets, extra, seed):
        time = max(frames_needed(targets) + extra, 1)
        log_probs = random_log_probs(time, 3, seed=10 * seed + extra)
        best = max(path_score(log_probs, path) for path in paths_of(targets, time, 3))
        alignment = forced_align(log_probs, torch.tensor(targets, dtype=torch.long), BLANK)
        assert alignment.score == pytest.approx(best, abs=1e-4), (
            f"best path that says {targets} in {time} frames: expected log-probability {best}, got {alignment.score}"
        )
        path = tuple(BLANK if state < 0 else targets[state] for state in alignment.states.tolist())
        assert len(path) == time, f"one state for each of {time} frames, got {len(path)}"
        assert collapse(path) == targets, f"the path {path} must say {targets}, it says {collapse(path)}"
        assert path_score(log_probs, path) == pytest.approx(best, abs=1e-4), "the score is that of the path returned"

    @pytest.mark.parametrize("targets", [[1], [1, 2], [1, 1], [2, 1, 1, 2]])
    def test_spans_and_scores_follow_from_the_states(self, targets):
        log_probs = random_log_probs(10, 3)
        alignment = forced_align(log_probs, torch.tensor(targets), BLANK)
        assert len(alignment.spans) == len(alignment.scores) == len(targets), "one span and one score for each token"
        end = 0
        for index, (first, last) in enumerate(alignment.spans):
            assert end <= first < last <= 10, (
                f"spans are in order, not empty and inside the utterance: {alignment.spans}"
            )
            said = (alignment.states == index).nonzero()[:, 0].tolist()
            assert said == list(range(first, last)), (
                f"token {index} is said in frames {said}, its span is {first, last}"
            )
            mean = float(log_probs[first:last, targets[index]].mean())
            assert alignment.scores[index] == pytest.approx(mean, abs=1e-5), "mean log-probability over the span"
            end = last

    def test_equal_neighbours_are_parted_by_a_blank(self):
        log_probs = log_probs_of([1, 1, 1, 1])  # no frame wants to be blank
        alignment = forced_align(log_probs, torch.tensor([1, 1]), BLANK)
        states = alignment.states.tolist()
        assert -1 in states[states.index(0) : states.index(1)], (
            f"without a blank between, repeats merge and 1 1 is heard as 1; states {states}"
        )

    def test_different_neighbours_need_no_blank(self):
        assert forced_align(log_probs_of([1, 2, 3]), torch.tensor([1, 2, 3]), BLANK).states.tolist() == [0, 1, 2]

    def test_follows_what_is_said(self):
        alignment = forced_align(log_probs_of([0, 1, 1, 0, 0, 2, 0]), torch.tensor([1, 2]), BLANK)
        assert alignment.states.tolist() == [-1, 0, 0, -1, -1, 1, -1]
        assert alignment.spans == [(1, 3), (5, 6)], "first frame, and the one after the last"

    def test_nothing_to_say_is_all_blank(self):
        log_probs = random_log_probs(4, 3)
        alignment = forced_align(log_probs, torch.zeros(0, dtype=torch.long), BLANK)
        assert alignment.states.tolist() == [-1] * 4
        assert (alignment.spans, alignment.scores) == ([], [])
        assert alignment.score == pytest.approx(float(log_probs[:, BLANK].sum()), abs=1e-5)

    @pytest.mark.parametrize(("targets", "needed"), [([1, 2, 1], 3), ([1, 1], 3), ([], 1)])
    def test_too_few_frames_are_named(self, targets, needed):
        log_probs = random_log_probs(needed - 1, 3)
        with pytest.raises(ValueError, match=f"{len(targets)} tokens need at least {needed} frames.* got {needed - 1}"):
            forced_align(log_probs, torch.tensor(targets, dtype=torch.long), BLANK)

    def test_takes_half_precision_and_gradients(self):
        log_probs = random_log_probs(6, 3).requires_grad_()
        expected = forced_align(log_probs.detach(), torch.tensor([1, 2]), BLANK).score
        assert forced_align(log_probs.bfloat16(), torch.tensor([1, 2]), BLANK).score == pytest.approx(expected, abs=0.1)

    def test_never_better_than_the_loss(self):
        log_probs, targets = random_log_probs(8, 3), torch.tensor([1, 2, 2])
        loss = ctc_loss(log_probs[None], targets[None], torch.tensor([8]), torch.tensor([3]), BLANK)
        assert forced_align(log_probs, targets, BLANK).score < -float(loss), "one path is less than the sum of all"
