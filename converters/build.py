"""Estimator and data in, model file out: the one place where all parts of the contract are put together."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from converters.answers import label_of, score_of
from converters.conversion import INPUT_NAME, SCORE_OUTPUT, convert
from converters.effects import with_effects
from converters.errors import ConversionError, ParityError
from converters.golden import check_golden, choose_golden
from converters.graph import graph_sha256, serialize, with_properties
from converters.modelfile import (
    MAX_TOLERANCE,
    Column,
    Metadata,
    Provenance,
    Signature,
    Target,
    watched_as,
    write_metadata,
)
from converters.numbers import encode_rows
from converters.parity import TOLERANCE, adversarial_rows, certify, compare, probabilities_of, takes_missing
from converters.session import open_session, score
from monitoring import build_reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = ["ModelFile", "build_model_file"]

_SHOWN_ROWS = 5
_ROUNDING = (
    ". Rounded to float32 these rows agree: the model decides them by digits that float32 does not hold, most often"
    " because a scaled value lies on a tree's threshold (trees need no scaler: leave it out)"
)


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """One ONNX file that is the whole contract between training and gateway."""

    data: bytes
    sha256: str
    metadata: Metadata


def build_model_file(
    estimator: Any,
    *,
    columns: Sequence[Column],
    train_rows: npt.NDArray[np.float64],
    heldout_rows: npt.NDArray[np.float64],
    provenance: Provenance,
    labels: Sequence[str] | None = None,
    tolerance: float = TOLERANCE,
) -> ModelFile:
    """Convert, certify and describe a fitted classifier; equal inputs give equal bytes.

    Args:
        estimator: fitted, with `predict_proba`.
        columns: one a column of the rows, in order.
        train_rows: float64 [n, columns], the features' reference; a category's values are the numbers it is sent as.
        heldout_rows: float64 [m, columns] that the estimator was not fitted on: certificate, golden rows, and the
            reference of the scores and of the predicted classes.
        provenance: what the file says of its origin.
        labels: display names of `estimator.classes_`, else the classes as text.
        tolerance: largest allowed absolute difference of a probability, above 0 and at most `MAX_TOLERANCE`.

    Raises:
        ConversionError: the estimator has no faithful ONNX form, or rows, columns and labels do not fit it.
        ParityError: the graph is out of tolerance; names the worst rows and how far they are.
    """
    _check_inputs(columns, train_rows, heldout_rows, tolerance)
    model = convert(estimator, len(columns))
    classes = tuple(np.asarray(estimator.classes_).tolist())
    if labels is not None and len(labels) != len(classes):
        raise ConversionError(f"{len(labels)} labels for {len(classes)} classes {classes}")
    session = open_session(serialize(model))
    target = Target(
        classes=classes,
        labels=tuple(labels) if labels is not None else tuple(str(value) for value in classes),
        width=len(classes),
    )
    signature = Signature(columns=tuple(columns), input_name=INPUT_NAME, targets=(target,), score_output=SCORE_OUTPUT)

    def run(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return score(session, signature, rows)

    missing = takes_missing(estimator, run, heldout_rows, tolerance)
    if missing:
        filled = [msgspec.structs.replace(column, missing=True) for column in signature.columns]
        signature = msgspec.structs.replace(signature, columns=tuple(filled))
    graph = graph_sha256(model)
    adversarial = adversarial_rows(estimator, heldout_rows, missing=missing)
    certificate = certify(estimator, run, heldout_rows, adversarial, graph_sha256=graph, tolerance=tolerance)
    if not certificate.passed:
        raise ParityError(_explain(estimator, run, heldout_rows, adversarial, tolerance))
    probabilities = probabilities_of(estimator, heldout_rows)
    reference = build_reference(
        train_rows,
        score_of(signature, probabilities),
        names=[column.name for column in columns],
        kinds=[watched_as(column) for column in columns],
        graph_sha256=graph,
        dtype=signature.dtype,
        labels=label_of(signature, probabilities),
        classes=signature.labels,
    )
    metadata = Metadata(
        signature=signature,
        reference=with_effects(reference, lambda rows: score_of(signature, run(rows)), train_rows, heldout_rows),
        golden=choose_golden(encode_rows(heldout_rows), signature, probabilities, graph),
        parity=certificate,
        provenance=provenance,
    )
    check_golden(partial(score, session, signature), metadata)
    data = with_properties(model, write_metadata(metadata))
    return ModelFile(data=data, sha256=hashlib.sha256(data).hexdigest(), metadata=metadata)


def _check_inputs(
    columns: Sequence[Column],
    train_rows: npt.NDArray[np.float64],
    heldout_rows: npt.NDArray[np.float64],
    tolerance: float,
) -> None:
    names = [column.name for column in columns]
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise ConversionError(f"two columns are named {twice!r}")
    for kind, rows in (("training", train_rows), ("held-out", heldout_rows)):
        if rows.ndim != 2 or rows.shape[1] != len(columns) or not len(rows):
            raise ConversionError(f"{kind} rows have shape {rows.shape}, expected [1 or more, {len(columns)} columns]")
    if not 0 < tolerance <= MAX_TOLERANCE:
        raise ConversionError(f"tolerance must be above 0 and at most {MAX_TOLERANCE:g}, not {tolerance:g}")


def _explain(
    estimator: Any, run: Any, heldout: npt.NDArray[np.float64], adversarial: npt.NDArray[np.float64], tolerance: float
) -> str:
    """Say which rows are out of tolerance and how far, held-out rows first: they are the user's own."""
    lines, rounding = [], True
    for kind, rows in (("held-out", heldout), ("adversarial", adversarial)):
        both = compare(estimator, run, rows)
        bad = both.failing(tolerance)
        if bad.size:
            worst = bad[np.lexsort((-both.margins[bad], -both.errors[bad]))][:_SHOWN_ROWS]
            lines.append(f"{bad.size} of {len(rows)} {kind} rows: " + ", ".join(both.say(row) for row in worst))
            rounded = rows[bad].astype(np.float32).astype(np.float64)
            rounding &= not compare(estimator, run, rounded).failing(tolerance).size
    text = f"{type(estimator).__name__} in ONNX is not what scikit-learn is, tolerance {tolerance:.3g}: "
    return text + "; ".join(lines) + (_ROUNDING if rounding else "")
