"""Hand-over from the workers to the observer: framed, append-only files, each of one process, bounded in bytes.

    <folder>/<start>-<id>-<number>.spool    locked while its process appends to it; whoever consumes it then removes it

A frame is a magic word, the length and the CRC-32 of what follows, and that. A file appears under its name by a rename,
already locked, so one whose lock is free is closed: nothing will be added to it, however its process ended. Names are
never used twice. Nothing is synced: a process that is killed loses nothing that was appended, a machine may.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import struct
import threading
import time
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Spool", "closed_files", "read_spool"]

_log = logging.getLogger("hotgate.spool")

_MAGIC: Final = b"hgs1"
_HEADER: Final = struct.Struct("<4sII")
_SUFFIX: Final = ".spool"
_LOOK_S: Final = 1.0
"""How old a process's knowledge may be of what the whole folder takes."""
_STALE_S: Final = 3600.0
"""Age from which on an unfinished file is nobody's: making one takes milliseconds."""


class Spool:
    """One process's end of a folder. Threads may share it; an append takes one write.

    Args:
        folder: made if it is not there; other processes may have a spool on it too.
        limit_bytes: what all files of the folder may take; others' growth is seen within a second.
        rotate_s: age at which a file is closed; `rotate` has to be called now and then for that.
        rotate_bytes: size from which on a file is closed.
        clock: wall time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        limit_bytes: int,
        rotate_s: float,
        rotate_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._rotate_s = rotate_s
        self._rotate_bytes = rotate_bytes
        self._clock = clock
        self._id = secrets.token_hex(8)
        # All of it under the lock.
        self._lock = threading.Lock()
        self._file: int | None = None
        self._size = 0
        self._number = 0
        self._opened_at = 0.0
        self._folder_bytes = 0
        self._looked_at = float("-inf")
        self._told = False

    def __repr__(self) -> str:
        """For operators: where, and how much is in the current file."""
        return f"Spool({self._folder.name!r}, number={self._number}, size={self._size})"

    def append(self, *parts: bytes | memoryview) -> bool:
        """Append one frame, whole or not at all.

        Args:
            parts: written behind each other; a view must be contiguous.

        Returns:
            False if the folder is full or the disk refuses, which is logged once: the caller counts what is lost.
        """
        length = crc = 0
        for part in parts:
            length += memoryview(part).nbytes
            crc = zlib.crc32(part, crc)
        frame = [_HEADER.pack(_MAGIC, length, crc), *parts]
        with self._lock:
            try:
                self._write(frame, _HEADER.size + length)
            except OSError as error:
                if not self._told:
                    _log.error("%s takes nothing more, what comes is dropped: %s", self._folder, error)
                self._told = True
                return False
            if self._told:
                _log.info("%s takes again what comes", self._folder)
            self._told = False
            return True

    def rotate(self) -> None:
        """Close a file that is old enough; called now and then, also while nothing is appended.

        Does not wait for an append on a slow disk: an event loop may call it, and another call will come.
        """
        if self._lock.acquire(blocking=False):
            try:
                self._rotate()
            finally:
                self._lock.release()

    def close(self) -> None:
        """Let the current file go to whoever consumes it; another append begins a new one."""
        with self._lock:
            self._close()

    def _write(self, frame: list[bytes | memoryview], size: int) -> None:
        if self._room() < size:
            raise OSError(f"its files take {self._limit_bytes} bytes, which is all that they may")
        self._rotate()
        file = self._file if self._file is not None else self._open()
        try:
            written = os.writev(file, frame)
        except OSError:
            self._take_back(file)
            raise
        if written != size:
            self._take_back(file)
            raise OSError(f"only {written} of {size} bytes could be written")
        self._size += size
        self._folder_bytes += size

    def _take_back(self, file: int) -> None:
        try:
            os.ftruncate(file, self._size)
        except OSError:
            self._close()  # half a frame may only be a file's last

    def _rotate(self) -> None:
        age = self._clock() - self._opened_at
        if self._file is not None and (not 0 <= age < self._rotate_s or self._size >= self._rotate_bytes):
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self._size = 0

    def _open(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._opened_at = self._clock()
        self._number += 1
        path = self._folder / f"{int(self._opened_at):012d}-{self._id}-{self._number:06d}{_SUFFIX}"
        fresh = path.with_name(f"{path.name}.new")
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fresh.rename(path)
        except BaseException:
            os.close(file)
            fresh.unlink(missing_ok=True)
            raise
        self._file = file
        return file

    def _room(self) -> int:
        now = self._clock()
        if not 0 <= now - self._looked_at < _LOOK_S:
            self._folder_bytes = _bytes_in(self._folder)
            self._looked_at = now
        return self._limit_bytes - self._folder_bytes


def _bytes_in(folder: Path) -> int:
    total = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # consumed meanwhile
                total += entry.stat(follow_symlinks=False).st_size
    return total


def closed_files(folder: Path, clock: Callable[[], float] = time.time) -> list[Path]:
    """Files that nobody appends to any more, by the time of their beginning; none if there is no folder.

    For the one process that consumes them, which removes each once what it made of it is on disk; what it made has to
    name the file, so that a crash in between consumes nothing twice. Half-made files are removed here.
    """
    closed = []
    for path in sorted(folder.glob("*")):
        with contextlib.suppress(FileNotFoundError):
            if path.name.endswith(".new") and clock() - path.stat().st_mtime >= _STALE_S:
                path.unlink()
            elif path.suffix == _SUFFIX and _is_free(path):
                closed.append(path)
    return closed


def _is_free(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def read_spool(path: Path) -> list[bytes]:
    """The frames of a closed file, in the order of their appending.

    A frame that the file's end cuts off, as a kill within a write leaves it, is left out, and so is all behind one that
    is damaged; both are logged. A damaged file stays in the folder under a second name, with `.bad` at its end.

    Raises:
        FileNotFoundError: it is gone.
    """
    data = memoryview(path.read_bytes())
    frames: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + _HEADER.size
        if start > len(data):
            _log.warning("%s ends within a frame, whose %d bytes are left out", path, len(data) - at)
            break
        magic, length, crc = _HEADER.unpack_from(data, at)
        frame = data[start : start + length]
        if magic == _MAGIC and len(frame) < length:
            _log.warning("%s ends within a frame, whose %d bytes are left out", path, len(data) - at)
            break
        if magic != _MAGIC or zlib.crc32(frame) != crc:
            _put_aside(path, at, len(data))
            break
        frames.append(bytes(frame))
        at = start + length
    return frames


def _put_aside(path: Path, at: int, size: int) -> None:
    """A second name, because the first is removed once the frames before the damage are consumed."""
    _log.error("%s is damaged at byte %d of %d: the rest is left out; see %s.bad", path, at, size, path.name)
    with contextlib.suppress(OSError):
        os.link(path, path.with_name(f"{path.name}.bad"))
