"""Estimator and data in, model file out: the one place where all parts of the contract are put together."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from converters.convert import INPUT_NAME, SCORE_OUTPUT, convert
from converters.errors import ConversionError, ParityError
from converters.golden import check_golden, choose_golden
from converters.graph import graph_sha256, serialize, with_properties
from converters.modelfile import Column, Metadata, Provenance, Signature, write_metadata
from converters.parity import TOLERANCE, adversarial_rows, certify, compare, takes_missing
from converters.session import open_session, score, score_of
from monitoring import build_reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = ["ModelFile", "build_model_file"]


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
        train_rows: float64 [n, columns], the features' reference.
        heldout_rows: float64 [m, columns] that the estimator was not fitted on: certificate, golden rows, and the
            reference of the scores.
        provenance: what the file says of its origin.
        labels: display names of `estimator.classes_`, else the classes as text.
        tolerance: largest allowed absolute difference of a probability.

    Raises:
        ConversionError: the estimator has no faithful ONNX form.
        ParityError: the graph is out of tolerance; names the worst rows and how far they are.
    """
    classes = tuple(np.asarray(estimator.classes_).tolist())
    if labels is not None and len(labels) != len(classes):
        raise ConversionError(f"{len(labels)} labels for {len(classes)} classes {classes}")
    model = convert(estimator, len(columns))
    session = open_session(serialize(model))
    signature = Signature(
        columns=tuple(columns),
        input_name=INPUT_NAME,
        classes=classes,
        labels=tuple(labels) if labels is not None else tuple(str(value) for value in classes),
        score_output=SCORE_OUTPUT,
    )

    def run(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return score(session, signature, rows)

    missing = takes_missing(estimator, run, heldout_rows, tolerance)
    signature = msgspec.structs.replace(signature, missing="accepted" if missing else "refused")
    graph = graph_sha256(model)
    adversarial = adversarial_rows(estimator, heldout_rows, missing=missing)
    certificate = certify(estimator, run, heldout_rows, adversarial, graph_sha256=graph, tolerance=tolerance)
    if not certificate.passed:
        raise ParityError(_explain(estimator, run, heldout_rows, adversarial, tolerance))
    probabilities = np.asarray(estimator.predict_proba(heldout_rows), dtype=np.float64)
    metadata = Metadata(
        signature=signature,
        reference=build_reference(
            train_rows,
            score_of(probabilities),
            names=[column.name for column in columns],
            kinds=[column.kind for column in columns],
            graph_sha256=graph,
            dtype=signature.dtype,
        ),
        golden=choose_golden(heldout_rows, probabilities, graph),
        parity=certificate,
        provenance=provenance,
    )
    check_golden(run, metadata)
    data = with_properties(model, write_metadata(metadata))
    return ModelFile(data=data, sha256=hashlib.sha256(data).hexdigest(), metadata=metadata)


def _explain(
    estimator: Any, run: Any, heldout: npt.NDArray[np.float64], adversarial: npt.NDArray[np.float64], tolerance: float
) -> str:
    """Say which rows are out of tolerance and how far, held-out rows first: they are the user's own."""
    lines = []
    for kind, rows in (("held-out", heldout), ("adversarial", adversarial)):
        if not len(rows):
            continue
        both = compare(estimator, run, rows)
        bad = both.failing(tolerance)
        if bad.size:
            worst = bad[np.argsort(-both.errors[bad], kind="stable")][:5]
            named = ", ".join(f"row {index} off by {both.errors[index]:.3g}" for index in worst)
            lines.append(f"{bad.size} of {len(rows)} {kind} rows: {named}")
    name = type(estimator).__name__
    return f"{name} in ONNX is not what scikit-learn is, tolerance {tolerance:.3g}: " + "; ".join(lines)
