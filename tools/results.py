"""All recorded results on one page: ``python tools/results.py`` writes RESULTS.md from the records in data/results.

Nothing on that page is typed in but the sentences between its tables, and those are here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "data" / "results"
PAGE = ROOT / "RESULTS.md"
HEAD = """# Results

Each figure is recorded in [data/results](data/results), with the command, date, machine and commit that it comes from;
`python tools/results.py` makes this page from the records. WER and CER are error rates of words and characters in
per cent, added up over a corpus; RTF, the real-time factor, is seconds of decoding for one second of sound. Weights of
searches are chosen on the first corpus of a table and used on the others.
"""


def read(name: str) -> dict[str, Any]:
    """A record; empty where it has not been made."""
    path = RESULTS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def table(head: list[str], rows: list[list[Any]]) -> list[str]:
    """A table in Markdown, and an empty line."""
    return [f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows)] + [""]


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def origin(environment: dict[str, Any]) -> str:
    """Where a record comes from, as one sentence."""
    threads = environment["threads"]
    return (
        f"`{environment['command']}`, {environment['date']}, {environment['device']}, "
        f"{threads} thread{'s' if threads != 1 else ''}, torch {environment['torch']}, commit {environment['commit']}."
    )


def recognisers() -> list[str]:
    """Error rates of every recorded run and recipe, by search and corpus."""
    lines = ["## Recognisers", ""]
    for path in sorted(RESULTS.glob("*/evaluation.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        lines += [f"### [{path.parent.name}](data/results/{path.parent.name})", ""]
        corpora = list(dict.fromkeys(row["corpus"] for row in record["figures"]))
        found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
        for row in record["figures"]:
            found.setdefault((row.get("title", ""), row["search"]), {})[row["corpus"]] = row
        titled = any(title for title, _ in found)
        head = [*(["recogniser"] if titled else []), "search"]
        for corpus in corpora:
            head += [f"{corpus} WER", "CER", "RTF"]
        rows = []
        for (title, search), by_corpus in found.items():
            cells: list[str] = []
            for corpus in corpora:
                row = by_corpus.get(corpus)
                cells += [percent(row["wer"]), percent(row["cer"]), f"{row['rtf']:.3f}"] if row else ["", "", ""]
            rows.append([*([title] if titled else []), search, *cells])
        lines += [*table(head, rows), origin(record["environment"]), ""]
        lines += trainings(record) + perplexities(record)
    return lines


def trainings(record: dict[str, Any]) -> list[str]:
    """What the stages of a recipe took."""
    rows = [
        [row["stage"], row["title"], f"{row.get('train_seconds', row['processor_seconds']) / 60:.1f}"]
        for row in record.get("trainings", [])
    ]
    return table(["stage", "what", "minutes"], rows) if rows else []


def perplexities(record: dict[str, Any]) -> list[str]:
    """Language models of a recipe."""
    rows = [
        [
            row["title"],
            row["corpus"],
            f"{row['per_word']:.0f}",
            f"{row['per_known_word']:.0f}",
            f"{100 * row['unknown_share']:.2f}",
        ]
        for row in record.get("perplexities", [])
    ]
    if not rows:
        return []
    head = ["language model", "text", "perplexity per word", "of known words", "unknown words, %"]
    return table(head, rows)


def growing() -> list[str]:
    """The same model grown and from the first step, TinySpeech."""
    record = read("progressive_tinyspeech.json")
    rows = []
    for arm in record.get("arms", []):
        last = arm["points"][-1]
        rows.append([arm["name"], last["step"], f"{last['cpu_seconds']:.0f}", percent(last["cer"])])
    if not rows:
        return []
    about = record["about"]
    lines = ["## Growing against training the whole model, TinySpeech", ""]
    lines += table(["model", "steps", "processor seconds", "dev CER (CTC)"], rows)
    return [*lines, f"{about['what']}; {about['date']}, {about['machine']}, commit {about['commit']}.", ""]


def ablation() -> list[str]:
    """What each part of the recipe is worth, where that has been measured."""
    page = RESULTS / "ablation.md"
    if not page.is_file():
        return []
    record = read("ablation.json")
    learnt = (RESULTS / "ablation_learnt.md").read_text(encoding="utf-8").strip()
    lines = ["## What each part is worth", "", page.read_text(encoding="utf-8").strip(), "", learnt, ""]
    return [*lines, origin(record["environment"]), ""]


def own_code() -> list[str]:
    """TinySpeech trained with answers to the exercises that are not ours."""
    record = read("own_code_tinyspeech.json")
    if not record:
        return []
    rows = [[row["code"], row["steps"], percent(row["wer"]), percent(row["cer"])] for row in record["rows"]]
    lines = ["## A learner's own code, TinySpeech", ""]
    lines += [f"Every one of {record['exercises']} exercises answered by somebody who had not seen our code:", ""]
    lines += table(["code", "steps", "test WER (joint)", "CER"], rows)
    return [*lines, origin(record["environment"]), ""]


def architectures() -> list[str]:
    """Transformer, LaCT and Paraformer with the same time."""
    record = read("architectures_tinyspeech.json")
    if not record:
        return []
    steps = {made["architecture"]: made["steps"] for made in record["trainings"]}
    timed, alone = (
        {row["system"]: row["ratio"] for row in record[table]["rows"]} for table in ("timing", "search_alone")
    )
    rows = [
        [
            row["architecture"],
            f"{row['parameters'] / 1e6:.2f}M",
            f"{row['train_seconds']:.0f}",
            steps[row["architecture"]],
            row["search"],
            percent(row["wer"]),
            percent(row["cer"]),
            f"{row['rtf']:.4f}",
            *(f"{ratios[row['architecture'] + ', ' + row['search']]:.2f}" for ratios in (timed, alone)),
        ]
        for row in record["rows"]
    ]
    head = ["architecture", "parameters", "seconds", "steps", "search", "WER", "CER", "RTF", "time", "search alone"]
    lines = ["## Architectures, in equal time and of about equal size, TinySpeech", ""]
    lines += ["Seconds of one core in training. Time: to recognise 20 utterances one by one, in turns with the other"]
    lines += ["searches, as a multiple of what Paraformer's one pass takes, from the sound to the text; and the search"]
    lines += ["alone, from the encoder's states on. Beams hold 10 hypotheses.", ""]
    return [*lines, *table(head, rows), origin(record["environment"]), ""]


def made_up() -> list[str]:
    """Paraformer where only the ends of tokens have to be learnt."""
    record = read("paraformer_synthetic/measured.json")
    if not record:
        return []
    training, heard = record["training"], record["recognition"]
    points = read("paraformer_synthetic/metrics.json")["validations"]
    rows = []
    for point in points:
        (dev,) = point["dev"].values()
        accuracies = [f"{100 * dev[name]:.2f}" for name in ("token_accuracy", "sequence_accuracy")]
        rows.append([point["step"], f"{point['train_seconds']:.0f}", *accuracies, f"{dev['length_error']:.3f}"])
    lines = ["## Paraformer on made-up features", ""]
    lines += table(["step", "seconds", "dev tokens right, %", "sequences right, %", "mean length error"], rows)
    right, error = percent(heard["sequence_accuracy"]), heard["length_error"]
    megabytes = {name: f"{part['bytes'] / 1e6:.0f} MB" for name, part in record.items() if "bytes" in part}
    before = f"{training['bytes_before'] / 1e6:.0f} MB"
    lines += [
        f"{heard['parameters']:,} parameters. The best checkpoint on the test set: {right}% of the sequences right,",
        f"mean length error {error:.3f}. Training took {training['seconds']:.0f} s in all and at most "
        f"{megabytes['training']} of memory, recognition {megabytes['recognition']};",
        f"{before} of either are Python, torch and the library, before there is a model.",
        "",
    ]
    return [*lines, origin(record["environment"]), ""]


def length() -> list[str]:
    """What length costs LaCT and full attention."""
    record = read("benchmarks/lact_length.json")
    if not record:
        return []
    curves = record["curves"]
    rows = []
    for frames in sorted({frames for curve in curves.values() for frames in curve["frames"]}):
        cells = []
        for curve in curves.values():
            at = dict(zip(curve["frames"], zip(curve["seconds"], curve["bytes"], strict=True), strict=True)).get(frames)
            cells += [f"{at[0]:.3g}", f"{at[1] / 1e6:.3g}" if at[1] else ""] if at else ["", ""]
        rows.append([frames, *cells])
    head = ["frames", *(cell for name in curves for cell in (f"{name}, s", "MB"))]
    lines = ["## What length costs: one encoder layer, forward and backward, seconds of the processor", ""]
    lines += table(head, rows)
    for row in record["overtakes"]:
        frames = row["frames"]
        where = "at none of these lengths" if frames is None else f"from about {frames:.0f} frames on"
        where = "at all of these lengths" if frames == 0 else where
        lines.append(f"- {row['system']} needs fewer {row['what']} than {row['other']} {where}.")
    return [*lines, "", origin(record["environment"]), ""]


def doctor() -> list[str]:
    """What the doctor finds in fresh runs with a planted bug, and in healthy ones."""
    record = read("doctor.json")
    if not record:
        return []
    planted, healthy = record["planted"], record["healthy"]
    rows = [[name, "yes" if row["found"] else "no", ", ".join(row["findings"])] for name, row in planted.items()]
    rows += [[name, "healthy", ", ".join(row["findings"])] for name, row in healthy.items()]
    lines = ["## `asr-tutorial doctor` on fresh runs", ""]
    lines.append(
        f"{record['found']} of {len(planted)} planted bugs were found; "
        f"{len(record['false_alarms'])} of {len(healthy)} healthy runs raised an alarm."
    )
    lines += ["", *table(["bug or run", "found", "all that was reported"], rows)]
    return [*lines, origin(next(iter(planted.values()))["environment"]), ""]


def serving() -> list[str]:
    """What the web service takes, with batches and one by one."""
    lines: list[str] = []
    for name in ("serving", "serving_h100"):
        record = read(f"benchmarks/{name}.json")
        if not record:
            continue
        rows = [
            [
                row["search"],
                row["service"],
                f"{row['per_second']:.3g}",
                f"{row['p50_ms']:.0f}",
                f"{row['p95_ms']:.0f}",
                row["answered"],
                sum(number for status, number in row["statuses"].items() if status in ("429", "503")),
                row["errors"],
                row["mixed_up"],
            ]
            for row in record["rows"]
        ]
        head = ["search", "service", "answers a second", "p50, ms", "p95, ms", "answers"]
        lines += table([*head, "429 and 503", "other errors", "mixed up"], rows)
        gains = [f"{search} {ratio['throughput']:.2f}" for search, ratio in record["ratios"].items()]
        lines.append(
            f"{record['clients']} clients at a time. Batches give so many times the throughput: {', '.join(gains)}."
        )
        lines += ["", origin(record["environment"]), ""]
    return ["## The service under load", "", *lines] if lines else []


def streaming() -> list[str]:
    """When words appear while somebody speaks."""
    record = read("benchmarks/streaming.json")
    if not record:
        return []
    rows = [
        [
            row["partial_search"],
            row["step_seconds"],
            row["agreement"],
            f"{row['latency_mean']:.2f}",
            f"{row['latency_p90']:.2f}",
            percent(row["corrected_share"]),
            f"{row['rtf']:.2f}",
        ]
        for row in record["rows"]
    ]
    head = [
        "search",
        "a look every, s",
        "must agree",
        "latency, s",
        "90% within, s",
        "corrected, %",
        "real-time factor",
    ]
    lines = [
        "## Streaming: how late a word is committed, and how often the final text corrects it",
        "",
        *table(head, rows),
    ]
    return [*lines, origin(record["environment"]), ""]


def page() -> str:
    """The whole page."""
    parts = [HEAD, *recognisers(), *growing(), *ablation(), *own_code(), *architectures(), *made_up(), *length()]
    parts += [*doctor(), *serving(), *streaming()]
    speed = "Speed beside other toolkits is in [benchmarks](benchmarks/README.md), searches by model in "
    return "\n".join([*parts, "## Speed", "", f"{speed}[searches.md](data/results/searches.md).", ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
