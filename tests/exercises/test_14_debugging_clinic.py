"""Chapter 14: each patient's script runs with the learner's repair in it, and the symptom must be gone."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from teaching import expect, same
from torch import Tensor
from torch.nn import functional as F

from asr_tutorial.clinic.visit import Visit
from asr_tutorial.ctc import ctc_loss
from asr_tutorial.dataset import Batch, Example, collate
from asr_tutorial.tokenizer import CharTokenizer

torch.set_num_threads(1)  # models so small that threads would mostly wait for each other


@cache
def visit(name: str) -> Visit:
    """What the script shows with the learner's repair in it; it runs once for all tests of an exercise."""
    return patient(name).run()


def patient(name: str) -> Any:
    """Imported where it is needed: a check has to wait for one patient, not for twelve."""
    return importlib.import_module(f"asr_tutorial.clinic.{name}")


def shown(transcripts: list[tuple[str, str]]) -> str:
    """The first transcript that is wrong, or the first."""
    reference, hypothesis = next((pair for pair in transcripts if pair[0] != pair[1]), transcripts[0])
    return f"{hypothesis!r} for {reference!r}"


def learnt_by_heart(name: str, why: str) -> None:
    """Every sentence is written down without a mistake: overfitting a batch is the first test of a training script."""
    transcripts = visit(name).transcripts
    wrong = sum(reference != hypothesis for reference, hypothesis in transcripts)
    expect(wrong == 0, f"all {len(transcripts)} sentences by heart", f"{wrong} wrong: {shown(transcripts)}", why)


TINY = CharTokenizer("AB")
A, B = TINY.encode("AB")


# ---------------------------------------------------------------------------------------------------- 14.1
@pytest.mark.exercise("14.1")
def test_what_is_answered_to_what_is_read():
    read, answered = patient("no_eos").read_and_answered([[A, B], [B]], TINY)
    sos, eos, pad = TINY.sos_id, TINY.eos_id, TINY.pad_id
    expect(read.shape == answered.shape, "two tensors of one shape", f"{(*read.shape,)} and {(*answered.shape,)}", "")
    asked = [
        [(r, a) for r, a in zip(*rows, strict=True) if a != pad]
        for rows in zip(read.tolist(), answered.tolist(), strict=True)
    ]
    names = {sos: "SOS", eos: "EOS", pad: "PAD", A: "A", B: "B"}
    got = ["; ".join(f"{names[r]} -> {names[a]}" for r, a in row) for row in asked]
    expect(
        asked == [[(sos, A), (A, B), (B, eos)], [(sos, B), (B, eos)]],
        "for the texts AB and B: SOS -> A; A -> B; B -> EOS | SOS -> B; B -> EOS",
        " | ".join(got),
        "at each position the decoder is asked for what follows; behind the last letter that is the end",
    )


@pytest.mark.exercise("14.1")
def test_every_text_ends_by_itself():
    endless = visit("no_eos").measures["texts without an end"]
    expect(
        endless == 0,
        "every hypothesis ends with an EOS of its own",
        f"{endless:g} of 4 were cut off at the limit: {shown(visit('no_eos').transcripts)}",
        "a decoder that was never shown the end of a text cannot say it",
    )


@pytest.mark.exercise("14.1")
def test_the_sentences_are_learnt_to_their_last_letter():
    learnt_by_heart("no_eos", "60 steps are enough for four sentences, from the first letter to the last")


# ---------------------------------------------------------------------------------------------------- 14.2
def by_hand_loss(logits: Tensor, answered: Tensor) -> Tensor:
    """Mean over all positions that hold no PAD, in a loop."""
    log_probs = logits.log_softmax(dim=-1)
    places = [(row, at) for row, at in np.ndindex(*answered.shape) if answered[row, at] != TINY.pad_id]
    return -torch.stack([log_probs[row, at, answered[row, at]] for row, at in places]).mean()


LOGITS = torch.randn(2, 6, TINY.vocab_size, generator=torch.Generator().manual_seed(0))
ANSWERED = torch.tensor([[A, B, A, B, TINY.eos_id, TINY.pad_id], [A, TINY.eos_id, *[TINY.pad_id] * 4]])


@pytest.mark.exercise("14.2")
def test_the_loss_is_the_mean_over_letters_and_ends():
    same(
        patient("pad_trained_on").text_loss(LOGITS, ANSWERED, TINY),
        by_hand_loss(LOGITS, ANSWERED),
        "7 of 12 positions are letters and ends; each of them counts the same, and PAD is neither added up nor counted",
    )


