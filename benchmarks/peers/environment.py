"""A Python environment for each peer, made from its lock and used again until that changes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from importlib import resources
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["find_uv", "installed", "lock_of", "prepare"]

STAMP = ".complete"
TIMEOUT_S = 900.0
"""For one step; the largest environment takes about a minute where the registry is near."""


def lock_of(name: str) -> bytes:
    """The locked requirements of an environment."""
    return resources.files("benchmarks.peers").joinpath("requirements", f"{name}.txt").read_bytes()


def find_uv() -> Path:
    """The installer beside this Python, else on the path.

    Raises:
        BenchError: there is none.
    """
    beside = Path(sys.executable).with_name("uv")
    found = beside if beside.exists() else shutil.which("uv")
    if found is None:
        raise BenchError("uv is not installed; it makes the peers' environments: `pip install uv`, then try again")
    return Path(found)


def prepare(folder: Path, lock: bytes, *, uv: Path, say: Callable[[str], None]) -> Path:
    """The Python of the environment `folder`, made anew if its lock or this Python's version is another than before.

    Args:
        folder: is replaced as a whole.
        lock: requirements, each with its hashes.
        uv: the installer.
        say: told only if something is to be done.

    Raises:
        BenchError: it could not be made; the text has the installer's last words.
    """
    python, stamp = folder / "bin" / "python", folder / STAMP
    wanted = hashlib.sha256(sys.version.encode() + lock).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    say(f"installing what {folder.name} needs (a minute or so the first time)")
    stamp.unlink(missing_ok=True)  # it does not vouch for what is begun here
    _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder])
    install: list[str | Path] = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--python",
        python,
        "--compile-bytecode",
        "--require-hashes",
    ]
    _run([*install, "-r", "-"], lock)
    stamp.write_text(wanted, encoding="utf-8")
    return python


def installed(python: Path, packages: Iterable[str]) -> dict[str, str]:
    """The versions of some packages in an environment."""
    sites = map(str, python.parents[1].glob("lib/python*/site-packages"))
    found = {one.metadata["Name"].lower(): one.version for one in distributions(path=list(sites))}
    return {name: found[name] for name in packages if name in found}


def _run(command: list[str | Path], given: bytes | None = None) -> None:
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"`{command[1]} {command[2]}` of uv did not end within {TIMEOUT_S:g} s") from error
    if done.returncode:
        said = "\n".join((done.stderr + done.stdout).decode(errors="replace").splitlines()[-20:])
        raise BenchError(f"uv could not make the environment:\n{said}")
