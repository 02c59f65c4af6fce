"""Workers tell their parent that they have started, and it waits no longer than it must."""

from __future__ import annotations

import contextlib
import math
import os
import threading

import pytest

from gateway.started import Started, tell_started

pytestmark = pytest.mark.timeout(20)  # what fails here waits for ever


@pytest.fixture
def started():
    with contextlib.closing(Started()) as pipe:
        yield pipe


class SetAfter:
    """An event that is set at a given look at it."""

    def __init__(self, looks):
        self.left = looks

    def is_set(self):
        self.left -= 1
        return self.left < 0


def test_it_waits_for_every_worker(started):
    """One of two is not enough; two are, whether they were heard at once or one by one."""
    stop = SetAfter(3)
    tell_started(started.fd)
    started.wait(2, stop, longest_s=math.inf)
    assert stop.left < 0
    stop = SetAfter(3)
    tell_started(started.fd)
    tell_started(started.fd)
    started.wait(2, stop, longest_s=math.inf)
    assert stop.left >= 0


@pytest.mark.parametrize(("stopped", "longest_s"), [(True, math.inf), (False, 0.0)])
def test_a_worker_that_never_starts_is_not_waited_for(started, stopped, longest_s):
    """Neither when the server stops nor when the time is over."""
    stop = threading.Event()
    if stopped:
        stop.set()
    started.wait(1, stop, longest_s=longest_s)


def test_telling_never_fails(started):
    """Whether nobody reads any more or the pipe is gone."""
    for _ in range(70):
        with contextlib.suppress(BlockingIOError):
            os.write(started.fd, bytes(1024))
    tell_started(started.fd)
    with contextlib.closing(Started()) as other:
        fd = other.fd
    tell_started(fd)
