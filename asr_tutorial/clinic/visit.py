"""What a doctor looks at, and what all patients share: some sentences, a small model, a training loop.

The sentences are real speech of the bundled corpus, so few that a model of some 30,000 weights learns them by heart in
less than a second. That is the first test of any training script: one that cannot do it has a defect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from torch import Tensor

from asr_tutorial.audio import read_audio
from asr_tutorial.config import Config, from_dict
from asr_tutorial.corpus import read_corpus
from asr_tutorial.ctc import best_path
from asr_tutorial.dataset import Batch, Example
from asr_tutorial.features import FeatureExtractor
from asr_tutorial.metrics import cer, wer
from asr_tutorial.model import SpeechTransformer, build_model
from asr_tutorial.search import greedy_search
from asr_tutorial.tokenizer import CharTokenizer

N_MELS = 40
MOST_LETTERS = 60
"""Where decoding is cut off: twice the length of the longest sentence."""


@dataclass
class Picture:
    """Something of one utterance along its frames.

    Attributes:
        values: ``(rows, frames)``.
        rows: what the rows are: their texts, such as letters, or one word for all of them, such as ``dimension``.
        real: frames that are speech; what lies behind them is padding.
        along: what the frames are.
    """

    values: np.ndarray
    rows: list[str] | str
    real: int
    along: str = "encoder frame"


@dataclass
class Visit:
    """What a training script shows.

    Attributes:
        losses: loss of each step in nats per token, by name of the curve.
        errors: error rates (shares) in the course of training, by name of the curve: pairs of step and rate.
        rates: learning rate of each step, where it matters.
        transcripts: reference and hypothesis of each utterance, after training.
        pictures: by title.
        measures: numbers that the script was asked for, by name.
    """

    losses: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)
    transcripts: list[tuple[str, str]] = field(default_factory=list)
    pictures: dict[str, Picture] = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)

    @property
    def wer(self) -> float:
        """Word error rate of the transcripts, a share."""
        return wer(*map(list, zip(*self.transcripts, strict=True)))

    @property
    def cer(self) -> float:
        """Character error rate of the transcripts, a share."""
        return cer(*map(list, zip(*self.transcripts, strict=True)))


@cache
def sentences(count: int = 4, split: str = "dev") -> tuple[list[Example], CharTokenizer]:
    """The shortest sentences of a split of the bundled corpus with their log-mel features, and their alphabet."""
    corpus = read_corpus(f"tinyspeech/{split}")
    with_text = [(utterance.text, utterance) for utterance in corpus.utterances if utterance.text is not None]
    shortest = sorted(with_text, key=lambda pair: (len(pair[0]), pair[1].id))[:count]
    tokenizer = CharTokenizer.train(text for text, _ in shortest)
    extract = FeatureExtractor(small_config().features)
    examples = []
    for text, utterance in shortest:
        features, _ = extract(torch.from_numpy(read_audio(utterance.audio))[None])  # (1, frames, n_mels)
        examples.append(Example(utterance.id, text, features[0], tokenizer.encode(text)))
    return examples, tokenizer


def small_config(**model: object) -> Config:
    """Configuration of a model of one encoder and one decoder layer, without dropout and augmentation.

    Args:
        model: settings of the model that are to be different.
    """
    sizes = {"d_model": 32, "num_heads": 2, "d_ff": 64, "encoder_layers": 1, "decoder_layers": 1}
    kind = {"subsampling": "pool", "subsampling_factor": 4, "conv_kernel": 0, "dropout": 0.0}
    values = {
        "name": "patient",
        "features": {"n_mels": N_MELS, "normalize": "utterance"},
        "model": {**sizes, **kind, **model},
        "augment": {"freq_warp": 0.0, "freq_masks": 0, "time_masks": 0},
    }
    if model.get("decoder_layers") == 0:
        values["training"] = {"ctc_weight": 1.0, "validation_search": "ctc"}
    return from_dict(Config, values)


def small_model(tokenizer: CharTokenizer, seed: int = 0, **model: object) -> SpeechTransformer:
    """A new model of :func:`small_config`, always the same for a seed."""
    torch.manual_seed(seed)
    return build_model(small_config(**model), tokenizer.vocab_size)


def learn(model: torch.nn.Module, loss_of: Callable[[], Tensor], steps: int, peak: float = 1e-2) -> list[float]:
    """Train: Adam, a rate that rises over ten steps and stays, gradients clipped to a norm of 5.

    Args:
        model: left in training mode.
        loss_of: computes the loss of the next step.
        steps: how many.
        peak: learning rate.

    Returns:
        The loss of each step.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=peak)
    model.train()
    losses = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = peak * min(1.0, (step + 1) / 10)
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.inference_mode()
def written(
    model: SpeechTransformer, batch: Batch, tokenizer: CharTokenizer, encoder_mask: Tensor | None = None
) -> tuple[list[tuple[str, str]], int]:
    """What the decoder writes by greedy search.

    Args:
        model: put into evaluation mode.
        batch: whose sounds.
        tokenizer: of the model.
        encoder_mask: (batch, frames) where the decoder may look; the model's own if not given.

    Returns:
        Reference and hypothesis of each utterance, and how many hypotheses did not end by themselves.
    """
    model.eval()
    encoder_out, own_mask = model.encode(batch.features, batch.feature_lengths)
    mask = own_mask if encoder_mask is None else encoder_mask
    hypotheses = greedy_search(model, encoder_out, mask, tokenizer.sos_id, tokenizer.eos_id, max_length=MOST_LETTERS)
    texts = [tokenizer.decode(hypothesis.tokens) for hypothesis in hypotheses]
    return list(zip(batch.texts, texts, strict=True)), sum(not hypothesis.finished for hypothesis in hypotheses)


