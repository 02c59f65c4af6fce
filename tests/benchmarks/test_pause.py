"""Whoever is not measured stands still, with all its children, and goes on afterwards whatever happened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from harness import wait_until

from benchmarks.pause import paused
from benchmarks.process import descendants

FAMILY = """
import subprocess, sys, time
depth = int(sys.argv[2])
if depth:
    subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[1], str(depth - 1)])
time.sleep(600)
"""


@pytest.fixture
def family(gone):
    """A process with a child and a grandchild: their ids."""
    command = [sys.executable, "-c", FAMILY, FAMILY, "2"]
    with subprocess.Popen(command) as parent:
        below = wait_until(lambda: found if len(found := descendants(parent.pid)) == 2 else None)
        yield [parent.pid, *below]
        for pid in below:
            subprocess.run(["kill", "-9", str(pid)], check=True)
        parent.kill()
    assert gone(below)


def stopped(pid: int) -> bool:
    """Whether the kernel has stopped it (state T)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("T")


def all_stop(pids: list[int]) -> bool:
    """Whether all are stopped soon; the signal needs a moment to be delivered."""
    return wait_until(lambda: all(map(stopped, pids)), deadline_s=10, what="the stop of all")


def all_go_on(pids: list[int]) -> bool:
    return wait_until(lambda: not any(map(stopped, pids)), deadline_s=10, what="that all go on")


def test_a_whole_family_is_paused(family):
    """Child and grandchild stop with the parent, and go on with it."""
    with paused(family[:1]):
        assert all_stop(family)
    assert all_go_on(family)


def test_an_error_resumes(family):
    """An error in the block leaves nobody stopped."""

    def interrupted() -> None:
        with paused(family[:1]):
            assert all_stop(family)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all_go_on(family)


def test_a_failure_to_pause_resumes(family):
    """If one cannot be stopped, those before it go on."""
    with pytest.raises(OSError, match="Invalid argument"), paused([family[0], -1]):
        pass
    assert all_go_on(family)


def test_the_dead_are_left_out(family):
    """A process that ended is no reason not to measure the others."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    with paused([ended.pid, family[0]]):
        assert all_stop(family)
    assert all_go_on(family)
