"""Versions in a real registry as registering leaves them, and the gate over them."""

from __future__ import annotations

import csv
import hashlib
import io
import time
from contextlib import contextmanager

import numpy as np

from benchmarks.gate import Pair
from benchmarks.gate_run import QUICK
from converters import Column, Provenance, build_model_file, verify_file
from deploy.gating.files import MlflowEvidence
from deploy.gating.gate import Gatekeeper
from deploy.gating.settings import GateSettings
from gateway.sync.connect import open_registry
from gateway.sync.resolve import Selector
from training.evidence import HELDOUT, TRAINED, write_trained

NAME = "cancer"
MODEL = "model.hotgate.onnx"
GOOD = {"hotgate.parity": "pass"}


class FakeTrack:
    """Gateways whose p99 is drawn: `ratio` of the candidate's to the champion's, and how far a pair is off."""

    def __init__(self, ratio=1.0, noise=0.01, *, champion_us=400.0, held=True, void="", error=None):
        self.ratio, self.noise, self.champion_us = ratio, noise, champion_us
        self.held, self.void, self.error = held, void, error
        self.rates, self.seeds = [], []

    def maximum(self):
        if self.error:
            raise self.error
        return 10_000.0

    def pair(self, rate_per_s, order, seed):
        self.rates.append(rate_per_s)
        self.seeds.append(seed)
        off = np.random.default_rng(seed).normal(0, self.noise)
        return Pair(
            a=self.champion_us,
            b=self.champion_us * self.ratio * float(np.exp(off)),
            held=self.held,
            void=self.void,
        )


class World:
    """One data set, models of it, and their versions."""

    def __init__(self, admin, folder, rows, classes, columns):
        self.admin, self.folder = admin, folder
        self.rows, self.classes, self.columns = np.asarray(rows, dtype=float), np.asarray(classes), columns
        self.train, self.held = np.arange(0, len(rows), 2), np.arange(1, len(rows), 2)

    def build(self, estimator):
        """A fitted estimator's model file."""
        return build_model_file(
            estimator,
            columns=self.columns,
            labels=["no", "yes"],
            train_rows=self.rows[self.train],
            heldout_rows=self.rows[self.held],
            provenance=Provenance(git_revision=None, data_digest="test", parameters={}, versions={}, seed=0),
        )

    def register(self, data, *, evidence=(HELDOUT, TRAINED), stage=None, tags=GOOD, sha256=None):
        """A version with these bytes; returns its number as text."""
        files = {MODEL: data} | {name: self._evidence()[name] for name in evidence}
        tags = {"hotgate.sha256": sha256 or hashlib.sha256(data).hexdigest(), **tags}
        version = self.admin.register(NAME, files, tags=tags)
        if stage:
            self.admin.stage(NAME, version, stage)
        return str(version)

    def keeper(self, *, track=None, profile=QUICK, clock=time.monotonic, **settings):
        """The gate over the registry, with the real verifier; `track` is a fake one, by default one that is level."""

        @contextmanager
        def opened(folder, candidate, champion, rows, profile):
            yield track or FakeTrack()

        return Gatekeeper(
            registry=open_registry(self.admin.uri, {}),
            evidence=MlflowEvidence(self.admin.uri),
            verify=verify_file,
            settings=GateSettings(draws=200, **settings),
            champion=Selector.parse("stage:Production"),
            scratch=self.folder / "scratch",
            limit_bytes=1 << 30,
            say=lambda _text: None,
            track=None if track == "skipped" else opened,
            profile=profile,
            clock=clock,
        )

    def _evidence(self):
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow([*(column.name for column in self.columns), "target"])
        writer.writerows([*self.rows[row].tolist(), int(self.classes[row])] for row in self.held)
        hashes = write_trained(self.rows[self.train], self.folder / TRAINED).read_bytes()
        return {HELDOUT: out.getvalue().encode(), TRAINED: hashes}


def grouped():
    """1,200 rows of two columns and a group: the second column tells the class, but its opposite in a tenth of rows."""
    rng = np.random.default_rng(3)
    classes, group = rng.integers(0, 2, 1200), rng.random(1200) < 0.1
    sign = np.where(group, -1, 1) * (2 * classes - 1)
    rows = np.column_stack([2 * classes - 1 + rng.normal(0, 2.5, 1200), sign + rng.normal(0, 1.2, 1200), group])
    return rows, classes, [Column(name="x"), Column(name="z"), Column(name="group", kind="category")]


def outcomes(report):
    return {check.name: check.outcome for check in report.checks}


def reason(report, name):
    return next(check.reason for check in report.checks if check.name == name)
