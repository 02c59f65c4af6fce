"""The scenarios by name; each is imported when it is measured."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.rig import Rig
    from benchmarks.scenarios.plan import ScenarioPlan

__all__ = ["NAMES", "Scenario", "find"]

_MODULES = {
    "open": "open_loop",
    "models": "models",
    "swap-p99": "swap_p99",
    "overload": "overload",
    "scaling": "scaling",
    "memory": "memory",
    "garbage": "garbage",
    "monitoring": "monitoring",
    "wide": "wide",
    "protocols": "protocols",
}
NAMES = tuple(_MODULES)
"""In the order in which they are measured."""


class Scenario(Protocol):
    """A module of this package; `figures` is what its own `measure` gives, a Struct."""

    TITLE: str

    def measure(self, rig: Rig, plan: ScenarioPlan, say: Callable[[str], None]) -> Any:
        """Take the figures.

        Raises:
            BenchError: they could not be taken, or a request failed that must not.
            LoadError: the generator failed.
        """

    def render(self, figures: Any) -> str:
        """Say them in Markdown, with what they do not say."""

    def draw(self, figures: Any, folder: Path) -> None:
        """Draw those that are better seen; raises PlotError."""


def find(name: str) -> Scenario:
    """Import one of `NAMES`."""
    scenario: Scenario = importlib.import_module(f"benchmarks.scenarios.{_MODULES[name]}")
    return scenario
