"""What each part of a recipe is worth: arms of equal compute, each with one thing changed.

    python benchmarks/ablation.py --config mini_librispeech --minutes 15 --lm runs/mini/lm_decoder --out runs/ablation
    python benchmarks/ablation.py --seconds 90 --device cuda ...                        (seconds of a GPU)
    python benchmarks/ablation.py --arms joint progressive ... [--section.key=value ...]

An arm gets as many optimiser steps as fit into the budget: the cost of a step is measured first, of every stage where
the model grows, by processor time on a CPU (which does not count what other programs take) and by the clock on a GPU.
Validation and data preparation are not counted. The learning rate's course, warm-up and masks are laid out over the
steps that an arm has. Afterwards the two best arms run once more with another seed.

Can be stopped: an arm that has its file in OUT/arms is not run again; one that was stopped begins anew. The record and
a table in Markdown are written after each arm. ``--lm`` is needed for the arms that begin as a language model; its size
must be that of the configuration's decoder. Overrides at the end are for all arms.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count, islice, takewhile
from pathlib import Path
from typing import Any

import torch
from common import ROOT, significant

from asr_tutorial.config import Config, StageConfig, load_config
from asr_tutorial.errors import UserError
from asr_tutorial.model import count_parameters
from asr_tutorial.progressive import config_of_stage, plan_stages
from asr_tutorial.recognizer import load
from asr_tutorial.training import train
from asr_tutorial.training.run import environment
from asr_tutorial.training.setup import prepare
from asr_tutorial.training.step import Stepper

NO_MASKS = ["augment.freq_masks=0", "augment.time_masks=0"]
PLAIN = ["augment.speeds=[1.0]", *NO_MASKS]
GROWING = ["progressive.kind=doubling", "progressive.stage_epochs=1"]


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        title: what it is.
        against: the arm that differs from it in one thing.
        settings: overrides; ``{lm}`` is the folder of the language model, ``{encoder_stages}`` stages of one pass in
            which the encoder doubles.
    """

    title: str
    against: str
    settings: Sequence[str]


ARMS: dict[str, Arm] = {
    "ctc": Arm(
        "CTC alone, no augmentation",
        "",
        [*PLAIN, "model.decoder_layers=0", "training.ctc_weight=1.0", "training.validation_search=ctc"],
    ),
    "joint": Arm("CTC and attention", "ctc", PLAIN),
    "speed": Arm("+ speed perturbation", "joint", NO_MASKS),
    "specaugment": Arm("+ SpecAugment", "speed", []),
    "bpe": Arm("300 BPE pieces, not characters", "specaugment", ["tokenizer.kind=bpe", "tokenizer.vocab_size=300"]),
    "lm": Arm("decoder from a language model", "specaugment", ["initialise.decoder={lm}"]),
    "progressive": Arm("progressive: the depth doubles every pass", "specaugment", GROWING),
    # The decoder has all of its layers from the first step, or those of the language model would be lost.
    "both": Arm(
        "both, the encoder alone growing",
        "specaugment",
        ["progressive.kind=stages", "progressive.stages={encoder_stages}", "initialise.decoder={lm}"],
    ),
}  # fmt: skip
"""In the order in which they are run."""
TIMED_STEPS, WARMUP_STEPS = 30, 5
SHARE_OF_WARMUP = 0.1
VALIDATIONS = 4


