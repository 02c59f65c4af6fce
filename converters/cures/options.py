"""What skl2onnx does only if it is told to: words of any language, distances without a loop, no dictionaries."""

from __future__ import annotations

from typing import Any, Final

from skl2onnx._supported_operators import _get_sklearn_operator_name
from skl2onnx.common._registration import get_converter
from sklearn.feature_extraction.text import CountVectorizer

__all__ = ["options_of"]

LOCALE: Final = "C.UTF-8"
"""Of lower case: there without a language pack, and it knows all letters; `C` alone knows those of English."""

_WORDS: Final = {
    r"(?u)\b\w\w+\b": r"[\p{L}\p{N}_]{2,}",
    r"(?u)\b\w+\b": r"[\p{L}\p{N}_]+",
    r"\w+": r"[\p{L}\p{N}_]+",
}
r"""Patterns as onnxruntime's library has to read them: its `\w` knows the letters of English, scikit-learn's all.

skl2onnx would take words of one letter too, of which n-grams are made, and cut at every accent."""


def options_of(estimator: Any, *, raw_scores: bool = False) -> dict[str, Any]:
    """The options of an estimator's converter; empty where it has none of these."""
    allowed = _allowed(estimator)
    wanted: dict[str, Any] = {"zipmap": False, "optim": "cdist"}
    if raw_scores:
        wanted["raw_scores"] = True
    if isinstance(estimator, CountVectorizer):
        wanted["locale"] = LOCALE
        if estimator.analyzer == "word" and estimator.token_pattern in _WORDS:
            wanted["tokenexp"] = _WORDS[estimator.token_pattern]
    return {key: value for key, value in wanted.items() if key in allowed}


def _allowed(estimator: Any) -> frozenset[str]:
    try:
        told = get_converter(_get_sklearn_operator_name(type(estimator))).get_allowed_options()
    except (AttributeError, RuntimeError, ValueError):
        return frozenset()
    return frozenset(told or ())
