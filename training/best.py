"""The best run of an experiment, by a metric that it logged; and its model as a registered version."""

from __future__ import annotations

import hashlib
import math
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from training.config import check_name, load_config
from training.errors import ConfigError, DataError, RegisterError
from training.evidence import TRAINED, evidence_folder, write_trained
from training.tracking import MODEL_PATH, connect, mapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow import MlflowClient
    from mlflow.entities import Run

    from training.building import Basis
    from training.registering import RegisteredVersion

__all__ = ["BestRun", "find_best", "lower_is_better", "register_best"]

_LOWER = re.compile(r"(loss|error|(^|_)(brier|rmse|mae|mse|ece))$")
_SETTINGS = {
    "data": "data.source",
    "seed": "seed",
    "holdout": "split.holdout",
    "balance_draws": "split.balance_draws",
    "folds": "search.folds",
}
"""Logged parameter -> setting."""


class BestRun(msgspec.Struct, frozen=True, kw_only=True):
    """Which run is the best, by what."""

    experiment: str
    metric: str
    """As it is logged."""
    value: float
    run_id: str
    run_name: str
    compared: int
    """How many finished runs have the metric."""


def lower_is_better(metric: str) -> bool:
    """Whether a metric is a loss, an error or a spread, by its name; scikit-learn has turned `neg_…` round."""
    return "std_" in metric or (_LOWER.search(metric) is not None and "neg_" not in metric)


def find_best(experiment: str, metric: str, home: Path) -> BestRun:
    """The finished run with the best value; of several, one that holds a model, then the oldest.

    Args:
        experiment: its name.
        metric: as it is logged, or without `cv_`, the mean over the folds.
        home: where state lives, if no tracking server is named.

    Raises:
        ConfigError: there is no such experiment, or no finished run of it has the metric; the text lists what there is.
        TrackingError: MLflow fails.
    """
    client = connect(home)
    with mapped(home):
        runs = _finished(client, _experiment_id(client, experiment))
        name = metric if any(metric in run.data.metrics for run in runs) else f"cv_{metric}"
        values = [(run.data.metrics[name], run) for run in runs if math.isfinite(run.data.metrics.get(name, math.nan))]
        if not values:
            raise ConfigError(_nothing(experiment, metric, runs))
        value = (min if lower_is_better(name) else max)(value for value, _ in values)
        best = _first_with_model(client, [run for found, run in values if found == value])
    return BestRun(
        experiment=experiment,
        metric=name,
        value=value,
        run_id=best.info.run_id,
        run_name=best.info.run_name,
        compared=len(values),
    )


def register_best(
    best: BestRun,
    home: Path,
    *,
    name: str | None = None,
    config_file: Path | None = None,
    overrides: Sequence[str] = (),
) -> RegisteredVersion:
    """Make a run's model the newest version of a name: its model file, else one that is converted from its estimator.

    To convert, the data is needed: as the run's parameters name it, over `config_file` and under `overrides`. If the
    held-out rows are those of the training, as the score tells that the run logged, the rows that the model has been
    shown are known, and go into its evidence.

    Args:
        best: the run.
        home: where state lives, if no tracking server is named.
        name: registered model; else the experiment's name, and for `hotgate train`'s own experiment its own model.
        config_file: YAML file with settings.
        overrides: `key=value` settings.

    Raises:
        ConfigError: the name or a setting is impossible.
        DataError: the data is not what the run was trained on.
        ConverterError: the model has no faithful ONNX form.
        RegisterError: the run holds no model, or the verifier refuses the file.
        TrackingError: MLflow fails.
    """
    from training.registering import register

    name = name or _name_for(best.experiment)
    try:
        check_name(name)
    except ValueError as error:
        raise ConfigError(f"--name: {error}") from error
    client = connect(home)
    with tempfile.TemporaryDirectory() as scratch:
        with mapped(home):
            run = client.get_run(best.run_id)
            file = _model_file(client, run, home, Path(scratch))
        if file is None:
            file = _convert(client, run, home, name, config_file, overrides)
        return register(file, name, home=home, run_id=best.run_id)


