"""Streams of river's generators and its annotated series: `river_streams.py SPECS FOLDER`, JSON in, npz out."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from river.datasets import synth
from river.drift import datasets

ABRUPT_ROWS = 20  # ConceptDriftStream computes exp(4 * 2500 / width): with a width of one it overflows
GRADUAL_ROWS = 2000
PERIOD_ROWS = 1000
SPEED = 0.001
SWAPPED = 7
ANNOTATED = {"AirlinePassengers": 299, "Occupancy": 234}
"""The first change that most annotators mark. Apple, Bitcoin and Brent are left out: their files have more rows than
the annotations were made on. RunLog and UKCoal change every 10 to 60 rows, less than a window."""


def concepts(generator: str, model: int, sample: int, skip: int) -> tuple[Any, Any]:
    """What comes before and after the change."""
    common: dict[str, Any]
    if generator == "RandomRBF, other centroids":
        return (
            synth.RandomRBF(seed_model=model, seed_sample=sample, n_features=10),
            synth.RandomRBF(seed_model=model + 7, seed_sample=sample + 50, n_features=10),
        )
    if generator == "RandomRBF, moving centroids":
        common = {"seed_model": model, "n_features": 10}
        return (
            synth.RandomRBF(seed_sample=sample, **common),
            synth.RandomRBFDrift(seed_sample=sample + 50, change_speed=SPEED, **common),
        )
    if generator == "LED, features swapped":
        common = {"noise_percentage": 0.1, "irrelevant_features": True}
        return synth.LED(seed=sample, **common), synth.LEDDrift(seed=sample + 50, n_drift_features=SWAPPED, **common)
    if generator == "SEA, other function":
        return synth.SEA(variant=0, seed=sample), synth.SEA(variant=3, seed=sample + 50)
    if generator == "Agrawal, other function":
        return synth.Agrawal(0, seed=sample), synth.Agrawal(2, seed=sample + 50)
    if generator == "Hyperplane, other plane":
        return planes(model, skip), planes(model + 7, skip)
    raise ValueError(f"no generator {generator!r}")


class Skipped:
    """A stream without its first rows."""

    def __init__(self, stream: Any, skip: int) -> None:
        self._stream, self._skip = stream, skip

    def __getattr__(self, name: str) -> Any:
        """All else is the stream's."""
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return itertools.islice(self._stream, self._skip, None)


def planes(model: int, skip: int) -> Any:
    """A hyperplane and fresh rows: the generator has one seed for both."""
    return Skipped(synth.Hyperplane(seed=model, n_features=10), skip)


def stream(spec: dict[str, Any]) -> Any:
    """Rows and labels, as river gives them."""
    before, after = concepts(spec["generator"], spec["model_seed"], spec["sample_seed"], spec["skip"])
    if spec["change"] is None:
        return before
    seed, change = spec["sample_seed"], spec["change"]
    if spec["kind"] == "recurring":
        back = synth.ConceptDriftStream(after, before, seed=seed + 1, position=PERIOD_ROWS, width=ABRUPT_ROWS)
        return synth.ConceptDriftStream(before, back, seed=seed, position=change, width=ABRUPT_ROWS)
    if spec["kind"] == "gradual":
        middle = change + GRADUAL_ROWS // 2
        return synth.ConceptDriftStream(before, after, seed=seed, position=middle, width=GRADUAL_ROWS)
    return synth.ConceptDriftStream(before, after, seed=seed, position=change, width=ABRUPT_ROWS)


def write(path: Path, pairs: Any) -> None:
    """As arrays; what has no label gets 0."""
    rows, labels = [], []
    for x, y in pairs:
        rows.append([float(value) for value in x.values()])
        labels.append(int(y))
    np.savez(path, rows=np.array(rows), labels=np.array(labels, dtype=np.int64))


def annotated(name: str) -> Any:
    """A series without labels."""
    for _, y in getattr(datasets, name)():
        values = y if isinstance(y, dict) else {name: y}
        yield values, 0


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for spec in json.loads(Path(sys.argv[1]).read_bytes()):
        write(folder / f"{spec['name']}.npz", itertools.islice(stream(spec), spec["rows"]))
    for name, change in ANNOTATED.items():
        write(folder / f"annotated-{name}-{change}.npz", annotated(name))