@pytest.mark.exercise("14.2")
def test_the_reported_loss_is_that_of_the_text():
    measures = visit("pad_trained_on").measures
    reported, real = measures["last loss, as reported"], measures["last loss, of letters and EOS alone"]
    expect(
        abs(reported - real) < 1e-3 + 1e-3 * real,
        "the loss that the script reports is the loss of letters and ends",
        f"{reported:.3f} reported, {real:.3f} of letters and ends",
        "otherwise the curve says how much padding there is: the more, the better it looks",
    )


@pytest.mark.exercise("14.2")
def test_fixed_lengths_do_not_keep_it_from_learning():
    endless = visit("pad_trained_on").measures["texts without an end"]
    expect(endless == 0, "every text ends by itself", f"{endless:g} of 4 do not", "EOS is part of the text")
    learnt_by_heart("pad_trained_on", "60 steps were enough without padding, and padding must not change that")


# ---------------------------------------------------------------------------------------------------- 14.3
def ctc_batch() -> Batch:
    """Two texts, ABBA and BA, with features that nobody looks at."""
    texts = {"ABBA": 9, "BA": 6}
    examples = [Example(text, text, torch.zeros(frames, 2), TINY.encode(text)) for text, frames in texts.items()]
    return collate(examples, TINY)


CTC_LOG_PROBS = torch.randn(2, 9, TINY.vocab_size, generator=torch.Generator().manual_seed(1)).log_softmax(dim=-1)
CTC_FRAMES = torch.tensor([9, 6])


@pytest.mark.exercise("14.3")
def test_the_loss_of_all_paths():
    batch = ctc_batch()
    losses = ctc_loss(CTC_LOG_PROBS, batch.targets, CTC_FRAMES, batch.target_lengths, TINY.blank_id)
    same(
        patient("wrong_blank").alignment_loss(CTC_LOG_PROBS, CTC_FRAMES, batch, TINY),
        (losses / batch.target_lengths).mean(),
        "with the tokenizer's blank, the loss of each text over its letters, then the mean",
        tolerance=1e-4,
    )


@pytest.mark.exercise("14.3")
def test_what_a_path_says():
    path = [A, A, TINY.blank_id, A, B, B, TINY.blank_id, TINY.blank_id, A]
    log_probs = F.one_hot(torch.tensor([path]), TINY.vocab_size).float().log_softmax(dim=-1)
    got = patient("wrong_blank").read_out(log_probs, torch.tensor([8]), TINY)
    expect(
        got == ["AAB"],
        "'AAB' for the 8 frames A A - A B B - -",
        repr(got),
        "what repeats is merged, then blanks are dropped; frames behind the end are not read",
    )


@pytest.mark.exercise("14.3")
def test_it_says_nothing_between_the_letters():
    learnt_by_heart("wrong_blank", "between its letters the model must say the blank, which no text contains")
    share = visit("wrong_blank").measures["share of frames that say blank"]
    expect(share > 0.05, "frames whose best token is the tokenizer's blank", f"{share:.0%} of them", "loss and search")


# ---------------------------------------------------------------------------------------------------- 14.4
def example_of(text: str, frames: int) -> Example:
    return Example(text, text, torch.zeros(frames, 2), TINY.encode(text))


@pytest.mark.exercise("14.4")
def test_which_utterances_can_be_said():
    cases = {("ABAB", 16): True, ("ABAB", 13): True, ("ABAB", 12): False, ("ABBA", 17): True, ("ABBA", 16): False}
    for (text, frames), fits in cases.items():
        got = patient("ctc_target_too_long").choose([example_of(text, frames)], 4)
        repeats = "and a blank between BB" if "BB" in text else "and no blank in between"
        expect(
            bool(got) == fits,
            f"{text} with {frames} frames and factor 4 is {'kept' if fits else 'left out'}",
            "kept" if got else "left out",
            f"the encoder has {-(-frames // 4)} frames (rounded up), the text needs 4 {repeats}",
        )


@pytest.mark.exercise("14.4")
def test_every_loss_is_finite_from_the_first_step_on():
    patient_visit = visit("ctc_target_too_long")
    infinite = patient_visit.measures["utterances with an infinite loss before the first step"]
    expect(
        infinite == 0,
        "no utterance in the batch that CTC cannot say",
        f"{infinite:g} of {patient_visit.measures['utterances']:g} have an infinite loss",
        "their loss is infinite before anything was learnt, so that nothing about the training can mend it",
    )
    finite = np.isfinite(patient_visit.losses["training"]).all()
    expect(finite, "a loss that is a number at each step", "inf or NaN", "one infinite loss spoils all weights")


