"""Figures as pictures; matplotlib comes with the extra `train` and is imported where it draws."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.load.result import Latency, Slice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.figures import Figures
    from benchmarks.load.report import LoadReport

__all__ = [
    "PlotError",
    "Point",
    "Timeline",
    "check",
    "draw_curve",
    "draw_figures",
    "draw_load",
    "draw_percentiles",
    "draw_timeline",
    "legend",
    "picture",
]

SUFFIXES = (".svg", ".png")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by all common kinds of colour blindness. Okabe and Ito, Color Universal Design, 2008."""
MARKERS = "osD^vPX"
NINES = (50, 90, 99, 99.9, 99.99, 99.999)


class PlotError(Exception):
    """There is no picture; the text says what to do."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One load on a server."""

    label: str
    """What was asked for: the rate, or the number of connections."""
    throughput_per_s: float
    p50_us: float
    p99_us: float


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """A run in slices, and what happened in it."""

    slice_s: float
    slices: tuple[Slice, ...]
    moments: tuple[tuple[float, str], ...] = ()
    """Seconds from the first slice's begin, and what happened then: equal words are drawn alike."""
    measured_from_s: float = 0
    """Where the warm-up ends; what is before is left out."""


def check(path: Path) -> None:
    """Refuse what could not be drawn, before anything is measured for it.

    Raises:
        PlotError: the name has another ending, or there is no matplotlib.
    """
    if path.suffix not in SUFFIXES:
        raise PlotError(f"{path} ends with none of {', '.join(SUFFIXES)}: that says what is drawn")
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise PlotError("plots need matplotlib: pip install 'hotgate[train]'") from error
    del mpl


def draw_load(report: LoadReport, path: Path) -> None:
    """What `hotgate bench load --plot` draws: percentiles of one run, the curve of several rates."""
    how = f"{report.method} {report.url}, {report.connections} connections, {report.seconds:g} s each"
    latencies = {
        "closed loop" if run.rate_per_s is None else f"{run.rate_per_s:,g}/s": run.result.latency for run in report.runs
    }
    if len(report.runs) == 1:
        draw_percentiles(latencies, path, title="Latency by percentile", how=how)
        return
    points = [
        Point(
            label=label,
            throughput_per_s=run.result.throughput_per_s,
            p50_us=run.result.latency.p50_us,
            p99_us=run.result.latency.p99_us,
        )
        for label, run in zip(latencies, report.runs, strict=True)
    ]
    draw_curve({"": points}, path, title="Latency against throughput", how=f"{how}, open loop ({report.schedule})")


def draw_figures(figures: Figures, folder: Path) -> None:
    """What `hotgate bench --plots` draws: `throughput.png` and, if there was a timeline, `swaps.png`."""
    curves = {
        name: [
            Point(
                label=str(found.connections),
                throughput_per_s=getattr(found, name).throughput_per_s,
                p50_us=getattr(found, name).p50_us,
                p99_us=getattr(found, name).p99_us,
            )
            for found in figures.serving
        ]
        for name in ("hotgate", "fixed")
    }
    how = "closed loop, one worker on one core; the numbers are connections; fixed is granian without a gateway"
    draw_curve(curves, folder / "throughput.png", title="Latency against throughput", how=how)
    swap = figures.swap
    if not swap.slices:
        return
    timeline = Timeline(
        slice_s=swap.slice_s,
        slices=swap.slices,
        moments=tuple((at, "stage change asked for") for at in swap.asked_s),
        measured_from_s=swap.warmup_s,
    )
    how = f"{swap.rate_per_s:g} requests a second, open loop; sidecar, verifier and worker on one core"
    draw_timeline(timeline, folder / "swaps.png", title="Latency while versions are promoted", how=how)


def draw_curve(curves: Mapping[str, Sequence[Point]], path: Path, *, title: str, how: str) -> None:
    """p50 (dashed) and p99 of each server over its throughput, in the order in which the load grew.

    Raises:
        PlotError: as `check` does.
    """
    with picture(path, title, how) as axes:
        for (name, points), colour, marker in zip(curves.items(), COLOURS, MARKERS, strict=False):
            throughput = [point.throughput_per_s for point in points]
            for which, style in (("p99", "-"), ("p50", "--")):
                values = [getattr(point, f"{which}_us") / 1e3 for point in points]
                axes.plot(throughput, values, style, color=colour, marker=marker, label=f"{name} {which}".strip())
            for point in points:
                place = (point.throughput_per_s, point.p99_us / 1e3)
                axes.annotate(
                    point.label, place, xytext=(2, 7), textcoords="offset points", rotation=30, fontsize=8, color=colour
                )
        axes.set_xlim(left=0)
        axes.margins(y=0.15)
        axes.set_xlabel("answers with 2xx a second")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        _latency_axis(axes)
        legend(axes)


