"""Rows made to break a conversion: on both sides of thresholds, outside the data, missing, never seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from converters.crossing import crossing_rows
from converters.cures.boosters import package_of
from converters.modelfile import MISSING_TEXT
from converters.oracle import quietly
from converters.parity import TOLERANCE, compare
from converters.rewriting import inner
from converters.rows import Rows, join
from converters.trees import at_most, reaching, scalers_and_model, trees_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from converters.modelfile import Column
    from converters.oracle import Oracle
    from converters.parity import Run

    Doubles = npt.NDArray[np.float64]

__all__ = ["adversarial_rows", "holed_rows", "missing_rows", "takes_missing"]

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_MAX_SPLITS = 1024
_SPREAD_ROWS = 256
_MISSING_ROWS_A_COLUMN = 8
_ALONE_ROWS = 128
_SEED = 20_240_229
_TEXTS = (
    "",
    " ",
    "never seen",
    "Größe, naïve café — l'été d'Ångström",
    "don't can't O'Neil",
    "word " * 300,
    "0",
    "nan",
)
"""What nobody trained on: empty, blank, unseen, accents, apostrophes, long, a number, what looks like a missing one."""
_WHOLE = (2.0**24 - 1, 2.0**24 + 1, -1.0, 0.0)
"""Around the last whole number that float32 counts to."""


def takes_missing(
    oracle: Oracle, run: Run, rows: Rows, columns: Sequence[Column], tolerance: float = TOLERANCE
) -> tuple[bool, ...]:
    """Whether a missing value may be sent, by column: scikit-learn takes one, and the graph answers the same for it.

    A random forest takes NaN but its graph sends it down another branch, so this is measured, not looked up. The
    columns of a matrix are all alike; those of a table go each its own way.
    """
    everywhere = range(len(columns))
    if _agree(oracle, run, missing_rows(oracle, rows, columns), tolerance):
        return (True,) * len(columns)
    if oracle.layout.form == "matrix":
        return (False,) * len(columns)
    base = rows[np.resize(np.arange(len(rows)), min(max(len(rows), 1), _ALONE_ROWS))]
    taken = [
        place
        for place in everywhere
        if _agree(oracle, run, _holed(base, columns, np.arange(len(columns)) == place), tolerance)
    ]
    chosen = np.isin(np.arange(len(columns)), taken)
    several = np.random.default_rng(_SEED).random((len(base), len(columns))) < 0.3
    if not _agree(oracle, run, _holed(base, columns, several & chosen), tolerance):
        return (False,) * len(columns)
    return tuple(chosen.tolist())


def _agree(oracle: Oracle, run: Run, rows: Rows, tolerance: float) -> bool:
    try:
        return not compare(oracle, run, rows).failing(tolerance).size
    except Exception:  # noqa: BLE001 - scikit-learn and onnxruntime refuse a missing value with whatever they meet
        return False


def _holed(rows: Rows, columns: Sequence[Column], holes: npt.NDArray[np.bool_]) -> Rows:
    """The rows with a missing value wherever `holes` [rows, columns] says so."""
    holes = np.broadcast_to(holes, rows.numbers.shape)
    numbers = np.where(holes, np.nan, rows.numbers)
    if rows.texts is None:
        return Rows(numbers=numbers)
    places = [place for place, column in enumerate(columns) if column.kind == "string"]
    texts = rows.texts.copy()
    texts[holes[:, places]] = MISSING_TEXT
    return Rows(numbers=numbers, texts=texts)


def missing_rows(oracle: Oracle, heldout: Rows, columns: Sequence[Column]) -> Rows:
    """Rows with holes: each column alone in several rows, several at once, and the column that a tree splits on."""
    rng = np.random.default_rng(_SEED)
    width = len(columns)
    base = heldout[np.resize(np.arange(len(heldout)), max(len(heldout), _MISSING_ROWS_A_COLUMN * width))]
    index = np.arange(len(base))
    alone = np.zeros((len(base), width), dtype=np.bool_)
    alone[index, index % width] = True
    blocks = [_holed(base, columns, alone), _holed(base, columns, rng.random(alone.shape) < 0.1)]
    for rows, places in _rows_at_splits(oracle, heldout, rng)[:1]:
        at_split = np.zeros(rows.shape, dtype=np.bool_)
        at_split[np.arange(len(rows)), places] = True
        blocks.append(_holed(Rows(numbers=rows), columns, at_split))
    return join(blocks)


def adversarial_rows(oracle: Oracle, heldout: Rows, columns: Sequence[Column]) -> Rows:
    """Rows made to break a conversion, seeded by the model's own thresholds.

    Neighbouring float32 values on both sides of tree thresholds, in rows that arrive at that split, or wherever the
    answer of trees behind other steps changes; doubles that float32 cannot hold; values far outside the data; whole
    numbers around 2^24; and texts that nobody trained on. What scikit-learn refuses (an unknown category, a logarithm
    of less than nothing) is left out.
    """
    rng = np.random.default_rng(_SEED)
    base = heldout[rng.integers(len(heldout), size=_SPREAD_ROWS)]
    blocks = [Rows(numbers=rows) for rows, _ in _rows_at_splits(oracle, heldout, rng)]
    between, *far = _between_and_far(base.numbers, rng)
    if oracle.layout.form == "matrix":
        further = [Rows(numbers=numbers) for numbers in (between, *far)]
    else:
        further = _table_blocks(base, between, columns)
    if not blocks and any(package_of(part) or trees_of(part) for part in inner(oracle.estimator)):
        blocks = crossing_rows(oracle, heldout, columns, rng)
    return join(blocks + [block for block in further if _answered(oracle, block)])


def holed_rows(oracle: Oracle, heldout: Rows, columns: Sequence[Column], missing: Sequence[bool]) -> Rows:
    """Rows with missing values in the columns that take them; none if none does."""
    if all(missing):
        return missing_rows(oracle, heldout, columns)
    rng = np.random.default_rng(_SEED)
    base = heldout[rng.integers(len(heldout), size=_SPREAD_ROWS if any(missing) else 0)]
    return _holed(base, columns, np.asarray(missing) & (rng.random(base.numbers.shape) < 0.2))


def _between_and_far(base: Doubles, rng: np.random.Generator) -> list[Doubles]:
    with np.errstate(over="ignore", invalid="ignore"):
        ulp = np.spacing(base.astype(np.float32)).astype(np.float64)
        between = np.where(np.isfinite(ulp), base + rng.uniform(-0.5, 0.5, base.shape) * ulp, base)
        far = [np.zeros_like(base[:1]), base[:16] * 1e3, -base[:16], base[:16] * 1e-3]
    return [between] + [
        np.clip(block, -_FLOAT32_MAX, _FLOAT32_MAX).astype(np.float32).astype(np.float64) for block in far
    ]


def _table_blocks(base: Rows, between: Doubles, columns: Sequence[Column]) -> list[Rows]:
    """Each column by itself: scikit-learn may refuse what another one would take."""
    numbers = base.numbers.copy()
    for place, column in enumerate(columns):
        if column.kind == "float":
            numbers[:, place] = between[:, place]
    blocks = [Rows(numbers=numbers, texts=base.texts)]
    text = 0
    for place, column in enumerate(columns):
        if column.kind == "string":
            assert base.texts is not None  # noqa: S101 - the rows are of these columns
            strange = base[: 2 * len(_TEXTS)]
            assert strange.texts is not None  # noqa: S101
            texts = strange.texts.copy()
            seen = [str(value) for value in texts[len(_TEXTS) :, text]]
            texts[:, text] = [*_TEXTS, *(value.upper() + " " for value in seen)]
            blocks += [Rows(numbers=strange.numbers, texts=texts)]
            text += 1
            continue
        values = {"bool": (0.0, 1.0), "int": _WHOLE}.get(column.kind)
        if values is None:
            found = base.numbers[:8, place]
            values = (0.0, *np.concatenate([found * 1e3, -found]).astype(np.float32).tolist())
        some = base[: len(values)]
        moved = some.numbers.copy()
        moved[:, place] = values
        blocks.append(Rows(numbers=moved, texts=some.texts))
    return blocks


def _answered(oracle: Oracle, rows: Rows) -> bool:
    """Whether scikit-learn takes such rows."""
    try:
        return bool(np.isfinite(oracle.ask(rows).answers).all())
    except (ValueError, TypeError, IndexError):  # as naive Bayes of categories raises for one that it does not know
        return False


def _rows_at_splits(
    oracle: Oracle, heldout: Rows, rng: np.random.Generator
) -> list[tuple[Doubles, npt.NDArray[np.int64]]]:
    """Blocks of rows, each with the column whose value lies at the split that the row arrives at.

    Without scalers: the largest float32 that goes left, then the smallest that goes right. With scalers the two are
    taken back to the data, where one step of float32 more on either side makes up for the rounding on the way.
    """
    if oracle.layout.form != "matrix":
        return []
    scalers, model = scalers_and_model(oracle.estimator)
    rows, columns, values = _splits_reached(model, _through(scalers, heldout.numbers), rng)
    if not len(rows):
        return []
    index = np.arange(len(rows))
    up, down = np.float32(np.inf), np.float32(-np.inf)
    blocks = []
    for value, beyond in ((values, down), (np.nextafter(values, up), up)):
        block = rows.copy()
        block[index, columns] = value
        for scaler in reversed(scalers):
            block = scaler.inverse_transform(block)
        seen = np.clip(block, -_FLOAT32_MAX, _FLOAT32_MAX).astype(np.float32)
        blocks.append(seen.astype(np.float64))
        if scalers:
            further = seen.copy()
            further[index, columns] = np.nextafter(seen[index, columns], beyond)
            blocks.append(further.astype(np.float64))
    return [(block, columns) for block in blocks]


def _through(scalers: list[Any], rows: Doubles) -> Doubles:
    with quietly():
        for scaler in scalers:
            rows = scaler.transform(rows)
    return np.asarray(rows, dtype=np.float64)


def _splits_reached(
    model: Any, scaled: Doubles, rng: np.random.Generator
) -> tuple[Doubles, npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Up to `_MAX_SPLITS` splits: a row that arrives there, the column, and the largest float32 that goes left."""
    trees = trees_of(model)
    nodes = [(tree, node) for tree, one in enumerate(trees) for node in one.splits().tolist()]
    if not nodes:
        return scaled[:0], np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    picks = [nodes[pick] for pick in rng.permutation(len(nodes))[:_MAX_SPLITS]]
    parents = {tree: trees[tree].parents() for tree, _ in picks}
    base = np.clip(scaled, -_FLOAT32_MAX, _FLOAT32_MAX).astype(np.float32)
    starts = base[rng.integers(len(base), size=len(picks))]
    rows = [
        reaching(trees[tree], node, start, parents[tree]) for (tree, node), start in zip(picks, starts, strict=True)
    ]
    columns = np.array([trees[tree].feature[node] for tree, node in picks], dtype=np.int64)
    thresholds = np.array([trees[tree].threshold[node] for tree, node in picks])
    return np.array(rows, dtype=np.float64), columns, at_most(thresholds)
