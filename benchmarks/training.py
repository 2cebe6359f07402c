"""Training throughput and memory of a configuration, and what the time goes into.

    python benchmarks/training.py --config tinyspeech --json data/results/training_tinyspeech.json
    python benchmarks/training.py --config librispeech_100h --synthetic --steps 50 [--section.key=value ...]

Takes the configuration's own corpus or, with ``--synthetic``, noise as long as the utterances of train-clean-100 with
random text, for which nothing has to be downloaded. Steps are those of the training loop, data preparation included;
the operators are profiled afterwards, on steps that are not timed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from asr_tutorial.config import Config, load_config
from asr_tutorial.dataset import Batch, BucketBatchSampler, Example, collate
from asr_tutorial.errors import UserError
from asr_tutorial.model import SpeechTransformer, build_model, count_parameters
from asr_tutorial.tokenizer import Tokenizer, train_tokenizer
from asr_tutorial.training.run import environment
from asr_tutorial.training.setup import prepare
from asr_tutorial.training.step import RunningMeans, Stepper

UTTERANCES = 28_539
"""As many as train-clean-100 has: with fewer, batches would hold more padding."""
WORDS_PER_SECOND = 2.7
"""Of LibriSpeech's transcripts."""
PROFILED_STEPS = 2
OPERATORS = 12
MEGABYTE = 1e6


