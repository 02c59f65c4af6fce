"""The gateway's settings: section `[gateway]` of `hotgate.toml`."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["METRICS_DIR", "WORKER_CONFIG", "GatewaySettings", "LogSettings", "WorkerConfig"]

WORKER_CONFIG = "HOTGATE_WORKER_CONFIG"
"""Environment variable by which `hotgate serve` hands its workers what it has read and decided."""

METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of prometheus_client: where each process keeps its values, so that any can add them up."""


_TOKEN_MIN = 16
"""Characters of a secret that nobody guesses."""


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker admits, batches, swaps and stops."""

    default_model: str | None = None
    """The model that `/predict` without a name serves; unset: the only model there is."""
    lane: Literal["direct", "loop", "off"] = "direct"
    """Way of scoring requests: `direct` on the server's thread (fastest), `loop` (event loop), `off` (Litestar)."""
    batch_scheduling: bool = True
    """Whether workers ask the kernel for SCHED_BATCH: threads finish before others wake."""
    calm_gc: bool = True
    """Whether Python's collector leaves alone what start-up made, and looks less often; `false`: as Python does."""
    max_body_bytes: int = 8 * 2**20
    """Largest request body, in bytes, 1024 or more."""
    max_text_chars: int = 16_384
    """Longest text, in characters, 1 or more: where words are counted, every row of a run takes its memory."""
    max_batch_rows: int = 256
    """Most rows that are scored in one run, 1 to 65,536; larger requests are split."""
    queue_limit_rows: int = 8192
    """Most rows that may wait for one model; above it requests are refused with 503. At least `max_batch_rows`."""
    queue_limit_ms: float = 100.0
    """Longest predicted wait for an answer to begin; above it requests are refused with 503. Milliseconds, above 0."""
    deadline_ms: float | None = None
    """Deadline of requests without `X-Deadline-Ms`, in milliseconds from their head, above 0; unset: none."""
    inline_limit_us: float = 1000.0
    """A run predicted to take longer than this goes to a thread of its own, in microseconds, 0 or more."""
    intra_op_threads: int = 1
    """Threads of one run, at most as many as the process has CPUs; more make small batches slower. 1 to 64."""
    watch_interval_s: float = 0.1
    """How often a worker looks whether the store has changed, in seconds, 0.01 to 60."""
    hold_previous_s: float = 30.0
    """How long the model that served before stays in memory after a swap, in seconds, 0 or more."""
    drain_s: float = 2.0
    """After SIGTERM, how long requests are still taken while `/readyz` says no, in seconds, 0 to 600."""
    monitoring: bool = True
    """Whether rows are counted for drift and logged; `false`: no verdicts, no alarms on them, no prediction log."""
    drift_window_rows: int = 1000
    """Rows over which drift is judged, 100 or more: the newest epochs that hold as many."""
    drift_horizon_s: float = 3600.0
    """Age after which rows no longer count for drift, in seconds, 10 or more."""
    metrics_features: int | tuple[str, ...] = 100
    """Features of a model with rows by group on `/metrics`, beside the score: the first so many, or a list of names."""
    page: bool = True
    """Whether there is a live page at `/`, and `/events`, which feeds it."""
    admin_token: str | None = None
    """What `load` and `unload` under `/v2` want as `Authorization: Bearer`, 16 characters or more; unset: none may."""

    def __repr__(self) -> str:
        """For operators, without the secret."""
        shown = {key: getattr(self, key) for key in self.__struct_fields__}
        if self.admin_token is not None:
            shown |= {"admin_token": "…"}
        return f"GatewaySettings({', '.join(f'{key}={value!r}' for key, value in shown.items())})"

    def __post_init__(self) -> None:
        """Refuse impossible values, naming key, bound and value."""
        if isinstance(self.metrics_features, int) and self.metrics_features < 0:
            raise ValueError(f"metrics_features must be at least 0 or a list of names, not {self.metrics_features}")
        if self.admin_token is not None and len(self.admin_token) < _TOKEN_MIN:
            raise ValueError(f"admin_token must have at least {_TOKEN_MIN} characters, not {len(self.admin_token)}")
        for key, low, high in (
            ("max_body_bytes", 1024, None),
            ("max_text_chars", 1, None),
            ("max_batch_rows", 1, 65_536),
            ("queue_limit_rows", self.max_batch_rows, None),
            ("queue_limit_ms", 0.001, None),
            ("deadline_ms", 0.001, None),
            ("inline_limit_us", 0, None),
            ("intra_op_threads", 1, 64),
            ("watch_interval_s", 0.01, 60),
            ("hold_previous_s", 0, None),
            ("drain_s", 0, 600),
            ("drift_window_rows", 100, None),
            ("drift_horizon_s", 10, None),
        ):
            value = getattr(self, key)
            if value is None:
                continue
            if value < low or (high is not None and value > high):
                bound = f"at least {low}" if high is None else f"{low} to {high}"
                raise ValueError(f"{key} must be {bound}, not {value}")


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What of the scored rows goes to the prediction log; `log_sample` and `log_redact` of section `[monitor]`."""

    sample: float = 1.0
    """Share of the requests, 0 to 1; 0 is no log."""
    redact: tuple[str, ...] = ()
    """Columns that leave no worker."""


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What `hotgate serve` hands to its workers."""

    settings: GatewaySettings
    store: str
    """Folder of the model store."""
    monitor: str
    """Folder of what is known of the data; all servers of one home share it."""
    log: LogSettings = LogSettings()
    """What goes to the prediction log."""
    wanted: tuple[str, ...] = ()
    """Models without which a worker is not ready, besides those that the store names."""
    started_fd: int | None = None
    """What a worker tells that it takes connections (`gateway.started`); unset: nobody asks."""
