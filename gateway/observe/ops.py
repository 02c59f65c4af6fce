"""Alarms about the server itself, from what lies on disk: the registry, the store, the disk, what the monitor lost."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final, Literal

from gateway.alerts import Evidence
from gateway.counts import ModelCounts, Served, folders_in
from gateway.losses import read_losses
from gateway.observe.base import Condition
from gateway.sync.status import read_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from gateway.sync.status import RoleState, SyncStatus

__all__ = ["DROP_S", "FAILING_S", "FREE_BYTES", "STALE_S", "UNREACHABLE_S", "Operations"]

UNREACHABLE_S: Final = 300.0
"""For how long the registry must have been silent."""
STALE_S: Final = 300.0
"""Age from which on the sidecar's word is none: no sidecar may be wanted."""
FREE_BYTES: Final = 100 * 2**20
"""Less than that is too little; less than a tenth of it is critical."""
FAILING_S: Final = 120.0
"""For how long something must have failed."""
DROP_S: Final = 300.0
"""A drop of rows is over when none was dropped for so long."""
_ROWS: Final = {
    "dropped_rows": "The drift monitor fell behind and has not seen these rows; answers are not touched. Give the"
    " workers more CPU, or add some.",
    "unlogged_rows": "The prediction log does not hold these rows; answers and drift are not touched. Make room under"
    " monitor/, let the observer run, or log fewer: [monitor] log_sample.",
    "unshared_rows": "Workers cannot write their counts, so no verdict has these rows. Make room under monitor/, or"
    " give them the right to write there: nothing is lost unless a worker ends before.",
}


class Operations:
    """What is wrong with the server; each alarm has a name of its own.

    Args:
        monitor: folder of the counts, whose disk is looked at.
        store: the model store that the sidecar writes, if there is one.
        problems: by name, what the observer could not do in its last pass.
    """

    name = "ops"

    def __init__(self, monitor: Path, store: Path, problems: Callable[[], Mapping[str, str]]) -> None:
        self._monitor = monitor
        self._path = store / "sync.json"
        self._problems = problems
        self._dropped = _Drops()
        self._unlogged = _Drops()
        # By what: since when it has been so, as far as this process knows.
        self._since: dict[str, float] = {}

    def look(self, _seen: Mapping[str, float], now: float) -> list[Condition]:
        """How things are now.

        Raises:
            OSError: a folder cannot be looked into.
        """
        return [*self._registry(now), self._disk(now), self._observer(now), *self._rows(now)]

    def _registry(self, now: float) -> Iterator[Condition]:
        status = read_status(self._path)
        if status is None or now - self._path.stat().st_mtime >= STALE_S:
            return
        yield _reachable(status, now)
        yield self._publishing(status, now)
        for model, roles in status.models.items():
            for role, state in roles.items():
                yield _quarantined(model, role, state, now)
                yield _ambiguous(model, role, state, now)

    def _publishing(self, status: SyncStatus, now: float) -> Condition:
        failing_s = self._lasting("store", now, bad=bool(status.error))
        evidence = Evidence(name="store", statistic="failing_s", value=failing_s, threshold=FAILING_S)
        text = f"New versions cannot be published: {status.error}. What serves goes on."
        return _condition("store", now, [evidence] if failing_s >= FAILING_S else [], text)

    def _disk(self, now: float) -> Condition:
        free = shutil.disk_usage(self._monitor).free
        severity: Literal["warning", "critical"] = "critical" if free < FREE_BYTES / 10 else "warning"
        evidence = Evidence(
            name="disk", statistic="free_bytes", value=float(free), threshold=float(FREE_BYTES), severity=severity
        )
        text = "The disk of the home is nearly full: counts, alerts and new versions will find no room. Make some."
        return _condition("disk", now, [evidence] if free < FREE_BYTES else [], text)

    def _observer(self, now: float) -> Condition:
        problems = self._problems()
        failing = {name: self._lasting(f"problem {name}", now, bad=True) for name in sorted(problems)}
        for what in [what for what in self._since if what.startswith("problem ")]:
            self._lasting(what, now, bad=what.removeprefix("problem ") in problems)
        evidence = [
            Evidence(name=name[:64], statistic="failing_s", value=failing_s, threshold=FAILING_S)
            for name, failing_s in failing.items()
            if failing_s >= FAILING_S
        ]
        text = "The observer cannot do a part of its work: " + "; ".join(
            f"{name[:64]} {problems[name]}" for name in problems
        )
        return _condition("observer", now, evidence, text)

    def _rows(self, now: float) -> Iterator[Condition]:
        losses = dict(read_losses(self._monitor / "losses", now))
        dropped = self._dropped.look({name: found.dropped for name, found in losses.items()}, now)
        unlogged = self._unlogged.look({name: found.unlogged for name, found in losses.items()}, now)
        for folder in folders_in(self._monitor / "counts"):
            rows = sum(found.unshared.get(folder.name, 0) for found in losses.values())
            lasts = self._lasting(f"unshared {folder.name}", now, bad=rows > 0) >= FAILING_S
            for statistic, lost in (
                ("dropped_rows", dropped.get(folder.name, 0)),
                ("unlogged_rows", unlogged.get(folder.name, 0)),
                ("unshared_rows", rows if lasts else 0),
            ):
                yield _of_rows(ModelCounts(folder), statistic, lost, now)

    def _lasting(self, what: str, now: float, *, bad: bool) -> float:
        """For how many seconds it has been so, as far as this process knows."""
        if not bad:
            self._since.pop(what, None)
            return 0.0
        return now - self._since.setdefault(what, now)


