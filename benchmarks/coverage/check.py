"""Whether a written file answers fresh rows as scikit-learn does, found out without the certificate's code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

if TYPE_CHECKING:
    from pathlib import Path

    from converters.modelfile import Signature, Target

__all__ = ["WRONG_BEYOND", "difference"]

WRONG_BEYOND = 1e-3
"""In units of a score's size, at least 1: far above float32's rounding, far below what a wrong formula gives."""
_METHODS = {"probabilities": "predict_proba", "decision": "decision_function"}


def difference(path: Path, signature: Signature, estimator: Any, fresh: Any) -> str:
    """What is wrong with the file's answers to fresh rows; empty if nothing is."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    if signature.texts:
        feed = {signature.text_input: np.array(fresh, dtype=object)[:, None]}
        if signature.input_name in {item.name for item in session.get_inputs()}:
            feed[signature.input_name] = np.zeros((len(fresh), len(signature.columns)), dtype=signature.dtype)
    else:
        feed = {signature.input_name: np.asarray(fresh, dtype=signature.dtype)}
    (answers,) = session.run([signature.score_output], feed)
    start = 0
    for place, target in enumerate(signature.targets):
        part = answers[:, start : start + target.columns]
        start += target.columns
        if wrong := _wrong(target, part, estimator, fresh, place if len(signature.targets) > 1 else -1):
            return f"{target.name}: {wrong}"
    return ""


def _wrong(target: Target, part: Any, estimator: Any, fresh: Any, place: int) -> str:
    scores = part[:, 1:] if target.decides == "given" else part
    if target.width:
        expected = _expected(target, estimator, fresh, place)
        error = np.abs(scores - expected) / np.maximum(1, np.abs(expected))
        if scores.shape != expected.shape or not error.max() <= WRONG_BEYOND:
            return f"a score is off by {error.max():.2g}"
    if not target.classes:
        return ""
    if target.decides == "given":
        found, margin = part[:, 0].astype(int), np.full(len(part), np.inf)
    elif target.decides == "sign":
        found, margin = (part[:, 0] > 0).astype(int), np.abs(part[:, 0])
    else:
        ordered = np.sort(part, axis=1)
        found, margin = part.argmax(axis=1), ordered[:, -1] - ordered[:, -2]
    told = np.asarray(estimator.predict(fresh))
    told = told[:, place] if place >= 0 else told.reshape(-1)
    flips = (np.array(target.classes)[found] != told) & (margin > WRONG_BEYOND)
    return f"{flips.sum()} of {len(flips)} labels are others" if flips.any() else ""


def _expected(target: Target, estimator: Any, fresh: Any, place: int) -> Any:
    method = _METHODS.get(target.scores, "transform")
    told = getattr(estimator, method if hasattr(estimator, method) else "predict")(fresh)
    if target.scores == "value" and hasattr(estimator, "predict") and not target.classes:
        predicted = np.asarray(estimator.predict(fresh))
        if predicted.size == len(fresh) * target.width or place >= 0:
            told = predicted
    if isinstance(told, list):
        return np.asarray(told[place])
    told = np.asarray(told.toarray() if hasattr(told, "toarray") else told, dtype=float)
    if place < 0:
        return told.reshape(len(told), -1)
    column = told[:, place]
    return np.column_stack([1 - column, column]) if target.width == 2 else column[:, None]
