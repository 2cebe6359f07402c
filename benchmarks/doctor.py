"""Whether `asr-tutorial doctor` finds planted bugs in fresh runs, and keeps quiet on healthy ones.

    python benchmarks/doctor.py [--only NAME ...]

Each bug of chapter 14 is planted in the library, as a learner's answer (ASR_TUTORIAL_CODE=mine) where an exercise holds
the place, otherwise by putting another function in the place of ours. Under it a small model is trained on TinySpeech
by the ordinary command, and then, in another process with the same bug, the doctor examines the run. So it does with
healthy runs of four architectures, one of them with answers to all exercises that were written without looking at ours,
and with the recorded checkpoint. Written to data/results/doctor.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import ROOT

STEPS = 40
SMALL = [
    "--model.d_model=48", "--model.num_heads=4", "--model.d_ff=96", "--model.encoder_layers=2",
    "--model.subsampling_channels=8", "--data.test=[]", "--data.batch_seconds=10", f"--training.max_steps={STEPS}",
    "--training.validate_every=20", "--training.log_every=10", "--training.schedule.warmup_steps=20",
    "--training.device=cpu", "--training.precision=fp32",
]  # fmt: skip
JOINT = ["--model.decoder_layers=1", "--training.validation_search=ctc"]
UTTERANCES = {"train": 80, "dev": 8}
"""Of TinySpeech that are used, so that a training takes half a minute."""
AT_ONCE = 2
"""Processes beside each other."""


@dataclass(frozen=True)
class Plant:
    """A bug: answers to exercises, functions in the place of ours, and settings under which it shows."""

    cells: Mapping[str, str] = field(default_factory=dict)
    patch: Callable[[], None] | None = None
    overrides: tuple[str, ...] = ()
    rate: int = 16_000
    """Sample rate of the corpus; TinySpeech's own is 16,000."""


def replace_everywhere(old: Any, new: Any) -> None:
    """Put a function in the place of another in each module of the library that has imported it."""
    for name, module in list(sys.modules.items()):
        if name.startswith("asr_tutorial"):
            for attribute, value in list(vars(module).items()):
                if value is old:
                    setattr(module, attribute, new)


def unchecked() -> None:
    """Without the checks before the first step, which a script of one's own does not have."""
    from asr_tutorial.training import setup

    setup._check = lambda config, data: None


def wrong_blank() -> None:
    from asr_tutorial.training import loss

    def build_criterion(config: Any, tokenizer: Any, model: Any) -> Any:
        return loss.JointLoss(config.ctc_weight, config.label_smoothing, tokenizer.eos_id, tokenizer.pad_id)

    replace_everywhere(loss.build_criterion, build_criterion)


def too_long_for_ctc() -> None:
    """Infinite losses become 0, and nothing is left out."""
    from asr_tutorial.ctc import training_loss
    from asr_tutorial.dataset import SpeechDataset
    from asr_tutorial.training import loss

    def zero_infinity(*arguments: Any) -> Any:
        losses = training_loss(*arguments)
        return losses.masked_fill(losses.isposinf(), 0.0)

    SpeechDataset._unusable = lambda self, utterance, tokens, factor: ""  # type: ignore[method-assign]
    loss.training_loss = zero_infinity


def evaluation_for_ever() -> None:
    from contextlib import contextmanager

    import torch

    from asr_tutorial import modes

    @contextmanager
    def evaluating(model: Any) -> Any:
        model.eval()
        with torch.inference_mode():
            yield

    replace_everywhere(modes.evaluating, evaluating)


def raw_logits() -> None:
    from asr_tutorial.search.scorers import LanguageModelScorer

    LanguageModelScorer.log_probs = lambda self: self.model.extend_tree(self.newest, self.cache).float()  # type: ignore


def any_rate() -> None:
    import soundfile

    from asr_tutorial import audio

    def read_audio(path: Any, sample_rate: int = 16_000) -> Any:
        samples, _ = soundfile.read(path, dtype="float32", always_2d=True)
        return samples.mean(axis=1)

    replace_everywhere(audio.read_audio, read_audio)


