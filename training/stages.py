"""The pipeline's stages: files in, files out, nothing else touched, so that DVC may skip or repeat each of them.

prepare -> train -> evaluate, convert. Registering is a side effect and no stage: `training/pipeline.py`.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from training.building import build_file, git_revision, prepare_basis, write_file
from training.engine import IN_TURN, Engine
from training.environment import prepare as prepare_environment
from training.errors import DataError
from training.evaluate import CrossValidation, Metrics, measure
from training.files import read_json, write_json
from training.prepared import data_revision, read_prepared, write_prepared
from training.resume import Finished
from training.runs import draw, fit
from training.search import Progress, demand_one, errors_of, rank, search, silent
from training.space import candidates_of
from training.validate import ValidationReport, demand_valid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from converters import ModelFile
    from training.config import TrainConfig

__all__ = [
    "Competitor",
    "Evaluation",
    "Trained",
    "convert_prepared",
    "evaluate_prepared",
    "load_estimator",
    "pipeline_inputs",
    "prepare",
    "read_evaluation",
    "read_trained_folder",
    "train_prepared",
]

_ESTIMATOR, _TRAINED, _METRICS = "estimator.skops", "trained.json", "metrics.json"


class Competitor(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate's place in the search."""

    name: str
    parameters: dict[str, Any]
    cv: CrossValidation


class Trained(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`trained.json`: every candidate, best first; the first one's estimator lies beside it."""

    metric: str
    """What ranked them."""
    candidates: tuple[Competitor, ...]
    failed: dict[str, str] = msgspec.field(default_factory=dict)
    """Errors of candidates that could not be fitted."""

    @property
    def best(self) -> Competitor:
        """The one whose estimator was kept."""
        return self.candidates[0]


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """`metrics.json`."""

    heldout: Metrics
    cv: Metrics
    """Means over the folds."""


def prepare(config: TrainConfig, folder: Path) -> ValidationReport:
    """Load, validate and split the data into a folder of its own.

    Raises:
        DataError: the data is not fit to be trained on; nothing is written.
    """
    revision = config.data.revision or data_revision(config.data.source)
    config = msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, revision=revision))
    basis = prepare_basis(config)
    report = demand_valid(basis.dataset, basis.split, config.validation)
    write_prepared(basis, report, folder)
    return report


def train_prepared(
    config: TrainConfig,
    prepared: Path,
    into: Path,
    progress: Progress = silent,
    *,
    engine: Engine = IN_TURN,
    resume: Path | None = None,
) -> Trained:
    """Search on prepared rows; keep the best one's estimator and what all candidates were worth.

    Args:
        config: its data, split and seed are those of the prepared folder.
        prepared: what `prepare` wrote.
        into: made if missing.
        progress: is told of each candidate.
        engine: tries the candidates.
        resume: where the search keeps what it has finished until it is over; None: nowhere.

    Raises:
        ConfigError: the search space names what scikit-learn does not have.
        DataError: the prepared folder is damaged or of other settings.
        EngineError: the engine broke down.
        SearchError: every candidate failed.
    """
    basis = read_prepared(prepared, config)
    finished = None if resume is None else Finished(resume, basis)
    outcomes = search(candidates_of(config), basis, progress, engine=engine, memory=finished)
    demand_one(outcomes)
    best, *others = rank(outcomes, config.search)
    progress(len(outcomes), len(outcomes), f"fitting {best.candidate.name}")
    trained = Trained(
        metric=config.search.metric,
        candidates=tuple(
            Competitor(name=one.candidate.name, parameters=one.candidate.described, cv=one.cv)
            for one in (best, *others)
            if one.cv is not None
        ),
        failed=errors_of(outcomes),
    )
    estimator = fit(best.candidate, trained.best.cv, basis).estimator
    import skops.io  # type: ignore[import-untyped] # ships no types

    into.mkdir(parents=True, exist_ok=True)
    skops.io.dump(estimator, into / _ESTIMATOR)
    write_json(into / _TRAINED, trained)
    if finished is not None:
        finished.forget(outcomes)
    return trained


