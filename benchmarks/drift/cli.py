"""`hotgate bench drift`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click
import msgspec

from benchmarks.drift.peers import PEERS

__all__ = ["drift"]


@click.command()
@click.pass_obj
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["hotgate", *PEERS]),
    help="Leave out all other peers; again for more. hotgate always takes part.",
)
@click.option("--quick", is_flag=True, help="hotgate alone unless peers are named, fewer streams: within a minute.")
@click.option("--seed", default=42, show_default=True, type=click.IntRange(0), help="The same makes the same streams.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the report into this Markdown page; what others wrote there stays. Figures (.json) and a plot"
    " (.svg) are put beside it.",
)
def drift(folder: Path, *, only: tuple[str, ...], quick: bool, seed: int, as_json: bool, output: Path | None) -> None:
    """Measure how good the drift detection is.

    False alarms without drift, then delay and recall on streams that change, beside Evidently, NannyML, frouros, river
    and plain KS tests, each as it comes and at an equal false-alarm rate. About a quarter of an hour; the first run
    installs each peer into an environment of its own (about 1.5 GiB in all). Ends all it started, also on Ctrl-C. Exit
    code 1: a peer failed; the report shows why, and the figures of the others.
    """
    from benchmarks.drift.contest import FULL, QUICK, compare
    from benchmarks.drift.plot import draw
    from benchmarks.drift.report import OWNER, render
    from benchmarks.errors import BenchError
    from benchmarks.plots import PlotError, check
    from benchmarks.progress import Progress
    from benchmarks.report import write

    progress = Progress()
    signal.signal(signal.SIGTERM, progress.leave)
    chosen = [name for name in PEERS if name in only or (not only and not quick)]
    plan = msgspec.structs.replace(QUICK if quick else FULL, seed=seed)
    picture = None if output is None else output.with_suffix(".svg")
    try:
        if picture is not None:
            check(picture)
        figures = compare(folder / "drift", plan, chosen, command=_command(only), say=progress.say)
    except PlotError as error:
        raise click.UsageError(str(error)) from error
    except BenchError as error:
        raise click.ClickException(str(error)) from error
    if output is not None and picture is not None:
        write(render(figures, picture.name), output, owner=OWNER)
        output.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1))
        draw(figures, picture)
    click.echo(msgspec.json.encode(figures) if as_json else render(figures))
    if figures.failed:
        click.echo(f"failed: {', '.join(figures.failed)}", err=True)
        sys.exit(1)


def _command(only: tuple[str, ...]) -> str:
    """What measures the same again."""
    context = click.get_current_context()
    options = [f"--only {name}" for name in only]
    options += ["--quick"] if context.params["quick"] else []
    if context.get_parameter_source("seed") is click.core.ParameterSource.COMMANDLINE:
        options.append(f"--seed {context.params['seed']}")
    return " ".join(["hotgate bench drift", *options])