TARGETS = """
def shifted_and_golden(sequences, length, tokenizer):
    shifted = [{shifted} for tokens in sequences]
    golden = [{golden} for tokens in sequences]
    return pad_tokens(shifted, length, tokenizer.pad_id), pad_tokens(golden, length, tokenizer.pad_id)
"""
STEP = """
class Stepper:
    def step(self, batches, step):
        self.seed(step)
        {schedule}
        self.model.spec_augment.strength = ramp(step, *self.ramp)
        {mode}
        sizes = Sizes.of(batches, self.ranks)
        sums = self.accumulate(batches, sizes)
        norm, applied = self.update(step)
        loss, ctc, attention, correct = sums.tolist()
        tokens = sizes.attention_tokens
        return StepResult(loss, ctc / sizes.ctc_tokens, attention / tokens, norm, correct / tokens, applied)

    def update(self, step):
        limit = self.config.optimizer.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        applied = bool(torch.isfinite(norm))
        if applied:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if applied and self.ema is not None:
            self.ema.update(self.model, step)
        return float(norm), applied
"""
BY_STEP, BY_BATCH = (
    "self.schedule.apply(self.optimizer, step)",
    "self.seen = getattr(self, 'seen', 0) + len(batches); self.schedule.apply(self.optimizer, self.seen - 1)",
)
PLANTS = {
    "no_eos": Plant({"6.1": TARGETS.format(shifted="[tokenizer.sos_id, *tokens]", golden="tokens")}, unchecked),
    "pad_trained_on": Plant(
        {
            "8.1": """
def label_smoothed_cross_entropy(logits, targets, pad, smoothing=0.0):
    log_probs = logits.float().log_softmax(dim=-1)
    of_target = log_probs.gather(-1, targets[..., None])[..., 0]
    return (-(1 - smoothing) * of_target - smoothing * log_probs.mean(dim=-1)).sum()
"""
        }
    ),
    "wrong_blank": Plant(patch=wrong_blank),
    "ctc_target_too_long": Plant(patch=too_long_for_ctc, overrides=("--model.subsampling_factor=8",)),
    "mask_inverted": Plant(
        {
            "3.3": """
def key_mask(padding):
    return ~padding[:, None, :]


def combine_masks(padding, causal):
    return key_mask(padding) & causal[None]
"""
        }
    ),
    "lengths_not_subsampled": Plant(
        {
            "5.1": """
def halve(lengths):
    return (lengths + 1) // 2


class ConvSubsampling:
    def forward(self, features, lengths):
        x = features[:, None]
        for conv in self.convs:
            x = F.relu(conv(x))
        x = self.out(x.transpose(1, 2).flatten(2))
        return x, lengths.clamp(max=x.shape[1])
"""
        }
    ),
    "teacher_forcing_shifted": Plant(
        {
            "6.1": TARGETS.format(
                shifted="[tokenizer.sos_id, *tokens[1:], tokenizer.eos_id]", golden="[*tokens, tokenizer.eos_id]"
            )
        }
    ),
    "eval_mode_not_restored": Plant({"8.5": STEP.format(schedule=BY_STEP, mode="pass")}, evaluation_for_ever),
    "lm_raw_logits": Plant(patch=raw_logits),
    "specaugment_in_padding": Plant(
        {
            "8.7": """
def random_stretches(extents, max_widths, count, size):
    draws = torch.rand(2, extents.shape[0], count, device=extents.device)
    widths = (draws[0] * (max_widths.floor()[:, None] + 1)).floor()
    starts = (draws[1] * (extents[:, None] - widths + 1)).floor()
    positions = torch.arange(size, device=extents.device)
    return ((positions >= starts[..., None]) & (positions < (starts + widths)[..., None])).any(dim=1)


class SpecAugment:
    def forward(self, features, lengths):
        if not self.training:
            return features
        batch, frames, mels = features.shape
        bins, all_frames = torch.full((batch,), mels), torch.full((batch,), frames)
        bands = random_stretches(
            bins, (self._strength * min(self.config.freq_width, mels)).expand(batch), self.config.freq_masks, mels
        )
        stretches = random_stretches(
            all_frames, self._strength * self.config.time_width * all_frames, self.config.time_masks, frames
        )
        return features.masked_fill(bands[:, None] | stretches[..., None], 0.0)
"""
        }
    ),
    "scheduler_counts_batches": Plant(
        {"8.5": STEP.format(schedule=BY_BATCH, mode="self.model.train()")}, overrides=("--training.accumulate=2",)
    ),
    "sample_rate_ignored": Plant(patch=any_rate, rate=8000),
}
HEALTHY = {
    "transformer": ["--config", "tinyspeech", *SMALL, *JOINT],
    "ctc_alone": [
        "--config", "tinyspeech", *SMALL, "--model.decoder_layers=0", "--training.ctc_weight=1.0",
        "--training.validation_search=ctc", "--training.accumulate=2",
    ],
    "paraformer": ["--config", "paraformer_tiny", *SMALL, "--model.decoder_layers=1"],
    "lact": ["--config", "lact_tiny", *SMALL, *JOINT],
    "answers_of_a_learner": ["--config", "tinyspeech", *SMALL, *JOINT],
}  # fmt: skip


