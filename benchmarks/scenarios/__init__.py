"""What a user of the gateway may fear, each as one measurement: `hotgate bench scenarios`."""

from __future__ import annotations

from benchmarks.scenarios.plan import ScenarioPlan
from benchmarks.scenarios.suite import NAMES, Scenario, find

__all__ = ["NAMES", "Scenario", "ScenarioPlan", "find"]
