"""Findings and the report that they make."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from textwrap import fill
from typing import Any

from asr_tutorial.doctor.illnesses import ILLNESSES, Illness


class NotApplicable(Exception):
    """A check has nothing to look at; the message says why."""


@dataclass(frozen=True)
class Finding:
    """An illness that was found, and what was seen."""

    name: str
    """Key of :data:`~asr_tutorial.doctor.illnesses.ILLNESSES`."""
    seen: str
    """In figures."""

    @property
    def illness(self) -> Illness:
        return ILLNESSES[self.name]


@dataclass
class Report:
    """What an examination came to."""

    subject: str
    findings: list[Finding] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    """Checks that found nothing."""
    notes: list[str] = field(default_factory=list)
    """What could not be looked at, and what a person should know without its being an illness."""

    @property
    def healthy(self) -> bool:
        return not self.findings

    def text(self) -> str:
        """The report as a person reads it."""
        lines = [f"examined: {self.subject}", ""]
        lines += [f"  ok       {name}" for name in self.passed]
        lines += [_wrapped(note, "  note     ") for note in self.notes]
        for number, finding in enumerate(self.findings, start=1):
            illness = finding.illness
            lines += ["", f"finding {number}: {illness.title} ({finding.name})"]
            parts = {"seen": finding.seen, "means": illness.means, "cause": illness.cause, "remedy": illness.remedy}
            lines += [_wrapped(text, f"  {name + ':':9}") for name, text in parts.items()]
            if illness.patient:
                lines.append(f"  patient: {illness.patient} of chapter 14 shows it")
        lines.append("")
        many = len(self.findings)
        lines.append("nothing found" if self.healthy else f"{many} finding{'s' if many > 1 else ''}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        findings = [{"name": f.name, "seen": f.seen, **asdict(f.illness)} for f in self.findings]
        return {
            "subject": self.subject,
            "healthy": self.healthy,
            "findings": findings,
            "passed": self.passed,
            "notes": self.notes,
        }


def _wrapped(text: str, head: str) -> str:
    return fill(text, 110, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False)
