"""Chapter 14: each patient's script runs with the learner's repair in it, and the symptom must be gone."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import pytest
import torch
from teaching import expect

from asr_tutorial.clinic.visit import Visit
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
    learnt_by_heart("no_eos", "50 steps are enough for four sentences, from the first letter to the last")


# ---------------------------------------------------------------------------------------------------- probes
def probe_no_eos(module: ModuleType) -> Iterator[Any]:
    read, answered = module.read_and_answered([[A, B], [B]], TINY)
    yield answered
    yield read.where(answered != TINY.pad_id, -1)
    yield read == TINY.eos_id


PROBES = {"14.1": probe_no_eos}
