"""From a batch of features to texts: the part that recognition and validation during training share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, get_args

import torch
from torch import Tensor, nn

from asr_tutorial.ctc import best_path
from asr_tutorial.errors import ConfigError
from asr_tutorial.model import SpeechTransformer
from asr_tutorial.recognizer.results import Decoded, Search
from asr_tutorial.search import greedy_search, joint_search
from asr_tutorial.tokenizer import Tokenizer


class HasFeatures(Protocol):
    """A batch of features: :class:`asr_tutorial.dataset.Batch` is one."""

    features: Tensor
    feature_lengths: Tensor


@dataclass
class FeatureBatch:
    """Features alone, for audio without a transcript."""

    features: Tensor
    """(batch, time, n_mels) raw log-mel, zero-padded."""
    feature_lengths: Tensor
    """(batch,) real frames."""


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients; afterwards each module is in the mode that it was found in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def decode_batch(
    model: SpeechTransformer, tokenizer: Tokenizer, batch: HasFeatures, search: Search = "greedy"
) -> list[Decoded]:
    """Recognise one batch of features; validation during training uses it too.

    Args:
        model: on any device; its train or eval mode is left as found.
        tokenizer: the one that the model was trained with.
        batch: ``features`` (batch, time, n_mels) raw log-mel and ``feature_lengths`` (batch,).
        search: ``"greedy"``: the decoder's most probable token step by step; ``"ctc"``: the CTC head's most probable
            token frame by frame, repetitions merged and blanks dropped; ``"joint"``: a beam search that both heads
            score.

    Returns:
        One text and score per utterance, in the order of the batch.

    Raises:
        ConfigError: an unknown search, or one that needs a decoder with a model that has none.
    """
    check_search(model, search)
    device = next(model.parameters()).device
    with evaluating(model):
        encoder_out, encoder_mask = model.encode(batch.features.to(device), batch.feature_lengths.to(device))
        if search == "ctc":
            log_probs = model.ctc_log_probs(encoder_out)
            frames = encoder_mask.sum(dim=1)  # (batch,)
            tokens = best_path(log_probs, frames, tokenizer.blank_id)
            best = log_probs.amax(dim=-1).masked_fill(~encoder_mask, 0.0).sum(dim=1)  # (batch,)
            scores = (best / frames.clamp(min=1)).tolist()
        else:
            blank, sos, eos = tokenizer.blank_id, tokenizer.sos_id, tokenizer.eos_id
            forbidden = (blank, tokenizer.pad_id, sos)
            if search == "greedy":
                hypotheses = greedy_search(model, encoder_out, encoder_mask, sos, eos, forbidden)
            else:
                hypotheses = joint_search(model, encoder_out, encoder_mask, sos, eos, blank, forbidden)
            tokens = [hypothesis.tokens for hypothesis in hypotheses]
            # One more than the tokens: the end of sentence is a decision too.
            scores = [hypothesis.score / (len(hypothesis.tokens) + 1) for hypothesis in hypotheses]
    return [Decoded(tokenizer.decode(ids), score) for ids, score in zip(tokens, scores, strict=True)]


def check_search(model: nn.Module, search: str) -> None:
    """Raise ConfigError unless the model can be searched this way."""
    if search not in get_args(Search):
        raise ConfigError(
            f"unknown search {search!r}: use 'greedy' (the decoder), 'ctc' (the CTC head) or 'joint' (both)"
        )
    if search != "ctc" and getattr(model, "decoder", None) is None:
        raise ConfigError("this model has no decoder (model.decoder_layers is 0): use search 'ctc'")
