"""`hotgate bench load`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click
import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.load.plan import LoadPlan
    from benchmarks.load.report import LoadReport

__all__ = ["load"]

_RATE = click.FloatRange(0.001, 1e6)


class _Rates(click.ParamType[tuple[float, ...]]):
    """Several rates, separated by commas."""

    name = "rates"

    def convert(
        self, value: str | tuple[float, ...], param: click.Parameter | None, context: click.Context | None
    ) -> tuple[float, ...]:
        """Each of them in its range."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(_RATE.convert(float(part), param, context) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers like 100,200,400", param, context)


@click.command()
@click.argument("url")
@click.option("--body", type=click.File("rb"), help="File with the body to send; - is standard input.")
@click.option("--lines", is_flag=True, help="Each line of --body is a body of its own; they are sent in turn.")
@click.option("--data", metavar="TEXT", help="The body itself, usually JSON.")
@click.option("--method", help="HTTP method  [default: POST with a body, else GET].")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="May be given several times.")
@click.option("--rate", type=_RATE, help="Open loop: requests a second, whether or not the server keeps up.")
@click.option(
    "--rates", type=_Rates(), metavar="R,R,…", help="One run at each of these rates: the latency-throughput curve."
)
@click.option(
    "--schedule", type=click.Choice(["poisson", "constant"]), default="poisson", show_default=True,
    help="How the requests of an open loop are spread in time.",
)  # fmt: skip
@click.option(
    "--connections", default=32, show_default=True, type=click.IntRange(1, 4096), help="Kept-alive connections."
)
@click.option(
    "--seconds", default=10.0, show_default=True, type=click.FloatRange(0.1, 3600), help="Measured time of a run."
)
@click.option(
    "--warmup", default=1.0, show_default=True, type=click.FloatRange(0, 600), help="Seconds of load before it."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 10**15), help="Of the Poisson schedule.")
@click.option(
    "--missed-max", default=0.005, show_default=True, type=click.FloatRange(0, 1),
    help="Share of requests that the generator itself may send late.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON, with histograms and the timeline.")
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.svg|png",
    help="Draw the percentiles; with --rates the latency-throughput curve.",
)  # fmt: skip
@click.pass_obj
def load(
    folder: Path,
    /,
    *,
    url: str,
    rate: float | None,
    rates: tuple[float, ...] | None,
    plot: Path | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Load a server on this machine, and say what came of it.

    URL must be of this machine. Without --rate the loop is closed: each connection sends when it is answered, which
    finds the maximum and hides stalls. With --rate latencies count from when a request was meant to be sent. Counts
    include the warm-up, latencies do not. Exit code 0: every request was answered with 2xx on schedule. 1: one failed,
    or the generator missed its schedule. 2: an argument is impossible.
    """
    from benchmarks.load import LoadError, build
    from benchmarks.progress import Progress

    if rate and rates:
        raise click.UsageError("--rate and --rates exclude each other")
    plan = _plan(url, **how)
    draw = _drawing(plot) if plot else None
    progress = Progress()
    signal.signal(signal.SIGTERM, progress.leave)
    try:
        report = _run(build(folder), url, plan, rates or (rate,), progress.say)
    except LoadError as error:
        raise click.ClickException(str(error)) from error
    click.echo(msgspec.json.encode(report) if as_json else report.render())
    if draw:
        draw(report)
    if report.faults:
        raise click.ClickException("\n".join(report.faults))


def _plan(
    url: str,
    *,
    body: BinaryIO | None,
    lines: bool,
    data: str | None,
    method: str | None,
    headers: tuple[str, ...],
    warmup: float,
    **same: Any,
) -> LoadPlan:
    from benchmarks.load.plan import LoadPlan
    from benchmarks.load.target import TargetError, parse_headers, parse_url

    try:
        target = parse_url(url)
        bodies = _bodies(body, data, lines=lines)
        named = parse_headers(headers, json=any(bodies))
    except TargetError as error:
        raise click.UsageError(str(error)) from error
    method = method or ("POST" if any(bodies) else "GET")
    if not method.isalpha() or not method.isascii():
        raise click.UsageError(f"{method!r} is no HTTP method")
    return LoadPlan(
        host=target.host,
        port=target.port,
        path=target.path,
        method=method.upper(),
        headers=named,
        bodies=bodies,
        warmup_s=warmup,
        slice_s=0.1,
        **same,
    )


def _bodies(body: BinaryIO | None, data: str | None, *, lines: bool) -> tuple[bytes, ...]:
    from benchmarks.load.target import split_lines

    if body and data is not None:
        raise click.UsageError("--body and --data exclude each other")
    if lines and not body:
        raise click.UsageError("--lines needs --body")
    whole = body.read() if body else (data or "").encode()
    return split_lines(whole) if lines else (whole,)


def _run(
    generator: Path, url: str, plan: LoadPlan, rates: tuple[float | None, ...], say: Callable[[str], None]
) -> LoadReport:
    from benchmarks.load import run
    from benchmarks.load.report import LoadReport, LoadRun

    runs = []
    for number, rate in enumerate(rates, 1):
        how = "closed loop" if rate is None else f"{rate:g} requests a second"
        say(f"run {number} of {len(rates)}: {how} for {plan.warmup_s + plan.seconds:g} s")
        # What it missed is in the table, and decides the exit code there.
        result = run(generator, msgspec.structs.replace(plan, rate_per_s=rate, missed_max=1.0))
        runs.append(LoadRun(rate_per_s=rate, result=result))
    kept = {name: getattr(plan, name) for name in LoadReport.__struct_fields__ if hasattr(plan, name)}
    return LoadReport(url=url, runs=tuple(runs), **kept)


def _drawing(path: Path) -> Callable[[LoadReport], None]:
    """What will draw the report, refused now rather than after the load."""
    from benchmarks import plots

    try:
        plots.check(path)
    except plots.PlotError as error:
        raise click.UsageError(str(error)) from error
    return lambda report: plots.draw_load(report, path)
