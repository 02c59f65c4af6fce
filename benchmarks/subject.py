"""What is served while it is measured: small models of known answers, and the proof that they are answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from benchmarks.errors import BenchError
from benchmarks.servers import ask
from training.candidates import CANDIDATES, Candidate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from training.building import Basis

__all__ = ["KINDS", "NAME", "Subject", "check_answers", "row_body", "train_subject", "train_subjects"]

NAME = "cancer-classifier"

KINDS = {
    "linear": CANDIDATES["logistic"],
    "forest": Candidate(
        name="forest-100x5", estimator="RandomForestClassifier", parameters={"n_estimators": 100, "max_depth": 5}
    ),
    "boosting": Candidate(
        name="boosting-200x5",
        estimator="GradientBoostingClassifier",
        parameters={"n_estimators": 200, "max_depth": 5},
    ),
}
"""What can be measured: one run of the cheapest costs about 5 µs for a row, of the others about as much for one row and
ten times as much for sixty-four."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A classifier of 30 floats, and what scikit-learn says of rows that it was not fitted on."""

    kind: str
    """A key of `KINDS`."""
    estimator: Any
    file: Path
    """The same as a model file."""
    rows: npt.NDArray[np.float64]
    predictions: list[Any]
    probabilities: npt.NDArray[np.float64]
    labels: tuple[str, ...]
    tolerance: float


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    prediction: Any
    label: str
    probabilities: dict[str, float]


def train_subject(folder: Path, kind: str, **parameters: Any) -> Subject:
    """Train one model of a kind, with other parameters where they are given."""
    candidate = KINDS[kind]
    changed = msgspec.structs.replace(candidate, parameters={**candidate.parameters, **parameters})
    return _train(_basis(), folder, kind, changed)


def train_subjects(folder: Path, strengths: Iterable[float]) -> Iterator[Subject]:
    """Train one linear model for each regularisation strength; their files differ, their cost does not."""
    basis, linear = _basis(), KINDS["linear"]
    for strength in strengths:
        parameters = {**linear.parameters, "C": strength}
        yield _train(basis, folder, "linear", msgspec.structs.replace(linear, parameters=parameters))


def _basis() -> Basis:
    from training.building import prepare_basis
    from training.config import SplitConfig, TrainConfig

    split = SplitConfig(balance_draws=1)  # any held-out rows will do
    return prepare_basis(TrainConfig(name=NAME, split=split))


def _train(basis: Basis, folder: Path, kind: str, candidate: Candidate) -> Subject:
    from training.building import build_file, write_file

    fitted, held = basis.split.train, basis.dataset.rows[basis.split.heldout]
    estimator = candidate.build(basis.config.seed)
    estimator.fit(basis.dataset.rows[fitted], basis.dataset.y[fitted])
    file = build_file(basis, estimator, candidate.parameters)
    return Subject(
        kind=kind,
        estimator=estimator,
        file=write_file(file, folder / f"{NAME}-{file.sha256[:16]}.onnx"),
        rows=held,
        predictions=estimator.predict(held).tolist(),
        probabilities=estimator.predict_proba(held),
        labels=file.metadata.signature.labels,
        tolerance=file.metadata.parity.tolerance,
    )


def row_body(row: npt.NDArray[np.float64]) -> bytes:
    """The request for one row."""
    return msgspec.json.encode({"features": row.tolist()})


def check_answers(port: int, subject: Subject) -> float:
    """Ask for every held-out row; returns the largest distance from scikit-learn's probability.

    Raises:
        BenchError: an answer is not the one that scikit-learn gives: there is no point in timing it.
    """
    worst = 0.0
    for index, row in enumerate(subject.rows):
        reply = ask(port, "POST", "/predict", row_body(row))
        if reply.status != 200:
            raise BenchError(f"held-out row {index} was answered with {reply.status}: {reply.body[:500]!r}")
        answer = msgspec.json.decode(reply.body, type=_Answer)
        got = np.array([answer.probabilities[label] for label in subject.labels])
        off = float(np.abs(got - subject.probabilities[index]).max())
        if off > subject.tolerance or answer.prediction != subject.predictions[index]:
            raise BenchError(
                f"held-out row {index}: the gateway says {answer.prediction!r} {got.tolist()}, scikit-learn"
                f" {subject.predictions[index]!r} {subject.probabilities[index].tolist()}"
            )
        worst = max(worst, off)
    return worst
