"""The observer's settings: section `[monitor]` of `hotgate.toml`."""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway.observe.rules import Rule
from gateway.observe.webhook import Webhook

__all__ = ["MonitorSettings"]


class MonitorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What makes an alarm."""

    window_s: int = 900
    """Length of the closed windows that alarms are judged on, in seconds; a multiple of 300, up to 86,400."""
    severity: Literal["warning", "critical"] = "warning"
    """From which on a window counts as a breach."""
    raise_after: int = 2
    """Windows in a row with a breach until the alarm fires, 1 to 100."""
    clear_after: int = 2
    """Windows in a row without one until it is over, 1 to 100."""
    rules: tuple[Rule, ...] = ()
    """What counts as a breach, by model, kind and feature: `[[monitor.rules]]`."""
    webhooks: tuple[str, ...] = ()
    """Where alerts are sent: URLs, one that begins with `slack+` or `alertmanager+` in that format."""
    webhook_secret: str | None = None
    """Signs what is sent, as `X-Hotgate-Signature`; unset: no signature."""

    def __post_init__(self) -> None:
        """Refuse impossible values, naming key, bound and value."""
        if not 300 <= self.window_s <= 86_400 or self.window_s % 300:
            raise ValueError(f"window_s must be a multiple of 300, 300 to 86400, not {self.window_s}")
        for address in self.webhooks:
            Webhook(address)
        for key in ("raise_after", "clear_after"):
            if not 1 <= getattr(self, key) <= 100:
                raise ValueError(f"{key} must be 1 to 100, not {getattr(self, key)}")
