"""Fit every candidate, log each one, turn the best into a model file."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from training.building import Basis, build_file, prepare_basis, write_file
from training.candidates import CANDIDATES, Candidate
from training.environment import prepare
from training.evaluate import CrossValidation, Metrics, cross_validate, importances, measure
from training.evidence import evidence_folder, write_evidence
from training.tracking import RunLog, Tracker
from training.validate import demand_valid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from converters import ModelFile
    from training.config import TrainConfig
    from training.registering import RegisteredVersion

__all__ = [
    "Progress",
    "SavedModel",
    "TrainResult",
    "TrainedCandidate",
    "draw",
    "fit",
    "logged_parameters",
    "rank",
    "silent",
    "train",
]


class Progress(Protocol):
    """Is told before each step what comes next: `done` of `steps` are behind."""

    def __call__(self, done: int, steps: int, text: str, /) -> None:
        """Show it."""


def silent(_done: int, _steps: int, _text: str) -> None:
    """Tell no one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedCandidate:
    """One candidate, fitted on the training rows."""

    candidate: Candidate
    estimator: Any
    cv: CrossValidation
    heldout: Metrics
    run_id: str

    @property
    def name(self) -> str:
        """The candidate's name."""
        return self.candidate.name

    @property
    def parameters(self) -> dict[str, Any]:
        """What the model file's provenance says of how it was made."""
        return {
            "candidate": self.name,
            "estimator": self.candidate.estimator,
            "scaled": self.candidate.scaled,
            **self.candidate.parameters,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedModel:
    """A model file and where it was written."""

    file: ModelFile
    path: Path


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainResult:
    """Every candidate, best first, and the best one's model file."""

    home: Path
    basis: Basis
    candidates: tuple[TrainedCandidate, ...]
    saved: SavedModel

    @property
    def best(self) -> TrainedCandidate:
        """The candidate that `saved` was made from."""
        return self.candidates[0]

    def save(self, candidate: TrainedCandidate, path: Path | None = None) -> SavedModel:
        """Convert, certify and write any of the candidates, its evidence beside it; else under `<home>/models/<name>/`.

        Raises:
            ConverterError: it has no faithful ONNX form (ConversionError, ParityError).
        """
        return _save(self.home, self.basis, candidate, path)

    def register(self, candidate: TrainedCandidate, saved: SavedModel | None = None) -> RegisteredVersion:
        """Make a candidate the newest version of the configured name, beside its scikit-learn form.

        Raises:
            ConverterError: it has no faithful ONNX form.
            RegisterError: the verifier refuses the file.
            TrackingError: the registry fails.
        """
        from training.registering import register

        saved = saved or (self.saved if candidate is self.best else self.save(candidate))
        return register(saved.path, self.basis.config.name, home=self.home, run_id=candidate.run_id)

    def write_heldout_csv(self, path: Path) -> Path:
        """Write the held-out rows with their classes; row i is held-out row i of certificate and messages."""
        from training.data import write_csv

        return write_csv(self.basis.dataset, path, self.basis.split.heldout)


def train(config: TrainConfig, home: Path, progress: Progress = silent, *, output: Path | None = None) -> TrainResult:
    """Train, rank by cross-validation, log every candidate as an MLflow run and convert the best one.

    Equal code, data and configuration give an equal model file on one machine. Nothing is written outside `home` and
    the tracking server but `output`.

    Args:
        config: what to do.
        home: where state lives; made if missing.
        progress: is told of each step.
        output: the best one's model file, its evidence beside it; else `<home>/models/<name>/<start of sha256>.onnx`.

    Raises:
        DataError: the data is not fit to be trained on.
        TrackingError: MLflow fails.
        ConverterError: the best candidate has no faithful ONNX form; its run says so, and no file is written.
    """
    from converters.errors import ConverterError

    prepare(home)
    steps = len(config.search.candidates) + 3
    progress(0, steps, "loading and splitting the data")
    basis = prepare_basis(config)
    demand_valid(basis.dataset, basis.split, config.validation)
    progress(1, steps, "opening MLflow")
    tracker = Tracker(home, config.experiment, tags=_run_tags(basis))
    trained = []
    for number, name in enumerate(config.search.candidates):
        progress(number + 2, steps, f"training {name}")
        with tracker.run(name) as run:
            trained.append(_train_one(CANDIDATES[name], basis, run))
    ranked = rank(trained, config)
    best = ranked[0]
    progress(steps - 1, steps, f"converting {best.name}")
    run = RunLog(tracker.client, best.run_id)
    try:
        saved = _save(home, basis, best, output)
    except ConverterError as error:
        run.tag({"hotgate.best": "true", "hotgate.parity": "fail", "hotgate.reason": str(error)[:4000]})
        raise
    run.tag({"hotgate.best": "true", "hotgate.parity": "pass", "hotgate.sha256": saved.file.sha256})
    progress(steps, steps, "done")
    return TrainResult(home=home, basis=basis, candidates=ranked, saved=saved)


def fit(candidate: Candidate, basis: Basis, run_id: str = "") -> TrainedCandidate:
    """Cross-validate a candidate on the training rows, then fit it on all of them; the held-out ones judge it."""
    config, dataset, split = basis.config, basis.dataset, basis.split
    cv = cross_validate(
        lambda: candidate.build(config.seed), dataset, split.train, folds=config.search.folds, seed=config.seed
    )
    estimator = candidate.build(config.seed).fit(dataset.rows[split.train], dataset.y[split.train])
    heldout = measure(dataset.codes[split.heldout], estimator.predict_proba(dataset.rows[split.heldout]))
    return TrainedCandidate(candidate=candidate, estimator=estimator, cv=cv, heldout=heldout, run_id=run_id)


def _train_one(candidate: Candidate, basis: Basis, run: RunLog) -> TrainedCandidate:
    trained = fit(candidate, basis, run.run_id)
    run.values(parameters=logged_parameters(trained.parameters, basis), metrics=_logged_metrics(trained), tags={})
    run.dataset(basis.dataset)
    run.model(trained.estimator, basis.dataset)
    pictures, shares = draw(trained.estimator, trained.name, basis)
    if shares:
        run.json(shares, "feature_importances.json")
    run.pictures(pictures)
    return trained


def draw(estimator: Any, name: str, basis: Basis) -> tuple[dict[str, bytes], dict[str, float]]:
    """Plots of the held-out rows' answers as PNG by file name, and each column's share in what the model looks at."""
    from training.plots import confusion_matrix_png, importances_png, roc_png

    dataset, heldout = basis.dataset, basis.split.heldout
    codes, probabilities = dataset.codes[heldout], estimator.predict_proba(dataset.rows[heldout])
    pictures = {
        "confusion_matrix.png": confusion_matrix_png(codes, probabilities.argmax(axis=1), dataset.labels, model=name),
        "roc.png": roc_png(codes, probabilities, dataset.labels, model=name),
    }
    shares = importances(estimator, dataset.columns)
    if shares:
        pictures["feature_importances.png"] = importances_png(shares, model=name)
    return pictures, shares


def rank(trained: Sequence[TrainedCandidate], config: TrainConfig) -> tuple[TrainedCandidate, ...]:
    """Best first, by the mean over the folds; the held-out rows have no say, so that they stay an honest judge."""
    sign = 1 if config.search.metric == "log_loss" else -1
    return tuple(sorted(trained, key=lambda one: sign * float(getattr(one.cv.mean, config.search.metric))))


def _save(home: Path, basis: Basis, candidate: TrainedCandidate, path: Path | None) -> SavedModel:
    file = build_file(basis, candidate.estimator, candidate.parameters)
    target = path or home / "models" / basis.config.name / f"{file.sha256[:16]}.onnx"
    write_evidence(evidence_folder(target, file.sha256), basis.dataset, basis.split, fitted_here=True)
    return SavedModel(file=file, path=write_file(file, target))


def _run_tags(basis: Basis) -> dict[str, str]:
    tags = {
        "hotgate.training": uuid.uuid4().hex,  # what one command made belongs together
        "hotgate.data_digest": basis.dataset.digest,
        "mlflow.source.name": "hotgate train",
        "mlflow.source.type": "LOCAL",
    }
    if basis.git_revision:
        tags |= {"hotgate.git_revision": basis.git_revision, "mlflow.source.git.commit": basis.git_revision[:40]}
    return tags


def logged_parameters(parameters: dict[str, Any], basis: Basis) -> dict[str, Any]:
    """What a run says of how its model was made: the candidate's own parameters, and all that goes for every one."""
    config = basis.config
    return {
        **parameters,
        "seed": config.seed,
        "holdout": config.split.holdout,
        "balance_draws": config.split.balance_draws,
        "folds": config.search.folds,
        "data": config.data.source,
    }


def _logged_metrics(trained: TrainedCandidate) -> dict[str, float]:
    parts = {"cv": trained.cv.mean, "cv_std": trained.cv.std, "heldout": trained.heldout}
    return {
        f"{part}_{key}": value
        for part, metrics in parts.items()
        for key, value in msgspec.structs.asdict(metrics).items()
    }
