"""What is logged of each candidate: all of one that was fitted; parameters and folds, or the error, of the others."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from training.card import ModelCard, draw_card, render_card
from training.evaluate import CrossValidation, Metrics, importances, measure

if TYPE_CHECKING:
    from training.building import Basis
    from training.candidates import Candidate
    from training.search import Outcome
    from training.tracking import RunLog

__all__ = ["Fitted", "TrainedCandidate", "draw", "fit", "log_card", "log_outcome", "log_trained", "run_tags"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """An estimator that was fitted on the training rows."""

    name: str
    """The candidate's."""
    parameters: dict[str, Any]
    """What the model file's provenance says of how it was made."""
    estimator: Any
    cv: CrossValidation
    heldout: Metrics


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedCandidate(Fitted):
    """One candidate of a training, fitted."""

    candidate: Candidate
    run_id: str


def fit(candidate: Candidate, cv: CrossValidation, basis: Basis, run_id: str = "") -> TrainedCandidate:
    """Fit a candidate on all training rows; the held-out ones judge it."""
    from threadpoolctl import threadpool_limits

    dataset, split = basis.dataset, basis.split
    with threadpool_limits(1):  # as in the search: several threads would show in the last bits
        estimator = candidate.build(basis.config.seed).fit(dataset.rows[split.train], dataset.y[split.train])
        heldout = measure(dataset.codes[split.heldout], estimator.predict_proba(dataset.rows[split.heldout]))
    return TrainedCandidate(
        name=candidate.name,
        parameters=candidate.described,
        estimator=estimator,
        cv=cv,
        heldout=heldout,
        candidate=candidate,
        run_id=run_id,
    )


def log_trained(trained: Fitted, basis: Basis, run: RunLog) -> None:
    """Log all of a fitted estimator: parameters, metrics, data, model, importances and pictures."""
    metrics = {**_folds(trained.cv), **_metrics("heldout", trained.heldout)}
    run.values(parameters=_logged_parameters(trained.parameters, basis), metrics=metrics, tags={})
    run.dataset(basis.dataset)
    run.model(trained.estimator, basis.dataset)
    pictures, shares = draw(trained.estimator, trained.name, basis)
    if shares:
        run.json(shares, "feature_importances.json")
    run.pictures(pictures)


def log_card(card: ModelCard, run: RunLog) -> None:
    """Log a model card as Markdown and JSON, with its plots."""
    run.text(render_card(card), "model_card.md")
    run.json(msgspec.to_builtins(card), "model_card.json")
    run.pictures(draw_card(card))


def log_outcome(outcome: Outcome, basis: Basis, run: RunLog) -> None:
    """Log a candidate that is not fitted on all rows: it was not among the best, or failed."""
    metrics = {} if outcome.cv is None else _folds(outcome.cv)
    run.values(parameters=_logged_parameters(outcome.candidate.described, basis), metrics=metrics, tags={})
    if outcome.error is not None:
        run.failed(outcome.error)


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


def run_tags(basis: Basis, source: str) -> dict[str, str]:
    """Tags of every run of one training, by the command that makes them."""
    tags = {
        "hotgate.training": uuid.uuid4().hex,  # what one command made belongs together
        "hotgate.data_digest": basis.dataset.digest,
        "mlflow.source.name": source,
        "mlflow.source.type": "LOCAL",
    }
    if basis.git_revision:
        tags |= {"hotgate.git_revision": basis.git_revision, "mlflow.source.git.commit": basis.git_revision[:40]}
    return tags


def _logged_parameters(parameters: dict[str, Any], basis: Basis) -> dict[str, Any]:
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


def _folds(cv: CrossValidation) -> dict[str, float]:
    return {**_metrics("cv", cv.mean), **_metrics("cv_std", cv.std)}


def _metrics(part: str, metrics: Metrics) -> dict[str, float]:
    return {f"{part}_{key}": value for key, value in msgspec.structs.asdict(metrics).items()}
