"""What to do next for each model: the sidecar's decisions, without any input or output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.store import ROLES, Cause, Entry, ModelRoles, Role
from gateway.sync.base import RegisteredVersion
from gateway.sync.decision import matching
from gateway.sync.gate_record import read_record
from gateway.sync.resolve import Selector, resolve
from gateway.sync.status import RoleState, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.sync.base import RegisteredModel
    from gateway.sync.quarantine import Quarantine
    from gateway.sync.settings import SyncSettings

__all__ = ["ModelPlan", "Planner", "VerdictLike", "refusal"]

RECHECK_S = 600.0
"""How often a quarantined version is fetched again, in case other bytes were uploaded under the same tag."""


class VerdictLike(Protocol):
    """What a verifier says of a file; `converters.verify.Verdict` is one."""

    @property
    def ok(self) -> bool:
        """Whether the file may be served."""
        ...

    @property
    def sha256(self) -> str:
        """Of the bytes that were judged."""
        ...

    @property
    def reason(self) -> str:
        """Why not."""
        ...

    @property
    def deterministic(self) -> bool:
        """Whether the same bytes would fail again."""
        ...


class ModelPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at a model asks for."""

    roles: ModelRoles
    """To be published: what was served, where nothing better is in the store yet."""
    states: dict[Role, RoleState]
    causes: dict[Role, Cause] = {}
    fetch: tuple[RegisteredVersion, ...] = ()
    """To be downloaded and verified now; then plan again."""


class _Attempt(msgspec.Struct):
    failures: int
    not_before: float
    reason: str