def clock(device: torch.device) -> float:
    """Seconds that this process has used: of the processor, or of a GPU that nobody else uses."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def settings_of(arm: Arm, lm: str, steps: int, seed: int, encoder_layers: int) -> list[str]:
    """The overrides of an arm that makes so many steps, with an encoder of so many layers."""
    doubling = takewhile(lambda depth: depth < encoder_layers, (2**power for power in count()))
    stages: list[dict[str, int]] = [{"encoder_layers": depth, "epochs": 1} for depth in doubling]
    stages.append({"encoder_layers": encoder_layers})
    return [
        *(setting.replace("{lm}", lm).replace("{encoder_stages}", json.dumps(stages)) for setting in arm.settings),
        f"training.max_steps={steps}",
        f"training.validate_every={max(1, math.ceil(steps / VALIDATIONS))}",
        f"training.schedule.warmup_steps={max(1, round(SHARE_OF_WARMUP * steps))}",
        "training.checkpoint_every=0",
        f"training.seed={seed}",
    ]


def steps_within(budget: float, costs: Sequence[float], stage_steps: Sequence[int]) -> int:
    """Optimiser steps that fit into a budget.

    Args:
        budget: seconds.
        costs: of a step, in seconds, stage by stage.
        stage_steps: steps of all stages but the last, which lasts as long as the budget does.

    Returns:
        At least 1.
    """
    steps, left = 0, budget
    for cost, length in zip(costs, [*stage_steps, None], strict=True):
        fitting = int(left / cost)
        if length is None or fitting <= length:
            return max(1, steps + fitting)
        steps, left = steps + length, left - length * cost
    raise AssertionError("the last stage has no end")


def cost_of_step(config: Config, timed: int = TIMED_STEPS, warmup: int = WARMUP_STEPS) -> tuple[float, int, int]:
    """Seconds of one optimiser step (the median), steps of a pass over the data, and parameters of the model."""
    data, model = prepare(config, progress=False)
    stepper = Stepper(config, data.tokenizer, model, 10_000)
    endless = chain.from_iterable(map(data.train.batches, count()))
    groups = iter(lambda: list(islice(endless, config.training.accumulate)), [])
    spent = []
    for number, batches in enumerate(islice(groups, warmup + timed)):
        started = clock(stepper.device)
        stepper.step(batches, number)
        spent.append(clock(stepper.device) - started)
    per_epoch = math.ceil(len(data.train) / config.training.accumulate)
    return statistics.median(spent[warmup:]), per_epoch, count_parameters(model)


def plan(
    config: Config, budget: float, cost: Callable[[Config], tuple[float, int, int]] = cost_of_step
) -> dict[str, Any]:
    """How many steps an arm makes, and what it is expected to cost.

    Args:
        config: of the arm.
        budget: seconds.
        cost: measures a configuration.
    """
    stages: list[StageConfig | None] = list(plan_stages(config)) or [None]
    measured = [cost(config if stage is None else config_of_stage(config, stage)) for stage in stages]
    costs = [seconds for seconds, _, _ in measured]
    lengths = [stage.epochs * measured[0][1] for stage in stages[:-1] if stage is not None]
    return {
        "steps": steps_within(budget, costs, lengths),
        "seconds_per_step": [significant(value) for value in costs],
        "parameters": measured[-1][2],
    }


@contextmanager
def counted() -> Iterator[list[float]]:
    """Within, the seconds of every optimiser step are added to the list."""
    original, spent = Stepper.step, []

    def step(self: Stepper, *arguments: Any) -> Any:
        started = clock(self.device)
        result = original(self, *arguments)
        spent.append(clock(self.device) - started)
        return result

    Stepper.step = step  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        Stepper.step = original  # type: ignore[method-assign]


def run_arm(
    name: str, config: str, overrides: list[str], lm: str, budget: float, seed: int, out: Path
) -> dict[str, Any]:
    """Train and measure one arm; what came of a former call is read."""
    record = out / "arms" / f"{name}_{seed}.json"
    if record.is_file():
        return json.loads(record.read_text(encoding="utf-8"))
    arm, run = ARMS[name], out / f"{name}_{seed}"
    shutil.rmtree(run, ignore_errors=True)
    layers = load_config(config, overrides).model.encoder_layers
    planned = plan(load_config(config, [*overrides, *settings_of(arm, lm, 1000, seed, layers)]), budget)
    changed = settings_of(arm, lm, planned["steps"], seed, layers)
    settings = load_config(config, [*overrides, *changed, f"name=ablation_{name}"])
    with counted() as spent:
        result = train(settings, run)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    recognizer = load(result.checkpoint, settings.training.device)
    searches = ["ctc"] if settings.model.decoder_layers == 0 else ["ctc", "joint"]
    figures = {}
    for path in settings.data.dev:
        for search in searches:
            found = recognizer.evaluate(_corpus(path, settings), search)  # type: ignore[arg-type]
            figures[f"{Path(path).name} {search}"] = {"wer": significant(found.wer), "cer": significant(found.cer)}
    values = {
        "arm": name,
        "title": arm.title,
        "against": arm.against,
        "seed": seed,
        "settings": [*arm.settings],
        **planned,
        "step_seconds": round(sum(spent), 1),
        "epochs": round(metrics["validations"][-1]["epoch"], 2),
        "train_loss": significant(metrics["validations"][-1]["train"]["loss"]),
        "dev": figures,
        "curve": [
            {"step": v["step"], "cer": significant(next(iter(v["dev"].values()))["cer"])}
            for v in metrics["validations"]
        ],
    }
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return values


def _corpus(path: str, config: Config) -> Any:
    from asr_tutorial.corpus import read_corpus

    return read_corpus(path, root=config.data.root)


def best_figure(row: dict[str, Any], key: str = "cer") -> float:
    """The lowest rate of an arm on its first dev set, over the searches that it has."""
    first = next(iter(row["dev"])).split()[0]
    return min(figures[key] for name, figures in row["dev"].items() if name.split()[0] == first)


def table(rows: list[dict[str, Any]], budget: float) -> str:
    """The rows as a table in Markdown, with the difference to the arm that each is compared with."""
    first = {row["arm"]: row for row in reversed(rows)}
    names = list(dict.fromkeys(name for row in rows for name in row["dev"]))
    lines = [
        f"Budget: {budget / 60:g} minutes of optimiser steps for each arm. WER and CER in per cent; the last column is "
        "the change of the best CER on the first dev set against the arm named. The seconds are those that the steps "
        "took, which were planned before.",
        "",
        "| arm | seed | steps | seconds | passes | "
        + " | ".join(f"{name} WER | CER" for name in names)
        + " | change of CER |",
        "|---|---|---|---|---|" + "---|" * (2 * len(names) + 1),
    ]
    for row in rows:
        cells = []
        for name in names:
            rates = row["dev"].get(name)
            cells.append(f"{100 * rates['wer']:.1f} | {100 * rates['cer']:.1f}" if rates else "| ")
        change = ""
        if row["against"] in first and row["seed"] == first[row["against"]]["seed"]:
            points = 100 * (best_figure(row) - best_figure(first[row["against"]]))
            change = f"{points:+.1f} against {row['against']}"
        spent = f"{row['step_seconds']:.0f}"
        figures = [row["title"], row["seed"], row["steps"], spent, f"{row['epochs']:.1f}", *cells, change]
        lines.append(f"| {' | '.join(map(str, figures))} |")
    return "\n".join(lines) + "\n"


def write(path: Path, rows: list[dict[str, Any]], options: argparse.Namespace, budget: float) -> None:
    """The record, and the table beside it."""
    made = environment(torch.device(options.device) if options.device != "auto" else None)
    record = {
        "environment": {**made, "command": f"python benchmarks/{made['command']}"},
        "config": options.config,
        "budget_seconds": budget,
        "rows": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(table(rows, budget), encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="mini_librispeech", help="what all arms begin with (%(default)s)")
    parser.add_argument("--minutes", type=float, default=15.0, help="of the processor for each arm (%(default)s)")
    parser.add_argument("--seconds", type=float, help="the same in seconds, in its place")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda ... (%(default)s)")
    parser.add_argument("--lm", default="", help="folder of a Transformer language model of the decoder's size")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), help="these alone")
    parser.add_argument("--second-seed", type=int, default=2, help="best arms that run again with another seed")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"), help="where runs go (%(default)s)")
    parser.add_argument("--json", type=Path, default=ROOT / "data" / "results" / "ablation.json", help="(%(default)s)")
    options, overrides = parser.parse_known_args(arguments)
    budget = options.seconds if options.seconds is not None else 60 * options.minutes
    if budget <= 0:
        parser.error("the budget must be above 0")
    needing = [name for name in options.arms if any("{lm}" in setting for setting in ARMS[name].settings)]
    if needing and not options.lm:
        parser.error(f"the arms {', '.join(needing)} need --lm, or leave them out with --arms")
    common = [*overrides, f"training.device={options.device}"]
    rows: list[dict[str, Any]] = []
    try:
        for name in options.arms:
            rows.append(run_arm(name, options.config, common, options.lm, budget, 1, options.out))
            write(options.json, rows, options, budget)
            print(table(rows, budget), flush=True)
        for row in sorted(rows, key=best_figure)[: options.second_seed]:
            rows.append(run_arm(row["arm"], options.config, common, options.lm, budget, 2, options.out))
            write(options.json, rows, options, budget)
    except UserError as error:
        parser.error(str(error))
    print(table(rows, budget))


if __name__ == "__main__":
    main()
