"""From counters to figures: what happened between two looks at the metrics, of each version."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.metrics import (
    BATCH_ROWS,
    BATCHES,
    CLOSED_BY,
    DROPPED,
    FAILED_ROWS,
    LOADED,
    QUEUE_SECONDS,
    REFUSED,
    ROWS,
    RUN_SECONDS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prometheus_client import Metric

    from gateway.series import Family

__all__ = ["Look", "Milliseconds", "VersionFigures", "figures_of", "look_at", "quantile"]


class Milliseconds(msgspec.Struct, frozen=True, kw_only=True):
    """Quantiles, read off a histogram's buckets as Prometheus does: straight lines within a bucket."""

    p50: float
    p99: float


class VersionFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One version's counts since the server began, and its figures between two looks; over all workers."""

    model: str
    version: str
    sha256: str | None
    """None of a version with which no worker serves any more."""
    workers: int
    """In which it serves."""
    rows: int
    failed_rows: int
    dropped_rows: int
    """That the drift monitor did not see."""
    refused: int
    rows_per_s: float
    failed_per_s: float
    refused_per_s: float
    batches: int
    """Runs between the looks; the following describe these."""
    batch_rows: list[int]
    """How many had up to 1, 2, 4, … 1024 rows, and more."""
    released: dict[str, int]
    """By what closed them."""
    run_ms: Milliseconds | None
    """Time of a run; None if there was none."""
    queue_ms: Milliseconds | None
    """From a batch's first row to its run."""


class Look(NamedTuple):
    """All that was counted by a moment, by series."""

    time: float
    """Of a monotonic clock, in seconds."""
    values: Mapping[tuple[str, ...], float]
    """By metric, model, version and what else it is told apart by: `total` is the sum over the last of these."""
    digests: Mapping[tuple[str, str], str]
    """Of the files that serve, by model and version."""
    ready: int
    errors: Mapping[str, float]
    """By status."""


def look_at(families: Iterable[Metric], time: float) -> Look:
    """Take what the page needs out of all metrics; a histogram's buckets are cumulative there."""
    values: dict[tuple[str, ...], float] = defaultdict(float)
    digests: dict[tuple[str, str], str] = {}
    errors: dict[str, float] = {}
    ready = 0
    for family in families:
        for sample in family.samples:
            labels = sample.labels
            if sample.name == "hotgate_workers_ready":
                ready = int(sample.value)
            elif sample.name == "hotgate_errors_total":
                errors[labels["status"]] = sample.value
            elif "version" in labels and not sample.name.endswith(("_sum", "_count", "_created")):
                version = labels["model"], labels["version"]
                part = labels.get("le") or labels.get("release_reason") or labels.get("reason") or "total"
                values[(family.name, *version, part)] += sample.value
                if family.name == LOADED.name and sample.value:
                    digests[version] = labels["sha256"]
    return Look(time, values, digests, ready, errors)


def figures_of(before: Look, after: Look) -> list[VersionFigures]:
    """Versions that serve or that scored between the looks, by name; a counter that went back began anew at 0."""
    versions = sorted({(key[1], key[2]) for key in after.values})
    found = [_figures(before, after, model, version) for model, version in versions]
    return [figures for figures in found if figures.workers or figures.rows_per_s or figures.refused_per_s]


def _figures(before: Look, after: Look, model: str, version: str) -> VersionFigures:
    seconds = max(after.time - before.time, 1e-9)

    def total(family: Family, part: str = "total") -> float:
        return after.values.get((family.name, model, version, part), 0.0)

    def gained(family: Family, part: str = "total") -> float:
        earlier = before.values.get((family.name, model, version, part), 0.0)
        return max(total(family, part) - earlier, 0.0)

    def by_bucket(family: Family) -> list[float]:
        return [gained(family, part) for part in _parts(family)]

    refused = [key[3] for key in after.values if key[:3] == (REFUSED.name, model, version)]
    batch_rows = by_bucket(BATCH_ROWS)
    return VersionFigures(
        model=model,
        version=version,
        sha256=after.digests.get((model, version)),
        workers=int(total(LOADED)),
        rows=int(total(ROWS)),
        failed_rows=int(total(FAILED_ROWS)),
        dropped_rows=int(total(DROPPED)),
        refused=int(sum(total(REFUSED, reason) for reason in refused)),
        rows_per_s=gained(ROWS) / seconds,
        failed_per_s=gained(FAILED_ROWS) / seconds,
        refused_per_s=sum(gained(REFUSED, reason) for reason in refused) / seconds,
        batches=int(batch_rows[-1]),
        batch_rows=[int(now - below) for below, now in zip([0.0, *batch_rows], batch_rows, strict=False)],
        released={reason: int(gained(BATCHES, reason)) for reason in CLOSED_BY},
        run_ms=_milliseconds(RUN_SECONDS, by_bucket(RUN_SECONDS)),
        queue_ms=_milliseconds(QUEUE_SECONDS, by_bucket(QUEUE_SECONDS)),
    )


def _parts(family: Family) -> list[str]:
    """The names of a histogram's buckets, as Prometheus writes them."""
    return [*(str(float(bound)) for bound in family.bounds), "+Inf"]


def _milliseconds(family: Family, cumulative: Sequence[float]) -> Milliseconds | None:
    if not cumulative[-1]:
        return None
    return Milliseconds(
        p50=1e3 * quantile(0.5, family.bounds, cumulative), p99=1e3 * quantile(0.99, family.bounds, cumulative)
    )


def quantile(share: float, bounds: Sequence[float], cumulative: Sequence[float]) -> float:
    """The value below which a share of a histogram lies, as `histogram_quantile` of Prometheus has it.

    Args:
        share: 0 to 1.
        bounds: of the buckets but the last, which has none: what lies in that is taken for its lower bound.
        cumulative: how many values lie up to each bound, and in all; the last is above 0.
    """
    rank = share * cumulative[-1]
    place = next(place for place, count in enumerate(cumulative) if count >= rank)
    if place == len(bounds):
        return bounds[-1]
    low, below = (bounds[place - 1], cumulative[place - 1]) if place else (0.0, 0.0)
    inside = cumulative[place] - below
    return low + (bounds[place] - low) * ((rank - below) / inside if inside else 1.0)
