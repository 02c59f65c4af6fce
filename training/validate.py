"""Whether data is fit to be trained on, before an hour is spent on it: schema, ranges, repeats, balance, leakage.

What cannot be read at all (a missing class, text among numbers) ends in `load_dataset` already. Here everything that is
wrong is found before anything is told, with the rows and columns by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from training.errors import DataError, meant
from training.evidence import hash_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from training.config import ValidationConfig
    from training.data import Dataset
    from training.split import Split

    Indices = npt.NDArray[np.int64]

__all__ = ["Finding", "ValidationReport", "demand_valid", "validate"]

_SHOWN = 5


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong."""

    check: str
    """`schema`, `range`, `duplicates`, `conflicts`, `balance` or `leakage`."""
    text: str
    """What, where and what to do."""
    column: str | None = None
    rows: tuple[int, ...] = ()
    """Rows of the file, from 1, the header not counted; the first hundred."""


class ValidationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at, and what was found."""

    rows: int
    columns: int
    classes: dict[str, int]
    """Rows of each class, by display name."""
    duplicates: int
    """Rows that repeat an earlier one, its class too."""
    conflicts: int
    """Rows whose features stand elsewhere with another class."""
    leaked: int
    """Held-out rows whose features a training row has too."""
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def validate(dataset: Dataset, split: Split, config: ValidationConfig) -> ValidationReport:
    """Hold data and split to the settings' limits; equal rows are equal in every feature as doubles."""
    hashes = hash_rows(dataset.rows)
    _, same = np.unique(hashes, return_inverse=True)
    repeats, conflicts = _repeats(same, dataset.codes), _conflicts(same, dataset.codes)
    leaked = split.heldout[np.isin(hashes[split.heldout], hashes[split.train])]
    n = len(dataset.rows)
    findings = [
        *_schema(dataset, config),
        *_ranges(dataset, config),
        *_balance(dataset, config),
        *_share(
            "duplicates", repeats, n, config.duplicates_max, "equal to an earlier row, class included; drop the repeats"
        ),
        *_share(
            "conflicts",
            conflicts,
            n,
            config.conflicts_max,
            "the same features as a row of another class; mend the labels",
        ),
        *_share(
            "leakage",
            leaked,
            len(split.heldout),
            config.leakage_max,
            "held out, while a training row has the same features, so the model would be judged by what it has seen;"
            " drop the repeats",
        ),
    ]
    counts = np.bincount(dataset.codes, minlength=len(dataset.classes)).tolist()
    return ValidationReport(
        rows=n,
        columns=len(dataset.columns),
        classes=dict(zip(dataset.labels, counts, strict=True)),
        duplicates=len(repeats),
        conflicts=len(conflicts),
        leaked=len(leaked),
        findings=tuple(findings),
    )


def demand_valid(dataset: Dataset, split: Split, config: ValidationConfig) -> ValidationReport:
    """Validate and go on only with sound data.

    Raises:
        DataError: something was found; the text holds all of it, a line each.
    """
    report = validate(dataset, split, config)
    if report.findings:
        lines = "".join(f"\n  {finding.text}" for finding in report.findings)
        raise DataError(f"{dataset.source} is not fit to be trained on:{lines}")
    return report


def _schema(dataset: Dataset, config: ValidationConfig) -> Iterator[Finding]:
    kinds = dict(zip(dataset.columns, dataset.kinds, strict=True))
    for name, rule in config.columns.items():
        if name not in kinds:
            text = f"there is no column {name!r}{meant(name, dataset.columns)}"
            yield Finding(check="schema", column=name, text=text)
        elif rule.kind is not None and rule.kind != kinds[name]:
            text = f"column {name!r} is of kind {kinds[name]}, validation.columns says {rule.kind}"
            yield Finding(check="schema", column=name, text=text)
    if config.only:
        for name in kinds.keys() - config.columns.keys():
            text = f"column {name!r} is not in validation.columns; add it there, or to data.ignore"
            yield Finding(check="schema", column=name, text=text)


def _ranges(dataset: Dataset, config: ValidationConfig) -> Iterator[Finding]:
    for name, rule in config.columns.items():
        if name not in dataset.columns:
            continue
        values = dataset.rows[:, dataset.columns.index(name)]
        low, high = (-np.inf if rule.min is None else rule.min), (np.inf if rule.max is None else rule.max)
        rows = np.flatnonzero((values < low) | (values > high))
        if rows.size:
            text = (
                f"column {name!r}, {_named(rows)}: {values[rows[0]]:g} lies outside {low:g} to {high:g}; mend the"
                f" values, or the range in validation.columns"
            )
            yield Finding(check="range", column=name, rows=_numbered(rows), text=text)


def _balance(dataset: Dataset, config: ValidationConfig) -> Iterator[Finding]:
    counts = np.bincount(dataset.codes, minlength=len(dataset.classes))
    rarest = int(counts.argmin())
    share = counts[rarest] / counts.sum()
    if share < config.minority_min:
        text = (
            f"target {dataset.target!r}: class {dataset.labels[rarest]!r} has {counts[rarest]} of {counts.sum()} rows"
            f" ({share:.2%}), validation.minority_min is {config.minority_min:.2%}; add rows of it, or lower the limit"
        )
        yield Finding(check="balance", column=dataset.target, text=text)


def _share(check: str, rows: Indices, n: int, limit: float, text: str) -> Iterator[Finding]:
    if len(rows) > limit * n:
        yield Finding(
            check=check,
            rows=_numbered(rows),
            text=f"{_named(rows)}: {text}, or allow them with validation.{_LIMITS[check]} (now {limit:g} of {n} rows)",
        )


_LIMITS = {"duplicates": "duplicates_max", "conflicts": "conflicts_max", "leakage": "leakage_max"}


def _repeats(same: Indices, codes: Indices) -> Indices:
    """Rows that stand earlier with the same class, ascending."""
    _, first = np.unique(np.column_stack([same, codes]), axis=0, return_index=True)
    return np.setdiff1d(np.arange(len(codes)), first)


def _conflicts(same: Indices, codes: Indices) -> Indices:
    """Rows whose features stand elsewhere with another class, ascending."""
    kinds = np.unique(np.column_stack([same, codes]), axis=0)
    return np.flatnonzero(np.bincount(kinds[:, 0])[same] > 1)


def _numbered(rows: Indices) -> tuple[int, ...]:
    return tuple((rows[:100] + 1).tolist())


def _named(rows: Indices) -> str:
    if len(rows) == 1:
        return f"row {rows[0] + 1}"
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return f"rows {', '.join(str(row + 1) for row in rows[:_SHOWN])}{more}"
