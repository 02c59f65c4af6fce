"""Search, fit the best candidates, log every one, turn the best into a model file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.building import Basis, build_file, prepare_basis, write_file
from training.card import ModelCard, make_card
from training.engine import IN_TURN, Engine
from training.environment import prepare
from training.evidence import evidence_folder, write_evidence
from training.resume import Finished
from training.runs import TrainedCandidate, fit, log_card, log_outcome, log_trained, run_tags
from training.search import Outcome, Progress, demand_one, errors_of, rank, search, silent
from training.space import candidates_of
from training.tracking import RunLog, Tracker
from training.validate import demand_valid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from converters import ModelFile
    from training.config import TrainConfig
    from training.registering import RegisteredVersion

__all__ = ["Progress", "SavedModel", "TrainResult", "TrainedCandidate", "silent", "train"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedModel:
    """A model file and where it was written."""

    file: ModelFile
    path: Path


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainResult:
    """The search, its best candidates fitted, and the best one's model file."""

    home: Path
    basis: Basis
    outcomes: tuple[Outcome, ...]
    """Of every candidate, in the order they were tried."""
    candidates: tuple[TrainedCandidate, ...]
    """Those that were kept, best first."""
    saved: SavedModel
    card: ModelCard
    """The best one's."""

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


def train(
    config: TrainConfig,
    home: Path,
    progress: Progress = silent,
    *,
    output: Path | None = None,
    engine: Engine = IN_TURN,
) -> TrainResult:
    """Train, rank by cross-validation, log every candidate as an MLflow run and convert the best one.

    Equal code, data and configuration give an equal model file on one machine. If the search is interrupted, the next
    one goes on with the candidates that it had not finished. Nothing is written outside `home` and
    the tracking server but `output`.

    Args:
        config: what to do.
        home: where state lives; made if missing.
        progress: is told of each step.
        output: the best one's model file, its evidence beside it; else `<home>/models/<name>/<start of sha256>.onnx`.
        engine: tries the candidates.

    Raises:
        ConfigError: the search space names what scikit-learn does not have, or the engine is not installed.
        DataError: the data is not fit to be trained on.
        EngineError: the engine broke down; the next training goes on from there.
        SearchError: every candidate failed; each is logged as a failed run.
        TrackingError: MLflow fails.
        ConverterError: the best candidate has no faithful ONNX form; its run says so, and no file is written.
    """
    from converters.errors import ConverterError

    prepare(home)
    candidates = candidates_of(config)
    kept = min(len(candidates), config.search.keep)
    steps = len(candidates) + kept + 3
    progress(0, steps, "loading and splitting the data")
    basis = prepare_basis(config)
    demand_valid(basis.dataset, basis.split, config.validation)
    progress(1, steps, "opening MLflow")
    tracker = Tracker(home, config.experiment, tags=run_tags(basis, "hotgate train"))
    finished = Finished(home / "search", basis)
    outcomes = search(
        candidates, basis, lambda done, _, text: progress(done + 2, steps, text), engine=engine, memory=finished
    )
    before = 2 + len(candidates)
    trained = _log(outcomes, basis, tracker, lambda done, _, text: progress(done + before, steps, text))
    demand_one(outcomes)
    best = trained[0]
    progress(steps - 1, steps, f"converting {best.name}")
    run = RunLog(tracker.client, best.run_id)
    try:
        saved = _save(home, basis, best, output)
    except ConverterError as error:
        run.tag({"hotgate.best": "true", "hotgate.parity": "fail", "hotgate.reason": str(error)[:4000]})
        raise
    card = make_card(
        basis,
        best.estimator,
        best.parameters,
        sha256=saved.file.sha256,
        cv=best.cv,
        heldout=best.heldout,
        failed=errors_of(outcomes),
        tried=len(outcomes),
    )
    log_card(card, run)
    run.tag({"hotgate.best": "true", "hotgate.parity": "pass", "hotgate.sha256": saved.file.sha256})
    finished.forget(outcomes)
    progress(steps, steps, "done")
    return TrainResult(home=home, basis=basis, outcomes=outcomes, candidates=tuple(trained), saved=saved, card=card)


def _log(outcomes: Sequence[Outcome], basis: Basis, tracker: Tracker, progress: Progress) -> list[TrainedCandidate]:
    """Make a run of each outcome, and fit the best ones; those come back, best first."""
    best = rank(outcomes, basis.config.search)[: basis.config.search.keep]
    kept, trained = {one.candidate.name for one in best}, list[TrainedCandidate]()
    for outcome in outcomes:
        name = outcome.candidate.name
        if outcome.cv is not None and name in kept:
            progress(len(trained), len(kept), f"fitting and logging {name}")
            with tracker.run(name) as run:
                trained.append(fit(outcome.candidate, outcome.cv, basis, run.run_id))
                log_trained(trained[-1], basis, run)
        else:
            with tracker.run(name) as run:
                log_outcome(outcome, basis, run)
    return list(rank(trained, basis.config.search))


def _save(home: Path, basis: Basis, candidate: TrainedCandidate, path: Path | None) -> SavedModel:
    file = build_file(basis, candidate.estimator, candidate.parameters)
    target = path or home / "models" / basis.config.name / f"{file.sha256[:16]}.onnx"
    write_evidence(evidence_folder(target, file.sha256), basis.dataset, basis.split, fitted_here=True)
    return SavedModel(file=file, path=write_file(file, target))
