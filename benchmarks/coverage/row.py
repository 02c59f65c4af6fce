"""One row of the table: an estimator is fitted, converted, verified and held to fresh rows."""

from __future__ import annotations

import re
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from unittest import SkipTest

import msgspec
from sklearn.utils import get_tags

from benchmarks.coverage.check import difference
from benchmarks.coverage.subjects import build, data_of
from converters import ConverterError, convert, verify_file
from converters.cures import CONVERTERS, CURES
from converters.rewriting import inner

if TYPE_CHECKING:
    from benchmarks.coverage.subjects import Subject
    from converters import ModelFile

__all__ = ["Row", "examine"]

_SHOWN = 220


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one estimator on one form of data."""

    name: str
    data: str
    group: str
    verdict: Literal["certified", "cured", "refused", "nothing to serve", "not fitted", "WRONG"]
    reason: str = ""
    """Why not, or which cure; empty for a certified one."""
    kind: str = ""
    precision: str = ""
    error_max: float = 0.0
    """Largest difference of a score on the certificate's rows, in units of its scale."""
    label_flips: int = 0


def examine(subject: Subject) -> Row:
    """Fit, convert, verify and check one estimator; whatever goes wrong is the row's reason."""
    told: dict[str, Any] = {"name": subject.name, "data": subject.data, "group": subject.group}
    warnings.simplefilter("ignore")
    try:
        estimator = build(subject.name)
        if subject.group != "boosters" and (why := _not_of_rows(estimator)):  # lightgbm's tags say too much
            return Row(**told, verdict="nothing to serve", reason=why)
        data = data_of(subject, estimator)
        estimator.fit(data.X) if data.y is None else estimator.fit(data.X, data.y)
    except (Exception, SkipTest) as error:  # noqa: BLE001 - whatever scikit-learn raises is the row
        return Row(**told, verdict="not fitted", reason=_line(error))
    if not any(hasattr(estimator, method) for method in ("predict", "transform")):
        return Row(**told, verdict="nothing to serve", reason="has neither predict nor transform for rows not seen")
    try:
        file = convert(estimator, data.X, data.y)
    except ConverterError as error:
        return Row(**told, verdict="refused", reason=_line(error))
    except Exception as error:  # noqa: BLE001 - a fault of the converter is no reason to hide the row
        return Row(**told, verdict="refused", reason=f"{type(error).__name__}: {_line(error)}")
    return _judged(told, file, estimator, data.fresh)


def _not_of_rows(estimator: Any) -> str:
    """What an estimator reads that reads no rows of columns; empty if it does."""
    tags = get_tags(estimator)
    if tags.target_tags.one_d_labels or tags.target_tags.two_d_labels:
        return "works on y, not on rows"
    reads = tags.input_tags
    if not (reads.two_d_array or reads.one_d_array or reads.string):
        return "reads dictionaries, pictures or the like, not rows of columns"
    return ""


def _judged(told: dict[str, Any], file: ModelFile, estimator: Any, fresh: Any) -> Row:
    signature, certificate = file.metadata.signature, file.metadata.parity
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        path.write_bytes(file.data)
        verdict = verify_file(path)
        if not verdict.ok:
            return Row(**told, verdict="refused", reason=f"the verifier: {_line(verdict.reason)}")
        if wrong := difference(path, signature, estimator, fresh):
            return Row(**told, verdict="WRONG", reason=wrong)
    cures = _cures(estimator)
    inside = any("computes in float64" in note for note in file.notes)
    return Row(
        **told,
        verdict="cured" if cures else "certified",
        reason=", ".join(cures),
        kind=signature.task,
        precision="float64" if signature.dtype == "float64" else "float32, float64 inside" if inside else "float32",
        error_max=float(f"{certificate.error_max:.0e}"),
        label_flips=certificate.label_flips,
    )


def _cures(estimator: Any) -> list[str]:
    """Names of the cures and of the converters of our own that the estimator or a part of it needs."""
    parts = list(inner(estimator))
    names = {f"own converter of {type(part).__name__}" for part in parts if type(part) in CONVERTERS}
    names |= {cure.__name__ for cure in CURES for part in parts if cure(part, None) is not part}
    return sorted(names)


def _line(error: object) -> str:
    text = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
    text = re.sub(r" at 0x[0-9a-f]+", "", text).replace("|", "/")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"