class Planner:
    """Remembers failed attempts, and decides; the sidecar's thread owns it.

    Args:
        settings: see there.
        quarantine: consulted, never changed.
        stored: whether the store holds a verified file of that hash, undamaged.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: SyncSettings,
        quarantine: Quarantine,
        stored: Callable[[str], bool],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._selectors: dict[Role, Selector] = {
            role: Selector.parse(text)
            for role, text in zip(ROLES, (settings.champion, settings.challenger), strict=True)
            if text
        }
        self._quarantine = quarantine
        self._stored = stored
        self._clock = clock
        # By (model, version): what went wrong last; since when a tag has been awaited; when a quarantined one was seen.
        self._attempts: dict[tuple[str, int], _Attempt] = {}
        self._untagged: dict[tuple[str, int], float] = {}
        self._judged: dict[tuple[str, int], float] = {}
        # What somebody wants to be judged anew until the next plan; the files that thereby need no gate.
        self._released: set[tuple[str, int]] = set()
        self._waived: set[tuple[str, int, str]] = set()

    def plan(self, model: RegisteredModel, current: ModelRoles) -> ModelPlan:
        """Decide for every role of a model; a model without versions orphans what serves."""
        entries: dict[Role, Entry | None] = {}
        states: dict[Role, RoleState] = {}
        causes: dict[Role, Cause] = {}
        fetch: dict[int, RegisteredVersion] = {}
        orphaned = False
        for role, selector in self._selectors.items():
            previous: Entry | None = getattr(current, role)
            found = resolve(model.versions, selector, previous)
            if found.version is None:
                keep = previous if role == "champion" else None  # a shadow that nobody names protects nobody
                orphaned |= keep is not None
                entries[role], states[role] = keep, _unnamed(selector, keep)
            else:
                ungated = self._ungated(model, role, found.version, previous)
                entries[role], states[role] = self._decide(model.name, found.version, found.others, previous, ungated)
                if not ungated and self._due(model.name, found.version, states[role].state):
                    fetch[found.version.version] = found.version
            causes[role] = self._cause(model, selector, entries[role])
        self._released = {key for key in self._released if key[0] != model.name}
        roles = ModelRoles(**entries, orphaned=orphaned)
        return ModelPlan(roles=roles, states=states, causes=causes, fetch=tuple(fetch.values()))

    def failed(self, name: str, version: int, reason: str) -> None:
        """An attempt failed in a way that may pass: wait, each time twice as long."""
        failures = getattr(self._attempts.get((name, version)), "failures", 0) + 1
        pause = min(self._settings.retry_max_s, self._settings.poll_interval_s * 2.0 ** min(failures, 30))
        self._attempts[name, version] = _Attempt(failures, self._clock() + pause, reason)

    def judged(self, name: str, version: int) -> None:
        """An attempt came to a verdict, good or bad."""
        self._attempts.pop((name, version), None)
        self._judged[name, version] = self._clock()

    def released(self, name: str, version: int) -> None:
        """Somebody wants a version to be judged anew, at once; if it lacks a gate, to be served without one."""
        self._released.add((name, version))
        self._attempts.pop((name, version), None)
        self._judged.pop((name, version), None)

    def _decide(
        self, name: str, version: RegisteredVersion, others: tuple[int, ...], previous: Entry | None, ungated: str
    ) -> tuple[Entry | None, RoleState]:
        """The entry to serve, and how that came about: what was served, unless something better is in the store."""
        tag = version.sha256_tag
        entry = previous
        state: State = "pending"
        reason = ""
        blocked = self._quarantine.find(name, version.version, tag)
        if previous and previous.version == str(version.version) and tag in {None, previous.sha256}:
            state = "serving"
        elif version.status != "READY":
            reason = f"the registry says {version.status}"
        elif ungated:
            state, reason = "quarantined", ungated
        elif blocked:
            state, reason = (
                "quarantined",
                f"{blocked.reason}; `hotgate release {name} {version.version}` to judge it anew",
            )
        elif tag and self._stored(tag):
            entry, state = Entry(version=str(version.version), sha256=tag), "serving"
        else:
            reason = self._waiting_for(name, version)
        if others and not reason:
            reason = f"also named: {', '.join(map(str, others))}; archive all but one, the highest is served"
        return entry, RoleState(
            state=state,
            version=str(version.version),
            sha256=tag,
            serving=entry.version if entry else None,
            others=others,
            reason=reason,
        )

    def _ungated(self, model: RegisteredModel, role: Role, version: RegisteredVersion, previous: Entry | None) -> str:
        """Why a champion that nobody promoted with hotgate lacks the gate's word for its file, if that is required.

        No verdict on bytes, so nothing to remember: the gate's record ends it, or a release of that very file. While
        another version serves, a record that was held against none is no word: the gate takes what has the role for
        the champion, and so finds none beside the version that was moved there.
        """
        sha256 = version.sha256_tag
        if role != "champion" or not self._settings.require_gate or sha256 is None:
            return ""
        decision = matching(model.tags, str(self._selectors[role]), str(version.version))
        if decision and decision.sha256 == sha256:  # promote has asked the gate, or has recorded that it was forced
            return ""
        record = read_record(version.tags)
        if record and (record.outcome, record.sha256) == ("pass", sha256) and (record.champion or previous is None):
            return ""
        key = (model.name, version.version)
        if key in self._released:
            self._waived.add((*key, sha256))
        if (*key, sha256) in self._waived:
            return ""
        which = f"{model.name} {version.version}"
        return (
            f"promoted by hand without a passed gate for {sha256[:12]} ([sync] require_gate):"
            f" `hotgate rollback {model.name}`, then `hotgate gate {which}` and `hotgate promote {which}`;"
            f" or serve it as it is with `hotgate release {which}`"
        )

    def _waiting_for(self, name: str, version: RegisteredVersion) -> str:
        attempt = self._attempts.get((name, version.version))
        if attempt:
            return attempt.reason
        if version.sha256_tag is None:
            return f"tag hotgate.sha256 is missing, waiting up to {self._settings.tag_wait_s:g} s for it"
        return "to be fetched and verified"

    def _due(self, name: str, version: RegisteredVersion, state: State) -> bool:
        """Whether a version is to be fetched in this pass."""
        key, now = (name, version.version), self._clock()
        attempt = self._attempts.get(key)
        if version.status != "READY" or (attempt and now < attempt.not_before):
            return False
        if state == "quarantined":
            return now - self._judged.setdefault(key, now) >= RECHECK_S
        if state != "pending":
            return False
        if version.sha256_tag is not None:
            self._untagged.pop(key, None)
            return True
        return now - self._untagged.setdefault(key, now) >= self._settings.tag_wait_s

    def _cause(self, model: RegisteredModel, selector: Selector, entry: Entry | None) -> Cause:
        if entry is None:
            return Cause(reason=f"{selector} names no version")
        decision = matching(model.tags, str(selector), entry.version)
        if decision is None:
            return Cause(reason=f"{selector} names version {entry.version}")
        return Cause(reason=decision.why, who=decision.who)


def refusal(version: RegisteredVersion, sha256: str) -> str | None:
    """Why complete bytes with that hash are not what a version promises, or None."""
    tag = version.sha256_tag
    if tag is None:
        return f"it has no tag hotgate.sha256, its model file has {sha256}: register it with hotgate"
    if tag != sha256:
        return f"its tag hotgate.sha256 says {tag}, its model file has {sha256}"
    return None


def _unnamed(selector: Selector, keep: Entry | None) -> RoleState:
    if keep is None:
        return RoleState(state="empty", reason=f"{selector} names no version")
    return RoleState(
        state="orphaned",
        serving=keep.version,
        reason=f"{selector} names no version, the last good one goes on; `hotgate unpublish` takes it away",
    )
