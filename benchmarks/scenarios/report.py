"""Scenarios measured one after the other, and their sections of a page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks import plots as pictures
from benchmarks.figures import Machine
from benchmarks.machine import this_machine, versions
from benchmarks.report import setting, write
from benchmarks.rig import Rig
from benchmarks.scenarios.plan import ScenarioPlan
from benchmarks.scenarios.suite import find

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["Report", "measure_all"]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Figures by scenario, with what is needed to measure them again."""

    date: str
    command: str
    machine: Machine
    versions: dict[str, str]
    figures: dict[str, Any]

    def sections(self) -> dict[str, str]:
        """Markdown by scenario."""
        return {
            name: setting(
                find(name).TITLE,
                date=self.date,
                machine=self.machine,
                versions=self.versions,
                command=self.command,
            )
            + f"\n\n{find(name).render(figures)}"
            for name, figures in self.figures.items()
        }

    def render(self) -> str:
        """All sections."""
        return "\n\n".join(self.sections().values())

    def write(self, page: Path) -> None:
        """Write or replace the sections of these scenarios only."""
        for name, section in self.sections().items():
            write(section, page, owner=f"hotgate bench scenarios --only {name}")


def measure_all(
    folder: Path,
    names: Sequence[str],
    seconds: float,
    *,
    command: str,
    plots: Path | None,
    say: Callable[[str], None],
) -> Report:
    """Measure each of `names` with blocks of that many seconds, and draw into `plots`.

    Raises:
        PlotError: there is no matplotlib, said before anything is measured.
        BenchError: figures could not be taken, or a request failed that must not.
        LoadError: the generator failed.
    """
    if plots is not None:
        pictures.check(plots / "any.png")
    rig, plan = Rig(folder), ScenarioPlan(block_s=seconds)
    found = {}
    for name in names:
        say(f"scenario {name}")
        found[name] = find(name).measure(rig, plan, say)
        if plots is not None:
            find(name).draw(found[name], plots)
    return Report(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=command,
        machine=this_machine(),
        versions=versions(),
        figures=found,
    )
