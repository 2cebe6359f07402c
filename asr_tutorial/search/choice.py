"""One distribution over the next token, and what is made of it before one is chosen."""

from __future__ import annotations

import torch
from torch import Tensor


def next_token_log_probs(logits: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """The distribution that a token is drawn from: flatter or steeper, and without its tail.

    First the logits are divided by the temperature. Then only the ``top_k`` most probable tokens stay (Fan et al.
    2018), then of these the smallest set of most probable ones that holds at least ``top_p`` of the probability
    (nucleus sampling, Holtzman et al. 2020); at least one stays. What stays is made to sum to 1 again after each step.

    Args:
        logits: (..., vocab), or log-probabilities.
        temperature: above 1 evens out, below 1 sharpens.
        top_k: number of tokens that may be chosen; 0 leaves all.
        top_p: share of the probability that may be chosen from; 1 leaves all.

    Returns:
        (..., vocab) log-probabilities, minus infinity for tokens that may not be chosen.
    """
    log_probs = (logits.float() / temperature).log_softmax(dim=-1)
    if 0 < top_k < log_probs.shape[-1]:
        keep = torch.zeros_like(log_probs, dtype=torch.bool)
        keep.scatter_(-1, log_probs.topk(top_k, dim=-1).indices, True)
        log_probs = log_probs.masked_fill(~keep, float("-inf")).log_softmax(dim=-1)
    if top_p < 1.0:
        ordered, order = log_probs.sort(dim=-1, descending=True)
        before = ordered.exp().cumsum(dim=-1) - ordered.exp()  # (..., vocab): probability of all that come before
        kept = before < top_p
        kept[..., 0] = True  # the first one stays, however small the share
        keep = torch.zeros_like(kept).scatter(-1, order, kept)
        log_probs = log_probs.masked_fill(~keep, float("-inf")).log_softmax(dim=-1)
    return log_probs


def penalise_repeats(log_probs: Tensor, tokens: Tensor, repeat_penalty: float) -> Tensor:
    """Make tokens that have been said less likely to be said again: log-probability times the penalty.

    Against loops of language models with large vocabularies (Keskar et al. 2019, section 4.1). Speech has letters and
    words that come back, so that it is a remedy for a sick model rather than a setting for a sound one.

    Args:
        log_probs: (..., vocab).
        tokens: (..., length) what each hypothesis holds already.
        repeat_penalty: above 1 makes repetition less likely.

    Returns:
        (..., vocab), not made to sum to 1 again.
    """
    said = torch.zeros_like(log_probs, dtype=torch.bool).scatter(-1, tokens, True)
    return torch.where(said, log_probs * repeat_penalty, log_probs)
