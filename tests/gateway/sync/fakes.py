"""Stand-ins at the sidecar's walls: a registry in memory, a verifier by content, a clock by hand."""
# ruff: noqa: D101 - fakes mean what the Protocol means

from __future__ import annotations

import hashlib

import msgspec

from gateway.store import ModelStore
from gateway.sync.base import (
    SHA256_TAG,
    MissingModelFileError,
    RegisteredModel,
    RegisteredVersion,
    RegistryError,
    RegistryUnavailableError,
)
from gateway.sync.settings import SyncSettings
from gateway.sync.sidecar import Sidecar

NAME = "cancer-classifier"


def sha(data):
    return hashlib.sha256(data).hexdigest()


class Clock:
    def __init__(self, now=1_800_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


class FakeRegistry:
    """Versions in a dict; `down`, `failing` and `read_only` make it misbehave."""

    def __init__(self):
        self.models = {}
        self.files = {}
        self.down = ""
        self.failing = {}
        self.read_only = False
        self.downloads = []
        self.tags_set = []
        self.connects = 0

    def connect(self):
        self.connects += 1
        return self

    def add(self, data, *, stage="None", aliases=(), tag=True, status="READY", name=NAME, number=None):
        versions = self.models.setdefault(name, {}), self.models[name]
        number = number or max(versions[1], default=0) + 1
        tags = {SHA256_TAG: sha(data or b"")} if tag is True else {SHA256_TAG: tag} if tag else {}
        self.models[name][number] = RegisteredVersion(
            version=number, stage=stage, aliases=tuple(aliases), status=status, tags=tags
        )
        self.files[name, number] = data
        return number

    def change(self, number, *, name=NAME, **fields):
        self.models[name][number] = msgspec.structs.replace(self.models[name][number], **fields)

    def promote(self, number, *, name=NAME, stage="Production"):
        for other, version in self.models[name].items():
            if version.stage == stage:
                self.change(other, name=name, stage="Archived")
        self.change(number, name=name, stage=stage)

    def names(self):
        self._answer()
        return sorted(self.models)

    def model(self, name):
        self._answer()
        if name in self.failing:
            raise self.failing[name]
        versions = self.models.get(name, {})
        tags = getattr(self, "model_tags", {})
        return RegisteredModel(name=name, versions=tuple(versions[number] for number in sorted(versions)), tags=tags)

    def download(self, name, version, target, *, limit_bytes):
        self._answer()
        self.downloads.append(version)
        data = self.files[name, version]
        if data is None:
            raise MissingModelFileError(name, version)
        if isinstance(data, Exception):
            target.write_bytes(b"half")
            raise data
        target.write_bytes(data)

    def set_version_tag(self, name, version, key, value):
        self._answer()
        if self.read_only:
            raise RegistryError("403")
        self.tags_set.append((version, key, value))

    def close(self):
        pass

    def _answer(self):
        if self.down:
            raise RegistryUnavailableError(self.down)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    ok: bool
    sha256: str
    reason: str = ""
    deterministic: bool = True


class FakeVerifier:
    """Bad are bytes that say so: `bad` forever, `busy` as long as it is."""

    def __init__(self):
        self.busy = False
        self.seen = []

    def __call__(self, path):
        data = path.read_bytes()
        self.seen.append(data)
        if self.busy:
            return Verdict(ok=False, sha256="", reason="no memory", deterministic=False)
        if b"bad" in data:
            return Verdict(ok=False, sha256=sha(data), reason="golden row 3 is off by 0.2")
        return Verdict(ok=True, sha256=sha(data))


class World:
    """A sidecar among fakes, over a real store folder."""

    def __init__(self, root, writer_of, **settings):
        self.wall, self.clock = Clock(), Clock(1000.0)
        self.store = ModelStore(root, self.wall)
        self.registry, self.verify = FakeRegistry(), FakeVerifier()
        self.settings = SyncSettings(**settings)
        self.writer = writer_of(self.store)
        self.restart()

    def restart(self):
        """A new process over the same folder."""
        self.sidecar = Sidecar(
            self.store,
            self.writer,
            self.settings,
            connect=self.registry.connect,
            verify=self.verify,
            clock=self.clock,
        )

    def step(self, seconds=1.0):
        """Let time pass, then one pass."""
        self.clock.now += seconds
        self.wall.now += seconds
        return self.sidecar.run_once()

    def serving(self, name=NAME):
        """The champion's version, or None."""
        roles = self.store.read().models.get(name)
        return roles.champion.version if roles and roles.champion else None

    def state(self, name=NAME, role="champion"):
        return self.sidecar.run_once().models[name][role]
