"""The record of all alerts: a line each in `monitor/alerts.jsonl`, and in the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.alerts import words

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.alerts import Alert

__all__ = ["AlertFile"]

_log = logging.getLogger("hotgate.alarms")

FILE_BYTES: Final = 4 * 2**20
"""From which on the file becomes `alerts.jsonl.1`, in the place of the one before it."""


class AlertFile:
    """Also what is silenced; one that came before is left out."""

    name = "file"
    takes_silenced = True
    repeat_s = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._older = path.with_name(f"{path.name}.1")

    def deliver(self, alert: Alert) -> None:
        """Append it.

        Raises:
            OSError: there is no room.
        """
        line = msgspec.json.encode(alert)
        before = self._path.read_bytes() if self._path.exists() else b""
        if line in before.splitlines() or (self._older.exists() and line in self._older.read_bytes().splitlines()):
            return
        if len(before) >= FILE_BYTES:
            self._path.replace(self._older)
            before = b""
        with self._path.open("ab") as file:
            file.write((b"\n" if before and not before.endswith(b"\n") else b"") + line + b"\n")
        _log.warning("%s%s", "silenced, " if alert.silenced else "", words(alert))
