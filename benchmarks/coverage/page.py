"""docs/coverage.md, written from the rows and read back from the page."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.coverage.row import Row

__all__ = ["cells", "page", "read_cells"]

_GROUPS = (
    "classifiers", "regressors", "outlier detectors", "clusterers", "transformers",
    "meta-estimators", "boosters",
)  # fmt: skip
_VERDICTS = {
    "certified": "converts as it is, and passed its certificate",
    "cured": "converts after the cure that is named, and passed its certificate",
    "refused": "fails its conversion or its certificate, and no file is written",
    "nothing to serve": "neither predicts nor transforms rows that it was not fitted on",
    "not fitted": "could not be fitted on this data",
    "WRONG": "served an answer that is not scikit-learn's: a fault",
}
_HEADER = "| estimator | data | verdict | kind | precision | largest error | label flips | cure or reason |"


def page(rows: Sequence[Row]) -> str:
    """The whole page; equal rows give an equal page."""
    counts: Counter[str] = Counter(row.verdict for row in rows)
    versions = ", ".join(
        f"{package} {importlib.metadata.version(package)}" for package in ("scikit-learn", "skl2onnx", "onnxruntime")
    )
    lines = [
        "# What can be served", "",
        "Written by `make coverage-table`; do not edit. Every estimator of `sklearn.utils.all_estimators()` and of the",
        "installed boosting libraries, small and otherwise with its defaults, is fitted on seeded data, converted,",
        "verified, and then asked for 200 fresh rows in a plain onnxruntime session. Other settings may fare",
        "otherwise: the certificate of each file tells. A label flips only at a tie within the tolerance.", "",
        versions + ".", "",
        "| verdict | rows | means |", "|---|---|---|",
        *(f"| {verdict} | {counts[verdict]} | {means} |" for verdict, means in _VERDICTS.items()),
    ]  # fmt: skip
    for group in _GROUPS:
        lines += ["", f"## {group.capitalize()}", "", _HEADER, "|---|---|---|---|---|---|---|---|"]
        lines += ["| " + " | ".join(cells(row)) + " |" for row in rows if row.group == group]
    return "\n".join(lines) + "\n"


def cells(row: Row) -> list[str]:
    """A row as it stands in the table."""
    served = bool(row.kind)
    return [
        row.name,
        row.data,
        row.verdict,
        row.kind,
        row.precision,
        f"{row.error_max:.0e}" if served else "",
        str(row.label_flips) if served else "",
        row.reason,
    ]


def read_cells(text: str) -> dict[tuple[str, str], list[str]]:
    """The cells of each row of a page, by estimator and data."""
    found = {}
    for line in text.splitlines():
        told = [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
        if len(told) == _HEADER.count("|") - 1 and told[0] != "estimator" and not told[0].startswith("--"):
            found[told[0], told[1]] = told
    return found
