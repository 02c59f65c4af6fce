"""`hotgate prepare`, `evaluate`, `pipeline`, `train` and `convert` as stages, and what all commands here share."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from hotgate import home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from training.config import TrainConfig
    from training.engine import Engine
    from training.registering import RegisteredVersion
    from training.train import Progress

__all__ = [
    "FOLDER",
    "NEW_FOLDER",
    "convert_stage",
    "evaluate",
    "exit_codes",
    "pipeline",
    "prepare",
    "show_progress",
    "show_version",
    "train_stage",
]

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
NEW_FOLDER = click.Path(file_okay=False, path_type=Path)
_CONFIG = click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file with settings; all have defaults.",
)
_SET = click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override one setting, e.g. split.holdout=0.3."
)
_INTO = click.option("--into", type=NEW_FOLDER, required=True, help="Where to write; made if missing.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.command()
@_CONFIG
@_SET
@_INTO
@_JSON
def prepare(*, config_file: Path | None, overrides: tuple[str, ...], into: Path, as_json: bool) -> None:
    """Validate the data and hold a part of it out, as a stage of the pipeline.

    Exit code 0: done. 2: a setting is impossible, or the data is not fit to be trained on; nothing is written.
    """
    with exit_codes():
        from training.config import load_config
        from training.stages import prepare as run

        report = run(load_config(config_file, overrides), into)
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        classes = ", ".join(f"{label} {count}" for label, count in report.classes.items())
        click.echo(f"{report.rows} rows, {report.columns} columns, {classes}; {report.duplicates} duplicates\n{into}")


@click.command()
@_CONFIG
@_SET
@click.option("--prepared", type=FOLDER, required=True, help="What `hotgate prepare` wrote.")
@click.option("--trained", type=FOLDER, required=True, help="What `hotgate train --into` wrote.")
@_INTO
@_JSON
def evaluate(
    *,
    config_file: Path | None,
    overrides: tuple[str, ...],
    prepared: Path,
    trained: Path,
    into: Path,
    as_json: bool,
) -> None:
    """Judge a trained estimator by the held-out rows, as a stage of the pipeline.

    Writes metrics.json, plots as PNG and their points as CSV, as `dvc metrics` and `dvc plots` read them.

    Exit code 0: done. 2: a setting or a folder is impossible.
    """
    with exit_codes():
        from training.config import load_config
        from training.stages import evaluate_prepared

        evaluation = evaluate_prepared(load_config(config_file, overrides), prepared, trained, into, home=home())
    if as_json:
        click.echo(msgspec.json.encode(evaluation))
    else:
        held = msgspec.to_builtins(evaluation.heldout)
        click.echo("held out  " + "  ".join(f"{key} {value:.4f}" for key, value in held.items()))


@click.command()
@click.option(
    "--project", type=FOLDER, default=Path(), show_default="here", help="Folder with dvc.yaml and params.yaml."
)
@_JSON
def pipeline(*, project: Path, as_json: bool) -> None:
    """Run the DVC pipeline and register its model file.

    `dvc repro` rebuilds what changed; the model file becomes a version of the configured name. The same file again
    gives the version that it has.

    Exit code 0: registered, now or before. 1: a stage failed, or the verifier refuses the file. 2: there is no
    pipeline, or its settings or files are impossible. 4: MLflow could not be reached, or refused.
    """
    with exit_codes():
        from training.pipeline import register_stages, reproduce

        reproduce(project, home())
        version, file = register_stages(project, home())
    if as_json:
        click.echo(msgspec.json.encode({**msgspec.to_builtins(version), "file": str(file)}))
    else:
        show_version(version, as_json=False)


def train_stage(config: TrainConfig, prepared: Path, into: Path, engine: Engine, *, as_json: bool) -> None:
    """`hotgate train --prepared --into`."""
    from training.stages import train_prepared

    with show_progress() as progress:
        trained = train_prepared(config, prepared, into, progress, engine=engine, resume=home() / "search")
    if as_json:
        click.echo(msgspec.json.encode(trained))
        return
    click.echo(f"{'candidate':<14} {'cv ' + trained.metric:>16}")
    for one in trained.candidates:
        mean, std = getattr(one.cv.mean, trained.metric), getattr(one.cv.std, trained.metric)
        click.echo(f"{one.name:<14} {f'{mean:.4f} ± {std:.4f}':>16}")
    for name, error in trained.failed.items():
        click.echo(f"{name:<14} failed: {error}")


def convert_stage(config: TrainConfig, prepared: Path, trained: Path, output: Path, *, as_json: bool) -> None:
    """`hotgate convert --prepared --output`."""
    from training.stages import convert_prepared

    file = convert_prepared(config, prepared, trained, output)
    result: dict[str, Any] = {"file": str(output), "sha256": file.sha256}
    if as_json:
        click.echo(msgspec.json.encode(result))
    else:
        click.echo(f"{output}\nsha256 {file.sha256}")


def show_version(version: RegisteredVersion, *, as_json: bool) -> None:
    """Print which version a file has become, or is already."""
    if as_json:
        click.echo(msgspec.json.encode(version))
        return
    word = "registered" if version.created else "is already"
    click.echo(f"{word} {version.name} version {version.version}  sha256 {version.sha256}")


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Errors that we know become one line on stderr and their exit code."""
    from training.environment import prepare

    prepare(home())
    from training.errors import TrainingError

    try:
        yield
    except TrainingError as error:
        _fail(error, error.exit_code)
    except Exception as error:
        from converters.errors import ConverterError

        if not isinstance(error, ConverterError):
            raise
        _fail(error, 1)


def _fail(error: Exception, code: int) -> None:
    click.echo(f"error: {error}", err=True)
    raise SystemExit(code) from error


@contextlib.contextmanager
def show_progress() -> Iterator[Progress]:
    """A bar on a terminal, else a line a step; both on stderr, so that stdout holds results only."""
    if not sys.stderr.isatty():
        yield lambda done, steps, text: click.echo(f"[{done}/{steps}] {text}", err=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda done, steps, text: bar.update(task, completed=done, total=steps, description=text)
