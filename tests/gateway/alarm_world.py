"""What tests of alarms share: a model whose traffic a test makes, a clock, and who is told."""

from __future__ import annotations

import numpy as np

from gateway.alerts import Evidence
from gateway.countlog import CountLog
from gateway.counts import ModelCounts, Served
from gateway.observe.alarms import Alerter
from gateway.observe.base import Condition
from gateway.observe.delivery import Delivery
from gateway.observe.drift_source import GRACE_S, DriftWindows
from gateway.observe.rules import Rules
from gateway.observe.silences import Silences
from monitoring import RowCounter, build_reference
from monitoring.alarm import AlarmRule

BEGIN = 1_800_000_000.0
WINDOW = 900
_RNG = np.random.default_rng(0)
REFERENCE = build_reference(
    _RNG.normal(size=(1000, 2)), _RNG.random(1000), names=["a", "b"], kinds=["float"] * 2, graph_sha256="00"
)


class Says:
    """A source that has made sure, and says what a test puts into it."""

    name = "says"

    def __init__(self, *names):
        self.names = names

    def look(self, _seen, now):
        """Trouble with these names; None: it cannot be said; an error is raised."""
        if isinstance(self.names, Exception):
            raise self.names
        evidence = self.names and tuple(
            Evidence(name=name, statistic="unreachable_s", value=400.0, threshold=300.0) for name in self.names
        )
        return [
            Condition(
                kind="ops", about="registry", since=now - 400, until=now, evidence=evidence, text="Mend it.",
                at_once=True,
            )
        ]  # fmt: skip


class World:
    """A model whose traffic a test makes, an observer's clock, and what was delivered."""

    name = "world"
    takes_silenced = False
    repeat_s = None

    def __init__(self, folder):
        self.folder = folder
        self.now = BEGIN
        self.counts = ModelCounts(folder / "counts" / ("a" * 64))
        self.counts.tell_served(Served(model="cancer", version="3", since=BEGIN))
        self.log = CountLog(self.counts, REFERENCE, RowCounter(REFERENCE).size, lambda: self.now)
        self._rng = np.random.default_rng(0)
        self.delivered = []
        self.fails = False
        self.sinks = [self]
        self.sources = [DriftWindows(folder / "counts", WINDOW)]
        self.rules = ()
        self.silences = Silences(folder / "silences.json", lambda: self.now)
        self.restart()

    def restart(self, *sinks):
        """Another observer takes over."""
        self.sinks = sinks or self.sinks
        clock = lambda: self.now  # noqa: E731
        rules = Rules(self.rules, AlarmRule())
        self.alerter = Alerter(self.folder, self.sources, Delivery(self.sinks, clock), rules, self.silences, clock)

    def deliver(self, alert):
        """As a sink."""
        if self.fails:
            raise OSError("nobody listens")
        self.delivered.append(alert)

    def pass_window(self, shift=None, *, look=True):
        """Let a window pass, with 400 rows whose first column is shifted, or none."""
        if shift is not None:
            rows = self._rng.normal(size=(400, 2))
            rows[:, 0] += shift
            RowCounter(REFERENCE).add(self.log.current(), rows, self._rng.random(400))
            self.log.commit()
        self.now += WINDOW
        self.log.rotate()
        if look:
            self.look()

    def look(self):
        """One pass, once the last window is over for sure."""
        self.now += GRACE_S
        try:
            return self.alerter.look()
        finally:
            self.now -= GRACE_S

    @property
    def told(self):
        """State, kind and severity of all that was delivered."""
        return [(alert.state, alert.kind, alert.severity) for alert in self.delivered]
