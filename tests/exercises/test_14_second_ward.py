"""Chapter 14, patients 7 to 12; what all patients' tests share is in ``test_14_debugging_clinic``."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from teaching import expect
from test_14_debugging_clinic import TINY, A, B, learnt_by_heart, patient, shown, visit
from torch import Tensor
from torch.nn import functional as F

from asr_tutorial.config import ScheduleConfig
from asr_tutorial.masks import padding_mask
from asr_tutorial.training.optimizer import Schedule

# ---------------------------------------------------------------------------------------------------- 14.7
ROWS = torch.tensor([[TINY.sos_id, A, B, A, TINY.eos_id], [TINY.sos_id, B, TINY.eos_id, TINY.pad_id, TINY.pad_id]])
NO_SOUND = SimpleNamespace(features=torch.zeros(2, 4, 1), feature_lengths=torch.tensor([4, 4]))


def copier(features: Tensor, lengths: Tensor, tokens: Tensor) -> SimpleNamespace:
    """Says at each position what it has just read there."""
    return SimpleNamespace(logits=20.0 * F.one_hot(tokens, TINY.vocab_size))


def knower(features: Tensor, lengths: Tensor, tokens: Tensor) -> SimpleNamespace:
    """Knows both texts: says at each position what follows there."""
    following = torch.cat([ROWS[:, 1:], torch.full((2, 1), TINY.pad_id)], dim=1)
    return SimpleNamespace(logits=20.0 * F.one_hot(following[:, : tokens.shape[1]], TINY.vocab_size))


def recorder(seen: list[Tensor]) -> Any:
    """Notes what it reads, and says something different at each place."""

    def model(features: Tensor, lengths: Tensor, tokens: Tensor) -> SimpleNamespace:
        seen.append(tokens)
        size = (*tokens.shape, TINY.vocab_size)
        return SimpleNamespace(logits=torch.randn(size, generator=torch.Generator().manual_seed(1)))

    return model


@pytest.mark.exercise("14.7")
def test_a_decoder_that_copies_is_not_rewarded():
    loss = float(patient("teacher_forcing_shifted").next_token_loss(copier, NO_SOUND, ROWS, TINY.pad_id))
    expect(
        loss > 10,
        "a high loss for a decoder that says again what it has just read",
        f"{loss:.2f} nats per token",
        "whatever it reads, it must be asked for something that it has not read yet, or it learns to copy",
    )


@pytest.mark.exercise("14.7")
def test_a_decoder_that_knows_what_follows_has_no_loss():
    loss = float(patient("teacher_forcing_shifted").next_token_loss(knower, NO_SOUND, ROWS, TINY.pad_id))
    expect(
        loss < 0.01,
        "no loss for a decoder that says A, B, A, EOS after reading SOS, A, B, A",
        f"{loss:.2f} nats per token",
        "the answer at each position is the token that comes after the one read there, and EOS is the last of them",
    )


@pytest.mark.exercise("14.7")
def test_without_the_sound_it_is_lost():
    measures = visit("teacher_forcing_shifted").measures
    heard, deaf = measures["loss with the sound"], measures["loss without the sound"]
    expect(
        heard < 0.1 and deaf > 0.2,
        "a loss below 0.1 with the sound, above 0.2 without: in silence it cannot know which of the sentences is meant",
        f"{heard:.2f} with, {deaf:.2f} without",
        "if the loss stays as good in silence, the decoder has been given the answers and need not listen",
    )


@pytest.mark.exercise("14.7")
def test_it_writes_what_was_said():
    learnt_by_heart(
        "teacher_forcing_shifted",
        "when it writes by itself, there is nothing to copy: it has only the sound and its own letters so far",
    )


# ---------------------------------------------------------------------------------------------------- 14.8
class Scales(torch.nn.Module):
    """A model whose output says in which mode it was asked: blank is sure in evaluation mode, a guess in training."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_in: list[bool] = []
        self.part = torch.nn.Dropout(0.5)

    def forward(self, features: Tensor, lengths: Tensor, tokens: Tensor) -> SimpleNamespace:
        self.asked_in.append(self.training or self.part.training)
        logits = torch.ones(2, 4, TINY.vocab_size)
        logits[..., A] = 2.0 if self.asked_in[-1] else 5.0
        mask = torch.ones(2, 4, dtype=torch.bool)
        return SimpleNamespace(ctc_log_probs=logits.log_softmax(-1), encoder_mask=mask)


