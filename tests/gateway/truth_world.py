"""A home with feedback and predictions, without a server: what tests of the join share."""

from __future__ import annotations

import itertools

import numpy as np

from gateway.feedback import FeedbackLog, Given
from gateway.observe.error_streams import ErrorStreams
from gateway.observe.scored import Scored, Version
from gateway.observe.truth import Truth

NOW = 1_800_000_000.0
CLASSES = (0, 1)
VERSION = Version(model="cancer", version="1", sha256="a" * 64, classes=CLASSES, labels=("malignant", "benign"))


class World:
    """One home's labels and predictions, at a time that tests set."""

    def __init__(self, folder, *, keep_rows=1_000_000, sampled=1.0, detectors=dict):
        self.folder = folder
        self.now = NOW
        self.streams = ErrorStreams(detectors)
        self.options = {"keep_rows": keep_rows, "keep_s": 30 * 86_400.0, "sampled": sampled, "clock": self.clock}
        self.truth = Truth(folder, streams=self.streams, **self.options)
        self.sources = map(str, itertools.count())

    def clock(self):
        return self.now

    def restart(self):
        """Another process on the same folder."""
        self.truth.close()
        self.streams.forget()
        self.truth = Truth(self.folder, streams=self.streams, **self.options)

    def predict(self, ids, p=0.9, *, rows=None, version=VERSION, at=None, source=None):
        """Predictions of class 1 with probability `p`, as they come from one spool file."""
        p = np.broadcast_to(np.asarray(p, dtype=np.float32), len(ids))
        rows = np.zeros(len(ids), dtype=np.int32) if rows is None else np.asarray(rows)
        batch = Scored(version, self.now if at is None else at, ids, rows, np.column_stack([1 - p, p]))
        self.truth.predictions(next(self.sources) if source is None else source, [batch])

    def tell(self, *labels, look=True):
        """Labels as (request id, label) or (request id, row, label)."""
        log = FeedbackLog(self.folder / "spool" / "feedback", self.clock)
        log.keep([Given(one[0], one[1] if len(one) == 3 else 0, one[-1]) for one in labels])
        log.close()
        if look:
            self.truth.look()

    @property
    def feedback(self):
        """By what became of them; those that are 0 left out."""
        return {name: n for name, n in self.truth.feedback().items() if n}

    def joined(self):
        """(request id, row, class) of all that are joined."""
        return sorted(
            self.truth.store.ask("SELECT request_id, row, truth FROM labels WHERE state = 'joined' ORDER BY 1, 2")
        )
