"""What the kernel says of processes: whose children they are and the memory they hold."""

from __future__ import annotations

from pathlib import Path

__all__ = ["descendants", "pss_bytes", "rss_bytes", "workers"]

_PROC = Path("/proc")


def descendants(pid: int) -> list[int]:
    """All live processes below one, parents before their children."""
    found: list[int] = []
    for task in sorted(_PROC.glob(f"{pid}/task/*/children")):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:  # it ended meanwhile
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def workers(pid: int) -> list[int]:
    """The processes below a granian server that answer requests: forks of it, so their command line is its own."""
    return [child for child in descendants(pid) if _command_line(child) == _command_line(pid)]


def _command_line(pid: int) -> bytes:
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


def pss_bytes(pid: int) -> int:
    """Memory of a process, each shared page divided by the number of its sharers (proportional set size)."""
    return _rollup_bytes(pid, "Pss")


def rss_bytes(pid: int) -> int:
    """Memory of a process, shared pages included."""
    return _rollup_bytes(pid, "Rss")


def _rollup_bytes(pid: int, name: str) -> int:
    for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"smaps_rollup of process {pid} names no {name}")
