"""The CTC loss by forward-backward, with its gradient derived by hand (Graves et al. 2006, sections 4.1 and 4.2).

In this order: :func:`extend_targets` writes a transcript as a row of states, blanks between its tokens.
:func:`forward_scores` adds up all paths through these states, frame by frame: the heart of the algorithm.
:func:`log_likelihood` reads off the result. :func:`backward_scores` gets the other direction by running the same
recursion on the mirror image, :func:`state_posteriors` says how probable each state is in each frame, and that is the
gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

FUSED = True
"""Whether :func:`training_loss` may take PyTorch's kernel on a GPU; False where the recursion is a learner's."""

NEVER = float("-inf")


def extend_targets(targets: Tensor, target_lengths: Tensor, blank: int) -> tuple[Tensor, Tensor]:
    """The states that a path walks through: blank, first token, blank, second token, ..., blank.

    From one frame to the next a path stays in its state, or moves on by one, or moves on by two where the state
    between is a blank that it may leave out: between two different tokens.

    Args:
        targets: (batch, length) ids without blank, padded with anything.
        target_lengths: (batch,) real tokens.
        blank: id of the blank.

    Returns:
        states (batch, 2 * length + 1), the token that each state says, blank in the padding; and may_skip (batch,
        2 * length + 1), True where a state can be reached from two states before, never in the padding.
    """
    batch, length = targets.shape
    real = torch.arange(length, device=targets.device) < target_lengths[:, None]  # (batch, length)
    states = torch.full((batch, 2 * length + 1), blank, dtype=torch.long, device=targets.device)
    states[:, 1::2] = targets.masked_fill(~real, blank)
    may_skip = torch.zeros_like(states, dtype=torch.bool)
    may_skip[:, 3::2] = (targets[:, 1:] != targets[:, :-1]) & real[:, 1:]
    return states, may_skip


def forward_scores(emissions: Tensor, may_skip: Tensor) -> Tensor:
    """Log-probability of all beginnings of paths, by where they are in each frame: the recursion for alpha.

    A path begins in the first blank or in the first token. Afterwards it stays, moves on by one state, or skips one.

    Args:
        emissions: (batch, time, states) log-probability of what each state says, in each frame.
        may_skip: (batch, states) where a state can be reached from two states before.

    Returns:
        alpha (batch, time, states): summed over all paths that are in this state in this frame, with the emissions up
        to this frame, this one included; minus infinity where no path can be.
    """
    alphas = torch.full_like(emissions, NEVER)
    alphas[:, 0, :2] = emissions[:, 0, :2]
    no_skip = torch.zeros_like(emissions[:, 0]).masked_fill_(~may_skip, NEVER)[:, 2:]  # (batch, states - 2)
    for frame in range(1, emissions.shape[1]):
        before = alphas[:, frame - 1]  # (batch, states)
        now = before.clone()
        now[:, 1:] = torch.logaddexp(now[:, 1:], before[:, :-1])
        now[:, 2:] = torch.logaddexp(now[:, 2:], before[:, :-2] + no_skip)
        alphas[:, frame] = now + emissions[:, frame]
    return alphas


def log_likelihood(alphas: Tensor, input_lengths: Tensor, target_lengths: Tensor) -> Tensor:
    """Log-probability of the transcripts: paths that end, in the last real frame, in the last token or the last blank.

    Args:
        alphas: (batch, time, states) from :func:`forward_scores`.
        input_lengths: (batch,) real frames, at least 1.
        target_lengths: (batch,) real tokens; an utterance with none has one state, a blank.

    Returns:
        (batch,), minus infinity where no path is long enough.
    """
    rows = torch.arange(len(alphas), device=alphas.device)
    last = alphas[rows, input_lengths - 1]  # (batch, states)
    final_blank = last[rows, 2 * target_lengths]
    final_token = last[rows, (2 * target_lengths - 1).clamp(min=0)].masked_fill(target_lengths == 0, NEVER)
    return torch.logaddexp(final_blank, final_token)


def backward_scores(emissions: Tensor, may_skip: Tensor, input_lengths: Tensor, target_lengths: Tensor) -> Tensor:
    """Log-probability of all ends of paths, by where they begin: beta.

    Read from the last frame and the last state, an utterance is an utterance again: the recursion of
    :func:`forward_scores` on the mirror image is the recursion for beta.

    Args:
        emissions: (batch, time, states).
        may_skip: (batch, states).
        input_lengths: (batch,) real frames.
        target_lengths: (batch,) real tokens.

    Returns:
        beta (batch, time, states): summed over all paths from this state in this frame to the end, with the emissions
        from this frame on, this one included. Padding holds anything.
    """
    mirror = _Mirror(emissions, input_lengths, target_lengths)
    return mirror.image(forward_scores(mirror.image(emissions), mirror.image_of_skips(may_skip)))


def state_posteriors(alphas: Tensor, betas: Tensor, emissions: Tensor, total: Tensor) -> Tensor:
    """Probability that a path is in a state in a frame, given that it says the transcript.

    Alpha and beta both hold the emission of the frame where they meet: it is taken out once.

    Args:
        alphas: (batch, time, states).
        betas: (batch, time, states).
        emissions: (batch, time, states).
        total: (batch,) log-probability of the transcripts.

    Returns:
        (batch, time, states); in a real frame the states sum to 1. Zero where no path can be, which is everywhere in
        an utterance whose transcript has no path.
    """
    through = alphas + betas - emissions - total[:, None, None]
    # What is impossible came out as (minus infinity) - (minus infinity), no number, or as plus infinity.
    return through.nan_to_num_(nan=NEVER, posinf=NEVER, neginf=NEVER).exp_()


class _Mirror:
    """Turns the real frames and the real states of each utterance round; twice gives back what there was."""

    def __init__(self, emissions: Tensor, input_lengths: Tensor, target_lengths: Tensor) -> None:
        batch, time, states = emissions.shape
        device = emissions.device
        count = 2 * target_lengths[:, None] + 1
        self.rows = torch.arange(batch, device=device)[:, None]  # (batch, 1)
        self.frames = (input_lengths[:, None] - 1 - torch.arange(time, device=device)).clamp(min=0)  # (batch, time)
        self.states = (count - 1 - torch.arange(states, device=device)).clamp(min=0)  # (batch, states)

    def image(self, values: Tensor) -> Tensor:
        """(batch, time, states) -> (batch, time, states)."""
        return values[self.rows[..., None], self.frames[:, :, None], self.states[:, None, :]]

    def image_of_skips(self, may_skip: Tensor) -> Tensor:
        """A skip from s - 2 to s, met from the other side, leads from s to s - 2."""
        departures = F.pad(may_skip[:, 2:], (0, 2))  # (batch, states): where a skip begins
        return departures[self.rows, self.states]


class _ForwardBackward(torch.autograd.Function):
    """The loss with its gradient: minus the posterior of each token in each frame."""

    @staticmethod
    def forward(
        ctx: Any, log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int
    ) -> Tensor:
        batch, time, vocab = log_probs.shape
        states, may_skip = extend_targets(targets, target_lengths, blank)
        index = states[:, None, :].expand(-1, time, -1)  # (batch, time, states)
        emissions = log_probs.gather(2, index)
        if ctx.needs_input_grad[0]:
            # Both directions at once: beta is alpha of the mirror image, so they share the loop over frames.
            mirror = _Mirror(emissions, input_lengths, target_lengths)
            both = forward_scores(
                torch.cat([emissions, mirror.image(emissions)]), torch.cat([may_skip, mirror.image_of_skips(may_skip)])
            )
            alphas, betas = both[:batch], mirror.image(both[batch:])
        else:
            alphas = forward_scores(emissions, may_skip)
        total = log_likelihood(alphas, input_lengths, target_lengths)
        if ctx.needs_input_grad[0]:
            posteriors = state_posteriors(alphas, betas, emissions, total)
            frames = torch.arange(time, device=states.device)[:, None] < input_lengths[:, None, None]
            real = torch.arange(states.shape[1], device=states.device) <= 2 * target_lengths[:, None, None]
            posteriors = posteriors.masked_fill_(~(frames & real), 0.0)
            # In single precision alpha and beta have lost a digit or two after a thousand frames; what they lost is the
            # same for all states of a frame, whose posteriors must sum to 1.
            posteriors /= posteriors.sum(dim=2, keepdim=True).clamp_(min=1e-30)
            # A model that has diverged must be seen to have: state_posteriors takes NaN for impossible.
            posteriors.masked_fill_(total.isnan()[:, None, None], float("nan"))
            ctx.save_for_backward(posteriors, states)
            ctx.vocab = vocab
        return -total

    @staticmethod
    def backward(ctx: Any, grad_losses: Tensor) -> tuple[Tensor | None, ...]:
        posteriors, states = ctx.saved_tensors
        batch, time, _ = posteriors.shape
        grad = posteriors.new_zeros(batch, time, ctx.vocab)
        # Several states say the same token, the blanks above all: their posteriors add up.
        grad.scatter_add_(2, states[:, None, :].expand(-1, time, -1), posteriors * -grad_losses[:, None, None])
        return grad, None, None, None, None


def ctc_loss(log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int) -> Tensor:
    """Negative log-likelihood of each transcript, summed over all its paths, by our own forward-backward.

    Half precision is summed in single, double in double. The gradient is that of the logarithm itself, minus the
    posterior of each token in each frame; through the log-softmax it becomes softmax minus posterior, as with
    :func:`torch.nn.functional.ctc_loss`, which writes the second form down at once and is right behind a softmax only.

    Args:
        log_probs: (batch, time, vocab), log-softmax output.
        targets: (batch, length) ids without blank, SOS and EOS, padded with anything.
        input_lengths: (batch,) real frames.
        target_lengths: (batch,) real tokens.
        blank: id of the blank.

    Returns:
        (batch,) losses in nats; infinite, with a gradient of zero, where a transcript needs more frames than there are.

    Raises:
        ValueError: shapes that do not fit, lengths beyond the tensors, or a blank outside the vocabulary.
    """
    _check_shapes(log_probs, targets, input_lengths, target_lengths, blank)
    if log_probs.dtype != torch.float64:
        log_probs = log_probs.float()
    device = log_probs.device
    targets, input_lengths, target_lengths = (
        tensor.to(device, torch.long) for tensor in (targets, input_lengths, target_lengths)
    )
    if log_probs.shape[1] == 0:
        log_probs = F.pad(log_probs, (0, 0, 0, 1))
    losses = _ForwardBackward.apply(log_probs, targets, input_lengths.clamp(min=1), target_lengths, blank)
    # No frame says no token, with certainty, and nothing else.
    silent = torch.zeros_like(losses).masked_fill(target_lengths > 0, -NEVER)
    return torch.where(input_lengths > 0, losses, silent)


def training_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int
) -> Tensor:
    """The same losses and gradients as :func:`ctc_loss`, by what is quickest.

    On a processor that is :func:`ctc_loss`; on a GPU, where a loop of small steps spends its time on launching them,
    PyTorch's kernel, unless :data:`FUSED` forbids it.
    """
    if FUSED and log_probs.is_cuda:
        return _kernel_loss(log_probs, targets, input_lengths, target_lengths, blank)
    return ctc_loss(log_probs, targets, input_lengths, target_lengths, blank)


def _kernel_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int
) -> Tensor:
    """The losses of :func:`ctc_loss` by PyTorch's kernel, in single precision."""
    time_first = log_probs.float().transpose(0, 1)  # (time, batch, vocab)
    losses = F.ctc_loss(time_first, targets, input_lengths, target_lengths, blank=blank, reduction="none")
    if time_first.requires_grad:
        # Where the loss is infinite the kernel's gradient is NaN; ours is zero.
        impossible = losses.detach().isposinf()[:, None]
        time_first.register_hook(lambda grad: grad.masked_fill(impossible, 0.0))
    return losses


def _check_shapes(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int
) -> None:
    """Raise ValueError for what does not fit; on a GPU the lengths' values are not looked at, which would cost time."""
    if log_probs.dim() != 3:
        raise ValueError(f"log_probs must be (batch, time, vocab), got {tuple(log_probs.shape)}")
    batch, time, vocab = log_probs.shape
    if targets.dim() != 2 or len(targets) != batch:
        raise ValueError(f"targets must be (batch, length) with batch {batch}, got {tuple(targets.shape)}")
    for name, lengths, most in (
        ("input_lengths", input_lengths, time),
        ("target_lengths", target_lengths, targets.shape[1]),
    ):
        if lengths.shape != (batch,):
            raise ValueError(f"{name} must be ({batch},), got {tuple(lengths.shape)}")
        if not lengths.is_cuda and batch and not 0 <= int(lengths.min()) <= int(lengths.max()) <= most:
            raise ValueError(f"{name} must lie between 0 and {most}, got {lengths.tolist()}")
    if not 0 <= blank < vocab:
        raise ValueError(f"blank must be one of the {vocab} tokens, 0 to {vocab - 1}, got {blank}")
