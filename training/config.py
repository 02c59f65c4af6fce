"""What a training run can be told: a YAML file, overridden by `key=value` pairs whose keys are nested by dots."""

from __future__ import annotations

import re
import typing
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from training.candidates import CANDIDATES
from training.errors import ConfigError, meant
from training.space import Family

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = [
    "BREAST_CANCER",
    "ColumnRule",
    "DataConfig",
    "SearchConfig",
    "SplitConfig",
    "TrainConfig",
    "ValidationConfig",
    "check_name",
    "load_config",
]

BREAST_CANCER = "breast-cancer"
"""The data set that needs no file: 569 tumours, 30 measurements each, from scikit-learn."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class DataConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which rows, and what they are labelled with."""

    source: str = BREAST_CANCER
    """`breast-cancer`, or the path of a .csv or .parquet file with one row an example."""
    target: str | None = None
    """Column that holds the class of each row; needed to train on a file."""
    labels: tuple[str, ...] = ()
    """Display names of the classes, in the classes' sorted order; empty: the classes as text."""
    ignore: tuple[str, ...] = ()
    """Columns that are no features: ids, times."""
    categories: tuple[str, ...] = ()
    """Columns whose whole numbers are codes of categories, not quantities; boolean columns are categories anyway."""
    revision: str | None = None
    """Where the data stands in its own version control; goes into the model file as it is."""


class SplitConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which rows are held out."""

    holdout: float = 0.25
    """Share of the rows that no estimator is fitted on, 0.05 to 0.5."""
    balance_draws: int = 1000
    """Draws of row pairs that are switched where it balances held-out and other rows, 0 to 10,000; 0: no balancing."""

    keep: str | None = None
    """A .csv or .parquet file with the data's columns: rows that stay held out, and are never trained on."""

    def __post_init__(self) -> None:
        """Hold the ranges."""
        _within("holdout", self.holdout, 0.05, 0.5)
        _within("balance_draws", self.balance_draws, 0, 10_000)


class ColumnRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a column must be."""

    kind: Literal["float", "int", "category"] | None = None
    """As the data says it; unset: any."""
    min: float | None = None
    """Smallest value allowed."""
    max: float | None = None
    """Largest value allowed."""

    def __post_init__(self) -> None:
        """Refuse a range that holds nothing."""
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min must not be above max, got {self.min} and {self.max}")


class ValidationConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What data must be like before anything is fitted on it."""

    columns: dict[str, ColumnRule] = msgspec.field(default_factory=dict)
    """By name; each must be there."""
    only: bool = False
    """Whether a column that `columns` does not name is refused."""
    duplicates_max: float = 0.05
    """Share of the rows that may repeat an earlier one, class included."""
    conflicts_max: float = 0.0
    """Share of the rows that may have the features of a row of another class."""
    leakage_max: float = 0.05
    """Share of the held-out rows that may have the features of a training row."""
    minority_min: float = 0.01
    """Share of the rows that the rarest class must have."""

    def __post_init__(self) -> None:
        """Hold the ranges."""
        for key in ("duplicates_max", "conflicts_max", "leakage_max", "minority_min"):
            _within(key, getattr(self, key), 0.0, 1.0)


class SearchConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which estimators compete, and for what."""

    candidates: tuple[str, ...] = tuple(CANDIDATES)
    """Names of the fixed candidates to run, in this order; an earlier one wins a tie. `[]`: the families only."""
    families: dict[str, Family] = msgspec.field(default_factory=dict)
    """Further candidates by the family's name, which begins theirs; they come after the fixed ones."""
    keep: int = 5
    """How many of the best are fitted on all training rows and logged with model and plots, 1 to 100."""
    folds: int = 5
    """Stratified cross-validation folds over the training rows, 2 to 20."""
    metric: Literal["roc_auc", "accuracy", "f1", "log_loss"] = "roc_auc"
    """Mean over the folds that ranks the candidates; log_loss: lower is better, else higher."""

    def __post_init__(self) -> None:
        """Hold the ranges; a candidate is run once."""
        _within("folds", self.folds, 2, 20)
        _within("keep", self.keep, 1, 100)
        unknown = [name for name in self.candidates if name not in CANDIDATES]
        if unknown or not (self.candidates or self.families):
            got = repr(unknown[0]) if unknown else "none, and no families"
            raise ValueError(f"candidates must be some of {', '.join(CANDIDATES)}, got {got}")
        twice = [name for name in self.candidates if self.candidates.count(name) > 1]
        if twice:
            raise ValueError(f"candidates must differ, got {twice[0]!r} twice")
        for name in self.families:
            check_name(name)


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides what `hotgate train` makes; equal ones give the same model file on one machine."""

    name: str = "cancer-classifier"
    """Registered model, 1 to 128 of letters, digits, `.`, `_` and `-`."""
    experiment: str = "hotgate"
    """MLflow experiment that the candidates' runs belong to."""
    seed: int = 42
    """Of split, folds and estimators, 0 to 4,294,967,295."""
    tolerance: float | None = None
    """Largest allowed difference of a probability between ONNX and scikit-learn, above 0 to 0.001; unset: 1e-5."""
    data: DataConfig = msgspec.field(default_factory=DataConfig)
    validation: ValidationConfig = msgspec.field(default_factory=ValidationConfig)
    split: SplitConfig = msgspec.field(default_factory=SplitConfig)
    search: SearchConfig = msgspec.field(default_factory=SearchConfig)

    def __post_init__(self) -> None:
        """Hold the ranges."""
        check_name(self.name)
        _within("seed", self.seed, 0, 2**32 - 1)
        if not self.experiment.strip():
            raise ValueError(f"experiment must not be empty, got {self.experiment!r}")
        if self.tolerance is not None:
            from converters.modelfile import MAX_TOLERANCE

            if not 0 < self.tolerance <= MAX_TOLERANCE:
                raise ValueError(f"tolerance must be above 0 and at most {MAX_TOLERANCE:g}, got {self.tolerance}")


def check_name(name: str) -> str:
    """Let a model's name through if it can stand in a URL, a path and a metric's label as it is.

    Raises:
        ValueError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"name must be 1 to 128 letters, digits, '.', '_' and '-', the first no sign, got {name!r}")
    return name


def load_config(path: Path | None = None, overrides: Iterable[str] = ()) -> TrainConfig:
    """Read a YAML file, if there is one, and lay `key=value` pairs over it: `search.folds=3`.

    A value is text that its field's type makes sense of; one that starts with `[` or `{` is YAML.

    Raises:
        ConfigError: the file is no mapping, a key is unknown, or a value has the wrong type or lies outside its range.
    """
    values = _read_yaml(path) if path is not None else {}
    for override in overrides:
        _lay_over(values, override)
    try:
        return msgspec.convert(values, TrainConfig, strict=False)
    except msgspec.ValidationError as error:
        text = f"{error}{_meant(str(error))}"
        raise ConfigError(f"{path}: {text}" if path is not None else text) from error


def _meant(message: str) -> str:
    """What a key that does not exist was probably meant to be, and which keys there are."""
    found = re.search(r"unknown field `(?P<key>[^`]*)`(?: - at `\$\.(?P<path>[^`]*)`)?", message)
    if found is None:
        return ""
    kind: Any = TrainConfig
    for part in filter(None, re.split(r"[.\[\]]+", found["path"] or "")):
        hint = typing.get_type_hints(kind)[part] if part != "..." else kind
        kind = next(one for one in (*reversed(typing.get_args(hint)), hint) if hasattr(one, "__struct_fields__"))
    return meant(found["key"], kind.__struct_fields__)


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a mapping of settings, got a {type(values).__name__}")
    return values


def _lay_over(values: dict[str, Any], override: str) -> None:
    import yaml

    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"an override must be key=value, such as search.folds=3, got {override!r}")
    *parents, last = key.split(".")
    table = values
    for parent in parents:
        child = table.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"{override!r}: {parent} holds {child!r}, which has no keys")
        table = child
    try:
        table[last] = yaml.safe_load(text) if text[:1] in {"[", "{"} else text
    except yaml.YAMLError as error:
        raise ConfigError(f"{override!r} is not YAML: {error}") from error


def _within(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{key} must be from {low} to {high}, got {value}")
