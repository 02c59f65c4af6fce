"""`hotgate bench soak`."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["soak"]


@click.command()
@click.pass_obj
@click.option("--requests", default=10_000_000, show_default=True, type=click.IntRange(100), help="End after so many.")
@click.option(
    "--minutes",
    default=20.0,
    show_default=True,
    type=click.FloatRange(0, 1440, min_open=True),
    help="Or then.",
)
@click.option(
    "--connections", default=64, show_default=True, type=click.IntRange(1, 1024), help="Kept alive within a slice."
)
@click.option(
    "--slice", "slice_s", default=5.0, show_default=True, type=click.FloatRange(0.1, 60),
    help="Seconds between two looks at the worker's memory.",
)  # fmt: skip
@click.option("--swaps", "swapping", is_flag=True, help="Swap between two model files all the while.")
@click.option(
    "--swap-every",
    "every_s",
    default=0.2,
    show_default=True,
    type=click.FloatRange(0.05),
    help="Seconds between swaps.",
)
@click.option(
    "--swaps-min", "swaps", default=1000, show_default=True, type=click.IntRange(0),
    help="With --swaps: go on until so many were made, also after the requests.",
)  # fmt: skip
@click.option(
    "--versions", default=2, show_default=True, type=click.IntRange(2), help="Version numbers that swaps go through."
)
@click.option(
    "--hold", "hold_s", default=0.0, show_default=True, type=click.FloatRange(0),
    help="Seconds for which the worker keeps the model before; with 0 every swap loads one.",
)  # fmt: skip
@click.option(
    "--growth", "growth_max_mib", default=8.0, show_default=True, type=float,
    help="MiB by which the worker may grow from a tenth of the run to its end.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON, every slice of them.")
def soak(folder: Path, /, *, swapping: bool, every_s: float, as_json: bool, **options: Any) -> None:
    """Load one worker for long, and see that its memory stays flat.

    One pinned worker, optionally with swaps through the model store: real files, published as the sidecar does. Exit
    code 0: flat. 1: memory grew beyond the bound, a request failed, or a figure could not be taken.
    """
    from benchmarks.errors import BenchError
    from benchmarks.load import LoadError
    from benchmarks.progress import Progress
    from benchmarks.soak import SoakPlan, soak
    from benchmarks.soak_report import render

    progress = Progress()
    signal.signal(signal.SIGTERM, progress.leave)
    plan = SoakPlan(swap_every_s=every_s if swapping else None, **options)
    try:
        figures = soak(folder, plan, command=" ".join(["hotgate bench soak", *_given()]), say=progress.say)
    except (BenchError, LoadError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(msgspec.json.encode(figures) if as_json else render(figures))
    sys.exit(figures.outcome == "grows")


def _given() -> list[str]:
    """The options that are not at their default, as they were typed."""
    context = click.get_current_context()
    typed = click.core.ParameterSource.COMMANDLINE
    given = []
    for option in context.command.params:
        if option.name and context.get_parameter_source(option.name) is typed and option.name != "as_json":
            value = context.params[option.name]
            given.append(option.opts[0] if value is True else f"{option.opts[0]} {value:g}")
    return given
