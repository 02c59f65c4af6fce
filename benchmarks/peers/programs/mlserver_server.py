"""MLServer with its scikit-learn runtime and adaptive batching, in one process: `mlserver_server.py PORT MODEL`.

Becomes `mlserver start` in the current folder, after it has written the settings there.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path


def free_port() -> int:
    """For gRPC, which cannot be turned off."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def settings(port: int) -> dict[str, object]:
    """Of the server: no worker processes, no metrics, as little log as the others."""
    return {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_endpoint": None,
        "parallel_workers": 0,
    }


def model_settings(model: str) -> dict[str, object]:
    """Of the model."""
    return {
        "name": "model",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": model},
        "max_batch_size": 64,
        "max_batch_time": 0.002,
    }


if __name__ == "__main__":
    Path("settings.json").write_text(json.dumps(settings(int(sys.argv[1]))), encoding="utf-8")
    Path("model-settings.json").write_text(json.dumps(model_settings(sys.argv[2])), encoding="utf-8")
    program = str(Path(sys.executable).with_name("mlserver"))
    os.execv(program, [program, "start", "."])  # noqa: S606
