"""What the doctor knows: illnesses of a training, each with what it means, where it comes from and what helps.

The twelve patients of chapter 14 are among them under their own names; what has no patient of its own names the one
that shows most of it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Illness:
    """One row of what the doctor knows."""

    title: str
    means: str
    cause: str
    remedy: str
    patient: str = ""
    """Of chapter 14; empty where none shows it."""


ILLNESSES: dict[str, Illness] = {
    # ------------------------------------------------------------------------------ text, targets and losses
    "no_eos": Illness(
        "the decoder is never told to stop",
        "It cannot learn to say EOS: texts run on to the length limit, loop, and error rates exceed 100 %.",
        "EOS is missing behind the targets, or the loss leaves its position out (PAD and EOS share an id).",
        "Targets are transcript + EOS (dataset.batch.shifted_and_golden); give PAD an id of its own.",
        "no_eos",
    ),
    "pad_trained_on": Illness(
        "PAD is trained on",
        "Padding counts as text: the loss looks good because PAD is easy, and short texts are drowned in it.",
        "The loss is averaged over all positions of the batch, padded ones among them.",
        "Set the loss to 0 where the target is PAD before it is summed (training.loss.label_smoothed_cross_entropy).",
        "pad_trained_on",
    ),
    "teacher_forcing_shifted": Illness(
        "the decoder is given the answer, or the wrong past",
        "Under teacher forcing the loss falls to almost nothing; alone, the decoder says nonsense.",
        "Input and target are not one token apart: the input must be SOS + text, the target text + EOS.",
        "Compare tokens_in[:, 1:] with tokens_out[:, :-1]: they must be equal (dataset.batch.shifted_and_golden).",
        "teacher_forcing_shifted",
    ),
    "targets_differ": Illness(
        "the loss asks for another text than the transcript",
        "The model is trained towards something that nobody said.",
        "Tokens or losses are not those of the transcript: a tokenizer that loses characters, targets cut off.",
        "Decode the targets of a batch and read them beside the transcripts.",
        "no_eos",
    ),
    "wrong_blank": Illness(
        "two ideas of which token is CTC's blank",
        "What CTC learns to say between the tokens is not what the search drops: empty or garbled texts.",
        "A loss or a search was given another id than the tokenizer's blank_id, 0 or vocab_size - 1 for example.",
        "Take the id from tokenizer.blank_id in both places, and nowhere a number.",
        "wrong_blank",
    ),
    "ctc_target_too_long": Illness(
        "transcripts that CTC cannot align",
        "No path says them in the frames there are: the loss is infinite, or 0 where infinities are zeroed, and such "
        "an utterance teaches nothing or spoils the step.",
        "Subsampling is too strong for the tokens, speed perturbation shortens too much, or text and sound do not "
        "belong together.",
        "Leave them out (SpeechDataset does), lower model.subsampling_factor, or use larger tokens.",
        "ctc_target_too_long",
    ),
    # ------------------------------------------------------------------------------ masks and lengths
    "mask_inverted": Illness(
        "attention looks at the padding and not at the speech",
        "What an utterance becomes depends on what it is batched with; alone, it attends to nothing.",
        "A mask of the other convention: True = ignore, as nn.MultiheadAttention has it, where True = real is meant.",
        "True = may be attended, everywhere (masks.padding_mask, masks.key_mask, attention.attention_weights).",
        "mask_inverted",
    ),
    "padding_seen": Illness(
        "padding changes the output",
        "The same utterance gives other results in another batch.",
        "A layer without a mask: attention, convolution or normalisation reads beyond an utterance's end.",
        "Mask whatever mixes positions; set padding to 0 before each convolution.",
        "mask_inverted",
    ),
    "future_seen": Illness(
        "a token sees those behind it",
        "The decoder reads the answer instead of learning to predict it: fine in training, useless in recognition.",
        "No causal mask, a flipped one, or one with a diagonal too many.",
        "Row i may see columns 0..i (masks.causal_mask).",
        "teacher_forcing_shifted",
    ),
    "lengths_not_subsampled": Illness(
        "lengths do not follow the frames",
        "Masks and losses take padding for speech: CTC is asked for text over silence that is not there.",
        "Subsampling makes frames fewer and leaves the lengths as they were, or cut to the longest.",
        "Each step of stride 2 halves the lengths as well, rounded up (encoder.halve).",
        "lengths_not_subsampled",
    ),
    # ------------------------------------------------------------------------------ training steps
    "eval_mode_not_restored": Illness(
        "the model stays in evaluation mode",
        "After the first validation there is no dropout and no SpecAugment any more: train loss drops, dev rises.",
        "model.eval() without model.train() behind it, in validation or in recognition.",
        "Call model.train() at the beginning of each step, and give back the mode that was found (modes.evaluating).",
        "eval_mode_not_restored",
    ),
    "dropout_in_evaluation": Illness(
        "evaluation is random",
        "The same utterance is recognised differently each time, and worse than the model can.",
        "Validation or recognition does not enter evaluation mode: dropout is at work.",
        "Recognise within modes.evaluating(model); a dropout of your own must look at self.training.",
        "eval_mode_not_restored",
    ),
    "scheduler_counts_batches": Illness(
        "the learning rate counts batches, not optimiser steps",
        "With accumulation the rate rises and falls too early; the last part of the training has a rate of 0.",
        "The schedule is advanced once for each batch (or each process) of a step.",
        "Apply it once a step, with the step's number (training.optimizer.Schedule.apply).",
        "scheduler_counts_batches",
    ),
    "schedule_differs": Illness(
        "the learning rate is not that of the schedule",
        "The training runs at another rate than its configuration says.",
        "A wrong formula, a schedule that is not applied, or one that a resumed run has begun anew.",
        "Print the rate of some steps beside Schedule.factor (training.optimizer).",
        "scheduler_counts_batches",
    ),
    "no_gradient": Illness(
        "a part of the model does not learn",
        "Its weights stay as they began.",
        "Its output is not used, or detached: torch.no_grad, .detach(), .data, an argmax, requires_grad False.",
        "Look at parameter.grad after a backward pass; follow the output of the part forward from there.",
    ),
    "not_finite": Illness(
        "NaN or infinity in a training step",
        "From the first one on, everything it touches is NaN.",
        "The finding names the place.",
        "asr-tutorial diagnose looks into each module, forward and backward.",
    ),
    "broken": Illness(
        "a step of the doctor's fails with an error",
        "So will training or recognition, on data that comes to this place.",
        "A shape, a type or a value that does not fit; the error says where.",
        "Run the tests of the part: asr-tutorial check, or pytest on the library.",
    ),
    # ------------------------------------------------------------------------------ augmentation
    "specaugment_in_padding": Illness(
        "SpecAugment does not keep to the utterance",
        "Masks fall into the padding or are as wide as the padding is long: how much of an utterance is hidden depends "
        "on its neighbours in the batch.",
        "Starts and widths are drawn from the padded length, or written without the padding mask.",
        "Draw from lengths, and fill hidden & padding_mask only (features.augment.SpecAugment.forward).",
        "specaugment_in_padding",
    ),
    "masked_with_another_value": Illness(
        "hidden places do not hold the mean",
        "A mask is a loud event, not a gap: the model learns the masks.",
        "SpecAugment before normalisation, or filled with a value that is not the mean of what it is applied to.",
        "Normalise first, then mask with 0 (SpeechTransformer.front_end).",
        "specaugment_in_padding",
    ),
    "padding_not_zero": Illness(
        "padding is not 0 after the front end",
        "Convolutions carry what stands there into the last frames of the speech.",
        "Features are padded before they are normalised, and the mean is subtracted from the padding too.",
        "Set padding to 0 after normalisation (features.normalize.MVN.forward).",
        "specaugment_in_padding",
    ),
    "augmentation_off": Illness(
        "SpecAugment is configured and does nothing",
        "The model overfits sooner than it should.",
        "It is never in training mode, or its strength stays 0.",
        "Look at what SpeechTransformer.front_end gives in training mode.",
        "eval_mode_not_restored",
    ),
    # ------------------------------------------------------------------------------ sound
    "sample_rate_ignored": Illness(
        "sound is taken at the wrong rate",
        "Everything is faster and higher (or slower and lower) than it was said; durations and mel bins are off.",
        "Samples are read without a look at the file's rate, or not resampled.",
        "Resample each file from its own rate to features.sample_rate (audio.read_audio).",
        "sample_rate_ignored",
    ),
    "text_does_not_fit": Illness(
        "text and sound do not fit each other",
        "Nobody speaks that fast, or that slowly.",
        "A wrong sample rate in the files' headers, transcripts of other files, or recordings cut off.",
        "Listen to some files and read along: asr-tutorial data stats, or the page of asr-tutorial demo.",
        "sample_rate_ignored",
    ),
    "bands_differ": Illness(
        "training and dev speech have different bandwidths",
        "The upper mel bins hold speech in one and nothing in the other: good in training, bad on dev.",
        "One of the two was recorded, or coded, at a lower sample rate and resampled.",
        "Bring both to the lower rate, and set features.sample_rate to it.",
        "sample_rate_ignored",
    ),
    # ------------------------------------------------------------------------------ language model
    "lm_raw_logits": Illness(
        "the language model's scores are no log-probabilities",
        "Their sum differs from step to step, so that a text is rewarded for whatever that is: with a larger weight "
        "error rates explode.",
        "Logits are added to log-probabilities.",
        "log_softmax first (search.scorers.LanguageModelScorer), then lm_weight times that.",
        "lm_raw_logits",
    ),
    "fusion_differs": Illness(
        "fusion is not recogniser + weight * language model",
        "The weight that was tuned is not the weight that is used.",
        "Probabilities in the place of logarithms, the weight on the wrong term, a bonus for EOS.",
        "log p(text | sound) + lm_weight * log p(text) + token_bonus for tokens but EOS (search.fusion).",
        "lm_raw_logits",
    ),
    # ------------------------------------------------------------------------------ what the run's files say
    "nan_in_run": Illness(
        "figures of the run are not finite, or steps were lost",
        "Steps without a finite gradient are not applied; many of them are a training that has stopped.",
        "Too high a rate, fp16 without room, an utterance with broken features.",
        "asr-tutorial diagnose --checkpoint RUN names the module; a lower training.optimizer.lr; precision fp32.",
    ),
    "diverged": Illness(
        "the loss rises",
        "The weights are worse now than they were.",
        "Too high a rate, too short a warm-up, no clipping.",
        "Halve training.optimizer.lr, double training.schedule.warmup_steps, training.optimizer.clip=1.",
    ),
    "plateau": Illness(
        "the loss has stopped falling far too early",
        "The model says what is most frequent, whatever it hears.",
        "It does not get at the sound (masks, lengths, rate), or CTC is stuck at blanks; a rate that is far too low.",
        "asr-tutorial overfit: can it learn one batch by heart? If not, go through the checks above; if so, raise the "
        "rate or the warm-up.",
        "mask_inverted",
    ),
    "oscillation": Illness(
        "the loss jumps up and down",
        "Each step undoes the last.",
        "Too high a rate for such small batches, no clipping, or batches of very different kinds.",
        "Lower training.optimizer.lr, raise training.accumulate or data.batch_seconds; look at the norms in train.log.",
        "scheduler_counts_batches",
    ),
    "dev_gap": Illness(
        "train goes on falling while dev rises",
        "It learns the training set by heart.",
        "Too little data for the model, augmentation or dropout off, dev of another kind.",
        "More augmentation and dropout, a smaller model, fewer steps; the best checkpoint is kept in any case.",
        "eval_mode_not_restored",
    ),
    "loops": Illness(
        "transcripts repeat themselves",
        "The decoder goes on where it should stop, or reads its own text instead of the sound.",
        "EOS was not learnt, attention has not found the sound yet, or the past was shifted.",
        "Look at EOS and shifts in the targets; search jointly with CTC (--search joint).",
        "no_eos",
    ),
    "empty_output": Illness(
        "transcripts are empty",
        "CTC says blanks alone, or EOS comes first.",
        "Early in a training it is a phase; later, the blank's id, the lengths or a plateau.",
        "Compare the blank of loss and search; asr-tutorial overfit.",
        "wrong_blank",
    ),
    "cer_above_100": Illness(
        "more errors than characters",
        "Insertions: texts are longer than what was said.",
        "The decoder does not stop, or CTC's repetitions are not merged.",
        "Look at EOS in the targets and at the blank's id.",
        "no_eos",
    ),
    "good_loss_bad_wer": Illness(
        "right tokens under teacher forcing, wrong texts in recognition",
        "What is measured in training is not what is done in recognition.",
        "The decoder sees the answer (shift, causal mask), or the search differs from training (blank, mode, rate).",
        "Feed the true prefix step by step and compare the logits with those of a whole pass.",
        "teacher_forcing_shifted",
    ),
}
"""By name; a finding names one of them."""
