"""MLflow: one run a candidate, with all that is needed to judge it, to use it and to make it again."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from training.environment import prepare
from training.errors import TrackingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlflow import MlflowClient

    from training.data import Dataset

__all__ = ["MODEL_PATH", "RunLog", "Tracker", "connect", "save_sklearn", "tracking_uri"]

MODEL_PATH = "model"
"""Where in a run's artifacts the scikit-learn model lies."""

_REMOTE = ("http://", "https://", "databricks")
_DIGEST_LIMIT = 36  # characters that MLflow keeps of a dataset's digest; the tag has all


def tracking_uri(home: Path) -> str:
    """`MLFLOW_TRACKING_URI`, else the SQLite database under home."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home}/mlflow.db"


def connect(home: Path) -> MlflowClient:
    """Open tracking and registry; makes `home` and, if that is where they live, the database.

    Raises:
        TrackingError: it cannot be opened.
    """
    prepare(home)
    from mlflow import MlflowClient

    with mapped(home):
        return MlflowClient(tracking_uri(home))


@contextlib.contextmanager
def mapped(home: Path) -> Iterator[None]:
    """Turn MLflow's errors, and those of the disk that it writes to, into a TrackingError that names the server."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise TrackingError(f"MLflow at {tracking_uri(home)}: {error.message}") from error
    except OSError as error:
        raise TrackingError(f"MLflow at {tracking_uri(home)}: {error}; mend that and run this again") from error


def save_sklearn(estimator: Any, path: Path, *, signature: Any = None, run_id: str | None = None) -> None:
    """Save the scikit-learn flavour in skops' format, which `mlflow.sklearn.load_model` reads without unpickling.

    The estimator's own types are declared trusted: whoever calls this holds the object already.
    """
    import mlflow.sklearn
    import skops.io  # type: ignore[import-untyped] # ships no types
    from mlflow.models import Model

    trusted = skops.io.get_untrusted_types(data=skops.io.dumps(estimator))
    mlflow.sklearn.save_model(
        estimator,
        path,
        mlflow_model=Model(artifact_path=MODEL_PATH, run_id=run_id),
        signature=signature,
        serialization_format="skops",
        skops_trusted_types=trusted,
        pip_requirements=mlflow.sklearn.get_default_pip_requirements(include_skops=True),
    )


class Tracker:
    """Logs runs into one experiment, which is made if it is new."""

    def __init__(self, home: Path, experiment: str, *, tags: Mapping[str, str] | None = None) -> None:
        # Nothing here changes after construction.
        self.client = connect(home)
        self._home = home
        self._tags = dict(tags or {})
        with mapped(home):
            self.experiment_id = _experiment(self.client, home, experiment)

    def __repr__(self) -> str:
        return f"Tracker(uri={tracking_uri(self._home)!r}, experiment={self.experiment_id!r})"

    @contextlib.contextmanager
    def run(self, name: str) -> Iterator[RunLog]:
        """Open a run; it ends as finished, or as failed if the block says so or raises."""
        with mapped(self._home):
            run = self.client.create_run(self.experiment_id, run_name=name, tags=self._tags)
        log = RunLog(self.client, run.info.run_id)
        try:
            with mapped(self._home):
                yield log
        except BaseException:
            self.client.set_terminated(log.run_id, "FAILED")
            raise
        self.client.set_terminated(log.run_id, log.status)


class RunLog:
    """Writes into one run."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.run_id = run_id
        self.status = "FINISHED"  # what the run ends as, unless it breaks off
        self._client = client

    def __repr__(self) -> str:
        return f"RunLog(run_id={self.run_id!r})"

    def values(self, *, parameters: Mapping[str, Any], metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Log parameters, metrics and tags in one request."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        self._client.log_batch(
            self.run_id,
            metrics=[Metric(key, value, now, 0) for key, value in metrics.items()],
            params=[Param(key, str(value)) for key, value in parameters.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )

    def dataset(self, dataset: Dataset) -> None:
        """Log what was learned from: source, schema, size and digest."""
        from mlflow.entities import Dataset as Entity
        from mlflow.entities import DatasetInput, InputTag

        path = Path(dataset.source)
        source = {"uri": path.absolute().as_uri()} if path.suffix else {"name": dataset.source}
        types = {"float": "double", "int": "long", "category": "long"}
        schema = [
            {"type": types[kind], "name": name, "required": True}
            for name, kind in zip(dataset.columns, dataset.kinds, strict=True)
        ]
        entity = Entity(
            name=path.name,
            digest=dataset.digest[:_DIGEST_LIMIT],
            source_type="local" if path.suffix else "sklearn",
            source=msgspec.json.encode(source).decode(),
            schema=msgspec.json.encode({"mlflow_colspec": schema}).decode(),
            profile=msgspec.json.encode({"num_rows": len(dataset.rows)}).decode(),
        )
        self._client.log_inputs(self.run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])

    def model(self, estimator: Any, dataset: Dataset) -> None:
        """Log the scikit-learn model with its signature."""
        import pandas as pd
        from mlflow.models import infer_signature

        few = dataset.rows[:5]
        signature = infer_signature(pd.DataFrame(few, columns=list(dataset.columns)), estimator.predict(few))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, MODEL_PATH)
            save_sklearn(estimator, path, signature=signature, run_id=self.run_id)
            self._client.log_artifacts(self.run_id, str(path), MODEL_PATH)

    def json(self, value: dict[str, Any], name: str) -> None:
        """Log a JSON file."""
        self._client.log_dict(self.run_id, value, name)

    def text(self, value: str, name: str) -> None:
        """Log a text file."""
        self._client.log_text(self.run_id, value, name)

    def pictures(self, pictures: Mapping[str, bytes]) -> None:
        """Log PNG files by name."""
        with tempfile.TemporaryDirectory() as folder:
            for name, data in pictures.items():
                Path(folder, name).write_bytes(data)
            self._client.log_artifacts(self.run_id, folder, "plots")

    def failed(self, error: str) -> None:
        """Let the run end as failed, with its reason."""
        self.status = "FAILED"
        self.tag({"hotgate.error": error})

    def tag(self, tags: Mapping[str, str]) -> None:
        """Add tags."""
        for key, value in tags.items():
            self._client.set_tag(self.run_id, key, value)


def _experiment(client: MlflowClient, home: Path, name: str) -> str:
    """Find or make the experiment; without a server its artifacts would land in `./mlruns`, so they get a place."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        location = None if tracking_uri(home).startswith(_REMOTE) else (home / "artifacts").as_uri()
        try:
            made: str = client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # someone else was faster
        else:
            return made
    if found is None or found.lifecycle_stage != "active":
        raise TrackingError(f"experiment {name!r} is deleted; restore it, or name another with experiment=NAME")
    identity: str = found.experiment_id
    return identity
