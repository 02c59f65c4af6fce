"""`hotgate bench`."""

from __future__ import annotations

import signal
from pathlib import Path

import click
import msgspec

from hotgate import LazyGroup, home

__all__ = ["bench"]

# subcommand -> (module, attribute), and what `hotgate bench --help` says of it
COMMANDS: dict[str, tuple[str, str]] = {
    "drift": ("benchmarks.drift.cli", "drift"),
    "gate": ("benchmarks.gate_cli", "gate"),
    "judges": ("benchmarks.judges.cli", "judges"),
    "load": ("benchmarks.load.cli", "load"),
    "peers": ("benchmarks.peers.cli", "peers"),
    "scenarios": ("benchmarks.scenarios.cli", "scenarios"),
    "soak": ("benchmarks.soak_cli", "soak"),
}
SUMMARIES: dict[str, str] = {
    "drift": "Measure how good the drift detection is.",
    "gate": "Hold the gateway's speed to its budget.",
    "judges": "Hold the load generator against h2load and k6.",
    "load": "Load a server on this machine, and say what came of it.",
    "peers": "Measure the gateway beside other model servers.",
    "scenarios": "Measure what a user of the gateway may fear.",
    "soak": "Load one worker for long, and see that its memory stays flat.",
}


@click.group(cls=LazyGroup, modules=COMMANDS, summaries=SUMMARIES, invoke_without_command=True)
@click.pass_context
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option(
    "--seconds",
    default=3.0,
    show_default=True,
    type=click.FloatRange(0.2, 60),
    help="Length of one block of load; there are 36.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the report into this Markdown page; what others wrote there stays.",
)
@click.option(
    "--plots",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that takes pictures of throughput and swaps (needs matplotlib).",
)
def bench(context: click.Context, *, as_json: bool, seconds: float, output: Path | None, plots: Path | None) -> None:
    """Measure the gateway on this machine.

    One pinned worker against granian's fixed answer at 1, 32 and 256 connections; start-up, memory, and swaps in a
    registry of their own under traffic. Takes about three minutes, on two cores that should have nothing else to do,
    and ends all it started, also on Ctrl-C. Exit code 1: a request failed or a figure could not be taken.
    """
    context.obj = home() / "bench"  # the folder that subcommands work in
    if context.invoked_subcommand is not None:
        return
    from benchmarks.bench import BenchPlan, measure
    from benchmarks.errors import BenchError
    from benchmarks.load import LoadError
    from benchmarks.plots import PlotError, check, draw_figures
    from benchmarks.progress import Progress
    from benchmarks.report import render, write

    progress = Progress()
    signal.signal(signal.SIGTERM, progress.leave)
    command = "hotgate bench" if seconds == 3.0 else f"hotgate bench --seconds {seconds:g}"
    try:
        if plots is not None:
            check(plots / "any.png")
        figures = measure(home() / "bench", BenchPlan(block_s=seconds), command=command, say=progress.say)
    except PlotError as error:
        raise click.UsageError(str(error)) from error
    except (BenchError, LoadError) as error:
        raise click.ClickException(str(error)) from error
    if plots is not None:
        draw_figures(figures, plots)
    if output is not None:
        write(render(figures), output)
    click.echo(msgspec.json.encode(figures) if as_json else render(figures))
