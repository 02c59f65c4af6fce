"""Alarms about the server itself: what lies on disk, when it is trouble, and what to do about it."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from types import SimpleNamespace

import msgspec
import pytest
from alarm_world import BEGIN

from gateway.counts import ModelCounts, Served
from gateway.losses import FRESH_S, Losses, read_losses
from gateway.observe.ops import DROP_S, FAILING_S, FREE_BYTES, STALE_S, UNREACHABLE_S, Operations
from gateway.observe.process import Observer
from gateway.observe.settings import MonitorSettings
from gateway.sync.status import RegistryState, RoleState, SyncStatus

SHA256 = "a" * 64


class Home:
    """A home whose files a test writes, and what is said of them."""

    def __init__(self, folder):
        self.monitor, self.store = folder / "monitor", folder / "store"
        for path in (self.monitor, self.store):
            path.mkdir()
        self.now = BEGIN
        self.problems = {}
        self.operations = Operations(self.monitor, self.store, lambda: self.problems)

    def sync(self, *, reachable=True, since=BEGIN, error="", models=None, age=0.0):
        """The sidecar's last word."""
        registry = RegistryState(
            reachable=reachable, since=datetime.fromtimestamp(since, UTC), error="http://u:pw@host"
        )
        status = SyncStatus(pid=1, registry=registry, error=error, models=models or {})
        self._write(self.store / "sync.json", status, age)

    def lose(self, worker="w1", age=0.0, **losses):
        """A worker's word on its rows."""
        (self.monitor / "losses").mkdir(exist_ok=True)
        self._write(self.monitor / "losses" / f"{worker}.json", Losses(**losses), age)

    def _write(self, path, content, age):
        path.write_bytes(msgspec.json.encode(content))
        os.utime(path, (self.now - age, self.now - age))

    def trouble(self):
        """What is wrong: by alarm, its first evidence and its text."""
        found = self.operations.look({}, self.now)
        return {condition.about: (condition.evidence[0], condition.text) for condition in found if condition.evidence}

    def about(self):
        """Of which alarms there is something to say."""
        return {condition.about for condition in self.operations.look({}, self.now)}


@pytest.fixture
def home(tmp_path):
    """In which a version has served."""
    made = Home(tmp_path)
    ModelCounts(made.monitor / "counts" / SHA256).tell_served(Served(model="cancer", version="3", since=BEGIN))
    return made


def test_a_registry_that_does_not_answer_is_trouble_after_a_while(home):
    """Since when it has been so; a short outage is none, and what may be secret in its error stays at home."""
    home.now = BEGIN + UNREACHABLE_S - 1
    home.sync(reachable=False)
    assert home.trouble() == {}
    home.now += 1
    evidence, text = home.trouble()["registry"]
    assert (evidence.statistic, evidence.value, evidence.threshold) == ("unreachable_s", UNREACHABLE_S, UNREACHABLE_S)
    assert "pw" not in text
    (condition,) = [found for found in home.operations.look({}, home.now) if found.about == "registry"]
    assert condition.since == BEGIN
    home.sync(since=home.now)
    assert home.trouble() == {}


def test_a_sidecar_that_is_not_there_says_nothing(home):
    """None is wanted where files are served; its last word is no news for ever."""
    assert home.about() == {"disk", "observer", "dropped", "unlogged", "unshared"}
    home.now += UNREACHABLE_S
    home.sync(reachable=False, age=STALE_S)
    assert "registry" not in home.about()
    (home.store / "sync.json").write_bytes(b"{")
    assert "registry" not in home.about()


def test_versions_that_are_refused_or_share_a_role_are_named_with_the_cure(home):
    """Each under its model and role; the others are calm."""
    roles = {
        "champion": RoleState(state="quarantined", version="4", serving="3", reason="golden rows differ"),
        "challenger": RoleState(state="serving", version="7", others=(5, 6)),
    }
    home.sync(models={"cancer": roles, "wine": {"champion": RoleState(state="serving", version="1")}})
    trouble = home.trouble()
    assert trouble.keys() == {"quarantined-champion", "ambiguous-challenger"}
    evidence, text = trouble["quarantined-champion"]
    assert evidence.name == "version 4"
    assert "golden rows differ. Version 3 goes on." in text
    assert text.endswith("hotgate release cancer 4")
    evidence, text = trouble["ambiguous-challenger"]
    assert (evidence.statistic, evidence.value, evidence.threshold) == ("versions", 3.0, 1.0)
    assert "Archive the others: 5, 6." in text
    models = {found.model for found in home.operations.look({}, home.now) if found.about == "quarantined-champion"}
    assert models == {"cancer", "wine"}


