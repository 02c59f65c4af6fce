"""FastAPI on uvicorn, one worker, the model called in the handler: `fastapi_server.py PORT MODEL`."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Callable


class Row(BaseModel):
    """A request."""

    features: list[float]


class Scores(BaseModel):
    """An answer: a probability for each class, in the classes' order."""

    probabilities: list[float]


def scikit_learn(file: Path) -> Callable[[list[float]], list[float]]:
    """Score with the estimator itself, in doubles."""
    estimator = pickle.loads(file.read_bytes())  # noqa: S301 - the bench wrote it a moment ago, in its own folder

    def score(features: list[float]) -> list[float]:
        scores: list[float] = estimator.predict_proba(np.array([features]))[0].tolist()
        return scores

    return score


def onnx(file: Path) -> Callable[[list[float]], list[float]]:
    """Score with onnxruntime on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    source, target = session.get_inputs()[0].name, session.get_outputs()[1].name

    def score(features: list[float]) -> list[float]:
        scores: list[float] = session.run([target], {source: np.array([features], dtype=np.float32)})[0][0].tolist()
        return scores

    return score


def application(score: Callable[[list[float]], list[float]]) -> FastAPI:
    """The routes."""
    app = FastAPI()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/predict")
    async def predict(row: Row) -> Scores:
        return Scores(probabilities=score(row.features))

    return app


if __name__ == "__main__":
    port, model = int(sys.argv[1]), Path(sys.argv[2])
    load = onnx if model.suffix == ".onnx" else scikit_learn
    uvicorn.run(application(load(model)), host="127.0.0.1", port=port, access_log=False, log_level="warning")
