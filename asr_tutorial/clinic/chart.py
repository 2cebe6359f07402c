"""The decision chart: from what one sees, by a test, to what it may be.

Cause and remedy are not repeated here: a row names an illness of :data:`asr_tutorial.doctor.ILLNESSES`, which is where
``asr-tutorial doctor`` has them from, too.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One way through the chart.

    Attributes:
        symptom: what is seen first.
        test: what to do, and which outcome leads to the illness.
        illness: a key of ``asr_tutorial.doctor.ILLNESSES``.
    """

    symptom: str
    test: str
    illness: str


CHART = (
    Row("WER 100 %", "Look at the attention: it lies on padding, and all transcripts are alike.", "mask_inverted"),
    Row("WER 100 %", "Look at the CTC path: one letter stands between all others.", "wrong_blank"),
    Row("WER 100 %", "Listen to what the model gets: too fast or too slow.", "sample_rate_ignored"),
    Row("CER above 100 %", "Count texts that end by themselves: none does.", "no_eos"),
    Row("CER above 100 %", "Decode without the language model: fewer errors.", "lm_raw_logits"),
    Row("loops", "Look at the target of the last letter: it is not followed by EOS.", "no_eos"),
    Row("loops", "Compare tokens_in[1:] with tokens_out[:-1]: they differ.", "teacher_forcing_shifted"),
    Row("empty output", "Count blanks in the best path: late in training all frames.", "wrong_blank"),
    Row("empty output", "Print one transcript's loss: infinite or NaN.", "ctc_target_too_long"),
    Row("empty output", "Overfit one batch: it is not learnt by heart either.", "plateau"),
    Row("NaN or infinite loss", "Print each utterance's loss: infinite before the first step.", "ctc_target_too_long"),
    Row("NaN or infinite loss", "asr-tutorial diagnose: the first NaN has a place.", "not_finite"),
    Row("plateau", "Swap the sounds of two texts: the loss stays as it is.", "mask_inverted"),
    Row("plateau", "Plot the learning rate: near 0 long before the end.", "scheduler_counts_batches"),
    Row("plateau", "Print the gradient norm of each part: one has none.", "no_gradient"),
    Row("oscillation", "Halve the rate: the curve becomes smooth.", "oscillation"),
    Row("oscillation", "Double the warm-up: it goes on falling where it rose.", "diverged"),
    Row("good loss, bad WER", "Take the loss of letters alone: much higher than reported.", "pad_trained_on"),
    Row("good loss, bad WER", "Let the decoder read its own text: nonsense at once.", "teacher_forcing_shifted"),
    Row("good loss, bad WER", "Recognise a batch one by one: the ends are missing.", "lengths_not_subsampled"),
    Row("good loss, bad WER", "Recognise the same batch twice: two results.", "dropout_in_evaluation"),
    Row("gap between train and dev", "Print model.training in the second epoch: False.", "eval_mode_not_restored"),
    Row(
        "gap between train and dev",
        "Count the hidden frames of short utterances: hardly any.",
        "specaugment_in_padding",
    ),
    Row("gap between train and dev", "None of these: a small corpus learnt by heart.", "dev_gap"),
    Row("the result depends on the batch", "Print the lengths that the loss gets: too long.", "lengths_not_subsampled"),
    Row("the result depends on the batch", "Compare an utterance alone and padded: outputs differ.", "padding_seen"),
)


def markdown(illnesses: dict[str, tuple[str, str, str]]) -> str:
    """The chart as a table in Markdown.

    Args:
        illnesses: cause, remedy and patient of each illness.
    """
    lines = ["| symptom | test | cause | remedy | patient |", "|---|---|---|---|---|"]
    before = ""
    for row in CHART:
        cause, remedy, patient = illnesses[row.illness]
        symptom = "" if row.symptom == before else f"**{row.symptom}**"
        lines.append(f"| {symptom} | {row.test} | {cause} | {remedy} | {patient} |")
        before = row.symptom
    return "\n".join(lines)
