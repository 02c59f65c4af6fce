"""Who watches, and what they have not been sent yet. State belongs to the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from gateway.page.sampler import Sampler

__all__ = ["STREAMS_MAX", "Mailbox", "Streams"]

_log = logging.getLogger("hotgate.page")

STREAMS_MAX: Final = 32
"""Most streams of one worker."""
HEARTBEAT_S: Final = 15.0
"""Without an event, when one is sent that says nothing: what stands between would close a silent connection."""
INTERVAL_S: Final = 1.0
_HEARTBEAT: Final = b": still here\n\n"


class Mailbox:
    """What one client has not been sent yet: the newest event of each kind, so a slow client costs no memory."""

    def __init__(self) -> None:
        self._waiting: dict[str, bytes] = {}
        self._wake = asyncio.Event()
        self.closed = asyncio.Event()

    def put(self, events: Mapping[str, bytes]) -> None:
        """Leave events, each in the place of the one of its kind that was not taken."""
        self._waiting.update(events)
        self._wake.set()

    def close(self) -> None:
        """Nothing more will come."""
        self.closed.set()
        self._wake.set()

    async def take(self, heartbeat_s: float = HEARTBEAT_S) -> bytes | None:
        """Everything that waits, as it goes over the wire; None once it is closed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(heartbeat_s):
                await self._wake.wait()
        if self.closed.is_set():
            return None
        self._wake.clear()
        waiting, self._waiting = self._waiting, {}
        if not waiting:
            return _HEARTBEAT
        return b"".join(b"event: %s\ndata: %s\n\n" % (kind.encode(), data) for kind, data in waiting.items())


class Streams:
    """All open streams of a worker, and the one task that fills them; it runs while there are any.

    Args:
        make: makes what is asked once a second, anew for each time that somebody comes to watch.
        interval_s: between two looks.
    """

    def __init__(self, make: Callable[[], Sampler], interval_s: float = INTERVAL_S) -> None:
        self._make = make
        self._interval_s = interval_s
        self._mailboxes: set[Mailbox] = set()
        self._latest: dict[str, bytes] = {}
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        """For operators: how many watch."""
        return f"Streams(open={len(self._mailboxes)}, closed={self._closed})"

    @property
    def refusal(self) -> str | None:
        """Why no stream may be opened now."""
        if self._closed:
            return "the server is stopping"
        if len(self._mailboxes) >= STREAMS_MAX:
            return f"{STREAMS_MAX} streams are open in this worker, which is all that it keeps: close one"
        return None

    @contextlib.asynccontextmanager
    async def join(self) -> AsyncIterator[Mailbox]:
        """Watch for the length of the block, from what is known now on."""
        mailbox = Mailbox()
        self._mailboxes.add(mailbox)
        if self._closed:
            mailbox.close()
        elif self._task is None:
            self._latest = {}
            self._task = asyncio.get_running_loop().create_task(self._run(), name="hotgate-page")
        if self._latest:
            mailbox.put(self._latest)
        try:
            yield mailbox
        finally:
            self._mailboxes.discard(mailbox)
            if not self._mailboxes:
                self._stop()

    def close(self) -> None:
        """End every stream, and open none any more; a stop must not wait for those who watch."""
        self._closed = True
        for mailbox in self._mailboxes:
            mailbox.close()
        self._stop()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Closed at the end of the block, if not before."""
        try:
            yield
        finally:
            self.close()

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        sampler = self._make()
        failed = False
        while True:
            try:
                sampler.prepare()
                events = await asyncio.to_thread(sampler.look)
            except Exception:  # noqa: BLE001 - the root of the task: whatever failed, the next look may not
                if not failed:  # it is tried again and again, and told once
                    _log.exception("nothing new for the page")
                failed = True
            else:
                failed = False
                self._latest.update(events)
                for mailbox in self._mailboxes:
                    mailbox.put(events)
            await asyncio.sleep(self._interval_s)
