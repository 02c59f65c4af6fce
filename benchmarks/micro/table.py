"""What `make bench-micro` measured, as Markdown: `python -m benchmarks.micro.table JSON [PAGE]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.machine import this_machine, versions
from benchmarks.report import provenance, table, write

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Case", "MicroFigures", "render"]

OWNER = "make bench-micro"


class _Info(msgspec.Struct, frozen=True, kw_only=True):
    why: str
    p50_us: float
    p99_us: float
    p999_us: float


class _Stats(msgspec.Struct, frozen=True, kw_only=True):
    rounds: int


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One measured call, as pytest-benchmark writes it."""

    name: str
    group: str
    extra_info: _Info
    stats: _Stats

    @property
    def title(self) -> str:
        """`test_flush[64]` is called `flush, 64`."""
        name, _, parameters = self.name.removeprefix("test_").partition("[")
        return ", ".join([name.replace("_", " "), *filter(None, parameters.rstrip("]").split("-"))])


class MicroFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the suite."""

    datetime: str
    benchmarks: list[Case]


def render(figures: MicroFigures) -> str:
    """The section that `make bench-micro` owns."""
    rounds = {case.stats.rounds for case in figures.benchmarks}
    lines = provenance(figures.datetime[:16].replace("T", " ") + " UTC", this_machine(), versions(), OWNER)
    how = (
        f"{max(rounds):,} calls of each, every one timed for itself, on one thread; in µs, what measuring costs"
        " (`nothing`) included. The parts do not add up to the whole: small ones find all they need in the cache,"
        " while a flush and a whole request come after the untimed making of their requests. No HTTP, socket or thread"
        " switch is in here: `make bench` has those."
    )
    groups = dict.fromkeys(case.group for case in figures.benchmarks)
    tables = [_group(name, (case for case in figures.benchmarks if case.group == name)) for name in groups]
    return "\n\n".join(["## Where the microseconds go", lines, how, *tables])


def _group(name: str, cases: Iterable[Case]) -> str:
    rows = [
        (f"{case.title}: {info.why}", *(f"{value:,.2f}" for value in (info.p50_us, info.p99_us, info.p999_us)))
        for case in cases
        for info in [case.extra_info]
    ]
    return table((name, "p50", "p99", "p99.9"), rows)


def main(source: Path, page: Path | None) -> None:
    """Print the section, and put it into a page if one is named."""
    section = render(msgspec.json.decode(source.read_bytes(), type=MicroFigures))
    if page is not None:
        write(section, page, owner=OWNER)
    print(section)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
