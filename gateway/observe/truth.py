"""Joins what came true with what was predicted, whichever comes first; each label once, whatever dies in between.

What becomes of a label, by (request id, row):

    waiting      nothing was predicted under it yet; so for an hour, since predictions are handed over seconds late
    joined       one prediction has it
    ambiguous    two predictions have the same request id: left out, for nobody knows which one it is of
    unusable     it is no class of the model that answered, or no number where that answers with one
    expired      its prediction is older than what is kept
    unknown      nothing was predicted under it for an hour; joined if that comes after all

and without being kept: `duplicate` (the same label again), `contradictory` (another one, which takes its place),
`not_sampled` (the prediction log leaves that request out), `dropped` (the oldest labels, beyond those that are kept).
"""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from gateway.observe.labels import in_groups, labels_in
from gateway.observe.truth_store import EPOCH_S, SEGMENT_ROWS, TruthStore, keys_of
from gateway.predictions import is_sampled
from gateway.spool import closed_files
from monitoring.performance.estimate import count_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from gateway.feedback import Given, Label
    from gateway.observe.error_streams import ErrorStreams
    from gateway.observe.scored import Scored
    from gateway.observe.truth_store import Keys
    from monitoring import Counts

__all__ = ["STATES", "Truth"]

STATES: Final = ("waiting", "joined", "ambiguous", "unusable", "expired", "unknown")
_ALONE: Final = frozenset({"waiting", "unknown"})
"""States of labels without a prediction."""
WAIT_S: Final = 3600.0
"""How long a label waits for its prediction before it is of an unknown request."""


