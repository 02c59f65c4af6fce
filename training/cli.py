"""`hotgate train`, `hotgate register` and `hotgate convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from hotgate import home
from training.stages_cli import FOLDER, NEW_FOLDER, convert_stage, exit_codes, show_progress, show_version, train_stage

if TYPE_CHECKING:
    from training.registering import RegisteredVersion
    from training.train import TrainResult

__all__ = ["convert", "register", "train"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OUTPUT = click.Path(dir_okay=False, path_type=Path)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_SET = click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override one setting, e.g. search.folds=3."
)


@click.command()
@click.option("--config", "config_file", type=_FILE, help="YAML file with settings; all have defaults.")
@_SET
@click.option("--data", help="Shorthand for --set data.source=…: breast-cancer, or a .csv or .parquet file.")
@click.option("--target", help="Shorthand for --set data.target=…: the column with the classes.")
@click.option("--register", "registering", is_flag=True, help="Register the best model as a new version.")
@click.option("--output", type=_OUTPUT, help="Where to write the model file  [default: under the home folder].")
@click.option(
    "--engine",
    "backend",
    type=click.Choice(["loky", "dask", "ray"]),
    help="Try candidates beside each other: loky on this machine, dask or ray also on a cluster  [default: in turn].",
)
@click.option("--cluster", metavar="ADDRESS", help="Scheduler of --engine dask or ray  [default: one on this machine].")
@click.option("--jobs", type=int, help="Processes of --engine on this machine  [default: one for each core].")
@click.option("--prepared", type=FOLDER, help="As a pipeline's stage: what `hotgate prepare` wrote. Needs --into.")
@click.option("--into", type=NEW_FOLDER, help="As a stage: where estimator and results are written.")
@_JSON
def train(
    *,
    config_file: Path | None,
    overrides: tuple[str, ...],
    data: str | None,
    target: str | None,
    registering: bool,
    output: Path | None,
    backend: Literal["loky", "dask", "ray"] | None,
    cluster: str | None,
    jobs: int | None,
    prepared: Path | None,
    into: Path | None,
    as_json: bool,
) -> None:
    """Train, compare and log candidates; convert the best one.

    As a stage of the pipeline (--prepared, --into) it trains only: files in, files out, no MLflow. The engine has no
    say in the result. A training that was interrupted goes on where it was when it is run again.

    Exit code 0: done. 1: ONNX and scikit-learn differ, or the model has no ONNX form; nothing is registered.
    2: a setting or the data is impossible, or every candidate failed. 4: MLflow or the engine's
    cluster could not be reached, or failed.
    """
    if (prepared is None) != (into is None) or (prepared and (registering or output)):
        raise click.UsageError("--prepared and --into belong together, without --register and --output")
    with exit_codes():
        from training.config import load_config
        from training.engine import Engine

        config = load_config(config_file, [*overrides, *_shorthands(data, target)])
        engine = Engine(backend=backend, cluster=cluster, jobs=jobs)
        if prepared is not None and into is not None:
            train_stage(config, prepared, into, engine, as_json=as_json)
            return
        with show_progress() as progress:
            from training.train import train as run

            result = run(config, home(), progress, output=output, engine=engine)
            version = result.register(result.best, result.saved) if registering else None
    if as_json:
        click.echo(msgspec.json.encode(_summary(result, version)))
    else:
        _show(result, version)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--name", required=True, help="Registered model; made if it is new.")
@click.option("--run", "run_id", help="MLflow run that trained it  [default: the one whose tag names this file].")
@click.option(
    "--evidence", type=FOLDER, help="Folder with heldout.csv and trained.u64  [default: the one beside the file]."
)
@_JSON
def register(*, file: Path, name: str, run_id: str | None, evidence: Path | None, as_json: bool) -> None:
    """Register a model file as a new version.

    The same file again gives the version that it has. The run's scikit-learn model is put beside it.

    Exit code 0: registered. 1: the verifier refuses the file. 2: an argument is impossible. 4: MLflow could not be
    reached, or refused.
    """
    with exit_codes():
        from training.registering import register as run

        version = run(file, name, home=home(), run_id=run_id, evidence=evidence)
    show_version(version, as_json=as_json)


@click.command()
@click.argument("model")
@click.option("--data", help="breast-cancer, or a .csv or .parquet file; held out as in training.")
@click.option("--target", help="The column with the classes or numbers, if the data has one.")
@_SET
@click.option(
    "--converter",
    "converters",
    multiple=True,
    metavar="PACKAGE.MODULE:FUNCTION",
    help="Registers converters of your own with skl2onnx; may be given several times.",
)
@click.option("--output", type=_OUTPUT, help="Where to write the model file  [default: under the home folder].")
@click.option("--register", "registering", is_flag=True, help="Register the file as a new version.")
@click.option("--name", help="Registered model  [default: the name in models:/NAME/VERSION].")
@click.option("--config", "config_file", type=_FILE, help="YAML file with settings; all have defaults.")
@click.option("--prepared", type=FOLDER, help="As a pipeline's stage: what `hotgate prepare` wrote. Needs --output.")
@_JSON
def convert(
    *,
    model: str,
    data: str | None,
    target: str | None,
    overrides: tuple[str, ...],
    converters: tuple[str, ...],
    output: Path | None,
    registering: bool,
    name: str | None,
    config_file: Path | None,
    prepared: Path | None,
    as_json: bool,
) -> None:
    """Convert a registered or saved scikit-learn model to a model file.

    MODEL is models:/NAME/VERSION, models:/NAME/STAGE, models:/NAME@ALIAS, or the folder of a saved MLflow model; as a
    stage of the pipeline (--prepared, --output) the folder that `hotgate train --into` wrote.
    Loading one may run code that it carries: convert what you trust. It may be any kind of model, on numbers, texts,
    booleans and dates, with gaps. Rows of the data are held out to judge it; a model that was trained elsewhere may
    have seen them. Only a classifier with probabilities on numbers keeps them for `hotgate gate`; to promote any other
    takes --force and a reason.

    Exit code 0: done. 1: ONNX and scikit-learn differ, or the model has no ONNX form; nothing is registered.
    2: an argument, the data or the model is impossible. 4: MLflow could not be reached, or refused.
    """
    if prepared is not None and (output is None or registering or name):
        raise click.UsageError("--prepared needs --output, and neither --register nor --name")
    with exit_codes():
        from training.config import load_config
        from training.converting import convert_model

        config = load_config(config_file, [*overrides, *_shorthands(data, target)])
        if prepared is not None and output is not None:
            convert_stage(config, prepared, Path(model), output, as_json=as_json)
            return
        converted = convert_model(model, config, home(), output=output, name=name, converters=converters)
        version = converted.register() if registering else None
    for note in converted.file.notes:
        click.echo(note, err=True)
    if version is not None:
        show_version(version, as_json=as_json)
    elif as_json:
        click.echo(msgspec.json.encode({"file": str(converted.path), "sha256": converted.file.sha256}))
    else:
        click.echo(f"{converted.path}\nsha256 {converted.file.sha256}")


def _shorthands(data: str | None, target: str | None) -> list[str]:
    pairs = (("data.source", data), ("data.target", target))
    return [f"{key}={value}" for key, value in pairs if value is not None]


def _show(result: TrainResult, version: RegisteredVersion | None) -> None:
    metric = result.basis.config.search.metric
    click.echo(f"{'candidate':<14} {'cv ' + metric:>16}   held out: accuracy    f1     roc_auc   log_loss")
    for one in result.candidates:
        mean, std = getattr(one.cv.mean, metric), getattr(one.cv.std, metric)
        held = one.heldout
        click.echo(
            f"{one.name:<14} {f'{mean:.4f} ± {std:.4f}':>16} {held.accuracy:>20.4f}  {held.f1:.4f}"
            f"  {held.roc_auc:>7.4f}   {held.log_loss:>7.4f}"
        )
    unfitted = [one for one in result.outcomes if one.error is None][len(result.candidates) :]
    if unfitted:
        click.echo(f"… and {len(unfitted)} more below the best {len(result.candidates)}; each is a run in MLflow")
    for name, error in result.card.search.failed.items():
        click.echo(f"{name:<14} failed: {error}")
    parity = result.saved.file.metadata.parity
    click.echo(
        f"\nbest      {result.best.name}\n"
        f"parity    {parity.rows} rows, largest error {parity.error_max:.1e}, tolerance {parity.tolerance:.0e}\n"
        f"file      {result.saved.path}\n"
        f"sha256    {result.saved.file.sha256}"
    )
    if version is not None:
        show_version(version, as_json=False)


def _summary(result: TrainResult, version: RegisteredVersion | None) -> dict[str, Any]:
    return {
        "candidates": [
            {"name": one.name, "run_id": one.run_id, "cv": one.cv, "heldout": one.heldout} for one in result.candidates
        ],
        "failed": result.card.search.failed,
        "tried": len(result.outcomes),
        "best": result.best.name,
        "metric": result.basis.config.search.metric,
        "split": {"max_psi": result.basis.split.max_psi, "max_ks": result.basis.split.max_ks},
        "parity": result.saved.file.metadata.parity,
        "file": str(result.saved.path),
        "sha256": result.saved.file.sha256,
        "version": version,
    }