SAID = SimpleNamespace(
    features=None,
    feature_lengths=None,
    tokens_in=None,
    targets=torch.full((2, 1), A),
    target_lengths=torch.ones(2).long(),
)


@pytest.mark.exercise("14.8")
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_measured_in_evaluation_mode_and_given_back_as_it_was(training):
    model = Scales().train(training)
    patient("eval_mode_not_restored").validate(model, SAID, TINY.blank_id)
    modes = {True: "training mode", False: "evaluation mode"}
    expect(
        model.asked_in == [False],
        "a dev loss measured in evaluation mode",
        "measured in training mode",
        "dropout would make the figure too high, and another one each time",
    )
    expect(
        model.training == training and model.part.training == training,
        f"a model that was in {modes[training]} is in {modes[training]} again",
        f"it is in {modes[model.training]}",
        "the training must go on with dropout" if training else "whoever uses a finished model must not get dropout",
    )


@pytest.mark.exercise("14.8")
def test_every_step_is_made_with_dropout():
    share = visit("eval_mode_not_restored").measures["share of steps made in training mode"]
    expect(
        share == 1,
        "100 % of the steps in training mode",
        f"{100 * share:.0f} %",
        "the first validation comes after 20 of 100 steps: after it the model must be as it was",
    )


@pytest.mark.exercise("14.8")
def test_the_dev_loss_is_a_figure_of_the_finished_model():
    measures = visit("eval_mode_not_restored").measures
    differ = measures["two validations of the finished model differ by"]
    expect(differ == 0, "the same figure twice for the same weights", f"{differ:.3f} apart", "nothing is drawn by lot")


@pytest.mark.exercise("14.8")
def test_training_and_dev_loss_stay_together():
    measures = visit("eval_mode_not_restored").measures
    training, dev = measures["training loss at the end"], measures["dev loss at the end"]
    expect(
        training > 0.05 and dev < 0.5,
        "a training loss above 0.05, for dropout makes it hard, and a dev loss below 0.5",
        f"{training:.3f} and {dev:.2f}",
        "without dropout 16 utterances are learnt by heart: the training loss goes to zero, and dev gets worse",
    )


# ---------------------------------------------------------------------------------------------------- 14.9
def shifted_lm(shift: float, vocab: int = 5) -> Any:
    """A language model whose logits all lie ``shift`` higher than they need."""

    def lm(prefixes: Tensor) -> Tensor:
        table = torch.randn(vocab, vocab, generator=torch.Generator().manual_seed(2))
        return 3 * table[prefixes] + shift

    return lm


SOME_PREFIXES = torch.tensor([[1, 3, 0], [1, 2, 4]])


@pytest.mark.exercise("14.9")
def test_probabilities_of_the_next_token_add_up_to_one():
    got = patient("lm_raw_logits").lm_scores(shifted_lm(0.0), SOME_PREFIXES)
    expect(tuple(got.shape) == (2, 5), "scores (n, vocab) of the token after each prefix", tuple(got.shape), "")
    sums = got.exp().sum(dim=-1)
    expect(
        torch.allclose(sums, torch.ones(2), atol=1e-4),
        "exp(scores) adds up to 1 over the vocabulary, for each prefix",
        ", ".join(f"{total:.4g}" for total in sums.tolist()),
        "the recogniser's scores are logarithms of probabilities: only such can be added to them",
    )


@pytest.mark.exercise("14.9")
def test_the_level_of_the_logits_does_not_matter():
    scores = [patient("lm_raw_logits").lm_scores(shifted_lm(shift), SOME_PREFIXES) for shift in (0.0, 7.0)]
    difference = float((scores[0] - scores[1]).abs().max())
    expect(
        difference < 1e-3,
        "the same scores for logits that are all 7 higher",
        f"they differ by {difference:.3g}",
        "a softmax cannot see the level of its logits; in a search it would be a reward for each token",
    )


