"""N-best rescoring: the texts that a search found, scored exactly by every model, and put in another order.

A search prunes by sums of partial scores. Its n-best list is short, so that each text can be scored as a whole: by the
decoder, by CTC over all paths, by any language model, such as one that reads the text from both ends and could never
take part in the search. And once these four numbers are known, trying other weights costs nothing, which is how
weights are chosen (:mod:`asr_tutorial.recognizer.tune`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr_tutorial.ctc import ctc_loss
from asr_tutorial.model import SpeechTransformer
from asr_tutorial.search.hypothesis import SearchOptions
from asr_tutorial.search.token_model import TokenModel
from asr_tutorial.tokenizer import Tokenizer


@dataclass(frozen=True)
class Candidate:
    """A text of an n-best list and what each model says of it.

    Attributes:
        tokens: ids, without SOS and EOS.
        text: what they spell.
        attention: log-probability in nats that the decoder gives the text and its end; 0 without a decoder that writes
            token by token.
        ctc: the same by CTC, over all paths.
        lm: the same by the language model; 0 without one.
    """

    tokens: list[int]
    text: str
    attention: float
    ctc: float
    lm: float = 0.0

    def score(self, options: SearchOptions) -> float:
        """What a search with these options would rank the text by, were nothing pruned.

        ``(ctc_weight * ctc + (1 - ctc_weight) * attention + lm_weight * lm + token_bonus * tokens)``, divided by
        ``(tokens + 1) ** length_penalty``. A model with a weight of 0 has no say, be the text impossible to it.
        """
        weight = options.ctc_weight
        parts = [(weight, self.ctc), (1 - weight, self.attention), (options.lm_weight, self.lm)]
        total = sum(share * score for share, score in parts if share > 0) + options.token_bonus * len(self.tokens)
        return total / (len(self.tokens) + 1) ** options.length_penalty


def rescore(candidates: Iterable[Candidate], options: SearchOptions) -> list[Candidate]:
    """An n-best list in the order of the weights, best first; equal ones stay in their order."""
    return sorted(candidates, key=lambda candidate: candidate.score(options), reverse=True)


@torch.inference_mode()
def score_candidates(
    model: SpeechTransformer,
    tokenizer: Tokenizer,
    encoder_out: Tensor,
    encoder_mask: Tensor,
    texts: Sequence[Sequence[Sequence[int]]],
    language_model: TokenModel | None = None,
) -> list[list[Candidate]]:
    """Score texts for utterances with every model there is.

    Each utterance is computed by itself, so that its scores are the same in any batch.

    Args:
        model: the recogniser, in evaluation mode.
        tokenizer: the recogniser's.
        encoder_out: (batch, frames, d_model).
        encoder_mask: (batch, frames), True = real.
        texts: for each utterance token ids of some texts; a text that occurs twice is kept once, where it first stands.
        language_model: of the recogniser's tokens.
    """
    ctc_log_probs = model.ctc_log_probs(encoder_out)
    scored: list[list[Candidate]] = []
    for row, found in enumerate(texts):
        distinct = [list(text) for text in dict.fromkeys(map(tuple, found))]
        if not distinct:
            scored.append([])
            continue
        frames = int(encoder_mask[row].sum())
        n, device = len(distinct), encoder_out.device
        lengths = torch.tensor([len(text) for text in distinct], device=device)
        padded = torch.full((n, int(lengths.max())), tokenizer.pad_id, device=device)
        for target, text in zip(padded, distinct, strict=True):
            target[: len(text)] = torch.tensor(text, dtype=torch.long, device=device)
        ctc = -ctc_loss(
            ctc_log_probs[row : row + 1, :frames].expand(n, -1, -1),
            padded,
            torch.full((n,), frames, device=device),
            lengths,
            tokenizer.blank_id,
        )
        attention = torch.zeros(n, device=device)
        if "attention" in model.searches:
            attention = _attention_scores(model, tokenizer, encoder_out[row : row + 1, :frames], padded, lengths)
        lm = language_model.score_texts(distinct) if language_model is not None else [0.0] * n
        scored.append(
            [
                Candidate(text, tokenizer.decode(text), *parts)
                for text, *parts in zip(distinct, attention.tolist(), ctc.tolist(), lm, strict=True)
            ]
        )
    return scored


def _attention_scores(
    model: SpeechTransformer, tokenizer: Tokenizer, encoder_out: Tensor, padded: Tensor, lengths: Tensor
) -> Tensor:
    """Log-probability of each text (n, length) and its EOS by the decoder, (n,), for one utterance (1, frames, ...)."""
    n, longest = padded.shape
    start = torch.full((n, 1), tokenizer.sos_id, device=padded.device)
    inputs = torch.cat([start, padded], dim=1)  # (n, longest + 1)
    targets = torch.cat([padded, torch.full_like(start, tokenizer.pad_id)], dim=1)
    targets.scatter_(1, lengths[:, None], tokenizer.eos_id)
    mask = torch.ones(n, encoder_out.shape[1], dtype=torch.bool, device=padded.device)
    logits = model.decode(inputs, encoder_out.expand(n, -1, -1), mask)
    log_probs = logits.float().log_softmax(dim=-1).gather(2, targets[..., None])[..., 0]  # (n, longest + 1)
    real = torch.arange(longest + 1, device=padded.device) <= lengths[:, None]
    return log_probs.where(real, 0.0).double().sum(dim=1)
