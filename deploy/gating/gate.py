"""The gate: file, parity, metrics and speed of a version in turn, and its record in the registry."""

from __future__ import annotations

import platform
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from benchmarks.errors import BenchError
from benchmarks.load import LoadError
from deploy.gating.evaluation import evaluate
from deploy.gating.evidence import EvidenceError, judging_rows, open_side
from deploy.gating.files import bring, check_file, check_parity
from deploy.gating.speed import race
from gateway.sync.gate_record import GATE_TAG, Check, GateRecord, encode_record
from gateway.sync.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    import numpy as np
    import numpy.typing as npt

    from benchmarks.gate_run import Profile
    from converters.verify import Verdict
    from deploy.gating.evidence import Judge, Side
    from deploy.gating.files import Brought, EvidenceStore
    from deploy.gating.settings import GateSettings
    from deploy.gating.speed import Track
    from gateway.sync.base import RegisteredVersion, Registry
    from gateway.sync.gate_record import GateOutcome
    from gateway.sync.resolve import Selector

    OpenTrack: TypeAlias = Callable[
        [Path, Path, Path | None, npt.NDArray[np.float64], Profile], AbstractContextManager[Track]
    ]

__all__ = ["GateError", "GateReport", "Gatekeeper", "worst"]


class GateError(Exception):
    """There is no such version; the text says what there is."""


class GateReport(GateRecord, frozen=True, kw_only=True):
    """The record, and of what it is."""

    name: str
    version: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Gatekeeper:
    """What the gate works with."""

    registry: Registry
    evidence: EvidenceStore
    verify: Callable[[Path], Verdict]
    settings: GateSettings
    champion: Selector
    """What marks the champion."""
    scratch: Path
    """Folder for files while they are looked at."""
    limit_bytes: int
    """Largest model file."""
    say: Callable[[str], None]
    """Told of each step."""
    track: OpenTrack | None
    """Opens gateways in a folder, of the candidate's and the champion's file, for rows and a profile; None: skipped."""
    profile: Profile
    """How long speed is measured."""
    clock: Callable[[], float] = time.monotonic

    def hold(self, name: str, version: str) -> GateReport:
        """Judge a version; nothing is written but to the scratch folder, see `record`.

        Raises:
            GateError: there is no such version.
            RegistryError: the registry fails.
        """
        candidate, champion = self._find(name, version)
        self.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.scratch) as scratch:
            folder = Path(scratch)
            self.say(f"fetching and verifying version {version}")
            new = self._bring(name, candidate, folder / "candidate")
            checks = check_file(new, self.verify)
            if worst(checks) == "pass":
                checks = (*checks, check_parity(new), *self._compare(name, new, candidate, champion, folder))
        return GateReport(
            outcome=worst(checks),
            sha256=new.sha256 or candidate.sha256_tag or "",
            champion=None if champion is None else str(champion.version),
            champion_sha256=None if champion is None else champion.sha256_tag,
            when=datetime.now(UTC),
            machine=platform.node(),
            checks=checks,
            name=name,
            version=version,
        )

    def record(self, report: GateReport) -> None:
        """Leave the verdict with the version, as its tag.

        Raises:
            RegistryError: the registry fails.
        """
        record = GateRecord(**{key: getattr(report, key) for key in GateRecord.__struct_fields__})
        self.registry.set_version_tag(report.name, int(report.version), GATE_TAG, encode_record(record))

    def _find(self, name: str, version: str) -> tuple[RegisteredVersion, RegisteredVersion | None]:
        """The version, and the champion unless it is the same one."""
        versions = self.registry.model(name).versions
        if not versions:
            there = ", ".join(self.registry.names()) or "none"
            raise GateError(f"there is no registered model {name!r} with a version; there are: {there}")
        found = next((item for item in versions if str(item.version) == version), None)
        if found is None:
            there = ", ".join(str(item.version) for item in versions)
            raise GateError(f"{name} has no version {version!r}; there are: {there}")
        champion = resolve(versions, self.champion, None).version
        return found, None if champion is None or champion.version == found.version else champion

    def _bring(self, name: str, version: RegisteredVersion, folder: Path) -> Brought:
        return bring(self.registry, name, version, folder, limit_bytes=self.limit_bytes)

    def _compare(
        self, name: str, new: Brought, candidate: RegisteredVersion, champion: RegisteredVersion | None, folder: Path
    ) -> tuple[Check, ...]:
        """Everything that needs rows; what stands in the way of it makes the gate inconclusive."""
        try:
            old = None
            if champion is not None:
                self.say(f"fetching and verifying the champion, version {champion.version}")
                old = self._bring_champion(name, champion, folder)
            for version, brought in ((candidate, new), (champion, old)):
                if version is not None and brought is not None:
                    self.evidence.fetch(name, version.version, brought.folder)
            sides = [open_side(brought.name, brought.folder) for brought in (new, old) if brought is not None]
            self.say("comparing answers to the held-out rows")
            judge = judging_rows(sides)
            checks = self._metrics(sides, judge)
        except EvidenceError as error:
            stopped = Check(name="metrics", outcome="inconclusive", reason=str(error))
            return (stopped, Check(name="p99", outcome="inconclusive", reason="not measured without rows of both"))
        return (*checks, *self._speed(new, old, judge, checks, folder))

    def _bring_champion(self, name: str, champion: RegisteredVersion, folder: Path) -> Brought:
        brought = self._bring(name, champion, folder / "champion")
        bad = [check for check in check_file(brought, self.verify) if check.outcome != "pass"]
        if bad:
            raise EvidenceError(
                f"the champion, {brought.name}, is not opened: {bad[0].reason};"
                " the gate can compare once a sound version is in its place"
            )
        return brought

    def _metrics(self, sides: list[Side], judge: Judge) -> tuple[Check, ...]:
        checks = evaluate(sides[0], sides[1] if len(sides) > 1 else None, judge, self.settings)
        if not checks:
            reason = "there is no champion, and no threshold first_* is set"
            return (Check(name="metrics", outcome="pass", reason=reason),)
        return checks

    def _speed(
        self, new: Brought, old: Brought | None, judge: Judge, so_far: tuple[Check, ...], folder: Path
    ) -> tuple[Check, ...]:
        """The cases that need no measurement first."""
        if not self.settings.p99:
            return (Check(name="p99", outcome="pass", reason="not asked for: [gate] p99 is false"),)
        if self.track is None:
            return (Check(name="p99", outcome="inconclusive", reason="left out, as was asked for"),)
        if old is None and self.settings.p99_budget_ms is None:
            reason = "there is no champion to be as fast as, and no p99_budget_ms is set"
            return (Check(name="p99", outcome="pass", reason=reason),)
        if worst(so_far) == "fail":
            reason = "not measured, because the version has failed already"
            return (Check(name="p99", outcome="inconclusive", reason=reason),)
        end = self.clock() + self.profile.total_s

        def more(progress: str) -> bool:
            self.say(f"p99: {progress}")
            return self.clock() < end

        files = new.file, None if old is None else old.file
        try:
            with self.track(folder / "track", *files, judge.rows, self.profile) as track:
                return race(track, self.settings, self.profile.plan, first=old is None, more=more)
        except (BenchError, LoadError) as error:
            return (Check(name="p99", outcome="inconclusive", reason=f"not measured: {error}"),)


def worst(checks: Iterable[Check]) -> GateOutcome:
    """A fail if one check failed, a pass only if all passed."""
    outcomes = {check.outcome for check in checks}
    if "fail" in outcomes:
        return "fail"
    return "pass" if outcomes == {"pass"} else "inconclusive"
