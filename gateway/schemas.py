"""The native protocol's bodies, and what the plain routes answer."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from gateway.sync.status import SyncStatus

__all__ = [
    "Health",
    "LoadedModel",
    "ModelHealth",
    "Outcome",
    "OutcomePrediction",
    "OutcomePredictions",
    "PredictRequest",
    "Prediction",
    "Predictions",
    "Readiness",
    "RowPrediction",
    "TableRequest",
]

Value = float | None
Row = list[Value] | dict[str, Value]


class PredictRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One row as `features`, or many as `instances`; a row is a list in the model's order or an object by name."""

    features: Row | UnsetType = UNSET
    instances: list[Row] | UnsetType = UNSET


TableValue = float | str | bool | None
TableRow = list[TableValue] | dict[str, TableValue]


class TableRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The same for a model with columns of several kinds."""

    features: TableRow | UnsetType = UNSET
    instances: list[TableRow] | UnsetType = UNSET


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


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model says of one row, whatever its task; what does not apply is left out."""

    prediction: bool | int | float | str | UnsetType = UNSET
    """The class that scikit-learn's `predict` returns."""
    label: str | UnsetType = UNSET
    """Its display name."""
    probabilities: dict[str, float] | UnsetType = UNSET
    """By label."""
    scores: dict[str, float] | float | UnsetType = UNSET
    """What `decision_function` returns: by label, or one number, above 0 for the second of two classes."""
    value: float | list[float] | UnsetType = UNSET
    """A number, or several."""
    targets: dict[str, Outcome] | UnsetType = UNSET
    """By name, if the model has several targets."""


class OutcomePrediction(Outcome, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to one row of a model that is no classifier with probabilities of one target."""

    model: str
    version: str
    request_id: str


class OutcomePredictions(msgspec.Struct, frozen=True, kw_only=True):
    """Its answer to many rows, in their order."""

    model: str
    version: str
    request_id: str
    predictions: list[Outcome]


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether this worker can score."""

    status: str
    """As in `Health`."""
    missing: list[str]
    """Wanted models that are not loaded."""


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
