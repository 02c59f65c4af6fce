"""One loaded model file: checked, warmed, and able to score a block of rows."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from converters.golden import check_golden, golden_inputs
from converters.modelfile import read_metadata
from converters.session import open_session, properties_of, run_options, score

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from converters.modelfile import Metadata, Signature

    Rows = npt.NDArray[np.floating[Any]]
    Texts = npt.NDArray[np.object_]

__all__ = ["CostModel", "Engine", "OnnxEngine", "prepare"]

_BOUND_ROWS = 64
"""Largest batch that runs on bound buffers."""


class Engine(Protocol):
    """What the batcher needs of a model."""

    metadata: Metadata
    cost: CostModel

    def run(self, rows: Rows, texts: Texts | None = None) -> npt.NDArray[np.float32]:
        """Answers [n, width] for rows [n, columns] and texts [n, text columns], which are read, never kept."""

    def bind(self, rows: Rows, texts: Texts | None = None) -> Callable[[int], npt.NDArray[np.float32]]:
        """A function that scores the first n of these rows, again and again, wherever it may write its answers.

        What it returns, [n, width], holds until it is called again.
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
        self.run = partial(score, session, metadata.signature)

    def bind(self, rows: Rows, texts: Texts | None = None) -> Callable[[int], npt.NDArray[np.float32]]:
        """Bind the buffer of a block, and one of its own for the answers, to the session; strings cannot be bound."""
        if texts is None:
            return _BoundRows(self._session, self.metadata.signature, rows)
        return lambda count: self.run(rows[:count], texts[:count])


class _BoundRows:
    """Runs on bound buffers, which spares onnxruntime's Python layer the search for names, types and memory.

    That is half of the time of a small run (docs/hot-path.md), and nothing of a large one: more rows than
    `_BOUND_ROWS` go the ordinary way, so that there are not as many bindings as a batch may have rows.
    """

    def __init__(self, session: Any, signature: Signature, rows: Rows) -> None:
        self._session = session
        self._run = session.run_with_iobinding
        self._options = run_options()
        self._rows = rows
        self._scores = np.empty((min(len(rows), _BOUND_ROWS), signature.width), dtype=np.float32)
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
        binding.bind_input(self._input, "cpu", 0, rows.dtype.type, rows.shape, rows.ctypes.data)
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


def _through_binding(engine: OnnxEngine) -> Callable[[Rows, Texts | None], npt.NDArray[np.float32]]:
    """Score golden rows the way a block is scored."""
    rows, texts = golden_inputs(engine.metadata)
    run = engine.bind(rows, texts)

    def through(given: Rows, text: Texts | None) -> npt.NDArray[np.float32]:
        rows[: len(given)] = given.copy()
        if texts is not None and text is not None:
            texts[: len(text)] = text.copy()
        return run(len(given)).copy()

    return through


def _warm(engine: OnnxEngine, max_rows: int) -> None:
    """Run several batch sizes, which grows the arena to its working size and teaches the cost model."""
    rows, texts = golden_inputs(engine.metadata)
    many = np.tile(rows[:1], (max_rows, 1)), np.tile(texts[:1], (max_rows, 1)) if texts is not None else None
    run = engine.bind(*many)
    for size in (1, 8, 64, max_rows, 8, 1):
        count = min(size, max_rows)
        run(count)
        for _ in range(10):
            start = time.perf_counter()
            run(count)
            engine.cost.observe(count, (time.perf_counter() - start) * 1e6, rate=0.5)
