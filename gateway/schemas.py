"""The native protocol's bodies, and what the plain routes answer."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from gateway.sync.status import SyncStatus

__all__ = ["Health", "LoadedModel", "ModelHealth", "PredictRequest", "Prediction", "Predictions", "RowPrediction"]

Value = float | None
Row = list[Value] | dict[str, Value]


class PredictRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One row as `features`, or many as `instances`; a row is a list in the model's order or an object by name."""

    features: Row | UnsetType = UNSET
    instances: list[Row] | UnsetType = UNSET


class RowPrediction(msgspec.Struct, frozen=True, gc=False):
    """What the model says of one row."""

    prediction: bool | int | float | str
    """What scikit-learn's `predict` returns."""
    label: str
    """Its display name."""
    probabilities: dict[str, float]
    """By label."""


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """The answer to one row."""

    model: str
    version: str
    request_id: str
    prediction: bool | int | float | str
    label: str
    probabilities: dict[str, float]


class Predictions(msgspec.Struct, frozen=True):
    """The answer to many rows, in their order."""

    model: str
    version: str
    request_id: str
    predictions: list[RowPrediction]


class LoadedModel(msgspec.Struct, frozen=True, kw_only=True):
    """The version that serves in this worker."""

    version: str
    sha256: str
    task: str
    features: list[str]
    labels: list[str]


class ModelHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One model in this worker."""

    name: str
    loaded: LoadedModel | None
    problem: str | None = None
    """Why the version that the store names does not serve."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """This worker's state."""

    status: str
    """`ok`, `degraded` (a model serves, but not the one that the store names), `loading` or `draining`."""
    model_loaded: bool
    models: list[ModelHealth]
    registry: SyncStatus | None = None
    """What the sidecar last said of the registry; absent without one."""
