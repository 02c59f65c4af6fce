"""Estimator and data in, model file out: the one place where all parts of the contract are put together."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from converters.adversarial import adversarial_rows, holed_rows, takes_missing
from converters.conversion import INPUT_NAME, TEXT_INPUT, check_fitted, graph_of
from converters.errors import ConversionError, ConverterError, ParityError
from converters.golden import check_golden, choose_golden
from converters.graph import graph_sha256, serialize, with_properties
from converters.modelfile import MAX_TOLERANCE, Column, Metadata, Provenance, Signature, write_metadata
from converters.oracle import oracle_of, settle
from converters.parity import TOLERANCE, certify, compare
from converters.profile import profile
from converters.rows import Rows, join
from converters.session import open_session, score
from converters.table import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import onnx

    from converters.conversion import Dtype
    from converters.modelfile import Certificate
    from converters.oracle import Oracle
    from converters.parity import Run

    Given = npt.NDArray[np.float64] | Rows

__all__ = ["ModelFile", "Precision", "build_model_file"]

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
    notes: tuple[str, ...] = ()
    """What was decided on the way and is worth knowing: a precision, rows that were held out."""


@dataclass(frozen=True, kw_only=True)
class Precision:
    """In what numbers a graph takes its rows, and in what it computes."""

    takes: Dtype = "float32"
    computes: Dtype = "float32"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Candidate:
    """A graph with its certificate, passed or not."""

    model: Any
    session: Any
    signature: Signature
    certificate: Certificate
    adversarial: Rows


def build_model_file(  # noqa: PLR0913 - all that a file is made of
    estimator: Any,
    *,
    columns: Sequence[Column],
    train_rows: Given,
    heldout_rows: Given,
    provenance: Provenance,
    labels: Sequence[str] | None = None,
    tolerance: float = TOLERANCE,
    layout: Layout | None = None,
    precisions: Sequence[Precision] = (Precision(),),
    target_names: Sequence[str] = (),
) -> ModelFile:
    """Convert, certify and describe a fitted estimator; equal inputs give equal bytes.

    Args:
        estimator: fitted; `oracle_of` says what it may predict.
        columns: one a column of the rows, in order.
        train_rows: float64 [n, columns], the features' reference; a category's values are the numbers it is sent as.
            `Rows` if there are texts.
        heldout_rows: the same [m, columns], that the estimator was not fitted on: certificate, golden rows, and the
            reference of the scores and of the predicted classes.
        provenance: what the file says of its origin.
        labels: display names of `estimator.classes_`, else the classes as text.
        tolerance: largest allowed difference of a score in units of its scale (of a probability, absolute), above 0
            and at most `MAX_TOLERANCE`.
        layout: how rows become what the estimator was fitted on; a matrix, if not given.
        precisions: tried in this order until a certificate passes.
        target_names: one a target, else `label` or `value`.

    Raises:
        ConversionError: the estimator has no faithful ONNX form, or rows, columns and labels do not fit it.
        ParityError: the graph is out of tolerance; names the worst rows and how far they are.
    """
    train, heldout = (rows if isinstance(rows, Rows) else Rows(numbers=rows) for rows in (train_rows, heldout_rows))
    _check_inputs(columns, train, heldout, tolerance)
    check_fitted(estimator)
    _check_width(estimator, columns)
    oracle = oracle_of(estimator, layout or Layout(), heldout[:2], labels)
    if target_names:
        oracle = _named(oracle, target_names)
    adversarial = adversarial_rows(oracle, heldout, columns)
    oracle = settle(oracle, heldout, adversarial, tolerance)
    found, failures = None, list[ConverterError]()
    for precision in precisions:
        try:
            candidate = _candidate(oracle, columns, heldout, adversarial, precision, tolerance)
        except ConversionError as error:
            failures.append(error)
            continue
        if candidate.certificate.passed:
            found = candidate
            break
        run = _runner(candidate)
        failures.append(ParityError(_explain(oracle, run, heldout, candidate.adversarial, tolerance)))
    if found is None:
        raise failures[0]
    notes: tuple[str, ...] = ()
    if failures:
        notes = (f"takes {precision.takes} and computes in {precision.computes}: in float32 it is out of tolerance",)
    return _described(found, oracle, train, heldout, provenance, notes)


def _candidate(
    oracle: Oracle,
    columns: Sequence[Column],
    heldout: Rows,
    adversarial: Rows,
    precision: Precision,
    tolerance: float,
) -> _Candidate:
    """Convert in one precision and measure."""
    graph = graph_of(oracle, columns, heldout, dtype=precision.takes, computes=precision.computes)
    session = open_session(serialize(graph.model))
    texts = any(column.kind == "string" for column in columns)
    signature = Signature(
        columns=tuple(columns),
        form="table" if oracle.layout.form == "table" else "matrix",
        dtype=precision.takes,
        input_name=INPUT_NAME,
        text_input=TEXT_INPUT if texts else "",
        task=oracle.task,
        targets=oracle.targets,
        score_output=graph.output,
    )

    def run(rows: Rows) -> npt.NDArray[np.float32]:
        try:
            return score(session, signature, *rows.feed(signature))
        except Exception as error:  # onnxruntime's own classes are all alike
            raise ConversionError(
                f"onnxruntime cannot run the converted graph: {' '.join(str(error).split())}"
            ) from error

    missing = takes_missing(oracle, run, heldout, columns, tolerance)
    if any(missing):
        filled = [
            msgspec.structs.replace(column, missing=taken)
            for column, taken in zip(signature.columns, missing, strict=True)
        ]
        signature = msgspec.structs.replace(signature, columns=tuple(filled))
    adversarial = join([adversarial, holed_rows(oracle, heldout, columns, missing)])
    certificate = certify(
        oracle, run, heldout, adversarial, graph_sha256=graph_sha256(graph.model), tolerance=tolerance
    )
    return _Candidate(
        model=graph.model, session=session, signature=signature, certificate=certificate, adversarial=adversarial
    )


def _runner(candidate: _Candidate) -> Run:
    def run(rows: Rows) -> npt.NDArray[np.float32]:
        return score(candidate.session, candidate.signature, *rows.feed(candidate.signature))

    return run


def _described(
    found: _Candidate, oracle: Oracle, train: Rows, heldout: Rows, provenance: Provenance, notes: tuple[str, ...]
) -> ModelFile:
    """The file: graph, signature, reference, golden rows, certificate, provenance."""
    signature, graph = found.signature, found.certificate.graph_sha256
    answers, run = oracle.ask(heldout).answers, _runner(found)
    both = compare(oracle, run, heldout)
    steady = heldout[~both.flips] if not both.flips.all() else heldout
    metadata = Metadata(
        signature=signature,
        reference=profile(signature, run, train, heldout, answers, graph),
        golden=choose_golden(steady.encoded(signature), signature, oracle.ask(steady).answers, graph),
        parity=found.certificate,
        provenance=provenance,
    )
    check_golden(partial(score, found.session, signature), metadata)
    model: onnx.ModelProto = found.model
    data = with_properties(model, write_metadata(metadata))
    return ModelFile(data=data, sha256=hashlib.sha256(data).hexdigest(), metadata=metadata, notes=notes)


def _named(oracle: Oracle, names: Sequence[str]) -> Oracle:
    if len(names) != len(oracle.targets):
        raise ConversionError(f"{len(names)} names for {len(oracle.targets)} targets")
    targets = [msgspec.structs.replace(target, name=name) for target, name in zip(oracle.targets, names, strict=True)]
    return oracle._replace(targets=tuple(targets))


def _check_inputs(columns: Sequence[Column], train: Rows, heldout: Rows, tolerance: float) -> None:
    names = [column.name for column in columns]
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise ConversionError(f"two columns are named {twice!r}")
    for kind, rows in (("training", train.numbers), ("held-out", heldout.numbers)):
        if rows.ndim != 2 or rows.shape[1] != len(columns) or not len(rows):
            raise ConversionError(f"{kind} rows have shape {rows.shape}, expected [1 or more, {len(columns)} columns]")
    if not 0 < tolerance <= MAX_TOLERANCE:
        raise ConversionError(f"tolerance must be above 0 and at most {MAX_TOLERANCE:g}, not {tolerance:g}")


def _check_width(estimator: Any, columns: Sequence[Column]) -> None:
    taken = getattr(estimator, "n_features_in_", len(columns))
    if taken != len(columns):
        raise ConversionError(f"{type(estimator).__name__} was fitted on {taken} columns, {len(columns)} are named")


def _explain(oracle: Oracle, run: Run, heldout: Rows, adversarial: Rows, tolerance: float) -> str:
    """Say which rows are out of tolerance and how far, held-out rows first: they are the user's own."""
    lines, rounding = [], True
    for kind, rows in (("held-out", heldout), ("adversarial", adversarial)):
        both = compare(oracle, run, rows)
        bad = both.failing(tolerance)
        if bad.size:
            worst = bad[np.lexsort((-both.margins[bad], -both.errors[bad]))][:_SHOWN_ROWS]
            lines.append(f"{bad.size} of {len(rows)} {kind} rows: " + ", ".join(both.say(row) for row in worst))
            rounded = Rows(numbers=rows[bad].numbers.astype(np.float32).astype(np.float64), texts=rows[bad].texts)
            rounding &= not compare(oracle, run, rounded).failing(tolerance).size
    text = f"{type(oracle.estimator).__name__} in ONNX is not what scikit-learn is, tolerance {tolerance:.3g}: "
    return text + "; ".join(lines) + (_ROUNDING if rounding else "")
