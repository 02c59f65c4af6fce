"""Missing texts in imputers and encoders: to the graph they are a text like any other."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, OrdinalEncoder

from converters.modelfile import MISSING_TEXT

__all__ = ["cure_bins", "cure_encoder"]


_NEVER = "\uffff"
"""No character either: an imputer that fills this fills nothing."""


def cure_encoder(estimator: Any, gap: Any) -> Any:
    """Put `MISSING_TEXT` where an imputer of texts, or an encoder that learnt it as a category, has None or NaN.

    skl2onnx would write the texts "None" and "nan" there, which are someone's own. An imputer of NaN leaves None alone,
    and the other way round: which of the two stands for a missing text is in the data.
    """
    if isinstance(estimator, SimpleImputer):
        filled = getattr(estimator, "statistics_", np.empty(0))
        wanted = estimator.missing_values
        if filled.dtype != object or not any(isinstance(value, str) for value in filled) or isinstance(wanted, str):
            return estimator
        told = copy.copy(estimator)
        told.missing_values = MISSING_TEXT if (wanted is None) == (gap is None) else _NEVER
        told.fill_value = None
        return told
    if not isinstance(estimator, OneHotEncoder | OrdinalEncoder):
        return estimator
    known = getattr(estimator, "categories_", [])
    categories = [_told(each) for each in known]
    if all(new is old for new, old in zip(categories, known, strict=True)):
        return estimator
    told = copy.copy(estimator)
    told.categories_ = categories
    return told


def cure_bins(estimator: Any, _gap: Any) -> Any:
    """Bins as a dense matrix: a graph has no sparse ones."""
    if not isinstance(estimator, KBinsDiscretizer) or estimator.encode != "onehot":
        return estimator
    told = copy.copy(estimator)
    told.encode = "onehot-dense"
    return told


def _told(categories: Any) -> Any:
    """The categories with a text for the missing one, if they are texts."""
    if categories.dtype != object or not any(isinstance(value, str) for value in categories):
        return categories
    missing = [value is None or value != value for value in categories]  # noqa: PLR0124 - NaN is not itself
    if not any(missing):
        return categories
    texts = [MISSING_TEXT if gone else value for gone, value in zip(missing, categories, strict=True)]
    return np.array(texts, dtype=object)
