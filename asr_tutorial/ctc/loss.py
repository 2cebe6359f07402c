"""The CTC loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def ctc_loss(log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int) -> Tensor:
    """Negative log-likelihood of each transcript, summed over all its paths.

    The sum is taken by PyTorch's kernel, in fp32 (its CPU version knows no other type).

    Args:
        log_probs: (batch, time, vocab), log-softmax output.
        targets: (batch, length) ids without blank, SOS and EOS, padded with anything.
        input_lengths: (batch,) real frames.
        target_lengths: (batch,) real tokens.
        blank: id of the blank.

    Returns:
        (batch,) losses in nats; infinite where a transcript needs more frames than there are.
    """
    return F.ctc_loss(
        log_probs.float().transpose(0, 1),  # (time, batch, vocab)
        targets,
        input_lengths,
        target_lengths,
        blank=blank,
        reduction="none",
    )