@torch.inference_mode()
def heard(model: SpeechTransformer, batch: Batch, tokenizer: CharTokenizer) -> list[tuple[str, str]]:
    """What the CTC head hears by best path: reference and hypothesis of each utterance."""
    model.eval()
    encoder_out, encoder_mask = model.encode(batch.features, batch.feature_lengths)
    paths = best_path(model.ctc_log_probs(encoder_out), encoder_mask.sum(1), tokenizer.blank_id)
    return list(zip(batch.texts, map(tokenizer.decode, paths), strict=True))


@torch.inference_mode()
def inside(
    model: SpeechTransformer,
    batch: Batch,
    tokenizer: CharTokenizer,
    row: int = 0,
    encoder_mask: Tensor | None = None,
) -> dict[str, Picture]:
    """The encoder's output for one utterance, and where the decoder looks while it reads the right text.

    Args:
        model: put into evaluation mode.
        batch: with the utterance.
        tokenizer: of the model.
        row: which utterance of the batch.
        encoder_mask: (batch, frames) where the decoder may look; the model's own if not given.
    """
    model.eval()
    encoder_out, own_mask = model.encode(batch.features, batch.feature_lengths)
    real = int(own_mask[row].sum())
    pictures = {"Encoder output": Picture(encoder_out[row].T.numpy(), "dimension", real)}
    if model.decoder is not None:
        mask = own_mask if encoder_mask is None else encoder_mask
        _, maps = model.decoder(batch.tokens_in, encoder_out, mask, need_weights=True)
        cross = next(weights for name, weights in maps.items() if "cross" in name)
        length = int(batch.target_lengths[row])
        weights = cross[row].mean(0)[:length]  # (heads, length, frames) -> (length, frames)
        letters = [tokenizer.tokens[token] for token in batch.tokens_out[row, :length].tolist()]
        pictures["Cross-attention"] = Picture(weights.numpy(), letters, real)
    return pictures


def posteriors(log_probs: Tensor, tokenizer: CharTokenizer, real: int) -> dict[str, Picture]:
    """What the CTC head says for each frame of one utterance.

    Args:
        log_probs: (time, vocab).
        tokenizer: of the model.
        real: frames that are speech.
    """
    letters = [token.replace("▁", "_").strip("<>") for token in tokenizer.tokens]
    return {"CTC posteriors": Picture(log_probs.exp().T.numpy(), letters, real)}
