"""The trade of false alarms for delay, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.plots import COLOURS, MARKERS, legend, picture

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.drift.figures import DriftFigures

__all__ = ["draw"]


def draw(figures: DriftFigures, path: Path) -> None:
    """Mean delay over the rate of false alarms, a line a detector that needs no truth and was given every stream.

    Raises:
        PlotError: as `benchmarks.plots.check` does.
    """
    most = max(one.streams for one in figures.detectors)
    shown = [one for one in figures.detectors if one.curve and one.streams == most and not one.labels]
    how = f"windows of {figures.window_rows} rows; a missed change counts as all rows after it; lower left is better"
    with picture(path, "Delay against false alarms", how) as axes:
        for number, one in enumerate(shown):
            axes.plot(
                [100 * point.false_alarms.value for point in one.curve],
                [point.delay_rows for point in one.curve],
                "-" if number < len(COLOURS) else "--",
                color=COLOURS[number % len(COLOURS)],
                marker=MARKERS[number % len(MARKERS)],
                markersize=4,
                label=one.name,
            )
        axes.set_xscale("symlog", linthresh=0.5)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xticks([0, 0.5, 1, 2, 5, 10, 20, 50])
        axes.set_ylim(bottom=0)
        axes.set_xlabel("false alarms, % of windows without drift")
        axes.set_ylabel("mean delay, rows")
        legend(axes)
