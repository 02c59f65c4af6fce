"""On what it was measured."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

from benchmarks.figures import Machine

__all__ = ["this_machine", "versions"]

_PACKAGES = ("hotgate", "granian", "litestar", "msgspec", "onnxruntime", "numpy", "scikit-learn", "mlflow")


def this_machine() -> Machine:
    """CPU, cores, memory and kernel."""
    described = dict(_fields(Path("/proc/cpuinfo")))
    cpu = described.get("model name") or described.get("Model") or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    kernel = platform.release().partition("-")[0]
    return Machine(cpu=cpu, cores=os.cpu_count() or 1, memory_gib=memory / 2**30, kernel=kernel)


def versions() -> dict[str, str]:
    """Of Python and of what takes part."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def _fields(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