@pytest.mark.exercise("14.4")
def test_what_can_be_learnt_is_learnt():
    found = visit("ctc_target_too_long").measures["utterances"]
    expect(found == 5, "5 of the 10 sentences are kept", f"{found:g}", "what fits is speech that may be learnt from")
    learnt_by_heart("ctc_target_too_long", "each sentence in the batch has a path")


# ---------------------------------------------------------------------------------------------------- 14.5
@pytest.mark.exercise("14.5")
def test_which_frames_may_be_attended():
    got = patient("mask_inverted").frames_to_attend(torch.tensor([12, 5, 4, 1]), 4)
    same(
        got,
        [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]],
        "12, 5, 4 and 1 frames of sound are 3, 2, 1 and 1 of the encoder: these are True, and all behind them False",
    )


@pytest.mark.exercise("14.5")
def test_an_utterance_alone_gives_the_scores_that_it_gives_in_a_batch():
    difference = visit("mask_inverted").measures["largest difference of scores, alone and in the batch"]
    expect(
        difference < 1e-3,
        "the same scores alone and in the batch",
        f"they differ by up to {difference:.3g}",
        "padding says nothing about an utterance: where it is attended, the company decides",
    )


@pytest.mark.exercise("14.5")
def test_it_recognises_each_sentence_alone():
    learnt_by_heart("mask_inverted", "alone there is no padding, and the decoder has to listen to the speech")


# ---------------------------------------------------------------------------------------------------- 14.6
@pytest.mark.exercise("14.6")
def test_how_many_frames_the_encoder_has():
    got = patient("lengths_not_subsampled").encoder_lengths(torch.tensor([188, 232, 1, 8]), 32)
    same(got, [24, 29, 1, 1], "one frame for each 8 of the sound, a last incomplete group counts")


@pytest.mark.exercise("14.6")
def test_a_length_does_not_depend_on_the_batch():
    function = patient("lengths_not_subsampled").encoder_lengths
    in_batch, alone = function(torch.tensor([100, 203]), 32)[0], function(torch.tensor([100]), 13)[0]
    expect(
        int(in_batch) == int(alone) == 13,
        "100 frames of sound are 13 of the encoder, alone and beside a longer utterance",
        f"{int(alone)} alone, {int(in_batch)} in a batch",
        "a length follows from the utterance, not from its neighbours",
    )


@pytest.mark.exercise("14.6")
def test_each_sentence_has_its_end_when_it_is_alone():
    learnt_by_heart("lengths_not_subsampled", "letters that were learnt on padding are missing where there is none")


# ---------------------------------------------------------------------------------------------------- probes
def probe_no_eos(module: ModuleType) -> Iterator[Any]:
    read, answered = module.read_and_answered([[A, B], [B]], TINY)
    yield answered
    yield read.where(answered != TINY.pad_id, -1)
    yield read == TINY.eos_id


def probe_pad_trained_on(module: ModuleType) -> Iterator[Any]:
    yield module.text_loss(LOGITS, ANSWERED, TINY)


def probe_wrong_blank(module: ModuleType) -> Iterator[Any]:
    yield module.alignment_loss(CTC_LOG_PROBS, CTC_FRAMES, ctc_batch(), TINY)
    path = [A, A, TINY.blank_id, A, B, B, TINY.vocab_size - 1, TINY.blank_id, A]
    yield module.read_out(F.one_hot(torch.tensor([path]), TINY.vocab_size).float(), torch.tensor([9]), TINY)


def probe_ctc_target_too_long(module: ModuleType) -> Iterator[Any]:
    for text, frames in (("ABAB", 16), ("ABAB", 13), ("ABAB", 12), ("ABBA", 16), ("ABAB", 3), ("ABABB", 17)):
        yield len(module.choose([example_of(text, frames)], 4))
    batch = ctc_batch()
    yield module.alignment_loss(CTC_LOG_PROBS, CTC_FRAMES, batch, TINY.blank_id)
    yield module.alignment_loss(CTC_LOG_PROBS[:, :3], CTC_FRAMES.clamp(max=3), batch, TINY.blank_id)


def probe_mask_inverted(module: ModuleType) -> Iterator[Any]:
    yield module.frames_to_attend(torch.tensor([12, 5, 4, 1]), 4)


def probe_lengths_not_subsampled(module: ModuleType) -> Iterator[Any]:
    yield module.encoder_lengths(torch.tensor([188, 232, 1, 8]), 32)
    yield module.encoder_lengths(torch.tensor([188]), 24)


PROBES = {
    "14.1": probe_no_eos,
    "14.2": probe_pad_trained_on,
    "14.3": probe_wrong_blank,
    "14.4": probe_ctc_target_too_long,
    "14.5": probe_mask_inverted,
    "14.6": probe_lengths_not_subsampled,
}
