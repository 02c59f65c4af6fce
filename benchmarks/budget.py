"""What the gateway may cost: `budget.toml`, one table for each metric, read and written back."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from benchmarks.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["BUDGET", "Budget", "BudgetError", "Metric", "Source", "allow", "read_budget", "render_budget", "select"]

BUDGET = Path(__file__).with_name("budget.toml")
"""The repository's own."""
SPREADS = 3.0
"""Distance of the limit from the median: what a machine does by itself stays inside, a change of that size does not."""

HEAD = """\
# What the gateway may cost, as the ratio gateway / granian's fixed answer on the same core. `hotgate bench gate` holds
# it; `hotgate bench gate --write-budget` measures anew and replaces each limit by the median of the pairs, worse by
# three times their spread. Where the median keeps the goal, no limit is looser than the goal.
"""

_Positive = Annotated[float, msgspec.Meta(gt=0)]


class BudgetError(BenchError):
    """A budget that cannot be read or has impossible values; the text names file, metric, key and value."""


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a limit came from."""

    median: _Positive
    """Of the pairs' ratios."""
    spread: Annotated[float, msgspec.Meta(ge=0)]
    """Of one pair, in the logarithm: 0.05 is about 5 %."""
    pairs: Annotated[int, msgspec.Meta(ge=2)]
    date: str
    machine: str


class Metric(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One figure of the gateway and its limit."""

    figure: Literal["throughput", "p99"]
    """Throughput is of the closed loop, p99 of the open loop (Poisson)."""
    connections: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    rate_share: Annotated[float, msgspec.Meta(gt=0, lt=1)] | None = None
    """Of p99: each side's rate, as a share of its own maximum in the closed loop at the same connections."""
    limit: _Positive
    """The worst ratio that passes: for throughput the lowest, for p99 the highest."""
    goal: _Positive | None = None
    """What was promised of the ratio: once a measured median keeps it, no limit is written that is looser."""
    source: Source | None = None
    """None is a limit set by hand."""

    def __post_init__(self) -> None:
        if (self.figure == "p99") != (self.rate_share is not None):
            raise ValueError("rate_share belongs to figure p99, which needs it, and to no other")

    @property
    def worse(self) -> Literal["higher", "lower"]:
        """Which way the gateway gets worse."""
        return "higher" if self.figure == "p99" else "lower"

    def stricter(self, one: float, other: float) -> float:
        """The ratio that is harder to keep."""
        return min(one, other) if self.worse == "higher" else max(one, other)


Budget = dict[str, Metric]


def read_budget(path: Path) -> Budget:
    """Read a budget.

    Raises:
        BudgetError: there is none, it is no TOML, or a key or value is wrong.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BudgetError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BudgetError(f"{path} is not valid TOML: {error}") from error
    if not tables:
        raise BudgetError(f"{path} has no metric")
    return {name: _metric(table, f"{path}: [{name}]") for name, table in tables.items()}


def select(budget: Budget, names: Collection[str]) -> Budget:
    """Some of its metrics; all of them if none is named.

    Raises:
        BudgetError: it has no metric of that name.
    """
    for name in names:
        if name not in budget:
            raise BudgetError(f"the budget has no metric {name!r}; it has {', '.join(budget)}")
    return {name: metric for name, metric in budget.items() if name in names or not names}


def allow(metric: Metric, log_ratios: Sequence[float], *, date: str, machine: str) -> Metric:
    """The metric with the limit that a measurement gives: its median, worse by three times its spread.

    The spread is the standard deviation of the log ratios, estimated by their median absolute deviation.
    """
    centre = median(log_ratios)
    spread = 1.4826 * median(abs(value - centre) for value in log_ratios)  # a normal's deviation by its MAD
    away = SPREADS * spread if metric.worse == "higher" else -SPREADS * spread
    ratio, limit = math.exp(centre), math.exp(centre + away)
    if metric.goal is not None and metric.stricter(ratio, metric.goal) == ratio:
        limit = metric.stricter(limit, metric.goal)
    source = Source(
        median=round(ratio, 4),
        spread=round(spread, 4),
        pairs=len(log_ratios),
        date=date,
        machine=machine,
    )
    return msgspec.structs.replace(metric, limit=round(limit, 3), source=source)


def render_budget(budget: Budget) -> str:
    """The file's text; `read_budget` of it gives the same budget."""
    return "\n".join([HEAD, *(_table(name, msgspec.to_builtins(metric)) for name, metric in budget.items())])


def _metric(table: Any, where: str) -> Metric:
    try:
        return msgspec.convert(table, Metric)
    except (msgspec.ValidationError, ValueError) as error:
        raise BudgetError(f"{where}: {error}, in {table!r}") from error


def _table(name: str, values: Mapping[str, Any]) -> str:
    """A table whose values are numbers, texts, and one table of such."""
    lines = [f"[{_text(name)}]"]
    for key, value in values.items():
        if isinstance(value, dict):
            lines.append(f"{key} = {{ {', '.join(f'{inner} = {_text(given)}' for inner, given in value.items())} }}")
        elif value is not None:
            lines.append(f"{key} = {_text(value)}")
    return "\n".join(lines) + "\n"


def _text(value: object) -> str:
    """JSON's texts and finite numbers are TOML's."""
    return msgspec.json.encode(value).decode()
