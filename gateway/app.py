"""`gateway.app:app`, what granian serves; also any ASGI server's target."""

from __future__ import annotations

import os

import msgspec

from gateway.application import Gateway
from gateway.settings import WORKER_CONFIG, GatewaySettings, WorkerConfig

__all__ = ["app"]


def _config() -> WorkerConfig:
    given = os.environ.get(WORKER_CONFIG)
    if given is not None:
        return msgspec.json.decode(given, type=WorkerConfig)
    from hotgate import home, load_settings

    return WorkerConfig(
        settings=load_settings("gateway", GatewaySettings),
        store=str(home() / "store"),
        monitor=str(home() / "monitor"),
    )


app = Gateway(_config())
