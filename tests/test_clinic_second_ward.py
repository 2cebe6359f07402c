"""Patients 7 to 12 of the clinic: the symptom shows with the planted mistake, and does not in the healthy script."""

import importlib

import pytest

from asr_tutorial.course.manifest import find_exercise
from asr_tutorial.course.mistakes import version
from asr_tutorial.course.versions import planted


def measured(visit, *names):
    return [visit.measures[name] for name in names]


def copies(visit):
    heard, deaf = measured(visit, "loss with the sound", "loss without the sound")
    return heard < 0.02 and deaf < 0.02 and not any(text for _, text in visit.transcripts)


def trains_without_dropout(visit):
    training, dev, share = measured(
        visit, "training loss at the end", "dev loss at the end", "share of steps made in training mode"
    )
    lowest = min(visit.losses["dev, every 20 steps"])
    return training < 0.01 and dev > 0.8 and dev > 1.2 * lowest and share == 0.2


def runs_on(visit):
    alone, together, length = measured(
        visit,
        "character errors without the language model",
        "character errors with it",
        "letters written for each letter said",
    )
    return together > 1 > 2 * alone and length > 1.5


def short_ones_vanish(visit):
    short, long, padding = measured(
        visit,
        "share hidden of the short utterances",
        "share hidden of the long utterances",
        "frames of padding written to",
    )
    return short > 0.5 and long < 0.3 and padding > 0 and measured(visit, "loss of short utterances at the end")[0] > 1


def stops_after_a_quarter(visit):
    return max(visit.rates[10:]) < 1e-9 and visit.losses["training"][-1] > 1


def deaf_to_other_machines(visit):
    home, elsewhere, length = measured(
        visit,
        "character errors at 16000 Hz",
        "character errors at other rates",
        "length of the others for each second of the original",
    )
    return home == 0 and elsewhere > 0.9 and length > 2.5


SYMPTOMS = {
    "14.7": copies,
    "14.8": trains_without_dropout,
    "14.9": runs_on,
    "14.10": short_ones_vanish,
    "14.11": stops_after_a_quarter,
    "14.12": deaf_to_other_machines,
}
"""What the script shows while it is ill, in figures."""


@pytest.mark.slow
@pytest.mark.parametrize("number", SYMPTOMS)
def test_the_symptom_is_there_and_gone(number):
    exercise = find_exercise(number)
    assert SYMPTOMS[number](version(exercise, planted(exercise).code).run()), "the planted mistake shows"
    healthy = importlib.import_module(exercise.module).run()
    assert not SYMPTOMS[number](healthy), "the healthy script does not show it"
