"""The search space: families of estimators, each a grid or random draws, turned into the candidates that are tried."""

from __future__ import annotations

import importlib
import inspect
import itertools
import math
from typing import TYPE_CHECKING, Any

import msgspec

from training.candidates import CANDIDATES, MODULES, Candidate, estimator_class
from training.errors import ConfigError, meant

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from training.config import SearchConfig, TrainConfig

__all__ = ["MOST_POINTS", "Family", "Range", "candidates_of"]

MOST_POINTS = 10_000
"""Candidates of one family; a larger grid is a slip, or needs random draws."""

_MAY_BE = "it may be"
_OURS = {"random_state": "it comes from seed", "n_jobs": "candidates run beside each other by --engine"}


class Range(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Values to draw from: whole numbers, both ends included, if both ends are whole, else any between them."""

    low: int | float
    high: int | float
    log: bool = False
    """Whether each order of magnitude is equally likely."""

    def __post_init__(self) -> None:
        """Hold the ends apart, and finite."""
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 with log, got {self.low}")

    def draw(self, count: int, rng: np.random.Generator) -> list[Any]:
        """That many values, independent of each other."""
        import numpy as np

        whole = isinstance(self.low, int) and isinstance(self.high, int)
        low, high = float(self.low), float(self.high + 1 if whole else self.high)
        drawn = np.exp(rng.uniform(math.log(low), math.log(high), count)) if self.log else rng.uniform(low, high, count)
        # rounding, of exp or of a product, may step over an end
        values: list[float] = np.clip(drawn, low, high).tolist()
        return [min(math.floor(value), self.high) for value in values] if whole else list(values)


class Family(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Candidates of one estimator: every combination of its values, or random draws from them."""

    estimator: str
    """Classifier of scikit-learn, such as RandomForestClassifier."""
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    """By parameter: one value, a list of values, or `{low, high}`, with `log: true` for orders of magnitude."""
    n_iter: int | None = None
    """Draws, 1 to 10,000, of which equal ones are tried once; unset: every combination, which ranges have not."""
    scaled: bool = False
    """Whether a StandardScaler comes first."""

    def __post_init__(self) -> None:
        """Hold the ranges; what takes scikit-learn to know is checked by `candidates_of`."""
        if self.n_iter is not None and not 1 <= self.n_iter <= MOST_POINTS:
            raise ValueError(f"n_iter must be from 1 to {MOST_POINTS}, got {self.n_iter}")
        for key, value in self.params.items():
            choices = _choices(key, value)
            if isinstance(choices, Range) and self.n_iter is None:
                raise ValueError(f"params.{key} is a range, which has no grid: set n_iter, or list its values")
        size = math.prod(len(_listed(self.params, key)) for key in self.params) if self.n_iter is None else 0
        if size > MOST_POINTS:
            raise ValueError(f"params have {size} combinations, at most {MOST_POINTS} can be tried: set n_iter")

    def points(self, name: str, seed: int) -> list[dict[str, Any]]:
        """The parameters of each candidate, in the order they are tried.

        A family's draws depend on its name and the seed only, a parameter's on its name too: another family, or
        another parameter, leaves them as they are.
        """
        import numpy as np

        if self.n_iter is None:
            grid = itertools.product(*(_listed(self.params, key) for key in self.params))
            return [dict(zip(self.params, values, strict=True)) for values in grid]
        drawn = {}
        for key, value in self.params.items():
            rng = np.random.default_rng([seed, *f"{name}/{key}".encode()])
            choices = _choices(key, value)
            drawn[key] = (
                choices.draw(self.n_iter, rng)
                if isinstance(choices, Range)
                else [choices[index] for index in rng.integers(0, len(choices), self.n_iter)]
            )
        points = [{key: values[number] for key, values in drawn.items()} for number in range(self.n_iter)]
        return list({msgspec.json.encode(point): point for point in points}.values())


def candidates_of(config: TrainConfig) -> tuple[Candidate, ...]:
    """Every candidate that a configuration asks for, the named ones first, then the families', in a fixed order.

    Raises:
        ConfigError: an estimator or a parameter does not exist, or two candidates have one name.
    """
    search: SearchConfig = config.search
    found = [CANDIDATES[name] for name in search.candidates]
    for name, family in search.families.items():
        _check(name, family)
        points = family.points(name, config.seed)
        width = len(str(len(points)))
        names = [name] if len(points) == 1 else [f"{name}-{number:0{width}}" for number in range(1, len(points) + 1)]
        found += [
            Candidate(name=called, estimator=family.estimator, parameters=point, scaled=family.scaled, family=name)
            for called, point in zip(names, points, strict=True)
        ]
    names = [one.name for one in found]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice:
        raise ConfigError(f"two candidates are called {twice!r}: rename the family in search.families")
    return tuple(found)


def _choices(key: str, value: Any) -> Range | list[Any]:
    """What a parameter may be."""
    if isinstance(value, dict):
        try:
            return msgspec.convert(value, Range)
        except msgspec.ValidationError as error:
            raise ValueError(f"params.{key} must be a value, a list, or low and high: {error}") from error
    if isinstance(value, list):
        if not value:
            raise ValueError(f"params.{key} must have a value at least, got []")
        return value
    return [value]


def _listed(params: Mapping[str, Any], key: str) -> list[Any]:
    choices = _choices(key, params[key])
    return choices if isinstance(choices, list) else []


def _check(name: str, family: Family) -> None:
    """Ask scikit-learn whether estimator and parameters exist."""
    from sklearn.base import ClassifierMixin

    where = f"search.families.{name}"
    try:
        kind = estimator_class(family.estimator)
    except LookupError:
        kind = None
    if not (inspect.isclass(kind) and issubclass(kind, ClassifierMixin)):
        raise ConfigError(
            f"{where}.estimator: {family.estimator!r} is no classifier{meant(family.estimator, _known(), _MAY_BE)}"
        )
    parameters = [key for key in inspect.signature(kind).parameters if key not in _OURS]
    for key in family.params:
        if key in _OURS:
            raise ConfigError(f"{where}.params.{key} cannot be set: {_OURS[key]}")
        if key not in parameters:
            raise ConfigError(f"{where}.params: {family.estimator} has no {key!r}{meant(key, parameters, _MAY_BE)}")


def _known() -> list[str]:
    from sklearn.base import ClassifierMixin

    modules = (importlib.import_module(f"sklearn.{name}") for name in MODULES)
    return sorted(
        name
        for module in modules
        for name in module.__all__
        if inspect.isclass(kind := getattr(module, name)) and issubclass(kind, ClassifierMixin)
    )
