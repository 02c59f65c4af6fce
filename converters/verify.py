"""The verifier: whether a model file may be served, found out in a child process with limits.

`python -m converters.verify FILE` prints one JSON verdict. The file is untrusted: it is read as bytes, refused by size,
operators and external data before onnxruntime sees it, and whatever it does to the child is the child's own death.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import resource
import signal
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt
    import onnx

    from converters.golden import Run

__all__ = ["Limits", "Verdict", "verify_file"]

_ENVIRONMENT = ("PATH", "LANG", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV")
_SHOWN = 500


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification may cost."""

    size_bytes: int = 512 * 2**20
    """Largest file that is looked at, in bytes."""
    memory_bytes: int = 4 * 2**30
    """Address space of the child, in bytes."""
    cpu_s: int = 60
    """CPU time of the child, in seconds."""
    rows: int = 256
    """Rows that must be answered at once within the memory, as a worker's largest block is unless set otherwise."""
    wall_s: float = 120.0
    """Time until the child is killed, in seconds; hitting it says nothing about the file."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the verifier found."""

    ok: bool
    sha256: str
    """Of the bytes that were judged; empty if they could not be read."""
    reason: str = ""
    """Why not, in words for the person who made the file."""
    deterministic: bool = True
    """Whether the same bytes would fail again. If not (no memory, no time), the verdict is no ground to quarantine."""
    error_max: float = 0.0
    """Largest difference of a golden row's probability from scikit-learn's."""


