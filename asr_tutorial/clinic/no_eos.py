"""Patient 1: a decoder learns four sentences by heart and writes them down."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from asr_tutorial.clinic.visit import Visit, inside, learn, sentences, small_model, written
from asr_tutorial.dataset import collate
from asr_tutorial.dataset.batch import pad_tokens
from asr_tutorial.tokenizer import Tokenizer


def read_and_answered(texts: Sequence[Sequence[int]], tokenizer: Tokenizer) -> tuple[Tensor, Tensor]:
    """What the decoder reads and what it is trained to answer, position by position.

    Args:
        texts: ids of the letters of each text.
        tokenizer: knows the ids of the special tokens.

    Returns:
        Two ``(batch, length)`` tensors of one shape, filled up with PAD, which the loss leaves out.
    """
    length = max(map(len, texts)) + 1
    read = [[tokenizer.sos_id, *text] for text in texts]
    answered = [[*text, tokenizer.eos_id] for text in texts]
    return pad_tokens(read, length, tokenizer.pad_id), pad_tokens(answered, length, tokenizer.pad_id)


def run(seed: int = 0) -> Visit:
    """Train on one batch, then write it down."""
    examples, tokenizer = sentences()
    model = small_model(tokenizer, seed)
    batch = collate(examples, tokenizer)
    read, answered = read_and_answered([example.tokens for example in examples], tokenizer)

    def loss() -> Tensor:
        logits = model(batch.features, batch.feature_lengths, read).logits  # (batch, length, vocab)
        return F.cross_entropy(logits.transpose(1, 2), answered, ignore_index=tokenizer.pad_id)

    losses = learn(model, loss, steps=60)
    transcripts, endless = written(model, batch, tokenizer)
    return Visit(
        losses={"training": losses},
        transcripts=transcripts,
        pictures=inside(model, batch, tokenizer),
        measures={"texts without an end": endless},
    )
