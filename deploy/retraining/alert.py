"""An alert from outside: a file, a pipe, an event of GitHub."""

from __future__ import annotations

import re
from typing import Final, TypeVar

import msgspec

from gateway.alerts import Alert

__all__ = ["AlertError", "alert_of", "alert_of_github"]

T = TypeVar("T")

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
"""It is part of a file's name."""


class AlertError(Exception):
    """That is no alert; the text says why."""


class _Payload(msgspec.Struct, frozen=True, kw_only=True):
    alert: Alert


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    client_payload: _Payload


def alert_of(data: bytes) -> Alert:
    """Read an alert as webhooks send it and `monitor/alerts.jsonl` holds it.

    Raises:
        AlertError: it is none.
    """
    return _checked(_decode(data, Alert))


def alert_of_github(data: bytes) -> Alert:
    """Read the alert in the event of a `repository_dispatch`: `client_payload.alert`.

    Raises:
        AlertError: there is none.
    """
    return _checked(_decode(data, _Event).client_payload.alert)


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise AlertError(f"that is no alert: {error}; docs/alerts.md shows one") from error


def _checked(alert: Alert) -> Alert:
    if not _ID.fullmatch(alert.id):
        raise AlertError(f"that is no alert: its id has 1 to 200 letters, digits, '.', '_' and '-', not {alert.id!r}")
    if alert.severity not in {"warning", "critical"}:
        raise AlertError(f"that is no alert: its severity is warning or critical, not {alert.severity!r}")
    return alert
