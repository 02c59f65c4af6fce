"""What a batch costs, however many requests share it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import pytest
from prometheus_client import Counter, Histogram

from gateway.batcher import Batcher
from gateway.metrics import BATCH_ROWS, BATCHES, CLOSED_BY, QUEUE_SECONDS, ROWS, RUN_SECONDS
from gateway.series import LABELS
from gateway.settings import GatewaySettings
from gateway.tickets import Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from benchmarks.micro.conftest import Lived
    from benchmarks.micro.measuring import Measure
    from benchmarks.subject import Subject

pytestmark = pytest.mark.benchmark(group="One batch")

SIZES = (1, 8, 64, 256)
SETTINGS = GatewaySettings()


class ByHand:
    """Turns that come when the benchmark flushes."""

    def soon(self, flush: Callable[[], None]) -> None:
        """Not yet."""

    def land(self, finish: Callable[[], None]) -> None:
        """These runs are short enough to be made at once."""
        raise AssertionError(f"a run went to a thread, which would call {finish}")


@pytest.fixture
def batcher(lived: Lived) -> Iterator[Batcher]:
    """On the model and with the observer that serve."""
    generation = lived.generation
    with ThreadPoolExecutor(1) as pool:
        yield Batcher(generation.engine, generation.observer, pool, ByHand(), SETTINGS)


@pytest.fixture
def rows(subject: Subject) -> npt.NDArray[np.float32]:
    """As many as a batch may have."""
    return np.resize(subject.rows, (SETTINGS.max_batch_rows, subject.rows.shape[1])).astype(np.float32)


def _emptied(lived: Lived, size: int) -> Callable[[], None]:
    """Empties the monitor's chunk before it is full, as its thread does: a put into a full one would cost nothing."""
    rounds, feed = count(1), lived.generation.feed

    def empty() -> None:
        if not next(rounds) % max(4096 // size, 1):
            feed.count()

    return empty


def test_submit_one(measure: Measure, batcher: Batcher, row: list[float | None]) -> None:
    """Into an empty queue."""
    tickets: list[Ticket] = []

    def prepare() -> None:
        batcher.flush()
        tickets[:] = [Ticket(0.0)]

    measure(
        lambda: batcher.submit_one(row, "$.features", tickets[0]), "admitted, packed, queued under a lock",
        prepare=prepare,
    )  # fmt: skip
    batcher.flush()
    assert tickets[0].done()


@pytest.mark.parametrize("size", SIZES)
def test_flush(measure: Measure, lived: Lived, batcher: Batcher, row: list[float | None], size: int) -> None:
    """Run, observe, answer all."""
    tickets: list[Ticket] = []
    empty = _emptied(lived, size)

    def prepare() -> None:
        empty()
        tickets[:] = [Ticket(0.0) for _ in range(size)]
        for ticket in tickets:
            batcher.submit_one(row, "$.features", ticket)

    measure(batcher.flush, "the run, what is counted of it, and handing out the answers", prepare=prepare)
    assert all(len(ticket.result()) == 1 for ticket in tickets)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", ["bound", "plain"])
def test_session(measure: Measure, lived: Lived, rows: npt.NDArray[np.float32], way: str, size: int) -> None:
    """The model alone, by onnxruntime."""
    engine = lived.generation.engine
    run, some = engine.bind(rows), rows[:size]
    calls = {"bound": lambda: run(size), "plain": lambda: engine.run(some)}
    whys = {
        "bound": "on bound buffers up to 64 rows, above that the plain way",
        "plain": "`session.run`: names, types and memory looked up each time",
    }
    np.testing.assert_allclose(measure(calls[way], whys[way]), engine.run(some), atol=1e-6)


@pytest.mark.parametrize("size", [1, 64])
def test_drift_put(measure: Measure, lived: Lived, rows: npt.NDArray[np.float32], size: int) -> None:
    """Rows for the monitor."""
    feed, some = lived.generation.feed, rows[:size]
    scores = lived.generation.engine.run(some)
    members = [Ticket(0.0)] * size
    why = "one copy a batch, and whose rows they are; a thread counts and logs"
    assert measure(lambda: feed.put(some, scores, members), why, prepare=_emptied(lived, size)) == 0


@pytest.mark.parametrize("way", ["tallied", "told"])
def test_observer(measure: Measure, lived: Lived, rows: npt.NDArray[np.float32], way: str) -> None:
    """A batch of eight."""
    generation, some = lived.generation, rows[:8]
    scores, members = generation.engine.run(some), [Ticket(0.0)] * 8
    tell = _teller()

    def tallied() -> None:
        generation.observer.ran(some, scores, members, texts=None, took_s=1e-5, waited_s=1e-6, closed_by="turn")

    def told() -> None:
        tell(8, 1e-5, 1e-6)
        generation.feed.put(some, scores, members)

    whys = {
        "tallied": "plain numbers and the monitor's copy; Prometheus is told beside the path",
        "told": "what that replaces: prometheus_client told of each batch, and the copy",
    }
    measure({"tallied": tallied, "told": told}[way], whys[way], prepare=_emptied(lived, 8))


def _teller() -> Callable[[int, float, float], None]:
    labels = ("cancer-classifier", "champion", "told")
    rows, batches = (Counter(f.name, f.help, (*LABELS, *f.labels), registry=None) for f in (ROWS, BATCHES))
    rows, batches = rows.labels(*labels), batches.labels(*labels, CLOSED_BY[0])
    sizes, took, waited = (
        Histogram(f.name, f.help, LABELS, buckets=f.bounds, registry=None).labels(*labels)
        for f in (BATCH_ROWS, RUN_SECONDS, QUEUE_SECONDS)
    )

    def tell(count: int, took_s: float, waited_s: float) -> None:
        rows.inc(count)
        batches.inc()
        sizes.observe(count)
        took.observe(took_s)
        waited.observe(waited_s)

    return tell
