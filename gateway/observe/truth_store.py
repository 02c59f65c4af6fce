"""`monitor/truth.sqlite`: labels, and what was predicted, packed so that it can be found again by request.

    versions   who answered: model, version, sha256, classes, and what its answers are judged by
    segments   predictions of one version: keys in order, and behind them times and answers; those forgotten have only
               keys left, by which a late label is told from one of nobody's
    scores     counts of all scores of a version, by quarters of an hour
    labels     one a row: what came true, and what was predicted, once both are known
    changes    of error rates; consumed: spool files that are in here; tallies: what is in no table; first: reports

Everything that comes of one spool file is one transaction, which also notes the file's name: whatever kills the
process, each counts once.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np

from gateway.observe.scored import Version

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from monitoring import Counts

__all__ = ["EPOCH_S", "SEGMENT_ROWS", "Keys", "TruthStore", "keys_of", "request_key"]

EPOCH_S: Final = 900
"""Seconds of scores that are counted together."""
SEGMENT_ROWS: Final = 65_536
"""Rows up to which segments are put together."""
_KEEP_NAMES_S: Final = 86_400.0
"""How long the name of a consumed file is known: it is removed right after."""
_SPREAD: Final = 0x9E3779B97F4A7C15
"""2⁶⁴ by the golden ratio: neighbouring rows get far apart keys."""

Keys = np.ndarray[Any, np.dtype[np.int64]]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS versions (
    id INTEGER PRIMARY KEY, model TEXT, version TEXT, sha256 TEXT, classes TEXT, labels TEXT, judged TEXT,
    UNIQUE (model, version, sha256));
CREATE TABLE IF NOT EXISTS segments (
    id INTEGER PRIMARY KEY, version INTEGER, rows INTEGER, until REAL, keys BLOB, content BLOB);
CREATE TABLE IF NOT EXISTS scores (
    version INTEGER, epoch INTEGER, counts BLOB, PRIMARY KEY (version, epoch)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS labels (
    key INTEGER PRIMARY KEY, request_id TEXT, row INTEGER, label TEXT, received REAL, state TEXT, version INTEGER,
    predicted REAL, answer BLOB, truth NUMERIC, place INTEGER, wrong INTEGER);
CREATE INDEX IF NOT EXISTS labels_state ON labels (state, received);
CREATE INDEX IF NOT EXISTS labels_received ON labels (received);
CREATE INDEX IF NOT EXISTS labels_joined ON labels (version, predicted) WHERE state = 'joined';
CREATE INDEX IF NOT EXISTS labels_place ON labels (version, place) WHERE place IS NOT NULL;
CREATE TABLE IF NOT EXISTS changes (version INTEGER, place INTEGER, worse INTEGER, report TEXT);
CREATE TABLE IF NOT EXISTS first (version INTEGER PRIMARY KEY, report TEXT);
CREATE TABLE IF NOT EXISTS consumed (name TEXT PRIMARY KEY, at REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tallies (name TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID;
"""


class Segment(NamedTuple):
    """Predictions of one version."""

    version: int
    keys: Keys
    """[n], in order."""
    until: float
    """When the newest one was made, in Unix time."""
    live: bool
    """Whether more than the keys is still known."""


def request_key(request_id: str) -> int:
    """64 bits that stand for a request id: the first eight bytes of BLAKE2b."""
    return int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=8).digest(), "little")


def keys_of(request_ids: Sequence[str], rows: NDArray[np.integer[Any]]) -> Keys:
    """What stands for each (request id, row): [n]. Two of a million kept ones are the same once in 10⁷ times."""
    hashes = np.empty(len(request_ids), dtype=np.uint64)
    last, found = None, 0
    for at, request_id in enumerate(request_ids):
        if request_id is not last:  # the rows of a request come behind each other
            last, found = request_id, request_key(request_id)
        hashes[at] = found
    with np.errstate(over="ignore"):
        return (hashes + rows.astype(np.uint64) * np.uint64(_SPREAD)).view(np.int64)


