"""`hotgate bench judges`."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import click
import msgspec

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["judges"]


@click.command()
@click.pass_obj
@click.option(
    "--seconds", default=5.0, show_default=True, type=click.FloatRange(1, 60), help="Measured time of each run."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def judges(folder: Path, /, *, seconds: float, as_json: bool) -> None:
    """Hold the load generator against h2load and k6.

    The same rates, low enough for all of them, against one gateway: p50 and p99 side by side. A judge that is not
    installed is named with its install line. Exit code 0: those that are agree within the stated factors. 1: one does
    not, or a run failed. 3: none is installed.
    """
    from benchmarks.errors import BenchError
    from benchmarks.judges import judge
    from benchmarks.load import LoadError
    from benchmarks.progress import Progress
    from benchmarks.rig import Rig

    progress = Progress()
    signal.signal(signal.SIGTERM, progress.leave)
    try:
        report = judge(Rig(folder), folder.parent, seconds=seconds, say=progress.say)
    except (BenchError, LoadError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(msgspec.json.encode(report) if as_json else report.render())
    if not report.judgements:
        sys.exit(3)
    if not report.agrees:
        raise click.ClickException("the generator and a judge disagree: look at the machine first, then at both")