class _Drops:
    """Tells rows that are being dropped from those that were before this process began."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], int] | None = None
        self._recent: dict[str, tuple[float, int]] = {}
        """By model file: when rows were dropped last, and how many since it began."""

    def look(self, losses: Mapping[str, Mapping[str, int]], now: float) -> dict[str, int]:
        """How many rows each model file has lost in a drop that goes on.

        Args:
            losses: by worker, the rows of each model file that it has dropped since it began.
            now: wall clock, in seconds.
        """
        totals = {(name, sha256): rows for name, found in losses.items() for sha256, rows in found.items()}
        known = totals if self._known is None else self._known
        for (name, sha256), rows in totals.items():
            fresh = rows - known.get((name, sha256), 0)
            if fresh > 0:
                self._recent[sha256] = now, fresh + self._recent.get(sha256, (now, 0))[1]
        self._known = totals
        self._recent = {sha256: found for sha256, found in self._recent.items() if now - found[0] < DROP_S}
        return {sha256: rows for sha256, (_, rows) in self._recent.items()}


def _condition(about: str, now: float, evidence: list[Evidence], text: str, **subject: str) -> Condition:
    """Of this moment; trouble that is measured in seconds began so long ago."""
    seconds = max((found.value for found in evidence if found.statistic.endswith("_s")), default=0.0)
    return Condition(
        kind="ops",
        about=about,
        since=now - seconds,
        until=now,
        evidence=tuple(evidence),
        text=text if evidence else "",
        at_once=True,
        **subject,
    )


def _reachable(status: SyncStatus, now: float) -> Condition:
    silent_s = 0.0 if status.registry.reachable else now - status.registry.since.timestamp()
    evidence = Evidence(name="registry", statistic="unreachable_s", value=silent_s, threshold=UNREACHABLE_S)
    # Without its error: that may hold an address with a password.
    text = "The registry does not answer: what serves goes on, no promotion arrives. Mend it, or the way to it."
    return _condition("registry", now, [evidence] if silent_s >= UNREACHABLE_S else [], text)


def _quarantined(model: str, role: str, state: RoleState, now: float) -> Condition:
    evidence = Evidence(name=f"version {state.version}", statistic="quarantined", value=1.0, threshold=0.0)
    goes_on = f"Version {state.serving} goes on. " if state.serving else ""
    text = (
        f"Version {state.version} is in quarantine, not served: {state.reason}. {goes_on}Train or convert it again, or"
        f" once the cause is gone: hotgate release {model} {state.version}"
    )
    found = [evidence] if state.state == "quarantined" else []
    return _condition(f"quarantined-{role}", now, found, text, model=model)


def _ambiguous(model: str, role: str, state: RoleState, now: float) -> Condition:
    evidence = Evidence(name=role, statistic="versions", value=1.0 + len(state.others), threshold=1.0)
    others = ", ".join(map(str, state.others))
    text = f"Several versions hold one role, the highest serves. Archive the others: {others}."
    return _condition(f"ambiguous-{role}", now, [evidence] if state.others else [], text, model=model)


def _of_rows(counts: ModelCounts, statistic: str, rows: int, now: float) -> Condition:
    about, evidence = (
        statistic.partition("_")[0],
        [Evidence(name="rows", statistic=statistic, value=rows, threshold=0.0)],
    )
    if not rows:
        return _condition(about, now, [], "", sha256=counts.folder.name)
    served = next(iter(counts.served()), Served(model="?", version="?", since=now))
    subject = {"model": served.model, "version": served.version, "sha256": counts.folder.name}
    return _condition(about, now, evidence, _ROWS[statistic], **subject)
