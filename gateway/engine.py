"""One loaded model file: checked, warmed, and able to score a block of rows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from converters.golden import check_golden
from converters.modelfile import read_metadata
from converters.session import open_session, properties_of, run_options

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from converters.modelfile import Metadata, Signature

__all__ = ["CostModel", "Engine", "OnnxEngine", "prepare"]

_BOUND_ROWS = 64
"""Largest batch that runs on bound buffers."""


class Engine(Protocol):
    """What the batcher needs of a model."""

    metadata: Metadata
    cost: CostModel

    def run(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Probabilities [n, classes] for rows [n, columns]; the caller's rows are read, never kept."""

    def bind(self, rows: npt.NDArray[np.float32]) -> Callable[[int], npt.NDArray[np.float32]]:
        """A function that scores the first n of these rows, again and again, wherever it may write its answers.

        What it returns, probabilities [n, classes], holds until it is called again.
        """


class CostModel:
    """Predicts the time of a run, a·n + b microseconds for n rows, from the runs that it is told of.

    Normalised least mean squares on (1, n/n_max): a run of one row moves mostly b, a full one both, so that hours of
    single rows do not forget what a full batch costs.
    """

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._base_us = 0.0
        self._slope_us = 0.0  # of a full batch

    def predict_us(self, rows: int) -> float:
        """Expected microseconds of a run of `rows`."""
        return self._base_us + self._slope_us * rows / self._max_rows

    def observe(self, rows: int, took_us: float, rate: float = 0.1) -> None:
        """Learn from one run; an outlier moves the prediction by at most `rate` of its distance."""
        share = rows / self._max_rows
        step = rate * (took_us - self.predict_us(rows)) / (1.0 + share * share)
        self._base_us = max(0.0, self._base_us + step)
        self._slope_us = max(0.0, self._slope_us + step * share)


class OnnxEngine:
    """An onnxruntime session behind `Engine`; onnxruntime lets several threads run one session."""

    def __init__(self, session: Any, metadata: Metadata, max_rows: int) -> None:
        self.metadata = metadata
        self.cost = CostModel(max_rows)
        self._session = session
        self._session_run = session.run
        self._outputs = [metadata.signature.score_output]
        self._input = metadata.signature.input_name

    def run(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Probabilities [n, classes], freshly allocated."""
        answer: npt.NDArray[np.float32] = self._session_run(self._outputs, {self._input: rows})[0]
        return answer

    def bind(self, rows: npt.NDArray[np.float32]) -> Callable[[int], npt.NDArray[np.float32]]:
        """Bind the buffer of a block, and one of its own for the probabilities, to the session."""
        return _BoundRows(self._session, self.metadata.signature, rows)


class _BoundRows:
    """Runs on bound buffers, which spares onnxruntime's Python layer the search for names, types and memory.

    That is half of the time of a small run (docs/hot-path.md), and nothing of a large one: more rows than
    `_BOUND_ROWS` go the ordinary way, so that there are not as many bindings as a batch may have rows.
    """

    def __init__(self, session: Any, signature: Signature, rows: npt.NDArray[np.float32]) -> None:
        self._session = session
        self._run = session.run_with_iobinding
        self._options = run_options()
        self._rows = rows
        self._scores = np.empty((min(len(rows), _BOUND_ROWS), len(signature.classes)), dtype=np.float32)
        self._input = signature.input_name
        self._output = signature.score_output
        self._bound: dict[int, tuple[Any, npt.NDArray[np.float32]]] = {}

    def __call__(self, count: int) -> npt.NDArray[np.float32]:
        if count > _BOUND_ROWS:
            answer: npt.NDArray[np.float32] = self._session.run([self._output], {self._input: self._rows[:count]})[0]
            return answer
        binding, scores = self._bound.get(count) or self._bind(count)
        self._run(binding, self._options)
        return scores

    def _bind(self, count: int) -> tuple[Any, npt.NDArray[np.float32]]:
        rows, scores = self._rows[:count], self._scores[:count]
        binding = self._session.io_binding()
        binding.bind_input(self._input, "cpu", 0, np.float32, rows.shape, rows.ctypes.data)
        binding.bind_output(self._output, "cpu", 0, np.float32, scores.shape, scores.ctypes.data)
        self._bound[count] = binding, scores
        return binding, scores


def prepare(data: bytes, *, max_rows: int, threads: int) -> OnnxEngine:
    """Make a warm engine from a model file's bytes: one path for the first load, every swap and every rollback.

    Raises:
        ConverterError: the metadata cannot be read, or the golden rows do not come out.
    """
    session = open_session(data, threads=threads)
    engine = OnnxEngine(session, read_metadata(properties_of(session)), max_rows)
    check_golden(engine.run, engine.metadata)
    check_golden(_through_binding(engine), engine.metadata)
    _warm(engine, max_rows)
    return engine


def _through_binding(engine: OnnxEngine) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """Score golden rows the way a block is scored."""
    golden = engine.metadata.golden.rows
    buffer = np.empty((len(golden), len(golden[0])), dtype=np.float32)
    run = engine.bind(buffer)

    def score(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        buffer[: len(rows)] = rows
        return run(len(rows)).copy()

    return score


def _warm(engine: OnnxEngine, max_rows: int) -> None:
    """Run several batch sizes, which grows the arena to its working size and teaches the cost model."""
    golden = engine.metadata.golden.rows
    row = np.array([np.nan if value is None else float(value) for value in golden[0]], dtype=np.float32)
    run = engine.bind(np.tile(row, (max_rows, 1)))
    for rows in (1, 8, 64, max_rows, 8, 1):
        count = min(rows, max_rows)
        run(count)
        for _ in range(10):
            start = time.perf_counter()
            run(count)
            engine.cost.observe(count, (time.perf_counter() - start) * 1e6, rate=0.5)