class Truth:
    """Labels and predictions; for the one process that joins them.

    Args:
        folder: `monitor/`.
        keep_rows: most predictions, and most labels, that are kept; 8 bytes of memory for twice as many.
        keep_s: age at which predictions are forgotten, in seconds.
        sampled: share of requests that the prediction log holds, 0 to 1.
        streams: is told of every error.
        clock: wall time.

    Raises:
        sqlite3.Error: the file is damaged, or there is no room.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep_rows: int,
        keep_s: float,
        sampled: float,
        streams: ErrorStreams,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = TruthStore(folder / "truth.sqlite", min(SEGMENT_ROWS, keep_rows // 8))
        self._spool = folder / "spool" / "feedback"
        self._keep_rows = keep_rows
        self._keep_s = keep_s
        self._sampled = sampled
        self._streams = streams
        self._clock = clock
        ((place,),) = self.store.ask("SELECT max(place) FROM labels")
        self._place = 0 if place is None else place
        self.touched: set[int] = set(self.store.versions)
        """Versions about which something is new; whoever reports on them takes them out."""

    def close(self) -> None:
        """Close the file."""
        self.store.close()

    def predictions(self, source: str, batches: Iterable[Scored]) -> None:
        """Take in what one spool file holds, all of it or nothing; a file that was taken in before changes nothing.

        Args:
            source: the file's name, which no other one has ever had. It may be removed from here on.
            batches: in the order of time.

        Raises:
            sqlite3.Error: nothing was taken in; it is to be tried again.
        """
        with self._all_or_nothing():
            if self.store.consume(source, self._clock()):
                by_version: dict[int, list[Scored]] = {}
                for batch in batches:
                    by_version.setdefault(self.store.version_id(batch.version), []).append(batch)
                for version, found in by_version.items():
                    self._predicted(version, found)
                self.store.forget(self._keep_rows, self._clock() - self._keep_s)

    def look(self) -> None:
        """Take in the labels that have come, and give up on those that have waited for too long.

        Raises:
            OSError: a spool file cannot be read or removed.
            sqlite3.Error: there is no room; what was not taken in is tried again.
        """
        for paths in in_groups(closed_files(self._spool, self._clock)):
            with self._all_or_nothing():
                fresh = [path for path in paths if self.store.consume(path.name, self._clock())]
                # Of several workers: in the order in which labels came, not file by file.
                self._given(sorted(itertools.chain.from_iterable(map(labels_in, fresh)), key=lambda one: one[0]))
            for path in paths:
                path.unlink()
        with self._all_or_nothing():
            self.store.ask(
                "UPDATE labels SET state = 'unknown' WHERE state = 'waiting' AND received < ?", self._clock() - WAIT_S
            )
            self._drop_oldest()

    def feedback(self) -> dict[str, int]:
        """How many labels there are in each state, and how many left none."""
        states = dict(self.store.ask("SELECT state, count(*) FROM labels GROUP BY state"))
        tallies = dict(self.store.ask("SELECT name, n FROM tallies"))
        names = (*STATES, "duplicate", "contradictory", "not_sampled", "dropped")
        return {name: states.get(name, 0) + tallies.get(name, 0) for name in names}

    @contextlib.contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """In the file, and of what is in memory of it."""
        place = self._place
        try:
            with self.store.transaction():
                yield
        except BaseException:
            self._place = place
            self._streams.forget()
            raise

    def _predicted(self, version: int, batches: list[Scored]) -> None:
        answers = np.concatenate([batch.answers for batch in batches])
        keys = np.concatenate([keys_of(batch.request_ids, np.asarray(batch.rows)) for batch in batches])
        times = np.repeat([batch.time for batch in batches], [len(batch.request_ids) for batch in batches])
        finite = np.isfinite(answers).all(axis=1)  # else the caller had no answer
        keys, times, answers = keys[finite], times[finite], answers[finite]
        if not keys.size:
            return
        self.store.add_segment(version, keys, times, answers)
        epochs = (times // EPOCH_S * EPOCH_S).astype(np.int64)
        count = count_scores if self.store.versions[version].judged == "probabilities" else _count_rows
        for epoch in np.unique(epochs).tolist():
            self.store.add_scores(version, epoch, count(answers[epochs == epoch]))
        self.touched.add(version)
        self._meet(keys)

    def _meet(self, keys: Keys) -> None:
        """Find the labels that are there already for new predictions."""
        marks = msgspec.json.encode(keys.tolist()).decode()
        found = self.store.ask(
            "SELECT key, label, state, version FROM labels WHERE key IN (SELECT value FROM json_each(?))", marks
        )
        self._join([(key, label) for key, label, state, _ in found if state in _ALONE])
        twice = [(key, version) for key, _, state, version in found if state not in _ALONE]
        self.store.tell("UPDATE labels SET state = 'ambiguous' WHERE key = ?", [(key,) for key, _ in twice])
        self.touched.update(version for _, version in twice if version is not None)

    def _given(self, given: list[tuple[float, Given]]) -> None:
        """Take in labels, each with the time at which it came, in that order."""
        kept = [one for one in given if is_sampled(one[1].request_id, self._sampled)]
        self.store.tally("not_sampled", len(given) - len(kept))
        rows = np.array([one.row for _, one in kept], dtype=np.int64)
        keys = keys_of([one.request_id for _, one in kept], rows).tolist()
        marks = msgspec.json.encode(keys).decode()
        question = "SELECT key, label, received FROM labels WHERE key IN (SELECT value FROM json_each(?))"
        stored = {key: (label, at) for key, label, at in self.store.ask(question, marks)}
        known = dict(stored)
        for key, (received, one) in zip(keys, kept, strict=True):
            label = msgspec.json.encode(one.label).decode()
            before, at = known.get(key, (label, received))
            if key in known:
                self.store.tally("duplicate" if label == before else "contradictory", 1)
            # A file may come late: the label that was received last is the one.
            known[key] = (label if received >= at else before), max(received, at)
        fresh = {key: one for key, (_, one) in zip(keys, kept, strict=True) if key not in stored}
        self.store.tell(
            "INSERT INTO labels (key, request_id, row, label, received, state) VALUES (?, ?, ?, ?, ?, 'waiting')",
            [(key, one.request_id, one.row, *known[key]) for key, one in fresh.items()],
        )
        self._join([(key, known[key][0]) for key in fresh])
        self.store.tell("UPDATE labels SET received = ? WHERE key = ?", [(known[key][1], key) for key in stored])
        self._correct({key: known[key][0] for key, (label, _) in stored.items() if label != known[key][0]})

    def _correct(self, changed: dict[int, str]) -> None:
        """Let labels take the place of those that came before."""
        for key, label in changed.items():
            ((version, state),) = self.store.ask("SELECT version, state FROM labels WHERE key = ?", key)
            truth = None
            if state in {"joined", "unusable"}:
                truth = self.store.versions[version].truth_of(_decoded(label))
                state = "unusable" if truth is None else "joined"
                self.touched.add(version)
            self.store.tell(
                "UPDATE labels SET label = ?, state = ?, truth = ? WHERE key = ?", [(label, state, truth, key)]
            )

    def _join(self, labels: list[tuple[int, str]]) -> None:
        """Look for the predictions of labels that have none, and note what is found."""
        if not labels:
            return
        keys = np.array([key for key, _ in labels], dtype=np.int64)
        hits, segment, place = self._find(keys)
        states = np.where(hits > 1, "ambiguous", np.where(segment >= 0, "joined", "expired"))
        self.store.tell(
            "UPDATE labels SET state = ? WHERE key = ?",
            [(str(states[at]), labels[at][0]) for at in np.flatnonzero((hits > 0) & (states != "joined"))],
        )
        joined = []
        for number in np.unique(segment[(hits == 1) & (segment >= 0)]).tolist():
            found = self.store.segments[number]
            times, answers = self.store.content(number, found.keys.size)
            for at in np.flatnonzero((segment == number) & (hits == 1)).tolist():
                row = place[at]
                joined.append((float(times[row]), found.version, answers[row], *labels[at]))
        self._note(sorted(joined, key=lambda one: one[0]))

    def _find(self, keys: Keys) -> tuple[Keys, Keys, Keys]:
        """How many predictions each key has, in which live segment one of them is (else -1), and where."""
        hits, segment, place = np.zeros_like(keys), np.full_like(keys, -1), np.zeros_like(keys)
        for number, known in self.store.segments.items():
            low = np.searchsorted(known.keys, keys)
            found = np.searchsorted(known.keys, keys, side="right") - low
            hits += found
            if known.live:
                segment[found > 0], place[found > 0] = number, low[found > 0]
        return hits, segment, place

    def _note(self, joined: list[tuple[float, int, Any, int, str]]) -> None:
        """Note what was joined, in the order of prediction, and whether it was wrong."""
        rows: list[tuple[Any, ...]] = []
        errors = []
        for predicted, version, answer, key, label in joined:
            truth = self.store.versions[version].truth_of(_decoded(label))
            if truth is None:
                rows.append(("unusable", version, predicted, answer.tobytes(), None, None, None, key))
                continue
            self._place += 1
            wrong = self.store.versions[version].is_wrong(answer, truth)
            if wrong is not None:
                errors.append((version, self._place, predicted, wrong))
            rows.append(("joined", version, predicted, answer.tobytes(), truth, self._place, wrong, key))
        self.touched.update(row[1] for row in rows)
        self.store.tell(
            "UPDATE labels SET state = ?, version = ?, predicted = ?, answer = ?, truth = ?, place = ?,"
            " wrong = ? WHERE key = ?",
            rows,
        )
        for error in errors:
            self._streams.add(self.store, *error)

    def _drop_oldest(self) -> None:
        ((labels,),) = self.store.ask("SELECT count(*) FROM labels")
        if labels > self._keep_rows:
            self.store.tally("dropped", labels - self._keep_rows)
            self.store.ask(
                "DELETE FROM labels WHERE key IN (SELECT key FROM labels ORDER BY received LIMIT ?)",
                labels - self._keep_rows,
            )


def _count_rows(answers: NDArray[np.float32]) -> Counts:
    return np.array([len(answers)], dtype=np.int64)


def _decoded(label: str) -> Label:
    found: Label = msgspec.json.decode(label)
    return found
