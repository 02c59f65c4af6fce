"""How many CPUs this process really has: what its affinity and its control group leave of the machine."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["usable_cpus"]


def usable_cpus(proc: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> float:
    """CPUs by affinity, or fewer by the tightest CPU quota from this process's control group up to the root.

    onnxruntime counts the machine's CPUs and knows no quota; threads beyond it only wait for each other to be let run.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst (`cpu.max`) and scheduler/sched-bwc.rst (`cpu.cfs_quota_us`).
    """
    quota = min((found for folder in _folders(proc, mount) for found in _quotas(folder)), default=math.inf)
    return min(float(len(os.sched_getaffinity(0))), quota)


def _folders(proc: Path, mount: Path) -> list[Path]:
    """The process's control group and all above it, where they are mounted; in a container that is the root alone."""
    found = [mount, mount / "cpu"]
    try:
        lines = proc.read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = mount / "cpu" if controllers else mount
        own = Path(path.lstrip("/"))
        found += [root / part for part in (own, *own.parents)]
    return found


def _quotas(folder: Path) -> list[float]:
    """CPUs that the group may use, by either version of the interface; none where there is no limit."""
    found = []
    for read in (_version_2, _version_1):
        try:
            quota, period = read(folder)
        except (OSError, ValueError):  # not there, or "max"
            continue
        if quota > 0 and period > 0:
            found.append(quota / period)
    return found


def _version_2(folder: Path) -> tuple[int, int]:
    quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
    return int(quota), int(period)


def _version_1(folder: Path) -> tuple[int, int]:
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    quota, period = (int((folder / name).read_text(encoding="utf-8")) for name in names)
    return quota, period
