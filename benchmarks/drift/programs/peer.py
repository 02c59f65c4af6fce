"""One detector library over all streams: `peer.py NAME PLAN OUT`, with the Python of its own environment.

PLAN is JSON with `streams`. Beside it lie `models/NAME.npz` and `streams/NAME.npz`, each with `rows` [n, columns], the
score last, and `errors` [n], 1 where the prediction was wrong. OUT gets JSON: for each detector its verdicts by stream,
the streams that it failed on, and its CPU time over the stream `cost`.

A verdict has a value a block of rows: `statistic`, the larger the more it looks like drift, and `alarm`, with the
library as it comes. A model's statistic is its worst column's. p-values are given as log(p) / log(threshold).
"""

from __future__ import annotations

import importlib.util
import json
import math
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np

LIBRARIES = ("by_window", "by_row")
WARM_ROWS = 500
LARGEST = 1e300


def detectors() -> dict[str, Any]:
    """All of them, from the files beside this one: no environment has this as a package."""
    found: dict[str, Any] = {}
    for name in LIBRARIES:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        if spec is None or spec.loader is None:
            raise ImportError(f"there is no {name}.py beside {__file__}")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found |= module.DETECTORS
    return found


def read(path: Path) -> tuple[Any, Any]:
    """Rows and errors."""
    with np.load(path) as found:
        return found["rows"], found["errors"]


def finite(values: list[float]) -> list[float | None]:
    """What JSON can hold: not a number means that nothing can be said."""
    return [None if math.isnan(value) else min(max(value, -LARGEST), LARGEST) for value in values]


def measure(detector: Any, rows: Any, errors: Any) -> tuple[float, int]:
    """CPU seconds over all rows after a first go, and their number."""
    own = getattr(detector, "cost", None)
    if own is not None:
        spent: tuple[float, int] = own(rows, errors)
        return spent
    detector.verdicts(rows[:WARM_ROWS], errors[:WARM_ROWS])
    begin = time.process_time()
    detector.verdicts(rows, errors)
    return time.process_time() - begin, len(rows)


def run(kind: Any, plan: dict[str, Any], folder: Path) -> dict[str, Any]:
    """All streams, those of one model after the other."""
    found: dict[str, Any] = {name: {} for name in kind.names}
    failed, cost, ready = {}, None, {}
    for number, stream in enumerate(plan["streams"]):
        if getattr(kind, "slow", False) and not (stream["slow"] or stream["shift"] == "cost"):
            continue
        print(f"{number + 1} of {len(plan['streams'])}", flush=True)
        key = (stream["model"], stream["window_rows"])
        try:
            if key not in ready:
                ready = {key: kind(*read(folder / "models" / f"{key[0]}.npz"), key[1])}
            rows, errors = read(folder / "streams" / f"{stream['name']}.npz")
            if stream["shift"] == "cost":
                cost = measure(ready[key], rows, errors)
            else:
                for name, verdicts in ready[key].verdicts(rows, errors).items():
                    found[name][stream["name"]] = verdicts | {"statistic": finite(verdicts["statistic"])}
        except Exception as error:  # noqa: BLE001 - whatever a library raises on a stream is its error there
            failed[stream["name"]] = f"{type(error).__name__}: {error}"[:300]
            traceback.print_exc()
    return {"verdicts": found, "failed": failed, "cost": cost}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    plan_file = Path(sys.argv[2])
    answer = run(detectors()[sys.argv[1]], json.loads(plan_file.read_bytes()), plan_file.parent)
    Path(sys.argv[3]).write_text(json.dumps(answer), encoding="utf-8")
