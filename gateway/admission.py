"""What every scoring request passes, whatever lane it came on. Guards and middleware do not run on the express lane."""

from __future__ import annotations

import itertools
import re
import secrets
from typing import TYPE_CHECKING, Any

from gateway.errors import BadRequest, problem

if TYPE_CHECKING:
    from prometheus_client import Counter

    from gateway.errors import GatewayError
    from gateway.reply import Reply

__all__ = ["Admission"]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)


class Admission:
    """Gives every request its id; the ids it makes are unique over workers and restarts."""

    def __init__(self, errors: Counter) -> None:
        self._count = errors.labels
        self._boot = secrets.token_hex(6)
        self._next = itertools.count(1).__next__
        self._valid = _REQUEST_ID.fullmatch

    def request_id(self, given: str | None) -> str:
        """The caller's id if there is one, else a new one.

        Raises:
            BadRequest: the caller's id is not 1 to 128 of `[A-Za-z0-9._:-]`.
        """
        if given is None:
            return f"{self._boot}-{self._next():x}"
        if self._valid(given):
            return given
        raise BadRequest(f"X-Request-Id must be 1 to 128 of [A-Za-z0-9._:-], not {given[:140]!r}")

    def refuse(self, error: GatewayError, given: str | None) -> Reply[Any]:
        """The answer for an error, under the caller's id where that is usable."""
        return self.refuse_as(error.status, str(error), given, error.retry_after_s)

    def refuse_as(self, status: int, detail: str, given: str | None, retry_after_s: int | None = None) -> Reply[Any]:
        """The same for an error that is known by its status."""
        usable = given if given is not None and self._valid(given) else None
        self._count(str(status)).inc()
        return problem(status, detail, self.request_id(usable), retry_after_s)
