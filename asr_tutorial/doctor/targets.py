"""What the model is told to say: tokens, targets, and the losses that read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr_tutorial.config import CTC_SEARCHES
from asr_tutorial.dataset import Batch, frames_needed
from asr_tutorial.doctor.case import Case
from asr_tutorial.doctor.report import Finding, NotApplicable
from asr_tutorial.model import ModelOutput, SpeechTransformer
from asr_tutorial.recognizer import decode_batch
from asr_tutorial.training.loss import Sizes, build_criterion

LEFT_OUT = 0.1
"""Share of the utterances that a training may leave out for CTC's sake before it is worth a finding."""


def transcripts(case: Case) -> Iterator[Finding]:
    """Text to ids and back; no special token in what CTC is trained on."""
    batch, tokenizer = case.batch, case.tokenizer
    special = [tokenizer.blank_id, tokenizer.sos_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.pad_id]
    if len(set(special)) < len(special):
        yield Finding("wrong_blank", f"special tokens share an id: blank, sos, eos, unk, pad are {special}")
    for text, tokens in zip(batch.texts, _texts(batch), strict=True):
        if set(tokens) & ({*special} - {tokenizer.unk_id}):
            yield Finding("targets_differ", f"CTC's targets hold special tokens: {tokens}")
            return
        if tokenizer.decode(tokens) != tokenizer.normalize(text):
            yield Finding(
                "targets_differ", f"{text!r} becomes {len(tokens)} tokens that read {tokenizer.decode(tokens)!r}"
            )
            return


def decoder_text(case: Case) -> Iterator[Finding]:
    """The decoder's input and target in a batch: SOS + text, text + EOS."""
    if not case.stepwise:
        raise NotApplicable("no decoder that reads its own past")
    batch, tokenizer = case.batch, case.tokenizer
    texts = _texts(batch)
    without = [row for row, answers in enumerate(batch.tokens_out.tolist()) if tokenizer.eos_id not in answers]
    if without:
        yield Finding("no_eos", f"{len(without)} of {len(batch)} decoder targets hold no EOS (id {tokenizer.eos_id})")
    shifted = given = total = 0
    for row, tokens in enumerate(texts):
        read, said = batch.tokens_in[row].tolist(), batch.tokens_out[row].tolist()
        shifted += read[: len(tokens) + 1] != [tokenizer.sos_id, *tokens] or said[: len(tokens)] != tokens
        total += len(tokens)
        given += sum(left == right for left, right in zip(read, said[: len(tokens)], strict=False))
    if shifted:
        yield Finding(
            "teacher_forcing_shifted",
            f"in {shifted} of {len(batch)} rows input and target are not SOS + text and text + EOS; at "
            f"{100 * given / total:.0f} % of the positions the input is the very token to be named",
        )


def told(case: Case) -> Iterator[Finding]:
    """What the losses push up at each position, read off their gradients on an undecided output."""
    batch, tokenizer = case.batch, case.tokenizer
    criterion = build_criterion(case.config.training, tokenizer, case.model)
    with torch.no_grad():
        output = case.model(*case.model.training_inputs(batch))
    if output.logits is None or criterion.ctc_weight == 1:
        raise NotApplicable("no decoder is trained")
    logits = torch.zeros_like(output.logits, requires_grad=True)
    output.logits, output.ctc_log_probs = logits, _undecided(output.ctc_log_probs)
    criterion.mean(criterion.totals(output, batch), Sizes.of([batch])).backward()
    assert logits.grad is not None
    pushed, size = logits.grad.argmin(dim=-1), logits.grad.abs().sum(dim=-1)  # (batch, length) each
    unended = padded = pads = other = copied = total = 0
    for row, tokens in enumerate(_texts(batch)):
        expected = [*tokens, tokenizer.eos_id] if case.stepwise else tokens
        end = len(expected)
        unended += case.stepwise and (float(size[row, end - 1]) == 0 or int(pushed[row, end - 1]) != tokenizer.eos_id)
        pads += size.shape[1] - end
        padded += int((size[row, end:] > 0).sum())
        told_tokens = pushed[row, : len(tokens)]
        wrong = (told_tokens != torch.tensor(tokens)) | (size[row, : len(tokens)] == 0)
        other, total = other + int(wrong.sum()), total + len(tokens)
        copied += int((wrong & (told_tokens == batch.tokens_in[row, : len(tokens)])).sum())
    if unended:
        yield Finding(
            "no_eos", f"in {unended} of {len(batch)} utterances the loss does not ask for EOS behind the last token"
        )
    if padded:
        share = float(sum(size[row, len(t) + case.stepwise :].sum() for row, t in enumerate(_texts(batch))))
        yield Finding(
            "pad_trained_on",
            f"{padded} of {pads} padded positions get a gradient, {100 * share / float(size.sum()):.0f} % of all",
        )
    if other:
        yield Finding(
            "teacher_forcing_shifted" if copied > other / 2 else "targets_differ",
            f"at {other} of {total} positions the loss asks for another token than the transcript's",
        )


