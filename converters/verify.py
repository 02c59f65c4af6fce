"""The verifier: whether a model file may be served, found out in a child process with limits.

`python -m converters.verify FILE` prints one JSON verdict. The file is untrusted: it is read as bytes, refused by size,
operators and external data before onnxruntime sees it, and whatever it does to the child is the child's own death.
"""

from __future__ import annotations

import hashlib
import resource
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

__all__ = ["Limits", "Verdict", "verify_file"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification may cost."""

    size_bytes: int = 512 * 2**20
    """Largest file that is looked at, in bytes."""
    memory_bytes: int = 4 * 2**30
    """Address space of the child, in bytes."""
    cpu_s: int = 60
    """CPU time of the child, in seconds."""
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
    """Judge a model file in a child process; never raises for what the file does."""
    limits = limits or Limits()
    command = [sys.executable, "-P", "-m", "converters.verify", str(path), msgspec.json.encode(limits).decode()]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=limits.wall_s, check=False
        )
    except subprocess.TimeoutExpired:
        return Verdict(ok=False, sha256="", reason=f"not verified within {limits.wall_s:g} s", deterministic=False)
    try:
        return msgspec.json.decode(done.stdout, type=Verdict)
    except msgspec.DecodeError:
        return _dead_child(done.returncode, done.stderr.decode(errors="replace"), limits)


def _dead_child(code: int, stderr: str, limits: Limits) -> Verdict:
    if code == -signal.SIGXCPU:
        return Verdict(ok=False, sha256="", reason=f"took more than {limits.cpu_s} s of CPU time to verify")
    if code < 0 and code != -signal.SIGKILL:
        return Verdict(ok=False, sha256="", reason=f"crashed the verifier ({signal.Signals(-code).name})")
    last = stderr.strip().splitlines()[-1] if stderr.strip() else f"exit code {code}"
    return Verdict(ok=False, sha256="", reason=f"the verifier could not run: {last}", deterministic=False)


def inspect(path: Path, limits: Limits) -> Verdict:
    """Judge a file in this process; only the child calls it."""
    try:
        size = path.stat().st_size
        if size > limits.size_bytes:
            return Verdict(ok=False, sha256="", reason=f"{size} bytes, at most {limits.size_bytes} are allowed")
        data = path.read_bytes()
    except OSError as error:
        return Verdict(ok=False, sha256="", reason=f"cannot read {path}: {error.strerror}", deterministic=False)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        return Verdict(ok=True, sha256=sha256, error_max=_judge(data))
    except MemoryError:
        return Verdict(ok=False, sha256=sha256, reason="not enough memory to verify it", deterministic=False)
    except Exception as error:  # noqa: BLE001 - the root of the child: whatever the bytes cause is the verdict
        return Verdict(ok=False, sha256=sha256, reason=str(error) or type(error).__name__)


def _judge(data: bytes) -> float:
    """Largest golden error; raises whatever is wrong with the file, cheapest and safest checks first."""
    from converters.errors import MetadataError
    from converters.golden import check_golden
    from converters.graph import check_graph, graph_sha256, parse
    from converters.modelfile import read_metadata
    from converters.session import open_session, score

    model = parse(data)
    check_graph(model)
    metadata = read_metadata({item.key: item.value for item in model.metadata_props})
    graph = graph_sha256(model)
    if metadata.parity.graph_sha256 != graph:
        raise MetadataError(f"certificate is for graph {metadata.parity.graph_sha256[:12]}, this is {graph[:12]}")
    if not metadata.parity.passed:
        raise MetadataError(
            f"the parity certificate says it failed: off by {metadata.parity.error_max:.3g},"
            f" tolerance {metadata.parity.tolerance:.3g}"
        )
    del model
    session = open_session(data)
    return check_golden(lambda rows: score(session, metadata.signature, rows), metadata)


def _main(arguments: list[str]) -> int:
    limits = msgspec.json.decode(arguments[1], type=Limits) if len(arguments) > 1 else Limits()
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 5))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    verdict = inspect(Path(arguments[0]), limits)
    sys.stdout.write(msgspec.json.encode(verdict).decode() + "\n")
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
