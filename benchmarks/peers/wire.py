"""How each server is asked for one row and its answer read; and the proof that it answers as scikit-learn does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from benchmarks.errors import BenchError
from benchmarks.servers import ask

if TYPE_CHECKING:
    from benchmarks.servers import Reply
    from benchmarks.subject import Subject

__all__ = ["HOTGATE", "INVOCATIONS", "MOSEC", "NATIVE", "V2", "Wire", "check"]


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """One protocol, for one row."""

    ready_path: str
    """Answers 200 to GET once the server can be asked."""
    path: str
    """Of the POST."""
    request: Callable[[list[float]], Any]
    """From a row to the JSON value that is sent."""
    probabilities: Callable[[Any], list[float]]
    """From the JSON value of the answer to the probability of each class, in the classes' order."""

    def body(self, row: list[float]) -> bytes:
        """The request for a row."""
        return msgspec.json.encode(self.request(row))

    def read(self, reply: Reply) -> list[float]:
        """The probabilities in an answer.

        Raises:
            BenchError: it has none; the text has its beginning.
        """
        try:
            if reply.status == 200:
                return [float(value) for value in self.probabilities(msgspec.json.decode(reply.body))]
        except (msgspec.DecodeError, LookupError, TypeError, ValueError, AttributeError):
            pass
        raise BenchError(f"{self.path} answered {reply.status}: {reply.body[:500]!r}")


HOTGATE = Wire(
    ready_path="/readyz",
    path="/predict",
    request=lambda row: {"features": row},
    probabilities=lambda answer: list(answer["probabilities"].values()),
)
NATIVE = Wire(
    ready_path="/health",
    path="/predict",
    request=lambda row: {"features": row},
    probabilities=lambda answer: answer["probabilities"],
)
MOSEC = msgspec.structs.replace(NATIVE, ready_path="/", path="/inference")
V2 = Wire(
    ready_path="/v2/health/ready",
    path="/v2/models/model/infer",
    request=lambda row: {
        "inputs": [{"name": "features", "shape": [1, len(row)], "datatype": "FP64", "data": row}],
        "outputs": [{"name": "predict_proba"}],
    },
    probabilities=lambda answer: answer["outputs"][0]["data"],
)
INVOCATIONS = Wire(
    ready_path="/ping",
    path="/invocations",
    request=lambda row: {"inputs": [row]},
    probabilities=lambda answer: answer["predictions"][0],
)


def check(port: int, wire: Wire, subject: Subject) -> float:
    """Ask for every held-out row; returns the largest distance from scikit-learn's probability.

    Raises:
        BenchError: an answer is not the one that scikit-learn gives: there is no point in timing it.
    """
    worst = 0.0
    for index, (row, expected) in enumerate(zip(subject.rows.tolist(), subject.probabilities, strict=True)):
        got = wire.read(ask(port, "POST", wire.path, wire.body(row)))
        off = float(np.abs(np.array(got) - expected).max()) if len(got) == len(expected) else np.inf
        if not off <= subject.tolerance:
            raise BenchError(f"held-out row {index}: answered {got}, scikit-learn says {expected.tolist()}")
        worst = max(worst, off)
    return worst
