"""`hotgate bench gate`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

if TYPE_CHECKING:
    from benchmarks.gate_run import GateFigures

__all__ = ["gate"]

EXIT_CODES = {"pass": 0, "fail": 1, "inconclusive": 3}


class GateError(click.ClickException):
    """Nothing was measured, or something failed meanwhile: no verdict."""

    exit_code = 2


@click.command()
@click.pass_obj
@click.option("--quick", is_flag=True, help="Fewer and shorter blocks: within two minutes, often inconclusive.")
@click.option("--metric", "chosen", multiple=True, help="Only this metric of the budget; may be repeated.")
@click.option(
    "--budget",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Another budget than the repository's own, benchmarks/budget.toml.",
)
@click.option(
    "--write-budget", is_flag=True, help="Measure 24 pairs of each metric and write the limits that they give."
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts as JSON.")
def gate(
    folder: Path, *, quick: bool, chosen: tuple[str, ...], path: Path | None, write_budget: bool, as_json: bool
) -> None:
    """Hold the gateway's speed to its budget.

    Throughput in the closed loop and p99 in the open loop of one pinned worker, against granian's fixed answer on the
    same core, in pairs of adjacent blocks: 12 to 24 pairs a metric, six to twelve minutes in all for three metrics, on
    two cores that should have nothing else to do. Exit code 0: every metric is within its limit. 1: one is clearly
    beyond it. 3: too noisy to tell, or not measured because there is one core only. 2: a request failed, a figure could
    not be taken, or the budget is wrong.
    """
    if quick and write_budget:
        raise click.UsageError("--quick and --write-budget exclude each other: a limit needs all its pairs")
    from benchmarks.affinity import cores
    from benchmarks.errors import BenchError
    from benchmarks.load import LoadError

    if len(cores()) < 2:
        click.echo("not measured here: one core for the servers and one for the generator are needed")
        sys.exit(EXIT_CODES["inconclusive"])
    try:
        figures = _measured(folder, quick=quick, chosen=chosen, path=path, write_budget=write_budget)
    except (BenchError, LoadError) as error:
        raise GateError(str(error)) from error
    from benchmarks.gate_run import render

    click.echo(msgspec.json.encode(figures) if as_json else render(figures))
    if quick and figures.of_another_machine:
        click.echo(
            "the budget was measured on another kind of machine: nothing follows from the failure here", err=True
        )
        sys.exit(EXIT_CODES["inconclusive"])
    if not write_budget:
        sys.exit(EXIT_CODES[figures.outcome])


def _measured(
    folder: Path, *, quick: bool, chosen: tuple[str, ...], path: Path | None, write_budget: bool
) -> GateFigures:
    from benchmarks.budget import BUDGET, read_budget, render_budget, select
    from benchmarks.gate_run import FULL, QUICK, WRITE, hold, renew
    from benchmarks.progress import Progress

    progress = Progress()
    signal.signal(signal.SIGTERM, progress.leave)
    path = path or BUDGET
    budget = read_budget(path)
    profile = WRITE if write_budget else QUICK if quick else FULL
    options = [*(f'--metric "{name}"' for name in chosen), *["--quick"] * quick, *["--write-budget"] * write_budget]
    command = " ".join(["hotgate bench gate", *options])
    figures = hold(folder, select(budget, chosen), profile, command=command, say=progress.say)
    if write_budget:
        path.write_text(render_budget(renew(budget, figures)), encoding="utf-8")
        progress.say(f"wrote {path}")
    return figures