def draw_percentiles(latencies: Mapping[str, Latency], path: Path, *, title: str, how: str) -> None:
    """The whole distribution of each, on an axis on which every further nine is as wide: log(1 / (1 - q)).

    Raises:
        PlotError: as `check` does.
    """
    with picture(path, title, how) as axes:
        widest = 1.0
        for (name, latency), colour in zip(latencies.items(), COLOURS, strict=False):
            nines, values = _nines(latency)
            axes.plot(nines, values, drawstyle="steps-pre", color=colour, label=name)
            axes.plot(nines[-1], values[-1], "o", color=colour, markersize=4)
            widest = max(widest, nines[-1])
        axes.set_xticks([_nine(nine) for nine in NINES], [f"{nine:g} %" for nine in NINES])
        axes.set_xlim(0, widest * 1.03)
        axes.set_xlabel("percentile of the answers; the dot is the slowest one")
        _latency_axis(axes)
        legend(axes)


def draw_timeline(timeline: Timeline, path: Path, *, title: str, how: str) -> None:
    """p99 and p50 of the requests meant to go out in each slice, vertical lines where something happened.

    Raises:
        PlotError: as `check` does.
    """
    first = round(timeline.measured_from_s / timeline.slice_s)
    shown = timeline.slices[first:]
    begins = [(first + at) * timeline.slice_s - timeline.measured_from_s for at in range(len(shown))]
    with picture(path, title, how) as axes:
        for which, colour, style in (("p99", COLOURS[0], "-"), ("p50", COLOURS[5], "--")):
            values = [getattr(part, f"{which}_us") for part in shown]
            known = [math.nan if value is None else value / 1e3 for value in values]
            axes.plot(begins, known, style, color=colour, drawstyle="steps-post", label=which)
        named: set[str] = set()
        kinds = list(dict.fromkeys(what for _, what in timeline.moments))
        for at, what in timeline.moments:
            colour, style = COLOURS[1 + kinds.index(what)], (":", "-.")[kinds.index(what) % 2]
            axes.axvline(
                at - timeline.measured_from_s, color=colour, linestyle=style, label=None if what in named else what
            )
            named.add(what)
        failed = [(at, part.failed) for at, part in zip(begins, shown, strict=True) if part.failed]
        for at, _ in failed:
            axes.axvspan(at, at + timeline.slice_s, color=COLOURS[6], alpha=0.3, linewidth=0)
        note = f"; dark: {sum(n for _, n in failed):,} failed" if failed else ""
        axes.set_xlim(0, begins[-1] + timeline.slice_s if begins else 1)
        axes.set_xlabel(f"seconds; slices of {timeline.slice_s * 1e3:g} ms{note}")
        _latency_axis(axes)
        legend(axes)


def _nine(percent: float) -> float:
    return -math.log10(1 - percent / 100)


def _nines(latency: Latency) -> tuple[list[float], list[float]]:
    """One point a bucket: up to which share of the answers, and their latency in ms; the last is the slowest answer."""
    nines, values, seen = [0.0], [min(latency.buckets) / 1e6], 0
    for highest_ns, count in latency.buckets.items():
        # The last answer stands where half of it is above: at n / (n - 1/2) no axis can place it.
        nines.append(-math.log10(1 - min(seen + count, latency.n - 0.5) / latency.n))
        values.append(min(highest_ns / 1e3, latency.max_us) / 1e3)
        seen += count
    return nines, values


def _latency_axis(axes: Any) -> None:
    axes.set_yscale("log")
    axes.set_ylabel("latency, ms (logarithmic)")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axes.tick_params(axis="y", which="minor", labelsize="small", labelcolor="0.4")


def legend(axes: Any) -> None:
    """Below the axes, where no line can run through it."""
    longest = max(map(len, axes.get_legend_handles_labels()[1]))
    columns = max(1, min(4, 90 // (longest + 6)))
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=columns)


@contextmanager
def picture(path: Path, title: str, how: str) -> Iterator[Any]:
    """Axes to draw on; saved when the block ends well. Never touches pyplot's global state or a display."""
    check(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(how, fontsize=9, color="0.35", loc="left")
    figure.suptitle(title, fontsize=13, x=0.02, ha="left")
    axes.grid(which="major", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    yield axes
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "hotgate"}):  # equal figures are equal files
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
