"""`mlflow models serve` with the environment that it is started in: `mlflow_server.py PORT MODEL`."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from pathlib import Path

import mlflow.sklearn

if __name__ == "__main__":
    port, model = sys.argv[1:]
    shutil.rmtree("model", ignore_errors=True)
    mlflow.sklearn.save_model(
        pickle.loads(Path(model).read_bytes()),  # noqa: S301 - the bench wrote it a moment ago, in its own folder
        "model",
        serialization_format="cloudpickle",
        pip_requirements=[],
        pyfunc_predict_fn="predict_proba",
    )
    os.environ["UVICORN_LOG_LEVEL"] = "warning"  # no line for each request: the others write none either
    # mlflow starts uvicorn by its bare name
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    serve = ["models", "serve", "--model-uri", "model", "--env-manager", "local", "--workers", "1"]
    os.execv(  # noqa: S606
        sys.executable, [sys.executable, "-P", "-m", "mlflow", *serve, "--host", "127.0.0.1", "--port", port]
    )
