"""Search: from a model's probabilities to token sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr_tutorial.ctc import PrefixScorer
from asr_tutorial.model import SpeechTransformer

IMPOSSIBLE = -1e4
"""Log-probability that stands for zero probability where scores are weighted."""


@dataclass
class Hypothesis:
    """A token sequence that a search found.

    Attributes:
        tokens: ids without SOS and EOS.
        score: log-probability in nats, the EOS included.
        finished: False when the search ran into its length limit before EOS.
    """

    tokens: list[int]
    score: float
    finished: bool


@torch.inference_mode()
def greedy_search(
    model: SpeechTransformer,
    encoder_out: Tensor,
    encoder_mask: Tensor,
    sos: int,
    eos: int,
    forbidden: Sequence[int] = (),
    max_length: int | None = None,
) -> list[Hypothesis]:
    """Take the most probable token at each step, for a whole batch at once.

    An utterance that has said EOS is closed: nothing is added to it or to its score. The limit is per utterance, so
    that a hypothesis is the same alone and in any batch.

    Args:
        model: a recogniser with a decoder.
        encoder_out: (batch, frames, d_model).
        encoder_mask: (batch, frames), True = real.
        sos: id that every hypothesis starts from.
        eos: id that ends one.
        forbidden: ids that are never chosen: blank, PAD, SOS.
        max_length: most tokens of a hypothesis; an utterance's number of encoder frames when not given.

    Returns:
        One hypothesis for each utterance.
    """
    batch = encoder_out.shape[0]
    limits = encoder_mask.sum(dim=1) if max_length is None else torch.full((batch,), max_length)
    limits = limits.to(encoder_out.device)
    tokens = torch.full((batch, 1), sos, dtype=torch.long, device=encoder_out.device)
    chosen: list[Tensor] = []
    scores = torch.zeros(batch, device=encoder_out.device)
    lengths = torch.zeros_like(limits)  # tokens before EOS
    open_ = limits > 0
    cache = model.new_cache()
    while bool(open_.any()):
        logits = model.decode(tokens, encoder_out, encoder_mask, cache)[:, -1].float()  # (batch, vocab)
        log_probs = logits.log_softmax(dim=-1)
        log_probs[:, list(forbidden)] = float("-inf")
        best, index = log_probs.max(dim=-1)  # (batch,)
        scores = scores + torch.where(open_, best, 0.0)
        open_ = open_ & (index != eos)
        chosen.append(index)
        lengths = lengths + open_
        finished_now = lengths >= limits
        open_ = open_ & ~finished_now
        tokens = index[:, None]
    sequences = torch.stack(chosen, dim=1) if chosen else tokens[:, :0]  # (batch, steps)
    ended = lengths < limits
    return [
        Hypothesis(row[:length].tolist(), float(score), bool(end))
        for row, length, score, end in zip(sequences, lengths.tolist(), scores, ended, strict=True)
    ]


@torch.inference_mode()
def joint_search(
    model: SpeechTransformer,
    encoder_out: Tensor,
    encoder_mask: Tensor,
    sos: int,
    eos: int,
    blank: int,
    forbidden: Sequence[int] = (),
    beam_size: int = 4,
    ctc_weight: float = 0.3,
) -> list[Hypothesis]:
    """Beam search on ``ctc_weight * CTC + (1 - ctc_weight) * attention`` (Hori et al. 2017; Watanabe et al. 2017).

    The two heads make different mistakes. The decoder knows words but may say one twice or stop too early; CTC has to
    account for every frame, once and in order, but spells by ear. A hypothesis must please both.

    Args:
        model: a recogniser with a decoder.
        encoder_out: (batch, frames, d_model).
        encoder_mask: (batch, frames), True = real.
        sos: id that every hypothesis starts from.
        eos: id that ends one.
        blank: id of CTC's blank.
        forbidden: ids that are never chosen: blank, PAD, SOS.
        beam_size: hypotheses kept for each utterance.
        ctc_weight: share of the CTC score.

    Returns:
        The best hypothesis of each utterance; ``score`` is the weighted sum.
    """
    batch, device = encoder_out.shape[0], encoder_out.device
    frames = encoder_mask.sum(dim=1)  # (batch,), also the most tokens that CTC could say
    scorer = PrefixScorer(model.ctc_log_probs(encoder_out), frames, blank, eos)
    rows = torch.arange(batch, device=device)  # the utterance that each hypothesis belongs to
    tokens = torch.full((batch, 1), sos, dtype=torch.long, device=device)
    attention = torch.zeros(batch, device=device)
    state, last = scorer.initial_state(), None
    cache = model.new_cache()
    best: list[Hypothesis] = [Hypothesis([], float("-inf"), False) for _ in range(batch)]
    while len(rows):
        logits = model.decode(tokens[:, -1:], encoder_out[rows], encoder_mask[rows], cache)[:, -1]
        total = attention[:, None] + logits.float().log_softmax(dim=-1)  # (hypotheses, vocab)
        prefix, states = scorer.extend(state, last, rows)
        # Impossible for CTC is very unlikely here: minus infinity times a weight of zero would be no number.
        joint = (1 - ctc_weight) * total + ctc_weight * prefix.clamp(min=IMPOSSIBLE)
        joint[:, list(forbidden)] = float("-inf")

        ends = joint[:, eos].clone()
        joint[:, eos] = float("-inf")
        keep, chosen = [], []
        for utterance in rows.unique().tolist():
            own = (rows == utterance).nonzero()[:, 0]
            ending = own[ends[own].argmax()]
            if float(ends[ending]) > best[utterance].score:
                best[utterance] = Hypothesis(tokens[ending, 1:].tolist(), float(ends[ending]), True)
            values, index = joint[own].flatten().topk(min(beam_size, joint[own].numel()))
            # A score only falls as a hypothesis grows: what is already below a finished one cannot win.
            alive = (values > best[utterance].score) & values.isfinite()
            if tokens.shape[1] <= int(frames[utterance]):
                keep.append(own[index[alive] // joint.shape[1]])
                chosen.append(index[alive] % joint.shape[1])
        parents = torch.cat(keep) if keep else rows[:0]
        last = torch.cat(chosen) if chosen else rows[:0]
        tokens = torch.cat([tokens[parents], last[:, None]], dim=1)
        attention, state, rows = total[parents, last], states[parents, :, :, last], rows[parents]
        cache.select(parents)
    return best
