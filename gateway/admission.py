"""What every scoring request passes, whatever lane it came on. Guards and middleware do not run on the lanes."""

from __future__ import annotations

import itertools
import math
import re
import secrets
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

from gateway.errors import BadRequest, problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import Counter

    from gateway.errors import GatewayError
    from gateway.reply import Answer

__all__ = ["DEADLINE", "REQUEST_ID", "Admission"]

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
"""What a caller may call a request."""
DEADLINE = re.compile(r"\d{1,12}(\.\d{1,9})?", re.ASCII)
"""Milliseconds that a caller may give; 0 is refused."""

_arrival: ContextVar[float] = ContextVar("hotgate_arrival")


class Admission:
    """Gives every request its id and its deadline; the ids it makes are unique over workers and restarts."""

    def __init__(
        self, errors: Counter, deadline_ms: float | None = None, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._count = errors.labels
        self._boot = f"{secrets.token_hex(6)}-"
        self._next = itertools.count(1).__next__
        self._valid = REQUEST_ID.fullmatch
        self._default_s = deadline_ms / 1e3 if deadline_ms is not None else math.inf
        self._clock = clock
        self.draining = False
        """Whether a stop is under way: every answer then closes its connection."""

    def note_arrival(self) -> float:
        """Note for this context that a request's head has come; returns the time, by the clock."""
        now = self._clock()
        _arrival.set(now)
        return now

    def arrival(self) -> float:
        """When the head came of the request that is handled in this context; now, if nobody has noted it."""
        noted = _arrival.get(None)
        return self._clock() if noted is None else noted

    def request_id(self, given: str | None) -> str:
        """The caller's id if there is one, else a new one.

        Raises:
            BadRequest: the caller's id is not 1 to 128 of `[A-Za-z0-9._:-]`.
        """
        if given is None:
            return f"{self._boot}{self._next()}"
        if self._valid(given):
            return given
        raise BadRequest(f"X-Request-Id must be 1 to 128 of [A-Za-z0-9._:-], not {given[:140]!r}")

    def deadline(self, given: str | None, arrived: float) -> float:
        """Until when the answer is wanted, by the clock: the caller's milliseconds, or the default's, from the head.

        Raises:
            BadRequest: the caller's milliseconds are no positive number.
        """
        if given is None:
            return arrived + self._default_s
        if DEADLINE.fullmatch(given) and float(given) > 0:
            return arrived + float(given) / 1e3
        raise BadRequest(f"X-Deadline-Ms must be a positive number of milliseconds, not {given[:40]!r}")

    def refuse(self, error: GatewayError, given: str | None) -> Answer:
        """The answer for an error, under the caller's id where that is usable."""
        usable = given if given is not None and self._valid(given) else None
        self.count(error)
        return problem(error.status, str(error), self.request_id(usable), error.retry_after_s)

    def count(self, error: GatewayError) -> None:
        """Count an error that some protocol words by itself."""
        self._count(str(error.status)).inc()