def evaluate_prepared(config: TrainConfig, prepared: Path, trained_in: Path, into: Path, *, home: Path) -> Evaluation:
    """Judge the kept estimator by the held-out rows: metrics as JSON, plots as PNG, and their points as CSV.

    Raises:
        DataError: a folder is damaged, or was made with other settings.
    """
    prepare_environment(home)
    basis, trained = read_prepared(prepared, config), read_trained_folder(trained_in)
    estimator = load_estimator(trained_in)
    dataset, heldout = basis.dataset, basis.split.heldout
    codes, probabilities = dataset.codes[heldout], estimator.predict_proba(dataset.rows[heldout])
    evaluation = Evaluation(heldout=measure(codes, probabilities), cv=trained.best.cv.mean)
    into.mkdir(parents=True, exist_ok=True)
    write_json(into / _METRICS, evaluation)
    labels = np.array(dataset.labels)
    pairs = zip(labels[codes].tolist(), labels[probabilities.argmax(axis=1)].tolist(), strict=True)
    _write_csv(into / "confusion.csv", ("actual", "predicted"), pairs)
    if len(labels) == 2:
        from sklearn.metrics import roc_curve

        false, true, _ = roc_curve(codes, probabilities[:, 1])
        _write_csv(
            into / "roc.csv", ("false positives", "true positives"), zip(false.tolist(), true.tolist(), strict=True)
        )
    pictures, _ = draw(estimator, trained.best.name, basis)
    for name, png in pictures.items():
        (into / name).write_bytes(png)
    return evaluation


def convert_prepared(config: TrainConfig, prepared: Path, trained_in: Path, output: Path) -> ModelFile:
    """Convert and certify the kept estimator; equal inputs give an equal file on one machine.

    The git revision in it is that of the last commit which touched the pipeline's inputs, so that committing
    `dvc.lock` afterwards changes nothing.

    Raises:
        ConverterError: the estimator has no faithful ONNX form; nothing is written.
        DataError: a folder is damaged, or was made with other settings.
    """
    basis = read_prepared(prepared, config, git_revision=git_revision(pipeline_inputs(Path())))
    file = build_file(basis, load_estimator(trained_in), read_trained_folder(trained_in).best.parameters)
    write_file(file, output)
    return file


def read_trained_folder(folder: Path) -> Trained:
    """What `train_prepared` wrote beside the estimator.

    Raises:
        DataError: it cannot be read.
    """
    return read_json(folder / _TRAINED, Trained, "hotgate train --prepared")


def read_evaluation(folder: Path) -> Evaluation:
    """What `evaluate_prepared` wrote.

    Raises:
        DataError: it cannot be read.
    """
    return read_json(folder / _METRICS, Evaluation, "hotgate evaluate")


def load_estimator(folder: Path) -> Any:
    """The estimator that `train_prepared` kept. Its own types are trusted: it is the pipeline's own file.

    Raises:
        DataError: it cannot be read.
    """
    import skops.io

    path = folder / _ESTIMATOR
    try:
        return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; run hotgate train --prepared") from error
    except Exception as error:  # skops raises whatever it meets in a damaged archive
        raise DataError(f"{path} is no estimator: {error}; run hotgate train --prepared") from error


def pipeline_inputs(project: Path) -> tuple[str, ...]:
    """What the pipeline in a folder is made from, as git's pathspecs; empty where there is no `dvc.yaml`."""
    import yaml

    path = project / "dvc.yaml"
    if not path.is_file():
        return ()
    try:
        stages = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"].values()
        deps = {dep for stage in stages for dep in stage.get("deps", ()) if isinstance(dep, str)}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} holds no stages: {error}") from error
    return ("dvc.yaml", "params.yaml", "*.dvc", *sorted(deps))


def _write_csv(path: Path, header: tuple[str, str], rows: Iterable[tuple[Any, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
