"""The recorded benchmarks as one table in Markdown: how many times longer than ours each other system took.

    python benchmarks/summary.py [--write]

Reads ``data/results/benchmarks/*.json``. With ``--write`` the table goes into ``benchmarks/README.md``, between the two
marks.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from common import OURS, RESULTS

NOT_TIMES = ("padding",)
"""Records that are about something else than time."""
README = Path(__file__).with_name("README.md")
MARKS = ("<!-- recorded -->\n", "<!-- /recorded -->\n")


def rows() -> list[str]:
    """The lines of the table: records in which ours and others were timed at the same work."""
    lines = ["| work | system | times as long as ours | processor time | same results |", "|---|---|---|---|---|"]
    for path in sorted(RESULTS.glob("*.json")):
        # The service has no other system beside it, and so no tables.
        for table in json.loads(path.read_text(encoding="utf-8")).get("tables", []):
            ours = next((row for row in table["rows"] if row["system"] == OURS), None)
            if ours is None or path.stem in NOT_TIMES:
                continue
            work = f"{table['title']} ([{path.stem}](../data/results/benchmarks/{path.name}))"
            for row in table["rows"]:
                if row is not ours:
                    ratios = [row[key] / ours[key] for key in ("ratio", "processor_ratio")]
                    figures = " | ".join(f"{ratio:.2f}" for ratio in ratios)
                    lines.append(f"| {work} | {row['system']} | {figures} | {row.get('same', '')} |")
                    work = ""
    return lines


def filled(text: str) -> str:
    """The README with today's table between the marks."""
    before, rest = text.split(MARKS[0])
    return before + MARKS[0] + "\n" + "\n".join(rows()) + "\n\n" + MARKS[1] + rest.split(MARKS[1])[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="into benchmarks/README.md")
    if parser.parse_args().write:
        README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print("\n".join(rows()))


if __name__ == "__main__":
    main()
