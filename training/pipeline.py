"""`hotgate pipeline`: DVC rebuilds what changed, then the model file becomes a version, once."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from training.card import make_card
from training.config import load_config
from training.environment import for_commands
from training.errors import ConfigError, PipelineError
from training.prepared import read_prepared
from training.registering import find_run, register
from training.runs import Fitted, log_card, log_trained, run_tags
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
        env=for_commands(home),
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
    data = file.read_bytes()
    client = connect(home)
    with mapped(home):
        run_id = find_run(client, hashlib.sha256(data).hexdigest())
    version = register(
        file,
        config.name,
        home=home,
        run_id=run_id or _log(config, project, home, data),
        evidence=project / PREPARED,
    )
    return version, file


def _log(config: TrainConfig, project: Path, home: Path, data: bytes) -> str:
    """Log a run from the stages' files and the model file's bytes; returns its id."""
    from converters.modelfile import read_metadata
    from converters.session import open_session, properties_of

    sha256 = hashlib.sha256(data).hexdigest()
    provenance = read_metadata(properties_of(open_session(data))).provenance
    basis = read_prepared(project / PREPARED, config, git_revision=provenance.git_revision)
    trained, evaluation = read_trained_folder(project / TRAINED), read_evaluation(project / EVALUATION)
    best = trained.best
    fitted = Fitted(
        name=best.name,
        parameters=best.parameters,
        estimator=load_estimator(project / TRAINED),
        cv=best.cv,
        heldout=evaluation.heldout,
    )
    with Tracker(home, config.experiment, tags=run_tags(basis, "hotgate pipeline")).run(best.name) as run:
        log_trained(fitted, basis, run)
        run.json(msgspec.to_builtins(trained), "search.json")
        card = make_card(
            basis,
            fitted.estimator,
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
