"""What skl2onnx gets wrong or refuses, put right: one file a family.

A cure takes a fitted estimator, and what stands for a missing text in the data (None or NaN). It returns an estimator
that means the same and converts faithfully, or the one it was given if that is none of its business, and changes
nothing. Where no rewriting helps, a family brings its own converter. The certificate, not a cure, says that the graph
is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from converters.cures.boosters import cure_names, register_booster
from converters.cures.encoders import cure_bins, cure_encoder
from converters.cures.histogram import BOOSTING
from converters.cures.imputer import IMPUTER
from converters.cures.linear import cure_discriminant
from converters.cures.options import options_of
from converters.cures.outputs import OUTPUTS, several_outputs
from converters.cures.thresholds import THRESHOLDS
from converters.cures.trees import cure_scaled_trees
from converters.cures.voting import cure_voting
from converters.cures.wrappers import cure_wrapper

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CURES", "converters_of", "cure_scaled_trees", "options_of", "register_booster"]

CURES = (cure_wrapper, cure_encoder, cure_bins, cure_voting, cure_discriminant, cure_names)
"""In this order, at every estimator inside an estimator, from the outside in."""

CONVERTERS = {**BOOSTING, **IMPUTER, **THRESHOLDS}
"""Converter and shape calculator by class, instead of skl2onnx's."""


def converters_of(parts: Iterable[Any]) -> dict[type, Any]:
    """Those that an estimator of these parts needs."""
    return CONVERTERS | (OUTPUTS if any(map(several_outputs, parts)) else {})
