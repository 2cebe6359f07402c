"""The clinic and its first ward: a script shows its symptom with the planted mistake, and does not when healthy."""

import importlib

import numpy as np
import pytest

from asr_tutorial.clinic import PATIENTS
from asr_tutorial.clinic.chart import CHART, markdown
from asr_tutorial.clinic.picture import draw, report
from asr_tutorial.clinic.visit import Picture, Visit, sentences, small_model
from asr_tutorial.course.manifest import all_exercises
from asr_tutorial.course.mistakes import version
from asr_tutorial.course.versions import planted
from asr_tutorial.doctor import ILLNESSES
from asr_tutorial.plots import close

EXERCISES = {
    exercise.module.rpartition(".")[2]: exercise for exercise in all_exercises() if exercise.id.startswith("14.")
}
INFINITE = "utterances with an infinite loss before the first step"
REPORTED, OF_TEXT = "last loss, as reported", "last loss, of letters and EOS alone"
IN_BATCH = "word errors in the training batch"

SYMPTOMS = {
    "no_eos": lambda visit: visit.measures["texts without an end"] == 4 and visit.cer > 1,
    "pad_trained_on": lambda visit: (
        visit.measures[OF_TEXT] > 4 * visit.measures[REPORTED] > 0
        and visit.measures[REPORTED] < 0.4
        and visit.wer > 0.8
    ),
    "wrong_blank": lambda visit: visit.wer > 0.5 and sum(text.count("Y") for _, text in visit.transcripts) > 15,
    "ctc_target_too_long": lambda visit: (
        visit.measures[INFINITE] == 5
        and np.isnan(visit.losses["training"][1:]).all()
        and not any(text for _, text in visit.transcripts)
    ),
    "mask_inverted": lambda visit: (
        visit.measures[IN_BATCH] < 0.1 and visit.wer > 0.6 and len({text for _, text in visit.transcripts}) == 1
    ),
    "lengths_not_subsampled": lambda visit: (
        visit.measures[IN_BATCH] < 0.1
        and all(said.startswith(text) and len(text) < len(said) for said, text in visit.transcripts)
    ),
}
"""What the script shows while it is ill, in figures."""


def test_every_patient_has_its_exercise_in_order():
    assert list(EXERCISES) == list(PATIENTS)
    assert [exercise.id for exercise in EXERCISES.values()] == [f"14.{number}" for number in range(1, 13)]
    assert all(exercise.planted for exercise in EXERCISES.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", SYMPTOMS)
def test_the_symptom_is_there_and_gone(name):
    exercise = EXERCISES[name]
    assert SYMPTOMS[name](version(exercise, planted(exercise).code).run()), "the planted mistake shows"
    healthy = importlib.import_module(exercise.module).run()
    assert not SYMPTOMS[name](healthy), "the healthy script does not show it"


def test_a_script_gives_the_same_figures_each_time():
    from asr_tutorial.clinic import wrong_blank

    first, second = wrong_blank.run(), wrong_blank.run()
    assert first.losses == second.losses
    assert first.transcripts == second.transcripts
    assert first.cer < 0.05, "and the healthy one learns its sentences"


class TestPictures:
    def visit(self) -> Visit:
        states = Picture(np.zeros((3, 8)), "dimension", 6)
        weights = Picture(np.eye(2, 8), ["A", "B"], 8)
        return Visit(
            losses={"train": [3.0, 1.0, float("nan")]},
            errors={"dev": [(1, 1.0), (2, 0.5)]},
            rates=[0.1, 0.2, 0.1],
            transcripts=[("A B", "A"), ("A", "A A A")],
            pictures={"States": states, "Weights": weights},
            measures={"ends": 2},
        )

    def test_everything_is_drawn(self):
        figure = draw(self.visit(), "Patient")
        titles = [axes.get_title(loc="left") for axes in figure.axes]
        assert titles == ["Loss", "Errors", "Learning rate", "States", "Weights"]
        texts = [text.get_text() for axes in figure.axes for text in axes.texts]
        assert texts.count("padding") == 1, "where there is padding"
        assert " not a number from here" in texts
        close(figure)

    def test_everything_is_told(self, capsys):
        report(self.visit())
        assert "said   A B\nheard  A\n" in capsys.readouterr().out

    def test_error_rates(self):
        assert self.visit().wer == pytest.approx(1.0), "one word lacks, two are too many, of three"


class TestChart:
    def test_every_row_leads_to_an_illness_that_the_doctor_knows(self):
        assert {row.illness for row in CHART} <= ILLNESSES.keys()

    def test_every_patient_is_found_by_the_chart(self):
        assert {row.illness for row in CHART} >= set(PATIENTS)

    def test_the_symptoms_of_the_course(self):
        symptoms = " ".join(dict.fromkeys(row.symptom for row in CHART))
        for name in ("WER 100 %", "CER above", "loops", "empty", "NaN", "plateau", "oscillation", "good loss", "gap"):
            assert name in symptoms

    def test_as_a_table(self):
        lines = markdown({name: (known.cause, known.remedy, known.patient) for name, known in ILLNESSES.items()})
        rows = lines.splitlines()[2:]
        assert len(rows) == len(CHART)
        assert {row.count(" | ") for row in rows} == {4}


def test_sentences_are_real_speech():
    examples, tokenizer = sentences()
    assert len(examples) == 4
    assert all(len(example.features) > 100 and tokenizer.decode(example.tokens) == example.text for example in examples)
    assert small_model(tokenizer).ctc_head.out_features == tokenizer.vocab_size
