"""CTC probabilities of beginnings, for joint decoding with an attention decoder."""

from __future__ import annotations

import torch
from torch import Tensor


class PrefixScorer:
    """CTC probabilities of beginnings: how likely is it that the transcript *starts* with a prefix?

    For each hypothesis two log-probabilities are kept for every frame ``t``: of all paths of frames ``0..t`` that say
    exactly the prefix and end in its last token, and of those that end in a blank. From them follow, for every next
    token at once, the probability of the longer prefix (Watanabe et al. 2017, "Hybrid CTC/attention architecture for
    end-to-end speech recognition", algorithm 2; Graves 2008, section 7.4).

    Args:
        log_probs: (batch, time, vocab).
        lengths: (batch,) real frames.
        blank: id of the blank.
        eos: id whose column holds the probability that the transcript *is* the prefix.
    """

    def __init__(self, log_probs: Tensor, lengths: Tensor, blank: int, eos: int) -> None:
        self.blank, self.eos = blank, eos
        past_end = torch.arange(log_probs.shape[1], device=log_probs.device) >= lengths[:, None]
        # Behind the end every path says blank with certainty: no probability changes there.
        self.log_probs = log_probs.float().masked_fill(past_end[..., None], float("-inf"))
        self.log_probs[..., blank] = self.log_probs[..., blank].masked_fill(past_end, 0.0)

    def initial_state(self) -> Tensor:
        """State of the empty prefix, one row for each utterance: (batch, time, 2), token and blank endings."""
        blanks = self.log_probs[..., self.blank].cumsum(dim=1)  # (batch, time)
        return torch.stack([torch.full_like(blanks, float("-inf")), blanks], dim=-1)

    def extend(self, state: Tensor, last: Tensor | None, utterances: Tensor) -> tuple[Tensor, Tensor]:
        """Score every token after every prefix.

        Args:
            state: (n, time, 2) of n prefixes.
            last: (n,) last token of each prefix; None for empty prefixes.
            utterances: (n,) row of ``log_probs`` that each prefix belongs to.

        Returns:
            scores (n, vocab): log-probability that the transcript starts with prefix and token, in column ``eos`` that
            it is the prefix; and the states (n, time, 2, vocab) of the longer prefixes, of which a search keeps a few.
        """
        log_probs = self.log_probs[utterances]  # (n, time, vocab)
        time = log_probs.shape[1]
        either = torch.logsumexp(state, dim=-1)  # (n, time): all paths that say the prefix
        before = either[..., None].expand(-1, -1, log_probs.shape[2]).clone()  # (n, time, vocab)
        if last is not None:
            # The same token again needs a blank between.
            before.scatter_(2, last[:, None, None].expand(-1, time, 1), state[..., 1:])
        none = torch.full_like(log_probs[:, 0], float("-inf"))  # (n, vocab)
        token_end = log_probs[:, 0] if last is None else none
        blank_end, scores = none, token_end
        states = [torch.stack([token_end, blank_end], dim=1)]
        for frame in range(1, time):
            arrives = before[:, frame - 1] + log_probs[:, frame]  # the token begins in this frame
            blank_end = torch.logaddexp(token_end, blank_end) + log_probs[:, frame, self.blank, None]
            token_end = torch.logaddexp(token_end + log_probs[:, frame], arrives)
            scores = torch.logaddexp(scores, arrives)
            states.append(torch.stack([token_end, blank_end], dim=1))
        scores[:, self.eos] = either[:, -1]
        scores[:, self.blank] = float("-inf")
        return scores, torch.stack(states, dim=1)
