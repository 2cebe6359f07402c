"""Patient 7: a decoder learns four sentences by heart; its loss is excellent, and it writes nothing of them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from asr_tutorial.clinic.visit import Visit, inside, learn, sentences, small_model, written
from asr_tutorial.dataset import Batch, collate
from asr_tutorial.dataset.batch import pad_tokens
from asr_tutorial.model import SpeechTransformer


def next_token_loss(model: SpeechTransformer, batch: Batch, tokens: Tensor, pad: int) -> Tensor:
    """How well the decoder names each token of the texts after it has read those before it.

    Args:
        model: gives ``.logits`` when called with features, their lengths, and the tokens that the decoder reads.
        batch: the sound.
        tokens: ``(batch, length)``, whole rows: SOS, the letters of the text, EOS, and PAD behind it.
        pad: id of PAD, which is never asked for.

    Returns:
        Cross-entropy in nats per token: the letters and EOS.
    """
    logits = model(batch.features, batch.feature_lengths, tokens[:, :-1]).logits  # (batch, length - 1, vocab)
    return F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], ignore_index=pad)


def run(seed: int = 0) -> Visit:
    """Train on one batch, write it down, and ask for the loss once more with the sound taken away."""
    examples, tokenizer = sentences()
    model = small_model(tokenizer, seed)
    batch = collate(examples, tokenizer)
    rows = [[tokenizer.sos_id, *example.tokens, tokenizer.eos_id] for example in examples]
    tokens, pad = pad_tokens(rows, max(map(len, rows)), tokenizer.pad_id), tokenizer.pad_id
    losses = learn(model, lambda: next_token_loss(model, batch, tokens, pad), steps=50)
    transcripts, _ = written(model, batch, tokenizer)
    silence = replace(batch, features=torch.zeros_like(batch.features))
    with torch.inference_mode():
        heard, deaf = (float(next_token_loss(model, sound, tokens, pad)) for sound in (batch, silence))
    return Visit(
        losses={"training": losses},
        transcripts=transcripts,
        pictures=inside(model, batch, tokenizer),
        measures={"loss with the sound": heard, "loss without the sound": deaf},
    )
