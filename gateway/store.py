"""The model store: the folder through which the sidecar hands verified model files to the workers.

    objects/<sha256>.onnx   immutable model files
    serving.json            the manifest: which object serves which model and role; replaced atomically
    history.jsonl           one line for every change of the manifest
    lock                    held by the one process that may write
    requests/               what other processes ask of that one

Workers only read, so this module imports nothing heavy; what the one writer does is in `gateway.store_writer`. Any
number of readers need no lock: a manifest is complete or absent, and what it names was there before it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.store_writer import StoreWriter

__all__ = [
    "ROLES",
    "Cause",
    "Change",
    "Entry",
    "Manifest",
    "ModelRoles",
    "ModelStore",
    "ObjectError",
    "Request",
    "Role",
    "StoreError",
    "StoreLockedError",
    "committed_size",
    "decode_change",
    "replace_file",
    "sync_folder",
]

Role = Literal["champion", "challenger"]
ROLES: tuple[Role, ...] = ("champion", "challenger")

# Checked while decoding: a name in the manifest becomes part of a path.
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class StoreError(Exception):
    """Root of this module's errors."""


class ObjectError(StoreError):
    """A model file is missing, or its bytes are not those that its name promises."""


class StoreLockedError(StoreError):
    """Another process writes this store; `pid` is its id, 0 if it has not said so yet."""

    def __init__(self, path: Path, pid: int) -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(f"{path} is held by {holder}: a store has one writer, stop that one first")
        self.pid = pid


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A registry version and the SHA-256 of its model file; equal entries need no swap."""

    version: str
    sha256: Sha256


class ModelRoles(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who serves a model and who shadows it."""

    champion: Entry | None = None
    challenger: Entry | None = None
    orphaned: bool = False
    """The champion goes on although the registry no longer names it."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What the workers shall serve; `generation` grows by one with every change."""

    generation: int = 0
    models: dict[str, ModelRoles] = {}


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Why a role changes, and on whose word."""

    reason: str = "changed in the registry"
    who: str = "registry"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the history."""

    time: datetime
    generation: int
    """The manifest that the change came with."""
    model: str
    role: Role
    before: Entry | None = msgspec.field(name="from")
    after: Entry | None = msgspec.field(name="to")
    reason: str
    who: str


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a process without the lock asks of the one that holds it."""

    action: Literal["unpublish", "release"]
    model: str
    version: str | None = None
    who: str = "unknown"


_MANIFEST = msgspec.json.Decoder(Manifest)
_CHANGE = msgspec.json.Decoder(Change)
_ENCODER = msgspec.json.Encoder()


class ModelStore:
    """The readers' view of a store folder; creates nothing until somebody writes.

    Args:
        root: the folder, such as `.hotgate/store`.
        clock: wall clock in seconds, for history and hold times.
    """

    def __init__(self, root: Path, clock: Callable[[], float] = time.time) -> None:
        self.root = root
        self.clock = clock
        self.manifest_path = root / "serving.json"
        self.history_path = root / "history.jsonl"
        self.requests_path = root / "requests"

    def __repr__(self) -> str:
        return f"ModelStore({str(self.root)!r})"

    def object_path(self, sha256: str) -> Path:
        """Where the model file with that hash lies, or would."""
        return self.root / "objects" / f"{sha256}.onnx"

    def stamp(self) -> tuple[int, int, int]:
        """A value that differs after every publish, for one `stat`; all zero while there is no manifest."""
        try:
            found = self.manifest_path.stat()
        except FileNotFoundError:
            return (0, 0, 0)
        return (found.st_mtime_ns, found.st_ino, found.st_size)

    def read(self) -> Manifest:
        """The manifest last published; an empty one, generation 0, if there is none yet.

        Raises:
            StoreError: the file is not a manifest.
        """
        try:
            return _MANIFEST.decode(self.manifest_path.read_bytes())
        except FileNotFoundError:
            return Manifest()
        except msgspec.DecodeError as error:
            raise StoreError(f"{self.manifest_path}: {error}; remove it and the sidecar publishes anew") from error

    def load(self, sha256: str) -> bytes:
        """The bytes of a model file, hashed after they were read, so that what is returned is what was checked.

        Raises:
            ObjectError: there is no such file, or its bytes have another hash.
        """
        path = self.object_path(sha256)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise ObjectError(f"{path} is missing") from None
        got = hashlib.sha256(data).hexdigest()
        if got != sha256:
            raise ObjectError(f"{path}: wanted SHA-256 {sha256}, got {got}")
        return data

    def history(self) -> list[Change]:
        """Every change that took effect, oldest first; lines that a power loss tore are left out."""
        try:
            data = self.history_path.read_bytes()
        except FileNotFoundError:
            return []
        # The manifest is read second: lines written ahead of their manifest do not count until that is there.
        data = data[: committed_size(data, self.read().generation)]
        return [change for line in data.splitlines() if (change := decode_change(line))]

    @contextlib.contextmanager
    def writer(self) -> Iterator[StoreWriter]:
        """Become the store's one writer for the length of the block; the lock dies with the process.

        Raises:
            StoreLockedError: another process is; the message says which.
        """
        from gateway.store_writer import StoreWriter

        (self.root / "objects").mkdir(parents=True, exist_ok=True)
        path = self.root / "lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _lock(descriptor, path)
            yield StoreWriter(self)
        finally:
            os.close(descriptor)

    def unpublish(self, name: str, *, who: str = "unknown", reason: str = "unpublished") -> int | None:
        """Take a model out of the manifest, so that the workers drop it.

        Done at once when nobody holds the lock; else left as a request, which the holder takes up in its next pass, or
        a later one at its start. A model that the registry still names comes back with the sidecar's next pass: take it
        from its stage or alias first. A name that is not served is no error.

        Returns:
            The process that was asked to do it (0 if unknown), or None if it is done.
        """
        try:
            with self.writer() as writer:
                models = self.read().models
                causes = {(name, role): Cause(reason=reason, who=who) for role in ROLES}
                writer.publish({key: roles for key, roles in models.items() if key != name}, causes)
        except StoreLockedError as locked:
            self.ask(Request(action="unpublish", model=name, who=who))
            return locked.pid
        return None

    def ask(self, request: Request) -> None:
        """Leave a request for the writer, complete or not at all."""
        self.requests_path.mkdir(parents=True, exist_ok=True)
        # The time leads the name, so that requests are taken up in the order of their making.
        name = f"{int(self.clock() * 1e6):020d}-{uuid.uuid4().hex}.json"
        replace_file(self.requests_path / name, _ENCODER.encode(request))


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).strip()
        raise StoreLockedError(path, int(holder) if holder.isdigit() else 0) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def decode_change(line: bytes) -> Change | None:
    """One line of the history; None for one that a power loss damaged."""
    try:
        return _CHANGE.decode(line)
    except msgspec.DecodeError:
        return None


def committed_size(history: bytes, generation: int) -> int:
    """How many bytes of the history took effect under a manifest of that generation.

    Not those at its end: a line without its end, and lines of the next generation, which were written ahead of a
    manifest that never came. (Exactly the next: if somebody removed the manifest, its history is not disowned.)
    """
    end = history.rfind(b"\n") + 1
    while end:
        start = history.rfind(b"\n", 0, end - 1) + 1
        change = decode_change(history[start:end])
        if change is None or change.generation != generation + 1:
            break
        end = start
    return end


def replace_file(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Give `path` new content such that a reader sees the old whole or the new whole.

    Args:
        durable: whether that shall hold after a power loss too; costs two fsyncs.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: new ones, and that others are gone.

    Raises:
        OSError: it cannot be done.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