@pytest.mark.exercise("14.9")
def test_the_unlikely_stays_unlikely():
    scores = patient("lm_raw_logits").lm_scores(shifted_lm(0.0), SOME_PREFIXES)
    logits = shifted_lm(0.0)(SOME_PREFIXES)[:, -1]
    spread, wanted = (float(values[0].max() - values[0].min()) for values in (scores, logits))
    expect(
        abs(spread - wanted) < 1e-3,
        f"{wanted:.2f} nats between the likeliest and the unlikeliest token, as between their logits",
        f"{spread:.2f}",
        "that is what the language model knows: squeezed together, it has no say",
    )


@pytest.mark.exercise("14.9")
def test_the_language_model_helps():
    measures = visit("lm_raw_logits").measures
    alone, together = (measures[f"character errors {name}"] for name in ("without the language model", "with it"))
    example = shown(visit("lm_raw_logits").transcripts)
    expect(
        together < 0.5 * alone,
        "less than half of the errors with the language model",
        f"{100 * alone:.0f} % without it, {100 * together:.0f} % with it, such as {example}",
        "it has read all the words that are said here",
    )


# ---------------------------------------------------------------------------------------------------- 14.10
@cache
def hidden_by(share: float, count: int, times: int = 150) -> tuple[Tensor, Tensor]:
    """Which frames of 40, and of 10 and their padding, were hidden in each of many runs (times, 2, 40); and how often
    padding was."""
    lengths, frames = [40, 10], 40
    features = torch.zeros(len(lengths), frames, 2)
    for row, length in enumerate(lengths):
        features[row, :length] = 9.0
    torch.manual_seed(0)
    function = patient("specaugment_in_padding").hide_stretches
    found = [function(features.clone(), torch.tensor(lengths), share, count) for _ in range(times)]
    touched = torch.stack([(result != features).any(dim=2) for result in found])
    padding = torch.arange(frames) >= torch.tensor(lengths)[:, None]
    return touched, (touched & padding).any(dim=2).float().mean(dim=0)


@pytest.mark.exercise("14.10")
def test_padding_stays_zero():
    share = float(hidden_by(0.2, 1)[1][1])
    expect(
        share == 0,
        "nothing is ever written behind the end of an utterance",
        f"in {100 * share:.0f} % of the runs something was, in an utterance of 10 frames beside one of 40",
        "a convolution hears what lies behind the end; and a mask there hides nothing",
    )


@pytest.mark.exercise("14.10")
def test_a_stretch_is_a_share_of_the_utterance_itself():
    touched, _ = hidden_by(0.2, 1)
    widest = touched.sum(dim=2).amax(dim=0).tolist()
    expect(
        widest == [8, 2],
        "with a share of 0.2, at most 8 of 40 frames and 2 of 10",
        f"{widest[0]} and {widest[1]}",
        "measured by the longest utterance of a batch, a stretch covers the short ones from end to end; and which "
        "utterances meet in a batch is chance",
    )


@pytest.mark.exercise("14.10")
def test_every_utterance_has_its_share_hidden_everywhere():
    often = hidden_by(0.2, 1)[0].float().mean(dim=0)
    inner = [float(often[0, 4:36].min()), float(often[1, 1:9].min())]
    expect(
        min(inner) > 0.01,
        "each frame is hidden sometimes, in the long utterance and in the short one",
        f"the least hidden frame within them in {100 * inner[0]:.0f} % and {100 * inner[1]:.0f} % of the runs",
        "what is never hidden is not augmented: padding is no reason to leave an utterance out",
    )


@pytest.mark.exercise("14.10")
def test_short_and_long_utterances_are_learnt():
    measures = visit("specaugment_in_padding").measures
    short, long = (measures[f"loss of {name} utterances at the end"] for name in ("short", "long"))
    expect(
        0.1 < short < 0.6,
        "a training loss of short utterances between 0.1 and 0.6: masks make it hard, not impossible",
        f"{short:.2f}, that of long ones {long:.2f}",
        "what is hidden from end to end cannot be learnt, and what is never hidden is learnt by heart",
    )


