"""The section `[sync]`: which models, from where, how often."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import msgspec

from gateway.sync.resolve import Selector

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["SyncSettings", "tracking_uri"]

# key -> (smallest, largest) allowed value
_BOUNDS = {
    "poll_interval_s": (0.05, 3600.0),
    "jitter": (0.0, 1.0),
    "hold_objects_s": (0.0, float("inf")),
    "history_keep": (1, 10_000),
    "tag_wait_s": (0.0, 86_400.0),
    "retry_max_s": (1.0, 86_400.0),
    "timeout_s": (0.1, 600.0),
    "max_model_bytes": (1, 1 << 40),
}


class SyncSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the sidecar follows the registry.

    Raises:
        ValueError: a value lies outside its range; the message names key, bound and value.
    """

    models: list[str] | Literal["*"] = "*"
    """Registered models to serve; `*` is all of them."""
    champion: str = "stage:Production"
    """What marks the version that serves: `stage:Production`, `stage:Staging` or `alias:NAME`."""
    challenger: str = "stage:Staging"
    """What marks the version that shadows it; the same forms, or empty for none."""
    poll_interval_s: float = 1.0
    """Pause between two looks at the registry, in seconds; 0.05 to 3600."""
    jitter: float = 0.1
    """Share of every pause that is random, so that many sidecars do not ask at once; 0 to 1."""
    retry_max_s: float = 60.0
    """Longest pause before a failed download or verification is tried again, in seconds; 1 to 86400."""
    hold_objects_s: float = 3600.0
    """How long a model file stays in the store without being named, in seconds; 0 or more."""
    history_keep: int = 5
    """How many changes of each model keep their files in the store; 1 to 10000."""
    tag_wait_s: float = 60.0
    """How long a version may lack the tag `hotgate.sha256` before it is quarantined, in seconds; 0 to 86400."""
    require_gate: bool = False
    """Whether a champion that was not promoted by hotgate needs a passed gate for its file to be served."""
    max_model_bytes: int = 512 << 20
    """Largest model file that is fetched, in bytes; 1 to 2**40."""
    timeout_s: float = 10.0
    """How long the registry may be silent within one call, in seconds; 0.1 to 600."""
    tracking_uri: str | None = None
    """The registry's address; otherwise `MLFLOW_TRACKING_URI`, otherwise the SQLite file in the home."""

    def __post_init__(self) -> None:
        for key, (low, high) in _BOUNDS.items():
            value = getattr(self, key)
            if not low <= value <= high:
                raise ValueError(f"{key} must be {low:.16g} to {high:.16g}, not {value:.16g}")
        for key in ("champion", "challenger"):
            text = getattr(self, key)
            if key == "challenger" and not text:
                continue
            try:
                Selector.parse(text)
            except ValueError as error:
                raise ValueError(f"{key} {error}") from None
        if self.champion == self.challenger:
            raise ValueError(f"challenger must differ from champion, not {self.challenger!r}")
        if self.models != "*" and (not self.models or "" in self.models):
            raise ValueError(f'models must be "*" or a list of names, not {self.models!r}')


def tracking_uri(settings: SyncSettings, home: Path, environ: Mapping[str, str] = os.environ) -> str:
    """Where the registry is: the setting, else `MLFLOW_TRACKING_URI`, else the home's own SQLite file."""
    return settings.tracking_uri or environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home}/mlflow.db"
