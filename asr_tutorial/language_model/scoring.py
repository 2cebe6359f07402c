"""How probable text is, and perplexity: the figure that language models are compared by.

A perplexity of 200 a word means that the model was as unsure, on average, as one that has to guess among 200 equally
probable words. It depends on what is counted: tokens of different vocabularies cannot be compared, words can. The end
of a sentence counts as one, in either.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr_tutorial.dataset.batch import round_up, shifted_and_golden
from asr_tutorial.language_model.folder import LanguageModel
from asr_tutorial.language_model.ngram import NGram
from asr_tutorial.language_model.transformer import TransformerLM
from asr_tutorial.modes import evaluating
from asr_tutorial.tokenizer import SPACE, Tokenizer

BATCH_TOKENS = 8192


@dataclass(frozen=True)
class Perplexity:
    """How well a model predicts a text.

    Attributes:
        log_prob: of the whole text, in nats.
        words: number of words.
        sentences: number of sentences, each of which has an end.
        tokens: number of the model's own tokens, ends included; for a model of words, words and ends.
        unknown: words outside the vocabulary that ``known_log_prob`` is about.
        known_log_prob: of the other words and of the ends.
    """

    log_prob: float
    words: int
    sentences: int
    tokens: int
    unknown: int = 0
    known_log_prob: float = 0.0

    @property
    def per_word(self) -> float:
        """Perplexity of a word; every word counts, unknown ones letter by letter."""
        return perplexity(self.log_prob, self.words + self.sentences)

    @property
    def per_known_word(self) -> float:
        """Perplexity of a word where unknown words are left out, as most published figures have it."""
        return perplexity(self.known_log_prob, self.words - self.unknown + self.sentences)

    @property
    def per_token(self) -> float:
        """Perplexity of a token."""
        return perplexity(self.log_prob, self.tokens)

    @property
    def unknown_share(self) -> float:
        """Share of the words that are outside the vocabulary."""
        return self.unknown / max(self.words, 1)


def perplexity(log_prob: float, count: int) -> float:
    """``exp(-log_prob / count)``: the number of equally probable choices that would be as hard to guess among.

    An exponent of more than 700 is cut off there, for a float cannot hold the power.

    Args:
        log_prob: of a text, in nats.
        count: how many tokens, or words, the text has; each end of a sentence counts as one.
    """
    return math.exp(min(-log_prob / count, 700.0))


def token_log_probs(
    model: TransformerLM, tokenizer: Tokenizer, sentences: Sequence[Sequence[int]], batch_tokens: int = BATCH_TOKENS
) -> list[Tensor]:
    """Log-probability of each token of each sentence, in nats, and of its end.

    Every sentence stands alone, behind SOS. The model's train or eval mode is left as found.

    Args:
        model: on any device.
        tokenizer: gives SOS, EOS and PAD.
        sentences: token ids of each, without SOS and EOS.
        batch_tokens: most tokens computed at once, padding included.

    Returns:
        For each sentence a (tokens + 1,) float32 tensor on the CPU, the end last.
    """
    device = next(model.parameters()).device
    order = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
    results: list[Tensor] = [torch.empty(0)] * len(sentences)
    with evaluating(model):
        while order:
            length = round_up(len(sentences[order[-1]]) + 1, 16)
            chosen = [order.pop() for _ in range(min(len(order), max(1, batch_tokens // length)))]
            texts = [sentences[index] for index in chosen]
            shifted, golden = (part.to(device) for part in shifted_and_golden(texts, length, tokenizer))
            values = model(shifted).float().log_softmax(dim=-1).gather(2, golden[..., None])[..., 0].cpu()
            for index, row in zip(chosen, values, strict=True):
                results[index] = row[: len(sentences[index]) + 1].clone()
    return results


def word_log_probs(model: TransformerLM, tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[float]]:
    """Log-probability of each word, in nats, and of the end of each sentence: sums over their tokens.

    The mark of a space belongs to the word behind it, in vocabularies of characters as in those of pieces.

    Returns:
        For each text its number of words + 1 values, as :meth:`NGram.word_log_probs` has it.
    """
    encoded = [tokenizer.encode(text) for text in texts]
    rows = []
    for tokens, values in zip(encoded, token_log_probs(model, tokenizer, encoded), strict=True):
        words: list[float] = []
        for place, (token, value) in enumerate(zip(tokens, values.tolist(), strict=False)):
            if place == 0 or tokenizer.id_to_token(token).startswith(SPACE):
                words.append(0.0)
            words[-1] += value
        rows.append([*words, float(values[-1])])
    return rows


def evaluate_text(model: LanguageModel, texts: Sequence[str], vocabulary: Container[str] | None = None) -> Perplexity:
    """Perplexity of a text under a language model of any kind.

    An n-gram model spells words that it does not know, with its model of letters, so that the perplexity per word is
    about the same words as a Transformer's.

    Args:
        model: read by :func:`load_language_model`.
        texts: sentences, in the letter case of the model.
        vocabulary: the words that count as known; an n-gram model's own when not given, and all for a Transformer.
    """
    if isinstance(model.model, NGram):
        normalized = [" ".join(text.split()) for text in texts]
        rows = model.model.word_log_probs(normalized, spell=True)
        tokens = sum(len(row) for row in rows)
        vocabulary = vocabulary if vocabulary is not None else model.model
    else:
        assert model.tokenizer is not None
        normalized = [model.tokenizer.normalize(text) for text in texts]
        rows = word_log_probs(model.model, model.tokenizer, normalized)
        tokens = sum(len(model.tokenizer.encode(text)) + 1 for text in normalized)
    known, unknown, words = 0.0, 0, 0
    for text, row in zip(normalized, rows, strict=True):
        for word, value in zip(text.split(), row, strict=False):
            words += 1
            if vocabulary is None or word in vocabulary:
                known += value
            else:
                unknown += 1
        known += row[-1]
    return Perplexity(sum(map(sum, rows)), words, len(rows), tokens, unknown, known)
