"""Alerts over HTTP: to a webhook of one's own, signed, to Slack and what understands its messages, to Alertmanager."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from datetime import UTC, datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Any, Final

import httpx
import msgspec

from gateway.alerts import words

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.alerts import Alert

__all__ = ["FORMATS", "Webhook", "signature"]

_TIMEOUT_S: Final = 5.0
_FAR: Final = timedelta(days=365)
"""Alertmanager ends an alert by itself that says no end; ours ends when it is told to."""
_REPEAT_S: Final = 60.0
"""Alertmanager forgets all alerts when it is started anew."""


def signature(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    """What `X-Hotgate-Signature` holds: HMAC-SHA256 of `delivery.timestamp.body`, as `v1,` and base64.

    The receiver computes the same, compares in constant time, and refuses a timestamp that is too old.
    """
    signed = f"{delivery}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()


class Webhook:
    """A sink: one address; the scheme may be preceded by a format of `FORMATS` and a plus sign.

    Args:
        address: such as `https://example.org/hook`, `slack+https://…`, `alertmanager+http://alertmanager:9093`.
        secret: signs what is sent; None leaves the signature out.
        clock: wall time.

    Raises:
        ValueError: the address is none.
    """

    takes_silenced = False

    def __init__(self, address: str, secret: str | None = None, clock: Callable[[], float] = time.time) -> None:
        prefix, plus, rest = address.partition("+")
        self._shape = FORMATS[prefix] if plus and prefix in FORMATS else _own
        self._url = rest if plus and prefix in FORMATS else address
        if not self._url.startswith(("http://", "https://")):
            raise ValueError(f"a webhook is [FORMAT+]http[s]://…, FORMAT one of {', '.join(FORMATS)}, not {address!r}")
        if self._shape is _alertmanager:
            self._url = self._url.rstrip("/") + "/api/v2/alerts"
        self.repeat_s = _REPEAT_S if self._shape is _alertmanager else None
        self._secret = secret
        self._clock = clock
        # A URL may hold a key, and this is in logs and files.
        self.name = f"{httpx.URL(self._url).host}-{hashlib.sha256(address.encode()).hexdigest()[:8]}"

    def __repr__(self) -> str:
        """Without what a URL may keep secret."""
        return f"Webhook({self.name!r})"

    def deliver(self, alert: Alert) -> None:
        """Send it; the same one may be sent again, with the same `X-Hotgate-Delivery`.

        Raises:
            OSError: it was not taken.
        """
        body = msgspec.json.encode(self._shape(alert))
        delivery, timestamp = f"{alert.id}-{alert.state}", f"{self._clock():.0f}"
        headers = {
            "Content-Type": "application/json",
            "X-Hotgate-Delivery": delivery,
            "X-Hotgate-Timestamp": timestamp,
        }
        if self._secret is not None:
            headers["X-Hotgate-Signature"] = signature(self._secret, delivery, timestamp, body)
        try:
            answer = httpx.post(self._url, content=body, headers=headers, timeout=_TIMEOUT_S)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OSError(f"{self!r} does not answer: {error}") from error
        if not answer.is_success:
            raise OSError(f"{self!r} answers {answer.status_code}: {answer.text[:200]!r}")


def _own(alert: Alert) -> Any:
    return alert


def _slack(alert: Alert) -> Any:
    return {"text": escape(words(alert), quote=False)}  # Slack reads <…> as an address, or as everybody


def _alertmanager(alert: Alert) -> Any:
    started = datetime.fromtimestamp(alert.started_at, UTC)
    ended = started + _FAR if alert.ended_at is None else datetime.fromtimestamp(alert.ended_at, UTC)
    labels = {
        "alertname": f"hotgate_{alert.kind}",
        "about": alert.about,
        "model": alert.model,
        "version": alert.version,
        "sha256": alert.sha256,
    }
    return [
        {
            # The severity may rise while it fires: as a label it would make another alert of it.
            "labels": {name: value for name, value in labels.items() if value},
            "annotations": {"summary": words(alert), "severity": alert.severity, "id": alert.id},
            "startsAt": started.isoformat(),
            "endsAt": ended.isoformat(),
        }
    ]


FORMATS: Final = {"slack": _slack, "alertmanager": _alertmanager}
"""How an alert is worded for others; without a format it is sent as it is."""