def _experiment_id(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "active":
        return str(found.experiment_id)
    there = sorted(experiment.name for experiment in client.search_experiments())
    was = "is deleted" if found else "does not exist"
    raise ConfigError(f"experiment {name!r} {was}; there are: {', '.join(there) or 'none'}")


def _finished(client: MlflowClient, experiment_id: str) -> list[Run]:
    """Oldest first."""
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            "attributes.status = 'FINISHED'",
            max_results=1000,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        found += page
        token = page.token
        if not token:
            return found


def _nothing(experiment: str, metric: str, runs: list[Run]) -> str:
    if not runs:
        return f"experiment {experiment!r} has no finished run: train one, or name another experiment"
    there = sorted({name for run in runs for name in run.data.metrics})
    return (
        f"no finished run of {experiment!r} has a number as metric {metric!r}; they have: {', '.join(there) or 'none'}"
    )


def _first_with_model(client: MlflowClient, runs: list[Run]) -> Run:
    """Of a search's runs, the one over all may repeat its best one's metrics without having a model."""
    return next((run for run in runs if len(runs) > 1 and _holds_model(client, run)), runs[0])


def _holds_model(client: MlflowClient, run: Run) -> bool:
    return any(item.path == MODEL_PATH for item in client.list_artifacts(run.info.run_id))


def _name_for(experiment: str) -> str:
    usual = load_config()
    return usual.name if experiment == usual.experiment else experiment


def _model_file(client: MlflowClient, run: Run, home: Path, scratch: Path) -> Path | None:
    """The file that the run's tag names: under home, or where registering put it, in whose folder its evidence is."""
    from converters.modelfile import ARTIFACT_NAME

    sha256 = run.data.tags.get("hotgate.sha256")
    if sha256 is None:
        return None
    for path in sorted((home / "models").glob(f"*/{sha256[:16]}.onnx")):
        if hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
            return path
    place = f"hotgate/{sha256}"
    if not any(item.path == f"{place}/{ARTIFACT_NAME}" for item in client.list_artifacts(run.info.run_id, place)):
        return None
    return Path(client.download_artifacts(run.info.run_id, f"{place}/{ARTIFACT_NAME}", str(scratch)))


def _convert(
    client: MlflowClient, run: Run, home: Path, name: str, config_file: Path | None, overrides: Sequence[str]
) -> Path:
    """Convert the run's scikit-learn model; returns the model file, its evidence beside it."""
    from training.building import prepare_basis
    from training.converting import convert_model

    run_id, logged = run.info.run_id, run.data.params
    with mapped(home):
        if not _holds_model(client, run):
            raise RegisterError(
                f"run {run_id} holds neither a model file nor a scikit-learn model under {MODEL_PATH}/: log one there,"
                f" or register a file of yours with `hotgate register FILE --name {name} --run {run_id}`"
            )
    own = [f"{key}={logged[parameter]}" for parameter, key in _SETTINGS.items() if parameter in logged]
    config = load_config(config_file, [*own, *overrides])
    basis = prepare_basis(config)
    digest = run.data.tags.get("hotgate.data_digest")
    if digest not in {None, basis.dataset.digest}:
        raise DataError(
            f"run {run_id} was trained on data with digest {digest[:12]}, {config.data.source} has"
            f" {basis.dataset.digest[:12]}: name that data with --data and --target"
        )
    with tempfile.TemporaryDirectory() as folder:
        with mapped(home):
            saved = client.download_artifacts(run_id, MODEL_PATH, folder)
        converted = convert_model(saved, config, home, name=name, basis=basis)
    if _judged_here(run, basis, converted.estimator):
        shown = basis.dataset.rows[basis.split.train]
        write_trained(shown, evidence_folder(converted.path, converted.file.sha256) / TRAINED)
    return converted.path


def _judged_here(run: Run, basis: Basis, estimator: Any) -> bool:
    """Whether the split is the one of the training: its held-out rows give the very score that the run logged."""
    from training.evaluate import measure

    heldout = basis.split.heldout
    score = measure(basis.dataset.codes[heldout], estimator.predict_proba(basis.dataset.rows[heldout])).log_loss
    return math.isclose(score, run.data.metrics.get("heldout_log_loss", math.nan), rel_tol=1e-9)
