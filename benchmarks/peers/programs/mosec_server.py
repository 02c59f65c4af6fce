"""mosec around onnxruntime, one worker, bodies by msgspec: `mosec_server.py PORT MODEL MAX_BATCH_SIZE MAX_WAIT_MS`."""

from __future__ import annotations

import os
import sys

import msgspec
import numpy as np
import onnxruntime
from mosec import Server, Worker


class Row(msgspec.Struct):
    """A request."""

    features: list[float]


class Scores(msgspec.Struct):
    """An answer: a probability for each class, in the classes' order."""

    probabilities: list[float]


class Batches(Worker):  # type: ignore[misc] # mosec is not installed where types are checked
    """Scores what mosec has put together."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
        self._source, self._target = self._session.get_inputs()[0].name, self._session.get_outputs()[1].name
        self._decoder, self._encoder = msgspec.json.Decoder(Row), msgspec.json.Encoder()

    def deserialize(self, data: bytes) -> Row:
        """Read one body."""
        return self._decoder.decode(data)

    def serialize(self, data: Scores) -> bytes:
        """Write one body."""
        return self._encoder.encode(data)

    def forward(self, data: list[Row]) -> list[Scores]:
        """Run the model once for all."""
        rows = np.array([row.features for row in data], dtype=np.float32)
        (scores,) = self._session.run([self._target], {self._source: rows})
        return [Scores(probabilities=one) for one in scores.tolist()]


class Singles(Batches):
    """Without batching mosec hands over one request instead of a list of them."""

    def forward(self, data: Row) -> Scores:  # type: ignore[override] # mosec's own rule
        """Run the model for one row."""
        return super().forward([data])[0]


if __name__ == "__main__":
    port, model, size, wait_ms = sys.argv[1:]
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", port, "--log-level", "warning"]
    server = Server()
    server.append_worker(
        Singles if size == "1" else Batches,
        max_batch_size=int(size),
        max_wait_time=int(wait_ms),
        env=[{"MODEL": model}],
    )
    server.run()
