"""The CPUs that a process has are those that its affinity and its control groups leave it."""

from __future__ import annotations

import os

import pytest

from gateway.cpus import usable_cpus

ALL = float(len(os.sched_getaffinity(0)))


def tree(tmp_path, groups, files):
    """A made-up /proc/self/cgroup and /sys/fs/cgroup."""
    proc, mount = tmp_path / "cgroup", tmp_path / "mount"
    proc.write_text(groups)
    for name, text in files.items():
        path = mount / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return proc, mount


@pytest.mark.parametrize(
    ("groups", "files", "cpus"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, ALL),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 0.5),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "25000 100000"}, 0.25),
        ("0::/a/b\n", {"a/b/cpu.max": "80000 100000", "a/cpu.max": "90000 100000"}, 0.8),
        ("0::/elsewhere\n", {"cpu.max": "70000 100000"}, 0.7),
        (
            "3:cpu,cpuacct:/a\n2:memory:/b\n",
            {"cpu/a/cpu.cfs_quota_us": "40000", "cpu/a/cpu.cfs_period_us": "100000"},
            0.4,
        ),
        ("3:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, ALL),
        ("0::/\n", {}, ALL),
        ("0::/\n", {"cpu.max": "nonsense"}, ALL),
    ],
)
def test_the_tightest_quota_above_a_process_counts(tmp_path, groups, files, cpus):
    """Of both versions of the interface, and nothing where there is none."""
    assert usable_cpus(*tree(tmp_path, groups, files)) == cpus


def test_a_process_without_control_groups_has_its_affinity(tmp_path):
    """As on a kernel without them."""
    assert usable_cpus(tmp_path / "absent", tmp_path / "absent") == ALL
