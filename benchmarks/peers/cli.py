"""`hotgate bench peers`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click
import msgspec

from benchmarks.peers.peer import PEERS
from benchmarks.subject import KINDS

__all__ = ["peers"]


@click.command()
@click.pass_obj
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["fixed", *PEERS]),
    help="Leave out all others; again for more. hotgate and the fixed answer always take part.",
)
@click.option("--model", default="linear", show_default=True, type=click.Choice(list(KINDS)), help="What is served.")
@click.option(
    "--minutes",
    default=12.0,
    show_default=True,
    type=click.FloatRange(0.1, 240),
    help="Time for starting and loading, split over what runs; installing comes on top.",
)
@click.option("--rate", type=click.FloatRange(1, 1e6), help="Also an open loop (Poisson) of so many requests a second.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the report into this Markdown page; what others wrote there stays.",
)
def peers(
    folder: Path,
    *,
    only: tuple[str, ...],
    model: str,
    minutes: float,
    rate: float | None,
    as_json: bool,
    output: Path | None,
) -> None:
    """Measure the gateway beside other model servers.

    FastAPI, mosec, MLServer and `mlflow models serve` with the same model and rows on the same core, interleaved, at 1,
    32 and 256 connections. The first run installs each into an environment of its own (about 2 GiB in all). Ends all it
    started, also on Ctrl-C. Exit code 1: a server failed; the report shows why, and the figures of the others.
    """
    from benchmarks.errors import BenchError
    from benchmarks.load import LoadError
    from benchmarks.peers.contest import ContestPlan, compare
    from benchmarks.peers.report import OWNER, render
    from benchmarks.progress import Progress
    from benchmarks.report import write

    progress = Progress()
    signal.signal(signal.SIGTERM, progress.leave)
    chosen = tuple(name for name in PEERS if name in only or not only)
    plan = ContestPlan(model=model, peers=chosen, minutes=minutes, rate_per_s=rate)
    try:
        figures = compare(folder, plan, command=_command(only), say=progress.say)
    except (BenchError, LoadError) as error:
        raise click.ClickException(str(error)) from error
    if output is not None:
        write(render(figures), output, owner=OWNER)
    click.echo(msgspec.json.encode(figures) if as_json else render(figures))
    if figures.failed:
        click.echo(f"failed: {', '.join(figures.failed)}", err=True)
        sys.exit(1)


def _command(only: tuple[str, ...]) -> str:
    """What measures the same again."""
    context = click.get_current_context()
    options = [f"--only {name}" for name in only]
    options += [
        f"--{name} {context.params[name]}"
        for name in ("model", "minutes", "rate")
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    return " ".join(["hotgate bench peers", *options])
