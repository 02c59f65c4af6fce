"""Two models whose score tells the row: what is asked is in what must be answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["CITIES", "MARKS", "PEOPLE", "score_of", "write_models"]

MARKS = "marks"
"""Numbers only: `mark`, `x`, `y`; the value is mark + 2x - 3y."""
PEOPLE = "people"
"""Of two kinds: `mark`, `city`; the value is mark, and 1000 for each place of the city in `CITIES`."""
CITIES = ("Basel", "Bern", "Zürich")


def score_of(model: str, row: Sequence[Any]) -> float:
    """What the model says of a row in its columns' order."""
    if model == MARKS:
        mark, x, y = row
        return float(mark) + 2 * float(x) - 3 * float(y)
    mark, city = row
    return float(mark) + 1000.0 * CITIES.index(city)


def write_models(folder: Path) -> dict[str, Path]:
    """The model files by name; equal in every run."""
    import numpy as np
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    from converters import convert

    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 512, (400, 3)).astype(float)
    marks = pd.DataFrame(numbers, columns=["mark", "x", "y"])
    people = pd.DataFrame({"mark": numbers[:, 0], "city": rng.choice(CITIES, len(numbers))})
    cities = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    encode = make_column_transformer((cities, ["city"]), remainder="passthrough")
    found = {}
    for name, frame, estimator in (
        (MARKS, marks, LinearRegression()),
        (PEOPLE, people, make_pipeline(encode, LinearRegression())),
    ):
        target = [score_of(name, row) for row in frame.itertuples(index=False)]
        found[name] = folder / f"{name}.onnx"
        found[name].write_bytes(convert(estimator.fit(frame, target), frame, target).data)
    return found
