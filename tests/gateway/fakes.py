"""Stand-ins at the batcher's boundaries, a model that may be held or fail and an observer that remembers; a clock."""

from __future__ import annotations

import threading

import numpy as np

from converters.modelfile import Column, Signature, Target
from gateway.engine import CostModel


class Clock:
    """Stands still until a test moves it."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        """The time, in seconds."""
        return self.now


class FakeMetadata:
    """Only what the batcher reads."""

    def __init__(self, width, missing="refused"):
        self.signature = Signature(
            columns=tuple(Column(name=f"c{index}", missing=missing == "accepted") for index in range(width)),
            input_name="X",
            targets=(Target(classes=(0, 1), labels=("no", "yes"), width=2),),
            score_output="probabilities",
        )


class FakeEngine:
    """Answers [1 - x, x] for a row that begins with x; raises for rows that begin with a poisoned value."""

    def __init__(self, width=2, *, max_rows=8, run_us=1.0, missing="refused"):
        self.metadata = FakeMetadata(width, missing)
        self.cost = CostModel(max_rows)
        self.cost.observe(max_rows, run_us, rate=1.0)
        self.cost.observe = lambda *_: None
        self.poisoned = set()
        self.nonfinite = set()
        self.batches = []
        self.started = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def run(self, rows, texts=None):
        """Score rows, once `may_go_on` is set."""
        firsts = rows[:, 0].tolist()
        self.batches.append(firsts)
        self.started.set()
        self.may_go_on.wait(10)
        if self.poisoned.intersection(firsts):
            raise RuntimeError("poisoned")
        answers = np.column_stack([1 - rows[:, 0], rows[:, 0]]).astype(np.float32)
        answers[np.isin(rows[:, 0], list(self.nonfinite))] = np.nan
        return answers

    def bind(self, rows, texts=None):
        """The same on a buffer."""
        return lambda count: self.run(rows[:count])


class Remembering:
    """A `BatchObserver`; copies rows, because they are only valid during the call."""

    def __init__(self):
        self.rows = []
        self.texts = []
        self.origins = []
        self.failures = 0
        self.closed_by = []
        self.refusals = []

    def ran(self, rows, scores, members, *, texts, took_s, waited_s, closed_by):
        """Keep a copy."""
        assert len(rows) == len(scores) == sum(member.count for member in members)
        self.origins.extend(member.origin for member in members)
        self.rows.extend(rows.copy().tolist())
        self.texts.extend([] if texts is None else texts.tolist())
        self.closed_by.append(closed_by)

    def failed(self, rows):
        """Count."""
        self.failures += rows

    def refused(self, reason):
        """Remember."""
        self.refusals.append(reason)
