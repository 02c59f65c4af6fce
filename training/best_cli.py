"""`hotgate best`."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from hotgate import home
from training.stages_cli import exit_codes, show_version

__all__ = ["best"]


@click.command()
@click.argument("experiment")
@click.option(
    "--metric", default="roc_auc", show_default=True,
    help="As it is logged, such as heldout_log_loss; or without cv_, the mean over the folds.",
)  # fmt: skip
@click.option("--register", "registering", is_flag=True, help="Register the run's model as a new version.")
@click.option("--name", help="Registered model  [default: the experiment's name; of hotgate: cancer-classifier].")
@click.option(
    "--config", "config_file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file with settings, such as params.yaml; what the run logged counts more.",
)  # fmt: skip
@click.option("--data", help="Shorthand for --set data.source=…: where the run's data is now.")
@click.option("--target", help="Shorthand for --set data.target=…: the column with the classes; needed for a file.")
@click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override one setting, e.g. data.ignore=[id]."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def best(
    *,
    experiment: str,
    metric: str,
    registering: bool,
    name: str | None,
    config_file: Path | None,
    data: str | None,
    target: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Find the best run of an experiment, and register its model.

    Finished runs are compared. A loss, an error or a Brier score is better if lower, anything else if higher. A run
    that has no model file yet is converted, as `hotgate convert` does it, which takes the data that it was trained on;
    loading its model may run code that it carries. The same model again gives the version that it has.

    Exit code 0: found. 1: the run holds no model, or one that ONNX does not follow; nothing is registered. 2: no such
    experiment, metric, setting or data. 4: MLflow could not be reached, or refused.
    """
    with exit_codes():
        from training.best import find_best, lower_is_better, register_best

        found = find_best(experiment, metric, home())
        pairs = (("data.source", data), ("data.target", target))
        settings = [*overrides, *(f"{key}={value}" for key, value in pairs if value is not None)]
        version = None
        if registering:
            version = register_best(found, home(), name=name, config_file=config_file, overrides=settings)
    if as_json:
        click.echo(msgspec.json.encode(msgspec.structs.asdict(found) | {"version": version}))
        return
    order = "lowest" if lower_is_better(found.metric) else "highest"
    click.echo(
        f"best run {found.run_id} ({found.run_name}): {found.metric} {found.value:.6g}, the {order} of {found.compared}"
    )
    if version is not None:
        show_version(version, as_json=False)
