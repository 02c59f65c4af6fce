"""`hotgate demo traffic`: held-out rows at a steady rate, shifted or not, and what the monitor says of them."""

from __future__ import annotations

import csv
import http
import http.client
import itertools
import json
import time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from gateway.counts import EPOCH_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

__all__ = ["SHIFTED", "TrafficResult", "read_rows", "send", "shift"]

SHIFTED = ("mean texture", "mean smoothness")
"""The columns that `--drift` shifts."""


class TrafficResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent, and the monitor's last word."""

    sent: int
    failed: int
    severity: str
    """Of its last verdict."""
    drifted: list[str]
    """Features that its last verdict names."""
    named_after_s: float | None
    """When it first named exactly those, in seconds from the start."""


def read_rows(path: Path) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Names and rows [n, features] of the held-out CSV, whose last column is the label."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    return lines[0][:-1], np.array([line[:-1] for line in lines[1:]], dtype=np.float64)


def shift(
    names: list[str], rows: npt.NDArray[np.float64], columns: tuple[str, ...], sigmas: float
) -> npt.NDArray[np.float64]:
    """A copy of the rows with some columns moved up by so many of their standard deviations."""
    moved = rows.copy()
    for column in columns:
        index = names.index(column)
        moved[:, index] += sigmas * rows[:, index].std()
    return moved


def send(
    rows: npt.NDArray[np.float64],
    *,
    host: str,
    port: int,
    model: str,
    rate: float,
    seconds: float,
    seed: int,
    report: Callable[[float, dict[str, Any]], None],
) -> TrafficResult:
    """Send rows over and over on a fixed schedule; ask every two seconds for the verdict on these alone.

    All of them in a random order, then all in another one: few rows drawn with replacement are off in what comes more
    often than the rest, and after hundreds of draws that is no chance any more but drift. What was counted before stays
    out: the first ten-second epoch that is asked about begins after the start.

    Raises:
        OSError: the server cannot be reached.
    """
    rng = np.random.default_rng(seed)
    connection = http.client.HTTPConnection(host, port, timeout=10)
    total, failed, severity = int(rate * seconds), 0, "none"
    named: list[str] = []
    named_after: float | None = None
    started, since = time.monotonic(), (time.time() // EPOCH_S + 1) * EPOCH_S
    order = itertools.chain.from_iterable(rng.permutation(len(rows)) for _ in itertools.count())
    for number, pick in enumerate(itertools.islice(order, total)):
        wait = started + number / rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)  # the schedule of an open loop
        status, _ = _exchange(connection, "POST", f"/predict/{model}", {"features": rows[pick].tolist()})
        failed += status != 200
        horizon_s = time.time() // EPOCH_S * EPOCH_S - since + EPOCH_S
        if horizon_s > 0 and (number + 1 == total or (number + 1) % int(2 * rate) == 0):
            elapsed = time.monotonic() - started
            verdict = _verdict(connection, model, horizon_s)
            report(elapsed, verdict)
            severity = verdict["severity"]
            drifted = [feature["name"] for feature in verdict["features"] if feature["drift"]]
            if drifted != named:
                named, named_after = drifted, elapsed
    connection.close()
    return TrafficResult(
        sent=total,
        failed=failed,
        severity=severity,
        drifted=named,
        named_after_s=named_after if named else None,
    )


def _verdict(connection: http.client.HTTPConnection, model: str, horizon_s: float) -> dict[str, Any]:
    status, answer = _exchange(connection, "GET", f"/monitor/drift?model={model}&horizon_s={horizon_s:g}", None)
    if status != http.HTTPStatus.OK:
        raise OSError(f"/monitor/drift says nothing of {model!r}: {answer}")
    verdict: dict[str, Any] = answer[0]
    return verdict


def _exchange(connection: http.client.HTTPConnection, method: str, path: str, body: Any) -> tuple[int, Any]:
    headers = {} if body is None else {"Content-Type": "application/json"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())
