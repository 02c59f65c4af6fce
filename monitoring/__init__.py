"""Does the live data still look like the reference? Arrays in, verdicts out: no I/O, no HTTP, no other room.

Names are looked up lazily, so that reading a reference loads none of what judging takes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monitoring.binning import Counts
    from monitoring.grouping import GroupedColumn, Grouping
    from monitoring.reference import FeatureReference, Reference, build_reference
    from monitoring.verdict import FeatureDrift, ModelDrift, judge
    from monitoring.window import DriftWindow, RowCounter, Span, add_newest

__all__ = [
    "Counts",
    "DriftWindow",
    "FeatureDrift",
    "FeatureReference",
    "GroupedColumn",
    "Grouping",
    "ModelDrift",
    "Reference",
    "RowCounter",
    "Span",
    "add_newest",
    "build_reference",
    "judge",
]

_HOMES = {
    "Counts": "binning",
    "DriftWindow": "window",
    "FeatureDrift": "verdict",
    "FeatureReference": "reference",
    "GroupedColumn": "grouping",
    "Grouping": "grouping",
    "ModelDrift": "verdict",
    "Reference": "reference",
    "RowCounter": "window",
    "Span": "window",
    "build_reference": "reference",
    "add_newest": "window",
    "judge": "verdict",
}

if not TYPE_CHECKING:  # else a misspelt name would pass the type checker

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'monitoring' has no attribute {name!r}")
        return getattr(importlib.import_module(f"monitoring.{_HOMES[name]}"), name)
