"""What a person reads of an attempt: markdown, a file each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gateway.alerts import words
from gateway.store import replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.retraining.state import Attempt

__all__ = ["render", "write_report"]

_AGAIN: Final = "This breach is not answered again until `hotgate retrain --release {breach} --reason TEXT`."
_NEXT: Final = {
    "promoted": "Nothing. `hotgate rollback {name}` puts the version back that served before.",
    "passed": "Promote it, or leave it: `hotgate promote {name} {version}`.",
    "no_improvement": f"Bring data that shows what has changed: new rows with labels. {_AGAIN}",
    "inconclusive": "Run `hotgate gate {name} {version}` while the machine has nothing else to do; if it passes,"
    f" promote it by hand. {_AGAIN}",
    "failed": f"Mend what the reason names. {_AGAIN}",
}


def write_report(folder: Path, attempt: Attempt) -> Path:
    """Write it under the time and the breach; the same attempt again replaces it.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    began = datetime.fromtimestamp(attempt.started_at, UTC)
    path = folder / f"{began:%Y%m%dT%H%M%SZ}-{attempt.alert.id}.md"
    replace_file(path, render(attempt).encode())
    return path


def render(attempt: Attempt) -> str:
    """The alert, what was made, what the gate said, and what to do."""
    alert, made, verdict = attempt.alert, attempt.candidate, attempt.verdict
    lines = [
        f"# Retraining {_plain(alert.model)}: {str(attempt.outcome).replace('_', ' ')}",
        "",
        _plain(attempt.why),
        "",
        f"- Alert: {_plain(words(alert))}",
        f"- Breach: `{alert.id}`",
        f"- Began {_time(attempt.started_at)}, ended {_time(attempt.ended_at)}",
        f"- Made: version {made.version} of {made.name}, sha256 `{made.sha256}`" if made else "- Made: nothing",
    ]
    if verdict is not None:
        against = f"version {verdict.champion}" if verdict.champion else "no champion"
        lines += [f"- Gate: {verdict.outcome}, against {against}", "", "| check | verdict | why |", "|---|---|---|"]
        lines += [f"| {_plain(one.name)} | {one.outcome} | {_plain(one.reason)} |" for one in verdict.checks]
    version = made.version if made else ""
    todo = _NEXT[str(attempt.outcome)].format(name=_plain(alert.model), version=version, breach=alert.id)
    return "\n".join([*lines, "", "## What to do", "", todo, ""])


def _plain(text: str) -> str:
    """One line that breaks no table: names come from data, reasons from other programs."""
    return "".join(letter if letter.isprintable() and letter != "|" else " " for letter in text)


def _time(at: float | None) -> str:
    return "-" if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