class TruthStore:
    """The file; for one process and thread.

    Args:
        path: where it is, or will be.
        segment_rows: up to which segments are put together; they are forgotten as a whole.

    Raises:
        sqlite3.Error: it is damaged, or there is no room.
    """

    def __init__(self, path: Path, segment_rows: int = SEGMENT_ROWS) -> None:
        self._segment_rows = segment_rows
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # a spool file is removed on the word of a commit
        self._db.execute("PRAGMA journal_size_limit = 67108864")
        self._db.executescript(_SCHEMA)
        self._upgrade()
        # What is in the tables too, for speed; read anew whenever a transaction fails.
        self.segments: dict[int, Segment] = {}
        self.versions: dict[int, Version] = {}
        self._reload()

    def __repr__(self) -> str:
        """For operators: how much there is to find labels in."""
        rows = sum(segment.keys.size for segment in self.segments.values())
        return f"TruthStore(versions={len(self.versions)}, segments={len(self.segments)}, keys={rows})"

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def ask(self, question: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows that answer a SELECT, or nothing of another statement."""
        return self._db.execute(question, values).fetchall()

    def tell(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Execute a statement for each row."""
        self._db.executemany(statement, rows)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what is done within."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk ends it by itself
                self._db.execute("ROLLBACK")
            self._reload()
            raise

    def consume(self, name: str, now: float) -> bool:
        """Note within a transaction that a file is taken in; False if it was before."""
        self.ask("DELETE FROM consumed WHERE at < ?", now - _KEEP_NAMES_S)
        if self.ask("SELECT 1 FROM consumed WHERE name = ?", name):
            return False
        self.tell("INSERT INTO consumed VALUES (?, ?)", [(name, now)])
        return True

    def tally(self, name: str, n: int) -> None:
        """Count what leaves no other trace."""
        if n:
            self.tell("INSERT INTO tallies VALUES (?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n", [(name, n)])

    def version_id(self, version: Version) -> int:
        """The number that stands for a version in all tables."""
        for number, known in self.versions.items():
            if known == version:
                return number
        known_as = version.model, version.version, version.sha256
        row = (*known_as, *map(_text, (version.classes, version.labels)), version.judged)
        self.tell(
            "INSERT INTO versions (model, version, sha256, classes, labels, judged) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET classes = excluded.classes, labels = excluded.labels",
            [row],
        )
        ((number,),) = self.ask("SELECT id FROM versions WHERE (model, version, sha256) = (?, ?, ?)", *known_as)
        self.versions[number] = version
        return int(number)

    def add_segment(self, version: int, keys: Keys, times: NDArray[Any], answers: NDArray[np.float32]) -> None:
        """Keep predictions, together with the newest ones of that version while those are not many more."""
        newest = self.ask(
            "SELECT id, rows FROM segments WHERE version = ? AND content IS NOT NULL ORDER BY id DESC LIMIT 1", version
        )
        if newest and newest[0][1] < 2 * keys.size and newest[0][1] + keys.size <= self._segment_rows:
            number = newest[0][0]
            before = self.segments.pop(number).keys
            old_times, old_answers = self.content(number, before.size)
            self.ask("DELETE FROM segments WHERE id = ?", number)
            self.add_segment(
                version,
                np.concatenate([before, keys]),
                np.concatenate([old_times, times]),
                np.concatenate([old_answers, answers]),
            )
            return
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        content = times[order].astype("<f8").tobytes() + answers[order].astype("<f4").tobytes()
        until = float(times.max())
        row = (version, keys.size, until, keys.astype("<i8").tobytes(), content)
        self.tell("INSERT INTO segments (version, rows, until, keys, content) VALUES (?, ?, ?, ?, ?)", [row])
        ((number,),) = self.ask("SELECT last_insert_rowid()")
        self.segments[number] = Segment(version, keys, until, live=True)

    def content(self, segment: int, rows: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Times [rows] and answers [rows, as `Scored` has them] of a live segment, in the order of its keys."""
        ((content,),) = self.ask("SELECT content FROM segments WHERE id = ?", segment)
        times = np.frombuffer(content, dtype="<f8", count=rows)
        return times, np.frombuffer(content, dtype="<f4", offset=8 * rows).reshape(rows, -1)

    def forget(self, keep_rows: int, since: float) -> None:
        """Forget the oldest predictions beyond `keep_rows`, or before `since`; keys are kept for as many rows again."""
        rows = 0
        for number, segment in sorted(self.segments.items(), reverse=True):
            rows += segment.keys.size
            if rows > 2 * keep_rows:
                self.ask("DELETE FROM segments WHERE id = ?", number)
                del self.segments[number]
            elif segment.live and (rows > keep_rows or segment.until < since):
                self.ask("UPDATE segments SET content = NULL WHERE id = ?", number)
                self.segments[number] = segment._replace(live=False)
        self.ask("DELETE FROM scores WHERE epoch < ?", int(since))

    def add_scores(self, version: int, epoch: int, counts: Counts) -> None:
        """Add to the scores of a quarter of an hour."""
        before = self.scores(version, epoch, epoch)
        packed = zlib.compress((before + counts).astype("<i8").tobytes(), 1)
        self.tell("INSERT OR REPLACE INTO scores VALUES (?, ?, ?)", [(version, epoch, packed)])

    def scores(self, version: int, since: float, until: float = np.inf) -> Counts:
        """What was counted of scores in the epochs that begin in [since, until]: `count_scores`, or how many."""
        total = np.zeros(self.versions[version].cells, dtype=np.int64)
        found = self.ask("SELECT counts FROM scores WHERE version = ? AND epoch BETWEEN ? AND ?", version, since, until)
        for (packed,) in found:
            total += np.frombuffer(zlib.decompress(packed), dtype="<i8").reshape(total.shape)
        return total

    def _upgrade(self) -> None:
        """Bring a file to this form that was made when there were only classes with probabilities."""
        if "judged" in {name for _, name, *_ in self.ask("PRAGMA table_info(versions)")}:
            return
        self._db.executescript(
            "BEGIN IMMEDIATE;"
            "ALTER TABLE labels RENAME COLUMN probabilities TO answer;"
            "ALTER TABLE versions ADD COLUMN judged TEXT DEFAULT 'probabilities';"
            "COMMIT;"
        )

    def _reload(self) -> None:
        self.versions = {
            number: Version(
                model=model,
                version=version,
                sha256=sha256,
                classes=msgspec.json.decode(classes, type=tuple[bool | int | float | str, ...]),
                labels=msgspec.json.decode(labels, type=tuple[str, ...]),
                judged=judged,
            )
            for number, model, version, sha256, classes, labels, judged in self.ask("SELECT * FROM versions")
        }
        self.segments = {
            number: Segment(version, np.frombuffer(keys, dtype="<i8"), until, live=bool(live))
            for number, version, keys, until, live in self.ask(
                "SELECT id, version, keys, until, content IS NOT NULL FROM segments"
            )
        }


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
