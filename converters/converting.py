"""`converters.convert`: a fitted estimator and its data in any shape become a model file."""

from __future__ import annotations

import hashlib
import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from converters.build import Precision, build_model_file
from converters.conversion import check_fitted
from converters.errors import ConversionError
from converters.modelfile import Column, Provenance
from converters.parity import TOLERANCE, versions
from converters.table import frame_of, read_table, stacked, texts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from converters.build import ModelFile
    from converters.rows import Rows
    from converters.table import Table

__all__ = ["convert", "register_converters"]

_HELDOUT_SHARE = 0.25
_SINGLE = Precision()
_INSIDE = Precision(computes="float64")
_DOUBLE = Precision(takes="float64", computes="float64")
_EXACT_MAX = 2**24
"""The whole numbers up to here are all in float32."""


def convert(  # noqa: PLR0913 - one call for all that can be said
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    heldout: Any = None,
    columns: Sequence[str | Column] | None = None,
    labels: Sequence[str] | None = None,
    provenance: Provenance | None = None,
    tolerance: float = TOLERANCE,
    converters: Sequence[str | Callable[[], object]] = (),
    seed: int = 0,
) -> ModelFile:
    """Convert a fitted estimator of any kind, certify it on data and describe it; equal inputs give equal bytes.

    The graph takes and computes in float32 if it then passes its certificate, else computes in float64, else takes
    float64 too; whole numbers that float32 cannot hold need the last. `notes` of the file say what was chosen.

    Args:
        estimator: classifier, regressor, outlier detector, clusterer or transformer, alone or in a pipeline.
        X: rows that the estimator was fitted on: a DataFrame (pandas, polars, the interchange protocol), a mapping of
            columns, a matrix, or texts. Input columns and their kinds are read off it.
        y: the targets, for their names, and so that each class has its share of the held-out rows; may be left out.
        heldout: rows of the same shape that it was not fitted on. Without, a quarter of X is taken, and `notes` say so.
        columns: names of a matrix's columns, or `Column`s to say that a number of a frame is a category.
        labels: display names of the classes, else the classes as text.
        provenance: what the file says of its origin, else the data's digest, the versions and the seed.
        tolerance: largest allowed difference of a score in units of its scale.
        converters: `package.module:function` or functions, which register converters of your own with skl2onnx.
        seed: of the split.

    Raises:
        ConversionError: the estimator or the data has no faithful form; says what works instead.
        ParityError: the graph does not answer as scikit-learn does.
    """
    register_converters(converters)
    check_fitted(estimator)
    table, count = _both(X, heldout, columns, getattr(estimator, "feature_names_in_", None))
    notes: tuple[str, ...] = ()
    if heldout is None:
        judges = _heldout(count, y, seed)
        notes = (f"no held-out rows were given: {judges.sum()} of {count} rows, by seed {seed}, judge the graph",)
    else:
        judges = np.arange(len(table.rows)) >= count
    train, wide = table.rows[~judges], _too_wide(table)
    if wide:
        notes = (*notes, f"takes float64: column {wide!r} holds whole numbers that float32 does not")
    file = build_model_file(
        estimator,
        columns=table.columns,
        train_rows=train,
        heldout_rows=table.rows[judges],
        provenance=provenance or _provenance(train, seed),
        labels=labels,
        tolerance=tolerance,
        layout=table.layout,
        precisions=[_DOUBLE] if wide else [_SINGLE, _INSIDE, _DOUBLE],
        target_names=_names(y),
    )
    return replace(file, notes=(*notes, *file.notes))


def register_converters(converters: Sequence[str | Callable[[], object]]) -> None:
    """Call what registers a user's converters with skl2onnx.

    Raises:
        ConversionError: there is no such module or function, or it raises.
    """
    for each in converters:
        try:
            if isinstance(each, str):
                module, _, function = each.partition(":")
                getattr(importlib.import_module(module), function)()
            else:
                each()
        except Exception as error:  # whatever a user's module does
            raise ConversionError(
                f"converter {each!r} cannot be registered ({error}): it has to be `package.module:function`, and the"
                " function calls skl2onnx.update_registered_converter"
            ) from error


def _both(X: Any, heldout: Any, columns: Sequence[str | Column] | None, names: Any) -> tuple[Table, int]:
    """The data and the held-out rows behind it, read as one, and how many are of the data."""
    data = frame_of(X)
    if data is None:
        if columns is None and names is not None:
            columns = [str(name) for name in names]
        if heldout is None:
            return read_table(X, columns), len(X)
        if texts_of(X) != texts_of(heldout):
            raise ConversionError("held-out rows are of another form than the data")
        both = [*X, *heldout] if texts_of(X) else np.concatenate([np.asarray(X), np.asarray(heldout)])
        return read_table(both, columns), len(X)
    if heldout is not None:
        data, count = stacked(data, frame_of(heldout)), len(data)
    else:
        count = len(data)
    if names is not None:
        absent = [name for name in names if name not in data.columns]
        if absent:
            raise ConversionError(f"the data has no column {absent[0]!r}, which the estimator was fitted on")
        data = data[list(names)]
    table = read_table(data)
    told = {column.name: column for column in columns or () if isinstance(column, Column)}
    return table.retold([told.get(column.name, column) for column in table.columns]), count


def _heldout(count: int, y: Any, seed: int) -> npt.NDArray[np.bool_]:
    """A quarter of the rows, of every class some."""
    rng, judges = np.random.default_rng(seed), np.zeros(count, dtype=np.bool_)
    order = rng.permutation(count)
    if y is not None and np.ndim(y) == 1 and len(y) == count:
        values = np.asarray(y)
        _, codes = np.unique(values.astype(str), return_inverse=True)
        if codes.max(initial=0) < count // 4:
            order = order[np.argsort(codes[order], kind="stable")]
    judges[order[:: round(1 / _HELDOUT_SHARE)]] = True
    if judges.all():
        raise ConversionError(f"{count} rows are too few to hold some out: give `heldout`")
    return judges


def _too_wide(table: Table) -> str:
    """The first column whose whole numbers or dates would change in float32; empty if there is none."""
    for place, column in enumerate(table.columns):
        values = table.rows.numbers[:, place]
        if column.kind == "int" and np.abs(values[np.isfinite(values)]).max(initial=0) > _EXACT_MAX:
            return column.name
    return ""


def _names(y: Any) -> tuple[str, ...]:
    """The targets' names, where `y` has several that it names."""
    several = getattr(y, "columns", None)
    return tuple(str(name) for name in several) if several is not None and len(several) > 1 else ()


def _provenance(train: Rows, seed: int) -> Provenance:
    digest = hashlib.sha256(np.ascontiguousarray(train.numbers).tobytes())
    if train.texts is not None:
        digest.update("\0".join(train.texts.ravel().tolist()).encode())
    return Provenance(git_revision=None, data_digest=digest.hexdigest(), parameters={}, versions=versions(), seed=seed)