def verify_file(path: Path, limits: Limits | None = None) -> Verdict:
    """Judge a model file in a child process; never raises for what the file does.

    The child is handed no secrets: of this process's environment it sees only what Python itself needs.
    """
    limits = limits or Limits()
    command = [sys.executable, "-P", "-m", "converters.verify", str(path), msgspec.json.encode(limits).decode()]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limits.wall_s,
            check=False,
            env=_environment(os.environ),
        )
    except subprocess.TimeoutExpired:
        return Verdict(ok=False, sha256="", reason=f"not verified within {limits.wall_s:g} s", deterministic=False)
    except OSError as error:
        return Verdict(ok=False, sha256="", reason=f"the verifier does not start: {error}", deterministic=False)
    try:
        return msgspec.json.decode(done.stdout, type=Verdict)
    except msgspec.DecodeError:
        return _dead_child(done.returncode, done.stderr.decode(errors="replace"), limits)


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    kept = {key: value for key, value in environ.items() if key in _ENVIRONMENT or key.startswith(("LC_", "PYTHON"))}
    # A pool of BLAS threads, one a core of the machine, would count against the memory limit and is never used.
    return {**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def _dead_child(code: int, stderr: str, limits: Limits) -> Verdict:
    """What a child's death says of the file: CPU time and crashes are its own doing, a lack of memory may be ours."""
    lines = stderr.strip().splitlines()
    if code == -signal.SIGXCPU:
        return Verdict(ok=False, sha256="", reason=f"took more than {limits.cpu_s} s of CPU time to verify")
    if "bad_alloc" in stderr or "MemoryError" in stderr:
        return Verdict(ok=False, sha256="", reason=_no_memory(limits), deterministic=False)
    if code < 0 and code != -signal.SIGKILL:
        return Verdict(ok=False, sha256="", reason=f"crashed the verifier ({signal.Signals(-code).name})")
    last = lines[-1][:_SHOWN] if lines else f"exit code {code}"
    return Verdict(ok=False, sha256="", reason=f"the verifier could not run: {last}", deterministic=False)


def _no_memory(limits: Limits) -> str:
    return f"not enough memory to verify it: it has {limits.memory_bytes / 2**20:,.0f} MiB"


def inspect(path: Path, limits: Limits) -> Verdict:
    """Judge a file in this process; only the child calls it."""
    sha256 = ""
    try:
        data = _read(path, limits.size_bytes)
        sha256 = hashlib.sha256(data).hexdigest()
        return Verdict(ok=True, sha256=sha256, error_max=_judge(data, limits.rows))
    except MemoryError:
        return Verdict(ok=False, sha256=sha256, reason=_no_memory(limits), deterministic=False)
    except ImportError as error:
        reason = f"the verifier lacks a library: {error}"[:_SHOWN]
        return Verdict(ok=False, sha256=sha256, reason=reason, deterministic=False)
    except OSError as error:
        reason = f"cannot read {path}: {error.strerror}"
        return Verdict(ok=False, sha256=sha256, reason=reason, deterministic=False)
    except Exception as error:  # noqa: BLE001 - the root of the child: whatever the bytes cause is the verdict
        return _refusal(str(error) or type(error).__name__, sha256, limits)


def _refusal(text: str, sha256: str, limits: Limits) -> Verdict:
    """What an exception says of the file: it is to blame unless the memory that it wants is merely not there."""
    asked = _ASKED.search(text)
    if asked and int(asked[1]) >= limits.memory_bytes:
        reason = f"asks for {int(asked[1]):,} bytes at once, it may have {limits.memory_bytes:,}"
        return Verdict(ok=False, sha256=sha256, reason=reason)
    if any(sign in text for sign in _SIGNS_OF_NO_MEMORY):
        return Verdict(ok=False, sha256=sha256, reason=_no_memory(limits), deterministic=False)
    return Verdict(ok=False, sha256=sha256, reason=text[:_SHOWN])


_SIGNS_OF_NO_MEMORY = ("bad_alloc", "Failed to allocate memory", "bad allocation")
"""How onnxruntime words it; its exceptions are all of one kind."""

_ASKED = re.compile(r"requested buffer of size (\d+)")
"""What alone is larger than the limit would be so again: the file's own doing, whatever else the memory holds."""


def _read(path: Path, limit: int) -> bytes:
    """The file's bytes; of one that is too large, no more than shows it. What is no file is not waited for."""
    from converters.errors import ConversionError

    with open(path, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ConversionError(f"more than the {limit:,} bytes that are allowed")
    return data


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe that nobody writes would hold the verifier until it is killed


def _judge(data: bytes, rows: int) -> float:
    """Largest golden error; raises whatever is wrong with the file, cheapest and safest checks first."""
    from converters.errors import MetadataError
    from converters.golden import check_golden
    from converters.graph import check_graph, graph_sha256, parse, properties
    from converters.modelfile import read_metadata
    from converters.operators import check_divisions, open_divisors
    from converters.session import check_session, open_session, score

    model = parse(data)
    check_graph(model)
    metadata = read_metadata(properties(model))
    graph = graph_sha256(model)
    if metadata.parity.graph_sha256 != graph:
        raise MetadataError(f"certificate is for graph {metadata.parity.graph_sha256[:12]}, this is {graph[:12]}")
    check_divisions(model.graph, _types(model, open_divisors(model.graph)))
    del model
    session = open_session(data)
    check_session(session, metadata.signature)
    run = partial(score, session, metadata.signature)
    return max(check_golden(run, metadata), check_golden(partial(_in_a_block, run, rows), metadata))


def _in_a_block(run: Run, size: int, rows: npt.NDArray[Any], texts: npt.NDArray[np.object_] | None) -> Any:
    """Answers of the first rows of a block that repeats them: what a graph needs grows with the block."""
    import numpy as np

    size = max(size, len(rows))
    numbers = np.resize(rows, (size, *rows.shape[1:]))
    words = texts if texts is None else np.resize(texts, (size, *texts.shape[1:]))
    return run(numbers, words)[: len(rows)]


def _types(model: onnx.ModelProto, names: list[str]) -> dict[str, str]:
    """The types that onnxruntime gives to values in a graph, which becomes one that answers them."""
    from converters.graph import serialize
    from converters.session import open_session

    if not names:
        return {}
    outputs = {output.name for output in model.graph.output}
    for name in names:
        if name not in outputs:
            model.graph.output.add(name=name)
    return {item.name: item.type for item in open_session(serialize(model)).get_outputs() if item.name in names}


def _main(arguments: list[str]) -> int:
    limits = msgspec.json.decode(arguments[1], type=Limits) if len(arguments) > 1 else Limits()
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 5))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Whatever a library prints belongs to stderr: stdout carries the verdict and nothing else.
    answer = os.dup(1)
    os.dup2(2, 1)
    verdict = inspect(Path(arguments[0]), limits)
    with os.fdopen(answer, "wb") as stdout:
        stdout.write(msgspec.json.encode(verdict) + b"\n")
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
