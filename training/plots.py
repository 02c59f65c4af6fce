"""Pictures of one candidate as PNG bytes, drawn on figures of their own: no display, no global state."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from monitoring.performance.proportion import wilson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from training.calibration import Calibration
    from training.evaluate import Importance

    Codes = npt.NDArray[np.int64]
    Matrix = npt.NDArray[np.float64]

__all__ = ["calibration_png", "confusion_matrix_png", "importances_png", "permutation_png", "roc_png"]

_INK, _MUTED, _FAINT, _GRID = "#1f2933", "#616e7c", "#9aa5b1", "#e4e7eb"
_COLOURS = ("#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#0891b2", "#65a30d", "#b91c1c")
_DPI = 144
_MOST_BARS = 15
_MOST_CURVES = len(_COLOURS)
_MOST_NUMBERED = 12
"""Classes up to which a confusion matrix has room for numbers."""


def importances_png(shares: Mapping[str, float], *, model: str) -> bytes:
    """Draw the largest shares as bars, the rest as one sum."""
    names, values = list(shares)[:_MOST_BARS], list(shares.values())[:_MOST_BARS]
    if len(shares) > len(names):
        names.append(f"{len(shares) - len(names)} others")
        values.append(sum(shares.values()) - sum(values))
    figure, axes = _figure(7.2, 1.5 + 0.29 * len(names))
    colours = [_COLOURS[0]] * min(len(shares), _MOST_BARS) + [_FAINT]
    bars = axes.barh(names, values, color=colours[: len(names)], height=0.68)
    axes.bar_label(bars, labels=[f"{value:.1%}" for value in values], padding=5, fontsize=8.5, color=_INK)
    axes.invert_yaxis()
    axes.set_xlim(0, max(values) * 1.12)
    axes.margins(y=0.02)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=_INK)
    axes.set_xticks([])
    _title(axes, "What the model looks at", f"{model} · share of the importance of each column")
    return _png(figure)


def confusion_matrix_png(codes: Codes, predicted: Codes, labels: Sequence[str], *, model: str) -> bytes:
    """Draw actual against predicted classes, coloured by the share of the actual class, with counts."""
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, (codes, predicted), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(3.4 + 0.62 * len(labels), 11.0)
    figure, axes = _figure(side + 0.6, side)
    axes.imshow(shares, cmap=_blues(), vmin=0.0, vmax=1.0)
    if len(labels) <= _MOST_NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            _write_cell(axes, row, column, int(count), float(shares[row, column]))
    every = range(len(labels))
    axes.set_xticks(every, labels=labels, rotation=0 if len(labels) <= 4 else 45)
    axes.set_yticks(every, labels=labels, rotation=90 if len(labels) <= 4 else 0, va="center")
    axes.set_xticks(np.arange(len(labels) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(labels) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=3)
    axes.tick_params(which="both", length=0, labelcolor=_INK)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted", color=_MUTED)
    axes.set_ylabel("actual", color=_MUTED)
    _title(axes, "Confusion matrix", f"{model} · {len(codes)} held-out rows")
    return _png(figure)


def roc_png(codes: Codes, probabilities: Matrix, labels: Sequence[str], *, model: str) -> bytes:
    """Draw true against false positive rate: of the last of two classes, or of each class against the rest."""
    from sklearn.metrics import roc_auc_score, roc_curve

    figure, axes = _figure(5.6, 5.4)
    axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, linestyle=(0, (4, 4)), label="chance")
    curves = [1] if len(labels) == 2 else list(range(len(labels)))[:_MOST_CURVES]
    for colour, index in zip(_COLOURS, curves, strict=False):
        positive = codes == index
        false, true, _ = roc_curve(positive, probabilities[:, index])
        area = roc_auc_score(positive, probabilities[:, index])
        axes.plot(false, true, color=colour, linewidth=2.2, label=f"{labels[index]}   AUC {area:.4f}", clip_on=False)
        if len(curves) == 1:
            axes.fill_between(false, true, color=colour, alpha=0.08, linewidth=0)
    _unit_square(axes, "false positive rate", "true positive rate")
    _title(axes, "ROC curve", f"{model} · {len(codes)} held-out rows")
    return _png(figure)


def calibration_png(calibration: Calibration, *, model: str) -> bytes:
    """Draw observed shares against predicted probabilities, each with its 95 % interval (Wilson)."""
    told = np.array([one.predicted for one in calibration.bins])
    share = np.array([one.observed for one in calibration.bins])
    n = np.array([one.rows for one in calibration.bins])
    low, high = zip(*(wilson(one.observed, one.rows) for one in calibration.bins), strict=True)
    figure, axes = _figure(5.6, 5.4)
    axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, linestyle=(0, (4, 4)), label="perfectly calibrated")
    axes.vlines(told, low, high, color=_COLOURS[0], alpha=0.35, linewidth=3)
    name = f"error {calibration.error:.4f}   Brier {calibration.brier:.4f}"
    axes.plot(told, share, color=_COLOURS[0], linewidth=2.2, marker="o", markersize=5, label=name, clip_on=False)
    _unit_square(axes, "predicted probability", "share that came true")
    _title(axes, "Calibration", f"{model} · {n.sum()} held-out rows, in groups of about {round(n.mean())}")
    return _png(figure)


def permutation_png(drops: Mapping[str, Importance], *, model: str, metric: str) -> bytes:
    """Draw the largest drops as bars, with their spread."""
    names = list(drops)[:_MOST_BARS]
    values, spreads = [drops[name].drop for name in names], [drops[name].std for name in names]
    figure, axes = _figure(7.2, 1.5 + 0.29 * len(names))
    axes.barh(names, values, xerr=spreads, color=_COLOURS[0], ecolor=_MUTED, height=0.68)
    axes.axvline(0, color=_FAINT, linewidth=1)
    axes.invert_yaxis()
    axes.margins(y=0.02)
    axes.grid(axis="x", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=_INK)
    word = "rise" if metric == "log_loss" else "drop"
    _title(axes, "What the model cannot do without", f"{model} · {word} of {metric} without the column, held-out rows")
    return _png(figure)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(
        figsize=(width, height), dpi=_DPI, layout=ConstrainedLayoutEngine(w_pad=0.14, h_pad=0.14), facecolor="white"
    )
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, color=_GRID, labelcolor=_MUTED)
    return figure, axes


def _unit_square(axes: Axes, x: str, y: str) -> None:
    """Of two shares: equal scales, names, grid and legend."""
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel(x, color=_MUTED)
    axes.set_ylabel(y, color=_MUTED)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.legend(loc="lower right", frameon=False, fontsize=9, labelcolor=_INK, reverse=True)


def _title(axes: Axes, title: str, subtitle: str) -> None:
    axes.set_title(f"{subtitle}\n", loc="left", fontsize=9, color=_MUTED, pad=-4)
    axes.annotate(
        title,
        xy=(0, 1),
        xycoords="axes fraction",
        xytext=(0, 26),
        textcoords="offset points",
        fontsize=13,
        weight="bold",
        color=_INK,
    )


def _write_cell(axes: Axes, row: int, column: int, count: int, share: float) -> None:
    """Write a count and its share; nothing there is hardly written."""
    if not count:
        axes.text(column, row, "0", ha="center", va="center", fontsize=10, color=_FAINT)
        return
    colour = "white" if share > 0.5 else _INK
    axes.text(column, row - 0.06, str(count), ha="center", va="center", fontsize=15, color=colour, weight="bold")
    axes.text(column, row + 0.2, f"{share:.1%}", ha="center", va="center", fontsize=8.5, color=colour)


def _blues() -> Colormap:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("hotgate", ["#f5f7fa", "#bfdbfe", "#2563eb", "#1e3a8a"])


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
