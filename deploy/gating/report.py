"""The gate's verdict for people and for CI: lines of text, and a JUnit file."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from deploy.gating.gate import GateReport

__all__ = ["junit", "render"]


def render(report: GateReport) -> str:
    """A line for each check, and the verdict."""
    rows = [("check", "verdict", "why"), *((check.name, check.outcome, check.reason) for check in report.checks)]
    name, outcome = (max(len(row[place]) for row in rows) for place in (0, 1))
    against = "no champion to hold it against" if report.champion is None else f"against version {report.champion}"
    lines = [_printable(f"{row[0]:{name}}  {row[1]:{outcome}}  {row[2]}") for row in rows]
    said = f"{report.outcome.upper()}: {report.name} version {report.version}, {against}, sha256 {report.sha256[:12]}"
    return "\n".join([*lines, "", said])


def junit(report: GateReport) -> bytes:
    """One test case a check; an inconclusive one is an error, so that nobody takes it for a pass."""
    outcomes = [check.outcome for check in report.checks]
    suite = ET.Element(
        "testsuite",
        name=f"hotgate gate {report.name} {report.version}",
        tests=str(len(outcomes)),
        failures=str(outcomes.count("fail")),
        errors=str(outcomes.count("inconclusive")),
        timestamp=report.when.strftime("%Y-%m-%dT%H:%M:%S"),
        hostname=report.machine,
    )
    for check in report.checks:
        case = ET.SubElement(suite, "testcase", classname=f"gate.{report.name}", name=_printable(check.name))
        reason = _printable(check.reason)
        if check.outcome == "pass":
            ET.SubElement(case, "system-out").text = reason
        else:
            tag = "failure" if check.outcome == "fail" else "error"
            ET.SubElement(case, tag, type=check.outcome, message=reason).text = reason
    ET.indent(suite)
    text: bytes = ET.tostring(suite, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _printable(text: str) -> str:
    """One line that XML and a terminal can show: a model file may have put anything into what is said of it."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
