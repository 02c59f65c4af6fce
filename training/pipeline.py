"""`hotgate pipeline`: DVC rebuilds what changed, then the model file becomes a version, once."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from training.card import make_card
from training.config import load_config
from training.errors import ConfigError, PipelineError
from training.prepared import read_prepared
from training.registering import find_run, register
from training.runs import draw, log_card, logged_parameters
from training.stages import load_estimator, read_evaluation, read_trained_folder
from training.tracking import Tracker, connect, mapped

if TYPE_CHECKING:
    from training.config import TrainConfig
    from training.registering import RegisteredVersion

__all__ = ["EVALUATION", "FILE", "PARAMS", "PREPARED", "TRAINED", "register_stages", "reproduce"]

PARAMS = Path("params.yaml")
PREPARED = Path("pipeline/prepared")
TRAINED = Path("pipeline/trained")
EVALUATION = Path("pipeline/evaluation")
FILE = Path("pipeline/model.hotgate.onnx")


def reproduce(project: Path, home: Path) -> None:
    """Run `dvc repro` in a project; what it prints goes to stderr.

    Raises:
        ConfigError: DVC is not installed, or the project has no pipeline.
        PipelineError: a stage failed; it has said why.
    """
    if importlib.util.find_spec("dvc") is None:
        raise ConfigError("the pipeline needs DVC: pip install 'hotgate[data]'")
    for name in ("dvc.yaml", PARAMS.name, ".dvc"):
        if not (project / name).exists():
            raise ConfigError(
                f"{project} has no {name}: hotgate pipeline runs where a DVC project is; see docs/pipeline.md"
            )
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=project,
        env=_environment(home),
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
        check=False,
    )
    if done.returncode:
        raise PipelineError("dvc repro failed; what it says stands above, and nothing is registered")


def register_stages(project: Path, home: Path) -> tuple[RegisteredVersion, Path]:
    """Make the pipeline's model file, which is returned too, a version of the configured name.

    The same file again gives the version that it has.

    Its run is the one in this tracking store whose tag names the file; without one, a run is logged from the stages'
    files, so that a store that never saw the training has all that `hotgate train` would have logged.

    Raises:
        DataError: a stage's files are missing or of other settings: the pipeline was not run.
        RegisterError: the verifier refuses the file.
        TrackingError: MLflow fails; no version is made.
    """
    config = load_config(project / PARAMS)
    file = project / FILE
    if not file.is_file():
        raise ConfigError(f"{file} does not exist; run dvc repro")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    client = connect(home)
    with mapped(home):
        run_id = find_run(client, sha256)
    version = register(
        file,
        config.name,
        home=home,
        run_id=run_id or _log(config, project, home, sha256),
        evidence=project / PREPARED,
    )
    return version, file


def _log(config: TrainConfig, project: Path, home: Path, sha256: str) -> str:
    """Log a run from the stages' files; returns its id."""
    basis = read_prepared(project / PREPARED, config)
    trained, evaluation = read_trained_folder(project / TRAINED), read_evaluation(project / EVALUATION)
    estimator, best = load_estimator(project / TRAINED), trained.best
    parts = {"cv": best.cv.mean, "cv_std": best.cv.std, "heldout": evaluation.heldout}
    metrics = {f"{part}_{key}": value for part, one in parts.items() for key, value in msgspec.to_builtins(one).items()}
    tags = {"hotgate.data_digest": basis.dataset.digest, "mlflow.source.name": "hotgate pipeline"}
    with Tracker(home, config.experiment, tags=tags).run(best.name) as run:
        run.values(parameters=logged_parameters(best.parameters, basis), metrics=metrics, tags={})
        run.dataset(basis.dataset)
        run.model(estimator, basis.dataset)
        run.json(msgspec.to_builtins(trained), "search.json")
        pictures, shares = draw(estimator, best.name, basis)
        if shares:
            run.json(shares, "feature_importances.json")
        run.pictures(pictures)
        card = make_card(
            basis,
            estimator,
            best.parameters,
            sha256=sha256,
            cv=best.cv,
            heldout=evaluation.heldout,
            failed=trained.failed,
            tried=len(trained.candidates) + len(trained.failed),
        )
        log_card(card, run)
        # last: a run that broke off half-way is not taken for this file's
        run.tag({"hotgate.best": "true", "hotgate.parity": "pass", "hotgate.sha256": sha256})
    return run.run_id


def _environment(home: Path) -> dict[str, str]:
    """Of DVC: the stages find this very hotgate, and nothing is written outside project and home."""
    return {
        **os.environ,
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
        "HOTGATE_HOME": str(home),
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": os.environ.get("DVC_SITE_CACHE_DIR", str(home / "cache" / "dvc")),
    }