CHECKPOINT = "recorded_checkpoint"


def asr_tutorial(folder: Path, plant: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, with a bug planted before it begins; ``""``: none."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ASR_TUTORIAL_")}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {
        **kept,
        "PYTHONPATH": path,
        "ASR_TUTORIAL_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    command = [sys.executable, __file__, "--sick", plant, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def workspace(folder: Path, cells: Mapping[str, str]) -> dict[str, str]:
    """A learner's folder with these answers, and the variables that switch it on; none for no answers."""
    if not cells:
        return {}
    (folder / "mine").mkdir(parents=True)
    for number, cell in cells.items():
        (folder / "mine" / f"{number}.py").write_text(cell, encoding="utf-8")
    return {"ASR_TUTORIAL_CODE": "mine", "ASR_TUTORIAL_WORKSPACE": str(folder)}


def corpus_at(folder: Path, rate: int) -> list[str]:
    """A part of TinySpeech, at another sample rate if asked for, as settings that name it."""
    import soundfile

    from asr_tutorial.audio import read_audio
    from asr_tutorial.corpus import Corpus, Utterance, read_corpus, write_manifest

    settings = []
    for split, count in UTTERANCES.items():
        utterances = []
        (folder / split).mkdir(parents=True, exist_ok=True)
        for item in read_corpus(f"tinyspeech/{split}").utterances[:count]:
            path = item.audio
            if rate != 16_000:
                path = folder / split / f"{item.id}.flac"
                soundfile.write(path, read_audio(item.audio, rate), rate)
            utterances.append(Utterance(item.id, path, item.text, item.seconds, item.speaker))
        write_manifest(Corpus(folder, utterances), folder / f"{split}.tsv")
        settings.append(f"--data.{split}=[{folder / f'{split}.tsv'}]")
    return settings


def examine(folder: Path, name: str, plant: str, arguments: list[str], cells: Mapping[str, str]) -> dict[str, Any]:
    """Train and examine; the record of it."""
    variables = workspace(folder / f"{name}_workspace", cells)
    run = folder / name
    trained = asr_tutorial(folder, plant, "train", "--run-dir", str(run), *arguments, **variables)
    if trained.returncode:
        raise SystemExit(f"{name}: the training failed\n{trained.stderr[-2000:]}")
    return {"steps": STEPS, **verdict(folder, run, plant, variables)}


def verdict(folder: Path, run: Path, plant: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """What the doctor says of a run."""
    examined = asr_tutorial(folder, plant, "doctor", str(run), "--json", **variables)
    if examined.returncode not in (0, 1):
        raise SystemExit(f"{run}: the doctor failed\n{examined.stderr[-2000:]}")
    report = json.loads(examined.stdout)
    return {
        "exit": examined.returncode,
        "findings": {finding["name"]: finding["seen"] for finding in report["findings"]},
        "passed": len(report["passed"]),
    }


def answers() -> dict[str, str]:
    """An answer to each exercise, by people and machines that had not seen ours."""
    from asr_tutorial.course.manifest import load_course
    from asr_tutorial.course.versions import variants

    exercises = [exercise for chapter in load_course() for exercise in chapter.exercises]
    return {exercise.id: variants(exercise)[0].code for exercise in exercises}


def main() -> None:
    from asr_tutorial.training.run import environment

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="*", default=[], help="names of bugs and healthy runs; the record keeps its others"
    )
    parser.add_argument("--json", type=Path, default=ROOT / "data/results/doctor.json", help="(%(default)s)")
    options = parser.parse_args()
    made = environment()
    made["command"] = f"python benchmarks/{made['command']}"
    sick: dict[str, Any] = {}
    healthy: dict[str, Any] = {}

    def wanted(names: Iterable[str]) -> list[str]:
        return [name for name in names if not options.only or name in options.only]

    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(AT_ONCE) as pool:
        folder = Path(name)
        corpora = {rate: corpus_at(folder / f"corpus_{rate}", rate) for rate in {p.rate for p in PLANTS.values()}}

        def plant(bug: str) -> tuple[str, dict[str, Any]]:
            planted = PLANTS[bug]
            arguments = [*HEALTHY["transformer"], *corpora[planted.rate], *planted.overrides]
            record = examine(folder, bug, bug, arguments, planted.cells)
            how = [*(f"answer to exercise {number}" for number in planted.cells)]
            how += ["another function in the place of ours"] if planted.patch else []
            found = bug in record["findings"]
            print(f"{bug}: {'found' if found else 'MISSED'}, findings {record['findings']}", flush=True)
            return bug, {"planted": ", ".join(how), "found": found, **record}

        def leave(kind: str) -> tuple[str, dict[str, Any]]:
            cells = answers() if kind == "answers_of_a_learner" else {}
            record = examine(folder, kind, "", [*HEALTHY[kind], *corpora[16_000]], cells)
            print(f"{kind}: findings {record['findings']}", flush=True)
            return kind, record

        sick |= pool.map(plant, wanted(PLANTS))
        healthy |= pool.map(leave, wanted(HEALTHY))
        if CHECKPOINT in wanted([CHECKPOINT]):
            healthy[CHECKPOINT] = verdict(folder, ROOT / "data/pretrained/tinyspeech", "", {})
    for each in (*sick.values(), *healthy.values()):
        each["environment"] = made
    if options.only and options.json.is_file():
        before = json.loads(options.json.read_text(encoding="utf-8"))
        sick, healthy = before["planted"] | sick, before["healthy"] | healthy
    found = [bug for bug, record in sick.items() if record["found"]]
    alarms = [kind for kind, record in healthy.items() if record["findings"]]
    print(f"{len(found)} of {len(sick)} bugs found, {len(alarms)} of {len(healthy)} healthy runs with a false alarm")
    record = {
        "settings": HEALTHY["transformer"],
        "found": len(found),
        "missed": [bug for bug in sick if bug not in found],
        "false_alarms": alarms,
        "planted": {bug: sick[bug] for bug in PLANTS if bug in sick},
        "healthy": healthy,
    }
    options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def run_sick(plant: str, arguments: list[str]) -> None:
    """``asr-tutorial ARGUMENTS`` in this process, with a bug planted."""
    from asr_tutorial.cli import main as program

    if plant and (patch := PLANTS[plant].patch) is not None:
        # Whoever imports a function by its name must have done so, to be given another one.
        import asr_tutorial.doctor
        import asr_tutorial.training.loop  # noqa: F401

        patch()
    sys.argv = ["asr-tutorial", *arguments]
    program()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--sick"]:
        run_sick(sys.argv[2], sys.argv[3:])
    else:
        main()
