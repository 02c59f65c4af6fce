"""What third parties must be told before they are imported: no telemetry, no chatter, nothing written outside home."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["for_commands", "prepare"]


def prepare(home: Path) -> None:
    """Set what is unset, and make `home`; call it before mlflow, onnxruntime or matplotlib is imported."""
    home.mkdir(parents=True, exist_ok=True)
    for key, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",  # each new database would announce its tables
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # an unreachable server is told within seconds, not minutes
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout holds results only
        "MPLCONFIGDIR": str(home / "cache" / "matplotlib"),
    }.items():
        os.environ.setdefault(key, value)


def for_commands(home: Path) -> dict[str, str]:
    """For DVC, its stages and what else stands in a project: they find this very hotgate, and write nowhere else."""
    return {
        **os.environ,
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
        "HOTGATE_HOME": str(home),
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": os.environ.get("DVC_SITE_CACHE_DIR", str(home / "cache" / "dvc")),
    }