# ---------------------------------------------------------------------------------------------------- 14.11
class Notebook:
    """A schedule that writes down what it is asked; its rate is one hundredth of the step's number plus one."""

    total_steps = 6

    def __init__(self) -> None:
        self.config = SimpleNamespace(warmup_steps=2)
        self.asked: list[int] = []

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        self.asked.append(step)
        for group in optimizer.param_groups:
            group["lr"] = (step + 1) / 100


def walk(batches: int = 12, accumulate: int = 2) -> tuple[list[float], list[float], list[float], list[int]]:
    """Losses, rates, the value of a weight that every batch pulls down by 1 after each step, and what was asked."""
    weight = torch.nn.Parameter(torch.zeros(()))
    optimizer, schedule, values = torch.optim.SGD([{"params": [weight], "lr": 1.0, "peak_lr": 1.0}]), Notebook(), []
    optimizer.register_step_post_hook(lambda *_: values.append(weight.item()))
    train = patient("scheduler_counts_batches").train
    losses, rates = train(lambda batch: batch * weight, [torch.ones(())] * batches, optimizer, schedule, accumulate)
    return losses, rates, values, schedule.asked


@pytest.mark.exercise("14.11")
def test_the_schedule_counts_optimiser_steps():
    _, rates, values, _ = walk()
    moved = [round(before - after, 6) for before, after in zip([0.0, *values], values, strict=False)]
    wanted = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06]
    expect(
        moved == wanted,
        "twelve batches, two for each step: six steps with the rates that the schedule has for steps 0 to 5, "
        + ", ".join(map(str, wanted)),
        ", ".join(map(str, moved)),
        "a schedule is made for optimiser steps; the gradient is that of the mean, and the rate is not to be divided",
    )
    expect(
        [round(rate, 6) for rate in rates] == wanted,
        "the rates that are given back are those that the steps were made with",
        ", ".join(f"{rate:.3g}" for rate in rates),
        "a curve of the learning rate is to be believed",
    )


@pytest.mark.exercise("14.11")
def test_the_rate_rises_for_ten_steps_and_falls_to_the_end():
    measures = visit("scheduler_counts_batches").measures
    peak, middle = measures["step with the highest rate"], measures["rate in the middle, share of the peak"]
    expect(
        peak == 10 and abs(middle - 0.75) < 0.01,
        "the peak at step 10, the last of the warm-up, and 75 % of it in the middle of the training",
        f"the peak at step {peak:.0f}, {100 * middle:.0f} % in the middle",
        "that is a cosine schedule of 40 steps with 10 of warm-up",
    )


@pytest.mark.exercise("14.11")
def test_it_learns_to_the_end():
    found = visit("scheduler_counts_batches")
    expect(
        found.cer < 0.15,
        "character errors below 15 % on the dev set",
        f"{100 * found.cer:.0f} %; in the second half of the training the loss fell by "
        f"{found.measures['fall of the loss in the second half']:.2f}",
        "40 steps are enough where each of them moves the weights",
    )


