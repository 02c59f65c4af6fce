"""The generator's executable: compiled where it is used, once for each version of its source."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

from benchmarks.load.plan import LoadError

__all__ = ["build"]

COMMAND = ("gcc", "-O2", "-std=gnu11", "-Wall", "-Wextra")


def build(cache: Path) -> Path:
    """The generator compiled into the folder `cache`, anew only if its source or the compiler's options changed.

    Raises:
        LoadError: there is no gcc, or it fails; the text says what to do.
    """
    source = resources.files("benchmarks.load").joinpath("gen.c").read_bytes()
    target = cache / f"gen-{hashlib.sha256(source + ' '.join(COMMAND).encode()).hexdigest()[:16]}"
    if target.exists():
        return target
    compiler = shutil.which(COMMAND[0])
    if compiler is None:
        raise LoadError("gcc is not installed; the load generator is in C: `apt install gcc libc6-dev`, then try again")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        made = Path(folder, target.name)
        command = [compiler, *COMMAND[1:], "-o", str(made), "-x", "c", "-", "-lm"]
        done = subprocess.run(command, input=source, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            raise LoadError(f"gcc could not compile the load generator:\n{done.stderr.decode(errors='replace')}")
        os.replace(made, target)  # noqa: PTH105 - two builds at once: the later one wins, whole
    return target
