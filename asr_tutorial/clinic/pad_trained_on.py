"""Patient 2: the same decoder on texts that are all filled up to one length, for a compiler that wants fixed shapes."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from asr_tutorial.clinic.visit import Visit, inside, learn, sentences, small_model, written
from asr_tutorial.dataset import collate
from asr_tutorial.tokenizer import Tokenizer

LENGTH = 160
"""Tokens that each text is filled up to."""


def text_loss(logits: Tensor, answered: Tensor, tokenizer: Tokenizer) -> Tensor:
    """Mean loss of the decoder's answers.

    Args:
        logits: ``(batch, length, vocab)`` scores.
        answered: ``(batch, length)`` ids that were to be answered: each text with its EOS, filled up with PAD.
        tokenizer: knows the ids of the special tokens.

    Returns:
        Nats per token, a scalar.
    """
    return F.cross_entropy(logits.transpose(1, 2), answered, ignore_index=tokenizer.pad_id)


def run(seed: int = 0) -> Visit:
    """Train on one batch, then write it down; measure the loss of letters and ends apart from the script's own."""
    examples, tokenizer = sentences()
    model = small_model(tokenizer, seed)
    batch = collate(examples, tokenizer, length_multiple=LENGTH)
    real = batch.tokens_out != tokenizer.pad_id  # (batch, length)
    of_text: list[float] = []

    def loss() -> Tensor:
        logits = model(batch.features, batch.feature_lengths, batch.tokens_in).logits  # (batch, length, vocab)
        of_text.append(F.cross_entropy(logits.detach()[real], batch.tokens_out[real]).item())
        return text_loss(logits, batch.tokens_out, tokenizer)

    losses = learn(model, loss, steps=60)
    transcripts, endless = written(model, batch, tokenizer)
    return Visit(
        losses={"training": losses},
        transcripts=transcripts,
        pictures=inside(model, batch, tokenizer),
        measures={
            "last loss, as reported": losses[-1],
            "last loss, of letters and EOS alone": of_text[-1],
            "share of PAD": 1 - real.double().mean().item(),
            "texts without an end": endless,
        },
    )
