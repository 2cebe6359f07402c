"""Our own CTC loss: value and gradient against all paths written down, and against PyTorch's."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from asr_tutorial.ctc import ctc_loss, frame_posteriors, training_loss
from asr_tutorial.ctc import loss as module
from asr_tutorial.ctc.loss import backward_scores, extend_targets, forward_scores

DOUBLE = torch.float64


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def collapse(path, blank):
    return [token for token, _ in itertools.groupby(path) if token != blank]


def all_paths(log_probs, targets, blank):
    """The loss by writing down every path, None if there is none; autograd gives the gradient."""
    time, vocab = log_probs.shape
    paths = [p for p in itertools.product(range(vocab), repeat=time) if collapse(p, blank) == targets]
    if not paths:
        return None
    scores = torch.stack([log_probs[range(time), path].sum() for path in paths])
    return -torch.logsumexp(scores, dim=0)


@pytest.mark.parametrize("blank", [0, 1, 2])
@pytest.mark.parametrize("targets", [[], [0], [1, 0], [0, 0], [1, 1], [0, 1, 0]])
@pytest.mark.parametrize("time", [1, 3, 5])
def test_value_and_gradient_are_those_of_all_paths(time, targets, blank):
    targets = [(token + blank + 1) % 3 for token in targets]  # any two tokens that are not the blank
    log_probs = torch.randn(time, 3, generator=generator(time), dtype=DOUBLE).log_softmax(-1)
    ours, theirs = log_probs.clone().requires_grad_(), log_probs.clone().requires_grad_()
    loss = ctc_loss(ours[None], torch.tensor([targets], dtype=torch.long), *lengths([time], [len(targets)]), blank)
    loss.sum().backward()
    expected = all_paths(theirs, targets, blank)
    if expected is None:
        assert torch.isposinf(loss).all(), f"{targets} has no path of {time} frames"
        assert (ours.grad == 0).all()
        return
    expected.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-9)
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-9), f"{ours.grad} should be {theirs.grad}"


def lengths(frames, tokens):
    return torch.tensor(frames), torch.tensor(tokens)


def random_batch(seed, vocab=6, batch=8, time=40, most=12):
    """Logits, targets padded with nonsense, lengths, blank; some rows have no path."""
    g = generator(seed)
    blank = seed % vocab
    targets = torch.randint(0, vocab - 1, (batch, most), generator=g)
    targets += targets >= blank
    target_lengths = torch.randint(0, most + 1, (batch,), generator=g)
    targets[torch.arange(most) >= target_lengths[:, None]] = -100 + 900 * (seed % 2)
    frames = torch.randint(1, time + 1, (batch,), generator=g)
    return 2 * torch.randn(batch, time, vocab, generator=g, dtype=DOUBLE), targets, frames, target_lengths, blank


@pytest.mark.parametrize("seed", range(12))
def test_agrees_with_pytorch(seed):
    logits, targets, frames, target_lengths, blank = random_batch(seed)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    losses = ctc_loss(ours.log_softmax(-1), targets, frames, target_lengths, blank)
    given = (theirs.log_softmax(-1).transpose(0, 1), targets.clamp(0, 5), frames, target_lengths, blank, "none")
    expected = F.ctc_loss(*given)
    assert torch.equal(losses.isinf(), expected.isinf())
    assert torch.allclose(losses, expected, atol=1e-6, rtol=0)
    weights = torch.randn(len(losses), generator=generator(seed), dtype=DOUBLE)
    (losses * weights)[losses.isfinite()].sum().backward()
    (F.ctc_loss(*given, zero_infinity=True) * weights).sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-6, rtol=0)


def test_gradient_is_the_derivative():
    log_probs = torch.randn(2, 6, 4, generator=generator(0), dtype=DOUBLE).requires_grad_()
    targets = torch.tensor([[1, 1, 2], [3, -1, -1]])
    assert torch.autograd.gradcheck(lambda x: ctc_loss(x, targets, *lengths([6, 4], [3, 1]), 0), log_probs)


def test_no_path_is_an_infinite_loss_that_pulls_nowhere():
    logits = torch.randn(3, 4, 5, generator=generator(0)).requires_grad_()
    targets = torch.tensor([[1, 2, 0], [1, 1, 1], [1, 2, 3]])
    loss = ctc_loss(logits.log_softmax(-1), targets, *lengths([4, 4, 2], [2, 3, 3]), 0)
    assert torch.isfinite(loss[0])
    assert torch.isposinf(loss[1:]).all(), f"1 1 1 needs five frames, 1 2 3 three: infinite, got {loss.tolist()}"
    loss.sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[0] != 0).any()
    assert (logits.grad[1:] == 0).all()


def test_nothing_to_say():
    log_probs = torch.randn(3, 5, 4, generator=generator(0)).log_softmax(-1)
    loss = ctc_loss(log_probs, torch.zeros(3, 0, dtype=torch.long), *lengths([5, 1, 0], [0, 0, 0]), 0)
    expected = [-float(log_probs[0, :, 0].sum()), -float(log_probs[1, 0, 0]), 0.0]
    assert loss.tolist() == pytest.approx(expected, abs=1e-5)
    loss = ctc_loss(log_probs[:1, :0], torch.tensor([[1]]), *lengths([0], [1]), 0)
    assert torch.isposinf(loss).all(), "no frame cannot say a token"


def test_one_frame():
    log_probs = torch.randn(2, 1, 4, generator=generator(0)).log_softmax(-1)
    loss = ctc_loss(log_probs, torch.tensor([[2], [0]]), *lengths([1, 1], [1, 0]), 0)
    assert loss.tolist() == pytest.approx([-float(log_probs[0, 0, 2]), -float(log_probs[1, 0, 0])])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    log_probs = torch.randn(2, 30, 6, generator=generator(0)).log_softmax(-1).to(dtype)
    targets, given = torch.tensor([[1, 2, 3], [4, 4, 0]]), lengths([30, 20], [3, 2])
    half, single = log_probs.clone().requires_grad_(), log_probs.float().requires_grad_()
    losses = [ctc_loss(x, targets, *given, 0) for x in (half, single)]
    for loss in losses:
        loss.sum().backward()
    assert losses[0].dtype == torch.float32
    assert torch.equal(losses[0], losses[1]), "half precision is summed in single"
    assert half.grad.dtype == dtype
    assert torch.allclose(half.grad.float(), single.grad, atol=5e-3)


def test_a_thousand_frames_in_single_precision():
    logits = 3 * torch.randn(2, 1000, 40, generator=generator(0), dtype=DOUBLE)
    targets = torch.randint(1, 40, (2, 150), generator=generator(1))
    results = []
    for dtype in (torch.float32, DOUBLE):
        x = logits.to(dtype).clone().requires_grad_()
        loss = ctc_loss(x.log_softmax(-1), targets, *lengths([1000, 777], [150, 90]), 0)
        loss.sum().backward()
        results.append((loss.detach().double(), x.grad.double()))
    (loss, grad), (right, right_grad) = results
    assert torch.allclose(loss, right, rtol=1e-5)
    assert torch.allclose(grad, right_grad, atol=2e-3), float((grad - right_grad).abs().max())


def test_impossible_tokens_are_no_numbers_nowhere():
    log_probs = torch.randn(1, 6, 4, generator=generator(0)).log_softmax(-1)
    log_probs[0, 2, 0] = log_probs[0, 4, 1] = -math.inf
    log_probs.requires_grad_()
    loss = ctc_loss(log_probs, torch.tensor([[1, 2]]), *lengths([6], [2]), 0)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(log_probs.grad).all()


def test_a_diverged_model_is_seen():
    log_probs = torch.randn(2, 6, 4, generator=generator(0)).log_softmax(-1)
    log_probs[0, 2] = math.nan
    log_probs.requires_grad_()
    loss = ctc_loss(log_probs, torch.tensor([[1, 2], [1, 2]]), *lengths([6, 6], [2, 2]), 0)
    loss.sum().backward()
    assert loss[0].isnan()
    assert loss[1].isfinite()
    assert log_probs.grad[0].isnan().any()
    assert log_probs.grad[1].isfinite().all()


def test_what_does_not_fit_is_named():
    log_probs, targets = torch.zeros(2, 5, 4), torch.ones(2, 3, dtype=torch.long)
    right = lengths([5, 5], [3, 3])
    for given, message in [
        ((log_probs[0], targets, *right, 0), "batch, time, vocab"),
        ((log_probs, targets[0], *right, 0), "targets must be"),
        ((log_probs, targets, *lengths([6, 5], [3, 3]), 0), r"input_lengths must lie between 0 and 5, got \[6, 5\]"),
        ((log_probs, targets, *lengths([5, 5], [4, 3]), 0), "target_lengths must lie between 0 and 3"),
        ((log_probs, targets, *lengths([5], [3, 3]), 0), "input_lengths must be"),
        ((log_probs, targets, *right, 4), "blank must be one of the 4 tokens"),
    ]:
        with pytest.raises(ValueError, match=message):
            ctc_loss(*given)


def test_both_directions_agree_on_the_total():
    logits, targets, frames, target_lengths, blank = random_batch(3, time=60)
    frames, target_lengths = frames.clamp(min=30), target_lengths.clamp(max=8)
    states, may_skip = extend_targets(targets, target_lengths, blank)
    emissions = logits.log_softmax(-1).gather(2, states[:, None].expand(-1, 60, -1))
    betas = backward_scores(emissions, may_skip, frames, target_lengths)
    losses = ctc_loss(logits.log_softmax(-1), targets, frames, target_lengths, blank)
    first = torch.where(target_lengths > 0, torch.logaddexp(betas[:, 0, 0], betas[:, 0, 1]), betas[:, 0, 0])
    assert torch.allclose(first, -losses)
    assert forward_scores(emissions, may_skip).shape == betas.shape


def test_training_takes_ours_on_a_processor(monkeypatch):
    called = []
    monkeypatch.setattr(module, "ctc_loss", lambda *given: called.append(given))
    training_loss(torch.zeros(1, 4, 3), torch.tensor([[1]]), *lengths([4], [1]), 0)
    assert len(called) == 1


@pytest.mark.parametrize("seed", range(4))
def test_the_kernel_is_made_to_behave_alike(seed):
    logits, targets, frames, target_lengths, blank = random_batch(seed)
    targets = targets.clamp(0, 5)
    frames[0], target_lengths[0] = 2, 3  # at least one text that does not fit
    results = []
    for function in (ctc_loss, module._kernel_loss):
        x = logits.float().requires_grad_()
        loss = function(x.log_softmax(-1), targets, frames, target_lengths, blank)
        loss.sum().backward()
        results.append((loss.detach(), x.grad))
    (loss, grad), (kernel_loss, kernel_grad) = results
    assert loss[0].isinf()
    assert torch.allclose(loss, kernel_loss, rtol=1e-4)
    assert torch.allclose(grad, kernel_grad, atol=1e-4), "texts that do not fit pull nowhere, and there is no NaN"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_both_ways_agree_on_a_gpu(monkeypatch):
    logits, targets, frames, target_lengths, blank = random_batch(1)
    given = [tensor.cuda() for tensor in (targets.clamp(0, 5), frames, target_lengths)]
    results = []
    for fused in (True, False):
        monkeypatch.setattr(module, "FUSED", fused)
        x = logits.float().cuda().requires_grad_()
        loss = training_loss(x.log_softmax(-1), *given, blank)
        loss.sum().backward()
        results.append((loss.detach(), x.grad))
    assert torch.allclose(results[0][0], results[1][0], rtol=1e-4)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-4)


def test_frame_posteriors_are_those_of_all_paths():
    log_probs = torch.randn(5, 3, generator=generator(2), dtype=DOUBLE).log_softmax(-1)
    got = frame_posteriors(log_probs, torch.tensor([1, 2, 1]), 0)
    expected = torch.zeros(5, 4, dtype=DOUBLE)
    for path in itertools.product(range(3), repeat=5):
        if collapse(path, 0) == [1, 2, 1]:
            weight, token, before = float(log_probs[range(5), path].sum().exp()), -1, 0
            for frame, said in enumerate(path):
                token += said not in (0, before)
                expected[frame, 3 if said == 0 else token] += weight
                before = said
    expected /= expected.sum(dim=1, keepdim=True)
    assert torch.allclose(got, expected), f"{got} should be {expected}"
    with pytest.raises(ValueError, match="need at least"):
        frame_posteriors(log_probs[:2], torch.tensor([1, 2, 1]), 0)