# ---------------------------------------------------------------------------------------------------- 14.12
@cache
def tones(rate: int, *frequencies: int) -> str:
    """A recording of half a second in which tones sound together; 32-bit floats, so that nothing is rounded away."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    time = np.arange(rate // 2) / rate
    path = folder / f"{rate}.wav"
    soundfile.write(path, sum(0.1 * np.sin(2 * np.pi * f * time) for f in frequencies), rate, subtype="FLOAT")
    return str(path)


def strongest(samples: np.ndarray) -> float:
    """Frequency in hertz of the strongest tone, samples taken at 16 kHz."""
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(power.argmax() * 16_000 / len(samples))


@pytest.mark.exercise("14.12")
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_half_a_second_has_8000_samples_and_sounds_as_high_as_it_was(rate):
    got = np.asarray(patient("sample_rate_ignored").load(copied(tones(rate, 500))))
    expect(
        abs(len(got) - 8_000) <= 2,
        f"8000 samples for half a second recorded at {rate} Hz",
        f"{len(got)}",
        "frames of 10 ms are cut by counting samples at 16 kHz: other numbers are other durations",
    )
    expect(
        abs(strongest(got) - 500) < 5,
        f"a tone of 500 Hz, recorded at {rate} Hz, is a tone of 500 Hz",
        f"{strongest(got):.0f} Hz",
        "mel filters are made for 16 kHz: at another rate every sound is in the wrong band",
    )


@pytest.mark.exercise("14.12")
def test_what_is_too_high_for_16_khz_is_taken_away():
    got = np.asarray(patient("sample_rate_ignored").load(copied(tones(48_000, 500, 15_000)))).astype(np.float64)
    time = np.arange(len(got)) / 16_000
    level = abs(np.exp(-2j * np.pi * 1_000 * time) @ got) * 2 / len(got)
    expect(
        level < 0.005,
        "nothing at 1000 Hz in a recording of tones of 500 and 15000 Hz",
        f"a tone of 1000 Hz, as loud as {100 * level / 0.1:.0f} % of that of 15000 Hz",
        "frequencies above 8 kHz do not fit into 16000 samples a second: unless they are filtered out first, they "
        "come back as others",
    )


@pytest.mark.exercise("14.12")
def test_the_sentences_are_recognised_from_every_recording():
    learnt_by_heart(
        "sample_rate_ignored", "the same sentences at 16, 44.1 and 48 kHz: what is said does not depend on the machine"
    )


def copied(path: str) -> Path:
    """A copy, for an answer may write into the file that it is given."""
    return Path(shutil.copy(path, Path(path).with_name("copy.wav")))


# ---------------------------------------------------------------------------------------------------- probes
def probe_teacher_forcing(module: ModuleType) -> Iterator[Any]:
    for model in (copier, knower):
        yield module.next_token_loss(model, NO_SOUND, ROWS, TINY.pad_id)
    seen: list[Tensor] = []
    module.next_token_loss(recorder(seen), NO_SOUND, ROWS[:1, :4], TINY.pad_id)
    yield seen[0].shape[1]


def probe_eval_mode(module: ModuleType) -> Iterator[Any]:
    for training in (True, False):
        model = Scales().train(training)
        yield module.validate(model, SAID, TINY.blank_id)
        yield str((model.training, model.part.training, model.asked_in))


def probe_lm_scores(module: ModuleType) -> Iterator[Any]:
    for shift in (0.0, 7.0):
        yield module.lm_scores(shifted_lm(shift), SOME_PREFIXES)


def probe_hide_stretches(module: ModuleType) -> Iterator[Any]:
    lengths = torch.tensor([40, 10])
    features = torch.ones(2, 40, 1) * padding_mask(lengths)[..., None]
    torch.manual_seed(0)
    touched = torch.stack([module.hide_stretches(features, lengths, 0.2, 1) != features for _ in range(100)])[..., 0]
    yield touched[:, 1, 10:].any()
    yield touched[:, 1, :10].sum(dim=1).amax().clamp(max=9)


def probe_train(module: ModuleType) -> Iterator[Any]:
    weight = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([{"params": [weight], "lr": 1.0, "peak_lr": 1.0}])
    schedule = Schedule(ScheduleConfig(kind="linear", warmup_steps=2, final=0.0), 6)
    losses, rates = module.train(lambda batch: batch * weight, [torch.ones(())] * 12, optimizer, schedule, 2)
    yield rates
    yield losses


def probe_load(module: ModuleType) -> Iterator[Any]:
    for rate in (16_000, 48_000):
        path = copied(tones(rate, 500, 15_000) if rate > 40_000 else tones(rate, 500))
        samples = np.asarray(module.load(path))
        yield len(samples)
        yield np.abs(samples[:4_000:7]).round(3)
        yield soundfile.info(path).samplerate


PROBES = {
    "14.7": probe_teacher_forcing,
    "14.8": probe_eval_mode,
    "14.9": probe_lm_scores,
    "14.10": probe_hide_stretches,
    "14.11": probe_train,
    "14.12": probe_load,
}
