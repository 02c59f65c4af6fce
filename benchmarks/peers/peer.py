"""The servers that hotgate is measured beside."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Literal

import msgspec

from benchmarks.peers.wire import INVOCATIONS, MOSEC, NATIVE, V2, Wire

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PEERS", "Peer"]


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A server program that runs in an environment of its own."""

    name: str
    label: str
    """What it is, in the report."""
    environment: str
    """Its requirements: `requirements/<environment>.txt`."""
    packages: tuple[str, ...]
    """Those of the environment whose versions matter."""
    program: str
    """In `programs/`; takes port, model and `options`."""
    model: Literal["onnx", "pickle"]
    options: tuple[str, ...] = ()
    wire: Wire

    def command(self, python: Path, port: int, model: Path) -> tuple[str, ...]:
        """What is run, with the Python of its environment."""
        program = resources.files("benchmarks.peers").joinpath("programs", f"{self.program}.py")
        return (str(python), "-P", str(program), str(port), str(model), *self.options)


def _mosec(name: str, size: int, wait_ms: int) -> Peer:
    batching = "no batching" if size == 1 else f"batches of up to {size} rows or {wait_ms} ms"
    return Peer(
        name=name,
        label=f"mosec, onnxruntime, {batching}",
        environment="mosec",
        packages=("mosec", "msgspec", "onnxruntime"),
        program="mosec_server",
        model="onnx",
        options=(str(size), str(wait_ms)),
        wire=MOSEC,
    )


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            name="fastapi-sklearn",
            label="FastAPI on uvicorn, scikit-learn in the handler",
            environment="fastapi-sklearn",
            packages=("fastapi", "uvicorn", "scikit-learn"),
            program="fastapi_server",
            model="pickle",
            wire=NATIVE,
        ),
        Peer(
            name="fastapi-onnx",
            label="FastAPI on uvicorn, onnxruntime in the handler",
            environment="fastapi-onnx",
            packages=("fastapi", "uvicorn", "onnxruntime"),
            program="fastapi_server",
            model="onnx",
            wire=NATIVE,
        ),
        _mosec("mosec", 1, 0),
        _mosec("mosec-16", 16, 1),
        _mosec("mosec-64", 64, 2),
        Peer(
            name="mlserver",
            label="MLServer, its scikit-learn runtime, adaptive batches of up to 64 rows or 2 ms, V2 protocol",
            environment="mlserver",
            packages=("mlserver", "mlserver-sklearn", "scikit-learn"),
            program="mlserver_server",
            model="pickle",
            wire=V2,
        ),
        Peer(
            name="mlflow",
            label="`mlflow models serve`, scikit-learn, `/invocations` with `inputs`",
            environment="mlflow",
            packages=("mlflow", "uvicorn", "scikit-learn"),
            program="mlflow_server",
            model="pickle",
            wire=INVOCATIONS,
        ),
    )
}
