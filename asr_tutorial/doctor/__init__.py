"""Find what is wrong with a training that "does not work": the checks of the debugging chart, on a real run.

Each check *does* something and looks at what comes of it: it changes padding and sees whether outputs move, changes a
token of the future, reads off the gradients what a loss asks for, makes steps and sees which mode the modules are in.
So it finds what is wrong in a learner's code as well as in ours. It takes no look inside a step for NaNs and memory:
that is :mod:`asr_tutorial.training.diagnose`, which one of the checks calls.

The order in which to read: ``illnesses`` (what is known), ``report``, ``case`` (what is examined), then the checks:
``targets``, ``padding``, ``steps``, ``augmentation``, ``sound``, ``fusion``, and ``records`` for a run's files.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from asr_tutorial.doctor import augmentation, fusion, padding, records, sound, steps, targets
from asr_tutorial.doctor.case import Case, open_case, open_subject
from asr_tutorial.doctor.illnesses import ILLNESSES, Illness
from asr_tutorial.doctor.report import Finding, NotApplicable, Report
from asr_tutorial.errors import UserError
from asr_tutorial.language_model import LanguageModel, load_language_model
from asr_tutorial.recognizer.fusing import token_model
from asr_tutorial.search import TokenModel
from asr_tutorial.tokenizer import Tokenizer

__all__ = ["ILLNESSES", "Finding", "Illness", "Report", "examine"]

Subject = TypeVar("Subject")

OF_RECORDS: dict[str, Callable[[records.Records], Iterator[Finding]]] = {
    "figures of the run are finite": records.finite,
    "recorded learning rates follow the schedule": records.rates,
    "curves: no plateau, divergence, oscillation, gap": records.curves,
    "transcripts: not empty, no loops, CER below 100 %": records.texts,
}
OF_CASES: dict[str, Callable[[Case], Iterator[Finding]]] = {
    "files are taken at their own sample rate": sound.sample_rate,
    "sound, features and text fit in length": sound.durations,
    "training and dev speech have the same bandwidth": sound.bandwidth,
    "transcripts survive the tokenizer": targets.transcripts,
    "decoder input and target: SOS + text, text + EOS": targets.decoder_text,
    "the loss asks for text and EOS, never for PAD": targets.told,
    "CTC's loss and search agree on the blank": targets.blank,
    "CTC can align the transcripts": targets.alignable,
    "lengths follow the encoder's frames": padding.lengths,
    "padding does not change the output": padding.padding,
    "no token sees those behind it": padding.causality,
    "SpecAugment keeps to the utterance": augmentation.spec_augment,
    "normalised first, then masked; padding is 0": augmentation.front_end,
    "training and evaluation mode": steps.modes,
    "the learning rate counts optimiser steps": steps.schedule,
    "all is finite, each part gets a gradient": steps.gradients,
    "the language model gives log-probabilities": fusion.language_model,
    "fusion adds what it should": fusion.fusion,
}


def examine(target: str | Path, overrides: Sequence[str] = (), lm: str | Path | None = None) -> Report:
    """Examine a run, a checkpoint or a configuration.

    Nothing is written but a temporary folder. Where a run's corpora are not here, its files alone are looked at, and
    the report says so.

    Args:
        target: a run folder, a checkpoint folder, a YAML file or the name of a configuration.
        overrides: settings to change, such as ``--data.root=...`` where the corpora have moved.
        lm: folder of a language model to examine beside the recogniser.

    Raises:
        UserError: the target is none of these, a configuration's corpora are not there, or no such language model.
    """
    subject = open_subject(target, overrides)
    report = Report(subject.name)
    loaded = load_language_model(lm) if lm is not None else None
    if subject.folder is not None:
        found = records.read_records(subject.folder, subject.config)
        if found.metrics or found.log:
            _go_through(OF_RECORDS, found, report)
        if subject.checkpoint is None:
            report.notes.append("the run has no checkpoint yet: a model with fresh weights is looked at")
    with tempfile.TemporaryDirectory() as folder:
        try:
            case = open_case(subject, Path(folder), _maker(loaded, lm))
        except UserError as error:
            if subject.folder is None or not (report.passed or report.findings):
                raise
            report.notes.append(f"speech and model were not looked at: {error}")
            return report
        _go_through(OF_CASES, case, report)
    return report


def _go_through(checks: dict[str, Callable[[Subject], Iterator[Finding]]], subject: Subject, report: Report) -> None:
    for title, check in checks.items():
        before = len(report.findings)
        try:
            for finding in check(subject):
                if finding.name not in {known.name for known in report.findings}:
                    report.findings.append(finding)
        except NotApplicable as reason:
            report.notes.append(f"{title}: {reason}")
            continue
        except Exception as error:  # whatever the examined code raises is what is wrong with it
            report.findings.append(Finding("broken", f"{title}: {type(error).__name__}: {error}"))
            continue
        if len(report.findings) == before:
            report.passed.append(title)


def _maker(model: LanguageModel | None, name: str | Path | None) -> Callable[[Tokenizer], TokenModel] | None:
    if model is None:
        return None
    return lambda tokenizer: token_model(model, tokenizer, f"the language model {name}")
