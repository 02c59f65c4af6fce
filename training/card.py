"""The model card: what a model was made of, how good it is and where it is not, for people (Markdown) and tools (JSON).

After Mitchell et al., Model cards for model reporting, FAT* 2019. What a model is for, no computation can tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from training.calibration import Calibration, calibrate
from training.evaluate import CrossValidation, Importance, Metrics, permutation_importances
from training.slices import Slice, measure_slices

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from training.building import Basis

__all__ = ["DataSummary", "ModelCard", "SearchSummary", "draw_card", "make_card", "render_card"]

_SLICED = 3
"""Columns, the most important ones, whose thirds are slices."""
_MOST_SHOWN = 10
"""Rows of a table in Markdown; the JSON has all."""


class DataSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The rows."""

    source: str
    digest: str
    revision: str | None
    columns: int
    rows: dict[str, int]
    """By `training` and `heldout`."""
    classes: dict[str, int]
    """Rows by the class's label."""


class SearchSummary(msgspec.Struct, frozen=True, kw_only=True):
    """How this candidate came to be chosen."""

    metric: str
    tried: int
    failed: dict[str, str]
    """Errors by the candidate's name."""
    cv: CrossValidation


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """Equal trainings have equal cards."""

    name: str
    sha256: str
    """Of the model file."""
    git_revision: str | None
    seed: int
    parameters: dict[str, Any]
    data: DataSummary
    search: SearchSummary
    heldout: Metrics
    calibration: Calibration
    importances: dict[str, Importance]
    """By column, largest first, in the search's metric."""
    slices: tuple[Slice, ...]


def make_card(
    basis: Basis,
    estimator: Any,
    parameters: dict[str, Any],
    *,
    sha256: str,
    cv: CrossValidation,
    heldout: Metrics,
    failed: Mapping[str, str],
    tried: int,
) -> ModelCard:
    """Judge a fitted estimator by the held-out rows.

    Args:
        basis: data, split and settings that it was made with.
        estimator: fitted on the training rows.
        parameters: JSON values that say how it was made.
        sha256: of its model file.
        cv: its cross-validation.
        heldout: its metrics.
        failed: errors of other candidates by name.
        tried: candidates, failures included.
    """
    config, dataset, split = basis.config, basis.dataset, basis.split
    rows, codes = dataset.rows[split.heldout], dataset.codes[split.heldout]
    probabilities = estimator.predict_proba(rows)
    importances = permutation_importances(
        estimator, rows, codes, dataset.columns, metric=config.search.metric, seed=config.seed
    )
    return ModelCard(
        name=config.name,
        sha256=sha256,
        git_revision=basis.git_revision,
        seed=config.seed,
        parameters=parameters,
        data=DataSummary(
            source=dataset.source,
            digest=dataset.digest,
            revision=config.data.revision,
            columns=len(dataset.columns),
            rows={"training": len(split.train), "heldout": len(split.heldout)},
            classes=dict(zip(dataset.labels, np.bincount(dataset.codes).tolist(), strict=True)),
        ),
        search=SearchSummary(metric=config.search.metric, tried=tried, failed=dict(failed), cv=cv),
        heldout=heldout,
        calibration=calibrate(codes, probabilities),
        importances=importances,
        slices=measure_slices(dataset, split, probabilities, list(importances)[:_SLICED]),
    )


def draw_card(card: ModelCard) -> dict[str, bytes]:
    """The card's plots as PNG by file name."""
    from training.plots import calibration_png, permutation_png

    model = str(card.parameters.get("candidate", card.name))
    return {
        "calibration.png": calibration_png(card.calibration, model=model),
        "permutation_importances.png": permutation_png(card.importances, model=model, metric=card.search.metric),
    }


def render_card(card: ModelCard) -> str:
    """The card as Markdown."""
    return "\n".join(_lines(card)) + "\n"


def _lines(card: ModelCard) -> Iterator[str]:
    data, search = card.data, card.search
    yield f"# {card.name}\n"
    parameters = ", ".join(f"{key} {value}" for key, value in card.parameters.items())
    yield f"{parameters}; seed {card.seed}.\n"
    yield from _table(
        ("what", "value"),
        [
            ("model file, SHA-256", f"`{card.sha256}`"),
            ("code", card.git_revision or "not under version control"),
            ("data", data.source),
            ("data, digest", f"`{data.digest}`"),
            ("data, revision", data.revision or "not under version control"),
            ("rows", f"{data.rows['training']} to train on, {data.rows['heldout']} held out; {data.columns} columns"),
            ("classes", ", ".join(f"{label} {count}" for label, count in data.classes.items())),
        ],
    )
    yield "## How good it is\n"
    told = zip(*(msgspec.structs.astuple(one) for one in (card.heldout, search.cv.mean, search.cv.std)), strict=True)
    yield from _table(
        ("metric", "held-out rows", f"{search.cv.folds} folds"),
        [
            (name, f"{held:.4f}", f"{mean:.4f} ± {std:.4f}")
            for name, (held, mean, std) in zip(Metrics.__struct_fields__, told, strict=True)
        ],
    )
    yield f"Best of {search.tried} candidates by {search.metric} over the folds; {len(search.failed)} failed."
    yield f"Calibration on the held-out rows: error {card.calibration.error:.4f}, Brier {card.calibration.brier:.4f}.\n"
    yield "## What it cannot do without\n"
    yield f"How much worse {search.metric} is on the held-out rows if a column's values are dealt out anew.\n"
    shown = list(card.importances.items())[:_MOST_SHOWN]
    yield from _table(("column", "worse by"), [(column, f"{one.drop:.4f} ± {one.std:.4f}") for column, one in shown])
    yield "## Where it is good and where not\n"
    yield from _table(("held-out rows with", "rows", *Metrics.__struct_fields__), map(_slice_row, card.slices))


def _slice_row(one: Slice) -> tuple[str, ...]:
    names = Metrics.__struct_fields__
    values = ("too few",) * len(names) if one.metrics is None else msgspec.structs.astuple(one.metrics)
    return (one.name, str(one.rows), *(value if isinstance(value, str) else f"{value:.4f}" for value in values))


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""
