"""`hotgate bench scenarios`."""

from __future__ import annotations

import signal
from pathlib import Path

import click
import msgspec

from benchmarks.scenarios.suite import NAMES

__all__ = ["scenarios"]


@click.command()
@click.pass_obj
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="This one; may be given several times.")
@click.option(
    "--seconds", default=5.0, show_default=True, type=click.FloatRange(0.2, 60), help="Length of one block of load."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option(
    "--plots",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that takes the pictures (needs matplotlib).",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write each report into its own section of this Markdown page; what others wrote there stays.",
)
def scenarios(
    folder: Path, /, *, only: tuple[str, ...], seconds: float, as_json: bool, plots: Path | None, output: Path | None
) -> None:
    """Measure what a user of the gateway may fear.

    open: latency at half and four fifths of the maximum; models: what a forest or boosting costs; swap-p99: what
    clients feel of a swap; overload: three times the maximum; scaling: a second worker; memory: a further one;
    garbage: what Python's collector adds, as it is and as the gateway sets it; monitoring: what counting and logging
    cost; wide: what they take with a thousand features; protocols: what each form of a request costs,
    and mixed columns. Servers on one core, the generator on another, which should have nothing else to do; half an
    hour for all. Exit code 1: a request failed that must not, or a figure could not be taken. 2: an argument is
    impossible.
    """
    from benchmarks.errors import BenchError
    from benchmarks.load import LoadError
    from benchmarks.plots import PlotError
    from benchmarks.progress import Progress
    from benchmarks.scenarios.report import Report, measure_all

    names = [name for name in NAMES if not only or name in only]
    command = " ".join(
        [
            "hotgate bench scenarios",
            *(f"--only {name}" for name in only),
            *([f"--seconds {seconds:g}"] if seconds != 5 else []),
        ]
    )
    progress = Progress()
    signal.signal(signal.SIGTERM, progress.leave)
    try:
        report: Report = measure_all(folder, names, seconds, command=command, plots=plots, say=progress.say)
    except PlotError as error:
        raise click.UsageError(str(error)) from error
    except (BenchError, LoadError) as error:
        raise click.ClickException(str(error)) from error
    if output is not None:
        report.write(output)
    click.echo(msgspec.json.encode(report) if as_json else report.render())