def test_what_cannot_be_published_is_trouble_once_it_lasts(home):
    """Such as a full disk of the store."""
    home.sync(error="no space left")
    assert home.trouble() == {}
    home.now += FAILING_S
    home.sync(error="no space left")
    assert "no space left" in home.trouble()["store"][1]
    home.sync()
    assert home.trouble() == {}
    home.sync(error="no space left")
    assert home.trouble() == {}


@pytest.mark.parametrize(
    ("free", "severity"), [(FREE_BYTES, None), (FREE_BYTES - 1, "warning"), (FREE_BYTES / 10 - 1, "critical")]
)
def test_a_disk_that_is_nearly_full_is_told_before_it_is(home, monkeypatch, free, severity):
    """The fuller, the worse."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    trouble = home.trouble()
    assert (trouble["disk"][0].severity if trouble else None) == severity
    if severity:
        assert (trouble["disk"][0].value, trouble["disk"][0].threshold) == (free, FREE_BYTES)


def test_what_the_observer_cannot_do_is_trouble_once_it_lasts(home):
    """By name; what it could do in between does not count."""
    home.problems = {"b" * 64: "counts are not folded: no room"}
    assert home.trouble() == {}
    home.now += FAILING_S - 1
    assert home.trouble() == {}
    home.now += 1
    evidence, text = home.trouble()["observer"]
    assert (evidence.name, evidence.statistic, evidence.value) == ("b" * 64, "failing_s", FAILING_S)
    assert "counts are not folded: no room" in text
    home.problems = {}
    assert home.trouble() == {}
    home.problems = {"b" * 64: "counts are not folded: no room"}
    assert home.trouble() == {}


def test_rows_that_are_dropped_are_counted_over_workers_until_it_stops(home):
    """What was dropped before the observer came is no news; a worker's first word is."""
    home.lose(dropped={SHA256: 100})
    assert home.trouble() == {}
    home.lose(dropped={SHA256: 130})
    home.lose("w2", dropped={SHA256: 5})
    evidence, text = home.trouble()["dropped"]
    assert (evidence.statistic, evidence.value, evidence.threshold) == ("dropped_rows", 35.0, 0.0)
    assert "more CPU" in text
    (condition,) = [found for found in home.operations.look({}, home.now) if found.about == "dropped"]
    assert (condition.model, condition.version, condition.sha256) == ("cancer", "3", SHA256)
    home.now += DROP_S - 1
    assert "dropped" in home.trouble()
    home.lose(dropped={SHA256: 131})
    assert home.trouble()["dropped"][0].value == 36.0
    home.now += DROP_S
    assert home.trouble() == {}
    assert "dropped" in home.about()


def test_rows_that_the_log_does_not_hold_are_an_alarm_of_their_own(home):
    """Beside those that drift has not seen."""
    home.lose()
    assert home.trouble() == {}
    home.lose(unlogged={SHA256: 8})
    trouble = home.trouble()
    assert trouble.keys() == {"unlogged"}
    assert (trouble["unlogged"][0].statistic, trouble["unlogged"][0].value) == ("unlogged_rows", 8.0)
    assert "log_sample" in trouble["unlogged"][1]


def test_rows_that_nobody_else_sees_are_trouble_once_it_lasts(home):
    """The sum of the workers that say so now; the word of one that is gone is none."""
    home.lose(unshared={SHA256: 10})
    assert home.trouble() == {}
    home.now += FAILING_S
    home.lose(unshared={SHA256: 20})
    home.lose("w2", unshared={SHA256: 1})
    evidence, text = home.trouble()["unshared"]
    assert (evidence.statistic, evidence.value) == ("unshared_rows", 21.0)
    assert "Make room" in text
    home.now += FRESH_S
    assert home.trouble() == {}


def test_the_words_of_workers_that_are_long_gone_are_removed(home):
    """And what is no such word is left out."""
    home.lose(age=3600.0, dropped={SHA256: 1})
    home.lose("w2", dropped={SHA256: 2})
    (home.monitor / "losses/odd.json").write_bytes(b"[")
    os.utime(home.monitor / "losses/odd.json", (home.now, home.now))
    assert list(read_losses(home.monitor / "losses", home.now)) == [("w2.json", Losses(dropped={SHA256: 2}))]
    assert sorted(path.name for path in (home.monitor / "losses").iterdir()) == ["odd.json", "w2.json"]


def test_the_observer_tells_of_the_registry_beside_it(home):
    """From `sync.json` to the record of alerts, begin and end."""
    home.now = BEGIN + UNREACHABLE_S
    home.sync(reachable=False)
    observer = Observer(home.monitor, MonitorSettings(), lambda: home.now)
    observer.look()
    home.sync()
    observer.look()
    alerts = [msgspec.json.decode(line) for line in (home.monitor / "alerts.jsonl").read_bytes().splitlines()]
    assert [(alert["state"], alert["kind"], alert["about"], alert["model"]) for alert in alerts] == [
        ("firing", "ops", "registry", ""),
        ("resolved", "ops", "registry", ""),
    ]
