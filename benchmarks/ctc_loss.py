"""The CTC loss, forward and backward, ours beside ``F.ctc_loss``: T = 250, B = 16, V = 32 and 1000.

    python benchmarks/ctc_loss.py [--rounds 15] [--json FILE]

From log-probabilities to their gradient, in fp32. Both are compared with PyTorch's kernel in float64. Needs no peers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from common import OURS, Table, command_line, enter, finish, largest_difference
from torch import Tensor
from torch.nn import functional as F

from asr_tutorial.ctc import ctc_loss

TIME, BATCH, BLANK = 250, 16, 0
TOKENS = {32: 100, 1000: 40}
"""Tokens of a transcript of 10 s by size of the vocabulary: letters, or pieces of words."""


def exact(log_probs: Tensor, targets: Tensor, lengths: Tensor, target_lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Losses (batch,) and the gradient at the logits (batch, time, vocab) by PyTorch's kernel in float64."""
    logits = log_probs.detach().double().requires_grad_()
    by_time = logits.log_softmax(dim=-1).transpose(0, 1)
    losses = F.ctc_loss(by_time, targets, lengths, target_lengths, blank=BLANK, reduction="none")
    losses.sum().backward()
    assert logits.grad is not None
    return losses.detach(), logits.grad


def compare(vocab: int, rounds: int) -> Table:
    """Measure both."""
    generator = torch.Generator().manual_seed(0)
    tokens = TOKENS[vocab]
    log_probs = torch.randn(BATCH, TIME, vocab, generator=generator).log_softmax(dim=-1).requires_grad_()
    targets = torch.randint(1, vocab, (BATCH, tokens), generator=generator)
    lengths = torch.linspace(TIME, 0.8 * TIME, BATCH).long()
    target_lengths = torch.linspace(tokens, 0.8 * tokens, BATCH).long()
    table = Table(
        f"CTC loss forward + backward, T = {TIME}, B = {BATCH}, V = {vocab}, {tokens} tokens, one thread",
        baseline="F.ctc_loss",
        columns=("loss error", "gradient error"),
    )

    def work(loss: Callable[[], Tensor]) -> Callable[[], tuple[Tensor, Tensor]]:
        def both() -> tuple[Tensor, Tensor]:
            log_probs.grad = None
            losses = loss()
            losses.sum().backward()
            assert log_probs.grad is not None
            return losses.detach(), log_probs.grad

        return both

    def theirs() -> Tensor:
        by_time = log_probs.transpose(0, 1)
        return F.ctc_loss(by_time, targets, lengths, target_lengths, blank=BLANK, reduction="none")

    table.add("F.ctc_loss", lambda: work(theirs))
    table.add(OURS, lambda: work(lambda: ctc_loss(log_probs, targets, lengths, target_lengths, BLANK)))
    table.measure(rounds, warmup=2)
    exact_losses, exact_gradient = exact(log_probs, targets, lengths, target_lengths)
    for name, (losses, gradient) in table.outputs.items():
        # The kernel's gradient is that of the log-softmax below it; behind that softmax both must be the same.
        behind = gradient - log_probs.detach().exp() * gradient.sum(-1, keepdim=True)
        table.facts[name] = {
            "loss error": largest_difference(losses, exact_losses),
            "gradient error": largest_difference(behind, exact_gradient),
        }
    return table


def main() -> None:
    options = command_line(__doc__, "ctc_loss", rounds=15).parse_args()
    enter(options.peers)
    finish(options.json, [compare(vocab, options.rounds) for vocab in TOKENS])


if __name__ == "__main__":
    main()