class SyntheticSpeech:
    """Batches of noise with random text, cut by the sampler that cuts real speech.

    Lengths follow a beta distribution between 2 and 17 s with mean 12.7 s and standard deviation 3.6 s, the figures of
    train-clean-100; the features are stretches of one array of noise, since drawing them anew would be timed too.

    Attributes:
        tokenizer: learnt from the random text.
        lengths: frames of each utterance.
    """

    def __init__(self, config: Config, utterances: int = UTTERANCES, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.config = config
        self.frames_per_second = 1000 / config.features.frame_shift_ms
        self.lengths = ((2 + 15 * rng.beta(1.82, 0.73, size=utterances)) * self.frames_per_second).astype(int)
        # Words of 2 to 7 letters, common and rare ones as in a language (Zipf's law).
        self.words = ["".join(rng.choice(list("ETAOINSHRDLUCMFWGYPBVK"), rng.integers(2, 8))) for _ in range(2000)]
        self.weights = 1 / np.arange(2, len(self.words) + 2)
        self.weights /= self.weights.sum()
        self.tokenizer = train_tokenizer(config.tokenizer, [self._text(rng, 15) for _ in range(1000)])
        longest = int(self.lengths.max())
        self.noise = torch.from_numpy(rng.standard_normal((longest, config.features.n_mels), dtype=np.float32))

    def _text(self, rng: np.random.Generator, seconds: float) -> str:
        words = rng.choice(self.words, size=max(1, int(seconds * WORDS_PER_SECOND)), p=self.weights)
        return " ".join(words)

    def batches(self, epoch: int = 0) -> Iterator[Batch]:
        """The batches of an epoch."""
        data = self.config.data
        batch_frames = int(data.batch_seconds * self.frames_per_second)
        sampler = BucketBatchSampler(self.lengths, batch_frames, data.frame_multiple)
        sampler.set_epoch(epoch)
        for plan in sampler.plans():
            examples = [self._example(index) for index in plan.indices]
            yield collate(examples, self.tokenizer, data.frame_multiple, data.length_multiple, plan.frames)

    def _example(self, index: int) -> Example:
        frames = int(self.lengths[index])
        text = self._text(np.random.default_rng(index), frames / self.frames_per_second)
        return Example(str(index), text, self.noise[:frames], self.tokenizer.encode(text))


def activation_bytes(config: Config, vocab_size: int, tokens_per_second: float, fused: bool = True) -> float:
    """What autograd keeps for the backward pass of one second of audio, under bf16 autocast.

    Each term counts the tensors that an operator saves, in bytes per position: 2 for bf16, 4 for the residual stream
    and the normalisations, which stay fp32, 1 for a dropout mask. Not counted: what the backward pass itself needs for
    a moment, and the allocator's slack; a tenth to a fifth on top is usual.

    Args:
        config: ``model`` and ``features`` are used; the front end is taken to be ``conv``.
        vocab_size: number of tokens.
        tokens_per_second: tokens of a transcript per second of audio, padding included.
        fused: attention keeps no weights (a GPU); else those of utterances of 14 s, in bf16 (our CPU path).
    """
    model = config.model
    d, ff = model.d_model, model.d_ff
    # A norm keeps its input; each projection behind it makes a bf16 copy of the norm's fp32 output, and keeps that.
    attention = 4 * d + 3 * 2 * d + 3 * 2 * d + 2 * d + d  # norm, copies, queries keys values, context, mask
    cross_attention = 4 * d + 2 * d + 2 * d + 2 * d + d  # norm, copy, queries, context, mask
    cross_keys = 2 * 2 * d + 2 * 2 * d  # copies of the encoder's output, keys and values: per encoder frame
    feed_forward = 4 * d + 2 * d + 2 * ff + ff + 2 * ff + d  # norm, copy, ReLU, its mask, what is left, mask
    convolution = 4 * d + 2 * d + 4 * d + 2 * d + 4 * d + 4 * d + 2 * d + d if model.conv_kernel else 0
    # ... norm, copy, both halves of the gate, what it lets through, norm, SiLU, copy, mask

    mel_frames = 1000 / config.features.frame_shift_ms
    frames = mel_frames / model.subsampling_factor
    weights = 0 if fused else 2 * model.num_heads * 14 * frames
    encoder = frames * model.encoder_layers * (attention + weights + convolution + feed_forward)
    decoder = model.decoder_layers * (
        tokens_per_second * (attention + cross_attention + feed_forward) + frames * cross_keys
    )
    # The last norms and the two softmaxes; a CTC lattice has a state for each token and each blank around it.
    heads = (frames + tokens_per_second) * (6 * d + 4 * vocab_size) + frames * 4 * 2 * 14 * tokens_per_second
    # Each convolution halves both axes; its output is kept after ReLU and mask, and the last one's once more, in the
    # order in which the projection reads it.
    front_end = 2 * mel_frames * config.features.n_mels
    positions = mel_frames * config.features.n_mels
    for _ in range(model.subsampling_factor.bit_length() - 1):
        positions /= 4
        front_end += 2 * positions * model.subsampling_channels
    front_end += 2 * positions * model.subsampling_channels
    return encoder + decoder + heads + front_end


def memory_estimate(
    config: Config, model: SpeechTransformer, vocab_size: int, tokens: float, fused: bool
) -> dict[str, int]:
    """Bytes that a training step needs, by what they are for; ``tokens`` is per second of audio."""
    parameters = count_parameters(model)
    per_second = activation_bytes(config, vocab_size, tokens, fused)
    parts = {
        "weights": 4 * parameters,
        "gradients": 4 * parameters,
        "adam_moments": 8 * parameters,
        "ema": 4 * parameters if config.training.ema_decay else 0,
        "bf16_weights": 2 * parameters,  # autocast's copies, kept for the backward pass
        "activations": round(per_second * config.data.batch_seconds),
    }
    return {**parts, "total": sum(parts.values()), "activations_per_audio_second": round(per_second)}


def peak_memory(device: torch.device) -> int:
    """Most bytes held so far: by tensors on a GPU, by the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # Windows has none

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts bytes, Linux kilobytes


def operator_table(stepper: Stepper, steps: list[list[Batch]], first_step: int) -> list[dict[str, Any]]:
    """The operators that take most of the time of a step, the time of those that they call not counted."""
    on_gpu = stepper.device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with profile(activities=activities) as profiler:
        for number, batches in enumerate(steps, start=first_step):
            stepper.step(batches, number)
    # On a GPU a kernel's time is counted for the operator that launched it; the kernels' own rows would count it twice.
    rows = [row for row in profiler.key_averages() if row.device_type == torch.autograd.DeviceType.CPU]
    times = [row.self_device_time_total if on_gpu else row.self_cpu_time_total for row in rows]
    total = sum(times)
    largest = sorted(zip(times, rows, strict=True), key=lambda pair: -pair[0])[:OPERATORS]
    return [
        {"operator": row.key, "share": round(spent / total, 4), "calls_per_step": row.count / len(steps)}
        for spent, row in largest
    ]


def measure(config: Config, synthetic: bool, steps: int, warmup: int, utterances: int = UTTERANCES) -> dict[str, Any]:
    """Take ``warmup`` steps, time ``steps`` more, and profile two after them."""
    tokenizer: Tokenizer
    if synthetic:
        speech = SyntheticSpeech(config, utterances)
        torch.manual_seed(config.training.seed)
        tokenizer, epoch_batches = speech.tokenizer, speech.batches
        model = build_model(config, tokenizer.vocab_size)
    else:
        data, model = prepare(config)
        tokenizer, epoch_batches = data.tokenizer, data.train.batches
    total = warmup + steps + PROFILED_STEPS
    stepper = Stepper(config, tokenizer, model, total)
    endless = chain.from_iterable(map(epoch_batches, count()))
    groups = iter(lambda: list(islice(endless, config.training.accumulate)), [])

    means, durations, tokens = RunningMeans(), [], 0
    started = time.perf_counter()
    for number, batches in enumerate(islice(groups, warmup + steps)):
        result = stepper.step(batches, number)
        if stepper.device.type == "cuda":
            torch.cuda.synchronize(stepper.device)
        elapsed = time.perf_counter() - started
        if number >= warmup:
            means.add(result, batches, elapsed, config.features.frame_shift_ms / 1000)
            durations.append(elapsed)
            tokens += sum(batch.tokens_in.numel() for batch in batches)
        started = time.perf_counter()
    peak = peak_memory(stepper.device)
    figures = means.means()
    on_gpu = stepper.device.type == "cuda"
    estimate = memory_estimate(config, model, tokenizer.vocab_size, tokens / means.padded_seconds, fused=on_gpu)
    return {
        "config": config.name,
        "data": "synthetic" if synthetic else config.data.train,
        "device": str(stepper.device),
        "precision": stepper.precision,
        "parameters": count_parameters(model),
        "batch_seconds": config.data.batch_seconds,
        "accumulate": config.training.accumulate,
        "steps": steps,
        "warmup_steps": warmup,
        "audio_seconds_per_second": round(figures["audio_seconds_per_second"], 1),
        "seconds_per_step": {
            "median": round(statistics.median(durations), 4),
            "min": round(min(durations), 4),
            "max": round(max(durations), 4),
        },
        "padding": round(figures["padding"], 4),
        "tokens_per_second": round(tokens / means.padded_seconds, 2),
        "last_loss": round(result.loss, 4),
        "peak_memory": peak,
        "memory_estimate": estimate,
        "operators": operator_table(stepper, list(islice(groups, PROFILED_STEPS)), warmup + steps),
    }


def report(record: dict[str, Any]) -> str:
    """The record as text."""
    step, memory = record["seconds_per_step"], record["memory_estimate"]
    lines = [
        f"{record['config']}: {record['parameters'] / 1e6:.2f}M parameters, {record['precision']} on "
        f"{record['device']}, batches of {record['batch_seconds']:g} s x {record['accumulate']}, "
        f"{record['steps']} steps after {record['warmup_steps']}",
        f"real audio per second   {record['audio_seconds_per_second']:10.1f} s",
        f"a step, median          {1000 * step['median']:10.1f} ms "
        f"({1000 * step['min']:.1f} to {1000 * step['max']:.1f})",
        f"padding                 {100 * record['padding']:10.1f} %",
        f"peak memory             {record['peak_memory'] / MEGABYTE:10.0f} MB",
        f"estimated for bf16      {memory['total'] / MEGABYTE:10.0f} MB",
    ]
    lines += [f"  {name:<22}{size / MEGABYTE:10.1f} MB" for name, size in memory.items() if name != "total"]
    lines.append(f"{'operator':<52}{'share':>8}{'calls a step':>14}")
    for row in record["operators"]:
        lines.append(f"{row['operator'][:51]:<52}{100 * row['share']:>7.1f}%{row['calls_per_step']:>14g}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="tinyspeech", help="a configuration of the package, or a YAML file")
    parser.add_argument("--steps", type=int, default=30, help="timed steps")
    parser.add_argument("--warmup", type=int, default=10, help="steps before them, which build kernels")
    parser.add_argument("--synthetic", action="store_true", help="noise as long as train-clean-100's utterances")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options, overrides = parser.parse_known_args(arguments)
    if options.steps < 1 or options.warmup < 0:
        parser.error("--steps must be at least 1 and --warmup at least 0")
    try:
        record = measure(load_config(options.config, overrides), options.synthetic, options.steps, options.warmup)
    except UserError as error:
        parser.error(str(error))
    print(report(record))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "environment": environment(torch.device(record["device"])),
            **record,
        }
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