def blank(case: Case) -> Iterator[Finding]:
    """CTC's loss and search agree with the tokenizer about the blank."""
    batch, tokenizer, model = case.batch, case.tokenizer, case.model
    criterion = build_criterion(case.config.training, tokenizer, model)
    perfect, mask = _perfect(batch, tokenizer.blank_id, tokenizer.vocab_size)
    heard = decode_batch(cast(SpeechTransformer, _Says(perfect, mask)), tokenizer, batch, "ctc")
    for tokens, found in zip(_texts(batch), heard, strict=True):
        if found.text != tokenizer.decode(tokens):
            yield Finding(
                "wrong_blank",
                f"an output that says {tokenizer.decode(tokens)!r} without doubt is read as {found.text!r}",
            )
            break
    if criterion.ctc_weight == 0:
        return
    with torch.no_grad():
        output = model(*model.training_inputs(batch))
    # Not uniform: then every blank would give the same loss.
    noise = torch.randn(output.ctc_log_probs.shape, generator=torch.Generator().manual_seed(1))
    output.ctc_log_probs, lengths = (2 * noise).log_softmax(dim=-1), output.encoder_mask.sum(dim=1)
    if bool((lengths < torch.tensor([frames_needed(tokens) for tokens in _texts(batch)])).any()):
        raise NotApplicable("the encoder says that it has too few frames for the transcripts")
    with torch.no_grad():
        ours = float(criterion.totals(output, batch).ctc)

    def reference(token: int) -> float:
        scores = output.ctc_log_probs.transpose(0, 1)
        return float(F.ctc_loss(scores, batch.targets, lengths, batch.target_lengths, token, reduction="sum"))

    right = reference(tokenizer.blank_id)
    if abs(ours - right) > 1e-3 * abs(right):
        others = [token for token in {*range(5), tokenizer.vocab_size - 1} if token != tokenizer.blank_id]
        fits = [token for token in others if abs(ours - reference(token)) < 1e-3 * abs(ours)]
        meant = f"; it fits a blank of {fits[0]}, {tokenizer.id_to_token(fits[0])}" if fits else ""
        name = "wrong_blank" if fits else "targets_differ"
        yield Finding(
            name, f"the CTC loss is {ours:.1f}, with blank {tokenizer.blank_id} PyTorch's is {right:.1f}{meant}"
        )


def alignable(case: Case) -> Iterator[Finding]:
    """Whether the utterances that are trained on have frames enough for CTC, and how many are left out for it."""
    if case.config.training.ctc_weight == 0:
        raise NotApplicable("CTC is not trained")
    dataset = case.data.train.dataset
    factor = _factor(case)
    impossible = []
    for utterance, tokens in zip(dataset.utterances, dataset.tokens, strict=True):
        shortest = min(dataset.store.frames(utterance.id, speed) for speed in dataset.store.speeds)
        needed = frames_needed(tokens)
        if needed > -(-shortest // factor):
            impossible.append(
                f"{utterance.id}: {len(tokens)} tokens need {needed} frames, it has {-(-shortest // factor)}"
            )
    if impossible:
        yield Finding(
            "ctc_target_too_long",
            f"{len(impossible)} of {len(dataset)} sampled training utterances cannot be aligned ({impossible[0]})",
        )
    left_out = [skip for skip in dataset.skipped if "too long for CTC" in skip.reason]
    if len(left_out) > LEFT_OUT * len(case.corpus):
        yield Finding(
            "ctc_target_too_long",
            f"{len(left_out)} of {len(case.corpus)} sampled utterances are left out of training: {left_out[0].reason}",
        )


def _texts(batch: Batch) -> list[list[int]]:
    return [row[:length] for row, length in zip(batch.targets.tolist(), batch.target_lengths.tolist(), strict=True)]


def _undecided(like: Tensor) -> Tensor:
    return torch.zeros_like(like).log_softmax(dim=-1)


def _factor(case: Case) -> int:
    """Feature frames to an encoder frame, as the encoder really makes them."""
    length = int(case.batch.feature_lengths.max())
    features = case.batch.features[case.batch.feature_lengths.argmax()][None, :length]
    with torch.no_grad():
        frames = case.model.encode(features, torch.tensor([length]))[0].shape[1]
    return max(1, round(length / frames))


def _perfect(batch: Batch, blank_id: int, vocab: int) -> tuple[Tensor, Tensor]:
    """CTC output that says each transcript for certain, a blank before and behind each token, and its mask."""
    paths = [[blank_id, *(part for token in tokens for part in (token, blank_id))] for tokens in _texts(batch)]
    longest = max(map(len, paths))
    said = torch.tensor([[*path, *[blank_id] * (longest - len(path))] for path in paths])
    mask = torch.arange(longest) < torch.tensor([len(path) for path in paths])[:, None]
    return (20.0 * F.one_hot(said, vocab)).log_softmax(dim=-1), mask


class _Says(nn.Module):
    """A model that hears nothing and says what it was made with."""

    searches = CTC_SEARCHES
    decoder = None

    def __init__(self, log_probs: Tensor, mask: Tensor) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        self.log_probs, self.mask = log_probs, mask

    def encode(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return self.log_probs, self.mask

    def ctc_log_probs(self, encoder_out: Tensor) -> Tensor:
        return encoder_out


def output_of(case: Case, rows: slice, frames: int, length: int) -> ModelOutput:
    """What the model computes of some rows of the batch, cut to so many frames and tokens."""
    batch = case.batch
    part = Batch(
        batch.ids[rows],
        batch.texts[rows],
        batch.features[rows, :frames],
        batch.feature_lengths[rows],
        batch.targets[rows, : length - 1],
        batch.target_lengths[rows],
        batch.tokens_in[rows, :length],
        batch.tokens_out[rows, :length],
    )
    with torch.no_grad():
        output: ModelOutput = case.model(*case.model.training_inputs(part))
    return output
