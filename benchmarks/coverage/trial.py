"""One estimator fitted, converted, verified, and its file held against it on rows that nothing else has seen."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from benchmarks.coverage.subjects import ROWS, Subject, subjects_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from converters import ModelFile
    from converters.modelfile import Target

__all__ = ["Row", "try_estimator"]

Verdict = Literal["certified", "cured", "refused", "not finished", "nothing to serve", "WRONG"]

TOLERANCE = 1e-4
"""Of a score on a fresh row, in units of the largest expected one or of the value: ten times the certificate's."""
_HELD = 100
_SHOWN = 160


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one estimator and task."""

    name: str
    task: str
    group: str
    verdict: Verdict
    error: float | None = None
    """The largest that its certificate saw."""
    said: str = ""
    """Which cure, or why not."""


def try_estimator(name: str) -> list[Row]:
    """All rows of one estimator; whatever it raises is a row."""
    rows: list[Row] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            rows.extend(map(_try, subjects_of(name)))
        except Exception as error:  # noqa: BLE001 - it belongs to the table
            rows.append(_row(name, "", "Other", "nothing to serve", f"cannot be constructed: {_line(error)}"))
    return rows or [_row(name, "", "Other", "nothing to serve", "has no instance to try")]


def _row(name: str, task: str, group: str, verdict: Verdict, said: str, error: float | None = None) -> Row:
    return Row(name=name, task=task, group=group, verdict=verdict, said=said, error=error)


def _try(subject: Subject) -> Row:
    from converters import ConverterError, convert, verify_file

    about = (subject.name, subject.task, subject.group)
    try:
        y = None if subject.y is None else subject.y[:ROWS]
        estimator = subject.estimator.fit(subject.part(slice(ROWS)), y)
    except Exception as error:  # noqa: BLE001 - what scikit-learn says of such data
        return _row(*about, "nothing to serve", f"does not take rows and a target: {_line(error)}")
    if not any(hasattr(estimator, method) for method in ("predict", "transform", "decision_function", "predict_proba")):
        return _row(*about, "nothing to serve", "answers nothing for rows that it was not fitted on")
    fitted, held = subject.part(slice(ROWS - _HELD)), subject.part(slice(ROWS - _HELD, ROWS))
    try:
        file = convert(estimator, fitted, subject.y[: ROWS - _HELD], heldout=held)
    except ConverterError as error:
        return _row(*about, "refused", _line(error))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        path.write_bytes(file.data)
        verdict = verify_file(path)
    if not verdict.ok:
        return _row(*about, "refused", f"by the verifier: {verdict.reason}")
    wrong = _wrong(estimator, file, subject)
    if wrong:
        return _row(*about, "WRONG", wrong)
    cures = ", ".join(_cures(estimator, file))
    return _row(*about, "cured" if cures else "certified", cures, file.metadata.parity.error_max)


def _line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"


def _cures(estimator: Any, file: ModelFile) -> Iterator[str]:
    """What was done for it: rewritten parts, converters of hotgate's own, doubles."""
    from converters.cures import CONVERTERS, CURES
    from converters.rewriting import inner

    parts = list(inner(estimator))
    for cure in CURES:
        if any(cure(part, None) is not part for part in parts):
            yield cure.__name__.removeprefix("cure_").replace("_", " ")
    yield from sorted({f"{type(part).__name__}'s converter" for part in parts if type(part) in CONVERTERS})
    yield from (note.partition(":")[0] for note in file.notes if note.startswith("takes"))


def _wrong(estimator: Any, file: ModelFile, subject: Subject) -> str:
    """How a plain session differs from scikit-learn on fresh rows; empty if it does not."""
    import onnxruntime

    fresh = subject.part(slice(ROWS, None))
    signature = file.metadata.signature
    session = onnxruntime.InferenceSession(file.data, providers=["CPUExecutionProvider"])
    answers = session.run([signature.score_output], _feed(fresh, signature))[0].astype(np.float64)
    start = 0
    for place, target in enumerate(signature.targets):
        part = answers[:, start : start + target.columns]
        start += target.columns
        told = _differs(estimator, fresh, target, part, place, several=len(signature.targets) > 1)
        if told:
            return told
    return ""


def _feed(rows: Any, signature: Any) -> dict[str, Any]:
    if isinstance(rows, list):
        texts = np.array(rows, dtype=object)[:, None]
        columns = np.zeros((len(rows), 1), dtype=signature.dtype)
    elif hasattr(rows, "iloc"):
        texts = rows.to_numpy(dtype=object)
        columns = np.zeros(rows.shape, dtype=signature.dtype)
    else:
        return {signature.input_name: np.asarray(rows).astype(signature.dtype)}
    feed = {signature.input_name: columns, signature.text_input: texts}
    return {name: value for name, value in feed.items() if name}


def _differs(
    estimator: Any, rows: Any, target: Target, part: npt.NDArray[np.float64], place: int, *, several: bool
) -> str:
    def of(found: Any) -> npt.NDArray[Any]:
        if isinstance(found, list):
            return np.asarray(found[place])
        if not several:
            return np.asarray(found)
        column = np.asarray(found)[:, place]
        # Of several yes-or-no labels scikit-learn tells the probability of yes alone.
        return np.column_stack([1 - column, column]) if target.scores == "probabilities" else column

    scores = part[:, 1:] if target.decides == "given" else part
    if not target.classes:
        return _far(scores, of(estimator.predict(rows) if hasattr(estimator, "predict") else estimator.transform(rows)))
    if target.decides == "given":
        places = part[:, 0].astype(int)
    else:
        places = (part[:, 0] > 0).astype(int) if target.decides == "sign" else part.argmax(axis=1)
    found = np.asarray(estimator.predict(rows))
    predicted = found[:, place] if several else found.ravel()
    flips = np.array(target.classes, dtype=object)[places] != predicted
    ties = np.zeros(len(part), dtype=bool)
    if scores.shape[1] > 1:
        ordered = np.sort(scores, axis=1)
        ties = ordered[:, -1] - ordered[:, -2] < TOLERANCE
    elif scores.shape[1] == 1:
        ties = np.abs(scores[:, 0]) < TOLERANCE
    if (flips & ~ties).any():
        return f"{int((flips & ~ties).sum())} of {len(flips)} fresh rows have another class"
    if not target.width:
        return ""
    method = next(
        name
        for name in (["predict_proba"] if target.scores == "probabilities" else ["decision_function", "transform"])
        if hasattr(estimator, name)
    )
    return _far(scores, of(getattr(estimator, method)(rows)))


def _far(found: npt.NDArray[np.float64], expected: Any) -> str:
    expected = np.asarray(expected.todense() if hasattr(expected, "todense") else expected, dtype=np.float64)
    expected = expected.reshape(len(expected), -1)
    if found.shape != expected.shape:
        return f"a fresh row has {found.shape[1]} values, scikit-learn {expected.shape[1]}"
    scale = np.maximum(np.abs(expected), max(float(np.abs(expected).std()), 1e-12))
    worst = float((np.abs(found - expected) / scale).max())
    return f"a fresh row is off by {worst:.2g}" if not worst <= TOLERANCE else ""
